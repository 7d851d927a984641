#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

const US_PER_SECOND: i128 = 1_000_000;

/// A timestamp by its parts, each perhaps out of its range.
#[derive(Debug, Clone)]
struct Written {
    date: (i64, i64, i64),
    time: (i64, i64, i64),
    /// Digits after the point; empty: no point.
    fraction: String,
    separator: char,
    /// `None` is `zulu`.
    offset: Option<(char, i64, i64)>,
    zulu: char,
}

fn written() -> impl Strategy<Value = Written> {
    let year = prop_oneof![0..=9_999_i64, Just(0), Just(1), Just(2_000), Just(9_999)];
    let date = (year, 0..=13_i64, prop_oneof![1..=28_i64, 27..=32_i64, Just(0)]);
    let time = (
        prop_oneof![4 => 0..=23_i64, 1 => 23..=24_i64],
        prop_oneof![4 => 0..=59_i64, 1 => 59..=60_i64],
        prop_oneof![4 => 0..=59_i64, 1 => 59..=61_i64],
    );
    let separator = prop_oneof![6 => Just('T'), 1 => Just('t'), 1 => Just(' '),
        1 => prop::sample::select(vec!['x', '_', '+', '-', '0', '/'])];
    let fraction = prop_oneof!["", "[0-9]{1,6}", "[0-9]{1,14}", "0{1,12}1?", "9{1,14}"];
    let offset = (prop::sample::select(vec!['+', '-']), 0..=24_i64, 0..=60_i64);
    let zulu = prop_oneof![4 => Just('Z'), 1 => Just('z')];
    (date, time, fraction, separator, prop::option::of(offset), zulu).prop_map(
        |(date, time, fraction, separator, offset, zulu)| Written {
            date,
            time,
            fraction,
            separator,
            offset,
            zulu,
        },
    )
}

impl Written {
    fn text(&self) -> String {
        let ((year, month, day), (hour, minute, second)) = (self.date, self.time);
        let point = if self.fraction.is_empty() { "" } else { "." };
        let offset = match self.offset {
            Some((sign, hours, minutes)) => format!("{sign}{hours:02}:{minutes:02}"),
            None => self.zulu.to_string(),
        };
        format!(
            "{year:04}-{month:02}-{day:02}{}{hour:02}:{minute:02}:{second:02}{point}{}{offset}",
            self.separator, self.fraction
        )
    }

    /// The Unix times in microseconds of the last whole one that is not after it and the first that is
    /// not before it, by RFC 3339 alone; `None` where it is none.
    fn meaning(&self) -> Option<(i128, i128)> {
        let ((year, month, day), (hour, minute, second)) = (self.date, self.time);
        let (sign, hours, minutes) = self.offset.unwrap_or(('+', 0, 0));
        let is_date = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
        let is_offset = hours <= 23 && minutes <= 59;
        let is_separator = ['T', 't', ' '].contains(&self.separator);
        if !is_date || hour > 23 || minute > 59 || second > 60 || !is_offset || !is_separator {
            return None;
        }
        let east = (hours * 60 + minutes) * if sign == '-' { -1 } else { 1 };
        let minute_of_day = hour * 60 + minute - east;
        let seconds = (days_since_1970(year, month, day) * 1_440 + minute_of_day) * 60;
        let digit = |n: usize| self.fraction.as_bytes().get(n).map_or(0, |digit| digit - b'0');
        let us = (0..6).fold(0, |us, n| us * 10 + i128::from(digit(n)));
        let is_cut = (6..self.fraction.len()).any(|n| digit(n) != 0);
        let floor = i128::from(seconds + second) * US_PER_SECOND + us;
        if second == 60 {
            // A leap second ends a month of UTC. Our clock has none: it is the end of the second before.
            let next = seconds + 60;
            let starts_a_month = next.rem_euclid(86_400) == 0
                && (1..=12).any(|month| {
                    (year - 1..=year + 1)
                        .any(|year| days_since_1970(year, month, 1) * 86_400 == next)
                });
            let end = i128::from(next) * US_PER_SECOND;
            return starts_a_month.then_some((end - 1, end));
        }
        Some((floor, floor + i128::from(is_cut)))
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 31,
    }
}

/// Counted month by month, as on one's knuckles.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = |year: i64| {
        let years = year - 1;
        years * 365 + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400)
    };
    let months: i64 = (1..month).map(|month| days_of(year, month)).sum();
    before(year) - before(1970) + months + day - 1
}

fn in_range(us: i128) -> Option<i64> {
    let text = i64::try_from(us).unwrap();
    (UNIX_US_MIN..=UNIX_US_MAX).contains(&text).then_some(text)
}

proptest! {
    #![proptest_config(Config {
        cases: 4_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..Config::default()
    })]

    #[test]
    fn a_timestamp_means_what_rfc_3339_says(written in written()) {
        let text = written.text();
        let (floor, ceiling) = written.meaning().unzip();
        let parsed = Timestamp::parse(&text).ok().map(|time| time.unix_us);
        prop_assert_eq!(parsed, floor.and_then(in_range), "{}", text);
        let bound = Timestamp::parse_bound(&text).ok().map(|time| time.unix_us);
        // Both take the same texts, also those that would be rounded out of the range, or into it.
        let wanted = parsed.map(|floor| ceiling.and_then(in_range).unwrap_or(floor));
        prop_assert_eq!(bound, wanted, "{}", text);
    }

    #[test]
    fn what_is_accepted_is_written_so_that_it_reads_as_itself(written in written()) {
        if let Ok(time) = Timestamp::parse(&written.text()) {
            let text = time.to_string();
            prop_assert_eq!(text.len(), "2026-11-22T12:00:00.000000Z".len());
            prop_assert_eq!(Timestamp::parse(&text), Ok(time));
            prop_assert_eq!(Timestamp::parse_bound(&text), Ok(time));
            prop_assert_eq!(Timestamp::from_unix_us(time.unix_us()), Some(time));
        }
    }

    #[test]
    fn a_timestamp_with_one_character_changed_is_another_or_none(
        written in written(),
        at in 0..40_usize,
        with in "[\\x00-\\x7f\u{e9}\u{661}\u{1F600}]",
    ) {
        let text: String = written.text().chars().enumerate()
            .map(|(n, char)| if n == at { with.clone() } else { char.to_string() })
            .collect();
        // Whatever is accepted has nothing in it but what a timestamp is made of.
        if Timestamp::parse(&text).is_ok() {
            prop_assert!(text.chars().all(|char| "0123456789-+:. TtZz".contains(char)), "{}", text);
        }
    }

    #[test]
    fn milliseconds_are_in_the_years_1_to_9999_or_refused(ms: i64) {
        let exact = i128::from(ms) * 1_000;
        let fits = (i128::from(UNIX_US_MIN)..=i128::from(UNIX_US_MAX)).contains(&exact);
        let time = Timestamp::from_unix_ms(ms).ok().map(|time| i128::from(time.unix_us));
        prop_assert_eq!(time, fits.then_some(exact));
    }
}
