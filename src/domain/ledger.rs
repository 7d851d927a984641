//! The rule: it decides a batch of instructions from the rows that were locked and what was read beside them. All
//! decisions about money are made here, in memory; nothing else is touched.
//!
//! Instructions are taken one after another, in order, each seeing what the ones before it did: the
//! brief's "two users can't send money to one user at a single time" holds inside a batch because
//! this is a loop, and between batches because of the row locks.

mod refunds;
mod requests;

use std::collections::{BTreeMap, HashMap};

use super::{
    AccountId, AccountStatus, Amount, Balance, Fingerprint, IdempotencyKey, Instruction, Intent,
    Payment, PaymentId, PaymentRequest, PaymentRequestId, Refund, RequestState, RequestStatus,
    SetStatus, Timestamp, VoidKey,
};
pub use refunds::Refundable;

/// A locked account, as far as the rule needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountState {
    pub balance: Balance,
    pub last_payment_at: Option<Timestamp>,
    pub status: AccountStatus,
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
    /// It was told never to make one.
    Voided,
}

/// A payment that somebody may have meant when he asked for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Similar {
    pub id: PaymentId,
    pub created_at: Timestamp,
}

/// A payment that is asked for: its id, its payee and its amount. Two that share a key may differ in these.
pub type AskedPayment = (PaymentId, AccountId, Amount);

/// Everything that was read when the accounts were locked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// The database's clock.
    pub now: Timestamp,
    /// The keys that were used before, by the id of the payment that each could make.
    pub known: HashMap<PaymentId, Known>,
    /// The requests for money that the batch is about.
    pub requests: HashMap<PaymentRequestId, PaymentRequest>,
    /// The newest request of each account that asks or is asked.
    pub last_request_at: BTreeMap<AccountId, Timestamp>,
    /// The payments that are to be refunded.
    pub refundable: HashMap<PaymentId, Refundable>,
    /// By the payment that is asked for, an earlier one like it.
    pub similar: HashMap<AskedPayment, Similar>,
    /// Whether the same instructions were tried before, and may have been carried out.
    pub is_repeated: bool,
}

/// The fate of one instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done now; the body for the one who asked.
    Done(String),
    /// Done earlier; the body that was given then.
    Replayed(String),
    /// Not done, and not under way: the key is held by another request.
    InProgress,
    Declined(Declined),
}

/// The reason why the rule changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declined {
    AccountNotFound(AccountId),
    AccountFrozen(AccountId),
    AccountClosed(AccountId),
    /// An account with money cannot be closed.
    AccountNotEmpty(AccountId),
    /// The bank is always open.
    BankStaysOpen,
    /// The key belongs to a request that asked for something else.
    KeyReused,
    KeyVoided,
    InsufficientFunds,
    /// The payee (or the bank, paying) would pass the limit of a balance.
    BalanceLimit,
    /// The payment to be refunded does not exist, or is between others.
    PaymentNotFound,
    /// It is a refund or an opening balance, or was paid in the other direction.
    NotRefundable,
    RefundExceeds {
        left_cents: i64,
    },
    /// The request for money does not exist, or is between others.
    RequestNotFound,
    /// It asks for something else.
    RequestMismatch,
    RequestNotOpen(RequestStatus),
    /// It would expire before it is made.
    ExpiresInThePast,
    Similar(Similar),
}

/// How a key is left: written once, with its final status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub payer: AccountId,
    pub key: IdempotencyKey,
    pub end: KeyEnd,
}

impl Claim {
    /// Whether it says nothing that most keys do not.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self.end, KeyEnd::Paid { .. } | KeyEnd::Failed { .. })
    }
}

/// The final status of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyEnd {
    /// It made the payment whose id is derived from it; the body is what it is replayed with.
    Paid {
        fingerprint: Fingerprint,
        response: String,
    },
    /// It made another payment: that of a request for money.
    PaidRequest {
        fingerprint: Fingerprint,
        response: String,
        payment: PaymentId,
    },
    Failed {
        fingerprint: Fingerprint,
    },
    Voided,
}

/// Everything a batch changes, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// One for each instruction, in their order.
    pub outcomes: Vec<Outcome>,
    /// The new payments, in the order in which they happened.
    pub payments: Vec<Payment>,
    /// The accounts whose balances change, by id.
    pub changed: BTreeMap<AccountId, AccountState>,
    /// Without duplicates, sorted by payer and key: the order in which every process writes them.
    pub claims: Vec<Claim>,
    pub requests: Vec<PaymentRequest>,
    pub request_states: BTreeMap<PaymentRequestId, RequestState>,
    pub statuses: BTreeMap<AccountId, AccountStatus>,
}

impl Decision {
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        self.payments.is_empty()
            && self.claims.is_empty()
            && self.requests.is_empty()
            && self.request_states.is_empty()
            && self.statuses.is_empty()
    }

    /// Whether somebody will be told that something is done.
    #[must_use]
    pub fn promises_something(&self) -> bool {
        let is_promise = |outcome: &_| matches!(outcome, Outcome::Done(_) | Outcome::Replayed(_));
        self.outcomes.iter().any(is_promise)
    }

    /// Its claims, and all else, to be written one after the other.
    #[must_use]
    pub fn claims_apart(&self) -> [Self; 2] {
        let claims = Self { claims: self.claims.clone(), ..Self::default() };
        [claims, Self { claims: Vec::new(), ..self.clone() }]
    }

    /// The declined ones of the payments that were decided, where nothing is known of their keys: they may
    /// have been made all the same, under a key whose row was removed.
    #[must_use]
    pub fn declined_without_key(
        &self,
        instructions: &[&Instruction],
        known: &HashMap<PaymentId, Known>,
    ) -> Vec<PaymentId> {
        let decided = instructions.iter().zip(&self.outcomes);
        decided
            .filter(|(_, outcome)| matches!(outcome, Outcome::Declined(_)))
            .filter_map(|(instruction, _)| Some(instruction.intent()?.id()))
            .filter(|id| !known.contains_key(id))
            .collect()
    }
}

/// Decides a batch. `accounts` are the locked rows of all accounts of the instructions that exist.
#[must_use]
pub fn decide<'a>(
    accounts: &BTreeMap<AccountId, AccountState>,
    findings: &Findings,
    instructions: impl IntoIterator<Item = &'a Instruction>,
) -> Decision {
    let mut ledger = Ledger {
        accounts: accounts.clone(),
        found: findings.clone(),
        claims: BTreeMap::new(),
        decision: Decision::default(),
    };
    for instruction in instructions {
        let outcome = ledger.take(instruction).unwrap_or_else(Outcome::Declined);
        ledger.decision.outcomes.push(outcome);
    }
    ledger.decision.claims = ledger.claims.into_values().collect();
    ledger.decision
}

struct Ledger {
    accounts: BTreeMap<AccountId, AccountState>,
    found: Findings,
    claims: BTreeMap<(AccountId, IdempotencyKey), Claim>,
    decision: Decision,
}

impl Ledger {
    fn take(&mut self, instruction: &Instruction) -> Result<Outcome, Declined> {
        match instruction {
            Instruction::Pay(intent) => self.pay(intent),
            Instruction::Void(void) => self.void(void),
            Instruction::Ask(ask) => self.ask(ask),
            Instruction::Close(close) => self.close(close),
            Instruction::SetStatus(set) => self.set_status(*set),
        }
    }

    fn pay(&mut self, intent: &Intent) -> Result<Outcome, Declined> {
        let from = self.account(intent.from())?;
        let fingerprint = intent.fingerprint();
        if let Some(outcome) = self.settled_by_client_key(intent)? {
            return Ok(outcome);
        }
        let request = self.request_to_pay(intent)?;
        if let Some(outcome) = self.settled(intent.id(), fingerprint)? {
            self.share_with_client_key(intent, &outcome);
            return Ok(outcome);
        }
        let to = self.account(intent.to())?;
        must_be_open(intent.from(), from)?;
        must_be_open(intent.to(), to)?;
        let note = intent.note.as_ref().map(|note| note.as_str().to_owned());
        let note = note.or_else(|| request.as_ref().and_then(|request| request.note.clone()));
        if let Some(request) = request {
            self.must_be_payable(&request)?;
        }
        let refund = self.refund(intent)?;
        self.must_be_unlike_others(intent)?;
        match transfer(intent.from(), from.balance, to.balance, intent.amount) {
            Ok((from_balance_after, to_balance_after)) => {
                let payment = Payment {
                    id: intent.id(),
                    from: intent.from(),
                    to: intent.to(),
                    amount: intent.amount,
                    note,
                    key: intent.key().clone(),
                    created_at: later_than_both(self.found.now, from, to),
                    requested_at: intent.requested_at,
                    from_balance_after,
                    to_balance_after,
                    refund,
                    request: intent.request(),
                    asked_by: intent.asked_by().map(str::to_owned),
                };
                let outcome = self.post(payment, fingerprint);
                self.share_with_client_key(intent, &outcome);
                Ok(outcome)
            }
            Err(declined) => {
                if declined == Declined::InsufficientFunds {
                    self.fail(intent, fingerprint);
                }
                Err(declined)
            }
        }
    }

    fn account(&self, id: AccountId) -> Result<AccountState, Declined> {
        self.accounts.get(&id).copied().ok_or(Declined::AccountNotFound(id))
    }

    /// What is known of a key already, where that is the end of it.
    fn settled(
        &self,
        id: PaymentId,
        fingerprint: Fingerprint,
    ) -> Result<Option<Outcome>, Declined> {
        match self.found.known.get(&id) {
            Some(
                Known::Success { fingerprint: of, .. }
                | Known::Failed { fingerprint: of }
                | Known::InProgress { fingerprint: Some(of) },
            ) if *of != fingerprint => Err(Declined::KeyReused),
            Some(Known::Voided) => Err(Declined::KeyVoided),
            Some(Known::InProgress { .. }) => Ok(Some(Outcome::InProgress)),
            Some(Known::Success { response, .. }) => Ok(Some(Outcome::Replayed(response.clone()))),
            Some(Known::Failed { .. }) | None => Ok(None),
        }
    }

    fn must_be_unlike_others(&self, intent: &Intent) -> Result<(), Declined> {
        let Some(within) = intent.unless_similar_within() else {
            return Ok(());
        };
        let after = within.before(self.found.now);
        let in_this_batch = self.decision.payments.iter().rev().find(|made| {
            (made.from, made.to, made.amount) == (intent.from(), intent.to(), intent.amount)
                && made.created_at > after
        });
        let in_this_batch =
            in_this_batch.map(|made| Similar { id: made.id, created_at: made.created_at });
        let before = self.found.similar.get(&(intent.id(), intent.to(), intent.amount)).copied();
        let before = before.filter(|similar| similar.created_at > after);
        in_this_batch.or(before).map_or(Ok(()), |similar| Err(Declined::Similar(similar)))
    }

    fn post(&mut self, payment: Payment, fingerprint: Fingerprint) -> Outcome {
        let response = payment.receipt();
        for (id, balance) in
            [(payment.from, payment.from_balance_after), (payment.to, payment.to_balance_after)]
        {
            let last_payment_at = Some(payment.created_at);
            let state = AccountState { balance, last_payment_at, status: AccountStatus::Open };
            self.accounts.insert(id, state);
            self.decision.changed.insert(id, state);
        }
        self.settle_request_of(&payment);
        let end = KeyEnd::Paid { fingerprint, response: response.clone() };
        self.claim(payment.from, payment.key.clone(), end);
        self.found
            .known
            .insert(payment.id, Known::Success { fingerprint, response: response.clone() });
        self.decision.payments.push(payment);
        Outcome::Done(response)
    }

    /// Notes that the funds were insufficient, under each key that was used.
    fn fail(&mut self, intent: &Intent, fingerprint: Fingerprint) {
        self.fail_key(intent.id(), intent.from(), intent.key(), fingerprint);
        if let Some(key) = intent.client_key() {
            let id = PaymentId::derive(intent.from(), key);
            self.fail_key(id, intent.from(), key, intent.client_fingerprint());
        }
    }

    fn fail_key(
        &mut self,
        id: PaymentId,
        payer: AccountId,
        key: &IdempotencyKey,
        fingerprint: Fingerprint,
    ) {
        let known = self.found.known.insert(id, Known::Failed { fingerprint });
        if known.is_none() {
            self.claim(payer, key.clone(), KeyEnd::Failed { fingerprint });
        }
    }

    fn claim(&mut self, payer: AccountId, key: IdempotencyKey, end: KeyEnd) {
        let claim = Claim { payer, key: key.clone(), end };
        self.claims.insert((payer, key), claim);
    }

    fn void(&mut self, void: &VoidKey) -> Result<Outcome, Declined> {
        self.account(void.from())?;
        match self.found.known.get(&void.id()) {
            Some(Known::Success { response, .. }) => {
                return Ok(Outcome::Done(format!(r#"{{"voided":false,"payment":{response}}}"#)));
            }
            Some(Known::InProgress { .. }) => return Ok(Outcome::InProgress),
            Some(Known::Voided) => {}
            Some(Known::Failed { .. }) | None => {
                self.found.known.insert(void.id(), Known::Voided);
                self.claim(void.from(), void.key().clone(), KeyEnd::Voided);
            }
        }
        Ok(Outcome::Done(r#"{"voided":true}"#.to_owned()))
    }

    fn set_status(&mut self, set: SetStatus) -> Result<Outcome, Declined> {
        let SetStatus { account, status } = set;
        let state = self.account(account)?;
        if account.is_bank() {
            return Err(Declined::BankStaysOpen);
        }
        if state.status != status {
            if state.status == AccountStatus::Closed {
                return Err(Declined::AccountClosed(account));
            }
            if status == AccountStatus::Closed && state.balance != Balance::default() {
                return Err(Declined::AccountNotEmpty(account));
            }
            self.accounts.insert(account, AccountState { status, ..state });
            self.decision.statuses.insert(account, status);
        }
        Ok(Outcome::Done(format!(r#"{{"id":{account},"status":"{}"}}"#, status.name())))
    }
}

fn must_be_open(id: AccountId, state: AccountState) -> Result<(), Declined> {
    match state.status {
        AccountStatus::Open => Ok(()),
        AccountStatus::Frozen => Err(Declined::AccountFrozen(id)),
        AccountStatus::Closed => Err(Declined::AccountClosed(id)),
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
