//! Which path the numerics take, and why.

use std::fmt::{self, Display, Formatter};

use rivergram_simd::{Level, LevelError};

use crate::cuda::{Device, Failure, Precision};
use crate::engine::{CUDA, Engine};
use crate::error::{Error, Result};

/// The environment variable that forces a path.
pub const VARIABLE: &str = "RIVERGRAM_PATH";

/// Why a path was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The fastest that this machine has.
    Fastest,
    /// A flag or an environment variable asked for it; this is its name.
    AskedFor(String),
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Fastest => write!(f, "the fastest of this machine"),
            Reason::AskedFor(by) => write!(f, "asked for by {by}"),
        }
    }
}

/// A path and the reason for it.
#[derive(Debug)]
pub struct Choice {
    /// The instruction set, and the GPU where it was asked for and is there.
    pub engine: Engine,
    /// Why this one.
    pub reason: Reason,
}

impl Choice {
    /// Whether a GPU was asked for, whether or not there is one.
    pub fn asks_for_gpu(&self) -> bool {
        self.engine.name() == CUDA || self.engine.failure().is_some()
    }

    /// Lets the GPU be this precise, see [`Engine::set_precision`]; returns a line where the GPU has no products but exact
    /// ones. Without a GPU, though one was asked for, all is exact.
    ///
    /// # Errors
    /// A precision other than exact, where the path is one of the CPU: the flag `--precision` is named.
    pub fn set_precision(&self, precision: Precision) -> Result<Option<String>> {
        let (name, path) = (precision_name(precision), self.engine.name());
        if precision != Precision::Exact && !self.asks_for_gpu() {
            let problem = format!("{name}: path {path} is always exact; --path {CUDA} takes it");
            return Err(Error::flag("--precision", problem));
        }
        let done = self.engine.set_precision(precision);
        let falls_back = done != precision && path == CUDA;
        Ok(falls_back.then(|| {
            format!("{CUDA}: no products in {name} before compute capability 8.0: they are exact")
        }))
    }
}

/// Every precision of the path to a GPU.
pub const PRECISIONS: [Precision; 3] = [Precision::Exact, Precision::Tf32, Precision::Bf16];

/// The name of a precision, as a flag takes it.
///
/// ```
/// use rivergram::path::{PRECISIONS, precision_name};
///
/// assert_eq!(PRECISIONS.map(precision_name), ["exact", "tf32", "bf16"]);
/// ```
pub fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Exact => "exact",
        Precision::Tf32 => "tf32",
        Precision::Bf16 => "bf16",
    }
}

/// The precision that a run states, if it states one that there is.
pub fn precision_named(name: Option<&str>) -> Precision {
    let mut all = PRECISIONS.into_iter();
    let found = all.find(|precision| Some(precision_name(*precision)) == name);
    found.unwrap_or_default()
}

/// One line of the list of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Availability {
    /// The name, as the flag takes it.
    pub name: &'static str,
    /// Whether this machine has it, or why not.
    pub available: std::result::Result<(), Missing>,
}

/// Why a machine does not have a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// An instruction set.
    Level(LevelError),
    /// The GPU.
    Cuda(Failure),
}

impl Display for Missing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Level(why) => why.fmt(f),
            Missing::Cuda(why) => why.fmt(f),
        }
    }
}

/// The names that a flag takes.
pub fn names() -> impl Iterator<Item = &'static str> {
    let levels = Level::NAMES.iter().copied();
    std::iter::once("auto").chain(levels).chain([CUDA])
}

/// Every path, with the reason where this machine does not have it.
pub fn list() -> Vec<Availability> {
    let level = |name: &&'static str| Availability {
        name,
        available: Level::named(name).map(|_| ()).map_err(Missing::Level),
    };
    let cuda = Availability {
        name: CUDA,
        available: Device::open().map(|_| ()).map_err(Missing::Cuda),
    };
    Level::NAMES.iter().map(level).chain([cuda]).collect()
}

/// The path that the flag names, else the one that [`VARIABLE`] names, else the fastest of the CPU. A GPU is used only
/// where it is asked for; without one the engine holds the reason and the fastest level.
///
/// # Errors
/// A name that is unknown or that this machine does not have; the flag or the variable is named.
pub fn choose(flag: Option<&str>) -> Result<Choice> {
    let variable = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
    let asked = match (flag, variable.as_deref()) {
        (Some(name), _) => Some(("--path", name)),
        (None, Some(name)) => {
            let problem = || Error::flag(VARIABLE, format_args!("{name:?} is no text"));
            Some((VARIABLE, name.to_str().ok_or_else(problem)?))
        }
        (None, None) => None,
    };
    match asked {
        None | Some((_, "auto")) => Ok(Choice {
            engine: Engine::new(Level::detect()),
            reason: Reason::Fastest,
        }),
        Some((by, CUDA)) => {
            let engine = Engine::with(Level::detect(), Device::open());
            let reason = match engine.failure() {
                Some(_) => Reason::Fastest,
                None => Reason::AskedFor(by.to_string()),
            };
            Ok(Choice { engine, reason })
        }
        Some((by, name)) => match Level::named(name) {
            Ok(level) => Ok(Choice {
                engine: Engine::new(level),
                reason: Reason::AskedFor(by.to_string()),
            }),
            Err(LevelError::Unknown) => {
                let known: Vec<&str> = names().collect();
                let problem = format!("{name:?} is no path; known are {}", known.join(", "));
                Err(Error::flag(by, problem))
            }
            Err(why) => Err(Error::flag(by, format!("{name}: {why}"))),
        },
    }
}
