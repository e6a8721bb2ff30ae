//! Tells the crate whether RISC-V's F is there: on a stable compiler no `cfg` says so.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(riscv_f)");
    let variable = |name| std::env::var(name).unwrap_or_default();
    if has_f(&variable("TARGET"), &variable("CARGO_CFG_TARGET_FEATURE")) {
        println!("cargo::rustc-cfg=riscv_f");
    }
}

/// Whether a target has F by its features, or by the letters of its name: `riscv32imafc-unknown-none-elf`; G stands
/// for IMAFD.
fn has_f(target: &str, features: &str) -> bool {
    let Some(extensions) = target.strip_prefix("riscv") else {
        return false;
    };
    let letters = extensions.split(['-', '_']).next().unwrap_or_default();
    letters.contains(['f', 'g']) || features.split(',').any(|feature| feature == "f")
}
