use std::str::FromStr;
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use super::Error;

/// Which database, and the limits of every session with it.
#[derive(Debug, Clone)]
pub struct Target {
    options: PgConnectOptions,
    connect_timeout: Duration,
    statement_timeout_ms: u64,
    lock_timeout_ms: u64,
}

/// What a session is for. Each has its own settings, made known to Postgres at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Posts batches.
    Write,
    /// Answers requests; cannot write.
    Read,
    /// Looks whether the database takes payments, so as the writers would find it.
    Look,
    /// Removes old keys.
    Prune,
    /// Changes the schema.
    Migrate,
    /// Audits: long statements over whole tables.
    Audit,
}

/// Plans for statements that touch few rows of tables that may be empty now and large tomorrow.
/// A generic plan is kept while a table grows, and on an empty one Postgres prefers a hash join
/// over a sequential scan: measured, that costs three quarters of the throughput later on.
const INDEX_PLANS: [(&str, &str); 7] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    ("jit", "off"),
];

/// How long a session is used. A plan that was made for a table's former size goes with it, and
/// after a failover so does a server that has become a standby.
pub const SESSION_AGE_MAX: Duration = Duration::from_secs(30);

/// How long a migration waits for a lock on a table. Whoever needs that table then waits behind it,
/// payments too, however small the change is: so it gives way, and tries again.
const MIGRATION_LOCK_TIMEOUT_MS: &str = "1000";

impl Purpose {
    /// What sessions that post batches are called in `pg_stat_activity`.
    pub(super) const WRITER_NAME: &str = "payonce writer";
}

impl Target {
    /// # Errors
    /// The URL is not one of Postgres.
    pub fn new(
        url: &str,
        connect_timeout: Duration,
        statement_timeout_ms: u64,
        lock_timeout_ms: u64,
    ) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)?.disable_statement_logging();
        Ok(Self { options, connect_timeout, statement_timeout_ms, lock_timeout_ms })
    }

    /// The role of its sessions.
    #[must_use]
    pub fn role(&self) -> &str {
        self.options.get_username()
    }

    fn options(&self, purpose: Purpose) -> PgConnectOptions {
        let statement_timeout = self.statement_timeout_ms.to_string();
        let lock_timeout = self.lock_timeout_ms.to_string();
        let limits = [
            // What the locks promise depends on it: each statement has a snapshot of its own.
            ("default_transaction_isolation", "read committed"),
            ("statement_timeout", statement_timeout.as_str()),
            ("idle_in_transaction_session_timeout", statement_timeout.as_str()),
            // A session whose service has vanished ends within 40 s, and with it what it holds. (On a
            // Unix socket Postgres ignores these.)
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "10"),
            ("tcp_keepalives_count", "3"),
        ];
        let options = self.options.clone();
        match purpose {
            Purpose::Write => options
                .application_name(Purpose::WRITER_NAME)
                .options(limits)
                .options([("lock_timeout", lock_timeout.as_str())])
                .options(INDEX_PLANS),
            Purpose::Read => options
                .application_name("payonce reader")
                .options(limits)
                .options([("default_transaction_read_only", "on")])
                .options(INDEX_PLANS),
            Purpose::Look => {
                options.application_name("payonce health").options(limits).options(INDEX_PLANS)
            }
            Purpose::Prune => {
                options.application_name("payonce pruner").options(limits).options(INDEX_PLANS)
            }
            Purpose::Migrate => options
                .application_name("payonce migration")
                .options([("lock_timeout", MIGRATION_LOCK_TIMEOUT_MS)]),
            Purpose::Audit => options.application_name("payonce audit"),
        }
    }
}

/// Opens a session.
///
/// # Errors
/// [`Error::Connect`], also when the time limit passes.
pub async fn connect(target: &Target, purpose: Purpose) -> Result<PgConnection, Error> {
    let options = target.options(purpose);
    match tokio::time::timeout(target.connect_timeout, options.connect()).await {
        Ok(connected) => connected.map_err(Error::Connect),
        Err(_) => Err(Error::Connect(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
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
    Ok(Pool::builder(Manager { target, purpose })
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
}

impl managed::Manager for Manager {
    type Type = PgConnection;
    type Error = Error;

    async fn create(&self) -> Result<PgConnection, Error> {
        connect(&self.target, self.purpose).await
    }

    async fn recycle(&self, _: &mut PgConnection, metrics: &Metrics) -> RecycleResult<Error> {
        if metrics.age() > SESSION_AGE_MAX {
            return Err(RecycleError::message("old enough"));
        }
        Ok(())
    }
}
