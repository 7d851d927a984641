//! Commands and processes of the service, with no settings but those of a stand.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use testbed::Service;
use tokio::task::block_in_place;

/// The program with no settings but these.
///
/// # Errors
/// It has not been built.
pub fn command(work: &Path, settings: &[(String, String)]) -> Result<Command> {
    let mut command = testbed::command(testbed::program("payonce")?);
    command.env("PAYONCE_TELEMETRY__FILTER", "warn");
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command.current_dir(work);
    Ok(command)
}

/// Starts a process, and waits until it listens.
///
/// # Errors
/// It ends instead: the end of its log.
pub fn start(work: &Path, settings: &[(String, String)], log: &Path) -> Result<Service> {
    let mut serve = command(work, settings)?;
    serve.arg("serve").env("HOST", "127.0.0.1").env("PORT", "0");
    let log = File::options().append(true).read(true).create(true).open(log)?;
    block_in_place(|| Service::start(serve, log))
}

/// Ends a process in order (SIGTERM).
///
/// # Errors
/// It does not end within a minute, or with another status than 0.
pub fn drain(mut service: Service) -> Result<()> {
    let status = block_in_place(|| service.stop(Signal::TERM))?;
    ensure!(status.success(), "the service ended with {status} after SIGTERM");
    Ok(())
}

/// The most memory that a process has had (`VmHWM`), in KiB.
///
/// # Errors
/// It has ended.
pub fn memory_kib_max(service: &Service) -> Result<u64> {
    let pid = service.pid().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.context("the memory of the service cannot be read")
}
