//! The checks of the whole ledger: statements that read whole tables, with plans that are Postgres' choice.

use sqlx::PgConnection;

use super::finding::{Finding, find};
use super::receipts::{self, stored_receipt};
use crate::db::Error;
use crate::domain::{PAYMENT_ID_NAMESPACE, Timestamp};

pub async fn conservation(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('the balances add up to %s cents', sum(balance)) AS what
        FROM accounts HAVING sum(balance) <> 0
        "#
    )
}

pub async fn floors(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('account %s holds %s cents', id, balance) AS what
        FROM accounts WHERE balance < 0 AND id <> 0
        "#
    )
}

pub async fn accounts_exist(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('payment %s is from account %s to %s, and one of them is not there',
                      payments.id, from_id, to_id) AS what
        FROM payments
        LEFT JOIN accounts payer ON payer.id = from_id
        LEFT JOIN accounts payee ON payee.id = to_id
        WHERE payer.id IS NULL OR payee.id IS NULL
        UNION ALL
        SELECT format('request %s is from account %s to %s, and one of them is not there',
                      payment_requests.id, from_id, to_id)
        FROM payment_requests
        LEFT JOIN accounts payer ON payer.id = from_id
        LEFT JOIN accounts payee ON payee.id = to_id
        WHERE payer.id IS NULL OR payee.id IS NULL
        UNION ALL
        SELECT format('key %L is of payer %s, who has no account', key, user_id)
        FROM idempotency_keys
        LEFT JOIN accounts payer ON payer.id = user_id
        WHERE payer.id IS NULL
        "#
    )
}

pub async fn keys_pay_once(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('payer %s and key %L have %s payments', from_id, idempotency_key,
                      count(*)) AS what
        FROM payments GROUP BY from_id, idempotency_key HAVING count(*) > 1
        UNION ALL
        SELECT format('payer %s and key %L have payment %s beside %s', k.user_id, k.key, p.id,
                      k.payment_id)
        FROM idempotency_keys k
        JOIN payments p ON p.from_id = k.user_id AND p.idempotency_key = k.key
        WHERE k.payment_id <> p.id
        "#
    )
}

pub async fn ids_are_derived(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('payment %s is not the one of payer %s and key %L', id, from_id,
                      idempotency_key) AS what
        FROM (
            SELECT id, from_id, idempotency_key,
                   sha256($1 || convert_to(from_id || '/' || idempotency_key, 'UTF8')) AS hash
            FROM payments
        ) AS named
        WHERE id <> encode(
            set_byte(set_byte(substring(hash FROM 1 FOR 16),
                              6, (get_byte(hash, 6) & 15) | 128),
                     8, (get_byte(hash, 8) & 63) | 128), 'hex')::uuid
        "#,
        PAYMENT_ID_NAMESPACE.as_bytes().as_slice()
    )
}

pub async fn nothing_in_progress(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('key %L of payer %s is in progress', key, user_id) AS what
        FROM idempotency_keys WHERE status = 'in_progress'
        UNION ALL
        SELECT format('key %L of a new account is in progress', key)
        FROM account_idempotency_keys WHERE response IS NULL
        "#
    )
}

pub async fn successes_are_payments(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('key %L of payer %s succeeded without its payment', k.key, k.user_id)
               AS what
        FROM idempotency_keys k
        LEFT JOIN payments p ON p.from_id = k.user_id AND p.id::text = k.response->>'id'
             AND CASE WHEN k.payment_id IS NULL THEN p.idempotency_key = k.key
                      ELSE p.id = k.payment_id END
             AND p.amount::text = k.response->>'amount'
             AND p.to_id::text = k.response->>'to_id'
             AND to_char(p.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                 = k.response->>'created_at'
             AND p.from_balance_after::text = k.response->>'balance_after'
        WHERE k.status = 'success' AND p.id IS NULL
        "#
    )
}

pub async fn receipts_are_kept(conn: &mut PgConnection) -> Result<Finding, Error> {
    let stored = sqlx::query!(
        r#"/* audit */
        SELECT key AS "key!", response::text AS "response!", id AS "id!", from_id AS "from_id!",
               to_id AS "to_id!", amount AS "amount!", created_at AS "created_at!: Timestamp",
               from_balance_after AS "from_balance_after!", to_balance_after AS "to_balance_after!",
               requested_at AS "requested_at: Timestamp", idempotency_key AS "idempotency_key!", note,
               refund_of, refunded_after, payment_request_id, asked_by
        FROM (
            SELECT k.key, k.response, p.*
            FROM idempotency_keys k
            JOIN payments p ON p.from_id = k.user_id AND p.idempotency_key = k.key
            WHERE k.status = 'success' AND k.payment_id IS NULL
            UNION ALL
            SELECT k.key, k.response, p.*
            FROM idempotency_keys k
            JOIN payments p ON p.from_id = k.user_id AND p.id = k.payment_id
            WHERE k.status = 'success'
        ) AS stored
        "#
    );
    receipts::compare(stored.map(|row| stored_receipt!(row)).fetch(conn)).await
}

pub async fn failures_are_none(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('key %L of payer %s failed, yet payment %s is there', k.key, k.user_id,
                      p.id) AS what
        FROM idempotency_keys k
        JOIN payments p ON p.from_id = k.user_id AND p.idempotency_key = k.key
        WHERE k.status = 'failed'
        "#
    )
}

pub async fn times_increase(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('account %s has %s payments at %s', account, count(*), created_at) AS what
        FROM (SELECT from_id AS account, created_at FROM payments
              UNION ALL SELECT to_id, created_at FROM payments) AS entry
        GROUP BY account, created_at HAVING count(*) > 1
        UNION ALL
        SELECT format('account %s has %s requests at %s', account, count(*), created_at)
        FROM (SELECT from_id AS account, created_at FROM payment_requests
              UNION ALL SELECT to_id, created_at FROM payment_requests) AS entry
        GROUP BY account, created_at HAVING count(*) > 1
        UNION ALL
        SELECT format('account %s has its newest payment at %s, not at %s', id, newest,
                      last_payment_at)
        FROM accounts
        LEFT JOIN (SELECT account, max(created_at) AS newest
                   FROM (SELECT from_id AS account, created_at FROM payments
                         UNION ALL SELECT to_id, created_at FROM payments) AS entry
                   GROUP BY account) AS history ON history.account = accounts.id
        WHERE last_payment_at IS DISTINCT FROM newest
        "#
    )
}

pub async fn balances_follow(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('payment %s leaves account %s with %s cents after %s and %s', id, account,
                      balance_after, before, change) AS what
        FROM (
            SELECT id, account, change, balance_after,
                   lag(balance_after, 1, 0::bigint)
                       OVER (PARTITION BY account ORDER BY created_at, id) AS before
            FROM (SELECT id, from_id AS account, -amount AS change, created_at,
                         from_balance_after AS balance_after FROM payments
                  UNION ALL
                  SELECT id, to_id, amount, created_at, to_balance_after
                  FROM payments) AS entry
        ) AS chain
        WHERE balance_after <> before + change
        "#
    )
}

pub async fn balances_are_explained(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('account %s holds %s cents, its history gives %s', accounts.id, balance,
                      coalesce(total, 0)) AS what
        FROM accounts
        LEFT JOIN (SELECT account, sum(change) AS total
                   FROM (SELECT from_id AS account, -amount AS change FROM payments
                         UNION ALL SELECT to_id, amount FROM payments) AS entry
                   GROUP BY account) AS history ON history.account = accounts.id
        WHERE balance <> coalesce(total, 0)
        "#
    )
}

/// Each entry of the feed begins where the one before it ends, and the last one ends the feed.
pub async fn feed_has_no_gaps(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        WITH entry AS (
            SELECT first_position, batch_id, cardinality(payment_ids) AS payments,
                   lag(first_position + cardinality(payment_ids), 1, 1::bigint)
                       OVER (ORDER BY first_position) AS next
            FROM feed_entries LEFT JOIN payment_batches batch ON batch.id = batch_id
        )
        SELECT CASE
            WHEN payments IS NULL
            THEN format('position %s is of batch %s, which is not there', first_position, batch_id)
            WHEN first_position <> next
            THEN format('batch %s is at position %s, and position %s comes next', batch_id,
                        first_position, next)
        END AS what
        FROM entry WHERE payments IS NULL OR first_position <> next
        UNION ALL
        SELECT format('the feed ends at position %s, its last payment is at position %s',
                      last_position, last)
        FROM feed_state,
             (SELECT coalesce(max(first_position + payments - 1), 0) AS last FROM entry) AS entries
        WHERE last_position <> last
        UNION ALL
        SELECT format('batch %s has no position, though all up to batch %s have', batch.id,
                      settled_batch)
        FROM feed_state
        JOIN payment_batches batch ON batch.id <= settled_batch
        LEFT JOIN feed_entries ON batch_id = batch.id
        WHERE batch_id IS NULL
        UNION ALL
        SELECT format('batch %s is at position %s, though none after batch %s is up to position %s',
                      batch_id, first_position, settled_batch, settled_position)
        FROM feed_state
        JOIN feed_entries ON batch_id > settled_batch AND first_position <= settled_position
        "#
    )
}

/// Before the upgrade has numbered what is older than the feed, that is in no batch.
pub async fn batches_hold_all_payments(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT CASE
            WHEN payments.id IS NULL
            THEN format('batch %s has payment %s, which is not there', batch, made.id)
            WHEN times > 1
            THEN format('payment %s is in batches %s times', made.id, times)
            WHEN made.id IS NULL AND (batch_id IS NOT NULL OR EXISTS (SELECT FROM feed_state))
            THEN format('payment %s is in no batch', payments.id)
            WHEN batch_id <> batch OR (batch_id IS NULL AND batch >= 0)
            THEN format('payment %s is in batch %s, and says that it is in batch %s', made.id, batch,
                        coalesce(batch_id::text, 'none'))
        END AS what
        FROM payments
        FULL JOIN (SELECT id, min(batch) AS batch, count(*) AS times
                   FROM (SELECT batch.id AS batch, unnest(payment_ids) AS id
                         FROM payment_batches batch) AS made
                   GROUP BY id) AS made ON made.id = payments.id
        WHERE batch_id IS DISTINCT FROM batch OR payments.id IS NULL OR made.id IS NULL OR times > 1
        "#
    )
}

/// Those that wait for their positions come after all others.
pub async fn the_feed_follows_histories(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('account %s has payment %s at position %s, after one at position %s', account,
                      id, position, coalesce(nullif(before, 9223372036854775807)::text, 'none')) AS what
        FROM (
            SELECT id, account, position,
                   lag(position, 1, 0::bigint) OVER (PARTITION BY account ORDER BY created_at, id)
                       AS before
            FROM (
                SELECT payments.id, from_id, to_id, created_at,
                       coalesce(position, 9223372036854775807) AS position
                FROM payments
                LEFT JOIN (SELECT made.id, first_position + place - 1 AS position
                           FROM feed_entries
                           JOIN payment_batches batch ON batch.id = batch_id,
                                unnest(payment_ids) WITH ORDINALITY AS made (id, place)
                          ) AS numbered ON numbered.id = payments.id
            ) AS placed, LATERAL (VALUES (from_id), (to_id)) AS party (account)
        ) AS history
        WHERE position < before
        "#
    )
}

/// The first thing that is wrong with each refund, and each payment that was given back more than whole.
pub async fn refunds_are_bounded(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        WITH refunds AS (
            SELECT id, from_id, to_id, refund_of, refunded_after, created_at,
                   sum(amount) OVER (PARTITION BY refund_of ORDER BY created_at, id) AS refunded
            FROM payments WHERE refund_of IS NOT NULL
        )
        SELECT CASE
            WHEN paid.id IS NULL
            THEN format('refund %s is of payment %s, which is not there', refunds.id,
                        refunds.refund_of)
            WHEN paid.refund_of IS NOT NULL
            THEN format('refund %s is of payment %s, which is a refund', refunds.id, paid.id)
            WHEN paid.from_id = 0 AND paid.idempotency_key LIKE 'opening balance %'
            THEN format('refund %s is of payment %s, which is an opening balance', refunds.id,
                        paid.id)
            WHEN (refunds.from_id, refunds.to_id) <> (paid.to_id, paid.from_id)
            THEN format('refund %s is from account %s to %s, payment %s from %s to %s',
                        refunds.id, refunds.from_id, refunds.to_id, paid.id, paid.from_id,
                        paid.to_id)
            WHEN refunds.created_at <= paid.created_at
            THEN format('refund %s is no later than payment %s', refunds.id, paid.id)
            WHEN refunds.refunded_after IS DISTINCT FROM refunds.refunded
            THEN format('with refund %s, %s cents of payment %s are given back, not %s',
                        refunds.id, refunds.refunded, paid.id, refunds.refunded_after)
        END AS what
        FROM refunds LEFT JOIN payments paid ON paid.id = refunds.refund_of
        UNION ALL
        SELECT format('of payment %s, %s cents of %s are given back', paid.id,
                      max(refunds.refunded), paid.amount)
        FROM refunds JOIN payments paid ON paid.id = refunds.refund_of
        GROUP BY paid.id, paid.amount HAVING max(refunds.refunded) > paid.amount
        "#
    )
}

pub async fn requests_are_paid_once(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('request %s is %s, and payment %s does not pay it', r.id, r.status,
                      coalesce(r.payment_id::text, 'none')) AS what
        FROM payment_requests r
        LEFT JOIN payments p ON p.id = r.payment_id AND p.payment_request_id = r.id
             AND (p.from_id, p.to_id, p.amount) = (r.from_id, r.to_id, r.amount)
             AND p.idempotency_key = 'payment request ' || r.id
        WHERE (r.status = 'paid' OR r.payment_id IS NOT NULL) AND p.id IS NULL
        UNION ALL
        SELECT format('payment %s pays request %s, which is %s and names payment %s', p.id,
                      p.payment_request_id, coalesce(r.status, 'not there'),
                      coalesce(r.payment_id::text, 'none'))
        FROM payments p
        LEFT JOIN payment_requests r ON r.id = p.payment_request_id
        WHERE p.payment_request_id IS NOT NULL
          AND (r.status IS DISTINCT FROM 'paid' OR r.payment_id IS DISTINCT FROM p.id)
        UNION ALL
        SELECT format('key %L of payer %s paid a request, and payment %s does not', k.key,
                      k.user_id, k.payment_id)
        FROM idempotency_keys k
        LEFT JOIN payments p ON p.id = k.payment_id AND p.from_id = k.user_id
        WHERE k.payment_id IS NOT NULL AND k.status = 'success'
          AND p.payment_request_id IS NULL
        "#
    )
}

pub async fn voided_keys_paid_nothing(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('key %L of payer %s is voided, yet payment %s is there', k.key, k.user_id,
                      p.id) AS what
        FROM idempotency_keys k
        JOIN payments p ON p.from_id = k.user_id AND p.idempotency_key = k.key
        WHERE k.status = 'voided'
        UNION ALL
        SELECT format('key %L of payer %s is voided, yet names payment %s', key, user_id,
                      payment_id)
        FROM idempotency_keys WHERE status = 'voided' AND payment_id IS NOT NULL
        "#
    )
}

pub async fn closed_accounts_are_empty(conn: &mut PgConnection) -> Result<Finding, Error> {
    find!(
        conn,
        r#"
        SELECT format('account %s is %s, and holds %s cents', id, status, balance) AS what
        FROM accounts
        WHERE (status = 'closed' AND balance <> 0) OR (id = 0 AND status IS NOT NULL)
        "#
    )
}
