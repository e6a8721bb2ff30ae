//! Links the programs by the scripts of their runtime.

fn main() {
    for argument in ["-Tlink.x", "--nmagic"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
