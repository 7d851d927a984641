//! The sessions that read: at most so many with each server, handed out to single statements.

use deadpool::managed::{Object, PoolError, TimeoutType};

use super::refusal::Refusal;
use crate::db::{Error, ErrorKind, PgConnection, Pool};

/// The sessions with the server that takes writes.
#[derive(Clone)]
pub(super) struct Sessions {
    pool: Pool,
    waiting_max: usize,
}

impl Sessions {
    /// At most `waiting_max` reads wait for a session; one more is refused at once.
    pub fn new(pool: Pool, waiting_max: usize) -> Self {
        Self { pool, waiting_max }
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Runs `read`, and where its session is at fault once more.
    pub async fn twice<T>(
        &self,
        read: &impl AsyncFn(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, ReadError> {
        match self.once(read).await {
            Err(ReadError::Statement(error)) if may_be_the_session(error.kind()) => {
                if error.kind() != ErrorKind::Conflict {
                    self.pool.retain(|_, _| false);
                }
                self.once(read).await
            }
            result => result,
        }
    }

    async fn once<T>(
        &self,
        read: &impl AsyncFn(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, ReadError> {
        if self.pool.status().waiting >= self.waiting_max {
            return Err(ReadError::NoSession);
        }
        let mut session = Lease::of(&self.pool).await?;
        let result = read(session.conn().ok_or(ReadError::NoSession)?).await;
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
pub(super) struct Lease(Option<Object<crate::db::Manager>>);

impl Lease {
    pub async fn of(pool: &Pool) -> Result<Self, PoolError<Error>> {
        Ok(Self(Some(pool.get().await?)))
    }

    /// `None` where it was given back.
    pub fn conn(&mut self) -> Option<&mut PgConnection> {
        self.0.as_deref_mut().map(|open| &mut open.conn)
    }

    pub fn give_back(&mut self) {
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
