//! Postgres' disk is full for a while.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::{ACCOUNTS, Plan, begin, claim_recovery, layout, note_recovery_since};
use crate::client::Manner;
use crate::figures::Figures;
use crate::postgres::{Files, Servers as _, run};
use crate::stand::Stand;

/// Room for a cluster and what a run writes.
const DISK: &str = "size=400m,mode=0755";

/// Files of the log that are kept would be room to spare.
const SMALL: &str = "max_wal_size = '48MB'\nmin_wal_size = '32MB'\n";

const RECOVERY_MAX: Duration = Duration::from_mins(1);

/// A small disk in memory.
pub struct Disk(TempDir);

impl Disk {
    /// # Errors
    /// It may not be mounted.
    pub fn mount() -> Result<Self> {
        let dir = local_postgres::directory("payonce-faults-disk-")?;
        let mounted = run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "payonce-faults"])
            .arg(dir.path()));
        mounted.context("a full disk needs the right to mount a tmpfs: run this as root")?;
        Ok(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) -> Result<()> {
        let mut file = File::options().append(true).create(true).open(self.filler())?;
        for block_bytes in [1 << 20, 1 << 12, 1] {
            let block = vec![0; block_bytes];
            loop {
                match file.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> std::path::PathBuf {
        self.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(self.path())) {
            eprintln!("{} is still mounted: {error:#}", self.path().display());
        }
    }
}

/// The disk under Postgres is full, and has room again.
///
/// # Errors
/// The run itself failed.
pub async fn disk_full(plan: &Plan) -> Result<Figures> {
    let mut figures = Figures::new("the disk is full", plan.seed);
    let disk = Disk::mount()?;
    let mut layout = layout(plan, 2);
    layout.postgres_files = Files::In(disk.path().to_owned());
    SMALL.clone_into(&mut layout.postgres_settings);
    let (mut stand, load) = begin(plan, layout, &Manner::plain(ACCOUNTS)).await?;
    for _ in 0..plan.times {
        stand.pause(plan.pause).await;
        disk.fill()?;
        figures.times += 1;
        // Room that Postgres frees meanwhile does not help it.
        for _ in 0..4 {
            stand.pause(plan.pause.div_f64(2.0)).await;
            disk.fill()?;
        }
        disk.clear()?;
        let since_us = stand.world.recorder.now_us();
        bring_back(&mut stand).await?;
        note_recovery_since(since_us, &stand, &mut figures).await?;
    }
    claim_recovery(plan, &mut figures, Duration::from_secs(10));
    stand.finish(load, &mut figures).await?;
    Ok(figures)
}

/// Where there was no room for its log, Postgres has ended.
async fn bring_back(stand: &mut Stand) -> Result<()> {
    let began = Instant::now();
    loop {
        // It may be ending while it is asked.
        let started = stand.postgres.start().await;
        match (started, stand.postgres.session().await) {
            (Ok(()), Ok(_)) => return Ok(()),
            (Err(error), _) | (_, Err(error)) if began.elapsed() > RECOVERY_MAX => bail!(error),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
