//! Ranks with ids, the best few, search without a matrix, hard negatives: against naive oracles.

use rivergram_core::error::GramError;
use rivergram_core::gram::contrastive::{Batch, GramLoss, ZeroRows, gram_loss, workspace_len};
use rivergram_core::gram::matching::matching_loss;
use rivergram_core::gram::negatives::{self, Own, draw, draw_columns, draw_rows};
use rivergram_core::gram::pair::{
    Measure, present_vectors, volume_matrix, volume_matrix_workspace_len,
};
use rivergram_core::gram::related::singular::{self, Singular};
use rivergram_core::gram::related::triangle;
use rivergram_core::gram::retrieval::{
    Metrics, Order, TopK, backward_rank, backward_ranks, forward_rank, forward_ranks,
    gramian_value, mean_rank, median_rank, rank,
};
use rivergram_core::gram::search::{Search, nearest, nearest_workspace_len};
use rivergram_core::gram::tuple;
use rivergram_core::head::Head;
use rivergram_core::lanes::{Isa, One, Real};
use rivergram_core::ops;
use rivergram_simd::{Kernel, Level};
use rivergram_tests::cases::norm;
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::precision::{DOUBLE, MEAN, SINGLE, assert_close, weight_cap};
use rivergram_tests::random::Random;

// Ids.

/// Few different scores, so that many are equal, and some NaN.
fn score(random: &mut Random) -> f64 {
    match random.range(0, 9) {
        0 => f64::NAN,
        few => few as f64,
    }
}

#[test]
fn ranks_with_ids_agree_with_sorting() {
    let mut random = Random::new(1);
    for round in 0..400 {
        let (texts, items) = (random.range(1, 20), random.range(1, 12));
        // Ids of items may repeat, and a text may have none.
        let id = |random: &mut Random| random.range(0, items);
        let item_ids: Vec<usize> = (0..items).map(|_| id(&mut random)).collect();
        let text_ids: Vec<usize> = (0..texts).map(|_| id(&mut random)).collect();
        let scores: Vec<f64> = (0..texts * items).map(|_| score(&mut random)).collect();
        for order in [Order::Ascending, Order::Descending] {
            let rows = scores.chunks(items);
            let forward: Vec<Option<usize>> = rows
                .zip(&text_ids)
                .map(|(row, id)| {
                    let first = item_ids.iter().position(|other| other == id)?;
                    rank(row, first, order)
                })
                .collect();
            let backward: Vec<Option<usize>> = (0..items)
                .map(|j| {
                    let column: Vec<f64> = scores.iter().skip(j).step_by(items).copied().collect();
                    let matching = (0..texts).filter(|i| text_ids[*i] == item_ids[j]);
                    matching
                        .map(|i| rank(&column, i, order).expect("a rank"))
                        .min()
                })
                .collect();
            for (i, want) in forward.iter().enumerate() {
                let row = &scores[i * items..][..items];
                assert_eq!(forward_rank(row, &item_ids, &text_ids[i], order), *want);
            }
            for (j, want) in backward.iter().enumerate() {
                assert_eq!(
                    backward_rank(&scores, &text_ids, &item_ids, j, order),
                    *want,
                    "{round}"
                );
            }
            let (mut got_forward, mut got_backward) = (vec![0; texts], vec![0; items]);
            let result = forward_ranks(&scores, &text_ids, &item_ids, order, &mut got_forward);
            check_ranks(result, got_forward, &forward);
            let result = backward_ranks(&scores, &text_ids, &item_ids, order, &mut got_backward);
            check_ranks(result, got_backward, &backward);
        }
    }
}

fn check_ranks(result: Result<(), GramError>, got: Vec<usize>, want: &[Option<usize>]) {
    match want.iter().position(Option::is_none) {
        Some(row) => assert_eq!(result, Err(GramError::NoMatch { row })),
        None => {
            assert_eq!(result, Ok(()));
            assert_eq!(got.into_iter().map(Some).collect::<Vec<_>>(), want);
        }
    }
}

#[test]
fn wrong_sizes_of_ranks_are_errors() {
    let order = Order::Ascending;
    let size = |need, have| Err(GramError::BufferSize { need, have });
    let (texts, items) = ([1, 2, 1], [1, 2]);
    assert_eq!(
        forward_ranks(&[0.0; 5], &texts, &items, order, &mut [0; 3]),
        size(6, 5)
    );
    assert_eq!(
        forward_ranks(&[0.0; 6], &texts, &items, order, &mut [0; 2]),
        size(3, 2)
    );
    assert_eq!(
        backward_ranks(&[0.0; 7], &texts, &items, order, &mut [0; 2]),
        size(6, 7)
    );
    assert_eq!(
        backward_ranks(&[0.0; 6], &texts, &items, order, &mut [0; 3]),
        size(2, 3)
    );
    assert_eq!(backward_rank(&[0.0; 5], &texts, &items, 0, order), None);
    assert_eq!(backward_rank(&[0.0; 6], &texts, &items, 2, order), None);
    assert_eq!(
        forward_ranks::<f32, u8>(&[], &[], &[], order, &mut []),
        Ok(())
    );
    assert_eq!(
        forward_ranks::<f32, u8>(&[], &[1], &[], order, &mut [0]),
        Err(GramError::NoMatch { row: 0 })
    );
}

#[test]
fn medians_and_means_agree_with_sorting() {
    let mut random = Random::new(2);
    for n in 1..200 {
        let high = [1, 10, 1_000_000][n % 3];
        let ranks: Vec<usize> = (0..n).map(|_| random.range(0, high)).collect();
        let mut sorted = ranks.clone();
        sorted.sort_unstable();
        assert_eq!(median_rank(&ranks), Some(sorted[(n - 1) / 2] + 1));
        let mean = sorted.iter().sum::<usize>() as f64 / n as f64 + 1.0;
        assert_close(
            "mean",
            mean_rank::<f64>(&ranks).expect("ranks"),
            mean,
            mean,
            1e-15,
        );
    }
    assert_eq!(median_rank(&[usize::MAX, usize::MAX]), Some(usize::MAX));
    assert_eq!(median_rank(&[]), None);
    assert_eq!(Metrics::<f32>::of(&[]), None);
}

#[test]
fn the_gramian_value_is_the_mean_of_the_least() {
    let mut random = Random::new(3);
    for (rows, items) in [(1, 1), (3, 7), (10_000, 3)] {
        let volumes: Vec<f32> = (0..rows * items).map(|_| random.unit() as f32).collect();
        let least = volumes
            .chunks(items)
            .map(|row| f64::from(row.iter().copied().fold(2.0, f32::min)));
        let want = least.sum::<f64>() / rows as f64;
        let got = gramian_value(&volumes, items).expect("rows");
        assert_close("gramian value", f64::from(got), want, want, MEAN);
    }
    assert_eq!(gramian_value::<f32>(&[1.0], 0), None);
    assert_eq!(gramian_value::<f32>(&[1.0], 2), None);
}

// The best few.

#[test]
fn parts_of_a_stream_merge_to_the_whole() {
    let mut random = Random::new(4);
    for round in 0..500 {
        let n = random.range(0, 60);
        let order = [Order::Ascending, Order::Descending][round % 2];
        let scores: Vec<f64> = (0..n).map(|_| score(&mut random)).collect();
        let mut whole = TopK::<f64, 7>::new(order);
        whole.push_row(&scores, 100);
        let mut want: Vec<usize> = (0..n).collect();
        want.sort_by_key(|index| rank(&scores, *index, order));
        let want: Vec<usize> = want.into_iter().take(7).map(|index| index + 100).collect();
        let indices = |top: &TopK<f64, 7>| top.best().iter().map(|best| best.1).collect::<Vec<_>>();
        assert_eq!(indices(&whole), want);

        // The same in parts that come in any order, some pushed, some merged.
        let mut parts: Vec<(usize, &[f64])> = Vec::new();
        let mut start = 0;
        while start < n {
            let end = random.range(start, n).max(start + 1);
            parts.push((start + 100, &scores[start..end]));
            start = end;
        }
        let mut other = TopK::<f64, 7>::new(order);
        while !parts.is_empty() {
            let (offset, part) = parts.swap_remove(random.below(parts.len()));
            if random.bits() & 1 == 0 {
                other.push_row(part, offset);
            } else {
                let mut of_part = TopK::new(order);
                of_part.push_row(part, offset);
                other.merge(&of_part);
            }
        }
        assert_eq!(indices(&other), want);
        assert_eq!(other.order(), order);
    }
    let mut none = TopK::<f32, 0>::new(Order::Ascending);
    none.push_row(&[1.0, 2.0], 0);
    assert!(none.best().is_empty());
}

// Search.

struct Case<T> {
    anchors: Vec<T>,
    items: Vec<T>,
    present: Vec<bool>,
    sizes: [usize; 4],
}

impl<T: Real> Case<T> {
    fn new(random: &mut Random, sizes: [usize; 4]) -> Self {
        let [b1, m, b2, d] = sizes;
        let mut numbers = |n: usize| (0..n).map(|_| T::constant(random.normal())).collect();
        let (anchors, items): (Vec<T>, Vec<T>) = (numbers(b1 * d), numbers(m * b2 * d));
        let present = (0..m * b2).map(|_| random.unit() < 0.7).collect();
        Case {
            anchors,
            items,
            present,
            sizes,
        }
    }

    #[inline(always)]
    fn matrix<I: Isa<Scalar = T>>(&self, isa: I, measure: Measure) -> Vec<T> {
        let [b1, m, b2, d] = self.sizes;
        let mut out = vec![T::ZERO; b1 * b2];
        let mut workspace = vec![T::ZERO; volume_matrix_workspace_len(b1, m, b2, d)];
        let present = Some(self.present.as_slice());
        let sizes = self.sizes;
        volume_matrix(
            isa,
            measure,
            &self.anchors,
            &self.items,
            present,
            sizes,
            &mut out,
            &mut workspace,
        )
        .expect("a matrix");
        out
    }

    #[inline(always)]
    fn nearest<I: Isa<Scalar = T>, const K: usize>(
        &self,
        isa: I,
        search: Search,
    ) -> Result<(usize, Vec<TopK<T, K>>), GramError> {
        let [b1, m, b2, d] = self.sizes;
        let mut top = vec![TopK::new(search.measure.order()); b1];
        let len = nearest_workspace_len(b1, m, search.tile.min(b2), d);
        let mut workspace = vec![T::constant(f64::NAN); len];
        let present = Some(self.present.as_slice());
        let sizes = self.sizes;
        let degenerate = nearest(
            isa,
            search,
            &self.anchors,
            &self.items,
            present,
            sizes,
            &mut top,
            &mut workspace,
        )?;
        Ok((degenerate, top))
    }

    fn is_candidate(&self, j: usize) -> bool {
        let [_, m, b2, _] = self.sizes;
        (0..m).any(|p| self.present[p * b2 + j])
    }
}

const MEASURES: [Measure; 3] = [Measure::Volume, Measure::Distance, Measure::Cosine];

/// Every tile finds what sorting the whole matrix finds, to the bit.
#[inline(always)]
fn check_search<I: Isa>(isa: I, case: &Case<I::Scalar>) {
    let b2 = case.sizes[2];
    for measure in MEASURES {
        let matrix = case.matrix(isa, measure);
        let mut want = Vec::new();
        for row in matrix.chunks(b2) {
            let mut top = TopK::<I::Scalar, 6>::new(measure.order());
            for (j, score) in row.iter().enumerate() {
                if case.is_candidate(j) {
                    top.push(*score, j);
                }
            }
            want.push(top);
        }
        for tile in [1, 3, 4, 8, 12, 64, 1000] {
            let search = Search {
                tile,
                offset: 1000,
                ..Search::by(measure)
            };
            let (degenerate, got) = case.nearest::<_, 6>(isa, search).expect("a search");
            assert_eq!(degenerate, 0, "{measure:?}");
            for (got, want) in got.iter().zip(&want) {
                let what = format!("{measure:?} tile {tile}: {got:?} {want:?}");
                assert_eq!(got.best().len(), want.best().len(), "{what}");
                for (got, want) in got.best().iter().zip(want.best()) {
                    assert_eq!((got.0, got.1 - 1000), *want, "{what}");
                }
            }
        }
    }
}

struct CheckSearch<'a>(&'a Case<f32>);

impl Kernel<f32> for CheckSearch<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        check_search(isa, self.0);
    }
}

const SIZES: [[usize; 4]; 6] = [
    [1, 1, 1, 3],
    [4, 2, 30, 8],
    [5, 3, 33, 17],
    [3, 1, 70, 5],
    [2, 7, 9, 16],
    [7, 2, 131, 12],
];

#[test]
fn a_search_by_tiles_finds_what_the_matrix_holds() {
    let mut random = Random::new(5);
    for sizes in SIZES {
        check_search(One::<f64>::new(), &Case::new(&mut random, sizes));
        let case = Case::new(&mut random, sizes);
        for level in Level::available() {
            level.run(CheckSearch(&case));
        }
    }
}

/// Items that are equal have equal scores wherever they stand, so that ties go to the lower index.
#[inline(always)]
fn check_ties<I: Isa>(isa: I, case: &Case<I::Scalar>) {
    let b2 = case.sizes[2];
    for measure in MEASURES {
        for row in case.matrix(isa, measure).chunks(b2) {
            assert!(
                row.iter().all(|score| *score == row[0]),
                "{measure:?} {row:?}"
            );
        }
        let search = Search {
            tile: 7,
            ..Search::by(measure)
        };
        let (_, top) = case.nearest::<_, 12>(isa, search).expect("a search");
        for top in top {
            assert!(
                top.best().iter().map(|(_, j)| *j).eq(0..b2),
                "{measure:?} {top:?}"
            );
        }
    }
}

struct CheckTies<'a>(&'a Case<f32>);

impl Kernel<f32> for CheckTies<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        check_ties(isa, self.0);
    }
}

fn case_of_equal_items<T: Real>(random: &mut Random, sizes: [usize; 4]) -> Case<T> {
    let mut case = Case::new(random, sizes);
    let [_, _, b2, d] = sizes;
    for plane in case.items.chunks_mut(b2 * d) {
        for j in 1..b2 {
            plane.copy_within(..d, j * d);
        }
    }
    case.present.fill(true);
    case
}

#[test]
fn equal_items_score_equally_wherever_they_stand() {
    let mut random = Random::new(8);
    for b1 in 1..=5 {
        for b2 in 1..=11 {
            let sizes = [b1, 1 + b2 % 3, b2, 61];
            check_ties(One::<f64>::new(), &case_of_equal_items(&mut random, sizes));
            let case = case_of_equal_items(&mut random, sizes);
            for level in Level::available() {
                level.run(CheckTies(&case));
            }
        }
    }
}

#[test]
fn parts_of_a_gallery_are_searched_one_after_the_other() {
    let mut random = Random::new(6);
    let case = Case::<f32>::new(&mut random, [3, 1, 48, 8]);
    let isa = One::new();
    let search = Search {
        tile: 8,
        ..Search::by(Measure::Distance)
    };
    let (_, want) = case.nearest::<_, 5>(isa, search).expect("a search");
    let mut top = vec![TopK::<f32, 5>::new(Order::Ascending); 3];
    let mut workspace = vec![0.0; nearest_workspace_len(3, 1, 8, 8)];
    for part in [1_usize, 0, 2] {
        let search = Search {
            offset: part * 16,
            ..search
        };
        let items = &case.items[part * 16 * 8..][..16 * 8];
        let present = Some(&case.present[part * 16..][..16]);
        let sizes = [3, 1, 16, 8];
        nearest(
            isa,
            search,
            &case.anchors,
            items,
            present,
            sizes,
            &mut top,
            &mut workspace,
        )
        .expect("a search");
    }
    for (got, want) in top.iter().zip(&want) {
        assert_eq!(got.best(), want.best());
    }
}

#[test]
fn sums_of_cosines_agree_with_the_oracle() {
    let mut random = Random::new(7);
    for sizes in SIZES {
        let mut case = Case::<f64>::new(&mut random, sizes);
        for x in case.anchors.iter_mut().chain(&mut case.items) {
            *x = f64::from((*x * 3.0) as f32);
        }
        let [b1, m, b2, d] = sizes;
        let mut want = Vec::new();
        for a in case.anchors.chunks(d) {
            for j in 0..b2 {
                let cosine = |p: usize| {
                    let x = &case.items[(p * b2 + j) * d..][..d];
                    let lengths = norm(a.iter().copied()) * norm(x.iter().copied());
                    oracle::dot(a, x) / lengths
                };
                let there = (0..m).filter(|p| case.present[p * b2 + j]);
                want.push(there.map(cosine).sum::<f64>());
            }
        }
        assert_eq!(want.len(), b1 * b2);
        let check = |what: &str, got: Vec<f64>, cap: f64| {
            for (got, want) in got.iter().zip(&want) {
                assert_close(what, *got, *want, m as f64, cap);
            }
        };
        check(
            "f64",
            case.matrix(One::new(), Measure::Cosine),
            DOUBLE.volume,
        );
        let single = Case::<f32> {
            anchors: case.anchors.iter().map(|x| *x as f32).collect(),
            items: case.items.iter().map(|x| *x as f32).collect(),
            present: case.present.clone(),
            sizes,
        };
        for level in Level::available() {
            let got = level
                .run(Cosines(&single))
                .into_iter()
                .map(f64::from)
                .collect();
            check(&format!("{level}"), got, SINGLE.volume);
        }
    }
}

struct Cosines<'a>(&'a Case<f32>);

impl Kernel<f32> for Cosines<'_> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Vec<f32> {
        self.0.matrix(isa, Measure::Cosine)
    }
}

#[test]
fn zero_rows_of_a_search_are_absent_unless_asked() {
    let isa = One::<f32>::new();
    let mut case = Case::<f32>::new(&mut Random::new(8), [2, 2, 9, 6]);
    case.present.fill(true);
    // Item 3 lost one vector, item 5 both, item 7 has two equal ones.
    case.items[3 * 6..][..6].fill(0.0);
    case.items[5 * 6..][..6].fill(0.0);
    case.items[(9 + 5) * 6..][..6].fill(0.0);
    let copy: Vec<f32> = case.items[7 * 6..][..6].to_vec();
    case.items[(9 + 7) * 6..][..6].copy_from_slice(&copy);
    let of = |zero_rows| Search {
        zero_rows,
        tile: 4,
        ..Search::by(Measure::Volume)
    };
    let (degenerate, top) = case
        .nearest::<_, 9>(isa, of(ZeroRows::Missing))
        .expect("a search");
    assert_eq!(degenerate, 1);
    let anchor = |i: usize| &case.anchors[i * 6..][..6];
    for (i, top) in top.iter().enumerate() {
        assert_eq!(top.best().len(), 8);
        assert_eq!(top.best()[0], (0.0, 7), "equal vectors span nothing");
        assert!(top.best().iter().all(|best| best.1 != 5));
        let of_three = top
            .best()
            .iter()
            .find(|best| best.1 == 3)
            .expect("a candidate")
            .0;
        let rest = case.items[(9 + 3) * 6..][..6].to_vec();
        let double = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let want = oracle::volume(&[double(anchor(i)), double(&rest)]);
        assert_close(
            "two of three",
            f64::from(of_three),
            want,
            want,
            SINGLE.volume,
        );
    }
    let (degenerate, top) = case
        .nearest::<_, 9>(isa, of(ZeroRows::Zero))
        .expect("a search");
    assert_eq!(degenerate, 3);
    for top in top {
        assert_eq!(&top.best()[..3], [(0.0, 3), (0.0, 5), (0.0, 7)]);
    }
    let error = case.nearest::<_, 9>(isa, of(ZeroRows::Error)).err();
    let (modality, row) = (1, 3);
    assert_eq!(error, Some(GramError::ZeroRow { modality, row }));

    case.anchors[6..].fill(0.0);
    let (_, top) = case
        .nearest::<_, 9>(isa, of(ZeroRows::Missing))
        .expect("a search");
    assert_eq!(top.map_len(), [8, 0]);
    let (_, top) = case
        .nearest::<_, 9>(isa, of(ZeroRows::Zero))
        .expect("a search");
    assert_eq!(top.map_len(), [9, 9]);
    let error = case.nearest::<_, 9>(isa, of(ZeroRows::Error)).err();
    let (modality, row) = (0, 1);
    assert_eq!(error, Some(GramError::ZeroRow { modality, row }));
}

trait MapLen {
    fn map_len(&self) -> Vec<usize>;
}

impl<T: Real, const K: usize> MapLen for Vec<TopK<T, K>> {
    fn map_len(&self) -> Vec<usize> {
        self.iter().map(|top| top.best().len()).collect()
    }
}

/// Loss, search, cosine, flags, head and tuple have one definition of a zero vector.
#[test]
fn a_short_vector_is_zero_everywhere_or_nowhere() {
    let isa = One::<f32>::new();
    let head = Head {
        input: 1,
        hidden: 0,
        output: 2,
        normalise: true,
    };
    for (length, is_zero) in [
        (0.0, true),
        (1.08e-19, true),
        (1.09e-19, false),
        (1e-13, false),
    ] {
        let (short, long) = ([length, 0.0], [0.6, 0.8]);
        assert_eq!(ops::is_zero(length * length), is_zero);

        let mut there = [true];
        let (policy, sizes) = (ZeroRows::Missing, [1, 1, 2]);
        let missing = present_vectors(isa, policy, &short, None, sizes, 0, &mut there);
        assert_eq!((missing, there), (Ok(usize::from(is_zero)), [!is_zero]));

        let vectors = [long, long, short, long].concat();
        let batch = Batch {
            vectors: &vectors,
            present: None,
            k: 2,
            rows: 2,
            d: 2,
        };
        for normalise in [false, true] {
            let config = GramLoss {
                normalise,
                ..GramLoss::paper(0)
            };
            let mut workspace = [0.0; workspace_len(2, 2, 2)];
            let report = gram_loss(isa, &config, &batch, &mut [0.0; 8], &mut workspace);
            assert_eq!(report.expect("a loss").missing, usize::from(is_zero));
        }

        let case = Case {
            anchors: long.to_vec(),
            items: [short, long].concat(),
            present: vec![true; 2],
            sizes: [1, 1, 2, 2],
        };
        let search = Search::by(Measure::Cosine);
        let (_, top) = case.nearest::<_, 2>(isa, search).expect("a search");
        assert_eq!(top.map_len(), [2 - usize::from(is_zero)]);
        assert_eq!(case.matrix(isa, Measure::Cosine)[0] == 0.0, is_zero);

        let (mut y, mut cache) = ([0.0; 2], [0.0; 1]);
        head.forward(isa, &[length, 0.0, 0.0, 0.0], &[1.0], &mut y, &mut cache);
        assert_eq!(y[0] == 0.0, is_zero);
        assert!(is_zero || (y[0] - 1.0).abs() < 1e-6);

        let volume = tuple::volume(&[short, [0.0, length]]);
        assert_eq!(volume == 0.0, is_zero, "{volume}");
    }
}

#[test]
fn an_absent_vector_of_a_search_may_hold_anything() {
    let isa = One::<f32>::new();
    for measure in MEASURES {
        let mut case = Case::<f32>::new(&mut Random::new(9), [4, 3, 21, 8]);
        let search = Search {
            tile: 8,
            ..Search::by(measure)
        };
        let (_, want) = case.nearest::<_, 4>(isa, search).expect("a search");
        for (x, present) in case.items.chunks_mut(8).zip(&case.present) {
            if !present {
                x.fill(f32::NAN);
            }
        }
        let (_, got) = case.nearest::<_, 4>(isa, search).expect("a search");
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.best(), want.best());
        }
    }
}

#[test]
fn wrong_searches_are_errors_and_leave_the_best_as_they_were() {
    let isa = One::<f32>::new();
    let case = Case::<f32>::new(&mut Random::new(10), [2, 3, 10, 5]);
    let search = Search {
        tile: 4,
        ..Search::by(Measure::Volume)
    };
    let need = nearest_workspace_len(2, 3, 4, 5);
    let call =
        |search, lens: [usize; 3], sizes, orders: &[Order], len: usize, bad: Option<usize>| {
            let anchors = vec![1.0_f32; lens[0]];
            let mut items = case.items.clone();
            items.resize(lens[1], 1.0);
            if let Some(at) = bad {
                items[at] = f32::INFINITY;
            }
            let present = vec![true; lens[2]];
            let mut top: Vec<TopK<f32, 3>> = orders.iter().map(|order| TopK::new(*order)).collect();
            let mut space = vec![0.0; len];
            let present = Some(present.as_slice());
            let result = nearest(
                isa, search, &anchors, &items, present, sizes, &mut top, &mut space,
            );
            assert!(result.is_ok() || top.iter().all(|top| top.best().is_empty()));
            result.err()
        };
    let (lens, sizes, up) = ([10, 150, 30], [2, 3, 10, 5], [Order::Ascending; 2]);
    assert_eq!(call(search, lens, sizes, &up, need, None), None);
    let size = |need, have| Some(GramError::BufferSize { need, have });
    for at in 0..3 {
        let mut wrong = lens;
        wrong[at] += 1;
        assert_eq!(
            call(search, wrong, sizes, &up, need, None),
            size(lens[at], wrong[at])
        );
    }
    for at in 0..4 {
        let mut empty = sizes;
        empty[at] = 0;
        let error = call(search, lens, empty, &up, need, None);
        assert!(matches!(error, Some(GramError::Empty { .. })));
    }
    let no_tile = Search { tile: 0, ..search };
    let error = call(no_tile, lens, sizes, &up, need, None);
    assert!(matches!(error, Some(GramError::Empty { .. })));
    let have = need - 1;
    let short = Some(GramError::Workspace { need, have });
    assert_eq!(call(search, lens, sizes, &up, have, None), short);
    assert_eq!(call(search, lens, sizes, &up[..1], need, None), size(2, 1));
    let orders = [Order::Ascending, Order::Descending];
    let order = Some(GramError::Order { row: 1 });
    assert_eq!(call(search, lens, sizes, &orders, need, None), order);
    let (modality, row) = (2, 9);
    let error = Some(GramError::NotFinite { modality, row });
    assert_eq!(
        call(search, lens, sizes, &up, need, Some((10 + 9) * 5 + 2)),
        error
    );
}

// Hard negatives.

/// A matrix of volumes, and what is there of its anchors and items.
struct Volumes {
    volumes: Vec<Vec<f64>>,
    anchors: Vec<bool>,
    /// Planes of vectors: an item is there if one of its vectors is.
    items: Vec<Vec<bool>>,
    tau: f64,
    offset: usize,
}

impl Volumes {
    fn new(random: &mut Random, [rows, columns, offset]: [usize; 3], tau: f64, there: f64) -> Self {
        let mut flags = |n: usize| (0..n).map(|_| random.unit() < there).collect();
        let (anchors, items) = (flags(rows), vec![flags(columns), flags(columns)]);
        let mut row = || -> Vec<f64> {
            let volume = |_| f64::from(random.unit() as f32);
            (0..columns).map(volume).collect()
        };
        Volumes {
            volumes: (0..rows).map(|_| row()).collect(),
            anchors,
            items,
            tau,
            offset,
        }
    }

    fn has_item(&self, j: usize) -> bool {
        self.items.iter().any(|plane| plane[j])
    }

    /// Row i's weights by the definition; its own candidate is i + offset.
    fn weights(&self) -> Vec<Vec<f64>> {
        let row = |(i, volumes): (usize, &Vec<f64>)| {
            let there: Vec<usize> = (0..volumes.len()).filter(|j| self.has_item(*j)).collect();
            let mut weights = vec![0.0; volumes.len()];
            if !(self.anchors[i] && there.contains(&(i + self.offset))) {
                return weights;
            }
            let least = there
                .iter()
                .map(|j| volumes[*j])
                .fold(f64::INFINITY, f64::min);
            let term = |j: &usize| ((least - volumes[*j]) / self.tau).exp();
            let sum: f64 = there.iter().map(term).sum();
            for j in there.iter().filter(|j| **j != i + self.offset) {
                weights[*j] = term(j) / sum + 1e-4;
            }
            weights
        };
        self.volumes.iter().enumerate().map(row).collect()
    }

    /// The weights by core, each row a query; and with rows and columns exchanged, each column one.
    #[inline(always)]
    fn computed<I: Isa>(&self, isa: I) -> [Vec<I::Scalar>; 2] {
        let (rows, columns, offset) = (self.volumes.len(), self.volumes[0].len(), self.offset);
        let (tau, nan) = (I::Scalar::constant(self.tau), I::Scalar::constant(f64::NAN));
        let [mut by_row, mut by_column] = self.numbers::<I::Scalar>();
        let planes = self.items.concat();
        let own = Own {
            offset,
            anchors: Some(&self.anchors),
            items: Some(&planes),
        };
        negatives::row_weights(isa, tau, own, columns, &mut by_row).expect("weights");
        // Transposed: the items are the rows, and each has one vector.
        let whole: Vec<bool> = (0..columns).map(|j| self.has_item(j)).collect();
        let own = Own {
            offset,
            anchors: Some(&whole),
            items: Some(&self.anchors),
        };
        let mut workspace = vec![nan; negatives::column_workspace_len(rows)];
        negatives::column_weights(isa, tau, own, rows, &mut by_column, &mut workspace)
            .expect("weights");
        [by_row, by_column]
    }

    /// The volumes, with NaN where there are none; and the same transposed.
    fn numbers<T: Real>(&self) -> [Vec<T>; 2] {
        let (rows, columns) = (self.volumes.len(), self.volumes[0].len());
        let number = |i: usize, j: usize| match self.anchors[i] && self.has_item(j) {
            true => T::constant(self.volumes[i][j]),
            false => T::constant(f64::NAN),
        };
        let cells = |i: usize| (0..columns).map(move |j| (i, j));
        let cells_too = |j: usize| (0..rows).map(move |i| (i, j));
        [
            (0..rows)
                .flat_map(cells)
                .map(|(i, j)| number(i, j))
                .collect(),
            (0..columns)
                .flat_map(cells_too)
                .map(|(i, j)| number(i, j))
                .collect(),
        ]
    }
}

#[inline(always)]
fn check_weights<I: Isa>(isa: I, case: &Volumes) {
    let Volumes {
        volumes,
        tau,
        offset,
        ..
    } = case;
    let (rows, columns) = (volumes.len(), volumes[0].len());
    let want = case.weights();
    let [by_row, by_column] = case.computed(isa);
    for (i, row) in want.iter().enumerate() {
        for (j, want) in row.iter().enumerate() {
            let what = format!("{rows} × {columns} + {offset}, τ {tau}: [{i}][{j}]");
            for got in [by_row[i * columns + j], by_column[j * rows + i]] {
                if *want == 0.0 {
                    assert_eq!(got, I::Scalar::ZERO, "{what}");
                }
                let cap = weight_cap::<I::Scalar>(row_largest(&volumes[i]) / tau);
                assert_close(&what, got.to_f64(), *want, *want, cap);
            }
        }
    }
}

fn row_largest(row: &[f64]) -> f64 {
    row.iter().copied().fold(0.0, f64::max)
}

struct CheckWeights<'a>(&'a Volumes);

impl Kernel<f32> for CheckWeights<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        check_weights(isa, self.0);
    }
}

#[test]
fn weights_agree_with_their_definition() {
    let mut random = Random::new(11);
    let mut absent = 0;
    for sizes in [
        [1, 1, 0],
        [1, 2, 1],
        [5, 5, 0],
        [4, 9, 0],
        [4, 9, 5],
        [8, 33, 17],
        [40, 40, 0],
    ] {
        for tau in [0.01, 0.07, 1.0] {
            for there in [1.0, 0.7, 0.3] {
                let case = Volumes::new(&mut random, sizes, tau, there);
                check_weights(One::<f64>::new(), &case);
                for level in Level::available() {
                    level.run(CheckWeights(&case));
                }
                let silent = |row: &Vec<f64>| row.iter().all(|weight| *weight == 0.0);
                absent += case.weights().iter().filter(|row| silent(row)).count();
            }
        }
    }
    assert!(absent > 100, "{absent} queries do not count");
}

/// Zero and absent vectors take part in no volume, no weight, no draw, no match: what is left is what the batch
/// without them gives.
#[test]
fn negatives_of_a_batch_leave_out_what_its_loss_leaves_out() {
    let (isa, tau, d, b) = (One::<f32>::new(), 0.07_f32, 6, 12);
    let mut random = Random::new(18);
    let mut x: Vec<Vec<f32>> = (0..3 * b)
        .map(|_| random.normals(1, d)[0].iter().map(|x| *x as f32).collect())
        .collect();
    // Tuple 2 has no anchor; 5 lost one vector; 7 lost both, one by a flag; 9 has a vector too short for its square.
    let mut present = vec![true; 3 * b];
    for row in [2, b + 5, b + 7] {
        x[row].fill(0.0);
    }
    x[b + 9].iter_mut().for_each(|x| *x *= 1e-21);
    present[2 * b + 7] = false;
    x[2 * b + 7].fill(f32::NAN);

    let flat = x.concat();
    let (anchors, items) = flat.split_at(b * d);
    let mut there = vec![false; 3 * b];
    let policy = ZeroRows::Missing;
    let sizes = [3, b, d];
    let missing = present_vectors(isa, policy, &flat, Some(&present), sizes, 0, &mut there);
    assert_eq!(missing, Ok(5));
    let batch = Batch {
        vectors: &flat,
        present: Some(&present),
        k: 3,
        rows: b,
        d,
    };
    let mut workspace = vec![0.0; workspace_len(3, b, d)];
    let mut gradient = vec![0.0; flat.len()];
    let config = GramLoss::paper(0);
    let report = gram_loss(isa, &config, &batch, &mut gradient, &mut workspace).expect("a loss");
    assert_eq!(report.missing, 5);

    let (anchors_there, items_there) = there.split_at(b);
    let sizes = [b, 2, b, d];
    let mut volumes = vec![0.0; b * b];
    let mut workspace = vec![0.0; volume_matrix_workspace_len(b, 2, b, d)];
    let (measure, present) = (Measure::Volume, Some(items_there));
    let (out, space) = (&mut volumes, &mut workspace);
    volume_matrix(isa, measure, anchors, items, present, sizes, out, space).expect("volumes");
    let case = Volumes {
        volumes: (0..b)
            .map(|i| {
                let tuple = |j: usize| {
                    let planes = [i, b + j, 2 * b + j].into_iter();
                    let there = planes.filter(|row| there[*row]);
                    let double = |row: usize| x[row].iter().map(|x| f64::from(*x)).collect();
                    oracle::volume(&there.map(double).collect::<Vec<_>>())
                };
                (0..b).map(tuple).collect()
            })
            .collect(),
        anchors: anchors_there.to_vec(),
        items: items_there.chunks(b).map(<[bool]>::to_vec).collect(),
        tau: f64::from(tau),
        offset: 0,
    };
    let own = Own {
        offset: 0,
        anchors: Some(anchors_there),
        items: Some(items_there),
    };
    // The logits' error is that of the volumes over τ.
    let largest = f64::from(volumes.iter().copied().fold(0.0, f32::max) / tau);
    let cap = weight_cap::<f32>(largest) + 2.0 * SINGLE.volume * largest;
    let mut weights = volumes;
    negatives::row_weights(isa, tau, own, b, &mut weights).expect("weights");
    for (got, want) in weights.iter().zip(case.weights().iter().flatten()) {
        assert_close("weight", f64::from(*got), *want, *want, cap);
        assert_eq!(*got == 0.0, *want == 0.0);
    }
    let mut drawn = vec![None; b];
    for _ in 0..200 {
        let source = || (random.bits() >> 32) as u32;
        draw_rows(&weights, b, source, &mut drawn).expect("draws");
        for (i, drawn) in drawn.iter().enumerate() {
            assert_eq!(drawn.is_none(), [2, 7].contains(&i));
            assert!(drawn.is_none_or(|j| j != 7 && j != i));
        }
    }
}

#[test]
fn wrong_weights_are_errors_and_change_nothing() {
    let isa = One::<f32>::new();
    let call = |scores: &[f32], tau: f32, offset: usize, columns: usize| {
        let mut rows = scores.to_vec();
        let by_row = negatives::row_weights(isa, tau, Own::at(offset), columns, &mut rows);
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(by_row.is_ok() || bits(&rows) == bits(scores));
        let mut scores_too = scores.to_vec();
        let mut space = vec![0.0; negatives::column_workspace_len(columns)];
        let by_column = negatives::column_weights(
            isa,
            tau,
            Own::at(offset),
            columns,
            &mut scores_too,
            &mut space,
        );
        assert!(by_column.is_ok() || bits(&scores_too) == bits(scores));
        [by_row.err(), by_column.err()]
    };
    let scores = [0.5_f32; 9];
    assert_eq!(call(&scores, 0.1, 0, 3), [None; 2]);
    for tau in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-45] {
        assert_eq!(
            call(&scores, tau, 0, 3),
            [Some(GramError::Temperature); 2],
            "{tau}"
        );
    }
    let own = Some(GramError::NoMatch { row: 2 });
    assert_eq!(call(&scores, 0.1, 1, 3), [own; 2]);
    assert_eq!(call(&scores[..6], 0.1, 0, 3), [None, own]);
    assert_eq!(call(&scores[..6], 0.1, 0, 2), [own, None]);
    let size = Some(GramError::BufferSize { need: 8, have: 9 });
    assert_eq!(call(&scores, 0.1, 0, 4), [size; 2]);
    assert!(matches!(
        call(&[], 0.1, 0, 4)[0],
        Some(GramError::Empty { .. })
    ));
    assert!(matches!(
        call(&scores, 0.1, 0, 0)[0],
        Some(GramError::Empty { .. })
    ));
    let (row, column) = (1, 2);
    let score = Some(GramError::Score { row, column });
    for bad in [f32::NAN, f32::INFINITY, 3e38] {
        let mut scores = scores;
        scores[5] = bad;
        assert_eq!(call(&scores, 0.1, 0, 3), [score; 2]);
    }
    let mut scores = [0.5_f32; 9];
    let (need, have) = (6, 5);
    let short = negatives::column_weights(isa, 0.1, Own::at(0), 3, &mut scores, &mut [0.0; 5]);
    assert_eq!(short, Err(GramError::Workspace { need, have }));
}

// Draws.

#[test]
fn what_has_no_weight_is_never_drawn() {
    let mut random = Random::new(12);
    for round in 0..3000 {
        let n = random.range(1, 40);
        let weights: Vec<f32> = (0..n)
            .map(|_| match random.range(0, 3) {
                0 => 0.0,
                1 => 1e-4,
                _ => random.unit() as f32 * [1.0, 1e-30, 1e30][round % 3],
            })
            .collect();
        for bits in [
            0,
            1,
            255,
            256,
            u32::MAX - 256,
            u32::MAX - 255,
            u32::MAX,
            random.bits() as u32,
        ] {
            match draw(&weights, bits) {
                Some(index) => assert!(weights[index] > 0.0, "{weights:?} {bits}"),
                None => assert!(weights.iter().all(|w| *w == 0.0)),
            }
        }
        let first = weights.iter().position(|w| *w > 0.0);
        assert_eq!(draw(&weights, 0), first);
    }
    assert_eq!(draw(&[f32::NAN, -1.0, 0.0], 5), None);
    assert_eq!(draw(&[f32::NAN, 1.0, -1.0], u32::MAX), Some(1));
    assert_eq!(draw::<f32>(&[], 5), None);
}

#[test]
fn draws_are_exact() {
    // Weights that are whole parts of 2²⁴: each candidate owns exactly its share of the 24 bits.
    let parts = [5_u32, 0, 1, 10, 0, 3, 13];
    let weights: Vec<f32> = parts.iter().map(|w| *w as f32).collect();
    let unit = (1_u32 << 24) / 32;
    let mut start = 0;
    for (index, part) in parts.iter().enumerate().filter(|(_, part)| **part > 0) {
        let end = start + part * unit;
        for bits in [start, end - 1, (start + end) / 2] {
            assert_eq!(draw(&weights, bits << 8), Some(index));
            assert_eq!(draw(&weights, bits << 8 | 255), Some(index));
        }
        start = end;
    }
    assert_eq!(start, 1 << 24);
}

#[test]
fn draws_have_their_frequencies() {
    let mut random = Random::new(13);
    let weights = [0.1_f64, 0.0, 0.4, 0.25, 0.25];
    let mut counts = [0_u32; 5];
    let draws = 100_000;
    for _ in 0..draws {
        counts[draw(&weights, (random.bits() >> 32) as u32).expect("a candidate")] += 1;
    }
    for (count, weight) in counts.iter().zip(weights) {
        let (got, deviation) = (
            f64::from(*count),
            (f64::from(draws) * weight * (1.0 - weight)).sqrt(),
        );
        assert!(
            (got - f64::from(draws) * weight).abs() <= 4.0 * deviation,
            "{counts:?}"
        );
    }
}

#[test]
fn many_small_weights_keep_their_shares() {
    // The running sum would lose a third of a 1e-4 beside 2^14 in single precision.
    let mut weights = vec![1e-4_f32; 20_001];
    weights[0] = 16384.0;
    let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    for bits in (0..1 << 24).rev().take(2000) {
        let want = (f64::from(bits) / 16_777_216.0 * total - 16384.0) / f64::from(1e-4_f32);
        let got = draw(&weights, bits << 8).expect("a candidate") as f64;
        // Σ, the aim u·Σ and the running sum are rounded once each; neighbours are 2^-10 apart.
        let rounding = 1.5 * 2_f64.powi(-10) / 1e-4;
        assert!(
            (got - (want + 1.0).clamp(0.0, 20_001.0)).abs() <= rounding + 1.0,
            "{bits}: {got} {want}"
        );
    }
}

#[test]
fn rows_and_columns_draw_one_each_in_order() {
    let mut random = Random::new(14);
    let (rows, columns) = (7, 5);
    let weights: Vec<f32> = (0..rows * columns).map(|_| random.unit() as f32).collect();
    let mut bits = Random::new(15);
    let mut source = || (bits.bits() >> 32) as u32;
    let (mut by_row, mut by_column) = (vec![None; rows], vec![None; columns]);
    draw_rows(&weights, columns, &mut source, &mut by_row).expect("draws");
    draw_columns(&weights, columns, &mut source, &mut by_column).expect("draws");
    let mut bits = Random::new(15);
    for (row, drawn) in weights.chunks(columns).zip(by_row) {
        assert_eq!(draw(row, (bits.bits() >> 32) as u32), drawn);
    }
    for (j, drawn) in by_column.into_iter().enumerate() {
        let column: Vec<f32> = weights.iter().skip(j).step_by(columns).copied().collect();
        assert_eq!(draw(&column, (bits.bits() >> 32) as u32), drawn);
    }
}

#[test]
fn wrong_draws_are_errors() {
    let size = |need, have| Err(GramError::BufferSize { need, have });
    assert_eq!(
        draw_rows(&[1.0_f32; 6], 3, || 0, &mut [None; 3]),
        size(9, 6)
    );
    assert_eq!(
        draw_columns(&[1.0_f32; 6], 3, || 0, &mut [None; 2]),
        size(3, 2)
    );
    assert_eq!(
        draw_columns(&[1.0_f32; 7], 3, || 0, &mut [None; 3]),
        size(6, 7)
    );
}

#[test]
fn queries_without_a_candidate_draw_nothing() {
    let mut drawn = [Some(7); 2];
    draw_rows(&[1.0_f32, 0.0, 0.0, 0.0], 2, || 0, &mut drawn).expect("draws");
    assert_eq!(drawn, [Some(0), None]);
    let mut bits = Random::new(19);
    let mut source = || (bits.bits() >> 32) as u32;
    draw_columns(&[1.0_f32, 0.0, 1.0, 0.0], 2, &mut source, &mut drawn).expect("draws");
    assert!(drawn[0].is_some() && drawn[1].is_none());
    // Each query takes its bits, whether it draws or not: the third number is next.
    let mut again = Random::new(19);
    again.bits();
    again.bits();
    assert_eq!(source(), (again.bits() >> 32) as u32);
}

// On a level.

/// The methods of a level are core's functions on its lanes, to the bit.
#[test]
fn levels_search_and_weigh_as_core_does() {
    let mut random = Random::new(20);
    let case = Case::<f32>::new(&mut random, [5, 2, 37, 19]);
    let volumes = Volumes::new(&mut random, [9, 21, 4], 0.07, 0.7);
    for level in Level::available() {
        for measure in MEASURES {
            let search = Search {
                tile: 8,
                ..Search::by(measure)
            };
            let mut top = vec![TopK::<f32, 4>::new(measure.order()); 5];
            let mut workspace = vec![0.0; nearest_workspace_len(5, 2, 8, 19)];
            let (present, space) = (Some(case.present.as_slice()), &mut workspace);
            let (anchors, items, sizes) = (&case.anchors, &case.items, case.sizes);
            let found = level.nearest(search, anchors, items, present, sizes, &mut top, space);
            let (degenerate, want) = level.run(SearchOf(&case, search));
            assert_eq!(found, Ok(degenerate), "{level}");
            for (got, want) in top.iter().zip(&want) {
                assert_eq!(got.best(), want.best(), "{level} {measure:?}");
            }
        }
        let [mut by_row, mut by_column] = volumes.numbers::<f32>();
        let want = level.run(WeightsOf(&volumes));
        let (planes, tau) = (volumes.items.concat(), volumes.tau as f32);
        let whole: Vec<bool> = (0..21).map(|j| volumes.has_item(j)).collect();
        let own = |anchors, items| Own {
            offset: 4,
            anchors: Some(anchors),
            items: Some(items),
        };
        let rows = level.row_weights(tau, own(&volumes.anchors, &planes), 21, &mut by_row);
        let (own, mut space) = (own(&whole, &volumes.anchors), [0.0; 18]);
        let columns = level.column_weights(tau, own, 9, &mut by_column, &mut space);
        assert_eq!((rows, columns), (Ok(()), Ok(())));
        assert_eq!([by_row, by_column], want, "{level}");

        let (mut got, mut want) = (vec![false; 74], vec![true; 74]);
        let mut items = case.items.clone();
        items[19 * 3..19 * 5].fill(0.0);
        let (policy, sizes, present) = (ZeroRows::Missing, [2, 37, 19], Some(&case.present[..]));
        let missing = level.present_vectors(policy, &items, present, sizes, 0, &mut got);
        let one = One::new();
        let of_core = present_vectors(one, policy, &items, present, sizes, 0, &mut want);
        assert_eq!((missing, got), (of_core, want), "{level}");
    }
}

struct SearchOf<'a>(&'a Case<f32>, Search);

impl Kernel<f32> for SearchOf<'_> {
    type Output = (usize, Vec<TopK<f32, 4>>);
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        self.0.nearest(isa, self.1).expect("a search")
    }
}

struct WeightsOf<'a>(&'a Volumes);

impl Kernel<f32> for WeightsOf<'_> {
    type Output = [Vec<f32>; 2];
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        self.0.computed(isa)
    }
}

// Rankings compared.

struct Recall<'a> {
    anchors: &'a [f32],
    items: &'a [f32],
    sizes: [usize; 4],
}

impl Kernel<f32> for Recall<'_> {
    type Output = [f32; 3];
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let [b1, m, _, d] = self.sizes;
        let mut workspace = vec![0.0; nearest_workspace_len(b1, m, 64, d)];
        MEASURES.map(|measure| {
            let mut top = vec![TopK::<f32, 1>::new(measure.order()); b1];
            let search = Search::by(measure);
            let (anchors, items, sizes) = (self.anchors, self.items, self.sizes);
            nearest(
                isa,
                search,
                anchors,
                items,
                None,
                sizes,
                &mut top,
                &mut workspace,
            )
            .expect("a search");
            let found = |(i, top): (usize, &TopK<f32, 1>)| top.best().iter().all(|b| b.1 == i);
            let hits = top.iter().enumerate().filter(|top| found(*top)).count();
            hits as f32 / b1 as f32
        })
    }
}

/// Noise twice as large as what the vectors of a tuple share: items of small volume become everyone's nearest,
/// which the distance does not let happen.
#[test]
fn conditional_ranking_has_no_hubs() {
    let mut random = Random::new(16);
    let (n, d) = (600, 512);
    let centres = random.normals(n, d);
    let mut plane = || -> Vec<f32> {
        let noisy = |centre: &Vec<f64>| {
            let x: Vec<f64> = centre.iter().map(|c| c + 2.0 * random.normal()).collect();
            let length = norm(x.iter().copied());
            x.into_iter().map(move |x| (x / length) as f32)
        };
        centres
            .iter()
            .map(noisy)
            .collect::<Vec<_>>()
            .into_iter()
            .flatten()
            .collect()
    };
    let (anchors, items) = (plane(), [plane(), plane()].concat());
    let sizes = [n, 2, n, d];
    let recall = Recall {
        anchors: &anchors,
        items: &items,
        sizes,
    };
    let [volume, distance, cosine] = Level::detect().run(recall);
    println!("R@1 by volume {volume}, distance {distance}, cosines {cosine}");
    assert!(volume < 0.7 && distance > 0.97 && cosine > 0.97);
    assert!(distance > volume + 0.3);
}

// Odd inputs.

/// Lengths that are right, near or far off: errors, but no panic, with overflow checks on.
#[test]
fn odd_sizes_never_panic() {
    let mut random = Random::new(17);
    let isa = One::<f32>::new();
    let (mut fine, mut wrong) = (0, 0);
    for _ in 0..20_000 {
        let mut tally = |ok: bool| if ok { fine += 1 } else { wrong += 1 };
        let odd = |random: &mut Random, right: usize| match random.range(0, 15) {
            0 => random.range(0, 3),
            1 => right.saturating_sub(1).min(4000),
            2 => right.saturating_add(1).min(4000),
            _ => right.min(4000),
        };
        let size = |random: &mut Random| match random.range(0, 30) {
            0 => 0,
            1 => usize::MAX,
            2 => usize::MAX / 2,
            3 => 1 << (usize::BITS / 2 + 1),
            _ => random.range(1, 6),
        };
        let [rows, columns, d, m, offset] = [0; 5].map(|_| size(&mut random));
        let cells = rows.saturating_mul(columns);
        let number = [1.0, 0.0, -3.0, f32::NAN, 1e30, 1e-40][random.range(0, 20) % 15 % 6];
        let mut scores = vec![number; odd(&mut random, cells)];
        let ids = |random: &mut Random, n: usize| -> Vec<usize> {
            (0..odd(random, n)).map(|_| random.range(0, 2)).collect()
        };
        let (texts, items) = (ids(&mut random, rows), ids(&mut random, columns));
        let order = [Order::Ascending, Order::Descending][random.below(2)];
        let mut ranks = vec![0; odd(&mut random, rows)];
        tally(forward_ranks(&scores, &texts, &items, order, &mut ranks).is_ok());
        let mut ranks = vec![0; odd(&mut random, columns)];
        tally(backward_ranks(&scores, &texts, &items, order, &mut ranks).is_ok());
        tally(gramian_value(&scores, columns).is_some());
        let mut workspace = vec![0.0; odd(&mut random, negatives::column_workspace_len(columns))];
        let tau = [0.07, 0.0, f32::NAN, 1.0][random.below(4)];
        let offset = if random.bits() & 3 == 0 { offset } else { 0 };
        let mut drawn = vec![None; ranks.len()];
        tally(draw_rows(&scores, columns, || 9, &mut drawn).is_ok());
        tally(draw_columns(&scores, columns, || 9, &mut drawn).is_ok());
        tally(negatives::row_weights(isa, tau, Own::at(offset), columns, &mut scores).is_ok());
        tally(
            negatives::column_weights(
                isa,
                tau,
                Own::at(offset),
                columns,
                &mut scores,
                &mut workspace,
            )
            .is_ok(),
        );

        let tile = size(&mut random);
        let measure = MEASURES[random.below(3)];
        let anchors = vec![1.0; odd(&mut random, rows.saturating_mul(d))];
        let flags = m.saturating_mul(columns);
        let items = vec![number; odd(&mut random, flags.saturating_mul(d))];
        let present = vec![true; odd(&mut random, flags)];
        let need = nearest_workspace_len(rows, m, tile.min(columns), d);
        let mut workspace = vec![0.0; odd(&mut random, need)];
        let mut top = vec![TopK::<f32, 3>::new(measure.order()); odd(&mut random, rows)];
        let search = Search {
            tile,
            offset,
            ..Search::by(measure)
        };
        let present = (random.bits() & 1 == 0).then_some(present.as_slice());
        let sizes = [rows, m, columns, d];
        let result = nearest(
            isa,
            search,
            &anchors,
            &items,
            present,
            sizes,
            &mut top,
            &mut workspace,
        );
        tally(result.is_ok());

        let x = vec![number; odd(&mut random, m.saturating_mul(d))];
        let mut workspace = vec![0.0; odd(&mut random, singular::workspace_len(m, d))];
        let mut gradient = vec![0.0; odd(&mut random, m.saturating_mul(d))];
        let weights = vec![1.0; odd(&mut random, m)];
        let found = Singular::of(isa, &x, m, d, &mut workspace);
        let result = found.and_then(|found| {
            assert!(found.values().iter().all(|v| v.is_finite()));
            found.gradient(isa, &weights, &mut gradient)
        });
        tally(result.is_ok());
        let mut derivative = vec![0.0; odd(&mut random, weights.len())];
        tally(singular::rank_loss(&weights, tau, &mut derivative).is_ok());
        let corners = vec![number; odd(&mut random, d.saturating_mul(3))];
        let mut gradient = vec![0.0; odd(&mut random, d.saturating_mul(3))];
        let mut workspace = vec![0.0; odd(&mut random, triangle::workspace_len(d))];
        let area = triangle::area_gradient_on(isa, &corners, d, &mut gradient, &mut workspace);
        tally(area.is_ok());
        let logits = vec![number; odd(&mut random, rows.saturating_mul(2))];
        let mut gradient = vec![0.0; odd(&mut random, rows.saturating_mul(2))];
        tally(matching_loss(&logits, offset, None, &mut gradient).is_ok());
    }
    assert!(fine > 50_000 && wrong > 50_000, "{fine} {wrong}");
}
