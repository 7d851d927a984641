//! Payments that somebody asks for.

use std::sync::Arc;

use super::{
    AccountId, Amount, Fingerprint, IdempotencyKey, Invalid, Note, PaymentId, PaymentRequestId,
    Timestamp,
};

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
    particulars: Option<Box<Particulars>>,
}

/// The things that most payments go without.
#[derive(Debug, Clone, Default)]
struct Particulars {
    refund_of: Option<PaymentId>,
    request: Option<PaymentRequestId>,
    /// Beside the key that is derived from the request.
    client_key: Option<IdempotencyKey>,
    unless_similar_within: Option<SimilarWithin>,
    asked_by: Option<Arc<str>>,
}

/// How far back a similar payment is looked for: 1 to 3,600 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimilarWithin {
    seconds: u16,
}

impl SimilarWithin {
    pub const SECONDS_MAX: u16 = 3_600;

    /// # Errors
    /// Outside 1 to 3,600.
    pub fn from_seconds(seconds: i64) -> Result<Self, Invalid> {
        let seconds = u16::try_from(seconds).ok();
        let seconds = seconds.filter(|seconds| (1..=Self::SECONDS_MAX).contains(seconds));
        seconds.map(|seconds| Self { seconds }).ok_or_else(|| {
            Invalid::value(format!("is an integer of seconds, from 1 to {}", Self::SECONDS_MAX))
        })
    }

    #[must_use]
    pub fn seconds(self) -> u16 {
        self.seconds
    }

    /// The moment after which a payment is near enough to `now`.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Timestamp {
        now.minus_seconds(self.seconds)
    }
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
        Ok(Self { id, from, to, key, amount, note, requested_at, particulars: None })
    }

    /// A payment that pays a request for money. Whatever key the client gives, the payment's own is derived
    /// from the request, so that there is one at most.
    ///
    /// # Errors
    /// As [`Intent::new`].
    pub fn paying(
        request: PaymentRequestId,
        from: AccountId,
        to: AccountId,
        amount: Amount,
        note: Option<Note>,
        client_key: Option<IdempotencyKey>,
        requested_at: Option<Timestamp>,
    ) -> Result<Self, Invalid> {
        let mut intent = Self::new(from, to, amount, note, request.payment_key(), requested_at)?;
        let particulars = intent.particulars();
        particulars.request = Some(request);
        particulars.client_key = client_key;
        Ok(intent)
    }

    /// The same as a refund of a payment.
    #[must_use]
    pub fn refunding(mut self, payment: PaymentId) -> Self {
        self.particulars().refund_of = Some(payment);
        self
    }

    /// The same, to be declined where a similar payment was made within that time.
    #[must_use]
    pub fn unless_similar(mut self, within: SimilarWithin) -> Self {
        self.particulars().unless_similar_within = Some(within);
        self
    }

    /// The same, asked for by somebody who is not its payer.
    #[must_use]
    pub fn asked_for_by(mut self, somebody: Arc<str>) -> Self {
        self.particulars().asked_by = Some(somebody);
        self
    }

    fn particulars(&mut self) -> &mut Particulars {
        self.particulars.get_or_insert_default()
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

    #[must_use]
    pub fn refund_of(&self) -> Option<PaymentId> {
        self.particulars.as_ref()?.refund_of
    }

    /// The request for money that it pays.
    #[must_use]
    pub fn request(&self) -> Option<PaymentRequestId> {
        self.particulars.as_ref()?.request
    }

    /// The key that the client gave where the payment's own is derived from a request.
    #[must_use]
    pub fn client_key(&self) -> Option<&IdempotencyKey> {
        self.particulars.as_ref()?.client_key.as_ref()
    }

    #[must_use]
    pub fn unless_similar_within(&self) -> Option<SimilarWithin> {
        self.particulars.as_ref()?.unless_similar_within
    }

    /// Who asked for it, where that is not its payer.
    #[must_use]
    pub fn asked_by(&self) -> Option<&str> {
        self.particulars.as_ref()?.asked_by.as_deref()
    }

    /// Its payer and its payee, whose rows it needs.
    #[must_use]
    pub fn accounts(&self) -> [AccountId; 2] {
        [self.from, self.to]
    }

    /// The part of it that another request under the payment's key must equal.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        // Under the key of a request everybody pays the same, in whatever words.
        let note = if self.request().is_some() { None } else { self.note.as_ref() };
        self.fingerprint_with(note)
    }

    /// The part of it that another request under the client's key must equal.
    #[must_use]
    pub fn client_fingerprint(&self) -> Fingerprint {
        self.fingerprint_with(self.note.as_ref())
    }

    fn fingerprint_with(&self, note: Option<&Note>) -> Fingerprint {
        let note = note.map(Note::as_str);
        let (refund_of, request) = (self.refund_of(), self.request());
        Fingerprint::of_payment([self.from, self.to], self.amount, note, refund_of, request)
    }
}
