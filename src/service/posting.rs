//! One payment in a transaction that is about more: an opening's, or a fault's of the playground.

use std::collections::BTreeSet;

use super::findings;
use super::retry::Stage;
use crate::db::posting::{self, Locking};
use crate::db::{Error, PgConnection};
use crate::domain::ledger::{self, Decision};
use crate::domain::{Instruction, Intent};

/// Posts one intent by the steps of a batch: lock, read, decide, write. The caller ends the transaction.
///
/// # Errors
/// The database's.
pub async fn post_one(conn: &mut PgConnection, intent: &Intent) -> Result<Decision, Error> {
    let ids = BTreeSet::from(intent.accounts());
    let accounts = posting::lock_accounts(conn, &ids, Locking::Wait).await?;
    let instruction = Instruction::Pay(intent.clone());
    let found = findings::read(conn, &[&instruction], &mut Stage::Reading).await?;
    let decision = ledger::decide(&accounts, &found, [&instruction]);
    if !decision.changes_nothing() {
        posting::write(conn, &decision).await?;
    }
    Ok(decision)
}
