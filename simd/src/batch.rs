//! The operations over batches, on the lanes of a level: core's functions, with the level in place of a
//! token. Shapes, errors and sources are those of the functions they are named after.

use rivergram_core::eisl;
use rivergram_core::error::{EislError, GramError, TrainError};
use rivergram_core::gram::contrastive::{self, GramLoss, GramReport, Rectangle, Shard};
use rivergram_core::gram::pair::{self, Measure};
use rivergram_core::head::Head;
use rivergram_core::lanes::Isa;
use rivergram_core::ops;
use rivergram_core::trainer::{Step, Trainer};

use crate::{Kernel, Level};

impl Level {
    /// [`contrastive::gram_loss`].
    pub fn gram_loss(
        self,
        config: &GramLoss<f32>,
        batch: &contrastive::Batch<'_, f32>,
        gradient: &mut [f32],
        workspace: &mut [f32],
    ) -> Result<GramReport<f32>, GramError> {
        self.run(GramLossKernel {
            config,
            batch,
            gradient,
            workspace,
        })
    }

    /// [`contrastive::shard_loss`]: the loss of the local rows of a gathered batch, in `f32`. Cost and errors are its.
    ///
    /// ```
    /// use rivergram_core::gram::contrastive::{
    ///     Batch, Gathered, GramLoss, Shard, shard_workspace_len,
    /// };
    /// use rivergram_simd::Level;
    ///
    /// let vectors = [1.0, 0.1, 0.0, 1.0, /* second modality */ 1.0, 0.0, 0.2, 1.0];
    /// let batch = Batch { vectors: &vectors, present: None, k: 2, rows: 2, d: 2 };
    /// let shard = Shard { offset: 1, rows: 1, gathered: Gathered::Detached };
    /// let mut gradient = [0.0; 4];
    /// let mut workspace = [0.0; shard_workspace_len(2, 1, 2, 2)];
    /// let (level, config) = (Level::detect(), GramLoss::paper(0));
    /// let report = level.gram_shard_loss(&config, &batch, shard, &mut gradient, &mut workspace)?;
    /// assert!(report.loss > 0.0);
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
    pub fn gram_shard_loss(
        self,
        config: &GramLoss<f32>,
        batch: &contrastive::Batch<'_, f32>,
        shard: Shard,
        gradient: &mut [f32],
        workspace: &mut [f32],
    ) -> Result<GramReport<f32>, GramError> {
        self.run(ShardLoss {
            config,
            batch,
            shard,
            gradient,
            workspace,
        })
    }

    /// [`contrastive::rectangle_loss`]: the loss of anchors against other items, in `f32`; the gradients are those of
    /// the anchors and of the items, each empty where it is not wanted. Cost and errors are its.
    ///
    /// ```
    /// use rivergram_core::gram::contrastive::{
    ///     Batch, GramLoss, Rectangle, rectangle_workspace_len,
    /// };
    /// use rivergram_simd::Level;
    ///
    /// let items = [1.0, 0.0, 0.0, 1.0, 1.0, -1.0];
    /// let rectangle = Rectangle {
    ///     anchors: &[0.1, 1.0],
    ///     anchors_present: None,
    ///     rows: 1,
    ///     items: Batch { vectors: &items, present: None, k: 1, rows: 3, d: 2 },
    ///     offset: 1,
    /// };
    /// let mut workspace = [0.0; rectangle_workspace_len(2, 1, 3, 2)];
    /// let (level, config) = (Level::detect(), GramLoss::paper(0));
    /// let gradients = [&mut [][..], &mut []];
    /// let report = level.gram_rectangle_loss(&config, &rectangle, gradients, &mut workspace)?;
    /// assert!(report.loss > 0.0);
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
    pub fn gram_rectangle_loss(
        self,
        config: &GramLoss<f32>,
        rectangle: &Rectangle<'_, f32>,
        gradients: [&mut [f32]; 2],
        workspace: &mut [f32],
    ) -> Result<GramReport<f32>, GramError> {
        self.run(RectangleLoss {
            config,
            rectangle,
            gradients,
            workspace,
        })
    }

    /// [`pair::volume_matrix`]; sizes are \[B1, m, B2, d\].
    pub fn volume_matrix(
        self,
        measure: Measure,
        anchors: &[f32],
        items: &[f32],
        present: Option<&[bool]>,
        sizes: [usize; 4],
        out: &mut [f32],
        workspace: &mut [f32],
    ) -> Result<(), GramError> {
        self.run(VolumeMatrix {
            measure,
            anchors,
            items,
            present,
            sizes,
            out,
            workspace,
        })
    }

    /// [`eisl::loss_and_gradient_in_place`].
    pub fn eisl_loss(
        self,
        config: &eisl::Config<'_, f32>,
        batch: &eisl::Batch<'_, f32>,
        x: &mut [f32],
        parts: eisl::Parts<'_, f32>,
        workspace: &mut [f32],
    ) -> Result<eisl::Losses<f32>, EislError> {
        self.run(EislLoss {
            config,
            batch,
            x,
            parts,
            workspace,
        })
    }

    /// [`Head::forward`].
    pub fn head(
        self,
        head: &Head,
        parameters: &[f32],
        x: &[f32],
        y: &mut [f32],
        cache: &mut [f32],
    ) {
        self.run(Forward {
            head,
            parameters,
            x,
            y,
            cache,
        });
    }

    /// [`ops::matmul_nt`]: C\[n, m\] += A\[n, k\]·B\[m, k\]ᵀ, such as the cosines of unit vectors.
    pub fn matmul_nt(self, m: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
        self.run(Product { m, k, a, b, c });
    }

    /// [`Trainer::align`].
    pub fn align(
        self,
        trainer: &mut Trainer<'_, f32>,
        loss: &GramLoss<f32>,
        inputs: &[&[f32]],
        present: Option<&[bool]>,
        rows: usize,
    ) -> Result<(Step<f32>, GramReport<f32>), TrainError> {
        self.run(Align {
            trainer,
            loss,
            inputs,
            present,
            rows,
        })
    }

    /// [`Trainer::transcribe`].
    pub fn transcribe(
        self,
        trainer: &mut Trainer<'_, f32>,
        config: &eisl::Config<'_, f32>,
        batch: &eisl::Batch<'_, f32>,
        inputs: &[f32],
    ) -> Result<(Step<f32>, eisl::Losses<f32>), TrainError> {
        self.run(Transcribe {
            trainer,
            config,
            batch,
            inputs,
        })
    }
}

struct GramLossKernel<'a> {
    config: &'a GramLoss<f32>,
    batch: &'a contrastive::Batch<'a, f32>,
    gradient: &'a mut [f32],
    workspace: &'a mut [f32],
}

impl Kernel<f32> for GramLossKernel<'_> {
    type Output = Result<GramReport<f32>, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        contrastive::gram_loss(isa, self.config, self.batch, self.gradient, self.workspace)
    }
}

struct ShardLoss<'a> {
    config: &'a GramLoss<f32>,
    batch: &'a contrastive::Batch<'a, f32>,
    shard: Shard,
    gradient: &'a mut [f32],
    workspace: &'a mut [f32],
}

impl Kernel<f32> for ShardLoss<'_> {
    type Output = Result<GramReport<f32>, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let ShardLoss {
            config,
            batch,
            shard,
            gradient,
            workspace,
        } = self;
        contrastive::shard_loss(isa, config, batch, shard, gradient, workspace)
    }
}

struct RectangleLoss<'a> {
    config: &'a GramLoss<f32>,
    rectangle: &'a Rectangle<'a, f32>,
    gradients: [&'a mut [f32]; 2],
    workspace: &'a mut [f32],
}

impl Kernel<f32> for RectangleLoss<'_> {
    type Output = Result<GramReport<f32>, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let RectangleLoss {
            config,
            rectangle,
            gradients: [anchors, items],
            workspace,
        } = self;
        contrastive::rectangle_loss(isa, config, rectangle, anchors, items, workspace)
    }
}

struct VolumeMatrix<'a> {
    measure: Measure,
    anchors: &'a [f32],
    items: &'a [f32],
    present: Option<&'a [bool]>,
    sizes: [usize; 4],
    out: &'a mut [f32],
    workspace: &'a mut [f32],
}

impl Kernel<f32> for VolumeMatrix<'_> {
    type Output = Result<(), GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        pair::volume_matrix(
            isa,
            self.measure,
            self.anchors,
            self.items,
            self.present,
            self.sizes,
            self.out,
            self.workspace,
        )
    }
}

struct EislLoss<'a, 'b> {
    config: &'a eisl::Config<'a, f32>,
    batch: &'a eisl::Batch<'a, f32>,
    x: &'a mut [f32],
    parts: eisl::Parts<'b, f32>,
    workspace: &'a mut [f32],
}

impl Kernel<f32> for EislLoss<'_, '_> {
    type Output = Result<eisl::Losses<f32>, EislError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        eisl::loss_and_gradient_in_place(
            isa,
            self.config,
            self.batch,
            self.x,
            self.parts,
            self.workspace,
        )
    }
}

struct Forward<'a> {
    head: &'a Head,
    parameters: &'a [f32],
    x: &'a [f32],
    y: &'a mut [f32],
    cache: &'a mut [f32],
}

impl Kernel<f32> for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        self.head
            .forward(isa, self.parameters, self.x, self.y, self.cache);
    }
}

struct Product<'a> {
    m: usize,
    k: usize,
    a: &'a [f32],
    b: &'a [f32],
    c: &'a mut [f32],
}

impl Kernel<f32> for Product<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        ops::matmul_nt(isa, self.m, self.k, self.a, self.b, self.c);
    }
}

struct Align<'s, 't> {
    trainer: &'s mut Trainer<'t, f32>,
    loss: &'s GramLoss<f32>,
    inputs: &'s [&'s [f32]],
    present: Option<&'s [bool]>,
    rows: usize,
}

impl Kernel<f32> for Align<'_, '_> {
    type Output = Result<(Step<f32>, GramReport<f32>), TrainError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        self.trainer
            .align(isa, self.loss, self.inputs, self.present, self.rows)
    }
}

struct Transcribe<'s, 't> {
    trainer: &'s mut Trainer<'t, f32>,
    config: &'s eisl::Config<'s, f32>,
    batch: &'s eisl::Batch<'s, f32>,
    inputs: &'s [f32],
}

impl Kernel<f32> for Transcribe<'_, '_> {
    type Output = Result<(Step<f32>, eisl::Losses<f32>), TrainError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        self.trainer
            .transcribe(isa, self.config, self.batch, self.inputs)
    }
}
