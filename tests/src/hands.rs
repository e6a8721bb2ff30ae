//! A crew of threads.

use std::sync::Mutex;

use rivergram_core::crew::{Crew, Piece, Work};
use rivergram_simd::Level;

/// Some hands that take the pieces in an order that nobody should depend on.
pub struct Hands {
    /// The lanes of each.
    pub level: Level,
    /// How many there are.
    pub hands: usize,
}

impl Crew<f32> for Hands {
    fn hands(&self) -> usize {
        self.hands
    }
    fn each<P: Send, W: Work<f32, P>>(&self, pieces: impl Iterator<Item = P>, work: &W) {
        let mut pieces: Vec<P> = pieces.collect();
        pieces.reverse();
        let pieces = Mutex::new(pieces);
        std::thread::scope(|scope| {
            for _ in 0..self.hands {
                scope.spawn(|| {
                    loop {
                        let piece = pieces.lock().expect("no hand panics").pop();
                        let Some(piece) = piece else { return };
                        self.level.run(Piece { work, piece });
                    }
                });
            }
        });
    }
}
