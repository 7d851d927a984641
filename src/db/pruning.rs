//! Removing the rows of old keys.

use std::ops::Range;

use sqlx::PgConnection;

use super::Error;

/// Notes that a sweep begins, unless another one began or ended within the last `interval_seconds`.
/// Returns whether it may begin.
///
/// A time to come is of a clock that was wrong.
///
/// # Errors
/// The database's.
pub async fn note_begin(conn: &mut PgConnection, interval_seconds: u32) -> Result<bool, Error> {
    let begin = sqlx::query!(
        "INSERT INTO key_sweeps (last_at) VALUES (clock_timestamp())
         ON CONFLICT (the_only_row) DO UPDATE SET last_at = excluded.last_at
         WHERE key_sweeps.last_at <= excluded.last_at - make_interval(secs => $1)
            OR key_sweeps.last_at > excluded.last_at",
        f64::from(interval_seconds)
    );
    Ok(begin.execute(conn).await?.rows_affected() == 1)
}

/// Notes that a sweep has ended.
///
/// # Errors
/// The database's.
pub async fn note_end(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!("UPDATE key_sweeps SET last_at = clock_timestamp() WHERE the_only_row")
        .execute(conn)
        .await?;
    Ok(())
}

/// How many seconds it is until a sweep may begin; `None`: it may now.
///
/// # Errors
/// The database's.
pub async fn due_in_seconds(
    conn: &mut PgConnection,
    interval_seconds: u32,
) -> Result<Option<u32>, Error> {
    let due_in = sqlx::query_scalar!(
        r#"SELECT ceil(extract(epoch FROM last_at + make_interval(secs => $1) - clock_timestamp()))
                  ::bigint AS "due_in!"
           FROM key_sweeps WHERE the_only_row"#,
        f64::from(interval_seconds)
    );
    let due_in = due_in.fetch_optional(conn).await?.unwrap_or_default();
    Ok(u32::try_from(due_in).ok().filter(|seconds| *seconds > 0))
}

/// How many pages the table of keys has.
///
/// # Errors
/// The database's.
pub async fn pages(conn: &mut PgConnection) -> Result<i64, Error> {
    let pages = sqlx::query_scalar!(
        r#"SELECT pg_relation_size('idempotency_keys') / current_setting('block_size')::bigint
           AS "pages!""#
    );
    Ok(pages.fetch_one(conn).await?)
}

/// Removes the rows of old keys from some pages of their table, and returns how many. How, and why
/// so: see the function's migration.
///
/// # Errors
/// The database's.
pub async fn remove_old_keys(
    conn: &mut PgConnection,
    pages: Range<i64>,
    retention_days: u16,
) -> Result<u64, Error> {
    let removed = sqlx::query_scalar!(
        r#"SELECT remove_old_keys($1, $2, $3) AS "removed!""#,
        pages.start,
        pages.end,
        i32::from(retention_days)
    );
    Ok(u64::try_from(removed.fetch_one(conn).await?).unwrap_or_default())
}
