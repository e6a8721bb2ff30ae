//! Every operation on every path of this CPU: the results agree but for rounding.
//!
//!     cargo run --release -p rivergram-simd --example paths

use std::error::Error;

use rivergram_core::eisl::{self, Parts, Shape};
use rivergram_core::error::GramError;
use rivergram_core::gram::contrastive::{self, Anchor, GramLoss, Term};
use rivergram_core::gram::int8::quantise;
use rivergram_core::gram::pair::{Measure, volume_matrix_workspace_len};
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::search::Search;
use rivergram_core::gram::stored::{
    Anchors, Numbers, Stored, nearest_stored_workspace_len, quantise_anchor,
};
use rivergram_core::gram::tuple;
use rivergram_core::head::Head;
use rivergram_core::lanes::Isa;
use rivergram_core::optim::Optimizer;
use rivergram_core::optim::rounding::Half;
use rivergram_core::schedule::{Plan, Settings, State};
use rivergram_core::trainer::{Setup, Storage, Trainer};
use rivergram_simd::{Kernel, Level};

const K: usize = 3;
const ROWS: usize = 10;
const D: usize = 12;

/// What is asked of one tuple.
struct Tuple<'a> {
    vectors: &'a [f32],
    gradient: &'a mut [f32],
    gram: &'a mut [f32],
}

impl Kernel<f32> for Tuple<'_> {
    type Output = Result<[f32; 4], GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        tuple::gram_matrix_on(isa, self.vectors, K, D, self.gram)?;
        Ok([
            tuple::volume_on(isa, self.vectors, K, D, &mut [])?,
            tuple::volume_gradient_on(isa, self.vectors, K, D, self.gradient, &mut [])?,
            tuple::determinant_on(isa, self.vectors, K, D, &mut [])?,
            tuple::log_volume_on(isa, self.vectors, K, D, &mut [])?,
        ])
    }
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * i as f32).sin()).collect()
}

/// The volume of a tuple, of a pair in a batch, and a cosine.
fn measures(level: Level) -> Result<[f32; 3], Box<dyn Error>> {
    let x = numbers(K * ROWS * D);
    let (mut gradient, mut gram) = ([0.0; K * D], [0.0; K * K]);
    let [volume, ..] = level.run(Tuple {
        vectors: &x[..K * D],
        gradient: &mut gradient,
        gram: &mut gram,
    })?;
    let m = K - 1;
    let (anchors, items) = x.split_at(ROWS * D);
    let mut volumes = [0.0; ROWS * ROWS];
    let mut workspace = vec![0.0; volume_matrix_workspace_len(ROWS, m, ROWS, D)];
    let sizes = [ROWS, m, ROWS, D];
    level.volume_matrix(
        Measure::Volume,
        anchors,
        items,
        None,
        sizes,
        &mut volumes,
        &mut workspace,
    )?;
    let mut cosines = [0.0; ROWS * ROWS];
    level.matmul_nt(ROWS, D, anchors, anchors, &mut cosines);
    Ok([volume, volumes[1], cosines[1]])
}

/// The nearest of some rows, stored in 8 and in 16 bits, to another one.
fn nearest(level: Level) -> Result<[f32; 2], Box<dyn Error>> {
    let x = numbers(ROWS * D);
    let vectors = &numbers(D + 3)[3..];
    let (mut integers, mut anchor) = ([0; ROWS * D], [0; D]);
    let rows = x.chunks(D).zip(integers.chunks_mut(D));
    let scales: Vec<f32> = rows
        .map(|(x, n)| quantise(x, n))
        .collect::<Result<_, _>>()?;
    let halves: Vec<u16> = x.iter().map(|x| Half::F16.nearest(*x)).collect();
    let anchors = Anchors {
        vectors,
        scales: &[quantise_anchor(vectors, &mut anchor)?],
        numbers: &anchor,
    };
    let search = Search::by(Measure::Cosine);
    let mut workspace = vec![0.0; nearest_stored_workspace_len(1, 1, ROWS, D)];
    let mut best = |q| -> Result<f32, GramError> {
        let ones = &[1.0; ROWS];
        let stored = Stored {
            q,
            volume: ones,
            cosines: ones,
            present: ones,
            m: 1,
            items: ROWS,
            d: D,
        };
        let mut top = [TopK::<f32, 1>::new(search.measure.order())];
        let items = [0, ROWS];
        level.nearest_stored(search, anchors, &stored, items, &mut top, &mut workspace)?;
        Ok(top[0].best().first().map_or(f32::NAN, |best| best.0))
    };
    Ok([
        best(Numbers::Int8(&integers, &scales))?,
        best(Numbers::Half(Half::F16, &halves))?,
    ])
}

/// The loss of a batch of tuples, and of a sequence.
fn losses(level: Level) -> Result<[f32; 2], Box<dyn Error>> {
    let x = numbers(K * ROWS * D);
    let batch = contrastive::Batch {
        vectors: &x,
        present: None,
        k: K,
        rows: ROWS,
        d: D,
    };
    let config = GramLoss {
        pairs: 0.1,
        ..GramLoss::paper(0)
    };
    let mut gradient = vec![0.0; x.len()];
    let mut workspace = vec![0.0; contrastive::workspace_len(K, ROWS, D)];
    let report = level.gram_loss(&config, &batch, &mut gradient, &mut workspace)?;

    let orders = [(1, 0.8), (2, 0.2)];
    let mut logits = numbers(ROWS * D);
    let mut workspace = vec![0.0; eisl::workspace_len(SHAPE, orders.len())];
    let sequence = level.eisl_loss(
        &eisl::Config::new(&orders),
        &eisl::Batch::new(SHAPE, &LABELS),
        &mut logits,
        Parts::none(),
        &mut workspace,
    )?;
    Ok([report.loss, sequence.total])
}

const LABELS: [i32; 4] = [0, 1, 2, 3];
const SHAPE: Shape = Shape {
    batch: 1,
    positions: ROWS,
    targets: LABELS.len(),
    vocabulary: D,
};

/// One step of training, of alignment and of transcription, and what the trained head says.
fn training(level: Level) -> Result<[f32; 3], Box<dyn Error>> {
    let head = Head {
        input: D,
        hidden: 5,
        output: D,
        normalise: true,
    };
    let x = numbers(ROWS * D);
    let plan = Plan::new(Settings::constant(0.01), &[])?;
    let setup = |heads| Setup {
        heads,
        optimizer: Optimizer::adamw(),
        clip: Some(1.0),
    };
    let loss = GramLoss {
        term: Term::Volume(Anchor::Each),
        ..GramLoss::paper(0)
    };
    let pair = [head; 2];
    let aligned = setup(&pair);
    let mut memory = Memory::new(&aligned, aligned.align_workspace_len(ROWS));
    let mut trainer = Trainer::new(aligned, memory.storage(), State::new(&plan))?;
    let (align, _) = level.align(&mut trainer, &loss, &[&x, &x], None, ROWS)?;

    let orders = [(1, 1.0)];
    let writer = [Head {
        normalise: false,
        ..head
    }];
    let transcribing = setup(&writer);
    let (config, batch) = (eisl::Config::new(&orders), eisl::Batch::new(SHAPE, &LABELS));
    let workspace = transcribing.transcribe_workspace_len(&config, &batch);
    let mut memory = Memory::new(&transcribing, workspace);
    let mut trainer = Trainer::new(transcribing, memory.storage(), State::new(&plan))?;
    let (transcribe, _) = level.transcribe(&mut trainer, &config, &batch, &x)?;

    let (mut y, mut cache) = ([0.0; ROWS * D], vec![0.0; head.cache_len(ROWS)]);
    level.head(&head, trainer.parameters(), &x, &mut y, &mut cache);
    Ok([align.loss, transcribe.loss, y[0]])
}

/// The storage of a trainer.
struct Memory([Vec<f32>; 4]);

impl Memory {
    fn new(setup: &Setup<'_, f32>, workspace: usize) -> Self {
        let parameters = setup.parameters_len();
        let zeros = |count| vec![0.0; count];
        Memory([
            numbers(parameters),
            zeros(parameters),
            zeros(setup.moments_len()),
            zeros(workspace),
        ])
    }

    fn storage(&mut self) -> Storage<'_, f32> {
        let [parameters, gradient, moments, workspace] = &mut self.0;
        Storage {
            parameters,
            gradient,
            moments,
            workspace,
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    for level in Level::available() {
        let [volume, in_batch, cosine] = measures(level)?;
        println!("{level}: volumes {volume:.5} {in_batch:.5}, product {cosine:.5}");
        let [eight, sixteen] = nearest(level)?;
        println!("{level}: nearest {eight:.3} {sixteen:.3}");
        let [tuples, sequence] = losses(level)?;
        println!("{level}: losses {tuples:.5} {sequence:.5}");
        let [align, transcribe, output] = training(level)?;
        println!("{level}: steps {align:.5} {transcribe:.5}, output {output:.5}");
    }
    Ok(())
}
