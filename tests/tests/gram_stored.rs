//! Searches among bases that are stored in fewer bits: what the stored numbers say, and how far that is from the items.

use rivergram_core::error::GramError;
use rivergram_core::gram::basis::{cosine_weights, item_len};
use rivergram_core::gram::contrastive::ZeroRows;
use rivergram_core::gram::int8::quantise;
use rivergram_core::gram::pair::{Bases, BasesMut, Measure, bases_len};
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::search::{Search, nearest_prepared_workspace_len};
use rivergram_core::gram::stored::{
    Anchors, Numbers, Stored, nearest_stored_workspace_len, quantise_anchor,
};
use rivergram_core::optim::rounding::Half;
use rivergram_simd::Level;
use rivergram_tests::cases::{Rows, flat, norm, planes};
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::random::Random;

const MEASURES: [Measure; 3] = [Measure::Volume, Measure::Distance, Measure::Cosine];

/// More than there are items.
const ALL: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bits {
    Single,
    Half(Half),
    Eight,
}

const BITS: [Bits; 4] = [
    Bits::Single,
    Bits::Half(Half::F16),
    Bits::Half(Half::Bf16),
    Bits::Eight,
];

impl Bits {
    /// What a coordinate of a unit vector may move by, for d dimensions: some times the typical error.
    fn error(self, d: usize) -> f64 {
        let typical = match self {
            Bits::Single => 1e-6,
            Bits::Half(Half::F16) => 2e-4,
            Bits::Half(Half::Bf16) => 2e-3,
            Bits::Eight => 8e-3,
        };
        6.0 * typical / (d as f64).sqrt()
    }
}

/// Items \[m\]\[items\], their bases in `f32`, and the same in fewer bits.
struct Gallery {
    planes: Vec<Rows>,
    there: Vec<Vec<bool>>,
    d: usize,
    q: Vec<f32>,
    volume: Vec<f32>,
    cosines: Vec<f32>,
    present: Vec<f32>,
    halves: Vec<u16>,
    integers: Vec<i8>,
    scales: Vec<f32>,
}

impl Gallery {
    fn new(random: &mut Random, [m, items, d]: [usize; 3]) -> Self {
        let mut planes: Vec<Rows> = (0..m).map(|_| random.normals(items, d)).collect();
        let mut there = vec![vec![true; items]; m];
        for plane in &mut planes {
            plane[items - 1] = plane[1].clone();
        }
        there[m - 1][2] = false;
        there.iter_mut().for_each(|plane| plane[3] = false);
        let vectors = planes_of(&planes, &there);
        let present: Vec<f32> = there
            .concat()
            .iter()
            .map(|x| f32::from(u8::from(*x)))
            .collect();
        let mut storage = vec![0.0; bases_len(m, items, d)];
        let storage = BasesMut::split(&mut storage, m, items, d);
        let sizes = [m, items, d];
        let mut scratch = vec![0.0; item_len(m, d)];
        let level = Level::detect();
        let built = level.bases(storage, &vectors, &present, sizes, &mut scratch);
        let (bases, _) = built.expect("sizes");
        let mut cosines = vec![0.0; m * items];
        for j in 0..items {
            let mut weights = vec![0.0; m];
            cosine_weights(bases.r_of(j), &mut weights);
            for (p, weight) in weights.iter().enumerate() {
                cosines[p * items + j] = *weight;
            }
        }
        let (q, volume) = (bases.q.to_vec(), bases.volume.to_vec());
        let mut integers = vec![0; q.len()];
        let rows = q.chunks(d).zip(integers.chunks_mut(d));
        let scales = rows.map(|(x, n)| quantise(x, n).expect("finite")).collect();
        Gallery {
            planes,
            there,
            d,
            q,
            volume,
            cosines,
            present,
            halves: Vec::new(),
            integers,
            scales,
        }
    }

    fn items(&self) -> usize {
        self.volume.len()
    }

    fn stored(&mut self, bits: Bits) -> Stored<'_> {
        if let Bits::Half(format) = bits {
            self.halves = self.q.iter().map(|q| format.nearest(*q)).collect();
        }
        Stored {
            q: match bits {
                Bits::Single => Numbers::F32(&self.q),
                Bits::Half(format) => Numbers::Half(format, &self.halves),
                Bits::Eight => Numbers::Int8(&self.integers, &self.scales),
            },
            volume: &self.volume,
            cosines: &self.cosines,
            present: &self.present,
            m: self.planes.len(),
            items: self.volume.len(),
            d: self.d,
        }
    }

    /// The score of an item by its definition.
    fn score(&self, measure: Measure, anchor: &[f64], j: usize) -> f64 {
        let there = |p: &usize| self.there[*p][j];
        let vectors: Vec<Vec<f64>> = (0..self.planes.len())
            .filter(there)
            .map(|p| self.planes[p][j].clone())
            .collect();
        let length = norm(anchor.iter().copied());
        if measure == Measure::Cosine {
            let cosine = |x: &Vec<f64>| oracle::dot(anchor, x) / norm(x.iter().copied()) / length;
            return vectors.iter().map(cosine).sum();
        }
        let mut all = vectors.clone();
        all.push(anchor.to_vec());
        match measure {
            Measure::Volume => oracle::volume(&all),
            _ => oracle::volume(&all) / oracle::volume(&vectors),
        }
    }
}

fn planes_of(rows: &[Rows], there: &[Vec<bool>]) -> Vec<f32> {
    let mut vectors = planes::<f32>(rows);
    let d = rows[0][0].len();
    for (x, there) in vectors.chunks_mut(d).zip(there.concat()) {
        if !there {
            x.fill(0.0);
        }
    }
    vectors
}

/// Anchors with what a search needs of them.
struct Queries {
    vectors: Vec<f32>,
    numbers: Vec<i16>,
    scales: Vec<f32>,
}

impl Queries {
    fn new(rows: &[Vec<f64>], d: usize) -> Self {
        let vectors = flat::<f32>(rows);
        let mut numbers = vec![0; vectors.len()];
        let rows = vectors.chunks(d).zip(numbers.chunks_mut(d));
        let scales = rows
            .map(|(x, n)| quantise_anchor(x, n).expect("finite"))
            .collect();
        Queries {
            vectors,
            numbers,
            scales,
        }
    }

    fn anchors(&self) -> Anchors<'_> {
        Anchors {
            vectors: &self.vectors,
            numbers: &self.numbers,
            scales: &self.scales,
        }
    }
}

/// What a search in parts of so many items finds.
fn found<const K: usize>(
    level: Level,
    search: Search,
    queries: &Queries,
    stored: &Stored<'_>,
    part: usize,
) -> Vec<TopK<f32, K>> {
    let count = queries.scales.len();
    let mut top = vec![TopK::new(search.measure.order()); count];
    for first in (0..stored.items).step_by(part) {
        let n = part.min(stored.items - first);
        let need = nearest_stored_workspace_len(count, stored.m, n, stored.d);
        let mut workspace = vec![f32::NAN; need];
        let anchors = queries.anchors();
        level
            .nearest_stored(
                search,
                anchors,
                stored,
                [first, n],
                &mut top,
                &mut workspace,
            )
            .expect("sizes");
    }
    top
}

#[test]
fn every_number_of_bits_and_vectors_agrees_with_the_definition() {
    let mut random = Random::new(81);
    for (m, items, d) in [
        (1, 9, 5),
        (1, 33, 64),
        (2, 40, 16),
        (2, 37, 67),
        (3, 30, 19),
        (4, 21, 24),
        (5, 20, 35),
        (6, 20, 32),
        (7, 20, 41),
    ] {
        let mut gallery = Gallery::new(&mut random, [m, items, d]);
        let mut rows = random.normals(5, d);
        rows[2] = vec![0.0; d];
        rows[3].iter_mut().for_each(|x| *x *= 1e-3);
        let queries = Queries::new(&rows, d);
        for bits in BITS {
            for level in Level::available() {
                for measure in MEASURES {
                    let stored = gallery.stored(bits);
                    let top = found::<ALL>(level, Search::by(measure), &queries, &stored, items);
                    for (anchor, top) in rows.iter().zip(&top) {
                        let what = format!("{level} {bits:?} {measure:?} m={m} d={d}");
                        check(&what, &gallery, bits, measure, anchor, top.best());
                    }
                }
            }
        }
    }
}

fn check(
    what: &str,
    gallery: &Gallery,
    bits: Bits,
    measure: Measure,
    anchor: &[f64],
    best: &[(f32, usize)],
) {
    let length = norm(anchor.iter().copied());
    if length == 0.0 {
        assert!(best.is_empty(), "{what}");
        return;
    }
    // An item of which nothing is there is no candidate.
    let any_there = |j: &usize| gallery.there.iter().any(|plane| plane[*j]);
    let candidates = (0..gallery.items()).filter(any_there).count();
    assert_eq!(best.len(), candidates, "{what}");
    let in_order = |pair: &[(f32, usize)]| measure.order().before(pair[0], pair[1]);
    assert!(best.windows(2).all(in_order), "{what}");
    let moved = bits.error(gallery.d) * (gallery.planes.len() as f64).sqrt();
    for (score, j) in best {
        let want = gallery.score(measure, anchor, *j);
        let score = f64::from(*score);
        if measure == Measure::Cosine {
            // The weights are at most √m.
            let most = 2.0 * moved + 1e-6;
            assert!(
                (score - want).abs() <= most,
                "{what}: item {j} {score} {want}"
            );
            continue;
        }
        // What moves y moves d², by 2·|y| at most of as much.
        let volume = match measure {
            Measure::Volume => f64::from(gallery.volume[*j]),
            _ => 1.0,
        };
        let unit = (volume * length).powi(2);
        let error = (score.powi(2) - want.powi(2)).abs();
        let most = (2.0 * moved + moved * moved + 4e-6) * unit;
        assert!(error <= most, "{what}: item {j} {score} {want}");
    }
}

#[test]
fn parts_of_any_size_find_the_same_bits() {
    let mut random = Random::new(82);
    let mut gallery = Gallery::new(&mut random, [2, 41, 37]);
    let rows = random.normals(3, 37);
    let queries = Queries::new(&rows, 37);
    for bits in BITS {
        for level in Level::available() {
            for measure in MEASURES {
                let search = Search::by(measure);
                let stored = gallery.stored(bits);
                let all = found::<ALL>(level, search, &queries, &stored, 41);
                for part in [1, 4, 6, 16, 40] {
                    let few = found::<7>(level, search, &queries, &stored, part);
                    for (few, all) in few.iter().zip(&all) {
                        let what = format!("{level} {bits:?} {measure:?} in parts of {part}");
                        assert_eq!(few.best(), &all.best()[..7], "{what}");
                    }
                }
                // Two equal items, the first of them first.
                for top in &all {
                    let place = |j| top.best().iter().position(|best| best.1 == j);
                    let (first, last) = (place(1).expect("item 1"), place(40).expect("item 40"));
                    assert_eq!(last, first + 1, "{level} {bits:?} {measure:?}");
                }
            }
        }
    }
}

#[test]
fn parts_of_prepared_bases_find_what_all_of_them_do() {
    let mut random = Random::new(83);
    let gallery = Gallery::new(&mut random, [2, 23, 18]);
    let vectors = planes_of(&gallery.planes, &gallery.there);
    let bases = Bases {
        q: &gallery.q,
        r: &[],
        volume: &gallery.volume,
        vectors: &vectors,
        present: &gallery.present,
        skip: usize::MAX,
        m: 2,
        items: 23,
        d: 18,
    };
    let mut anchors = random.normals(3, 18);
    // In the span of an item, so that its residual counts.
    anchors[1] = gallery.planes[0][5].clone();
    anchors[1][0] += 1e-3;
    let anchors = flat::<f32>(&anchors);
    for level in Level::available() {
        for measure in MEASURES {
            let search = Search::by(measure);
            let run = |part: usize| {
                let mut top = vec![TopK::<f32, 9>::new(measure.order()); 3];
                for first in (0..23).step_by(part) {
                    let n = part.min(23 - first);
                    let need = nearest_prepared_workspace_len(3, 2, n, 18);
                    let mut workspace = vec![f32::NAN; need];
                    let items = [first, n];
                    level
                        .nearest_prepared_part(
                            search,
                            &anchors,
                            &bases,
                            items,
                            &mut top,
                            &mut workspace,
                        )
                        .expect("sizes");
                }
                top.iter()
                    .map(|top| top.best().to_vec())
                    .collect::<Vec<_>>()
            };
            let want = run(23);
            if measure == Measure::Distance {
                assert_eq!(want[1][0].1, 5, "{level}");
            }
            for part in [1, 2, 8, 22] {
                assert_eq!(run(part), want, "{level} {measure:?} in parts of {part}");
            }
        }
    }
}

#[test]
fn integers_of_an_anchor_leave_room_for_the_sum() {
    let mut random = Random::new(84);
    for d in [1, 16, 512, 513, 516, 517, 4096, 131_071] {
        let x = vec![-3.0; d];
        let mut numbers = vec![0; d];
        let scale = quantise_anchor(&x, &mut numbers).expect("finite");
        let largest = i64::from(numbers[0]).abs();
        assert!(largest * 128 * d as i64 <= i64::from(i32::MAX), "d={d}");
        assert!(d > 512 || largest == 32767, "d={d}");
        // The longest products there are, by every level.
        for q in [127, -128] {
            let row = vec![q; d];
            let rows = [row.as_slice(); 4];
            let want = i64::from(numbers[0]) * i64::from(q) * d as i64;
            for level in Level::available() {
                let got = level.run(Dots(&numbers, rows));
                assert_eq!(got.map(i64::from), [want; 4], "{level} d={d} q={q}");
            }
        }
        let x: Vec<f32> = (0..d).map(|_| random.normal() as f32).collect();
        let again = quantise_anchor(&x, &mut numbers).expect("finite");
        let levels = largest as f32;
        for (x, n) in x.iter().zip(&numbers) {
            let moved = (x - again * f32::from(*n)).abs();
            assert!(moved <= again * (0.5 + levels * 2e-7), "d={d}: {x} {n}");
        }
        assert!(scale > 0.0);
    }
    let mut numbers = [5; 2];
    assert_eq!(quantise_anchor(&[0.0, -0.0], &mut numbers), Ok(0.0));
    assert_eq!(numbers, [0; 2]);
    assert_eq!(quantise_anchor(&[], &mut []), Ok(0.0));
    assert!(quantise_anchor(&[1e-45, 0.0], &mut numbers) == Ok(0.0) && numbers == [0; 2]);
    let row = GramError::NotFinite {
        modality: 0,
        row: 1,
    };
    assert_eq!(quantise_anchor(&[1.0, f32::NAN], &mut numbers), Err(row));
    let lengths = GramError::BufferSize { need: 1, have: 2 };
    assert_eq!(quantise_anchor(&[1.0], &mut numbers), Err(lengths));
    let long = vec![1.0; 131_072];
    assert!(quantise_anchor(&long, &mut vec![0; 131_072]).is_err());
}

struct Dots<'a>(&'a [i16], [&'a [i8]; 4]);

impl rivergram_simd::Kernel<f32> for Dots<'_> {
    type Output = [i32; 4];
    #[inline(always)]
    fn run<I: rivergram_core::lanes::Isa<Scalar = f32>>(self, isa: I) -> [i32; 4] {
        isa.dots_i8(self.0, self.1)
    }
}

#[test]
fn products_of_integers_are_exact_at_any_length() {
    let mut random = Random::new(85);
    for d in (0..40).chain([64, 67, 500]) {
        let a: Vec<i16> = (0..d).map(|_| random.bits() as i16).collect();
        let rows: Vec<Vec<i8>> = (0..4)
            .map(|_| (0..d).map(|_| random.bits() as i8).collect())
            .collect();
        let want: Vec<i32> = rows
            .iter()
            .map(|row| {
                let terms = a.iter().zip(row);
                terms.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
            })
            .collect();
        let rows: [&[i8]; 4] = std::array::from_fn(|i| rows[i].as_slice());
        for level in Level::available() {
            assert_eq!(level.run(Dots(&a, rows)).to_vec(), want, "{level} d={d}");
        }
    }
}

struct Widened<'a>(Half, &'a [u16], &'a mut [f32]);

impl rivergram_simd::Kernel<f32> for Widened<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: rivergram_core::lanes::Isa<Scalar = f32>>(self, isa: I) {
        isa.widen(self.0, self.1, self.2);
    }
}

#[test]
fn numbers_in_16_bits_are_widened_to_the_same_bits_by_every_level() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for format in Half::ALL {
        let want: Vec<u32> = all.iter().map(|x| format.widen(*x).to_bits()).collect();
        for level in Level::available() {
            let mut wide = vec![0.0; all.len()];
            level.run(Widened(format, &all, &mut wide));
            let got: Vec<u32> = wide.iter().map(|x| x.to_bits()).collect();
            assert!(got == want, "{level} {format:?}");
            // Of as many as both have.
            for (from, to) in [(0, 3), (7, 9), (12, 20), (20, 12), (17, 17)] {
                let mut wide = vec![7.0; to];
                level.run(Widened(format, &all[0x3c00..][..from], &mut wide));
                for (at, x) in wide.iter().enumerate() {
                    let want = match at < from {
                        true => format.widen(all[0x3c00 + at]),
                        false => 7.0,
                    };
                    assert_eq!(*x, want, "{level} {format:?} {from} to {to}: {at}");
                }
            }
        }
    }
}

#[test]
fn weights_of_cosines_are_those_of_the_vectors() {
    let mut random = Random::new(86);
    for m in 1..=7 {
        let gallery = Gallery::new(&mut random, [m, 8, 12]);
        let anchor = random.normals(1, 12).remove(0);
        let length = norm(anchor.iter().copied());
        for j in 0..8 {
            let got: f64 = (0..m)
                .map(|p| {
                    let start = (p * 8 + j) * 12;
                    let q: Vec<f64> = gallery.q[start..start + 12]
                        .iter()
                        .map(|q| f64::from(*q))
                        .collect();
                    f64::from(gallery.cosines[p * 8 + j]) * oracle::dot(&q, &anchor) / length
                })
                .sum();
            let want = gallery.score(Measure::Cosine, &anchor, j);
            assert!(
                (got - want).abs() < 1e-6 * m as f64,
                "m={m} item {j}: {got} {want}"
            );
        }
    }
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_written() {
    let mut random = Random::new(87);
    let mut gallery = Gallery::new(&mut random, [2, 9, 6]);
    let queries = Queries::new(&random.normals(2, 6), 6);
    let (search, level) = (Search::by(Measure::Volume), Level::detect());
    let stored = gallery.stored(Bits::Eight);
    let need = nearest_stored_workspace_len(2, 2, 9, 6);
    let run = |search: Search, anchors, stored: &Stored<'_>, items, room: usize| {
        let mut top = vec![TopK::<f32, 3>::new(Measure::Volume.order()); 2];
        let mut workspace = vec![0.0; room];
        let done = level.nearest_stored(search, anchors, stored, items, &mut top, &mut workspace);
        let empty = top.iter().all(|top| top.best().is_empty());
        assert_eq!(empty, done.is_err());
        done
    };
    let (all, anchors) = ([0, 9], queries.anchors());
    assert_eq!(run(search, anchors, &stored, all, need), Ok(()));
    let have = need - 1;
    let short = GramError::Workspace { need, have };
    assert_eq!(run(search, anchors, &stored, all, have), Err(short));
    let beyond = GramError::Shard {
        offset: 5,
        rows: 5,
        all: 9,
    };
    assert_eq!(run(search, anchors, &stored, [5, 5], need), Err(beyond));
    assert!(run(search, anchors, &stored, [usize::MAX, 2], need).is_err());
    assert!(run(search, anchors, &stored, [3, 0], need).is_err());
    let order = GramError::Order { row: 0 };
    let cosine = Search::by(Measure::Cosine);
    assert_eq!(run(cosine, anchors, &stored, all, need), Err(order));
    let size = |need, have| Err(GramError::BufferSize { need, have });
    let fewer = Anchors {
        vectors: &queries.vectors[1..],
        ..anchors
    };
    assert_eq!(run(search, fewer, &stored, all, need), size(12, 11));
    let fewer = Anchors {
        numbers: &queries.numbers[1..],
        ..anchors
    };
    assert_eq!(run(search, fewer, &stored, all, need), size(12, 11));
    let fewer = Anchors {
        scales: &queries.scales[1..],
        ..anchors
    };
    assert_eq!(run(search, fewer, &stored, all, need), size(2, 1));
    let Numbers::Int8(integers, scales) = stored.q else {
        panic!("eight bits");
    };
    for (fewer, sizes) in [
        (Numbers::Int8(&integers[1..], scales), size(108, 107)),
        (Numbers::Int8(integers, &scales[1..]), size(18, 17)),
        (Numbers::Half(Half::F16, &[]), size(108, 0)),
        (Numbers::F32(&[]), size(108, 0)),
    ] {
        let stored = Stored { q: fewer, ..stored };
        assert_eq!(run(search, anchors, &stored, all, need), sizes);
    }
    let volume = &stored.volume[1..];
    assert_eq!(
        run(search, anchors, &Stored { volume, ..stored }, all, need),
        size(9, 8)
    );
    let cosines = &stored.cosines[1..];
    assert_eq!(
        run(search, anchors, &Stored { cosines, ..stored }, all, need),
        size(18, 17)
    );
    let present = &stored.present[1..];
    assert_eq!(
        run(search, anchors, &Stored { present, ..stored }, all, need),
        size(18, 17)
    );
    let mut vectors = queries.vectors.clone();
    vectors[7] = f32::INFINITY;
    let odd = Anchors {
        vectors: &vectors,
        ..anchors
    };
    let not_finite = GramError::NotFinite {
        modality: 0,
        row: 1,
    };
    assert_eq!(run(search, odd, &stored, all, need), Err(not_finite));
    let zero = [0.0; 12];
    let zero = Anchors {
        vectors: &zero,
        ..anchors
    };
    let strict = Search {
        zero_rows: ZeroRows::Error,
        ..search
    };
    assert!(run(strict, zero, &stored, all, need).is_err());
}
