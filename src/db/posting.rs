//! The statements of a batch. Those that only some instructions need are in the modules below.

mod columns;
mod particulars;
mod requests;
mod statuses;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::PgConnection;
use sqlx::types::Uuid;

use self::columns::{AccountColumns, ClaimColumns, PaymentColumns, all_written, known_already};
use super::accounts::status;
use super::{Error, Purpose, payments};
use crate::domain::ledger::{AccountState, Claim, Decision, Known};
use crate::domain::{
    AccountId, Balance, Fingerprint, IdempotencyKey, Instruction, Payment, PaymentId, Timestamp,
};
pub use particulars::{read_refundable, read_similar};
pub use requests::{last_request_at, lock_table_of_requests, read_requests};

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
        status: Option<String>,
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
                r#"SELECT id, balance, last_payment_at AS "last_payment_at: Timestamp", status
                   FROM accounts WHERE id = ANY($1) ORDER BY id FOR UPDATE"#,
                &ids
            )
            .fetch_all(conn)
            .await?
        }
        Locking::WaitFor(_) | Locking::Skip => {
            sqlx::query_as!(
                Row,
                r#"SELECT id, balance, last_payment_at AS "last_payment_at: Timestamp", status
                   FROM accounts WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED"#,
                &ids
            )
            .fetch_all(conn)
            .await?
        }
    };
    let state = |row: Row| {
        let Row { id, balance, last_payment_at, .. } = row;
        let (balance, status) = (Balance::from_cents(balance), status(row.status.as_deref()));
        (AccountId::trusted(id), AccountState { balance, last_payment_at, status })
    };
    Ok(rows.into_iter().map(state).collect())
}

/// Takes the locks on tables that writing takes. While they are held nobody can have taken a stronger
/// one, so that a later wait is not for a table.
pub async fn lock_tables(conn: &mut PgConnection) -> Result<(), Error> {
    let lock = sqlx::query!(
        "LOCK TABLE accounts, payments, payment_batches, idempotency_keys IN ROW EXCLUSIVE MODE"
    );
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

/// A key that a batch is about: the payment that it could make, its payer, and the key itself.
type AskedKey<'a> = (PaymentId, AccountId, &'a IdempotencyKey);

/// The database's clock, and everything that is known under the keys of the instructions.
///
/// To be called when the payers' rows are locked, which makes the answer final: the payer's row is
/// the mutex of the payer's keys.
///
/// The lateral subquery is planned by itself, so that it can use nothing but its index. As a plain
/// join it was planned, on a table that was vacuumed while empty, as a scan of the whole index for
/// each key.
pub async fn read_keys(
    conn: &mut PgConnection,
    instructions: &[&Instruction],
) -> Result<(Timestamp, HashMap<PaymentId, Known>), Error> {
    let asked = keys_of(instructions);
    let mut payers = Vec::with_capacity(asked.len());
    let mut keys = Vec::with_capacity(asked.len());
    for (_, payer, key) in &asked {
        payers.push(payer.get());
        keys.push(key.as_str());
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
        &keys as _
    )
    .fetch_all(conn)
    .await?;

    let mut now = Timestamp::default();
    let mut known = HashMap::new();
    for row in rows {
        now = now.max(row.now);
        let position = row.n.and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_sub(1));
        let Some((id, ..)) = position.and_then(|position| asked.get(position)) else {
            continue;
        };
        let fingerprint = row.fingerprint.as_deref().map(Fingerprint::trusted);
        let what = match (row.status.as_deref(), fingerprint, row.response) {
            (Some("success"), Some(fingerprint), Some(response)) => {
                Known::Success { fingerprint, response }
            }
            (Some("failed"), Some(fingerprint), _) => Known::Failed { fingerprint },
            (Some("voided"), ..) => Known::Voided,
            _ => Known::InProgress { fingerprint },
        };
        known.insert(*id, what);
    }
    Ok((now, known))
}

fn keys_of<'a>(instructions: &[&'a Instruction]) -> Vec<AskedKey<'a>> {
    let mut keys = Vec::with_capacity(instructions.len());
    for instruction in instructions {
        match instruction {
            Instruction::Pay(intent) => {
                keys.push((intent.id(), intent.from(), intent.key()));
                if let Some(key) = intent.client_key() {
                    keys.push((PaymentId::derive(intent.from(), key), intent.from(), key));
                }
            }
            Instruction::Void(void) => keys.push((void.id(), void.from(), void.key())),
            Instruction::Ask(_) | Instruction::Close(_) | Instruction::SetStatus(_) => {}
        }
    }
    keys
}

/// Those of the payments that were made already: what is known of keys whose rows were removed from
/// `idempotency_keys`.
pub async fn read_payments(
    conn: &mut PgConnection,
    ids: impl IntoIterator<Item = PaymentId>,
) -> Result<HashMap<PaymentId, Known>, Error> {
    let payments = payments::read(conn, ids).await?;
    let known = payments.into_iter().map(|payment| {
        let (fingerprint, response) = (payment.fingerprint(), payment.receipt());
        (payment.id, Known::Success { fingerprint, response })
    });
    Ok(known.collect())
}

/// Writes everything that a batch changes: balances, payments, their row for the feed and keys in one statement, and
/// before and after it what only some batches have.
///
/// # Errors
/// [`Error::KnownAlready`] where a payment was there although its key was not: the transaction is
/// to be rolled back, and the payments read before it is tried again. [`Error::Swallowed`] where a
/// row is missing afterwards.
pub async fn write(conn: &mut PgConnection, decision: &Decision) -> Result<(), Error> {
    requests::write(conn, decision).await?;
    let (payments, particular_payments) =
        decision.payments.iter().partition::<Vec<_>, _>(|payment| payment.is_plain());
    let (claims, particular_claims) =
        decision.claims.iter().partition::<Vec<_>, _>(|claim| claim.is_plain());
    // Payments of both kinds, in the order in which they were made.
    let batch: Vec<Uuid> = decision.payments.iter().map(|payment| payment.id.uuid()).collect();
    let batch_id = if decision.changed.is_empty() && claims.is_empty() {
        None
    } else {
        write_plain(conn, &decision.changed, &batch, &payments, &claims).await?
    };
    particulars::write(conn, batch_id, &particular_payments, &particular_claims).await?;
    if !decision.statuses.is_empty() {
        statuses::write(conn, &decision.statuses).await?;
    }
    Ok(())
}

/// Writes balances, the batch's row for the feed, payments and keys, in one statement. Returns the batch's id, where
/// it has payments.
///
/// The accounts are there, locked: each of them is updated. It is written as an upsert because
/// that goes through the primary key by its nature. An `UPDATE ... FROM unnest(...)` takes 0.4 us less for
/// each account, but it is a join: planned on an empty table it scans the whole index, and stays so.
async fn write_plain(
    conn: &mut PgConnection,
    changed: &BTreeMap<AccountId, AccountState>,
    batch: &[Uuid],
    payments: &[&Payment],
    claims: &[&Claim],
) -> Result<Option<i64>, Error> {
    let accounts = AccountColumns::of(changed);
    let payments = PaymentColumns::of(payments);
    let claims = ClaimColumns::of(claims);
    let written = sqlx::query!(
        r#"
        WITH updated AS (
            INSERT INTO accounts AS account (id, balance, last_payment_at)
            SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[])
            ON CONFLICT (id) DO UPDATE
            SET balance = excluded.balance, last_payment_at = excluded.last_payment_at
            RETURNING 1
        ), batch AS (
            INSERT INTO payment_batches (payment_ids)
            SELECT $19::uuid[] WHERE cardinality($19::uuid[]) > 0
            RETURNING id
        ), inserted AS (
            INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                                  to_balance_after, requested_at, idempotency_key, note, batch_id)
            SELECT made.*, (SELECT id FROM batch)
            FROM unnest($4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[],
                        $8::timestamptz[], $9::bigint[], $10::bigint[],
                        $11::timestamptz[], $12::text[], $13::text[]) AS made
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
               (SELECT id FROM batch) AS "batch?",
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
        batch,
    )
    .fetch_one(conn)
    .await
    .map_err(known_already)?;
    let counted = |rows| u64::try_from(rows).unwrap_or_default();
    all_written("accounts", counted(written.updated), accounts.ids.len())?;
    let batches = usize::from(!batch.is_empty());
    all_written("payment_batches", written.batch.map_or(0, |_| 1), batches)?;
    all_written("payments", counted(written.inserted), payments.ids.len())?;
    // A key that is not ours to write was written by somebody else meanwhile.
    all_written("idempotency_keys", counted(written.claimed), claims.keys.len())
        .map_err(|_| Error::KnownAlready)?;
    Ok(written.batch)
}
