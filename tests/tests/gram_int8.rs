//! Vectors in eight bits: volumes against exact integers and the oracle, what quantising costs, retrieval.

use rivergram_core::error::GramError;
use rivergram_core::gram::contrastive::ZeroRows;
use rivergram_core::gram::int8::{
    Gallery, Item, MOST_DIMENSIONS, gram_matrix_i8, nearest_i8, quantise, volume_i8, volume_i8_on,
};
use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::retrieval::{Order, TopK};
use rivergram_core::gram::search::{Search, nearest, nearest_workspace_len};
use rivergram_core::lanes::One;
use rivergram_tests::cases::{Rows, cone, near_coplanar, norm, two_cones};
use rivergram_tests::oracle::{gram as oracle, integers};
use rivergram_tests::precision::{INT8_COSINE, INT8_SCORE, INT8_STEP, INT8_VOLUME, assert_close};
use rivergram_tests::random::Random;

/// Rows of integers.
type Integers = Vec<Vec<i8>>;

/// Integers from −limit to limit; of 128 also the lower end.
fn integers(random: &mut Random, k: usize, d: usize, limit: i32) -> Integers {
    let width = 2 * limit as usize;
    let number = |random: &mut Random| (random.range(0, width) as i32 - limit).min(127) as i8;
    (0..k)
        .map(|_| (0..d).map(|_| number(random)).collect())
        .collect()
}

fn quantised(x: &Rows) -> (Integers, Vec<f32>) {
    x.iter()
        .map(|x| {
            let singles: Vec<f32> = x.iter().map(|x| *x as f32).collect();
            let mut n = vec![0; x.len()];
            let scale = quantise(&singles, &mut n).expect("finite numbers");
            (n, scale)
        })
        .unzip()
}

/// What the integers and the scales stand for.
fn dequantised(n: &Integers, scales: &[f32]) -> Rows {
    n.iter()
        .zip(scales)
        .map(|(n, s)| n.iter().map(|n| f64::from(*n) * f64::from(*s)).collect())
        .collect()
}

fn volume_of(n: &Integers, scales: &[f32]) -> f64 {
    let d = n[0].len();
    f64::from(volume_i8_on(&n.concat(), scales, d).expect("good sizes"))
}

fn cap(k: usize) -> f64 {
    INT8_VOLUME * (k + 2) as f64
}

/// Numbers of any size, as a scale may be.
fn scales(random: &mut Random, k: usize) -> Vec<f32> {
    (0..k)
        .map(|_| (random.normal() * 0.5 - 4.0).exp() as f32)
        .collect()
}

fn product(scales: &[f32]) -> f64 {
    scales.iter().map(|s| f64::from(*s)).product()
}

#[test]
fn volumes_are_those_of_exact_determinants() {
    let mut random = Random::new(1);
    let (mut seen, mut dependent) = (0, 0);
    for round in 0..6000 {
        let k = random.range(1, 8);
        // Small numbers and few dimensions make dependent and nearly dependent vectors.
        let limit = [1, 2, 5, 40, 128][random.below(5)];
        let d = random.range(k, [k, 12, 100][round % 3].max(k));
        let mut n = integers(&mut random, k, d, limit);
        if k > 1 && limit < 40 && random.below(4) == 0 {
            // One vector in the span of two, or one step away from it.
            let (a, b, last) = (random.below(k), random.below(k), k - 1);
            let sum = n[a].iter().zip(&n[b]).map(|(a, b)| a + b).collect();
            n[last] = sum;
            n[last][0] += random.below(2) as i8;
        }
        let Some(determinant) = integers::determinant(integers::gram(&n)) else {
            continue;
        };
        let s = scales(&mut random, k);
        let want = (determinant as f64).sqrt() * product(&s);
        let what = format!("k = {k}, d = {d}, numbers up to {limit}");
        assert_close(&what, volume_of(&n, &s), want, want, cap(k));
        seen += 1;
        dependent += i32::from(determinant == 0);
    }
    assert!(
        seen > 4500 && dependent > 300,
        "{seen} cases, {dependent} dependent"
    );
}

#[test]
fn volumes_of_triangles_are_the_product_of_their_diagonals() {
    // For eight vectors the determinant has 224 bits.
    let mut random = Random::new(2);
    for round in 0..400 {
        let k = 1 + round % 8;
        let mut n = integers(&mut random, k, k, 128);
        let mut want = 1.0;
        for (p, row) in n.iter_mut().enumerate() {
            row[p] = row[p].max(1);
            row[p + 1..].fill(0);
            want *= f64::from(row[p]);
        }
        // Zeros between the numbers change nothing.
        for row in &mut n {
            *row = row.iter().flat_map(|n| [*n, 0, 0]).collect();
        }
        n.rotate_left(round % k);
        assert_close(
            "a triangle",
            volume_of(&n, &vec![1.0; k]),
            want,
            want,
            cap(k),
        );
    }
}

#[test]
fn volumes_agree_with_the_oracle_of_what_was_quantised() {
    let mut random = Random::new(3);
    for round in 0..2000 {
        let (k, d) = (random.range(2, 8), random.range(8, 200));
        let sigma = [1.0, 0.3, 0.03][random.below(3)];
        let x = match round % 3 {
            0 => cone(&mut random, k, d, sigma),
            1 => near_coplanar(&mut random, k, d, sigma),
            _ => two_cones(&mut random, k.max(2), d, sigma),
        };
        let (n, s) = quantised(&x);
        let want = oracle::volume(&dequantised(&n, &s));
        // Where the quantised vectors are nearly dependent, it is the oracle that rounds.
        let small = want / norm_product(&dequantised(&n, &s));
        if small > 1e-6 {
            let what = format!("k = {k}, d = {d}, σ = {sigma}");
            assert_close(&what, volume_of(&n, &s), want, want, cap(k));
        }
    }
}

fn norm_product(rows: &Rows) -> f64 {
    rows.iter().map(|row| norm(row.iter().copied())).product()
}

#[test]
fn fixed_sizes_and_slices_give_the_same_bits() {
    fn check<const K: usize, const D: usize>(random: &mut Random) {
        let n = integers(random, K, D, 128);
        let s: [f32; K] = scales(random, K).try_into().expect("K scales");
        let rows: [[i8; D]; K] =
            std::array::from_fn(|p| n[p].clone().try_into().expect("D numbers"));
        let fixed = volume_i8(&rows, &s);
        assert_eq!(Ok(fixed), volume_i8_on(rows.as_flattened(), &s, D));
        let gram = integers::gram(&n);
        for (got, want) in gram_matrix_i8(&rows)
            .iter()
            .flatten()
            .zip(gram.iter().flatten())
        {
            assert_eq!(i128::from(*got), *want);
        }
        assert!(K <= D || fixed == 0.0, "K = {K}, D = {D}: {fixed}");
    }
    let mut random = Random::new(4);
    for _ in 0..50 {
        check::<1, 1>(&mut random);
        check::<1, 7>(&mut random);
        check::<2, 64>(&mut random);
        check::<2, 1>(&mut random);
        check::<3, 64>(&mut random);
        check::<3, 2>(&mut random);
        check::<4, 33>(&mut random);
        check::<5, 16>(&mut random);
        check::<6, 6>(&mut random);
        check::<7, 5>(&mut random);
        check::<8, 256>(&mut random);
        check::<8, 1>(&mut random);
    }
}

#[test]
fn the_largest_sums_fit() {
    // All −128: the most that a diagonal can be.
    let d = MOST_DIMENSIONS;
    let mut n = vec![-128_i8; 2 * d];
    let one = f64::from(volume_i8_on(&n[..d], &[1.0], d).expect("one vector"));
    let want = 128.0 * (d as f64).sqrt();
    assert_close("one vector", one, want, want, cap(1));
    assert_eq!(volume_i8_on(&n, &[1.0, 1.0], d), Ok(0.0));
    n[2 * d - 1] = 127;
    let two = f64::from(volume_i8_on(&n, &[1.0, 1.0], d).expect("two vectors"));
    // Nearly 2⁶² less nearly 2⁶² is what has to be left: |a|²·|b − a|² − (a·(b − a))².
    let want = ((128.0 * 128.0 * d as f64) * (255.0 * 255.0) - (128.0_f64 * 255.0).powi(2)).sqrt();
    assert_close("two vectors", two, want, want, cap(2));
}

#[test]
fn degenerate_vectors_have_volume_zero_and_nothing_else_has() {
    let volume = |n: &[i8], s: &[f32], d| volume_i8_on(n, s, d);
    assert_eq!(volume(&[0, 0, 1, 2], &[1.0, 1.0], 2), Ok(0.0));
    assert_eq!(volume(&[1, 2, 1, 2], &[1.0, 3.0], 2), Ok(0.0));
    assert_eq!(volume(&[1, 2, -2, -4], &[1.0, 3.0], 2), Ok(0.0));
    assert_eq!(volume(&[3, 4, 5, 12], &[0.0, 1.0], 2), Ok(0.0));
    assert_eq!(volume(&[127; 24], &[1.0; 3], 8), Ok(0.0));
    assert_eq!(volume(&[-128; 24], &[1.0; 3], 8), Ok(0.0));
    assert_eq!(volume(&[1, 2, 3], &[1.0; 3], 1), Ok(0.0));
    assert_eq!(volume(&[-128], &[2.0], 1), Ok(256.0));
    // Two vectors as near as they can be, and as long: 127² apart in a sum of 2²⁸.
    let mut n = [127_i8; 2 * 1024];
    n[2047] = 126;
    let got = volume(&n, &[1.0; 2], 1024).expect("a volume");
    let want = 127.0 * 1023_f64.sqrt();
    assert_close("near", f64::from(got), want, want, cap(2));
}

#[test]
fn wrong_inputs_are_named() {
    let volume = |n: &[i8], s: &[f32], d| volume_i8_on(n, s, d);
    let empty = |k, d| Err(GramError::Empty { k, rows: 1, d });
    assert_eq!(volume(&[], &[], 3), empty(0, 3));
    assert_eq!(volume(&[], &[1.0], 0), empty(1, 0));
    let have = 5;
    assert_eq!(
        volume(&[1; 5], &[1.0; 2], 3),
        Err(GramError::BufferSize { need: 6, have })
    );
    let (k, most) = (9, 8);
    assert_eq!(
        volume(&[1; 18], &[1.0; 9], 2),
        Err(GramError::Vectors { k, most })
    );
    let (d, most) = (MOST_DIMENSIONS + 1, MOST_DIMENSIONS);
    assert_eq!(
        volume(&[], &[1.0], d),
        Err(GramError::Dimensions { d, most })
    );
    assert_eq!(
        volume(&[], &[1.0], usize::MAX),
        Err(GramError::Dimensions {
            d: usize::MAX,
            most
        })
    );
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0] {
        let scale = GramError::Scale {
            modality: 1,
            row: 0,
        };
        assert_eq!(volume(&[1; 4], &[1.0, bad], 2), Err(scale));
    }
    // Without an error to return, a fixed size never gives the best of matches.
    assert!(volume_i8(&[[1, 0], [0, 1]], &[f32::NAN, 1.0]).is_nan());
    assert!(volume_i8(&[[1, 1], [1, 1]], &[f32::INFINITY, 1.0]).is_nan());
    assert_eq!(
        volume_i8(&[[1, 0], [0, 1]], &[f32::INFINITY, 1.0]),
        f32::INFINITY
    );

    let x = [1.0, f32::NAN, 0.0];
    assert_eq!(
        quantise(&x, &mut [0; 3]),
        Err(GramError::NotFinite {
            modality: 0,
            row: 1
        })
    );
    assert_eq!(
        quantise(&x, &mut [0; 2]),
        Err(GramError::BufferSize { need: 3, have: 2 })
    );
}

#[test]
fn quantising_rounds_to_the_nearest_step() {
    let mut random = Random::new(5);
    for round in 0..3000 {
        let d = random.range(1, 100);
        let size = 10_f64.powf(76.0 * random.unit() - 38.0);
        let x: Vec<f32> = (0..d).map(|_| (size * random.normal()) as f32).collect();
        let most = x.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        if !most.is_finite() {
            continue;
        }
        let mut n = vec![7; d];
        let scale = quantise(&x, &mut n).expect("finite numbers");
        if scale == 0.0 {
            assert!(f64::from(most) / 127.0 < 1.18e-38 && n.iter().all(|n| *n == 0));
            continue;
        }
        assert_close(
            "scale",
            f64::from(scale),
            f64::from(most) / 127.0,
            f64::from(scale),
            1e-7,
        );
        assert_eq!(
            n.iter().map(|n| n.unsigned_abs()).max(),
            Some(127),
            "{round}"
        );
        for (x, n) in x.iter().zip(&n) {
            let back = f64::from(scale) * f64::from(*n);
            assert_close(
                "a number",
                back,
                f64::from(*x),
                f64::from(scale),
                0.5 + 3e-5,
            );
        }
    }
    let mut n = [1; 3];
    assert_eq!(quantise(&[0.0, -0.0, 0.0], &mut n), Ok(0.0));
    assert_eq!((n, quantise(&[], &mut [])), ([0; 3], Ok(0.0)));
    // Half a step goes to the even one, in both directions.
    let mut n = [0; 5];
    assert_eq!(quantise(&[127.0, 0.5, 1.5, -0.5, -2.5], &mut n), Ok(1.0));
    assert_eq!(n, [127, 0, 2, 0, -2]);
    let mut n = [0; 2];
    let scale = quantise(&[f32::MAX, f32::MIN], &mut n).expect("finite numbers");
    assert_eq!((scale, n), (f32::MAX / 127.0, [127, -127]));
}

#[test]
fn what_quantising_changes_stays_within_the_stated_bound() {
    let mut random = Random::new(6);
    let (mut moved, mut vectors) = (0.0, 0.0);
    let (mut changed, mut cases) = ([0.0; 9], [0.0; 9]);
    for round in 0..3000 {
        let k = 2 + round % 7;
        let sigma = [10.0, 0.5, 0.1][random.below(3)];
        let x = cone(&mut random, k, 64, sigma);
        let x: Rows = oracle::normalised(&[x]).remove(0);
        let x: Rows = x
            .into_iter()
            .map(|row| row.iter().map(|x| f64::from(*x as f32)).collect())
            .collect();
        let (n, s) = quantised(&x);
        let back = dequantised(&n, &s);
        let errors: Vec<f64> = x
            .iter()
            .zip(&back)
            .map(|(x, back)| norm(x.iter().zip(back).map(|(x, b)| x - b)))
            .collect();
        let bound: f64 = (0..k)
            .map(|p| {
                let others = (0..k).filter(|q| *q != p);
                errors[p]
                    * others
                        .map(|q| norm(x[q].iter().copied()) + errors[q])
                        .product::<f64>()
            })
            .sum();
        for (error, s) in errors.iter().zip(&s) {
            assert!(*error <= f64::from(*s) * 64_f64.sqrt() * (0.5 + 3e-5));
            moved += error;
            vectors += 1.0;
        }
        let change = (volume_of(&n, &s) - oracle::volume(&x)).abs();
        assert!(
            change <= bound + 1e-6,
            "k = {k}, σ = {sigma}: {change:e}, at most {bound:e}"
        );
        changed[k] += change * change;
        cases[k] += 1.0;
    }
    let mean = moved / vectors;
    assert!(
        mean < INT8_STEP && mean > 0.8 * INT8_STEP,
        "a vector moves by {mean}"
    );
    for k in 2..9 {
        let root = (changed[k] / cases[k]).sqrt();
        assert!(
            root < INT8_STEP * (k as f64).sqrt(),
            "k = {k}: the volume changes by {root}"
        );
    }
}

// Retrieval.

const MEASURES: [Measure; 3] = [Measure::Volume, Measure::Distance, Measure::Cosine];

/// M tables of vectors, with what is there.
struct Tables {
    numbers: Vec<Integers>,
    scales: Vec<Vec<f32>>,
    present: Vec<Vec<bool>>,
}

impl Tables {
    /// Small numbers, so that scores tie and vectors are dependent; zeros, scales of 0 and absent vectors.
    fn random(random: &mut Random, m: usize, items: usize, d: usize) -> Self {
        let limit = [1, 3, 128][random.below(3)];
        let mut tables = Tables {
            numbers: (0..m).map(|_| integers(random, items, d, limit)).collect(),
            scales: vec![vec![0.5; items]; m],
            present: vec![vec![true; items]; m],
        };
        for p in 0..m {
            for j in 0..items {
                match random.below(12) {
                    0 => tables.numbers[p][j].fill(0),
                    1 => tables.scales[p][j] = 0.0,
                    2 => tables.present[p][j] = false,
                    3 => tables.scales[p][j] = scales(random, 1)[0],
                    4 => tables.numbers[p][j] = tables.numbers[random.below(m)][j].clone(),
                    _ => {}
                }
            }
        }
        tables
    }

    fn flat(&self) -> Vec<Vec<i8>> {
        self.numbers.iter().map(|table| table.concat()).collect()
    }

    /// The vectors of item j that take part under this policy; `None` where nothing is there.
    fn item(&self, j: usize, zero_rows: ZeroRows) -> Option<Rows> {
        let there = (0..self.numbers.len()).filter(|p| {
            let is_zero = self.scales[*p][j] == 0.0 || self.numbers[*p][j].iter().all(|n| *n == 0);
            self.present[*p][j] && !(is_zero && zero_rows == ZeroRows::Missing)
        });
        let vectors: Rows = there
            .flat_map(|p| dequantised(&self.numbers[p][j..=j].to_vec(), &self.scales[p][j..=j]))
            .collect();
        (!vectors.is_empty()).then_some(vectors)
    }
}

fn gallery<'a, const M: usize>(tables: &'a Tables, flat: &'a [Vec<i8>]) -> Gallery<'a, M> {
    Gallery {
        numbers: std::array::from_fn(|p| flat[p].as_slice()),
        scales: std::array::from_fn(|p| tables.scales[p].as_slice()),
        present: Some(std::array::from_fn(|p| tables.present[p].as_slice())),
    }
}

/// The score by its definition, and what its error is measured by.
fn score(measure: Measure, anchor: &[f64], item: &Rows) -> (f64, f64) {
    let cosine = |x: &Vec<f64>| {
        let norms = norm(anchor.iter().copied()) * norm(x.iter().copied());
        if norms == 0.0 {
            0.0
        } else {
            oracle::dot(anchor, x) / norms
        }
    };
    // The distance to the span of those that are independent.
    let mut independent = Rows::new();
    for x in item {
        independent.push(x.clone());
        if oracle::volume(&independent) == 0.0 {
            independent.pop();
        }
    }
    let own = oracle::volume(&independent);
    independent.insert(0, anchor.to_vec());
    let distance = oracle::volume(&independent) / own;
    match measure {
        Measure::Cosine => (
            item.iter().map(cosine).sum(),
            INT8_COSINE * item.len() as f64,
        ),
        Measure::Distance => (distance, INT8_SCORE * distance),
        Measure::Volume => {
            let volume = oracle::volume(item) * distance;
            (volume, INT8_SCORE * volume)
        }
    }
}

fn check_search<const M: usize>(random: &mut Random) -> usize {
    const N: usize = 5;
    let (items, d) = (random.range(1, 30), random.range(1, 40));
    let tables = Tables::random(random, M, items, d);
    let flat = tables.flat();
    let gallery = gallery::<M>(&tables, &flat);
    let mut numbers = integers(random, 1, d, 20).remove(0);
    if random.below(10) == 0 {
        numbers.fill(0);
    }
    let scale = scales(random, 1)[0];
    let anchor = dequantised(&vec![numbers.clone()], &[scale]).remove(0);
    let mut checked = 0;
    for measure in MEASURES {
        for zero_rows in [ZeroRows::Missing, ZeroRows::Zero] {
            let offset = random.below(100);
            let search = Search {
                zero_rows,
                offset,
                ..Search::by(measure)
            };
            let find = |prepared: Option<&[Item<M>]>| {
                let mut top = TopK::<f32, N>::new(measure.order());
                let dependent = nearest_i8(search, &numbers, scale, gallery, prepared, &mut top);
                (top.best().to_vec(), dependent.expect("good inputs"))
            };
            let mut prepared = vec![Item::ABSENT; items];
            let dependent = gallery.prepare(zero_rows, d, &mut prepared);
            let (best, found) = find(None);
            assert_eq!((best.clone(), found), find(Some(&prepared)), "prepared");

            let candidates: Vec<(usize, Rows)> = (0..items)
                .filter_map(|j| Some((j, tables.item(j, zero_rows)?)))
                .collect();
            let volumes = candidates.iter().map(|(_, item)| oracle::volume(item));
            let want = volumes.filter(|volume| *volume == 0.0).count();
            assert_eq!(dependent, Ok(want));
            assert_eq!(found, if measure == Measure::Cosine { 0 } else { want });

            let is_lost = zero_rows == ZeroRows::Missing && numbers.iter().all(|n| *n == 0);
            let candidates = if is_lost { Vec::new() } else { candidates };
            let mut scores: Vec<(f64, usize, f64)> = candidates
                .iter()
                .map(|(j, item)| {
                    let (score, cap) = score(measure, &anchor, item);
                    (score, *j + offset, cap)
                })
                .collect();
            assert_eq!(best.len(), scores.len().min(N));
            for (got, index) in &best {
                let (want, _, cap) = scores
                    .iter()
                    .find(|(_, j, _)| j == index)
                    .expect("a candidate");
                assert_close(
                    &format!("{measure:?} of {index}"),
                    f64::from(*got),
                    *want,
                    1.0,
                    *cap,
                );
                checked += 1;
            }
            // In order, ties to the lower index, and nothing left out that is better by more than rounding.
            for pair in best.windows(2) {
                assert!(measure.order().before(pair[0], pair[1]), "{best:?}");
            }
            scores.retain(|(_, j, _)| best.iter().all(|(_, index)| index != j));
            if let Some((worst, last)) = best.last() {
                for (score, j, cap) in scores {
                    let better = match measure.order() {
                        Order::Ascending => f64::from(*worst) - score,
                        Order::Descending => score - f64::from(*worst),
                    };
                    assert!(
                        better <= 2.0 * cap,
                        "{measure:?}: {j} is better than {last}"
                    );
                }
            }
        }
    }
    checked
}

#[test]
fn the_nearest_items_are_those_of_the_oracle() {
    let mut random = Random::new(11);
    let mut checked = 0;
    for _ in 0..150 {
        checked += check_search::<1>(&mut random);
        checked += check_search::<2>(&mut random);
        checked += check_search::<3>(&mut random);
        checked += check_search::<4>(&mut random);
        checked += check_search::<7>(&mut random);
    }
    assert!(checked > 10_000, "only {checked} scores");
}

#[test]
fn ties_go_to_the_lower_index_and_parts_make_a_whole() {
    let mut random = Random::new(12);
    let table = integers(&mut random, 6, 8, 100);
    let numbers: Vec<i8> = (0..24).flat_map(|j| table[j % 6].clone()).collect();
    let all_scales = [0.25; 24];
    let anchor = integers(&mut random, 1, 8, 100).remove(0);
    for measure in MEASURES {
        let part = |from: usize, to: usize| Gallery {
            numbers: [&numbers[from * 8..to * 8]],
            scales: [&all_scales[from..to]],
            present: None,
        };
        let mut whole = TopK::<f32, 9>::new(measure.order());
        let search = Search::by(measure);
        nearest_i8(search, &anchor, 1.0, part(0, 24), None, &mut whole).expect("good inputs");
        // The best of six vectors four times, the second four times, and the third's first.
        let indices: Vec<usize> = whole.best().iter().map(|best| best.1).collect();
        for group in [&indices[..4], &indices[4..8], &indices[8..]] {
            let first = group[0];
            assert!(first < 6);
            assert!(
                group.iter().enumerate().all(|(n, j)| *j == first + 6 * n),
                "{indices:?}"
            );
        }
        let mut parts = TopK::<f32, 9>::new(measure.order());
        for (from, to) in [(7, 24), (0, 7)] {
            let search = Search {
                offset: from,
                ..search
            };
            nearest_i8(search, &anchor, 1.0, part(from, to), None, &mut parts)
                .expect("good inputs");
        }
        assert_eq!(parts.best(), whole.best());
    }
}

#[test]
fn wrong_galleries_are_named_and_change_nothing() {
    let (numbers, all_scales, present) = ([1_i8, 2, 3, 4], [1.0_f32, 2.0], [true, false]);
    let good = Gallery {
        numbers: [&numbers, &numbers],
        scales: [&all_scales, &all_scales],
        present: None,
    };
    let mut top = TopK::<f32, 2>::new(Order::Ascending);
    top.push(0.5, 9);
    let mut find = |search: Search, anchor: &[i8], scale, gallery, prepared: Option<&[Item<2>]>| {
        let result = nearest_i8(search, anchor, scale, gallery, prepared, &mut top);
        if result.is_err() {
            assert_eq!(top.best(), [(0.5, 9)]);
        }
        result
    };
    let by = Search::by(Measure::Volume);
    let size = |need, have| Err(GramError::BufferSize { need, have });
    let a = [1, 2];
    assert_eq!(
        find(by, &[], 1.0, good, None),
        Err(GramError::Empty {
            k: 3,
            rows: 2,
            d: 0
        })
    );
    let none = Gallery {
        numbers: [&[], &[]],
        scales: [&[], &[]],
        present: None,
    };
    assert_eq!(
        find(by, &a, 1.0, none, None),
        Err(GramError::Empty {
            k: 3,
            rows: 0,
            d: 2
        })
    );
    assert_eq!(find(by, &[1; 3], 1.0, good, None), size(6, 4));
    let short = Gallery {
        numbers: [&numbers, &numbers[..3]],
        ..good
    };
    assert_eq!(find(by, &a, 1.0, short, None), size(4, 3));
    let short = Gallery {
        scales: [&all_scales, &all_scales[..1]],
        ..good
    };
    assert_eq!(find(by, &a, 1.0, short, None), size(2, 1));
    let short = Gallery {
        present: Some([&present, &present[..1]]),
        ..good
    };
    assert_eq!(find(by, &a, 1.0, short, None), size(2, 1));
    assert_eq!(
        find(by, &a, 1.0, good, Some(&[Item::ABSENT; 3])),
        size(2, 3)
    );
    let (modality, row) = (0, 0);
    assert_eq!(
        find(by, &a, f32::NAN, good, None),
        Err(GramError::Scale { modality, row })
    );
    assert_eq!(
        find(by, &a, -1.0, good, None),
        Err(GramError::Scale { modality, row })
    );
    let bad = [1.0, f32::INFINITY];
    let infinite = Gallery {
        scales: [&all_scales, &bad],
        ..good
    };
    let (modality, row) = (2, 1);
    assert_eq!(
        find(by, &a, 1.0, infinite, None),
        Err(GramError::Scale { modality, row })
    );
    let cosine = Search::by(Measure::Cosine);
    assert_eq!(
        find(cosine, &a, 1.0, good, None),
        Err(GramError::Order { row: 0 })
    );
    let strict = Search {
        zero_rows: ZeroRows::Error,
        ..by
    };
    let zero = Gallery {
        numbers: [&numbers, &[1, 2, 0, 0]],
        ..good
    };
    assert_eq!(
        find(strict, &a, 1.0, zero, None),
        Err(GramError::ZeroRow { modality, row })
    );
    assert_eq!(
        find(strict, &a, 0.0, good, None),
        Err(GramError::ZeroRow {
            modality: 0,
            row: 0
        })
    );
    assert_eq!(
        zero.prepare(ZeroRows::Missing, 2, &mut [Item::ABSENT; 1]),
        size(2, 1)
    );
    let (d, most) = (MOST_DIMENSIONS + 1, MOST_DIMENSIONS);
    let large = vec![0; d];
    assert_eq!(
        find(by, &large, 1.0, good, None),
        Err(GramError::Dimensions { d, most })
    );
    // What is absent may hold anything.
    let absent = Gallery {
        present: Some([&[true; 2], &present]),
        ..infinite
    };
    assert_eq!(find(by, &a, 1.0, absent, None), Ok(1));
}

/// Noisy views of N items, as planes, unit vectors in `f32`.
fn views(random: &mut Random, k: usize, items: usize, d: usize, sigma: f64) -> Vec<Rows> {
    let centres = random.normals(items, d);
    let planes: Vec<Rows> = (0..k)
        .map(|_| {
            let noisy = |c: &Vec<f64>| c.iter().map(|c| c + sigma * random.normal()).collect();
            centres.iter().map(noisy).collect()
        })
        .collect();
    oracle::normalised(&planes)
}

#[test]
fn eight_bits_find_what_single_precision_finds() {
    // The share of anchors whose nearest item in f32 is the first, and among the best four, in eight bits.
    let (items, d) = (200, 64);
    let mut random = Random::new(13);
    let planes = views(&mut random, 3, items, d, 1.0);
    let singles: Vec<f32> = planes
        .iter()
        .flatten()
        .flatten()
        .map(|x| *x as f32)
        .collect();
    let (anchors, others) = singles.split_at(items * d);
    let (numbers, all_scales): (Vec<Integers>, Vec<Vec<f32>>) =
        planes.iter().map(quantised).unzip();
    let flat: Vec<Vec<i8>> = numbers.iter().map(|table| table.concat()).collect();
    let gallery = Gallery::<2> {
        numbers: [&flat[1], &flat[2]],
        scales: [&all_scales[1], &all_scales[2]],
        present: None,
    };
    let mut prepared = vec![Item::ABSENT; items];
    gallery
        .prepare(ZeroRows::Missing, d, &mut prepared)
        .expect("good inputs");
    for (measure, first, best) in [
        (Measure::Volume, 0.9, 0.995),
        (Measure::Distance, 0.98, 1.0),
        (Measure::Cosine, 0.98, 1.0),
    ] {
        let search = Search::by(measure);
        let mut singles = vec![TopK::<f32, 1>::new(measure.order()); items];
        let mut workspace = vec![0.0; nearest_workspace_len(items, 2, search.tile, d)];
        let sizes = [items, 2, items, d];
        nearest(
            One::new(),
            search,
            anchors,
            others,
            None,
            sizes,
            &mut singles,
            &mut workspace,
        )
        .expect("good inputs");
        let (mut same, mut among) = (0, 0);
        for (i, single) in singles.iter().enumerate() {
            let mut top = TopK::<f32, 4>::new(measure.order());
            let (anchor, scale) = (&numbers[0][i], all_scales[0][i]);
            nearest_i8(search, anchor, scale, gallery, Some(&prepared), &mut top)
                .expect("good inputs");
            let want = single.best()[0].1;
            same += usize::from(top.best()[0].1 == want);
            among += usize::from(top.best().iter().any(|best| best.1 == want));
        }
        let share = |count: usize| count as f64 / items as f64;
        println!("{measure:?}: {} {}", share(same), share(among));
        assert!(
            share(same) >= first,
            "{measure:?}: {} are the same",
            share(same)
        );
        assert!(
            share(among) >= best,
            "{measure:?}: {} are among four",
            share(among)
        );
    }
}
