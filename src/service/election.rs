//! Tasks that one process at a time does, of all that share a database: the one whose session has the task's lock.
//!
//! A process that is paused while it is elected keeps its session, and with it the lock; so Postgres ends such sessions
//! when they are idle for longer than two seconds, and another process takes over. What the first does when it wakes up
//! must be harmless: its statements compare before they set.

use std::time::Duration;

use super::time_limit::within;
use crate::db::{Error, Open, PgConnection, Purpose, Target, election};

/// How often the others look whether the task is free.
const PAUSE: Duration = Duration::from_secs(1);

/// A session that has won the election for a task.
pub(super) struct Elected {
    target: Target,
    purpose: Purpose,
    task: &'static str,
    /// No step may take longer: a database that has vanished may not answer at all.
    step_timeout: Duration,
    open: Open,
}

impl Elected {
    /// Waits until the task is this process'.
    ///
    /// # Errors
    /// The database's.
    pub async fn win(
        target: &Target,
        purpose: Purpose,
        task: &'static str,
        step_timeout: Duration,
    ) -> Result<Self, Error> {
        let open = Open::new(target, purpose).await?;
        let mut elected = Self { target: target.clone(), purpose, task, step_timeout, open };
        while !elected.try_win().await? {
            tokio::time::sleep(PAUSE).await;
            if !elected.open.is_young() {
                elected.reopen().await?;
            }
        }
        Ok(elected)
    }

    /// Whether the task is still this process'. An old session is exchanged for a new one, as after a failover
    /// the old one may be with a server that is none of the ledger's any more.
    ///
    /// # Errors
    /// The database's.
    pub async fn keep(&mut self) -> Result<bool, Error> {
        if self.open.is_young() {
            return Ok(true);
        }
        // The new session is there before the old one resigns, so that the task is free for a moment only.
        let mut old = self.reopen().await?;
        // Where another server is the primary by now the task was that server's to give.
        if !old.is_overtaken() {
            within(self.step_timeout, election::resign(&mut old.conn, self.task)).await?;
        }
        self.try_win().await
    }

    /// Runs a step of the task.
    ///
    /// # Errors
    /// The database's, or it took too long.
    pub async fn step<T>(
        &mut self,
        step: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        within(self.step_timeout, step(&mut self.open.conn)).await
    }

    async fn try_win(&mut self) -> Result<bool, Error> {
        within(self.step_timeout, election::try_win(&mut self.open.conn, self.task)).await
    }

    /// Opens a new session in the place of the old one, and returns that.
    async fn reopen(&mut self) -> Result<Open, Error> {
        let new = Open::new(&self.target, self.purpose).await?;
        Ok(std::mem::replace(&mut self.open, new))
    }
}
