//! The options of the sequence loss: references, reductions, orders relative to the length, axes and bags,
//! against the naive oracle, central differences and what their definitions imply.

use std::collections::HashMap;

use rivergram_core::eisl::{Axis, Combine, IGNORE, Input, Objective, Padding, Select};
use rivergram_core::error::{EislBuffer, EislError};
use rivergram_tests::eisl::{
    Case, Outcome, Several, Upstream, compare, compare_gradients, plain, run_at_all_levels,
    run_double, run_everywhere,
};
use rivergram_tests::golden;
use rivergram_tests::oracle::eisl::{evaluate, evaluate_held, is_tied, log_softmax};
use rivergram_tests::precision::{DOUBLE, SINGLE, SLOPE, assert_close};
use rivergram_tests::random::Random;

const SELECTS: [Select; 5] = [
    Select::Softmax,
    Select::Detached,
    Select::LogSumExp,
    Select::Mean,
    Select::Max,
];
const AXES: [Axis; 2] = [Axis::Positions, Axis::Targets];
const PADDINGS: [Padding; 3] = [Padding::Mask, Padding::Zero, Padding::None];

fn double(case: &Case) -> Outcome {
    run_double(case).expect("a valid case")
}

/// Every precision and level against the oracle.
#[track_caller]
fn check(case: &Case) {
    let want = evaluate(case);
    compare(&format!("{case:?} f64"), &double(case), &want, &DOUBLE);
    for (level, single) in run_at_all_levels(case) {
        let single = single.expect("a valid case");
        compare(&format!("{case:?} {level}"), &single, &want, &SINGLE);
    }
}

#[test]
fn options_equal_the_oracle_on_random_cases() {
    let mut random = Random::new(31);
    let (mut checked, mut several, mut bags) = (0, 0, 0);
    for number in 0..4000 {
        let case = Case::random_more(&mut random, number);
        if is_tied(&case) {
            continue;
        }
        check(&case);
        checked += 1;
        several += usize::from(case.places() > 1);
        bags += usize::from(case.more.objective == Objective::BagOfNgrams);
    }
    assert!(checked > 3000 && several > 700 && bags > 1000);
}

/// Central differences of the total loss; the weights of the detached selection stay those of the case.
fn difference(case: &Case, at: usize, h: f64) -> f64 {
    let total = |step: f64| {
        let mut moved = case.clone();
        moved.x[at] += step;
        match case.select {
            Select::Detached => evaluate_held(&moved, case).total,
            _ => double(&moved).total,
        }
    };
    (total(h) - total(-h)) / (2.0 * h)
}

/// No tie and no kink within reach of a step: what an infinitesimal step of one entry may decide.
fn is_smooth(case: &Case) -> bool {
    if is_tied(case) {
        return false;
    }
    // At a best position, clamp or count that changes, the gradient jumps.
    let gradient = evaluate(case).gradient;
    let mut moved = case.clone();
    (0..6).all(|step| {
        for (index, x) in moved.x.iter_mut().enumerate() {
            let sign = if (index >> (step / 2)) & 1 == step % 2 {
                1e-4
            } else {
                -1e-4
            };
            *x = case.x[index] + sign;
        }
        let there = evaluate(&moved).gradient;
        let jump = gradient.iter().zip(&there).map(|(a, b)| (a - b).abs());
        jump.fold(0.0, f64::max) < 2e-2
    })
}

#[test]
fn gradients_are_central_differences_in_every_combination() {
    let mut random = Random::new(32);
    let mut combinations = 0;
    for objective in [Objective::EditInvariant, Objective::BagOfNgrams] {
        for (select, axis) in SELECTS.iter().flat_map(|s| AXES.map(|a| (*s, a))) {
            if objective == Objective::BagOfNgrams && (select, axis) != (Select::Max, AXES[0]) {
                continue;
            }
            for padding in PADDINGS {
                if objective == Objective::BagOfNgrams && padding == Padding::Zero {
                    continue;
                }
                for reduction in 0..4 {
                    for combine in [None, Some(Combine::Mean), Some(Combine::Best)] {
                        let draw = |random: &mut Random| {
                            let mut case = Case::random_more(random, combinations);
                            case.positions = case.positions.max(2);
                            case.more.objective = objective;
                            (case.select, case.more.axis, case.padding) = (select, axis, padding);
                            case.clamp = case.clamp.map(|_| -60.0);
                            case.more.noise = None;
                            case.more.references = combine.map(|combine| Several {
                                places: 2,
                                counts: vec![2; case.batch],
                                combine,
                                cross_entropy: None,
                            });
                            let len = case.batch * case.positions * case.vocabulary;
                            case.x = (0..len).map(|_| random.normal()).collect();
                            case.draw_labels(random);
                            case.draw_upstream(random, Some(reduction));
                            case
                        };
                        let mut case = draw(&mut random);
                        while !is_smooth(&case)
                            || evaluate(&case).gradient.iter().all(|g| *g == 0.0)
                        {
                            case = draw(&mut random);
                        }
                        let gradient = double(&case).gradient;
                        for _ in 0..4 {
                            let at = random.below(case.x.len());
                            let want = difference(&case, at, 1e-5);
                            assert_close(&format!("{case:?}"), gradient[at], want, 1.0, SLOPE);
                        }
                        combinations += 1;
                    }
                }
            }
        }
    }
    assert_eq!(combinations, (5 * 2 * 3 + 2) * 4 * 3);
}

// What the definitions imply, on thousands of cases.

#[test]
fn order_1_does_not_see_the_order_of_the_outputs() {
    let mut random = Random::new(33);
    for number in 0..3000 {
        let mut case = Case::random(&mut random, number);
        (case.noise, case.ce_factor) = (None, None);
        (case.orders, case.weights) = (vec![1], vec![1.0]);
        if random.below(4) == 0 && case.padding != Padding::Zero {
            case.more.objective = Objective::BagOfNgrams;
        }
        let (t, v) = (case.positions, case.vocabulary);
        let mut places: Vec<usize> = (0..case.batch * t).collect();
        for row in 0..case.batch {
            let used = match case.padding {
                Padding::Mask => case.output_lens[row],
                Padding::Zero | Padding::None => t,
            };
            for last in (1..used).rev() {
                places.swap(row * t + last, row * t + random.below(last + 1));
            }
        }
        let mut moved = case.clone();
        for (to, from) in places.iter().enumerate() {
            moved.x[to * v..][..v].copy_from_slice(&case.x[from * v..][..v]);
        }
        let both = run_everywhere(&moved)
            .into_iter()
            .zip(run_everywhere(&case));
        for ((path, got, caps), (_, want, _)) in both {
            let what = format!("{path} {case:?}");
            let scale = want.total.abs().max(1.0);
            assert_close(&what, got.total, want.total, scale, caps.loss);
            if case.select == Select::Max {
                // Of equal positions the first is taken.
                continue;
            }
            let mut back = vec![0.0; got.gradient.len()];
            for (to, from) in places.iter().enumerate() {
                back[from * v..][..v].copy_from_slice(&got.gradient[to * v..][..v]);
            }
            compare_gradients(&what, &back, &want.gradient, &caps);
        }
    }
}

#[test]
fn an_order_as_long_as_both_is_cross_entropy() {
    let mut random = Random::new(34);
    for _ in 0..2000 {
        let n = random.range(1, 8);
        let mut case = plain(&mut random, n, n, n);
        if random.below(2) == 0 {
            (case.orders, case.more.from_length) = (vec![], vec![0]);
        }
        let eisl = run_everywhere(&case);
        (case.ngram_factor, case.ce_factor) = (0.0, Some(1.0));
        for ((path, eisl, caps), (_, ce, _)) in eisl.into_iter().zip(run_everywhere(&case)) {
            let what = format!("n = T = U = {n} {path}");
            assert_close(&what, eisl.total, ce.total, ce.total.max(1.0), caps.loss);
            compare_gradients(&what, &eisl.gradient, &ce.gradient, &caps);
        }
    }
}

#[test]
fn logsumexp_and_detached_have_one_gradient_at_order_1() {
    let mut random = Random::new(35);
    for number in 0..2000 {
        let mut case = Case::random_more(&mut random, number);
        (case.more.noise, case.more.objective) = (None, Objective::EditInvariant);
        (case.orders, case.weights, case.more.from_length) = (vec![1], vec![0.5], vec![]);
        if let Some(several) = &mut case.more.references {
            // The losses differ, so another reference may be the best.
            several.combine = Combine::Mean;
        }
        case.draw_upstream(&mut random, None);
        (case.temperature, case.select) = (1.0, Select::LogSumExp);
        let want = run_everywhere(&case);
        case.select = Select::Detached;
        for ((path, got, caps), (_, want, _)) in run_everywhere(&case).into_iter().zip(want) {
            let what = format!("order 1 {path} {case:?}");
            compare_gradients(&what, &got.gradient, &want.gradient, &caps);
        }
    }
}

// Reductions.

#[test]
fn reductions_are_linear_forms_of_the_same_losses() {
    let mut random = Random::new(36);
    for number in 0..300 {
        let mut case = Case::random_more(&mut random, number);
        case.more.ce_upstream = None;
        case.more.upstream = Upstream::Mean;
        let means = run_everywhere(&case);
        let (b, orders) = (case.batch, case.order_count());
        let w = case.weights.clone();
        let each = (0..b * orders).map(|at| w[at % orders] / b as f64);
        let same = [
            Upstream::PerOrder(w.clone()),
            Upstream::PerRow(vec![1.0 / b as f64; b]),
            Upstream::None(each.collect()),
        ];
        for upstream in same {
            case.more.upstream = upstream;
            for ((path, got, caps), (_, mean, _)) in run_everywhere(&case).iter().zip(&means) {
                assert_eq!((&got.per_row, &got.rows), (&mean.per_row, &mean.rows));
                compare(&format!("{path} {case:?}"), got, mean, caps);
            }
        }
    }
}

#[test]
fn one_loss_alone_reaches_its_own_row_alone() {
    let mut random = Random::new(37);
    let mut case = plain(&mut random, 6, 5, 1);
    (case.orders, case.weights) = (vec![1, 3], vec![0.5, 0.25]);
    let mut sum = vec![0.0; case.x.len()];
    let g = [0.3, -1.0, 2.0, 0.7, 0.0, 1.5];
    let row_len = case.positions * case.vocabulary;
    for at in 0..g.len() {
        let mut one = vec![0.0; g.len()];
        one[at] = 1.0;
        case.more.upstream = Upstream::None(one);
        let got = double(&case);
        assert_eq!(got.eisl, got.per_row[at % 2][at / 2]);
        for (index, x) in got.gradient.iter().enumerate() {
            assert!(index / row_len == at / 2 || *x == 0.0);
            sum[index] += g[at] * x;
        }
    }
    case.more.upstream = Upstream::None(g.to_vec());
    compare_gradients("all", &double(&case).gradient, &sum, &DOUBLE);
}

// References.

/// The case with each reference alone, as a case of one reference per row.
fn alone(case: &Case, reference: usize) -> Case {
    let (u, places) = (case.targets_len, case.places());
    let slots = (0..case.batch).map(|row| row * places + reference);
    let mut one = case.clone();
    one.more.references = None;
    one.targets = slots
        .clone()
        .flat_map(|slot| case.targets[slot * u..][..u].to_vec())
        .collect();
    one.target_lens = slots.map(|slot| case.target_lens[slot]).collect();
    one
}

#[test]
fn several_references_are_their_mean_or_their_best() {
    let mut random = Random::new(38);
    for number in 0..500 {
        let mut case = plain(&mut random, 6, 5, 1 + number % 3);
        let several = Several {
            places: 3,
            counts: vec![3; 3],
            combine: Combine::Mean,
            cross_entropy: Some(vec![2; 3]),
        };
        case.ce_factor = Some(0.5);
        case.more.references = Some(several.clone());
        case.draw_labels(&mut random);
        case.targets.iter_mut().for_each(|y| *y = (*y).max(0));
        case.target_lens.iter_mut().for_each(|len| *len = 5);
        let singles: Vec<Outcome> = (0..3).map(|r| double(&alone(&case, r))).collect();
        let mean = double(&case);
        assert_eq!(mean.ce, singles[2].ce);
        for row in 0..3 {
            let want = singles.iter().map(|s| s.per_row[0][row]).sum::<f64>() / 3.0;
            assert_close("mean", mean.per_row[0][row], want, 1.0, 1e-12);
        }
        if is_tied(&case) {
            continue;
        }
        case.more.references = Some(Several {
            combine: Combine::Best,
            ..several
        });
        let best = double(&case);
        for (row, (_, _, chosen)) in best.rows.iter().enumerate() {
            let least = singles.iter().map(|s| s.per_row[0][row]);
            let least = least.fold(f64::INFINITY, f64::min);
            assert_eq!(best.per_row[0][row], least);
            assert_eq!(singles[*chosen].per_row[0][row], least);
        }
    }
}

#[test]
fn equal_references_are_one() {
    let mut random = Random::new(39);
    for combine in [Combine::Mean, Combine::Best] {
        for axis in AXES {
            let mut case = plain(&mut random, 6, 4, 2);
            case.more.axis = axis;
            let want = run_everywhere(&case);
            let rows = case.targets.chunks(4);
            case.targets = rows.flat_map(|row| row.repeat(2)).collect();
            case.target_lens = vec![4; 6];
            case.more.references = Some(Several {
                places: 2,
                counts: vec![2; 3],
                combine,
                cross_entropy: None,
            });
            for ((path, got, caps), (_, want, _)) in run_everywhere(&case).iter().zip(&want) {
                compare(&format!("twice {path}"), got, want, caps);
            }
        }
    }
}

#[test]
fn short_references_do_not_win_and_rows_without_any_give_0() {
    let mut case = plain(&mut Random::new(40), 6, 4, 1);
    (case.orders, case.weights) = (vec![1, 2], vec![0.5, 0.5]);
    case.more.references = Some(Several {
        places: 2,
        counts: vec![2, 2, 0],
        combine: Combine::Best,
        cross_entropy: None,
    });
    case.targets = (0..24).map(|y| y % 11).collect();
    // Empty; of one token; row 2 has none.
    case.target_lens = vec![0, 4, 1, 4, 4, 4];
    case.ce_factor = Some(1.0);
    let got = double(&case);
    assert_eq!([got.rows[0].2, got.rows[1].2], [1, 1]);
    assert_eq!((got.per_row[0][2], got.rows[2].1), (0.0, 0.0));
    let row_len = case.positions * case.vocabulary;
    assert!(got.gradient[2 * row_len..].iter().all(|g| *g == 0.0));
    check(&case);
}

// Orders relative to the length.

#[test]
fn orders_from_the_length_are_those_of_each_rows_own_length() {
    let mut random = Random::new(41);
    for number in 0..500 {
        let mut case = plain(&mut random, 7, 7, 1);
        case.select = SELECTS[number % 5];
        case.more.axis = AXES[number / 5 % 2];
        case.output_lens = (0..3).map(|_| random.below(8)).collect();
        let k = random.below(5);
        (case.orders, case.weights, case.more.from_length) = (vec![], vec![1.0], vec![k]);
        let got = run_everywhere(&case);
        for row in 0..3 {
            let n = case.output_lens[row].saturating_sub(k);
            let mut exact = case.clone();
            (exact.orders, exact.more.from_length) = (vec![n.max(1)], vec![]);
            for ((path, got, _), (_, exact, _)) in got.iter().zip(run_everywhere(&exact)) {
                let want = if n == 0 { 0.0 } else { exact.per_row[0][row] };
                assert_eq!(got.per_row[0][row], want, "{path}");
                let row_len = case.positions * case.vocabulary;
                let part = |o: &Outcome| o.gradient[row * row_len..][..row_len].to_vec();
                if n > 0 {
                    assert_eq!(part(got), part(&exact), "{path}");
                } else {
                    assert!(part(got).iter().all(|g| *g == 0.0), "{path}");
                }
            }
        }
    }
}

#[test]
fn golden_orders_from_the_length() {
    let mut files = 0;
    for file in golden::names("eisl") {
        let mut case: Case = golden::read(&format!("eisl/{file}"));
        let is_masked = case.padding == Padding::Mask;
        let too_long = case.orders.iter().any(|n| *n > case.positions);
        if is_masked || too_long || case.noise.is_some() {
            continue;
        }
        let orders = std::mem::take(&mut case.orders);
        case.more.from_length = orders.iter().map(|n| case.positions - n).collect();
        let want = case.expect.as_ref().expect("a golden outcome");
        compare(&file, &double(&case), want, &DOUBLE);
        let rounded = want.of_rounded(&case);
        for (level, single) in run_at_all_levels(&case) {
            let single = single.expect("a valid case");
            compare(&format!("{file} {level}"), &single, &rounded, &SINGLE);
        }
        files += 1;
    }
    assert!(files > 0);
}

// Bags of n-grams.

/// ‖C − B‖₁/(K + M) over all V^n n-grams, one by one.
fn bag_distance(x: &[f64], vocabulary: usize, labels: &[i32], n: usize) -> f64 {
    let log_p: Vec<Vec<f64>> = x.chunks(vocabulary).map(log_softmax).collect();
    let (k, m) = (log_p.len() + 1 - n, labels.len() + 1 - n);
    let mut bag: HashMap<Vec<i32>, f64> = HashMap::new();
    for gram in labels.windows(n) {
        *bag.entry(gram.to_vec()).or_default() += 1.0;
    }
    let mut distance = 0.0;
    for code in 0..vocabulary.pow(n as u32) {
        let mut rest = code;
        let gram: Vec<i32> = (0..n)
            .map(|_| {
                let token = (rest % vocabulary) as i32;
                rest /= vocabulary;
                token
            })
            .collect();
        let at = |j: usize| (0..n).map(|i| log_p[j + i][gram[i] as usize]).sum::<f64>();
        let expected: f64 = (0..k).map(|j| at(j).exp()).sum();
        distance += (expected - bag.get(&gram).copied().unwrap_or(0.0)).abs();
    }
    distance / (k + m) as f64
}

#[test]
fn bags_are_compared_over_all_ngrams() {
    let mut random = Random::new(42);
    for _ in 0..300 {
        let (t, u) = (random.range(1, 7), random.range(1, 7));
        let n = random.range(1, 3).min(t).min(u);
        let mut case = plain(&mut random, t, u, n);
        case.vocabulary = 4;
        case.x = (0..3 * t * 4).map(|_| 3.0 * random.normal()).collect();
        case.targets = (0..3 * u).map(|_| random.below(4) as i32).collect();
        case.more.objective = Objective::BagOfNgrams;
        let got = double(&case);
        for row in 0..3 {
            let (x, y) = (
                &case.x[row * t * 4..][..t * 4],
                &case.targets[row * u..][..u],
            );
            let want = bag_distance(x, 4, y, n);
            assert_close("bag", got.per_row[0][row], want, 1.0, 1e-12);
        }
        check(&case);
    }
}

#[test]
fn a_bag_of_nothing_a_perfect_bag_and_masked_logits() {
    let mut random = Random::new(43);
    // Longer than either, all pads, an empty output.
    let mut case = plain(&mut random, 4, 5, 1);
    case.more.objective = Objective::BagOfNgrams;
    (case.orders, case.weights) = (vec![1, 5, 6, 9], vec![1.0; 4]);
    case.targets[..5].fill(IGNORE);
    case.output_lens[2] = 0;
    let got = double(&case);
    assert!(got.per_row[1..].iter().flatten().all(|loss| *loss == 0.0));
    assert_eq!((got.per_row[0][0], got.per_row[0][2]), (0.0, 0.0));
    assert!(got.per_row[0][1] > 0.0);
    check(&case);
    // Outputs that are sure of the target in another order.
    let mut case = plain(&mut random, 4, 4, 1);
    case.more.objective = Objective::BagOfNgrams;
    case.targets = [3, 5, 3, 7].repeat(3);
    case.x = vec![f64::NEG_INFINITY; 3 * 4 * 11];
    for (position, token) in [3, 3, 7, 5].repeat(3).into_iter().enumerate() {
        case.x[position * 11 + token] = 2.0;
    }
    for (level, got) in run_at_all_levels(&case) {
        let got = got.expect("masked logits");
        assert_eq!(got.total, 0.0, "{level}");
        assert!(got.gradient.iter().all(|g| *g == 0.0));
    }
    // The same outputs have none of the target's bigrams but one.
    case.orders = vec![2];
    check(&case);
    for axis in AXES {
        for select in [Select::Softmax, Select::LogSumExp, Select::Max] {
            case.more.objective = Objective::EditInvariant;
            (case.more.axis, case.select, case.clamp) = (axis, select, Some(-20.0));
            check(&case);
        }
    }
}

// Errors.

fn error_of(change: impl Fn(&mut Case)) -> EislError {
    let mut case = plain(&mut Random::new(44), 5, 4, 2);
    change(&mut case);
    let error = run_double(&case).expect_err("a broken case");
    for (_, outcome) in run_at_all_levels(&case) {
        assert_eq!(outcome.expect_err("a broken case"), error);
    }
    assert!(!error.to_string().is_empty());
    error
}

#[test]
fn errors_name_the_option() {
    let weight =
        error_of(|c| (c.more.from_length, c.weights) = (vec![1, 2], vec![1.0, 1.0, f64::NAN]));
    assert_eq!(weight, EislError::Weight { index: 2 });
    let bag = error_of(|c| (c.more.objective, c.padding) = (Objective::BagOfNgrams, Padding::Zero));
    assert_eq!(bag, EislError::BagPadding);
    let infinite = error_of(|c| c.more.upstream = Upstream::PerRow(vec![0.0, f64::INFINITY, 0.0]));
    assert_eq!(infinite, EislError::Upstream { index: 1 });
    let nan = error_of(|c| c.more.ce_upstream = Some(vec![0.0, 0.0, f64::NAN]));
    assert_eq!(nan, EislError::CeUpstream { index: 2 });
    let length = |buffer, expected, got| EislError::Length {
        buffer,
        expected,
        got,
    };
    for (upstream, expected) in [
        (Upstream::PerOrder(vec![1.0; 2]), 1),
        (Upstream::PerRow(vec![1.0; 2]), 3),
        (Upstream::None(vec![1.0; 2]), 3),
    ] {
        let error = error_of(|c| c.more.upstream = upstream.clone());
        assert_eq!(error, length(EislBuffer::Upstream, expected, 2));
    }
    let of_ce = error_of(|c| c.more.ce_upstream = Some(vec![]));
    assert_eq!(of_ce, length(EislBuffer::CeUpstream, 3, 0));
    let noise = error_of(|c| c.more.noise = Some(vec![0.0; 5]));
    assert_eq!(noise, length(EislBuffer::Noise, 3 * 4 * 3, 5));
}

#[test]
fn errors_name_the_reference() {
    let of = |change: fn(&mut Several, &mut Vec<i32>)| {
        error_of(|c| {
            let mut several = Several {
                places: 2,
                counts: vec![2, 1, 2],
                combine: Combine::Mean,
                cross_entropy: Some(vec![1, 0, 1]),
            };
            c.targets = vec![1; 3 * 2 * 4];
            c.target_lens = vec![4; 6];
            c.ce_factor = Some(1.0);
            change(&mut several, &mut c.targets);
            c.more.references = Some(several);
        })
    };
    let count = of(|s, _| s.counts[1] = 3);
    assert_eq!(count, EislError::References { row: 1, count: 3 });
    let of_ce = of(|s, _| s.cross_entropy = Some(vec![1, 1, 1]));
    assert_eq!(of_ce, EislError::CeReference { row: 1, index: 1 });
    let token = of(|_, y| y[2 * 8 + 4 + 3] = 11);
    let (row, column, id) = (2, 7, 11);
    assert_eq!(token, EislError::Token { row, column, id });
    let length = |buffer, expected, got| EislError::Length {
        buffer,
        expected,
        got,
    };
    let counts = of(|s, _| s.counts = vec![1; 4]);
    assert_eq!(counts, length(EislBuffer::References, 3, 4));
    let of_ces = of(|s, _| s.cross_entropy = Some(vec![]));
    assert_eq!(of_ces, length(EislBuffer::CeReferences, 3, 0));
    let targets = of(|_, y| y.truncate(12));
    assert_eq!(targets, length(EislBuffer::Targets, 24, 12));
}

#[test]
fn unused_references_are_not_even_read() {
    let mut case = plain(&mut Random::new(45), 5, 4, 2);
    let want = double(&case);
    let rows = case.targets.chunks(4);
    case.targets = rows.flat_map(|row| [row, &[-7; 4]].concat()).collect();
    case.target_lens = vec![4; 6];
    case.more.references = Some(Several {
        places: 2,
        counts: vec![1; 3],
        combine: Combine::Mean,
        cross_entropy: None,
    });
    let got = double(&case);
    assert_eq!((got.total, got.gradient), (want.total, want.gradient));
}

#[test]
fn log_probabilities_have_all_options_too() {
    let mut random = Random::new(46);
    let mut checked = 0;
    for number in 0..400 {
        let mut case = Case::random_more(&mut random, number);
        case.input = Input::LogProbs;
        let rows = case.x.chunks(case.vocabulary).flat_map(log_softmax);
        case.x = rows.map(|x| f64::from(x as f32)).collect();
        if !is_tied(&case) {
            check(&case);
            checked += 1;
        }
    }
    assert!(checked > 300);
}
