//! Which database this process works on: the one of `DATABASE_URL`, or a private Postgres that it
//! starts and stops itself.

use anyhow::{Context, Result};
use local_postgres::{LocalPostgres, Purpose, Source};
use secrecy::ExposeSecret;

use crate::config::{Database, Settings, milliseconds};
use crate::db::migrate::PRIVATE_ROLE;
use crate::db::{DEFAULT_SCHEMA, Target};

/// The database, and the server under it where that is ours.
pub struct Ledger {
    /// For the service.
    pub target: Target,
    /// For migrations and audits: of the role that owns the tables, where it is another one.
    pub owner: Target,
    /// `None` with `DATABASE_URL`.
    pub server: Option<LocalPostgres>,
}

impl Ledger {
    /// Finds the database, starting the private Postgres where there is no URL.
    ///
    /// # Errors
    /// A malformed URL, or a Postgres that cannot be had.
    pub fn open(settings: &Settings) -> Result<Self> {
        let Database { url, migrate_url, .. } = &settings.database;
        let (url, owner_url, server) = if let Some(url) = url {
            let owner_url = migrate_url.as_ref().unwrap_or(url).expose_secret().to_owned();
            (url.expose_secret().to_owned(), owner_url, None)
        } else {
            let source = match settings.database.local_binaries.as_str() {
                "auto" => Source::Auto,
                "package" => Source::Package,
                dir => Source::Dir(dir.into()),
            };
            let server = LocalPostgres::start(&settings.data_dir, &source, Purpose::Playground)
                .context("the private Postgres cannot be started")?;
            (server.url_as(PRIVATE_ROLE), server.url(), Some(server))
        };
        let target = target(settings, &url).context("DATABASE_URL (database.url) is wrong")?;
        let owner = self::target(settings, &owner_url).context("database.migrate_url is wrong")?;
        Ok(Self { target, owner, server })
    }

    /// Stops the server, where it is ours and nobody else uses it.
    ///
    /// # Errors
    /// It may still run.
    pub fn close(self) -> Result<()> {
        match self.server {
            Some(server) => server.stop(),
            None => Ok(()),
        }
    }
}

fn target(settings: &Settings, url: &str) -> Result<Target> {
    let Database { connect_timeout_ms, statement_timeout_ms, .. } = &settings.database;
    let connect_timeout = milliseconds(*connect_timeout_ms);
    let statement_timeout_ms = statement_timeout_ms.get().into();
    let lock_wait_ms = settings.writer.lock_wait_ms_max.get().into();
    let target = Target::new(url, connect_timeout, statement_timeout_ms, lock_wait_ms)?;
    let schema = settings.database.schema.as_deref().unwrap_or(DEFAULT_SCHEMA);
    Ok(target.in_schema(schema).losing_commits(settings.database.allow_lost_commits))
}
