//! The picture of a run.

use rivergram::plot::releases::{self, Bar, Line, Panel, Releases};
use rivergram::plot::{Phase, Picture, Point, Series, draw};

fn series(name: &str, steps: u64, height: f32) -> Series {
    let point = |step: u64| {
        let (phase, rate) = match step % 500 {
            s if step < 30 => (Phase::Warmup, 3e-3 * (s + 1) as f32 / 30.0),
            s if s >= 450 => (Phase::Decay, 3e-3 / (1.0 + 99.0 * (s - 449) as f32 / 50.0)),
            _ => (Phase::Stable, 3e-3),
        };
        let wave = ((step * 7919) % 101) as f32 / 101.0 - 0.5;
        let settled = if phase == Phase::Decay { 0.15 } else { 0.0 };
        let loss = height * (1.0 + 2.0 * (-(step as f32) / 120.0).exp()) - settled + 0.3 * wave;
        Point {
            step,
            loss,
            rate,
            phase,
        }
    };
    Series {
        name: name.to_owned(),
        points: (0..steps).map(point).collect(),
    }
}

fn picture() -> Picture {
    Picture {
        title: "Alignment of image, audio and text".to_owned(),
        series: vec![
            series("gram-symmetric", 1500, 1.2),
            series("cosine", 1500, 0.9),
        ],
        budgets: vec![500, 1000, 1500],
    }
}

#[test]
fn names_axes_phases_and_budgets() {
    let svg = draw(&picture()).expect("points");
    for word in [
        "loss, gram-symmetric",
        "loss, cosine",
        "learning rate",
        "step",
        "warmup",
        "stable",
        "decay",
        "budget 500",
        "budget 1000",
        "budget 1500",
    ] {
        assert!(svg.contains(word), "{word} is missing");
    }
    assert_eq!(
        svg,
        draw(&picture()).expect("points"),
        "the same picture again"
    );
    if let Some(path) = std::env::var_os("RIVERGRAM_PICTURE") {
        std::fs::write(path, svg).expect("a writable place");
    }
}

#[test]
fn draws_odd_runs() {
    let empty = Picture {
        series: vec![],
        ..picture()
    };
    let line = draw(&empty).expect_err("no points").to_string();
    assert!(line.contains("no points"), "{line}");

    let one = series("one", 1, 1.0);
    let mut broken = series("broken", 40, 1.0);
    for point in &mut broken.points {
        point.loss = f32::NAN;
        point.rate = 0.0;
    }
    for series in [one, broken] {
        let svg = draw(&Picture {
            series: vec![series],
            ..picture()
        });
        let svg = svg.expect("a picture");
        assert!(
            !svg.contains("NaN") && !svg.contains("inf"),
            "a number that is none"
        );
    }
}

#[test]
fn a_long_run_stays_small() {
    let long = Picture {
        series: vec![series("long", 300_000, 1.0)],
        ..picture()
    };
    let svg = draw(&long).expect("points");
    assert!(svg.len() < 1_000_000, "{} bytes", svg.len());
}

/// Two panels of two releases; the second line has no value at the first.
fn releases() -> Releases {
    let bar = |mean, error| Some(Bar { mean, error });
    let panel = |title: &str| Panel {
        title: title.to_owned(),
        lines: vec![
            Line {
                name: "wsd-s".to_owned(),
                values: vec![bar(0.5, 0.01), bar(0.75, 0.02)],
            },
            Line {
                name: "constant-ema".to_owned(),
                values: vec![None, bar(0.7, 0.0)],
            },
        ],
    };
    Releases {
        title: "2 streams".to_owned(),
        panels: vec![panel("on what is new"), panel("on what is old")],
    }
}

#[test]
fn releases_are_drawn_with_their_names() {
    let svg = releases::draw(&releases()).expect("values");
    let words = [
        "2 streams",
        "wsd-s",
        "constant-ema",
        "on what is new",
        "on what is old",
        "release",
        "R@1, %",
    ];
    for word in words {
        assert!(svg.contains(word), "{word} is missing");
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    assert_eq!(svg, releases::draw(&releases()).expect("values"));
}

#[test]
fn releases_without_values_are_refused() {
    let mut empty = releases();
    for line in empty.panels.iter_mut().flat_map(|panel| &mut panel.lines) {
        line.values.fill(None);
    }
    let no_panels = Releases {
        panels: Vec::new(),
        ..releases()
    };
    for picture in [empty, no_panels] {
        let line = releases::draw(&picture).expect_err("nothing to draw");
        assert!(line.to_string().contains("to draw"), "{line}");
    }
}
