//! The kernels of GRAM under emulation, against core in double precision.

mod support;

use rivergram_core::gram::basis::{Item, Rows, item_len, orthonormalise};
use rivergram_core::gram::contrastive::ZeroRows;
use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::retrieval::{Order as Ranking, TopK};
use rivergram_core::gram::search::{self, Search, nearest_workspace_len};
use rivergram_core::lanes::One;
use rivergram_core::ops;
use rivergram_cuda_kernels::device::{Launch, Memory, Order};
use rivergram_cuda_kernels::kernels::pairs::{self, TILE, Volumes, volumes};
use rivergram_cuda_kernels::kernels::prepare::{Normalise, normalise};
use rivergram_cuda_kernels::kernels::search::{Nearest, SHARED, merge, nearest};
use support::pairs::Case;
use support::{ORDERS, Random, assert_close, double, run};

/// Largest relative error of a volume, a distance, an entry of R.
const VOLUME: f64 = 1e-6;

/// V or d of every pair on the device.
fn matrix_of(case: &Case, order: Order, measure: u32, blocks: u32) -> Vec<f32> {
    let [b1, _, b2, _] = case.sizes;
    let mut memory = Memory::new();
    let pairs = case.pairs(&mut memory, measure, 8 * blocks as usize);
    case.prepare(&mut memory, order, pairs);
    let out = memory.room(b1 * b2);
    let launch = Launch {
        kernel: "volumes",
        blocks: [blocks, 1],
        threads: pairs::THREADS,
        shared: pairs::SHARED,
    };
    run(&mut memory, launch, order, volumes, Volumes { pairs, out });
    memory.numbers_f32(out)
}

#[test]
fn vectors_are_normalised_as_in_core() {
    let (rows, d) = (11, 70);
    let mut x = Random(1).normals(rows * d);
    x[2 * d..3 * d].fill(0.0);
    x[3 * d..4 * d].fill(1e-20);
    x[4 * d..5 * d].fill(1e18);
    x[5 * d] = f32::INFINITY;
    x[6 * d] = f32::NAN;
    x[7 * d] = f32::NAN;
    let mut present = [1.0; 11];
    present[7] = 0.0;
    for order in ORDERS {
        let mut memory = Memory::new();
        let p = Normalise {
            vectors: memory.copy_f32(&x),
            present: memory.copy_f32(&present),
            unit: memory.room(rows * d),
            there: memory.room(rows),
            inverse_norm: memory.room(rows),
            rows: rows as u32,
            d: d as u32,
        };
        run(
            &mut memory,
            Launch::per_warp("normalise", rows as u32),
            order,
            normalise,
            p,
        );
        let there: Vec<bool> = memory
            .numbers_f32(p.there)
            .iter()
            .map(|x| *x == 1.0)
            .collect();
        assert!((0..rows).all(|row| there[row] != [2, 3, 7].contains(&row)));
        let (unit, inverse) = (
            memory.numbers_f32(p.unit),
            memory.numbers_f32(p.inverse_norm),
        );
        for (row, (unit, x)) in unit.chunks(d).zip(x.chunks(d)).enumerate() {
            let want = ops::inverse_norm(ops::dot(One::new(), &double(x), &double(x)));
            match row {
                5 | 6 => assert!(inverse[row].is_nan()),
                // Absent, or zero in single precision.
                2 | 3 | 7 => assert!(inverse[row] == 0.0 && unit.iter().all(|x| *x == 0.0)),
                _ => {
                    let want: Vec<f64> = double(x).iter().map(|x| x * want).collect();
                    assert_close("unit", unit, &want, |_| 1.0, 2e-7);
                }
            }
        }
    }
}

#[test]
fn bases_are_those_of_core() {
    for case in Case::all() {
        let [_, m, b2, d] = case.sizes;
        let results = ORDERS.map(|order| {
            let mut memory = Memory::new();
            let p = case.pairs(&mut memory, 0, 1);
            case.prepare(&mut memory, order, p);
            let i = p.items;
            [i.q, i.r, i.volume, i.any].map(|x| memory.numbers_f32(x))
        });
        let bits = |x: &[Vec<f32>; 4]| {
            x.clone()
                .map(|x| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        assert_eq!(bits(&results[0]), bits(&results[1]));
        let [q, r, volume, any] = &results[0];
        let x = double(&case.items);
        let mut storage = vec![0.0; item_len(m, d)];
        for j in 0..b2 {
            let mut item = Item::split(&mut storage, m, d);
            let there: Vec<bool> = (0..m).map(|p| case.present[p * b2 + j]).collect();
            let rows = Rows::of_item(&x, b2, d, j, usize::MAX);
            let want = orthonormalise(One::new(), rows, there.iter().copied(), &mut item);
            let what = format!("{} item {j}", case.name);
            let size: f64 = (0..m)
                .filter(|p| there[*p])
                .map(|p| case.norm(&case.items[(p * b2 + j) * d..][..d]))
                .product();
            let scale = if want == 0.0 { size } else { want };
            assert_close(&what, &volume[j..=j], &[want], |_| scale, VOLUME);
            assert_eq!(any[j] == 1.0, there.contains(&true), "{what}");
            // Rᵀ·Q is the item again, and Q is orthonormal but for rows that are zero.
            for p in (0..m).filter(|p| there[*p]) {
                let norm = case.norm(&case.items[(p * b2 + j) * d..][..d]);
                for i in 0..d {
                    let of_row = |s: usize| {
                        let r = r[j * m * m + s * m + p];
                        f64::from(r) * f64::from(q[(s * b2 + j) * d + i])
                    };
                    let got: f64 = (0..m).map(of_row).sum();
                    let error = (got - x[(p * b2 + j) * d + i]).abs();
                    assert!(error <= 1e-6 * norm, "{what}, vector {p}: {error:e}");
                }
                for s in 0..=p {
                    let row = |s: usize| double(&q[(s * b2 + j) * d..][..d]);
                    let got = ops::dot(One::<f64>::new(), &row(s), &row(p));
                    let is_zero = r[j * m * m + p * m + p] == 0.0;
                    let want = if s == p && !is_zero { 1.0 } else { 0.0 };
                    assert!((got - want).abs() <= 1e-6, "{what}: {s}, {p}: {got}");
                }
            }
        }
    }
}

#[test]
fn volumes_are_those_of_core() {
    for case in Case::all() {
        for (code, measure) in [(0, Measure::Volume), (1, Measure::Distance)] {
            let want = case.oracle(measure);
            let results = ORDERS.map(|order| matrix_of(&case, order, code, 2));
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&results[0]), bits(&results[1]), "{}", case.name);
            // Where a volume is 0, or all that f64 leaves of one.
            let scale = |pair| {
                let size = case.size(measure, pair);
                if want[pair] <= 1e-12 * size {
                    size
                } else {
                    want[pair]
                }
            };
            assert_close(case.name, &results[0], &want, scale, VOLUME);
        }
    }
}

#[test]
fn a_grid_of_any_size_gives_the_same_bits() {
    let case = Case::random(40, [130, 1, 70, 9]);
    let one = matrix_of(&case, Order::Forward, 0, 1);
    for blocks in [3, 6, 9] {
        assert_eq!(matrix_of(&case, Order::Forward, 0, blocks), one);
    }
}

/// The best of each anchor on the device.
fn nearest_of(
    case: &Case,
    order: Order,
    best: u32,
    measure: u32,
    blocks: u32,
) -> Vec<Vec<(f32, usize)>> {
    let [b1, ..] = case.sizes;
    let mut memory = Memory::new();
    let down = (b1 as u32).div_ceil(TILE);
    let pairs = case.pairs(&mut memory, measure, (8 * blocks * down) as usize);
    case.prepare(&mut memory, order, pairs);
    let lists = b1 * (blocks * best) as usize;
    let p = Nearest {
        pairs,
        scores: memory.room(lists),
        indices: memory.room(lists),
        best_scores: memory.room(b1 * best as usize),
        best_indices: memory.room(b1 * best as usize),
        best,
        blocks,
        offset: 1000,
        zeros_are_missing: 1,
    };
    let launch = Launch {
        kernel: "nearest",
        blocks: [blocks, down],
        threads: pairs::THREADS,
        shared: SHARED,
    };
    run(&mut memory, launch, order, nearest, p);
    run(
        &mut memory,
        Launch::per_warp("merge", b1 as u32),
        order,
        merge,
        p,
    );
    let scores = memory.numbers_f32(p.best_scores);
    let indices = memory.numbers(p.best_indices);
    let found: Vec<(f32, usize)> = scores
        .into_iter()
        .zip(indices)
        .map(|(score, index)| (score, index as usize))
        .collect();
    found
        .chunks(best as usize)
        .map(|list| {
            list.iter()
                .copied()
                .filter(|(_, i)| *i != u32::MAX as usize)
                .collect()
        })
        .collect()
}

/// The best by core, of the scores of the device: the same order, ties included.
fn ranked<const K: usize>(case: &Case, scores: &[f32]) -> Vec<Vec<(f32, usize)>> {
    let [_, m, b2, d] = case.sizes;
    let anchors = case.anchors.chunks(d);
    scores
        .chunks(b2)
        .zip(anchors)
        .map(|(scores, anchor)| {
            let mut top = TopK::<f32, K>::new(Ranking::Ascending);
            if case.norm(anchor) > 0.0 {
                for (j, score) in scores.iter().enumerate() {
                    if (0..m).any(|p| case.present[p * b2 + j]) {
                        top.push(*score, 1000 + j);
                    }
                }
            }
            top.best().to_vec()
        })
        .collect()
}

#[test]
fn the_nearest_are_those_of_core() {
    let mut cases = Case::all();
    cases.push(Case::random(50, [2, 1, 300, 3]));
    // Items that come twice: equal scores go to the lower index.
    let mut twins = Case::random(51, [3, 1, 140, 4]);
    let half = twins.items[..70 * 4].to_vec();
    twins.items[70 * 4..].copy_from_slice(&half);
    cases.push(twins);
    for case in cases {
        for measure in [0, 1] {
            let scores = matrix_of(&case, Order::Forward, measure, 1);
            for order in ORDERS {
                assert_eq!(
                    nearest_of(&case, order, 5, measure, 2),
                    ranked::<5>(&case, &scores),
                    "{}",
                    case.name
                );
            }
            assert_eq!(
                nearest_of(&case, Order::Forward, 1, measure, 3),
                ranked::<1>(&case, &scores)
            );
            assert_eq!(
                nearest_of(&case, Order::Forward, 32, measure, 1),
                ranked::<32>(&case, &scores)
            );
        }
    }
}

#[test]
fn the_nearest_are_those_of_a_search_in_core() {
    let case = Case::cone(60, [9, 2, 80, 24], 0.5);
    let [b1, m, _, d] = case.sizes;
    let search = Search {
        zero_rows: ZeroRows::Missing,
        offset: 1000,
        ..Search::by(Measure::Volume)
    };
    let mut top = vec![TopK::<f64, 3>::new(Ranking::Ascending); b1];
    let mut work = vec![0.0; nearest_workspace_len(b1, m, search.tile, d)];
    let (anchors, items) = (double(&case.anchors), double(&case.items));
    search::nearest(
        One::new(),
        search,
        &anchors,
        &items,
        None,
        case.sizes,
        &mut top,
        &mut work,
    )
    .expect("valid inputs");
    let found = nearest_of(&case, Order::Forward, 3, 0, 2);
    for (found, top) in found.iter().zip(&top) {
        let want: Vec<usize> = top.best().iter().map(|best| best.1).collect();
        let got: Vec<usize> = found.iter().map(|best| best.1).collect();
        assert_eq!(got, want);
    }
}
