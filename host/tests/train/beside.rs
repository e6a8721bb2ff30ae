//! Averages beside the weights, and weights in 16 bits.

use std::collections::BTreeSet;

use rivergram::store::Checkpoint;

use half::{bf16, f16};

use super::*;

fn checkpoint(place: &Place, file: &str) -> Checkpoint {
    Checkpoint::read(&place.file(file)).expect("a checkpoint")
}

/// Weights and biases, by name.
fn weights(checkpoint: &Checkpoint, prefix: &str) -> BTreeMap<String, Vec<f32>> {
    let heads = checkpoint.tensors.iter().filter_map(|tensor| {
        let name = tensor.name.strip_prefix(prefix)?;
        let is_weight = name.ends_with(".weight") || name.ends_with(".bias");
        let is_average = name.starts_with("average.");
        (is_weight && !is_average).then(|| (name.to_string(), tensor.values.clone()))
    });
    heads.collect()
}

#[test]
fn averages_and_rounded_weights_go_on_bit_for_bit() {
    for (more, seed) in [
        ("--average ema:0.9 --weights bf16", 61),
        (
            "--average lawa:3:7 --schedule wsd --weights f16 --lr 0.01",
            62,
        ),
        ("--average mean --schedule constant", 63),
    ] {
        let line = format!("{OWN} --budgets 250,600 {more}");
        kill_and_resume(&own_data(), &line, 5, seed);
    }
}

#[test]
fn an_average_is_that_of_the_weights_of_the_stable_phase() {
    const STEPS: usize = 20;
    let place = own_data();
    let budgets: Vec<String> = (1..=STEPS).map(|step| step.to_string()).collect();
    let line = format!(
        "{OWN} --schedule constant --warmup 0 --budgets {} --quiet",
        budgets.join(",")
    );
    place.train(&format!("{line} --out plain"));
    let copies: Vec<_> = (1..=STEPS)
        .map(|step| {
            let file = format!("plain/budget-{step:06}.safetensors");
            weights(&checkpoint(&place, &file), "")
        })
        .collect();
    let n = copies.len();
    let mean = vec![1.0 / n as f64; n];
    let beta: f64 = 0.75;
    let powers: Vec<f64> = (0..n).rev().map(|age| beta.powi(age as i32)).collect();
    let sum: f64 = powers.iter().sum();
    let ema: Vec<f64> = powers.iter().map(|power| power / sum).collect();
    // Every third, of which the latest four: 9, 12, 15 and 18.
    let is_copied = |index: usize| (index + 1).is_multiple_of(3) && index + 1 >= 9;
    let lawa: Vec<f64> = (0..n)
        .map(|index| if is_copied(index) { 0.25 } else { 0.0 })
        .collect();
    for (kind, shares) in [("mean", mean), ("ema:0.75", ema), ("lawa:4:3", lawa)] {
        let folder = kind.replace(':', "-");
        place.train(&format!("{line} --average {kind} --out {folder}"));
        let found = checkpoint(&place, &format!("{folder}/latest.safetensors"));
        // What is averaged is not changed by it.
        assert_eq!(&weights(&found, ""), copies.last().expect("a copy"));
        let averaged = weights(&found, "average.");
        assert_eq!(averaged.len(), copies[0].len());
        let mut moved = 0;
        for (name, values) in averaged {
            for (index, value) in values.iter().enumerate() {
                let each = copies.iter().zip(&shares);
                let expected: f64 = each
                    .map(|(copy, share)| share * f64::from(copy[&name][index]))
                    .sum();
                let error = (f64::from(*value) - expected).abs();
                assert!(
                    error <= 1e-6,
                    "{kind}: {name}[{index}]: {value}, {expected}"
                );
                moved += usize::from(*value != copies[n - 1][&name][index]);
            }
        }
        assert!(moved > 100, "{kind}: {moved}");
    }
}

#[test]
fn averages_are_evaluated_beside_the_weights() {
    let place = own_data();
    let line = format!("{OWN} --budgets 60,120 --out run --average ema:0.9");
    let summary = place.summary(&line);
    let budgets = summary["budgets"].as_array().expect("a list");
    assert_eq!(budgets.len(), 2);
    for budget in budgets {
        let names = |what: &str| -> BTreeSet<String> {
            let metrics = budget[what].as_object().expect("metrics");
            metrics.keys().cloned().collect()
        };
        assert!(!names("metrics").is_empty());
        assert_eq!(names("metrics"), names("average"));
        assert_ne!(budget["metrics"], budget["average"]);
    }
    let table = place.train("--resume run --quiet");
    assert_eq!(table.matches("  average").count(), 2, "{table}");
    assert_eq!(place.summary("--resume run")["budgets"], summary["budgets"]);
}

#[test]
fn rounded_weights_have_16_bits_and_what_they_would_lose_is_told_once() {
    let place = own_data();
    let line = format!("{OWN} --budgets 40 --quiet");
    for kind in ["f16", "bf16"] {
        let round = |x: f32| match kind {
            "f16" => f16::from_f32(x).to_f32(),
            _ => bf16::from_f32(x).to_f32(),
        };
        let run = |floor: &str, out: &str| {
            let line = format!("{line} --weights {kind} --floor {floor} --out {kind}-{out}");
            let output = place.run(&line);
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stderr).expect("text")
        };
        let told = run("0.000001", "low");
        assert_eq!(told.matches("below half an ulp").count(), 1, "{told}");
        assert!(
            told.contains(&format!("--weights {kind}: at update")),
            "{told}"
        );
        let (mut exact, mut all) = (0, 0);
        for name in ["latest", "before-decay", "budget-000040"] {
            let file = format!("{kind}-low/{name}.safetensors");
            for value in weights(&checkpoint(&place, &file), "").values().flatten() {
                assert_eq!(round(*value), *value, "{kind}: {name}");
                exact += usize::from(*value != 0.0);
                all += 1;
            }
        }
        assert!(exact * 2 > all, "{exact} of {all}");
    }
    // The peak at its end: updates of a tenth of the weights are lost by no format.
    let told = place.run(&format!(
        "{line} --weights f16 --lr 0.05 --floor 1 --out high"
    ));
    let told = String::from_utf8(told.stderr).expect("text");
    assert!(!told.contains("ulp"), "{told}");
}

#[test]
fn what_cannot_be_averaged_or_rounded_is_refused() {
    let place = own_data();
    for kind in ["cosine", "cyclic"] {
        let line = format!("{OWN} --average mean --schedule {kind}");
        place.refused(&line, &["--average", kind, "no stable phase"]);
    }
    for (line, part) in [("--average ema:1", "lawa:K"), ("--weights f8", "bf16")] {
        let output = place.run(&format!("{OWN} {line} --out refused"));
        assert_eq!(output.status.code(), Some(2), "{line}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(part), "{line}: {text}");
    }
}
