//! `core::flash`, and a trainer's state in it.

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use rivergram_core::flash::{Layout, Part, PartMut, RamFlash, Slot, Store};
use rivergram_core::lanes::Real;
use rivergram_core::trainer::{SavedHead, Trainer};

use crate::{any, keep, size, slice, slice_mut};

/// Any flash with pages and units of these sizes.
type Flash = RamFlash<'static, 1024, 8>;

/// Calls everything.
pub fn room<T: Real>() {
    keep(Part::bytes(&any(Part::<T>::Numbers(slice()))));
    keep(PartMut::bytes(&any(PartMut::<T>::Numbers(slice_mut()))));
    let mut flash: Flash = any(RamFlash::new(slice_mut()));
    let layout = any(Layout {
        start: 0,
        end: 0,
        payload: size(),
        budgets: size(),
    });
    keep(Store::open(&mut flash, &layout));
    if let Ok(store) = Store::open_before(&mut flash, &layout, any(0)) {
        look(any(store));
        work::<T>(any(store), &mut flash);
    }
}

fn look(store: Store) {
    keep(Store::sequence(&store));
    keep(Store::lost(&store));
    keep(Store::has(&store, any(Slot::Latest)));
    let budgets = Store::budgets(&store);
    keep(budgets.fold(0, |a: u64, b| a.wrapping_add(b)));
    keep(Store::erases_per_commit(&store));
    keep(Store::areas(&store));
}

fn work<T: Real>(mut store: Store, flash: &mut Flash) {
    keep(Store::commit(
        any(&mut store),
        flash,
        slice(),
        slice::<Part<'static, T>>(),
    ));
    let slot = any(Slot::Latest);
    let parts = slice_mut::<PartMut<'static, T>>();
    keep(Store::load(&store, flash, slot, parts));
    keep(Store::load_start(&store, flash, slot, slice_mut()));
    keep(Store::check(&store, flash, slot));
}

/// Calls everything that waits. A future that is polled again after its end panics, by the contract of [`Future`]; so
/// does every future that the compiler makes, and in no other place may these.
pub fn waiting<T: Real>() {
    let mut flash: Flash = any(RamFlash::new(slice_mut()));
    let layout = any(Layout {
        start: 0,
        end: 0,
        payload: size(),
        budgets: size(),
    });
    poll(Store::open_async(&mut flash, &layout));
    let before = Store::open_before_async(&mut flash, &layout, any(0));
    let Some(Ok(mut store)) = poll(before) else {
        return;
    };
    poll(Store::commit_async(
        any(&mut store),
        &mut flash,
        slice(),
        slice::<Part<'static, T>>(),
    ));
    let slot = any(Slot::Latest);
    let parts = slice_mut::<PartMut<'static, T>>();
    poll(Store::load_async(&store, &mut flash, slot, parts));
    poll(Store::load_start_async(
        &store,
        &mut flash,
        slot,
        slice_mut(),
    ));
    poll(Store::check_async(&store, &mut flash, slot));
}

/// What a future has come to, after one poll.
fn poll<R>(future: impl Future<Output = R>) -> Option<R> {
    let mut context = Context::from_waker(Waker::noop());
    match any(pin!(future)).poll(&mut context) {
        Poll::Ready(result) => Some(any(result)),
        Poll::Pending => None,
    }
}

/// What a trainer has for it.
pub(crate) fn trainer<T: Real>(trainer: &mut Trainer<'_, T>) {
    let mut head = any(SavedHead::new());
    SavedHead::bytes_mut(&mut head).fill(any(0));
    keep(Trainer::parts_mut(any(&mut *trainer), &mut head));
    let head = any(Trainer::head(trainer));
    keep(Trainer::parts(trainer, &head));
}
