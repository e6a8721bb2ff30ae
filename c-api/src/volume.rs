//! The volume of one tuple.

use rivergram_core::error::GramError;
use rivergram_core::gram::{fixed, int8, tuple};
use rivergram_core::lanes::One;

use crate::raw::{In, Out, answer, apart, reported};
use crate::status::{Failure, check_len, rivergram_error, rivergram_status};

/// Floats of workspace for `rivergram_volume` and `rivergram_volume_gradient`: none for k up to 8.
#[unsafe(no_mangle)]
pub extern "C" fn rivergram_volume_workspace_len(k: usize, d: usize) -> usize {
    tuple::workspace_len(k, d)
}

/// The volume sqrt(det X X^T) of k vectors of length d (arXiv 2412.11959, eq. 4), row by row in `vectors`, which
/// has `vectors_len` = k d floats. k > d gives 0.
///
/// Relative error below 1e-6 for k up to 8, however the vectors lie. Cost: k^2/2 d multiply-adds.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, NOT_FINITE with the vector in `index[0]`.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_volume(
    vectors: *const f32,
    vectors_len: usize,
    k: usize,
    d: usize,
    workspace: *mut f32,
    workspace_len: usize,
    volume: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    let vectors = In::array(c"vectors", vectors, vectors_len);
    let workspace = Out::array(c"workspace", workspace, workspace_len);
    let volume = Out::one(c"volume", volume);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                vectors.span()?,
                workspace.span()?,
                volume.span()?,
            ])?;
            let value = tuple::volume_on(One::new(), vectors.slice(), k, d, workspace.slice())?;
            volume.write(value);
            Ok(())
        })
    }
}

/// The volume, and its gradient by the vectors into `gradient` `[k, d]`. Where the volume is 0 the gradient is 0, a
/// valid subgradient. `volume` may be NULL.
///
/// Cost: that of `rivergram_volume` and k^2 d multiply-adds. Errors: the same.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_volume_gradient(
    vectors: *const f32,
    vectors_len: usize,
    k: usize,
    d: usize,
    gradient: *mut f32,
    gradient_len: usize,
    workspace: *mut f32,
    workspace_len: usize,
    volume: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    let vectors = In::array(c"vectors", vectors, vectors_len);
    let gradient = Out::array(c"gradient", gradient, gradient_len);
    let workspace = Out::array(c"workspace", workspace, workspace_len);
    let volume = Out::optional(c"volume", volume);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                vectors.span()?,
                gradient.span()?,
                workspace.span()?,
                volume.span()?,
            ])?;
            check_len(c"gradient", vectors_len, gradient_len)?;
            let value = tuple::volume_gradient_on(
                One::new(),
                vectors.slice(),
                k,
                d,
                gradient.slice(),
                workspace.slice(),
            )?;
            volume.write(value);
            Ok(())
        })
    }
}

/// The functions that follow, of K vectors: the checks are those of any number.
///
/// # Safety
/// The contract of [`crate::raw`].
#[inline(always)]
unsafe fn fixed_volume<const K: usize>(
    vectors: *const f32,
    vectors_len: usize,
    d: usize,
    volume: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    let vectors = In::array(c"vectors", vectors, vectors_len);
    let volume = Out::one(c"volume", volume);
    // SAFETY: as promised to this function; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[reported(error).span()?, vectors.span()?, volume.span()?])?;
            volume.write(fixed::volume_on::<K, _>(One::new(), vectors.slice(), d)?);
            Ok(())
        })
    }
}

/// As [`fixed_volume`].
///
/// # Safety
/// The contract of [`crate::raw`].
#[inline(always)]
unsafe fn fixed_gradient<const K: usize>(
    vectors: *const f32,
    vectors_len: usize,
    d: usize,
    gradient: *mut f32,
    gradient_len: usize,
    volume: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    let vectors = In::array(c"vectors", vectors, vectors_len);
    let gradient = Out::array(c"gradient", gradient, gradient_len);
    let volume = Out::optional(c"volume", volume);
    // SAFETY: as promised to this function; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                vectors.span()?,
                gradient.span()?,
                volume.span()?,
            ])?;
            check_len(c"gradient", vectors_len, gradient_len)?;
            let (vectors, gradient) = (vectors.slice(), gradient.slice());
            let value = fixed::volume_gradient_on::<K, _>(One::new(), vectors, d, gradient)?;
            volume.write(value);
            Ok(())
        })
    }
}

/// The volume of two vectors: as `rivergram_volume` with k = 2, and a program that calls only this links only the code
/// of two vectors.
///
/// Cost and Errors: those of `rivergram_volume`.
///
/// # Safety
/// As `rivergram_volume`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_volume2(
    vectors: *const f32,
    vectors_len: usize,
    d: usize,
    volume: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: as promised to this function.
    unsafe { fixed_volume::<2>(vectors, vectors_len, d, volume, error) }
}

/// The volume of three vectors, see `rivergram_volume2`.
///
/// Cost and Errors: those of `rivergram_volume`.
///
/// # Safety
/// As `rivergram_volume`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_volume3(
    vectors: *const f32,
    vectors_len: usize,
    d: usize,
    volume: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: as promised to this function.
    unsafe { fixed_volume::<3>(vectors, vectors_len, d, volume, error) }
}

/// The volume of four vectors, see `rivergram_volume2`.
///
/// Cost and Errors: those of `rivergram_volume`.
///
/// # Safety
/// As `rivergram_volume`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_volume4(
    vectors: *const f32,
    vectors_len: usize,
    d: usize,
    volume: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: as promised to this function.
    unsafe { fixed_volume::<4>(vectors, vectors_len, d, volume, error) }
}

/// The volume of two vectors and its gradient: as `rivergram_volume_gradient` with k = 2, and a program that calls only
/// this links only the code of two vectors.
///
/// Cost and Errors: those of `rivergram_volume_gradient`.
///
/// # Safety
/// As `rivergram_volume_gradient`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_volume_gradient2(
    vectors: *const f32,
    vectors_len: usize,
    d: usize,
    gradient: *mut f32,
    gradient_len: usize,
    volume: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: as promised to this function.
    unsafe {
        fixed_gradient::<2>(
            vectors,
            vectors_len,
            d,
            gradient,
            gradient_len,
            volume,
            error,
        )
    }
}

/// The volume of three vectors and its gradient, see `rivergram_volume_gradient2`.
///
/// Cost and Errors: those of `rivergram_volume_gradient`.
///
/// # Safety
/// As `rivergram_volume_gradient`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_volume_gradient3(
    vectors: *const f32,
    vectors_len: usize,
    d: usize,
    gradient: *mut f32,
    gradient_len: usize,
    volume: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: as promised to this function.
    unsafe {
        fixed_gradient::<3>(
            vectors,
            vectors_len,
            d,
            gradient,
            gradient_len,
            volume,
            error,
        )
    }
}

/// The volume of four vectors and its gradient, see `rivergram_volume_gradient2`.
///
/// Cost and Errors: those of `rivergram_volume_gradient`.
///
/// # Safety
/// As `rivergram_volume_gradient`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_volume_gradient4(
    vectors: *const f32,
    vectors_len: usize,
    d: usize,
    gradient: *mut f32,
    gradient_len: usize,
    volume: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    // SAFETY: as promised to this function.
    unsafe {
        fixed_gradient::<4>(
            vectors,
            vectors_len,
            d,
            gradient,
            gradient_len,
            volume,
            error,
        )
    }
}

/// A row of floats in eight bits: n = x / scale to the nearest integer into `quantised`, which is as long as `x`.
/// `scale` is max|x| / 127; 0 for a row of zeros. Cost: two passes.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH, NOT_FINITE with the place in `index[0]`.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_quantise(
    x: *const f32,
    x_len: usize,
    quantised: *mut i8,
    quantised_len: usize,
    scale: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    let x = In::array(c"x", x, x_len);
    let quantised = Out::array(c"quantised", quantised, quantised_len);
    let scale = Out::one(c"scale", scale);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                x.span()?,
                quantised.span()?,
                scale.span()?,
            ])?;
            check_len(c"quantised", x_len, quantised_len)?;
            match int8::quantise(x.slice(), quantised.slice()) {
                Ok(found) => scale.write(found),
                Err(GramError::NotFinite { row, .. }) => {
                    return Err(Failure::not_finite(c"x").at([row]));
                }
                Err(error) => return Err(error.into()),
            }
            Ok(())
        })
    }
}

/// The volume of `scales_len` vectors scale * n of d integers each, row by row in `vectors`, for cores without a
/// floating-point unit: exact in integers but for one square root. At most 8 vectors and 131071 dimensions.
///
/// Cost: k (k+1)/2 d integer multiply-adds and k (k-1) 2^(k-2) products of two words.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH; OPTION for a scale that is negative or not finite, with
/// the vector in `index[0]`.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_volume_i8(
    vectors: *const i8,
    vectors_len: usize,
    scales: *const f32,
    scales_len: usize,
    d: usize,
    volume: *mut f32,
    error: *mut rivergram_error,
) -> rivergram_status {
    let vectors = In::array(c"vectors", vectors, vectors_len);
    let scales = In::array(c"scales", scales, scales_len);
    let volume = Out::one(c"volume", volume);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                vectors.span()?,
                scales.span()?,
                volume.span()?,
            ])?;
            match int8::volume_i8_on(vectors.slice(), scales.slice(), d) {
                Ok(value) => volume.write(value),
                // The number of vectors is that of the scales.
                Err(GramError::Empty { k: 0, .. }) => {
                    return Err(Failure::new(rivergram_status::Size, c"scales"));
                }
                Err(GramError::Vectors { k, most }) => {
                    let failure = Failure::new(rivergram_status::Size, c"scales");
                    return Err(failure.numbers(most as u64, k as u64));
                }
                Err(error) => return Err(error.into()),
            }
            Ok(())
        })
    }
}
