//! The clocks of the service and of Postgres are set forward and back.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery};
use crate::client::Manner;
use crate::figures::Figures;
use crate::postgres::Servers as _;

const HOUR_SECONDS: i64 = 3_600;

/// How far a clock that was set may be off.
const TOLERANCE_SECONDS: i64 = 60;

/// The library that stands between a program and its clock.
///
/// # Errors
/// It is not installed.
pub fn fake_clock() -> Result<PathBuf> {
    let dirs = fs::read_dir("/usr/lib").context("/usr/lib cannot be read")?;
    let mut paths = dirs.flatten().map(|dir| dir.path().join("faketime/libfaketime.so.1"));
    let found = paths.find(|path| path.exists());
    found.context("a clock that jumps needs libfaketime (Debian: apt-get install libfaketime)")
}

/// Postgres' clock jumps back and forth by an hour.
///
/// # Errors
/// The run itself failed.
pub async fn clock_jumps(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("the clock jumps by an hour", plan.seed);
    let dir = local_postgres::directory("payonce-faults-clock-")?;
    let clock = dir.path().join("clock");
    let set = |seconds: i64| {
        // Renamed, so that nobody reads half of it.
        let new = clock.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n"))?;
        fs::rename(&new, &clock)
    };
    set(0)?;
    let mut layout = layout(plan, 2);
    let library = fake_clock()?;
    layout.postgres_environment = [
        ("LD_PRELOAD", library.to_string_lossy().into_owned()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_string_lossy().into_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // Only the clock on the wall is wrong.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        // The library waits for a lock around the times of files, and ends the process where a signal interrupts it.
        ("NO_FAKE_STAT", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let (mut stand, load) = begin(plan, layout, &Manner::plain(ACCOUNTS)).await?;
    for _ in 0..plan.times {
        stand.pause(plan.pause).await;
        let ahead = HOUR_SECONDS * stand.rng.i64(-1..=1);
        set(ahead)?;
        figures.times += 1;
        let now =
            stand.postgres.count("SELECT extract(epoch FROM clock_timestamp())::bigint").await?;
        let ours = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let off = now - ours - ahead;
        ensure!(
            off.abs() < TOLERANCE_SECONDS,
            "the clock of Postgres did not jump: off by {off} s"
        );
        note_recovery(&stand, &mut figures).await?;
    }
    claim_recovery(plan, &mut figures, Duration::from_secs(2));
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}
