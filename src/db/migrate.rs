use sqlx::PgConnection;
use sqlx::migrate::{MigrateError, Migrator};

use super::Error;

/// An older binary lives on while a newer one has already migrated: it ignores what it does not
/// know. An advisory lock lets one process at a time migrate.
static MIGRATOR: Migrator = {
    let mut migrator = sqlx::migrate!();
    migrator.ignore_missing = true;
    migrator
};

/// Brings the schema up to date.
///
/// # Errors
/// A migration fails, or one that was applied has changed since.
pub async fn run(conn: &mut PgConnection) -> Result<(), MigrateError> {
    MIGRATOR.run(conn).await
}

/// The server's version, as in 150018 for 15.18.
///
/// # Errors
/// The database's.
pub async fn server_version(conn: &mut PgConnection) -> Result<i32, Error> {
    let version =
        sqlx::query_scalar!(r#"SELECT current_setting('server_version_num')::int AS "version!""#);
    Ok(version.fetch_one(conn).await?)
}
