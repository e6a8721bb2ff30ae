//! `core::gram`.

use rivergram_core::gram::basis::{self, Item, Rows};
use rivergram_core::gram::contrastive::{self, Batch, GramLoss};
use rivergram_core::gram::pair::{self, BasesMut, Measure};
use rivergram_core::gram::retrieval::{self, Order, TopK};
use rivergram_core::gram::tuple;
use rivergram_core::lanes::{One, Real};

use crate::{any, keep, real, size, slice, slice_mut};

/// Calls everything.
pub fn room<T: Real>() {
    let one = One::<T>::new();
    tuples(one);
    bases(one);
    pairs(one);
    loss(one);
    ranks::<T>();
}

fn tuples<T: Real>(one: One<T>) {
    keep(tuple::sweeps(size()));
    keep(tuple::workspace_len(size(), size()));
    keep(tuple::volume_on(one, slice(), size(), size(), slice_mut()));
    let (gradient, workspace) = (slice_mut(), slice_mut());
    keep(tuple::volume_gradient_on(
        one,
        slice(),
        size(),
        size(),
        gradient,
        workspace,
    ));
    keep(tuple::gram_matrix_on(
        one,
        slice(),
        size(),
        size(),
        slice_mut(),
    ));
    keep(tuple::determinant_on(
        one,
        slice(),
        size(),
        size(),
        slice_mut(),
    ));
    keep(tuple::log_volume_on(
        one,
        slice(),
        size(),
        size(),
        slice_mut(),
    ));
}

/// Rows of which nothing is known.
fn rows<T>() -> Rows<'static, T> {
    any(Rows::contiguous(slice(), size()))
}

/// Flags of which nothing is known.
fn flags() -> impl Iterator<Item = bool> + Clone {
    slice::<bool>().iter().copied()
}

fn bases<T: Real>(one: One<T>) {
    let of_item = any(Rows::<T>::of_item(slice(), size(), size(), size(), size()));
    for row in Rows::iter(of_item) {
        keep(row);
    }
    for row in basis::present_rows(rows::<T>(), flags()) {
        keep(row);
    }
    let (vectors, q) = (Rows::iter(rows()), Rows::iter(rows()));
    keep(basis::residual(
        one,
        slice(),
        vectors,
        q,
        &mut slice_mut(),
        slice_mut(),
    ));
    keep(basis::item_len(size(), size()));
    let mut item = any(Item::split(slice_mut(), size(), size()));
    keep(basis::orthonormalise(one, rows(), flags(), any(&mut item)));
    basis::solve(one, slice(), size(), size(), slice_mut());
}

fn pairs<T: Real>(one: One<T>) {
    keep(pair::distance_square::<T>(real(), real()));
    keep(pair::is_near::<T>(real(), real()));
    keep(pair::bases_len(size(), size(), size()));
    keep(pair::volume_matrix_workspace_len(
        size(),
        size(),
        size(),
        size(),
    ));
    let mut item = any(Item::split(slice_mut(), size(), size()));
    let storage = any(BasesMut::split(slice_mut(), size(), size(), size()));
    let sizes = any([0; 3]);
    let built = BasesMut::build(storage, one, slice(), slice(), size(), sizes, &mut item);
    let (bases, _) = any(built);
    keep(pair::Bases::residual(
        &bases,
        one,
        slice(),
        size(),
        slice_mut(),
        slice_mut(),
    ));
    keep(pair::Bases::r_of(&bases, size()));
    keep(pair::Bases::q_of(&bases, size()));
    let (distance, y, scratch) = (slice_mut(), slice_mut(), slice_mut());
    pair::Bases::distances(&bases, one, slice(), distance, y, scratch);
    let (measure, present, sizes) = (any(Measure::Volume), any(None), any([0; 4]));
    let (out, workspace) = (slice_mut(), slice_mut());
    keep(pair::volume_matrix(
        one,
        measure,
        slice(),
        slice(),
        present,
        sizes,
        out,
        workspace,
    ));
}

fn loss<T: Real>(one: One<T>) {
    keep(contrastive::workspace_len(size(), size(), size()));
    let config = any(GramLoss::paper(size()));
    let batch = any(Batch {
        vectors: slice(),
        present: None,
        k: 0,
        rows: 0,
        d: 0,
    });
    keep(contrastive::gram_loss(
        one,
        &config,
        &batch,
        slice_mut(),
        slice_mut(),
    ));
}

fn ranks<T: Real>() {
    let order = any(Order::Ascending);
    keep(Order::before::<T>(
        order,
        any((T::ZERO, 0)),
        any((T::ZERO, 0)),
    ));
    keep(retrieval::rank::<T>(slice(), size(), order));
    keep(retrieval::best::<T>(slice(), order));
    keep(retrieval::recall_at::<T>(slice(), size()));
    top::<T, 0>();
    top::<T, 1>();
    top::<T, 10>();
}

fn top<T: Real, const K: usize>() {
    let mut top = any(TopK::<T, K>::new(any(Order::Ascending)));
    TopK::push(any(&mut top), real(), size());
    keep(TopK::best(&top));
}

/// What exists in single precision only.
pub fn single_precision() {
    fixed::<1, 1>();
    fixed::<2, 3>();
    fixed::<3, 1>();
    fixed::<3, 16>();
    fixed::<4, 8>();
    fixed::<4, 64>();
    fixed::<8, 32>();
}

fn fixed<const K: usize, const D: usize>() {
    let vectors = &any([[0.0; D]; K]);
    keep(tuple::volume(vectors));
    let mut gradient = any([[0.0; D]; K]);
    keep(tuple::volume_gradient(vectors, &mut gradient));
    keep(gradient);
    keep(tuple::gram_matrix(vectors));
    keep(tuple::determinant(vectors));
    keep(tuple::log_volume(vectors));
}
