//! Anchors against items on a device: what the volume matrix and the search share, and the matrix, in parts that fit its
//! memory.

use rivergram_core::gram::pair::Measure;
use rivergram_cuda_kernels::device::{Format, Global};
use rivergram_cuda_kernels::kernels::basis::Items;
use rivergram_cuda_kernels::kernels::pairs::{Pairs, TILE, Volumes};
use rivergram_cuda_kernels::kernels::tensor::{self, Narrow, Operands, Precision, TensorVolumes};
use rivergram_cuda_kernels::lanes::F32;

use super::Failure;
use super::device::{Counted, Device, Queue, Session, count, countable, split};
use super::driver::{Numbers, Room, Task, warps};

/// Warps of a block of the products.
pub(super) const BLOCK_WARPS: u32 = 8;
const _: () = assert!(BLOCK_WARPS * 32 == tensor::THREADS);

/// The most vectors of an item that a warp holds.
const M_MAX: usize = 32;

pub(super) fn code(measure: Measure) -> Result<u32, Failure> {
    match measure {
        Measure::Volume => Ok(0),
        Measure::Distance => Ok(1),
        Measure::Cosine => Err(Failure::NoKernel("sums of cosines")),
    }
}

/// Refuses sizes \[anchors, m, items, d\] that the kernels do not do, or cannot count.
pub(super) fn check_sizes([b1, m, b2, d]: [usize; 4]) -> Result<(), Failure> {
    if [b1, m, b2, d].contains(&0) {
        return Err(Failure::Input);
    }
    if m > M_MAX {
        return Err(Failure::NoKernel("items of more than 32 vectors"));
    }
    let tiles = |n: usize| n.div_ceil(TILE as usize);
    countable(&[tiles(b1), tiles(b2)])?;
    countable(&[b1])?;
    countable(&[m, b2])?;
    // Words of a row are whole steps of the tensor cores.
    count(d.saturating_add(tensor::DEPTH as usize))?;
    let numbers = b1.max(m * b2).checked_mul(d);
    numbers.map(|_| ()).ok_or(Failure::Size)
}

/// What is measured, on the host: `sizes` \[anchors, m, items, d\].
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) anchors: &'a [f32],
    pub(super) items: &'a [f32],
    pub(super) present: Option<&'a [bool]>,
    pub(super) sizes: [usize; 4],
}

impl Given<'_> {
    pub(super) fn check(&self) -> Result<(), Failure> {
        let [b1, m, b2, d] = self.sizes;
        let len = |n: usize| n.checked_mul(d);
        let flags = m.checked_mul(b2).ok_or(Failure::Size)?;
        let fits = len(b1) == Some(self.anchors.len())
            && len(flags) == Some(self.items.len())
            && self.present.is_none_or(|present| present.len() == flags);
        if !fits {
            return Err(Failure::Input);
        }
        check_sizes(self.sizes)
    }

    /// Copies `n` anchors from `row` on.
    pub(super) fn load_anchors(
        &self,
        session: &mut Session<'_>,
        to: Inputs,
        [row, n]: [usize; 2],
    ) -> Result<(), Failure> {
        let d = self.sizes[3];
        let these = &self.anchors[row * d..(row + n) * d];
        session.upload(Numbers::F32(these), to.anchors)
    }

    /// Copies the vectors of `n` items from `start` on, plane by plane, and their flags.
    pub(super) fn load_items(
        &self,
        session: &mut Session<'_>,
        to: Inputs,
        [start, n]: [usize; 2],
    ) -> Result<(), Failure> {
        let [_, m, b2, d] = self.sizes;
        let (mut vectors, mut flags) = (Vec::with_capacity(m * n * d), Vec::with_capacity(m * n));
        for plane in 0..m {
            let first = plane * b2 + start;
            vectors.extend_from_slice(&self.items[first * d..(first + n) * d]);
            match self.present {
                Some(present) => {
                    let of = |there: &bool| f32::from(u8::from(*there));
                    flags.extend(present[first..first + n].iter().map(of));
                }
                None => flags.resize(flags.len() + n, 1.0),
            }
        }
        session.upload(Numbers::F32(&vectors), to.items)?;
        session.upload(Numbers::F32(&flags), to.present)
    }
}

/// What is measured, on the device.
#[derive(Clone, Copy)]
pub(super) struct Inputs {
    /// \[anchors, d\].
    pub(super) anchors: Global<F32>,
    /// \[m, items, d\].
    pub(super) items: Global<F32>,
    /// \[m, items\]: 0 where a vector is absent.
    pub(super) present: Global<F32>,
}

impl Inputs {
    /// Room for them.
    pub(super) fn room(queue: &mut impl Queue, [a, m, b, d]: [usize; 4]) -> Result<Self, Failure> {
        Ok(Inputs {
            anchors: queue.room(a * d)?,
            items: queue.room(m * b * d)?,
            present: queue.room(m * b)?,
        })
    }

    /// The views of a caller's addresses.
    pub(super) fn at([anchors, items, present]: [u64; 3], [a, m, b, d]: [usize; 4]) -> Self {
        let view = |address, len: usize| Global::new(address, len as u64);
        Inputs {
            anchors: view(anchors, a * d),
            items: view(items, m * b * d),
            present: view(present, m * b),
        }
    }

    /// The parameters of their kernels, with room for the bases and for what `blocks` of products need.
    pub(super) fn pairs(
        self,
        queue: &mut impl Queue,
        [a, m, b, d]: [usize; 4],
        blocks: u32,
        measure: u32,
    ) -> Result<Pairs, Failure> {
        let items = Items {
            vectors: self.items,
            present: self.present,
            q: queue.room(m * b * d)?,
            r: queue.room(b * m * m)?,
            volume: queue.room(b)?,
            any: queue.room(b)?,
            items: count(b)?,
            m: count(m)?,
            d: count(d)?,
            skip: u32::MAX,
        };
        let warps = (BLOCK_WARPS as usize).saturating_mul(blocks as usize);
        Ok(Pairs {
            anchors: self.anchors,
            squares: queue.room(a)?,
            items,
            residuals: queue.room(warps.saturating_mul(d))?,
            rows: count(a)?,
            measure,
        })
    }
}

/// The same room for fewer anchors and items.
pub(super) fn fewer(pairs: Pairs, [a, b]: [usize; 2]) -> Result<Pairs, Failure> {
    let items = Items {
        items: count(b)?,
        ..pairs.items
    };
    Ok(Pairs {
        rows: count(a)?,
        items,
        ..pairs
    })
}

/// Rows and a copy of them in a narrow format.
pub(super) fn narrow_room(
    queue: &mut impl Queue,
    numbers: Global<F32>,
    [rows, d]: [usize; 2],
    format: Format,
) -> Result<Narrow, Failure> {
    let row_words = tensor::row_words(format, count(d)?);
    Ok(Narrow {
        numbers,
        words: queue.room(rows * row_words as usize)?,
        scales: queue.room(rows)?,
        rows: count(rows)?,
        d: count(d)?,
        row_words,
        format: format as u32,
    })
}

/// Makes a narrow copy of so many rows.
pub(super) fn narrow(queue: &mut impl Queue, p: Narrow, rows: u32) -> Result<(), Failure> {
    queue.launch(&Task::Narrow(Narrow { rows, ..p }), warps(rows))
}

/// Anchors and bases in the format of a precision.
#[derive(Clone, Copy)]
struct Copies {
    anchors: Narrow,
    q: Narrow,
}

/// How a matrix is made: its sizes \[anchors, m, items, d\], what is measured, how precisely, and how many blocks keep the
/// device busy.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) sizes: [usize; 4],
    pub(super) measure: u32,
    pub(super) precision: Precision,
    pub(super) waves: u32,
}

impl Plan {
    /// Of so many anchors and items.
    fn of(self, [a, b]: [usize; 2]) -> Self {
        let [_, m, _, d] = self.sizes;
        let sizes = [a, m, b, d];
        Plan { sizes, ..self }
    }

    /// Blocks that share the tiles.
    fn blocks(self) -> u32 {
        let [a, _, b, _] = self.sizes;
        let [high, wide] = match self.precision {
            Precision::Exact => [TILE; 2],
            Precision::Tf32 | Precision::Bf16 => [tensor::ROWS, tensor::COLUMNS],
        };
        let down = a.div_ceil(high as usize);
        let all = down.saturating_mul(b.div_ceil(wide as usize)).max(1);
        u32::try_from(all).unwrap_or(u32::MAX).min(self.waves)
    }
}

/// The matrix of anchors and items that lie on the device.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    plan: Plan,
    pairs: Pairs,
    copies: Option<Copies>,
    out: Global<F32>,
}

impl Matrix {
    /// With room for all but the inputs and `out`.
    pub(super) fn new(
        queue: &mut impl Queue,
        plan: Plan,
        inputs: Inputs,
        out: Global<F32>,
    ) -> Result<Self, Failure> {
        let [a, m, b, d] = plan.sizes;
        let pairs = inputs.pairs(queue, plan.sizes, plan.blocks(), plan.measure)?;
        let copies = match plan.precision.format() {
            None => None,
            Some(format) => Some(Copies {
                anchors: narrow_room(queue, pairs.anchors, [a, d], format)?,
                q: narrow_room(queue, pairs.items.q, [m * b, d], format)?,
            }),
        };
        Ok(Matrix {
            plan,
            pairs,
            copies,
            out,
        })
    }

    /// With room for the inputs and the matrix too.
    fn whole(queue: &mut impl Queue, plan: Plan) -> Result<(Self, Inputs), Failure> {
        let [a, _, b, _] = plan.sizes;
        let inputs = Inputs::room(queue, plan.sizes)?;
        let out = queue.room(a.saturating_mul(b))?;
        Ok((Matrix::new(queue, plan, inputs, out)?, inputs))
    }

    /// In the same room for fewer anchors and items.
    fn of(self, sizes: [usize; 2]) -> Result<Self, Failure> {
        Ok(Matrix {
            plan: self.plan.of(sizes),
            pairs: fewer(self.pairs, sizes)?,
            ..self
        })
    }

    /// Queues the bases of the items.
    pub(super) fn queue_items(&self, queue: &mut impl Queue) -> Result<(), Failure> {
        let items = self.pairs.items;
        queue.launch(&Task::Bases(items), warps(items.items))?;
        match self.copies {
            None => Ok(()),
            Some(copies) => narrow(queue, copies.q, items.m * items.items),
        }
    }

    /// Queues the matrix, after the bases.
    pub(super) fn queue(&self, queue: &mut impl Queue) -> Result<(), Failure> {
        let (pairs, out) = (self.pairs, self.out);
        queue.launch(&Task::Squares(pairs), warps(pairs.rows))?;
        let task = match self.copies {
            None => Task::Volumes(Volumes { pairs, out }),
            Some(copies) => {
                narrow(queue, copies.anchors, pairs.rows)?;
                let p = TensorVolumes {
                    pairs,
                    operands: Operands::of(copies.anchors, copies.q, true),
                    out,
                };
                match self.plan.precision {
                    Precision::Bf16 => Task::VolumesBf16(p),
                    _ => Task::VolumesTf32(p),
                }
            }
        };
        queue.launch(&task, [self.plan.blocks(), 1])
    }
}

/// Numbers that a matrix takes besides its inputs and itself; `u64::MAX` for sizes that are refused.
pub(super) fn matrix_words(plan: Plan) -> u64 {
    let none = Global::new(0, 0);
    Counted::of(|queue| {
        check_sizes(plan.sizes)?;
        let inputs = Inputs::at([0; 3], plan.sizes);
        Matrix::new(queue, plan, inputs, none)
    })
}

impl Device {
    /// [`volume_matrix`](rivergram_core::gram::pair::volume_matrix) by the kernels: `sizes` is \[anchors, m, items, d\],
    /// `out` \[anchors, items\]. What does not fit the device's memory goes by in parts. Waits for each part. As precise as
    /// [`Device::precision`] says; what is rounded is off by so much times the lengths of the vectors.
    ///
    /// # Errors
    /// [`Failure::NoKernel`]: cosines, more than 32 vectors per item. [`Failure::Input`]: what core refuses. Others: what
    /// became of the device. After an error `out` is unspecified.
    pub fn volume_matrix(
        &self,
        measure: Measure,
        anchors: &[f32],
        items: &[f32],
        present: Option<&[bool]>,
        sizes: [usize; 4],
        out: &mut [f32],
    ) -> Result<(), Failure> {
        let given = Given {
            anchors,
            items,
            present,
            sizes,
        };
        given.check()?;
        let [b1, _, b2, _] = sizes;
        if b1.checked_mul(b2) != Some(out.len()) {
            return Err(Failure::Input);
        }
        let measure = code(measure)?;
        let mut session = self.session()?;
        let budget = session.budget()?;
        let plan = Plan {
            sizes,
            measure,
            precision: session.precision(),
            waves: self.waves(),
        };
        let [a, b] = split([b1, b2], budget, |sizes| {
            Counted::of(|queue| Matrix::whole(queue, plan.of(sizes))).saturating_mul(4)
        })?;
        let (matrix, inputs) = Matrix::whole(&mut session, plan.of([a, b]))?;
        let mut found = vec![0.0; a * b];
        for column in (0..b2).step_by(b) {
            let n = b.min(b2 - column);
            given.load_items(&mut session, inputs, [column, n])?;
            matrix.of([a, n])?.queue_items(&mut session)?;
            for row in (0..b1).step_by(a) {
                let rows = a.min(b1 - row);
                given.load_anchors(&mut session, inputs, [row, rows])?;
                matrix.of([rows, n])?.queue(&mut session)?;
                let found = &mut found[..rows * n];
                session.download(&mut [(matrix.out.at(0), Room::F32(found))])?;
                for (i, scores) in found.chunks(n).enumerate() {
                    let at = (row + i) * b2 + column;
                    out[at..at + n].copy_from_slice(scores);
                }
            }
        }
        // Numbers that are none, or too large: core says where.
        if out.iter().all(|x| x.is_finite()) {
            Ok(())
        } else {
            Err(Failure::Input)
        }
    }
}
