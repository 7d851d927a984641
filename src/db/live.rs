//! The feed of one account: which of its payments come after a position.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::Error;
use super::payments::row_of;
use crate::domain::{AccountId, FeedPayment, Payment, Position, Timestamp};

/// The last position of a payment that is older than the feed: those say of no batch that it is theirs.
///
/// # Errors
/// The database's.
pub async fn last_before_the_feed(conn: &mut PgConnection) -> Result<Position, Error> {
    let last = sqlx::query_scalar!(
        r#"
        SELECT entry.first_position + cardinality(batch.payment_ids) - 1 AS "last!"
        FROM (SELECT first_position, batch_id FROM feed_entries
              WHERE batch_id < 0 ORDER BY batch_id DESC LIMIT 1) AS entry
        JOIN LATERAL (
            SELECT payment_ids FROM payment_batches WHERE id = entry.batch_id LIMIT 1
        ) AS batch ON true
        "#
    );
    Ok(last.fetch_optional(conn).await?.map_or(Position::START, Position::trusted))
}

/// A time so much before that of the payment at `after`, if all older payments of the account have their positions
/// up to `after`; it is not before the end of those that are older than the feed.
///
/// Times of different accounts' payments need not be in the order of their positions. Those of one account are: so
/// the account's last payment before that time speaks for all before it.
///
/// # Errors
/// The database's.
pub async fn begin(
    conn: &mut PgConnection,
    account: AccountId,
    after: Position,
    earlier: Duration,
) -> Result<Option<Timestamp>, Error> {
    let begin = sqlx::query!(
        r#"
        SELECT moment.begin AS "begin!: Timestamp",
               coalesce(last_entry.first_position
                            + array_position(last_batch.payment_ids, last.id) - 1 <= $2::bigint,
                        last.batch_id IS NULL) AS "is_early_enough!"
        FROM (SELECT first_position, batch_id FROM feed_entries
              WHERE first_position <= $2::bigint ORDER BY first_position DESC LIMIT 1) AS entry
        JOIN LATERAL (
            SELECT payment_ids[($2::bigint - entry.first_position + 1)::int] AS payment_id
            FROM payment_batches WHERE id = entry.batch_id LIMIT 1
        ) AS batch ON true
        JOIN LATERAL (
            SELECT created_at - $3::float8 * interval '1 s' AS begin
            FROM payments WHERE id = batch.payment_id LIMIT 1
        ) AS moment ON true
        LEFT JOIN LATERAL (
            (SELECT id, created_at, batch_id FROM payments
             WHERE from_id = $1 AND created_at < moment.begin ORDER BY created_at DESC, id DESC LIMIT 1)
            UNION ALL
            (SELECT id, created_at, batch_id FROM payments
             WHERE to_id = $1 AND created_at < moment.begin ORDER BY created_at DESC, id DESC LIMIT 1)
            ORDER BY created_at DESC, id DESC LIMIT 1
        ) AS last ON true
        LEFT JOIN LATERAL (
            SELECT first_position FROM feed_entries WHERE batch_id = last.batch_id LIMIT 1
        ) AS last_entry ON true
        LEFT JOIN LATERAL (
            SELECT payment_ids FROM payment_batches WHERE id = last.batch_id LIMIT 1
        ) AS last_batch ON true
        "#,
        account.get(),
        after.get(),
        earlier.as_secs_f64()
    );
    let begin = begin.fetch_optional(conn).await?;
    Ok(begin.filter(|row| row.is_early_enough).map(|row| row.begin))
}

/// A payment of an account, on the way to its place in the feed.
pub struct Made {
    pub payment: Payment,
    /// `None`: it has none yet. Of a payment that is older than the feed it is [`Position::START`].
    pub position: Option<Position>,
}

impl Made {
    /// It with its position, if it comes after one.
    #[must_use]
    pub fn after(self, after: Position) -> Option<FeedPayment> {
        let position = self.position.filter(|position| *position > after)?;
        Some(FeedPayment { position, payment: self.payment })
    }
}

/// An account's payments from a time on, or after the payment of that time with an id; up to `limit`, oldest first.
///
/// # Errors
/// The database's.
pub async fn made_since(
    conn: &mut PgConnection,
    account: AccountId,
    (time, id): (Timestamp, Uuid),
    limit: u16,
) -> Result<Vec<Made>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT p.id AS "id!", p.from_id AS "from_id!", p.to_id AS "to_id!", p.amount AS "amount!",
               p.created_at AS "created_at!: Timestamp", p.from_balance_after AS "from_balance_after!",
               p.to_balance_after AS "to_balance_after!", p.requested_at AS "requested_at: Timestamp",
               p.idempotency_key AS "idempotency_key!", p.note, p.refund_of, p.refunded_after,
               p.payment_request_id, p.asked_by,
               CASE WHEN p.batch_id IS NULL THEN 0
                    ELSE entry.first_position + array_position(batch.payment_ids, p.id) - 1
               END AS "position?"
        FROM (
            (SELECT * FROM payments
             WHERE from_id = $1 AND (created_at, id) > ($2::timestamptz, $3::uuid)
             ORDER BY created_at, id LIMIT $4)
            UNION ALL
            (SELECT * FROM payments
             WHERE to_id = $1 AND (created_at, id) > ($2::timestamptz, $3::uuid)
             ORDER BY created_at, id LIMIT $4)
            ORDER BY created_at, id LIMIT $4
        ) AS p
        LEFT JOIN LATERAL (
            SELECT first_position FROM feed_entries WHERE batch_id = p.batch_id LIMIT 1
        ) AS entry ON true
        LEFT JOIN LATERAL (
            SELECT payment_ids FROM payment_batches WHERE id = p.batch_id LIMIT 1
        ) AS batch ON true
        ORDER BY p.created_at, p.id
        "#,
        account.get(),
        time as _,
        id,
        i64::from(limit)
    );
    let rows = rows.fetch_all(conn).await?.into_iter().filter_map(|row| {
        let position = row.position.map(Position::trusted);
        row_of!(row).payment().map(|payment| Made { payment, position })
    });
    Ok(rows.collect())
}
