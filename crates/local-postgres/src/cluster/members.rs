//! The servers of a cluster, for every program that knows where it lives: who leads, who follows, and what kills one.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::patroni;
use crate::ROLE;
use crate::processes::{self, Pid};

pub(super) const NAMES: [&str; 3] = ["db1", "db2", "db3"];

/// Ports are taken from here: above those of known services, below those of outgoing connections, which could
/// hold the port of a server that is to start again.
const PORTS: std::ops::Range<u16> = 12_000..30_000;

/// How long all three servers may take until they follow one leader.
pub const WHOLE_MAX: Duration = Duration::from_mins(5);

/// Lines of a log that are shown where something went wrong.
const LINES_SHOWN: usize = 20;

const POLL: Duration = Duration::from_millis(50);

/// What listens on a node.
#[derive(Clone, Copy)]
pub(super) enum Port {
    EtcdPeers,
    Etcd,
    Patroni,
    Postgres,
}

/// The servers of a cluster, whose processes may be another program's. They are numbered from 0.
pub struct Members {
    home: PathBuf,
    first_port: u16,
}

impl Members {
    /// Those of the cluster that lives in `home`.
    ///
    /// # Errors
    /// None does.
    pub fn of(home: &Path) -> Result<Self> {
        let first_port = noted_port(home)?;
        let first_port = first_port.with_context(|| format!("no cluster in {}", home.display()))?;
        Ok(Self { home: home.to_owned(), first_port })
    }

    /// The same; where none does yet, its ports are drawn.
    pub(super) fn settle(home: PathBuf) -> Result<Self> {
        let first_port = match noted_port(&home)? {
            Some(port) => port,
            None => draw_port(&home)?,
        };
        Ok(Self { home, first_port })
    }

    /// How many servers it has.
    #[must_use]
    pub fn size(&self) -> usize {
        NAMES.len()
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
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

    /// Whether one server leads, and the others follow it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.leader().is_some_and(|leader| self.all_follow(leader))
    }

    /// Whether the others follow this server, and commits wait for one of them. The leader is asked, who sees them:
    /// in etcd a node that was killed goes on as it was for `ttl`.
    #[must_use]
    pub fn all_follow(&self, leader: usize) -> bool {
        let seen = patroni::document(self.port(leader, Port::Patroni), "/patroni");
        let seen = seen.unwrap_or_default();
        let followers = seen.get("replication").and_then(Value::as_array);
        let timeline = seen.get("timeline");
        let follows = |node: usize| {
            let streams = followers.into_iter().flatten().any(|follower| {
                let says = |key: &str, value: &str| follower.get(key).is_some_and(|it| it == value);
                says("application_name", self.name(node)) && says("state", "streaming")
            });
            // A former leader streams for a moment before it is rewound, on its own timeline.
            let own = patroni::document(self.port(node, Port::Patroni), "/patroni");
            streams && timeline.is_some() && own.is_ok_and(|own| own.get("timeline") == timeline)
        };
        (0..self.size()).filter(|node| *node != leader).all(follows) && self.synchronous().is_some()
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
    ///
    /// # Errors
    /// The system's.
    pub fn processes(&self, node: usize) -> Result<Vec<Pid>> {
        let mut found = processes::with_argument(&[self.dir(node).join("config")])?;
        // Not one behind the other: Patroni would start Postgres again.
        found.extend(processes::postmaster(&self.dir(node).join("data")));
        Ok(found)
    }

    /// `kill -9` of a server with its Patroni, as if its machine were gone.
    ///
    /// # Errors
    /// They do not end.
    pub fn kill(&self, node: usize) -> Result<()> {
        processes::kill(&self.processes(node)?)
    }

    pub(super) fn dir(&self, node: usize) -> PathBuf {
        self.home.join(self.name(node))
    }

    pub(super) fn port(&self, node: usize, port: Port) -> u16 {
        let row = match port {
            Port::EtcdPeers => 0,
            Port::Etcd => 3,
            Port::Patroni => 6,
            Port::Postgres => 9,
        };
        let node = u16::try_from(node).unwrap_or_default();
        self.first_port.saturating_add(row).saturating_add(node)
    }

    pub(super) fn address(&self, node: usize, port: Port) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.port(node, port))
    }

    pub(super) fn addresses(&self, port: Port) -> Vec<String> {
        (0..self.size()).map(|node| self.address(node, port)).collect()
    }

    pub(super) fn http(&self, node: usize, port: Port) -> String {
        format!("http://{}", self.address(node, port))
    }
}

/// Where the first of a cluster's ports is kept.
fn port_file(home: &Path) -> PathBuf {
    home.join("port")
}

fn noted_port(home: &Path) -> Result<Option<u16>> {
    let file = port_file(home);
    let Ok(text) = fs::read_to_string(&file) else {
        return Ok(None);
    };
    let port = text.trim().parse();
    Ok(Some(port.with_context(|| format!("{} holds no port", file.display()))?))
}

/// The first of a new cluster's ports: it is drawn once, because etcd keeps who has which.
fn draw_port(home: &Path) -> Result<u16> {
    let mut hasher = DefaultHasher::new();
    (home, std::process::id(), SystemTime::now()).hash(&mut hasher);
    let room = usize::from(PORTS.end.saturating_sub(PORTS.start));
    let drawn = hasher.finish().checked_rem(u64::try_from(room)?).unwrap_or_default();
    let count = u16::try_from(NAMES.len().saturating_mul(4))?;
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut firsts = PORTS.cycle().skip(usize::try_from(drawn)?).take(room);
    let first = firsts.find(|first| (*first..first.saturating_add(count)).all(is_free));
    let first = first.context("there are no free ports")?;
    fs::write(port_file(home), first.to_string())?;
    Ok(first)
}

/// The last lines of a log.
fn end_of(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.len().saturating_sub(LINES_SHOWN);
    format!("{}:\n{}", log.display(), lines.get(shown..).unwrap_or_default().join("\n"))
}
