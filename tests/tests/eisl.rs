//! The sequence loss against golden values, a naive oracle, its own invariants and bad input.

use rivergram_core::eisl::{
    self, Batch, Checked, Combine, Config, IGNORE, Input, Padding, Parts, References, Select,
    Shape, Work, loss_and_gradient_fixed, loss_and_gradient_in_place, noise_len, workspace_len,
};
use rivergram_core::error::{EislBuffer, EislError};
use rivergram_core::lanes::One;
use rivergram_tests::convert::cast;
use rivergram_tests::eisl::{
    Case, Outcome, compare, compare_gradients, plain, run, run_at_all_levels, run_double,
    run_everywhere,
};
use rivergram_tests::golden;
use rivergram_tests::oracle::eisl::evaluate;
use rivergram_tests::precision::{DOUBLE, SINGLE, SLOPE, assert_close};
use rivergram_tests::random::Random;

const GROUPS: &[(&str, &[&str])] = &[
    ("basic", &["basic", "B1", "V64", "uniform"]),
    ("gumbel", &["gumbel"]),
    ("logprob", &["logprob"]),
    ("lengths", &["t_longer", "t_shorter", "n_eq"]),
    ("weights", &["weights"]),
    ("repeat", &["repeat"]),
    ("pad", &["pad"]),
    ("select", &["detach", "lse", "mean", "max"]),
    ("temperature", &["tau"]),
    ("extremes", &["peaked", "huge", "inf"]),
    ("ce", &["ce"]),
];

fn group_of(file: &str) -> &'static str {
    let is_in = |prefixes: &[&str]| prefixes.iter().any(|p| file.starts_with(p));
    let group = GROUPS.iter().find(|(_, prefixes)| is_in(prefixes));
    group.map_or("rest", |(name, _)| name)
}

fn golden_group(group: &str) {
    let mut files = golden::names("eisl");
    files.retain(|file| group_of(file) == group);
    // Other golden files may have no case beyond the groups.
    assert!(group == "rest" || !files.is_empty(), "no file for {group}");
    for file in files {
        let case: Case = golden::read(&format!("eisl/{file}"));
        let want = case
            .expect
            .as_ref()
            .expect("a golden file expects something");
        let double = run_double(&case).expect("a valid case");
        let (loss, gradient) = compare(&format!("{file} f64"), &double, want, &DOUBLE);
        println!("{group} {file} f64: loss {loss:.1e}, gradient {gradient:.1e}");
        let rounded = want.of_rounded(&case);
        for (level, single) in singles(&case) {
            let (loss, gradient) = compare(&format!("{file} {level}"), &single, &rounded, &SINGLE);
            println!("{group} {file} f32: loss {loss:.1e}, gradient {gradient:.1e} {level}");
        }
        compare(&format!("{file} oracle"), &evaluate(&case), want, &DOUBLE);
    }
}

#[test]
fn golden_basic() {
    golden_group("basic");
}
#[test]
fn golden_gumbel() {
    golden_group("gumbel");
}
#[test]
fn golden_logprob() {
    golden_group("logprob");
}
#[test]
fn golden_lengths() {
    golden_group("lengths");
}
#[test]
fn golden_weights() {
    golden_group("weights");
}
#[test]
fn golden_repeat() {
    golden_group("repeat");
}
#[test]
fn golden_pad() {
    golden_group("pad");
}
#[test]
fn golden_select() {
    golden_group("select");
}
#[test]
fn golden_temperature() {
    golden_group("temperature");
}
#[test]
fn golden_extremes() {
    golden_group("extremes");
}
#[test]
fn golden_ce() {
    golden_group("ce");
}
#[test]
fn golden_rest() {
    golden_group("rest");
}

// Random cases against the oracle.

/// The case in single precision at every level.
fn singles(case: &Case) -> Vec<(&'static str, Outcome)> {
    let outcomes = run_at_all_levels(case).into_iter();
    outcomes
        .map(|(level, outcome)| (level, outcome.expect("a valid case")))
        .collect()
}

fn double(case: &Case) -> Outcome {
    run_double(case).expect("a valid case")
}

#[test]
fn equals_the_oracle_on_random_cases() {
    let mut random = Random::new(1);
    for number in 0..3000 {
        let case = Case::random(&mut random, number);
        let want = evaluate(&case);
        compare(&format!("{case:?} f64"), &double(&case), &want, &DOUBLE);
        for (level, single) in singles(&case) {
            compare(&format!("{case:?} {level}"), &single, &want, &SINGLE);
        }
    }
}

#[test]
fn gradient_is_that_of_central_differences() {
    let mut random = Random::new(2);
    let mut checked = 0;
    while checked < 1500 {
        let mut case = Case::random(&mut random, checked);
        if matches!(case.select, Select::Detached | Select::Max) {
            continue;
        }
        // Away from the kink of the clamp.
        case.clamp = case.clamp.map(|_| -60.0);
        checked += 1;
        let gradient = double(&case).gradient;
        for _ in 0..5 {
            let at = random.below(case.x.len());
            let total = |step: f64| {
                let mut case = case.clone();
                case.x[at] += step;
                double(&case).total
            };
            let h = 1e-5;
            let difference = (total(h) - total(-h)) / (2.0 * h);
            assert_close(&format!("{case:?}"), gradient[at], difference, 1.0, SLOPE);
        }
    }
}

// What the definition implies.

#[test]
fn only_at_order_1_have_logsumexp_and_detached_one_gradient() {
    let mut case = plain(&mut Random::new(3), 7, 5, 2);
    case.select = Select::LogSumExp;
    let want = double(&case);
    case.select = Select::Detached;
    assert!((double(&case).gradient[0] - want.gradient[0]).abs() > 1e-3);
}

#[test]
fn one_position_is_cross_entropy() {
    for select in [Select::Softmax, Select::Mean, Select::Max, Select::Detached] {
        let mut case = plain(&mut Random::new(4), 6, 6, 6);
        case.select = select;
        let got = run_everywhere(&case);
        case.ngram_factor = 0.0;
        case.ce_factor = Some(1.0);
        for ((path, got, caps), (_, want, _)) in got.into_iter().zip(run_everywhere(&case)) {
            assert_eq!(want.eisl, 0.0, "{path}");
            assert_close(path, got.total, want.total, 1.0, caps.loss);
            compare_gradients(path, &got.gradient, &want.gradient, &caps);
        }
    }
}

#[test]
fn order_2_sees_the_order_of_the_outputs() {
    let mut random = Random::new(5);
    let case = plain(&mut random, 8, 6, 2);
    let mut moved = case.clone();
    for row in moved.x.chunks_mut(case.positions * case.vocabulary) {
        row.rotate_left(3 * case.vocabulary);
    }
    assert!((double(&moved).total - double(&case).total).abs() > 1e-3);
}

#[test]
fn orders_may_come_in_any_order_and_twice() {
    let mut random = Random::new(6);
    let mut case = plain(&mut random, 8, 7, 1);
    case.orders = vec![1, 2, 4];
    case.weights = vec![0.2, 0.3, 0.5];
    let want = double(&case);
    case.orders = vec![4, 1, 2, 1];
    case.weights = vec![0.5, 0.1, 0.3, 0.1];
    let got = double(&case);
    assert_close("loss", got.total, want.total, 1.0, DOUBLE.loss);
    compare_gradients("order", &got.gradient, &want.gradient, &DOUBLE);
    assert_eq!(got.per_order[1], got.per_order[3]);
    case.orders = vec![usize::MAX, 9];
    case.weights = vec![1.0, 1.0];
    let none = double(&case);
    assert_eq!(none.total, 0.0);
    assert!(none.gradient.iter().all(|&g| g == 0.0));
}

#[test]
fn rows_end_after_their_last_label() {
    let mut random = Random::new(7);
    let mut case = plain(&mut random, 6, 6, 2);
    case.ce_factor = Some(0.5);
    case.pad_id = Some(3);
    for label in &mut case.targets {
        *label = if *label == 3 { 4 } else { *label };
    }
    // Inside a row the pad id is a token.
    case.targets[2] = 3;
    case.targets[4..6].copy_from_slice(&[3, IGNORE]);
    case.targets[6..12].fill(3);
    case.target_lens = vec![4, 0, 6];
    let want = double(&case);
    compare("lengths", &evaluate(&case), &want, &DOUBLE);
    let orders = case.orders();
    let config = case.config(&orders, &[]);
    let batch = Batch::new(case.shape(), &case.targets);
    let mut x = case.x.clone();
    let mut workspace = vec![0.0; workspace_len(case.shape(), 1)];
    let losses = loss_and_gradient_in_place(
        One::<f64>::new(),
        &config,
        &batch,
        &mut x,
        Parts::none(),
        &mut workspace,
    );
    assert_eq!(losses.expect("a valid batch").total, want.total);
    assert_eq!(x, want.gradient);
}

#[test]
fn masked_positions_are_not_even_read() {
    let mut random = Random::new(8);
    let mut case = plain(&mut random, 5, 5, 2);
    case.ce_factor = Some(0.5);
    case.output_lens = vec![5, 3, 0];
    let want = double(&case);
    let start = (case.positions + 3) * case.vocabulary;
    case.x[start..].fill(f64::NAN);
    case.target_lens[2] = 0;
    case.target_lens[1] = 3;
    case.targets[8..].fill(-7);
    case.output_lens[1] = 3;
    let got = double(&case);
    assert!(got.gradient[start..].iter().all(|&g| g == 0.0));
    assert_eq!(
        got.gradient[..case.positions * 11],
        want.gradient[..case.positions * 11]
    );
}

#[test]
fn cross_entropy_alone_pairs_positions_with_targets() {
    let mut random = Random::new(9);
    for (positions, targets) in [(4, 7), (7, 4), (5, 5)] {
        for padding in [Padding::Mask, Padding::Zero, Padding::None] {
            let mut case = plain(&mut random, positions, targets, 1);
            case.padding = padding;
            case.targets[1] = IGNORE;
            case.targets[targets..2 * targets].fill(IGNORE);
            case.ngram_factor = 0.0;
            case.ce_factor = Some(2.0);
            case.label_smoothing = 0.1;
            compare("ce", &double(&case), &evaluate(&case), &DOUBLE);
            let batch = Batch::new(case.shape(), &case.targets);
            let config = Config::cross_entropy(0.1);
            let workspace = &mut vec![0.0; workspace_len(case.shape(), 0)];
            let x = &case.x;
            let parts = Parts::none();
            let alone = eisl::loss(One::<f64>::new(), &config, &batch, x, parts, workspace);
            let want = evaluate(&case).ce.expect("cross-entropy");
            assert_close(
                "alone",
                alone.expect("a valid batch").total,
                want,
                1.0,
                1e-12,
            );
        }
    }
}

// Masked logits.

#[test]
fn a_logit_of_minus_infinity_is_probability_0() {
    let mut random = Random::new(10);
    for select in [
        Select::Softmax,
        Select::Detached,
        Select::LogSumExp,
        Select::Max,
    ] {
        for clamp in [None, Some(-20.0)] {
            let mut case = plain(&mut random, 6, 4, 2);
            case.select = select;
            case.clamp = clamp;
            case.orders = vec![1, 2];
            case.weights = vec![0.5, 0.5];
            let masked = case.targets[1] as usize;
            case.x[2 * case.vocabulary + masked] = f64::NEG_INFINITY;
            let want = evaluate(&case);
            compare("f64", &double(&case), &want, &DOUBLE);
            for (level, single) in singles(&case) {
                compare(level, &single, &want, &SINGLE);
            }
            assert!(want.gradient.iter().all(|g| g.is_finite()));
            assert_eq!(want.gradient[2 * case.vocabulary + masked], 0.0);
        }
    }
}

#[test]
fn a_token_without_any_probability_costs_infinity_but_the_gradient_is_finite() {
    let mut random = Random::new(11);
    let selects = [
        Select::Softmax,
        Select::Detached,
        Select::LogSumExp,
        Select::Max,
        Select::Mean,
    ];
    for input in [Input::Logits, Input::LogProbs] {
        for select in selects {
            let mut case = plain(&mut random, 4, 4, 1);
            case.select = select;
            case.input = input;
            case.ce_factor = Some(1.0);
            case.label_smoothing = 0.1;
            let masked = case.targets[0] as usize;
            for position in case.x[..4 * 11].chunks_mut(11) {
                position[masked] = f64::NEG_INFINITY;
            }
            for (level, got) in singles(&case) {
                assert_eq!(got.total, f64::INFINITY);
                assert_eq!(got.per_row[0][0], f64::INFINITY);
                assert!(got.per_row[0][1].is_finite());
                let finite = got.gradient.iter().all(|g| g.is_finite());
                assert!(finite, "{select:?} {input:?} {level}");
            }
        }
    }
}

// Other faces.

#[test]
fn rows_can_be_computed_one_by_one_in_any_order() {
    let mut case = plain(&mut Random::new(14), 6, 5, 2);
    case.ce_factor = Some(0.5);
    let want = double(&case);
    let orders = case.orders();
    let config = case.config(&orders, &[]);
    let loan = case.loan();
    let batch = case.batch(&loan);
    let checked = Checked::new(&config, &batch).expect("a valid batch");
    let isa = One::<f64>::new();
    let mut x = case.x.clone();
    let mut sums = [0.0; 2];
    for (b, x) in x.chunks_mut(checked.row_len()).enumerate().rev() {
        let mut buffer = vec![0.0; workspace_len(case.shape(), 1)];
        let mut work = Work::split(&mut buffer, case.shape(), 1).expect("enough workspace");
        let row = checked.forward(isa, b, x, true, &mut work);
        let row = row.expect("a valid row");
        checked.gradient(isa, b, x, &mut work);
        sums[0] += row.eisl / case.batch as f64;
        sums[1] += row.ce / checked.tokens() as f64;
    }
    assert_eq!(x, want.gradient);
    assert_close("eisl", sums[0], want.eisl, 1.0, DOUBLE.loss);
    let ce = want.ce.expect("cross-entropy");
    assert_close("ce", sums[1], ce, 1.0, DOUBLE.loss);
}

#[test]
fn fixed_sizes_give_the_same() {
    let mut random = Random::new(12);
    let mut case = plain(&mut random, 5, 4, 1);
    case.batch = 1;
    case.x.truncate(5 * 11);
    case.targets.truncate(4);
    case.target_lens = vec![3];
    case.output_lens = vec![4];
    case.orders = vec![1, 2];
    case.weights = vec![0.8, 0.2];
    case.ce_factor = Some(0.1);
    let want = run(One::<f32>::new(), &case).expect("a valid case");
    let orders = case.orders();
    let config: Config<'_, f32> = case.config(&orders, &[]);
    let flat: Vec<f32> = cast(&case.x);
    let mut x = [[0.0f32; 11]; 5];
    x.as_flattened_mut().copy_from_slice(&flat);
    let targets: [i32; 4] = case.targets.as_slice().try_into().expect("4 targets");
    let mut per_order = [0.0; 2];
    let isa = One::<f32>::new();
    let lens = Some((4, 3));
    let got = loss_and_gradient_fixed(isa, &config, &mut x, &targets, lens, &mut per_order);
    assert_eq!(f64::from(got.expect("a valid row").total), want.total);
    assert_eq!(per_order.map(f64::from).as_slice(), want.per_order);
    let gradient: Vec<f64> = x.as_flattened().iter().map(|&g| f64::from(g)).collect();
    assert_eq!(gradient, want.gradient);
    let too_few = loss_and_gradient_fixed(isa, &config, &mut x, &targets, lens, &mut [0.0; 1]);
    let error = too_few.expect_err("one place for two orders");
    assert!(matches!(
        error,
        EislError::Length {
            buffer: EislBuffer::PerOrder,
            ..
        }
    ));
}

// Bad input.

fn error_of(change: impl Fn(&mut Case)) -> EislError {
    let mut case = plain(&mut Random::new(13), 5, 4, 2);
    change(&mut case);
    run_double(&case).expect_err("a broken case");
    let mut errors = Vec::new();
    for (_, outcome) in run_at_all_levels(&case) {
        errors.push(outcome.expect_err("a broken case"));
    }
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    errors[0]
}

#[test]
fn errors_name_the_setting() {
    let no_orders = error_of(|c| (c.orders, c.weights) = (vec![], vec![]));
    assert_eq!(no_orders, EislError::NoOrders);
    let zero = error_of(|c| (c.orders, c.weights) = (vec![1, 0], vec![1.0, 1.0]));
    assert_eq!(zero, EislError::ZeroOrder { index: 1 });
    let weight = error_of(|c| c.weights = vec![f64::NAN]);
    assert_eq!(weight, EislError::Weight { index: 0 });
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = error_of(|c| c.temperature = temperature);
        assert_eq!(error, EislError::Temperature);
    }
    for clamp in [f64::NAN, f64::INFINITY, 0.0, 20.0] {
        assert_eq!(error_of(|c| c.clamp = Some(clamp)), EislError::Clamp);
    }
    assert_eq!(error_of(|c| c.ngram_factor = f64::NAN), EislError::Factor);
    let factor = error_of(|c| c.ce_factor = Some(f64::INFINITY));
    assert_eq!(factor, EislError::Factor);
    for epsilon in [-0.1, 1.1, f64::NAN] {
        let error = error_of(|c| c.label_smoothing = epsilon);
        assert_eq!(error, EislError::LabelSmoothing);
    }
}

#[test]
fn errors_name_the_row_and_the_column() {
    let token = error_of(|c| c.targets[6] = 11);
    let expected = EislError::Token {
        row: 1,
        column: 2,
        id: 11,
    };
    assert_eq!(token, expected);
    assert!(!token.to_string().is_empty());
    let negative = error_of(|c| c.targets[0] = -1);
    assert_eq!(
        negative,
        EislError::Token {
            row: 0,
            column: 0,
            id: -1
        }
    );
    let pad = error_of(|c| (c.padding, c.targets[3]) = (Padding::None, IGNORE));
    assert_eq!(
        pad,
        EislError::Token {
            row: 0,
            column: 3,
            id: IGNORE
        }
    );
    let target = error_of(|c| c.target_lens[2] = 5);
    assert_eq!(target, EislError::TargetLen { row: 2, len: 5 });
    let output = error_of(|c| c.output_lens[1] = 6);
    assert_eq!(output, EislError::OutputLen { row: 1, len: 6 });
    for (input, ngram_factor) in [
        (Input::Logits, 1.0),
        (Input::LogProbs, 1.0),
        (Input::Logits, 0.0),
    ] {
        let broken = |value: f64| {
            error_of(|c| {
                c.input = input;
                c.ngram_factor = ngram_factor;
                c.ce_factor = Some(1.0);
                c.x[11 * (5 + 2) + 7] = value;
                if value == f64::NEG_INFINITY {
                    c.x[11 * (5 + 2)..][..11].fill(value);
                }
            })
        };
        let (row, position, column) = (1, 2, 7);
        let nan = EislError::Nan {
            row,
            position,
            column,
        };
        let infinite = EislError::Infinite {
            row,
            position,
            column,
        };
        assert_eq!(broken(f64::NAN), nan);
        assert_eq!(broken(f64::INFINITY), infinite);
        assert_eq!(
            broken(f64::NEG_INFINITY),
            EislError::NoProbability { row, position }
        );
    }
}

#[test]
fn errors_name_the_buffer() {
    let shape = Shape {
        batch: 2,
        positions: 4,
        targets: 3,
        vocabulary: 5,
    };
    let orders = [(1, 0.5f32), (2, 0.5)];
    let config = Config::new(&orders);
    let lens = [3, 3];
    let noise = vec![0.0; noise_len(shape, &orders)];
    let good = Batch {
        target_lens: Some(&lens),
        output_lens: Some(&lens),
        noise: Some(&noise),
        ..Batch::new(shape, &[0, 1, 2, 3, 4, 0])
    };
    let isa = One::<f32>::new();
    // Sizes of input, gradient, parts and workspace less or more than they should be.
    let run =
        |batch: &Batch<'_, f32>, input: usize, gradient: usize, parts: [usize; 2], work: usize| {
            let x = vec![0.0; input];
            let [mut per_order, mut per_row] = parts.map(|len| vec![0.0; len]);
            let parts = Parts {
                per_order: Some(&mut per_order),
                per_row: Some(&mut per_row),
                ..Parts::none()
            };
            let gradient = &mut vec![0.0; gradient];
            let workspace = &mut vec![0.0; work];
            eisl::loss_and_gradient(isa, &config, batch, &x, gradient, parts, workspace)
        };
    let work = workspace_len(shape, 2);
    assert!(run(&good, 40, 40, [2, 4], work).is_ok());
    let length = |buffer, expected, got| {
        Err(EislError::Length {
            buffer,
            expected,
            got,
        })
    };
    assert_eq!(
        run(&good, 39, 39, [2, 4], work),
        length(EislBuffer::Input, 40, 39)
    );
    assert_eq!(
        run(&good, 40, 41, [2, 4], work),
        length(EislBuffer::Gradient, 40, 41)
    );
    assert_eq!(
        run(&good, 40, 40, [3, 4], work),
        length(EislBuffer::PerOrder, 2, 3)
    );
    assert_eq!(
        run(&good, 40, 40, [2, 2], work),
        length(EislBuffer::PerRow, 4, 2)
    );
    let short = length(EislBuffer::Workspace, work, work - 1);
    assert_eq!(run(&good, 40, 40, [2, 4], work - 1), short);

    let with = |batch: Batch<'_, f32>| run(&batch, 40, 40, [2, 4], work);
    let targets = with(Batch {
        targets: &[0; 5],
        ..good
    });
    assert_eq!(targets, length(EislBuffer::Targets, 6, 5));
    let target_lens = with(Batch {
        target_lens: Some(&[1]),
        ..good
    });
    assert_eq!(target_lens, length(EislBuffer::TargetLens, 2, 1));
    let output_lens = with(Batch {
        output_lens: Some(&[1; 3]),
        ..good
    });
    assert_eq!(output_lens, length(EislBuffer::OutputLens, 2, 3));
    let short_noise = with(Batch {
        noise: Some(&noise[1..]),
        ..good
    });
    assert_eq!(
        short_noise,
        length(EislBuffer::Noise, noise.len(), noise.len() - 1)
    );
    let mut bad = noise.clone();
    bad[3] = f32::NAN;
    assert_eq!(
        with(Batch {
            noise: Some(&bad),
            ..good
        }),
        Err(EislError::Noise { index: 3 })
    );
    let empty = Shape {
        vocabulary: 0,
        ..shape
    };
    assert_eq!(
        with(Batch {
            shape: empty,
            ..good
        }),
        Err(EislError::EmptyVocabulary)
    );
    let huge = Shape {
        batch: usize::MAX,
        ..shape
    };
    assert_eq!(
        with(Batch {
            shape: huge,
            ..good
        }),
        Err(EislError::TooLarge)
    );
}

#[test]
fn nothing_costs_nothing() {
    let full = Shape {
        batch: 2,
        positions: 3,
        targets: 3,
        vocabulary: 4,
    };
    for shape in [
        Shape { batch: 0, ..full },
        Shape {
            positions: 0,
            ..full
        },
        Shape { targets: 0, ..full },
    ] {
        let orders = [(1, 1.0)];
        let config = Config {
            ce_factor: 1.0,
            ..Config::new(&orders)
        };
        let targets = vec![1; shape.batch * shape.targets];
        let mut x = vec![0.5; shape.batch * shape.positions * shape.vocabulary];
        let mut workspace = vec![0.0; workspace_len(shape, 1)];
        let batch = Batch::new(shape, &targets);
        let isa = One::<f64>::new();
        let parts = Parts::none();
        let losses =
            loss_and_gradient_in_place(isa, &config, &batch, &mut x, parts, &mut workspace);
        assert_eq!(losses, Ok(Default::default()));
        assert!(x.iter().all(|&g| g == 0.0));
    }
}

#[test]
fn an_input_of_no_positions_has_no_numbers() {
    let shape = Shape {
        batch: 2,
        positions: 0,
        targets: 3,
        vocabulary: 4,
    };
    let (config, batch) = (Config::new(&[(1, 1.0f32)]), Batch::new(shape, &[1; 6]));
    let mut workspace = vec![0.0; workspace_len(shape, 1)];
    let mut run = |x: &[f32]| {
        let (isa, parts) = (One::<f32>::new(), Parts::none());
        eisl::loss(isa, &config, &batch, x, parts, &mut workspace)
    };
    assert_eq!(run(&[]), Ok(Default::default()));
    let long = EislError::Length {
        buffer: EislBuffer::Input,
        expected: 0,
        got: 1,
    };
    assert_eq!(run(&[0.5]), Err(long));
}

/// Of these no buffer says how many there are, and a walk through them would not end.
#[test]
fn rows_of_nothing_are_not_walked_through() {
    let config = Config {
        ce_factor: 1.0,
        ..Config::new(&[(1, 1.0f32)])
    };
    let nothing = Shape {
        batch: usize::MAX,
        positions: 0,
        targets: 0,
        vocabulary: 4,
    };
    let unlabelled = References {
        places: 0,
        counts: None,
        combine: Combine::Mean,
        cross_entropy: None,
    };
    let labels = Shape {
        targets: 3,
        ..nothing
    };
    let batches = [
        Batch::new(nothing, &[]),
        Batch {
            references: Some(unlabelled),
            ..Batch::new(labels, &[])
        },
    ];
    for batch in batches {
        let mut workspace = vec![0.0; batch.workspace_len(&config)];
        let (isa, parts) = (One::<f32>::new(), Parts::none());
        let losses = eisl::loss(isa, &config, &batch, &[], parts, &mut workspace);
        assert_eq!(losses, Ok(Default::default()));
    }
    // The logits have a length, which does not come here.
    let positions = Shape {
        positions: 1,
        vocabulary: 1,
        ..nothing
    };
    let checked = Checked::new(&config, &Batch::new(positions, &[]));
    assert_eq!(checked.map(|checked| checked.tokens()), Ok(0));
    // What is given of each row is looked at.
    let shape = Shape {
        batch: 2,
        ..nothing
    };
    let batch = Batch {
        output_lens: Some(&[0, 1]),
        ..Batch::new(shape, &[])
    };
    let long = EislError::OutputLen { row: 1, len: 1 };
    assert_eq!(Checked::new(&config, &batch).err(), Some(long));
    let counts = References {
        counts: Some(&[0, 1]),
        ..unlabelled
    };
    let batch = Batch {
        references: Some(counts),
        ..Batch::new(shape, &[])
    };
    let many = EislError::References { row: 1, count: 1 };
    assert_eq!(Checked::new(&config, &batch).err(), Some(many));
}

/// Noise that is the same at all positions of an n-gram leaves q alone, until it rounds the scores: then q is that of
/// rounded scores, and in the end uniform. The loss is a mean of the scores all along.
#[test]
fn noise_of_any_size_leaves_a_mean_of_scores() {
    let shape = Shape {
        batch: 1,
        positions: 3,
        targets: 2,
        vocabulary: 2,
    };
    let orders = [(1, 1.0_f32)];
    let loss = |select, noise: f32| {
        let config = Config {
            select,
            ..Config::new(&orders)
        };
        let noise = [noise; 6];
        let batch = Batch {
            noise: Some(&noise),
            ..Batch::new(shape, &[0, 1])
        };
        let mut x = [0.3, -0.2, 0.5, 0.9, 0.1, 0.0];
        let mut workspace = vec![0.0; workspace_len(shape, 1)];
        let one = One::<f32>::new();
        let parts = Parts::none();
        let losses =
            loss_and_gradient_in_place(one, &config, &batch, &mut x, parts, &mut workspace);
        (losses.expect("a loss").total, x)
    };
    for select in [Select::Softmax, Select::Detached] {
        let (quiet, gradient) = loss(select, 0.0);
        let (best, _) = loss(Select::Max, 0.0);
        let (mean, _) = loss(Select::Mean, 0.0);
        for size in [1e3, 1e5, 1e7, 1e9, 1e30, 3e38] {
            for noise in [size, -size] {
                let (got, x) = loss(select, noise);
                assert!(best < got && got < mean + 0.1, "{noise}: {got}");
                match size {
                    1e3 => assert!((got - quiet).abs() < 1e-3, "{noise}: {got}"),
                    1e7 => {}
                    1e9.. => assert!((got - mean).abs() < 1e-6, "{noise}: {got}"),
                    _ => assert!((got - quiet).abs() < 0.1, "{noise}: {got}"),
                }
                for (got, quiet) in x.iter().zip(gradient) {
                    assert!((got - quiet).abs() < 0.3, "{noise}: {x:?}");
                }
            }
        }
    }
}
