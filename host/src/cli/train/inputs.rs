//! The lines that tell what the files of a run hold.

use rivergram::train::{InputModality, InputSet, Inputs};

/// A line for each file of all modalities, and one for each modality, in the order in which they are used.
pub(crate) fn lines(inputs: &Inputs) -> Vec<String> {
    let batches = format!(", batches of {}", inputs.batch);
    let mut lines = of_set("training data", &batches, &inputs.train, &inputs.anchor);
    if let Some(test) = &inputs.test {
        lines.extend(of_set("test data", "", test, &inputs.anchor));
    }
    lines
}

fn of_set(what: &str, more: &str, set: &InputSet, anchor: &str) -> Vec<String> {
    let names = set.modalities.iter().map(|m| m.name.chars().count());
    let width = names.max().unwrap_or(0);
    let modality = |(place, modality): (usize, &InputModality)| {
        let InputModality {
            name,
            file,
            dim,
            rows,
            absent,
        } = modality;
        let absent = match absent {
            0 => "none absent".to_string(),
            absent => format!("{absent} absent (zeros)"),
        };
        let anchor = if name == anchor { ", the anchor" } else { "" };
        let file = file.as_ref();
        let file = file.map_or(String::new(), |file| format!(", {}", file.display()));
        format!("  {place}. {name:width$}  {rows} rows of {dim} numbers, {absent}{anchor}{file}")
    };
    let modalities = (1..).zip(&set.modalities).map(modality);
    std::iter::once(head(what, set) + more)
        .chain(modalities)
        .collect()
}

fn head(what: &str, set: &InputSet) -> String {
    let file = set.file.as_ref();
    let file = file.map_or(String::new(), |file| format!("{}, ", file.display()));
    let labels = match set.labels {
        Some(labels) => format!("{labels} different labels"),
        None => "no labels".to_string(),
    };
    let alone = match set.alone {
        0 => String::new(),
        alone => format!(", {alone} items with fewer than two modalities"),
    };
    format!("{what}: {file}{} items, {labels}{alone}", set.items)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn modality(name: &str, file: Option<&str>, absent: usize) -> InputModality {
        InputModality {
            name: name.to_string(),
            file: file.map(PathBuf::from),
            dim: 4,
            rows: 9 - absent,
            absent,
        }
    }

    fn set(file: Option<&str>, alone: usize, modalities: Vec<InputModality>) -> InputSet {
        InputSet {
            file: file.map(PathBuf::from),
            items: 9,
            labels: file.map(|_| 3),
            alone,
            modalities,
        }
    }

    #[test]
    fn files_of_several_modalities_are_told_once() {
        let of = || vec![modality("audio", None, 0), modality("é", None, 2)];
        let inputs = Inputs {
            anchor: "audio".to_string(),
            batch: 3,
            train: set(Some("a/d.safetensors"), 2, of()),
            test: Some(set(Some("t.safetensors"), 0, of())),
        };
        let expected = [
            "training data: a/d.safetensors, 9 items, 3 different labels, 2 items with fewer than two modalities, batches of 3",
            "  1. audio  9 rows of 4 numbers, none absent, the anchor",
            "  2. é      7 rows of 4 numbers, 2 absent (zeros)",
            "test data: t.safetensors, 9 items, 3 different labels",
            "  1. audio  9 rows of 4 numbers, none absent, the anchor",
            "  2. é      7 rows of 4 numbers, 2 absent (zeros)",
        ];
        assert_eq!(lines(&inputs), expected);
    }

    #[test]
    fn files_of_one_modality_are_told_with_it() {
        let of = vec![
            modality("b", Some("y.npy"), 0),
            modality("a", Some("x.npy"), 1),
        ];
        let inputs = Inputs {
            anchor: "a".to_string(),
            batch: 9,
            train: set(None, 0, of),
            test: None,
        };
        let expected = [
            "training data: 9 items, no labels, batches of 9",
            "  1. b  9 rows of 4 numbers, none absent, y.npy",
            "  2. a  8 rows of 4 numbers, 1 absent (zeros), the anchor, x.npy",
        ];
        assert_eq!(lines(&inputs), expected);
    }
}
