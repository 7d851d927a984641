//! A private Postgres server for one program on one machine: found, made, started and stopped
//! without a setting, a container or root's rights.
//!
//! Everything lives in one *home* directory:
//!
//! ```text
//! home/users.lock  held shared by every process that uses the server; the last one out stops it
//! home/door.lock   held by the process that is starting or stopping the server
//! home/cluster/    the data directory, made by initdb
//! home/socket/     the Unix socket, in a directory that only its owner may enter
//! home/log         what the server printed
//! home/package/    binaries from the pinned package, where the system has none
//! ```
//!
//! `pg_ctl` starts the server in a session of its own, so Ctrl-C on a terminal reaches the
//! program first, and the program stops the server when it has finished with it. A program that
//! was killed leaves the server running; the next one finds it and uses it.

mod binaries;
pub mod cluster;
mod owner;
mod pip;
pub mod processes;

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use binaries::Binaries;
pub use binaries::Source;
use owner::Owner;

/// The role and the database that [`LocalPostgres`] makes.
const ROLE: &str = "payonce";

/// A Unix socket's path may have 107 bytes; `.s.PGSQL.5432` needs 15 of them.
const SOCKET_DIR_BYTES_MAX: usize = 90;

const START_SECONDS_MAX: &str = "60";

/// The use of a server, which decides its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Runs beside other work, as Postgres is shipped but for modest buffers: a commit that was
    /// answered survives a power cut.
    Playground,
    /// Throw-away databases: a commit survives the end of a process, not a power cut.
    Tests,
    /// As durable as a playground, with the memory of a server that has the machine to itself.
    Benchmark,
}

/// Waits until no process uses the server, then stops it by the rules of [`LocalPostgres::stop`]. Where
/// another process uses it by then, that one has such a guard, too.
const GUARD: &str = "flock users.lock true && \
    exec flock door.lock flock --nonblock users.lock \"$1\" stop --mode=fast --pgdata cluster";

/// A running server, in use by this process until [`LocalPostgres::stop`] or the drop.
#[derive(Debug)]
pub struct LocalPostgres {
    home: PathBuf,
    socket_dir: PathBuf,
    binaries: Binaries,
    owner: Owner,
    /// `None` when this process has stopped using the server.
    users: Option<File>,
}

impl LocalPostgres {
    /// Starts the server of `home`, or joins it where it already runs.
    ///
    /// As root the server runs as an unprivileged user, because Postgres refuses root. Where
    /// that user cannot reach `home`, another directory is taken: see [`LocalPostgres::home`].
    ///
    /// # Errors
    /// No binaries and no way to get them, a cluster of another major version, or a server that
    /// does not start: the error holds the end of its log.
    pub fn start(home: &Path, source: &Source, purpose: Purpose) -> Result<Self> {
        let wanted = std::path::absolute(home)?;
        let (home, owner) = owner::settle(&wanted)?;
        owner.make_dir(&home)?;

        let _door = door(&home)?;
        let cluster = home.join("cluster");
        let binaries = Binaries::find(source, &home, cluster_version(&cluster)?)?;
        let mut server =
            Self { socket_dir: socket_dir(&home, &owner)?, users: None, home, binaries, owner };
        if !cluster.exists() {
            server.init(purpose)?;
        }
        if !server.is_running()? {
            server.launch()?;
        }
        let users = File::create(server.home.join("users.lock"))?;
        users.lock_shared().context("the lock file of the users cannot be locked")?;
        server.users = Some(users);
        Ok(server)
    }

    /// Whether there is a cluster in `home` already, running or not.
    ///
    /// # Errors
    /// `home` cannot be looked into.
    pub fn is_made(home: &Path) -> Result<bool> {
        let (home, _) = owner::settle(&std::path::absolute(home)?)?;
        Ok(home.join("cluster").try_exists()?)
    }

    /// Where the server keeps its files.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The directory of the server's programs (`psql`, `pgbench`, ...).
    #[must_use]
    pub fn binaries(&self) -> &Path {
        self.binaries.dir()
    }

    /// The data directory.
    #[must_use]
    pub fn cluster(&self) -> PathBuf {
        self.home.join("cluster")
    }

    /// One of the server's programs, or with its absolute path another one, to be run as the user who
    /// owns the server's files.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.dir().join(program));
        // The caller's directory may be one that the server's user cannot enter.
        command.current_dir("/").env("LC_ALL", "C");
        self.owner.run_as(&mut command);
        command
    }

    /// Copies a running server into a new data directory. A server that is started there follows the one that was
    /// copied, which `source` tells how to reach, as libpq takes it.
    ///
    /// # Errors
    /// `pg_basebackup` failed.
    pub fn copy(&self, source: &str, data: &Path) -> Result<()> {
        let mut copy = self.command("pg_basebackup");
        copy.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast"]);
        run(copy.args(["--dbname", source, "--pgdata"]).arg(data))
    }

    /// `Postgres 15.18`, for people.
    #[must_use]
    pub fn version(&self) -> &str {
        self.binaries.version()
    }

    /// A connection URL over the Unix socket, for libpq and sqlx alike; of the role that owns
    /// everything.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_as(ROLE)
    }

    /// The same for a role that was made there.
    #[must_use]
    pub fn url_as(&self, role: &str) -> String {
        url(&self.socket_dir, role)
    }

    /// Stops the server unless another process still uses it.
    ///
    /// # Errors
    /// `pg_ctl` failed; the server may still run.
    pub fn stop(mut self) -> Result<()> {
        self.release()
    }

    /// Has the server stopped also where this process is killed, on systems that have `flock`.
    ///
    /// # Errors
    /// No process can be started.
    pub fn guard(&self) -> Result<()> {
        let mut guard = self.command("/bin/sh");
        guard.args(["-c", GUARD, "guard"]).arg(self.binaries.dir().join("pg_ctl"));
        guard.current_dir(&self.home).process_group(0);
        guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        let Some(users) = self.users.take() else {
            return Ok(());
        };
        let _door = door(&self.home)?;
        users.unlock()?;
        match users.try_lock() {
            // Somebody else may have stopped it.
            Ok(()) if !self.is_running()? => Ok(()),
            Ok(()) => self.pg_ctl(&["stop", "--mode=fast", "--wait"]),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// The directory of the server's Unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// Makes the cluster beside its final place and renames it, so that an interrupted attempt
    /// is never mistaken for a cluster.
    fn init(&self, purpose: Purpose) -> Result<()> {
        let unfinished = self.home.join("cluster.unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        let mut initdb = self.command("initdb");
        initdb.args(["--auth=trust", "--encoding=UTF8", "--no-locale", "--data-checksums"]);
        initdb.args(["--username", ROLE, "--pgdata"]).arg(&unfinished);
        if purpose == Purpose::Tests {
            initdb.arg("--no-sync");
        }
        run(&mut initdb)?;

        let mut settings =
            fs::OpenOptions::new().append(true).open(unfinished.join("postgresql.conf"))?;
        writeln!(settings, "\n{}", settings_text(purpose))?;

        let mut single = self.command("postgres");
        single.args(["--single", "-D"]).arg(&unfinished).arg("postgres");
        let mut child =
            single.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        if let Some(stdin) = child.stdin.as_mut() {
            writeln!(stdin, "CREATE DATABASE {ROLE}")?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("the database cannot be made: {}", String::from_utf8_lossy(&output.stderr));
        }
        fs::rename(&unfinished, self.cluster())?;
        Ok(())
    }

    fn is_running(&self) -> Result<bool> {
        if UnixStream::connect(self.socket_dir.join(".s.PGSQL.5432")).is_ok() {
            return Ok(true);
        }
        // After a crash of the machine the process id in the file can belong to anyone, and
        // Postgres would refuse to start for fear of a second server on the same files.
        let pid_file = self.cluster().join("postmaster.pid");
        if let Ok(text) = fs::read_to_string(&pid_file)
            && let Some(pid) = text.lines().next()
            && let Ok(name) = fs::read_to_string(format!("/proc/{pid}/comm"))
            && name.trim() != "postgres"
        {
            fs::remove_file(&pid_file)?;
        }
        Ok(false)
    }

    fn launch(&self) -> Result<()> {
        let log = self.home.join("log");
        let options = format!("-c unix_socket_directories='{}'", self.socket_dir.display());
        let started = self.pg_ctl(&[
            "start",
            "--wait",
            "--timeout",
            START_SECONDS_MAX,
            "--log",
            &log.to_string_lossy(),
            "--options",
            &options,
        ]);
        started.with_context(|| {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let from = text.len().saturating_sub(2_000);
            let end = text.get(from..).unwrap_or(&text);
            format!("Postgres did not start; the end of {} says:\n{end}", log.display())
        })
    }

    fn pg_ctl(&self, args: &[&str]) -> Result<()> {
        let mut command = self.command("pg_ctl");
        command.args(args).arg("--pgdata").arg(self.cluster());
        // The server inherits what pg_ctl holds: a pipe would stay open as long as it runs.
        let status =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if !status.success() {
            bail!("pg_ctl {} failed ({status})", args.first().copied().unwrap_or_default());
        }
        Ok(())
    }
}

impl Drop for LocalPostgres {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            eprintln!("The private Postgres was not stopped: {error:#}");
        }
    }
}

/// The settings that differ from Postgres' own. Each has its reason.
fn settings_text(purpose: Purpose) -> String {
    let mut text = String::from(
        "# A private server: reached through its Unix socket only.\n\
         listen_addresses = ''\n\
         max_connections = 200\n\
         # A payment writes four index entries; they should be found in memory.\n\
         shared_buffers = '256MB'\n\
         # Fewer checkpoints, so that fewer whole pages go into the log.\n\
         max_wal_size = '2GB'\n\
         checkpoint_timeout = '15min'\n\
         log_checkpoints = off\n",
    );
    match purpose {
        Purpose::Playground => {}
        Purpose::Tests => {
            text.push_str("fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n");
        }
        // The Postgres manual recommends a quarter of the memory: 4 GB are that of a small server.
        // It is taken page by page, when a page is used. Files of the log are kept for reuse.
        Purpose::Benchmark => {
            text.push_str("shared_buffers = '4GB'\nmax_wal_size = '8GB'\nmin_wal_size = '8GB'\n");
        }
    }
    text
}

/// Lets one process at a time start or stop the server; released with the file.
fn door(home: &Path) -> Result<File> {
    let door = File::create(home.join("door.lock"))?;
    door.lock().context("the lock file of the server cannot be locked")?;
    Ok(door)
}

fn cluster_version(cluster: &Path) -> Result<Option<String>> {
    match fs::read_to_string(cluster.join("PG_VERSION")) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("the cluster cannot be read"),
    }
}

/// The socket's directory: in `home`, or in the temporary directory where `home`'s path is
/// longer than a socket's may be.
fn socket_dir(home: &Path, owner: &Owner) -> Result<PathBuf> {
    let inside = home.join("socket");
    let dir = if inside.as_os_str().len() <= SOCKET_DIR_BYTES_MAX {
        inside
    } else {
        Path::new("/tmp").join(owner::name_for("payonce-socket", home))
    };
    owner.make_dir(&dir)?;
    Ok(dir)
}

/// A connection URL over a Unix socket in a directory.
#[must_use]
pub fn url(socket_dir: &Path, role: &str) -> String {
    let host = percent_encode(&socket_dir.to_string_lossy());
    format!("postgres:///{ROLE}?host={host}&user={role}")
}

/// A temporary directory through which the user who runs a server can pass.
///
/// # Errors
/// It cannot be made.
pub fn directory(prefix: &str) -> Result<TempDir> {
    directory_in(&std::env::temp_dir(), prefix)
}

/// The same in another place.
///
/// # Errors
/// It cannot be made.
pub fn directory_in(parent: &Path, prefix: &str) -> Result<TempDir> {
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    Ok(tempfile::Builder::new().prefix(prefix).permissions(open_to_all).tempdir_in(parent)?)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "{} failed: {}",
        command.get_program().to_string_lossy(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}
