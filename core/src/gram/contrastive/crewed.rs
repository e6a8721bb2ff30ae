//! The whole loss in strips of items, by whoever does the pieces.
//!
//! Source: the loss of arXiv 2412.11959, eq. 6 to 8, with log-sum-exps that are gathered over tiles, as in
//! M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", arXiv 1805.02867.

use super::cosine::cosine_anchors;
use super::layout::{Gradients, Layout, Side};
use super::prepare::Prepared;
use super::run::{Call, LossKernel, of_terms, prepare};
use super::tiled::{Matrix, MatrixSize, Score, contrast};
use super::volume::volume_info;
use super::work::Sizes;
use super::{Anchor, Batch, GramLoss, GramReport, Rectangle, Shard};
use crate::crew::{Crew, Work};
use crate::error::GramError;
use crate::gram::info_nce::{Direction, InfoNce, matched};
use crate::gram::pair::{Bases, BasesMut, MakeBases, bases_len, pieces_len};
use crate::lanes::{Isa, Real};
use crate::ops::take;

/// How much workspace the loss in strips has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Room {
    /// For the vectors, their bases and one strip of items: the coordinates of the pairs are computed again in the
    /// backward pass, a fourth matrix product.
    Small,
    /// For the coordinates of all pairs as well, anchors · items · (k − 1) numbers: three products. And for the anchors
    /// packed once, anchors · d numbers.
    Large,
}

/// Floats of workspace for [`gram_loss_by`] of k modalities, `rows` tuples, d dimensions, by `hands` hands
/// ([`Crew::hands`]). With [`Room::Small`] less than twice the vectors where there are many and they are long; with
/// [`Room::Large`] about rows²·(k − 1) + rows·d more. Cost: O(1).
///
/// ```
/// use rivergram_core::gram::contrastive::{Room, room_len};
///
/// let (k, rows, d) = (4, 2048, 512);
/// let [small, large] = [Room::Small, Room::Large].map(|room| room_len(room, 1, k, rows, d));
/// assert!(small < 2 * k * rows * d);
/// assert!(large - small < rows * rows * (k - 1) + rows * d);
/// ```
pub const fn room_len(room: Room, hands: usize, k: usize, rows: usize, d: usize) -> usize {
    TiledSizes::of(Sizes::square(k, rows, d), hands, room).len()
}

/// Floats of workspace for [`shard_loss_by`] of k modalities, `rows` of `all` tuples, d dimensions. Cost: O(1).
///
/// ```
/// use rivergram_core::gram::contrastive::{Room, shard_room_len};
///
/// let [small, large] = [Room::Small, Room::Large].map(|room| shard_room_len(room, 1, 3, [512, 2048], 64));
/// assert!(small < large && large - small < 512 * 2048 * 2);
/// ```
pub const fn shard_room_len(
    room: Room,
    hands: usize,
    k: usize,
    [rows, all]: [usize; 2],
    d: usize,
) -> usize {
    TiledSizes::of(Sizes::shard(k, rows, all, d), hands, room).len()
}

/// Floats of workspace for [`rectangle_loss_by`] of `rows` anchors, `items` items of k − 1 vectors, d dimensions. Cost:
/// O(1).
///
/// ```
/// use rivergram_core::gram::contrastive::{Room, rectangle_room_len};
///
/// let [small, large] =
///     [Room::Small, Room::Large].map(|room| rectangle_room_len(room, 1, 3, [512, 2048], 64));
/// assert!(small < large && large - small < 512 * 2048 * 2);
/// ```
pub const fn rectangle_room_len(
    room: Room,
    hands: usize,
    k: usize,
    [rows, items]: [usize; 2],
    d: usize,
) -> usize {
    let sizes = Sizes::rectangle(k.saturating_sub(1), rows, items, d);
    TiledSizes::of(sizes, hands, room).len()
}

/// [`gram_loss`](super::gram_loss) in strips of items, by a crew: no matrix of pairs but the coordinates, where the
/// workspace holds them ([`Room::Large`]), or not even those. The result does not depend on the crew's hands, and of
/// the workspace on nothing but which of the two it is; it differs from that of the whole matrix by rounding.
///
/// Cost: per anchor three matrix products of 2·rows²·d·(k−1) operations, or four. Errors: those of the whole matrix.
///
/// ```
/// use rivergram_core::crew::Alone;
/// use rivergram_core::gram::contrastive::{Batch, GramLoss, Room, gram_loss_by, room_len};
/// use rivergram_core::lanes::One;
///
/// let vectors = [1.0_f32, 0.1, 0.0, 1.0, /* second modality */ 1.0, 0.0, 0.2, 1.0];
/// let batch = Batch { vectors: &vectors, present: None, k: 2, rows: 2, d: 2 };
/// let mut gradient = [0.0; 8];
/// let mut workspace = vec![0.0; room_len(Room::Small, 1, 2, 2, 2)];
/// let (crew, config) = (Alone(One::new()), GramLoss::paper(0));
/// let report = gram_loss_by(&crew, &config, &batch, &mut gradient, &mut workspace)?;
/// assert!(report.loss > 0.0);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn gram_loss_by<T: Real, C: Crew<T> + Sync>(
    crew: &C,
    config: &GramLoss<T>,
    batch: &Batch<'_, T>,
    gradient: &mut [T],
    workspace: &mut [T],
) -> Result<GramReport<T>, GramError> {
    let kernel = LossKernel::<_, false> {
        config,
        call: Call::Square(batch),
        gradients: [&mut [], gradient],
        in_place: &mut [],
        workspace,
    };
    crew.whole(|| kernel.run_by(crew))
}

/// [`shard_loss`](super::shard_loss) in strips of items, by a crew, as [`gram_loss_by`].
///
/// Cost: per anchor the bases of all items, and of each direction three matrix products, or four. Errors: those of the
/// whole matrices.
///
/// ```
/// use rivergram_core::crew::Alone;
/// use rivergram_core::gram::contrastive::{
///     Batch, Gathered, GramLoss, Room, Shard, shard_loss_by, shard_room_len,
/// };
/// use rivergram_core::lanes::One;
///
/// let vectors = [1.0_f32, 0.1, 0.0, 1.0, /* second modality */ 1.0, 0.0, 0.2, 1.0];
/// let batch = Batch { vectors: &vectors, present: None, k: 2, rows: 2, d: 2 };
/// let shard = Shard { offset: 1, rows: 1, gathered: Gathered::Detached };
/// let mut gradient = [0.0; 4];
/// let mut workspace = vec![0.0; shard_room_len(Room::Small, 1, 2, [1, 2], 2)];
/// let (crew, config) = (Alone(One::new()), GramLoss::paper(0));
/// let report = shard_loss_by(&crew, &config, &batch, shard, &mut gradient, &mut workspace)?;
/// assert!(report.loss > 0.0);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn shard_loss_by<T: Real, C: Crew<T> + Sync>(
    crew: &C,
    config: &GramLoss<T>,
    batch: &Batch<'_, T>,
    shard: Shard,
    gradient: &mut [T],
    workspace: &mut [T],
) -> Result<GramReport<T>, GramError> {
    let kernel = LossKernel::<_, false> {
        config,
        call: Call::Shard(batch, shard),
        gradients: [&mut [], gradient],
        in_place: &mut [],
        workspace,
    };
    crew.whole(|| kernel.run_by(crew))
}

/// [`rectangle_loss`](super::rectangle_loss) in strips of items, by a crew, as [`gram_loss_by`].
///
/// Cost: per term the bases of the items and three matrix products, or four. Errors: those of the whole matrix.
///
/// ```
/// use rivergram_core::crew::Alone;
/// use rivergram_core::gram::contrastive::{
///     Batch, GramLoss, Rectangle, Room, rectangle_loss_by, rectangle_room_len,
/// };
/// use rivergram_core::lanes::One;
///
/// let items = [1.0_f32, 0.0, 0.0, 1.0, 1.0, -1.0];
/// let rectangle = Rectangle {
///     anchors: &[0.1, 1.0],
///     anchors_present: None,
///     rows: 1,
///     items: Batch { vectors: &items, present: None, k: 1, rows: 3, d: 2 },
///     offset: 1,
/// };
/// let mut workspace = vec![0.0; rectangle_room_len(Room::Small, 1, 2, [1, 3], 2)];
/// let (crew, config, no_gradients) = (Alone(One::new()), GramLoss::paper(0), [&mut [][..], &mut []]);
/// let report = rectangle_loss_by(&crew, &config, &rectangle, no_gradients, &mut workspace)?;
/// assert!(report.loss > 0.0);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn rectangle_loss_by<T: Real, C: Crew<T> + Sync>(
    crew: &C,
    config: &GramLoss<T>,
    rectangle: &Rectangle<'_, T>,
    gradients: [&mut [T]; 2],
    workspace: &mut [T],
) -> Result<GramReport<T>, GramError> {
    let kernel = LossKernel::<_, false> {
        config,
        call: Call::Rectangle(rectangle),
        gradients,
        in_place: &mut [],
        workspace,
    };
    crew.whole(|| kernel.run_by(crew))
}

/// What the workspace depends on.
#[derive(Clone, Copy)]
pub(super) struct TiledSizes {
    pub(super) sizes: Sizes,
    pub(super) hands: usize,
    pub(super) keep: bool,
}

impl TiledSizes {
    const fn of(sizes: Sizes, hands: usize, room: Room) -> Self {
        TiledSizes {
            sizes,
            hands,
            keep: matches!(room, Room::Large),
        }
    }

    /// Floats of workspace.
    pub(super) const fn len(self) -> usize {
        let Sizes {
            rows: [_, all],
            m,
            d,
            ..
        } = self.sizes;
        self.sizes
            .all_prepared_len()
            .saturating_add(bases_len(m, all, d))
            .saturating_add(all)
            .saturating_add(larger(self.matrices_len(), pieces_len(m, all, d)))
    }

    /// The largest of its matrices, of volumes and of cosines.
    const fn matrices_len(self) -> usize {
        let Sizes {
            planes: [local_planes, _],
            rows: [local, all],
            m,
            ..
        } = self.sizes;
        let columns = if local_planes > 1 {
            larger(
                self.matrix(m, all, local).len(),
                self.matrix(1, all, local).len(),
            )
        } else {
            0
        };
        let rows = larger(
            self.matrix(m, local, all).len(),
            self.matrix(1, local, all).len(),
        );
        larger(rows, columns)
    }

    const fn matrix(self, m: usize, anchors: usize, items: usize) -> MatrixSize {
        MatrixSize {
            anchors,
            items,
            m,
            d: self.sizes.d,
            hands: if self.hands == 0 { 1 } else { self.hands },
            keep: self.keep,
        }
    }
}

const fn larger(a: usize, b: usize) -> usize {
    if a < b { b } else { a }
}

impl<T: Real, const WHOLE: bool> LossKernel<'_, T, WHOLE> {
    /// Whether one hand may do it in strips, with the workspace that was asked for.
    pub(super) fn fits_strips(&self) -> bool {
        let sizes = self.call.sizes(self.config.term);
        let tiled = TiledSizes {
            sizes,
            hands: 1,
            keep: false,
        };
        let have = self.workspace.len();
        sizes.len() <= have && tiled.len() <= have
    }

    /// The loss in strips: with the coordinates of all pairs kept where the workspace holds them.
    pub(super) fn run_by<C: Crew<T>>(self, crew: &C) -> Result<GramReport<T>, GramError> {
        let LossKernel {
            config,
            call,
            gradients: [anchors, planes],
            in_place,
            workspace,
        } = self;
        let call = call.simplest();
        let mut tiled = TiledSizes {
            sizes: call.sizes(config.term),
            hands: crew.hands(),
            keep: false,
        };
        call.check(
            config,
            [anchors.len(), planes.len()],
            tiled.len(),
            workspace.len(),
        )?;
        tiled.keep = TiledSizes {
            keep: true,
            ..tiled
        }
        .len()
            <= workspace.len();
        let sizes = tiled.sizes;
        let (mut local, mut all, rest) = Prepared::split_both(workspace, in_place, sizes);
        let mut found = Ok(0);
        let vectors = (&mut local, &mut all, &mut found);
        let work = Prepare {
            config,
            call,
            sizes,
        };
        crew.each(core::iter::once(vectors), &work);
        let missing = found?;
        let layout = Layout {
            local: Side::new(&local, sizes.rows[0]),
            all: Side::new(&all, sizes.rows[1]),
            apart: call.apart(),
            offset: call.offset(),
            directions: call.directions(),
            scale: call.scale(),
            m: sizes.m,
            d: sizes.d,
        };
        anchors.fill(T::ZERO);
        planes.fill(T::ZERO);
        let mut gradients = Gradients {
            anchors,
            planes,
            detached: call.detached(),
        };
        let mut report = GramReport {
            missing,
            ..GramReport::default()
        };
        let (bases, rest) = take(rest, bases_len(sizes.m, sizes.rows[1], sizes.d));
        let (columns, matrices) = take(rest, sizes.rows[1]);
        let mut terms = Terms {
            crew,
            config,
            layout,
            tiled,
            bases,
            columns,
            matrices,
        };
        let (volumes, cosines) = of_terms(config, sizes.m);
        let (anchors, weight) = volumes;
        for anchor in anchors {
            terms.volume(anchor, weight, &mut gradients, &mut report);
        }
        for (anchor, weight, is_pairs) in cosines.into_iter().flatten() {
            let loss = terms.cosines(anchor, weight, &mut gradients, &mut report);
            report.loss += loss;
            if is_pairs {
                report.pairs_loss = loss;
            }
        }
        if config.normalise {
            let of_planes = if gradients.detached { &local } else { &all };
            let pieces = [(of_planes, gradients.planes), (&local, gradients.anchors)];
            crew.each(pieces.into_iter(), &Normalise { d: sizes.d });
        }
        Ok(report)
    }
}

/// What all terms share.
struct Terms<'a, C, T> {
    crew: &'a C,
    config: &'a GramLoss<T>,
    layout: Layout<'a, T>,
    tiled: TiledSizes,
    bases: &'a mut [T],
    columns: &'a mut [T],
    matrices: &'a mut [T],
}

impl<T: Real, C: Crew<T>> Terms<'_, C, T> {
    /// The volume loss with one anchor, times `weight`.
    fn volume(
        &mut self,
        anchor: usize,
        weight: T,
        gradients: &mut Gradients<'_, T>,
        report: &mut GramReport<T>,
    ) {
        let layout = self.layout;
        let (m, d) = (layout.m, layout.d);
        let info_nce = volume_info(self.config, &layout, anchor, weight, self.columns);
        for direction in layout.directions {
            let block = layout.block(*direction, anchor);
            let rows = block.items.rows;
            let sizes = [m, rows, d];
            let make = MakeBases {
                vectors: block.items.unit,
                present: block.items.present,
                skip: block.skip,
                sizes,
            };
            let storage = BasesMut::split(self.bases, m, rows, d);
            self.crew.each(storage.pieces(sizes, self.matrices), &make);
            let BasesMut { q, r, volume } = BasesMut::split(self.bases, m, rows, d);
            let bases = Bases {
                q,
                r,
                volume,
                vectors: block.items.unit,
                present: block.items.present,
                skip: block.skip,
                m,
                items: rows,
                d,
            };
            let columns = self.columns.get(block.first_item..).unwrap_or_default();
            let matrix = Matrix {
                score: Score::Volume,
                bases: &bases,
                anchors: block.anchors,
                anchors_present: block.anchors_present,
                columns: columns.get(..rows).unwrap_or_default(),
                info_nce: InfoNce {
                    direction: *direction,
                    ..info_nce
                },
            };
            let mut sink = gradients.sink(&layout, *direction, anchor);
            let size = self.tiled.matrix(m, block.anchors_present.len(), rows);
            let term = contrast(self.crew, &matrix, size, 0, &mut sink, self.matrices);
            for (sum, part) in report.directions.iter_mut().zip(term.directions) {
                *sum += part;
                report.loss += part;
            }
            report.temperature_gradient += info_nce.scale * term.logit_product;
            if *direction != Direction::Columns {
                report.degenerate = bases.volume.iter().fold(report.degenerate, |sum, volume| {
                    sum.saturating_add(usize::from(*volume <= T::ZERO))
                });
            }
        }
    }

    /// The cosine losses, times `weight`.
    fn cosines(
        &mut self,
        anchor: Anchor,
        weight: T,
        gradients: &mut Gradients<'_, T>,
        report: &mut GramReport<T>,
    ) -> T {
        let m = self.layout.m;
        let (anchors, weight) = cosine_anchors(anchor, m, weight);
        let mut loss = T::ZERO;
        for p in anchors {
            // With all pairs each counts once: only the planes after p.
            let first = if anchor == Anchor::Each { p } else { 0 };
            for other in first..m {
                loss += self.cosine([p, other], weight, gradients, report);
            }
        }
        loss
    }

    /// The cosine loss of modality p with number `other` of the others.
    fn cosine(
        &mut self,
        [p, other]: [usize; 2],
        weight: T,
        gradients: &mut Gradients<'_, T>,
        report: &mut GramReport<T>,
    ) -> T {
        let layout = self.layout;
        let q = other.saturating_add(usize::from(other >= layout.skip(p)));
        let scale = T::ONE / self.config.temperature;
        let (anchors_there, targets_there) = layout.pairs(p, layout.all.flags(q));
        let tuples = matched(anchors_there, targets_there);
        let mut loss = T::ZERO;
        for direction in layout.directions {
            let block = layout.block(*direction, p);
            let rows = block.items.rows;
            let bases = Bases {
                q: block.items.vectors(q, layout.d),
                r: &[],
                volume: &[],
                vectors: &[],
                present: &[],
                skip: usize::MAX,
                m: 1,
                items: rows,
                d: layout.d,
            };
            let matrix = Matrix {
                score: Score::Cosine,
                bases: &bases,
                anchors: block.anchors,
                anchors_present: block.anchors_present,
                columns: block.items.flags(q),
                info_nce: InfoNce {
                    scale,
                    smoothing: self.config.label_smoothing,
                    weight: weight * layout.scale,
                    tuples,
                    direction: *direction,
                    offset: layout.offset,
                },
            };
            let mut sink = gradients.sink(&layout, *direction, p);
            let size = self.tiled.matrix(1, block.anchors_present.len(), rows);
            let term = contrast(self.crew, &matrix, size, other, &mut sink, self.matrices);
            report.temperature_gradient -= scale * term.logit_product;
            loss = term
                .directions
                .into_iter()
                .fold(loss, |sum, part| sum + part);
        }
        loss
    }
}

/// The vectors of both sides.
struct Prepare<'a, T> {
    config: &'a GramLoss<T>,
    call: Call<'a, T>,
    sizes: Sizes,
}

type Found = Result<usize, GramError>;

impl<T: Real> Work<T, (&mut Prepared<'_, T>, &mut Prepared<'_, T>, &mut Found)> for Prepare<'_, T> {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        (local, all, found): (&mut Prepared<'_, T>, &mut Prepared<'_, T>, &mut Found),
    ) {
        *found = prepare(isa, self.config, self.call, self.sizes, local, all);
    }
}

/// The gradient of raw vectors.
struct Normalise {
    d: usize,
}

impl<T: Real> Work<T, (&Prepared<'_, T>, &mut [T])> for Normalise {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, isa: I, piece: (&Prepared<'_, T>, &mut [T])) {
        let (prepared, gradient) = piece;
        prepared.through_normalisation(isa, self.d, gradient);
    }
}
