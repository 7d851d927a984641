//! A writer's own session with the database: the only place that begins and commits a transaction
//! that writes.

use std::time::{Duration, Instant};

use sqlx::Connection;
use tokio::task::JoinHandle;

use crate::db::{self, Error, PgConnection, Purpose, SESSION_AGE_MAX, Target};

/// From this age on a session's successor is opened beside it, so that no payment waits for that.
const SUCCESSOR_AGE: Duration = Duration::from_secs(20);

/// The pause before an idle writer tries again to open a session.
const OPEN_PAUSE: Duration = Duration::from_secs(1);

/// How the work in a transaction wants it to end.
pub enum End<T> {
    Commit(T),
    RollBack(T),
}

/// Connects when it is needed, or is about to be, and again when the connection was lost.
pub struct Session {
    target: Target,
    transaction_timeout: Duration,
    current: Option<Open>,
    /// The one after it, while it is opened.
    successor: Option<JoinHandle<Result<Open, Error>>>,
}

struct Open {
    conn: PgConnection,
    since: Instant,
}

impl Open {
    async fn new(target: Target) -> Result<Self, Error> {
        let conn = db::connect(&target, Purpose::Write).await?;
        Ok(Self { conn, since: Instant::now() })
    }

    fn is_younger_than(&self, age: Duration) -> bool {
        self.since.elapsed() < age
    }
}

impl Session {
    #[must_use]
    pub fn new(target: Target, transaction_timeout: Duration) -> Self {
        Self { target, transaction_timeout, current: None, successor: None }
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
            self.current = None;
            // It may have been opened before whatever has happened.
            self.successor = None;
        }
        result
    }

    async fn attempt<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<End<T>, Error>,
    ) -> Result<(T, Duration), Error> {
        let mut open = self.take().await?;
        let mut tx = open.conn.begin().await?;
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
        self.current = Some(open);
        result
    }

    /// The session to use: the current one, or its successor where that is open or there is no other.
    async fn take(&mut self) -> Result<Open, Error> {
        let usable = |open: &Open| open.is_younger_than(SESSION_AGE_MAX);
        let Some(current) = self.current.take().filter(usable) else {
            return self.successor().await;
        };
        if current.is_younger_than(SUCCESSOR_AGE) {
            return Ok(current);
        }
        if self.open_successor().is_finished() {
            return Ok(self.successor().await.unwrap_or(current));
        }
        Ok(current)
    }

    fn open_successor(&mut self) -> &JoinHandle<Result<Open, Error>> {
        self.successor.get_or_insert_with(|| tokio::spawn(Open::new(self.target.clone())))
    }

    async fn successor(&mut self) -> Result<Open, Error> {
        self.open_successor();
        let opened = match &mut self.successor {
            Some(successor) => successor.await,
            None => return Err(Error::timed_out()),
        };
        self.successor = None;
        opened.unwrap_or_else(|_| Err(Error::timed_out()))
    }

    /// Opens a session, or the successor of one that grows old, while there is nothing else to do. It may be
    /// dropped at any time: what it has begun goes on.
    pub async fn keep_open(&mut self) {
        if let Some(current) = &self.current {
            tokio::time::sleep(SUCCESSOR_AGE.saturating_sub(current.since.elapsed())).await;
        }
        match self.successor().await {
            Ok(open) => self.current = Some(open),
            // Whoever watches the service is told by its health; payments will meet the same error.
            Err(_) => tokio::time::sleep(OPEN_PAUSE).await,
        }
    }
}
