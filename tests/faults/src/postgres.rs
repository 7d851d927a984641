//! Postgres servers that are there to be killed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use local_postgres::processes::Paused;
use local_postgres::{LocalPostgres, Purpose, Source};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use testbed::SERVICE_ROLE;
use tokio::task::block_in_place;

/// How long a server may take to start, which includes its recovery from a crash.
const START_MAX: Duration = Duration::from_mins(1);

const POLL: Duration = Duration::from_millis(5);

/// Commits wait for the disk, as Postgres is shipped. The rest makes it small, and a standby look often
/// whether it is to be the primary.
pub(crate) const SETTINGS: [(&str, &str); 3] = [
    ("shared_buffers", "64MB"),
    ("autovacuum_naptime", "5s"),
    ("wal_retrieve_retry_interval", "100ms"),
];

/// The role that owns everything.
pub const OWNER_ROLE: &str = "payonce";

/// Room for some servers.
const MEMORY_BYTES_MIN: u64 = 4 << 30;

/// A Unix socket's path may have 107 bytes; `/.s.PGSQL.5432` needs 15 of them.
const SOCKET_DIR_BYTES_MAX: usize = 90;

/// Where a server keeps its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Files {
    /// In the temporary directory: commits wait for the disk.
    #[default]
    OnDisk,
    /// In memory, where there is enough: processes can be killed, but commits wait for nothing.
    InMemory,
    In(PathBuf),
}

impl Files {
    /// A directory of one's own, and what holds it where it is a temporary one.
    pub(crate) fn home(&self) -> Result<(Option<TempDir>, PathBuf)> {
        let temporary = std::env::temp_dir();
        let parent = match self {
            Self::OnDisk => &temporary,
            Self::InMemory => in_memory().unwrap_or(&temporary),
            Self::In(dir) => return Ok((None, dir.clone())),
        };
        let home = local_postgres::directory_in(parent, "payonce-faults-")?;
        let path = home.path().to_owned();
        Ok((Some(home), path))
    }
}

/// Servers of one ledger, as the suite asks them: past every proxy.
#[expect(async_fn_in_trait, reason = "this suite alone has such servers")]
pub trait Servers {
    /// A connection URL that leads to the one that takes writes, for a role.
    fn url(&self, role: &str) -> String;

    /// One for each server.
    fn each_url(&self, role: &str) -> Vec<String> {
        vec![self.url(role)]
    }

    /// `Postgres 15.18`, for people.
    fn version(&self) -> &str;

    /// A session of the role that owns everything.
    ///
    /// # Errors
    /// No server answers.
    async fn session(&self) -> Result<PgConnection>;

    /// # Errors
    /// The server's.
    async fn execute(&self, sql: &str) -> Result<()> {
        let mut session = self.session().await?;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut session).await?;
        Ok(())
    }

    /// # Errors
    /// The server's.
    async fn count(&self, sql: &str) -> Result<i64> {
        let mut session = self.session().await?;
        let sql = AssertSqlSafe(sql.to_owned());
        Ok(sqlx::query_scalar(sql).fetch_one(&mut session).await?)
    }

    /// Awaits that a query of one boolean is true.
    ///
    /// # Errors
    /// It does not come true.
    async fn until(&self, sql: &'static str) -> Result<()> {
        let mut session = self.session().await?;
        let holds = async || Ok(sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut session).await?);
        testbed::until(sql, START_MAX, holds).await
    }
}

/// One server: its files, and its process while it runs.
pub struct Postgres {
    programs: Arc<LocalPostgres>,
    /// Holds `cluster/`, `socket/` and `log`.
    dir: PathBuf,
    environment: Vec<(String, String)>,
    process: Option<Child>,
    // Last, so that the server has stopped when its files go.
    home: Option<Arc<TempDir>>,
}

impl Postgres {
    /// A new server with an empty database, not yet migrated, and the service's role.
    ///
    /// # Errors
    /// It cannot be made or started.
    pub async fn new(files: &Files, settings: &str, env: &[(String, String)]) -> Result<Self> {
        let mut postgres = block_in_place(|| Self::init(files, settings, env))?;
        postgres.start().await?;
        postgres.execute(&testbed::make_role(SERVICE_ROLE)).await?;
        Ok(postgres)
    }

    fn init(files: &Files, settings: &str, env: &[(String, String)]) -> Result<Self> {
        let (home, path) = files.home()?;
        let home = home.map(Arc::new);
        let programs =
            LocalPostgres::start(&path.join("home"), &Source::Auto, Purpose::Playground)?;
        let dir = programs.home().to_owned();
        let postgres = Self {
            programs: Arc::new(programs),
            dir,
            environment: env.to_vec(),
            process: None,
            home,
        };
        ensure!(
            postgres.socket_dir().as_os_str().len() <= SOCKET_DIR_BYTES_MAX,
            "the path of the temporary directory is too long for a socket: set TMPDIR to a shorter one"
        );
        let mut stop = postgres.programs.command("pg_ctl");
        stop.args(["stop", "--mode=fast", "--wait", "--silent", "--pgdata"]);
        run(stop.arg(postgres.cluster()))?;
        let conf = postgres.cluster().join("postgresql.conf");
        let mut conf = fs::OpenOptions::new().append(true).open(conf)?;
        for (name, value) in SETTINGS {
            writeln!(conf, "{name} = '{value}'")?;
        }
        writeln!(conf, "{settings}")?;
        Ok(postgres)
    }

    /// A standby: a running copy that follows this server, under a name for
    /// `synchronous_standby_names`.
    ///
    /// # Errors
    /// It cannot be made or started.
    pub async fn standby(&self, name: &str) -> Result<Self> {
        let mut standby = Self {
            programs: Arc::clone(&self.programs),
            dir: self.dir.with_file_name(name),
            environment: Vec::new(),
            process: None,
            home: self.home.clone(),
        };
        let owner = fs::metadata(&self.dir)?;
        for dir in [standby.dir.clone(), standby.socket_dir()] {
            fs::create_dir(&dir)?;
            chown(&dir, Some(owner.uid()), Some(owner.gid()))?;
        }
        standby.follow(self, name).await?;
        Ok(standby)
    }

    /// Becomes a standby of another server, under a name, from a new copy: what it had before is gone.
    ///
    /// # Errors
    /// It cannot be copied or started.
    pub async fn follow(&mut self, primary: &Self, name: &str) -> Result<()> {
        self.kill()?;
        if self.cluster().exists() {
            fs::remove_dir_all(self.cluster())?;
        }
        let source =
            format!("host={} user=payonce application_name={name}", primary.socket_dir().display());
        block_in_place(|| self.programs.copy(&source, &self.cluster()))?;
        self.start().await
    }

    /// Makes a standby a primary.
    ///
    /// # Errors
    /// It does not become one.
    pub fn promote(&self) -> Result<()> {
        let mut promote = self.programs.command("pg_ctl");
        promote.args(["promote", "--wait", "--silent", "--pgdata"]).arg(self.cluster());
        block_in_place(|| run(&mut promote))
    }

    /// Starts it, and waits until it answers; does nothing where it runs already.
    ///
    /// # Errors
    /// The end of its log.
    pub async fn start(&mut self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        let log = self.dir.join("log");
        let output = fs::OpenOptions::new().append(true).create(true).open(&log)?;
        let mut server = self.programs.command("postgres");
        server.arg("-D").arg(self.cluster());
        server.arg("-c").arg(format!("unix_socket_directories={}", self.socket_dir().display()));
        server.envs(self.environment.iter().map(|(name, value)| (name, value)));
        server.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        self.process = Some(server.spawn()?);

        let started = Instant::now();
        loop {
            match self.session().await {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > START_MAX || !self.is_running() => {
                    bail!("Postgres did not start: {error:#}\n{}", end_of(&log));
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Whether its process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// `kill -9` of all its processes at one moment, as at the loss of a machine. All stand still before the first
    /// dies: a session that waits for a synchronous standby takes the postmaster's death for the end of its
    /// wait, and shows others a payment that the standby does not have.
    ///
    /// # Errors
    /// They do not end.
    pub fn kill(&mut self) -> Result<()> {
        if self.process.is_none() {
            return Ok(());
        }
        self.pause()?.kill()?;
        if let Some(mut postmaster) = self.process.take() {
            block_in_place(|| postmaster.wait())?;
        }
        Ok(())
    }

    /// Stops all its processes where they are (SIGSTOP) until [`Paused::resume`], or the drop.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<Paused> {
        Paused::stop(&[Pid::from_child(self.process.as_ref().context("Postgres does not run")?)])
    }

    /// Past every proxy.
    #[must_use]
    pub fn owner_url(&self) -> String {
        self.url(OWNER_ROLE)
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket_dir().join(".s.PGSQL.5432")
    }

    fn cluster(&self) -> PathBuf {
        self.dir.join("cluster")
    }

    fn socket_dir(&self) -> PathBuf {
        self.dir.join("socket")
    }
}

impl Servers for Postgres {
    fn url(&self, role: &str) -> String {
        local_postgres::url(&self.socket_dir(), role)
    }

    fn version(&self) -> &str {
        self.programs.version()
    }

    /// A server that recovers from a crash is waited for.
    async fn session(&self) -> Result<PgConnection> {
        let connecting = async {
            loop {
                match PgConnection::connect(&self.owner_url()).await {
                    Err(error) if is_recovering(&error) => tokio::time::sleep(POLL).await,
                    result => return result,
                }
            }
        };
        let connected = tokio::time::timeout(START_MAX, connecting).await;
        Ok(connected.context("Postgres does not answer")??)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        // Nobody needs it any more: it may end without a checkpoint.
        let pid = Pid::from_child(process);
        let _ = kill_process(pid, Signal::QUIT);
        // Where it was stopped, it has to go on to end.
        let _ = kill_process(pid, Signal::CONT);
        let _ = process.wait();
    }
}

/// The URL of several servers, past every proxy, for a role.
#[must_use]
pub fn url_of(servers: &[&Postgres], role: &str) -> String {
    let hosts: Vec<String> =
        servers.iter().map(|it| it.socket_dir().to_string_lossy().into_owned()).collect();
    local_postgres::url(Path::new(&hosts.join(",")), role)
}

/// The URL of a database behind a proxy, for the service's role.
#[must_use]
pub fn url_through(proxy: std::net::SocketAddr) -> String {
    format!("postgres://{SERVICE_ROLE}@{proxy}/payonce?sslmode=disable")
}

/// A directory in memory, where there is one with enough room.
fn in_memory() -> Option<&'static Path> {
    let dir = Path::new("/dev/shm");
    let disk = rustix::fs::statvfs(dir).ok()?;
    (disk.f_bavail.saturating_mul(disk.f_frsize) >= MEMORY_BYTES_MIN).then_some(dir)
}

/// The last lines of a log.
fn end_of(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Runs a program to its end.
///
/// # Errors
/// It fails: its own words.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let name = command.get_program().to_string_lossy();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed: {}", said.trim());
    Ok(())
}

/// Whether a server that is there takes no session yet (SQLSTATE 57P03).
fn is_recovering(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() == Some("57P03")
}
