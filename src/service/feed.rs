//! Reading the feed, and waiting for what comes next.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::read_pool::ReadPool;
use super::refusal::Refusal;
use crate::db::PgConnection;
use crate::db::feed;
use crate::domain::{FeedPayment, Position};

/// How often the end of the feed is looked at while somebody waits for it.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// All payments, in the order of their positions.
#[derive(Clone)]
pub struct Feed {
    read_pool: ReadPool,
    tail: Arc<Tail>,
}

/// The end of the feed as this process knows it. While somebody waits, the database is asked for it, once for all who
/// do; where this process gives the positions, it is known at once.
pub struct Tail {
    known: watch::Sender<Position>,
    waiting: watch::Sender<usize>,
}

/// What was read of the feed.
pub enum FeedPage {
    Payments(Vec<FeedPayment>),
    /// The position that was asked for is not there yet: this is the last one.
    BeyondTheEnd(Position),
}

impl Feed {
    pub(super) fn new(read_pool: ReadPool) -> Self {
        let tail = Tail { known: watch::Sender::default(), waiting: watch::Sender::default() };
        Self { read_pool, tail: Arc::new(tail) }
    }

    /// The end of the feed, to be waited for.
    pub(super) fn tail(&self) -> Arc<Tail> {
        Arc::clone(&self.tail)
    }

    /// The payments after a position, up to `limit`; where there are none, waits for the first for up to `wait`, unless
    /// `is_ended` is ready.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn page(
        &self,
        after: Position,
        limit: u16,
        wait: Duration,
        is_ended: impl Future<Output = ()>,
    ) -> Result<FeedPage, Refusal> {
        let waited = tokio::time::sleep(wait);
        let is_over = async {
            tokio::select! {
                () = waited => {}
                () = is_ended => {}
            }
        };
        tokio::pin!(is_over);
        loop {
            let found = self.payments(after, limit).await?;
            if !found.is_empty() {
                return Ok(FeedPage::Payments(found));
            }
            let last = self.last_position().await?;
            if last < after {
                return Ok(FeedPage::BeyondTheEnd(last));
            }
            tokio::select! {
                biased;
                () = &mut is_over => return Ok(FeedPage::Payments(found)),
                () = self.tail.passes(after) => {}
            }
        }
    }

    /// The payments after a position, up to `limit`.
    ///
    /// # Errors
    /// The database does not answer.
    pub(super) async fn payments(
        &self,
        after: Position,
        limit: u16,
    ) -> Result<Vec<FeedPayment>, Refusal> {
        self.read_pool.run(async move |conn| feed::after(conn, after, limit).await).await
    }

    /// The last position that there is.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn last_position(&self) -> Result<Position, Refusal> {
        let last = async |conn: &mut PgConnection| feed::last_position(conn).await;
        Ok(self.read_pool.run(last).await?.unwrap_or_default())
    }
}

impl Tail {
    /// Waits until there is a position after this one; or until the end goes back, as where another server answers that
    /// does not have what the one before it had.
    pub async fn passes(&self, position: Position) {
        self.waiting.send_modify(|waiting| *waiting = waiting.saturating_add(1));
        let _waiting = Waiting(self);
        let mut farthest = Position::START;
        // The sender is in `self`: it does not end before the wait.
        let _ = self
            .known
            .subscribe()
            .wait_for(|known| {
                farthest = farthest.max(*known);
                *known > position || *known < farthest
            })
            .await;
    }

    /// From now on this is the end that is known.
    pub(super) fn publish(&self, last: Position) {
        self.known.send_if_modified(|known| {
            let is_news = *known != last;
            *known = last;
            is_news
        });
    }
}

/// One who waits.
struct Waiting<'a>(&'a Tail);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|waiting| *waiting = waiting.saturating_sub(1));
    }
}

/// Looks at the end of the feed while somebody waits for it.
pub(super) async fn keep_looking(feed: Feed) {
    let mut waiting = feed.tail.waiting.subscribe();
    while waiting.wait_for(|waiting| *waiting > 0).await.is_ok() {
        // Where the database does not answer, they are told when their time is over.
        if let Ok(last) = feed.last_position().await {
            feed.tail.publish(last);
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
