//! A correct service, its clients and its faults, simulated: what a run without a violation leaves
//! behind. Everything follows from the seed.

use std::collections::{BTreeMap, HashMap};

use fastrand::Rng;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::ledger::{Account, Key, Ledger, Payment};
use crate::record::{Attempt, BalanceRead, Intent, Outcome, Records, Scroll};

/// How much happens.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub accounts: i64,
    pub intents: usize,
    pub reads: usize,
    pub scrolls: usize,
}

/// The longest that a call takes, and that what was lost takes to have its effect.
const CALL_US_MAX: u64 = 5_000;
/// The mean time between two intents: some hundred calls are under way at a time.
const PACE_US: u64 = 20;
/// The database's clock when the run begins.
const BEGAN_UNIX_US: i64 = 1_790_000_000_000_000;
const HOUR_US: i64 = 3_600_000_000;
const OPENING_CENTS: i64 = 2_000;
const PAGE: usize = 10;

/// Something that takes effect at one moment.
enum Event {
    Open(i64),
    Call(Call),
    Read(BalanceRead),
    Page(usize),
    SetClock(i64),
}

struct Call {
    attempt: Attempt,
    /// Its answer reaches its client.
    is_answered: bool,
    /// The service is not told that its commit succeeded, and finds out by posting it again.
    is_in_doubt: bool,
}

#[derive(Default)]
struct World {
    accounts: BTreeMap<i64, (i64, Option<i64>)>,
    payments: Vec<Payment>,
    /// Indices of payments, from the oldest.
    histories: HashMap<i64, Vec<usize>>,
    keys: BTreeMap<(i64, String), (Intent, Option<String>)>,
    clock_ahead_us: i64,
    records: Records,
    /// How far each scroll has come: the next payment to show is the newest before this time.
    cursors: Vec<Option<i64>>,
}

/// The traces of a simulated run.
pub fn run(seed: u64, size: Size) -> (Records, Ledger) {
    let mut rng = Rng::with_seed(seed);
    let mut world = World::default();
    world.accounts.insert(0, (0, None));
    let end_us = u64::try_from(size.intents).unwrap() * PACE_US + CALL_US_MAX;
    let mut events = Vec::new();
    for account in 1..=size.accounts {
        // One is opened when the run is under way.
        let at_us = if account == size.accounts { end_us / 3 } else { 0 };
        events.push((at_us, Event::Open(account)));
    }
    for _ in 0..4 {
        let ahead_us = rng.i64(-HOUR_US..HOUR_US);
        events.push((rng.u64(0..end_us), Event::SetClock(ahead_us)));
    }
    let mut intents: Vec<Intent> = Vec::new();
    for number in 0..size.intents {
        let mut intent = new_intent(&mut rng, number, size.accounts);
        if let Some(other) = rng.choice(&intents)
            && rng.u8(0..100) < 2
        {
            // A careless client: the key was meant for something else.
            (intent.from, intent.key) = (other.from, other.key.clone());
            intent.to =
                if other.from == other.to + 1 { other.to } else { other.from % size.accounts + 1 };
            if intent.to == intent.from {
                continue;
            }
        }
        calls(&mut rng, &intent, end_us, &mut events, &mut world.records.attempts);
        intents.push(intent);
    }
    for _ in 0..size.reads {
        let (asked_us, at_us, answered_us) = call(&mut rng, end_us);
        let (client, account) = (rng.u32(0..50), rng.i64(0..=size.accounts));
        let read = BalanceRead { client, account, asked_us, answered_us, balance: 0 };
        events.push((at_us, Event::Read(read)));
    }
    for number in 0..size.scrolls {
        scroll(&mut rng, number, size.accounts, end_us, &mut events, &mut world);
    }
    events.sort_by_key(|(at_us, _)| *at_us);
    for (at_us, event) in events {
        world.happen(at_us, event, &mut rng);
    }
    rng.shuffle(&mut world.records.attempts);
    rng.shuffle(&mut world.records.balances);
    let ledger = world.ledger(&mut rng);
    (world.records, ledger)
}

fn new_intent(rng: &mut Rng, number: usize, accounts: i64) -> Intent {
    let from = rng.i64(1..=accounts);
    let to = (from + rng.i64(0..accounts)) % accounts + 1;
    let to = if to == from { 0 } else { to };
    let note = match rng.u8(0..4) {
        0 => Some(String::new()),
        1 => Some(format!("lunch, \"{number}\" \u{fc}")),
        _ => None,
    };
    Intent { from, to, amount: rng.i64(1..400), key: format!("key-{number}"), note }
}

/// When a call is asked, has its effect and is answered.
fn call(rng: &mut Rng, end_us: u64) -> (u64, u64, u64) {
    let asked_us = rng.u64(1..end_us);
    let at_us = asked_us + rng.u64(0..CALL_US_MAX);
    (asked_us, at_us, at_us + rng.u64(0..CALL_US_MAX))
}

/// All copies of an intent, at once and later.
fn calls(
    rng: &mut Rng,
    intent: &Intent,
    end_us: u64,
    events: &mut Vec<(u64, Event)>,
    attempts: &mut Vec<Attempt>,
) {
    let (mut asked_us, ..) = call(rng, end_us);
    for client in 0..rng.u32(1..5) {
        let at_us = asked_us + rng.u64(0..CALL_US_MAX);
        let ended_us = at_us + rng.u64(0..CALL_US_MAX);
        let attempt = |outcome, ended_us| Attempt {
            client,
            intent: intent.clone(),
            asked_us,
            ended_us,
            outcome,
        };
        let refused =
            |code: &str| Outcome::Refused { status: 503, code: code.to_owned(), retryable: true };
        let is_in_doubt = rng.u8(0..10) == 0;
        let mut happens = |at_us, attempt, is_answered| {
            events.push((at_us, Event::Call(Call { attempt, is_answered, is_in_doubt })));
        };
        match rng.u8(0..20) {
            0 => attempts.push(attempt(refused("overloaded"), ended_us)),
            1 => attempts.push(attempt(refused("database_unavailable"), ended_us)),
            2 => attempts.push(attempt(Outcome::Lost, ended_us)),
            3 => happens(at_us, attempt(refused("database_unavailable"), ended_us), false),
            // Its client gave it up, perhaps before it has its effect; or waits for ever.
            4 => happens(at_us + CALL_US_MAX, attempt(Outcome::Lost, ended_us), false),
            5 => happens(at_us, attempt(Outcome::Lost, u64::MAX), false),
            _ => happens(at_us, attempt(Outcome::Lost, ended_us), true),
        }
        asked_us = if rng.bool() { asked_us + rng.u64(0..100) } else { ended_us + 1 };
    }
}

/// A reader's way through a history; some stop on the way.
fn scroll(
    rng: &mut Rng,
    number: usize,
    accounts: i64,
    end_us: u64,
    events: &mut Vec<(u64, Event)>,
    world: &mut World,
) {
    let (client, account) = (rng.u32(0..50), rng.i64(0..=accounts));
    let began_us = rng.u64(1..end_us);
    let pages = if rng.bool() { 1_000 } else { rng.u64(1..5) };
    let mut at_us = began_us;
    for _ in 0..pages {
        at_us += rng.u64(0..CALL_US_MAX);
        events.push((at_us, Event::Page(number)));
    }
    let (ended_us, pages) = (at_us + rng.u64(0..CALL_US_MAX), Vec::new());
    let scroll = Scroll { client, account, began_us, ended_us, pages, complete: false };
    world.records.scrolls.push(scroll);
    world.cursors.push(None);
}

impl World {
    fn happen(&mut self, at_us: u64, event: Event, rng: &mut Rng) {
        match event {
            Event::SetClock(ahead_us) => self.clock_ahead_us = ahead_us,
            Event::Open(account) => {
                self.accounts.insert(account, (0, None));
                let key = format!("opening balance of account {account}");
                let intent =
                    Intent { from: 0, to: account, amount: OPENING_CENTS, key, note: None };
                self.pay(at_us, &intent);
            }
            Event::Call(Call { mut attempt, is_answered, is_in_doubt }) => {
                let mut outcome = self.pay(at_us, &attempt.intent);
                if let Outcome::Paid { replayed, .. } = &mut outcome {
                    *replayed |= is_in_doubt;
                }
                if is_answered {
                    attempt.outcome = outcome;
                }
                self.records.attempts.push(attempt);
            }
            Event::Read(mut read) => {
                if let Some((balance, _)) = self.accounts.get(&read.account) {
                    read.balance = *balance;
                    self.records.balances.push(read);
                }
            }
            Event::Page(number) => self.page(number, at_us, rng),
        }
    }

    fn pay(&mut self, at_us: u64, intent: &Intent) -> Outcome {
        let refused = |status, code: &str| Outcome::Refused {
            status,
            code: code.to_owned(),
            retryable: false,
        };
        let (Some(from), Some(to)) =
            (self.accounts.get(&intent.from), self.accounts.get(&intent.to))
        else {
            return refused(404, "account_not_found");
        };
        let (from, to) = (*from, *to);
        let name = (intent.from, intent.key.clone());
        if let Some((before, response)) = self.keys.get(&name) {
            if before != intent {
                return refused(422, "idempotency_key_reused");
            }
            if let Some(body) = response.clone() {
                return Outcome::Paid { body, replayed: true };
            }
        }
        let (from_balance_after, to_balance_after) = (from.0 - intent.amount, to.0 + intent.amount);
        if from_balance_after < 0 && intent.from != 0 {
            self.keys.insert(name, (intent.clone(), None));
            return refused(422, "insufficient_funds");
        }
        let clock_us = BEGAN_UNIX_US + i64::try_from(at_us).unwrap() + self.clock_ahead_us;
        let created_us = clock_us.max(from.1.unwrap_or(0) + 1).max(to.1.unwrap_or(0) + 1);
        self.accounts.insert(intent.from, (from_balance_after, Some(created_us)));
        self.accounts.insert(intent.to, (to_balance_after, Some(created_us)));
        let payment = Payment {
            id: format!("{:08x}-0000-8000-8000-000000000000", self.payments.len() * 7_919),
            from_id: intent.from,
            to_id: intent.to,
            amount: intent.amount,
            created_us,
            from_balance_after,
            to_balance_after,
            key: intent.key.clone(),
            note: intent.note.clone().filter(|note| !note.is_empty()),
        };
        let body = shown(&payment, intent.from);
        self.keys.insert(name, (intent.clone(), Some(body.clone())));
        for party in [intent.from, intent.to] {
            self.histories.entry(party).or_default().push(self.payments.len());
        }
        self.payments.push(payment);
        Outcome::Paid { body, replayed: false }
    }

    fn page(&mut self, number: usize, at_us: u64, rng: &mut Rng) {
        let scroll = &mut self.records.scrolls[number];
        if scroll.complete || !self.accounts.contains_key(&scroll.account) {
            return;
        }
        let history = self.histories.get(&scroll.account).map(Vec::as_slice).unwrap_or_default();
        let cursor = self.cursors[number].unwrap_or(i64::MAX);
        let end = history.partition_point(|index| self.payments[*index].created_us < cursor);
        let begin = end.saturating_sub(PAGE);
        let rows: Vec<&Payment> =
            history[begin..end].iter().rev().map(|index| &self.payments[*index]).collect();
        let bodies: Vec<String> = rows.iter().map(|row| shown(row, scroll.account)).collect();
        scroll.pages.push(format!("[{}]", bodies.join(",")));
        scroll.complete = begin == 0;
        scroll.ended_us = at_us + rng.u64(0..CALL_US_MAX);
        self.cursors[number] = rows.last().map(|row| row.created_us).or(self.cursors[number]);
    }

    fn ledger(&self, rng: &mut Rng) -> Ledger {
        let accounts = self.accounts.iter().map(|(id, (balance, last_payment_us))| Account {
            id: *id,
            balance: *balance,
            last_payment_us: *last_payment_us,
        });
        // Some rows were removed after their time.
        let keys = self.keys.iter().filter(|_| rng.u8(0..20) > 0);
        let keys = keys.map(|((payer, key), (_, response))| Key {
            payer: *payer,
            key: key.clone(),
            status: if response.is_some() { "success" } else { "failed" }.to_owned(),
            response: response.clone().or_else(|| Some(r#"{"code":"..."}"#.to_owned())),
        });
        let keys = keys.collect();
        let mut payments = self.payments.clone();
        rng.shuffle(&mut payments);
        Ledger { accounts: accounts.collect(), payments, keys, ..Ledger::default() }
    }
}

/// The body that shows a payment to one of its parties.
pub fn shown(payment: &Payment, reader: i64) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let ns = i128::from(payment.created_us) * 1_000;
    let created_at = OffsetDateTime::from_unix_timestamp_nanos(ns).unwrap().format(format).unwrap();
    let is_payer = reader == payment.from_id;
    let balance = if is_payer { payment.from_balance_after } else { payment.to_balance_after };
    let Payment { id, from_id, to_id, amount, note, .. } = payment;
    let note = serde_json::to_string(note).unwrap();
    format!(
        "{{\"id\":\"{id}\",\"from_id\":{from_id},\"to_id\":{to_id},\"amount\":{amount},\
         \"note\":{note},\"created_at\":\"{created_at}\",\"requested_at\":null,\
         \"balance_after\":{balance}}}"
    )
}
