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
    let header = header.replace("# Safety", "Contract:");
    guarded(&plain_enums(&header))
}

/// Lists of codes as C11 and C++ both have them: a type of 32 bits, and constants. What cbindgen writes asks for the
/// version of the language, 15 lines for each.
fn plain_enums(header: &str) -> String {
    let mut plain = String::new();
    let mut lines = header.lines().peekable();
    while let Some(line) = lines.next() {
        let name = line
            .strip_prefix("enum ")
            .map(|name| name.trim_end_matches(" {"));
        let Some(name) = name.filter(|name| !name.contains([' ', ';'])) else {
            plain.push_str(line);
            plain.push('\n');
            continue;
        };
        plain.push_str(&format!("typedef uint32_t {name};\nenum {{\n"));
        let codes = lines
            .by_ref()
            .skip_while(|line| line.starts_with(['#', ' ']) && !line.starts_with("    "));
        for code in codes.take_while(|line| *line != "};") {
            plain.push_str(code);
            plain.push('\n');
        }
        plain.push_str("};\n");
        // The types that cbindgen makes of it, up to the end of their condition.
        while lines.next_if(|line| !line.is_empty()).is_some() {}
    }
    plain
}

/// The guard ends below everything, the constants included.
fn guarded(header: &str) -> String {
    let end = header
        .lines()
        .find(|line| line.starts_with("#endif") && line.contains("RIVERGRAM_H"));
    let end = end.expect("a guard");
    let inside = header.replacen(&format!("{end}\n"), "", 1);
    format!("{}\n\n{end}\n", inside.trim_end())
}

#[test]
fn lists_of_codes_are_plain() {
    let written = "\
/** Says. */
enum a
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    A_ONE = 0,
};
#ifndef __cplusplus
typedef uint32_t a;
#endif // __cplusplus

struct b;
";
    let plain = "/** Says. */\ntypedef uint32_t a;\nenum {\n    A_ONE = 0,\n};\n\nstruct b;\n";
    assert_eq!(plain_enums(written), plain);
    let guard = "#ifndef RIVERGRAM_H\nx\n\n#endif  /* RIVERGRAM_H */\n\n#define Y\n";
    assert_eq!(
        guarded(guard),
        "#ifndef RIVERGRAM_H\nx\n\n\n#define Y\n\n#endif  /* RIVERGRAM_H */\n"
    );
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
