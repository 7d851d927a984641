//! Accounts that are opened, frozen or closed in a batch.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::columns::all_written;
use crate::db::Error;
use crate::domain::{AccountId, AccountStatus};

/// Opens, freezes and closes accounts that are locked.
///
/// # Errors
/// The database's.
pub(super) async fn write(
    conn: &mut PgConnection,
    statuses: &BTreeMap<AccountId, AccountStatus>,
) -> Result<(), Error> {
    let mut written = 0;
    // They are few: an operator's, one at a time.
    for (id, status) in statuses {
        let column = (!status.is_open()).then(|| status.name());
        let update =
            sqlx::query!("UPDATE accounts SET status = $2 WHERE id = $1", id.get(), column as _);
        written = update.execute(&mut *conn).await?.rows_affected().saturating_add(written);
    }
    all_written("accounts", written, statuses.len())
}
