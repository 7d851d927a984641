//! Payments, and the rule that decides about money. Pure: no I/O, no clock, no other
//! module of this crate.

mod account;
mod caller;
mod cursor;
mod derived_id;
mod fingerprint;
mod history_page;
mod idempotency;
mod instruction;
mod intent;
pub mod ledger;
mod money;
mod numbering;
mod opening;
mod payment;
mod payment_request;
mod position;
mod text;
mod timestamp;
mod webhook;

use std::str::FromStr;

pub use account::{Account, AccountId, AccountStatus, AccountThen};
pub use caller::Caller;
pub use cursor::Cursor;
pub use derived_id::{PAYMENT_ID_NAMESPACE, PaymentId, PaymentRequestId};
pub use fingerprint::Fingerprint;
pub use history_page::{HistoryFilter, HistoryPage};
pub use idempotency::IdempotencyKey;
pub use instruction::{CloseRequest, Closing, Instruction, SetStatus, VoidKey};
pub use intent::{Intent, SimilarWithin};
pub use money::{Amount, Balance, CENTS_MAX};
pub use numbering::{Committed, CommittedBatch, Entry, FeedState, Gap, Numbering};
pub use opening::Opening;
pub use payment::{Payment, PaymentDirection, PaymentView, Refund};
pub use payment_request::{
    AskForMoney, PaymentRequest, PaymentRequestView, RequestDirection, RequestState, RequestStatus,
};
pub use position::{FeedPayment, FeedPaymentView, Position};
pub use text::{Name, Note};
pub use timestamp::Timestamp;
pub use webhook::{FollowedAccounts, Webhook, WebhookId, WebhookMessage, WebhookStatus};

/// Why a value from outside is not what it should be; the text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("{0}")]
    Value(String),
    /// An integer, but not one that can be an amount.
    #[error("amount must be from 1 to {CENTS_MAX} cents")]
    Amount,
    #[error("from and to are the same account")]
    SameAccount,
}

impl Invalid {
    pub(crate) fn value(text: impl Into<String>) -> Self {
        Self::Value(text.into())
    }

    /// The same, with the name of the field or parameter that the value is of.
    #[must_use]
    pub fn of(self, field: &str) -> Self {
        match self {
            Self::Value(text) => Self::Value(format!("{field}: {text}")),
            // Its text names what it is about.
            Self::Amount | Self::SameAccount => self,
        }
    }
}

/// The number that digits alone write. Rust's own parsers take a plus sign, too.
pub(crate) fn unsigned<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}
