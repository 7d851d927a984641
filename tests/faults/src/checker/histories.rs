//! Each account's payments, from the oldest to the newest.

use std::collections::BTreeMap;

use super::keys::{Interval, Keys};
use super::{Found, Rule};
use crate::ledger::{Account, Ledger, Payment};

/// The histories of all accounts that exist or have payments.
pub(super) struct Histories<'a>(BTreeMap<i64, History<'a>>);

/// One account's payments, in the ledger's order. A *position* counts the payments that were made: at
/// position 0 none was, and the balance is 0.
#[derive(Default)]
pub(super) struct History<'a> {
    entries: Vec<Entry<'a>>,
    /// For each position from 1: when the last of the payments up to it was asked for.
    asked_us: Vec<u64>,
    /// When payments were acknowledged, in order, with the highest position until then.
    acknowledged: Vec<(u64, usize)>,
}

/// A payment as one of its parties has it.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub payment: &'a Payment,
    pub balance_after: i64,
    change: i64,
    interval: Interval,
}

/// How the service names the payment that opens an account.
const OPENING: &str = "opening balance of account ";

impl<'a> Histories<'a> {
    pub fn of(ledger: &'a Ledger, keys: &Keys<'a>) -> Self {
        let mut histories: BTreeMap<i64, History> =
            ledger.accounts.iter().map(|account| (account.id, History::default())).collect();
        for (payment, interval) in keys.payments() {
            histories.entry(payment.from_id).or_default().entries.push(Entry {
                payment,
                balance_after: payment.from_balance_after,
                change: payment.amount.saturating_neg(),
                interval,
            });
            // Everybody who has seen an account has seen its opening.
            let is_opening = payment.from_id == 0 && payment.key.starts_with(OPENING);
            let acknowledged_us = if is_opening { 0 } else { interval.acknowledged_us };
            histories.entry(payment.to_id).or_default().entries.push(Entry {
                payment,
                balance_after: payment.to_balance_after,
                change: payment.amount,
                interval: Interval { acknowledged_us, ..interval },
            });
        }
        histories.values_mut().for_each(History::arrange);
        Self(histories)
    }

    pub fn get(&self, account: i64) -> Option<&History<'a>> {
        self.0.get(&account)
    }

    pub fn check(&self, ledger: &Ledger, found: &mut Found) {
        let sum: i128 = ledger.accounts.iter().map(|account| i128::from(account.balance)).sum();
        if sum != 0 {
            found.add(Rule::Conservation, || format!("the sum of all balances is {sum}"));
        }
        let accounts: BTreeMap<i64, &Account> =
            ledger.accounts.iter().map(|account| (account.id, account)).collect();
        for (id, history) in &self.0 {
            match accounts.get(id) {
                Some(account) => history.check_account(account, found),
                None => found.add(Rule::AccountsExist, || {
                    format!("{} payments of account {id}", history.entries.len())
                }),
            }
            history.check_chain(*id, found);
            history.check_order(*id, found);
        }
    }
}

impl<'a> History<'a> {
    fn arrange(&mut self) {
        self.entries.sort_unstable_by_key(|entry| (entry.payment.created_us, &entry.payment.id));
        let mut latest_us = 0;
        for entry in &self.entries {
            latest_us = entry.interval.asked_us.max(latest_us);
            self.asked_us.push(latest_us);
        }
        let acknowledged = self.entries.iter().map(|entry| entry.interval.acknowledged_us);
        self.acknowledged = acknowledged.zip(1..).filter(|(us, _)| *us < u64::MAX).collect();
        self.acknowledged.sort_unstable();
        let mut highest = 0;
        for (_, position) in &mut self.acknowledged {
            highest = highest.max(*position);
            *position = highest;
        }
    }

    /// The balance at each position.
    pub fn balances(&self) -> impl Iterator<Item = i64> {
        std::iter::once(0).chain(self.entries.iter().map(|entry| entry.balance_after))
    }

    /// The payment that leads to a position.
    pub fn entry(&self, position: usize) -> Option<&Entry<'a>> {
        self.entries.get(position.checked_sub(1)?)
    }

    /// The position to which a payment leads.
    pub fn position(&self, created_us: i64, id: &str) -> Option<usize> {
        let of = |entry: &Entry<'a>| (entry.payment.created_us, entry.payment.id.as_str());
        let index = self.entries.binary_search_by(|entry| of(entry).cmp(&(created_us, id))).ok()?;
        index.checked_add(1)
    }

    /// The lowest position that somebody can see who asks now: what was acknowledged before has
    /// happened.
    pub fn lowest(&self, asked_us: u64) -> usize {
        let before = self.acknowledged.partition_point(|(us, _)| *us < asked_us);
        let last = before.checked_sub(1).and_then(|index| self.acknowledged.get(index));
        last.map_or(0, |(_, position)| *position)
    }

    /// The highest position that somebody can have seen who is answered now: all payments up to it had
    /// been asked for.
    pub fn highest(&self, answered_us: u64) -> usize {
        self.asked_us.partition_point(|us| *us <= answered_us)
    }

    fn check_account(&self, account: &Account, found: &mut Found) {
        let Account { id, balance, last_payment_us } = account;
        if *balance < 0 && *id != 0 {
            found.add(Rule::Floor, || format!("account {id} has {balance}"));
        }
        let total: i128 = self.entries.iter().map(|entry| i128::from(entry.change)).sum();
        if total != i128::from(*balance) {
            found.add(Rule::BalancesAreExplained, || {
                format!("account {id} has {balance}, its history gives {total}")
            });
        }
        let newest_us = self.entries.last().map(|entry| entry.payment.created_us);
        if newest_us != *last_payment_us {
            found.add(Rule::TimesIncrease, || {
                format!("account {id} knows {last_payment_us:?} as its newest, not {newest_us:?}")
            });
        }
    }

    fn check_chain(&self, account: i64, found: &mut Found) {
        for (entry, before) in self.entries.iter().zip(self.balances()) {
            if before.checked_add(entry.change) != Some(entry.balance_after) {
                found.add(Rule::BalancesFollow, || {
                    format!("account {account} had {before} before {:?}", entry.payment)
                });
            }
        }
        for (older, newer) in self.entries.iter().zip(self.entries.iter().skip(1)) {
            if older.payment.created_us >= newer.payment.created_us {
                found.add(Rule::TimesIncrease, || {
                    format!("account {account}: {:?} and {:?}", older.payment, newer.payment)
                });
            }
        }
    }

    /// Whether a payment was asked for when a later one was known already.
    fn check_order(&self, account: i64, found: &mut Found) {
        let mut first_known: Option<&Entry> = None;
        for entry in self.entries.iter().rev() {
            if let Some(later) = first_known
                && later.interval.acknowledged_us < entry.interval.asked_us
            {
                found.add(Rule::RealTimeOrder, || {
                    format!(
                        "account {account}: {:?} was acknowledged before {:?} was asked for",
                        later.payment, entry.payment
                    )
                });
            }
            let known_us = |it: &Entry| it.interval.acknowledged_us;
            if first_known.is_none_or(|later| known_us(entry) < known_us(later)) {
                first_known = Some(entry);
            }
        }
    }
}
