//! The checker: compares what clients saw with what the database holds, and names what must not be.
//!
//! It knows the contract and nothing of the service's code. What clients saw are intervals: a call
//! took effect, if it did, at some moment between its question and its answer, or later where there was
//! no answer. A violation is only what no choice of these moments explains.

mod feed;
mod histories;
mod keys;
mod reads;
mod receipt;
mod refunds;
mod requests;
mod voids;

use std::collections::BTreeMap;
use std::fmt;

use histories::Histories;
use keys::Keys;

use crate::ledger::Ledger;
use crate::record::{Outcome, Records};

/// Rules that hold after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The balances of all accounts add up to 0.
    Conservation,
    /// No account but the bank, number 0, is below zero.
    Floor,
    /// Payer and payee of each payment are accounts.
    AccountsExist,
    /// An account's payments have strictly increasing times, and it knows its newest.
    TimesIncrease,
    /// Each balance after a payment is the one before it, plus or minus the amount, from 0 on.
    BalancesFollow,
    /// Replaying an account's history gives its balance.
    BalancesAreExplained,
    /// A payer and a key have at most one payment.
    OncePerKey,
    /// Each payment, unless it is the bank's, was asked for as it is.
    AskedFor,
    /// Each acknowledged payment is there.
    AcknowledgedIsThere,
    /// It is what was acknowledged: id, amount, parties, note, time, the payer's balance.
    AcknowledgedIsTrue,
    /// All 200 answers to a key are the same bytes.
    AnswersAgree,
    /// A key is answered without the mark `Idempotency-Replayed` at most once, and not when an earlier
    /// question has its 200 already.
    FreshOnce,
    /// A key whose every copy was refused, definitely, has no payment.
    RefusedIsNotPaid,
    /// A client that was told "paid" is not told otherwise when it asks again.
    PaidIsRemembered,
    /// Where the database refuses what one payer asks for, nobody else is told that something is wrong
    /// with the service or its database.
    RefusedAlone,
    /// A draft is paid at most once, whichever window asks for it; and once, unless each of its requests
    /// was refused.
    OncePerDraft,
    /// Each refund goes from the payee to the payer of a payment that is there and no refund, knows what
    /// that payment's refunds come to, and they never come to more than it.
    RefundsAreBounded,
    /// A refund is refused as too much only where it would have been.
    RefundsThatFitAreMade,
    /// A request for money is in the ledger as it was asked for and acknowledged, once for each key.
    RequestsAreKept,
    /// A request is paid at most once, by a payment that is as it says.
    RequestsArePaidOnce,
    /// A request has one end, the one that was acknowledged; and nobody is told that it has one while it
    /// is open.
    RequestsEndOnce,
    /// A key of which anybody was told that it is voided is so in the ledger, and was never answered with
    /// 200.
    VoidedIsNotPaid,
    /// A key of which anybody was told that it cannot be voided has the payment of which he was told, byte
    /// for byte.
    VoidTellsThePayment,
    /// A key's row says what the payments say, and its response is what was acknowledged.
    KeysAgree,
    /// No key is left in progress.
    NothingInProgress,
    /// No session is left idle in a transaction.
    NoIdleTransaction,
    /// Of two payments of an account, one acknowledged before the other was asked for comes first.
    RealTimeOrder,
    /// A balance that was read is one that the account had.
    BalanceExisted,
    /// It had it at a moment that fits: not before what was known when the reader asked, and not before
    /// the payments that lead to it were asked for. Reads of an account are linearizable; where replicas answer, but for
    /// payments that nobody was told of yet: those a later read may miss.
    BalanceInOrder,
    /// A page has at most ten payments.
    PageSize,
    /// A scroll shows the payments as they are in the ledger.
    ScrollTruth,
    /// A scroll shows no payment again, and none after an older one.
    ScrollRepeatsNothing,
    /// A scroll leaves no payment out, down to the end where it got there.
    ScrollSkipsNothing,
    /// A scroll begins with a payment that was the newest at a moment that fits, as a balance does.
    ScrollInOrder,
    /// The feed shows the payments as they are in the ledger.
    FeedTruth,
    /// A follower is given the positions 1, 2, 3, ...
    FeedHasNoGaps,
    /// No payment has two positions.
    FeedRepeatsNothing,
    /// A position has the same payment for every follower, and is there for ever.
    FollowersAgree,
    /// In the end every payment has a position.
    FeedIsComplete,
    /// Of two payments of an account the earlier has the smaller position.
    FeedFollowsHistories,
    /// Who listens to an account's events hears each of its payments once, with its position and in the order of the feed,
    /// none left out since what he heard last; and in the end all of them.
    EventsFollowTheFeed,
    /// The receiver of a webhook is told of each payment of its account, with its position, some of them again, but of none
    /// before it has taken the one before; and in the end of all of them.
    DeliveriesFollowTheFeed,
}

/// Evidence against a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub rule: Rule,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// Compares what was seen with what is there. At most ten violations of each rule are described, and
/// the rest is counted.
#[must_use]
pub fn check(records: &Records, ledger: &Ledger) -> Vec<Violation> {
    let mut found = Found::default();
    let keys = Keys::of(records, ledger);
    let histories = Histories::of(ledger, &keys);
    histories.check(ledger, &mut found);
    keys.check(&mut found);
    keys.check_drafts(records, &mut found);
    refunds::check(records, ledger, &mut found);
    requests::check(records, ledger, &mut found);
    voids::check(records, ledger, &mut found);
    check_innocents(records, &mut found);
    reads::check(records, &histories, &mut found);
    feed::check(records, ledger, &mut found);
    for key in &ledger.openings_in_progress {
        found.add(Rule::NothingInProgress, || format!("the opening with key {key:?}"));
    }
    for session in &ledger.idle_in_transaction {
        found.add(Rule::NoIdleTransaction, || session.clone());
    }
    found.violations()
}

/// Codes that tell a client that the service or its database is at fault.
const TROUBLE: [&str; 2] = ["internal", "database_unavailable"];

/// Where nothing is wrong but what the database has against some payers, that is no trouble of others.
fn check_innocents(records: &Records, found: &mut Found) {
    let Records { attempts, errands, refused_payers, .. } = records;
    if refused_payers.is_empty() {
        return;
    }
    let is_told_of_trouble = |account: i64, outcome: &Outcome| match outcome {
        Outcome::Refused { code, .. } => {
            !refused_payers.contains(&account) && TROUBLE.contains(&code.as_str())
        }
        Outcome::Done { .. } | Outcome::Lost => false,
    };
    for attempt in attempts.iter().filter(|it| is_told_of_trouble(it.intent.from, &it.outcome)) {
        found.add(Rule::RefusedAlone, || format!("{attempt:?}"));
    }
    for run in errands.iter().filter(|it| is_told_of_trouble(it.errand.account(), &it.outcome)) {
        found.add(Rule::RefusedAlone, || format!("{run:?}"));
    }
}

/// Violations of each rule that are described.
const DESCRIBED_MAX: usize = 10;

#[derive(Default)]
struct Found(BTreeMap<Rule, Described>);

#[derive(Default)]
struct Described {
    first: Vec<String>,
    count: usize,
}

impl Found {
    fn add(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        let described = self.0.entry(rule).or_default();
        described.count = described.count.saturating_add(1);
        if described.first.len() < DESCRIBED_MAX {
            described.first.push(what());
        }
    }

    fn violations(self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (rule, Described { first, count }) in self.0 {
            let more = count.saturating_sub(first.len());
            violations.extend(first.into_iter().map(|what| Violation { rule, what }));
            if more > 0 {
                violations.push(Violation { rule, what: format!("and {more} more") });
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests;
