//! Accounts: reading them, and opening them.

use sqlx::PgConnection;

use super::Error;
use crate::domain::{
    Account, AccountId, AccountStatus, Balance, Fingerprint, IdempotencyKey, Name, Timestamp,
};

/// A status as it is kept: an open account has none.
pub(super) fn status(column: Option<&str>) -> AccountStatus {
    match column {
        None => AccountStatus::Open,
        Some("closed") => AccountStatus::Closed,
        Some(_) => AccountStatus::Frozen,
    }
}

/// An account with its balance.
pub async fn get(conn: &mut PgConnection, id: AccountId) -> Result<Option<Account>, Error> {
    let row = sqlx::query!(
        r#"SELECT id, name, balance, created_at AS "created_at: Timestamp", status
           FROM accounts WHERE id = $1"#,
        id.get()
    );
    Ok(row.fetch_optional(conn).await?.map(|row| Account {
        id: AccountId::trusted(row.id),
        name: row.name,
        balance: Balance::from_cents(row.balance),
        created_at: row.created_at,
        status: status(row.status.as_deref()),
    }))
}

/// An account's id and name, which everybody may see.
pub struct AccountSummary {
    pub id: i64,
    pub name: Option<String>,
}

/// Up to `limit` accounts after an id, by id.
pub async fn list(
    conn: &mut PgConnection,
    after: Option<AccountId>,
    limit: i64,
) -> Result<Vec<AccountSummary>, Error> {
    let after = after.map_or(-1, AccountId::get);
    let rows = sqlx::query_as!(
        AccountSummary,
        "SELECT id, name FROM accounts WHERE id > $1 ORDER BY id LIMIT $2",
        after,
        limit
    );
    Ok(rows.fetch_all(conn).await?)
}

/// Those of the accounts that exist, by id.
pub async fn list_by_id(
    conn: &mut PgConnection,
    ids: &[i64],
) -> Result<Vec<AccountSummary>, Error> {
    let rows = sqlx::query_as!(
        AccountSummary,
        "SELECT id, name FROM accounts WHERE id = ANY($1) ORDER BY id",
        ids
    );
    Ok(rows.fetch_all(conn).await?)
}

/// Up to `limit` accounts whose names begin so, whatever their case, by name.
///
/// Postgres folds the case of all letters only where its locale knows them; without one, of ASCII alone. So the
/// usual ways to write a name are all looked for.
///
/// # Errors
/// The database's.
pub async fn list_by_name(
    conn: &mut PgConnection,
    name: &str,
    limit: i64,
) -> Result<Vec<AccountSummary>, Error> {
    let mut characters = name.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    let capitalized: String = first.chain(characters.as_str().to_lowercase().chars()).collect();
    // No name goes on with so many of the last character that there is.
    let after_all_names: String = std::iter::repeat_n(char::MAX, Name::CHARACTERS_MAX).collect();
    let beginnings = [name.to_owned(), name.to_lowercase(), name.to_uppercase(), capitalized];
    let rows = sqlx::query_as!(
        AccountSummary,
        r#"
        SELECT DISTINCT ON (lower(found.name) COLLATE "C", found.id)
               found.id AS "id!", found.name AS "name?"
        FROM unnest($1::text[]) AS asked (beginning),
             LATERAL (
                 SELECT id, name FROM accounts
                 WHERE name IS NOT NULL AND id <> 0
                   AND lower(name) COLLATE "C" >= lower(asked.beginning)
                   AND lower(name) COLLATE "C" < lower(asked.beginning) || $2
                 ORDER BY lower(name) COLLATE "C", id LIMIT $3
             ) AS found
        ORDER BY lower(found.name) COLLATE "C", found.id LIMIT $3
        "#,
        &beginnings,
        after_all_names,
        limit
    );
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
    match update.execute(conn).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(Error::Swallowed { table: "account_idempotency_keys", given: 1, written: 0 }),
    }
}

/// Inserts an account with a balance of 0; `None` where the id is taken.
pub async fn insert(
    conn: &mut PgConnection,
    id: AccountId,
    name: Option<&Name>,
) -> Result<Option<Account>, Error> {
    let row = sqlx::query!(
        r#"INSERT INTO accounts (id, name) VALUES ($1, $2)
           ON CONFLICT (id) DO NOTHING RETURNING created_at AS "created_at: Timestamp""#,
        id.get(),
        name.map(Name::as_str)
    );
    Ok(row.fetch_optional(conn).await?.map(|row| Account {
        id,
        name: name.map(|name| name.as_str().to_owned()),
        balance: Balance::default(),
        created_at: row.created_at,
        status: AccountStatus::Open,
    }))
}

/// The next id of the sequence.
pub async fn next_id(conn: &mut PgConnection) -> Result<AccountId, Error> {
    let id = sqlx::query_scalar!(r#"SELECT nextval('account_ids') AS "id!""#);
    Ok(AccountId::trusted(id.fetch_one(conn).await?))
}

/// The next free id after one that is taken, if it is one of the next 63; else one that follows a taken
/// id, which is the next one where a single run of ids is taken. `None`: up to the largest id none was
/// found.
///
/// This looks at some hundred and fifty ids, however many are taken: at the next 63, and at one in each of
/// the ranges that begin 64, 128, 256, ... later, at random, so that no choice of ids stands in the way of
/// all. Then, by halves, for the border between the last that was taken and the first that was free.
///
/// # Errors
/// The database's.
pub async fn find_free_id(
    conn: &mut PgConnection,
    taken: AccountId,
) -> Result<Option<AccountId>, Error> {
    // The subqueries look one id up each: as EXISTS they may become one scan of all.
    let free = sqlx::query_scalar!(
        r#"
        WITH RECURSIVE ahead AS MATERIALIZED (
            SELECT $1::bigint + n AS id FROM generate_series(1, 63) AS n
            UNION ALL
            SELECT $1 + (1::bigint << n) + floor(random() * (1::bigint << n))::bigint
            FROM generate_series(6, 52) AS n
        ), looked_at AS MATERIALIZED (
            SELECT id, (SELECT id FROM accounts WHERE accounts.id = ahead.id) IS NULL AS is_free
            FROM ahead WHERE id <= 9007199254740991
        ), gap AS (
            SELECT coalesce((SELECT max(id) FROM looked_at WHERE id < first.free), $1) AS taken, free
            FROM (SELECT min(id) AS free FROM looked_at WHERE is_free) AS first
            UNION ALL
            SELECT CASE WHEN middle.is_free THEN gap.taken ELSE middle.id END,
                   CASE WHEN middle.is_free THEN middle.id ELSE gap.free END
            FROM gap CROSS JOIN LATERAL (
                SELECT half.id, (SELECT id FROM accounts WHERE accounts.id = half.id) IS NULL
                       AS is_free
                FROM (SELECT (gap.taken + gap.free) / 2 AS id OFFSET 0) AS half
                OFFSET 0
            ) AS middle
            WHERE gap.free - gap.taken > 1
        )
        SELECT free AS "free!" FROM gap WHERE free - taken = 1
        "#,
        taken.get()
    );
    Ok(free.fetch_optional(conn).await?.map(AccountId::trusted))
}

/// Lets the sequence go on with `free`, which was found after it gave `taken`; unless it has come
/// further meanwhile, for somebody else.
///
/// # Errors
/// The database's.
pub async fn go_on_with_id(
    conn: &mut PgConnection,
    taken: AccountId,
    free: AccountId,
) -> Result<(), Error> {
    let moved = sqlx::query_scalar!(
        r#"
        SELECT CASE WHEN free < $1 OR free - 1 > pg_sequence_last_value('account_ids')
                    THEN setval('account_ids', greatest(free - 1, 1), free > 1) END AS "moved?"
        FROM (VALUES ($2::bigint)) AS found (free)
        "#,
        taken.get(),
        free.get()
    );
    moved.fetch_one(conn).await?;
    Ok(())
}
