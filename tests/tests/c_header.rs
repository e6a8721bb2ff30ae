//! The header for C is what the sources of the C functions say.

use rivergram_tests::source::root;

/// Set, the header is written instead of compared.
const UPDATE: &str = "RIVERGRAM_UPDATE";

fn generated() -> String {
    let folder = root().join("c-api");
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("cbindgen.toml");
    let bindings = cbindgen::Builder::new()
        .with_crate(&folder)
        .with_config(config)
        .generate()
        .expect("the sources are understood");
    let mut header = Vec::new();
    bindings.write(&mut header);
    let header = String::from_utf8(header).expect("text");
    // The heading that Rust has for a contract.
    header.replace("# Safety", "Contract:")
}

#[test]
fn the_header_is_that_of_the_sources() {
    let file = root().join("c-api/include/rivergram.h");
    let header = generated();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, &header).expect("the header is written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let line = committed
        .lines()
        .zip(header.lines())
        .position(|(old, new)| old != new);
    assert!(
        committed == header,
        "c-api/include/rivergram.h differs from the sources, first at line {}: look at the change that \
         `{UPDATE}=1 cargo test --package rivergram-tests --test c_header` makes",
        line.unwrap_or_else(|| committed.lines().count().min(header.lines().count())) + 1
    );
}
