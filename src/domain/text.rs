//! Words that people attach to payments and accounts.

use icu_properties::props::{BidiControl, DefaultIgnorableCodePoint, GeneralCategory, WhiteSpace};
use icu_properties::{CodePointMapData, CodePointSetData};

use super::Invalid;

/// A line of text: 1 to `MAX` characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<const MAX: usize>(String);

/// The purpose of a payment: up to 280 characters. An empty note is no note.
///
/// It may hold whatever one writes to the other, characters that turn the direction of text
/// included: to keep them to the note is the work of those who show it.
pub type Note = Line<280>;

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

/// An account's name: 1 to 100 characters, of which one can be seen. It stands beside other words, and
/// one account must not look like another: so nothing in it breaks the line or turns the direction
/// of what stands around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(Line<{ Self::CHARACTERS_MAX }>);

impl Name {
    pub const CHARACTERS_MAX: usize = 100;

    /// # Errors
    /// As [`Line::new`]; or it breaks the line, turns the direction of text, or cannot be seen.
    pub fn new(field: &str, text: String) -> Result<Self, Invalid> {
        let line = Line::new(field, text)?;
        let mut characters = line.as_str().chars();
        if characters.clone().any(breaks_a_line) {
            return Err(Invalid::value(format!("{field} must not contain a line break")));
        }
        if characters.clone().any(turns_the_direction) {
            return Err(Invalid::value(format!(
                "{field} must not contain characters that change the direction of text"
            )));
        }
        if !characters.any(can_be_seen) {
            return Err(Invalid::value(format!("{field} must have a character that can be seen")));
        }
        Ok(Self(line))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Line feed and its like are control characters; these two are not.
fn breaks_a_line(character: char) -> bool {
    matches!(
        category(character),
        GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator
    )
}

/// Unicode Standard Annex 9: embeddings, overrides, isolates and marks.
fn turns_the_direction(character: char) -> bool {
    CodePointSetData::new::<BidiControl>().contains(character)
}

fn can_be_seen(character: char) -> bool {
    // Named a pattern of dots, without a dot.
    const BRAILLE_PATTERN_BLANK: char = '\u{2800}';
    let is_empty = CodePointSetData::new::<WhiteSpace>().contains(character)
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
        || character == BRAILLE_PATTERN_BLANK;
    !is_empty && category(character) != GeneralCategory::Format
}

fn category(character: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(character)
}

#[cfg(test)]
mod tests;
