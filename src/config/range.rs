//! Whole numbers that know their default and their range, so that both stand in a setting's type.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A whole number from `MIN` to `MAX`; `DEFAULT` where it is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Within<const DEFAULT: u32, const MIN: u32, const MAX: u32, T = u32>(T);

/// How many there may be in memory.
pub type Count<const DEFAULT: u32, const MIN: u32, const MAX: u32> =
    Within<DEFAULT, MIN, MAX, usize>;

/// A span of time in milliseconds, one at least: see [`milliseconds`].
pub type Millis<const DEFAULT: u32, const MIN: u32 = 1, const MAX: u32 = { u32::MAX }> =
    Within<DEFAULT, MIN, MAX>;

/// A span of time in seconds, one at least.
pub type Seconds<const DEFAULT: u32> = Within<DEFAULT, 1, { u32::MAX }>;

/// How the text about a number out of its range begins; the setting's name comes before it.
pub(super) const IS: &str = "is ";

impl<const DEFAULT: u32, const MIN: u32, const MAX: u32, T: Copy> Within<DEFAULT, MIN, MAX, T> {
    #[must_use]
    pub fn get(self) -> T {
        self.0
    }
}

impl<const DEFAULT: u32, const MIN: u32, const MAX: u32, T> Default for Within<DEFAULT, MIN, MAX, T>
where
    T: TryFrom<u32> + Default,
{
    fn default() -> Self {
        // A default out of its range does not compile.
        const { assert!(MIN <= DEFAULT && DEFAULT <= MAX) };
        Self(T::try_from(DEFAULT).unwrap_or_default())
    }
}

impl<'de, const DEFAULT: u32, const MIN: u32, const MAX: u32, T> Deserialize<'de>
    for Within<DEFAULT, MIN, MAX, T>
where
    T: TryFrom<u32>,
{
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let value = i64::deserialize(source)?;
        if value < MIN.into() {
            return Err(D::Error::custom(format_args!("{IS}{value}, and at least {MIN}")));
        }
        let number = u32::try_from(value).ok().filter(|number| *number <= MAX);
        let number = number.and_then(|number| T::try_from(number).ok());
        number
            .map(Self)
            .ok_or_else(|| D::Error::custom(format_args!("{IS}{value}, and at most {MAX}")))
    }
}

/// A setting whose name ends in `_ms`.
#[must_use]
pub fn milliseconds<const DEFAULT: u32, const MIN: u32, const MAX: u32>(
    setting: Within<DEFAULT, MIN, MAX>,
) -> Duration {
    Duration::from_millis(setting.get().into())
}
