//! Webhooks: what operators change, and what the process that sends notes.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::types::Uuid;

use super::Error;
use crate::domain::{FollowedAccounts, Position, Timestamp, Webhook, WebhookId, WebhookStatus};

/// A row of `webhooks`, without its secrets.
struct Row {
    id: Uuid,
    url: String,
    accounts: Option<Vec<i64>>,
    status: String,
    position: i64,
    failures: i32,
    next_attempt_at: Option<Timestamp>,
    last_failure: Option<String>,
    created_at: Timestamp,
}

impl Row {
    fn webhook(self) -> Webhook {
        Webhook {
            id: WebhookId::from_uuid(self.id),
            url: self.url,
            accounts: FollowedAccounts::trusted(self.accounts),
            status: status(&self.status),
            position: Position::trusted(self.position),
            failures: u32::try_from(self.failures).unwrap_or_default(),
            next_attempt_at: self.next_attempt_at,
            last_failure: self.last_failure,
            created_at: self.created_at,
        }
    }
}

fn status(text: &str) -> WebhookStatus {
    if text == WebhookStatus::Active.name() {
        WebhookStatus::Active
    } else {
        WebhookStatus::Disabled
    }
}

/// Waits for others who add webhooks, until the end of the transaction: so their number has a limit.
///
/// # Errors
/// The database's.
pub async fn lock_number(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('payonce webhooks, number ' || current_schema, 0))"
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// How many there are.
///
/// # Errors
/// The database's.
pub async fn number(conn: &mut PgConnection) -> Result<usize, Error> {
    let number =
        sqlx::query_scalar!(r#"/* all webhooks */ SELECT count(*) AS "number!" FROM webhooks"#);
    Ok(usize::try_from(number.fetch_one(conn).await?).unwrap_or_default())
}

/// Adds one that begins after a position.
///
/// # Errors
/// The database's.
pub async fn insert(
    conn: &mut PgConnection,
    id: WebhookId,
    url: &str,
    accounts: &FollowedAccounts,
    secret: &str,
    position: Position,
) -> Result<Webhook, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"INSERT INTO webhooks (id, url, accounts, secret, position)
           VALUES ($1, $2, $3, $4, $5)
           RETURNING id, url, accounts, status, position, failures,
                     next_attempt_at AS "next_attempt_at: Timestamp", last_failure,
                     created_at AS "created_at: Timestamp""#,
        id.uuid(),
        url,
        accounts.ids() as _,
        secret,
        position.get()
    );
    Ok(row.fetch_one(conn).await?.webhook())
}

/// All, oldest first.
///
/// # Errors
/// The database's.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Webhook>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"/* all webhooks */
           SELECT id, url, accounts, status, position, failures,
                  next_attempt_at AS "next_attempt_at: Timestamp", last_failure,
                  created_at AS "created_at: Timestamp"
           FROM webhooks ORDER BY created_at, id"#
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(Row::webhook).collect())
}

/// A change by an operator; what is `None` stays.
#[derive(Default)]
pub struct Change<'a> {
    pub url: Option<&'a str>,
    pub accounts: Option<&'a FollowedAccounts>,
    pub status: Option<WebhookStatus>,
    /// A new secret, and for how long the old one stays valid.
    pub secret: Option<(&'a str, Duration)>,
}

/// Changes one. With a URL or a status it is as if no attempt had failed: the next one is due now.
///
/// # Errors
/// The database's.
pub async fn change(
    conn: &mut PgConnection,
    id: WebhookId,
    change: &Change<'_>,
) -> Result<Option<Webhook>, Error> {
    let (secret, overlap) = change.secret.unzip();
    let row = sqlx::query_as!(
        Row,
        r#"UPDATE webhooks
           SET url = coalesce($2, url),
               accounts = CASE WHEN $3 THEN $4 ELSE accounts END,
               status = coalesce($5, status),
               old_secret = CASE WHEN $6::text IS NULL THEN old_secret ELSE secret END,
               old_secret_until = CASE WHEN $6::text IS NULL THEN old_secret_until
                                       ELSE clock_timestamp() + make_interval(secs => $7) END,
               secret = coalesce($6, secret),
               failures = CASE WHEN $2 IS NULL AND $5 IS NULL THEN failures ELSE 0 END,
               next_attempt_at = CASE WHEN $2 IS NULL AND $5 IS NULL THEN next_attempt_at END,
               last_failure = CASE WHEN $2 IS NULL AND $5 IS NULL THEN last_failure END,
               revision = revision + 1
           WHERE id = $1
           RETURNING id, url, accounts, status, position, failures,
                     next_attempt_at AS "next_attempt_at: Timestamp", last_failure,
                     created_at AS "created_at: Timestamp""#,
        id.uuid(),
        change.url,
        change.accounts.is_some(),
        change.accounts.and_then(FollowedAccounts::ids) as _,
        change.status.map(WebhookStatus::name),
        secret,
        overlap.unwrap_or_default().as_secs_f64()
    );
    Ok(row.fetch_optional(conn).await?.map(Row::webhook))
}

/// Removes one; whether it was there.
///
/// # Errors
/// The database's.
pub async fn delete(conn: &mut PgConnection, id: WebhookId) -> Result<bool, Error> {
    let delete = sqlx::query!("DELETE FROM webhooks WHERE id = $1", id.uuid());
    Ok(delete.execute(conn).await?.rows_affected() == 1)
}

/// Whether there is any.
///
/// # Errors
/// The database's.
pub async fn is_any(conn: &mut PgConnection) -> Result<bool, Error> {
    let any =
        sqlx::query_scalar!(r#"/* all webhooks */ SELECT EXISTS (SELECT FROM webhooks) AS "any!""#);
    Ok(any.fetch_one(conn).await?)
}

/// A webhook as the process that sends needs it. Secrets are in it.
#[derive(Clone)]
pub struct Endpoint {
    pub id: WebhookId,
    pub url: String,
    pub accounts: FollowedAccounts,
    pub status: WebhookStatus,
    pub secret: String,
    /// The one before, while it is valid.
    pub old_secret: Option<String>,
    pub position: Position,
    pub failures: u32,
    /// How long until the next attempt is due.
    pub due_in: Duration,
    pub revision: i64,
    /// The database's clock.
    pub now: Timestamp,
}

/// All, as the process that sends needs them.
///
/// # Errors
/// The database's.
pub async fn endpoints(conn: &mut PgConnection) -> Result<Vec<Endpoint>, Error> {
    let rows = sqlx::query!(
        r#"/* all webhooks */
           SELECT id, url, accounts, status, secret,
                  CASE WHEN old_secret_until > clock_timestamp() THEN old_secret END AS old_secret,
                  position, failures, revision, clock_timestamp() AS "now!: Timestamp",
                  extract(epoch FROM next_attempt_at - clock_timestamp())::float8 AS "due_in_seconds?"
           FROM webhooks"#
    );
    let endpoints = rows.fetch_all(conn).await?.into_iter().map(|row| Endpoint {
        id: WebhookId::from_uuid(row.id),
        url: row.url,
        accounts: FollowedAccounts::trusted(row.accounts),
        status: status(&row.status),
        secret: row.secret,
        old_secret: row.old_secret,
        position: Position::trusted(row.position),
        failures: u32::try_from(row.failures).unwrap_or_default(),
        due_in: seconds(row.due_in_seconds),
        revision: row.revision,
        now: row.now,
    });
    Ok(endpoints.collect())
}

/// A span that the database counted. What is over is zero.
fn seconds(seconds: Option<f64>) -> Duration {
    seconds.and_then(|it| Duration::try_from_secs_f64(it).ok()).unwrap_or_default()
}

/// How far a webhook is.
#[derive(Debug, Clone, Copy)]
pub struct Reached {
    pub id: WebhookId,
    /// The operators' changes that it has taken up.
    pub revision: i64,
    pub position: Position,
    /// Whether something was delivered; otherwise all of it was about other accounts.
    pub delivered: bool,
}

/// Notes how far webhooks are; each once. One that is further, was removed, or was changed meanwhile stays as it is.
///
/// # Errors
/// The database's.
pub async fn note_reached(conn: &mut PgConnection, reached: &[Reached]) -> Result<(), Error> {
    let ids: Vec<Uuid> = reached.iter().map(|it| it.id.uuid()).collect();
    let revisions: Vec<i64> = reached.iter().map(|it| it.revision).collect();
    let positions: Vec<i64> = reached.iter().map(|it| it.position.get()).collect();
    let delivered: Vec<bool> = reached.iter().map(|it| it.delivered).collect();
    sqlx::query!(
        "UPDATE webhooks
         SET position = reached.position,
             failures = CASE WHEN delivered THEN 0 ELSE failures END,
             next_attempt_at = CASE WHEN NOT delivered THEN next_attempt_at END,
             last_failure = CASE WHEN NOT delivered THEN last_failure END
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::boolean[])
              AS reached (id, revision, position, delivered)
         WHERE webhooks.id = ANY ($1) AND webhooks.id = reached.id
           AND webhooks.revision = reached.revision AND webhooks.position < reached.position",
        &ids,
        &revisions,
        &positions,
        &delivered
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An attempt that failed.
#[derive(Debug)]
pub struct FailedAttempt<'a> {
    /// Everything before the payment that it was about.
    pub reached: Reached,
    /// With this one.
    pub failures: u32,
    pub why: &'a str,
    pub next: Next,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy)]
pub enum Next {
    /// Another one, after this time and up to a fifth of it more; but not before `at_least`.
    After { pause: Duration, at_least: Duration },
    /// None: the webhook is disabled.
    Disable,
}

/// Notes a failed attempt, and returns how long until the next one is due; `None`, and nothing is noted, where the
/// webhook was removed or changed meanwhile.
///
/// # Errors
/// The database's.
pub async fn note_failure(
    conn: &mut PgConnection,
    attempt: &FailedAttempt<'_>,
) -> Result<Option<Duration>, Error> {
    let Reached { id, revision, position, .. } = attempt.reached;
    let (pause, at_least) = match attempt.next {
        Next::After { pause, at_least } => (Some(pause.as_secs_f64()), at_least.as_secs_f64()),
        Next::Disable => (None, 0.0),
    };
    let due_in = sqlx::query_scalar!(
        r#"UPDATE webhooks
           SET position = greatest(position, $3),
               failures = $4,
               last_failure = $5,
               status = CASE WHEN $6::float8 IS NULL THEN 'disabled' ELSE status END,
               next_attempt_at = clock_timestamp()
                   + make_interval(secs => greatest($6 * (1 + 0.2 * random()),
                                                    CASE WHEN $6 IS NOT NULL THEN $7::float8 END))
           WHERE id = $1 AND revision = $2 AND status = 'active'
           RETURNING coalesce(extract(epoch FROM next_attempt_at - clock_timestamp())::float8, 0)
                     AS "due_in!""#,
        id.uuid(),
        revision,
        position.get(),
        i32::try_from(attempt.failures).unwrap_or(i32::MAX),
        attempt.why,
        pause,
        at_least
    );
    Ok(due_in.fetch_optional(conn).await?.map(|due_in| seconds(Some(due_in))))
}
