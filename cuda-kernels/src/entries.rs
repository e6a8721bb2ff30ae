//! What a driver finds in the PTX: one function per kernel, each with one parameter, by value. Kernels on tensor cores are
//! there from sm_80 on.
#![allow(unsafe_code)]

use crate::device::Thread;
use crate::kernels::basis::{self, Items};
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

/// [`prepare::normalise`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn normalise(p: Normalise) {
    // SAFETY: the contract of this function.
    prepare::normalise(unsafe { Thread::current() }, p);
}

/// [`basis::bases`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn bases(p: Items) {
    // SAFETY: the contract of this function.
    basis::bases(unsafe { Thread::current() }, p);
}

/// [`pairs::squares`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn squares(p: Pairs) {
    // SAFETY: the contract of this function.
    pairs::squares(unsafe { Thread::current() }, p);
}

/// [`pairs::volumes`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn volumes(p: Volumes) {
    // SAFETY: the contract of this function.
    pairs::volumes(unsafe { Thread::current() }, p);
}

/// [`search::nearest`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn nearest(p: Nearest) {
    // SAFETY: the contract of this function.
    search::nearest(unsafe { Thread::current() }, p);
}

/// [`search::merge`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn merge(p: Nearest) {
    // SAFETY: the contract of this function.
    search::merge(unsafe { Thread::current() }, p);
}

/// [`optim::adamw`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn adamw(p: Update) {
    // SAFETY: the contract of this function.
    optim::adamw(unsafe { Thread::current() }, p);
}

/// [`eisl::read`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn eisl_read(p: Eisl) {
    // SAFETY: the contract of this function.
    eisl::read(unsafe { Thread::current() }, p);
}

/// [`eisl::read`] of logits in bf16.
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn eisl_read_bf16(p: Eisl<Bf16>) {
    // SAFETY: the contract of this function.
    eisl::read(unsafe { Thread::current() }, p);
}

/// [`eisl::ngrams`], whatever the logits are stored as.
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn eisl_ngrams(p: Eisl) {
    // SAFETY: the contract of this function.
    eisl::ngrams(unsafe { Thread::current() }, p);
}

/// [`eisl::write`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn eisl_write(p: Eisl) {
    // SAFETY: the contract of this function.
    eisl::write(unsafe { Thread::current() }, p);
}

/// [`eisl::write`] of logits in bf16.
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn eisl_write_bf16(p: Eisl<Bf16>) {
    // SAFETY: the contract of this function.
    eisl::write(unsafe { Thread::current() }, p);
}

/// [`contrastive::count`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_count(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::count(unsafe { Thread::current() }, p);
}

/// [`contrastive::scores`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_scores(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::scores(unsafe { Thread::current() }, p);
}

/// [`contrastive::row_sums`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_row_sums(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::row_sums(unsafe { Thread::current() }, p);
}

/// [`contrastive::column_sums`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_column_sums(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::column_sums(unsafe { Thread::current() }, p);
}

/// [`contrastive::losses`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_losses(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::losses(unsafe { Thread::current() }, p);
}

/// [`contrastive::column_weights`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_column_weights(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::column_weights(unsafe { Thread::current() }, p);
}

/// [`contrastive::row_weights`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_row_weights(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::row_weights(unsafe { Thread::current() }, p);
}

/// [`contrastive::near_items`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_near_items(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::near_items(unsafe { Thread::current() }, p);
}

/// [`contrastive::anchors_product`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_anchors_product(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::anchors_product(unsafe { Thread::current() }, p);
}

/// [`contrastive::items_product`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_items_product(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::items_product(unsafe { Thread::current() }, p);
}

/// [`contrastive::diagonal`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_diagonal(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::diagonal(unsafe { Thread::current() }, p);
}

/// [`contrastive::items_gradient`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_items_gradient(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::items_gradient(unsafe { Thread::current() }, p);
}

/// [`contrastive::anchors_gradient`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_anchors_gradient(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::anchors_gradient(unsafe { Thread::current() }, p);
}

/// [`contrastive::report`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn gram_report(p: Loss) {
    // SAFETY: the contract of this function.
    contrastive::report(unsafe { Thread::current() }, p);
}

/// [`tensor::narrow`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[cfg(target_feature = "sm_80")]
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn narrow(p: Narrow) {
    // SAFETY: the contract of this function.
    tensor::narrow(unsafe { Thread::current() }, p);
}

/// [`tensor::volumes_tf32`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[cfg(target_feature = "sm_80")]
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn volumes_tf32(p: TensorVolumes) {
    // SAFETY: the contract of this function.
    tensor::volumes_tf32(unsafe { Thread::current() }, p);
}

/// [`tensor::volumes_bf16`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[cfg(target_feature = "sm_80")]
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn volumes_bf16(p: TensorVolumes) {
    // SAFETY: the contract of this function.
    tensor::volumes_bf16(unsafe { Thread::current() }, p);
}

/// [`search::nearest_f16`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[cfg(target_feature = "sm_80")]
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn nearest_f16(p: Scan) {
    // SAFETY: the contract of this function.
    search::nearest_f16(unsafe { Thread::current() }, p);
}

/// [`search::nearest_bf16`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[cfg(target_feature = "sm_80")]
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn nearest_bf16(p: Scan) {
    // SAFETY: the contract of this function.
    search::nearest_bf16(unsafe { Thread::current() }, p);
}

/// [`search::nearest_i8`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[cfg(target_feature = "sm_80")]
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn nearest_i8(p: Scan) {
    // SAFETY: the contract of this function.
    search::nearest_i8(unsafe { Thread::current() }, p);
}
