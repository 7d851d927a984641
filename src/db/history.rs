//! Reading payments.

use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use super::Error;
use crate::domain::{
    AccountId, Amount, Balance, Cursor, IdempotencyKey, Payment, PaymentId, Timestamp,
};

/// A payment, or all columns null where an outer join found none.
struct Row {
    id: Option<Uuid>,
    from_id: Option<i64>,
    to_id: Option<i64>,
    amount: Option<i64>,
    created_at: Option<OffsetDateTime>,
    from_balance_after: Option<i64>,
    to_balance_after: Option<i64>,
    requested_at: Option<OffsetDateTime>,
    idempotency_key: Option<String>,
    note: Option<String>,
}

impl Row {
    fn payment(self) -> Option<Payment> {
        Some(Payment {
            id: PaymentId::from_uuid(self.id?),
            from: AccountId::trusted(self.from_id?),
            to: AccountId::trusted(self.to_id?),
            amount: Amount::from_cents(self.amount?).ok()?,
            note: self.note,
            key: IdempotencyKey::trusted(self.idempotency_key?),
            created_at: self.created_at?.into(),
            requested_at: self.requested_at.map(Timestamp::from),
            from_balance_after: Balance::from_cents(self.from_balance_after?),
            to_balance_after: Balance::from_cents(self.to_balance_after?),
        })
    }
}

/// Up to `limit` payments that the account sent or received before the cursor, newest first;
/// `None` where the account does not exist.
///
/// Two index scans, each stopping at `limit` rows: `from_id = $1 OR to_id = $1` could use neither
/// index for the order. One statement, so that "no account" and "no payments" are told apart at
/// one moment.
pub async fn page(
    conn: &mut PgConnection,
    account: AccountId,
    cursor: Option<Cursor>,
    limit: i64,
) -> Result<Option<Vec<Payment>>, Error> {
    let before = cursor.map(|cursor| OffsetDateTime::from(cursor.last_seen_timestamp));
    let before_id = cursor.and_then(|cursor| cursor.last_seen_id).map(PaymentId::uuid);
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT p.id AS "id?", p.from_id AS "from_id?", p.to_id AS "to_id?", p.amount AS "amount?",
               p.created_at AS "created_at?", p.from_balance_after AS "from_balance_after?",
               p.to_balance_after AS "to_balance_after?", p.requested_at AS "requested_at?",
               p.idempotency_key AS "idempotency_key?", p.note AS "note?"
        FROM accounts
        LEFT JOIN LATERAL (
            (SELECT * FROM payments
             WHERE from_id = $1
               AND (created_at, id) < (coalesce($2::timestamptz, 'infinity'),
                                       coalesce($3::uuid, '00000000-0000-0000-0000-000000000000'))
             ORDER BY created_at DESC, id DESC LIMIT $4)
            UNION ALL
            (SELECT * FROM payments
             WHERE to_id = $1
               AND (created_at, id) < (coalesce($2::timestamptz, 'infinity'),
                                       coalesce($3::uuid, '00000000-0000-0000-0000-000000000000'))
             ORDER BY created_at DESC, id DESC LIMIT $4)
            ORDER BY created_at DESC, id DESC LIMIT $4
        ) AS p ON true
        WHERE accounts.id = $1
        ORDER BY p.created_at DESC, p.id DESC
        "#,
        account.get(),
        before,
        before_id,
        limit
    )
    .fetch_all(conn)
    .await?;
    if rows.is_empty() {
        return Ok(None);
    }
    Ok(Some(rows.into_iter().filter_map(Row::payment).collect()))
}

/// Those of the payments that exist.
pub async fn payments(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Payment>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT id AS "id?", from_id AS "from_id?", to_id AS "to_id?", amount AS "amount?",
               created_at AS "created_at?", from_balance_after AS "from_balance_after?",
               to_balance_after AS "to_balance_after?", requested_at AS "requested_at?",
               idempotency_key AS "idempotency_key?", note
        FROM payments WHERE id = ANY($1)
        "#,
        ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(Row::payment).collect())
}
