//! A picture of releases: what each schedule reaches at each, in panels side by side.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, FONT, GRID, INK, MARGIN, failed};
use crate::error::{Error, Result};

/// A value with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// The value, from 0 to 1.
    pub mean: f64,
    /// Its standard error.
    pub error: f64,
}

/// The values of one schedule, release by release; none where there was nothing to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its name in the legend; the same name has the same colour in every panel.
    pub name: String,
    /// A value per release.
    pub values: Vec<Option<Bar>>,
}

/// One panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What is drawn.
    pub title: String,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// What to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Releases {
    /// The heading.
    pub title: String,
    /// The panels, two in a row; those of a row have one scale.
    pub panels: Vec<Panel>,
}

const WIDTH: u32 = 1000;
/// The height of the heading with the legend.
const HEADING: u32 = 96;
/// The height of a row of panels.
const ROW: u32 = 300;
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 92, 175),
    RGBColor(84, 160, 222),
    RGBColor(200, 72, 24),
    RGBColor(236, 156, 60),
    RGBColor(150, 50, 130),
    RGBColor(120, 124, 132),
    RGBColor(20, 128, 92),
    RGBColor(120, 190, 90),
];

/// Draws the picture as the text of an SVG file.
///
/// # Errors
/// No panel with a value.
pub fn draw(picture: &Releases) -> Result<String> {
    let rows: Vec<&[Panel]> = picture.panels.chunks(2).collect();
    let names = names(picture);
    let mut text = String::new();
    {
        let size = (WIDTH, HEADING + ROW * rows.len() as u32);
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let (heading, panels) = root.split_vertically(HEADING);
        draw_heading(&heading, &picture.title, &names)?;
        let areas = panels.split_evenly((rows.len().max(1), 2));
        for (row, areas) in rows.iter().zip(areas.chunks(2)) {
            let scale = scale(row).ok_or_else(|| Error::input("picture", "no values to draw"))?;
            for (panel, area) in row.iter().zip(areas) {
                draw_panel(area, panel, &names, scale)?;
            }
        }
        root.present().map_err(failed)?;
    }
    match rows.is_empty() {
        true => Err(Error::input("picture", "no panels to draw")),
        false => Ok(text),
    }
}

/// The names of all lines, in order.
fn names(picture: &Releases) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for line in picture.panels.iter().flat_map(|panel| &panel.lines) {
        if !names.contains(&line.name.as_str()) {
            names.push(&line.name);
        }
    }
    names
}

fn colour(names: &[&str], name: &str) -> RGBColor {
    let place = names.iter().position(|other| *other == name);
    COLOURS[place.unwrap_or_default() % COLOURS.len()]
}

/// The title, then keys in rows of four.
fn draw_heading(area: &Area<'_>, title: &str, names: &[&str]) -> Result<()> {
    let left = 2 * MARGIN as i32;
    let style = (FONT, 19).into_font().color(&INK);
    area.draw_text(title, &style, (left, 12)).map_err(failed)?;
    let label = (FONT, 14).into_font().color(&INK);
    for (i, name) in names.iter().enumerate() {
        let (x, y) = (left + 240 * (i as i32 % 4), 50 + 22 * (i as i32 / 4));
        let corners = [(x, y + 6), (x + 22, y + 9)];
        let key = Rectangle::new(corners, colour(names, name).filled());
        area.draw(&key).map_err(failed)?;
        area.draw_text(name, &label, (x + 28, y)).map_err(failed)?;
    }
    Ok(())
}

/// From the lowest to the highest value of some panels, in percent, with their errors and a margin.
fn scale(panels: &[Panel]) -> Option<(f64, f64)> {
    let lines = panels.iter().flat_map(|panel| &panel.lines);
    let bars = || lines.clone().flat_map(|line| line.values.iter().flatten());
    let low = bars()
        .map(|bar| bar.mean - bar.error)
        .fold(f64::INFINITY, f64::min);
    let high = bars()
        .map(|bar| bar.mean + bar.error)
        .fold(f64::NEG_INFINITY, f64::max);
    let margin = 0.05 * (high - low).max(0.01);
    (low <= high).then_some((100.0 * (low - margin), 100.0 * (high + margin)))
}

fn draw_panel(area: &Area<'_>, panel: &Panel, names: &[&str], scale: (f64, f64)) -> Result<()> {
    let releases = panel.lines.iter().map(|line| line.values.len()).max();
    let releases = releases.unwrap_or_default() as f64;
    let mut builder = ChartBuilder::on(area);
    let mut chart = builder
        .margin_left(MARGIN)
        .margin_right(16)
        .margin_top(26)
        .margin_bottom(6)
        .y_label_area_size(52)
        .x_label_area_size(36)
        .build_cartesian_2d(0.6..releases + 0.4, scale.0..scale.1)
        .map_err(failed)?;
    let label = (FONT, 13).into_font().color(&INK);
    let whole = |x: &f64| match (x - x.round()).abs() < 1e-6 {
        true => format!("{x:.0}"),
        false => String::new(),
    };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.stroke_width(1))
        .axis_style(INK.mix(0.6))
        .x_labels(releases as usize + 1)
        .y_labels(6)
        .x_label_formatter(&whole)
        .y_label_formatter(&|y| format!("{y:.0}"))
        .label_style(label)
        .axis_desc_style((FONT, 14).into_font().color(&INK))
        .x_desc("release")
        .y_desc("R@1, %")
        .draw()
        .map_err(failed)?;
    let above = Pos::new(HPos::Left, VPos::Top);
    let title = (FONT, 15).into_font().color(&INK).pos(above);
    area.draw_text(&panel.title, &title, (62, 6))
        .map_err(failed)?;
    for (i, line) in panel.lines.iter().enumerate() {
        // Side by side, so that the bars of two lines do not hide each other.
        let aside = 0.04 * (i as f64 - (panel.lines.len() as f64 - 1.0) / 2.0);
        let colour = colour(names, &line.name);
        let points: Vec<(f64, Bar)> = (1..)
            .zip(&line.values)
            .filter_map(|(release, bar)| bar.map(|bar| (f64::from(release) + aside, bar)))
            .collect();
        let means = points.iter().map(|&(x, bar)| (x, 100.0 * bar.mean));
        let drawn = chart.draw_series(LineSeries::new(means, colour.stroke_width(2)));
        drawn.map_err(failed)?;
        let bars = points.iter().map(|&(x, bar)| {
            let ends = [bar.mean - bar.error, bar.mean + bar.error];
            PathElement::new(ends.map(|y| (x, 100.0 * y)), colour.stroke_width(1))
        });
        chart.draw_series(bars).map_err(failed)?;
    }
    Ok(())
}
