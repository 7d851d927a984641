//! Payments that somebody asks for.

use super::{AccountId, Amount, Fingerprint, IdempotencyKey, Invalid, Note, PaymentId, Timestamp};

/// A payment that somebody asks for: who pays whom, how much, under which key.
#[derive(Debug, Clone)]
pub struct Intent {
    id: PaymentId,
    from: AccountId,
    to: AccountId,
    key: IdempotencyKey,
    pub amount: Amount,
    pub note: Option<Note>,
    /// The client's own time. Not part of the fingerprint: a retry often brings a new one.
    pub requested_at: Option<Timestamp>,
}

impl Intent {
    /// # Errors
    /// [`Invalid::SameAccount`]: nobody pays himself.
    pub fn new(
        from: AccountId,
        to: AccountId,
        amount: Amount,
        note: Option<Note>,
        key: IdempotencyKey,
        requested_at: Option<Timestamp>,
    ) -> Result<Self, Invalid> {
        if from == to {
            return Err(Invalid::SameAccount);
        }
        let id = PaymentId::derive(from, &key);
        Ok(Self { id, from, to, key, amount, note, requested_at })
    }

    /// The id of the one payment that this intent can become.
    #[must_use]
    pub fn id(&self) -> PaymentId {
        self.id
    }

    #[must_use]
    pub fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    #[must_use]
    pub fn from(&self) -> AccountId {
        self.from
    }

    #[must_use]
    pub fn to(&self) -> AccountId {
        self.to
    }

    /// Its payer and its payee, whose rows it needs.
    #[must_use]
    pub fn accounts(&self) -> [AccountId; 2] {
        [self.from, self.to]
    }

    /// The part of it that another request under the same key must equal.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(self.from, self.to, self.amount, self.note.as_ref().map(Note::as_str))
    }
}

pub(super) fn fingerprint(
    from: AccountId,
    to: AccountId,
    amount: Amount,
    note: Option<&str>,
) -> Fingerprint {
    Fingerprint::of(&[
        Some(from.get().to_be_bytes().as_slice()),
        Some(to.get().to_be_bytes().as_slice()),
        Some(amount.cents().to_be_bytes().as_slice()),
        note.map(str::as_bytes),
    ])
}
