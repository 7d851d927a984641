//! Places in a history, of payments or of requests for money.

use uuid::Uuid;

use super::{Invalid, Timestamp};

/// The place in a history after which the next page begins: keyset pagination on
/// `(created_at, id)`, newest first. Unlike an offset it does not move when payments arrive.
///
/// An account's times are strictly increasing, so the time alone is exact; the id only breaks
/// ties in a history that was not written by this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub last_seen_timestamp: Timestamp,
    pub last_seen_id: Option<Uuid>,
}

impl Cursor {
    /// Reads `last_seen_timestamp` and `last_seen_id`; without a timestamp there is no cursor.
    ///
    /// # Errors
    /// A malformed value, or an id without a timestamp.
    pub fn parse(timestamp: Option<&str>, id: Option<&str>) -> Result<Option<Self>, Invalid> {
        let Some(timestamp) = timestamp else {
            return match id {
                None => Ok(None),
                Some(_) => Err(Invalid::value("last_seen_id goes with last_seen_timestamp")),
            };
        };
        let last_seen_timestamp = Timestamp::parse_bound(&Timestamp::unescaped(timestamp))
            .map_err(|invalid| invalid.of("last_seen_timestamp"))?;
        let last_seen_id = id
            .map(Uuid::parse_str)
            .transpose()
            .map_err(|_| Invalid::value("last_seen_id is an id as it came, a UUID"))?;
        Ok(Some(Self { last_seen_timestamp, last_seen_id }))
    }

    /// The cursor of the page after the one that ends so.
    #[must_use]
    pub fn after(created_at: Timestamp, id: Uuid) -> Self {
        Self { last_seen_timestamp: created_at, last_seen_id: Some(id) }
    }
}

#[cfg(test)]
mod tests;
