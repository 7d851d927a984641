//! Payments that were made, and what their parties see of them.

use std::str::FromStr;

use serde::Serialize;

use super::{
    AccountId, Amount, Balance, Fingerprint, IdempotencyKey, Invalid, PaymentId, PaymentRequestId,
    Timestamp,
};

/// A payment that was made. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub id: PaymentId,
    pub from: AccountId,
    pub to: AccountId,
    pub amount: Amount,
    pub note: Option<String>,
    pub key: IdempotencyKey,
    /// The ledger's time.
    pub created_at: Timestamp,
    /// The client's.
    pub requested_at: Option<Timestamp>,
    pub from_balance_after: Balance,
    pub to_balance_after: Balance,
    pub refund: Option<Refund>,
    /// The request for money that it pays.
    pub request: Option<PaymentRequestId>,
    /// Who asked for it, where that was not its payer.
    pub asked_by: Option<String>,
}

/// What a refund is a refund of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refund {
    pub of: PaymentId,
    /// What has been given back of that payment, with this refund.
    pub refunded_after: Amount,
}

impl Payment {
    /// The way that its money goes, as one of its two accounts sees it.
    #[must_use]
    pub fn direction(&self, account: AccountId) -> PaymentDirection {
        if account == self.from { PaymentDirection::Sent } else { PaymentDirection::Received }
    }

    /// The balance that one of its two accounts had after it.
    #[must_use]
    pub fn balance_after(&self, account: AccountId) -> Balance {
        match self.direction(account) {
            PaymentDirection::Sent => self.from_balance_after,
            PaymentDirection::Received => self.to_balance_after,
        }
    }

    /// The payment as `reader` may see it: with his own balance after it, never the other's.
    #[must_use]
    pub fn seen_by(&self, reader: Option<AccountId>) -> PaymentView<'_> {
        let balance_after = match reader {
            Some(id) if id == self.from => Some(self.from_balance_after),
            Some(id) if id == self.to => Some(self.to_balance_after),
            _ => None,
        };
        PaymentView {
            id: self.id,
            from_id: self.from,
            to_id: self.to,
            amount: self.amount,
            note: self.note.as_deref(),
            created_at: self.created_at,
            requested_at: self.requested_at,
            balance_after,
            refund_of: self.refund.map(|refund| refund.of),
            payment_request_id: self.request,
            refunded: None,
            by: self.asked_by.as_deref(),
        }
    }

    /// The body that answers the payer, now and at every retry: JSON.
    #[must_use]
    pub fn receipt(&self) -> String {
        // The view has no map and no number that JSON lacks: serializing it cannot fail.
        serde_json::to_string(&self.seen_by(Some(self.from))).unwrap_or_default()
    }

    /// Whether it is a new account's first money, which is the account's own affair.
    #[must_use]
    pub fn is_opening_balance(&self) -> bool {
        self.from.is_bank() && self.key.is_internal() && self.request.is_none()
    }

    /// Whether it says nothing that most payments do not.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.refund.is_none() && self.request.is_none() && self.asked_by.is_none()
    }

    /// The part of it that another request under its key must equal.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        // As that of the intent that it was.
        let note = if self.request.is_some() { None } else { self.note.as_deref() };
        let refund_of = self.refund.map(|refund| refund.of);
        Fingerprint::of_payment([self.from, self.to], self.amount, note, refund_of, self.request)
    }
}

/// A payment as one reader sees it; the shape of the HTTP contract.
#[derive(Debug, Clone, Serialize)]
pub struct PaymentView<'a> {
    pub id: PaymentId,
    pub from_id: AccountId,
    pub to_id: AccountId,
    pub amount: Amount,
    pub note: Option<&'a str>,
    pub created_at: Timestamp,
    pub requested_at: Option<Timestamp>,
    pub balance_after: Option<Balance>,
    // A receipt is the same bytes for ever, so a newer field appears only where it has something to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refund_of: Option<PaymentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_request_id: Option<PaymentRequestId>,
    /// What was given back of it so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refunded: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'a str>,
}

impl PaymentView<'_> {
    /// Appends it as JSON.
    pub fn write_json(&self, json: &mut Vec<u8>) {
        // It has no map and no number that JSON lacks, and a vector takes all: this cannot fail.
        let _ = serde_json::to_writer(json, self);
    }
}

/// The way that money goes, as an account sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentDirection {
    Sent,
    Received,
}

impl PaymentDirection {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

impl FromStr for PaymentDirection {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = [Self::Sent, Self::Received].into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| Invalid::value("is sent or received"))
    }
}
