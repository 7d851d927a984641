//! Accounts and payers that are known to hold a batch up: their payments go straight to the waiting writer,
//! instead of making a whole batch wait or fail again. All writers share this knowledge.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::{AccountId, Instruction};

/// How long a payer's payments are kept apart after one of them failed alone.
const SUSPECT_FOR: Duration = Duration::from_secs(10);

/// So many payers are remembered at a time.
const SUSPECTS_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct KnownTrouble(Mutex<Trouble>);

impl KnownTrouble {
    /// The trouble that is known at this moment; nobody adds to it while the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, Trouble> {
        // No code can panic while it holds this lock, so a poisoned one is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
pub(super) struct Trouble {
    /// The accounts that were found locked by a stranger.
    blocked: HashSet<AccountId>,
    /// The payers with a payment that failed alone, and since when: the next one may do so, too.
    suspects: HashMap<AccountId, Instant>,
    /// Whether the last batch could not reach the database.
    pub database_down: bool,
}

impl Trouble {
    pub fn block(&mut self, ids: &BTreeSet<AccountId>) {
        self.blocked.extend(ids);
    }

    /// Replaces what is known of `tried` by what was found now.
    pub fn update_blocked(&mut self, tried: &BTreeSet<AccountId>, found: &BTreeSet<AccountId>) {
        self.blocked.retain(|id| !tried.contains(id));
        self.blocked.extend(found);
    }

    pub fn is_blocked(&self, id: AccountId) -> bool {
        self.blocked.contains(&id)
    }

    /// The blocked account that a payment needs.
    pub fn blocks(&self, instruction: &Instruction) -> Option<AccountId> {
        instruction.accounts().into_iter().find(|id| self.blocked.contains(id))
    }

    pub fn suspect(&mut self, payer: AccountId) {
        if self.suspects.len() >= SUSPECTS_MAX {
            self.suspects.retain(|_, since| since.elapsed() < SUSPECT_FOR);
        }
        if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.insert(payer, Instant::now());
        }
    }

    /// Forgets a payer one of whose payments went through.
    pub fn clear(&mut self, payer: AccountId) {
        self.suspects.remove(&payer);
    }

    pub fn suspects(&self, payer: AccountId) -> bool {
        self.suspects.get(&payer).is_some_and(|since| since.elapsed() < SUSPECT_FOR)
    }
}
