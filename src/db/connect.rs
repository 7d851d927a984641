//! Sessions: how each is opened, and the pool of those that read.

mod fitness;
mod hint;
mod target;
mod unfit;
mod url;

use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use sqlx::{ConnectOptions, PgConnection};
use uuid::Uuid;

use super::Error;
pub(super) use hint::hint;
pub(super) use target::quoted;
pub use target::{DEFAULT_SCHEMA, Purpose, Target};
pub use unfit::Unfit;
pub use url::{DatabaseUrl, Malformed};

/// How long a session is used. A plan that was made for a table's former size goes with it, and
/// after a failover so does a server that has become a standby.
pub const SESSION_AGE_MAX: Duration = Duration::from_secs(30);

/// Opens a session, and looks whether it is what was asked for.
///
/// # Errors
/// [`Error::Connect`], also when the time limit passes; [`Error::Unfit`].
pub async fn connect(target: &Target, purpose: Purpose) -> Result<PgConnection, Error> {
    let mark = Uuid::new_v4();
    let options = target.options(purpose, mark);
    let connecting = async {
        let mut conn = options.connect().await.map_err(Error::Connect)?;
        fitness::check(&mut conn, target, purpose, mark).await?;
        Ok(conn)
    };
    let timed_out = |_| Err(Error::Connect(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
    tokio::time::timeout(target.connect_timeout, connecting).await.unwrap_or_else(timed_out)
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
