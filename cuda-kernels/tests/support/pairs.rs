//! Anchors and items: what the tests of volumes and of searches share.

use rivergram_core::gram::pair::{Measure, volume_matrix, volume_matrix_workspace_len};
use rivergram_core::lanes::One;
use rivergram_cuda_kernels::device::{Launch, Memory, Order};
use rivergram_cuda_kernels::kernels::basis::{Items, bases};
use rivergram_cuda_kernels::kernels::pairs::{Pairs, squares};

use super::{Random, double, run};

/// Anchors, items as planes, and which of their vectors are there.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) anchors: Vec<f32>,
    pub(crate) items: Vec<f32>,
    pub(crate) present: Vec<bool>,
    pub(crate) sizes: [usize; 4],
}

impl Case {
    pub(crate) fn random(seed: u64, sizes: [usize; 4]) -> Self {
        let [b1, m, b2, d] = sizes;
        let mut random = Random(seed);
        Case {
            name: "random",
            anchors: random.normals(b1 * d),
            items: random.normals(m * b2 * d),
            present: vec![true; m * b2],
            sizes,
        }
    }

    /// Anchor and item of one index in a cone of this width.
    pub(crate) fn cone(seed: u64, sizes: [usize; 4], sigma: f32) -> Self {
        let [b1, m, b2, d] = sizes;
        let mut case = Case::random(seed, sizes);
        let centres = case.anchors.clone();
        let mut random = Random(seed + 1);
        let mut near = |to: &mut [f32], index: usize| {
            let centre = &centres[index % b1 * d..][..d];
            for (x, c) in to.iter_mut().zip(centre) {
                *x = c + sigma * random.normal();
            }
        };
        for p in 0..m {
            for j in 0..b2 {
                near(&mut case.items[(p * b2 + j) * d..][..d], j);
            }
        }
        for (i, anchor) in case.anchors.chunks_mut(d).enumerate() {
            near(anchor, i);
        }
        Case {
            name: "cone",
            ..case
        }
    }

    pub(crate) fn vector(&mut self, p: usize, j: usize) -> &mut [f32] {
        let [_, _, b2, d] = self.sizes;
        &mut self.items[(p * b2 + j) * d..][..d]
    }

    /// Zero anchors and vectors, equal ones, absent ones, items of which nothing is there.
    pub(crate) fn degenerate(seed: u64) -> Self {
        let sizes = [5, 3, 9, 20];
        let mut case = Case::random(seed, sizes);
        case.name = "degenerate";
        let d = sizes[3];
        let first = case.vector(0, 1).to_vec();
        case.vector(2, 1).copy_from_slice(&first);
        case.vector(1, 2).fill(0.0);
        case.vector(0, 3).fill(f32::NAN);
        let absent = [(0, 3), (1, 4), (2, 4), (0, 5), (1, 5), (2, 5)];
        for (p, j) in absent {
            case.present[p * sizes[2] + j] = false;
        }
        case.anchors[d..2 * d].fill(0.0);
        // Exactly in the span of item 6, and a multiple of a vector of item 7.
        for p in [0, 1] {
            for x in case.vector(p, 6) {
                *x = (8.0 * *x).round() / 8.0;
            }
        }
        let (a, b) = (case.vector(0, 6).to_vec(), case.vector(1, 6).to_vec());
        for i in 0..d {
            case.anchors[2 * d + i] = a[i] - b[i];
        }
        let c = case.vector(1, 7).to_vec();
        for i in 0..d {
            case.anchors[3 * d + i] = -2.0 * c[i];
        }
        case
    }

    pub(crate) fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for (seed, sizes) in [
            [1, 1, 1, 1],
            [1, 1, 70, 5],
            [3, 2, 65, 64],
            [70, 2, 7, 100],
            [5, 4, 9, 130],
            [4, 7, 6, 33],
            [2, 3, 3, 2],
        ]
        .into_iter()
        .enumerate()
        {
            cases.push(Case::random(seed as u64, sizes));
        }
        for (seed, sigma) in [1.0, 0.03, 1e-3].into_iter().enumerate() {
            cases.push(Case::cone(20 + seed as u64, [6, 2, 12, 96], sigma));
        }
        cases.push(Case::degenerate(30));
        cases
    }

    /// The inputs and room for the rest on the device.
    pub(crate) fn pairs(&self, memory: &mut Memory, measure: u32, warps: usize) -> Pairs {
        let [b1, m, b2, d] = self.sizes;
        let flags: Vec<f32> = self
            .present
            .iter()
            .map(|p| f32::from(u8::from(*p)))
            .collect();
        let items = Items {
            vectors: memory.copy_f32(&self.items),
            present: memory.copy_f32(&flags),
            q: memory.room(m * b2 * d),
            r: memory.room(b2 * m * m),
            volume: memory.room(b2),
            any: memory.room(b2),
            items: b2 as u32,
            m: m as u32,
            d: d as u32,
            skip: u32::MAX,
        };
        Pairs {
            anchors: memory.copy_f32(&self.anchors),
            squares: memory.room(b1),
            items,
            residuals: memory.room(warps * d),
            rows: b1 as u32,
            measure,
        }
    }

    /// Bases and squares.
    pub(crate) fn prepare(&self, memory: &mut Memory, order: Order, p: Pairs) {
        let [b1, _, b2, _] = self.sizes;
        run(
            memory,
            Launch::per_warp("bases", b2 as u32),
            order,
            bases,
            p.items,
        );
        run(
            memory,
            Launch::per_warp("squares", b1 as u32),
            order,
            squares,
            p,
        );
    }

    /// Core's, in double precision; what is absent may hold anything.
    pub(crate) fn oracle(&self, measure: Measure) -> Vec<f64> {
        let [b1, m, b2, d] = self.sizes;
        let (mut out, mut work) = (
            vec![0.0; b1 * b2],
            vec![0.0; volume_matrix_workspace_len(b1, m, b2, d)],
        );
        let (anchors, items) = (double(&self.anchors), double(&self.items));
        let present = Some(self.present.as_slice());
        let isa = One::<f64>::new();
        volume_matrix(
            isa, measure, &anchors, &items, present, self.sizes, &mut out, &mut work,
        )
        .expect("valid inputs");
        out
    }

    pub(crate) fn norm(&self, x: &[f32]) -> f64 {
        double(x).iter().map(|x| x * x).sum::<f64>().sqrt()
    }

    /// The product of the norms of a pair, or of the anchor alone.
    pub(crate) fn size(&self, measure: Measure, pair: usize) -> f64 {
        let [_, m, b2, d] = self.sizes;
        let (i, j) = (pair / b2, pair % b2);
        let mut size = self.norm(&self.anchors[i * d..][..d]);
        for at in (0..m).map(|p| p * b2 + j) {
            if measure == Measure::Volume && self.present[at] {
                size *= self.norm(&self.items[at * d..][..d]);
            }
        }
        size
    }
}
