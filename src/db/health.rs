use sqlx::PgConnection;
use time::OffsetDateTime;

use super::Error;

/// What a database says of itself.
pub struct Health {
    pub now: OffsetDateTime,
    has_bank: bool,
    is_read_only: bool,
}

impl Health {
    /// Why it cannot take payments.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        if !self.has_bank {
            return Some("it has no ledger");
        }
        self.is_read_only.then_some("it is read-only: a standby, or told to be")
    }
}

/// # Errors
/// The database's.
pub async fn look(conn: &mut PgConnection) -> Result<Health, Error> {
    let health = sqlx::query_as!(
        Health,
        r#"
        SELECT clock_timestamp() AS "now!",
               EXISTS (SELECT FROM accounts WHERE id = 0) AS "has_bank!",
               current_setting('transaction_read_only') = 'on' AS "is_read_only!"
        "#
    );
    Ok(health.fetch_one(conn).await?)
}
