//! A writer's own session with the database: the only place that begins and commits a transaction
//! that writes.

use std::time::{Duration, Instant};

use sqlx::Connection;
use tokio::task::JoinHandle;

use crate::db::{Error, Open, PgConnection, Purpose, Target};

/// From this age on the successor of a session that is kept open is opened beside it, so that no payment
/// waits for that.
const SUCCESSOR_AGE: Duration = Duration::from_secs(20);

/// The pause after a session could not be opened ahead: a server that refuses sessions is not pressed.
const OPEN_PAUSE: Duration = Duration::from_secs(5);

/// How the work in a transaction wants it to end.
pub enum End<T> {
    Commit(T),
    RollBack(T),
}

/// Connects when it is needed, and again when the connection was lost or has grown old; ahead of that where
/// somebody keeps it open.
pub struct Session {
    target: Target,
    transaction_timeout: Duration,
    current: Option<Open>,
    ahead: Ahead,
}

/// Opening a session before it is needed.
#[derive(Default)]
struct Ahead {
    is_wanted: bool,
    opening: Option<JoinHandle<Result<Open, Error>>>,
    failed_at: Option<Instant>,
}

impl Session {
    #[must_use]
    pub fn new(target: Target, transaction_timeout: Duration) -> Self {
        Self { target, transaction_timeout, current: None, ahead: Ahead::default() }
    }

    /// Runs `work` in a transaction. Returns what it returned, and how long the end took.
    ///
    /// # Errors
    /// The transaction was rolled back; or, where the kind is [`ErrorKind::Unavailable`](crate::db::ErrorKind::Unavailable), its outcome
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
            // It may have been opened before this happened.
            self.ahead.opening = None;
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

    /// The session to use: the current one, or its successor where that is open or there is no other. None is
    /// too old.
    async fn take(&mut self) -> Result<Open, Error> {
        let Some(current) = self.current.take().filter(Open::is_young) else {
            let opened = match self.ahead.opening.take() {
                Some(opening) => opening.await.ok().and_then(Result::ok).filter(Open::is_young),
                None => None,
            };
            return match opened {
                Some(open) => Ok(open),
                None => Open::new(&self.target, Purpose::Write).await,
            };
        };
        if self.ahead.is_wanted && current.age() >= SUCCESSOR_AGE {
            self.ahead.begin(&self.target);
            if self.ahead.has_ended() {
                return Ok(self.ahead.result().await.unwrap_or(current));
            }
        }
        Ok(current)
    }

    /// Opens a session, or the successor of one that grows old, while there is nothing else to do. It may be
    /// dropped at any time: what it has begun goes on.
    pub async fn keep_open(&mut self) {
        self.ahead.is_wanted = true;
        if let Some(current) = &self.current {
            tokio::time::sleep(SUCCESSOR_AGE.saturating_sub(current.age())).await;
        }
        tokio::time::sleep(self.ahead.pause()).await;
        self.ahead.begin(&self.target);
        if let Some(open) = self.ahead.result().await {
            self.current = Some(open);
        }
    }
}

impl Ahead {
    fn begin(&mut self, target: &Target) {
        if self.opening.is_none() && self.pause().is_zero() {
            let target = target.clone();
            let opening = async move { Open::new(&target, Purpose::Write).await };
            self.opening = Some(tokio::spawn(opening));
        }
    }

    /// For how long none is to be opened.
    fn pause(&self) -> Duration {
        self.failed_at.map_or(Duration::ZERO, |at| OPEN_PAUSE.saturating_sub(at.elapsed()))
    }

    fn has_ended(&self) -> bool {
        self.opening.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// The session, once it is open. Why it cannot be opened is told by the service's health, and to the first
    /// payment that needs it.
    async fn result(&mut self) -> Option<Open> {
        let result = self.opening.as_mut()?.await;
        self.opening = None;
        let open = result.ok().and_then(Result::ok);
        self.failed_at = if open.is_some() { None } else { Some(Instant::now()) };
        open
    }
}
