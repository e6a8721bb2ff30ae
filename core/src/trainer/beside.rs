//! An average of the weights beside the stable phase: something to release without a decay.
//!
//! ```text
//! after each update:  a ← average of the weights so far, where the schedule stands in its stable phase
//! ```
//! A decay takes updates, and changes the weights that training goes on from, or is thrown away. An average costs a
//! pass over the weights, and leaves the training as it is. See [`crate::optim::average`] for sources and memory.

use super::Trainer;
use crate::error::OptimError;
use crate::lanes::{Isa, Real};
use crate::optim::average::{Ema, Lawa, RunningMean};
use crate::schedule::Phase;

/// Which average.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Average<T> {
    /// Of every update so far, the older the less: n numbers for n weights.
    Ema(Ema<T>),
    /// Of every update since it was made or reset: n numbers.
    Mean(RunningMean),
    /// Of the latest k copies: k·n numbers.
    Lawa(Lawa),
}

impl<T: Real> Average<T> {
    /// Numbers that it keeps for n weights. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::optim::average::{Lawa, RunningMean};
    /// use rivergram_core::trainer::Average;
    ///
    /// assert_eq!(Average::<f32>::Mean(RunningMean::new()).storage_len(9), 9);
    /// assert_eq!(Average::<f32>::Lawa(Lawa::new(4, 100)?).storage_len(9), 36);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn storage_len(&self, weights: usize) -> usize {
        match self {
            Average::Ema(_) | Average::Mean(_) => weights,
            Average::Lawa(lawa) => lawa.ring_len(weights),
        }
    }

    /// Updates that it has taken in; of a mean since its reset. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::optim::average::RunningMean;
    /// use rivergram_core::trainer::Average;
    ///
    /// assert_eq!(Average::<f32>::Mean(RunningMean::new()).updates(), 0);
    /// ```
    pub fn updates(&self) -> u64 {
        match self {
            Average::Ema(ema) => ema.updates(),
            Average::Mean(mean) => mean.updates(),
            Average::Lawa(lawa) => lawa.updates(),
        }
    }

    /// The average after so many updates, whose numbers are stored by who keeps them. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::optim::average::RunningMean;
    /// use rivergram_core::trainer::Average;
    ///
    /// assert_eq!(Average::<f32>::Mean(RunningMean::new()).after(7).updates(), 7);
    /// ```
    pub fn after(self, updates: u64) -> Self {
        match self {
            Average::Ema(ema) => Average::Ema(ema.after(updates)),
            Average::Mean(mean) => Average::Mean(mean.after(updates)),
            Average::Lawa(lawa) => Average::Lawa(lawa.after(updates)),
        }
    }

    /// Takes in the weights \[n\] after an update, whatever the phase; `storage` \[[`Average::storage_len`]\] is the
    /// slice of all calls.
    ///
    /// Cost: one pass over the weights; of [`Average::Lawa`] only where a copy is due.
    ///
    /// # Errors
    /// [`OptimError::Length`].
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::RunningMean;
    /// use rivergram_core::trainer::Average;
    ///
    /// let (mut average, mut storage) = (Average::Mean(RunningMean::new()), [0.0_f32]);
    /// average.update(One::new(), &[2.0], &mut storage)?;
    /// average.update(One::new(), &[4.0], &mut storage)?;
    /// assert_eq!(storage, [3.0]);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    #[inline(always)]
    pub fn update<I: Isa<Scalar = T>>(
        &mut self,
        isa: I,
        weights: &[T],
        storage: &mut [T],
    ) -> Result<(), OptimError> {
        match self {
            Average::Ema(ema) => ema.update(isa, weights, storage),
            Average::Mean(mean) => mean.update(isa, weights, storage),
            Average::Lawa(lawa) => lawa.update(weights, storage).map(|_| ()),
        }
    }

    /// Writes the averaged weights to `weights` \[n\]; whether there are any, else nothing is written.
    ///
    /// Cost: one pass over the weights, k of them for [`Average::Lawa`].
    ///
    /// # Errors
    /// [`OptimError::Length`].
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::Lawa;
    /// use rivergram_core::trainer::Average;
    ///
    /// let (mut average, mut ring) = (Average::Lawa(Lawa::new(2, 1)?), [0.0_f32; 2]);
    /// let mut release = [0.0];
    /// assert!(!average.read(One::new(), &ring, &mut release)?); // Nothing was averaged yet.
    /// average.update(One::new(), &[2.0], &mut ring)?;
    /// average.update(One::new(), &[4.0], &mut ring)?;
    /// assert!(average.read(One::new(), &ring, &mut release)?);
    /// assert_eq!(release, [3.0]);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    #[inline(always)]
    pub fn read<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        storage: &[T],
        weights: &mut [T],
    ) -> Result<bool, OptimError> {
        if let Average::Lawa(lawa) = self {
            return lawa.mean(isa, storage, weights).map(|held| held > 0);
        }
        let updates = self.updates();
        let (need, have) = (weights.len(), storage.len());
        if need != have {
            return Err(OptimError::Length { need, have });
        }
        if updates > 0 {
            super::copy(storage, weights);
        }
        Ok(updates > 0)
    }

    /// Bytes that [`Average::save`] writes for n weights. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::optim::average::RunningMean;
    /// use rivergram_core::trainer::Average;
    ///
    /// let average = Average::<f32>::Mean(RunningMean::new());
    /// assert_eq!(average.saved_len(9), 9 * 4 + average.saved_len(0));
    /// ```
    pub fn saved_len(&self, weights: usize) -> usize {
        match self {
            Average::Ema(_) => Ema::<T>::saved_len(weights),
            Average::Mean(_) => RunningMean::saved_len::<T>(weights),
            Average::Lawa(lawa) => lawa.saved_len::<T>(weights),
        }
    }

    /// Writes counter and numbers to the start of `to`, in one frame; returns its length. Cost: one copy and a
    /// checksum.
    ///
    /// # Errors
    /// [`OptimError::Encode`]: fewer bytes than [`Average::saved_len`]; none is then written.
    ///
    /// ```
    /// use rivergram_core::optim::average::RunningMean;
    /// use rivergram_core::trainer::Average;
    ///
    /// let average = Average::Mean(RunningMean::new());
    /// let mut bytes = [0; 256];
    /// assert_eq!(average.save(&[0.5_f32; 3], &mut bytes), Ok(average.saved_len(3)));
    /// ```
    pub fn save(&self, storage: &[T], to: &mut [u8]) -> Result<usize, OptimError> {
        match self {
            Average::Ema(ema) => ema.save(storage, to),
            Average::Mean(mean) => mean.save(storage, to),
            Average::Lawa(lawa) => lawa.save(storage, to),
        }
    }

    /// Reads what an average of the same kind, settings and length saved; what follows it in `bytes` is not looked
    /// at. Cost: one copy and a checksum.
    ///
    /// # Errors
    /// [`OptimError::Decode`] for bytes that are cut or damaged, [`OptimError::OtherAverage`].
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::average::RunningMean;
    /// use rivergram_core::trainer::Average;
    ///
    /// let (mut average, mut storage) = (Average::Mean(RunningMean::new()), [0.0_f32]);
    /// average.update(One::new(), &[2.0], &mut storage)?;
    /// let mut bytes = [0; 256];
    /// average.save(&storage, &mut bytes)?;
    ///
    /// let (mut again, mut storage) = (Average::Mean(RunningMean::new()), [0.0_f32]);
    /// again.load(&mut storage, &bytes)?;
    /// assert_eq!((again, storage), (average, [2.0]));
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn load(&mut self, storage: &mut [T], bytes: &[u8]) -> Result<(), OptimError> {
        match self {
            Average::Ema(ema) => ema.load(storage, bytes),
            Average::Mean(mean) => mean.load(storage, bytes),
            Average::Lawa(lawa) => lawa.load(storage, bytes),
        }
    }
}

impl<T: Real> Trainer<'_, T> {
    /// Takes the weights into an average where the next update is one of the stable phase; whether it did. To be
    /// called after every update: the weights of a warmup are not yet worth averaging, and those of a decay are
    /// averaged by the decay itself. `storage` is the average's, [`Average::storage_len`].
    ///
    /// Cost: that of [`Average::update`].
    ///
    /// # Errors
    /// [`OptimError::Length`].
    ///
    /// ```
    /// # use rivergram_core::eisl::{Batch, Config, Shape};
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::lanes::One;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Average, Setup, Storage, Trainer};
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
    /// # let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 3 };
    /// # let (config, batch) = (Config::cross_entropy(0.0), Batch::new(shape, &[2]));
    /// use rivergram_core::optim::average::RunningMean;
    ///
    /// let (mut average, mut mean) = (Average::Mean(RunningMean::new()), [0.0; 9]);
    /// for _ in 0..3 {
    ///     trainer.transcribe(One::new(), &config, &batch, &[1.0, 0.5])?;
    ///     assert!(trainer.average(One::new(), &mut average, &mut mean)?);
    /// }
    /// // Lion has moved each weight of the third token's logit by 1/8, three times.
    /// assert_eq!((trainer.parameters()[4], mean[4]), (0.875, 0.75));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn average<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        average: &mut Average<T>,
        storage: &mut [T],
    ) -> Result<bool, OptimError> {
        let stable = self.schedule.position().phase == Phase::Stable;
        if stable {
            average.update(isa, self.storage.parameters, storage)?;
        }
        Ok(stable)
    }
}
