//! The C functions give core's numbers, bit for bit, and each number that stands for an option means that option.

use std::ptr::{null, null_mut};

use rivergram_c as c;
use rivergram_core::eisl::{
    self, Axis, Batch, Config, Input, Objective, Padding, Parts, Select, Shape,
};
use rivergram_core::gram::contrastive::{self, Anchor, GramLoss, Term, ZeroRows, gram_loss};
use rivergram_core::gram::tuple;
use rivergram_core::head::Head;
use rivergram_core::lanes::One;
use rivergram_core::optim::Optimizer;
use rivergram_core::optim::average::{Ema, Lawa, RunningMean, Start};
use rivergram_core::replay::Reservoir;
use rivergram_core::schedule::{
    self as schedule, After, Decay, DecayEdge, Plan, Settings, Stable, State, WarmupEdge,
    WarmupShape,
};
use rivergram_core::trainer::{Average, Setup, Storage, Trainer};
use rivergram_tests::random::Random;

const OK: c::rivergram_status = c::rivergram_status::Ok;

fn numbers(random: &mut Random, len: usize) -> Vec<f32> {
    (0..len).map(|_| random.normal() as f32).collect()
}

#[test]
fn volumes_are_those_of_core() {
    let random = &mut Random::new(1);
    for (k, d) in [(1, 4), (2, 3), (3, 64), (5, 9), (8, 20), (9, 12), (4, 2)] {
        let x = numbers(random, k * d);
        let mut workspace = vec![0.0; c::rivergram_volume_workspace_len(k, d)];
        let mut want = vec![0.0; k * d];
        let volume =
            tuple::volume_gradient_on(One::new(), &x, k, d, &mut want, &mut workspace).unwrap();
        let (mut v, mut both, mut g) = (0.0, 0.0, vec![0.0; k * d]);
        let (w, len) = (workspace.as_mut_ptr(), workspace.len());
        // SAFETY: each pointer is that of a vector or a variable, with its length.
        unsafe {
            let status = c::rivergram_volume(x.as_ptr(), x.len(), k, d, w, len, &mut v, null_mut());
            assert_eq!(status, OK);
            let (gradient, gradient_len) = (g.as_mut_ptr(), g.len());
            let status = c::rivergram_volume_gradient(
                x.as_ptr(),
                x.len(),
                k,
                d,
                gradient,
                gradient_len,
                w,
                len,
                &mut both,
                null_mut(),
            );
            assert_eq!(status, OK);
        }
        assert_eq!((both, &g), (volume, &want), "k = {k}, d = {d}");
        assert_eq!(
            v,
            tuple::volume_on(One::new(), &x, k, d, &mut workspace).unwrap()
        );
    }
}

#[test]
fn volumes_of_fixed_numbers_of_vectors_are_those_of_any() {
    let volumes = [
        c::rivergram_volume2,
        c::rivergram_volume3,
        c::rivergram_volume4,
    ];
    let gradients = [
        c::rivergram_volume_gradient2,
        c::rivergram_volume_gradient3,
        c::rivergram_volume_gradient4,
    ];
    let random = &mut Random::new(5);
    for ((k, volume), gradient) in (2..).zip(volumes).zip(gradients) {
        for d in [1, 3, 4, 64, 65] {
            let x = numbers(random, k * d);
            let mut want = vec![0.0; k * d];
            let all = tuple::volume_gradient_on(One::new(), &x, k, d, &mut want, &mut []).unwrap();
            let (mut v, mut both, mut g) = (-1.0, -1.0, vec![-1.0; k * d]);
            let (pointer, len) = (g.as_mut_ptr(), g.len());
            // SAFETY: each pointer is that of a vector or a variable, with its length.
            let statuses = unsafe {
                [
                    volume(x.as_ptr(), x.len(), d, &mut v, null_mut()),
                    gradient(x.as_ptr(), x.len(), d, pointer, len, &mut both, null_mut()),
                ]
            };
            assert_eq!(statuses, [OK; 2]);
            assert_eq!((v, both, &g), (all, all, &want), "k = {k}, d = {d}");
        }
    }
}

#[test]
fn gram_losses_are_those_of_core() {
    let random = &mut Random::new(2);
    let (k, rows, d) = (3, 4, 5);
    let mut x = numbers(random, k * rows * d);
    x[..d].fill(0.0);
    let terms = [
        (c::rivergram_term::Volume, 1, Term::Volume(Anchor::One(1))),
        (
            c::rivergram_term::Volume,
            c::RIVERGRAM_NONE,
            Term::Volume(Anchor::Each),
        ),
        (c::rivergram_term::Cosine, 0, Term::Cosine(Anchor::One(0))),
        (
            c::rivergram_term::Cosine,
            c::RIVERGRAM_NONE,
            Term::Cosine(Anchor::Each),
        ),
    ];
    let zeros = [
        (c::rivergram_zero_rows::Missing, ZeroRows::Missing),
        (c::rivergram_zero_rows::Zero, ZeroRows::Zero),
    ];
    let present = [1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1];
    let mut workspace = vec![0.0; contrastive::workspace_len(k, rows, d)];
    for (term, anchor, core_term) in terms {
        for (zero_rows, core_zeros) in zeros {
            let loss = GramLoss {
                term: core_term,
                pairs: 0.25,
                zero_rows: core_zeros,
                ..GramLoss::paper(0)
            };
            let options = c::rivergram_gram_options {
                term: term as u32,
                anchor,
                pairs: 0.25,
                temperature: loss.temperature,
                label_smoothing: loss.label_smoothing,
                normalise: 1,
                zero_rows: zero_rows as u32,
            };
            let flags = present.map(|byte| byte == 1);
            let batch = contrastive::Batch {
                vectors: &x,
                present: Some(&flags),
                k,
                rows,
                d,
            };
            let (mut want, mut g) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let found = gram_loss(One::new(), &loss, &batch, &mut want, &mut workspace).unwrap();
            let mut report = c::rivergram_gram_report::default();
            // SAFETY: each pointer is that of a vector or a variable, with its length.
            let status = unsafe {
                c::rivergram_gram_loss(
                    &options,
                    x.as_ptr(),
                    x.len(),
                    present.as_ptr(),
                    present.len(),
                    k,
                    rows,
                    d,
                    g.as_mut_ptr(),
                    g.len(),
                    workspace.as_mut_ptr(),
                    workspace.len(),
                    &mut report,
                    null_mut(),
                )
            };
            assert_eq!((status, report), (OK, found.into()), "{loss:?}");
            assert_eq!(g, want, "{loss:?}");
        }
    }
}

/// Options of the sequence loss in both types, each differing from the first in one place.
fn sequence_options<'a>(
    orders: &'a [(usize, f32)],
    of_c: &[c::rivergram_order],
) -> Vec<(Config<'a, f32>, c::rivergram_eisl_options)> {
    let core = Config::new(orders);
    // SAFETY: every field is a number or a pointer, which may be 0.
    let mut first: c::rivergram_eisl_options = unsafe { std::mem::zeroed() };
    // SAFETY: each pointer is that of a slice or a variable, with its length.
    let status = unsafe {
        c::rivergram_eisl_options_paper(of_c.as_ptr(), of_c.len(), &mut first, null_mut())
    };
    assert_eq!(status, OK);
    let mut all = vec![(core, first)];
    let mut add = |change: &dyn Fn(&mut Config<'a, f32>, &mut c::rivergram_eisl_options)| {
        let (mut config, mut options) = (core, first);
        change(&mut config, &mut options);
        all.push((config, options));
    };
    for (value, number) in [
        (Select::Softmax, c::rivergram_select::Softmax),
        (Select::Detached, c::rivergram_select::Detached),
        (Select::LogSumExp, c::rivergram_select::LogSumExp),
        (Select::Mean, c::rivergram_select::Mean),
        (Select::Max, c::rivergram_select::Max),
    ] {
        add(&|config, options| (config.select, options.select) = (value, number as u32));
    }
    for (value, number) in [
        (Padding::Zero, c::rivergram_padding::Zero),
        (Padding::Mask, c::rivergram_padding::Mask),
        (Padding::None, c::rivergram_padding::None),
    ] {
        add(&|config, options| {
            (config.padding, options.padding) = (value, number as u32);
            (config.pad_id, options.has_pad_id, options.pad_id) = (Some(1), 1, 1);
        });
    }
    add(&|config, options| {
        (config.axis, options.axis) = (Axis::Targets, c::rivergram_axis::Targets as u32);
        (config.temperature, options.temperature) = (0.5, 0.5);
    });
    add(&|config, options| {
        config.objective = Objective::BagOfNgrams;
        options.objective = c::rivergram_objective::BagOfNgrams as u32;
        (config.clamp, options.clamp) = (None, f32::NEG_INFINITY);
    });
    add(&|config, options| {
        (config.input, options.input) = (Input::LogProbs, c::rivergram_input::LogProbs as u32);
    });
    add(&|config, options| {
        (config.from_length, config.orders) = (orders, &[]);
        (options.from_length, options.from_length_len) = (options.orders, options.orders_len);
        (options.orders, options.orders_len) = (null(), 0);
        (config.ngram_factor, options.ngram_factor) = (0.5, 0.5);
        (config.ce_factor, options.ce_factor) = (2.0, 2.0);
        (config.label_smoothing, options.label_smoothing) = (0.1, 0.1);
    });
    all
}

#[test]
fn sequence_losses_are_those_of_core() {
    let random = &mut Random::new(3);
    let orders = [(1, 0.75), (2, 0.25)];
    let of_c = orders.map(|(n, weight)| c::rivergram_order { n, weight });
    let shape = Shape {
        batch: 2,
        positions: 5,
        targets: 3,
        vocabulary: 4,
    };
    let labels = [0, 2, 1, 3, 1, 1];
    let x = numbers(random, 2 * 5 * 4);
    let output_lens = [5, 3];
    for (config, options) in sequence_options(&orders, &of_c) {
        let batch = Batch {
            output_lens: Some(&output_lens),
            ..Batch::new(shape, &labels)
        };
        let (mut want, mut got) = (x.clone(), x.clone());
        let (mut per_order, mut of_c_per_order) = ([0.0; 2], [0.0; 2]);
        let mut workspace = vec![0.0; c::rivergram_eisl_workspace_len(5, 3, 2)];
        let parts = Parts {
            per_order: Some(&mut per_order),
            ..Parts::none()
        };
        let losses = eisl::loss_and_gradient_in_place(
            One::new(),
            &config,
            &batch,
            &mut want,
            parts,
            &mut workspace,
        )
        .unwrap();
        let batch = c::rivergram_eisl_batch {
            batch: 2,
            positions: 5,
            targets: 3,
            vocabulary: 4,
            labels: labels.as_ptr(),
            labels_len: labels.len(),
            target_lens: null(),
            output_lens: output_lens.as_ptr(),
            noise: null(),
            noise_len: 0,
        };
        let mut found = c::rivergram_eisl_losses::default();
        // SAFETY: each pointer is that of a vector, an array or a variable, with its length.
        let status = unsafe {
            c::rivergram_eisl_loss_and_gradient(
                &options,
                &batch,
                got.as_mut_ptr(),
                got.len(),
                of_c_per_order.as_mut_ptr(),
                2,
                workspace.as_mut_ptr(),
                workspace.len(),
                &mut found,
                null_mut(),
            )
        };
        assert_eq!((status, found), (OK, losses.into()), "{config:?}");
        assert_eq!((got, of_c_per_order), (want, per_order), "{config:?}");
    }
}

/// A state for C with these settings.
fn wsds(settings: &c::rivergram_wsds_settings, budgets: &[u64]) -> c::rivergram_wsds {
    let mut state = c::rivergram_wsds {
        opaque: [0; c::RIVERGRAM_WSDS_WORDS],
    };
    // SAFETY: each pointer is that of a slice or a variable, with its length.
    let status = unsafe {
        c::rivergram_wsds_init(
            &mut state,
            size_of_val(&state),
            settings,
            budgets.as_ptr(),
            budgets.len(),
            null_mut(),
        )
    };
    assert_eq!(status, OK, "{settings:?}");
    state
}

fn named(schedule: c::rivergram_schedule) -> c::rivergram_wsds_settings {
    // SAFETY: every field is a number, which may be 0.
    let mut settings = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is that of a variable.
    let status = unsafe {
        c::rivergram_wsds_settings_named(schedule as u32, 1.0, 0.125, &mut settings, null_mut())
    };
    assert_eq!(status, OK);
    settings
}

#[test]
fn rates_are_those_of_core() {
    let base = Settings::<f32>::wsd_s(1.0, 0.125);
    let of_c = named(c::rivergram_schedule::WsdS);
    let mut cases = vec![
        (base, of_c),
        (
            Settings::cosine(1.0, 0.125),
            named(c::rivergram_schedule::Cosine),
        ),
        (
            Settings::linear(1.0, 0.125),
            named(c::rivergram_schedule::Linear),
        ),
        (
            Settings::constant(1.0),
            named(c::rivergram_schedule::Constant),
        ),
        (
            Settings::inverse_sqrt(1.0, 0.125),
            named(c::rivergram_schedule::InverseSqrt),
        ),
    ];
    let mut add = |change: &dyn Fn(&mut Settings<f32>, &mut c::rivergram_wsds_settings)| {
        let (mut settings, mut options) = (base, of_c);
        change(&mut settings, &mut options);
        cases.push((settings, options));
    };
    use c::rivergram_shape as shape;
    use schedule::Shape;
    for (value, number) in [
        (Shape::Linear, shape::Linear),
        (Shape::Cosine, shape::Cosine),
        (Shape::OneMinusSqrt, shape::OneMinusSqrt),
        (Shape::OneMinusSquare, shape::OneMinusSquare),
        (Shape::Polynomial { power: 1.5 }, shape::Polynomial),
        (Shape::Geometric, shape::Geometric),
        (Shape::HalfLife { half_lives: 1.5 }, shape::HalfLife),
        (Shape::Exponential, shape::Exponential),
        (Shape::InverseProportional, shape::InverseProportional),
        (Shape::InverseSqrt, shape::InverseSqrt),
    ] {
        add(&|settings, options| {
            (settings.shape, options.shape) = (value, number as u32);
            options.shape_parameter = 1.5;
        });
    }
    for (value, number, amount) in [
        (
            Decay::OfTotal(300_000),
            c::rivergram_decay::OfTotal,
            300_000,
        ),
        (
            Decay::OfSegment(300_000),
            c::rivergram_decay::OfSegment,
            300_000,
        ),
        (Decay::Steps(7), c::rivergram_decay::Steps, 7),
        (Decay::Whole, c::rivergram_decay::Whole, 0),
    ] {
        add(&|settings, options| {
            (settings.decay, options.decay) = (value, number as u32);
            options.decay_amount = amount;
        });
    }
    for (value, number) in [
        (DecayEdge::ReachAfter, c::rivergram_decay_edge::ReachAfter),
        (DecayEdge::ReachLast, c::rivergram_decay_edge::ReachLast),
        (DecayEdge::NPlusOne, c::rivergram_decay_edge::NPlusOne),
        (DecayEdge::Both, c::rivergram_decay_edge::Both),
    ] {
        add(&|settings, options| {
            (settings.decay_edge, options.decay_edge) = (value, number as u32);
        });
    }
    for (value, number) in [
        (WarmupEdge::Zero, c::rivergram_warmup_edge::Zero),
        (WarmupEdge::One, c::rivergram_warmup_edge::One),
        (WarmupEdge::NPlusOne, c::rivergram_warmup_edge::NPlusOne),
        (WarmupEdge::Both, c::rivergram_warmup_edge::Both),
    ] {
        add(&|settings, options| {
            (settings.warmup_edge, options.warmup_edge) = (value, number as u32);
            (settings.warmup, options.warmup) = (5, 5);
        });
    }
    for (value, number) in [
        (WarmupShape::Linear, c::rivergram_warmup_shape::Linear),
        (WarmupShape::Cosine, c::rivergram_warmup_shape::Cosine),
        (
            WarmupShape::OneMinusSqrt,
            c::rivergram_warmup_shape::OneMinusSqrt,
        ),
    ] {
        add(&|settings, options| {
            (settings.warmup_shape, options.warmup_shape) = (value, number as u32);
            (settings.warmup, options.warmup) = (5, 5);
            (settings.rewarmup, options.rewarmup) = (3, 3);
            (settings.init, options.init) = (0.25, 0.25);
        });
    }
    add(&|settings, options| {
        let (start, timescale) = (4, 9);
        settings.stable = Stable::InverseSqrtAfter { start, timescale };
        options.stable = c::rivergram_stable::InverseSqrtAfter as u32;
        (options.stable_start, options.stable_timescale) = (start, timescale);
    });
    add(&|settings, options| {
        (settings.after, options.after) = (After::Stable, c::rivergram_after::Stable as u32);
    });

    let budgets = [20, 45];
    for (settings, options) in cases {
        let plan = Plan::new(settings, &budgets).unwrap();
        let (mut state, mut of_c) = (State::new(&plan), wsds(&options, &budgets));
        for t in 0..60 {
            let mut ahead = 0.0;
            let mut rate = 0.0;
            // SAFETY: each pointer is that of a variable.
            unsafe {
                let status = c::rivergram_wsds_rate_at(&of_c, t + 2, &mut ahead, null_mut());
                assert_eq!((status, ahead), (OK, state.lr_at(t + 2)), "{settings:?}");
                let status = c::rivergram_wsds_advance(&mut of_c, 1, &mut rate, null_mut());
                assert_eq!((status, rate), (OK, state.advance()), "{settings:?}, {t}");
            }
        }
        let mut saved = [0; State::<f32>::SAVED_LEN];
        state.save(&mut saved).unwrap();
        let mut bytes = [0; c::RIVERGRAM_WSDS_SAVED_LEN];
        // SAFETY: each pointer is that of an array or a variable, with its length.
        let status =
            unsafe { c::rivergram_wsds_save(&of_c, bytes.as_mut_ptr(), bytes.len(), null_mut()) };
        assert_eq!((status, bytes), (OK, saved), "{settings:?}");
    }
}

#[test]
fn training_steps_are_those_of_core() {
    let random = &mut Random::new(4);
    let rows = 4;
    let heads = [Head {
        input: 5,
        hidden: 3,
        output: 2,
        normalise: true,
    }; 2];
    let of_c = heads.map(|head| c::rivergram_head {
        input: head.input,
        hidden: head.hidden,
        output: head.output,
        normalise: 1,
    });
    let x = [(); 2].map(|()| numbers(random, rows * 5));
    // Batches of ten units, of which a step counts one.
    const UNITS: u64 = 10;
    let settings = Settings {
        warmup: 25,
        ..Settings::constant(0.01)
    };
    let plan = Plan::new(settings, &[]).unwrap();
    let loss = GramLoss::paper(0);
    for (kind, optimizer) in [
        (c::rivergram_optimizer_kind::Sgd, Optimizer::sgd()),
        (c::rivergram_optimizer_kind::AdamW, Optimizer::adamw()),
        (c::rivergram_optimizer_kind::Lion, Optimizer::lion()),
    ] {
        let setup = Setup {
            heads: &heads,
            optimizer,
            clip: Some(0.5),
        };
        let start = numbers(random, setup.parameters_len());
        let mut workspace = vec![0.0; setup.align_workspace_len(rows)];
        let (mut parameters, mut gradient) = (start.clone(), vec![0.0; start.len()]);
        let mut moments = vec![0.0; setup.moments_len()];
        let storage = Storage {
            parameters: &mut parameters,
            gradient: &mut gradient,
            moments: &mut moments,
            workspace: &mut workspace,
        };
        let mut trainer = Trainer::new(setup, storage, State::new(&plan)).unwrap();
        let inputs = x.each_ref().map(Vec::as_slice);
        for _ in 0..3 {
            trainer
                .align(One::new(), &loss, &inputs, None, rows)
                .unwrap();
            trainer.schedule_mut().advance_by(UNITS - 1);
        }
        let mut saved = vec![0; setup.saved_len()];
        trainer.save(&mut saved).unwrap();

        let (mut parameters, mut gradient) = (start.clone(), vec![0.0; start.len()]);
        let mut moments = vec![0.0; setup.moments_len()];
        let mut workspace = vec![0.0; setup.align_workspace_len(rows)];
        let settings = c::rivergram_wsds_settings {
            peak: 0.01,
            warmup: 25,
            ..named(c::rivergram_schedule::Constant)
        };
        let mut schedule = wsds(&settings, &[]);
        let mut bytes = vec![0; setup.saved_len()];
        let (pointers, lens) = (inputs.map(<[f32]>::as_ptr), inputs.map(<[f32]>::len));
        // SAFETY: structures of numbers; each pointer is that of a vector, an array or a variable, with its length.
        unsafe {
            let mut optimizer = std::mem::zeroed();
            let status = c::rivergram_optimizer_named(kind as u32, &mut optimizer, null_mut());
            assert_eq!(status, OK);
            let mut trainer = c::rivergram_trainer {
                heads: of_c.as_ptr(),
                heads_len: of_c.len(),
                optimizer,
                clip: 0.5,
                parameters: parameters.as_mut_ptr(),
                parameters_len: parameters.len(),
                gradient: gradient.as_mut_ptr(),
                gradient_len: gradient.len(),
                moments: moments.as_mut_ptr(),
                moments_len: moments.len(),
                workspace: workspace.as_mut_ptr(),
                workspace_len: workspace.len(),
                schedule: &mut schedule,
                updates: 0,
            };
            let mut options = std::mem::zeroed();
            let status = c::rivergram_gram_options_paper(0, &mut options, null_mut());
            assert_eq!(status, OK);
            for _ in 0..3 {
                let mut step = c::rivergram_step::default();
                let status = c::rivergram_trainer_align(
                    &mut trainer,
                    &options,
                    pointers.as_ptr(),
                    lens.as_ptr(),
                    2,
                    null(),
                    0,
                    rows,
                    &mut step,
                    null_mut(),
                    null_mut(),
                );
                assert_eq!(status, OK);
                let others = UNITS - 1;
                let status =
                    c::rivergram_wsds_advance(&mut schedule, others, null_mut(), null_mut());
                assert_eq!(status, OK);
            }
            let (to, len) = (bytes.as_mut_ptr(), bytes.len());
            let status = c::rivergram_trainer_save(&trainer, to, len, null_mut());
            assert_eq!((status, trainer.updates), (OK, 3));
        }
        assert!(bytes == saved, "{optimizer:?}");
        assert_ne!(parameters, start);
    }
}

const OVERLAP: c::rivergram_status = c::rivergram_status::Overlap;

/// A state of two budgets that lie at a place.
fn wsds_at(place: *mut u64) -> c::rivergram_wsds {
    let settings = named(c::rivergram_schedule::WsdS);
    let mut state = wsds(&settings, &[]);
    let size = size_of_val(&state);
    // SAFETY: the caller's memory has more than two numbers, and the other pointers are those of variables.
    let status = unsafe {
        place.write(50);
        place.add(1).write(100);
        c::rivergram_wsds_init(&mut state, size, &settings, place, 2, null_mut())
    };
    assert_eq!(status, OK);
    state
}

#[test]
fn no_schedule_writes_over_the_budgets_that_it_holds_on_to() {
    let mut memory = [0_u64; 64];
    let place = memory.as_mut_ptr();
    let mut state = wsds_at(place);
    let none = null_mut;
    // SAFETY: each pointer is that of an array or a variable, with no more than its length; that what is written overlaps
    // with the budgets is looked for before anything is.
    let found = unsafe {
        [
            c::rivergram_wsds_advance(&mut state, 1, place.cast(), none()),
            c::rivergram_wsds_advance(&mut state, 1, null_mut(), place.add(1).cast()),
            c::rivergram_wsds_extend(&mut state, 1, place.cast(), none()),
            c::rivergram_wsds_rate_at(&state, 0, place.cast(), none()),
            c::rivergram_wsds_position(&state, place.cast(), none()),
            c::rivergram_wsds_save(&state, place.cast(), c::RIVERGRAM_WSDS_SAVED_LEN, none()),
        ]
    };
    assert_eq!(found, [OVERLAP; 6]);
    // SAFETY: as above; what follows the budgets is free.
    let found = unsafe {
        [
            c::rivergram_wsds_advance(&mut state, 1, place.add(2).cast(), none()),
            c::rivergram_wsds_save(&state, place.add(2).cast(), 128, none()),
        ]
    };
    assert_eq!(found, [OK; 2]);
    assert_eq!(memory[..2], [50, 100]);
}

/// Two linear heads of 2 by 2.
const OF_TWO: [c::rivergram_head; 2] = [c::rivergram_head {
    input: 2,
    hidden: 0,
    output: 2,
    normalise: 1,
}; 2];

/// SGD over these heads without memory, which is for the caller to fill in.
fn trainer_of(
    heads: &[c::rivergram_head],
    schedule: &mut c::rivergram_wsds,
) -> c::rivergram_trainer {
    // SAFETY: every field is a number, which may be 0, and the pointer is that of a variable.
    let optimizer = unsafe {
        let mut optimizer = std::mem::zeroed();
        let sgd = c::rivergram_optimizer_kind::Sgd as u32;
        let status = c::rivergram_optimizer_named(sgd, &mut optimizer, null_mut());
        assert_eq!(status, OK);
        optimizer
    };
    c::rivergram_trainer {
        heads: heads.as_ptr(),
        heads_len: heads.len(),
        optimizer,
        clip: f32::INFINITY,
        parameters: null_mut(),
        parameters_len: 0,
        gradient: null_mut(),
        gradient_len: 0,
        moments: null_mut(),
        moments_len: 0,
        workspace: null_mut(),
        workspace_len: 0,
        schedule,
        updates: 0,
    }
}

fn paper() -> c::rivergram_gram_options {
    // SAFETY: every field is a number, which may be 0, and the pointer is that of a variable.
    unsafe {
        let mut options = std::mem::zeroed();
        let status = c::rivergram_gram_options_paper(0, &mut options, null_mut());
        assert_eq!(status, OK);
        options
    }
}

#[test]
fn no_trainer_writes_over_the_budgets_that_its_schedule_holds_on_to() {
    let mut memory = [0_u64; 256];
    let place = memory.as_mut_ptr();
    let over: *mut f32 = place.cast();
    let mut schedule = wsds_at(place);
    let (mut parameters, mut gradient) = ([0.5_f32; 12], [0.0_f32; 12]);
    let (mut workspace, mut bytes) = ([0.0_f32; 256], [0_u8; 512]);
    let bytes = bytes.as_mut_ptr();
    let good = c::rivergram_trainer {
        parameters: parameters.as_mut_ptr(),
        parameters_len: 12,
        gradient: gradient.as_mut_ptr(),
        gradient_len: 12,
        workspace: workspace.as_mut_ptr(),
        workspace_len: 256,
        ..trainer_of(&OF_TWO, &mut schedule)
    };
    let options = paper();
    let inputs = [[1.0_f32, 0.0, 0.0, 1.0], [0.9, 0.1, 0.2, 0.8]];
    let (pointers, lens) = (inputs.each_ref().map(|x| x.as_ptr()), [4; 2]);
    let align = |mut trainer: c::rivergram_trainer, step: *mut c::rivergram_step| {
        // SAFETY: each pointer is that of an array or a variable, with no more than its length; that what is written
        // overlaps with the budgets is looked for before anything is.
        unsafe {
            c::rivergram_trainer_align(
                &mut trainer,
                &options,
                pointers.as_ptr(),
                lens.as_ptr(),
                2,
                null(),
                0,
                2,
                step,
                null_mut(),
                null_mut(),
            )
        }
    };
    let mut step = c::rivergram_step::default();
    for bad in [
        c::rivergram_trainer {
            parameters: over,
            ..good
        },
        c::rivergram_trainer {
            gradient: over,
            ..good
        },
        c::rivergram_trainer {
            workspace: over,
            ..good
        },
    ] {
        assert_eq!(align(bad, &mut step), OVERLAP);
        // SAFETY: as above.
        let status = unsafe { c::rivergram_trainer_save(&bad, bytes, 512, null_mut()) };
        assert_eq!(status, OVERLAP);
    }
    assert_eq!(align(good, over.cast()), OVERLAP);
    let mut bad = c::rivergram_trainer {
        parameters: over,
        ..good
    };
    // SAFETY: as above.
    let found = unsafe {
        [
            c::rivergram_trainer_save(&good, over.cast(), 512, null_mut()),
            c::rivergram_trainer_save(&good, bytes, 512, null_mut()),
            c::rivergram_trainer_load(&mut bad, bytes, 512, null_mut()),
        ]
    };
    assert_eq!(found, [OVERLAP, OK, OVERLAP]);
    assert_eq!(align(good, &mut step), OK);
    assert_eq!(memory[..2], [50, 100]);
}

const LENGTH: c::rivergram_status = c::rivergram_status::Length;

/// Numbers of an input of which four rows are more than a loss needs, so that the length for floats is too short.
const WIDE: usize = 300;

#[test]
fn a_transcription_of_wide_features_in_8_bits_fits_what_the_length_promises() {
    let head = c::rivergram_head {
        input: WIDE,
        hidden: 0,
        output: 3,
        normalise: 0,
    };
    let mut schedule = wsds(&named(c::rivergram_schedule::Constant), &[]);
    let (values, labels) = (vec![2_i8; 2 * WIDE], [2, 1]);
    let inputs = c::rivergram_features_i8 {
        values: values.as_ptr(),
        values_len: values.len(),
        scale: 0.01,
    };
    let batch = c::rivergram_eisl_batch {
        batch: 1,
        positions: 2,
        targets: 2,
        vocabulary: 3,
        labels: labels.as_ptr(),
        labels_len: 2,
        target_lens: null(),
        output_lens: null(),
        noise: null(),
        noise_len: 0,
    };
    let order = c::rivergram_order { n: 1, weight: 1.0 };
    let mut parameters = vec![0.5_f32; 3 * (WIDE + 1)];
    let mut gradient = vec![0.0_f32; parameters.len()];
    let mut workspace = vec![0.0_f32; 8 * WIDE];
    let mut trainer = c::rivergram_trainer {
        parameters: parameters.as_mut_ptr(),
        parameters_len: parameters.len(),
        gradient: gradient.as_mut_ptr(),
        gradient_len: gradient.len(),
        workspace: workspace.as_mut_ptr(),
        ..trainer_of(std::slice::from_ref(&head), &mut schedule)
    };
    let (mut step, mut len, none) = (c::rivergram_step::default(), 0, null_mut());
    // SAFETY: a structure of numbers; each pointer is that of a vector, an array or a variable, with its length.
    unsafe {
        let mut options = std::mem::zeroed();
        let status = c::rivergram_eisl_options_paper(&order, 1, &mut options, none);
        assert_eq!(status, OK);
        let length = c::rivergram_trainer_transcribe_workspace_len;
        assert_eq!(length(&trainer, &options, &batch, &mut len, none), OK);
        assert!(len + 4 * WIDE <= 8 * WIDE);
        for (workspace_len, want) in [(len, LENGTH), (len + 4 * WIDE, OK)] {
            trainer.workspace_len = workspace_len;
            let status = c::rivergram_trainer_transcribe_i8(
                &mut trainer,
                &options,
                &batch,
                &inputs,
                &mut step,
                null_mut(),
                null_mut(),
            );
            assert_eq!(status, want, "{workspace_len}");
        }
    }
}

#[test]
fn rows_of_nothing_are_a_loss_of_0_at_once() {
    let order = c::rivergram_order { n: 1, weight: 1.0 };
    let batch = c::rivergram_eisl_batch {
        batch: usize::MAX,
        positions: 0,
        targets: 0,
        vocabulary: 3,
        labels: null(),
        labels_len: 0,
        target_lens: null(),
        output_lens: null(),
        noise: null(),
        noise_len: 0,
    };
    let (mut workspace, mut losses) = ([0.0; 8], c::rivergram_eisl_losses::default());
    // SAFETY: a structure of numbers; each pointer is that of an array or a variable, with its length.
    let status = unsafe {
        let mut options = std::mem::zeroed();
        let status = c::rivergram_eisl_options_paper(&order, 1, &mut options, null_mut());
        assert_eq!(status, OK);
        c::rivergram_eisl_loss(
            &options,
            &batch,
            null(),
            0,
            null_mut(),
            0,
            workspace.as_mut_ptr(),
            workspace.len(),
            &mut losses,
            null_mut(),
        )
    };
    assert_eq!((status, losses.total), (OK, 0.0));
}

#[test]
fn features_in_8_bits_fit_what_the_lengths_promise_however_wide_they_are() {
    let heads = [c::rivergram_head {
        input: WIDE,
        ..OF_TWO[0]
    }; 2];
    let mut schedule = wsds(&named(c::rivergram_schedule::Constant), &[]);
    let values = [vec![3_i8; 2 * WIDE], vec![-5_i8; 2 * WIDE]];
    let inputs = values.each_ref().map(|values| c::rivergram_features_i8 {
        values: values.as_ptr(),
        values_len: values.len(),
        scale: 0.01,
    });
    let mut parameters: Vec<f32> = (0..2 * (WIDE + 1) * 2).map(|i| (i % 7) as f32).collect();
    let mut gradient = vec![0.0_f32; parameters.len()];
    let mut workspace = vec![0.0_f32; 8 * WIDE];
    let good = c::rivergram_trainer {
        parameters: parameters.as_mut_ptr(),
        parameters_len: parameters.len(),
        gradient: gradient.as_mut_ptr(),
        gradient_len: gradient.len(),
        workspace: workspace.as_mut_ptr(),
        workspace_len: 0,
        ..trainer_of(&heads, &mut schedule)
    };
    let mut step = c::rivergram_step::default();
    let (options, mut lens) = (paper(), c::rivergram_trainer_lens::default());
    // SAFETY: each pointer is that of an array or a variable, with its length.
    let status = unsafe { c::rivergram_trainer_lens_of(&good, 2, &mut lens, null_mut()) };
    assert_eq!(status, OK);
    let four_rows = lens.align_workspace + 4 * WIDE;
    assert!(four_rows.max(lens.lean_align_workspace) <= 8 * WIDE);
    for (workspace_len, want) in [
        (lens.align_workspace, LENGTH),
        (four_rows, OK),
        (lens.lean_align_workspace, OK),
    ] {
        let mut trainer = c::rivergram_trainer {
            workspace_len,
            ..good
        };
        // SAFETY: each pointer is that of an array or a variable, with its length.
        let status = unsafe {
            c::rivergram_trainer_align_i8(
                &mut trainer,
                &options,
                inputs.as_ptr(),
                2,
                null(),
                0,
                2,
                &mut step,
                null_mut(),
                null_mut(),
            )
        };
        assert_eq!(status, want, "{workspace_len}");
    }
}

#[test]
fn averages_are_those_of_core() {
    let random = &mut Random::new(9);
    let ema = Ema::with_decay(0.9, Start::Unbiased).expect("a constant");
    let lawa = Lawa::new(3, 2).expect("a window");
    let average = |kind: c::rivergram_average_kind, beta, copies, every| c::rivergram_average {
        kind: kind as u32,
        beta,
        copies,
        every,
        updates: 0,
    };
    let kinds = [
        (
            average(c::rivergram_average_kind::Ema, 0.9, 0, 0),
            Average::Ema(ema),
        ),
        (
            average(c::rivergram_average_kind::Mean, 0.0, 0, 0),
            Average::Mean(RunningMean::new()),
        ),
        (
            average(c::rivergram_average_kind::Lawa, 0.0, 3, 2),
            Average::Lawa(lawa),
        ),
    ];
    let n = 11;
    for (mut own, mut core) in kinds {
        let mut len = 0;
        // SAFETY: each pointer is that of a variable.
        let status = unsafe { c::rivergram_average_len(&own, n, &mut len, null_mut()) };
        assert_eq!((status, len), (OK, core.storage_len(n)));
        let (mut found, mut want) = (vec![f32::NAN; len], vec![f32::NAN; len]);
        let (mut released, mut expected) = (vec![-1.0; n], vec![-1.0; n]);
        for _ in 0..9 {
            let mut is_there = false;
            // SAFETY: each pointer is that of a vector or a variable, with its length.
            let status = unsafe {
                c::rivergram_average_read(
                    &own,
                    found.as_ptr(),
                    len,
                    released.as_mut_ptr(),
                    n,
                    &mut is_there,
                    null_mut(),
                )
            };
            let read = core.read(One::new(), &want, &mut expected);
            assert_eq!((status, Ok(is_there)), (OK, read));
            assert_eq!(released, expected);
            let weights = numbers(random, n);
            // SAFETY: each pointer is that of a vector or a variable, with its length.
            let status = unsafe {
                c::rivergram_average_update(
                    &mut own,
                    weights.as_ptr(),
                    n,
                    found.as_mut_ptr(),
                    len,
                    null_mut(),
                )
            };
            assert_eq!(status, OK);
            core.update(One::new(), &weights, &mut want)
                .expect("the lengths fit");
            let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&want));
            assert_eq!(own.updates, core.updates());
        }
        own.kind = 3;
        // SAFETY: each pointer is that of a variable.
        let status = unsafe { c::rivergram_average_len(&own, n, &mut len, null_mut()) };
        assert_eq!(status, c::rivergram_status::Option);
    }
}

#[test]
fn a_reservoir_is_that_of_core() {
    let mut own = c::rivergram_reservoir {
        capacity: 4,
        seed: 7,
        seen: 0,
    };
    let mut core = Reservoir::new(4, 7).expect("a capacity");
    let (mut found, mut want) = ([0.0; 8], [0.0; 8]);
    let mut passed = 0;
    for i in 0..40 {
        let sample = [i as f32, -1.0];
        let mut row = 0;
        // SAFETY: each pointer is that of an array or a variable, with its length.
        let status = unsafe {
            c::rivergram_reservoir_offer(
                &mut own,
                sample.as_ptr(),
                2,
                found.as_mut_ptr(),
                8,
                &mut row,
                null_mut(),
            )
        };
        let kept = core.offer(&sample, &mut want).expect("the lengths fit");
        assert_eq!((status, row), (OK, kept.unwrap_or(c::RIVERGRAM_NONE)));
        assert_eq!((found, own.seen), (want, core.seen()));
        passed += usize::from(kept.is_none());
        let (mut rows, mut drawn, mut count) = ([9; 3], [9; 3], 0);
        // SAFETY: each pointer is that of an array or a variable, with its length.
        let status = unsafe {
            c::rivergram_reservoir_draw(&own, i, rows.as_mut_ptr(), 3, &mut count, null_mut())
        };
        assert_eq!((status, count), (OK, core.draw(i, &mut drawn)));
        assert_eq!(rows, drawn);
    }
    assert!(passed > 10, "{passed}");
    own.capacity = 0;
    // SAFETY: each pointer is that of an array or a variable, with its length.
    let status = unsafe {
        c::rivergram_reservoir_offer(
            &mut own,
            [0.0].as_ptr(),
            1,
            found.as_mut_ptr(),
            0,
            null_mut(),
            null_mut(),
        )
    };
    assert_eq!(status, c::rivergram_status::Option);
}

#[test]
fn a_schedule_of_c_goes_up_to_two_to_the_63_and_on_from_saved_bytes() {
    const END: u64 = 1 << 63;
    let budgets = [1000, END];
    let settings = named(c::rivergram_schedule::WsdS);
    let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.125), &budgets).expect("a plan");
    let mut state = wsds(&settings, &budgets);
    let mut bytes = [0; c::RIVERGRAM_WSDS_SAVED_LEN];
    let units = END - 5;
    // SAFETY: each pointer is that of a variable or an array, with its length.
    unsafe {
        let status = c::rivergram_wsds_advance(&mut state, units, null_mut(), null_mut());
        assert_eq!(status, OK);
        let status = c::rivergram_wsds_save(&state, bytes.as_mut_ptr(), bytes.len(), null_mut());
        assert_eq!(status, OK);
    }
    let mut again = wsds(&settings, &budgets);
    // SAFETY: as above.
    let status =
        unsafe { c::rivergram_wsds_load(&mut again, bytes.as_ptr(), bytes.len(), null_mut()) };
    assert_eq!(status, OK);
    for step in END - 5..END + 3 {
        let (mut ahead, mut rate) = (0.0, 0.0);
        // SAFETY: every field is a number, which may be 0.
        let mut position: c::rivergram_position = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        unsafe {
            assert_eq!(
                c::rivergram_wsds_position(&again, &mut position, null_mut()),
                OK
            );
            assert_eq!(
                c::rivergram_wsds_rate_at(&again, step, &mut ahead, null_mut()),
                OK
            );
            assert_eq!(
                c::rivergram_wsds_advance(&mut again, 1, &mut rate, null_mut()),
                OK
            );
        }
        assert_eq!(position.step, step);
        assert_eq!(
            (ahead, rate),
            (plan.lr_at(step), plan.lr_at(step)),
            "{step}"
        );
    }
    // Bytes of another plan are refused, and what differs is named.
    for (other, name) in [([1000, END - 1], c"budgets"), ([999, END], c"budgets")] {
        let mut state = wsds(&settings, &other);
        // SAFETY: every field is a number or a pointer, which may be 0; 0 is a status.
        let mut error: c::rivergram_error = unsafe { std::mem::zeroed() };
        // SAFETY: as above; the name is a text of the library.
        let (status, found) = unsafe {
            let (pointer, len) = (bytes.as_ptr(), bytes.len());
            let status = c::rivergram_wsds_load(&mut state, pointer, len, &mut error);
            (status, std::ffi::CStr::from_ptr(error.name))
        };
        assert_eq!((status, found), (c::rivergram_status::OtherSettings, name));
    }
}

/// Rates of a schedule of C and of core, update by update.
fn assert_same_rates(of_c: &mut c::rivergram_wsds, state: &mut State<'_, f32>, updates: u64) {
    for _ in 0..updates {
        let (step, mut rate) = (state.step(), 0.0);
        // SAFETY: pointers to variables.
        let status = unsafe { c::rivergram_wsds_advance(of_c, 1, &mut rate, null_mut()) };
        assert_eq!((status, rate), (OK, state.advance()), "{step}");
    }
}

#[test]
fn budgets_and_decays_that_are_asked_for_have_the_rates_of_core() {
    let settings = Settings::wsd_s(1.0_f32, 0.125);
    let (few, more) = ([100], [100, 150, 200]);
    let plan = Plan::new(settings, &few).expect("a plan");
    let longer = Plan::new(settings, &more).expect("a plan");
    let mut state = State::new(&plan);
    let mut of_c = wsds(&named(c::rivergram_schedule::WsdS), &few);
    assert_same_rates(&mut of_c, &mut state, 60);
    let mut state = state.replan(&longer).expect("later budgets");
    // SAFETY: each pointer is that of a variable or an array, with its length.
    let status =
        unsafe { c::rivergram_wsds_set_budgets(&mut of_c, more.as_ptr(), more.len(), null_mut()) };
    assert_eq!(status, OK);
    assert_same_rates(&mut of_c, &mut state, 60);

    // A branch of WSD: what was saved before the decay is gone back to after it.
    let before = state;
    let mut bytes = [0; c::RIVERGRAM_WSDS_SAVED_LEN];
    let mut changed = false;
    // SAFETY: as above.
    unsafe {
        let (to, len) = (bytes.as_mut_ptr(), bytes.len());
        let status = c::rivergram_wsds_save(&of_c, to, len, null_mut());
        assert_eq!(status, OK);
        let status =
            c::rivergram_wsds_request_decay_of_seen(&mut of_c, 100_000, &mut changed, null_mut());
        assert_eq!((status, changed), (OK, true));
    }
    assert!(state.request_decay_of_seen(100_000));
    assert_same_rates(&mut of_c, &mut state, 12);
    let mut rate = 0.0;
    // SAFETY: as above.
    unsafe {
        let status = c::rivergram_wsds_load(&mut of_c, bytes.as_ptr(), bytes.len(), null_mut());
        assert_eq!(status, OK);
        let status = c::rivergram_wsds_rate_at(&of_c, 120, &mut rate, null_mut());
        assert_eq!((status, rate), (OK, 1.0));
    }
    state = before;
    assert_same_rates(&mut of_c, &mut state, 100);
}
