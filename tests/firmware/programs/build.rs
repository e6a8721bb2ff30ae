//! Links the programs by the scripts of their runtime, tells them where memory is short, and turns a selection of
//! the golden files into tables.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

/// From this crate's folder.
const GOLDEN: &str = "../../golden";

/// What stays in the tables of the tuples: the vectors of up to so many times so many numbers.
const LARGEST_TUPLE: usize = 3 * 64;

/// Losses of k = 2 and 3, and sequence losses without noise, in both of which the memory of a Cortex-M0 suffices.
const LOSSES: [&str; 4] = [
    "loss_k2_random",
    "loss_k2_aligned",
    "loss_k3_random",
    "loss_k3_aligned",
];
const SEQUENCES: [&str; 6] = [
    "basic_n1", "basic_n2", "basic_n3", "basic_n4", "pad_mask", "peaked",
];

/// Every so many cases of the schedules.
const SCHEDULES_STEP: usize = 5;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(small)");
    let variable = |name| std::env::var(name).unwrap_or_default();
    let small = variable("TARGET").starts_with("thumbv6m");
    if small {
        println!("cargo:rustc-cfg=small");
    }
    for argument in ["-Tlink.x", "--nmagic"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    for program in ["golden", "eight-bits", "fine-tune", "reports"] {
        println!("cargo:rustc-link-arg-bin={program}=-Tdefmt.x");
    }
    // The most vectors of a tuple, and rates of a schedule.
    let (vectors, rates) = if small { (3, 102) } else { (4, 302) };
    let tables = [tuples(vectors), losses(), sequences(), schedules(rates)].concat();
    let file = Path::new(&variable("OUT_DIR")).join("tables.rs");
    std::fs::write(&file, tables).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    println!("cargo:rerun-if-changed=build.rs");
}

fn read(name: &str) -> Value {
    let path = Path::new(GOLDEN).join(name).with_extension("json");
    println!("cargo:rerun-if-changed={}", path.display());
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// All numbers in nested lists, one after the other.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().flat_map(numbers).collect(),
        value => value.as_f64().into_iter().collect(),
    }
}

/// The same in single precision: the inputs, and gradients, of which much less than the last digit is compared.
fn singles(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|x| x as f32).collect()
}

/// A table of so many rows.
fn table(name: &str, kind: &str, rows: &[String]) -> String {
    assert!(!rows.is_empty(), "{name}: no rows");
    format!(
        "/// Generated.\npub static {name}: &[{kind}] = &[\n{}];\n",
        rows.concat()
    )
}

/// Volumes and gradients, of K = 2 to `most` vectors.
fn tuples(most: u64) -> String {
    let mut rows = Vec::new();
    for file in ["gram/volume_small", "gram/volume_aligned", "gram/edge"] {
        for case in list(&read(file)["cases"]) {
            let len = numbers(&case["vectors"]).len();
            let k = case["k"].as_u64().unwrap_or_default();
            let has_gradient = !case["grad"].is_null() || case["singular"] == true;
            if !(2..=most).contains(&k) || len > LARGEST_TUPLE || !has_gradient {
                continue;
            }
            rows.push(format!(
                "Tuple {{ name: {}, k: {k}, vectors: &{:?}, volume: {:?}, gradient: &{:?} }},\n",
                case["name"],
                singles(&case["vectors"]),
                case["volume"].as_f64().unwrap_or(f64::NAN),
                singles(&case["grad"]),
            ));
        }
    }
    table("TUPLES", "Tuple", &rows)
}

fn losses() -> String {
    let file = read("gram/loss");
    let cases = list(&file["cases"]).iter();
    let mut rows = Vec::new();
    for case in cases.filter(|case| LOSSES.iter().any(|name| case["name"] == *name)) {
        rows.push(format!(
            "Loss {{ name: {}, k: {}, rows: {}, d: {}, temperature: {:?}, label_smoothing: {:?}, vectors: &{:?}, \
             loss: {:?}, gradient: &{:?} }},\n",
            case["name"],
            case["k"],
            case["b"],
            case["d"],
            case["tau"].as_f64().unwrap_or(f64::NAN),
            case["label_smoothing"].as_f64().unwrap_or(f64::NAN),
            singles(&case["embeddings"]),
            case["loss"].as_f64().unwrap_or(f64::NAN),
            singles(&case["grad_full"]),
        ));
    }
    table("LOSSES", "Loss", &rows)
}

fn sequences() -> String {
    let mut rows = Vec::new();
    for name in SEQUENCES {
        let case = read(&format!("eisl/{name}"));
        let mut orders = String::new();
        for (n, weight) in list(&case["ngrams"]).iter().zip(numbers(&case["weights"])) {
            let _ = write!(orders, "({n}, {weight:?}), ");
        }
        let pad = match (&case["pad_mode"], &case["pad_id"]) {
            (mode, id) if mode == "mask" => format!("Some({id})"),
            _ => "None".to_string(),
        };
        rows.push(format!(
            "Sequence {{ name: {}, shape: Shape {{ batch: {}, positions: {}, targets: {}, vocabulary: {} }}, \
             logits: &{:?}, labels: &{}, pad_id: {pad}, orders: &[{orders}], loss: {:?}, gradient: &{:?} }},\n",
            case["name"],
            case["B"],
            case["T"],
            case["U"],
            case["V"],
            singles(&case["x"]),
            case["targets"],
            case["expect"]["total"].as_f64().unwrap_or(f64::NAN),
            singles(&case["expect"]["grad"]),
        ));
    }
    table("SEQUENCES", "Sequence", &rows)
}

/// Each number with how many times it comes in a row: most rates of a schedule are its peak.
fn runs(numbers: &[f64]) -> (Vec<f64>, Vec<usize>) {
    let runs = numbers.chunk_by(|a, b| a == b);
    runs.map(|run| (run[0], run.len())).unzip()
}

/// Rates of schedules that are not longer than this.
fn schedules(longest: usize) -> String {
    let file = read("schedule/wsd_s");
    let mut rows = Vec::new();
    let cases = list(&file["cases"]).iter();
    let short = cases.filter(|case| list(&case["lr"]).len() <= longest);
    for case in short.step_by(SCHEDULES_STEP) {
        let (rates, steps) = runs(&numbers(&case["lr"]));
        let shape = match case["kind"].as_str() {
            Some("linear") => "Shape::Linear",
            Some("cosine") => "Shape::Cosine",
            Some("one_minus_sqrt") => "Shape::OneMinusSqrt",
            Some("inv_prop") => "Shape::InverseProportional",
            Some("exponential") => "Shape::Geometric",
            _ => continue,
        };
        let millionths = case["decay_fraction"].as_f64().unwrap_or(f64::NAN) * 1e6;
        let decay = if case["decay_basis"] == "total" {
            "OfTotal"
        } else {
            "OfSegment"
        };
        rows.push(format!(
            "Schedule {{ shape: schedule::{shape}, budgets: &{}, decay: Decay::{decay}({}), warmup: {}, \
             rewarmup: {}, peak: {:?}, floor: {:?}, rates: &{rates:?}, steps: &{steps:?} }},\n",
            case["budgets"],
            millionths.round(),
            case["warmup"],
            case["rewarmup"],
            case["peak"].as_f64().unwrap_or(f64::NAN),
            case["floor"].as_f64().unwrap_or(f64::NAN),
        ));
    }
    table("SCHEDULES", "Schedule", &rows)
}
