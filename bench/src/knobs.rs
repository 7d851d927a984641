//! The knobs of a run, from the environment.

use std::env;
use std::ffi::OsString;

use anyhow::{Context, Result, bail};

#[derive(Debug)]
pub struct Knobs {
    pub rounds: u32,
    pub seconds: u32,
    /// Twice the default `writer.batch_max`: while one full batch commits, the next one can fill.
    pub connections: u32,
    /// The rows to measure, for a quick look; all where it is empty.
    pub only: Vec<String>,
    /// The one script of `make load` to run.
    pub script: Option<String>,
    changed: bool,
    write: bool,
}

const ROUNDS: u32 = 3;
const SECONDS: u32 = 5;
const CONNECTIONS: u32 = 512;

impl Knobs {
    pub fn from_environment(write: bool) -> Result<Self> {
        let knobs = Self {
            rounds: number("ROUNDS", ROUNDS)?,
            seconds: number("SECONDS", SECONDS)?,
            connections: number("CONNECTIONS", CONNECTIONS)?,
            only: env::var("ONLY").map_or_else(
                |_| Vec::new(),
                |rows| rows.split(',').map(|row| row.trim().to_owned()).collect(),
            ),
            script: env::var("SCRIPT").ok().filter(|script| !script.is_empty()),
            changed: false,
            write,
        };
        let changed = (knobs.rounds, knobs.seconds, knobs.connections)
            != (ROUNDS, SECONDS, CONNECTIONS)
            || !knobs.only.is_empty()
            || knobs.script.is_some()
            || settings_of_the_service().next().is_some();
        Ok(Self { changed, ..knobs })
    }

    /// Whether the figures go into `RESULTS.md`: where they are comparable with those of others, or
    /// `--write` asks for it.
    pub fn write_results(&self) -> bool {
        self.write || !self.changed
    }

    pub fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == row)
    }
}

/// Settings that the service is measured with: `PAYONCE_*`. Of one's shell it gets nothing else.
pub fn settings_of_the_service() -> impl Iterator<Item = (OsString, OsString)> {
    env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PAYONCE_"))
}

fn number(name: &str, default: u32) -> Result<u32> {
    let Ok(text) = env::var(name) else {
        return Ok(default);
    };
    match text.parse().with_context(|| format!("{name} must be a whole number"))? {
        0 => bail!("{name} must be at least 1"),
        number => Ok(number),
    }
}
