//! The reader: follows the feed for all streams of the process, as long as there are any.

use std::sync::Arc;
use std::time::Duration;

use super::streams::Streams;
use crate::domain::Position;
use crate::service::feed::{Feed, FeedPage};
use crate::service::refusal::Refusal;
use crate::telemetry::metrics::METRICS;

/// Payments that are read at a time.
const PAGE_PAYMENTS: u16 = 500;

/// How long the next payment is waited for at a time.
const WAIT: Duration = Duration::from_secs(30);

/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// Hands out what is made from now on, until there is no stream.
pub(super) async fn read(streams: Arc<Streams>, feed: Feed) {
    let mut reached = None;
    while streams.are_any() {
        match step(&streams, &feed, reached).await {
            Ok(now) => reached = now,
            // The operator was told.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Hands out the next payments, and returns how far that is; `None` where the feed is another one by now.
async fn step(
    streams: &Streams,
    feed: &Feed,
    reached: Option<Position>,
) -> Result<Option<Position>, Refusal> {
    let Some(reached) = reached else {
        let last = feed.last_position().await?;
        streams.hand_out(Vec::new(), last);
        return Ok(Some(last));
    };
    match feed.page(reached, PAGE_PAYMENTS, WAIT, streams.emptied()).await? {
        FeedPage::Payments(page) => {
            let next = page.last().map_or(reached, |last| last.position);
            METRICS.live_read();
            streams.hand_out(page, next);
            Ok(Some(next))
        }
        FeedPage::BeyondTheEnd(last) => {
            // The server that answers now does not have what the one before it had.
            tracing::error!(%reached, %last, "the feed was further: all live streams are cut off");
            streams.cut_off();
            Ok(None)
        }
    }
}
