//! The kernels in a context of the crate `cust`, on its memory and its stream.
//!
//! `cust` links libcuda when it is built: with a CUDA installation
//! `cargo run -p rivergram --features cust --example cust`. To check it without one, point `CUDA_LIBRARY_PATH` to a
//! folder with an empty `lib64` in it: `cargo check` links nothing.

use std::error::Error;

use cust::memory::{CopyDestination, DeviceBuffer};
use cust::stream::{Stream, StreamFlags};
use rivergram::cuda::Device;
use rivergram::cuda::raw::GramMemory;
use rivergram_core::gram::contrastive::GramLoss;

/// Modalities, tuples, dimensions.
const SIZES: [usize; 3] = [3, 256, 64];

fn main() -> Result<(), Box<dyn Error>> {
    let [k, rows, d] = SIZES;
    let context = cust::quick_init()?;
    let stream = Stream::new(StreamFlags::DEFAULT, None)?;
    // SAFETY: both are alive until the end of this function, which drops the device first.
    let device = unsafe { Device::in_context(context.as_raw().cast(), stream.as_inner().cast()) }?;

    let x: Vec<f32> = (0..k * rows * d).map(|i| (i as f32 * 0.37).sin()).collect();
    let vectors = DeviceBuffer::from_slice(&x)?;
    let present = DeviceBuffer::from_slice(&vec![1.0_f32; k * rows])?;
    let gradient = DeviceBuffer::from_slice(&vec![0.0_f32; k * rows * d])?;
    let report = DeviceBuffer::from_slice(&[0.0_f32; 3])?;
    let workspace_len = device.gram_workspace_len(SIZES, rows);
    let workspace = DeviceBuffer::from_slice(&vec![0.0_f32; usize::try_from(workspace_len)?])?;
    let memory = GramMemory {
        vectors: vectors.as_device_ptr().as_raw(),
        present: present.as_device_ptr().as_raw(),
        gradient: gradient.as_device_ptr().as_raw(),
        report: report.as_device_ptr().as_raw(),
        workspace: workspace.as_device_ptr().as_raw(),
        workspace_len,
    };
    // SAFETY: each buffer is of this context, has the length that its field says, and is alive until the wait below.
    unsafe { device.gram_loss_at(&GramLoss::paper(0), SIZES, rows, memory) }?;
    // What the program does besides goes on here: nothing has waited so far.
    stream.synchronize()?;

    let mut numbers = [0.0_f32; 3];
    report.copy_to(&mut numbers)?;
    let [by_rows, by_columns, slope] = numbers;
    println!("loss {}, dL/dτ {slope}", by_rows + by_columns);
    Ok(())
}
