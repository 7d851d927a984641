//! One batch: lock, read, decide, write.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::db::Error;
use crate::db::posting::{self, Holder, Locking};
use crate::domain::ledger::{self, Outcome};
use crate::domain::{AccountId, Instruction};
use crate::service::findings;
use crate::service::retry::Stage;
use crate::service::session::{End, Session};

/// A batch whose transaction has ended.
pub(super) struct Posted {
    /// One for each instruction; `None` where an account was locked by somebody else.
    pub outcomes: Vec<Option<Outcome>>,
    /// The accounts that were.
    pub blocked: BTreeMap<AccountId, Holder>,
    pub lock: Duration,
    pub commit: Duration,
}

/// How a batch is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    pub locking: Locking,
    /// Read all payments, and not only those that would be declined: after an attempt that met a payment
    /// whose key's row is gone, or that may end with a final refusal.
    pub reads_payments: bool,
    /// Take the locks of a write one after the other, to find out which of them it has waited for: first the
    /// tables, in the end the keys, then the rest.
    pub takes_apart: bool,
}

/// An attempt that left nothing behind, unless its error leaves a doubt.
pub(super) struct FailedAttempt {
    pub error: Error,
    pub stage: Stage,
}

/// Posts a batch in a transaction of its own. `written` is called when only its end is missing.
pub(super) async fn post(
    session: &mut Session,
    instructions: &[&Instruction],
    manner: Manner,
    written: impl FnOnce(),
) -> Result<Posted, FailedAttempt> {
    let mut stage = Stage::Locking;
    match attempt(session, instructions, manner, &mut stage, written).await {
        Ok(posted) => Ok(posted),
        Err(error) => Err(FailedAttempt { error, stage }),
    }
}

async fn attempt(
    session: &mut Session,
    instructions: &[&Instruction],
    manner: Manner,
    stage: &mut Stage,
    written: impl FnOnce(),
) -> Result<Posted, Error> {
    let Manner { locking, reads_payments, takes_apart } = manner;
    let ids: BTreeSet<AccountId> = instructions.iter().flat_map(|it| it.accounts()).collect();
    let started = Instant::now();
    let ((outcomes, blocked, lock), commit) = session
        .transaction(async |conn| {
            if takes_apart {
                posting::lock_tables(conn).await?;
                if instructions.iter().any(|it| it.request().is_some()) {
                    *stage = Stage::LookingUp;
                    posting::lock_table_of_requests(conn).await?;
                    *stage = Stage::Locking;
                }
            }
            let accounts = posting::lock_accounts(conn, &ids, locking).await?;
            let lock = started.elapsed();
            *stage = Stage::Reading;
            let blocked = match locking {
                Locking::WaitFor(_) | Locking::Skip if accounts.len() < ids.len() => {
                    let missing =
                        ids.iter().filter(|id| !accounts.contains_key(id)).copied().collect();
                    posting::holders(conn, &missing).await?
                }
                _ => BTreeMap::new(),
            };
            let is_free =
                |it: &Instruction| it.accounts().iter().all(|id| !blocked.contains_key(id));
            let free: Vec<&Instruction> =
                instructions.iter().copied().filter(|it| is_free(it)).collect();

            let mut found = findings::read(conn, &free, stage).await?;
            found.is_repeated = reads_payments;
            if reads_payments {
                let all = free.iter().filter_map(|it| Some(it.intent()?.id()));
                findings::add_payments(conn, all, &mut found).await?;
            }
            let mut decision = ledger::decide(&accounts, &found, free.iter().copied());
            // A payment that would be declined may have been made already, under a key whose row is gone.
            let doubtful = decision.declined_without_key(&free, &found.known);
            if !reads_payments && !doubtful.is_empty() {
                findings::add_payments(conn, doubtful, &mut found).await?;
                decision = ledger::decide(&accounts, &found, free.iter().copied());
            }
            *stage = Stage::Writing;
            if takes_apart {
                let [claims, rest] = decision.claims_apart();
                *stage = Stage::Claiming;
                posting::write(conn, &claims).await?;
                *stage = Stage::Writing;
                posting::write(conn, &rest).await?;
            } else if !decision.changes_nothing() {
                posting::write(conn, &decision).await?;
            }
            written();
            // A replay must be as durable as a payment: this session can see a payment that a standby does
            // not have yet, where the session that committed it was cut off while it waited. COMMIT waits
            // for all earlier WAL, and writes some itself because of the row locks.
            let unchanged = decision.changes_nothing() && !decision.promises_something();
            let mut decided = decision.outcomes.into_iter();
            let outcomes =
                instructions.iter().map(|it| if is_free(it) { decided.next() } else { None });
            let posted = (outcomes.collect(), blocked, lock);
            Ok(if unchanged { End::RollBack(posted) } else { End::Commit(posted) })
        })
        .await?;
    Ok(Posted { outcomes, blocked, lock, commit })
}
