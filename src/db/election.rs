//! Tasks that one process at a time does, of all that share a ledger: a database may have one in each of its schemas.

use sqlx::PgConnection;

use super::Error;

/// Whether this session is the one that does the task: it is until it ends, or resigns.
///
/// # Errors
/// The database's.
pub async fn try_win(conn: &mut PgConnection, task: &str) -> Result<bool, Error> {
    let lock = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_lock(hashtext($1), hashtext(current_schema()::text)) AS "is_ours!""#,
        task
    );
    Ok(lock.fetch_one(conn).await?)
}

/// Lets another session do the task. The end of this one does so, too, but some time later.
///
/// # Errors
/// The database's.
pub async fn resign(conn: &mut PgConnection, task: &str) -> Result<(), Error> {
    let unlock = sqlx::query!(
        "SELECT pg_advisory_unlock(hashtext($1), hashtext(current_schema()::text))",
        task
    );
    unlock.fetch_one(conn).await?;
    Ok(())
}
