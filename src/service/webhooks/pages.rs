//! Pages of the feed, read once for all webhooks that are at the same place: as most are, at its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::domain::{FeedPayment, Position};
use crate::service::feed::Feed;
use crate::service::refusal::Refusal;

/// Payments on a page, at most. Each webhook may have another one in memory.
const PAGE_PAYMENTS: u16 = 250;

/// The pause where the end of the feed is known, and cannot be read yet.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Pages {
    feed: Feed,
    newest: Mutex<Page>,
}

/// The payments after a position, without a gap.
#[derive(Clone, Default)]
struct Page {
    after: Position,
    payments: Arc<[FeedPayment]>,
}

impl Page {
    fn has_next_of(&self, position: Position) -> bool {
        self.after <= position && self.payments.last().is_some_and(|last| last.position > position)
    }
}

impl Pages {
    pub fn new(feed: Feed) -> Self {
        Self { feed, newest: Mutex::default() }
    }

    /// Payments of which one at least comes after the position, and none that comes after it is left out between
    /// them. Waits until there are any.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn after(&self, position: Position) -> Result<Arc<[FeedPayment]>, Refusal> {
        loop {
            self.feed.tail().passes(position).await;
            let mut newest = self.newest.lock().await;
            if !newest.has_next_of(position) {
                let payments = self.feed.payments(position, PAGE_PAYMENTS).await?.into();
                *newest = Page { after: position, payments };
            }
            if newest.has_next_of(position) {
                return Ok(Arc::clone(&newest.payments));
            }
            drop(newest);
            tokio::time::sleep(PAUSE).await;
        }
    }
}
