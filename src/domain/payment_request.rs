//! Requests for money: one account asks another to pay.

use std::str::FromStr;

use serde::Serialize;

use super::{
    AccountId, Amount, Fingerprint, Invalid, Note, PaymentId, PaymentRequestId, Timestamp,
};

/// A request for money. But for its status it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRequest {
    pub id: PaymentRequestId,
    /// Who is asked to pay.
    pub from: AccountId,
    /// Who asks.
    pub to: AccountId,
    pub amount: Amount,
    pub note: Option<String>,
    /// The ledger's time: strictly increasing among an account's requests.
    pub created_at: Timestamp,
    /// From then on it cannot be paid.
    pub expires_at: Option<Timestamp>,
    pub state: RequestState,
}

/// What has become of a request, as it is kept: nothing is written when it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    Open,
    Paid(PaymentId),
    Declined,
    Cancelled,
}

/// What has become of a request, at a certain moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestStatus {
    Open,
    Paid,
    Declined,
    Cancelled,
    Expired,
}

impl RequestStatus {
    pub const ALL: [Self; 5] =
        [Self::Open, Self::Paid, Self::Declined, Self::Cancelled, Self::Expired];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// Which of an account's requests are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestDirection {
    /// Those by which it is asked to pay.
    Incoming,
    /// Those by which it asks.
    Outgoing,
}

impl RequestDirection {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Incoming => "incoming",
            Self::Outgoing => "outgoing",
        }
    }
}

impl FromStr for RequestDirection {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = [Self::Incoming, Self::Outgoing].into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| Invalid::value("is incoming or outgoing"))
    }
}

impl FromStr for RequestStatus {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|status| status.name() == text);
        found.ok_or_else(|| Invalid::value("is open, paid, declined, cancelled or expired"))
    }
}

impl PaymentRequest {
    #[must_use]
    pub fn status(&self, now: Timestamp) -> RequestStatus {
        match self.state {
            RequestState::Open if self.expires_at.is_some_and(|end| end <= now) => {
                RequestStatus::Expired
            }
            RequestState::Open => RequestStatus::Open,
            RequestState::Paid(_) => RequestStatus::Paid,
            RequestState::Declined => RequestStatus::Declined,
            RequestState::Cancelled => RequestStatus::Cancelled,
        }
    }

    /// The request as its parties see it at a moment.
    #[must_use]
    pub fn view(&self, now: Timestamp) -> PaymentRequestView<'_> {
        let payment_id = match self.state {
            RequestState::Paid(id) => Some(id),
            _ => None,
        };
        self.view_as(self.status(now), payment_id)
    }

    /// The body that answers the one who asked, now and at every retry: JSON.
    #[must_use]
    pub fn first_answer(&self) -> String {
        self.view_as(RequestStatus::Open, None).json()
    }

    fn view_as(
        &self,
        status: RequestStatus,
        payment_id: Option<PaymentId>,
    ) -> PaymentRequestView<'_> {
        PaymentRequestView {
            id: self.id,
            from_id: self.from,
            to_id: self.to,
            amount: self.amount,
            note: self.note.as_deref(),
            status,
            created_at: self.created_at,
            expires_at: self.expires_at,
            payment_id,
        }
    }

    /// The part of it that another one under the same key must equal.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint([self.from, self.to], self.amount, self.note.as_deref())
    }
}

/// A request for money as its parties see it; the shape of the HTTP contract.
#[derive(Debug, Clone, Serialize)]
pub struct PaymentRequestView<'a> {
    pub id: PaymentRequestId,
    pub from_id: AccountId,
    pub to_id: AccountId,
    pub amount: Amount,
    pub note: Option<&'a str>,
    pub status: RequestStatus,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub payment_id: Option<PaymentId>,
}

impl PaymentRequestView<'_> {
    #[must_use]
    pub fn json(&self) -> String {
        // It has no map and no number that JSON lacks: serializing it cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// An account's wish to be paid by another.
#[derive(Debug, Clone)]
pub struct AskForMoney {
    pub id: PaymentRequestId,
    from: AccountId,
    to: AccountId,
    pub amount: Amount,
    pub note: Option<Note>,
    /// Not part of the fingerprint: a retry often brings a new one.
    pub expires_at: Option<Timestamp>,
}

impl AskForMoney {
    /// # Errors
    /// [`Invalid::SameAccount`]: nobody asks himself.
    pub fn new(
        id: PaymentRequestId,
        from: AccountId,
        to: AccountId,
        amount: Amount,
        note: Option<Note>,
        expires_at: Option<Timestamp>,
    ) -> Result<Self, Invalid> {
        if from == to {
            return Err(Invalid::SameAccount);
        }
        Ok(Self { id, from, to, amount, note, expires_at })
    }

    #[must_use]
    pub fn from(&self) -> AccountId {
        self.from
    }

    #[must_use]
    pub fn to(&self) -> AccountId {
        self.to
    }

    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint([self.from, self.to], self.amount, self.note.as_ref().map(Note::as_str))
    }

    /// The request that it becomes.
    #[must_use]
    pub fn opened_at(&self, created_at: Timestamp) -> PaymentRequest {
        PaymentRequest {
            id: self.id,
            from: self.from,
            to: self.to,
            amount: self.amount,
            note: self.note.as_ref().map(|note| note.as_str().to_owned()),
            created_at,
            expires_at: self.expires_at,
            state: RequestState::Open,
        }
    }
}

fn fingerprint(accounts: [AccountId; 2], amount: Amount, note: Option<&str>) -> Fingerprint {
    Fingerprint::of_payment(accounts, amount, note, None, None)
}
