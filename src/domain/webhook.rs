//! Webhooks: addresses of others that are told of payments.

use serde::Serialize;
use uuid::Uuid;

use super::{AccountId, FeedPayment, Invalid, Payment, Position, Timestamp};

/// A webhook's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct WebhookId(Uuid);

impl WebhookId {
    #[must_use]
    pub fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

/// Whether payments are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookStatus {
    Active,
    /// By an operator, or because too many attempts failed. Its position stays.
    Disabled,
}

impl WebhookStatus {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

impl std::str::FromStr for WebhookStatus {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = [Self::Active, Self::Disabled].into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| Invalid::value("is active or disabled"))
    }
}

/// The accounts whose payments are followed: all (null in JSON), or 1 to 100 by their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FollowedAccounts(Option<Vec<AccountId>>);

impl FollowedAccounts {
    pub const ALL: Self = Self(None);

    const MAX: usize = 100;

    /// # Errors
    /// There is none, or there are more than 100.
    pub fn new(mut accounts: Vec<AccountId>) -> Result<Self, Invalid> {
        if accounts.is_empty() || accounts.len() > Self::MAX {
            return Err(Invalid::value(format!("has 1 to {} ids", Self::MAX)));
        }
        accounts.sort_unstable();
        accounts.dedup();
        Ok(Self(Some(accounts)))
    }

    /// As the database keeps them.
    #[must_use]
    pub fn trusted(ids: Option<Vec<i64>>) -> Self {
        Self(ids.map(|ids| ids.into_iter().map(AccountId::trusted).collect()))
    }

    /// `None`: all.
    #[must_use]
    pub fn ids(&self) -> Option<Vec<i64>> {
        self.0.as_ref().map(|accounts| accounts.iter().map(|account| account.get()).collect())
    }

    /// Whether one of them pays or is paid.
    #[must_use]
    pub fn take_part_in(&self, payment: &Payment) -> bool {
        let parties = [payment.from, payment.to];
        let is_among =
            |them: &Vec<AccountId>| parties.iter().any(|it| them.binary_search(it).is_ok());
        self.0.as_ref().is_none_or(is_among)
    }
}

/// A webhook as operators see it; the shape of the HTTP contract.
#[derive(Debug, Clone, Serialize)]
pub struct Webhook {
    pub id: WebhookId,
    pub url: String,
    pub accounts: FollowedAccounts,
    pub status: WebhookStatus,
    /// Up to here everything was delivered, or is about other accounts.
    pub position: Position,
    /// Attempts that failed since the last delivery.
    pub failures: u32,
    /// After a failure: when the next one is due.
    pub next_attempt_at: Option<Timestamp>,
    /// What became of the last attempt, where that failed.
    pub last_failure: Option<String>,
    pub created_at: Timestamp,
}

/// What a webhook is told of a payment: a body of Standard Webhooks.
#[derive(Debug, Serialize)]
pub struct WebhookMessage<'a> {
    r#type: &'static str,
    timestamp: Timestamp,
    data: super::FeedPaymentView<'a>,
}

impl<'a> WebhookMessage<'a> {
    /// As nobody's: neither balance is told.
    #[must_use]
    pub fn of(made: &'a FeedPayment) -> Self {
        let timestamp = made.payment.created_at;
        Self { r#type: "payment.made", timestamp, data: made.seen_by(None) }
    }

    /// The bytes that are signed and sent.
    #[must_use]
    pub fn json(&self) -> String {
        // It has no map and no number that JSON lacks: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}
