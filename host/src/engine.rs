//! Many hands for one computation: core's pieces of work on a pool of threads.
//!
//! The pieces are those that one hand would do one after another, and what they give is put together in one order, so
//! a result has the same bits whatever the number of threads.

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rivergram_core::crew::{Crew, Piece, Work};
use rivergram_simd::Level;

use crate::error::{Error, Result};

/// Threads that share the pieces of a computation, each on the lanes of one level.
///
/// ```
/// use rivergram::engine::Threads;
/// use rivergram_core::gram::contrastive::{self, Batch, GramLoss, Room};
/// use rivergram_simd::Level;
///
/// let threads = Threads::new(Level::detect(), 2)?;
/// let vectors = [1.0, 0.1, 0.0, 1.0, /* second modality */ 1.0, 0.0, 0.2, 1.0];
/// let batch = Batch { vectors: &vectors, present: None, k: 2, rows: 2, d: 2 };
/// let mut gradient = [0.0; 8];
/// let mut workspace = vec![0.0; contrastive::room_len(Room::Small, 2, 2, 2, 2)];
/// let loss = GramLoss::paper(0);
/// let report = contrastive::gram_loss_by(&threads, &loss, &batch, &mut gradient, &mut workspace)?;
/// assert!(report.loss > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Threads {
    level: Level,
    pool: rayon::ThreadPool,
}

impl Threads {
    /// A pool of `threads` threads, at least one. Cost: starts them.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn new(level: Level, threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .build()
            .map_err(|error| Error::flag("--threads", error))?;
        Ok(Threads { level, pool })
    }
}

impl Crew<f32> for Threads {
    fn hands(&self) -> usize {
        self.pool.current_num_threads()
    }

    fn each<P: Send, W: Work<f32, P>>(&self, pieces: impl Iterator<Item = P>, work: &W) {
        let mut pieces: Vec<P> = pieces.collect();
        if pieces.len() < 2 {
            for piece in pieces.drain(..) {
                self.level.run(Piece { work, piece });
            }
            return;
        }
        let level = self.level;
        let each = || {
            pieces
                .into_par_iter()
                .for_each(|piece| level.run(Piece { work, piece }));
        };
        self.pool.install(each);
    }
}
