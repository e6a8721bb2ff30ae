//! Memory besides the inputs and the gradient: the workspace that the functions ask for, and what is allocated on top of
//! it while they run.

use peak_alloc::PeakAlloc;
use rivergram::engine::Threads;
use rivergram_core::crew::Crew;
use rivergram_core::eisl::{Batch, Config};
use rivergram_core::gram::contrastive::{Room, room_len};
use rivergram_simd::Level;

use crate::eisl::{self, ORDERS};
use crate::gram::{self, D};
use crate::random::{labels, normals, repeated};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes of a piece of work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bytes {
    /// What the caller hands in.
    pub(crate) workspace: usize,
    /// The most that was allocated at a time while it ran.
    pub(crate) allocated: usize,
    /// What the sum of both is measured in, and how often it may be that.
    pub(crate) unit: usize,
    pub(crate) at_most: f64,
}

impl Bytes {
    pub(crate) fn ratio(&self) -> f64 {
        (self.workspace + self.allocated) as f64 / self.unit as f64
    }

    pub(crate) fn is_met(&self) -> bool {
        self.ratio() <= self.at_most
    }
}

/// A line of the table.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) threads: usize,
    pub(crate) measure: fn(Level) -> Bytes,
    /// Whether it is left out of a quick run.
    pub(crate) is_long: bool,
}

pub(crate) const ENTRIES: &[Entry] = &[
    Entry {
        name: "GRAM loss B=2048 k=4, small workspace, of its inputs",
        threads: 1,
        measure: |level| gram_loss(&level, 2048, 4),
        is_long: true,
    },
    Entry {
        name: "GRAM loss B=2048 k=4, small workspace, two threads, of its inputs",
        threads: 2,
        measure: |level| gram_loss(&two_threads(level), 2048, 4),
        is_long: true,
    },
    Entry {
        name: "EISL n=1..4 B=8 T=64 V=32000, of B·T·(U+2) floats",
        threads: 1,
        measure: |level| sequence_loss(&level, 32_000),
        is_long: false,
    },
    Entry {
        name: "EISL n=1..4 B=8 T=64 V=32000, two threads, of B·T·(U+2) floats",
        threads: 2,
        measure: |level| sequence_loss(&two_threads(level), 32_000),
        is_long: false,
    },
];

fn two_threads(level: Level) -> Threads {
    Threads::new(level, 2).expect("the system has two threads")
}

const FLOAT: usize = size_of::<f32>();

/// What is allocated at most while `work` runs, beyond what was there before.
fn allocated(work: impl FnOnce()) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    work();
    ALLOCATOR.peak_usage().saturating_sub(before)
}

fn gram_loss(crew: &(impl Crew<f32> + Sync), rows: usize, k: usize) -> Bytes {
    let vectors = repeated(k * rows * D, 3);
    let mut gradient = vec![0.0; vectors.len()];
    let mut workspace = vec![0.0; room_len(Room::Small, crew.hands(), k, rows, D)];
    let work = || gram::run_loss(crew, &vectors, [k, rows], &mut gradient, &mut workspace);
    Bytes {
        allocated: allocated(work),
        workspace: FLOAT * workspace.len(),
        unit: FLOAT * vectors.len(),
        at_most: 2.0,
    }
}

fn sequence_loss(crew: &impl Crew<f32>, vocabulary: usize) -> Bytes {
    let shape = eisl::shape(vocabulary);
    let labels = labels(shape.batch * shape.targets, vocabulary, 2);
    let (config, batch) = (Config::new(ORDERS), Batch::new(shape, &labels));
    let mut x = normals(eisl::count(shape), 1);
    let mut workspace = vec![0.0; batch.crew_workspace_len(&config, crew.hands())];
    let work = || eisl::run_loss(crew, &config, &batch, &mut x, &mut workspace);
    Bytes {
        allocated: allocated(work),
        workspace: FLOAT * workspace.len(),
        unit: FLOAT * shape.batch * shape.positions * (shape.targets + 2),
        at_most: 1.2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspaces_of_small_work_are_those_of_the_functions() {
        let bytes = gram_loss(&Level::detect(), 8, 3);
        assert_eq!(bytes.workspace, 4 * room_len(Room::Small, 1, 3, 8, D));
        assert_eq!(bytes.unit, 4 * 3 * 8 * D);
        let bytes = sequence_loss(&Level::detect(), 11);
        assert_eq!(bytes.unit, 4 * 8 * 64 * 66);
        // Not what was allocated: that is counted of the whole process, and other tests allocate at the same time.
        let workspace = Bytes {
            allocated: 0,
            ..bytes
        };
        assert!(workspace.is_met());
    }
}
