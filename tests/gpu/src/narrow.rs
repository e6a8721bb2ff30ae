//! The checks of what is rounded on request: products in TF32 and bf16, and galleries in 16 and 8 bits. On a device that
//! has no products but exact ones they hold as well.

use rivergram::cuda::{Device, Failure, Precision};
use rivergram_core::gram::contrastive::{Anchor, Term};
use rivergram_core::gram::int8::quantise;
use rivergram_core::gram::pair::{BasesMut, Measure, bases_len};
use rivergram_core::gram::search::Search;
use rivergram_core::gram::stored::{Numbers, Stored};
use rivergram_core::optim::rounding::Half;
use rivergram_simd::Level;
use rivergram_tests::precision::SINGLE;

use crate::cases::{Against, Tuples, assert_close, double, norm};
use crate::checks::{bits, matrix};

/// A precision, the largest error of a volume of unit vectors, and what is measured.
pub(crate) type Bound = (Precision, f64, Measure);

/// Each precision; not each measure of each, since an emulated tile takes its time.
pub(crate) const CAPS: [Bound; 2] = [
    (Precision::Tf32, 2e-3, Measure::Volume),
    (Precision::Bf16, 1e-2, Measure::Distance),
];

/// On a device that is so precise; then it is exact again.
pub(crate) fn at<T>(device: &Device, precision: Precision, work: impl FnOnce() -> T) -> T {
    device.set_precision(precision);
    let found = work();
    device.set_precision(Precision::Exact);
    found
}

/// With vectors of length 1, but for those that are zero or none.
fn unit(mut case: Against) -> Against {
    let d = case.sizes[3];
    let rows = case.anchors.chunks_mut(d).chain(case.items.chunks_mut(d));
    for x in rows {
        let length = norm(&double(x));
        if length > 0.0 {
            x.iter_mut()
                .for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
    }
    case
}

/// Whole tiles and remainders of them, near pairs, and degenerate inputs.
fn many() -> Vec<Against> {
    vec![
        Against::random(70, [1, 1, 1, 1]),
        Against::random(71, [130, 3, 65, 33]),
        unit(Against::near(72, [6, 2, 66, 512], 0.7)),
        Against::near(73, [6, 2, 12, 96], 1e-3),
        Against::odd(74),
    ]
}

/// That rounded volumes or distances keep their bound, and that near pairs are exact.
pub(crate) fn assert_rounded(case: &Against, (precision, cap, measure): Bound, found: &[f32]) {
    let (want, distance) = (case.oracle(measure), case.oracle(Measure::Distance));
    let [_, _, b2, d] = case.sizes;
    let what = format!("{precision:?} {} {:?}", case.name, case.sizes);
    let size = |pair| case.size(measure, pair);
    assert_close(&what, found, &want, size, cap);
    // Near pairs come from the residual: they are as exact as ever.
    for (pair, found) in found.iter().enumerate() {
        let anchor = norm(&double(&case.anchors[pair / b2 * d..][..d]));
        let near = distance[pair] / anchor;
        let is_near = near * near < 0.25 - 2.0 * cap;
        if is_near && want[pair] > 1e-12 * size(pair) {
            let error = (f64::from(*found) - want[pair]).abs();
            assert!(error <= SINGLE.volume * want[pair], "{what}: {error:e}");
        }
    }
}

pub(crate) fn volumes(device: &Device) {
    for case in many() {
        for bound in CAPS {
            let (precision, _, measure) = bound;
            let found = at(device, precision, || matrix(device, &case, measure));
            assert_rounded(&case, bound, &found);
        }
    }
}

pub(crate) fn volumes_in_parts(device: &Device) {
    let case = Against::random(76, [140, 1, 80, 12]);
    for (precision, _, _) in CAPS {
        at(device, precision, || {
            let whole = matrix(device, &case, Measure::Volume);
            for limit in [50_000, 15_000] {
                device.limit(Some(limit));
                let found = matrix(device, &case, Measure::Volume);
                device.limit(None);
                assert_eq!(bits(&found), bits(&whole), "{precision:?}, {limit}");
            }
            device.limit(Some(500));
            let [b1, m, b2, d] = case.sizes;
            let mut out = vec![0.0; b1 * b2];
            let (anchors, items) = (&case.anchors, &case.items);
            let sizes = [b1, m, b2, d];
            let failure =
                device.volume_matrix(Measure::Volume, anchors, items, None, sizes, &mut out);
            device.limit(None);
            assert!(matches!(failure, Err(Failure::Memory { .. })));
        });
    }
}

pub(crate) fn losses(device: &Device) {
    let mut nothing = Tuples::random(83, [2, 3, 4]);
    nothing.name = "nothing matches";
    nothing.present = Some(vec![false, false, false, true, true, true]);
    for case in [
        Tuples::cone(80, [3, 70, 140], 0.5).by(Anchor::One(2)),
        Tuples::random(81, [4, 6, 33]).by(Anchor::Each),
        Tuples::odd(82).by(Anchor::Each),
        nothing,
    ] {
        let (want, gradient) = case.oracle();
        let run = |precision| {
            let mut found = vec![0.0; case.x.len()];
            let report = at(device, precision, || {
                device.gram_loss(&case.config, &case.batch(), &mut found)
            });
            let report = report.unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
            (report, found)
        };
        let (report, found) = run(Precision::Tf32);
        let what = format!("{} {:?} {:?}", case.name, case.sizes, case.config.term);
        // Each logit moves by at most so much, so half a log-sum less half a target does too.
        let cap = 2e-3 / f64::from(case.config.temperature);
        assert_close(&what, &report.directions, &want.directions, |_| 1.0, cap);
        let slope = want.temperature_gradient;
        let scale = |_| slope.abs().max(1.0);
        let of_temperature = [report.temperature_gradient];
        assert_close(&what, &of_temperature, &[slope], scale, 8.0 * cap);
        let length = norm(&gradient).max(1e-30);
        assert_close(&what, &found, &gradient, |_| length, 5e-4);
        let counts = [report.missing, report.degenerate];
        assert_eq!(counts, [want.missing, want.degenerate], "{what}");
        if case.config.term == Term::Volume(Anchor::Each) {
            continue;
        }
        // There is no other loss in bf16.
        let (other, same) = run(Precision::Bf16);
        assert_eq!((other, bits(&same)), (report, bits(&found)), "{what}");
    }
}

pub(crate) fn loss_strips(device: &Device) {
    let case = Tuples::cone(84, [3, 100, 20], 0.2).by(Anchor::One(1));
    let run = |limit| {
        device.limit(limit);
        let mut gradient = vec![0.0; case.x.len()];
        let report = at(device, Precision::Tf32, || {
            device.gram_loss(&case.config, &case.batch(), &mut gradient)
        });
        device.limit(None);
        (report, gradient)
    };
    let (whole, gradient) = run(None);
    let whole = whole.expect("a device that works");
    let want = double(&gradient);
    let length = norm(&want);
    for limit in [250_000, 300_000] {
        let (found, gradient) = run(Some(limit));
        let found = found.expect("memory for a strip");
        let report = [found.loss, found.temperature_gradient];
        let of_whole = [whole.loss, whole.temperature_gradient].map(f64::from);
        let scale = |i: usize| of_whole[i].abs().max(1.0);
        assert_close("report", &report, &of_whole, scale, SINGLE.loss);
        let cap = SINGLE.gram_gradient;
        assert_close("gradient", &gradient, &want, |_| length, cap);
    }
    let (failure, _) = run(Some(1000));
    assert!(
        matches!(failure, Err(Failure::Memory { .. })),
        "{failure:?}"
    );
}

/// Items with their bases in several formats.
struct Gallery {
    volume: Vec<f32>,
    present: Vec<f32>,
    q: Vec<f32>,
    halves: [Vec<u16>; 2],
    integers: Vec<i8>,
    scales: Vec<f32>,
    sizes: [usize; 4],
}

/// How bases are kept, what a device has to be asked for, the largest error of d² of unit vectors, and how many candidates
/// are wanted by what: an emulated tile takes its time.
const KINDS: [(usize, Precision, f64, usize, Measure); 4] = [
    (0, Precision::Exact, 2e-3, 20, Measure::Distance),
    (1, Precision::Exact, 1e-2, 1, Measure::Volume),
    (2, Precision::Exact, 2e-2, 45, Measure::Volume),
    (3, Precision::Bf16, 1e-2, 45, Measure::Distance),
];

impl Gallery {
    fn new(case: &Against) -> Self {
        let [_, m, items, d] = case.sizes;
        let flag = |there: &bool| f32::from(u8::from(*there));
        let present: Vec<f32> = match &case.present {
            Some(present) => present.iter().map(flag).collect(),
            None => vec![1.0; m * items],
        };
        let mut vectors = case.items.clone();
        for (x, there) in vectors.chunks_mut(d).zip(&present) {
            if *there == 0.0 {
                x.fill(0.0);
            }
        }
        let mut storage = vec![0.0; bases_len(m, items, d)];
        let mut scratch = vec![0.0; rivergram_core::gram::basis::item_len(m, d)];
        let storage = BasesMut::split(&mut storage, m, items, d);
        let sizes = [m, items, d];
        let level = Level::detect();
        let built = level.bases(storage, &vectors, &present, sizes, &mut scratch);
        let (bases, _) = built.expect("sizes that fit");
        let halves = [Half::F16, Half::Bf16]
            .map(|format| bases.q.iter().map(|x| format.nearest(*x)).collect());
        let mut integers = vec![0; bases.q.len()];
        let rows = bases.q.chunks(d).zip(integers.chunks_mut(d));
        let scales = rows.map(|(x, n)| quantise(x, n).expect("finite")).collect();
        Gallery {
            volume: bases.volume.to_vec(),
            q: bases.q.to_vec(),
            halves,
            integers,
            scales,
            sizes: case.sizes,
            present,
        }
    }

    fn stored(&self, kind: usize) -> Stored<'_> {
        let [_, m, items, d] = self.sizes;
        let [f16, bf16] = &self.halves;
        let q = match kind {
            0 => Numbers::Half(Half::F16, f16),
            1 => Numbers::Half(Half::Bf16, bf16),
            2 => Numbers::Int8(&self.integers, &self.scales),
            _ => Numbers::F32(&self.q),
        };
        Stored {
            q,
            volume: &self.volume,
            cosines: &self.present,
            present: &self.present,
            m,
            items,
            d,
        }
    }

    /// Whether anything of an item is there.
    fn has(&self, j: usize) -> bool {
        let flags = self.present.iter().skip(j).step_by(self.sizes[2]);
        flags.into_iter().any(|flag| *flag != 0.0)
    }
}

/// Whether the device has products but exact ones, of which galleries in few bits are made.
fn is_narrow(device: &Device) -> bool {
    at(device, Precision::Bf16, || device.precision()) == Precision::Bf16
}

fn galleries() -> Vec<Against> {
    let mut cases = vec![
        Against::random(90, [1, 1, 1, 1]),
        Against::random(91, [2, 3, 70, 50]),
        Against::random(92, [131, 1, 70, 33]),
        Against::random(93, [3, 7, 65, 24]),
        Against::near(94, [5, 2, 300, 64], 0.5),
    ];
    let mut odd = Against::odd(95);
    // A gallery has no vectors that are there and zero.
    let [_, m, b2, d] = odd.sizes;
    let present = odd.present.get_or_insert_with(|| vec![true; m * b2]);
    present[b2 + 2] = false;
    odd.items[3 * d..4 * d].fill(0.0);
    cases.push(odd);
    cases.into_iter().map(unit).collect()
}

pub(crate) fn candidates(device: &Device) {
    let search = |measure| Search {
        offset: 1000,
        ..Search::by(measure)
    };
    for case in galleries() {
        let gallery = Gallery::new(&case);
        let [b1, _, b2, d] = case.sizes;
        let there = (0..b2).filter(|j| gallery.has(*j)).count();
        for (kind, precision, cap, most, measure) in KINDS {
            let want = case.oracle(measure);
            let stored = gallery.stored(kind);
            let found = at(device, precision, || {
                device.nearest_stored(search(measure), &case.anchors, &stored, most)
            });
            if !is_narrow(device) {
                assert!(matches!(found, Err(Failure::NoKernel(_))));
                continue;
            }
            let what = format!("{} {:?} {kind} {most}", case.name, case.sizes);
            let found = found.unwrap_or_else(|failure| panic!("{what}: {failure}"));
            assert_eq!(found.len(), b1, "{what}");
            // As many as a list has places are always known.
            let known = found.iter().flatten().count();
            assert!(most > 32 || known == b1, "{what}: {known}");
            for (i, found) in found.iter().enumerate() {
                let Some(found) = found else { continue };
                if norm(&double(&case.anchors[i * d..][..d])) == 0.0 {
                    assert!(found.is_empty(), "{what}");
                    continue;
                }
                assert_eq!(found.len(), most.min(there), "{what}");
                let square = |j: usize| want[i * b2 + j] * want[i * b2 + j];
                let worst = found.iter().map(|index| square(index - 1000));
                let worst = worst.fold(0.0, f64::max);
                for j in (0..b2).filter(|j| gallery.has(*j)) {
                    let is_found = found.contains(&(1000 + j));
                    // Either is off by as much.
                    let is_worse = square(j) >= worst - 2.0 * cap;
                    assert!(is_found || is_worse, "{what} {i}: {j}");
                }
            }
        }
    }
}

pub(crate) fn candidates_in_parts(device: &Device) {
    if !is_narrow(device) {
        return;
    }
    // Items that come many times: equal scores go to the lower index.
    let mut case = unit(Against::random(96, [9, 2, 220, 20]));
    let (one, len) = (case.items[..20].to_vec(), 220 * 20);
    for j in 100..200 {
        case.items[j * 20..][..20].copy_from_slice(&one);
        let second = case.items[len..len + 20].to_vec();
        case.items[len + j * 20..][..20].copy_from_slice(&second);
    }
    let gallery = Gallery::new(&case);
    let search = Search::by(Measure::Volume);
    for (kind, precision, ..) in KINDS {
        let stored = gallery.stored(kind);
        let run = |limit, most| {
            device.limit(limit);
            let found = at(device, precision, || {
                device.nearest_stored(search, &case.anchors, &stored, most)
            });
            device.limit(None);
            found.unwrap_or_else(|failure| panic!("{kind}: {failure}"))
        };
        let whole = run(None, 30);
        assert_eq!(whole.iter().flatten().count(), 9);
        assert!(whole.iter().flatten().all(|list| list.len() == 30));
        for limit in [20_000, 12_000] {
            assert_eq!(run(Some(limit), 30), whole, "{kind}, {limit}");
        }
        // How long the anchors are does not matter, though a number of 16 bits would be 0, or infinite.
        for power in [-50, 30] {
            let mut other = case.clone();
            let factor = 2.0_f32.powi(power);
            other.anchors.iter_mut().for_each(|x| *x *= factor);
            let found = at(device, precision, || {
                device.nearest_stored(search, &other.anchors, &stored, 30)
            });
            assert_eq!(found.as_ref(), Ok(&whole), "{kind}, {power}");
        }
        // Of an anchor that is all equals, the 100 lie in two tiles, whose lists have places for 64: that is said.
        let mut equals = case.clone();
        equals.anchors[..20].copy_from_slice(&one);
        let found = device.nearest_stored(search, &equals.anchors, &gallery.stored(0), 90);
        let found = found.unwrap_or_else(|failure| panic!("{kind}: {failure}"));
        assert_eq!(found[0], None);
    }
    let refused = |stored: &Stored<'_>, measure| {
        device.nearest_stored(Search::by(measure), &case.anchors, stored, 5)
    };
    for (kind, measure) in [(0, Measure::Cosine), (3, Measure::Volume)] {
        let found = refused(&gallery.stored(kind), measure);
        assert!(matches!(found, Err(Failure::NoKernel(_))), "{found:?}");
    }
    let short = Stored {
        volume: &gallery.volume[1..],
        ..gallery.stored(1)
    };
    assert_eq!(refused(&short, Measure::Volume), Err(Failure::Input));
    device.limit(Some(300));
    let found = refused(&gallery.stored(1), Measure::Volume);
    device.limit(None);
    assert!(matches!(found, Err(Failure::Memory { .. })), "{found:?}");
}
