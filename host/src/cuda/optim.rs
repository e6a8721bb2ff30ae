//! An update on a device.

use rivergram_core::optim::AdamW;
use rivergram_cuda_kernels::kernels::optim::Update;

use super::Failure;
use super::device::{Device, Queue, split};
use super::driver::{Numbers, Room, Task};

/// Parameters that a block takes at a time.
const BLOCK: usize = 128;

/// Blocks for so many parameters: each thread has some in turn.
pub(super) fn blocks(parameters: usize, waves: u32) -> u32 {
    let all = parameters.div_ceil(BLOCK).max(1);
    u32::try_from(all).unwrap_or(u32::MAX).min(waves)
}

impl Device {
    /// One update by [`AdamW`] of `parameters` and both moments. It is for the memory of a device
    /// ([`raw`](super::raw)); from the host it copies more than it computes. Waits for the result.
    ///
    /// # Errors
    /// [`Failure::Input`]: lengths that differ. Others: what became of the device; then nothing has changed.
    pub fn adamw(
        &self,
        rule: AdamW<f32>,
        parameters: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) -> Result<(), Failure> {
        let n = parameters.len();
        if [gradient.len(), first.len(), second.len()] != [n; 3] {
            return Err(Failure::Input);
        }
        if n == 0 {
            return Ok(());
        }
        let mut session = self.session()?;
        let budget = session.budget()?;
        let [part, _] = split([n, 1], budget, |[n, _]| 16 * n as u64)?;
        let mut updated = [parameters.to_vec(), first.to_vec(), second.to_vec()];
        let [to_w, to_g, to_m, to_v] = [
            session.room(part)?,
            session.room(part)?,
            session.room(part)?,
            session.room(part)?,
        ];
        for start in (0..n).step_by(part) {
            let end = n.min(start + part);
            let len = end - start;
            let [w, m, v] = updated.each_mut().map(|x| &mut x[start..end]);
            session.upload(Numbers::F32(w), to_w)?;
            session.upload(Numbers::F32(&gradient[start..end]), to_g)?;
            session.upload(Numbers::F32(m), to_m)?;
            session.upload(Numbers::F32(v), to_v)?;
            let p = Update {
                parameters: to_w.part(0, len),
                gradient: to_g.part(0, len),
                first: to_m.part(0, len),
                second: to_v.part(0, len),
                constants: Update::constants(rule),
            };
            session.launch(&Task::AdamW(p), [blocks(len, self.waves()), 1])?;
            session.download(&mut [
                (to_w.at(0), Room::F32(w)),
                (to_m.at(0), Room::F32(m)),
                (to_v.at(0), Room::F32(v)),
            ])?;
        }
        let [w, m, v] = updated;
        parameters.copy_from_slice(&w);
        first.copy_from_slice(&m);
        second.copy_from_slice(&v);
        Ok(())
    }
}
