//! Did it go through, and can it still be stopped? A key's outcome, and its definite end.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    A_WRITER_WAITS, Answer, App, at_once, id_of, operator, owner_of, payment, rivals, rounds,
};

const VOIDED: &str = "{\"voided\":true}";

/// What the void of a key that has paid is answered with.
fn paid_already(receipt: &str) -> String {
    format!("{{\"voided\":false,\"payment\":{receipt}}}")
}

async fn start() -> App {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    app
}

#[tokio::test]
async fn a_voided_key_never_pays() {
    let app = start().await;
    let voided = app.void(1, "k").await;
    assert_eq!((voided.status, &*voided.text), (200, VOIDED));
    for body in [payment(1, 2, 10, "k"), payment(1, 3, 99, "k")] {
        let refused = app.send_payment(&body).await;
        refused.assert_problem(422, "idempotency_key_voided");
        assert_eq!(refused.json["retryable"], false);
    }
    let again = app.void(1, "k").await;
    assert_eq!((again.status, &*again.text), (200, VOIDED));
    app.pay(1, 2, 10, "another").await.assert_paid();
    app.pay(2, 1, 10, "k").await.assert_paid();
    assert_eq!(app.database.payments().await, 2);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_key_that_has_paid_is_not_voided_and_its_receipt_is_given_again() {
    let [app, other] = App::start_two().await;
    app.open_many(2, 1_000).await;
    let mut body = payment(1, 2, 10, "k");
    body["note"] = json!("Döner {\"a\": 1}");
    let paid = app.send_payment(&body).await;
    for asked in [app.void(1, "k").await, other.void(1, "k").await] {
        assert_eq!((asked.status, asked.text), (200, paid_already(&paid.text)));
    }
    assert!(app.send_payment(&body).await.is_replay());
    app.database.assert_sound();
}

#[tokio::test]
async fn a_key_whose_payment_failed_can_be_voided() {
    let app = start().await;
    app.pay(1, 2, 5_000, "k").await.assert_problem(422, "insufficient_funds");
    assert_eq!(app.void(1, "k").await.text, VOIDED);
    app.pay(0, 1, 5_000, "help").await.assert_paid();
    app.pay(1, 2, 5_000, "k").await.assert_problem(422, "idempotency_key_voided");
    app.database.assert_sound();
}

#[tokio::test]
async fn a_voided_key_is_refused_also_to_a_payee_who_does_not_exist() {
    let app = start().await;
    app.void(1, "k").await;
    app.pay(1, 99, 10, "k").await.assert_problem(422, "idempotency_key_voided");
}

#[tokio::test]
async fn the_key_to_void_may_come_in_the_header_and_has_to_come() {
    let app = start().await;
    let void = |body: Value, header: Option<&'static str>| {
        let request = app.request("PUT", "/voided_keys").json(&body);
        Answer::of(match header {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        })
    };
    assert_eq!(void(json!({"from": 1}), Some("bare")).await.text, VOIDED);
    assert_eq!(void(json!({"from": 1}), Some("\"quoted\"")).await.text, VOIDED);
    assert_eq!(void(json!({"from": 1, "idempotency_key": "k"}), Some("k")).await.text, VOIDED);
    for key in ["bare", "quoted", "k"] {
        app.pay(1, 2, 1, key).await.assert_problem(422, "idempotency_key_voided");
    }
    void(json!({"from": 1}), None).await.assert_problem(400, "idempotency_key_missing");
    let none = json!({"from": 1, "idempotency_key": null});
    void(none, None).await.assert_problem(400, "idempotency_key_missing");
    let other = json!({"from": 1, "idempotency_key": "other"});
    void(other, Some("k")).await.assert_problem(400, "invalid_request");
}

#[tokio::test]
async fn a_malformed_void_settles_nothing() {
    let app = start().await;
    let before = app.database.count("SELECT count(*) FROM idempotency_keys").await;
    let long = "k".repeat(256);
    for (body, status, code) in [
        (json!({"idempotency_key": "k"}), 400, "invalid_request"),
        (json!({"from": null, "idempotency_key": "k"}), 400, "invalid_request"),
        (json!({"from": "1", "idempotency_key": "k"}), 400, "invalid_request"),
        (json!({"from": -1, "idempotency_key": "k"}), 400, "invalid_request"),
        (json!({"from": 1.5, "idempotency_key": "k"}), 400, "invalid_request"),
        (json!({"from": 1, "idempotency_key": ""}), 400, "invalid_request"),
        (json!({"from": 1, "idempotency_key": "two words"}), 400, "invalid_request"),
        (json!({"from": 1, "idempotency_key": 7}), 400, "invalid_request"),
        (json!({"from": 1, "idempotency_key": long}), 400, "invalid_request"),
        (json!({"from": 1, "idempotency_key": "k", "amount": 5}), 400, "invalid_request"),
        (json!([1, "k"]), 400, "invalid_request"),
        (json!({"from": 99, "idempotency_key": "k"}), 404, "account_not_found"),
    ] {
        let refused = Answer::of(app.request("PUT", "/voided_keys").json(&body)).await;
        assert_eq!(refused.json["code"], code, "{body}: {}", refused.text);
        refused.assert_problem(status, code);
    }
    assert_eq!(app.database.count("SELECT count(*) FROM idempotency_keys").await, before);
}

#[tokio::test]
async fn the_outcome_of_a_key_is_its_payment_or_none_so_far() {
    let app = start().await;
    app.outcome(1, "k").await.assert_problem(404, "payment_not_found");
    let paid = app.pay(1, 2, 10, "k").await;
    let by_id = app.get(&format!("/payments/{}", id_of(&paid.json))).await;
    let outcome = app.outcome(1, "k").await;
    assert_eq!((outcome.status, outcome.text), (200, by_id.text));
    app.outcome(2, "k").await.assert_problem(404, "payment_not_found");
    app.pay(1, 2, 5_000, "failed").await.assert_problem(422, "insufficient_funds");
    app.outcome(1, "failed").await.assert_problem(404, "payment_not_found");
    app.void(1, "voided").await;
    app.outcome(1, "voided").await.assert_problem(404, "payment_not_found");
    // The characters of a key that mean something in a query.
    let paid = app.pay(1, 2, 10, "a&b=c%d+e").await;
    paid.assert_paid();
    let outcome = app.outcome(1, "a%26b%3Dc%25d%2Be").await;
    assert_eq!(outcome.json["id"], paid.json["id"]);
    assert_eq!(
        Answer::of(app.request("HEAD", "/payments?from=1&idempotency_key=k")).await.status,
        200
    );
}

#[tokio::test]
async fn an_outcome_is_asked_for_by_payer_and_key() {
    let app = start().await;
    for query in [
        "",
        "?from=1",
        "?idempotency_key=k",
        "?from=x&idempotency_key=k",
        "?from=-1&idempotency_key=k",
        "?from=1&idempotency_key=",
        "?from=1&idempotency_key=two%20words",
        "?from=1&idempotency_key=k&limit=1",
    ] {
        app.get(&format!("/payments{query}")).await.assert_problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn of_a_payment_and_its_void_exactly_one_wins_and_both_are_told_the_truth() {
    let apps = App::start_two().await;
    apps[0].open_many(6, 100_000).await;
    let won = rounds(400, async |n| {
        let (one, two) = rivals(&apps, n);
        let payer = 1 + i64::try_from(n % 3).unwrap();
        let key = format!("k{n}");
        let (paid, voided) =
            at_once(n, one.pay(payer, payer + 3, 7, &key), two.void(payer, &key)).await;
        if voided.text == VOIDED {
            paid.assert_problem(422, "idempotency_key_voided");
            one.outcome(payer, &key).await.assert_problem(404, "payment_not_found");
        } else {
            paid.assert_paid();
            assert_eq!(voided.text, paid_already(&paid.text));
            assert_eq!(two.outcome(payer, &key).await.json["id"], paid.json["id"]);
        }
        // For ever.
        let (again, settled) =
            at_once(n, two.pay(payer, payer + 3, 7, &key), one.void(payer, &key)).await;
        assert_eq!((again.status, settled.text), (paid.status, voided.text));
        paid.status == 200
    })
    .await;
    let payments = won.iter().filter(|paid| **paid).count();
    assert_eq!(usize::try_from(apps[0].database.payments().await), Ok(payments));
    assert!((1..400).contains(&payments), "no race: {payments} were paid");
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn a_service_killed_among_payments_and_voids_has_told_everybody_the_truth() {
    let mut app = App::start().await;
    app.open_many(2, 100_000).await;
    let database = app.database.clone();
    let mut told: Vec<(usize, Answer)> = Vec::new();
    for round in 1..=3 {
        let mut sending = Vec::new();
        for n in 0..200_usize {
            let (key, body) = (format!("k{n}"), payment(1, 2, 1, &format!("k{n}")));
            let pay = app.request("PUT", "/send_payment").json(&body);
            let void = json!({"from": 1, "idempotency_key": key});
            let void = app.request("PUT", "/voided_keys").json(&void);
            let (first, second) = if n % 2 == 0 { (pay, void) } else { (void, pay) };
            sending.push((n, tokio::spawn(Answer::try_of(first))));
            sending.push((n, tokio::spawn(Answer::try_of(second))));
        }
        let some =
            format!("SELECT count(*) > {} FROM idempotency_keys WHERE user_id = 1", round * 45);
        database.until(&some).await;
        app.kill();
        for (n, answer) in sending {
            if let Ok(answer) = answer.await.unwrap() {
                told.push((n, answer));
            }
        }
        database.assert_sound();
        app = App::start_on(&database, &[]);
    }
    assert!(!told.is_empty());
    let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
    let settled = join_all(keys.iter().map(|key| app.void(1, key))).await;
    for (n, answer) in &told {
        let was_paid = settled[*n].json["voided"] == false;
        let told_of_payment = if answer.json["voided"].is_boolean() {
            answer.json["voided"] == false
        } else {
            answer.status == 200
        };
        assert!([200, 422].contains(&answer.status), "{}", answer.text);
        assert_eq!(told_of_payment, was_paid, "k{n}: {} and {}", answer.text, settled[*n].text);
    }
    database.assert_sound();
}

#[tokio::test]
async fn a_key_that_another_request_holds_is_neither_voided_nor_paid() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "300")]).await;
    app.open_many(2, 1_000).await;
    let held =
        "INSERT INTO idempotency_keys (user_id, key, status) VALUES (1, 'held', 'in_progress')";
    app.database.execute(held).await;
    app.void(1, "held").await.assert_problem(409, "request_in_progress");
    app.database.execute("DELETE FROM idempotency_keys WHERE key = 'held'").await;
    assert_eq!(app.void(1, "held").await.text, VOIDED);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_void_waits_for_its_payers_row_and_is_not_done_when_it_waited_in_vain() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "1000")]).await;
    app.open_many(3, 1_000).await;
    let outside = app.database.lock_accounts("1").await;
    let voiding = app.void(1, "k");
    let others = async {
        app.database.until(A_WRITER_WAITS).await;
        assert_eq!(app.void(2, "k").await.text, VOIDED);
    };
    let (busy, ()) = tokio::join!(voiding, others);
    busy.assert_problem(503, "account_busy");
    outside.release().await;
    app.pay(1, 3, 10, "k").await.assert_paid();
    app.database.assert_sound();
}

#[tokio::test]
async fn keys_are_the_payers_and_the_operators_to_ask_for_and_to_void() {
    let app = App::start_with_tokens(2).await;
    let pay = payment(1, 2, 10, "paid");
    app.ask(Some(&owner_of(1)), "PUT", "/send_payment", Some(&pay)).await.assert_paid();
    let body = json!({"from": 1, "idempotency_key": "paid"});
    let outcome = "/payments?from=1&idempotency_key=paid";
    for (who, status, balance) in [
        (None, 401, Value::Null),
        (Some(owner_of(2)), 403, Value::Null),
        (Some(owner_of(1)), 200, json!(990)),
        (Some(operator()), 200, Value::Null),
    ] {
        let read = app.ask(who.as_deref(), "GET", outcome, None).await;
        assert_eq!((read.status, &read.json["balance_after"]), (status, &balance), "{}", read.text);
        let voided = app.ask(who.as_deref(), "PUT", "/voided_keys", Some(&body)).await;
        assert_eq!(voided.status, status, "{}", voided.text);
    }
    // Whether there is such an account, or such a key, is told to nobody else.
    let me = owner_of(2);
    let refused = app.ask(Some(&me), "GET", outcome, None).await;
    for path in ["/payments?from=1&idempotency_key=none", "/payments?from=99&idempotency_key=k"] {
        assert_eq!(app.ask(Some(&me), "GET", path, None).await.text, refused.text);
    }
    app.database.assert_sound();
}
