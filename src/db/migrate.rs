//! Bringing the schema up to date, and giving the service its rights.

use sqlx::migrate::{Migrate, MigrateError};
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::connect::quoted;
use super::{Error, Unfit, schema};

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
    make_schema(conn, schema).await.map_err(Failed::Statement)?;
    // The migrator takes it again: it is counted. So nobody makes an index while unfinished ones are dropped.
    conn.lock().await?;
    let mut migrator = sqlx::migrate!();
    migrator.set_ignore_missing(true);
    let (alone, together): (Vec<_>, Vec<_>) =
        migrator.migrations.iter().cloned().partition(|migration| migration.no_tx);
    migrator.migrations = together.into();
    migrator.run(&mut *conn).await?;
    // Then indexes of large tables, beside payments.
    drop_unfinished_indexes(conn).await.map_err(Failed::Statement)?;
    conn.execute(PATIENCE).await.map_err(|error| Failed::Statement(error.into()))?;
    migrator.migrations = alone.into();
    migrator.run(&mut *conn).await?;
    conn.execute("RESET lock_timeout").await.map_err(|error| Failed::Statement(error.into()))?;
    Ok(conn.unlock().await?)
}

/// CREATE INDEX CONCURRENTLY waits for all transactions that are older, of whatever table, and nobody waits behind it.
const PATIENCE: &str = "SET lock_timeout = '10min'";

impl From<MigrateError> for Failed {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) => Self::Statement(error.into()),
            MigrateError::ExecuteMigration(error, version) => {
                Self::Migration { version, error: error.into() }
            }
            error => Self::History(error),
        }
    }
}

/// Makes the schema where it is not there. Asking first: without the right to make schemas, Postgres
/// refuses also where there is nothing to make.
async fn make_schema(conn: &mut PgConnection, name: &str) -> Result<(), Error> {
    if !schema::exists(conn, name).await? {
        let statement = format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(name));
        let made = conn.execute(AssertSqlSafe(statement)).await;
        // Another process may have made it at the same moment.
        if let Err(error) = made
            && !schema::exists(conn, name).await?
        {
            return Err(error.into());
        }
    }
    // Tables that cannot be made there would be temporary ones.
    if schema::current(conn).await?.as_deref() == Some(name) {
        Ok(())
    } else {
        Err(Unfit::NoSchema(name.to_owned()).into())
    }
}

/// Drops the indexes that an interrupted migration has left behind: Postgres does not use them, and writes to them
/// all the same. (Postgres manual, CREATE INDEX, "Building Indexes Concurrently".)
async fn drop_unfinished_indexes(conn: &mut PgConnection) -> Result<(), Error> {
    let unfinished = sqlx::query_scalar!(
        r#"
        SELECT class.relname::text AS "name!"
        FROM pg_index AS index JOIN pg_class AS class ON class.oid = index.indexrelid
        JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
        WHERE NOT index.indisvalid AND namespace.nspname = current_schema()
          AND class.relname IN ('payments_refunds', 'payments_of_requests', 'accounts_by_name',
                                'payments_before_the_feed')
        "#
    );
    for name in unfinished.fetch_all(&mut *conn).await? {
        let statement = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quoted(&name));
        conn.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(())
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
