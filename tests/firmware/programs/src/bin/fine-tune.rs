//! What the library is for: three heads that learn to find one another's numbers, then a head that learns to read
//! digits from labels in the wrong order, on the device, in one static. It says what came of it through defmt.
#![no_std]
#![no_main]

use defmt_semihosting as _;
use rivergram_board as board;
use rivergram_board::memory::Memory;
use rivergram_core::schedule::rate_at;
use rivergram_firmware::align::{self, Heads, WithPairs};
use rivergram_firmware::training::{self, Room, SMALL, larger};
use rivergram_firmware::transcribe::{self, CrossEntropy, Drawn, EditInvariant, Transcriber};

/// Of the heads: the rates at the peak, and the budgets, each of which ends in a decay.
const ALIGN_PEAK: f32 = if SMALL { 0.3 } else { 0.01 };
const ALIGN_BUDGETS: &[u64] = if SMALL { &[100, 200] } else { &[200, 400] };

/// Of the transcriber: cross-entropy in the first budget, the edit-invariant loss in the second.
const TRANSCRIBE_PEAK: f32 = if SMALL { 1.0 } else { 0.03 };
const TRANSCRIBE_BUDGETS: [u64; 2] = [50, 200];

/// The two trainings follow each other in the same memory.
type Both = Room<{ larger(align::FLOATS, transcribe::FLOATS) }, (align::Rows, Drawn)>;

static ROOM: Memory<Both> = Memory::new(Room::new(([[0; align::BATCH]; 3], Drawn::NONE)));

/// Exits with 0 if both trainings taught what they should.
#[board::entry]
fn main() -> ! {
    let stack = board::stack::paint(8 * 1024);
    let done = ROOM.take().and_then(run);
    defmt::println!("stack: {=usize} bytes", stack.used());
    board::exit(if done.is_some() { 0 } else { 1 })
}

fn run(memory: &mut Both) -> Option<()> {
    defmt::println!("state: {=usize} bytes", size_of::<Both>());
    heads(memory)?;
    transcriber(memory)
}

/// Thousandths, which every machine prints alike.
fn thousandths(x: f32) -> u32 {
    (x * 1000.0 + 0.5) as u32
}

fn heads(memory: &mut Both) -> Option<()> {
    let mut heads = Heads::new(&mut memory.floats, &mut memory.batch.0)?;
    let (before, count) = heads.found()?;
    defmt::println!("heads, 0 updates: R@1 {=u32}/{=u32}", before, count);
    let mut after = before;
    for updates in ALIGN_BUDGETS {
        let mut last = Default::default();
        let rate = |t| rate_at(training::settings(ALIGN_PEAK), ALIGN_BUDGETS, t);
        heads
            .train::<WithPairs>(rate, *updates, |step| last = step)
            .ok()?;
        (after, _) = heads.found()?;
        defmt::println!(
            "heads, {=u64} updates: R@1 {=u32}/{=u32}, loss {=u32}/1000",
            updates,
            after,
            count,
            thousandths(last.loss)
        );
    }
    // Of a hundred candidates chance finds one.
    (before * 20 < count && after * 4 > count).then_some(())
}

fn transcriber(memory: &mut Both) -> Option<()> {
    let mut head = Transcriber::new(&mut memory.floats, &mut memory.batch.1)?;
    let (before, count) = head.wrong();
    defmt::println!(
        "transcriber, 0 updates: {=u32}/{=u32} digits wrong",
        before,
        count
    );
    let settings = training::settings(TRANSCRIBE_PEAK);
    let rate = |t| rate_at(settings, &TRANSCRIBE_BUDGETS, t);
    let mut after = before;
    for (place, updates) in (0..).zip(TRANSCRIBE_BUDGETS) {
        let step = match place {
            0 => head.train::<CrossEntropy>(rate, updates),
            _ => head.train::<EditInvariant>(rate, updates),
        };
        let step = step.ok()?;
        (after, _) = head.wrong();
        defmt::println!(
            "transcriber, {=u64} updates: {=u32}/{=u32} digits wrong, loss {=u32}/1000",
            updates,
            after,
            count,
            thousandths(step.loss)
        );
    }
    (before * 2 > count && after * 6 < count).then_some(())
}
