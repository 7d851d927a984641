//! Processes that are killed or stopped with all their children. It works on Linux: it looks into `/proc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
pub use rustix::process::Pid;
use rustix::process::{Signal, kill_process};

/// How long processes may take to end after a signal that leaves them no choice.
const END_MAX: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(5);

/// Processes that were stopped, and go on when this is dropped.
pub struct Paused(Vec<Pid>);

impl Paused {
    /// Stops processes and all their children where they are (SIGSTOP). Those that have ended are left out.
    ///
    /// # Errors
    /// The system does not tell which children there are.
    pub fn stop(parents: &[Pid]) -> Result<Self> {
        let mut stopped = Self(Vec::new());
        // The parents first: then no child is started after the others were counted.
        for parent in parents {
            stopped.add(*parent);
        }
        for parent in parents {
            for child in children_of(*parent)? {
                stopped.add(child);
            }
        }
        Ok(stopped)
    }

    fn add(&mut self, pid: Pid) {
        if kill_process(pid, Signal::STOP).is_ok() {
            self.0.push(pid);
        }
    }

    /// Lets them go on.
    pub fn resume(self) {
        drop(self);
    }

    /// `kill -9` of all of them. They have ended when this returns; one that is a child of ours is still to be asked
    /// for its status.
    ///
    /// # Errors
    /// They do not end.
    pub fn kill(self) -> Result<()> {
        for pid in &self.0 {
            // Some ended by themselves before they were stopped.
            let _ = kill_process(*pid, Signal::KILL);
        }
        let started = Instant::now();
        while self.0.iter().any(|pid| has_life(*pid)) {
            ensure!(started.elapsed() < END_MAX, "processes survived their death");
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

/// `kill -9` of processes and of all their children at one moment, as at the loss of a machine. All stand still before
/// the first dies: a session of Postgres that waits for a synchronous standby takes the postmaster's death for
/// the end of its wait, and shows others a payment that the standby does not have.
///
/// # Errors
/// They do not end.
pub fn kill(parents: &[Pid]) -> Result<()> {
    Paused::stop(parents)?.kill()
}

/// The postmaster of a data directory, where one has written its number there.
#[must_use]
pub fn postmaster(data: &Path) -> Option<Pid> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = text.lines().next()?.trim().parse().ok()?;
    // After a crash of the machine the number can belong to anyone.
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim() == "postgres").then(|| Pid::from_raw(pid))?
}

/// Processes that were started with one of these paths as an argument.
pub(crate) fn with_argument(paths: &[PathBuf]) -> Result<Vec<Pid>> {
    let is_one = |pid: &Pid| {
        let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        let mut arguments = line.split(|byte| *byte == 0);
        arguments.any(|it| paths.iter().any(|path| path.as_os_str().as_encoded_bytes() == it))
    };
    Ok(all()?.filter(is_one).collect())
}

fn all() -> Result<impl Iterator<Item = Pid>> {
    let entries = fs::read_dir("/proc").context("/proc is needed: run this on Linux")?;
    let numbers = entries.flatten().filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
    Ok(numbers.filter_map(Pid::from_raw))
}

/// The third and the fourth field of `/proc/PID/stat`: the state and the parent.
fn state_and_parent(pid: Pid) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The second field is a name in brackets, which may have spaces in it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn children_of(parent: Pid) -> Result<Vec<Pid>> {
    let parent = parent.as_raw_nonzero().get();
    Ok(all()?.filter(|pid| state_and_parent(*pid).is_some_and(|(_, of)| of == parent)).collect())
}

/// Whether a process has not ended, which it has also where nobody has asked for its status.
fn has_life(pid: Pid) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}
