//! The path to a GPU from outside, on a machine without one: no driver, and a driver that fails in every way. The driver is
//! a small library that a C compiler makes of `stub.c`.
#![cfg(all(target_os = "linux", feature = "cuda", feature = "demo-data"))]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// What the warning begins with.
const WARNING: &str = "warning: cuda: ";

/// A short training with a loss that has kernels.
const TRAIN: &str =
    "train --loss gram --warmup-cosine 2 --steps 8 --hidden 0 --dim 8 --batch 16 --threads 1";

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A driver made of the stub, in a folder of its own.
    fn driver(&self, define: &str) -> PathBuf {
        let folder = self.path(&format!("driver{define}"));
        fs::create_dir_all(&folder).expect("a folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stub.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]);
        compiler.arg(folder.join("libcuda.so")).arg(source);
        if !define.is_empty() {
            compiler.arg(format!("-D{define}"));
        }
        let output = compiler
            .output()
            .expect("a C compiler, which links Rust too");
        assert!(output.status.success(), "{output:?}");
        folder
    }

    fn run(&self, line: &str, driver: Option<&Path>, fails: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rivergram"));
        command
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .env_remove("RIVERGRAM_PATH")
            .env("STUB_CUDA", fails)
            .env("STUB_CUDA_COUNTS", self.path("counts"));
        if let Some(driver) = driver {
            command.env("LD_LIBRARY_PATH", driver);
        }
        command.output().expect("the program starts")
    }

    /// A run that has to succeed; the warnings about the GPU.
    fn trains(&self, line: &str, driver: Option<&Path>, fails: &str) -> Vec<String> {
        let output = self.run(line, driver, fails);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}, {fails}: {text}");
        let lines = text.lines().filter(|line| line.starts_with(WARNING));
        lines.map(str::to_string).collect()
    }

    fn json(&self, line: &str, driver: Option<&Path>, fails: &str) -> serde_json::Value {
        let output = self.run(line, driver, fails);
        assert!(output.status.success(), "{line}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
    }

    /// The files of a run by name.
    fn files(&self, run: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.path(run)).expect("a run");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let named = paths.map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            (name.into_owned(), fs::read(&path).expect("a file"))
        });
        named.collect()
    }
}

/// Whether `paths` finds a GPU with this driver, or why not.
fn availability(place: &Place, driver: Option<&Path>, fails: &str) -> Result<(), String> {
    let value = place.json("paths --json", driver, fails);
    let paths = value["paths"].as_array().expect("a list");
    let cuda = paths.iter().find(|path| path["name"] == "cuda");
    let cuda = cuda.expect("cuda is a path");
    match cuda["available"].as_bool() {
        Some(true) => Ok(()),
        _ => Err(cuda["why"].as_str().expect("a reason").to_string()),
    }
}

/// Without a device from the start a run is that of the CPU, all files of it; the reason is said once.
#[test]
fn without_a_device_a_run_is_that_of_the_cpu() {
    let place = Place::new();
    let none = place.trains(&format!("{TRAIN} --out cpu"), None, "");
    assert!(none.is_empty(), "{none:?}");
    let want = place.files("cpu");
    let (driver, old) = (place.driver(""), place.driver("OLD"));
    let mut cases = vec![
        (Some(driver.as_path()), "no-device", "has no device"),
        (Some(&driver), "capability", "compute capability 7.0"),
        (
            Some(&driver),
            "module",
            "cuModuleLoadData failed: CUDA error 218",
        ),
        (Some(&old), "", "the driver lacks cuMemAlloc_v2"),
    ];
    // On a machine with a driver nothing is missing.
    if availability(&place, None, "").is_err() {
        cases.push((None, "", "no NVIDIA driver"));
    }
    for (at, (driver, fails, reason)) in cases.into_iter().enumerate() {
        let run = format!("run-{at}");
        let lines = place.trains(&format!("{TRAIN} --path cuda --out {run}"), driver, fails);
        assert_eq!(lines.len(), 1, "{reason}: {lines:?}");
        assert!(lines[0].contains(reason), "{reason}: {lines:?}");
        assert!(lines[0].contains("the work is done on path"), "{lines:?}");
        let found = place.files(&run);
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            want.keys().collect::<Vec<_>>()
        );
        for (name, bytes) in &want {
            assert!(found.get(name) == Some(bytes), "{reason}: {name} differs");
        }
        let why = availability(&place, driver, fails).expect_err("no device");
        assert!(why.contains(reason), "{why}");
    }
}

/// Of a device that fails while it works the weights are those of the CPU: the step is made again there.
#[test]
fn a_device_that_fails_leaves_the_work_to_the_cpu() {
    let place = Place::new();
    place.trains(&format!("{TRAIN} --out cpu"), None, "");
    let want = place.files("cpu");
    let driver = place.driver("");
    for (fails, reason) in [
        ("memory", "bytes on the device, where 1073741824 are free"),
        ("copy", "cuMemcpyHtoDAsync failed: CUDA error 719"),
        (
            "launch",
            "the kernel normalise did not start: CUDA error 719",
        ),
        ("wait", "failed: CUDA error 719"),
    ] {
        let line = format!("{TRAIN} --path cuda --out {fails}");
        let lines = place.trains(&line, Some(&driver), fails);
        assert_eq!(lines.len(), 1, "{fails}: {lines:?}");
        assert!(lines[0].contains(reason), "{fails}: {lines:?}");
        let found = place.files(fails);
        for (name, bytes) in &want {
            if name.ends_with(".safetensors") {
                assert!(found.get(name) == Some(bytes), "{fails}: {name} differs");
            }
        }
        assert!(want.contains_key("latest.safetensors"));
        let config = String::from_utf8_lossy(&found["config.json"]).into_owned();
        assert!(config.contains("\"cuda\""), "{config}");
        assert_balanced(&place);
    }
}

/// That all was given back, and that something ran or was tried.
fn assert_balanced(place: &Place) {
    let text = fs::read_to_string(place.path("counts")).expect("counts");
    for line in text.lines() {
        let mut words = line.split(' ');
        let (name, taken) = (words.next(), words.next());
        if let Some(given) = words.next() {
            assert_eq!(taken, Some(given), "{name:?}: {text}");
        }
    }
}

/// The calls of a run on a device: kernels start, and what is taken is given back. What the stub computes means nothing.
#[test]
fn a_run_on_a_device_starts_kernels_and_gives_everything_back() {
    let place = Place::new();
    let driver = place.driver("");
    assert_eq!(availability(&place, Some(&driver), ""), Ok(()));
    let line = format!("{TRAIN} --path cuda --out run --json");
    let summary = place.json(&line, Some(&driver), "");
    assert_eq!(summary["path"], "cuda");
    assert_balanced(&place);
    let text = fs::read_to_string(place.path("counts")).expect("counts");
    let launches = text.lines().find_map(|line| line.strip_prefix("launches "));
    // Six steps with the loss of volumes, of 15 kernels or more each.
    let launches: u64 = launches.expect("a line").parse().expect("a number");
    assert!(launches >= 6 * 15, "{text}");
    // A run that began on a GPU goes on without one, and says so.
    let lines = place.trains("train --resume run", Some(&driver), "no-device");
    assert_eq!(lines.len(), 1, "{lines:?}");
}

/// A precision is stated by the run, which goes on in it; an older GPU says that it stays exact.
#[test]
fn a_run_states_the_precision_of_its_gpu() {
    let place = Place::new();
    let driver = place.driver("");
    let stated = |run: &str| {
        let config = place.files(run).remove("config.json").expect("options");
        let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
        config["precision"].clone()
    };
    let line = format!("{TRAIN} --path cuda --precision tf32 --out tf32");
    assert_eq!(place.trains(&line, Some(&driver), ""), [""; 0]);
    assert_eq!(stated("tf32"), "tf32");
    assert_balanced(&place);
    let again = "train --resume tf32 --add-budgets 12";
    let output = place.run(again, Some(&driver), "");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("differ in rounding"), "{text}");
    let output = place.run(
        "train --resume tf32 --precision exact --add-budgets 16",
        Some(&driver),
        "",
    );
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("had products in precision tf32: from here on they are in exact"),
        "{text}"
    );
    // And in that it goes on.
    assert_eq!(stated("tf32"), serde_json::Value::Null);
    let output = place.run("train --resume tf32 --add-budgets 20", Some(&driver), "");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("differ in rounding"), "{text}");
    let line = format!("{TRAIN} --path cuda --precision tf32 --out old");
    let lines = place.trains(&line, Some(&driver), "turing");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("no products in tf32 before compute capability 8.0"),
        "{lines:?}"
    );
    assert_eq!(stated("old"), serde_json::Value::Null);
    // Without a GPU the one that was asked for is what is missing.
    let line = format!("{TRAIN} --path cuda --precision tf32 --out none");
    let lines = place.trains(&line, Some(&driver), "no-device");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(stated("none"), serde_json::Value::Null);
}

#[test]
fn the_variable_asks_for_a_gpu_too() {
    let place = Place::new();
    let driver = place.driver("");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rivergram"));
    command
        .args(["paths", "--json"])
        .env("RIVERGRAM_PATH", "cuda");
    command.env("LD_LIBRARY_PATH", &driver);
    let output = command.output().expect("the program starts");
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value["chosen"], "cuda");
    assert_eq!(value["reason"], "asked for by RIVERGRAM_PATH");
    // Nobody is given a GPU unasked.
    let value = place.json("paths --json", Some(&driver), "");
    assert_ne!(value["chosen"], "cuda");
}
