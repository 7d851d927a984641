//! Accounts that are known to hold a batch up: their payments go straight to the waiting writer, instead of
//! making a whole batch wait or fail again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::{AccountId, Intent};

/// How long a payer's payments are kept apart after one of them failed alone.
const SUSPECT_FOR: Duration = Duration::from_secs(10);

/// So many payers are remembered at a time.
const SUSPECTS_MAX: usize = 10_000;

/// The accounts that were found locked by a stranger.
#[derive(Default)]
pub(super) struct Blocked(Mutex<HashSet<AccountId>>);

impl Blocked {
    pub fn add(&self, ids: &BTreeSet<AccountId>) {
        lock(&self.0).extend(ids);
    }

    /// Replaces what is known of `tried` by what was found now.
    pub fn update(&self, tried: &BTreeSet<AccountId>, found: &BTreeSet<AccountId>) {
        let mut blocked = lock(&self.0);
        blocked.retain(|id| !tried.contains(id));
        blocked.extend(found);
    }

    pub fn has(&self, id: AccountId) -> bool {
        lock(&self.0).contains(&id)
    }

    /// The blocked account that a payment needs.
    pub fn among(&self, intent: &Intent) -> Option<AccountId> {
        let blocked = lock(&self.0);
        [intent.from(), intent.to()].into_iter().find(|id| blocked.contains(id))
    }
}

/// The payers with a payment that failed alone: the next one may do so, too.
#[derive(Default)]
pub(super) struct Suspects(Mutex<HashMap<AccountId, Instant>>);

impl Suspects {
    pub fn add(&self, payer: AccountId) {
        let mut suspects = lock(&self.0);
        if suspects.len() >= SUSPECTS_MAX {
            suspects.retain(|_, since| since.elapsed() < SUSPECT_FOR);
        }
        if suspects.len() < SUSPECTS_MAX {
            suspects.insert(payer, Instant::now());
        }
    }

    /// Forgets a payer one of whose payments went through.
    pub fn clear(&self, payer: AccountId) {
        lock(&self.0).remove(&payer);
    }

    pub fn has(&self, payer: AccountId) -> bool {
        let suspects = lock(&self.0);
        !suspects.is_empty()
            && suspects.get(&payer).is_some_and(|since| since.elapsed() < SUSPECT_FOR)
    }
}

/// No code can panic while it holds one of these locks, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
