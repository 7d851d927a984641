//! Accounts: reading them, and opening them.

use sqlx::PgConnection;

use super::Error;
use crate::domain::{Account, AccountId, Balance, Fingerprint, IdempotencyKey, Name};

/// An account with its balance.
pub async fn get(conn: &mut PgConnection, id: AccountId) -> Result<Option<Account>, Error> {
    let row =
        sqlx::query!("SELECT id, name, balance, created_at FROM accounts WHERE id = $1", id.get());
    Ok(row.fetch_optional(conn).await?.map(|row| Account {
        id: AccountId::trusted(row.id),
        name: row.name,
        balance: Balance::from_cents(row.balance),
        created_at: row.created_at.into(),
    }))
}

/// An account's id and name, which everybody may see.
pub struct Named {
    pub id: i64,
    pub name: Option<String>,
}

/// Up to `limit` accounts after an id, by id.
pub async fn list(
    conn: &mut PgConnection,
    after: Option<AccountId>,
    limit: i64,
) -> Result<Vec<Named>, Error> {
    let after = after.map_or(-1, AccountId::get);
    let rows = sqlx::query_as!(
        Named,
        "SELECT id, name FROM accounts WHERE id > $1 ORDER BY id LIMIT $2",
        after,
        limit
    );
    Ok(rows.fetch_all(conn).await?)
}

/// Those of the accounts that exist, by id.
pub async fn list_by_id(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Named>, Error> {
    let rows =
        sqlx::query_as!(Named, "SELECT id, name FROM accounts WHERE id = ANY($1) ORDER BY id", ids);
    Ok(rows.fetch_all(conn).await?)
}

/// As `posting::lock_tables`, for an opening.
pub async fn lock_tables(conn: &mut PgConnection) -> Result<(), Error> {
    let lock = sqlx::query!(
        "LOCK TABLE account_idempotency_keys, accounts, payments, idempotency_keys
         IN ROW EXCLUSIVE MODE"
    );
    lock.execute(conn).await?;
    Ok(())
}

/// A key that opened an account earlier.
pub struct Claimed {
    pub fingerprint: Fingerprint,
    pub account: AccountId,
    pub response: String,
}

/// Claims a key for opening an account: waits while another transaction holds it, and returns
/// what that one left. `None`: the key is ours.
pub async fn claim_key(
    conn: &mut PgConnection,
    key: &IdempotencyKey,
    fingerprint: &Fingerprint,
) -> Result<Option<Claimed>, Error> {
    let claimed = sqlx::query!(
        "INSERT INTO account_idempotency_keys (key, fingerprint) VALUES ($1, $2)
         ON CONFLICT (key) DO NOTHING",
        key.as_str(),
        fingerprint.bytes()
    );
    if claimed.execute(&mut *conn).await?.rows_affected() == 1 {
        return Ok(None);
    }
    // Locking it writes, and only after a transaction that has written something a commit waits for a
    // standby.
    let row = sqlx::query!(
        r#"SELECT fingerprint, account_id AS "account_id!", response::text AS "response!"
           FROM account_idempotency_keys WHERE key = $1 FOR UPDATE"#,
        key.as_str()
    );
    let row = row.fetch_one(conn).await?;
    Ok(Some(Claimed {
        fingerprint: Fingerprint::trusted(&row.fingerprint),
        account: AccountId::trusted(row.account_id),
        response: row.response,
    }))
}

/// Stores what the claimed key's request was answered.
pub async fn complete_key(
    conn: &mut PgConnection,
    key: &IdempotencyKey,
    account: AccountId,
    response: &str,
) -> Result<(), Error> {
    let update = sqlx::query!(
        "UPDATE account_idempotency_keys SET account_id = $2, response = $3::text::json
         WHERE key = $1",
        key.as_str(),
        account.get(),
        response
    );
    update.execute(conn).await?;
    Ok(())
}

/// Inserts an account with a balance of 0; `None` where the id is taken.
pub async fn insert(
    conn: &mut PgConnection,
    id: AccountId,
    name: Option<&Name>,
) -> Result<Option<Account>, Error> {
    let row = sqlx::query!(
        "INSERT INTO accounts (id, name) VALUES ($1, $2)
         ON CONFLICT (id) DO NOTHING RETURNING created_at",
        id.get(),
        name.map(Name::as_str)
    );
    Ok(row.fetch_optional(conn).await?.map(|row| Account {
        id,
        name: name.map(|name| name.as_str().to_owned()),
        balance: Balance::default(),
        created_at: row.created_at.into(),
    }))
}

/// The next id of the sequence.
pub async fn next_id(conn: &mut PgConnection) -> Result<AccountId, Error> {
    let id = sqlx::query_scalar!(r#"SELECT nextval('account_ids') AS "id!""#);
    Ok(AccountId::trusted(id.fetch_one(conn).await?))
}

/// Moves the sequence past the run of taken ids that begins at `taken`, so that the next one is
/// free: ids that were given by hand stood in its way.
pub async fn skip_taken_ids(conn: &mut PgConnection, taken: AccountId) -> Result<(), Error> {
    let moved = sqlx::query_scalar!(
        r#"
        SELECT setval('account_ids', (
            SELECT id FROM accounts AS last
            WHERE id >= $1
              AND (SELECT id FROM accounts AS next WHERE next.id = last.id + 1) IS NULL
            ORDER BY id LIMIT 1
        )) AS "last?"
        "#,
        taken.get()
    );
    moved.fetch_one(conn).await?;
    Ok(())
}
