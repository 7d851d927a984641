//! Patroni: installed from pinned packages, told about one node, and asked over HTTP.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::owner::{self, Owner};
use crate::pip;

/// The packages, each with its hashes.
const REQUIREMENTS: &str = include_str!("../../../../deploy/cluster/requirements.txt");

/// One of them is built from its sources.
const BUILD_WITH: &str = "setuptools==80.9.0\nwheel==0.45.1\n";

/// Where else than on the `PATH` there may be a Python: root's own may be one that nobody else can run.
const SYSTEM_PYTHON_DIR: &str = "/usr/bin";

/// Prints a version that decides which packages fit, where packages can be installed.
const VERSION: &str = "import pip, sys; print(sys.version_info[:2])";

/// How long an answer that needs no work is awaited. A Patroni that stands still takes the question.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// How long a change of the leader may take.
const SWITCHOVER_MAX: Duration = Duration::from_mins(1);

/// A Python, and Patroni's packages.
pub(super) struct Patroni {
    python: PathBuf,
    packages: PathBuf,
}

impl Patroni {
    /// Finds it in a directory, or installs it there.
    pub(super) fn find(tools: &Path, run_as: Owner) -> Result<Self> {
        // Where the owner of the servers can reach it.
        let (tools, _) = owner::settle(&std::path::absolute(tools)?)?;
        let made = fs::create_dir_all(&tools);
        made.with_context(|| format!("{} cannot be made", tools.display()))?;
        let (python, version) = find_python(run_as)?;
        let mut hasher = DefaultHasher::new();
        (REQUIREMENTS, BUILD_WITH, &python, version).hash(&mut hasher);
        let packages = tools.join(format!("patroni-{:016x}", hasher.finish()));
        let door = File::create(tools.join("patroni.lock"))?;
        door.lock().context("the lock file of Patroni's packages cannot be locked")?;
        if !packages.exists() {
            eprintln!("Installing Patroni (40 MB) for this project.");
            let file = tools.join("requirements.txt");
            fs::write(&file, REQUIREMENTS)?;
            let build_with = tools.join("build-with.txt");
            fs::write(&build_with, BUILD_WITH)?;
            let wanted = ["--require-hashes".as_ref(), "--requirement".as_ref(), file.as_os_str()];
            pip::install(&python, wanted, Some(&build_with), &packages)
                .context("Patroni cannot be installed")?;
        }
        Ok(Self { python, packages })
    }

    /// Patroni with a directory of settings.
    pub(super) fn command(&self, config: &Path) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-m", "patroni"]).arg(config).env("PYTHONPATH", &self.packages);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// The first Python that can install packages and be run as the owner of the servers.
fn find_python(owner: Owner) -> Result<(PathBuf, String)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([SYSTEM_PYTHON_DIR.into()]);
    let mut pythons = dirs.map(|dir| dir.join("python3")).filter(|python| python.exists());
    pythons
        .find_map(|python| {
            let mut command = Command::new(&python);
            command.args(["-c", VERSION]).current_dir("/").stdin(Stdio::null());
            owner.run_as(&mut command);
            let output = command.output().ok().filter(|output| output.status.success())?;
            Some((python, String::from_utf8(output.stdout).ok()?))
        })
        .context("Patroni needs python3 with pip (Debian: apt-get install python3-pip)")
}

/// One request to the Patroni of a port: the status and the body of its answer.
fn ask(port: u16, request: &str, body: &str, most: Duration) -> Result<(u16, String)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(most))?;
    stream.set_write_timeout(Some(most))?;
    // It closes the connection after its answer, as it does for HTTP/1.0.
    write!(stream, "{request} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end")?;
    let status = head.split_whitespace().nth(1).context("an answer without a status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// Whether a node is what a path of Patroni's asks for, such as `/primary`, and its server runs in that role. Its word
/// alone is about the leader's lock, which a server that was killed has still while it starts again as a standby. One
/// that does not answer is not.
pub(super) fn is(port: u16, path: &str, role: &str) -> bool {
    ask(port, &format!("GET {path}"), "", ANSWER_MAX).is_ok_and(|(status, body)| {
        let own: Value = serde_json::from_str(&body).unwrap_or_default();
        let says = |key: &str, value: &str| own.get(key).is_some_and(|it| it == value);
        status == 200 && says("state", "running") && says("role", role)
    })
}

/// A document of Patroni's.
pub(super) fn document(port: u16, path: &str) -> Result<Value> {
    let (_, body) = ask(port, &format!("GET {path}"), "", ANSWER_MAX)?;
    Ok(serde_json::from_str(&body)?)
}

/// Has another node lead.
pub(super) fn switch_over(port: u16, leader: &str, candidate: &str) -> Result<()> {
    let body = serde_json::json!({"leader": leader, "candidate": candidate}).to_string();
    let (status, told) = ask(port, "POST /switchover", &body, SWITCHOVER_MAX)?;
    ensure!(status == 200, "Patroni refuses that {candidate} leads in place of {leader}: {told}");
    Ok(())
}
