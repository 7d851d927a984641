//! A private cluster on one machine: three Postgres servers under Patroni, which keeps in etcd who of them
//! leads. Commits wait for a second server; where the leader is lost, that one leads.
//!
//! Patroni runs with `deploy/cluster/cluster.yml`, as it is deployed. Everything lives in one *home*
//! directory:
//!
//! ```text
//! home/lock             held by the program that runs the cluster
//! home/port             the first of its ports, which stay the same
//! home/db1/config/      Patroni's settings: cluster.yml, and node.yml that is made here
//! home/db1/data/        the data directory of Postgres
//! home/db1/etcd/        that of etcd
//! home/db1/*.log        what Patroni with its Postgres, and etcd, printed at last
//! home/db2/ home/db3/   the same
//! ```
//!
//! All servers listen on loopback, without passwords: it is for a machine of one's own.

mod patroni;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::binaries::{Binaries, Source};
use crate::owner::{self, Owner};
use crate::processes::{self, Paused, Pid};
use crate::{ROLE, cluster_version};
use patroni::Patroni;

/// What all nodes have in common, as it is deployed.
const SHARED: &str = include_str!("../../../deploy/cluster/cluster.yml");

const NAMES: [&str; 3] = ["db1", "db2", "db3"];

/// Ports are taken from here: above those of known services, below those of outgoing connections, which could
/// hold the port of a server that is to start again.
const PORTS: std::ops::Range<u16> = 12_000..30_000;

/// How long processes may take to end in order.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How long all three servers may take until they follow one leader.
pub const WHOLE_MAX: Duration = Duration::from_mins(5);

/// Lines of a log that are shown where something went wrong.
const LINES_SHOWN: usize = 20;

const POLL: Duration = Duration::from_millis(50);

/// What listens on a node.
#[derive(Clone, Copy)]
enum Port {
    EtcdPeers,
    Etcd,
    Patroni,
    Postgres,
}

/// A process of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Etcd,
    /// With its Postgres.
    Patroni,
}

/// A cluster whose processes are ours. They are killed where it is not stopped.
pub struct Cluster {
    home: PathBuf,
    owner: Owner,
    binaries: Binaries,
    patroni: Patroni,
    first_port: u16,
    nodes: Vec<Node>,
    _lock: File,
}

/// One server, with the processes that belong to its machine.
struct Node {
    etcd: Option<Child>,
    patroni: Option<Child>,
}

impl Cluster {
    /// Starts the cluster of `home`, or makes it, with packages that are kept in `tools`. Processes of a program that
    /// was killed are ended first, also those of the program's own that have `home` as an argument. `settings` are
    /// parameters of Postgres.
    ///
    /// # Errors
    /// Another program runs it; something is missing, and the error says how to get it.
    pub fn start(
        home: &Path,
        tools: &Path,
        source: &Source,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let (home, owner) = owner::settle(&std::path::absolute(home)?)?;
        owner.make_dir(&home)?;
        let lock = File::create(home.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another program runs the cluster in {}", home.display())
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let version = cluster_version(&home.join("db1/data"))?;
        let binaries = Binaries::find(source, &home, version)?;
        let patroni = Patroni::find(tools, owner)?;
        end_leftovers(&home)?;
        let nodes = NAMES.iter().map(|_| Node { etcd: None, patroni: None }).collect();
        let first_port = first_port(&home)?;
        let mut cluster = Self { home, owner, binaries, patroni, first_port, nodes, _lock: lock };
        for node in 0..NAMES.len() {
            cluster.write_config(node, settings)?;
            cluster.start_etcd(node)?;
        }
        for node in 0..NAMES.len() {
            cluster.start_node(node)?;
        }
        Ok(cluster)
    }

    /// How many servers it has. They are numbered from 0.
    #[must_use]
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `Postgres 15.18`, for people.
    #[must_use]
    pub fn version(&self) -> &str {
        self.binaries.version()
    }

    /// `db1`.
    #[must_use]
    pub fn name(&self, node: usize) -> &'static str {
        NAMES.get(node).copied().unwrap_or_default()
    }

    /// A connection URL of one server, for a role that is there.
    #[must_use]
    pub fn url_of(&self, node: usize, role: &str) -> String {
        format!("postgres://{role}@{}/{ROLE}?sslmode=disable", self.address(node, Port::Postgres))
    }

    /// A connection URL that names all servers.
    #[must_use]
    pub fn url(&self, role: &str) -> String {
        let addresses = self.addresses(Port::Postgres).join(",");
        format!("postgres://{role}@{addresses}/{ROLE}?sslmode=disable")
    }

    /// The role that owns everything, a superuser.
    #[must_use]
    pub fn owner_role(&self) -> &'static str {
        ROLE
    }

    /// The port of a server.
    #[must_use]
    pub fn postgres_port(&self, node: usize) -> u16 {
        self.port(node, Port::Postgres)
    }

    /// The server that takes writes, if one does.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        self.one_that_is("/primary", "primary")
    }

    /// The server that commits wait for, if there is one.
    #[must_use]
    pub fn synchronous(&self) -> Option<usize> {
        self.one_that_is("/synchronous", "replica")
    }

    fn one_that_is(&self, path: &str, role: &str) -> Option<usize> {
        (0..self.size()).find(|node| patroni::is(self.port(*node, Port::Patroni), path, role))
    }

    /// Whether one server leads, the others follow it, and commits wait for one of these. The leader is asked, who
    /// sees them: in etcd a node that was killed goes on as it was for `ttl`.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let Some(leader) = self.leader() else {
            return false;
        };
        let seen = patroni::document(self.port(leader, Port::Patroni), "/patroni");
        let seen = seen.unwrap_or_default();
        let followers = seen.get("replication").and_then(Value::as_array);
        let follows = |name: &&str| {
            followers.into_iter().flatten().any(|follower| {
                let says = |key: &str, value: &str| follower.get(key).is_some_and(|it| it == value);
                says("application_name", name) && says("state", "streaming")
            })
        };
        NAMES.iter().filter(|name| **name != self.name(leader)).all(follows)
            && self.synchronous().is_some()
    }

    /// Waits until [`Self::is_whole`].
    ///
    /// # Errors
    /// It does not become so within five minutes: the end of each node's log.
    pub fn wait_until_whole(&self) -> Result<()> {
        let began = Instant::now();
        while !self.is_whole() {
            if began.elapsed() > WHOLE_MAX {
                let logs = (0..self.size()).map(|node| end_of(&self.dir(node).join("patroni.log")));
                let logs: Vec<String> = logs.collect();
                bail!("the cluster does not come together:\n{}", logs.join("\n\n"));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// What Patroni keeps in etcd: settings that all nodes share.
    ///
    /// # Errors
    /// No node answers.
    pub fn shared_settings(&self) -> Result<Value> {
        let leader = self.leader().context("nobody leads")?;
        patroni::document(self.port(leader, Port::Patroni), "/config")
    }

    /// Has a server that commits wait for lead, in order. Returns which.
    ///
    /// # Errors
    /// There is none, or Patroni refuses.
    pub fn switch_over(&self) -> Result<usize> {
        let leader = self.leader().context("nobody leads")?;
        let next = self.synchronous().context("commits wait for no server")?;
        let port = self.port(leader, Port::Patroni);
        patroni::switch_over(port, self.name(leader), self.name(next))?;
        Ok(next)
    }

    /// The processes whose end a node does not survive: Patroni, and Postgres' postmaster.
    #[must_use]
    pub fn processes(&self, node: usize) -> Vec<Pid> {
        let patroni = self.nodes.get(node).and_then(|node| node.patroni.as_ref());
        let patroni = patroni.map(Pid::from_child);
        // Not one behind the other: Patroni would start Postgres again.
        patroni.into_iter().chain(processes::postmaster(&self.dir(node).join("data"))).collect()
    }

    /// `kill -9` of a server with its Patroni.
    ///
    /// # Errors
    /// They do not end.
    pub fn kill_node(&mut self, node: usize) -> Result<()> {
        processes::kill(&self.processes(node))?;
        end(self.nodes.get_mut(node).and_then(|node| node.patroni.take()))
    }

    /// Stops a server with its Patroni where they are (SIGSTOP).
    ///
    /// # Errors
    /// The system's.
    pub fn pause_node(&self, node: usize) -> Result<Paused> {
        Paused::stop(&self.processes(node))
    }

    /// Starts a server's Patroni, which starts the server.
    ///
    /// # Errors
    /// The program is missing.
    pub fn start_node(&mut self, node: usize) -> Result<()> {
        let command = self.patroni.command(&self.dir(node).join("config"));
        let child = self.spawn(command, &self.dir(node).join("patroni.log"))?;
        if let Some(node) = self.nodes.get_mut(node) {
            node.patroni = Some(child);
        }
        Ok(())
    }

    /// `kill -9` of a node's etcd.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill_etcd(&mut self, node: usize) -> Result<()> {
        end(self.nodes.get_mut(node).and_then(|node| node.etcd.take()))
    }

    /// Starts a node's etcd.
    ///
    /// # Errors
    /// The program is missing.
    pub fn start_etcd(&mut self, node: usize) -> Result<()> {
        let peers = |node: usize| self.http(node, Port::EtcdPeers);
        let all: Vec<String> =
            (0..self.size()).map(|it| format!("{}={}", self.name(it), peers(it))).collect();
        let mut etcd = Command::new("etcd");
        etcd.args(["--name", self.name(node), "--data-dir"]).arg(self.dir(node).join("etcd"));
        etcd.args(["--listen-peer-urls", &peers(node)]);
        etcd.args(["--initial-advertise-peer-urls", &peers(node)]);
        etcd.args(["--listen-client-urls", &self.http(node, Port::Etcd)]);
        etcd.args(["--advertise-client-urls", &self.http(node, Port::Etcd)]);
        etcd.args(["--initial-cluster", &all.join(","), "--log-level", "warn"]);
        // Older ones ask for this there.
        etcd.env("ETCD_UNSUPPORTED_ARCH", "arm64");
        let child = self.spawn(etcd, &self.dir(node).join("etcd.log"));
        let child = child.context("etcd is missing (Debian: apt-get install etcd-server)")?;
        if let Some(node) = self.nodes.get_mut(node) {
            node.etcd = Some(child);
        }
        Ok(())
    }

    /// Processes that have ended by themselves, and are not started again before somebody does.
    ///
    /// # Errors
    /// The system's.
    pub fn ended(&mut self) -> Result<Vec<(usize, Part)>> {
        let mut ended = Vec::new();
        for (number, node) in self.nodes.iter_mut().enumerate() {
            for (part, process) in
                [(Part::Etcd, &mut node.etcd), (Part::Patroni, &mut node.patroni)]
            {
                if let Some(child) = process
                    && child.try_wait()?.is_some()
                {
                    *process = None;
                    ended.push((number, part));
                }
            }
        }
        Ok(ended)
    }

    /// Stops everything in order: those who follow, who leads, and etcd.
    ///
    /// # Errors
    /// The system's.
    pub fn stop(mut self) -> Result<()> {
        let leader = self.leader();
        let followers = (0..self.size()).filter(|node| Some(*node) != leader);
        for group in [followers.collect::<Vec<_>>(), leader.into_iter().collect()] {
            let of_group = self.nodes.iter_mut().enumerate().filter(|(it, _)| group.contains(it));
            stop_all(of_group.filter_map(|(_, node)| node.patroni.take()).collect())?;
        }
        stop_all(self.nodes.iter_mut().filter_map(|node| node.etcd.take()).collect())
    }

    fn dir(&self, node: usize) -> PathBuf {
        self.home.join(self.name(node))
    }

    fn port(&self, node: usize, port: Port) -> u16 {
        let row = match port {
            Port::EtcdPeers => 0,
            Port::Etcd => 3,
            Port::Patroni => 6,
            Port::Postgres => 9,
        };
        let node = u16::try_from(node).unwrap_or_default();
        self.first_port.saturating_add(row).saturating_add(node)
    }

    fn address(&self, node: usize, port: Port) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.port(node, port))
    }

    fn addresses(&self, port: Port) -> Vec<String> {
        (0..self.size()).map(|node| self.address(node, port)).collect()
    }

    fn http(&self, node: usize, port: Port) -> String {
        format!("http://{}", self.address(node, port))
    }

    /// Writes what Patroni is told about a node.
    fn write_config(&self, node: usize, settings: &[(&str, &str)]) -> Result<()> {
        let dir = self.dir(node);
        self.owner.make_dir(&dir)?;
        self.owner.make_dir(&dir.join("config"))?;
        let programs = self.binaries.dir();
        let make_database = format!(
            "{} --no-psqlrc --quiet --command 'CREATE DATABASE {ROLE}' --dbname",
            programs.join("psql").display()
        );
        let (patroni, postgres) =
            (self.address(node, Port::Patroni), self.address(node, Port::Postgres));
        let may = |database: &str| format!("host {database} all {}/32 trust", Ipv4Addr::LOCALHOST);
        let mut parameters =
            BTreeMap::from([("unix_socket_directories", ""), ("shared_buffers", "128MB")]);
        parameters.extend(settings.iter().copied());
        let own = json!({
            "name": self.name(node),
            "restapi": {"listen": patroni, "connect_address": patroni},
            "etcd3": {"hosts": self.addresses(Port::Etcd)},
            "bootstrap": {"post_bootstrap": make_database},
            "postgresql": {
                "listen": postgres,
                "connect_address": postgres,
                "data_dir": dir.join("data"),
                "bin_dir": programs,
                "authentication": {
                    "superuser": {"username": ROLE},
                    "replication": {"username": "replicator"},
                },
                "pg_hba": [may("all"), may("replication")],
                // A copy that is made does not wait until a checkpoint has taken its time.
                "basebackup": [{"checkpoint": "fast"}],
                "parameters": parameters,
            },
        });
        // JSON is YAML.
        let own = own.to_string();
        for (name, text) in [("cluster.yml", SHARED), ("node.yml", &own)] {
            let file = dir.join("config").join(name);
            fs::write(&file, text)
                .with_context(|| format!("{} cannot be written", file.display()))?;
            self.owner.let_have(&file)?;
        }
        Ok(())
    }

    /// Starts a process that signals of a terminal do not reach, and that has no settings of one's shell.
    fn spawn(&self, mut command: Command, log: &Path) -> Result<Child> {
        let added: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LC_ALL", "C").env("HOME", &self.home).envs(added);
        command.current_dir("/").process_group(0);
        self.owner.run_as(&mut command);
        let log = File::create(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let name = command.get_program().to_string_lossy().into_owned();
        command.spawn().with_context(|| format!("{name} cannot be started"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..self.size() {
            if let Err(error) = self.kill_node(node).and_then(|()| self.kill_etcd(node)) {
                eprintln!("{} was not ended: {error:#}", self.name(node));
            }
        }
    }
}

/// Ends processes of this cluster whose program was killed: they were told of these directories.
fn end_leftovers(home: &Path) -> Result<()> {
    let of_nodes = NAMES.iter().flat_map(|name| {
        let dir = home.join(name);
        ["etcd", "config", "data"].map(|of| dir.join(of))
    });
    let told: Vec<PathBuf> = of_nodes.chain([home.to_owned()]).collect();
    processes::kill(&processes::with_argument(&told)?)
}

/// The first of this cluster's ports: it is drawn once, because etcd keeps who has which.
fn first_port(home: &Path) -> Result<u16> {
    let file = home.join("port");
    if let Ok(text) = fs::read_to_string(&file) {
        return text.trim().parse().with_context(|| format!("{} holds no port", file.display()));
    }
    let mut hasher = DefaultHasher::new();
    (home, std::process::id(), SystemTime::now()).hash(&mut hasher);
    let room = usize::from(PORTS.end.saturating_sub(PORTS.start));
    let drawn = hasher.finish().checked_rem(u64::try_from(room)?).unwrap_or_default();
    let count = u16::try_from(NAMES.len().saturating_mul(4))?;
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut firsts = PORTS.cycle().skip(usize::try_from(drawn)?).take(room);
    let first = firsts.find(|first| (*first..first.saturating_add(count)).all(is_free));
    let first = first.context("there are no free ports")?;
    fs::write(&file, first.to_string())?;
    Ok(first)
}

/// `kill -9` of a child, if there is one.
fn end(child: Option<Child>) -> Result<()> {
    if let Some(mut child) = child {
        processes::kill(&[Pid::from_child(&child)])?;
        child.wait()?;
    }
    Ok(())
}

/// SIGTERM; those that do not end in time are killed.
fn stop_all(children: Vec<Child>) -> Result<()> {
    for child in &children {
        // Some have ended.
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
    }
    let began = Instant::now();
    for mut child in children {
        while child.try_wait()?.is_none() {
            if began.elapsed() > STOP_MAX {
                end(Some(child))?;
                break;
            }
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

/// The last lines of a log.
fn end_of(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.len().saturating_sub(LINES_SHOWN);
    format!("{}:\n{}", log.display(), lines.get(shown..).unwrap_or_default().join("\n"))
}
