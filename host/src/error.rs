//! The one error type of the program.
//!
//! Every message is one line: where the fault is (a file, a tensor, a row, a flag), what was found and what was
//! expected. Names come from files, so control characters in them are escaped.

use std::fmt::{self, Display, Write};
use std::io;
use std::path::Path;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, and where.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Bad input or bad usage: a file, a tensor or a flag is not what it should be.
    Input {
        /// The file, tensor or flag.
        place: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// The system failed while the program ran: a full disk, a folder that may not be written.
    Io {
        /// The file or folder.
        place: String,
        /// What was tried, as in "cannot *write it*".
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Bad input at a place given in words.
    pub fn input(place: impl Display, problem: impl Display) -> Self {
        Self::Input {
            place: place.to_string(),
            problem: problem.to_string(),
        }
    }

    /// A file whose content is wrong.
    pub fn file(file: &Path, problem: impl Display) -> Self {
        Self::input(file.display(), problem)
    }

    /// A tensor whose content is wrong.
    pub fn tensor(file: &Path, name: &str, problem: impl Display) -> Self {
        Self::input(tensor_place(file, name), problem)
    }

    /// An unknown or impossible value of a command line flag.
    pub fn flag(flag: &str, problem: impl Display) -> Self {
        Self::input(flag, problem)
    }

    /// An input file that is missing or cannot be read.
    pub fn unreadable(file: &Path, source: &io::Error) -> Self {
        Self::file(file, format_args!("cannot be read: {source}"))
    }

    /// A failure of the system at a file or folder; `action` completes "cannot …".
    pub fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io {
            place: path.display().to_string(),
            action,
            source,
        }
    }

    /// The program's exit code: 2 for bad input or usage, 1 for a failure of the system.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input { .. } => 2,
            Self::Io { .. } => 1,
        }
    }
}

/// `FILE: tensor "NAME"`, as messages name a tensor.
pub(crate) fn tensor_place(file: &Path, name: &str) -> String {
    format!("{}: tensor \"{name}\"", file.display())
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = OneLine(f);
        match self {
            Self::Input { place, problem } => write!(line, "{place}: {problem}"),
            Self::Io {
                place,
                action,
                source,
            } => write!(line, "{place}: cannot {action}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Input { .. } => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}

/// Escapes control characters on the way, so that a message stays one line.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(self.0, "{}", c.escape_default()),
            c => self.0.write_char(c),
        })
    }
}
