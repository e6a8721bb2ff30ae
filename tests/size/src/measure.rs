//! What one call costs: counted over two numbers of calls, and seen on a painted stack.

use core::hint::black_box;

use rivergram_board::stack::paint;
use semihosting::println;

use crate::clock::{STEP, WRAP, counter};

/// One line: a function of its own under the line's name, and its cost with these arguments.
macro_rules! cost {
    ($name:expr, $memory:expr, ($($argument:ident: $type:ty = $value:expr),*) -> $result:ty $body:block) => {{
        #[unsafe(export_name = $name)]
        #[inline(never)]
        fn function($($argument: $type),*) -> $result $body
        #[allow(unused_imports)]
        use core::hint::black_box;
        $crate::measure::print($name, $memory, &mut || {
            let _ = black_box(function($(black_box($value)),*));
        });
    }};
}

pub(crate) use cost;

/// Prints a line.
pub(crate) fn print(name: &str, memory: usize, call: &mut dyn FnMut()) {
    #[inline(never)]
    fn nothing() -> u32 {
        black_box(0)
    }
    let mut empty = || {
        black_box(nothing());
    };
    // What the measurement itself takes.
    let (stack, instructions) = (stack(&mut empty), instructions(&mut empty));
    let stack = self::stack(call).saturating_sub(stack);
    let instructions = self::instructions(call).saturating_sub(instructions);
    println!("{name}\t{memory}\t{stack}\t{instructions}");
}

/// Instructions over which the count is a mean: the error is two steps of the counter.
const ENOUGH: u64 = 100_000;

/// Instructions of one call: the difference between two numbers of calls, so that what happens once does not
/// count.
fn instructions(call: &mut dyn FnMut()) -> u32 {
    let mut calls = 1;
    loop {
        let (few, many) = (count(calls, call), count(3 * calls, call));
        let difference = many.saturating_sub(few) * u64::from(STEP);
        if difference >= ENOUGH {
            let calls = 2 * u64::from(calls);
            return ((difference + calls / 2) / calls) as u32;
        }
        calls *= 4;
    }
}

#[inline(never)]
fn count(calls: u32, call: &mut dyn FnMut()) -> u64 {
    let before = counter();
    for _ in 0..calls {
        call();
    }
    u64::from(counter().wrapping_sub(before) & WRAP)
}

/// Bytes of stack that are painted: more than any call takes.
const PAINTED: usize = 64 << 10;

/// Bytes between the measurement and a call: the empty call does not reach them either, so that the difference of two
/// is what one of them writes to.
const OWN: usize = 128;

/// Bytes of stack that one call writes to, and what the measurement itself does.
#[inline(never)]
fn stack(call: &mut dyn FnMut()) -> usize {
    let painted = paint(PAINTED);
    beyond_own(call);
    painted.used()
}

#[inline(never)]
fn beyond_own(call: &mut dyn FnMut()) {
    let mut own = [0_u8; OWN];
    black_box(&mut own);
    call();
    black_box(&mut own);
}
