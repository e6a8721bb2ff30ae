//! NVIDIA's driver, loaded at run time by cudarc. Its calls are `unsafe`: of the crate only this file, the handles of
//! callers ([`raw`](super::raw)) and mapped files (`map`) have such code.
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
use sys::{CUdevice_attribute, CUresult};

use super::Failure;
use super::driver::{Driver, Mark, Numbers, Properties, Room, Task};

/// Bytes of a piece of pinned memory.
const PIECE: usize = 4 << 20;

/// A stream that does not wait for the default stream.
const NON_BLOCKING: u32 = 1;

/// An event without a time.
const NO_TIMING: u32 = 2;

/// Every function that is called: cudarc would panic where one is missing.
const FUNCTIONS: &[&str] = &[
    "cuInit",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxPushCurrent_v2",
    "cuCtxPopCurrent_v2",
    "cuCtxGetDevice",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemsetD32Async",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventElapsedTime",
    "cuLaunchKernel",
];

fn done(call: &'static str, result: CUresult) -> Result<(), Failure> {
    match result {
        CUresult::CUDA_SUCCESS => Ok(()),
        CUresult::CUDA_ERROR_NO_DEVICE => Err(Failure::NoDevice),
        code => Err(Failure::Driver {
            call,
            code: code as u32,
        }),
    }
}

/// Loads the driver, or says why not.
fn load() -> Result<(), Failure> {
    // SAFETY: looks for the library under its names, and runs what it runs when it is loaded.
    if !unsafe { sys::is_culib_present() } {
        return Err(Failure::NoDriver);
    }
    // SAFETY: the library is there, so it is loaded or was.
    let library = unsafe { sys::culib() };
    for missing in FUNCTIONS {
        // SAFETY: the symbol is only looked for, never used as this type.
        let found = unsafe { library.get::<*const c_void>(missing.as_bytes()) };
        if found.is_err() {
            return Err(Failure::OldDriver { missing });
        }
    }
    // SAFETY: the function is there; it takes no pointers.
    done("cuInit", unsafe { sys::cuInit(0) })
}

/// A context that is current for this thread while this lives.
struct Current;

impl Current {
    fn new(context: sys::CUcontext) -> Result<Self, Failure> {
        // SAFETY: the context is alive as long as the driver that calls this.
        done("cuCtxPushCurrent", unsafe {
            sys::cuCtxPushCurrent_v2(context)
        })?;
        Ok(Current)
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let mut context = ptr::null_mut();
        // SAFETY: pops what `new` pushed; the pointer is to a variable.
        let _ = unsafe { sys::cuCtxPopCurrent_v2(&raw mut context) };
    }
}

/// Pinned memory, and the event after the last copy from or to it.
#[derive(Debug)]
struct Pinned {
    memory: *mut u8,
    event: sys::CUevent,
    /// A copy may still be under way.
    busy: bool,
}

impl Pinned {
    fn new() -> Result<Self, Failure> {
        let (mut memory, mut event) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: both pointers are to variables; a context is current.
        done("cuEventCreate", unsafe {
            sys::cuEventCreate(&raw mut event, NO_TIMING)
        })?;
        // SAFETY: as above.
        let found = done("cuMemHostAlloc", unsafe {
            sys::cuMemHostAlloc(&raw mut memory, PIECE, 0)
        });
        if let Err(failure) = found {
            // SAFETY: the event was just made, and nothing was recorded.
            let _ = unsafe { sys::cuEventDestroy_v2(event) };
            return Err(failure);
        }
        Ok(Pinned {
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
                sys::cuEventSynchronize(self.event)
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
            sys::cuEventRecord(self.event, stream)
        })
    }

    fn free(&self) {
        // SAFETY: the driver waits for its stream before it calls this, once.
        let _ = unsafe { sys::cuEventDestroy_v2(self.event) };
        // SAFETY: as above; the memory is that of `new`.
        let _ = unsafe { sys::cuMemFreeHost(self.memory.cast()) };
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
        load()?;
        let (mut count, mut device) = (0, 0);
        // SAFETY: the pointer is to a variable.
        done("cuDeviceGetCount", unsafe {
            sys::cuDeviceGetCount(&raw mut count)
        })?;
        if count < 1 {
            return Err(Failure::NoDevice);
        }
        // SAFETY: the pointer is to a variable; there is a device 0.
        done("cuDeviceGet", unsafe {
            sys::cuDeviceGet(&raw mut device, 0)
        })?;
        let properties = properties(device)?;
        let text = text_for(&properties)?;
        let mut context = ptr::null_mut();
        // SAFETY: the pointer is to a variable; the device is one.
        done("cuDevicePrimaryCtxRetain", unsafe {
            sys::cuDevicePrimaryCtxRetain(&raw mut context, device)
        })?;
        let mut driver = Nvidia {
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
        let current = Current::new(context)?;
        // SAFETY: the pointer is to a field; a context is current.
        done("cuStreamCreate", unsafe {
            sys::cuStreamCreate(&raw mut driver.stream, NON_BLOCKING)
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
        load()?;
        let context: sys::CUcontext = context.cast();
        let current = Current::new(context)?;
        let mut device = 0;
        // SAFETY: the pointer is to a variable; the caller's context is current.
        done("cuCtxGetDevice", unsafe {
            sys::cuCtxGetDevice(&raw mut device)
        })?;
        let properties = properties(device)?;
        let text = text_for(&properties)?;
        let mut driver = Nvidia {
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
            code: CUresult::CUDA_ERROR_INVALID_PTX as u32,
        })?;
        // SAFETY: the text ends with a zero byte; the pointer is to a field.
        done("cuModuleLoadData", unsafe {
            sys::cuModuleLoadData(&raw mut self.module, image.as_ptr().cast())
        })?;
        for kernel in ptx::kernels(text) {
            let mut function = ptr::null_mut();
            let name = CString::new(kernel).unwrap_or_default();
            // SAFETY: the module is loaded, the name ends with a zero byte, the pointer is to a variable.
            done("cuModuleGetFunction", unsafe {
                sys::cuModuleGetFunction(&raw mut function, self.module, name.as_ptr())
            })?;
            self.kernels.insert(kernel, function);
        }
        for _ in 0..2 {
            self.pinned.push(Pinned::new()?);
        }
        Ok(())
    }

    fn current(&self) -> Result<Current, Failure> {
        Current::new(self.context)
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

fn properties(device: sys::CUdevice) -> Result<Properties, Failure> {
    let attribute = |which| {
        let mut value = 0;
        // SAFETY: the pointer is to a variable; the device is one.
        done("cuDeviceGetAttribute", unsafe {
            sys::cuDeviceGetAttribute(&raw mut value, which, device)
        })?;
        Ok(u32::try_from(value).unwrap_or(0))
    };
    let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    let multiprocessors = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
    let mut name = [0_u8; 128];
    // SAFETY: the pointer is to an array of this length, the last byte of which stays 0.
    done("cuDeviceGetName", unsafe {
        sys::cuDeviceGetName(name.as_mut_ptr().cast(), 127, device)
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
        }
    }
}

impl Room<'_> {
    fn bytes(&mut self) -> *mut u8 {
        match self {
            Room::F32(x) => x.as_mut_ptr().cast(),
            Room::U32(x) => x.as_mut_ptr().cast(),
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
            sys::cuMemGetInfo_v2(&raw mut free, &raw mut total)
        })?;
        Ok(free as u64)
    }

    fn allocate(&mut self, words: usize) -> Result<u64, Failure> {
        let _current = self.current()?;
        let bytes = words.checked_mul(4).ok_or(Failure::Size)?;
        let mut address = 0;
        // SAFETY: the pointer is to a variable.
        let result = unsafe { sys::cuMemAlloc_v2(&raw mut address, bytes) };
        if result == CUresult::CUDA_ERROR_OUT_OF_MEMORY {
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
            let _ = unsafe { sys::cuMemFree_v2(address) };
        }
    }

    fn zero(&mut self, at: u64, words: usize) -> Result<(), Failure> {
        if words == 0 {
            return Ok(());
        }
        let _current = self.current()?;
        // SAFETY: the operation asks for its own memory, so many words of it.
        done("cuMemsetD32Async", unsafe {
            sys::cuMemsetD32Async(at, 0, words, self.stream)
        })
    }

    fn upload(&mut self, numbers: Numbers<'_>, to: u64) -> Result<(), Failure> {
        let _current = self.current()?;
        let (from, all) = (numbers.bytes(), numbers.len() * 4);
        for start in (0..all).step_by(PIECE) {
            let bytes = PIECE.min(all - start);
            let piece = self.next();
            let pinned = &mut self.pinned[piece];
            pinned.wait()?;
            // SAFETY: so many bytes of the slice are there, and of the pinned memory, which no copy uses now.
            unsafe { ptr::copy_nonoverlapping(from.add(start), pinned.memory, bytes) };
            // SAFETY: the operation asks for its own memory, which is as long as the slice.
            done("cuMemcpyHtoDAsync", unsafe {
                sys::cuMemcpyHtoDAsync_v2(
                    to + start as u64,
                    pinned.memory.cast(),
                    bytes,
                    self.stream,
                )
            })?;
            pinned.record(self.stream)?;
        }
        Ok(())
    }

    fn download(&mut self, parts: &mut [(u64, Room<'_>)]) -> Result<(), Failure> {
        let _current = self.current()?;
        let mut under: Option<Under> = None;
        for (from, room) in parts {
            let (to, all) = (room.bytes(), room.len() * 4);
            for start in (0..all).step_by(PIECE) {
                let bytes = PIECE.min(all - start);
                let piece = self.next();
                let pinned = &mut self.pinned[piece];
                pinned.wait()?;
                // SAFETY: the operation asks for its own memory, which is as long as the room; the piece is free.
                done("cuMemcpyDtoHAsync", unsafe {
                    sys::cuMemcpyDtoHAsync_v2(
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
            sys::cuMemcpyDtoDAsync_v2(to, from, words * 4, self.stream)
        })
    }

    fn mark(&mut self, which: Mark) -> Result<(), Failure> {
        let _current = self.current()?;
        let event = &mut self.marks[which as usize];
        if event.is_null() {
            // SAFETY: the pointer is to a field; a context is current.
            done("cuEventCreate", unsafe { sys::cuEventCreate(event, 0) })?;
        }
        // SAFETY: event and stream are alive, and of the same context.
        done("cuEventRecord", unsafe {
            sys::cuEventRecord(*event, self.stream)
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
            sys::cuEventSynchronize(second)
        })?;
        let mut milliseconds = 0.0;
        // SAFETY: both events are alive and have their times; the pointer is to a variable.
        done("cuEventElapsedTime", unsafe {
            sys::cuEventElapsedTime(&raw mut milliseconds, first, second)
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
            sys::cuLaunchKernel(
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
            CUresult::CUDA_SUCCESS => Ok(()),
            code => Err(Failure::Launch {
                kernel,
                code: code as u32,
            }),
        }
    }

    fn wait(&mut self) -> Result<(), Failure> {
        let _current = self.current()?;
        // SAFETY: the stream is alive as long as this.
        done("cuStreamSynchronize", unsafe {
            sys::cuStreamSynchronize(self.stream)
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
                let _ = unsafe { sys::cuEventDestroy_v2(event) };
            }
            if !self.module.is_null() {
                // SAFETY: the module is ours, and nothing of it runs any more.
                let _ = unsafe { sys::cuModuleUnload(self.module) };
            }
            if matches!(self.owner, Owner::Own(_)) && !self.stream.is_null() {
                // SAFETY: the stream is ours, and nothing is queued.
                let _ = unsafe { sys::cuStreamDestroy_v2(self.stream) };
            }
        }
        if let Owner::Own(device) = self.owner {
            // SAFETY: gives back what `open` retained.
            let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(device) };
        }
    }
}
