//! The losses with their gradients, and a step of training with all that belongs to it.

use rivergram_core::eisl::{self, Config, Losses, Shape, loss_and_gradient_f32};
use rivergram_core::error::{EislError, GramError};
use rivergram_core::gram::contrastive::{
    Anchor, Batch, GramLoss, GramReport, Term, ZeroRows, gram_loss, workspace_len,
};
use rivergram_core::head::Head;
use rivergram_core::lanes::One;
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::{Plan, Settings, State, rate_at};
use rivergram_core::trainer::fixed::{self, Labels, Memory, Recipe, Transcription, Update};
use rivergram_core::trainer::{self, Setup, Storage, Trainer};

use crate::data::Numbers;
use crate::measure::cost;
use crate::plain;

const K: usize = 3;
const ROWS: usize = 8;
const INPUT: usize = 32;
const OUTPUT: usize = 16;
const FLOAT: usize = size_of::<f32>();

const HEADS: [Head; K] = [Head {
    input: INPUT,
    hidden: 0,
    output: OUTPUT,
    normalise: true,
}; K];
const PAPER: GramLoss<f32> = GramLoss {
    term: TERM,
    pairs: 0.0,
    temperature: 0.07,
    label_smoothing: 0.1,
    normalise: false,
    zero_rows: ZeroRows::Missing,
};

struct BySgd;

impl Recipe<f32> for BySgd {
    const HEADS: &'static [Head] = &HEADS;
    const ROWS: usize = ROWS;
    const OPTIMIZER: Optimizer<f32> = Optimizer::Sgd {
        momentum: 0.0,
        weight_decay: 0.0,
    };
    const LOSS: GramLoss<f32> = PAPER;
}

struct ByAdamW;

impl Recipe<f32> for ByAdamW {
    const HEADS: &'static [Head] = &HEADS;
    const ROWS: usize = ROWS;
    const OPTIMIZER: Optimizer<f32> = Optimizer::AdamW {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
    };
    const LOSS: GramLoss<f32> = PAPER;
}

const TERM: Term = Term::Volume(Anchor::One(0));
const PARAMETERS: usize = trainer::parameters_len(&HEADS);

/// The lines.
pub(crate) fn costs() {
    loss();
    sequences();
    heads();
    steps();
}

fn loss() {
    let x: [[[f32; OUTPUT]; ROWS]; K] = {
        let mut numbers = Numbers::new();
        core::array::from_fn(|_| core::array::from_fn(|_| numbers.array()))
    };
    const WORKSPACE: usize = workspace_len(K, ROWS, OUTPUT);
    let mut gradient = x;
    let mut workspace = [0.0; WORKSPACE];
    let batch = Batch {
        vectors: x.as_flattened().as_flattened(),
        present: None,
        k: K,
        rows: ROWS,
        d: OUTPUT,
    };
    let options = GramLoss::paper(0);
    let memory = FLOAT * (WORKSPACE + K * ROWS * OUTPUT);
    cost!("rivergram: GRAM loss and gradient, K = 3, B = 8, D = 16", memory, (
        options: &GramLoss<f32> = &options,
        batch: &Batch<'_, f32> = &batch,
        gradient: &mut [f32] = gradient.as_flattened_mut().as_flattened_mut(),
        workspace: &mut [f32] = &mut workspace
    ) -> Result<GramReport<f32>, GramError> {
        gram_loss(One::<f32>::new(), options, batch, gradient, workspace)
    });
    type X = [[[f32; OUTPUT]; ROWS]; K];
    let mut gradient = x;
    cost!("plain: GRAM loss and gradient, K = 3, B = 8, D = 16", FLOAT * K * ROWS * OUTPUT, (x: &X = &x, gradient: &mut X = &mut gradient) -> f32 {
        plain::gram_loss(x, 0.07, gradient)
    });
}

const POSITIONS: usize = 16;
const TARGETS: usize = 8;
const VOCABULARY: usize = 64;
type Logits = [[f32; VOCABULARY]; POSITIONS];

/// Each call begins with the logits that the one before has left, which are its gradient.
fn sequences() {
    let mut numbers = Numbers::new();
    let logits: Logits = core::array::from_fn(|_| numbers.array());
    let targets: [i32; TARGETS] = core::array::from_fn(|i| (i * 7) as i32);
    macro_rules! orders {
        ($($n:literal)*) => {$(
            let orders = [($n, 1.0)];
            let config = Config::new(&orders);
            let mut x = logits;
            cost!(concat!("rivergram: EISL and gradient, T = 16, V = 64, n = ", $n), 0, (
                config: &Config<'_, f32> = &config,
                x: &mut Logits = &mut x,
                targets: &[i32; TARGETS] = &targets
            ) -> Result<Losses<f32>, EislError> {
                loss_and_gradient_f32(config, x, targets, None, &mut [0.0])
            });
            let mut x = logits;
            cost!(concat!("plain: EISL and gradient, T = 16, V = 64, n = ", $n), 0, (
                x: &mut Logits = &mut x,
                targets: &[i32; TARGETS] = &targets
            ) -> f32 {
                plain::eisl(x, targets, $n)
            });
        )*};
    }
    orders!(1 2);
}

type Features = [[f32; INPUT]; ROWS];
type Outputs = [[f32; OUTPUT]; ROWS];

fn heads() {
    const PARAMETERS: usize = HEADS[0].parameters_len();
    let mut numbers = Numbers::new();
    let mut parameters: [f32; PARAMETERS] = numbers.array();
    let x: Features = core::array::from_fn(|_| numbers.array());
    let d: Outputs = core::array::from_fn(|_| numbers.array());
    let mut weights = plain::Head {
        weights: core::array::from_fn(|_| numbers.array::<INPUT>()),
        biases: numbers.array::<OUTPUT>(),
    };
    let mut gradient = [0.0; PARAMETERS];
    let memory = FLOAT * 2 * PARAMETERS;
    cost!("rivergram: head step, 32 to 16, B = 8, SGD", memory, (
        parameters: &mut [f32] = &mut parameters,
        x: &Features = &x,
        d: &Outputs = &d,
        gradient: &mut [f32] = &mut gradient
    ) -> () {
        let (one, head) = (One::<f32>::new(), &HEADS[0]);
        let (mut y, mut cache) = ([[0.0; OUTPUT]; ROWS], [0.0; ROWS]);
        let mut d = *d;
        head.forward(one, parameters, x.as_flattened(), y.as_flattened_mut(), &mut cache);
        gradient.fill(0.0);
        head.backward(one, parameters, x.as_flattened(), y.as_flattened(), &cache, d.as_flattened_mut(), gradient, &mut []);
        Optimizer::sgd().update(one, 0.01, 1, gradient, parameters, &mut []);
    });
    cost!("plain: head step, 32 to 16, B = 8, SGD", FLOAT * PARAMETERS, (
        head: &mut plain::Head<INPUT, OUTPUT> = &mut weights,
        x: &Features = &x,
        d: &Outputs = &d
    ) -> () {
        let (y, lengths) = head.forward(x);
        head.step(x, &y, &lengths, d, 0.01);
    });
}

fn steps() {
    const WORKSPACE: usize = trainer::lean_align_workspace_len(&HEADS, ROWS, TERM);
    let mut numbers = Numbers::new();
    let x: [Features; K] =
        core::array::from_fn(|_| core::array::from_fn(|_| numbers.array::<INPUT>()));
    let options = GramLoss {
        normalise: false,
        ..GramLoss::paper(0)
    };
    let Ok(plan) = Plan::new(Settings::wsd_s(0.01_f32, 0.001), &[1 << 40]) else {
        return;
    };
    macro_rules! optimizers {
        ($($name:literal: $optimizer:expr, $state:literal;)*) => {$(
            let mut parameters: [f32; PARAMETERS] = numbers.array();
            let mut moments = [0.0; $state * PARAMETERS];
            let mut workspace = [0.0; WORKSPACE];
            let setup = Setup { heads: &HEADS, optimizer: $optimizer, clip: None };
            let storage = Storage {
                parameters: &mut parameters,
                gradient: &mut [],
                moments: &mut moments,
                workspace: &mut workspace,
            };
            let Ok(mut trainer) = Trainer::new(setup, storage, State::new(&plan)) else { return };
            let memory = FLOAT * ((1 + $state) * PARAMETERS + WORKSPACE);
            cost!(concat!("rivergram: training step, 3 heads 32 to 16, B = 8, GRAM, ", $name), memory, (
                trainer: &mut Trainer<'_, f32> = &mut trainer,
                options: &GramLoss<f32> = &options,
                x: &[Features; K] = &x
            ) -> bool {
                let inputs = x.each_ref().map(|x| x.as_flattened());
                trainer.align(One::new(), options, &inputs, None, ROWS).is_ok()
            });
        )*};
    }
    optimizers! {
        "SGD": Optimizer::sgd(), 0;
        "AdamW": Optimizer::adamw(), 2;
    }
    macro_rules! recipes {
        ($($name:literal: $recipe:ty, $state:literal;)*) => {$(
            let mut parameters: [f32; PARAMETERS] = numbers.array();
            let mut moments = [0.0; $state * PARAMETERS];
            let mut workspace = [0.0; WORKSPACE];
            let mut updates = 0_u64;
            let memory = FLOAT * ((1 + $state) * PARAMETERS + WORKSPACE);
            cost!(concat!("rivergram: training step by a recipe, 3 heads 32 to 16, B = 8, GRAM, ", $name), memory, (
                parameters: &mut [f32; PARAMETERS] = &mut parameters,
                moments: &mut [f32; $state * PARAMETERS] = &mut moments,
                workspace: &mut [f32; WORKSPACE] = &mut workspace,
                updates: &mut u64 = &mut updates,
                x: &[Features; K] = &x
            ) -> bool {
                let inputs = x.each_ref().map(|x| x.as_flattened());
                let memory = Memory { parameters, moments, workspace };
                let rate = rate_at(Settings::wsd_s(0.01_f32, 0.001), &[1 << 40], *updates);
                let update = Update { before: *updates, rate };
                *updates += 1;
                fixed::align::<$recipe, _, _>(One::new(), memory, &inputs, None, update).is_ok()
            });
        )*};
    }
    recipes! {
        "SGD": BySgd, 0;
        "AdamW": ByAdamW, 2;
    }
    let mut heads: [plain::Head<INPUT, OUTPUT>; K] = core::array::from_fn(|_| plain::Head {
        weights: core::array::from_fn(|_| numbers.array::<INPUT>()),
        biases: numbers.array::<OUTPUT>(),
    });
    cost!("plain: training step, 3 heads 32 to 16, B = 8, GRAM, SGD", FLOAT * PARAMETERS, (
        heads: &mut [plain::Head<INPUT, OUTPUT>; K] = &mut heads,
        x: &[Features; K] = &x
    ) -> f32 {
        let mut y = [[[0.0; OUTPUT]; ROWS]; K];
        let mut lengths = [[0.0; ROWS]; K];
        for k in 0..K {
            (y[k], lengths[k]) = heads[k].forward(&x[k]);
        }
        let mut gradient = y;
        let loss = plain::gram_loss(&y, 0.07, &mut gradient);
        for k in 0..K {
            heads[k].step(&x[k], &y[k], &lengths[k], &gradient[k], 0.01);
        }
        loss
    });
    transcription(&mut numbers);
}

/// A head that reads sequences.
struct Reader;

impl Transcription<f32> for Reader {
    const HEAD: Head = Head {
        input: 64,
        hidden: 0,
        output: 11,
        normalise: false,
    };
    const SHAPE: Shape = Shape {
        batch: 4,
        positions: 12,
        targets: 12,
        vocabulary: 11,
    };
    const OPTIMIZER: Optimizer<f32> = ByAdamW::OPTIMIZER;
    const LOSS: Config<'static, f32> = Config::with_clamp(&[(1, 0.8), (2, 0.2)], Some(-20.0));
}

/// The same step by constants and by a trainer.
fn transcription(numbers: &mut Numbers) {
    const PARAMETERS: usize = Reader::HEAD.parameters_len();
    const WORKSPACE: usize = fixed::transcribe_workspace_len::<Reader, f32>();
    const ROWS: usize = Reader::SHAPE.batch * Reader::SHAPE.positions;
    const LABELS: [i32; ROWS] = [3; ROWS];
    let x: [f32; ROWS * 64] = numbers.array();
    let memory = FLOAT * (3 * PARAMETERS + WORKSPACE);
    let mut parameters: [f32; PARAMETERS] = numbers.array();
    let mut moments = [0.0; 2 * PARAMETERS];
    let mut workspace = [0.0; WORKSPACE];
    let mut updates = 0_u64;
    cost!("rivergram: training step by a recipe, head 64 to 11, 4 × 12 positions, EISL n = 1, 2, AdamW", memory, (
        parameters: &mut [f32; PARAMETERS] = &mut parameters,
        moments: &mut [f32; 2 * PARAMETERS] = &mut moments,
        workspace: &mut [f32; WORKSPACE] = &mut workspace,
        updates: &mut u64 = &mut updates,
        x: &[f32; ROWS * 64] = &x
    ) -> bool {
        let memory = Memory { parameters, moments, workspace };
        let rate = rate_at(Settings::wsd_s(0.01_f32, 0.001), &[1 << 40], *updates);
        let update = Update { before: *updates, rate };
        *updates += 1;
        let labels = Labels { targets: &LABELS, target_lens: None, output_lens: None };
        fixed::transcribe::<Reader, _, _>(One::new(), memory, &x[..], labels, update).is_ok()
    });
    let mut parameters: [f32; PARAMETERS] = numbers.array();
    let mut moments = [0.0; 2 * PARAMETERS];
    let Ok(plan) = Plan::new(Settings::wsd_s(0.01_f32, 0.001), &[1 << 40]) else {
        return;
    };
    let heads = [Reader::HEAD];
    let setup = Setup {
        heads: &heads,
        optimizer: Reader::OPTIMIZER,
        clip: None,
    };
    let storage = Storage {
        parameters: &mut parameters,
        gradient: &mut [],
        moments: &mut moments,
        workspace: &mut workspace,
    };
    let Ok(mut trainer) = Trainer::new(setup, storage, State::new(&plan)) else {
        return;
    };
    cost!("rivergram: training step, head 64 to 11, 4 × 12 positions, EISL n = 1, 2, AdamW", memory, (
        trainer: &mut Trainer<'_, f32> = &mut trainer,
        x: &[f32; ROWS * 64] = &x
    ) -> bool {
        let batch = eisl::Batch::new(Reader::SHAPE, &LABELS);
        trainer.transcribe(One::new(), &Reader::LOSS, &batch, x).is_ok()
    });
}
