//! The picture of a run: `throughput.svg`.
#![expect(clippy::arithmetic_side_effects, reason = "the pixels of a picture are few")]

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::{Spread, thousands};

/// Bars that are compared with the first of them.
pub struct Group {
    pub title: String,
    pub bars: Vec<Bar>,
}

pub struct Bar {
    pub name: String,
    pub explanation: String,
    pub rate: Spread,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Database,
    Ceiling,
    Service,
}

const WIDTH: i32 = 960;
const MARGIN: i32 = 28;
const BARS_LEFT: i32 = 300;
/// The longest whisker ends here, and leaves room for the figures after it.
const BARS_RIGHT: i32 = 740;
const HEAD: i32 = 92;
const GROUP_HEAD: i32 = 40;
const GROUP_GAP: i32 = 18;
const ROW: i32 = 48;
const BAR_HALF: i32 = 13;
const WHISKER_HALF: i32 = 5;

const INK: RGBColor = RGBColor(0x1f, 0x29, 0x37);
const FAINT: RGBColor = RGBColor(0x6b, 0x72, 0x80);
const LINE: RGBColor = RGBColor(0xd1, 0xd5, 0xdb);

impl Kind {
    fn color(self) -> RGBColor {
        match self {
            Self::Database => RGBColor(0x9c, 0xa3, 0xaf),
            Self::Ceiling => RGBColor(0xbf, 0xd7, 0xf5),
            Self::Service => RGBColor(0x4c, 0x8d, 0xf6),
        }
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws horizontal bars with their medians, and whiskers from the slowest to the fastest round.
pub fn svg(title: &str, subtitle: &str, groups: &[Group]) -> Result<String> {
    let height = groups.iter().map(Group::height).sum::<i32>() + HEAD;
    let size = (u32::try_from(WIDTH)?, u32::try_from(height)?);
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    draw(&area, title, subtitle, groups).map_err(|error| anyhow!("no plot: {error}"))?;
    drop(area);
    Ok(svg)
}

fn draw(area: &Area, title: &str, subtitle: &str, groups: &[Group]) -> Drawn {
    // A background of its own, so that it can be read on a dark page too.
    area.fill(&WHITE)?;
    area.draw(&Text::new(title, (MARGIN, 34), font(24, INK, HPos::Left)))?;
    area.draw(&Text::new(subtitle, (MARGIN, 62), font(13, FAINT, HPos::Left)))?;
    let bars = groups.iter().flat_map(|group| &group.bars);
    let longest = bars.map(|bar| bar.rate.max).fold(1.0, f64::max);
    let mut top = HEAD;
    for group in groups {
        group.draw(area, top, longest)?;
        top += group.height();
    }
    area.present()?;
    Ok(())
}

impl Group {
    fn height(&self) -> i32 {
        let rows = i32::try_from(self.bars.len()).unwrap_or(i32::MAX);
        GROUP_HEAD + rows.saturating_mul(ROW) + GROUP_GAP
    }

    fn draw(&self, area: &Area, top: i32, longest: f64) -> Drawn {
        let title = font(16, INK, HPos::Left);
        area.draw(&Text::new(self.title.as_str(), (MARGIN, top + 14), title))?;
        let rule = [(MARGIN, top + GROUP_HEAD - 8), (WIDTH - MARGIN, top + GROUP_HEAD - 8)];
        area.draw(&PathElement::new(rule, LINE))?;
        let first = self.bars.first().map_or(1.0, |bar| bar.rate.median);
        let mut middle = top + GROUP_HEAD + ROW.div_euclid(2);
        for bar in &self.bars {
            bar.draw(area, middle, longest, first)?;
            middle += ROW;
        }
        Ok(())
    }
}

impl Bar {
    fn draw(&self, area: &Area, y: i32, longest: f64, first: f64) -> Drawn {
        let end = BARS_LEFT - 12;
        area.draw(&Text::new(self.name.as_str(), (end, y - 8), font(15, INK, HPos::Right)))?;
        let explanation = font(12, FAINT, HPos::Right);
        area.draw(&Text::new(self.explanation.as_str(), (end, y + 10), explanation))?;

        let x = |rate: f64| BARS_LEFT + pixels(rate / longest * f64::from(BARS_RIGHT - BARS_LEFT));
        let corners = [(BARS_LEFT, y - BAR_HALF), (x(self.rate.median), y + BAR_HALF)];
        area.draw(&Rectangle::new(corners, self.kind.color().filled()))?;
        let (least, most) = (x(self.rate.min), x(self.rate.max));
        let cap = |x| [(x, y - WHISKER_HALF), (x, y + WHISKER_HALF)];
        for path in [[(least, y), (most, y)], cap(least), cap(most)] {
            area.draw(&PathElement::new(path, INK))?;
        }

        let rate = thousands(self.rate.median);
        let figures = match self.kind {
            Kind::Database => rate,
            Kind::Ceiling | Kind::Service => {
                format!("{rate}  ({:.1} times pgbench)", self.rate.median / first)
            }
        };
        area.draw(&Text::new(figures, (most + 12, y), font(15, INK, HPos::Left)))?;
        Ok(())
    }
}

fn font(points: u32, color: RGBColor, beside: HPos) -> TextStyle<'static> {
    let anchor = Pos::new(beside, VPos::Center);
    ("Helvetica, Arial, sans-serif", points).into_font().color(&color).pos(anchor)
}

/// Pixels are few: no rate makes more of them than the picture is wide.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "as said")]
fn pixels(length: f64) -> i32 {
    length.round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_what_it_shows() -> Result<()> {
        let bar = |name: &str, kind, rate| Bar {
            name: name.to_owned(),
            explanation: String::new(),
            rate: Spread { median: rate, min: rate * 0.9, max: rate * 1.1 },
            kind,
        };
        let bars =
            vec![bar("alone", Kind::Database, 4_000.0), bar("served", Kind::Service, 14_000.0)];
        let group = Group { title: "all".to_owned(), bars };
        let svg = svg("Payments", "medians", &[group])?;
        assert!(svg.contains("14,000  (3.5 times pgbench)"), "{svg}");
        Ok(())
    }
}
