//! `rivergram search`: the nearest items of a gallery.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Args;
use rivergram::cuda::Precision;
use rivergram::data::rows::{Rows, Table};
use rivergram::engine::{CUDA, Threads};
use rivergram::error::{Error, Result};
use rivergram::gallery::{Found, Gallery, MOST, Options, Searcher};
use rivergram::path::{self, precision_name};
use rivergram::train;
use rivergram_core::gram::pair::Measure;
use rivergram_simd::Level;
use serde_json::json;

use super::gallery::{rows_of, table_of};
use super::interrupt::{self, INTERRUPTED};
use super::machine::PRECISION;
use super::output;
use super::progress::Screen;
use super::table::{Table as Lines, percent};
use super::value;

/// Queries of one pass over the gallery.
const BATCH: usize = 64;

/// The same on a GPU, to which the gallery is copied for each pass.
const BATCH_CUDA: usize = 4096;

/// What a search may be rounded to.
const PRECISIONS: [Precision; 2] = [Precision::Exact, Precision::Bf16];

const MEASURES: [Measure; 3] = [Measure::Volume, Measure::Distance, Measure::Cosine];

fn measure_name(measure: Measure) -> &'static str {
    match measure {
        Measure::Volume => "volume",
        Measure::Distance => "distance",
        Measure::Cosine => "cosines",
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Table,
    JsonLines,
}

const FORMATS: [Format; 2] = [Format::Table, Format::JsonLines];

fn format_name(format: Format) -> &'static str {
    match format {
        Format::Table => "table",
        Format::JsonLines => "jsonl",
    }
}

fn most(text: &str) -> std::result::Result<usize, String> {
    value::number(
        |n: &usize| (1..=MOST).contains(n),
        "a number from 1 to 1024",
    )(text)
}

/// Its flags.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// The gallery
    #[arg(value_name = "GALLERY", value_parser = value::path())]
    gallery: PathBuf,
    /// The queries: an .npy file, or a tensor of a .safetensors file
    #[arg(long, value_name = "FILE", value_parser = value::path(), required_unless_present = "run", conflicts_with = "run")]
    queries: Option<PathBuf>,
    /// The queries: what a run was evaluated on, through its heads
    #[arg(long, value_name = "DIR", value_parser = value::path())]
    run: Option<PathBuf>,
    /// Which tensor, or modality of a run (default: the only one; of a run its anchor)
    #[arg(long, value_name = "NAME")]
    modality: Option<String>,
    /// Take the first N queries only (default: all)
    #[arg(long, value_name = "N", value_parser = value::number(|n: &usize| *n > 0, "a number above 0"))]
    first: Option<usize>,
    /// How many items to find for each query
    #[arg(long, value_name = "N", default_value = "10", value_parser = most)]
    top: usize,
    #[arg(long, help = value::list("What ranks the items (default: volume)", &MEASURES, measure_name), hide_possible_values = true, value_parser = value::named(&MEASURES, measure_name))]
    by: Option<Measure>,
    /// Items whose vectors are scored after the pass over the bases, unless both are in
    /// f32 (default: 4 N + 32 for --top N)
    #[arg(long, verbatim_doc_comment, value_name = "N", value_parser = most)]
    candidates: Option<usize>,
    #[arg(long, help = value::list("What is printed (default: table)", &FORMATS, format_name), hide_possible_values = true, value_parser = value::named(&FORMATS, format_name))]
    format: Option<Format>,
    /// Do not compare the checksums of the gallery first, which takes a pass over it
    #[arg(long)]
    unchecked: bool,
    /// Threads; 0: as many as there are cores
    #[arg(long, value_name = "N", default_value = "0", value_parser = value::number(|n: &usize| *n <= 1024, "a number from 0 to 1024"))]
    threads: usize,
    /// The path: auto or a name that "rivergram paths" lists (default: RIVERGRAM_PATH, else auto)
    #[arg(long, value_name = "NAME")]
    path: Option<String>,
    #[arg(long, help = value::list(PRECISION, &PRECISIONS, precision_name), hide_possible_values = true, value_parser = value::named(&PRECISIONS, precision_name))]
    precision: Option<Precision>,
    /// No notes on stderr
    #[arg(long)]
    quiet: bool,
}

/// Searches.
pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    let choice = path::choose(flags.path.as_deref())?;
    let exact = choice.set_precision(flags.precision.unwrap_or_default())?;
    let level = choice.engine.level();
    let gallery = match flags.unchecked {
        true => Gallery::open_unchecked(&flags.gallery)?,
        false => Gallery::open(&flags.gallery)?,
    };
    let queries = Queries::open(flags, &gallery, level)?;
    let threads = match flags.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let threads = Threads::new(level, threads)?;
    let options = Options {
        measure: flags.by.unwrap_or(Measure::Volume),
        top: flags.top,
        candidates: flags.candidates,
    };
    let searcher = Searcher::new(&gallery, &threads, options)?.by(&choice.engine);
    let screen = Screen::new(flags.quiet);
    let warn = |line: String| screen.say(&format!("warning: {line}"));
    let mut is_told = false;
    choice
        .engine
        .warning()
        .into_iter()
        .chain(exact)
        .for_each(warn);
    opening(&screen, flags, &gallery, &searcher, &queries);
    let stop = interrupt::listen(screen.clone(), "batch");
    let mut report = Report::new(flags, options.measure, &gallery, &queries);
    let mut first = 0;
    while first < queries.count {
        if stop.load(Ordering::Relaxed) {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        let size = match choice.engine.name() {
            CUDA if searcher.missing().is_none() => BATCH_CUDA,
            _ => BATCH,
        };
        let size = size.min(queries.count - first);
        let batch = queries.read(first, size)?;
        let found = searcher
            .nearest(&batch)
            .map_err(|e| Error::input(queries.rows.place(), format!("from row {first} on: {e}")))?;
        let missing = searcher.missing().filter(|_| !is_told);
        is_told |= missing.is_some();
        let missing =
            missing.map(|why| format!("{CUDA}: {why}: the search is done on path {level}"));
        choice
            .engine
            .warning()
            .into_iter()
            .chain(missing)
            .for_each(warn);
        report.add(first, &found);
        first += size;
    }
    report.finish();
    Ok(ExitCode::SUCCESS)
}

fn opening(
    screen: &Screen,
    flags: &Flags,
    gallery: &Gallery,
    searcher: &Searcher<'_>,
    queries: &Queries,
) {
    let [bases, vectors] = gallery.kinds();
    let how = match searcher.candidates() {
        None => "as they are".to_string(),
        Some(n) => format!(
            "{n} candidates of each scored by their vectors in {}",
            vectors.name()
        ),
    };
    screen.tell(&format!(
        "{} {} among {} items of {}, bases in {}, {how}",
        queries.count,
        if queries.count == 1 {
            "query"
        } else {
            "queries"
        },
        gallery.items(),
        gallery.modalities().join(", "),
        bases.name(),
    ));
    let dependent = gallery.dependent();
    if dependent > 0 && flags.by.unwrap_or(Measure::Volume) == Measure::Volume {
        screen.tell(&format!(
            "warning: {dependent} items have dependent vectors: their volume is 0 with every query; --by distance ranks them"
        ));
    }
}

/// The queries.
struct Queries {
    rows: Rows,
    labels: Option<Vec<i64>>,
    count: usize,
}

impl Queries {
    fn open(flags: &Flags, gallery: &Gallery, level: Level) -> Result<Self> {
        let (table, name) = match (&flags.run, &flags.queries) {
            (Some(folder), _) => {
                let found = train::embed(folder, level)?;
                let name = flags.modality.clone().unwrap_or(found.anchor.clone());
                (table_of(folder, &found), Some(name))
            }
            (None, Some(file)) => {
                let name = flags.modality.clone();
                (rows_of(file, name.as_deref())?, name)
            }
            (None, None) => return Err(Error::flag("--queries", "a file expected")),
        };
        let rows = match name {
            Some(name) => table.named("--modality", &name)?,
            None => only(&table)?,
        };
        if rows.dim != gallery.dimensions() {
            let problem = format!(
                "rows of {} numbers, and the vectors of {} have {}",
                rows.dim,
                flags.gallery.display(),
                gallery.dimensions()
            );
            return Err(Error::input(rows.place(), problem));
        }
        Ok(Queries {
            count: flags.first.unwrap_or(usize::MAX).min(rows.n),
            rows: rows.clone(),
            labels: table.labels,
        })
    }

    fn read(&self, first: usize, count: usize) -> Result<Vec<f32>> {
        let mut batch = vec![0.0; count * self.rows.dim];
        self.rows.read(first, &mut batch)?;
        Ok(batch)
    }
}

/// The only tensor of a file.
fn only(table: &Table) -> Result<&Rows> {
    match table.modalities.as_slice() {
        [rows] => Ok(rows),
        [] => Err(Error::flag("--queries", "no tensor of rows in the file")),
        _ => {
            let problem = format!(
                "the file has several tensors: name one of {}",
                table.names()
            );
            Err(Error::flag("--modality", problem))
        }
    }
}

/// What is printed.
struct Report<'a> {
    format: Format,
    measure: Measure,
    labels: Option<Vec<i64>>,
    of_queries: Option<&'a [i64]>,
    is_first: bool,
    /// Queries with a label, and those whose first item has it.
    hits: (usize, usize),
}

impl<'a> Report<'a> {
    fn new(flags: &Flags, measure: Measure, gallery: &Gallery, queries: &'a Queries) -> Self {
        Report {
            format: flags.format.unwrap_or(Format::Table),
            measure,
            labels: gallery.labels(),
            of_queries: queries.labels.as_deref(),
            is_first: true,
            hits: (0, 0),
        }
    }

    fn label(&self, item: usize) -> Option<i64> {
        self.labels.as_ref()?.get(item).copied()
    }

    fn add(&mut self, first: usize, found: &[Vec<Found>]) {
        for (query, found) in (first..).zip(found) {
            let label = self
                .of_queries
                .and_then(|labels| labels.get(query).copied());
            if let (Some(label), Some(_)) = (label, &self.labels) {
                self.hits.0 += 1;
                let is_hit = found.first().and_then(|best| self.label(best.item)) == Some(label);
                self.hits.1 += usize::from(is_hit);
            }
        }
        match self.format {
            Format::JsonLines => self.json(first, found),
            Format::Table => self.table(first, found),
        }
    }

    fn json(&self, first: usize, found: &[Vec<Found>]) {
        for (query, found) in (first..).zip(found) {
            let each = found.iter().map(|found| match self.label(found.item) {
                Some(label) => json!({"item": found.item, "label": label, "score": found.score}),
                None => json!({"item": found.item, "score": found.score}),
            });
            let found: Vec<_> = each.collect();
            let label = self.of_queries.and_then(|labels| labels.get(query));
            output::print_json(&match label {
                Some(label) => json!({"query": query, "label": label, "found": found}),
                None => json!({"query": query, "found": found}),
            });
        }
    }

    fn table(&mut self, first: usize, found: &[Vec<Found>]) {
        let mut names = vec!["query", "rank", "item", measure_name(self.measure)];
        if self.labels.is_some() {
            names.push("label");
        }
        let mut lines = Lines::new(names);
        for (query, found) in (first..).zip(found) {
            if found.is_empty() {
                lines.row([
                    query.to_string(),
                    "–".to_string(),
                    "–".to_string(),
                    "–".to_string(),
                ]);
            }
            for (rank, found) in (1..).zip(found) {
                let mut cells = vec![
                    query.to_string(),
                    format!("{rank}"),
                    found.item.to_string(),
                    format!("{:.6}", found.score),
                ];
                cells.extend(self.label(found.item).map(|label| label.to_string()));
                lines.row(cells);
            }
        }
        let text = lines.to_string();
        let skipped = if self.is_first { 0 } else { 1 };
        self.is_first = false;
        let lines: Vec<&str> = text.lines().skip(skipped).collect();
        output::print(&(lines.join("\n") + "\n"));
    }

    fn finish(&self) {
        let (all, hits) = self.hits;
        if all > 0 && self.format == Format::Table {
            let share = percent(Some(hits as f64 / all as f64));
            output::print(&format!(
                "the first item has the label of its query: {share}% of {all} queries\n"
            ));
        }
    }
}
