//! Checks what followers of the feed were given, listeners to an account's events, and the receiver of a webhook.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::receipt::Receipt;
use super::{Found, Rule};
use crate::client::EVERYBODYS;
use crate::ledger::{Ledger, Payment};
use crate::record::{Delivery, FeedRead, Heard, Outcome, Records, field_of};

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
    let history_of = |account: i64| -> BTreeMap<u64, &Payment> {
        let is_of = |payment: &Payment| [payment.from_id, payment.to_id].contains(&account);
        let history = positions.iter().filter(|(_, payment)| is_of(payment));
        history.map(|(position, payment)| (*position, *payment)).collect()
    };
    if let Some(after) = records.deliveries_after
        && let Err(wrong) = check_deliveries(after, &records.deliveries, &history_of(EVERYBODYS))
    {
        found.add(Rule::DeliveriesFollowTheFeed, || wrong);
    }
    let mut listeners: BTreeMap<(u32, i64), Vec<&Heard>> = BTreeMap::new();
    for heard in &records.heard {
        listeners.entry((heard.client, heard.account)).or_default().push(heard);
    }
    for ((client, account), heard) in listeners {
        if let Err(wrong) = check_heard(account, &heard, &history_of(account)) {
            found.add(Rule::EventsFollowTheFeed, || {
                format!("listener {client}, account {account}: {wrong}")
            });
        }
    }
}

/// Checks what one listener has heard, connection by connection. An error is the first thing that is wrong.
fn check_heard(
    account: i64,
    heard: &[&Heard],
    history: &BTreeMap<u64, &Payment>,
) -> Result<(), String> {
    let mut last = None;
    for Heard { after, events, .. } in heard {
        let mut is_first = true;
        for event in events {
            let position = field_of(event, "id").and_then(|id| id.parse().ok());
            let position: u64 = position.ok_or_else(|| format!("no position: {event}"))?;
            if is_first {
                let is_begin = field_of(event, "event") == Some("begin");
                if !is_begin || after.is_some_and(|after| after != position) || *after != last {
                    return Err(format!("it begins after {after:?} with {event}"));
                }
                (is_first, last) = (false, Some(position));
                continue;
            }
            let next = history.range(last.unwrap_or(0).saturating_add(1)..).next();
            let Some((_, payment)) = next.filter(|(next, _)| **next == position) else {
                return Err(format!("{next:?} comes next, not {event}"));
            };
            let data = field_of(event, "data").unwrap_or_default();
            let row: Numbered =
                serde_json::from_str(data).map_err(|it| format!("{it}: {event}"))?;
            let is_payer = account == payment.from_id;
            let balance =
                if is_payer { payment.from_balance_after } else { payment.to_balance_after };
            let wrong = row.payment.differs_from(payment, Some(balance));
            if row.position != position || !wrong.is_empty() {
                return Err(format!("another {wrong:?}: {event} for {payment:?}"));
            }
            last = Some(position);
        }
    }
    match history.range(last.unwrap_or(0).saturating_add(1)..).next() {
        Some(missing) => Err(format!("he never heard of {missing:?}")),
        None => Ok(()),
    }
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

/// What is delivered.
#[derive(Deserialize)]
struct Message<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    data: Numbered<'a>,
}

/// Checks what the receiver of a webhook was told. An error is the first thing that is wrong.
fn check_deliveries(
    after: u64,
    deliveries: &[Delivery],
    history: &BTreeMap<u64, &Payment>,
) -> Result<(), String> {
    let mut taken = after;
    for delivery in deliveries {
        let message: Message = serde_json::from_str(&delivery.body)
            .map_err(|error| format!("{error}: {delivery:?}"))?;
        let Numbered { position, payment: row } = message.data;
        let next = history.range(taken.saturating_add(1)..).next();
        let payment = history.get(&position).filter(|_| position > after);
        let Some(payment) = payment.filter(|_| next.is_none_or(|(next, _)| position <= *next))
        else {
            return Err(format!("after position {taken} {next:?} comes next, not {delivery:?}"));
        };
        let wrong = row.differs_from(payment, None);
        let is_named = message.r#type == "payment.made" && delivery.webhook_id == payment.id;
        if !is_named || !wrong.is_empty() {
            return Err(format!("another {wrong:?}: {delivery:?} for {payment:?}"));
        }
        if delivery.is_taken {
            taken = taken.max(position);
        }
    }
    match history.range(taken.saturating_add(1)..).next() {
        Some(missing) => Err(format!("{missing:?} was never taken")),
        None => Ok(()),
    }
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
