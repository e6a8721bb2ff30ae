//! `core::eisl`.

use rivergram_core::crew::Alone;
use rivergram_core::eisl::select::{Matrix, MatrixMut, Selection};
use rivergram_core::eisl::{
    self, Batch, Checked, Config, Parts, RowLoss, Select, Shape, Work, bag, diagonal, gather,
    select,
};
use rivergram_core::lanes::{One, Real};
use rivergram_core::lse::LogSum;
use rivergram_core::optim::rounding::Half;

use crate::{any, keep, real, size, slice, slice_mut};

/// A configuration of which nothing is known.
pub fn config<T: Real>() -> Config<'static, T> {
    any(Config::new(slice()))
}

/// Sizes of which nothing is known.
pub fn shape() -> Shape {
    any(Shape {
        batch: 0,
        positions: 0,
        targets: 0,
        vocabulary: 0,
    })
}

/// A batch of which nothing is known.
pub fn batch<T: Real>() -> Batch<'static, T> {
    any(Batch::new(shape(), slice()))
}

fn parts<T>() -> Parts<'static, T> {
    any(Parts::none())
}

/// Calls everything.
pub fn room<T: Real>() {
    sizes::<T>();
    batches(One::<T>::new());
    rows(One::<T>::new());
    pieces(One::<T>::new());
    bags(One::<T>::new());
    fixed::<T, 1, 1, 1, 1>();
    fixed::<T, 8, 5, 12, 3>();
}

fn sizes<T: Real>() {
    keep(Config::<T>::cross_entropy(real()));
    keep(Config::<T>::bag_of_ngrams(slice()));
    keep(Config::order_count(&config::<T>()));
    keep(Config::order(&config::<T>(), size(), size()));
    keep(Batch::workspace_len(&batch::<T>(), &config()));
    keep(Batch::crew_workspace_len(&batch::<T>(), &config(), size()));
    keep(Batch::noise_len(&batch::<T>(), &config()));
    keep(Shape::grams(&shape(), size()));
    keep(eisl::noise_len::<T>(shape(), slice()));
    keep(eisl::workspace_len(shape(), size()));
}

fn batches<T: Real>(one: One<T>) {
    let (config, batch) = (&config(), &batch());
    keep(eisl::loss(
        one,
        config,
        batch,
        slice(),
        parts(),
        slice_mut(),
    ));
    let (gradient, workspace) = (slice_mut(), slice_mut());
    let losses = eisl::loss_and_gradient(one, config, batch, slice(), gradient, parts(), workspace);
    keep(losses);
    let (x, workspace) = (slice_mut(), slice_mut());
    keep(eisl::loss_and_gradient_in_place(
        one,
        config,
        batch,
        x,
        parts(),
        workspace,
    ));
    let (x, workspace) = (slice_mut(), slice_mut());
    let crew = Alone(one);
    let losses = eisl::loss_and_gradient_in_place_by(&crew, config, batch, x, parts(), workspace);
    keep(losses);
}

fn rows<T: Real>(one: One<T>) {
    let Ok(work) = Work::split(slice_mut::<T>(), shape(), size()) else {
        return;
    };
    let mut work = any(work);
    let Ok(checked) = Checked::new(&config(), &batch()) else {
        return;
    };
    let checked = any(checked);
    keep(Work::split_for(slice_mut(), &config::<T>(), &batch()));
    keep(Checked::losses(
        &checked,
        any(RowLoss {
            eisl: T::ZERO,
            ce: T::ZERO,
        }),
    ));
    keep(Checked::tokens(&checked));
    keep(Checked::row_len(&checked));
    keep(Checked::forward(
        &checked,
        one,
        size(),
        slice(),
        any(true),
        any(&mut work),
    ));
    Checked::gradient(&checked, one, size(), slice_mut(), any(&mut work));
}

fn pieces<T: Real>(one: One<T>) {
    let lse = any(LogSum {
        max: T::ZERO,
        ln_sum: T::ZERO,
    });
    let zeroed = any(None);
    keep(gather::token(any(0), zeroed));
    gather::gather(slice(), &lse, slice(), zeroed, any(None), slice_mut());
    keep(gather::score(any(None), &lse, any(None)));
    keep(gather::unclamped::<T>(real(), real(), real()));
    keep(gather::clip(
        one,
        slice(),
        slice(),
        zeroed,
        any(None),
        slice_mut(),
    ));
    gather::scatter::<T>(slice(), slice(), zeroed, slice_mut());
    diagonal::extend(one, slice(), size(), size(), slice_mut());
    diagonal::spread(one, slice(), size(), any((0, 0, 0)), slice_mut());
    let selection = any(Selection {
        select: Select::Softmax,
        temperature: T::ZERO,
        order: 0,
    });
    let (data, stride) = (slice(), size());
    let sums = Matrix { data, stride };
    let (data, stride) = (slice_mut(), size());
    let weights = any(Some((MatrixMut { data, stride }, T::ZERO)));
    select::select(
        one,
        selection,
        size(),
        sums,
        any(None),
        slice_mut(),
        weights,
    );
    keep(select::column(
        one,
        selection,
        size(),
        &mut Column,
        any(None),
    ));
}

/// A column of which nothing is known.
struct Column;

impl<T: Real> select::Cells<T> for Column {
    fn sum(&self, _: usize) -> T {
        real()
    }
    fn noise(&self, _: usize) -> Option<T> {
        any(None)
    }
    fn weight(&self, _: usize) -> T {
        real()
    }
    fn set_weight(&mut self, _: usize, weight: T) {
        keep(weight);
    }
}

fn bags<T: Real>(one: One<T>) {
    let (data, stride) = (slice(), size());
    let sums = Matrix { data, stride };
    bag::counts(one, size(), sums, slice_mut());
    keep(bag::distance::<T>(slice(), size(), size(), slice_mut()));
    let (data, stride) = (slice_mut(), size());
    bag::weigh(
        one,
        size(),
        sums,
        slice(),
        real(),
        MatrixMut { data, stride },
    );
}

fn fixed<T: Real, const P: usize, const U: usize, const V: usize, const N: usize>() {
    let one = One::<T>::new();
    let (targets, lens) = (any([0; U]), any(None));
    let mut x = any([[T::ZERO; V]; P]);
    let mut per_order = any([T::ZERO; N]);
    keep(eisl::loss_fixed(
        one,
        &config(),
        &x,
        &targets,
        lens,
        &mut per_order,
    ));
    let losses =
        eisl::loss_and_gradient_fixed(one, &config(), &mut x, &targets, lens, &mut per_order);
    keep(losses);
    keep((x, per_order));
}

/// What exists in single precision only.
pub fn single_precision() {
    single::<1, 1, 1, 1>();
    single::<8, 5, 12, 3>();
    keep(eisl::half_workspace_len(shape(), size()));
    let (x, workspace) = (slice_mut(), slice_mut());
    keep(eisl::half_loss_and_gradient_in_place(
        One::<f32>::new(),
        &config(),
        &batch(),
        any(Half::F16),
        x,
        parts(),
        workspace,
    ));
}

fn single<const P: usize, const U: usize, const V: usize, const N: usize>() {
    let (targets, lens) = (any([0; U]), any(None));
    let mut x = any([[0.0; V]; P]);
    let mut per_order = any([0.0; N]);
    let losses = eisl::loss_and_gradient_f32(&config(), &mut x, &targets, lens, &mut per_order);
    keep((losses, x, per_order));
}
