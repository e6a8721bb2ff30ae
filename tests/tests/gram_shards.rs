//! The GRAM loss of shards and rectangles against the naive oracle, the square loss and central differences, on every
//! path, and its errors.

use rivergram_core::error::GramError;
use rivergram_core::gram::contrastive::{
    Anchor, Batch, Gathered, GramLoss, GramReport, K_MAX, Rectangle, Shard, Term, ZeroRows,
    gram_loss, rectangle_loss, rectangle_workspace_len, shard_loss, shard_workspace_len,
    workspace_len,
};
use rivergram_core::lanes::{One, Real};
use rivergram_simd::Level;
use rivergram_tests::cases::{Rows, assert_gradient, flat, levels, planes};
use rivergram_tests::losses::{
    Found, Wanted, assert_found, batch, config, presence, terms, turned_by_rounding,
};
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::precision::{CENTRAL_DIFFERENCE, DOUBLE, SINGLE, assert_close};
use rivergram_tests::random::Random;

/// A gathered batch, or the anchors (plane 0) and the items of a rectangle.
#[derive(Clone, Debug)]
struct Case {
    config: GramLoss<f64>,
    x: Vec<Rows>,
    /// \[modality\]\[row\].
    present: Vec<Vec<bool>>,
}

fn config_as<T: Real>(config: &GramLoss<f64>) -> GramLoss<T> {
    GramLoss {
        term: config.term,
        pairs: T::constant(config.pairs),
        temperature: T::constant(config.temperature),
        label_smoothing: T::constant(config.label_smoothing),
        normalise: config.normalise,
        zero_rows: config.zero_rows,
    }
}

/// Buffers that hold what must be overwritten.
fn nan<T: Real>(len: usize) -> Vec<T> {
    vec![T::constant(f64::NAN); len]
}

impl Case {
    fn new(config: GramLoss<f64>, x: Vec<Rows>) -> Self {
        let present = x.iter().map(|rows| vec![true; rows.len()]).collect();
        Case { config, x, present }
    }

    /// The vectors; what is absent holds NaN, since it may hold anything.
    fn vectors<T: Real>(&self) -> Vec<Vec<T>> {
        let mut x = self.x.clone();
        for (row, present) in x.iter_mut().flatten().zip(self.present.iter().flatten()) {
            if !present {
                row.fill(f64::NAN);
            }
        }
        x.iter().map(|rows| flat(rows)).collect()
    }

    fn all(&self) -> usize {
        self.x[0].len()
    }

    fn square(&self) -> Found<f64> {
        let (k, rows, d) = (self.x.len(), self.all(), self.x[0][0].len());
        let (vectors, flags) = (self.vectors().concat(), self.present.concat());
        let batch = Batch {
            vectors: &vectors,
            present: Some(&flags),
            k,
            rows,
            d,
        };
        let (mut gradient, mut workspace) = (nan(vectors.len()), nan(workspace_len(k, rows, d)));
        let isa = One::<f64>::new();
        let report = gram_loss(isa, &self.config, &batch, &mut gradient, &mut workspace);
        Found {
            report: report.expect("a loss"),
            gradient,
        }
    }

    fn shard_on<T: Real>(
        &self,
        shard: Shard,
        path: impl FnOnce(
            &GramLoss<T>,
            &Batch<'_, T>,
            &mut [T],
            &mut [T],
        ) -> Result<GramReport<T>, GramError>,
    ) -> Result<Found<T>, GramError> {
        let (k, rows, d) = (self.x.len(), self.all(), self.x[0][0].len());
        let (vectors, flags) = (self.vectors().concat(), self.present.concat());
        let batch = Batch {
            vectors: &vectors,
            present: Some(&flags),
            k,
            rows,
            d,
        };
        let mut gradient = nan(shard.gradient_len(k, rows, d));
        let mut workspace = nan(shard_workspace_len(k, shard.rows, rows, d));
        let config = config_as(&self.config);
        let report = path(&config, &batch, &mut gradient, &mut workspace)?;
        Ok(Found { report, gradient })
    }

    fn shard<T: Real>(&self, shard: Shard) -> Result<Found<T>, GramError> {
        self.shard_on(shard, |config, batch, gradient, workspace| {
            shard_loss(One::<T>::new(), config, batch, shard, gradient, workspace)
        })
    }

    fn shard_at(&self, level: Level, shard: Shard) -> Result<Found<f32>, GramError> {
        self.shard_on(shard, |config, batch, gradient, workspace| {
            level.gram_shard_loss(config, batch, shard, gradient, workspace)
        })
    }

    fn wanted_of_shard(&self, shard: Shard) -> Wanted {
        let (from, to) = (shard.offset, shard.offset + shard.rows);
        let want = oracle::shard_loss(&self.config, &self.x, &self.present, [from, to]);
        let gradient = match shard.gathered {
            Gathered::Full => want.full(),
            Gathered::Detached => local_rows(&want.local, from, to),
        };
        Wanted {
            loss: want.loss,
            pairs: want.pairs,
            temperature: want.temperature,
            gradient: gradient.concat().concat(),
        }
    }

    /// A rectangle, with both gradients, one after the other.
    fn rectangle_on<T: Real>(
        &self,
        offset: usize,
        path: impl FnOnce(
            &GramLoss<T>,
            &Rectangle<'_, T>,
            [&mut [T]; 2],
            &mut [T],
        ) -> Result<GramReport<T>, GramError>,
    ) -> Result<Found<T>, GramError> {
        let (k, d) = (self.x.len(), self.x[0][0].len());
        let (rows, items) = (self.x[0].len(), self.x[1].len());
        let mut vectors = self.vectors();
        let anchors = vectors.remove(0);
        let (vectors, flags) = (vectors.concat(), self.present[1..].concat());
        let rectangle = Rectangle {
            anchors: &anchors,
            anchors_present: Some(&self.present[0]),
            rows,
            items: Batch {
                vectors: &vectors,
                present: Some(&flags),
                k: k - 1,
                rows: items,
                d,
            },
            offset,
        };
        let (mut gradient, mut of_items) = (nan(anchors.len()), nan(vectors.len()));
        let mut workspace = nan(rectangle_workspace_len(k, rows, items, d));
        let gradients = [&mut gradient[..], &mut of_items];
        let config = config_as(&self.config);
        let report = path(&config, &rectangle, gradients, &mut workspace)?;
        gradient.extend(of_items);
        Ok(Found { report, gradient })
    }

    fn rectangle<T: Real>(&self, offset: usize) -> Result<Found<T>, GramError> {
        self.rectangle_on(offset, |config, rectangle, [anchors, items], workspace| {
            let isa = One::<T>::new();
            rectangle_loss(isa, config, rectangle, anchors, items, workspace)
        })
    }
}

/// Rows `from` to `to` of each plane.
fn local_rows(x: &[Rows], from: usize, to: usize) -> Vec<Rows> {
    x.iter().map(|rows| rows[from..to].to_vec()).collect()
}

/// Shards of different sizes that are the whole batch together.
fn shards(random: &mut Random, all: usize, gathered: Gathered) -> Vec<Shard> {
    let mut shards = Vec::new();
    let mut offset = 0;
    while offset < all {
        let rows = random.range(1, all - offset);
        shards.push(Shard {
            offset,
            rows,
            gathered,
        });
        offset += rows;
    }
    shards
}

/// A random shard of k modalities: with zero rows and absent vectors unless `whole`.
fn random_case(
    random: &mut Random,
    sizes: [usize; 3],
    sigma: f64,
    term: Term,
    whole: bool,
) -> Case {
    let [k, rows, d] = sizes;
    let normalise = random.range(0, 1) == 0;
    let mut case = Case::new(config(random, term, normalise), batch(random, sizes, sigma));
    if !whole {
        case.present = presence(random, k, rows);
        let (modality, row) = (random.range(0, k - 1), random.range(0, rows - 1));
        case.x[modality][row] = vec![0.0; d];
    }
    case
}

const BOTH: [Gathered; 2] = [Gathered::Full, Gathered::Detached];

// Shards.

fn check_shard(what: &str, case: &Case, shard: Shard, sigma: f64) {
    let want = case.wanted_of_shard(shard);
    let what = format!("{what} {shard:?} {:?}", case.config);
    let found = case.shard::<f64>(shard).expect(&what);
    assert_found(&what, &found, &want, DOUBLE, DOUBLE.gram_gradient);
    let cap = SINGLE.gram_gradient + turned_by_rounding(case.config.normalise, sigma);
    for level in levels() {
        let found = case.shard_at(level, shard).expect(&what);
        assert_found(&format!("{level} {what}"), &found, &want, SINGLE, cap);
    }
}

fn random_shards(seed: u64, sigma: f64) {
    let mut random = Random::new(seed);
    for k in 2..=K_MAX {
        for (all, d) in [(1, 9), (2, 16), (5, 11), (9, 17), (13, 33)] {
            for term in terms(k) {
                let whole = random.range(0, 2) == 0;
                let case = random_case(&mut random, [k, all, d], sigma, term, whole);
                let gathered = BOTH[random.range(0, 1)];
                for shard in shards(&mut random, all, gathered) {
                    let what = format!("k {k} all {all} d {d} σ {sigma}");
                    check_shard(&what, &case, shard, sigma);
                }
            }
        }
    }
}

#[test]
fn shards_of_unrelated_batches_agree_with_the_oracle() {
    random_shards(1, f64::INFINITY);
}

#[test]
fn shards_of_loosely_aligned_batches_agree_with_the_oracle() {
    random_shards(2, 0.3);
}

#[test]
fn shards_of_aligned_batches_agree_with_the_oracle() {
    random_shards(3, 1e-2);
}

#[test]
fn the_mean_over_the_shards_is_the_square_loss() {
    let mut random = Random::new(4);
    for k in 2..=K_MAX {
        for all in [2, 7, 12] {
            for term in terms(k) {
                let whole = random.range(0, 1) == 0;
                let case = random_case(&mut random, [k, all, 13], 0.5, term, whole);
                let want = case.square();
                let (mut loss, mut pairs, mut temperature) = (0.0, 0.0, 0.0);
                let mut gradient = vec![0.0; want.gradient.len()];
                for shard in shards(&mut random, all, Gathered::Full) {
                    let weight = shard.rows as f64 / all as f64;
                    let found = case.shard::<f64>(shard).expect("a loss");
                    assert_eq!(found.report.missing, want.report.missing);
                    assert_eq!(found.report.degenerate, want.report.degenerate);
                    loss += weight * found.report.loss;
                    pairs += weight * found.report.pairs_loss;
                    temperature += weight * found.report.temperature_gradient;
                    let parts = gradient.iter_mut().zip(found.gradient);
                    parts.for_each(|(sum, part)| *sum += weight * part);
                }
                let what = format!("k {k} all {all} whole {whole} {:?}", case.config);
                let scalar = |name: &str, got: f64, want: f64, cap: f64| {
                    let scale = want.abs().max(1.0);
                    assert_close(&format!("{what}: {name}"), got, want, scale, cap);
                };
                let report = want.report;
                scalar("loss", loss, report.loss, DOUBLE.loss);
                scalar("pairs", pairs, report.pairs_loss, DOUBLE.loss);
                let of_temperature = report.temperature_gradient;
                scalar("dL/dτ", temperature, of_temperature, DOUBLE.gram_gradient);
                let want = want.gradient.iter().copied();
                assert_gradient(&what, &gradient, want, DOUBLE.gram_gradient);
            }
        }
    }
}

#[test]
fn all_rows_with_all_gradients_are_the_square_loss_bit_for_bit() {
    let mut random = Random::new(5);
    for term in terms(4) {
        for whole in [true, false] {
            let case = random_case(&mut random, [4, 11, 9], 0.3, term, whole);
            let shard = Shard {
                offset: 0,
                rows: 11,
                gathered: Gathered::Full,
            };
            let (square, found) = (case.square(), case.shard::<f64>(shard).expect("a loss"));
            assert_eq!(square.report, found.report);
            let bits = |found: &Found<f64>| -> Vec<u64> {
                found.gradient.iter().map(|g| g.to_bits()).collect()
            };
            assert!(bits(&square) == bits(&found), "{:?}", case.config);
        }
    }
}

#[test]
fn a_shard_of_which_nothing_is_there_has_no_loss_and_spoils_no_other() {
    let mut random = Random::new(6);
    for term in terms(3) {
        for gathered in BOTH {
            let mut case = random_case(&mut random, [3, 9, 8], 0.5, term, true);
            for flags in &mut case.present {
                flags[3..6].fill(false);
            }
            for offset in [0, 3, 6] {
                let shard = Shard {
                    offset,
                    rows: 3,
                    gathered,
                };
                check_shard("a shard that is missing", &case, shard, 0.5);
                let found = case.shard::<f64>(shard).expect("a loss");
                assert_eq!(found.report.missing, 9);
                let is_zero = found.gradient.iter().all(|g| *g == 0.0);
                assert_eq!(is_zero, offset == 3, "{offset}");
                assert_eq!(found.report.loss == 0.0, offset == 3, "{offset}");
            }
            for flags in &mut case.present {
                flags.fill(false);
            }
            let shard = Shard {
                offset: 3,
                rows: 6,
                gathered,
            };
            check_shard("nothing at all", &case, shard, 0.5);
        }
    }
}

#[test]
fn zero_rows_of_a_shard_have_volume_zero_where_asked_for() {
    let mut random = Random::new(7);
    for term in terms(3) {
        for gathered in BOTH {
            let mut case = random_case(&mut random, [3, 8, 16], 0.5, term, true);
            case.config.zero_rows = ZeroRows::Zero;
            case.x[1][4] = vec![0.0; 16];
            case.x[0][6] = vec![0.0; 16];
            // An item of equal vectors, which is degenerate for every anchor.
            case.x[2][5] = case.x[1][5].clone();
            for offset in [0, 4] {
                let shard = Shard {
                    offset,
                    rows: 4,
                    gathered,
                };
                check_shard("zero rows", &case, shard, 0.5);
                let (found, square) = (case.shard::<f64>(shard), case.square());
                let report = found.expect("a loss").report;
                assert_eq!((report.missing, square.report.missing), (0, 0));
                assert_eq!(report.degenerate, square.report.degenerate);
            }
        }
    }
}

// Central differences.

const STEP: f64 = 1e-5;

/// (f(x + h) − f(x − h)) / 2h over every number of the planes.
fn central(x: &[Rows], mut f: impl FnMut(&[Rows]) -> f64) -> Vec<f64> {
    let mut x = x.to_vec();
    let mut gradient = Vec::new();
    for p in 0..x.len() {
        for i in 0..x[p].len() {
            for c in 0..x[p][i].len() {
                let at = x[p][i][c];
                x[p][i][c] = at + STEP;
                let up = f(&x);
                x[p][i][c] = at - STEP;
                let down = f(&x);
                x[p][i][c] = at;
                gradient.push((up - down) / (2.0 * STEP));
            }
        }
    }
    gradient
}

#[track_caller]
fn assert_central(case: &Case, found: &Found<f64>, want: &[f64], loss: impl Fn(&Case) -> f64) {
    let what = format!("{:?}", case.config);
    let cap = CENTRAL_DIFFERENCE;
    assert_gradient(&what, &found.gradient, want.iter().copied(), cap);
    let at = |temperature: f64| {
        let mut case = case.clone();
        case.config.temperature = temperature;
        loss(&case)
    };
    let tau = case.config.temperature;
    let want = (at(tau + STEP) - at(tau - STEP)) / (2.0 * STEP);
    let got = found.report.temperature_gradient;
    assert_close(&what, got, want, want.abs().max(1.0), cap);
}

/// Cases that are smooth: moderate temperatures, nothing near a fold.
fn smooth_case(random: &mut Random, sizes: [usize; 3], term: Term) -> Case {
    let mut case = random_case(random, sizes, 0.8, term, true);
    case.config.temperature = 0.5;
    case.config.pairs = 0.3;
    case.present[random.range(0, sizes[0] - 1)][random.range(0, sizes[1] - 1)] = false;
    case
}

#[test]
fn full_gradients_of_shards_agree_with_central_differences() {
    let mut random = Random::new(8);
    for k in [2, 3, 5] {
        for term in terms(k) {
            let case = smooth_case(&mut random, [k, 5, 7], term);
            let shard = Shard {
                offset: 2,
                rows: 2,
                gathered: Gathered::Full,
            };
            let loss = |case: &Case| case.shard::<f64>(shard).expect("a loss").report.loss;
            let want = central(&case.x, |x| {
                let x = x.to_vec();
                loss(&Case { x, ..case.clone() })
            });
            let found = case.shard::<f64>(shard).expect("a loss");
            assert_central(&case, &found, &want, loss);
        }
    }
}

#[test]
fn detached_gradients_agree_with_central_differences_over_local_copies() {
    let mut random = Random::new(9);
    for k in [2, 3, 4] {
        for term in terms(k) {
            let case = smooth_case(&mut random, [k, 4, 6], term);
            let shard = Shard {
                offset: 1,
                rows: 2,
                gathered: Gathered::Detached,
            };
            let Case { config, x, present } = &case;
            // Only the oracle knows copies: the gathered one stays as it is.
            let want = central(&local_rows(x, 1, 3), |local| {
                oracle::shard_loss_of_copies(config, local, x, present, 1).loss
            });
            let found = case.shard::<f64>(shard).expect("a loss");
            let loss = |case: &Case| case.shard::<f64>(shard).expect("a loss").report.loss;
            assert_central(&case, &found, &want, loss);
        }
    }
}

#[test]
fn gradients_of_rectangles_agree_with_central_differences() {
    let mut random = Random::new(10);
    for k in [2, 3, 5] {
        for term in one_anchor() {
            let mut case = smooth_case(&mut random, [k, 5, 7], term);
            case.config.pairs = 0.0;
            case.x[0].truncate(2);
            case.present[0].truncate(2);
            let loss = |case: &Case| case.rectangle::<f64>(2).expect("a loss").report.loss;
            let want = central(&case.x, |x| {
                let x = x.to_vec();
                loss(&Case { x, ..case.clone() })
            });
            let found = case.rectangle::<f64>(2).expect("a loss");
            assert_central(&case, &found, &want, loss);
        }
    }
}

// Rectangles.

fn one_anchor() -> [Term; 2] {
    [Term::Volume(Anchor::One(0)), Term::Cosine(Anchor::One(0))]
}

/// A batch of which only some anchors are left.
fn random_rectangle(
    random: &mut Random,
    [k, items, d]: [usize; 3],
    sigma: f64,
    term: Term,
) -> (Case, usize) {
    let whole = random.range(0, 2) == 0;
    let mut case = random_case(random, [k, items, d], sigma, term, whole);
    case.config.pairs = 0.0;
    let rows = random.range(1, items);
    let offset = random.range(0, items - rows);
    case.x[0] = case.x[0][offset..offset + rows].to_vec();
    case.present[0] = case.present[0][offset..offset + rows].to_vec();
    (case, offset)
}

fn random_rectangles(seed: u64, sigma: f64) {
    let mut random = Random::new(seed);
    for k in 2..=K_MAX {
        for (items, d) in [(1, 9), (2, 16), (5, 11), (9, 17), (13, 33)] {
            for term in one_anchor() {
                let (case, offset) = random_rectangle(&mut random, [k, items, d], sigma, term);
                let Case { config, x, present } = &case;
                let want = oracle::rectangle_loss(config, x, present, offset);
                let want = Wanted {
                    loss: want.loss,
                    pairs: 0.0,
                    temperature: want.temperature,
                    gradient: want.gradient.concat().concat(),
                };
                let rows = x[0].len();
                let what = format!("k {k} {rows} at {offset} of {items} d {d} {config:?}");
                let found = case.rectangle::<f64>(offset).expect(&what);
                assert_found(&what, &found, &want, DOUBLE, DOUBLE.gram_gradient);
                let cap = SINGLE.gram_gradient + turned_by_rounding(config.normalise, sigma);
                for level in levels() {
                    let found = case
                        .rectangle_on(offset, |config, rectangle, gradients, workspace| {
                            level.gram_rectangle_loss(config, rectangle, gradients, workspace)
                        })
                        .expect(&what);
                    assert_found(&format!("{level} {what}"), &found, &want, SINGLE, cap);
                }
            }
        }
    }
}

#[test]
fn unrelated_rectangles_agree_with_the_oracle() {
    random_rectangles(11, f64::INFINITY);
}

#[test]
fn aligned_rectangles_agree_with_the_oracle() {
    random_rectangles(12, 0.3);
    random_rectangles(13, 1e-2);
}

#[test]
fn a_gradient_that_is_left_out_changes_no_other() {
    let mut random = Random::new(14);
    for term in one_anchor() {
        let (case, offset) = random_rectangle(&mut random, [3, 9, 10], 0.3, term);
        let both = case.rectangle::<f64>(offset).expect("a loss");
        let split = case.x[0].len() * 10;
        for (anchors_wanted, items_wanted) in [(true, false), (false, true), (false, false)] {
            let some = case
                .rectangle_on(offset, |config, rectangle, gradients, workspace| {
                    let wanted = [anchors_wanted, items_wanted];
                    let mut gradients = gradients.into_iter().zip(wanted);
                    let mut next = || match gradients.next() {
                        Some((gradient, true)) => gradient,
                        _ => &mut [],
                    };
                    let (anchors, items) = (next(), next());
                    let isa = One::<f64>::new();
                    rectangle_loss(isa, config, rectangle, anchors, items, workspace)
                })
                .expect("a loss");
            assert_eq!(some.report, both.report);
            if anchors_wanted {
                assert_eq!(some.gradient[..split], both.gradient[..split]);
            }
            if items_wanted {
                assert_eq!(some.gradient[split..], both.gradient[split..]);
            }
        }
    }
}

// Errors.

fn fine() -> Case {
    let mut random = Random::new(15);
    Case::new(GramLoss::paper(0), batch(&mut random, [3, 6, 8], 0.5))
}

fn error_of_shard(case: &Case, offset: usize, rows: usize) -> Option<GramError> {
    let errors = BOTH.map(|gathered| {
        let shard = Shard {
            offset,
            rows,
            gathered,
        };
        // The buffers are those of a shard that could be: a bad one must not decide them.

        let stand_in = Shard {
            offset: 0,
            rows: 1,
            gathered,
        };
        case.shard_on(stand_in, |config, batch, _, _| {
            let gradient = if gathered == Gathered::Full {
                6
            } else {
                rows.min(6)
            };
            let mut gradient = nan(3 * gradient * 8);
            let mut workspace = nan(shard_workspace_len(3, 6, 6, 8));
            let isa = One::<f32>::new();
            shard_loss(isa, config, batch, shard, &mut gradient, &mut workspace)
        })
        .err()
    });
    assert_eq!(errors[0], errors[1]);
    errors[0]
}

#[test]
fn rows_out_of_the_batch_are_named() {
    let case = fine();
    for (offset, rows) in [(0, 1), (0, 6), (5, 1), (2, 4)] {
        assert_eq!(error_of_shard(&case, offset, rows), None, "{offset} {rows}");
    }
    for (offset, rows) in [
        (0, 0),
        (0, 7),
        (3, 4),
        (6, 1),
        (7, 1),
        (usize::MAX, 1),
        (1, usize::MAX),
        (usize::MAX, usize::MAX),
    ] {
        let outside = GramError::Shard {
            offset,
            rows,
            all: 6,
        };
        assert_eq!(error_of_shard(&case, offset, rows), Some(outside));
        let said = outside.to_string();
        for number in [offset, rows, 6] {
            assert!(said.contains(&number.to_string()), "{said}");
        }
    }
}

#[test]
fn targets_out_of_the_items_are_named() {
    let mut case = fine();
    case.x[0].truncate(4);
    case.present[0].truncate(4);
    assert!(case.rectangle::<f32>(2).is_ok());
    for offset in [3, 6, usize::MAX] {
        let outside = GramError::Shard {
            offset,
            rows: 4,
            all: 6,
        };
        assert_eq!(case.rectangle::<f32>(offset).err(), Some(outside));
    }
}

#[test]
fn a_rectangle_takes_one_anchor_and_no_pairs() {
    let mut case = fine();
    for term in [
        Term::Volume(Anchor::Each),
        Term::Cosine(Anchor::Each),
        Term::Volume(Anchor::One(1)),
        Term::Cosine(Anchor::One(2)),
    ] {
        case.config.term = term;
        let error = case.rectangle::<f32>(0).err();
        assert_eq!(error, Some(GramError::OneAnchor), "{term:?}");
    }
    case.config = GramLoss {
        pairs: 0.1,
        ..GramLoss::paper(0)
    };
    assert_eq!(case.rectangle::<f32>(0).err(), Some(GramError::OneAnchor));
    case.config.pairs = 0.0;
    assert!(case.rectangle::<f32>(0).is_ok());
}

#[test]
fn a_bad_vector_of_a_shard_or_a_rectangle_is_named() {
    let shard = Shard {
        offset: 0,
        rows: 2,
        gathered: Gathered::Detached,
    };
    // Also a gathered one, by its row of the gathered batch.
    for (modality, row) in [(0, 1), (1, 5), (2, 3)] {
        let mut case = fine();
        case.x[modality][row][3] = f64::NAN;
        let bad = GramError::NotFinite { modality, row };
        assert_eq!(case.shard::<f32>(shard).err(), Some(bad));
        assert_eq!(case.rectangle::<f64>(0).err(), Some(bad));
        case.x[modality][row] = vec![0.0; 8];
        case.config.zero_rows = ZeroRows::Error;
        let zero = GramError::ZeroRow { modality, row };
        assert_eq!(case.shard::<f64>(shard).err(), Some(zero));
        assert_eq!(case.rectangle::<f32>(0).err(), Some(zero));
    }
}

#[test]
fn lengths_that_do_not_fit_a_shard_are_errors() {
    let case = fine();
    let vectors: Vec<f32> = planes(&case.x);
    let (isa, config) = (One::<f32>::new(), GramLoss::paper(0));
    let batch = Batch {
        vectors: &vectors,
        present: None,
        k: 3,
        rows: 6,
        d: 8,
    };
    for gathered in BOTH {
        let shard = Shard {
            offset: 1,
            rows: 4,
            gathered,
        };
        let need = shard.gradient_len(3, 6, 8);
        assert_eq!(need, 3 * 8 * if gathered == Gathered::Full { 6 } else { 4 });
        let room = shard_workspace_len(3, 4, 6, 8);
        let error = |gradient: usize, workspace: usize| {
            let (mut gradient, mut workspace) = (nan(gradient), nan(workspace));
            shard_loss(isa, &config, &batch, shard, &mut gradient, &mut workspace).err()
        };
        assert_eq!(error(need, room), None);
        for have in [0, need - 1, need + 1] {
            let wrong = GramError::BufferSize { need, have };
            assert_eq!(error(have, room), Some(wrong));
        }
        let have = room - 1;
        let short = GramError::Workspace { need: room, have };
        assert_eq!(error(need, have), Some(short));
    }
}

#[test]
fn lengths_that_do_not_fit_a_rectangle_are_errors() {
    let case = fine();
    let items: Vec<f32> = planes(&case.x[1..]);
    let anchors: Vec<f32> = flat(&case.x[0][..4]);
    let room = rectangle_workspace_len(3, 4, 6, 8);
    let error = |anchors: &[f32], k: usize, gradients: [usize; 2], workspace: usize| {
        let rectangle = Rectangle {
            anchors,
            anchors_present: None,
            rows: 4,
            items: Batch {
                vectors: &items,
                present: None,
                k,
                rows: 6,
                d: 8,
            },
            offset: 0,
        };
        let [mut a, mut b] = gradients.map(nan);
        let (isa, config) = (One::<f32>::new(), GramLoss::paper(0));
        let mut workspace = nan(workspace);
        rectangle_loss(isa, &config, &rectangle, &mut a, &mut b, &mut workspace).err()
    };
    assert_eq!(error(&anchors, 2, [32, 96], room), None);
    assert_eq!(error(&anchors, 2, [0, 0], room), None);
    let wrong = |need: usize, have: usize| Some(GramError::BufferSize { need, have });
    assert_eq!(error(&anchors, 2, [31, 96], room), wrong(32, 31));
    assert_eq!(error(&anchors, 2, [32, 97], room), wrong(96, 97));
    assert_eq!(error(&anchors[1..], 2, [32, 96], room), wrong(32, 31));
    assert_eq!(error(&anchors, 1, [32, 96], room), wrong(48, 96));
    let have = room - 1;
    let short = GramError::Workspace { need: room, have };
    assert_eq!(error(&anchors, 2, [32, 96], have), Some(short));
    let arity = GramError::Arity { k: 9 };
    assert_eq!(error(&anchors, 8, [32, 96], room), Some(arity));
}
