//! Checks what followers of the feed were given.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::receipt::Receipt;
use super::{Found, Rule};
use crate::ledger::{Ledger, Payment};
use crate::record::{FeedRead, Outcome, Records};

/// A page of the feed.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    payments: Vec<Numbered<'a>>,
    next: u64,
}

/// A payment with its position.
#[derive(Debug, Deserialize)]
struct Numbered<'a> {
    position: u64,
    #[serde(borrow, flatten)]
    payment: Receipt<'a>,
}

pub(super) fn check(records: &Records, ledger: &Ledger, found: &mut Found) {
    let payments: HashMap<&str, &Payment> =
        ledger.payments.iter().map(|payment| (payment.id.as_str(), payment)).collect();
    let mut followers: BTreeMap<u32, Vec<&FeedRead>> = BTreeMap::new();
    for read in &records.feed {
        followers.entry(read.client).or_default().push(read);
    }
    // As those who came first were given them.
    let mut positions: BTreeMap<u64, &Payment> = BTreeMap::new();
    for (client, reads) in &followers {
        let who = format!("follower {client}");
        let given = check_reads(&who, reads, &payments, found);
        for missing in ledger.payments.iter().filter(|it| !given.contains_key(it.id.as_str())) {
            found.add(Rule::FeedIsComplete, || format!("{who} was never given {missing:?}"));
        }
        for (id, position) in given {
            let Some(payment) = payments.get(id) else { continue };
            let first = positions.entry(position).or_insert(payment);
            if first.id != payment.id {
                found.add(Rule::FollowersAgree, || {
                    format!("{who} was given {payment:?} at position {position}, others {first:?}")
                });
            }
        }
    }
    check_order(&positions, found);
}

/// Checks what one follower was given, in the order in which he was. Returns the positions by the ids of their payments, as
/// they are in the ledger.
fn check_reads<'a>(
    who: &str,
    reads: &[&FeedRead],
    payments: &HashMap<&'a str, &'a Payment>,
    found: &mut Found,
) -> HashMap<&'a str, u64> {
    let mut given: HashMap<&str, u64> = HashMap::new();
    let mut before: u64 = 0;
    for FeedRead { after, next, outcome, .. } in reads {
        let body = match outcome {
            Outcome::Done { body, .. } => body,
            refused => {
                found.add(Rule::FollowersAgree, || {
                    format!("{who} had read up to position {after}, and is told {refused:?}")
                });
                continue;
            }
        };
        let page: Page = match serde_json::from_str(body) {
            Ok(page) => page,
            Err(error) => {
                found.add(Rule::FeedTruth, || format!("{who}: {error}: {body}"));
                continue;
            }
        };
        for Numbered { position, payment: row } in page.payments {
            if before.checked_add(1) != Some(position) {
                found.add(Rule::FeedHasNoGaps, || {
                    format!("{who} was given position {position} after position {before}")
                });
            }
            before = position;
            let Some((id, payment)) = payments.get_key_value(&*row.id) else {
                found.add(Rule::FeedTruth, || format!("{who}: the ledger has no {row:?}"));
                continue;
            };
            let wrong = row.differs_from(payment, None);
            if !wrong.is_empty() {
                found.add(Rule::FeedTruth, || format!("{who}: another {wrong:?} in {row:?}"));
            }
            if let Some(other) = given.insert(id, position) {
                found.add(Rule::FeedRepeatsNothing, || {
                    format!("{who} was given {payment:?} at positions {other} and {position}")
                });
            }
        }
        if before != page.next || page.next != *next {
            found.add(Rule::FeedHasNoGaps, || {
                format!("{who} is told to go on after position {}, not {before}", page.next)
            });
        }
    }
    given
}

/// Checks each account's payments in the order of their positions.
fn check_order(positions: &BTreeMap<u64, &Payment>, found: &mut Found) {
    let mut newest: HashMap<i64, &Payment> = HashMap::new();
    for (position, payment) in positions {
        for account in [payment.from_id, payment.to_id] {
            if let Some(before) = newest.insert(account, payment)
                && before.created_us >= payment.created_us
            {
                found.add(Rule::FeedFollowsHistories, || {
                    format!(
                        "account {account}: position {position} has {payment:?} after {before:?}"
                    )
                });
            }
        }
    }
}
