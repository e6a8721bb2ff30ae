//! A few samples of all that went by, to be trained on again: the guard against forgetting where the data drift.
//!
//! ```text
//! n-th sample:  n ≤ c: into row n − 1
//!               n > c: with probability c/n into a row at random, else not kept
//! after n samples each of them is kept with probability c/n, whatever the order in which they came
//! ```
//! Sources: J. S. Vitter, "Random Sampling with a Reservoir", ACM TOMS 11(1), 1985 (algorithm R); A. Chaudhry et al.,
//! "On Tiny Episodic Memories in Continual Learning" (arXiv 1902.10486) for a reservoir as the memory of a learner.
//!
//! The samples lie in the caller's buffer, \[capacity, length of a sample\], in any memory. What is drawn is a function
//! of the seed and of counters, by SplitMix64's output function (G. L. Steele et al., OOPSLA 2014): no generator
//! runs along, and a reservoir that was saved goes on as it would have.

use crate::encode::{OVERHEAD, Reader, Writer};
use crate::error::{DecodeError, EncodeError, ReplayError};
use crate::lanes::Real;

const MAGIC: [u8; 4] = *b"rgRS";
const VERSION: u32 = 1;

/// A number of a sample, which can be saved: `f32`, `f64`, and integers for features in 8 bits and for labels.
pub trait Number: Copy {
    /// Tells types of one size apart in what is saved; below 16.
    const KIND: u8;
    /// Writes it, in as many bytes as it has. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::{encode::Writer, replay::Number};
    ///
    /// let mut bytes = [0; 17];
    /// let mut writer = Writer::new(&mut bytes, *b"DEMO", 1);
    /// Number::write(-2_i8, &mut writer);
    /// assert_eq!(writer.finish(), Ok(17)); // One byte in a frame.
    /// ```
    fn write(self, writer: &mut Writer<'_>);
    /// Reads what [`Number::write`] wrote. Cost: O(1).
    ///
    /// # Errors
    /// [`DecodeError::Truncated`]: no bytes left.
    ///
    /// ```
    /// use rivergram_core::encode::{Reader, Writer};
    /// use rivergram_core::replay::Number;
    ///
    /// let mut bytes = [0; 17];
    /// let mut writer = Writer::new(&mut bytes, *b"DEMO", 1);
    /// Number::write(-2_i8, &mut writer);
    /// writer.finish()?;
    /// let mut reader = Reader::open(&bytes, *b"DEMO", 1)?;
    /// assert_eq!(Number::read(&mut reader), Ok(-2_i8));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

impl<T: Real> Number for T {
    const KIND: u8 = 0;
    fn write(self, writer: &mut Writer<'_>) {
        writer.real(self);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.real()
    }
}

impl Number for i8 {
    const KIND: u8 = 1;
    fn write(self, writer: &mut Writer<'_>) {
        writer.u8(self.cast_unsigned());
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u8().map(u8::cast_signed)
    }
}

impl Number for u32 {
    const KIND: u8 = 2;
    fn write(self, writer: &mut Writer<'_>) {
        writer.u32(self);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u32()
    }
}

/// Which samples are kept, of all that were offered; 24 bytes on a microcontroller.
///
/// ```
/// use rivergram_core::replay::Reservoir;
///
/// let mut reservoir = Reservoir::new(3, 7)?; // Room for 3 samples, seed 7.
/// let mut samples = [0.0_f32; 3 * 2]; // Of 2 numbers each.
/// for i in 0..100 {
///     reservoir.offer(&[i as f32, -1.0], &mut samples)?;
/// }
/// assert_eq!((reservoir.seen(), reservoir.held()), (100, 3));
///
/// // Two different rows for a batch; another number than 0 draws others.
/// let mut rows = [0; 2];
/// assert_eq!(reservoir.draw(0, &mut rows), 2);
/// assert_ne!(rows[0], rows[1]);
/// # Ok::<(), rivergram_core::error::ReplayError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Reservoir {
    seed: u64,
    capacity: usize,
    seen: u64,
}

/// What random numbers are for: streams of one seed that have nothing to do with each other.
#[derive(Clone, Copy)]
enum Purpose {
    Keep = 1,
    Draw = 2,
}

impl Reservoir {
    /// Of at most `capacity` samples, none yet. Cost: O(1).
    ///
    /// # Errors
    /// [`ReplayError::Capacity`] where that is 0.
    ///
    /// ```
    /// use rivergram_core::error::ReplayError;
    /// use rivergram_core::replay::Reservoir;
    ///
    /// assert!(Reservoir::new(64, 0).is_ok());
    /// assert_eq!(Reservoir::new(0, 0), Err(ReplayError::Capacity));
    /// ```
    pub const fn new(capacity: usize, seed: u64) -> Result<Self, ReplayError> {
        if capacity == 0 {
            return Err(ReplayError::Capacity);
        }
        Ok(Reservoir {
            seed,
            capacity,
            seen: 0,
        })
    }

    /// Samples that there is room for.
    ///
    /// ```
    /// use rivergram_core::replay::Reservoir;
    ///
    /// assert_eq!(Reservoir::new(64, 0)?.capacity(), 64);
    /// # Ok::<(), rivergram_core::error::ReplayError>(())
    /// ```
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// The reservoir after so many samples, whose rows are stored by who keeps them: every decision is a function of
    /// the seed and of how many were seen. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::replay::Reservoir;
    ///
    /// let new = Reservoir::new(2, 7)?;
    /// let mut reservoir = new;
    /// reservoir.admit();
    /// assert_eq!(new.after(reservoir.seen()), reservoir);
    /// # Ok::<(), rivergram_core::error::ReplayError>(())
    /// ```
    pub const fn after(self, seen: u64) -> Self {
        Reservoir { seen, ..self }
    }

    /// Samples that were offered so far.
    ///
    /// ```
    /// use rivergram_core::replay::Reservoir;
    ///
    /// let mut reservoir = Reservoir::new(2, 0)?;
    /// reservoir.offer(&[1.0_f32], &mut [0.0; 2])?;
    /// assert_eq!(reservoir.seen(), 1);
    /// # Ok::<(), rivergram_core::error::ReplayError>(())
    /// ```
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// Samples that are kept: those of rows 0 to this. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::replay::Reservoir;
    ///
    /// let mut reservoir = Reservoir::new(2, 0)?;
    /// let mut held = [0; 4];
    /// for held in &mut held {
    ///     reservoir.admit();
    ///     *held = reservoir.held();
    /// }
    /// assert_eq!(held, [1, 2, 2, 2]);
    /// # Ok::<(), rivergram_core::error::ReplayError>(())
    /// ```
    pub fn held(&self) -> usize {
        usize::try_from(self.seen).map_or(self.capacity, |seen| seen.min(self.capacity))
    }

    /// Counts a sample, and tells the row that it is to be written to, if it is kept: for samples that lie in several
    /// buffers, such as features and a label. [`Reservoir::offer`] does both for one buffer.
    ///
    /// Cost: about a dozen operations of 64 bits, no division.
    ///
    /// ```
    /// use rivergram_core::replay::Reservoir;
    ///
    /// let mut reservoir = Reservoir::new(2, 0)?;
    /// assert_eq!([reservoir.admit(), reservoir.admit()], [Some(0), Some(1)]);
    /// let kept = (0..998).filter(|_| reservoir.admit().is_some()).count();
    /// assert!(kept < 40); // About 2·ln 500.
    /// # Ok::<(), rivergram_core::error::ReplayError>(())
    /// ```
    pub fn admit(&mut self) -> Option<usize> {
        let place = self.seen;
        self.seen = self.seen.saturating_add(1);
        let row = if place < self.capacity as u64 {
            place
        } else {
            below(self.stream(Purpose::Keep, place), self.seen)
        };
        let row = usize::try_from(row).ok()?;
        (row < self.capacity).then_some(row)
    }

    /// Counts a sample, and copies it into its row of `samples` \[capacity, length\] if it is kept; the row.
    ///
    /// Cost: that of [`Reservoir::admit`], and a copy where it is kept.
    ///
    /// # Errors
    /// [`ReplayError::Length`]: `samples` is not the capacity times as long as the sample.
    ///
    /// ```
    /// use rivergram_core::error::ReplayError;
    /// use rivergram_core::replay::Reservoir;
    ///
    /// let (mut reservoir, mut samples) = (Reservoir::new(2, 0)?, [0_i8; 4]);
    /// reservoir.offer(&[1, 2], &mut samples)?;
    /// reservoir.offer(&[3, 4], &mut samples)?;
    /// assert_eq!(samples, [1, 2, 3, 4]);
    /// let long = reservoir.offer(&[5, 6, 7], &mut samples);
    /// assert_eq!(long, Err(ReplayError::Length { need: 6, have: 4 }));
    /// # Ok::<(), ReplayError>(())
    /// ```
    pub fn offer<N: Copy>(
        &mut self,
        sample: &[N],
        samples: &mut [N],
    ) -> Result<Option<usize>, ReplayError> {
        let (need, have) = (self.capacity.saturating_mul(sample.len()), samples.len());
        if need != have {
            return Err(ReplayError::Length { need, have });
        }
        let row = self.admit();
        if let Some(row) = row {
            let mut rows = samples.chunks_exact_mut(sample.len().max(1));
            for (to, from) in rows.nth(row).unwrap_or_default().iter_mut().zip(sample) {
                *to = *from;
            }
        }
        Ok(row)
    }

    /// Fills `rows` with different rows of samples that are kept, all sets of them alike, as a function of the seed
    /// and of `number`, such as that of the update; returns how many, fewer than asked for where fewer are kept.
    /// (R. W. Floyd's method.)
    ///
    /// Cost: the square of their number.
    ///
    /// ```
    /// use rivergram_core::replay::Reservoir;
    ///
    /// let mut reservoir = Reservoir::new(8, 0)?;
    /// let mut rows = [0; 4];
    /// assert_eq!(reservoir.draw(0, &mut rows), 0); // Nothing is kept yet.
    /// (0..3).for_each(|_| _ = reservoir.admit());
    /// assert_eq!(reservoir.draw(0, &mut rows), 3);
    /// # Ok::<(), rivergram_core::error::ReplayError>(())
    /// ```
    pub fn draw(&self, number: u64, rows: &mut [usize]) -> usize {
        let held = self.held();
        let count = held.min(rows.len());
        let stream = self.stream(Purpose::Draw, number);
        for done in 0..count {
            let last = held.saturating_sub(count).saturating_add(done);
            let drawn = below(mix(stream, done as u64), (last as u64).saturating_add(1));
            let drawn = usize::try_from(drawn).unwrap_or(last);
            let (taken, rest) = rows.split_at_mut_checked(done).unwrap_or_default();
            if let Some(row) = rest.first_mut() {
                *row = if taken.contains(&drawn) { last } else { drawn };
            }
        }
        count
    }

    /// Bytes that [`Reservoir::save`] writes for a buffer of so many numbers of type `N`. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::replay::Reservoir;
    ///
    /// let empty = Reservoir::saved_len::<i8>(0);
    /// assert_eq!(Reservoir::saved_len::<i8>(1000), 1000 + empty);
    /// assert_eq!(Reservoir::saved_len::<f32>(1000), 4000 + empty);
    /// ```
    pub const fn saved_len<N>(numbers: usize) -> usize {
        numbers
            .saturating_mul(size_of::<N>())
            .saturating_add(OVERHEAD + 1 + 3 * 8)
    }

    /// Writes counters and samples to the start of `to`, in one frame of [`encode`](crate::encode), so that neither
    /// can be read back without the other; returns its length. Cost: one copy and a checksum.
    ///
    /// # Errors
    /// [`ReplayError::Encode`]: fewer bytes than [`Reservoir::saved_len`]; none is then written.
    ///
    /// ```
    /// use rivergram_core::replay::Reservoir;
    ///
    /// let (mut reservoir, mut samples) = (Reservoir::new(2, 0)?, [0.0_f32; 2]);
    /// reservoir.offer(&[0.5], &mut samples)?;
    /// let mut bytes = [0; Reservoir::saved_len::<f32>(2)];
    /// assert_eq!(reservoir.save(&samples, &mut bytes), Ok(bytes.len()));
    /// # Ok::<(), rivergram_core::error::ReplayError>(())
    /// ```
    pub fn save<N: Number>(&self, samples: &[N], to: &mut [u8]) -> Result<usize, ReplayError> {
        let (need, have) = (Self::saved_len::<N>(samples.len()), to.len());
        if have < need {
            return Err(EncodeError::NoSpace { need, have }.into());
        }
        let mut writer = Writer::new(to, MAGIC, VERSION);
        writer.u8(kind::<N>());
        for number in [self.seed, self.capacity as u64, self.seen] {
            writer.u64(number);
        }
        for number in samples {
            number.write(&mut writer);
        }
        Ok(writer.finish()?)
    }

    /// Reads what a reservoir of the same seed, capacity and buffer saved; what follows it in `bytes` is not looked
    /// at. Cost: one copy and a checksum.
    ///
    /// # Errors
    /// [`ReplayError::Decode`] for bytes that are cut or damaged, [`ReplayError::OtherReservoir`].
    ///
    /// ```
    /// use rivergram_core::replay::Reservoir;
    ///
    /// let (mut reservoir, mut samples) = (Reservoir::new(2, 0)?, [0.0_f32; 2]);
    /// reservoir.offer(&[0.5], &mut samples)?;
    /// let mut bytes = [0; 64];
    /// reservoir.save(&samples, &mut bytes)?;
    ///
    /// let (mut again, mut samples) = (Reservoir::new(2, 0)?, [0.0_f32; 2]);
    /// again.load(&mut samples, &bytes)?;
    /// assert_eq!((again, samples), (reservoir, [0.5, 0.0]));
    /// # Ok::<(), rivergram_core::error::ReplayError>(())
    /// ```
    pub fn load<N: Number>(&mut self, samples: &mut [N], bytes: &[u8]) -> Result<(), ReplayError> {
        let mut reader = Reader::open(bytes, MAGIC, VERSION)?;
        let mut equal = reader.u8()? == kind::<N>();
        for number in [self.seed, self.capacity as u64] {
            equal &= reader.u64()? == number;
        }
        let seen = reader.u64()?;
        let need = samples.len().saturating_mul(size_of::<N>());
        if !equal || reader.remaining() != need {
            return Err(ReplayError::OtherReservoir);
        }
        for number in samples {
            *number = N::read(&mut reader)?;
        }
        self.seen = seen;
        Ok(())
    }

    /// The random bits of a purpose and a place.
    fn stream(&self, purpose: Purpose, place: u64) -> u64 {
        mix(mix(self.seed, purpose as u64), place)
    }
}

/// A number type in one byte: floats and integers, and their size.
const fn kind<N: Number>() -> u8 {
    N::KIND << 4 | size_of::<N>() as u8
}

/// The number at a place of SplitMix64's sequence from a seed.
fn mix(seed: u64, place: u64) -> u64 {
    let step = place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = seed.wrapping_add(step);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Uniform in 0..n from uniform bits, up to n·2⁻⁶⁴: the upper word of their product.
fn below(bits: u64, n: u64) -> u64 {
    (u128::from(bits).wrapping_mul(u128::from(n)) >> 64) as u64
}
