//! NVIDIA's driver, loaded at run time by cudarc. Its calls are `unsafe`: of the crate only this file, the table of them
//! (`calls`), the handles of callers ([`raw`](super::raw)) and mapped files (`map`) have such code.
//!
//! Everything goes to one stream that does not wait for the default stream. Copies go through two pieces of pinned memory
//! in turn, so that the device copies one while the host fills or empties the other.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ptr;

use cudarc::driver::sys;
use rivergram_cuda_kernels::device::Launch;
use rivergram_cuda_kernels::ptx;
use sys::CUdevice_attribute;

use super::Failure;
use super::calls::{Calls, Code};
use super::driver::{Driver, Mark, Numbers, Properties, Room, Task};
use super::failure::OUT_OF_MEMORY;

/// Bytes of a piece of pinned memory.
const PIECE: usize = 4 << 20;

/// A stream that does not wait for the default stream.
const NON_BLOCKING: u32 = 1;

/// An event without a time.
const NO_TIMING: u32 = 2;

/// CUDA_ERROR_NO_DEVICE, CUDA_ERROR_INVALID_PTX.
const NO_DEVICE: Code = 100;
const INVALID_PTX: Code = 218;

fn done(call: &'static str, code: Code) -> Result<(), Failure> {
    match code {
        0 => Ok(()),
        NO_DEVICE => Err(Failure::NoDevice),
        code => Err(Failure::Driver { call, code }),
    }
}

/// The driver, ready for calls, or why not.
fn load() -> Result<&'static Calls, Failure> {
    let calls = Calls::of_driver()?;
    // SAFETY: it takes no pointers.
    done("cuInit", unsafe { (calls.init)(0) })?;
    Ok(calls)
}

/// The first device, what it is, and the kernels for it.
fn first_device(calls: &Calls) -> Result<(sys::CUdevice, Properties, &'static str), Failure> {
    let (mut count, mut device) = (0, 0);
    // SAFETY: the pointer is to a variable.
    done("cuDeviceGetCount", unsafe {
        (calls.device_count)(&raw mut count)
    })?;
    if count < 1 {
        return Err(Failure::NoDevice);
    }
    // SAFETY: the pointer is to a variable; there is a device 0.
    done("cuDeviceGet", unsafe { (calls.device)(&raw mut device, 0) })?;
    let properties = properties(calls, device)?;
    let text = text_for(&properties)?;
    Ok((device, properties, text))
}

/// A context that is current for this thread while this lives.
struct Current(&'static Calls);

impl Current {
    fn new(calls: &'static Calls, context: sys::CUcontext) -> Result<Self, Failure> {
        // SAFETY: the context is alive as long as the driver that calls this.
        done("cuCtxPushCurrent", unsafe { (calls.push_context)(context) })?;
        Ok(Current(calls))
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let mut context = ptr::null_mut();
        // SAFETY: pops what `new` pushed; the pointer is to a variable.
        let _ = unsafe { (self.0.pop_context)(&raw mut context) };
    }
}

/// Pinned memory, and the event after the last copy from or to it.
#[derive(Debug)]
struct Pinned {
    calls: &'static Calls,
    memory: *mut u8,
    event: sys::CUevent,
    /// A copy may still be under way.
    busy: bool,
}

impl Pinned {
    fn new(calls: &'static Calls) -> Result<Self, Failure> {
        let (mut memory, mut event) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: both pointers are to variables; a context is current.
        done("cuEventCreate", unsafe {
            (calls.create_event)(&raw mut event, NO_TIMING)
        })?;
        // SAFETY: as above.
        let found = done("cuMemHostAlloc", unsafe {
            (calls.allocate_pinned)(&raw mut memory, PIECE, 0)
        });
        if let Err(failure) = found {
            // SAFETY: the event was just made, and nothing was recorded.
            let _ = unsafe { (calls.destroy_event)(event) };
            return Err(failure);
        }
        Ok(Pinned {
            calls,
            memory: memory.cast(),
            event,
            busy: false,
        })
    }

    /// Waits for the last copy from or to it.
    fn wait(&mut self) -> Result<(), Failure> {
        if self.busy {
            // SAFETY: the event is alive as long as this.
            done("cuEventSynchronize", unsafe {
                (self.calls.wait_for_event)(self.event)
            })?;
            self.busy = false;
        }
        Ok(())
    }

    /// Marks the end of a copy that was just queued.
    fn record(&mut self, stream: sys::CUstream) -> Result<(), Failure> {
        self.busy = true;
        // SAFETY: event and stream are alive, and of the same context.
        done("cuEventRecord", unsafe {
            (self.calls.record_event)(self.event, stream)
        })
    }

    fn free(&self) {
        // SAFETY: the driver waits for its stream before it calls this, once.
        let _ = unsafe { (self.calls.destroy_event)(self.event) };
        // SAFETY: as above; the memory is that of `new`.
        let _ = unsafe { (self.calls.free_pinned)(self.memory.cast()) };
    }
}

/// Whose a context and its stream are.
#[derive(Clone, Copy, Debug)]
enum Owner {
    /// The device's primary context, which is given back; the stream is ours.
    Own(sys::CUdevice),
    /// The caller's.
    Caller,
}

/// The driver with one device, and the kernels loaded.
#[derive(Debug)]
pub(super) struct Nvidia {
    calls: &'static Calls,
    properties: Properties,
    owner: Owner,
    context: sys::CUcontext,
    stream: sys::CUstream,
    module: sys::CUmodule,
    kernels: HashMap<&'static str, sys::CUfunction>,
    pinned: Vec<Pinned>,
    next: usize,
    /// The two marks, made when they are first asked for.
    marks: [sys::CUevent; 2],
}

// SAFETY: a context and what belongs to it may be used from any thread; each call makes the context current first. The
// pinned memory is reached through this alone.
unsafe impl Send for Nvidia {}

impl Nvidia {
    /// The first device, in its primary context.
    pub(super) fn open() -> Result<Self, Failure> {
        let calls = load()?;
        let (device, properties, text) = first_device(calls)?;
        let mut context = ptr::null_mut();
        // SAFETY: the pointer is to a variable; the device is one.
        done("cuDevicePrimaryCtxRetain", unsafe {
            (calls.retain_primary)(&raw mut context, device)
        })?;
        let mut driver = Nvidia {
            calls,
            properties,
            owner: Owner::Own(device),
            context,
            stream: ptr::null_mut(),
            module: ptr::null_mut(),
            kernels: HashMap::new(),
            pinned: Vec::new(),
            next: 0,
            marks: [ptr::null_mut(); 2],
        };
        // From here on what is there is given back when the driver is dropped.
        let current = Current::new(calls, context)?;
        // SAFETY: the pointer is to a field; a context is current.
        done("cuStreamCreate", unsafe {
            (calls.create_stream)(&raw mut driver.stream, NON_BLOCKING)
        })?;
        driver.load(text)?;
        drop(current);
        Ok(driver)
    }

    /// A context and a stream of the caller's.
    ///
    /// # Safety
    /// The context is a `CUcontext` that lives as long as this, the stream a `CUstream` of it that does, or null for its
    /// default stream.
    pub(super) unsafe fn in_context(
        context: *mut c_void,
        stream: *mut c_void,
    ) -> Result<Self, Failure> {
        let calls = load()?;
        let context: sys::CUcontext = context.cast();
        let current = Current::new(calls, context)?;
        let mut device = 0;
        // SAFETY: the pointer is to a variable; the caller's context is current.
        done("cuCtxGetDevice", unsafe {
            (calls.device_of_context)(&raw mut device)
        })?;
        let properties = properties(calls, device)?;
        let text = text_for(&properties)?;
        let mut driver = Nvidia {
            calls,
            properties,
            owner: Owner::Caller,
            context,
            stream: stream.cast(),
            module: ptr::null_mut(),
            kernels: HashMap::new(),
            pinned: Vec::new(),
            next: 0,
            marks: [ptr::null_mut(); 2],
        };
        driver.load(text)?;
        drop(current);
        Ok(driver)
    }

    /// Loads the kernels, and makes the pinned memory. A context is current.
    fn load(&mut self, text: &'static str) -> Result<(), Failure> {
        let image = CString::new(text).map_err(|_| Failure::Driver {
            call: "cuModuleLoadData",
            code: INVALID_PTX,
        })?;
        // SAFETY: the text ends with a zero byte; the pointer is to a field.
        done("cuModuleLoadData", unsafe {
            (self.calls.load_module)(&raw mut self.module, image.as_ptr().cast())
        })?;
        for kernel in ptx::kernels(text) {
            let mut function = ptr::null_mut();
            let name = CString::new(kernel).unwrap_or_default();
            // SAFETY: the module is loaded, the name ends with a zero byte, the pointer is to a variable.
            done("cuModuleGetFunction", unsafe {
                (self.calls.function)(&raw mut function, self.module, name.as_ptr())
            })?;
            self.kernels.insert(kernel, function);
        }
        for _ in 0..2 {
            self.pinned.push(Pinned::new(self.calls)?);
        }
        Ok(())
    }

    fn current(&self) -> Result<Current, Failure> {
        Current::new(self.calls, self.context)
    }

    /// The piece of pinned memory whose turn it is.
    fn next(&mut self) -> usize {
        self.next = (self.next + 1) % self.pinned.len().max(1);
        self.next
    }
}

fn text_for(properties: &Properties) -> Result<&'static str, Failure> {
    let (major, minor) = properties.capability;
    ptx::of(major, minor).ok_or(Failure::Capability { major, minor })
}

fn properties(calls: &Calls, device: sys::CUdevice) -> Result<Properties, Failure> {
    let attribute = |which| {
        let mut value = 0;
        // SAFETY: the pointer is to a variable; the device is one.
        done("cuDeviceGetAttribute", unsafe {
            (calls.attribute)(&raw mut value, which, device)
        })?;
        Ok(u32::try_from(value).unwrap_or(0))
    };
    let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    let multiprocessors = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
    let mut name = [0_u8; 128];
    // SAFETY: the pointer is to an array of this length, the last byte of which stays 0.
    done("cuDeviceGetName", unsafe {
        (calls.device_name)(name.as_mut_ptr().cast(), 127, device)
    })?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    Ok(Properties {
        name: String::from_utf8_lossy(&name[..end]).into_owned(),
        capability: (major, minor),
        multiprocessors,
    })
}

impl Numbers<'_> {
    fn bytes(self) -> *const u8 {
        match self {
            Numbers::F32(x) => x.as_ptr().cast(),
            Numbers::I32(x) => x.as_ptr().cast(),
            Numbers::U32(x) => x.as_ptr().cast(),
            Numbers::U16(x) => x.as_ptr().cast(),
        }
    }
}

impl Room<'_> {
    fn bytes(&mut self) -> *mut u8 {
        match self {
            Room::F32(x) => x.as_mut_ptr().cast(),
            Room::U32(x) => x.as_mut_ptr().cast(),
            Room::U16(x) => x.as_mut_ptr().cast(),
        }
    }
}

/// A copy to pinned memory that is under way: the piece, where its bytes go, how many.
type Under = (usize, *mut u8, usize);

impl Nvidia {
    /// Waits for a copy to pinned memory, and copies it to where it goes.
    fn land(&mut self, (piece, to, bytes): Under) -> Result<(), Failure> {
        let pinned = &mut self.pinned[piece];
        pinned.wait()?;
        // SAFETY: `to` has room for so many bytes of a slice that the caller of `download` holds; no more were copied.
        unsafe { ptr::copy_nonoverlapping(pinned.memory, to, bytes) };
        Ok(())
    }
}

impl Driver for Nvidia {
    fn properties(&self) -> Properties {
        self.properties.clone()
    }

    fn free_bytes(&mut self) -> Result<u64, Failure> {
        let _current = self.current()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: both pointers are to variables.
        done("cuMemGetInfo", unsafe {
            (self.calls.memory_info)(&raw mut free, &raw mut total)
        })?;
        Ok(free as u64)
    }

    fn allocate(&mut self, words: usize) -> Result<u64, Failure> {
        let _current = self.current()?;
        let bytes = words.checked_mul(4).ok_or(Failure::Size)?;
        let mut address = 0;
        // SAFETY: the pointer is to a variable.
        let result = unsafe { (self.calls.allocate)(&raw mut address, bytes) };
        if result == OUT_OF_MEMORY {
            let need = bytes as u64;
            let free = self.free_bytes().unwrap_or(0);
            return Err(Failure::Memory { need, free });
        }
        done("cuMemAlloc", result)?;
        Ok(address)
    }

    fn free(&mut self, address: u64) {
        if let Ok(_current) = self.current() {
            // SAFETY: the address is one of `allocate`; the call itself waits for what was queued.
            let _ = unsafe { (self.calls.free)(address) };
        }
    }

    fn zero(&mut self, at: u64, words: usize) -> Result<(), Failure> {
        if words == 0 {
            return Ok(());
        }
        let _current = self.current()?;
        // SAFETY: the operation asks for its own memory, so many words of it.
        done("cuMemsetD32Async", unsafe {
            (self.calls.set_words)(at, 0, words, self.stream)
        })
    }

    fn upload(&mut self, numbers: Numbers<'_>, to: u64) -> Result<(), Failure> {
        let _current = self.current()?;
        let (from, all) = (numbers.bytes(), numbers.len() * numbers.size());
        for start in (0..all).step_by(PIECE) {
            let bytes = PIECE.min(all - start);
            let piece = self.next();
            let pinned = &mut self.pinned[piece];
            pinned.wait()?;
            // SAFETY: so many bytes of the slice are there, and of the pinned memory, which no copy uses now.
            unsafe { ptr::copy_nonoverlapping(from.add(start), pinned.memory, bytes) };
            // SAFETY: the operation asks for its own memory, which is as long as the slice.
            done("cuMemcpyHtoDAsync", unsafe {
                (self.calls.to_device)(to + start as u64, pinned.memory.cast(), bytes, self.stream)
            })?;
            pinned.record(self.stream)?;
        }
        Ok(())
    }

    fn download(&mut self, parts: &mut [(u64, Room<'_>)]) -> Result<(), Failure> {
        let _current = self.current()?;
        let mut under: Option<Under> = None;
        for (from, room) in parts {
            let (to, all) = (room.bytes(), room.len() * room.size());
            for start in (0..all).step_by(PIECE) {
                let bytes = PIECE.min(all - start);
                let piece = self.next();
                let pinned = &mut self.pinned[piece];
                pinned.wait()?;
                // SAFETY: the operation asks for its own memory, which is as long as the room; the piece is free.
                done("cuMemcpyDtoHAsync", unsafe {
                    (self.calls.to_host)(
                        pinned.memory.cast(),
                        *from + start as u64,
                        bytes,
                        self.stream,
                    )
                })?;
                pinned.record(self.stream)?;
                // SAFETY: `start` is within the room.
                let next = (piece, unsafe { to.add(start) }, bytes);
                if let Some(before) = under.replace(next) {
                    self.land(before)?;
                }
            }
        }
        match under {
            Some(last) => self.land(last),
            None => self.wait(),
        }
    }

    fn copy(&mut self, from: u64, to: u64, words: usize) -> Result<(), Failure> {
        let _current = self.current()?;
        // SAFETY: who asks for it has so many words at either address.
        done("cuMemcpyDtoDAsync", unsafe {
            (self.calls.on_device)(to, from, words * 4, self.stream)
        })
    }

    fn mark(&mut self, which: Mark) -> Result<(), Failure> {
        let _current = self.current()?;
        let event = &mut self.marks[which as usize];
        if event.is_null() {
            // SAFETY: the pointer is to a field; a context is current.
            done("cuEventCreate", unsafe {
                (self.calls.create_event)(event, 0)
            })?;
        }
        // SAFETY: event and stream are alive, and of the same context.
        done("cuEventRecord", unsafe {
            (self.calls.record_event)(*event, self.stream)
        })
    }

    fn between(&mut self) -> Result<f32, Failure> {
        let _current = self.current()?;
        let [first, second] = self.marks;
        if first.is_null() || second.is_null() {
            return Err(Failure::Input);
        }
        // SAFETY: the event is alive.
        done("cuEventSynchronize", unsafe {
            (self.calls.wait_for_event)(second)
        })?;
        let mut milliseconds = 0.0;
        // SAFETY: both events are alive and have their times; the pointer is to a variable.
        done("cuEventElapsedTime", unsafe {
            (self.calls.elapsed)(&raw mut milliseconds, first, second)
        })?;
        Ok(milliseconds)
    }

    fn launch(&mut self, launch: Launch, task: &Task) -> Result<(), Failure> {
        let _current = self.current()?;
        let kernel = launch.kernel;
        let function = *self.kernels.get(kernel).ok_or(Failure::NoKernel(kernel))?;
        let mut parameters = [task.parameters().0.cast_mut()];
        let [across, down] = launch.blocks;
        // SAFETY: the kernel takes one structure by value, that of the task; its views are the operation's own memory or,
        // with raw handles, what the caller promised.
        let result = unsafe {
            (self.calls.launch)(
                function,
                across,
                down,
                1,
                launch.threads,
                1,
                1,
                4 * launch.shared,
                self.stream,
                parameters.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        match result {
            0 => Ok(()),
            code => Err(Failure::Launch { kernel, code }),
        }
    }

    fn wait(&mut self) -> Result<(), Failure> {
        let _current = self.current()?;
        // SAFETY: the stream is alive as long as this.
        done("cuStreamSynchronize", unsafe {
            (self.calls.wait_for_stream)(self.stream)
        })
    }
}

impl Drop for Nvidia {
    fn drop(&mut self) {
        if let Ok(_current) = self.current() {
            if !(self.stream.is_null() && matches!(self.owner, Owner::Own(_))) {
                let _ = self.wait();
            }
            for pinned in self.pinned.drain(..) {
                pinned.free();
            }
            for event in self.marks.into_iter().filter(|event| !event.is_null()) {
                // SAFETY: the event is ours, and its time has come.
                let _ = unsafe { (self.calls.destroy_event)(event) };
            }
            if !self.module.is_null() {
                // SAFETY: the module is ours, and nothing of it runs any more.
                let _ = unsafe { (self.calls.unload_module)(self.module) };
            }
            if matches!(self.owner, Owner::Own(_)) && !self.stream.is_null() {
                // SAFETY: the stream is ours, and nothing is queued.
                let _ = unsafe { (self.calls.destroy_stream)(self.stream) };
            }
        }
        if let Owner::Own(device) = self.owner {
            // SAFETY: gives back what `open` retained.
            let _ = unsafe { (self.calls.release_primary)(device) };
        }
    }
}
