//! What the library returns, logged as it is: its feature `defmt` has the types say themselves. All numbers are exact,
//! so every machine prints the same.
#![no_std]
#![no_main]

use defmt_semihosting as _;
use rivergram_board as board;
use rivergram_core::eisl::Losses;
use rivergram_core::encode::Reader;
use rivergram_core::error::{EislError, TrainError};
use rivergram_core::gram::contrastive::GramReport;
use rivergram_core::gram::int8::volume_i8_on;
use rivergram_core::gram::retrieval::{Metrics, Order, TopK};
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::{Plan, Settings, State};
use rivergram_core::trainer::Step;

#[board::entry]
fn main() -> ! {
    results();
    reports();
    board::exit(if schedule().is_some() { 0 } else { 1 })
}

/// Results as functions return them, good and bad.
fn results() {
    defmt::println!("{}", volume_i8_on(&[3, 0, 5, 4], &[1.0, 0.5], 2));
    defmt::println!("{}", volume_i8_on(&[3, 0, 5, 4], &[1.0, f32::NAN], 2));
    defmt::println!("{}", volume_i8_on(&[3, 0, 5], &[1.0, 0.5], 2));
    defmt::println!("{}", TrainError::from(EislError::EmptyVocabulary));
    let negative = Optimizer::<f32>::Sgd {
        momentum: -1.0,
        weight_decay: 0.0,
    };
    defmt::println!("{}", negative.check());
    defmt::println!("{}", Reader::open(&[0; 4], *b"RGTR", 1).err());
}

fn reports() {
    let step = Step {
        loss: 0.75_f32,
        rate: 0.125,
        gradient_norm: 2.5,
    };
    defmt::println!("{}", step);
    defmt::println!("{}", GramReport::<f32>::default());
    defmt::println!("{}", Losses::<f32>::default());
    let mut top = TopK::<f32, 2>::new(Order::Ascending);
    top.push_row(&[0.5, 0.25, 0.25], 10);
    defmt::println!("{}", top);
    defmt::println!("{}", Metrics::<f32>::of(&[0, 3]));
}

/// The state of a schedule after its first update, and where that is.
fn schedule() -> Option<()> {
    let plan = Plan::new(Settings::wsd_s(0.5_f32, 0.25), &[8]);
    defmt::println!("{}", plan);
    let plan = plan.ok()?;
    let mut state = State::new(&plan);
    state.advance();
    defmt::println!("{}", state.progress());
    defmt::println!("{}", state.position());
    defmt::println!(
        "{}",
        Plan::new(Settings::wsd_s(0.5_f32, 0.25), &[8, 8]).err()
    );
    Some(())
}
