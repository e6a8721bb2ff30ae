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

/// A line, a column, the largest number.
const LIMITS: [(&str, usize, u64); 29] = [
    (VOLUME, FLASH, 1_800),
    (VOLUME, FLASH_FOR_SIZE, 1_400),
    (VOLUME, INSTRUCTIONS, 900),
    (
        "rivergram: volume, K = 3, D = 64; better rows needed",
        INSTRUCTIONS,
        2_200,
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

/// The second takes at most half the instructions of the first.
const HALF: (&str, &str) = ("nalgebra: volume, K = 3, D = 64", VOLUME);

/// The limits that a table breaks, a sentence each.
pub(super) fn broken(table: &Table) -> Vec<String> {
    let mut sections = table.sections.iter();
    match sections.find(|section| section.triple == TRIPLE) {
        Some(section) => broken_in(section),
        None => vec![format!("{TRIPLE} is not measured")],
    }
}

fn broken_in(section: &Section) -> Vec<String> {
    let mut limits = Vec::new();
    match section.cell(HALF.0, INSTRUCTIONS) {
        Some(others) => limits.push((HALF.1, INSTRUCTIONS, others / 2)),
        None => limits.push((HALF.0, INSTRUCTIONS, 0)),
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
        let mut text = format!("## Cortex-M4F: {TRIPLE}\n\n{}", row(HALF.0, 1600));
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
        let broken = text.parse().map(|table| broken(&table));
        let want = [
            format!(
                "{TRIPLE}: {}: 900 is measured, and 800 is the limit",
                HALF.1
            ),
            format!(
                "{TRIPLE}: rivergram: schedule step, cosine: nothing is measured, and 100 is the limit"
            ),
        ];
        assert_eq!(broken, Ok(want.to_vec()));
    }
}
