//! Ctrl-C, and what ends programs elsewhere (SIGTERM, SIGHUP): the first one lets the run save what it has, the second
//! one ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::progress::Screen;

/// The exit code of a program that was interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

static STOP: AtomicBool = AtomicBool::new(false);

/// Listens to these signals from now on; the flag that it sets. The first one ends what is being done after `this`.
pub(crate) fn listen(screen: Screen, this: &'static str) -> &'static AtomicBool {
    let told = screen.clone();
    let listening = ctrlc::set_handler(move || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        told.say(&format!(
            "stopping after this {this}; Ctrl-C again to abort"
        ));
    });
    if let Err(e) = listening {
        screen.say(&format!("warning: Ctrl-C will stop at once: {e}"));
    }
    &STOP
}
