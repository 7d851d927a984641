//! A copy of a stand's server that follows it, perhaps over a distance.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use local_postgres::LocalPostgres;
use rustix::process::{Pid, Signal, kill_process};

use crate::meter::of_child;
use crate::stand::Database;

const START_MAX: Duration = Duration::from_mins(1);
const STOP_MAX: Duration = Duration::from_secs(20);

/// It is killed where it is not stopped.
pub struct Standby {
    process: Child,
    dir: PathBuf,
    log: PathBuf,
}

impl Standby {
    /// Copies the primary and starts the copy, which reaches its primary by a socket's directory or an address. By its
    /// name `synchronous_standby_names` knows it.
    pub fn start(primary: &LocalPostgres, name: &str, way: &Way) -> Result<Self> {
        let dir = primary.home().join(name);
        let source = format!("{way} user=payonce application_name={name}");
        primary.copy(&source, &dir)?;
        let log = primary.home().join(format!("{name}.log"));
        let file = File::create(&log)?;
        let mut server = primary.command("postgres");
        server.arg("-D").arg(&dir).arg("-c");
        server.arg(format!("unix_socket_directories={}", dir.display()));
        let process = server.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Self { process, dir, log })
    }

    /// The directory of its socket.
    pub fn socket_dir(&self) -> &Path {
        &self.dir
    }

    /// Seconds of processor time that replaying the log took so far. One process does it, on one core.
    pub fn replay_s(&self) -> Result<f64> {
        of_child(self.process.id(), "startup recovering")
    }

    /// Stops it before its primary, which would wait for it.
    pub async fn stop(mut self) -> Result<()> {
        self.signal(Signal::INT)?;
        let process = &mut self.process;
        let has_ended = async || Ok(process.try_wait()?.is_some());
        let ended = testbed::until("a standby has stopped", STOP_MAX, has_ended).await;
        ended.with_context(|| self.said())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), signal)?)
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        // It may have ended; a server ends its children at this signal.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::QUIT);
            let _ = self.process.wait();
        }
    }
}

/// How a standby reaches its primary.
pub enum Way {
    Socket(PathBuf),
    Address(SocketAddr),
}

impl std::fmt::Display for Way {
    /// As libpq takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(dir) => write!(f, "host={}", dir.display()),
            Self::Address(address) => write!(f, "host={} port={}", address.ip(), address.port()),
        }
    }
}

/// Makes commits wait for the standbys that bear a name, for none where it is empty, and waits until all standbys follow
/// in that way.
pub async fn wait_for(database: &Database, name: &str, standbys: &[Standby]) -> Result<()> {
    database.value(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'")).await?;
    database.value("SELECT pg_reload_conf()").await?;
    let state = if name.is_empty() { "async" } else { "sync" };
    let settled = format!(
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = '{state}'"
    );
    let wanted = standbys.len().to_string();
    let all_follow = async || Ok(database.value(&settled).await? == wanted);
    let follow = testbed::until("all standbys follow", START_MAX, all_follow).await;
    follow.with_context(|| standbys.iter().map(Standby::said).collect::<String>())
}
