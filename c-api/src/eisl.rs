//! The edit-invariant sequence loss.

use rivergram_core::eisl::{
    self, Axis, Batch, Config, Input, Losses, Objective, Padding, Parts, Select, Shape,
};
use rivergram_core::error::EislError;
use rivergram_core::lanes::One;

use crate::convert::{choose, code_of, flag};
use crate::raw::{In, Out, Span, answer, apart, reported};
use crate::status::{Failure, rivergram_error, rivergram_status};

/// The most orders of a loss, fixed ones and ones relative to the output length each.
pub const RIVERGRAM_ORDERS_MAX: usize = 8;

/// What is measured of n-grams.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_objective {
    /// The edit-invariant loss of arXiv 2106.15078.
    EditInvariant = 0,
    /// The distance of bags of n-grams of arXiv 1911.09320; it uses no selection, temperature, axis or noise.
    BagOfNgrams = 1,
}

/// How the loss of a target n-gram is made from its scores at all output positions.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_select {
    /// The softmax over positions, the gradient flowing through it: the paper's.
    Softmax = 0,
    /// The same value, the softmax held constant in the gradient.
    Detached = 1,
    /// The exact log of the expected number of matches.
    LogSumExp = 2,
    /// The mean over positions.
    Mean = 3,
    /// The best position; of equals the first.
    Max = 4,
}

/// Over which places the selection runs.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_axis {
    /// Over output positions, as in the paper.
    Positions = 0,
    /// Over target n-grams.
    Targets = 1,
}

/// What becomes of padding in the n-gram part.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_padding {
    /// A row uses its own outputs and targets only.
    Mask = 0,
    /// Pads score 0 at every position; nothing is shortened.
    Zero = 1,
    /// Pads are ordinary tokens.
    None = 2,
}

/// What `x` holds.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_input {
    /// Any numbers: a softmax is part of the loss.
    Logits = 0,
    /// Log-probabilities, normalised by the caller.
    LogProbs = 1,
}

const OBJECTIVES: [(u32, Objective); 2] = [
    (
        rivergram_objective::EditInvariant as u32,
        Objective::EditInvariant,
    ),
    (
        rivergram_objective::BagOfNgrams as u32,
        Objective::BagOfNgrams,
    ),
];
const SELECTS: [(u32, Select); 5] = [
    (rivergram_select::Softmax as u32, Select::Softmax),
    (rivergram_select::Detached as u32, Select::Detached),
    (rivergram_select::LogSumExp as u32, Select::LogSumExp),
    (rivergram_select::Mean as u32, Select::Mean),
    (rivergram_select::Max as u32, Select::Max),
];
const AXES: [(u32, Axis); 2] = [
    (rivergram_axis::Positions as u32, Axis::Positions),
    (rivergram_axis::Targets as u32, Axis::Targets),
];
const PADDINGS: [(u32, Padding); 3] = [
    (rivergram_padding::Mask as u32, Padding::Mask),
    (rivergram_padding::Zero as u32, Padding::Zero),
    (rivergram_padding::None as u32, Padding::None),
];
const INPUTS: [(u32, Input); 2] = [
    (rivergram_input::Logits as u32, Input::Logits),
    (rivergram_input::LogProbs as u32, Input::LogProbs),
];

/// An order of n-grams and its weight.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct rivergram_order {
    /// Tokens of an n-gram; in `from_length` the k of n = (output length) - k.
    pub n: usize,
    /// The weights need not sum to 1.
    pub weight: f32,
}

/// The loss: ngram_factor * (sum of weights * losses of the orders) + ce_factor * cross-entropy. Start from
/// `rivergram_eisl_options_paper`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rivergram_eisl_options {
    /// Fixed orders, up to `RIVERGRAM_ORDERS_MAX`.
    pub orders: *const rivergram_order,
    /// How many.
    pub orders_len: usize,
    /// Orders relative to each row's output length; they come after the fixed ones. NULL: none.
    pub from_length: *const rivergram_order,
    /// How many.
    pub from_length_len: usize,
    /// A `rivergram_objective`.
    pub objective: u32,
    /// A `rivergram_select`.
    pub select: u32,
    /// A `rivergram_axis`.
    pub axis: u32,
    /// tau of the softmax over places, positive.
    pub temperature: f32,
    /// Log-probabilities are raised to at least this; -INFINITY for no clamp.
    pub clamp: f32,
    /// A `rivergram_padding`.
    pub padding: u32,
    /// 1 where `pad_id` is a label that means padding, besides -100; else 0.
    pub has_pad_id: u32,
    /// That label.
    pub pad_id: i32,
    /// A `rivergram_input`.
    pub input: u32,
    /// At 0 the n-gram part is not computed.
    pub ngram_factor: f32,
    /// At 0 the cross-entropy is not computed.
    pub ce_factor: f32,
    /// Of the cross-entropy, in `[0, 1]`.
    pub label_smoothing: f32,
}

/// A batch of sequences: B rows, T output positions, U targets, V tokens.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rivergram_eisl_batch {
    /// B.
    pub batch: usize,
    /// T.
    pub positions: usize,
    /// U.
    pub targets: usize,
    /// V.
    pub vocabulary: usize,
    /// `[B, U]`: token ids, the pad id or -100.
    pub labels: *const i32,
    /// B U.
    pub labels_len: usize,
    /// `[B]`: the targets of each row. NULL: a row ends after its last label that is no pad.
    pub target_lens: *const usize,
    /// `[B]`: the output positions of each row, for `RIVERGRAM_PADDING_MASK`. NULL: all T.
    pub output_lens: *const usize,
    /// For each order `[B, T-n+1, U-n+1]`: noise on the scores. NULL: none.
    pub noise: *const f32,
    /// Floats of noise.
    pub noise_len: usize,
}

/// The loss of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct rivergram_eisl_losses {
    /// ngram_factor * eisl + ce_factor * ce.
    pub total: f32,
    /// The weighted sum of the orders' losses, each the mean over rows.
    pub eisl: f32,
    /// The mean cross-entropy over tokens.
    pub ce: f32,
}

impl From<Losses<f32>> for rivergram_eisl_losses {
    fn from(losses: Losses<f32>) -> Self {
        rivergram_eisl_losses {
            total: losses.total,
            eisl: losses.eisl,
            ce: losses.ce,
        }
    }
}

/// Orders as core wants them.
type Orders = [(usize, f32); RIVERGRAM_ORDERS_MAX];

/// The arrays that options and batch point to.
#[derive(Clone, Copy)]
pub(crate) struct Arrays {
    orders: In<rivergram_order>,
    from_length: In<rivergram_order>,
    labels: In<i32>,
    target_lens: In<usize>,
    output_lens: In<usize>,
    noise: In<f32>,
}

impl Arrays {
    pub(crate) fn new(options: &rivergram_eisl_options, batch: &rivergram_eisl_batch) -> Self {
        Arrays {
            orders: In::array(c"orders", options.orders, options.orders_len),
            from_length: In::array(c"from_length", options.from_length, options.from_length_len),
            labels: In::array(c"labels", batch.labels, batch.labels_len),
            target_lens: In::optional(c"target_lens", batch.target_lens, batch.batch),
            output_lens: In::optional(c"output_lens", batch.output_lens, batch.batch),
            noise: In::optional(c"noise", batch.noise, batch.noise_len),
        }
    }

    pub(crate) fn spans(&self) -> Result<[Span; 6], Failure> {
        Ok([
            self.orders.span()?,
            self.from_length.span()?,
            self.labels.span()?,
            self.target_lens.span()?,
            self.output_lens.span()?,
            self.noise.span()?,
        ])
    }

    /// Calls with options and batch in core's types.
    ///
    /// # Safety
    /// The contract of [`crate::raw`], and [`Arrays::spans`] were checked.
    pub(crate) unsafe fn with<R>(
        &self,
        options: &rivergram_eisl_options,
        batch: &rivergram_eisl_batch,
        call: impl FnOnce(&Config<'_, f32>, &Batch<'_, f32>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let (mut orders, mut from_length) = (Orders::default(), Orders::default());
        // SAFETY: as promised to this function.
        let (batch, orders, from_length) = unsafe {
            let batch = Batch {
                target_lens: self.target_lens.some(),
                output_lens: self.output_lens.some(),
                noise: self.noise.some(),
                ..Batch::new(shape(batch), self.labels.slice())
            };
            (
                batch,
                to_pairs(c"orders", self.orders.slice(), &mut orders)?,
                to_pairs(c"from_length", self.from_length.slice(), &mut from_length)?,
            )
        };
        let pad_id = flag(c"has_pad_id", options.has_pad_id)?.then_some(options.pad_id);
        let config = Config {
            orders,
            from_length,
            objective: choose(c"objective", options.objective, &OBJECTIVES)?,
            select: choose(c"select", options.select, &SELECTS)?,
            axis: choose(c"axis", options.axis, &AXES)?,
            temperature: options.temperature,
            clamp: (options.clamp != f32::NEG_INFINITY).then_some(options.clamp),
            padding: choose(c"padding", options.padding, &PADDINGS)?,
            pad_id,
            input: choose(c"input", options.input, &INPUTS)?,
            ngram_factor: options.ngram_factor,
            ce_factor: options.ce_factor,
            label_smoothing: options.label_smoothing,
        };
        call(&config, &batch)
    }
}

pub(crate) fn shape(batch: &rivergram_eisl_batch) -> Shape {
    Shape {
        batch: batch.batch,
        positions: batch.positions,
        targets: batch.targets,
        vocabulary: batch.vocabulary,
    }
}

fn to_pairs<'a>(
    name: &'static core::ffi::CStr,
    orders: &[rivergram_order],
    pairs: &'a mut Orders,
) -> Result<&'a [(usize, f32)], Failure> {
    for (to, order) in pairs.iter_mut().zip(orders) {
        *to = (order.n, order.weight);
    }
    let too_many = Failure::length(name, RIVERGRAM_ORDERS_MAX, orders.len());
    pairs.get(..orders.len()).ok_or(too_many)
}

/// The n-gram loss over logits with the paper's settings (arXiv 2106.15078 and its code): softmax selection over
/// output positions at temperature 1, clamp -20, masking. `options` keeps the pointer `orders`.
///
/// Errors: NULL_POINTER, MISALIGNED. Cost: O(1).
///
/// # Safety
/// `options` points to a `rivergram_eisl_options`; `error` may be NULL. `orders` is looked at by the loss only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_eisl_options_paper(
    orders: *const rivergram_order,
    orders_len: usize,
    options: *mut rivergram_eisl_options,
    error: *mut rivergram_error,
) -> rivergram_status {
    let options = Out::one(c"options", options);
    let paper = Config::<f32>::new(&[]);
    // SAFETY: the contract of `raw`, which the caller keeps.
    unsafe {
        answer(error, || {
            options.span()?;
            options.write(rivergram_eisl_options {
                orders,
                orders_len,
                from_length: core::ptr::null(),
                from_length_len: 0,
                objective: code_of(paper.objective, &OBJECTIVES),
                select: code_of(paper.select, &SELECTS),
                axis: code_of(paper.axis, &AXES),
                temperature: paper.temperature,
                clamp: paper.clamp.unwrap_or(f32::NEG_INFINITY),
                padding: code_of(paper.padding, &PADDINGS),
                has_pad_id: 0,
                pad_id: 0,
                input: code_of(paper.input, &INPUTS),
                ngram_factor: paper.ngram_factor,
                ce_factor: paper.ce_factor,
                label_smoothing: paper.label_smoothing,
            });
            Ok(())
        })
    }
}

/// Floats of workspace for the sequence loss with so many orders of both kinds, whatever B and V;
/// `RIVERGRAM_EISL_WORKSPACE_LEN` is the same as a constant.
#[unsafe(no_mangle)]
pub extern "C" fn rivergram_eisl_workspace_len(
    positions: usize,
    targets: usize,
    orders: usize,
) -> usize {
    let shape = Shape {
        batch: 1,
        positions,
        targets,
        vocabulary: 1,
    };
    eisl::workspace_len(shape, orders)
}

/// The loss of a batch: `x` is `[B, T, V]`. The loss of each order goes to `per_order`, one float for each of both
/// kinds; NULL where it is not wanted.
///
/// Cost: two passes over x and B T V exponentials; per order B T U additions and exponentials.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_FINITE, TOKEN, ROW_LENGTH, NO_PROBABILITY.
///
/// # Safety
/// Behind each pointer, also in `options` and `batch`, lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_eisl_loss(
    options: *const rivergram_eisl_options,
    batch: *const rivergram_eisl_batch,
    x: *const f32,
    x_len: usize,
    per_order: *mut f32,
    per_order_len: usize,
    workspace: *mut f32,
    workspace_len: usize,
    losses: *mut rivergram_eisl_losses,
    error: *mut rivergram_error,
) -> rivergram_status {
    let x = In::array(c"x", x, x_len);
    let call = Call {
        options: In::one(c"options", options),
        batch: In::one(c"batch", batch),
        per_order: Out::optional_array(c"per_order", per_order, per_order_len),
        workspace: Out::array(c"workspace", workspace, workspace_len),
        losses: Out::one(c"losses", losses),
    };
    // SAFETY: the contract of `raw`, which the caller keeps; `run` sees all memory before it is used.
    unsafe {
        answer(error, || {
            call.run(
                [reported(error).span()?, x.span()?],
                |config, batch, parts, workspace| {
                    eisl::loss(One::new(), config, batch, x.slice(), parts, workspace)
                },
            )
        })
    }
}

/// The same, and `x` is replaced by the gradient with respect to it. An error in x itself is found row by row, and
/// rows before it are then already replaced; after all other errors x is as it was.
///
/// Cost: that of `rivergram_eisl_loss` and a second pass over x with B T V exponentials.
///
/// Errors: those of `rivergram_eisl_loss`.
///
/// # Safety
/// As `rivergram_eisl_loss`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_eisl_loss_and_gradient(
    options: *const rivergram_eisl_options,
    batch: *const rivergram_eisl_batch,
    x: *mut f32,
    x_len: usize,
    per_order: *mut f32,
    per_order_len: usize,
    workspace: *mut f32,
    workspace_len: usize,
    losses: *mut rivergram_eisl_losses,
    error: *mut rivergram_error,
) -> rivergram_status {
    let x = Out::array(c"x", x, x_len);
    let call = Call {
        options: In::one(c"options", options),
        batch: In::one(c"batch", batch),
        per_order: Out::optional_array(c"per_order", per_order, per_order_len),
        workspace: Out::array(c"workspace", workspace, workspace_len),
        losses: Out::one(c"losses", losses),
    };
    // SAFETY: the contract of `raw`, which the caller keeps; `run` sees all memory before it is used.
    unsafe {
        answer(error, || {
            call.run(
                [reported(error).span()?, x.span()?],
                |config, batch, parts, workspace| {
                    let x = x.slice();
                    eisl::loss_and_gradient_in_place(One::new(), config, batch, x, parts, workspace)
                },
            )
        })
    }
}

/// What both functions take besides x.
struct Call {
    options: In<rivergram_eisl_options>,
    batch: In<rivergram_eisl_batch>,
    per_order: Out<f32>,
    workspace: Out<f32>,
    losses: Out<rivergram_eisl_losses>,
}

impl Call {
    /// Checks all memory, `error` and `x` included, and writes the losses.
    ///
    /// # Safety
    /// The contract of [`crate::raw`].
    #[inline(always)]
    unsafe fn run(
        &self,
        [error, x]: [Span; 2],
        loss: impl FnOnce(
            &Config<'_, f32>,
            &Batch<'_, f32>,
            Parts<'_, f32>,
            &mut [f32],
        ) -> Result<Losses<f32>, EislError>,
    ) -> Result<(), Failure> {
        let (options, batch) = (self.options.span()?, self.batch.span()?);
        // SAFETY: as promised to this function; options and batch were just seen, and all that they point to
        // is before it is used.
        unsafe {
            let arrays = Arrays::new(self.options.get()?, self.batch.get()?);
            let [a, b, c, d, e, f] = arrays.spans()?;
            let own = [
                self.per_order.span()?,
                self.workspace.span()?,
                self.losses.span()?,
            ];
            let [per_order, workspace, losses] = own;
            apart(&[
                error, options, batch, x, a, b, c, d, e, f, per_order, workspace, losses,
            ])?;
            let found = arrays.with(self.options.get()?, self.batch.get()?, |config, batch| {
                let parts = Parts {
                    per_order: self.per_order.some(),
                    ..Parts::none()
                };
                Ok(loss(config, batch, parts, self.workspace.slice())?)
            })?;
            self.losses.write(found.into());
            Ok(())
        }
    }
}
