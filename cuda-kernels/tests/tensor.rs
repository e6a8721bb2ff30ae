//! The kernels on tensor cores under emulation, against core in double precision.

mod support;

use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::retrieval::{Order as Ranking, TopK};
use rivergram_cuda_kernels::device::{Format, Global, Launch, Memory, Order, Thread};
use rivergram_cuda_kernels::kernels::pairs::Pairs;
use rivergram_cuda_kernels::kernels::search::{
    Nearest, Scan, merge, nearest_bf16, nearest_f16, nearest_i8,
};
use rivergram_cuda_kernels::kernels::tensor::{
    Narrow, Operands, ROWS, SHARED, THREADS, TensorVolumes, narrow, row_words, volumes_bf16,
    volumes_tf32,
};
use rivergram_cuda_kernels::lanes::F32;
use support::pairs::Case;
use support::{ORDERS, Random, assert_close, double, run};

/// Largest error of a volume of unit vectors outside of near pairs.
const TF32: f64 = 2e-3;
const BF16: f64 = 1e-2;
/// Largest relative error of near pairs, and of what the formats hold exactly.
const EXACT: f64 = 1e-6;

type Kernel = fn(Thread<'_>, TensorVolumes);
const PRECISIONS: [(Format, f64, Kernel); 2] = [
    (Format::Tf32, TF32, volumes_tf32),
    (Format::Bf16, BF16, volumes_bf16),
];

/// Rows in a narrow format on the device, and their scales.
fn narrow_rows(
    memory: &mut Memory,
    order: Order,
    numbers: Global<F32>,
    d: usize,
    format: Format,
) -> (Global<u32>, Global<F32>) {
    let rows = numbers.len() / d;
    let row_words = row_words(format, d as u32);
    let p = Narrow {
        numbers,
        words: memory.room(rows * row_words as usize),
        scales: memory.room(rows),
        rows: rows as u32,
        d: d as u32,
        row_words,
        format: format as u32,
    };
    let launch = Launch::per_warp("narrow", rows as u32);
    run(memory, launch, order, narrow, p);
    (p.words, p.scales)
}

fn operands(memory: &mut Memory, order: Order, pairs: Pairs, format: Format) -> Operands {
    let d = pairs.items.d as usize;
    let (anchors, anchor_scales) = narrow_rows(memory, order, pairs.anchors, d, format);
    let (q, q_scales) = narrow_rows(memory, order, pairs.items.q, d, format);
    Operands {
        anchors,
        anchor_scales,
        q,
        q_scales,
        row_words: row_words(format, pairs.items.d),
        residuals: 1,
    }
}

/// V or d of every pair, on so many blocks.
fn matrix(case: &Case, order: Order, measure: u32, blocks: u32, of: (Format, Kernel)) -> Vec<f32> {
    let [b1, _, b2, _] = case.sizes;
    let mut memory = Memory::new();
    let pairs = case.pairs(&mut memory, measure, 8 * blocks as usize);
    case.prepare(&mut memory, order, pairs);
    let operands = operands(&mut memory, order, pairs, of.0);
    let out = memory.room(b1 * b2);
    let launch = Launch {
        kernel: "volumes",
        blocks: [blocks, 1],
        threads: THREADS,
        shared: SHARED,
    };
    let p = TensorVolumes {
        pairs,
        operands,
        out,
    };
    run(&mut memory, launch, order, of.1, p);
    memory.numbers_f32(out)
}

/// Items of axes, each its own, times a power of two; anchors of integers: what every format holds exactly. A fragment that
/// lies elsewhere than the kernel thinks gives other numbers.
fn axes(seed: u64, sizes: [usize; 4]) -> Case {
    let [_, m, b2, d] = sizes;
    let mut case = Case::random(seed, sizes);
    case.name = "axes";
    let mut random = Random(seed);
    case.items.fill(0.0);
    for j in 0..b2 {
        for p in 0..m {
            let axis = (random.below(d / m)) * m + p;
            case.items[(p * b2 + j) * d + axis] = [-2.0, -1.0, 1.0, 2.0][random.below(4)];
        }
    }
    for anchor in case.anchors.chunks_mut(d) {
        for x in &mut *anchor {
            *x = random.below(9) as f32 - 4.0;
        }
        // So that eight bits hold the row as it is.
        anchor[0] = 127.0;
    }
    case
}

/// Vectors of length 1, as the loss has them.
fn unit(mut case: Case) -> Case {
    let d = case.sizes[3];
    for x in case.anchors.chunks_mut(d).chain(case.items.chunks_mut(d)) {
        let norm = double(x).iter().map(|x| x * x).sum::<f64>().sqrt();
        x.iter_mut()
            .for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
    case
}

#[test]
fn products_of_what_a_format_holds_are_exact() {
    for (seed, sizes) in [
        [1, 1, 1, 1],
        [130, 1, 70, 33],
        [129, 2, 65, 64],
        [7, 3, 130, 24],
    ]
    .into_iter()
    .enumerate()
    {
        let case = axes(seed as u64, sizes);
        let want = case.oracle(Measure::Volume);
        for (format, _, kernel) in PRECISIONS {
            let [got, other] = ORDERS.map(|order| matrix(&case, order, 0, 3, (format, kernel)));
            let scale = |pair: usize| want[pair].max(1e-3 * case.size(Measure::Volume, pair));
            assert_close(&format!("{format:?} {sizes:?}"), &got, &want, scale, EXACT);
            assert_eq!(got, other);
        }
    }
}

#[test]
fn unit_vectors_keep_their_bound() {
    let mut cases = vec![unit(Case::random(1, [9, 2, 70, 512]))];
    for (seed, sigma) in [0.01, 0.3, 0.7, 1.0, 1.5].into_iter().enumerate() {
        cases.push(unit(Case::cone(10 + seed as u64, [6, 2, 66, 512], sigma)));
    }
    // Components of one size, whose roundings do not cancel.
    let mut signs = Case::cone(20, [6, 2, 66, 512], 1.0);
    for x in signs.anchors.iter_mut().chain(&mut signs.items) {
        *x = x.signum() * 1.37;
    }
    cases.push(unit(signs));
    for case in cases {
        let want = case.oracle(Measure::Distance);
        for (format, cap, kernel) in PRECISIONS {
            for measure in [Measure::Volume, Measure::Distance] {
                let code = u32::from(measure == Measure::Distance);
                let of_measure = case.oracle(measure);
                let got = matrix(&case, Order::Forward, code, 2, (format, kernel));
                assert_close(case.name, &got, &of_measure, |_| 1.0, cap);
                for (pair, got) in got.iter().enumerate() {
                    // Below a quarter by more than the format errs by.
                    if want[pair] * want[pair] < 0.25 - 2.0 * cap {
                        let error = (f64::from(*got) - of_measure[pair]).abs();
                        assert!(error <= EXACT * of_measure[pair], "{}: {error}", case.name);
                    }
                }
            }
        }
    }
}

#[test]
fn any_sizes_keep_the_bound_of_their_lengths() {
    for case in Case::all() {
        for (format, cap, kernel) in PRECISIONS {
            let want = case.oracle(Measure::Volume);
            let results = ORDERS.map(|order| matrix(&case, order, 0, 2, (format, kernel)));
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&results[0]), bits(&results[1]), "{}", case.name);
            let scale = |pair| case.size(Measure::Volume, pair);
            assert_close(case.name, &results[0], &want, scale, cap);
        }
    }
}

#[test]
fn a_grid_of_any_size_gives_the_same_bits() {
    let case = Case::random(40, [300, 1, 140, 9]);
    let of = (Format::Tf32, volumes_tf32 as Kernel);
    let one = matrix(&case, Order::Forward, 0, 1, of);
    for blocks in [2, 9, 12] {
        assert_eq!(matrix(&case, Order::Forward, 0, blocks, of), one);
    }
}

#[test]
fn rows_are_rounded_to_nearest() {
    let x = [
        1.0,
        -1.0 - 2.0_f32.powi(-11),
        1.0 + 2.0_f32.powi(-8),
        3.0 + 2.0_f32.powi(-7),
        0.1,
        -127.0,
        0.0,
    ];
    for (format, want) in [
        (
            Format::Tf32,
            vec![
                1.0,
                -1.0 - 2.0_f32.powi(-10),
                1.003_906_2,
                3.007_812_5,
                0.099_975_586,
                -127.0,
                0.0,
            ],
        ),
        (
            Format::F16,
            vec![
                1.0,
                -1.0,
                1.003_906_2,
                3.007_812_5,
                0.099_975_586,
                -127.0,
                0.0,
            ],
        ),
        (
            Format::Bf16,
            vec![1.0, -1.0, 1.0, 3.0, 0.100_097_656, -127.0, 0.0],
        ),
        (Format::I8, vec![1.0, -1.0, 1.0, 3.0, 0.0, -127.0, 0.0]),
    ] {
        let mut memory = Memory::new();
        let numbers = memory.copy_f32(&x);
        let (words, scales) = narrow_rows(&mut memory, Order::Forward, numbers, x.len(), format);
        assert_eq!(memory.numbers_f32(scales), [1.0]);
        let words = memory.numbers(words);
        assert_eq!(words.len(), 16);
        let numbers: Vec<f32> = words
            .into_iter()
            .flat_map(|word| widen(format, word))
            .collect();
        assert_eq!(numbers[..x.len()], want, "{format:?}");
        assert!(numbers[x.len()..].iter().all(|x| *x == 0.0));
    }
}

/// What a word holds, by the definition of its format.
fn widen(format: Format, word: u32) -> Vec<f32> {
    let half = |bits: u32| match format {
        Format::Bf16 => f32::from_bits(bits << 16),
        _ => {
            let (exponent, fraction) = ((bits >> 10 & 31) as i32, (bits & 1023) as f32);
            let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
            let one = if exponent == 0 { 0.0 } else { 1.0 };
            sign * (one + fraction / 1024.0) * 2.0_f32.powi(exponent.max(1) - 15)
        }
    };
    match format {
        Format::Tf32 => vec![f32::from_bits(word)],
        Format::I8 => word.to_le_bytes().map(|x| f32::from(x as i8)).to_vec(),
        _ => vec![half(word & 0xffff), half(word >> 16)],
    }
}

type ScanKernel = fn(Thread<'_>, Scan);
/// Without near pairs from their residual, and with them.
type ScanKernels = [ScanKernel; 2];
const GALLERIES: [(Format, f64, ScanKernels); 3] = [
    (
        Format::F16,
        TF32,
        [nearest_f16::<false>, nearest_f16::<true>],
    ),
    (
        Format::Bf16,
        BF16,
        [nearest_bf16::<false>, nearest_bf16::<true>],
    ),
    (Format::I8, 2e-2, [nearest_i8::<false>, nearest_i8::<true>]),
];

/// The best of each anchor on the device.
fn nearest_of(
    case: &Case,
    order: Order,
    best: u32,
    blocks: u32,
    of: (Format, ScanKernels),
    residuals: bool,
) -> Vec<Vec<(f32, usize)>> {
    let [b1, ..] = case.sizes;
    let mut memory = Memory::new();
    let down = (b1 as u32).div_ceil(ROWS);
    let mut pairs = case.pairs(&mut memory, 0, (8 * blocks * down) as usize);
    case.prepare(&mut memory, order, pairs);
    let operands = operands(&mut memory, order, pairs, of.0);
    if !residuals {
        // All that is left of a gallery that is kept narrow.
        pairs.anchors = memory.room(0);
        pairs.items.vectors = memory.room(0);
        pairs.items.q = memory.room(0);
        pairs.items.r = memory.room(0);
        pairs.residuals = memory.room(0);
    }
    let lists = b1 * (blocks * best) as usize;
    let nearest = Nearest {
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
        threads: THREADS,
        shared: SHARED,
    };
    let p = Scan { nearest, operands };
    run(&mut memory, launch, order, of.1[usize::from(residuals)], p);
    let launch = Launch::per_warp("merge", b1 as u32);
    run(&mut memory, launch, order, merge, nearest);
    let scores = memory.numbers_f32(nearest.best_scores);
    let indices = memory.numbers(nearest.best_indices);
    let found: Vec<(f32, usize)> = scores
        .into_iter()
        .zip(indices.into_iter().map(|index| index as usize))
        .collect();
    found
        .chunks(best as usize)
        .map(|list| {
            let is_one = |found: &&(f32, usize)| found.1 != u32::MAX as usize;
            list.iter().filter(is_one).copied().collect()
        })
        .collect()
}

#[test]
fn a_gallery_of_what_a_format_holds_gives_the_nearest_of_core() {
    let mut case = axes(3, [131, 2, 200, 32]);
    // Nothing is there of one, and one anchor is zero.
    for p in 0..2 {
        case.present[p * 200 + 5] = false;
    }
    case.anchors[32..64].fill(0.0);
    let want = case.oracle(Measure::Volume);
    for (format, _, kernels) in GALLERIES {
        let of = (format, kernels);
        let found = nearest_of(&case, Order::Forward, 7, 2, of, true);
        assert_eq!(found, nearest_of(&case, Order::Backward, 7, 2, of, true));
        for blocks in [1, 3] {
            assert_eq!(
                found,
                nearest_of(&case, Order::Forward, 7, blocks, of, true)
            );
        }
        for (i, (found, want)) in found.iter().zip(want.chunks(200)).enumerate() {
            let mut top = TopK::<f64, 7>::new(Ranking::Ascending);
            for (j, v) in want.iter().enumerate().filter(|(j, _)| *j != 5 && i != 1) {
                top.push(*v, 1000 + j);
            }
            let want = top.best().iter().map(|best| best.0);
            for ((got, _), want) in found.iter().zip(want) {
                assert!(
                    (f64::from(*got) - want).abs() <= 2.0 * EXACT * want,
                    "{got} {want}"
                );
            }
            assert_eq!(found.len(), top.best().len());
            // What is as good goes by its index.
            assert!(found.is_sorted_by(|a, b| a.0 < b.0 || a.0 == b.0 && a.1 < b.1));
        }
    }
}

#[test]
fn the_nearest_of_a_narrow_gallery_are_near() {
    const BEST: u32 = 9;
    for case in [
        unit(Case::cone(60, [5, 2, 150, 512], 0.7)),
        unit(Case::cone(61, [9, 1, 80, 100], 0.5)),
        unit(Case::cone(62, [3, 3, 70, 64], 0.2)),
    ] {
        let b2 = case.sizes[2];
        let want = case.oracle(Measure::Volume);
        for (format, cap, kernels) in GALLERIES {
            for residuals in [true, false] {
                let found =
                    nearest_of(&case, Order::Forward, BEST, 2, (format, kernels), residuals);
                for (found, want) in found.iter().zip(want.chunks(b2)) {
                    assert_eq!(found.len(), BEST as usize);
                    // Without residuals the error of d² is what is bounded.
                    let of = |v: f64| if residuals { v } else { v * v };
                    let wrong = |(score, index): &(f32, usize)| {
                        (of(f64::from(*score)) - of(want[index - 1000])).abs()
                    };
                    let most = found.iter().map(wrong).fold(0.0, f64::max);
                    assert!(most <= cap, "{} {format:?} {residuals}: {most}", case.name);
                    let worst = found.last().map_or(0.0, |found| of(f64::from(found.0)));
                    for (j, v) in want.iter().enumerate() {
                        let is_found = found.iter().any(|found| found.1 == 1000 + j);
                        assert!(is_found || of(*v) >= worst - cap, "{} {j}", case.name);
                    }
                }
            }
        }
    }
}
