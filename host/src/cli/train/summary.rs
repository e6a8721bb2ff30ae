//! What a run found: tables for people, one object for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rivergram::path::Choice;
use rivergram::train::{
    AlignOptions, BudgetReport, JobKind, JobReport, Metrics, RunOptions, RunReport, StripsOptions,
};
use serde::Serialize;

use crate::cli::output::one_line;
use crate::cli::table::{Table, percent};

/// The rankings of three and more modalities, as the names of metrics and the columns have them.
const RANKINGS: &[(&str, &str)] = &[("", "vol"), ("_distance", "dist"), ("_cosine", "cos")];
/// Two modalities have one.
const RANKING_OF_TWO: &[(&str, &str)] = &[("", "cos")];
/// Room for the name of a job in progress lines.
pub(crate) const NAME_WIDTH: usize = 27;
const PICTURE: &str = "picture.svg";
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
    pub(crate) fn json(&self) -> Json<'_> {
        let is_alignment = |job: &&JobReport| {
            let mut options = self.options.jobs.iter().filter(|o| o.name == job.name);
            options.any(|options| matches!(options.kind, JobKind::Align(_)))
        };
        let jobs = &self.report.jobs;
        let told = jobs.iter().find(is_alignment).or(jobs.first());
        let budgets = told.map_or(&[][..], |job| &job.budgets);
        Json {
            event: "summary",
            path: self.choice.engine.name(),
            precision: self.choice.engine.stated_precision(),
            seconds: self.seconds,
            budgets: budgets.iter().map(JsonBudget::of).collect(),
            jobs,
            folder: self.folder,
            interrupted: self.report.interrupted,
        }
    }

    /// The tables.
    pub(crate) fn text(&self) -> String {
        let mut text = tables(self.options, self.report);
        text += &self.places();
        text += &format!(
            "time         {:.1} s on path {}, {}\n",
            self.seconds,
            self.choice.engine.described(),
            self.choice.reason
        );
        text
    }

    fn places(&self) -> String {
        let budgets = self.report.jobs.iter().flat_map(|job| &job.budgets);
        let checkpoints = budgets.map(|b| b.checkpoint.as_path());
        // With `--keep-budgets` older ones are gone.
        let checkpoints: Vec<&Path> = checkpoints.filter(|file| file.is_file()).collect();
        // One job has the run folder to itself.
        let jobs = self
            .report
            .jobs
            .iter()
            .map(|job| self.folder.join(&job.name));
        let folders = std::iter::once(self.folder.to_owned()).chain(jobs);
        let pictures = folders.map(|folder| folder.join(PICTURE));
        let pictures: Vec<PathBuf> = pictures.filter(|file| file.is_file()).collect();
        let pictures: Vec<&Path> = pictures.iter().map(PathBuf::as_path).collect();
        format!(
            "run folder   {}\n{}{}",
            self.folder.display(),
            place("checkpoints", &checkpoints),
            place("pictures", &pictures)
        )
    }
}

/// See [`Summary::json`].
#[derive(Serialize)]
pub(crate) struct Json<'a> {
    event: &'static str,
    path: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<String>,
    seconds: f64,
    budgets: Vec<JsonBudget<'a>>,
    jobs: &'a [JobReport],
    folder: &'a Path,
    interrupted: bool,
}

#[derive(Serialize)]
struct JsonBudget<'a> {
    step: u64,
    leg: &'a str,
    metrics: &'a Metrics,
    #[serde(skip_serializing_if = "Metrics::is_empty")]
    average: &'a Metrics,
}

impl<'a> JsonBudget<'a> {
    fn of(report: &'a BudgetReport) -> Self {
        JsonBudget {
            step: report.step,
            leg: &report.leg,
            metrics: &report.metrics,
            average: &report.average,
        }
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

/// The line that a reached budget is told by.
pub(crate) fn budget_line(report: &BudgetReport) -> String {
    let mut text = figures(&report.metrics);
    if !report.average.is_empty() {
        text += &format!("  average: {}", figures(&report.average));
    }
    let leg = leg_name(&report.leg);
    let (job, step) = (&report.job, report.step);
    format!("{job:NAME_WIDTH$} {leg}at {step}  {text}")
}

/// The figures of that line.
fn figures(metrics: &Metrics) -> String {
    let queries = Queries::of([metrics], None).0;
    let query = |query: &Query| format!("{}→ {}", query.name, query.r1(metrics, ""));
    let mut figures: Vec<String> = queries.iter().map(query).collect();
    match queries.len() {
        0 => {}
        1 | 2 => figures.push("(R@1 % by cosine)".to_string()),
        _ => figures.push("(R@1 % by volume)".to_string()),
    }
    if let Some(&error) = metrics.get(DIGIT_ERROR) {
        figures.push(format!("digit error {} %", percent(Some(error))));
    }
    figures.join("  ")
}

/// The short name of a part of a job and a space; nothing for the only part.
pub(crate) fn leg_name(leg: &str) -> String {
    match leg {
        "main" => String::new(),
        "cross-entropy" => "CE ".to_string(),
        "cross-entropy-on" => "CE on ".to_string(),
        "eisl" => "EISL ".to_string(),
        other => format!("{other} "),
    }
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

/// One table for all jobs that align the same modalities.
fn alignment_tables(jobs: &[(&AlignOptions, &JobReport)]) -> String {
    let mut groups: Vec<(Columns, Vec<&JobReport>)> = Vec::new();
    for (options, job) in jobs {
        let columns = Columns::of(options, job);
        match groups
            .iter_mut()
            .find(|(group, _)| group.queries == columns.queries)
        {
            Some((group, jobs)) => {
                group.numbers.extend(columns.numbers);
                jobs.push(job);
            }
            None => groups.push((columns, vec![job])),
        }
    }
    groups
        .iter()
        .map(|(columns, jobs)| columns.table(jobs))
        .collect()
}

/// One modality as the query for all others.
#[derive(Clone, Debug, PartialEq)]
struct Query {
    name: String,
    others: Vec<String>,
}

impl Query {
    /// Reads `text_to_image+audio_distance_r1`, which there is once per query of three and more modalities, or
    /// `text_to_image_r1`.
    fn parse(metric: &str, ending: &str) -> Option<Self> {
        let (name, others) = metric.strip_suffix(ending)?.split_once("_to_")?;
        Some(Query {
            name: name.to_string(),
            others: others.split('+').map(String::from).collect(),
        })
    }

    fn rankings(&self) -> &'static [(&'static str, &'static str)] {
        match self.others.len() {
            1 => RANKING_OF_TWO,
            _ => RANKINGS,
        }
    }

    fn r1(&self, metrics: &Metrics, ranking: &str) -> String {
        let name = format!("{}_to_{}{ranking}_r1", self.name, self.others.join("+"));
        percent(metrics.get(&name).copied())
    }

    /// The rankings side by side.
    fn cell(&self, metrics: &Metrics) -> String {
        let rankings = self.rankings().iter();
        let rates = rankings.map(|(ranking, _)| format!("{:>5}", self.r1(metrics, ranking)));
        rates.collect::<Vec<_>>().join(" ")
    }

    /// The names of the rankings, side by side.
    fn head(&self) -> String {
        let rankings = self.rankings().iter();
        let names = rankings.map(|(_, name)| format!("{name:>5}"));
        names.collect::<Vec<_>>().join(" ")
    }
}

/// All queries: the anchor's first, then in the order of the data.
#[derive(Clone, Debug, PartialEq)]
struct Queries(Vec<Query>);

impl Queries {
    fn of<'a>(metrics: impl IntoIterator<Item = &'a Metrics>, anchor: Option<&str>) -> Self {
        let names: Vec<&str> = metrics
            .into_iter()
            .flat_map(|metrics| metrics.keys().map(String::as_str))
            .collect();
        let found = |ending| -> BTreeMap<String, Query> {
            let queries = names.iter().filter_map(|name| Query::parse(name, ending));
            queries.map(|query| (query.name.clone(), query)).collect()
        };
        let mut queries = found("_distance_r1");
        if queries.is_empty() {
            queries = found("_r1");
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

/// Metrics of the built-in data, and what their columns are called.
const NUMBERS: [(&str, &str); 2] = [
    ("image+audio_number_accuracy", "number"),
    ("unseen_image+audio_number_accuracy", "unseen"),
];

/// The columns of a table of alignments: one per query where they fit, else one per ranking.
#[derive(Clone, Debug)]
struct Columns {
    queries: Queries,
    /// Which of [`NUMBERS`] there are.
    numbers: BTreeSet<usize>,
}

impl Columns {
    fn of(options: &AlignOptions, job: &JobReport) -> Self {
        let metrics: Vec<&Metrics> = std::iter::once(&job.untrained)
            .chain(job.budgets.iter().map(|budget| &budget.metrics))
            .collect();
        let named = |name: &str| metrics.iter().any(|metrics| metrics.contains_key(name));
        let numbers = NUMBERS.iter().enumerate();
        Columns {
            queries: Queries::of(metrics.iter().copied(), options.anchor.as_deref()),
            numbers: numbers
                .filter(|(_, (name, _))| named(name))
                .map(|(index, _)| index)
                .collect(),
        }
    }

    fn numbers(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let there = NUMBERS.into_iter().enumerate();
        there
            .filter(|(index, _)| self.numbers.contains(index))
            .map(|(_, number)| number)
    }

    fn fit(&self) -> bool {
        self.queries.0.len() <= 3
    }

    /// Of three modalities the two that are no anchor, which a volume with an anchor may leave unrelated.
    fn pair(&self) -> Option<(&str, &str)> {
        match self.queries.0.as_slice() {
            [_, a, b] => Some((&a.name, &b.name)),
            _ => None,
        }
    }

    fn table(&self, jobs: &[&JobReport]) -> String {
        let mut table = self.head();
        for job in jobs {
            table.row([one_line(&job.name)]);
            if !job.untrained.is_empty() {
                self.row("untrained", &job.untrained, &mut table);
            }
            for budget in &job.budgets {
                let label = match budget.leg.as_str() {
                    "release" => format!("release at {}", budget.step),
                    _ => format!("{} steps", budget.step),
                };
                self.row(&label, &budget.metrics, &mut table);
                if !budget.average.is_empty() {
                    self.row("  average", &budget.average, &mut table);
                }
            }
        }
        let mut title = match self.queries.0.len() {
            0..=2 => "R@1 in % by cosine\n".to_string(),
            _ => "R@1 in % by volume (vol), conditional distance (dist) and sum of cosines (cos)\n"
                .to_string(),
        };
        if !self.numbers.is_empty() {
            title += "number: accuracy in % from image and audio; unseen: of numbers left out of the training\n";
        }
        format!("{title}{table}\n")
    }

    fn head(&self) -> Table {
        if !self.fit() {
            return Table::new(["", "vol", "dist", "cos"]);
        }
        let (mut names, mut rankings) = (vec![String::new()], vec![String::new()]);
        for query in &self.queries.0 {
            names.push(one_line(&format!("{}→", query.name)));
            rankings.push(query.head());
        }
        if let Some((a, b)) = self.pair() {
            names.push(one_line(&format!("{a}→{b}")));
            rankings.push("cos".to_string());
        }
        names.extend(self.numbers().map(|(_, name)| name.to_string()));
        let mut table = Table::new(names);
        table.row(rankings);
        table
    }

    fn row(&self, label: &str, metrics: &Metrics, table: &mut Table) {
        let get = |name: &str| percent(metrics.get(name).copied());
        if self.fit() {
            let mut cells = vec![format!("  {label}")];
            cells.extend(self.queries.0.iter().map(|query| query.cell(metrics)));
            cells.extend(self.pair().map(|(a, b)| get(&format!("{a}_to_{b}_r1"))));
            cells.extend(self.numbers().map(|(name, _)| get(name)));
            table.row(cells);
            return;
        }
        table.row([format!("  {label}")]);
        for query in &self.queries.0 {
            let mut cells = vec![format!("    {}→", one_line(&query.name))];
            let rankings = query.rankings().iter();
            cells.extend(rankings.map(|(ranking, _)| query.r1(metrics, ranking)));
            table.row(cells);
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
    let weights = jobs.iter().map(|job| (job, ""));
    let averages = jobs.iter().map(|job| (job, ", average"));
    let all = weights
        .zip(averages)
        .flat_map(|(weights, average)| [weights, average]);
    for ((options, job), which) in all {
        let errors = PARTS.map(|(leg, _)| {
            let report = part(job, leg)?;
            let metrics = if which.is_empty() {
                &report.metrics
            } else {
                &report.average
            };
            metrics.get(DIGIT_ERROR).copied()
        });
        if !which.is_empty() && errors.iter().all(Option::is_none) {
            continue;
        }
        let best = errors.into_iter().flatten().reduce(f64::min);
        let cell = |error: Option<f64>| {
            let mark = if error.is_some() && error == best {
                "*"
            } else {
                " "
            };
            format!("{}{mark}", percent(error))
        };
        let mut cells = vec![format!("{}{which}", one_line(&options.noise))];
        cells.extend(errors.map(cell));
        table.row(cells);
    }
    format!("Digit error in % on clean test strips; * is the best\n{table}\n")
}

fn part<'a>(job: &'a JobReport, leg: &str) -> Option<&'a BudgetReport> {
    job.budgets.iter().rev().find(|report| report.leg == leg)
}

#[cfg(test)]
mod tests {
    use rivergram::train::{JobOptions, LossKind, Source};

    use super::*;

    /// Metrics of an alignment: volume .5, distance .25, cosines 1.
    fn metrics(modalities: &[&str]) -> Metrics {
        let mut metrics = Metrics::new();
        for query in modalities {
            let others = modalities.iter().filter(|name| *name != query);
            let others: Vec<&str> = others.copied().collect();
            for ((ranking, _), rate) in RANKINGS.iter().zip([0.5, 0.25, 1.0]) {
                let name = format!("{query}_to_{}{ranking}_r1", others.join("+"));
                metrics.insert(name, rate);
            }
        }
        metrics
    }

    fn budget(job: &str, leg: &str, step: u64, metrics: Metrics) -> BudgetReport {
        BudgetReport {
            job: job.to_string(),
            leg: leg.to_string(),
            step,
            checkpoint: PathBuf::from("budget.safetensors"),
            metrics,
            average: Metrics::new(),
        }
    }

    fn alignment(anchor: Option<&str>, untrained: Metrics, trained: Metrics) -> String {
        let mut options = AlignOptions::new(Source::Numbers, LossKind::Gram, 0);
        options.anchor = anchor.map(String::from);
        let options = JobOptions::align(options, 0);
        let job = JobReport {
            name: options.name.clone(),
            untrained,
            budgets: vec![budget(&options.name, "main", 600, trained)],
        };
        let report = RunReport {
            jobs: vec![job],
            interrupted: false,
        };
        tables(&RunOptions::new("scalar", vec![options]), &report)
    }

    #[test]
    fn numbers_have_a_column_per_query_and_for_the_unseen() {
        let modalities = ["text", "image", "audio"];
        let mut trained = metrics(&modalities);
        trained.insert("image_to_audio_r1".into(), 0.123);
        trained.insert("image+audio_number_accuracy".into(), 0.9);
        trained.insert("unseen_image+audio_number_accuracy".into(), 0.8);
        let text = alignment(None, metrics(&modalities), trained);
        let expected = "\
R@1 in % by volume (vol), conditional distance (dist) and sum of cosines (cos)
number: accuracy in % from image and audio; unseen: of numbers left out of the training
                         text→             image→             audio→  image→audio  number  unseen
               vol  dist   cos    vol  dist   cos    vol  dist   cos          cos
align-gram
  untrained   50.0  25.0 100.0   50.0  25.0 100.0   50.0  25.0 100.0            –       –       –
  600 steps   50.0  25.0 100.0   50.0  25.0 100.0   50.0  25.0 100.0         12.3    90.0    80.0

";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_release_is_no_budget() {
        let (options, metrics) = (RunOptions::demo("scalar", 0), metrics(&["a", "b", "c"]));
        let jobs = options.jobs.iter().take(1).map(|job| JobReport {
            name: job.name.clone(),
            untrained: Metrics::new(),
            budgets: vec![
                budget(&job.name, "release", 210, metrics.clone()),
                budget(&job.name, "main", 600, metrics.clone()),
            ],
        });
        let report = RunReport {
            jobs: jobs.collect(),
            interrupted: false,
        };
        let text = tables(&options, &report);
        for label in ["\n  release at 210  ", "\n  600 steps       "] {
            assert!(text.contains(label), "{text}");
        }
    }

    #[test]
    fn the_anchor_comes_first_then_the_order_of_the_data() {
        let modalities = ["video", "sound", "text", "depth"];
        let trained = metrics(&modalities);
        let order = |anchor| {
            let queries = Queries::of([&trained], anchor).0;
            let names: Vec<String> = queries.into_iter().map(|query| query.name).collect();
            names.join(" ")
        };
        assert_eq!(order(None), "text video sound depth");
        assert_eq!(order(Some("sound")), "sound video text depth");
        let text = alignment(Some("depth"), Metrics::new(), trained.clone());
        let expected = "\
R@1 in % by volume (vol), conditional distance (dist) and sum of cosines (cos)
             vol  dist    cos
align-gram
  600 steps
    depth→  50.0  25.0  100.0
    video→  50.0  25.0  100.0
    sound→  50.0  25.0  100.0
    text→   50.0  25.0  100.0

";
        assert_eq!(text, expected);
    }

    #[test]
    fn two_modalities_are_ranked_by_their_cosine() {
        let rates = [("a_to_b_r1", 0.5), ("b_to_a_r1", 1.0), ("b_to_a_r5", 0.3)];
        let trained = rates.map(|(name, rate)| (name.to_string(), rate));
        let text = alignment(Some("b"), Metrics::new(), Metrics::from(trained));
        let expected = "\
R@1 in % by cosine
                b→     a→
               cos    cos
align-gram
  600 steps  100.0   50.0

";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_best_way_to_transcribe_is_marked() {
        let options = JobOptions::strips(StripsOptions::new("shuffle:5"), 0);
        let name = options.name.clone();
        let at = |leg: &str, step, error| {
            let metrics = Metrics::from([(DIGIT_ERROR.to_string(), error)]);
            budget(&name, leg, step, metrics)
        };
        let job = JobReport {
            name: name.clone(),
            untrained: Metrics::new(),
            budgets: vec![
                at("cross-entropy", 300, 0.133),
                at("cross-entropy-on", 900, 0.178),
                at("eisl", 900, 0.092),
            ],
        };
        let report = RunReport {
            jobs: vec![job],
            interrupted: false,
        };
        let text = tables(&RunOptions::new("scalar", vec![options]), &report);
        let expected = "\
Digit error in % on clean test strips; * is the best
noise      CE at 300   CE at 900   EISL at 900
shuffle:5       13.3        17.8           9.2*

";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_run_without_results_has_no_tables() {
        let options = RunOptions::demo("scalar", 0);
        let report = RunReport {
            jobs: Vec::new(),
            interrupted: true,
        };
        assert_eq!(tables(&options, &report), "");
        let text = alignment(None, Metrics::new(), Metrics::new());
        assert!(text.contains("600 steps"), "{text}");
    }

    #[test]
    fn a_budget_is_told_in_a_line() {
        let report = budget("align-gram", "branch-600", 600, metrics(&["a", "b", "c"]));
        let line = budget_line(&report);
        let end = "branch-600 at 600  a→ 50.0  b→ 50.0  c→ 50.0  (R@1 % by volume)";
        assert!(line.ends_with(end), "{line}");
    }
}
