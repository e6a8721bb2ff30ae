//! Plain text in aligned columns.

use std::fmt;

/// Rows of cells: the first column is flush left, the others flush right. A row of one cell is a heading: it may
/// be wider than its column.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a line of column names.
    pub(crate) fn new<C: Into<String>>(names: impl IntoIterator<Item = C>) -> Self {
        let mut table = Table::default();
        table.row(names);
        table
    }

    /// Adds a row.
    pub(crate) fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            // Column by column, but for headings.
            let cells = row.iter().zip(&mut widths).filter(|_| row.len() > 1);
            cells.for_each(|(cell, width)| *width = cell.chars().count().max(*width));
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                line += &match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A rate of success in percent, with one decimal; a dash where there is none.
pub(crate) fn percent(rate: Option<f64>) -> String {
    match rate {
        Some(rate) => format!("{:.1}", 100.0 * rate),
        None => "–".to_string(),
    }
}
