//! The statements of a batch.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::{Error, Purpose, payments};
use crate::domain::ledger::{AccountState, Decision, Known};
use crate::domain::{AccountId, Balance, Fingerprint, Intent, PaymentId, Timestamp};

/// Whether to wait for rows that somebody else holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// Up to the session's `lock_timeout`.
    Wait,
    /// Up to the session's `lock_timeout` for one of them, while nothing else is held; then take
    /// what is free.
    WaitFor(AccountId),
    /// `SKIP LOCKED`: take what is free.
    Skip,
}

/// Locks the accounts' rows, in id order, and returns those that it got.
///
/// The order is what prevents deadlocks: every transaction that locks more than one account does
/// it here, for its whole batch at once. (`FOR UPDATE` locks in the order of `ORDER BY`: Postgres
/// manual, SELECT, "The Locking Clause".) `SKIP LOCKED` waits for nothing, so its order is free.
pub async fn lock_accounts(
    conn: &mut PgConnection,
    ids: &BTreeSet<AccountId>,
    locking: Locking,
) -> Result<BTreeMap<AccountId, AccountState>, Error> {
    struct Row {
        id: i64,
        balance: i64,
        last_payment_at: Option<Timestamp>,
    }
    if let Locking::WaitFor(id) = locking {
        let wait = sqlx::query!("SELECT FROM accounts WHERE id = $1 FOR UPDATE", id.get());
        wait.execute(&mut *conn).await?;
    }
    let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
    let rows = match locking {
        Locking::Wait => {
            sqlx::query_as!(
                Row,
                r#"SELECT id, balance, last_payment_at AS "last_payment_at: Timestamp"
                   FROM accounts WHERE id = ANY($1) ORDER BY id FOR UPDATE"#,
                &ids
            )
            .fetch_all(conn)
            .await?
        }
        Locking::WaitFor(_) | Locking::Skip => {
            sqlx::query_as!(
                Row,
                r#"SELECT id, balance, last_payment_at AS "last_payment_at: Timestamp"
                   FROM accounts WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED"#,
                &ids
            )
            .fetch_all(conn)
            .await?
        }
    };
    let state = |row: Row| {
        let Row { id, balance, last_payment_at } = row;
        let balance = Balance::from_cents(balance);
        (AccountId::trusted(id), AccountState { balance, last_payment_at })
    };
    Ok(rows.into_iter().map(state).collect())
}

/// Takes the locks on tables that writing takes. While they are held nobody can have taken a stronger
/// one, so that a later wait is not for a table.
pub async fn lock_tables(conn: &mut PgConnection) -> Result<(), Error> {
    let lock =
        sqlx::query!("LOCK TABLE accounts, payments, idempotency_keys IN ROW EXCLUSIVE MODE");
    lock.execute(conn).await?;
    Ok(())
}

/// The holder of a lock on an account that we could not lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A writer of payonce, of this process or another, for the rest of its transaction; or nobody any
    /// more.
    Writer,
    /// Somebody else, or a writer that does not go on.
    Stranger,
}

/// Finds the holders of accounts; those that do not exist are left out.
///
/// The row's `xmax` is the transaction that locked it, and `pg_locks` has the session of each
/// transaction that is under way (Postgres manual, `pg_locks`). A writer that has neither begun nor ended
/// a statement for a second hangs. Rows that several sessions share (`FOR SHARE`) have no such
/// transaction, and pass for a writer's.
pub async fn holders(
    conn: &mut PgConnection,
    ids: &BTreeSet<AccountId>,
) -> Result<BTreeMap<AccountId, Holder>, Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
    let rows = sqlx::query!(
        r#"
        WITH strangers AS MATERIALIZED (
            SELECT held.transactionid
            FROM pg_locks AS held
            LEFT JOIN LATERAL pg_stat_get_activity(held.pid) AS holder ON true
            WHERE held.locktype = 'transactionid' AND held.mode = 'ExclusiveLock' AND held.granted
              AND (holder.application_name = $2
                   AND holder.state_change > clock_timestamp() - interval '1 second') IS NOT TRUE
        )
        SELECT id, EXISTS (SELECT FROM strangers WHERE transactionid = account.xmax) AS "stranger!"
        FROM accounts AS account WHERE id = ANY($1)
        "#,
        &ids,
        Purpose::WRITER_NAME
    );
    let rows = rows.fetch_all(conn).await?;
    let holder = |stranger| if stranger { Holder::Stranger } else { Holder::Writer };
    Ok(rows.into_iter().map(|row| (AccountId::trusted(row.id), holder(row.stranger))).collect())
}

/// The database's clock, and everything that is known under the intents' keys.
///
/// To be called when the payers' rows are locked, which makes the answer final: the payer's row is
/// the mutex of the payer's keys.
///
/// The lateral subquery is planned by itself, so that it can use nothing but its index. As a plain
/// join it was planned, on a table that was vacuumed while empty, as a scan of the whole index for
/// each key.
pub async fn read_keys(
    conn: &mut PgConnection,
    intents: &[&Intent],
) -> Result<(Timestamp, HashMap<PaymentId, Known>), Error> {
    let mut payers = Vec::with_capacity(intents.len());
    let mut keys = Vec::with_capacity(intents.len());
    for intent in intents {
        payers.push(intent.from().get());
        keys.push(intent.key().as_str().to_owned());
    }
    let rows = sqlx::query!(
        r#"
        SELECT clock.now AS "now!: Timestamp", hit.n AS "n?", hit.status AS "status?",
               hit.fingerprint AS "fingerprint?", hit.response AS "response?"
        FROM (SELECT clock_timestamp() AS now) AS clock
        LEFT JOIN (
            SELECT asked.n, used.status, used.fingerprint, used.response
            FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS asked (payer, key, n),
                 LATERAL (
                     SELECT status, fingerprint, response::text
                     FROM idempotency_keys AS used
                     WHERE used.user_id = asked.payer AND used.key = asked.key
                     LIMIT 1
                 ) AS used
        ) AS hit ON true
        "#,
        &payers,
        &keys
    )
    .fetch_all(conn)
    .await?;

    let mut now = Timestamp::default();
    let mut known = HashMap::new();
    for row in rows {
        now = now.max(row.now);
        let position = row.n.and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_sub(1));
        let Some(intent) = position.and_then(|position| intents.get(position)) else {
            continue;
        };
        let fingerprint = row.fingerprint.as_deref().map(Fingerprint::trusted);
        let what = match (row.status.as_deref(), fingerprint, row.response) {
            (Some("success"), Some(fingerprint), Some(response)) => {
                Known::Success { fingerprint, response }
            }
            (Some("failed"), Some(fingerprint), _) => Known::Failed { fingerprint },
            _ => Known::InProgress { fingerprint },
        };
        known.insert(intent.id(), what);
    }
    Ok((now, known))
}

/// The intents that are payments already: what is known of keys whose rows were removed from
/// `idempotency_keys`.
pub async fn read_payments(
    conn: &mut PgConnection,
    intents: &[&Intent],
) -> Result<HashMap<PaymentId, Known>, Error> {
    let payments = payments::read(conn, intents.iter().map(|intent| intent.id())).await?;
    let known = payments.into_iter().map(|payment| {
        let (fingerprint, response) = (payment.fingerprint(), payment.receipt());
        (payment.id, Known::Success { fingerprint, response })
    });
    Ok(known.collect())
}

/// Writes everything that a batch changes, in one statement.
///
/// The accounts are there, locked: each of them is updated. It is written as an upsert because
/// that goes through the primary key by its nature. An `UPDATE ... FROM unnest(...)` takes 0.4 us less for
/// each account, but it is a join: planned on an empty table it scans the whole index, and stays so.
///
/// # Errors
/// [`Error::KnownAlready`] where a payment was there although its key was not: the transaction is
/// to be rolled back, and the payments read before it is tried again. [`Error::Swallowed`] where a
/// row is missing afterwards.
pub async fn write(conn: &mut PgConnection, decision: &Decision) -> Result<(), Error> {
    let accounts = AccountColumns::of(decision);
    let payments = PaymentColumns::of(decision);
    let claims = ClaimColumns::of(decision);
    let written = sqlx::query!(
        r#"
        WITH updated AS (
            INSERT INTO accounts AS account (id, balance, last_payment_at)
            SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[])
            ON CONFLICT (id) DO UPDATE
            SET balance = excluded.balance, last_payment_at = excluded.last_payment_at
            RETURNING 1
        ), inserted AS (
            INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                                  to_balance_after, requested_at, idempotency_key, note)
            SELECT * FROM unnest($4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[],
                                 $8::timestamptz[], $9::bigint[], $10::bigint[],
                                 $11::timestamptz[], $12::text[], $13::text[])
            RETURNING 1
        ), claimed AS (
            INSERT INTO idempotency_keys (user_id, key, status, fingerprint, response)
            SELECT user_id, key, status, fingerprint, response::json
            FROM unnest($14::bigint[], $15::text[], $16::text[], $17::bytea[], $18::text[])
                 AS new (user_id, key, status, fingerprint, response)
            ON CONFLICT (user_id, key) DO UPDATE
            SET status = excluded.status, fingerprint = excluded.fingerprint,
                response = excluded.response, created_at = excluded.created_at
            WHERE idempotency_keys.status = 'failed'
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM updated) AS "updated!",
               (SELECT count(*) FROM inserted) AS "inserted!",
               (SELECT count(*) FROM claimed) AS "claimed!"
        "#,
        &accounts.ids,
        &accounts.balances,
        &accounts.last_payment_at as _,
        &payments.ids,
        &payments.from,
        &payments.to,
        &payments.amounts,
        &payments.created_at as _,
        &payments.from_balances,
        &payments.to_balances,
        &payments.requested_at as _,
        &payments.keys as _,
        &payments.notes as _,
        &claims.payers,
        &claims.keys as _,
        &claims.statuses as _,
        &claims.fingerprints as _,
        &claims.responses as _,
    )
    .fetch_one(conn)
    .await
    .map_err(known_already)?;
    all_written("accounts", written.updated, decision.changed.len())?;
    all_written("payments", written.inserted, decision.payments.len())?;
    // A key that is not ours to write was written by somebody else meanwhile.
    all_written("idempotency_keys", written.claimed, decision.claims.len())
        .map_err(|_| Error::KnownAlready)
}

fn all_written(table: &'static str, written: i64, given: usize) -> Result<(), Error> {
    if usize::try_from(written) == Ok(given) {
        Ok(())
    } else {
        Err(Error::Swallowed { table, given, written })
    }
}

/// A payment's id is derived from payer and key, so a second one is refused by the primary key.
/// (`ON CONFLICT DO NOTHING` would say the same without an error, but it looks each id up once more
/// and logs each row twice: measured, that is 5 to 8 % of a batch, for what hardly ever happens.)
fn known_already(error: sqlx::Error) -> Error {
    match error.as_database_error() {
        Some(refusal) if refusal.constraint() == Some("payments_pkey") => Error::KnownAlready,
        _ => error.into(),
    }
}

#[derive(Default)]
struct AccountColumns {
    ids: Vec<i64>,
    balances: Vec<i64>,
    last_payment_at: Vec<Option<Timestamp>>,
}

impl AccountColumns {
    fn of(decision: &Decision) -> Self {
        let mut columns = Self::default();
        for (id, state) in &decision.changed {
            columns.ids.push(id.get());
            columns.balances.push(state.balance.cents());
            columns.last_payment_at.push(state.last_payment_at);
        }
        columns
    }
}

#[derive(Default)]
struct PaymentColumns<'a> {
    ids: Vec<Uuid>,
    from: Vec<i64>,
    to: Vec<i64>,
    amounts: Vec<i64>,
    created_at: Vec<Timestamp>,
    from_balances: Vec<i64>,
    to_balances: Vec<i64>,
    requested_at: Vec<Option<Timestamp>>,
    keys: Vec<&'a str>,
    notes: Vec<Option<&'a str>>,
}

impl<'a> PaymentColumns<'a> {
    fn of(decision: &'a Decision) -> Self {
        let mut columns = Self::default();
        for payment in &decision.payments {
            columns.ids.push(payment.id.uuid());
            columns.from.push(payment.from.get());
            columns.to.push(payment.to.get());
            columns.amounts.push(payment.amount.cents());
            columns.created_at.push(payment.created_at);
            columns.from_balances.push(payment.from_balance_after.cents());
            columns.to_balances.push(payment.to_balance_after.cents());
            columns.requested_at.push(payment.requested_at);
            columns.keys.push(payment.key.as_str());
            columns.notes.push(payment.note.as_deref());
        }
        columns
    }
}

/// The brief stores the response of a failure as well; it is information, never replayed.
const FAILED_RESPONSE: &str = r#"{"code":"insufficient_funds"}"#;

#[derive(Default)]
struct ClaimColumns<'a> {
    payers: Vec<i64>,
    keys: Vec<&'a str>,
    statuses: Vec<&'static str>,
    fingerprints: Vec<&'a [u8]>,
    responses: Vec<&'a str>,
}

impl<'a> ClaimColumns<'a> {
    fn of(decision: &'a Decision) -> Self {
        let mut columns = Self::default();
        for claim in &decision.claims {
            columns.payers.push(claim.payer.get());
            columns.keys.push(claim.key.as_str());
            columns.statuses.push(if claim.response.is_some() { "success" } else { "failed" });
            columns.fingerprints.push(claim.fingerprint.bytes());
            columns.responses.push(claim.response.as_deref().unwrap_or(FAILED_RESPONSE));
        }
        columns
    }
}
