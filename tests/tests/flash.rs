//! The store in flash under every fault: the power cut at each write and each erasure of a whole training, torn
//! operations, flipped bits, destroyed and worn pages. `RIVERGRAM_FAULTS=long` makes the trainings longer and takes
//! more kinds of flash; `cargo xtask faults` does.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use rivergram_core::eisl::{Batch, Config, Shape};
use rivergram_core::error::{FlashError, PlanPart, StateError, TrainError};
use rivergram_core::flash::{Layout, Part, PartMut, Slot, Store};
use rivergram_core::head::Head;
use rivergram_core::lanes::One;
use rivergram_core::optim::Optimizer;
use rivergram_core::optim::average::{Ema, Start};
use rivergram_core::schedule::{Phase, Plan, Progress, Settings, State};
use rivergram_core::trainer::{SavedHead, Setup, Trainer};
use rivergram_tests::nor::Nor;
use rivergram_tests::random::Random;
use rivergram_tests::train::Buffers;

const VOCABULARY: usize = 7;
const INPUTS: usize = 8;
const ROWS: usize = 3;

const HEADS: [Head; 1] = [Head {
    input: INPUTS,
    hidden: 0,
    output: VOCABULARY,
    normalise: false,
}];

fn setup() -> Setup<'static, f32> {
    Setup {
        heads: &HEADS,
        optimizer: Optimizer::adamw(),
        clip: Some(1.0),
    }
}

fn is_long() -> bool {
    std::env::var("RIVERGRAM_FAULTS").is_ok_and(|value| value == "long")
}

/// Steps between two commits of the latest state.
const EVERY: u64 = 10;

fn settings() -> Settings<f32> {
    Settings {
        warmup: 5,
        ..Settings::wsd_s(0.05, 0.005)
    }
}

fn budgets() -> &'static [u64] {
    match is_long() {
        true => &[200, 400, 700, 1000],
        false => &[40, 70, 100],
    }
}

/// A training on a device, with all that a power cut must not lose.
#[derive(Clone, Debug)]
struct Run {
    buffers: Buffers<f32>,
    average: Vec<f32>,
    ema: Ema<f32>,
    random: u64,
    tokens: u64,
    progress: Option<Progress<f32>>,
    updates: u64,
}

/// Random numbers, average and tokens beside a trainer's own state.
const BESIDE: usize = 8 + 8 + 8;

impl Run {
    fn new() -> Self {
        let shape = Shape {
            batch: ROWS,
            positions: 1,
            targets: 1,
            vocabulary: VOCABULARY,
        };
        let batch = Batch::new(shape, &[]);
        let workspace = setup().transcribe_workspace_len(&Config::cross_entropy(0.0), &batch);
        let buffers = Buffers::new(&setup(), workspace, 5);
        Run {
            average: vec![0.0; buffers.parameters.len()],
            buffers,
            ema: Ema::with_decay(0.9, Start::Unbiased).expect("a constant"),
            random: 9,
            tokens: 0,
            progress: None,
            updates: 0,
        }
    }

    fn payload() -> usize {
        let floats = 2 * setup().parameters_len() + setup().moments_len();
        SavedHead::new().bytes_mut().len() + floats * 4 + BESIDE
    }

    /// Does something with the trainer, and keeps what it has become.
    fn with<R>(
        &mut self,
        plan: &Plan<'_, f32>,
        act: impl FnOnce(&mut Trainer<'_, f32>, Beside<'_>) -> R,
    ) -> R {
        let state = match self.progress {
            Some(progress) => State::with_progress(plan, progress).expect("its own plan"),
            None => State::new(plan),
        };
        let storage = self.buffers.storage();
        let trainer = Trainer::resume(setup(), storage, state, self.updates);
        let mut trainer = trainer.expect("a trainer");
        let beside = Beside {
            average: &mut self.average,
            ema: &mut self.ema,
            random: &mut self.random,
            tokens: &mut self.tokens,
        };
        let result = act(&mut trainer, beside);
        self.progress = Some(trainer.schedule().progress());
        self.updates = trainer.updates();
        result
    }

    fn step(&mut self, plan: &Plan<'_, f32>) {
        self.with(plan, |trainer, beside| {
            let mut random = Random::new(*beside.random);
            let labels: Vec<i32> = (0..ROWS).map(|_| random.below(VOCABULARY) as i32).collect();
            let noisy = |label: &i32| {
                let row: Vec<f32> = (0..INPUTS as i32)
                    .map(|i| if i == *label { 1.0 } else { 0.2 })
                    .collect();
                row
            };
            let inputs: Vec<f32> = labels.iter().flat_map(noisy).collect();
            let inputs: Vec<f32> = inputs
                .iter()
                .map(|x| x + 0.1 * random.normal() as f32)
                .collect();
            let shape = Shape {
                batch: ROWS,
                positions: 1,
                targets: 1,
                vocabulary: VOCABULARY,
            };
            let config = Config::cross_entropy(0.0);
            let batch = Batch::new(shape, &labels);
            let step = trainer.transcribe(One::new(), &config, &batch, &inputs);
            step.expect("a step");
            let averaged = beside
                .ema
                .update(One::new(), trainer.parameters(), beside.average);
            averaged.expect("an average");
            *beside.random = random.bits();
            *beside.tokens += ROWS as u64;
        });
    }

    fn commit<const PAGE: usize, const UNIT: usize>(
        &mut self,
        plan: &Plan<'_, f32>,
        store: &mut Store,
        flash: &mut Nor<PAGE, UNIT>,
        slots: &[Slot],
    ) -> Result<u64, FlashError> {
        self.with(plan, |trainer, beside| {
            let head = trainer.head();
            let [head, weights, moments] = trainer.parts(&head);
            let counters = beside.counters();
            let average = Part::Numbers(beside.average);
            let parts = [head, weights, moments, average, Part::Bytes(&counters)];
            store.commit(flash, slots, &parts)
        })
    }

    /// What [`Run::commit`] stores.
    fn bytes(&mut self, plan: &Plan<'_, f32>) -> Vec<u8> {
        let mut flash = Nor::<4096, 4>::new(8);
        let mut store = Store::open(&mut flash, &layout::<4096>(1)).expect("a store");
        let done = self.commit(plan, &mut store, &mut flash, &[Slot::Latest]);
        done.expect("a commit");
        load(&store, &mut flash, Slot::Latest).expect("what was committed")
    }

    fn recover<const PAGE: usize, const UNIT: usize>(
        &mut self,
        plan: &Plan<'_, f32>,
        store: &Store,
        flash: &mut Nor<PAGE, UNIT>,
        slot: Slot,
    ) -> Result<(), Box<dyn std::error::Error>> {
        self.with(plan, |trainer, beside| {
            let (mut head, mut counters) = (SavedHead::new(), [0; BESIDE]);
            store.load_start(flash, slot, head.bytes_mut())?;
            let [head, weights, moments] = trainer.parts_mut(&mut head)?;
            let average = PartMut::Numbers(beside.average);
            let mut parts = [
                head,
                weights,
                moments,
                average,
                PartMut::Bytes(&mut counters),
            ];
            store.load(flash, slot, &mut parts)?;
            let [random, tokens, averaged] = [0, 8, 16]
                .map(|at| u64::from_le_bytes(counters[at..at + 8].try_into().expect("8 bytes")));
            (*beside.random, *beside.tokens) = (random, tokens);
            *beside.ema = beside.ema.after(averaged);
            Ok(())
        })
    }
}

struct Beside<'a> {
    average: &'a mut [f32],
    ema: &'a mut Ema<f32>,
    random: &'a mut u64,
    tokens: &'a mut u64,
}

impl Beside<'_> {
    fn counters(&self) -> [u8; BESIDE] {
        let numbers = [*self.random, *self.tokens, self.ema.updates()];
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.try_into().expect("three numbers")
    }
}

/// Budgets that the stores keep: one fewer than there are, so that the oldest goes.
fn kept() -> usize {
    budgets().len() - 1
}

/// Room for the slots, the commit that replaces one, and a number of areas besides.
fn layout<const PAGE: usize>(spare: usize) -> Layout {
    let trailer = PAGE - 32;
    let pages = 1 + Run::payload()
        .saturating_sub(trailer - 256)
        .div_ceil(trailer);
    let areas = 2 + kept() + 1 + spare;
    Layout {
        start: 0,
        end: (areas * pages * PAGE) as u32,
        payload: Run::payload(),
        budgets: kept(),
    }
}

/// The same at another place.
fn behind(start: usize, layout: Layout) -> Layout {
    let start = start as u32;
    let end = layout.end + start;
    Layout {
        start,
        end,
        ..layout
    }
}

fn flash_for<const PAGE: usize, const UNIT: usize>(layout: &Layout) -> Nor<PAGE, UNIT> {
    Nor::new(layout.end as usize / PAGE)
}

fn load<const PAGE: usize, const UNIT: usize>(
    store: &Store,
    flash: &mut Nor<PAGE, UNIT>,
    slot: Slot,
) -> Result<Vec<u8>, FlashError> {
    let mut bytes = vec![0; Run::payload()];
    store.load(flash, slot, &mut [PartMut::<f32>::Bytes(&mut bytes)])?;
    Ok(bytes)
}

/// What a store should hold.
type Picture = Vec<(Slot, Vec<u8>)>;

/// After a commit to these slots.
fn painted(mut picture: Picture, slots: &[Slot], bytes: &[u8]) -> Picture {
    for slot in slots {
        picture.retain(|(other, _)| other != slot);
        picture.push((*slot, bytes.to_vec()));
        let is_budget = |(slot, _): &(Slot, Vec<u8>)| matches!(slot, Slot::Budget(_));
        if picture.iter().filter(|entry| is_budget(entry)).count() > kept() {
            let oldest = picture.iter().position(is_budget).expect("a budget");
            picture.remove(oldest);
        }
    }
    picture
}

fn assert_holds<const PAGE: usize, const UNIT: usize>(
    store: &Store,
    flash: &mut Nor<PAGE, UNIT>,
    picture: &Picture,
    place: &str,
) {
    let slots = [Slot::Latest, Slot::BeforeDecay]
        .into_iter()
        .filter(|slot| store.has(*slot))
        .chain(store.budgets().map(Slot::Budget));
    assert_eq!(slots.count(), picture.len(), "{place}: {store:?}");
    for (slot, bytes) in picture {
        match load(store, flash, *slot) {
            Ok(found) => assert!(found == *bytes, "{place}: {slot} holds something else"),
            Err(e) => panic!("{place}: {e}"),
        }
    }
}

/// A commit of the undisturbed training.
struct Moment {
    step: u64,
    slots: Vec<Slot>,
    bytes: Vec<u8>,
    /// The slots after it.
    picture: Picture,
}

/// The slots of a step: a firmware asks the schedule.
fn slots(plan: &Plan<'_, f32>, step: u64) -> Vec<Slot> {
    let mut slots = Vec::new();
    let decays = plan.decays();
    for decay in decays {
        if decay.start == step {
            slots.push(Slot::BeforeDecay);
        }
        if decay.end == step {
            slots.push(Slot::Budget(step));
        }
    }
    if !slots.is_empty() || step.is_multiple_of(EVERY) {
        slots.push(Slot::Latest);
    }
    slots
}

/// The whole training: its commits.
fn undisturbed(plan: &Plan<'_, f32>) -> Vec<Moment> {
    let (mut run, mut moments, mut picture) = (Run::new(), Vec::new(), Picture::new());
    for step in 1..=plan.total().expect("an end") {
        run.step(plan);
        let slots = slots(plan, step);
        if slots.is_empty() {
            continue;
        }
        let bytes = run.bytes(plan);
        picture = painted(picture, &slots, &bytes);
        moments.push(Moment {
            step,
            slots,
            bytes,
            picture: picture.clone(),
        });
    }
    moments
}

#[derive(Debug, Default)]
struct Counts {
    commits: u64,
    cuts: u64,
    erasures: u64,
    second_cuts: u64,
    kept_old: u64,
    kept_new: u64,
}

/// Cuts the power at every operation of every commit, tears that operation, and goes on from what is there to the
/// next commit, which is cut once more at random.
fn cut_everywhere<const PAGE: usize, const UNIT: usize>(seed: u64) -> Counts {
    let plan = Plan::new(settings(), budgets()).expect("a plan");
    let moments = undisturbed(&plan);
    // Behind the program, as on a device.
    let layout = behind(3 * PAGE, layout::<PAGE>(0));
    let mut flash = flash_for::<PAGE, UNIT>(&layout);
    flash.bytes[..3 * PAGE].fill(0x5a);
    let mut store = Store::open(&mut flash, &layout).expect("a store");
    let mut random = Random::new(seed);
    let (mut counts, mut before) = (Counts::default(), Picture::new());
    let mut run = Run::new();
    for (index, moment) in moments.iter().enumerate() {
        while run.updates < moment.step {
            run.step(&plan);
        }
        // Without a cut, to know how many operations there are.
        let (was_flash, was_store) = (flash.clone(), store);
        let done = run.commit(&plan, &mut store, &mut flash, &moment.slots);
        done.unwrap_or_else(|e| panic!("step {}: {e}", moment.step));
        assert_holds(&store, &mut flash, &moment.picture, "undisturbed");
        let operations = flash.operations() - was_flash.operations();
        counts.commits += 1;
        counts.erasures += flash.erases.iter().sum::<u64>() - was_flash.erases.iter().sum::<u64>();
        for operation in 0..operations {
            let place = format!("commit {index}, cut at operation {operation} of {operations}");
            let (mut flash, mut store) = (was_flash.clone(), was_store);
            flash.cut_after(operation, random.bits());
            let cut = run
                .clone()
                .commit(&plan, &mut store, &mut flash, &moment.slots);
            assert!(
                matches!(cut, Err(FlashError::Device { .. })),
                "{place}: {cut:?}"
            );
            flash.power();
            counts.cuts += 1;
            let mut store = Store::open(&mut flash, &layout).expect(&place);
            assert_eq!(store.lost(), None, "{place}");
            if store.sequence() == was_store.sequence() {
                counts.kept_old += 1;
                assert_holds(&store, &mut flash, &before, &place);
            } else {
                counts.kept_new += 1;
                assert_holds(&store, &mut flash, &moment.picture, &place);
            }
            // On from there, and cut once more.
            let mut resumed = Run::new();
            if store.has(Slot::Latest) {
                let recovered = resumed.recover(&plan, &store, &mut flash, Slot::Latest);
                recovered.unwrap_or_else(|e| panic!("{place}: {e}"));
            }
            let next = moments.iter().find(|next| next.step > resumed.updates);
            let Some(next) = next else { continue };
            while resumed.updates < next.step {
                resumed.step(&plan);
            }
            let (again, seed) = (random.below(operations as usize), random.bits());
            flash.cut_after(again as u64, seed);
            let _ = resumed.commit(&plan, &mut store, &mut flash, &next.slots);
            flash.power();
            counts.second_cuts += 1;
            let mut store = Store::open(&mut flash, &layout).expect(&place);
            assert_eq!(store.lost(), None, "{place}, then at {again}");
            let done = resumed.commit(&plan, &mut store, &mut flash, &next.slots);
            done.unwrap_or_else(|e| panic!("{place}: {e}"));
            assert_holds(&store, &mut flash, &next.picture, &place);
            assert!(
                load(&store, &mut flash, Slot::Latest).as_ref() == Ok(&next.bytes),
                "{place}"
            );
            assert!(flash.bytes[..3 * PAGE].iter().all(|byte| *byte == 0x5a));
        }
        before = moment.picture.clone();
    }
    println!("pages of {PAGE}, units of {UNIT}: {counts:?}");
    assert_eq!(counts.cuts, counts.kept_old + counts.kept_new);
    assert!(counts.kept_old > 0 && counts.kept_new > 0);
    counts
}

#[test]
fn nothing_is_lost_wherever_the_power_is_cut() {
    let mut kinds: Vec<fn() -> Counts> = vec![|| cut_everywhere::<512, 4>(1), || {
        cut_everywhere::<1024, 16>(2)
    }];
    if is_long() {
        kinds.push(|| cut_everywhere::<512, 1>(3));
        kinds.push(|| cut_everywhere::<2048, 8>(4));
        kinds.push(|| cut_everywhere::<4096, 32>(5));
        kinds.push(|| cut_everywhere::<4096, 4>(6));
    }
    let all = kinds.into_iter().map(std::thread::spawn);
    let all: Vec<_> = all
        .collect::<Vec<_>>()
        .into_iter()
        .map(|kind| kind.join())
        .collect();
    let all: Vec<Counts> = all
        .into_iter()
        .map(|counts| counts.expect("no fault"))
        .collect();
    let cuts: u64 = all
        .iter()
        .map(|counts| counts.cuts + counts.second_cuts)
        .sum();
    println!("power cuts: {cuts}, lost commits: 0");
}

/// A flash after a whole training, and what it holds.
fn trained<const PAGE: usize, const UNIT: usize>(
    spare: usize,
) -> (Layout, Nor<PAGE, UNIT>, Picture) {
    let plan = Plan::new(settings(), budgets()).expect("a plan");
    let layout = layout::<PAGE>(spare);
    let mut flash = flash_for::<PAGE, UNIT>(&layout);
    let mut store = Store::open(&mut flash, &layout).expect("a store");
    let (mut run, mut picture) = (Run::new(), Picture::new());
    for step in 1..=plan.total().expect("an end") {
        run.step(&plan);
        let slots = slots(&plan, step);
        if !slots.is_empty() {
            let done = run.commit(&plan, &mut store, &mut flash, &slots);
            done.expect("a commit");
            picture = painted(picture, &slots, &run.bytes(&plan));
        }
    }
    (layout, flash, picture)
}

/// What a look at everything finds first.
fn found<const PAGE: usize, const UNIT: usize>(
    flash: &mut Nor<PAGE, UNIT>,
    layout: &Layout,
    picture: &Picture,
) -> Option<FlashError> {
    let store = match Store::open(flash, layout) {
        Ok(store) => store,
        Err(e) => return Some(e),
    };
    let checks = picture
        .iter()
        .map(|(slot, _)| store.check(flash, *slot).err());
    let found: Vec<_> = std::iter::once(store.lost())
        .chain(checks)
        .flatten()
        .collect();
    found.first().copied()
}

fn page_of(error: &FlashError) -> Option<u32> {
    match *error {
        FlashError::Page { page, .. } | FlashError::Record { page, .. } => Some(page),
        _ => None,
    }
}

/// Bytes of a record that mean something.
const RECORD: usize = 108;
/// Bytes of a page's trailer.
const TRAILER: usize = 16;

fn flip_everything<const PAGE: usize, const UNIT: usize>() {
    let (layout, mut flash, picture) = trained::<PAGE, UNIT>(0);
    let store = Store::open(&mut flash, &layout).expect("a store");
    let pages = store.erases_per_commit() as usize;
    // Latest and the last budget are one commit, and so lie in one area.
    let areas = picture.len() - 1;
    let padding = areas * (pages * (PAGE - TRAILER) - Run::payload() - 2 * RECORD) * 8;
    let elsewhere = (flash.bytes.len() - areas * pages * PAGE) * 8;
    let (mut named, mut harmless) = (0, 0);
    for byte in 0..flash.bytes.len() {
        for bit in 0..8 {
            flash.bytes[byte] ^= 1 << bit;
            match found(&mut flash, &layout, &picture) {
                Some(error) => {
                    named += 1;
                    let page = page_of(&error);
                    assert_eq!(
                        page,
                        Some((byte / PAGE) as u32),
                        "byte {byte}, bit {bit}: {error}"
                    );
                }
                None => harmless += 1,
            }
            // Whatever was flipped, nothing wrong is given out.
            if byte % 64 == bit {
                let store = Store::open(&mut flash, &layout).expect("a store");
                for (slot, bytes) in &picture {
                    if let Ok(found) = load(&store, &mut flash, *slot) {
                        let is_older = *slot == Slot::Latest && store.lost().is_some();
                        assert!(
                            found == *bytes || is_older,
                            "byte {byte}, bit {bit}: {slot}"
                        );
                    }
                }
            }
            flash.bytes[byte] ^= 1 << bit;
        }
    }
    assert_eq!(harmless, padding + elsewhere, "{named} flips are named");
    println!("pages of {PAGE}, units of {UNIT}: {named} flipped bits named, {harmless} in no use");
}

#[test]
fn every_flipped_bit_is_named_with_its_page() {
    flip_everything::<1024, 8>();
    if is_long() {
        flip_everything::<512, 4>();
        flip_everything::<4096, 16>();
    }
}

#[test]
fn every_destroyed_page_is_named() {
    let (layout, flash, picture) = trained::<512, 4>(0);
    let whole = Store::open(&mut flash.clone(), &layout).expect("a store");
    let pages = whole.erases_per_commit() as usize;
    let mut random = Random::new(3);
    let (mut named, mut unused) = (0, 0);
    for page in 0..flash.bytes.len() / 512 {
        for kind in 0..3 {
            let mut flash = flash.clone();
            for byte in &mut flash.bytes[page * 512..][..512] {
                *byte = match kind {
                    0 => 0,
                    1 => random.bits() as u8,
                    _ => *byte ^ 1 << random.below(8),
                };
            }
            match found(&mut flash, &layout, &picture) {
                Some(error) => {
                    named += 1;
                    assert_eq!(page_of(&error), Some(page as u32), "{error}");
                    // The newest commit that lost its record: the slots are as they were before it.
                    let store = Store::open(&mut flash, &layout).expect("a store");
                    if store.lost().is_some() {
                        assert!(load(&store, &mut flash, Slot::Latest).is_ok());
                    }
                }
                None => unused += 1,
            }
        }
    }
    assert_eq!(named, 3 * (picture.len() - 1) * pages);
    println!("{named} destroyed pages named, {unused} in no use");
}

#[test]
fn the_commit_before_a_damaged_one_is_whole() {
    let (layout, mut flash, _) = trained::<512, 4>(0);
    let store = Store::open(&mut flash, &layout).expect("a store");
    let plan = Plan::new(settings(), budgets()).expect("a plan");
    let mut run = Run::new();
    run.recover(&plan, &store, &mut flash, Slot::Latest)
        .expect("the latest");
    let old = run.bytes(&plan);
    run.step(&plan);
    let mut store = store;
    let newest = run
        .commit(&plan, &mut store, &mut flash, &[Slot::Latest])
        .expect("a commit");
    let data = flash
        .bytes
        .windows(8)
        .position(|w| w == run.random.to_le_bytes());
    flash.bytes[data.expect("the random state lies there")] ^= 1;
    let store = Store::open(&mut flash, &layout).expect("a store");
    let damaged = load(&store, &mut flash, Slot::Latest);
    assert!(
        matches!(
            damaged,
            Err(FlashError::Page {
                slot: Slot::Latest,
                ..
            })
        ),
        "{damaged:?}"
    );

    let mut store = Store::open_before(&mut flash, &layout, newest).expect("a store");
    assert_eq!(load(&store, &mut flash, Slot::Latest), Ok(old));
    // The next commit stands above the damaged one.
    assert_eq!(
        run.commit(&plan, &mut store, &mut flash, &[Slot::Latest]),
        Ok(newest + 1)
    );
    let store = Store::open(&mut flash, &layout).expect("a store");
    assert_eq!(load(&store, &mut flash, Slot::Latest), Ok(run.bytes(&plan)));
}

/// What a slot holds.
fn text<const PAGE: usize, const UNIT: usize>(
    store: &Store,
    flash: &mut Nor<PAGE, UNIT>,
    slot: Slot,
) -> Result<u8, FlashError> {
    let mut byte = [0];
    store
        .load(flash, slot, &mut [PartMut::<f32>::Bytes(&mut byte)])
        .map(|()| byte[0])
}

#[test]
fn a_store_further_back_holds_nothing_of_later_commits() {
    // Four areas of one page: latest, before the decay, a budget, and the next commit.
    let layout = Layout {
        start: 0,
        end: 4 * 512,
        payload: 100,
        budgets: 1,
    };
    let mut flash = Nor::<512, 4>::new(4);
    let mut store = Store::open(&mut flash, &layout).expect("a store");
    let kept: [&[Slot]; 5] = [
        &[Slot::BeforeDecay, Slot::Budget(7), Slot::Latest],
        &[Slot::Latest],
        &[Slot::BeforeDecay],
        &[Slot::Budget(9), Slot::Latest],
        // The area of the first commit, which no slot needs any more.
        &[Slot::Latest],
    ];
    let commit = |store: &mut Store, flash: &mut Nor<512, 4>, slots: &[Slot], byte: u8| {
        let parts = [Part::<f32>::Bytes(&[byte])];
        store.commit(flash, slots, &parts).expect("a commit")
    };
    for (slots, byte) in kept.into_iter().zip(1..) {
        commit(&mut store, &mut flash, slots, byte);
    }
    assert_eq!(store.areas(), 4);

    let mut store = Store::open_before(&mut flash, &layout, 3).expect("a store");
    assert_eq!(store.sequence(), 2);
    let gone = [Slot::BeforeDecay, Slot::Budget(7)];
    let assert_gone = |store: &Store, flash: &mut Nor<512, 4>| {
        for slot in gone {
            assert!(!store.has(slot), "{slot}");
            assert_eq!(text(store, flash, slot), Err(FlashError::Empty { slot }));
        }
        assert_eq!(store.budgets().count(), 0);
    };
    assert_gone(&store, &mut flash);
    assert_eq!(text(&store, &mut flash, Slot::Latest), Ok(2));
    assert_eq!(
        block_on(Store::open_before_async(&mut flash, &layout, 3)),
        Ok(store)
    );
    // Nor does the next commit bring them back, here or after the power came back.
    assert_eq!(commit(&mut store, &mut flash, &[Slot::Latest], 6), 6);
    assert_gone(&store, &mut flash);
    let mut store = Store::open(&mut flash, &layout).expect("a store");
    assert_gone(&store, &mut flash);
    assert_eq!(text(&store, &mut flash, Slot::Latest), Ok(6));
    for (slot, byte) in gone.into_iter().zip(7..) {
        commit(&mut store, &mut flash, &[slot], byte);
        assert_eq!(text(&store, &mut flash, slot), Ok(byte));
    }
}

#[test]
fn whatever_commit_a_store_goes_back_before_it_holds_its_own_or_nothing() {
    let layout = Layout {
        start: 0,
        end: 6 * 512,
        payload: 100,
        budgets: 2,
    };
    let (mut flash, mut random) = (Nor::<512, 4>::new(6), Random::new(61));
    let mut store = Store::open(&mut flash, &layout).expect("a store");
    // What each slot held after each commit.
    let slots = [
        Slot::Latest,
        Slot::BeforeDecay,
        Slot::Budget(1),
        Slot::Budget(2),
    ];
    let mut held = vec![[None; 4]];
    let mut gone = 0;
    for byte in 1..=40 {
        let place = random.range(0, 3);
        let parts = [Part::<f32>::Bytes(&[byte])];
        store
            .commit(&mut flash, &[slots[place]], &parts)
            .expect("a commit");
        let mut now = *held.last().expect("a commit");
        now[place] = Some(byte);
        held.push(now);
        for back in 1..=store.sequence() {
            let mut flash = flash.clone();
            let mut old = Store::open_before(&mut flash, &layout, back).expect("a store");
            // Of what lies there; one commit more changes one slot.
            let own = held[old.sequence() as usize];
            for more in [false, true] {
                if more {
                    let parts = [Part::<f32>::Bytes(&[0])];
                    old.commit(&mut flash, &[Slot::Latest], &parts)
                        .expect("a commit");
                }
                for (slot, own) in slots.into_iter().zip(own) {
                    let own = if more && slot == Slot::Latest {
                        Some(0)
                    } else {
                        own
                    };
                    match text(&old, &mut flash, slot) {
                        Ok(byte) => assert_eq!(Some(byte), own, "{slot} before {back}"),
                        Err(_) if own.is_some() => gone += 1,
                        Err(e) => assert_eq!(e, FlashError::Empty { slot }),
                    }
                }
            }
        }
    }
    assert!(gone > 100, "{gone}");
}

#[test]
fn a_worn_page_is_named_and_avoided() {
    let plan = Plan::new(settings(), budgets()).expect("a plan");
    let layout = layout::<512>(1);
    let mut run = Run::new();
    run.step(&plan);
    let expected = run.bytes(&plan);
    let pages = {
        let mut flash = flash_for::<512, 4>(&layout);
        Store::open(&mut flash, &layout)
            .expect("a store")
            .erases_per_commit() as usize
    };
    let mut worn = 0;
    for byte in (0..pages * 512).step_by(7) {
        let mut flash = flash_for::<512, 4>(&layout);
        let mut store = Store::open(&mut flash, &layout).expect("a store");
        let area = pages * 512;
        flash.wear_out(area + byte, (byte % 8) as u8);
        run.commit(&plan, &mut store, &mut flash, &[Slot::Latest])
            .expect("the first area");
        let first = store;
        match run.commit(&plan, &mut store, &mut flash, &[Slot::Latest]) {
            Ok(_) => {}
            Err(FlashError::Worn { page }) => {
                worn += 1;
                assert_eq!(page as usize, (area + byte) / 512);
                assert_eq!(store.sequence(), first.sequence());
                assert_eq!(load(&store, &mut flash, Slot::Latest), Ok(expected.clone()));
                run.commit(&plan, &mut store, &mut flash, &[Slot::Latest])
                    .expect("another area");
            }
            Err(e) => panic!("byte {byte}: {e}"),
        }
        let store = Store::open(&mut flash, &layout).expect("a store");
        assert_eq!(load(&store, &mut flash, Slot::Latest), Ok(expected.clone()));
    }
    assert!(worn > 50, "{worn}");
    println!("{worn} worn pages named and avoided");
}

/// With every slot in use there is one area for the next commit: a worn page in it stops commits, unless the layout has
/// room for another.
#[test]
fn a_worn_page_is_avoided_where_an_area_is_to_spare() {
    let plan = Plan::new(settings(), budgets()).expect("a plan");
    let mut run = Run::new();
    run.step(&plan);
    for spare in [0, 1] {
        let layout = layout::<512>(spare);
        let mut flash = flash_for::<512, 4>(&layout);
        let mut store = Store::open(&mut flash, &layout).expect("a store");
        let budgets = (0..kept() as u64).map(Slot::Budget);
        for slot in budgets.chain([Slot::BeforeDecay, Slot::Latest]) {
            let done = run.commit(&plan, &mut store, &mut flash, &[slot]);
            done.expect("a commit");
        }
        let old = run.bytes(&plan);
        let used = store.areas() - 1 - spare as u8;
        let area = 512 * store.erases_per_commit() as usize;
        flash.wear_out(usize::from(used) * area + 3, 0);
        run.step(&plan);
        let mut commit = |store: &mut Store| run.commit(&plan, store, &mut flash, &[Slot::Latest]);
        let page = u32::from(used) * store.erases_per_commit();
        assert_eq!(commit(&mut store), Err(FlashError::Worn { page }));
        let again = commit(&mut store);
        if spare == 0 {
            assert_eq!(again, Err(FlashError::Worn { page }));
            assert_eq!(load(&store, &mut flash, Slot::Latest), Ok(old));
        } else {
            again.expect("another area");
            let new = run.bytes(&plan);
            assert!(load(&store, &mut flash, Slot::Latest) == Ok(new));
        }
    }
}

#[test]
fn wear_is_spread_and_is_one_erasure_of_each_page_per_commit() {
    let plan = Plan::new(settings(), &[]).expect("a plan");
    let mut run = Run::new();
    run.step(&plan);
    for spare in [0, 4] {
        let layout = layout::<4096>(spare);
        let mut flash = flash_for::<4096, 4>(&layout);
        let mut store = Store::open(&mut flash, &layout).expect("a store");
        let slots = [Slot::BeforeDecay, Slot::Budget(1), Slot::Latest];
        run.commit(&plan, &mut store, &mut flash, &slots)
            .expect("a commit");
        for _ in 0..1000 {
            run.commit(&plan, &mut store, &mut flash, &[Slot::Latest])
                .expect("a commit");
        }
        let pages = u64::from(store.erases_per_commit());
        let erases: u64 = flash.erases.iter().sum();
        assert_eq!(erases, 1001 * pages);
        let most = flash.erases.iter().max().expect("pages");
        // One area holds the slots that stay; the others take turns.
        let turns = u64::from(store.areas()) - 1;
        assert_eq!(*most, 1000_u64.div_ceil(turns));
        println!(
            "1001 commits, {erases} erasures, at most {most} of a page, {} areas",
            store.areas()
        );
    }
}

/// Runs a future, which a real executor would.
fn block_on<R>(future: impl Future<Output = R>) -> R {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
    }
}

#[test]
fn without_blocking_the_same_is_written_and_read() {
    let layout = layout::<512>(0);
    let (mut a, mut b) = (flash_for::<512, 8>(&layout), flash_for::<512, 8>(&layout));
    let mut blocking = Store::open(&mut a, &layout).expect("a store");
    let mut other = block_on(Store::open_async(&mut b, &layout)).expect("a store");
    let numbers: Vec<f32> = (0..200).map(|i| i as f32).collect();
    let halves: Vec<u16> = (0..77).collect();
    let samples: Vec<i8> = (-60..61).collect();
    for (n, slot) in [
        Slot::Latest,
        Slot::BeforeDecay,
        Slot::Latest,
        Slot::Budget(3),
    ]
    .into_iter()
    .enumerate()
    {
        let counter = [n as u8; 3];
        let parts = [
            Part::Bytes(&counter),
            Part::Halves(&halves),
            Part::Int8(&samples),
            Part::Numbers(&numbers),
        ];
        assert_eq!(
            blocking.commit(&mut a, &[slot], &parts),
            block_on(other.commit_async(&mut b, &[slot], &parts))
        );
    }
    assert_eq!((&a.bytes, blocking), (&b.bytes, other));
    let before = block_on(Store::open_before_async(&mut b, &layout, 4)).expect("a store");
    assert_eq!(Store::open_before(&mut a, &layout, 4), Ok(before));
    let (mut counter, mut read, mut short) = ([0; 3], vec![0.0_f32; 200], vec![0; 77]);
    let mut bytes = vec![0; 121];
    let mut parts = [
        PartMut::Bytes(&mut counter),
        PartMut::Halves(&mut short),
        PartMut::Int8(&mut bytes),
        PartMut::Numbers(&mut read),
    ];
    block_on(other.load_async(&mut b, Slot::Budget(3), &mut parts)).expect("what was stored");
    assert_eq!((counter, read, short), ([3; 3], numbers, halves));
    assert_eq!(bytes, samples);
    let mut start = [0; 4];
    block_on(other.load_start_async(&mut b, Slot::Latest, &mut start)).expect("the start");
    assert_eq!(start, [2, 2, 2, 0]);
    for slot in [Slot::Latest, Slot::Budget(4)] {
        assert_eq!(
            block_on(other.check_async(&mut b, slot)),
            blocking.check(&mut a, slot)
        );
    }
}

/// Polls a future so often, then drops it; whether it was done by then.
fn polled(future: impl Future, times: usize) -> bool {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..times).any(|_| future.as_mut().poll(&mut context).is_ready())
}

#[test]
fn a_commit_whose_future_is_dropped_is_made_or_not() {
    let layout = behind(512, layout::<512>(0));
    let mut flash = flash_for::<512, 8>(&layout);
    let mut store = Store::open(&mut flash, &layout).expect("a store");
    let numbers = |n: u8| {
        [Part::<f32>::Bytes(
            &[[1; 700], [2; 700], [3; 700]][usize::from(n)],
        )]
    };
    let committed = store.commit(&mut flash, &[Slot::Latest], &numbers(0));
    committed.expect("a commit");
    let (mut old, mut new) = (0, 0);
    for times in 0.. {
        let (mut flash, mut store) = (flash.clone(), store);
        let parts = numbers(1);
        let is_done = polled(
            store.commit_async(&mut flash, &[Slot::Latest], &parts),
            times,
        );
        let found = |store: &Store, flash: &mut Nor<512, 8>| {
            let mut bytes = [0; 700];
            let loaded = store.load(
                flash,
                Slot::Latest,
                &mut [PartMut::<f32>::Bytes(&mut bytes)],
            );
            loaded.map(|()| bytes[0])
        };
        let reopened = Store::open(&mut flash, &layout).expect("a store");
        assert_eq!(reopened.lost(), None);
        match found(&reopened, &mut flash) {
            Ok(1) if !is_done => old += 1,
            Ok(2) => new += 1,
            other => panic!("dropped after {times} polls: {other:?}"),
        }
        // The store that was used goes on, and so does one that was opened anew.
        for mut store in [store, reopened] {
            let mut flash = flash.clone();
            let next = store.commit(&mut flash, &[Slot::Latest], &numbers(2));
            next.expect("the next commit");
            let store = Store::open(&mut flash, &layout).expect("a store");
            assert_eq!((store.lost(), found(&store, &mut flash)), (None, Ok(3)));
        }
        if is_done {
            break;
        }
    }
    assert!(old > 10 && new > 1, "{old} {new}");
}

#[test]
fn another_plan_and_another_trainer_are_refused_before_anything_is_read() {
    let plan = Plan::new(settings(), budgets()).expect("a plan");
    let (layout, mut flash, _) = trained::<512, 4>(0);
    let store = Store::open(&mut flash, &layout).expect("a store");
    let faster = Settings {
        peak: 0.06,
        ..settings()
    };
    let longer = Settings {
        warmup: 6,
        ..settings()
    };
    for (settings, budgets, part) in [
        (faster, budgets(), PlanPart::Rates),
        (longer, budgets(), PlanPart::Warmup),
        (settings(), &budgets()[1..], PlanPart::Budgets),
    ] {
        let other = Plan::new(settings, budgets).expect("a plan");
        let mut run = Run::new();
        let before = run.bytes(&other);
        let refused = run.recover(&other, &store, &mut flash, Slot::Latest);
        let refused = refused.expect_err("another plan");
        let found = refused.downcast_ref::<TrainError>();
        let named = |e: &TrainError| matches!(e, TrainError::State(StateError::OtherPlan { part: p, .. }) if *p == part);
        assert!(found.is_some_and(named), "{refused}");
        assert!(refused.to_string().contains(&part.to_string()), "{refused}");
        assert_eq!(run.bytes(&other), before);
    }
    let mut run = Run::new();
    let recovered = run.recover(&plan, &store, &mut flash, Slot::Latest);
    recovered.expect("its own plan");
    assert_eq!(
        run.with(&plan, |trainer, _| trainer.schedule().position().phase),
        Phase::Done
    );
}

#[test]
fn layouts_that_do_not_fit_are_refused() {
    let layout = layout::<512>(0);
    let mut flash = flash_for::<512, 4>(&layout);
    let refused = |flash: &mut Nor<512, 4>, layout| Store::open(flash, &layout).err();
    let open = |layout| refused(&mut flash_for::<512, 4>(&layout), layout);
    let range = |start, end| {
        Some(FlashError::Range {
            start,
            end,
            page: 512,
        })
    };
    assert_eq!(open(Layout { start: 4, ..layout }), range(4, layout.end));
    let end = layout.end + 512;
    assert_eq!(refused(&mut flash, Layout { end, ..layout }), range(0, end));
    let short = Layout {
        end: layout.end - 512,
        ..layout
    };
    let (need, have) = (layout.end as usize / 512, layout.end as usize / 512 - 1);
    assert_eq!(
        refused(&mut flash, short),
        Some(FlashError::Pages { need, have })
    );
    let many = Layout {
        budgets: 9,
        ..layout
    };
    assert_eq!(
        refused(&mut flash, many),
        Some(FlashError::Budgets { most: 8, have: 9 })
    );
    let mut small = Nor::<256, 16>::new(100);
    let unit = FlashError::Unit {
        read: 1,
        write: 16,
        page: 256,
    };
    assert_eq!(Store::open(&mut small, &layout).err(), Some(unit));

    // A flash that was written with another one.
    let mut store = Store::open(&mut flash, &layout).expect("a store");
    let parts = [Part::<f32>::Bytes(b"state")];
    store
        .commit(&mut flash, &[Slot::Latest], &parts)
        .expect("a commit");
    // One budget less, and so one area.
    let area = layout.end / (2 + kept() as u32 + 1);
    let fewer = Layout {
        budgets: kept() - 1,
        end: layout.end - area,
        ..layout
    };
    let page = refused(&mut flash, fewer);
    assert!(
        matches!(page, Some(FlashError::OtherLayout { .. })),
        "{page:?}"
    );
    // The way out is in what is said, and is one.
    let told = page.map(|error| error.to_string()).unwrap_or_default();
    assert!(told.contains("erase the range"), "{told}");
    flash.bytes.fill(0xff);
    assert_eq!(refused(&mut flash, fewer), None);
}
