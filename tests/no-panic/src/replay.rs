//! `core::replay`.

use rivergram_core::encode::{Reader, Writer};
use rivergram_core::lanes::Real;
use rivergram_core::replay::{Number, Reservoir};

use crate::{any, keep, size, slice, slice_mut};

/// Calls everything.
pub fn room<T: Real>() {
    samples::<T>();
    samples::<i8>();
    samples::<u32>();
}

fn number<N: Number + 'static>() {
    let mut writer = any(Writer::new(slice_mut(), any([0; 4]), any(0)));
    for number in slice::<N>() {
        Number::write(*number, &mut writer);
    }
    keep(Writer::finish(any(writer)));
    if let Ok(reader) = Reader::open(slice(), any([0; 4]), any(0)) {
        keep(<N as Number>::read(&mut any(reader)));
    }
}

fn samples<N: Number + 'static>() {
    number::<N>();
    let Ok(reservoir) = Reservoir::new(size(), any(0)) else {
        return;
    };
    let mut reservoir = any(reservoir);
    keep(Reservoir::capacity(&reservoir));
    keep(Reservoir::seen(&reservoir));
    keep(Reservoir::after(reservoir, any(0)));
    keep(Reservoir::held(&reservoir));
    keep(Reservoir::admit(any(&mut reservoir)));
    keep(Reservoir::offer::<N>(
        any(&mut reservoir),
        slice(),
        slice_mut(),
    ));
    keep(Reservoir::draw(&reservoir, any(0), slice_mut()));
    keep(Reservoir::saved_len::<N>(size()));
    keep(Reservoir::save::<N>(&reservoir, slice(), slice_mut()));
    keep(Reservoir::load::<N>(
        any(&mut reservoir),
        slice_mut(),
        slice(),
    ));
}
