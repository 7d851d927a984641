//! How a transaction begins and ends. Only a writer's session does either.

use sqlx::PgConnection;

use super::Error;

/// The first statement of a transaction.
pub(super) const BEGIN: &str = "BEGIN";

/// # Errors
/// The connection's.
pub async fn begin(conn: &mut PgConnection) -> Result<(), Error> {
    run(conn, BEGIN).await
}

/// # Errors
/// Nothing was kept; or, where the connection was lost, that is not known.
pub async fn commit(conn: &mut PgConnection) -> Result<(), Error> {
    run(conn, "COMMIT").await
}

/// # Errors
/// The connection's.
pub async fn roll_back(conn: &mut PgConnection) -> Result<(), Error> {
    run(conn, "ROLLBACK").await
}

async fn run(conn: &mut PgConnection, statement: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(statement).execute(conn).await?;
    Ok(())
}
