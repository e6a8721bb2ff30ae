//! Nothing but the training of three heads, as small as an image gets: the GRAM loss, WSD-S, and AdamW, or where
//! memory is short SGD, all of them constants of the program. It says nothing: its exit code tells whether the loss has
//! fallen well, and the stack that it took.
#![no_std]
#![no_main]

use rivergram_board as board;
use rivergram_board::memory::Memory;
use rivergram_core::schedule::rate_at;
use rivergram_firmware::align::{self, Heads, Paper};
use rivergram_firmware::training::{self, Room, SMALL};

const PEAK: f32 = if SMALL { 0.3 } else { 0.01 };
/// Without moments it takes longer.
const BUDGETS: [u64; 1] = [if SMALL { 150 } else { 100 }];

static ROOM: Memory<Room<{ align::FLOATS }, align::Rows>> =
    Memory::new(Room::new([[0; align::BATCH]; 3]));

#[board::entry]
fn main() -> ! {
    let stack = board::stack::paint(8 * 1024);
    let has_learned = ROOM.take().and_then(run) == Some(true);
    // In units of 64 bytes, which fit the exit code: those of success begin at 128.
    let blocks = stack.used().div_ceil(64);
    let fits = has_learned && blocks <= 64;
    board::exit(if fits { 128 + blocks as i32 } else { 1 })
}

fn run(room: &mut Room<{ align::FLOATS }, align::Rows>) -> Option<bool> {
    let mut heads = Heads::new(&mut room.floats, &mut room.batch)?;
    let (mut first, mut last) = (None, 0.0);
    let rate = |t| rate_at(training::settings(PEAK), &BUDGETS, t);
    let trained = heads.train::<Paper>(rate, BUDGETS[0], |step| {
        first.get_or_insert(step.loss);
        last = step.loss;
    });
    Some(trained.is_ok() && last < 0.6 * first?)
}
