//! Python's packages, installed for this project alone.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Installs packages beside their final place and renames that, so that an interrupted installation is
/// never mistaken for a whole one. `wanted` are arguments of `pip install`; packages that are built
/// from sources are built with the versions that `build_with` names, a file of constraints.
pub(crate) fn install<S: AsRef<OsStr>>(
    python: &Path,
    wanted: impl IntoIterator<Item = S>,
    build_with: Option<&Path>,
    dir: &Path,
) -> Result<()> {
    let unfinished = dir.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    let mut pip = Command::new(python);
    if let Some(file) = build_with {
        // The second one is for pip 25.3 and later.
        pip.env("PIP_CONSTRAINT", file).env("PIP_BUILD_CONSTRAINT", file);
    }
    let output = pip
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
