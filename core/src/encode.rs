//! State to bytes and back, over the caller's slices.
//!
//! One frame, little endian: magic (4 bytes), version (u32), length of the payload (u32), payload,
//! CRC-32 of everything before it (IEEE 802.3, the polynomial of zlib and PNG). A frame knows its
//! length, so frames can stand one after the other in one buffer, or at the start of a larger slot.
//!
//! ```
//! use rivergram_core::encode::{Reader, Writer};
//!
//! let mut buffer = [0; 32];
//! let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
//! writer.u64(42);
//! let length = writer.finish()?;
//!
//! let mut reader = Reader::open(&buffer[..length], *b"DEMO", 1)?;
//! assert_eq!(reader.u64()?, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::error::{DecodeError, EncodeError};
use crate::lanes::Real;

/// Bytes before the payload.
const HEADER: usize = 12;
/// Bytes after the payload.
const TRAILER: usize = 4;
/// Bytes that a frame adds to its payload.
pub const OVERHEAD: usize = HEADER + TRAILER;

/// CRC-32 of four bits at a time: 64 bytes of flash.
const NIBBLES: [u32; 16] = {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// A running CRC-32.
#[derive(Clone, Copy, Debug)]
pub struct Crc32(u32);

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc32 {
    /// Of no bytes.
    ///
    /// ```
    /// assert_eq!(rivergram_core::encode::Crc32::new().value(), 0);
    /// ```
    pub const fn new() -> Self {
        Crc32(u32::MAX)
    }

    /// Takes in more bytes. Cost: two steps of four bits per byte.
    ///
    /// ```
    /// use rivergram_core::encode::{Crc32, crc32};
    ///
    /// let mut crc = Crc32::new();
    /// crc.update(b"1234");
    /// crc.update(b"56789");
    /// assert_eq!(crc.value(), crc32(b"123456789"));
    /// ```
    pub fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            self.0 = self.0 >> 4 ^ NIBBLES[(self.0 & 15) as usize];
            self.0 = self.0 >> 4 ^ NIBBLES[(self.0 & 15) as usize];
        }
    }

    /// The checksum of all bytes taken in. More can be taken in after it. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::encode::Crc32;
    ///
    /// let mut crc = Crc32::new();
    /// crc.update(b"a");
    /// assert_eq!(crc.value(), 0xe8b7_be43);
    /// ```
    pub const fn value(self) -> u32 {
        !self.0
    }
}

/// The CRC-32 of `bytes`: IEEE 802.3, reflected, with the polynomial 0x04c11db7. Cost: two look-ups in a
/// table of 16 per byte.
///
/// ```
/// // The check value that catalogues of CRCs give for this one.
/// assert_eq!(rivergram_core::encode::crc32(b"123456789"), 0xcbf4_3926);
/// ```
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc32::new();
    crc.update(bytes);
    crc.value()
}

/// Writes one frame. A buffer that is too small is told by [`Writer::finish`], with the bytes needed.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Begins a frame at the start of `buffer`: `magic` tells the kind of frame, `version` its format. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::encode::{OVERHEAD, Writer};
    ///
    /// let mut buffer = [0; OVERHEAD];
    /// assert_eq!(Writer::new(&mut buffer, *b"DEMO", 1).finish(), Ok(OVERHEAD));
    /// assert_eq!(buffer[..4], *b"DEMO");
    /// ```
    pub fn new(buffer: &'a mut [u8], magic: [u8; 4], version: u32) -> Self {
        let mut writer = Writer { buffer, at: 0 };
        writer.bytes(&magic);
        writer.u32(version);
        // The length, once it is known.
        writer.u32(0);
        writer
    }

    /// Appends bytes as they are. What no longer fits is dropped, and [`Writer::finish`] tells. Cost: one copy.
    ///
    /// ```
    /// use rivergram_core::encode::Writer;
    ///
    /// let mut buffer = [0; 32];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.bytes(b"payload");
    /// writer.finish()?;
    /// assert_eq!(buffer[12..19], *b"payload");
    /// # Ok::<(), rivergram_core::error::EncodeError>(())
    /// ```
    pub fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        put(self.buffer, self.at, bytes);
        self.at = end;
    }

    /// Appends one byte. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::encode::Writer;
    ///
    /// let mut buffer = [0; 32];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.u8(7);
    /// assert_eq!(writer.finish(), Ok(17));
    /// assert_eq!(buffer[12], 7);
    /// ```
    pub fn u8(&mut self, x: u8) {
        self.bytes(&[x]);
    }

    /// Appends a `u32`, lowest byte first. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::encode::Writer;
    ///
    /// let mut buffer = [0; 32];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.u32(0x0102_0304);
    /// assert_eq!(writer.finish(), Ok(20));
    /// assert_eq!(buffer[12..16], [4, 3, 2, 1]);
    /// ```
    pub fn u32(&mut self, x: u32) {
        self.bytes(&x.to_le_bytes());
    }

    /// Appends a `u64`, lowest byte first. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::encode::Writer;
    ///
    /// let mut buffer = [0; 32];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.u64(258);
    /// assert_eq!(writer.finish(), Ok(24));
    /// assert_eq!(buffer[12..20], [2, 1, 0, 0, 0, 0, 0, 0]);
    /// ```
    pub fn u64(&mut self, x: u64) {
        self.bytes(&x.to_le_bytes());
    }

    /// Appends the bits of a number: 4 bytes for an `f32`, 8 for an `f64`. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::encode::Writer;
    ///
    /// let mut buffer = [0; 32];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.real(1.5_f32);
    /// assert_eq!(writer.finish(), Ok(20));
    /// assert_eq!(buffer[12..16], 1.5_f32.to_le_bytes());
    /// ```
    pub fn real<T: Real>(&mut self, x: T) {
        let bits = x.to_bits().to_le_bytes();
        if let Some(bits) = bits.get(..size_of::<T>()) {
            self.bytes(bits);
        }
    }

    /// Appends numbers, one after the other. Their count is not written: the reader knows it. Cost: one copy.
    ///
    /// ```
    /// use rivergram_core::encode::Writer;
    ///
    /// let mut buffer = [0; 32];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.reals(&[1.0_f32, 2.0, 3.0]);
    /// assert_eq!(writer.finish(), Ok(16 + 3 * 4));
    /// ```
    pub fn reals<T: Real>(&mut self, numbers: &[T]) {
        for x in numbers {
            self.real(*x);
        }
    }

    /// Fills in length and checksum, and returns the length of the whole frame. Cost: a checksum of the frame, linear
    /// in its bytes.
    ///
    /// # Errors
    /// [`EncodeError::NoSpace`], with the bytes that the whole frame needs.
    ///
    /// ```
    /// use rivergram_core::{encode::Writer, error::EncodeError};
    ///
    /// let mut buffer = [0; 20];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.u64(42);
    /// assert_eq!(writer.finish(), Err(EncodeError::NoSpace { need: 24, have: 20 }));
    /// ```
    pub fn finish(mut self) -> Result<usize, EncodeError> {
        let no_space = EncodeError::NoSpace {
            need: self.at.saturating_add(TRAILER),
            have: self.buffer.len(),
        };
        let payload = self.at.saturating_sub(HEADER);
        let Ok(length) = u32::try_from(payload) else {
            return Err(no_space);
        };
        put(self.buffer, HEADER - 4, &length.to_le_bytes());
        let Some(frame) = self.buffer.get(..self.at) else {
            return Err(no_space);
        };
        let checksum = crc32(frame);
        self.u32(checksum);
        if self.at > self.buffer.len() {
            return Err(no_space);
        }
        Ok(self.at)
    }
}

/// Writes `bytes` at `at` if they fit.
fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = buffer
        .get_mut(at..)
        .and_then(|rest| rest.get_mut(..bytes.len()))
    {
        for (to, from) in place.iter_mut().zip(bytes) {
            *to = *from;
        }
    }
}

/// Reads one frame whose header and checksum were found right.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    payload: &'a [u8],
    frame: usize,
}

impl<'a> Reader<'a> {
    /// Opens the frame at the start of `bytes`; what follows the frame is not looked at.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], [`DecodeError::BadMagic`], [`DecodeError::Version`],
    /// [`DecodeError::Checksum`]: the first of these that is wrong.
    ///
    /// Cost: one pass over the frame.
    ///
    /// ```
    /// use rivergram_core::encode::{Reader, Writer};
    /// use rivergram_core::error::DecodeError;
    ///
    /// let mut buffer = [0; 32];
    /// let length = Writer::new(&mut buffer, *b"DEMO", 1).finish()?;
    /// assert!(Reader::open(&buffer, *b"DEMO", 1).is_ok());
    /// let newer = Reader::open(&buffer, *b"DEMO", 2).err();
    /// assert_eq!(newer, Some(DecodeError::Version { found: 1, version: 2 }));
    /// buffer[length - 1] ^= 1;
    /// let damaged = Reader::open(&buffer, *b"DEMO", 1);
    /// assert!(matches!(damaged, Err(DecodeError::Checksum { .. })));
    /// # Ok::<(), rivergram_core::error::EncodeError>(())
    /// ```
    pub fn open(bytes: &'a [u8], magic: [u8; 4], version: u32) -> Result<Self, DecodeError> {
        let mut header = Reader {
            payload: bytes,
            frame: 0,
        };
        let truncated = |need| DecodeError::Truncated {
            need,
            have: bytes.len(),
        };
        let found = header.array::<4>().map_err(|_| truncated(OVERHEAD))?;
        if found != magic {
            return Err(DecodeError::BadMagic { found });
        }
        let found = header.u32().map_err(|_| truncated(OVERHEAD))?;
        if found != version {
            return Err(DecodeError::Version { found, version });
        }
        let length = header.u32().map_err(|_| truncated(OVERHEAD))? as usize;
        let end = length.saturating_add(HEADER);
        let frame = end.saturating_add(TRAILER);
        let payload = header.payload.get(..length).ok_or(truncated(frame))?;
        let stored = header
            .payload
            .get(length..)
            .and_then(|rest| rest.first_chunk())
            .ok_or(truncated(frame))?;
        let stored = u32::from_le_bytes(*stored);
        let computed = crc32(bytes.get(..end).ok_or(truncated(frame))?);
        if stored != computed {
            return Err(DecodeError::Checksum { stored, computed });
        }
        Ok(Reader { payload, frame })
    }

    /// Bytes of the whole frame: where the next one begins.
    ///
    /// ```
    /// use rivergram_core::encode::{Reader, Writer};
    ///
    /// let mut buffer = [0; 40];
    /// let first = Writer::new(&mut buffer, *b"ONE ", 1).finish()?;
    /// Writer::new(&mut buffer[first..], *b"TWO ", 1).finish()?;
    /// let next = Reader::open(&buffer, *b"ONE ", 1)?.frame_len();
    /// assert!(Reader::open(&buffer[next..], *b"TWO ", 1).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn frame_len(&self) -> usize {
        self.frame
    }

    /// Bytes of the payload that were not read yet. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::encode::{Reader, Writer};
    ///
    /// let mut buffer = [0; 32];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.u64(42);
    /// writer.finish()?;
    /// let mut reader = Reader::open(&buffer, *b"DEMO", 1)?;
    /// assert_eq!(reader.remaining(), 8);
    /// reader.u32()?;
    /// assert_eq!(reader.remaining(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remaining(&self) -> usize {
        self.payload.len()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.payload.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.payload = rest;
                Ok(*head)
            }
            None => Err(DecodeError::Truncated {
                need: N,
                have: self.payload.len(),
            }),
        }
    }

    /// The next byte. Cost: O(1).
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end of the payload, as for every read.
    ///
    /// ```
    /// use rivergram_core::encode::{Reader, Writer};
    ///
    /// let mut buffer = [0; 32];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.u8(7);
    /// writer.finish()?;
    /// let mut reader = Reader::open(&buffer, *b"DEMO", 1)?;
    /// assert_eq!(reader.u8(), Ok(7));
    /// assert!(reader.u8().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    /// The next `u32`. Cost: O(1).
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    ///
    /// ```
    /// use rivergram_core::encode::{Reader, Writer};
    ///
    /// let mut buffer = [0; 32];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.u32(7);
    /// writer.finish()?;
    /// assert_eq!(Reader::open(&buffer, *b"DEMO", 1)?.u32(), Ok(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next `u64`. Cost: O(1).
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    ///
    /// ```
    /// use rivergram_core::encode::{Reader, Writer};
    ///
    /// let mut buffer = [0; 32];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.u64(1 << 40);
    /// writer.finish()?;
    /// assert_eq!(Reader::open(&buffer, *b"DEMO", 1)?.u64(), Ok(1 << 40));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next number, bit for bit. Its type is not in the bytes: the reader knows it. Cost: O(1).
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    ///
    /// ```
    /// use rivergram_core::encode::{Reader, Writer};
    ///
    /// let mut buffer = [0; 32];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.real(0.1_f64);
    /// writer.finish()?;
    /// assert_eq!(Reader::open(&buffer, *b"DEMO", 1)?.real(), Ok(0.1_f64));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn real<T: Real>(&mut self) -> Result<T, DecodeError> {
        let bits = if size_of::<T>() == 4 {
            u64::from(self.u32()?)
        } else {
            self.u64()?
        };
        Ok(T::from_bits(bits))
    }

    /// The next numbers, as many as `to` holds. Cost: one copy.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`]; the numbers before the end are then in `to`.
    ///
    /// ```
    /// use rivergram_core::encode::{Reader, Writer};
    ///
    /// let mut buffer = [0; 32];
    /// let mut writer = Writer::new(&mut buffer, *b"DEMO", 1);
    /// writer.reals(&[1.0_f32, 2.0]);
    /// writer.finish()?;
    /// let mut numbers = [0.0_f32; 2];
    /// Reader::open(&buffer, *b"DEMO", 1)?.reals(&mut numbers)?;
    /// assert_eq!(numbers, [1.0, 2.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reals<T: Real>(&mut self, to: &mut [T]) -> Result<(), DecodeError> {
        for x in to {
            *x = self.real()?;
        }
        Ok(())
    }
}
