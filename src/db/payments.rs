//! Payments by their ids.

use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::Error;
use crate::domain::{AccountId, Amount, Balance, IdempotencyKey, Payment, PaymentId, Timestamp};

/// A row of `payments`.
pub(super) struct Row {
    pub id: Uuid,
    pub from_id: i64,
    pub to_id: i64,
    pub amount: i64,
    pub created_at: Timestamp,
    pub from_balance_after: i64,
    pub to_balance_after: i64,
    pub requested_at: Option<Timestamp>,
    pub idempotency_key: String,
    pub note: Option<String>,
}

impl Row {
    pub fn payment(self) -> Option<Payment> {
        Some(Payment {
            id: PaymentId::from_uuid(self.id),
            from: AccountId::trusted(self.from_id),
            to: AccountId::trusted(self.to_id),
            amount: Amount::from_cents(self.amount).ok()?,
            note: self.note,
            key: IdempotencyKey::trusted(self.idempotency_key),
            created_at: self.created_at,
            requested_at: self.requested_at,
            from_balance_after: Balance::from_cents(self.from_balance_after),
            to_balance_after: Balance::from_cents(self.to_balance_after),
        })
    }
}

/// Those of the payments that exist, in no order.
///
/// # Errors
/// The database's.
pub async fn read(
    conn: &mut PgConnection,
    ids: impl IntoIterator<Item = PaymentId>,
) -> Result<Vec<Payment>, Error> {
    let ids: Vec<Uuid> = ids.into_iter().map(PaymentId::uuid).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT id, from_id, to_id, amount, created_at AS "created_at: Timestamp",
               from_balance_after, to_balance_after, requested_at AS "requested_at: Timestamp",
               idempotency_key, note
        FROM payments WHERE id = ANY($1)
        "#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(Row::payment).collect())
}
