//! Requests for money: asked for, listed, paid at most once, declined, cancelled, expired.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    A_WRITER_WAITS, Answer, App, at_once, id_of, operator, owner_of, payment, payment_of,
    payment_of_under, request_for_money, rivals, rounds,
};

const FAR: &str = "2099-01-01T00:00:00Z";

async fn start() -> App {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    app
}

fn with(field: &str, value: Value) -> Value {
    let mut body = request_for_money(1, 2, 10);
    body[field] = value;
    body
}

/// Lets an open request expire.
async fn expire(app: &App, request: &Value) {
    let over = format!(
        "UPDATE payment_requests SET expires_at = clock_timestamp() WHERE id = '{}'",
        id_of(request)
    );
    app.database.execute(&over).await;
}

/// Asserts that nothing can be done with it any more, because it is `status`.
async fn assert_not_open(app: &App, request: &Value, status: &str) {
    let refused = [
        app.close(request, "decline").await,
        app.close(request, "cancel").await,
        app.send_payment(&payment_of(request)).await,
    ];
    for answer in refused {
        answer.assert_problem(409, "request_not_open");
        assert_eq!(answer.json["retryable"], false);
        assert!(answer.json["detail"].as_str().unwrap().contains(status), "{}", answer.text);
    }
    assert_eq!(app.request_now(request).await["status"], status);
}

// Asking.

#[tokio::test]
async fn somebody_asks_for_money_and_nothing_moves() {
    let app = start().await;
    let asked = app.post("/payment_requests", &request_for_money(1, 2, 300)).await;
    assert_eq!(asked.status, 201, "{}", asked.text);
    let (id, created_at) = (id_of(&asked.json), asked.json["created_at"].as_str().unwrap());
    assert_eq!(
        asked.text,
        format!(
            "{{\"id\":\"{id}\",\"from_id\":1,\"to_id\":2,\"amount\":300,\"note\":null,\
             \"status\":\"open\",\"created_at\":\"{created_at}\",\"expires_at\":null,\
             \"payment_id\":null}}"
        )
    );
    assert_eq!(created_at.len(), "2026-11-22T12:00:00.000000Z".len());
    assert_eq!(asked.header("location"), Some(&*format!("/payment_requests/{id}")));
    assert_eq!(app.get(asked.header("location").unwrap()).await.text, asked.text);
    assert_eq!((app.balance(1).await, app.balance(2).await), (1_000, 1_000));
    assert_eq!(app.database.payments().await, 0);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_request_may_say_what_for_and_until_when() {
    let app = start().await;
    for (given, kept) in [
        (json!("2099-11-22T12:00:00.123456+02:00"), json!("2099-11-22T10:00:00.123456Z")),
        (json!(4_100_000_000_123_i64), json!("2099-12-03T16:53:20.123000Z")),
        (json!("9999-12-31T23:59:59Z"), json!("9999-12-31T23:59:59.000000Z")),
        (Value::Null, Value::Null),
    ] {
        let mut body = with("note", json!("lunch \u{1F959}"));
        body["expires_at"] = given;
        let asked = app.post("/payment_requests", &body).await;
        assert_eq!(asked.status, 201, "{}", asked.text);
        assert_eq!((&asked.json["expires_at"], &asked.json["note"]), (&kept, &body["note"]));
    }
    assert_eq!(
        app.post("/payment_requests", &with("note", json!(""))).await.json["note"],
        Value::Null
    );
}

#[tokio::test]
async fn a_malformed_request_gets_its_code_and_is_not_stored() {
    let app = start().await;
    let long_note = "n".repeat(281);
    for (body, status, code) in [
        (json!({"to": 2, "amount": 1}), 400, "invalid_request"),
        (json!({"from": 1, "amount": 1}), 400, "invalid_request"),
        (json!({"from": 1, "to": 2}), 400, "invalid_request"),
        (with("from", json!("1")), 400, "invalid_request"),
        (with("from", json!(-1)), 400, "invalid_request"),
        (with("to", Value::Null), 400, "invalid_request"),
        (with("to", json!(9_007_199_254_740_992_i64)), 400, "invalid_request"),
        (with("amount", json!("10")), 400, "invalid_request"),
        (with("amount", json!(0.5)), 400, "invalid_request"),
        (with("amount", json!(0)), 422, "invalid_amount"),
        (with("amount", json!(-1)), 422, "invalid_amount"),
        (with("amount", json!(9_007_199_254_740_992_i64)), 422, "invalid_amount"),
        (with("to", json!(1)), 422, "same_account"),
        (with("from", json!(99)), 404, "account_not_found"),
        (with("to", json!(99)), 404, "account_not_found"),
        (with("note", json!(long_note)), 400, "invalid_request"),
        (with("note", json!("line\nbreak")), 400, "invalid_request"),
        (with("note", json!(7)), 400, "invalid_request"),
        (with("expires_at", json!("tomorrow")), 400, "invalid_request"),
        (with("expires_at", json!("2020-01-01T00:00:00Z")), 400, "invalid_request"),
        (with("expires_at", json!(0)), 400, "invalid_request"),
        (with("expires_at", json!(1.5)), 400, "invalid_request"),
        (with("expires_at", json!("2099-01-01")), 400, "invalid_request"),
        (with("idempotency_key", json!("k")), 400, "invalid_request"),
        (with("created_at", json!(FAR)), 400, "invalid_request"),
        (with("status", json!("paid")), 400, "invalid_request"),
        (json!([1, 2, 10]), 400, "invalid_request"),
        (Value::Null, 400, "invalid_request"),
    ] {
        let refused = app.post("/payment_requests", &body).await;
        assert_eq!(refused.json["code"], code, "{body}: {}", refused.text);
        refused.assert_problem(status, code);
    }
    let time = app.post("/payment_requests", &with("expires_at", json!("tomorrow"))).await;
    assert!(time.json["detail"].as_str().unwrap().starts_with("expires_at: "), "{}", time.text);
    assert_eq!(app.database.count("SELECT count(*) FROM payment_requests").await, 0);
}

/// Asks under a key.
async fn ask_under(app: &App, key: &'static str, body: &Value) -> Answer {
    let request = app.request("POST", "/payment_requests").header("Idempotency-Key", key);
    Answer::of(request.json(body)).await
}

#[tokio::test]
async fn asking_twice_under_one_key_is_asking_once() {
    let [app, other] = App::start_two().await;
    app.open_many(3, 1_000).await;
    let mut body = with("note", json!("rent"));
    let first = ask_under(&app, "k", &body).await;
    assert_eq!((first.status, first.is_replay()), (201, false), "{}", first.text);
    // As a payment's own time does, the end of a request may differ from try to try.
    body["expires_at"] = json!(FAR);
    let second = ask_under(&other, "k", &body).await;
    assert_eq!((second.status, &second.text), (201, &first.text));
    assert_eq!(second.header("location"), first.header("location"));
    assert!(second.is_replay());
    for (field, value) in
        [("from", json!(3)), ("amount", json!(11)), ("note", json!("Rent")), ("note", Value::Null)]
    {
        let mut different = body.clone();
        different[field] = value;
        ask_under(&app, "k", &different).await.assert_problem(422, "idempotency_key_reused");
    }
    // Another one's same key, and the same one's key of a payment, are others.
    assert!(!ask_under(&app, "k", &request_for_money(1, 3, 10)).await.is_replay());
    let paid = app.pay(2, 1, 10, "k").await;
    paid.assert_paid();
    assert!(!paid.is_replay());
    assert_eq!(app.database.count("SELECT count(*) FROM payment_requests").await, 2);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_request_that_was_paid_is_replayed_as_it_was_asked() {
    let app = start().await;
    let body = request_for_money(1, 2, 10);
    let asked = ask_under(&app, "k", &body).await;
    app.send_payment(&payment_of(&asked.json)).await.assert_paid();
    let again = ask_under(&app, "k", &body).await;
    assert_eq!((again.status, &again.text), (201, &asked.text));
    assert!(again.is_replay());
    assert_eq!(app.request_now(&asked.json).await["status"], "paid");
}

#[tokio::test]
async fn a_key_to_ask_under_is_as_any_other() {
    let app = start().await;
    let body = request_for_money(1, 2, 10);
    for wrong in ["", "two words", "\"half"] {
        ask_under(&app, wrong, &body).await.assert_problem(400, "invalid_request");
    }
    let (bare, quoted) = (ask_under(&app, "k", &body).await, ask_under(&app, "\"k\"", &body).await);
    assert_eq!((quoted.status, quoted.text), (201, bare.text));
}

#[tokio::test]
async fn without_a_key_each_request_is_one_of_its_own() {
    let app = start().await;
    let body = request_for_money(1, 2, 10);
    let (one, two) =
        (app.post("/payment_requests", &body).await, app.post("/payment_requests", &body).await);
    assert_eq!((one.status, two.status), (201, 201));
    assert_ne!(one.json["id"], two.json["id"]);
    assert!(!two.is_replay());
}

#[tokio::test]
async fn one_request_sent_many_times_at_once_is_one() {
    let apps = App::start_two().await;
    apps[0].open_many(2, 0).await;
    let body = request_for_money(1, 2, 10);
    for round in 0..30 {
        let key: &'static str = format!("k{round}").leak();
        let answers = join_all((0..8).map(|i| ask_under(&apps[i % 2], key, &body))).await;
        let texts: HashSet<&str> = answers.iter().map(|answer| &*answer.text).collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(answers.iter().all(|answer| answer.status == 201));
        assert_eq!(answers.iter().filter(|answer| !answer.is_replay()).count(), 1);
    }
    assert_eq!(apps[0].database.count("SELECT count(*) FROM payment_requests").await, 30);
    apps[0].database.assert_sound();
}

// Listing.

/// All pages of a list, by following the links.
async fn list(app: &App, query: &str) -> Vec<Value> {
    let mut path = format!("/payment_requests?{query}");
    let mut all = Vec::new();
    loop {
        let page = app.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let requests = page.json.as_array().unwrap();
        assert!(requests.len() <= 10);
        all.extend(requests.clone());
        assert!(all.len() < 10_000, "a list without an end");
        match page.next_link() {
            Some(next) => path = next,
            None => return all,
        }
    }
}

fn ids(requests: &[Value]) -> Vec<&str> {
    requests.iter().map(id_of).collect()
}

#[tokio::test]
async fn each_side_sees_its_requests_the_newest_first() {
    let app = start().await;
    let mut asked = Vec::new();
    for n in 0..25 {
        asked.push(app.ask_for_money(1, 2, 1 + n).await);
    }
    asked.reverse();
    let other = app.ask_for_money(3, 1, 5).await;
    assert_eq!(list(&app, "account=1&direction=incoming").await, asked);
    assert_eq!(list(&app, "account=1").await, asked, "incoming, if nothing else is said");
    assert_eq!(list(&app, "account=2&direction=outgoing").await, asked);
    assert_eq!(list(&app, "account=2&direction=incoming").await, Vec::<Value>::new());
    assert_eq!(list(&app, "account=1&direction=outgoing").await, [other]);
    let page = app.get("/payment_requests?account=1&limit=3").await;
    assert_eq!(page.json.as_array().unwrap()[..], asked[..3]);
    let last = &asked[2];
    let path = format!(
        "/payment_requests?account=1&limit=3&last_seen_timestamp={}&last_seen_id={}",
        last["created_at"].as_str().unwrap(),
        id_of(last)
    );
    assert_eq!(app.get(&path).await.json.as_array().unwrap()[..], asked[3..6]);
    assert_eq!(app.get(&page.next_link().unwrap()).await.json.as_array().unwrap()[..], asked[3..6]);
}

#[tokio::test]
async fn a_list_may_be_of_one_status() {
    let app = start().await;
    let mut of = Vec::new();
    for n in 0..5 {
        of.push(app.ask_for_money(1, 2, 1 + n).await);
    }
    app.send_payment(&payment_of(&of[1])).await.assert_paid();
    assert_eq!(app.close(&of[2], "decline").await.status, 200);
    assert_eq!(app.close(&of[3], "cancel").await.status, 200);
    expire(&app, &of[4]).await;
    for (n, status) in ["open", "paid", "declined", "cancelled", "expired"].into_iter().enumerate()
    {
        for side in ["account=1&direction=incoming", "account=2&direction=outgoing"] {
            let found = list(&app, &format!("{side}&status={status}")).await;
            assert_eq!(ids(&found), [id_of(&of[n])], "{status}");
            assert_eq!(found[0]["status"], status);
        }
    }
    let all = list(&app, "account=1").await;
    let statuses: Vec<&str> = all.iter().map(|it| it["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["expired", "cancelled", "declined", "paid", "open"]);
}

#[tokio::test]
async fn the_pages_of_one_status_lead_to_its_next_pages() {
    let app = start().await;
    let mut open = Vec::new();
    for n in 0..36 {
        let request = app.ask_for_money(1, 2, 1).await;
        if n % 3 == 0 {
            assert_eq!(app.close(&request, "decline").await.status, 200);
        } else if n % 7 == 1 {
            expire(&app, &request).await;
        } else {
            open.push(request);
        }
    }
    open.reverse();
    assert_eq!(list(&app, "account=1&status=open&limit=4").await, open);
    assert_eq!(list(&app, "account=2&direction=outgoing&status=open").await, open);
    assert_eq!(list(&app, "account=1&status=declined&limit=5").await.len(), 12);
    assert_eq!(list(&app, "account=1&status=expired&limit=1").await.len(), 24 - open.len());
}

#[tokio::test]
async fn requests_that_arrive_meanwhile_shift_no_page() {
    let apps = App::start_two().await;
    apps[0].open_many(3, 0).await;
    let mut first = Vec::new();
    for n in 0..30 {
        first.push(apps[n % 2].ask_for_money(1, 2, 1).await);
    }
    first.reverse();
    let reading = list(&apps[0], "account=1&limit=2");
    let asking = async {
        join_all(
            (0..60).map(|n| apps[n % 2].ask_for_money(1, 2 + i64::try_from(n % 2).unwrap(), 2)),
        )
        .await
    };
    let (read, _) = tokio::join!(reading, asking);
    let begin = read.iter().position(|it| *it == first[0]).unwrap();
    assert_eq!(read[begin..], first[..]);
}

#[tokio::test]
async fn the_times_of_an_accounts_requests_strictly_increase() {
    let apps = App::start_two().await;
    apps[0].open_many(4, 0).await;
    let asked = join_all((0..200).map(|n| {
        let (from, to) = [(1, 2), (2, 1), (1, 3), (3, 2)][n % 4];
        apps[n / 4 % 2].ask_for_money(from, to, 1)
    }))
    .await;
    assert_eq!(asked.len(), 200);
    for account in 1..=3 {
        let mut all = list(&apps[0], &format!("account={account}")).await;
        all.extend(list(&apps[1], &format!("account={account}&direction=outgoing")).await);
        let times: HashSet<&str> =
            all.iter().map(|it| it["created_at"].as_str().unwrap()).collect();
        assert_eq!(times.len(), all.len());
    }
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn a_list_that_is_asked_for_wrongly_is_refused() {
    let app = start().await;
    for query in [
        "",
        "?direction=incoming",
        "?account=x",
        "?account=-1",
        "?account=1&direction=both",
        "?account=1&direction=",
        "?account=1&status=done",
        "?account=1&status=",
        "?account=1&limit=0",
        "?account=1&limit=11",
        "?account=1&last_seen_timestamp=yesterday",
        "?account=1&last_seen_id=0fc38bf5-9597-86f0-b04b-6ef81d0f62fc",
        "?account=1&last_seen_timestamp=2026-01-01T00:00:00Z&last_seen_id=7",
        "?account=1&from=1",
    ] {
        let refused = app.get(&format!("/payment_requests{query}")).await;
        assert_eq!(refused.status, 400, "{query}: {}", refused.text);
        refused.assert_problem(400, "invalid_request");
    }
    app.get("/payment_requests?account=99").await.assert_problem(404, "account_not_found");
    app.get("/payment_requests/7").await.assert_problem(400, "invalid_request");
    app.get("/payment_requests/0fc38bf5-9597-86f0-b04b-6ef81d0f62fc")
        .await
        .assert_problem(404, "payment_request_not_found");
    assert_eq!(Answer::of(app.request("HEAD", "/payment_requests?account=1")).await.status, 200);
}

// Paying.

#[tokio::test]
async fn paying_a_request_needs_no_key_and_says_what_it_was_for() {
    let app = start().await;
    let asked = app.post("/payment_requests", &with("note", json!("lunch"))).await;
    let paid = app.send_payment(&payment_of(&asked.json)).await;
    paid.assert_paid();
    assert!(!paid.is_replay());
    assert_eq!(
        (&paid.json["payment_request_id"], &paid.json["note"]),
        (&asked.json["id"], &json!("lunch"))
    );
    let end = format!(",\"payment_request_id\":\"{}\"}}", id_of(&asked.json));
    assert!(paid.text.ends_with(&end), "{}", paid.text);
    let now = app.request_now(&asked.json).await;
    assert_eq!((&now["status"], &now["payment_id"]), (&json!("paid"), &paid.json["id"]));
    for account in [1, 2] {
        assert_eq!(app.history(account).await[0]["payment_request_id"], asked.json["id"]);
    }
    assert_eq!((app.balance(1).await, app.balance(2).await), (990, 1_010));
    let key = format!(
        "SELECT count(*) FROM payments WHERE idempotency_key = 'payment request {}'",
        id_of(&asked.json)
    );
    assert_eq!(app.database.count(&key).await, 1, "a key that no client can send");
    app.database.assert_sound();
}

#[tokio::test]
async fn who_pays_may_write_a_note_of_his_own() {
    let app = start().await;
    let asked = app.post("/payment_requests", &with("note", json!("lunch"))).await;
    let mut body = payment_of(&asked.json);
    body["note"] = json!("with thanks");
    assert_eq!(app.send_payment(&body).await.json["note"], "with thanks");
    assert_eq!(app.request_now(&asked.json).await["note"], "lunch");
    app.database.assert_sound();
}

#[tokio::test]
async fn a_request_that_is_paid_is_answered_with_its_payment_whatever_the_key() {
    let app = start().await;
    let request = app.ask_for_money(1, 2, 10).await;
    let paid = app.send_payment(&payment_of_under(&request, "first")).await;
    paid.assert_paid();
    let mut with_note = payment_of(&request);
    with_note["note"] = json!("again");
    for body in [
        payment_of_under(&request, "first"),
        payment_of_under(&request, "second"),
        payment_of(&request),
        payment_of_under(&request, "second"),
        with_note,
    ] {
        let again = app.send_payment(&body).await;
        assert_eq!((again.status, &again.text), (200, &paid.text), "{body}");
        assert!(again.is_replay());
    }
    assert_eq!(app.database.payments().await, 1);
    app.database.assert_sound();
}

#[tokio::test]
async fn the_key_that_a_client_gives_tells_the_truth_about_the_requests_payment() {
    let app = start().await;
    let request = app.ask_for_money(1, 2, 10).await;
    let paid = app.send_payment(&payment_of_under(&request, "first")).await;
    app.send_payment(&payment_of_under(&request, "second")).await.assert_paid();
    for key in ["first", "second"] {
        assert_eq!(app.outcome(1, key).await.json["id"], paid.json["id"], "{key}");
        let voided = app.void(1, key).await;
        let expected = format!("{{\"voided\":false,\"payment\":{}}}", paid.text);
        assert_eq!((voided.status, voided.text), (200, expected), "{key}");
        // It has been used: for this payment, and for no other.
        app.pay(1, 2, 10, key).await.assert_problem(422, "idempotency_key_reused");
        let other = app.ask_for_money(1, 2, 10).await;
        app.send_payment(&payment_of_under(&other, key))
            .await
            .assert_problem(422, "idempotency_key_reused");
    }
    assert_eq!(app.database.payments().await, 1);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_key_that_has_paid_something_else_pays_no_request() {
    let app = start().await;
    let request = app.ask_for_money(1, 2, 10).await;
    app.pay(1, 2, 10, "used").await.assert_paid();
    app.send_payment(&payment_of_under(&request, "used"))
        .await
        .assert_problem(422, "idempotency_key_reused");
    assert_eq!(app.request_now(&request).await["status"], "open");
    app.database.assert_sound();
}

#[tokio::test]
async fn a_voided_key_pays_no_request_which_stays_open() {
    let app = start().await;
    let request = app.ask_for_money(1, 2, 10).await;
    app.void(1, "k").await;
    app.send_payment(&payment_of_under(&request, "k"))
        .await
        .assert_problem(422, "idempotency_key_voided");
    assert_eq!(app.request_now(&request).await["status"], "open");
    app.send_payment(&payment_of_under(&request, "another")).await.assert_paid();
    app.database.assert_sound();
}

#[tokio::test]
async fn a_request_is_paid_as_it_was_asked_or_not_at_all() {
    let app = start().await;
    let request = app.ask_for_money(1, 2, 10).await;
    let made_up = "0fc38bf5-9597-86f0-b04b-6ef81d0f62fc";
    for (field, value, status, code) in [
        ("amount", json!(9), 422, "request_mismatch"),
        ("amount", json!(11), 422, "request_mismatch"),
        ("to", json!(3), 422, "request_mismatch"),
        ("from", json!(3), 404, "payment_request_not_found"),
        ("payment_request_id", json!(made_up), 404, "payment_request_not_found"),
        ("payment_request_id", json!("7"), 400, "invalid_request"),
        ("payment_request_id", json!(7), 400, "invalid_request"),
        ("payment_request_id", json!(""), 400, "invalid_request"),
    ] {
        let mut body = payment_of_under(&request, "k");
        body[field] = value;
        let refused = app.send_payment(&body).await;
        assert_eq!(refused.json["code"], code, "{body}: {}", refused.text);
        refused.assert_problem(status, code);
    }
    // The one who asked does not pay it himself.
    let mut turned = payment_of(&request);
    (turned["from"], turned["to"]) = (json!(2), json!(1));
    app.send_payment(&turned).await.assert_problem(422, "request_mismatch");
    let mut ordinary = payment_of(&request);
    ordinary["payment_request_id"] = Value::Null;
    app.send_payment(&ordinary).await.assert_problem(400, "idempotency_key_missing");
    assert_eq!(app.database.payments().await, 0);
    // None of this has used the key.
    app.send_payment(&payment_of_under(&request, "k")).await.assert_paid();
    app.database.assert_sound();
}

#[tokio::test]
async fn a_request_that_cannot_be_afforded_stays_open_and_can_be_paid_later() {
    let app = start().await;
    let request = app.ask_for_money(1, 2, 1_500).await;
    let mut with_note = payment_of(&request);
    with_note["note"] = json!("here you are");
    for body in [
        payment_of(&request),
        payment_of_under(&request, "k"),
        with_note,
        payment_of_under(&request, "k"),
    ] {
        app.send_payment(&body).await.assert_problem(422, "insufficient_funds");
    }
    assert_eq!(app.request_now(&request).await["status"], "open");
    app.pay(3, 1, 500, "help").await.assert_paid();
    let paid = app.send_payment(&payment_of_under(&request, "k")).await;
    paid.assert_paid();
    assert!(!paid.is_replay());
    assert_eq!(app.outcome(1, "k").await.json["id"], paid.json["id"]);
    app.database.assert_sound();
}

// Declining, cancelling, expiring.

#[tokio::test]
async fn a_request_that_is_declined_or_cancelled_is_so_for_ever() {
    let app = start().await;
    for (how, status) in [("decline", "declined"), ("cancel", "cancelled")] {
        let request = app.ask_for_money(1, 2, 10).await;
        let closed = app.close(&request, how).await;
        assert_eq!(
            (closed.status, &closed.json["status"]),
            (200, &json!(status)),
            "{}",
            closed.text
        );
        assert_eq!(app.request_now(&request).await, closed.json);
        let mut expected = request.clone();
        expected["status"] = json!(status);
        assert_eq!(closed.json, expected);
        assert_not_open(&app, &request, status).await;
    }
    assert_eq!(app.database.payments().await, 0);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_request_that_is_paid_can_be_neither_declined_nor_cancelled() {
    let app = start().await;
    let request = app.ask_for_money(1, 2, 10).await;
    app.send_payment(&payment_of(&request)).await.assert_paid();
    for how in ["decline", "cancel"] {
        let refused = app.close(&request, how).await;
        refused.assert_problem(409, "request_not_open");
        assert!(refused.json["detail"].as_str().unwrap().contains("paid"), "{}", refused.text);
    }
    assert_eq!(app.request_now(&request).await["status"], "paid");
    app.database.assert_sound();
}

#[tokio::test]
async fn a_request_that_is_over_is_expired_and_nothing_was_written_for_that() {
    let app = start().await;
    let asked = app.post("/payment_requests", &with("expires_at", json!(FAR))).await;
    expire(&app, &asked.json).await;
    assert_not_open(&app, &asked.json, "expired").await;
    app.send_payment(&payment_of_under(&asked.json, "k"))
        .await
        .assert_problem(409, "request_not_open");
    let open = "SELECT count(*) FROM payment_requests WHERE status = 'open'";
    assert_eq!(app.database.count(open).await, 1);
    // The key was not used up.
    app.pay(1, 2, 10, "k").await.assert_paid();
    app.database.assert_sound();
}

#[tokio::test]
async fn one_that_expires_while_its_payment_waits_is_not_paid() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "30000")]).await;
    app.open_many(2, 1_000).await;
    let request = app.ask_for_money(1, 2, 10).await;
    let outside = app.database.lock_accounts("1").await;
    let body = payment_of(&request);
    let expiring = async {
        app.database.until(A_WRITER_WAITS).await;
        expire(&app, &request).await;
        outside.release().await;
    };
    let (paid, ()) = tokio::join!(app.send_payment(&body), expiring);
    paid.assert_problem(409, "request_not_open");
    assert_eq!(app.database.payments().await, 0);
}

#[tokio::test]
async fn a_paid_request_stays_paid_when_its_time_is_over() {
    let app = start().await;
    let request = app.ask_for_money(1, 2, 10).await;
    let paid = app.send_payment(&payment_of(&request)).await;
    expire(&app, &request).await;
    assert_eq!(app.request_now(&request).await["status"], "paid");
    assert_eq!(app.send_payment(&payment_of_under(&request, "late")).await.text, paid.text);
}

#[tokio::test]
async fn declining_and_cancelling_take_no_body_but_an_empty_one() {
    let app = start().await;
    for how in ["decline", "cancel"] {
        let path = async || {
            let request = app.ask_for_money(1, 2, 10).await;
            format!("/payment_requests/{}/{how}", id_of(&request))
        };
        let with_body = async |body: &str| {
            let request = app.request("POST", &path().await).body(body.to_owned());
            Answer::of(request.header("content-type", "application/json")).await
        };
        assert_eq!(with_body("{}").await.status, 200);
        assert_eq!(with_body("").await.status, 200);
        for wrong in ["{\"why\":\"no\"}", "[]", "null", "nonsense"] {
            with_body(wrong).await.assert_problem(400, "invalid_request");
        }
        let unknown = format!("/payment_requests/0fc38bf5-9597-86f0-b04b-6ef81d0f62fc/{how}");
        Answer::of(app.request("POST", &unknown))
            .await
            .assert_problem(404, "payment_request_not_found");
        let malformed = format!("/payment_requests/7/{how}");
        Answer::of(app.request("POST", &malformed)).await.assert_problem(400, "invalid_request");
    }
}

// Races.

#[tokio::test]
async fn one_request_with_many_clicks_under_different_keys_is_paid_once() {
    let apps = App::start_two().await;
    apps[0].open_many(6, 100_000).await;
    rounds(200, async |n| {
        let from = 1 + i64::try_from(n % 3).unwrap();
        let request = apps[n % 2].ask_for_money(from, from + 3, 10).await;
        let mut clicks: Vec<Value> =
            (0..5).map(|click| payment_of_under(&request, &format!("{n}-{}", click / 2))).collect();
        clicks.push(payment_of(&request));
        let sent = clicks.iter().enumerate().map(|(i, body)| apps[(n + i) % 2].send_payment(body));
        let answers = join_all(sent).await;
        answers.iter().for_each(Answer::assert_paid);
        let texts: HashSet<&str> = answers.iter().map(|answer| &*answer.text).collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert_eq!(answers.iter().filter(|answer| !answer.is_replay()).count(), 1);
        assert_eq!(apps[n % 2].request_now(&request).await["payment_id"], answers[0].json["id"]);
        for key in 0..3 {
            let outcome = apps[n % 2].outcome(from, &format!("{n}-{key}")).await;
            assert_eq!(outcome.json["id"], answers[0].json["id"]);
        }
    })
    .await;
    assert_eq!(apps[0].database.payments().await, 200);
    apps[0].database.assert_sound();
}

/// Pays a request and closes it at once, hundreds of times, at two processes.
async fn pay_against(how: &str, status: &str) {
    let apps = App::start_two().await;
    apps[0].open_many(6, 100_000).await;
    let paid = rounds(300, async |n| {
        let (one, two) = rivals(&apps, n);
        let from = 1 + i64::try_from(n % 3).unwrap();
        let request = one.ask_for_money(from, from + 3, 10).await;
        let body = match n % 4 {
            0 => payment_of(&request),
            _ => payment_of_under(&request, &format!("k{n}")),
        };
        let (paid, closed) = at_once(n, one.send_payment(&body), two.close(&request, how)).await;
        let now = two.request_now(&request).await;
        if paid.status == 200 {
            closed.assert_problem(409, "request_not_open");
            assert_eq!((&now["status"], &now["payment_id"]), (&json!("paid"), &paid.json["id"]));
        } else {
            paid.assert_problem(409, "request_not_open");
            assert_eq!((closed.status, &closed.json), (200, &now));
            assert_eq!((&now["status"], &now["payment_id"]), (&json!(status), &Value::Null));
        }
        paid.status == 200
    })
    .await;
    let paid = paid.iter().filter(|paid| **paid).count();
    assert_eq!(usize::try_from(apps[0].database.payments().await), Ok(paid));
    assert!((1..300).contains(&paid), "no race: {paid} were paid");
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn of_paying_and_declining_exactly_one_wins() {
    pay_against("decline", "declined").await;
}

#[tokio::test]
async fn of_paying_and_cancelling_exactly_one_wins() {
    pay_against("cancel", "cancelled").await;
}

#[tokio::test]
async fn of_declining_and_cancelling_exactly_one_wins() {
    let apps = App::start_two().await;
    apps[0].open_many(2, 0).await;
    rounds(150, async |n| {
        let (one, two) = rivals(&apps, n);
        let request = one.ask_for_money(1, 2, 10).await;
        let (declined, cancelled) =
            at_once(n, one.close(&request, "decline"), two.close(&request, "cancel")).await;
        let (won, lost) =
            if declined.status == 200 { (declined, cancelled) } else { (cancelled, declined) };
        assert_eq!(won.json, one.request_now(&request).await, "{}", won.text);
        lost.assert_problem(409, "request_not_open");
    })
    .await;
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn of_paying_a_request_and_voiding_the_key_exactly_one_wins() {
    let apps = App::start_two().await;
    apps[0].open_many(4, 100_000).await;
    let paid = rounds(200, async |n| {
        let (one, two) = rivals(&apps, n);
        let from = 1 + i64::try_from(n % 2).unwrap();
        let request = one.ask_for_money(from, from + 2, 10).await;
        let (key, body) = (format!("k{n}"), payment_of_under(&request, &format!("k{n}")));
        let (paid, voided) = at_once(n, one.send_payment(&body), two.void(from, &key)).await;
        let now = two.request_now(&request).await;
        if paid.status == 200 {
            assert_eq!(voided.text, format!("{{\"voided\":false,\"payment\":{}}}", paid.text));
            assert_eq!(now["status"], "paid");
        } else {
            paid.assert_problem(422, "idempotency_key_voided");
            assert_eq!((voided.json, &now["status"]), (json!({"voided": true}), &json!("open")));
        }
        paid.status == 200
    })
    .await;
    let paid = paid.iter().filter(|paid| **paid).count();
    assert_eq!(usize::try_from(apps[0].database.payments().await), Ok(paid));
    assert!((1..200).contains(&paid), "no race: {paid} were paid");
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn a_service_killed_among_clicks_pays_each_request_once_or_not_yet() {
    let mut app = App::start().await;
    app.open_many(4, 100_000).await;
    let database = app.database.clone();
    let mut requests = Vec::new();
    for n in 0..100 {
        requests.push(app.ask_for_money(1 + n % 2, 3 + n % 2, 10).await);
    }
    let bodies: Vec<Value> = requests
        .iter()
        .enumerate()
        .flat_map(|(n, request)| [payment_of(request), payment_of_under(request, &format!("k{n}"))])
        .collect();
    let mut told = HashSet::new();
    for round in 1..=3 {
        let sent = bodies.iter().map(|body| app.request("PUT", "/send_payment").json(body));
        let sending: Vec<_> = sent.map(|request| tokio::spawn(Answer::try_of(request))).collect();
        let some = format!("SELECT count(*) > {} FROM payments WHERE from_id <> 0", round * 20);
        database.until(&some).await;
        app.kill();
        for answer in join_all(sending).await.into_iter().flatten().flatten() {
            answer.assert_paid();
            told.insert(id_of(&answer.json).to_owned());
        }
        database.assert_sound();
        app = App::start_on(&database, &[]);
    }
    let answers = join_all(bodies.iter().map(|body| app.send_payment(body))).await;
    answers.iter().for_each(Answer::assert_paid);
    let all: HashSet<String> =
        answers.iter().map(|answer| id_of(&answer.json).to_owned()).collect();
    assert!(told.is_subset(&all));
    assert_eq!((all.len(), database.payments().await), (100, 100));
    for request in &requests {
        assert_eq!(app.request_now(request).await["status"], "paid");
    }
    database.assert_sound();
}

// With tokens.

#[tokio::test]
async fn holders_ask_for_themselves_and_operators_for_anybody() {
    let app = App::start_with_tokens(3).await;
    let (out, no, yes) = ("unauthenticated", "forbidden", "");
    // Of nobody, account 1, account 2, account 3 and an operator.
    for (from, to, answers) in [
        (1, 2, [out, no, yes, no, yes]),
        (2, 1, [out, yes, no, no, yes]),
        (0, 2, [out, no, no, no, yes]),
        (2, 0, [out, no, no, no, yes]),
        (99, 2, [out, no, "account_not_found", no, "account_not_found"]),
    ] {
        let everybody =
            [None, Some(owner_of(1)), Some(owner_of(2)), Some(owner_of(3)), Some(operator())];
        for (who, expected) in everybody.iter().zip(answers) {
            let body = request_for_money(from, to, 5);
            let asked = app.ask(who.as_deref(), "POST", "/payment_requests", Some(&body)).await;
            let code = asked.json["code"].as_str().unwrap_or_default();
            assert_eq!(code, expected, "{from} is asked by {to}: {}", asked.text);
            assert_eq!(asked.status == 201, expected.is_empty());
        }
    }
}

#[tokio::test]
async fn a_request_is_for_its_two_parties_and_for_operators() {
    let app = App::start_with_tokens(3).await;
    let open = async || {
        let body = request_for_money(1, 2, 5);
        app.ask(Some(&owner_of(2)), "POST", "/payment_requests", Some(&body)).await.json
    };
    let (out, no, yes) = ("unauthenticated", "forbidden", "");
    let unseen = "payment_request_not_found";
    let request = open().await;
    let path = format!("/payment_requests/{}", id_of(&request));
    let everybody =
        [None, Some(owner_of(3)), Some(owner_of(1)), Some(owner_of(2)), Some(operator())];
    // Of nobody, a stranger, the one who is asked, the one who asks and an operator.
    for (path, answers) in [
        (path.clone(), [out, unseen, yes, yes, yes]),
        ("/payment_requests?account=1".to_owned(), [out, no, yes, no, yes]),
        ("/payment_requests?account=2&direction=outgoing".to_owned(), [out, no, no, yes, yes]),
        ("/payment_requests?account=99".to_owned(), [out, no, no, no, "account_not_found"]),
    ] {
        for (who, expected) in everybody.iter().zip(answers) {
            let read = app.ask(who.as_deref(), "GET", &path, None).await;
            assert_eq!(read.json["code"].as_str().unwrap_or_default(), expected, "{path}");
        }
    }
    for (how, answers) in
        [("decline", [out, unseen, yes, no, yes]), ("cancel", [out, unseen, no, yes, yes])]
    {
        for (who, expected) in everybody.iter().zip(answers) {
            let path = format!("/payment_requests/{}/{how}", id_of(&open().await));
            let closed = app.ask(who.as_deref(), "POST", &path, None).await;
            let code = closed.json["code"].as_str().unwrap_or_default();
            assert_eq!(code, expected, "{how}: {}", closed.text);
        }
    }
}

#[tokio::test]
async fn a_request_is_paid_by_the_one_who_is_asked() {
    let app = App::start_with_tokens(3).await;
    let send = async |who: &str, body: &Value| {
        app.ask(Some(who), "PUT", "/send_payment", Some(body)).await
    };
    let body = request_for_money(1, 2, 5);
    let request = app.ask(Some(&owner_of(2)), "POST", "/payment_requests", Some(&body)).await.json;
    send(&owner_of(2), &payment_of(&request)).await.assert_problem(403, "forbidden");
    send(&owner_of(3), &payment_of(&request)).await.assert_problem(403, "forbidden");
    // A stranger who pays out of his own pocket does not learn what others are asked for.
    let mut strangers = payment_of(&request);
    strangers["from"] = json!(3);
    send(&owner_of(3), &strangers).await.assert_problem(404, "payment_request_not_found");
    send(&owner_of(1), &payment_of(&request)).await.assert_paid();
    app.database.assert_sound();
}

#[tokio::test]
async fn asking_waits_for_no_row_longer_than_the_requests_time() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "1000")]).await;
    app.open_many(3, 1_000).await;
    let request = app.ask_for_money(1, 2, 10).await;
    let outside = app.database.lock_accounts("1").await;
    let body = request_for_money(1, 2, 10);
    let (asked, declined, other) = tokio::join!(
        app.post("/payment_requests", &body),
        app.close(&request, "decline"),
        app.ask_for_money(2, 3, 10)
    );
    asked.assert_problem(503, "account_busy");
    declined.assert_problem(503, "account_busy");
    assert_eq!(other["status"], "open");
    outside.release().await;
    app.send_payment(&payment_of(&request)).await.assert_paid();
    app.send_payment(&payment(1, 3, 1, "last")).await.assert_paid();
    assert_eq!(app.database.count("SELECT count(*) FROM payment_requests").await, 2);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_page_of_open_requests_passes_over_expired_ones_in_bounded_steps() {
    let app = start().await;
    let open = app.ask_for_money(1, 2, 10).await;
    let expired = "INSERT INTO payment_requests (id, from_id, to_id, amount, status, created_at,
                                                 expires_at)
                   SELECT gen_random_uuid(), 1, 2, 1, 'open',
                          clock_timestamp() + n * interval '1 us', clock_timestamp()
                   FROM generate_series(1, 3000) AS n";
    app.database.execute(expired).await;
    let mut path = "/payment_requests?account=1&status=open".to_owned();
    let mut pages = Vec::new();
    loop {
        let page = app.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        pages.push(page.json.as_array().unwrap().clone());
        let Some(next) = page.next_link() else { break };
        path = next;
    }
    assert!((2..10).contains(&pages.len()), "{}", pages.len());
    let found: Vec<_> = pages.into_iter().flatten().collect();
    assert_eq!(found, [open]);
    assert_eq!(app.get("/payment_requests?account=1&status=expired").await.json[9]["amount"], 1);
}
