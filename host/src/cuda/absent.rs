//! No GPU in this build.

use rivergram_core::eisl::{Batch as Rows, Config, Losses};
use rivergram_core::gram::contrastive::{Batch, GramLoss, GramReport};
use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::search::Search;
use rivergram_core::gram::stored::Stored;
use rivergram_core::optim::rounding::Half;

use super::Failure;

#[derive(Clone, Copy, Debug)]
enum Nobody {}

/// How precisely a GPU multiplies, where there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// In `f32`.
    #[default]
    Exact,
    /// From operands rounded to TF32.
    Tf32,
    /// From operands rounded to bf16.
    Bf16,
}

/// A GPU: none, without the feature `cuda`.
#[derive(Debug)]
pub struct Device(Nobody);

impl Device {
    /// Fails.
    ///
    /// # Errors
    /// [`Failure::NotBuilt`].
    pub fn open() -> Result<Self, Failure> {
        Err(Failure::NotBuilt)
    }

    /// Never called.
    pub fn set_precision(&self, _: Precision) -> Precision {
        match self.0 {}
    }

    /// Never called.
    pub fn precision(&self) -> Precision {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn nearest_stored(
        &self,
        _: Search,
        _: &[f32],
        _: &Stored<'_>,
        _: usize,
    ) -> Result<Vec<Option<Vec<usize>>>, Failure> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn gram_loss(
        &self,
        _: &GramLoss<f32>,
        _: &Batch<'_, f32>,
        _: &mut [f32],
    ) -> Result<GramReport<f32>, Failure> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn volume_matrix(
        &self,
        _: Measure,
        _: &[f32],
        _: &[f32],
        _: Option<&[bool]>,
        _: [usize; 4],
        _: &mut [f32],
    ) -> Result<(), Failure> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn nearest<const K: usize>(
        &self,
        _: Search,
        _: &[f32],
        _: &[f32],
        _: Option<&[bool]>,
        _: [usize; 4],
        _: &mut [TopK<f32, K>],
    ) -> Result<usize, Failure> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn eisl_loss(
        &self,
        _: &Config<'_, f32>,
        _: &Rows<'_, f32>,
        _: &mut [f32],
    ) -> Result<Losses<f32>, Failure> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn eisl_loss_half(
        &self,
        _: &Config<'_, f32>,
        _: &Rows<'_, f32>,
        _: Half,
        _: &mut [u16],
    ) -> Result<Losses<f32>, Failure> {
        match self.0 {}
    }
}
