//! Galleries: what a search in a file finds, beside the definition in `f64`, and what is said of a damaged file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rivergram::data::rows::{Rows, Table};
use rivergram::engine::Threads;
use rivergram::gallery::{self, Build, Built, Found, Gallery, Kind, Options, Searcher};
use rivergram_core::gram::pair::Measure;
use rivergram_core::optim::rounding::Half;
use rivergram_simd::Level;
use rivergram_tests::cases::norm;
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::random::Random;

const MEASURES: [Measure; 3] = [Measure::Volume, Measure::Distance, Measure::Cosine];

const F16: Kind = Kind::Half(Half::F16);
const BF16: Kind = Kind::Half(Half::Bf16);

/// Bases and vectors.
const KINDS: [[Kind; 2]; 8] = [
    [Kind::F32, Kind::F32],
    [Kind::F32, F16],
    [F16, F16],
    [F16, Kind::F32],
    [BF16, BF16],
    [Kind::Int8, Kind::F32],
    [Kind::Int8, F16],
    [Kind::Int8, BF16],
];

/// A folder of a test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("gallery")
        .join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Items \[m\]\[items\]\[d\]; a row of zeros is absent.
#[derive(Clone)]
struct Items {
    planes: Vec<Vec<Vec<f32>>>,
    d: usize,
}

impl Items {
    fn new(random: &mut Random, [m, items, d]: [usize; 3]) -> Self {
        let row = |random: &mut Random| (0..d).map(|_| random.normal() as f32).collect();
        let mut planes: Vec<Vec<Vec<f32>>> = (0..m)
            .map(|_| (0..items).map(|_| row(random)).collect())
            .collect();
        // An equal pair, an item without its last vector, one without any.
        for plane in &mut planes {
            plane[items - 1] = plane[1].clone();
            plane[3].fill(0.0);
        }
        planes[m - 1][2].fill(0.0);
        Items { planes, d }
    }

    fn len(&self) -> usize {
        self.planes[0].len()
    }

    fn table(&self) -> Table {
        let rows = |(p, plane): (usize, &Vec<Vec<f32>>)| {
            Rows::new(&format!("m{p}"), self.d, plane.concat()).expect("rows")
        };
        Table {
            modalities: self.planes.iter().enumerate().map(rows).collect(),
            labels: None,
        }
    }

    /// The same, rounded to what they are kept in.
    fn rounded(&self, kind: Kind) -> Self {
        let mut items = self.clone();
        if let Kind::Half(format) = kind {
            let numbers = items.planes.iter_mut().flatten().flatten();
            numbers.for_each(|x| *x = format.widen(format.nearest(*x)));
        }
        items
    }

    fn vectors(&self, j: usize) -> Vec<Vec<f64>> {
        let wide = |plane: &Vec<Vec<f32>>| plane[j].iter().map(|x| f64::from(*x)).collect();
        let all = self.planes.iter().map(wide);
        all.filter(|x: &Vec<f64>| x.iter().any(|x| *x != 0.0))
            .collect()
    }

    /// The score of an item by its definition, and what it is relative to; nothing where it is none.
    fn score(&self, measure: Measure, query: &[f32], j: usize) -> Option<(f64, f64)> {
        let query: Vec<f64> = query.iter().map(|x| f64::from(*x)).collect();
        let vectors = self.vectors(j);
        if vectors.is_empty() {
            return None;
        }
        let length = norm(query.iter().copied());
        if measure == Measure::Cosine {
            let cosine = |x: &Vec<f64>| oracle::dot(&query, x) / norm(x.iter().copied()) / length;
            return Some((vectors.iter().map(cosine).sum(), vectors.len() as f64));
        }
        let of_item = oracle::volume(&vectors);
        let mut all = vectors;
        all.push(query);
        let volume = oracle::volume(&all);
        match measure {
            Measure::Volume => Some((volume, volume)),
            _ => Some((volume / of_item, volume / of_item)),
        }
    }
}

fn build(items: &Items, [bases, vectors]: [Kind; 2], file: &Path) -> Built {
    let options = Build {
        bases,
        vectors,
        level: Level::detect(),
    };
    let stop = AtomicBool::new(false);
    let built = gallery::build(&items.table(), &options, file, &stop, |_| ());
    built.expect("a gallery").expect("not stopped")
}

fn search(
    gallery: &Gallery,
    threads: &Threads,
    options: Options,
    queries: &[f32],
) -> Vec<Vec<Found>> {
    let searcher = Searcher::new(gallery, threads, options).expect("options");
    searcher.nearest(queries).expect("queries")
}

fn by(measure: Measure, top: usize) -> Options {
    Options {
        measure,
        top,
        candidates: None,
    }
}

fn numbers(random: &mut Random, n: usize) -> Vec<f32> {
    (0..n).map(|_| random.normal() as f32).collect()
}

/// Every kind of file, on every level: scores, order and ties.
#[test]
fn every_kind_finds_what_the_definition_says() {
    let (mut random, folder) = (Random::new(91), folder("kinds"));
    for (m, count, d) in [
        (1, 40, 5),
        (2, 70, 33),
        (3, 45, 16),
        (5, 41, 24),
        (7, 40, 19),
    ] {
        let items = Items::new(&mut random, [m, count, d]);
        let mut queries = numbers(&mut random, 4 * d);
        queries[d..2 * d].fill(0.0);
        // Almost in an item's span.
        queries[2 * d..3 * d].copy_from_slice(&items.planes[0][5]);
        queries[2 * d] += 1e-3;
        for kinds in KINDS {
            let file = folder.join("items.gallery");
            let built = build(&items, kinds, &file);
            // Of single vectors two items are empty.
            let (absent, empty) = if m == 1 { (2, 2) } else { (m + 1, 1) };
            assert_eq!((built.absent, built.empty), (absent, empty));
            assert_eq!((built.items, built.dependent), (count, 0));
            let gallery = Gallery::open(&file).expect("a gallery");
            let stored = items.rounded(kinds[1]);
            for level in Level::available() {
                let threads = Threads::new(level, 1).expect("a thread");
                for measure in MEASURES {
                    // All items are candidates.
                    let found = search(&gallery, &threads, by(measure, count + 5), &queries);
                    for (query, found) in queries.chunks(d).zip(&found) {
                        let what = format!("{level} {kinds:?} {measure:?} m={m}");
                        check(&what, &stored, measure, query, found);
                    }
                }
            }
        }
    }
}

fn check(what: &str, items: &Items, measure: Measure, query: &[f32], found: &[Found]) {
    if query.iter().all(|x| *x == 0.0) {
        assert!(found.is_empty(), "{what}");
        return;
    }
    let there = (0..items.len()).filter(|j| !items.vectors(*j).is_empty());
    assert_eq!(found.len(), there.count(), "{what}");
    for Found { item, score } in found {
        let (want, unit) = items.score(measure, query, *item).expect("a candidate");
        let error = (f64::from(*score) - want).abs();
        assert!(error <= 1e-6 * unit, "{what}: item {item}: {score} {want}");
    }
    let in_order = |pair: &[Found]| {
        let [a, b] = pair else { return true };
        measure.order().before((a.score, a.item), (b.score, b.item))
    };
    assert!(found.windows(2).all(in_order), "{what}");
    // The equal items follow each other.
    let place = |j| found.iter().position(|found| found.item == j);
    let (first, last) = (
        place(1).expect("item 1"),
        place(items.len() - 1).expect("its equal"),
    );
    assert_eq!(last, first + 1, "{what}");
}

/// The candidates that 8 and 16 bits find hold the nearest items.
#[test]
fn a_scan_of_few_bits_finds_what_f32_finds() {
    let (mut random, folder) = (Random::new(92), folder("agreement"));
    let (m, count, d) = (2, 3000, 64);
    let items = Items::new(&mut random, [m, count, d]);
    let n = 200;
    let queries = numbers(&mut random, n * d);
    let threads = Threads::new(Level::detect(), 2).expect("threads");
    let file = folder.join("items.gallery");
    let open = |kinds| {
        build(&items, kinds, &file);
        Gallery::open(&file).expect("a gallery")
    };
    let exact = open([Kind::F32; 2]);
    for kinds in [[Kind::Int8, Kind::F32], [F16, Kind::F32], [BF16, Kind::F32]] {
        let gallery = open(kinds);
        for measure in MEASURES {
            let want = search(&exact, &threads, by(measure, 10), &queries);
            let got = search(&gallery, &threads, by(measure, 10), &queries);
            let pairs = want.iter().zip(&got);
            let same = pairs
                .filter(|(want, got)| want[0].item == got[0].item)
                .count();
            assert!(same * 100 >= n * 99, "{kinds:?} {measure:?}: {same} of {n}");
        }
    }
}

#[test]
fn threads_and_batches_change_no_bit() {
    let (mut random, folder) = (Random::new(93), folder("threads"));
    let (count, d) = (2000, 24);
    let items = Items::new(&mut random, [2, count, d]);
    let queries = numbers(&mut random, 7 * d);
    for kinds in KINDS {
        let file = folder.join("items.gallery");
        build(&items, kinds, &file);
        let gallery = Gallery::open_unchecked(&file).expect("a gallery");
        for measure in MEASURES {
            let run = |threads| {
                let threads = Threads::new(Level::detect(), threads).expect("threads");
                search(&gallery, &threads, by(measure, 12), &queries)
            };
            let one = run(1);
            assert!(one.iter().all(|found| found.len() == 12));
            for threads in [2, 3, 8] {
                assert_eq!(
                    run(threads),
                    one,
                    "{kinds:?} {measure:?} on {threads} threads"
                );
            }
        }
    }
}

#[test]
fn equal_items_come_by_their_index_and_no_more_than_there_are() {
    let (mut random, folder) = (Random::new(94), folder("ties"));
    let row = numbers(&mut random, 12);
    let other = numbers(&mut random, 12);
    // 600 items, all of them equal, in three tiles.
    let items = Items {
        planes: vec![vec![row; 600], vec![other; 600]],
        d: 12,
    };
    let queries = numbers(&mut random, 2 * 12);
    for kinds in KINDS {
        let file = folder.join("items.gallery");
        build(&items, kinds, &file);
        let gallery = Gallery::open(&file).expect("a gallery");
        for threads in [1, 4] {
            let threads = Threads::new(Level::detect(), threads).expect("threads");
            for top in [1, 16, 100, 1024] {
                for found in search(&gallery, &threads, by(Measure::Distance, top), &queries) {
                    let indices: Vec<usize> = found.iter().map(|found| found.item).collect();
                    assert!(
                        indices.iter().copied().eq(0..top.min(600)),
                        "{kinds:?} {top}"
                    );
                }
            }
        }
        let none = search(
            &gallery,
            &Threads::new(Level::detect(), 1).expect("a thread"),
            by(Measure::Volume, 3),
            &[],
        );
        assert!(none.is_empty());
    }
}

#[test]
fn dependent_vectors_are_counted_and_ranked_by_the_distance() {
    let (mut random, folder) = (Random::new(95), folder("dependent"));
    let mut items = Items::new(&mut random, [2, 50, 20]);
    items.planes[1][7] = items.planes[0][7].clone();
    let queries = numbers(&mut random, 20);
    let threads = Threads::new(Level::detect(), 1).expect("a thread");
    for kinds in KINDS {
        let file = folder.join("items.gallery");
        assert_eq!(build(&items, kinds, &file).dependent, 1);
        let gallery = Gallery::open(&file).expect("a gallery");
        assert_eq!(gallery.dependent(), 1);
        let found = search(&gallery, &threads, by(Measure::Volume, 1), &queries);
        assert_eq!(
            found[0][0],
            Found {
                item: 7,
                score: 0.0
            }
        );
        let found = search(&gallery, &threads, by(Measure::Distance, 60), &queries);
        let found = found[0].iter().find(|found| found.item == 7);
        assert!(found.expect("item 7").score > 0.1);
    }
}

#[test]
fn wrong_options_and_queries_are_named() {
    let (mut random, folder) = (Random::new(96), folder("options"));
    let items = Items::new(&mut random, [2, 30, 8]);
    let file = folder.join("items.gallery");
    build(&items, [Kind::Int8, Kind::F32], &file);
    let gallery = Gallery::open(&file).expect("a gallery");
    assert_eq!((gallery.items(), gallery.dimensions()), (30, 8));
    assert_eq!(gallery.modalities(), ["m0", "m1"]);
    let threads = Threads::new(Level::detect(), 1).expect("a thread");
    let refused = |options| {
        let searcher = Searcher::new(&gallery, &threads, options);
        searcher.expect_err("wrong").to_string()
    };
    assert!(refused(by(Measure::Volume, 0)).contains("--top: 0"));
    assert!(refused(by(Measure::Volume, 1025)).contains("--top: 1025"));
    let few = Options {
        candidates: Some(4),
        ..by(Measure::Volume, 5)
    };
    assert!(refused(few).contains("--candidates: 4"));
    let searcher = Searcher::new(&gallery, &threads, by(Measure::Volume, 5)).expect("options");
    assert_eq!(searcher.candidates(), Some(52));
    let error = searcher.nearest(&[1.0; 9]).expect_err("no whole row");
    assert!(
        error.to_string().contains("9 numbers: rows of 8"),
        "{error}"
    );
    let mut queries = [1.0; 24];
    queries[17] = f32::NAN;
    let error = searcher.nearest(&queries).expect_err("NaN");
    assert!(error.to_string().contains("row 2"), "{error}");
    queries[17] = 3e30;
    let error = searcher.nearest(&queries).expect_err("too long");
    assert!(error.to_string().contains("row 2"), "{error}");
}

#[test]
fn what_cannot_be_built_is_named_and_leaves_no_file() {
    let (mut random, folder) = (Random::new(97), folder("wrong"));
    let items = Items::new(&mut random, [2, 30, 8]);
    let file = folder.join("items.gallery");
    let options = Build {
        bases: Kind::F32,
        vectors: Kind::F32,
        level: Level::detect(),
    };
    let stop = AtomicBool::new(false);
    let refused = |table: &Table, options: &Build| {
        let built = gallery::build(table, options, &file, &stop, |_| ());
        let left = std::fs::read_dir(&folder).expect("the folder").count();
        assert_eq!(left, 0, "files are left behind");
        built.expect_err("wrong").to_string()
    };
    let mut table = items.table();
    table.modalities[1] = Rows::new("m1", 8, vec![1.0; 29 * 8]).expect("rows");
    let error = refused(&table, &options);
    assert!(error.contains("m1") && error.contains("[29, 8]"), "{error}");
    table.modalities[1] = Rows::new("m0", 8, vec![1.0; 30 * 8]).expect("rows");
    let error = refused(&table, &options);
    assert!(error.contains("\"m0\" stands twice"), "{error}");
    let mut odd = vec![1.0; 30 * 8];
    odd[27 * 8 + 3] = f32::INFINITY;
    table.modalities[1] = Rows::new("m1", 8, odd.clone()).expect("rows");
    let error = refused(&table, &options);
    assert!(error.contains("\"m1\": row 27, column 3 is inf"), "{error}");
    odd[27 * 8 + 3] = 7e4;
    table.modalities[1] = Rows::new("m1", 8, odd.clone()).expect("rows");
    let halves = Build {
        vectors: F16,
        ..options
    };
    let error = refused(&table, &halves);
    assert!(
        error.contains("\"m1\": row 27, column 3 is 70000: beyond the range of f16"),
        "{error}"
    );
    odd[27 * 8 + 3] = 3e20;
    table.modalities[1] = Rows::new("m1", 8, odd).expect("rows");
    let error = refused(&table, &options);
    assert!(error.contains("\"m1\": row 27 is too long"), "{error}");
    let none = Table {
        modalities: Vec::new(),
        labels: None,
    };
    assert!(refused(&none, &options).contains("0 modalities: 1 to 7"));
    let empty = Table {
        modalities: vec![Rows::new("m0", 8, Vec::new()).expect("no rows")],
        labels: None,
    };
    assert!(refused(&empty, &options).contains("no rows"));
    let table = Table {
        labels: Some(vec![1; 29]),
        ..items.table()
    };
    assert!(refused(&table, &options).contains("30 rows and 29 labels"));
    let eight = Build {
        vectors: Kind::Int8,
        ..options
    };
    assert!(refused(&items.table(), &eight).contains("--vectors"));
}

#[test]
fn a_build_that_is_stopped_leaves_what_was_there() {
    let (mut random, folder) = (Random::new(98), folder("stopped"));
    let items = Items::new(&mut random, [1, 600, 4]);
    let file = folder.join("items.gallery");
    std::fs::write(&file, "old").expect("a file");
    let options = Build {
        bases: Kind::F32,
        vectors: Kind::F32,
        level: Level::detect(),
    };
    let stop = AtomicBool::new(false);
    let mut heard = Vec::new();
    let built = gallery::build(&items.table(), &options, &file, &stop, |done| {
        heard.push(done);
        stop.store(done > 500, Ordering::Relaxed);
    });
    assert_eq!((built.expect("stopped"), heard), (None, vec![256, 512]));
    assert_eq!(std::fs::read(&file).expect("the file"), b"old");
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 1);
}

/// Every byte of a small file, and every length: no change of it goes unnoticed.
#[test]
fn damage_anywhere_is_found() {
    let (mut random, folder) = (Random::new(99), folder("damage"));
    let items = Items::new(&mut random, [2, 5, 3]);
    for kinds in [[Kind::F32; 2], [Kind::Int8, F16]] {
        let file = folder.join("items.gallery");
        let options = Build {
            bases: kinds[0],
            vectors: kinds[1],
            level: Level::detect(),
        };
        let table = Table {
            labels: Some(vec![3, 1, 4, 1, 5]),
            ..items.table()
        };
        let stop = AtomicBool::new(false);
        gallery::build(&table, &options, &file, &stop, |_| ()).expect("a gallery");
        let gallery = Gallery::open(&file).expect("a gallery");
        assert_eq!(gallery.labels(), Some(vec![3, 1, 4, 1, 5]));
        let sound = std::fs::read(&file).expect("the file");
        let changed = folder.join("changed.gallery");
        let mut seen = std::collections::BTreeSet::new();
        let mut refused = |bytes: &[u8], what: &str| {
            std::fs::write(&changed, bytes).expect("a file");
            let error = Gallery::open(&changed).expect_err(what).to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(error.contains("changed.gallery"), "{error}");
            for name in [
                "vectors", "bases", "scales", "volume", "cosines", "present", "labels",
            ] {
                if error.contains(&format!("tensor \"{name}\": damaged")) {
                    seen.insert(name);
                }
            }
        };
        for at in 0..sound.len() {
            for flip in [1, 0x80] {
                let mut bytes = sound.clone();
                bytes[at] ^= flip;
                refused(&bytes, &format!("byte {at}"));
            }
        }
        for length in 0..sound.len() {
            refused(&sound[..length], &format!("{length} bytes"));
        }
        refused(&[&sound[..], &[0]].concat(), "a byte more");
        let tensors = 6 + usize::from(kinds[0] == Kind::Int8);
        assert_eq!(seen.len(), tensors, "{seen:?}");
    }
    let missing = Gallery::open(&folder.join("nowhere")).expect_err("no file");
    assert!(missing.to_string().contains("nowhere"));
    assert!(Gallery::open(&folder).is_err());
}

#[test]
fn another_version_and_other_files_are_told_apart() {
    let (mut random, folder) = (Random::new(100), folder("version"));
    let items = Items::new(&mut random, [1, 5, 3]);
    let file = folder.join("items.gallery");
    build(&items, [Kind::F32; 2], &file);
    let text = std::fs::read(&file).expect("the file");
    let change = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let mut bytes = text.clone();
        let at = text
            .windows(from.len())
            .position(|window| window == from.as_bytes());
        let at = at.unwrap_or_else(|| panic!("{from}"));
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&file, bytes).expect("a file");
        Gallery::open(&file).expect_err("changed").to_string()
    };
    let error = change("\"version\":\"1\"", "\"version\":\"2\"");
    assert!(
        error.contains("version 2, and this program reads version 1"),
        "{error}"
    );
    let error = change("rivergram-gallery", "rivergram-gallerx");
    assert!(error.contains("no gallery"), "{error}");
    let error = change("\"m0\\\"]", "\"mx\\\"]");
    assert!(error.contains("header"), "{error}");
    let error = change("[1, 5, 3]", "[1, 3, 5]");
    assert!(error.contains("items.gallery"), "{error}");
}
