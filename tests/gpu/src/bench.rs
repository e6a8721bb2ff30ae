//! What the kernels take on a device, by its own clock. Inputs lie on the device; several copies of them are used in turn,
//! so that none is in the cache from the round before.

use rivergram::cuda::driver::{Numbers, Task};
use rivergram::cuda::raw::{Buffer, GramMemory};
use rivergram::cuda::{Device, Failure, Precision};
use rivergram_core::gram::contrastive::GramLoss;
use rivergram_core::optim::AdamW;
use rivergram_core::optim::rounding::Half;
use rivergram_cuda_kernels::device::{Format, Global};
use rivergram_cuda_kernels::kernels::basis::Items;
use rivergram_cuda_kernels::kernels::eisl::Eisl;
use rivergram_cuda_kernels::kernels::pairs::{Pairs, TILE, Volumes};
use rivergram_cuda_kernels::kernels::search::{Nearest, Scan};
use rivergram_cuda_kernels::kernels::tensor::{self, Narrow, Operands, TensorVolumes, row_words};
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
    /// Bytes of memory besides what goes in and comes out, where they are bounded.
    pub extra: Option<u64>,
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
        run: |device, scale| volumes(device, scale, Precision::Exact),
    },
    Work {
        name: "volume matrix tf32",
        run: |device, scale| volumes(device, scale, Precision::Tf32),
    },
    Work {
        name: "volume matrix bf16",
        run: |device, scale| volumes(device, scale, Precision::Bf16),
    },
    Work {
        name: "gram loss",
        run: |device, scale| gram(device, scale, Precision::Exact, BATCH),
    },
    Work {
        name: "gram loss tf32",
        run: |device, scale| gram(device, scale, Precision::Tf32, BATCH),
    },
    Work {
        name: "gram loss large",
        run: |device, scale| gram(device, scale, Precision::Exact, LARGE),
    },
    Work {
        name: "gram loss large tf32",
        run: |device, scale| gram(device, scale, Precision::Tf32, LARGE_TF32),
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
        name: "search bf16",
        run: |device, scale| search_narrow(device, scale, Format::Bf16),
    },
    Work {
        name: "search int8",
        run: |device, scale| search_narrow(device, scale, Format::I8),
    },
    Work {
        name: "adamw",
        run: update,
    },
];

/// The works whose names contain one of the words, or all without a word; the copy in any case, since others are compared
/// with it. A word that is in no name is an error.
pub fn selected(words: &[String]) -> Result<Vec<&'static Work>, String> {
    let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let lacks = |word: &&String| !WORKS.iter().any(|work| work.name.contains(word.as_str()));
    if let Some(word) = words.iter().find(lacks) {
        return Err(format!("no work is called {word:?}"));
    }
    let is_asked = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let works = WORKS.iter();
    Ok(works
        .filter(|work| work.name == "copy" || is_asked(work.name))
        .collect())
}

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

/// How many numbers are at random, then the same again: no row of a power of two is like the one before.
const PATTERN: usize = 10_007;

/// Numbers at random: some thousands, over and over.
fn filled(device: &Device, len: usize, seed: u64) -> Result<Buffer<'_>, Failure> {
    let pattern: Vec<u32> = normals(seed, PATTERN)
        .into_iter()
        .map(f32::to_bits)
        .collect();
    repeated(device, len, &pattern)
}

fn constant(device: &Device, len: usize, x: f32) -> Result<Buffer<'_>, Failure> {
    repeated(device, len, &[x.to_bits()])
}

/// The pattern over and over, a piece at a time: the host has less memory than some devices.
fn repeated<'d>(device: &'d Device, len: usize, pattern: &[u32]) -> Result<Buffer<'d>, Failure> {
    let whole = pattern.len() * (PIECE / pattern.len());
    let piece: Vec<u32> = pattern
        .iter()
        .copied()
        .cycle()
        .take(whole.min(len))
        .collect();
    let buffer = device.buffer(len)?;
    for start in (0..len).step_by(piece.len().max(1)) {
        let n = piece.len().min(len - start);
        buffer.write(start, Numbers::U32(&piece[..n]))?;
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
        extra: None,
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
    /// Of so many anchors, vectors per item, items and dimensions, with copies of the items' vectors; `blocks` of products
    /// need room.
    fn new(
        device: &'d Device,
        [rows, m, items, d]: [usize; 4],
        vectors: Vec<Buffer<'d>>,
        blocks: usize,
    ) -> Result<Self, Failure> {
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

    /// Queues what products need: the bases and the lengths of the anchors.
    fn prepare(&self, device: &Device, pairs: Pairs) -> Result<(), Failure> {
        self.launch(device, &Task::Bases(pairs.items), warps(pairs.items.items))?;
        self.launch(device, &Task::Squares(pairs), warps(pairs.rows))
    }
}

/// Rows of `d` numbers and room for a copy in a narrow format.
struct Copy<'d> {
    words: Buffer<'d>,
    scales: Buffer<'d>,
    p: Narrow,
}

impl<'d> Copy<'d> {
    fn new(
        device: &'d Device,
        numbers: Global<F32>,
        [rows, d]: [usize; 2],
        format: Format,
    ) -> Result<Self, Failure> {
        let row_words = row_words(format, d as u32);
        let words = device.buffer(rows * row_words as usize)?;
        let scales = device.buffer(rows)?;
        let p = Narrow {
            numbers,
            words: words.view(),
            scales: scales.view(),
            rows: rows as u32,
            d: d as u32,
            row_words,
            format: format as u32,
        };
        Ok(Copy { words, scales, p })
    }

    /// Queues the copy.
    fn launch(&self, device: &Device) -> Result<(), Failure> {
        debug_assert!(!self.words.is_empty() && !self.scales.is_empty());
        // SAFETY: the words and the scales are this one's, the numbers a buffer that its maker holds, of these rows.
        unsafe { device.launch(&Task::Narrow(self.p), warps(self.p.rows)) }
    }
}

/// That the device has more than exact products.
fn has(device: &Device, precision: Precision) -> Result<(), Failure> {
    let (major, minor) = device.properties().capability;
    match precision.on(major, minor) == precision {
        true => Ok(()),
        false => Err(Failure::NoKernel(
            "products that are not exact before compute capability 8.0",
        )),
    }
}

fn warps(n: u32) -> [u32; 2] {
    [n.div_ceil(4), 1]
}

/// Blocks for the tiles of a matrix: some for each multiprocessor.
fn tiles(device: &Device, [a, b]: [usize; 2], tile: [u32; 2]) -> usize {
    let waves = 4 * device.properties().multiprocessors as usize;
    let [high, wide] = tile.map(|side| side as usize);
    (a.div_ceil(high) * b.div_ceil(wide)).min(waves)
}

/// Anchors and items of a tile.
const EXACT: [u32; 2] = [TILE; 2];
const NARROW: [u32; 2] = [tensor::ROWS, tensor::COLUMNS];

fn bases(device: &Device, scale: Scale) -> Result<Line, Failure> {
    let [items, m, d] = scale.of([65536, 2, 512], [40, 2, 24]);
    let vectors = copies(device, scale, m * items * d)?;
    let pair = Pair::new(device, [1, m, items, d], vectors, 1)?;
    let times = measured(device, scale, |i| {
        let items = pair.turn(i).items;
        pair.launch(device, &Task::Bases(items), warps(items.items))
    })?;
    Ok(Line {
        work: format!("bases of {items} items, m={m}, D={d}"),
        times,
        bytes: 8.0 * (m * items * d) as f64,
        operations: 0.0,
        extra: None,
    })
}

fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Exact => "f32",
        Precision::Tf32 => "TF32",
        Precision::Bf16 => "bf16",
    }
}

/// From vectors to volumes: bases, copies in the narrow format, products.
fn volumes(device: &Device, scale: Scale, precision: Precision) -> Result<Line, Failure> {
    has(device, precision)?;
    let [b, m, d] = scale.of([8192, 2, 512], [70, 2, 20]);
    let format = precision.format();
    let blocks = tiles(device, [b, b], format.map_or(EXACT, |_| NARROW));
    let vectors = copies(device, scale, m * b * d)?;
    let pair = Pair::new(device, [b, m, b, d], vectors, blocks)?;
    let out = device.buffer(b * b)?;
    let narrow = match format {
        None => None,
        Some(format) => Some([
            Copy::new(device, pair.pairs.anchors, [b, d], format)?,
            Copy::new(device, pair.pairs.items.q, [m * b, d], format)?,
        ]),
    };
    let times = measured(device, scale, |i| {
        let (pairs, out) = (pair.turn(i), out.view());
        pair.prepare(device, pairs)?;
        let task = match &narrow {
            None => Task::Volumes(Volumes { pairs, out }),
            Some([anchors, q]) => {
                anchors.launch(device)?;
                q.launch(device)?;
                let p = TensorVolumes {
                    pairs,
                    operands: Operands::of(anchors.p, q.p, true),
                    out,
                };
                match precision {
                    Precision::Bf16 => Task::VolumesBf16(p),
                    _ => Task::VolumesTf32(p),
                }
            }
        };
        pair.launch(device, &task, [blocks as u32, 1])
    })?;
    let name = precision_name(precision);
    Ok(Line {
        work: format!("volume matrix, B={b}, k={}, D={d}, {name}", m + 1),
        times,
        bytes: 0.0,
        operations: 2.0 * (b * b) as f64 * (m * d) as f64,
        extra: None,
    })
}

/// Tuples of a batch, and anchors that go by at a time.
const BATCH: [usize; 2] = [4096, 1024];
/// The batch whose memory is bounded.
const LARGE: [usize; 2] = [32768, 1024];
/// The operands of tensor cores take memory besides.
const LARGE_TF32: [usize; 2] = [32768, 128];

fn gram(
    device: &Device,
    scale: Scale,
    precision: Precision,
    [rows, strip]: [usize; 2],
) -> Result<Line, Failure> {
    has(device, precision)?;
    device.set_precision(precision);
    let found = gram_of(device, scale, [rows, strip], precision_name(precision));
    device.set_precision(Precision::Exact);
    found
}

fn gram_of(
    device: &Device,
    scale: Scale,
    [rows, strip]: [usize; 2],
    precision: &str,
) -> Result<Line, Failure> {
    let [k, b, d] = scale.of([3, rows, 512], [3, 70, 12]);
    let vectors = copies(device, scale, k * b * d)?;
    let present = constant(device, k * b, 1.0)?;
    let (gradient, report) = (device.buffer(k * b * d)?, device.buffer(3)?);
    let strip = b.min(strip);
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
    Ok(Line {
        work: format!("GRAM loss forward and backward, B={b}, k={k}, D={d}, {precision}"),
        times,
        bytes: 0.0,
        // Two products of coordinates, two of gradients.
        operations: 4.0 * 2.0 * (b * b) as f64 * ((k - 1) * d) as f64,
        extra: Some(4 * workspace_len),
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
        extra: None,
    })
}

/// What is looked for: anchors, vectors per item, items, dimensions, and how many are found.
type Sought = ([usize; 4], usize);

/// The same with fewer items as long as the device has no room for them; one copy is past any cache.
fn with_room(
    scale: Scale,
    work: impl Fn(Sought) -> Result<Line, Failure>,
) -> Result<Line, Failure> {
    let [rows, m, mut items, d, best] = scale.of([64, 2, 10_000_000, 256, 10], [3, 2, 150, 8, 4]);
    loop {
        match work(([rows, m, items, d], best)) {
            Err(Failure::Memory { .. }) if items > 1000 => items /= 2,
            found => return found,
        }
    }
}

/// Room for the lists of a search, and for what is found.
struct Lists<'d> {
    buffers: Vec<Buffer<'d>>,
    blocks: usize,
    best: usize,
}

impl<'d> Lists<'d> {
    fn new(device: &'d Device, rows: usize, blocks: usize, best: usize) -> Result<Self, Failure> {
        let (lists, found) = (rows * blocks * best, rows * best);
        let mut buffers = Vec::new();
        for len in [lists, lists, found, found] {
            buffers.push(device.buffer(len)?);
        }
        Ok(Lists {
            buffers,
            blocks,
            best,
        })
    }

    fn nearest(&self, pairs: Pairs) -> Nearest {
        Nearest {
            pairs,
            scores: self.buffers[0].view(),
            indices: self.buffers[1].view(),
            best_scores: self.buffers[2].view(),
            best_indices: self.buffers[3].view(),
            best: self.best as u32,
            blocks: self.blocks as u32,
            offset: 0,
            zeros_are_missing: 1,
        }
    }
}

fn search(device: &Device, scale: Scale) -> Result<Line, Failure> {
    with_room(scale, |(sizes, best)| {
        let [rows, m, items, d] = sizes;
        let blocks = tiles(device, [rows, items], EXACT);
        let down = rows.div_ceil(TILE as usize);
        let vectors = vec![filled(device, m * items * d, 1)?];
        let pair = Pair::new(device, sizes, vectors, blocks * down)?;
        let lists = Lists::new(device, rows, blocks, best)?;
        pair.prepare(device, pair.pairs)?;
        let p = lists.nearest(pair.pairs);
        let times = measured(device, scale, |_| {
            pair.launch(device, &Task::Nearest(p), [blocks as u32, down as u32])?;
            pair.launch(device, &Task::Merge(p), warps(rows as u32))
        })?;
        Ok(found_line((sizes, best), times, "f32", 4.0))
    })
}

fn found_line(
    ([rows, m, items, d], best): Sought,
    times: Vec<f32>,
    name: &str,
    bytes: f64,
) -> Line {
    Line {
        work: format!(
            "search, {rows} anchors, {items} items, k={}, D={d}, the best {best}, {name}",
            m + 1
        ),
        times,
        bytes: bytes * (m * items * d) as f64,
        operations: 2.0 * (rows * items) as f64 * (m * d) as f64,
        extra: None,
    }
}

/// Of a gallery that is there in few bits alone: its rows have about the length 1.
fn search_narrow(device: &Device, scale: Scale, format: Format) -> Result<Line, Failure> {
    has(device, Precision::Bf16)?;
    with_room(scale, |(sizes, best)| {
        let [rows, m, items, d] = sizes;
        let blocks = tiles(device, [rows, items], NARROW);
        let down = rows.div_ceil(tensor::ROWS as usize);
        let none = Global::new(0, 0);
        let words = m * items * row_words(format, d as u32) as usize;
        let q = repeated(device, words, &pattern(format, d))?;
        let q_scales = constant(device, m * items, 1.0 / 40.0 / (d as f32).sqrt())?;
        let (volume, any) = (constant(device, items, 1.0)?, constant(device, items, 1.0)?);
        let (anchors, squares) = (filled(device, rows * d, 99)?, device.buffer(rows)?);
        let copy = Copy::new(device, anchors.view(), [rows, d], format)?;
        let lists = Lists::new(device, rows, blocks, best)?;
        let pairs = Pairs {
            anchors: anchors.view(),
            squares: squares.view(),
            items: Items {
                vectors: none,
                present: none,
                q: none,
                r: none,
                volume: volume.view(),
                any: any.view(),
                items: items as u32,
                m: m as u32,
                d: d as u32,
                skip: u32::MAX,
            },
            residuals: none,
            rows: rows as u32,
            measure: 0,
        };
        let narrow = Narrow {
            words: q.view(),
            scales: q_scales.view(),
            ..copy.p
        };
        let p = Scan {
            nearest: lists.nearest(pairs),
            operands: Operands::of(copy.p, narrow, false),
        };
        let (task, name, bytes) = match format {
            Format::I8 => (Task::NearestI8(p), "int8", 1.0),
            _ => (Task::NearestBf16(p), "bf16", 2.0),
        };
        let launch = |task: &Task, blocks: [u32; 2]| {
            // SAFETY: the views are buffers of this function, of the lengths that the sizes say.
            unsafe { device.launch(task, blocks) }
        };
        let times = measured(device, scale, |_| {
            launch(&Task::Squares(pairs), warps(rows as u32))?;
            copy.launch(device)?;
            launch(&task, [blocks as u32, down as u32])?;
            launch(&Task::Merge(p.nearest), warps(rows as u32))
        })?;
        Ok(found_line((sizes, best), times, name, bytes))
    })
}

/// Words of numbers at random.
fn pattern(format: Format, d: usize) -> Vec<u32> {
    let numbers = normals(5, PATTERN * format.per_word() as usize);
    let word = |numbers: &[f32]| match numbers {
        [low, high] => {
            let [low, high] = [low, high].map(|x| Half::Bf16.nearest(x / (d as f32).sqrt()));
            u32::from(low) | u32::from(high) << 16
        }
        four => {
            let byte = |i: usize| (40.0 * four[i]).clamp(-127.0, 127.0) as i8;
            u32::from_le_bytes([0, 1, 2, 3].map(|i| byte(i).cast_unsigned()))
        }
    };
    numbers
        .chunks(format.per_word() as usize)
        .map(word)
        .collect()
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
        extra: None,
    })
}
