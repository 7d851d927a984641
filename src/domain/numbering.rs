//! Which positions batches of payments have. Pure: what is committed, in; positions, out.
//!
//! A batch's id is drawn while its row locks are held. So of two batches that share an account the later has the larger
//! id, and who sees it committed sees the earlier one, too. Batches become visible out of order: those that are not there
//! yet leave gaps among the ids, which are looked at again until their transactions have certainly ended.

use super::Position;

/// A batch that is committed and has no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommittedBatch {
    pub id: i64,
    /// How many payments it has: one at least.
    pub payments: i64,
}

/// What is committed at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The batches without a position, the smallest ids first: all of them, or as many as one pass may have.
    pub batches: Vec<CommittedBatch>,
    pub are_all: bool,
    /// Every transaction with a smaller id than this has ended (`pg_snapshot_xmin`).
    pub oldest_transaction: i64,
}

/// The position of a batch's first payment; the others follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub first_position: Position,
    pub batch_id: i64,
}

/// How far the feed is, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedState {
    pub last_position: Position,
    /// All batches up to this id have their positions, or will never be committed.
    pub settled_batch: i64,
    /// The positions of batches with larger ids come after this one.
    pub settled_position: Position,
}

/// Ids that were drawn by batches that are not committed yet, or never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub first: i64,
    pub last: i64,
    /// A transaction that began after the gap was seen, and so after all that drew these ids; `None` until there is one.
    younger: Option<i64>,
}

/// The numbering of batches by one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbering {
    state: FeedState,
    last_batch: i64,
    gaps: Vec<Gap>,
}

impl Numbering {
    /// Goes on from what is kept, and from the batches behind its `settled_position`.
    #[must_use]
    pub fn resume(state: FeedState, numbered: &[i64]) -> Self {
        let mut numbering = Self { state, last_batch: state.settled_batch, gaps: Vec::new() };
        let mut numbered: Vec<i64> =
            numbered.iter().copied().filter(|id| *id > state.settled_batch).collect();
        numbered.sort_unstable();
        numbered.into_iter().for_each(|id| numbering.pass(id));
        numbering
    }

    #[must_use]
    pub fn state(&self) -> FeedState {
        self.state
    }

    /// The largest id of a batch that has a position.
    #[must_use]
    pub fn last_batch(&self) -> i64 {
        self.last_batch
    }

    /// Where to look besides after [`Numbering::last_batch`].
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Gives the committed batches their positions, in the order of their ids.
    pub fn number(&mut self, committed: &Committed) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(committed.batches.len());
        for batch in &committed.batches {
            let first_position = self.state.last_position.plus(1);
            entries.push(Entry { first_position, batch_id: batch.id });
            self.state.last_position = self.state.last_position.plus(batch.payments);
            self.pass(batch.id);
        }
        if committed.are_all {
            let oldest = committed.oldest_transaction;
            self.gaps.retain(|gap| gap.younger.is_none_or(|younger| oldest < younger));
        }
        if self.gaps.is_empty() {
            self.state.settled_batch = self.last_batch;
            self.state.settled_position = self.state.last_position;
        }
        entries
    }

    /// The entries were committed by this transaction.
    pub fn written_by(&mut self, transaction: i64) {
        for gap in &mut self.gaps {
            gap.younger.get_or_insert(transaction);
        }
    }

    /// Takes notice of a batch that has its position: it is in a gap, or opens one before it.
    fn pass(&mut self, id: i64) {
        if id > self.last_batch {
            let first = self.last_batch.saturating_add(1);
            if first < id {
                self.gaps.push(Gap { first, last: id.saturating_sub(1), younger: None });
            }
            self.last_batch = id;
            return;
        }
        let Some(index) = self.gaps.iter().position(|gap| (gap.first..=gap.last).contains(&id))
        else {
            return;
        };
        let gap = self.gaps.swap_remove(index);
        let parts = [(gap.first, id.saturating_sub(1)), (id.saturating_add(1), gap.last)];
        let parts = parts.into_iter().filter(|(first, last)| first <= last);
        self.gaps.extend(parts.map(|(first, last)| Gap { first, last, ..gap }));
    }
}

#[cfg(test)]
mod tests;
