//! The programs that parts need, and where they come from.

use std::fmt::Display;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::job::say;

/// A program that may be missing on a fresh machine.
#[derive(Debug)]
pub(crate) struct Tool {
    /// How to see whether it is there.
    pub(crate) probe: Probe,
    /// The Debian package that has it, or several with blanks between them.
    pub(crate) apt: &'static str,
    /// The rustup component that has it: asked for first where rustup is.
    pub(crate) component: Option<&'static str>,
}

/// How to see whether a tool is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Probe {
    /// A command that succeeds where it is, such as `["qemu-system-arm", "--version"]`.
    Command(&'static [&'static str]),
    /// What is looked for, in words, and the look.
    Look(&'static str, fn() -> bool),
}

impl Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Probe::Command(words) => write!(f, "`{}` does not answer", words.join(" ")),
            Probe::Look(what, _) => write!(f, "there is no {what}"),
        }
    }
}

impl Tool {
    /// Whether the tool answers.
    pub(crate) fn is_here(&self) -> bool {
        match self.probe {
            Probe::Command([program, arguments @ ..]) => {
                succeeds(Command::new(program).args(arguments))
            }
            Probe::Command([]) => true,
            Probe::Look(_, look) => look(),
        }
    }

    /// What to type to get the tool.
    pub(crate) fn remedy(&self, rustup: bool) -> String {
        match self.component {
            Some(component) if rustup => format!("rustup component add {component}"),
            _ => format!("apt-get install {}", self.apt),
        }
    }
}

/// Whether rustup manages the toolchain.
pub(crate) fn has_rustup() -> bool {
    succeeds(Command::new("rustup").arg("--version"))
}

/// Installs what is missing of `tools` and says so. What could not be installed stays missing, and the
/// part that needs it reports that.
pub(crate) fn install(tools: &[&Tool]) {
    let missing: Vec<&Tool> = tools
        .iter()
        .copied()
        .filter(|tool| !tool.is_here())
        .collect();
    if missing.is_empty() {
        return say("setup: nothing is missing");
    }
    let (components, packages) = sort(&missing, has_rustup());
    if !components.is_empty() {
        let mut command = Command::new("rustup");
        attempt(command.args(["component", "add"]).args(components));
    }
    if !packages.is_empty() {
        let Some(prefix) = root_prefix(
            is_root(),
            succeeds(Command::new("sudo").args(["-n", "true"])),
        ) else {
            return say(&format!(
                "setup: neither root nor sudo without a password: cannot install {}",
                packages.join(" ")
            ));
        };
        attempt(&mut apt(prefix, &["update"]));
        let mut command = apt(prefix, &["install", "--yes", "--no-install-recommends"]);
        attempt(command.args(packages));
    }
}

/// The rustup components and the Debian packages that `missing` needs, each once.
fn sort(missing: &[&Tool], rustup: bool) -> (Vec<&'static str>, Vec<&'static str>) {
    let mut components = Vec::new();
    let mut packages = Vec::new();
    for tool in missing {
        let (list, names) = match tool.component {
            Some(component) if rustup => (&mut components, component),
            _ => (&mut packages, tool.apt),
        };
        for name in names.split_whitespace() {
            if !list.contains(&name) {
                list.push(name);
            }
        }
    }
    (components, packages)
}

/// The words before `apt-get` that make it run as root.
fn root_prefix(root: bool, sudo: bool) -> Option<&'static [&'static str]> {
    match (root, sudo) {
        (true, _) => Some(&["env"]),
        (false, true) => Some(&["sudo", "-n", "env"]),
        (false, false) => None,
    }
}

fn apt(prefix: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new(prefix[0]);
    command
        .args(&prefix[1..])
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .args(arguments);
    command
}

/// Linux gives `/proc/self` to the user that runs the process.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|own| own.uid() == 0)
}

fn attempt(command: &mut Command) {
    say(&format!("setup: {command:?}").replace('"', ""));
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => say(&format!("setup: failed: {status}")),
        Err(error) => say(&format!("setup: failed: {error}")),
    }
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM_APT: Tool = Tool {
        probe: Probe::Command(&["no-such-program-here"]),
        apt: "a-package its-source",
        component: None,
    };
    const FROM_RUSTUP: Tool = Tool {
        probe: Probe::Look("such thing", || false),
        apt: "another-package",
        component: Some("a-component"),
    };

    #[test]
    fn each_missing_tool_is_named_once_with_its_source() {
        let missing = [&FROM_APT, &FROM_RUSTUP, &FROM_APT, &FROM_RUSTUP];
        assert_eq!(
            sort(&missing, true),
            (vec!["a-component"], vec!["a-package", "its-source"])
        );
        assert_eq!(
            sort(&missing, false),
            (vec![], vec!["a-package", "its-source", "another-package"])
        );
        assert_eq!(FROM_RUSTUP.remedy(true), "rustup component add a-component");
        assert_eq!(FROM_RUSTUP.remedy(false), "apt-get install another-package");
        assert!(!FROM_APT.is_here() && !FROM_RUSTUP.is_here());
        assert_eq!(
            FROM_APT.probe.to_string(),
            "`no-such-program-here` does not answer"
        );
        assert_eq!(FROM_RUSTUP.probe.to_string(), "there is no such thing");
    }

    #[test]
    fn packages_need_root() {
        assert_eq!(root_prefix(false, false), None);
        let with_sudo = root_prefix(false, true).map(|prefix| apt(prefix, &["update"]));
        assert_eq!(
            with_sudo.map(|command| format!("{command:?}").replace('"', "")),
            Some("sudo -n env DEBIAN_FRONTEND=noninteractive apt-get update".to_string())
        );
    }
}
