//! What must not be exceeded, whatever the table says.

use super::table::{Section, Table};

/// Columns of the table: at opt-level 3, at s.
const FLASH: usize = 0;
const FLASH_FOR_SIZE: usize = 1;
const INSTRUCTIONS: usize = 2;
const INSTRUCTIONS_FOR_SIZE: usize = 3;
const STACK: usize = 4;
const STACK_FOR_SIZE: usize = 5;
const MEMORY: usize = 6;

/// The target of the limits.
const TRIPLE: &str = "thumbv7em-none-eabihf";

const VOLUME: &str = "rivergram: volume, K = 3, D = 64";
const COMPACT: &str = "rivergram: compact volume, K = 3, D = 64";

/// Instructions of the common path.
const COMMON: u64 = 900;

/// A line, a column, the largest number.
const LIMITS: [(&str, usize, u64); 32] = [
    (VOLUME, FLASH, 1_800),
    (VOLUME, FLASH_FOR_SIZE, 1_400),
    (VOLUME, INSTRUCTIONS, COMMON),
    (
        "rivergram: volume, K = 3, D = 64; better rows needed",
        INSTRUCTIONS,
        2_200,
    ),
    (
        "rivergram: volume, K = 3, D = 64; coplanar",
        INSTRUCTIONS,
        9_400,
    ),
    ("rivergram: volume, K = 3, D = 64; coplanar", STACK, 160),
    (
        "rivergram: volume, K = 3, D = 64; coplanar",
        STACK_FOR_SIZE,
        160,
    ),
    (
        "rivergram: volume, K = 3, D = 64; better rows needed",
        STACK,
        160,
    ),
    (
        "rivergram: volume, K = 3, D = 64; better rows needed",
        STACK_FOR_SIZE,
        160,
    ),
    (COMPACT, FLASH, 1_600),
    (COMPACT, FLASH_FOR_SIZE, 800),
    (COMPACT, INSTRUCTIONS, 900),
    (
        "rivergram: compact volume, K = 3, D = 64; better rows needed",
        INSTRUCTIONS,
        2_200,
    ),
    (
        "rivergram: compact volume, K = 3, D = 64; better rows needed",
        INSTRUCTIONS_FOR_SIZE,
        2_200,
    ),
    (
        "rivergram: compact volume, K = 3, D = 64; coplanar",
        INSTRUCTIONS,
        2_200,
    ),
    (
        "rivergram: compact volume, K = 3, D = 64; coplanar",
        INSTRUCTIONS_FOR_SIZE,
        2_200,
    ),
    (
        "rivergram: compact volume, K = 3, D = 64; coplanar",
        STACK,
        160,
    ),
    (
        "rivergram: compact volume, K = 3, D = 64; coplanar",
        STACK_FOR_SIZE,
        160,
    ),
    (
        "rivergram: training step, 3 heads 32 to 16, B = 8, GRAM, SGD",
        INSTRUCTIONS,
        250_000,
    ),
    (
        "rivergram: training step, 3 heads 32 to 16, B = 8, GRAM, AdamW",
        INSTRUCTIONS,
        320_000,
    ),
    (
        "rivergram: training step by a recipe, 3 heads 32 to 16, B = 8, GRAM, SGD",
        INSTRUCTIONS,
        250_000,
    ),
    (
        "rivergram: training step by a recipe, 3 heads 32 to 16, B = 8, GRAM, AdamW",
        INSTRUCTIONS,
        320_000,
    ),
    ("rivergram: schedule step, linear", INSTRUCTIONS, 100),
    ("rivergram: schedule step, cosine", INSTRUCTIONS, 100),
    (
        "rivergram: schedule step, one-minus-square",
        INSTRUCTIONS,
        100,
    ),
    (
        "rivergram: schedule step, one-minus-sqrt",
        INSTRUCTIONS,
        100,
    ),
    ("rivergram: schedule step, half-life", INSTRUCTIONS, 100),
    ("rivergram: schedule step, exponential", INSTRUCTIONS, 100),
    (
        "rivergram: schedule step, inverse-proportional",
        INSTRUCTIONS,
        100,
    ),
    ("rivergram: schedule step, inverse-sqrt", INSTRUCTIONS, 100),
    (
        "rivergram: schedule step, before the decay",
        INSTRUCTIONS,
        100,
    ),
    ("rivergram: schedule step, before the decay", MEMORY, 64),
];

/// Every line that begins so is within the limit of [`VOLUME`] and [`COMPACT`]: vectors of every angle.
const ANGLES: [&str; 2] = [
    "rivergram: volume, K = 3, D = 64; aligned_",
    "rivergram: compact volume, K = 3, D = 64; aligned_",
];

/// A target, two lines, and how often the instructions of the second go into those of the first, at least.
const TIMES: [(&str, &str, &str, u64); 2] = [
    (TRIPLE, "nalgebra: volume, K = 3, D = 64", VOLUME, 2),
    // Without a floating-point unit.
    (
        "thumbv6m-none-eabi",
        VOLUME,
        "rivergram: volume in 8 bits, K = 3, D = 64",
        10,
    ),
];

/// The limits that a table breaks, a sentence each.
pub(super) fn broken(table: &Table) -> Vec<String> {
    let mut broken: Vec<String> = TIMES
        .into_iter()
        .filter_map(|times| ratio(table, times))
        .collect();
    match section_of(table, TRIPLE) {
        Some(section) => broken.extend(broken_in(section)),
        None => broken.push(format!("{TRIPLE} is not measured")),
    }
    broken
}

fn section_of<'a>(table: &'a Table, triple: &str) -> Option<&'a Section> {
    let mut sections = table.sections.iter();
    sections.find(|section| section.triple == triple)
}

fn ratio(table: &Table, times: (&str, &str, &str, u64)) -> Option<String> {
    let (triple, more, less, least) = times;
    let cell = |name| section_of(table, triple)?.cell(name, INSTRUCTIONS);
    match (cell(more), cell(less)) {
        (Some(more), Some(less)) if more >= less.saturating_mul(least) => None,
        (more, less_found) => Some(format!(
            "{triple}: {less}: {less_found:?} instructions, and {more:?} must be {least} times as many"
        )),
    }
}

fn broken_in(section: &Section) -> Vec<String> {
    let mut limits = Vec::new();
    for angle in ANGLES {
        let names = section.lines.iter().map(|line| line.name.as_str());
        let angles: Vec<&str> = names.filter(|name| name.starts_with(angle)).collect();
        limits.extend(angles.iter().map(|name| (*name, INSTRUCTIONS, COMMON)));
        if angles.is_empty() {
            limits.push((angle, INSTRUCTIONS, COMMON));
        }
    }
    limits.extend(LIMITS);
    let broken = limits.into_iter().filter_map(|(name, column, most)| {
        let found = match section.cell(name, column) {
            Some(number) if number <= most => return None,
            Some(number) => number.to_string(),
            None => "nothing".to_string(),
        };
        Some(format!(
            "{TRIPLE}: {name}: {found} is measured, and {most} is the limit"
        ))
    });
    broken.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_or_missing_is_named() {
        let row = |name: &str, number: u64| {
            let (who, what) = name.split_once(": ").unwrap_or_default();
            let cells = format!("{number} | ").repeat(6);
            format!("| {what} | {who} | {cells}64 |\n")
        };
        let [(_, nalgebra, _, _), (small, floats, bytes, _)] = TIMES;
        let mut text = format!(
            "## Cortex-M4F: {TRIPLE}

{}",
            row(nalgebra, 1600)
        );
        let [full, compact] = ANGLES;
        text.push_str(&row(&format!("{full}k3_s1"), COMMON));
        text.push_str(&row(&format!("{full}k3_s0.1"), COMMON + 1));
        text.push_str(&row(&format!("{compact}k3_s1"), COMMON + 2));
        let mut written: Vec<&str> = Vec::new();
        for (name, _, _) in LIMITS {
            if !name.ends_with("cosine") && !written.contains(&name) {
                let limits = LIMITS.iter().filter(|limit| limit.0 == name);
                let least = limits
                    .map(|limit| limit.2)
                    .filter(|least| *least > 64)
                    .min();
                text.push_str(&row(name, least.unwrap_or(64)));
                written.push(name);
            }
        }
        text.push_str(&format!("## Cortex-M0: {small}\n\n"));
        text.push_str(&row(floats, 1000));
        text.push_str(&row(bytes, 100));
        let broken = text.parse().map(|table| broken(&table));
        let want = [
            format!(
                "{TRIPLE}: {floats}: Some(900) instructions, and Some(1600) must be 2 times as many"
            ),
            format!("{TRIPLE}: {full}k3_s0.1: 901 is measured, and 900 is the limit"),
            format!("{TRIPLE}: {compact}k3_s1: 902 is measured, and 900 is the limit"),
            format!(
                "{TRIPLE}: rivergram: schedule step, cosine: nothing is measured, and 100 is the limit"
            ),
        ];
        assert_eq!(broken, Ok(want.to_vec()));
    }

    #[test]
    fn what_is_not_often_enough_in_another_is_named() {
        let table = |less: u64| {
            let rows = format!(
                "## a: x\n\n| more | rivergram | | | 100 | | | | 0 |\n| less | rivergram | | | {less} | | | | 0 |\n"
            );
            rows.parse::<Table>().expect("a table")
        };
        let times = ("x", "rivergram: more", "rivergram: less", 10);
        assert_eq!(ratio(&table(10), times), None);
        assert!(ratio(&table(11), times).is_some());
        assert!(ratio(&table(1), ("x", "rivergram: more", "rivergram: no", 10)).is_some());
        assert!(ratio(&table(1), ("y", "rivergram: more", "rivergram: less", 10)).is_some());
    }
}
