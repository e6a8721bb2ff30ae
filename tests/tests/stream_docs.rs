//! docs/stream.md is of the program as it is: its defaults, its schedules, its picture.

use rivergram::train::stream::{StreamOptions, StreamSchedule};
use rivergram_tests::source::root;

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).expect("a file")
}

#[test]
fn the_table_is_of_the_defaults_and_has_every_schedule() {
    let (text, options) = (read("docs/stream.md"), StreamOptions::default());
    assert!(options.seeds >= 5, "fewer seeds tell too little");
    let table = text.split("```text\n").nth(1).expect("a block of text");
    let table = table.split("```").next().expect("its end");
    assert_eq!(table.lines().next(), Some(options.describe().as_str()));
    for schedule in options.schedules {
        let begins = format!("  {} ", schedule.name());
        let rows: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| line.starts_with(&begins))
            .map(|line| line.split_whitespace().collect())
            .collect();
        // The summary and each release on what is new and old, both without replay and with it, and what replay gains.
        let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
        let releases = 1 + 2 * options.releases;
        let expected = [12, 12, 5, releases, releases, releases, releases];
        assert_eq!(lengths, expected, "{begins}");
        assert_eq!(rows[0][1], options.seeds.to_string(), "{begins}");
    }
    for part in [
        format!("learning rate {}", options.peak),
        format!("batches of {}", options.batch),
        format!("{} hidden units", options.hidden),
        format!("{} dimensions", options.dim),
        format!("{} warmup", options.warmup),
        format!("half-life of {}", options.half_life),
        format!("{} samples", options.memory),
        format!("{} of them", options.replayed),
    ] {
        assert!(text.contains(&part), "{part:?} is not in docs/stream.md");
    }
}

#[test]
fn the_picture_is_of_the_table() {
    let svg = read("docs/stream.svg");
    assert!(svg.contains(&StreamOptions::default().describe()));
    for schedule in StreamSchedule::ALL {
        assert!(svg.contains(schedule.name()), "{}", schedule.name());
    }
}
