//! What the kernels take on a device, by its own clock. Inputs lie on the device; several copies of them are used in turn,
//! so that none is in the cache from the round before.

use rivergram::cuda::driver::{Numbers, Task};
use rivergram::cuda::raw::{Buffer, GramMemory};
use rivergram::cuda::{Device, Failure};
use rivergram_core::gram::contrastive::GramLoss;
use rivergram_core::optim::AdamW;
use rivergram_cuda_kernels::device::Global;
use rivergram_cuda_kernels::kernels::basis::Items;
use rivergram_cuda_kernels::kernels::eisl::Eisl;
use rivergram_cuda_kernels::kernels::pairs::{Pairs, TILE, Volumes};
use rivergram_cuda_kernels::kernels::search::Nearest;
use rivergram_cuda_kernels::lanes::F32;

use crate::cases::normals;

/// How large the inputs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Those of the bars.
    Full,
    /// So small that an emulated device does it.
    Tiny,
}

impl Scale {
    fn of<const N: usize>(self, full: [usize; N], tiny: [usize; N]) -> [usize; N] {
        match self {
            Scale::Full => full,
            Scale::Tiny => tiny,
        }
    }

    /// Copies of an input, and rounds besides the first.
    fn rounds(self) -> (usize, usize) {
        match self {
            Scale::Full => (4, 20),
            Scale::Tiny => (2, 2),
        }
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// The work and its sizes.
    pub work: String,
    /// The time of each round in ms, sorted.
    pub times: Vec<f32>,
    /// Bytes that have to move.
    pub bytes: f64,
    /// Operations of the products.
    pub operations: f64,
}

impl Line {
    /// The median time in ms.
    pub fn median(&self) -> f64 {
        self.times
            .get(self.times.len() / 2)
            .copied()
            .map_or(f64::NAN, f64::from)
    }
}

/// A work by name.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Its name.
    pub name: &'static str,
    /// Measures it.
    pub run: fn(&Device, Scale) -> Result<Line, Failure>,
}

/// Every work; the ceiling first.
pub const WORKS: &[Work] = &[
    Work {
        name: "copy",
        run: copy,
    },
    Work {
        name: "bases",
        run: bases,
    },
    Work {
        name: "volume matrix",
        run: volumes,
    },
    Work {
        name: "gram loss",
        run: gram,
    },
    Work {
        name: "sequence loss",
        run: sequences,
    },
    Work {
        name: "search",
        run: search,
    },
    Work {
        name: "adamw",
        run: update,
    },
];

/// Runs `work` with each copy in turn: once to warm up, then by the clock.
fn measured(
    device: &Device,
    scale: Scale,
    mut work: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<Vec<f32>, Failure> {
    let (copies, rounds) = scale.rounds();
    (0..copies).try_for_each(&mut work)?;
    let mut times = Vec::new();
    for round in 0..rounds {
        times.push(device.timed(|| work(round % copies))?);
    }
    times.sort_by(f32::total_cmp);
    Ok(times)
}

/// Numbers that the host has at a time.
const PIECE: usize = 1 << 20;

/// Numbers at random: some thousands, over and over.
fn filled(device: &Device, len: usize, seed: u64) -> Result<Buffer<'_>, Failure> {
    repeated(device, len, &normals(seed, 10_007))
}

fn constant(device: &Device, len: usize, x: f32) -> Result<Buffer<'_>, Failure> {
    repeated(device, len, &[x])
}

/// The pattern over and over, a piece at a time: the host has less memory than some devices.
fn repeated<'d>(device: &'d Device, len: usize, pattern: &[f32]) -> Result<Buffer<'d>, Failure> {
    let whole = pattern.len() * (PIECE / pattern.len());
    let piece: Vec<f32> = pattern
        .iter()
        .copied()
        .cycle()
        .take(whole.min(len))
        .collect();
    let buffer = device.buffer(len)?;
    for start in (0..len).step_by(piece.len().max(1)) {
        let n = piece.len().min(len - start);
        buffer.write(start, Numbers::F32(&piece[..n]))?;
    }
    Ok(buffer)
}

fn copies<'d>(device: &'d Device, scale: Scale, len: usize) -> Result<Vec<Buffer<'d>>, Failure> {
    let (copies, _) = scale.rounds();
    (0..copies as u64)
        .map(|seed| filled(device, len, seed))
        .collect()
}

fn copy(device: &Device, scale: Scale) -> Result<Line, Failure> {
    let [len] = scale.of([1 << 26], [1000]);
    let from = copies(device, scale, len)?;
    let to = device.buffer(len)?;
    Ok(Line {
        work: format!("copy, {} MB", len * 4 / 1_000_000),
        times: measured(device, scale, |i| from[i].copy_to(&to))?,
        bytes: 8.0 * len as f64,
        operations: 0.0,
    })
}

/// Items with room for their bases, and anchors.
struct Pair<'d> {
    vectors: Vec<Buffer<'d>>,
    present: Buffer<'d>,
    rest: Vec<Buffer<'d>>,
    pairs: Pairs,
}

impl<'d> Pair<'d> {
    fn new(
        device: &'d Device,
        scale: Scale,
        [rows, m, items, d]: [usize; 4],
        blocks: usize,
    ) -> Result<Self, Failure> {
        let vectors = copies(device, scale, m * items * d)?;
        let present = constant(device, m * items, 1.0)?;
        let lens = [
            m * items * d,
            items * m * m,
            items,
            items,
            rows,
            8 * blocks * d,
        ];
        let mut rest = Vec::new();
        for len in lens {
            rest.push(device.buffer(len)?);
        }
        rest.push(filled(device, rows * d, 99)?);
        let view = |i: usize| rest[i].view::<F32>();
        let pairs = Pairs {
            anchors: view(6),
            squares: view(4),
            items: Items {
                vectors: vectors[0].view(),
                present: present.view(),
                q: view(0),
                r: view(1),
                volume: view(2),
                any: view(3),
                items: items as u32,
                m: m as u32,
                d: d as u32,
                skip: u32::MAX,
            },
            residuals: view(5),
            rows: rows as u32,
            measure: 0,
        };
        Ok(Pair {
            vectors,
            present,
            rest,
            pairs,
        })
    }

    /// With another copy of the vectors.
    fn turn(&self, i: usize) -> Pairs {
        let items = Items {
            vectors: self.vectors[i].view(),
            ..self.pairs.items
        };
        Pairs {
            items,
            ..self.pairs
        }
    }

    /// Queues a kernel on them.
    fn launch(&self, device: &Device, task: &Task, blocks: [u32; 2]) -> Result<(), Failure> {
        debug_assert!(!self.present.is_empty() && self.rest.len() == 7);
        // SAFETY: the views of the task are this one's buffers, and the caller's, of the lengths that its sizes say.
        unsafe { device.launch(task, blocks) }
    }
}

fn warps(n: u32) -> [u32; 2] {
    [n.div_ceil(4), 1]
}

/// Blocks for the tiles of a matrix: some for each multiprocessor.
fn tiles(device: &Device, a: usize, b: usize) -> usize {
    let side = TILE as usize;
    let waves = 4 * device.properties().multiprocessors as usize;
    (a.div_ceil(side) * b.div_ceil(side)).min(waves)
}

fn bases(device: &Device, scale: Scale) -> Result<Line, Failure> {
    let [items, m, d] = scale.of([65536, 2, 512], [40, 2, 24]);
    let pair = Pair::new(device, scale, [1, m, items, d], 1)?;
    let times = measured(device, scale, |i| {
        let items = pair.turn(i).items;
        pair.launch(device, &Task::Bases(items), warps(items.items))
    })?;
    Ok(Line {
        work: format!("bases of {items} items, m={m}, D={d}"),
        times,
        bytes: 8.0 * (m * items * d) as f64,
        operations: 0.0,
    })
}

fn volumes(device: &Device, scale: Scale) -> Result<Line, Failure> {
    let [b, m, d] = scale.of([8192, 2, 512], [70, 2, 20]);
    let blocks = tiles(device, b, b);
    let pair = Pair::new(device, scale, [b, m, b, d], blocks)?;
    let out = device.buffer(b * b)?;
    let times = measured(device, scale, |i| {
        let pairs = pair.turn(i);
        pair.launch(device, &Task::Bases(pairs.items), warps(pairs.items.items))?;
        pair.launch(device, &Task::Squares(pairs), warps(pairs.rows))?;
        let task = Task::Volumes(Volumes {
            pairs,
            out: out.view(),
        });
        pair.launch(device, &task, [blocks as u32, 1])
    })?;
    Ok(Line {
        work: format!("volume matrix, B={b}, k={}, D={d}, f32", m + 1),
        times,
        bytes: 0.0,
        operations: 2.0 * (b * b) as f64 * (m * d) as f64,
    })
}

fn gram(device: &Device, scale: Scale) -> Result<Line, Failure> {
    let [k, b, d] = scale.of([3, 4096, 512], [3, 70, 12]);
    let vectors = copies(device, scale, k * b * d)?;
    let present = constant(device, k * b, 1.0)?;
    let (gradient, report) = (device.buffer(k * b * d)?, device.buffer(3)?);
    let strip = b.min(1024);
    let workspace_len = device.gram_workspace_len([k, b, d], strip);
    let workspace = device.buffer(usize::try_from(workspace_len).map_err(|_| Failure::Size)?)?;
    let times = measured(device, scale, |i| {
        let memory = GramMemory {
            vectors: vectors[i].address(),
            present: present.address(),
            gradient: gradient.address(),
            report: report.address(),
            workspace: workspace.address(),
            workspace_len,
        };
        // SAFETY: the buffers have the lengths of these sizes, and live until the times are taken.
        unsafe { device.gram_loss_at(&GramLoss::paper(0), [k, b, d], strip, memory) }
    })?;
    let megabytes = workspace_len * 4 / 1_000_000;
    Ok(Line {
        work: format!(
            "GRAM loss forward and backward, B={b}, k={k}, D={d}, f32, {megabytes} MB besides"
        ),
        times,
        bytes: 0.0,
        // Two products of coordinates, two of gradients.
        operations: 4.0 * 2.0 * (b * b) as f64 * ((k - 1) * d) as f64,
    })
}

fn sequences(device: &Device, scale: Scale) -> Result<Line, Failure> {
    let [rows, t, u, v] = scale.of([32, 128, 128, 32000], [2, 6, 5, 40]);
    let orders = 4;
    let logits = copies(device, scale, rows * t * v)?;
    let of = |len: usize, number: u32| {
        let buffer = device.buffer(len)?;
        buffer.write(0, Numbers::U32(&vec![number; len]))?;
        Ok::<_, Failure>(buffer)
    };
    let labels: Vec<i32> = (0..rows * u).map(|i| (i * 7919 % v) as i32).collect();
    let labels_there = device.buffer(rows * u)?;
    labels_there.write(0, Numbers::I32(&labels))?;
    let tokens = of(rows * t, (-100_i32).cast_unsigned())?;
    let (outputs, lengths) = (of(rows, t as u32)?, of(rows, u as u32)?);
    let factors = constant(device, rows * orders, -1.0 / (rows * u * orders) as f32)?;
    let mut work = Vec::new();
    for len in [
        2 * rows * t,
        rows * t * u,
        2 * rows * t * u,
        rows * t * u,
        rows * orders * u,
        rows * t,
    ] {
        work.push(device.buffer(len)?);
    }
    let times = measured(device, scale, |i| {
        let view = |i: usize| work[i].view::<F32>();
        let p = Eisl {
            logits: logits[i].view(),
            labels: labels_there.view(),
            tokens: tokens.view(),
            outputs: outputs.view(),
            lengths: lengths.view(),
            factors: factors.view(),
            sums: view(0),
            scores: view(1),
            work: view(2),
            gradient: view(3),
            values: view(4),
            cross_entropy: view(5),
            rows: rows as u32,
            positions: t as u32,
            targets: u as u32,
            vocabulary: v as u32,
            orders: [1, 2, 3, 4, 0, 0, 0, 0],
            order_count: orders as u32,
            select: 0,
            temperature: F32(1.0),
            clamp: F32(-20.0),
            smoothing: F32(0.0),
            token_share: F32(0.0),
        };
        // SAFETY: the buffers have the lengths that `Eisl` says for these sizes.
        unsafe { device.eisl_loss_at(p) }
    })?;
    Ok(Line {
        work: format!("EISL n=1..4 forward and backward, B={rows}, T={t}, V={v}, f32"),
        times,
        // Two reads, one write.
        bytes: 12.0 * (rows * t * v) as f64,
        operations: 0.0,
    })
}

fn search(device: &Device, scale: Scale) -> Result<Line, Failure> {
    let [rows, m, mut items, d, best] = scale.of([64, 2, 10_000_000, 256, 10], [3, 2, 150, 8, 4]);
    // What the device has room for; one copy is past any cache.
    loop {
        match search_of(device, scale, [rows, m, items, d], best) {
            Err(Failure::Memory { .. }) if items > 1000 => items /= 2,
            found => return found,
        }
    }
}

fn search_of(
    device: &Device,
    scale: Scale,
    [rows, m, items, d]: [usize; 4],
    best: usize,
) -> Result<Line, Failure> {
    let blocks = tiles(device, rows, items);
    let gallery = filled(device, m * items * d, 1)?;
    let present = constant(device, m * items, 1.0)?;
    let mut rest = Vec::new();
    for len in [
        m * items * d,
        items * m * m,
        items,
        items,
        rows,
        8 * blocks * rows.div_ceil(TILE as usize) * d,
        rows * blocks * best,
        rows * blocks * best,
        rows * best,
        rows * best,
    ] {
        rest.push(device.buffer(len)?);
    }
    let anchors = filled(device, rows * d, 99)?;
    let view = |i: usize| rest[i].view::<F32>();
    let pairs = Pairs {
        anchors: anchors.view(),
        squares: view(4),
        items: Items {
            vectors: gallery.view(),
            present: present.view(),
            q: view(0),
            r: view(1),
            volume: view(2),
            any: view(3),
            items: items as u32,
            m: m as u32,
            d: d as u32,
            skip: u32::MAX,
        },
        residuals: view(5),
        rows: rows as u32,
        measure: 0,
    };
    let indices = |i: usize| -> Global<u32> { rest[i].view() };
    let p = Nearest {
        pairs,
        scores: view(6),
        indices: indices(7),
        best_scores: view(8),
        best_indices: indices(9),
        best: best as u32,
        blocks: blocks as u32,
        offset: 0,
        zeros_are_missing: 1,
    };
    let launch = |task: &Task, blocks: [u32; 2]| {
        // SAFETY: the views are buffers of this function, of the lengths that the sizes say.
        unsafe { device.launch(task, blocks) }
    };
    launch(&Task::Bases(pairs.items), warps(items as u32))?;
    launch(&Task::Squares(pairs), warps(rows as u32))?;
    let down = rows.div_ceil(TILE as usize) as u32;
    let times = measured(device, scale, |_| {
        launch(&Task::Nearest(p), [blocks as u32, down])?;
        launch(&Task::Merge(p), warps(rows as u32))
    })?;
    Ok(Line {
        work: format!(
            "search, {rows} anchors, {items} items, k={}, D={d}, f32",
            m + 1
        ),
        times,
        bytes: 4.0 * (m * items * d) as f64,
        operations: 2.0 * (rows * items) as f64 * (m * d) as f64,
    })
}

fn update(device: &Device, scale: Scale) -> Result<Line, Failure> {
    let [n] = scale.of([100_000_000], [500]);
    let g = filled(device, n, 1)?;
    let mut state = Vec::new();
    for _ in 0..3 {
        state.push(constant(device, n, 0.0)?);
    }
    let rule = AdamW::new([0.9, 0.98, 1e-8, 0.01], 1e-3, 1);
    let [w, m, v] = [0, 1, 2].map(|i: usize| state[i].address());
    let times = measured(device, scale, |_| {
        // SAFETY: each buffer has n numbers.
        unsafe { device.adamw_at(rule, [w, g.address(), m, v], n) }
    })?;
    Ok(Line {
        work: format!("AdamW, {n} parameters"),
        times,
        // Four reads, three writes.
        bytes: 28.0 * n as f64,
        operations: 0.0,
    })
}
