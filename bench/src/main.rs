//! The proof that the service is faster than its database alone, and stays so: `make bench`,
//! `make bench-growth`, `make load`, `make bench-live`, `make bench-replicas`, `make bench-standby`. Each starts a Postgres of its
//! own that waits for the disk, prints what it measures, audits the ledger, and ends with status 1 where a promise is not kept.

mod arena;
mod callers;
mod ceiling;
mod distance;
mod distant;
mod growth;
mod http_alone;
mod knobs;
mod live;
mod load;
mod machine;
mod meter;
mod pgbench;
mod plot;
mod replicas;
mod report;
mod results;
mod stand;
mod standby;
mod throughput;
mod wrk;

use std::process::ExitCode;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use knobs::Knobs;
use report::Target;

/// Whether every "at least" was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Kept,
    Missed,
}

impl Verdict {
    fn of(targets: &[Target]) -> Self {
        if targets.iter().all(Target::is_kept) { Self::Kept } else { Self::Missed }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let is_http_alone = std::env::args().nth(1).is_some_and(|it| it == http_alone::COMMAND);
    let result = if is_http_alone {
        http_alone::serve().await.map(|()| Verdict::Kept)
    } else {
        // Dropping the work at a signal ends the processes that it started, Postgres last.
        tokio::select! {
            result = run() => result,
            result = interrupted() => result,
        }
    };
    match result {
        Ok(Verdict::Kept) => ExitCode::SUCCESS,
        Ok(Verdict::Missed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<Verdict> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, write) = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [command] => ((*command).to_owned(), false),
        [command, "--write"] => ((*command).to_owned(), true),
        _ => (String::new(), false),
    };
    let knobs = Knobs::from_environment(write)?;
    match command.as_str() {
        "throughput" => throughput::run(&knobs).await,
        "growth" => growth::run(&knobs).await,
        "load" => load::run(&knobs).await,
        "live" => live::run(&knobs).await,
        "replicas" => replicas::run(&knobs).await,
        "standby" => distant::run(&knobs).await,
        _ => bail!("usage: bench throughput|growth|load|live|replicas|standby [--write]"),
    }
}

async fn interrupted() -> Result<Verdict> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    bail!("interrupted");
}
