//! The machine code of an example, to see what the compiler made of it.

use std::path::Path;
use std::process::Command;

/// One function of a listing.
pub struct Function {
    /// The symbol.
    pub name: String,
    /// Its instructions.
    pub body: String,
}

impl Function {
    /// The symbols that it calls or jumps to, itself excepted.
    pub fn callees(&self) -> impl Iterator<Item = &str> {
        self.body.lines().filter_map(|line| {
            let (instruction, target) = line.split_once('<')?;
            let symbol = target.split(['>', '+']).next()?;
            let leaves = instruction.contains("\tcall") || instruction.contains("\tj");
            (leaves && symbol != self.name).then_some(symbol)
        })
    }
}

/// All functions of an example of rivergram-simd, built in release, in `folder`.
pub fn functions(folder: &Path, example: &str) -> Vec<Function> {
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
    let blocks = listing.split("\n\n").filter_map(|block| {
        let (title, body) = block.trim_start().split_once(">:\n")?;
        let (_, name) = title.rsplit_once('<')?;
        Some(Function {
            name: name.to_owned(),
            body: body.to_owned(),
        })
    });
    blocks.collect()
}
