//! The machine code of an example, to see what the compiler made of it.

use std::path::Path;
use std::process::Command;

/// The instructions of the only function of an example of rivergram-simd whose name contains `name`.
/// The example is built in release, in `folder`.
pub fn only_function(folder: &Path, example: &str, name: &str) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "rivergram-simd",
        ])
        .args(["--example", example, "--target-dir"])
        .arg(folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("CARGO_BUILD_TARGET")
        .status()
        .expect("cargo starts");
    assert!(built.success(), "the example {example} does not build");
    let listing = Command::new("objdump")
        .args(["--disassemble", "--no-show-raw-insn"])
        .arg(folder.join("release/examples").join(example))
        .output()
        .unwrap_or_else(|e| panic!("objdump: {e}; it is in the package binutils"));
    assert!(listing.status.success(), "objdump failed");
    let listing = String::from_utf8_lossy(&listing.stdout);
    let mut functions = listing.split("\n\n").filter(|function| {
        let title = function.lines().find(|line| line.ends_with(">:"));
        title.is_some_and(|title| title.contains(name))
    });
    let function = functions.next().expect("a function of this name");
    assert!(functions.next().is_none(), "more than one {name}");
    function.to_owned()
}
