//! What is only done to a database that may be played with: breaking things, to see what holds.

use std::time::Duration;

use tokio::sync::Semaphore;

use super::payments::post_one;
use super::reading::Readers;
use super::session::{End, Session};
use super::{Limits, Refusal};
use crate::db::{self, Error, Kind, PgConnection, Purpose, Target};
use crate::domain::ledger::{Declined, Outcome};
use crate::domain::{Balance, Intent};

/// Faults on demand.
pub struct Playground {
    target: Target,
    transaction_timeout: Duration,
    readers: Readers,
    /// One fault at a time: each takes two sessions of its own, and locks.
    turn: Semaphore,
}

/// What became of a transaction whose session was killed before COMMIT.
pub struct Crash {
    pub before: Balances,
    /// As the transaction saw them when it had written everything.
    pub written: Balances,
    /// How COMMIT ended.
    pub error: String,
    pub after: Balances,
}

/// The balances of a payment's two accounts.
#[derive(Clone, Copy)]
pub struct Balances {
    pub payer: Balance,
    pub payee: Balance,
}

impl Playground {
    pub(super) fn new(target: &Target, limits: Limits, readers: Readers) -> Self {
        let transaction_timeout = limits.transaction_timeout;
        Self { target: target.clone(), transaction_timeout, readers, turn: Semaphore::new(1) }
    }

    /// Posts a payment as a batch of one is posted, and has its session killed before COMMIT.
    ///
    /// # Errors
    /// The payment would be declined, was made before, another fault is under way, or the database does
    /// not answer.
    pub async fn crash(&self, intent: &Intent) -> Result<Crash, Refusal> {
        let _turn = self.turn.try_acquire().map_err(|_| Refusal::Overloaded)?;
        let mut other =
            db::connect(&self.target, Purpose::Write).await.map_err(|error| refusal(&error))?;
        let read = || self.readers.run(async |conn| balances(conn, intent).await);
        let before = read().await?;

        let mut session = Session::new(self.target.clone(), self.transaction_timeout);
        let mut declined = None;
        let mut written = None;
        let ended = session
            .transaction(async |conn| {
                let decision = post_one(conn, intent).await?;
                match decision.outcomes.into_iter().next() {
                    Some(Outcome::Posted(_)) => {}
                    Some(Outcome::Declined(why)) => {
                        declined = Some(why);
                        return Ok(End::RollBack(()));
                    }
                    // It was made before: there is nothing left to lose.
                    Some(Outcome::Replayed(_) | Outcome::InProgress) | None => {
                        declined = Some(Declined::KeyReused);
                        return Ok(End::RollBack(()));
                    }
                }
                written = balances(conn, intent).await?;
                let pid = db::playground::backend_pid(conn).await?;
                db::playground::terminate(&mut other, pid).await?;
                Ok(End::Commit(()))
            })
            .await;
        if let Some(why) = declined {
            return Err(Refusal::Declined(why));
        }
        let Err(error) = ended else {
            tracing::error!("a session that was killed has committed");
            return Err(Refusal::Internal);
        };
        let after = read().await?;
        // Without `written` it did not come as far as to be killed.
        let (Some(before), Some(written), Some(after)) = (before, written, after) else {
            return Err(refusal(&error));
        };
        Ok(Crash { before, written, error: error.to_string(), after })
    }
}

async fn balances(conn: &mut PgConnection, intent: &Intent) -> Result<Option<Balances>, Error> {
    let from = db::accounts::get(conn, intent.from()).await?;
    let to = db::accounts::get(conn, intent.to()).await?;
    Ok(from.zip(to).map(|(from, to)| Balances { payer: from.balance, payee: to.balance }))
}

fn refusal(error: &Error) -> Refusal {
    tracing::error!(%error, "an experiment failed");
    match error.kind() {
        Kind::LockNotAvailable => Refusal::AccountBusy,
        Kind::Conflict | Kind::Momentary | Kind::Unavailable => Refusal::DatabaseUnavailable,
        Kind::Refused | Kind::Unexpected => Refusal::Internal,
    }
}
