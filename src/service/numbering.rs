//! Gives payments their positions in the feed, soon after they are committed. One process at a time does it, for all
//! of the database; another one that believes to be elected changes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::election::Elected;
use super::feed::Tail;
use crate::db::{Error, PgConnection, Purpose, Target, numbering};
use crate::domain::Numbering;
use crate::telemetry::metrics::METRICS;

const TASK: &str = "payonce numbering";

/// Between two passes: so long a payment waits for its position at most, and half as long on average.
const PAUSE: Duration = Duration::from_millis(50);

/// After a failure, and where the feed is not there yet.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// A failure that lasts for so long is told to the operator.
const TOLD_AFTER: Duration = Duration::from_secs(10);

/// Numbers while this process is the one that does, and waits for its turn while it is not.
pub(super) async fn keep_numbering(target: Target, tail: Arc<Tail>, step_timeout: Duration) {
    let mut failing_since = None;
    loop {
        let Err(error) =
            number_while_elected(&target, &tail, step_timeout, &mut failing_since).await
        else {
            continue;
        };
        let since = *failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= TOLD_AFTER {
            tracing::warn!(%error, "payments get no positions in the feed");
            failing_since = None;
        }
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
    }
}

async fn number_while_elected(
    target: &Target,
    tail: &Tail,
    step_timeout: Duration,
    failing_since: &mut Option<Instant>,
) -> Result<(), Error> {
    let mut elected = Elected::win(target, Purpose::Number, TASK, step_timeout).await?;
    let Some(mut numbering) = elected.step(resume).await? else {
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        return Ok(());
    };
    while elected.keep().await? {
        let Some(was_all) = elected.step(async |conn| pass(conn, &mut numbering).await).await?
        else {
            // Another process has numbered meanwhile: what is kept is to be read again.
            return Ok(());
        };
        *failing_since = None;
        tail.publish(numbering.state().last_position);
        if was_all {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// `None` until everything that is older than the feed has its positions.
async fn resume(conn: &mut PgConnection) -> Result<Option<Numbering>, Error> {
    let Some(state) = numbering::state(&mut *conn).await? else {
        return Ok(None);
    };
    let numbered = numbering::numbered_after(conn, state.settled_position).await?;
    Ok(Some(Numbering::resume(state, &numbered)))
}

/// Gives positions to what is committed. Returns whether that was all; `None`: another session has done so meanwhile.
async fn pass(conn: &mut PgConnection, numbering: &mut Numbering) -> Result<Option<bool>, Error> {
    let before = numbering.state().last_position;
    let began = Instant::now();
    let (committed, waited_seconds) = numbering::committed(&mut *conn, numbering).await?;
    let entries = numbering.number(&committed);
    if !entries.is_empty() {
        let written = numbering::append(conn, before, &entries, numbering.state()).await?;
        let Some(transaction) = written else {
            return Ok(None);
        };
        numbering.written_by(transaction);
        let took = began.elapsed();
        waited_seconds.into_iter().for_each(|waited| METRICS.feed_lag(waited, took));
    }
    METRICS.feed_position(numbering.state().last_position.get());
    Ok(Some(committed.are_all))
}
