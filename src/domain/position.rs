//! Positions in the feed.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::{AccountId, CENTS_MAX, Invalid, Payment, PaymentView, unsigned};

/// The place of a payment in the feed: 1, 2, 3, ... It never changes; of two payments that share an account the earlier
/// has the smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Position(i64);

impl Position {
    /// Before the first payment.
    pub const START: Self = Self(0);

    /// A position as the database keeps it; its constraints hold the range.
    #[must_use]
    pub fn trusted(position: i64) -> Self {
        Self(position)
    }

    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }

    /// The one so many places further on.
    #[must_use]
    pub fn plus(self, places: i64) -> Self {
        Self(self.0.saturating_add(places))
    }
}

impl FromStr for Position {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = unsigned(text).filter(|it| (0..=CENTS_MAX).contains(it));
        let invalid = || Invalid::value(format!("a position is an integer from 0 to {CENTS_MAX}"));
        found.map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A payment with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPayment {
    pub position: Position,
    pub payment: Payment,
}

impl FeedPayment {
    /// It as `reader` may see it.
    #[must_use]
    pub fn seen_by(&self, reader: Option<AccountId>) -> FeedPaymentView<'_> {
        FeedPaymentView { position: self.position, payment: self.payment.seen_by(reader) }
    }
}

/// A payment of the feed as one reader sees it; the shape of the HTTP contract.
#[derive(Debug, Clone, Serialize)]
pub struct FeedPaymentView<'a> {
    pub position: Position,
    #[serde(flatten)]
    pub payment: PaymentView<'a>,
}
