//! The key that makes a retry safe, and the fingerprint that keeps it honest.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Invalid;

/// A client's name for one request: 1 to 255 visible ASCII characters, unique for its payer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    const CHARACTERS_MAX: usize = 255;

    /// # Errors
    /// Empty, too long, or with a character that is not visible ASCII.
    pub fn new(key: String) -> Result<Self, Invalid> {
        let fits = (1..=Self::CHARACTERS_MAX).contains(&key.len());
        if fits && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(key))
        } else {
            Err(Invalid::value(format!(
                "an idempotency key has 1 to {} visible ASCII characters",
                Self::CHARACTERS_MAX
            )))
        }
    }

    /// A key as the database keeps it.
    #[must_use]
    pub fn trusted(key: String) -> Self {
        Self(key)
    }

    /// A key of the service's own: words with a space between them, so no client's is the same.
    #[must_use]
    pub fn internal(words: &str) -> Self {
        Self(words.to_owned())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256 over what a request asks for. The same key with another fingerprint is a mistake of
/// the client's, and refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
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
