//! The tests of every operation of [`Level`], and of the lanes, as one program for machines that this one is not: on
//! AArch64 they take NEON, in WebAssembly wasm128. `cargo xtask test levels` builds it and runs it in QEMU and in Node.

use rivergram_simd::Level;

#[path = "../tests/average.rs"]
mod average;
#[path = "../tests/eisl.rs"]
mod eisl;
#[path = "../tests/eisl_half.rs"]
mod eisl_half;
#[path = "../tests/eisl_pieces.rs"]
mod eisl_pieces;
#[path = "../tests/gram.rs"]
mod gram;
#[path = "../tests/gram_loss.rs"]
mod gram_loss;
#[path = "../tests/gram_pairs.rs"]
mod gram_pairs;
#[path = "../tests/gram_prepared.rs"]
mod gram_prepared;
#[path = "../tests/gram_retrieval.rs"]
mod gram_retrieval;
#[path = "../tests/gram_shards.rs"]
mod gram_shards;
#[path = "../tests/gram_stored.rs"]
mod gram_stored;
#[path = "../tests/head.rs"]
mod head;
#[path = "../tests/lanes.rs"]
mod lanes;
#[path = "../tests/lean.rs"]
mod lean;
#[path = "../tests/math.rs"]
mod math;
#[path = "../tests/trainer.rs"]
mod trainer;

/// The level of this target's vectors.
const VECTORS: &str = if cfg!(target_arch = "aarch64") {
    "neon"
} else if cfg!(target_feature = "simd128") {
    "wasm128"
} else {
    "sse2"
};

#[test]
fn the_vectors_of_this_target_are_among_the_tested_levels() {
    assert!(Level::available().any(|level| level.name() == VECTORS));
    if !cfg!(target_arch = "x86_64") {
        assert_eq!(Level::detect().name(), VECTORS);
        assert_eq!(Level::compiled().name(), VECTORS);
    }
}
