//! The operations over batches, on the lanes of a level: core's functions, with the level in place of a
//! token. Shapes, errors and sources are those of the functions they are named after.

use rivergram_core::eisl;
use rivergram_core::error::{EislError, GramError, TrainError};
use rivergram_core::gram::contrastive::{self, GramLoss, GramReport};
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

    /// [`eisl::loss_and_gradient_in_place`]: loss and gradient of \[B\]\[T\]\[V\] logits, which are replaced, for
    /// all options of [`eisl::Config`] and [`eisl::Batch`]: bags of n-grams, references, reductions.
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Combine, Config, Parts, References, Shape};
    /// use rivergram_simd::Level;
    ///
    /// let shape = Shape { batch: 1, positions: 2, targets: 2, vocabulary: 3 };
    /// let several = References { places: 2, counts: None, combine: Combine::Best, cross_entropy: None };
    /// let batch = Batch { references: Some(several), ..Batch::new(shape, &[2, 2, 0, 1]) };
    /// let config = Config::new(&[(2, 1.0)]);
    /// let (mut x, mut chosen) = ([9.0, 0.0, 0.0, 0.0, 9.0, 0.0], [0]);
    /// let mut workspace = vec![0.0; batch.workspace_len(&config)];
    /// let parts = Parts { chosen: Some(&mut chosen), ..Parts::none() };
    /// let losses = Level::detect().eisl_loss(&config, &batch, &mut x, parts, &mut workspace)?;
    /// assert!(losses.total < 0.01 && chosen == [1]);
    /// # Ok::<(), rivergram_core::error::EislError>(())
    /// ```
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

    /// [`eisl::loss`]: the loss alone, of logits that stay as they are. With
    /// [`Reduction`](eisl::Reduction) it is the forward half of a loss that is differentiated later.
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Config, Parts, Reduction, Shape};
    /// use rivergram_simd::Level;
    ///
    /// let shape = Shape { batch: 2, positions: 1, targets: 1, vocabulary: 2 };
    /// let (level, config, mut workspace) = (Level::detect(), Config::new(&[(1, 1.0)]), [0.0; 32]);
    /// let (mut x, mut losses) = ([0.0; 4], [0.0; 2]);
    /// let parts = Parts { per_row: Some(&mut losses), ..Parts::none() };
    /// level.eisl_value(&config, &Batch::new(shape, &[0, 1]), &x, parts, &mut workspace)?;
    /// assert!((losses[1] - 2.0f32.ln()).abs() < 1e-6);
    /// // Later, with what the rest of the computation makes of the two losses.
    /// let batch = Batch { reduction: Reduction::None(&[0.0, 4.0]), ..Batch::new(shape, &[0, 1]) };
    /// level.eisl_loss(&config, &batch, &mut x, Parts::none(), &mut workspace)?;
    /// assert!(x[0] == 0.0 && (x[3] + 2.0).abs() < 1e-6);
    /// # Ok::<(), rivergram_core::error::EislError>(())
    /// ```
    pub fn eisl_value(
        self,
        config: &eisl::Config<'_, f32>,
        batch: &eisl::Batch<'_, f32>,
        x: &[f32],
        parts: eisl::Parts<'_, f32>,
        workspace: &mut [f32],
    ) -> Result<eisl::Losses<f32>, EislError> {
        self.run(EislValue {
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

struct EislValue<'a, 'b> {
    config: &'a eisl::Config<'a, f32>,
    batch: &'a eisl::Batch<'a, f32>,
    x: &'a [f32],
    parts: eisl::Parts<'b, f32>,
    workspace: &'a mut [f32],
}

impl Kernel<f32> for EislValue<'_, '_> {
    type Output = Result<eisl::Losses<f32>, EislError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        eisl::loss(
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
