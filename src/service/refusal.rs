//! Refusals: why a request has no result, and the obstacles that it may have met while it waited.

use crate::db::{Error, ErrorKind};
use crate::domain::ledger::Declined;
use crate::domain::{AccountId, Timestamp};

/// Why a request has no result. After `DatabaseUnavailable` it may have been done all the same; after
/// any other it was not, and will not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The rule said no.
    Declined(Declined),
    /// The id for a new account is taken.
    AccountExists(AccountId),
    /// There is no such account to be read.
    AccountNotFound(AccountId),
    /// The past that is asked for is not over for certain; up to this moment it is.
    NotOver(Timestamp),
    PaymentNotFound,
    PaymentRequestNotFound,
    WebhookNotFound,
    /// There are as many as there may be.
    TooManyWebhooks(usize),
    /// Another request held the key for as long as this one may wait.
    KeyInProgress,
    /// Its turn did not come in time, or the queue was full.
    Overloaded,
    /// There are as many live streams as there may be.
    TooManyStreams,
    /// The same of one account's.
    TooManyStreamsOfAccount(AccountId),
    /// Somebody else held an account's row for as long as the request may wait.
    AccountBusy,
    /// The database did not answer, or lost the connection.
    DatabaseUnavailable,
    /// The service or its database failed in a way that a retry does not mend.
    Internal,
}

impl Refusal {
    /// What a request is told whose statement failed and is not tried again: whether another moment may do better.
    pub(crate) fn after(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Refused | ErrorKind::Stale => Self::Internal,
            _ => Self::DatabaseUnavailable,
        }
    }
}

/// The thing that a waiting request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Its turn.
    Queue,
    /// An account that somebody else has locked.
    Lock,
    /// A key that another request holds.
    Key,
    /// A database that does not answer.
    Database,
}

impl From<Obstacle> for Refusal {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::Queue => Self::Overloaded,
            Obstacle::Lock => Self::AccountBusy,
            Obstacle::Key => Self::KeyInProgress,
            Obstacle::Database => Self::DatabaseUnavailable,
        }
    }
}
