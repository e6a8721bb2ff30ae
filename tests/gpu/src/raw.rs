//! The checks of raw handles: operations on memory that the caller holds on the device. Each holds exactly as many numbers
//! as it says, so that the emulation finds what goes beyond.

use rivergram::cuda::driver::{Numbers, Room};
use rivergram::cuda::raw::{Buffer, MatrixMemory, NearestMemory};
use rivergram::cuda::{Device, Failure, Precision};
use rivergram_core::eisl::{IGNORE, Select, Shape};
use rivergram_core::gram::contrastive::ZeroRows;
use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::search::Search;
use rivergram_core::optim::AdamW;
use rivergram_core::optim::rounding::Half;
use rivergram_cuda_kernels::device::{Element, Global};
use rivergram_cuda_kernels::kernels::eisl::{Eisl, ORDERS};
use rivergram_cuda_kernels::lanes::F32;
use rivergram_tests::precision::SINGLE;

use crate::cases::{Against, Rows, assert_close, double, norm, normals};
use crate::checks::{
    assert_half_gradient, assert_lists, assert_volumes, bits, lists, matrix, wanted,
};
use crate::narrow::{CAPS, assert_rounded, at};

fn room(device: &Device, len: usize) -> Buffer<'_> {
    device.buffer(len).expect("memory")
}

fn held<'d>(device: &'d Device, numbers: &[f32]) -> Buffer<'d> {
    let buffer = room(device, numbers.len());
    buffer.write(0, Numbers::F32(numbers)).expect("a copy");
    buffer
}

/// A workspace of a length that a device says.
fn workspace(device: &Device, len: u64) -> Buffer<'_> {
    room(device, usize::try_from(len).expect("a size that is done"))
}

/// Anchors and items on a device.
#[derive(Debug)]
struct Inputs<'d> {
    anchors: Buffer<'d>,
    items: Buffer<'d>,
    present: Buffer<'d>,
}

impl<'d> Inputs<'d> {
    fn new(device: &'d Device, case: &Against) -> Self {
        let [_, m, b2, _] = case.sizes;
        let flag = |there: &bool| f32::from(u8::from(*there));
        let present: Vec<f32> = match &case.present {
            Some(present) => present.iter().map(flag).collect(),
            None => vec![1.0; m * b2],
        };
        Inputs {
            anchors: held(device, &case.anchors),
            items: held(device, &case.items),
            present: held(device, &present),
        }
    }
}

/// What [`Device::volume_matrix_at`] takes, in the precision of the device.
#[derive(Debug)]
pub struct Matrix<'d> {
    device: &'d Device,
    sizes: [usize; 4],
    inputs: Inputs<'d>,
    out: Buffer<'d>,
    workspace: Buffer<'d>,
}

impl<'d> Matrix<'d> {
    /// With the inputs of a case.
    pub fn new(device: &'d Device, case: &Against) -> Self {
        let [b1, _, b2, _] = case.sizes;
        Matrix {
            device,
            sizes: case.sizes,
            inputs: Inputs::new(device, case),
            out: room(device, b1 * b2),
            workspace: workspace(device, device.volume_matrix_workspace_len(case.sizes)),
        }
    }

    fn memory(&self) -> MatrixMemory {
        MatrixMemory {
            anchors: self.inputs.anchors.address(),
            items: self.inputs.items.address(),
            present: self.inputs.present.address(),
            out: self.out.address(),
            workspace: self.workspace.address(),
            workspace_len: self.workspace.len() as u64,
        }
    }

    fn queue_with(
        &self,
        measure: Measure,
        sizes: [usize; 4],
        memory: MatrixMemory,
    ) -> Result<(), Failure> {
        // SAFETY: the buffers are this one's, of these sizes; what is changed of them in the tests is refused.
        unsafe { self.device.volume_matrix_at(measure, sizes, memory) }
    }

    /// Queues the matrix.
    ///
    /// # Errors
    /// Those of the device.
    pub fn queue(&self, measure: Measure) -> Result<(), Failure> {
        self.queue_with(measure, self.sizes, self.memory())
    }

    fn found(&self, measure: Measure) -> Vec<f32> {
        self.queue(measure).expect("it starts");
        let mut out = vec![0.0; self.out.len()];
        self.out.read(Room::F32(&mut out)).expect("a copy");
        out
    }
}

/// Whole tiles and remainders, one item, dimensions that are no multiple of 4, near pairs, and degenerate inputs.
fn pairs() -> Vec<Against> {
    vec![
        Against::random(110, [1, 1, 1, 1]),
        Against::random(111, [3, 2, 66, 33]),
        Against::random(112, [66, 1, 3, 6]),
        Against::near(113, [6, 2, 12, 96], 1e-3),
        Against::odd(114),
    ]
}

pub(crate) fn volumes(device: &Device) {
    for case in pairs() {
        for measure in [Measure::Volume, Measure::Distance] {
            let held = Matrix::new(device, &case);
            let found = held.found(measure);
            assert_volumes(&case, measure, &found);
            // It is the same sequence of launches.
            assert_eq!(bits(&found), bits(&matrix(device, &case, measure)));
            // And what the workspace held before does not matter.
            assert_eq!(bits(&found), bits(&held.found(measure)));
        }
    }
}

pub(crate) fn rounded_volumes(device: &Device) {
    for case in pairs() {
        for (precision, cap, measure) in CAPS {
            at(device, precision, || {
                let found = Matrix::new(device, &case).found(measure);
                assert_rounded(&case, (precision, cap, measure), &found);
                assert_eq!(bits(&found), bits(&matrix(device, &case, measure)));
            });
        }
    }
}

/// What every operation says of a workspace and an address that are not what it needs.
fn assert_memory_refused<M: Copy>(
    memory: M,
    queue: impl Fn(M) -> Result<(), Failure>,
    workspace_of: impl Fn(&mut M) -> (&mut u64, &mut u64),
    others: &[fn(&mut M) -> &mut u64],
) {
    let with = |change: &dyn Fn(&mut M)| {
        let mut memory = memory;
        change(&mut memory);
        queue(memory)
    };
    let short = with(&|memory| *workspace_of(memory).1 -= 1);
    assert!(matches!(short, Err(Failure::Memory { .. })), "{short:?}");
    let none = with(&|memory| *workspace_of(memory).1 = 0);
    assert!(matches!(none, Err(Failure::Memory { .. })), "{none:?}");
    let crooked = with(&|memory| *workspace_of(memory).0 += 4);
    assert_eq!(crooked, Err(Failure::Input));
    for other in others {
        assert_eq!(with(&|memory| *other(memory) += 2), Err(Failure::Input));
    }
    assert_eq!(queue(memory), Ok(()));
}

pub(crate) fn volumes_refused(device: &Device) {
    let case = Against::random(115, [3, 2, 5, 6]);
    for precision in [Precision::Exact, Precision::Tf32, Precision::Bf16] {
        at(device, precision, || {
            let held = Matrix::new(device, &case);
            assert_memory_refused(
                held.memory(),
                |memory| held.queue_with(Measure::Volume, case.sizes, memory),
                |memory| (&mut memory.workspace, &mut memory.workspace_len),
                &[
                    |memory| &mut memory.anchors,
                    |memory| &mut memory.items,
                    |memory| &mut memory.present,
                    |memory| &mut memory.out,
                ],
            );
        });
    }
    let held = Matrix::new(device, &case);
    let run = |measure, sizes| held.queue_with(measure, sizes, held.memory());
    let cosines = run(Measure::Cosine, case.sizes);
    assert!(matches!(cosines, Err(Failure::NoKernel(_))));
    for (place, size) in [0, 1, 2, 3].map(|place| (place, 0)) {
        let mut sizes = case.sizes;
        sizes[place] = size;
        assert_eq!(run(Measure::Volume, sizes), Err(Failure::Input));
        assert_eq!(device.volume_matrix_workspace_len(sizes), u64::MAX);
    }
    let many = run(Measure::Volume, [3, 33, 5, 6]);
    assert!(matches!(many, Err(Failure::NoKernel(_))));
    for sizes in [[1, 1, 1, usize::MAX], [1 << 40, 2, 1 << 40, 6]] {
        assert_eq!(run(Measure::Volume, sizes), Err(Failure::Size));
        assert_eq!(device.volume_matrix_workspace_len(sizes), u64::MAX);
    }
}

/// What [`Device::nearest_at`] takes.
#[derive(Debug)]
pub struct Lists<'d> {
    device: &'d Device,
    sizes: [usize; 4],
    k: usize,
    inputs: Inputs<'d>,
    scores: Buffer<'d>,
    indices: Buffer<'d>,
    workspace: Buffer<'d>,
}

impl<'d> Lists<'d> {
    /// With the inputs of a case, for the `k` best.
    pub fn new(device: &'d Device, case: &Against, k: usize) -> Self {
        let sizes = case.sizes;
        Lists {
            device,
            sizes,
            k,
            inputs: Inputs::new(device, case),
            scores: room(device, sizes[0] * k),
            indices: room(device, sizes[0] * k),
            workspace: workspace(device, device.nearest_workspace_len(k, sizes)),
        }
    }

    fn memory(&self) -> NearestMemory {
        NearestMemory {
            anchors: self.inputs.anchors.address(),
            items: self.inputs.items.address(),
            present: self.inputs.present.address(),
            scores: self.scores.address(),
            indices: self.indices.address(),
            workspace: self.workspace.address(),
            workspace_len: self.workspace.len() as u64,
        }
    }

    fn queue_with(
        &self,
        search: Search,
        k: usize,
        sizes: [usize; 4],
        memory: NearestMemory,
    ) -> Result<(), Failure> {
        // SAFETY: the buffers are this one's, of these sizes; what is changed of them in the tests is refused.
        unsafe { self.device.nearest_at(search, k, sizes, memory) }
    }

    /// Queues the search.
    ///
    /// # Errors
    /// Those of the device.
    pub fn queue(&self, search: Search) -> Result<(), Failure> {
        self.queue_with(search, self.k, self.sizes, self.memory())
    }

    /// The lists, which end with their first place without an item.
    fn found(&self, search: Search) -> Vec<Vec<(f32, usize)>> {
        self.queue(search).expect("it starts");
        let mut scores = vec![0.0; self.scores.len()];
        let mut indices = vec![0; self.indices.len()];
        self.scores.read(Room::F32(&mut scores)).expect("a copy");
        self.indices.read(Room::U32(&mut indices)).expect("a copy");
        let each = scores.chunks(self.k).zip(indices.chunks(self.k));
        each.map(|(scores, indices)| {
            let found = indices.iter().take_while(|index| **index != u32::MAX);
            let n = found.count();
            assert!(scores[n..].iter().all(|score| score.is_nan()));
            assert!(indices[n..].iter().all(|index| *index == u32::MAX));
            let best = scores.iter().zip(indices).take(n);
            best.map(|(score, index)| (*score, *index as usize))
                .collect()
        })
        .collect()
    }
}

fn assert_nearest<const K: usize>(device: &Device, case: &Against, measure: Measure) {
    let search = Search {
        offset: 1000,
        ..Search::by(measure)
    };
    let held = Lists::new(device, case, K);
    let found = held.found(search);
    assert_lists(case, &found, &wanted::<K>(case, measure).1);
    // It is the same sequence of launches.
    let of_bits = |lists: &[Vec<(f32, usize)>]| -> Vec<Vec<(u32, usize)>> {
        let of = |list: &Vec<(f32, usize)>| list.iter().map(|(x, i)| (x.to_bits(), *i)).collect();
        lists.iter().map(of).collect()
    };
    let by_host = lists::<K>(device, case, measure).1;
    assert_eq!(of_bits(&found), of_bits(&by_host), "{}", case.name);
    assert_eq!(of_bits(&found), of_bits(&held.found(search)));
}

pub(crate) fn nearest(device: &Device) {
    let mut cases = pairs();
    cases.push(Against::random(116, [2, 1, 300, 3]));
    for case in cases {
        assert_nearest::<5>(device, &case, Measure::Volume);
        assert_nearest::<1>(device, &case, Measure::Distance);
        assert_nearest::<32>(device, &case, Measure::Distance);
    }
}

pub(crate) fn nearest_refused(device: &Device) {
    let case = Against::random(117, [3, 2, 5, 6]);
    let held = Lists::new(device, &case, 4);
    let search = Search::by(Measure::Volume);
    assert_memory_refused(
        held.memory(),
        |memory| held.queue_with(search, 4, case.sizes, memory),
        |memory| (&mut memory.workspace, &mut memory.workspace_len),
        &[
            |memory| &mut memory.anchors,
            |memory| &mut memory.items,
            |memory| &mut memory.present,
            |memory| &mut memory.scores,
            |memory| &mut memory.indices,
        ],
    );
    let run = |search, k, sizes| held.queue_with(search, k, sizes, held.memory());
    let zeros = Search {
        zero_rows: ZeroRows::Zero,
        ..search
    };
    for (search, k) in [(Search::by(Measure::Cosine), 4), (zeros, 4), (search, 33)] {
        let found = run(search, k, case.sizes);
        assert!(matches!(found, Err(Failure::NoKernel(_))), "{found:?}");
    }
    let tiles = Search { tile: 0, ..search };
    for (search, k, sizes) in [
        (search, 0, case.sizes),
        (tiles, 4, case.sizes),
        (search, 4, [3, 2, 0, 6]),
    ] {
        assert_eq!(run(search, k, sizes), Err(Failure::Input));
    }
    let far = Search {
        offset: u32::MAX as usize - 5,
        ..search
    };
    // 65535 rows of tiles are the most of a grid.
    let high = [65536 * 64, 1, 1, 6];
    assert_eq!(run(far, 4, case.sizes), Err(Failure::Size));
    assert_eq!(run(search, 4, high), Err(Failure::Size));
    for (k, sizes) in [(33, case.sizes), (0, case.sizes), (4, high)] {
        assert_eq!(device.nearest_workspace_len(k, sizes), u64::MAX);
    }
}

/// What [`Device::eisl_loss_at`] takes, or [`Device::eisl_loss_bf16_at`].
#[derive(Debug)]
pub struct Sequences<'d> {
    device: &'d Device,
    case: Rows,
    logits: Buffer<'d>,
    /// Those of bf16.
    halves: Option<Vec<u16>>,
    /// Labels, wanted tokens, outputs, lengths.
    integers: [Buffer<'d>; 4],
    /// ∂loss/∂E of each row and order; it is −1 times the share of E in the loss.
    factors: Vec<f32>,
    weights: Buffer<'d>,
    /// Tokens that are wanted.
    count: usize,
    /// Sums, scores, work, gradient, values, cross-entropy.
    room: [Buffer<'d>; 6],
}

impl<'d> Sequences<'d> {
    /// With a batch whose targets have no gaps, selected by softmax, as it is or with its logits rounded to bf16.
    pub fn new(device: &'d Device, case: &Rows, in_bf16: bool) -> Self {
        let (case, halves) = match in_bf16 {
            true => {
                let (case, halves) = case.in_bf16();
                (case, Some(halves))
            }
            false => (case.clone(), None),
        };
        let Shape {
            batch: rows,
            positions: t,
            targets: u,
            ..
        } = case.shape;
        assert_eq!(case.config.select, Select::Softmax);
        let mut orders = case.orders.clone();
        orders.sort_by_key(|(n, _)| *n);
        let mut tokens = vec![IGNORE; rows * t];
        let (mut outputs, mut lengths, mut factors) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..rows {
            let labels = &case.labels[row * u..(row + 1) * u];
            let length = labels.iter().rposition(|label| *label != IGNORE);
            let length = length.map_or(0, |last| last + 1);
            let length = case.lengths.as_ref().map_or(length, |lengths| lengths[row]);
            let output = case.outputs.as_ref().map_or(t, |outputs| outputs[row]);
            let wanted = tokens[row * t..][..output].iter_mut();
            wanted.zip(&labels[..length]).for_each(|(to, x)| *to = *x);
            outputs.push(output as u32);
            lengths.push(length as u32);
            for (n, weight) in &orders {
                let grams = (length + 1).saturating_sub(*n).max(1);
                factors.push(-case.config.ngram_factor * weight / (rows * grams) as f32);
            }
        }
        let integers = [&case.labels, &tokens].map(|x| {
            let buffer = room(device, x.len());
            buffer.write(0, Numbers::I32(x)).expect("a copy");
            buffer
        });
        let counts = [&outputs, &lengths].map(|x| {
            let buffer = room(device, x.len());
            buffer.write(0, Numbers::U32(x)).expect("a copy");
            buffer
        });
        let ([a, b], [c, d]) = (integers, counts);
        let values = rows * orders.len() * u;
        let lens = [
            2 * rows * t,
            rows * t * u,
            2 * rows * t * u,
            rows * t * u,
            values,
            rows * t,
        ];
        Sequences {
            device,
            logits: match &halves {
                Some(x) => device.buffer_of_halves(x.len()).expect("memory"),
                None => room(device, case.x.len()),
            },
            halves,
            integers: [a, b, c, d],
            weights: held(device, &factors),
            factors,
            count: tokens.iter().filter(|token| **token != IGNORE).count(),
            room: lens.map(|len| room(device, len)),
            case,
        }
    }

    fn parameters<T: Element>(&self) -> Eisl<T> {
        let (config, shape) = (self.case.config, self.case.shape);
        let mut sorted: Vec<u32> = self.case.orders.iter().map(|(n, _)| *n as u32).collect();
        sorted.sort_unstable();
        let mut orders = [0; ORDERS];
        orders[..sorted.len()].copy_from_slice(&sorted);
        let [labels, tokens, outputs, lengths] = &self.integers;
        let [sums, scores, work, gradient, values, cross_entropy] = &self.room;
        Eisl {
            logits: self.logits.view(),
            labels: labels.view(),
            tokens: tokens.view(),
            outputs: outputs.view(),
            lengths: lengths.view(),
            factors: self.weights.view(),
            sums: sums.view(),
            scores: scores.view(),
            work: work.view(),
            gradient: gradient.view(),
            values: values.view(),
            cross_entropy: cross_entropy.view(),
            rows: shape.batch as u32,
            positions: shape.positions as u32,
            targets: shape.targets as u32,
            vocabulary: shape.vocabulary as u32,
            orders,
            order_count: sorted.len() as u32,
            select: 0,
            temperature: F32(config.temperature),
            clamp: F32(config.clamp.unwrap_or(f32::NEG_INFINITY)),
            smoothing: F32(config.label_smoothing),
            token_share: F32(config.ce_factor / self.count.max(1) as f32),
        }
    }

    /// Copies the logits, which the gradient of the last time has replaced.
    pub fn load(&self) {
        let logits = match &self.halves {
            Some(x) => Numbers::U16(x),
            None => Numbers::F32(&self.case.x),
        };
        self.logits.write(0, logits).expect("a copy");
    }

    /// Queues the loss.
    ///
    /// # Errors
    /// Those of the device.
    pub fn queue(&self) -> Result<(), Failure> {
        match self.halves {
            // SAFETY: the buffers are this one's, of this shape.
            Some(_) => unsafe { self.device.eisl_loss_bf16_at(self.parameters()) },
            // SAFETY: the buffers are this one's, of this shape.
            None => unsafe { self.device.eisl_loss_at(self.parameters()) },
        }
    }

    /// The sequence loss and the cross-entropy.
    fn losses(&self) -> [f32; 2] {
        let [values, cross_entropy] = [&self.room[4], &self.room[5]].map(|buffer| {
            let mut numbers = vec![0.0; buffer.len()];
            buffer.read(Room::F32(&mut numbers)).expect("a copy");
            double(&numbers)
        });
        let each = values.chunks(self.case.shape.targets).zip(&self.factors);
        let eisl: f64 = each
            .map(|(e, factor)| f64::from(*factor) * e.iter().sum::<f64>())
            .sum();
        let ce = cross_entropy.iter().sum::<f64>() / self.count.max(1) as f64;
        let eisl = eisl / f64::from(self.case.config.ngram_factor);
        [eisl as f32, ce as f32]
    }
}

/// Lengths, repeated and ignored targets, one number of each, and rows that begin within sixteen bytes.
fn batches() -> Vec<Rows> {
    let mut lengths = Rows::random(120, [3, 8, 7, 21]);
    lengths.outputs = Some(vec![8, 5, 1]);
    lengths.lengths = Some(vec![3, 7, 0]);
    let mut ignored = Rows::random(121, [2, 6, 8, 11]);
    ignored.labels[..5].fill(3);
    ignored.labels[13..].fill(IGNORE);
    vec![
        Rows::random(122, [1, 1, 1, 1]),
        Rows::random(123, [1, 3, 2, 2100]),
        lengths,
        ignored,
    ]
}

pub(crate) fn sequences(device: &Device) {
    for case in batches() {
        for in_bf16 in [false, true] {
            let held = Sequences::new(device, &case, in_bf16);
            held.load();
            held.queue().expect("it starts");
            let (want, gradient) = held.case.oracle();
            let what = format!("{} {:?}, bf16: {in_bf16}", case.name, case.shape);
            let want = [want.eisl, want.ce];
            let scale = |i: usize| want[i].abs().max(1.0);
            assert_close(&what, &held.losses(), &want, scale, SINGLE.loss);
            let (config, batch) = (held.case.config(), held.case.batch());
            // It is the same sequence of launches as of an operation on slices.
            if let Some(halves) = &held.halves {
                let mut found = vec![0; halves.len()];
                held.logits.read(Room::U16(&mut found)).expect("a copy");
                assert_half_gradient(&what, &found, &gradient);
                let mut x = halves.clone();
                let losses = device.eisl_loss_half(&config, &batch, Half::Bf16, &mut x);
                losses.expect("a device that works");
                assert_eq!(found, x, "{what}");
            } else {
                let mut found = vec![0.0; held.case.x.len()];
                held.logits.read(Room::F32(&mut found)).expect("a copy");
                let length = norm(&gradient).max(1e-2);
                assert_close(&what, &found, &gradient, |_| length, SINGLE.eisl_gradient);
                let mut x = held.case.x.clone();
                let losses = device.eisl_loss(&config, &batch, &mut x);
                losses.expect("a device that works");
                assert_eq!(bits(&found), bits(&x), "{what}");
            }
        }
    }
}

pub(crate) fn sequences_refused(device: &Device) {
    let case = Rows::random(124, [2, 3, 2, 5]);
    let [held, halves] = [false, true].map(|in_bf16| Sequences::new(device, &case, in_bf16));
    // SAFETY: what is not as the kernels need it is refused, and nothing is queued.
    let run = |p| unsafe { device.eisl_loss_at(p) };
    // SAFETY: as above.
    let run_halves = |p| unsafe { device.eisl_loss_bf16_at(p) };
    let (p, half) = (held.parameters::<F32>(), halves.parameters());
    let crooked = |address, len: usize| Global::new(address + 2, len as u64);
    let logits = crooked(p.logits.at(0), p.logits.len());
    assert_eq!(run(Eisl { logits, ..p }), Err(Failure::Input));
    let scores = crooked(p.scores.at(0), p.scores.len());
    assert_eq!(run(Eisl { scores, ..p }), Err(Failure::Input));
    assert_eq!(run_halves(Eisl { scores, ..half }), Err(Failure::Input));
    let labels = Global::new(p.labels.at(0) + 1, p.labels.len() as u64);
    assert_eq!(run(Eisl { labels, ..p }), Err(Failure::Input));
    let logits = Global::new(half.logits.at(0) + 1, half.logits.len() as u64);
    assert_eq!(run_halves(Eisl { logits, ..half }), Err(Failure::Input));
    assert_eq!(run(Eisl { rows: 0, ..p }), Err(Failure::Input));
    let positions = 0;
    assert_eq!(run_halves(Eisl { positions, ..half }), Err(Failure::Input));
    // More rows than a grid has down.
    let rows = 65536;
    assert_eq!(run(Eisl { rows, ..p }), Err(Failure::Size));
    assert_eq!(run_halves(Eisl { rows, ..half }), Err(Failure::Size));
    // Of a buffer only numbers of its own size are copied.
    let (words, short) = ([0; 4], [0_u16; 4]);
    for (buffer, numbers) in [
        (&held.logits, Numbers::U16(&short)),
        (&halves.logits, Numbers::U32(&words)),
    ] {
        assert_eq!(buffer.write(0, numbers), Err(Failure::Input));
    }
    assert_eq!(held.logits.copy_to(&halves.logits), Err(Failure::Input));
    let copy = device.buffer_of_halves(halves.logits.len() + 1);
    let (copy, mut found) = (copy.expect("memory"), vec![0; halves.logits.len()]);
    halves.load();
    halves.logits.copy_to(&copy).expect("a copy");
    copy.read(Room::U16(&mut found)).expect("a copy");
    assert_eq!(Some(found), halves.halves);
}

/// Updates on the device are those of slices, bit for bit; addresses that are not aligned are refused.
pub(crate) fn updates(device: &Device) {
    let numbers = [0.875, 0.996_093_75, 1e-8, 0.015_625];
    for n in [1, 300] {
        let seed = n as u64;
        let [mut want, gradient] = [seed, seed + 1].map(|seed| normals(seed, n));
        let [mut first, mut second] = [vec![0.0; n], vec![0.0; n]];
        let held = [&want, &gradient, &first, &second].map(|x| held(device, x));
        let addresses = held.each_ref().map(Buffer::address);
        for t in 1..=3 {
            let rule = AdamW::new(numbers, 0.015_625, t);
            let done = device.adamw(rule, &mut want, &gradient, &mut first, &mut second);
            done.expect("a device that works");
            // SAFETY: four buffers of n numbers.
            let done = unsafe { device.adamw_at(rule, addresses, n) };
            done.expect("a device that works");
            for which in 0..4 {
                let mut off = addresses;
                off[which] += 2;
                // SAFETY: nothing is queued.
                let refused = unsafe { device.adamw_at(rule, off, n) };
                assert_eq!(refused, Err(Failure::Input), "{which}");
            }
        }
        let wanted = [&want, &gradient, &first, &second];
        for (held, want) in held.iter().zip(wanted) {
            let mut found = vec![f32::NAN; n];
            held.read(Room::F32(&mut found)).expect("a copy");
            assert_eq!(bits(&found), bits(want), "{n} parameters");
        }
    }
}
