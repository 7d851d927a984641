//! Removes the rows of idempotency keys that are past their retention. What the keys promise stays:
//! the primary key of the payment itself refuses a second one, and a retry is answered with it.

use std::time::Duration;

use super::time_limit::within;
use crate::config::Prune;
use crate::db::{self, Error, PgConnection, Purpose, Target, election, pruning};
use crate::telemetry::metrics::METRICS;

/// Several that sweep would read the same pages.
const TASK: &str = "payonce prune";

/// The result of a sweep that may not be due.
enum Swept {
    /// How many rows it removed.
    Removed(u64),
    /// Another process is at it.
    NotOurTurn,
    /// Some process has swept within the interval. The next sweep may begin after these seconds.
    NotDue(u32),
}

/// Sweeps once over the table, in small steps with pauses, so that payments hardly notice, and returns how many
/// rows it removed; `None`: another process is at it. No step may take longer than `step_timeout`.
///
/// # Errors
/// The database's. What was removed before stays removed.
pub async fn sweep(
    target: &Target,
    settings: Prune,
    step_timeout: Duration,
) -> Result<Option<u64>, Error> {
    let mut conn = db::connect(target, Purpose::Prune).await?;
    if !within(step_timeout, election::try_win(&mut conn, TASK)).await? {
        return Ok(None);
    }
    // Without an interval it is always due.
    within(step_timeout, pruning::note_begin(&mut conn, 0)).await?;
    sweep_pages(&mut conn, settings, step_timeout).await.map(Some)
}

/// The same, if no sweep began or ended within `prune.interval_seconds`, in whatever process: all of them read
/// the same table.
async fn sweep_if_due(
    target: &Target,
    settings: Prune,
    step_timeout: Duration,
) -> Result<Swept, Error> {
    let mut conn = db::connect(target, Purpose::Prune).await?;
    if !within(step_timeout, election::try_win(&mut conn, TASK)).await? {
        return Ok(Swept::NotOurTurn);
    }
    let interval = settings.interval_seconds.get();
    if !within(step_timeout, pruning::note_begin(&mut conn, interval)).await? {
        let due_in = within(step_timeout, pruning::due_in_seconds(&mut conn, interval)).await?;
        within(step_timeout, election::resign(&mut conn, TASK)).await?;
        return Ok(Swept::NotDue(due_in.unwrap_or(1).min(interval)));
    }
    sweep_pages(&mut conn, settings, step_timeout).await.map(Swept::Removed)
}

async fn sweep_pages(
    conn: &mut PgConnection,
    settings: Prune,
    step_timeout: Duration,
) -> Result<u64, Error> {
    let mut removed: u64 = 0;
    let mut page = 0;
    // Rows that are appended meanwhile are young.
    let end = within(step_timeout, pruning::pages(&mut *conn)).await?;
    while page < end {
        let next = end.min(page.saturating_add(settings.step_pages.get().into()));
        let days = settings.retention_days.get();
        let step = pruning::remove_old_keys(&mut *conn, page..next, days);
        let count = within(step_timeout, step).await?;
        METRICS.pruned_keys(count);
        removed = removed.saturating_add(count);
        page = next;
        if page < end {
            tokio::time::sleep(Duration::from_millis(settings.pause_ms.get().into())).await;
        }
    }
    within(step_timeout, pruning::note_end(&mut *conn)).await?;
    within(step_timeout, election::resign(&mut *conn, TASK)).await?;
    Ok(removed)
}

/// Sweeps again and again, in turn with all other processes of this database.
pub async fn keep_pruning(target: Target, settings: Prune, step_timeout: Duration) {
    loop {
        let mut pause_seconds = settings.interval_seconds.get();
        match sweep_if_due(&target, settings, step_timeout).await {
            Ok(Swept::Removed(0)) => tracing::debug!("there are no old idempotency keys"),
            Ok(Swept::Removed(rows)) => tracing::info!(rows, "old idempotency keys were removed"),
            Ok(Swept::NotOurTurn) => tracing::debug!("another process removes old keys"),
            Ok(Swept::NotDue(seconds)) => {
                tracing::debug!(seconds, "old keys were looked for within the interval");
                pause_seconds = seconds;
            }
            // It is tried again after the interval: keys that stay longer do no harm.
            Err(error) => tracing::warn!(%error, "old idempotency keys were not removed"),
        }
        tokio::time::sleep(Duration::from_secs(pause_seconds.into())).await;
    }
}
