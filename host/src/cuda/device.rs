//! A device, its memory while an operation runs, and what became of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rivergram_cuda_kernels::device::{Element, Global};
use rivergram_cuda_kernels::kernels::tensor::Precision;
use rivergram_cuda_kernels::lanes::F32;

use super::Failure;
use super::driver::{Driver, Numbers, Properties, Room, Task};

/// The most blocks down a grid.
const MOST_DOWN: u32 = 65535;

/// Bytes of a number, and how many there are.
type Size = (u64, usize);

/// A GPU. One operation runs at a time; others wait for it.
pub struct Device {
    properties: Properties,
    state: Mutex<State>,
}

struct State {
    driver: Box<dyn Driver>,
    /// Memory that was given back and is used again.
    spare: BTreeMap<Size, Vec<u64>>,
    failed: Option<Failure>,
    /// The most bytes that an operation plans with.
    limit: Option<u64>,
    /// What the device does of what was asked for.
    precision: Precision,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// The first device of the NVIDIA driver, with the kernels loaded.
    ///
    /// # Errors
    /// What it lacks.
    pub fn open() -> Result<Self, Failure> {
        Ok(Self::on(Box::new(super::nvidia::Nvidia::open()?)))
    }

    /// A device behind a driver.
    pub fn on(driver: Box<dyn Driver>) -> Self {
        Device {
            properties: driver.properties(),
            state: Mutex::new(State {
                driver,
                spare: BTreeMap::new(),
                failed: None,
                limit: None,
                precision: Precision::Exact,
            }),
        }
    }

    /// What it is.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// Lets each operation plan with at most so many bytes; none for all that is free. What needs more goes by in parts.
    pub fn limit(&self, bytes: Option<u64>) {
        self.lock().limit = bytes;
    }

    /// Lets volumes and losses be this precise from now on; at first they are exact. Returns what the device does of it:
    /// before compute capability 8.0 everything stays exact.
    ///
    /// What is rounded are anchors and bases where they are multiplied with each other: |ΔV| ≤ 2e-3 for
    /// [`Precision::Tf32`] and 1e-2 for [`Precision::Bf16`] of unit vectors, near pairs as exact as ever. There is no loss
    /// in bf16: asked for that, it is in TF32.
    ///
    /// ```no_run
    /// use rivergram::cuda::{Device, Precision};
    ///
    /// let device = Device::open()?;
    /// if device.set_precision(Precision::Tf32) == Precision::Exact {
    ///     eprintln!("this GPU has no products in TF32");
    /// }
    /// # Ok::<(), rivergram::cuda::Failure>(())
    /// ```
    pub fn set_precision(&self, precision: Precision) -> Precision {
        let (major, minor) = self.properties.capability;
        let found = precision.on(major, minor);
        self.lock().precision = found;
        found
    }

    /// Gives back the memory that is kept from one operation to the next.
    pub fn release(&self) {
        self.lock().release();
    }

    /// Frees memory of [`Session::keep`].
    pub(super) fn give_back(&self, address: u64) {
        self.lock().driver.free(address);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device for one operation.
    pub(super) fn session(&self) -> Result<Session<'_>, Failure> {
        let state = self.lock();
        match state.failed {
            Some(failure) => Err(failure),
            None => Ok(Session {
                state,
                taken: Vec::new(),
            }),
        }
    }

    /// How precise volumes and losses are, see [`Device::set_precision`].
    pub fn precision(&self) -> Precision {
        self.lock().precision
    }

    /// How many blocks keep all multiprocessors busy.
    pub(super) fn waves(&self) -> u32 {
        self.properties.multiprocessors.clamp(1, 1 << 12) * 4
    }
}

impl State {
    fn allocate(&mut self, (bytes, numbers): Size) -> Result<u64, Failure> {
        match bytes {
            2 => self.driver.allocate_halves(numbers),
            _ => self.driver.allocate(numbers),
        }
    }

    fn release(&mut self) {
        for address in std::mem::take(&mut self.spare).into_values().flatten() {
            self.driver.free(address);
        }
    }

    /// Notes what makes every later call fail.
    fn noted<T>(&mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(failure) = result
            && failure.is_lasting()
        {
            self.failed = Some(failure);
        }
        result
    }
}

/// Where an operation's memory is, and what runs on it: in turn, nothing waits.
pub(super) trait Queue {
    /// Memory for numbers of which nothing is known.
    fn room<T: Element>(&mut self, len: usize) -> Result<Global<T>, Failure>;

    /// Zeros over a view.
    fn zero(&mut self, view: Global<F32>) -> Result<(), Failure>;

    /// A kernel on these blocks.
    fn launch(&mut self, task: &Task, blocks: [u32; 2]) -> Result<(), Failure>;
}

/// Words of memory for so many numbers: what follows is aligned to 16 bytes, as copies of tensor cores' operands have to be.
pub(super) const fn place<T: Element>(len: usize) -> u64 {
    let words = match T::BYTES {
        2 => len.div_ceil(2),
        _ => len,
    };
    (words as u64).next_multiple_of(4)
}

/// Counts words; it has none.
#[derive(Default)]
pub(super) struct Counted {
    words: u64,
}

impl Counted {
    /// How many there were.
    pub(super) fn words(&self) -> u64 {
        self.words
    }

    /// What some work takes of a queue; of what cannot be counted `u64::MAX`.
    pub(super) fn of<T>(work: impl FnOnce(&mut Counted) -> Result<T, Failure>) -> u64 {
        let mut counted = Counted::default();
        work(&mut counted).map_or(u64::MAX, |_| counted.words)
    }
}

impl Queue for Counted {
    fn room<T: Element>(&mut self, len: usize) -> Result<Global<T>, Failure> {
        self.words = self.words.saturating_add(place::<T>(len));
        Ok(Global::new(0, len as u64))
    }

    fn zero(&mut self, _: Global<F32>) -> Result<(), Failure> {
        Ok(())
    }

    fn launch(&mut self, _: &Task, _: [u32; 2]) -> Result<(), Failure> {
        Ok(())
    }
}

/// Refuses a grid that no device takes, such as one of no blocks.
pub(super) fn check_blocks([across, down]: [u32; 2]) -> Result<(), Failure> {
    if across == 0 || down == 0 {
        return Err(Failure::Input);
    }
    if across > i32::MAX as u32 || down > MOST_DOWN {
        return Err(Failure::Size);
    }
    Ok(())
}

/// The device, held by one operation. Its memory goes back when it is dropped.
pub(super) struct Session<'a> {
    state: MutexGuard<'a, State>,
    taken: Vec<(Size, u64)>,
}

impl Queue for Session<'_> {
    fn room<T: Element>(&mut self, len: usize) -> Result<Global<T>, Failure> {
        if len == 0 {
            return Ok(Global::new(0, 0));
        }
        let state = &mut *self.state;
        let size = (T::BYTES, len);
        let spare = state.spare.get_mut(&size).and_then(Vec::pop);
        let address = match spare {
            Some(address) => address,
            None => {
                let mut found = state.allocate(size);
                if matches!(found, Err(Failure::Memory { .. })) && !state.spare.is_empty() {
                    state.release();
                    found = state.allocate(size);
                }
                state.noted(found)?
            }
        };
        self.taken.push((size, address));
        Ok(Global::new(address, len as u64))
    }

    fn zero(&mut self, view: Global<F32>) -> Result<(), Failure> {
        let done = self.state.driver.zero(view.at(0), view.len());
        self.state.noted(done)
    }

    fn launch(&mut self, task: &Task, blocks: [u32; 2]) -> Result<(), Failure> {
        check_blocks(blocks)?;
        let done = self.state.driver.launch(task.launch(blocks), task);
        self.state.noted(done)
    }
}

impl Session<'_> {
    /// How precise volumes and losses are.
    pub(super) fn precision(&self) -> Precision {
        self.state.precision
    }

    /// Bytes that the operation may take: what is free, and what is kept, less a tenth.
    pub(super) fn budget(&mut self) -> Result<u64, Failure> {
        let free = self.state.driver.free_bytes();
        let free = self.state.noted(free)?;
        let kept = |((bytes, numbers), blocks): (&Size, &Vec<u64>)| {
            (bytes * *numbers as u64).next_multiple_of(4) * blocks.len() as u64
        };
        let kept: u64 = self.state.spare.iter().map(kept).sum();
        let budget = (free + kept) / 10 * 9;
        Ok(self.state.limit.map_or(budget, |limit| limit.min(budget)))
    }

    /// A copy of some numbers.
    pub(super) fn copy<T: Element>(&mut self, numbers: Numbers<'_>) -> Result<Global<T>, Failure> {
        let to = self.room(numbers.len())?;
        self.upload(numbers, to)?;
        Ok(to)
    }

    /// Overwrites the start of a view.
    pub(super) fn upload<T: Element>(
        &mut self,
        numbers: Numbers<'_>,
        to: Global<T>,
    ) -> Result<(), Failure> {
        if numbers.is_empty() {
            return Ok(());
        }
        let done = self.state.driver.upload(numbers, to.at(0));
        self.state.noted(done)
    }

    /// Waits, and copies what is wanted.
    pub(super) fn download(&mut self, parts: &mut [(u64, Room<'_>)]) -> Result<(), Failure> {
        let done = self.state.driver.download(parts);
        self.state.noted(done)
    }

    /// Memory that outlives the operation.
    pub(super) fn keep<T: Element>(&mut self, len: usize) -> Result<u64, Failure> {
        let view = self.room::<T>(len.max(1))?;
        self.taken.pop();
        Ok(view.at(0))
    }

    /// Takes kernels and memory of the caller's: raw handles.
    pub(super) fn driver(&mut self) -> &mut dyn Driver {
        &mut *self.state.driver
    }

    /// Notes what makes every later call fail.
    pub(super) fn noted<T>(&mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        self.state.noted(result)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        for (size, address) in self.taken.drain(..) {
            self.state.spare.entry(size).or_default().push(address);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.release();
    }
}

/// Halves the larger of two counts until what they need fits.
pub(super) fn split(
    mut counts: [usize; 2],
    budget: u64,
    bytes: impl Fn([usize; 2]) -> u64,
) -> Result<[usize; 2], Failure> {
    loop {
        let need = bytes(counts);
        if need <= budget {
            return Ok(counts);
        }
        let larger = usize::from(counts[1] > counts[0]);
        if counts[larger] <= 1 {
            return Err(Failure::Memory { need, free: budget });
        }
        counts[larger] = counts[larger].div_ceil(2);
    }
}

/// A size as kernels count.
pub(super) fn count(n: usize) -> Result<u32, Failure> {
    u32::try_from(n).map_err(|_| Failure::Size)
}

/// Whether the tiles of a matrix, and its rows and columns, can be counted in 32 bits.
pub(super) fn countable(sizes: &[usize]) -> Result<(), Failure> {
    let product = sizes.iter().try_fold(1_usize, |all, n| all.checked_mul(*n));
    product
        .filter(|n| *n <= u32::MAX as usize)
        .map(|_| ())
        .ok_or(Failure::Size)
}
