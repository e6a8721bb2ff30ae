//! A table for people, lines of JSON for programs.

use serde_json::{Map, Value, json};

use crate::memory::Bytes;
use crate::row::{Agreement, Outcome, Verdict};

pub(crate) const HEADER: &str = "\
| work | ours, ms | floor | floor, ms | ours/floor | rivals, ms (ours/theirs) | bars |
|---|---|---|---|---|---|---|";

pub(crate) const MEMORY_HEADER: &str = "\
| memory besides the inputs | workspace, MiB | allocated, MiB | unit, MiB | sum/unit | bar |
|---|---|---|---|---|---|";

pub(crate) const COUNT_HEADER: &str = "\
| work | instructions |
|---|---|";

/// A row of the table.
pub(crate) fn line(outcome: &Outcome) -> String {
    let ours = outcome.ours;
    let (floor, floor_ms, ratio) = match &outcome.floor {
        Some((what, ms)) => (what.as_str(), digits(*ms), digits(ours / ms)),
        None => ("–", "–".to_string(), "–".to_string()),
    };
    let mut peers: Vec<String> = outcome
        .peers
        .iter()
        .map(|(name, ms)| format!("{name} {} ({})", digits(*ms), digits(ours / ms)))
        .collect();
    peers.extend(outcome.failures.iter().map(|why| format!("{why} (failed)")));
    let mut bars: Vec<String> = outcome.verdicts.iter().map(bar).collect();
    bars.extend(outcome.agreement.iter().map(same));
    format!(
        "| {} | {} | {floor} | {floor_ms} | {ratio} | {} | {} |",
        outcome.name,
        digits(ours),
        or_dash(&peers.join("; ")),
        or_dash(&bars.join("; ")),
    )
}

fn bar(verdict: &Verdict) -> String {
    let Verdict {
        against, at_most, ..
    } = verdict;
    let result = match verdict.is_met() {
        Some(true) => "met",
        Some(false) => "missed",
        None => "not measured",
    };
    format!("≤ {}× {against}: {result}", digits(*at_most))
}

fn same(agreement: &Agreement) -> String {
    let Agreement {
        what,
        share,
        at_least,
    } = agreement;
    let result = if agreement.is_met() { "met" } else { "missed" };
    let (share, at_least) = (digits(*share), digits(*at_least));
    format!("≥ {at_least} best items as {what}: {share}, {result}")
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

/// Three digits that count.
fn digits(x: f64) -> String {
    let whole = x.abs().max(1e-9).log10().floor() as i32;
    let places = usize::try_from(2 - whole).unwrap_or(0);
    format!("{x:.places$}")
}

/// A row as one line of JSON.
pub(crate) fn json(outcome: &Outcome, path: &str) -> Value {
    let peers: Map<String, Value> = outcome
        .peers
        .iter()
        .map(|(name, ms)| (name.clone(), json!(ms)))
        .collect();
    let bars: Vec<Value> = outcome
        .verdicts
        .iter()
        .map(|verdict| {
            json!({
                "against": verdict.against,
                "at_most": verdict.at_most,
                "ratio": verdict.ratio,
                "met": verdict.is_met(),
            })
        })
        .collect();
    json!({
        "bench": outcome.name,
        "path": path,
        "threads": outcome.threads,
        "ms": outcome.ours,
        "floor": outcome.floor.as_ref().map(|floor| &floor.0),
        "floor_ms": outcome.floor.as_ref().map(|floor| floor.1),
        "ratio_to_floor": outcome.floor.as_ref().map(|floor| outcome.ours / floor.1),
        "peers": peers,
        "bars": bars,
        "agreement": outcome.agreement.as_ref().map(|agreement| json!({
            "with": agreement.what,
            "share": agreement.share,
            "at_least": agreement.at_least,
            "met": agreement.is_met(),
        })),
        "failures": outcome.failures,
    })
}

/// The bytes of a piece of work in the table of memory.
pub(crate) fn memory_line(name: &str, bytes: Bytes) -> String {
    let mib = |bytes: usize| match bytes {
        0 => "0".to_string(),
        bytes => digits(bytes as f64 / f64::from(1 << 20)),
    };
    let Bytes {
        workspace,
        allocated,
        unit,
        at_most,
    } = bytes;
    let result = if bytes.is_met() { "met" } else { "missed" };
    format!(
        "| {name} | {} | {} | {} | {} | ≤ {}×: {result} |",
        mib(workspace),
        mib(allocated),
        mib(unit),
        digits(bytes.ratio()),
        digits(at_most),
    )
}

/// The same as one line of JSON.
pub(crate) fn memory_json(name: &str, path: &str, threads: usize, bytes: Bytes) -> Value {
    json!({
        "bench": name,
        "path": path,
        "threads": threads,
        "workspace_bytes": bytes.workspace,
        "allocated_bytes": bytes.allocated,
        "unit_bytes": bytes.unit,
        "ratio": bytes.ratio(),
        "at_most": bytes.at_most,
        "met": bytes.is_met(),
    })
}

/// A count of instructions as one line of JSON.
pub(crate) fn count_json(name: &str, path: &str, instructions: u64) -> Value {
    json!({"bench": name, "path": path, "instructions": instructions})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let verdict = |against: &str, ratio| Verdict {
            against: against.to_string(),
            at_most: 1.15,
            ratio,
        };
        Outcome {
            name: "work",
            threads: 2,
            ours: 12.0,
            floor: Some(("its product (gemm)".to_string(), 10.0)),
            peers: vec![("torch".to_string(), 48.0)],
            verdicts: vec![verdict("floor", Some(1.2)), verdict("faiss", None)],
            agreement: Some(Agreement {
                what: "f32",
                share: 0.98,
                at_least: 0.99,
            }),
            failures: Vec::new(),
        }
    }

    #[test]
    fn a_row_has_a_line_for_people() {
        assert_eq!(
            line(&outcome()),
            "| work | 12.0 | its product (gemm) | 10.0 | 1.20 | torch 48.0 (0.250) | ≤ 1.15× floor: missed; \
             ≤ 1.15× faiss: not measured; ≥ 0.990 best items as f32: 0.980, missed |"
        );
        assert_eq!(
            [digits(1234.6), digits(0.0123), digits(0.0)],
            ["1235", "0.0123", "0.00000000000"]
        );
    }

    #[test]
    fn a_row_has_a_line_for_programs() {
        let value = json(&outcome(), "avx2");
        assert_eq!(value["ratio_to_floor"], 1.2);
        assert_eq!(value["peers"]["torch"], 48.0);
        assert_eq!(value["bars"][0]["met"], false);
        assert_eq!(value["bars"][1]["met"], Value::Null);
        assert_eq!(value["agreement"]["met"], false);
        assert_eq!(
            (&value["path"], &value["threads"]),
            (&json!("avx2"), &json!(2))
        );
    }

    #[test]
    fn memory_has_both_lines() {
        let bytes = Bytes {
            workspace: 3 << 20,
            allocated: 1 << 19,
            unit: 2 << 20,
            at_most: 1.5,
        };
        let line = "| work | 3.00 | 0.500 | 2.00 | 1.75 | ≤ 1.50×: missed |";
        assert_eq!(memory_line("work", bytes), line);
        let value = memory_json("work", "avx2", 2, bytes);
        assert_eq!(
            (&value["ratio"], &value["met"]),
            (&json!(1.75), &json!(false))
        );
    }
}
