//! What a stretch of rates amounts to: their sum, and the annealing area.

use core::ops::Range;

use super::{Plan, State};
use crate::encode::{OVERHEAD, Reader, Writer};
use crate::error::{DecodeError, EncodeError};
use crate::lanes::Real;
use crate::ops::Sum;

const VERSION: u32 = 1;

/// The two areas of a run, one rate at a time: the loss follows them (arXiv 2408.11029, equation 1), so
/// runs of equal areas can be compared.
///
/// For rates η₀ … ηₙ and a momentum λ
///
/// ```text
/// S₁ = Σ ηᵢ
/// S₂ = Σᵢ Σ_{k=1..i} (η_{k−1} − η_k)·λ^(i−k)
/// ```
///
/// S₂ is computed as S₂ ← λ·S₂ + (η₀ − ηᵢ): the differences telescope, so no small difference of two
/// near rates is ever taken. Both are kept in two words each, so the sum of 10⁹ rates in `f32` is as good
/// as that of ten. A rise counts as negative annealing: start at the peak to leave a warmup out.
///
/// ```
/// use rivergram_core::schedule::Area;
///
/// let mut area = Area::new(0.001_f64);
/// for rate in [1.0, 1.0, 0.5, 0.0] {
///     area.add(rate);
/// }
/// assert_eq!(area.sum(), 2.5);
/// // 0.5, then 0.999·0.5 + 0.5.
/// assert!((area.annealing() - 1.4995).abs() < 1e-15);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Area<T> {
    forget: T,
    first: Option<T>,
    sum: Sum<T>,
    annealing: Sum<T>,
}

impl<T: Real> Area<T> {
    /// Bytes of saved areas: the sign that there is a first rate, and six numbers.
    pub const SAVED_LEN: usize = OVERHEAD + 1 + 6 * size_of::<T>();

    /// Of no rates, with 1 − λ in \[0, 1\]: `f32` holds that with more digits than λ. The paper's λ are
    /// 0.99 to 0.999. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::Area;
    ///
    /// let area = Area::new(0.001_f32);
    /// assert_eq!((area.sum(), area.annealing()), (0.0, 0.0));
    /// ```
    pub fn new(forget: T) -> Self {
        Area {
            forget,
            first: None,
            sum: Sum::default(),
            annealing: Sum::default(),
        }
    }

    /// Takes in the rate of one more update. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Area, Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::linear(1.0_f32, 0.0), &[4])?;
    /// let (mut state, mut area) = (State::new(&plan), Area::new(0.001));
    /// for _ in 0..4 {
    ///     area.add(state.advance());
    /// }
    /// assert_eq!(area.sum(), 2.5);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    #[inline]
    pub fn add(&mut self, rate: T) {
        let first = *self.first.get_or_insert(rate);
        self.sum = self.sum.plus(rate);
        let Sum { high, low } = self.annealing;
        let forgotten = self.forget * high + self.forget * low;
        self.annealing = self.annealing.plus(first - rate).plus(-forgotten);
    }

    /// S₁, the sum of all rates taken in: rate times updates. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::Area;
    ///
    /// // A plain sum of these would stop at 2²⁴.
    /// let mut area = Area::new(0.001_f32);
    /// area.add(16_777_216.0);
    /// area.add(1.0);
    /// area.add(1.0);
    /// assert_eq!(area.sum(), 16_777_218.0);
    /// ```
    pub fn sum(&self) -> T {
        self.sum.high
    }

    /// S₂, the annealing area: rate times updates. Source: arXiv 2408.11029, equation 1. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::Area;
    ///
    /// let mut area = Area::new(0.5_f32);
    /// for rate in [1.0, 0.5, 0.5] {
    ///     area.add(rate);
    /// }
    /// assert_eq!(area.annealing(), 0.75);
    /// ```
    pub fn annealing(&self) -> T {
        self.annealing.high
    }

    /// Writes the areas to the start of `to` and returns the length, [`Area::SAVED_LEN`]. Cost: O(1).
    ///
    /// # Errors
    /// [`EncodeError::NoSpace`].
    ///
    /// ```
    /// use rivergram_core::schedule::Area;
    ///
    /// let mut saved = [0; Area::<f32>::SAVED_LEN];
    /// assert_eq!(Area::new(0.001_f32).save(&mut saved)?, saved.len());
    /// # Ok::<(), rivergram_core::error::EncodeError>(())
    /// ```
    pub fn save(&self, to: &mut [u8]) -> Result<usize, EncodeError> {
        let mut writer = Writer::new(to, Self::magic(), VERSION);
        writer.u8(u8::from(self.first.is_some()));
        writer.reals(&[
            self.forget,
            self.first.unwrap_or(T::ZERO),
            self.sum.high,
            self.sum.low,
            self.annealing.high,
            self.annealing.low,
        ]);
        writer.finish()
    }

    /// Reads areas that were saved in the same number type; sums go on bit for bit. Cost: O(1).
    ///
    /// # Errors
    /// [`DecodeError`]: bytes that are cut, damaged, or of another kind, number type or version.
    ///
    /// ```
    /// use rivergram_core::schedule::Area;
    ///
    /// let mut area = Area::new(0.001_f32);
    /// area.add(0.3);
    /// let mut saved = [0; Area::<f32>::SAVED_LEN];
    /// area.save(&mut saved)?;
    /// assert_eq!(Area::load(&saved)?, area);
    /// assert!(Area::<f64>::load(&saved).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::open(bytes, Self::magic(), VERSION)?;
        let has_first = reader.u8()? != 0;
        let mut numbers = [T::ZERO; 6];
        reader.reals(&mut numbers)?;
        let [forget, first, high, low, annealing_high, annealing_low] = numbers;
        Ok(Area {
            forget,
            first: has_first.then_some(first),
            sum: Sum { high, low },
            annealing: Sum {
                high: annealing_high,
                low: annealing_low,
            },
        })
    }

    fn magic() -> [u8; 4] {
        if size_of::<T>() == 4 {
            *b"RGA4"
        } else {
            *b"RGA8"
        }
    }
}

impl<T: Real> Plan<'_, T> {
    /// The areas of the rates of steps `steps.start` … `steps.end − 1`, with 1 − λ as in [`Area::new`]:
    /// what [`Area::add`] gives for `lr_at` of each, bit for bit. In a plan that counts tokens this is
    /// one rate per token. Cost: linear in the number of steps.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let plan = Plan::new(Settings::linear(1.0_f64, 0.0), &[4])?;
    /// let area = plan.area(0..6, 0.001);
    /// assert_eq!(area.sum(), 2.5);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn area(&self, steps: Range<u64>, forget: T) -> Area<T> {
        State::at(self, steps.start).area_ahead(steps.end, forget)
    }
}

impl<T: Real> State<'_, T> {
    /// The areas of the updates from the next one to that of step `end − 1`, if nothing else happens
    /// before; the state stays where it is. Cost: linear in the number of steps.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::linear(1.0_f64, 0.0), &[])?;
    /// let mut state = State::at(&plan, 100);
    /// state.request_decay(4);
    /// assert_eq!(state.area_ahead(104, 0.001).sum(), 2.5);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn area_ahead(&self, end: u64, forget: T) -> Area<T> {
        let (mut state, mut area) = (*self, Area::new(forget));
        while state.step() < end {
            area.add(state.advance());
        }
        area
    }
}
