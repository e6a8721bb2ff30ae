//! Work in independent pieces, and who does it: one after another here, side by side in a crate that has threads.
//!
//! The pieces of a computation are the same whoever does them, and what they give is put together in one order. So a
//! result has the same bits whatever the number of hands.

use crate::lanes::{Isa, Kernel};

/// What is done to a piece, on the lanes of any instruction set.
///
/// As with [`Kernel`], `run` must be `#[inline(always)]`, and so must everything generic over [`Isa`] below it.
pub trait Work<T, P>: Sync {
    /// Does one piece; the cost is the work's own.
    ///
    /// ```
    /// use rivergram_core::crew::Work;
    /// use rivergram_core::lanes::{Isa, One};
    ///
    /// struct Double;
    ///
    /// impl Work<f32, &mut f32> for Double {
    ///     #[inline(always)]
    ///     fn run<I: Isa<Scalar = f32>>(&self, _: I, x: &mut f32) {
    ///         *x *= 2.0;
    ///     }
    /// }
    ///
    /// let mut x = 3.0;
    /// Double.run(One::new(), &mut x);
    /// assert_eq!(x, 6.0);
    /// ```
    fn run<I: Isa<Scalar = T>>(&self, isa: I, piece: P);
}

/// Who does the pieces.
pub trait Crew<T> {
    /// How many pieces are done at a time: what is shared out may be cut into as many parts.
    ///
    /// ```
    /// use rivergram_core::crew::{Alone, Crew};
    /// use rivergram_core::lanes::One;
    ///
    /// assert_eq!(Alone(One::<f32>::new()).hands(), 1);
    /// ```
    fn hands(&self) -> usize {
        1
    }
    /// Does `work`, which calls [`Crew::each`] many times. What is done between is done here by the caller; threads do it
    /// where they wait for the next pieces, so that nobody has to be woken for each. Cost: that of the work.
    ///
    /// ```
    /// use rivergram_core::crew::{Alone, Crew};
    /// use rivergram_core::lanes::One;
    ///
    /// assert_eq!(Alone(One::<f32>::new()).whole(|| 2 + 2), 4);
    /// ```
    #[inline(always)]
    fn whole<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }
    /// Does all pieces, and returns when they are done. Cost: that of the work, and a call per piece.
    ///
    /// ```
    /// use rivergram_core::crew::{Alone, Crew, Work};
    /// use rivergram_core::lanes::{Isa, One};
    ///
    /// struct Double;
    ///
    /// impl Work<f32, &mut f32> for Double {
    ///     #[inline(always)]
    ///     fn run<I: Isa<Scalar = f32>>(&self, _: I, x: &mut f32) {
    ///         *x *= 2.0;
    ///     }
    /// }
    ///
    /// let mut numbers = [1.0, 2.0];
    /// Alone(One::new()).each(numbers.iter_mut(), &Double);
    /// assert_eq!(numbers, [2.0, 4.0]);
    /// ```
    fn each<P: Send, W: Work<T, P>>(&self, pieces: impl Iterator<Item = P>, work: &W);
}

/// One after another, on these lanes.
#[derive(Clone, Copy, Debug)]
pub struct Alone<I>(pub I);

impl<I: Isa> Crew<I::Scalar> for Alone<I> {
    #[inline(always)]
    fn each<P: Send, W: Work<I::Scalar, P>>(&self, pieces: impl Iterator<Item = P>, work: &W) {
        for piece in pieces {
            self.0.enter(Piece { work, piece });
        }
    }
}

/// One piece with what is done to it: what a [`Crew`] gives to an entry.
#[derive(Debug)]
pub struct Piece<'a, W, P> {
    /// What is done.
    pub work: &'a W,
    /// To what.
    pub piece: P,
}

impl<T, P, W: Work<T, P>> Kernel<T> for Piece<'_, W, P> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        self.work.run(isa, self.piece);
    }
}
