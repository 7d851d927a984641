use std::ops::Range;

use sqlx::PgConnection;

use super::Error;

/// Whether this session is the one that prunes: it is until it ends. Several would read the same
/// pages.
///
/// # Errors
/// The database's.
pub async fn try_begin(conn: &mut PgConnection) -> Result<bool, Error> {
    let lock = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_lock(hashtext('payonce prune')::bigint) AS "is_ours!""#
    );
    Ok(lock.fetch_one(conn).await?)
}

/// Lets another session prune. The end of this one does so, too, but some time later.
///
/// # Errors
/// The database's.
pub async fn end(conn: &mut PgConnection) -> Result<(), Error> {
    let unlock = sqlx::query!("SELECT pg_advisory_unlock(hashtext('payonce prune')::bigint)");
    unlock.fetch_one(conn).await?;
    Ok(())
}

/// How many pages the table of keys has.
///
/// # Errors
/// The database's.
pub async fn pages(conn: &mut PgConnection) -> Result<i64, Error> {
    let pages = sqlx::query_scalar!(
        r#"SELECT pg_relation_size('idempotency_keys') / current_setting('block_size')::bigint
           AS "pages!""#
    );
    Ok(pages.fetch_one(conn).await?)
}

/// Removes the rows of old keys from some pages of their table, and returns how many. How, and why
/// so: see the function's migration.
///
/// # Errors
/// The database's.
pub async fn remove_old_keys(
    conn: &mut PgConnection,
    pages: Range<i64>,
    retention_days: u16,
) -> Result<u64, Error> {
    let removed = sqlx::query_scalar!(
        r#"SELECT remove_old_keys($1, $2, $3) AS "removed!""#,
        pages.start,
        pages.end,
        i32::from(retention_days)
    );
    Ok(u64::try_from(removed.fetch_one(conn).await?).unwrap_or_default())
}
