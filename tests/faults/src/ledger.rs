//! What the database holds after a run.

use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection};

/// Everything that the checker needs from the database.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub accounts: Vec<Account>,
    /// All of them, the bank's included.
    pub payments: Vec<Payment>,
    pub requests: Vec<Request>,
    /// The rows of `idempotency_keys`.
    pub keys: Vec<Key>,
    /// Keys of openings that were claimed without an account.
    pub openings_in_progress: Vec<String>,
    /// Sessions that were left idle in a transaction, described.
    pub idle_in_transaction: Vec<String>,
}

/// A row of `accounts`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Account {
    pub id: i64,
    /// Cents.
    pub balance: i64,
    /// Unix time in microseconds.
    pub last_payment_us: Option<i64>,
}

/// A row of `payments`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Payment {
    pub id: String,
    pub from_id: i64,
    pub to_id: i64,
    /// Cents.
    pub amount: i64,
    /// Unix time in microseconds.
    pub created_us: i64,
    pub from_balance_after: i64,
    pub to_balance_after: i64,
    pub key: String,
    pub note: Option<String>,
    /// The payment that it gives back.
    pub refund_of: Option<String>,
    /// The cents of that payment that are given back with it.
    pub refunded_after: Option<i64>,
    pub payment_request_id: Option<String>,
}

/// A row of `payment_requests`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Request {
    pub id: String,
    pub from_id: i64,
    pub to_id: i64,
    /// Cents.
    pub amount: i64,
    pub note: Option<String>,
    pub status: String,
    /// Unix time in microseconds.
    pub created_us: i64,
    pub payment_id: Option<String>,
}

/// A row of `idempotency_keys`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Key {
    pub payer: i64,
    pub key: String,
    pub status: String,
    /// The stored body, byte for byte.
    pub response: Option<String>,
    /// Its payment, where that has a key of its own.
    pub payment_id: Option<String>,
}

/// The longest that a transaction of a service at rest is between two statements.
const REST_SECONDS: f64 = 1.0;

impl Ledger {
    /// Reads it in one snapshot. To see the sessions of others, the connection's role must be a
    /// superuser, theirs, or a member of `pg_read_all_stats`.
    ///
    /// # Errors
    /// The database's.
    pub async fn read(conn: &mut PgConnection) -> Result<Self> {
        let idle_in_transaction = left_idle_in_transaction(conn).await?;
        let mut snapshot =
            conn.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // Postgres 14 and later extract a numeric, which is exact.
        let accounts = sqlx::query_as(
            "SELECT id, balance, (extract(epoch FROM last_payment_at) * 1000000)::bigint
                    AS last_payment_us
             FROM accounts ORDER BY id",
        );
        let accounts = accounts.fetch_all(&mut *snapshot).await.context("accounts")?;
        let payments = sqlx::query_as(
            "SELECT id::text, from_id, to_id, amount,
                    (extract(epoch FROM created_at) * 1000000)::bigint AS created_us,
                    from_balance_after, to_balance_after, idempotency_key AS key, note,
                    refund_of::text, refunded_after, payment_request_id::text
             FROM payments",
        );
        let payments = payments.fetch_all(&mut *snapshot).await.context("payments")?;
        let requests = sqlx::query_as(
            "SELECT id::text, from_id, to_id, amount, note, status,
                    (extract(epoch FROM created_at) * 1000000)::bigint AS created_us,
                    payment_id::text
             FROM payment_requests",
        );
        let requests = requests.fetch_all(&mut *snapshot).await.context("payment_requests")?;
        let keys = sqlx::query_as(
            "SELECT user_id AS payer, key, status, response::text, payment_id::text
             FROM idempotency_keys",
        );
        let keys = keys.fetch_all(&mut *snapshot).await.context("idempotency_keys")?;
        let openings_in_progress = sqlx::query_scalar(
            "SELECT key FROM account_idempotency_keys
             WHERE account_id IS NULL OR response IS NULL",
        );
        let openings_in_progress = openings_in_progress
            .fetch_all(&mut *snapshot)
            .await
            .context("account_idempotency_keys")?;
        snapshot.rollback().await?;
        Ok(Self { accounts, payments, requests, keys, openings_in_progress, idle_in_transaction })
    }
}

/// Sessions that are idle in the same transaction twice, with a pause between: a service at work is
/// idle in one between two statements, but not for long.
async fn left_idle_in_transaction(conn: &mut PgConnection) -> Result<Vec<String>> {
    let first = idle_in_transaction(conn).await?;
    if first.is_empty() {
        return Ok(first);
    }
    sqlx::query("SELECT pg_sleep($1)").bind(REST_SECONDS).execute(&mut *conn).await?;
    let mut again = idle_in_transaction(conn).await?;
    again.retain(|session| first.contains(session));
    Ok(again)
}

async fn idle_in_transaction(conn: &mut PgConnection) -> Result<Vec<String>> {
    let sessions = sqlx::query_scalar(
        "SELECT format('session %s (%s) since %s, last: %s', pid, application_name, xact_start,
                       left(query, 80))
         FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()
           AND state LIKE 'idle in transaction%'
         ORDER BY pid",
    );
    sessions.fetch_all(conn).await.context("pg_stat_activity")
}
