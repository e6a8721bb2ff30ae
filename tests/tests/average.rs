//! Averages of the weights against their definitions, at every level, and across saves.

use rivergram_core::error::{DecodeError, EncodeError, OptimError};
use rivergram_core::lanes::{Isa, One, Real};
use rivergram_core::optim::average::{Ema, Lawa, RunningMean, Start};
use rivergram_simd::{Kernel, Level};
use rivergram_tests::convert::{bits, cast};
use rivergram_tests::oracle::optim::{average_from, latest_mean, mean, unbiased_average};
use rivergram_tests::precision::{DOUBLE, SINGLE, assert_close};
use rivergram_tests::random::Random;

/// Lengths around the widths of vectors.
const LENGTHS: [usize; 7] = [0, 1, 3, 4, 8, 17, 100];

/// Weights [updates, n] that walk, each exact in `f32`.
fn walk(updates: usize, n: usize) -> Vec<Vec<f64>> {
    let mut random = Random::new(n as u64);
    let mut weights = random.normals(1, n).concat();
    let mut walk = Vec::new();
    for _ in 0..updates {
        for w in &mut weights {
            *w = f64::from((*w + 0.1 * random.normal()) as f32);
        }
        walk.push(weights.clone());
    }
    walk
}

/// The history of one weight.
fn column(walk: &[Vec<f64>], at: usize) -> Vec<f64> {
    walk.iter().map(|weights| weights[at]).collect()
}

fn assert_average<T: Real>(what: &str, got: &[T], want: impl Fn(usize) -> f64, cap: f64) {
    for (at, got) in got.iter().enumerate() {
        let want = want(at);
        let what = format!("{what}, weight {at}");
        assert_close(&what, got.to_f64(), want, want.abs().max(1.0), cap);
    }
}

/// The average after each update of a walk.
struct Averaging<'a> {
    walk: &'a [Vec<f64>],
    ema: Ema<f32>,
    start: f64,
}

#[inline(always)]
fn averages<I: Isa>(
    isa: I,
    walk: &[Vec<f64>],
    mut ema: Ema<I::Scalar>,
    start: f64,
) -> Vec<Vec<I::Scalar>> {
    let n = walk.first().map_or(0, Vec::len);
    let mut average = vec![I::Scalar::constant(start); n];
    let mut all = Vec::new();
    for weights in walk {
        assert_eq!(ema.update(isa, &cast(weights), &mut average), Ok(()));
        all.push(average.clone());
    }
    assert_eq!(ema.updates(), walk.len() as u64);
    all
}

impl Kernel<f32> for Averaging<'_> {
    type Output = Vec<Vec<f32>>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        averages(isa, self.walk, self.ema, self.start)
    }
}

fn check_ema<T: Real>(
    what: &str,
    got: &[Vec<T>],
    walk: &[Vec<f64>],
    beta: f64,
    start: Option<f64>,
    cap: f64,
) {
    for (t, got) in (1..).zip(got) {
        let want = |at| {
            let seen = &column(walk, at)[..t];
            start.map_or_else(
                || unbiased_average(beta, seen),
                |start| average_from(beta, start, seen),
            )
        };
        assert_average(&format!("{what}, update {t}"), got, want, cap);
    }
}

fn ema<T: Real>(beta: f64, start: Start) -> Ema<T> {
    Ema::with_decay(T::constant(beta), start).expect("a decay constant")
}

#[test]
fn exponential_averages_agree_with_the_oracle_at_every_level() {
    for beta in [0.0, 0.5, 0.9, 0.999, 1.0 - 2.0_f64.powi(-20)] {
        let single = f64::from(beta as f32);
        for n in LENGTHS {
            let walk = walk(40, n);
            for (kind, begin, start) in [
                (Start::Unbiased, f64::NAN, None),
                (Start::Slice, 0.5, Some(0.5)),
            ] {
                let what = format!("β = {beta}, {kind:?}, {n} weights");
                let got = averages(One::<f64>::new(), &walk, ema(beta, kind), begin);
                check_ema(&what, &got, &walk, beta, start, DOUBLE.run);
                for level in Level::available() {
                    let got = level.run(Averaging {
                        walk: &walk,
                        ema: ema(beta, kind),
                        start: begin,
                    });
                    let what = format!("{what}, {level}");
                    check_ema(&what, &got, &walk, single, start, SINGLE.run);
                }
            }
        }
    }
}

fn half_lives<T: Real>(cap: f64) {
    let walk = walk(60, 5);
    for half_life in [0.25, 1.0, 7.0, 1000.0, 1e6] {
        let of = |start| Ema::with_half_life(T::constant(half_life), start).expect("a half-life");
        let beta = 0.5_f64.powf(1.0 / half_life);
        let got = averages(One::<T>::new(), &walk, of(Start::Unbiased), 0.0);
        let what = format!("half-life {half_life}");
        check_ema(&what, &got, &walk, beta, None, cap);
        let rest = -(-std::f64::consts::LN_2 / half_life).exp_m1();
        let got = of(Start::Slice).weight().to_f64();
        assert_close(&what, got, rest, rest, cap);
    }
}

#[test]
fn half_lives_agree_with_the_oracle() {
    half_lives::<f32>(SINGLE.run);
    half_lives::<f64>(DOUBLE.run);
}

/// After t updates the share of the latest is (1 − β)/(1 − βᵗ), at any t.
fn late_weights<T: Real>(cap: f64) {
    for beta in [0.5, 0.999, 1.0 - 2.0_f64.powi(-20), 1.0 - 2.0_f64.powi(-24)] {
        for t in [
            0_u64,
            1,
            1000,
            1 << 24,
            1_000_000_000,
            u64::MAX - 1,
            u64::MAX,
        ] {
            let beta = T::constant(beta).to_f64();
            let mut average = [T::ZERO];
            let mut late = at_update(ema::<T>(beta, Start::Unbiased), t);
            let steps = t.saturating_add(1) as f64;
            let want = (1.0 - beta) / -(steps * beta.ln()).exp_m1();
            let what = format!("β = {beta}, t = {t}");
            assert_close(&what, late.weight().to_f64(), want, want, cap);
            assert_eq!(
                late.update(One::<T>::new(), &[T::ONE], &mut average),
                Ok(())
            );
            assert_close(&what, average[0].to_f64(), want, want, cap);
            assert_eq!(late.updates(), t.saturating_add(1), "no counter wraps");
        }
    }
}

/// The average as if it had seen t updates: through its saved form, whose counter stands before the numbers.
fn at_update<T: Real>(mut ema: Ema<T>, t: u64) -> Ema<T> {
    use rivergram_core::encode::crc32;
    let mut bytes = vec![0; Ema::<T>::saved_len(0)];
    ema.save(&[], &mut bytes).expect("room");
    let end = bytes.len() - 4;
    bytes[end - 8..end].copy_from_slice(&t.to_le_bytes());
    let checksum = crc32(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(ema.load(&mut [], &bytes), Ok(()));
    assert_eq!(ema.updates(), t);
    ema
}

#[test]
fn weights_hold_at_any_count() {
    late_weights::<f32>(SINGLE.late_update);
    late_weights::<f64>(DOUBLE.late_update);
}

/// An unbiased average of equal weights is that weight, from the first update on.
#[test]
fn equal_weights_stay_as_they_are() {
    for beta in [0.0, 0.3, 0.999] {
        for value in [0.1_f32, -3e20, 1e-40, 0.0, f32::MAX] {
            let mut average = [f32::NAN; 9];
            let mut ema = ema(beta, Start::Unbiased);
            for _ in 0..50 {
                assert_eq!(ema.update(One::new(), &[value; 9], &mut average), Ok(()));
                assert_eq!(average, [value; 9], "β = {beta}");
            }
        }
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    for beta in [-0.1_f32, 1.0, 1.5, f32::INFINITY, f32::NAN] {
        let refused = Ema::with_decay(beta, Start::Slice);
        assert!(
            matches!(refused, Err(OptimError::Decay { value }) if value.to_bits() == beta.to_bits())
        );
    }
    for updates in [0.0_f32, -1.0, f32::INFINITY, f32::NAN, 1e38] {
        let refused = Ema::with_half_life(updates, Start::Slice);
        assert!(
            matches!(refused, Err(OptimError::HalfLife { value }) if value.to_bits() == updates.to_bits())
        );
    }
    // So short that the average is the latest.
    let short = Ema::with_half_life(f32::MIN_POSITIVE, Start::Slice).map(|ema| ema.weight());
    assert_eq!(short, Ok(1.0));
    for (copies, every) in [(0, 1), (1, 0), (0, 0)] {
        let want = OptimError::Window { copies, every };
        assert_eq!(Lawa::new(copies, every), Err(want));
        assert!(want.to_string().contains("at least 1"));
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let isa = One::<f32>::new();
    let refused = |need, have| Err(OptimError::Length { need, have });
    let mut ema = ema(0.9, Start::Unbiased);
    let mut average = [4.0; 3];
    assert_eq!(ema.update(isa, &[1.0; 2], &mut average), refused(2, 3));
    assert_eq!((ema.updates(), average), (0, [4.0; 3]));
    let mut running = RunningMean::new();
    assert_eq!(running.update(isa, &[1.0; 4], &mut average), refused(4, 3));
    assert_eq!((running.updates(), average), (0, [4.0; 3]));
    let mut lawa = Lawa::new(2, 1).expect("a window");
    let mut ring = [4.0_f32; 5];
    assert_eq!(lawa.update(&[1.0; 3], &mut ring).map(|_| ()), refused(6, 5));
    assert_eq!(
        lawa.mean(isa, &ring, &mut average).map(|_| ()),
        refused(6, 5)
    );
    assert_eq!((lawa.updates(), ring, average), (0, [4.0; 5], [4.0; 3]));
    let large = Lawa::new(usize::MAX, 1).expect("a window");
    assert_eq!(large.ring_len(3), usize::MAX);
}

/// The mean after each update of a walk, with a reset after some.
struct Meaning<'a> {
    walk: &'a [Vec<f64>],
    reset: usize,
}

#[inline(always)]
fn means<I: Isa>(isa: I, walk: &[Vec<f64>], reset: usize) -> Vec<Vec<I::Scalar>> {
    let mut running = RunningMean::new();
    let n = walk.first().map_or(0, Vec::len);
    let mut average = vec![I::Scalar::constant(f64::NAN); n];
    let mut all = Vec::new();
    for (t, weights) in walk.iter().enumerate() {
        if t == reset {
            running.reset();
        }
        assert_eq!(running.update(isa, &cast(weights), &mut average), Ok(()));
        all.push(average.clone());
    }
    all
}

impl Kernel<f32> for Meaning<'_> {
    type Output = Vec<Vec<f32>>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        means(isa, self.walk, self.reset)
    }
}

fn check_means<T: Real>(what: &str, got: &[Vec<T>], walk: &[Vec<f64>], reset: usize, cap: f64) {
    for (t, got) in (1..).zip(got) {
        let from = if t > reset { reset } else { 0 };
        let want = |at| mean(&column(walk, at)[from..t]);
        assert_average(&format!("{what}, update {t}"), got, want, cap);
    }
}

#[test]
fn running_means_agree_with_the_oracle_at_every_level() {
    for n in LENGTHS {
        let (walk, reset) = (walk(300, n), 37);
        let what = format!("{n} weights");
        let got = means(One::<f64>::new(), &walk, reset);
        check_means(&what, &got, &walk, reset, DOUBLE.run);
        for level in Level::available() {
            let got = level.run(Meaning { walk: &walk, reset });
            let what = format!("{what}, {level}");
            check_means(&what, &got, &walk, reset, SINGLE.run);
        }
    }
}

/// The mean of the window after each update of a walk, and whether a copy was taken.
struct Window<'a>(&'a [Vec<f64>], Lawa);

#[inline(always)]
fn windows<I: Isa>(isa: I, walk: &[Vec<f64>], mut lawa: Lawa) -> Vec<(usize, Vec<I::Scalar>)> {
    let n = walk.first().map_or(0, Vec::len);
    // Rows that hold no copy yet must not be read.
    let mut ring = vec![I::Scalar::constant(f64::NAN); lawa.ring_len(n)];
    let mut all = Vec::new();
    for weights in walk {
        let taken = lawa.update(&cast(weights), &mut ring);
        assert!(taken.is_ok());
        let mut mean = vec![I::Scalar::constant(-7.0); n];
        let held = lawa.mean(isa, &ring, &mut mean).expect("lengths");
        assert_eq!(held, lawa.held());
        all.push((held, mean));
    }
    all
}

impl Kernel<f32> for Window<'_> {
    type Output = Vec<(usize, Vec<f32>)>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        windows(isa, self.0, self.1)
    }
}

fn check_windows<T: Real>(
    what: &str,
    got: &[(usize, Vec<T>)],
    walk: &[Vec<f64>],
    (copies, every): (usize, usize),
    cap: f64,
) {
    for (t, (held, got)) in (1..).zip(got) {
        assert_eq!(*held, (t / every).min(copies), "{what}, update {t}");
        let want = |at| latest_mean(copies, every, &column(walk, at)[..t]).unwrap_or(-7.0);
        assert_average(&format!("{what}, update {t}"), got, want, cap);
    }
}

#[test]
fn windows_agree_with_the_oracle_at_every_level() {
    for (copies, every) in [(1, 1), (1, 5), (2, 1), (3, 4), (5, 7), (8, 1), (50, 1)] {
        let lawa = Lawa::new(copies, every as u64).expect("a window");
        for n in LENGTHS {
            let walk = walk(45, n);
            let what = format!("{copies} copies, one every {every}, {n} weights");
            let got = windows(One::<f64>::new(), &walk, lawa);
            check_windows(&what, &got, &walk, (copies, every), DOUBLE.update);
            for level in Level::available() {
                let got = level.run(Window(&walk, lawa));
                let what = format!("{what}, {level}");
                check_windows(&what, &got, &walk, (copies, every), SINGLE.update);
            }
        }
    }
}

/// Where the copies agree in their first digits the mean is right to the last bit or its neighbour, for any k.
#[test]
fn a_window_of_close_copies_loses_no_digits() {
    let (copies, n) = (1000, 9);
    let mut random = Random::new(3);
    let mut lawa = Lawa::new(copies, 1).expect("a window");
    let mut ring = vec![0.0_f32; lawa.ring_len(n)];
    let mut history = Vec::new();
    for _ in 0..copies {
        let weights: Vec<f32> = (0..n)
            .map(|_| 1.5 + 1e-3 * random.normal() as f32)
            .collect();
        assert_eq!(lawa.update(&weights, &mut ring), Ok(true));
        history.push(weights);
    }
    let mut got = vec![0.0_f32; n];
    assert_eq!(lawa.mean(One::new(), &ring, &mut got), Ok(copies));
    for (at, got) in got.iter().enumerate() {
        let sum: f64 = history.iter().map(|weights| f64::from(weights[at])).sum();
        let want = sum / copies as f64;
        assert!(
            (f64::from(*got) - want).abs() <= f64::from(f32::EPSILON),
            "{got} {want}"
        );
    }
}

/// A NaN stays in an average; a window forgets it with its copy.
#[test]
fn a_nan_leaves_a_window_and_nothing_else() {
    let isa = One::<f32>::new();
    let (mut ema, mut running) = (ema(0.5, Start::Unbiased), RunningMean::new());
    let mut lawa = Lawa::new(2, 1).expect("a window");
    let (mut a, mut b, mut ring, mut c) = ([0.0; 2], [0.0; 2], [0.0; 4], [0.0; 2]);
    let mut seen = Vec::new();
    for w in [1.0, f32::NAN, 3.0, 5.0] {
        let weights = [w, 1.0];
        assert_eq!(ema.update(isa, &weights, &mut a), Ok(()));
        assert_eq!(running.update(isa, &weights, &mut b), Ok(()));
        assert_eq!(lawa.update(&weights, &mut ring), Ok(true));
        assert!(lawa.mean(isa, &ring, &mut c).is_ok());
        assert_eq!([a[1], b[1], c[1]], [1.0; 3], "the other weight");
        seen.push([a[0], b[0], c[0]].map(f32::is_nan));
    }
    let want = [[false; 3], [true; 3], [true; 3], [true, true, false]];
    assert_eq!((seen, c[0]), (want.to_vec(), 4.0));
}

// States.

/// The three kinds of average, as one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Any<T> {
    Ema(Ema<T>),
    Mean(RunningMean),
    Lawa(Lawa),
}

impl<T: Real> Any<T> {
    fn all() -> [Any<T>; 7] {
        let lawa = |copies, every| Any::Lawa(Lawa::new(copies, every).expect("a window"));
        [
            Any::Ema(ema(0.9, Start::Unbiased)),
            Any::Ema(ema(0.9, Start::Slice)),
            Any::Ema(ema(0.5, Start::Unbiased)),
            Any::Mean(RunningMean::new()),
            lawa(2, 3),
            lawa(2, 4),
            lawa(1, 3),
        ]
    }

    fn storage(&self, n: usize) -> Vec<T> {
        match self {
            Any::Lawa(lawa) => vec![T::ZERO; lawa.ring_len(n)],
            _ => vec![T::ZERO; n],
        }
    }

    fn update(&mut self, weights: &[T], storage: &mut [T]) {
        let isa = One::<T>::new();
        let result = match self {
            Any::Ema(ema) => ema.update(isa, weights, storage),
            Any::Mean(mean) => mean.update(isa, weights, storage),
            Any::Lawa(lawa) => lawa.update(weights, storage).map(|_| ()),
        };
        assert_eq!(result, Ok(()));
    }

    fn saved_len(&self, n: usize) -> usize {
        match self {
            Any::Ema(_) => Ema::<T>::saved_len(n),
            Any::Mean(_) => RunningMean::saved_len::<T>(n),
            Any::Lawa(lawa) => lawa.saved_len::<T>(n),
        }
    }

    fn save(&self, storage: &[T], to: &mut [u8]) -> Result<usize, OptimError> {
        match self {
            Any::Ema(ema) => ema.save(storage, to),
            Any::Mean(mean) => mean.save(storage, to),
            Any::Lawa(lawa) => lawa.save(storage, to),
        }
    }

    fn saved(&self, storage: &[T], n: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.saved_len(n)];
        assert_eq!(self.save(storage, &mut bytes), Ok(bytes.len()));
        bytes
    }

    fn load(&mut self, storage: &mut [T], bytes: &[u8]) -> Result<(), OptimError> {
        match self {
            Any::Ema(ema) => ema.load(storage, bytes),
            Any::Mean(mean) => mean.load(storage, bytes),
            Any::Lawa(lawa) => lawa.load(storage, bytes),
        }
    }
}

fn goes_on_bit_for_bit<T: Real>() {
    const UPDATES: usize = 14;
    for n in [0, 1, 6] {
        let walk: Vec<Vec<T>> = walk(UPDATES, n).iter().map(|w| cast(w)).collect();
        for new in Any::<T>::all() {
            let (mut whole, mut storage) = (new, new.storage(n));
            let mut saved = Vec::new();
            for weights in &walk {
                saved.push(whole.saved(&storage, n));
                whole.update(weights, &mut storage);
            }
            for (from, bytes) in saved.iter().enumerate() {
                let mut bytes = bytes.clone();
                bytes.extend([0xaa; 5]);
                let (mut again, mut other) = (new, vec![T::ONE; storage.len()]);
                assert_eq!(again.load(&mut other, &bytes), Ok(()));
                for weights in &walk[from..] {
                    again.update(weights, &mut other);
                }
                assert_eq!(
                    (again, bits(&other)),
                    (whole, bits(&storage)),
                    "from {from}"
                );
            }
        }
    }
}

#[test]
fn a_saved_average_goes_on_bit_for_bit() {
    goes_on_bit_for_bit::<f32>();
    goes_on_bit_for_bit::<f64>();
}

#[test]
fn averages_of_other_setups_are_refused() {
    let n = 4;
    for (index, written) in Any::<f32>::all().iter().enumerate() {
        let bytes = written.saved(&written.storage(n), n);
        for (other, new) in Any::<f32>::all().into_iter().enumerate() {
            let (mut any, mut storage) = (new, vec![7.0; new.storage(n).len()]);
            let result = any.load(&mut storage, &bytes);
            if other == index {
                assert_eq!(result, Ok(()));
                continue;
            }
            assert_eq!(result, Err(OptimError::OtherAverage), "{written:?} {new:?}");
            assert_eq!(any, new);
            assert!(storage.iter().all(|x| *x == 7.0), "nothing has changed");
        }
        let (mut any, mut shorter) = (*written, vec![7.0; written.storage(n).len() - 1]);
        let result = any.load(&mut shorter, &bytes);
        assert_eq!(result, Err(OptimError::OtherAverage));
        let doubles = Any::<f64>::all()[index];
        let (mut any, mut storage) = (*written, written.storage(n));
        // Half as many have as many bytes.
        for n in [n, n / 2] {
            let bytes = doubles.saved(&doubles.storage(n), n);
            assert_eq!(
                any.load(&mut storage, &bytes),
                Err(OptimError::OtherAverage)
            );
        }
    }
}

#[test]
fn damaged_averages_are_refused() {
    for new in Any::<f32>::all() {
        let (mut any, mut storage) = (new, new.storage(3));
        any.update(&[1.0, 2.0, 3.0], &mut storage);
        let bytes = any.saved(&storage, 3);
        let (before, kept) = (any, storage.clone());
        for at in 0..bytes.len() {
            let cut = any.load(&mut storage, &bytes[..at]);
            let is_cut = matches!(cut, Err(OptimError::Decode(DecodeError::Truncated { .. })));
            assert!(is_cut, "{at} bytes: {cut:?}");
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let result = any.load(&mut storage, &damaged);
            assert!(
                matches!(result, Err(OptimError::Decode(_))),
                "byte {at}: {result:?}"
            );
            assert_eq!((any, &storage), (before, &kept), "byte {at}");
        }
        let (need, have) = (bytes.len(), bytes.len() - 1);
        let mut short = vec![7; have];
        let want = OptimError::Encode(EncodeError::NoSpace { need, have });
        assert_eq!(any.save(&storage, &mut short), Err(want));
        assert!(short.iter().all(|b| *b == 7), "nothing is half-written");
    }
}
