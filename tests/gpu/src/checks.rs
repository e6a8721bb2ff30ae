//! The checks, operation by operation.

use rivergram::cuda::{Device, Failure};
use rivergram_core::eisl::{self, Select};
use rivergram_core::gram::contrastive::{Anchor, GramLoss, ZeroRows};
use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::retrieval::{Order, TopK};
use rivergram_core::gram::search::{self, Search, nearest_workspace_len};
use rivergram_core::lanes::One;
use rivergram_core::optim::rounding::Half;
use rivergram_core::optim::{AdamW, Optimizer};
use rivergram_tests::precision::SINGLE;

use crate::cases::{Against, Rows, Tuples, assert_close, double, norm, normals};
use crate::{golden, narrow, raw};

/// A check, by name.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Panics where the device is wrong.
    pub run: fn(&Device),
}

/// Every check.
pub const ALL: &[Check] = &[
    Check {
        name: "gram loss: golden values",
        run: golden::losses,
    },
    Check {
        name: "volume matrix: golden values",
        run: golden::volumes,
    },
    Check {
        name: "sequence loss: golden values",
        run: golden::sequences,
    },
    Check {
        name: "gram loss: losses and gradients are those of core",
        run: gram_losses,
    },
    Check {
        name: "gram loss: strips that fit the memory give the same loss",
        run: gram_strips,
    },
    Check {
        name: "gram loss: in TF32 losses and gradients are near those of core",
        run: narrow::losses,
    },
    Check {
        name: "gram loss: in TF32 strips that fit the memory give the same loss",
        run: narrow::loss_strips,
    },
    Check {
        name: "gram loss: twice the same bits",
        run: gram_twice,
    },
    Check {
        name: "gram loss: what core refuses is refused",
        run: gram_refused,
    },
    Check {
        name: "volume matrix: volumes and distances are those of core",
        run: volumes,
    },
    Check {
        name: "volume matrix: parts that fit the memory give the same bits",
        run: volumes_in_parts,
    },
    Check {
        name: "volume matrix: rounded volumes keep their bound, near pairs are exact",
        run: narrow::volumes,
    },
    Check {
        name: "volume matrix: rounded, parts that fit the memory give the same bits",
        run: narrow::volumes_in_parts,
    },
    Check {
        name: "volume matrix: on memory of the caller's the same",
        run: raw::volumes,
    },
    Check {
        name: "volume matrix: on memory of the caller's the same, rounded",
        run: raw::rounded_volumes,
    },
    Check {
        name: "volume matrix: memory of the caller's that does not do is refused",
        run: raw::volumes_refused,
    },
    Check {
        name: "search: the nearest are those of core",
        run: nearest,
    },
    Check {
        name: "search: a gallery in parts gives the same",
        run: nearest_in_parts,
    },
    Check {
        name: "search: on memory of the caller's the same",
        run: raw::nearest,
    },
    Check {
        name: "search: memory of the caller's that does not do is refused",
        run: raw::nearest_refused,
    },
    Check {
        name: "search: the candidates of a gallery in few bits are near",
        run: narrow::candidates,
    },
    Check {
        name: "search: a gallery in few bits, in parts, gives the same",
        run: narrow::candidates_in_parts,
    },
    Check {
        name: "sequence loss: losses and gradients are those of core",
        run: sequence_losses,
    },
    Check {
        name: "sequence loss: rows in parts give the same bits",
        run: sequences_in_parts,
    },
    Check {
        name: "sequence loss: of logits in bf16 losses and gradients are those of core, rounded once",
        run: half_sequence_losses,
    },
    Check {
        name: "sequence loss: rows of bf16 in parts give the same bits",
        run: half_sequences_in_parts,
    },
    Check {
        name: "sequence loss: logits in 16 bits without a kernel are told",
        run: half_sequences_refused,
    },
    Check {
        name: "sequence loss: on memory of the caller's the same",
        run: raw::sequences,
    },
    Check {
        name: "sequence loss: memory of the caller's that does not do is refused",
        run: raw::sequences_refused,
    },
    Check {
        name: "sequence loss: what has no kernel is told",
        run: sequences_refused,
    },
    Check {
        name: "adamw: updates are those of core",
        run: updates,
    },
    Check {
        name: "adamw on memory of the caller's: updates are those of slices",
        run: raw::updates,
    },
];

pub(crate) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn tuples() -> Vec<Tuples> {
    let mut cases: Vec<Tuples> = [[2, 5, 8], [3, 9, 20], [4, 6, 33], [3, 70, 10], [3, 1, 4]]
        .into_iter()
        .enumerate()
        .map(|(seed, sizes)| Tuples::random(seed as u64, sizes))
        .collect();
    cases.push(Tuples::cone(11, [3, 12, 40], 0.3).by(Anchor::One(2)));
    cases.push(Tuples::cone(12, [4, 7, 24], 0.05));
    cases.push(Tuples::random(13, [3, 8, 12]).by(Anchor::Each));
    cases.push(Tuples::odd(14));
    cases.push(Tuples::odd(15).by(Anchor::Each));
    let mut case = Tuples::random(16, [2, 3, 4]);
    case.name = "nothing matches";
    case.present = Some(vec![false, false, false, true, true, true]);
    cases.push(case);
    let mut case = Tuples::random(17, [3, 8, 12]);
    case.name = "no smoothing";
    (case.config.label_smoothing, case.config.temperature) = (0.0, 0.0625);
    cases.push(case);
    cases
}

fn gram_losses(device: &Device) {
    for case in tuples() {
        let (want, gradient) = case.oracle();
        let mut found = vec![0.0; case.x.len()];
        let report = device.gram_loss(&case.config, &case.batch(), &mut found);
        let report = report.unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
        let what = format!("{} {:?} {:?}", case.name, case.sizes, case.config.term);
        let got = [report.loss, report.directions[0], report.directions[1]];
        let losses = [want.loss, want.directions[0], want.directions[1]];
        assert_close(
            &what,
            &got,
            &losses,
            |i| losses[i].abs().max(1.0),
            SINGLE.loss,
        );
        let slope = want.temperature_gradient;
        let scale = |_| slope.abs().max(1.0);
        let found_slope = [report.temperature_gradient];
        assert_close(&what, &found_slope, &[slope], scale, SINGLE.gram_gradient);
        let length = norm(&gradient).max(1e-30);
        assert_close(&what, &found, &gradient, |_| length, SINGLE.gram_gradient);
        let counts = [report.missing, report.degenerate];
        assert_eq!(counts, [want.missing, want.degenerate], "{what}");
    }
}

fn gram_strips(device: &Device) {
    let case = Tuples::cone(30, [3, 150, 20], 0.2);
    let run = |limit| {
        device.limit(limit);
        let mut gradient = vec![0.0; case.x.len()];
        let report = device.gram_loss(&case.config, &case.batch(), &mut gradient);
        device.limit(None);
        (report.expect("memory for a strip"), gradient)
    };
    let (whole, gradient) = run(None);
    let want = double(&gradient);
    let length = norm(&want);
    // With some rows, and with one at a time: 1800 bytes a row, besides 150 KB or so.
    for limit in [250_000, 350_000] {
        let (found, gradient) = run(Some(limit));
        let report = [found.loss, found.temperature_gradient];
        let want_report = [whole.loss, whole.temperature_gradient].map(f64::from);
        assert_close(
            "report",
            &report,
            &want_report,
            |i| want_report[i].abs().max(1.0),
            SINGLE.loss,
        );
        assert_close(
            "gradient",
            &gradient,
            &want,
            |_| length,
            SINGLE.gram_gradient,
        );
    }
    device.limit(Some(1000));
    let mut gradient = vec![0.0; case.x.len()];
    let failure = device.gram_loss(&case.config, &case.batch(), &mut gradient);
    device.limit(None);
    assert!(
        matches!(failure, Err(Failure::Memory { .. })),
        "{failure:?}"
    );
}

fn gram_twice(device: &Device) {
    let case = Tuples::cone(31, [3, 40, 24], 0.1).by(Anchor::Each);
    let run = || {
        let mut gradient = vec![0.0; case.x.len()];
        let report = device.gram_loss(&case.config, &case.batch(), &mut gradient);
        (report.expect("a device that works"), bits(&gradient))
    };
    assert_eq!(run(), run());
}

fn gram_refused(device: &Device) {
    let case = Tuples::random(32, [3, 5, 6]);
    let mut gradient = vec![0.0; case.x.len()];
    let mut run = |case: &Tuples| device.gram_loss(&case.config, &case.batch(), &mut gradient);
    let with = |change: fn(&mut GramLoss<f32>)| {
        let mut case = case.clone();
        change(&mut case.config);
        case
    };
    for bad in [
        with(|config| config.temperature = 0.0),
        with(|config| config.temperature = f32::NAN),
        with(|config| config.label_smoothing = 2.0),
        with(|config| *config = GramLoss::paper(3)),
    ] {
        assert_eq!(run(&bad).err(), Some(Failure::Input));
    }
    for bad in [f32::NAN, f32::INFINITY, 1e30] {
        let mut case = case.clone();
        case.x[17] = bad;
        assert_eq!(run(&case).err(), Some(Failure::Input), "{bad}");
    }
    let zeros = with(|config| config.zero_rows = ZeroRows::Zero);
    assert!(matches!(run(&zeros), Err(Failure::NoKernel(_))));
}

fn pairs() -> Vec<Against> {
    let mut cases: Vec<Against> = [
        [1, 1, 1, 1],
        [1, 1, 70, 5],
        [3, 2, 65, 64],
        [70, 2, 7, 100],
        [4, 7, 6, 33],
        [2, 3, 3, 2],
    ]
    .into_iter()
    .enumerate()
    .map(|(seed, sizes)| Against::random(seed as u64, sizes))
    .collect();
    for (seed, sigma) in [1.0, 0.03, 1e-3].into_iter().enumerate() {
        cases.push(Against::near(20 + seed as u64, [6, 2, 12, 96], sigma));
    }
    cases.push(Against::odd(30));
    cases
}

pub(crate) fn matrix(device: &Device, case: &Against, measure: Measure) -> Vec<f32> {
    let [b1, _, b2, _] = case.sizes;
    let mut out = vec![0.0; b1 * b2];
    let present = case.present.as_deref();
    let done = device.volume_matrix(
        measure,
        &case.anchors,
        &case.items,
        present,
        case.sizes,
        &mut out,
    );
    done.unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
    out
}

/// That volumes or distances are those of core.
pub(crate) fn assert_volumes(case: &Against, measure: Measure, found: &[f32]) {
    let want = case.oracle(measure);
    // Where a volume is 0, or all that f64 leaves of one.
    let scale = |pair| {
        let size = case.size(measure, pair);
        if want[pair] <= 1e-12 * size {
            size
        } else {
            want[pair]
        }
    };
    let what = format!("{} {:?}", case.name, case.sizes);
    assert_close(&what, found, &want, scale, SINGLE.volume);
}

fn volumes(device: &Device) {
    for case in pairs() {
        for measure in [Measure::Volume, Measure::Distance] {
            assert_volumes(&case, measure, &matrix(device, &case, measure));
        }
    }
    let case = Against::random(40, [2, 1, 3, 4]);
    let mut out = vec![0.0; 6];
    let mut run = |measure, sizes| {
        device.volume_matrix(measure, &case.anchors, &case.items, None, sizes, &mut out)
    };
    assert!(matches!(
        run(Measure::Cosine, case.sizes),
        Err(Failure::NoKernel(_))
    ));
    let wrong = run(Measure::Volume, [2, 1, 3, 5]);
    assert_eq!(wrong, Err(Failure::Input));
}

fn volumes_in_parts(device: &Device) {
    let case = Against::random(41, [40, 2, 150, 12]);
    let whole = matrix(device, &case, Measure::Volume);
    for limit in [20_000, 12_000] {
        device.limit(Some(limit));
        let found = matrix(device, &case, Measure::Volume);
        device.limit(None);
        assert_eq!(bits(&found), bits(&whole));
    }
}

pub(crate) fn lists<const K: usize>(
    device: &Device,
    case: &Against,
    measure: Measure,
) -> (usize, Vec<Vec<(f32, usize)>>) {
    let search = Search {
        offset: 1000,
        ..Search::by(measure)
    };
    let mut top = vec![TopK::<f32, K>::new(Order::Ascending); case.sizes[0]];
    let present = case.present.as_deref();
    let found = device.nearest(
        search,
        &case.anchors,
        &case.items,
        present,
        case.sizes,
        &mut top,
    );
    let degenerate = found.unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
    (
        degenerate,
        top.iter().map(|top| top.best().to_vec()).collect(),
    )
}

/// What core finds, in double precision.
pub(crate) fn wanted<const K: usize>(
    case: &Against,
    measure: Measure,
) -> (usize, Vec<Vec<(f64, usize)>>) {
    let [b1, m, _, d] = case.sizes;
    let search = Search {
        offset: 1000,
        ..Search::by(measure)
    };
    let mut top = vec![TopK::<f64, K>::new(Order::Ascending); b1];
    let mut work = vec![0.0; nearest_workspace_len(b1, m, search.tile, d)];
    let degenerate = search::nearest(
        One::new(),
        search,
        &double(&case.anchors),
        &double(&case.items),
        case.present.as_deref(),
        case.sizes,
        &mut top,
        &mut work,
    );
    let lists = top.iter().map(|top| top.best().to_vec()).collect();
    (degenerate.expect("valid inputs"), lists)
}

/// That the lists are the same: where two scores are as near as their precision, either may come first.
pub(crate) fn assert_lists(
    case: &Against,
    found: &[Vec<(f32, usize)>],
    want: &[Vec<(f64, usize)>],
) {
    for (i, (found, want)) in found.iter().zip(want).enumerate() {
        let what = format!("{} {:?}, anchor {i}", case.name, case.sizes);
        assert_eq!(found.len(), want.len(), "{what}");
        let scores: Vec<f32> = found.iter().map(|(score, _)| *score).collect();
        let exact: Vec<f64> = want.iter().map(|(score, _)| *score).collect();
        let scale = |at: usize| exact[at].max(1e-1);
        assert_close(&what, &scores, &exact, scale, 4.0 * SINGLE.volume);
        for (at, (best, other)) in found.iter().zip(want).enumerate() {
            let apart = exact
                .iter()
                .enumerate()
                .all(|(o, x)| o == at || (x - exact[at]).abs() > 1e-5 * scale(at));
            // The last may have a rival just outside the list.
            let is_last = at + 1 == exact.len();
            assert!(
                best.1 == other.1 || !apart || is_last,
                "{what}: {found:?}, {want:?}"
            );
        }
    }
}

fn nearest(device: &Device) {
    let mut cases = pairs();
    cases.push(Against::random(50, [2, 1, 300, 3]));
    for case in cases {
        for measure in [Measure::Volume, Measure::Distance] {
            let (degenerate, found) = lists::<5>(device, &case, measure);
            let (want_degenerate, want) = wanted::<5>(&case, measure);
            assert_lists(&case, &found, &want);
            assert_eq!(degenerate, want_degenerate, "{}", case.name);
        }
        let (_, found) = lists::<1>(device, &case, Measure::Volume);
        assert_lists(&case, &found, &wanted::<1>(&case, Measure::Volume).1);
        let (_, found) = lists::<32>(device, &case, Measure::Volume);
        assert_lists(&case, &found, &wanted::<32>(&case, Measure::Volume).1);
    }
    let case = Against::random(51, [1, 1, 3, 4]);
    let mut top = [TopK::<f32, 33>::new(Order::Ascending)];
    let search = Search::by(Measure::Volume);
    let found = device.nearest(
        search,
        &case.anchors,
        &case.items,
        None,
        case.sizes,
        &mut top,
    );
    assert!(matches!(found, Err(Failure::NoKernel(_))));
}

fn nearest_in_parts(device: &Device) {
    // Items that come twice: equal scores go to the lower index.
    let mut case = Against::random(52, [70, 1, 280, 6]);
    let half = case.items[..140 * 6].to_vec();
    case.items[140 * 6..].copy_from_slice(&half);
    let whole = lists::<4>(device, &case, Measure::Volume);
    for limit in [60_000, 25_000] {
        device.limit(Some(limit));
        let found = lists::<4>(device, &case, Measure::Volume);
        device.limit(None);
        assert_eq!(found, whole);
    }
}

fn rows() -> Vec<Rows> {
    let mut cases = Vec::new();
    for (seed, select) in [
        Select::Softmax,
        Select::Detached,
        Select::LogSumExp,
        Select::Mean,
        Select::Max,
    ]
    .into_iter()
    .enumerate()
    {
        let mut case = Rows::random(seed as u64, [2, 9, 6, 37]);
        (case.config.select, case.config.temperature) = (select, 0.5);
        cases.push(case);
    }
    cases.push(Rows::random(10, [1, 3, 2, 2100]));
    let mut case = Rows::random(11, [3, 8, 7, 20]);
    case.name = "lengths";
    case.outputs = Some(vec![8, 5, 1]);
    case.lengths = Some(vec![3, 7, 0]);
    cases.push(case);
    let mut case = Rows::random(12, [2, 6, 8, 11]);
    case.name = "repeated and ignored targets";
    case.labels[..5].fill(3);
    case.labels[13..].fill(eisl::IGNORE);
    cases.push(case);
    let mut case = Rows::random(13, [1, 5, 5, 40]);
    case.name = "huge logits";
    case.x.iter_mut().for_each(|x| *x = 300.0 + 30.0 * *x);
    cases.push(case);
    let mut case = Rows::random(14, [2, 6, 4, 30]);
    case.name = "logits of probability 0";
    case.x
        .iter_mut()
        .step_by(7)
        .for_each(|x| *x = f32::NEG_INFINITY);
    (case.config.ce_factor, case.config.label_smoothing) = (0.0, 0.0);
    cases.push(case);
    let mut case = Rows::random(15, [2, 3, 9, 5]);
    case.name = "cross-entropy alone";
    case.config.ngram_factor = 0.0;
    cases.push(case);
    cases.push(Rows::random(16, [1, 1, 1, 1]));
    cases
}

fn sequence_losses(device: &Device) {
    for case in rows() {
        let (want, gradient) = case.oracle();
        let mut x = case.x.clone();
        let losses = device.eisl_loss(&case.config(), &case.batch(), &mut x);
        let losses = losses.unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
        let what = format!("{} {:?}", case.name, case.config.select);
        let got = [losses.total, losses.eisl, losses.ce];
        let want = [want.total, want.eisl, want.ce];
        assert_close(&what, &got, &want, |i| want[i].abs().max(1.0), SINGLE.loss);
        let length = norm(&gradient).max(1e-2);
        assert_close(&what, &x, &gradient, |_| length, SINGLE.eisl_gradient);
    }
}

/// Half the distance of a number of bf16 to the next, at most, over the number.
const BF16: f64 = 1.0 / 256.0;

/// That a gradient in bf16 is the one in double precision but for the rounding of `f32`, rounded.
pub(crate) fn assert_half_gradient(what: &str, x: &[u16], gradient: &[f64]) {
    let found: Vec<f32> = x.iter().map(|x| Half::Bf16.widen(*x)).collect();
    let length = norm(gradient).max(1e-2);
    let cap = |i: usize| SINGLE.eisl_gradient * length + 1.001 * BF16 * gradient[i].abs();
    assert_close(what, &found, gradient, cap, 1.0);
}

fn half_sequence_losses(device: &Device) {
    for case in rows() {
        let (case, mut x) = case.in_bf16();
        let (want, gradient) = case.oracle();
        let losses = device.eisl_loss_half(&case.config(), &case.batch(), Half::Bf16, &mut x);
        let losses = losses.unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
        let what = format!("bf16 {} {:?}", case.name, case.config.select);
        let got = [losses.total, losses.eisl, losses.ce];
        let want = [want.total, want.eisl, want.ce];
        assert_close(&what, &got, &want, |i| want[i].abs().max(1.0), SINGLE.loss);
        assert_half_gradient(&what, &x, &gradient);
    }
}

fn half_sequences_in_parts(device: &Device) {
    // An odd number of logits of a position: sixteen bytes begin elsewhere in each.
    let mut case = Rows::random(22, [7, 5, 4, 61]);
    case.outputs = Some(vec![5, 4, 3, 5, 2, 5, 1]);
    let (case, logits) = case.in_bf16();
    let run = |limit| {
        device.limit(limit);
        let mut x = logits.clone();
        let losses = device.eisl_loss_half(&case.config(), &case.batch(), Half::Bf16, &mut x);
        device.limit(None);
        losses.map(|losses| (losses.total, x))
    };
    let (total, gradient) = run(None).expect("memory");
    for limit in [2_500, 6_000] {
        let (found, x) = run(Some(limit)).expect("memory for a row");
        let total = f64::from(total);
        assert_close(
            "parts",
            &[found],
            &[total],
            |_| total.abs().max(1.0),
            SINGLE.loss,
        );
        assert_eq!(x, gradient);
    }
    let failure = run(Some(500));
    assert!(
        matches!(failure, Err(Failure::Memory { .. })),
        "{failure:?}"
    );
}

fn half_sequences_refused(device: &Device) {
    let (case, logits) = Rows::random(23, [1, 4, 3, 9]).in_bf16();
    let run = |half, logits: &[u16]| {
        let mut x = logits.to_vec();
        let found = device.eisl_loss_half(&case.config(), &case.batch(), half, &mut x);
        assert_eq!(x, logits, "the logits changed");
        found.expect_err("refused")
    };
    let failure = run(Half::F16, &logits);
    assert!(matches!(failure, Failure::NoKernel(_)));
    assert!(failure.to_string().contains("binary16"), "{failure}");
    assert_eq!(run(Half::Bf16, &logits[1..]), Failure::Input);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut none = logits.clone();
        none[12] = Half::Bf16.nearest(bad);
        assert_eq!(run(Half::Bf16, &none), Failure::Input);
    }
}

fn sequences_in_parts(device: &Device) {
    let mut case = Rows::random(20, [7, 5, 4, 60]);
    case.outputs = Some(vec![5, 4, 3, 5, 2, 5, 1]);
    let run = |limit| {
        device.limit(limit);
        let mut x = case.x.clone();
        let losses = device.eisl_loss(&case.config(), &case.batch(), &mut x);
        device.limit(None);
        (losses.expect("memory for a row"), bits(&x))
    };
    let whole = run(None);
    for limit in [2_500, 6_000] {
        let (losses, gradient) = run(Some(limit));
        let got = [losses.total, losses.eisl, losses.ce];
        let want = [whole.0.total, whole.0.eisl, whole.0.ce].map(f64::from);
        assert_close(
            "parts",
            &got,
            &want,
            |i| want[i].abs().max(1.0),
            SINGLE.loss,
        );
        assert_eq!(gradient, whole.1);
    }
}

fn sequences_refused(device: &Device) {
    let case = Rows::random(21, [1, 4, 3, 9]);
    let run = |case: &Rows, config: &eisl::Config<'_, f32>| {
        let mut x = case.x.clone();
        let found = device.eisl_loss(config, &case.batch(), &mut x);
        assert_eq!(bits(&x), bits(&case.x), "the logits changed");
        found.expect_err("refused")
    };
    let targets = eisl::Config {
        axis: eisl::Axis::Targets,
        ..case.config()
    };
    assert!(matches!(run(&case, &targets), Failure::NoKernel(_)));
    let mut gap = case.clone();
    gap.labels[1] = eisl::IGNORE;
    assert!(matches!(run(&gap, &gap.config()), Failure::NoKernel(_)));
    let mut beyond = case.clone();
    beyond.labels[1] = 9;
    assert_eq!(run(&beyond, &beyond.config()), Failure::Input);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut none = case.clone();
        none.x[12] = bad;
        assert_eq!(run(&none, &none.config()), Failure::Input);
    }
}

fn updates(device: &Device) {
    // The numbers that both compute with are exact in single precision.
    let numbers = [0.875_f32, 0.996_093_75, 1e-8, 0.015_625];
    let [beta1, beta2, epsilon, weight_decay] = numbers.map(f64::from);
    let optimizer = Optimizer::AdamW {
        beta1,
        beta2,
        epsilon,
        weight_decay,
    };
    for (n, limit) in [(1, None), (300, None), (700, Some(4000))] {
        let start = normals(60, n);
        let (mut w, mut state) = (double(&start), vec![0.0; 2 * n]);
        let (mut got, mut first, mut second) = (start, vec![0.0; n], vec![0.0; n]);
        device.limit(limit);
        for t in 1..=3 {
            let g = normals(60 + t, n);
            optimizer.update(One::new(), 0.015_625, t, &mut w, &double(&g), &mut state);
            let rule = AdamW::new(numbers, 0.015_625, t);
            let done = device.adamw(rule, &mut got, &g, &mut first, &mut second);
            done.expect("a device that works");
        }
        device.limit(None);
        let largest = w.iter().fold(0.0, |a: f64, x| a.max(x.abs()));
        assert_close("parameters", &got, &w, |_| largest, SINGLE.update);
        let (m, v) = state.split_at(n);
        assert_close("m", &first, m, |_| 1.0, SINGLE.update);
        assert_close("v", &second, v, |_| 1.0, SINGLE.update);
    }
}
