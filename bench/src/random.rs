//! Numbers of which only the distribution matters.

/// Independent normal numbers, the same for a seed: splitmix64 (Steele, Lea, Flood 2014) and Box and Muller.
pub(crate) fn normals(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 24) as f32
    };
    let mut numbers = Vec::with_capacity(count + 1);
    while numbers.len() < count {
        let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
        let (sin, cos) = (std::f32::consts::TAU * uniform()).sin_cos();
        numbers.extend([radius * sin, radius * cos]);
    }
    numbers.truncate(count);
    numbers
}

/// The same, of which only the first million are drawn: drawing more would take longer than what they are for.
pub(crate) fn repeated(count: usize, seed: u64) -> Vec<f32> {
    let block = normals(count.min(1 << 20), seed);
    block.iter().copied().cycle().take(count).collect()
}

/// The same as rows of length 1.
pub(crate) fn unit_rows(rows: usize, d: usize, seed: u64) -> Vec<f32> {
    let mut numbers = normals(rows * d, seed);
    for row in numbers.chunks_mut(d) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= length);
    }
    numbers
}

/// Labels below `vocabulary`.
pub(crate) fn labels(count: usize, vocabulary: usize, seed: u64) -> Vec<i32> {
    let numbers = normals(count, seed);
    let scaled = numbers.iter().map(|x| x.abs() * 0.25 * vocabulary as f32);
    scaled.map(|x| (x as usize % vocabulary) as i32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_normal_and_labels_in_range() {
        let x = normals(20_001, 3);
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let square = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
        assert!(
            mean.abs() < 0.03 && (square - 1.0).abs() < 0.05,
            "{mean} {square}"
        );
        assert!(labels(1000, 7, 1).iter().all(|y| (0..7).contains(y)));
        let (some, more) = (repeated(7, 1), repeated((1 << 20) + 7, 1));
        assert_eq!((&some[..], more.len()), (&more[1 << 20..], (1 << 20) + 7));
        let row = unit_rows(1, 9, 1);
        assert!((row.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
