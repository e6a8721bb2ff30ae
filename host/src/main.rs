//! The program `rivergram`: trains, tunes and says what this machine can.
#![deny(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
