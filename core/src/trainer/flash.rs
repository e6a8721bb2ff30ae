//! A trainer's state as parts of a commit, see [`crate::flash`].

use super::Trainer;
use crate::encode::{OVERHEAD, Reader, Writer};
use crate::error::TrainError;
use crate::flash::{Part, PartMut};
use crate::lanes::Real;
use crate::schedule::State;

const MAGIC: [u8; 4] = *b"rgTH";
const VERSION: u32 = 1;

/// Hash of the setup and updates in a frame, then the schedule's. In double precision, which is the longest.
const LENGTH: usize = OVERHEAD + 4 + 8 + State::<f64>::SAVED_LEN;

/// What a trainer's state begins with, before the weights: which setup it is of, the count of updates, and the state
/// of the schedule, which counts steps or units.
///
/// A commit of a training and of what belongs to it, and the way back after the power came back:
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
/// # let mut trainer = Trainer::new(setup, storage, State::at(&plan, 7))?;
/// use rivergram_core::flash::{Layout, Part, PartMut, RamFlash, Slot, Store};
/// use rivergram_core::trainer::SavedHead;
///
/// # let mut memory = [0xff; 8192];
/// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
/// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
/// let mut store = Store::open(&mut flash, &layout)?;
/// let random = 42_u32; // The state of a generator.
/// let head = trainer.head();
/// let [head, weights, moments] = trainer.parts(&head);
/// let parts = [head, weights, moments, Part::Bytes(&random.to_le_bytes())];
/// store.commit(&mut flash, &[Slot::Latest], &parts)?;
///
/// let (mut head, mut random) = (SavedHead::new(), [0; 4]);
/// store.load_start(&mut flash, Slot::Latest, head.bytes_mut())?;
/// let [head, weights, moments] = trainer.parts_mut(&mut head)?; // Refuses another setup and another plan.
/// let mut parts = [head, weights, moments, PartMut::Bytes(&mut random)];
/// store.load(&mut flash, Slot::Latest, &mut parts)?;
/// assert_eq!((trainer.schedule().step(), u32::from_le_bytes(random)), (7, 42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SavedHead([u8; LENGTH]);

impl Default for SavedHead {
    fn default() -> Self {
        Self::new()
    }
}

impl SavedHead {
    /// Room for one that is to be read.
    ///
    /// ```
    /// use rivergram_core::trainer::SavedHead;
    ///
    /// assert!(SavedHead::new().bytes_mut().len() <= 128);
    /// ```
    pub const fn new() -> Self {
        SavedHead([0; LENGTH])
    }

    /// Its bytes, to read into.
    ///
    /// ```
    /// use rivergram_core::trainer::SavedHead;
    ///
    /// let mut head = SavedHead::new();
    /// head.bytes_mut().fill(0xff);
    /// assert_ne!(head, SavedHead::new());
    /// ```
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl<T: Real> Trainer<'_, T> {
    /// What is stored besides weights and moments. Cost: that of [`State::save`] and a hash of the setup.
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
    /// # let trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// assert_eq!(trainer.head(), trainer.head());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn head(&self) -> SavedHead {
        let mut head = SavedHead::new();
        let mut writer = Writer::new(&mut head.0, MAGIC, VERSION);
        writer.u32(self.setup.hash());
        writer.u64(self.updates);
        // There is room for both frames.
        let frame = writer.finish().unwrap_or(0);
        let rest = head.0.get_mut(frame..).unwrap_or_default();
        let _ = self.schedule.save(rest);
        head
    }

    /// The whole state, to be committed: its head, the weights of all heads, the moments of the optimizer. Cost: O(1).
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
    /// # let trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// use rivergram_core::flash::Part;
    ///
    /// let head = trainer.head();
    /// assert_eq!(trainer.parts(&head)[1], Part::Numbers(&[0.5; 9]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parts<'s>(&'s self, head: &'s SavedHead) -> [Part<'s, T>; 3] {
        [
            Part::Bytes(&head.0),
            Part::Numbers(self.storage.parameters),
            Part::Numbers(self.storage.moments),
        ]
    }

    /// Goes on from a head that was read, and gives what is still to be read into: the head again, weights, moments.
    /// Until they are, the trainer has counts that are not those of its weights. Cost: two checksums of the head.
    ///
    /// # Errors
    /// A head that is of another setup, or of a trainer under another schedule, with the part that differs. After an
    /// error nothing has changed.
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
    /// use rivergram_core::trainer::SavedHead;
    ///
    /// let mut saved = trainer.head();
    /// assert_eq!(trainer.parts_mut(&mut saved)?[1].bytes(), 9 * 4);
    /// assert!(trainer.parts_mut(&mut SavedHead::new()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parts_mut<'s>(
        &'s mut self,
        head: &'s mut SavedHead,
    ) -> Result<[PartMut<'s, T>; 3], TrainError> {
        let mut reader = Reader::open(&head.0, MAGIC, VERSION)?;
        if reader.u32()? != self.setup.hash() {
            return Err(TrainError::OtherTrainer);
        }
        let updates = reader.u64()?;
        let rest = head.0.get(reader.frame_len()..).unwrap_or(&[]);
        self.schedule = State::load(self.schedule.plan(), rest)?;
        self.updates = updates;
        Ok([
            PartMut::Bytes(&mut head.0),
            PartMut::Numbers(self.storage.parameters),
            PartMut::Numbers(self.storage.moments),
        ])
    }
}
