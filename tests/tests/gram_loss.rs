//! The GRAM loss of random batches against the naive oracle, on every path, and its errors.

use rivergram_core::error::GramError;
use rivergram_core::gram::contrastive::{
    self, Anchor, Batch, GramLoss, GramReport, Term, ZeroRows, gram_loss,
};
use rivergram_core::lanes::{Isa, One, Real};
use rivergram_simd::{Kernel, Level};
use rivergram_tests::cases::{Rows, assert_gradient, cone, norm, planes, singles};
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::precision::{DOUBLE, Precision, SINGLE, assert_close};
use rivergram_tests::random::Random;

/// A batch for the oracle, with its configuration.
#[derive(Clone, Debug)]
struct Case {
    config: GramLoss<f64>,
    x: Vec<Rows>,
    /// \[modality\]\[row\]; `None` for all.
    present: Option<Vec<Vec<bool>>>,
}

/// What a path gave for a case.
struct Found<T> {
    report: GramReport<T>,
    gradient: Vec<T>,
}

/// A call of the loss on any lanes.
struct Loss<'a> {
    config: GramLoss<f32>,
    batch: Batch<'a, f32>,
    gradient: &'a mut [f32],
    workspace: &'a mut [f32],
}

impl Kernel for Loss<'_> {
    type Output = Result<GramReport<f32>, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        gram_loss(
            isa,
            &self.config,
            &self.batch,
            self.gradient,
            self.workspace,
        )
    }
}

impl Case {
    fn config<T: Real>(&self) -> GramLoss<T> {
        GramLoss {
            term: self.config.term,
            pairs: T::constant(self.config.pairs),
            temperature: T::constant(self.config.temperature),
            label_smoothing: T::constant(self.config.label_smoothing),
            normalise: self.config.normalise,
            zero_rows: self.config.zero_rows,
        }
    }

    fn sizes(&self) -> [usize; 3] {
        [self.x.len(), self.x[0].len(), self.x[0][0].len()]
    }

    fn flags(&self) -> Option<Vec<bool>> {
        self.present.as_ref().map(|present| present.concat())
    }

    /// The vectors; what is absent holds NaN, since it may hold anything.
    fn vectors<T: Real>(&self) -> Vec<T> {
        let mut x = self.x.clone();
        if let Some(present) = &self.present {
            let flags = present.iter().flatten();
            for (row, present) in x.iter_mut().flatten().zip(flags) {
                if !present {
                    row.fill(f64::NAN);
                }
            }
        }
        planes(&x)
    }

    /// Runs a path, with everything that it must overwrite filled with something else.
    fn run<T: Real>(
        &self,
        path: impl FnOnce(
            GramLoss<T>,
            Batch<'_, T>,
            &mut [T],
            &mut [T],
        ) -> Result<GramReport<T>, GramError>,
    ) -> Result<Found<T>, GramError> {
        let [k, rows, d] = self.sizes();
        let (vectors, flags) = (self.vectors::<T>(), self.flags());
        let batch = Batch {
            vectors: &vectors,
            present: flags.as_deref(),
            k,
            rows,
            d,
        };
        let mut gradient = vec![T::constant(f64::NAN); vectors.len()];
        let mut workspace = vec![T::constant(f64::NAN); contrastive::workspace_len(k, rows, d)];
        let report = path(self.config(), batch, &mut gradient, &mut workspace)?;
        Ok(Found { report, gradient })
    }

    fn scalar<T: Real>(&self) -> Result<Found<T>, GramError> {
        self.run(|config, batch, gradient, workspace| {
            gram_loss(One::<T>::new(), &config, &batch, gradient, workspace)
        })
    }

    fn at(&self, level: Level) -> Result<Found<f32>, GramError> {
        self.run(|config, batch, gradient, workspace| {
            level.run(Loss {
                config,
                batch,
                gradient,
                workspace,
            })
        })
    }

    fn everything_present(&self) -> Vec<Vec<bool>> {
        vec![vec![true; self.x[0].len()]; self.x.len()]
    }

    fn oracle(&self) -> (oracle::Loss, f64) {
        let present = self
            .present
            .clone()
            .unwrap_or_else(|| self.everything_present());
        oracle::batch_loss(&self.config, &self.x, &present)
    }
}
const SIGMAS: [f64; 4] = [f64::INFINITY, 0.3, 1e-2, 1e-3];
fn batch(random: &mut Random, [k, rows, d]: [usize; 3], sigma: f64) -> Vec<Rows> {
    let mut x = vec![Vec::new(); k];
    for _ in 0..rows {
        let tuple = if sigma.is_finite() { cone(random, k, d, sigma) } else { random.normals(k, d) };
        for (plane, row) in x.iter_mut().zip(tuple) {
            let scale = (0.5 + random.unit()) / norm(row.iter().copied());
            plane.push(singles(vec![row.iter().map(|v| v * scale).collect()]).remove(0));
        }
    }
    x
}
#[test]
fn explore() {
    let mut random = Random::new(3);
    use std::collections::BTreeMap;
    let mut worst: BTreeMap<String, (f64, f64, f64, String, String, String)> = BTreeMap::new();
    for sigma in SIGMAS { for k in 2..=5 { for rows in [1, 2, 3, 8, 13] { for d in [4, 16, 33] {
        if k > d { continue; }
        let x = batch(&mut random, [k, rows, d], sigma);
        for term in [Term::Volume(Anchor::One(k - 1)), Term::Volume(Anchor::Each), Term::Cosine(Anchor::One(0)), Term::Cosine(Anchor::Each)] {
            for normalise in [true, false] {
              for missing in [true, false] {
                let temperature = [0.05, 0.07, 0.25, 1.0][random.range(0, 3)];
                let pairs = [0.0, 0.3][random.range(0, 1)];
                let label_smoothing = [0.0, 0.1][random.range(0, 1)];
                let present = missing.then(|| (0..k).map(|_| (0..rows).map(|_| random.unit() < 0.6).collect()).collect());
                let case = Case { config: GramLoss { term, pairs, temperature, label_smoothing, normalise, zero_rows: ZeroRows::Missing }, x: x.clone(), present };
                let (want, _) = case.oracle();
                let mut put = |what: &str, found: (f64, f64, Vec<f64>)| {
                    let (loss, tg, g) = found;
                    let el = (loss - want.loss).abs() / want.loss.abs().max(1.0);
                    let et = (tg - want.temperature).abs() / want.temperature.abs().max(1.0);
                    let wg: Vec<f64> = want.gradient.iter().flatten().flatten().copied().collect();
                    let n = norm(wg.iter().copied());
                    let eg = norm(g.iter().zip(&wg).map(|(a, b)| a - b)) / n.max(1e-30);
                    let id = format!("{:?} k{k} B{rows} d{d} t{temperature} p{pairs} e{label_smoothing} m{missing} want {} {} {}", term, want.loss, want.temperature, n);
                    let kind = match term { Term::Volume(_) => "vol", _ => "cos" };
                    let w = worst.entry(format!("{what} sigma {sigma} {kind} norm {normalise}")).or_default();
                    if el > w.0 || el.is_nan() { w.0 = el; w.3 = id.clone(); }
                    if et > w.1 || et.is_nan() { w.1 = et; w.4 = id.clone(); }
                    if eg > w.2 || eg.is_nan() { w.2 = eg; w.5 = id.clone(); }
                };
                let f = case.scalar::<f64>().unwrap();
                put("f64", (f.report.loss, f.report.temperature_gradient, f.gradient));
                for level in Level::available() {
                let f = case.at(level).unwrap();
                put("f32", (f.report.loss.to_f64(), f.report.temperature_gradient.to_f64(), f.gradient.iter().map(|x| x.to_f64()).collect()));
                }
            }
            }
        }
    } } } }
    for (k, w) in worst { println!("{k:40} loss {:.1e} tau {:.1e} grad {:.1e}\n   {}\n   {}\n   {}", w.0, w.1, w.2, w.3, w.4, w.5); }
}
