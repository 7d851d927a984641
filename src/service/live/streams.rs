//! Streams that are open, and the channels to those that take part.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Notify, watch};

use super::end::End;
use crate::config;
use crate::domain::{AccountId, FeedPayment, Position};
use crate::service::refusal::Refusal;
use crate::telemetry::metrics::METRICS;

/// Payments that may wait for a stream: several pages of the reader's, of an account that is in all of them.
const WAITING_MAX: usize = 2_048;

/// The streams of a process.
pub(super) struct Streams {
    max: usize,
    per_account_max: usize,
    open: Mutex<Open>,
    /// How far the reader has come; `None` while there is none, or it does not know yet.
    reached: watch::Sender<Option<Position>>,
    emptied: Notify,
}

#[derive(Default)]
struct Open {
    accounts: HashMap<AccountId, OfAccount>,
    count: usize,
    last_id: u64,
    /// Streams up to this one have followed another feed.
    cut_off_id: u64,
    has_reader: bool,
}

#[derive(Default)]
struct OfAccount {
    count: usize,
    channels: Vec<(u64, Sender<Arc<FeedPayment>>)>,
}

impl Streams {
    pub fn new(settings: &config::Live) -> Self {
        Self {
            max: settings.streams_max.get(),
            per_account_max: settings.streams_per_account_max.get(),
            open: Mutex::default(),
            reached: watch::Sender::new(None),
            emptied: Notify::new(),
        }
    }

    /// No code can panic while it holds this lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn open(&self) -> usize {
        self.lock().count
    }

    /// Takes the place of one more stream of an account; and whether there is no reader, and the caller is to start
    /// one.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn enter(self: &Arc<Self>, account: AccountId) -> Result<(Place, bool), Refusal> {
        let mut open = self.lock();
        if open.count >= self.max {
            return Err(Refusal::TooManyStreams);
        }
        let of_account = open.accounts.get(&account).map_or(0, |it| it.count);
        if of_account >= self.per_account_max {
            return Err(Refusal::TooManyStreamsOfAccount(account));
        }
        open.accounts.entry(account).or_default().count = of_account.saturating_add(1);
        open.count = open.count.saturating_add(1);
        open.last_id = open.last_id.saturating_add(1);
        let needs_reader = !std::mem::replace(&mut open.has_reader, true);
        let place = Place { streams: Arc::clone(self), account, id: open.last_id };
        Ok((place, needs_reader))
    }

    /// How far the reader has come, as soon as it knows.
    ///
    /// # Errors
    /// It does not know in time: the database does not answer.
    pub async fn reached(&self, timeout: Duration) -> Result<Position, Refusal> {
        let mut reached = self.reached.subscribe();
        let known = tokio::time::timeout(timeout, reached.wait_for(Option::is_some)).await;
        let known = known.ok().and_then(Result::ok).and_then(|it| *it);
        known.ok_or(Refusal::DatabaseUnavailable)
    }

    /// Whether the reader is to go on. If not, the next stream needs a new one.
    pub fn are_any(&self) -> bool {
        let mut open = self.lock();
        if open.count == 0 {
            open.has_reader = false;
            self.reached.send_replace(None);
        }
        open.has_reader
    }

    /// Waits until all have left.
    pub async fn emptied(&self) {
        self.emptied.notified().await;
    }

    /// Hands payments to the streams of their accounts. The reader has then come as far as `reached`.
    pub fn hand_out(&self, payments: Vec<FeedPayment>, reached: Position) {
        let mut open = self.lock();
        for payment in payments {
            let payment = Arc::new(payment);
            for account in [payment.payment.from, payment.payment.to] {
                if let Some(of_account) = open.accounts.get_mut(&account) {
                    of_account.channels.retain(|(_, channel)| hand(channel, &payment));
                }
            }
        }
        // Under the lock: a stream that has its channel gets everything after what it sees here.
        self.reached.send_replace(Some(reached));
    }

    /// Cuts off all that there are: the feed is another one than they have followed. Those that have no channel are
    /// refused one.
    pub fn cut_off(&self) {
        let mut open = self.lock();
        open.cut_off_id = open.last_id;
        for _ in open.accounts.values_mut().flat_map(|it| it.channels.drain(..)) {
            METRICS.live_stream_ended(End::Failed.name());
        }
        self.reached.send_replace(None);
    }
}

/// Whether the stream still takes part.
fn hand(channel: &Sender<Arc<FeedPayment>>, payment: &Arc<FeedPayment>) -> bool {
    match channel.try_send(Arc::clone(payment)) {
        Ok(()) => true,
        Err(TrySendError::Full(_)) => {
            METRICS.live_stream_ended(End::Slow.name());
            false
        }
        Err(TrySendError::Closed(_)) => false,
    }
}

/// The place of a stream, until it is dropped.
pub(super) struct Place {
    streams: Arc<Streams>,
    account: AccountId,
    id: u64,
}

impl Place {
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// How far the reader has come; `None` where the feed is another one by now.
    pub fn reached(&self) -> Option<Position> {
        *self.streams.reached.borrow()
    }

    /// A channel through which all payments come from now on, and how far the reader has come; `None` where the feed is
    /// another one by now.
    pub fn connect(&self) -> Option<(Receiver<Arc<FeedPayment>>, Position)> {
        let mut open = self.streams.lock();
        let reached = self.reached().filter(|_| self.id > open.cut_off_id)?;
        let (channel, receiver) = mpsc::channel(WAITING_MAX);
        open.accounts.entry(self.account).or_default().channels.push((self.id, channel));
        Some((receiver, reached))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        if let Some(of_account) = open.accounts.get_mut(&self.account) {
            of_account.count = of_account.count.saturating_sub(1);
            of_account.channels.retain(|(id, _)| *id != self.id);
            if of_account.count == 0 {
                open.accounts.remove(&self.account);
            }
        }
        open.count = open.count.saturating_sub(1);
        if open.count == 0 {
            self.streams.emptied.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
