//! The contrastive loss of a batch of tuples.

use rivergram_core::gram::contrastive::{
    self, Anchor, Batch, GramLoss, GramReport, Term, ZeroRows, gram_loss,
};
use rivergram_core::lanes::One;

use crate::convert::{choose, code_of, flag};
use crate::raw::{In, Out, answer, apart, reported};
use crate::status::{Failure, RIVERGRAM_NONE, check_len, rivergram_error, rivergram_status};

/// What a GRAM loss contrasts.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_term {
    /// The volume of anchor and item.
    Volume = 0,
    /// The mean cosine of the anchor with the other modalities; of all pairs with `RIVERGRAM_NONE` as the anchor.
    Cosine = 1,
}

/// What a vector of zeros means: volume 0 is the best match.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_zero_rows {
    /// An absent modality; a zero anchor leaves the loss.
    Missing = 0,
    /// Volume 0, as defined.
    Zero = 1,
    /// An error with its row.
    Error = 2,
}

const ZERO_ROWS: [(u32, ZeroRows); 3] = [
    (rivergram_zero_rows::Missing as u32, ZeroRows::Missing),
    (rivergram_zero_rows::Zero as u32, ZeroRows::Zero),
    (rivergram_zero_rows::Error as u32, ZeroRows::Error),
];

/// The GRAM loss of a batch: InfoNCE of -volume / temperature (arXiv 2412.11959, eq. 6 to 8). Start from
/// `rivergram_gram_options_paper`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rivergram_gram_options {
    /// A `rivergram_term`.
    pub term: u32,
    /// The modality that is the anchor; `RIVERGRAM_NONE`: each in turn, and the mean.
    pub anchor: usize,
    /// The weight of the cosines of all pairs, added to the term; 0 for none.
    pub pairs: f32,
    /// tau, positive.
    pub temperature: f32,
    /// In `[0, 1]`.
    pub label_smoothing: f32,
    /// 1 to L2-normalise the vectors first, with the gradient through it; else 0.
    pub normalise: u32,
    /// A `rivergram_zero_rows`.
    pub zero_rows: u32,
}

/// What a GRAM loss found.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct rivergram_gram_report {
    /// The whole loss.
    pub loss: f32,
    /// Its part that is `pairs` times the cosines of all pairs.
    pub pairs_loss: f32,
    /// dL/dtau.
    pub temperature_gradient: f32,
    /// Vectors that were absent or taken as absent.
    pub missing: usize,
    /// Items with volume 0 for every anchor, summed over the anchors: their vectors are dependent.
    pub degenerate: usize,
}

impl rivergram_gram_options {
    pub(crate) fn to_core(self) -> Result<GramLoss<f32>, Failure> {
        let anchor = match self.anchor {
            RIVERGRAM_NONE => Anchor::Each,
            anchor => Anchor::One(anchor),
        };
        let terms = [
            (rivergram_term::Volume as u32, Term::Volume(anchor)),
            (rivergram_term::Cosine as u32, Term::Cosine(anchor)),
        ];
        Ok(GramLoss {
            term: choose(c"term", self.term, &terms)?,
            pairs: self.pairs,
            temperature: self.temperature,
            label_smoothing: self.label_smoothing,
            normalise: flag(c"normalise", self.normalise)?,
            zero_rows: choose(c"zero_rows", self.zero_rows, &ZERO_ROWS)?,
        })
    }
}

impl From<GramReport<f32>> for rivergram_gram_report {
    fn from(report: GramReport<f32>) -> Self {
        rivergram_gram_report {
            loss: report.loss,
            pairs_loss: report.pairs_loss,
            temperature_gradient: report.temperature_gradient,
            missing: report.missing,
            degenerate: report.degenerate,
        }
    }
}

/// The paper's loss with modality `anchor`: temperature 0.07, label smoothing 0.1, normalised inside.
///
/// Errors: NULL_POINTER, MISALIGNED. Cost: O(1).
///
/// # Safety
/// `options` points to a `rivergram_gram_options`; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_gram_options_paper(
    anchor: usize,
    options: *mut rivergram_gram_options,
    error: *mut rivergram_error,
) -> rivergram_status {
    let options = Out::one(c"options", options);
    let paper = GramLoss::<f32>::paper(anchor);
    // SAFETY: the contract of `raw`, which the caller keeps.
    unsafe {
        answer(error, || {
            options.span()?;
            options.write(rivergram_gram_options {
                term: rivergram_term::Volume as u32,
                anchor,
                pairs: paper.pairs,
                temperature: paper.temperature,
                label_smoothing: paper.label_smoothing,
                normalise: u32::from(paper.normalise),
                zero_rows: code_of(paper.zero_rows, &ZERO_ROWS),
            });
            Ok(())
        })
    }
}

/// Floats of workspace for `rivergram_gram_loss`; `RIVERGRAM_GRAM_WORKSPACE_LEN` is the same as a constant.
#[unsafe(no_mangle)]
pub extern "C" fn rivergram_gram_workspace_len(k: usize, rows: usize, d: usize) -> usize {
    contrastive::workspace_len(k, rows, d)
}

/// The loss of a batch of `rows` tuples of k modalities, and its gradient. `vectors` is `[k, rows, d]` and has
/// `vectors_len` floats, `gradient` is as long. `present` `[k, rows]` has a 0 where a modality is absent and a 1 where
/// it is there; NULL: all are there. What an absent vector holds is not looked at.
///
/// Cost: per anchor three matrix products of 2 rows^2 d (k-1) operations.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_FINITE and ZERO_ROW with the modality and the
/// row in `index`. After one the gradient is unspecified.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_gram_loss(
    options: *const rivergram_gram_options,
    vectors: *const f32,
    vectors_len: usize,
    present: *const u8,
    present_len: usize,
    k: usize,
    rows: usize,
    d: usize,
    gradient: *mut f32,
    gradient_len: usize,
    workspace: *mut f32,
    workspace_len: usize,
    report: *mut rivergram_gram_report,
    error: *mut rivergram_error,
) -> rivergram_status {
    let options = In::one(c"options", options);
    let vectors = In::array(c"vectors", vectors, vectors_len);
    let present = In::optional(c"present", present, present_len);
    let gradient = Out::array(c"gradient", gradient, gradient_len);
    let workspace = Out::array(c"workspace", workspace, workspace_len);
    let report = Out::one(c"report", report);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                options.span()?,
                vectors.span()?,
                present.span()?,
                gradient.span()?,
                workspace.span()?,
                report.span()?,
            ])?;
            let loss = options.get()?.to_core()?;
            check_len(c"gradient", vectors_len, gradient_len)?;
            let present = present.flags(k.saturating_mul(rows))?;
            let batch = Batch {
                vectors: vectors.slice(),
                present,
                k,
                rows,
                d,
            };
            let found = gram_loss(
                One::new(),
                &loss,
                &batch,
                gradient.slice(),
                workspace.slice(),
            )?;
            report.write(found.into());
            Ok(())
        })
    }
}
