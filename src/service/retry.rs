//! Whether a transaction that failed is tried again: the one place that decides, for payments and for
//! openings. The keys make that safe, also where the outcome of a commit is not known.
//!
//! Only an error about the connection is about all of a batch. Anything else that the server reports may be
//! one payment's doing, so the batch is taken apart until that one is alone. A final refusal is given only
//! where the attempt had read, under the locks, that the same was never done before.

use std::time::Duration;

use super::refusal::{Obstacle, Refusal};
use crate::db::ErrorKind;

/// The pause before the second attempt: doubled each time, up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);

/// How far an attempt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before it had the rows and tables that it locks first.
    Locking,
    Reading,
    /// Reading what some of its instructions refer to, in tables that the others do not need.
    LookingUp,
    /// Writing its keys, and nothing else.
    Claiming,
    /// Writing all (that is left).
    Writing,
}

/// A transaction that failed, as far as it matters for what is next.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts, each with its name")]
pub(super) struct Failure {
    pub kind: ErrorKind,
    pub stage: Stage,
    /// The first is 1.
    pub attempt: u32,
    pub attempts_max: u32,
    /// Whether nothing else was in it.
    pub is_alone: bool,
    /// Whether it had read, under the locks, that the same was never done before.
    pub is_known_new: bool,
    /// Whether it was waiting for rows that somebody else holds, and not passing them over.
    pub waits_for_rows: bool,
    /// Whether it took its locks one after the other.
    pub takes_apart: bool,
    /// Whether it was on a new session after one that had gone stale.
    pub is_renewed: bool,
}

/// The next thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// All of it is tried again after a pause.
    Again {
        pause: Duration,
        obstacle: Obstacle,
    },
    /// The same at once, on a new session.
    OnNewSession,
    /// The same at once, passing over rows that are locked, which tells who holds them.
    PassingOver,
    /// The same at once, taking the locks one after the other, which tells what it waits for.
    LockByLock,
    /// Its halves are tried: one of them has the culprit.
    Halves,
    /// Those that look something up are set aside, each by itself, and the rest is tried at once.
    WithoutLookUps,
    /// It waits for the obstacle to go away, where it delays nobody else. `spoils` says that it would make
    /// others fail.
    SetAside {
        obstacle: Obstacle,
        pause: Duration,
        spoils: bool,
    },
    Refuse(Refusal),
}

impl Failure {
    pub fn next(&self) -> Next {
        let Self { kind, attempt, is_alone, .. } = *self;
        let is_first = attempt == 1;
        let may_try = attempt < self.attempts_max;
        let again = |obstacle| Next::Again { pause: pause_after(attempt), obstacle };
        let at_once = Next::Again { pause: Duration::ZERO, obstacle: Obstacle::Queue };
        match kind {
            ErrorKind::LockNotAvailable => self.next_after_lock(),
            // Its connection was at fault, and nothing that was in it.
            ErrorKind::Unavailable if may_try => again(Obstacle::Database),
            ErrorKind::Unavailable => Next::Refuse(Refusal::DatabaseUnavailable),
            ErrorKind::Stale if !self.is_renewed => Next::OnNewSession,
            // The next attempt reads what this one took for unknown.
            ErrorKind::KnownAlready if is_first => at_once,
            // The moment may have been at fault.
            ErrorKind::Conflict | ErrorKind::Momentary if is_first => again(Obstacle::Queue),
            _ if !is_alone => Next::Halves,
            ErrorKind::KnownAlready | ErrorKind::Conflict | ErrorKind::Momentary if may_try => {
                let pause = pause_after(attempt);
                Next::SetAside { obstacle: Obstacle::Database, pause, spoils: true }
            }
            ErrorKind::KnownAlready | ErrorKind::Conflict | ErrorKind::Momentary => {
                Next::Refuse(Refusal::DatabaseUnavailable)
            }
            ErrorKind::Refused | ErrorKind::Stale if self.is_known_new => {
                Next::Refuse(Refusal::Internal)
            }
            // The next attempt may find out whether it was done before.
            ErrorKind::Refused | ErrorKind::Stale if is_first => at_once,
            ErrorKind::Refused | ErrorKind::Stale => Next::Refuse(Refusal::DatabaseUnavailable),
        }
    }

    /// After a wait for a lock that took as long as it may.
    fn next_after_lock(&self) -> Next {
        let set_aside =
            |obstacle, spoils| Next::SetAside { obstacle, pause: Duration::ZERO, spoils };
        match self.stage {
            Stage::Locking if self.waits_for_rows => Next::PassingOver,
            // Nothing waits for rows any more, so it was a table that somebody else has locked.
            Stage::Locking | Stage::Reading => set_aside(Obstacle::Lock, false),
            Stage::Claiming | Stage::Writing if !self.takes_apart => Next::LockByLock,
            Stage::Claiming | Stage::Writing if !self.is_alone => Next::Halves,
            Stage::LookingUp if !self.is_alone => Next::WithoutLookUps,
            // Its accounts and the tables were free, and it wrote nothing but its key.
            Stage::Claiming => set_aside(Obstacle::Key, true),
            // The key was free, too: a trigger waits for something. Or it looks something up in a table that is locked.
            Stage::LookingUp | Stage::Writing => set_aside(Obstacle::Lock, true),
        }
    }
}

/// 10 ms after the first attempt, then twice as long each time.
fn pause_after(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1);
    PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(PAUSE_LONGEST)
}

#[cfg(test)]
mod tests;
