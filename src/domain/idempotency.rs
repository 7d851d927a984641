//! The key that makes a retry safe.

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

    /// Whether it is one of the service's own.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.0.contains(' ')
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
