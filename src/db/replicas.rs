//! How far the primary's log was on the disk, and whether a replica shows all of that.

use sqlx::PgConnection;

use super::Error;
use super::connect::timeline_of;

/// A place in the log of a cluster, on a timeline: no payment that was acknowledged before it was asked for is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    pub timeline: u32,
    /// In bytes.
    pub lsn: i64,
}

/// Where a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// It shows everything up to the position.
    All,
    /// It is on the way.
    Behind,
    /// It follows nobody, so nobody knows whose log it has replayed.
    FollowsNobody,
    /// It follows another server than the primary, or was promoted.
    OtherTimeline,
    /// The owner of the ledger may not see whom it follows.
    Hidden,
}

/// Asks the primary for the end of what is safe on its disk: COMMIT is answered after that.
///
/// # Errors
/// The database's; where it is not the primary any more, too.
pub async fn flushed(conn: &mut PgConnection) -> Result<LogPosition, Error> {
    let found = sqlx::query!(
        r#"
        SELECT (lsn - '0/0')::bigint AS "lsn!", left(pg_walfile_name(lsn), 8) AS "timeline!"
        FROM pg_current_wal_flush_lsn() AS flushed (lsn)
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok(LogPosition { timeline: timeline_of(&found.timeline), lsn: found.lsn })
}

/// Asks a replica whether it shows everything up to a position. From then on it does, whatever it follows later: a
/// session ends where a server goes back.
///
/// # Errors
/// The database's.
pub async fn reached(conn: &mut PgConnection, position: LogPosition) -> Result<Reached, Error> {
    let found = sqlx::query!(
        r#"
        SELECT pg_is_in_recovery() AS "is_replica!", followed_timeline() AS "timeline?",
               coalesce((pg_last_wal_replay_lsn() - '0/0')::bigint >= $1, false) AS "has_all!"
        "#,
        position.lsn
    )
    .fetch_one(conn)
    .await?;
    Ok(match found.timeline {
        _ if !found.is_replica => Reached::OtherTimeline,
        None => Reached::FollowsNobody,
        Some(0) => Reached::Hidden,
        Some(timeline) if u32::try_from(timeline) != Ok(position.timeline) => {
            Reached::OtherTimeline
        }
        Some(_) if found.has_all => Reached::All,
        Some(_) => Reached::Behind,
    })
}
