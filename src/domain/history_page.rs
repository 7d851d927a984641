//! A page of a history, written as the payments are read: most of what the service does is to send these.

use super::{Cursor, PaymentDirection, PaymentView, Timestamp};

/// The payments of a history that are asked for; all by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryFilter {
    pub direction: Option<PaymentDirection>,
    /// Those of this moment, and later ones.
    pub since: Option<Timestamp>,
}

/// A page of an account's history, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// How many more payments have their place on it.
    room: usize,
    json: Vec<u8>,
    last: Option<Cursor>,
    has_more: bool,
}

/// The memory for so many payments is taken at once.
const PAGE_SIZE_USUAL: usize = 10;

/// So many bytes a payment without a note takes at most.
const PAYMENT_BYTES_MAX: usize = 360;

impl HistoryPage {
    /// An empty page with place for `limit` payments.
    #[must_use]
    pub fn new(limit: u16) -> Self {
        let room = usize::from(limit);
        let usual = room.min(PAGE_SIZE_USUAL);
        let mut json = Vec::with_capacity(usual.saturating_mul(PAYMENT_BYTES_MAX));
        json.push(b'[');
        Self { room, json, last: None, has_more: false }
    }

    /// Adds the next older payment. One that has no place left tells that there is another page.
    pub fn push(&mut self, payment: &PaymentView<'_>) {
        if self.room == 0 {
            self.has_more = true;
            return;
        }
        self.room = self.room.saturating_sub(1);
        if self.last.is_some() {
            self.json.push(b',');
        }
        payment.write_json(&mut self.json);
        self.last = Some(Cursor::after(payment.created_at, payment.id.uuid()));
    }

    /// The cursor of the next page; `None` where this is the last.
    #[must_use]
    pub fn next(&self) -> Option<Cursor> {
        self.last.filter(|_| self.has_more)
    }

    /// The answer: a JSON array of its payments.
    #[must_use]
    pub fn into_json(mut self) -> Vec<u8> {
        self.json.push(b']');
        self.json
    }
}
