//! Which database this process works on: the one of `DATABASE_URL`, or a private Postgres that it
//! starts and stops itself.

use std::time::Duration;

use anyhow::{Context, Result};
use local_postgres::{LocalPostgres, Purpose, Source};
use secrecy::ExposeSecret;

use crate::config::{Database, Settings};
use crate::db::Target;

/// The database, and the server under it where that is ours.
pub struct Ledger {
    /// For the service.
    pub target: Target,
    /// For migrations.
    pub migrate: Target,
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
        let (url, server) = if let Some(url) = url {
            (url.expose_secret().to_owned(), None)
        } else {
            let source = match settings.database.local_binaries.as_str() {
                "auto" => Source::Auto,
                "package" => Source::Package,
                dir => Source::Dir(dir.into()),
            };
            let server = LocalPostgres::start(&settings.data_dir, &source, Purpose::Playground)
                .context("the private Postgres cannot be started")?;
            (server.url(), Some(server))
        };
        let target = target(settings, &url).context("DATABASE_URL (database.url) is wrong")?;
        let migrate = match migrate_url {
            Some(url) => self::target(settings, url.expose_secret())
                .context("database.migrate_url is wrong")?,
            None => target.clone(),
        };
        Ok(Self { target, migrate, server })
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
    let connect_timeout = Duration::from_millis(connect_timeout_ms.get().into());
    let statement_timeout_ms = statement_timeout_ms.get().into();
    let lock_wait_ms = settings.writer.lock_wait_ms_max.get().into();
    Ok(Target::new(url, connect_timeout, statement_timeout_ms, lock_wait_ms)?)
}
