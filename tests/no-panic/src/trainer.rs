//! `core::trainer`.

use rivergram_core::eisl::{Axis, Config, Input, Losses, Objective, Padding, Select, Shape};
use rivergram_core::error::TrainError;
use rivergram_core::features::{Features, Int8, Int8Rows};
use rivergram_core::gram::contrastive::{Anchor, GramLoss, GramReport, Term, ZeroRows};
use rivergram_core::head::Head;
use rivergram_core::lanes::{One, Real};
use rivergram_core::optim::Optimizer;
use rivergram_core::optim::average::{Ema, Lawa, RunningMean, Start};
use rivergram_core::optim::rounding::Half;
use rivergram_core::schedule::{Plan, Settings, State};
use rivergram_core::trainer::fixed::{self, Labels, Memory, Recipe, Transcription, Update};
use rivergram_core::trainer::{self, Average, Rounded, Setup, Storage, Trainer};

use crate::{any, eisl, flash, head, keep, real, size, slice, slice_mut};

fn setup<T: Real>() -> Setup<'static, T> {
    any(Setup {
        heads: slice::<Head>(),
        optimizer: Optimizer::sgd(),
        clip: None,
    })
}

fn storage<T: Real>() -> Storage<'static, T> {
    any(Storage {
        parameters: slice_mut(),
        gradient: slice_mut(),
        moments: slice_mut(),
        workspace: slice_mut(),
    })
}

/// Calls everything.
pub fn room<T: Orders>() {
    sizes::<T>();
    recipe::<T, Short>(slice::<T>());
    recipe::<T, Short>(packed::<T>());
    recipe::<T, Short>(rows_of_a_table::<T>());
    recipe::<T, Long>(slice::<T>());
    recipe::<T, Long>(packed::<T>());
    recipe::<T, Cosines>(slice::<T>());
    transcription::<T, Reader>(slice::<T>());
    transcription::<T, Reader>(packed::<T>());
    transcription::<T, Reader>(rows_of_a_table::<T>());
    transcription::<T, Other<0, 0>>(slice::<T>());
    transcription::<T, Other<1, 1>>(slice::<T>());
    transcription::<T, Other<2, 2>>(slice::<T>());
    transcription::<T, Other<3, 0>>(slice::<T>());
    let Ok(plan) = Plan::new(any(Settings::<T>::constant(real())), slice()) else {
        return;
    };
    let plan = any(plan);
    let schedule = any(State::new(&plan));
    keep(Trainer::resume(setup(), storage(), schedule, any(0)));
    if let Ok(trainer) = Trainer::new(setup(), storage(), schedule) {
        let mut trainer = any(trainer);
        look(&mut trainer);
        train(&mut trainer);
        flash::trainer(&mut trainer);
        decay(&mut trainer);
        beside(&trainer);
        keep(Trainer::save(&trainer, slice_mut()));
        keep(Trainer::load(any(&mut trainer), slice()));
        let restored = Trainer::restore(any(&mut trainer), slice(), slice(), any(0), schedule);
        keep(restored);
    }
}

fn sizes<T: Real>() {
    let setup = setup::<T>();
    keep(Setup::parameters_len(&setup));
    keep(Setup::moments_len(&setup));
    keep(Setup::align_workspace_len(&setup, size()));
    keep(Setup::transcribe_workspace_len(
        &setup,
        &eisl::config(),
        &eisl::batch(),
    ));
    keep(Setup::saved_len(&setup));
    keep(trainer::parameters_len(slice()));
    keep(trainer::align_workspace_len(slice(), size()));
    let term = any(GramLoss::<T>::paper(size())).term;
    keep(trainer::lean_align_workspace_len(slice(), size(), term));
    keep(trainer::lean_transcribe_workspace_len(
        &head::head(),
        eisl::shape(),
        size(),
    ));
}

fn look<T: Real>(trainer: &mut Trainer<'_, T>) {
    keep(Trainer::setup(trainer));
    keep(Trainer::parameters(trainer));
    keep(Trainer::moments(trainer));
    keep(Trainer::updates(trainer));
    keep(Trainer::schedule(trainer));
    keep(Trainer::schedule_mut(trainer));
}

fn decay<T: Real>(trainer: &mut Trainer<'_, T>) {
    keep(Trainer::decay_end(trainer));
    let store = |trainer: &Trainer<'_, T>| -> Result<(), TrainError> {
        trainer.save(slice_mut()).map(|_| ())
    };
    keep(Trainer::decay_early(any(&mut *trainer), any(0), store));
}

fn beside<T: Real>(trainer: &Trainer<'_, T>) {
    let one = One::<T>::new();
    let (Ok(ema), Ok(lawa)) = (
        Ema::with_decay(real(), any(Start::Slice)),
        Lawa::new(size(), any(0)),
    ) else {
        return;
    };
    for average in [
        Average::Ema(ema),
        Average::Mean(RunningMean::new()),
        Average::Lawa(lawa),
    ] {
        let mut average = any(average);
        keep(Average::storage_len(&average, size()));
        keep(Average::updates(&average));
        keep(Average::after(average, any(0)));
        keep(Average::update(
            any(&mut average),
            one,
            slice(),
            slice_mut(),
        ));
        keep(Average::read(&average, one, slice(), slice_mut()));
        keep(Average::saved_len(&average, size()));
        keep(Average::save(&average, slice(), slice_mut()));
        keep(Average::load(any(&mut average), slice_mut(), slice()));
        keep(Trainer::average(
            trainer,
            one,
            any(&mut average),
            slice_mut(),
        ));
    }
}

/// What exists in single precision only.
pub fn single_precision() {
    let Ok(plan) = Plan::new(any(Settings::constant(real())), slice()) else {
        return;
    };
    let plan = any(plan);
    if let Ok(trainer) = Trainer::new(setup(), storage(), any(State::new(&plan))) {
        let mut trainer = any(trainer);
        let half = any(Half::F16);
        keep(Trainer::widen(any(&mut trainer), half, slice()));
        let rounded = Trainer::round(any(&mut trainer), half, slice_mut(), real(), || any(0));
        keep(Rounded::warns(&any(rounded.unwrap_or_default())));
    }
}

fn train<T: Real>(trainer: &mut Trainer<'_, T>) {
    let one = One::<T>::new();
    let loss = any(GramLoss::paper(size()));
    keep(Trainer::align(
        any(&mut *trainer),
        one,
        &loss,
        slice(),
        any(None),
        size(),
    ));
    keep(Trainer::align_by::<_, TrainError>(
        any(&mut *trainer),
        one,
        slice(),
        any(None),
        size(),
        |batch, gradient| {
            keep((batch.vectors, gradient));
            any(Ok(any(GramReport::default())))
        },
    ));
    keep(Trainer::align_int8(
        any(&mut *trainer),
        one,
        &loss,
        slice(),
        any(None),
        size(),
    ));
    keep(Trainer::transcribe_int8(
        any(&mut *trainer),
        one,
        &eisl::config(),
        &eisl::batch(),
        any(Int8 {
            values: slice(),
            scale: real(),
        }),
    ));
    keep(Trainer::transcribe(
        any(&mut *trainer),
        one,
        &eisl::config(),
        &eisl::batch(),
        slice(),
    ));
    keep(Trainer::transcribe_by::<_, TrainError>(
        any(&mut *trainer),
        one,
        &eisl::config(),
        &eisl::batch(),
        slice(),
        |logits| {
            keep(logits);
            any(Ok(any(Losses::default())))
        },
    ));
}

/// What an image has that is short of flash.
struct Short;

impl<T: Real> Recipe<T> for Short {
    const HEADS: &'static [Head] = &[Head {
        input: 32,
        hidden: 0,
        output: 16,
        normalise: true,
    }; 3];
    const ROWS: usize = 8;
    const OPTIMIZER: Optimizer<T> = Optimizer::AdamW {
        beta1: T::ZERO,
        beta2: T::ZERO,
        epsilon: T::EPSILON,
        weight_decay: T::EPSILON,
    };
    const LOSS: GramLoss<T> = GramLoss {
        term: Term::Volume(Anchor::One(0)),
        pairs: T::ZERO,
        temperature: T::ONE,
        label_smoothing: T::ZERO,
        normalise: false,
        zero_rows: ZeroRows::Missing,
    };
}

/// What else a recipe may ask for.
struct Long;

impl<T: Real> Recipe<T> for Long {
    const HEADS: &'static [Head] = &[Head {
        input: 5,
        hidden: 0,
        output: 3,
        normalise: false,
    }; 2];
    const ROWS: usize = 3;
    const OPTIMIZER: Optimizer<T> = Optimizer::Sgd {
        momentum: T::EPSILON,
        weight_decay: T::EPSILON,
    };
    const CLIP: Option<T> = Some(T::ONE);
    const LOSS: GramLoss<T> = GramLoss {
        term: Term::Volume(Anchor::Each),
        pairs: T::ONE,
        temperature: T::ONE,
        label_smoothing: T::EPSILON,
        normalise: true,
        zero_rows: ZeroRows::Error,
    };
}

/// Cosines, and the rule that is left.
struct Cosines;

impl<T: Real> Recipe<T> for Cosines {
    const HEADS: &'static [Head] = &[Head {
        input: 5,
        hidden: 0,
        output: 3,
        normalise: true,
    }; 3];
    const ROWS: usize = 3;
    const OPTIMIZER: Optimizer<T> = Optimizer::Lion {
        beta1: T::EPSILON,
        beta2: T::EPSILON,
        weight_decay: T::EPSILON,
    };
    const LOSS: GramLoss<T> = GramLoss {
        term: Term::Cosine(Anchor::One(1)),
        pairs: T::ZERO,
        temperature: T::ONE,
        label_smoothing: T::EPSILON,
        normalise: false,
        zero_rows: ZeroRows::Zero,
    };
}

fn recipe<T: Real, R: Recipe<T>>(features: impl Features<T>) {
    let memory = any(Memory {
        parameters: slice_mut(),
        moments: slice_mut(),
        workspace: slice_mut(),
    });
    let update = any(Update {
        before: any(0),
        rate: real(),
    });
    let present = any(Some(slice::<bool>()));
    keep(fixed::workspace_len::<R, T>());
    keep(fixed::align::<R, _, _>(
        One::new(),
        memory,
        any(&[features; 3]),
        present,
        update,
    ));
}

fn packed<T: Real>() -> Int8<'static, T> {
    Int8 {
        values: slice(),
        scale: real(),
    }
}

fn rows_of_a_table<T: Real>() -> Int8Rows<'static, T> {
    Int8Rows {
        table: slice(),
        rows: slice(),
        scale: real(),
    }
}

/// Orders, which a constant of any number cannot hold.
pub trait Orders: Real {
    /// Single tokens and pairs.
    const ORDERS: &'static [(usize, Self)];
}

impl Orders for f32 {
    const ORDERS: &'static [(usize, f32)] = &[(1, 0.8), (2, 0.2)];
}

impl Orders for f64 {
    const ORDERS: &'static [(usize, f64)] = &[(1, 0.8), (2, 0.2)];
}

/// A transcription as firmware has it.
struct Reader;

impl<T: Orders> Transcription<T> for Reader {
    const HEAD: Head = Head {
        input: 64,
        hidden: 0,
        output: 11,
        normalise: false,
    };
    const SHAPE: Shape = Shape {
        batch: 4,
        positions: 12,
        targets: 12,
        vocabulary: 11,
    };
    const OPTIMIZER: Optimizer<T> = Optimizer::AdamW {
        beta1: T::ZERO,
        beta2: T::ZERO,
        epsilon: T::EPSILON,
        weight_decay: T::EPSILON,
    };
    const LOSS: Config<'static, T> = Config::with_clamp(T::ORDERS, None);
}

/// What else one may ask for: which selection, and whether over targets with cross-entropy, of bags or of
/// log-probabilities.
struct Other<const SELECT: usize, const KIND: usize>;

impl<T: Orders, const SELECT: usize, const KIND: usize> Transcription<T> for Other<SELECT, KIND> {
    const HEAD: Head = Head {
        input: 5,
        hidden: 0,
        output: 3,
        normalise: false,
    };
    const SHAPE: Shape = Shape {
        batch: 1,
        positions: 4,
        targets: 5,
        vocabulary: 3,
    };
    const OPTIMIZER: Optimizer<T> = Optimizer::Sgd {
        momentum: T::EPSILON,
        weight_decay: T::EPSILON,
    };
    const CLIP: Option<T> = Some(T::ONE);
    const LOSS: Config<'static, T> = {
        let select = match SELECT {
            0 => Select::LogSumExp,
            1 => Select::Detached,
            2 => Select::Mean,
            _ => Select::Max,
        };
        let plain = Config {
            select,
            pad_id: Some(0),
            ..Config::with_clamp(T::ORDERS, Some(T::EPSILON))
        };
        match KIND {
            0 => Config {
                axis: Axis::Targets,
                ce_factor: T::ONE,
                label_smoothing: T::EPSILON,
                ..plain
            },
            1 => Config {
                objective: Objective::BagOfNgrams,
                ..plain
            },
            _ => Config {
                from_length: T::ORDERS,
                padding: Padding::Zero,
                input: Input::LogProbs,
                ..plain
            },
        }
    };
}

fn transcription<T: Real, R: Transcription<T>>(features: impl Features<T>) {
    let memory = any(Memory {
        parameters: slice_mut(),
        moments: slice_mut(),
        workspace: slice_mut(),
    });
    let update = any(Update {
        before: any(0),
        rate: real(),
    });
    let labels = any(Labels {
        targets: slice(),
        target_lens: any(Some(slice())),
        output_lens: any(Some(slice())),
    });
    keep(fixed::transcribe_workspace_len::<R, T>());
    keep(fixed::transcribe::<R, _, _>(
        One::new(),
        memory,
        features,
        labels,
        update,
    ));
}
