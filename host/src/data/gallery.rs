//! Galleries: the sets among which retrieval has to find the match.
//!
//! With labels the k-th item of every label, labels ascending, forms gallery k, so that each label stands in a gallery
//! once and a hit is the item of the same label. Where labels have different numbers of items, there are as many
//! galleries as the rarest label has items, all of the same size; the items left over are counted. Without labels
//! there is one gallery of all rows and a hit is the same row.
//!
//! In both cases the match of the i-th query is the i-th item of its gallery.

use super::Dataset;
use super::sample::group;

/// The galleries of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Galleries {
    /// The rows of each gallery; all have the same length.
    pub rows: Vec<Vec<usize>>,
    /// Items in no gallery.
    pub left_out: usize,
}

/// Divides a dataset into galleries.
pub fn galleries(data: &Dataset) -> Galleries {
    let rows = match data.labels.as_deref() {
        None => vec![(0..data.n).collect()],
        Some(labels) => {
            let groups = group(labels);
            let count = groups.iter().map(Vec::len).min().unwrap_or(0);
            let gallery = |k: usize| {
                groups
                    .iter()
                    .filter_map(|rows| rows.get(k).copied())
                    .collect()
            };
            (0..count).map(gallery).collect()
        }
    };
    let used: usize = rows.iter().map(Vec::len).sum();
    Galleries {
        left_out: data.n.saturating_sub(used),
        rows,
    }
}
