//! What is only done to a database that may be played with.

use sqlx::PgConnection;

use super::Error;

/// How long the end of a killed session is awaited.
const END_MS_MAX: i64 = 1_000;

/// The process that serves this session.
pub async fn backend_pid(conn: &mut PgConnection) -> Result<i32, Error> {
    Ok(sqlx::query_scalar!(r#"SELECT pg_backend_pid() AS "pid!""#).fetch_one(conn).await?)
}

/// Ends another session, whatever it is doing, and waits until it has ended.
pub async fn terminate(conn: &mut PgConnection, pid: i32) -> Result<(), Error> {
    let terminate = sqlx::query!("SELECT pg_terminate_backend($1, $2) AS ended", pid, END_MS_MAX);
    terminate.fetch_one(conn).await?;
    Ok(())
}
