use sqlx::PgConnection;
use sqlx::migrate::MigrateError;

use super::connect::quoted;
use super::{Error, schema};

/// Why the schema is not up to date.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("{0}")]
    Statement(Error),
    #[error("migration {version} failed: {error}")]
    Migration { version: i64, error: Error },
    /// One that was applied has changed since, or was left half done.
    #[error("{0}")]
    History(MigrateError),
}

/// Brings the schema up to date, and makes it where it is not there.
///
/// An older binary lives on while a newer one has already migrated: it ignores what it does not know.
/// An advisory lock lets one process at a time migrate.
///
/// # Errors
/// A migration fails, or one that was applied has changed since.
pub async fn run(conn: &mut PgConnection, schema: &str) -> Result<(), Failed> {
    let mut migrator = sqlx::migrate!();
    migrator.set_ignore_missing(true);
    // Asking first: without the right to make schemas it would fail also where there is nothing to make.
    if !schema::exists(conn, schema).await.map_err(Failed::Statement)? {
        migrator.create_schema(quoted(schema));
    }
    migrator.run(conn).await.map_err(|error| match error {
        MigrateError::Execute(error) => Failed::Statement(error.into()),
        MigrateError::ExecuteMigration(error, version) => {
            Failed::Migration { version, error: error.into() }
        }
        error => Failed::History(error),
    })
}

/// Whether a migration has waited for a lock for as long as it may: there are payments, or another
/// process migrates.
#[must_use]
pub fn met_a_lock(failed: &Failed) -> bool {
    match failed {
        Failed::Statement(error) | Failed::Migration { error, .. } => error.kind().is_about_locks(),
        Failed::History(_) => false,
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
