//! Requests to open accounts.

use super::{AccountId, Amount, Fingerprint, Name};

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
