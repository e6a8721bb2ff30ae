//! The rows of a run of `gpu-bench` as tables in Markdown: the bars with their ratios and verdicts, then every row.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

/// What a bar compares.
enum Measure {
    /// The operations per second of ours, of those of a rival's form.
    Rate(&'static str),
    /// The time of ours, of that of a rival's form.
    Time(&'static str),
    /// The bytes per second of ours, of those of our copy.
    OfCopy,
    /// Memory besides inputs and outputs, in MB.
    Memory,
}

/// How much it must be.
enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

/// The row of `gpu-bench`, what is compared, and the bar.
const BARS: &[(&str, Measure, Bar)] = &[
    (
        "volume matrix tf32",
        Measure::Rate("product"),
        Bar::AtLeast(0.5),
    ),
    (
        "volume matrix bf16",
        Measure::Rate("product"),
        Bar::AtLeast(0.4),
    ),
    (
        "gram loss",
        Measure::Time("determinant"),
        Bar::AtMost(1.0 / 50.0),
    ),
    (
        "gram loss",
        Measure::Time("determinant-free, compiled"),
        Bar::AtMost(0.5),
    ),
    (
        "gram loss tf32",
        Measure::Time("determinant"),
        Bar::AtMost(1.0 / 50.0),
    ),
    (
        "gram loss tf32",
        Measure::Time("determinant-free, compiled"),
        Bar::AtMost(0.5),
    ),
    ("gram loss large", Measure::Memory, Bar::AtMost(1000.0)),
    ("gram loss large tf32", Measure::Memory, Bar::AtMost(1000.0)),
    ("sequence loss", Measure::OfCopy, Bar::AtLeast(0.75)),
    (
        "sequence loss",
        Measure::Time("gather and diagonals"),
        Bar::AtMost(0.2),
    ),
    ("search bf16", Measure::OfCopy, Bar::AtLeast(0.8)),
];

/// The rows of one run.
struct Rows(Vec<Value>);

impl Rows {
    /// Of JSON objects, one a line. Ratios hold within one run: rows of two are refused.
    fn read(text: &str) -> Result<Self, String> {
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.is_empty());
        let rows = lines.map(|(i, line)| {
            let row: Value =
                serde_json::from_str(line).map_err(|e| format!("line {}: {e}", i + 1))?;
            match row["name"].is_string() {
                true => Ok(row),
                false => Err(format!("line {}: a row without a name", i + 1)),
            }
        });
        let rows = Rows(rows.collect::<Result<_, _>>()?);
        if rows.0.is_empty() {
            return Err("there is no row".to_string());
        }
        if rows.each("date").len() > 1 {
            return Err("the rows are of more than one run".to_string());
        }
        Ok(rows)
    }

    /// What stands in a field, each once.
    fn each(&self, field: &str) -> BTreeSet<&str> {
        let fields = self.0.iter().filter_map(|row| row[field].as_str());
        fields.collect()
    }

    /// The same as words.
    fn words(&self, field: &str) -> String {
        match self.each(field) {
            none if none.is_empty() => "unknown".to_string(),
            some => some.into_iter().collect::<Vec<_>>().join(", "),
        }
    }

    /// What the rivals are written in.
    fn rivals(&self) -> String {
        let all = self.each("by");
        let others: Vec<&str> = all.into_iter().filter(|by| *by != "rivergram").collect();
        match others.is_empty() {
            true => "nobody".to_string(),
            false => others.join(", "),
        }
    }

    /// The row of this name and form; ours has no form.
    fn find(&self, name: &str, form: Option<&str>) -> Option<&Value> {
        let is_it = |row: &&Value| row["name"] == name && row["form"].as_str() == form;
        self.0.iter().find(is_it)
    }

    /// A number of a row, or why it is not there.
    fn number(&self, name: &str, form: Option<&str>, field: &str) -> Result<f64, String> {
        let who = form.unwrap_or("rivergram");
        let row = self.find(name, form).ok_or(format!("no row of {who}"))?;
        if let Some(error) = row["error"].as_str() {
            return Err(format!("{who}: {error}"));
        }
        let number = row[field].as_f64();
        number.ok_or_else(|| format!("{who}: no {field}"))
    }

    /// What is measured beside what it is compared with.
    fn compare(&self, name: &str, measure: &Measure) -> Result<Compared, String> {
        let ours = |field: &str| self.number(name, None, field);
        let beside = |own: f64, other: f64, unit: &str| Compared {
            texts: [own, other].map(|x| format!("{} {unit}", spelled(x))),
            value: own / other,
        };
        Ok(match measure {
            Measure::Rate(form) => beside(
                ours("tflop_s")?,
                self.number(name, Some(form), "tflop_s")?,
                "TFLOP/s",
            ),
            Measure::Time(form) => beside(ours("ms")?, self.number(name, Some(form), "ms")?, "ms"),
            Measure::OfCopy => beside(ours("gb_s")?, self.number("copy", None, "gb_s")?, "GB/s"),
            Measure::Memory => {
                let own = ours("extra_mb")?;
                let texts = [format!("{} MB", spelled(own)), "–".to_string()];
                Compared { texts, value: own }
            }
        })
    }
}

struct Compared {
    /// Ours, and what it is compared with.
    texts: [String; 2],
    /// What the bar is for.
    value: f64,
}

impl Measure {
    /// What ours is compared with.
    fn beside(&self) -> &'static str {
        match self {
            Measure::Rate(form) | Measure::Time(form) => form,
            Measure::OfCopy => "copy",
            Measure::Memory => "–",
        }
    }

    /// A value or a bar as it is told: a time of a rival as so many times less, a share in percent.
    fn told(&self, value: f64) -> String {
        match self {
            Measure::Rate(_) | Measure::OfCopy => format!("{}%", spelled(100.0 * value)),
            Measure::Time(_) if value > 1.0 => format!("{} times", spelled(value)),
            Measure::Time(_) => format!("1/{}", spelled(1.0 / value)),
            Measure::Memory => format!("{} MB", spelled(value)),
        }
    }
}

impl Bar {
    fn value(&self) -> f64 {
        match self {
            Bar::AtLeast(x) | Bar::AtMost(x) => *x,
        }
    }

    fn holds(&self, value: f64) -> bool {
        match self {
            Bar::AtLeast(least) => value >= *least,
            Bar::AtMost(most) => value <= *most,
        }
    }

    fn sign(&self) -> char {
        match self {
            Bar::AtLeast(_) => '≥',
            Bar::AtMost(_) => '≤',
        }
    }
}

/// With three digits, or all before the point.
fn spelled(x: f64) -> String {
    let digits = match x.abs() {
        x if x >= 99.95 => 0,
        x if x >= 9.995 => 1,
        x if x >= 0.9995 => 2,
        _ => 3,
    };
    format!("{x:.digits$}")
}

/// The tables of the rows of one run, JSON objects a line each.
pub(super) fn markdown(text: &str) -> Result<String, String> {
    let rows = Rows::read(text)?;
    let mut out = format!(
        "{}, compute capability {}, driver {}, {}; rivals by {}.\n\n",
        rows.words("device"),
        rows.words("capability"),
        rows.words("driver"),
        rows.words("date"),
        rows.rivals(),
    );
    out += "| row | ours | beside | its | ratio | bar | verdict |\n|---|---|---|---|---|---|---|\n";
    for (name, measure, bar) in BARS {
        let (beside, least) = (measure.beside(), measure.told(bar.value()));
        let (texts, ratio, verdict) = match rows.compare(name, measure) {
            Ok(found) => {
                let verdict = if bar.holds(found.value) {
                    "met"
                } else {
                    "missed"
                };
                (found.texts, measure.told(found.value), verdict.to_string())
            }
            Err(why) => {
                let none = || "–".to_string();
                (
                    [none(), none()],
                    none(),
                    format!("not measured: {}", cell(&why)),
                )
            }
        };
        let ([own, other], sign) = (texts, bar.sign());
        let _ = writeln!(
            out,
            "| {name} | {own} | {beside} | {other} | {ratio} | {sign} {least} | {verdict} |"
        );
    }
    out += "\n| row | by | work | ms, median (least to most) | GB/s | TFLOP/s | MB besides |\n\
            |---|---|---|---|---|---|---|\n";
    for row in &rows.0 {
        let _ = writeln!(out, "{}", line(row));
    }
    Ok(out)
}

/// A row of the second table.
fn line(row: &Value) -> String {
    let number = |field: &str| row[field].as_f64().map_or("–".to_string(), spelled);
    let text = |field: &str| cell(row[field].as_str().unwrap_or("–"));
    let by = match row["form"].as_str() {
        Some(form) => format!("torch: {}", cell(form)),
        None => text("by"),
    };
    let times = match row["error"].as_str() {
        Some(error) => cell(error),
        None => {
            let [median, least, most] = ["ms", "least_ms", "most_ms"].map(number);
            format!("{median} ({least} to {most})")
        }
    };
    let [bytes, rate, extra] = ["gb_s", "tflop_s", "extra_mb"].map(number);
    let (name, work) = (text("name"), text("work"));
    format!("| {name} | {by} | {work} | {times} | {bytes} | {rate} | {extra} |")
}

/// A text that ends no cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "/").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invented numbers: some bars are met, one is missed, one rival failed, and some rows are not there.
    const SAMPLE: &str = include_str!("sample.jsonl");

    fn verdict<'t>(table: &'t str, start: &str) -> &'t str {
        let mut lines = table.lines().filter(|line| line.starts_with(start));
        lines.next().expect("a line of the bar")
    }

    #[test]
    fn bars_have_ratios_and_verdicts() {
        let table = markdown(SAMPLE).expect("a run");
        let head = "A card, compute capability 9.0, driver 580.1, 2026-11-29T12:00:00Z; rivals by torch 2.9.\n";
        assert!(table.starts_with(head), "{table}");
        for line in [
            "| volume matrix tf32 | 200 TFLOP/s | product | 320 TFLOP/s | 62.5% | ≥ 50.0% | met |",
            "| volume matrix bf16 | 200 TFLOP/s | product | 640 TFLOP/s | 31.2% | ≥ 40.0% | missed |",
            "| gram loss | 2.00 ms | determinant | 150 ms | 1/75.0 | ≤ 1/50.0 | met |",
            "| gram loss large | 809 MB | – | – | 809 MB | ≤ 1000 MB | met |",
            "| sequence loss | 2400 GB/s | copy | 4000 GB/s | 60.0% | ≥ 75.0% | missed |",
        ] {
            let start = line.split_inclusive('|').take(2).collect::<String>();
            let found: Vec<&str> = table.lines().filter(|l| l.starts_with(&start)).collect();
            assert!(found.contains(&line), "{line}\n{found:#?}");
        }
        let failed = verdict(&table, "| gram loss | – | determinant-free, compiled");
        assert!(failed.ends_with("| not measured: determinant-free, compiled: out / of memory |"));
        let absent = verdict(&table, "| search bf16 ");
        assert!(
            absent.ends_with("| not measured: no row of rivergram |"),
            "{absent}"
        );
        let every = SAMPLE.lines().count();
        assert_eq!(table.lines().count(), 2 + 2 + BARS.len() + 1 + 2 + every);
        assert!(
            table.contains(
                "| gram loss | torch: determinant | x | 150 (149 to 151) | – | – | 2300 |"
            )
        );
    }

    #[test]
    fn what_is_no_run_is_refused() {
        for wrong in ["", "{}", "x", "{\"name\":1}"] {
            assert!(markdown(wrong).is_err(), "{wrong}");
        }
        let two = "{\"name\":\"a\",\"date\":\"b\"}\n{\"name\":\"a\",\"date\":\"c\"}";
        assert!(markdown(two).is_err());
    }

    #[test]
    fn bars_name_rows_that_are_measured() {
        let ours = include_str!("../../../tests/gpu/src/bench.rs");
        let rivals = include_str!("../../../tests/gpu/rivals.py");
        for (name, measure, _) in BARS {
            assert!(ours.contains(&format!("name: {name:?},")), "{name}");
            if let Measure::Rate(form) | Measure::Time(form) = measure {
                let start = format!("({name:?}, {form:?}, ");
                assert!(rivals.contains(&start), "{start}");
            }
        }
    }

    #[test]
    fn numbers_have_three_digits() {
        let got = [0.0123, 1.0, 12.34, 99.97, 4321.9].map(spelled);
        assert_eq!(got, ["0.012", "1.00", "12.3", "100", "4322"]);
    }
}
