//! `with-postgres [--no-fsync] VARIABLE COMMAND [ARGUMENT ...]` runs a command with a new, empty
//! Postgres whose URL stands in the environment variable, and removes the server afterwards.
//! The directory of its programs goes to the front of `PATH`.

use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use local_postgres::{LocalPostgres, Purpose, Source};

const POLL: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    match run() {
        Ok(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            ExitCode::from(code.unwrap_or(1))
        }
        Err(error) => {
            eprintln!("with-postgres: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitStatus> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let purpose = match args.first().map(String::as_str) {
        Some("--no-fsync") => {
            args.remove(0);
            Purpose::Tests
        }
        _ => Purpose::Playground,
    };
    let [variable, program, rest @ ..] = args.as_slice() else {
        bail!("usage: with-postgres [--no-fsync] VARIABLE COMMAND [ARGUMENT ...]");
    };

    // A signal to the whole group reaches the command too; here it must not end the clean-up.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }

    let home = local_postgres::directory("with-postgres-")?;
    let server = LocalPostgres::start(&home.path().join("home"), &Source::Auto, purpose)?;

    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(server.binaries().to_owned()).chain(std::env::split_paths(&path));
    let mut child = Command::new(program)
        .args(rest)
        .env(variable, server.url())
        .env("PATH", std::env::join_paths(dirs)?)
        .spawn()
        .with_context(|| format!("{program} cannot be started"))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupted.swap(false, Ordering::Relaxed)
            && let Some(pid) =
                i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        thread::sleep(POLL);
    };
    server.stop()?;
    Ok(status)
}
