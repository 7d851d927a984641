//! Sessions: how each is opened, for how long it is used, and the pool of those that read.

mod fitness;
mod hint;
mod search;
mod servers;
mod target;
mod unfit;
mod url;

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use sqlx::PgConnection;

use super::Error;
pub(super) use fitness::timeline_of;
pub(super) use hint::hint;
use servers::Servers;
pub(super) use target::quoted;
pub use target::{DEFAULT_SCHEMA, Purpose, Target};
pub use unfit::Unfit;
pub use url::{DatabaseUrl, Malformed};

/// How long a session is used. A plan that was made for a table's former size goes with it.
const SESSION_AGE_MAX: Duration = Duration::from_secs(30);

/// Opens a session, and looks whether it is what was asked for.
///
/// # Errors
/// [`Error::Connect`], also when the time limit passes; [`Error::Unfit`]; of several servers
/// [`Error::NoServer`].
pub async fn connect(target: &Target, purpose: Purpose) -> Result<PgConnection, Error> {
    Ok(search::open(target, purpose).await?.0)
}

/// A session that is kept for a while.
pub struct Open {
    pub conn: PgConnection,
    since: Instant,
    term: u32,
    servers: Arc<Servers>,
}

impl Open {
    /// # Errors
    /// As [`connect`].
    pub async fn new(target: &Target, purpose: Purpose) -> Result<Self, Error> {
        let since = Instant::now();
        let (conn, term) = search::open(target, purpose).await?;
        Ok(Self { conn, since, term, servers: Arc::clone(&target.servers) })
    }

    /// The same with one replica of the list.
    ///
    /// # Errors
    /// As [`connect`]; also where it is no replica of the primary's cluster.
    async fn with_replica(target: &Target, purpose: Purpose, place: usize) -> Result<Self, Error> {
        let since = Instant::now();
        let (conn, term) = search::open_replica(target, purpose, place).await?;
        Ok(Self { conn, since, term, servers: Arc::clone(&target.servers) })
    }

    /// Since it was asked for.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether another server was seen to be the primary since.
    #[must_use]
    pub fn is_overtaken(&self) -> bool {
        self.term != self.servers.term()
    }

    /// Whether it may still be used.
    #[must_use]
    pub fn is_young(&self) -> bool {
        self.age() < SESSION_AGE_MAX && !self.is_overtaken()
    }
}

/// Sessions for reading.
///
/// A pooled session keeps what a dropped transaction left behind until its next use, so only
/// single statements run on these; transactions live in the writers, which own their sessions.
pub type Pool = managed::Pool<Manager>;

/// # Errors
/// The pool cannot be built.
pub fn pool(
    target: Target,
    purpose: Purpose,
    connections_max: usize,
    wait_max: Duration,
) -> anyhow::Result<Pool> {
    pool_of(Manager { target, purpose, replica: None }, connections_max, wait_max)
}

/// The same for each server of the list, while it is a replica. The place of each is the one in the list.
///
/// # Errors
/// A pool cannot be built.
pub fn replica_pools(
    target: &Target,
    connections_max: usize,
    wait_max: Duration,
) -> anyhow::Result<Vec<Pool>> {
    let pools = (0..target.server_count()).map(|place| {
        let (target, purpose) = (target.clone(), Purpose::ReadReplica);
        let manager = Manager { target, purpose, replica: Some(place) };
        pool_of(manager, connections_max, wait_max)
    });
    pools.collect()
}

fn pool_of(manager: Manager, connections_max: usize, wait_max: Duration) -> anyhow::Result<Pool> {
    Ok(Pool::builder(manager)
        .max_size(connections_max)
        .wait_timeout(Some(wait_max))
        .runtime(deadpool::Runtime::Tokio1)
        .build()?)
}

/// Opens and hands out sessions without asking the database first whether they still live: a
/// read that meets a dead one is simply run again on a new one.
#[derive(Debug)]
pub struct Manager {
    target: Target,
    purpose: Purpose,
    /// The place of the replica that its sessions are with; `None`: they are with the primary.
    replica: Option<usize>,
}

impl managed::Manager for Manager {
    type Type = Open;
    type Error = Error;

    async fn create(&self) -> Result<Open, Error> {
        match self.replica {
            None => Open::new(&self.target, self.purpose).await,
            Some(place) => Open::with_replica(&self.target, self.purpose, place).await,
        }
    }

    async fn recycle(&self, open: &mut Open, _: &Metrics) -> RecycleResult<Error> {
        if open.is_young() { Ok(()) } else { Err(RecycleError::message("old enough")) }
    }
}
