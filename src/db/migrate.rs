use sqlx::PgConnection;
use sqlx::migrate::{MigrateError, Migrator};

use super::{Error, Kind};

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

/// Whether a migration has waited for a lock for as long as it may: there are payments, or another
/// process migrates.
#[must_use]
pub fn met_a_lock(error: &MigrateError) -> bool {
    match error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
            Kind::of(cause).is_about_locks()
        }
        _ => false,
    }
}

/// Gives a role what the service needs, and nothing else.
///
/// # Errors
/// There is no such role, or it is not ours to decide.
pub async fn grant(conn: &mut PgConnection, role: &str) -> Result<(), Error> {
    sqlx::query!("SELECT grant_rights_of_the_service($1::text::name)::text AS granted", role)
        .fetch_one(conn)
        .await?;
    Ok(())
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
