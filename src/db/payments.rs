//! Payments by their ids.

use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::Error;
use crate::domain::{
    AccountId, Amount, Balance, IdempotencyKey, Payment, PaymentId, PaymentRequestId, Refund,
    Timestamp,
};

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
    pub refund_of: Option<Uuid>,
    pub refunded_after: Option<i64>,
    pub payment_request_id: Option<Uuid>,
    pub asked_by: Option<String>,
}

/// The [`Row`] in a record that has more columns.
macro_rules! row_of {
    ($record:ident) => {
        $crate::db::payments::Row {
            id: $record.id,
            from_id: $record.from_id,
            to_id: $record.to_id,
            amount: $record.amount,
            created_at: $record.created_at,
            from_balance_after: $record.from_balance_after,
            to_balance_after: $record.to_balance_after,
            requested_at: $record.requested_at,
            idempotency_key: $record.idempotency_key,
            note: $record.note,
            refund_of: $record.refund_of,
            refunded_after: $record.refunded_after,
            payment_request_id: $record.payment_request_id,
            asked_by: $record.asked_by,
        }
    };
}
pub(super) use row_of;

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
            refund: refund(self.refund_of, self.refunded_after),
            request: self.payment_request_id.map(PaymentRequestId::from_uuid),
            asked_by: self.asked_by,
        })
    }
}

fn refund(of: Option<Uuid>, refunded_after: Option<i64>) -> Option<Refund> {
    let refunded_after = Amount::from_cents(refunded_after?).ok()?;
    Some(Refund { of: PaymentId::from_uuid(of?), refunded_after })
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
               idempotency_key, note, refund_of, refunded_after, payment_request_id, asked_by
        FROM payments WHERE id = ANY($1)
        "#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(Row::payment).collect())
}

/// The payment of an id; or the one that was made under a key, whose id is derived from it unless it pays a request
/// for money. With what was given back of it so far.
///
/// # Errors
/// The database's.
pub async fn find(
    conn: &mut PgConnection,
    id: PaymentId,
    under: Option<(AccountId, &IdempotencyKey)>,
) -> Result<Option<(Payment, Option<Amount>)>, Error> {
    let (payer, key) = (under.map(|(payer, _)| payer.get()), under.map(|(_, key)| key.as_str()));
    let row = sqlx::query!(
        r#"
        SELECT id, from_id, to_id, amount, created_at AS "created_at: Timestamp",
               from_balance_after, to_balance_after, requested_at AS "requested_at: Timestamp",
               idempotency_key, note, refund_of, refunded_after, payment_request_id, asked_by,
               -- Its newest refund tells.
               (SELECT refund.refunded_after FROM payments AS refund
                WHERE refund.refund_of = payments.id
                ORDER BY refund.refunded_after DESC LIMIT 1) AS refunded
        FROM payments
        WHERE id = ANY (ARRAY[$1, (SELECT used.payment_id FROM idempotency_keys AS used
                                   WHERE used.user_id = $2 AND used.key = $3)])
        "#,
        id.uuid(),
        payer,
        key
    );
    let Some(row) = row.fetch_optional(conn).await? else {
        return Ok(None);
    };
    let refunded = row.refunded.and_then(|cents| Amount::from_cents(cents).ok());
    Ok(row_of!(row).payment().map(|payment| (payment, refunded)))
}
