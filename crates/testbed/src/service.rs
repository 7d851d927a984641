//! A process of the service: started, greeted by, told to stop, and ended when it is dropped.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::POLL;

/// How long a process may take until it listens, or to end after a signal.
const PATIENCE: Duration = Duration::from_mins(1);

/// Lines of a log that are shown where something went wrong.
const LINES_SHOWN: usize = 20;

/// What follows some words of a line, which is text or JSON.
#[must_use]
pub fn told<'a>(line: &'a str, words: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(words)?;
    rest.split('"').next()
}

/// A running process. It is killed where it is not stopped.
pub struct Service {
    process: Child,
    log: File,
    /// Where it listens, such as `http://127.0.0.1:4000`.
    pub origin: String,
    /// Where it is watched, if not there too.
    pub admin: Option<String>,
}

impl Service {
    /// Starts a process whose log goes to a file, and waits until it listens.
    ///
    /// # Errors
    /// It ends instead, or does not listen within a minute: the end of its log.
    pub fn start(mut command: Command, log: File) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?);
        let mut process = command.spawn().context("the service cannot be started")?;
        let stdout = process.stdout.take().context("the service has no output")?;
        let mut service = Self { process, log, origin: String::new(), admin: None };
        let (sender, lines) = mpsc::channel();
        // It reads on when nobody waits for lines any more: the service must be able to write them.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let started = Instant::now();
        while let Ok(line) = lines.recv_timeout(PATIENCE.saturating_sub(started.elapsed())) {
            if let Some(admin) = told(&line, "payonce is watched at ") {
                service.admin.get_or_insert(admin.to_owned());
            }
            if let Some(origin) = told(&line, "payonce listens on ") {
                origin.clone_into(&mut service.origin);
                return Ok(service);
            }
        }
        service.kill()?;
        bail!("the service did not start: {}", service.end_of_log());
    }

    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// # Errors
    /// It listens on a name, not on an address.
    pub fn address(&self) -> Result<SocketAddr> {
        let address = self.origin.strip_prefix("http://").unwrap_or(&self.origin);
        address.parse().with_context(|| format!("{address} is no address"))
    }

    /// The text of its log.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn log(&self) -> Result<String> {
        let mut text = vec![0; usize::try_from(self.log.metadata()?.len())?];
        // At a place, because the process shares the file's position with us.
        self.log.read_exact_at(&mut text, 0)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The last lines of its log, for people.
    #[must_use]
    pub fn end_of_log(&self) -> String {
        let text = self.log().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines.len().saturating_sub(LINES_SHOWN);
        lines.get(shown..).unwrap_or_default().join("\n")
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// The system's.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Sends a signal, and waits for the end.
    ///
    /// # Errors
    /// It has ended already, or does not end within a minute.
    pub fn stop(&mut self, signal: Signal) -> Result<ExitStatus> {
        kill_process(self.pid(), signal)?;
        let told = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            ensure!(told.elapsed() < PATIENCE, "the service did not end after {signal:?}");
            thread::sleep(POLL);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
