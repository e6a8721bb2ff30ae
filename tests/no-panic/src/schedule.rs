//! `core::schedule`.

use rivergram_core::lanes::Real;
use rivergram_core::schedule::{
    self, Area, Branches, Decay, Plan, Progress, Settings, Shape, State, WarmupShape, presets,
};

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
    presets_of_others::<T>();
    areas::<T>();
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
    keep(Plan::of_checked(any(*Plan::settings(plan)), slice()));
    keep(Plan::budgets(plan));
    keep(Plan::lr_at(plan, any(0)));
    keep(schedule::rate_at(any(*plan.settings()), slice(), any(0)));
    keep(Plan::position(plan, any(0)));
    keep(Plan::decay(plan, size()));
    for decay in Plan::decays(plan) {
        keep(decay);
    }
    keep(Plan::budget_ending_at(plan, any(0)));
    keep(Plan::total(plan));
    keep(Plan::area(plan, any(0..0), real()));
}

fn state<T: Real>(plan: &Plan<'_, T>) {
    keep(State::new(plan));
    let mut state = any(State::at(plan, any(0)));
    keep(State::plan(&state));
    keep(Progress::words(&any(State::progress(&state))));
    if let Ok(same) = State::with_progress(plan, any(State::progress(&state))) {
        state = any(same);
    }
    keep(State::step(&state));
    keep(State::rate(&state));
    keep(State::position(&state));
    keep(State::lr_at(&state, any(0)));
    keep(State::advance(any(&mut state)));
    keep(State::advance_by(any(&mut state), any(0)));
    keep(State::request_decay(any(&mut state), any(0)));
    keep(State::request_decay_of_seen(any(&mut state), any(0)));
    keep(State::cancel_decay(any(&mut state)));
    keep(State::remaining(&state));
    keep(State::area_ahead(&state, any(0), real()));
    keep(State::extend(any(&mut state), any(0)));
    keep(State::resume_to_peak(any(&mut state), any(0)));
    keep(State::replan(&state, any(plan)));
    keep(State::save(&state, slice_mut()));
}

fn load<T: Real>(plan: &Plan<'_, T>) {
    keep(State::load(plan, slice()));
}

fn areas<T: Real>() {
    let mut area = any(Area::<T>::new(real()));
    Area::add(any(&mut area), real());
    keep(Area::sum(&area));
    keep(Area::annealing(&area));
    keep(Area::save(&area, slice_mut()));
    keep(Area::<T>::load(slice()));
}

fn presets_of_others<T: Real>() {
    keep(presets::transformers_constant::<T>(real(), any(0)));
    keep(presets::transformers_linear::<T>(real(), any(0)));
    keep(presets::transformers_polynomial::<T>(
        real(),
        real(),
        real(),
        any(0),
    ));
    keep(presets::transformers_cosine::<T>(real(), real(), any(0)));
    keep(presets::transformers_cosine_shifted::<T>(
        any(None),
        real(),
        real(),
        any(0),
    ));
    keep(presets::transformers_inverse_sqrt::<T>(
        real(),
        any(0),
        any(None),
    ));
    keep(presets::transformers_wsd::<T>(
        real(),
        real(),
        any(0),
        any(0),
        any(WarmupShape::Linear),
        any(Shape::Linear),
    ));
    keep(presets::megatron_wsd::<T>(
        real(),
        real(),
        real(),
        any(0),
        any(0),
        any(Shape::Linear),
    ));
    keep(presets::megatron::<T>(
        real(),
        real(),
        real(),
        any(0),
        any(Shape::Linear),
    ));
    keep(presets::megatron_inverse_sqrt::<T>(
        real(),
        real(),
        real(),
        any(0),
    ));
    keep(presets::olmo_core_wsd::<T>(
        real(),
        real(),
        real(),
        any(0),
        any(0),
    ));
    keep(presets::olmo_core_wsds::<T>(
        real(),
        real(),
        real(),
        any(0),
        any(0),
    ));
    keep(presets::olmo_core::<T>(
        real(),
        real(),
        real(),
        any(0),
        any(Shape::Linear),
    ));
    keep(presets::torchtitan::<T>(
        real(),
        real(),
        any(0),
        any(None),
        any(0),
        any(Shape::Linear),
    ));
    keep(presets::torchtitan_np1::<T>(
        real(),
        real(),
        any(0),
        any(0),
        any(Shape::Linear),
    ));
    keep(presets::levanter::<T>(
        real(),
        real(),
        any(0),
        any(0),
        any(Decay::Whole),
        any(Shape::Linear),
    ));
    keep(presets::levanter_inverse_sqrt::<T>(
        real(),
        real(),
        any(0),
        any(0),
    ));
    keep(presets::pytorch_accelerated_wsd::<T>(
        real(),
        real(),
        real(),
        any(0),
        any(Decay::Whole),
        any(Shape::Linear),
    ));
    keep(presets::pytorch_accelerated_budget(any(0), any(0), any(0)));
    keep(presets::pytorch_accelerated_cosine::<T>(
        real(),
        real(),
        real(),
        any(0),
    ));
    keep(presets::optax_warmup_constant::<T>(real(), real(), any(0)));
    keep(presets::optax_warmup_cosine::<T>(
        real(),
        real(),
        real(),
        any(0),
    ));
    keep(presets::optax_wsd::<T>(
        real(),
        real(),
        real(),
        any(0),
        any(0),
        any(Shape::Linear),
    ));
}

/// What takes fractions in double precision, for settings on a host.
pub fn double_precision() {
    keep(presets::rounded(any(0), any(0.0)));
    keep(presets::truncated(any(0), any(0.0)));
    keep(presets::optax_warmup_exponential::<f64>(
        real(),
        real(),
        real(),
        any(0),
        any(0),
        any(0.0),
        any(0),
    ));
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
