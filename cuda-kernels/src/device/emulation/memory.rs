//! The memory of the emulated device, and what an access to it may find.

use std::cell::RefCell;
use std::rc::Rc;

use super::fault::FaultKind;
use super::visits::{Visitor, Visits};
use crate::device::{Element, Global};
use crate::lanes::F32;

/// A number of memory: of global memory as many bytes as the allocation's numbers have, of shared memory four.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word {
    bits: u32,
    is_written: bool,
    /// A copy into it is on its way.
    is_pending: bool,
    visits: Visits,
}

/// Allocations lie this far apart: no index that a kernel computes by mistake lands in another one.
const APART: u64 = 1 << 40;

/// Numbers of one size.
#[derive(Debug)]
struct Allocation {
    bytes: u64,
    words: Vec<Word>,
}

/// The memory of the emulated device.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) machine: Rc<RefCell<Machine>>,
}

/// Global memory, and that which the block that runs shares.
#[derive(Debug, Default)]
pub(super) struct Machine {
    global: Vec<Allocation>,
    shared: Vec<Word>,
}

/// A number that a thread comes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) shared: bool,
    /// Of shared memory in words.
    pub(super) address: u64,
    /// Of the number.
    pub(super) bytes: u64,
    /// Whether the view has it.
    pub(super) inside: bool,
}

impl Memory {
    /// Nothing is allocated yet.
    pub fn new() -> Self {
        Memory::default()
    }

    fn push<T: Element>(&mut self, words: Vec<Word>) -> Global<T> {
        let mut machine = self.machine.borrow_mut();
        let (bytes, len) = (T::BYTES, words.len() as u64);
        machine.global.push(Allocation { bytes, words });
        Global::new(machine.global.len() as u64 * APART, len)
    }

    /// Room for `len` numbers that nobody has written: to read them is a fault.
    pub fn room<T: Element>(&mut self, len: usize) -> Global<T> {
        self.push(vec![Word::default(); len])
    }

    /// A copy of some numbers.
    pub fn copy<T: Element>(&mut self, numbers: &[T]) -> Global<T> {
        let word = |x: &T| Word {
            bits: x.to_word(),
            is_written: true,
            ..Word::default()
        };
        self.push(numbers.iter().map(word).collect())
    }

    /// A copy of some `f32`.
    pub fn copy_f32(&mut self, numbers: &[f32]) -> Global<F32> {
        let numbers: Vec<F32> = numbers.iter().copied().map(F32).collect();
        self.copy(&numbers)
    }

    /// The numbers of a view; zeros where nobody wrote.
    pub fn numbers<T: Element>(&self, view: Global<T>) -> Vec<T> {
        let mut machine = self.machine.borrow_mut();
        let mut word = |index| {
            let place = Place::of(view, index);
            machine.global(place).map_or(0, |word| word.bits)
        };
        let words: Vec<u32> = (0..view.len()).map(&mut word).collect();
        words.into_iter().map(T::from_word).collect()
    }

    /// The `f32` of a view.
    pub fn numbers_f32(&self, view: Global<F32>) -> Vec<f32> {
        self.numbers(view).into_iter().map(f32::from).collect()
    }

    /// Overwrites the start of a view; what lies outside the memory that was given out is left alone.
    pub fn store<T: Element>(&mut self, to: Global<T>, numbers: &[T]) {
        let mut machine = self.machine.borrow_mut();
        for (index, x) in numbers.iter().take(to.len()).enumerate() {
            if let Ok(word) = machine.global(Place::of(to, index)) {
                (word.bits, word.is_written) = (x.to_word(), true);
            }
        }
    }

    /// Takes back what begins at this address: to use it from now on is a fault.
    pub fn release(&mut self, address: u64) {
        let mut machine = self.machine.borrow_mut();
        let place = usize::try_from(address / APART).unwrap_or(usize::MAX);
        let allocation = place.checked_sub(1);
        if let Some(found) = allocation.and_then(|index| machine.global.get_mut(index)) {
            found.words = Vec::new();
        }
    }
}

impl Place {
    /// A number of global memory.
    pub(super) fn of<T: Element>(view: Global<T>, index: usize) -> Self {
        Place {
            shared: false,
            address: view.at(index),
            bytes: T::BYTES,
            inside: index < view.len(),
        }
    }

    /// Word `index` of shared memory's words from `first` on.
    pub(super) fn of_shared(first: u32, len: u32, index: u32) -> Self {
        Place {
            shared: true,
            address: u64::from(first) + u64::from(index),
            bytes: 4,
            inside: index < len,
        }
    }
}

impl Machine {
    /// A launch begins: what came before it is over.
    pub(super) fn forget_visits(&mut self) {
        for allocation in &mut self.global {
            for word in &mut allocation.words {
                word.visits = Visits::default();
            }
        }
    }

    /// A block begins, with shared memory that nobody has written.
    pub(super) fn share(&mut self, words: u32) {
        self.shared = vec![Word::default(); words as usize];
    }

    fn global(&mut self, place: Place) -> Result<&mut Word, FaultKind> {
        let Place {
            shared, address, ..
        } = place;
        let beyond = FaultKind::OutOfBounds { shared, address };
        let allocation = usize::try_from(address / APART).ok();
        let allocation = allocation.and_then(|at| self.global.get_mut(at.checked_sub(1)?));
        let allocation = allocation.ok_or(beyond)?;
        let offset = address % APART;
        if allocation.bytes != place.bytes || !offset.is_multiple_of(place.bytes) {
            return Err(FaultKind::Misaligned { shared, address });
        }
        let word = usize::try_from(offset / place.bytes).ok();
        word.and_then(|word| allocation.words.get_mut(word))
            .ok_or(beyond)
    }

    fn word(&mut self, place: Place) -> Result<&mut Word, FaultKind> {
        let Place {
            shared, address, ..
        } = place;
        if !place.inside {
            return Err(FaultKind::OutOfBounds { shared, address });
        }
        if !shared {
            return self.global(place);
        }
        let word = self.shared.get_mut(address as usize);
        word.ok_or(FaultKind::OutOfBounds { shared, address })
    }

    /// What is there.
    pub(super) fn read(&mut self, by: Visitor, place: Place) -> Result<u32, FaultKind> {
        let Place {
            shared, address, ..
        } = place;
        let word = self.word(place)?;
        no_race(place, word.visits.read(by))?;
        if word.is_pending {
            return Err(FaultKind::Pending { address });
        }
        if !word.is_written {
            return Err(FaultKind::Uninitialised { shared, address });
        }
        Ok(word.bits)
    }

    /// Other bits there.
    pub(super) fn write(&mut self, by: Visitor, place: Place, bits: u32) -> Result<(), FaultKind> {
        let word = self.word(place)?;
        no_race(place, word.visits.write(by))?;
        if word.is_pending {
            let address = place.address;
            return Err(FaultKind::Pending { address });
        }
        (word.bits, word.is_written) = (bits, true);
        Ok(())
    }

    /// Other bits there, but not before the copy has ended.
    pub(super) fn start_copy(
        &mut self,
        by: Visitor,
        place: Place,
        bits: u32,
    ) -> Result<(), FaultKind> {
        self.write(by, place, bits)?;
        self.word(place)?.is_pending = true;
        Ok(())
    }

    /// A copy has ended; it wrote at any time until now.
    pub(super) fn end_copy(&mut self, by: Visitor, place: Place) -> Result<(), FaultKind> {
        let word = self.word(place)?;
        no_race(place, word.visits.write(by))?;
        word.is_pending = false;
        Ok(())
    }
}

fn no_race(place: Place, other: Option<u32>) -> Result<(), FaultKind> {
    let Place {
        shared, address, ..
    } = place;
    other.map_or(Ok(()), |other| {
        Err(FaultKind::Race {
            shared,
            address,
            other: other - 1,
        })
    })
}
