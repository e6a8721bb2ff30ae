//! Steps of transcription whose options are constants.

use core::marker::PhantomData;

use super::{Memory, Update, first};
use crate::eisl::{self, Batch, Config, Losses, Shape};
use crate::error::{TrainBuffer, TrainError};
use crate::features::Features;
use crate::head::Head;
use crate::lanes::{Isa, Kernel, Real};
use crate::ops::take;
use crate::optim::Optimizer;
use crate::trainer::learn::{Backward, Learn};
use crate::trainer::{Bundle, Setup, Step, check_input, lean_transcribe_workspace_len};

/// The options of a training by a sequence loss.
///
/// What does not fit does not build, such as a head with fewer outputs than tokens:
///
/// ```compile_fail,E0080
/// use rivergram_core::lanes::One;
/// use rivergram_core::trainer::fixed::{Labels, Memory, Transcription, Update, transcribe};
/// use rivergram_core::{eisl::{Config, Shape}, head::Head, optim::Optimizer};
///
/// struct Short;
///
/// impl Transcription<f32> for Short {
///     const HEAD: Head = Head { input: 2, hidden: 0, output: 2, normalise: false };
///     const SHAPE: Shape = Shape { batch: 1, positions: 2, targets: 2, vocabulary: 3 };
///     const OPTIMIZER: Optimizer<f32> = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
///     const LOSS: Config<'static, f32> = Config::cross_entropy(0.0);
/// }
///
/// let memory = Memory { parameters: &mut [], moments: &mut [], workspace: &mut [] };
/// let labels = Labels { targets: &[2, 0], target_lens: None, output_lens: None };
/// let update = Update { before: 0, rate: 0.1 };
/// let _ = transcribe::<Short, _, _>(One::new(), memory, &[0.0_f32; 4][..], labels, update);
/// ```
pub trait Transcription<T: Real> {
    /// The head whose outputs are the logits. One with a hidden layer, one that normalises and one with other outputs
    /// than the vocabulary do not build.
    const HEAD: Head;
    /// The sizes of a batch.
    const SHAPE: Shape;
    /// The rule of the updates.
    const OPTIMIZER: Optimizer<T>;
    /// The gradient of all parameters is scaled down to this norm; `None` leaves it.
    const CLIP: Option<T> = None;
    /// The loss.
    const LOSS: Config<'static, T>;
}

/// The labels of a batch, and what of it is in use.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Labels<'a> {
    /// \[B\]\[U\], as in [`Batch::targets`].
    pub targets: &'a [i32],
    /// \[B\], as in [`Batch::target_lens`].
    pub target_lens: Option<&'a [usize]>,
    /// \[B\], as in [`Batch::output_lens`].
    pub output_lens: Option<&'a [usize]>,
}

/// What a step did, and its losses.
pub type Transcribed<T> = (Step<T>, Losses<T>);

/// Floats of [`Memory::workspace`]: [`lean_transcribe_workspace_len`]. Cost: none, it is a constant.
///
/// ```
/// use rivergram_core::trainer::fixed::{Transcription, transcribe_workspace_len};
/// use rivergram_core::trainer::lean_transcribe_workspace_len;
///
/// # use rivergram_core::{eisl::{Config, Shape}, head::Head, optim::Optimizer};
/// # struct Reader;
/// # impl Transcription<f32> for Reader {
/// #     const HEAD: Head = Head { input: 2, hidden: 0, output: 3, normalise: false };
/// #     const SHAPE: Shape = Shape { batch: 1, positions: 2, targets: 2, vocabulary: 3 };
/// #     const OPTIMIZER: Optimizer<f32> = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
/// #     const LOSS: Config<'static, f32> = Config::with_clamp(&[(1, 0.8), (2, 0.2)], Some(-20.0));
/// # }
/// // `Reader` is a transcription by two orders.
/// const LEN: usize = transcribe_workspace_len::<Reader, f32>();
/// assert_eq!(LEN, lean_transcribe_workspace_len(&Reader::HEAD, Reader::SHAPE, 2));
/// ```
pub const fn transcribe_workspace_len<R: Transcription<T>, T: Real>() -> usize {
    lean_transcribe_workspace_len(&R::HEAD, R::SHAPE, R::LOSS.order_count())
}

/// One step of transcription, as of [`Trainer::transcribe`](crate::trainer::Trainer::transcribe): `inputs` holds the
/// \[B, T, input\] features.
///
/// Cost: that of [`Trainer::transcribe`](crate::trainer::Trainer::transcribe) without a buffer for the gradient; features
/// in 8 bits are unpacked four rows at a time, once forward and once or twice backward.
///
/// # Errors
/// Sizes, everything that [`loss_and_gradient_in_place`](eisl::loss_and_gradient_in_place) refuses, a loss that is not
/// finite. After an error parameters and moments are as they were.
///
/// ```
/// use rivergram_core::eisl::{Config, Shape};
/// use rivergram_core::head::Head;
/// use rivergram_core::lanes::One;
/// use rivergram_core::optim::Optimizer;
/// use rivergram_core::trainer::fixed::{
///     Memory, Labels, Transcription, Update, transcribe, transcribe_workspace_len,
/// };
///
/// struct Reader;
///
/// impl Transcription<f32> for Reader {
///     const HEAD: Head = Head { input: 2, hidden: 0, output: 3, normalise: false };
///     const SHAPE: Shape = Shape { batch: 1, positions: 2, targets: 2, vocabulary: 3 };
///     const OPTIMIZER: Optimizer<f32> = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
///     const LOSS: Config<'static, f32> = Config::with_clamp(&[(1, 0.8), (2, 0.2)], Some(-20.0));
/// }
///
/// let (mut parameters, mut losses) = ([0.1; 9], [0.0; 2]);
/// let mut workspace = [0.0; transcribe_workspace_len::<Reader, f32>()];
/// for (before, loss) in (0..).zip(&mut losses) {
///     let memory = Memory { parameters: &mut parameters, moments: &mut [], workspace: &mut workspace };
///     let labels = Labels { targets: &[2, 0], target_lens: None, output_lens: None };
///     let update = Update { before, rate: 0.5 };
///     let (step, _) = transcribe::<Reader, _, _>(One::new(), memory, &[1.0, 0.0, 0.0, 1.0][..], labels, update)?;
///     *loss = step.loss;
/// }
/// assert!(losses[1] < losses[0]);
/// # Ok::<(), rivergram_core::error::TrainError>(())
/// ```
#[inline(always)]
pub fn transcribe<R: Transcription<I::Scalar>, I: Isa, F: Features<I::Scalar>>(
    isa: I,
    memory: Memory<'_, I::Scalar>,
    inputs: F,
    labels: Labels<'_>,
    update: Update<I::Scalar>,
) -> Result<Transcribed<I::Scalar>, TrainError> {
    isa.enter(Transcribe::<_, _, R> {
        memory,
        inputs,
        labels,
        update,
        recipe: PhantomData,
    })
}

struct Transcribe<'a, T, F, R> {
    memory: Memory<'a, T>,
    inputs: F,
    labels: Labels<'a>,
    update: Update<T>,
    recipe: PhantomData<R>,
}

impl<T: Real, F: Features<T>, R: Transcription<T>> Transcribe<'_, T, F, R> {
    const HEADS: &'static [Head] = &[R::HEAD];
    /// B·T.
    const ROWS: usize = {
        assert!(R::HEAD.hidden == 0, "a hidden layer needs a Trainer");
        assert!(!R::HEAD.normalise, "logits are not normalised");
        assert!(
            R::HEAD.output == R::SHAPE.vocabulary,
            "one output per token"
        );
        R::SHAPE.batch.saturating_mul(R::SHAPE.positions)
    };
    const PARAMETERS: usize = R::HEAD.parameters_len();
    const SETUP: Setup<'static, T> = Setup {
        heads: Self::HEADS,
        optimizer: R::OPTIMIZER,
        clip: R::CLIP,
    };
}

impl<T: Real, F: Features<T>, R: Transcription<T>> Kernel<T> for Transcribe<'_, T, F, R> {
    type Output = Result<Transcribed<T>, TrainError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        let Transcribe {
            memory,
            inputs,
            labels,
            update,
            ..
        } = self;
        Self::SETUP.check()?;
        check_input(0, &R::HEAD, Self::ROWS, inputs)?;
        let need = const { transcribe_workspace_len::<R, T>() };
        let workspace = first(TrainBuffer::Workspace, memory.workspace, need)?;
        let parameters = first(TrainBuffer::Parameters, memory.parameters, Self::PARAMETERS)?;
        let need = R::OPTIMIZER.state_len(Self::PARAMETERS);
        let moments = first(TrainBuffer::Moments, memory.moments, need)?;

        let (logits, rest) = take(workspace, Self::ROWS.saturating_mul(R::HEAD.output));
        let (caches, scratch) = take(rest, R::HEAD.cache_len(Self::ROWS));
        let bundle = Bundle {
            heads: Self::HEADS,
            inputs: &[inputs],
            rows: Self::ROWS,
        };
        bundle.forward::<true, I>(isa, parameters, logits, caches, scratch);
        let batch = Batch {
            target_lens: labels.target_lens,
            output_lens: labels.output_lens,
            ..Batch::new(R::SHAPE, labels.targets)
        };
        let losses = eisl::known_loss_in_place(isa, &R::LOSS, &batch, logits, scratch)?;
        let learn = Learn::<_, _, _, true> {
            setup: &Self::SETUP,
            backward: Backward {
                inputs: &[inputs],
                rows: Self::ROWS,
                y: &[],
                dy: logits,
                caches,
                scratch,
            },
            parameters,
            gradient: &mut [],
            moments,
            rates: update.rate,
            updates: &mut { update.before },
            loss: losses.total,
        };
        Ok((learn.run(isa)?, losses))
    }
}
