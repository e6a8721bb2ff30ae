//! Steps of alignment whose options are constants.

use core::marker::PhantomData;

use super::{Memory, Update, first};
use crate::error::{TrainBuffer, TrainError};
use crate::features::Features;
use crate::gram::contrastive::{Batch, GramLoss, GramReport, known_loss_in_place};
use crate::head::Head;
use crate::lanes::{Isa, Kernel, Real};
use crate::ops::take;
use crate::optim::Optimizer;
use crate::trainer::learn::{Backward, Learn};
use crate::trainer::{Bundle, Packing, Setup, Step, align_len, check_input, parameters_len};

/// The options of a training by the GRAM loss.
///
/// What a recipe cannot do does not build:
///
/// ```compile_fail,E0080
/// use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term, ZeroRows};
/// use rivergram_core::lanes::One;
/// use rivergram_core::trainer::fixed::{Memory, Recipe, Update, align};
/// use rivergram_core::{head::Head, optim::Optimizer};
///
/// struct Deep;
///
/// impl Recipe<f32> for Deep {
///     const HEADS: &[Head] = &[Head { input: 2, hidden: 4, output: 2, normalise: true }; 2];
///     const ROWS: usize = 2;
///     const OPTIMIZER: Optimizer<f32> = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
///     const LOSS: GramLoss<f32> = GramLoss {
///         term: Term::Volume(Anchor::One(0)),
///         pairs: 0.0,
///         temperature: 0.07,
///         label_smoothing: 0.1,
///         normalise: false,
///         zero_rows: ZeroRows::Missing,
///     };
/// }
///
/// let memory = Memory { parameters: &mut [], moments: &mut [], workspace: &mut [] };
/// let inputs = [&[1.0, 0.0, 0.05, 0.9][..], &[0.9, 0.1, 0.2, 0.8]];
/// let _ = align::<Deep, _, _>(One::new(), memory, &inputs, None, Update { before: 0, rate: 0.1 });
/// ```
pub trait Recipe<T: Real> {
    /// One per modality. A recipe without heads, with a hidden layer or with outputs of different lengths does not
    /// build.
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

/// What a step did, and what its loss found.
pub type Done<T> = (Step<T>, GramReport<T>);

/// Floats of [`Memory::workspace`]: [`lean_align_workspace_len`](crate::trainer::lean_align_workspace_len). Cost: none, it is a
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

/// One step of alignment, as of [`Trainer::align`](crate::trainer::Trainer::align): `inputs` holds for each head its
/// \[rows, input\] features, absent ones are `false` in `present` \[heads, rows\].
///
/// Cost: that of [`Trainer::align`](crate::trainer::Trainer::align) without a buffer for the gradient; features in 8 bits are
/// unpacked four rows at a time, once forward and once or twice backward.
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
/// let (step, _) = align::<Pair, _, _>(One::new(), memory, &inputs, None, update)?;
/// assert!(step.loss > 0.0 && parameters != before);
/// # Ok::<(), rivergram_core::error::TrainError>(())
/// ```
#[inline(always)]
pub fn align<R: Recipe<I::Scalar>, I: Isa, F: Features<I::Scalar>>(
    isa: I,
    memory: Memory<'_, I::Scalar>,
    inputs: &[F],
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
