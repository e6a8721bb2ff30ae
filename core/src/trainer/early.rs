//! A decay before its time, such as on a low battery: the state before it is kept, so that its owner picks WSD-S or
//! WSD later.
//!
//! ```text
//! stable ── keep ── decay of so many steps ── the release ──┬── go on from it: WSD-S
//!            └──────────────────────────────────────────────┴── load what was kept: WSD, whose decay was a branch
//! ```
//! Source: arXiv 2410.05192 (WSD-S), arXiv 2404.06395 (WSD).

use super::Trainer;
use crate::lanes::Real;
use crate::schedule::Phase;

/// What came of [`Trainer::decay_early`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum EarlyDecay {
    /// The state was kept, and the decay begins with the next update.
    Begun {
        /// The step (or unit) of the schedule at which it ends: the weights are then the release.
        end: u64,
    },
    /// A decay was running, and now ends no later than asked for. The state before it was to be kept when it began:
    /// nothing was kept now. Of the decay of a budget that ends earlier, the rest is still to come after the release:
    /// from the peak, down to the floor at the budget.
    Running {
        /// Where it ends.
        end: u64,
    },
    /// Nothing decays, and nothing was kept: a length of 0, or the floor after the last budget. The weights are what
    /// there is to release.
    Nothing,
}

impl<T: Real> Trainer<'_, T> {
    /// Begins a decay of `length` steps (or units) with the next update, after `keep` has stored the state from
    /// before it, such as by [`Trainer::save`] into a slot of its own. Where a decay is running already, only its end
    /// moves, if it is later than `length`.
    ///
    /// Step on until [`State::step`](crate::schedule::State::step) has come to the end, and save: that is the decayed
    /// slot. Then go on as WSD-S, or load what was kept and go on as WSD. After a power cut in the decay
    /// [`Trainer::decay_end`] tells the end again.
    ///
    /// Cost: that of `keep`.
    ///
    /// # Errors
    /// Those of `keep`; nothing has then changed.
    ///
    /// ```
    /// # use rivergram_core::eisl::{Batch, Config, Shape};
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::lanes::One;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{EarlyDecay, Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 3 };
    /// # let (config, batch) = (Config::cross_entropy(0.0), Batch::new(shape, &[2]));
    /// let plan = Plan::new(Settings::wsd_s(0.125_f32, 0.01), &[])?; // No known end.
    /// let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// let (mut before, mut decayed) = ([0; 256], [0; 256]);
    /// let keep = |trainer: &Trainer<f32>| trainer.save(&mut before).map(|_| ());
    /// let EarlyDecay::Begun { end } = trainer.decay_early(5, keep)? else { return Ok(()) };
    /// while trainer.schedule().step() < end {
    ///     trainer.transcribe(One::new(), &config, &batch, &[1.0, 0.5])?;
    /// }
    /// trainer.save(&mut decayed)?; // The release. From here on it would be WSD-S;
    /// trainer.load(&before)?; // this makes it WSD.
    /// assert_eq!((trainer.schedule().step(), trainer.schedule().rate()), (0, 0.125));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decay_early<E>(
        &mut self,
        length: u64,
        keep: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<EarlyDecay, E> {
        let asked = self.schedule.step().saturating_add(length);
        if let Some(end) = self.decay_end() {
            let sooner = asked < end && self.schedule.request_decay(length);
            let end = if sooner { asked } else { end };
            return Ok(EarlyDecay::Running { end });
        }
        let mut decaying = self.schedule;
        if !decaying.request_decay(length) {
            return Ok(EarlyDecay::Nothing);
        }
        keep(self)?;
        self.schedule = decaying;
        Ok(EarlyDecay::Begun { end: asked })
    }

    /// The step (or unit) of the schedule at which the running decay ends; none where none is running. Cost: O(1).
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
    /// let mut trainer = Trainer::resume(setup, storage, State::at(&plan, 40), 40)?;
    /// assert_eq!(trainer.decay_end(), None);
    /// trainer.schedule_mut().request_decay(10);
    /// assert_eq!(trainer.decay_end(), Some(50));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decay_end(&self) -> Option<u64> {
        let position = self.schedule.position();
        let left = position.remaining?;
        (position.phase == Phase::Decay).then(|| self.schedule.step().saturating_add(left))
    }
}
