//! Three heads, of text, image and audio, into one space, by the GRAM loss.

use embedded_storage::nor_flash::NorFlash;
use rivergram_core::error::TrainError;
use rivergram_core::features::Int8;
use rivergram_core::flash::{Part, PartMut, Slot, Store};
use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term, ZeroRows};
use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::tuple;
use rivergram_core::head::Head;
use rivergram_core::lanes::One;
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::{Plan, State};
use rivergram_core::trainer::{self, SavedHead, Setup, Step, Storage, Trainer};

use crate::data::{FEATURE_SCALE, FEATURES, Modality, NUMBERS, TEST_VOICES, TRAIN_VOICES};
use crate::random::Random;

/// Numbers of an embedding.
pub const OUTPUT: usize = if cfg!(small) { 10 } else { 16 };

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

/// Bytes of a batch of features: text, image, audio.
pub const BYTES: usize = 3 * BATCH * FEATURES;

/// Floats of all that is trained with so many numbers of state per parameter: 0 with SGD, 2 with AdamW.
pub const fn floats(state: usize) -> usize {
    (1 + state) * PARAMETERS + WORKSPACE
}

/// Bytes of [`Heads::commit`].
pub const fn stored(state: usize) -> usize {
    size_of::<SavedHead>() + (1 + state) * PARAMETERS * size_of::<f32>() + size_of::<Random>()
}

/// Texts that are looked for at once.
const TILE: usize = 10;

/// The loss: a weight of the pairs keeps image and sound from going apart.
pub const LOSS: GramLoss<f32> = GramLoss {
    term: TERM,
    pairs: 0.3,
    temperature: 0.1,
    label_smoothing: 0.1,
    normalise: false,
    zero_rows: ZeroRows::Missing,
};

/// Heads in training, over memory for floats and for a batch.
pub struct Heads<'a> {
    optimizer: Optimizer<f32>,
    parameters: &'a mut [f32],
    moments: &'a mut [f32],
    workspace: &'a mut [f32],
    inputs: &'a mut [i8],
    random: Random,
    updates: u64,
}

impl<'a> Heads<'a> {
    /// Heads with random weights; nothing where the memory is less than [`floats`] and [`BYTES`].
    pub fn new(
        optimizer: Optimizer<f32>,
        floats: &'a mut [f32],
        bytes: &'a mut [i8],
    ) -> Option<Self> {
        let mut random = Random::new(SEED);
        let (parameters, rest) = floats.split_at_mut_checked(PARAMETERS)?;
        let (moments, workspace) = rest.split_at_mut_checked(optimizer.state_len(PARAMETERS))?;
        let (inputs, _) = bytes.split_at_mut_checked(BYTES)?;
        for (head, parameters) in HEADS
            .iter()
            .zip(parameters.chunks_exact_mut(PARAMETERS / 3))
        {
            head.initialise(parameters, |bound| random.symmetric(bound));
        }
        moments.fill(0.0);
        (workspace.len() >= WORKSPACE).then_some(Self {
            optimizer,
            parameters,
            moments,
            workspace,
            inputs,
            random,
            updates: 0,
        })
    }

    /// Trains up to a number of updates; `each` gets what every step did.
    pub fn train(
        &mut self,
        plan: &Plan<'_, f32>,
        updates: u64,
        mut each: impl FnMut(Step<f32>),
    ) -> Result<(), TrainError> {
        let (mut trainer, inputs, random) = self.trainer(plan)?;
        while trainer.updates() < updates {
            draw(inputs, random);
            let planes = inputs.as_chunks::<{ BATCH * FEATURES }>().0;
            let mut inputs = [Int8 {
                values: &[],
                scale: FEATURE_SCALE,
            }; 3];
            for (input, plane) in inputs.iter_mut().zip(planes) {
                input.values = plane;
            }
            let (step, _) = trainer.align_int8(One::new(), &LOSS, &inputs, None, BATCH)?;
            each(step);
        }
        self.updates = trainer.updates();
        Ok(())
    }

    /// The trainer, a batch, and what draws it.
    fn trainer<'t>(
        &'t mut self,
        plan: &'t Plan<'_, f32>,
    ) -> Result<(Trainer<'t, f32>, &'t mut [i8], &'t mut Random), TrainError> {
        let setup = Setup {
            heads: &HEADS,
            optimizer: self.optimizer,
            clip: None,
        };
        let storage = Storage {
            parameters: &mut *self.parameters,
            gradient: &mut [],
            moments: &mut *self.moments,
            workspace: &mut *self.workspace,
        };
        let schedule = State::at(plan, self.updates);
        let trainer = Trainer::resume(setup, storage, schedule, self.updates)?;
        Ok((trainer, self.inputs, &mut self.random))
    }

    /// Updates made.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Weights and moments.
    pub fn numbers(&self) -> [&[f32]; 2] {
        [self.parameters, self.moments]
    }

    /// Stores all that the training needs in order to go on.
    pub fn commit(
        &mut self,
        plan: &Plan<'_, f32>,
        store: &mut Store,
        flash: &mut impl NorFlash,
        slots: &[Slot],
    ) -> Option<()> {
        let (trainer, _, random) = self.trainer(plan).ok()?;
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
        let (mut trainer, _, random) = self.trainer(plan).ok()?;
        let (mut head, mut state) = (SavedHead::new(), random.state());
        store.load_start(flash, slot, head.bytes_mut()).ok()?;
        let [head, weights, moments] = trainer.parts_mut(&mut head).ok()?;
        let mut parts = [head, weights, moments, PartMut::Bytes(&mut state)];
        store.load(flash, slot, &mut parts).ok()?;
        *random = Random::of(state);
        self.updates = trainer.updates();
        Some(())
    }

    /// How many texts find their own image and sound among those of all numbers, in the voices of the test, and out
    /// of how many: R@1.
    pub fn found(&mut self) -> Option<(u32, u32)> {
        found(self.parameters, self.workspace)
    }
}

/// A batch of different numbers, each in a voice of its own.
fn draw(inputs: &mut [i8], random: &mut Random) {
    let mut chosen = [NUMBERS; BATCH];
    let mut voices = [0; BATCH];
    for i in 0..BATCH {
        let mut number = random.below(NUMBERS);
        while chosen.contains(&number) {
            number = random.below(NUMBERS);
        }
        chosen[i] = number;
        voices[i] = random.below(TRAIN_VOICES);
    }
    let planes = inputs.chunks_exact_mut(BATCH * FEATURES);
    for (modality, plane) in Modality::ALL.iter().zip(planes) {
        let rows = plane.chunks_exact_mut(FEATURES);
        for ((number, voice), row) in chosen.iter().zip(voices).zip(rows) {
            modality.read(voice, *number, row);
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
    let values = &mut [0; FEATURES];
    modality.read(voice, number, values);
    Int8 {
        values,
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
