//! The checks of a GPU on an emulated device, and what becomes of an operation whose device fails.

use rivergram::cuda::driver::{Driver, Numbers, Room};
use rivergram::cuda::emulated::{Counts, Emulated, Settings};
use rivergram::cuda::raw::GramMemory;
use rivergram::cuda::{Device, Failure, Precision};
use rivergram::data::rows::{Rows as Table, Table as Tables};
use rivergram::engine::{Engine, Threads};
use rivergram::gallery::{self, Build, Found, Gallery, Kind, Options, Searcher};
use rivergram_core::eisl;
use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term};
use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::retrieval::{Order as Ranking, TopK};
use rivergram_core::gram::search::Search;
use rivergram_core::head::Head;
use rivergram_core::optim::Optimizer;
use rivergram_core::optim::rounding::Half;
use rivergram_core::schedule::{Plan, Settings as Rates, State};
use rivergram_core::trainer::{Setup, Storage, Trainer};
use rivergram_cuda_kernels::device::Order;
use rivergram_gpu::bench::{Scale, WORKS, selected};
use rivergram_gpu::cases::{Against, Rows, Tuples, assert_close, double, norm, normals};
use rivergram_gpu::raw;
use rivergram_simd::Level;
use rivergram_tests::precision::SINGLE;

fn device(settings: Settings) -> (Device, Emulated) {
    let driver = Emulated::new(settings);
    (Device::on(Box::new(driver.clone())), driver)
}

/// Runs the checks whose names begin with this, on devices of several kinds.
fn run_checks(operation: &str) {
    let mut ran = 0;
    for (order, multiprocessors) in [(Order::Forward, 1), (Order::Backward, 3)] {
        let settings = Settings {
            order,
            multiprocessors,
            ..Settings::default()
        };
        let of_operation = |check: &&rivergram_gpu::Check| check.name.starts_with(operation);
        for check in rivergram_gpu::ALL.iter().filter(of_operation) {
            let (device, driver) = device(settings);
            (check.run)(&device);
            drop(device);
            assert_eq!(driver.counts().bytes, 0, "{}: memory is left", check.name);
            ran += 1;
        }
    }
    assert!(ran > 0, "no check of {operation}");
}

#[test]
fn gram_losses() {
    run_checks("gram loss");
}

#[test]
fn volume_matrices() {
    run_checks("volume matrix");
}

#[test]
fn searches() {
    run_checks("search");
}

#[test]
fn sequence_losses() {
    run_checks("sequence loss");
}

#[test]
fn updates() {
    run_checks("adamw");
}

/// That the bench's works start what they should: the emulation finds views that are too short. Their times mean nothing.
#[test]
fn the_works_of_the_bench_run() {
    for work in WORKS {
        let (device, driver) = device(Settings {
            multiprocessors: 2,
            ..Settings::default()
        });
        let line = (work.run)(&device, Scale::Tiny);
        let line = line.unwrap_or_else(|failure| panic!("{}: {failure}", work.name));
        assert!(
            line.bytes + line.operations > 0.0 && !line.times.is_empty(),
            "{line:?}"
        );
        assert!(line.median() >= 0.0, "{line:?}");
        let done = driver.counts();
        assert!(done.launches > 0 || work.name == "copy", "{}", work.name);
        drop(device);
        assert_eq!(driver.counts().bytes, 0, "{}: memory is left", work.name);
    }
}

#[test]
fn the_works_of_the_bench_are_chosen_by_name() {
    let chosen = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_string()).collect();
        selected(&words).map(|works| works.iter().map(|work| work.name).collect::<Vec<_>>())
    };
    assert_eq!(chosen(&[]).map(|names| names.len()), Ok(WORKS.len()));
    assert_eq!(
        chosen(&["Search b", "adamw"]),
        Ok(vec!["copy", "search bf16", "adamw"])
    );
    assert!(chosen(&["search", "product"]).is_err());
}

/// A rival stands beside a row by its name: with another it would be left out where that row is asked for.
#[test]
fn rivals_have_the_names_of_works() {
    let text = include_str!("../rivals.py");
    let starts = text.lines().filter_map(|line| line.strip_prefix("    (\""));
    let names: Vec<&str> = starts.filter_map(|rest| rest.split('"').next()).collect();
    assert!(names.len() >= 13, "{names:?}");
    for name in names {
        assert!(WORKS.iter().any(|work| work.name == name), "{name}");
    }
}

#[test]
fn every_check_is_run() {
    let operations = [
        "gram loss",
        "volume matrix",
        "search",
        "sequence loss",
        "adamw",
    ];
    for check in rivergram_gpu::ALL {
        let known = operations.iter().any(|known| check.name.starts_with(known));
        assert!(known, "{}", check.name);
    }
}

/// One operation by an engine: its results as bits.
type Operation = fn(&Engine) -> Vec<u32>;

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn gram(engine: &Engine) -> Vec<u32> {
    let mut case = Tuples::odd(1).by(Anchor::Each);
    case.config.pairs = 0.25;
    let mut gradient = vec![0.0; case.x.len()];
    let report = engine.gram_loss(&case.config, &case.batch(), &mut gradient);
    let report = report.expect("valid inputs");
    gradient.extend([report.loss, report.temperature_gradient]);
    gradient.extend([report.missing as f32, report.degenerate as f32]);
    bits(&gradient)
}

fn volumes(engine: &Engine) -> Vec<u32> {
    let case = Against::odd(2);
    let [b1, _, b2, _] = case.sizes;
    let mut out = vec![0.0; b1 * b2];
    let present = case.present.as_deref();
    let (measure, sizes) = (Measure::Volume, case.sizes);
    let done = engine.volume_matrix(
        measure,
        &case.anchors,
        &case.items,
        present,
        sizes,
        &mut out,
    );
    done.expect("valid inputs");
    bits(&out)
}

fn nearest(engine: &Engine) -> Vec<u32> {
    let case = Against::odd(3);
    let mut top = vec![TopK::<f32, 3>::new(Ranking::Ascending); case.sizes[0]];
    let search = Search::by(Measure::Volume);
    let present = case.present.as_deref();
    let found = engine.nearest(
        search,
        &case.anchors,
        &case.items,
        present,
        case.sizes,
        &mut top,
    );
    let mut out = vec![found.expect("valid inputs") as u32];
    for (score, index) in top.iter().flat_map(|top| top.best()) {
        out.extend([score.to_bits(), *index as u32]);
    }
    out
}

fn sequences(engine: &Engine) -> Vec<u32> {
    let case = Rows::random(4, [2, 5, 4, 9]);
    let mut x = case.x.clone();
    let losses = engine.eisl_loss(&case.config(), &case.batch(), &mut x);
    x.push(losses.expect("valid inputs").total);
    bits(&x)
}

fn sequences_bf16(engine: &Engine) -> Vec<u32> {
    let (case, mut x) = Rows::random(4, [2, 5, 4, 9]).in_bf16();
    let losses = engine.eisl_loss_half(&case.config(), &case.batch(), Half::Bf16, &mut x);
    let total = losses.expect("valid inputs").total;
    x.into_iter()
        .map(u32::from)
        .chain([total.to_bits()])
        .collect()
}

fn gram_tf32(engine: &Engine) -> Vec<u32> {
    engine.set_precision(Precision::Tf32);
    let case = Tuples::random(5, [3, 18, 7]);
    let mut gradient = vec![0.0; case.x.len()];
    let report = engine.gram_loss(&case.config, &case.batch(), &mut gradient);
    gradient.push(report.expect("valid inputs").loss);
    bits(&gradient)
}

fn volumes_bf16(engine: &Engine) -> Vec<u32> {
    engine.set_precision(Precision::Bf16);
    volumes(engine)
}

const OPERATIONS: [(&str, Operation); 7] = [
    ("gram loss", gram),
    ("gram loss in TF32", gram_tf32),
    ("volume matrix", volumes),
    ("volume matrix in bf16", volumes_bf16),
    ("search", nearest),
    ("sequence loss", sequences),
    ("sequence loss in bf16", sequences_bf16),
];

#[test]
fn a_failure_anywhere_ends_on_the_cpu_with_one_warning() {
    for (name, operation) in OPERATIONS {
        let level = Level::detect();
        let want = operation(&Engine::new(level));
        let (whole, driver) = device(Settings::default());
        let engine = Engine::with(level, Ok(whole));
        let by_device = operation(&engine);
        assert_eq!(engine.failure(), None, "{name}");
        let Counts {
            allocations,
            copies,
            launches,
            ..
        } = driver.counts();
        assert!(allocations > 3 && copies > 3 && launches > 2, "{name}");
        let mut settings = Vec::new();
        for n in 0..allocations {
            settings.push(Settings {
                fails_allocation: Some(n),
                ..Settings::default()
            });
        }
        for n in 0..copies {
            settings.push(Settings {
                fails_copy: Some(n),
                ..Settings::default()
            });
        }
        for n in 0..launches {
            settings.push(Settings {
                fails_launch: Some(n),
                ..Settings::default()
            });
        }
        // Never, but with less memory than the operation takes.
        settings.push(Settings {
            memory: 500,
            ..Settings::default()
        });
        for settings in settings {
            let what = format!("{name}: {settings:?}");
            let (fails, driver) = device(settings);
            let engine = Engine::with(level, Ok(fails));
            assert_eq!(operation(&engine), want, "{what}");
            let failure = engine.failure();
            assert!(failure.is_some(), "{what}: no failure");
            let line = engine.warning().unwrap_or_default();
            assert!(
                line.contains(&failure.expect("above").to_string()),
                "{what}: {line}"
            );
            // It is not asked again, and not told again.
            let asked = driver.counts();
            assert_eq!(operation(&engine), want, "{what}");
            assert_eq!(driver.counts(), asked, "{what}");
            assert_eq!(engine.warning(), None, "{what}");
            drop(engine);
            assert_eq!(driver.counts().bytes, 0, "{what}: memory is left");
        }
        assert_eq!(by_device.len(), want.len(), "{name}");
    }
}

#[test]
fn what_core_refuses_is_no_failure() {
    let (whole, _) = device(Settings::default());
    let (engine, cpu) = (
        Engine::with(Level::detect(), Ok(whole)),
        Engine::new(Level::detect()),
    );
    let mut case = Tuples::random(5, [3, 4, 6]);
    case.x[30] = f32::NAN;
    let mut gradient = vec![0.0; case.x.len()];
    let [found, want] = [&engine, &cpu].map(|engine| {
        let found = engine.gram_loss(&case.config, &case.batch(), &mut gradient);
        found.expect_err("not a number")
    });
    assert_eq!(found, want);
    let mut rows = Rows::random(6, [1, 3, 2, 5]);
    rows.labels[0] = 5;
    let mut x = rows.x.clone();
    let found = engine.eisl_loss(&rows.config(), &rows.batch(), &mut x);
    let token = found.expect_err("a token beyond the vocabulary");
    assert!(matches!(
        token,
        rivergram_core::error::EislError::Token { .. }
    ));
    let (rows, mut logits) = Rows::random(6, [1, 3, 2, 5]).in_bf16();
    logits[4] = Half::Bf16.nearest(f32::NAN);
    let [found, want] = [&engine, &cpu].map(|engine| {
        let mut x = logits.clone();
        let found = engine.eisl_loss_half(&rows.config(), &rows.batch(), Half::Bf16, &mut x);
        found.expect_err("not a number")
    });
    assert_eq!(found, want);
    assert_eq!((engine.failure(), engine.warning()), (None, None));
    assert_eq!(engine.name(), "cuda");
}

#[test]
fn an_operation_waits_once_for_its_result() {
    let (whole, driver) = device(Settings::default());
    let case = Tuples::random(7, [3, 20, 8]);
    let mut gradient = vec![0.0; case.x.len()];
    let report = whole.gram_loss(&case.config, &case.batch(), &mut gradient);
    report.expect("a device that works");
    assert_eq!(driver.counts().waits, 1);
    let rows = Rows::random(8, [2, 4, 3, 9]);
    let losses = whole.eisl_loss(&rows.config(), &rows.batch(), &mut rows.x.clone());
    losses.expect("a device that works");
    assert_eq!(driver.counts().waits, 2);
}

#[test]
fn the_same_memory_serves_the_next_operation() {
    let (whole, driver) = device(Settings::default());
    let case = Tuples::random(9, [3, 12, 8]);
    let run = || {
        let mut gradient = vec![0.0; case.x.len()];
        let report = whole.gram_loss(&case.config, &case.batch(), &mut gradient);
        report.expect("a device that works");
        driver.counts().allocations
    };
    let first = run();
    assert_eq!(run(), first);
    whole.release();
    assert_eq!(driver.counts().bytes, 0);
}

#[test]
fn an_old_block_makes_way_for_a_new_one() {
    let (small, driver) = device(Settings {
        memory: 40_000,
        ..Settings::default()
    });
    let case = Against::random(10, [8, 1, 200, 16]);
    let run = |items: usize| {
        let sizes = [8, 1, items, 16];
        let mut out = vec![0.0; 8 * items];
        let items = &case.items[..items * 16];
        small.volume_matrix(Measure::Volume, &case.anchors, items, None, sizes, &mut out)
    };
    for items in [200, 150, 199, 1, 200] {
        run(items).expect("memory for a part");
    }
    assert!(driver.counts().most_bytes <= 40_000);
}

/// [`Device::gram_loss_at`].
fn queue_loss(
    device: &Device,
    case: &Tuples,
    strip: usize,
    memory: GramMemory,
) -> Result<(), Failure> {
    // SAFETY: the test allocated each part for these sizes on the device, and holds them.
    unsafe { device.gram_loss_at(&case.config, case.sizes, strip, memory) }
}

/// Memory of the caller with a batch in it.
fn memory_of(driver: &mut Emulated, device: &Device, case: &Tuples, strip: usize) -> GramMemory {
    let [k, rows, d] = case.sizes;
    let workspace_len = device.gram_workspace_len(case.sizes, strip);
    let mut of = |words: usize| driver.allocate(words).expect("memory");
    let memory = GramMemory {
        vectors: of(k * rows * d),
        present: of(k * rows),
        gradient: of(k * rows * d),
        report: of(3),
        workspace: of(workspace_len as usize),
        workspace_len,
    };
    let flag = |there: &bool| f32::from(u8::from(*there));
    let present: Vec<f32> = match case.batch().present {
        Some(flags) => flags.iter().map(flag).collect(),
        None => vec![1.0; k * rows],
    };
    for (numbers, to) in [(&case.x, memory.vectors), (&present, memory.present)] {
        driver.upload(Numbers::F32(numbers), to).expect("a copy");
    }
    memory
}

/// Core's loss through raw addresses, on memory that nobody but the test allocated.
#[test]
fn a_loss_runs_on_memory_of_the_callers() {
    let (whole, mut driver) = device(Settings::default());
    let case = Tuples::odd(11);
    let (want, gradient) = case.oracle();
    let strip = 4;
    let memory = memory_of(&mut driver, &whole, &case, strip);
    let workspace_len = memory.workspace_len;
    let before = driver.counts();
    queue_loss(&whole, &case, strip, memory).expect("it starts");
    let after = driver.counts();
    assert_eq!(after.allocations, before.allocations);
    assert_eq!(after.waits, before.waits);
    let (mut report, mut found) = ([0.0; 3], vec![0.0; case.x.len()]);
    driver
        .download(&mut [
            (memory.report, Room::F32(&mut report)),
            (memory.gradient, Room::F32(&mut found)),
        ])
        .expect("a copy");
    let [a, b] = want.directions;
    let wanted = [a, b, want.temperature_gradient];
    assert_close(
        "report",
        &report,
        &wanted,
        |i| wanted[i].abs().max(1.0),
        SINGLE.gram_gradient,
    );
    let length = norm(&gradient);
    assert_close(
        "gradient",
        &found,
        &gradient,
        |_| length,
        SINGLE.gram_gradient,
    );
    // One number less is too little, and said before anything starts.
    let short = GramMemory {
        workspace_len: workspace_len - 1,
        ..memory
    };
    let failure = queue_loss(&whole, &case, strip, short);
    assert!(matches!(failure, Err(Failure::Memory { .. })));
}

/// The precision of the device is that of raw handles too.
#[test]
fn a_loss_on_memory_of_the_callers_is_as_precise_as_the_device() {
    let (whole, mut driver) = device(Settings::default());
    let case = Tuples::random(12, [3, 33, 10]);
    let [_, rows, _] = case.sizes;
    let exact_len = whole.gram_workspace_len(case.sizes, rows);
    whole.set_precision(Precision::Tf32);
    let workspace_len = whole.gram_workspace_len(case.sizes, rows);
    assert!(workspace_len > exact_len);
    let mut want = vec![0.0; case.x.len()];
    let report = whole.gram_loss(&case.config, &case.batch(), &mut want);
    report.expect("a device that works");
    let memory = memory_of(&mut driver, &whole, &case, rows);
    queue_loss(&whole, &case, rows, memory).expect("it starts");
    let mut found = vec![0.0; case.x.len()];
    let parts = &mut [(memory.gradient, Room::F32(&mut found))];
    driver.download(parts).expect("a copy");
    assert_eq!(bits(&found), bits(&want));
    // Copies of tensor cores' operands are of 16 bytes.
    let crooked = GramMemory {
        workspace: memory.workspace + 4,
        workspace_len: workspace_len - 1,
        ..memory
    };
    let refused = queue_loss(&whole, &case, rows, crooked);
    assert_eq!(refused, Err(Failure::Input));
}

/// The launches of an operation that asks nothing else of a device.
fn launches_of(driver: &Emulated, queue: impl FnOnce() -> Result<(), Failure>) -> u64 {
    let before = driver.counts();
    queue().expect("it starts");
    let after = driver.counts();
    let launches = after.launches - before.launches;
    assert_eq!(
        Counts {
            launches: before.launches,
            ..after
        },
        before
    );
    launches
}

/// Raw handles copy nothing, allocate nothing and wait for nothing; what they queue is known.
#[test]
fn work_on_memory_of_the_callers_is_launches_alone() {
    let case = Against::odd(13);
    for (precision, want) in [
        // The bases, the lengths of the anchors, the matrix; rounded, two copies besides.
        (Precision::Exact, 3),
        (Precision::Tf32, 5),
        (Precision::Bf16, 5),
    ] {
        let (whole, driver) = device(Settings::default());
        whole.set_precision(precision);
        let held = raw::Matrix::new(&whole, &case);
        let launches = launches_of(&driver, || held.queue(Measure::Volume));
        assert_eq!(launches, want, "{precision:?}");
        // What is there, the bases, the lengths, the lists, the best of them.
        let held = raw::Lists::new(&whole, &case, 3);
        let search = Search::by(Measure::Volume);
        let launches = launches_of(&driver, || held.queue(search));
        assert_eq!(launches, 5, "{precision:?}");
    }
    for in_bf16 in [false, true] {
        let (whole, driver) = device(Settings::default());
        let held = raw::Sequences::new(&whole, &Rows::random(14, [2, 3, 2, 5]), in_bf16);
        held.load();
        // Each pass.
        assert_eq!(launches_of(&driver, || held.queue()), 3);
    }
}

/// The parameters of a setup after what a trainer does.
fn trained(
    setup: Setup<'_, f32>,
    seed: u64,
    workspace_len: usize,
    train: impl FnOnce(&mut Trainer<'_, f32>),
) -> Vec<f32> {
    let mut parameters = normals(seed, setup.parameters_len());
    let mut gradient = vec![0.0; setup.parameters_len()];
    let mut moments = vec![0.0; setup.moments_len()];
    let mut workspace = vec![0.0; workspace_len];
    let storage = Storage {
        parameters: &mut parameters,
        gradient: &mut gradient,
        moments: &mut moments,
        workspace: &mut workspace,
    };
    let plan = Plan::new(Rates::constant(0.01_f32), &[]).expect("a constant rate");
    let mut trainer = Trainer::new(setup, storage, State::new(&plan)).expect("buffers that fit");
    train(&mut trainer);
    trainer.parameters().to_vec()
}

/// The parameters of three heads after some steps of the symmetric loss with cosines.
fn align(engine: &Engine, steps: u64) -> Vec<f32> {
    let rows = 8;
    let heads = [Head {
        input: 6,
        hidden: 0,
        output: 5,
        normalise: true,
    }; 3];
    let setup = Setup {
        heads: &heads,
        optimizer: Optimizer::adamw(),
        clip: Some(1.0),
    };
    let loss = GramLoss {
        term: Term::Volume(Anchor::Each),
        pairs: 0.3,
        normalise: false,
        ..GramLoss::paper(0)
    };
    let x: Vec<Vec<f32>> = (0..3).map(|seed| normals(80 + seed, rows * 6)).collect();
    let inputs: Vec<&[f32]> = x.iter().map(Vec::as_slice).collect();
    let workspace_len = setup.align_workspace_len(rows);
    trained(setup, 70, workspace_len, |trainer| {
        for _ in 0..steps {
            let step = engine.align(trainer, &loss, &inputs, None, rows);
            step.expect("valid inputs");
        }
    })
}

/// The parameters of a head after some steps of transcription.
fn transcribe(engine: &Engine, steps: u64) -> Vec<f32> {
    let rows = Rows::random(90, [2, 5, 4, 9]);
    let heads = [Head {
        input: 6,
        hidden: 0,
        output: 9,
        normalise: false,
    }];
    let setup = Setup {
        heads: &heads,
        optimizer: Optimizer::adamw(),
        clip: None,
    };
    let (config, batch) = (rows.config(), rows.batch());
    let inputs = normals(92, 2 * 5 * 6);
    let workspace_len = setup.transcribe_workspace_len(&config, &batch);
    trained(setup, 91, workspace_len, |trainer| {
        for _ in 0..steps {
            let step = engine.transcribe(trainer, &config, &batch, &inputs);
            step.expect("valid inputs");
        }
    })
}

#[test]
fn training_steps_are_those_of_the_cpu_but_for_rounding() {
    steps_are_those_of_the_cpu(align, 20);
}

#[test]
fn steps_of_transcription_are_those_of_the_cpu_but_for_rounding() {
    steps_are_those_of_the_cpu(transcribe, 3);
}

/// Six steps, of which each launches so many kernels at least.
fn steps_are_those_of_the_cpu(train: fn(&Engine, u64) -> Vec<f32>, of_step: u64) {
    let level = Level::detect();
    let on = |engine: &Engine| train(engine, 6);
    let want = on(&Engine::new(level));
    let (whole, driver) = device(Settings::default());
    let engine = Engine::with(level, Ok(whole));
    let found = on(&engine);
    assert_eq!(engine.failure(), None);
    let launches = driver.counts().launches;
    assert!(launches >= 6 * of_step, "{launches} launches");
    let length = norm(&double(&want));
    assert_close("parameters", &found, &double(&want), |_| length, 1e-5);
    // The device fails in the middle of the third step: that step is made by the CPU, and all after it.
    let (fails, _) = device(Settings {
        fails_launch: Some(launches / 6 * 2 + of_step / 2),
        ..Settings::default()
    });
    let engine = Engine::with(level, Ok(fails));
    let found = on(&engine);
    assert!(matches!(engine.failure(), Some(Failure::Launch { .. })));
    assert_eq!(engine.name(), level.name());
    assert_close("parameters", &found, &double(&want), |_| length, 1e-5);
    // And where there is none from the start, the bits are the CPU's.
    let engine = Engine::with(level, Err(Failure::NoDriver));
    assert_eq!(bits(&on(&engine)), bits(&want));
}

#[test]
fn the_options_of_a_loss_without_a_kernel_stay_on_the_cpu() {
    let (whole, driver) = device(Settings::default());
    let engine = Engine::with(Level::detect(), Ok(whole));
    let rows = Rows::random(12, [1, 4, 3, 9]);
    let config = eisl::Config {
        axis: eisl::Axis::Targets,
        ..rows.config()
    };
    let found = engine.eisl_loss(&config, &rows.batch(), &mut rows.x.clone());
    found.expect("the CPU has it");
    // So do logits in binary16.
    let logits: Vec<u16> = rows.x.iter().map(|x| Half::F16.nearest(*x)).collect();
    let cpu = Engine::new(Level::detect());
    let [found, want] = [&engine, &cpu].map(|engine| {
        let mut x = logits.clone();
        let losses = engine.eisl_loss_half(&rows.config(), &rows.batch(), Half::F16, &mut x);
        (losses.expect("the CPU has it").total.to_bits(), x)
    });
    assert_eq!(found, want);
    assert_eq!(driver.counts().launches, 0);
    assert_eq!((engine.failure(), engine.warning()), (None, None));
    let told = engine.described();
    assert!(told.starts_with("cuda (no kernel does "), "{told}");
    assert!(
        told.ends_with(&format!("yet: on {})", engine.level())),
        "{told}"
    );
}

/// What is asked for on a GPU without tensor cores that have the formats stays exact, to the bit.
#[test]
fn an_older_device_stays_exact() {
    let run = |capability, precision| {
        let (device, driver) = device(Settings {
            capability,
            ..Settings::default()
        });
        let done = device.set_precision(precision);
        assert_eq!(device.precision(), done);
        let engine = Engine::with(Level::detect(), Ok(device));
        let found = [gram(&engine), volumes(&engine)];
        assert_eq!(engine.failure(), None);
        (done, found, driver.counts().launches)
    };
    let want = run((9, 0), Precision::Exact);
    for precision in [Precision::Tf32, Precision::Bf16] {
        assert_eq!(run((7, 5), precision), want);
        let (done, found, launches) = run((8, 0), precision);
        assert_eq!(done, precision);
        assert!(launches > want.2, "{launches}");
        // Something was rounded.
        assert_ne!(found, want.1);
    }
    assert_eq!(
        Engine::new(Level::detect()).set_precision(Precision::Tf32),
        Precision::Exact
    );
}

/// Planes of items, a row of zeros where one is absent: with equal ones, and some that are beside each other.
fn planes([m, items, d]: [usize; 3]) -> Vec<Vec<f32>> {
    let plane = |p: usize| {
        let mut plane = normals(90 + p as u64, items * d);
        for (j, row) in plane.clone().chunks(d).enumerate().take(3) {
            plane[(items - 1 - j) * d..(items - j) * d].copy_from_slice(row);
        }
        // Nothing is there of item 7, and of item 8 the first vector alone.
        plane[7 * d..8 * d].fill(0.0);
        if p > 0 {
            plane[8 * d..9 * d].fill(0.0);
        }
        plane
    };
    (0..m).map(plane).collect()
}

#[test]
fn a_gallery_is_searched_by_a_device_as_by_threads() {
    let (level, sizes) = (Level::detect(), [2, 150, 40]);
    let [_, items, d] = sizes;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let planes = planes(sizes);
    let rows = |(p, x): (usize, &Vec<f32>)| {
        Table::new(&format!("m{p}"), d, x.clone()).expect("whole rows")
    };
    let table = Tables {
        modalities: planes.iter().enumerate().map(rows).collect(),
        labels: None,
    };
    // One is zero, one is beside items.
    let mut queries = normals(99, 4 * d);
    queries[d..2 * d].fill(0.0);
    queries[2 * d..3 * d].copy_from_slice(&planes[0][d..2 * d]);
    queries[2 * d] += 1e-3;
    let threads = Threads::new(level, 1).expect("a thread");
    let [f16, bf16] = [Half::F16, Half::Bf16].map(Kind::Half);
    // Bases, vectors, what is asked for, by what, how many; whether there is a kernel.
    let works = [
        (f16, f16, Precision::Exact, Measure::Volume, 3, true),
        (
            bf16,
            Kind::F32,
            Precision::Exact,
            Measure::Distance,
            10,
            true,
        ),
        (
            Kind::Int8,
            Kind::F32,
            Precision::Exact,
            Measure::Volume,
            10,
            true,
        ),
        (
            Kind::Int8,
            bf16,
            Precision::Exact,
            Measure::Cosine,
            4,
            false,
        ),
        (
            Kind::F32,
            Kind::F32,
            Precision::Exact,
            Measure::Distance,
            10,
            true,
        ),
        (
            Kind::F32,
            Kind::F32,
            Precision::Exact,
            Measure::Volume,
            30,
            false,
        ),
        (
            Kind::F32,
            Kind::F32,
            Precision::Bf16,
            Measure::Volume,
            10,
            true,
        ),
        (Kind::F32, f16, Precision::Exact, Measure::Volume, 3, false),
        // More than the lists of a tile hold: threads find what a device does not know.
        (f16, f16, Precision::Exact, Measure::Volume, 145, true),
    ];
    for (at, (bases, vectors, precision, measure, top, has_kernel)) in works.into_iter().enumerate()
    {
        let what = format!("{bases:?} {vectors:?} {measure:?} {top}");
        let file = folder.join(format!("device-{at}.gallery"));
        let build = Build {
            bases,
            vectors,
            level,
        };
        let stop = std::sync::atomic::AtomicBool::new(false);
        let built = gallery::build(&table, &build, &file, &stop, |_| ());
        built.expect("a gallery").expect("not stopped");
        let gallery = Gallery::open(&file).expect("a gallery");
        let options = Options {
            measure,
            top,
            candidates: None,
        };
        let alone = Searcher::new(&gallery, &threads, options).expect("options");
        let want = alone.nearest(&queries).expect("finite queries");
        for settings in [
            Settings::default(),
            Settings {
                memory: 60_000,
                multiprocessors: 3,
                ..Settings::default()
            },
            Settings {
                fails_launch: Some(1),
                ..Settings::default()
            },
        ] {
            let (device, driver) = device(settings);
            let engine = Engine::with(level, Ok(device));
            engine.set_precision(precision);
            let searcher = Searcher::new(&gallery, &threads, options).expect("options");
            let searcher = searcher.by(&engine);
            let found = searcher.nearest(&queries).expect("finite queries");
            assert_found(&what, &found, &want, alone.candidates().is_none());
            assert_eq!(searcher.missing().is_none(), has_kernel, "{what}");
            let fails = settings.fails_launch.is_some() && has_kernel;
            assert_eq!(engine.failure().is_some(), fails, "{what}");
            assert_eq!(driver.counts().launches > 0, has_kernel, "{what}");
            // And what is wrong is said as ever.
            let mut bad = queries.clone();
            bad[2 * d] = f32::NAN;
            let [found, want] = [&searcher, &alone].map(|searcher| {
                let found = searcher.nearest(&bad).expect_err("not a number");
                found.to_string()
            });
            assert_eq!(found, want);
            drop(searcher);
            drop(engine);
            assert_eq!(driver.counts().bytes, 0, "{what}: memory is left");
        }
        assert!(want.iter().all(|list| list.len() <= items));
    }
}

/// The same items in the same order, with the same bits; where threads score by tiles, with their rounding.
fn assert_found(what: &str, found: &[Vec<Found>], want: &[Vec<Found>], by_tiles: bool) {
    if !by_tiles {
        assert_eq!(found, want, "{what}");
        return;
    }
    assert_eq!(found.len(), want.len(), "{what}");
    for (found, want) in found.iter().zip(want) {
        let items = |list: &[Found]| list.iter().map(|found| found.item).collect::<Vec<_>>();
        assert_eq!(items(found), items(want), "{what}");
        let scores = |list: &[Found]| list.iter().map(|found| found.score).collect::<Vec<_>>();
        let exact = double(&scores(want));
        let scale = |i: usize| exact[i].max(1e-30);
        assert_close(what, &scores(found), &exact, scale, 2.0 * SINGLE.volume);
    }
}
