//! The sessions that read: at most so many, handed out to single statements.

use std::time::Duration;

use deadpool::managed::{Object, PoolError, TimeoutType};

use super::refusal::Refusal;
use crate::db::{Error, ErrorKind, PgConnection, Pool};

/// Runs single statements on pooled sessions.
#[derive(Clone)]
pub(super) struct ReadPool {
    pool: Pool,
    waiting_max: usize,
    timeout: Duration,
}

/// The pool at one moment.
pub(super) struct PoolStatus {
    pub waiting: usize,
    pub busy: usize,
    pub idle: usize,
}

impl ReadPool {
    /// At most `waiting_max` reads wait for a session; one more is refused at once.
    pub fn new(pool: Pool, waiting_max: usize, timeout: Duration) -> Self {
        Self { pool, waiting_max, timeout }
    }

    /// How many reads wait for a session, and how many sessions are in use and idle.
    pub fn status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            waiting: status.waiting,
            busy: status.size.saturating_sub(status.available),
            idle: status.available,
        }
    }

    /// How long a read may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Runs `read`, and once more on a new session where the first turns out to be dead or stale: reading
    /// twice changes nothing.
    pub async fn run<T>(
        &self,
        read: impl AsyncFn(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Refusal> {
        self.try_run(read).await.map_err(ReadError::told_to_operator)
    }

    /// As [`ReadPool::run`], for a caller that may read in parts what cannot be read as a whole.
    pub async fn try_run<T>(
        &self,
        read: impl AsyncFn(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, ReadError> {
        let twice = async {
            match self.once(&read).await {
                Err(ReadError::Statement(error)) if may_be_the_session(error.kind()) => {
                    if error.kind() != ErrorKind::Conflict {
                        self.pool.retain(|_, _| false);
                    }
                    self.once(&read).await
                }
                result => result,
            }
        };
        match tokio::time::timeout(self.timeout, twice).await {
            Ok(result) => result,
            Err(_) => Err(ReadError::Statement(Error::timed_out())),
        }
    }

    async fn once<T>(
        &self,
        read: &impl AsyncFn(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, ReadError> {
        if self.pool.status().waiting >= self.waiting_max {
            return Err(ReadError::NoSession);
        }
        let mut session = Lease(Some(self.pool.get().await.map_err(ReadError::from)?));
        let open = session.0.as_deref_mut().ok_or(ReadError::NoSession)?;
        let result = read(&mut open.conn).await;
        if result.as_ref().map_or_else(Error::spares_the_session, |_| true) {
            session.give_back();
        }
        Ok(result?)
    }
}

/// Whether another session may succeed: the server is another one by now, or tables were changed under
/// prepared statements; a standby that cancels a read for the sake of its recovery calls it a conflict.
fn may_be_the_session(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Stale | ErrorKind::Conflict)
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

/// Why a read has no result; to be told to the operator where it is not tried again.
pub(super) enum ReadError {
    Statement(Error),
    /// All sessions were in use for as long as a read may wait, or too many reads wait already.
    NoSession,
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Statement(error)
    }
}

impl From<PoolError<Error>> for ReadError {
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

impl ReadError {
    /// Whether the server refused the statement: of several reads in it, one may be at fault.
    pub fn is_about_the_statement(&self) -> bool {
        matches!(self, Self::Statement(error) if error.kind() != ErrorKind::Unavailable)
    }

    pub fn told_to_operator(self) -> Refusal {
        match self {
            Self::NoSession => Refusal::Overloaded,
            Self::Statement(error) => {
                let refusal = Refusal::after(&error);
                if refusal == Refusal::Internal {
                    tracing::error!(%error, "a read failed");
                } else {
                    tracing::warn!(%error, "the database cannot be read");
                }
                refusal
            }
        }
    }
}
