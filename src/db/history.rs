//! Reading payments.

use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use super::Error;
use crate::domain::{
    AccountId, Amount, Balance, Cursor, IdempotencyKey, Payment, PaymentId, Timestamp,
};

/// A payment, or all columns null where an outer join found none.
pub(super) struct Row {
    pub id: Option<Uuid>,
    pub from_id: Option<i64>,
    pub to_id: Option<i64>,
    pub amount: Option<i64>,
    pub created_at: Option<OffsetDateTime>,
    pub from_balance_after: Option<i64>,
    pub to_balance_after: Option<i64>,
    pub requested_at: Option<OffsetDateTime>,
    pub idempotency_key: Option<String>,
    pub note: Option<String>,
}

impl Row {
    pub fn payment(self) -> Option<Payment> {
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

/// A part of an account's history: up to `rows` payments before the cursor.
#[derive(Debug, Clone, Copy)]
pub struct PageOf {
    pub account: AccountId,
    pub cursor: Option<Cursor>,
    pub rows: i64,
}

/// For each page its payments, newest first; `None` where the account does not exist.
///
/// Two index scans for each, which stop at their number of rows: `from_id = ... OR to_id = ...`
/// could use neither index for the order. One statement, so that "no account" and "no payments" are
/// told apart at one moment; and one for all that ask at a time, because starting a statement
/// costs Postgres as much as finding ten payments.
pub async fn pages(
    conn: &mut PgConnection,
    asked: &[PageOf],
) -> Result<Vec<Option<Vec<Payment>>>, Error> {
    let accounts: Vec<i64> = asked.iter().map(|page| page.account.get()).collect();
    let before: Vec<Option<OffsetDateTime>> = asked
        .iter()
        .map(|page| page.cursor.map(|cursor| OffsetDateTime::from(cursor.last_seen_timestamp)))
        .collect();
    let before_ids: Vec<Option<Uuid>> = asked
        .iter()
        .map(|page| page.cursor.and_then(|cursor| cursor.last_seen_id).map(PaymentId::uuid))
        .collect();
    let rows: Vec<i64> = asked.iter().map(|page| page.rows).collect();
    let found = sqlx::query!(
        r#"
        SELECT asked.n AS "n!",
               p.id AS "id?", p.from_id AS "from_id?", p.to_id AS "to_id?", p.amount AS "amount?",
               p.created_at AS "created_at?", p.from_balance_after AS "from_balance_after?",
               p.to_balance_after AS "to_balance_after?", p.requested_at AS "requested_at?",
               p.idempotency_key AS "idempotency_key?", p.note AS "note?"
        FROM unnest($1::bigint[], $2::timestamptz[], $3::uuid[], $4::bigint[]) WITH ORDINALITY
             AS asked (account, before, before_id, rows, n)
        JOIN LATERAL (SELECT FROM accounts WHERE id = asked.account LIMIT 1) AS account ON true
        LEFT JOIN LATERAL (
            (SELECT * FROM payments
             WHERE from_id = asked.account
               AND (created_at, id) < (coalesce(asked.before, 'infinity'),
                       coalesce(asked.before_id, '00000000-0000-0000-0000-000000000000'))
             ORDER BY created_at DESC, id DESC LIMIT asked.rows)
            UNION ALL
            (SELECT * FROM payments
             WHERE to_id = asked.account
               AND (created_at, id) < (coalesce(asked.before, 'infinity'),
                       coalesce(asked.before_id, '00000000-0000-0000-0000-000000000000'))
             ORDER BY created_at DESC, id DESC LIMIT asked.rows)
            ORDER BY created_at DESC, id DESC LIMIT asked.rows
        ) AS p ON true
        ORDER BY asked.n, p.created_at DESC, p.id DESC
        "#,
        &accounts,
        &before as _,
        &before_ids as _,
        &rows
    )
    .fetch_all(conn)
    .await?;

    let mut pages: Vec<Option<Vec<Payment>>> = asked.iter().map(|_| None).collect();
    for row in found {
        let position = usize::try_from(row.n).ok().and_then(|n| n.checked_sub(1));
        let Some(page) = position.and_then(|position| pages.get_mut(position)) else {
            continue;
        };
        let payment = Row {
            id: row.id,
            from_id: row.from_id,
            to_id: row.to_id,
            amount: row.amount,
            created_at: row.created_at,
            from_balance_after: row.from_balance_after,
            to_balance_after: row.to_balance_after,
            requested_at: row.requested_at,
            idempotency_key: row.idempotency_key,
            note: row.note,
        };
        page.get_or_insert_default().extend(payment.payment());
    }
    Ok(pages)
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
