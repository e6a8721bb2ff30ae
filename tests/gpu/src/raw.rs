//! The checks of raw handles: operations on memory that the caller holds on the device. Each holds exactly as many numbers
//! as it says, so that the emulation finds what goes beyond.

use rivergram::cuda::driver::{Numbers, Room};
use rivergram::cuda::raw::{Buffer, MatrixMemory, NearestMemory};
use rivergram::cuda::{Device, Failure, Precision};
use rivergram_core::gram::contrastive::ZeroRows;
use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::search::Search;

use crate::cases::Against;
use crate::checks::{assert_lists, assert_volumes, bits, lists, matrix, wanted};
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
