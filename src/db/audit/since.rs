//! The checks of what is new in the ledger: what the feed has at some positions, and the accounts that are concerned.
//! Each payment is compared with the one before it in both histories, so that the work is proportional to what is new,
//! by index plans (`tests/api/plans.rs`). What was audited before is taken as it was found then (docs/operating.md).

use sqlx::PgConnection;

use super::finding::{Finding, find};
use super::receipts::{self, stored_receipt};
use crate::db::Error;
use crate::domain::{PAYMENT_ID_NAMESPACE, Position, Timestamp};

/// Positions of the feed.
#[derive(Debug, Clone, Copy)]
pub struct New {
    /// The last one that was audited before.
    pub after: Position,
    /// The last one of these.
    pub upto: Position,
}

/// Runs a check whose query knows
/// - `numbered`: the payments' ids, batches and positions, as the feed has them,
/// - `fresh`: those of the payments that are there, with their positions,
/// - `entry`: each of them twice, as payer and payee have it, with the payment before it in that history,
/// - `concerned`: the payers and payees that have accounts, with the newest payment of each,
///
/// and as `$1` and `$2` the bounds. (Postgres leaves out what a query does not use.) Where a `LIMIT` limits nothing, it keeps
/// Postgres from beginning with the other table.
macro_rules! find_new {
    ($conn:ident, $new:ident, $query:tt $(, $value:expr)*) => {
        find!(
            $conn,
            with r#"/* audit since */
        WITH numbered AS MATERIALIZED (
            SELECT made.id, batch_id, first_position + place - 1 AS position
            FROM feed_entries,
                 LATERAL (SELECT payment_ids FROM payment_batches WHERE id = batch_id LIMIT 1) AS batch,
                 unnest(payment_ids) WITH ORDINALITY AS made (id, place)
            WHERE first_position >= coalesce((SELECT max(first_position) FROM feed_entries
                                              WHERE first_position <= $1::bigint + 1), 1)
              AND first_position <= $2::bigint
              AND first_position + place - 1 BETWEEN $1 + 1 AND $2
        ), fresh AS MATERIALIZED (
            SELECT position, made.*
            FROM numbered,
                 LATERAL (SELECT * FROM payments WHERE id = numbered.id LIMIT 1) AS made
        ), side AS (
            SELECT id, position, created_at, from_id AS account, -amount AS change,
                   from_balance_after AS balance_after FROM fresh
            UNION ALL
            SELECT id, position, created_at, to_id, amount, to_balance_after FROM fresh
        ), entry AS (
            SELECT side.*, before.id AS before_id, before.batch_id AS before_batch,
                   before.created_at AS before_at, before.balance_after AS before
            FROM side LEFT JOIN LATERAL (
                SELECT * FROM (
                    (SELECT id, batch_id, created_at, from_balance_after AS balance_after FROM payments
                     WHERE from_id = account
                       AND (payments.created_at, payments.id) < (side.created_at, side.id)
                     ORDER BY created_at DESC, id DESC LIMIT 1)
                    UNION ALL
                    (SELECT id, batch_id, created_at, to_balance_after FROM payments
                     WHERE to_id = account
                       AND (payments.created_at, payments.id) < (side.created_at, side.id)
                     ORDER BY created_at DESC, id DESC LIMIT 1)
                ) AS either ORDER BY created_at DESC, id DESC LIMIT 1
            ) AS before ON true
        ), concerned AS (
            SELECT account, balance, last_payment_at, status, newest.created_at AS newest_at,
                   newest.balance_after
            FROM (SELECT DISTINCT account FROM side) AS side, LATERAL (
                SELECT balance, last_payment_at, status FROM accounts WHERE id = account LIMIT 1
            ) AS held, LATERAL (
                SELECT * FROM (
                    (SELECT id, created_at, from_balance_after AS balance_after FROM payments
                     WHERE from_id = account ORDER BY created_at DESC, id DESC LIMIT 1)
                    UNION ALL
                    (SELECT id, created_at, to_balance_after FROM payments
                     WHERE to_id = account ORDER BY created_at DESC, id DESC LIMIT 1)
                ) AS either ORDER BY created_at DESC, id DESC LIMIT 1
            ) AS newest
        ), "#,
            $query,
            $new.after.get(),
            $new.upto.get()
            $(, $value)*
        )
    };
}

pub async fn floors(conn: &mut PgConnection, new: New) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT format('account %s holds %s cents', account, balance) AS what
        FROM concerned WHERE balance < 0 AND account <> 0
        "#
    )
}

pub async fn accounts_exist(conn: &mut PgConnection, new: New) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT format('payment %s is from account %s to %s, and one of them is not there',
                      fresh.id, from_id, to_id) AS what
        FROM fresh
        LEFT JOIN LATERAL (SELECT id FROM accounts WHERE id = from_id LIMIT 1) AS payer ON true
        LEFT JOIN LATERAL (SELECT id FROM accounts WHERE id = to_id LIMIT 1) AS payee ON true
        WHERE payer.id IS NULL OR payee.id IS NULL
        "#
    )
}

/// Then the primary key has refused a second payment with the same key.
pub async fn ids_are_derived(conn: &mut PgConnection, new: New) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT format('payment %s is not the one of payer %s and key %L', id, from_id,
                      idempotency_key) AS what
        FROM (
            SELECT id, from_id, idempotency_key,
                   sha256($3 || convert_to(from_id || '/' || idempotency_key, 'UTF8')) AS hash
            FROM fresh
        ) AS named
        WHERE id <> encode(
            set_byte(set_byte(substring(hash FROM 1 FOR 16),
                              6, (get_byte(hash, 6) & 15) | 128),
                     8, (get_byte(hash, 8) & 63) | 128), 'hex')::uuid
        "#,
        PAYMENT_ID_NAMESPACE.as_bytes().as_slice()
    )
}

pub async fn receipts_are_kept(conn: &mut PgConnection, new: New) -> Result<Finding, Error> {
    let stored = sqlx::query!(
        r#"/* audit since */
        SELECT idempotency_key AS key, used.response::text AS "response!", payment.id, from_id, to_id,
               amount, created_at AS "created_at: Timestamp", from_balance_after, to_balance_after,
               requested_at AS "requested_at: Timestamp", idempotency_key, note, refund_of,
               refunded_after, payment_request_id, asked_by
        FROM feed_entries,
             LATERAL (SELECT payment_ids FROM payment_batches WHERE id = batch_id LIMIT 1) AS batch,
             unnest(payment_ids) WITH ORDINALITY AS made (id, place),
             LATERAL (SELECT * FROM payments WHERE id = made.id LIMIT 1) AS payment,
             LATERAL (SELECT status, response, payment_id FROM idempotency_keys
                      WHERE user_id = from_id AND key = idempotency_key LIMIT 1) AS used
        WHERE first_position >= coalesce((SELECT max(first_position) FROM feed_entries
                                          WHERE first_position <= $1::bigint + 1), 1)
          AND first_position <= $2::bigint
          AND first_position + place - 1 BETWEEN $1 + 1 AND $2
          AND used.status = 'success' AND used.payment_id IS NULL
        "#,
        new.after.get(),
        new.upto.get()
    );
    receipts::compare(stored.map(|row| stored_receipt!(row)).fetch(conn)).await
}

pub async fn failures_are_none(conn: &mut PgConnection, new: New) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT format('key %L of payer %s %s, yet payment %s is there', idempotency_key, from_id,
                      CASE used.status WHEN 'failed' THEN 'failed' ELSE 'is in progress' END,
                      id) AS what
        FROM fresh, LATERAL (
            SELECT status FROM idempotency_keys WHERE user_id = from_id AND key = idempotency_key LIMIT 1
        ) AS used
        WHERE used.status IN ('failed', 'in_progress')
        "#
    )
}

pub async fn times_increase(conn: &mut PgConnection, new: New) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT format('account %s has 2 payments at %s', account, created_at) AS what
        FROM entry WHERE before_at = created_at
        UNION ALL
        SELECT format('account %s has its newest payment at %s, not at %s', account, newest_at,
                      last_payment_at)
        FROM concerned WHERE last_payment_at IS DISTINCT FROM newest_at
        "#
    )
}

pub async fn balances_follow(conn: &mut PgConnection, new: New) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT format('payment %s leaves account %s with %s cents after %s and %s', id, account,
                      balance_after, coalesce(before, 0), change) AS what
        FROM entry WHERE balance_after <> coalesce(before, 0) + change
        "#
    )
}

pub async fn balances_are_explained(conn: &mut PgConnection, new: New) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT format('account %s holds %s cents, its history gives %s', account, balance,
                      balance_after) AS what
        FROM concerned WHERE balance <> balance_after
        "#
    )
}

/// Also that none was passed over: of the batches between those that have these positions, each has one.
pub async fn feed_has_no_gaps(conn: &mut PgConnection, new: New) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT format('from position %s to %s there are %s payments', $1 + 1, $2, count(*)) AS what
        FROM numbered HAVING count(*) <> $2 - $1 OR count(DISTINCT position) <> $2 - $1
        UNION ALL
        SELECT format('batch %s has no position, though all up to batch %s have', batch.id,
                      settled_batch)
        FROM (SELECT min(batch_id) AS first, max(batch_id) AS last FROM numbered) AS range
        JOIN feed_state ON the_only_row
        JOIN LATERAL (
            SELECT id FROM payment_batches
            WHERE id BETWEEN first AND least(last, settled_batch) ORDER BY id
        ) AS batch ON true
        LEFT JOIN LATERAL (
            SELECT batch_id FROM feed_entries WHERE batch_id = batch.id LIMIT 1
        ) AS entry ON true
        WHERE entry.batch_id IS NULL
        "#
    )
}

pub async fn batches_hold_all_payments(
    conn: &mut PgConnection,
    new: New,
) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT CASE
            WHEN payment.id IS NULL
            THEN format('batch %s has payment %s, which is not there', numbered.batch_id, numbered.id)
            WHEN payment.batch_id <> numbered.batch_id
                 OR (payment.batch_id IS NULL AND numbered.batch_id >= 0)
            THEN format('payment %s is in batch %s, and says that it is in batch %s', numbered.id,
                        numbered.batch_id, coalesce(payment.batch_id::text, 'none'))
        END AS what
        FROM numbered
        LEFT JOIN LATERAL (
            SELECT id, batch_id FROM payments WHERE id = numbered.id LIMIT 1
        ) AS payment ON true
        UNION ALL
        SELECT format('payment %s is in batches %s times', id, count(*))
        FROM numbered GROUP BY id HAVING count(*) > 1
        "#
    )
}

/// A payment before it that is older than the feed has its position by the upgrade.
pub async fn the_feed_follows_histories(
    conn: &mut PgConnection,
    new: New,
) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT format('account %s has payment %s at position %s, after one at position %s', account,
                      id, position, coalesce(before_position::text, 'none')) AS what
        FROM (
            SELECT account, entry.id, position,
                   first_position + array_position(payment_ids, before_id) - 1 AS before_position
            FROM entry
            LEFT JOIN LATERAL (
                SELECT first_position FROM feed_entries WHERE batch_id = before_batch LIMIT 1
            ) AS numbered ON true
            LEFT JOIN LATERAL (
                SELECT payment_ids FROM payment_batches WHERE id = before_batch LIMIT 1
            ) AS batch ON true
            WHERE before_batch IS NOT NULL
        ) AS history
        WHERE before_position IS NULL OR before_position >= position
        "#
    )
}

/// Each refund is compared with the one before it of the same payment.
pub async fn refunds_are_bounded(conn: &mut PgConnection, new: New) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT CASE
            WHEN paid.id IS NULL
            THEN format('refund %s is of payment %s, which is not there', refund.id, refund.refund_of)
            WHEN paid.refund_of IS NOT NULL
            THEN format('refund %s is of payment %s, which is a refund', refund.id, paid.id)
            WHEN paid.from_id = 0 AND paid.idempotency_key LIKE 'opening balance %'
            THEN format('refund %s is of payment %s, which is an opening balance', refund.id, paid.id)
            WHEN (refund.from_id, refund.to_id) <> (paid.to_id, paid.from_id)
            THEN format('refund %s is from account %s to %s, payment %s from %s to %s', refund.id,
                        refund.from_id, refund.to_id, paid.id, paid.from_id, paid.to_id)
            WHEN refund.created_at <= paid.created_at
            THEN format('refund %s is no later than payment %s', refund.id, paid.id)
            WHEN refund.refunded_after <> coalesce(before.refunded_after, 0) + refund.amount
            THEN format('with refund %s, %s cents of payment %s are given back, not %s', refund.id,
                        coalesce(before.refunded_after, 0) + refund.amount, paid.id,
                        refund.refunded_after)
            WHEN refund.refunded_after > paid.amount
            THEN format('of payment %s, %s cents of %s are given back', paid.id,
                        refund.refunded_after, paid.amount)
        END AS what
        FROM fresh AS refund
        LEFT JOIN LATERAL (SELECT * FROM payments WHERE id = refund.refund_of LIMIT 1) AS paid ON true
        LEFT JOIN LATERAL (
            SELECT refunded_after FROM payments
            WHERE refund_of = refund.refund_of AND refunded_after < refund.refunded_after
            ORDER BY refunded_after DESC LIMIT 1
        ) AS before ON true
        WHERE refund.refund_of IS NOT NULL
        "#
    )
}

pub async fn requests_are_paid_once(conn: &mut PgConnection, new: New) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT CASE
            WHEN r.status IS DISTINCT FROM 'paid' OR r.payment_id IS DISTINCT FROM p.id
            THEN format('payment %s pays request %s, which is %s and names payment %s', p.id,
                        p.payment_request_id, coalesce(r.status, 'not there'),
                        coalesce(r.payment_id::text, 'none'))
            WHEN (p.from_id, p.to_id, p.amount) <> (r.from_id, r.to_id, r.amount)
                 OR p.idempotency_key <> 'payment request ' || r.id
            THEN format('request %s is %s, and payment %s does not pay it', r.id, r.status, p.id)
        END AS what
        FROM fresh AS p
        LEFT JOIN LATERAL (
            SELECT * FROM payment_requests WHERE id = p.payment_request_id LIMIT 1
        ) AS r ON true
        WHERE p.payment_request_id IS NOT NULL
        "#
    )
}

pub async fn voided_keys_paid_nothing(conn: &mut PgConnection, new: New) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT format('key %L of payer %s is voided, yet payment %s is there', idempotency_key,
                      from_id, id) AS what
        FROM fresh, LATERAL (
            SELECT status FROM idempotency_keys WHERE user_id = from_id AND key = idempotency_key LIMIT 1
        ) AS used
        WHERE used.status = 'voided'
        "#
    )
}

pub async fn closed_accounts_are_empty(
    conn: &mut PgConnection,
    new: New,
) -> Result<Finding, Error> {
    find_new!(
        conn,
        new,
        r#"
        SELECT format('account %s is %s, and holds %s cents', account, status, balance) AS what
        FROM concerned
        WHERE (status = 'closed' AND balance <> 0) OR (account = 0 AND status IS NOT NULL)
        "#
    )
}
