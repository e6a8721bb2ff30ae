//! The operations over batches, on the lanes of a level: core's functions, with the level in place of a
//! token. Shapes, errors and sources are those of the functions they are named after.

use core::marker::PhantomData;

use rivergram_core::eisl;
use rivergram_core::error::{EislError, GramError, OptimError, TrainError};
use rivergram_core::gram::basis::{self, Item};
use rivergram_core::gram::contrastive::{self, GramLoss, GramReport, Rectangle, Shard, ZeroRows};
use rivergram_core::gram::negatives::{self, Own};
use rivergram_core::gram::pair::{self, Bases, BasesMut, Measure};
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::search::{self, Search};
use rivergram_core::gram::stored::{self, Anchors, Stored};
use rivergram_core::head::Head;
use rivergram_core::lanes::Isa;
use rivergram_core::ops;
use rivergram_core::optim::rounding::Half;
use rivergram_core::trainer::{Average, Step, Trainer};

use crate::{Kernel, Level};

impl Level {
    /// [`contrastive::gram_loss`]: the loss of a batch, and its gradient into `gradient` \[k, rows, d\].
    ///
    /// # Errors
    /// Those of [`contrastive::gram_loss`].
    ///
    /// ```
    /// use rivergram_core::gram::contrastive::{Batch, GramLoss, workspace_len};
    /// use rivergram_simd::Level;
    ///
    /// let vectors = [1.0, 0.1, 0.0, 1.0, /* second modality */ 1.0, 0.0, 0.2, 1.0];
    /// let batch = Batch { vectors: &vectors, present: None, k: 2, rows: 2, d: 2 };
    /// let (mut gradient, mut workspace) = ([0.0; 8], [0.0; workspace_len(2, 2, 2)]);
    /// let config = GramLoss::paper(0);
    /// let report = Level::detect().gram_loss(&config, &batch, &mut gradient, &mut workspace)?;
    /// assert!(report.loss > 0.0 && gradient.iter().any(|g| *g != 0.0));
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
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

    /// [`pair::volume_matrix`]: the volume, or the distance, of every anchor with every item into `out`
    /// \[B1, B2\]; sizes are \[B1, m, B2, d\].
    ///
    /// # Errors
    /// Those of [`pair::volume_matrix`].
    ///
    /// ```
    /// use rivergram_core::gram::pair::{Measure, volume_matrix_workspace_len};
    /// use rivergram_simd::Level;
    ///
    /// // One anchor, two items of one vector each.
    /// let (anchors, items) = ([1.0, 0.0], [0.6, 0.8, 1.0, 0.0]);
    /// let mut out = [9.0; 2];
    /// let mut workspace = [0.0; volume_matrix_workspace_len(1, 1, 2, 2)];
    /// let (measure, sizes) = (Measure::Volume, [1, 1, 2, 2]);
    /// let level = Level::detect();
    /// level.volume_matrix(measure, &anchors, &items, None, sizes, &mut out, &mut workspace)?;
    /// assert!((out[0] - 0.8).abs() < 1e-6 && out[1] == 0.0);
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
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

    /// [`search::nearest`]: offers every item to the best matches of every anchor, tile by tile, without the
    /// matrix of scores; `sizes` are \[B1, m, B2, d\] and `top` \[B1\]. Returns the number of items whose vectors
    /// are dependent. Cost, errors and source are its.
    ///
    /// ```
    /// use rivergram_core::gram::pair::Measure;
    /// use rivergram_core::gram::retrieval::TopK;
    /// use rivergram_core::gram::search::{Search, nearest_workspace_len};
    /// use rivergram_simd::Level;
    ///
    /// let items = [0.0, 1.0, /**/ 1.0, 0.1, /**/ 1.0, 2.0];
    /// let search = Search { tile: 2, ..Search::by(Measure::Volume) };
    /// let mut top = [TopK::<f32, 2>::new(search.measure.order())];
    /// let mut workspace = [0.0; nearest_workspace_len(1, 1, 2, 2)];
    /// let sizes = [1, 1, 3, 2];
    /// let level = Level::detect();
    /// level.nearest(search, &[1.0, 0.0], &items, None, sizes, &mut top, &mut workspace)?;
    /// assert_eq!(top[0].best().iter().map(|best| best.1).collect::<Vec<_>>(), [1, 0]);
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
    pub fn nearest<const K: usize>(
        self,
        search: Search,
        anchors: &[f32],
        items: &[f32],
        present: Option<&[bool]>,
        sizes: [usize; 4],
        top: &mut [TopK<f32, K>],
        workspace: &mut [f32],
    ) -> Result<usize, GramError> {
        self.run(Nearest {
            search,
            anchors,
            items,
            present,
            sizes,
            top,
            workspace,
        })
    }

    /// [`search::nearest_prepared`]: the same among items whose bases were built before. Cost, errors and source are
    /// its.
    ///
    /// ```
    /// use rivergram_core::gram::pair::{BasesMut, Measure, bases_len};
    /// use rivergram_core::gram::retrieval::TopK;
    /// use rivergram_core::gram::search::{Search, nearest_prepared_workspace_len};
    /// use rivergram_simd::Level;
    ///
    /// let (level, items) = (Level::detect(), [0.0, 1.0, /**/ 1.0, 0.1, /**/ 1.0, 2.0]);
    /// let mut storage = [0.0; bases_len(1, 3, 2)];
    /// let storage = BasesMut::split(&mut storage, 1, 3, 2);
    /// let (bases, _) = level.bases(storage, &items, &[1.0; 3], [1, 3, 2], &mut [0.0; 32])?;
    /// let search = Search::by(Measure::Volume);
    /// let mut top = [TopK::<f32, 2>::new(search.measure.order())];
    /// let mut workspace = [0.0; nearest_prepared_workspace_len(1, 1, 3, 2)];
    /// level.nearest_prepared(search, &[1.0, 0.0], &bases, &mut top, &mut workspace)?;
    /// assert_eq!(top[0].best().iter().map(|best| best.1).collect::<Vec<_>>(), [1, 0]);
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
    pub fn nearest_prepared<const K: usize>(
        self,
        search: Search,
        anchors: &[f32],
        bases: &Bases<'_, f32>,
        top: &mut [TopK<f32, K>],
        workspace: &mut [f32],
    ) -> Result<(), GramError> {
        self.nearest_prepared_part(search, anchors, bases, [0, bases.items], top, workspace)
    }

    /// [`search::nearest_prepared_part`]: the same among some items of the bases, the first and how many. Cost, errors and
    /// source are its.
    ///
    /// ```
    /// use rivergram_core::gram::pair::{Bases, Measure};
    /// use rivergram_core::gram::retrieval::TopK;
    /// use rivergram_core::gram::search::Search;
    /// use rivergram_simd::Level;
    ///
    /// let (q, ones) = ([0.0, 1.0, /**/ 1.0, 0.0, /**/ 0.6, 0.8], [1.0; 3]);
    /// let (r, skip) = (&[][..], usize::MAX);
    /// let bases = Bases { q: &q, r, volume: &ones, vectors: &q, present: &ones, skip, m: 1, items: 3, d: 2 };
    /// let (level, search) = (Level::detect(), Search::by(Measure::Distance));
    /// let mut top = [TopK::<f32, 1>::new(search.measure.order())];
    /// level.nearest_prepared_part(search, &[0.0, 1.0], &bases, [1, 2], &mut top, &mut [0.0; 7])?;
    /// assert_eq!(top[0].best()[0].1, 2);
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
    pub fn nearest_prepared_part<const K: usize>(
        self,
        search: Search,
        anchors: &[f32],
        bases: &Bases<'_, f32>,
        part: [usize; 2],
        top: &mut [TopK<f32, K>],
        workspace: &mut [f32],
    ) -> Result<(), GramError> {
        self.run(NearestPrepared {
            search,
            anchors,
            bases,
            part,
            top,
            workspace,
        })
    }

    /// [`stored::nearest_stored`]: candidates among items whose bases are stored in fewer bits. Cost, errors and source
    /// are its.
    ///
    /// ```
    /// use rivergram_core::gram::pair::Measure;
    /// use rivergram_core::gram::retrieval::TopK;
    /// use rivergram_core::gram::search::Search;
    /// use rivergram_core::gram::stored::{Anchors, Numbers, Stored};
    /// use rivergram_core::optim::rounding::Half;
    /// use rivergram_simd::Level;
    ///
    /// let (q, ones) = ([0.0, 1.0, /**/ 1.0, 0.0].map(|q| Half::F16.nearest(q)), [1.0; 2]);
    /// let q = Numbers::Half(Half::F16, &q);
    /// let stored = Stored { q, volume: &ones, cosines: &ones, present: &ones, m: 1, items: 2, d: 2 };
    /// let anchors = Anchors { vectors: &[2.0, 0.5], numbers: &[], scales: &[] };
    /// let (level, search) = (Level::detect(), Search::by(Measure::Distance));
    /// let mut top = [TopK::<f32, 1>::new(search.measure.order())];
    /// level.nearest_stored(search, anchors, &stored, [0, 2], &mut top, &mut [0.0; 8])?;
    /// assert_eq!(top[0].best(), [(0.5, 1)]);
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
    pub fn nearest_stored<const K: usize>(
        self,
        search: Search,
        anchors: Anchors<'_>,
        stored: &Stored<'_>,
        items: [usize; 2],
        top: &mut [TopK<f32, K>],
        workspace: &mut [f32],
    ) -> Result<(), GramError> {
        self.run(NearestStored {
            search,
            anchors,
            stored,
            items,
            top,
            workspace,
        })
    }

    /// [`BasesMut::build`](pair::BasesMut::build) of items \[m, items, d\]; `present` \[m, items\] is 0 where a vector
    /// is absent, and `scratch` has [`basis::item_len`] floats. Cost and source are its.
    ///
    /// # Errors
    /// [`GramError::BufferSize`], [`GramError::Workspace`]; a present vector that is not finite.
    ///
    /// ```
    /// use rivergram_core::gram::basis::item_len;
    /// use rivergram_core::gram::pair::{BasesMut, bases_len};
    /// use rivergram_simd::Level;
    ///
    /// let mut storage = [0.0; bases_len(1, 2, 2)];
    /// let storage = BasesMut::split(&mut storage, 1, 2, 2);
    /// let (vectors, mut scratch) = ([0.0, 2.0, /**/ 3.0, 0.0], [0.0; item_len(1, 2)]);
    /// let level = Level::detect();
    /// let (bases, degenerate) = level.bases(storage, &vectors, &[1.0; 2], [1, 2, 2], &mut scratch)?;
    /// assert_eq!((bases.volume, degenerate), (&[2.0, 3.0][..], 0));
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
    pub fn bases<'a>(
        self,
        storage: BasesMut<'a, f32>,
        vectors: &'a [f32],
        present: &'a [f32],
        sizes: [usize; 3],
        scratch: &mut [f32],
    ) -> Result<(Bases<'a, f32>, usize), GramError> {
        let [m, items, d] = sizes;
        let planes = m.saturating_mul(items);
        let lens = [
            (planes.saturating_mul(d), vectors.len()),
            (planes, present.len()),
            (planes.saturating_mul(d), storage.q.len()),
            (planes.saturating_mul(m), storage.r.len()),
            (items, storage.volume.len()),
        ];
        if let Some(&(need, have)) = lens.iter().find(|(need, have)| need != have) {
            return Err(GramError::BufferSize { need, have });
        }
        let (need, have) = (basis::item_len(m, d), scratch.len());
        if have < need {
            return Err(GramError::Workspace { need, have });
        }
        if let Some(at) = not_finite(vectors, present, d) {
            return Err(GramError::NotFinite {
                modality: 1 + at / items,
                row: at % items,
            });
        }
        Ok(self.run(BuildBases {
            storage,
            vectors,
            present,
            sizes,
            scratch,
        }))
    }

    /// [`pair::present_vectors`]: which vectors \[planes, rows, d\] are there, as the loss and a search see it, into
    /// `there` \[planes, rows\]; returns how many are not. Cost and errors are its.
    ///
    /// ```
    /// use rivergram_core::gram::contrastive::ZeroRows;
    /// use rivergram_simd::Level;
    ///
    /// let (x, mut there) = ([1.0, 2.0, /**/ 0.0, 0.0], [false; 2]);
    /// let (level, policy) = (Level::detect(), ZeroRows::Missing);
    /// assert_eq!(level.present_vectors(policy, &x, None, [1, 2, 2], 0, &mut there), Ok(1));
    /// assert_eq!(there, [true, false]);
    /// ```
    pub fn present_vectors(
        self,
        zero_rows: ZeroRows,
        vectors: &[f32],
        present: Option<&[bool]>,
        sizes: [usize; 3],
        first: usize,
        there: &mut [bool],
    ) -> Result<usize, GramError> {
        self.run(PresentVectors {
            zero_rows,
            vectors,
            present,
            sizes,
            first,
            there,
        })
    }

    /// [`negatives::row_weights`]: volumes \[rows, columns\] to the weights of hard negatives in place, each row a
    /// query. Cost, errors and source are its.
    ///
    /// ```
    /// use rivergram_core::gram::negatives::{Own, draw};
    /// use rivergram_simd::Level;
    ///
    /// let mut weights = [0.0, 0.9, 0.1, /**/ 0.5, 0.0, 0.5];
    /// Level::detect().row_weights(0.07, Own::at(0), 3, &mut weights)?;
    /// assert!(weights[0] == 0.0 && weights[2] > weights[1]);
    /// assert_eq!(draw(&weights[..3], u32::MAX / 2), Some(2));
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
    pub fn row_weights(
        self,
        temperature: f32,
        own: Own<'_>,
        columns: usize,
        scores: &mut [f32],
    ) -> Result<(), GramError> {
        self.run(RowWeights {
            temperature,
            own,
            columns,
            scores,
        })
    }

    /// [`negatives::column_weights`]: the same with each column a query. Cost, errors and source are its.
    ///
    /// ```
    /// use rivergram_core::gram::negatives::{Own, column_workspace_len};
    /// use rivergram_simd::Level;
    ///
    /// let mut weights = [0.0, 0.5, /**/ 0.9, 0.0, /**/ 0.1, 0.5];
    /// let mut workspace = [0.0; column_workspace_len(2)];
    /// Level::detect().column_weights(0.07, Own::at(0), 2, &mut weights, &mut workspace)?;
    /// assert!(weights[0] == 0.0 && weights[4] > weights[2]);
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
    pub fn column_weights(
        self,
        temperature: f32,
        own: Own<'_>,
        columns: usize,
        scores: &mut [f32],
        workspace: &mut [f32],
    ) -> Result<(), GramError> {
        self.run(ColumnWeights {
            temperature,
            own,
            columns,
            scores,
            workspace,
        })
    }

    /// [`eisl::loss_and_gradient_in_place`]: loss and gradient of \[B\]\[T\]\[V\] logits, which are replaced, for
    /// all options of [`eisl::Config`] and [`eisl::Batch`]: bags of n-grams, references, reductions.
    ///
    /// # Errors
    /// Those of [`eisl::loss_and_gradient_in_place`].
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

    /// [`eisl::half_loss_and_gradient_in_place`]: the same of logits in 16 bits, in the bits of which the gradient is
    /// left. Cost and source are its.
    ///
    /// # Errors
    /// Those of [`eisl::half_loss_and_gradient_in_place`].
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Config, Parts, Shape, half_workspace_len};
    /// use rivergram_core::optim::rounding::Half;
    /// use rivergram_simd::Level;
    ///
    /// let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 2 };
    /// let (config, batch) = (Config::new(&[(1, 1.0)]), Batch::new(shape, &[1]));
    /// let (mut x, mut workspace) = ([0x3c00; 2], vec![0.0; half_workspace_len(shape, 1)]);
    /// let (level, parts) = (Level::detect(), Parts::none());
    /// level.eisl_loss_half(&config, &batch, Half::F16, &mut x, parts, &mut workspace)?;
    /// assert_eq!(x.map(|x| Half::F16.widen(x)), [0.5, -0.5]);
    /// # Ok::<(), rivergram_core::error::EislError>(())
    /// ```
    pub fn eisl_loss_half(
        self,
        config: &eisl::Config<'_, f32>,
        batch: &eisl::Batch<'_, f32>,
        format: Half,
        x: &mut [u16],
        parts: eisl::Parts<'_, f32>,
        workspace: &mut [f32],
    ) -> Result<eisl::Losses<f32>, EislError> {
        self.run(EislLossHalf {
            config,
            batch,
            format,
            x,
            parts,
            workspace,
        })
    }

    /// [`eisl::loss`]: the loss alone, of logits that stay as they are. With
    /// [`Reduction`](eisl::Reduction) it is the forward half of a loss that is differentiated later.
    /// Cost, errors and source are its.
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

    /// [`Head::forward`]: the outputs `y` \[rows, output\] of the inputs `x` \[rows, input\].
    ///
    /// ```
    /// use rivergram_core::head::Head;
    /// use rivergram_simd::Level;
    ///
    /// let head = Head { input: 2, hidden: 0, output: 1, normalise: false };
    /// let (mut y, mut cache) = ([0.0; 2], [0.0; 2]);
    /// let inputs = [1.0, 1.0, 2.0, 0.0];
    /// Level::detect().head(&head, &[1.0, 2.0, 0.5], &inputs, &mut y, &mut cache);
    /// assert_eq!(y, [3.5, 2.5]);
    /// ```
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
    ///
    /// ```
    /// use rivergram_simd::Level;
    ///
    /// let mut c = [0.0; 2];
    /// Level::detect().matmul_nt(2, 2, &[1.0, 2.0], &[1.0, 0.0, 3.0, 4.0], &mut c);
    /// assert_eq!(c, [1.0, 11.0]);
    /// ```
    pub fn matmul_nt(self, m: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
        self.run(Product { m, k, a, b, c });
    }

    /// [`Trainer::align`]: one step of alignment on tuples.
    ///
    /// # Errors
    /// Those of [`Trainer::align`].
    ///
    /// ```
    /// # use rivergram_core::gram::contrastive::GramLoss;
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// use rivergram_simd::Level;
    ///
    /// let heads = [Head { input: 2, hidden: 0, output: 2, normalise: true }; 2];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::sgd(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.001_f32), &[])?;
    /// # let mut parameters = [1.0, 0.2, 0.1, 1.0, 0.0, 0.0, 0.7, -0.7, 0.7, 0.7, 0.0, 0.0];
    /// # let (mut gradient, mut workspace) = ([0.0; 12], vec![0.0; setup.align_workspace_len(2)]);
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut [],
    /// #     workspace: &mut workspace,
    /// # };
    /// let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// let loss = GramLoss { normalise: false, ..GramLoss::paper(0) };
    /// let inputs = [&[1.0, 0.0, 0.0, 1.0][..], &[0.9, 0.1, 0.2, 0.8]];
    /// let (step, report) = Level::detect().align(&mut trainer, &loss, &inputs, None, 2)?;
    /// assert!(step.loss == report.loss && trainer.updates() == 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// [`Trainer::align_by`]: one step of alignment whose loss is computed elsewhere, as by a GPU. Cost and errors are
    /// its.
    ///
    /// ```
    /// # use rivergram_core::error::TrainError;
    /// # use rivergram_core::gram::contrastive::GramReport;
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// use rivergram_simd::Level;
    ///
    /// let heads = [Head { input: 2, hidden: 0, output: 2, normalise: true }; 2];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::sgd(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.001_f32), &[])?;
    /// # let mut parameters = [1.0, 0.2, 0.1, 1.0, 0.0, 0.0, 0.7, -0.7, 0.7, 0.7, 0.0, 0.0];
    /// # let (mut gradient, mut workspace) = ([0.0; 12], vec![0.0; setup.align_workspace_len(2)]);
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut [],
    /// #     workspace: &mut workspace,
    /// # };
    /// let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// let inputs = [&[1.0, 0.0, 0.0, 1.0][..], &[0.9, 0.1, 0.2, 0.8]];
    /// let (step, _) = Level::detect().align_by(&mut trainer, &inputs, None, 2, |batch, gradient| {
    ///     gradient.fill(0.5);
    ///     let report = GramReport { loss: batch.rows as f32, ..GramReport::default() };
    ///     Ok::<_, TrainError>(report)
    /// })?;
    /// assert!(step.loss == 2.0 && trainer.updates() == 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn align_by<E: From<TrainError>>(
        self,
        trainer: &mut Trainer<'_, f32>,
        inputs: &[&[f32]],
        present: Option<&[bool]>,
        rows: usize,
        by: impl FnOnce(&contrastive::Batch<'_, f32>, &mut [f32]) -> Result<GramReport<f32>, E>,
    ) -> Result<(Step<f32>, GramReport<f32>), E> {
        self.run(AlignBy {
            trainer,
            inputs,
            present,
            rows,
            by,
            error: PhantomData,
        })
    }

    /// [`Trainer::average`]: the weights into an average, in the stable phase; whether it did. Cost and errors are
    /// its.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// use rivergram_core::optim::average::RunningMean;
    /// use rivergram_core::trainer::Average;
    /// use rivergram_simd::Level;
    ///
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::sgd(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125), &[])?;
    /// # let (mut parameters, mut gradient) = ([0.5; 9], [0.0; 9]);
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut [],
    /// #     workspace: &mut [],
    /// # };
    /// let trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// let (mut average, mut mean) = (Average::Mean(RunningMean::new()), [0.0; 9]);
    /// assert!(Level::detect().average(&trainer, &mut average, &mut mean)?);
    /// assert_eq!(mean, [0.5; 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn average(
        self,
        trainer: &Trainer<'_, f32>,
        average: &mut Average<f32>,
        storage: &mut [f32],
    ) -> Result<bool, OptimError> {
        self.run(AverageKernel {
            trainer,
            average,
            storage,
        })
    }

    /// [`Trainer::transcribe`]: one step of transcription.
    ///
    /// # Errors
    /// Those of [`Trainer::transcribe`].
    ///
    /// ```
    /// # use rivergram_core::eisl::{Batch, Config, Shape};
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// use rivergram_simd::Level;
    ///
    /// let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::sgd(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut workspace) = ([0.5; 9], [0.0; 9], [0.0; 64]);
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut [],
    /// #     workspace: &mut workspace,
    /// # };
    /// let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 3 };
    /// let (config, batch) = (Config::cross_entropy(0.0), Batch::new(shape, &[2]));
    /// let level = Level::detect();
    /// let (step, _) = level.transcribe(&mut trainer, &config, &batch, &[1.0, 0.5])?;
    /// assert!((step.loss - 3.0_f32.ln()).abs() < 1e-6); // Three equal logits.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// [`Trainer::transcribe_by`]: one step of transcription whose loss is computed elsewhere, as by a GPU. Cost and
    /// errors are its.
    ///
    /// ```
    /// # use rivergram_core::eisl::{Batch, Config, Losses, Shape};
    /// # use rivergram_core::error::TrainError;
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// use rivergram_simd::Level;
    ///
    /// let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::sgd(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut workspace) = ([0.5; 9], [0.0; 9], [0.0; 64]);
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut [],
    /// #     workspace: &mut workspace,
    /// # };
    /// let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 3 };
    /// let (config, batch) = (Config::cross_entropy(0.0), Batch::new(shape, &[2]));
    /// let (level, inputs) = (Level::detect(), [1.0, 0.5]);
    /// let (step, _) = level.transcribe_by(&mut trainer, &config, &batch, &inputs, |logits| {
    ///     logits.fill(0.5);
    ///     Ok::<_, TrainError>(Losses { total: 2.0, eisl: 0.0, ce: 2.0 })
    /// })?;
    /// assert!(step.loss == 2.0 && trainer.updates() == 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn transcribe_by<E: From<TrainError>>(
        self,
        trainer: &mut Trainer<'_, f32>,
        config: &eisl::Config<'_, f32>,
        batch: &eisl::Batch<'_, f32>,
        inputs: &[f32],
        by: impl FnOnce(&mut [f32]) -> Result<eisl::Losses<f32>, E>,
    ) -> Result<(Step<f32>, eisl::Losses<f32>), E> {
        self.run(TranscribeBy {
            trainer,
            config,
            batch,
            inputs,
            by,
            error: PhantomData,
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

struct Nearest<'a, const K: usize> {
    search: Search,
    anchors: &'a [f32],
    items: &'a [f32],
    present: Option<&'a [bool]>,
    sizes: [usize; 4],
    top: &'a mut [TopK<f32, K>],
    workspace: &'a mut [f32],
}

impl<const K: usize> Kernel<f32> for Nearest<'_, K> {
    type Output = Result<usize, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let Nearest {
            search,
            anchors,
            items,
            present,
            sizes,
            top,
            workspace,
        } = self;
        search::nearest(isa, search, anchors, items, present, sizes, top, workspace)
    }
}

struct NearestPrepared<'a, 'b, const K: usize> {
    search: Search,
    anchors: &'a [f32],
    bases: &'a Bases<'b, f32>,
    part: [usize; 2],
    top: &'a mut [TopK<f32, K>],
    workspace: &'a mut [f32],
}

impl<const K: usize> Kernel<f32> for NearestPrepared<'_, '_, K> {
    type Output = Result<(), GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let NearestPrepared {
            search,
            anchors,
            bases,
            part,
            top,
            workspace,
        } = self;
        search::nearest_prepared_part(isa, search, anchors, bases, part, top, workspace)
    }
}

struct NearestStored<'a, 'b, const K: usize> {
    search: Search,
    anchors: Anchors<'a>,
    stored: &'a Stored<'b>,
    items: [usize; 2],
    top: &'a mut [TopK<f32, K>],
    workspace: &'a mut [f32],
}

impl<const K: usize> Kernel<f32> for NearestStored<'_, '_, K> {
    type Output = Result<(), GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let NearestStored {
            search,
            anchors,
            stored,
            items,
            top,
            workspace,
        } = self;
        stored::nearest_stored(isa, search, anchors, stored, items, top, workspace)
    }
}

struct BuildBases<'a, 's> {
    storage: BasesMut<'a, f32>,
    vectors: &'a [f32],
    present: &'a [f32],
    sizes: [usize; 3],
    scratch: &'s mut [f32],
}

impl<'a> Kernel<f32> for BuildBases<'a, '_> {
    type Output = (Bases<'a, f32>, usize);
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let [m, _, d] = self.sizes;
        let mut scratch = Item::split(self.scratch, m, d);
        let (vectors, present) = (self.vectors, self.present);
        self.storage
            .build(isa, vectors, present, usize::MAX, self.sizes, &mut scratch)
    }
}

/// The first vector that is there and holds NaN or an infinity.
fn not_finite(vectors: &[f32], present: &[f32], d: usize) -> Option<usize> {
    let mut rows = vectors.chunks_exact(d.max(1)).zip(present);
    rows.position(|(x, flag)| *flag != 0.0 && !x.iter().all(|x| x.is_finite()))
}

struct PresentVectors<'a> {
    zero_rows: ZeroRows,
    vectors: &'a [f32],
    present: Option<&'a [bool]>,
    sizes: [usize; 3],
    first: usize,
    there: &'a mut [bool],
}

impl Kernel<f32> for PresentVectors<'_> {
    type Output = Result<usize, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let PresentVectors {
            zero_rows,
            vectors,
            present,
            sizes,
            first,
            there,
        } = self;
        pair::present_vectors(isa, zero_rows, vectors, present, sizes, first, there)
    }
}

struct RowWeights<'a> {
    temperature: f32,
    own: Own<'a>,
    columns: usize,
    scores: &'a mut [f32],
}

impl Kernel<f32> for RowWeights<'_> {
    type Output = Result<(), GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        negatives::row_weights(isa, self.temperature, self.own, self.columns, self.scores)
    }
}

struct ColumnWeights<'a> {
    temperature: f32,
    own: Own<'a>,
    columns: usize,
    scores: &'a mut [f32],
    workspace: &'a mut [f32],
}

impl Kernel<f32> for ColumnWeights<'_> {
    type Output = Result<(), GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let ColumnWeights {
            temperature,
            own,
            columns,
            scores,
            workspace,
        } = self;
        negatives::column_weights(isa, temperature, own, columns, scores, workspace)
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

struct EislLossHalf<'a, 'b> {
    config: &'a eisl::Config<'a, f32>,
    batch: &'a eisl::Batch<'a, f32>,
    format: Half,
    x: &'a mut [u16],
    parts: eisl::Parts<'b, f32>,
    workspace: &'a mut [f32],
}

impl Kernel<f32> for EislLossHalf<'_, '_> {
    type Output = Result<eisl::Losses<f32>, EislError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        eisl::half_loss_and_gradient_in_place(
            isa,
            self.config,
            self.batch,
            self.format,
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

struct AlignBy<'s, 't, B, E> {
    trainer: &'s mut Trainer<'t, f32>,
    inputs: &'s [&'s [f32]],
    present: Option<&'s [bool]>,
    rows: usize,
    by: B,
    error: PhantomData<E>,
}

impl<B, E> Kernel<f32> for AlignBy<'_, '_, B, E>
where
    E: From<TrainError>,
    B: FnOnce(&contrastive::Batch<'_, f32>, &mut [f32]) -> Result<GramReport<f32>, E>,
{
    type Output = Result<(Step<f32>, GramReport<f32>), E>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        self.trainer
            .align_by(isa, self.inputs, self.present, self.rows, self.by)
    }
}

struct AverageKernel<'s, 't> {
    trainer: &'s Trainer<'t, f32>,
    average: &'s mut Average<f32>,
    storage: &'s mut [f32],
}

impl Kernel<f32> for AverageKernel<'_, '_> {
    type Output = Result<bool, OptimError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        self.trainer.average(isa, self.average, self.storage)
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

struct TranscribeBy<'s, 't, B, E> {
    trainer: &'s mut Trainer<'t, f32>,
    config: &'s eisl::Config<'s, f32>,
    batch: &'s eisl::Batch<'s, f32>,
    inputs: &'s [f32],
    by: B,
    error: PhantomData<E>,
}

impl<B, E> Kernel<f32> for TranscribeBy<'_, '_, B, E>
where
    E: From<TrainError>,
    B: FnOnce(&mut [f32]) -> Result<eisl::Losses<f32>, E>,
{
    type Output = Result<(Step<f32>, eisl::Losses<f32>), E>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        self.trainer
            .transcribe_by(isa, self.config, self.batch, self.inputs, self.by)
    }
}
