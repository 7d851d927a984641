//! Moments, as the contract writes and reads them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Invalid;

/// A moment in UTC, exact to the microsecond as Postgres keeps it. Written as RFC 3339 with six
/// decimals, so that texts sort as the moments do and no reader rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    unix_us: i64,
}

const NS_PER_US: i128 = 1_000;
const US_PER_MS: i64 = 1_000;
const US_PER_SECOND: i64 = 1_000_000;

/// The shape of every timestamp that is written.
const TEXT: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";

/// The length of the date, as in 2026-11-22.
const DATE_CHARACTERS: usize = 10;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z: what four digits of a year can write.
const UNIX_US_MIN: i64 = -62_135_596_800_000_000;
const UNIX_US_MAX: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// The first moment that there is.
    pub const FIRST: Self = Self { unix_us: UNIX_US_MIN };

    /// The last moment that there is; nothing is made then.
    pub const LAST: Self = Self { unix_us: UNIX_US_MAX };

    /// # Errors
    /// Not RFC 3339, or not in the years 1 to 9999 of UTC.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::parse_ns(text).and_then(Self::from_ns).ok_or_else(Self::invalid)
    }

    /// Like [`Timestamp::parse`], but a fraction of a microsecond rounds up. As every payment's
    /// time is whole, "before the given moment" and "before the result" are then the same. (But for
    /// the last microsecond of the year 9999, in which no payment is made: both take the same times.)
    ///
    /// # Errors
    /// As [`Timestamp::parse`].
    pub fn parse_bound(text: &str) -> Result<Self, Invalid> {
        let to_next = if is_finer_than_ns(text) { NS_PER_US } else { NS_PER_US.saturating_sub(1) };
        let ns = Self::parse_ns(text).ok_or_else(Self::invalid)?;
        let down = Self::from_ns(ns).ok_or_else(Self::invalid)?;
        Ok(ns.checked_add(to_next).and_then(Self::from_ns).unwrap_or(down))
    }

    /// The text of a timestamp in a query string, where a plus sign that was not escaped arrives as a space.
    #[must_use]
    pub fn unescaped(text: &str) -> Cow<'_, str> {
        match text.rsplit_once(' ') {
            // The other space that a timestamp can have is the one after its date.
            Some((before, offset)) if before.len() > DATE_CHARACTERS => {
                format!("{before}+{offset}").into()
            }
            _ => text.into(),
        }
    }

    /// # Errors
    /// Not in the years 1 to 9999.
    pub fn from_unix_ms(ms: i64) -> Result<Self, Invalid> {
        ms.checked_mul(US_PER_MS).and_then(Self::from_unix_us).ok_or_else(Self::invalid)
    }

    /// A moment by its microseconds since 1970; `None` outside the years 1 to 9999.
    #[must_use]
    pub fn from_unix_us(unix_us: i64) -> Option<Self> {
        (UNIX_US_MIN..=UNIX_US_MAX).contains(&unix_us).then_some(Self { unix_us })
    }

    /// The microseconds since 1970.
    #[must_use]
    pub fn unix_us(self) -> i64 {
        self.unix_us
    }

    /// The next moment that can be told apart: one microsecond later.
    #[must_use]
    pub fn next(self) -> Self {
        Self { unix_us: self.unix_us.saturating_add(1) }
    }

    /// So many seconds earlier, or the first moment that there is.
    #[must_use]
    pub fn minus_seconds(self, seconds: u16) -> Self {
        let us = i64::from(seconds).saturating_mul(US_PER_SECOND);
        Self { unix_us: self.unix_us.saturating_sub(us).max(UNIX_US_MIN) }
    }

    fn parse_ns(text: &str) -> Option<i128> {
        // The parser takes any character between date and time. RFC 3339, section 5.6: a `T`, or for
        // the reader's sake a space.
        if !matches!(text.as_bytes().get(DATE_CHARACTERS), Some(b'T' | b't' | b' ')) {
            return None;
        }
        Some(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos())
    }

    fn from_ns(ns: i128) -> Option<Self> {
        i64::try_from(ns.div_euclid(NS_PER_US)).ok().and_then(Self::from_unix_us)
    }

    /// RFC 3339, digit by digit: a page of a history has twenty of these.
    fn text(self) -> [u8; TEXT.len()] {
        let seconds = self.unix_us.div_euclid(US_PER_SECOND);
        let us = self.unix_us.rem_euclid(US_PER_SECOND);
        // Its years are in the range of `time`.
        let time =
            OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = time.to_calendar_date();
        let (hour, minute, second) = time.to_hms();
        let mut text = *TEXT;
        write_digits(&mut text, 0..4, year.into());
        write_digits(&mut text, 5..7, u8::from(month).into());
        write_digits(&mut text, 8..10, day.into());
        write_digits(&mut text, 11..13, hour.into());
        write_digits(&mut text, 14..16, minute.into());
        write_digits(&mut text, 17..19, second.into());
        write_digits(&mut text, 20..26, us);
        text
    }

    fn invalid() -> Invalid {
        Invalid::value(
            "a timestamp is RFC 3339, as in 2026-11-22T12:00:00Z, in the years 1 to 9999",
        )
    }
}

/// Whether more follows the nine decimals of a second that are read.
fn is_finer_than_ns(text: &str) -> bool {
    let decimals = text.split_once('.').map_or("", |(_, decimals)| decimals).bytes();
    decimals.take_while(u8::is_ascii_digit).skip(9).any(|digit| digit != b'0')
}

/// Writes the last digits of a number that is not negative into their places.
fn write_digits(text: &mut [u8], places: Range<usize>, mut number: i64) {
    for place in text.get_mut(places).unwrap_or_default().iter_mut().rev() {
        *place = b'0' | u8::try_from(number.rem_euclid(10)).unwrap_or_default();
        number = number.div_euclid(10);
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.text();
        serializer.serialize_str(str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

#[cfg(test)]
mod tests;
