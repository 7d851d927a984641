//! The work of payonce, without HTTP and without SQL: payments and openings go through bounded
//! queues to the writers, which own their sessions; reads take a session from a pool.

pub mod accounts;
pub mod audit;
mod election;
pub mod feed;
mod findings;
pub mod health;
pub mod history;
pub mod live;
mod numbering;
pub mod payment_requests;
pub mod payments;
pub mod posting;
pub mod pruning;
mod queue;
mod read_pool;
mod refusal;
mod replicas;
mod retry;
pub mod session;
mod sessions;
pub mod statements;
mod time_limit;
pub mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::{ReadFrom, Settings, milliseconds};
use crate::db::{self, Purpose, Target};
use crate::telemetry::metrics::Load;
use accounts::Accounts;
use feed::Feed;
use health::HealthProbe;
use history::Histories;
use live::Live;
use payment_requests::PaymentRequests;
use payments::Payments;
use read_pool::ReadPool;
pub use refusal::Refusal;
use replicas::Replicas;
use sessions::Sessions;
use statements::Statements;
use webhooks::Webhooks;

/// The whole service: what `http` is given.
pub struct Service {
    pub payments: Payments,
    pub accounts: Accounts,
    pub histories: Histories,
    pub payment_requests: PaymentRequests,
    pub feed: Feed,
    pub statements: Statements,
    pub webhooks: Webhooks,
    pub live: Live,
    pub health: Arc<HealthProbe>,
    read_pool: ReadPool,
}

/// The writers, which end when the [`Service`] is gone and its queues are empty.
pub struct Writers(JoinSet<()>);

impl Service {
    /// Starts the writers. They connect when they have something to do.
    ///
    /// # Errors
    /// The pool cannot be built.
    pub fn start(target: &Target, settings: &Settings) -> anyhow::Result<(Self, Writers)> {
        let mut tasks = JoinSet::new();
        // Half of a read's time may pass before it has a session: too few sessions are told as
        // overload, not as a database that does not answer.
        let Settings { database, writer, .. } = settings;
        let read_timeout = milliseconds(database.read_timeout_ms);
        let sessions_max = database.readers_max.get().into();
        let wait_max = read_timeout.div_f32(2.0);
        let pool = db::pool(target.clone(), Purpose::Read, sessions_max, wait_max)?;
        let primary = Sessions::new(pool, writer.queue_max.get());
        let replicas = match database.read_from {
            ReadFrom::Primary => None,
            ReadFrom::Replicas => {
                let pools = db::replica_pools(target, sessions_max, wait_max)?;
                Some(Replicas::start(target, pools, primary.clone(), wait_max, settings))
            }
        };
        let read_pool = ReadPool::new(primary, replicas, read_timeout);
        let feed = Feed::new(read_pool.clone());
        let service = Self {
            payments: Payments::start(target, settings, &mut tasks),
            accounts: Accounts::start(target, settings, read_pool.clone(), &mut tasks),
            histories: Histories::start(read_pool.clone(), settings, &mut tasks),
            payment_requests: PaymentRequests::new(read_pool.clone()),
            statements: Statements::new(read_pool.clone()),
            webhooks: Webhooks::new(target, settings, read_pool.clone(), feed.clone()),
            live: Live::new(feed.clone(), read_pool.clone(), &settings.live),
            feed,
            health: Arc::new(HealthProbe::new(target, settings)),
            read_pool,
        };
        Ok((service, Writers(tasks)))
    }

    /// Gives payments their positions, in turn with other processes, and tells those who wait for them.
    pub fn keep_feed(&self, target: &Target, settings: &Settings, tasks: &mut JoinSet<()>) {
        let step_timeout = milliseconds(settings.database.transaction_timeout_ms);
        let tail = self.feed.tail();
        tasks.spawn(numbering::keep_numbering(target.clone(), tail, step_timeout));
        tasks.spawn(feed::keep_looking(self.feed.clone()));
    }

    /// How busy it is at this moment.
    #[must_use]
    pub fn load(&self) -> Load {
        let pool = self.read_pool.status();
        Load {
            payments_waiting: self.payments.waiting(),
            payments_set_aside: self.payments.set_aside(),
            openings_waiting: self.accounts.waiting(),
            pages_waiting: self.histories.waiting(),
            reads_waiting: pool.waiting,
            readers_busy: pool.busy,
            readers_idle: pool.idle,
            live_streams: self.live.open(),
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
