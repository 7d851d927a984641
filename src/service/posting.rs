//! One payment in a transaction that is about more: an opening's, or a fault's of the playground.

use std::collections::BTreeSet;

use crate::db::posting::{self, Locking};
use crate::db::{Error, PgConnection};
use crate::domain::Intent;
use crate::domain::ledger::{self, Decision};

/// Posts one intent by the steps of a batch: lock, read, decide, write. The caller ends the transaction.
///
/// # Errors
/// The database's.
pub async fn post_one(conn: &mut PgConnection, intent: &Intent) -> Result<Decision, Error> {
    let ids = BTreeSet::from(intent.accounts());
    let accounts = posting::lock_accounts(conn, &ids, Locking::Wait).await?;
    let (now, known) = posting::read_keys(conn, &[intent]).await?;
    let decision = ledger::decide(now, &accounts, &known, [intent]);
    if !decision.changes_nothing() {
        posting::write(conn, &decision).await?;
    }
    Ok(decision)
}
