//! Python's packages, installed for this project alone.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Installs packages beside their final place and renames that, so that an interrupted installation is
/// never mistaken for a whole one. `wanted` are arguments of `pip install`.
pub(crate) fn install<S: AsRef<OsStr>>(
    python: &Path,
    wanted: impl IntoIterator<Item = S>,
    dir: &Path,
) -> Result<()> {
    let unfinished = dir.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    let output = Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"])
        .arg("--target")
        .arg(&unfinished)
        .args(wanted)
        .stdin(Stdio::null())
        .output()
        .context("there is no python3 with pip")?;
    if !output.status.success() {
        bail!("pip says: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(fs::rename(&unfinished, dir)?)
}
