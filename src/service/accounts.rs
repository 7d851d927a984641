//! Accounts: reading them, and opening them. An opening is a transaction of its own on a writer of
//! its own: the account, its opening balance (a payment from the bank) and the idempotency key
//! commit together.

use tokio::task::JoinSet;

use super::payments::{pause_after, post_one};
use super::queue::{Inbox, Obstacle, Queue, Ticket};
use super::reading::Readers;
use super::session::{End, Session};
use super::{Limits, Refusal};
use crate::db::accounts::Named;
use crate::db::{self, Error, Kind, PgConnection, Target};
use crate::domain::ledger::{Declined, Outcome};
use crate::domain::{Account, AccountId, Balance, IdempotencyKey, Intent, Opening};

/// How many runs of taken ids the search for a free one passes before it is left to a retry.
const ID_SEARCHES_MAX: u32 = 100;

/// A request to open an account.
#[derive(Clone)]
pub struct Request {
    pub opening: Opening,
    pub key: Option<IdempotencyKey>,
}

/// An account that was opened.
#[derive(Debug)]
pub struct Opened {
    pub id: AccountId,
    /// JSON, the same bytes at every retry with the same key.
    pub body: String,
    pub replayed: bool,
}

type OpenTicket = Ticket<Request, Result<Opened, Refusal>>;

/// Everything about accounts.
pub struct Accounts {
    readers: Readers,
    queue: Queue<Request, Result<Opened, Refusal>>,
}

impl Accounts {
    pub(super) fn start(
        target: &Target,
        limits: Limits,
        readers: Readers,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (queue, inbox) = Queue::bounded(limits.queue_max, limits.request_timeout);
        let session = Session::new(target.clone(), limits.transaction_timeout);
        tasks.spawn(Opener { session, limits }.run(inbox));
        Self { readers, queue }
    }

    /// # Errors
    /// The account does not exist, or the database does not answer.
    pub async fn get(&self, id: AccountId) -> Result<Account, Refusal> {
        let found = self.readers.run(async |conn| db::accounts::get(conn, id).await).await?;
        found.ok_or(Refusal::Declined(Declined::AccountNotFound(id)))
    }

    /// Up to `limit` accounts after an id, by id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn list(&self, after: Option<AccountId>, limit: u16) -> Result<Vec<Named>, Refusal> {
        let limit = i64::from(limit);
        self.readers.run(async |conn| db::accounts::list(conn, after, limit).await).await
    }

    /// Those of the accounts that exist, by id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn list_by_id(&self, ids: &[i64]) -> Result<Vec<Named>, Refusal> {
        self.readers.run(async |conn| db::accounts::list_by_id(conn, ids).await).await
    }

    /// Whether there is no account but the bank.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn are_none(&self) -> Result<bool, Refusal> {
        self.readers.run(async |conn| db::accounts::is_empty(conn).await).await
    }

    /// Opens an account.
    ///
    /// # Errors
    /// The id is taken, the key belongs to another request, the bank's balance is at its limit,
    /// or it could not be done in time.
    pub async fn open(&self, request: Request) -> Result<Opened, Refusal> {
        self.queue.submit(request).await.map_err(Refusal::from)?
    }
}

struct Opener {
    session: Session,
    limits: Limits,
}

impl Opener {
    async fn run(mut self, mut inbox: Inbox<Request, Result<Opened, Refusal>>) {
        while let Some(ticket) = inbox.recv().await {
            self.serve(ticket).await;
        }
    }

    async fn serve(&mut self, ticket: OpenTicket) {
        let mut attempt: u32 = 1;
        while ticket.take() {
            let mut obstacle = Obstacle::Key;
            let opened = self
                .session
                .transaction(async |conn| open(conn, &ticket.work, &mut obstacle).await)
                .await;
            let error = match opened {
                Ok((result, _)) => return ticket.answer(result),
                Err(error) => error,
            };
            match error.kind() {
                Kind::LockNotAvailable => {}
                Kind::Conflict | Kind::Unavailable if attempt < self.limits.attempts_max => {
                    tracing::warn!(%error, attempt, "an account's opening is tried again");
                    obstacle = Obstacle::Database;
                }
                Kind::Conflict | Kind::Unavailable => {
                    tracing::error!(%error, "an account's opening is given up");
                    return ticket.answer(Err(Refusal::DatabaseUnavailable));
                }
                Kind::Refused | Kind::Bug => {
                    tracing::error!(%error, "the database refused an account's opening");
                    return ticket.answer(Err(Refusal::Internal));
                }
            }
            ticket.release(obstacle);
            tokio::time::sleep(pause_after(attempt)).await;
            attempt = attempt.saturating_add(1);
        }
    }
}

/// Claims the key, inserts the account, pays the opening balance, stores the answer. `obstacle`
/// tells what the statement under way may be waiting for.
async fn open(
    conn: &mut PgConnection,
    request: &Request,
    obstacle: &mut Obstacle,
) -> Result<End<Result<Opened, Refusal>>, Error> {
    let Request { opening, key } = request;
    if let Some(key) = key {
        let fingerprint = opening.fingerprint();
        if let Some(claimed) = db::accounts::claim_key(conn, key, &fingerprint).await? {
            return Ok(End::RollBack(if claimed.fingerprint == fingerprint {
                Ok(Opened { id: claimed.account, body: claimed.response, replayed: true })
            } else {
                Err(Refusal::Declined(Declined::KeyReused))
            }));
        }
    }
    *obstacle = Obstacle::Lock;
    let Some(mut account) = insert(conn, opening).await? else {
        let taken = opening.id.map_or(Refusal::Overloaded, Refusal::AccountExists);
        return Ok(End::RollBack(Err(taken)));
    };
    if let Some(amount) = opening.balance {
        let key = IdempotencyKey::of_opening(account.id);
        let intent = Intent::new(AccountId::BANK, account.id, amount, None, key, None)
            .map_err(|_| Error::KnownAlready)?;
        let decision = post_one(conn, &intent).await?;
        match decision.outcomes.first() {
            Some(Outcome::Posted(_)) => account.balance = Balance::from_cents(amount.cents()),
            Some(Outcome::Declined(declined)) => {
                return Ok(End::RollBack(Err(Refusal::Declined(*declined))));
            }
            // A new account's key was never used.
            _ => return Err(Error::KnownAlready),
        }
    }
    // Nothing in it can fail to serialize.
    let body = serde_json::to_string(&account).unwrap_or_default();
    if let Some(key) = key {
        db::accounts::complete_key(conn, key, account.id, &body).await?;
    }
    Ok(End::Commit(Ok(Opened { id: account.id, body, replayed: false })))
}

/// Inserts the account under the id that was asked for, or under the next free one.
async fn insert(conn: &mut PgConnection, opening: &Opening) -> Result<Option<Account>, Error> {
    let name = opening.name.as_ref();
    if let Some(id) = opening.id {
        return db::accounts::insert(conn, id, name).await;
    }
    for _ in 0..ID_SEARCHES_MAX {
        let id = db::accounts::next_id(conn).await?;
        if let Some(account) = db::accounts::insert(conn, id, name).await? {
            return Ok(Some(account));
        }
        db::accounts::skip_taken_ids(conn, id).await?;
    }
    Ok(None)
}
