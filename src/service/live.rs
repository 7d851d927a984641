//! Accounts' payments as they are made, for those who watch: streams.
//!
//! One reader follows the feed for all streams of the process, and only while there are any. It hands each
//! payment to the streams of its two accounts, through channels with a limit. Nobody waits for a stream: one that takes
//! too little is cut off, and its client goes on from the position that it has seen last.
//!
//! Such a client misses what was made meanwhile. That is read from the account's history, up to how far the reader
//! has come; the stream gets its channel before it looks how far that is. So there is neither a gap nor a repeat.

mod end;
mod missed;
mod reader;
mod streams;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;

use super::feed::Feed;
use super::read_pool::ReadPool;
use super::refusal::Refusal;
use crate::config;
use crate::domain::{AccountId, FeedPayment, Position};
use crate::telemetry::metrics::METRICS;
pub use end::End;
use missed::Missed;
use streams::{Place, Streams};

/// A stream that is no more positions behind the reader catches up with one page of its history.
const NEAR_POSITIONS: i64 = 500;

/// Payments that a stream gives out at a time.
const TAKEN_MAX: usize = 64;

/// Everything that watches accounts.
pub struct Live {
    streams: Arc<Streams>,
    feed: Feed,
    read_pool: ReadPool,
    /// Where the reader runs: a stream may begin on a thread that serves HTTP.
    runtime: Handle,
}

impl Live {
    pub(super) fn new(feed: Feed, read_pool: ReadPool, settings: &config::Live) -> Self {
        METRICS.live_stream_ends(End::ALL.map(End::name));
        let streams = Arc::new(Streams::new(settings));
        Self { streams, feed, read_pool, runtime: Handle::current() }
    }

    /// How many streams there are.
    pub(super) fn open(&self) -> usize {
        self.streams.open()
    }

    /// Begins a stream of an account's payments: those after the position that its client has seen last, or those that
    /// are made from now on.
    ///
    /// # Errors
    /// There are as many streams as there may be, or the database does not answer.
    pub async fn follow(
        &self,
        account: AccountId,
        seen: Option<Position>,
    ) -> Result<Begun, Refusal> {
        let (place, needs_reader) = self.streams.enter(account)?;
        if needs_reader {
            let read = reader::read(Arc::clone(&self.streams), self.feed.clone());
            self.runtime.spawn(read);
        }
        let reached = self.streams.reached(self.read_pool.timeout()).await?;
        let after = seen.unwrap_or(reached);
        if after > reached {
            // Another process may be ahead.
            let last = self.feed.last_position().await?;
            if after > last {
                return Ok(Begun::BeyondTheEnd(last));
            }
        }
        let mut stream = Stream {
            place,
            read_pool: self.read_pool.clone(),
            after,
            missed: None,
            channel: None,
            end: End::ClientLeft,
        };
        let begun = match seen {
            Some(_) => stream.catch_up(),
            None => stream.connect().map(|reached| stream.after = reached),
        };
        begun.ok_or(Refusal::DatabaseUnavailable)?;
        Ok(Begun::Stream(stream))
    }
}

/// What came of beginning a stream.
pub enum Begun {
    Stream(Stream),
    /// The position that was seen is not there yet: this is the last one.
    BeyondTheEnd(Position),
}

/// The payments of an account, each once, in their order.
pub struct Stream {
    place: Place,
    read_pool: ReadPool,
    /// Everything up to it was given out.
    after: Position,
    /// What comes before that of the channel.
    missed: Option<Missed>,
    channel: Option<Receiver<Arc<FeedPayment>>>,
    end: End,
}

impl Stream {
    /// The position after which its payments come.
    #[must_use]
    pub fn after(&self) -> Position {
        self.after
    }

    /// Gets the channel, and returns how far the reader has come: everything after that comes through it.
    fn connect(&mut self) -> Option<Position> {
        let (channel, reached) = self.place.connect()?;
        self.channel = Some(channel);
        Some(reached)
    }

    /// Reads up to where the reader is; where that is near, gets the channel first.
    fn catch_up(&mut self) -> Option<()> {
        let mut reached = self.place.reached()?;
        if reached.get().saturating_sub(self.after.get()) <= NEAR_POSITIONS {
            reached = self.connect()?;
        }
        let has_missed = reached > self.after;
        self.missed = has_missed.then(|| Missed::new(self.place.account(), self.after, reached));
        Some(())
    }

    /// The next payments, one at least; `None` where it is cut off. Nothing is lost where the wait is broken off.
    pub async fn next(&mut self) -> Option<Vec<Arc<FeedPayment>>> {
        loop {
            let found = if let Some(missed) = &mut self.missed {
                let page = missed.page(&self.read_pool).await;
                let (found, is_last) = page.inspect_err(|_| self.end = End::Failed).ok()?;
                self.after = missed.after();
                if is_last {
                    self.missed = None;
                }
                found
            } else if let Some(channel) = &mut self.channel {
                let mut taken = Vec::new();
                if channel.recv_many(&mut taken, TAKEN_MAX).await == 0 {
                    return None;
                }
                // Another process may have been ahead of the reader when the client saw its last payment.
                taken.retain(|payment| payment.position > self.after);
                self.after = taken.last().map_or(self.after, |last| last.position);
                taken
            } else {
                let reached = self.catch_up();
                if reached.is_none() {
                    self.end = End::Failed;
                }
                reached?;
                continue;
            };
            if !found.is_empty() {
                return Some(found);
            }
        }
    }

    /// Ends it; the reason is counted.
    pub fn end(mut self, why: End) {
        self.end = why;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // One that was cut off was counted then.
        let was_cut_off = self.channel.as_ref().is_some_and(Receiver::is_closed);
        if !was_cut_off {
            METRICS.live_stream_ended(self.end.name());
        }
    }
}
