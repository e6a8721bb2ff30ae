//! Matrix products by every crate: the floors of what is made of products.

use std::hint::black_box;
use std::rc::Rc;

use rivergram_simd::Level;

use crate::random::{normals, repeated};
use crate::timing::Contestant;

/// C = A·B, row-major: A is \[m, k\], B \[k, n\].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
}

/// The product of a crate: sizes, A, B and C.
type Product = fn(Size, &[f32], &[f32], &mut [f32]);

const CRATES: [(&str, Product); 4] = [
    ("gemm", with_gemm),
    ("faer", with_faer),
    ("matrixmultiply", with_matrixmultiply),
    ("nalgebra", with_nalgebra),
];

/// Each crate doing all of these products once, one thread.
pub(crate) fn contestants(sizes: &[Size]) -> Vec<Contestant> {
    of_crates(&CRATES, sizes)
}

/// The two crates that are mostly the fastest, for products that take seconds.
pub(crate) fn fewer_contestants(sizes: &[Size]) -> Vec<Contestant> {
    of_crates(&CRATES[..2], sizes)
}

fn of_crates(crates: &[(&str, Product)], sizes: &[Size]) -> Vec<Contestant> {
    let largest = |len: fn(&Size) -> usize| sizes.iter().map(len).max().unwrap_or(0);
    let a = Rc::new(repeated(largest(|s| s.m * s.k), 1));
    let b = Rc::new(repeated(largest(|s| s.k * s.n), 2));
    let c_len = largest(|s| s.m * s.n);
    crates
        .iter()
        .map(|&(name, product)| {
            let (a, b, sizes) = (a.clone(), b.clone(), sizes.to_vec());
            let mut c = vec![0.0; c_len];
            Contestant::new(name, move || {
                for &size in &sizes {
                    product(size, black_box(&a), black_box(&b), &mut c);
                    black_box(&mut c);
                }
            })
        })
        .collect()
}

/// Our product of the same sizes: A·Bᵀ with B \[n, k\].
pub(crate) fn ours(level: Level, size: Size) -> Contestant {
    let (a, b) = (normals(size.m * size.k, 1), normals(size.k * size.n, 2));
    let mut c = vec![0.0; size.m * size.n];
    Contestant::new("ours", move || {
        multiply(level, size, black_box(&a), black_box(&b), &mut c);
        black_box(&mut c);
    })
}

/// C += A·Bᵀ.
fn multiply(level: Level, size: Size, a: &[f32], b: &[f32], c: &mut [f32]) {
    level.matmul_nt(size.n, size.k, a, b, c);
}

fn with_gemm(Size { m, k, n }: Size, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!(a.len() >= m * k && b.len() >= k * n && c.len() >= m * n);
    let stride = |n: usize| n as isize;
    // SAFETY: the three matrices lie within their slices, by the assertion, and C overlaps neither A nor B.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride(n),
            false,
            a.as_ptr(),
            1,
            stride(k),
            b.as_ptr(),
            1,
            stride(n),
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn with_matrixmultiply(Size { m, k, n }: Size, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!(a.len() >= m * k && b.len() >= k * n && c.len() >= m * n);
    let stride = |n: usize| n as isize;
    // SAFETY: the three matrices lie within their slices, by the assertion, and C overlaps neither A nor B.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            stride(k),
            1,
            b.as_ptr(),
            stride(n),
            1,
            0.0,
            c.as_mut_ptr(),
            stride(n),
            1,
        );
    }
}

fn with_faer(Size { m, k, n }: Size, a: &[f32], b: &[f32], c: &mut [f32]) {
    let a = faer::MatRef::from_row_major_slice(&a[..m * k], m, k);
    let b = faer::MatRef::from_row_major_slice(&b[..k * n], k, n);
    let c = faer::MatMut::from_row_major_slice_mut(&mut c[..m * n], m, n);
    faer::linalg::matmul::matmul(c, faer::Accum::Replace, a, b, 1.0, faer::Par::Seq);
}

/// It stores columns: Cᵀ = Bᵀ·Aᵀ is the same product.
fn with_nalgebra(Size { m, k, n }: Size, a: &[f32], b: &[f32], c: &mut [f32]) {
    use nalgebra::{DMatrixView, DMatrixViewMut};
    let a = DMatrixView::from_slice(&a[..m * k], k, m);
    let b = DMatrixView::from_slice(&b[..k * n], n, k);
    let mut c = DMatrixViewMut::from_slice(&mut c[..m * n], n, m);
    c.gemm(1.0, &b, &a, 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_the_whole_product() {
        let size = Size { m: 5, k: 7, n: 9 };
        let (a, b) = (normals(5 * 7, 1), normals(7 * 9, 2));
        let mut c = vec![0.0; 5 * 9];
        multiply(Level::detect(), size, &a, &b, &mut c);
        for i in 0..5 {
            for j in 0..9 {
                let want: f32 = (0..7).map(|l| a[i * 7 + l] * b[j * 7 + l]).sum();
                assert!((c[i * 9 + j] - want).abs() < 1e-4, "{i} {j}");
            }
        }
    }

    #[test]
    fn every_crate_makes_the_same_product() {
        let size = Size { m: 5, k: 7, n: 9 };
        let (a, b) = (normals(5 * 7, 1), normals(7 * 9, 2));
        for (name, product) in CRATES {
            let mut c = vec![f32::NAN; 5 * 9];
            // What was in C must not count.
            c.fill(3.0);
            product(size, &a, &b, &mut c);
            for i in 0..5 {
                for j in 0..9 {
                    let want: f32 = (0..7).map(|l| a[i * 7 + l] * b[l * 9 + j]).sum();
                    assert!((c[i * 9 + j] - want).abs() < 1e-4, "{name} {i} {j}");
                }
            }
        }
    }
}
