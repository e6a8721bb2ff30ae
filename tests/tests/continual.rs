//! What a trainer has for a run without an end: early decays, averages beside the stable phase, weights in 16 bits.

use rivergram_core::eisl::{Batch, Config, Shape};
use rivergram_core::error::{OptimError, TrainError};
use rivergram_core::head::Head;
use rivergram_core::lanes::One;
use rivergram_core::optim::Optimizer;
use rivergram_core::optim::average::{Ema, Lawa, RunningMean, Start};
use rivergram_core::optim::rounding::Half;
use rivergram_core::schedule::{Decay, Phase, Plan, Settings, State};
use rivergram_core::trainer::{Average, EarlyDecay, Rounded, Setup, Step, Trainer};
use rivergram_simd::Level;
use rivergram_tests::convert::bits;
use rivergram_tests::random::Random;
use rivergram_tests::train::Buffers;

const HEADS: [Head; 1] = [Head {
    input: 6,
    hidden: 0,
    output: 4,
    normalise: false,
}];
const ROWS: usize = 8;

fn setup(optimizer: Optimizer<f32>) -> Setup<'static, f32> {
    Setup {
        heads: &HEADS,
        optimizer,
        clip: None,
    }
}

/// The buffers of a trainer of 8 positions.
fn buffers(setup: &Setup<'_, f32>) -> Buffers<f32> {
    let batch = Batch::new(SHAPE, &[]);
    let workspace = setup.transcribe_workspace_len(&Config::cross_entropy(0.0), &batch);
    Buffers::new(setup, workspace, 3)
}

const SHAPE: Shape = Shape {
    batch: 1,
    positions: ROWS,
    targets: ROWS,
    vocabulary: 4,
};

/// The update of a step: features that tell the label, and noise that changes from step to step.
fn step(trainer: &mut Trainer<'_, f32>) -> Step<f32> {
    let mut random = Random::new(trainer.updates());
    let labels: Vec<i32> = (0..ROWS).map(|i| (i % 4) as i32).collect();
    let mut feature = |(row, column)| {
        let tells = if row % 4 == column { 1.0 } else { 0.0 };
        (tells + 0.5 * random.normal()) as f32
    };
    let places = (0..ROWS).flat_map(|row| (0..6).map(move |column| (row, column)));
    let inputs: Vec<f32> = places.map(&mut feature).collect();
    let (config, batch) = (Config::cross_entropy(0.0), Batch::new(SHAPE, &labels));
    let done = trainer.transcribe(One::new(), &config, &batch, &inputs);
    done.expect("a step").0
}

/// Steps until the schedule has come to `end`.
fn step_to(trainer: &mut Trainer<'_, f32>, end: u64) {
    while trainer.schedule().step() < end {
        step(trainer);
    }
}

fn saved(trainer: &Trainer<'_, f32>) -> Vec<u8> {
    let mut bytes = vec![0; trainer.setup().saved_len()];
    trainer.save(&mut bytes).expect("room");
    bytes
}

fn open_plan() -> Plan<'static, f32> {
    Plan::new(Settings::wsd_s(0.125, 0.00125), &[]).expect("a plan")
}

#[test]
fn an_early_decay_keeps_the_state_before_it_and_both_ways_go_on_bit_for_bit() {
    let setup = setup(Optimizer::adamw());
    let plan = open_plan();
    let mut memory = buffers(&setup);
    let mut trainer = Trainer::new(setup, memory.storage(), State::new(&plan)).expect("a trainer");
    step_to(&mut trainer, 30);
    let untouched = saved(&trainer);
    let mut before = vec![0; setup.saved_len()];
    let keep = |trainer: &Trainer<'_, f32>| trainer.save(&mut before).map(|_| ());
    let begun = trainer.decay_early(10, keep);
    assert_eq!(begun, Ok(EarlyDecay::Begun { end: 40 }));
    assert_eq!(before, untouched);
    assert_eq!(trainer.decay_end(), Some(40));
    let mut rates = Vec::new();
    while trainer.schedule().step() < 40 {
        rates.push(step(&mut trainer).rate);
    }
    assert!(rates.is_sorted_by(|a, b| a > b), "{rates:?}");
    assert!(rates[9] < 0.1 * rates[0], "{rates:?}");
    assert_eq!(
        (trainer.decay_end(), trainer.schedule().rate()),
        (None, 0.125)
    );
    let decayed = saved(&trainer);

    // WSD-S: on from the decayed weights, at the peak.
    assert_eq!(step(&mut trainer).rate, 0.125);
    // WSD: from the weights before, as if there had been no decay.
    trainer.load(&before).expect("what was kept");
    step_to(&mut trainer, 60);
    let mut memory = buffers(&setup);
    let mut uncut = Trainer::new(setup, memory.storage(), State::new(&plan)).expect("a trainer");
    step_to(&mut uncut, 60);
    assert_eq!(saved(&trainer), saved(&uncut));
    // The release can be gone back to.
    trainer.load(&decayed).expect("what was saved");
    assert_eq!(trainer.schedule().step(), 40);
}

#[test]
fn a_power_cut_in_an_early_decay_loses_neither_its_end_nor_its_rates() {
    let setup = setup(Optimizer::lion());
    let plan = open_plan();
    let mut memory = buffers(&setup);
    let mut trainer = Trainer::new(setup, memory.storage(), State::new(&plan)).expect("a trainer");
    step_to(&mut trainer, 20);
    let begun = trainer.decay_early(8, |_| Ok::<(), TrainError>(()));
    assert_eq!(begun, Ok(EarlyDecay::Begun { end: 28 }));
    let mut cuts = Vec::new();
    while trainer.schedule().step() < 28 {
        cuts.push(saved(&trainer));
        step(&mut trainer);
    }
    let uncut = saved(&trainer);
    for cut in &cuts {
        let mut memory = buffers(&setup);
        let mut again =
            Trainer::new(setup, memory.storage(), State::new(&plan)).expect("a trainer");
        again.load(cut).expect("what was saved");
        let end = again.decay_end();
        assert_eq!(end, Some(28));
        step_to(&mut again, 28);
        assert_eq!(saved(&again), uncut);
    }
}

#[test]
fn a_decay_that_runs_is_hastened_and_what_cannot_decay_is_said() {
    let setup = setup(Optimizer::sgd());
    let mut memory = buffers(&setup);
    let settings = Settings {
        decay: Decay::Steps(20),
        ..Settings::wsd_s(0.125, 0.00125)
    };
    let plan = Plan::new(settings, &[100]).expect("a plan");
    let never = |_: &Trainer<'_, f32>| -> Result<(), TrainError> { panic!("nothing to keep") };
    let state = State::at(&plan, 85);
    let mut trainer = Trainer::resume(setup, memory.storage(), state, 85).expect("a trainer");
    assert_eq!(trainer.decay_end(), Some(100));
    let later = trainer.decay_early(30, never);
    assert_eq!(later, Ok(EarlyDecay::Running { end: 100 }));
    assert_eq!(*trainer.schedule(), state);
    let sooner = trainer.decay_early(5, never);
    assert_eq!(sooner, Ok(EarlyDecay::Running { end: 90 }));
    assert_eq!(trainer.schedule().rate(), state.rate());
    let nothing = trainer.decay_early(0, never);
    assert_eq!(nothing, Ok(EarlyDecay::Running { end: 90 }));
    // The budget is still to come: what is left of its decay begins at the peak.
    let rate = |t| trainer.schedule().lr_at(t);
    let rates: Vec<f32> = (90..100).map(rate).collect();
    assert!(rates.is_sorted_by(|a, b| a > b), "{rates:?}");
    assert!(
        rate(89) < rates[0] && rates[9] < 0.5 * rates[0],
        "{rates:?}"
    );

    let over = State::at(&plan, 120);
    let mut trainer = Trainer::resume(setup, memory.storage(), over, 120).expect("a trainer");
    assert_eq!(trainer.decay_early(5, never), Ok(EarlyDecay::Nothing));
    let stable = State::at(&plan, 10);
    let mut trainer = Trainer::resume(setup, memory.storage(), stable, 10).expect("a trainer");
    assert_eq!(trainer.decay_early(0, never), Ok(EarlyDecay::Nothing));
    // What cannot be kept does not decay.
    let full = trainer.decay_early(5, |trainer| trainer.save(&mut []).map(|_| ()));
    assert!(matches!(full, Err(TrainError::Encode(_))), "{full:?}");
    assert_eq!(*trainer.schedule(), stable);
}

fn averages() -> [Average<f32>; 3] {
    [
        Average::Ema(Ema::with_half_life(4.0, Start::Unbiased).expect("a half-life")),
        Average::Mean(RunningMean::new()),
        Average::Lawa(Lawa::new(3, 2).expect("a window")),
    ]
}

#[test]
fn averages_take_in_the_stable_phase_alone_at_every_level() {
    let setup = setup(Optimizer::sgd());
    let settings = Settings {
        warmup: 5,
        rewarmup: 3,
        decay: Decay::Steps(6),
        ..Settings::wsd_s(0.125, 0.00125)
    };
    let plan = Plan::new(settings, &[20, 40]).expect("a plan");
    for average in averages() {
        let run = |level: Level| {
            let mut memory = buffers(&setup);
            let mut trainer =
                Trainer::new(setup, memory.storage(), State::new(&plan)).expect("a trainer");
            let mut beside = average;
            let n = setup.parameters_len();
            let mut storage = vec![0.0; average.storage_len(n)];
            let (mut by_hand, mut by_hand_storage) = (average, storage.clone());
            while trainer.schedule().step() < 45 {
                step(&mut trainer);
                let phase = trainer.schedule().position().phase;
                let taken = level.average(&trainer, &mut beside, &mut storage);
                assert_eq!(taken, Ok(phase == Phase::Stable));
                if phase == Phase::Stable {
                    let weights = trainer.parameters();
                    let done = by_hand.update(One::new(), weights, &mut by_hand_storage);
                    done.expect("the lengths fit");
                }
            }
            assert_eq!(beside, by_hand);
            for (got, want) in storage.iter().zip(&by_hand_storage) {
                assert!((got - want).abs() <= 1e-6 * want.abs().max(1.0));
            }
            let mut weights = vec![0.0; n];
            let read = beside.read(One::new(), &storage, &mut weights);
            assert_eq!(read, Ok(true));
            assert_ne!(weights, trainer.parameters());
            bits(&weights)
        };
        for level in Level::available() {
            assert_eq!(run(level), run(level), "{level}");
        }
    }
}

#[test]
fn averages_read_save_and_load_as_what_they_are_made_of() {
    let weights = [[1.0_f32, 5.0], [3.0, 5.0], [5.0, 8.0], [7.0, 0.0]];
    for new in averages() {
        let (mut average, mut storage) = (new, vec![f32::NAN; new.storage_len(2)]);
        let mut release = [f32::NAN; 2];
        let empty = average.read(One::new(), &storage, &mut release);
        assert!(empty == Ok(false) && release[0].is_nan());
        for weights in &weights {
            let done = average.update(One::new(), weights, &mut storage);
            done.expect("the lengths fit");
        }
        assert_eq!(average.read(One::new(), &storage, &mut release), Ok(true));
        match average {
            Average::Ema(_) => assert!(release[0] > 4.0 && release[0] < 7.0),
            Average::Mean(_) => assert_eq!(release, [4.0, 4.5]),
            Average::Lawa(_) => assert_eq!(release, [5.0, 2.5]), // Updates 2 and 4.
        }
        let mut bytes = vec![0; average.saved_len(2)];
        let length = average.save(&storage, &mut bytes);
        assert_eq!(length, Ok(bytes.len()));
        let (mut again, mut others) = (new, vec![0.0; storage.len()]);
        again.load(&mut others, &bytes).expect("what was saved");
        assert_eq!((again, bits(&others)), (average, bits(&storage)));
        for other in averages().into_iter().filter(|other| *other != new) {
            let (mut other, mut storage) = (other, vec![0.0; other.storage_len(2)]);
            let refused = other.load(&mut storage, &bytes);
            assert_eq!(refused, Err(OptimError::OtherAverage));
        }
        let short = average.read(One::new(), &storage, &mut [0.0]);
        assert!(matches!(
            short,
            Err(OptimError::Length { need: _, have: _ })
        ));
    }
}

/// Trains with weights in 16 bits; the mean loss of the last 20 of `steps`, and the last rounding.
fn train_rounded(half: Half, plan: &Plan<'_, f32>, steps: u64, nearest: bool) -> (f32, Rounded) {
    let setup = setup(Optimizer::sgd());
    let mut memory = buffers(&setup);
    let mut trainer = Trainer::new(setup, memory.storage(), State::new(plan)).expect("a trainer");
    let mut stored = vec![0; setup.parameters_len()];
    let stored_all = half.store_nearest(trainer.parameters(), &mut stored);
    stored_all.expect("the lengths fit");
    trainer.widen(half, &stored).expect("the lengths fit");
    let mut random = Random::new(1);
    let (mut loss, mut last) = (0.0, Rounded::default());
    for t in 0..steps {
        let step = step(&mut trainer);
        if t + 20 >= steps {
            loss += step.loss / 20.0;
        }
        // Half of all random numbers: up from the middle on, as to the nearest.
        let bits = || {
            if nearest {
                1 << 31
            } else {
                random.bits() as u32
            }
        };
        last = trainer
            .round(half, &mut stored, step.rate, bits)
            .expect("the lengths fit");
        let mut widened = vec![0.0; stored.len()];
        half.load(&stored, &mut widened).expect("the lengths fit");
        assert_eq!(widened, trainer.parameters());
    }
    (loss, last)
}

#[test]
fn stochastic_rounding_learns_where_rounding_to_nearest_stands_still() {
    // Updates of about 1e-4 beside weights near 1: a tenth of half an ulp of bf16 and less.
    let plan = Plan::new(Settings::constant(2e-3_f32), &[]).expect("a plan");
    let (nearest, lost) = train_rounded(Half::Bf16, &plan, 4000, true);
    let (stochastic, _) = train_rounded(Half::Bf16, &plan, 4000, false);
    assert!(lost.lost > lost.moved / 2, "{lost:?}");
    assert!(stochastic < 0.8 * nearest, "{stochastic} {nearest}");
}

#[test]
fn the_warning_comes_where_the_floor_times_the_gradient_is_below_half_an_ulp() {
    for half in Half::ALL {
        for (floor, warns) in [(1e-7, true), (0.1, false)] {
            let settings = Settings::wsd_s(0.1_f32, floor);
            let plan = Plan::new(settings, &[]).expect("a plan");
            let setup = setup(Optimizer::sgd());
            let mut memory = buffers(&setup);
            let mut trainer =
                Trainer::new(setup, memory.storage(), State::new(&plan)).expect("a trainer");
            let mut stored = vec![0; setup.parameters_len()];
            half.store_nearest(trainer.parameters(), &mut stored)
                .expect("the lengths fit");
            trainer.widen(half, &stored).expect("the lengths fit");
            let before = stored.clone();
            let step = step(&mut trainer);
            let rounded = trainer
                .round(half, &mut stored, step.rate, || 0)
                .expect("the lengths fit");
            // The gradient is still there, and is the direction of plain SGD.
            let gradient = &memory.gradient;
            let lost = |lr| half.lost_updates(lr, &before, gradient).expect("lengths");
            assert_eq!(rounded.lost_at_floor, lost(floor), "{half:?} {floor}");
            assert_eq!(rounded.lost, lost(step.rate), "{half:?} {floor}");
            assert_eq!(rounded.warns(), warns, "{half:?} {floor} {rounded:?}");
        }
    }
}

#[test]
fn weights_that_16_bits_cannot_hold_are_refused_and_nothing_changes() {
    let setup = setup(Optimizer::sgd());
    let plan = open_plan();
    let mut memory = buffers(&setup);
    memory.parameters[5] = 70000.0;
    let mut trainer = Trainer::new(setup, memory.storage(), State::new(&plan)).expect("a trainer");
    let before = saved(&trainer);
    let mut stored = vec![1; setup.parameters_len()];
    let refused = trainer.round(Half::F16, &mut stored, 0.1, || panic!("nothing is rounded"));
    assert_eq!(refused, Err(OptimError::TooLarge { index: 5 }));
    let short = trainer.round(Half::F16, &mut stored[1..], 0.1, || 0);
    let need = setup.parameters_len();
    let have = need - 1;
    assert_eq!(short, Err(OptimError::Length { need, have }));
    assert_eq!((saved(&trainer), stored), (before, vec![1; need]));
    let rounded = trainer.round(Half::Bf16, &mut vec![0; need], 0.1, || 0);
    assert!(rounded.is_ok(), "bf16 holds it: {rounded:?}");
}
