//! An account's past: up to when it is over, and what was then.

use sqlx::PgConnection;

use super::Error;
use super::payments::row_of;
use crate::domain::{AccountId, Balance, Cursor, Payment, Timestamp};

/// What is known of an account's past at a moment.
#[derive(Debug, Clone)]
pub struct Past {
    pub name: Option<String>,
    pub created_at: Timestamp,
    /// The database's clock.
    pub now: Timestamp,
    /// A transaction may be under way with a payment of an earlier time than now.
    pub is_moving: bool,
    last_payment_at: Option<Timestamp>,
}

impl Past {
    /// The end of what is over for certain: every payment of an earlier time is committed by now, and none will be
    /// made.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        let after_last = self.last_payment_at.map(Timestamp::next);
        if self.is_moving {
            after_last.unwrap_or(self.created_at)
        } else {
            after_last.map_or(self.now, |after_last| after_last.max(self.now))
        }
    }
}

/// Looks up to when an account's past is over; `None` where there is no such account. What is read of that past comes
/// from later statements: they see all that was committed until now.
///
/// A payment's time is later than the last one of its account, `accounts.last_payment_at`: up to that the past is over,
/// whatever any clock, process or pause does. After it the row's lock decides, because `clock_timestamp()` gives a payment its
/// time under that lock. A transaction that could still commit an earlier payment than `now()`, which is read before the
/// snapshot is taken, holds the lock since before, and stands in the `xmax` of the version that this statement sees. It
/// does not where that number is older than all transactions under way (none counts as infinitely old), was given after
/// this statement began, or is of a transaction that has ended: then all who lock the row later draw a later time. A
/// transaction has ended for `pg_xact_status` once its commit can be seen; however long it is paused, whatever time limits
/// its process has, and whether it took the lock in a part of its own (a savepoint).
///
/// `FOR UPDATE` shares a row with nobody: where several hold it, and `xmax` is their common number, no payment is among
/// them. A standby learns of locks too late, so there the last payment alone counts. A clock that is set back afterwards
/// makes payments in a time that was over, but none before the last one: no statement can know that.
///
/// # Errors
/// The database's.
pub async fn look(conn: &mut PgConnection, account: AccountId) -> Result<Option<Past>, Error> {
    let past = sqlx::query_as!(
        Past,
        r#"
        SELECT name, created_at AS "created_at: Timestamp", now() AS "now!: Timestamp",
               last_payment_at AS "last_payment_at: Timestamp",
               CASE WHEN pg_is_in_recovery() THEN true
                    WHEN age(xmax) > age(oldest::xid) OR age(xmax) <= 0 THEN false
                    ELSE pg_xact_status((oldest::text::bigint + age(oldest::xid) - age(xmax))::text::xid8)
                         = 'in progress'
               END AS "is_moving!"
        FROM accounts, (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS oldest) AS under_way
        WHERE id = $1
        "#,
        account.get()
    );
    Ok(past.fetch_optional(conn).await?)
}

/// An account's balance before a moment of its past.
///
/// # Errors
/// The database's.
pub async fn balance_before(
    conn: &mut PgConnection,
    account: AccountId,
    before: Timestamp,
) -> Result<Balance, Error> {
    let balance = sqlx::query_scalar!(
        r#"
        SELECT balance_after AS "balance_after!"
        FROM (
            (SELECT created_at, id, from_balance_after AS balance_after FROM payments
             WHERE from_id = $1 AND created_at < $2
             ORDER BY created_at DESC, id DESC LIMIT 1)
            UNION ALL
            (SELECT created_at, id, to_balance_after FROM payments
             WHERE to_id = $1 AND created_at < $2
             ORDER BY created_at DESC, id DESC LIMIT 1)
        ) AS last
        ORDER BY created_at DESC, id DESC LIMIT 1
        "#,
        account.get(),
        before as _
    );
    Ok(balance.fetch_optional(conn).await?.map(Balance::from_cents).unwrap_or_default())
}

/// A payment, and the name of the other account.
#[derive(Debug, Clone)]
pub struct PastPayment {
    pub payment: Payment,
    pub other_name: Option<String>,
}

/// Up to `limit` of an account's payments after a place in its past and before a moment of it, oldest first.
///
/// # Errors
/// The database's.
pub async fn payments(
    conn: &mut PgConnection,
    account: AccountId,
    after: Cursor,
    before: Timestamp,
    limit: u16,
) -> Result<Vec<PastPayment>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT p.id AS "id!", p.from_id AS "from_id!", p.to_id AS "to_id!", p.amount AS "amount!",
               p.created_at AS "created_at!: Timestamp",
               p.from_balance_after AS "from_balance_after!",
               p.to_balance_after AS "to_balance_after!",
               p.requested_at AS "requested_at: Timestamp",
               p.idempotency_key AS "idempotency_key!", p.note, p.refund_of, p.refunded_after,
               p.payment_request_id, p.asked_by,
               (SELECT name FROM accounts WHERE id = p.from_id + p.to_id - $1) AS other_name
        FROM (
            (SELECT * FROM payments
             WHERE from_id = $1 AND (created_at, id) > ($2, $3) AND created_at < $4
             ORDER BY created_at, id LIMIT $5)
            UNION ALL
            (SELECT * FROM payments
             WHERE to_id = $1 AND (created_at, id) > ($2, $3) AND created_at < $4
             ORDER BY created_at, id LIMIT $5)
            ORDER BY created_at, id LIMIT $5
        ) AS p
        ORDER BY p.created_at, p.id
        "#,
        account.get(),
        after.last_seen_timestamp as _,
        after.last_seen_id.unwrap_or_default(),
        before as _,
        i64::from(limit)
    )
    .fetch_all(conn)
    .await?;
    let payments = rows.into_iter().filter_map(|row| {
        Some(PastPayment { payment: row_of!(row).payment()?, other_name: row.other_name })
    });
    Ok(payments.collect())
}
