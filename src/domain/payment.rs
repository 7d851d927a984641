//! Payments that were made, and what their parties see of them.

use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{AccountId, Amount, Balance, Fingerprint, IdempotencyKey, Timestamp, intent};

/// The namespace of payment ids; the audit knows it too.
pub const PAYMENT_ID_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_8c0e_52b4_4c57_9a3e_0b7d_94f2_61aa);

/// A payment's id: a name-based UUID (RFC 9562, version 8 with SHA-256, appendix B.2) of payer
/// and key. The same intent has the same id wherever and whenever it is posted, so the primary
/// key of `payments` refuses the second one even when every other trace of the key is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PaymentId(Uuid);

impl PaymentId {
    #[must_use]
    pub fn derive(payer: AccountId, key: &IdempotencyKey) -> Self {
        let hash = Sha256::new()
            .chain_update(PAYMENT_ID_NAMESPACE.as_bytes())
            .chain_update(payer.to_string())
            .chain_update("/")
            .chain_update(key.as_str())
            .finalize();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self(Uuid::new_v8(bytes))
    }

    #[must_use]
    pub fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

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
}

impl Payment {
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
        }
    }

    /// The body that answers the payer, now and at every retry: JSON.
    #[must_use]
    pub fn receipt(&self) -> String {
        // The view has no map and no number that JSON lacks: serializing it cannot fail.
        serde_json::to_string(&self.seen_by(Some(self.from))).unwrap_or_default()
    }

    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        intent::fingerprint(self.from, self.to, self.amount, self.note.as_deref())
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
}

impl PaymentView<'_> {
    /// Appends it as JSON.
    pub fn write_json(&self, json: &mut Vec<u8>) {
        // It has no map and no number that JSON lacks, and a vector takes all: this cannot fail.
        let _ = serde_json::to_writer(json, self);
    }
}
