//! The GRAM loss of random batches against the naive oracle, on every path, and its errors.

use rivergram_core::error::GramError;
use rivergram_core::gram::contrastive::{
    self, Anchor, Batch, GramLoss, GramReport, Term, ZeroRows, gram_loss,
};
use rivergram_core::lanes::{Isa, One, Real};
use rivergram_simd::{Kernel, Level};
use rivergram_tests::cases::{Rows, levels, norm, planes};
use rivergram_tests::losses::{
    Found, Wanted, assert_found, batch, config, presence, terms, turned_by_rounding,
};
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::precision::{DOUBLE, SINGLE, assert_close};
use rivergram_tests::random::Random;

/// A batch for the oracle, with its configuration.
#[derive(Clone, Debug)]
struct Case {
    config: GramLoss<f64>,
    x: Vec<Rows>,
    /// \[modality\]\[row\]; `None` for all.
    present: Option<Vec<Vec<bool>>>,
}

/// A call of the loss on any lanes.
struct Loss<'a> {
    config: GramLoss<f32>,
    batch: Batch<'a, f32>,
    gradient: &'a mut [f32],
    workspace: &'a mut [f32],
}

impl Kernel<f32> for Loss<'_> {
    type Output = Result<GramReport<f32>, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        gram_loss(
            isa,
            &self.config,
            &self.batch,
            self.gradient,
            self.workspace,
        )
    }
}

impl Case {
    fn config<T: Real>(&self) -> GramLoss<T> {
        GramLoss {
            term: self.config.term,
            pairs: T::constant(self.config.pairs),
            temperature: T::constant(self.config.temperature),
            label_smoothing: T::constant(self.config.label_smoothing),
            normalise: self.config.normalise,
            zero_rows: self.config.zero_rows,
        }
    }

    fn sizes(&self) -> [usize; 3] {
        [self.x.len(), self.x[0].len(), self.x[0][0].len()]
    }

    fn flags(&self) -> Option<Vec<bool>> {
        self.present.as_ref().map(|present| present.concat())
    }

    /// The vectors; what is absent holds NaN, since it may hold anything.
    fn vectors<T: Real>(&self) -> Vec<T> {
        let mut x = self.x.clone();
        if let Some(present) = &self.present {
            let flags = present.iter().flatten();
            for (row, present) in x.iter_mut().flatten().zip(flags) {
                if !present {
                    row.fill(f64::NAN);
                }
            }
        }
        planes(&x)
    }

    /// Runs a path, with everything that it must overwrite filled with something else.
    fn run<T: Real>(
        &self,
        path: impl FnOnce(
            GramLoss<T>,
            Batch<'_, T>,
            &mut [T],
            &mut [T],
        ) -> Result<GramReport<T>, GramError>,
    ) -> Result<Found<T>, GramError> {
        let [k, rows, d] = self.sizes();
        let (vectors, flags) = (self.vectors::<T>(), self.flags());
        let batch = Batch {
            vectors: &vectors,
            present: flags.as_deref(),
            k,
            rows,
            d,
        };
        let mut gradient = vec![T::constant(f64::NAN); vectors.len()];
        let mut workspace = vec![T::constant(f64::NAN); contrastive::workspace_len(k, rows, d)];
        let report = path(self.config(), batch, &mut gradient, &mut workspace)?;
        Ok(Found { report, gradient })
    }

    fn scalar<T: Real>(&self) -> Result<Found<T>, GramError> {
        self.run(|config, batch, gradient, workspace| {
            gram_loss(One::<T>::new(), &config, &batch, gradient, workspace)
        })
    }

    fn at(&self, level: Level) -> Result<Found<f32>, GramError> {
        self.run(|config, batch, gradient, workspace| {
            level.run(Loss {
                config,
                batch,
                gradient,
                workspace,
            })
        })
    }

    fn everything_present(&self) -> Vec<Vec<bool>> {
        vec![vec![true; self.x[0].len()]; self.x.len()]
    }

    fn oracle(&self) -> Wanted {
        let present = self
            .present
            .clone()
            .unwrap_or_else(|| self.everything_present());
        let (loss, pairs) = oracle::batch_loss(&self.config, &self.x, &present);
        Wanted {
            loss: loss.loss,
            pairs,
            temperature: loss.temperature,
            gradient: loss.gradient.concat().concat(),
        }
    }
}

/// Every path, and double precision, against the oracle.
fn check(what: &str, case: &Case) {
    check_within(what, case, SINGLE.gram_gradient);
}

fn check_within(what: &str, case: &Case, single_gradient: f64) {
    let want = case.oracle();
    let found = case.scalar::<f64>().expect(what);
    let what = format!("{what} {:?}", case.config);
    let f64_what = format!("f64 {what}");
    assert_found(&f64_what, &found, &want, DOUBLE, DOUBLE.gram_gradient);
    for level in levels() {
        let found = case.at(level).expect(&what);
        let what = format!("{level} {what}");
        assert_found(&what, &found, &want, SINGLE, single_gradient);
    }
}

fn random_batches(seed: u64, sigma: f64) {
    let mut random = Random::new(seed);
    for k in 2..=contrastive::K_MAX {
        for rows in [1, 2, 3, 8, 13] {
            for d in [4, 16, 33].into_iter().filter(|d| k <= *d) {
                let x = batch(&mut random, [k, rows, d], sigma);
                for term in terms(k) {
                    for (normalise, all) in
                        [(true, true), (true, false), (false, true), (false, false)]
                    {
                        let mut config = config(&mut random, term, normalise);
                        if k > 5 {
                            // A volume rounded by half an ε is a logit rounded by ε/(2τ): 1e-6 at τ = 0.05, which
                            // few rows do not average away.
                            config.temperature = config.temperature.max(0.25);
                        }
                        let case = Case {
                            config,
                            x: x.clone(),
                            present: (!all).then(|| presence(&mut random, k, rows)),
                        };
                        let turned = turned_by_rounding(normalise, sigma);
                        let what = format!("k {k} rows {rows} d {d} σ {sigma} all {all}");
                        check_within(&what, &case, SINGLE.gram_gradient + turned);
                    }
                }
            }
        }
    }
}

#[test]
fn unrelated_batches_agree_with_the_oracle() {
    random_batches(1, f64::INFINITY);
}

#[test]
fn loosely_aligned_batches_agree_with_the_oracle() {
    random_batches(2, 0.3);
}

#[test]
fn aligned_batches_agree_with_the_oracle() {
    random_batches(3, 1e-2);
}

#[test]
fn closely_aligned_batches_agree_with_the_oracle() {
    random_batches(4, 1e-3);
}

#[test]
fn the_gradient_is_the_slope_of_the_loss_in_any_direction() {
    let mut random = Random::new(5);
    for number in 0..2000 {
        let k = 2 + number % (contrastive::K_MAX - 1);
        let (rows, d) = (random.range(1, 6), random.range(k + 1, 20));
        let term = terms(k)[random.range(0, 4)];
        let normalise = random.range(0, 1) == 0;
        let case = Case {
            config: config(&mut random, term, normalise),
            x: batch(&mut random, [k, rows, d], 0.5),
            present: (random.range(0, 1) == 0).then(|| presence(&mut random, k, rows)),
        };
        let found = case.scalar::<f64>().expect("a loss");
        let direction: Vec<Rows> = (0..k).map(|_| random.normals(rows, d)).collect();
        let length = norm(direction.iter().flatten().flatten().copied());
        let of_temperature = random.normal();
        let moved = |step: f64| {
            let mut case = case.clone();
            let along = direction.iter().flatten().flatten();
            for (x, e) in case.x.iter_mut().flatten().flatten().zip(along) {
                *x += step / length * e;
            }
            case.config.temperature *= 1.0 + step * of_temperature;
            case.scalar::<f64>().expect("a loss").report.loss
        };
        let h = 1e-5;
        let difference = (moved(h) - moved(-h)) / (2.0 * h);
        let along = planes::<f64>(&direction);
        let slope = found
            .gradient
            .iter()
            .zip(along)
            .map(|(g, e)| g * e / length);
        let temperature = case.config.temperature * found.report.temperature_gradient;
        let want = slope.sum::<f64>() + of_temperature * temperature;
        let scale = norm(found.gradient.iter().copied()) + temperature.abs();
        let what = format!("k {k} rows {rows} d {d} {:?}", case.config);
        assert_close(&what, difference, want, scale.max(1.0), 1e-6);
    }
}

#[test]
fn a_batch_of_which_nothing_is_there_has_no_loss() {
    let mut random = Random::new(6);
    for term in terms(3) {
        let case = Case {
            config: config(&mut random, term, true),
            x: batch(&mut random, [3, 4, 8], 0.3),
            present: Some(vec![vec![false; 4]; 3]),
        };
        check("nothing", &case);
        let report = case.scalar::<f32>().expect("a loss of nothing").report;
        assert_eq!((report.loss, report.missing), (0.0, 12));
    }
}

// One bad row.

const BAD_ROWS: [usize; 3] = [3, 64, 64];

#[test]
fn a_zero_row_is_a_missing_modality_bit_for_bit() {
    let mut random = Random::new(7);
    let [k, rows, d] = BAD_ROWS;
    for (modality, normalise) in [(0, true), (1, true), (2, true), (0, false), (2, false)] {
        for term in [terms(k)[0], terms(k)[2], terms(k)[4]] {
            let mut zero = Case {
                config: config(&mut random, term, normalise),
                x: batch(&mut random, BAD_ROWS, 0.5),
                present: None,
            };
            let row = random.range(0, rows - 1);
            let mut missing = zero.clone();
            zero.x[modality][row] = vec![0.0; d];
            let mut present = missing.everything_present();
            present[modality][row] = false;
            missing.present = Some(present);
            let what = format!("modality {modality} row {row} {:?}", zero.config);
            for level in levels() {
                let (zero, missing) = (zero.at(level), missing.at(level));
                assert_same(&format!("{level} {what}"), zero, missing);
            }
            let (zero, missing) = (zero.scalar::<f64>(), missing.scalar::<f64>());
            assert_same(&what, zero, missing);
        }
    }
}

#[track_caller]
fn assert_same<T: Real>(
    what: &str,
    a: Result<Found<T>, GramError>,
    b: Result<Found<T>, GramError>,
) {
    let (a, b) = (a.expect(what), b.expect(what));
    assert_eq!(a.report, b.report, "{what}");
    assert_eq!(a.report.missing, 1, "{what}");
    let bits =
        |found: &Found<T>| -> Vec<u64> { found.gradient.iter().map(|g| g.to_bits()).collect() };
    assert!(bits(&a) == bits(&b), "{what}: the gradients differ");
    assert!(a.gradient.iter().all(|g| g.is_finite()), "{what}");
    assert!(a.gradient.iter().any(|g| *g != T::ZERO), "{what}");
}

#[test]
fn equal_modalities_leave_every_gradient_finite_and_right() {
    let mut random = Random::new(8);
    let [k, ..] = BAD_ROWS;
    for (term, normalise) in [
        (terms(k)[0], true),
        (terms(k)[2], true),
        (terms(k)[0], false),
        (terms(k)[2], false),
    ] {
        let mut case = Case {
            config: config(&mut random, term, normalise),
            x: batch(&mut random, BAD_ROWS, 0.5),
            present: None,
        };
        case.x[1][5] = case.x[2][5].clone();
        check("one row", &case);
        let degenerate = case.scalar::<f32>().expect("a loss").report.degenerate;
        assert_eq!(degenerate, 1, "{:?}", case.config);

        for row in [0, 6, 7, 63] {
            case.x[1][row] = case.x[2][row].clone();
        }
        check("several rows", &case);

        // The anchor equal to a vector of its own item, and of another one.
        case.x[0][9] = case.x[1][9].clone();
        case.x[0][11] = case.x[2][30].clone();
        check("an anchor equal to an item", &case);

        // All three, and the opposite: volume does not see the sign.
        case.x[0][20] = case.x[1][20].clone();
        case.x[2][20] = case.x[1][20].iter().map(|x| -x).collect();
        check("three dependent", &case);
    }
}

#[test]
fn a_zero_row_has_volume_zero_where_asked_for() {
    let mut random = Random::new(9);
    for normalise in [true, false] {
        for term in terms(3) {
            let mut case = Case {
                config: GramLoss {
                    zero_rows: ZeroRows::Zero,
                    ..config(&mut random, term, normalise)
                },
                x: batch(&mut random, [3, 8, 16], 0.5),
                present: None,
            };
            case.x[1][4] = vec![0.0; 16];
            case.x[0][6] = vec![0.0; 16];
            check("zero rows", &case);
            let report = case.scalar::<f64>().expect("a loss").report;
            assert_eq!(report.missing, 0);
        }
    }
}

// Errors.

/// A batch that is right, to be spoilt in one place.
fn fine() -> Case {
    let mut random = Random::new(10);
    Case {
        config: GramLoss::paper(0),
        x: batch(&mut random, [3, 4, 8], 0.5),
        present: Some(vec![vec![true; 4]; 3]),
    }
}

/// The error of a case with something wrong with it, the same in both precisions.
#[track_caller]
fn error_of(spoil: impl FnOnce(&mut Case)) -> GramError {
    let mut case = fine();
    spoil(&mut case);
    let single = case.scalar::<f32>().expect_err("an error");
    assert_eq!(Some(single), case.scalar::<f64>().err());
    single
}

#[test]
fn a_vector_that_is_not_finite_is_named() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (modality, row) in [(0, 0), (1, 3), (2, 2)] {
            let error = error_of(|case| case.x[modality][row][7] = bad);
            assert_eq!(error, GramError::NotFinite { modality, row });
        }
    }
    let error = error_of(|case| {
        case.x[1][2][0] = f64::NAN;
        case.x[2][0][0] = f64::NAN;
    });
    let first = GramError::NotFinite {
        modality: 1,
        row: 2,
    };
    assert_eq!(error, first, "the first one");
}

/// The squares are in range, but the volumes over τ, or the sums of that, are not.
#[test]
fn a_vector_too_long_for_its_scores_is_named() {
    for (length, k) in [(1e19, 2), (1e16, 2), (1e13, 3), (1e8, 6)] {
        let mut case = fine();
        case.config.normalise = false;
        case.x = batch(&mut Random::new(11), [k, 4, 8], 0.5);
        case.present = None;
        for x in &mut case.x[1][2] {
            *x *= length;
        }
        let (modality, row) = (1, 2);
        let error = GramError::NotFinite { modality, row };
        assert_eq!(case.scalar::<f32>().err(), Some(error), "{length}, k = {k}");
        case.config.normalise = true;
        assert!(case.scalar::<f32>().is_ok(), "{length}, k = {k}");
    }
}

#[test]
fn a_long_vector_gives_a_finite_loss() {
    for (length, k) in [(1e14, 2), (1e9, 3), (1e4, 6)] {
        let mut case = fine();
        case.config.normalise = false;
        case.x = batch(&mut Random::new(12), [k, 4, 8], 0.5);
        case.present = None;
        for x in case.x.iter_mut().flatten().flatten() {
            *x *= length / 8.0;
        }
        let found = case.scalar::<f32>().expect("a loss");
        let numbers = [found.report.loss, found.report.temperature_gradient];
        let mut all = numbers.into_iter().chain(found.gradient);
        assert!(all.all(f32::is_finite), "{length}, k = {k}");
    }
}

#[test]
fn a_zero_row_is_named_where_it_is_an_error() {
    let error = error_of(|case| {
        case.config.zero_rows = ZeroRows::Error;
        case.x[2][3] = vec![0.0; 8];
    });
    let zero = GramError::ZeroRow {
        modality: 2,
        row: 3,
    };
    assert_eq!(error, zero);
    let mut absent = fine();
    absent.config.zero_rows = ZeroRows::Error;
    absent.x[2][3] = vec![0.0; 8];
    absent.present.as_mut().expect("flags")[2][3] = false;
    assert!(absent.scalar::<f32>().is_ok(), "absent on purpose");
}

#[test]
fn constants_out_of_range_are_errors() {
    for temperature in [0.0, -0.07, 1e-310, f64::NAN, f64::INFINITY] {
        let error = error_of(|case| case.config.temperature = temperature);
        assert_eq!(error, GramError::Temperature, "{temperature}");
    }
    for smoothing in [1.001, 1.5, -0.1, f64::NAN] {
        let error = error_of(|case| case.config.label_smoothing = smoothing);
        assert_eq!(error, GramError::LabelSmoothing, "{smoothing}");
    }
    for pairs in [-0.3, f64::NAN, f64::INFINITY] {
        let error = error_of(|case| case.config.pairs = pairs);
        assert_eq!(error, GramError::Weight, "{pairs}");
    }
    for anchor in [3, usize::MAX] {
        for term in [Term::Volume, Term::Cosine] {
            let error = error_of(|case| case.config.term = term(Anchor::One(anchor)));
            assert_eq!(error, GramError::Anchor { anchor, k: 3 });
        }
    }
}

/// The loss of zeros with buffers of the given lengths.
fn sized([k, rows, d]: [usize; 3], spare: [isize; 4]) -> Option<GramError> {
    let len = |len: usize, spare: isize| len.saturating_add_signed(spare);
    let vectors = vec![1.0_f32; len(k * rows * d, spare[0])];
    let present = vec![true; len(k * rows, spare[1])];
    let mut gradient = vec![0.0; len(k * rows * d, spare[2])];
    let mut workspace = vec![0.0; len(contrastive::workspace_len(k, rows, d), spare[3])];
    let batch = Batch {
        vectors: &vectors,
        present: Some(&present),
        k,
        rows,
        d,
    };
    let isa = One::<f32>::new();
    let config = GramLoss::paper(0);
    gram_loss(isa, &config, &batch, &mut gradient, &mut workspace).err()
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    assert_eq!(sized([2, 3, 4], [0; 4]), None);
    for k in [1, 9] {
        assert_eq!(sized([k, 3, 4], [0; 4]), Some(GramError::Arity { k }));
    }
    for [k, rows, d] in [[0, 3, 4], [2, 0, 4], [2, 3, 0]] {
        let empty = GramError::Empty { k, rows, d };
        assert_eq!(sized([k, rows, d], [0; 4]), Some(empty));
    }
    for (spare, need, have) in [
        ([-1, 0, 0, 0], 24, 23),
        ([1, 0, 0, 0], 24, 25),
        ([0, -1, 0, 0], 6, 5),
        ([0, 1, 0, 0], 6, 7),
        ([0, 0, -1, 0], 24, 23),
        ([0, 0, 1, 0], 24, 25),
    ] {
        let wrong = GramError::BufferSize { need, have };
        assert_eq!(sized([2, 3, 4], spare), Some(wrong));
    }
    let need = contrastive::workspace_len(2, 3, 4);
    let have = need - 1;
    let short = GramError::Workspace { need, have };
    assert_eq!(sized([2, 3, 4], [0, 0, 0, -1]), Some(short));
    assert_eq!(sized([2, 3, 4], [0, 0, 0, 7]), None);
}

#[test]
fn an_error_says_what_and_where() {
    let said = |error: GramError| error.to_string();
    let row = GramError::NotFinite {
        modality: 1,
        row: 42,
    };
    assert!(said(row).contains("modality 1, row 42"));
    let short = GramError::Workspace { need: 9, have: 8 };
    assert!(said(short).contains('9') && said(short).contains('8'));
}
