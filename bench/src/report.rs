//! Runs, their medians, and tables of them.

use crate::meter::Used;

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

impl Latency {
    /// Of many single times, in milliseconds.
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| {
            let place = times.len().saturating_mul(percent).div_euclid(100);
            times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        Self { p50: at(50), p95: at(95), p99: at(99) }
    }
}

/// The counts of a load generator.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Payments or reads.
    pub done: f64,
    pub per_second: f64,
    pub latency: Latency,
}

impl Load {
    /// Of two that ran side by side. Of percentiles the worse is taken: it is not better for both.
    pub fn and(self, other: Self) -> Self {
        let (a, b) = (self.latency, other.latency);
        Self {
            done: self.done + other.done,
            per_second: self.per_second + other.per_second,
            latency: Latency {
                p50: a.p50.max(b.p50),
                p95: a.p95.max(b.p95),
                p99: a.p99.max(b.p99),
            },
        }
    }
}

/// One run of one contender.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub load: Load,
    pub used: Used,
}

/// Microseconds of a processor, for each payment or read.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub service: f64,
    pub postgres: f64,
    pub client: f64,
}

impl Run {
    pub fn cost(&self) -> Cost {
        let each_us = |seconds: f64| seconds * 1_000_000.0 / self.load.done;
        Cost {
            service: each_us(self.used.service_s),
            postgres: each_us(self.used.postgres_s),
            client: each_us(self.used.client_s),
        }
    }
}

/// All runs of one contender, one for each round.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub name: String,
    pub runs: Vec<Run>,
}

impl Row {
    pub fn rate(&self) -> Spread {
        self.spread(|run| run.load.per_second)
    }

    /// The medians.
    pub fn cost(&self) -> Cost {
        Cost {
            service: self.spread(|run| run.cost().service).median,
            postgres: self.spread(|run| run.cost().postgres).median,
            client: self.spread(|run| run.cost().client).median,
        }
    }

    pub fn spread(&self, figure: impl Fn(&Run) -> f64) -> Spread {
        Spread::of(self.runs.iter().map(figure).collect())
    }

    /// This row's figure as a multiple of another's: of the medians, with the least and the most
    /// that a single round gave.
    pub fn ratio(&self, other: &Self, figure: impl Fn(&Run) -> f64) -> Spread {
        let rounds = self.runs.iter().zip(&other.runs).map(|(a, b)| figure(a) / figure(b));
        let median = self.spread(&figure).median / other.spread(&figure).median;
        Spread { median, ..Spread::of(rounds.collect()) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        let median =
            f64::midpoint(at(last.div_euclid(2)), at(values.len().div_euclid(2).min(last)));
        Self { median, min: at(0), max: at(last) }
    }
}

/// A promise about a figure: the least that is accepted, and what is aimed for.
#[derive(Debug, Clone)]
pub struct Target {
    pub what: &'static str,
    pub figure: Spread,
    pub bound: Bound,
}

#[derive(Debug, Clone, Copy)]
pub enum Bound {
    AtLeast {
        least: f64,
        aim: f64,
    },
    AtMost {
        most: f64,
        aim: f64,
    },
    /// Nothing is required: the figure explains others.
    Told,
}

impl Target {
    pub fn is_kept(&self) -> bool {
        match self.bound {
            Bound::AtLeast { least, .. } => self.figure.median >= least,
            Bound::AtMost { most, .. } => self.figure.median <= most,
            Bound::Told => true,
        }
    }

    fn reaches_its_aim(&self) -> bool {
        match self.bound {
            Bound::AtLeast { aim, .. } => self.figure.median >= aim,
            Bound::AtMost { aim, .. } => self.figure.median <= aim,
            Bound::Told => false,
        }
    }

    fn cells(&self) -> Vec<String> {
        let (required, aim) = match self.bound {
            Bound::AtLeast { least, aim } => (format!(">= {least}"), aim.to_string()),
            Bound::AtMost { most, aim } => (format!("<= {most}"), aim.to_string()),
            Bound::Told => (String::new(), String::new()),
        };
        let verdict = match (self.bound, self.is_kept(), self.reaches_its_aim()) {
            (Bound::Told, ..) => "",
            (_, false, _) => "MISSED",
            (_, true, false) => "kept",
            (_, true, true) => "aim reached",
        };
        let Spread { median, min, max } = self.figure;
        vec![
            self.what.to_owned(),
            decimals(median),
            format!("{} to {}", decimals(min), decimals(max)),
            required,
            aim,
            verdict.to_owned(),
        ]
    }
}

pub fn targets_table(targets: &[Target]) -> String {
    let head = ["target", "median", "rounds", "required", "aim", "verdict"];
    table(&head, &targets.iter().map(Target::cells).collect::<Vec<_>>())
}

/// A Markdown table that is as easy to read in a terminal. All columns but the first are numbers.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or_default();
        head.get(column).map_or(0, |cell| cell.chars().count()).max(widest).max(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| {
            let dashes = "-".repeat(width.saturating_sub(1));
            if column == 0 { format!("{dashes}-") } else { format!("{dashes}:") }
        })
        .collect();
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let body: String = rows.iter().map(|row| line(row)).collect();
    format!("{}{}{body}", line(&head), line(&rule))
}

/// Three digits that mean something: 0.412, 4.12, 41.2, 412.
pub fn decimals(value: f64) -> String {
    match value.abs() {
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

/// 12,345.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len().saturating_sub(place);
        if place > 0 && left.is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_count_lies_between() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).median.to_bits(), 2.0_f64.to_bits());
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }

    #[test]
    fn percentiles_are_times_that_occurred() {
        let times = (1_u32..=200).rev().map(f64::from).collect();
        assert_eq!(Latency::of(times), Latency { p50: 101.0, p95: 191.0, p99: 199.0 });
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }

    #[test]
    fn a_ratio_is_that_of_the_medians() {
        let row = |rates: &[f64]| Row {
            name: String::new(),
            runs: rates
                .iter()
                .map(|rate| Run {
                    load: Load { per_second: *rate, ..Load::default() },
                    used: Used::default(),
                })
                .collect(),
        };
        let ratio =
            row(&[10.0, 30.0, 20.0]).ratio(&row(&[5.0, 10.0, 4.0]), |run| run.load.per_second);
        assert_eq!(ratio, Spread { median: 4.0, min: 2.0, max: 5.0 });
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(1_234_567.4), "1,234,567");
        assert_eq!(thousands(123.0), "123");
        assert_eq!(decimals(0.4), "0.400");
    }

    #[test]
    fn tables_line_up() {
        let text = table(&["a", "number"], &[vec!["row".to_owned(), "1".to_owned()]]);
        assert_eq!(text, "| a   | number |\n| --- | -----: |\n| row |      1 |\n");
    }
}
