//! Requests for money, in a batch: they are read when the accounts are locked, and written before the keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::columns::all_written;
use crate::db::Error;
use crate::db::payment_requests::{Row, state_columns};
use crate::domain::ledger::Decision;
use crate::domain::{AccountId, PaymentRequest, PaymentRequestId, RequestState, Timestamp};

/// As [`super::lock_tables`], for a batch that is about requests.
///
/// # Errors
/// The database's.
pub async fn lock_table_of_requests(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!("LOCK TABLE payment_requests IN ROW EXCLUSIVE MODE").execute(conn).await?;
    Ok(())
}

/// Those of the requests that exist.
///
/// # Errors
/// The database's.
pub async fn read_requests(
    conn: &mut PgConnection,
    ids: &BTreeSet<PaymentRequestId>,
) -> Result<HashMap<PaymentRequestId, PaymentRequest>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id, from_id, to_id, amount, note, status, created_at AS "created_at: Timestamp",
                  expires_at AS "expires_at: Timestamp", payment_id
           FROM payment_requests WHERE id = ANY($1) ORDER BY id"#,
        &ids
    );
    let requests = rows.fetch_all(conn).await?.into_iter().filter_map(Row::request);
    Ok(requests.map(|request| (request.id, request)).collect())
}

/// The time of the newest request that each account has made or was sent.
///
/// # Errors
/// The database's.
pub async fn last_request_at(
    conn: &mut PgConnection,
    accounts: &BTreeSet<AccountId>,
) -> Result<BTreeMap<AccountId, Timestamp>, Error> {
    let accounts: Vec<i64> = accounts.iter().map(|id| id.get()).collect();
    let rows = sqlx::query!(
        r#"
        SELECT asked.id AS "id!", newest.created_at AS "created_at!: Timestamp"
        FROM unnest($1::bigint[]) AS asked (id),
             LATERAL (
                 (SELECT created_at FROM payment_requests WHERE from_id = asked.id
                  ORDER BY created_at DESC, id DESC LIMIT 1)
                 UNION ALL
                 (SELECT created_at FROM payment_requests WHERE to_id = asked.id
                  ORDER BY created_at DESC, id DESC LIMIT 1)
                 ORDER BY created_at DESC LIMIT 1
             ) AS newest
        "#,
        &accounts
    );
    let rows = rows.fetch_all(conn).await?.into_iter();
    Ok(rows.map(|row| (AccountId::trusted(row.id), row.created_at)).collect())
}

/// Writes the requests that a batch makes, and what becomes of others.
pub(super) async fn write(conn: &mut PgConnection, decision: &Decision) -> Result<(), Error> {
    if !decision.requests.is_empty() {
        insert(&mut *conn, &decision.requests).await?;
    }
    if !decision.request_states.is_empty() {
        update(conn, &decision.request_states).await?;
    }
    Ok(())
}

async fn insert(conn: &mut PgConnection, requests: &[PaymentRequest]) -> Result<(), Error> {
    let (mut ids, mut from, mut to, mut amounts) = (vec![], vec![], vec![], vec![]);
    let (mut notes, mut created_at, mut expires_at) = (vec![], vec![], vec![]);
    for request in requests {
        ids.push(request.id.uuid());
        from.push(request.from.get());
        to.push(request.to.get());
        amounts.push(request.amount.cents());
        notes.push(request.note.as_deref());
        created_at.push(request.created_at);
        expires_at.push(request.expires_at);
    }
    let insert = sqlx::query!(
        "INSERT INTO payment_requests (id, from_id, to_id, amount, note, created_at, expires_at,
                                       status)
         SELECT new.*, 'open'
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[],
                     $6::timestamptz[], $7::timestamptz[]) AS new",
        &ids,
        &from,
        &to,
        &amounts,
        &notes as _,
        &created_at as _,
        &expires_at as _,
    );
    let written = insert.execute(conn).await?.rows_affected();
    all_written("payment_requests", written, requests.len())
}

/// Only an open request changes. One that somebody else has ended meanwhile makes the batch start again.
async fn update(
    conn: &mut PgConnection,
    states: &BTreeMap<PaymentRequestId, RequestState>,
) -> Result<(), Error> {
    let (mut ids, mut statuses, mut payments) = (vec![], vec![], vec![]);
    for (id, state) in states {
        let (word, payment) = state_columns(*state);
        ids.push(id.uuid());
        statuses.push(word);
        payments.push(payment);
    }
    let update = sqlx::query!(
        "UPDATE payment_requests
         SET status = ($2::text[])[array_position($1::uuid[], id)],
             payment_id = ($3::uuid[])[array_position($1::uuid[], id)]
         WHERE id = ANY ($1) AND status = 'open'",
        &ids,
        &statuses as _,
        &payments as _,
    );
    let written = update.execute(conn).await?.rows_affected();
    all_written("payment_requests", written, states.len()).map_err(|_| Error::KnownAlready)
}
