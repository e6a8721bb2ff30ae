//! The table of wear in `docs/store.md` says what a flash counts.

use rivergram_core::flash::{Layout, Part, Slot, Store};
use rivergram_core::head::Head;
use rivergram_core::optim::Optimizer;
use rivergram_core::trainer::{SavedHead, Setup};
use rivergram_tests::nor::Nor;
use rivergram_tests::source::root;

const COMMITS: u64 = 7;

/// A row: what is stored, its bytes, the page, erasures per commit.
#[derive(Debug, PartialEq)]
struct Row {
    what: String,
    numbers: [u64; 3],
}

fn table() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join("docs/store.md")).expect("the page");
    let (_, table) = text
        .split_once("| what is stored | bytes | page | erasures per commit |\n")
        .expect("the table");
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [what, bytes, page, erasures] = cells.as_slice() else {
            panic!("{line}");
        };
        let number = |cell: &str| cell.replace(',', "").parse().expect("a number");
        Row {
            what: what.to_string(),
            numbers: [bytes, page, erasures].map(|cell| number(cell)),
        }
    })
    .collect()
}

/// Bytes of the state of a generator of random numbers.
const RANDOM: usize = 4;

/// Bytes of the state of three heads 32→16 and of a generator, with the optimizer and what else the row names.
fn bytes(what: &str) -> usize {
    let heads = [Head {
        input: 32,
        hidden: 0,
        output: 16,
        normalise: true,
    }; 3];
    let optimizer = match what.contains("AdamW") {
        true => Optimizer::adamw(),
        false => Optimizer::sgd(),
    };
    let setup = Setup::<f32> {
        heads: &heads,
        optimizer,
        clip: None,
    };
    let average = match what.contains("average") {
        // Its counter goes with it.
        true => setup.parameters_len() * size_of::<f32>() + size_of::<u64>(),
        false => 0,
    };
    let numbers = setup.parameters_len() + setup.moments_len();
    SavedHead::new().bytes_mut().len() + numbers * size_of::<f32>() + RANDOM + average
}

/// Erasures of each of some commits, as the flash counts them.
fn erasures<const PAGE: usize>(payload: usize) -> u64 {
    let end = 32 * payload.next_multiple_of(PAGE);
    let mut flash = Nor::<PAGE, 8>::new(end / PAGE);
    let layout = Layout {
        start: 0,
        end: end as u32,
        payload,
        budgets: 1,
    };
    let mut store = Store::open(&mut flash, &layout).expect("a store");
    let state = vec![7; payload];
    for _ in 0..COMMITS {
        let parts: [Part<'_, f32>; 1] = [Part::Bytes(&state)];
        store
            .commit(&mut flash, &[Slot::Latest], &parts)
            .expect("a commit");
    }
    let all: u64 = flash.erases.iter().sum();
    assert_eq!(all % COMMITS, 0);
    assert_eq!(all / COMMITS, u64::from(store.erases_per_commit()));
    all / COMMITS
}

#[test]
fn the_table_of_wear_is_what_a_flash_counts() {
    let rows = table();
    assert!(rows.len() >= 4, "{rows:?}");
    for row in rows {
        let payload = bytes(&row.what);
        let page = row.numbers[1];
        let counted = match page {
            1024 => erasures::<1024>(payload),
            2048 => erasures::<2048>(payload),
            4096 => erasures::<4096>(payload),
            _ => panic!("{row:?}: a page of another length"),
        };
        assert_eq!([payload as u64, page, counted], row.numbers, "{}", row.what);
    }
}
