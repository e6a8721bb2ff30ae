//! The proof that core and the C API cannot panic is complete: it has every public function.

use std::collections::BTreeSet;

use rivergram_tests::source::{Source, rust_files, words};

/// Where the proof lies.
const PROOF: &str = "tests/no-panic/src/";

/// A public function, by the names that a call of it may begin with.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    /// The type it belongs to, or the module and the folder it stands in: a module re-exports its files'.
    owners: Vec<String>,
    name: String,
}

/// Functions of traits that are not called in the proof, and why: the caller writes them, and core's functions call what
/// was written. Core's own are below those functions, which are proven.
const WRITTEN_BY_CALLERS: [(&str, &str); 6] = [
    ("Kernel", "run"),
    ("Work", "run"),
    ("Cells", "sum"),
    ("Cells", "noise"),
    ("Cells", "weight"),
    ("Cells", "set_weight"),
];

/// The public functions of a file of core, those of its public traits among them. Nothing there is `pub` that callers
/// cannot reach (a lint sees to it).
fn public_functions(source: &Source) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut of_type = None;
    let mut of_trait = None;
    let mut header: Option<String> = None;
    for line in source.code.lines() {
        // Formatted code begins and ends an `impl` at the margin.
        if line.starts_with("impl") {
            header = Some(String::new());
        } else if let Some(name) = line.strip_prefix("pub trait ") {
            // One without functions ends where it begins.
            of_trait = (!line.ends_with('}')).then(|| word_of(name));
        } else if line.starts_with('}') {
            of_type = None;
            of_trait = None;
        }
        if let Some(text) = &mut header {
            text.push_str(line);
            text.push(' ');
            if line.trim_end().ends_with('{') || line.trim_end().ends_with("{}") {
                of_type = type_of(text);
                header = None;
            }
        }
        // Below the functions of a trait there are those inside of them.
        let of_trait = of_trait.as_ref().filter(|_| !line.starts_with("     "));
        if let Some((owner, name)) = of_trait.zip(function_name(line.trim_start())) {
            functions.push(Function {
                owners: vec![owner.clone()],
                name,
            });
        }
        if let Some(name) = public_name(line) {
            let owners = match &of_type {
                Some(owner) if line.starts_with(' ') => vec![owner.clone()],
                _ => modules(&source.path),
            };
            functions.push(Function { owners, name });
        }
    }
    functions
}

/// The name of the function that a line declares `pub`.
fn public_name(line: &str) -> Option<String> {
    function_name(line.trim_start().strip_prefix("pub ")?)
}

/// The name of the function that a line declares.
fn function_name(line: &str) -> Option<String> {
    let mut rest = line;
    for qualifier in ["const ", "async ", "unsafe ", "extern ", "\"C\" "] {
        rest = rest.strip_prefix(qualifier).unwrap_or(rest);
    }
    rest.strip_prefix("fn ").map(word_of)
}

/// The word that a text begins with.
fn word_of(text: &str) -> String {
    let end = text.find(|c: char| !is_word(c)).unwrap_or(text.len());
    text[..end].to_string()
}

/// The type of `impl<T> path::Type<T> where … {`; none where a trait is implemented.
fn type_of(header: &str) -> Option<String> {
    let rest = after_generics(header.strip_prefix("impl")?).trim_start();
    let head = rest.split(" where ").next()?;
    if head.contains(" for ") {
        return None;
    }
    let path = head.split(['<', ' ', '{']).next()?;
    path.rsplit("::").next().map(str::to_string)
}

/// The module of a file and the one around it.
fn modules(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    let inner = parts.iter().rev().filter(|part| **part != "mod");
    inner.take(2).map(|part| part.to_string()).collect()
}

/// What follows `<…>`, if the text begins with it; `->` closes nothing.
fn after_generics(text: &str) -> &str {
    if !text.starts_with('<') {
        return text;
    }
    let mut depth = 0;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[at + 1..];
        }
        before = c;
    }
    text
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The calls `owner::name(…)` in code, also `Owner::<T>::name::<U>(…)` and `<T as Owner>::name(…)`.
fn calls(code: &str) -> BTreeSet<(String, String)> {
    let mut calls = BTreeSet::new();
    for owner in words(code) {
        let rest = owner.rest.strip_prefix('>').unwrap_or(owner.rest);
        let Some(rest) = rest.strip_prefix("::") else {
            continue;
        };
        let rest = after_generics(rest);
        let rest = rest.strip_prefix("::").unwrap_or(rest);
        let (name, rest) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
        let rest = match rest.strip_prefix("::") {
            Some(generics) => after_generics(generics),
            None => rest,
        };
        if !name.is_empty() && rest.starts_with('(') {
            calls.insert((owner.word.to_string(), name.to_string()));
        }
    }
    calls
}

#[test]
fn every_public_function_of_core_is_proven() {
    let files = rust_files();
    let proof = files.iter().filter(|source| source.path.starts_with(PROOF));
    let calls: BTreeSet<_> = proof.flat_map(|source| calls(&source.code)).collect();
    let core = files
        .iter()
        .filter(|source| source.path.starts_with("core/src/"));
    let mut missing = Vec::new();
    let mut proven = 0;
    for source in core {
        for Function { owners, name } in public_functions(source) {
            let excepted = WRITTEN_BY_CALLERS.map(|(owner, name)| (owner.into(), name.into()));
            let called = |owner: &String| {
                let call = (owner.clone(), name.clone());
                calls.contains(&call) || excepted.contains(&call)
            };
            if owners.iter().any(called) {
                proven += 1;
            } else {
                missing.push(format!("{}: {}::{name}", source.path, owners.join(" or ")));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not called in {PROOF} (its lib.rs says how):\n{}",
        missing.join("\n")
    );
    assert!(proven > 100, "only {proven} public functions are found");
}

/// An instruction of a floating-point unit sets flags of exceptions, which count among those that `preserves_flags`
/// promises to keep.
#[test]
fn assembly_of_core_does_not_promise_to_keep_flags() {
    let files = rust_files();
    let core = files
        .iter()
        .filter(|source| source.path.starts_with("core/src/"));
    let with_assembly: Vec<_> = core
        .filter(|source| words(&source.code).iter().any(|found| found.word == "asm"))
        .collect();
    assert_eq!(with_assembly.len(), 1, "fpu.rs");
    for source in with_assembly {
        let promises = words(&source.code)
            .iter()
            .any(|found| found.word == "preserves_flags");
        assert!(!promises, "{}", source.path);
    }
}

#[test]
fn every_function_of_the_c_api_is_proven() {
    let files = rust_files();
    let program = format!("{PROOF}bin/c.rs");
    let proof = files.iter().filter(|source| source.path == program);
    let proven: BTreeSet<_> = proof
        .flat_map(|source| words(&source.code))
        .map(|found| found.word)
        .collect();
    let api = files
        .iter()
        .filter(|source| source.path.starts_with("c-api/src/"));
    let exported = api
        .flat_map(|source| source.text.lines())
        .filter(|line| line.contains(" extern \"C\" fn "));
    let names: Vec<_> = exported.filter_map(public_name).collect();
    let foreign = |name: &&String| !name.starts_with("rivergram_");
    let foreign: Vec<_> = names.iter().filter(foreign).collect();
    assert!(foreign.is_empty(), "not rivergram_…: {foreign:?}");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !proven.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in {program}: {missing:?}");
    assert!(names.len() > 30, "only {} functions are found", names.len());
}

fn source(path: &str, code: &str) -> Source {
    Source {
        path: path.to_string(),
        text: code.to_string(),
        code: code.to_string(),
    }
}

#[test]
fn public_functions_are_found_with_their_owners() {
    let code = "\
pub const fn free<T>(x: T) {}
pub(crate) fn hidden() {}
impl<'a, T: Into<f32>> Thing<'a, T> {
    pub fn new() {}
    fn private() {}
}
impl<T> Iterator for Thing<T>
where
    T: Copy,
{
    fn next() {}
}
impl<F: Fn() -> u8> crate::Other<F>
where
    F: Copy,
{
    pub unsafe fn get() {}
    pub async fn wait() {}
}
pub trait Empty {}
fn free_and_private() {}
pub trait Much<T>:
    Copy
{
    const NUMBER: usize;
    fn of_a_trait(self);
    fn given<A>(self) -> usize {
        fn inside() {}
        0
    }
}
trait Hidden {
    fn of_a_hidden_trait();
}
";
    let function = |owners: &[&str], name: &str| Function {
        owners: owners.iter().map(|owner| owner.to_string()).collect(),
        name: name.to_string(),
    };
    assert_eq!(
        public_functions(&source("core/src/room/file.rs", code)),
        [
            function(&["file", "room"], "free"),
            function(&["Thing"], "new"),
            function(&["Other"], "get"),
            function(&["Other"], "wait"),
            function(&["Much"], "of_a_trait"),
            function(&["Much"], "given"),
        ]
    );
    assert_eq!(modules("core/src/room/mod.rs"), ["room", "src"]);
}

#[test]
fn calls_are_found_with_their_owners() {
    let code = "a::b::<T>(x); T::<u8, Vec<u8>>::new(); let f = m::g; x.method(); c::D::e(1); <T as S>::h(x)";
    let pair = |owner: &str, name: &str| (owner.to_string(), name.to_string());
    let found: Vec<_> = calls(code).into_iter().collect();
    let want = [("D", "e"), ("S", "h"), ("T", "new"), ("a", "b")];
    assert_eq!(found, want.map(|(owner, name)| pair(owner, name)));
}
