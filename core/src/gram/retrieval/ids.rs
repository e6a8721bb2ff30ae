//! Ranks where an item has several texts: both sides carry ids, and equal ids match.

use super::{Order, best_of, rank_of};
use crate::error::GramError;
use crate::lanes::Real;
use crate::ops::Walk;

/// The rank of the first item with this id among a text's scores \[items\]; `None` where no item has it.
/// Cost: one comparison per item.
///
/// ```
/// use rivergram_core::gram::retrieval::{Order, forward_rank};
///
/// let (items, scores) = ([7, 9, 7], [0.3, 0.1, 0.2]);
/// assert_eq!(forward_rank(&scores, &items, &7, Order::Ascending), Some(2));
/// assert_eq!(forward_rank(&scores, &items, &8, Order::Ascending), None);
/// ```
pub fn forward_rank<T: Real, Id: PartialEq>(
    scores: &[T],
    items: &[Id],
    id: &Id,
    order: Order,
) -> Option<usize> {
    let candidates = (0..scores.len()).zip(scores.iter().copied());
    let mut matching = candidates.zip(items).filter(|(_, other)| *other == id);
    let ((index, score), _) = matching.next()?;
    Some(rank_of(scores.iter().copied(), (score, index), order))
}

/// [`forward_rank`] of every text: text → item retrieval.
///
/// `scores` \[texts, items\], row-major; the ids of the texts and of the items, of any type that compares;
/// `ranks` \[texts\]. Errors: sizes; a text that no item matches, with its row. What `ranks` holds after an
/// error is unspecified. Cost: texts · items comparisons.
///
/// ```
/// use rivergram_core::gram::retrieval::{Order, forward_ranks};
///
/// let (texts, items) = ([5, 5, 6], [5, 6]);
/// let volumes = [0.1, 0.9, 0.8, 0.3, 0.4, 0.2];
/// let mut ranks = [0; 3];
/// forward_ranks(&volumes, &texts, &items, Order::Ascending, &mut ranks)?;
/// assert_eq!(ranks, [0, 1, 0]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn forward_ranks<T: Real, Id: PartialEq>(
    scores: &[T],
    texts: &[Id],
    items: &[Id],
    order: Order,
    ranks: &mut [usize],
) -> Result<(), GramError> {
    check_sizes(scores, texts, items, texts.len(), ranks.len())?;
    if items.is_empty() && !texts.is_empty() {
        return Err(GramError::NoMatch { row: 0 });
    }
    let rows = scores.rows(items.len()).zip(texts);
    for ((row, rank), (scores, id)) in (0..texts.len()).zip(ranks).zip(rows) {
        *rank = forward_rank(scores, items, id, order).ok_or(GramError::NoMatch { row })?;
    }
    Ok(())
}

/// The best rank over the texts of item `item` among all texts: that of its best text in the item's column
/// of `scores` \[texts, items\]. `None` where no text has the item's id, where there is no such item, or
/// where the sizes disagree. Cost: two comparisons per text.
///
/// ```
/// use rivergram_core::gram::retrieval::{Order, backward_rank};
///
/// let (texts, items) = ([5, 5, 6], [5, 6, 7]);
/// let volumes = [0.3, 0.9, 0.5, /**/ 0.2, 0.3, 0.5, /**/ 0.1, 0.4, 0.5];
/// let rank = |item| backward_rank(&volumes, &texts, &items, item, Order::Ascending);
/// assert_eq!([rank(0), rank(1), rank(2)], [Some(1), Some(1), None]);
/// ```
pub fn backward_rank<T: Real, Id: PartialEq>(
    scores: &[T],
    texts: &[Id],
    items: &[Id],
    item: usize,
    order: Order,
) -> Option<usize> {
    let id = items.get(item)?;
    if scores.len() != texts.len().saturating_mul(items.len()) {
        return None;
    }
    let rows = scores.rows(items.len());
    let column = rows.filter_map(|row| row.get(item).copied());
    let texts = (0..texts.len()).zip(texts);
    let matching = texts
        .zip(column.clone())
        .filter(|((_, text), _)| *text == id);
    let best = best_of(matching.map(|((text, _), score)| (text, score)), order)?;
    Some(rank_of(column, best, order))
}

/// [`backward_rank`] of every item: item → text retrieval.
///
/// `scores` \[texts, items\], row-major; `ranks` \[items\]. Errors: sizes; an item that has no text, with its
/// index: where a gallery holds such items, ask [`backward_rank`] for the others. What `ranks` holds after
/// an error is unspecified. Cost: 2 · texts · items comparisons.
///
/// ```
/// use rivergram_core::gram::retrieval::{Order, backward_ranks};
///
/// let (texts, items) = ([5, 5, 6], [5, 6]);
/// let volumes = [0.3, 0.9, /**/ 0.2, 0.3, /**/ 0.1, 0.2];
/// let mut ranks = [0; 2];
/// backward_ranks(&volumes, &texts, &items, Order::Ascending, &mut ranks)?;
/// assert_eq!(ranks, [1, 0]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn backward_ranks<T: Real, Id: PartialEq>(
    scores: &[T],
    texts: &[Id],
    items: &[Id],
    order: Order,
    ranks: &mut [usize],
) -> Result<(), GramError> {
    check_sizes(scores, texts, items, items.len(), ranks.len())?;
    for (row, rank) in (0..items.len()).zip(ranks) {
        let found = backward_rank(scores, texts, items, row, order);
        *rank = found.ok_or(GramError::NoMatch { row })?;
    }
    Ok(())
}

fn check_sizes<T, Id>(
    scores: &[T],
    texts: &[Id],
    items: &[Id],
    queries: usize,
    ranks: usize,
) -> Result<(), GramError> {
    let need = texts.len().saturating_mul(items.len());
    for (need, have) in [(need, scores.len()), (queries, ranks)] {
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
    }
    Ok(())
}
