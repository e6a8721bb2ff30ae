//! The golden files: `tests/golden`, or the folder that `RIVERGRAM_GOLDEN` names.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

/// The folder with the sub-folders `gram`, `eisl` and `schedule`.
pub fn folder() -> PathBuf {
    match std::env::var_os("RIVERGRAM_GOLDEN") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden"),
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
