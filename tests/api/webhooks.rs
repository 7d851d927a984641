//! Webhooks: others are told of payments, in the feed's order, at least once, by one process at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use payonce::db::webhooks as rows;
use payonce::domain::{FollowedAccounts, Position, WebhookId};
use reqwest::header::{HeaderMap, HeaderName};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::{Answer, App, Database, eventually, id_of, operator, owner_of, payment};

/// Receivers are on this machine.
pub const PRIVATE: (&str, &str) = ("PAYONCE_WEBHOOKS__ALLOW_PRIVATE_ADDRESSES", "true");

/// The pauses between attempts.
const PAUSES: &str = "PAYONCE_WEBHOOKS__PAUSES_SECONDS";

/// A delivery that arrived.
#[derive(Debug, Clone)]
struct Delivery {
    headers: HeaderMap,
    body: String,
    json: Value,
}

impl Delivery {
    fn position(&self) -> i64 {
        self.json["data"]["position"].as_i64().unwrap()
    }

    fn is_signed_with(&self, secret: &str) -> bool {
        let verifier = standardwebhooks::Webhook::new(secret).unwrap();
        verifier.verify(self.body.as_bytes(), &self.headers).is_ok()
    }
}

/// The head of an answer, but for its first words.
type Reply = &'static str;

const OK: Reply = "204 No Content";
const FAILED: Reply = "500 Internal Server Error";

/// Somebody who is told of payments.
pub struct Receiver {
    pub url: String,
    delivered: Arc<Mutex<Vec<Delivery>>>,
    /// The next replies; then all are the last of these.
    replies: Arc<Mutex<VecDeque<Reply>>>,
    /// Each reply takes one.
    permits: Arc<Semaphore>,
    _task: JoinSet<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::replying(&[OK]).await
    }

    async fn replying(replies: &[Reply]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/payments", listener.local_addr().unwrap());
        let (delivered, permits) = (Arc::default(), Arc::new(Semaphore::new(1_000_000)));
        let replies = Arc::new(Mutex::new(replies.iter().copied().collect::<VecDeque<_>>()));
        let mut task = JoinSet::new();
        let shared = (Arc::clone(&delivered), Arc::clone(&replies), Arc::clone(&permits));
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (delivered, replies, permits) = shared.clone();
                connections.spawn(async move {
                    // It ends when the sender closes the connection.
                    let _ = receive(stream, &delivered, &replies, &permits).await;
                });
            }
        });
        Self { url, delivered, replies, permits, _task: task }
    }

    /// From now on no delivery is answered.
    fn hold(&self) {
        self.permits.forget_permits(1_000_000);
    }

    /// Those that wait are answered, and all others.
    fn go_on(&self) {
        self.permits.add_permits(1_000_000);
    }

    fn reply(&self, reply: Reply) {
        *self.replies.lock().unwrap() = VecDeque::from([reply]);
    }

    fn delivered(&self) -> Vec<Delivery> {
        self.delivered.lock().unwrap().clone()
    }

    pub fn positions(&self) -> Vec<i64> {
        self.delivered().iter().map(Delivery::position).collect()
    }

    /// Awaits that so many deliveries have arrived, and returns all.
    async fn until(&self, count: usize) -> Vec<Delivery> {
        eventually("the deliveries arrive", async || self.delivered().len() >= count).await;
        self.delivered()
    }
}

async fn receive(
    stream: TcpStream,
    delivered: &Mutex<Vec<Delivery>>,
    replies: &Mutex<VecDeque<Reply>>,
    permits: &Semaphore,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut headers = HeaderMap::new();
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        assert_eq!(line, "POST /payments HTTP/1.1\r\n");
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let length = headers["content-length"].to_str().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let body = String::from_utf8(body).unwrap();
        let json = serde_json::from_str(&body).unwrap();
        delivered.lock().unwrap().push(Delivery { headers, body, json });
        permits.acquire().await.unwrap().forget();
        let reply = {
            let mut replies = replies.lock().unwrap();
            if replies.len() > 1 { replies.pop_front().unwrap() } else { replies[0] }
        };
        let answer = format!("HTTP/1.1 {reply}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn add(app: &App, body: &Value) -> Value {
    let added = app.post("/webhooks", body).await;
    assert_eq!(added.status, 201, "{}", added.text);
    added.json
}

/// A webhook of a receiver, for all accounts.
pub async fn add_for(app: &App, receiver: &Receiver) -> Value {
    add(app, &json!({"url": receiver.url})).await
}

pub async fn change(app: &App, webhook: &Value, body: &Value) -> Value {
    let path = format!("/webhooks/{}", id_of(webhook));
    let changed = Answer::of(app.request("PUT", &path).json(body)).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    changed.json
}

async fn remove(app: &App, webhook: &Value) {
    let path = format!("/webhooks/{}", id_of(webhook));
    assert_eq!(Answer::of(app.request("DELETE", &path)).await.status, 204);
}

/// A webhook as it is now.
async fn now(app: &App, webhook: &Value) -> Value {
    let all = app.get("/webhooks").await.json;
    all.as_array().unwrap().iter().find(|it| it["id"] == webhook["id"]).unwrap().clone()
}

/// Awaits that so many attempts have failed, and returns the webhook.
async fn until_failed(app: &App, webhook: &Value, failures: u32) -> Value {
    eventually("it fails", async || now(app, webhook).await["failures"] == failures).await;
    now(app, webhook).await
}

/// Awaits that the positions up to this one are noted as delivered.
pub async fn until_noted(app: &App, webhook: &Value, position: i64) {
    eventually("it is noted", async || now(app, webhook).await["position"] == position).await;
}

/// Nothing has failed, or nothing any more.
fn assert_counts_no_failure(webhook: &Value) {
    for (member, value) in
        [("failures", json!(0)), ("next_attempt_at", Value::Null), ("last_failure", Value::Null)]
    {
        assert_eq!(webhook[member], value, "{member}");
    }
}

/// In how many seconds the next attempt is due.
fn due_in(webhook: &Value) -> i64 {
    let text = webhook["next_attempt_at"].as_str().unwrap();
    (OffsetDateTime::parse(text, &Rfc3339).unwrap() - OffsetDateTime::now_utc()).whole_seconds()
}

/// A process with two accounts, whose receivers may be on this machine.
async fn start(settings: &[(&str, &str)]) -> App {
    let app = App::start_with(&[&[PRIVATE], settings].concat()).await;
    app.open_many(2, 1_000_000).await;
    until_numbered(&app, 2).await;
    app
}

/// One more process on its database.
fn another(app: &App, settings: &[(&str, &str)]) -> App {
    App::start_on(&app.database, &[&[PRIVATE], settings].concat())
}

/// The last position of the feed.
/// Awaits that so many payments have their positions: a webhook that is added then is told of those after them.
async fn until_numbered(app: &App, payments: i64) {
    app.database.until(&format!("SELECT last_position = {payments} FROM feed_state")).await;
}

async fn pay(app: &App, count: i64, key: &str) {
    let bodies: Vec<Value> = (0..count).map(|n| payment(1, 2, 1, &format!("{key}-{n}"))).collect();
    let answer = app.send_payments(&bodies).await;
    assert!(
        answer.json.as_array().unwrap().iter().all(|it| it["status"] == 200),
        "{}",
        answer.text
    );
}

async fn metric(app: &App, name: &str) -> String {
    let text = app.get("/metrics").await.text;
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap().to_owned();
    line.rsplit_once(' ').unwrap().1.to_owned()
}

/// True while there are so many sessions that send, or wait for their turn.
fn senders(count: u32) -> String {
    format!(
        "SELECT count(*) = {count} FROM pg_stat_activity WHERE datname = current_database()
         AND application_name = 'payonce webhooks'"
    )
}

#[tokio::test]
async fn payments_are_delivered_in_the_order_of_the_feed_each_once() {
    let app = start(&[]).await;
    let receiver = Receiver::start().await;
    let webhook = add_for(&app, &receiver).await;
    let paying = (0..10).map(|n| {
        let app = &app;
        async move { pay(app, 30, &format!("k{n}")).await }
    });
    futures_util::future::join_all(paying).await;
    receiver.until(300).await;
    until_noted(&app, &webhook, 302).await;
    assert_eq!(receiver.positions(), (3..=302).collect::<Vec<_>>());
    let delivered = metric(&app, "payonce_webhook_deliveries_total{outcome=\"delivered\"}").await;
    assert_eq!(delivered, "300");
    app.database.assert_sound();
}

#[tokio::test]
async fn a_delivery_is_the_payment_of_the_feed_as_a_message_of_standard_webhooks() {
    let app = start(&[]).await;
    let receiver = Receiver::start().await;
    let webhook = add_for(&app, &receiver).await;
    let mut body = payment(1, 2, 25, "k");
    body["note"] = json!("Grüße \"und\" so");
    let paid = app.send_payment(&body).await.json;
    let delivery = receiver.until(1).await.remove(0);
    let fed = app.get("/feed?after=2").await.json["payments"][0].clone();
    assert_eq!(delivery.json["type"], "payment.made");
    assert_eq!(delivery.json["timestamp"], paid["created_at"]);
    assert_eq!(delivery.json["data"], fed);
    assert_eq!(fed["balance_after"], Value::Null);
    assert_eq!(delivery.headers["webhook-id"], id_of(&paid));
    assert_eq!(delivery.headers["content-type"], "application/json");
    assert!(delivery.is_signed_with(webhook["secret"].as_str().unwrap()));
    assert!(!delivery.is_signed_with("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"));
}

#[tokio::test]
async fn a_webhook_is_told_of_what_comes_after_it_was_added() {
    let app = start(&[]).await;
    pay(&app, 3, "before").await;
    until_numbered(&app, 5).await;
    let receiver = Receiver::start().await;
    let webhook = add_for(&app, &receiver).await;
    assert_eq!(webhook["position"], 5);
    pay(&app, 1, "after").await;
    assert_eq!(receiver.until(1).await[0].position(), 6);
}

#[tokio::test]
async fn a_webhook_of_some_accounts_is_told_of_their_payments_alone() {
    let app = start(&[]).await;
    app.open(3, 1_000).await;
    until_numbered(&app, 3).await;
    let receiver = Receiver::start().await;
    let webhook = add(&app, &json!({"url": receiver.url, "accounts": [3, 3, 77]})).await;
    assert_eq!(webhook["accounts"], json!([3, 77]));
    pay(&app, 5, "others").await;
    app.pay(3, 1, 5, "sent").await.assert_paid();
    pay(&app, 5, "more").await;
    app.pay(1, 3, 5, "received").await.assert_paid();
    let delivered = receiver.until(2).await;
    let amounts: Vec<_> = delivered.iter().map(|it| &it.json["data"]["from_id"]).collect();
    assert_eq!(amounts, [3, 1]);
    pay(&app, 5, "others-again").await;
    // What is about others is passed over, and noted too.
    until_noted(&app, &webhook, 20).await;
    assert_eq!(receiver.delivered().len(), 2);

    change(&app, &webhook, &json!({"accounts": null})).await;
    pay(&app, 1, "of-all").await;
    assert_eq!(receiver.until(3).await[2].position(), 21);
}

#[tokio::test]
async fn deliveries_are_signed_with_both_secrets_for_a_day_after_a_rotation() {
    let app = start(&[]).await;
    let receiver = Receiver::start().await;
    let webhook = add_for(&app, &receiver).await;
    let old = webhook["secret"].as_str().unwrap();
    let rotated = change(&app, &webhook, &json!({"rotate_secret": true})).await;
    let new = rotated["secret"].as_str().unwrap();
    assert_ne!(old, new);
    let mut count = 0;
    eventually("both sign", async || {
        count += 1;
        app.pay(1, 2, 1, &format!("k{count}")).await.assert_paid();
        let delivery = receiver.until(count).await.remove(count - 1);
        assert!(delivery.is_signed_with(old));
        delivery.is_signed_with(new)
    })
    .await;
    let valid = "SELECT old_secret_until BETWEEN now() + interval '23 hours' AND now() + interval '24 hours'
                 FROM webhooks";
    app.database.until(valid).await;
    app.database.execute("UPDATE webhooks SET old_secret_until = now()").await;
    eventually("the new one signs alone", async || {
        count += 1;
        app.pay(1, 2, 1, &format!("k{count}")).await.assert_paid();
        let delivery = receiver.until(count).await.remove(count - 1);
        assert!(delivery.is_signed_with(new));
        !delivery.is_signed_with(old)
    })
    .await;
    // A change of secrets repeats nothing.
    let last = receiver.positions();
    assert_eq!(last, (3..3 + i64::try_from(last.len()).unwrap()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_failed_delivery_is_tried_again_after_growing_pauses_and_the_others_wait() {
    let app = start(&[(PAUSES, "0,1,3600")]).await;
    let receiver = Receiver::replying(&[FAILED, "404 Not Found", "503 Service Unavailable"]).await;
    let webhook = add_for(&app, &receiver).await;
    pay(&app, 2, "k").await;
    let failed = until_failed(&app, &webhook, 3).await;
    assert!((3_590..=4_320).contains(&due_in(&failed)), "{failed}");
    assert_eq!(failed["last_failure"], "answered with 503 Service Unavailable");
    assert_eq!((&failed["status"], &failed["position"]), (&json!("active"), &json!(2)));
    assert_eq!(receiver.positions(), [3, 3, 3]);
    let undelivered = metric(&app, "payonce_webhook_oldest_undelivered_seconds").await;
    assert_ne!(undelivered, "0");

    // An operator need not wait.
    receiver.reply(OK);
    change(&app, &webhook, &json!({"status": "active"})).await;
    until_noted(&app, &webhook, 4).await;
    assert_eq!(receiver.positions(), [3, 3, 3, 3, 4]);
    assert_counts_no_failure(&now(&app, &webhook).await);
    eventually("nothing is undelivered", async || {
        metric(&app, "payonce_webhook_oldest_undelivered_seconds").await == "0"
    })
    .await;
}

#[tokio::test]
async fn a_pause_outlives_the_process() {
    let mut app = start(&[(PAUSES, "3600")]).await;
    let (failing, well) = (Receiver::replying(&[FAILED]).await, Receiver::start().await);
    let webhook = add_for(&app, &failing).await;
    pay(&app, 1, "before").await;
    let failed = until_failed(&app, &webhook, 1).await;
    app.kill();
    let app = another(&app, &[(PAUSES, "3600")]);
    add_for(&app, &well).await;
    pay(&app, 1, "after").await;
    well.until(1).await;
    assert_eq!(failing.positions(), [3]);
    assert_eq!(now(&app, &webhook).await, failed);
}

#[tokio::test]
async fn a_receiver_that_asks_to_be_left_alone_is() {
    let app = start(&[(PAUSES, "0,0")]).await;
    let receiver = Receiver::replying(&["429 Too Many Requests\r\nRetry-After: 600", OK]).await;
    let webhook = add_for(&app, &receiver).await;
    pay(&app, 1, "k").await;
    let failed = until_failed(&app, &webhook, 1).await;
    assert!((590..=600).contains(&due_in(&failed)), "{failed}");
}

#[tokio::test]
async fn after_the_last_attempt_a_webhook_is_disabled_and_goes_on_where_it_was_when_it_is_active_again()
 {
    let app = start(&[(PAUSES, "0,0")]).await;
    let receiver = Receiver::replying(&[FAILED]).await;
    let webhook = add_for(&app, &receiver).await;
    pay(&app, 2, "k").await;
    let failed = until_failed(&app, &webhook, 3).await;
    assert_eq!((&failed["status"], &failed["position"]), (&json!("disabled"), &json!(2)));
    assert_eq!(failed["next_attempt_at"], Value::Null);
    eventually("it is counted", async || metric(&app, "payonce_webhooks_disabled").await == "1")
        .await;
    let log = app.settled_log().await;
    assert!(log.contains("a webhook was disabled") && log.contains(id_of(&webhook)), "{log}");
    assert!(!log.contains(&receiver.url), "a URL may have a secret in it: {log}");

    pay(&app, 2, "meanwhile").await;
    receiver.reply(OK);
    change(&app, &webhook, &json!({"status": "active"})).await;
    until_noted(&app, &webhook, 6).await;
    assert_eq!(receiver.positions(), [3, 3, 3, 3, 4, 5, 6]);
    eventually("it is none any more", async || {
        metric(&app, "payonce_webhooks_disabled").await == "0"
    })
    .await;

    // One that an operator disables is no failure.
    change(&app, &webhook, &json!({"status": "disabled"})).await;
    let other = Receiver::start().await;
    add_for(&app, &other).await;
    pay(&app, 1, "unwanted").await;
    other.until(1).await;
    assert_eq!(receiver.delivered().len(), 7);
    assert!(metric(&app, "payonce_webhooks_disabled").await == "0");
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_told_nothing_more() {
    let app = start(&[]).await;
    let receiver = Receiver::replying(&["410 Gone"]).await;
    let webhook = add_for(&app, &receiver).await;
    pay(&app, 3, "k").await;
    let gone = until_failed(&app, &webhook, 1).await;
    assert_eq!(gone["status"], "disabled");
    assert_eq!(receiver.positions(), [3]);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Receiver::start().await;
    let app = start(&[(PAUSES, "3600")]).await;
    let location = format!("307 Temporary Redirect\r\nLocation: {}", elsewhere.url);
    let receiver = Receiver::replying(&[location.leak()]).await;
    let webhook = add_for(&app, &receiver).await;
    pay(&app, 1, "k").await;
    let failed = until_failed(&app, &webhook, 1).await;
    let why = failed["last_failure"].as_str().unwrap();
    assert!(why.contains("redirects are not followed"), "{why}");
    assert!(elsewhere.delivered().is_empty());
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_in_time_has_failed() {
    let app = start(&[(PAUSES, "3600"), ("PAYONCE_WEBHOOKS__TIMEOUT_MS", "100")]).await;
    let receiver = Receiver::start().await;
    receiver.hold();
    let webhook = add_for(&app, &receiver).await;
    pay(&app, 1, "k").await;
    let failed = until_failed(&app, &webhook, 1).await;
    assert_eq!(failed["last_failure"], "did not answer in time");
}

#[tokio::test]
async fn nothing_is_sent_to_an_address_that_is_not_public_also_by_a_name_that_leads_there() {
    let app = App::start_with(&[(PAUSES, "3600")]).await;
    app.open_many(2, 1_000).await;
    for url in ["http://receiver.example/", "https://127.0.0.1/", "https://[::1]/", "https://10.1/"]
    {
        app.post("/webhooks", &json!({"url": url})).await.assert_problem(400, "invalid_request");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let webhook = add(&app, &json!({"url": format!("https://localhost:{port}/")})).await;
    app.pay(1, 2, 1, "k").await.assert_paid();
    let failed = until_failed(&app, &webhook, 1).await;
    assert_eq!(failed["last_failure"], "its name leads to no public address");
    let connected = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
    assert!(connected.is_err(), "it was connected to");
    let refused = metric(&app, "payonce_webhook_deliveries_total{outcome=\"not_public\"}").await;
    assert_eq!(refused, "1");
}

#[tokio::test]
async fn a_webhook_that_was_allowed_before_is_sent_nothing_once_private_addresses_are_not() {
    let app = start(&[]).await;
    let receiver = Receiver::start().await;
    let webhook = add_for(&app, &receiver).await;
    let database = app.database.clone();
    drop(app);
    let app = App::start_on(&database, &[(PAUSES, "3600")]);
    app.pay(1, 2, 1, "k").await.assert_paid();
    until_failed(&app, &webhook, 1).await;
    assert!(receiver.delivered().is_empty());
    let refused = metric(&app, "payonce_webhook_deliveries_total{outcome=\"not_public\"}").await;
    assert_eq!(refused, "1");
}

#[tokio::test]
async fn a_slow_receiver_delays_no_other() {
    let app = start(&[]).await;
    let (slow, well) = (Receiver::start().await, Receiver::start().await);
    slow.hold();
    let webhook = add_for(&app, &slow).await;
    add_for(&app, &well).await;
    pay(&app, 100, "k").await;
    well.until(100).await;
    assert_eq!(slow.positions(), [3]);
    slow.go_on();
    until_noted(&app, &webhook, 102).await;
    assert_eq!(slow.positions(), (3..=102).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_delivered_and_not_noted_before_kill_9_is_repeated_and_nothing_is_missing() {
    let mut app = start(&[]).await;
    let receiver = Receiver::start().await;
    let webhook = add_for(&app, &receiver).await;
    pay(&app, 1, "noted").await;
    until_noted(&app, &webhook, 3).await;
    let mut outside = app.database.session().await;
    sqlx::raw_sql("BEGIN; SELECT FROM webhooks FOR UPDATE").execute(&mut outside).await.unwrap();
    pay(&app, 2, "unnoted").await;
    receiver.until(3).await;
    app.kill();
    sqlx::raw_sql("ROLLBACK").execute(&mut outside).await.unwrap();
    assert_eq!(now_in(&app.database).await, 3);
    let app = another(&app, &[]);
    pay(&app, 1, "new").await;
    until_noted(&app, &webhook, 6).await;
    let positions = receiver.positions();
    assert_eq!(positions[..3], [3, 4, 5]);
    assert_eq!(positions[3..], [4, 5, 6]);
    let ids: Vec<_> =
        receiver.delivered().iter().map(|it| it.headers["webhook-id"].clone()).collect();
    assert_eq!(ids[1..3], ids[3..5], "the receiver knows repeats");
    app.database.assert_sound();
}

#[tokio::test]
async fn what_no_receiver_has_answered_before_kill_9_is_not_noted_and_is_delivered_again() {
    let mut app = start(&[]).await;
    let (slow, well) = (Receiver::start().await, Receiver::start().await);
    slow.hold();
    let webhook = add_for(&app, &slow).await;
    let other = add_for(&app, &well).await;
    pay(&app, 1, "k").await;
    slow.until(1).await;
    until_noted(&app, &other, 3).await;
    assert_eq!(now(&app, &webhook).await["position"], 2);
    app.kill();
    slow.go_on();
    let app = another(&app, &[]);
    until_noted(&app, &webhook, 3).await;
    assert_eq!(slow.positions(), [3, 3]);
}

/// The position of the only webhook.
async fn now_in(database: &Database) -> i64 {
    database.count("SELECT position FROM webhooks").await
}

// The wait for the end of the process takes a thread, and the receiver another.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_under_way_are_noted_when_the_service_stops() {
    let mut app = start(&[]).await;
    let receiver = Receiver::start().await;
    let webhook = add_for(&app, &receiver).await;
    receiver.hold();
    pay(&app, 3, "k").await;
    receiver.until(1).await;
    kill_process(app.pid(), Signal::TERM).unwrap();
    eventually("it stops", async || app.log().contains("stopping")).await;
    receiver.go_on();
    assert!(app.stop(Signal::TERM).success());
    assert_eq!(now_in(&app.database).await, receiver.positions().len() as i64 + 2);
    let app = another(&app, &[]);
    until_noted(&app, &webhook, 5).await;
    assert_eq!(receiver.positions(), [3, 4, 5], "nothing is repeated");
}

#[tokio::test]
async fn one_of_two_processes_sends_and_the_other_takes_over() {
    let mut first = start(&[]).await;
    let receiver = Receiver::start().await;
    let webhook = add_for(&first, &receiver).await;
    first.database.until(&senders(1)).await;
    let second = another(&first, &[]);
    first.database.until(&senders(2)).await;
    for n in 0..10 {
        pay([&first, &second][n % 2], 10, &format!("k{n}")).await;
    }
    until_noted(&second, &webhook, 102).await;
    assert_eq!(receiver.positions(), (3..=102).collect::<Vec<_>>());
    let sent = "payonce_webhook_deliveries_total{outcome=\"delivered\"}";
    assert_eq!([metric(&first, sent).await, metric(&second, sent).await], ["100", "0"]);

    first.kill();
    pay(&second, 10, "after").await;
    until_noted(&second, &webhook, 112).await;
    assert_eq!(receiver.positions(), (3..=112).collect::<Vec<_>>());
    second.database.assert_sound();
}

#[tokio::test]
async fn a_process_that_was_paused_while_it_sent_sends_nothing_more_and_moves_no_position_back() {
    let first = start(&[]).await;
    let receiver = Receiver::start().await;
    let webhook = add_for(&first, &receiver).await;
    pay(&first, 1, "before").await;
    until_noted(&first, &webhook, 3).await;
    let second = another(&first, &[]);
    first.database.until(&senders(2)).await;
    kill_process(first.pid(), Signal::STOP).unwrap();
    pay(&second, 20, "meanwhile").await;
    until_noted(&second, &webhook, 23).await;
    kill_process(first.pid(), Signal::CONT).unwrap();
    // It finds out, and waits for its turn again.
    first.database.until(&senders(2)).await;
    pay(&first, 20, "after").await;
    until_noted(&first, &webhook, 43).await;
    assert_eq!(receiver.positions(), (3..=43).collect::<Vec<_>>());
    let sent = "payonce_webhook_deliveries_total{outcome=\"delivered\"}";
    assert_eq!([metric(&first, sent).await, metric(&second, sent).await], ["1", "40"]);
}

#[tokio::test]
async fn a_process_that_was_paused_before_an_attempt_was_due_makes_none_when_it_goes_on() {
    let settings = [(PAUSES, "3,3600")];
    let first = start(&settings).await;
    let receiver = Receiver::replying(&[FAILED, OK]).await;
    let webhook = add_for(&first, &receiver).await;
    first.database.until(&senders(1)).await;
    let second = another(&first, &settings);
    first.database.until(&senders(2)).await;
    pay(&first, 1, "k").await;
    until_failed(&second, &webhook, 1).await;
    kill_process(first.pid(), Signal::STOP).unwrap();
    until_noted(&second, &webhook, 3).await;
    kill_process(first.pid(), Signal::CONT).unwrap();
    first.database.until(&senders(2)).await;
    pay(&first, 1, "after").await;
    until_noted(&first, &webhook, 4).await;
    assert_eq!(receiver.positions(), [3, 3, 4]);
}

/// What is kept of the only webhook: its position, failures, last failure, status, and whether another attempt is due
/// some time.
async fn kept(conn: &mut PgConnection) -> (i64, i32, Option<String>, String, bool) {
    let kept = "SELECT position, failures, last_failure, status, next_attempt_at IS NOT NULL
                FROM webhooks";
    sqlx::query_as(kept).fetch_one(conn).await.unwrap()
}

// Before a process that was paused gets here its session has ended, and a change by an operator comes with another
// revision; but nothing that is late may do harm, whatever let it through.
#[tokio::test]
async fn a_note_that_is_late_changes_nothing() {
    let database = Database::new().await;
    let mut conn = database.session().await;
    let id = WebhookId::from_uuid(uuid::Uuid::new_v4());
    let position = |position: &str| position.parse::<Position>().unwrap();
    let (url, accounts) = ("https://receiver.example/", FollowedAccounts::ALL);
    rows::insert(&mut conn, id, url, &accounts, "whsec_", position("5")).await.unwrap();
    let reached = |to: &str, revision: i64, delivered: bool| rows::Reached {
        id,
        revision,
        position: position(to),
        delivered,
    };
    let failed = |reached: rows::Reached, failures: u32, next: rows::Next| rows::FailedAttempt {
        reached,
        failures,
        why: "it failed",
        next,
    };
    let hour = Duration::from_hours(1);
    let later = rows::Next::After { pause: hour, at_least: Duration::ZERO };
    let failing = |position: i64, failures: i32| {
        (position, failures, Some("it failed".to_owned()), "active".to_owned(), true)
    };

    // Pauses differ, so that receivers are not all tried at one moment after a failure of the network's.
    let mut pauses = Vec::new();
    for failures in 1..=20 {
        let attempt = failed(reached("5", 0, false), failures, later);
        pauses.push(rows::note_failure(&mut conn, &attempt).await.unwrap().unwrap());
    }
    let (least, most) = (*pauses.iter().min().unwrap(), *pauses.iter().max().unwrap());
    assert!(most <= hour * 6 / 5 && most > least + Duration::from_secs(1), "{least:?} {most:?}");
    assert_eq!(kept(&mut conn).await, failing(5, 20));

    for (to, revision, delivered, then) in [
        // Not about anything new, or after a change that its process has not seen.
        ("4", 0, true, failing(5, 20)),
        ("5", 0, true, failing(5, 20)),
        ("6", 1, true, failing(5, 20)),
        // What is passed over is no success.
        ("7", 0, false, failing(7, 20)),
        ("8", 0, true, (8, 0, None, "active".to_owned(), false)),
    ] {
        rows::note_reached(&mut conn, &[reached(to, revision, delivered)]).await.unwrap();
        assert_eq!(kept(&mut conn).await, then, "{to}");
    }

    let attempt = failed(reached("9", 1, false), 1, later);
    assert_eq!(rows::note_failure(&mut conn, &attempt).await.unwrap(), None);
    assert_eq!(kept(&mut conn).await.1, 0);
    let attempt = failed(reached("6", 0, false), 2, later);
    rows::note_failure(&mut conn, &attempt).await.unwrap().unwrap();
    assert_eq!(kept(&mut conn).await, failing(8, 2));
    let attempt = failed(reached("9", 0, false), 3, rows::Next::Disable);
    assert_eq!(rows::note_failure(&mut conn, &attempt).await.unwrap(), Some(Duration::ZERO));
    let disabled = (9, 3, Some("it failed".to_owned()), "disabled".to_owned(), false);
    assert_eq!(kept(&mut conn).await, disabled);
    let attempt = failed(reached("9", 0, false), 4, later);
    assert_eq!(rows::note_failure(&mut conn, &attempt).await.unwrap(), None);
    assert_eq!(kept(&mut conn).await, disabled);
}

#[tokio::test]
async fn accounts_that_are_added_during_a_delivery_are_told_of_from_the_position_that_was_answered()
{
    let app = start(&[]).await;
    app.open(3, 1_000).await;
    until_numbered(&app, 3).await;
    let receiver = Receiver::start().await;
    let webhook = add(&app, &json!({"url": receiver.url, "accounts": [3]})).await;
    change(&app, &webhook, &json!({"status": "disabled"})).await;
    for (key, from) in [("a", 1), ("b", 3), ("c", 1)] {
        app.pay(from, 2, 1, key).await.assert_paid();
    }
    until_numbered(&app, 6).await;
    receiver.hold();
    change(&app, &webhook, &json!({"status": "active"})).await;
    // It has passed over the one before.
    assert_eq!(receiver.until(1).await[0].position(), 5);
    let widened = change(&app, &webhook, &json!({"accounts": null})).await;
    assert_eq!(widened["position"], 3);
    receiver.go_on();
    until_noted(&app, &webhook, 6).await;
    assert_eq!(receiver.positions(), [5, 4, 5, 6]);
}

#[tokio::test]
async fn a_delivery_during_which_the_secret_is_rotated_is_noted() {
    let app = start(&[(PAUSES, "0")]).await;
    let receiver = Receiver::replying(&[FAILED, OK]).await;
    let webhook = add_for(&app, &receiver).await;
    receiver.hold();
    receiver.permits.add_permits(1);
    pay(&app, 1, "k").await;
    receiver.until(2).await;
    let rotated = change(&app, &webhook, &json!({"rotate_secret": true})).await;
    assert_eq!((&rotated["position"], &rotated["failures"]), (&json!(2), &json!(1)));
    receiver.go_on();
    until_noted(&app, &webhook, 3).await;
    assert_counts_no_failure(&now(&app, &webhook).await);
    assert_eq!(receiver.positions(), [3, 3]);
}

#[tokio::test]
async fn a_change_of_what_is_told_ends_no_pause_and_another_address_does() {
    let app = start(&[(PAUSES, "0,3600")]).await;
    let [failing, moved] =
        [Receiver::replying(&[FAILED]).await, Receiver::replying(&[FAILED]).await];
    let webhook = add_for(&app, &failing).await;
    let old = webhook["secret"].as_str().unwrap();
    pay(&app, 1, "k").await;
    let failed = until_failed(&app, &webhook, 2).await;
    for body in [json!({"accounts": [1, 2]}), json!({"rotate_secret": true})] {
        let changed = change(&app, &webhook, &body).await;
        for member in ["failures", "next_attempt_at", "last_failure", "position"] {
            assert_eq!(changed[member], failed[member], "{member} after {body}");
        }
    }
    let changed = change(&app, &webhook, &json!({"url": moved.url})).await;
    assert_counts_no_failure(&changed);
    assert_eq!(changed["accounts"], json!([1, 2]));
    // Its failures are counted anew: after as many as before there is another attempt.
    let failed = until_failed(&app, &webhook, 2).await;
    assert_eq!(failed["status"], "active");
    assert!(moved.delivered()[0].is_signed_with(old), "for a day beside the new one");
    assert_eq!([failing.positions(), moved.positions()], [[3, 3], [3, 3]]);
}

#[tokio::test]
async fn webhooks_are_listed_oldest_first() {
    let app = App::start().await;
    let mut added = Vec::new();
    for _ in 0..6 {
        added.push(add(&app, &json!({"url": "https://receiver.example/"})).await["id"].clone());
    }
    let listed = app.get("/webhooks").await.json;
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
    assert_eq!(listed, added);
}

#[tokio::test]
async fn what_one_process_is_told_the_one_that_sends_knows_soon() {
    let first = start(&[]).await;
    let (known, added) = (Receiver::start().await, Receiver::start().await);
    let webhook = add_for(&first, &known).await;
    first.database.until(&senders(1)).await;
    let second = another(&first, &[]);
    let other = add_for(&second, &added).await;
    pay(&first, 1, "k").await;
    known.until(1).await;
    added.until(1).await;
    let moved = Receiver::start().await;
    change(&second, &other, &json!({"url": moved.url})).await;
    let mut count = 0;
    eventually("it is delivered there", async || {
        count += 1;
        pay(&first, 1, &format!("m{count}")).await;
        known.until(count + 1).await;
        !moved.delivered().is_empty()
    })
    .await;
    remove(&second, &other).await;
    eventually("nothing more is delivered", async || {
        let before = moved.delivered().len();
        count += 1;
        pay(&first, 1, &format!("r{count}")).await;
        known.until(count + 1).await;
        moved.delivered().len() == before
    })
    .await;
    assert_eq!(first.get("/webhooks").await.json.as_array().unwrap().len(), 1);
    let all = [added.positions(), moved.positions()].concat();
    assert_eq!(all, (3..3 + i64::try_from(all.len()).unwrap()).collect::<Vec<_>>());
    remove(&second, &webhook).await;
}

#[tokio::test]
async fn while_there_is_no_webhook_nothing_is_done_for_any() {
    let app = start(&[]).await;
    pay(&app, 10, "k").await;
    until_numbered(&app, 12).await;
    app.database.until(&senders(0)).await;
    let receiver = Receiver::start().await;
    let webhook = add_for(&app, &receiver).await;
    app.database.until(&senders(1)).await;
    remove(&app, &webhook).await;
    app.database.until(&senders(0)).await;
    assert!(receiver.delivered().is_empty());
}

#[tokio::test]
async fn only_operators_manage_webhooks() {
    let app = App::start_with_tokens(1).await;
    let path = format!("/webhooks/{}", uuid::Uuid::new_v4());
    let body = json!({"url": "https://receiver.example/"});
    for (method, path, body) in [
        ("GET", "/webhooks", None),
        ("POST", "/webhooks", Some(&body)),
        ("PUT", &*path, Some(&json!({"rotate_secret": true}))),
        ("DELETE", &*path, None),
    ] {
        app.ask(None, method, path, body).await.assert_problem(401, "unauthenticated");
        let owner = owner_of(1);
        app.ask(Some(&owner), method, path, body).await.assert_problem(403, "forbidden");
    }
    let added = app.ask(Some(&operator()), "POST", "/webhooks", Some(&body)).await;
    assert_eq!(added.status, 201, "{}", added.text);
    let path = added.header("location").unwrap().to_owned();
    assert_eq!(path, format!("/webhooks/{}", id_of(&added.json)));
    let removed = app.ask(Some(&operator()), "DELETE", &path, None).await;
    assert_eq!((removed.status, &*removed.text), (204, ""));
}

#[tokio::test]
async fn what_cannot_be_a_webhook_is_refused() {
    let app = App::start().await;
    let too_many: Vec<i64> = (1..=101).collect();
    let url = "https://receiver.example/";
    for body in [
        json!({}),
        json!({"url": ""}),
        json!({"url": "receiver.example"}),
        json!({"url": "https://user:password@receiver.example/"}),
        json!({"url": format!("https://receiver.example/{}", "a".repeat(2_000))}),
        json!({"url": url, "accounts": []}),
        json!({"url": url, "accounts": too_many}),
        json!({"url": url, "accounts": [-1]}),
        json!({"url": url, "accounts": ["1"]}),
        json!({"url": url, "secret": "mine"}),
        json!({"url": url, "status": "disabled"}),
    ] {
        app.post("/webhooks", &body).await.assert_problem(400, "invalid_request");
    }
    let webhook = add(&app, &json!({"url": url})).await;
    let path = format!("/webhooks/{}", id_of(&webhook));
    for body in [
        json!({"url": null, "status": "paused"}),
        json!({"url": "http://receiver.example/"}),
        json!({"accounts": []}),
        json!({"rotate_secret": "yes"}),
        json!({"position": 5}),
    ] {
        let refused = Answer::of(app.request("PUT", &path).json(&body)).await;
        refused.assert_problem(400, "invalid_request");
    }
    let unknown = format!("/webhooks/{}", uuid::Uuid::new_v4());
    let change = app.request("PUT", &unknown).json(&json!({"status": "active"}));
    Answer::of(change).await.assert_problem(404, "webhook_not_found");
    Answer::of(app.request("DELETE", &unknown)).await.assert_problem(404, "webhook_not_found");
    Answer::of(app.request("DELETE", "/webhooks/1")).await.assert_problem(400, "invalid_request");
    app.get(&path).await.assert_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn there_are_no_more_webhooks_than_there_may_be_however_many_are_added_at_once() {
    let app = App::start_with(&[
        ("PAYONCE_WEBHOOKS__ENDPOINTS_MAX", "2"),
        ("PAYONCE_WRITER__LOCK_WAIT_MS_MAX", "2900"),
    ])
    .await;
    let body = json!({"url": "https://receiver.example/"});
    add(&app, &body).await;
    // Others may read, but not write, until all have come as far as they can.
    let mut outside = app.database.session().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE webhooks IN SHARE MODE").execute(&mut outside).await.unwrap();
    let adding = (0..4).map(|_| app.post("/webhooks", &body));
    let waiting = "SELECT count(*) = 4 FROM pg_stat_activity WHERE datname = current_database()
                   AND application_name = 'payonce writer' AND wait_event_type = 'Lock'";
    let release = async {
        app.database.until(waiting).await;
        sqlx::raw_sql("COMMIT").execute(&mut outside).await.unwrap();
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(adding), release);
    let (added, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|it| it.status == 201);
    assert_eq!(added.len(), 1);
    refused.iter().for_each(|answer| answer.assert_problem(400, "invalid_request"));
}

#[tokio::test]
async fn a_secret_is_told_once_and_is_in_no_log() {
    let app = start(&[("PAYONCE_TELEMETRY__FILTER", "trace")]).await;
    let receiver = Receiver::start().await;
    let webhook = add_for(&app, &receiver).await;
    let rotated = change(&app, &webhook, &json!({"rotate_secret": true})).await;
    let changed = change(&app, &webhook, &json!({"status": "active"})).await;
    assert!(changed.get("secret").is_none() && now(&app, &webhook).await.get("secret").is_none());
    pay(&app, 1, "k").await;
    receiver.until(1).await;
    until_noted(&app, &webhook, 3).await;
    let log = app.whole_log();
    for secret in [&webhook["secret"], &rotated["secret"]] {
        let secret = secret.as_str().unwrap().strip_prefix("whsec_").unwrap();
        assert_eq!(secret.len(), 44);
        assert!(!log.contains(secret), "a secret was logged");
    }
}

/// A program of a test's, which ends with it.
struct Program(std::process::Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_receiver_of_the_readme_takes_each_payment_once_and_none_that_is_not_ours() {
    let readme = include_str!("../../README.md");
    let (_, after) = readme.split_once("<!-- tested: receiver -->\n\n```python\n").unwrap();
    let text = after.split_once("```").unwrap().0;
    // At a free port, which it tells.
    let text = text.replace("8080", "0").replace(
        "server.serve_forever()",
        "print(server.server_port, flush=True); server.serve_forever()",
    );
    let app = start(&[(PAUSES, "0,0,0,0,3600")]).await;
    // The secret is told when the webhook is added, and the port when the receiver runs.
    let webhook = add(&app, &json!({"url": "http://127.0.0.1:1/"})).await;
    let secret = webhook["secret"].as_str().unwrap();
    let python = testbed::command("python3")
        .args(["-c", &text])
        .env("SECRET", secret)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut python = Program(python);
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let stdout = python.0.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in io::BufRead::lines(io::BufReader::new(stdout)) {
            let _ = sender.send(line.unwrap());
        }
    });
    let port = lines.recv().await.unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    change(&app, &webhook, &json!({"url": url})).await;
    for key in ["a", "b"] {
        app.pay(1, 2, 7, key).await.assert_paid();
    }
    until_noted(&app, &webhook, 4).await;
    // Everything once more.
    app.database.execute("UPDATE webhooks SET position = 2, revision = revision + 1").await;
    let app = {
        let database = app.database.clone();
        drop(app);
        App::start_on(&database, &[PRIVATE, (PAUSES, "3600")])
    };
    app.pay(1, 2, 9, "c").await.assert_paid();
    until_noted(&app, &webhook, 5).await;
    for amount in [7, 7, 9] {
        let line = lines.recv().await.unwrap();
        assert!(line.contains(&format!("'amount': {amount}")), "{line}");
    }
    assert!(lines.try_recv().is_err());
    // With a secret that the receiver does not know.
    let spoil = "UPDATE webhooks SET secret = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD',
                 revision = revision + 1";
    app.database.execute(spoil).await;
    eventually("it is refused", async || {
        pay(&app, 1, &uuid::Uuid::new_v4().to_string()).await;
        now(&app, &webhook).await["last_failure"] == "answered with 401 Unauthorized"
    })
    .await;
}
