//! The workspace's Rust files, with and without comments and strings: what the house rules look at.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A Rust file of the workspace.
pub struct Source {
    /// From the root, with `/` between the folders.
    pub path: String,
    /// As it is.
    pub text: String,
    /// The same with each character of a comment or literal replaced by a blank; lines stay lines.
    pub code: String,
}

/// Every Rust file of the workspace, sorted by path. Hidden folders and build output are left out.
pub fn rust_files() -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root(), "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<Source>) {
    let is_build_output = folder.join("CACHEDIR.TAG").exists();
    if is_build_output {
        return;
    }
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), files);
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            files.push(Source {
                path: format!("{prefix}{name}"),
                code: code_of(&text),
                text,
            });
        }
    }
}

/// `text` with comments, strings and character literals blanked.
pub fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let blank = blank_prefix(rest, code.chars().next_back());
        let kept = if blank == 0 { first.len_utf8() } else { 0 };
        code.push_str(&rest[..kept]);
        let blanked = rest[kept..kept + blank].chars();
        code.extend(blanked.map(|c| if c == '\n' { c } else { ' ' }));
        rest = &rest[kept + blank..];
    }
    code
}

/// The length of the comment or literal that `text` begins with, or 0; `before` is the character before.
fn blank_prefix(text: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    if text.starts_with('\'') {
        return character(text);
    }
    match text.strip_prefix('r') {
        Some(after) if !in_word || before == Some('b') || before == Some('c') => raw_string(after),
        _ => 0,
    }
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// A literal with escapes, from its opening to its closing quote.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    text.len()
}

/// A character literal; 0 where the quote begins a lifetime.
fn character(text: &str) -> usize {
    let mut after = text.chars().skip(1);
    match (after.next(), after.next()) {
        (Some('\\'), _) | (_, Some('\'')) => quoted(text, '\''),
        _ => 0,
    }
}

/// What follows the `r` of a raw string, and the `r`; 0 where it is something else.
fn raw_string(after: &str) -> usize {
    let hashes = after.len() - after.trim_start_matches('#').len();
    let Some(body) = after[hashes..].strip_prefix('"') else {
        return 0;
    };
    let end = format!("\"{}", &after[..hashes]);
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    1 + hashes + 1 + length
}

/// A word of code.
#[derive(Clone, Copy)]
pub struct Word<'a> {
    /// The word.
    pub word: &'a str,
    /// The number of its line, from 1.
    pub line: usize,
    /// The code after it, to the end of the file.
    pub rest: &'a str,
}

/// The words of code, in order.
pub fn words(code: &str) -> Vec<Word<'_>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(begin) = rest.find(is_word) {
        line += rest[..begin].matches('\n').count();
        let from = &rest[begin..];
        let (word, after) = from.split_at(from.find(|c| !is_word(c)).unwrap_or(from.len()));
        words.push(Word {
            word,
            line,
            rest: after,
        });
        rest = after;
    }
    words
}
