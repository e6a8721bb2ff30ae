//! The sequence loss with its rows shared out among hands: the bits of one hand, on every level.

use rivergram_core::crew::{Alone, Crew};
use rivergram_core::eisl::{
    Batch, Combine, Config, Losses, Parts, References, Shape, loss_and_gradient_in_place,
    loss_and_gradient_in_place_by,
};
use rivergram_core::error::{EislBuffer, EislError};
use rivergram_core::lanes::{Isa, One, Real};
use rivergram_simd::{Kernel, Level};
use rivergram_tests::cases::levels;
use rivergram_tests::convert::{bits, cast};
use rivergram_tests::eisl::{Case, plain};
use rivergram_tests::hands::Hands;
use rivergram_tests::random::Random;

const HANDS: [usize; 5] = [1, 2, 3, 8, 100];

/// Everything that a loss leaves.
#[derive(Debug, PartialEq)]
struct Found {
    losses: Result<Vec<u64>, EislError>,
    gradient: Vec<u64>,
    /// Per order, per row and order, per row, cross-entropy per row.
    parts: [Vec<u64>; 4],
    chosen: Vec<usize>,
}

/// A loss over buffers that hold what must be overwritten.
fn found<T: Real>(
    case: &Case,
    hands: Option<usize>,
    loss: impl FnOnce(
        &Config<'_, T>,
        &Batch<'_, T>,
        &mut [T],
        Parts<'_, T>,
        &mut [T],
    ) -> Result<Losses<T>, EislError>,
) -> Found {
    let (orders, lengths, loan) = (case.orders(), case.from_length(), case.loan());
    let (config, batch) = (case.config(&orders, &lengths), case.batch(&loan));
    let dirt = |len: usize| vec![T::ONE / T::ZERO; len];
    let mut x: Vec<T> = cast(&case.x);
    let count = case.order_count();
    let [mut per_order, mut per_row, mut rows, mut ce_per_row] =
        [count, count * case.batch, case.batch, case.batch].map(dirt);
    let mut chosen = vec![usize::MAX; case.batch];
    let parts = Parts {
        per_order: Some(&mut per_order),
        per_row: Some(&mut per_row),
        rows: Some(&mut rows),
        ce_per_row: Some(&mut ce_per_row),
        chosen: Some(&mut chosen),
    };
    let mut workspace = dirt(match hands {
        None => batch.workspace_len(&config),
        Some(hands) => batch.crew_workspace_len(&config, hands),
    });
    let losses = loss(&config, &batch, &mut x, parts, &mut workspace);
    Found {
        losses: losses.map(|losses| bits(&[losses.total, losses.eisl, losses.ce])),
        gradient: bits(&x),
        parts: [per_order, per_row, rows, ce_per_row].map(|part| bits(&part)),
        chosen,
    }
}

fn by<T: Real, C: Crew<T>>(case: &Case, crew: &C) -> Found {
    found(
        case,
        Some(crew.hands()),
        |config, batch, x, parts, workspace| {
            loss_and_gradient_in_place_by(crew, config, batch, x, parts, workspace)
        },
    )
}

struct InPlace<'a>(&'a Case);

impl Kernel<f32> for InPlace<'_> {
    type Output = Found;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Found {
        found(self.0, None, |config, batch, x, parts, workspace| {
            loss_and_gradient_in_place(isa, config, batch, x, parts, workspace)
        })
    }
}

fn check(case: &Case) {
    for level in levels() {
        let one = level.run(InPlace(case));
        assert!(one.losses.is_ok(), "{}: {:?}", case.name, one.losses);
        assert_eq!(by(case, &level), one, "{} {level}", case.name);
        for hands in HANDS {
            let crew = Hands { level, hands };
            assert_eq!(by(case, &crew), one, "{} {level} {hands}", case.name);
        }
    }
    let isa = One::<f64>::new();
    let one = found(case, None, |config, batch, x, parts, workspace| {
        loss_and_gradient_in_place(isa, config, batch, x, parts, workspace)
    });
    assert_eq!(by(case, &Alone(isa)), one, "{} f64", case.name);
}

#[test]
fn any_number_of_hands_gives_the_bits_of_one() {
    let mut random = Random::new(1);
    for number in 0..60 {
        check(&Case::random(&mut random, number));
        check(&Case::random_more(&mut random, number));
    }
}

#[test]
fn shares_of_unequal_size_give_the_bits_of_one() {
    let mut random = Random::new(2);
    for (positions, targets, n) in [(19, 17, 2), (6, 9, 1), (2, 3, 4)] {
        for batch in [1, 2, 7, 8, 65] {
            let mut case = plain(&mut random, positions, targets, n);
            let rows = |len: usize| (0..batch * len).map(move |at| at % (3 * len));
            case.x = rows(positions * case.vocabulary)
                .map(|at| case.x[at])
                .collect();
            case.targets = rows(targets).map(|at| case.targets[at]).collect();
            case.output_lens = (0..batch).map(|b| positions - b % 2).collect();
            case.target_lens = vec![targets; batch];
            case.batch = batch;
            check(&case);
        }
    }
}

const SHAPE: Shape = Shape {
    batch: 5,
    positions: 2,
    targets: 2,
    vocabulary: 3,
};
const ORDERS: &[(usize, f32)] = &[(1, 1.0)];
const LABELS: [i32; 10] = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0];

/// The error of some hands over a batch of zeros with some numbers in it.
fn error(hands: usize, bad: &[(usize, f32)], short: usize) -> Option<EislError> {
    let (config, batch) = (Config::new(ORDERS), Batch::new(SHAPE, &LABELS));
    let mut x = vec![0.0; 5 * 2 * 3];
    for (at, value) in bad {
        x[*at] = *value;
    }
    let len = batch.crew_workspace_len(&config, hands);
    let mut workspace = vec![0.0; len - short];
    let crew = Hands {
        level: Level::detect(),
        hands,
    };
    let parts = Parts::none();
    loss_and_gradient_in_place_by(&crew, &config, &batch, &mut x, parts, &mut workspace).err()
}

#[test]
fn the_first_bad_row_is_named_whoever_finds_it() {
    for hands in HANDS {
        assert_eq!(error(hands, &[], 0), None);
        let bad = [
            (4 * 6 + 3, f32::INFINITY),
            (6 + 4, f32::NAN),
            (3 * 6, f32::NAN),
        ];
        let nan = EislError::Nan {
            row: 1,
            position: 1,
            column: 1,
        };
        assert_eq!(error(hands, &bad, 0), Some(nan), "{hands} hands");
        let infinite = EislError::Infinite {
            row: 4,
            position: 1,
            column: 0,
        };
        assert_eq!(error(hands, &bad[..1], 0), Some(infinite));
    }
}

#[test]
fn a_workspace_that_is_short_and_parts_that_do_not_fit_are_named() {
    for hands in HANDS {
        let expected = {
            let (config, batch) = (Config::new(ORDERS), Batch::new(SHAPE, &LABELS));
            batch.crew_workspace_len(&config, hands)
        };
        let short = EislError::Length {
            buffer: EislBuffer::Workspace,
            expected,
            got: expected - 1,
        };
        assert_eq!(error(hands, &[], 1), Some(short));
    }
    let (config, batch) = (Config::new(ORDERS), Batch::new(SHAPE, &LABELS));
    let (mut x, mut workspace) = ([0.0; 30], [0.0; 400]);
    let mut chosen = [0; 4];
    let parts = Parts {
        chosen: Some(&mut chosen),
        ..Parts::none()
    };
    let level = Level::detect();
    let error =
        loss_and_gradient_in_place_by(&level, &config, &batch, &mut x, parts, &mut workspace).err();
    let wrong = EislError::Length {
        buffer: EislBuffer::Chosen,
        expected: 5,
        got: 4,
    };
    assert_eq!(error, Some(wrong));
}

#[test]
fn the_workspace_grows_with_the_hands_and_with_the_rows_by_little() {
    let config = Config::new(ORDERS);
    let len = |rows: usize, hands: usize| {
        let shape = Shape {
            batch: rows,
            ..SHAPE
        };
        Batch::new(shape, &[]).crew_workspace_len(&config, hands)
    };
    let row = Batch::new(SHAPE, &LABELS).workspace_len(&config);
    assert_eq!(len(5, 1), row + 5 * 3);
    assert_eq!(len(5, 3), 3 * row + 5 * 3);
    // No more shares than rows, and not any number of them.
    assert_eq!(len(5, 9), len(5, 5));
    assert_eq!(len(1000, 1000), 64 * row + 1000 * 3);
    assert_eq!(len(0, 4), row);
    let references = References {
        places: 2,
        counts: None,
        combine: Combine::Best,
        cross_entropy: None,
    };
    let several = Batch {
        references: Some(references),
        ..Batch::new(SHAPE, &[])
    };
    let more = several.crew_workspace_len(&config, 2) - len(5, 2);
    assert_eq!(more, 2 * 2 * 2 * 2);
}

#[test]
fn no_rows_and_no_positions_cost_nothing() {
    let config = Config::new(ORDERS);
    for shape in [
        Shape { batch: 0, ..SHAPE },
        Shape {
            positions: 0,
            ..SHAPE
        },
    ] {
        let labels = &LABELS[..shape.batch * shape.targets];
        let batch = Batch::new(shape, labels);
        let mut workspace = vec![0.0; batch.crew_workspace_len(&config, 2)];
        let crew = Hands {
            level: Level::detect(),
            hands: 2,
        };
        let losses = loss_and_gradient_in_place_by(
            &crew,
            &config,
            &batch,
            &mut [],
            Parts::none(),
            &mut workspace,
        );
        assert_eq!(losses, Ok(Losses::default()));
    }
}
