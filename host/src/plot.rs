//! A picture of a training run: loss above, learning rate below, the phases of the schedule behind both.
//!
//! The raw loss is faint and its running mean strong. Budgets are dashed vertical lines. The rate is drawn to a
//! logarithmic scale, on which a warmup and a decay to 1% of the peak can both be seen.

pub mod releases;

use std::fmt::Display;
use std::ops::Range;

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};

/// What the schedule does at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The rate rises to its peak.
    Warmup,
    /// The rate stays at its peak.
    Stable,
    /// The rate falls.
    Decay,
}

/// One update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The number of updates made before it.
    pub step: u64,
    /// The loss; a point whose loss is not finite is left out of the curve.
    pub loss: f32,
    /// The learning rate.
    pub rate: f32,
    /// The schedule's phase.
    pub phase: Phase,
}

/// The points of one training run, by rising step.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend, such as "gram-symmetric".
    pub name: String,
    /// Its points.
    pub points: Vec<Point>,
}

/// What to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// The heading.
    pub title: String,
    /// One or more runs under the same schedule: rate and phases are drawn from the first, and beyond its end from
    /// those that go further. Those of one name have one colour and one key.
    pub series: Vec<Series>,
    /// The budgets, in steps.
    pub budgets: Vec<u64>,
}

const SIZE: (u32, u32) = (1000, 640);
/// The height of the heading with the legend.
const HEADING: u32 = 78;
/// The height of the loss's panel; the rate has the rest.
const LOSS: u32 = 350;
/// Left of an axis's name.
const MARGIN: u32 = 10;
/// Where the panels begin, from the margin.
const LABELS: u32 = 70;
const LEFT: i32 = (MARGIN + LABELS) as i32;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(38, 42, 48);
const GRID: RGBColor = RGBColor(222, 224, 228);
const RATE: RGBColor = RGBColor(74, 62, 140);
const CURVES: [RGBColor; 4] = [
    RGBColor(0, 92, 175),
    RGBColor(200, 72, 24),
    RGBColor(20, 128, 92),
    RGBColor(150, 50, 130),
];
/// As many pieces are drawn of a curve at most.
const PIECES: usize = 1200;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Panel<'a, 'b, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, Y>>;

/// Draws the picture as the text of an SVG file. No font is needed here: the viewer's sans-serif is used.
///
/// # Errors
/// No series, or a first series without points.
pub fn draw(picture: &Picture) -> Result<String> {
    let schedule = schedule(picture);
    let (Some(first), Some(last)) = (schedule.first(), schedule.last()) else {
        return Err(Error::input("picture", "no points to draw"));
    };
    let ends = picture
        .series
        .iter()
        .filter_map(|series| series.points.last());
    let end = ends.map(|point| point.step).max().unwrap_or(last.step);
    let steps = first.step as f64..end.max(first.step) as f64 + 1.0;
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let (heading, panels) = root.split_vertically(HEADING);
        let (above, below) = panels.split_vertically(LOSS);
        draw_heading(&heading, picture)?;
        draw_loss(&above, picture, steps.clone())?;
        draw_rate(&below, &schedule, &picture.budgets, steps)?;
        root.present().map_err(failed)?;
    }
    Ok(text)
}

fn failed(error: impl Display) -> Error {
    Error::input("picture", error)
}

impl Phase {
    const ALL: [Self; 3] = [Self::Warmup, Self::Stable, Self::Decay];

    fn name(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::Stable => "stable",
            Self::Decay => "decay",
        }
    }

    fn colour(self) -> RGBColor {
        match self {
            Self::Warmup => RGBColor(255, 226, 160),
            Self::Stable => RGBColor(232, 242, 250),
            Self::Decay => RGBColor(196, 228, 196),
        }
    }
}

/// The names of the curves, each once.
fn names(picture: &Picture) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for series in &picture.series {
        if !names.contains(&series.name.as_str()) {
            names.push(&series.name);
        }
    }
    names
}

/// Every curve with the colour of its name.
fn coloured(picture: &Picture) -> impl Iterator<Item = (RGBColor, &Series)> {
    let names = names(picture);
    let place = move |series: &Series| names.iter().position(|name| *name == series.name);
    let series = picture.series.iter();
    series.map(move |series| (curve(place(series).unwrap_or(0)), series))
}

fn curve(i: usize) -> RGBColor {
    CURVES[i % CURVES.len()]
}

/// The title, then one line with a key for each name of curves and each phase.
fn draw_heading(area: &Area<'_>, picture: &Picture) -> Result<()> {
    let title = (FONT, 21).into_font().color(&INK);
    area.draw_text(&picture.title, &title, (LEFT, 12))
        .map_err(failed)?;
    let label = (FONT, 14).into_font().color(&INK);
    let mut x = LEFT;
    let mut key = |name: &str, style: ShapeStyle, half: i32| -> Result<()> {
        let corners = [(x, 55 - half), (x + 22, 55 + half)];
        area.draw(&Rectangle::new(corners, style)).map_err(failed)?;
        area.draw_text(name, &label, (x + 28, 47)).map_err(failed)?;
        let width = area.estimate_text_size(name, &label).map_err(failed)?.0;
        x += 28 + width as i32 + 22;
        Ok(())
    };
    for (i, name) in names(picture).into_iter().enumerate() {
        key(&format!("loss, {name}"), curve(i).filled(), 1)?;
    }
    key("learning rate", RATE.filled(), 1)?;
    for phase in Phase::ALL {
        key(phase.name(), phase.colour().filled(), 7)?;
    }
    Ok(())
}

fn draw_loss(area: &Area<'_>, picture: &Picture, steps: Range<f64>) -> Result<()> {
    let smoothed: Vec<Vec<(f64, f64)>> = picture.series.iter().map(|s| smooth(&s.points)).collect();
    let range = loss_range(&smoothed);
    let mut builder = ChartBuilder::on(area);
    let mut panel = builder
        .margin_left(MARGIN)
        .margin_right(24)
        .y_label_area_size(LABELS)
        .x_label_area_size(8)
        .build_cartesian_2d(steps.clone(), range.clone())
        .map_err(failed)?;
    draw_phases(&mut panel, &schedule(picture), &steps, range.clone())?;
    draw_mesh(&mut panel, "loss", None, &|y| loss_label(*y, &range))?;
    draw_budgets(&mut panel, &picture.budgets, &steps, range.clone())?;
    for (colour, series) in coloured(picture) {
        let raw = thin(&series.points).filter(|p| p.loss.is_finite());
        let raw = raw.map(|p| {
            (
                p.step as f64,
                f64::from(p.loss).clamp(range.start, range.end),
            )
        });
        let faint = colour.mix(0.22).stroke_width(1);
        panel
            .draw_series(LineSeries::new(raw, faint))
            .map_err(failed)?;
    }
    for ((colour, _), mean) in coloured(picture).zip(smoothed) {
        let strong = colour.stroke_width(2);
        panel
            .draw_series(LineSeries::new(mean, strong))
            .map_err(failed)?;
    }
    label_budgets(&panel, &picture.budgets, &steps, range.end)
}

/// The points that rate and phases are drawn from, by rising step.
fn schedule(picture: &Picture) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for series in &picture.series {
        let end = points.last().map(|point| point.step);
        let further = |point: &&Point| end.is_none_or(|end| point.step > end);
        points.extend(series.points.iter().filter(further));
    }
    points
}

fn draw_rate(area: &Area<'_>, points: &[Point], budgets: &[u64], steps: Range<f64>) -> Result<()> {
    let range = rate_range(points);
    let mut builder = ChartBuilder::on(area);
    let mut panel = builder
        .margin_left(MARGIN)
        .margin_right(24)
        .margin_bottom(8)
        .margin_top(6)
        .y_label_area_size(LABELS)
        .x_label_area_size(44)
        .build_cartesian_2d(steps.clone(), range.clone().log_scale())
        .map_err(failed)?;
    draw_phases(&mut panel, points, &steps, range.clone())?;
    draw_mesh(&mut panel, "learning rate", Some("step"), &|y| {
        format!("{y:.0e}")
    })?;
    draw_budgets(&mut panel, budgets, &steps, range.clone())?;
    let stroke = RATE.stroke_width(2);
    let line = rate_line(points).map(|p| {
        (
            p.step as f64,
            f64::from(p.rate).clamp(range.start, range.end),
        )
    });
    panel
        .draw_series(LineSeries::new(line, stroke))
        .map_err(failed)?;
    Ok(())
}

fn draw_mesh<Y>(
    panel: &mut Panel<'_, '_, Y>,
    name: &str,
    steps: Option<&str>,
    format: &dyn Fn(&f64) -> String,
) -> Result<()>
where
    Y: Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
{
    let label = (FONT, 13).into_font().color(&INK);
    let step = |x: &f64| format!("{x:.0}");
    let mut mesh = panel.configure_mesh();
    mesh.light_line_style(TRANSPARENT)
        .bold_line_style(GRID.stroke_width(1))
        .axis_style(INK.mix(0.6))
        .x_labels(if steps.is_some() { 11 } else { 0 })
        .y_labels(6)
        .x_label_formatter(&step)
        .y_label_formatter(format)
        .label_style(label)
        .axis_desc_style((FONT, 15).into_font().color(&INK))
        .y_desc(name);
    if let Some(steps) = steps {
        mesh.x_desc(steps);
    }
    mesh.draw().map_err(failed)
}

/// Bands behind the curves, one for each run of steps in the same phase.
fn draw_phases<Y>(
    panel: &mut Panel<'_, '_, Y>,
    points: &[Point],
    steps: &Range<f64>,
    range: Range<f64>,
) -> Result<()>
where
    Y: Ranged<ValueType = f64>,
{
    let mut bands: Vec<(Phase, f64)> = Vec::new();
    for point in points {
        if bands.last().is_none_or(|&(phase, _)| phase != point.phase) {
            bands.push((point.phase, point.step as f64));
        }
    }
    let ends = bands.iter().skip(1).map(|&(_, start)| start);
    let ends = ends.chain([steps.end]);
    let bands = bands.iter().zip(ends).map(|(&(phase, start), end)| {
        let corners = [(start, range.start), (end, range.end)];
        Rectangle::new(corners, phase.colour().filled())
    });
    panel.draw_series(bands).map_err(failed)?;
    Ok(())
}

fn draw_budgets<Y>(
    panel: &mut Panel<'_, '_, Y>,
    budgets: &[u64],
    steps: &Range<f64>,
    range: Range<f64>,
) -> Result<()>
where
    Y: Ranged<ValueType = f64>,
{
    for budget in within(budgets, steps) {
        let line = [(budget, range.start), (budget, range.end)];
        let style = INK.mix(0.75).stroke_width(1);
        panel
            .draw_series(DashedLineSeries::new(line, 5, 4, style))
            .map_err(failed)?;
    }
    Ok(())
}

/// The budgets in the picture; at its very end too.
fn within(budgets: &[u64], steps: &Range<f64>) -> impl Iterator<Item = f64> {
    let budgets = budgets.iter().map(|&budget| budget as f64);
    budgets.filter(|&budget| budget >= steps.start && budget <= steps.end)
}

/// Each budget's step, beside the top of its line.
fn label_budgets(
    panel: &Panel<'_, '_, RangedCoordf64>,
    budgets: &[u64],
    steps: &Range<f64>,
    top: f64,
) -> Result<()> {
    let right = Pos::new(HPos::Right, VPos::Top);
    let style = (FONT, 12).into_font().color(&INK).pos(right);
    for budget in within(budgets, steps) {
        let (x, y) = panel.backend_coord(&(budget, top));
        let text = format!("budget {budget}");
        let root = panel.plotting_area().strip_coord_spec();
        let (left, above) = root.get_base_pixel();
        let place = (x - left - 5, y - above + 4);
        root.draw_text(&text, &style, place).map_err(failed)?;
    }
    Ok(())
}

/// At most [`PIECES`] of the points, evenly, with the last.
fn thin(points: &[Point]) -> impl Iterator<Item = &Point> {
    let stride = points.len().div_ceil(PIECES).max(1);
    let rest = points.len() % stride != 1 && stride > 1;
    points
        .iter()
        .step_by(stride)
        .chain(points.last().filter(|_| rest))
}

/// The points where a piece begins, and both sides of every change of phase, so that no corner is cut.
fn rate_line(points: &[Point]) -> impl Iterator<Item = &Point> {
    let stride = points.len().div_ceil(PIECES).max(1);
    points.iter().enumerate().filter_map(move |(i, point)| {
        let differs = |other: Option<&Point>| other.is_none_or(|other| other.phase != point.phase);
        let corner = differs(points.get(i + 1)) || i == 0 || differs(points.get(i - 1));
        (corner || i % stride == 0).then_some(point)
    })
}

/// The running mean over 1% of the points, cut off where the phase changes, at most about [`PIECES`] of it.
fn smooth(points: &[Point]) -> Vec<(f64, f64)> {
    let points: Vec<Point> = points
        .iter()
        .filter(|p| p.loss.is_finite())
        .copied()
        .collect();
    let half = points.len() / 200;
    let stride = points.len().div_ceil(PIECES).max(1);
    let mut means = Vec::new();
    for phase in points.chunk_by(|a, b| a.phase == b.phase) {
        let last = phase.len() - 1;
        for (i, point) in phase
            .iter()
            .enumerate()
            .filter(|(i, _)| i % stride == 0 || *i == last)
        {
            let window = phase
                .get(i.saturating_sub(half)..=last.min(i + half))
                .unwrap_or(&[]);
            let sum: f64 = window.iter().map(|p| f64::from(p.loss)).sum();
            means.push((point.step as f64, sum / window.len().max(1) as f64));
        }
    }
    means
}

/// As many decimals as the range needs.
fn loss_label(loss: f64, range: &Range<f64>) -> String {
    let decimals = (2.0 - (range.end - range.start).log10().floor()).clamp(0.0, 8.0) as usize;
    match loss.abs() < 1e5 {
        true => format!("{loss:.decimals$}"),
        false => format!("{loss:.1e}"),
    }
}

/// From the lowest to the highest mean with a margin: single raw points may leave it.
fn loss_range(curves: &[Vec<(f64, f64)>]) -> Range<f64> {
    let losses = || curves.iter().flatten().map(|&(_, loss)| loss);
    let low = losses().fold(f64::INFINITY, f64::min);
    let high = losses().fold(f64::NEG_INFINITY, f64::max);
    if !low.is_finite() || !high.is_finite() {
        return 0.0..1.0;
    }
    let margin = 0.08 * (high - low).max(1e-3 * high.abs()).max(1e-6);
    low - margin..high + margin
}

/// The positive rates with a margin, at most six decades.
fn rate_range(points: &[Point]) -> Range<f64> {
    let rates = || {
        points
            .iter()
            .map(|p| f64::from(p.rate))
            .filter(|&r| r > 0.0 && r.is_finite())
    };
    let high = rates().fold(0.0, f64::max);
    if high == 0.0 {
        return 1e-6..1.0;
    }
    let low = rates().fold(high, f64::min).max(1e-6 * high);
    low / 1.6..high * 1.6
}
