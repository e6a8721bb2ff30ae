//! The contrastive loss on the device under emulation, against core in double precision.

mod support;

use rivergram_core::gram::contrastive::{
    Anchor, Batch, GramLoss, GramReport, Term, ZeroRows, gram_loss, workspace_len,
};
use rivergram_core::lanes::One;
use rivergram_cuda_kernels::device::{Format, Global, Launch, Memory, Order, Thread};
use rivergram_cuda_kernels::kernels::basis::{Items, bases};
use rivergram_cuda_kernels::kernels::contrastive::{self as loss, Loss, SHARED, TensorLoss};
use rivergram_cuda_kernels::kernels::pairs::{self, Pairs, TILE, squares};
use rivergram_cuda_kernels::kernels::prepare::{Normalise, normalise};
use rivergram_cuda_kernels::kernels::tensor::{
    self, Narrow, Operands, ROWS, TRANSPOSED, narrow, narrow_transposed, row_words,
};
use rivergram_cuda_kernels::lanes::F32;
use support::{ORDERS, Random, assert_close, double, run};

struct Case {
    name: &'static str,
    x: Vec<f32>,
    present: Vec<bool>,
    k: usize,
    rows: usize,
    d: usize,
    anchor: usize,
    temperature: f32,
    smoothing: f32,
    strip: usize,
}

/// What a loss and its gradient come to.
struct Found {
    report: Vec<f32>,
    gradient: Vec<f32>,
}

impl Case {
    fn random(seed: u64, [k, rows, d]: [usize; 3]) -> Self {
        Case {
            name: "random",
            x: Random(seed).normals(k * rows * d),
            present: vec![true; k * rows],
            k,
            rows,
            d,
            anchor: 0,
            temperature: 0.25,
            smoothing: 0.125,
            strip: rows,
        }
    }

    /// The vectors of each tuple in a cone of this width.
    fn cone(seed: u64, [k, rows, d]: [usize; 3], sigma: f32) -> Self {
        let mut case = Case::random(seed, [k, rows, d]);
        let centres = Random(seed + 1).normals(rows * d);
        for plane in case.x.chunks_mut(rows * d) {
            for (x, c) in plane.iter_mut().zip(&centres) {
                *x = c + sigma * *x;
            }
        }
        Case {
            name: "cone",
            ..case
        }
    }

    fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for (seed, sizes) in [[2, 5, 8], [3, 9, 20], [4, 6, 33], [3, 70, 10], [3, 1, 4]]
            .into_iter()
            .enumerate()
        {
            cases.push(Case::random(seed as u64, sizes));
        }
        let case = Case::random(10, [3, 10, 16]);
        cases.push(Case {
            name: "strips",
            strip: 4,
            anchor: 1,
            ..case
        });
        let case = Case::cone(11, [3, 12, 40], 0.3);
        cases.push(Case {
            name: "near pairs in strips",
            strip: 5,
            anchor: 2,
            ..case
        });
        cases.push(Case::cone(12, [4, 7, 24], 0.05));
        let case = Case::random(13, [3, 8, 12]);
        cases.push(Case {
            name: "no smoothing",
            smoothing: 0.0,
            temperature: 0.0625,
            ..case
        });
        let mut case = Case::random(14, [3, 9, 15]);
        case.name = "absent and zero vectors";
        case.strip = 4;
        let d = case.d;
        // A zero anchor, an absent one, an item without one vector, and one without any.
        case.x[2 * d..3 * d].fill(0.0);
        case.present[4] = false;
        case.x[4 * d..5 * d].fill(f32::NAN);
        case.present[9 + 1] = false;
        case.present[9 + 6] = false;
        case.present[18 + 6] = false;
        cases.push(case);
        let mut case = Case::random(15, [3, 6, 9]);
        case.name = "equal vectors";
        let d = case.d;
        let item = case.x[6 * d..7 * d].to_vec();
        case.x[12 * d..13 * d].copy_from_slice(&item);
        let item = case.x[7 * d..8 * d].to_vec();
        case.x[d..2 * d].copy_from_slice(&item);
        cases.push(case);
        let mut case = Case::random(16, [2, 3, 4]);
        case.name = "nothing matches";
        case.present[..3].fill(false);
        cases.push(case);
        cases
    }

    fn run(&self, order: Order) -> Found {
        self.run_as(order, false)
    }

    /// With the products exact, or on tensor cores.
    fn run_as(&self, order: Order, on_tensor_cores: bool) -> Found {
        let (k, b, d, m) = (self.k, self.rows, self.d, self.k - 1);
        let mut memory = Memory::new();
        let zeros = |memory: &mut Memory, n: usize| memory.copy_f32(&vec![0.0; n]);
        let flags: Vec<f32> = self
            .present
            .iter()
            .map(|p| f32::from(u8::from(*p)))
            .collect();
        let prepared = Normalise {
            vectors: memory.copy_f32(&self.x),
            present: memory.copy_f32(&flags),
            unit: memory.room(k * b * d),
            there: memory.room(k * b),
            inverse_norm: memory.room(k * b),
            rows: (k * b) as u32,
            d: d as u32,
        };
        run(
            &mut memory,
            Launch::per_warp("normalise", (k * b) as u32),
            order,
            normalise,
            prepared,
        );
        let blocks = 2;
        let p = Loss {
            pairs: Pairs {
                anchors: prepared.unit.row(self.anchor, b * d),
                squares: memory.room(b),
                items: Items {
                    vectors: prepared.unit,
                    present: prepared.there,
                    q: memory.room(m * b * d),
                    r: memory.room(b * m * m),
                    volume: memory.room(b),
                    any: memory.room(b),
                    items: b as u32,
                    m: m as u32,
                    d: d as u32,
                    skip: self.anchor as u32,
                },
                residuals: memory.room(b.max(8 * blocks as usize) * d),
                rows: b as u32,
                measure: 0,
            },
            gradient: zeros(&mut memory, k * b * d),
            inverse_norm: prepared.inverse_norm,
            distance: memory.room(self.strip * b),
            y: Global::new(0, 0),
            rows: memory.room(5 * b),
            columns: memory.room(3 * b),
            sums: memory.room(5 * b),
            counts: memory.room(3),
            report: memory.room(3),
            start: 0,
            strip: 0,
            scale: F32(-1.0 / self.temperature),
            smoothing: F32(self.smoothing),
            weight: F32(1.0),
        };
        run(
            &mut memory,
            Launch::per_warp("bases", b as u32),
            order,
            bases,
            p.pairs.items,
        );
        run(
            &mut memory,
            Launch::per_warp("squares", b as u32),
            order,
            squares,
            p.pairs,
        );
        let y = memory.room(m * self.strip * b);
        let tensor = on_tensor_cores.then(|| Tensor::new(self, &mut memory, order, p));
        let step = |memory: &mut Memory,
                    kernel,
                    blocks,
                    threads,
                    shared,
                    body: fn(Thread<'_>, Loss),
                    p| {
            let launch = Launch {
                kernel,
                blocks,
                threads,
                shared,
            };
            run(memory, launch, order, body, p);
        };
        let warps = |n: usize| [(n as u32).div_ceil(4), 1];
        let wide = |n: usize| [(n as u32).div_ceil(64), 1];
        let tiles = |n: usize| (n as u32).div_ceil(TILE);
        step(
            &mut memory,
            "count",
            [1, 1],
            loss::THREADS,
            SHARED,
            loss::count,
            p,
        );
        let strips = (0..b).step_by(self.strip).map(|start| Loss {
            start: start as u32,
            strip: self.strip.min(b - start) as u32,
            ..p
        });
        for p in strips.clone() {
            match &tensor {
                Some(tensor) => tensor.scores(&mut memory, order, p),
                None => step(
                    &mut memory,
                    "scores",
                    [blocks, 1],
                    loss::THREADS,
                    pairs::SHARED,
                    loss::scores,
                    p,
                ),
            }
            step(&mut memory, "row_sums", warps(b), 128, 0, loss::row_sums, p);
            step(
                &mut memory,
                "column_sums",
                wide(b),
                64,
                0,
                loss::column_sums,
                p,
            );
        }
        step(
            &mut memory,
            "losses",
            [1, 1],
            loss::THREADS,
            SHARED,
            loss::losses,
            p,
        );
        for p in strips {
            let p = Loss { y, ..p };
            let rows = p.strip as usize;
            match &tensor {
                Some(tensor) => tensor.scores(&mut memory, order, p),
                None => step(
                    &mut memory,
                    "scores",
                    [blocks, 1],
                    loss::THREADS,
                    pairs::SHARED,
                    loss::scores,
                    p,
                ),
            }
            step(
                &mut memory,
                "column_weights",
                wide(b),
                64,
                0,
                loss::column_weights,
                p,
            );
            step(
                &mut memory,
                "row_weights",
                warps(rows),
                128,
                0,
                loss::row_weights,
                p,
            );
            step(
                &mut memory,
                "near_items",
                warps(b),
                128,
                0,
                loss::near_items,
                p,
            );
            if let Some(tensor) = &tensor {
                tensor.products(&mut memory, order, p);
                continue;
            }
            let grid = [tiles(d), tiles(rows)];
            step(
                &mut memory,
                "anchors_product",
                grid,
                loss::THREADS,
                pairs::SHARED,
                loss::anchors_product,
                p,
            );
            let grid = [tiles(d) * tiles(b), m as u32];
            step(
                &mut memory,
                "items_product",
                grid,
                loss::THREADS,
                pairs::SHARED,
                loss::items_product,
                p,
            );
        }
        step(&mut memory, "diagonal", warps(b), 128, 0, loss::diagonal, p);
        step(
            &mut memory,
            "items_gradient",
            warps(b),
            128,
            0,
            loss::items_gradient,
            p,
        );
        step(
            &mut memory,
            "anchors_gradient",
            warps(b),
            128,
            0,
            loss::anchors_gradient,
            p,
        );
        step(
            &mut memory,
            "report",
            [1, 1],
            loss::THREADS,
            SHARED,
            loss::report,
            p,
        );
        Found {
            report: memory.numbers_f32(p.report),
            gradient: memory.numbers_f32(p.gradient),
        }
    }

    fn oracle(&self) -> (GramReport<f64>, Vec<f64>) {
        let config = GramLoss {
            term: Term::Volume(Anchor::One(self.anchor)),
            pairs: 0.0,
            temperature: f64::from(self.temperature),
            label_smoothing: f64::from(self.smoothing),
            normalise: true,
            zero_rows: ZeroRows::Missing,
        };
        let x = double(&self.x);
        let batch = Batch {
            vectors: &x,
            present: Some(&self.present),
            k: self.k,
            rows: self.rows,
            d: self.d,
        };
        let mut gradient = vec![0.0; x.len()];
        let mut workspace = vec![0.0; workspace_len(self.k, self.rows, self.d)];
        let isa = One::<f64>::new();
        let report = gram_loss(isa, &config, &batch, &mut gradient, &mut workspace);
        (report.expect("valid inputs"), gradient)
    }
}

/// The operands of tensor cores.
struct Tensor {
    p: TensorLoss,
    narrow_y: Narrow,
    turn_y: Narrow,
}

impl Tensor {
    /// A and Q, both ways.
    fn new(case: &Case, memory: &mut Memory, order: Order, loss: Loss) -> Self {
        let (b, d, m) = (case.rows as u32, case.d as u32, case.k as u32 - 1);
        let (words, batch_words) = (row_words(Format::Tf32, d), row_words(Format::Tf32, b));
        let mut copy = |numbers, rows, d, row_words| Narrow {
            numbers,
            words: memory.room((rows * row_words) as usize),
            scales: memory.room(rows as usize),
            rows,
            d,
            row_words,
            format: Format::Tf32 as u32,
        };
        let anchors = copy(loss.pairs.anchors, b, d, words);
        let q = copy(loss.pairs.items.q, m * b, d, words);
        let anchors_t = Narrow {
            rows: b,
            ..copy(loss.pairs.anchors, d, d, batch_words)
        };
        let q_t = Narrow {
            rows: b,
            ..copy(loss.pairs.items.q, m * d, d, batch_words)
        };
        let strip = case.strip as u32;
        let y = Global::new(0, 0);
        let narrow_y = copy(y, m * strip, b, batch_words);
        let turn_y = copy(y, m * b, b, row_words(Format::Tf32, strip));
        for p in [anchors, q] {
            run(memory, Launch::per_warp("narrow", p.rows), order, narrow, p);
        }
        for (p, matrices) in [(anchors_t, 1), (q_t, m)] {
            turn(memory, order, p, matrices);
        }
        let operands = Operands::of(anchors, q, true);
        let p = TensorLoss {
            loss,
            operands,
            anchors_transposed: anchors_t.words,
            q_transposed: q_t.words,
            y: narrow_y.words,
            y_transposed: turn_y.words,
            batch_words,
            strip_words: turn_y.row_words,
        };
        Tensor {
            p,
            narrow_y,
            turn_y,
        }
    }

    fn scores(&self, memory: &mut Memory, order: Order, loss: Loss) {
        let p = TensorLoss { loss, ..self.p };
        launch(memory, order, "scores", [2, 1], loss::scores_tf32, p);
    }

    fn products(&self, memory: &mut Memory, order: Order, loss: Loss) {
        let items = loss.pairs.items;
        let (b, d, m) = (items.items, items.d, items.m);
        let numbers = loss.y.part(0, (m * loss.strip * b) as usize);
        let straight = Narrow {
            numbers,
            rows: m * loss.strip,
            ..self.narrow_y
        };
        run(
            memory,
            Launch::per_warp("narrow", straight.rows),
            order,
            narrow,
            straight,
        );
        let strip_words = row_words(Format::Tf32, loss.strip);
        let turned = Narrow {
            numbers,
            rows: loss.strip,
            row_words: strip_words,
            ..self.turn_y
        };
        turn(memory, order, turned, m);
        let p = TensorLoss {
            loss,
            strip_words,
            ..self.p
        };
        let grid = [d.div_ceil(128), loss.strip.div_ceil(ROWS)];
        launch(
            memory,
            order,
            "anchors_product",
            grid,
            loss::anchors_product_tf32,
            p,
        );
        let grid = [d.div_ceil(128) * b.div_ceil(ROWS), m];
        launch(
            memory,
            order,
            "items_product",
            grid,
            loss::items_product_tf32,
            p,
        );
    }
}

fn launch(
    memory: &mut Memory,
    order: Order,
    kernel: &'static str,
    blocks: [u32; 2],
    body: fn(Thread<'_>, TensorLoss),
    p: TensorLoss,
) {
    let launch = Launch {
        kernel,
        blocks,
        threads: tensor::THREADS,
        shared: tensor::SHARED,
    };
    run(memory, launch, order, body, p);
}

/// Columns as rows, of matrices that follow each other.
fn turn(memory: &mut Memory, order: Order, p: Narrow, matrices: u32) {
    let [shared, threads] = TRANSPOSED;
    let launch = Launch {
        kernel: "narrow_transposed",
        blocks: [p.row_words.div_ceil(32) * p.d.div_ceil(32), matrices],
        threads,
        shared,
    };
    run(memory, launch, order, narrow_transposed, p);
}

/// The largest error of a volume of unit vectors in TF32.
const TF32: f64 = 2e-3;

#[test]
fn losses_on_tensor_cores_are_those_of_nearby_volumes() {
    let mut cases = Case::all();
    cases.push(Case::random(20, [3, 150, 140]));
    cases.push(Case::cone(21, [4, 70, 64], 0.5));
    for mut case in cases {
        if case.strip < case.rows || case.rows > 64 {
            case.strip = if case.rows > 64 { 64 } else { 16 };
        }
        let (want, gradient) = case.oracle();
        let [found, other] = ORDERS.map(|order| case.run_as(order, true));
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let name = case.name;
        assert_eq!(bits(&found.gradient), bits(&other.gradient), "{name}");
        assert_eq!(bits(&found.report), bits(&other.report), "{name}");
        // Each logit moves by at most so much, so half a log-sum less half a target does too.
        let cap = TF32 / f64::from(case.temperature);
        assert_close(name, &found.report[..2], &want.directions, |_| 1.0, cap);
        let slope = want.temperature_gradient;
        assert_close(
            name,
            &found.report[2..],
            &[slope],
            |_| slope.abs().max(1.0),
            8.0 * cap,
        );
        let norm = gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
        // Measured: at most 1.3e-4 of the norm.
        assert_close(name, &found.gradient, &gradient, |_| norm.max(1e-30), 5e-4);
    }
}

#[test]
fn losses_and_gradients_are_those_of_core() {
    for case in Case::all() {
        let (want, gradient) = case.oracle();
        let [found, other] = ORDERS.map(|order| case.run(order));
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(
            bits(&found.gradient),
            bits(&other.gradient),
            "{}",
            case.name
        );
        assert_eq!(bits(&found.report), bits(&other.report), "{}", case.name);
        let name = case.name;
        let losses = &found.report[..2];
        assert_close(
            name,
            losses,
            &want.directions,
            |i| want.directions[i].max(1.0),
            1e-6,
        );
        let slope = want.temperature_gradient;
        assert_close(
            name,
            &found.report[2..],
            &[slope],
            |_| slope.abs().max(1.0),
            1e-5,
        );
        let norm = gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert_close(name, &found.gradient, &gradient, |_| norm.max(1e-30), 1e-5);
    }
}

#[test]
fn strips_of_any_height_give_the_same_loss() {
    let case = Case::cone(30, [3, 11, 20], 0.2);
    let whole = case.run(Order::Forward);
    for strip in [1, 4, 6] {
        let case = Case {
            strip,
            ..Case::cone(30, [3, 11, 20], 0.2)
        };
        let found = case.run(Order::Forward);
        assert_close(
            "report",
            &found.report,
            &double(&whole.report),
            |_| 1.0,
            1e-6,
        );
        let want = double(&whole.gradient);
        let norm = want.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert_close("gradient", &found.gradient, &want, |_| norm, 1e-6);
    }
}
