//! The table: a section for each machine, a line for each function.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

const HEAD: &str = "\
# Size and cost on microcontrollers

What a function of rivergram-core costs where flash and memory are small, beside what else one would use: the
same with nalgebra's matrices of fixed size, and the formulas as they stand in a paper, in plain Rust with libm.
All are compiled with the same flags, for speed (opt-level 3) and for size (s), with fat LTO, for the target's default CPU.

`cargo xtask size` makes this file. The test command measures again, and a number that changed by more than 5%
must be committed with the change.

- **flash**: the function linked alone, with all that it calls and all its constants, the target's software
  arithmetic included.
- **instructions**: executed in one call, counted in QEMU over two numbers of calls (`-icount`; on RISC-V
  minstret). Instructions are not cycles: a load or a division takes several, a cache miss many. They compare
  code for one core, not cores.
- **stack**: what the call wrote to below its caller's frame.
- **RAM**: bytes of parameters, states, gradients and workspace that the caller keeps, without the inputs. Of a schedule step these are the words that
  change from step to step (`Progress`), without the plan, which does not change, and the reference to it in the state.

";

const COLUMNS: &str = "\
| function | | flash, 3 | flash, s | instructions, 3 | instructions, s | stack, 3 | stack, s | RAM |
|---|---|---:|---:|---:|---:|---:|---:|---:|
";

/// The columns with numbers, as they are named in messages.
const NAMES: [&str; 7] = [
    "flash at opt-level 3",
    "flash at opt-level s",
    "instructions at opt-level 3",
    "instructions at opt-level s",
    "stack at opt-level 3",
    "stack at opt-level s",
    "RAM",
];

/// What one call of a function costs, in one profile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// None where it is that of the line above.
    pub(super) flash: Option<u64>,
    pub(super) stack: u64,
    pub(super) memory: u64,
    pub(super) instructions: u64,
}

/// The costs of all functions on all machines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// Compiler and emulator.
    pub(super) tools: String,
    pub(super) sections: Vec<Section>,
}

/// The costs on one machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) triple: String,
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
}

/// The costs of one function with one input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// `who: what`.
    pub(super) name: String,
    /// In the order of [`NAMES`].
    pub(super) cells: [Option<u64>; 7],
}

impl Section {
    /// Adds the costs in the profile of a column: 0 for speed, 1 for size.
    pub(super) fn add(&mut self, column: usize, costs: Vec<(String, Cost)>) {
        for (name, cost) in costs {
            let at = self.lines.iter().position(|line| line.name == name);
            let at = at.unwrap_or_else(|| {
                let cells = [None; 7];
                self.lines.push(Line { name, cells });
                self.lines.len() - 1
            });
            let cells = &mut self.lines[at].cells;
            cells[column] = cost.flash;
            cells[2 + column] = Some(cost.instructions);
            cells[4 + column] = Some(cost.stack);
            cells[6] = Some(cost.memory);
        }
    }

    /// A number: of a line by its name, in a column.
    pub(super) fn cell(&self, name: &str, column: usize) -> Option<u64> {
        let line = self.lines.iter().find(|line| line.name == name)?;
        line.cells[column]
    }
}

impl Table {
    /// What differs in `new` by more than 5%, a sentence each.
    pub(super) fn changes(&self, new: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for section in &new.sections {
            let triple = &section.triple;
            let mut known = self.sections.iter();
            let Some(old) = known.find(|old| old.triple == *triple) else {
                changes.push(format!("{triple} is not in the table"));
                continue;
            };
            for Line { name, cells } in &section.lines {
                let Some(line) = old.lines.iter().find(|line| line.name == *name) else {
                    changes.push(format!("{triple}: `{name}` is not in the table"));
                    continue;
                };
                for ((column, old), new) in NAMES.into_iter().zip(line.cells).zip(*cells) {
                    if differ(old.unwrap_or(0), new.unwrap_or(0)) {
                        let [old, new] = [old, new].map(spelled);
                        changes.push(format!(
                            "{triple}: {name}: {column}: {new}, in the table {old}"
                        ));
                    }
                }
            }
            let gone = old.lines.iter().filter(|line| {
                let mut lines = section.lines.iter();
                lines.all(|new| new.name != line.name)
            });
            changes.extend(gone.map(|line| format!("{triple}: `{}` is gone", line.name)));
        }
        changes
    }
}

/// By more than 5% of the old number.
fn differ(old: u64, new: u64) -> bool {
    20 * old.abs_diff(new) > old
}

fn spelled(cell: Option<u64>) -> String {
    cell.map_or(String::new(), |number| number.to_string())
}

/// The text of the file.
impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{HEAD}Measured with {}.", self.tools)?;
        for section in &self.sections {
            write!(f, "\n## {}: {}\n\n{COLUMNS}", section.name, section.triple)?;
            for line in &section.lines {
                let (who, what) = line.name.split_once(": ").unwrap_or_default();
                write!(f, "| {what} | {who} |")?;
                for cell in line.cells {
                    write!(f, " {} |", spelled(cell))?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// What [`Display`] wrote.
impl FromStr for Table {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut table = Table {
            tools: String::new(),
            sections: Vec::new(),
        };
        for line in text.lines() {
            if let Some(tools) = line.strip_prefix("Measured with ") {
                table.tools = tools.trim_end_matches('.').to_string();
            } else if let Some(title) = line.strip_prefix("## ") {
                let (name, triple) = title.split_once(": ").ok_or(title)?;
                table.sections.push(Section {
                    triple: triple.to_string(),
                    name: name.to_string(),
                    lines: Vec::new(),
                });
            } else if let Some(section) = table.sections.last_mut()
                && let Some(row) = line.strip_prefix("| ")
                && !row.starts_with("function |")
            {
                section.lines.push(row.parse()?);
            }
        }
        Ok(table)
    }
}

impl FromStr for Line {
    type Err = String;

    fn from_str(row: &str) -> Result<Self, String> {
        let unread = || format!("cannot read `{row}`");
        let mut fields = row.split('|').map(str::trim);
        let what = fields.next().ok_or_else(unread)?;
        let who = fields.next().ok_or_else(unread)?;
        let mut cells = [None; 7];
        for (cell, field) in cells.iter_mut().zip(fields) {
            if !field.is_empty() {
                *cell = Some(field.parse().map_err(|_| unread())?);
            }
        }
        let name = format!("{who}: {what}");
        Ok(Line { name, cells })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(instructions: u64) -> Table {
        let cost = |flash| Cost {
            flash,
            stack: 160,
            memory: 0,
            instructions,
        };
        let mut section = Section {
            triple: "thumbv6m-none-eabi".to_string(),
            name: "Cortex-M0".to_string(),
            lines: Vec::new(),
        };
        for column in [0, 1] {
            let costs = vec![
                ("rivergram: volume".to_string(), cost(Some(800))),
                ("rivergram: volume; again".to_string(), cost(None)),
            ];
            section.add(column, costs);
        }
        Table {
            tools: "rustc 1.96.0, QEMU 7.2".to_string(),
            sections: vec![section],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let table = table(900);
        assert_eq!(table.to_string().parse::<Table>(), Ok(table));
        assert!(
            "## A: b\n\n| what | who | 1 | x |\n"
                .parse::<Table>()
                .is_err()
        );
    }

    #[test]
    fn five_per_cent_are_let_pass() {
        assert!(table(1000).changes(&table(1050)).is_empty());
        assert!(table(1000).changes(&table(950)).is_empty());
        let changes = table(1000).changes(&table(1051));
        let want = "thumbv6m-none-eabi: rivergram: volume: instructions at opt-level 3: 1051, in the table 1000";
        assert_eq!(changes.len(), 4);
        assert_eq!(changes[0], want);
        assert!(differ(0, 1) && !differ(0, 0));
    }

    #[test]
    fn lines_that_come_or_go_are_named() {
        let (whole, mut cut) = (table(1), table(1));
        cut.sections[0].lines.pop();
        let name = "thumbv6m-none-eabi: `rivergram: volume; again`";
        assert_eq!(cut.changes(&whole), [format!("{name} is not in the table")]);
        assert_eq!(whole.changes(&cut), [format!("{name} is gone")]);
        assert_eq!(
            Table {
                tools: String::new(),
                sections: Vec::new()
            }
            .changes(&cut),
            ["thumbv6m-none-eabi is not in the table"]
        );
    }
}
