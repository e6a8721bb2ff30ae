//! `core::gram`.

use rivergram_core::crew::Alone;
use rivergram_core::gram::basis::{self, Item, Rows};
use rivergram_core::gram::compact;
use rivergram_core::gram::contrastive::{
    self, Batch, Gathered, GramLoss, Rectangle, Room, Shard, ZeroRows,
};
use rivergram_core::gram::fixed;
use rivergram_core::gram::info_nce;
use rivergram_core::gram::int8::{self, Gallery, Step};
use rivergram_core::gram::matching;
use rivergram_core::gram::negatives::{self, Own};
use rivergram_core::gram::pair::{self, Bases, BasesMut, Measure};
use rivergram_core::gram::related::{
    singular::{self, Singular},
    triangle,
};
use rivergram_core::gram::retrieval::{self, Metrics, Order, TopK};
use rivergram_core::gram::search::{self, Search};
use rivergram_core::gram::stored::{self, Anchors, Numbers, Stored};
use rivergram_core::gram::tuple;
use rivergram_core::lanes::{One, Real};
use rivergram_core::optim::rounding::Half;

use crate::{any, keep, real, size, slice, slice_mut};

/// Calls everything.
pub fn room<T: Real>() {
    let one = One::<T>::new();
    tuples(one);
    bases(one);
    pairs(one);
    loss(one);
    parts_of_a_batch(one);
    strips(one);
    related(one);
    hard_negatives(one);
    ranks::<T>();
    ids::<T>();
    search(one);
}

fn some_vectors<const K: usize, T: Real>(one: One<T>) {
    keep(fixed::volume_on::<K, _>(one, slice(), size()));
    let gradient = slice_mut();
    keep(fixed::volume_gradient_on::<K, _>(
        one,
        slice(),
        size(),
        gradient,
    ));
}

fn tuples<T: Real>(one: One<T>) {
    some_vectors::<2, T>(one);
    some_vectors::<3, T>(one);
    some_vectors::<8, T>(one);
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
    let (gradient, workspace) = (slice_mut(), slice_mut());
    keep(tuple::log_volume_gradient_on(
        one,
        slice(),
        size(),
        size(),
        gradient,
        workspace,
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
    basis::cosine_weights::<T>(slice(), slice_mut());
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
    let (vectors, q) = (Rows::iter(rows()), Rows::iter(rows()));
    let add = |p: usize, x: T| keep((p, x));
    let found = basis::project(one, slice(), vectors, q, &mut slice_mut(), add);
    keep(basis::coordinate(any(found), real(), real()));
    keep(basis::column_entry(
        size(),
        size(),
        any(found),
        real(),
        real(),
    ));
    keep(basis::item_len(size(), size()));
    let mut item = any(Item::split(slice_mut(), size(), size()));
    keep(basis::orthonormalise(one, rows(), flags(), any(&mut item)));
    let after = slice().iter().copied().zip(Rows::iter(rows()));
    basis::solve_row(one, real(), after, &mut slice_mut());
    basis::reject(one, Rows::iter(rows()), &mut slice_mut());
    basis::solve(one, slice(), size(), size(), slice_mut());
}

fn pairs<T: Real>(one: One<T>) {
    keep(pair::distance_square::<T>(real(), real()));
    keep(pair::is_near::<T>(real(), real()));
    keep(pair::volume::<T>(real(), real()));
    keep(pair::coefficient::<T>(real(), real(), real()));
    keep(info_nce::pull::<T>(real(), real(), real(), real(), real()));
    keep(pair::bases_len(size(), size(), size()));
    keep(pair::volume_matrix_workspace_len(
        size(),
        size(),
        size(),
        size(),
    ));
    keep(pair::present_vectors(
        one,
        any(ZeroRows::Missing),
        slice(),
        any(None),
        any([0; 3]),
        size(),
        slice_mut(),
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

fn search<T: Real>(one: One<T>) {
    let search = any(Search::by(any(Measure::Volume)));
    keep(search::nearest_workspace_len(
        size(),
        size(),
        size(),
        size(),
    ));
    keep(Measure::order(any(Measure::Volume)));
    let (present, sizes, workspace) = (any(None), any([0; 4]), slice_mut());
    let top = slice_mut::<TopK<T, 5>>();
    keep(search::nearest(
        one,
        search,
        slice(),
        slice(),
        present,
        sizes,
        top,
        workspace,
    ));
    keep(search::nearest_prepared_workspace_len(
        size(),
        size(),
        size(),
        size(),
    ));
    let bases = any(Bases {
        q: slice::<T>(),
        r: slice(),
        volume: slice(),
        vectors: slice(),
        present: slice(),
        skip: size(),
        m: size(),
        items: size(),
        d: size(),
    });
    let (top, workspace) = (slice_mut::<TopK<T, 5>>(), slice_mut());
    let nearest = search::nearest_prepared(one, search, slice(), &bases, top, workspace);
    keep(nearest);
    let (top, workspace) = (slice_mut::<TopK<T, 5>>(), slice_mut());
    let part = any([0; 2]);
    keep(search::nearest_prepared_part(
        one,
        search,
        slice(),
        &bases,
        part,
        top,
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

fn parts_of_a_batch<T: Real>(one: One<T>) {
    let shard = any(Shard {
        offset: 0,
        rows: 0,
        gathered: Gathered::Full,
    });
    let config = any(GramLoss::paper(size()));
    let batch = any(Batch {
        vectors: slice(),
        present: None,
        k: 0,
        rows: 0,
        d: 0,
    });
    keep(Shard::gradient_len(shard, size(), size(), size()));
    keep(contrastive::shard_workspace_len(
        size(),
        size(),
        size(),
        size(),
    ));
    keep(contrastive::rectangle_workspace_len(
        size(),
        size(),
        size(),
        size(),
    ));
    let (gradient, workspace) = (slice_mut(), slice_mut());
    keep(contrastive::shard_loss(
        one, &config, &batch, shard, gradient, workspace,
    ));
    let rectangle = any(Rectangle {
        anchors: slice(),
        anchors_present: None,
        rows: 0,
        items: batch,
        offset: 0,
    });
    let (of_anchors, of_items, workspace) = (slice_mut(), slice_mut(), slice_mut());
    keep(contrastive::rectangle_loss(
        one, &config, &rectangle, of_anchors, of_items, workspace,
    ));
}

fn strips<T: Real>(one: One<T>) {
    let crew = any(Alone(one));
    let room = any(Room::Small);
    let sides = any([0; 2]);
    keep(contrastive::room_len(room, size(), size(), size(), size()));
    keep(contrastive::shard_room_len(
        room,
        size(),
        size(),
        sides,
        size(),
    ));
    keep(contrastive::rectangle_room_len(
        room,
        size(),
        size(),
        sides,
        size(),
    ));
    let config = any(GramLoss::<T>::paper(size()));
    let batch = any(Batch {
        vectors: slice::<T>(),
        present: any(None),
        k: size(),
        rows: size(),
        d: size(),
    });
    let workspace = slice_mut();
    keep(contrastive::gram_loss_by(
        &crew,
        &config,
        &batch,
        slice_mut(),
        workspace,
    ));
    let shard = any(Shard {
        offset: size(),
        rows: size(),
        gathered: Gathered::Full,
    });
    let workspace = slice_mut();
    keep(contrastive::shard_loss_by(
        &crew,
        &config,
        &batch,
        shard,
        slice_mut(),
        workspace,
    ));
    let rectangle = any(Rectangle {
        anchors: slice(),
        anchors_present: any(None),
        rows: size(),
        items: batch,
        offset: size(),
    });
    let gradients = [slice_mut(), slice_mut()];
    let workspace = slice_mut();
    keep(contrastive::rectangle_loss_by(
        &crew, &config, &rectangle, gradients, workspace,
    ));
    keep(pair::volume_matrix_room_len(size(), size(), size(), size()));
    keep(pair::volume_matrix_by(
        &crew,
        any(Measure::Volume),
        slice(),
        slice(),
        any(None),
        any([0; 4]),
        slice_mut(),
        slice_mut(),
    ));
}

fn related<T: Real>(one: One<T>) {
    keep(singular::workspace_len(size(), size()));
    if let Ok(found) = Singular::of(one, slice(), size(), size(), slice_mut()) {
        let found = any(found);
        keep(Singular::values(&found));
        keep(Singular::gradient(&found, one, slice(), slice_mut()));
    }
    keep(singular::rank_loss::<T>(slice(), real(), slice_mut()));
    keep(triangle::workspace_len(size()));
    keep(triangle::score_without_root::<T>(real()));
    keep(triangle::area_on(one, slice(), size(), slice_mut()));
    let (gradient, workspace) = (slice_mut(), slice_mut());
    keep(triangle::area_gradient_on(
        one,
        slice(),
        size(),
        gradient,
        workspace,
    ));
    keep(matching::total_loss::<T>(real(), real()));
    let (present, gradient) = (any(None), slice_mut());
    keep(matching::matching_loss::<T>(
        slice(),
        size(),
        present,
        gradient,
    ));
}

fn hard_negatives<T: Real>(one: One<T>) {
    let random = || any(0);
    let own = any(Own {
        anchors: any(None),
        items: any(None),
        ..Own::at(size())
    });
    keep(negatives::row_weights(
        one,
        real(),
        own,
        size(),
        slice_mut(),
    ));
    keep(negatives::column_workspace_len(size()));
    let (scores, workspace) = (slice_mut(), slice_mut());
    keep(negatives::column_weights(
        one,
        real(),
        own,
        size(),
        scores,
        workspace,
    ));
    keep(negatives::draw::<T>(slice(), any(0)));
    keep(negatives::draw_rows::<T>(
        slice(),
        size(),
        random,
        slice_mut(),
    ));
    keep(negatives::draw_columns::<T>(
        slice(),
        size(),
        random,
        slice_mut(),
    ));
}

fn ids<T: Real>() {
    let order = any(Order::Ascending);
    let (texts, items) = (slice::<u32>(), slice::<u32>());
    keep(retrieval::forward_rank::<T, u32>(
        slice(),
        items,
        &any(0),
        order,
    ));
    keep(retrieval::forward_ranks::<T, u32>(
        slice(),
        texts,
        items,
        order,
        slice_mut(),
    ));
    keep(retrieval::backward_rank::<T, u32>(
        slice(),
        texts,
        items,
        size(),
        order,
    ));
    keep(retrieval::backward_ranks::<T, u32>(
        slice(),
        texts,
        items,
        order,
        slice_mut(),
    ));
    keep(retrieval::mean_rank::<T>(slice()));
    keep(retrieval::median_rank(slice()));
    keep(Metrics::<T>::of(slice()));
    keep(retrieval::gramian_value::<T>(slice(), size()));
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
    TopK::push_row(any(&mut top), slice(), size());
    let other = any(TopK::<T, K>::new(any(Order::Ascending)));
    TopK::merge(any(&mut top), &other);
    keep(TopK::order(&top));
    keep(TopK::best(&top));
}

/// What exists in single precision only.
pub fn single_precision() {
    fixed_size::<1, 1>();
    fixed_size::<2, 3>();
    fixed_size::<3, 1>();
    fixed_size::<3, 16>();
    fixed_size::<4, 8>();
    fixed_size::<4, 64>();
    fixed_size::<8, 32>();
    triangles::<1>();
    triangles::<16>();
    eight_bits::<1, 1>();
    eight_bits::<2, 16>();
    eight_bits::<3, 64>();
    eight_bits::<4, 64>();
    eight_bits::<8, 32>();
    eight_bits_of_any_size();
    stored_bases();
    galleries::<1>();
    galleries::<2>();
    galleries::<3>();
    galleries::<7>();
}

fn stored_bases() {
    keep(stored::quantise_anchor(slice(), slice_mut()));
    keep(stored::nearest_stored_workspace_len(
        size(),
        size(),
        size(),
        size(),
    ));
    let half = Numbers::Half(any(Half::F16), slice());
    for q in [Numbers::F32(slice()), half, Numbers::Int8(slice(), slice())] {
        let bases = any(Stored {
            q,
            volume: slice(),
            cosines: slice(),
            present: slice(),
            m: size(),
            items: size(),
            d: size(),
        });
        let anchors = any(Anchors {
            vectors: slice(),
            numbers: slice(),
            scales: slice(),
        });
        let search = any(Search::by(any(Measure::Volume)));
        let (top, workspace) = (slice_mut::<TopK<f32, 5>>(), slice_mut());
        keep(stored::nearest_stored(
            One::new(),
            search,
            anchors,
            &bases,
            any([0; 2]),
            top,
            workspace,
        ));
    }
}

fn galleries<const M: usize>() {
    let gallery = any(Gallery::<M> {
        numbers: [&[]; M],
        scales: [&[]; M],
        present: Some([&[]; M]),
    });
    let search = any(Search::by(Measure::Volume));
    let items = slice_mut::<int8::Item<M>>();
    keep(Gallery::prepare(&gallery, search.zero_rows, size(), items));
    let mut top = any(TopK::<f32, 4>::new(Order::Ascending));
    let prepared = any(Some(slice::<int8::Item<M>>()));
    keep(int8::nearest_i8(
        search,
        slice(),
        real(),
        gallery,
        prepared,
        &mut top,
    ));
    keep(top);
}

fn eight_bits<const K: usize, const D: usize>() {
    let vectors = &any([[0; D]; K]);
    keep(int8::gram_matrix_i8(vectors));
    keep(int8::volume_i8(vectors, &any([0.0; K])));
}

fn eight_bits_of_any_size() {
    keep(int8::quantise(slice(), slice_mut()));
    keep(Step::round(Step::of(any(0.0)), any(0.0)));
    keep(int8::volume_i8_on(slice(), slice(), size()));
}

fn triangles<const D: usize>() {
    let corners = &any([[0.0; D]; 3]);
    keep(triangle::area(corners));
    let mut gradient = any([[0.0; D]; 3]);
    keep(triangle::area_gradient(corners, &mut gradient));
    keep(gradient);
}

fn fixed_size<const K: usize, const D: usize>() {
    let vectors = &any([[0.0; D]; K]);
    keep(tuple::volume(vectors));
    let mut gradient = any([[0.0; D]; K]);
    keep(tuple::volume_gradient(vectors, &mut gradient));
    keep(gradient);
    keep(compact::volume(vectors));
    let mut gradient = any([[0.0; D]; K]);
    keep(compact::volume_gradient(vectors, &mut gradient));
    keep(gradient);
    keep(tuple::gram_matrix(vectors));
    keep(tuple::determinant(vectors));
    keep(tuple::log_volume(vectors));
    let mut gradient = any([[0.0; D]; K]);
    keep(tuple::log_volume_gradient(vectors, &mut gradient));
    keep(gradient);
}
