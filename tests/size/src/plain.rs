//! The formulas as they stand in a paper, with nothing but libm: what one would write first.

/// The Gram matrix.
fn gram<const K: usize, const D: usize>(x: &[[f32; D]; K]) -> [[f32; K]; K] {
    let mut gram = [[0.0; K]; K];
    for p in 0..K {
        for q in 0..K {
            for i in 0..D {
                gram[p][q] += x[p][i] * x[q][i];
            }
        }
    }
    gram
}

/// sqrt(|det G|) by elimination.
#[inline(always)]
pub(crate) fn volume<const K: usize, const D: usize>(x: &[[f32; D]; K]) -> f32 {
    let mut g = gram(x);
    let mut det = 1.0;
    for p in 0..K {
        det *= g[p][p];
        for r in p + 1..K {
            let f = g[r][p] / g[p][p];
            for c in p + 1..K {
                g[r][c] -= f * g[p][c];
            }
        }
    }
    libm::sqrtf(det.abs())
}

/// V, and V·G⁻¹·X by Gauss-Jordan elimination.
#[inline(always)]
pub(crate) fn volume_gradient<const K: usize, const D: usize>(
    x: &[[f32; D]; K],
    gradient: &mut [[f32; D]; K],
) -> f32 {
    let mut g = gram(x);
    let mut inverse = [[0.0; K]; K];
    let mut det = 1.0;
    for p in 0..K {
        inverse[p][p] = 1.0;
    }
    for p in 0..K {
        det *= g[p][p];
        let f = 1.0 / g[p][p];
        for c in 0..K {
            g[p][c] *= f;
            inverse[p][c] *= f;
        }
        for r in 0..K {
            if r != p {
                let f = g[r][p];
                for c in 0..K {
                    g[r][c] -= f * g[p][c];
                    inverse[r][c] -= f * inverse[p][c];
                }
            }
        }
    }
    let volume = libm::sqrtf(det.abs());
    for p in 0..K {
        for i in 0..D {
            let mut sum = 0.0;
            for q in 0..K {
                sum += inverse[p][q] * x[q][i];
            }
            gradient[p][i] = volume * sum;
        }
    }
    volume
}
