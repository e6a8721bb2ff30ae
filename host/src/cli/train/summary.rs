//! What a run found: tables for people, one object for programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rivergram::path::Choice;
use rivergram::train::{
    AlignOptions, BudgetReport, JobKind, JobReport, Metrics, RunOptions, RunReport, StripsOptions,
};
use serde_json::{Value, json};

use crate::cli::output::one_line;
use crate::cli::table::{Table, percent};

/// The three rankings, as the names of metrics have them.
const RANKINGS: [&str; 3] = ["", "_distance", "_cosine"];
const NUMBER: &str = "image+audio_number_accuracy";
const UNSEEN: &str = "unseen_";
const DIGIT_ERROR: &str = "digit_error";

/// Everything that the end of a run tells.
pub(crate) struct Summary<'a> {
    /// What was asked for.
    pub(crate) options: &'a RunOptions,
    /// What was found.
    pub(crate) report: &'a RunReport,
    /// Where it is kept.
    pub(crate) folder: &'a Path,
    /// What it was computed on.
    pub(crate) choice: &'a Choice,
    /// How long it took.
    pub(crate) seconds: f64,
}

impl Summary<'_> {
    /// The last line of `--json`. The budgets on top are those of the first alignment.
    pub(crate) fn json(&self) -> Value {
        let alignment = self.options.jobs.iter().zip(&self.report.jobs);
        let alignment = alignment
            .filter(|(options, _)| matches!(options.kind, JobKind::Align(_)))
            .map(|(_, report)| report)
            .next();
        let budgets: Vec<Value> = alignment
            .or(self.report.jobs.first())
            .map_or(&[][..], |job| &job.budgets)
            .iter()
            .map(
                |budget| json!({"step": budget.step, "leg": budget.leg, "metrics": budget.metrics}),
            )
            .collect();
        json!({
            "event": "summary",
            "path": self.choice.level.name(),
            "seconds": self.seconds,
            "budgets": budgets,
            "jobs": self.report.jobs,
            "folder": self.folder,
            "interrupted": self.report.interrupted,
        })
    }

    /// The tables.
    pub(crate) fn text(&self) -> String {
        let mut text = tables(self.options, self.report);
        text += &self.places();
        text += &format!(
            "time         {:.1} s on path {}, {}\n",
            self.seconds, self.choice.level, self.choice.reason
        );
        text
    }

    fn places(&self) -> String {
        let budgets = self.report.jobs.iter().flat_map(|job| &job.budgets);
        let checkpoints: Vec<&Path> = budgets.map(|b| b.checkpoint.as_path()).collect();
        let pictures = pictures(self.folder);
        let pictures: Vec<&Path> = pictures.iter().map(PathBuf::as_path).collect();
        format!(
            "run folder   {}\n{}{}",
            self.folder.display(),
            place("checkpoints", &checkpoints),
            place("pictures", &pictures)
        )
    }
}

/// `checkpoints  runs/001/budget-000600.safetensors and 2 more`
fn place(what: &str, files: &[&Path]) -> String {
    match files {
        [] => String::new(),
        [file] => format!("{what:<11}  {}\n", file.display()),
        [file, more @ ..] => format!("{what:<11}  {} and {} more\n", file.display(), more.len()),
    }
}

/// The pictures in a run folder and in those of its jobs.
fn pictures(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let here = entries(folder);
    let below = here.iter().filter(|path| path.is_dir());
    let below: Vec<PathBuf> = below.flat_map(|job| entries(job)).collect();
    let all = here.into_iter().chain(below);
    all.filter(|path| path.extension().is_some_and(|end| end == "svg"))
        .collect()
}

/// The line that a reached budget is told by.
pub(crate) fn budget_line(report: &BudgetReport) -> String {
    let BudgetReport {
        job,
        leg,
        step,
        checkpoint,
        metrics,
    } = report;
    let leg = match leg.as_str() {
        "main" => String::new(),
        leg => format!(" {leg}"),
    };
    let mut figures: Vec<String> = Queries::of([metrics], None)
        .0
        .iter()
        .map(|query| format!("{}→ {}", query.name, query.r1(metrics, "")))
        .collect();
    if let Some(&error) = metrics.get(DIGIT_ERROR) {
        figures.push(format!("digit error {}", percent(Some(error))));
    }
    let unit = if figures.is_empty() { "saved" } else { " %" };
    format!(
        "{job}{leg}  {step} steps: {}{unit}  {}",
        figures.join(", "),
        checkpoint.display()
    )
}

/// All tables of a run, each followed by an empty line.
fn tables(options: &RunOptions, report: &RunReport) -> String {
    let mut alignments = Vec::new();
    let mut strips = Vec::new();
    for options in &options.jobs {
        let found = report.jobs.iter().find(|job| job.name == options.name);
        match (&options.kind, found) {
            (JobKind::Align(options), Some(job)) => alignments.push((options, job)),
            (JobKind::Strips(options), Some(job)) => strips.push((options, job)),
            (_, None) => {}
        }
    }
    let mut text = String::new();
    if !alignments.is_empty() {
        text += &alignment_tables(&alignments);
    }
    if !strips.is_empty() {
        text += &strips_table(&strips);
    }
    text
}

/// One table for all jobs that have the same columns.
fn alignment_tables(jobs: &[(&AlignOptions, &JobReport)]) -> String {
    let mut groups: Vec<(Columns, Vec<&JobReport>)> = Vec::new();
    for (options, job) in jobs {
        let columns = Columns::of(options, job);
        match groups.iter_mut().find(|(other, _)| *other == columns) {
            Some((_, group)) => group.push(job),
            None => groups.push((columns, vec![job])),
        }
    }
    let mut text = String::new();
    for (columns, group) in groups {
        text += "R@1 in % by volume, by conditional distance and by sum of cosines\n";
        let mut table = columns.head();
        for job in group {
            columns.rows(job, &mut table);
        }
        text += &format!("{table}\n");
    }
    text
}

/// One modality as the query for all others.
#[derive(Clone, Debug, PartialEq)]
struct Query {
    name: String,
    others: Vec<String>,
}

impl Query {
    /// Reads `text_to_image+audio_distance_r1`: every query has exactly one such metric.
    fn parse(metric: &str) -> Option<Self> {
        let (name, others) = metric.strip_suffix("_distance_r1")?.split_once("_to_")?;
        Some(Query {
            name: name.to_string(),
            others: others.split('+').map(String::from).collect(),
        })
    }

    fn rate(&self, metrics: &Metrics, prefix: &str, ranking: &str) -> Option<f64> {
        let others = self.others.join("+");
        let name = format!("{prefix}{}_to_{others}{ranking}_r1", self.name);
        metrics.get(&name).copied()
    }

    fn r1(&self, metrics: &Metrics, ranking: &str) -> String {
        percent(self.rate(metrics, "", ranking))
    }

    /// The three rankings side by side.
    fn cell(&self, metrics: &Metrics, prefix: &str) -> String {
        let rates = RANKINGS.map(|ranking| percent(self.rate(metrics, prefix, ranking)));
        rates.map(|rate| format!("{rate:>5}")).join(" ")
    }
}

/// All queries: the anchor's first, then in the order of the data.
#[derive(Clone, Debug, PartialEq)]
struct Queries(Vec<Query>);

impl Queries {
    fn of<'a>(metrics: impl IntoIterator<Item = &'a Metrics>, anchor: Option<&str>) -> Self {
        let mut queries: BTreeMap<String, Query> = BTreeMap::new();
        for name in metrics.into_iter().flat_map(|metrics| metrics.keys()) {
            if let Some(query) = Query::parse(name).filter(|q| !q.name.starts_with(UNSEEN)) {
                queries.insert(query.name.clone(), query);
            }
        }
        let mut queries: Vec<Query> = queries.into_values().collect();
        let lists: Vec<Vec<String>> = queries.iter().map(|query| query.others.clone()).collect();
        // Each list leaves out one modality, so a modality's places add up to (k − 2) times its place in the data.
        let place = |name: &str| -> usize {
            let places = lists
                .iter()
                .flat_map(|list| list.iter().position(|n| n == name));
            places.sum()
        };
        queries.sort_by_key(|query| place(&query.name));
        let anchor = anchor.unwrap_or("text");
        queries.sort_by_key(|query| query.name != anchor);
        Queries(queries)
    }
}

/// The columns of a table of alignments.
#[derive(Clone, Debug, PartialEq)]
enum Columns {
    /// One per query, where they fit.
    PerQuery {
        queries: Queries,
        pair: Option<(String, String)>,
        number: bool,
    },
    /// One per ranking, and a row per query.
    PerRanking { queries: Queries },
}

impl Columns {
    fn of(options: &AlignOptions, job: &JobReport) -> Self {
        let metrics: Vec<&Metrics> = std::iter::once(&job.untrained)
            .chain(job.budgets.iter().map(|budget| &budget.metrics))
            .collect();
        let queries = Queries::of(metrics.iter().copied(), options.anchor.as_deref());
        if queries.0.len() > 3 {
            return Columns::PerRanking { queries };
        }
        let pair = match queries.0.as_slice() {
            [_, a, b] => Some((a.name.clone(), b.name.clone())),
            _ => None,
        };
        let number = metrics.iter().any(|metrics| metrics.contains_key(NUMBER));
        Columns::PerQuery {
            queries,
            pair,
            number,
        }
    }

    fn head(&self) -> Table {
        let mut names = vec![String::new()];
        match self {
            Columns::PerQuery {
                queries,
                pair,
                number,
            } => {
                let arrow = |query: &Query| format!("{}→", one_line(&query.name));
                names.extend(queries.0.iter().map(arrow));
                let arrow = |(a, b): &(String, String)| one_line(&format!("{a}→{b} cos"));
                names.extend(pair.as_ref().map(arrow));
                names.extend(number.then(|| "number".to_string()));
            }
            Columns::PerRanking { .. } => {
                names.extend(["volume", "distance", "cosines"].map(String::from));
            }
        }
        Table::new(names)
    }

    fn rows(&self, job: &JobReport, table: &mut Table) {
        table.row([one_line(&job.name), String::new()]);
        if !job.untrained.is_empty() {
            self.row("untrained", &job.untrained, table);
        }
        for budget in &job.budgets {
            self.row(&format!("{} steps", budget.step), &budget.metrics, table);
        }
    }

    fn row(&self, label: &str, metrics: &Metrics, table: &mut Table) {
        self.prefixed_row(&format!("  {label}"), metrics, "", table);
        if metrics.keys().any(|name| name.starts_with(UNSEEN)) {
            self.prefixed_row(&format!("  {label}, unseen"), metrics, UNSEEN, table);
        }
    }

    fn prefixed_row(&self, label: &str, metrics: &Metrics, prefix: &str, table: &mut Table) {
        let get = |name: &str| percent(metrics.get(&format!("{prefix}{name}")).copied());
        match self {
            Columns::PerQuery {
                queries,
                pair,
                number,
            } => {
                let mut cells = vec![label.to_string()];
                cells.extend(queries.0.iter().map(|query| query.cell(metrics, prefix)));
                cells.extend(pair.as_ref().map(|(a, b)| get(&format!("{a}_to_{b}_r1"))));
                cells.extend(number.then(|| get(NUMBER)));
                table.row(cells);
            }
            Columns::PerRanking { queries } => {
                table.row([label, ""]);
                for query in &queries.0 {
                    let mut cells = vec![format!("    {}→", one_line(&query.name))];
                    let rate = |ranking| percent(query.rate(metrics, prefix, ranking));
                    cells.extend(RANKINGS.map(rate));
                    table.row(cells);
                }
            }
        }
    }
}

/// The parts of a transcription, and what their columns are called.
const PARTS: [(&str, &str); 3] = [
    ("cross-entropy", "CE"),
    ("cross-entropy-on", "CE"),
    ("eisl", "EISL"),
];

fn strips_table(jobs: &[(&StripsOptions, &JobReport)]) -> String {
    let mut names = vec!["noise".to_string()];
    for (leg, name) in PARTS {
        let mut reports = jobs.iter().flat_map(|(_, job)| part(job, leg));
        let steps = reports.next().map(|report| format!(" at {}", report.step));
        names.push(format!("{name}{} ", steps.unwrap_or_default()));
    }
    let mut table = Table::new(names);
    for (options, job) in jobs {
        let errors = PARTS.map(|(leg, _)| {
            let error = part(job, leg).and_then(|report| report.metrics.get(DIGIT_ERROR));
            error.copied()
        });
        let best = errors.into_iter().flatten().reduce(f64::min);
        let cell = |error: Option<f64>| {
            let mark = if error.is_some() && error == best {
                "*"
            } else {
                " "
            };
            format!("{}{mark}", percent(error))
        };
        let mut cells = vec![one_line(&options.noise)];
        cells.extend(errors.map(cell));
        table.row(cells);
    }
    format!("Digit error in % on clean test strips; * is the best\n{table}\n")
}

fn part<'a>(job: &'a JobReport, leg: &str) -> Option<&'a BudgetReport> {
    job.budgets.iter().rev().find(|report| report.leg == leg)
}
