//! A correct service, its clients and its faults, simulated: what a run without a violation leaves
//! behind. Everything follows from the seed.

use std::collections::{BTreeMap, HashMap};

use fastrand::Rng;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::client::EVERYBODYS;
use crate::ledger::{Account, Key, Ledger, Payment, Request};
use crate::record::{
    Attempt, BalanceRead, Delivery, Demand, End, Errand, ErrandRun, FeedRead, Heard, Intent,
    Outcome, Records, Reference, Scroll,
};

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
/// The numbers of those who follow the feed, as clients.
const FOLLOWERS: std::ops::Range<u32> = 100..103;

/// Something that takes effect at one moment.
enum Event {
    Open(i64),
    Call(Call),
    /// Whether its answer reaches its client.
    Errand(ErrandRun, bool),
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
    keys: BTreeMap<(i64, String), Settled>,
    requests: BTreeMap<String, Request>,
    clock_ahead_us: i64,
    records: Records,
    /// How far each scroll has come: the next payment to show is the newest before this time.
    cursors: Vec<Option<i64>>,
}

/// What a key has come to.
enum Settled {
    Failed(Intent),
    Paid {
        intent: Intent,
        body: String,
        /// Where the payment has a key of its own.
        payment_id: Option<String>,
    },
    Voided,
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
    let mut demands: Vec<Demand> = Vec::new();
    for number in 0..size.intents {
        let mut intent = new_intent(&mut rng, number, size.accounts);
        if let Some(errand) = new_errand(&mut rng, &intent, &intents, &mut demands) {
            errand_calls(&mut rng, &errand, end_us, &mut events, &mut world.records.errands);
            continue;
        }
        refer(&mut rng, &mut intent, &intents, &demands);
        if let Some(other) = rng.choice(&intents)
            && intent.refers_to == Reference::Nothing
            && !other.key.is_empty()
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
    rng.shuffle(&mut world.records.errands);
    rng.shuffle(&mut world.records.balances);
    let ledger = world.ledger(&mut rng);
    world.follow(&mut rng);
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
    let (amount, key) = (rng.i64(1..400), format!("key-{number}"));
    Intent { from, to, amount, key, note, refers_to: Reference::Nothing }
}

/// An errand in the place of a payment: a request for the payment itself, the end of an earlier one, or
/// the cancellation of an earlier payment.
fn new_errand(
    rng: &mut Rng,
    intent: &Intent,
    intents: &[Intent],
    demands: &mut Vec<Demand>,
) -> Option<Errand> {
    match rng.u8(0..20) {
        0..2 => {
            let Intent { from, to, amount, key, note, .. } = intent.clone();
            let note = note.filter(|note| !note.is_empty());
            let demand = Demand { from, to, amount, key, note };
            demands.push(demand.clone());
            Some(Errand::Demand(demand))
        }
        2..4 => {
            let demand = rng.choice(demands.iter())?;
            let how = if rng.bool() { End::Declined } else { End::Cancelled };
            let account = if how == End::Declined { demand.from } else { demand.to };
            Some(Errand::Close { account, request: request_id(demand), how })
        }
        4..6 => {
            let other = rng.choice(intents).filter(|other| !other.key.is_empty())?;
            Some(Errand::Void { payer: other.from, key: other.key.clone() })
        }
        _ => None,
    }
}

/// Lets a payment give back an earlier one, or pay a request.
fn refer(rng: &mut Rng, intent: &mut Intent, intents: &[Intent], demands: &[Demand]) {
    match rng.u8(0..10) {
        0..2 => {
            let Some(paid) = rng.choice(intents) else { return };
            if paid.refers_to == Reference::Nothing {
                (intent.from, intent.to) = (paid.to, paid.from);
                intent.amount = if rng.bool() { paid.amount } else { rng.i64(1..=paid.amount) };
                intent.refers_to = Reference::Payment(payment_id(paid.from, &paid.key));
            }
        }
        2..5 => {
            let Some(demand) = rng.choice(demands) else { return };
            (intent.from, intent.to, intent.amount) = (demand.from, demand.to, demand.amount);
            intent.note = None;
            if rng.u8(0..4) == 0 {
                intent.key.clear();
            }
            intent.refers_to = Reference::Request(request_id(demand));
        }
        _ => {}
    }
}

fn payment_id(payer: i64, key: &str) -> String {
    format!("payment of {payer}, {key}")
}

fn request_id(demand: &Demand) -> String {
    format!("request of {}, {}", demand.to, demand.key)
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
        let is_in_bulk = rng.u8(0..8) == 0;
        let attempt = |outcome, ended_us| Attempt {
            client,
            intent: intent.clone(),
            is_in_bulk,
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

/// The same of an errand.
fn errand_calls(
    rng: &mut Rng,
    errand: &Errand,
    end_us: u64,
    events: &mut Vec<(u64, Event)>,
    errands: &mut Vec<ErrandRun>,
) {
    let (mut asked_us, ..) = call(rng, end_us);
    for client in 0..rng.u32(1..4) {
        let at_us = asked_us + rng.u64(0..CALL_US_MAX);
        let ended_us = at_us + rng.u64(0..CALL_US_MAX);
        let (errand, outcome) = (errand.clone(), Outcome::Lost);
        let run = ErrandRun { client, errand, asked_us, ended_us, outcome };
        match rng.u8(0..10) {
            0 => errands.push(run),
            1 => events.push((at_us + CALL_US_MAX, Event::Errand(run, false))),
            _ => events.push((at_us, Event::Errand(run, true))),
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
                let (amount, refers_to) = (OPENING_CENTS, Reference::Nothing);
                let intent = Intent { from: 0, to: account, amount, key, note: None, refers_to };
                self.pay(at_us, &intent);
            }
            Event::Errand(mut run, is_answered) => {
                let outcome = self.run(at_us, &run.errand);
                if is_answered {
                    run.outcome = outcome;
                }
                self.records.errands.push(run);
            }
            Event::Call(Call { mut attempt, is_answered, is_in_doubt }) => {
                let mut outcome = self.pay(at_us, &attempt.intent);
                if let Outcome::Done { replayed, .. } = &mut outcome {
                    *replayed = (*replayed || is_in_doubt) && !attempt.is_in_bulk;
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

    fn clock_us(&self, at_us: u64) -> i64 {
        BEGAN_UNIX_US + i64::try_from(at_us).unwrap() + self.clock_ahead_us
    }

    fn pay(&mut self, at_us: u64, intent: &Intent) -> Outcome {
        let (Some(from), Some(to)) =
            (self.accounts.get(&intent.from), self.accounts.get(&intent.to))
        else {
            return refused(404, "account_not_found");
        };
        let (from, to) = (*from, *to);
        match self.keys.get(&(intent.from, intent.key.clone())) {
            Some(Settled::Voided) => return refused(422, "idempotency_key_voided"),
            Some(Settled::Failed(before) | Settled::Paid { intent: before, .. })
                if before != intent =>
            {
                return refused(422, "idempotency_key_reused");
            }
            Some(Settled::Paid { body, .. }) => {
                return Outcome::Done { body: body.clone(), replayed: true };
            }
            _ => {}
        }
        let mut note = intent.note.clone().filter(|note| !note.is_empty());
        let (mut refunded_after, mut request_id) = (None, None);
        match &intent.refers_to {
            Reference::Nothing => {}
            Reference::Payment(id) => match self.refunded_after(id, intent) {
                Ok(cents) => refunded_after = Some(cents),
                Err(refusal) => return refusal,
            },
            Reference::Request(id) => {
                let Some(request) = self.requests.get(id) else {
                    return refused(404, "payment_request_not_found");
                };
                match &request.payment_id {
                    Some(payment_id) => {
                        let paid = self.payments.iter().find(|it| it.id == *payment_id).unwrap();
                        let (body, payment_id) = (shown(paid, paid.from_id), payment_id.clone());
                        self.claim(intent, &body, payment_id);
                        return Outcome::Done { body, replayed: true };
                    }
                    None if request.status != "open" => return refused(409, "request_not_open"),
                    None => (note, request_id) = (request.note.clone(), Some(id.clone())),
                }
            }
        }
        let (from_balance_after, to_balance_after) = (from.0 - intent.amount, to.0 + intent.amount);
        if from_balance_after < 0 && intent.from != 0 {
            if !intent.key.is_empty() {
                let name = (intent.from, intent.key.clone());
                self.keys.insert(name, Settled::Failed(intent.clone()));
            }
            return refused(422, "insufficient_funds");
        }
        let clock_us = self.clock_us(at_us);
        let created_us = clock_us.max(from.1.unwrap_or(0) + 1).max(to.1.unwrap_or(0) + 1);
        self.accounts.insert(intent.from, (from_balance_after, Some(created_us)));
        self.accounts.insert(intent.to, (to_balance_after, Some(created_us)));
        let key = intent.payment_key().into_owned();
        let refund_of = match &intent.refers_to {
            Reference::Payment(id) => Some(id.clone()),
            Reference::Nothing | Reference::Request(_) => None,
        };
        let payment = Payment {
            id: payment_id(intent.from, &key),
            from_id: intent.from,
            to_id: intent.to,
            amount: intent.amount,
            created_us,
            from_balance_after,
            to_balance_after,
            key: key.clone(),
            note,
            refund_of,
            refunded_after,
            payment_request_id: request_id.clone(),
        };
        let body = shown(&payment, intent.from);
        if let Some(request) = request_id.and_then(|id| self.requests.get_mut(&id)) {
            "paid".clone_into(&mut request.status);
            request.payment_id = Some(payment.id.clone());
            self.claim(intent, &body, payment.id.clone());
        }
        let (intent, stored) = (intent.clone(), body.clone());
        let parties = [intent.from, intent.to];
        let paid = Settled::Paid { intent, body: stored, payment_id: None };
        self.keys.insert((payment.from_id, key), paid);
        for party in parties {
            self.histories.entry(party).or_default().push(self.payments.len());
        }
        self.payments.push(payment);
        Outcome::Done { body, replayed: false }
    }

    /// Keeps the client's key of a payment that has one of its own.
    fn claim(&mut self, intent: &Intent, body: &str, payment_id: String) {
        if !intent.key.is_empty() {
            let (intent, body) = (intent.clone(), body.to_owned());
            let name = (intent.from, intent.key.clone());
            let paid = Settled::Paid { intent, body, payment_id: Some(payment_id) };
            self.keys.insert(name, paid);
        }
    }

    /// The cents of a payment that are given back with a refund of it.
    fn refunded_after(&self, id: &str, intent: &Intent) -> Result<i64, Outcome> {
        let paid = self.payments.iter().find(|it| it.id == id);
        let Some(paid) = paid else { return Err(refused(404, "payment_not_found")) };
        // A careless client may mean a payment, and name a refund that has its key.
        let is_refund = paid.refund_of.is_some();
        if is_refund || (intent.from, intent.to) != (paid.to_id, paid.from_id) {
            return Err(refused(422, "not_refundable"));
        }
        let refunds = self.payments.iter().filter(|it| it.refund_of.as_deref() == Some(id));
        let cents = refunds.map(|it| it.amount).sum::<i64>() + intent.amount;
        let fits = cents <= paid.amount;
        fits.then_some(cents).ok_or_else(|| refused(422, "refund_exceeds_payment"))
    }

    fn run(&mut self, at_us: u64, errand: &Errand) -> Outcome {
        let done = |body: String| Outcome::Done { body, replayed: false };
        match errand {
            Errand::Void { payer, key } => {
                let name = (*payer, key.clone());
                if let Some(Settled::Paid { body, .. }) = self.keys.get(&name) {
                    return done(format!("{{\"voided\":false,\"payment\":{body}}}"));
                }
                if !self.accounts.contains_key(payer) {
                    return refused(404, "account_not_found");
                }
                self.keys.insert(name, Settled::Voided);
                done(r#"{"voided":true}"#.to_owned())
            }
            Errand::Demand(demand) => {
                let Demand { from, to, amount, note, .. } = demand.clone();
                if !self.accounts.contains_key(&from) || !self.accounts.contains_key(&to) {
                    return refused(404, "account_not_found");
                }
                let id = request_id(demand);
                let (created_us, replayed) =
                    (self.clock_us(at_us), self.requests.contains_key(&id));
                let request = self.requests.entry(id.clone()).or_insert_with(|| Request {
                    id,
                    from_id: from,
                    to_id: to,
                    amount,
                    note,
                    status: "open".to_owned(),
                    created_us,
                    payment_id: None,
                });
                let body = shown_request(request, "open", None);
                Outcome::Done { body, replayed }
            }
            Errand::Close { request, how, .. } => match self.requests.get_mut(request) {
                None => refused(404, "payment_request_not_found"),
                Some(request) if request.status == "open" => {
                    how.status().clone_into(&mut request.status);
                    done(shown_request(request, how.status(), None))
                }
                Some(_) => refused(409, "request_not_open"),
            },
        }
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

    /// Followers read all of the feed, each in pages of his own. Its order is that of the payments, but for neighbours that
    /// have no account in common.
    fn follow(&mut self, rng: &mut Rng) {
        let mut feed: Vec<&Payment> = self.payments.iter().collect();
        for n in 1..feed.len() {
            let (one, other) = (feed[n - 1], feed[n]);
            let is_party = |account| [other.from_id, other.to_id].contains(account);
            if rng.bool() && ![one.from_id, one.to_id].iter().any(is_party) {
                feed.swap(n - 1, n);
            }
        }
        let numbered: Vec<String> = (1..).zip(&feed).map(|(n, it)| shown_numbered(it, n)).collect();
        for client in FOLLOWERS {
            let mut rest = &numbered[..];
            let mut after = 0;
            while !rest.is_empty() {
                let (page, later) = rest.split_at(rng.usize(1..=rest.len().min(50)));
                let next = after + u64::try_from(page.len()).unwrap();
                let body = format!("{{\"payments\":[{}],\"next\":{next}}}", page.join(","));
                let outcome = Outcome::Done { body, replayed: false };
                self.records.feed.push(FeedRead { client, after, next, outcome });
                (after, rest) = (next, later);
            }
        }
        let begin = rng.u64(0..10);
        self.records.deliveries_after = Some(begin);
        for (position, payment) in (1_u64..).zip(&feed).filter(|(position, _)| *position > begin) {
            if [payment.from_id, payment.to_id].contains(&EVERYBODYS) {
                let data = shown_numbered(payment, position);
                let (kind, created_at) = ("payment.made", shown_time(payment.created_us));
                let body =
                    format!(r#"{{"type":"{kind}","timestamp":"{created_at}","data":{data}}}"#);
                let webhook_id = payment.id.clone();
                let delivery = Delivery { webhook_id, body, is_taken: true };
                // Some are told again: they were not taken, or nobody knows that they were.
                for is_taken in [false, true].into_iter().filter(|_| rng.u8(0..10) == 0) {
                    self.records.deliveries.push(Delivery { is_taken, ..delivery.clone() });
                }
                self.records.deliveries.push(delivery);
            }
        }
        let mut after = None;
        let mut events = Vec::new();
        for (position, payment) in (1_u64..).zip(feed) {
            if events.is_empty() {
                // Before the first payment of a connection.
                let begin = after.unwrap_or(position - 1);
                events.push(format!("event: begin\nid: {begin}\ndata: {{\"position\":{begin}}}"));
            }
            if [payment.from_id, payment.to_id].contains(&EVERYBODYS) {
                let shown = shown(payment, EVERYBODYS);
                let data = shown.replacen('{', &format!("{{\"position\":{position},"), 1);
                events.push(format!("id: {position}\ndata: {data}"));
                if rng.u8(0..20) == 0 {
                    let events = std::mem::take(&mut events);
                    let (client, account) = (FOLLOWERS.end, EVERYBODYS);
                    self.records.heard.push(Heard { client, account, after, events });
                    after = Some(position);
                }
            }
        }
        if !events.is_empty() {
            let (client, account) = (FOLLOWERS.end, EVERYBODYS);
            self.records.heard.push(Heard { client, account, after, events });
        }
    }

    fn ledger(&self, rng: &mut Rng) -> Ledger {
        let accounts = self.accounts.iter().map(|(id, (balance, last_payment_us))| Account {
            id: *id,
            balance: *balance,
            last_payment_us: *last_payment_us,
        });
        let keys = self.keys.iter().map(|((payer, key), settled)| {
            let failed = Some(r#"{"code":"..."}"#.to_owned());
            let (status, response, payment_id) = match settled {
                Settled::Failed(_) => ("failed", failed, None),
                Settled::Paid { body, payment_id, .. } => {
                    ("success", Some(body.clone()), payment_id.clone())
                }
                Settled::Voided => ("voided", None, None),
            };
            Key { payer: *payer, key: key.clone(), status: status.to_owned(), response, payment_id }
        });
        // Some rows were removed after their time, but none that alone tells of its key.
        let keys =
            keys.filter(|it| it.status == "voided" || it.payment_id.is_some() || rng.u8(0..20) > 0);
        let keys = keys.collect();
        let mut payments = self.payments.clone();
        rng.shuffle(&mut payments);
        let requests = self.requests.values().cloned().collect();
        Ledger { accounts: accounts.collect(), payments, requests, keys, ..Ledger::default() }
    }
}

fn refused(status: u16, code: &str) -> Outcome {
    Outcome::Refused { status, code: code.to_owned(), retryable: false }
}

/// The body that shows a payment to one of its parties.
pub fn shown(payment: &Payment, reader: i64) -> String {
    let is_payer = reader == payment.from_id;
    let balance = if is_payer { payment.from_balance_after } else { payment.to_balance_after };
    shown_with(payment, &balance.to_string())
}

/// A payment in a page of the feed.
fn shown_numbered(payment: &Payment, position: u64) -> String {
    let shown = shown_with(payment, "null");
    format!("{{\"position\":{position},{}", shown.strip_prefix('{').unwrap())
}

fn shown_with(payment: &Payment, balance: &str) -> String {
    let created_at = shown_time(payment.created_us);
    let Payment { id, from_id, to_id, amount, note, refund_of, payment_request_id, .. } = payment;
    let note = serde_json::to_string(note).unwrap();
    let named = |name: &str, id: &Option<String>| {
        id.as_ref().map(|id| format!(",\"{name}\":\"{id}\"")).unwrap_or_default()
    };
    let refers_to =
        named("refund_of", refund_of) + &named("payment_request_id", payment_request_id);
    format!(
        "{{\"id\":\"{id}\",\"from_id\":{from_id},\"to_id\":{to_id},\"amount\":{amount},\
         \"note\":{note},\"created_at\":\"{created_at}\",\"requested_at\":null,\
         \"balance_after\":{balance}{refers_to}}}"
    )
}

/// The body that shows a request.
pub fn shown_request(request: &Request, status: &str, payment_id: Option<&str>) -> String {
    let created_at = shown_time(request.created_us);
    let Request { id, from_id, to_id, amount, note, .. } = request;
    let note = serde_json::to_string(note).unwrap();
    let payment_id = serde_json::to_string(&payment_id).unwrap();
    format!(
        "{{\"id\":\"{id}\",\"from_id\":{from_id},\"to_id\":{to_id},\"amount\":{amount},\
         \"note\":{note},\"status\":\"{status}\",\"created_at\":\"{created_at}\",\
         \"expires_at\":null,\"payment_id\":{payment_id}}}"
    )
}

fn shown_time(unix_us: i64) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let ns = i128::from(unix_us) * 1_000;
    OffsetDateTime::from_unix_timestamp_nanos(ns).unwrap().format(format).unwrap()
}
