//! An account's payments as they are made: `GET /accounts/{id}/events`.

use std::collections::HashSet;

use futures_util::future::join_all;
use reqwest::header::HeaderMap;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::harness::{
    Answer, App, Database, PATIENCE, WITH_TOKENS, eventually, hs256, now, operator, owner_of,
    payment,
};

/// An event as it came.
#[derive(Debug, PartialEq)]
struct Event {
    name: Option<String>,
    id: Option<i64>,
    data: Value,
}

/// A stream that is read.
struct Events {
    response: reqwest::Response,
    /// What came and is no whole event yet.
    bytes: Vec<u8>,
}

impl Events {
    /// Begins one: its first event, which says after which position the payments come, is checked and told.
    async fn begin(request: reqwest::RequestBuilder) -> (Self, i64) {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut events = Self { response, bytes: Vec::new() };
        let begin = events.next().await.unwrap();
        let position = begin.id.unwrap();
        let name = Some("begin".to_owned());
        assert_eq!(begin, Event { name, id: Some(position), data: json!({"position": position}) });
        (events, position)
    }

    /// One from now on.
    async fn of(app: &App, account: i64) -> (Self, i64) {
        Self::begin(app.request("GET", &format!("/accounts/{account}/events"))).await
    }

    /// One after a position.
    async fn after(app: &App, account: i64, position: i64) -> Self {
        let request = app.request("GET", &format!("/accounts/{account}/events"));
        let (events, begin) = Self::begin(request.header("last-event-id", position)).await;
        assert_eq!(begin, position);
        events
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        self.try_next().await.unwrap()
    }

    /// The same, or how it was cut off.
    async fn try_next(&mut self) -> reqwest::Result<Option<Event>> {
        // Comments come for ever.
        tokio::time::timeout(PATIENCE, self.read_on()).await.expect("an event in time")
    }

    async fn read_on(&mut self) -> reqwest::Result<Option<Event>> {
        loop {
            while let Some(block) = testbed::take_event(&mut self.bytes) {
                let block = String::from_utf8(block).unwrap();
                if !block.starts_with(':') {
                    return Ok(Some(event(&block)));
                }
            }
            if let Some(chunk) = self.response.chunk().await? {
                self.bytes.extend(chunk);
            } else {
                assert_eq!(self.bytes, b"", "it ends with an event");
                return Ok(None);
            }
        }
    }

    /// The next payment.
    async fn payment(&mut self) -> Value {
        let event = self.next().await.unwrap();
        assert_eq!((event.name, event.id), (None, event.data["position"].as_i64()));
        event.data
    }

    /// Why it ends, after whatever payments.
    async fn end(&mut self) -> String {
        loop {
            let event = self.next().await.unwrap();
            let Some(name) = event.name else { continue };
            assert_eq!((name.as_str(), event.id), ("end", None));
            assert_eq!(self.next().await, None);
            return event.data["reason"].as_str().unwrap().to_owned();
        }
    }

    /// So many payments.
    async fn payments(&mut self, count: usize) -> Vec<Value> {
        let mut payments = Vec::new();
        while payments.len() < count {
            payments.push(self.payment().await);
        }
        payments
    }
}

fn event(block: &str) -> Event {
    let mut event = Event { name: None, id: None, data: Value::Null };
    for line in block.lines() {
        match line.split_once(": ").unwrap() {
            ("event", name) => event.name = Some(name.to_owned()),
            ("id", id) => event.id = Some(id.parse().unwrap()),
            ("data", data) => event.data = serde_json::from_str(data).unwrap(),
            _ => panic!("{line}"),
        }
    }
    event
}

/// All payments have their positions.
async fn numbered(app: &App) {
    let all = "SELECT (SELECT last_position FROM feed_state) = (SELECT count(*) FROM payments)";
    app.database.until(all).await;
}

/// Streams that one client opens again before it is noticed that he has left the one before.
const MANY: (&str, &str) = ("PAYONCE_LIVE__STREAMS_PER_ACCOUNT_MAX", "1000");

/// An answer that is no stream, but ends.
async fn refusal(request: reqwest::RequestBuilder) -> Answer {
    let answer = tokio::time::timeout(PATIENCE, Answer::of(request)).await;
    answer.expect("an answer that ends")
}

fn position(payment: &Value) -> i64 {
    payment["position"].as_i64().unwrap()
}

fn amounts(payments: &[Value]) -> Vec<i64> {
    payments.iter().map(|payment| payment["amount"].as_i64().unwrap()).collect()
}

/// The account's history, oldest first.
async fn history(app: &App, account: i64) -> Vec<Value> {
    let mut history = app.history(account).await;
    history.reverse();
    history
}

/// Payments as a stream tells them, without their positions, which grow.
fn in_order(payments: &[Value]) -> Vec<Value> {
    for two in payments.windows(2) {
        assert!(position(&two[0]) < position(&two[1]), "{two:?}");
    }
    let mut plain = payments.to_vec();
    plain.iter_mut().for_each(|it| drop(it.as_object_mut().unwrap().remove("position")));
    plain
}

async fn metric(app: &App, name: &str) -> i64 {
    let text = app.get("/metrics").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing")).parse().unwrap()
}

async fn streams(app: &App) -> i64 {
    metric(app, "payonce_live_streams").await
}

async fn ended(app: &App, reason: &str) -> i64 {
    metric(app, &format!("payonce_live_streams_ended_total{{reason=\"{reason}\"}}")).await
}

#[tokio::test]
async fn each_payment_comes_with_its_position_and_as_the_account_sees_it() {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    numbered(&app).await;
    let (mut events, begin) = Events::of(&app, 2).await;
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(events.response.headers()[name], value);
    }
    app.pay(1, 2, 100, "in").await.assert_paid();
    app.pay(1, 3, 7, "of-others").await.assert_paid();
    app.pay(2, 3, 30, "out").await.assert_paid();
    let seen = events.payments(2).await;
    assert!(position(&seen[0]) > begin);
    assert_eq!(in_order(&seen), history(&app, 2).await[1..]);
    assert_eq!(
        (&seen[0]["balance_after"], &seen[1]["balance_after"]),
        (&json!(1_100), &json!(1_070))
    );
    let feed = app.get("/feed?limit=1000").await.json["payments"].clone();
    for payment in seen {
        let same = feed.as_array().unwrap().iter().find(|it| it["id"] == payment["id"]).unwrap();
        assert_eq!(same["position"], payment["position"], "as in the feed");
    }
    app.database.assert_sound();
}

#[tokio::test]
async fn everything_up_to_where_it_begins_is_there_to_be_read_and_the_rest_comes() {
    let app = App::start().await;
    app.open_many(2, 100_000).await;
    let paying = join_all((0..200).map(async |n| {
        app.pay(1, 2, n + 1, &format!("k{n}")).await.assert_paid();
    }));
    let watching = async {
        let (mut events, begin) = Events::of(&app, 2).await;
        let read = history(&app, 2).await;
        let mut known: HashSet<String> = read.iter().map(|it| it["id"].to_string()).collect();
        let before = known.len();
        // What came meanwhile may be in both.
        while known.len() < 201 {
            let payment = events.payment().await;
            assert!(position(&payment) > begin);
            known.insert(payment["id"].to_string());
        }
        before
    };
    let (before, _) = tokio::join!(watching, paying);
    assert!(before >= 1);
}

#[tokio::test]
async fn it_goes_on_after_the_position_that_was_seen_last() {
    let app = App::start_with(&[MANY]).await;
    app.open_many(3, 100_000).await;
    for n in 1..=6 {
        app.pay(1, 2, n, &format!("k{n}")).await.assert_paid();
        app.pay(1, 3, 50, &format!("of-others-{n}")).await.assert_paid();
    }
    let all = Events::after(&app, 2, 0).await.payments(7).await;
    assert_eq!(in_order(&all), history(&app, 2).await);
    for (n, seen) in all.iter().enumerate().take(6) {
        // Also after a position between two of the account's.
        for after in [position(seen), position(&all[n + 1]) - 1] {
            let mut events = Events::after(&app, 2, after).await;
            assert_eq!(events.payments(6 - n).await, all[n + 1..]);
        }
    }
    let path = format!("/accounts/2/events?last_event_id={}", position(&all[5]));
    let (mut events, _) = Events::begin(app.request("GET", &path)).await;
    assert_eq!(events.payment().await, all[6]);
    app.pay(3, 2, 9, "later").await.assert_paid();
    assert_eq!(events.payment().await["amount"], 9);
    // A client that began with the parameter goes on with the header.
    let both = app.request("GET", &path).header("last-event-id", position(&all[4]));
    let (mut events, _) = Events::begin(both).await;
    assert_eq!(amounts(&events.payments(3).await), [5, 6, 9]);
}

#[tokio::test]
async fn what_is_no_position_or_is_not_there_yet_is_refused() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    numbered(&app).await;
    let last = 2;
    let _events = Events::of(&app, 1).await;
    let after = async |text: &str| {
        refusal(app.request("GET", "/accounts/1/events").header("last-event-id", text)).await
    };
    for text in ["x", "", "-1", "1.5", "9007199254740992"] {
        let refused = after(text).await;
        refused.assert_problem(400, "invalid_request");
        assert!(refused.json["detail"].as_str().unwrap().contains("Last-Event-ID"));
    }
    let beyond = after(&(last + 1).to_string()).await;
    beyond.assert_problem(400, "invalid_request");
    assert!(beyond.json["detail"].as_str().unwrap().contains(&format!("last position, {last}")));
    let twice = app.request("GET", "/accounts/1/events").header("last-event-id", 0);
    refusal(twice.header("last-event-id", 1)).await.assert_problem(400, "invalid_request");
    let unread = app.request("GET", "/accounts/1/events?last_event_id=x");
    refusal(unread).await.assert_problem(400, "invalid_request");
}

#[tokio::test]
async fn a_reader_that_comes_again_and_again_misses_nothing_and_sees_nothing_twice() {
    const PAYMENTS: usize = 600;
    let database = Database::new().await;
    let apps = [App::start_on(&database, &[MANY]), App::start_on(&database, &[MANY])];
    apps[0].open_many(4, 100_000).await;
    let paying = async {
        for part in 0..PAYMENTS / 20 {
            let pay = async |n: usize| {
                let key = format!("k{part}-{n}");
                let (from, to) = if n.is_multiple_of(3) { (3, 4) } else { (1, 2) };
                let (from, to) = if part % 2 == 0 { (from, to) } else { (to, from) };
                apps[n % 2].pay(from, to, 1, &key).await.assert_paid();
            };
            join_all((0..20).map(pay)).await;
        }
    };
    let expected = PAYMENTS / 20 * 13 + 1;
    let watching = async |step: usize| {
        let mut seen: Vec<Value> = Vec::new();
        while seen.len() < expected {
            let after = seen.last().map_or(0, position);
            // Another process may be ahead of this one's reader.
            let mut events = Events::after(&apps[seen.len() % 2], 2, after).await;
            let count = (seen.len() % step + 1).min(expected - seen.len());
            seen.extend(events.payments(count).await);
        }
        seen
    };
    let ((), often, seldom) = tokio::join!(paying, watching(7), watching(60));
    assert_eq!(in_order(&often), history(&apps[0], 2).await);
    assert_eq!(often, seldom);
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn however_much_was_missed_comes_in_order_before_what_is_new() {
    let app = App::start().await;
    app.open_many(2, 1_000_000).await;
    for part in 0..13 {
        let bodies: Vec<_> =
            (0..100).map(|n| payment(1, 2, n + 1, &format!("k{part}-{n}"))).collect();
        assert_eq!(app.send_payments(&bodies).await.status, 200);
    }
    let mut events = Events::after(&app, 2, 0).await;
    let first = events.payment().await;
    app.pay(1, 2, 777, "new").await.assert_paid();
    let rest = events.payments(1_301).await;
    let seen = [vec![first], rest].concat();
    assert_eq!(seen.last().unwrap()["amount"], 777);
    assert_eq!(in_order(&seen), history(&app, 2).await);
}

#[tokio::test]
async fn payments_that_are_older_than_the_feed_come_as_well() {
    let database = Database::new().await;
    database.execute("DELETE FROM feed_state").await;
    database.execute("ALTER TABLE payments DISABLE TRIGGER payments_batch").await;
    database
        .execute(
            "INSERT INTO accounts (id, balance) VALUES (1, 0), (2, 0), (3, 0);
             INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                                   to_balance_after, idempotency_key)
             SELECT gen_random_uuid(), CASE n % 2 WHEN 0 THEN 1 ELSE 3 END, 2 + n % 2 * -1, n,
                    '2026-01-01'::timestamptz + n * interval '1 s', 0, 0, 'old ' || n
             FROM generate_series(1, 1200) AS n",
        )
        .await;
    database.execute("ALTER TABLE payments ENABLE TRIGGER payments_batch").await;
    database.execute("CALL number_payments_before_the_feed()").await;
    let app = App::start_on(&database, &[]);
    app.pay(0, 2, 5_000, "k").await.assert_paid();
    app.pay(0, 1, 6_000, "l").await.assert_paid();
    let even: Vec<i64> = (1..=600).map(|n| 2 * n).chain([5_000]).collect();
    let seen = Events::after(&app, 2, 0).await.payments(601).await;
    assert_eq!(amounts(&seen), even);
    in_order(&seen);
    for after in [0, 1, 500, 599] {
        let mut events = Events::after(&app, 2, position(&seen[after])).await;
        assert_eq!(events.payments(600 - after).await, seen[after + 1..]);
    }
    let mut from_its_end = Events::after(&app, 1, 1_200).await;
    assert_eq!(amounts(&from_its_end.payments(1).await), [6_000]);
}

#[tokio::test]
async fn an_account_whose_times_are_behind_those_of_others_misses_nothing() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for (id, earlier) in [(1, "1 minute"), (2, "2 days"), (3, "3 years")] {
        // As after a clock was set back.
        let ahead = format!(
            "INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                                   to_balance_after, idempotency_key)
             VALUES ('00000000-0000-0000-0000-00000000000{id}', 100, 101, 1,
                     now() + '{earlier}', 0, 0, 'ahead {id}')"
        );
        app.database.execute(&ahead).await;
        numbered(&app).await;
        let feed = app.get("/feed?limit=1000").await.json;
        let after = feed["next"].as_i64().unwrap();
        app.pay(1, 2, id, &format!("k{id}")).await.assert_paid();
        // It is not to come through the channel.
        numbered(&app).await;
        let mut events = Events::after(&app, 2, after).await;
        assert_eq!(events.payment().await["amount"], id, "{earlier}");
    }
}

#[tokio::test]
async fn a_stream_is_for_the_accounts_holder_and_operators() {
    let app = App::start_with_tokens(2).await;
    numbered(&app).await;
    let path = "/accounts/1/events";
    let get = |path: &str| app.request("GET", path);
    refusal(get(path)).await.assert_problem(401, "unauthenticated");
    refusal(get(path).bearer_auth(owner_of(2))).await.assert_problem(403, "forbidden");
    let missing = refusal(get("/accounts/99/events").bearer_auth(operator())).await;
    missing.assert_problem(404, "account_not_found");
    for (who, key) in [(owner_of(1), "owner"), (operator(), "operator")] {
        let (mut events, _) = Events::begin(app.request("GET", path).bearer_auth(&who)).await;
        let pay = payment(2, 1, 10, key);
        app.ask(Some(&owner_of(2)), "PUT", "/send_payment", Some(&pay)).await.assert_paid();
        let payment = events.payment().await;
        assert!(payment["balance_after"].as_i64().unwrap() > 1_000, "the account's: {payment}");
    }
}

#[tokio::test]
async fn the_head_of_a_stream_is_that_of_get_and_takes_no_place() {
    let app = App::start_with(&[("PAYONCE_LIVE__STREAMS_PER_ACCOUNT_MAX", "1")]).await;
    app.open_many(2, 1_000).await;
    numbered(&app).await;
    let path = "/accounts/1/events";
    let head =
        async |after: i64| refusal(app.request("HEAD", path).header("last-event-id", after)).await;
    let fields = |headers: &HeaderMap| {
        // The time is another, and HEAD need not say how content would be sent.
        let of_each = ["date", "x-request-id", "transfer-encoding"];
        let mut fields = headers.clone();
        of_each.iter().for_each(|name| drop(fields.remove(*name)));
        fields
    };
    for _ in 0..3 {
        assert_eq!(head(2).await.status, 200);
        assert_eq!(streams(&app).await, 0);
    }
    app.pay(1, 2, 1, "k").await.assert_paid();
    numbered(&app).await;
    assert_eq!(metric(&app, "payonce_live_reads_total").await, 0, "nobody reads for a head");

    let (events, _) = Events::of(&app, 1).await;
    for after in [0, 3] {
        let head = head(after).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "the only place is taken");
        assert_eq!(fields(&head.headers), fields(events.response.headers()));
    }
    let missing = refusal(app.request("HEAD", "/accounts/9/events")).await;
    assert_eq!([head(4).await.status, missing.status], [400, 404]);
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires() {
    let app = App::start_with_tokens(1).await;
    // Some issuers write fractions.
    for fraction in [None, Some(0.5)] {
        let exp = now() + 5;
        let with_fraction = fraction.map(|it| f64::from(i32::try_from(exp).unwrap()) + it);
        let claims = json!({"sub": "1", "exp": with_fraction.map_or(json!(exp), Value::from)});
        let token = hs256(&claims);
        let request = app.request("GET", "/accounts/1/events").bearer_auth(token);
        let (mut events, _) = Events::begin(request).await;
        assert_eq!(events.end().await, "token_expired");
        assert!(now() >= exp, "not before");
    }
    assert_eq!(ended(&app, "token_expired").await, 2);
}

#[tokio::test]
async fn a_service_that_stops_ends_its_streams_and_says_so() {
    let mut app = App::start_with(&[("PAYONCE_SERVER__SHUTDOWN_TIMEOUT_MS", "600000")]).await;
    app.open_many(2, 1_000).await;
    let mut all = Vec::new();
    for account in [1, 1, 2] {
        all.push(Events::of(&app, account).await.0);
    }
    assert!(app.stop(Signal::TERM).success());
    for mut events in all {
        assert_eq!(events.end().await, "stopping");
    }
}

#[tokio::test]
async fn there_are_as_many_streams_as_the_settings_allow_and_a_client_that_leaves_makes_room() {
    let app = App::start_with(&[
        ("PAYONCE_LIVE__STREAMS_MAX", "3"),
        ("PAYONCE_LIVE__STREAMS_PER_ACCOUNT_MAX", "2"),
    ])
    .await;
    app.open_many(3, 1_000).await;
    let first = Events::of(&app, 1).await;
    let second = Events::of(&app, 1).await;
    refusal(app.request("GET", "/accounts/1/events")).await.assert_problem(429, "rate_limited");
    let third = Events::of(&app, 2).await;
    refusal(app.request("GET", "/accounts/3/events")).await.assert_problem(503, "overloaded");
    assert_eq!(streams(&app).await, 3);
    assert_eq!(metric(&app, "payonce_requests_under_way").await, 1, "the one for the metrics");
    drop(first);
    // It is noticed although nothing is paid.
    eventually("there is room", async || streams(&app).await == 2).await;
    assert_eq!(ended(&app, "client_left").await, 1);
    let fourth = Events::of(&app, 1).await;
    drop((second, third, fourth));
    eventually("all have left", async || streams(&app).await == 0).await;
}

#[tokio::test]
async fn a_client_that_takes_too_little_is_cut_off_and_goes_on_where_it_was() {
    let app = App::start().await;
    app.open_many(2, 100_000_000).await;
    numbered(&app).await;
    let (mut other, begin) = Events::of(&app, 1).await;
    let address = app.base.strip_prefix("http://").unwrap().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut wire = socket.connect(address).await.unwrap();
    let ask = b"GET /accounts/2/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    wire.write_all(ask).await.unwrap();
    eventually("it is open", async || streams(&app).await == 2).await;
    let note = "\u{1d11e}".repeat(280);
    let mut paid: usize = 0;
    let mut read_by_other = 0;
    while ended(&app, "slow").await == 0 {
        let bodies: Vec<_> = (paid..paid + 100)
            .map(|n| {
                let mut body = payment(1, 2, 1, &format!("k{n}"));
                body["note"] = json!(note);
                body
            })
            .collect();
        assert_eq!(app.send_payments(&bodies).await.status, 200);
        paid += 100;
        read_by_other += other.payments(100).await.len();
        assert!(paid < 20_000, "nothing limits what waits for it");
    }
    assert_eq!(read_by_other, paid, "nobody else is delayed");
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, wire.read_to_end(&mut bytes)).await.expect("its end");
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.ends_with("0\r\n\r\n"), "it is no whole answer");
    let ids: Vec<i64> =
        text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
    let seen = *ids.last().unwrap();
    assert!(ids.len() < paid);
    let mut events = Events::after(&app, 2, seen).await;
    let rest = events.payments(paid + 1 - ids.len()).await;
    let all: HashSet<i64> = ids.iter().copied().chain(rest.iter().map(position)).collect();
    assert_eq!(all.len(), paid + 1, "with the begin");
    assert!(ids[0] <= begin);
    assert_eq!(ended(&app, "slow").await, 1, "it is counted once");
}

#[tokio::test]
async fn streams_are_cut_off_when_the_ledger_is_one_of_an_earlier_moment() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    numbered(&app).await;
    let (mut events, begin) = Events::of(&app, 1).await;
    app.database.go_back_to(begin - 1).await;
    assert!(events.try_next().await.is_err(), "its client is to begin anew");
    assert_eq!(ended(&app, "failed").await, 1);
}

#[tokio::test]
async fn one_reader_serves_all_streams_and_there_is_none_without() {
    const STREAMS: i64 = 50;
    let app = App::start_with(&[MANY]).await;
    app.open_many(5, 1_000).await;
    let read = async || metric(&app, "payonce_live_reads_total").await;
    app.pay(1, 2, 1, "unseen").await.assert_paid();
    numbered(&app).await;
    assert_eq!(read().await, 0);
    let begun = join_all((0..STREAMS).map(async |n| Events::of(&app, n % 5 + 1).await.0));
    let mut all = begun.await;
    for n in 0..20 {
        app.pay(1, 2, 1, &format!("k{n}")).await.assert_paid();
        let watching = all.iter_mut().enumerate().filter(|(n, _)| n % 5 < 2);
        join_all(watching.map(async |(_, events)| events.payment().await)).await;
    }
    let reads = read().await;
    assert!((20..=30).contains(&reads), "{reads}");
    drop(all);
    eventually("all have left", async || streams(&app).await == 0).await;
    // Nobody asks how far the feed is, either.
    let looks = "SELECT coalesce(max(extract(epoch FROM state_change) * 1000000)::bigint, 0)
                 FROM pg_stat_activity WHERE datname = current_database()
                   AND application_name = 'payonce reader' AND query LIKE '%feed_state%'";
    let mut before = -1;
    eventually("nothing is asked", async || {
        let last = std::mem::replace(&mut before, app.database.count(looks).await);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        last == before
    })
    .await;
    let reads = read().await;
    app.pay(1, 2, 1, "last").await.assert_paid();
    app.get("/feed?after=0").await;
    assert_eq!(read().await, reads);
    let (mut events, _) = Events::of(&app, 1).await;
    app.pay(1, 2, 1, "again").await.assert_paid();
    events.payment().await;
}

#[tokio::test]
async fn comments_keep_a_stream_alive() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let (mut events, _) = Events::of(&app, 1).await;
    let mut text = String::new();
    while !text.contains(": \n\n") {
        let chunk = tokio::time::timeout(PATIENCE, events.response.chunk()).await.unwrap();
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
    app.pay(1, 2, 1, "k").await.assert_paid();
    events.payment().await;
}

#[tokio::test]
async fn a_page_of_another_origin_may_go_on_after_a_position() {
    let app = App::start_with(&WITH_TOKENS).await;
    let preflight = app
        .request("OPTIONS", "/accounts/1/events")
        .header("origin", "http://localhost:3000")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization,last-event-id");
    assert_eq!(Answer::of(preflight).await.status, 200);
}
