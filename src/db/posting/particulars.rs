//! What only some payments need: refunds, the search for a similar one, and payments and keys that say more than
//! others. A batch that has none of them has none of these statements.

use std::collections::HashMap;

use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::columns::{ClaimColumns, PaymentColumns, all_written, known_already};
use crate::db::{Error, payments};
use crate::domain::ledger::{AskedPayment, Claim, Refundable, Similar};
use crate::domain::{AccountId, Amount, Intent, Payment, PaymentId, PaymentRequestId, Timestamp};

/// So many payments of each party are looked at for a similar one.
const LOOKED_AT_MAX: i64 = 1_000;

/// The payments that are to be refunded, with what was given back of them so far.
///
/// # Errors
/// The database's.
pub async fn read_refundable(
    conn: &mut PgConnection,
    ids: &[PaymentId],
) -> Result<HashMap<PaymentId, Refundable>, Error> {
    let uuids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let originals = payments::read(&mut *conn, ids.iter().copied()).await?;
    let refunded = sqlx::query!(
        r#"
        SELECT asked.id AS "id!", newest.refunded_after AS "refunded_after!"
        FROM unnest($1::uuid[]) AS asked (id),
             LATERAL (SELECT refunded_after FROM payments AS refund
                      WHERE refund.refund_of = asked.id
                      ORDER BY refund.refunded_after DESC LIMIT 1) AS newest
        "#,
        &uuids
    );
    let refunded = refunded.fetch_all(conn).await?;
    let refunded: HashMap<Uuid, i64> =
        refunded.into_iter().map(|row| (row.id, row.refunded_after)).collect();
    let refundable = originals.iter().map(|payment| {
        let cents = refunded.get(&payment.id.uuid()).copied().unwrap_or_default();
        (payment.id, Refundable::new(payment, cents))
    });
    Ok(refundable.collect())
}

/// By the payment that is asked for, the newest one like it within the time that its intent says: of
/// the same payer, payee and amount, under another key.
///
/// The work for each is bounded: the newest thousand that the payer sent in that time, and only if there are more, the
/// newest thousand that the payee received. A payer with more than these is nobody who clicked twice.
///
/// # Errors
/// The database's.
pub async fn read_similar(
    conn: &mut PgConnection,
    now: Timestamp,
    intents: &[&Intent],
) -> Result<HashMap<AskedPayment, Similar>, Error> {
    let mut ids = Vec::new();
    let (mut from, mut to, mut amounts, mut after) = (vec![], vec![], vec![], vec![]);
    for intent in intents {
        let Some(within) = intent.unless_similar_within() else { continue };
        ids.push(intent.id().uuid());
        from.push(intent.from().get());
        to.push(intent.to().get());
        amounts.push(intent.amount.cents());
        after.push(within.before(now));
    }
    let rows = sqlx::query!(
        r#"
        SELECT asked.id AS "asked!", asked.payee AS "payee!", asked.amount AS "amount!",
               like_it.id AS "id!", like_it.created_at AS "created_at!: Timestamp"
        FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[])
             AS asked (id, payer, payee, amount, after),
             LATERAL (
                 WITH sent AS MATERIALIZED (
                     SELECT id, to_id, amount, created_at FROM payments
                     WHERE from_id = asked.payer AND created_at > asked.after
                     ORDER BY created_at DESC, id DESC LIMIT $6
                 ), received AS MATERIALIZED (
                     SELECT id, from_id, amount, created_at FROM payments
                     WHERE to_id = asked.payee AND created_at > asked.after
                       AND (SELECT count(*) FROM sent) = $6
                     ORDER BY created_at DESC, id DESC LIMIT $6
                 )
                 SELECT id, created_at FROM sent
                 WHERE to_id = asked.payee AND amount = asked.amount AND id <> asked.id
                 UNION ALL
                 SELECT id, created_at FROM received
                 WHERE from_id = asked.payer AND amount = asked.amount AND id <> asked.id
                 ORDER BY created_at DESC LIMIT 1
             ) AS like_it
        "#,
        &ids,
        &from,
        &to,
        &amounts,
        &after as _,
        LOOKED_AT_MAX
    );
    let found = rows.fetch_all(conn).await?.into_iter().filter_map(|row| {
        let (id, to) = (PaymentId::from_uuid(row.asked), AccountId::trusted(row.payee));
        let similar = Similar { id: PaymentId::from_uuid(row.id), created_at: row.created_at };
        Some(((id, to, Amount::from_cents(row.amount).ok()?), similar))
    });
    Ok(found.collect())
}

/// Writes the payments and keys that say more than others.
pub(super) async fn write(
    conn: &mut PgConnection,
    batch_id: Option<i64>,
    payments: &[&Payment],
    claims: &[&Claim],
) -> Result<(), Error> {
    if !payments.is_empty() {
        write_payments(&mut *conn, batch_id, payments).await?;
    }
    if !claims.is_empty() {
        write_claims(conn, claims).await?;
    }
    Ok(())
}

async fn write_payments(
    conn: &mut PgConnection,
    batch_id: Option<i64>,
    payments: &[&Payment],
) -> Result<(), Error> {
    let columns = PaymentColumns::of(payments);
    let (mut refund_of, mut refunded_after) = (vec![], vec![]);
    let (mut requests, mut asked_by) = (vec![], vec![]);
    for payment in payments {
        refund_of.push(payment.refund.map(|refund| refund.of.uuid()));
        refunded_after.push(payment.refund.map(|refund| refund.refunded_after.cents()));
        requests.push(payment.request.map(PaymentRequestId::uuid));
        asked_by.push(payment.asked_by.as_deref());
    }
    let insert = sqlx::query!(
        "INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                               to_balance_after, requested_at, idempotency_key, note,
                               refund_of, refunded_after, payment_request_id, asked_by, batch_id)
         SELECT made.*, $15::bigint
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[],
                     $5::timestamptz[], $6::bigint[], $7::bigint[], $8::timestamptz[],
                     $9::text[], $10::text[], $11::uuid[], $12::bigint[], $13::uuid[],
                     $14::text[]) AS made",
        &columns.ids,
        &columns.from,
        &columns.to,
        &columns.amounts,
        &columns.created_at as _,
        &columns.from_balances,
        &columns.to_balances,
        &columns.requested_at as _,
        &columns.keys as _,
        &columns.notes as _,
        &refund_of as _,
        &refunded_after as _,
        &requests as _,
        &asked_by as _,
        batch_id,
    );
    let written = insert.execute(conn).await.map_err(known_already)?.rows_affected();
    all_written("payments", written, payments.len())
}

async fn write_claims(conn: &mut PgConnection, claims: &[&Claim]) -> Result<(), Error> {
    let claims = ClaimColumns::of(claims);
    let insert = sqlx::query!(
        "INSERT INTO idempotency_keys (user_id, key, status, fingerprint, response, payment_id)
         SELECT user_id, key, status, fingerprint, response::json, payment_id
         FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::uuid[])
              AS new (user_id, key, status, fingerprint, response, payment_id)
         ON CONFLICT (user_id, key) DO UPDATE
         SET status = excluded.status, fingerprint = excluded.fingerprint,
             response = excluded.response, payment_id = excluded.payment_id,
             created_at = excluded.created_at
         WHERE idempotency_keys.status = 'failed'",
        &claims.payers,
        &claims.keys as _,
        &claims.statuses as _,
        &claims.fingerprints as _,
        &claims.responses as _,
        &claims.payments as _,
    );
    let written = insert.execute(conn).await?.rows_affected();
    // A key that is not ours to write was written by somebody else meanwhile.
    all_written("idempotency_keys", written, claims.keys.len()).map_err(|_| Error::KnownAlready)
}
