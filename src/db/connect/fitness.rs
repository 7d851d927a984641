//! Whether a new session is what was asked for, and its database one that a ledger may be in. No other
//! session is handed out, so what holds here holds for every statement.

use sqlx::PgConnection;
use uuid::Uuid;

use super::hint::POOLER;
use super::{Purpose, Target};
use crate::db::Error;

/// The oldest Postgres that is supported, as it counts its versions.
const VERSION_MIN: i32 = 150_000;

/// The session's own setting that tells whether it has what it was opened with: a pooler that ignores the
/// rest ignores this, too, and a session that it had opened for somebody else has another.
pub(super) const MARK: &str = "payonce.session";

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
    #[error("{0}")]
    TakesNoPayments(&'static str),
    #[error(
        "the role {role:?} lacks {missing} of the rights that payments need, such as {first}: \
         `payonce migrate` gives them"
    )]
    LacksRights { role: String, missing: usize, first: String },
}

/// Looks at a new session, and lets its commits wait for the disk, whatever its role or database says; for
/// more than that (`remote_apply`) where they say so.
pub(super) async fn check(
    conn: &mut PgConnection,
    target: &Target,
    purpose: Purpose,
    mark: Uuid,
) -> Result<(), Error> {
    let found = sqlx::query!(
        r#"
        SELECT current_setting('server_version_num')::int AS "version!",
               current_setting('payonce.session', true) AS "mark?",
               current_setting('server_encoding') AS "encoding!",
               current_schema()::text AS "schema?",
               current_setting('fsync') = 'off' AS "no_fsync!",
               current_setting('full_page_writes') = 'off' AS "no_full_pages!",
               current_setting('zero_damaged_pages') = 'on' AS "zeroes_pages!",
               current_setting('ignore_checksum_failure') = 'on' AS "ignores_checksums!",
               current_setting('session_replication_role') = 'replica' AS "is_unguarded!",
               CASE WHEN current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
                    THEN set_config('synchronous_commit', 'on', false) END AS "raised?"
        "#
    )
    .fetch_one(conn)
    .await
    .map_err(Error::Connect)?;
    let unfit = if found.version < VERSION_MIN {
        Unfit::TooOld(found.version)
    } else if found.mark != Some(mark.to_string()) {
        Unfit::Pooler
    } else if found.encoding != "UTF8" {
        Unfit::Encoding(found.encoding)
    } else if purpose.needs_ledger() && found.schema.as_deref() != Some(&target.schema) {
        Unfit::NoSchema(target.schema.clone())
    } else if found.zeroes_pages {
        Unfit::ReadsDamage("zero_damaged_pages")
    } else if found.ignores_checksums {
        Unfit::ReadsDamage("ignore_checksum_failure")
    } else if found.is_unguarded {
        Unfit::Unguarded
    } else if let Some(unfit) = target.loses_commits(found.no_fsync, found.no_full_pages)
        && purpose.acknowledges()
    {
        unfit
    } else {
        return Ok(());
    };
    Err(unfit.into())
}
