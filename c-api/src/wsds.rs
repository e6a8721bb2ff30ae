//! The WSD-S schedule, one update at a time.

use core::ffi::CStr;

use rivergram_core::schedule::{
    After, Decay, DecayEdge, Phase, Plan, Progress, Settings, Shape, Stable, State, WarmupEdge,
    WarmupShape,
};

use crate::convert::{choose, code_of};
use crate::raw::{In, Out, Span, answer, apart, apart_from, reported};
use crate::status::{
    Failure, RIVERGRAM_ABI_VERSION, RIVERGRAM_NONE, check_len, rivergram_error, rivergram_status,
};

/// Bytes of a `rivergram_wsds`, the same on every machine.
pub const RIVERGRAM_WSDS_SIZE: usize = 192;

/// The same in words of 64 bits.
pub const RIVERGRAM_WSDS_WORDS: usize = 24;

/// Bytes that `rivergram_wsds_save` writes.
pub const RIVERGRAM_WSDS_SAVED_LEN: usize = 88;

/// In `rivergram_position.remaining`: the phase does not end.
pub const RIVERGRAM_WITHOUT_END: u64 = u64::MAX;

const _: () = {
    assert!(size_of::<rivergram_wsds>() == RIVERGRAM_WSDS_SIZE);
    assert!(size_of::<Kept>() <= RIVERGRAM_WSDS_SIZE);
    assert!(align_of::<Kept>() <= align_of::<rivergram_wsds>());
    assert!(RIVERGRAM_WSDS_SAVED_LEN == State::<f32>::SAVED_LEN);
};

/// The schedules that have a name.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_schedule {
    /// arXiv 2410.05192: no warmup, the inverse-proportional decay over the last tenth of each budget, straight
    /// back to the peak after it, the floor after the last. With one budget: WSD.
    WsdS = 0,
    /// Half a cosine from the warmup to each budget.
    Cosine = 1,
    /// A straight line from the warmup to each budget.
    Linear = 2,
    /// The peak for ever; `floor` is not used.
    Constant = 3,
    /// peak * sqrt(warmup / step), never below the floor.
    InverseSqrt = 4,
}

/// How a warmup rises.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_warmup_shape {
    /// A straight line.
    Linear = 0,
    /// (1 - cos(pi x)) / 2.
    Cosine = 1,
    /// 1 - sqrt(1 - x): flat at first.
    OneMinusSqrt = 2,
}

/// The progress at step t = 0 .. W-1 of a warmup of W steps.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_warmup_edge {
    /// t / W.
    Zero = 0,
    /// (t+1) / W.
    One = 1,
    /// (t+1) / (W+1).
    NPlusOne = 2,
    /// t / (W-1).
    Both = 3,
}

/// The rate between warmup and decay.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_stable {
    /// The peak.
    Constant = 0,
    /// peak * sqrt(warmup / step), never below the floor.
    InverseSqrt = 1,
    /// peak * sqrt(s / (s + t - start)) from step start on, with s = `stable_timescale`.
    InverseSqrtAfter = 2,
}

/// The shape of a decay with progress p from the peak P to the floor F.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_shape {
    /// F + (P-F)(1-p).
    Linear = 0,
    /// F + (P-F)(1 + cos(pi p))/2.
    Cosine = 1,
    /// F + (P-F)(1 - sqrt(p)).
    OneMinusSqrt = 2,
    /// F + (P-F)(1 - p^2).
    OneMinusSquare = 3,
    /// F + (P-F)(1-p)^a, a = `shape_parameter`.
    Polynomial = 4,
    /// P (F/P)^p, F > 0.
    Geometric = 5,
    /// max(F, P 2^(-h p)), h = `shape_parameter`.
    HalfLife = 6,
    /// F + (P-F)(2 2^-p - 1).
    Exponential = 7,
    /// 1 / (p/F + (1-p)/P), F > 0: that of WSD-S.
    InverseProportional = 8,
    /// 1 / (p/sqrt(F) + (1-p)/sqrt(P))^2, F > 0.
    InverseSqrt = 9,
}

/// The length of the decay before a budget; `decay_amount` belongs to it.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_decay {
    /// So many millionths of the whole budget.
    OfTotal = 0,
    /// So many millionths of the steps since the budget before it.
    OfSegment = 1,
    /// So many steps; 0 is no decay.
    Steps = 2,
    /// All steps after the warmup.
    Whole = 3,
}

/// The progress at step k = 0 .. D-1 of a decay of D steps.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_decay_edge {
    /// k / D.
    ReachAfter = 0,
    /// (k+1) / D.
    ReachLast = 1,
    /// (k+1) / (D+1).
    NPlusOne = 2,
    /// k / (D-1).
    Both = 3,
}

/// What follows the last budget.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_after {
    /// The floor.
    Floor = 0,
    /// The peak again.
    Stable = 1,
}

/// A part of the schedule.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_phase {
    /// The first rise to the peak.
    Warmup = 0,
    /// Between warmup and decay.
    Stable = 1,
    /// On the way to the floor.
    Decay = 2,
    /// A later rise to the peak.
    Rewarmup = 3,
    /// After the last budget, at the floor.
    Done = 4,
}

const WARMUP_SHAPES: [(u32, WarmupShape); 3] = [
    (rivergram_warmup_shape::Linear as u32, WarmupShape::Linear),
    (rivergram_warmup_shape::Cosine as u32, WarmupShape::Cosine),
    (
        rivergram_warmup_shape::OneMinusSqrt as u32,
        WarmupShape::OneMinusSqrt,
    ),
];
const WARMUP_EDGES: [(u32, WarmupEdge); 4] = [
    (rivergram_warmup_edge::Zero as u32, WarmupEdge::Zero),
    (rivergram_warmup_edge::One as u32, WarmupEdge::One),
    (rivergram_warmup_edge::NPlusOne as u32, WarmupEdge::NPlusOne),
    (rivergram_warmup_edge::Both as u32, WarmupEdge::Both),
];
const DECAY_EDGES: [(u32, DecayEdge); 4] = [
    (
        rivergram_decay_edge::ReachAfter as u32,
        DecayEdge::ReachAfter,
    ),
    (rivergram_decay_edge::ReachLast as u32, DecayEdge::ReachLast),
    (rivergram_decay_edge::NPlusOne as u32, DecayEdge::NPlusOne),
    (rivergram_decay_edge::Both as u32, DecayEdge::Both),
];
const AFTERS: [(u32, After); 2] = [
    (rivergram_after::Floor as u32, After::Floor),
    (rivergram_after::Stable as u32, After::Stable),
];
const PHASES: [(u32, Phase); 5] = [
    (rivergram_phase::Warmup as u32, Phase::Warmup),
    (rivergram_phase::Stable as u32, Phase::Stable),
    (rivergram_phase::Decay as u32, Phase::Decay),
    (rivergram_phase::Rewarmup as u32, Phase::Rewarmup),
    (rivergram_phase::Done as u32, Phase::Done),
];

/// What decides the rates, but for the budgets. Start from `rivergram_wsds_settings_named`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct rivergram_wsds_settings {
    /// The rate P of the stable phase.
    pub peak: f32,
    /// The rate F that decays end at, and that re-warmups begin at.
    pub floor: f32,
    /// The rate that the first warmup begins at.
    pub init: f32,
    /// Of the shapes that have one.
    pub shape_parameter: f32,
    /// Steps of the first warmup.
    pub warmup: u64,
    /// Steps back to the peak after each budget; 0 jumps.
    pub rewarmup: u64,
    /// Of `RIVERGRAM_STABLE_INVERSE_SQRT_AFTER`.
    pub stable_start: u64,
    /// Of `RIVERGRAM_STABLE_INVERSE_SQRT_AFTER`.
    pub stable_timescale: u64,
    /// Millionths or steps, see `decay`.
    pub decay_amount: u64,
    /// A `rivergram_warmup_shape`.
    pub warmup_shape: u32,
    /// A `rivergram_warmup_edge`.
    pub warmup_edge: u32,
    /// A `rivergram_stable`.
    pub stable: u32,
    /// A `rivergram_shape`.
    pub shape: u32,
    /// A `rivergram_decay`.
    pub decay: u32,
    /// A `rivergram_decay_edge`.
    pub decay_edge: u32,
    /// A `rivergram_after`.
    pub after: u32,
}

/// The state of a schedule. What is in it is no business of the caller, but for where it lies: it may be a static
/// variable, may be copied, and needs `rivergram_wsds_init` before anything else. Its budgets stay with the caller.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rivergram_wsds {
    /// Not for use.
    pub opaque: [u64; RIVERGRAM_WSDS_WORDS],
}

/// Where a schedule stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct rivergram_position {
    /// Updates made so far, or units counted.
    pub step: u64,
    /// Steps left in the phase; `RIVERGRAM_WITHOUT_END` where it does not end.
    pub remaining: u64,
    /// The place of the next budget; `RIVERGRAM_NONE` after the last.
    pub budget: usize,
    /// A `rivergram_phase`.
    pub phase: u32,
}

impl rivergram_wsds_settings {
    fn of_core(settings: &Settings<f32>) -> Self {
        let (stable, stable_start, stable_timescale) = match settings.stable {
            Stable::Constant => (rivergram_stable::Constant, 0, 0),
            Stable::InverseSqrt => (rivergram_stable::InverseSqrt, 0, 0),
            Stable::InverseSqrtAfter { start, timescale } => {
                (rivergram_stable::InverseSqrtAfter, start, timescale)
            }
        };
        let (decay, decay_amount) = match settings.decay {
            Decay::OfTotal(millionths) => (rivergram_decay::OfTotal, millionths.into()),
            Decay::OfSegment(millionths) => (rivergram_decay::OfSegment, millionths.into()),
            Decay::Steps(steps) => (rivergram_decay::Steps, steps),
            Decay::Whole => (rivergram_decay::Whole, 0),
        };
        let (shape, shape_parameter) = match settings.shape {
            Shape::Linear => (rivergram_shape::Linear, 0.0),
            Shape::Cosine => (rivergram_shape::Cosine, 0.0),
            Shape::OneMinusSqrt => (rivergram_shape::OneMinusSqrt, 0.0),
            Shape::OneMinusSquare => (rivergram_shape::OneMinusSquare, 0.0),
            Shape::Polynomial { power } => (rivergram_shape::Polynomial, power),
            Shape::Geometric => (rivergram_shape::Geometric, 0.0),
            Shape::HalfLife { half_lives } => (rivergram_shape::HalfLife, half_lives),
            Shape::Exponential => (rivergram_shape::Exponential, 0.0),
            Shape::InverseProportional => (rivergram_shape::InverseProportional, 0.0),
            Shape::InverseSqrt => (rivergram_shape::InverseSqrt, 0.0),
        };
        rivergram_wsds_settings {
            peak: settings.peak,
            floor: settings.floor,
            init: settings.init,
            shape_parameter,
            warmup: settings.warmup,
            rewarmup: settings.rewarmup,
            stable_start,
            stable_timescale,
            decay_amount,
            warmup_shape: code_of(settings.warmup_shape, &WARMUP_SHAPES),
            warmup_edge: code_of(settings.warmup_edge, &WARMUP_EDGES),
            stable: stable as u32,
            shape: shape as u32,
            decay: decay as u32,
            decay_edge: code_of(settings.decay_edge, &DECAY_EDGES),
            after: code_of(settings.after, &AFTERS),
        }
    }

    fn to_core(self) -> Result<Settings<f32>, Failure> {
        Ok(Settings {
            peak: self.peak,
            floor: self.floor,
            init: self.init,
            warmup: self.warmup,
            rewarmup: self.rewarmup,
            warmup_shape: choose(c"warmup_shape", self.warmup_shape, &WARMUP_SHAPES)?,
            warmup_edge: choose(c"warmup_edge", self.warmup_edge, &WARMUP_EDGES)?,
            stable: self.stable_phase()?,
            shape: self.decay_shape()?,
            decay: self.decay_length()?,
            decay_edge: choose(c"decay_edge", self.decay_edge, &DECAY_EDGES)?,
            after: choose(c"after", self.after, &AFTERS)?,
        })
    }

    fn stable_phase(&self) -> Result<Stable, Failure> {
        let after = Stable::InverseSqrtAfter {
            start: self.stable_start,
            timescale: self.stable_timescale,
        };
        let list = [
            (rivergram_stable::Constant as u32, Stable::Constant),
            (rivergram_stable::InverseSqrt as u32, Stable::InverseSqrt),
            (rivergram_stable::InverseSqrtAfter as u32, after),
        ];
        choose(c"stable", self.stable, &list)
    }

    fn decay_shape(&self) -> Result<Shape<f32>, Failure> {
        let (power, half_lives) = (self.shape_parameter, self.shape_parameter);
        let list = [
            (rivergram_shape::Linear as u32, Shape::Linear),
            (rivergram_shape::Cosine as u32, Shape::Cosine),
            (rivergram_shape::OneMinusSqrt as u32, Shape::OneMinusSqrt),
            (
                rivergram_shape::OneMinusSquare as u32,
                Shape::OneMinusSquare,
            ),
            (
                rivergram_shape::Polynomial as u32,
                Shape::Polynomial { power },
            ),
            (rivergram_shape::Geometric as u32, Shape::Geometric),
            (
                rivergram_shape::HalfLife as u32,
                Shape::HalfLife { half_lives },
            ),
            (rivergram_shape::Exponential as u32, Shape::Exponential),
            (
                rivergram_shape::InverseProportional as u32,
                Shape::InverseProportional,
            ),
            (rivergram_shape::InverseSqrt as u32, Shape::InverseSqrt),
        ];
        choose(c"shape", self.shape, &list)
    }

    fn decay_length(&self) -> Result<Decay, Failure> {
        // More than fits is more than all, which the plan refuses.
        let millionths = u32::try_from(self.decay_amount).unwrap_or(u32::MAX);
        let list = [
            (rivergram_decay::OfTotal as u32, Decay::OfTotal(millionths)),
            (
                rivergram_decay::OfSegment as u32,
                Decay::OfSegment(millionths),
            ),
            (
                rivergram_decay::Steps as u32,
                Decay::Steps(self.decay_amount),
            ),
            (rivergram_decay::Whole as u32, Decay::Whole),
        ];
        choose(c"decay", self.decay, &list)
    }
}

/// What lies in a [`rivergram_wsds`]: only numbers, so that it can be read whatever was written there.
#[repr(C)]
#[derive(Clone, Copy)]
struct Kept {
    /// [`Kept::sum`].
    sum: u64,
    settings: rivergram_wsds_settings,
    budgets: *const u64,
    budgets_len: usize,
    progress: Progress<f32>,
}

/// Where the sum begins. It holds the version of the functions: memory that another version wrote is no state.
const SEED: u64 =
    u64::from_le_bytes(*b"rgWSDS\0\0").wrapping_add((RIVERGRAM_ABI_VERSION as u64) << 56);

impl Kept {
    fn new(settings: rivergram_wsds_settings, budgets: &In<u64>, progress: Progress<f32>) -> Self {
        let (budgets, budgets_len) = budgets.parts();
        let mut kept = Kept {
            sum: 0,
            settings,
            budgets,
            budgets_len,
            progress,
        };
        kept.sum = kept.sum();
        kept
    }

    /// A checksum of all that follows it (FNV-1a with words of 64 bits for bytes: draft-eastlake-fnv). A state of
    /// which one word was overwritten always has another.
    #[inline(never)]
    fn sum(&self) -> u64 {
        let s = &self.settings;
        let pair = |a: u32, b: u32| u64::from(a) | u64::from(b) << 32;
        let words = [
            pair(s.peak.to_bits(), s.floor.to_bits()),
            pair(s.init.to_bits(), s.shape_parameter.to_bits()),
            s.warmup,
            s.rewarmup,
            s.stable_start,
            s.stable_timescale,
            s.decay_amount,
            pair(s.warmup_shape, s.warmup_edge),
            pair(s.stable, s.shape),
            pair(s.decay, s.decay_edge),
            s.after.into(),
            self.budgets.addr() as u64,
            self.budgets_len as u64,
        ];
        let all = words.into_iter().chain(self.progress.words());
        all.fold(SEED, |sum, word| {
            (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// Whether `rivergram_wsds_init` made it, and nobody else wrote to it.
    fn check(&self, name: &'static CStr) -> Result<(), Failure> {
        if self.sum == self.sum() {
            Ok(())
        } else {
            Err(not_a_state(name))
        }
    }
}

fn not_a_state(name: &'static CStr) -> Failure {
    Failure::new(rivergram_status::NotAState, name)
}

/// A state that was found whole, in core's types.
pub(crate) struct Schedule<'a> {
    name: &'static CStr,
    settings: rivergram_wsds_settings,
    plan: Plan<'a, f32>,
    progress: Progress<f32>,
    /// Where it lies, to be changed.
    memory: Option<&'a mut Kept>,
}

impl<'a> Schedule<'a> {
    /// What memory holds, if none of the call's `spans` that are written overlaps with its budgets.
    ///
    /// # Safety
    /// The contract of [`crate::raw`]; `spans` are all memory of the call but the budgets, that of `state` included, and
    /// are [`apart`].
    pub(crate) unsafe fn of(state: &In<rivergram_wsds>, spans: &[Span]) -> Result<Self, Failure> {
        // SAFETY: the span was checked; a `Kept` fits in, as asserted above, and any bytes are one.
        unsafe { Schedule::new(state.name(), state.cast::<Kept>().get()?, None, spans) }
    }

    /// The same, to change it.
    ///
    /// # Safety
    /// As [`Schedule::of`].
    pub(crate) unsafe fn of_mut(
        state: &Out<rivergram_wsds>,
        spans: &[Span],
    ) -> Result<Self, Failure> {
        // SAFETY: as in `of`.
        unsafe {
            let memory = state.cast::<Kept>().get()?;
            let kept = *memory;
            Schedule::new(state.name(), &kept, Some(memory), spans)
        }
    }

    /// # Safety
    /// The budgets that `rivergram_wsds_init` was given are still there, as was promised to it, and whatever the call
    /// writes to is in `spans`.
    unsafe fn new(
        name: &'static CStr,
        kept: &Kept,
        memory: Option<&'a mut Kept>,
        spans: &[Span],
    ) -> Result<Self, Failure> {
        kept.check(name)?;
        let budgets = In::array(c"budgets", kept.budgets, kept.budgets_len);
        apart_from(&budgets.span()?, spans)?;
        // SAFETY: the sum is right, so these are the budgets that were given; nothing of them is written.
        let budgets = unsafe { budgets.slice() };
        Ok(Schedule {
            name,
            settings: kept.settings,
            plan: Plan::of_checked(kept.settings.to_core()?, budgets),
            progress: kept.progress,
            memory,
        })
    }

    /// The state in core's type.
    pub(crate) fn state(&self) -> Result<State<'_, f32>, Failure> {
        State::with_progress(&self.plan, self.progress).map_err(|_| not_a_state(self.name))
    }

    /// Writes where the state has come to.
    pub(crate) fn set(&mut self, progress: Progress<f32>) {
        if let Some(kept) = &mut self.memory {
            kept.progress = progress;
            kept.sum = kept.sum();
        }
    }
}

/// `sizeof(rivergram_wsds)`, for who allocates at run time.
///
/// Cost: O(1).
#[unsafe(no_mangle)]
pub extern "C" fn rivergram_wsds_size() -> usize {
    size_of::<rivergram_wsds>()
}

/// The alignment of a `rivergram_wsds`, for who allocates at run time.
///
/// Cost: O(1).
#[unsafe(no_mangle)]
pub extern "C" fn rivergram_wsds_align() -> usize {
    align_of::<rivergram_wsds>()
}

/// The settings of a schedule that has a name, a `rivergram_schedule`, with peak and floor: a start to change from.
///
/// Errors: NULL_POINTER, MISALIGNED, OPTION for another schedule. Cost: O(1).
///
/// # Safety
/// `settings` points to a `rivergram_wsds_settings`; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_settings_named(
    schedule: u32,
    peak: f32,
    floor: f32,
    settings: *mut rivergram_wsds_settings,
    error: *mut rivergram_error,
) -> rivergram_status {
    let settings = Out::one(c"settings", settings);
    let list = [
        (
            rivergram_schedule::WsdS as u32,
            Settings::wsd_s(peak, floor),
        ),
        (
            rivergram_schedule::Cosine as u32,
            Settings::cosine(peak, floor),
        ),
        (
            rivergram_schedule::Linear as u32,
            Settings::linear(peak, floor),
        ),
        (
            rivergram_schedule::Constant as u32,
            Settings::constant(peak),
        ),
        (
            rivergram_schedule::InverseSqrt as u32,
            Settings::inverse_sqrt(peak, floor),
        ),
    ];
    // SAFETY: the contract of `raw`, which the caller keeps.
    unsafe {
        answer(error, || {
            settings.span()?;
            let named = choose(c"schedule", schedule, &list)?;
            settings.write(rivergram_wsds_settings::of_core(&named));
            Ok(())
        })
    }
}

/// Makes a state before its first update. `state_size` is `sizeof(rivergram_wsds)` as the caller knows it.
/// `budgets` are total steps, strictly increasing; none is a run whose end is not known. The state holds on to
/// them: they stay where they are, unchanged, as long as it is used.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH of `state_size`, OPTION, BUDGET, WARMUP.
///
/// Cost: linear in the number of budgets.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_init(
    state: *mut rivergram_wsds,
    state_size: usize,
    settings: *const rivergram_wsds_settings,
    budgets: *const u64,
    budgets_len: usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let state = Out::one(c"state", state);
    let settings = In::one(c"settings", settings);
    let budgets = In::array(c"budgets", budgets, budgets_len);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            check_len(c"state_size", size_of::<rivergram_wsds>(), state_size)?;
            apart(&[
                reported(error).span()?,
                state.span()?,
                settings.span()?,
                budgets.span()?,
            ])?;
            let settings = *settings.get()?;
            let plan = Plan::new(settings.to_core()?, budgets.slice())?;
            let progress = State::new(&plan).progress();
            let kept = Kept::new(settings, &budgets, progress);
            state.cast::<Kept>().write(kept);
            Ok(())
        })
    }
}

/// The rate of the next update, into `rate` unless that is NULL, and one update on. In a plan that counts samples
/// or tokens `units` are those of the update's batch; else it is 1.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
///
/// Cost: O(1), and where a budget ends linear in their number; a checksum over the state is most of it.
///
/// # Safety
/// `state` points to a `rivergram_wsds`, `rate` to a float; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_advance(
    state: *mut rivergram_wsds,
    units: u64,
    rate: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: the contract of `raw`, which the caller keeps.
    unsafe {
        change(state, Out::optional(c"rate", rate), error, |state| {
            state.advance_by(units)
        })
    }
}

/// The rate of the (t+1)-th update, if nothing else happens before; for t from the present step on.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
///
/// Cost: linear in the number of budgets.
///
/// # Safety
/// `state` points to a `rivergram_wsds`, `rate` to a float; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_rate_at(
    state: *const rivergram_wsds,
    t: u64,
    rate: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: the contract of `raw`, which the caller keeps.
    unsafe {
        look(state, Out::one(c"rate", rate), error, |state| {
            state.lr_at(t)
        })
    }
}

/// Where the schedule stands.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
///
/// Cost: O(1); a checksum over the state is most of it.
///
/// # Safety
/// `state` points to a `rivergram_wsds`, `position` to a `rivergram_position`; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_position(
    state: *const rivergram_wsds,
    position: *mut rivergram_position,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: the contract of `raw`, which the caller keeps.
    unsafe {
        look(state, Out::one(c"position", position), error, |state| {
            let position = state.position();
            rivergram_position {
                step: state.step(),
                remaining: position.remaining.unwrap_or(RIVERGRAM_WITHOUT_END),
                budget: position.budget.unwrap_or(RIVERGRAM_NONE),
                phase: code_of(position.phase, &PHASES),
            }
        })
    }
}

/// Begins a decay of `length` steps with the next update, from the rate of the moment. After it the run goes on as
/// after a budget. `changed`, unless NULL: not for length 0, nor at the floor after the last budget.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
///
/// Cost: O(1); a checksum over the state is most of it.
///
/// # Safety
/// `state` points to a `rivergram_wsds`; `changed` and `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_request_decay(
    state: *mut rivergram_wsds,
    length: u64,
    changed: *mut bool,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: the contract of `raw`, which the caller keeps.
    unsafe {
        change(state, Out::optional(c"changed", changed), error, |state| {
            state.request_decay(length)
        })
    }
}

/// The same with a length of so many millionths of the steps made so far, rounded down, at least 1; more than a
/// million count as a million. `rivergram_wsds_position` tells the length: what remains of the decay. `changed`, unless
/// NULL: not at the floor after the last budget.
///
/// Cost: O(1), and a checksum of the state.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
///
/// # Safety
/// `state` points to a `rivergram_wsds`; `changed` and `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_request_decay_of_seen(
    state: *mut rivergram_wsds,
    millionths: u32,
    changed: *mut bool,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: the contract of `raw`, which the caller keeps.
    unsafe {
        change(state, Out::optional(c"changed", changed), error, |state| {
            state.request_decay_of_seen(millionths)
        })
    }
}

/// Ends a decay with the next update and goes back to the peak. `changed`, unless NULL: whether there was one.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
///
/// Cost: O(1); a checksum over the state is most of it.
///
/// # Safety
/// `state` points to a `rivergram_wsds`; `changed` and `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_cancel_decay(
    state: *mut rivergram_wsds,
    changed: *mut bool,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: the contract of `raw`, which the caller keeps.
    unsafe {
        change(state, Out::optional(c"changed", changed), error, |state| {
            state.cancel_decay()
        })
    }
}

/// Moves the end of the running decay, else the next budget and its decay, later by so many steps. `changed`,
/// unless NULL: not for 0, nor where no end is to come.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
///
/// Cost: O(1); a checksum over the state is most of it.
///
/// # Safety
/// `state` points to a `rivergram_wsds`; `changed` and `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_extend(
    state: *mut rivergram_wsds,
    by: u64,
    changed: *mut bool,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: the contract of `raw`, which the caller keeps.
    unsafe {
        change(state, Out::optional(c"changed", changed), error, |state| {
            state.extend(by)
        })
    }
}

/// Goes back to the peak after a decay that has ended, in `rewarmup` steps; 0 jumps. `changed`, unless NULL: whether
/// the state was at the floor after the last budget or in a re-warmup.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE.
///
/// Cost: O(1); a checksum over the state is most of it.
///
/// # Safety
/// `state` points to a `rivergram_wsds`; `changed` and `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_resume_to_peak(
    state: *mut rivergram_wsds,
    rewarmup: u64,
    changed: *mut bool,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: the contract of `raw`, which the caller keeps.
    unsafe {
        change(state, Out::optional(c"changed", changed), error, |state| {
            state.resume_to_peak(rewarmup)
        })
    }
}

/// Goes on with other budgets, which differ only in those that are still to come: later ones are added, or others take
/// their place. The state holds on to the new list instead of the old one, which must not have changed. After the
/// last budget the run goes back to the peak, as after any other. After an error the state is as it was.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE, BUDGET, WARMUP, OTHER_SETTINGS for a budget that was reached,
/// or whose decay has begun, and is not in its place.
///
/// Cost: linear in the number of budgets.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_set_budgets(
    state: *mut rivergram_wsds,
    budgets: *const u64,
    budgets_len: usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let state = Out::one(c"state", state);
    let budgets = In::array(c"budgets", budgets, budgets_len);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            let spans = [reported(error).span()?, state.span()?, budgets.span()?];
            apart(&spans)?;
            let schedule = Schedule::of(&state.read(), &spans)?;
            let plan = Plan::new(*schedule.plan.settings(), budgets.slice())?;
            let progress = schedule.state()?.replan(&plan)?.progress();
            let kept = Kept::new(schedule.settings, &budgets, progress);
            state.cast::<Kept>().write(kept);
            Ok(())
        })
    }
}

/// Writes the state to the start of `bytes`, `RIVERGRAM_WSDS_SAVED_LEN` bytes with a checksum, the same on every
/// machine.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE, LENGTH.
///
/// Cost: linear in the number of budgets.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_save(
    state: *const rivergram_wsds,
    bytes: *mut u8,
    bytes_len: usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let state = In::one(c"state", state);
    let bytes = Out::array(c"bytes", bytes, bytes_len);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            let spans = [reported(error).span()?, state.span()?, bytes.span()?];
            apart(&spans)?;
            let schedule = Schedule::of(&state, &spans)?;
            schedule.state()?.save(bytes.slice())?;
            Ok(())
        })
    }
}

/// Reads what a state with equal settings and budgets saved; `state` was initialised with these. What follows the
/// saved bytes is not looked at. After an error the state is as it was.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, NOT_A_STATE, TRUNCATED, NOT_SAVED, FORMAT_VERSION, CHECKSUM,
/// OTHER_SETTINGS, PHASE.
///
/// Cost: linear in the number of budgets.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_wsds_load(
    state: *mut rivergram_wsds,
    bytes: *const u8,
    bytes_len: usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let state = Out::one(c"state", state);
    let bytes = In::array(c"bytes", bytes, bytes_len);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            let spans = [reported(error).span()?, state.span()?, bytes.span()?];
            apart(&spans)?;
            let mut schedule = Schedule::of_mut(&state, &spans)?;
            let loaded = State::load(&schedule.plan, bytes.slice())?.progress();
            schedule.set(loaded);
            Ok(())
        })
    }
}

/// Changes a state, and writes what the change returns.
///
/// # Safety
/// The contract of [`crate::raw`].
#[inline(always)]
unsafe fn change<R>(
    state: *mut rivergram_wsds,
    result: Out<R>,
    error: *mut rivergram_error,
    event: impl FnOnce(&mut State<'_, f32>) -> R,
) -> rivergram_status {
    let memory = Out::one(c"state", state);
    // SAFETY: as promised to this function; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            let spans = [reported(error).span()?, memory.span()?, result.span()?];
            apart(&spans)?;
            let mut schedule = Schedule::of_mut(&memory, &spans)?;
            let mut state = schedule.state()?;
            let returned = event(&mut state);
            let progress = state.progress();
            schedule.set(progress);
            result.write(returned);
            Ok(())
        })
    }
}

/// Writes what a state says.
///
/// # Safety
/// The contract of [`crate::raw`].
#[inline(always)]
unsafe fn look<R>(
    state: *const rivergram_wsds,
    result: Out<R>,
    error: *mut rivergram_error,
    question: impl FnOnce(&State<'_, f32>) -> R,
) -> rivergram_status {
    let memory = In::one(c"state", state);
    // SAFETY: as promised to this function; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            let spans = [reported(error).span()?, memory.span()?, result.span()?];
            apart(&spans)?;
            let schedule = Schedule::of(&memory, &spans)?;
            result.write(question(&schedule.state()?));
            Ok(())
        })
    }
}
