//! `make chaos`: every fault for a long time, with claims about time, and a summary in
//! `docs/reliability.md`. Ends with status 1 where something was lost or paid twice, where a claim is
//! not kept, and where too little happened. With the name of a fault it runs that one, with that very
//! seed, and writes nothing.
#![expect(clippy::arithmetic_side_effects, reason = "counts and times of runs that are bounded")]

mod summary;

use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use payonce_faults::faults::{self, Plan};
use payonce_faults::figures::Figures;
use tokio::signal::unix::{SignalKind, signal};

use summary::Totals;

/// However much there is to do: twice what it takes on two cores.
const ALL_MAX: Duration = Duration::from_mins(70);

type Run = Pin<Box<dyn Future<Output = Result<Figures>>>>;

/// A fault, and how long it is run: how often, and the longest pause in milliseconds.
struct Part {
    name: &'static str,
    times: u32,
    pause_ms: u64,
    run: fn(Plan) -> Run,
}

macro_rules! parts {
    ($($fault:ident: $times:literal, $pause_ms:literal;)+) => {
        [$(Part {
            name: stringify!($fault),
            times: $times,
            pause_ms: $pause_ms,
            run: |plan| Box::pin(async move { faults::$fault(&plan).await }),
        }),+]
    };
}

#[tokio::main]
async fn main() -> ExitCode {
    // Dropping the work at a signal ends the processes that it started.
    let result = tokio::select! {
        result = run() => result,
        result = interrupted() => result,
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitCode> {
    let parts = parts! {
        service_killed: 25, 2_500;
        service_paused: 10, 1_500;
        postgres_killed: 15, 3_000;
        postgres_paused: 14, 2_500;
        sessions_terminated: 15, 3_500;
        wire_to_postgres: 20, 3_500;
        wire_to_clients: 20, 3_500;
        duplicates: 15, 3_000;
        overload: 10, 3_000;
        neighbour: 12, 2_500;
        refused_payer: 20, 2_500;
        shared_key_store: 15, 3_000;
        disk_full: 10, 2_000;
        clock_jumps: 20, 2_500;
        primary_lost: 4, 8_000;
        primary_lost_behind: 4, 5_000;
        primary_lost_of_two: 6, 3_000;
        replicas_read: 12, 3_000;
        cluster_leader_killed: 4, 6_000;
        cluster_leader_stopped: 4, 6_000;
        cluster_etcd_lost: 4, 6_000;
        cluster_replica_lost: 4, 6_000;
        cluster_switchover: 10, 4_000;
        upgrade: 15, 3_000;
        everything: 20, 4_000;
    };
    let seed = seed()?;
    if let Some(name) = std::env::args().nth(1) {
        let part = parts.iter().find(|part| part.name == name);
        let names = parts.each_ref().map(|part| part.name).join(", ");
        let part = part.with_context(|| format!("the faults are: {names}"))?;
        return Ok(verdict(part.run(seed).await?.is_kept()));
    }
    // Found out now, not after ten minutes.
    faults::fake_clock()?;
    drop(faults::Disk::mount()?);
    let mut seeds = fastrand::Rng::with_seed(seed);
    let began = Instant::now();
    let mut all = Vec::new();
    for part in parts {
        let left = ALL_MAX.saturating_sub(began.elapsed());
        let figures = tokio::time::timeout(left, part.run(seeds.u32(..).into())).await;
        all.push(figures.with_context(|| format!("longer than {ALL_MAX:?} in all"))??);
    }
    let totals = Totals::of(&all, began.elapsed());
    println!("{}", totals.line());
    summary::write(&summary::section(&all, &totals))?;
    Ok(verdict(totals.are_enough(&all) && all.iter().all(Figures::is_kept)))
}

impl Part {
    async fn run(&self, seed: u64) -> Result<Figures> {
        let plan = Plan {
            seed,
            times: scaled(self.times)?,
            pause: Duration::from_millis(self.pause_ms),
            payers: 16,
            checks_time: true,
        };
        let again = || format!("make chaos FAULT={} SEED={seed}", self.name);
        let figures = (self.run)(plan).await.with_context(again)?;
        println!("{}", figures.line());
        for claim in &figures.claims {
            println!("  {}", summary::line_of(claim));
        }
        for violation in &figures.violations {
            println!("  VIOLATION: {violation}");
        }
        if !figures.is_kept() {
            println!("  again: {}", again());
        }
        Ok(figures)
    }
}

fn verdict(is_kept: bool) -> ExitCode {
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// `SEED=1` repeats a run.
fn seed() -> Result<u64> {
    let seed = std::env::var("SEED").ok().filter(|text| !text.is_empty());
    let seed = match seed {
        Some(text) => text.parse().context("SEED is not a number")?,
        None => fastrand::u32(..).into(),
    };
    println!("SEED={seed}");
    Ok(seed)
}

/// `CHAOS_PERCENT=10` is for work on the suite itself: everything happens a tenth as often.
fn scaled(times: u32) -> Result<u32> {
    let percent = match std::env::var("CHAOS_PERCENT") {
        Ok(text) => text.parse().context("CHAOS_PERCENT is not a number")?,
        Err(_) => 100,
    };
    Ok((times * percent).div_ceil(100))
}

async fn interrupted() -> Result<ExitCode> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    bail!("interrupted");
}
