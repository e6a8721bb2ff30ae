//! The reservoir: uniform over what went by, a function of its seed, and across saves.

use rivergram_core::error::{DecodeError, EncodeError, ReplayError};
use rivergram_core::replay::{Number, Reservoir};

fn reservoir(capacity: usize, seed: u64) -> Reservoir {
    Reservoir::new(capacity, seed).expect("room for a sample")
}

/// Which of `seen` samples are kept, each sample being its own number.
fn kept(capacity: usize, seed: u64, seen: u32) -> Vec<u32> {
    let (mut reservoir, mut samples) = (reservoir(capacity, seed), vec![u32::MAX; capacity]);
    for sample in 0..seen {
        let row = reservoir.offer(&[sample], &mut samples).expect("a sample");
        if let Some(row) = row {
            assert_eq!(samples[row], sample);
        }
    }
    assert_eq!(reservoir.seen(), u64::from(seen));
    samples.truncate(reservoir.held());
    samples
}

/// Σ (found − expected)² / expected.
fn chi_square(counts: &[u32], expected: f64) -> f64 {
    let square = |&count: &u32| (f64::from(count) - expected).powi(2) / expected;
    counts.iter().map(square).sum()
}

/// Five standard deviations above the mean of chi-square: one run in millions would fail by chance, and none does,
/// since the seeds are fixed.
fn assert_uniform(what: &str, counts: &[u32], expected: f64) {
    let freedom = counts.len() as f64 - 1.0;
    let chi = chi_square(counts, expected);
    let limit = freedom + 5.0 * (2.0 * freedom).sqrt();
    assert!(chi < limit, "{what}: chi-square {chi}, at most {limit}");
}

#[test]
fn every_sample_is_kept_with_the_same_probability() {
    let (capacity, seen, runs) = (10, 100, 20_000);
    let mut counts = vec![0; seen as usize];
    for seed in 0..runs {
        for sample in kept(capacity, seed, seen) {
            counts[sample as usize] += 1;
        }
    }
    let expected = runs as f64 * capacity as f64 / f64::from(seen);
    assert_uniform("kept", &counts, expected);
    // The same test finds a reservoir out that keeps a newer sample with another probability, c/(n + 10).
    let mut biased = counts.clone();
    for (sample, count) in biased.iter_mut().enumerate().skip(capacity) {
        *count = *count * (sample as u32 + 1) / (sample as u32 + 11);
    }
    let mean = f64::from(biased.iter().sum::<u32>()) / f64::from(seen);
    assert!(chi_square(&biased, mean) > 500.0);
}

#[test]
fn pairs_of_samples_are_kept_together_as_often_as_any_other() {
    let (capacity, seen, runs) = (4, 12, 30_000);
    let mut counts = vec![0; 12 * 11 / 2];
    let place = |a: u32, b: u32| (b * (b - 1) / 2 + a) as usize;
    for seed in 0..runs {
        let mut kept = kept(capacity, seed, seen);
        kept.sort_unstable();
        for (i, &b) in kept.iter().enumerate() {
            kept[..i].iter().for_each(|&a| counts[place(a, b)] += 1);
        }
    }
    // 6 of 66 pairs.
    assert_uniform("pairs", &counts, runs as f64 * 6.0 / 66.0);
}

#[test]
fn rows_are_drawn_alike_and_never_twice() {
    let mut reservoir = reservoir(12, 5);
    (0..100).for_each(|_| _ = reservoir.admit());
    let (mut each, mut pairs, runs) = (vec![0; 12], vec![0; 66], 30_000);
    for number in 0..runs {
        let mut rows = [usize::MAX; 3];
        assert_eq!(reservoir.draw(number, &mut rows), 3);
        rows.sort_unstable();
        assert!(rows.is_sorted_by(|a, b| a < b), "{rows:?}");
        rows.iter().for_each(|&row| each[row] += 1);
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let (a, b) = (rows[a], rows[b]);
            pairs[b * (b - 1) / 2 + a] += 1;
        }
    }
    assert_uniform("rows", &each, runs as f64 * 3.0 / 12.0);
    assert_uniform("pairs of rows", &pairs, runs as f64 * 3.0 / 66.0);
}

#[test]
fn all_rows_are_drawn_where_as_many_are_asked_for_and_only_those_that_are_kept() {
    let mut reservoir = reservoir(5, 1);
    for held in 0..8_usize {
        let mut rows = [usize::MAX; 7];
        let count = reservoir.draw(3, &mut rows);
        assert_eq!(count, held.min(5));
        rows[..count].sort_unstable();
        assert!(rows[..count].iter().copied().eq(0..count));
        assert!(rows[count..].iter().all(|&row| row == usize::MAX));
        reservoir.admit();
    }
    assert_eq!(reservoir.draw(0, &mut []), 0);
}

#[test]
fn the_same_seed_keeps_and_draws_the_same_and_another_seed_other_samples() {
    assert_eq!(kept(10, 3, 1000), kept(10, 3, 1000));
    assert_ne!(kept(10, 3, 1000), kept(10, 4, 1000));
    let mut reservoir = reservoir(100, 3);
    (0..100).for_each(|_| _ = reservoir.admit());
    let draw = |number| {
        let mut rows = [0; 10];
        reservoir.draw(number, &mut rows);
        rows
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

/// Saves at every count, loads into another reservoir, and goes on.
fn goes_on<N: Number + PartialEq + std::fmt::Debug>(number: impl Fn(u32) -> N, zero: N) {
    let sample = |i: u32| [number(i), number(i + 1000), number(i * 7)];
    let (mut reservoir, mut samples) = (reservoir(4, 9), vec![zero; 12]);
    let mut bytes = vec![0xa5; Reservoir::saved_len::<N>(12) + 5];
    for i in 0..40 {
        let length = reservoir.save(&samples, &mut bytes).expect("room");
        assert_eq!(length, bytes.len() - 5);
        let (mut again, mut others) = (self::reservoir(4, 9), vec![number(99); 12]);
        again.load(&mut others, &bytes).expect("what was saved");
        assert_eq!((again, &others), (reservoir, &samples));
        for later in i..60 {
            again.offer(&sample(later), &mut others).expect("a sample");
        }
        let (mut straight, mut uncut) = (reservoir, samples.clone());
        for later in i..60 {
            let to = straight.offer(&sample(later), &mut uncut);
            to.expect("a sample");
        }
        assert_eq!((again, others), (straight, uncut));
        reservoir.offer(&sample(i), &mut samples).expect("a sample");
    }
}

#[test]
fn what_was_saved_goes_on_bit_for_bit() {
    goes_on(|i| i as f32 * 0.1, 0.0);
    goes_on(|i| f64::from(i) * 0.1, 0.0);
    goes_on(|i| (i % 256) as u8 as i8, 0);
    goes_on(|i| i * 1_000_003, 0_u32);
}

#[test]
fn other_reservoirs_and_damaged_bytes_are_refused_and_change_nothing() {
    let mut saved = reservoir(4, 9);
    let mut samples = [0.0_f32; 4];
    for i in 0..9 {
        saved.offer(&[i as f32], &mut samples).expect("a sample");
    }
    let mut bytes = vec![0; Reservoir::saved_len::<f32>(4)];
    saved.save(&samples, &mut bytes).expect("room");
    let (need, have) = (bytes.len(), bytes.len() - 1);
    let short = saved.save(&samples, &mut vec![0; have]);
    let no_space = EncodeError::NoSpace { need, have };
    assert_eq!(short, Err(ReplayError::Encode(no_space)));

    let refused = |capacity, seed, bytes: &[u8]| {
        let mut samples = vec![7.0_f32; 4];
        let mut other = reservoir(capacity, seed);
        let error = other.load(&mut samples, bytes).expect_err("refused");
        assert_eq!((other, samples), (reservoir(capacity, seed), vec![7.0; 4]));
        error
    };
    assert_eq!(refused(4, 8, &bytes), ReplayError::OtherReservoir);
    assert_eq!(refused(3, 9, &bytes), ReplayError::OtherReservoir);
    let of_integers = reservoir(4, 9).load(&mut [0_u32; 4], &bytes);
    assert_eq!(of_integers, Err(ReplayError::OtherReservoir));
    let longer = reservoir(4, 9).load(&mut [0.0_f32; 8], &bytes);
    assert_eq!(longer, Err(ReplayError::OtherReservoir));
    // As many bytes in half as many numbers.
    let of_doubles = reservoir(4, 9).load(&mut [0.0_f64; 2], &bytes);
    assert_eq!(of_doubles, Err(ReplayError::OtherReservoir));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(matches!(refused(4, 9, &damaged), ReplayError::Decode(_)));
        let cut = refused(4, 9, &bytes[..at]);
        assert!(
            matches!(cut, ReplayError::Decode(DecodeError::Truncated { .. })),
            "{cut:?}"
        );
    }
}

#[test]
fn the_largest_counts_do_not_overflow() {
    let mut reservoir = reservoir(usize::MAX, 0);
    assert_eq!(reservoir.admit(), Some(0));
    assert_eq!(reservoir.held(), 1);
    let refused = reservoir.offer(&[0.0_f32; 2], &mut [0.0]);
    let need = usize::MAX;
    assert_eq!(refused, Err(ReplayError::Length { need, have: 1 }));
    assert_eq!(reservoir.seen(), 1);
    assert_eq!(self::reservoir(3, 0).offer::<i8>(&[], &mut []), Ok(Some(0)));
}
