//! `core::math`.

use rivergram_core::math;

use crate::{keep, real};

/// Calls everything.
pub fn single_precision() {
    keep(math::exp::<f32>(real()));
    keep(math::exp_of_difference::<f32>(real()));
    keep(math::ln::<f32>(real()));
    keep(math::exp_m1::<f32>(real()));
    keep(math::exp2::<f32>(real()));
    keep(math::exp2_m1::<f32>(real()));
    keep(math::sin_half_pi::<f32>(real()));
    keep(math::powf(real(), real()));
}
