//! TEMPORARY: stands in for the training loop until it is merged; to be dropped at the merge. Plays a run with
//! made-up numbers, so that the program's output can be looked at.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{BudgetReport, Context, Event, JobKind, JobReport, Metrics, RunOptions, RunReport};
use crate::error::Result;
use crate::store::RunFolder;

/// Temporary.
pub fn run(options: &RunOptions, folder: &Path, context: &Context<'_>) -> Result<RunReport> {
    let folder = RunFolder::create(folder, options)?;
    play(options, folder.path(), context)
}

/// Temporary.
pub fn resume(folder: &Path, context: &Context<'_>) -> Result<(RunOptions, RunReport)> {
    let (folder, options): (RunFolder, RunOptions) = RunFolder::open(folder)?;
    let report = play(&options, folder.path(), context)?;
    Ok((options, report))
}

/// Temporary.
pub fn read_options(folder: &Path) -> Result<RunOptions> {
    Ok(RunFolder::open(folder)?.1)
}

fn play(options: &RunOptions, folder: &Path, context: &Context<'_>) -> Result<RunReport> {
    let jobs = std::thread::scope(|scope| {
        let jobs: Vec<_> = options
            .jobs
            .iter()
            .map(|job| scope.spawn(|| play_job(job, folder, context)))
            .collect();
        jobs.into_iter().filter_map(|job| job.join().ok()).collect()
    });
    Ok(RunReport {
        jobs,
        interrupted: context.stop.load(Ordering::Relaxed),
    })
}

fn align_metrics() -> Metrics {
    let names = ["text", "image", "audio"];
    let mut metrics = Metrics::new();
    for q in names {
        let others: Vec<_> = names.into_iter().filter(|n| *n != q).collect();
        let others = others.join("+");
        for (i, by) in ["", "_distance", "_cosine"].iter().enumerate() {
            metrics.insert(format!("{q}_to_{others}{by}_r1"), 0.83 + 0.05 * i as f64);
        }
    }
    metrics.insert("image_to_audio_r1".into(), 0.7);
    metrics.insert("image+audio_number_accuracy".into(), 1.0);
    metrics
}

fn play_job(job: &super::JobOptions, folder: &Path, context: &Context<'_>) -> JobReport {
    let mut report = JobReport {
        name: job.name.clone(),
        untrained: Metrics::new(),
        budgets: Vec::new(),
    };
    let (schedule, legs) = match &job.kind {
        JobKind::Align(o) => {
            let legs: Vec<_> = o.schedule.budgets.iter().map(|&b| ("main", b)).collect();
            (&o.schedule, legs)
        }
        JobKind::Strips(o) => {
            let b = &o.schedule.budgets;
            let (first, last) = (b[0], b[b.len() - 1]);
            let legs = vec![
                ("cross-entropy", first),
                ("cross-entropy-on", last),
                ("eisl", last),
            ];
            (&o.schedule, legs)
        }
    };
    let total = legs.last().map_or(0, |&(leg, last)| match leg {
        "main" => last,
        _ => 2 * last - schedule.budgets[0],
    });
    (context.observe)(Event::Started {
        job: job.name.clone(),
        done: 0,
        total,
    });
    let (mut update, mut step) = (0, 0);
    for (leg, end) in legs {
        if leg == "eisl" {
            step = schedule.budgets[0];
        }
        while step < end {
            if context.stop.load(Ordering::Relaxed) {
                return report;
            }
            update += 1;
            step += 1;
            std::thread::sleep(Duration::from_millis(4));
            (context.observe)(Event::Step {
                job: job.name.clone(),
                leg: leg.into(),
                update,
                total,
                step,
                budget: Some(end),
                phase: if step < schedule.warmup {
                    "warmup"
                } else {
                    "stable"
                },
                rate: schedule.peak,
                loss: 3.0 / (step as f32).sqrt(),
            });
        }
        let metrics = match job.kind {
            JobKind::Align(_) => align_metrics(),
            JobKind::Strips(_) => Metrics::from([("digit_error".to_string(), 1.0 / end as f64)]),
        };
        let budget = BudgetReport {
            job: job.name.clone(),
            leg: leg.into(),
            step: end,
            checkpoint: folder.join(&job.name).join(crate::store::budget_name(end)),
            metrics,
        };
        (context.observe)(Event::Budget(budget.clone()));
        report.budgets.push(budget);
    }
    report
}

/// Temporary.
pub mod tune {
    use super::super::{Context, LossKind, Metrics};
    use crate::error::Result;
    use serde::Serialize;

    /// Temporary.
    #[derive(Clone, Debug)]
    #[allow(missing_docs)]
    pub struct TuneOptions {
        pub losses: Vec<LossKind>,
        pub temperatures: Vec<f32>,
        pub hidden: usize,
        pub steps: u64,
        pub seeds: u64,
        pub held_out_voices: usize,
        pub seed: u64,
    }

    /// Temporary.
    #[derive(Clone, Debug, Serialize)]
    #[allow(missing_docs)]
    pub struct TuneReport {
        pub rows: Vec<TuneRow>,
    }

    /// Temporary.
    #[derive(Clone, Debug, Serialize)]
    #[allow(missing_docs)]
    pub struct TuneRow {
        pub loss: LossKind,
        pub temperature: f32,
        pub pairs: f32,
        pub score: f64,
        pub standard_error: f64,
        pub metrics: Metrics,
        pub best: bool,
    }

    /// Temporary.
    pub fn run(options: &TuneOptions, _context: &Context<'_>) -> Result<TuneReport> {
        let mut rows = Vec::new();
        for &loss in &options.losses {
            for (i, &temperature) in options.temperatures.iter().enumerate() {
                rows.push(TuneRow {
                    loss,
                    temperature,
                    pairs: 0.0,
                    score: 0.6,
                    standard_error: 0.004,
                    metrics: Metrics::new(),
                    best: i == 0,
                });
            }
        }
        Ok(TuneReport { rows })
    }
}
