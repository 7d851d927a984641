//! A limit on the time that a step with the database takes.

use std::time::Duration;

use crate::db::Error;

/// Runs a step. A database that has vanished may not answer at all, and nothing else would end the wait.
///
/// # Errors
/// The step's, or it took too long.
pub(super) async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, step).await.unwrap_or_else(|_| Err(Error::timed_out()))
}
