//! Writing to stdout and stderr without a panic where the reader has gone.
//!
//! A reader that leaves (`rivergram train --json | head`) does not end a training: what was trained is in the run
//! folder. So failed writes are ignored.

use std::io::{Write, stderr, stdout};

use serde::Serialize;

/// Writes text to stdout as it is.
pub(crate) fn print(text: &str) {
    let mut stdout = stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// Writes one line to stderr; control characters are escaped.
pub(crate) fn report(line: &str) {
    let _ = writeln!(stderr().lock(), "{}", one_line(line));
}

/// Writes one JSON object as a line to stdout.
pub(crate) fn print_json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(line) => print(&format!("{line}\n")),
        Err(e) => report(&format!("warning: a line of JSON is left out: {e}")),
    }
}

/// The text with its control characters escaped.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}
