//! The private Postgres under the ledger, which nobody else depends on.

use anyhow::{Context, Result, bail};
use local_postgres::{LocalPostgres, Purpose};
use payonce::config::Settings;
use payonce::db::{self, Target};

use crate::PlaygroundSettings;

/// The role that the service has there. It has no password: the server is reached through a socket that
/// nobody else can open.
pub(crate) const SERVICE_ROLE: &str = "payonce_service";

/// Starts the server, or joins it where it already runs.
pub(crate) fn start(own: &PlaygroundSettings) -> Result<LocalPostgres> {
    LocalPostgres::start(&own.data_dir, &own.source(), Purpose::Playground)
        .context("the private Postgres cannot be started")
}

/// The same, where there is a ledger already.
pub(crate) fn join(own: &PlaygroundSettings) -> Result<LocalPostgres> {
    if !LocalPostgres::is_made(&own.data_dir)? {
        bail!(
            "there is no private ledger in {} yet: `make run` makes it (DATABASE_URL names another)",
            own.data_dir.display()
        );
    }
    start(own)
}

/// Makes the server's database the one that the settings name.
pub(crate) fn point(settings: &mut Settings, server: &LocalPostgres) {
    settings.database.url = Some(server.url_as(SERVICE_ROLE).into());
    settings.database.migrate_url = Some(server.url().into());
}

/// Makes the service's role where it is not there; its rights come with the migrations.
pub(crate) async fn make_role(owner: &Target) -> Result<()> {
    let mut conn = db::connect(owner, db::Purpose::Migrate).await?;
    let make = "DO $$ BEGIN
                    CREATE ROLE payonce_service LOGIN;
                EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
                END $$";
    sqlx::raw_sql(make).execute(&mut conn).await.context("the service's role cannot be made")?;
    Ok(())
}
