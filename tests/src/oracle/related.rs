//! Singular values and triangles by their definitions, in `f64`.

use crate::oracle::gram::{Rows, dot, volume};

/// A singular value with its vectors over the rows and over the columns.
#[derive(Clone, Debug)]
pub struct Triple {
    /// σ.
    pub value: f64,
    /// u, as long as there are rows.
    pub left: Vec<f64>,
    /// v, as long as a row.
    pub right: Vec<f64>,
}

/// The singular values of the rows, the largest first: plane rotations of whole rows until all are orthogonal.
pub fn singular(rows: &[Vec<f64>]) -> Vec<Triple> {
    let k = rows.len();
    let mut x = rows.to_vec();
    // Row r holds the combination of the vectors that row r of x is.
    let mut turned: Rows = (0..k)
        .map(|r| (0..k).map(|c| f64::from(r == c)).collect())
        .collect();
    for _ in 0..60 {
        for p in 0..k {
            for q in p + 1..k {
                let (a, b, c) = (dot(&x[p], &x[p]), dot(&x[q], &x[q]), dot(&x[p], &x[q]));
                let angle = 0.5 * (2.0 * c).atan2(a - b);
                let (sine, cosine) = angle.sin_cos();
                for m in [&mut x, &mut turned] {
                    for i in 0..m[p].len() {
                        let (u, v) = (m[p][i], m[q][i]);
                        m[p][i] = cosine * u + sine * v;
                        m[q][i] = cosine * v - sine * u;
                    }
                }
            }
        }
    }
    let mut triples: Vec<Triple> = x
        .into_iter()
        .zip(turned)
        .map(|(row, left)| {
            let value = dot(&row, &row).sqrt();
            let right = row
                .iter()
                .map(|x| if value == 0.0 { 0.0 } else { x / value })
                .collect();
            Triple { value, left, right }
        })
        .collect();
    triples.sort_by(|a, b| b.value.total_cmp(&a.value));
    triples
}

/// Σ_r c_r·u_r·v_rᵀ.
pub fn combination(triples: &[Triple], weights: &[f64]) -> Rows {
    let (k, d) = (triples[0].left.len(), triples[0].right.len());
    let mut sum = vec![vec![0.0; d]; k];
    for (triple, c) in triples.iter().zip(weights) {
        for (row, u) in sum.iter_mut().zip(&triple.left) {
            for (entry, v) in row.iter_mut().zip(&triple.right) {
                *entry += c * u * v;
            }
        }
    }
    sum
}

/// The area of the triangle of three points: half the base times the height.
pub fn area(corners: &[Vec<f64>]) -> f64 {
    let side = |corner: &[f64]| -> Vec<f64> {
        let pairs = corners[0].iter().zip(corner);
        pairs.map(|(a, c)| a - c).collect()
    };
    0.5 * volume(&[side(&corners[1]), side(&corners[2])])
}
