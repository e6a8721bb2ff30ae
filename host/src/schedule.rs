//! The schedule of a run: which plan its options mean, and the legs that it is trained in.
//!
//! A leg is a stretch of updates under one plan that ends with a checkpoint. WSD-S has one leg per budget,
//! each going on from the decayed weights of the one before. WSD goes along the main branch to where a decay
//! begins, runs the decay as a branch, and goes back to the checkpoint before it.

use rivergram_core::error::PlanError;
use rivergram_core::schedule::{Branches, DecayEdge, Phase, Plan, Settings, WarmupEdge};

use crate::error::{Error, Result};
use crate::plot;
use crate::store::{budget_name, main_name};
use crate::train::{ScheduleKind, ScheduleOptions};

/// A stretch of updates that ends with a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Leg<'a> {
    /// Its name: `main`, or `branch-600`.
    pub name: String,
    /// The plan of its rates.
    pub plan: Plan<'a, f32>,
    /// The step of its first update.
    pub start: u64,
    /// The step after its last.
    pub end: u64,
    /// The checkpoint that it starts from, where that is not the end of the leg before.
    pub from: Option<String>,
    /// The name of the checkpoint at its end.
    pub save_as: String,
    /// Whether its end is a budget, to be evaluated.
    pub budget: bool,
}

impl Leg<'_> {
    /// Updates of this leg.
    pub fn updates(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// The name of the phase at a step.
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Warmup | Phase::Rewarmup => "warmup",
        Phase::Stable => "stable",
        Phase::Decay | Phase::Done => "decay",
    }
}

/// The phase of a picture.
pub fn picture_phase(name: &str) -> plot::Phase {
    match name {
        "warmup" => plot::Phase::Warmup,
        "decay" => plot::Phase::Decay,
        _ => plot::Phase::Stable,
    }
}

pub(crate) fn settings(options: &ScheduleOptions) -> Settings<f32> {
    let floor = options.peak * options.floor;
    let base = match options.kind {
        ScheduleKind::WsdS | ScheduleKind::Wsd => Settings {
            shape: options.decay.0,
            decay: rivergram_core::schedule::Decay::OfTotal(options.decay_millionths),
            ..Settings::wsd_s(options.peak, floor)
        },
        ScheduleKind::Cosine | ScheduleKind::Cyclic => Settings::cosine(options.peak, floor),
        // A decay that is asked for goes to the floor.
        ScheduleKind::Constant => Settings {
            shape: options.decay.0,
            floor,
            ..Settings::constant(options.peak)
        },
    };
    // The first update has a rate above 0, and the last of a decay the floor: no update is wasted.
    Settings {
        warmup: options.warmup,
        warmup_edge: WarmupEdge::One,
        decay_edge: DecayEdge::ReachLast,
        ..base
    }
}

/// The flag that sets what a plan refuses.
pub(crate) fn flag(problem: &PlanError) -> &'static str {
    match problem {
        PlanError::Rate { .. } => "--lr",
        PlanError::AbovePeak { .. } | PlanError::FloorZero { .. } => "--floor",
        PlanError::ShapeParameter { .. } => "--decay",
        PlanError::Fraction { .. } => "--decay-fraction",
        PlanError::BudgetOrder { .. } | PlanError::BudgetTooLarge { .. } => "--budgets",
        PlanError::WarmupMeetsDecay { .. } => "--warmup",
    }
}

/// The legs of a schedule, in the order in which they are trained.
///
/// # Errors
/// What the plan refuses: budgets out of order, a warmup longer than the first budget, rates that are no rates.
pub fn legs(options: &ScheduleOptions) -> Result<Vec<Leg<'_>>> {
    let budgets = options.budgets.as_slice();
    if budgets.is_empty() {
        return Err(Error::flag(
            "--budgets",
            "none given: at least one expected",
        ));
    }
    let refused = |e| Error::flag(flag(&e), e);
    if options.kind == ScheduleKind::Wsd {
        let branches = Branches::new(settings(options), budgets).map_err(refused)?;
        return Ok(branch_legs(&branches, budgets));
    }
    let whole = match options.kind {
        ScheduleKind::Cosine => budgets.get(budgets.len() - 1..).unwrap_or(&[]),
        _ => budgets,
    };
    let plan = Plan::new(settings(options), whole).map_err(refused)?;
    let mut start = 0;
    let mut legs = Vec::new();
    for &end in budgets {
        if end <= start {
            let problem = format!("{end} after {start}: rising numbers of steps expected");
            return Err(Error::flag("--budgets", problem));
        }
        legs.push(budget_leg("main".to_string(), plan, start, end));
        start = end;
    }
    Ok(legs)
}

fn budget_leg(name: String, plan: Plan<'_, f32>, start: u64, end: u64) -> Leg<'_> {
    Leg {
        name,
        plan,
        start,
        end,
        from: None,
        save_as: budget_name(end),
        budget: true,
    }
}

fn branch_legs<'a>(branches: &Branches<'a, f32>, budgets: &[u64]) -> Vec<Leg<'a>> {
    let mut legs = Vec::new();
    let (mut at, mut before) = (0, None);
    for (index, &end) in budgets.iter().enumerate() {
        let (Some(plan), Some(start)) = (branches.branch(index), branches.start(index)) else {
            continue;
        };
        let main = main_name(start);
        legs.push(Leg {
            name: "main".to_string(),
            plan: branches.main(),
            start: at,
            end: start,
            from: before.take(),
            save_as: main.clone(),
            budget: false,
        });
        legs.push(budget_leg(format!("branch-{end}"), plan, start, end));
        (at, before) = (start, Some(main));
    }
    legs
}
