//! A head that reads digits, trained on strips whose labels have some digits swapped, by the edit-invariant loss.

use rivergram_core::eisl::{Batch, Config, IGNORE, Shape, workspace_len};
use rivergram_core::error::TrainError;
use rivergram_core::features::Int8;
use rivergram_core::head::Head;
use rivergram_core::lanes::One;
use rivergram_core::schedule::Plan;
use rivergram_core::trainer::{self, Step};

use crate::data::{LONGEST, PIXEL_SCALE, PIXELS, Strip, TEST_STRIPS, TRAIN_STRIPS};
use crate::random::Random;
use crate::training::{SMALL, Training, kept};

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
pub const ORDERS: &[(usize, f32)] = &[(1, 1.0)];

/// Floats of workspace for a step, and for [`Transcriber::wrong`]: logits, what the head keeps, and first the loss, then the
/// gradient and four rows of features.
pub const WORKSPACE: usize = {
    let loss = workspace_len(SHAPE, ORDERS.len());
    let backward = PARAMETERS + 4 * PIXELS;
    let shared = if loss > backward { loss } else { backward };
    let step = BATCH * LONGEST * TOKENS + HEAD.cache_len(BATCH * LONGEST) + shared;
    let wrong = LONGEST * (PIXELS + TOKENS + 1);
    if step > wrong { step } else { wrong }
};

/// Bytes of a batch of pixels.
pub const BYTES: usize = BATCH * LONGEST * PIXELS;

/// Floats of all that is trained.
pub const FLOATS: usize = kept(PARAMETERS) + WORKSPACE;

/// A head in training, over memory for floats and for a batch.
pub struct Transcriber<'a>(Training<'a>);

impl<'a> Transcriber<'a> {
    /// A head with random weights; nothing where the memory is less than [`FLOATS`] and [`BYTES`].
    pub fn new(floats: &'a mut [f32], bytes: &'a mut [i8]) -> Option<Self> {
        Training::new(&[HEAD], SEED, [WORKSPACE, BYTES], floats, bytes).map(Self)
    }

    /// Trains up to a number of updates; returns the last step.
    pub fn train(
        &mut self,
        plan: &Plan<'_, f32>,
        updates: u64,
        config: &Config<'_, f32>,
    ) -> Result<Step<f32>, TrainError> {
        let (mut trainer, inputs, random) = self.0.trainer(plan)?;
        let mut last = Step::default();
        while trainer.updates() < updates {
            let (targets, lengths) = draw(inputs, random);
            let batch = Batch {
                output_lens: Some(&lengths),
                ..Batch::new(SHAPE, &targets)
            };
            let features = Int8 {
                values: &*inputs,
                scale: PIXEL_SCALE,
            };
            (last, _) = trainer.transcribe_int8(One::new(), config, &batch, features)?;
        }
        self.0.updates = trainer.updates();
        Ok(last)
    }

    /// How many digits of the test strips are read wrongly, and out of how many.
    pub fn wrong(&mut self) -> (u32, u32) {
        wrong(self.0.parameters, self.0.inputs, self.0.workspace)
    }
}

/// A batch of random strips: what their labels say, and their lengths.
fn draw(inputs: &mut [i8], random: &mut Random) -> ([i32; BATCH * LONGEST], [usize; BATCH]) {
    let mut targets = [IGNORE; BATCH * LONGEST];
    let mut lengths = [0; BATCH];
    let rows = inputs.chunks_exact_mut(LONGEST * PIXELS);
    let rows = rows
        .zip(targets.chunks_exact_mut(LONGEST))
        .zip(&mut lengths);
    for ((pixels, targets), length) in rows {
        let Some(strip) = Strip::get(random.below(TRAIN_STRIPS)) else {
            continue;
        };
        strip.read(pixels);
        *length = strip.len();
        for (target, token) in targets.iter_mut().zip(strip.label()) {
            *target = i32::from(*token);
        }
    }
    (targets, lengths)
}

/// See [`Transcriber::wrong`].
fn wrong(parameters: &[f32], inputs: &mut [i8], memory: &mut [f32]) -> (u32, u32) {
    let (values, _) = inputs.split_at_mut(LONGEST * PIXELS);
    let (pixels, rest) = memory.split_at_mut(LONGEST * PIXELS);
    let (logits, rest) = rest.split_at_mut(LONGEST * TOKENS);
    let (norms, _) = rest.split_at_mut(LONGEST);
    let (mut wrong, mut count) = (0, 0);
    for strip in (TRAIN_STRIPS..TRAIN_STRIPS + TEST_STRIPS).filter_map(Strip::get) {
        strip.read(values);
        Int8 {
            values,
            scale: PIXEL_SCALE,
        }
        .unpack(0, pixels);
        HEAD.forward(One::new(), parameters, pixels, logits, norms);
        for (digit, logits) in strip.digits().iter().zip(logits.chunks_exact(TOKENS)) {
            let digits = logits.iter().zip(0_u8..10);
            let read = digits.max_by(|(a, _), (b, _)| a.total_cmp(b));
            wrong += u32::from(read.is_none_or(|(_, read)| read != *digit));
            count += 1;
        }
    }
    (wrong, count)
}
