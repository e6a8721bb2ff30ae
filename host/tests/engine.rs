//! Threads share the pieces of a computation and change no bit of it.

use rivergram::engine::Threads;
use rivergram_core::crew::Crew;
use rivergram_core::eisl;
use rivergram_core::gram::contrastive::{
    Anchor, Batch, GramLoss, Room, Term, gram_loss_by, room_len,
};
use rivergram_core::gram::pair::{Measure, volume_matrix_by, volume_matrix_room_len};
use rivergram_simd::Level;

/// Numbers in −1 to 1 that look random.
fn numbers(len: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_loss_has_the_same_bits_on_any_number_of_threads() {
    let (k, rows, d) = (3, 203, 37);
    let vectors = numbers(k * rows * d);
    let batch = Batch {
        vectors: &vectors,
        present: None,
        k,
        rows,
        d,
    };
    let config = GramLoss {
        term: Term::Volume(Anchor::Each),
        pairs: 0.3,
        ..GramLoss::paper(0)
    };
    for room in [Room::Small, Room::Large] {
        let run = |threads: usize| {
            let crew = Threads::new(Level::detect(), threads).expect("threads");
            assert_eq!(crew.hands(), threads);
            let mut gradient = vec![f32::NAN; vectors.len()];
            let mut workspace = vec![f32::NAN; room_len(room, threads, k, rows, d)];
            let report = gram_loss_by(&crew, &config, &batch, &mut gradient, &mut workspace);
            (report.expect("a loss"), bits(&gradient))
        };
        let one = run(1);
        assert!(one.0.loss > 0.0);
        for threads in [2, 3, 8] {
            assert_eq!(run(threads), one, "{room:?} on {threads} threads");
        }
    }
}

#[test]
fn a_matrix_has_the_same_bits_on_any_number_of_threads() {
    let sizes @ [b1, m, b2, d] = [203, 2, 101, 37];
    let (anchors, items) = (numbers(b1 * d), numbers(m * b2 * d));
    let run = |threads: usize| {
        let crew = Threads::new(Level::detect(), threads).expect("threads");
        let mut out = vec![f32::NAN; b1 * b2];
        let mut workspace = vec![f32::NAN; volume_matrix_room_len(b1, m, b2, d)];
        let measure = Measure::Volume;
        volume_matrix_by(
            &crew,
            measure,
            &anchors,
            &items,
            None,
            sizes,
            &mut out,
            &mut workspace,
        )
        .expect("a matrix");
        bits(&out)
    };
    let one = run(1);
    for threads in [2, 3, 8] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

#[test]
fn a_sequence_loss_has_the_same_bits_on_any_number_of_threads() {
    let shape = eisl::Shape {
        batch: 7,
        positions: 9,
        targets: 8,
        vocabulary: 101,
    };
    let labels: Vec<i32> = (0..7 * 8).map(|at| at * 37 % 101).collect();
    let logits = numbers(7 * 9 * 101);
    let orders = [(1, 0.5), (2, 0.5)];
    let (config, batch) = (eisl::Config::new(&orders), eisl::Batch::new(shape, &labels));
    let run = |threads: usize| {
        let crew = Threads::new(Level::detect(), threads).expect("threads");
        let mut x = logits.clone();
        let mut workspace = vec![f32::NAN; batch.crew_workspace_len(&config, threads)];
        let losses = eisl::loss_and_gradient_in_place_by(
            &crew,
            &config,
            &batch,
            &mut x,
            eisl::Parts::none(),
            &mut workspace,
        );
        (losses.expect("a loss"), bits(&x))
    };
    let one = run(1);
    assert!(one.0.total > 0.0);
    for threads in [2, 3, 8] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}
