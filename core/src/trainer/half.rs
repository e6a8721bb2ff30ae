//! Weights that are kept in 16 bits and rounded stochastically after every update.
//!
//! ```text
//! w (f32) = widen(stored) ── step ──> w − u ── stochastic ──> stored ── widen ──> w
//! warning: floor · |d| < ½·ulp(w) for most weights that move,  d = u / rate
//! ```
//! The parameters of the trainer are those of the 16 bits at every step, so what lasts is half as large. See
//! [`crate::optim::rounding`] for formats and source.

use super::Trainer;
use crate::error::OptimError;
use crate::optim::rounding::Half;

/// What one rounding did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Rounded {
    /// Weights whose update was not 0.
    pub moved: usize,
    /// Those of them that rounding to nearest would have left as they were.
    pub lost: usize,
    /// Those of them that it would leave as they are at the floor of the schedule, with the same direction.
    pub lost_at_floor: usize,
}

impl Rounded {
    /// Whether most weights that move would be lost at the floor: the tail of a decay needs stochastic rounding, or
    /// a higher floor. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::trainer::Rounded;
    ///
    /// assert!(Rounded { moved: 9, lost: 0, lost_at_floor: 5 }.warns());
    /// assert!(!Rounded { moved: 9, lost: 0, lost_at_floor: 4 }.warns());
    /// ```
    pub fn warns(&self) -> bool {
        self.lost_at_floor > self.moved / 2
    }
}

impl Trainer<'_, f32> {
    /// Takes the weights from 16 bits, \[n\], such as after power came back. Cost: one conversion per weight.
    ///
    /// # Errors
    /// [`OptimError::Length`].
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// trainer.widen(Half::F16, &[0x3c00; 9])?;
    /// assert_eq!(trainer.parameters(), [1.0; 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn widen(&mut self, half: Half, stored: &[u16]) -> Result<(), OptimError> {
        half.load(stored, self.storage.parameters)
    }

    /// Rounds the weights to 16 bits into `stored` \[n\], which holds those from before the update, and goes on with
    /// the rounded ones. To be called after every update, with its rate ([`Step::rate`](super::Step::rate)), first
    /// after [`Half::store_nearest`] and [`Trainer::widen`]; `random` is called once for each weight and returns 32
    /// uniform bits.
    ///
    /// What an update was is told by the weights before and after it, so the counts hold for every optimizer, with
    /// clipping and weight decay, and without a buffer for the gradient. A floor or a rate of 0 moves nothing, and is
    /// not counted as a loss.
    ///
    /// Cost: four roundings per weight.
    ///
    /// # Errors
    /// [`OptimError::Length`]; [`OptimError::TooLarge`]: a weight beyond the largest number of the format. Nothing has
    /// then changed.
    ///
    /// ```
    /// # use rivergram_core::eisl::{Batch, Config, Shape};
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::lanes::One;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::wsd_s(0.0625_f32, 0.0001), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// # let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 3 };
    /// # let (config, batch) = (Config::cross_entropy(0.0), Batch::new(shape, &[2]));
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// let mut stored = [0; 9];
    /// Half::F16.store_nearest(trainer.parameters(), &mut stored)?;
    /// trainer.widen(Half::F16, &stored)?;
    /// let mut random = 1_u32;
    /// let mut bits = || {
    ///     random = random.wrapping_mul(747796405).wrapping_add(2891336453);
    ///     random
    /// };
    /// let (step, _) = trainer.transcribe(One::new(), &config, &batch, &[1.0, 0.5])?;
    /// let rounded = trainer.round(Half::F16, &mut stored, step.rate, &mut bits)?;
    /// // Lion moves by the rate, 1/16. Of a floor of 1e-4 nothing would be left beside 0.5.
    /// assert_eq!((rounded.moved, rounded.lost, rounded.lost_at_floor), (9, 0, 9));
    /// assert!(rounded.warns());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn round(
        &mut self,
        half: Half,
        stored: &mut [u16],
        rate: f32,
        mut random: impl FnMut() -> u32,
    ) -> Result<Rounded, OptimError> {
        let (need, have) = (self.storage.parameters.len(), stored.len());
        if need != have {
            return Err(OptimError::Length { need, have });
        }
        let too_large = |w: &f32| half.nearest(*w) & 0x7fff >= half.infinity();
        for (index, w) in (0..need).zip(&*self.storage.parameters) {
            if too_large(w) {
                return Err(OptimError::TooLarge { index });
            }
        }
        let floor = self.schedule.plan().settings().floor;
        let to_floor = if rate > 0.0 { floor / rate } else { 0.0 };
        let mut rounded = Rounded::default();
        for (w, stored) in self.storage.parameters.iter_mut().zip(stored) {
            let before = *stored;
            let update = half.widen(before) - *w;
            let (moves, at_floor) = (update != 0.0, update * to_floor);
            let is_lost = |update| update == 0.0 || half.loses(before, update);
            for (count, counted) in [
                (&mut rounded.moved, moves),
                (&mut rounded.lost, moves && is_lost(update)),
                (
                    &mut rounded.lost_at_floor,
                    moves && to_floor > 0.0 && is_lost(at_floor),
                ),
            ] {
                *count = count.saturating_add(usize::from(counted));
            }
            *stored = half.stochastic(*w, random());
            *w = half.widen(*stored);
        }
        Ok(rounded)
    }
}
