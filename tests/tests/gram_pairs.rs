//! Anchors against items, and the ranks of their scores: against the naive oracle, on every path.

use rivergram_core::error::GramError;
use rivergram_core::gram::pair::{Measure, volume_matrix, volume_matrix_workspace_len};
use rivergram_core::gram::retrieval::{Order, TopK, best, rank, recall_at};
use rivergram_core::lanes::{Isa, One, Real};
use rivergram_simd::{Kernel, Level};
use rivergram_tests::cases::{Rows, flat, norm, planes};
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::precision::{DOUBLE, SINGLE, assert_close};
use rivergram_tests::random::Random;

/// Anchors \[b1\], items \[m\]\[b2\] and which of them are there.
struct Gallery {
    anchors: Rows,
    items: Vec<Rows>,
    present: Vec<Vec<bool>>,
}

struct Matrix<'a, T> {
    measure: Measure,
    anchors: &'a [T],
    items: &'a [T],
    present: Option<&'a [bool]>,
    sizes: [usize; 4],
}

impl<T: Real> Matrix<'_, T> {
    #[inline(always)]
    fn on<I: Isa<Scalar = T>>(self, isa: I) -> Result<Vec<T>, GramError> {
        let [b1, m, b2, d] = self.sizes;
        let nan = T::constant(f64::NAN);
        let mut out = vec![nan; b1 * b2];
        let mut workspace = vec![nan; volume_matrix_workspace_len(b1, m, b2, d)];
        volume_matrix(
            isa,
            self.measure,
            self.anchors,
            self.items,
            self.present,
            self.sizes,
            &mut out,
            &mut workspace,
        )?;
        Ok(out)
    }
}

impl Kernel<f32> for Matrix<'_, f32> {
    type Output = Result<Vec<f32>, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        self.on(isa)
    }
}

impl Gallery {
    /// Item j lies around centre j with noise σ, and so does anchor j where there is one; σ = ∞: unrelated.
    fn new(random: &mut Random, [b1, m, b2, d]: [usize; 4], sigma: f64) -> Self {
        let centres = random.normals(b1.max(b2), d);
        let around = |random: &mut Random, row: usize| -> Vec<f64> {
            let number = |c: &f64| {
                let noise = random.normal();
                let x = if sigma.is_finite() {
                    c + sigma * noise
                } else {
                    noise
                };
                f64::from(x as f32)
            };
            centres[row].iter().map(number).collect()
        };
        Gallery {
            anchors: (0..b1).map(|i| around(random, i)).collect(),
            items: (0..m)
                .map(|_| (0..b2).map(|j| around(random, j)).collect())
                .collect(),
            present: vec![vec![true; b2]; m],
        }
    }

    fn sizes(&self) -> [usize; 4] {
        let (b1, d) = (self.anchors.len(), self.anchors[0].len());
        [b1, self.items.len(), self.items[0].len(), d]
    }

    /// The volumes and, where the items' own is not 0, the distances.
    fn oracle(&self, measure: Measure) -> Vec<f64> {
        let [_, m, b2, _] = self.sizes();
        let item = |j: usize| -> Rows {
            let there = (0..m).filter(|p| self.present[*p][j]);
            there.map(|p| self.items[p][j].clone()).collect()
        };
        let entry = |anchor: &Vec<f64>, j: usize| {
            let mut tuple = item(j);
            let of_item = oracle::volume(&tuple);
            let cosine = |x: &Vec<f64>| {
                let lengths = norm(anchor.iter().copied()) * norm(x.iter().copied());
                oracle::dot(anchor, x) / lengths
            };
            let cosines: f64 = tuple.iter().map(cosine).sum();
            tuple.push(anchor.clone());
            match measure {
                Measure::Volume => oracle::volume(&tuple),
                Measure::Distance => oracle::volume(&tuple) / of_item,
                Measure::Cosine => cosines,
            }
        };
        let rows = self.anchors.iter();
        rows.flat_map(|anchor| (0..b2).map(move |j| entry(anchor, j)))
            .collect()
    }

    fn check(&self, what: &str) {
        let sizes = self.sizes();
        let flags = self.present.concat();
        let present = flags.contains(&false).then_some(flags.as_slice());
        for measure in [Measure::Volume, Measure::Distance, Measure::Cosine] {
            let want = self.oracle(measure);
            // Cosines cancel: their error is measured by their number.
            let scale = (measure == Measure::Cosine).then_some(sizes[1] as f64);
            let what = format!("{what} {sizes:?} {measure:?}");
            let matrix = Matrix {
                measure,
                anchors: &flat::<f64>(&self.anchors),
                items: &planes::<f64>(&self.items),
                present,
                sizes,
            };
            let got = matrix.on(One::<f64>::new()).expect(&what);
            assert_matrix(&what, &got, &want, scale, DOUBLE.volume);
            for level in Level::available() {
                let matrix = Matrix {
                    measure,
                    anchors: &flat::<f32>(&self.anchors),
                    items: &planes::<f32>(&self.items),
                    present,
                    sizes,
                };
                let got = level.run(matrix).expect(&what);
                assert_matrix(
                    &format!("{level} {what}"),
                    &got,
                    &want,
                    scale,
                    SINGLE.volume,
                );
            }
        }
    }
}

#[track_caller]
fn assert_matrix<T: Real>(what: &str, got: &[T], want: &[f64], scale: Option<f64>, cap: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let scale = scale.unwrap_or(*want);
        assert_close(&format!("{what} at {at}"), got.to_f64(), *want, scale, cap);
    }
}

#[test]
fn matrices_agree_with_the_oracle() {
    let mut random = Random::new(1);
    for sigma in [f64::INFINITY, 0.3, 1e-2, 1e-3] {
        for m in 1..=7 {
            for [b1, b2] in [[1, 1], [1, 9], [9, 1], [5, 8], [13, 17]] {
                for d in [16, 33, 100] {
                    let mut gallery = Gallery::new(&mut random, [b1, m, b2, d], sigma);
                    gallery.check("all there");
                    for present in gallery.present.iter_mut().flatten() {
                        *present = random.unit() < 0.6;
                    }
                    gallery.check("some there");
                }
            }
        }
    }
}

#[test]
fn aligned_pairs_of_long_vectors_keep_their_digits() {
    let mut random = Random::new(2);
    for sigma in [0.3, 1e-2, 1e-3, 1e-4] {
        for m in 1..=3 {
            Gallery::new(&mut random, [6, m, 7, 512], sigma).check("long");
        }
    }
}

#[test]
fn what_is_dependent_has_volume_zero() {
    let mut random = Random::new(3);
    let mut gallery = Gallery::new(&mut random, [4, 2, 5, 16], f64::INFINITY);
    gallery.items[1][1] = gallery.items[0][1].iter().map(|x| -2.0 * x).collect();
    gallery.items[0][2] = vec![0.0; 16];
    gallery.anchors[3] = gallery.items[1][4].clone();
    gallery.anchors[2] = vec![0.0; 16];
    let matrix = Matrix {
        measure: Measure::Volume,
        anchors: &flat::<f32>(&gallery.anchors),
        items: &planes::<f32>(&gallery.items),
        present: None,
        sizes: gallery.sizes(),
    };
    let got = matrix.on(One::<f32>::new()).expect("a matrix");
    let want = gallery.oracle(Measure::Volume);
    assert_matrix("dependent", &got, &want, None, SINGLE.volume);
    assert_eq!(want.iter().filter(|v| **v == 0.0).count(), 12, "{want:?}");
}

#[test]
fn an_item_of_which_nothing_is_there_is_at_the_anchors_length() {
    let mut random = Random::new(4);
    let mut gallery = Gallery::new(&mut random, [3, 2, 2, 16], f64::INFINITY);
    gallery.present = vec![vec![false; 2]; 2];
    gallery.check("nothing there");
    let length = norm(gallery.anchors[0].iter().copied());
    assert_close(
        "length",
        gallery.oracle(Measure::Distance)[0],
        length,
        length,
        1e-12,
    );
}

// What holds for every matrix of volumes.

impl Gallery {
    fn matrix<T: Real>(&self, measure: Measure) -> Vec<f64> {
        let flags = self.present.concat();
        let matrix = Matrix {
            measure,
            anchors: &flat::<T>(&self.anchors),
            items: &planes::<T>(&self.items),
            present: Some(&flags),
            sizes: self.sizes(),
        };
        let got = matrix.on(One::<T>::new()).expect("a matrix");
        got.iter().map(|v| v.to_f64()).collect()
    }

    /// All vectors changed by one function.
    fn map(&self, f: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        Gallery {
            anchors: self.anchors.iter().map(|x| f(x)).collect(),
            items: self
                .items
                .iter()
                .map(|rows| rows.iter().map(|x| f(x)).collect())
                .collect(),
            present: self.present.clone(),
        }
    }
}

/// Hundreds of galleries, thousands of pairs; some vectors absent.
fn galleries(seed: u64) -> impl Iterator<Item = Gallery> {
    let mut random = Random::new(seed);
    (0..120).map(move |round| {
        let sigma = [f64::INFINITY, 0.3, 0.1][round % 3];
        let m = random.range(1, 7);
        let d = random.range(m + 2, 30);
        let sizes = [random.range(1, 7), m, random.range(1, 9), d];
        let mut gallery = Gallery::new(&mut random, sizes, sigma);
        for present in gallery.present.iter_mut().flatten() {
            *present = random.unit() < 0.8;
        }
        gallery
    })
}

#[test]
fn powers_of_two_and_signs_go_through_a_matrix_exactly() {
    let mut random = Random::new(31);
    for gallery in galleries(30) {
        let [b1, m, b2, _] = gallery.sizes();
        let (i, j, p) = (random.below(b1), random.below(b2), random.below(m));
        let mut other = gallery.map(<[f64]>::to_vec);
        other.anchors[i].iter_mut().for_each(|x| *x *= -8.0);
        other.items[p][j].iter_mut().for_each(|x| *x *= -2.0);
        for measure in [Measure::Volume, Measure::Distance] {
            let (before, after) = (gallery.matrix::<f32>(measure), other.matrix::<f32>(measure));
            for (at, (before, after)) in before.iter().zip(&after).enumerate() {
                let of_anchor = if at / b2 == i { 8.0 } else { 1.0 };
                let of_item = match measure {
                    Measure::Volume if at % b2 == j && gallery.present[p][j] => 2.0,
                    _ => 1.0,
                };
                assert_eq!(*after, before * of_anchor * of_item, "{measure:?} at {at}");
            }
        }
    }
}

#[test]
fn rotations_and_orders_keep_a_matrix() {
    let mut random = Random::new(33);
    for gallery in galleries(32) {
        let [_, m, _, d] = gallery.sizes();
        let mirrors = random.normals(3, d);
        let turned = gallery.map(|x| {
            let mut x = x.to_vec();
            for mirror in &mirrors {
                let part = 2.0 * oracle::dot(&x, mirror) / oracle::dot(mirror, mirror);
                x.iter_mut().zip(mirror).for_each(|(x, n)| *x -= part * n);
            }
            x
        });
        let mut shifted = gallery.map(<[f64]>::to_vec);
        let by = random.below(m);
        shifted.items.rotate_left(by);
        shifted.present.rotate_left(by);
        for measure in [Measure::Volume, Measure::Distance] {
            let want = gallery.matrix::<f64>(measure);
            assert_matrix("turned", &turned.matrix::<f64>(measure), &want, None, 1e-10);
            assert_matrix(
                "another order",
                &shifted.matrix::<f64>(measure),
                &want,
                None,
                1e-11,
            );
            let want = gallery.matrix::<f32>(measure);
            let got = shifted.matrix::<f32>(measure);
            assert_matrix("another order", &got, &want, None, 2.0 * SINGLE.volume);
        }
    }
}

#[test]
fn a_matrix_is_bounded_and_projection_only_lowers_it() {
    let mut random = Random::new(35);
    for gallery in galleries(34) {
        let [_, m, b2, d] = gallery.sizes();
        let volumes = gallery.matrix::<f32>(Measure::Volume);
        let kept: Vec<bool> = (0..d).map(|_| random.unit() < 0.8).collect();
        let fewer = gallery.map(|x| {
            let pairs = x.iter().zip(&kept);
            pairs
                .map(|(x, kept)| if *kept { *x } else { 0.0 })
                .collect()
        });
        let lower = fewer.matrix::<f32>(Measure::Volume);
        let zeros_are_volume_zero = kept.iter().all(|kept| !kept);
        for (at, (volume, lower)) in volumes.iter().zip(&lower).enumerate() {
            let there = (0..m).filter(|p| gallery.present[*p][at % b2]);
            let lengths = there.map(|p| norm(gallery.items[p][at % b2].iter().copied()));
            let of_anchor = norm(gallery.anchors[at / b2].iter().copied());
            let bound = lengths.product::<f64>() * of_anchor;
            assert!(*volume <= bound * (1.0 + SINGLE.volume), "{volume} {bound}");
            assert!(
                *lower <= volume * (1.0 + 2.0 * SINGLE.volume),
                "{lower} {volume}"
            );
            assert!(!zeros_are_volume_zero || *lower == 0.0);
        }
    }
}

#[test]
fn a_multiple_of_one_vector_of_an_item_may_be_added_to_another() {
    let mut random = Random::new(37);
    for gallery in galleries(36) {
        let [_, m, b2, _] = gallery.sizes();
        let (j, to) = (random.below(b2), random.below(m));
        let from = (to + 1) % m;
        if from == to || !(gallery.present[from][j] && gallery.present[to][j]) {
            continue;
        }
        let factor = random.normal();
        let mut sheared = gallery.map(<[f64]>::to_vec);
        for (x, y) in sheared.items[to][j].iter_mut().zip(&gallery.items[from][j]) {
            *x += factor * y;
        }
        for measure in [Measure::Volume, Measure::Distance] {
            let want = gallery.matrix::<f64>(measure);
            let got = match measure {
                // The distance is to the span, which is the same: also for an anchor's shear along the item.
                Measure::Distance => {
                    let mut moved = sheared.map(<[f64]>::to_vec);
                    for (a, y) in moved.anchors[0].iter_mut().zip(&gallery.items[from][j]) {
                        *a += 0.5 * y;
                    }
                    let (mut got, moved) =
                        (sheared.matrix::<f64>(measure), moved.matrix::<f64>(measure));
                    got[j] = moved[j];
                    got
                }
                _ => sheared.matrix::<f64>(measure),
            };
            assert_matrix("sheared", &got, &want, None, 1e-9);
        }
    }
}

// Errors.

#[test]
fn wrong_matrices_are_errors() {
    let call = |sizes: [usize; 4], lens: [usize; 4], workspace: usize| {
        let [anchors, items, present, out] = lens.map(|len| vec![1.0_f32; len]);
        let present: Vec<bool> = present.iter().map(|x| *x == 1.0).collect();
        let (mut out, mut space) = (out, vec![0.0; workspace]);
        let isa = One::<f32>::new();
        let present = Some(present.as_slice());
        let measure = Measure::Volume;
        volume_matrix(
            isa, measure, &anchors, &items, present, sizes, &mut out, &mut space,
        )
    };
    let (sizes, lens) = ([2, 3, 4, 5], [10, 60, 12, 8]);
    let need = volume_matrix_workspace_len(2, 3, 4, 5);
    assert_eq!(call(sizes, lens, need), Ok(()));
    let have = need - 1;
    assert_eq!(
        call(sizes, lens, have),
        Err(GramError::Workspace { need, have })
    );
    for at in 0..4 {
        let mut wrong = lens;
        wrong[at] += 1;
        let (need_len, have) = (lens[at], wrong[at]);
        let size = GramError::BufferSize {
            need: need_len,
            have,
        };
        assert_eq!(call(sizes, wrong, need), Err(size));
        let mut empty = sizes;
        empty[at] = 0;
        assert!(matches!(
            call(empty, lens, need),
            Err(GramError::Empty { .. })
        ));
    }

    let mut gallery = Gallery::new(&mut Random::new(5), sizes, f64::INFINITY);
    let error = |gallery: &Gallery| {
        let matrix = Matrix {
            measure: Measure::Distance,
            anchors: &flat::<f32>(&gallery.anchors),
            items: &planes::<f32>(&gallery.items),
            present: None,
            sizes,
        };
        matrix.on(One::<f32>::new()).err()
    };
    gallery.items[2][1][4] = f64::NAN;
    let (modality, row) = (3, 1);
    assert_eq!(
        error(&gallery),
        Some(GramError::NotFinite { modality, row })
    );
    gallery.anchors[1][0] = f64::INFINITY;
    let (modality, row) = (0, 1);
    assert_eq!(
        error(&gallery),
        Some(GramError::NotFinite { modality, row })
    );
}

// Ranks.

#[test]
fn ties_go_to_the_lower_index() {
    let scores = [0.5, 0.1, 0.5, 0.1, 0.9];
    let ranks = |order| {
        (0..5)
            .map(|t| rank(&scores, t, order).expect("a rank"))
            .collect()
    };
    let ascending: Vec<usize> = ranks(Order::Ascending);
    assert_eq!(ascending, [2, 0, 3, 1, 4]);
    let descending: Vec<usize> = ranks(Order::Descending);
    assert_eq!(descending, [1, 3, 2, 4, 0]);
    assert_eq!(best(&scores, Order::Ascending), Some(1));
    assert_eq!(best(&scores, Order::Descending), Some(4));
    assert_eq!(best(&[0.0, -0.0], Order::Ascending), Some(0));
}

#[test]
fn nan_comes_last() {
    let scores = [f32::NAN, 2.0, f32::INFINITY, f32::NAN, f32::NEG_INFINITY];
    for (order, want) in [
        (Order::Ascending, [3, 1, 2, 4, 0]),
        (Order::Descending, [3, 1, 0, 4, 2]),
    ] {
        for (target, want) in want.into_iter().enumerate() {
            assert_eq!(
                rank(&scores, target, order),
                Some(want),
                "{order:?} {target}"
            );
        }
    }
    assert_eq!(best(&[f32::NAN, 1.0], Order::Descending), Some(1));
    assert_eq!(best(&[f32::NAN, f32::NAN], Order::Ascending), Some(0));
}

#[test]
fn ranks_are_places_in_the_sorted_scores() {
    let mut random = Random::new(6);
    for n in 1..40 {
        let score = |random: &mut Random| match random.range(0, 9) {
            0 => f64::NAN,
            few => few as f64,
        };
        let scores: Vec<f64> = (0..n).map(|_| score(&mut random)).collect();
        for order in [Order::Ascending, Order::Descending] {
            let key = |i: &usize| match (scores[*i].is_nan(), order) {
                (true, _) => f64::INFINITY,
                (_, Order::Ascending) => scores[*i],
                (_, Order::Descending) => -scores[*i],
            };
            let mut sorted: Vec<usize> = (0..n).collect();
            sorted.sort_by(|a, b| key(a).total_cmp(&key(b)));
            for (place, target) in sorted.iter().enumerate() {
                assert_eq!(rank(&scores, *target, order), Some(place));
            }
            assert_eq!(best(&scores, order), Some(sorted[0]));
        }
    }
}

#[test]
fn no_candidate_has_no_rank() {
    assert_eq!(rank::<f32>(&[], 0, Order::Ascending), None);
    assert_eq!(rank(&[1.0], 1, Order::Ascending), None);
    assert_eq!(best::<f32>(&[], Order::Ascending), None);
}

#[test]
fn recall_counts_the_ranks_below_k() {
    let ranks = [0, 0, 4, 5, 9, 10, 100, 3];
    for (k, hits) in [(0, 0.0), (1, 2.0), (5, 4.0), (10, 6.0), (101, 8.0)] {
        assert_eq!(recall_at::<f64>(&ranks, k), hits / 8.0, "{k}");
    }
    assert_eq!(recall_at::<f32>(&[], 5), 0.0);
}

#[test]
fn top_k_is_the_start_of_the_sorted_scores() {
    let mut random = Random::new(11);
    for count in [0, 1, 4, 5, 6, 60] {
        for order in [Order::Ascending, Order::Descending] {
            // Few different scores, so that many are equal, and some that are NaN.
            let scores: Vec<f32> = (0..count)
                .map(|_| match random.range(0, 6) {
                    0 => f32::NAN,
                    score => score as f32,
                })
                .collect();
            let mut top = TopK::<f32, 5>::new(order);
            for (index, score) in scores.iter().enumerate() {
                top.push(*score, index);
            }
            let got: Vec<usize> = top.best().iter().map(|(_, index)| *index).collect();
            let mut want: Vec<usize> = (0..count).collect();
            want.sort_by_key(|index| rank(&scores, *index, order));
            want.truncate(5);
            assert_eq!(got, want, "{scores:?} {order:?}");
        }
    }
}
