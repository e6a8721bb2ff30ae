//! Averages of the weights over a run, in memory that does not grow with it.
//!
//! ```text
//! a ← a + γ·(w − a)
//!   exponential              γ = 1 − β
//!   the same, unbiased       γ = (1 − β) / (1 − βᵗ)
//!   mean since the reset     γ = 1 / t
//! a = (w₁ + … + w_k) / k     of the latest k copies, one every so many updates
//! ```
//! Sources: D. P. Kingma and J. Ba, "Adam" (arXiv 1412.6980, section 3) for the bias correction; S. Sanyal et al.,
//! "Early Weight Averaging meets High Learning Rates for LLM Pre-training" (arXiv 2306.03241) for the mean of the
//! latest copies (LAWA).
//!
//! | average | numbers kept for n weights | what it is |
//! |---|---|---|
//! | [`Ema`] | n | every update so far, the older the less |
//! | [`RunningMean`] | n | every update since the last reset, all alike |
//! | [`Lawa`] | k·n | the latest k copies, exactly |
//!
//! The mean of a window that slides cannot be had from less than its k copies: what leaves the window must be
//! known. Where k·n numbers are too many, a [`RunningMean`] that is reset where the window is to begin gives the
//! same mean at the window's end, from one copy; an [`Ema`] whose half-life is 0.35 of the window's updates has
//! the same mean age.
//!
//! The slices are the caller's, in any memory; nothing here draws or allocates. Weights must be finite: a NaN stays
//! in an average, and in a window until its copy has left. The trainer makes no update that is not finite.
//!
//! A correction γ·(w − a) below half an ulp of a is lost: in `f32` with γ = 1e-4 an average stands still where w is
//! within about 5e-4 of it, relative to its size.

use super::adamw::forgotten;
use super::check_len;
use crate::encode::{OVERHEAD, Reader, Writer};
use crate::error::{EncodeError, OptimError};
use crate::lanes::{Isa, Lanes, Real, count};
use crate::ops::Walk;

const MAGIC: [u8; 4] = *b"rgAV";
const VERSION: u32 = 1;

/// a ← a + γ·(w − a).
#[inline(always)]
fn blend<I: Isa>(isa: I, gamma: I::Scalar, weights: &[I::Scalar], average: &mut [I::Scalar]) {
    // What stood there may be anything.
    if gamma == I::Scalar::ONE {
        copy(weights, average);
        return;
    }
    let gamma = isa.splat(gamma);
    for (w, a) in isa.pieces(weights).zip(isa.pieces_mut(average)) {
        let value = isa.load(a);
        isa.store(gamma.mul_add(isa.load(w) - value, value), a);
    }
}

#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// What an exponential average begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Start {
    /// What the slice holds, such as the weights before the first update. It is forgotten like any other value,
    /// and until then the average leans towards it.
    Slice,
    /// Nothing: the first update sets the average, and after t of them it is Σ βᵗ⁻ⁱ·wᵢ / Σ βᵗ⁻ⁱ.
    Unbiased,
}

/// An exponential moving average in the caller's slice of n numbers.
///
/// ```
/// use rivergram_core::lanes::One;
/// use rivergram_core::optim::average::{Ema, Start};
///
/// let mut average = [f32::NAN; 2]; // Unbiased: what stands there is never read.
/// let mut ema = Ema::with_decay(0.5, Start::Unbiased)?;
/// ema.update(One::new(), &[4.0, 1.0], &mut average)?;
/// assert_eq!(average, [4.0, 1.0]);
/// ema.update(One::new(), &[1.0, 1.0], &mut average)?;
/// assert_eq!(average, [2.0, 1.0]); // Weights 1/3 and 2/3.
/// # Ok::<(), rivergram_core::error::OptimError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ema<T> {
    start: Start,
    /// 1 − β: in single precision β itself would have too few digits for it.
    rest: T,
    ln_beta: T,
    updates: u64,
}

impl<T: Real> Ema<T> {
    /// Of decay constant β: what was averaged i updates ago counts βⁱ times as much as the latest. Cost: one
    /// logarithm.
    ///
    /// # Errors
    /// [`OptimError::Decay`] unless 0 ≤ β < 1.
    ///
    /// ```
    /// use rivergram_core::error::OptimError;
    /// use rivergram_core::optim::average::{Ema, Start};
    ///
    /// assert!(Ema::with_decay(0.999_f32, Start::Slice).is_ok());
    /// let never_moves = Ema::with_decay(1.0_f32, Start::Slice);
    /// assert_eq!(never_moves, Err(OptimError::Decay { value: 1.0 }));
    /// ```
    pub fn with_decay(beta: T, start: Start) -> Result<Self, OptimError> {
        if !(beta >= T::ZERO && beta < T::ONE) {
            let value = beta.to_f32();
            return Err(OptimError::Decay { value });
        }
        Ok(Ema {
            start,
            rest: T::ONE - beta,
            ln_beta: beta.ln(),
            updates: 0,
        })
    }

    /// Of half-life h in updates: what was averaged h updates ago counts half as much as the latest,
    /// β = 2^(−1/h). This keeps its digits where β is near 1. Cost: a division and an exponential.
    ///
    /// # Errors
    /// [`OptimError::HalfLife`] unless h is positive and finite and 1 − β a normal number.
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::{Ema, Start};
    ///
    /// let mut ema = Ema::with_half_life(10.0_f64, Start::Slice)?;
    /// let mut average = [1.0];
    /// for _ in 0..10 {
    ///     ema.update(One::new(), &[0.0], &mut average)?;
    /// }
    /// assert!((average[0] - 0.5).abs() < 1e-15);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn with_half_life(updates: T, start: Start) -> Result<Self, OptimError> {
        let ln_beta = -T::constant(core::f64::consts::LN_2) / updates;
        let rest = forgotten(ln_beta, 1);
        if !(updates > T::ZERO && updates.is_finite() && rest >= T::MIN_POSITIVE) {
            let value = updates.to_f32();
            return Err(OptimError::HalfLife { value });
        }
        Ok(Ema {
            start,
            rest,
            ln_beta,
            updates: 0,
        })
    }

    /// The average after so many updates: its slice is stored by who keeps it, and this is the other half of the
    /// state. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::{Ema, Start};
    ///
    /// let new = Ema::with_decay(0.9_f32, Start::Unbiased)?;
    /// let (mut ema, mut average) = (new, [0.0; 3]);
    /// ema.update(One::new(), &[1.0, 2.0, 3.0], &mut average)?;
    /// assert_eq!(new.after(ema.updates()), ema);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn after(self, updates: u64) -> Self {
        Ema { updates, ..self }
    }

    /// Updates averaged so far.
    ///
    /// ```
    /// use rivergram_core::optim::average::{Ema, Start};
    ///
    /// assert_eq!(Ema::with_decay(0.9_f32, Start::Slice)?.updates(), 0);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// γ of the next update: how much of the average its weights will be. Cost: O(1); from an unbiased start a
    /// division and an exponential.
    ///
    /// ```
    /// use rivergram_core::optim::average::{Ema, Start};
    ///
    /// assert_eq!(Ema::with_decay(0.75_f32, Start::Slice)?.weight(), 0.25);
    /// assert_eq!(Ema::with_decay(0.75_f32, Start::Unbiased)?.weight(), 1.0);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    #[inline(always)]
    pub fn weight(&self) -> T {
        match (self.start, self.updates) {
            (Start::Slice, _) => self.rest,
            (Start::Unbiased, 0) => T::ONE,
            (Start::Unbiased, t) => self.rest / forgotten(self.ln_beta, t.saturating_add(1)),
        }
    }

    /// Takes in the weights \[n\] after an update; `average` \[n\] is the slice of all calls.
    ///
    /// Cost: one pass over both, and one exponential where it is unbiased.
    ///
    /// # Errors
    /// [`OptimError::Length`].
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::{Ema, Start};
    ///
    /// let mut ema = Ema::with_decay(0.75, Start::Slice)?;
    /// let mut average = [1.0_f32, 2.0];
    /// ema.update(One::new(), &[5.0, 2.0], &mut average)?;
    /// assert_eq!(average, [2.0, 2.0]);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    #[inline(always)]
    pub fn update<I: Isa<Scalar = T>>(
        &mut self,
        isa: I,
        weights: &[T],
        average: &mut [T],
    ) -> Result<(), OptimError> {
        check_len(weights.len(), average.len())?;
        blend(isa, self.weight(), weights, average);
        self.updates = self.updates.saturating_add(1);
        Ok(())
    }

    /// Bytes that [`Ema::save`] writes for n weights.
    ///
    /// ```
    /// use rivergram_core::optim::average::Ema;
    ///
    /// assert_eq!(Ema::<f32>::saved_len(1000), 4000 + Ema::<f32>::saved_len(0));
    /// ```
    pub const fn saved_len(n: usize) -> usize {
        saved_len::<T>(n)
    }

    /// Writes counter and average to the start of `to`, in one frame of [`encode`](crate::encode), so that neither
    /// can be read back without the other; returns its length. Cost: one copy and a checksum.
    ///
    /// # Errors
    /// [`OptimError::Encode`]: fewer bytes than [`Ema::saved_len`]; none is then written.
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::{Ema, Start};
    ///
    /// let mut ema = Ema::with_decay(0.9_f32, Start::Unbiased)?;
    /// let mut average = [0.0; 3];
    /// ema.update(One::new(), &[1.0, 2.0, 3.0], &mut average)?;
    /// let mut bytes = [0; Ema::<f32>::saved_len(3)];
    /// assert_eq!(ema.save(&average, &mut bytes), Ok(bytes.len()));
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn save(&self, average: &[T], to: &mut [u8]) -> Result<usize, OptimError> {
        self.setup().save(self.updates, average, to)
    }

    /// Reads what an average of equal settings and length saved; what follows it in `bytes` is not looked at.
    /// Cost: one copy and a checksum.
    ///
    /// # Errors
    /// [`OptimError::Decode`] for bytes that are cut or damaged, [`OptimError::OtherAverage`].
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::{Ema, Start};
    ///
    /// let new = Ema::with_decay(0.9_f32, Start::Unbiased)?;
    /// let (mut ema, mut average) = (new, [0.0; 3]);
    /// ema.update(One::new(), &[1.0, 2.0, 3.0], &mut average)?;
    /// let mut bytes = [0; Ema::<f32>::saved_len(3)];
    /// ema.save(&average, &mut bytes)?;
    ///
    /// let (mut again, mut average) = (new, [0.0; 3]);
    /// again.load(&mut average, &bytes)?;
    /// assert_eq!((again, average), (ema, [1.0, 2.0, 3.0]));
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn load(&mut self, average: &mut [T], bytes: &[u8]) -> Result<(), OptimError> {
        self.updates = self.setup().load(average, bytes)?;
        Ok(())
    }

    fn setup(&self) -> Setup {
        let kind = match self.start {
            Start::Slice => 0,
            Start::Unbiased => 1,
        };
        Setup {
            kind,
            numbers: [self.rest.to_bits(), self.ln_beta.to_bits()],
        }
    }
}

/// The mean of the weights of all updates since the last reset, in the caller's slice of n numbers. Reset where a
/// window is to begin, such as at the start of the last tenth of a run, it is the mean of that window.
///
/// ```
/// use rivergram_core::lanes::One;
/// use rivergram_core::optim::average::RunningMean;
///
/// let mut mean = RunningMean::new();
/// let mut average = [f32::NAN]; // Never read before the first update.
/// for w in [1.0, 2.0, 6.0] {
///     mean.update(One::new(), &[w], &mut average)?;
/// }
/// assert_eq!(average, [3.0]);
/// # Ok::<(), rivergram_core::error::OptimError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RunningMean {
    updates: u64,
}

impl RunningMean {
    const SETUP: Setup = Setup {
        kind: 2,
        numbers: [0; 2],
    };

    /// Of no updates.
    ///
    /// ```
    /// use rivergram_core::optim::average::RunningMean;
    ///
    /// assert_eq!(RunningMean::new().updates(), 0);
    /// ```
    pub const fn new() -> Self {
        RunningMean { updates: 0 }
    }

    /// The mean after so many updates, whose slice is stored by who keeps it. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::optim::average::RunningMean;
    ///
    /// assert_eq!(RunningMean::new().after(7).updates(), 7);
    /// ```
    pub const fn after(self, updates: u64) -> Self {
        RunningMean { updates }
    }

    /// Updates averaged since the last reset.
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::RunningMean;
    ///
    /// let mut mean = RunningMean::new();
    /// mean.update(One::new(), &[1.0_f32], &mut [0.0])?;
    /// assert_eq!(mean.updates(), 1);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Begins anew: the next update sets the average. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::RunningMean;
    ///
    /// let (mut mean, mut average) = (RunningMean::new(), [0.0_f32]);
    /// mean.update(One::new(), &[1.0], &mut average)?;
    /// mean.reset();
    /// mean.update(One::new(), &[5.0], &mut average)?;
    /// assert_eq!(average, [5.0]);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn reset(&mut self) {
        self.updates = 0;
    }

    /// Takes in the weights \[n\] after an update; `average` \[n\] is the slice of all calls.
    ///
    /// Cost: one pass over both.
    ///
    /// # Errors
    /// [`OptimError::Length`].
    ///
    /// ```
    /// use rivergram_core::error::OptimError;
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::RunningMean;
    ///
    /// let (mut mean, mut average) = (RunningMean::new(), [0.0_f32; 2]);
    /// mean.update(One::new(), &[1.0, 2.0], &mut average)?;
    /// mean.update(One::new(), &[2.0, 4.0], &mut average)?;
    /// assert_eq!(average, [1.5, 3.0]);
    /// let short = mean.update(One::new(), &[1.0], &mut average);
    /// assert_eq!(short, Err(OptimError::Length { need: 1, have: 2 }));
    /// # Ok::<(), OptimError>(())
    /// ```
    #[inline(always)]
    pub fn update<I: Isa>(
        &mut self,
        isa: I,
        weights: &[I::Scalar],
        average: &mut [I::Scalar],
    ) -> Result<(), OptimError> {
        check_len(weights.len(), average.len())?;
        self.updates = self.updates.saturating_add(1);
        let gamma = I::Scalar::ONE / count(self.updates);
        blend(isa, gamma, weights, average);
        Ok(())
    }

    /// Bytes that [`RunningMean::save`] writes for n weights of type `T`.
    ///
    /// ```
    /// use rivergram_core::optim::average::RunningMean;
    ///
    /// let empty = RunningMean::saved_len::<f32>(0);
    /// assert_eq!(RunningMean::saved_len::<f32>(1000), 4000 + empty);
    /// ```
    pub const fn saved_len<T>(n: usize) -> usize {
        saved_len::<T>(n)
    }

    /// Writes counter and average to the start of `to`, in one frame, as [`Ema::save`] does.
    /// Cost: one copy and a checksum.
    ///
    /// # Errors
    /// [`OptimError::Encode`]: fewer bytes than [`RunningMean::saved_len`]; none is then written.
    ///
    /// ```
    /// use rivergram_core::optim::average::RunningMean;
    ///
    /// let mut bytes = [0; RunningMean::saved_len::<f32>(2)];
    /// assert_eq!(RunningMean::new().save(&[0.5_f32, 1.5], &mut bytes), Ok(bytes.len()));
    /// ```
    pub fn save<T: Real>(&self, average: &[T], to: &mut [u8]) -> Result<usize, OptimError> {
        Self::SETUP.save(self.updates, average, to)
    }

    /// Reads what a mean of equal length saved; what follows it in `bytes` is not looked at.
    /// Cost: one copy and a checksum.
    ///
    /// # Errors
    /// [`OptimError::Decode`] for bytes that are cut or damaged, [`OptimError::OtherAverage`].
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::RunningMean;
    ///
    /// let (mut mean, mut average) = (RunningMean::new(), [0.0_f32]);
    /// mean.update(One::new(), &[7.0], &mut average)?;
    /// let mut bytes = [0; RunningMean::saved_len::<f32>(1)];
    /// mean.save(&average, &mut bytes)?;
    ///
    /// let (mut again, mut average) = (RunningMean::new(), [0.0_f32]);
    /// again.load(&mut average, &bytes)?;
    /// assert_eq!((again, average), (mean, [7.0]));
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn load<T: Real>(&mut self, average: &mut [T], bytes: &[u8]) -> Result<(), OptimError> {
        self.updates = Self::SETUP.load(average, bytes)?;
        Ok(())
    }
}

/// The mean of the latest k copies of the weights (LAWA), one taken every so many updates, from a ring of k·n
/// numbers that is the caller's: \[k, n\], row-major, the oldest copy overwritten first.
///
/// ```
/// use rivergram_core::lanes::One;
/// use rivergram_core::optim::average::Lawa;
///
/// let mut lawa = Lawa::new(2, 10)?; // The latest 2 copies, one every 10 updates.
/// let mut ring = [0.0_f32; 2 * 3];
/// for step in 1..=30 {
///     let weights = [step as f32, 1.0, -2.0];
///     let taken = lawa.update(&weights, &mut ring)?;
///     assert_eq!(taken, step % 10 == 0);
/// }
/// let mut mean = [0.0; 3];
/// lawa.mean(One::new(), &ring, &mut mean)?;
/// assert_eq!(mean, [25.0, 1.0, -2.0]); // Of updates 20 and 30.
/// # Ok::<(), rivergram_core::error::OptimError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Lawa {
    copies: usize,
    every: u64,
    updates: u64,
}

impl Lawa {
    /// Of the latest `copies` copies, one taken at every `every`-th update. Cost: O(1).
    ///
    /// # Errors
    /// [`OptimError::Window`] where one of them is 0.
    ///
    /// ```
    /// use rivergram_core::error::OptimError;
    /// use rivergram_core::optim::average::Lawa;
    ///
    /// assert!(Lawa::new(5, 1000).is_ok());
    /// assert_eq!(Lawa::new(0, 1000), Err(OptimError::Window { copies: 0, every: 1000 }));
    /// ```
    pub const fn new(copies: usize, every: u64) -> Result<Self, OptimError> {
        if copies == 0 || every == 0 {
            return Err(OptimError::Window { copies, every });
        }
        Ok(Lawa {
            copies,
            every,
            updates: 0,
        })
    }

    /// Numbers of the ring for n weights: k·n.
    ///
    /// ```
    /// use rivergram_core::optim::average::Lawa;
    ///
    /// assert_eq!(Lawa::new(5, 1000)?.ring_len(40), 200);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub const fn ring_len(&self, n: usize) -> usize {
        self.copies.saturating_mul(n)
    }

    /// The window after so many updates, whose ring is stored by who keeps it. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::optim::average::Lawa;
    ///
    /// assert_eq!(Lawa::new(2, 10)?.after(30).held(), 2);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub const fn after(self, updates: u64) -> Self {
        Lawa { updates, ..self }
    }

    /// Updates seen so far.
    ///
    /// ```
    /// use rivergram_core::optim::average::Lawa;
    ///
    /// let mut lawa = Lawa::new(2, 10)?;
    /// lawa.update(&[1.0_f32], &mut [0.0; 2])?;
    /// assert_eq!(lawa.updates(), 1);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Copies in the ring, at most k. Cost: one division of integers.
    ///
    /// ```
    /// use rivergram_core::optim::average::Lawa;
    ///
    /// let mut lawa = Lawa::new(2, 1)?;
    /// let mut held = [0; 4];
    /// for held in &mut held {
    ///     lawa.update(&[1.0_f32], &mut [0.0; 2])?;
    ///     *held = lawa.held();
    /// }
    /// assert_eq!(held, [1, 2, 2, 2]);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn held(&self) -> usize {
        let taken = self.updates.checked_div(self.every).unwrap_or_default();
        usize::try_from(taken).map_or(self.copies, |taken| taken.min(self.copies))
    }

    /// Counts an update, after which the weights \[n\] are these, and copies them into the ring \[k, n\] where one
    /// is due; whether it did.
    ///
    /// Cost: a division in `u64`; one pass over the weights where a copy is due.
    ///
    /// # Errors
    /// [`OptimError::Length`].
    ///
    /// ```
    /// use rivergram_core::optim::average::Lawa;
    ///
    /// let (mut lawa, mut ring) = (Lawa::new(2, 1)?, [0.0_f32; 2]);
    /// for w in [1.0, 2.0, 3.0] {
    ///     assert!(lawa.update(&[w], &mut ring)?);
    /// }
    /// assert_eq!(ring, [3.0, 2.0]);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn update<T: Real>(&mut self, weights: &[T], ring: &mut [T]) -> Result<bool, OptimError> {
        check_len(self.ring_len(weights.len()), ring.len())?;
        let updates = self.updates.saturating_add(1);
        let due = updates.checked_rem(self.every) == Some(0) && updates > self.updates;
        self.updates = updates;
        if due && let Some(slot) = self.newest() {
            let mut rows = ring.rows_mut(weights.len());
            if let Some(row) = rows.nth(slot) {
                copy(weights, row);
            }
        }
        Ok(due)
    }

    /// The row of the latest copy; none before the first.
    fn newest(&self) -> Option<usize> {
        let taken = self.updates.checked_div(self.every)?;
        let slot = taken.checked_sub(1)?.checked_rem(self.copies as u64)?;
        usize::try_from(slot).ok()
    }

    /// Writes the mean of the copies in `ring` \[k, n\] to `mean` \[n\]; returns how many they are. With none,
    /// nothing is written.
    ///
    /// It is the latest copy plus the mean of the others' differences from it: where the copies agree in their
    /// first digits, which is where averaging is of use, the mean is right to its last bit or nearly so. A
    /// difference that overflows makes the mean infinite or NaN.
    /// Cost: k passes over n numbers.
    ///
    /// # Errors
    /// [`OptimError::Length`].
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::Lawa;
    ///
    /// let (mut lawa, mut ring) = (Lawa::new(4, 1)?, [0.0_f32; 4]);
    /// let mut mean = [0.0];
    /// assert_eq!(lawa.mean(One::new(), &ring, &mut mean), Ok(0));
    /// lawa.update(&[1.0], &mut ring)?;
    /// lawa.update(&[4.0], &mut ring)?;
    /// assert_eq!(lawa.mean(One::new(), &ring, &mut mean), Ok(2));
    /// assert_eq!(mean, [2.5]);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    #[inline(always)]
    pub fn mean<I: Isa>(
        &self,
        isa: I,
        ring: &[I::Scalar],
        mean: &mut [I::Scalar],
    ) -> Result<usize, OptimError> {
        check_len(self.ring_len(mean.len()), ring.len())?;
        let (held, width) = (self.held(), mean.len().max(1));
        let latest = self.newest().and_then(|slot| ring.rows(width).nth(slot));
        let Some(latest) = latest else {
            return Ok(held);
        };
        mean.fill(I::Scalar::ZERO);
        for row in ring.rows(width).take(held) {
            add_difference(isa, row, latest, mean);
        }
        let share = isa.splat(I::Scalar::ONE / I::Scalar::from_usize(held));
        for (mean, latest) in isa.pieces_mut(mean).zip(isa.pieces(latest)) {
            isa.store(share.mul_add(isa.load(mean), isa.load(latest)), mean);
        }
        Ok(held)
    }

    /// Bytes that [`Lawa::save`] writes for n weights of type `T`.
    ///
    /// ```
    /// use rivergram_core::optim::average::Lawa;
    ///
    /// let lawa = Lawa::new(5, 1000)?;
    /// assert_eq!(lawa.saved_len::<f32>(100), 4 * 500 + lawa.saved_len::<f32>(0));
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub const fn saved_len<T>(&self, n: usize) -> usize {
        saved_len::<T>(self.ring_len(n))
    }

    /// Writes counter and ring to the start of `to`, in one frame, as [`Ema::save`] does.
    /// Cost: one copy and a checksum.
    ///
    /// # Errors
    /// [`OptimError::Encode`]: fewer bytes than [`Lawa::saved_len`]; none is then written.
    ///
    /// ```
    /// use rivergram_core::optim::average::Lawa;
    ///
    /// let lawa = Lawa::new(2, 10)?;
    /// let mut bytes = [0; 256];
    /// assert_eq!(lawa.save(&[0.0_f32; 2 * 3], &mut bytes), Ok(lawa.saved_len::<f32>(3)));
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn save<T: Real>(&self, ring: &[T], to: &mut [u8]) -> Result<usize, OptimError> {
        self.setup().save(self.updates, ring, to)
    }

    /// Reads what a window of equal settings and length saved; what follows it in `bytes` is not looked at.
    /// Cost: one copy and a checksum.
    ///
    /// # Errors
    /// [`OptimError::Decode`] for bytes that are cut or damaged, [`OptimError::OtherAverage`].
    ///
    /// ```
    /// use rivergram_core::optim::average::Lawa;
    ///
    /// let (mut lawa, mut ring) = (Lawa::new(2, 1)?, [0.0_f32; 2]);
    /// lawa.update(&[3.0], &mut ring)?;
    /// let mut bytes = [0; 256];
    /// lawa.save(&ring, &mut bytes)?;
    ///
    /// let (mut again, mut ring) = (Lawa::new(2, 1)?, [9.0_f32; 2]);
    /// again.load(&mut ring, &bytes)?;
    /// assert_eq!((again, ring), (lawa, [3.0, 0.0]));
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn load<T: Real>(&mut self, ring: &mut [T], bytes: &[u8]) -> Result<(), OptimError> {
        self.updates = self.setup().load(ring, bytes)?;
        Ok(())
    }

    fn setup(&self) -> Setup {
        Setup {
            kind: 3,
            numbers: [self.copies as u64, self.every],
        }
    }
}

/// sum += row − base.
#[inline(always)]
fn add_difference<I: Isa>(isa: I, row: &[I::Scalar], base: &[I::Scalar], sum: &mut [I::Scalar]) {
    let rows = isa.pieces(row).zip(isa.pieces(base));
    for ((row, base), sum) in rows.zip(isa.pieces_mut(sum)) {
        isa.store(isa.load(sum) + (isa.load(row) - isa.load(base)), sum);
    }
}

/// What a saved average must have in common with the one that reads it, besides the type of its numbers.
struct Setup {
    kind: u8,
    numbers: [u64; 2],
}

/// Bytes of a frame: kind, settings, counter and the numbers.
const fn saved_len<T>(numbers: usize) -> usize {
    numbers
        .saturating_mul(size_of::<T>())
        .saturating_add(OVERHEAD + 1 + 3 * 8)
}

impl Setup {
    /// Half as many numbers of twice the size have as many bytes.
    const fn kind_of<T>(&self) -> u8 {
        if size_of::<T>() == 4 {
            self.kind
        } else {
            self.kind | 0x80
        }
    }

    fn save<T: Real>(
        &self,
        updates: u64,
        values: &[T],
        to: &mut [u8],
    ) -> Result<usize, OptimError> {
        let (need, have) = (saved_len::<T>(values.len()), to.len());
        if have < need {
            return Err(EncodeError::NoSpace { need, have }.into());
        }
        let mut writer = Writer::new(to, MAGIC, VERSION);
        writer.u8(self.kind_of::<T>());
        for number in self.numbers {
            writer.u64(number);
        }
        writer.u64(updates);
        writer.reals(values);
        Ok(writer.finish()?)
    }

    fn load<T: Real>(&self, values: &mut [T], bytes: &[u8]) -> Result<u64, OptimError> {
        let mut reader = Reader::open(bytes, MAGIC, VERSION)?;
        let mut equal = reader.u8()? == self.kind_of::<T>();
        for number in self.numbers {
            equal &= reader.u64()? == number;
        }
        let updates = reader.u64()?;
        let need = values.len().saturating_mul(size_of::<T>());
        if !equal || reader.remaining() != need {
            return Err(OptimError::OtherAverage);
        }
        reader.reals(values)?;
        Ok(updates)
    }
}
