//! `rivergram paths`: what this machine has.

use std::process::ExitCode;

use clap::Args;
use rivergram::error::Result;
use rivergram::path;
use serde_json::json;

use super::output;

/// Its flags.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// As if this path were asked for (default: auto)
    #[arg(long, value_name = "NAME")]
    path: Option<String>,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Lists the paths.
pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    let choice = path::choose(flags.path.as_deref())?;
    let chosen = choice.engine.name();
    let list = path::list();
    if flags.json {
        let paths: Vec<_> = list
            .iter()
            .map(|path| match path.available {
                Ok(()) => json!({"name": path.name, "available": true}),
                Err(why) => {
                    json!({"name": path.name, "available": false, "why": why.to_string()})
                }
            })
            .collect();
        let reason = choice.reason.to_string();
        output::print_json(&json!({"paths": paths, "chosen": chosen, "reason": reason}));
    } else {
        let mut table = String::new();
        for path in list {
            let what = match path.available {
                Ok(()) if path.name == chosen => format!("yes, chosen: {}", choice.reason),
                Ok(()) => "yes".to_string(),
                Err(why) => format!("no, {why}"),
            };
            table += &format!("{:<8}  {what}\n", path.name);
        }
        output::print(&table);
    }
    Ok(ExitCode::SUCCESS)
}
