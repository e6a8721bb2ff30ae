//! WSD with branches: one constant main branch, and for each budget a decay that is thrown away.

use super::{After, Decay, Plan, Settings};
use crate::error::PlanError;
use crate::lanes::Real;

/// A main branch that stays at the peak; each budget's branch starts from the main branch's checkpoint
/// at [`Branches::start`] and decays to the budget, as if it were the only one. (With
/// [`Settings::cosine`] these are the separate cosine runs, one for each budget.) Source: MiniCPM, arXiv 2404.06395.
///
/// ```
/// use rivergram_core::schedule::{Branches, Settings, State};
///
/// let wsd = Branches::new(Settings::wsd_s(1.0_f32, 0.1), &[100, 200])?;
/// assert_eq!(wsd.main().lr_at(99), 1.0);
/// let branch = wsd.branch(0).ok_or("no such budget")?;
/// let start = wsd.start(0).ok_or("no such budget")?;
/// assert_eq!(start, 90);
/// let mut state = State::at(&branch, start);
/// assert_eq!(state.advance(), 1.0);
/// // 200 steps for the last budget and 10 that are thrown away.
/// assert_eq!(wsd.cost(), 210);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Branches<'a, T> {
    settings: Settings<T>,
    budgets: &'a [u64],
    main: Plan<'a, T>,
}

impl<'a, T: Real> Branches<'a, T> {
    /// Checks settings and budgets, for the main branch and for every other. Cost: linear in the number of budgets.
    ///
    /// # Errors
    /// As [`Plan::new`].
    ///
    /// ```
    /// use rivergram_core::schedule::{Branches, Settings};
    ///
    /// let settings = Settings::wsd_s(1.0_f32, 0.1);
    /// assert!(Branches::new(settings, &[100, 200]).is_ok());
    /// assert!(Branches::new(settings, &[200, 100]).is_err());
    /// ```
    pub fn new(settings: Settings<T>, budgets: &'a [u64]) -> Result<Self, PlanError> {
        let main = Settings {
            rewarmup: 0,
            decay: Decay::Steps(0),
            after: After::Stable,
            ..settings
        };
        let branches = Branches {
            settings,
            budgets,
            main: Plan::new(main, budgets)?,
        };
        for index in 0..budgets.len() {
            branches.plan(index).map_err(|e| in_list(e, index))?;
        }
        Ok(branches)
    }

    /// The main branch: warmup and stable phase. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Branches, Settings};
    ///
    /// let wsd = Branches::new(Settings::wsd_s(1.0_f32, 0.1), &[100, 200])?;
    /// assert_eq!(wsd.main().lr_at(99), 1.0);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn main(&self) -> Plan<'a, T> {
        self.main
    }

    /// The plan of one budget alone; its rates from [`Branches::start`] on are the branch's. None where there
    /// is no such budget. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Branches, Settings};
    ///
    /// let wsd = Branches::new(Settings::wsd_s(1.0_f32, 0.1), &[100, 200])?;
    /// let branch = wsd.branch(0).expect("two budgets");
    /// assert_eq!((branch.total(), branch.lr_at(90), branch.lr_at(100)), (Some(100), 1.0, 0.1));
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn branch(&self, budget: usize) -> Option<Plan<'a, T>> {
        if budget < self.budgets.len() {
            self.plan(budget).ok()
        } else {
            None
        }
    }

    /// The step of the main branch whose checkpoint the branch of a budget starts from. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Branches, Settings};
    ///
    /// let wsd = Branches::new(Settings::wsd_s(1.0_f32, 0.1), &[100, 200])?;
    /// assert_eq!([0, 1, 2].map(|i| wsd.start(i)), [Some(90), Some(180), None]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn start(&self, budget: usize) -> Option<u64> {
        self.branch(budget)?.decay(0).map(|decay| decay.start)
    }

    /// Steps of all branches together: the last budget and the decays that are thrown away.
    /// Cost: linear in the number of budgets.
    ///
    /// ```
    /// use rivergram_core::schedule::{Branches, Settings};
    ///
    /// let wsd = Branches::new(Settings::wsd_s(1.0_f32, 0.1), &[100, 200])?;
    /// assert_eq!(wsd.cost(), 210);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn cost(&self) -> u64 {
        let mut cost: u64 = 0;
        for (budget, end) in (0..self.budgets.len()).zip(self.budgets) {
            let start = self.start(budget).unwrap_or(*end);
            let last = budget.wrapping_add(1) == self.budgets.len();
            let steps = if last {
                *end
            } else {
                end.saturating_sub(start)
            };
            cost = cost.saturating_add(steps);
        }
        cost
    }

    fn plan(&self, budget: usize) -> Result<Plan<'a, T>, PlanError> {
        let alone = self.budgets.get(budget..).and_then(|rest| rest.get(..1));
        Plan::new(self.settings, alone.unwrap_or_default())
    }
}

/// The error of one budget alone, with its place in the list.
fn in_list(error: PlanError, index: usize) -> PlanError {
    match error {
        PlanError::WarmupMeetsDecay { warmup, room, .. } => PlanError::WarmupMeetsDecay {
            index,
            warmup,
            room,
        },
        other => other,
    }
}
