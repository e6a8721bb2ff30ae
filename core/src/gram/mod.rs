//! GRAM: the volume of the parallelotope that k vectors span, as a measure of how well they are aligned.
//!
//! ```text
//! G_pq = x_p · x_q          V = sqrt(det G)          unit vectors: 0 = dependent, 1 = orthogonal
//! ```
//!
//! Source: "Gramian Multimodal Representation Learning and Alignment" (arXiv 2412.11959, ICLR 2025).
//!
//! No determinant is computed: it loses all digits where the vectors are nearly aligned, which is what
//! training makes of them. [`mod@tuple`] factors a Gram matrix of *differences*; batches go through an
//! orthonormal basis per item ([`basis`]) and a distance per pair ([`pair`]).
//!
//! | module | for |
//! |---|---|
//! | [`mod@tuple`] | one tuple: volume, gradient, Gram matrix, determinant, log-volume |
//! | [`compact`] | volume and gradient of one tuple in less flash, with an error of condition × ε for some tuples |
//! | [`fixed`] | volume and gradient of a slice of K vectors, without the code for other numbers of vectors |
//! | [`basis`], [`pair`] | anchors against items: orthonormal rows, distances, volume matrices |
//! | [`contrastive`] | the loss of a batch in both directions, with all its gradients |
//! | [`info_nce`] | the cross-entropy of its scores: what one candidate adds to the gradient |
//! | [`retrieval`], [`search`] | ranks, recall and the best few; the nearest items without the matrix of scores |
//! | [`negatives`], [`matching`] | hard negatives by their volumes, and the loss that tells them from matches |
//! | [`int8`] | volumes and nearest items of vectors in eight bits, for cores without a floating-point unit |
//! | [`stored`] | nearest items among bases in 16 or 8 bits: candidates, found in one pass over fewer bytes |
//! | [`related`] | the triangle's area, the singular values of a tuple |

pub mod basis;
pub mod compact;
pub mod contrastive;
pub mod fixed;
pub mod info_nce;
pub mod int8;
pub mod matching;
pub mod negatives;
pub mod pair;
pub mod related;
pub mod retrieval;
pub mod search;
pub mod stored;
mod strip;
pub mod tuple;

use crate::error::GramError;
use crate::lanes::Real;

/// 1/τ, which makes logits of scores. A τ that is so small that 1/τ leaves the range is refused as 0 is.
#[inline(always)]
fn inverse_temperature<T: Real>(temperature: T) -> Result<T, GramError> {
    let scale = T::ONE / temperature;
    if scale > T::ZERO && scale.is_finite() {
        Ok(scale)
    } else {
        Err(GramError::Temperature)
    }
}
