//! Giving batches of payments their positions in the feed.

use sqlx::PgConnection;

use super::Error;
use crate::domain::{Committed, CommittedBatch, Entry, FeedState, Numbering, Position};

/// Batches that one pass gives their positions, at most.
const BATCHES_MAX: i64 = 1_000;

/// How far the feed is; `None` until everything that is older than it has its positions.
///
/// # Errors
/// The database's.
pub async fn state(conn: &mut PgConnection) -> Result<Option<FeedState>, Error> {
    let row = sqlx::query!(
        "SELECT last_position, settled_batch, settled_position FROM feed_state WHERE the_only_row"
    );
    Ok(row.fetch_optional(conn).await?.map(|row| FeedState {
        last_position: Position::trusted(row.last_position),
        settled_batch: row.settled_batch,
        settled_position: Position::trusted(row.settled_position),
    }))
}

/// The batches whose positions come after one.
///
/// # Errors
/// The database's.
pub async fn numbered_after(
    conn: &mut PgConnection,
    position: Position,
) -> Result<Vec<i64>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT batch_id FROM feed_entries WHERE first_position > $1",
        position.get()
    );
    Ok(ids.fetch_all(conn).await?)
}

/// The batches that are committed and have no position, and for how many seconds each has waited for it: since its
/// last payment was made.
///
/// # Errors
/// The database's.
pub async fn committed(
    conn: &mut PgConnection,
    numbering: &Numbering,
) -> Result<(Committed, Vec<f64>), Error> {
    let (first, last): (Vec<i64>, Vec<i64>) =
        numbering.gaps().iter().map(|gap| (gap.first, gap.last)).unzip();
    let rows = sqlx::query!(
        r#"
        SELECT moment.oldest AS "oldest!", batch.id AS "id?",
               cardinality(batch.payment_ids)::bigint AS "payments?",
               extract(epoch FROM moment.now - newest.created_at)::float8 AS "waited_seconds?"
        FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,
                     clock_timestamp() AS now) AS moment
        LEFT JOIN (
            (SELECT late.id, late.payment_ids
             FROM unnest($2::bigint[], $3::bigint[]) AS gap (first, last),
                  LATERAL (SELECT id, payment_ids FROM payment_batches
                           WHERE id BETWEEN gap.first AND gap.last ORDER BY id LIMIT $4) AS late)
            UNION ALL
            (SELECT id, payment_ids FROM payment_batches WHERE id > $1 ORDER BY id LIMIT $4)
            ORDER BY id LIMIT $4
        ) AS batch ON true
        LEFT JOIN LATERAL (
            SELECT created_at FROM payments
            WHERE id = batch.payment_ids[cardinality(batch.payment_ids)] LIMIT 1
        ) AS newest ON true
        ORDER BY batch.id
        "#,
        numbering.last_batch(),
        &first,
        &last,
        BATCHES_MAX
    );
    let rows = rows.fetch_all(conn).await?;
    let oldest_transaction = rows.first().map_or(0, |row| row.oldest);
    let waited_seconds = rows.iter().filter_map(|row| row.waited_seconds).collect();
    let batch = |id: Option<i64>, payments: Option<i64>| Some((id?, payments?));
    let batches: Vec<CommittedBatch> = rows
        .iter()
        .filter_map(|row| batch(row.id, row.payments))
        .map(|(id, payments)| CommittedBatch { id, payments })
        .collect();
    let are_all = i64::try_from(batches.len()).is_ok_and(|found| found < BATCHES_MAX);
    Ok((Committed { batches, are_all, oldest_transaction }, waited_seconds))
}

/// Commits positions, and how far the feed is with them. Returns the transaction's id; `None`, and nothing is changed,
/// where another session has given positions since `last_position`.
///
/// # Errors
/// The database's.
pub async fn append(
    conn: &mut PgConnection,
    last_position: Position,
    entries: &[Entry],
    state: FeedState,
) -> Result<Option<i64>, Error> {
    let (positions, batches): (Vec<i64>, Vec<i64>) =
        entries.iter().map(|entry| (entry.first_position.get(), entry.batch_id)).unzip();
    let written = sqlx::query!(
        r#"
        WITH moved AS (
            UPDATE feed_state
            SET last_position = $2, settled_batch = $3, settled_position = $4
            WHERE the_only_row AND last_position = $1
            RETURNING pg_current_xact_id()::text::bigint AS transaction
        ), entered AS (
            INSERT INTO feed_entries (first_position, batch_id)
            SELECT * FROM unnest($5::bigint[], $6::bigint[]) WHERE EXISTS (SELECT FROM moved)
            RETURNING 1
        )
        SELECT (SELECT transaction FROM moved) AS "transaction?",
               (SELECT count(*) FROM entered) AS "entered!"
        "#,
        last_position.get(),
        state.last_position.get(),
        state.settled_batch,
        state.settled_position.get(),
        &positions,
        &batches
    );
    let written = written.fetch_one(conn).await?;
    if written.transaction.is_some() && usize::try_from(written.entered) != Ok(entries.len()) {
        let written = u64::try_from(written.entered).unwrap_or_default();
        return Err(Error::Swallowed { table: "feed_entries", given: entries.len(), written });
    }
    Ok(written.transaction)
}
