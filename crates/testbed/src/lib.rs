//! The ground of tests, faults and benchmarks: processes that get nothing of one's shell, databases of
//! their own, roles, and conditions that are awaited.

mod ledger;
mod service;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub use ledger::Ledger;
pub use service::{Service, told};

/// The role that the service has: one with no more rights than it needs.
pub const SERVICE_ROLE: &str = "payonce_service";

/// Variables that every program needs to run. All others stay in the shell that they were set in:
/// settings of the service (`PAYONCE_*`, `DATABASE_URL`), of libpq (`PG*`), of OpenTelemetry, proxies.
const KEPT: [&str; 6] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    // Of coverage.
    "LLVM_PROFILE_FILE",
];

/// Where pip finds packages: the private Postgres may have to be installed.
const KEPT_PREFIX: &str = "PIP_";

const POLL: Duration = Duration::from_millis(5);

/// A program that gets nothing of one's shell but where programs and files are.
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C");
    let kept = std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        KEPT.contains(&name.as_ref()) || name.starts_with(KEPT_PREFIX)
    });
    command.envs(kept);
    command
}

/// A program of this workspace, which is built beside ours. A test's is one directory deeper.
///
/// # Errors
/// It has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let ours = std::env::current_exe()?;
    let mut beside = ours.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    beside
        .find(|path| path.exists())
        .with_context(|| format!("{name} is not built: cargo build --workspace --bins"))
}

/// SQL that makes a role that may log in, where it is not there.
#[must_use]
pub fn make_role(name: &str) -> String {
    format!(
        "DO $$ BEGIN CREATE ROLE {name} LOGIN;
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
         END $$"
    )
}

/// Takes the first whole event out of what has come of a stream of Server-Sent Events.
pub fn take_event(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    const END: &[u8] = b"\n\n";
    let length = bytes.windows(END.len()).position(|window| window == END)?;
    let rest = bytes.split_off(length.saturating_add(END.len()));
    let mut event = std::mem::replace(bytes, rest);
    event.truncate(length);
    Some(event)
}

/// Awaits that a condition holds.
///
/// # Errors
/// It cannot be found out, or did not hold within `limit`.
pub async fn until(
    what: &str,
    limit: Duration,
    mut holds: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let started = Instant::now();
    while !holds().await? {
        ensure!(started.elapsed() < limit, "never came true: {what}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
