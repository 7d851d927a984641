//! Removes the rows of idempotency keys that are past their retention. What the keys promise stays:
//! the primary key of the payment itself refuses a second one, and a retry is answered with it.

use std::time::Duration;

use crate::config::Prune;
use crate::db::{self, Error, Purpose, Target, pruning};
use crate::telemetry::metrics::METRICS;

/// What a sweep over the whole table did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swept {
    /// How many rows it removed.
    Removed(u64),
    /// Another process is at it.
    NotOurTurn,
}

/// Sweeps once over the table, in small steps with pauses, so that payments do not notice.
///
/// # Errors
/// The database's. What was removed before stays removed.
pub async fn sweep(target: &Target, settings: Prune) -> Result<Swept, Error> {
    let mut conn = db::connect(target, Purpose::Prune).await?;
    if !pruning::try_begin(&mut conn).await? {
        return Ok(Swept::NotOurTurn);
    }
    let mut removed: u64 = 0;
    let mut page = 0;
    // What is appended meanwhile is young.
    let end = pruning::pages(&mut conn).await?;
    while page < end {
        let next = end.min(page.saturating_add(settings.step_pages.get().into()));
        let days = settings.retention_days.get();
        let count = pruning::remove_old_keys(&mut conn, page..next, days).await?;
        METRICS.pruned_keys(count);
        removed = removed.saturating_add(count);
        page = next;
        if page < end {
            tokio::time::sleep(Duration::from_millis(settings.pause_ms.into())).await;
        }
    }
    pruning::end(&mut conn).await?;
    Ok(Swept::Removed(removed))
}

/// Sweeps again and again.
pub async fn keep_pruning(target: Target, settings: Prune) {
    loop {
        match sweep(&target, settings).await {
            Ok(Swept::Removed(0)) => tracing::debug!("there are no old idempotency keys"),
            Ok(Swept::Removed(rows)) => tracing::info!(rows, "old idempotency keys were removed"),
            Ok(Swept::NotOurTurn) => tracing::debug!("another process removes old keys"),
            // It is tried again after the interval: keys that stay longer do no harm.
            Err(error) => tracing::warn!(%error, "old idempotency keys were not removed"),
        }
        tokio::time::sleep(Duration::from_secs(settings.interval_seconds.get().into())).await;
    }
}
