//! What payonce does, without HTTP and without SQL: payments and openings go through bounded
//! queues to the writers, which own their sessions; reads take a session from a pool.

pub mod accounts;
pub mod audit;
pub mod health;
pub mod history;
pub mod payments;
pub mod pruning;
mod queue;
mod reading;
pub mod session;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::{Settings, milliseconds};
use crate::db::{self, Purpose};
use crate::domain::AccountId;
use crate::domain::ledger::Declined;
use crate::telemetry::metrics::Load;
use accounts::Accounts;
use health::Health;
use history::Histories;
use payments::Payments;
use queue::Obstacle;
use reading::Readers;

/// Why a request has no result. After `DatabaseUnavailable` it may have been done all the same; after
/// any other it was not, and will not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The rule said no.
    Declined(Declined),
    /// The id for a new account is taken.
    AccountExists(AccountId),
    PaymentNotFound,
    /// Another request held the key for as long as this one may wait.
    KeyInProgress,
    /// Its turn did not come in time, or the queue was full.
    Overloaded,
    /// Somebody else held an account's row for as long as the request may wait.
    AccountBusy,
    /// The database did not answer, or lost the connection.
    DatabaseUnavailable,
    /// The service or its database failed in a way that a retry does not mend.
    Internal,
}

impl From<Obstacle> for Refusal {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::Queue => Self::Overloaded,
            Obstacle::Lock => Self::AccountBusy,
            Obstacle::Key => Self::KeyInProgress,
            Obstacle::Database => Self::DatabaseUnavailable,
        }
    }
}

/// Every limit of the service, with its unit.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many writers post batches side by side.
    pub writers: u32,
    /// How many requests may wait in a queue.
    pub queue_max: usize,
    /// How many payments one transaction may hold.
    pub batch_max: usize,
    /// How often a transaction is run again before its requests are refused.
    pub attempts_max: u32,
    /// How long a request may wait for its transaction to begin.
    pub request_timeout: Duration,
    /// How long a transaction may take before its session is given up.
    pub transaction_timeout: Duration,
    /// How many sessions read.
    pub readers_max: usize,
    /// How many readers of histories work side by side.
    pub page_readers: u32,
    /// How long a read may take, the wait for a session included.
    pub read_timeout: Duration,
}

impl Limits {
    /// The service's share of the settings.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let Settings { server, database, writer, history, .. } = settings;
        Self {
            writers: writer.count.get(),
            queue_max: writer.queue_max.get(),
            batch_max: writer.batch_max.get(),
            attempts_max: writer.attempts_max.get(),
            request_timeout: milliseconds(server.request_timeout_ms),
            transaction_timeout: milliseconds(database.transaction_timeout_ms),
            readers_max: database.readers_max.get().into(),
            page_readers: history.reader_count.get(),
            read_timeout: milliseconds(database.read_timeout_ms),
        }
    }
}

/// The whole service: what `http` is given.
pub struct Service {
    pub payments: Payments,
    pub accounts: Accounts,
    pub histories: Histories,
    pub health: Arc<Health>,
    readers: Readers,
}

/// The writers, which end when the [`Service`] is gone and its queues are empty.
pub struct Writers(JoinSet<()>);

impl Service {
    /// Starts the writers. They connect when they have something to do.
    ///
    /// # Errors
    /// The pool cannot be built.
    pub fn start(target: &db::Target, limits: Limits) -> anyhow::Result<(Self, Writers)> {
        let mut tasks = JoinSet::new();
        // Half of a read's time may pass before it has a session: too few sessions are told as
        // overload, not as a database that does not answer.
        let wait_max = limits.read_timeout.div_f32(2.0);
        let pool = db::pool(target.clone(), Purpose::Read, limits.readers_max, wait_max)?;
        let readers = Readers::new(pool, limits.queue_max, limits.read_timeout);
        let service = Self {
            payments: Payments::start(target, limits, &mut tasks),
            accounts: Accounts::start(target, limits, readers.clone(), &mut tasks),
            histories: Histories::start(readers.clone(), limits, &mut tasks),
            health: Arc::new(Health::new(target, limits)),
            readers,
        };
        Ok((service, Writers(tasks)))
    }

    /// How busy it is at this moment.
    #[must_use]
    pub fn load(&self) -> Load {
        let readers = self.readers.standing();
        Load {
            payments_waiting: self.payments.waiting(),
            payments_set_aside: self.payments.set_aside(),
            openings_waiting: self.accounts.waiting(),
            pages_waiting: self.histories.waiting(),
            reads_waiting: readers.waiting,
            readers_busy: readers.busy,
            readers_idle: readers.idle,
        }
    }
}

impl Writers {
    /// Waits for a writer that ends although its queue is open: a fault of ours.
    pub async fn any_ended(&mut self) {
        self.0.join_next().await;
    }

    /// Waits until everything that was accepted is answered, at most for `limit`.
    pub async fn finish(mut self, limit: Duration) {
        let all = async { while self.0.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("writers were still busy at the end of the time to stop");
        }
    }
}
