//! Contestants take turns: what slows the machine down for a while slows all of them.

use std::time::{Duration, Instant};

/// Does its work once and tells how long that took. What prepares the work is not counted.
pub(crate) type Run = Box<dyn FnMut() -> Result<Duration, String>>;

/// Someone who does the work of a row.
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) run: Run,
}

impl Contestant {
    /// Work that needs no preparation.
    pub(crate) fn new(name: &str, mut work: impl FnMut() + 'static) -> Self {
        Self::timed(name, move || Ok(time(&mut work)))
    }

    pub(crate) fn timed(
        name: &str,
        run: impl FnMut() -> Result<Duration, String> + 'static,
    ) -> Self {
        Self {
            name: name.to_string(),
            run: Box::new(run),
        }
    }
}

pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// How often everyone runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// The row ends after this many rounds,
    pub(crate) most: usize,
    /// or where it has taken so long, but not before [`Patience::least`] rounds.
    pub(crate) time: Duration,
    pub(crate) least: usize,
}

/// The median of each in milliseconds, in the order of the contestants, or why one of them failed.
pub(crate) fn medians(
    contestants: &mut [Contestant],
    patience: Patience,
) -> Vec<Result<f64, String>> {
    let mut times: Vec<Result<Vec<f64>, String>> = vec![Ok(Vec::new()); contestants.len()];
    let start = Instant::now();
    for round in 0..=patience.most {
        if round > patience.least && start.elapsed() > patience.time {
            break;
        }
        // Every other round backwards: nobody always follows the same one.
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let Ok(list) = &mut times[index] else {
                continue;
            };
            match (contestants[index].run)() {
                // The first round is for caches, pages and threads.
                Ok(_) if round == 0 => {}
                Ok(time) => list.push(time.as_secs_f64() * 1e3),
                Err(why) => times[index] = Err(why),
            }
        }
    }
    times
        .into_iter()
        .map(|list| list.map(|mut list| median(&mut list)))
        .collect()
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let upper = numbers.len() / 2;
    match (numbers.len(), numbers.get(upper)) {
        (_, None) => f64::NAN,
        (count, Some(middle)) if count % 2 == 1 => *middle,
        (_, Some(middle)) => (numbers[upper - 1] + middle) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn everyone_runs_equally_often_and_one_that_fails_stops() {
        use std::cell::RefCell;
        use std::rc::Rc;
        let log = Rc::new(RefCell::new(String::new()));
        let runner = |name: &'static str, fails: bool| {
            let log = log.clone();
            Contestant::timed(name, move || {
                log.borrow_mut().push_str(name);
                match fails {
                    true => Err("broken".to_string()),
                    false => Ok(Duration::from_millis(2)),
                }
            })
        };
        let mut contestants = [runner("a", false), runner("b", true), runner("c", false)];
        let patience = Patience {
            most: 3,
            time: Duration::ZERO,
            least: 2,
        };
        let medians = medians(&mut contestants, patience);
        assert_eq!(medians, [Ok(2.0), Err("broken".to_string()), Ok(2.0)]);
        assert_eq!(*log.borrow(), "abccaac");
    }
}
