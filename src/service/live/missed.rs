//! What a stream has missed: the payments of its account between two positions, page by page, oldest first.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::db::live::{self, Made};
use crate::db::{self, PgConnection, feed};
use crate::domain::{AccountId, FeedPayment, Position, Timestamp};
use crate::service::read_pool::ReadPool;
use crate::service::refusal::Refusal;

/// Payments of the account that are read at a time.
const PAGE_PAYMENTS: u16 = 500;

/// Payments of the feed that are looked through at a time.
const FEED_PAGE_PAYMENTS: u16 = 1_000;

/// How much earlier than the payment at a position the account's next one may have been made: times of different
/// accounts may differ by how long a transaction takes, and by how far a clock was set back.
const EARLIER: [Duration; 3] =
    [Duration::from_secs(20), Duration::from_hours(1), Duration::from_hours(366 * 24)];

pub(super) struct Missed {
    account: AccountId,
    after: Position,
    until: Position,
    place: Place,
}

/// Where the next page is read.
#[derive(Clone, Copy)]
enum Place {
    NotLookedFor,
    /// Before that position, payments do not say in which batch they are: the feed itself is looked through.
    BeforeTheFeed(Position),
    /// In the account's history, after this payment.
    History(Timestamp, Uuid),
}

impl Missed {
    /// The account's payments after `after`, up to `until`: all of those have their positions.
    pub fn new(account: AccountId, after: Position, until: Position) -> Self {
        Self { account, after, until, place: Place::NotLookedFor }
    }

    /// Everything up to it was given out.
    pub fn after(&self) -> Position {
        self.after
    }

    /// The next of them, maybe none, and whether they are the last.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn page(
        &mut self,
        read_pool: &ReadPool,
    ) -> Result<(Vec<Arc<FeedPayment>>, bool), Refusal> {
        let Self { account, after, until, .. } = *self;
        let (page, place) = match self.place {
            Place::NotLookedFor => {
                let look = async |conn: &mut PgConnection| place_after(conn, account, after).await;
                (Vec::new(), Some(read_pool.run(look).await?))
            }
            Place::BeforeTheFeed(end) => {
                let read = async |conn: &mut PgConnection| {
                    feed::after(conn, after, FEED_PAGE_PAYMENTS).await
                };
                let mut page = read_pool.run(read).await?;
                page.retain(|payment| payment.position <= end);
                self.after = page.last().map_or(end, |last| last.position);
                page.retain(|it| [it.payment.from, it.payment.to].contains(&account));
                let place = if self.after < end { self.place } else { Place::NotLookedFor };
                (page, Some(place))
            }
            Place::History(time, id) => {
                let read = async |conn: &mut PgConnection| {
                    live::made_since(conn, account, (time, id), PAGE_PAYMENTS).await
                };
                let made = read_pool.run(read).await?;
                let is_last = made.len() < usize::from(PAGE_PAYMENTS);
                let next = made
                    .last()
                    .map(|it| Place::History(it.payment.created_at, it.payment.id.uuid()));
                let is_within = |it: &Made| it.position.is_some_and(|position| position <= until);
                let found = made.len();
                let page: Vec<Made> = made.into_iter().take_while(is_within).collect();
                let place = next.filter(|_| !is_last && page.len() == found);
                (page.into_iter().filter_map(|it| it.after(after)).collect(), place)
            }
        };
        if let Some(last) = page.last() {
            self.after = self.after.max(last.position);
        }
        let is_last = place.is_none() || self.after >= until;
        if is_last {
            self.after = until;
        }
        self.place = place.unwrap_or(Place::NotLookedFor);
        Ok((page.into_iter().map(Arc::new).collect(), is_last))
    }
}

/// Where the account's payments after a position are read.
async fn place_after(
    conn: &mut PgConnection,
    account: AccountId,
    after: Position,
) -> Result<Place, db::Error> {
    let end = live::last_before_the_feed(conn).await?;
    if after < end {
        return Ok(Place::BeforeTheFeed(end));
    }
    for earlier in EARLIER {
        if let Some(begin) = live::begin(conn, account, after, earlier).await? {
            return Ok(Place::History(begin, Uuid::nil()));
        }
    }
    Ok(Place::History(Timestamp::FIRST, Uuid::nil()))
}
