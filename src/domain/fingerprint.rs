//! The fingerprint that keeps a key honest.

use std::fmt;

use sha2::{Digest, Sha256};

use super::{AccountId, Amount, PaymentId, PaymentRequestId};

/// SHA-256 over what a request asks for. The same key with another fingerprint is a mistake of
/// the client's, and refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a payment. What it refers to is a part of it only where there is something, so that the
    /// fingerprints of others are what they always were.
    pub(super) fn of_payment(
        [from, to]: [AccountId; 2],
        amount: Amount,
        note: Option<&str>,
        refund_of: Option<PaymentId>,
        request: Option<PaymentRequestId>,
    ) -> Self {
        let (from, to) = (from.get().to_be_bytes(), to.get().to_be_bytes());
        let amount = amount.cents().to_be_bytes();
        let refund_of = refund_of.map(|id| id.uuid().into_bytes());
        let request = request.map(|id| id.uuid().into_bytes());
        let fields = [
            Some(from.as_slice()),
            Some(&to),
            Some(&amount),
            note.map(str::as_bytes),
            refund_of.as_ref().map(<[u8; 16]>::as_slice),
            request.as_ref().map(<[u8; 16]>::as_slice),
        ];
        let refers = refund_of.is_some() || request.is_some();
        let [plain @ .., _, _] = &fields;
        Self::of(if refers { &fields } else { plain.as_slice() })
    }

    /// Each field is preceded by its length, and an absent one differs from an empty one, so no
    /// two requests share an encoding.
    pub(super) fn of<T: AsRef<[u8]>>(fields: &[Option<T>]) -> Self {
        let mut hash = Sha256::new();
        for field in fields {
            match field {
                None => hash.update([0]),
                Some(bytes) => {
                    let bytes = bytes.as_ref();
                    hash.update([1]);
                    hash.update(bytes.len().to_be_bytes());
                    hash.update(bytes);
                }
            }
        }
        Self(hash.finalize().into())
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A fingerprint as the database keeps it; its constraints hold the length.
    #[must_use]
    pub fn trusted(bytes: &[u8]) -> Self {
        Self(bytes.try_into().unwrap_or_default())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests;
