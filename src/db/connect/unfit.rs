//! Faults that make a database, or the way to it, unfit for a ledger.

use super::hint::POOLER;

/// Why a database, or the way to it, is not to be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("Postgres 15 or newer is needed; this one says it is {0}")]
    TooOld(i32),
    #[error("the session does not have the settings that it was opened with: {POOLER}")]
    Pooler,
    #[error(
        "its encoding is {0}, and not UTF8, which alone has every character of a note. Make a database \
         with ENCODING 'UTF8' TEMPLATE template0, and restore a dump into it"
    )]
    Encoding(String),
    #[error(
        "there is no schema {0:?}, or the role may not use it. database.schema says where the ledger is; \
         `payonce migrate` makes it"
    )]
    NoSchema(String),
    #[error(
        "{0} is off, so that a crash of the server can lose payments that were answered. Turn it on, or \
         set database.allow_lost_commits where that does not matter"
    )]
    LosesCommits(&'static str),
    #[error("{0} is on: with it damaged pages are read as if they were empty")]
    ReadsDamage(&'static str),
    #[error(
        "session_replication_role is replica: with it the triggers that guard the ledger do nothing"
    )]
    Unguarded,
    #[error(
        "it is in recovery: a standby, which takes no payments and shows what it has replayed so far"
    )]
    InRecovery,
    #[error("it takes writes, and was to be read as a replica")]
    NoReplica,
    #[error(
        "it takes writes, and was overtaken: it is of timeline {timeline}, and a server that was promoted has \
         begun timeline {newest}. Make a standby of it"
    )]
    Overtaken { timeline: u32, newest: u32 },
    #[error(
        "it is of another cluster than the servers that were used before (the system identifiers differ). Where \
         the ledger was moved, start the service anew"
    )]
    OtherCluster,
    #[error(
        "the servers {0} and {1} are of different clusters (the system identifiers differ): database.url names \
         a primary and its standbys, and no others"
    )]
    TwoClusters(String, String),
    #[error("{0}")]
    TakesNoPayments(&'static str),
    #[error(
        "the role {role:?} lacks {missing} of the rights that payments need, such as {first}: \
         `payonce migrate` gives them"
    )]
    LacksRights { role: String, missing: usize, first: String },
}
