//! Determinants of integer matrices, exactly.

/// The Gram matrix of rows of integers.
pub fn gram(rows: &[Vec<i8>]) -> Vec<Vec<i128>> {
    let dot = |a: &[i8], b: &[i8]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| i128::from(*a) * i128::from(*b))
            .sum()
    };
    rows.iter()
        .map(|a| rows.iter().map(|b| dot(a, b)).collect())
        .collect()
}

/// The determinant of a Gram matrix by Bareiss's fraction-free elimination (Math. Comp. 22, 1968); `None` where 128
/// bits are too few for it. A pivot of 0 belongs to a dependent vector.
pub fn determinant(mut gram: Vec<Vec<i128>>) -> Option<i128> {
    let k = gram.len();
    let mut before = 1;
    for p in 0..k {
        let pivot = gram[p][p];
        if pivot == 0 {
            return Some(0);
        }
        for r in p + 1..k {
            for c in p + 1..k {
                let product = pivot.checked_mul(gram[r][c])?;
                let other = gram[r][p].checked_mul(gram[p][c])?;
                gram[r][c] = product.checked_sub(other)? / before;
            }
        }
        before = pivot;
    }
    Some(before)
}
