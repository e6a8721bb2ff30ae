//! `rivergram-decode PROGRAM < OUTPUT`: the lines that a program printed through defmt, of which it wrote only
//! numbers: the texts are in the program's file.

use std::io::Read;
use std::process::ExitCode;

use defmt_decoder::{DecodeError, Table};

fn main() -> ExitCode {
    match decode() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn decode() -> Result<(), String> {
    let path = std::env::args_os().nth(1).ok_or("no program is named")?;
    let program = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let table = Table::parse(&program).map_err(|error| format!("{}: {error}", path.display()))?;
    let table = table.ok_or_else(|| format!("{}: does not print through defmt", path.display()))?;
    let mut output = Vec::new();
    let read = std::io::stdin().read_to_end(&mut output);
    read.map_err(|error| format!("the output: {error}"))?;
    let mut decoder = table.new_stream_decoder();
    decoder.received(&output);
    loop {
        match decoder.decode() {
            Ok(frame) => println!("{}", frame.display_message()),
            Err(DecodeError::UnexpectedEof) => return Ok(()),
            Err(DecodeError::Malformed) => return Err("a frame is malformed".to_string()),
        }
    }
}
