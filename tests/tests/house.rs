//! The rules of the house that the compiler does not check.

use std::collections::BTreeSet;
use std::process::Command;

use rivergram_tests::source::{Source, Word, code_of, root, rust_files, words};
use serde_json::Value;

/// The files of core that contain `unsafe`, sorted: only what no safe code can reach.
const UNSAFE_IN_CORE: &[&str] = &[];

/// The other files that contain `unsafe`, sorted. Those of the proof only name symbols for the linker.
const UNSAFE_ELSEWHERE: &[&str] = &[
    "simd/src/avx2.rs",
    "tests/no-panic/src/bin/f32.rs",
    "tests/no-panic/src/bin/f64.rs",
    "tests/no-panic/src/bin/panics.rs",
    "tests/no-panic/src/lib.rs",
];

/// What each published crate may use of this workspace: the arrows point one way.
const ARROWS: &[(&str, &[&str])] = &[
    ("rivergram-core", &[]),
    ("rivergram-simd", &["rivergram-core"]),
    ("rivergram-cuda-kernels", &["rivergram-core"]),
    ("rivergram-c", &["rivergram-core"]),
    (
        "rivergram",
        &["rivergram-core", "rivergram-simd", "rivergram-cuda-kernels"],
    ),
];

/// What the crates for small devices always pull in; anything else is behind a feature.
const PLAIN_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("rivergram-core", &["heapless", "libm"]),
    ("rivergram-simd", &["rivergram-core", "wide"]),
];

fn read(file: &str) -> Option<String> {
    std::fs::read_to_string(root().join(file)).ok()
}

// The Rust files.

/// Each place where the keyword stands in code.
fn unsafe_words(source: &Source) -> Vec<Word<'_>> {
    let mut words = words(&source.code);
    words.retain(|word| word.word == "unsafe");
    words
}

#[test]
fn unsafe_stands_only_in_the_listed_files() {
    let files = rust_files();
    let (core, elsewhere): (Vec<&str>, Vec<&str>) = files
        .iter()
        .filter(|source| !unsafe_words(source).is_empty())
        .map(|source| source.path.as_str())
        .partition(|path| path.starts_with("core/"));
    assert_eq!(core, UNSAFE_IN_CORE);
    assert_eq!(elsewhere, UNSAFE_ELSEWHERE);
}

#[test]
fn unsafe_blocks_give_their_reason() {
    for source in rust_files() {
        for word in unsafe_words(&source) {
            assert!(
                !needs_reason(word) || has_reason(&source, word.line),
                "{}:{}: no `// SAFETY:` comment before the block",
                source.path,
                word.line
            );
        }
    }
}

/// Whether a block or an implementation begins here; a function states its contract in its docs.
fn needs_reason(word: Word<'_>) -> bool {
    let next = word.rest.trim_start();
    next.starts_with('{') || next.starts_with("impl")
}

/// Whether a comment with the reason stands right before the statement to which the line belongs.
fn has_reason(source: &Source, line: usize) -> bool {
    let code: Vec<&str> = source.code.lines().collect();
    let text: Vec<&str> = source.text.lines().collect();
    for above in (0..line - 1).rev() {
        let (code, text) = (code[above].trim(), text[above].trim());
        let is_comment = code.is_empty() && text.starts_with("//");
        if is_comment && text.starts_with("// SAFETY:") {
            return true;
        }
        // The arm of a match may have been given braces only because it is long.
        let opens = code.ends_with('{') && !code.ends_with("=> {");
        let ends_statement = code.is_empty() || opens || code.ends_with([';', '}', ',']);
        if !is_comment && ends_statement {
            return false;
        }
    }
    false
}

#[test]
fn nothing_is_left_unfinished() {
    for source in rust_files() {
        for Word { word, line, rest } in words(&source.code) {
            let is_marker = matches!(word, "todo" | "unimplemented" | "dbg");
            let unfinished = is_marker && rest.starts_with('!');
            assert!(!unfinished, "{}:{line}: {word}!", source.path);
        }
    }
}

/// Adapters of the standard library that count with `+`: a caller who turns overflow checks on gets their panic,
/// which core promises not to have.
const COUNTING: &[&str] = &["enumerate", "count", "position"];

/// The method calls that count.
fn counting_calls(code: &str) -> Vec<(&str, usize)> {
    let mut calls = Vec::new();
    let mut after_dot = false;
    let mut last = code.len();
    for Word { word, line, rest } in words(code) {
        let start = code.len() - rest.len() - word.len();
        if last < start {
            after_dot = code[last..start].trim_end().ends_with('.');
        }
        last = start + word.len();
        let call = rest.trim_start().strip_prefix('(').map(str::trim_start);
        // A position in a schedule is asked for without a condition.
        let is_own = word == "position" && call.is_some_and(|call| call.starts_with(')'));
        let is_call = call.is_some() && !is_own;
        if after_dot && is_call && COUNTING.contains(&word) {
            calls.push((word, line));
        }
    }
    calls
}

#[test]
fn core_counts_without_a_panic() {
    for source in rust_files() {
        if source.path.starts_with("core/src/") {
            let calls = counting_calls(&source.code);
            assert!(calls.is_empty(), "{}: {calls:?}", source.path);
        }
    }
}

#[test]
fn counting_calls_are_found() {
    let code = "a.enumerate()\n  .count( ).\nposition(b); a.position(); fn count(position: u8) { count(); a.count; }";
    let found = [("enumerate", 1), ("count", 2), ("position", 3)];
    assert_eq!(counting_calls(code), found);
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = r####"a /* x /* unsafe */ " */ b "\" unsafe" c 'u' d '\'' e r#"" unsafe"# f<'g> br"\" h // unsafe
i"####;
    let code = code_of(text);
    let found: Vec<_> = words(&code).iter().map(|word| word.word).collect();
    assert_eq!(found, ["a", "b", "c", "d", "e", "f", "g", "b", "h", "i"]);
    assert_eq!(words(&code).last().map(|word| word.line), Some(2));
    let columns = |text: &str| text.lines().map(str::len).collect::<Vec<_>>();
    assert_eq!(columns(&code), columns(text));
}

#[test]
fn a_reason_belongs_to_the_statement_after_it() {
    let verdicts = |text: &str| {
        let source = Source {
            path: String::new(),
            code: code_of(text),
            text: text.to_string(),
        };
        let verdict = |word: Word<'_>| (needs_reason(word), has_reason(&source, word.line));
        unsafe_words(&source)
            .into_iter()
            .map(verdict)
            .collect::<Vec<_>>()
    };
    let given = "f();\n// SAFETY: because,\n// as said.\nlet x =\n    unsafe { g() };\n";
    assert_eq!(verdicts(given), [(true, true)]);
    let of_arm = "// SAFETY: because.\nNone => {\n    unsafe { g() }\n}\n";
    assert_eq!(verdicts(of_arm), [(true, true)]);
    let of_another = "// SAFETY: because.\nf();\nunsafe { g() }\n";
    assert_eq!(verdicts(of_another), [(true, false)]);
    let items = "unsafe fn f() {}\n\nunsafe impl Send for X {}\n";
    assert_eq!(verdicts(items), [(false, false), (true, false)]);
}

// The manifests.

/// The members of the workspace as cargo describes them.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {errors}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("a list").clone()
}

fn name(value: &Value) -> &str {
    value["name"].as_str().expect("a name")
}

fn dependencies(package: &Value) -> &[Value] {
    package["dependencies"].as_array().expect("a list")
}

fn is_published(package: &Value) -> bool {
    let registries = package["publish"].as_array();
    registries.is_none_or(|list| !list.is_empty())
}

fn entry<'a>(table: &[(&str, &'a [&'a str])], crate_name: &str) -> Option<&'a [&'a str]> {
    let (_, list) = table.iter().find(|(name, _)| *name == crate_name)?;
    Some(list)
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    let members: BTreeSet<&str> = packages.iter().map(name).collect();
    for package in packages.iter().filter(|package| is_published(package)) {
        let crate_name = name(package);
        let arrows = entry(ARROWS, crate_name)
            .unwrap_or_else(|| panic!("{crate_name} is published: it needs a line in ARROWS"));
        for dependency in dependencies(package).iter().map(name) {
            let may = !members.contains(dependency) || arrows.contains(&dependency);
            assert!(may, "{crate_name} depends on {dependency}");
        }
    }
}

#[test]
fn small_crates_stay_small() {
    for package in &packages() {
        let crate_name = name(package);
        let Some(plain) = entry(PLAIN_DEPENDENCIES, crate_name) else {
            continue;
        };
        for dependency in dependencies(package) {
            let always = dependency["kind"].is_null() && dependency["optional"] == false;
            let may = !always || plain.contains(&name(dependency));
            assert!(may, "{crate_name} always pulls in {}", name(dependency));
        }
    }
}

#[test]
fn crates_say_what_they_are() {
    for package in &packages() {
        for field in ["description", "license", "rust_version"] {
            let text = package[field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{}: no {field}", name(package));
        }
    }
}

// The texts.

#[test]
fn dependencies_of_published_crates_have_a_reason() {
    let text = read("ARCHITECTURE.md").expect("ARCHITECTURE.md");
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let said: BTreeSet<&str> = text.split(|c| !is_part(c)).collect();
    for package in packages().iter().filter(|package| is_published(package)) {
        for dependency in dependencies(package).iter().map(name) {
            let why = format!("why does {} need {dependency}?", name(package));
            assert!(said.contains(dependency), "ARCHITECTURE.md: {why}");
        }
    }
}

#[test]
fn the_readme_names_the_commands() {
    let readme = read("README.md").expect("README.md");
    let ci = read(".ci/run").expect(".ci/run");
    let last = ci.lines().last().expect("a command");
    let test_command = last
        .strip_prefix("exec ")
        .expect("the command that ends the script");
    assert_eq!(test_command, "cargo xtask test --setup");
    for command in ["cargo run --release", test_command] {
        assert!(readme.contains(command), "README.md: {command}");
    }
}
