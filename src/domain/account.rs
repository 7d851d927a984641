//! Accounts.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::{Balance, Invalid, Timestamp, unsigned};

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
        // An id has one spelling: "01" is none.
        let is_plain = text == "0" || !text.starts_with('0');
        Self::new(unsigned(text).filter(|_| is_plain).unwrap_or(-1))
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
    #[serde(skip_serializing_if = "AccountStatus::is_open")]
    pub status: AccountStatus,
}

/// An account as it was at a moment that is over. Its status then is not known.
#[derive(Debug, Clone, Serialize)]
pub struct AccountThen {
    pub id: AccountId,
    pub name: Option<String>,
    pub balance: Balance,
    pub created_at: Timestamp,
    pub at: Timestamp,
}

/// Whether an account takes part in payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountStatus {
    #[default]
    Open,
    /// It neither pays nor is paid, until it is open again.
    Frozen,
    /// Empty for ever.
    Closed,
}

impl AccountStatus {
    pub const ALL: [Self; 3] = [Self::Open, Self::Frozen, Self::Closed];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Frozen => "frozen",
            Self::Closed => "closed",
        }
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

impl FromStr for AccountStatus {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|status| status.name() == text);
        found.ok_or_else(|| Invalid::value("is open, frozen or closed"))
    }
}

#[cfg(test)]
mod tests;
