//! Checks the answers that readers of accounts and histories got.
//!
//! The payments of an account have an order, the ledger's. A reader saw the account at one
//! position of that order, which may not be known: an account can have the same balance twice. What is
//! known bounds it: positions that were known before the reader asked, and payments that had not been
//! asked for when he was answered. Reads are placed in the order of their questions, each as low as
//! possible, so that a read that cannot be placed cannot be placed by any other choice either.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use super::histories::{Histories, History};
use super::receipt::Receipt;
use super::{Found, Rule};
use crate::record::{BalanceRead, Records, Scroll};

/// The brief's page.
const PAGE_PAYMENTS_MAX: usize = 10;

pub(super) fn check(records: &Records, histories: &Histories, found: &mut Found) {
    let mut sights: BTreeMap<i64, Vec<Sight>> = BTreeMap::new();
    for read in &records.balances {
        sights.entry(read.account).or_default().push(Sight::Balance(read));
    }
    let none = History::default();
    for scroll in &records.scrolls {
        let history = histories.get(scroll.account).unwrap_or(&none);
        if let Some(position) = check_pages(scroll, history, found) {
            sights.entry(scroll.account).or_default().push(Sight::Scroll(scroll, position));
        }
    }
    for (account, mut sights) in sights {
        sights.sort_by_key(Sight::asked_us);
        let history = histories.get(account).unwrap_or(&none);
        check_order(&sights, records.reads_run_ahead, history, found);
    }
}

/// One look at an account.
enum Sight<'a> {
    Balance(&'a BalanceRead),
    /// With the position of the newest payment that it showed.
    Scroll(&'a Scroll, usize),
}

impl Sight<'_> {
    fn asked_us(&self) -> u64 {
        match self {
            Self::Balance(read) => read.asked_us,
            Self::Scroll(scroll, _) => scroll.began_us,
        }
    }

    fn answered_us(&self) -> u64 {
        match self {
            Self::Balance(read) => read.answered_us,
            Self::Scroll(scroll, _) => scroll.ended_us,
        }
    }
}

/// Places the reads of one account, sorted by when they were asked.
///
/// Where reads may run ahead, an earlier read bounds no later one: only what was acknowledged does.
fn check_order(sights: &[Sight], reads_run_ahead: bool, history: &History, found: &mut Found) {
    let mut positions: HashMap<i64, Vec<usize>> = HashMap::new();
    for (position, balance) in history.balances().enumerate() {
        positions.entry(balance).or_default().push(position);
    }
    // Reads that are placed, by when they were answered; and the highest that was answered before the
    // one in turn was asked.
    let mut placed: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut seen = 0;
    for sight in sights {
        while let Some(Reverse((answered_us, position))) = placed.peek().copied()
            && answered_us < sight.asked_us()
        {
            placed.pop();
            if !reads_run_ahead {
                seen = position.max(seen);
            }
        }
        let lowest = history.lowest(sight.asked_us()).max(seen);
        let highest = history.highest(sight.answered_us());
        let position = match sight {
            Sight::Balance(read) => place(read, &positions, lowest, highest, found),
            Sight::Scroll(scroll, position) => {
                let fits = (lowest..=highest).contains(position);
                if !fits {
                    let Scroll { client, account, began_us, ended_us, .. } = scroll;
                    found.add(Rule::ScrollInOrder, || {
                        format!(
                            "client {client} saw {position} payments of account {account} from \
                             {began_us} to {ended_us} us, when there were {lowest} to {highest}"
                        )
                    });
                }
                fits.then_some(*position)
            }
        };
        if let Some(position) = position {
            placed.push(Reverse((sight.answered_us(), position)));
        }
    }
}

/// The lowest position of the balance that is possible.
fn place(
    read: &BalanceRead,
    positions: &HashMap<i64, Vec<usize>>,
    lowest: usize,
    highest: usize,
    found: &mut Found,
) -> Option<usize> {
    let Some(positions) = positions.get(&read.balance) else {
        found.add(Rule::BalanceExisted, || format!("{read:?}"));
        return None;
    };
    let index = positions.partition_point(|position| *position < lowest);
    let position = positions.get(index).copied().filter(|position| *position <= highest);
    if position.is_none() {
        found.add(Rule::BalanceInOrder, || {
            let nearest = positions.iter().min_by_key(|it| it.abs_diff(lowest)).unwrap_or(&0);
            format!(
                "{read:?}, when {lowest} to {highest} payments had been made; it was so after {nearest}"
            )
        });
    }
    position
}

/// Compares what a scroll showed with the history, and returns the position at which it began; `None`
/// where that is not known.
fn check_pages(scroll: &Scroll, history: &History, found: &mut Found) -> Option<usize> {
    let Scroll { client, account, .. } = scroll;
    let who = format!("client {client}, account {account}");
    let mut first = None;
    let mut before: Option<usize> = None;
    let mut is_legible = true;
    for page in &scroll.pages {
        let rows: Vec<Receipt> = match serde_json::from_str(page) {
            Ok(rows) => rows,
            Err(error) => {
                found.add(Rule::ScrollTruth, || format!("{who}: {error}: {page}"));
                is_legible = false;
                continue;
            }
        };
        if rows.len() > PAGE_PAYMENTS_MAX {
            found.add(Rule::PageSize, || format!("{who}: {} payments", rows.len()));
        }
        for row in rows {
            let position = row.created_us().and_then(|us| history.position(us, &row.id));
            let entry = position.and_then(|position| history.entry(position));
            let (Some(position), Some(entry)) = (position, entry) else {
                found.add(Rule::ScrollTruth, || format!("{who}: the ledger has no {row:?}"));
                is_legible = false;
                continue;
            };
            let wrong = row.differs_from(entry.payment, Some(entry.balance_after));
            if !wrong.is_empty() {
                found.add(Rule::ScrollTruth, || format!("{who}: another {wrong:?} in {row:?}"));
            }
            match before {
                Some(before) if position >= before => found.add(Rule::ScrollRepeatsNothing, || {
                    format!("{who}: payment {position} after payment {before}")
                }),
                Some(before) if before.checked_sub(1) != Some(position) && is_legible => found
                    .add(Rule::ScrollSkipsNothing, || {
                        format!("{who}: payment {position} after payment {before}")
                    }),
                _ => {}
            }
            first = first.or(Some(position));
            before = Some(position);
        }
    }
    if scroll.complete && is_legible && before.is_some_and(|last| last != 1) {
        found.add(Rule::ScrollSkipsNothing, || format!("{who}: it ended with payment {before:?}"));
    }
    let showed_nothing = scroll.complete && is_legible && before.is_none();
    first.filter(|_| is_legible).or(showed_nothing.then_some(0))
}
