use std::fmt;

use serde::{Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::Invalid;

/// A moment in UTC, exact to the microsecond as Postgres keeps it. Written as RFC 3339 with six
/// decimals, so that texts sort as the moments do and no reader rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    unix_us: i64,
}

const NS_PER_US: i128 = 1_000;
const US_PER_MS: i64 = 1_000;

/// What stands before the time, as in 2026-11-22.
pub(super) const DATE_CHARACTERS: usize = 10;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z: what four digits of a year can write.
const UNIX_US_MIN: i64 = -62_135_596_800_000_000;
const UNIX_US_MAX: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// # Errors
    /// Not RFC 3339, or not in the years 1 to 9999 of UTC.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::parse_ns(text)
            .and_then(|ns| Self::from_unix_us(ns.div_euclid(NS_PER_US)))
            .ok_or_else(Self::invalid)
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
        let down = Self::from_unix_us(ns.div_euclid(NS_PER_US)).ok_or_else(Self::invalid)?;
        let up = ns.checked_add(to_next).map(|ns| ns.div_euclid(NS_PER_US));
        Ok(up.and_then(Self::from_unix_us).unwrap_or(down))
    }

    /// # Errors
    /// Not in the years 1 to 9999.
    pub fn from_unix_ms(ms: i64) -> Result<Self, Invalid> {
        ms.checked_mul(US_PER_MS)
            .and_then(|us| Self::from_unix_us(us.into()))
            .ok_or_else(Self::invalid)
    }

    /// The next moment that can be told apart: one microsecond later.
    #[must_use]
    pub fn next(self) -> Self {
        Self { unix_us: self.unix_us.saturating_add(1) }
    }

    fn parse_ns(text: &str) -> Option<i128> {
        // The parser takes any character between date and time. RFC 3339, section 5.6: a `T`, or for
        // the reader's sake a space.
        if !matches!(text.as_bytes().get(DATE_CHARACTERS), Some(b'T' | b't' | b' ')) {
            return None;
        }
        Some(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos())
    }

    fn from_unix_us(us: i128) -> Option<Self> {
        let unix_us = i64::try_from(us).ok()?;
        (UNIX_US_MIN..=UNIX_US_MAX).contains(&unix_us).then_some(Self { unix_us })
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

impl From<OffsetDateTime> for Timestamp {
    fn from(time: OffsetDateTime) -> Self {
        let us = time.unix_timestamp_nanos().div_euclid(NS_PER_US);
        Self { unix_us: i64::try_from(us).unwrap_or(UNIX_US_MAX) }
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(time: Timestamp) -> Self {
        let ns = i128::from(time.unix_us).saturating_mul(NS_PER_US);
        Self::from_unix_timestamp_nanos(ns).unwrap_or(Self::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from(*self).to_offset(UtcOffset::UTC);
        let (hour, minute, second, us) = time.to_hms_micro();
        let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{us:06}Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
