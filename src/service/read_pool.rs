//! Single statements that read: on sessions with the primary, or where replicas are to answer with one of them.

use std::sync::Arc;
use std::time::Duration;

use super::refusal::Refusal;
use super::replicas::Replicas;
use super::sessions::{ReadError, Sessions};
use crate::db::{Error, PgConnection, Pool};
use crate::telemetry::metrics::METRICS;

/// Runs single statements on pooled sessions.
#[derive(Clone)]
pub(super) struct ReadPool {
    primary: Sessions,
    replicas: Option<Arc<Replicas>>,
    timeout: Duration,
}

/// The pool at one moment.
pub(super) struct PoolStatus {
    pub waiting: usize,
    pub busy: usize,
    pub idle: usize,
}

impl ReadPool {
    /// Where there are replicas, they answer what they can.
    pub fn new(primary: Sessions, replicas: Option<Replicas>, timeout: Duration) -> Self {
        Self { primary, replicas: replicas.map(Arc::new), timeout }
    }

    /// The same for statements that no replica can answer.
    pub fn of_primary(&self) -> Self {
        Self { replicas: None, ..self.clone() }
    }

    /// How many reads wait for a session, and how many sessions are in use and idle.
    pub fn status(&self) -> PoolStatus {
        let replicas = self.replicas.iter().flat_map(|replicas| replicas.pools());
        let all = std::iter::once(self.primary.pool()).chain(replicas);
        let mut sum = PoolStatus { waiting: 0, busy: 0, idle: 0 };
        for status in all.map(Pool::status) {
            sum.waiting = sum.waiting.saturating_add(status.waiting);
            sum.busy = sum.busy.saturating_add(status.size.saturating_sub(status.available));
            sum.idle = sum.idle.saturating_add(status.available);
        }
        sum
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
        let anywhere = async {
            if let Some(replicas) = &self.replicas {
                if let Some(found) = replicas.read(&read).await {
                    METRICS.read("replica");
                    return Ok(found);
                }
                METRICS.read("primary");
            }
            self.primary.twice(&read).await
        };
        match tokio::time::timeout(self.timeout, anywhere).await {
            Ok(result) => result,
            Err(_) => Err(ReadError::Statement(Error::timed_out())),
        }
    }
}
