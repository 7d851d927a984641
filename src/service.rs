//! What payonce does, without HTTP and without SQL: payments and openings go through bounded
//! queues to the writers, which own their sessions; reads take a session from a pool.

pub mod accounts;
pub mod audit;
pub mod history;
pub mod payments;
mod queue;
mod reading;
mod session;

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::db;
use crate::domain::AccountId;
use crate::domain::ledger::Declined;
use accounts::Accounts;
use history::Histories;
use payments::Payments;
use queue::Obstacle;
use reading::Readers;

/// Why a request was not done. All but `Internal` are told to the client as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Declined(Declined),
    AccountExists(AccountId),
    PaymentNotFound,
    KeyInProgress,
    Overloaded,
    AccountBusy,
    DatabaseUnavailable,
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
    pub writers: NonZeroU32,
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
    /// How long a read may take, the wait for a session included.
    pub read_timeout: Duration,
}

/// The whole service: what `http` is given.
pub struct Service {
    pub payments: Payments,
    pub accounts: Accounts,
    pub histories: Histories,
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
        let pool = db::pool(target.clone(), limits.readers_max, limits.read_timeout)?;
        let readers = Readers::new(pool, limits.read_timeout);
        let service = Self {
            payments: Payments::start(target, limits, &mut tasks),
            accounts: Accounts::start(target, limits, readers.clone(), &mut tasks),
            histories: Histories::new(readers.clone()),
            readers,
        };
        Ok((service, Writers(tasks)))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`Refusal::DatabaseUnavailable`].
    pub async fn ready(&self) -> Result<(), Refusal> {
        self.readers.run(async |conn| db::accounts::is_empty(conn).await).await.map(|_| ())
    }
}

impl Writers {
    /// Waits until everything that was accepted is answered, at most for `limit`.
    pub async fn finish(mut self, limit: Duration) {
        let all = async { while self.0.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("writers were still busy at the end of the time to stop");
        }
    }
}
