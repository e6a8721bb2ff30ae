//! One tuple: volume and gradient.

use nalgebra::SMatrix;
use rivergram_core::gram::int8::volume_i8;
use rivergram_core::gram::{compact, tuple};

use crate::data::{Numbers, aligned};
use crate::measure::{cost, print};
use crate::plain;

macro_rules! sizes {
    ($($k:literal: $($d:literal)*;)*) => {$($({
        type X = [[f32; $d]; $k];
        type Matrix = SMatrix<f32, $d, $k>;
        let x: X = Numbers::new().cone::<$k, $d>(0.3);
        let matrix = Matrix::from(x);
        cost!(concat!("rivergram: volume, K = ", $k, ", D = ", $d), 0, (x: &X = &x) -> f32 {
            tuple::volume(x)
        });
        cost!(concat!("nalgebra: volume, K = ", $k, ", D = ", $d), 0, (x: &Matrix = &matrix) -> f32 {
            libm::sqrtf(x.tr_mul(x).determinant().abs())
        });
        cost!(concat!("plain: volume, K = ", $k, ", D = ", $d), 0, (x: &X = &x) -> f32 {
            plain::volume(x)
        });
        let mut g = x;
        cost!(concat!("rivergram: gradient, K = ", $k, ", D = ", $d), 0, (x: &X = &x, g: &mut X = &mut g) -> f32 {
            tuple::volume_gradient(x, g)
        });
        let mut g = matrix;
        cost!(concat!("nalgebra: gradient, K = ", $k, ", D = ", $d), 0, (x: &Matrix = &matrix, g: &mut Matrix = &mut g) -> f32 {
            let gram = x.tr_mul(x);
            let volume = libm::sqrtf(gram.determinant().abs());
            match gram.try_inverse() {
                Some(inverse) => *g = (x * inverse) * volume,
                None => g.fill(0.0),
            }
            volume
        });
        let mut g = x;
        cost!(concat!("plain: gradient, K = ", $k, ", D = ", $d), 0, (x: &X = &x, g: &mut X = &mut g) -> f32 {
            plain::volume_gradient(x, g)
        });
    })*)*};
}

macro_rules! eight_bits {
    ($($k:literal: $($d:literal)*;)*) => {$($({
        type X = [[i8; $d]; $k];
        let x: X = Numbers::new().cone::<$k, $d>(0.3).map(|row| row.map(|x| (x * 127.0) as i8));
        let scales = [1.0 / 127.0; $k];
        cost!(concat!("rivergram: volume in 8 bits, K = ", $k, ", D = ", $d), 0, (x: &X = &x, scales: &[f32; $k] = &scales) -> f32 {
            volume_i8(x, scales)
        });
        cost!(concat!("plain: volume in 8 bits, K = ", $k, ", D = ", $d), 0, (x: &X = &x, scales: &[f32; $k] = &scales) -> f32 {
            let x: [[f32; $d]; $k] = core::array::from_fn(|p| x[p].map(|x| scales[p] * f32::from(x)));
            plain::volume(&x)
        });
    })*)*};
}

macro_rules! compact {
    ($($k:literal: $($d:literal)*;)*) => {$($({
        type X = [[f32; $d]; $k];
        let x: X = Numbers::new().cone::<$k, $d>(0.3);
        cost!(concat!("rivergram: compact volume, K = ", $k, ", D = ", $d), 0, (x: &X = &x) -> f32 {
            compact::volume(x)
        });
        let mut g = x;
        cost!(concat!("rivergram: compact gradient, K = ", $k, ", D = ", $d), 0, (x: &X = &x, g: &mut X = &mut g) -> f32 {
            compact::volume_gradient(x, g)
        });
    })*)*};
}

/// Lengths of 1, 2 and 3 in a cone: the differences are not orthogonal enough, and multiples of the base are.
fn stretched() -> [[f32; 64]; 3] {
    let mut x = Numbers::new().cone::<3, 64>(0.01);
    for (row, length) in x.iter_mut().zip([1.0, 2.0, 3.0]) {
        for x in row {
            *x *= length;
        }
    }
    x
}

/// Three vectors far from each other, nearly in one plane: every sum needs its rounding back.
fn coplanar() -> [[f32; 64]; 3] {
    let mut numbers = Numbers::new();
    let (a, b) = (numbers.array::<64>(), numbers.array::<64>());
    let c = core::array::from_fn(|i| 0.7 * a[i] - 0.6 * b[i] + 1e-3 * numbers.next());
    [a, b, c]
}

/// Three vectors of 64 numbers, with other inputs than a cone.
fn inputs_of_three() {
    for (name, x) in aligned() {
        semihosting::print!("rivergram: volume, K = 3, D = 64; ");
        print(name, 0, &mut || {
            core::hint::black_box(tuple::volume(core::hint::black_box(&x)));
        });
        semihosting::print!("rivergram: compact volume, K = 3, D = 64; ");
        print(name, 0, &mut || {
            core::hint::black_box(compact::volume(core::hint::black_box(&x)));
        });
    }
    for (name, x) in [
        ("better rows needed", stretched()),
        ("coplanar", coplanar()),
    ] {
        semihosting::print!("rivergram: volume, K = 3, D = 64; ");
        print(name, 0, &mut || {
            core::hint::black_box(tuple::volume(core::hint::black_box(&x)));
        });
        semihosting::print!("rivergram: compact volume, K = 3, D = 64; ");
        print(name, 0, &mut || {
            core::hint::black_box(compact::volume(core::hint::black_box(&x)));
        });
    }
}

/// The lines.
pub(crate) fn costs() {
    sizes! {
        2: 16 64 256;
        3: 16 64 256;
        4: 16 64 256;
        8: 16 64 256;
    }
    eight_bits! {
        2: 64;
        3: 16 64 256;
        4: 64;
    }
    compact! {
        2: 64;
        3: 16 64 256;
        4: 64;
    }
    inputs_of_three();
}
