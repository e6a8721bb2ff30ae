//! The smallest pieces, timed beside others and counted in instructions.

use std::hint::black_box;

use rivergram_core::gram::tuple;
use rivergram_core::lanes::{Isa, Kernel};
use rivergram_core::{ops, softmax};
use rivergram_simd::Level;

use crate::products::Size;
use crate::random::{normals, unit_rows};
use crate::row::{Entry, Row};
use crate::timing::Contestant;

const D: usize = 512;
/// Rows of which all are multiplied with one: they stay in the second cache.
const COUNT: usize = 256;
const VOCABULARY: usize = 32_000;

pub(crate) const ROWS: &[Entry] = &[Entry {
    name: "256 dot products of 512",
    make: |setup| {
        let (rows, x) = (unit_rows(COUNT, D, 1), unit_rows(1, D, 2));
        let ours = dots(setup.level, rows.clone(), x.clone());
        let plain = |rows: Vec<f32>, x: Vec<f32>| {
            Contestant::new("plain, autovectorised", move || {
                let x = black_box(&x);
                let sums = rows.chunks_exact(D).map(|row| plain_dot(row, x));
                black_box(sums.sum::<f32>());
            })
        };
        let mut peers = vec![plain(rows.clone(), x.clone())];
        peers.extend(numkong(rows, x));
        Row {
            ours,
            floor: None,
            peers,
            agreement: None,
        }
    },
    bars: &[],
    threads: 1,
    is_long: false,
}];

/// As one writes it where the compiler may not reorder sums: eight of them, which it takes as a vector.
fn plain_dot(x: &[f32], y: &[f32]) -> f32 {
    let (x, x_rest) = x.as_chunks::<8>();
    let (y, y_rest) = y.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (x, y) in x.iter().zip(y) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

struct Dots<'a> {
    rows: &'a [f32],
    x: &'a [f32],
}

impl Kernel<f32> for Dots<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> f32 {
        let rows = self.rows.chunks_exact(D);
        rows.map(|row| ops::dot(isa, row, self.x)).sum()
    }
}

fn dots(level: Level, rows: Vec<f32>, x: Vec<f32>) -> Contestant {
    Contestant::new("ours", move || {
        black_box(level.run(Dots {
            rows: black_box(&rows),
            x: &x,
        }));
    })
}

/// A piece of work of which instructions are counted, `repeat` times.
pub(crate) type Counted = fn(Level, usize);

/// What is counted, with the name of the work.
pub(crate) const COUNTED: &[(&str, Counted)] = &[
    ("256 dot products of 512", |level, repeat| {
        let mut work = dots(level, unit_rows(COUNT, D, 1), unit_rows(1, D, 2));
        repeated(repeat, || drop((work.run)()));
    }),
    ("log-sum-exp of 32000", |level, repeat| {
        let x = normals(VOCABULARY, 1);
        repeated(repeat, || {
            black_box(level.run(LogSum(&x)));
        });
    }),
    ("gradient of softmax of 32000", |level, repeat| {
        let mut x = normals(VOCABULARY, 1);
        repeated(repeat, || level.run(Gradient(&mut x)));
    }),
    ("volume of 3 vectors of 512", |level, repeat| {
        let x = unit_rows(3, D, 1);
        repeated(repeat, || {
            black_box(level.run(Volume(&x)));
        });
    }),
    ("EISL n=1..4 T=64 V=256", |level, repeat| {
        let mut work = crate::eisl::small(level);
        repeated(repeat, || drop((work.run)()));
    }),
    ("product 64×512×64", |level, repeat| {
        let (a, b) = (normals(64 * D, 1), normals(64 * D, 2));
        let mut c = vec![0.0; 64 * 64];
        repeated(repeat, || level.matmul_nt(64, D, &a, &b, &mut c));
    }),
    (
        "product 64×512×64 in strips, as in the losses",
        |level, repeat| {
            let mut work = crate::tile::ours(level, Size { m: 64, k: D, n: 64 });
            repeated(repeat, || drop((work.run)()));
        },
    ),
];

fn repeated(count: usize, mut work: impl FnMut()) {
    for _ in 0..count {
        work();
    }
}

struct LogSum<'a>(&'a [f32]);

impl Kernel<f32> for LogSum<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> bool {
        softmax::log_sum(isa, self.0).is_ok()
    }
}

struct Gradient<'a>(&'a mut [f32]);

impl Kernel<f32> for Gradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        let lse = rivergram_core::lse::LogSum {
            max: 4.0,
            ln_sum: 8.0,
        };
        softmax::gradient(isa, &lse, 0.0, -1.0, self.0);
    }
}

struct Volume<'a>(&'a [f32]);

impl Kernel<f32> for Volume<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> bool {
        tuple::volume_on(isa, self.0, 3, D, &mut []).is_ok()
    }
}

/// A library in C, where the bench is built with it.
#[cfg(feature = "numkong")]
fn numkong(rows: Vec<f32>, x: Vec<f32>) -> Option<Contestant> {
    Some(Contestant::new("numkong", move || {
        let x = black_box(x.as_slice());
        let dots = rows.chunks_exact(D);
        let sums = dots.map(|row| <f32 as numkong::Dot>::dot(row, x).unwrap_or_default());
        black_box(sums.sum::<<f32 as numkong::Dot>::Output>());
    }))
}

#[cfg(not(feature = "numkong"))]
fn numkong(_: Vec<f32>, _: Vec<f32>) -> Option<Contestant> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_products_agree() {
        let (x, y) = (normals(D + 3, 1), normals(D + 3, 2));
        let want: f64 = x
            .iter()
            .zip(&y)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum();
        assert!((f64::from(plain_dot(&x, &y)) - want).abs() < 1e-3);
        #[cfg(feature = "numkong")]
        {
            let numkong = <f32 as numkong::Dot>::dot(&x, &y).expect("equal lengths");
            assert!((numkong - want).abs() < 1e-3);
        }
    }
}
