//! Rivals in Python: a process that does one piece of work when it is asked, and tells how long that took.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::timing::Contestant;

/// The environment variable that names the interpreter.
const VARIABLE: &str = "RIVERGRAM_PYTHON";

/// How to make one.
pub(crate) const ADVICE: &str = "\
the peers need a Python with torch and faiss; to make one:
  python3 -m venv ~/rivergram-peers
  ~/rivergram-peers/bin/pip install torch faiss-cpu numpy
  RIVERGRAM_PYTHON=~/rivergram-peers/bin/python cargo xtask bench --peers";

const PROGRAM: &str = include_str!("../peers.py");

struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// The process, shared by the contestants that are in it.
#[derive(Clone)]
pub(crate) struct Python(Rc<RefCell<Process>>);

impl Python {
    /// Starts the interpreter that the variable names, else `python3`, and waits until it has its libraries.
    pub(crate) fn start() -> Result<Self, String> {
        let program = std::env::var(VARIABLE).unwrap_or_else(|_| "python3".to_string());
        let mut child = Command::new(&program)
            .args(["-c", PROGRAM])
            .env("OMP_NUM_THREADS", "1")
            .env("MKL_NUM_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|why| format!("{program}: {why}\n{ADVICE}"))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{program} has no pipes"));
        };
        let python = Python(Rc::new(RefCell::new(Process {
            child,
            to,
            from: BufReader::new(from),
        })));
        // A small piece of work: it tells whether the libraries are there.
        for (work, size) in [("gram free", [2, 3, 4]), ("faiss", [20, 4, 1])] {
            let mut probe = python.contestant("", work, &size);
            (probe.run)().map_err(|why| format!("{program}: {why}\n{ADVICE}"))?;
        }
        Ok(python)
    }

    /// Someone who does this work there.
    pub(crate) fn contestant(&self, name: &str, work: &'static str, size: &[usize]) -> Contestant {
        let mut loan = Loan {
            python: self.clone(),
            work,
            size: size.to_vec(),
            is_loaded: false,
        };
        Contestant::timed(name, move || loan.run())
    }

    fn ask(&self, request: &Value) -> Result<Duration, String> {
        let mut process = self.0.borrow_mut();
        let gone = |why: std::io::Error| format!("Python has gone: {why}");
        writeln!(process.to, "{request}").map_err(gone)?;
        process.to.flush().map_err(gone)?;
        let mut line = String::new();
        process.from.read_line(&mut line).map_err(gone)?;
        answer(&line)
    }
}

/// Work that the process holds for as long as its row runs.
struct Loan {
    python: Python,
    work: &'static str,
    size: Vec<usize>,
    is_loaded: bool,
}

impl Loan {
    fn run(&mut self) -> Result<Duration, String> {
        if !self.is_loaded {
            self.ask("load")?;
            self.is_loaded = true;
        }
        self.ask("run")
    }

    fn ask(&self, what: &str) -> Result<Duration, String> {
        let request = json!({"do": what, "work": self.work, "size": self.size});
        self.python.ask(&request)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if self.is_loaded {
            // Nothing is left to tell where the process has gone.
            let _ = self.ask("forget");
        }
    }
}

fn answer(line: &str) -> Result<Duration, String> {
    let value: Value =
        serde_json::from_str(line).map_err(|_| format!("Python says {:?}", line.trim()))?;
    match (value["ms"].as_f64(), value["error"].as_str()) {
        (Some(ms), None) if ms >= 0.0 => Ok(Duration::from_secs_f64(ms / 1e3)),
        (_, Some(why)) => Err(why.to_string()),
        _ => Err(format!("Python says {value}")),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(answer("{\"ms\": 2.5}"), Ok(Duration::from_micros(2500)));
        assert_eq!(
            answer("{\"error\": \"no torch\"}"),
            Err("no torch".to_string())
        );
        assert!(answer("Traceback").is_err() && answer("{}").is_err() && answer("").is_err());
    }
}
