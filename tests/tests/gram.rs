//! GRAM against its golden files and the naive oracle, in single and in double precision.

use rivergram_core::error::GramError;
use rivergram_core::gram::contrastive::{self, Batch, GramLoss, GramReport, gram_loss};
use rivergram_core::gram::pair::{self, Measure, volume_matrix};
use rivergram_core::gram::retrieval::{Order, rank, recall_at};
use rivergram_core::gram::tuple;
use rivergram_core::lanes::{One, Real};
use rivergram_tests::cases::{Rows, assert_gradient, flat, norm, planes};
use rivergram_tests::golden;
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::precision::{DOUBLE, Precision, SINGLE, assert_close};
use serde::{Deserialize, Deserializer};

/// The inputs of the golden files are exact in `f32`: their decimals are rounded to that first.
fn rows_of_singles<'de, D: Deserializer<'de>>(input: D) -> Result<Rows, D::Error> {
    let rows = Vec::<Vec<f32>>::deserialize(input)?;
    Ok(rows
        .into_iter()
        .map(|row| row.into_iter().map(f64::from).collect())
        .collect())
}

fn planes_of_singles<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Rows>, D::Error> {
    let planes = Vec::<Vec<Vec<f32>>>::deserialize(input)?;
    Ok(planes
        .into_iter()
        .map(|rows| {
            rows.into_iter()
                .map(|row| row.into_iter().map(f64::from).collect())
                .collect()
        })
        .collect())
}

// One tuple.

#[derive(Deserialize)]
struct Volumes {
    cases: Vec<VolumeCase>,
}

#[derive(Deserialize)]
struct VolumeCase {
    name: String,
    k: usize,
    d: usize,
    #[serde(deserialize_with = "rows_of_singles")]
    vectors: Rows,
    gram: Rows,
    det: f64,
    volume: f64,
    singular: bool,
    grad: Option<Rows>,
}

fn tuple_case<T: Real>(case: &VolumeCase, cap: Precision) {
    let VolumeCase { name, k, d, .. } = case;
    let (k, d, isa) = (*k, *d, One::<T>::new());
    let x: Vec<T> = flat(&case.vectors);
    let norms: f64 = case
        .vectors
        .iter()
        .map(|row| norm(row.iter().copied()))
        .product();
    let mut workspace = vec![T::ZERO; tuple::workspace_len(k, d)];

    let volume = tuple::volume_on(isa, &x, k, d, &mut workspace)
        .expect(name)
        .to_f64();
    let scale = if case.volume == 0.0 {
        norms
    } else {
        case.volume
    };
    assert_close(
        &format!("{name}: volume"),
        volume,
        case.volume,
        scale,
        cap.volume,
    );

    let mut gradient = vec![T::ONE; k * d];
    let again =
        tuple::volume_gradient_on(isa, &x, k, d, &mut gradient, &mut workspace).expect(name);
    assert_eq!(
        again.to_f64(),
        volume,
        "{name}: one volume with and without the gradient"
    );
    match &case.grad {
        Some(grad) => assert_gradient(
            name,
            &gradient,
            grad.iter().flatten().copied(),
            cap.tuple_gradient,
        ),
        None if case.singular && volume == 0.0 => {
            assert!(
                gradient.iter().all(|g| *g == T::ZERO),
                "{name}: the gradient at volume 0"
            );
        }
        None => assert!(
            gradient.iter().all(|g| g.is_finite()),
            "{name}: a finite gradient"
        ),
    }

    let mut gram = vec![T::ZERO; k * k];
    tuple::gram_matrix_on(isa, &x, k, d, &mut gram).expect(name);
    for (p, row) in case.gram.iter().enumerate() {
        for (q, want) in row.iter().enumerate() {
            let scale =
                norm(case.vectors[p].iter().copied()) * norm(case.vectors[q].iter().copied());
            let scale = scale.max(f64::from(f32::MIN_POSITIVE));
            assert_close(
                &format!("{name}: gram[{p}][{q}]"),
                gram[p * k + q].to_f64(),
                *want,
                scale,
                cap.volume,
            );
        }
    }

    let (largest, smallest) = (T::MAX.to_f64(), T::MIN_POSITIVE.to_f64());
    if case.det == 0.0 || (smallest..largest).contains(&case.det) {
        let det = tuple::determinant_on(isa, &x, k, d, &mut workspace)
            .expect(name)
            .to_f64();
        let scale = if case.det == 0.0 {
            norms * norms
        } else {
            case.det
        };
        assert_close(
            &format!("{name}: det"),
            det,
            case.det,
            scale,
            2.0 * cap.volume + cap.volume * cap.volume,
        );
    }
    let log = tuple::log_volume_on(isa, &x, k, d, &mut workspace)
        .expect(name)
        .to_f64();
    if volume == 0.0 {
        assert_eq!(log, f64::NEG_INFINITY, "{name}: log-volume");
    } else if case.volume > 0.0 {
        let want = case.volume.ln();
        assert_close(
            &format!("{name}: log-volume"),
            log,
            want,
            want.abs().max(1.0),
            2.0 * cap.volume,
        );
    }
}

fn tuple_file(name: &str) {
    let file: Volumes = golden::read(name);
    assert!(!file.cases.is_empty(), "{name} has cases");
    for case in &file.cases {
        tuple_case::<f32>(case, SINGLE);
        tuple_case::<f64>(case, DOUBLE);
    }
}

#[test]
fn golden_volume_small() {
    tuple_file("gram/volume_small.json");
}

#[test]
fn golden_volume_d512() {
    tuple_file("gram/volume_d512.json");
}

#[test]
fn golden_volume_aligned() {
    tuple_file("gram/volume_aligned.json");
}

#[test]
fn golden_edge() {
    tuple_file("gram/edge.json");
}

// Batches.

#[derive(Deserialize)]
struct LossFile {
    cases: Vec<LossCase>,
    raw_inside: RawCase,
    unnormalised: UnnormalisedCase,
}

#[derive(Deserialize)]
struct LossCase {
    name: String,
    k: usize,
    b: usize,
    d: usize,
    tau: f64,
    label_smoothing: f64,
    #[serde(deserialize_with = "planes_of_singles")]
    embeddings: Vec<Rows>,
    volume: Rows,
    loss: f64,
    grad_full: Vec<Rows>,
    grad_tau: f64,
}

#[derive(Deserialize)]
struct RawCase {
    name: String,
    tau: f64,
    label_smoothing: f64,
    #[serde(deserialize_with = "planes_of_singles")]
    raw: Vec<Rows>,
    volume: Rows,
    loss: f64,
    grad_raw: Vec<Rows>,
}

#[derive(Deserialize)]
struct UnnormalisedCase {
    name: String,
    tau: f64,
    label_smoothing: f64,
    #[serde(deserialize_with = "planes_of_singles")]
    embeddings: Vec<Rows>,
    volume: Rows,
    loss: f64,
    grad_full: Vec<Rows>,
}

/// One loss of a batch: everything a case may state.
struct Expected<'a> {
    name: &'a str,
    volume: &'a Rows,
    loss: f64,
    gradient: &'a [Rows],
    temperature: Option<f64>,
}

fn run_loss<T: Real>(
    config: &GramLoss<T>,
    x: &[Rows],
    present: Option<&[bool]>,
) -> Result<(GramReport<T>, Vec<T>), GramError> {
    let (k, rows, d) = (x.len(), x[0].len(), x[0][0].len());
    let vectors: Vec<T> = planes(x);
    let batch = Batch {
        vectors: &vectors,
        present,
        k,
        rows,
        d,
    };
    let mut gradient = vec![T::ONE; vectors.len()];
    let mut workspace = vec![T::constant(f64::NAN); contrastive::workspace_len(k, rows, d)];
    let report = gram_loss(
        One::<T>::new(),
        config,
        &batch,
        &mut gradient,
        &mut workspace,
    )?;
    Ok((report, gradient))
}

fn volumes<T: Real>(x: &[Rows], present: Option<&[bool]>) -> Vec<T> {
    let (m, b1, b2, d) = (x.len() - 1, x[0].len(), x[1].len(), x[0][0].len());
    let mut out = vec![T::ZERO; b1 * b2];
    let mut workspace =
        vec![T::constant(f64::NAN); pair::volume_matrix_workspace_len(b1, m, b2, d)];
    volume_matrix(
        One::<T>::new(),
        Measure::Volume,
        &flat::<T>(&x[0]),
        &planes::<T>(&x[1..]),
        present,
        [b1, m, b2, d],
        &mut out,
        &mut workspace,
    )
    .expect("a volume matrix");
    out
}

fn assert_volumes<T: Real>(name: &str, got: &[T], want: &Rows, cap: Precision) {
    for (got, want) in got.iter().zip(want.iter().flatten()) {
        let scale = if *want == 0.0 { 1.0 } else { *want };
        assert_close(
            &format!("{name}: volume"),
            got.to_f64(),
            *want,
            scale,
            cap.volume,
        );
    }
}

fn loss_case<T: Real>(config: &GramLoss<T>, x: &[Rows], expected: &Expected<'_>, cap: Precision) {
    let name = expected.name;
    let vectors = if config.normalise {
        oracle::normalised(x)
    } else {
        x.to_vec()
    };
    // Volumes of normalised vectors are compared where the inputs are exact: the rounding of a unit
    // vector is not the volume's error.
    if !config.normalise || T::EPSILON.to_f64() < 1e-10 {
        assert_volumes(name, &volumes::<T>(&vectors, None), expected.volume, cap);
    }
    let (report, gradient) = run_loss(config, x, None).expect(name);
    assert_close(
        &format!("{name}: loss"),
        report.loss.to_f64(),
        expected.loss,
        expected.loss.abs().max(1.0),
        cap.loss,
    );
    let want = expected.gradient.iter().flatten().flatten().copied();
    assert_gradient(name, &gradient, want, cap.gram_gradient);
    if let Some(want) = expected.temperature {
        let got = report.temperature_gradient.to_f64();
        assert_close(
            &format!("{name}: dL/dτ"),
            got,
            want,
            want.abs().max(1.0),
            cap.gram_gradient,
        );
    }
}

fn config<T: Real>(tau: f64, smoothing: f64, normalise: bool) -> GramLoss<T> {
    GramLoss {
        temperature: T::constant(tau),
        label_smoothing: T::constant(smoothing),
        normalise,
        ..GramLoss::paper(0)
    }
}

fn loss_file<T: Real>(cap: Precision) {
    let file: LossFile = golden::read("gram/loss.json");
    for case in &file.cases {
        assert_eq!(case.embeddings.len(), case.k);
        assert_eq!(
            (case.embeddings[0].len(), case.embeddings[0][0].len()),
            (case.b, case.d)
        );
        let expected = Expected {
            name: &case.name,
            volume: &case.volume,
            loss: case.loss,
            gradient: &case.grad_full,
            temperature: Some(case.grad_tau),
        };
        loss_case(
            &config::<T>(case.tau, case.label_smoothing, false),
            &case.embeddings,
            &expected,
            cap,
        );
    }
    let case = &file.raw_inside;
    let expected = Expected {
        name: &case.name,
        volume: &case.volume,
        loss: case.loss,
        gradient: &case.grad_raw,
        temperature: None,
    };
    loss_case(
        &config::<T>(case.tau, case.label_smoothing, true),
        &case.raw,
        &expected,
        cap,
    );
    let case = &file.unnormalised;
    let expected = Expected {
        name: &case.name,
        volume: &case.volume,
        loss: case.loss,
        gradient: &case.grad_full,
        temperature: None,
    };
    loss_case(
        &config::<T>(case.tau, case.label_smoothing, false),
        &case.embeddings,
        &expected,
        cap,
    );
}

#[test]
fn golden_loss_f32() {
    loss_file::<f32>(SINGLE);
}

#[test]
fn golden_loss_f64() {
    loss_file::<f64>(DOUBLE);
}

#[derive(Deserialize)]
struct MissingFile {
    #[serde(deserialize_with = "rows_of_singles")]
    anchor: Rows,
    #[serde(deserialize_with = "planes_of_singles")]
    others: Vec<Rows>,
    present: Vec<Vec<u8>>,
    volume: Rows,
}

fn missing_file<T: Real>(cap: Precision) {
    let file: MissingFile = golden::read("gram/missing.json");
    let mut x = vec![file.anchor];
    x.extend(file.others);
    let present: Vec<bool> = (0..x.len() - 1)
        .flat_map(|m| file.present.iter().map(move |row| row[m] == 1))
        .collect();
    // What is absent may hold anything.
    for (m, rows) in x.iter_mut().skip(1).enumerate() {
        for (j, row) in rows.iter_mut().enumerate() {
            if file.present[j][m] == 0 {
                row.fill(3.5);
            }
        }
    }
    assert_volumes(
        "missing",
        &volumes::<T>(&x, Some(&present)),
        &file.volume,
        cap,
    );
}

#[test]
fn golden_missing() {
    missing_file::<f32>(SINGLE);
    missing_file::<f64>(DOUBLE);
}

#[derive(Deserialize)]
struct RetrievalFile {
    ids: Vec<String>,
    ids_txt: Vec<String>,
    #[serde(deserialize_with = "rows_of_singles")]
    volume: Rows,
    forward: Metrics,
}

#[derive(Deserialize)]
struct Metrics {
    r1: f64,
    r5: f64,
    r10: f64,
    rank0: Vec<usize>,
}

#[test]
fn golden_retrieval() {
    let file: RetrievalFile = golden::read("gram/retrieval.json");
    let ranks: Vec<usize> = file
        .volume
        .iter()
        .zip(&file.ids_txt)
        .map(|(row, id)| {
            let target = file
                .ids
                .iter()
                .position(|other| other == id)
                .expect("a known id");
            rank(row, target, Order::Ascending).expect("a rank")
        })
        .collect();
    assert_eq!(ranks, file.forward.rank0);
    for (k, want) in [
        (1, file.forward.r1),
        (5, file.forward.r5),
        (10, file.forward.r10),
    ] {
        assert_close("recall", recall_at::<f64>(&ranks, k), want, 1.0, 1e-12);
    }
}
