//! GRAM against its golden files and the naive oracle, in single and in double precision.

use rivergram_core::gram::contrastive::{
    self, Batch, Gathered, GramLoss, GramReport, Rectangle, Shard, gram_loss, rectangle_loss,
    rectangle_workspace_len, shard_loss, shard_workspace_len,
};
use rivergram_core::gram::matching::{matching_loss, total_loss};
use rivergram_core::gram::negatives::{self, Own};
use rivergram_core::gram::pair::{self, Measure, volume_matrix};
use rivergram_core::gram::related::{singular, triangle};
use rivergram_core::gram::retrieval::{Metrics, Order, backward_ranks, forward_ranks};
use rivergram_core::gram::tuple;
use rivergram_core::lanes::{Isa, One, Real};
use rivergram_simd::{Kernel, Level};
use rivergram_tests::cases::{Rows, assert_gradient, condition, flat, norm, norm_product, planes};
use rivergram_tests::golden;
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::precision::{
    DOUBLE, Precision, SINGLE, VOLUME_OF_THREE, assert_close, weight_cap,
};
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

#[inline(always)]
fn tuple_case<I: Isa>(isa: I, case: &VolumeCase, cap: Precision) {
    let VolumeCase { name, k, d, .. } = case;
    let (k, d) = (*k, *d);
    let x: Vec<I::Scalar> = flat(&case.vectors);
    let norms = norm_product(&case.vectors);
    assert_eq!(case.singular, case.volume == 0.0, "{name}");
    let mut workspace = vec![I::Scalar::ZERO; tuple::workspace_len(k, d)];

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

    let mut gradient = vec![I::Scalar::ONE; k * d];
    let again =
        tuple::volume_gradient_on(isa, &x, k, d, &mut gradient, &mut workspace).expect(name);
    assert_eq!(
        again.to_f64(),
        volume,
        "{name}: one volume with and without the gradient"
    );
    if case.singular {
        assert_eq!(volume, 0.0, "{name}: the volume of dependent vectors");
        let zero = gradient.iter().all(|g| *g == I::Scalar::ZERO);
        assert!(zero, "{name}: the gradient at volume 0");
    } else {
        // Where the file has none, that of the definition, which rounds in `f64`.
        let own = oracle::volume_gradient(&case.vectors);
        let rounding = 12.0 * f64::EPSILON * condition(&case.vectors, case.volume, &own);
        let (want, cap) = match &case.grad {
            Some(grad) => (grad, cap.tuple_gradient),
            None => (&own, cap.tuple_gradient.max(rounding)),
        };
        assert_gradient(name, &gradient, want.iter().flatten().copied(), cap);
    }

    let mut gram = vec![I::Scalar::ZERO; k * k];
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

    let (largest, smallest) = (I::Scalar::MAX.to_f64(), I::Scalar::MIN_POSITIVE.to_f64());
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

struct Tuple<'a>(&'a VolumeCase);

impl Kernel<f32> for Tuple<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        tuple_case(isa, self.0, SINGLE);
    }
}

fn tuple_file(name: &str) {
    let file: Volumes = golden::read(name);
    assert!(!file.cases.is_empty(), "{name} has cases");
    for case in &file.cases {
        tuple_case(One::<f64>::new(), case, DOUBLE);
        for level in Level::available() {
            println!("{}, {level}", case.name);
            level.run(Tuple(case));
        }
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

struct VolumeOf<'a> {
    x: &'a [f32],
    sizes: [usize; 2],
}

impl Kernel<f32> for VolumeOf<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> f32 {
        let [k, d] = self.sizes;
        tuple::volume_on(isa, self.x, k, d, &mut []).expect("valid")
    }
}

#[test]
fn golden_volume_aligned_of_three_keeps_more_digits() {
    let file: Volumes = golden::read("gram/volume_aligned.json");
    let mut cases = 0;
    for case in file.cases.iter().filter(|case| case.k == 3) {
        let x: Vec<f32> = flat(&case.vectors);
        for level in Level::available() {
            let sizes = [case.k, case.d];
            let volume = level.run(VolumeOf { x: &x, sizes });
            let (what, want) = (format!("{}, {level}", case.name), case.volume);
            assert_close(&what, volume.into(), want, want, VOLUME_OF_THREE);
        }
        cases += 1;
    }
    assert!(cases >= 3, "{cases} cases of three vectors");
}

#[test]
fn golden_edge() {
    tuple_file("gram/edge.json");
}

// Batches.

#[derive(Deserialize)]
struct LossFile {
    cases: Vec<LossCase>,
    rectangular: RectangularCase,
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
    loss_anchor_to_data: f64,
    loss_data_to_anchor: f64,
    grad_full: Vec<Rows>,
    grad_gathered_detached: Vec<Rows>,
    grad_tau: f64,
}

/// The part of a batch that one of several machines holds, against the whole batch.
#[derive(Deserialize)]
struct RectangularCase {
    name: String,
    tau: f64,
    label_smoothing: f64,
    #[serde(deserialize_with = "planes_of_singles")]
    embeddings_all: Vec<Rows>,
    /// From, to.
    local_rows: [usize; 2],
    /// \[local anchor\]\[item\].
    volume: Rows,
    /// \[local item\]\[anchor\].
    volume_t: Rows,
    targets: Vec<usize>,
    loss: f64,
    loss_anchor_to_data: f64,
    loss_data_to_anchor: f64,
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
    /// Of the anchors, of the items.
    directions: Option<[f64; 2]>,
}

#[inline(always)]
fn run_loss<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    x: &[Rows],
) -> (GramReport<I::Scalar>, Vec<I::Scalar>) {
    let (k, rows, d) = (x.len(), x[0].len(), x[0][0].len());
    let vectors: Vec<I::Scalar> = planes(x);
    let batch = Batch {
        vectors: &vectors,
        present: None,
        k,
        rows,
        d,
    };
    let mut gradient = vec![I::Scalar::ONE; vectors.len()];
    let mut workspace = vec![I::Scalar::constant(f64::NAN); contrastive::workspace_len(k, rows, d)];
    let report = gram_loss(isa, config, &batch, &mut gradient, &mut workspace).expect("a loss");
    (report, gradient)
}

/// The loss and the gradient of a shard.
#[inline(always)]
fn run_shard<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    x: &[Rows],
    shard: Shard,
) -> (GramReport<I::Scalar>, Vec<I::Scalar>) {
    let (k, rows, d) = (x.len(), x[0].len(), x[0][0].len());
    let nan = I::Scalar::constant(f64::NAN);
    let vectors: Vec<I::Scalar> = planes(x);
    let batch = Batch {
        vectors: &vectors,
        present: None,
        k,
        rows,
        d,
    };
    let mut gradient = vec![nan; shard.gradient_len(k, rows, d)];
    let mut workspace = vec![nan; shard_workspace_len(k, shard.rows, rows, d)];
    let report =
        shard_loss(isa, config, &batch, shard, &mut gradient, &mut workspace).expect("a loss");
    (report, gradient)
}

/// The loss of the first plane against the others, from anchors to items.
#[inline(always)]
fn run_rectangle<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    x: &[Rows],
    offset: usize,
) -> I::Scalar {
    let (k, rows, items, d) = (x.len(), x[0].len(), x[1].len(), x[0][0].len());
    let (anchors, vectors) = (flat::<I::Scalar>(&x[0]), planes::<I::Scalar>(&x[1..]));
    let rectangle = Rectangle {
        anchors: &anchors,
        anchors_present: None,
        rows,
        items: Batch {
            vectors: &vectors,
            present: None,
            k: k - 1,
            rows: items,
            d,
        },
        offset,
    };
    let nan = I::Scalar::constant(f64::NAN);
    let mut workspace = vec![nan; rectangle_workspace_len(k, rows, items, d)];
    let report = rectangle_loss(isa, config, &rectangle, &mut [], &mut [], &mut workspace);
    report.expect("a loss").loss
}

/// One machine that holds everything, but whose gathered copies carry no gradient.
#[inline(always)]
fn detached_case<I: Isa>(isa: I, case: &LossCase, cap: Precision) {
    let name = &case.name;
    let config = config::<I::Scalar>(case.tau, case.label_smoothing, false);
    let shard = Shard {
        offset: 0,
        rows: case.b,
        gathered: Gathered::Detached,
    };
    let (report, gradient) = run_shard(isa, &config, &case.embeddings, shard);
    for (what, got, want, cap) in [
        ("loss", report.loss, case.loss, cap.loss),
        (
            "dL/dτ",
            report.temperature_gradient,
            case.grad_tau,
            cap.gram_gradient,
        ),
    ] {
        let (what, scale) = (format!("{name}, detached: {what}"), want.abs().max(1.0));
        assert_close(&what, got.to_f64(), want, scale, cap);
    }
    let want = case.grad_gathered_detached.iter().flatten().flatten();
    let what = format!("{name}, detached");
    assert_gradient(&what, &gradient, want.copied(), cap.gram_gradient);
}

#[inline(always)]
fn volumes<I: Isa>(isa: I, x: &[Rows], present: Option<&[bool]>) -> Vec<I::Scalar> {
    let (m, b1, b2, d) = (x.len() - 1, x[0].len(), x[1].len(), x[0][0].len());
    let mut out = vec![I::Scalar::ZERO; b1 * b2];
    let mut workspace =
        vec![I::Scalar::constant(f64::NAN); pair::volume_matrix_workspace_len(b1, m, b2, d)];
    volume_matrix(
        isa,
        Measure::Volume,
        &flat::<I::Scalar>(&x[0]),
        &planes::<I::Scalar>(&x[1..]),
        present,
        [b1, m, b2, d],
        &mut out,
        &mut workspace,
    )
    .expect("a volume matrix");
    out
}

fn assert_volumes<T: Real>(name: &str, got: &[T], want: &Rows, cap: Precision) {
    assert_eq!(got.len(), want.iter().flatten().count(), "{name}: volumes");
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

/// The same where the vectors were rounded on their way in, each by up to half an ε of its length: that turns
/// into up to k·condition·ε/2 of the volume. In `f64` the golden numbers bear it too, and none is allowed for.
fn assert_volumes_of_rounded<T: Real>(
    name: &str,
    got: &[T],
    x: &[Rows],
    want: &Rows,
    cap: Precision,
) {
    let is_exact = T::EPSILON.to_f64() < 1e-10;
    let half = if is_exact {
        0.0
    } else {
        T::EPSILON.to_f64() / 2.0
    };
    let mut got = got.iter();
    for (i, row) in want.iter().enumerate() {
        for (j, want) in row.iter().enumerate() {
            let others = x[1..].iter().map(|plane| plane[j].clone());
            let tuple: Rows = std::iter::once(x[0][i].clone()).chain(others).collect();
            let condition = condition(&tuple, *want, &oracle::volume_gradient(&tuple));
            let got = got.next().expect("a volume").to_f64();
            let cap = cap.volume + x.len() as f64 * condition * half;
            assert_close(&format!("{name}: volume[{i}][{j}]"), got, *want, *want, cap);
        }
    }
}

#[inline(always)]
fn loss_case<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    x: &[Rows],
    expected: &Expected<'_>,
    cap: Precision,
) {
    let name = expected.name;
    if config.normalise {
        let vectors = oracle::normalised(x);
        let got = volumes(isa, &vectors, None);
        assert_volumes_of_rounded(name, &got, &vectors, expected.volume, cap);
    } else {
        assert_volumes(name, &volumes(isa, x, None), expected.volume, cap);
    }
    let (report, gradient) = run_loss(isa, config, x);
    assert_close(
        &format!("{name}: loss"),
        report.loss.to_f64(),
        expected.loss,
        expected.loss.abs().max(1.0),
        cap.loss,
    );
    let want = expected.gradient.iter().flatten().flatten().copied();
    assert_gradient(name, &gradient, want, cap.gram_gradient);
    if let Some(want) = expected.directions {
        let forward = run_rectangle(isa, config, x, 0);
        assert_directions(name, &report, forward, want, cap.loss);
    }
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

/// \[rows\]\[columns\] as \[columns\]\[rows\].
fn transposed<T: Real>(x: &[T], columns: usize) -> Vec<T> {
    let column = |at| x.iter().skip(at).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

/// The two directions of a loss that is their mean, and that of the anchors by a face of its own.
#[track_caller]
fn assert_directions<T: Real>(
    name: &str,
    report: &GramReport<T>,
    forward: T,
    [want_forward, want_backward]: [f64; 2],
    cap: f64,
) {
    let [of_anchors, of_items] = report.directions.map(|half| 2.0 * half.to_f64());
    for (what, got, want) in [
        ("alone", forward.to_f64(), want_forward),
        ("of the anchors", of_anchors, want_forward),
        ("of the items", of_items, want_backward),
    ] {
        let scale = want.abs().max(1.0);
        assert_close(&format!("{name}: loss {what}"), got, want, scale, cap);
    }
}

#[inline(always)]
fn rectangular_case<I: Isa>(isa: I, case: &RectangularCase, cap: Precision) {
    let (name, x) = (&case.name, &case.embeddings_all);
    let [from, to] = case.local_rows;
    let (mut local_anchors, mut local_items) = (x.clone(), x.clone());
    local_anchors[0] = x[0][from..to].to_vec();
    for rows in &mut local_items[1..] {
        *rows = rows[from..to].to_vec();
    }
    let forward = volumes(isa, &local_anchors, None);
    assert_volumes(name, &forward, &case.volume, cap);
    let backward = transposed(&volumes(isa, &local_items, None), to - from);
    assert_volumes(name, &backward, &case.volume_t, cap);
    let targets: Vec<usize> = (from..to).collect();
    assert_eq!(case.targets, targets, "{name}: targets");
    let config = config::<I::Scalar>(case.tau, case.label_smoothing, false);
    let anchors_to_items = run_rectangle(isa, &config, &local_anchors, from);
    let of_shard = |gathered| {
        let (offset, rows) = (from, to - from);
        let shard = Shard {
            offset,
            rows,
            gathered,
        };
        run_shard(isa, &config, x, shard)
    };
    let (full, full_gradient) = of_shard(Gathered::Full);
    let (detached, gradient) = of_shard(Gathered::Detached);
    for got in [full.loss, detached.loss] {
        let scale = case.loss.abs().max(1.0);
        let what = format!("{name}: loss");
        assert_close(&what, got.to_f64(), case.loss, scale, cap.loss);
    }
    assert_directions(
        name,
        &full,
        anchors_to_items,
        [case.loss_anchor_to_data, case.loss_data_to_anchor],
        cap.loss,
    );
    // The file has no gradient: that of the oracle, whose loss is the file's.
    let present: Vec<Vec<bool>> = x.iter().map(|rows| vec![true; rows.len()]).collect();
    let double = self::config::<f64>(case.tau, case.label_smoothing, false);
    let want = oracle::shard_loss(&double, x, &present, [from, to]);
    assert_close(name, want.loss, case.loss, 1.0, DOUBLE.loss);
    let full = want.full().into_iter().flatten().flatten();
    assert_gradient(name, &full_gradient, full, cap.gram_gradient);
    let local = want.local.iter().flat_map(|rows| rows[from..to].concat());
    assert_gradient(name, &gradient, local, cap.gram_gradient);
}

#[inline(always)]
fn loss_file<I: Isa>(isa: I, file: &LossFile, cap: Precision) {
    assert!(!file.cases.is_empty(), "loss.json has cases");
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
            directions: Some([case.loss_anchor_to_data, case.loss_data_to_anchor]),
        };
        loss_case(
            isa,
            &config::<I::Scalar>(case.tau, case.label_smoothing, false),
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
        directions: None,
    };
    loss_case(
        isa,
        &config::<I::Scalar>(case.tau, case.label_smoothing, true),
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
        directions: None,
    };
    loss_case(
        isa,
        &config::<I::Scalar>(case.tau, case.label_smoothing, false),
        &case.embeddings,
        &expected,
        cap,
    );
}

struct Losses<'a>(&'a LossFile);

impl Kernel<f32> for Losses<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        loss_file(isa, self.0, SINGLE);
    }
}

#[test]
fn golden_loss_f32() {
    let file: LossFile = golden::read("gram/loss.json");
    for level in Level::available() {
        println!("{level}");
        level.run(Losses(&file));
    }
}

#[test]
fn golden_loss_f64() {
    loss_file(One::<f64>::new(), &golden::read("gram/loss.json"), DOUBLE);
}

struct Parts<'a>(&'a LossFile);

impl Kernel<f32> for Parts<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        rectangular_case(isa, &self.0.rectangular, SINGLE);
        for case in &self.0.cases {
            detached_case(isa, case, SINGLE);
        }
    }
}

#[test]
fn golden_rectangular_and_gathered_detached_f32() {
    let file: LossFile = golden::read("gram/loss.json");
    for level in Level::available() {
        println!("{level}");
        level.run(Parts(&file));
    }
}

#[test]
fn golden_rectangular_f64() {
    let file: LossFile = golden::read("gram/loss.json");
    rectangular_case(One::<f64>::new(), &file.rectangular, DOUBLE);
}

#[test]
fn golden_gathered_detached_f64() {
    let file: LossFile = golden::read("gram/loss.json");
    for case in &file.cases {
        detached_case(One::<f64>::new(), case, DOUBLE);
    }
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

#[inline(always)]
fn missing_file<I: Isa>(isa: I, cap: Precision) {
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
                row.fill(f64::NAN);
            }
        }
    }
    assert_volumes(
        "missing",
        &volumes(isa, &x, Some(&present)),
        &file.volume,
        cap,
    );
}

struct Missing;

impl Kernel<f32> for Missing {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        missing_file(isa, SINGLE);
    }
}

#[test]
fn golden_missing() {
    missing_file(One::<f64>::new(), DOUBLE);
    for level in Level::available() {
        println!("{level}");
        level.run(Missing);
    }
}

// Retrieval.

#[derive(Deserialize)]
struct RetrievalFile {
    ids: Vec<String>,
    ids_txt: Vec<String>,
    #[serde(deserialize_with = "rows_of_singles")]
    volume: Rows,
    forward: GoldenMetrics,
    backward: GoldenMetrics,
}

#[derive(Deserialize)]
struct GoldenMetrics {
    r1: f64,
    r5: f64,
    r10: f64,
    median_rank_lower: usize,
    mean_rank: f64,
    rank0: Vec<usize>,
}

fn metrics_case<T: Real>(name: &str, ranks: &[usize], want: &GoldenMetrics, cap: f64) {
    assert_eq!(ranks, want.rank0, "{name}");
    let got = Metrics::<T>::of(ranks).expect("ranks");
    assert_eq!(got.median_rank, want.median_rank_lower, "{name}: median");
    for (got, want) in [
        (got.r1, want.r1),
        (got.r5, want.r5),
        (got.r10, want.r10),
        (got.mean_rank, want.mean_rank),
    ] {
        assert_close(name, got.to_f64(), want, want.max(1.0), cap);
    }
}

fn retrieval_file<T: Real>(cap: Precision) {
    let file: RetrievalFile = golden::read("gram/retrieval.json");
    let volumes: Vec<T> = flat(&file.volume);
    let (texts, items) = (&file.ids_txt, &file.ids);
    let (mut forward, mut backward) = (vec![0; texts.len()], vec![0; items.len()]);
    forward_ranks(&volumes, texts, items, Order::Ascending, &mut forward).expect("known ids");
    backward_ranks(&volumes, texts, items, Order::Ascending, &mut backward).expect("known ids");
    metrics_case::<T>("forward", &forward, &file.forward, cap.volume);
    metrics_case::<T>("backward", &backward, &file.backward, cap.volume);
}

#[test]
fn golden_retrieval() {
    retrieval_file::<f64>(DOUBLE);
    retrieval_file::<f32>(SINGLE);
}

// Hard negatives.

#[derive(Deserialize)]
struct NegativesFile {
    cases: Vec<NegativesCase>,
}

#[derive(Deserialize)]
struct NegativesCase {
    name: String,
    b: usize,
    tau: f64,
    volume: Rows,
    hardneg_w_anchor_to_data: Rows,
    hardneg_w_data_to_anchor: Rows,
}

#[inline(always)]
fn negatives_file<I: Isa>(isa: I, file: &NegativesFile) {
    assert!(!file.cases.is_empty(), "loss.json has cases");
    for NegativesCase { name, b, .. } in &file.cases {
        assert!(*b > 1, "{name}: negatives");
    }
    for case in &file.cases {
        let (b, tau) = (case.b, I::Scalar::constant(case.tau));
        let volumes: Vec<I::Scalar> = flat(&case.volume);
        let mut rows = volumes.clone();
        negatives::row_weights(isa, tau, Own::at(0), b, &mut rows).expect("weights");
        let (mut columns, mut workspace) = (volumes, vec![tau; negatives::column_workspace_len(b)]);
        negatives::column_weights(isa, tau, Own::at(0), b, &mut columns, &mut workspace)
            .expect("weights");
        let largest = case.volume.iter().flatten().copied().fold(0.0, f64::max);
        let cap = weight_cap::<I::Scalar>(largest / case.tau);
        for (got, want) in [
            (rows, &case.hardneg_w_anchor_to_data),
            (transposed(&columns, b), &case.hardneg_w_data_to_anchor),
        ] {
            assert_eq!(got.len(), b * b);
            for (got, want) in got.iter().zip(want.iter().flatten()) {
                let what = format!("{}: weight", case.name);
                assert_close(&what, got.to_f64(), *want, *want, cap);
            }
        }
    }
}

struct Negatives<'a>(&'a NegativesFile);

impl Kernel<f32> for Negatives<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        negatives_file(isa, self.0);
    }
}

#[test]
fn golden_hard_negatives() {
    let file: NegativesFile = golden::read("gram/loss.json");
    negatives_file(One::<f64>::new(), &file);
    for level in Level::available() {
        println!("{level}");
        level.run(Negatives(&file));
    }
}

// Related measures.

#[derive(Deserialize)]
struct RelatedFile {
    #[serde(deserialize_with = "planes_of_singles")]
    embeddings: Vec<Rows>,
    triangle_area: Rows,
    triangle_score_no_sqrt: Rows,
    singular_values_k4: Rows,
    dam: MatchingCase,
}

#[derive(Deserialize)]
struct MatchingCase {
    #[serde(deserialize_with = "rows_of_singles")]
    logits: Rows,
    labels: Vec<usize>,
    loss: f64,
    grad: Rows,
}

#[inline(always)]
fn related_file<I: Isa>(isa: I, file: &RelatedFile, cap: Precision) {
    let x = &file.embeddings;
    let (k, rows, d) = (x.len(), x[0].len(), x[0][0].len());
    assert_eq!(file.triangle_area.len(), rows);
    let zero = I::Scalar::ZERO;
    let mut workspace = vec![zero; triangle::workspace_len(d)];
    for (i, areas) in file.triangle_area.iter().enumerate() {
        assert_eq!(areas.len(), rows);
        for (j, want) in areas.iter().enumerate() {
            let corners: Vec<I::Scalar> =
                flat(&[x[0][i].clone(), x[1][j].clone(), x[2][j].clone()]);
            let what = format!("area[{i}][{j}]");
            let area = triangle::area_on(isa, &corners, d, &mut workspace).expect(&what);
            assert_close(&what, area.to_f64(), *want, *want, cap.volume);
            let mut gradient = vec![zero; corners.len()];
            let again = triangle::area_gradient_on(isa, &corners, d, &mut gradient, &mut workspace);
            assert_eq!(again, Ok(area), "{what}");
            let score = triangle::score_without_root(area).to_f64();
            let want = file.triangle_score_no_sqrt[i][j];
            assert_close(&what, score, want, want, 3.0 * cap.volume);
        }
    }
    assert_eq!(file.singular_values_k4.len(), rows);
    let mut workspace = vec![zero; singular::workspace_len(k, d)];
    for (j, want) in file.singular_values_k4.iter().enumerate() {
        let tuple: Vec<I::Scalar> = x.iter().flat_map(|rows| flat(&rows[j..=j])).collect();
        let found = singular::Singular::of(isa, &tuple, k, d, &mut workspace).expect("values");
        assert_eq!(found.values().len(), want.len());
        for (got, value) in found.values().iter().zip(want) {
            let what = format!("singular values of {j}");
            assert_close(&what, got.to_f64(), *value, want[0], cap.volume);
        }
    }
    let case = &file.dam;
    let positives = case.labels.iter().filter(|label| **label == 1).count();
    assert!(case.labels[..positives].iter().all(|label| *label == 1));
    let logits: Vec<I::Scalar> = flat(&case.logits);
    let mut gradient = vec![zero; logits.len()];
    let loss = matching_loss(&logits, positives, None, &mut gradient).expect("a loss");
    assert_close(
        "dam",
        loss.to_f64(),
        case.loss,
        case.loss.max(1.0),
        cap.loss,
    );
    assert_gradient(
        "dam",
        &gradient,
        case.grad.iter().flatten().copied(),
        cap.gram_gradient,
    );
    let total = total_loss(I::Scalar::constant(2.5), loss).to_f64();
    assert_close("total", total, 2.5 + 0.1 * case.loss, 2.5, cap.loss);
}

struct Related<'a>(&'a RelatedFile);

impl Kernel<f32> for Related<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        related_file(isa, self.0, SINGLE);
    }
}

#[test]
fn golden_related() {
    let file: RelatedFile = golden::read("gram/related.json");
    related_file(One::<f64>::new(), &file, DOUBLE);
    for level in Level::available() {
        println!("{level}");
        level.run(Related(&file));
    }
}
