//! The rule, on batches that commit in any order, or never.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use proptest::prelude::*;

use super::*;

fn batch(id: i64, payments: i64) -> CommittedBatch {
    CommittedBatch { id, payments }
}

fn start() -> Numbering {
    let state = FeedState {
        last_position: Position::START,
        settled_batch: 0,
        settled_position: Position::START,
    };
    Numbering::resume(state, &[])
}

fn seen(batches: &[CommittedBatch], oldest_transaction: i64) -> Committed {
    Committed { batches: batches.to_vec(), are_all: true, oldest_transaction }
}

fn spans(numbering: &Numbering) -> Vec<(i64, i64)> {
    let mut spans: Vec<_> = numbering.gaps().iter().map(|gap| (gap.first, gap.last)).collect();
    spans.sort_unstable();
    spans
}

#[test]
fn batches_have_their_positions_in_the_order_of_their_ids() {
    let mut numbering = start();
    let entries = numbering.number(&seen(&[batch(1, 3), batch(2, 2)], 10));
    let entry =
        |position, batch_id| Entry { first_position: Position::trusted(position), batch_id };
    assert_eq!(entries, [entry(1, 1), entry(4, 2)]);
    assert_eq!(numbering.state().last_position, Position::trusted(5));
    assert_eq!(numbering.state().settled_batch, 2);
}

#[test]
fn a_batch_that_commits_late_is_looked_for_until_it_is_there() {
    let mut numbering = start();
    numbering.number(&seen(&[batch(2, 1), batch(5, 1)], 10));
    numbering.written_by(20);
    assert_eq!(spans(&numbering), [(1, 1), (3, 4)]);
    let late = numbering.number(&seen(&[batch(3, 2)], 12));
    assert_eq!(late, [Entry { first_position: Position::trusted(3), batch_id: 3 }]);
    assert_eq!(spans(&numbering), [(1, 1), (4, 4)]);
    assert_eq!(numbering.state().settled_batch, 0, "others may still come");
}

#[test]
fn an_id_is_given_up_when_every_transaction_that_may_have_drawn_it_has_ended() {
    let mut numbering = start();
    numbering.number(&seen(&[batch(2, 1)], 10));
    numbering.number(&seen(&[], 1_000));
    assert_eq!(spans(&numbering), [(1, 1)], "no younger transaction is known yet");
    numbering.written_by(20);
    numbering.number(&seen(&[], 20));
    assert_eq!(spans(&numbering), [], "the one with id 20 may be running, and drew none of these");
    assert_eq!(numbering.state().settled_batch, 2);
}

#[test]
fn no_id_is_given_up_by_a_pass_that_did_not_see_all() {
    let mut numbering = start();
    numbering.number(&seen(&[batch(2, 1)], 10));
    numbering.written_by(20);
    numbering.number(&Committed { are_all: false, ..seen(&[batch(3, 1)], 30) });
    assert_eq!(spans(&numbering), [(1, 1)]);
}

#[test]
fn a_process_that_takes_over_looks_for_the_same_batches() {
    let mut numbering = start();
    numbering.number(&seen(&[batch(1, 1), batch(2, 1)], 10));
    let kept = numbering.state();
    numbering.number(&seen(&[batch(4, 1), batch(9, 1)], 10));
    numbering.written_by(20);
    let state = FeedState { last_position: numbering.state().last_position, ..kept };
    let taken_over = Numbering::resume(state, &[9, 4]);
    assert_eq!(spans(&taken_over), spans(&numbering));
    assert_eq!(taken_over.last_batch(), 9);
    assert_eq!(numbering.state(), state, "nothing is settled while batches may come");
}

#[test]
fn a_jump_of_the_ids_is_one_gap_however_wide() {
    let mut numbering = start();
    numbering.number(&seen(&[batch(i64::MAX - 1, 1)], 10));
    assert_eq!(spans(&numbering), [(1, i64::MAX - 2)]);
}

proptest! {
    #[test]
    fn every_committed_batch_has_one_place_and_no_position_is_left_out(
        batches in proptest::collection::vec((0_usize..40, 1_i64..4, any::<bool>()), 1..40),
        takes_over in proptest::collection::vec(any::<bool>(), 41),
    ) {
        assert_one_place_each(&batches, &takes_over);
    }
}

fn id_of(n: usize) -> i64 {
    i64::try_from(n).unwrap() + 1
}

/// Batches of a ledger commit in any order, some never; passes look at any moment, and processes take over.
///
/// The batch with id n + 1 is drawn by transaction n + 1, at moment n. It ends then or at a later moment, has so many
/// payments, and is committed or not.
fn assert_one_place_each(ends: &[(usize, i64, bool)], takes_over: &[bool]) {
    let end = |n: usize| ends[n].0.max(n);
    let mut numbering = start();
    let mut entries: Vec<Entry> = Vec::new();
    for (moment, takes_over) in takes_over.iter().enumerate() {
        if *takes_over {
            let state = numbering.state();
            let behind = entries.iter().filter(|it| it.first_position > state.settled_position);
            let behind: Vec<i64> = behind.map(|it| it.batch_id).collect();
            numbering = Numbering::resume(state, &behind);
        }
        let drawn = ends.len().min(moment + 1);
        let running = (0..drawn).find(|n| end(*n) > moment).unwrap_or(drawn);
        let is_looked_at = |id: i64| {
            let is_in = |gap: &Gap| (gap.first..=gap.last).contains(&id);
            id > numbering.last_batch() || numbering.gaps().iter().any(is_in)
        };
        let batches: Vec<_> = (0..drawn)
            .filter(|n| end(*n) <= moment && ends[*n].2 && is_looked_at(id_of(*n)))
            .map(|n| batch(id_of(n), ends[n].1))
            .collect();
        let new = numbering.number(&seen(&batches, id_of(running)));
        if !new.is_empty() {
            numbering.written_by(id_of(drawn));
        }
        entries.extend(new);
    }
    let place = |entry: &Entry| usize::try_from(entry.batch_id).unwrap() - 1;
    let mut next = 1;
    for entry in &entries {
        assert_eq!(entry.first_position, Position::trusted(next));
        next += ends[place(entry)].1;
    }
    let mut numbered: Vec<usize> = entries.iter().map(place).collect();
    numbered.sort_unstable();
    let committed: Vec<usize> = (0..ends.len()).filter(|n| ends[*n].2).collect();
    assert_eq!(numbered, committed);
    // A batch that was committed before another one was drawn comes before it.
    for (n, entry) in entries.iter().enumerate() {
        for later in &entries[n + 1..] {
            assert!(
                end(place(later)) >= place(entry),
                "{later:?} was there before {entry:?} was drawn"
            );
        }
    }
}
