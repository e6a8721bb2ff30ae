//! The flags that change how a command runs and tells, but not what comes out.

use clap::Args;
use rivergram::cuda::Precision;
use rivergram::path::precision_name;

use super::value;

/// What `--precision` is.
pub(crate) const PRECISION: &str = "How precise products are on path cuda (default: exact)";

/// What a loss has kernels for.
const PRECISIONS: [Precision; 2] = [Precision::Exact, Precision::Tf32];

/// Shared by the commands that train.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "This machine")]
pub(crate) struct MachineFlags {
    /// Jobs side by side; 0: as many as there are cores
    #[arg(long, value_name = "N", default_value = "0", value_parser = value::number(|n: &usize| *n <= 1024, "a number from 0 to 1024"))]
    pub(crate) threads: usize,
    /// The path: auto or a name that "rivergram paths" lists (default: RIVERGRAM_PATH, else auto)
    #[arg(long, value_name = "NAME")]
    pub(crate) path: Option<String>,
    #[arg(long, help = value::list(PRECISION, &PRECISIONS, precision_name), hide_possible_values = true, value_parser = value::named(&PRECISIONS, precision_name))]
    pub(crate) precision: Option<Precision>,
    /// One JSON object a line on stdout instead of tables
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress on stderr
    #[arg(long)]
    pub(crate) quiet: bool,
}
