//! Databases of one's own, copied from a template, on a server that many test processes share.
//!
//! The server is the one of `TEST_POSTGRES_URL`, or a private one beside the built programs, which runs
//! while a [`Ledger`] is in use. Its databases are named after the number of a lock:
//!
//! ```text
//! template_1f00ba5e     a migrated ledger; the number is that of the program that migrated it
//! unfinished_1f00ba5e   the same while it is made
//! test_52c0ffee_7       a copy; the number is drawn by the process that made it
//! ```
//!
//! A process holds the advisory locks of its two numbers as long as it uses the server. So a database
//! whose lock nobody holds was left behind by a process that was killed, or by an older program: the
//! next process drops it, whatever else runs beside it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use local_postgres::{LocalPostgres, Purpose, Source};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::Mutex;

use crate::{SERVICE_ROLE, beside_programs, make_role};

#[cfg(test)]
mod tests;

/// The first half of the key of every advisory lock here.
const LOCKS: i32 = 0x7061_796f;

/// The lock of who makes a template. No database has this number.
const MAKING: i32 = 0;

/// A migrated ledger, empty but for the bank. It is dropped with this value.
pub struct Ledger {
    /// Of the role that owns everything in it.
    pub url: String,
    name: String,
    server: Arc<Server>,
}

impl Ledger {
    /// A new one. `migrate` gives the command that migrates the database of a URL; its program decides
    /// which template is the right one.
    ///
    /// # Errors
    /// There is no server, or it refuses.
    pub async fn new(migrate: impl Fn(&str) -> Command) -> Result<Self> {
        static SERVER: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
        let mut current = SERVER.lock().await;
        let server = match current.upgrade() {
            Some(server) => server,
            None => Arc::new(Server::find(migrate).await?),
        };
        *current = Arc::downgrade(&server);
        drop(current);
        Self::on(server).await
    }

    async fn on(server: Arc<Server>) -> Result<Self> {
        let number = server.ledgers.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{:08x}_{number}", server.run);
        let mut conn = PgConnection::connect(&server.url).await?;
        let create = format!("CREATE DATABASE {name} TEMPLATE template_{:08x}", server.template);
        execute(&mut conn, create).await?;
        Ok(Self { url: url_of(&server.url, &name)?, name, server })
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let drop_it = async {
            let mut conn = PgConnection::connect(&self.server.url).await?;
            execute(&mut conn, drop_database(&self.name)).await
        };
        // A thread of its own: here a runtime may be running, which cannot wait.
        let dropped = thread::scope(|scope| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            scope.spawn(|| runtime?.block_on(drop_it)).join()
        });
        if !matches!(dropped, Ok(Ok(()))) {
            eprintln!("{} was not dropped: the next run does it ({dropped:?})", self.name);
        }
    }
}

/// The server, in use by this process until the drop.
struct Server {
    url: String,
    /// The numbers of this process and of its template.
    run: i32,
    template: i32,
    ledgers: AtomicU32,
    /// Holds their locks; it is never used for anything else, so it may outlive the test that made it.
    _session: PgConnection,
    // Last, because the session ends before the server.
    _private: Option<LocalPostgres>,
}

impl Server {
    async fn find(migrate: impl Fn(&str) -> Command) -> Result<Self> {
        if let Ok(url) = std::env::var("TEST_POSTGRES_URL") {
            return Self::join(url, None, migrate).await;
        }
        let private = LocalPostgres::start(&home()?, &Source::Auto, Purpose::Tests)?;
        private.guard()?;
        Self::join(private.url(), Some(private), migrate).await
    }

    async fn join(
        url: String,
        private: Option<LocalPostgres>,
        migrate: impl Fn(&str) -> Command,
    ) -> Result<Self> {
        let mut session = PgConnection::connect(&url).await?;
        let (run, template) = (fastrand::i32(1..), number_of(&migrate(&url))?);
        for number in [run, template] {
            lock(&mut session, "pg_advisory_lock_shared", number).await?;
        }
        sweep(&mut session, [run, template]).await?;
        lock(&mut session, "pg_advisory_lock", MAKING).await?;
        make_template(&mut session, &url, template, migrate).await?;
        lock(&mut session, "pg_advisory_unlock", MAKING).await?;
        let ledgers = AtomicU32::new(0);
        Ok(Self { url, run, template, ledgers, _session: session, _private: private })
    }
}

/// Where the private server is.
fn home() -> Result<PathBuf> {
    beside_programs("test-postgres")
}

/// A number for the program that migrates. What it makes depends on nothing else.
fn number_of(migrate: &Command) -> Result<i32> {
    let program = migrate.get_program();
    let file = std::fs::metadata(program).context("the program that migrates is missing")?;
    let mut hasher = DefaultHasher::new();
    (program, file.len(), file.modified()?).hash(&mut hasher);
    // 31 bits, and not that of MAKING.
    Ok(i32::try_from(hasher.finish() >> 33)?.max(1))
}

/// Drops databases whose lock nobody holds, but for our own.
async fn sweep(session: &mut PgConnection, ours: [i32; 2]) -> Result<()> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT datname::text FROM pg_database
         WHERE datname ~ '^(template|unfinished|test)_[0-7][0-9a-f]{7}(_|$)'",
    )
    .fetch_all(&mut *session)
    .await?;
    for name in names {
        let number = name.split('_').nth(1).context("a name without a number")?;
        let number = i32::from_str_radix(number, 16)?;
        if !ours.contains(&number) && lock(session, "pg_try_advisory_lock", number).await? {
            execute(session, drop_database(&name)).await?;
            lock(session, "pg_advisory_unlock", number).await?;
        }
    }
    Ok(())
}

/// Makes the template where it is not there, under another name first: an interrupted attempt is never
/// mistaken for a template.
async fn make_template(
    session: &mut PgConnection,
    url: &str,
    number: i32,
    migrate: impl Fn(&str) -> Command,
) -> Result<()> {
    let (template, unfinished) =
        (format!("template_{number:08x}"), format!("unfinished_{number:08x}"));
    let is_there = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
    if sqlx::query_scalar(is_there).bind(&template).fetch_one(&mut *session).await? {
        return Ok(());
    }
    execute(session, make_role(SERVICE_ROLE)).await?;
    execute(session, drop_database(&unfinished)).await?;
    execute(session, format!("CREATE DATABASE {unfinished} TEMPLATE template0")).await?;
    let output = migrate(&url_of(url, &unfinished)?).output()?;
    ensure!(
        output.status.success(),
        "the template cannot be migrated: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    execute(session, format!("ALTER DATABASE {unfinished} RENAME TO {template}")).await
}

/// Calls one of Postgres' functions for advisory locks. Of those that wait the answer is true.
async fn lock(session: &mut PgConnection, function: &str, number: i32) -> Result<bool> {
    let call = format!("SELECT coalesce({function}({LOCKS}, {number})::text, '') <> 'false'");
    Ok(sqlx::query_scalar(AssertSqlSafe(call)).fetch_one(session).await?)
}

fn drop_database(name: &str) -> String {
    format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")
}

async fn execute(conn: &mut PgConnection, sql: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await?;
    Ok(())
}

/// The URL of another database of the same server.
fn url_of(url: &str, database: &str) -> Result<String> {
    // Else tests would run on the database that is named.
    ensure!(url.contains("/payonce?"), "TEST_POSTGRES_URL is not one that with-postgres gives");
    Ok(url.replacen("/payonce?", &format!("/{database}?"), 1))
}
