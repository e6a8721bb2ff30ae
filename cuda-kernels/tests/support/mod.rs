//! What the tests of the kernels share: random vectors, launches, and core in `f64` as the oracle.
#![allow(dead_code)]

pub(crate) mod pairs;

use rivergram_cuda_kernels::device::{Launch, Memory, Order, Thread};

/// Both orders of the threads: a kernel gives the same bits in either.
pub(crate) const ORDERS: [Order; 2] = [Order::Forward, Order::Backward];

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    pub(crate) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
    }

    pub(crate) fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

/// The numbers in double precision.
pub(crate) fn double(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

/// Runs a kernel that must not fault.
#[track_caller]
pub(crate) fn run<P: Copy + 'static>(
    memory: &mut Memory,
    launch: Launch,
    order: Order,
    kernel: fn(Thread<'_>, P),
    p: P,
) {
    if let Err(fault) = memory.launch(launch, order, kernel, p) {
        panic!("{fault}");
    }
}

/// That each number is within `cap · scale` of the one in double precision.
#[track_caller]
pub(crate) fn assert_close(
    what: &str,
    got: &[f32],
    want: &[f64],
    scale: impl Fn(usize) -> f64,
    cap: f64,
) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(
            error <= cap * scale(i),
            "{what}, {i}: got {got:e}, want {want:e}: error {:.2e} of {:e}",
            error / scale(i),
            scale(i)
        );
    }
}
