//! A head that reads digits, trained on strips whose labels have some digits swapped, by the edit-invariant loss.

use rivergram_core::eisl::{Config, IGNORE, Shape};
use rivergram_core::error::TrainError;
use rivergram_core::features::{Int8, Int8Rows};
use rivergram_core::head::Head;
use rivergram_core::lanes::One;
use rivergram_core::optim::Optimizer;
use rivergram_core::trainer::fixed::{
    Labels, Memory, Transcription, Update, transcribe, transcribe_workspace_len,
};
use rivergram_core::trainer::{self, Step};

use crate::data::{LONGEST, PIXEL_SCALE, PIXELS, STRIP_FEATURES, Strip, TEST_STRIPS, TRAIN_STRIPS};
use crate::random::Random;
use crate::training::{OPTIMIZER, SMALL, Training, kept, larger};

/// Tokens: ten digits, and one for "something stands here", which these labels do not use.
pub const TOKENS: usize = 11;

/// Strips of a batch.
pub const BATCH: usize = if SMALL { 2 } else { 4 };

const SEED: u32 = 1;

/// The transcriber.
pub const HEAD: Head = Head {
    input: PIXELS,
    hidden: 0,
    output: TOKENS,
    normalise: false,
};

/// A batch of strips.
pub const SHAPE: Shape = Shape {
    batch: BATCH,
    positions: LONGEST,
    targets: LONGEST,
    vocabulary: TOKENS,
};

/// Floats of parameters.
pub const PARAMETERS: usize = trainer::parameters_len(&[HEAD]);

/// Orders and weights of the edit-invariant loss: single tokens, so that their order does not matter.
const ORDERS: &[(usize, f32)] = &[(1, 1.0)];

/// Training by cross-entropy, which takes a label as it stands.
pub struct CrossEntropy;

impl Transcription<f32> for CrossEntropy {
    const HEAD: Head = HEAD;
    const SHAPE: Shape = SHAPE;
    const OPTIMIZER: Optimizer<f32> = OPTIMIZER;
    const LOSS: Config<'static, f32> = Config::cross_entropy(0.0);
}

/// Training by the edit-invariant loss.
pub struct EditInvariant;

impl Transcription<f32> for EditInvariant {
    const HEAD: Head = HEAD;
    const SHAPE: Shape = SHAPE;
    const OPTIMIZER: Optimizer<f32> = OPTIMIZER;
    const LOSS: Config<'static, f32> = Config::with_clamp(ORDERS, Some(-20.0));
}

/// Floats of workspace for a step, and for [`Transcriber::wrong`].
pub const WORKSPACE: usize = larger(
    transcribe_workspace_len::<EditInvariant, f32>(),
    LONGEST * (PIXELS + TOKENS + 1),
);

/// Floats of all that is trained.
pub const FLOATS: usize = kept(PARAMETERS) + WORKSPACE;

/// A batch: pixels where they lie in flash, labels, and the lengths of its strips.
pub struct Drawn {
    rows: [[u32; LONGEST]; BATCH],
    targets: [[i32; LONGEST]; BATCH],
    lengths: [usize; BATCH],
}

impl Drawn {
    /// No strips.
    pub const NONE: Self = Drawn {
        rows: [[0; LONGEST]; BATCH],
        targets: [[0; LONGEST]; BATCH],
        lengths: [0; BATCH],
    };
}

/// A head in training, over memory for floats and for a batch.
pub struct Transcriber<'a>(Training<'a, Drawn>);

impl<'a> Transcriber<'a> {
    /// A head with random weights; nothing where the memory is less than [`FLOATS`].
    pub fn new(floats: &'a mut [f32], batch: &'a mut Drawn) -> Option<Self> {
        Training::new(&[HEAD], SEED, WORKSPACE, floats, batch).map(Self)
    }

    /// Trains up to a number of updates, at these rates; returns the last step.
    pub fn train<R: Transcription<f32>>(
        &mut self,
        rate: impl Fn(u64) -> f32,
        updates: u64,
    ) -> Result<Step<f32>, TrainError> {
        let own = &mut self.0;
        let mut last = Step::default();
        while own.updates < updates {
            draw(&mut own.random, own.batch);
            let inputs = Int8Rows {
                table: STRIP_FEATURES,
                rows: own.batch.rows.as_flattened(),
                scale: PIXEL_SCALE,
            };
            let strips = Labels {
                targets: own.batch.targets.as_flattened(),
                target_lens: None,
                output_lens: Some(&own.batch.lengths),
            };
            let memory = Memory {
                parameters: &mut *own.parameters,
                moments: &mut *own.moments,
                workspace: &mut *own.workspace,
            };
            let update = Update {
                before: own.updates,
                rate: rate(own.updates),
            };
            (last, _) = transcribe::<R, _, _>(One::new(), memory, inputs, strips, update)?;
            own.updates += 1;
        }
        Ok(last)
    }

    /// How many digits of the test strips are read wrongly, and out of how many.
    pub fn wrong(&mut self) -> (u32, u32) {
        wrong(self.0.parameters, self.0.workspace)
    }
}

/// A batch of random strips.
fn draw(random: &mut Random, batch: &mut Drawn) {
    let strips = batch.rows.iter_mut().zip(&mut batch.targets);
    for ((rows, targets), length) in strips.zip(&mut batch.lengths) {
        let Some(strip) = Strip::get(random.below(TRAIN_STRIPS)) else {
            continue;
        };
        for (to, row) in rows.iter_mut().zip(strip.rows()) {
            *to = row;
        }
        *length = strip.len();
        *targets = [IGNORE; LONGEST];
        for (target, token) in targets.iter_mut().zip(strip.label()) {
            *target = i32::from(*token);
        }
    }
}

/// See [`Transcriber::wrong`].
fn wrong(parameters: &[f32], memory: &mut [f32]) -> (u32, u32) {
    let (pixels, rest) = memory.split_at_mut(LONGEST * PIXELS);
    let (logits, rest) = rest.split_at_mut(LONGEST * TOKENS);
    let (norms, _) = rest.split_at_mut(LONGEST);
    let (mut wrong, mut count) = (0, 0);
    for strip in (TRAIN_STRIPS..TRAIN_STRIPS + TEST_STRIPS).filter_map(Strip::get) {
        let features = Int8 {
            values: STRIP_FEATURES,
            scale: PIXEL_SCALE,
        };
        let first = strip.rows().start as usize;
        features.unpack(first * PIXELS, pixels);
        HEAD.forward(One::new(), parameters, pixels, logits, norms);
        for (digit, logits) in strip.digits().iter().zip(logits.chunks_exact(TOKENS)) {
            let digits = logits.iter().zip(0_i8..10);
            let read = digits.max_by(|(a, _), (b, _)| a.total_cmp(b));
            wrong += u32::from(read.is_none_or(|(_, read)| read != *digit));
            count += 1;
        }
    }
    (wrong, count)
}
