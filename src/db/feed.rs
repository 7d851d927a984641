//! The feed: payments in the order of their positions.

use sqlx::PgConnection;

use super::Error;
use super::payments::row_of;
use crate::domain::{FeedPayment, Position, Timestamp};

/// The last position that there is; `None` until everything that is older than the feed has its positions.
///
/// # Errors
/// The database's.
pub async fn last_position(conn: &mut PgConnection) -> Result<Option<Position>, Error> {
    let last = sqlx::query_scalar!("SELECT last_position FROM feed_state WHERE the_only_row");
    Ok(last.fetch_optional(conn).await?.map(Position::trusted))
}

/// The payments with the next positions after one, up to `limit`, in their order.
///
/// # Errors
/// The database's.
pub async fn after(
    conn: &mut PgConnection,
    after: Position,
    limit: u16,
) -> Result<Vec<FeedPayment>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT item.position AS "position!", p.id, p.from_id, p.to_id, p.amount,
               p.created_at AS "created_at: Timestamp", p.from_balance_after, p.to_balance_after,
               p.requested_at AS "requested_at: Timestamp", p.idempotency_key, p.note, p.refund_of,
               p.refunded_after, p.payment_request_id, p.asked_by
        FROM (
            SELECT first_position, batch_id FROM feed_entries
            -- From the entry that has the next position.
            WHERE first_position >= coalesce((SELECT max(first_position) FROM feed_entries
                                              WHERE first_position <= $1::bigint + 1), 1)
              AND first_position <= $1::bigint + $2::bigint
            ORDER BY first_position
        ) AS entry
        JOIN LATERAL (
            SELECT payment_ids FROM payment_batches WHERE id = entry.batch_id LIMIT 1
        ) AS batch ON true
        JOIN LATERAL (
            SELECT id, entry.first_position + n - 1 AS position
            FROM unnest(batch.payment_ids) WITH ORDINALITY AS payment (id, n)
            WHERE entry.first_position + n - 1 BETWEEN $1::bigint + 1 AND $1::bigint + $2::bigint
        ) AS item ON true
        JOIN LATERAL (SELECT * FROM payments WHERE id = item.id LIMIT 1) AS p ON true
        ORDER BY item.position
        "#,
        after.get(),
        i64::from(limit)
    );
    let rows = rows.fetch_all(conn).await?.into_iter().filter_map(|row| {
        let position = Position::trusted(row.position);
        row_of!(row).payment().map(|payment| FeedPayment { position, payment })
    });
    Ok(rows.collect())
}
