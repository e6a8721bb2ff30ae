//! Three heads, of text, image and audio, into one space, by the GRAM loss.

use embedded_storage::nor_flash::NorFlash;
use rivergram_core::error::TrainError;
use rivergram_core::features::{Int8, Int8Rows};
use rivergram_core::flash::{Part, PartMut, Slot, Store};
use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term, ZeroRows};
use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::tuple;
use rivergram_core::head::Head;
use rivergram_core::lanes::One;
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::Plan;
use rivergram_core::trainer::fixed::{self, Memory, Recipe, Update};
use rivergram_core::trainer::{self, SavedHead, Step};

use crate::data::{
    FEATURE_SCALE, FEATURES, Modality, NUMBER_FEATURES, NUMBERS, TEST_VOICES, TRAIN_VOICES,
};
use crate::random::Random;
use crate::training::{OPTIMIZER, SMALL, Training, kept};

/// Numbers of an embedding.
pub const OUTPUT: usize = if SMALL { 10 } else { 16 };

const SEED: u32 = 1;

/// Tuples of a batch.
pub const BATCH: usize = 8;

/// Of text, image and audio.
pub const HEADS: [Head; 3] = [Head {
    input: FEATURES,
    hidden: 0,
    output: OUTPUT,
    normalise: true,
}; 3];

/// Floats of all heads' parameters.
pub const PARAMETERS: usize = trainer::parameters_len(&HEADS);

/// The loss of the paper, with the texts as anchors.
const TERM: Term = Term::Volume(Anchor::One(0));

/// Floats of workspace for a step, and for retrieval between steps.
pub const WORKSPACE: usize = trainer::lean_align_workspace_len(&HEADS, BATCH, TERM);

/// Floats of all that is trained.
pub const FLOATS: usize = kept(PARAMETERS) + WORKSPACE;

/// Bytes of [`Heads::commit`].
pub const STORED: usize =
    size_of::<SavedHead>() + kept(PARAMETERS) * size_of::<f32>() + size_of::<Random>();

/// Texts that are looked for at once.
const TILE: usize = 10;

/// The loss of the paper among heads that normalise.
const PAPER: GramLoss<f32> = GramLoss {
    term: TERM,
    pairs: 0.0,
    temperature: 0.1,
    label_smoothing: 0.1,
    normalise: false,
    zero_rows: ZeroRows::Missing,
};

/// Training by the loss of the paper.
pub struct Paper;

impl Recipe<f32> for Paper {
    const HEADS: &'static [Head] = &HEADS;
    const ROWS: usize = BATCH;
    const OPTIMIZER: Optimizer<f32> = OPTIMIZER;
    const LOSS: GramLoss<f32> = PAPER;
}

/// With a weight of the pairs, which keeps image and sound from going apart.
pub struct WithPairs;

impl Recipe<f32> for WithPairs {
    const HEADS: &'static [Head] = &HEADS;
    const ROWS: usize = BATCH;
    const OPTIMIZER: Optimizer<f32> = OPTIMIZER;
    const LOSS: GramLoss<f32> = GramLoss {
        pairs: 0.3,
        ..PAPER
    };
}

/// Of text, image and sound, where the features of a batch lie in flash.
pub type Rows = [[u32; BATCH]; 3];

/// Heads in training, over memory for floats and for a batch.
pub struct Heads<'a>(Training<'a, Rows>);

impl<'a> Heads<'a> {
    /// Heads with random weights; nothing where the memory is less than [`FLOATS`].
    pub fn new(floats: &'a mut [f32], rows: &'a mut Rows) -> Option<Self> {
        Training::new(&HEADS, SEED, WORKSPACE, floats, rows).map(Self)
    }

    /// Trains up to a number of updates, by a recipe and at these rates; `each` gets what every step did.
    pub fn train<R: Recipe<f32>>(
        &mut self,
        rate: impl Fn(u64) -> f32,
        updates: u64,
        mut each: impl FnMut(Step<f32>),
    ) -> Result<(), TrainError> {
        let own = &mut self.0;
        while own.updates < updates {
            draw(&mut own.random, own.batch);
            let inputs = own.batch.each_ref().map(|rows| Int8Rows {
                table: NUMBER_FEATURES,
                rows,
                scale: FEATURE_SCALE,
            });
            let update = Update {
                before: own.updates,
                rate: rate(own.updates),
            };
            let memory = Memory {
                parameters: &mut *own.parameters,
                moments: &mut *own.moments,
                workspace: &mut *own.workspace,
            };
            let (step, _) = fixed::align::<R, _, _>(One::new(), memory, &inputs, None, update)?;
            own.updates += 1;
            each(step);
        }
        Ok(())
    }

    /// Updates made.
    pub fn updates(&self) -> u64 {
        self.0.updates
    }

    /// Weights and moments.
    pub fn numbers(&self) -> [&[f32]; 2] {
        [self.0.parameters, self.0.moments]
    }

    /// Stores all that the training needs in order to go on.
    pub fn commit(
        &mut self,
        plan: &Plan<'_, f32>,
        store: &mut Store,
        flash: &mut impl NorFlash,
        slots: &[Slot],
    ) -> Option<()> {
        let (trainer, random) = self.0.trainer(plan).ok()?;
        let (head, random) = (trainer.head(), random.state());
        let [head, weights, moments] = trainer.parts(&head);
        let parts = [head, weights, moments, Part::Bytes(&random)];
        store.commit(flash, slots, &parts).ok()?;
        Some(())
    }

    /// Goes back to what was stored.
    pub fn recover(
        &mut self,
        plan: &Plan<'_, f32>,
        store: &Store,
        flash: &mut impl NorFlash,
        slot: Slot,
    ) -> Option<()> {
        let (mut trainer, random) = self.0.trainer(plan).ok()?;
        let (mut head, mut state) = (SavedHead::new(), random.state());
        store.load_start(flash, slot, head.bytes_mut()).ok()?;
        let [head, weights, moments] = trainer.parts_mut(&mut head).ok()?;
        let mut parts = [head, weights, moments, PartMut::Bytes(&mut state)];
        store.load(flash, slot, &mut parts).ok()?;
        *random = Random::of(state);
        self.0.updates = trainer.updates();
        Some(())
    }

    /// How many texts find their own image and sound among those of all numbers, in the voices of the test, and out
    /// of how many: R@1.
    pub fn found(&mut self) -> Option<(u32, u32)> {
        found(self.0.parameters, self.0.workspace)
    }
}

/// A batch of different numbers, each in a voice of its own.
fn draw(random: &mut Random, rows: &mut Rows) {
    let mut chosen = [NUMBERS; BATCH];
    for i in 0..BATCH {
        let mut number = random.below(NUMBERS);
        while chosen.contains(&number) {
            number = random.below(NUMBERS);
        }
        chosen[i] = number;
        let voice = random.below(TRAIN_VOICES);
        for (modality, rows) in Modality::ALL.iter().zip(&mut *rows) {
            rows[i] = modality.row(voice, number);
        }
    }
}

/// See [`Heads::found`].
fn found(parameters: &[f32], workspace: &mut [f32]) -> Option<(u32, u32)> {
    let (features, rest) = workspace.split_first_chunk_mut::<FEATURES>()?;
    let (texts, _) = rest.split_first_chunk_mut::<{ TILE * OUTPUT }>()?;
    let (texts, _) = texts.as_chunks_mut::<OUTPUT>();
    let (mut hits, mut count) = (0, 0);
    for voice in TRAIN_VOICES..TRAIN_VOICES + TEST_VOICES {
        for first in (0..NUMBERS).step_by(TILE) {
            for (text, number) in texts.iter_mut().zip(first..) {
                *text = embed(parameters, Modality::Text, voice, number, features)?;
            }
            let mut nearest: [TopK<f32, 1>; TILE] =
                core::array::from_fn(|_| TopK::new(Measure::Volume.order()));
            for number in 0..NUMBERS {
                let image = embed(parameters, Modality::Image, voice, number, features)?;
                let sound = embed(parameters, Modality::Audio, voice, number, features)?;
                for (text, nearest) in texts.iter().zip(&mut nearest) {
                    nearest.push(tuple::volume(&[*text, image, sound]), number);
                }
            }
            for (nearest, number) in nearest.iter().zip(first..) {
                hits += u32::from(nearest.best().first()?.1 == number);
                count += 1;
            }
        }
    }
    Some((hits, count))
}

/// A number through the head of a modality.
fn embed(
    parameters: &[f32],
    modality: Modality,
    voice: usize,
    number: usize,
    features: &mut [f32; FEATURES],
) -> Option<[f32; OUTPUT]> {
    Int8 {
        values: modality.read(voice, number),
        scale: FEATURE_SCALE,
    }
    .unpack(0, features);
    let index = modality as usize;
    let parameters = parameters.chunks_exact(PARAMETERS / 3).nth(index)?;
    let mut embedding = [0.0; OUTPUT];
    HEADS
        .get(index)?
        .forward(One::new(), parameters, features, &mut embedding, &mut [0.0]);
    Some(embedding)
}
