//! `rivergram gallery`: makes a gallery.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use rivergram::data::npy;
use rivergram::data::rows::Table;
use rivergram::error::{Error, Result};
use rivergram::gallery::{self, Build, Built, Gallery, Kind};
use rivergram::path;
use rivergram::train;
use rivergram_core::optim::rounding::Half;
use rivergram_simd::Level;
use serde_json::json;

use super::interrupt::{self, INTERRUPTED};
use super::output;
use super::progress::{Bar, Screen};
use super::value;

/// What vectors may be kept in.
const OF_VECTORS: [Kind; 3] = [Kind::F32, Kind::Half(Half::F16), Kind::Half(Half::Bf16)];

/// Its flags.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    source: SourceFlags,
    /// Which modalities the items have, as in image,audio (default: all; with
    /// --run all but the anchor)
    #[arg(
        long,
        verbatim_doc_comment,
        value_name = "NAMES",
        value_delimiter = ','
    )]
    items: Vec<String>,
    /// The file to write; an older one of this name is replaced
    #[arg(long, value_name = "FILE", value_parser = value::path())]
    out: PathBuf,
    #[arg(long, help = value::list("How the bases are kept, which a search reads from end to end (default: f32)", &Kind::ALL, Kind::name), hide_possible_values = true, value_parser = value::named(&Kind::ALL, Kind::name))]
    bases: Option<Kind>,
    #[arg(long, help = value::list("How the vectors are kept, which give the scores (default: as the bases, f32 beside int8)", &OF_VECTORS, Kind::name), hide_possible_values = true, value_parser = value::named(&OF_VECTORS, Kind::name))]
    vectors: Option<Kind>,
    /// The path: auto or a name that "rivergram paths" lists (default: RIVERGRAM_PATH, else auto)
    #[arg(long, value_name = "NAME")]
    path: Option<String>,
    /// One JSON object on stdout instead of a line
    #[arg(long)]
    json: bool,
    /// No progress on stderr
    #[arg(long)]
    quiet: bool,
}

/// Where rows come from.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
struct SourceFlags {
    /// A .safetensors file: one [N, D] tensor per modality, all of one D, and labels, if
    /// there are any
    #[arg(long, verbatim_doc_comment, value_name = "FILE", value_parser = value::path())]
    data: Option<PathBuf>,
    /// One .npy file [N, D] per modality; repeat it for each
    #[arg(long, value_name = "NAME=FILE.npy")]
    modality: Vec<String>,
    /// What a run was evaluated on, through its heads: a run of one alignment, or the
    /// folder of a job
    #[arg(long, verbatim_doc_comment, value_name = "DIR", value_parser = value::path())]
    run: Option<PathBuf>,
}

/// Makes the gallery.
pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    let choice = path::choose(flags.path.as_deref())?;
    let level = choice.engine.level();
    check_out(&flags.out)?;
    let (table, anchor) = flags.source.table(level)?;
    let table = chosen(table, &flags.items, anchor.as_deref())?;
    let bases = flags.bases.unwrap_or(Kind::F32);
    let usual = if bases == Kind::Int8 {
        Kind::F32
    } else {
        bases
    };
    let build = Build {
        bases,
        vectors: flags.vectors.unwrap_or(usual),
        level,
    };
    let screen = Screen::new(flags.quiet);
    if choice.asks_for_gpu() {
        let name = level.name();
        screen.say(&format!(
            "warning: a gallery is made on the CPU: {name}, not cuda"
        ));
    }
    let stop = interrupt::listen(screen.clone(), "block");
    let items = table.modalities.first().map_or(0, |rows| rows.n);
    let mut bar = Bar::new(&screen, "items", items);
    let began = Instant::now();
    let built = gallery::build(&table, &build, &flags.out, stop, |done| bar.set(done));
    screen.clear();
    let Some(built) = built? else {
        screen.say("stopped: no file was written");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    tell(flags, &table, build, &built, began.elapsed().as_secs_f64());
    for warning in warnings(&built) {
        screen.say(&format!("warning: {warning}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What is written replaces nothing but a gallery.
fn check_out(out: &Path) -> Result<()> {
    if out.is_dir() {
        return Err(Error::flag(
            "--out",
            format_args!("{}: a folder", out.display()),
        ));
    }
    if out.exists() && Gallery::open_unchecked(out).is_err() {
        let problem = format!(
            "{}: there is a file that is no gallery: another name expected",
            out.display()
        );
        return Err(Error::flag("--out", problem));
    }
    Ok(())
}

impl SourceFlags {
    /// The rows, and the anchor of a run.
    fn table(&self, level: Level) -> Result<(Table, Option<String>)> {
        if let Some(file) = &self.data {
            return Ok((Table::safetensors(file)?, None));
        }
        if let Some(folder) = &self.run {
            let found = train::embed(folder, level)?;
            return Ok((table_of(folder, &found), Some(found.anchor)));
        }
        let files = self.modality.iter().map(|value| npy::parse_flag(value));
        Ok((Table::npy_files(&files.collect::<Result<Vec<_>>>()?)?, None))
    }
}

/// The embeddings of a run, under the name of their checkpoint.
pub(crate) fn table_of(folder: &Path, found: &train::Embeddings) -> Table {
    Table::of(
        &folder.join(&found.checkpoint).display().to_string(),
        &found.data,
    )
}

/// The modalities that the items have.
fn chosen(mut table: Table, names: &[String], anchor: Option<&str>) -> Result<Table> {
    if names.is_empty() {
        table
            .modalities
            .retain(|rows| Some(rows.name.as_str()) != anchor);
        return Ok(table);
    }
    let rows = names
        .iter()
        .map(|name| table.named("--items", name).cloned());
    table.modalities = rows.collect::<Result<_>>()?;
    Ok(table)
}

fn tell(flags: &Flags, table: &Table, build: Build, built: &Built, seconds: f64) {
    let file = flags.out.display();
    let Built {
        items,
        absent,
        empty,
        dependent,
        bytes,
    } = *built;
    let (bases, vectors) = (build.bases.name(), build.vectors.name());
    if flags.json {
        let names: Vec<&str> = table.modalities.iter().map(|m| m.name.as_str()).collect();
        output::print_json(&json!({
            "file": file.to_string(), "items": items, "modalities": names,
            "dimensions": table.modalities.first().map(|rows| rows.dim),
            "bases": bases, "vectors": vectors, "bytes": bytes, "absent": absent,
            "empty": empty, "dependent": dependent, "seconds": seconds,
        }));
        return;
    }
    let d = table.modalities.first().map_or(0, |rows| rows.dim);
    let megabytes = bytes as f64 / 1e6;
    output::print(&format!(
        "{}: {items} items of {} in {d} dimensions, bases in {bases}, vectors in {vectors}, {megabytes:.1} MB\n",
        output::one_line(&file.to_string()),
        output::one_line(&table.names()),
    ));
}

fn warnings(built: &Built) -> Vec<String> {
    let Built {
        items,
        absent,
        empty,
        dependent,
        ..
    } = *built;
    let mut warnings = Vec::new();
    if empty > 0 {
        warnings.push(format!(
            "{empty} of {items} items have no vector but zeros: no query finds them"
        ));
    }
    if absent > 0 {
        warnings.push(format!(
            "{absent} vectors are zeros, so absent: rank by distance, since volumes of different numbers of vectors do not compare well"
        ));
    }
    if dependent > 0 {
        warnings.push(format!(
            "{dependent} items have dependent vectors: their volume is 0 with every query, so rank by distance"
        ));
    }
    warnings
}

/// A file of rows, by its name.
pub(crate) fn rows_of(file: &Path, name: Option<&str>) -> Result<Table> {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("npy") => Table::npy(name.unwrap_or("queries"), file),
        Some("safetensors") => Table::safetensors(file),
        _ => Err(Error::file(
            file,
            "a name that ends in .npy or .safetensors expected",
        )),
    }
}
