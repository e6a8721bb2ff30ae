//! Lets the program `waits` link, which has the one panic that no future is without.

fn main() {
    println!("cargo:rustc-link-arg-bin=waits=--defsym=a_panic_is_possible=0");
    println!("cargo:rerun-if-changed=build.rs");
}
