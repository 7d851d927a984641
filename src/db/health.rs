//! Whether a database takes payments, by its own account.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Error, Target, Unfit};

/// Asks the database about itself, and returns its clock. It is one statement, which looks at catalogues that are in memory and
/// at one row.
///
/// # Errors
/// [`Error::Unfit`]: it takes no payments, or is not to be given any. Else the database's.
pub async fn look(conn: &mut PgConnection, target: &Target) -> Result<OffsetDateTime, Error> {
    // The rights that payments, requests for money and openings need, and no more: keys that are not pruned stop nobody.
    let found = sqlx::query!(
        r#"
        SELECT clock_timestamp() AS "now!",
               EXISTS (SELECT FROM accounts WHERE id = 0) AS "has_bank!",
               current_setting('transaction_read_only') = 'on' AS "is_read_only!",
               current_setting('fsync') = 'off' AS "no_fsync!",
               current_setting('full_page_writes') = 'off' AS "no_full_pages!",
               ARRAY(
                   SELECT right_to || ' ' || object || coalesce(' (' || part || ')', '')
                   FROM (VALUES
                       ('SELECT', 'accounts', NULL),
                       ('INSERT', 'accounts', NULL),
                       ('UPDATE', 'accounts', 'balance'),
                       ('UPDATE', 'accounts', 'last_payment_at'),
                       ('UPDATE', 'accounts', 'status'),
                       ('SELECT', 'payments', NULL),
                       ('INSERT', 'payments', NULL),
                       ('SELECT', 'payment_batches', NULL),
                       ('INSERT', 'payment_batches', NULL),
                       ('SELECT', 'idempotency_keys', NULL),
                       ('INSERT', 'idempotency_keys', NULL),
                       ('UPDATE', 'idempotency_keys', 'status'),
                       ('UPDATE', 'idempotency_keys', 'fingerprint'),
                       ('UPDATE', 'idempotency_keys', 'response'),
                       ('UPDATE', 'idempotency_keys', 'created_at'),
                       ('UPDATE', 'idempotency_keys', 'payment_id'),
                       ('SELECT', 'payment_requests', NULL),
                       ('INSERT', 'payment_requests', NULL),
                       ('UPDATE', 'payment_requests', 'status'),
                       ('UPDATE', 'payment_requests', 'payment_id'),
                       ('SELECT', 'account_idempotency_keys', NULL),
                       ('INSERT', 'account_idempotency_keys', NULL),
                       ('UPDATE', 'account_idempotency_keys', 'account_id'),
                       ('UPDATE', 'account_idempotency_keys', 'response')
                   ) AS needed (right_to, object, part)
                   WHERE NOT CASE WHEN part IS NULL THEN has_table_privilege(object, right_to)
                                  ELSE has_column_privilege(object, part, right_to) END
                   UNION ALL
                   SELECT right_to || ' account_ids'
                   FROM (VALUES ('USAGE'), ('UPDATE')) AS needed (right_to)
                   WHERE NOT has_sequence_privilege('account_ids', right_to)
               ) AS "missing!: Vec<String>"
        "#
    )
    .fetch_one(conn)
    .await?;
    let takes_none = |why| Error::from(Unfit::TakesNoPayments(why));
    if let Some(unfit) = target.loses_commits(found.no_fsync, found.no_full_pages) {
        return Err(unfit.into());
    }
    if !found.has_bank {
        return Err(takes_none("it has no ledger"));
    }
    if found.is_read_only {
        return Err(takes_none("it is read-only: a standby, or told to be"));
    }
    if let [first, ..] = found.missing.as_slice() {
        let (role, missing) = (target.role().to_owned(), found.missing.len());
        return Err(Unfit::LacksRights { role, missing, first: first.clone() }.into());
    }
    Ok(found.now)
}
