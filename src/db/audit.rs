//! The audit: what must hold in the whole database, one statement for each check. They read
//! whole tables, and are meant to run in one snapshot.

use std::collections::BTreeSet;
use std::future::poll_fn;

use sqlx::PgConnection;

use super::Error;
use super::payments::row_of;
use crate::domain::{PAYMENT_ID_NAMESPACE, Timestamp};

/// The findings of one check.
#[derive(Debug)]
pub struct Finding {
    pub violations: i64,
    /// The first ten violations, in words.
    pub examples: Vec<String>,
}

/// How much there is to check.
pub struct Extent {
    pub accounts: i64,
    pub payments: i64,
    pub payment_requests: i64,
    pub keys: i64,
}

/// Counts what there is.
pub async fn extent(conn: &mut PgConnection) -> Result<Extent, Error> {
    let extent = sqlx::query_as!(
        Extent,
        r#"/* audit */
        SELECT (SELECT count(*) FROM accounts) AS "accounts!",
               (SELECT count(*) FROM payments) AS "payments!",
               (SELECT count(*) FROM payment_requests) AS "payment_requests!",
               (SELECT count(*) FROM idempotency_keys) AS "keys!"
        "#
    );
    Ok(extent.fetch_one(conn).await?)
}

/// Every check by name, with the invariant of `ARCHITECTURE.md` that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The balances of all accounts add up to 0.
    Conservation,
    /// No account but the bank is below zero.
    Floors,
    /// The payer and the payee of each payment and of each request for money, and each key's payer, have
    /// accounts.
    AccountsExist,
    /// No payer and idempotency key have two payments.
    KeysPayOnce,
    /// Each payment's id is the one derived from payer and key, so its primary key refuses a second.
    IdsAreDerived,
    /// No key is left in progress.
    NothingInProgress,
    /// Each key with status success has its payment, and its response says so.
    SuccessesArePayments,
    /// A stored receipt is what the payment alone would give to a retry whose key's row is gone.
    ReceiptsAreKept,
    /// No key with status failed has a payment.
    FailuresAreNone,
    /// No account has two payments at one time, or two requests for money, and each knows the time of its
    /// newest payment.
    TimesIncrease,
    /// Each balance after a payment is the one before it, plus or minus the amount.
    BalancesFollow,
    /// Replaying an account's history gives its balance.
    BalancesAreExplained,
    /// Each refund goes from the payee to the payer of a payment that is neither a refund nor an opening
    /// balance, knows what its payment's refunds come to, and they never come to more than the payment.
    RefundsAreBounded,
    /// A paid request has exactly the payment that it names, another one none; and whatever says that it
    /// pays a request does.
    RequestsArePaidOnce,
    /// No voided key has a payment.
    VoidedKeysPaidNothing,
    /// A closed account is empty, and the bank is open.
    ClosedAccountsAreEmpty,
}

impl Check {
    pub const ALL: [Self; 16] = [
        Self::Conservation,
        Self::Floors,
        Self::AccountsExist,
        Self::KeysPayOnce,
        Self::IdsAreDerived,
        Self::NothingInProgress,
        Self::SuccessesArePayments,
        Self::ReceiptsAreKept,
        Self::FailuresAreNone,
        Self::TimesIncrease,
        Self::BalancesFollow,
        Self::BalancesAreExplained,
        Self::RefundsAreBounded,
        Self::RequestsArePaidOnce,
        Self::VoidedKeysPaidNothing,
        Self::ClosedAccountsAreEmpty,
    ];

    /// The invariant's number and the rule, in words.
    #[must_use]
    pub fn rule(self) -> (u8, &'static str) {
        match self {
            Self::Conservation => (1, "The balances of all accounts add up to 0."),
            Self::Floors => (1, "No account but the bank is below zero."),
            Self::AccountsExist => (
                1,
                "The payer and the payee of each payment and request, and each key's payer, have accounts.",
            ),
            Self::KeysPayOnce => (2, "No payer and idempotency key have two payments."),
            Self::IdsAreDerived => (
                2,
                "Each payment's id is the one derived from payer and key, so its primary key refuses a second.",
            ),
            Self::NothingInProgress => (3, "No key is left in progress."),
            Self::SuccessesArePayments => {
                (3, "Each key with status success has its payment, and its response says so.")
            }
            Self::ReceiptsAreKept => {
                (2, "Each stored receipt is, byte for byte, what its payment's would be today.")
            }
            Self::FailuresAreNone => (3, "No key with status failed has a payment."),
            Self::TimesIncrease => (
                5,
                "No account has two payments or two requests at one time, and each knows its newest payment's.",
            ),
            Self::BalancesFollow => {
                (6, "Each balance after a payment is the one before it, plus or minus the amount.")
            }
            Self::BalancesAreExplained => (6, "Replaying an account's history gives its balance."),
            Self::RefundsAreBounded => (
                15,
                "Each refund goes back from payee to payer, and the refunds of a payment never exceed it.",
            ),
            Self::RequestsArePaidOnce => {
                (15, "A paid request has exactly the payment that it names, another one has none.")
            }
            Self::VoidedKeysPaidNothing => (15, "No voided key has a payment."),
            Self::ClosedAccountsAreEmpty => {
                (15, "A closed account is empty, and the bank is open.")
            }
        }
    }
}

/// Runs one check.
pub async fn run(conn: &mut PgConnection, check: Check) -> Result<Finding, Error> {
    match check {
        Check::Conservation => conservation(conn).await,
        Check::Floors => floors(conn).await,
        Check::AccountsExist => accounts_exist(conn).await,
        Check::KeysPayOnce => keys_pay_once(conn).await,
        Check::IdsAreDerived => ids_are_derived(conn).await,
        Check::NothingInProgress => nothing_in_progress(conn).await,
        Check::SuccessesArePayments => successes_are_payments(conn).await,
        Check::ReceiptsAreKept => receipts_are_kept(conn).await,
        Check::FailuresAreNone => failures_are_none(conn).await,
        Check::TimesIncrease => times_increase(conn).await,
        Check::BalancesFollow => balances_follow(conn).await,
        Check::BalancesAreExplained => balances_are_explained(conn).await,
        Check::RefundsAreBounded => refunds_are_bounded(conn).await,
        Check::RequestsArePaidOnce => requests_are_paid_once(conn).await,
        Check::VoidedKeysPaidNothing => voided_keys_paid_nothing(conn).await,
        Check::ClosedAccountsAreEmpty => closed_accounts_are_empty(conn).await,
    }
}

async fn conservation(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
            SELECT format('the balances add up to %s cents', sum(balance)) AS what
            FROM accounts HAVING sum(balance) <> 0
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

async fn floors(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
            SELECT format('account %s holds %s cents', id, balance) AS what
            FROM accounts WHERE balance < 0 AND id <> 0
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

async fn accounts_exist(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
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
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

async fn keys_pay_once(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
            SELECT format('payer %s and key %L have %s payments', from_id, idempotency_key,
                          count(*)) AS what
            FROM payments GROUP BY from_id, idempotency_key HAVING count(*) > 1
            UNION ALL
            SELECT format('payer %s and key %L have payment %s beside %s', k.user_id, k.key, p.id,
                          k.payment_id)
            FROM idempotency_keys k
            JOIN payments p ON p.from_id = k.user_id AND p.idempotency_key = k.key
            WHERE k.payment_id <> p.id
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

async fn ids_are_derived(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
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
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#,
        PAYMENT_ID_NAMESPACE.as_bytes().as_slice()
    );
    Ok(finding.fetch_one(conn).await?)
}

async fn nothing_in_progress(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
            SELECT format('key %L of payer %s is in progress', key, user_id) AS what
            FROM idempotency_keys WHERE status = 'in_progress'
            UNION ALL
            SELECT format('key %L of a new account is in progress', key)
            FROM account_idempotency_keys WHERE response IS NULL
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

async fn successes_are_payments(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
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
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

/// Row by row, as they come: their number is that of the keys.
async fn receipts_are_kept(conn: &mut PgConnection) -> Result<Finding, Error> {
    const EXAMPLES_MAX: usize = 10;
    let mut rows = sqlx::query!(
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
    )
    .fetch(conn);
    let mut violations: i64 = 0;
    let mut examples = BTreeSet::new();
    while let Some(row) = poll_fn(|cx| rows.as_mut().poll_next(cx)).await {
        let row = row?;
        let Some(payment) = row_of!(row).payment() else {
            continue;
        };
        if payment.receipt() == row.response {
            continue;
        }
        violations = violations.saturating_add(1);
        let (key, payer) = (row.key, payment.from);
        examples.insert(format!(
            "key '{key}' of payer {payer} stores another receipt than its payment's"
        ));
        if examples.len() > EXAMPLES_MAX {
            examples.pop_last();
        }
    }
    Ok(Finding { violations, examples: examples.into_iter().collect() })
}

async fn failures_are_none(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
            SELECT format('key %L of payer %s failed, yet payment %s is there', k.key, k.user_id,
                          p.id) AS what
            FROM idempotency_keys k
            JOIN payments p ON p.from_id = k.user_id AND p.idempotency_key = k.key
            WHERE k.status = 'failed'
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

async fn times_increase(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
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
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

async fn balances_follow(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
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
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

async fn balances_are_explained(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
            SELECT format('account %s holds %s cents, its history gives %s', accounts.id, balance,
                          coalesce(total, 0)) AS what
            FROM accounts
            LEFT JOIN (SELECT account, sum(change) AS total
                       FROM (SELECT from_id AS account, -amount AS change FROM payments
                             UNION ALL SELECT to_id, amount FROM payments) AS entry
                       GROUP BY account) AS history ON history.account = accounts.id
            WHERE balance <> coalesce(total, 0)
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

/// The first thing that is wrong with each refund, and each payment that was given back more than whole.
async fn refunds_are_bounded(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH refunds AS (
            SELECT id, from_id, to_id, refund_of, refunded_after, created_at,
                   sum(amount) OVER (PARTITION BY refund_of ORDER BY created_at, id) AS refunded
            FROM payments WHERE refund_of IS NOT NULL
        ), found AS (
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
        )
        SELECT (SELECT count(what) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found WHERE what IS NOT NULL ORDER BY what LIMIT 10)
                   AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

async fn requests_are_paid_once(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
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
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

async fn voided_keys_paid_nothing(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
            SELECT format('key %L of payer %s is voided, yet payment %s is there', k.key, k.user_id,
                          p.id) AS what
            FROM idempotency_keys k
            JOIN payments p ON p.from_id = k.user_id AND p.idempotency_key = k.key
            WHERE k.status = 'voided'
            UNION ALL
            SELECT format('key %L of payer %s is voided, yet names payment %s', key, user_id,
                          payment_id)
            FROM idempotency_keys WHERE status = 'voided' AND payment_id IS NOT NULL
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}

async fn closed_accounts_are_empty(conn: &mut PgConnection) -> Result<Finding, Error> {
    let finding = sqlx::query_as!(
        Finding,
        r#"/* audit */
        WITH found AS (
            SELECT format('account %s is %s, and holds %s cents', id, status, balance) AS what
            FROM accounts
            WHERE (status = 'closed' AND balance <> 0) OR (id = 0 AND status IS NOT NULL)
        )
        SELECT (SELECT count(*) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found ORDER BY what LIMIT 10) AS "examples!"
        "#
    );
    Ok(finding.fetch_one(conn).await?)
}
