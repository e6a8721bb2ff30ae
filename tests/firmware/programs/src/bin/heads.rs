//! Nothing but the training of three heads, as small as an image gets: the GRAM loss, WSD-S, and AdamW, or where
//! memory is short SGD. It says nothing, and exits with 0 if the loss has fallen well. The stack that it took lies
//! where a debugger, or the test, finds it.
#![no_std]
#![no_main]

use rivergram_board as board;
use rivergram_board::memory::Memory;
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::{Plan, Settings};
use rivergram_firmware::align::{self, Heads};

const SMALL: bool = cfg!(small);
const STATE: usize = if SMALL { 0 } else { 2 };
const PEAK: f32 = if SMALL { 0.3 } else { 0.01 };
const BUDGETS: [u64; 1] = [100];

struct State {
    floats: [f32; align::floats(STATE)],
    bytes: [i8; align::BYTES],
}

static STATE_OF_ALL: Memory<State> = Memory::new(State {
    floats: [0.0; align::floats(STATE)],
    bytes: [0; align::BYTES],
});

#[board::entry]
fn main() -> ! {
    let stack = board::stack::paint(8 * 1024);
    let has_learned = STATE_OF_ALL.take().and_then(run) == Some(true);
    // In units of 64 bytes, which fit the exit code: those of success begin at 128.
    let blocks = stack.used().div_ceil(64).min(64) as i32;
    board::exit(if has_learned { 128 + blocks } else { 1 })
}

fn run(memory: &mut State) -> Option<bool> {
    let optimizer = if SMALL {
        Optimizer::sgd()
    } else {
        Optimizer::adamw()
    };
    let settings = Settings {
        warmup: 10,
        ..Settings::wsd_s(PEAK, PEAK / 100.0)
    };
    let plan = Plan::new(settings, &BUDGETS).ok()?;
    let mut heads = Heads::new(optimizer, &mut memory.floats, &mut memory.bytes)?;
    let (mut first, mut last) = (None, 0.0);
    let trained = heads.train(&plan, BUDGETS[0], |step| {
        first.get_or_insert(step.loss);
        last = step.loss;
    });
    Some(trained.is_ok() && last < 0.6 * first?)
}
