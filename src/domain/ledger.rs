//! The rule: it decides a batch of intents from the rows that were locked and the keys that were read. All
//! decisions about money are made here, in memory; nothing else is touched.
//!
//! Intents are taken one after another, in order, each seeing what the ones before it did: the
//! brief's "two users can't send money to one user at a single time" holds inside a batch because
//! this is a loop, and between batches because of the row locks.

use std::collections::{BTreeMap, HashMap};

use super::{
    AccountId, Amount, Balance, Fingerprint, IdempotencyKey, Intent, Payment, PaymentId, Timestamp,
};

/// A locked account, as far as the rule needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountState {
    pub balance: Balance,
    pub last_payment_at: Option<Timestamp>,
}

/// The state of a key that was used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Somebody else holds it, and has not finished.
    InProgress { fingerprint: Option<Fingerprint> },
    /// It made a payment; `response` is the body that told so.
    Success { fingerprint: Fingerprint, response: String },
    /// It made none: the funds were insufficient. The same request may run again.
    Failed { fingerprint: Fingerprint },
}

/// The fate of one intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Posted now; the body for the payer.
    Posted(String),
    /// Posted earlier; the body that was given then.
    Replayed(String),
    /// Not posted, and not under way: the key is held by another request.
    InProgress,
    Declined(Declined),
}

/// The reason why the rule makes no payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declined {
    AccountNotFound(AccountId),
    /// The key belongs to a request that asked for something else.
    KeyReused,
    InsufficientFunds,
    /// The payee (or the bank, paying) would pass the limit of a balance.
    BalanceLimit,
}

/// How a key is left: written once, with its final status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub payer: AccountId,
    pub key: IdempotencyKey,
    pub fingerprint: Fingerprint,
    /// The body that a success is replayed with; `None` for a failure.
    pub response: Option<String>,
}

/// Everything a batch changes, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// One for each intent, in their order.
    pub outcomes: Vec<Outcome>,
    /// The new payments, in the order in which they happened.
    pub payments: Vec<Payment>,
    /// The accounts that change, by id.
    pub changed: BTreeMap<AccountId, AccountState>,
    /// Without duplicates, sorted by payer and key: the order in which every process writes them.
    pub claims: Vec<Claim>,
}

impl Decision {
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        self.payments.is_empty() && self.claims.is_empty()
    }

    #[must_use]
    pub fn replays_something(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Replayed(_)))
    }

    /// Its claims, and all else, to be written one after the other.
    #[must_use]
    pub fn claims_apart(&self) -> [Self; 2] {
        let claims = Self { claims: self.claims.clone(), ..Self::default() };
        [claims, Self { claims: Vec::new(), ..self.clone() }]
    }

    /// The declined ones of the intents that were decided, where nothing is known of their keys: they may
    /// have been paid all the same, under a key whose row was removed.
    #[must_use]
    pub fn declined_without_key<'a>(
        &self,
        intents: &[&'a Intent],
        known: &HashMap<PaymentId, Known>,
    ) -> Vec<&'a Intent> {
        let decided = intents.iter().copied().zip(&self.outcomes);
        decided
            .filter(|(_, outcome)| matches!(outcome, Outcome::Declined(_)))
            .map(|(intent, _)| intent)
            .filter(|intent| !known.contains_key(&intent.id()))
            .collect()
    }
}

/// Decides a batch.
///
/// `now` is the database's clock, read after every row was locked. `accounts` are the locked
/// rows of all payers and payees that exist; `known` holds the keys that were used before.
#[must_use]
#[expect(clippy::implicit_hasher, reason = "one caller, one hasher")]
pub fn decide<'a>(
    now: Timestamp,
    accounts: &BTreeMap<AccountId, AccountState>,
    known: &HashMap<PaymentId, Known>,
    intents: impl IntoIterator<Item = &'a Intent>,
) -> Decision {
    let mut ledger = Ledger {
        now,
        accounts: accounts.clone(),
        known: known.clone(),
        claims: BTreeMap::new(),
        decision: Decision::default(),
    };
    for intent in intents {
        let outcome = ledger.take(intent);
        ledger.decision.outcomes.push(outcome);
    }
    ledger.decision.claims = ledger.claims.into_values().collect();
    ledger.decision
}

struct Ledger {
    now: Timestamp,
    accounts: BTreeMap<AccountId, AccountState>,
    known: HashMap<PaymentId, Known>,
    claims: BTreeMap<(AccountId, IdempotencyKey), Claim>,
    decision: Decision,
}

impl Ledger {
    fn take(&mut self, intent: &Intent) -> Outcome {
        let fingerprint = intent.fingerprint();
        let Some(from) = self.accounts.get(&intent.from()).copied() else {
            return Outcome::Declined(Declined::AccountNotFound(intent.from()));
        };
        match self.known.get(&intent.id()) {
            Some(
                Known::Success { fingerprint: of, .. }
                | Known::Failed { fingerprint: of }
                | Known::InProgress { fingerprint: Some(of) },
            ) if *of != fingerprint => {
                return Outcome::Declined(Declined::KeyReused);
            }
            Some(Known::InProgress { .. }) => return Outcome::InProgress,
            Some(Known::Success { response, .. }) => return Outcome::Replayed(response.clone()),
            Some(Known::Failed { .. }) | None => {}
        }
        let Some(to) = self.accounts.get(&intent.to()).copied() else {
            return Outcome::Declined(Declined::AccountNotFound(intent.to()));
        };
        match transfer(intent.from(), from.balance, to.balance, intent.amount) {
            Ok((from_balance_after, to_balance_after)) => {
                let created_at = later_than_both(self.now, from, to);
                self.post(
                    Payment {
                        id: intent.id(),
                        from: intent.from(),
                        to: intent.to(),
                        amount: intent.amount,
                        note: intent.note.as_ref().map(|note| note.as_str().to_owned()),
                        key: intent.key().clone(),
                        created_at,
                        requested_at: intent.requested_at,
                        from_balance_after,
                        to_balance_after,
                    },
                    fingerprint,
                )
            }
            Err(Declined::InsufficientFunds) => {
                self.fail(intent, fingerprint);
                Outcome::Declined(Declined::InsufficientFunds)
            }
            Err(declined) => Outcome::Declined(declined),
        }
    }

    fn post(&mut self, payment: Payment, fingerprint: Fingerprint) -> Outcome {
        let response = payment.receipt();
        for (id, balance) in
            [(payment.from, payment.from_balance_after), (payment.to, payment.to_balance_after)]
        {
            let state = AccountState { balance, last_payment_at: Some(payment.created_at) };
            self.accounts.insert(id, state);
            self.decision.changed.insert(id, state);
        }
        self.claim(payment.from, payment.key.clone(), fingerprint, Some(response.clone()));
        self.known.insert(payment.id, Known::Success { fingerprint, response: response.clone() });
        self.decision.payments.push(payment);
        Outcome::Posted(response)
    }

    fn fail(&mut self, intent: &Intent, fingerprint: Fingerprint) {
        let known = self.known.insert(intent.id(), Known::Failed { fingerprint });
        if known.is_none() {
            self.claim(intent.from(), intent.key().clone(), fingerprint, None);
        }
    }

    fn claim(
        &mut self,
        payer: AccountId,
        key: IdempotencyKey,
        fingerprint: Fingerprint,
        response: Option<String>,
    ) {
        let claim = Claim { payer, key: key.clone(), fingerprint, response };
        self.claims.insert((payer, key), claim);
    }
}

/// The database's clock, or 1 us after either party's last payment if that is later.
fn later_than_both(now: Timestamp, from: AccountState, to: AccountState) -> Timestamp {
    let after = |state: AccountState| state.last_payment_at.map_or(now, Timestamp::next);
    now.max(after(from)).max(after(to))
}

/// Both balances after a payment, or why there can be none.
fn transfer(
    payer: AccountId,
    from: Balance,
    to: Balance,
    amount: Amount,
) -> Result<(Balance, Balance), Declined> {
    let from_after = from.minus(amount).ok_or(if payer.is_bank() {
        Declined::BalanceLimit
    } else {
        Declined::InsufficientFunds
    })?;
    if from_after.is_below_zero() && !payer.is_bank() {
        return Err(Declined::InsufficientFunds);
    }
    let to_after = to.plus(amount).ok_or(Declined::BalanceLimit)?;
    Ok((from_after, to_after))
}

#[cfg(test)]
mod tests;
