//! Ids that follow from an account and a key. The same request has the same id wherever and whenever it
//! is carried out, so a primary key refuses the second one even when every other trace of the key is gone.

use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{AccountId, IdempotencyKey};

/// The namespace of payment ids; the audit knows it too.
pub const PAYMENT_ID_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_8c0e_52b4_4c57_9a3e_0b7d_94f2_61aa);

/// The namespace of the ids of requests for money.
const PAYMENT_REQUEST_ID_NAMESPACE: Uuid =
    Uuid::from_u128(0x2d90_41f7_b1c6_4e0b_8f25_7c6a_d3e8_105b);

/// A payment's id: derived from payer and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PaymentId(Uuid);

impl PaymentId {
    #[must_use]
    pub fn derive(payer: AccountId, key: &IdempotencyKey) -> Self {
        Self(derive(PAYMENT_ID_NAMESPACE, payer, key))
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

/// The id of a request for money: derived from the one who asks and his key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PaymentRequestId(Uuid);

impl PaymentRequestId {
    #[must_use]
    pub fn derive(asker: AccountId, key: &IdempotencyKey) -> Self {
        Self(derive(PAYMENT_REQUEST_ID_NAMESPACE, asker, key))
    }

    #[must_use]
    pub fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// The key of the one payment that can pay it. The audit knows its words.
    #[must_use]
    pub fn payment_key(self) -> IdempotencyKey {
        IdempotencyKey::internal(&format!("payment request {}", self.0))
    }
}

/// A name-based UUID (RFC 9562, version 8 with SHA-256, appendix B.2).
fn derive(namespace: Uuid, account: AccountId, key: &IdempotencyKey) -> Uuid {
    let hash = Sha256::new()
        .chain_update(namespace.as_bytes())
        .chain_update(account.to_string())
        .chain_update("/")
        .chain_update(key.as_str())
        .finalize();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    Uuid::new_v8(bytes)
}
