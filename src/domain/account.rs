//! Accounts, and requests to open them.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::{Amount, Balance, Fingerprint, Invalid, Name, Timestamp};

/// An account's number, 0 to 2^53 - 1. Number 0 is the bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct AccountId(i64);

impl AccountId {
    /// Where money enters the ledger: the only account that may go below zero.
    pub const BANK: Self = Self(0);

    /// # Errors
    /// Outside 0 to 2^53 - 1.
    pub fn new(id: i64) -> Result<Self, Invalid> {
        if (0..=super::CENTS_MAX).contains(&id) {
            Ok(Self(id))
        } else {
            Err(Invalid::value(format!(
                "an account id is an integer from 0 to {}",
                super::CENTS_MAX
            )))
        }
    }

    /// An id as the database keeps it; its constraints hold the range.
    #[must_use]
    pub fn trusted(id: i64) -> Self {
        Self(id)
    }

    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }

    #[must_use]
    pub fn is_bank(self) -> bool {
        self == Self::BANK
    }
}

impl FromStr for AccountId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // i64's own parser takes "+1" and "01"; here an id has one spelling.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = digits && (text == "0" || !text.starts_with('0'));
        Self::new(text.parse().ok().filter(|_| is_plain).unwrap_or(-1))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An account as its owner sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    pub id: AccountId,
    pub name: Option<String>,
    pub balance: Balance,
    pub created_at: Timestamp,
}

/// A request to open an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// `None`: the next free one.
    pub id: Option<AccountId>,
    pub name: Option<Name>,
    /// Paid from the bank; `None` is nothing.
    pub balance: Option<Amount>,
}

impl Opening {
    /// The part of it that another request under the same key must equal.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&[
            self.id.map(|id| id.get().to_be_bytes().to_vec()),
            self.name.as_ref().map(|name| name.as_str().as_bytes().to_vec()),
            self.balance.map(|amount| amount.cents().to_be_bytes().to_vec()),
        ])
    }
}

#[cfg(test)]
mod tests;
