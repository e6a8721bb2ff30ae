//! A training that decays early where the battery is low, and keeps both states in flash: the one from before the decay
//! and the release. After the first release it goes on from it (WSD-S), after the second from before the decay (WSD).
//! The power may go at any moment: the program boots, takes up what the flash holds, and ends as if it had stayed. The
//! flash is the file `flash.bin`; at the end what every slot holds goes to `final.bin`.
#![no_std]
#![no_main]

use embedded_storage::nor_flash::ReadNorFlash;
use rivergram_board as board;
use rivergram_board::memory::Memory;
use rivergram_core::features::Int8;
use rivergram_core::flash::{Layout, Slot, Store};
use rivergram_core::lanes::One;
use rivergram_core::schedule::{Plan, State};
use rivergram_core::trainer::fixed::Recipe;
use rivergram_core::trainer::{EarlyDecay, SavedHead, Setup, Storage, Trainer};
use rivergram_firmware::align::{BATCH, HEADS, PARAMETERS, WORKSPACE, WithPairs};
use rivergram_firmware::data::{FEATURE_SCALE, FEATURES, Modality, NUMBERS, TRAIN_VOICES};
use rivergram_firmware::flash::FileFlash;
use rivergram_firmware::random::Random;
use rivergram_firmware::training::{self, OPTIMIZER, SMALL};
use semihosting::fs::File;
use semihosting::io::Write;

const MOMENTS: usize = training::kept(PARAMETERS) - PARAMETERS;
const PEAK: f32 = if SMALL { 0.3 } else { 0.01 };

/// When the battery is low: the update, and how many more it lasts.
const LOW: [(u64, u64); 2] = [(24, 12), (52, 9)];
/// The last update.
const LAST: u64 = 70;
/// Updates between two commits of the latest state.
const EVERY: u64 = 2;

/// Bytes of a batch of features: text, image, audio.
const BYTES: usize = 3 * BATCH * FEATURES;

struct Buffers {
    parameters: [f32; PARAMETERS],
    moments: [f32; MOMENTS],
    workspace: [f32; WORKSPACE],
    batch: [i8; BYTES],
}

static BUFFERS: Memory<Buffers> = Memory::new(Buffers {
    parameters: [0.0; PARAMETERS],
    moments: [0.0; MOMENTS],
    workspace: [0.0; WORKSPACE],
    batch: [0; BYTES],
});

#[board::entry]
fn main() -> ! {
    let done = BUFFERS.take().and_then(run);
    board::exit(if done.is_some() { 0 } else { 1 })
}

fn run(buffers: &mut Buffers) -> Option<()> {
    let mut random = Random::new(1);
    let heads = buffers.parameters.chunks_exact_mut(PARAMETERS / 3);
    for (head, parameters) in HEADS.iter().zip(heads) {
        head.initialise(parameters, |bound| random.symmetric(bound));
    }
    let setup = Setup {
        heads: &HEADS,
        optimizer: OPTIMIZER,
        clip: None,
    };
    let storage = Storage {
        parameters: &mut buffers.parameters,
        gradient: &mut [],
        moments: &mut buffers.moments,
        workspace: &mut buffers.workspace,
    };
    let plan = Plan::new(training::settings(PEAK), &[]).ok()?; // No known end.
    let mut trainer = Trainer::new(setup, storage, State::new(&plan)).ok()?;
    let mut flash = FileFlash::open(c"flash.bin")?;
    let layout = Layout {
        start: 0,
        end: u32::try_from(flash.capacity()).ok()?,
        payload: size_of::<SavedHead>() + (PARAMETERS + MOMENTS) * size_of::<f32>(),
        budgets: LOW.len(),
    };
    let mut store = Store::open(&mut flash, &layout).ok()?;
    if store.lost().is_some() {
        return None;
    }
    if store.has(Slot::Latest) {
        load(&mut trainer, &store, &mut flash, Slot::Latest)?;
    }
    while trainer.updates() < LAST {
        let now = trainer.updates();
        let low = LOW.iter().find(|(update, _)| *update == now);
        if let Some((_, left)) = low.filter(|(at, left)| !store.has(Slot::Budget(at + left))) {
            let slots = [Slot::BeforeDecay, Slot::Latest];
            let keep = |trainer: &Trainer<'_, f32>| {
                commit(trainer, &mut store, &mut flash, &slots).ok_or(())
            };
            let EarlyDecay::Begun { .. } = trainer.decay_early(*left, keep).ok()? else {
                return None;
            };
        }
        let end = trainer.decay_end();
        update(&mut trainer, &mut buffers.batch)?;
        let now = trainer.updates();
        match end {
            Some(end) if end == now && is_branch(end) => {
                // A branch: not the latest state. Cut between these two, it is decayed and released once more.
                commit(&trainer, &mut store, &mut flash, &[Slot::Budget(end)])?;
                load(&mut trainer, &store, &mut flash, Slot::BeforeDecay)?;
                commit(&trainer, &mut store, &mut flash, &[Slot::Latest])?;
            }
            Some(end) if end == now => {
                let slots = [Slot::Budget(end), Slot::Latest];
                commit(&trainer, &mut store, &mut flash, &slots)?;
            }
            _ if now.is_multiple_of(EVERY) => {
                commit(&trainer, &mut store, &mut flash, &[Slot::Latest])?;
            }
            _ => {}
        }
    }
    commit(&trainer, &mut store, &mut flash, &[Slot::Latest])?;
    let releases = LOW.map(|(update, left)| Slot::Budget(update + left));
    let mut end = File::create(c"final.bin").ok()?;
    for slot in [Slot::BeforeDecay, Slot::Latest]
        .into_iter()
        .chain(releases)
    {
        load(&mut trainer, &store, &mut flash, slot)?;
        end.write_all(&trainer.updates().to_le_bytes()).ok()?;
        end.write_all(&trainer.schedule().rate().to_le_bytes())
            .ok()?;
        for number in [trainer.parameters(), trainer.moments()]
            .into_iter()
            .flatten()
        {
            end.write_all(&number.to_le_bytes()).ok()?;
        }
    }
    Some(())
}

/// Whether what ends here is thrown away, once it is released.
fn is_branch(end: u64) -> bool {
    let (update, left) = LOW[1];
    end == update + left
}

/// One update, on a batch that is a function of its number: no generator is stored.
fn update(trainer: &mut Trainer<'_, f32>, batch: &mut [i8; BYTES]) -> Option<()> {
    let mut random = Random::new((trainer.updates() as u32 + 1).wrapping_mul(0x9e37_79b9));
    let first = random.below(NUMBERS);
    let voices: [usize; BATCH] = core::array::from_fn(|_| random.below(TRAIN_VOICES));
    for (modality, plane) in Modality::ALL.iter().zip(batch.chunks_exact_mut(BYTES / 3)) {
        for ((row, voice), i) in plane.chunks_exact_mut(FEATURES).zip(voices).zip(0..) {
            let features = modality.read(voice, (first + 11 * i) % NUMBERS);
            row.iter_mut().zip(features).for_each(|(to, q)| *to = *q);
        }
    }
    let (planes, _) = batch.as_chunks::<{ BYTES / 3 }>();
    let mut inputs = [Int8 {
        values: &[],
        scale: FEATURE_SCALE,
    }; 3];
    for (input, plane) in inputs.iter_mut().zip(planes) {
        input.values = plane;
    }
    trainer
        .align_int8(One::new(), &WithPairs::LOSS, &inputs, None, BATCH)
        .ok()?;
    Some(())
}

/// Stores the state of the training in some slots at once.
fn commit(
    trainer: &Trainer<'_, f32>,
    store: &mut Store,
    flash: &mut FileFlash,
    slots: &[Slot],
) -> Option<()> {
    let head = trainer.head();
    store.commit(flash, slots, &trainer.parts(&head)).ok()?;
    Some(())
}

/// Goes back to what a slot holds.
fn load(
    trainer: &mut Trainer<'_, f32>,
    store: &Store,
    flash: &mut FileFlash,
    slot: Slot,
) -> Option<()> {
    let mut head = SavedHead::new();
    store.load_start(flash, slot, head.bytes_mut()).ok()?;
    let mut parts = trainer.parts_mut(&mut head).ok()?;
    store.load(flash, slot, &mut parts).ok()?;
    Some(())
}
