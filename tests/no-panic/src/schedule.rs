//! `core::schedule`.

use rivergram_core::lanes::Real;
use rivergram_core::schedule::{Branches, Plan, Settings, Shape, State};

use crate::{any, keep, real, size, slice, slice_mut};

/// Calls everything.
pub fn room<T: Real>() {
    settings::<T>();
    shape::<T>();
    // A plan that was never checked, as far as the compiler knows: more than callers can make.
    if let Ok(plan) = Plan::new(any(Settings::<T>::wsd_s(real(), real())), slice()) {
        let plan = any(plan);
        self::plan(&plan);
        state(&plan);
        load(&plan);
    }
    branches::<T>();
}

fn settings<T: Real>() {
    keep(Settings::<T>::wsd_s(real(), real()));
    keep(Settings::<T>::cosine(real(), real()));
    keep(Settings::<T>::linear(real(), real()));
    keep(Settings::<T>::constant(real()));
    keep(Settings::<T>::inverse_sqrt(real(), real()));
}

fn shape<T: Real>() {
    let shape = any(Shape::<T>::Linear);
    keep(Shape::rate(shape, any(0), any(0), real(), real()));
    keep(Shape::name(shape));
}

fn plan<T: Real>(plan: &Plan<'_, T>) {
    keep(Plan::settings(plan));
    keep(Plan::budgets(plan));
    keep(Plan::lr_at(plan, any(0)));
    keep(Plan::position(plan, any(0)));
    keep(Plan::decay(plan, size()));
    for decay in Plan::decays(plan) {
        keep(decay);
    }
    keep(Plan::budget_ending_at(plan, any(0)));
    keep(Plan::total(plan));
}

fn state<T: Real>(plan: &Plan<'_, T>) {
    keep(State::new(plan));
    let mut state = any(State::at(plan, any(0)));
    keep(State::plan(&state));
    keep(State::step(&state));
    keep(State::rate(&state));
    keep(State::position(&state));
    keep(State::lr_at(&state, any(0)));
    keep(State::advance(any(&mut state)));
    keep(State::advance_by(any(&mut state), any(0)));
    keep(State::request_decay(any(&mut state), any(0)));
    keep(State::request_decay_of_seen(any(&mut state), any(0)));
    keep(State::cancel_decay(any(&mut state)));
    keep(State::save(&state, slice_mut()));
}

fn load<T: Real>(plan: &Plan<'_, T>) {
    keep(State::load(plan, slice()));
}

fn branches<T: Real>() {
    let Ok(branches) = Branches::new(any(Settings::<T>::wsd_s(real(), real())), slice()) else {
        return;
    };
    let branches = any(branches);
    keep(Branches::main(&branches));
    keep(Branches::branch(&branches, size()));
    keep(Branches::start(&branches, size()));
    keep(Branches::cost(&branches));
}
