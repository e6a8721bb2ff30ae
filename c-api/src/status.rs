//! What a call returns: a status, and on request the argument, the place and the numbers that it is about.

use core::ffi::{CStr, c_char};

use rivergram_core::error::{
    DecodeError, EislBuffer, EislError, EncodeError, GramError, PlanError, PlanPart, RateName,
    StateError, TrainBuffer, TrainError,
};
use rivergram_core::gram::contrastive::K_MAX;

/// The version of the functions and types of this header. It changes where a program that was compiled with an
/// older header would no longer work with the library; new functions leave it alone.
pub const RIVERGRAM_ABI_VERSION: u32 = 1;

/// In `rivergram_error.index`, `rivergram_gram_options.anchor` and `rivergram_position.budget`: there is none.
/// (cbindgen does not know this number: the header has it from `cbindgen.toml`.)
///
/// cbindgen:ignore
pub const RIVERGRAM_NONE: usize = usize::MAX;

/// How a call ended. A value never changes its meaning; new ones may be added at the end.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_status {
    /// It did what it says.
    Ok = 0,
    /// A pointer is NULL that must not be.
    NullPointer = 1,
    /// A pointer is not aligned for its type.
    Misaligned = 2,
    /// An argument that is written overlaps with another argument; `name` is the one that is written.
    Overlap = 3,
    /// A buffer has `have` elements where `need` are needed; of `heads`, `inputs`, `orders` and `from_length` at most
    /// `need` are taken.
    Length = 4,
    /// A size is 0, or a product of sizes is too large.
    Size = 5,
    /// An option or a number is outside of its range; `name` is the option.
    Option = 6,
    /// A number is NaN, infinite or too large to square. `index`: modality and row of a vector; row, position and
    /// token of a sequence; else the place in the array.
    NotFinite = 7,
    /// A vector is zero where `zero_rows` calls that an error. `index`: modality, row.
    ZeroRow = 8,
    /// A label is no token of the vocabulary. `index`: row, target; `have`: the label, as `int64_t`.
    Token = 9,
    /// A row says that it is longer than it can be. `index`: row; `have`: its length.
    RowLength = 10,
    /// Every token of a position has the logit -infinity. `index`: row, position.
    NoProbability = 11,
    /// A head does not fit the others, the inputs or the loss. `index`: the head.
    Head = 12,
    /// Loss or gradient are not finite, and no update was made. `have`: updates made so far.
    Diverged = 13,
    /// A budget does not lie above the one before, or is larger than 2^63. `index`: its place.
    Budget = 14,
    /// A warmup of `need` steps does not end before the decay of a budget, which begins after `have` steps.
    /// `index`: its place.
    Warmup = 15,
    /// Memory that holds no state: never initialised, overwritten, or of another version.
    NotAState = 16,
    /// Saved bytes that end too early.
    Truncated = 17,
    /// Bytes that are not a saved state of this kind.
    NotSaved = 18,
    /// Saved bytes of another format version, `have`, where `need` is read.
    FormatVersion = 19,
    /// Saved bytes that were damaged.
    Checksum = 20,
    /// Saved under other settings; `name` says which.
    OtherSettings = 21,
    /// A saved phase that the settings cannot have at the saved step, `have`.
    Phase = 22,
    /// The header is of version `have`, the library of version `need`.
    AbiVersion = 23,
    /// Refused for a reason that this version has no name for.
    Refused = 24,
}

/// What was wrong. It is written only where the status is not `RIVERGRAM_STATUS_OK`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rivergram_error {
    /// As returned.
    pub status: rivergram_status,
    /// The argument, option or part: a string that always stays, never NULL.
    pub name: *const c_char,
    /// Where, from the outermost on, see the status; `RIVERGRAM_NONE` where there is no such place.
    pub index: [usize; 3],
    /// What the call needs, see the status.
    pub need: u64,
    /// What it was given.
    pub have: u64,
}

/// The version of the library. It works with a header whose `RIVERGRAM_ABI_VERSION` is the same.
///
/// Cost: O(1).
#[unsafe(no_mangle)]
pub extern "C" fn rivergram_abi_version() -> u32 {
    RIVERGRAM_ABI_VERSION
}

/// Call it once with `RIVERGRAM_ABI_VERSION`: whether header and library fit together.
///
/// Errors: MISALIGNED, ABI_VERSION. Cost: O(1).
///
/// # Safety
/// `error` is NULL or points to a `rivergram_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_check_abi(
    header_version: u32,
    error: *mut rivergram_error,
) -> rivergram_status {
    let check = || {
        if header_version == RIVERGRAM_ABI_VERSION {
            return Ok(());
        }
        let failure = Failure::new(rivergram_status::AbiVersion, c"header_version");
        Err(failure.numbers(RIVERGRAM_ABI_VERSION.into(), header_version.into()))
    };
    // SAFETY: as promised to this function.
    unsafe { crate::raw::answer(error, check) }
}

/// A status in words: a string that always stays.
///
/// Cost: O(1).
#[unsafe(no_mangle)]
pub extern "C" fn rivergram_status_text(status: u32) -> *const c_char {
    let text = TEXTS.get(status as usize).copied();
    text.unwrap_or(c"no such status").as_ptr()
}

const TEXTS: [&CStr; 25] = [
    c"ok",
    c"a pointer is NULL",
    c"a pointer is not aligned for its type",
    c"what is written overlaps with another argument",
    c"a buffer has the wrong length",
    c"a size is 0 or too large",
    c"an option is outside of its range",
    c"a number is not finite",
    c"a vector is zero",
    c"a label is no token of the vocabulary",
    c"a row is longer than it can be",
    c"every token of a position has the logit -infinity",
    c"a head does not fit",
    c"loss or gradient are not finite, no update was made",
    c"budgets must increase, up to 2^63",
    c"a warmup does not end before a decay begins",
    c"this memory holds no state",
    c"saved bytes end too early",
    c"these bytes are no saved state of this kind",
    c"saved bytes have another format version",
    c"saved bytes are damaged",
    c"saved under other settings",
    c"the saved phase does not fit the saved step",
    c"header and library have different versions",
    c"refused",
];

/// Why a call ends early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure(pub(crate) rivergram_error);

impl Failure {
    pub(crate) fn new(status: rivergram_status, name: &'static CStr) -> Self {
        Failure(rivergram_error {
            status,
            name: name.as_ptr(),
            index: [RIVERGRAM_NONE; 3],
            need: 0,
            have: 0,
        })
    }

    pub(crate) fn null(name: &'static CStr) -> Self {
        Failure::new(rivergram_status::NullPointer, name)
    }

    pub(crate) fn option(name: &'static CStr) -> Self {
        Failure::new(rivergram_status::Option, name)
    }

    pub(crate) fn length(name: &'static CStr, need: usize, have: usize) -> Self {
        Failure::new(rivergram_status::Length, name).numbers(need as u64, have as u64)
    }

    pub(crate) fn not_finite(name: &'static CStr) -> Self {
        Failure::new(rivergram_status::NotFinite, name)
    }

    pub(crate) fn at<const N: usize>(mut self, index: [usize; N]) -> Self {
        for (to, from) in self.0.index.iter_mut().zip(index) {
            *to = from;
        }
        self
    }

    pub(crate) fn numbers(mut self, need: u64, have: u64) -> Self {
        (self.0.need, self.0.have) = (need, have);
        self
    }
}

/// Whether a buffer has exactly the length that the sizes ask for.
pub(crate) fn check_len(name: &'static CStr, need: usize, have: usize) -> Result<(), Failure> {
    if need == have {
        Ok(())
    } else {
        Err(Failure::length(name, need, have))
    }
}

/// Whether all numbers are finite.
pub(crate) fn check_finite(name: &'static CStr, numbers: &[f32]) -> Result<(), Failure> {
    check_finite_from(name, 0, numbers)
}

/// Whether all numbers from a place on are finite.
pub(crate) fn check_finite_from(
    name: &'static CStr,
    from: usize,
    numbers: &[f32],
) -> Result<(), Failure> {
    let mut places = (0..numbers.len()).zip(numbers).skip(from);
    match places.find(|(_, x)| !x.is_finite()) {
        Some((index, _)) => Err(Failure::not_finite(name).at([index])),
        None => Ok(()),
    }
}

impl From<GramError> for Failure {
    fn from(error: GramError) -> Self {
        use rivergram_status as status;
        match error {
            GramError::Empty { k: 0, .. } => Failure::new(status::Size, c"k"),
            GramError::Empty { rows: 0, .. } => Failure::new(status::Size, c"rows"),
            GramError::Empty { .. } => Failure::new(status::Size, c"d"),
            GramError::Arity { k } => {
                Failure::new(status::Size, c"k").numbers(K_MAX as u64, k as u64)
            }
            GramError::BufferSize { need, have } => Failure::length(c"vectors", need, have),
            GramError::Workspace { need, have } => Failure::length(c"workspace", need, have),
            GramError::NotFinite { modality, row } => {
                Failure::not_finite(c"vectors").at([modality, row])
            }
            GramError::ZeroRow { modality, row } => {
                Failure::new(status::ZeroRow, c"vectors").at([modality, row])
            }
            GramError::Anchor { anchor, k } => {
                Failure::option(c"anchor").numbers(k as u64, anchor as u64)
            }
            GramError::Temperature => Failure::option(c"temperature"),
            GramError::LabelSmoothing => Failure::option(c"label_smoothing"),
            GramError::Weight => Failure::option(c"pairs"),
            GramError::Vectors { k, most } => {
                Failure::new(status::Size, c"k").numbers(most as u64, k as u64)
            }
            GramError::Dimensions { d, most } => {
                Failure::new(status::Size, c"d").numbers(most as u64, d as u64)
            }
            GramError::Scale { modality, .. } => Failure::option(c"scales").at([modality]),
            _ => Failure::new(status::Refused, c""),
        }
    }
}

impl From<EislError> for Failure {
    fn from(error: EislError) -> Self {
        use rivergram_status as status;
        match error {
            EislError::Length {
                buffer,
                expected,
                got,
            } => Failure::length(buffer_name(buffer), expected, got),
            EislError::TooLarge => Failure::new(status::Size, c"the product of the sizes"),
            EislError::EmptyVocabulary => Failure::new(status::Size, c"vocabulary"),
            EislError::NoOrders => Failure::new(status::Size, c"orders"),
            EislError::ZeroOrder { index } => Failure::option(c"orders").at([index]),
            EislError::Weight { index } => Failure::option(c"weight").at([index]),
            EislError::Temperature => Failure::option(c"temperature"),
            EislError::Clamp => Failure::option(c"clamp"),
            EislError::Factor => Failure::option(c"ngram_factor or ce_factor"),
            EislError::LabelSmoothing => Failure::option(c"label_smoothing"),
            EislError::BagPadding => Failure::option(c"padding"),
            EislError::Noise { index } => Failure::not_finite(c"noise").at([index]),
            EislError::TargetLen { row, len } => row_length(c"target_lens", row, len),
            EislError::OutputLen { row, len } => row_length(c"output_lens", row, len),
            EislError::Token { row, column, id } => Failure::new(status::Token, c"labels")
                .at([row, column])
                .numbers(0, i64::from(id).cast_unsigned()),
            EislError::Nan {
                row,
                position,
                column,
            }
            | EislError::Infinite {
                row,
                position,
                column,
            } => Failure::not_finite(c"x").at([row, position, column]),
            EislError::NoProbability { row, position } => {
                Failure::new(status::NoProbability, c"x").at([row, position])
            }
            EislError::Upstream { .. }
            | EislError::CeUpstream { .. }
            | EislError::References { .. }
            | EislError::CeReference { .. } => Failure::new(status::Refused, c""),
        }
    }
}

fn row_length(name: &'static CStr, row: usize, len: usize) -> Failure {
    let failure = Failure::new(rivergram_status::RowLength, name);
    failure.at([row]).numbers(0, len as u64)
}

fn buffer_name(buffer: EislBuffer) -> &'static CStr {
    match buffer {
        EislBuffer::Input => c"x",
        EislBuffer::Targets => c"labels",
        EislBuffer::Noise => c"noise",
        EislBuffer::PerOrder => c"per_order",
        EislBuffer::Workspace => c"workspace",
        _ => c"",
    }
}

fn train_buffer_name(buffer: TrainBuffer) -> &'static CStr {
    match buffer {
        TrainBuffer::Parameters => c"parameters",
        TrainBuffer::Gradient => c"gradient",
        TrainBuffer::Moments => c"moments",
        TrainBuffer::Workspace => c"workspace",
        TrainBuffer::Input { .. } => c"inputs",
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        use rivergram_status as status;
        match error {
            PlanError::Rate { name, .. } | PlanError::AbovePeak { name, .. } => {
                Failure::option(match name {
                    RateName::Init => c"init",
                    RateName::Peak => c"peak",
                    RateName::Floor => c"floor",
                })
            }
            PlanError::FloorZero { .. } => Failure::option(c"floor"),
            PlanError::ShapeParameter { .. } => Failure::option(c"shape_parameter"),
            PlanError::Fraction { millionths } => {
                Failure::option(c"decay_amount").numbers(1_000_000, millionths.into())
            }
            PlanError::BudgetOrder {
                index,
                previous,
                budget,
            } => Failure::new(status::Budget, c"budgets")
                .at([index])
                .numbers(previous.saturating_add(1), budget),
            PlanError::BudgetTooLarge { index, budget } => Failure::new(status::Budget, c"budgets")
                .at([index])
                .numbers(1 << 63, budget),
            PlanError::WarmupMeetsDecay {
                index,
                warmup,
                room,
            } => Failure::new(status::Warmup, c"budgets")
                .at([index])
                .numbers(warmup, room),
        }
    }
}

impl From<EncodeError> for Failure {
    fn from(error: EncodeError) -> Self {
        let EncodeError::NoSpace { need, have } = error;
        Failure::length(c"bytes", need, have)
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        use rivergram_status as status;
        match error {
            DecodeError::Truncated { need, have } => {
                Failure::new(status::Truncated, c"bytes").numbers(need as u64, have as u64)
            }
            DecodeError::BadMagic { .. } => Failure::new(status::NotSaved, c"bytes"),
            DecodeError::Version { found, version } => {
                Failure::new(status::FormatVersion, c"bytes").numbers(version.into(), found.into())
            }
            DecodeError::Checksum { .. } => Failure::new(status::Checksum, c"bytes"),
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        use rivergram_status as status;
        match error {
            StateError::Decode(error) => error.into(),
            StateError::OtherPlan { part, .. } => Failure::new(
                status::OtherSettings,
                match part {
                    PlanPart::Rates => c"rates",
                    PlanPart::Warmup => c"warmup",
                    PlanPart::Decay => c"decay",
                    PlanPart::Budgets => c"budgets",
                },
            ),
            StateError::Phase { step } => Failure::new(status::Phase, c"bytes").numbers(0, step),
        }
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        use rivergram_status as status;
        let head_failure = |head| Failure::new(status::Head, c"heads").at([head]);
        match error {
            TrainError::EmptyHead { head } => Failure::new(status::Size, c"heads").at([head]),
            TrainError::Output { head, need, have } => {
                head_failure(head).numbers(need as u64, have as u64)
            }
            TrainError::Normalised { head } => head_failure(head),
            TrainError::Heads { need, have } => {
                Failure::new(status::Head, c"inputs").numbers(need as u64, have as u64)
            }
            TrainError::Optimizer => Failure::option(c"optimizer"),
            TrainError::Clip => Failure::option(c"clip"),
            TrainError::Storage { buffer, need, have } => {
                let failure = Failure::length(train_buffer_name(buffer), need, have);
                match buffer {
                    TrainBuffer::Input { head } => failure.at([head]),
                    _ => failure,
                }
            }
            TrainError::Value { buffer, index } => {
                Failure::not_finite(train_buffer_name(buffer)).at([index])
            }
            TrainError::NotFinite { updates } => {
                Failure::new(status::Diverged, c"").numbers(0, updates)
            }
            TrainError::Gram(error) => error.into(),
            TrainError::Eisl(error) => error.into(),
            TrainError::OtherTrainer => Failure::new(status::OtherSettings, c"heads or optimizer"),
            TrainError::Decode(error) => error.into(),
            TrainError::State(error) => error.into(),
            TrainError::Encode(error) => error.into(),
            _ => Failure::new(status::Refused, c""),
        }
    }
}
