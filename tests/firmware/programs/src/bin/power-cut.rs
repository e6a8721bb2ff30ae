//! A training that goes on wherever the power was cut: it boots, takes up what the flash holds, trains to the end and
//! commits on the way. The flash is the file `flash.bin`; at the end what every slot holds goes to `final.bin`.
#![no_std]
#![no_main]

use rivergram_board as board;
use rivergram_board::memory::Memory;
use rivergram_core::flash::{Layout, Slot, Store};
use rivergram_core::schedule::Plan;
use rivergram_firmware::align::{self, Heads, WithPairs};
use rivergram_firmware::flash::FileFlash;
use rivergram_firmware::training::{self, Room, SMALL};
use semihosting::fs::File;
use semihosting::io::Write;

const PEAK: f32 = if SMALL { 0.3 } else { 0.01 };
const BUDGETS: [u64; 2] = [40, 80];
/// Updates between two commits of the latest state.
const EVERY: u64 = 2;

static ROOM: Memory<Room<{ align::FLOATS }, align::Rows>> =
    Memory::new(Room::new([[0; align::BATCH]; 3]));

#[board::entry]
fn main() -> ! {
    let done = ROOM.take().and_then(run);
    board::exit(if done.is_some() { 0 } else { 1 })
}

fn run(room: &mut Room<{ align::FLOATS }, align::Rows>) -> Option<()> {
    let plan = Plan::new(training::settings(PEAK), &BUDGETS).ok()?;
    let mut heads = Heads::new(&mut room.floats, &mut room.batch)?;
    let mut flash = FileFlash::open(c"flash.bin")?;
    let layout = Layout {
        start: 0,
        end: u32::try_from(embedded_storage::nor_flash::ReadNorFlash::capacity(&flash)).ok()?,
        payload: align::STORED,
        budgets: BUDGETS.len(),
    };
    let mut store = Store::open(&mut flash, &layout).ok()?;
    if store.lost().is_some() {
        return None;
    }
    if store.has(Slot::Latest) {
        heads.recover(&plan, &store, &mut flash, Slot::Latest)?;
    }
    while heads.updates() < BUDGETS[1] {
        heads
            .train::<WithPairs>(|t| plan.lr_at(t), heads.updates() + 1, |_| {})
            .ok()?;
        let step = heads.updates();
        let kept = plan.decays().find_map(|decay| match step {
            _ if step == decay.start => Some(Slot::BeforeDecay),
            _ if step == decay.end => Some(Slot::Budget(step)),
            _ => None,
        });
        match kept {
            Some(slot) => heads.commit(&plan, &mut store, &mut flash, &[slot, Slot::Latest])?,
            None if step.is_multiple_of(EVERY) => {
                heads.commit(&plan, &mut store, &mut flash, &[Slot::Latest])?;
            }
            None => {}
        }
    }
    let mut end = File::create(c"final.bin").ok()?;
    for slot in [
        Slot::BeforeDecay,
        Slot::Budget(BUDGETS[0]),
        Slot::Budget(BUDGETS[1]),
        Slot::Latest,
    ] {
        heads.recover(&plan, &store, &mut flash, slot)?;
        end.write_all(&heads.updates().to_le_bytes()).ok()?;
        for number in heads.numbers().into_iter().flatten() {
            end.write_all(&number.to_le_bytes()).ok()?;
        }
    }
    Some(())
}
