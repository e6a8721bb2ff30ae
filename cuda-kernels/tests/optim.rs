//! Updates on the device under emulation, against core in double precision.

mod support;

use rivergram_core::lanes::One;
use rivergram_core::optim::{AdamW, Optimizer};
use rivergram_cuda_kernels::device::{Launch, Memory};
use rivergram_cuda_kernels::kernels::optim::{Update, adamw};
use support::{ORDERS, Random, assert_close, double, run};

const LAUNCH: Launch = Launch {
    kernel: "adamw",
    blocks: [2, 1],
    threads: 64,
    shared: 0,
};

#[test]
fn updates_are_those_of_core() {
    // The numbers that both compute with are exact in single precision.
    let numbers = [0.875_f32, 0.996_093_75, 1e-8, 0.015_625];
    let [beta1, beta2, epsilon, weight_decay] = numbers.map(f64::from);
    let optimizer = Optimizer::AdamW {
        beta1,
        beta2,
        epsilon,
        weight_decay,
    };
    // Fewer parameters than threads, and more.
    for n in [1, 100, 300] {
        for order in ORDERS {
            let mut random = Random(7);
            let start = random.normals(n);
            let (mut w, mut state) = (double(&start), vec![0.0; 2 * n]);
            let mut memory = Memory::new();
            let mut p = Update {
                parameters: memory.copy_f32(&start),
                gradient: memory.copy_f32(&vec![0.0; n]),
                first: memory.copy_f32(&vec![0.0; n]),
                second: memory.copy_f32(&vec![0.0; n]),
                constants: Default::default(),
            };
            for t in 1..=5 {
                let mut g = random.normals(n);
                g[0] = 0.0;
                optimizer.update(One::new(), 0.015_625, t, &mut w, &double(&g), &mut state);
                p.gradient = memory.copy_f32(&g);
                p.constants = Update::constants(AdamW::new(numbers, 0.015_625, t));
                run(&mut memory, LAUNCH, order, adamw, p);
            }
            let largest = w.iter().fold(0.0, |a: f64, x| a.max(x.abs()));
            let got = memory.numbers_f32(p.parameters);
            assert_close("parameters", &got, &w, |_| largest, 1e-6);
            let (first, second) = state.split_at(n);
            assert_close("m", &memory.numbers_f32(p.first), first, |_| 1.0, 1e-6);
            assert_close("v", &memory.numbers_f32(p.second), second, |_| 1.0, 1e-6);
        }
    }
}

#[test]
fn a_gradient_that_is_no_number_stays_with_its_parameter() {
    let mut memory = Memory::new();
    let p = Update {
        parameters: memory.copy_f32(&[1.0; 3]),
        gradient: memory.copy_f32(&[1.0, f32::NAN, 1.0]),
        first: memory.copy_f32(&[0.0; 3]),
        second: memory.copy_f32(&[0.0; 3]),
        constants: Update::constants(AdamW::new([0.9, 0.999, 1e-8, 0.0], 0.1, 1)),
    };
    run(&mut memory, LAUNCH, ORDERS[0], adamw, p);
    let updated = memory.numbers_f32(p.parameters);
    let nan: Vec<bool> = updated.iter().map(|x| x.is_nan()).collect();
    assert_eq!(nan, [false, true, false]);
}
