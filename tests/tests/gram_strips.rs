//! The GRAM loss in strips against the naive oracle, on every path, with either workspace, whatever the hands.

use rivergram_core::crew::{Alone, Crew};
use rivergram_core::error::GramError;
use rivergram_core::gram::contrastive::{
    Anchor, Batch, Gathered, GramLoss, GramReport, K_MAX, Rectangle, Room, Shard, Term,
    gram_loss_by, rectangle_loss_by, rectangle_room_len, room_len, shard_loss_by, shard_room_len,
};
use rivergram_core::gram::pair::{
    Measure, volume_matrix, volume_matrix_by, volume_matrix_room_len, volume_matrix_workspace_len,
};
use rivergram_core::lanes::{One, Real};
use rivergram_simd::Level;
use rivergram_tests::cases::{Rows, is_emulated, levels, planes};
use rivergram_tests::hands::Hands;
use rivergram_tests::losses::{
    Found, Wanted, assert_found, batch, config, presence, terms, turned_by_rounding,
};
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::precision::{DOUBLE, SINGLE};
use rivergram_tests::random::Random;

const ROOMS: [Room; 2] = [Room::Small, Room::Large];

#[derive(Clone, Debug)]
struct Case {
    config: GramLoss<f64>,
    /// \[modality\]\[row\].
    x: Vec<Rows>,
    present: Vec<Vec<bool>>,
}

/// Buffers that hold what must be overwritten.
fn nan<T: Real>(len: usize) -> Vec<T> {
    vec![T::constant(f64::NAN); len]
}

impl Case {
    fn new(random: &mut Random, sizes: [usize; 3], sigma: f64, term: Term, all: bool) -> Self {
        let [k, rows, _] = sizes;
        let normalise = random_bool(random);
        let mut config = config(random, term, normalise);
        config.temperature = config.temperature.max(0.25);
        let present = if all {
            vec![vec![true; rows]; k]
        } else {
            presence(random, k, rows)
        };
        let x = batch(random, sizes, sigma);
        Case { config, x, present }
    }

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

    /// The vectors of some modalities; what is absent holds NaN.
    fn vectors<T: Real>(&self, from: usize, to: usize) -> Vec<T> {
        let mut x = self.x[from..to].to_vec();
        let flags = self.present[from..to].iter().flatten();
        for (row, present) in x.iter_mut().flatten().zip(flags) {
            if !present {
                row.fill(f64::NAN);
            }
        }
        planes(&x)
    }

    fn square<T: Real, C: Crew<T> + Sync>(&self, crew: &C, room: Room) -> Found<T> {
        let (k, rows, d) = (self.x.len(), self.x[0].len(), self.x[0][0].len());
        let (vectors, flags) = (self.vectors(0, k), self.present.concat());
        let batch = Batch {
            vectors: &vectors,
            present: Some(&flags),
            k,
            rows,
            d,
        };
        let mut gradient = nan(vectors.len());
        let mut workspace = nan(room_len(room, crew.hands(), k, rows, d));
        let report = gram_loss_by(crew, &self.config(), &batch, &mut gradient, &mut workspace);
        Found {
            report: report.expect("a loss"),
            gradient,
        }
    }

    fn shard<T: Real, C: Crew<T> + Sync>(&self, crew: &C, room: Room, shard: Shard) -> Found<T> {
        let (k, rows, d) = (self.x.len(), self.x[0].len(), self.x[0][0].len());
        let (vectors, flags) = (self.vectors(0, k), self.present.concat());
        let batch = Batch {
            vectors: &vectors,
            present: Some(&flags),
            k,
            rows,
            d,
        };
        let mut gradient = nan(shard.gradient_len(k, rows, d));
        let len = shard_room_len(room, crew.hands(), k, [shard.rows, rows], d);
        let (config, mut workspace) = (self.config(), nan(len));
        let report = shard_loss_by(crew, &config, &batch, shard, &mut gradient, &mut workspace);
        Found {
            report: report.expect("a loss"),
            gradient,
        }
    }

    fn rectangle<T: Real, C: Crew<T> + Sync>(
        &self,
        crew: &C,
        room: Room,
        offset: usize,
    ) -> Found<T> {
        let (k, d) = (self.x.len(), self.x[0][0].len());
        let (rows, items) = (self.x[0].len(), self.x[1].len());
        let (anchors, vectors) = (self.vectors(0, 1), self.vectors(1, k));
        let flags = self.present[1..].concat();
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
        let len = rectangle_room_len(room, crew.hands(), k, [rows, items], d);
        let (config, mut workspace) = (self.config(), nan(len));
        let gradients = [&mut gradient[..], &mut of_items];
        let report = rectangle_loss_by(crew, &config, &rectangle, gradients, &mut workspace);
        gradient.extend(of_items);
        Found {
            report: report.expect("a loss"),
            gradient,
        }
    }
}

fn random_bool(random: &mut Random) -> bool {
    random.range(0, 1) == 0
}

/// Double precision, and every level with one hand, in both rooms; three hands give the bits of one.
fn check(
    what: &str,
    want: &Wanted,
    single_gradient: f64,
    double: impl Fn(&Alone<One<f64>>, Room) -> Found<f64>,
    single: impl Fn(&Level, Room) -> Found<f32>,
    many: impl Fn(&Hands, Room) -> Found<f32>,
) {
    for room in ROOMS {
        let what = format!("{room:?} {what}");
        if !is_emulated() {
            let found = double(&Alone(One::new()), room);
            assert_found(&what, &found, want, DOUBLE, DOUBLE.gram_gradient);
        }
        for level in levels() {
            let found = single(&level, room);
            assert_found(
                &format!("{level} {what}"),
                &found,
                want,
                SINGLE,
                single_gradient,
            );
        }
        let level = Level::detect();
        let one = single(&level, room);
        let three = many(&Hands { level, hands: 3 }, room);
        assert_eq!(one.report, three.report, "{what}");
        assert_eq!(bits(&one.gradient), bits(&three.gradient), "{what}");
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// One block and one strip, and several of both, of sizes that are multiples of nothing.
fn sizes(k: usize) -> Vec<[usize; 3]> {
    let mut sizes = vec![[k, 1, 9], [k, 5, 16], [k, 23, 11]];
    if k < 5 {
        sizes.push([k, 131, 19]);
    }
    if k == 3 {
        sizes.push([k, 50, 523]);
    }
    sizes
}

fn squares(seed: u64, sigma: f64) {
    let mut random = Random::new(seed);
    for k in 2..=K_MAX {
        for [k, rows, d] in sizes(k) {
            for term in terms(k) {
                let all = random_bool(&mut random);
                let case = Case::new(&mut random, [k, rows, d], sigma, term, all);
                let (loss, pairs) = oracle::batch_loss(&case.config, &case.x, &case.present);
                let want = Wanted {
                    loss: loss.loss,
                    pairs,
                    temperature: loss.temperature,
                    gradient: loss.gradient.concat().concat(),
                };
                let what = format!(
                    "k {k} rows {rows} d {d} σ {sigma} all {all} {:?}",
                    case.config
                );
                let turned = turned_by_rounding(case.config.normalise, sigma);
                check(
                    &what,
                    &want,
                    SINGLE.gram_gradient + turned,
                    |crew, room| case.square(crew, room),
                    |crew, room| case.square(crew, room),
                    |crew, room| case.square(crew, room),
                );
            }
        }
    }
}

#[test]
fn unrelated_batches_agree_with_the_oracle() {
    squares(701, f64::INFINITY);
}

#[test]
fn batches_of_near_pairs_agree_with_the_oracle() {
    squares(702, 0.1);
}

#[test]
fn batches_of_very_near_pairs_agree_with_the_oracle() {
    squares(703, 0.01);
}

#[test]
fn shards_agree_with_the_oracle() {
    let mut random = Random::new(704);
    for (k, all, d) in [(2, 7, 9), (3, 130, 17), (4, 57, 12), (8, 21, 9)] {
        for term in terms(k) {
            let whole = random_bool(&mut random);
            let case = Case::new(&mut random, [k, all, d], 0.3, term, whole);
            for gathered in [Gathered::Full, Gathered::Detached] {
                let rows = random.range(1, all);
                let offset = random.range(0, all - rows);
                let shard = Shard {
                    offset,
                    rows,
                    gathered,
                };
                let ends = [offset, offset + rows];
                let want = oracle::shard_loss(&case.config, &case.x, &case.present, ends);
                let local = |planes: &[Rows]| -> Vec<Rows> {
                    planes
                        .iter()
                        .map(|x| x[ends[0]..ends[1]].to_vec())
                        .collect()
                };
                let gradient = match gathered {
                    Gathered::Full => want.full(),
                    Gathered::Detached => local(&want.local),
                };
                let want = Wanted {
                    loss: want.loss,
                    pairs: want.pairs,
                    temperature: want.temperature,
                    gradient: gradient.concat().concat(),
                };
                let turned = turned_by_rounding(case.config.normalise, 0.3);
                check(
                    &format!("k {k} all {all} d {d} {shard:?} {:?}", case.config),
                    &want,
                    SINGLE.gram_gradient + turned,
                    |crew, room| case.shard(crew, room, shard),
                    |crew, room| case.shard(crew, room, shard),
                    |crew, room| case.shard(crew, room, shard),
                );
            }
        }
    }
}

#[test]
fn rectangles_agree_with_the_oracle() {
    let mut random = Random::new(705);
    let one_anchor = [Term::Volume(Anchor::One(0)), Term::Cosine(Anchor::One(0))];
    for (k, items, d) in [(2, 7, 9), (3, 130, 17), (4, 57, 12), (8, 21, 9)] {
        for term in one_anchor {
            for whole in [true, false] {
                let mut case = Case::new(&mut random, [k, items, d], 0.3, term, whole);
                case.config.pairs = 0.0;
                let rows = random.range(1, items);
                let offset = random.range(0, items - rows);
                case.x[0] = case.x[0][offset..offset + rows].to_vec();
                case.present[0] = case.present[0][offset..offset + rows].to_vec();
                let want = oracle::rectangle_loss(&case.config, &case.x, &case.present, offset);
                let want = Wanted {
                    loss: want.loss,
                    pairs: 0.0,
                    temperature: want.temperature,
                    gradient: want.gradient.concat().concat(),
                };
                let turned = turned_by_rounding(case.config.normalise, 0.3);
                check(
                    &format!(
                        "k {k} {rows} at {offset} of {items} d {d} {:?}",
                        case.config
                    ),
                    &want,
                    SINGLE.gram_gradient + turned,
                    |crew, room| case.rectangle(crew, room, offset),
                    |crew, room| case.rectangle(crew, room, offset),
                    |crew, room| case.rectangle(crew, room, offset),
                );
            }
        }
    }
}

#[test]
fn a_room_one_float_short_is_an_error_and_a_small_one_is_enough() {
    let mut random = Random::new(706);
    let (k, rows, d) = (3, 9, 8);
    let vectors: Vec<f32> = planes(&batch(&mut random, [k, rows, d], f64::INFINITY));
    let batch = Batch {
        vectors: &vectors,
        present: None,
        k,
        rows,
        d,
    };
    let loss = |have: usize| -> Result<GramReport<f32>, GramError> {
        let (mut gradient, mut workspace) = (nan(vectors.len()), nan(have));
        let level = Level::detect();
        gram_loss_by(
            &level,
            &GramLoss::paper(0),
            &batch,
            &mut gradient,
            &mut workspace,
        )
    };
    let [need, large] = ROOMS.map(|room| room_len(room, 1, k, rows, d));
    let have = need - 1;
    assert_eq!(loss(have), Err(GramError::Workspace { need, have }));
    let [small, large] = [need, large].map(|have| loss(have).expect("a loss"));
    assert_eq!(small.loss, large.loss);
}

#[test]
fn the_small_room_is_less_than_twice_the_vectors_and_the_large_one_has_the_pairs_and_the_anchors_besides()
 {
    for (k, rows, d) in [(4, 2048, 512), (3, 4096, 512), (8, 4096, 512)] {
        let [small, large] = ROOMS.map(|room| room_len(room, 1, k, rows, d));
        assert!(small < 2 * k * rows * d, "k {k} rows {rows}: {small}");
        let (pairs, packed) = ((k - 1) * rows * rows.next_multiple_of(16), rows * d);
        assert!(large - small <= pairs + packed);
    }
}

#[test]
fn matrices_in_strips_are_those_of_the_whole_gallery() {
    let mut random = Random::new(707);
    for (b1, m, b2, d) in [
        (1, 1, 1, 3),
        (50, 2, 101, 20),
        (97, 3, 70, 523),
        (3, 8, 40, 12),
    ] {
        let x = batch(&mut random, [m + 1, b1.max(b2), d], 0.3);
        let rows = |x: &[Rows], n: usize| -> Vec<f64> {
            let x: Vec<Rows> = x.iter().map(|x| x[..n].to_vec()).collect();
            planes(&x)
        };
        let (anchors, items) = (rows(&x[..1], b1), rows(&x[1..], b2));
        let present: Vec<bool> = (0..m * b2).map(|_| random.range(0, 4) > 0).collect();
        let (flags, sizes) = (Some(&present[..]), [b1, m, b2, d]);
        let single = |x: &[f64]| -> Vec<f32> { x.iter().map(|x| *x as f32).collect() };
        let (anchors_f32, items_f32) = (single(&anchors), single(&items));
        for measure in [Measure::Volume, Measure::Distance, Measure::Cosine] {
            let mut want = nan::<f64>(b1 * b2);
            let mut workspace = nan(volume_matrix_workspace_len(b1, m, b2, d));
            let isa = One::<f64>::new();
            volume_matrix(
                isa,
                measure,
                &anchors,
                &items,
                flags,
                sizes,
                &mut want,
                &mut workspace,
            )
            .expect("a matrix");
            let len = volume_matrix_room_len(b1, m, b2, d);
            let mut got = nan(b1 * b2);
            let crew = Alone(isa);
            volume_matrix_by(
                &crew,
                measure,
                &anchors,
                &items,
                flags,
                sizes,
                &mut got,
                &mut nan(len),
            )
            .expect("a matrix");
            assert_near(&format!("{measure:?} {sizes:?}"), &got, &want, 1e-12);
            // A sum of m cosines is rounded as they are, whatever it comes to.
            let cap = if measure == Measure::Cosine {
                1e-5 * m as f64
            } else {
                2e-6
            };
            for level in levels() {
                for hands in [1, 3] {
                    let crew = Hands { level, hands };
                    let (mut got, mut workspace) = (nan(b1 * b2), nan(len));
                    let (anchors, items) = (&anchors_f32, &items_f32);
                    let out = &mut got;
                    volume_matrix_by(
                        &crew,
                        measure,
                        anchors,
                        items,
                        flags,
                        sizes,
                        out,
                        &mut workspace,
                    )
                    .expect("a matrix");
                    let got: Vec<f64> = got.iter().map(|x| f64::from(*x)).collect();
                    assert_near(&format!("{level} {measure:?} {sizes:?}"), &got, &want, cap);
                }
            }
        }
    }
}

fn assert_near(what: &str, got: &[f64], want: &[f64], cap: f64) {
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs();
        assert!(
            error <= cap * want.abs().max(0.1),
            "{what} at {index}: {got} not {want}"
        );
    }
}
