//! Where operations run: one signature for every path, and many hands for one computation.
//!
//! [`Engine`] has a level of the CPU and perhaps a GPU. What the GPU cannot do, or fails to do, the level does.
//!
//! [`Threads`] is core's pieces of work on a pool of threads. The pieces are those that one hand would do one after
//! another, and what they give is put together in one order, so a result has the same bits whatever the number of threads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rivergram_core::crew::{Crew, Piece, Work};
use rivergram_core::eisl;
use rivergram_core::error::{EislError, GramError, TrainError};
use rivergram_core::gram::contrastive::{
    self, Anchor, Batch, GramLoss, GramReport, Room, Term, gram_loss_by,
};
use rivergram_core::gram::pair::{Measure, volume_matrix_workspace_len};
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::search::{Search, nearest_workspace_len};
use rivergram_core::optim::rounding::Half;
use rivergram_core::trainer::{Step, Trainer};
use rivergram_simd::Level;

use crate::cuda::{Device, Failure, Precision};
use crate::error::{Error, Result};
use crate::path::precision_name;

/// The name of the path to a GPU.
pub const CUDA: &str = "cuda";

/// B·B·k floats up to which the coordinates of a batch are kept for the backward pass.
const LARGE: usize = 1 << 24;

/// A path: a level of the CPU and, where there is one and it works, a GPU.
///
/// ```
/// use rivergram::cuda::Failure;
/// use rivergram::engine::Engine;
/// use rivergram_core::gram::contrastive::{Batch, GramLoss};
/// use rivergram_simd::Level;
///
/// // A GPU that is not there: told once, and the work is done.
/// let engine = Engine::with(Level::detect(), Err(Failure::NoDevice));
/// assert!(engine.warning().is_some_and(|line| line.contains("no device")));
/// assert_eq!((engine.warning(), engine.failure()), (None, Some(Failure::NoDevice)));
/// let vectors = [1.0, 0.1, 0.0, 1.0, /* second modality */ 1.0, 0.0, 0.2, 1.0];
/// let batch = Batch { vectors: &vectors, present: None, k: 2, rows: 2, d: 2 };
/// let mut gradient = [0.0; 8];
/// assert!(engine.gram_loss(&GramLoss::paper(0), &batch, &mut gradient)?.loss > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    level: Level,
    device: Option<Device>,
    trouble: Mutex<Trouble>,
}

/// Why the GPU is not used, or no longer, and whether that was told; the first work that it had no kernel for.
#[derive(Debug, Default)]
struct Trouble {
    failure: Option<Failure>,
    told: bool,
    lacks: Option<Failure>,
}

/// Why a step was not made on a GPU.
enum Missed {
    Failed(Failure),
    Refused(TrainError),
}

impl From<TrainError> for Missed {
    fn from(e: TrainError) -> Self {
        Missed::Refused(e)
    }
}

impl Engine {
    /// The CPU alone.
    pub fn new(level: Level) -> Self {
        Engine {
            level,
            device: None,
            trouble: Mutex::default(),
        }
    }

    /// A GPU, or the reason why there is none; the level does the rest.
    pub fn with(level: Level, device: std::result::Result<Device, Failure>) -> Self {
        let mut engine = Engine::new(level);
        match device {
            Ok(device) => engine.device = Some(device),
            Err(failure) => engine.failed(failure),
        }
        engine
    }

    /// The level of the CPU.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The name of the path, as a flag takes it: the level's once the GPU has failed.
    pub fn name(&self) -> &'static str {
        match self.usable() {
            Some(_) => CUDA,
            None => self.level.name(),
        }
    }

    /// How precise volumes and losses of a GPU are from now on ([`Device::set_precision`]); returns what it does of that.
    /// The CPU is always exact.
    pub fn set_precision(&self, precision: Precision) -> Precision {
        let device = self.device.as_ref();
        device.map_or(Precision::Exact, |device| device.set_precision(precision))
    }

    /// How precise volumes and losses of the GPU are; exact without one.
    pub fn precision(&self) -> Precision {
        let device = self.device.as_ref();
        device.map_or(Precision::Exact, Device::precision)
    }

    /// The name of [`Engine::precision`], where it is not exact: what a run states.
    pub fn stated_precision(&self) -> Option<String> {
        let precision = self.precision();
        let stated = (precision != Precision::Exact).then(|| precision_name(precision));
        stated.map(str::to_string)
    }

    /// The name of the path, with the precision where it is not exact, "cuda in tf32", and with the first work so far
    /// that the GPU had no kernel for, so that the level did it.
    pub fn described(&self) -> String {
        let mut text = self.name().to_string();
        if let Some(precision) = self.stated_precision() {
            text += &format!(" in {precision}");
        }
        let lacks = self.trouble().lacks;
        if let (Some(lacks), true) = (lacks, self.usable().is_some()) {
            text += &format!(" ({lacks}: on {})", self.level);
        }
        text
    }

    /// Why the GPU is not used, or no longer: none where there is none to use, or it works.
    pub fn failure(&self) -> Option<Failure> {
        self.trouble().failure
    }

    /// One line on [`Engine::failure`], once.
    pub fn warning(&self) -> Option<String> {
        let mut trouble = self.trouble();
        let failure = trouble.failure.filter(|_| !trouble.told)?;
        trouble.told = true;
        Some(format!(
            "{CUDA}: {failure}: the work is done on path {}",
            self.level
        ))
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The GPU, as long as nothing failed.
    fn usable(&self) -> Option<&Device> {
        let device = self.device.as_ref()?;
        self.failure().is_none().then_some(device)
    }

    fn failed(&self, failure: Failure) {
        let mut trouble = self.trouble();
        match failure {
            // The CPU was the place for this work, or says itself what is wrong.
            Failure::NoKernel(_) => trouble.lacks = trouble.lacks.or(Some(failure)),
            Failure::Input => {}
            _ => trouble.failure = trouble.failure.or(Some(failure)),
        }
    }

    /// The result of the GPU, if it has one.
    pub(crate) fn on_device<T>(
        &self,
        work: impl FnOnce(&Device) -> std::result::Result<T, Failure>,
    ) -> Option<T> {
        match work(self.usable()?) {
            Ok(found) => Some(found),
            Err(failure) => {
                self.failed(failure);
                None
            }
        }
    }

    /// What became of a training step, unless the level has to make it because the GPU failed.
    fn made<T>(
        &self,
        found: std::result::Result<T, Missed>,
    ) -> Option<std::result::Result<T, TrainError>> {
        match found {
            Ok(done) => Some(Ok(done)),
            Err(Missed::Refused(e)) => Some(Err(e)),
            Err(Missed::Failed(failure)) => {
                self.failed(failure);
                None
            }
        }
    }

    /// [`gram_loss`](contrastive::gram_loss). Of a GPU [`GramLoss::pairs`] are added by the CPU.
    ///
    /// # Errors
    /// Its.
    pub fn gram_loss(
        &self,
        config: &GramLoss<f32>,
        batch: &Batch<'_, f32>,
        gradient: &mut [f32],
    ) -> std::result::Result<GramReport<f32>, GramError> {
        let found = self.on_device(|device| self.loss_on(device, config, batch, &mut *gradient));
        match found {
            Some(report) => Ok(report),
            None => self.loss(config, batch, gradient),
        }
    }

    /// The loss on the CPU.
    fn loss(
        &self,
        config: &GramLoss<f32>,
        batch: &Batch<'_, f32>,
        gradient: &mut [f32],
    ) -> std::result::Result<GramReport<f32>, GramError> {
        let Batch { k, rows, d, .. } = *batch;
        let pairs = k.saturating_mul(rows).saturating_mul(rows);
        let room = if pairs > LARGE {
            Room::Small
        } else {
            Room::Large
        };
        let mut workspace = vec![0.0; contrastive::room_len(room, 1, k, rows, d)];
        gram_loss_by(&self.level, config, batch, gradient, &mut workspace)
    }

    /// The loss by a GPU, and the cosines of the pairs, which have no kernel.
    fn loss_on(
        &self,
        device: &Device,
        config: &GramLoss<f32>,
        batch: &Batch<'_, f32>,
        gradient: &mut [f32],
    ) -> std::result::Result<GramReport<f32>, Failure> {
        if !(config.pairs >= 0.0 && config.pairs.is_finite()) {
            return Err(Failure::Input);
        }
        let mut report = device.gram_loss(config, batch, gradient)?;
        if config.pairs > 0.0 {
            let cosines = GramLoss {
                term: Term::Cosine(Anchor::Each),
                pairs: 0.0,
                ..*config
            };
            let mut of_pairs = vec![0.0; gradient.len()];
            let found = self.loss(&cosines, batch, &mut of_pairs);
            let found = found.map_err(|_| Failure::Input)?;
            for (g, x) in gradient.iter_mut().zip(&of_pairs) {
                *g += config.pairs * x;
            }
            report.pairs_loss = config.pairs * found.loss;
            report.loss += report.pairs_loss;
            report.temperature_gradient += config.pairs * found.temperature_gradient;
        }
        Ok(report)
    }

    /// [`volume_matrix`](rivergram_core::gram::pair::volume_matrix): `sizes` is \[anchors, m, items, d\].
    ///
    /// # Errors
    /// Its.
    pub fn volume_matrix(
        &self,
        measure: Measure,
        anchors: &[f32],
        items: &[f32],
        present: Option<&[bool]>,
        sizes: [usize; 4],
        out: &mut [f32],
    ) -> std::result::Result<(), GramError> {
        let found = self.on_device(|device| {
            device.volume_matrix(measure, anchors, items, present, sizes, &mut *out)
        });
        if found.is_some() {
            return Ok(());
        }
        let [b1, m, b2, d] = sizes;
        let mut workspace = vec![0.0; volume_matrix_workspace_len(b1, m, b2, d)];
        self.level
            .volume_matrix(measure, anchors, items, present, sizes, out, &mut workspace)
    }

    /// [`nearest`](rivergram_core::gram::search::nearest): `sizes` is \[anchors, m, items, d\].
    ///
    /// # Errors
    /// Its.
    pub fn nearest<const K: usize>(
        &self,
        search: Search,
        anchors: &[f32],
        items: &[f32],
        present: Option<&[bool]>,
        sizes: [usize; 4],
        top: &mut [TopK<f32, K>],
    ) -> std::result::Result<usize, GramError> {
        let found = self
            .on_device(|device| device.nearest(search, anchors, items, present, sizes, &mut *top));
        if let Some(degenerate) = found {
            return Ok(degenerate);
        }
        let [b1, m, _, d] = sizes;
        let mut workspace = vec![0.0; nearest_workspace_len(b1, m, search.tile, d)];
        self.level
            .nearest(search, anchors, items, present, sizes, top, &mut workspace)
    }

    /// [`loss_and_gradient_in_place`](eisl::loss_and_gradient_in_place), without parts.
    ///
    /// # Errors
    /// Its.
    pub fn eisl_loss(
        &self,
        config: &eisl::Config<'_, f32>,
        batch: &eisl::Batch<'_, f32>,
        x: &mut [f32],
    ) -> std::result::Result<eisl::Losses<f32>, EislError> {
        if let Some(losses) = self.on_device(|device| device.eisl_loss(config, batch, &mut *x)) {
            return Ok(losses);
        }
        let mut workspace = vec![0.0; batch.workspace_len(config)];
        let parts = eisl::Parts::none();
        self.level
            .eisl_loss(config, batch, x, parts, &mut workspace)
    }

    /// [`half_loss_and_gradient_in_place`](eisl::half_loss_and_gradient_in_place), without parts: as [`Engine::eisl_loss`],
    /// of logits in 16 bits. A GPU does those in [`Half::Bf16`].
    ///
    /// # Errors
    /// Its.
    pub fn eisl_loss_half(
        &self,
        config: &eisl::Config<'_, f32>,
        batch: &eisl::Batch<'_, f32>,
        half: Half,
        x: &mut [u16],
    ) -> std::result::Result<eisl::Losses<f32>, EislError> {
        let found = self.on_device(|device| device.eisl_loss_half(config, batch, half, &mut *x));
        if let Some(losses) = found {
            return Ok(losses);
        }
        let wide = batch.shape.vocabulary;
        let mut workspace = vec![0.0; batch.workspace_len(config).saturating_add(wide)];
        let parts = eisl::Parts::none();
        self.level
            .eisl_loss_half(config, batch, half, x, parts, &mut workspace)
    }

    /// [`Trainer::align`]. With a GPU the loss and its gradient are computed there, where all heads normalise and the
    /// loss is one of volumes; the heads and the update are the CPU's. Without one it is the level's, bit for bit.
    ///
    /// # Errors
    /// Those of [`Trainer::align`].
    pub fn align(
        &self,
        trainer: &mut Trainer<'_, f32>,
        loss: &GramLoss<f32>,
        inputs: &[&[f32]],
        present: Option<&[bool]>,
        rows: usize,
    ) -> std::result::Result<(Step<f32>, GramReport<f32>), TrainError> {
        // Of unit vectors the gradient through their normalisation is what the heads make of it in any case.
        let normalised = trainer.setup().heads.iter().all(|head| head.normalise);
        if let (Some(device), true) = (self.usable(), normalised) {
            let config = GramLoss {
                normalise: true,
                ..*loss
            };
            let by = |batch: &Batch<'_, f32>, gradient: &mut [f32]| {
                self.loss_on(device, &config, batch, gradient)
                    .map_err(Missed::Failed)
            };
            let found = self.level.align_by(trainer, inputs, present, rows, by);
            if let Some(done) = self.made(found) {
                return done;
            }
        }
        self.level.align(trainer, loss, inputs, present, rows)
    }

    /// [`Trainer::transcribe`]. With a GPU the loss and its gradient are computed there, where it has a kernel for them;
    /// the head and the update are the CPU's. Without one it is the level's, bit for bit.
    ///
    /// # Errors
    /// Those of [`Trainer::transcribe`].
    pub fn transcribe(
        &self,
        trainer: &mut Trainer<'_, f32>,
        config: &eisl::Config<'_, f32>,
        batch: &eisl::Batch<'_, f32>,
        inputs: &[f32],
    ) -> std::result::Result<(Step<f32>, eisl::Losses<f32>), TrainError> {
        if let Some(device) = self.usable() {
            let by = |logits: &mut [f32]| {
                let found = device.eisl_loss(config, batch, logits);
                found.map_err(Missed::Failed)
            };
            let found = self.level.transcribe_by(trainer, config, batch, inputs, by);
            if let Some(done) = self.made(found) {
                return done;
            }
        }
        self.level.transcribe(trainer, config, batch, inputs)
    }
}

/// Threads that share the pieces of a computation, each on the lanes of one level.
///
/// ```
/// use rivergram::engine::Threads;
/// use rivergram_core::gram::contrastive::{self, Batch, GramLoss, Room};
/// use rivergram_simd::Level;
///
/// let threads = Threads::new(Level::detect(), 2)?;
/// let vectors = [1.0, 0.1, 0.0, 1.0, /* second modality */ 1.0, 0.0, 0.2, 1.0];
/// let batch = Batch { vectors: &vectors, present: None, k: 2, rows: 2, d: 2 };
/// let mut gradient = [0.0; 8];
/// let mut workspace = vec![0.0; contrastive::room_len(Room::Small, 2, 2, 2, 2)];
/// let loss = GramLoss::paper(0);
/// let report = contrastive::gram_loss_by(&threads, &loss, &batch, &mut gradient, &mut workspace)?;
/// assert!(report.loss > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Threads {
    level: Level,
    pool: rayon::ThreadPool,
}

impl Threads {
    /// A pool of `threads` threads, at least one. Cost: starts them.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn new(level: Level, threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .build()
            .map_err(|error| Error::flag("--threads", error))?;
        Ok(Threads { level, pool })
    }
}

impl Crew<f32> for Threads {
    fn hands(&self) -> usize {
        self.pool.current_num_threads()
    }

    fn whole<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    fn each<P: Send, W: Work<f32, P>>(&self, pieces: impl Iterator<Item = P>, work: &W) {
        let mut pieces: Vec<P> = pieces.collect();
        if pieces.len() < 2 {
            for piece in pieces.drain(..) {
                self.level.run(Piece { work, piece });
            }
            return;
        }
        let level = self.level;
        let each = || {
            pieces
                .into_par_iter()
                .for_each(|piece| level.run(Piece { work, piece }));
        };
        self.pool.install(each);
    }
}
