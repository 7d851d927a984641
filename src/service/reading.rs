use std::time::Duration;

use deadpool::managed::{Object, PoolError, TimeoutType};

use super::Refusal;
use crate::db::{Error, Kind, PgConnection, Pool};

/// Runs single statements on pooled sessions.
#[derive(Clone)]
pub(super) struct Readers {
    pool: Pool,
    waiting_max: usize,
    timeout: Duration,
}

/// The pool at one moment.
pub(super) struct Standing {
    pub waiting: usize,
    pub busy: usize,
    pub idle: usize,
}

impl Readers {
    /// At most `waiting_max` reads wait for a session; one more is refused at once.
    pub fn new(pool: Pool, waiting_max: usize, timeout: Duration) -> Self {
        Self { pool, waiting_max, timeout }
    }

    /// How many reads wait for a session, and how many sessions are in use and idle.
    pub fn standing(&self) -> Standing {
        let status = self.pool.status();
        Standing {
            waiting: status.waiting,
            busy: status.size.saturating_sub(status.available),
            idle: status.available,
        }
    }

    /// Runs `read`, and once more on a new session where the first turns out to be dead: reading
    /// twice changes nothing.
    pub async fn run<T>(
        &self,
        read: impl AsyncFn(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Refusal> {
        let twice = async {
            match self.once(&read).await {
                Err(Failed::Statement(error)) if error.kind() == Kind::Unavailable => {
                    self.pool.retain(|_, _| false);
                    self.once(&read).await
                }
                result => result,
            }
        };
        match tokio::time::timeout(self.timeout, twice).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failed)) => Err(failed.told_to_operator()),
            Err(_) => Err(Failed::Statement(Error::timed_out()).told_to_operator()),
        }
    }

    async fn once<T>(
        &self,
        read: &impl AsyncFn(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Failed> {
        if self.pool.status().waiting >= self.waiting_max {
            return Err(Failed::NoSession);
        }
        let mut session = Lease(Some(self.pool.get().await.map_err(Failed::from)?));
        let conn = session.0.as_deref_mut().ok_or(Failed::NoSession)?;
        let result = read(conn).await;
        if result.as_ref().is_err_and(|error| error.kind() != Kind::Unavailable) || result.is_ok() {
            session.give_back();
        }
        Ok(result?)
    }
}

/// A session that goes back to the pool only when its statement has ended: one that was cut off
/// by a time limit, or by a client that left, still has an answer on its way.
struct Lease(Option<Object<crate::db::Manager>>);

impl Lease {
    fn give_back(&mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

enum Failed {
    Statement(Error),
    /// All sessions were in use for as long as a read may wait, or too many reads wait already.
    NoSession,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Statement(error)
    }
}

impl From<PoolError<Error>> for Failed {
    fn from(error: PoolError<Error>) -> Self {
        match error {
            PoolError::Backend(error) => Self::Statement(error),
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                Self::Statement(Error::timed_out())
            }
            _ => Self::NoSession,
        }
    }
}

impl Failed {
    fn told_to_operator(self) -> Refusal {
        match self {
            Self::NoSession => Refusal::Overloaded,
            Self::Statement(error) if error.kind() == Kind::Unavailable => {
                tracing::warn!(%error, "the database cannot be read");
                Refusal::DatabaseUnavailable
            }
            Self::Statement(error) => {
                tracing::error!(%error, "a read failed");
                Refusal::Internal
            }
        }
    }
}
