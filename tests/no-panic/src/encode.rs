//! `core::encode`.

use rivergram_core::encode::{self, Crc32, Reader, Writer};
use rivergram_core::lanes::Real;

use crate::{any, keep, real, slice, slice_mut};

/// Calls everything.
pub fn room<T: Real>() {
    checksum();
    write::<T>();
    read::<T>();
}

fn checksum() {
    let mut crc = any(Crc32::new());
    Crc32::update(&mut crc, slice());
    keep(Crc32::value(crc));
    keep(encode::crc32(slice()));
}

fn write<T: Real>() {
    let mut writer = any(Writer::new(slice_mut(), any([0; 4]), any(0)));
    Writer::bytes(&mut writer, slice());
    Writer::u8(&mut writer, any(0));
    Writer::u32(&mut writer, any(0));
    Writer::u64(&mut writer, any(0));
    Writer::real::<T>(&mut writer, real());
    Writer::reals::<T>(&mut writer, slice());
    keep(Writer::finish(any(writer)));
}

fn read<T: Real>() {
    let Ok(reader) = Reader::open(slice(), any([0; 4]), any(0)) else {
        return;
    };
    let mut reader = any(reader);
    keep(Reader::frame_len(&reader));
    keep(Reader::remaining(&reader));
    keep(Reader::u8(&mut reader));
    keep(Reader::u32(&mut reader));
    keep(Reader::u64(&mut reader));
    keep(Reader::real::<T>(&mut reader));
    keep(Reader::reals::<T>(&mut reader, slice_mut()));
}
