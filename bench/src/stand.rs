//! Where contenders meet: a Postgres of our own, its databases, and processes of the service.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use local_postgres::{LocalPostgres, Purpose, Source, processes};
use rustix::process::Signal;
use tempfile::TempDir;
use testbed::SERVICE_ROLE;
use tokio::process::Command;
use tokio::task::spawn_blocking;

use crate::callers::{AUDIENCE, Callers};
use crate::knobs::settings_of_the_service;
use crate::meter::{Meter, Serving};
use crate::standby::Standby;
use crate::{http_alone, machine};

/// Where the scripts for wrk, pgbench and psql are.
pub const SCRIPTS: &str = env!("CARGO_MANIFEST_DIR");

/// The role that owns the server, and the name of its first database.
const ROLE: &str = "payonce";

/// A server that has run for a while writes its log into files that it has used before. A new one
/// makes each of them first, while commits wait: so 4 GB of them are used up beforehand.
const USE_LOG_FILES: &str = "DO $$ BEGIN
    FOR n IN 1 .. 256 LOOP
        PERFORM pg_logical_emit_message(false, 'payonce', ''), pg_switch_wal();
    END LOOP;
END $$";

pub struct Stand {
    server: LocalPostgres,
    postmaster: u32,
    // Last, so that the server has stopped when its files go.
    home: TempDir,
}

/// The circumstances that the figures depend on, for people.
pub struct Setting {
    pub postgres: String,
    pub settings: Vec<(&'static str, String)>,
    pub cores: usize,
    pub processor: String,
    pub sync_ms: f64,
}

impl Stand {
    /// Starts the server, and refuses one whose commits do not wait for a disk.
    pub async fn new() -> Result<(Self, Setting)> {
        let home = local_postgres::directory("payonce-bench-")?;
        let server =
            LocalPostgres::start(&home.path().join("home"), &Source::Auto, Purpose::Benchmark)?;
        let cluster = server.cluster();
        // In memory a sync costs nothing, and pgbench would have no wait for the disk to share.
        ensure!(
            !machine::is_in_memory(&cluster),
            "the server's files are in memory: set TMPDIR to a directory on a disk"
        );
        let postmaster = processes::postmaster(&cluster)
            .context("the server's process id cannot be read")?
            .as_raw_nonzero();
        let stand = Self { server, postmaster: u32::try_from(postmaster.get())?, home };

        let database = stand.database("payonce");
        let mut settings = Vec::new();
        for name in ["fsync", "full_page_writes", "synchronous_commit"] {
            let value = database.value(&format!("SHOW {name}")).await?;
            ensure!(value == "on", "{name} is {value}, and must be on");
            settings.push((name, value));
        }
        for name in ["shared_buffers", "max_wal_size", "min_wal_size", "wal_compression"] {
            settings.push((name, database.value(&format!("SHOW {name}")).await?));
        }
        database.value(USE_LOG_FILES).await?;
        database.value("CHECKPOINT").await?;
        let sync = machine::sync_latency(stand.server.home())?;
        let setting = Setting {
            postgres: stand.server.version().to_owned(),
            settings,
            cores: std::thread::available_parallelism()?.get(),
            processor: machine::processor(),
            sync_ms: sync.as_secs_f64() * 1_000.0,
        };
        Ok((stand, setting))
    }

    /// A database of the server, whether it exists already or not.
    pub fn database(&self, name: &str) -> Database {
        let url = self.server.url().replacen(ROLE, name, 1);
        Database { name: name.to_owned(), url, psql: self.program("psql") }
    }

    /// The same where it is served by copies of the server, too.
    pub fn database_of_all(&self, name: &str, copies: &[Standby]) -> Database {
        let mut sockets = self.server.socket_dir().as_os_str().to_owned();
        for copy in copies {
            sockets.push(",");
            sockets.push(copy.socket_dir());
        }
        // A comma that is written as %2C separates servers all the same.
        let url = local_postgres::url(Path::new(&sockets), ROLE).replacen(ROLE, name, 1);
        Database { url, ..self.database(name) }
    }

    /// The server, for copies of it.
    pub fn server(&self) -> &LocalPostgres {
        &self.server
    }

    /// A program that comes with the server, or is on the `PATH`.
    pub fn program(&self, name: &str) -> PathBuf {
        let beside = self.server.binaries().join(name);
        if beside.exists() { beside } else { name.into() }
    }

    /// A directory for files of ours. Nothing in it changes what is measured: a `payonce.toml` of
    /// the caller's directory is not read there.
    pub fn work(&self) -> &Path {
        self.home.path()
    }

    pub fn meter(&self, serving: Serving) -> Result<Meter> {
        Meter::start(self.postmaster, serving)
    }

    /// Starts the service on a database.
    pub async fn serve(&self, database: &Database) -> Result<Service> {
        self.start(payonce(&["serve"], database)?, None).await
    }

    /// Starts it on a database of several servers, of which all but the primary answer reads.
    pub async fn serve_from_replicas(&self, database: &Database) -> Result<Service> {
        let mut serve = payonce(&["serve"], database)?;
        serve.env("PAYONCE_DATABASE__READ_FROM", "replicas");
        self.start(serve, None).await
    }

    /// Starts it as one would on a network: with tokens, with limits for payers and addresses (which
    /// the load does not reach) and with a role that has no more rights than it needs.
    pub async fn serve_guarded(&self, database: &Database, callers: &Callers) -> Result<Service> {
        database.value(&testbed::make_role(SERVICE_ROLE)).await?;
        let mut serve = payonce(&["serve"], database)?;
        serve
            .env("PAYONCE_AUTH__MODE", "jwt")
            .env("PAYONCE_AUTH__JWKS_URL", &callers.keys)
            .env("PAYONCE_AUTH__AUDIENCE", AUDIENCE)
            .env("PAYONCE_RATE_LIMIT__PAYER_PER_MINUTE", "1000000")
            .env("PAYONCE_RATE_LIMIT__ADDRESS_PER_MINUTE", "100000000")
            .env("PAYONCE_DATABASE__MIGRATE_URL", &database.url)
            .env(
                "DATABASE_URL",
                database.url.replacen("user=payonce", &format!("user={SERVICE_ROLE}"), 1),
            );
        self.start(serve, Some(callers.tokens.clone())).await
    }

    /// Starts a server that does HTTP and nothing else.
    pub async fn serve_http_alone(&self) -> Result<Service> {
        let mut serve = testbed::command(std::env::current_exe()?);
        serve.arg(http_alone::COMMAND);
        self.start(serve, None).await
    }

    async fn start(
        &self,
        mut serve: std::process::Command,
        tokens: Option<PathBuf>,
    ) -> Result<Service> {
        serve.current_dir(self.work()).env("HOST", "127.0.0.1").env("PORT", "0");
        let log = tempfile::tempfile()?;
        let process = spawn_blocking(|| testbed::Service::start(serve, log)).await??;
        let pid = u32::try_from(process.pid().as_raw_nonzero().get())?;
        Ok(Service { pid, origin: process.origin.clone(), tokens, process })
    }

    pub fn stop(self) -> Result<()> {
        self.server.stop()
    }
}

pub struct Database {
    name: String,
    pub url: String,
    psql: PathBuf,
}

impl Database {
    pub async fn value(&self, query: &str) -> Result<String> {
        self.psql(&["--command", query]).await
    }

    pub async fn number(&self, query: &str) -> Result<f64> {
        let value = self.value(query).await?;
        value.parse().with_context(|| format!("{query} gave {value}, not a number"))
    }

    /// Runs a file of [`SCRIPTS`], with variables.
    pub async fn script(&self, file: &str, variables: &[(&str, u32)]) -> Result<String> {
        let mut args = vec!["--file".to_owned(), format!("{SCRIPTS}/{file}")];
        for (name, value) in variables {
            args.extend(["--set".to_owned(), format!("{name}={value}")]);
        }
        self.psql(&args).await
    }

    pub async fn create_as_copy_of(&self, template: &Self) -> Result<()> {
        let query =
            format!("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", self.name, template.name);
        template.value(&query).await?;
        Ok(())
    }

    /// Drops it, asking another database of the server to.
    pub async fn drop_from(self, other: &Self) -> Result<()> {
        other.value(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?;
        Ok(())
    }

    pub async fn migrate(&self) -> Result<()> {
        output_of(&mut payonce(&["migrate"], self)?.into()).await?;
        Ok(())
    }

    /// A ledger that is fast and wrong counts for nothing.
    pub async fn audit(&self) -> Result<()> {
        let output = Command::from(payonce(&["audit"], self)?).output().await?;
        if !output.status.success() {
            bail!("the audit is not clean:\n{}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(())
    }

    async fn psql(&self, args: &[impl AsRef<OsStr>]) -> Result<String> {
        let mut psql = command(&self.psql);
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set", "ON_ERROR_STOP=1"])
            .args(args)
            .arg(&self.url);
        Ok(output_of(&mut psql).await?.trim().to_owned())
    }
}

/// A process of the service. It is killed where it is not stopped.
pub struct Service {
    process: testbed::Service,
    pub pid: u32,
    pub origin: String,
    /// A file with a token of its callers on each line, where they need one.
    pub tokens: Option<PathBuf>,
}

impl Service {
    /// Ends it in order, and fails where it had something to complain about.
    pub async fn stop(mut self) -> Result<()> {
        let (status, service) =
            spawn_blocking(move || (self.process.stop(Signal::TERM), self)).await?;
        let (status, said) = (status?, service.said());
        ensure!(status.success(), "the service ended with {status}: {said}");
        for line in said.lines().filter(|line| !line.contains(r#""level":"INFO""#)) {
            println!("The service said: {line}");
        }
        Ok(())
    }

    /// The end of what it said on standard error.
    pub fn said(&self) -> String {
        self.process.end_of_log()
    }
}

fn payonce(args: &[&str], database: &Database) -> Result<std::process::Command> {
    let mut command = testbed::command(testbed::program("payonce")?);
    command.args(args).envs(settings_of_the_service()).env("DATABASE_URL", &database.url);
    Ok(command)
}

/// A program that ends with us, also when we are interrupted, and gets nothing of one's shell.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::from(testbed::command(program));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The text that a program printed. Where it is missing or fails, the error says so.
pub async fn output_of(command: &mut Command) -> Result<String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = match command.output().await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("{name} is missing: {}", how_to_get(&name))
        }
        output => output?,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed: {}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn how_to_get(name: &str) -> &'static str {
    match name {
        "wrk" => "apt-get install wrk, or brew install wrk",
        "pgbench" => "it comes with Postgres' server package (apt-get install postgresql)",
        "psql" => "it comes with Postgres' client package (apt-get install postgresql-client)",
        _ => "install it",
    }
}
