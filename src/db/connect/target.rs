//! Targets: which ledger a session is with, and for which purpose; and what each is told at its start.

use std::sync::{Arc, Once};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use super::servers::Servers;
use super::unfit::Unfit;
use super::url::{DatabaseUrl, Malformed};

/// Which ledger of which database, and the limits of every session with it.
#[derive(Clone)]
pub struct Target {
    pub(super) servers: Arc<Servers>,
    schema: String,
    may_lose_commits: bool,
    pub(super) connect_timeout: Duration,
    statement_timeout_ms: u64,
    lock_timeout_ms: u64,
}

/// The schema where none is named.
pub const DEFAULT_SCHEMA: &str = "public";

/// The use of a session. Each has its own settings, made known to Postgres at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Posts batches.
    Write,
    /// Answers requests; cannot write.
    Read,
    /// The same on a replica.
    ReadReplica,
    /// Looks whether the database takes payments, so as the writers would find it.
    Look,
    /// Removes old keys.
    Prune,
    /// Gives payments their positions in the feed.
    Number,
    /// Notes how far webhooks are.
    Send,
    /// Changes the schema.
    Migrate,
    /// Audits: long statements over whole tables.
    Audit,
    /// Audits what is new in the ledger.
    AuditOfNew,
    /// Finds out where there are ledgers, whatever they are like.
    Find,
}

/// Plans for statements that touch few rows of tables that may be empty now and large tomorrow.
/// A generic plan is kept while a table grows, and on an empty one Postgres prefers a hash join
/// over a sequential scan: measured, that costs three quarters of the throughput later on.
const INDEX_PLANS: [(&str, &str); 7] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    ("jit", "off"),
];

/// The meaning of our statements must not depend on a role's or a database's own settings.
const MEANING: [(&str, &str); 3] = [
    // The locks' promise depends on it: each statement has a snapshot of its own.
    ("default_transaction_isolation", "read committed"),
    ("standard_conforming_strings", "on"),
    // Rows that a policy hides would be accounts that do not exist and payments that were not made: with
    // this the statement fails instead.
    ("row_security", "off"),
];

/// The session's own setting that tells whether it has what it was opened with: a pooler that ignores the
/// rest ignores this, too, and a session that it had opened for somebody else has another.
const MARK: &str = "payonce.session";

/// How long a migration waits for a lock on a table. All that need the table then wait behind it,
/// payments too, however small the change is: so it gives way, and tries again.
const MIGRATION_LOCK_TIMEOUT_MS: &str = "1000";

/// A session that is elected for a task and is idle for so long is of a process that is paused: its end lets another
/// process take over.
const LETS_GO: [(&str, &str); 1] = [("idle_session_timeout", "2000")];

impl Purpose {
    /// The name of sessions that post batches, in `pg_stat_activity`.
    pub(in crate::db) const WRITER_NAME: &str = "payonce writer";
}

impl Target {
    /// The ledger in the schema `public`.
    ///
    /// # Errors
    /// The URL is not one of Postgres; what is told of it holds nothing of it.
    pub fn new(
        url: &str,
        connect_timeout: Duration,
        statement_timeout_ms: u64,
        lock_timeout_ms: u64,
    ) -> Result<Self, Malformed> {
        choose_cryptography();
        let servers = url.parse::<DatabaseUrl>()?.servers()?;
        Ok(Self {
            servers: Arc::new(Servers::new(servers)),
            schema: DEFAULT_SCHEMA.to_owned(),
            may_lose_commits: false,
            connect_timeout,
            statement_timeout_ms,
            lock_timeout_ms,
        })
    }

    /// The same of another schema.
    #[must_use]
    pub fn in_schema(mut self, schema: &str) -> Self {
        schema.clone_into(&mut self.schema);
        self
    }

    /// Whether a server will do whose crash can lose what was acknowledged.
    #[must_use]
    pub fn losing_commits(mut self, may: bool) -> Self {
        self.may_lose_commits = may;
        self
    }

    /// The role of its sessions.
    #[must_use]
    pub fn role(&self) -> &str {
        self.servers.role()
    }

    /// How many servers there are.
    #[must_use]
    pub fn server_count(&self) -> usize {
        self.servers.list().len()
    }

    /// Whether the server at this place of the list is the one that took writes last.
    #[must_use]
    pub fn is_primary(&self, place: usize) -> bool {
        self.servers.seen().primary == Some(place)
    }

    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The fault of a server where one of these is off.
    pub(in crate::db) fn loses_commits(
        &self,
        no_fsync: bool,
        no_full_pages: bool,
    ) -> Option<Unfit> {
        let off = match (no_fsync, no_full_pages) {
            (true, _) => "fsync",
            (false, true) => "full_page_writes",
            (false, false) => return None,
        };
        (!self.may_lose_commits).then_some(Unfit::LosesCommits(off))
    }

    /// The options of a session with one of the servers.
    pub(super) fn options(
        &self,
        server: &PgConnectOptions,
        purpose: Purpose,
        mark: Uuid,
    ) -> PgConnectOptions {
        let statement_timeout = self.statement_timeout_ms.to_string();
        let lock_timeout = self.lock_timeout_ms.to_string();
        let limits = [
            ("statement_timeout", statement_timeout.as_str()),
            ("idle_in_transaction_session_timeout", statement_timeout.as_str()),
            // A session whose service has vanished ends within 40 s, and with it what it holds. (On a
            // Unix socket Postgres ignores these.)
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "10"),
            ("tcp_keepalives_count", "3"),
        ];
        // Postgres' own schema comes first where it is not named, and so would temporary tables.
        let search_path = format!("{}, pg_temp", quoted(&self.schema));
        // These options come after those of the URL and of the environment, and count.
        let options = server
            .clone()
            .options([("search_path", search_path)])
            .options(MEANING)
            .options([(MARK, mark)]);
        match purpose {
            Purpose::Write => options
                .application_name(Purpose::WRITER_NAME)
                .options(limits)
                .options([("lock_timeout", lock_timeout.as_str())])
                .options(INDEX_PLANS),
            Purpose::Read | Purpose::ReadReplica => options
                .application_name("payonce reader")
                .options(limits)
                .options([("default_transaction_read_only", "on")])
                .options(INDEX_PLANS),
            Purpose::Look => {
                options.application_name("payonce health").options(limits).options(INDEX_PLANS)
            }
            Purpose::Prune => {
                options.application_name("payonce pruner").options(limits).options(INDEX_PLANS)
            }
            Purpose::Number => options
                .application_name("payonce numbering")
                .options(limits)
                .options(LETS_GO)
                .options([("lock_timeout", lock_timeout.as_str())])
                .options(INDEX_PLANS),
            Purpose::Send => options
                .application_name("payonce webhooks")
                .options(limits)
                .options(LETS_GO)
                .options([("lock_timeout", lock_timeout.as_str())])
                .options(INDEX_PLANS),
            Purpose::Migrate => options
                .application_name("payonce migration")
                .options([("lock_timeout", MIGRATION_LOCK_TIMEOUT_MS)])
                // That something is there already is no news.
                .options([("client_min_messages", "warning")]),
            Purpose::Audit => options.application_name("payonce audit"),
            Purpose::AuditOfNew => options.application_name("payonce audit").options(INDEX_PLANS),
            Purpose::Find => options.application_name("payonce"),
        }
    }
}

/// A password is in it.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Purpose {
    /// Whether its sessions are for a ledger that is there already.
    pub(super) fn needs_ledger(self) -> bool {
        !matches!(self, Self::Migrate | Self::Find)
    }

    /// Whether no standby will do, also where there is no other server: all but to look at what is there.
    pub(super) fn needs_primary(self) -> bool {
        !matches!(self, Self::ReadReplica | Self::Audit | Self::AuditOfNew | Self::Find)
    }

    /// Whether somebody is told of what its sessions commit.
    pub(super) fn acknowledges(self) -> bool {
        matches!(self, Self::Write | Self::Look | Self::Number | Self::Migrate)
    }
}

/// A name as it is written in a statement.
pub(in crate::db) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Two implementations of cryptography are in this house, because sqlx and reqwest bring one each, and
/// rustls panics where it has to choose. The one chosen here is that of the tokens.
fn choose_cryptography() {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| {
        // It fails where somebody has chosen before: that is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}
