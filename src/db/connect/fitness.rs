//! Whether a new session is what was asked for, and its database one that a ledger may be in. No other
//! session is handed out, so what holds here holds for every statement.

use sqlx::PgConnection;
use uuid::Uuid;

use super::target::{Purpose, Target};
use super::unfit::Unfit;
use crate::db::Error;

/// The oldest Postgres that is supported, as it counts its versions.
const VERSION_MIN: i32 = 150_000;

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
