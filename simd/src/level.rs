//! What the CPU has: the value that every SIMD call starts from.

use core::error::Error;
use core::fmt::{Display, Formatter, Result as FmtResult};

use rivergram_core::crew::{Crew, Piece, Work};
use rivergram_core::lanes::Kernel;

use crate::dispatch::{self, Backend};

/// An instruction set that this CPU has.
///
/// Safe code can only get one that is there: from [`detect`](Level::detect),
/// [`compiled`](Level::compiled), [`named`](Level::named) or [`available`](Level::available).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(Backend);

impl Level {
    /// The names of all levels, those of other targets too; on one machine a later one is faster.
    pub const NAMES: &'static [&'static str] = &dispatch::NAMES;

    /// One number at a time: what every machine has, and what the others are compared with.
    pub const SCALAR: Level = Level(Backend::Scalar);

    /// The fastest level of this CPU.
    ///
    /// With the feature `std` the CPU is asked (the answer is cached by the standard library);
    /// without it this is [`Level::compiled`].
    ///
    /// ```
    /// use rivergram_simd::Level;
    ///
    /// assert_eq!(Some(Level::detect()), Level::available().last());
    /// ```
    pub fn detect() -> Level {
        Level::available().last().unwrap_or(Level::SCALAR)
    }

    /// The fastest level that the build's target features guarantee; the CPU is not asked.
    ///
    /// ```
    /// use rivergram_simd::Level;
    ///
    /// assert!(Level::available().any(|level| level == Level::compiled()));
    /// ```
    pub fn compiled() -> Level {
        Level(Backend::compiled())
    }

    /// The level of a name in [`Level::NAMES`].
    ///
    /// # Errors
    /// [`LevelError`] says why this machine or this build does not have it.
    ///
    /// ```
    /// use rivergram_simd::{Level, LevelError};
    ///
    /// assert_eq!(Level::named("scalar"), Ok(Level::SCALAR));
    /// assert_eq!(Level::named("mmx"), Err(LevelError::Unknown));
    /// for name in Level::NAMES {
    ///     match Level::named(name) {
    ///         Ok(_) => println!("{name}: yes"),
    ///         Err(why) => println!("{name}: no, {why}"),
    ///     }
    /// }
    /// ```
    pub fn named(name: &str) -> Result<Level, LevelError> {
        Backend::named(name).map(Level)
    }

    /// Every level of this CPU, slowest first.
    ///
    /// ```
    /// use rivergram_simd::Level;
    ///
    /// assert_eq!(Level::available().next(), Some(Level::SCALAR));
    /// ```
    pub fn available() -> impl Iterator<Item = Level> {
        Level::NAMES
            .iter()
            .filter_map(|name| Level::named(name).ok())
    }

    /// The name, as [`Level::named`] takes it.
    ///
    /// ```
    /// use rivergram_simd::Level;
    ///
    /// for level in Level::available() {
    ///     assert_eq!(Level::named(level.name()), Ok(level));
    /// }
    /// ```
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Runs a kernel on the lanes of this level.
    ///
    /// Costs one branch and one call, so a kernel is worth a batch, not a number.
    ///
    /// ```
    /// use rivergram_core::lanes::Isa;
    /// use rivergram_simd::{Kernel, Level};
    ///
    /// struct Width;
    ///
    /// impl Kernel<f32> for Width {
    ///     type Output = usize;
    ///     #[inline(always)]
    ///     fn run<I: Isa<Scalar = f32>>(self, _: I) -> usize {
    ///         I::WIDTH
    ///     }
    /// }
    ///
    /// assert_eq!(Level::SCALAR.run(Width), 1);
    /// ```
    #[inline]
    pub fn run<K: Kernel<f32>>(self, kernel: K) -> K::Output {
        self.0.run(kernel)
    }
}

/// One hand: the pieces one after another.
impl Crew<f32> for Level {
    fn each<P: Send, W: Work<f32, P>>(&self, pieces: impl Iterator<Item = P>, work: &W) {
        for piece in pieces {
            self.run(Piece { work, piece });
        }
    }
}

impl Display for Level {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        f.write_str(self.name())
    }
}

/// Why a level is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelError {
    /// No level has this name.
    Unknown,
    /// The CPU was asked and does not have what the level needs.
    NotOnCpu {
        /// The instructions that are missing.
        needs: &'static str,
    },
    /// The build cannot have it: another target, or target features that were not asked for.
    NotInBuild {
        /// What the build would have to be.
        needs: &'static str,
    },
}

impl Display for LevelError {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        match self {
            LevelError::Unknown => f.write_str("no such path"),
            LevelError::NotOnCpu { needs } => write!(f, "this CPU does not have {needs}"),
            LevelError::NotInBuild { needs } => write!(f, "needs {needs}"),
        }
    }
}

impl Error for LevelError {}
