//! What cargo says about the workspace: no crate, feature or folder is listed here by hand.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Where the build script of `cust` looks for the driver's library.
const CUDA: &str = "CUDA_LIBRARY_PATH";

/// The workspace as `cargo metadata` describes it.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Absolute, and the same for every command, wherever this one was started.
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One member of the workspace.
#[derive(Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) publishable: bool,
    /// Without `default`.
    pub(crate) features: Vec<String>,
    /// The examples that not every build has, each with the features that it needs.
    pub(crate) gated_examples: Vec<(String, Vec<String>)>,
    pub(crate) rust_version: Option<String>,
    /// Whether it claims to do without the standard library: its category.
    pub(crate) no_std: bool,
    /// Whether it is written with the vectors of the target: it depends on `wide`.
    pub(crate) has_vectors: bool,
}

impl Workspace {
    /// Asks cargo, from the folder of the caller: a relative `CARGO_TARGET_DIR` counts from there.
    pub(crate) fn load() -> Result<Self, String> {
        let own = std::env::var_os("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let manifest = Path::new(&own).join("Cargo.toml");
        let output = Command::new(cargo())
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .arg("--manifest-path")
            .arg(manifest)
            .output()
            .map_err(|e| format!("cargo metadata: {e}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let metadata =
            serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
        Self::read(&metadata).ok_or_else(|| "cargo metadata: a field is missing".to_string())
    }

    fn read(metadata: &Value) -> Option<Self> {
        Some(Self {
            root: metadata["workspace_root"].as_str()?.into(),
            target: metadata["target_directory"].as_str()?.into(),
            packages: metadata["packages"]
                .as_array()?
                .iter()
                .map(Package::read)
                .collect::<Option<_>>()?,
        })
    }

    /// A cargo command in the root of the workspace.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(cargo());
        command.args(arguments);
        if std::env::var_os(CUDA).is_none() {
            command.env(CUDA, self.no_cuda());
        }
        command
    }

    /// A folder that the build script of `cust` takes for a CUDA installation. There is nothing in it, and nothing is
    /// linked: its example is only checked.
    fn no_cuda(&self) -> PathBuf {
        let folder = self.target.join("no-cuda");
        // Where it cannot be made, that build script says what it lacks.
        let _ = std::fs::create_dir_all(folder.join("lib64"));
        folder
    }

    /// Any other program in the root of the workspace.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        command
    }
}

impl Package {
    fn read(package: &Value) -> Option<Self> {
        Some(Self {
            name: package["name"].as_str()?.to_string(),
            version: package["version"].as_str()?.to_string(),
            // `publish = false` arrives as an empty list of registries, no word on it as null.
            publishable: package["publish"]
                .as_array()
                .is_none_or(|list| !list.is_empty()),
            features: package["features"]
                .as_object()?
                .keys()
                .filter(|name| *name != "default")
                .cloned()
                .collect(),
            gated_examples: package["targets"]
                .as_array()?
                .iter()
                .filter(|target| target["kind"][0] == "example")
                .filter_map(gate)
                .collect(),
            rust_version: package["rust_version"].as_str().map(str::to_string),
            no_std: package["categories"]
                .as_array()
                .is_some_and(|list| list.iter().any(|category| category == "no-std")),
            has_vectors: package["dependencies"]
                .as_array()?
                .iter()
                .any(|dependency| dependency["name"] == "wide"),
        })
    }
}

/// The name of a target and the features that it needs, where it needs any.
fn gate(target: &Value) -> Option<(String, Vec<String>)> {
    let features = target["required-features"].as_array()?.iter();
    let features: Option<_> = features.map(|f| f.as_str().map(str::to_string)).collect();
    Some((target["name"].as_str()?.to_string(), features?))
}

/// The cargo that runs this program, so that `cargo +toolchain xtask` stays with its toolchain.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
