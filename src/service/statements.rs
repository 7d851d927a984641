//! An account's past: its balance at a moment, and its payments between two.

use std::time::Duration;

use super::read_pool::ReadPool;
use super::refusal::Refusal;
use crate::db::PgConnection;
pub use crate::db::past::PastPayment;
use crate::db::past::{self, Past};
use crate::domain::{AccountId, AccountThen, Balance, Cursor, Timestamp};

/// How often, and after which pause, a past is looked at again that only a transaction under way keeps open: half a
/// second, which is many times what a batch takes.
const LOOKS_MAX: u32 = 20;
const LOOK_PAUSE: Duration = Duration::from_millis(25);

/// Payments that one statement reads.
const PAYMENTS_AT_ONCE: u16 = 500;

/// Everything that reads an account's past.
pub struct Statements {
    read_pool: ReadPool,
    /// A replica learns of locks too late to tell what is over.
    primary: ReadPool,
}

/// An account's payments between two moments that are over: what is in it is settled, and is read on demand.
pub struct Statement {
    read_pool: ReadPool,
    pub account: AccountId,
    pub since: Timestamp,
    /// Its payments are earlier.
    pub until: Timestamp,
    pub opening_balance: Balance,
    /// The balance after the payments that were read so far.
    pub balance: Balance,
    last_read: Cursor,
    is_read: bool,
}

impl Statements {
    pub(super) fn new(read_pool: ReadPool) -> Self {
        let primary = read_pool.of_primary();
        Self { read_pool, primary }
    }

    /// An account with the balance that it had at a moment, that moment's payment included.
    ///
    /// # Errors
    /// The account does not exist, the moment is not over for certain, or the database does not answer.
    pub async fn account_at(&self, id: AccountId, at: Timestamp) -> Result<AccountThen, Refusal> {
        let past = self.past_until(id, Some(at.next())).await?;
        let balance = self.balance_before(id, at.next()).await?;
        Ok(AccountThen { id, name: past.name, balance, created_at: past.created_at, at })
    }

    /// An account's payments from `since`, or its opening, until `until`, or the end of what is over.
    ///
    /// # Errors
    /// As [`Statements::account_at`].
    pub async fn statement(
        &self,
        account: AccountId,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Statement, Refusal> {
        let past = self.past_until(account, until.max(since)).await?;
        let until = until.unwrap_or_else(|| past.end());
        let since = since.unwrap_or_else(|| past.created_at.min(until));
        let opening_balance = self.balance_before(account, since).await?;
        Ok(Statement {
            read_pool: self.read_pool.clone(),
            account,
            since,
            until,
            opening_balance,
            balance: opening_balance,
            last_read: Cursor { last_seen_timestamp: since, last_seen_id: None },
            is_read: false,
        })
    }

    /// What is known of an account's past, which is over until `end`.
    async fn past_until(
        &self,
        account: AccountId,
        end: Option<Timestamp>,
    ) -> Result<Past, Refusal> {
        let mut looks = 1;
        loop {
            let look = async |conn: &mut PgConnection| past::look(conn, account).await;
            let past = self.primary.run(look).await?.ok_or(Refusal::AccountNotFound(account))?;
            let Some(end) = end.filter(|end| *end > past.end()) else {
                return Ok(past);
            };
            if !past.is_moving || end > past.now || looks == LOOKS_MAX {
                return Err(Refusal::NotOver(past.end()));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
            looks = looks.saturating_add(1);
        }
    }

    async fn balance_before(
        &self,
        account: AccountId,
        before: Timestamp,
    ) -> Result<Balance, Refusal> {
        let read =
            async |conn: &mut PgConnection| past::balance_before(conn, account, before).await;
        self.read_pool.run(read).await
    }
}

impl Statement {
    /// Reads the next payments, oldest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn read_on(&mut self) -> Result<Vec<PastPayment>, Refusal> {
        let Self { account, last_read, until, .. } = *self;
        let read = async |conn: &mut PgConnection| {
            past::payments(conn, account, last_read, until, PAYMENTS_AT_ONCE).await
        };
        let payments = self.read_pool.run(read).await?;
        self.is_read = payments.len() < usize::from(PAYMENTS_AT_ONCE);
        if let Some(PastPayment { payment, .. }) = payments.last() {
            self.last_read = Cursor::after(payment.created_at, payment.id.uuid());
            self.balance = payment.balance_after(account);
        }
        Ok(payments)
    }

    /// Whether all its payments were read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.is_read
    }
}
