//! Whether a new session is what was asked for, and its database one that a ledger may be in. No other
//! session is handed out, so what holds here holds for every statement.

use sqlx::PgConnection;
use uuid::Uuid;

use super::target::{Purpose, Target};
use super::unfit::Unfit;
use crate::db::Error;

/// The oldest Postgres that is supported, as it counts its versions.
const VERSION_MIN: i32 = 150_000;

/// What a server is in its cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// Of the cluster, and the same for all its servers.
    pub system: i64,
    /// Where it takes writes: the timeline that it writes.
    pub timeline: Option<u32>,
}

impl Standing {
    /// Whether it is a standby, or on the way to become what it was.
    pub fn is_recovering(&self) -> bool {
        self.timeline.is_none()
    }
}

/// Asks a server what it is.
pub(super) async fn standing(conn: &mut PgConnection) -> Result<Standing, Error> {
    let found = sqlx::query!(
        r#"
        SELECT system_identifier AS "system!",
               CASE WHEN NOT pg_is_in_recovery()
                    THEN left(pg_walfile_name(pg_current_wal_flush_lsn()), 8) END AS "timeline?"
        FROM pg_control_system()
        "#
    )
    .fetch_one(conn)
    .await
    .map_err(Error::Connect)?;
    let timeline = found.timeline.as_deref().map(timeline_of);
    Ok(Standing { system: found.system, timeline })
}

/// The timeline at the beginning of the name of a file of the log: eight hexadecimal digits.
pub(in crate::db) fn timeline_of(digits: &str) -> u32 {
    u32::from_str_radix(digits, 16).unwrap_or_default()
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
        SELECT pg_is_in_recovery() AS "is_recovering!",
               current_setting('server_version_num')::int AS "version!",
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
    let unfit = if found.is_recovering && purpose.needs_primary() {
        Unfit::InRecovery
    } else if found.version < VERSION_MIN {
        Unfit::TooOld(found.version)
    } else if found.mark != Some(mark.to_string()) {
        Unfit::Pooler
    } else if found.encoding != "UTF8" {
        Unfit::Encoding(found.encoding)
    } else if purpose.needs_ledger() && found.schema.as_deref() != Some(target.schema()) {
        Unfit::NoSchema(target.schema().to_owned())
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
