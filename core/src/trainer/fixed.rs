//! A step whose options are constants of the program: what they do not ask for is not in the image.
//!
//! A [`Trainer`](super::Trainer) takes its options at run time, and so holds the code of all of them: hidden layers,
//! three optimizers, shards and cosines of the loss, the shapes of a schedule. A [`Recipe`] names them when the
//! program is compiled, down to the sizes. The numbers are the same, bit for bit, and so is the memory, but that there
//! is no buffer for the gradient. What is kept between steps is plain data of the caller: parameters, moments, and a
//! count of updates, of which [`rate_at`](crate::schedule::rate_at) makes the rate.
//!
//! ```
//! use rivergram_core::features::Int8;
//! use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term, ZeroRows};
//! use rivergram_core::head::Head;
//! use rivergram_core::lanes::One;
//! use rivergram_core::optim::Optimizer;
//! use rivergram_core::schedule::{Settings, rate_at};
//! use rivergram_core::trainer::fixed::{self, Memory, Recipe, Update};
//!
//! struct Alignment;
//!
//! impl Recipe<f32> for Alignment {
//!     const HEADS: &[Head] = &[Head { input: 2, hidden: 0, output: 2, normalise: true }; 2];
//!     const ROWS: usize = 2;
//!     const OPTIMIZER: Optimizer<f32> = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
//!     const LOSS: GramLoss<f32> = GramLoss {
//!         term: Term::Volume(Anchor::One(0)),
//!         pairs: 0.0,
//!         temperature: 0.07,
//!         label_smoothing: 0.1,
//!         normalise: false, // The heads do.
//!         zero_rows: ZeroRows::Missing,
//!     };
//! }
//!
//! let mut parameters = [1.0, 0.2, 0.1, 1.0, 0.0, 0.0, 0.7, -0.7, 0.7, 0.7, 0.0, 0.0];
//! let mut workspace = [0.0; fixed::workspace_len::<Alignment, f32>()];
//! let features = [[100, 0, 5, 90], [90, 10, 20, 80]];
//! let inputs = features.each_ref().map(|values| Int8 { values, scale: 0.01 });
//! let mut losses = [0.0; 2];
//! for (before, to) in (0..).zip(&mut losses) {
//!     let memory = Memory { parameters: &mut parameters, moments: &mut [], workspace: &mut workspace };
//!     let rate = rate_at(Settings::constant(0.001), &[], before);
//!     let update = Update { before, rate };
//!     let (step, _) = fixed::align_int8::<Alignment, _>(One::new(), memory, &inputs, None, update)?;
//!     *to = step.loss;
//! }
//! assert!(losses[1] < losses[0]);
//! # Ok::<(), rivergram_core::error::TrainError>(())
//! ```

use core::marker::PhantomData;

use super::learn::{Backward, Learn, Rates};
use super::{Bundle, Packing, Setup, Step, align_len, check_input, parameters_len};
use crate::error::{TrainBuffer, TrainError};
use crate::features::{Features, Int8};
use crate::gram::contrastive::{Batch, GramLoss, GramReport, known_loss_in_place};
use crate::head::Head;
use crate::lanes::{Isa, Kernel, Real};
use crate::ops::take;
use crate::optim::Optimizer;

/// The options of a training by the GRAM loss.
pub trait Recipe<T: Real> {
    /// One per modality. A recipe without heads, with a hidden layer or with outputs of different lengths does not
    /// compile.
    const HEADS: &'static [Head];
    /// Tuples of a batch.
    const ROWS: usize;
    /// The rule of the updates.
    const OPTIMIZER: Optimizer<T>;
    /// The gradient of all parameters is scaled down to this norm; `None` leaves it.
    const CLIP: Option<T> = None;
    /// The loss.
    const LOSS: GramLoss<T>;
}

/// The memory of a training.
#[derive(Debug)]
pub struct Memory<'a, T> {
    /// [`parameters_len`] floats: the heads one after the other.
    pub parameters: &'a mut [T],
    /// [`Optimizer::state_len`] floats, zeros at the start.
    pub moments: &'a mut [T],
    /// [`workspace_len`] floats of anything.
    pub workspace: &'a mut [T],
}

/// Which update is made.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Update<T> {
    /// How many were made before it.
    pub before: u64,
    /// Its rate.
    pub rate: T,
}

/// What a step did, and what its loss found.
pub type Done<T> = (Step<T>, GramReport<T>);

/// Floats of [`Memory::workspace`]: [`lean_align_workspace_len`](super::lean_align_workspace_len). Cost: none, it is a
/// constant.
///
/// ```
/// use rivergram_core::trainer::fixed::{Recipe, workspace_len};
/// use rivergram_core::trainer::lean_align_workspace_len;
///
/// # use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term, ZeroRows};
/// # use rivergram_core::{head::Head, optim::Optimizer};
/// # struct Pair;
/// # impl Recipe<f32> for Pair {
/// #     const HEADS: &[Head] = &[Head { input: 2, hidden: 0, output: 2, normalise: true }; 2];
/// #     const ROWS: usize = 2;
/// #     const OPTIMIZER: Optimizer<f32> = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
/// #     const LOSS: GramLoss<f32> = GramLoss {
/// #         term: Term::Volume(Anchor::One(0)),
/// #         pairs: 0.0,
/// #         temperature: 0.07,
/// #         label_smoothing: 0.1,
/// #         normalise: false,
/// #         zero_rows: ZeroRows::Missing,
/// #     };
/// # }
/// // `Pair` is a recipe.
/// const LEN: usize = workspace_len::<Pair, f32>();
/// assert_eq!(LEN, lean_align_workspace_len(Pair::HEADS, Pair::ROWS, Pair::LOSS.term));
/// ```
pub const fn workspace_len<R: Recipe<T>, T: Real>() -> usize {
    align_len(R::HEADS, R::ROWS, R::LOSS.term, Packing::ALL)
}

/// One step of alignment, as of [`Trainer::align`](super::Trainer::align): `inputs` holds for each head its
/// \[rows, input\] features, absent ones are `false` in `present` \[heads, rows\].
///
/// Cost: that of [`Trainer::align`](super::Trainer::align) without a buffer for the gradient.
///
/// # Errors
/// Sizes, everything that [`gram_loss`](crate::gram::contrastive::gram_loss) refuses, a loss that is not finite. After
/// an error parameters and moments are as they were.
///
/// ```
/// use rivergram_core::lanes::One;
/// use rivergram_core::trainer::fixed::{Memory, Recipe, Update, align, workspace_len};
///
/// # use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term, ZeroRows};
/// # use rivergram_core::{head::Head, optim::Optimizer};
/// # struct Pair;
/// # impl Recipe<f32> for Pair {
/// #     const HEADS: &[Head] = &[Head { input: 2, hidden: 0, output: 2, normalise: true }; 2];
/// #     const ROWS: usize = 2;
/// #     const OPTIMIZER: Optimizer<f32> = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
/// #     const LOSS: GramLoss<f32> = GramLoss {
/// #         term: Term::Volume(Anchor::One(0)),
/// #         pairs: 0.0,
/// #         temperature: 0.07,
/// #         label_smoothing: 0.1,
/// #         normalise: false,
/// #         zero_rows: ZeroRows::Missing,
/// #     };
/// # }
/// // `Pair` is a recipe of two heads and plain SGD.
/// let before = [1.0_f32, 0.2, 0.1, 1.0, 0.0, 0.0, 0.7, -0.7, 0.7, 0.7, 0.0, 0.0];
/// let mut parameters = before;
/// let mut workspace = [0.0; workspace_len::<Pair, f32>()];
/// let memory = Memory { parameters: &mut parameters, moments: &mut [], workspace: &mut workspace };
/// let inputs = [&[1.0, 0.0, 0.05, 0.9][..], &[0.9, 0.1, 0.2, 0.8]];
/// let update = Update { before: 0, rate: 0.001 };
/// let (step, _) = align::<Pair, _>(One::new(), memory, &inputs, None, update)?;
/// assert!(step.loss > 0.0 && parameters != before);
/// # Ok::<(), rivergram_core::error::TrainError>(())
/// ```
#[inline(always)]
pub fn align<R: Recipe<I::Scalar>, I: Isa>(
    isa: I,
    memory: Memory<'_, I::Scalar>,
    inputs: &[&[I::Scalar]],
    present: Option<&[bool]>,
    update: Update<I::Scalar>,
) -> Result<Done<I::Scalar>, TrainError> {
    isa.enter(Align::<_, _, R> {
        memory,
        inputs,
        present,
        update,
        recipe: PhantomData,
    })
}

/// [`align`] of features in 8 bits, such as lie in flash; a step unpacks four rows at a time. Cost: that of [`align`], and the unpacking.
///
/// # Errors
/// Those of [`align`].
///
/// ```
/// use rivergram_core::lanes::One;
/// use rivergram_core::trainer::fixed::{Memory, Recipe, Update, align_int8, workspace_len};
/// use rivergram_core::features::Int8;
///
/// # use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term, ZeroRows};
/// # use rivergram_core::{head::Head, optim::Optimizer};
/// # struct Pair;
/// # impl Recipe<f32> for Pair {
/// #     const HEADS: &[Head] = &[Head { input: 2, hidden: 0, output: 2, normalise: true }; 2];
/// #     const ROWS: usize = 2;
/// #     const OPTIMIZER: Optimizer<f32> = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
/// #     const LOSS: GramLoss<f32> = GramLoss {
/// #         term: Term::Volume(Anchor::One(0)),
/// #         pairs: 0.0,
/// #         temperature: 0.07,
/// #         label_smoothing: 0.1,
/// #         normalise: false,
/// #         zero_rows: ZeroRows::Missing,
/// #     };
/// # }
/// // `Pair` is a recipe of two heads and plain SGD.
/// let before = [1.0_f32, 0.2, 0.1, 1.0, 0.0, 0.0, 0.7, -0.7, 0.7, 0.7, 0.0, 0.0];
/// let mut parameters = before;
/// let mut workspace = [0.0; workspace_len::<Pair, f32>()];
/// let memory = Memory { parameters: &mut parameters, moments: &mut [], workspace: &mut workspace };
/// let features = [[100, 0, 5, 90], [90, 10, 20, 80]];
/// let inputs = features.each_ref().map(|values| Int8 { values, scale: 0.01 });
/// let update = Update { before: 0, rate: 0.001 };
/// let (step, _) = align_int8::<Pair, _>(One::new(), memory, &inputs, None, update)?;
/// assert!(step.loss > 0.0 && parameters != before);
/// # Ok::<(), rivergram_core::error::TrainError>(())
/// ```
#[inline(always)]
pub fn align_int8<R: Recipe<I::Scalar>, I: Isa>(
    isa: I,
    memory: Memory<'_, I::Scalar>,
    inputs: &[Int8<'_, I::Scalar>],
    present: Option<&[bool]>,
    update: Update<I::Scalar>,
) -> Result<Done<I::Scalar>, TrainError> {
    isa.enter(Align::<_, _, R> {
        memory,
        inputs,
        present,
        update,
        recipe: PhantomData,
    })
}

struct Align<'a, T, F, R> {
    memory: Memory<'a, T>,
    inputs: &'a [F],
    present: Option<&'a [bool]>,
    update: Update<T>,
    recipe: PhantomData<R>,
}

impl<T: Real> Rates<T> for T {
    #[inline(always)]
    fn next_rate(&mut self) -> T {
        *self
    }
}

impl<T: Real, F: Features<T>, R: Recipe<T>> Align<'_, T, F, R> {
    /// The length of an output.
    const OUTPUT: usize = output(R::HEADS);
    const PARAMETERS: usize = parameters_len(R::HEADS);
    const SETUP: Setup<'static, T> = Setup {
        heads: R::HEADS,
        optimizer: R::OPTIMIZER,
        clip: R::CLIP,
    };

    /// Whether options are in their ranges, and inputs fit the heads.
    #[inline(always)]
    fn check(&self) -> Result<(), TrainError> {
        Self::SETUP.check()?;
        let (need, have) = (self.inputs.len(), R::HEADS.len());
        if need != have {
            return Err(TrainError::Heads { need, have });
        }
        for (index, (head, x)) in (0..have).zip(R::HEADS.iter().zip(self.inputs)) {
            check_input(index, head, R::ROWS, *x)?;
        }
        Ok(())
    }
}

/// The output of linear heads that have the same.
const fn output(heads: &[Head]) -> usize {
    let [first, ..] = heads else {
        panic!("a recipe needs heads");
    };
    let mut rest = heads;
    while let [head, others @ ..] = rest {
        assert!(head.hidden == 0, "a hidden layer needs a Trainer");
        assert!(head.output == first.output, "outputs of one length");
        rest = others;
    }
    first.output
}

/// The first numbers of a buffer, of a length that the compiler knows.
#[inline(always)]
fn first<T>(buffer: TrainBuffer, from: &mut [T], need: usize) -> Result<&mut [T], TrainError> {
    let have = from.len();
    let enough = from.get_mut(..need);
    enough.ok_or(TrainError::Storage { buffer, need, have })
}

impl<T: Real, F: Features<T>, R: Recipe<T>> Kernel<T> for Align<'_, T, F, R> {
    type Output = Result<Done<T>, TrainError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        self.check()?;
        let Align {
            memory,
            inputs,
            present,
            update,
            ..
        } = self;
        let (heads, rows, d) = (R::HEADS, R::ROWS, Self::OUTPUT);
        let need = const { workspace_len::<R, T>() };
        let workspace = first(TrainBuffer::Workspace, memory.workspace, need)?;
        let parameters = first(TrainBuffer::Parameters, memory.parameters, Self::PARAMETERS)?;
        let need = R::OPTIMIZER.state_len(Self::PARAMETERS);
        let moments = first(TrainBuffer::Moments, memory.moments, need)?;

        let outputs_len = heads.len().saturating_mul(rows).saturating_mul(d);
        let (outputs, rest) = take(workspace, outputs_len);
        let (d_outputs, rest) = take(rest, outputs_len);
        let (caches, scratch) = take(rest, heads.len().saturating_mul(rows));
        let bundle = Bundle {
            heads,
            inputs,
            rows,
        };
        bundle.forward::<true, I>(isa, parameters, outputs, caches, scratch);
        let batch = Batch {
            vectors: &[],
            present,
            k: heads.len(),
            rows,
            d,
        };
        let report = known_loss_in_place(isa, &R::LOSS, &batch, outputs, d_outputs, scratch)?;
        let learn = Learn::<_, _, _, true> {
            setup: &Self::SETUP,
            backward: Backward {
                inputs,
                rows,
                y: outputs,
                dy: d_outputs,
                caches,
                scratch,
            },
            parameters,
            gradient: &mut [],
            moments,
            rates: update.rate,
            updates: &mut { update.before },
            loss: report.loss,
        };
        Ok((learn.run(isa)?, report))
    }
}
