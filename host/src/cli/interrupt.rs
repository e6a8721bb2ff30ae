//! Ctrl-C, and what ends programs elsewhere (SIGTERM, SIGHUP): the first one lets the run save what it has, the second
//! one ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::progress::Screen;

/// The exit code of a program that was interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

static STOP: AtomicBool = AtomicBool::new(false);

/// Listens to these signals from now on; the flag that it sets.
pub(crate) fn listen(screen: Screen) -> &'static AtomicBool {
    let told = screen.clone();
    let listening = ctrlc::set_handler(move || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        told.say("stopping after this update; Ctrl-C again to abort");
    });
    if let Err(e) = listening {
        screen.say(&format!("warning: Ctrl-C will stop at once: {e}"));
    }
    &STOP
}
