//! Retrieval figures: how well each modality finds its match by the others.

use rivergram_core::gram::pair::{Measure, volume_matrix_workspace_len};
use rivergram_core::gram::retrieval::{Order, best, rank, recall_at};
use rivergram_core::head::Head;
use rivergram_simd::Level;

use super::align::Present;
use super::event::Metrics;
use crate::data::gallery::{Galleries, galleries};
use crate::data::{Dataset, Modality};
use crate::error::{Error, Result};

/// Queries that are compared with a gallery at a time: the matrix of a large gallery would not fit.
const CHUNK: usize = 256;

/// Some queries of a gallery, and the place of the first.
fn chunks(gallery: &[usize]) -> impl Iterator<Item = (usize, &[usize])> {
    (0..).step_by(CHUNK).zip(gallery.chunks(CHUNK))
}

/// R@k for these k.
const RECALLS: [usize; 3] = [1, 5, 10];

/// What is evaluated.
pub(super) struct Evaluation {
    data: Dataset,
    present: Option<Present>,
    galleries: Vec<Vec<usize>>,
    left_out: usize,
    unseen: Vec<i64>,
    numbers: bool,
}

/// The outputs of the heads, \[modality\]\[row · dim\].
pub(super) struct Embedded {
    rows: Vec<Vec<f32>>,
    dim: usize,
}

impl Embedded {
    pub(super) fn new(
        level: Level,
        heads: &[(String, Head)],
        mut parameters: &[f32],
        data: &Dataset,
    ) -> Self {
        let mut rows = Vec::new();
        let mut dim = 0;
        for ((_, head), modality) in heads.iter().zip(&data.modalities) {
            let (own, others) = parameters
                .split_at_checked(head.parameters_len())
                .unwrap_or_default();
            let n = modality.len();
            let mut y = vec![0.0; n * head.output];
            let mut cache = vec![0.0; head.cache_len(n)];
            level.head(head, own, &modality.rows, &mut y, &mut cache);
            rows.push(y);
            dim = head.output;
            parameters = others;
        }
        Embedded { rows, dim }
    }

    /// The outputs under the names of their inputs; an absent row becomes zeros.
    pub(super) fn dataset(&self, data: &Dataset, present: Option<&Present>) -> Result<Dataset> {
        let modality = |(index, (rows, inputs)): (usize, (&Vec<f32>, &Modality))| {
            let mut rows = rows.clone();
            let there = present.and_then(|present| present.get(index));
            let each = rows.chunks_exact_mut(self.dim.max(1));
            let absent = each
                .zip(there.into_iter().flatten())
                .filter(|(_, there)| !**there);
            absent.for_each(|(row, _)| row.fill(0.0));
            Modality::new("the embeddings", &inputs.name, self.dim, rows)
        };
        let modalities = self.rows.iter().zip(&data.modalities).enumerate();
        let modalities = modalities.map(modality).collect::<Result<_>>()?;
        Dataset::new("the embeddings", modalities, data.labels.clone())
    }

    /// Some rows of a modality.
    fn gather(&self, modality: usize, rows: &[usize]) -> Vec<f32> {
        let all = self.rows.get(modality).map_or(&[][..], Vec::as_slice);
        let row = |row: &usize| all.get(row * self.dim..(row + 1) * self.dim).unwrap_or(&[]);
        rows.iter().flat_map(row).copied().collect()
    }
}

/// The ranks of the queries of one kind, over all galleries.
#[derive(Default)]
struct Ranks(Vec<usize>);

impl Ranks {
    fn write(&self, name: &str, metrics: &mut Metrics) {
        for k in RECALLS {
            metrics.insert(format!("{name}_r{k}"), recall_at(&self.0, k));
        }
    }
}

impl Evaluation {
    pub(super) fn new(
        data: Dataset,
        present: Option<Present>,
        unseen: Vec<i64>,
        numbers: bool,
    ) -> Self {
        let Galleries { rows, left_out } = galleries(&data);
        Evaluation {
            galleries: rows,
            left_out,
            data,
            present,
            unseen,
            numbers,
        }
    }

    /// Items that are in no gallery.
    pub(super) fn warning(&self) -> Option<String> {
        (self.left_out > 0).then(|| {
            format!(
                "{} of {} test items are not evaluated: every gallery needs one item of each label",
                self.left_out, self.data.n
            )
        })
    }

    pub(super) fn data(&self) -> &Dataset {
        &self.data
    }

    pub(super) fn present(&self) -> Option<&Present> {
        self.present.as_ref()
    }

    /// `{query}_to_{others}_r1` by volume, `…_distance_r1`, `…_cosine_r1`; `{a}_to_{b}_r1` by cosine.
    pub(super) fn metrics(&self, level: Level, embedded: &Embedded) -> Result<Metrics> {
        let mut metrics = Metrics::new();
        let names: Vec<&str> = self
            .data
            .modalities
            .iter()
            .map(|m| m.name.as_str())
            .collect();
        let k = names.len();
        for query in 0..k {
            let others: Vec<usize> = (0..k).filter(|other| *other != query).collect();
            let name = |index: &usize| names.get(*index).copied().unwrap_or_default();
            let joined: Vec<&str> = others.iter().map(name).collect();
            let title = format!("{}_to_{}", name(&query), joined.join("+"));
            if k > 2 {
                self.group_ranks(level, embedded, query, &others, &title, &mut metrics)?;
            }
            for other in &others {
                let mut ranks = Ranks::default();
                for rows in &self.galleries {
                    for (first, queries) in chunks(rows) {
                        let scores = self.cosines(level, embedded, query, &[*other], queries, rows);
                        let order = Order::Descending;
                        self.add_ranks(
                            &scores,
                            first,
                            queries,
                            query,
                            &[*other],
                            order,
                            &mut ranks,
                        );
                    }
                }
                let title = format!("{}_to_{}", name(&query), name(other));
                ranks.write(&title, &mut metrics);
            }
        }
        if self.numbers {
            self.number_accuracy(level, embedded, &mut metrics)?;
        }
        Ok(metrics)
    }

    fn group_ranks(
        &self,
        level: Level,
        embedded: &Embedded,
        query: usize,
        others: &[usize],
        title: &str,
        metrics: &mut Metrics,
    ) -> Result<()> {
        let (mut volume, mut distance, mut cosine) =
            (Ranks::default(), Ranks::default(), Ranks::default());
        for rows in &self.galleries {
            for (first, queries) in chunks(rows) {
                for (measure, ranks) in [
                    (Measure::Volume, &mut volume),
                    (Measure::Distance, &mut distance),
                ] {
                    let scores =
                        self.matrix(level, measure, embedded, query, others, queries, rows)?;
                    let order = Order::Ascending;
                    self.add_ranks(&scores, first, queries, query, others, order, ranks);
                }
                let scores = self.cosines(level, embedded, query, others, queries, rows);
                let order = Order::Descending;
                self.add_ranks(&scores, first, queries, query, others, order, &mut cosine);
            }
        }
        volume.write(title, metrics);
        distance.write(&format!("{title}_distance"), metrics);
        cosine.write(&format!("{title}_cosine"), metrics);
        Ok(())
    }

    fn is_there(&self, modality: usize, row: usize) -> bool {
        let Some(present) = &self.present else {
            return true;
        };
        let there = present.get(modality).and_then(|rows| rows.get(row));
        there.copied().unwrap_or_default()
    }

    /// The rank of each query's match, which stands at `first` for the first of them; queries that are absent, or
    /// whose match is, have none.
    fn add_ranks(
        &self,
        scores: &[f32],
        first: usize,
        queries: &[usize],
        query: usize,
        others: &[usize],
        order: Order,
        ranks: &mut Ranks,
    ) {
        let items = scores.len().checked_div(queries.len()).unwrap_or(0);
        let scores = scores.chunks_exact(items.max(1));
        for ((i, row), scores) in (first..).zip(queries).zip(scores) {
            let matched = others.iter().any(|other| self.is_there(*other, *row));
            if self.is_there(query, *row) && matched {
                ranks.0.extend(rank(scores, i, order));
            }
        }
    }

    /// Volume or distance of the anchors' rows with the items' rows.
    fn matrix(
        &self,
        level: Level,
        measure: Measure,
        embedded: &Embedded,
        query: usize,
        others: &[usize],
        anchors: &[usize],
        items: &[usize],
    ) -> Result<Vec<f32>> {
        let (m, d) = (others.len(), embedded.dim);
        let planes: Vec<f32> = others
            .iter()
            .flat_map(|other| embedded.gather(*other, items))
            .collect();
        let present: Option<Vec<bool>> = self.present.as_ref().map(|_| {
            let of = |other: &usize| -> Vec<bool> {
                items
                    .iter()
                    .map(|row| self.is_there(*other, *row))
                    .collect()
            };
            others.iter().flat_map(of).collect()
        });
        let mut scores = vec![0.0; anchors.len() * items.len()];
        let sizes = [anchors.len(), m, items.len(), d];
        let need = volume_matrix_workspace_len(anchors.len(), m, items.len(), d);
        let mut workspace = vec![0.0; need];
        level
            .volume_matrix(
                measure,
                &embedded.gather(query, anchors),
                &planes,
                present.as_deref(),
                sizes,
                &mut scores,
                &mut workspace,
            )
            .map_err(|e| Error::input("the embeddings", e))?;
        Ok(scores)
    }

    /// The sum of the cosines with the others that are there; −∞ where none is.
    fn cosines(
        &self,
        level: Level,
        embedded: &Embedded,
        query: usize,
        others: &[usize],
        queries: &[usize],
        rows: &[usize],
    ) -> Vec<f32> {
        let n = rows.len();
        let mut scores = vec![0.0; queries.len() * n];
        let anchors = embedded.gather(query, queries);
        for other in others {
            let mut items = embedded.gather(*other, rows);
            for (item, row) in items.chunks_exact_mut(embedded.dim.max(1)).zip(rows) {
                if !self.is_there(*other, *row) {
                    item.fill(0.0);
                }
            }
            level.matmul_nt(n, embedded.dim, &anchors, &items, &mut scores);
        }
        for (j, row) in rows.iter().enumerate() {
            if !others.iter().any(|other| self.is_there(*other, *row)) {
                scores
                    .iter_mut()
                    .skip(j)
                    .step_by(n.max(1))
                    .for_each(|s| *s = f32::NEG_INFINITY);
            }
        }
        scores
    }

    /// How often the text of the right number spans the smallest volume with an image and an audio clip; of the
    /// built-in data, where the first modality is the text.
    fn number_accuracy(
        &self,
        level: Level,
        embedded: &Embedded,
        metrics: &mut Metrics,
    ) -> Result<()> {
        let labels = self.data.labels.as_deref().unwrap_or(&[]);
        let is_unseen = |row: &usize| {
            labels
                .get(*row)
                .is_some_and(|label| self.unseen.contains(label))
        };
        let (mut all, mut unseen, mut among_unseen) = (Vec::new(), Vec::new(), Vec::new());
        for rows in &self.galleries {
            let scores = self.matrix(level, Measure::Volume, embedded, 0, &[1, 2], rows, rows)?;
            let n = rows.len();
            for (j, row) in rows.iter().enumerate() {
                let column: Vec<f32> = scores.iter().skip(j).step_by(n.max(1)).copied().collect();
                let right = best(&column, Order::Ascending) == Some(j);
                all.push(right);
                if is_unseen(row) {
                    unseen.push(right);
                    let only = |(i, score): (&usize, f32)| {
                        if is_unseen(i) { score } else { f32::INFINITY }
                    };
                    let column: Vec<f32> = rows.iter().zip(column).map(only).collect();
                    among_unseen.push(best(&column, Order::Ascending) == Some(j));
                }
            }
        }
        let share = |hits: &[bool]| {
            hits.iter().filter(|hit| **hit).count() as f64 / hits.len().max(1) as f64
        };
        metrics.insert("image+audio_number_accuracy".to_string(), share(&all));
        if !self.unseen.is_empty() {
            let name = "unseen_image+audio_number_accuracy";
            metrics.insert(name.to_string(), share(&unseen));
            metrics.insert(format!("{name}_among_unseen"), share(&among_unseen));
        }
        Ok(())
    }
}
