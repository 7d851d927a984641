//! "You have just sent that": a warning that works on every device, because the ledger gives it.

use serde_json::{Value, json};

use crate::harness::{App, at_once, payment, payment_of, rivals, rounds};

/// A payment that is to be refused where there was one like it within so many seconds.
fn guarded(from: i64, to: i64, amount: i64, key: &str, seconds: i64) -> Value {
    let mut body = payment(from, to, amount, key);
    body["unless_similar_within_seconds"] = json!(seconds);
    body
}

async fn start() -> App {
    let app = App::start().await;
    app.open_many(4, 1_000_000).await;
    app
}

/// Lets everything that has happened be older, and forgets what was told of it.
async fn age(app: &App, seconds: u32) {
    let earlier = format!("interval '{seconds} s'");
    app.database
        .execute(&format!(
            "DELETE FROM idempotency_keys;
             UPDATE payments SET created_at = created_at - {earlier};
             UPDATE accounts SET last_payment_at = last_payment_at - {earlier}"
        ))
        .await;
}

#[tokio::test]
async fn the_same_again_under_another_key_is_refused_and_the_first_is_named() {
    let app = start().await;
    let first = app.pay(1, 2, 500, "phone").await;
    let second = app.send_payment(&guarded(1, 2, 500, "laptop", 60)).await;
    second.assert_problem(409, "similar_payment");
    assert_eq!(second.json["id"], first.json["id"]);
    assert_eq!(second.json["created_at"], first.json["created_at"]);
    assert_eq!(second.json["retryable"], false);
    assert_eq!(app.balance(2).await, 1_000_500);
    // Who wants it all the same sends it so; the key is free.
    app.pay(1, 2, 500, "laptop").await.assert_paid();
    app.database.assert_sound();
}

#[tokio::test]
async fn the_newest_of_those_alike_is_named() {
    let app = start().await;
    for key in ["one", "two", "three"] {
        app.pay(1, 2, 5, key).await.assert_paid();
    }
    let refused = app.send_payment(&guarded(1, 2, 5, "four", 60)).await;
    assert_eq!(refused.json["id"], app.outcome(1, "three").await.json["id"]);
}

#[tokio::test]
async fn a_retry_is_no_second_payment() {
    let app = start().await;
    let body = guarded(1, 2, 500, "k", 60);
    let first = app.send_payment(&body).await;
    first.assert_paid();
    let second = app.send_payment(&body).await;
    assert_eq!(second.text, first.text);
    assert!(second.is_replay());
    // The warning is no part of what is asked for.
    assert!(app.pay(1, 2, 500, "k").await.is_replay());
    assert!(app.send_payment(&guarded(1, 2, 500, "k", 3_600)).await.is_replay());
    app.database.assert_sound();
}

#[tokio::test]
async fn only_payer_payee_and_amount_make_payments_alike() {
    let app = start().await;
    app.pay(1, 2, 500, "first").await.assert_paid();
    for (n, (from, to, amount)) in
        [(1, 2, 501), (1, 3, 500), (2, 1, 500), (3, 2, 500)].into_iter().enumerate()
    {
        let body = guarded(from, to, amount, &format!("other-{n}"), 3_600);
        app.send_payment(&body).await.assert_paid();
    }
    let mut body = guarded(1, 2, 500, "k", 3_600);
    body["note"] = json!("another note");
    app.send_payment(&body).await.assert_problem(409, "similar_payment");
    app.database.assert_sound();
}

#[tokio::test]
async fn one_that_failed_is_no_payment() {
    let app = start().await;
    app.pay(1, 2, 2_000_000, "much").await.assert_problem(422, "insufficient_funds");
    app.pay(0, 1, 2_000_000, "help").await.assert_paid();
    app.send_payment(&guarded(1, 2, 2_000_000, "k", 60)).await.assert_paid();
}

#[tokio::test]
async fn what_is_longer_ago_is_not_alike() {
    let app = start().await;
    app.pay(1, 2, 500, "first").await.assert_paid();
    age(&app, 61).await;
    app.send_payment(&guarded(1, 2, 500, "hour", 3_600))
        .await
        .assert_problem(409, "similar_payment");
    app.send_payment(&guarded(1, 2, 500, "minute", 60)).await.assert_paid();
    app.database.assert_sound();
}

#[tokio::test]
async fn without_the_warning_two_alike_are_both_made() {
    let app = start().await;
    app.send_payment(&guarded(1, 2, 500, "one", 60)).await.assert_paid();
    app.pay(1, 2, 500, "two").await.assert_paid();
    let mut none = payment(1, 2, 500, "three");
    none["unless_similar_within_seconds"] = Value::Null;
    app.send_payment(&none).await.assert_paid();
    assert_eq!(app.balance(2).await, 1_001_500);
}

#[tokio::test]
async fn the_time_is_from_one_second_to_an_hour() {
    let app = start().await;
    for (n, seconds) in [json!(1), json!(3_600)].into_iter().enumerate() {
        let mut body = payment(1, 2, 10 + i64::try_from(n).unwrap(), &format!("k{n}"));
        body["unless_similar_within_seconds"] = seconds;
        app.send_payment(&body).await.assert_paid();
    }
    for wrong in
        [json!(0), json!(3_601), json!(-1), json!(1.5), json!("60"), json!(true), json!([])]
    {
        let mut body = payment(1, 2, 99, "wrong");
        body["unless_similar_within_seconds"] = wrong;
        app.send_payment(&body).await.assert_problem(400, "invalid_request");
    }
    assert_eq!(app.database.payments().await, 2);
}

#[tokio::test]
async fn a_payment_of_a_request_can_be_warned_of_too() {
    let app = start().await;
    let request = app.ask_for_money(1, 2, 500).await;
    app.pay(1, 2, 500, "by-hand").await.assert_paid();
    let mut body = payment_of(&request);
    body["unless_similar_within_seconds"] = json!(60);
    app.send_payment(&body).await.assert_problem(409, "similar_payment");
    assert_eq!(app.request_now(&request).await["status"], "open");
    app.send_payment(&payment_of(&request)).await.assert_paid();
    // Now it was paid, and the answer is that payment.
    assert!(app.send_payment(&body).await.is_replay());
    app.database.assert_sound();
}

#[tokio::test]
async fn of_two_alike_at_once_one_is_made() {
    let apps = App::start_two().await;
    apps[0].open_many(4, 1_000_000).await;
    let made = rounds(300, async |n| {
        let (one, two) = rivals(&apps, n);
        let (from, amount) = (1 + i64::try_from(n % 2).unwrap(), 1 + i64::try_from(n).unwrap());
        let bodies = ["a", "b"]
            .map(|device| guarded(from, from + 2, amount, &format!("{device}{n}"), 3_600));
        let (a, b) = at_once(n, one.send_payment(&bodies[0]), two.send_payment(&bodies[1])).await;
        let (paid, refused) = if a.status == 200 { (a, b) } else { (b, a) };
        paid.assert_paid();
        refused.assert_problem(409, "similar_payment");
        assert_eq!(refused.json["id"], paid.json["id"]);
    });
    made.await;
    assert_eq!(apps[0].database.payments().await, 300);
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn of_two_alike_in_one_message_one_is_made() {
    let app = App::start_with(&[("PAYONCE_WRITER__COUNT", "1")]).await;
    app.open_many(2, 1_000).await;
    let bodies: Vec<Value> = (0..20).map(|n| guarded(1, 2, 5, &format!("k{n}"), 60)).collect();
    let answer = app.send_payments(&bodies).await;
    let results = answer.json.as_array().unwrap();
    assert_eq!(results.iter().filter(|it| it["status"] == 200).count(), 1, "{}", answer.text);
    let refused = results.iter().filter(|it| it["status"] != 200);
    refused.for_each(|it| assert_eq!(it["problem"]["code"], "similar_payment"));
    app.database.assert_sound();
}

/// Makes so many payments, a hundred at a time.
async fn make_many(app: &App, from: i64, to: i64, count: usize) {
    let bodies: Vec<Value> =
        (0..count).map(|n| payment(from, to, 1, &format!("{from}-{to}-{n}"))).collect();
    for hundred in bodies.chunks(100) {
        let answer = app.send_payments(hundred).await;
        assert!(answer.json.as_array().unwrap().iter().all(|it| it["status"] == 200));
    }
}

#[tokio::test]
async fn one_alike_is_found_behind_a_thousand_others_of_one_of_the_two() {
    for (from, to) in [(1, 3), (3, 2)] {
        let app = start().await;
        app.pay(1, 2, 500, "first").await.assert_paid();
        make_many(&app, from, to, 1_050).await;
        let refused = app.send_payment(&guarded(1, 2, 500, "k", 3_600)).await;
        refused.assert_problem(409, "similar_payment");
    }
}
