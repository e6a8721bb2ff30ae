//! A row of the bench: our work, what it cannot go below, who else does it, and what is asked of us.

use std::time::Duration;

use rivergram_simd::Level;

use crate::python::Python;
use crate::timing::{Contestant, Patience, medians};

/// What rows are made with.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) level: Level,
    pub(crate) python: Option<Python>,
}

impl Setup {
    /// A rival in Python, where there is one.
    pub(crate) fn peer(&self, name: &str, work: &'static str, size: &[usize]) -> Vec<Contestant> {
        let python = self.python.iter();
        python
            .map(|python| python.contestant(name, work, size))
            .collect()
    }
}

/// What is measured for one line of the table.
pub(crate) struct Row {
    pub(crate) ours: Contestant,
    /// The least time that the work can take: what that is, and who does it. The fastest counts.
    pub(crate) floor: Option<(&'static str, Vec<Contestant>)>,
    pub(crate) peers: Vec<Contestant>,
    /// How far our results are those of another way, where they may differ.
    pub(crate) agreement: Option<Agreement>,
}

/// How often two ways of the work give the same best item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Agreement {
    /// The other way.
    pub(crate) what: &'static str,
    pub(crate) share: f64,
    pub(crate) at_least: f64,
}

impl Agreement {
    pub(crate) fn is_met(&self) -> bool {
        self.share >= self.at_least
    }
}

/// A row before its memory is taken.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) make: fn(&Setup) -> Row,
    /// The most that our time may be, as a part of that of the floor or of a peer.
    pub(crate) bars: &'static [(&'static str, f64)],
    /// Ours; all others have one.
    pub(crate) threads: usize,
    /// Whether it is left out of a quick run.
    pub(crate) is_long: bool,
}

/// In [`Entry::bars`]: the floor of the row.
pub(crate) const FLOOR: &str = "floor";

/// A bar, and how we stand: no ratio where the rival did not run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) against: String,
    pub(crate) at_most: f64,
    pub(crate) ratio: Option<f64>,
}

impl Verdict {
    pub(crate) fn is_met(&self) -> Option<bool> {
        self.ratio.map(|ratio| ratio <= self.at_most)
    }
}

/// A row after it ran. Times are medians in milliseconds.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) threads: usize,
    pub(crate) ours: f64,
    /// What the floor is and who was the fastest at it.
    pub(crate) floor: Option<(String, f64)>,
    pub(crate) peers: Vec<(String, f64)>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) agreement: Option<Agreement>,
    /// Who failed, and why.
    pub(crate) failures: Vec<String>,
}

impl Entry {
    fn patience(&self, quick: bool) -> Patience {
        let seconds = if quick { 2 } else { 12 };
        Patience {
            most: if quick { 15 } else { 101 },
            time: Duration::from_secs(seconds),
            least: if quick || self.is_long { 3 } else { 5 },
        }
    }

    pub(crate) fn run(&self, setup: &Setup, quick: bool) -> Result<Outcome, String> {
        let Row {
            ours,
            floor,
            peers,
            agreement,
        } = (self.make)(setup);
        let (what, floors) = match floor {
            Some((what, floors)) => (what, floors),
            None => ("", Vec::new()),
        };
        let floor_count = floors.len();
        let mut contestants: Vec<Contestant> =
            [ours].into_iter().chain(floors).chain(peers).collect();
        let times = medians(&mut contestants, self.patience(quick));
        let mut failures = Vec::new();
        let mut named = Vec::new();
        for (contestant, time) in contestants.iter().zip(times) {
            match time {
                Ok(time) => named.push((contestant.name.clone(), Some(time))),
                Err(why) => {
                    failures.push(format!("{}: {why}", contestant.name));
                    named.push((contestant.name.clone(), None));
                }
            }
        }
        let ours = named[0].1.ok_or_else(|| failures.join("; "))?;
        let measured = |part: &[(String, Option<f64>)]| -> Vec<(String, f64)> {
            let times = part.iter();
            times
                .filter_map(|(name, time)| Some((name.clone(), (*time)?)))
                .collect()
        };
        let floors = measured(&named[1..=floor_count]);
        let mut peers = measured(&named[1 + floor_count..]);
        let fastest = floors.iter().min_by(|a, b| a.1.total_cmp(&b.1)).cloned();
        let floor = fastest.map(|(name, time)| (format!("{what} ({name})"), time));
        if floor_count > 1 {
            peers.splice(0..0, floors);
        }
        let verdicts = self
            .bars
            .iter()
            .map(|&(against, at_most)| {
                let rival = match against {
                    FLOOR => floor.as_ref().map(|floor| floor.1),
                    name => peers.iter().find(|peer| peer.0 == name).map(|peer| peer.1),
                };
                Verdict {
                    against: against.to_string(),
                    at_most,
                    ratio: rival.map(|rival| ours / rival),
                }
            })
            .collect();
        Ok(Outcome {
            name: self.name,
            threads: self.threads,
            ours,
            floor,
            peers,
            verdicts,
            agreement,
            failures,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleepless(name: &str, ms: u64) -> Contestant {
        Contestant::timed(name, move || Ok(Duration::from_millis(ms)))
    }

    #[test]
    fn the_fastest_is_the_floor_and_bars_are_ratios() {
        let entry = Entry {
            name: "work",
            make: |_| Row {
                ours: sleepless("ours", 12),
                floor: Some(("products", vec![sleepless("a", 15), sleepless("b", 10)])),
                peers: vec![
                    sleepless("p", 48),
                    Contestant::timed("q", || Err("not there".to_string())),
                ],
                agreement: None,
            },
            bars: &[(FLOOR, 1.1), ("p", 0.5), ("q", 1.0)],
            threads: 1,
            is_long: false,
        };
        let setup = Setup {
            level: Level::SCALAR,
            python: None,
        };
        let outcome = entry.run(&setup, true).expect("our time");
        assert_eq!(outcome.floor, Some(("products (b)".to_string(), 10.0)));
        let met: Vec<Option<bool>> = outcome.verdicts.iter().map(Verdict::is_met).collect();
        assert_eq!(met, [Some(false), Some(true), None]);
        assert_eq!(outcome.failures, ["q: not there"]);
        assert_eq!(outcome.peers.len(), 3);
    }
}
