//! `core::optim`.

use rivergram_core::lanes::{One, Real};
use rivergram_core::optim::average::{Ema, Lawa, RunningMean, Start};
use rivergram_core::optim::rounding::Half;
use rivergram_core::optim::{self, AdamW, Optimizer};

use crate::{any, keep, real, size, slice, slice_mut};

/// Calls everything.
pub fn room<T: Real>() {
    let one = One::<T>::new();
    keep(Optimizer::<T>::sgd());
    keep(Optimizer::<T>::lion());
    let rule = any(Optimizer::<T>::adamw());
    keep(Optimizer::state_len(&rule, size()));
    keep(Optimizer::check(&rule));
    Optimizer::update(
        &rule,
        one,
        real(),
        any(0),
        slice_mut(),
        slice(),
        slice_mut(),
    );
    let adamw = any(AdamW::<T>::new(any([T::ZERO; 4]), real(), any(0)));
    AdamW::apply(adamw, one, slice_mut(), slice(), slice_mut(), slice_mut());
    keep(optim::clip(one, real(), slice_mut()));
    averages(one);
}

fn averages<T: Real>(one: One<T>) {
    let start = any(Start::Slice);
    keep(Ema::<T>::with_half_life(real(), start));
    if let Ok(ema) = Ema::<T>::with_decay(real(), start) {
        let mut ema = any(ema);
        keep(Ema::updates(&ema));
        keep(Ema::after(ema, any(0)));
        keep(Ema::weight(&ema));
        keep(Ema::update(any(&mut ema), one, slice(), slice_mut()));
        keep(Ema::<T>::saved_len(size()));
        keep(Ema::save(&ema, slice(), slice_mut()));
        keep(Ema::load(any(&mut ema), slice_mut(), slice()));
    }
    let mut mean = any(RunningMean::new());
    keep(RunningMean::updates(&mean));
    keep(RunningMean::after(mean, any(0)));
    RunningMean::reset(any(&mut mean));
    keep(RunningMean::update(
        any(&mut mean),
        one,
        slice(),
        slice_mut(),
    ));
    keep(RunningMean::saved_len::<T>(size()));
    keep(RunningMean::save::<T>(&mean, slice(), slice_mut()));
    keep(RunningMean::load::<T>(any(&mut mean), slice_mut(), slice()));
    latest(one);
}

fn latest<T: Real>(one: One<T>) {
    let Ok(lawa) = Lawa::new(size(), any(0)) else {
        return;
    };
    let mut lawa = any(lawa);
    keep(Lawa::ring_len(&lawa, size()));
    keep(Lawa::updates(&lawa));
    keep(Lawa::after(lawa, any(0)));
    keep(Lawa::held(&lawa));
    keep(Lawa::update::<T>(any(&mut lawa), slice(), slice_mut()));
    keep(Lawa::mean(&lawa, one, slice(), slice_mut()));
    keep(Lawa::saved_len::<T>(&lawa, size()));
    keep(Lawa::save::<T>(&lawa, slice(), slice_mut()));
    keep(Lawa::load::<T>(any(&mut lawa), slice_mut(), slice()));
}

/// What exists in single precision only.
pub fn single_precision() {
    let half = any(Half::F16);
    keep(Half::infinity(half));
    keep(Half::widen(half, any(0)));
    keep(Half::nearest(half, real()));
    keep(Half::stochastic(half, real(), any(0)));
    keep(Half::store_nearest(half, slice(), slice_mut()));
    keep(Half::store_stochastic(
        half,
        slice(),
        || any(0),
        slice_mut(),
    ));
    keep(Half::load(half, slice(), slice_mut()));
    keep(Half::ulp(half, real()));
    keep(Half::loses(half, any(0), real()));
    keep(Half::lost_updates(half, real(), slice(), slice()));
}
