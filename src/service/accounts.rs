//! Accounts: reading them, and opening them. An opening is a transaction of its own on a writer of
//! its own: the account, its opening balance (a payment from the bank) and the idempotency key
//! commit together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::posting::post_one;
use super::queue::{Inbox, Queue, Ticket};
use super::read_pool::ReadPool;
use super::refusal::{Obstacle, Refusal};
use super::retry::{Failure, Next, Stage};
use super::session::{End, Session};
use crate::config::{Settings, milliseconds};
use crate::db::accounts::AccountSummary;
use crate::db::{self, Error, ErrorKind, PgConnection, Target};
use crate::domain::ledger::{Declined, Outcome};
use crate::domain::{Account, AccountId, Balance, IdempotencyKey, Intent, Opening};

/// How often a free id is looked for, and taken by somebody else meanwhile, before that is left to a
/// retry.
const ID_SEARCHES_MAX: u32 = 20;

/// The pause of an opening that has waited for a lock, and of the line where none is due.
const PAUSE: Duration = Duration::from_millis(10);

/// A request to open an account.
struct Request {
    opening: Opening,
    key: IdempotencyKey,
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
    read_pool: ReadPool,
    queue: Queue<Request, Result<Opened, Refusal>>,
}

impl Accounts {
    pub(super) fn start(
        target: &Target,
        settings: &Settings,
        read_pool: ReadPool,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let Settings { server, database, writer, .. } = settings;
        let queue_max = writer.queue_max.get();
        let (queue, inbox) = Queue::bounded(queue_max, milliseconds(server.request_timeout_ms));
        let transaction_timeout = milliseconds(database.transaction_timeout_ms);
        let session = Session::new(target.clone(), transaction_timeout);
        let attempts_max = writer.attempts_max.get();
        tasks.spawn(Opener { session, queue_max, attempts_max }.run(inbox));
        Self { read_pool, queue }
    }

    /// How many openings wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// # Errors
    /// The account does not exist, or the database does not answer.
    pub async fn get(&self, id: AccountId) -> Result<Account, Refusal> {
        let found = self.read_pool.run(async |conn| db::accounts::get(conn, id).await).await?;
        found.ok_or(Refusal::AccountNotFound(id))
    }

    /// Up to `limit` accounts after an id, by id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn list(
        &self,
        after: Option<AccountId>,
        limit: u16,
    ) -> Result<Vec<AccountSummary>, Refusal> {
        let limit = i64::from(limit);
        self.read_pool.run(async |conn| db::accounts::list(conn, after, limit).await).await
    }

    /// Up to `limit` accounts whose names begin so, whatever their case, by name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn list_by_name(
        &self,
        name: &str,
        limit: u16,
    ) -> Result<Vec<AccountSummary>, Refusal> {
        let limit = i64::from(limit);
        self.read_pool.run(async |conn| db::accounts::list_by_name(conn, name, limit).await).await
    }

    /// Those of the accounts that exist, by id.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn list_by_id(&self, ids: &[i64]) -> Result<Vec<AccountSummary>, Refusal> {
        self.read_pool.run(async |conn| db::accounts::list_by_id(conn, ids).await).await
    }

    /// Opens an account.
    ///
    /// # Errors
    /// The id is taken, the key belongs to another request, the bank's balance is at its limit,
    /// or it could not be done in time.
    pub async fn open(
        &self,
        opening: Opening,
        key: Option<IdempotencyKey>,
    ) -> Result<Opened, Refusal> {
        // Also without a key of the client's, a commit whose answer was lost must not be repeated.
        let unnamed = || IdempotencyKey::internal(&format!("opening {}", Uuid::new_v4()));
        let request = Request { opening, key: key.unwrap_or_else(unnamed) };
        self.queue.submit(request).await.map_err(Refusal::from)?
    }
}

struct Opener {
    session: Session,
    queue_max: usize,
    attempts_max: u32,
}

/// An opening that is not answered yet.
struct Pending {
    ticket: OpenTicket,
    attempt: u32,
    /// After it has waited for its key, or for a table: the tables are locked first, to tell which.
    locks_tables: bool,
    /// Not to be tried before.
    due: Instant,
}

impl Pending {
    fn new(ticket: OpenTicket) -> Self {
        Self { ticket, attempt: 1, locks_tables: false, due: Instant::now() }
    }

    fn after(self, pause: Duration) -> Self {
        let due = Instant::now().checked_add(pause).unwrap_or(self.due);
        Self { due, ..self }
    }
}

impl Opener {
    /// One opening after another; one that has to wait goes to the end of the line.
    async fn run(mut self, mut inbox: Inbox<Request, Result<Opened, Refusal>>) {
        let mut line: VecDeque<Pending> = VecDeque::new();
        loop {
            if line.is_empty() {
                match inbox.recv().await {
                    Some(ticket) => line.push_back(Pending::new(ticket)),
                    None => return,
                }
            }
            while line.len() < self.queue_max
                && let Ok(ticket) = inbox.try_recv()
            {
                line.push_back(Pending::new(ticket));
            }
            let now = Instant::now();
            let Some(place) = line.iter().position(|pending| pending.due <= now) else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            if let Some(pending) = line.remove(place)
                && let Some(again) = self.serve(pending).await
            {
                line.push_back(again);
            }
        }
    }

    /// Tries once. Returns what is to be tried again.
    async fn serve(&mut self, pending: Pending) -> Option<Pending> {
        let Pending { ticket, attempt, locks_tables, .. } = pending;
        if !ticket.take() {
            return None;
        }
        let mut stage = Stage::Locking;
        let opened = self
            .session
            .transaction(async |conn| open(conn, &ticket.work, locks_tables, &mut stage).await)
            .await;
        let error = match opened {
            Ok((result, _)) => {
                let result = result.map_err(|refusal| match refusal {
                    // Where an earlier attempt is in doubt, this one has not seen what became of it.
                    Refusal::Internal | Refusal::Overloaded => ticket.refusal(refusal),
                    _ => refusal,
                });
                ticket.answer(result);
                return None;
            }
            Err(error) => error,
        };
        if error.leaves_doubt() {
            ticket.doubt();
        }
        let failure = Failure {
            kind: error.kind(),
            stage,
            attempt,
            attempts_max: self.attempts_max,
            is_alone: true,
            // The key was claimed, so nothing was done under it before.
            is_known_new: stage == Stage::Writing,
            waits_for_rows: false,
            takes_apart: locks_tables,
            is_renewed: attempt > 1,
        };
        match failure.next() {
            Next::Refuse(refusal) => {
                tracing::error!(%error, "an account's opening failed");
                let refusal = ticket.refusal(refusal);
                ticket.answer(Err(refusal));
                None
            }
            next if failure.kind == ErrorKind::LockNotAvailable => {
                let obstacle = match next {
                    Next::SetAside { obstacle, .. } => obstacle,
                    _ => Obstacle::Lock,
                };
                ticket.release(obstacle);
                let again = Pending::new(ticket).after(PAUSE);
                Some(Pending { attempt, locks_tables: stage != Stage::Writing, ..again })
            }
            next => {
                let pause = match next {
                    Next::Again { pause, .. } | Next::SetAside { pause, .. } => pause,
                    _ => Duration::ZERO,
                };
                tracing::warn!(%error, attempt, "an account's opening is tried again");
                ticket.release(Obstacle::Database);
                let again = Pending::new(ticket).after(pause);
                Some(Pending { attempt: attempt.saturating_add(1), locks_tables, ..again })
            }
        }
    }
}

/// Claims the key, inserts the account, pays the opening balance, stores the answer. `stage` tells what
/// the statement under way is about.
async fn open(
    conn: &mut PgConnection,
    request: &Request,
    locks_tables: bool,
    stage: &mut Stage,
) -> Result<End<Result<Opened, Refusal>>, Error> {
    let Request { opening, key } = request;
    let fingerprint = opening.fingerprint();
    if locks_tables {
        db::accounts::lock_tables(conn).await?;
    }
    *stage = Stage::Claiming;
    if let Some(claimed) = db::accounts::claim_key(conn, key, &fingerprint).await? {
        return Ok(if claimed.fingerprint == fingerprint {
            // As safe as when it was opened: see `batch::post`.
            End::Commit(Ok(Opened { id: claimed.account, body: claimed.response, replayed: true }))
        } else {
            End::RollBack(Err(Refusal::Declined(Declined::KeyReused)))
        });
    }
    *stage = Stage::Writing;
    let Some(mut account) = insert(conn, opening).await? else {
        let taken = opening.id.map_or(Refusal::Overloaded, Refusal::AccountExists);
        return Ok(End::RollBack(Err(taken)));
    };
    if let Some(amount) = opening.balance {
        let key = IdempotencyKey::internal(&format!("opening balance of account {}", account.id));
        let Ok(intent) = Intent::new(AccountId::BANK, account.id, amount, None, key, None) else {
            return Ok(End::RollBack(Err(Refusal::Internal)));
        };
        let decision = post_one(conn, &intent).await?;
        match decision.outcomes.first() {
            Some(Outcome::Done(_)) => account.balance = Balance::from_cents(amount.cents()),
            Some(Outcome::Declined(declined)) => {
                return Ok(End::RollBack(Err(Refusal::Declined(*declined))));
            }
            // A new account's key was never used.
            _ => return Ok(End::RollBack(Err(Refusal::Internal))),
        }
    }
    // Nothing in it can fail to serialize.
    let body = serde_json::to_string(&account).unwrap_or_default();
    db::accounts::complete_key(conn, key, account.id, &body).await?;
    Ok(End::Commit(Ok(Opened { id: account.id, body, replayed: false })))
}

/// Inserts the account under the id that was asked for, or under the next free one; where ids given by
/// hand stand in the way, in a time that does not grow with their number.
async fn insert(conn: &mut PgConnection, opening: &Opening) -> Result<Option<Account>, Error> {
    let name = opening.name.as_ref();
    if let Some(id) = opening.id {
        let account = db::accounts::insert(conn, id, name).await?;
        if account.is_none() && db::accounts::get(conn, id).await?.is_none() {
            return Err(Error::Swallowed { table: "accounts", given: 1, written: 0 });
        }
        return Ok(account);
    }
    for _ in 0..ID_SEARCHES_MAX {
        let id = db::accounts::next_id(conn).await?;
        if let Some(account) = db::accounts::insert(conn, id, name).await? {
            return Ok(Some(account));
        }
        let free = match db::accounts::find_free_id(conn, id).await? {
            Some(free) => Some(free),
            // Up to the largest id all are taken.
            None => db::accounts::find_free_id(conn, AccountId::BANK).await?,
        };
        let Some(free) = free else { break };
        db::accounts::go_on_with_id(conn, id, free).await?;
    }
    Ok(None)
}
