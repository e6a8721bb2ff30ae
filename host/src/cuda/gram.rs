//! The contrastive loss of a batch on a device, in strips of anchors as long as its memory allows.

use rivergram_core::gram::contrastive::{
    Anchor, Batch, GramLoss, GramReport, K_MAX, Term, ZeroRows,
};
use rivergram_cuda_kernels::device::{Format, Global};
use rivergram_cuda_kernels::kernels::basis::Items;
use rivergram_cuda_kernels::kernels::contrastive::{Loss, TensorLoss};
use rivergram_cuda_kernels::kernels::pairs::{Pairs, TILE};
use rivergram_cuda_kernels::kernels::prepare::Normalise;
use rivergram_cuda_kernels::kernels::tensor::{self, Narrow, Operands, Precision, row_words};
use rivergram_cuda_kernels::lanes::F32;

use super::Failure;
use super::device::{Counted, Device, Queue, Session, count, countable};
use super::driver::{GramPass, Numbers, Room, Task, TensorPass, threads, warps};
use super::pairs::{narrow, narrow_room};

/// The most bytes of a strip's distances and coordinates, however much memory is free: with more the products run no
/// faster.
const STRIP: u64 = 3 << 27;

/// The same on tensor cores, whose operands take memory besides.
const TENSOR_STRIP: u64 = 1 << 27;

/// Anchors of a strip on tensor cores: a multiple of this, but for the last one.
const TENSOR_ROWS: usize = tensor::DEPTH as usize;

/// Warps of a block of the products.
const BLOCK_WARPS: usize = 8;

/// The sizes of a batch, and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    k: usize,
    rows: usize,
    d: usize,
    /// Anchors that go by at a time.
    strip: usize,
    /// Blocks that share the tiles of a strip.
    blocks: u32,
    /// Whether the products are in TF32.
    tensor: bool,
}

/// The operands of tensor cores; each anchor uses them anew.
#[derive(Clone, Copy)]
struct Tensor {
    anchors: Narrow,
    q: Narrow,
    anchors_transposed: Narrow,
    q_transposed: Narrow,
    y: Narrow,
    y_transposed: Narrow,
}

/// What the loss of one anchor keeps on the device; each anchor uses it anew.
#[derive(Clone, Copy)]
struct Work {
    q: Global<F32>,
    r: Global<F32>,
    volume: Global<F32>,
    any: Global<F32>,
    squares: Global<F32>,
    residuals: Global<F32>,
    distance: Global<F32>,
    y: Global<F32>,
    rows: Global<F32>,
    columns: Global<F32>,
    sums: Global<F32>,
    counts: Global<F32>,
    report: Global<F32>,
    tensor: Option<Tensor>,
}

impl Plan {
    /// Of these sizes \[k, rows, d\] in so many bytes; the vectors and their gradient do not count.
    pub(super) fn new(
        [k, rows, d]: [usize; 3],
        budget: u64,
        waves: u32,
        precision: Precision,
    ) -> Result<Self, Failure> {
        let on_tensor_cores = precision != Precision::Exact;
        countable(&[k, rows])?;
        countable(&[rows.div_ceil(TILE as usize), rows.div_ceil(TILE as usize)])?;
        count(d)?;
        let mut plan = Plan {
            k,
            rows,
            d,
            strip: 1,
            blocks: 1,
            tensor: on_tensor_cores,
        };
        plan.blocks = plan.blocks_of(rows, waves);
        // The least that goes by at a time.
        let (least, most) = if on_tensor_cores {
            (TENSOR_ROWS, TENSOR_STRIP)
        } else {
            (1, STRIP)
        };
        plan.strip = least;
        let need = plan.bytes();
        plan.strip = 2 * least;
        let each = (plan.bytes() - need).max(1);
        if budget < need {
            return Err(Failure::Memory { need, free: budget });
        }
        let more = (budget - need).min(most) / each;
        let strip = usize::try_from(more.saturating_add(1)).unwrap_or(rows);
        let tile = if on_tensor_cores { tensor::ROWS } else { TILE } as usize;
        plan.strip = match strip.saturating_mul(least) {
            strip if strip >= rows => rows,
            // Whole tiles.
            strip if strip > tile => strip - strip % tile,
            strip => strip,
        };
        plan.blocks = plan.blocks_of(plan.strip, waves);
        Ok(plan)
    }

    /// Without a bound on its memory: in strips of this height.
    pub(super) fn in_strips(
        [k, rows, d]: [usize; 3],
        strip: usize,
        waves: u32,
        precision: Precision,
    ) -> Self {
        let on_tensor_cores = precision != Precision::Exact;
        let whole = if on_tensor_cores { TENSOR_ROWS } else { 1 };
        let mut plan = Plan {
            k,
            rows,
            d,
            strip: strip.max(1).next_multiple_of(whole).clamp(1, rows.max(1)),
            blocks: 1,
            tensor: on_tensor_cores,
        };
        plan.blocks = plan.blocks_of(plan.strip, waves);
        plan
    }

    fn blocks_of(&self, strip: usize, waves: u32) -> u32 {
        let tiles = |n: usize| n.div_ceil(TILE as usize);
        let tiles = tiles(self.rows).saturating_mul(tiles(strip)).max(1);
        u32::try_from(tiles).unwrap_or(u32::MAX).min(waves)
    }

    /// Bytes of everything but the vectors and their gradient.
    fn bytes(&self) -> u64 {
        let mut counted = Counted::default();
        // Counting does not fail.
        let _ = self
            .prepare(&mut counted, Global::new(0, 0), Global::new(0, 0))
            .and_then(|_| self.work(&mut counted));
        4 * counted.words()
    }

    /// Numbers of workspace.
    pub(super) fn words(&self) -> u64 {
        self.bytes() / 4
    }

    fn m(&self) -> usize {
        self.k.saturating_sub(1)
    }

    /// Room for the vectors as they are contrasted.
    fn prepare(
        &self,
        queue: &mut impl Queue,
        vectors: Global<F32>,
        present: Global<F32>,
    ) -> Result<Normalise, Failure> {
        let rows = self.k * self.rows;
        Ok(Normalise {
            vectors,
            present,
            unit: queue.room(rows * self.d)?,
            there: queue.room(rows)?,
            inverse_norm: queue.room(rows)?,
            rows: count(rows)?,
            d: count(self.d)?,
        })
    }

    fn tensor(&self, queue: &mut impl Queue) -> Result<Option<Tensor>, Failure> {
        if !self.tensor {
            return Ok(None);
        }
        let Plan { rows, d, strip, .. } = *self;
        // Their kernels count the numbers of a matrix in 32 bits.
        let padded = |n: usize| n.saturating_add(TENSOR_ROWS);
        countable(&[padded(rows), padded(d.max(strip))])?;
        let (m, none) = (self.m(), Global::new(0, 0));
        let mut copy = |sizes| narrow_room(queue, none, sizes, Format::Tf32);
        Ok(Some(Tensor {
            anchors: copy([rows, d])?,
            q: copy([m * rows, d])?,
            // Columns become rows: what a row is long here is how many columns there are.
            anchors_transposed: turned(copy([d, rows])?),
            q_transposed: turned(copy([m * d, rows])?),
            y: copy([m * strip, rows])?,
            y_transposed: turned(copy([m * rows, strip])?),
        }))
    }

    fn work(&self, queue: &mut impl Queue) -> Result<Work, Failure> {
        let (rows, d, m) = (self.rows, self.d, self.m());
        let residuals = rows.max(BLOCK_WARPS * self.blocks as usize);
        Ok(Work {
            q: queue.room(m * rows * d)?,
            r: queue.room(rows * m * m)?,
            volume: queue.room(rows)?,
            any: queue.room(rows)?,
            squares: queue.room(rows)?,
            residuals: queue.room(residuals * d)?,
            distance: queue.room(self.strip * rows)?,
            y: queue.room(m * self.strip * rows)?,
            rows: queue.room(5 * rows)?,
            columns: queue.room(3 * rows)?,
            sums: queue.room(5 * rows)?,
            counts: queue.room(3)?,
            report: queue.room(3)?,
            tensor: self.tensor(queue)?,
        })
    }
}

/// As [`Narrow`] counts for a matrix that is turned: the rows and columns that it has before.
fn turned(p: Narrow) -> Narrow {
    Narrow {
        rows: p.d,
        d: p.rows,
        ..p
    }
}

impl Tensor {
    /// Queues a matrix, or `matrices` that follow each other, with its columns as rows.
    fn turn(queue: &mut impl Queue, p: Narrow, matrices: u32) -> Result<(), Failure> {
        let tiles = |n: u32| n.div_ceil(32).max(1);
        let across = tiles(p.row_words).checked_mul(tiles(p.d));
        let blocks = [across.ok_or(Failure::Size)?, matrices];
        queue.launch(&Task::NarrowTransposed(p), blocks)
    }

    /// Queues A and Q, both ways.
    fn prepare(&self, queue: &mut impl Queue, pairs: Pairs) -> Result<(), Failure> {
        let (anchors, q) = (pairs.anchors, pairs.items.q);
        let of = |p: Narrow, numbers| Narrow { numbers, ..p };
        narrow(queue, of(self.anchors, anchors), self.anchors.rows)?;
        narrow(queue, of(self.q, q), self.q.rows)?;
        Tensor::turn(queue, of(self.anchors_transposed, anchors), 1)?;
        let m = pairs.items.m;
        let planes = Narrow {
            d: pairs.items.d,
            ..of(self.q_transposed, q)
        };
        Tensor::turn(queue, planes, m)
    }

    /// The parameters of a strip.
    fn loss(&self, loss: Loss) -> TensorLoss {
        TensorLoss {
            loss,
            operands: Operands::of(self.anchors, self.q, true),
            anchors_transposed: self.anchors_transposed.words,
            q_transposed: self.q_transposed.words,
            y: self.y.words,
            y_transposed: self.y_transposed.words,
            batch_words: self.y.row_words,
            strip_words: row_words(Format::Tf32, loss.strip),
        }
    }

    /// Queues −C·y of a strip, both ways, and the products with it.
    fn products(&self, queue: &mut impl Queue, loss: Loss) -> Result<(), Failure> {
        let (m, b, d) = (
            loss.pairs.items.m,
            loss.pairs.items.items,
            loss.pairs.items.d,
        );
        let p = self.loss(loss);
        let straight = Narrow {
            numbers: loss.y,
            ..self.y
        };
        narrow(queue, straight, m * loss.strip)?;
        let turned = Narrow {
            numbers: loss.y,
            rows: loss.strip,
            d: b,
            row_words: p.strip_words,
            ..self.y_transposed
        };
        Tensor::turn(queue, turned, m)?;
        let tiles = |n: u32| n.div_ceil(tensor::ROWS).max(1);
        let mut go = |pass, blocks| queue.launch(&Task::GramTf32(pass, p), blocks);
        go(TensorPass::AnchorsProduct, [tiles(d), tiles(loss.strip)])?;
        let across = tiles(d).checked_mul(tiles(b)).ok_or(Failure::Size)?;
        go(TensorPass::ItemsProduct, [across, m])
    }
}

/// What of a loss a kernel can do: the volume term, with vectors that are normalised and zeros that are missing. The
/// weight of the pairs' cosines is left to the caller.
pub(super) fn anchors_of(
    config: &GramLoss<f32>,
    k: usize,
) -> Result<std::ops::Range<usize>, Failure> {
    if config.zero_rows != ZeroRows::Missing {
        return Err(Failure::NoKernel("a loss whose zero vectors are there"));
    }
    if !config.normalise {
        return Err(Failure::NoKernel("a loss of vectors as they are"));
    }
    // So small a temperature is one of core's errors, or near one.
    if !(config.temperature > 1e-15 && config.temperature.is_finite()) {
        return Err(Failure::Input);
    }
    if !(0.0..=1.0).contains(&config.label_smoothing) {
        return Err(Failure::Input);
    }
    match config.term {
        Term::Cosine(_) => Err(Failure::NoKernel("a loss of cosines")),
        Term::Volume(Anchor::One(anchor)) if anchor >= k => Err(Failure::Input),
        Term::Volume(Anchor::One(anchor)) => Ok(anchor..anchor + 1),
        Term::Volume(Anchor::Each) => Ok(0..k),
    }
}

/// Queues the loss with one anchor and the gradient of all vectors; `report` gets half the mean cross-entropy of rows and
/// of columns, and dL/dτ.
fn queue_anchor(
    queue: &mut impl Queue,
    plan: Plan,
    prepared: Normalise,
    work: Work,
    gradient: Global<F32>,
    config: &GramLoss<f32>,
    (anchor, weight): (usize, f32),
) -> Result<(), Failure> {
    let Plan {
        rows,
        d,
        strip,
        blocks,
        ..
    } = plan;
    let (b, m) = (count(rows)?, count(plan.m())?);
    let items = Items {
        vectors: prepared.unit,
        present: prepared.there,
        q: work.q,
        r: work.r,
        volume: work.volume,
        any: work.any,
        items: b,
        m,
        d: count(d)?,
        skip: count(anchor)?,
    };
    let pairs = Pairs {
        anchors: prepared.unit.row(anchor, rows * d),
        squares: work.squares,
        items,
        residuals: work.residuals,
        rows: b,
        measure: 0,
    };
    let p = Loss {
        pairs,
        gradient,
        inverse_norm: prepared.inverse_norm,
        distance: work.distance,
        y: Global::new(0, 0),
        rows: work.rows,
        columns: work.columns,
        sums: work.sums,
        counts: work.counts,
        report: work.report,
        start: 0,
        strip: 0,
        scale: F32(-1.0 / config.temperature),
        smoothing: F32(config.label_smoothing),
        weight: F32(weight),
    };
    let tiles = |n: u32| n.div_ceil(TILE).max(1);
    let strips = || {
        (0..rows).step_by(strip).map(move |start| Loss {
            start: start as u32,
            strip: strip.min(rows - start) as u32,
            ..p
        })
    };
    queue.zero(gradient)?;
    queue.launch(&Task::Bases(items), warps(b))?;
    queue.launch(&Task::Squares(pairs), warps(b))?;
    if let Some(tensor) = &work.tensor {
        tensor.prepare(queue, pairs)?;
    }
    go(queue, GramPass::Count, p, [1, 1])?;
    for p in strips() {
        queue_scores(queue, work, p, blocks)?;
        go(queue, GramPass::RowSums, p, warps(p.strip))?;
        go(queue, GramPass::ColumnSums, p, threads(b))?;
    }
    go(queue, GramPass::Losses, p, [1, 1])?;
    for p in strips() {
        let p = Loss { y: work.y, ..p };
        queue_scores(queue, work, p, blocks)?;
        go(queue, GramPass::ColumnWeights, p, threads(b))?;
        go(queue, GramPass::RowWeights, p, warps(p.strip))?;
        go(queue, GramPass::NearItems, p, warps(b))?;
        if let Some(tensor) = &work.tensor {
            tensor.products(queue, p)?;
            continue;
        }
        let d = tiles(items.d);
        go(queue, GramPass::AnchorsProduct, p, [d, tiles(p.strip)])?;
        let across = d.checked_mul(tiles(b)).ok_or(Failure::Size)?;
        go(queue, GramPass::ItemsProduct, p, [across, m])?;
    }
    go(queue, GramPass::Diagonal, p, warps(b))?;
    go(queue, GramPass::ItemsGradient, p, warps(b))?;
    go(queue, GramPass::AnchorsGradient, p, warps(b))?;
    go(queue, GramPass::Report, p, [1, 1])
}

fn go(queue: &mut impl Queue, pass: GramPass, p: Loss, blocks: [u32; 2]) -> Result<(), Failure> {
    queue.launch(&Task::Gram(pass, p), blocks)
}

/// The distances of a strip, and its coordinates where there is room for them.
fn queue_scores(queue: &mut impl Queue, work: Work, p: Loss, blocks: u32) -> Result<(), Failure> {
    let task = match &work.tensor {
        None => Task::Gram(GramPass::Scores, p),
        Some(tensor) => Task::GramTf32(TensorPass::Scores, tensor.loss(p)),
    };
    queue.launch(&task, [blocks, 1])
}

/// The loss of vectors on the device, queued on memory of the caller's. `report` gets three numbers, see
/// [`queue_anchor`].
pub(super) fn queue_loss(
    queue: &mut impl Queue,
    plan: Plan,
    config: &GramLoss<f32>,
    [vectors, present, gradient, report]: [Global<F32>; 4],
) -> Result<(), Failure> {
    let anchors = anchors_of(config, plan.k)?;
    if anchors.len() != 1 {
        return Err(Failure::NoKernel("a loss with each anchor in one buffer"));
    }
    if config.pairs != 0.0 {
        return Err(Failure::NoKernel("cosines of pairs"));
    }
    let prepared = plan.prepare(queue, vectors, present)?;
    let work = Work {
        report,
        ..plan.work(queue)?
    };
    queue.launch(&Task::Normalise(prepared), warps(prepared.rows))?;
    queue_anchor(
        queue,
        plan,
        prepared,
        work,
        gradient,
        config,
        (anchors.start, 1.0),
    )
}

impl Device {
    /// [`gram_loss`](rivergram_core::gram::contrastive::gram_loss) by the kernels, but for
    /// [`GramLoss::pairs`], which are left out. The anchors go by in strips that fit the device's memory, whose distances
    /// and coordinates take at most 403 MB: with that B×B is stored for small batches only, k = 3 up to B of about 5800. Waits for the result once per anchor. As precise as [`Device::precision`] says.
    ///
    /// # Errors
    /// [`Failure::NoKernel`]: terms of cosines, vectors that are not normalised inside, zero vectors that are there.
    /// [`Failure::Input`]: what core refuses. Others: what became of the device. After an error the gradient is
    /// unspecified.
    pub fn gram_loss(
        &self,
        config: &GramLoss<f32>,
        batch: &Batch<'_, f32>,
        gradient: &mut [f32],
    ) -> Result<GramReport<f32>, Failure> {
        let Batch { k, rows, d, .. } = *batch;
        let len = k.checked_mul(rows).and_then(|n| n.checked_mul(d));
        let flags = batch.present.map_or(k.saturating_mul(rows), <[bool]>::len);
        let fits = len.is_some_and(|len| {
            len > 0
                && batch.vectors.len() == len
                && gradient.len() == len
                && flags == k * rows
                && (2..=K_MAX).contains(&k)
        });
        if !fits {
            return Err(Failure::Input);
        }
        let anchors = anchors_of(config, k)?;
        let present: Vec<f32> = match batch.present {
            Some(present) => present.iter().map(|p| f32::from(u8::from(*p))).collect(),
            None => vec![1.0; k * rows],
        };
        let mut session = self.session()?;
        let given = 4 * (batch.vectors.len() + present.len()) as u64;
        let budget = session.budget()?.saturating_sub(given);
        let plan = Plan::new([k, rows, d], budget, self.waves(), session.precision())?;
        let vectors = session.copy(Numbers::F32(batch.vectors))?;
        let present = session.copy(Numbers::F32(&present))?;
        let prepared = plan.prepare(&mut session, vectors, present)?;
        let work = plan.work(&mut session)?;
        session.launch(&Task::Normalise(prepared), warps(prepared.rows))?;
        let mut report = GramReport::<f32>::default();
        let weight = 1.0 / anchors.len() as f32;
        let mut sum = Vec::new();
        for anchor in anchors.clone() {
            // The raw vectors are of no more use, and their gradient is as long.
            let to = prepared.vectors;
            let one = (anchor, weight);
            queue_anchor(&mut session, plan, prepared, work, to, config, one)?;
            let first = anchor == anchors.start;
            let found = if first {
                &mut *gradient
            } else {
                sum.resize(gradient.len(), 0.0);
                &mut sum
            };
            let of_anchor = read(&mut session, prepared, work, found)?;
            if !first {
                for (g, x) in gradient.iter_mut().zip(&sum) {
                    *g += x;
                }
            }
            let [a, b] = of_anchor.directions;
            report.directions[0] += a;
            report.directions[1] += b;
            report.temperature_gradient += of_anchor.temperature_gradient;
            report.degenerate += of_anchor.degenerate;
            report.missing = of_anchor.missing;
        }
        report.loss = report.directions[0] + report.directions[1];
        let finite = report.loss.is_finite() && report.temperature_gradient.is_finite();
        if finite {
            Ok(report)
        } else {
            Err(Failure::Input)
        }
    }
}

/// What one anchor adds to the report, and the gradient, which lies where the vectors lay.
fn read(
    session: &mut Session<'_>,
    prepared: Normalise,
    work: Work,
    gradient: &mut [f32],
) -> Result<GramReport<f32>, Failure> {
    let rows = prepared.rows as usize;
    let (mut numbers, mut volume) = ([0.0; 3], vec![0.0; work.volume.len()]);
    let [mut there, mut inverse] = [vec![0.0; rows], vec![0.0; rows]];
    session.download(&mut [
        (work.report.at(0), Room::F32(&mut numbers)),
        (work.volume.at(0), Room::F32(&mut volume)),
        (prepared.there.at(0), Room::F32(&mut there)),
        (prepared.inverse_norm.at(0), Room::F32(&mut inverse)),
        (prepared.vectors.at(0), Room::F32(gradient)),
    ])?;
    if inverse.iter().any(|x| !x.is_finite()) {
        return Err(Failure::Input);
    }
    let [a, b, temperature_gradient] = numbers;
    Ok(GramReport {
        directions: [a, b],
        temperature_gradient,
        missing: there.iter().filter(|there| **there == 0.0).count(),
        degenerate: volume.iter().filter(|volume| **volume <= 0.0).count(),
        ..GramReport::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32768 tuples of three vectors of 512, whose matrix alone has 4.3 GB.
    #[test]
    fn a_large_batch_takes_less_than_a_gigabyte_besides() {
        for precision in [Precision::Exact, Precision::Tf32] {
            let plan = Plan::new([3, 32768, 512], u64::MAX, 528, precision);
            let bytes = plan.expect("memory without end").bytes();
            assert!(bytes <= 1_000_000_000, "{precision:?}: {bytes}");
        }
    }
}
