//! The statements of a batch.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use super::Error;
use crate::domain::ledger::{Decision, Known, Standing};
use crate::domain::{
    AccountId, Amount, Balance, Fingerprint, Intent, Payment, PaymentId, Timestamp,
};

/// Whether to wait for rows that somebody else holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// Up to the session's `lock_timeout`.
    Wait,
    /// `SKIP LOCKED`: take what is free.
    Skip,
}

/// Locks the accounts' rows, in id order, and returns those that it got.
///
/// The order is what prevents deadlocks: every transaction that locks more than one account does
/// it here, for its whole batch at once. (`FOR UPDATE` locks in the order of `ORDER BY`: Postgres
/// manual, SELECT, "The Locking Clause".)
pub async fn lock_accounts(
    conn: &mut PgConnection,
    ids: &BTreeSet<AccountId>,
    locking: Locking,
) -> Result<BTreeMap<AccountId, Standing>, Error> {
    struct Row {
        id: i64,
        balance: i64,
        last_payment_at: Option<OffsetDateTime>,
    }
    let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
    let rows = match locking {
        Locking::Wait => {
            sqlx::query_as!(
                Row,
                "SELECT id, balance, last_payment_at
                 FROM accounts WHERE id = ANY($1) ORDER BY id FOR UPDATE",
                &ids
            )
            .fetch_all(conn)
            .await?
        }
        Locking::Skip => {
            sqlx::query_as!(
                Row,
                "SELECT id, balance, last_payment_at
                 FROM accounts WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED",
                &ids
            )
            .fetch_all(conn)
            .await?
        }
    };
    let standings = rows.into_iter().map(|row| {
        let standing = Standing {
            balance: Balance::from_cents(row.balance),
            last_payment_at: row.last_payment_at.map(Timestamp::from),
        };
        (AccountId::trusted(row.id), standing)
    });
    Ok(standings.collect())
}

/// Which of the accounts exist, locked by anybody or not.
pub async fn existing_accounts(
    conn: &mut PgConnection,
    ids: &BTreeSet<AccountId>,
) -> Result<BTreeSet<AccountId>, Error> {
    let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
    let found = sqlx::query_scalar!("SELECT id FROM accounts WHERE id = ANY($1)", &ids);
    Ok(found.fetch_all(conn).await?.into_iter().map(AccountId::trusted).collect())
}

/// What is known under the intents' keys, and the database's clock.
///
/// To be called when the payers' rows are locked, which makes the answer final: the payer's row is
/// the mutex of the payer's keys. A key whose row was removed from `idempotency_keys` is known by
/// its payment.
pub async fn read_keys(
    conn: &mut PgConnection,
    intents: &[&Intent],
) -> Result<(Timestamp, HashMap<PaymentId, Known>), Error> {
    let mut payers = Vec::with_capacity(intents.len());
    let mut keys = Vec::with_capacity(intents.len());
    let mut ids = Vec::with_capacity(intents.len());
    for intent in intents {
        payers.push(intent.from().get());
        keys.push(intent.key().as_str().to_owned());
        ids.push(intent.id().uuid());
    }
    let rows = sqlx::query!(
        r#"
        SELECT clock.now AS "now!", hit.n AS "n?", hit.status AS "status?",
               hit.fingerprint AS "fingerprint?", hit.response AS "response?",
               hit.to_id AS "to_id?", hit.amount AS "amount?", hit.note AS "note?",
               hit.created_at AS "created_at?", hit.requested_at AS "requested_at?",
               hit.from_balance_after AS "from_balance_after?",
               hit.to_balance_after AS "to_balance_after?"
        FROM (SELECT clock_timestamp() AS now) AS clock
        LEFT JOIN (
            SELECT asked.n, k.status, k.fingerprint, k.response::text AS response,
                   p.to_id, p.amount, p.note, p.created_at, p.requested_at,
                   p.from_balance_after, p.to_balance_after
            FROM unnest($1::bigint[], $2::text[], $3::uuid[])
                 WITH ORDINALITY AS asked (payer, key, payment_id, n)
            LEFT JOIN idempotency_keys k ON k.user_id = asked.payer AND k.key = asked.key
            LEFT JOIN payments p ON p.id = asked.payment_id
            WHERE k.status IS NOT NULL OR p.id IS NOT NULL
        ) AS hit ON true
        "#,
        &payers,
        &keys,
        &ids
    )
    .fetch_all(conn)
    .await?;

    let mut now = Timestamp::from(OffsetDateTime::UNIX_EPOCH);
    let mut known = HashMap::new();
    for row in rows {
        now = now.max(row.now.into());
        let position = row.n.and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_sub(1));
        let Some(intent) = position.and_then(|position| intents.get(position)) else {
            continue;
        };
        let posted = match (
            row.to_id,
            row.amount,
            row.created_at,
            row.from_balance_after,
            row.to_balance_after,
        ) {
            (Some(to), Some(amount), Some(created_at), Some(from_after), Some(to_after)) => {
                Amount::from_cents(amount).ok().map(|amount| Payment {
                    id: intent.id(),
                    from: intent.from(),
                    to: AccountId::trusted(to),
                    amount,
                    note: row.note,
                    key: intent.key().clone(),
                    created_at: created_at.into(),
                    requested_at: row.requested_at.map(Timestamp::from),
                    from_balance_after: Balance::from_cents(from_after),
                    to_balance_after: Balance::from_cents(to_after),
                })
            }
            _ => None,
        };
        let fingerprint = Fingerprint::trusted(row.fingerprint.as_deref().unwrap_or_default());
        let what = match (row.status.as_deref(), row.response, posted) {
            (Some("success"), Some(response), _) => Known::Success { fingerprint, response },
            (_, _, Some(payment)) => {
                Known::Success { fingerprint: payment.fingerprint(), response: payment.receipt() }
            }
            (Some("failed"), ..) => Known::Failed { fingerprint },
            _ => Known::InProgress,
        };
        known.insert(intent.id(), what);
    }
    Ok((now, known))
}

/// Writes everything that a batch changes, in one statement.
///
/// # Errors
/// [`Error::ChangedMeanwhile`] where a key or a payment was there already, which the locks rule
/// out as long as every writer takes them: the transaction is to be rolled back and the batch
/// read again.
pub async fn write(conn: &mut PgConnection, decision: &Decision) -> Result<(), Error> {
    let accounts = AccountColumns::of(decision);
    let payments = PaymentColumns::of(decision);
    let claims = ClaimColumns::of(decision);
    let written = sqlx::query!(
        r#"
        WITH updated AS (
            UPDATE accounts
            SET balance = new.balance, last_payment_at = new.last_payment_at
            FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[])
                 AS new (id, balance, last_payment_at)
            WHERE accounts.id = new.id
            RETURNING 1
        ), inserted AS (
            INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                                  to_balance_after, requested_at, idempotency_key, note)
            SELECT * FROM unnest($4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[],
                                 $8::timestamptz[], $9::bigint[], $10::bigint[],
                                 $11::timestamptz[], $12::text[], $13::text[])
            ON CONFLICT (id) DO NOTHING
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
        &payments.created_at,
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
    .await?;
    let as_decided = [
        (written.updated, decision.standings.len()),
        (written.inserted, decision.payments.len()),
        (written.claimed, decision.claims.len()),
    ];
    if as_decided.into_iter().all(|(count, wanted)| usize::try_from(count) == Ok(wanted)) {
        Ok(())
    } else {
        Err(Error::ChangedMeanwhile)
    }
}

#[derive(Default)]
struct AccountColumns {
    ids: Vec<i64>,
    balances: Vec<i64>,
    last_payment_at: Vec<Option<OffsetDateTime>>,
}

impl AccountColumns {
    fn of(decision: &Decision) -> Self {
        let mut columns = Self::default();
        for (id, standing) in &decision.standings {
            columns.ids.push(id.get());
            columns.balances.push(standing.balance.cents());
            columns.last_payment_at.push(standing.last_payment_at.map(OffsetDateTime::from));
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
    created_at: Vec<OffsetDateTime>,
    from_balances: Vec<i64>,
    to_balances: Vec<i64>,
    requested_at: Vec<Option<OffsetDateTime>>,
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
            columns.created_at.push(payment.created_at.into());
            columns.from_balances.push(payment.from_balance_after.cents());
            columns.to_balances.push(payment.to_balance_after.cents());
            columns.requested_at.push(payment.requested_at.map(OffsetDateTime::from));
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
