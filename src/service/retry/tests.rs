use super::*;
use ErrorKind::{Conflict, KnownAlready, LockNotAvailable, Momentary, Refused, Stale, Unavailable};
use Next::{Halves, LockByLock, OnNewSession, PassingOver, Refuse, WithoutLookUps};
use Stage::{Claiming, Locking, LookingUp, Reading, Writing};

const ATTEMPTS_MAX: u32 = 5;

/// A first attempt of a batch of several, which waited for rows.
fn batch(kind: ErrorKind, stage: Stage) -> Failure {
    Failure {
        kind,
        stage,
        attempt: 1,
        attempts_max: ATTEMPTS_MAX,
        is_alone: false,
        is_known_new: false,
        waits_for_rows: true,
        takes_apart: false,
        is_renewed: false,
    }
}

fn alone(kind: ErrorKind, stage: Stage) -> Failure {
    Failure { is_alone: true, ..batch(kind, stage) }
}

fn on(attempt: u32, failure: Failure) -> Failure {
    Failure { attempt, ..failure }
}

fn again(pause_ms: u64, obstacle: Obstacle) -> Next {
    Next::Again { pause: Duration::from_millis(pause_ms), obstacle }
}

fn set_aside(pause_ms: u64, obstacle: Obstacle, spoils: bool) -> Next {
    Next::SetAside { obstacle, pause: Duration::from_millis(pause_ms), spoils }
}

#[test]
fn what_is_next_depends_on_the_error_how_far_it_came_and_who_was_with_it() {
    let passing_over = |failure| Failure { waits_for_rows: false, ..failure };
    let apart = |failure| Failure { takes_apart: true, ..failure };
    let renewed = |failure| Failure { is_renewed: true, ..failure };
    let known_new = |failure| Failure { is_known_new: true, ..failure };
    let unknown = Refuse(Refusal::DatabaseUnavailable);
    let nothing_was_done = Refuse(Refusal::Internal);
    for (failure, next) in [
        // The connection is about all, alone or not.
        (batch(Unavailable, Writing), again(10, Obstacle::Database)),
        (on(2, alone(Unavailable, Locking)), again(20, Obstacle::Database)),
        (on(4, batch(Unavailable, Locking)), again(80, Obstacle::Database)),
        (on(ATTEMPTS_MAX, batch(Unavailable, Writing)), unknown),
        (on(ATTEMPTS_MAX, known_new(alone(Unavailable, Writing))), unknown),
        // A stale session is blamed once.
        (batch(Stale, Reading), OnNewSession),
        (on(3, alone(Stale, Writing)), OnNewSession),
        (renewed(batch(Stale, Reading)), Halves),
        (renewed(alone(Stale, Writing)), again(0, Obstacle::Queue)),
        (on(2, renewed(alone(Stale, Reading))), unknown),
        (on(2, renewed(known_new(alone(Stale, Writing)))), nothing_was_done),
        // So is the moment.
        (batch(Conflict, Writing), again(10, Obstacle::Queue)),
        (batch(Momentary, Locking), again(10, Obstacle::Queue)),
        (on(2, batch(Conflict, Writing)), Halves),
        (on(2, batch(Momentary, Reading)), Halves),
        (on(2, alone(Conflict, Writing)), set_aside(20, Obstacle::Database, true)),
        (on(3, known_new(alone(Momentary, Writing))), set_aside(40, Obstacle::Database, true)),
        (on(ATTEMPTS_MAX, known_new(alone(Conflict, Writing))), unknown),
        (on(ATTEMPTS_MAX, alone(Momentary, Reading)), unknown),
        // A payment that is there without its key is read by the next attempt.
        (batch(KnownAlready, Writing), again(0, Obstacle::Queue)),
        (on(2, batch(KnownAlready, Writing)), Halves),
        (on(2, alone(KnownAlready, Writing)), set_aside(20, Obstacle::Database, true)),
        (on(ATTEMPTS_MAX, alone(KnownAlready, Writing)), unknown),
        // A refusal is final only for one that was alone, and known not to be done before.
        (batch(Refused, Writing), Halves),
        (on(2, known_new(batch(Refused, Writing))), Halves),
        (alone(Refused, Writing), again(0, Obstacle::Queue)),
        (on(2, alone(Refused, Locking)), unknown),
        (on(2, alone(Refused, Reading)), unknown),
        (on(2, known_new(alone(Refused, Writing))), nothing_was_done),
        (known_new(alone(Refused, Writing)), nothing_was_done),
        // Locks, which no number of attempts ends.
        (batch(LockNotAvailable, Locking), PassingOver),
        (on(9, alone(LockNotAvailable, Locking)), PassingOver),
        (passing_over(batch(LockNotAvailable, Locking)), set_aside(0, Obstacle::Lock, false)),
        // A table that only some of the batch need is nothing to the rest.
        (batch(LockNotAvailable, LookingUp), WithoutLookUps),
        (apart(batch(LockNotAvailable, LookingUp)), WithoutLookUps),
        (alone(LockNotAvailable, LookingUp), set_aside(0, Obstacle::Lock, true)),
        (batch(Refused, LookingUp), Halves),
        (batch(LockNotAvailable, Reading), set_aside(0, Obstacle::Lock, false)),
        (batch(LockNotAvailable, Writing), LockByLock),
        (alone(LockNotAvailable, Claiming), LockByLock),
        (apart(batch(LockNotAvailable, Claiming)), Halves),
        (apart(batch(LockNotAvailable, Writing)), Halves),
        (apart(alone(LockNotAvailable, Claiming)), set_aside(0, Obstacle::Key, true)),
        (apart(alone(LockNotAvailable, Writing)), set_aside(0, Obstacle::Lock, true)),
    ] {
        assert_eq!(failure.next(), next, "{failure:?}");
    }
}

#[test]
fn pauses_grow_up_to_a_second() {
    let pauses = [1, 2, 3, 7, 8, 99, u32::MAX].map(|attempt| pause_after(attempt).as_millis());
    assert_eq!(pauses, [10, 20, 40, 640, 1_000, 1_000, 1_000]);
}
