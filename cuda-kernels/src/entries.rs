//! What a driver finds in the PTX: one function per kernel, each with one parameter, by value.
#![allow(unsafe_code)]

use crate::device::Thread;
use crate::kernels::basis::{self, Items};
#[cfg(target_feature = "sm_80")]
use crate::kernels::contrastive::TensorLoss;
use crate::kernels::contrastive::{self, Loss};
use crate::kernels::eisl::{self, Eisl};
use crate::kernels::optim::{self, Update};
use crate::kernels::pairs::{self, Pairs, Volumes};
use crate::kernels::prepare::{self, Normalise};
#[cfg(target_feature = "sm_80")]
use crate::kernels::search::Scan;
use crate::kernels::search::{self, Nearest};
#[cfg(target_feature = "sm_80")]
use crate::kernels::tensor::{self, Narrow, TensorVolumes};
use crate::lanes::Bf16;

/// Functions of these names: a symbol cannot come from a generic.
macro_rules! entries {
    ($($name:ident($parameters:ty) = $module:ident::$kernel:ident$(::<$near:literal>)?;)*) => {$(
        #[doc = concat!("[`", stringify!($module), "::", stringify!($kernel), "()`].")]
        ///
        /// # Safety
        /// The contract of [`Thread::current`].
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(p: $parameters) {
            // SAFETY: the contract of this function.
            $module::$kernel$(::<$near>)?(unsafe { Thread::current() }, p);
        }
    )*};
}

entries! {
    normalise(Normalise) = prepare::normalise;
    bases(Items) = basis::bases;
    squares(Pairs) = pairs::squares;
    volumes(Volumes) = pairs::volumes;
    nearest(Nearest) = search::nearest;
    merge(Nearest) = search::merge;
    adamw(Update) = optim::adamw;
    eisl_read(Eisl) = eisl::read;
    eisl_read_bf16(Eisl<Bf16>) = eisl::read;
    eisl_ngrams(Eisl) = eisl::ngrams;
    eisl_write(Eisl) = eisl::write;
    eisl_write_bf16(Eisl<Bf16>) = eisl::write;
    gram_count(Loss) = contrastive::count;
    gram_scores(Loss) = contrastive::scores;
    gram_row_sums(Loss) = contrastive::row_sums;
    gram_column_sums(Loss) = contrastive::column_sums;
    gram_losses(Loss) = contrastive::losses;
    gram_column_weights(Loss) = contrastive::column_weights;
    gram_row_weights(Loss) = contrastive::row_weights;
    gram_near_items(Loss) = contrastive::near_items;
    gram_anchors_product(Loss) = contrastive::anchors_product;
    gram_items_product(Loss) = contrastive::items_product;
    gram_diagonal(Loss) = contrastive::diagonal;
    gram_items_gradient(Loss) = contrastive::items_gradient;
    gram_anchors_gradient(Loss) = contrastive::anchors_gradient;
    gram_report(Loss) = contrastive::report;
}

// Those on tensor cores.
#[cfg(target_feature = "sm_80")]
entries! {
    narrow(Narrow) = tensor::narrow;
    narrow_transposed(Narrow) = tensor::narrow_transposed;
    volumes_tf32(TensorVolumes) = tensor::volumes_tf32;
    volumes_bf16(TensorVolumes) = tensor::volumes_bf16;
    nearest_f16(Scan) = search::nearest_f16::<false>;
    nearest_bf16(Scan) = search::nearest_bf16::<false>;
    nearest_i8(Scan) = search::nearest_i8::<false>;
    gram_scores_tf32(TensorLoss) = contrastive::scores_tf32;
    gram_anchors_product_tf32(TensorLoss) = contrastive::anchors_product_tf32;
    gram_items_product_tf32(TensorLoss) = contrastive::items_product_tf32;
}
