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

mod members;
mod patroni;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::binaries::{Binaries, Source};
use crate::owner::{self, Owner};
use crate::processes::{self, Paused, Pid};
use crate::{ROLE, cluster_version};
pub use members::{Members, WHOLE_MAX};
use members::{NAMES, Port};
use patroni::Patroni;

/// What all nodes have in common, as it is deployed.
const SHARED: &str = include_str!("../../../deploy/cluster/cluster.yml");

/// How long processes may take to end in order.
const STOP_MAX: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(50);

/// A process of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Etcd,
    /// With its Postgres.
    Patroni,
}

/// A cluster whose processes are ours. They are killed where it is not stopped.
pub struct Cluster {
    members: Members,
    owner: Owner,
    binaries: Binaries,
    patroni: Patroni,
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
        let members = Members::settle(home)?;
        let mut cluster = Self { members, owner, binaries, patroni, nodes, _lock: lock };
        for node in 0..NAMES.len() {
            cluster.write_config(node, settings)?;
            cluster.start_etcd(node)?;
        }
        for node in 0..NAMES.len() {
            cluster.start_node(node)?;
        }
        Ok(cluster)
    }

    /// `Postgres 15.18`, for people.
    #[must_use]
    pub fn version(&self) -> &str {
        self.binaries.version()
    }

    /// The role that owns everything, a superuser.
    #[must_use]
    pub fn owner_role(&self) -> &'static str {
        ROLE
    }

    /// `kill -9` of a server with its Patroni.
    ///
    /// # Errors
    /// They do not end.
    pub fn kill_node(&mut self, node: usize) -> Result<()> {
        self.kill(node)?;
        end(self.nodes.get_mut(node).and_then(|node| node.patroni.take()))
    }

    /// Stops a server with its Patroni where they are (SIGSTOP).
    ///
    /// # Errors
    /// The system's.
    pub fn pause_node(&self, node: usize) -> Result<Paused> {
        Paused::stop(&self.processes(node)?)
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
        command.env("LC_ALL", "C").env("HOME", self.home()).envs(added);
        command.current_dir("/").process_group(0);
        self.owner.run_as(&mut command);
        let log = File::create(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let name = command.get_program().to_string_lossy().into_owned();
        command.spawn().with_context(|| format!("{name} cannot be started"))
    }
}

/// A cluster whose processes are ours is asked as any other.
impl Deref for Cluster {
    type Target = Members;

    fn deref(&self) -> &Members {
        &self.members
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
