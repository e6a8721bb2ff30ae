//! One update of parameters on the device, as [`rivergram_core::optim`]; a thread per parameter, in turns.

use rivergram_core::lanes::One;
use rivergram_core::optim::AdamW;

use crate::device::{Global, Thread};
use crate::lanes::F32;

/// The parameters of [`adamw`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Update {
    /// w, updated.
    pub parameters: Global<F32>,
    /// g.
    pub gradient: Global<F32>,
    /// m, updated.
    pub first: Global<F32>,
    /// v, updated.
    pub second: Global<F32>,
    /// Those of [`Update::constants`].
    pub constants: [F32; 6],
}

impl Update {
    /// The constants of a rule, in the order in which they cross.
    pub fn constants(rule: AdamW<f32>) -> [F32; 6] {
        [
            rule.beta1,
            rule.beta2,
            rule.epsilon,
            rule.decay,
            rule.lr,
            rule.root,
        ]
        .map(F32)
    }
}

/// One update by AdamW.
#[inline(always)]
pub fn adamw(thread: Thread<'_>, p: Update) {
    let [beta1, beta2, epsilon, decay, lr, root] = p.constants;
    let rule = AdamW {
        beta1,
        beta2,
        epsilon,
        decay,
        lr,
        root,
    };
    let all = (thread.blocks() * thread.threads()) as usize;
    let mut i = (thread.block() * thread.threads() + thread.index()) as usize;
    while i < p.parameters.len() {
        let mut w = [thread.read(p.parameters, i)];
        let g = [thread.read(p.gradient, i)];
        let mut m = [thread.read(p.first, i)];
        let mut v = [thread.read(p.second, i)];
        rule.apply(One::new(), &mut w, &g, &mut m, &mut v);
        thread.write(p.parameters, i, w[0]);
        thread.write(p.first, i, m[0]);
        thread.write(p.second, i, v[0]);
        i += all;
    }
}
