//! Integers of cents. Nothing here wraps: what does not fit is an error.

use serde::Serialize;

use super::Invalid;

/// 2^53 - 1 cents: the largest integer that JavaScript reads exactly.
pub const CENTS_MAX: i64 = 9_007_199_254_740_991;

/// The money that a payment moves: 1 to [`CENTS_MAX`] cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Amount(i64);

impl Amount {
    /// # Errors
    /// [`Invalid::Amount`] outside 1 to [`CENTS_MAX`].
    pub fn from_cents(cents: i64) -> Result<Self, Invalid> {
        if (1..=CENTS_MAX).contains(&cents) { Ok(Self(cents)) } else { Err(Invalid::Amount) }
    }

    #[must_use]
    pub fn cents(self) -> i64 {
        self.0
    }
}

/// The money that an account holds: -[`CENTS_MAX`] to [`CENTS_MAX`] cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Default)]
pub struct Balance(i64);

impl Balance {
    /// A balance as the database keeps it; its constraints hold the range.
    #[must_use]
    pub fn from_cents(cents: i64) -> Self {
        Self(cents)
    }

    #[must_use]
    pub fn cents(self) -> i64 {
        self.0
    }

    /// The balance after receiving `amount`; `None` past the limit.
    #[must_use]
    pub fn plus(self, amount: Amount) -> Option<Self> {
        Self::within_limit(self.0.checked_add(amount.0)?)
    }

    /// The balance after sending `amount`, below zero too; `None` past the limit.
    #[must_use]
    pub fn minus(self, amount: Amount) -> Option<Self> {
        Self::within_limit(self.0.checked_sub(amount.0)?)
    }

    #[must_use]
    pub fn is_below_zero(self) -> bool {
        self.0 < 0
    }

    fn within_limit(cents: i64) -> Option<Self> {
        (-CENTS_MAX..=CENTS_MAX).contains(&cents).then_some(Self(cents))
    }
}
