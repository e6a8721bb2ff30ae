//! One call of the loss, whatever its shape: the checks, the vectors, the terms, the gradient of the raw vectors.

use core::ops::Range;

use super::cosine::cosine_terms;
use super::layout::{Gradients, Layout, Side};
use super::partial::{Gathered, Rectangle, Shard};
use super::prepare::Prepared;
use super::volume::volume_term;
use super::work::{Scratch, Sizes, Work};
use super::{Anchor, Batch, GramLoss, GramReport, K_MAX, Term};
use crate::crew::Alone;
use crate::error::GramError;
use crate::gram::info_nce::Direction;
use crate::gram::inverse_temperature;
use crate::lanes::{Isa, Kernel, Real};

/// What is contrasted with what.
#[derive(Clone, Copy)]
pub(super) enum Call<'a, T> {
    Square(&'a Batch<'a, T>),
    /// A square batch whose vectors are prepared where they lie.
    InPlace(&'a Batch<'a, T>),
    Shard(&'a Batch<'a, T>, Shard),
    Rectangle(&'a Rectangle<'a, T>),
}

/// `WHOLE`: the call is known to be [`Call::InPlace`], and the code of the others is left out.
pub(super) struct LossKernel<'a, T, const WHOLE: bool> {
    pub(super) config: &'a GramLoss<T>,
    pub(super) call: Call<'a, T>,
    /// Of the anchors of a rectangle, and of the planes.
    pub(super) gradients: [&'a mut [T]; 2],
    /// The vectors of a batch that has none: they are prepared in place.
    pub(super) in_place: &'a mut [T],
    pub(super) workspace: &'a mut [T],
}

impl<T: Real, const WHOLE: bool> Kernel<T> for LossKernel<'_, T, WHOLE> {
    type Output = Result<GramReport<T>, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        if I::WIDTH > 1 && self.fits_strips() {
            return self.run_by(&Alone(isa));
        }
        let LossKernel {
            config,
            call,
            gradients: [anchors, planes],
            in_place,
            workspace,
        } = self;
        let need = call.sizes(config.term).len();
        let gradients = [anchors.len(), planes.len()];
        call.check(config, gradients, need, workspace.len())?;
        let call = call.simplest();
        let sizes = call.sizes(config.term);
        let Work {
            mut local,
            mut all,
            mut scratch,
        } = Work::split(workspace, in_place, sizes);
        let missing = prepare(isa, config, call, sizes, &mut local, &mut all)?;
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
        terms::<WHOLE, I>(
            isa,
            config,
            &layout,
            &mut scratch,
            &mut gradients,
            &mut report,
        );
        if config.normalise {
            let of_planes = if gradients.detached { &local } else { &all };
            of_planes.through_normalisation(isa, sizes.d, gradients.planes);
            local.through_normalisation(isa, sizes.d, gradients.anchors);
        }
        Ok(report)
    }
}

/// Takes the vectors of both sides; returns how many are absent.
#[inline(always)]
pub(super) fn prepare<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    call: Call<'_, I::Scalar>,
    sizes: Sizes,
    local: &mut Prepared<'_, I::Scalar>,
    all: &mut Prepared<'_, I::Scalar>,
) -> Result<usize, GramError> {
    let batch = call.batch();
    let longest = longest_square(config, sizes.m.saturating_add(1));
    let mut missing = 0;
    if let Call::Rectangle(rectangle) = call {
        missing = local.fill(isa, config, &rectangle.anchors(), 0, longest)?;
    }
    let first = usize::from(call.apart());
    missing = all
        .fill(isa, config, batch, first, longest)?
        .saturating_add(missing);
    if let Call::Shard(_, shard) = call {
        local.copy_rows(all, batch.k, batch.d, shard.offset);
    }
    Ok(missing)
}

/// The anchors of the volume term in turn, and its weight with each.
type Volumes<T> = (Range<usize>, T);

/// The anchors of cosines, their weight, and whether they are [`GramLoss::pairs`].
type Cosines<T> = (Anchor, T, bool);

/// The anchors of the volume term and its weight with each; the cosines, their weight and whether they are
/// [`GramLoss::pairs`].
#[inline(always)]
pub(super) fn of_terms<T: Real>(
    config: &GramLoss<T>,
    m: usize,
) -> (Volumes<T>, [Option<Cosines<T>>; 2]) {
    let k = m.saturating_add(1);
    let (anchors, weight, cosine) = match config.term {
        Term::Volume(Anchor::One(anchor)) => (anchor..anchor.saturating_add(1), T::ONE, None),
        Term::Volume(Anchor::Each) => (0..k, T::ONE / T::from_usize(k), None),
        Term::Cosine(anchor) => (0..0, T::ONE, Some((anchor, T::ONE, false))),
    };
    let pairs = (config.pairs > T::ZERO).then_some((Anchor::Each, config.pairs, true));
    ((anchors, weight), [cosine, pairs])
}

/// All terms of the loss. One call of each: its code is large, and is inlined where it is called.
#[inline(always)]
fn terms<const WHOLE: bool, I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    layout: &Layout<'_, I::Scalar>,
    scratch: &mut Scratch<'_, I::Scalar>,
    gradients: &mut Gradients<'_, I::Scalar>,
    report: &mut GramReport<I::Scalar>,
) {
    let ((anchors, weight), cosines) = of_terms(config, layout.m);
    for anchor in anchors {
        volume_term::<WHOLE, I>(
            isa, config, layout, anchor, weight, scratch, gradients, report,
        );
    }
    let [cosine, pairs] = cosines;
    if cosine.is_none() && pairs.is_none() {
        return;
    }
    for (anchor, weight, is_pairs) in [cosine, pairs].into_iter().flatten() {
        let loss = cosine_terms::<WHOLE, I>(
            isa, config, layout, anchor, weight, scratch, gradients, report,
        );
        report.loss += loss;
        if is_pairs {
            report.pairs_loss = loss;
        }
    }
}

impl<'a, T: Real> Call<'a, T> {
    /// The tuples, or the items of a rectangle.
    pub(super) fn batch(self) -> &'a Batch<'a, T> {
        match self {
            Call::Square(batch) | Call::InPlace(batch) | Call::Shard(batch, _) => batch,
            Call::Rectangle(rectangle) => &rectangle.items,
        }
    }

    /// A shard that is the whole batch, with all gradients, is a square: one matrix, not two.
    pub(super) fn simplest(self) -> Self {
        match self {
            Call::Shard(batch, shard)
                if shard.rows == batch.rows && shard.gathered == Gathered::Full =>
            {
                Call::Square(batch)
            }
            other => other,
        }
    }

    pub(super) fn sizes(self, term: Term) -> Sizes {
        let Batch { k, rows, d, .. } = *self.batch();
        match self {
            Call::Square(_) => Sizes::square(k, rows, d),
            Call::InPlace(_) => Sizes::square(k, rows, d).in_place(term),
            Call::Shard(_, shard) => Sizes::shard(k, shard.rows, rows, d),
            Call::Rectangle(rectangle) => Sizes::rectangle(k, rectangle.rows, rows, d),
        }
    }

    pub(super) fn apart(self) -> bool {
        matches!(self, Call::Rectangle(_))
    }

    pub(super) fn offset(self) -> usize {
        match self {
            Call::Square(_) | Call::InPlace(_) => 0,
            Call::Shard(_, shard) => shard.offset,
            Call::Rectangle(rectangle) => rectangle.offset,
        }
    }

    pub(super) fn detached(self) -> bool {
        matches!(self, Call::Shard(_, shard) if shard.gathered == Gathered::Detached)
    }

    pub(super) fn directions(self) -> &'static [Direction] {
        match self {
            Call::Square(_) | Call::InPlace(_) => &[Direction::Both],
            Call::Shard(..) => &[Direction::Rows, Direction::Columns],
            Call::Rectangle(_) => &[Direction::Rows],
        }
    }

    /// The mean is over the tuples of the whole batch, of which a shard sees its part, and each direction has
    /// half of it, of which a rectangle has one.
    pub(super) fn scale(self) -> T {
        match self {
            Call::Square(_) | Call::InPlace(_) => T::ONE,
            Call::Shard(batch, shard) => T::from_usize(batch.rows) / T::from_usize(shard.rows),
            Call::Rectangle(_) => T::from_usize(2),
        }
    }

    /// Lengths first, then the constants.
    pub(super) fn check(
        self,
        config: &GramLoss<T>,
        gradients: [usize; 2],
        need: usize,
        have: usize,
    ) -> Result<(), GramError> {
        let batch = self.batch();
        let Batch { rows: all, d, .. } = *batch;
        let k = batch.k.saturating_add(usize::from(self.apart()));
        let (offset, rows) = match self {
            Call::Square(_) | Call::InPlace(_) => (0, all),
            Call::Shard(_, shard) => (shard.offset, shard.rows),
            Call::Rectangle(rectangle) => (rectangle.offset, rectangle.rows),
        };
        if batch.k == 0 || all == 0 || d == 0 {
            return Err(GramError::Empty { k, rows: all, d });
        }
        if !(2..=K_MAX).contains(&k) {
            return Err(GramError::Arity { k });
        }
        if rows == 0 || offset > all || rows > all.saturating_sub(offset) {
            return Err(GramError::Shard { offset, rows, all });
        }
        let in_place = matches!(self, Call::InPlace(_));
        check_vectors(batch, !in_place)?;
        let planes = |rows: usize| batch.k.saturating_mul(rows).saturating_mul(d);
        let (wanted, optional) = match self {
            Call::Rectangle(rectangle) => {
                check_vectors(&rectangle.anchors(), true)?;
                ([rows.saturating_mul(d), planes(all)], true)
            }
            _ => ([0, planes(if self.detached() { rows } else { all })], false),
        };
        for (need, have) in wanted.into_iter().zip(gradients) {
            if need != have && !(optional && have == 0) {
                return Err(GramError::BufferSize { need, have });
            }
        }
        if have < need {
            return Err(GramError::Workspace { need, have });
        }
        check_config(config, k)?;
        if self.apart() && (config.one_anchor() != Some(0) || config.pairs > T::ZERO) {
            return Err(GramError::OneAnchor);
        }
        Ok(())
    }
}

fn check_vectors<T: Real>(batch: &Batch<'_, T>, has_vectors: bool) -> Result<(), GramError> {
    let flags = batch.k.saturating_mul(batch.rows);
    let numbers = if has_vectors {
        flags.saturating_mul(batch.d)
    } else {
        0
    };
    for (need, have) in [
        (numbers, batch.vectors.len()),
        (flags, batch.present.map_or(flags, <[bool]>::len)),
    ] {
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
    }
    Ok(())
}

/// How large a volume may be: its logits, their sums over a million rows and dL/dτ stay in range.
#[inline(always)]
fn largest_volume<T: Real>(temperature: T) -> T {
    T::MAX * T::constant(1e-6) * temperature * temperature
}

/// |x|² of the longest vectors of which k have no larger volume: |x|^k at most.
#[inline(always)]
fn longest_square<T: Real>(config: &GramLoss<T>, k: usize) -> T {
    if config.normalise {
        return T::MAX;
    }
    let two_parts = T::constant(2.0) / T::from_usize(k);
    (largest_volume(config.temperature).ln() * two_parts).exp()
}

fn check_config<T: Real>(config: &GramLoss<T>, k: usize) -> Result<(), GramError> {
    inverse_temperature(config.temperature)?;
    if largest_volume(config.temperature) < T::ONE {
        return Err(GramError::Temperature);
    }
    if !(T::ZERO..=T::ONE).contains(&config.label_smoothing) {
        return Err(GramError::LabelSmoothing);
    }
    if !(config.pairs >= T::ZERO && config.pairs.is_finite()) {
        return Err(GramError::Weight);
    }
    match config.one_anchor() {
        Some(anchor) if anchor >= k => Err(GramError::Anchor { anchor, k }),
        _ => Ok(()),
    }
}
