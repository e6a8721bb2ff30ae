//! The golden vectors of nearly aligned tuples, as constants of the program: their bits.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

const GOLDEN: &str = "../golden/gram/volume_aligned.json";

fn main() {
    println!("cargo:rerun-if-changed={GOLDEN}");
    let text = fs::read_to_string(GOLDEN).expect(GOLDEN);
    let golden: serde_json::Value = serde_json::from_str(&text).expect(GOLDEN);
    let cases = golden["cases"].as_array().expect("cases");
    let mut code = String::from("const ALIGNED_BITS: &[(&str, [[u32; 64]; 3])] = &[\n");
    for case in cases.iter().filter(|case| case["k"] == 3) {
        let vectors: Vec<Vec<f32>> =
            serde_json::from_value(case["vectors"].clone()).expect("vectors");
        let bits: Vec<Vec<u32>> = vectors
            .iter()
            .map(|row| row.iter().map(|x| x.to_bits()).collect())
            .collect();
        writeln!(code, "({}, {bits:?}),", case["name"]).expect("a string takes all");
    }
    code.push_str("];\n");
    let folder = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&folder).join("aligned.rs"), code).expect("the folder of the build");
}
