//! The emulated device finds what a GPU would do silently, and gives every run the same result.

use rivergram_core::optim::rounding::Half;
use rivergram_cuda_kernels::device::{
    Fault, FaultKind, Format, Global, Launch, Memory, Order, Shared, Thread, WARP,
};
use rivergram_cuda_kernels::lanes::{Bf16, F32};

const ORDERS: [Order; 2] = [Order::Forward, Order::Backward];

const LAUNCH: Launch = Launch {
    kernel: "test",
    blocks: [2, 1],
    threads: 64,
    shared: 64,
};

/// What a kernel over one view of 128 words comes to, in both orders.
fn run(launch: Launch, kernel: fn(Thread<'_>, Global<u32>)) -> [Result<Vec<u32>, Fault>; 2] {
    ORDERS.map(|order| {
        let mut memory = Memory::new();
        let view = memory.copy(&[0_u32; 128]);
        memory.launch(launch, order, kernel, view)?;
        Ok(memory.numbers(view))
    })
}

/// The fault of a kernel, in both orders, its thread aside.
fn fault_kinds(kernel: fn(Thread<'_>, Global<u32>)) -> [FaultKind; 2] {
    run(LAUNCH, kernel).map(|result| {
        let fault = result.expect_err("a fault");
        assert_eq!(fault.kernel, "test");
        assert!(fault.place.file().ends_with("emulation.rs"), "{fault}");
        fault.kind
    })
}

fn index(thread: Thread<'_>) -> usize {
    (thread.block() * thread.threads() + thread.index()) as usize
}

/// What a word is in memory of one view.
fn address(view: Global<u32>, word: u64) -> u64 {
    // The first allocation; the tests do not otherwise know where it lies.
    let text = format!("{view:?}");
    let digits = text
        .split("address: ")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    digits
        .and_then(|digits| digits.parse::<u64>().ok())
        .expect("an address")
        + 4 * word
}

fn first_view() -> Global<u32> {
    Memory::new().copy(&[0_u32; 128])
}

#[test]
fn threads_know_who_they_are() {
    for result in run(LAUNCH, |thread, view| {
        assert_eq!(
            (thread.threads(), thread.blocks(), thread.block_y()),
            (64, 2, 0)
        );
        let word = thread.block() * 1000 + thread.index() * 10 + thread.lane() / (WARP - 1);
        thread.write(view, index(thread), word);
    }) {
        let words = result.expect("no fault");
        assert_eq!(
            (words[0], words[31], words[32], words[127]),
            (0, 311, 320, 1631)
        );
    }
}

#[test]
fn threads_meet_at_barriers() {
    for result in run(LAUNCH, |thread, view| {
        let shared = Shared::<u32>::new(0, 64);
        thread.write_shared(shared, thread.index(), thread.index() + 1);
        thread.sync_threads();
        let other = thread.read_shared(shared, 63 - thread.index());
        thread.sync_threads();
        thread.write_shared(shared, thread.index(), other);
        thread.sync_threads();
        let sum = (0..64).map(|i| thread.read_shared(shared, i)).sum::<u32>();
        thread.write(view, index(thread), other + 100 * sum);
    }) {
        let words = result.expect("no fault");
        for (i, word) in words.into_iter().enumerate() {
            assert_eq!(word, 64 - (i as u32) % 64 + 100 * 65 * 32, "{i}");
        }
    }
}

#[test]
fn lanes_exchange_numbers() {
    for result in run(LAUNCH, |thread, view| {
        let near = thread.shuffle_xor(thread.index(), 1);
        let third = thread.shuffle(thread.index(), 3);
        let odd = thread.ballot(thread.index() % 2 == 1);
        let right = odd == 0xaaaa_aaaa && third == thread.index() / WARP * WARP + 3;
        thread.write(view, index(thread), if right { near } else { u32::MAX });
    }) {
        for (i, word) in result.expect("no fault").into_iter().enumerate() {
            assert_eq!(word, (i as u32 % 64) ^ 1);
        }
    }
}

#[test]
fn a_warp_may_end_before_another() {
    for result in run(LAUNCH, |thread, view| {
        if thread.index() < WARP {
            return;
        }
        let sum = thread.shuffle_xor(1_u32, 1);
        thread.write(view, index(thread), sum);
    }) {
        assert_eq!(result.expect("no fault").iter().sum::<u32>(), 64);
    }
}

#[test]
fn accesses_out_of_bounds_are_found() {
    let at = address(first_view(), 128);
    let out = |shared, address| [FaultKind::OutOfBounds { shared, address }; 2];
    let found = fault_kinds(|thread, view| {
        thread.write(view, index(thread) + usize::from(index(thread) == 127), 1);
    });
    assert_eq!(found, out(false, at));
    // A part that is longer than its whole.
    let found = fault_kinds(|thread, view| {
        let part = view.part(120, 10);
        if index(thread) == 5 {
            let _ = thread.read(part, 8);
        }
    });
    assert_eq!(found, out(false, at));
    // An index beyond the view, though there is memory.
    let found = fault_kinds(|thread, view| {
        if index(thread) == 5 {
            let _ = thread.read(view.part(0, 10), 10);
        }
    });
    assert_eq!(found, out(false, address(first_view(), 10)));
    let found = fault_kinds(|thread, _| {
        let shared = Shared::<u32>::new(0, 65);
        thread.write_shared(shared, thread.index() + u32::from(thread.index() == 63), 0);
    });
    assert_eq!(found, out(true, 64));
}

#[test]
fn faults_name_the_thread() {
    let [fault, _] = run(LAUNCH, |thread, view| {
        if index(thread) == 70 {
            thread.write(view, 1 << 30, 1);
        }
    });
    let fault = fault.expect_err("a fault");
    assert_eq!((fault.block, fault.thread), ([1, 0], 6));
    let text = fault.to_string();
    assert!(
        text.starts_with("test: block (1, 0), thread 6: address 0x"),
        "{text}"
    );
    assert!(
        text.contains("out of bounds (at ") && text.contains("emulation.rs:"),
        "{text}"
    );
}

#[test]
fn numbers_that_nobody_wrote_are_found() {
    for order in ORDERS {
        let mut memory = Memory::new();
        let view = memory.room::<F32>(4);
        let kernel = |thread: Thread<'_>, view| {
            let _ = thread.read(view, 2);
        };
        let fault = memory
            .launch(LAUNCH, order, kernel, view)
            .expect_err("a fault");
        assert!(matches!(
            fault.kind,
            FaultKind::Uninitialised { shared: false, .. }
        ));
    }
    let found = fault_kinds(|thread, _| {
        let _ = thread.read_shared(Shared::<u32>::new(0, 64), 7);
    });
    assert_eq!(
        found,
        [FaultKind::Uninitialised {
            shared: true,
            address: 7
        }; 2]
    );
}

#[test]
fn fours_are_aligned() {
    let found = fault_kinds(|thread, _| {
        let shared = Shared::<F32>::new(0, 64);
        thread.write_shared(shared, thread.index(), F32(0.0));
        thread.sync_threads();
        let _ = thread.read_shared_four(shared, 6);
    });
    assert_eq!(
        found,
        [FaultKind::Misaligned {
            shared: true,
            address: 6
        }; 2]
    );
}

#[test]
fn sixteen_bytes_are_aligned() {
    let at = address(first_view(), 3);
    let found = fault_kinds(|thread, view| {
        let _ = thread.read_16_bytes(view, 4);
        thread.write_16_bytes(view.part(3, 8), 0, [0; 4]);
    });
    let misaligned = |address| FaultKind::Misaligned {
        shared: false,
        address,
    };
    assert_eq!(found, [misaligned(at); 2]);
    // Numbers of another size than the allocation's.
    let found = fault_kinds(|thread, view| {
        let _ = thread.read(Global::<Bf16>::new(view.at(0), 4), 0);
    });
    assert_eq!(found, [misaligned(address(first_view(), 0)); 2]);
}

#[test]
fn halves_share_words() {
    for order in ORDERS {
        let mut memory = Memory::new();
        let view = memory.copy(&[1, 2, 3, 4, 5, 6, 7, 8].map(Bf16));
        let kernel = |thread: Thread<'_>, view| {
            if thread.index() == 0 && thread.block() == 0 {
                let words = thread.read_16_bytes(view, 0);
                thread.write_16_bytes(view, 0, words.map(|word| word + 0x0010_0010));
                thread.write(view, 7, thread.read(view, 6));
            }
        };
        memory
            .launch(LAUNCH, order, kernel, view)
            .expect("no fault");
        let found = memory.numbers(view).iter().map(|x| x.0).collect::<Vec<_>>();
        assert_eq!(found, [17, 18, 19, 20, 21, 22, 23, 23]);
    }
}

/// Each of the first 16 threads copies four words.
fn start_copies(thread: Thread<'_>, view: Global<u32>) -> Shared<u32> {
    let shared = Shared::<u32>::new(0, 64);
    if thread.index() < 16 {
        let at = 4 * thread.index();
        thread.copy_async(shared, at, view, at as usize, thread.index() != 5);
    }
    thread.commit_copies();
    shared
}

#[test]
fn copies_arrive_when_all_have_waited() {
    for order in ORDERS {
        let mut memory = Memory::new();
        let numbers: Vec<u32> = (1..=128).collect();
        let view = memory.copy(&numbers);
        let out = memory.room(64);
        let kernel = |thread: Thread<'_>, [view, out]: [Global<u32>; 2]| {
            let shared = start_copies(thread, view);
            thread.commit_copies();
            thread.wait_copies::<1>();
            thread.sync_threads();
            if thread.block() == 0 {
                let other = 63 - thread.index();
                thread.write(out, other as usize, thread.read_shared(shared, other));
            }
        };
        memory
            .launch(LAUNCH, order, kernel, [view, out])
            .expect("no fault");
        let want = (1..=64).map(|x| if (21..25).contains(&x) { 0 } else { x });
        assert_eq!(memory.numbers(out), want.collect::<Vec<_>>());
    }
}

#[test]
fn copies_that_nobody_waited_for_are_found() {
    let pending = |address| [FaultKind::Pending { address }; 2];
    let found = fault_kinds(|thread, view| {
        let shared = start_copies(thread, view);
        // The group is the latest one.
        thread.wait_copies::<1>();
        thread.sync_threads();
        let _ = thread.read_shared(shared, 7);
    });
    assert_eq!(found, pending(7));
    let found = fault_kinds(|thread, view| {
        let shared = start_copies(thread, view);
        thread.sync_threads();
        if thread.index() == 40 {
            thread.write_shared(shared, 8, 0);
        }
    });
    assert_eq!(found, pending(8));
    // Waited for, but not met: one comes before the other has waited, or after.
    let [after, before] = fault_kinds(|thread, view| {
        let shared = start_copies(thread, view);
        thread.sync_threads();
        thread.wait_copies::<0>();
        if thread.index() == 40 {
            let _ = thread.read_shared(shared, 9);
        }
    });
    let (shared, address) = (true, 9);
    let is_race = matches!(after, FaultKind::Race { shared: s, address: a, .. } if (s, a) == (shared, address));
    assert!(is_race, "{after:?}");
    assert_eq!(before, FaultKind::Pending { address });
}

/// A·B + C of a warp, A of 16 rows and B of 8 columns of 8 words in the view.
fn multiply(thread: Thread<'_>, view: Global<u32>, format: Format) -> [u32; 4] {
    let shared = Shared::<u32>::new(0, 256);
    for i in (thread.index()..192).step_by(64) {
        thread.write_shared(shared, i, thread.read(view, i as usize));
    }
    thread.sync_threads();
    let lane = thread.lane();
    let a = thread.load_matrices(shared, lane % 16 * 8 + lane / 16 * 4);
    let b = thread.load_matrices(shared, 128 + lane % 8 * 8 + lane / 8 % 2 * 4);
    thread.product(format, a, [b[0], b[1]], [0; 4])
}

#[test]
fn a_warp_multiplies_matrices() {
    // Small integers, so that no sum is rounded.
    let number = |i: u32, part: u32| (i * 7 + part * 3) as i32 % 11 - 5;
    let bits = |format: Format, i| match format {
        Format::Tf32 => (number(i, 0) as f32).to_bits(),
        Format::I8 => u32::from_le_bytes([0, 1, 2, 3].map(|part| number(i, part) as u8)),
        _ => {
            let half = if format == Format::F16 {
                Half::F16
            } else {
                Half::Bf16
            };
            let [low, high] = [0, 1].map(|part| half.nearest(number(i, part) as f32));
            u32::from(low) | u32::from(high) << 16
        }
    };
    type Kernel = fn(Thread<'_>, [Global<u32>; 2]);
    let kernels: [(Format, Kernel); 4] = [
        (Format::Tf32, |thread, p| give(thread, p, Format::Tf32)),
        (Format::F16, |thread, p| give(thread, p, Format::F16)),
        (Format::Bf16, |thread, p| give(thread, p, Format::Bf16)),
        (Format::I8, |thread, p| give(thread, p, Format::I8)),
    ];
    for (format, kernel) in kernels {
        for order in ORDERS {
            let mut memory = Memory::new();
            let words: Vec<u32> = (0..192).map(|i| bits(format, i)).collect();
            let (view, out) = (memory.copy(&words), memory.room(128));
            let launch = Launch {
                shared: 256,
                blocks: [1, 1],
                ..LAUNCH
            };
            memory
                .launch(launch, order, kernel, [view, out])
                .expect("no fault");
            for (at, got) in memory.numbers(out).into_iter().enumerate() {
                let (row, column) = (at as u32 / 8, at as u32 % 8);
                let products = (0..8).flat_map(|word| {
                    (0..format.per_word()).map(move |part| {
                        number(row * 8 + word, part) * number(128 + column * 8 + word, part)
                    })
                });
                let want: i32 = products.sum();
                let got = match format {
                    Format::I8 => got.cast_signed(),
                    _ => f32::from_bits(got) as i32,
                };
                assert_eq!(got, want, "{format:?} {row} {column}");
            }
        }
    }
}

/// Writes a product, 16 rows of 8.
fn give(thread: Thread<'_>, [view, out]: [Global<u32>; 2], format: Format) {
    let c = multiply(thread, view, format);
    if thread.index() < WARP {
        let (row, column) = (thread.lane() / 4, 2 * (thread.lane() % 4));
        for (part, c) in (0..).zip(c) {
            let at = (row + 8 * (part / 2)) * 8 + column + part % 2;
            thread.write(out, at as usize, c);
        }
    }
}

#[test]
fn the_lowest_bits_take_no_part_in_tf32() {
    for result in run(LAUNCH, |thread, view| {
        let one = (1.0 + f32::EPSILON).to_bits();
        let c = thread.product(Format::Tf32, [one; 4], [one; 2], [0; 4]);
        let right = c == [8.0_f32.to_bits(); 4];
        let rounded = thread.to_tf32(F32(1.0 + f32::EPSILON * 4096.0));
        thread.write(view, index(thread), if right { rounded } else { 0 });
    }) {
        let want = (1.0 + f32::EPSILON * 8192.0).to_bits();
        assert_eq!(result, Ok(vec![want; 128]));
    }
}

#[test]
fn products_that_not_all_reach_are_found() {
    let found = fault_kinds(|thread, _| {
        if thread.lane() < 16 {
            let _ = thread.product(Format::I8, [0; 4], [0; 2], [0; 4]);
        }
    });
    assert_eq!(found, [FaultKind::Shuffle; 2]);
}

/// Whether both orders end in a race, at this word of shared memory or of the view.
fn races(shared: bool, word: u64, kernel: fn(Thread<'_>, Global<u32>)) {
    let at = if shared {
        word
    } else {
        address(first_view(), word)
    };
    for kind in fault_kinds(kernel) {
        match kind {
            FaultKind::Race {
                shared: s, address, ..
            } => assert_eq!((s, address), (shared, at)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn races_in_shared_memory_are_found() {
    // Two write.
    races(true, 5, |thread, _| {
        if thread.index() == 3 || thread.index() == 40 {
            thread.write_shared(Shared::<u32>::new(0, 64), 5, 1);
        }
    });
    // One reads what another writes, in either order.
    races(true, 5, |thread, _| {
        let shared = Shared::<u32>::new(0, 64);
        thread.write_shared(shared, thread.index(), 0);
        thread.sync_threads();
        if thread.index() == 3 {
            thread.write_shared(shared, 5, 1);
        } else if thread.index() == 9 {
            let _ = thread.read_shared(shared, 5);
        }
    });
    // A barrier too few at the end of a loop: several read, then one writes.
    races(true, 0, |thread, _| {
        let shared = Shared::<u32>::new(0, 64);
        for turn in 0..2 {
            if thread.index() == 0 {
                thread.write_shared(shared, 0, turn);
            }
            thread.sync_threads();
            let _ = thread.read_shared(shared, 0);
        }
    });
}

#[test]
fn a_barrier_ends_a_race() {
    for result in run(LAUNCH, |thread, view| {
        let shared = Shared::<u32>::new(0, 64);
        for turn in 0..3 {
            if thread.index() == turn {
                thread.write_shared(shared, 0, turn);
            }
            thread.sync_threads();
            let _ = thread.read_shared(shared, 0);
            thread.sync_threads();
        }
        thread.write(view, index(thread), 1);
    }) {
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn races_in_global_memory_are_found() {
    races(false, 7, |thread, view| {
        if thread.block() == 0 && thread.index() < 2 {
            thread.write(view, 7, 1);
        }
    });
    // No barrier orders two blocks: one that writes and one that reads, whoever comes first.
    races(false, 7, |thread, view| {
        thread.sync_threads();
        if thread.block() == 0 && thread.index() == 0 {
            thread.write(view, 7, 1);
        }
        if thread.block() == 1 {
            thread.sync_threads();
            let _ = thread.read(view, 7);
        } else {
            thread.sync_threads();
        }
    });
    // Threads of both blocks read; that alone is none.
    for result in run(LAUNCH, |thread, view| {
        let _ = thread.read(view, 7);
    }) {
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn a_launch_orders_what_the_one_before_wrote() {
    let mut memory = Memory::new();
    let view = memory.copy(&[0_u32; 128]);
    for _ in 0..2 {
        let kernel = |thread: Thread<'_>, view| {
            let i = 127 - index(thread);
            thread.write(view, i, thread.read(view, i) + 1);
        };
        memory
            .launch(LAUNCH, Order::Forward, kernel, view)
            .expect("no fault");
    }
    assert_eq!(memory.numbers(view), [2; 128]);
}

#[test]
fn barriers_that_not_all_reach_are_found() {
    // Some have ended.
    let found = fault_kinds(|thread, _| {
        if thread.index() != 17 {
            thread.sync_threads();
        }
    });
    assert_eq!(found, [FaultKind::Barrier; 2]);
    // They stand at two of them.
    let found = fault_kinds(|thread, view| {
        if thread.index() < 40 {
            thread.write(view, index(thread), 1);
            thread.sync_threads();
        } else {
            thread.sync_threads();
        }
    });
    assert_eq!(found, [FaultKind::Barrier; 2]);
}

#[test]
fn shuffles_that_not_all_reach_are_found() {
    let found = fault_kinds(|thread, _| {
        if thread.lane() < 16 {
            let _ = thread.shuffle_xor(1_u32, 1);
        }
    });
    assert_eq!(found, [FaultKind::Shuffle; 2]);
    let found = fault_kinds(|thread, _| {
        if thread.lane() < 16 {
            let _ = thread.ballot(true);
        } else {
            thread.sync_threads();
        }
    });
    assert_eq!(found, [FaultKind::Shuffle; 2]);
}

#[test]
fn a_launch_has_whole_warps() {
    for launch in [
        Launch {
            threads: 0,
            ..LAUNCH
        },
        Launch {
            threads: 33,
            ..LAUNCH
        },
        Launch {
            blocks: [0, 1],
            ..LAUNCH
        },
    ] {
        for result in run(launch, |_, _| {}) {
            assert_eq!(result.expect_err("a fault").kind, FaultKind::Launch);
        }
    }
}

#[test]
fn the_arithmetic_is_that_of_the_device() {
    use rivergram_core::lanes::Lanes;
    let x = F32(1.0 + f32::EPSILON);
    // Fused: ε² is not lost.
    assert_eq!(x.mul_add(x, -(x * x)), F32(f32::EPSILON * f32::EPSILON));
    assert_eq!(x.two_product(x), (x * x, F32(f32::EPSILON * f32::EPSILON)));
    assert_eq!(F32(2.0).sqrt(), F32(std::f32::consts::SQRT_2));
    for i in -800..800 {
        let x = i as f32 / 10.0;
        let (want, got) = (f64::from(x).exp(), f64::from(F32(x).exp().0));
        assert!((got - want).abs() <= 2e-7 * want, "{x}");
        let ln = f64::from(F32(x.exp()).ln().0);
        let want = f64::from(x.exp()).ln();
        assert!((ln - want).abs() <= 2e-7 * want.abs().max(1e-7), "{x}");
    }
}

#[test]
fn powers_of_two_and_exponentials_of_differences_are_those_of_core() {
    use rivergram_core::lanes::Lanes;
    for n in -126..=127_i32 {
        let (want, got) = ((n as f32).pow2(), F32(n as f32).pow2().0);
        assert_eq!(got, want, "{n}");
        assert_eq!(f64::from(got), 2.0_f64.powi(n), "{n}");
    }
    let odd = [-0.0, -87.3, -87.300_01, -1e-30, -1e30, -f32::MAX];
    let even = (0..=90_000).map(|i| -(i as f32) / 1000.0);
    for x in even.chain(odd).chain([f32::NEG_INFINITY]) {
        let [difference, exp] = [F32(x).exp_of_difference(), F32(x).exp()];
        assert_eq!(difference.0.to_bits(), exp.0.to_bits(), "{x}");
    }
    assert!(F32(f32::NAN).exp_of_difference().0.is_nan());
}
