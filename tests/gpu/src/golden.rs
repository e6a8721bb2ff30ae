//! The golden files that the kernels can be measured against.

use rivergram::cuda::{Device, Failure};
use rivergram_core::gram::contrastive::{Batch, GramLoss};
use rivergram_core::gram::pair::Measure;
use rivergram_tests::eisl::Case;
use rivergram_tests::golden;
use rivergram_tests::precision::SINGLE;
use serde::Deserialize;

use crate::cases::{assert_close, norm};

/// \[modality\]\[row\]\[dimension\].
type Planes = Vec<Vec<Vec<f64>>>;

#[derive(Deserialize)]
struct LossFile {
    cases: Vec<LossCase>,
    raw_inside: RawCase,
}

/// A batch of unit vectors.
#[derive(Deserialize)]
struct LossCase {
    name: String,
    tau: f64,
    label_smoothing: f64,
    embeddings: Planes,
    volume: Vec<Vec<f64>>,
    loss: f64,
    grad_full: Planes,
    grad_tau: f64,
}

/// A batch of vectors of any length.
#[derive(Deserialize)]
struct RawCase {
    name: String,
    tau: f64,
    label_smoothing: f64,
    raw: Planes,
    loss: f64,
    grad_raw: Planes,
}

#[derive(Deserialize)]
struct TupleFile {
    cases: Vec<TupleCase>,
}

#[derive(Deserialize)]
struct TupleCase {
    name: String,
    k: usize,
    d: usize,
    vectors: Vec<Vec<f64>>,
    volume: f64,
}

fn flat<'a>(rows: impl IntoIterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    rows.into_iter().flatten().copied().collect()
}

fn single(x: &[f64]) -> Vec<f32> {
    x.iter().map(|x| *x as f32).collect()
}

/// The loss of a batch and its gradient, against what is wanted.
fn loss(
    device: &Device,
    name: &str,
    (tau, label_smoothing): (f64, f64),
    planes: &Planes,
    (want, gradient, slope): (f64, &[f64], Option<f64>),
) {
    let (k, rows, d) = (planes.len(), planes[0].len(), planes[0][0].len());
    let vectors = single(&flat(planes.iter().flatten()));
    let batch = Batch {
        vectors: &vectors,
        present: None,
        k,
        rows,
        d,
    };
    let config = GramLoss {
        temperature: tau as f32,
        label_smoothing: label_smoothing as f32,
        ..GramLoss::paper(0)
    };
    let mut found = vec![0.0; vectors.len()];
    let report = device.gram_loss(&config, &batch, &mut found);
    let report = report.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    let scale = |x: f64| move |_| x.abs().max(1.0);
    assert_close(name, &[report.loss], &[want], scale(want), SINGLE.loss);
    if let Some(slope) = slope {
        let found = [report.temperature_gradient];
        assert_close(name, &found, &[slope], scale(slope), SINGLE.gram_gradient);
    }
    let length = norm(gradient);
    assert_close(name, &found, gradient, |_| length, SINGLE.gram_gradient);
}

/// What is left of a gradient by unit vectors when it has gone through their normalisation.
fn through_normalisation(gradient: &[f64], x: &[f64], d: usize) -> Vec<f64> {
    let mut found = Vec::new();
    for (g, x) in gradient.chunks(d).zip(x.chunks(d)) {
        let along: f64 = g.iter().zip(x).map(|(g, x)| g * x).sum();
        found.extend(g.iter().zip(x).map(|(g, x)| g - along * x));
    }
    found
}

pub(crate) fn losses(device: &Device) {
    let file: LossFile = golden::read("gram/loss.json");
    assert!(!file.cases.is_empty(), "gram/loss.json has cases");
    for case in &file.cases {
        let x = flat(case.embeddings.iter().flatten());
        let d = case.embeddings[0][0].len();
        let gradient = flat(case.grad_full.iter().flatten());
        let gradient = through_normalisation(&gradient, &x, d);
        let want = (case.loss, gradient.as_slice(), Some(case.grad_tau));
        let options = (case.tau, case.label_smoothing);
        loss(device, &case.name, options, &case.embeddings, want);
    }
    let case = &file.raw_inside;
    let gradient = flat(case.grad_raw.iter().flatten());
    let want = (case.loss, gradient.as_slice(), None);
    let options = (case.tau, case.label_smoothing);
    loss(device, &case.name, options, &case.raw, want);
}

pub(crate) fn volumes(device: &Device) {
    let matrix = |anchors: &[f64], items: &[f64], sizes: [usize; 4]| {
        let mut out = vec![0.0; sizes[0] * sizes[2]];
        let (anchors, items) = (single(anchors), single(items));
        let done = device.volume_matrix(Measure::Volume, &anchors, &items, None, sizes, &mut out);
        done.unwrap_or_else(|failure| panic!("{sizes:?}: {failure}"));
        out
    };
    let file: LossFile = golden::read("gram/loss.json");
    for case in &file.cases {
        let [anchors, items @ ..] = case.embeddings.as_slice() else {
            panic!("{}: no modality", case.name);
        };
        let (rows, d) = (anchors.len(), anchors[0].len());
        let found = matrix(
            &flat(anchors),
            &flat(items.iter().flatten()),
            [rows, items.len(), rows, d],
        );
        let want = flat(&case.volume);
        // The decimals are exact in double precision only: of unit vectors that moves a volume by ε.
        assert_close(
            &case.name,
            &found,
            &want,
            |i| want[i].max(0.1),
            SINGLE.volume,
        );
    }
    let mut ran = 0;
    for name in [
        "gram/volume_small.json",
        "gram/volume_d512.json",
        "gram/volume_aligned.json",
    ] {
        let file: TupleFile = golden::read(name);
        for case in file.cases.iter().filter(|case| (2..=8).contains(&case.k)) {
            let (anchor, items) = (&case.vectors[..1], &case.vectors[1..]);
            let found = matrix(&flat(anchor), &flat(items), [1, case.k - 1, 1, case.d]);
            let size: f64 = case.vectors.iter().map(|x| norm(x)).product();
            let scale = if case.volume == 0.0 {
                size
            } else {
                case.volume
            };
            assert_close(&case.name, &found, &[case.volume], |_| scale, SINGLE.volume);
            ran += 1;
        }
    }
    assert!(ran > 0, "no tuple");
}

pub(crate) fn sequences(device: &Device) {
    let mut ran = 0;
    for file in golden::names("eisl") {
        let case: Case = golden::read(&format!("eisl/{file}"));
        let expect = case
            .expect
            .as_ref()
            .expect("a golden file expects something");
        let want = expect.of_rounded(&case);
        let (orders, lengths) = (case.orders::<f32>(), case.from_length::<f32>());
        let config = case.config(&orders, &lengths);
        let loan = case.loan::<f32>();
        let mut x = single(&case.x);
        let losses = match device.eisl_loss(&config, &case.batch(&loan), &mut x) {
            Err(Failure::NoKernel(_)) => continue,
            // Logits that are no distribution, as some of these are.
            Err(Failure::Input) if !case.x.iter().all(|x| x.is_finite()) => continue,
            found => found.unwrap_or_else(|failure| panic!("{file}: {failure}")),
        };
        let scale = want.total.abs().max(1.0);
        assert_close(
            &file,
            &[losses.total],
            &[want.total],
            |_| scale,
            SINGLE.loss,
        );
        let length = norm(&want.gradient).max(1e-2);
        assert_close(&file, &x, &want.gradient, |_| length, SINGLE.eisl_gradient);
        ran += 1;
    }
    assert!(ran >= 20, "only {ran} files have kernels");
}
