//! The rules of the house that the compiler does not check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use rivergram_tests::source::{Source, Word, code_of, root, rust_files, words};
use serde_json::Value;

/// The files of core that contain `unsafe`, sorted: only what no safe code can reach.
const UNSAFE_IN_CORE: &[&str] = &["core/src/fpu.rs"];

/// The other files that contain `unsafe`, sorted. Those of the proof only name symbols for the linker, those of the
/// firmware tests stand for a board. In those of the C functions every function takes pointers; `raw.rs` alone looks
/// behind them. Their test calls them. Those of the costs read a counter, and name
/// functions. That of the bench calls the products of crates that take pointers. Those of the kernels hold the
/// instructions of a GPU, and the functions that its driver calls; those of the host call that driver, or take raw
/// handles, and the example, the bench and the tests beside them call these. One maps a file into memory.
const UNSAFE_ELSEWHERE: &[&str] = &[
    "bench/src/products.rs",
    "c-api/src/continual.rs",
    "c-api/src/eisl.rs",
    "c-api/src/gram.rs",
    "c-api/src/head.rs",
    "c-api/src/raw.rs",
    "c-api/src/status.rs",
    "c-api/src/trainer.rs",
    "c-api/src/volume.rs",
    "c-api/src/wsds.rs",
    "cuda-kernels/src/device/nvptx.rs",
    "cuda-kernels/src/entries.rs",
    "host/examples/cust.rs",
    "host/src/cuda/calls.rs",
    "host/src/cuda/nvidia.rs",
    "host/src/cuda/raw.rs",
    "host/src/map.rs",
    "simd/src/avx2.rs",
    "tests/firmware/board/src/lib.rs",
    "tests/firmware/board/src/memory.rs",
    "tests/firmware/board/src/stack.rs",
    "tests/firmware/programs/src/bin/faults.rs",
    "tests/gpu/src/bench.rs",
    "tests/gpu/src/raw.rs",
    "tests/gpu/tests/emulation.rs",
    "tests/no-panic/src/bin/c.rs",
    "tests/no-panic/src/bin/f32.rs",
    "tests/no-panic/src/bin/f64.rs",
    "tests/no-panic/src/bin/panics.rs",
    "tests/no-panic/src/bin/waits.rs",
    "tests/no-panic/src/lib.rs",
    "tests/size/src/clock.rs",
    "tests/size/src/measure.rs",
    "tests/tests/c_api.rs",
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
    ("rivergram-c", &["rivergram-core"]),
    ("rivergram-core", &["heapless", "libm"]),
    ("rivergram-cuda-kernels", &["rivergram-core"]),
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

/// What makes a type of core loggable, after the line that makes it comparable.
const FORMAT: &str = "#[cfg_attr(feature = \"defmt\", derive(defmt::Format))]";

/// The types that are plain values, so can be compared, but that firmware cannot log. Private ones count: a public
/// type may hold one, and is only loggable if that is.
fn values_that_firmware_cannot_log(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if !line.starts_with("#[derive(") || !line.contains("PartialEq") {
            continue;
        }
        let mut rest = lines[at + 1..].iter();
        let item = rest.find(|line| !line.starts_with("#[")).unwrap_or(&"");
        if lines.get(at + 1) != Some(&FORMAT) {
            found.push(*item);
        }
    }
    found
}

#[test]
fn firmware_can_log_every_value_of_core() {
    let mut formats = 0;
    for source in rust_files() {
        if source.path.starts_with("core/src/") {
            let found = values_that_firmware_cannot_log(&source.text);
            assert!(found.is_empty(), "{}: no {FORMAT}: {found:?}", source.path);
            formats += source.text.matches(FORMAT).count();
        }
        let of_errors = source.path.starts_with("core/src/error/");
        for line in source.text.lines().filter(|_| of_errors) {
            let is_value = !line.starts_with("#[derive(") || line.contains("PartialEq");
            assert!(is_value, "{}: {line}", source.path);
        }
    }
    assert!(formats > 50, "only {formats} types can be logged");
}

#[test]
fn values_that_firmware_cannot_log_are_found() {
    let text = format!(
        "#[derive(Debug, PartialEq)]\n#[non_exhaustive]\npub enum A {{}}\n\
         #[derive(PartialEq)]\n{FORMAT}\n#[non_exhaustive]\npub struct B;\n\
         #[derive(PartialEq)]\npub(crate) struct C;\n#[derive(Debug)]\npub struct D;"
    );
    let found = ["pub enum A {}", "pub(crate) struct C;"];
    assert_eq!(values_that_firmware_cannot_log(&text), found);
}

#[test]
fn counting_calls_are_found() {
    let code = "a.enumerate()\n  .count( ).\nposition(b); a.position(); fn count(position: u8) { count(); a.count; }";
    let found = [("enumerate", 1), ("count", 2), ("position", 3)];
    assert_eq!(counting_calls(code), found);
}

/// A public function: its name, with what follows it, its line, its documentation, and whether a trait declares it.
struct Function<'a> {
    name: Word<'a>,
    line: usize,
    docs: Vec<&'a str>,
    of_trait: bool,
}

/// A file of this text, for the tests of the rules.
fn source_of(text: &str) -> Source {
    Source {
        path: String::new(),
        code: code_of(text),
        text: text.to_string(),
    }
}

/// The public functions of a file. Methods count, and so do those that a public trait declares. A module that is
/// not public shows none that is not re-exported: the lint `unreachable_pub` sees to it.
fn public_functions(source: &Source) -> Vec<Function<'_>> {
    let text: Vec<&str> = source.text.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    let words = words(&source.code);
    let mut found = Vec::new();
    // Braces that are open, and how many of them stand around the methods of the public trait, if one is.
    let (mut depth, mut of_trait, mut done) = (0, None, 0);
    for (at, word) in words.iter().enumerate() {
        let start = source.code.len() - word.rest.len() - word.word.len();
        for brace in source.code[done..start].matches(['{', '}']) {
            depth = if brace == "{" { depth + 1 } else { depth - 1 };
            if brace == "}" {
                of_trait = of_trait.filter(|methods| depth >= *methods);
            }
        }
        done = start;
        let item = public_item(&words[at..]);
        if item.is_some_and(|item| item.word == "trait") {
            of_trait = Some(depth + 1);
        }
        let is_method = word.word == "fn" && of_trait == Some(depth);
        let is_function = is_method || item.is_some_and(|item| item.word == "fn");
        let name = words[at..]
            .iter()
            .skip_while(|next| next.word != "fn")
            .nth(1);
        if let (true, Some(name)) = (is_function, name) {
            found.push(Function {
                name: *name,
                line: word.line,
                docs: docs_above(&text, &code, word.line),
                of_trait: is_method,
            });
        }
    }
    found
}

/// The keyword of the public item that begins with these words.
fn public_item<'a>(words: &[Word<'a>]) -> Option<Word<'a>> {
    let (first, after) = words.split_first()?;
    let is_public = first.word == "pub" && !first.rest.trim_start().starts_with('(');
    let is_qualifier =
        |word: &&Word<'_>| ["const", "async", "unsafe", "extern"].contains(&word.word);
    let item = after.iter().find(|word| !is_qualifier(word))?;
    is_public.then_some(*item)
}

/// The lines of the documentation of the item that begins at a line; attributes may stand between them.
fn docs_above<'a>(text: &[&'a str], code: &[&str], line: usize) -> Vec<&'a str> {
    let mut docs = Vec::new();
    for above in (0..line - 1).rev() {
        let (text, code) = (text[above].trim(), code[above].trim());
        if let Some(doc) = text.strip_prefix("///") {
            docs.push(doc);
        } else if text.is_empty() || code.ends_with([';', '{', '}']) {
            break;
        }
    }
    docs.reverse();
    docs
}

/// Whether a block stands in the documentation that runs as a test and asserts something.
fn has_example(docs: &[&str]) -> bool {
    let mut block: Option<bool> = None;
    for line in docs {
        let line = line.trim();
        match (line.strip_prefix("```"), block) {
            // How the block is marked: nothing, or that its panic is what it shows.
            (Some(mark), None) => block = Some(["", "rust", "should_panic"].contains(&mark)),
            (Some(_), Some(_)) => block = None,
            (None, Some(true)) if line.contains("assert") => return true,
            _ => {}
        }
    }
    false
}

/// The public functions below some folders that break a rule, one line each.
fn breakers(folders: &[&str], breaks: impl Fn(&Function<'_>) -> bool) -> String {
    let mut list = String::new();
    for source in rust_files() {
        if folders.iter().any(|folder| source.path.starts_with(folder)) {
            for function in public_functions(&source).iter().filter(|f| breaks(f)) {
                let (line, name) = (function.line, function.name.word);
                list += &format!("{}:{line} {name}\n", source.path);
            }
        }
    }
    list
}

#[test]
fn public_functions_have_an_example() {
    let list = breakers(&["core/src/", "simd/src/"], |f| !has_example(&f.docs));
    assert!(list.is_empty(), "no example that asserts:\n{list}");
}

/// Whether a function takes as many numbers as its caller likes: a slice, or a token for work over slices.
fn takes_slices(function: &Function<'_>) -> bool {
    let rest = function.name.rest;
    // A declaration ends with `;`, which stands in the type of an array too.
    let end = rest
        .find("->")
        .into_iter()
        .chain(rest.find('{'))
        .chain(rest.find(");"));
    let parameters = &rest[..end.min().unwrap_or(rest.len())];
    let is_reference = |before: &str| {
        let before = before.trim_end();
        let before = before.strip_suffix("mut").unwrap_or(before).trim_end();
        let is_lifetime = |name: &str| !name.is_empty() && name.chars().all(char::is_alphanumeric);
        before.ends_with('&')
            || before
                .rsplit_once("&'")
                .is_some_and(|(_, name)| is_lifetime(name))
    };
    let mut until = 0;
    let mut slices = parameters.match_indices('[').map(|(at, _)| {
        let before = &parameters[until..at];
        until = at + 1;
        is_reference(before)
    });
    slices.any(|is_slice| is_slice) || words(parameters).iter().any(|word| word.word == "Isa")
}

/// Whether the documentation speaks of the cost, outside its example.
fn tells_cost(docs: &[&str]) -> bool {
    let mut in_example = false;
    docs.iter().any(|line| {
        in_example ^= line.trim().starts_with("```");
        let is_cost = |word: &Word<'_>| ["Cost", "cost", "costs"].contains(&word.word);
        !in_example && words(line).iter().any(is_cost)
    })
}

/// The head of a function that has a body, after its name, and the body with its braces.
fn head_and_body<'a>(function: &Function<'a>) -> (&'a str, &'a str) {
    let rest = function.name.rest;
    let (head, body) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
    let mut depth = 0;
    let end = body.find(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == '}' && depth == 0
    });
    (head, &body[..end.map_or(body.len(), |end| end + 1)])
}

/// Whether a function costs what it looks like: it gives a field, is a constructor that cannot fail, or computes the
/// length of a buffer. So do the operations of a number, which are what a trait declares.
fn is_plain(function: &Function<'_>) -> bool {
    let (head, body) = head_and_body(function);
    let body = body.trim_matches(['{', '}']).trim().trim_start_matches('&');
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let field = body.trim_start_matches("mut ").strip_prefix("self.");
    let is_getter = field.is_some_and(|field| field.chars().all(is_part));
    let has_self = words(head).iter().any(|word| word.word == "self");
    let is_constructor = !has_self && head.trim_end().ends_with("-> Self");
    function.of_trait || is_getter || is_constructor || function.name.word.ends_with("_len")
}

/// Whether a function that ought to say what it costs does not.
fn hides_cost(function: &Function<'_>) -> bool {
    (takes_slices(function) || !is_plain(function)) && !tells_cost(&function.docs)
}

#[test]
fn functions_tell_their_cost() {
    let list = breakers(&["core/src/", "c-api/src/"], hides_cost);
    assert!(list.is_empty(), "no cost:\n{list}");
}

#[test]
fn functions_that_hide_their_cost_are_found() {
    let found = |text: &str| {
        let source = source_of(text);
        let functions = public_functions(&source);
        functions.iter().filter(|f| hides_cost(f)).count()
    };
    for function in [
        "pub fn a(x: &[f32]) {}",
        "pub fn a<'a>(self, x: &'a mut [f32]) -> u8 { self.0 }",
        "pub fn a_len(x: &[f32]) -> usize { 0 }",
        "pub fn new<I: Isa>(isa: I, x: I::Scalar) -> Self { Self }",
        "pub fn a(n: [usize; 3], x: &mut [[f32; D]; K]) {}",
        "pub fn a(x: f32) -> f32 { x }",
        "pub fn a(&self) -> f32 { self.sum() }",
        "pub const fn a(self) -> f32 { self.a + self.b }",
        "pub fn a(&self) -> &[f32] { if self.b { self.c } else { &[] } }",
        "pub fn new(x: f32) -> Result<Self, E> { Ok(Self) }",
        "pub fn next(self) -> Self { Self }",
    ] {
        assert_eq!(found(function), 1, "{function}");
        assert_eq!(
            found(&format!("/// Cost: D steps.\n{function}")),
            0,
            "{function}"
        );
        let in_example = format!("/// ```\n/// cost();\n/// ```\n{function}");
        assert_eq!(found(&in_example), 1, "{function}");
    }
    for function in [
        "pub fn a(&self) -> &[f32] { &self.storage.a }",
        "pub fn a(&mut self) -> &mut f32 {\n    &mut self.a\n}",
        "pub const fn new(n: [usize; 3]) -> Self { Self { n } }",
        "pub const fn a_len(n: usize) -> usize { n.saturating_mul(2) }",
        "pub trait A { fn a(self) -> f32; }",
    ] {
        assert_eq!(found(function), 0, "{function}");
    }
}

/// Whether a function may fail and its documentation, outside its example, does not speak of errors. One of C has an
/// argument `error`, of which its contract speaks: it says which they are under "Errors".
fn hides_errors(function: &Function<'_>) -> bool {
    let (head, _) = head_and_body(function);
    let result = head.rsplit_once("->").map_or("", |(_, result)| result);
    let returns = |name: &str| words(result).iter().any(|word| word.word == name);
    let is_of_c = returns("rivergram_status");
    let may_fail = is_of_c || returns("Result");
    let errors = if is_of_c { "Errors: " } else { "rror" };
    let mut in_example = false;
    let says = function.docs.iter().any(|line| {
        in_example ^= line.trim().starts_with("```");
        !in_example && line.contains(errors)
    });
    !function.of_trait && may_fail && !says
}

#[test]
fn functions_that_fail_tell_their_errors() {
    let list = breakers(&["core/src/", "simd/src/", "c-api/src/"], hides_errors);
    assert!(list.is_empty(), "no word on errors:\n{list}");
}

#[test]
fn functions_that_hide_their_errors_are_found() {
    let found = |text: &str| {
        let source = source_of(text);
        let functions = public_functions(&source);
        functions.iter().filter(|f| hides_errors(f)).count()
    };
    let function = "pub fn a(x: u8) -> Result<u8, E> { Ok(x) }";
    assert_eq!(found(function), 1);
    assert_eq!(found(&format!("/// Says.\n{function}")), 1);
    assert_eq!(
        found(&format!(
            "/// ```\n/// # Ok::<(), Error>(())\n/// ```\n{function}"
        )),
        1
    );
    assert_eq!(found(&format!("/// # Errors\n/// [`E`].\n{function}")), 0);
    assert_eq!(found(&format!("/// Errors as `b`.\n{function}")), 0);
    assert_eq!(found("pub fn a(f: fn() -> Result<u8, E>) -> u8 { 0 }"), 0);
    let of_c = "pub unsafe extern \"C\" fn a(error: *mut E) -> rivergram_status {}";
    assert_eq!(found(&format!("/// `error` may be NULL.\n{of_c}")), 1);
    assert_eq!(found(&format!("/// Errors: LENGTH.\n{of_c}")), 0);
}

#[test]
fn functions_without_an_example_are_found() {
    let found = |text: &str| {
        let source = source_of(text);
        let functions = public_functions(&source);
        let found = functions.iter().filter(|f| !has_example(&f.docs));
        found.map(|f| f.name.word.to_string()).collect::<Vec<_>>()
    };
    let example = "/// ```\n/// assert!(true);\n/// ```\n";
    let nothing: [&str; 0] = [];
    assert_eq!(found("pub fn a() {}\n"), ["a"]);
    assert_eq!(found("/// Says.\npub const unsafe fn a() {}"), ["a"]);
    assert_eq!(found(&format!("{example}pub fn a() {{}}")), nothing);
    let attribute = "#[cfg(any(\n    unix,\n    windows\n))]\n#[inline]\n";
    assert_eq!(
        found(&format!("{example}#[inline]\npub const fn a() {{}}")),
        nothing
    );
    assert_eq!(
        found(&format!("{example}pub fn a() {{}}\n\npub fn b() {{}}")),
        ["b"]
    );
    assert_eq!(
        found(&format!("{example}pub fn a() {{}}\npub fn b() {{}}")),
        ["b"]
    );
    assert_eq!(found(&format!("{attribute}pub fn a() {{}}")), ["a"]);
    assert_eq!(
        found(&format!("{example}{attribute}pub fn a() {{}}")),
        nothing
    );
    for mark in ["text", "ignore", "no_run", "compile_fail"] {
        let other = example.replacen("```", &format!("```{mark}"), 1);
        assert_eq!(found(&format!("{other}pub fn a() {{}}")), ["a"], "{mark}");
    }
    let silent = "/// ```\n/// a();\n/// ```\n/// It will assert.\npub fn a() {}";
    assert_eq!(found(silent), ["a"]);
    let private =
        "fn a() {}\npub(crate) fn b() {}\npub struct C;\npub mod fn_ {}\n// pub fn d() {}";
    assert_eq!(found(private), nothing);
    let methods = format!(
        "pub trait A: B {{\n    type C;\n    fn a();\n{example}    fn b() {{\n        fn c() {{}}\n    }}\n    fn d() {{}}\n}}\nfn e() {{}}"
    );
    assert_eq!(found(&methods), ["a", "d"]);
    assert_eq!(found(&methods[4..]), nothing, "a private trait");
    let implementation = "pub trait A {}\nimpl A for B {\n    fn a() {}\n    pub fn b() {}\n}";
    assert_eq!(found(implementation), ["b"]);
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
        let source = source_of(text);
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

/// The blocks of a text in one language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks.filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn the_readme_names_what_its_examples_depend_on() {
    let readme = read("README.md").expect("README.md");
    let lines = blocks(&readme, "toml").concat();
    let places: BTreeMap<&str, &str> = lines
        .lines()
        .filter_map(|line| line.split_once(" = { path = \"../rivergram/"))
        .filter_map(|(name, rest)| Some((name, rest.split_once('"')?.0)))
        .collect();
    let is_of = |package: &&Value| places.contains_key(name(package));
    let all = packages();
    let found: Vec<&Value> = all.iter().filter(is_of).collect();
    assert_eq!(found.len(), places.len(), "{places:?}");
    for package in found {
        let manifest = package["manifest_path"].as_str().expect("a path");
        let place = places.get(name(package)).expect("a place");
        let stated = root().join(place).join("Cargo.toml");
        let stated = stated.canonicalize().expect(place);
        assert_eq!(Path::new(manifest), stated, "{place}");
    }
    for code in blocks(&readme, "rust") {
        let uses = code.lines().filter_map(|line| line.strip_prefix("use "));
        let crates = uses.filter_map(|path| path.split("::").next());
        for used in crates.filter(|used| used.starts_with("rivergram")) {
            let used = used.replace('_', "-");
            assert!(places.contains_key(used.as_str()), "README.md: {used}");
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
