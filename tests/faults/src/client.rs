//! Good clients: they make a key with the intent, keep both, and ask again with pauses until there is
//! a definite answer.

mod errands;
mod followers;
mod listeners;
mod windows;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::receiver::Receiver;
use crate::record::{
    Attempt, BalanceRead, Demand, End, Errand, ErrandRun, Intent, Outcome, Reference, Scroll,
};
use crate::recorder::Recorder;
use errands::{Known, Referable, id_in};
use followers::Follower;
use listeners::Listener;
use windows::Person;

/// The opening balance of everybody's account, in cents.
pub const OPENING_CENTS: i64 = 100_000;

/// How long an answer is awaited: more than the service takes at most.
pub const ANSWER_MAX: Duration = Duration::from_secs(15);

/// How long a client goes on asking for one intent.
const PATIENCE: Duration = Duration::from_mins(1);

/// The pause before an intent is sent again: doubled each time, up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_millis(500);

/// How many of a hundred payments in doubt are cancelled, before they are asked for again.
const CANCEL_PERCENT: u8 = 15;

/// Payments that clients may give back, and requests that they may answer: few enough that several do at
/// the same time.
const PAYMENTS_KNOWN_MAX: usize = 8;
const REQUESTS_KNOWN_MAX: usize = 4;

/// The account that everybody pays, in most runs.
pub const EVERYBODYS: i64 = 1;

/// Old intents that a client may send once more.
const REMEMBERED_MAX: usize = 64;

/// Pages that a reader scrolls through before he has seen enough.
const PAGES_MAX: usize = 200;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Those who pay and are paid.
    pub accounts: RangeInclusive<i64>,
    /// The payer, where it is always the same.
    pub payer: Option<i64>,
    /// How many of a hundred payments are to the first of them, whom everybody pays.
    pub popular_percent: u8,
    /// How many of a hundred payments are for more than anybody has.
    pub overdraw_percent: u8,
    /// How many of a hundred times something else is done than a single new payment.
    pub errands_percent: u8,
    /// How often a payment is sent at once.
    pub copies: RangeInclusive<u32>,
    /// How many of a hundred payments are followed by an old one that is sent again.
    pub again_percent: u8,
    /// How many of a hundred requests are left by their client before the answer.
    pub vanish_percent: u8,
    /// How long an answer is awaited.
    pub answer_max: Duration,
    /// The longest pause between two payments.
    pub pause_ms_max: u64,
}

impl Manner {
    /// A client among `accounts` accounts.
    #[must_use]
    pub fn plain(accounts: i64) -> Self {
        Self {
            accounts: 1..=accounts,
            payer: None,
            popular_percent: 20,
            overdraw_percent: 3,
            errands_percent: 25,
            copies: 1..=1,
            again_percent: 0,
            vanish_percent: 0,
            answer_max: ANSWER_MAX,
            pause_ms_max: 20,
        }
    }

    /// A new payment under this key. Its note says the number.
    fn intent(&self, rng: &mut Rng, key: String, number: u64) -> Intent {
        let popular = *self.accounts.start();
        let is_to_popular = rng.u8(0..100) < self.popular_percent;
        let to = if is_to_popular { popular } else { rng.i64(self.accounts.clone()) };
        let mut from = self.payer.unwrap_or_else(|| rng.i64(self.accounts.clone()));
        while from == to {
            from = rng.i64(self.accounts.clone());
        }
        let overdraws = rng.u8(0..100) < self.overdraw_percent;
        let amount = if overdraws { 1_000_000_000 } else { rng.i64(1..=500) };
        let note = rng.bool().then(|| format!("note {number}"));
        Intent { from, to, amount, key, note, refers_to: Reference::Nothing }
    }
}

/// The last position of the feed, and that of [`EVERYBODYS`] last payment.
#[derive(Debug, Clone, Copy)]
pub struct EndOfFeed {
    pub last: u64,
    pub everybodys: u64,
}

/// Where clients come in, and who writes down what happens to them.
pub struct World {
    pub recorder: Recorder,
    /// One for each process of the service.
    pub doors: Vec<SocketAddr>,
    accounts: i64,
    stopping: AtomicBool,
    /// Once nobody pays any more.
    end_of_feed: OnceLock<EndOfFeed>,
    payments: Known,
    requests: Known,
    /// Makes the keys of this run different from those of others.
    pub run: u64,
}

impl World {
    #[must_use]
    pub fn new(doors: Vec<SocketAddr>, accounts: i64, run: u64) -> Self {
        let recorder = Recorder::default();
        let (payments, requests) = (Known::new(PAYMENTS_KNOWN_MAX), Known::new(REQUESTS_KNOWN_MAX));
        let (stopping, end_of_feed) = (AtomicBool::new(false), OnceLock::new());
        Self { recorder, doors, accounts, stopping, end_of_feed, payments, requests, run }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether one who follows the feed has not come to its end for too long; `ending` is when he first knew it.
    fn has_waited_long(&self, ending: &mut Option<Instant>) -> bool {
        self.end_of_feed.get().is_some()
            && ending.get_or_insert_with(Instant::now).elapsed() > PATIENCE
    }

    /// Sends an intent once, and writes it down.
    pub async fn ask(
        &self,
        http: &reqwest::Client,
        door: SocketAddr,
        client: u32,
        intent: &Intent,
        stay: Duration,
    ) -> Outcome {
        let request = http.put(format!("http://{door}/send_payment")).json(&body_of(intent));
        let asked_us = self.recorder.now_us();
        let outcome = outcome_of(request, stay).await;
        self.write_down(client, intent, false, asked_us, &outcome);
        outcome
    }

    /// Sends intents in one bulk, once, and writes them down as if each had been sent alone.
    async fn ask_bulk(
        &self,
        http: &reqwest::Client,
        door: SocketAddr,
        client: u32,
        intents: &[Intent],
        stay: Duration,
    ) -> Vec<Outcome> {
        let payments: Vec<Value> = intents.iter().map(body_of).collect();
        let request = http.put(format!("http://{door}/send_payments"));
        let asked_us = self.recorder.now_us();
        let outcome = outcome_of(request.json(&json!({"payments": payments})), stay).await;
        let outcomes = each_of(outcome, intents.len());
        for (intent, outcome) in intents.iter().zip(&outcomes) {
            self.write_down(client, intent, true, asked_us, outcome);
        }
        outcomes
    }

    /// What became of an intent, just now.
    fn write_down(
        &self,
        client: u32,
        intent: &Intent,
        is_in_bulk: bool,
        asked_us: u64,
        outcome: &Outcome,
    ) {
        let ended_us = self.recorder.now_us();
        let (intent, outcome) = (intent.clone(), outcome.clone());
        if let Outcome::Done { body, .. } = &outcome
            && intent.refers_to == Reference::Nothing
            && let Some(id) = id_in(body)
        {
            let Intent { from, to, amount, .. } = intent;
            self.payments.add(Referable { id, from, to, amount });
        }
        let attempt = Attempt { client, intent, is_in_bulk, asked_us, ended_us, outcome };
        self.recorder.attempt(attempt);
    }

    /// Carries out an errand once, and writes it down.
    async fn carry_out(
        &self,
        http: &reqwest::Client,
        door: SocketAddr,
        client: u32,
        errand: &Errand,
        stay: Duration,
    ) -> Outcome {
        let url = |path: &str| format!("http://{door}{path}");
        let request = match errand {
            Errand::Void { payer, key } => {
                http.put(url("/voided_keys")).json(&json!({"from": payer, "idempotency_key": key}))
            }
            Errand::Demand(Demand { from, to, amount, key, note }) => http
                .post(url("/payment_requests"))
                .header("Idempotency-Key", key)
                .json(&json!({"from": from, "to": to, "amount": amount, "note": note})),
            Errand::Close { request, how: End::Declined, .. } => {
                http.post(url(&format!("/payment_requests/{request}/decline")))
            }
            Errand::Close { request, how: End::Cancelled, .. } => {
                http.post(url(&format!("/payment_requests/{request}/cancel")))
            }
        };
        let asked_us = self.recorder.now_us();
        let outcome = outcome_of(request, stay).await;
        let ended_us = self.recorder.now_us();
        let errand = errand.clone();
        let run = ErrandRun { client, errand, asked_us, ended_us, outcome: outcome.clone() };
        self.recorder.errand(run);
        outcome
    }
}

/// The body that asks for a payment.
fn body_of(intent: &Intent) -> Value {
    let Intent { from, to, amount, key, note, refers_to } = intent;
    let mut body = json!({"from": from, "to": to, "amount": amount});
    if !key.is_empty() {
        body["idempotency_key"] = json!(key);
    }
    if let Some(note) = note {
        body["note"] = json!(note);
    }
    match refers_to {
        Reference::Nothing => {}
        Reference::Payment(id) => body["refund_of"] = json!(id),
        Reference::Request(id) => body["payment_request_id"] = json!(id),
    }
    body
}

/// How a request ends for a client that waits for so long.
async fn outcome_of(request: reqwest::RequestBuilder, stay: Duration) -> Outcome {
    match tokio::time::timeout(stay, answer_to(request)).await {
        Ok(Ok(outcome)) => outcome,
        _ => Outcome::Lost,
    }
}

async fn answer_to(request: reqwest::RequestBuilder) -> reqwest::Result<Outcome> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let replayed = response.headers().get("idempotency-replayed").is_some_and(|it| it == "true");
    let body = response.text().await?;
    if matches!(status, 200 | 201) {
        return Ok(Outcome::Done { body, replayed });
    }
    Ok(refusal(status, &serde_json::from_str(&body).unwrap_or_default()))
}

fn refusal(status: u16, problem: &Value) -> Outcome {
    let code = problem["code"].as_str().unwrap_or_default().to_owned();
    Outcome::Refused { status, code, retryable: problem["retryable"] == true }
}

/// The answer to one payment of a bulk.
#[derive(Deserialize)]
struct Element<'a> {
    status: u16,
    #[serde(borrow)]
    payment: Option<&'a RawValue>,
    problem: Option<Value>,
}

/// The outcomes of the payments in a bulk. An answer that is not one for each is taken for the payment of
/// each: the checker says that it is none.
fn each_of(outcome: Outcome, count: usize) -> Vec<Outcome> {
    let Outcome::Done { body, .. } = &outcome else { return vec![outcome; count] };
    let elements: Vec<Element> = serde_json::from_str(body).unwrap_or_default();
    if elements.len() != count {
        return vec![outcome.clone(); count];
    }
    let of = |element: Element| match (element.status, element.payment, element.problem) {
        (200, Some(payment), None) => {
            Outcome::Done { body: payment.get().to_owned(), replayed: false }
        }
        (status, None, Some(problem)) => refusal(status, &problem),
        _ => outcome.clone(),
    };
    elements.into_iter().map(of).collect()
}

/// The pauses of a client, and for how long it goes on.
struct Patience {
    began: Instant,
    pause: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { began: Instant::now(), pause: PAUSE_FIRST }
    }

    /// Waits until it is time to ask again. `false`: the client gives up.
    async fn wait(&mut self, world: &World, rng: &mut Rng) -> bool {
        if self.began.elapsed() > PATIENCE {
            world.recorder.give_up();
            return false;
        }
        tokio::time::sleep(self.pause.mul_f64(0.5 + rng.f64())).await;
        self.pause = (self.pause * 2).min(PAUSE_LONGEST);
        true
    }
}

fn is_definite(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done { .. } => true,
        Outcome::Refused { retryable, .. } => !retryable,
        Outcome::Lost => false,
    }
}

/// The service's clients while faults happen.
pub struct Load {
    world: Arc<World>,
    tasks: JoinSet<()>,
    followers: JoinSet<()>,
    receiver: Option<Receiver>,
    rng: Rng,
    clients: u32,
}

impl Load {
    #[must_use]
    pub fn new(world: &Arc<World>, rng: Rng) -> Self {
        let (tasks, followers) = (JoinSet::new(), JoinSet::new());
        Self { world: Arc::clone(world), tasks, followers, receiver: None, rng, clients: 0 }
    }

    pub fn add_payers(&mut self, count: u32, manner: &Manner) {
        for _ in 0..count {
            self.clients += 1;
            let payer = Payer {
                world: Arc::clone(&self.world),
                client: self.clients,
                rng: self.rng.fork(),
                manner: manner.clone(),
                http: reqwest::Client::new(),
                made: 0,
                remembered: Vec::new(),
            };
            self.tasks.spawn(payer.run());
        }
    }

    /// Adds people with two windows each. Returns how often a window stood still, as it is counted.
    pub fn add_people(&mut self, count: u32, manner: &Manner) -> Arc<AtomicU64> {
        let suspensions = Arc::default();
        for _ in 0..count {
            self.clients += 1;
            let person =
                Person::new(&self.world, self.clients, &mut self.rng, manner, &suspensions);
            self.tasks.spawn(person.run());
        }
        suspensions
    }

    /// Adds readers, every second one of whom scrolls through histories; the others look at balances.
    pub fn add_readers(&mut self, count: u32) {
        for number in 0..count {
            self.clients += 1;
            let reader = AReader {
                world: Arc::clone(&self.world),
                client: self.clients,
                rng: self.rng.fork(),
                http: reqwest::Client::new(),
            };
            if number.is_multiple_of(2) {
                self.tasks.spawn(reader.scroll());
            } else {
                self.tasks.spawn(reader.look());
            }
        }
    }

    /// Adds followers of the feed.
    pub fn add_followers(&mut self, count: u32) {
        for _ in 0..count {
            self.clients += 1;
            let follower = Follower::new(&self.world, self.clients, self.rng.fork());
            self.followers.spawn(follower.run());
        }
    }

    /// Adds listeners to the events of the account that everybody pays.
    pub fn add_listeners(&mut self, count: u32) {
        for _ in 0..count {
            self.clients += 1;
            let listener = Listener::new(&self.world, self.clients, self.rng.fork());
            self.followers.spawn(listener.run());
        }
    }

    /// Adds a receiver of a webhook, which the service at an address is told of.
    ///
    /// # Errors
    /// The service refuses it.
    pub async fn add_receiver(&mut self, service: SocketAddr) -> Result<()> {
        let rng = self.rng.fork();
        self.receiver = Some(Receiver::start(&self.world, service, rng).await?);
        Ok(())
    }

    /// Lets no new intent begin, and waits until those that have begun have an end. Faults that keep
    /// them from it must have been ended.
    ///
    /// # Errors
    /// A client panicked, or has no end.
    pub async fn stop(&mut self) -> Result<()> {
        self.world.stopping.store(true, Ordering::Relaxed);
        all_ended(&mut self.tasks).await
    }

    /// Lets all followers read up to the feed's last position, and listeners and the receiver hear up to their account's,
    /// and one more follower read all of it.
    ///
    /// # Errors
    /// A follower panicked, or has no end.
    pub async fn finish(mut self, end_of_feed: EndOfFeed) -> Result<()> {
        self.world.end_of_feed.get_or_init(|| end_of_feed);
        self.add_followers(1);
        all_ended(&mut self.followers).await?;
        if self.receiver.is_some() {
            let has_come = async || Ok(self.world.recorder.delivered() >= end_of_feed.everybodys);
            testbed::until("the last payment is delivered", PATIENCE, has_come).await?;
        }
        Ok(())
    }
}

async fn all_ended(tasks: &mut JoinSet<()>) -> Result<()> {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE * 2, all).await.context("clients do not end")?
}

/// Opens accounts 1 to `count`.
///
/// # Errors
/// They cannot be opened.
pub async fn open_accounts(address: SocketAddr, count: i64) -> Result<()> {
    let http = reqwest::Client::new();
    for id in 1..=count {
        let request = http.post(format!("http://{address}/accounts"));
        let body = json!({"id": id, "opening_balance": OPENING_CENTS});
        let response = request.json(&body).send().await?;
        let status = response.status();
        ensure!(status == 201, "an account cannot be opened: {status} {}", response.text().await?);
    }
    Ok(())
}

struct Payer {
    world: Arc<World>,
    client: u32,
    rng: Rng,
    manner: Manner,
    http: reqwest::Client,
    made: u64,
    /// Intents that were finished.
    remembered: Vec<Intent>,
}

impl Payer {
    async fn run(mut self) {
        while !self.world.is_stopping() {
            if self.rng.u8(0..100) < self.manner.errands_percent {
                self.run_errand().await;
            } else {
                let intent = self.new_intent();
                self.pay(intent).await;
            }
            if self.rng.u8(0..100) < self.manner.again_percent && !self.remembered.is_empty() {
                let place = self.rng.usize(0..self.remembered.len());
                let old = self.remembered[place].clone();
                self.send_copies(&old).await;
            }
            let pause = self.rng.u64(0..=self.manner.pause_ms_max);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Sends an intent until there is a definite answer, and keeps it.
    async fn pay(&mut self, intent: Intent) {
        self.send_copies(&intent).await;
        if self.pursue(&intent).await {
            self.remember(intent);
        }
    }

    fn new_key(&mut self) -> String {
        self.made += 1;
        format!("{:x}-{}-{}", self.world.run, self.client, self.made)
    }

    fn new_intent(&mut self) -> Intent {
        let key = self.new_key();
        self.manner.intent(&mut self.rng, key, self.made)
    }

    fn remember(&mut self, intent: Intent) {
        if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.push(intent);
        } else {
            let place = self.rng.usize(0..REMEMBERED_MAX);
            self.remembered[place] = intent;
        }
    }

    fn door(&mut self) -> SocketAddr {
        let place = self.rng.usize(0..self.world.doors.len());
        self.world.doors[place]
    }

    /// How long an answer is awaited by a client that may lose its patience.
    fn stay(&mut self) -> Duration {
        if self.rng.u8(0..100) < self.manner.vanish_percent {
            Duration::from_micros(self.rng.u64(0..20_000))
        } else {
            self.manner.answer_max
        }
    }

    /// Sends all copies but one at once, to different processes.
    async fn send_copies(&mut self, intent: &Intent) {
        let copies = self.rng.u32(self.manner.copies.clone());
        let mut sending = JoinSet::new();
        for _ in 1..copies {
            let (world, http, client) = (Arc::clone(&self.world), self.http.clone(), self.client);
            let (intent, door, stay) = (intent.clone(), self.door(), self.stay());
            sending.spawn(async move { world.ask(&http, door, client, &intent, stay).await });
        }
        // Those that are sent one after the other come while these are under way.
        if self.rng.bool() {
            sending.join_all().await;
        } else {
            sending.detach_all();
        }
    }

    /// Asks until there is a definite answer, and cancels now and then before it asks again. `false` where
    /// the client gave up.
    async fn pursue(&mut self, intent: &Intent) -> bool {
        let mut patience = Patience::new();
        loop {
            let (door, stay) = (self.door(), self.stay());
            let outcome = self.world.ask(&self.http, door, self.client, intent, stay).await;
            if is_definite(&outcome) {
                return true;
            }
            if !intent.key.is_empty() && self.rng.u8(0..100) < CANCEL_PERCENT {
                let cancel = Errand::Void { payer: intent.from, key: intent.key.clone() };
                self.pursue_errand(&cancel).await;
            }
            if !patience.wait(&self.world, &mut self.rng).await {
                return false;
            }
        }
    }
}

struct AReader {
    world: Arc<World>,
    client: u32,
    rng: Rng,
    http: reqwest::Client,
}

impl AReader {
    fn door(&mut self) -> SocketAddr {
        let place = self.rng.usize(0..self.world.doors.len());
        self.world.doors[place]
    }

    /// An account: often the one that everybody pays.
    fn account(&mut self) -> i64 {
        if self.rng.bool() { 1 } else { self.rng.i64(1..=self.world.accounts) }
    }

    async fn get(&mut self, path: &str) -> Option<(String, Option<String>)> {
        let door = self.door();
        let request = self.http.get(format!("http://{door}{path}")).timeout(ANSWER_MAX);
        let response = request.send().await.ok()?;
        if response.status() != 200 {
            return None;
        }
        let link = response.headers().get("link").and_then(|link| link.to_str().ok());
        let next = link.and_then(|link| link.strip_prefix('<')?.strip_suffix(">; rel=\"next\""));
        let next = next.map(ToOwned::to_owned);
        Some((response.text().await.ok()?, next))
    }

    async fn pause(&mut self) {
        let pause = Duration::from_millis(self.rng.u64(1..10));
        tokio::time::sleep(pause).await;
    }

    async fn look(mut self) {
        while !self.world.is_stopping() {
            let account = self.account();
            let asked_us = self.world.recorder.now_us();
            let answer = self.get(&format!("/accounts/{account}")).await;
            let answered_us = self.world.recorder.now_us();
            let balance = answer.and_then(|(body, _)| {
                serde_json::from_str::<Value>(&body).ok()?["balance"].as_i64()
            });
            if let Some(balance) = balance {
                let client = self.client;
                let read = BalanceRead { client, account, asked_us, answered_us, balance };
                self.world.recorder.balance(read);
            }
            self.pause().await;
        }
    }

    async fn scroll(mut self) {
        while !self.world.is_stopping() {
            let account = self.account();
            let began_us = self.world.recorder.now_us();
            let (mut pages, mut complete) = (Vec::new(), false);
            let mut path = format!("/payment_history/{account}");
            // A page that did not come is asked for again, also at the end of the run.
            let began = Instant::now();
            while pages.len() < PAGES_MAX && began.elapsed() < PATIENCE {
                if self.world.is_stopping() && pages.is_empty() {
                    break;
                }
                if let Some((body, next)) = self.get(&path).await {
                    pages.push(body);
                    let Some(next) = next else {
                        complete = true;
                        break;
                    };
                    path = next;
                }
                self.pause().await;
            }
            let ended_us = self.world.recorder.now_us();
            let client = self.client;
            let scroll = Scroll { client, account, began_us, ended_us, pages, complete };
            self.world.recorder.scroll(scroll);
        }
    }
}
