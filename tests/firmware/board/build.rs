//! Gives the linker scripts of the runtimes the memory of the target's board.

use std::path::PathBuf;

/// The memory of the board that a target stands for. An image begins where the board starts.
fn memory(target: &str, mps2: bool) -> String {
    let cortex = |flash: &str, ram: &str| format!("MEMORY {{ FLASH : {flash}\n RAM : {ram} }}\n");
    match target.split('-').next() {
        Some("thumbv6m") if !mps2 => cortex(
            "ORIGIN = 0x00000000, LENGTH = 256K",
            "ORIGIN = 0x20000000, LENGTH = 16K",
        ),
        Some("thumbv6m" | "thumbv7m" | "thumbv7em") => cortex(
            "ORIGIN = 0x00000000, LENGTH = 4M",
            "ORIGIN = 0x20000000, LENGTH = 4M",
        ),
        // The secure side, on which the processor starts.
        Some("thumbv8m.main") => cortex(
            "ORIGIN = 0x10000000, LENGTH = 4M",
            "ORIGIN = 0x38000000, LENGTH = 4M",
        ),
        Some(name) if name.starts_with("riscv32") => {
            let regions = [
                ("TEXT", "FLASH"),
                ("RODATA", "FLASH"),
                ("DATA", "RAM"),
                ("BSS", "RAM"),
                ("HEAP", "RAM"),
                ("STACK", "RAM"),
            ];
            let alias =
                |(region, memory)| format!("REGION_ALIAS(\"REGION_{region}\", {memory});\n");
            // All of it is RAM, which QEMU fills from the image.
            let memory = cortex(
                "ORIGIN = 0x80000000, LENGTH = 4M",
                "ORIGIN = 0x80400000, LENGTH = 4M",
            );
            memory + &regions.map(alias).concat()
        }
        _ => panic!("no board stands for {target}"),
    }
}

fn main() {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let folder = PathBuf::from(variable("OUT_DIR"));
    let mps2 = std::env::var_os("CARGO_FEATURE_MPS2").is_some();
    let write = |name, text: &str| {
        let written = std::fs::write(folder.join(name), text);
        written.unwrap_or_else(|error| panic!("{name}: {error}"));
    };
    write("memory.x", &memory(&variable("TARGET"), mps2));
    // No interrupt has a handler of its own.
    write("device.x", "");
    println!("cargo:rustc-link-search={}", folder.display());
    println!("cargo:rerun-if-changed=build.rs");
}
