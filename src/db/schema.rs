//! Which schema of a database the ledger is in.

use sqlx::PgConnection;

use super::Error;

/// The schemas besides the session's own that have a ledger, too. Postgres finds a table by a
/// `search_path`, which a role or a database may set: so an older version may have made it anywhere.
///
/// # Errors
/// The database's.
pub async fn others_with_a_ledger(conn: &mut PgConnection) -> Result<Vec<String>, Error> {
    let found = sqlx::query_scalar!(
        r#"
        SELECT schema.nspname::text AS "name!"
        FROM pg_class AS keys JOIN pg_namespace AS schema ON schema.oid = keys.relnamespace
        WHERE keys.relname = 'account_idempotency_keys' AND keys.relpersistence <> 't'
          AND schema.nspname IS DISTINCT FROM current_schema()
          AND (SELECT count(*) FROM pg_class AS others
               WHERE others.relname IN ('accounts', 'payments', 'idempotency_keys')
                 AND others.relnamespace = schema.oid) = 3
        ORDER BY 1
        "#
    );
    Ok(found.fetch_all(conn).await?)
}

/// Whether there is a schema of this name.
///
/// # Errors
/// The database's.
pub async fn exists(conn: &mut PgConnection, schema: &str) -> Result<bool, Error> {
    let exists = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1::text) AS "exists!""#,
        schema
    );
    Ok(exists.fetch_one(conn).await?)
}

/// The schema in which this session makes tables.
///
/// # Errors
/// The database's.
pub async fn current(conn: &mut PgConnection) -> Result<Option<String>, Error> {
    let current = sqlx::query_scalar!(r#"SELECT current_schema()::text AS "name?""#);
    Ok(current.fetch_one(conn).await?)
}
