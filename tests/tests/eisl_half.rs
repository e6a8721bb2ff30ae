//! The sequence loss of logits in 16 bits: it is that of the widened numbers, and its gradient that of them, rounded.

use rivergram_core::eisl::{
    Batch, Config, Parts, Shape, half_loss_and_gradient_in_place, half_workspace_len,
};
use rivergram_core::error::{EislBuffer, EislError};
use rivergram_core::lanes::One;
use rivergram_core::optim::rounding::Half;
use rivergram_simd::Level;
use rivergram_tests::eisl::{Case, compare, run_at_all_levels};
use rivergram_tests::oracle::eisl::evaluate;
use rivergram_tests::precision::SINGLE;
use rivergram_tests::random::Random;

/// The case with logits that the format has, and their bits.
fn stored(case: &Case, format: Half) -> (Case, Vec<u16>) {
    let bits: Vec<u16> = case.x.iter().map(|x| format.nearest(*x as f32)).collect();
    let x = bits.iter().map(|x| f64::from(format.widen(*x))).collect();
    let mut case = case.clone();
    case.x = x;
    (case, bits)
}

/// Loss and gradient in 16 bits.
fn run_half(
    level: Level,
    case: &Case,
    format: Half,
    x: &mut [u16],
) -> Result<(f32, f32), EislError> {
    let (orders, lengths) = (case.orders(), case.from_length());
    let config = case.config(&orders, &lengths);
    let loan = case.loan();
    let batch = case.batch(&loan);
    // Whatever it held before must not matter.
    let mut workspace = vec![f32::INFINITY; batch.workspace_len(&config) + case.vocabulary];
    let losses = level.eisl_loss_half(&config, &batch, format, x, Parts::none(), &mut workspace)?;
    Ok((losses.total, losses.eisl))
}

#[test]
fn the_loss_is_that_of_the_widened_logits_and_the_gradient_its_rounded_one() {
    let mut random = Random::new(61);
    for number in 0..120 {
        let case = Case::random_more(&mut random, number);
        for format in Half::ALL {
            let (case, bits) = stored(&case, format);
            let wide = run_at_all_levels(&case);
            for (level, (name, want)) in Level::available().zip(wide) {
                assert_eq!(level.name(), name);
                let mut x = bits.clone();
                let got = run_half(level, &case, format, &mut x);
                let (Ok(want), Ok(got)) = (&want, &got) else {
                    assert_eq!(want.is_err(), got.is_err(), "{} {name}", case.name);
                    continue;
                };
                assert_eq!(f64::from(got.0), want.total, "{} {name}", case.name);
                assert_eq!(f64::from(got.1), want.eisl, "{} {name}", case.name);
                for (got, want) in x.iter().zip(&want.gradient) {
                    assert_eq!(*got, format.nearest(*want as f32), "{} {name}", case.name);
                }
            }
        }
    }
}

#[test]
fn both_formats_agree_with_the_definition() {
    let mut random = Random::new(62);
    for number in 0..20 {
        let case = Case::random(&mut random, number);
        for format in Half::ALL {
            let (case, _) = stored(&case, format);
            let want = evaluate(&case);
            for (name, got) in run_at_all_levels(&case) {
                let got = got.expect("a valid case");
                compare(&format!("{} {name}", case.name), &got, &want, &SINGLE);
            }
        }
    }
}

const SHAPE: Shape = Shape {
    batch: 2,
    positions: 1,
    targets: 1,
    vocabulary: 3,
};

fn direct(x: &mut [u16], workspace: &mut [f32]) -> Result<f32, EislError> {
    let (config, batch) = (Config::new(&[(1, 1.0)]), Batch::new(SHAPE, &[0, 1]));
    let isa = One::<f32>::new();
    let parts = Parts::none();
    half_loss_and_gradient_in_place(isa, &config, &batch, Half::F16, x, parts, workspace)
        .map(|losses| losses.total)
}

#[test]
fn what_is_wrong_is_named() {
    let need = half_workspace_len(SHAPE, 1);
    // Less than the vocabulary, just the vocabulary, and one number less than all.
    for len in [0, 2, 3, need - 1] {
        let short = EislError::Length {
            buffer: EislBuffer::Workspace,
            expected: need,
            got: len,
        };
        let got = direct(&mut [0; 6], &mut vec![0.0; len]);
        assert_eq!(got, Err(short));
    }
    let mut workspace = vec![0.0; need];
    assert!(direct(&mut [0; 6], &mut workspace).is_ok());
    let got = direct(&mut [0; 5], &mut workspace);
    assert!(matches!(
        got,
        Err(EislError::Length {
            buffer: EislBuffer::Input,
            ..
        })
    ));
    let mut x = [0; 6];
    x[4] = Half::F16.infinity() | 1;
    assert_eq!(
        direct(&mut x, &mut workspace),
        Err(EislError::Nan {
            row: 1,
            position: 0,
            column: 1
        })
    );
    x[4] = Half::F16.infinity();
    assert_eq!(
        direct(&mut x, &mut workspace),
        Err(EislError::Infinite {
            row: 1,
            position: 0,
            column: 1
        })
    );
    let nothing = Half::F16.infinity() | 0x8000;
    assert_eq!(
        direct(&mut [nothing; 6], &mut workspace),
        Err(EislError::NoProbability {
            row: 0,
            position: 0
        })
    );
}
