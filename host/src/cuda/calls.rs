//! The functions of NVIDIA's driver that are called, found at run time.
//!
//! What they return is a number here. The bindings of cudarc say that it is one of the errors that they know, and a newer
//! driver that returned another one would be undefined behaviour.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUevent, CUfunction, CUmodule,
    CUstream,
};

use super::Failure;

/// A `CUresult`.
pub(super) type Code = c_uint;

/// The functions. Each keeps the contract of the driver's documentation.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) init: unsafe extern "C" fn(c_uint) -> Code,
    pub(super) device_count: unsafe extern "C" fn(*mut c_int) -> Code,
    pub(super) device: unsafe extern "C" fn(*mut CUdevice, c_int) -> Code,
    pub(super) device_name: unsafe extern "C" fn(*mut c_char, c_int, CUdevice) -> Code,
    pub(super) attribute: unsafe extern "C" fn(*mut c_int, CUdevice_attribute, CUdevice) -> Code,
    pub(super) retain_primary: unsafe extern "C" fn(*mut CUcontext, CUdevice) -> Code,
    pub(super) release_primary: unsafe extern "C" fn(CUdevice) -> Code,
    pub(super) push_context: unsafe extern "C" fn(CUcontext) -> Code,
    pub(super) pop_context: unsafe extern "C" fn(*mut CUcontext) -> Code,
    pub(super) device_of_context: unsafe extern "C" fn(*mut CUdevice) -> Code,
    pub(super) load_module: unsafe extern "C" fn(*mut CUmodule, *const c_void) -> Code,
    pub(super) unload_module: unsafe extern "C" fn(CUmodule) -> Code,
    pub(super) function: unsafe extern "C" fn(*mut CUfunction, CUmodule, *const c_char) -> Code,
    pub(super) allocate: unsafe extern "C" fn(*mut CUdeviceptr, usize) -> Code,
    pub(super) free: unsafe extern "C" fn(CUdeviceptr) -> Code,
    pub(super) memory_info: unsafe extern "C" fn(*mut usize, *mut usize) -> Code,
    pub(super) allocate_pinned: unsafe extern "C" fn(*mut *mut c_void, usize, c_uint) -> Code,
    pub(super) free_pinned: unsafe extern "C" fn(*mut c_void) -> Code,
    pub(super) to_device: unsafe extern "C" fn(CUdeviceptr, *const c_void, usize, CUstream) -> Code,
    pub(super) to_host: unsafe extern "C" fn(*mut c_void, CUdeviceptr, usize, CUstream) -> Code,
    pub(super) on_device: unsafe extern "C" fn(CUdeviceptr, CUdeviceptr, usize, CUstream) -> Code,
    pub(super) set_words: unsafe extern "C" fn(CUdeviceptr, c_uint, usize, CUstream) -> Code,
    pub(super) create_stream: unsafe extern "C" fn(*mut CUstream, c_uint) -> Code,
    pub(super) destroy_stream: unsafe extern "C" fn(CUstream) -> Code,
    pub(super) wait_for_stream: unsafe extern "C" fn(CUstream) -> Code,
    pub(super) create_event: unsafe extern "C" fn(*mut CUevent, c_uint) -> Code,
    pub(super) destroy_event: unsafe extern "C" fn(CUevent) -> Code,
    pub(super) record_event: unsafe extern "C" fn(CUevent, CUstream) -> Code,
    pub(super) wait_for_event: unsafe extern "C" fn(CUevent) -> Code,
    pub(super) elapsed: unsafe extern "C" fn(*mut f32, CUevent, CUevent) -> Code,
    pub(super) launch: unsafe extern "C" fn(
        CUfunction,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        CUstream,
        *mut *mut c_void,
        *mut *mut c_void,
    ) -> Code,
}

impl Calls {
    /// The functions of the driver of this machine.
    ///
    /// # Errors
    /// There is none, or it lacks one of them.
    pub(super) fn of_driver() -> Result<&'static Self, Failure> {
        static CALLS: OnceLock<Calls> = OnceLock::new();
        if let Some(calls) = CALLS.get() {
            return Ok(calls);
        }
        // SAFETY: looks for the library under its names, and runs what it runs when it is loaded.
        if !unsafe { sys::is_culib_present() } {
            return Err(Failure::NoDriver);
        }
        // SAFETY: the library is there, and each field has the type of the function of this name in the driver's header.
        let calls = unsafe {
            Calls {
                init: find("cuInit")?,
                device_count: find("cuDeviceGetCount")?,
                device: find("cuDeviceGet")?,
                device_name: find("cuDeviceGetName")?,
                attribute: find("cuDeviceGetAttribute")?,
                retain_primary: find("cuDevicePrimaryCtxRetain")?,
                release_primary: find("cuDevicePrimaryCtxRelease_v2")?,
                push_context: find("cuCtxPushCurrent_v2")?,
                pop_context: find("cuCtxPopCurrent_v2")?,
                device_of_context: find("cuCtxGetDevice")?,
                load_module: find("cuModuleLoadData")?,
                unload_module: find("cuModuleUnload")?,
                function: find("cuModuleGetFunction")?,
                allocate: find("cuMemAlloc_v2")?,
                free: find("cuMemFree_v2")?,
                memory_info: find("cuMemGetInfo_v2")?,
                allocate_pinned: find("cuMemHostAlloc")?,
                free_pinned: find("cuMemFreeHost")?,
                to_device: find("cuMemcpyHtoDAsync_v2")?,
                to_host: find("cuMemcpyDtoHAsync_v2")?,
                on_device: find("cuMemcpyDtoDAsync_v2")?,
                set_words: find("cuMemsetD32Async")?,
                create_stream: find("cuStreamCreate")?,
                destroy_stream: find("cuStreamDestroy_v2")?,
                wait_for_stream: find("cuStreamSynchronize")?,
                create_event: find("cuEventCreate")?,
                destroy_event: find("cuEventDestroy_v2")?,
                record_event: find("cuEventRecord")?,
                wait_for_event: find("cuEventSynchronize")?,
                elapsed: find("cuEventElapsedTime")?,
                launch: find("cuLaunchKernel")?,
            }
        };
        Ok(CALLS.get_or_init(|| calls))
    }
}

/// A function of the driver.
///
/// # Safety
/// The driver's library is there, and `F` is the type of a pointer to the function of this name.
unsafe fn find<F: Copy>(name: &'static str) -> Result<F, Failure> {
    // SAFETY: the library is there, so it is loaded or was.
    let library = unsafe { sys::culib() };
    // SAFETY: by the contract of this function. The library is never unloaded.
    let found = unsafe { library.get::<F>(name.as_bytes()) };
    let found = found.map(|symbol| *symbol);
    found.map_err(|_| Failure::OldDriver { missing: name })
}
