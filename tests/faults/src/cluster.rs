//! A cluster whose parts are there to be killed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use local_postgres::Source;
use local_postgres::cluster::Cluster as Nodes;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use testbed::SERVICE_ROLE;
use tokio::task::block_in_place;

use crate::postgres::{Files, SETTINGS, Servers};

/// How long nobody may lead: longer than `ttl`, and a server's start.
const LEADERLESS_MAX: Duration = Duration::from_mins(1);

const POLL: Duration = Duration::from_millis(20);

const TAKES_WRITES: &str = "SELECT NOT pg_is_in_recovery()";

/// Three servers under Patroni.
pub struct Cluster {
    pub nodes: Nodes,
    // Last, so that everything has stopped when its files go.
    _home: TempDir,
}

impl Cluster {
    /// A new one with an empty database, not yet migrated, and the service's role.
    ///
    /// # Errors
    /// Something is missing, or does not start.
    pub async fn new(files: &Files) -> Result<Self> {
        let (home, path) = files.home()?;
        let home = home.context("a cluster is on disk or in memory")?;
        let nodes = block_in_place(|| {
            let tools = testbed::beside_programs("tools")?;
            let nodes = Nodes::start(&path.join("home"), &tools, &Source::Auto, &SETTINGS)?;
            nodes.wait_until_whole()?;
            anyhow::Ok(nodes)
        })?;
        let cluster = Self { nodes, _home: home };
        cluster.execute(&testbed::make_role(SERVICE_ROLE)).await?;
        Ok(cluster)
    }

    /// Waits until a server leads, other than one of before.
    ///
    /// # Errors
    /// None does within a minute.
    pub async fn wait_for_leader(&self, other_than: Option<usize>) -> Result<usize> {
        let mut found = None;
        let leads = async || {
            found = block_in_place(|| self.nodes.leader());
            Ok(found.is_some() && found != other_than)
        };
        testbed::until("a server leads", LEADERLESS_MAX, leads).await?;
        found.context("nobody leads")
    }

    /// Waits until no server leads.
    ///
    /// # Errors
    /// One does for a minute.
    pub async fn wait_for_no_leader(&self) -> Result<()> {
        let nobody_leads = async || Ok(block_in_place(|| self.nodes.leader()).is_none());
        testbed::until("nobody leads", LEADERLESS_MAX, nobody_leads).await
    }

    /// # Errors
    /// The cluster does not come together.
    pub fn wait_until_whole(&self) -> Result<()> {
        block_in_place(|| self.nodes.wait_until_whole())
    }
}

impl Servers for Cluster {
    fn url(&self, role: &str) -> String {
        self.nodes.url(role)
    }

    fn each_url(&self, role: &str) -> Vec<String> {
        (0..self.nodes.size()).map(|node| self.nodes.url_of(node, role)).collect()
    }

    fn version(&self) -> &str {
        self.nodes.version()
    }

    /// One with the server that takes writes.
    async fn session(&self) -> Result<PgConnection> {
        let began = Instant::now();
        loop {
            for url in self.each_url(self.nodes.owner_role()) {
                if let Ok(mut session) = PgConnection::connect(&url).await
                    && sqlx::query_scalar(TAKES_WRITES).fetch_one(&mut session).await?
                {
                    return Ok(session);
                }
            }
            ensure!(began.elapsed() < LEADERLESS_MAX, "no server takes writes");
            tokio::time::sleep(POLL).await;
        }
    }
}
