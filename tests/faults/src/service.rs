//! Processes of the service.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, kill_process};
use tokio::task::block_in_place;

use crate::postgres::{end_of, pid_of};

/// How long a process may take to end after SIGTERM.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// The program beside our own: a test's is one directory deeper.
///
/// # Errors
/// It has not been built.
pub fn program() -> Result<PathBuf> {
    let ourselves = std::env::current_exe()?;
    let dirs = ourselves.ancestors().skip(1).take(2);
    let found = dirs.map(|dir| dir.join("payonce")).find(|path| path.exists());
    found.context("payonce is missing beside the tests: cargo build --workspace --bins")
}

/// The program with no settings but these.
///
/// # Errors
/// It has not been built.
pub fn command(work: &Path, settings: &[(String, String)]) -> Result<Command> {
    let mut command = Command::new(program()?);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let is_setting = ["PAYONCE_", "OTEL_"].iter().any(|prefix| name.starts_with(prefix));
        if is_setting || ["HOST", "PORT", "DATABASE_URL"].contains(&name.as_ref()) {
            command.env_remove(name.as_ref());
        }
    }
    command.env("PAYONCE_TELEMETRY__FILTER", "warn");
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command.current_dir(work).stdin(Stdio::null());
    Ok(command)
}

/// A process that serves. It is killed where it is not stopped.
pub struct Service {
    process: Child,
    pub address: SocketAddr,
}

impl Service {
    /// Starts a process, and waits until it listens.
    ///
    /// # Errors
    /// It ends instead: the end of its log.
    pub fn start(work: &Path, settings: &[(String, String)], log: &Path) -> Result<Self> {
        block_in_place(|| {
            let output = File::options().append(true).create(true).open(log)?;
            let mut process = command(work, settings)?
                .arg("serve")
                .env("HOST", "127.0.0.1")
                .env("PORT", "0")
                .stdout(Stdio::piped())
                .stderr(output)
                .spawn()?;
            let stdout = process.stdout.take().context("the service has no output")?;
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            while stdout.read_line(&mut line)? > 0 {
                if let Some(address) = line.trim().strip_prefix("payonce listens on http://") {
                    let address = address.parse()?;
                    // Nobody reads the rest, but the service must be able to write it.
                    std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
                    return Ok(Self { process, address });
                }
                line.clear();
            }
            let _ = process.wait();
            bail!("the service did not start: {}", end_of(log));
        })
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Ends it in order (SIGTERM).
    ///
    /// # Errors
    /// It does not end within a minute, or with another status than 0.
    pub async fn drain(mut self) -> Result<()> {
        kill_process(pid_of(&self.process)?, Signal::TERM)?;
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "the service ended with {status} after SIGTERM");
                return Ok(());
            }
            ensure!(started.elapsed() < DRAIN_MAX, "the service did not end after SIGTERM");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// The system's.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// The most memory that it has had (`VmHWM`), in KiB.
    ///
    /// # Errors
    /// It has ended.
    pub fn memory_kib_max(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.context("the memory of the service cannot be read")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
