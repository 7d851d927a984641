//! The user who runs the server, and where that user may keep it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Unprivileged users to run the server as when the program runs as root, best first.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// Where the cluster goes when root's checkout lies where nobody else may look.
const ROOTS_HOME: &str = "/var/lib/payonce";

/// The user that the server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The user who runs the program.
    Myself,
    /// Another, because the program runs as root.
    Other { uid: u32, gid: u32 },
}

impl Owner {
    pub(crate) fn run_as(self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            command.gid(gid).uid(uid);
        }
    }

    /// Gives a file that we have made to the owner.
    pub(crate) fn let_have(self, file: &Path) -> Result<()> {
        if let Self::Other { uid, gid } = self {
            chown(file, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// Makes `dir`, readable by its owner alone, or takes it over where root made it before.
    pub(crate) fn make_dir(self, dir: &Path) -> Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            // Another process may be starting too.
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("{} cannot be made", dir.display()));
            }
            _ => {}
        }
        let uid = fs::metadata(dir)?.uid();
        match self {
            Self::Other { uid: wanted, gid } if uid == 0 => {
                chown(dir, Some(wanted), Some(gid))?;
                Ok(())
            }
            Self::Other { uid: wanted, .. } if uid == wanted => Ok(()),
            Self::Myself if uid == rustix::process::getuid().as_raw() => Ok(()),
            _ => bail!("{} belongs to another user (id {uid})", dir.display()),
        }
    }
}

/// The place for the server's files and the user that runs it: `home` as it is, unless the
/// program runs as root and the unprivileged user cannot reach it.
pub(crate) fn settle(home: &Path) -> Result<(PathBuf, Owner)> {
    if let Some(parent) = home.parent() {
        let made = fs::create_dir_all(parent);
        made.with_context(|| format!("{} cannot be made", parent.display()))?;
    }
    if !rustix::process::getuid().is_root() {
        return Ok((home.to_owned(), Owner::Myself));
    }
    let (uid, gid) = unprivileged_user(home)?;
    let owner = Owner::Other { uid, gid };
    if home.ancestors().skip(1).all(|dir| may_enter(dir, uid, gid)) {
        return Ok((home.to_owned(), owner));
    }
    let elsewhere = Path::new(ROOTS_HOME);
    fs::create_dir_all(elsewhere).with_context(|| format!("{ROOTS_HOME} cannot be made"))?;
    let elsewhere = elsewhere.join(name_for("home", home));
    owner.make_dir(&elsewhere)?;
    // So that a person who finds it knows whose it is.
    fs::write(elsewhere.join("for"), home.as_os_str().as_encoded_bytes())?;
    Ok((elsewhere, owner))
}

/// A name for `path` that stays the same from run to run.
pub(crate) fn name_for(prefix: &str, path: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    format!("{prefix}-{:016x}", hasher.finish())
}

fn unprivileged_user(home: &Path) -> Result<(u32, u32)> {
    // A cluster that a person made earlier without root stays that person's.
    if let Ok(cluster) = fs::metadata(home.join("cluster"))
        && cluster.uid() != 0
    {
        return Ok((cluster.uid(), cluster.gid()));
    }
    let passwd = fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
    let find = |name: &str| {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            match fields.as_slice() {
                [user, _, uid, gid, ..] if *user == name => {
                    Some((uid.parse().ok()?, gid.parse().ok()?))
                }
                _ => None,
            }
        })
    };
    USERS.into_iter().find_map(find).context(
        "Postgres refuses to run as root, and neither `postgres` nor `nobody` exists here: \
         run as a normal user, or set DATABASE_URL",
    )
}

/// Whether a user may pass through `dir`.
fn may_enter(dir: &Path, uid: u32, gid: u32) -> bool {
    let Ok(meta) = fs::metadata(dir) else {
        return false;
    };
    let bit = if meta.uid() == uid {
        0o100
    } else if meta.gid() == gid {
        0o010
    } else {
        0o001
    };
    meta.mode() & bit != 0
}
