//! What people do around their payments: they give back, ask for money, pay what they are asked for or
//! decline, cancel what they are in doubt about, and pay many at once.

use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use super::{Patience, Payer, is_definite};
use crate::record::{Demand, End, Errand, Intent, Outcome, Reference};

/// How many of a hundred requests are paid without a key.
const KEYLESS_PERCENT: u8 = 25;

/// Payments in a bulk, besides one that is there twice or refers to something.
const BULK: Range<usize> = 2..9;

/// How much earlier a payment is sent than its cancellation, or later, at the most.
const RACE_US_MAX: u64 = 3_000;

/// Payments or requests that clients know of, and may refer to at the same time: the youngest.
pub(super) struct Known {
    max: usize,
    youngest: Mutex<VecDeque<Referable>>,
}

/// A payment that was acknowledged, or a request that was.
#[derive(Clone)]
pub(super) struct Referable {
    pub id: String,
    pub from: i64,
    pub to: i64,
    /// Cents.
    pub amount: i64,
}

impl Known {
    pub fn new(max: usize) -> Self {
        Self { max, youngest: Mutex::default() }
    }

    pub fn add(&self, one: Referable) {
        let mut youngest = self.youngest.lock().unwrap_or_else(PoisonError::into_inner);
        youngest.push_back(one);
        if youngest.len() > self.max {
            youngest.pop_front();
        }
    }

    /// One between two of these accounts.
    fn pick(&self, rng: &mut Rng, accounts: &RangeInclusive<i64>) -> Option<Referable> {
        let youngest = self.youngest.lock().unwrap_or_else(PoisonError::into_inner);
        let suits = |it: &&Referable| accounts.contains(&it.from) && accounts.contains(&it.to);
        rng.choice(youngest.iter().filter(suits).collect::<Vec<_>>()).cloned()
    }
}

/// The id in a body.
pub(super) fn id_in(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    Some(body["id"].as_str()?.to_owned())
}

impl Payer {
    pub(super) async fn run_errand(&mut self) {
        match self.rng.u8(0..100) {
            0..25 => self.give_back().await,
            25..40 => self.demand().await,
            40..75 => self.answer_demand().await,
            75..90 => self.pay_and_cancel().await,
            _ => self.pay_in_bulk().await,
        }
    }

    async fn give_back(&mut self) {
        if let Some(refund) = self.refund() {
            self.pay(refund).await;
        }
    }

    /// A refund of a payment that others may give back, too: now and then of more than it was.
    fn refund(&mut self) -> Option<Intent> {
        let paid = self.world.payments.pick(&mut self.rng, &self.manner.accounts)?;
        let amount = match self.rng.u8(0..10) {
            0 => paid.amount + 1,
            1..4 => paid.amount,
            _ => self.rng.i64(1..=paid.amount),
        };
        let (key, refers_to) = (self.new_key(), Reference::Payment(paid.id));
        Some(Intent { from: paid.to, to: paid.from, amount, key, note: None, refers_to })
    }

    async fn demand(&mut self) {
        let Intent { from, to, amount, key, .. } = self.new_intent();
        let note = Some(format!("request {key}"));
        let errand = Errand::Demand(Demand { from, to, amount, key, note });
        let (door, stay) = (self.door(), self.stay());
        let (world, http, client) = (Arc::clone(&self.world), self.http.clone(), self.client);
        if self.rng.u8(0..4) == 0 {
            let copy = errand.clone();
            tokio::spawn(async move { world.carry_out(&http, door, client, &copy, stay).await });
        }
        let outcome = self.pursue_errand(&errand).await;
        if let Outcome::Done { body, .. } = outcome
            && let Some(id) = id_in(&body)
        {
            self.world.requests.add(Referable { id, from, to, amount });
        }
    }

    /// Pays a request that others may pay, decline or cancel at the same time.
    async fn answer_demand(&mut self) {
        let known = self.world.requests.pick(&mut self.rng, &self.manner.accounts);
        let Some(request) = known else { return self.demand().await };
        let how = match self.rng.u8(0..10) {
            0..2 => End::Declined,
            2..4 => End::Cancelled,
            _ => {
                let intent = self.payment_of(request);
                return self.pay(intent).await;
            }
        };
        let account = match how {
            End::Declined => request.from,
            End::Cancelled => request.to,
        };
        self.pursue_errand(&Errand::Close { account, request: request.id, how }).await;
    }

    fn payment_of(&mut self, request: Referable) -> Intent {
        let Referable { id, from, to, amount } = request;
        let is_keyless = self.rng.u8(0..100) < KEYLESS_PERCENT;
        let key = if is_keyless { String::new() } else { self.new_key() };
        Intent { from, to, amount, key, note: None, refers_to: Reference::Request(id) }
    }

    /// Pays and cancels at the same time: one of them wins, and both are told the truth.
    async fn pay_and_cancel(&mut self) {
        let intent = self.new_intent();
        let cancel = Errand::Void { payer: intent.from, key: intent.key.clone() };
        let pauses = [(); 2].map(|()| Duration::from_micros(self.rng.u64(0..RACE_US_MAX)));
        let (doors, stays) = ([self.door(), self.door()], [self.stay(), self.stay()]);
        let (world, http, client) = (&self.world, &self.http, self.client);
        tokio::join!(
            async {
                tokio::time::sleep(pauses[0]).await;
                world.ask(http, doors[0], client, &intent, stays[0]).await
            },
            async {
                tokio::time::sleep(pauses[1]).await;
                world.carry_out(http, doors[1], client, &cancel, stays[1]).await
            },
        );
        self.pursue_errand(&cancel).await;
        self.pay(intent).await;
    }

    async fn pay_in_bulk(&mut self) {
        let count = self.rng.usize(BULK);
        let mut intents: Vec<Intent> = (0..count).map(|_| self.new_intent()).collect();
        match self.rng.u8(0..3) {
            0 => intents.push(intents[0].clone()),
            1 => intents.extend(self.refund()),
            _ => {
                let request = self.world.requests.pick(&mut self.rng, &self.manner.accounts);
                intents.extend(request.map(|request| self.payment_of(request)));
            }
        }
        let mut patience = Patience::new();
        loop {
            let (door, stay) = (self.door(), self.stay());
            let world = &self.world;
            let outcomes = world.ask_bulk(&self.http, door, self.client, &intents, stay).await;
            let is_over = outcomes.iter().all(is_definite);
            if is_over || !patience.wait(&self.world, &mut self.rng).await {
                break;
            }
        }
        intents.into_iter().for_each(|intent| self.remember(intent));
    }

    /// Asks until there is a definite answer, and returns the last one.
    pub(super) async fn pursue_errand(&mut self, errand: &Errand) -> Outcome {
        let mut patience = Patience::new();
        loop {
            let (door, stay) = (self.door(), self.stay());
            let outcome = self.world.carry_out(&self.http, door, self.client, errand, stay).await;
            if is_definite(&outcome) || !patience.wait(&self.world, &mut self.rng).await {
                return outcome;
            }
        }
    }
}
