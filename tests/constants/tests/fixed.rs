//! The faces of fixed size against the functions over slices, and the ends of ranges.

use rivergram_core::eisl::{self, Batch, Config, Losses, Parts, Shape};
use rivergram_core::error::{EislError, GramError};
use rivergram_core::gram::contrastive::{self, GramLoss, gram_loss};
use rivergram_core::gram::{fixed, tuple};
use rivergram_core::lanes::{One, Real};

fn numbers<const N: usize, const D: usize>() -> [[f32; D]; N] {
    core::array::from_fn(|n| core::array::from_fn(|d| ((n * n + 3 * d * d + n * d) as f32).sin()))
}

#[test]
fn fixed_tuples_are_those_of_slices() {
    let x = numbers::<3, 7>();
    let (isa, flat) = (One::<f32>::new(), x.as_flattened());
    let mut gram = [0.0; 9];
    tuple::gram_matrix_on(isa, flat, 3, 7, &mut gram).expect("valid");
    assert_eq!(tuple::gram_matrix(&x).as_flattened(), gram);
    let none = &mut [];
    let determinant = tuple::determinant_on(isa, flat, 3, 7, none).expect("valid");
    assert_eq!(tuple::determinant(&x), determinant);
    let log_volume = tuple::log_volume_on(isa, flat, 3, 7, none).expect("valid");
    assert_eq!(tuple::log_volume(&x), log_volume);
    assert_eq!(tuple::log_volume(&[[1.0_f32, 2.0]; 2]), f32::NEG_INFINITY);
}

/// Volume, gradient and errors of K vectors against those of any number.
fn fixed_numbers_of_vectors<const K: usize, T: Real>() {
    let isa = One::<T>::new();
    let none = &mut [];
    for d in 0..20 {
        let rows = numbers::<K, 20>();
        let x: Vec<T> = rows
            .iter()
            .flat_map(|row| &row[..d])
            .map(|x| T::constant((*x).into()))
            .collect();
        let want = tuple::volume_on(isa, &x, K, d, none);
        assert_eq!(
            fixed::volume_on::<K, _>(isa, &x, d),
            want,
            "K = {K}, d = {d}"
        );
        let (mut g, mut all) = (vec![T::ONE; K * d], vec![T::ZERO; K * d]);
        let want = tuple::volume_gradient_on(isa, &x, K, d, &mut all, none);
        assert_eq!(fixed::volume_gradient_on::<K, _>(isa, &x, d, &mut g), want);
        assert!(want.is_err() || g == all, "K = {K}, d = {d}");
    }
    let mut x = vec![T::ONE; K * 4];
    let short = GramError::BufferSize {
        need: K * 4,
        have: K * 4 - 1,
    };
    assert_eq!(fixed::volume_on::<K, _>(isa, &x[1..], 4), Err(short));
    assert_eq!(
        fixed::volume_gradient_on::<K, _>(isa, &x, 4, &mut vec![T::ONE; K * 4 - 1]),
        Err(short)
    );
    x[K * 4 - 1] = T::constant(f64::NAN);
    let nan = GramError::NotFinite {
        modality: K - 1,
        row: 0,
    };
    assert_eq!(fixed::volume_on::<K, _>(isa, &x, 4), Err(nan));
    assert_eq!(
        fixed::volume_gradient_on::<K, _>(isa, &x, 4, &mut vec![T::ONE; K * 4]),
        Err(nan)
    );
}

#[test]
fn fixed_numbers_of_vectors_are_as_any() {
    fixed_numbers_of_vectors::<1, f32>();
    fixed_numbers_of_vectors::<2, f32>();
    fixed_numbers_of_vectors::<3, f32>();
    fixed_numbers_of_vectors::<4, f32>();
    fixed_numbers_of_vectors::<8, f32>();
    fixed_numbers_of_vectors::<3, f64>();
}

#[test]
fn fixed_sequence_losses_are_those_of_batches() -> Result<(), EislError> {
    let x = numbers::<5, 4>();
    let targets = [2, 0, 3];
    let orders = [(1, 0.7), (2, 0.3)];
    let config = Config {
        ce_factor: 0.4,
        label_smoothing: 0.1,
        ..Config::new(&orders)
    };
    let shape = Shape {
        batch: 1,
        positions: 5,
        targets: 3,
        vocabulary: 4,
    };
    for lens in [None, Some((4, 2))] {
        let (outputs, labels) = lens.map_or(([5], [3]), |(o, t)| ([o], [t]));
        let batch = Batch {
            output_lens: Some(&outputs),
            target_lens: Some(&labels),
            ..Batch::new(shape, &targets)
        };
        let mut work = vec![0.0; eisl::workspace_len(shape, 2)];
        let (mut want, mut parts) = (x, [0.0; 2]);
        let per_order = Parts {
            per_order: Some(&mut parts),
            ..Parts::none()
        };
        let flat = want.as_flattened_mut();
        let isa = One::<f32>::new();
        let all: Losses<f32> =
            eisl::loss_and_gradient_in_place(isa, &config, &batch, flat, per_order, &mut work)?;
        let mut found = [0.0; 2];
        let loss = eisl::loss_fixed(isa, &config, &x, &targets, lens, &mut found)?;
        assert_eq!((loss, found), (all, parts), "{lens:?}");
        let mut replaced = x;
        let loss = eisl::loss_and_gradient_f32(&config, &mut replaced, &targets, lens, &mut found)?;
        assert_eq!((loss, found, replaced), (all, parts, want), "{lens:?}");
    }
    let mut short = [0.0; 1];
    let error = eisl::loss_fixed(One::new(), &config, &x, &targets, None, &mut short);
    assert!(matches!(error, Err(EislError::Length { .. })));
    Ok(())
}

/// Labels smoothed wholly are the same for every candidate: only the mean counts.
#[test]
fn labels_may_be_smoothed_wholly() {
    let x = numbers::<6, 4>();
    let batch = contrastive::Batch {
        vectors: x.as_flattened(),
        present: None,
        k: 2,
        rows: 3,
        d: 4,
    };
    let config = GramLoss {
        label_smoothing: 1.0,
        ..GramLoss::paper(0)
    };
    let mut workspace = vec![0.0; contrastive::workspace_len(2, 3, 4)];
    let mut gradient = [0.0; 24];
    let report = gram_loss(
        One::<f32>::new(),
        &config,
        &batch,
        &mut gradient,
        &mut workspace,
    );
    let loss = report.expect("ε = 1 is in the range").loss;
    assert!(loss >= 3.0_f32.ln(), "{loss}");
}

#[test]
fn large_counts_do_not_wrap() {
    let count = u32::MAX as usize;
    for (more, want) in [(1_usize, 4_294_967_296.0), (3, 4_294_967_298.0)] {
        if let Some(count) = count.checked_add(more) {
            assert_eq!(f64::from_usize(count), want);
        }
    }
}
