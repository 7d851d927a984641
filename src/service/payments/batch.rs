//! One batch: lock, read, decide, write.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::db::posting::{self, Locking};
use crate::db::{Error, PgConnection};
use crate::domain::ledger::{self, Decision, Outcome};
use crate::domain::{AccountId, Intent};
use crate::service::session::{End, Session};

/// A batch whose transaction has ended.
pub(super) struct Posted {
    /// One for each intent; `None` where an account was locked by somebody else.
    pub outcomes: Vec<Option<Outcome>>,
    /// The accounts that were.
    pub blocked: BTreeSet<AccountId>,
    pub lock: Duration,
    pub commit: Duration,
}

/// Which of an intent's traces are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Its key, and its payment where it would be declined.
    Keys,
    /// Its key and its payment: after a first attempt met a payment whose key's row is gone.
    KeysAndPayments,
}

/// Posts a batch in a transaction of its own. `written` is called when only its end is missing.
pub(super) async fn post(
    session: &mut Session,
    intents: &[&Intent],
    locking: Locking,
    reading: Reading,
    written: impl FnOnce(),
) -> Result<Posted, Error> {
    let ids: BTreeSet<AccountId> =
        intents.iter().flat_map(|intent| [intent.from(), intent.to()]).collect();
    let started = Instant::now();
    let ((outcomes, blocked, lock), commit) = session
        .transaction(async |conn| {
            let accounts = posting::lock_accounts(conn, &ids, locking).await?;
            let lock = started.elapsed();
            let blocked = match locking {
                Locking::WaitFor(_) | Locking::Skip if accounts.len() < ids.len() => {
                    let existing = posting::existing_accounts(conn, &ids).await?;
                    existing.into_iter().filter(|id| !accounts.contains_key(id)).collect()
                }
                _ => BTreeSet::new(),
            };
            let is_free = |intent: &Intent| {
                !blocked.contains(&intent.from()) && !blocked.contains(&intent.to())
            };
            let free: Vec<&Intent> =
                intents.iter().copied().filter(|intent| is_free(intent)).collect();

            // A statement of its own, begun when the rows are locked: its snapshot shows the keys
            // that were committed while we waited for them.
            let (now, mut known) = posting::read_keys(conn, &free).await?;
            if reading == Reading::KeysAndPayments {
                known.extend(posting::read_payments(conn, &free).await?);
            }
            let mut decision = ledger::decide(now, &accounts, &known, free.iter().copied());
            if reading == Reading::Keys && decision.declines_something() {
                // Whoever is declined may have been paid already, under a key whose row is gone.
                known.extend(posting::read_payments(conn, &free).await?);
                decision = ledger::decide(now, &accounts, &known, free.iter().copied());
            }
            if !decision.changes_nothing() {
                posting::write(conn, &decision).await?;
            }
            written();
            // What was paid before is acknowledged again, and must be as safe as what is paid now: this
            // session can see a payment that a standby does not have yet, where the session that
            // committed it was cut off while it waited. A commit waits for all that came before it;
            // the row locks are what it has written.
            let unchanged = decision.changes_nothing() && !decision.replays_something();
            let mut decided = decision.outcomes.into_iter();
            let outcomes =
                intents.iter().map(|intent| if is_free(intent) { decided.next() } else { None });
            let posted = (outcomes.collect(), blocked, lock);
            Ok(if unchanged { End::RollBack(posted) } else { End::Commit(posted) })
        })
        .await?;
    Ok(Posted { outcomes, blocked, lock, commit })
}

/// Posts one intent in a transaction that the caller ends, by the same three steps.
///
/// # Errors
/// The database's.
pub async fn post_one(conn: &mut PgConnection, intent: &Intent) -> Result<Decision, Error> {
    let ids = BTreeSet::from([intent.from(), intent.to()]);
    let accounts = posting::lock_accounts(conn, &ids, Locking::Wait).await?;
    let (now, known) = posting::read_keys(conn, &[intent]).await?;
    let decision = ledger::decide(now, &accounts, &known, [intent]);
    if !decision.changes_nothing() {
        posting::write(conn, &decision).await?;
    }
    Ok(decision)
}
