//! A selection of the golden values, and how far the results are from them, each in the scale of the table of
//! precisions.

use rivergram_core::eisl::{self, Batch, Config, Parts, Shape};
use rivergram_core::gram::contrastive::{self, GramLoss, gram_loss};
use rivergram_core::gram::int8::{self, Gallery, quantise, volume_i8_on};
use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::search::Search;
use rivergram_core::gram::tuple;
use rivergram_core::lanes::One;
use rivergram_core::schedule::{self, Decay, Plan, Settings, State};

use crate::precision::{INT8_SCORE, INT8_VOLUME, SINGLE};

/// Vectors with their volume.
pub struct Tuple {
    name: &'static str,
    k: usize,
    vectors: &'static [f32],
    volume: f64,
    /// Empty where the volume is 0, and so is the gradient.
    gradient: &'static [f32],
}

/// A batch with its loss.
pub struct Loss {
    name: &'static str,
    k: usize,
    rows: usize,
    d: usize,
    temperature: f32,
    label_smoothing: f32,
    vectors: &'static [f32],
    loss: f64,
    gradient: &'static [f32],
}

/// Sequences with their loss.
pub struct Sequence {
    name: &'static str,
    shape: Shape,
    logits: &'static [f32],
    labels: &'static [i32],
    pad_id: Option<i32>,
    orders: &'static [(usize, f32)],
    loss: f64,
    gradient: &'static [f32],
}

/// A schedule with its rates.
pub struct Schedule {
    shape: schedule::Shape<f32>,
    budgets: &'static [u64],
    decay: Decay,
    warmup: u64,
    rewarmup: u64,
    peak: f32,
    floor: f32,
    rates: &'static [f64],
    /// For how many steps each rate holds.
    steps: &'static [u16],
}

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

/// An error in its scale, and the most that it may be.
#[derive(Clone, Copy)]
pub struct Deviation {
    /// How far the result is off.
    pub error: f64,
    /// The most of the table.
    pub cap: f64,
}

impl Deviation {
    fn new(got: f32, want: f64, scale: f64, cap: f64) -> Self {
        Self::of((f64::from(got) - want).abs() / scale, cap)
    }

    /// That of a gradient, of its norm, but at least of `least`.
    fn gradient(got: &[f32], want: &[f32], least: f64, cap: f64) -> Self {
        let square = |x: f64| x * x;
        let want = || want.iter().map(|want| f64::from(*want));
        let wanted = want().chain(core::iter::repeat(0.0));
        let differences = got
            .iter()
            .zip(wanted)
            .map(|(got, want)| f64::from(*got) - want);
        let error = libm::sqrt(differences.map(square).sum());
        let norm = libm::sqrt(want().map(square).sum());
        Self::of(error / norm.max(least), cap)
    }

    /// What is not a number is wrong by any measure.
    fn of(error: f64, cap: f64) -> Self {
        let error = if error.is_nan() { f64::INFINITY } else { error };
        Self { error, cap }
    }

    /// Whether the result is as near as it must be.
    pub fn is_small(self) -> bool {
        self.error <= self.cap
    }
}

/// A kind of result: the worst of its rows, in the share of what is allowed, and how many there are.
pub struct Worst {
    /// The row.
    pub name: &'static str,
    /// Its error.
    pub deviation: Deviation,
    /// Rows.
    pub count: u32,
}

impl Worst {
    fn of(rows: impl Iterator<Item = (&'static str, Deviation)>) -> Self {
        let none = Worst {
            name: "",
            deviation: Deviation::of(0.0, 1.0),
            count: 0,
        };
        rows.fold(none, |worst, (name, deviation)| {
            let share = |x: Deviation| x.error / x.cap;
            let count = worst.count + 1;
            let is_worse = share(deviation) > share(worst.deviation) || worst.count == 0;
            if is_worse {
                Worst {
                    name,
                    deviation,
                    count,
                }
            } else {
                Worst { count, ..worst }
            }
        })
    }
}

/// Prints the worst row of each kind; whether all are as near as they must be.
pub fn report(kinds: &[(&str, Worst)]) -> bool {
    let mut passed = true;
    for (kind, worst) in kinds {
        // In units that need no float to be printed.
        let units = |x: f64| (x * 1e9) as u32;
        let Worst {
            name,
            deviation,
            count,
        } = worst;
        defmt::println!(
            "{=str}: {=u32} rows, the worst {=str}: error {=u32}e-9, at most {=u32}e-9",
            kind,
            count,
            name,
            units(deviation.error),
            units(deviation.cap)
        );
        passed &= *count > 0 && deviation.is_small();
    }
    passed
}

/// Dimensions of the widest batch that is searched.
const LARGEST: usize = 64;

/// Numbers for the largest row.
pub struct Memory {
    gradient: [f32; 384],
    workspace: [f32; 2240],
    numbers: [i8; 384],
}

impl Memory {
    /// Zeros.
    pub const fn new() -> Self {
        Self {
            gradient: [0.0; 384],
            workspace: [0.0; 2240],
            numbers: [0; 384],
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// The volumes.
pub fn volumes(memory: &mut Memory) -> Worst {
    Worst::of(TUPLES.iter().map(|row| (row.name, row.run(memory).0)))
}

/// The gradients of the volumes.
pub fn volume_gradients(memory: &mut Memory) -> Worst {
    Worst::of(TUPLES.iter().map(|row| (row.name, row.run(memory).1)))
}

/// The volumes of up to four of the same vectors in 8 bits, beside whole numbers.
pub fn volumes_i8(memory: &mut Memory) -> Worst {
    let few = TUPLES.iter().filter(|row| row.k <= EXACT);
    Worst::of(few.map(|row| (row.name, row.run_i8(memory))))
}

/// The nearest item of each anchor of the batches of three modalities in 8 bits, beside the least of all volumes.
pub fn nearest_i8(memory: &mut Memory) -> Worst {
    let threes = LOSSES.iter().filter(|row| row.k == 3);
    Worst::of(threes.map(|row| (row.name, row.find_i8(memory).unwrap_or(FAILED))))
}

/// The contrastive losses.
pub fn losses(memory: &mut Memory) -> Worst {
    Worst::of(LOSSES.iter().map(|row| (row.name, row.run(memory).0)))
}

/// Their gradients.
pub fn loss_gradients(memory: &mut Memory) -> Worst {
    Worst::of(LOSSES.iter().map(|row| (row.name, row.run(memory).1)))
}

/// The sequence losses.
pub fn sequences(memory: &mut Memory) -> Worst {
    Worst::of(SEQUENCES.iter().map(|row| (row.name, row.run(memory).0)))
}

/// Their gradients.
pub fn sequence_gradients(memory: &mut Memory) -> Worst {
    Worst::of(SEQUENCES.iter().map(|row| (row.name, row.run(memory).1)))
}

/// The learning rates, step by step.
pub fn rates() -> Worst {
    Worst::of(SCHEDULES.iter().map(|row| (row.shape.name(), row.run())))
}

const FAILED: Deviation = Deviation {
    error: f64::INFINITY,
    cap: 0.0,
};

impl Tuple {
    fn run(&self, memory: &mut Memory) -> (Deviation, Deviation) {
        let (isa, d) = (One::<f32>::new(), self.vectors.len() / self.k.max(1));
        let Some(gradient) = memory.gradient.get_mut(..self.vectors.len()) else {
            return (FAILED, FAILED);
        };
        let workspace = &mut memory.workspace;
        let volume = tuple::volume_gradient_on(isa, self.vectors, self.k, d, gradient, workspace);
        let Ok(volume) = volume else {
            return (FAILED, FAILED);
        };
        let norm = |x: &[f32]| libm::sqrt(x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum());
        let norms: f64 = self.vectors.chunks_exact(d.max(1)).map(norm).product();
        let scale = if self.volume == 0.0 {
            norms
        } else {
            self.volume
        };
        let scale = if scale == 0.0 { 1.0 } else { scale };
        (
            Deviation::new(volume, self.volume, scale, SINGLE.volume),
            Deviation::gradient(
                gradient,
                self.gradient,
                f64::MIN_POSITIVE,
                SINGLE.tuple_gradient,
            ),
        )
    }
}

/// The volumes whose determinants [`volume_of_integers`] can hold.
const EXACT: usize = 4;

/// Π s_p · √det N·Nᵀ, with the determinant in whole numbers (Bareiss, Math. Comp. 22, 1968): each quotient is whole.
fn volume_of_integers(numbers: &[i8], scales: &[f32], d: usize) -> f64 {
    let k = scales.len();
    let mut gram = [[0_i128; EXACT]; EXACT];
    for (row, x) in gram.iter_mut().zip(numbers.chunks_exact(d)) {
        for (entry, y) in row.iter_mut().zip(numbers.chunks_exact(d)) {
            let products = x.iter().zip(y).map(|(x, y)| i32::from(*x) * i32::from(*y));
            *entry = i128::from(products.sum::<i32>());
        }
    }
    let mut before = 1;
    for p in 0..k {
        let pivot = gram[p][p];
        if pivot == 0 {
            return 0.0; // A Gram matrix: what is left is zeros, in this row and column at least.
        }
        for i in p + 1..k {
            for j in p + 1..k {
                gram[i][j] = (gram[i][j] * pivot - gram[i][p] * gram[p][j]) / before;
            }
        }
        before = pivot;
    }
    let scales: f64 = scales.iter().map(|scale| f64::from(*scale)).product();
    scales * libm::sqrt(before as f64)
}

impl Tuple {
    fn run_i8(&self, memory: &mut Memory) -> Deviation {
        let (k, d) = (self.k, self.vectors.len() / self.k.max(1));
        let (numbers, scales) = (&mut memory.numbers[..k * d], &mut [0.0; EXACT][..k]);
        let rows = numbers
            .chunks_exact_mut(d)
            .zip(self.vectors.chunks_exact(d));
        for ((numbers, x), scale) in rows.zip(&mut *scales) {
            let Ok(found) = quantise(x, numbers) else {
                return FAILED;
            };
            *scale = found;
        }
        let Ok(volume) = volume_i8_on(numbers, scales, d) else {
            return FAILED;
        };
        let want = volume_of_integers(numbers, scales, d);
        let scale = if want == 0.0 { 1.0 } else { want };
        Deviation::new(volume, want, scale, INT8_VOLUME * (k as f64 + 2.0))
    }
}

impl Loss {
    /// The worst of the volumes that a search finds, against the least of those of all pairs.
    fn find_i8(&self, memory: &mut Memory) -> Option<Deviation> {
        let Loss { rows, d, .. } = *self;
        let numbers = memory.numbers.get_mut(..3 * rows * d)?;
        let scales = memory.workspace.get_mut(..3 * rows)?;
        let vectors = numbers
            .chunks_exact_mut(d)
            .zip(self.vectors.chunks_exact(d));
        for ((numbers, x), scale) in vectors.zip(&mut *scales) {
            *scale = quantise(x, numbers).ok()?;
        }
        let (anchors, items) = numbers.split_at(rows * d);
        let (first, second) = items.split_at(rows * d);
        let (anchor_scales, item_scales) = scales.split_at(rows);
        let (first_scales, second_scales) = item_scales.split_at(rows);
        let gallery = Gallery {
            numbers: [first, second],
            scales: [first_scales, second_scales],
            present: None,
        };
        let search = Search::by(Measure::Volume);
        let mut worst = 0.0;
        for (anchor, scale) in anchors.chunks_exact(d).zip(anchor_scales) {
            let mut top = TopK::<f32, 1>::new(search.measure.order());
            int8::nearest_i8(search, anchor, *scale, gallery, None, &mut top).ok()?;
            let (mut least, mut nearest) = (f32::INFINITY, rows);
            for item in 0..rows {
                let at = item * d..(item + 1) * d;
                let mut three = [0; 3 * LARGEST];
                let three = three.get_mut(..3 * d)?;
                let parts = [anchor, &first[at.clone()], &second[at]];
                for (to, part) in three.chunks_exact_mut(d).zip(parts) {
                    to.copy_from_slice(part);
                }
                let scales = [*scale, first_scales[item], second_scales[item]];
                let volume = volume_i8_on(three, &scales, d).ok()?;
                if volume < least {
                    (least, nearest) = (volume, item);
                }
            }
            let &(found, item) = top.best().first()?;
            if item != nearest {
                return Some(FAILED);
            }
            let error = f64::from((found - least).abs()) / f64::from(least).max(f64::MIN_POSITIVE);
            worst = f64::max(worst, error);
        }
        Some(Deviation::of(worst, INT8_SCORE + 5.0 * INT8_VOLUME))
    }

    fn run(&self, memory: &mut Memory) -> (Deviation, Deviation) {
        let config = GramLoss {
            temperature: self.temperature,
            label_smoothing: self.label_smoothing,
            normalise: false,
            ..GramLoss::paper(0)
        };
        let batch = contrastive::Batch {
            vectors: self.vectors,
            present: None,
            k: self.k,
            rows: self.rows,
            d: self.d,
        };
        let Some(gradient) = memory.gradient.get_mut(..self.vectors.len()) else {
            return (FAILED, FAILED);
        };
        let report = gram_loss(One::new(), &config, &batch, gradient, &mut memory.workspace);
        let Ok(report) = report else {
            return (FAILED, FAILED);
        };
        (
            Deviation::new(
                report.loss,
                self.loss,
                self.loss.abs().max(1.0),
                SINGLE.loss,
            ),
            Deviation::gradient(
                gradient,
                self.gradient,
                f64::MIN_POSITIVE,
                SINGLE.gram_gradient,
            ),
        )
    }
}

impl Sequence {
    fn run(&self, memory: &mut Memory) -> (Deviation, Deviation) {
        let config = Config {
            pad_id: self.pad_id,
            ..Config::new(self.orders)
        };
        let Some(logits) = memory.gradient.get_mut(..self.logits.len()) else {
            return (FAILED, FAILED);
        };
        logits.copy_from_slice(self.logits);
        let losses = eisl::loss_and_gradient_in_place(
            One::new(),
            &config,
            &Batch::new(self.shape, self.labels),
            logits,
            Parts::none(),
            &mut memory.workspace,
        );
        let Ok(losses) = losses else {
            return (FAILED, FAILED);
        };
        (
            Deviation::new(
                losses.total,
                self.loss,
                self.loss.abs().max(1.0),
                SINGLE.loss,
            ),
            Deviation::gradient(logits, self.gradient, 1e-2, SINGLE.eisl_gradient),
        )
    }
}

impl Schedule {
    /// The worst of all steps.
    fn run(&self) -> Deviation {
        let settings = Settings {
            warmup: self.warmup,
            rewarmup: self.rewarmup,
            shape: self.shape,
            decay: self.decay,
            ..Settings::wsd_s(self.peak, self.floor)
        };
        let Ok(plan) = Plan::new(settings, self.budgets) else {
            return FAILED;
        };
        let mut state = State::new(&plan);
        let rates = self.rates.iter().zip(self.steps);
        let rates =
            rates.flat_map(|(want, steps)| core::iter::repeat_n(*want, usize::from(*steps)));
        let errors = rates.map(|want| {
            let scale = if want == 0.0 {
                f64::from(self.peak)
            } else {
                want
            };
            Deviation::new(state.advance(), want, scale, SINGLE.schedule).error
        });
        Deviation::of(errors.fold(0.0, f64::max), SINGLE.schedule)
    }
}
