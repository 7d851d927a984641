//! A writer's own session with the database: the only place that begins and commits a transaction
//! that writes.

use std::time::{Duration, Instant};

use sqlx::Connection;

use crate::db::{self, Error, PgConnection, Purpose, SESSION_AGE_MAX, Target};

/// How the work in a transaction wants it to end.
pub enum End<T> {
    Commit(T),
    RollBack(T),
}

/// Connects when it is needed, and again when the connection was lost.
pub struct Session {
    target: Target,
    transaction_timeout: Duration,
    conn: Option<(PgConnection, Instant)>,
}

impl Session {
    #[must_use]
    pub fn new(target: Target, transaction_timeout: Duration) -> Self {
        Self { target, transaction_timeout, conn: None }
    }

    /// Runs `work` in a transaction. Returns what it returned, and how long the end took.
    ///
    /// # Errors
    /// The transaction was rolled back; or, where the kind is [`db::ErrorKind::Unavailable`], its outcome
    /// may be unknown. The connection is then given up, and with it every lock.
    pub async fn transaction<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<End<T>, Error>,
    ) -> Result<(T, Duration), Error> {
        let limit = self.transaction_timeout;
        let result = match tokio::time::timeout(limit, self.attempt(work)).await {
            Ok(result) => result,
            Err(_) => Err(Error::timed_out()),
        };
        if let Err(error) = &result
            && !error.spares_the_session()
        {
            self.conn = None;
        }
        result
    }

    async fn attempt<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<End<T>, Error>,
    ) -> Result<(T, Duration), Error> {
        let young = self.conn.take().filter(|(_, since)| since.elapsed() < SESSION_AGE_MAX);
        let (mut conn, since) = match young {
            Some(session) => session,
            None => (db::connect(&self.target, Purpose::Write).await?, Instant::now()),
        };
        let mut tx = conn.begin().await?;
        let ended = work(&mut tx).await;
        let started = Instant::now();
        let result = match ended {
            Ok(End::Commit(value)) => {
                tx.commit().await?;
                Ok((value, started.elapsed()))
            }
            Ok(End::RollBack(value)) => {
                tx.rollback().await?;
                Ok((value, started.elapsed()))
            }
            Err(error) => match tx.rollback().await {
                Ok(()) => Err(error),
                // A connection that cannot even roll back is dropped, and its locks with it.
                Err(_) => return Err(error),
            },
        };
        self.conn = Some((conn, since));
        result
    }
}
