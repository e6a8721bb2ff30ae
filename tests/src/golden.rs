//! The golden files: `tests/golden`, or the folder that `RIVERGRAM_GOLDEN` names.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::source::root;

/// The folder with the sub-folders `gram`, `eisl` and `schedule`.
pub fn folder() -> PathBuf {
    match std::env::var_os("RIVERGRAM_GOLDEN") {
        Some(folder) => from_root(Path::new(&folder)),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden"),
    }
}

/// Cargo runs a test in the folder of its crate: what is not found from there counts from the root of the
/// workspace, where one types the command.
fn from_root(folder: &Path) -> PathBuf {
    if folder.is_dir() {
        folder.to_path_buf()
    } else {
        root().join(folder)
    }
}

/// A golden file by its name under [`folder`], such as `gram/edge.json`.
pub fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = folder().join(name);
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The names of the JSON files in a sub-folder, sorted.
pub fn names(sub: &str) -> Vec<String> {
    let path = folder().join(sub);
    let mut names: Vec<String> = std::fs::read_dir(&path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .map(|entry| {
            entry
                .expect("a readable folder")
                .file_name()
                .into_string()
                .expect("a UTF-8 name")
        })
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_folder_may_count_from_the_root() {
        assert_eq!(from_root(Path::new("golden")), Path::new("golden"));
        assert_eq!(
            from_root(Path::new("tests/golden")),
            root().join("tests/golden")
        );
        let absent = root().join("no-such-folder");
        assert_eq!(from_root(&absent), absent);
    }
}
