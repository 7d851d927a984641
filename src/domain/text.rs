//! Words that people attach to payments and accounts.

use super::Invalid;

/// A line of text: 1 to `MAX` characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<const MAX: usize>(String);

/// What a payment is for: up to 280 characters. An empty note is no note.
pub type Note = Line<280>;

/// An account's name: 1 to 100 characters.
pub type Name = Line<100>;

impl<const MAX: usize> Line<MAX> {
    /// # Errors
    /// Empty, too long, or with a control character; the text names `field`.
    pub fn new(field: &str, text: String) -> Result<Self, Invalid> {
        // At most four bytes a character: long input is refused without being walked.
        let too_long = text.len() > MAX.saturating_mul(4) || text.chars().count() > MAX;
        if text.is_empty() || too_long {
            return Err(Invalid::value(format!("{field} must have 1 to {MAX} characters")));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::value(format!("{field} must not contain control characters")));
        }
        Ok(Self(text))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
