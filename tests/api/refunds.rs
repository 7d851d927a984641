//! Money is given back: payee to payer, in parts if he likes, and never more than was paid.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    Answer, App, id_of, operator, owner_of, payment, payment_of, refund, rivals, rounds,
};

/// Accounts 1 to 3, and a payment of 500 cents from 1 to 2.
async fn start_with_payment() -> (App, Value) {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    let paid = app.pay(1, 2, 500, "paid").await;
    paid.assert_paid();
    (app, paid.json)
}

#[tokio::test]
async fn a_refund_moves_money_back_and_says_of_which_payment() {
    let (app, paid) = start_with_payment().await;
    let back = app.send_payment(&refund(&paid, 200, "back")).await;
    back.assert_paid();
    assert_eq!(back.json["refund_of"], paid["id"]);
    assert!(
        back.text.ends_with(&format!(",\"refund_of\":\"{}\"}}", id_of(&paid))),
        "{}",
        back.text
    );
    assert_eq!((app.balance(1).await, app.balance(2).await), (700, 1_300));
    for account in [1, 2] {
        assert_eq!(app.history(account).await[0]["refund_of"], paid["id"]);
    }
    let read = app.get(&format!("/payments/{}", id_of(&back.json))).await;
    assert_eq!((&read.json["refund_of"], read.json.get("refunded")), (&paid["id"], None));
    app.database.assert_sound();
}

#[tokio::test]
async fn a_payment_says_how_much_of_it_was_given_back() {
    let (app, paid) = start_with_payment().await;
    let path = format!("/payments/{}", id_of(&paid));
    assert_eq!(app.get(&path).await.json.get("refunded"), None);
    for (part, so_far) in [(200, 200), (1, 201), (299, 500)] {
        app.send_payment(&refund(&paid, part, &format!("part-{part}"))).await.assert_paid();
        assert_eq!(app.get(&path).await.json["refunded"], so_far);
        assert_eq!(app.outcome(1, "paid").await.json["refunded"], so_far);
    }
    // Where many are listed it is left out, and so it is in what is stored.
    assert!(app.history(1).await.iter().all(|it| it.get("refunded").is_none()));
    assert_eq!(app.pay(1, 2, 500, "paid").await.json, paid);
    app.database.assert_sound();
}

#[tokio::test]
async fn what_would_exceed_the_payment_is_refused_with_what_is_left() {
    let (app, paid) = start_with_payment().await;
    let too_much = app.send_payment(&refund(&paid, 501, "whole")).await;
    too_much.assert_problem(422, "refund_exceeds_payment");
    assert!(too_much.json["detail"].as_str().unwrap().contains("500"), "{}", too_much.text);
    assert_eq!(too_much.json["retryable"], false);
    app.send_payment(&refund(&paid, 377, "most")).await.assert_paid();
    let too_much = app.send_payment(&refund(&paid, 124, "rest")).await;
    too_much.assert_problem(422, "refund_exceeds_payment");
    assert!(too_much.json["detail"].as_str().unwrap().contains("123"), "{}", too_much.text);
    // A refusal leaves the key free.
    app.send_payment(&refund(&paid, 123, "rest")).await.assert_paid();
    let nothing_left = app.send_payment(&refund(&paid, 1, "more")).await;
    nothing_left.assert_problem(422, "refund_exceeds_payment");
    assert_eq!((app.balance(1).await, app.balance(2).await), (1_000, 1_000));
    app.database.assert_sound();
}

#[tokio::test]
async fn what_cannot_be_given_back_is_told_apart_from_what_is_not_there() {
    let (app, paid) = start_with_payment().await;
    let back = app.send_payment(&refund(&paid, 100, "back")).await;
    back.assert_paid();
    let opening = app.history(1).await.pop().unwrap();
    assert_eq!(opening["from_id"], 0);
    let made_up = json!("0fc38bf5-9597-86f0-b04b-6ef81d0f62fc");
    let before = app.database.count("SELECT count(*) FROM idempotency_keys").await;
    for (what, from, to, of, status, code) in [
        ("a refund", 1, 2, &back.json["id"], 422, "not_refundable"),
        ("an opening balance", 1, 0, &opening["id"], 422, "not_refundable"),
        ("one's own payment", 1, 2, &paid["id"], 422, "not_refundable"),
        ("to somebody else", 2, 3, &paid["id"], 422, "not_refundable"),
        ("of others", 3, 1, &paid["id"], 404, "payment_not_found"),
        ("of others, to others", 3, 2, &paid["id"], 404, "payment_not_found"),
        ("of no payment", 2, 1, &made_up, 404, "payment_not_found"),
    ] {
        let mut body = payment(from, to, 1, "wrong");
        body["refund_of"] = of.clone();
        let refused = app.send_payment(&body).await;
        assert_eq!(refused.json["code"], code, "{what}: {}", refused.text);
        refused.assert_problem(status, code);
    }
    assert_eq!(app.database.count("SELECT count(*) FROM idempotency_keys").await, before);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_payment_of_the_banks_that_opened_no_account_can_be_given_back() {
    let (app, _) = start_with_payment().await;
    let granted = app.pay(0, 1, 70, "bonus").await;
    app.send_payment(&refund(&granted.json, 70, "back")).await.assert_paid();
    assert_eq!(app.balance(1).await, 500);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_payment_that_paid_a_request_can_be_given_back() {
    let (app, _) = start_with_payment().await;
    let request = app.ask_for_money(1, 3, 40).await;
    let paid = app.send_payment(&payment_of(&request)).await;
    paid.assert_paid();
    app.send_payment(&refund(&paid.json, 40, "back")).await.assert_paid();
    // The request stays paid: it is not asked for twice.
    assert_eq!(app.request_now(&request).await["status"], "paid");
    app.database.assert_sound();
}

#[tokio::test]
async fn a_refund_is_of_one_payment_under_its_key() {
    let (app, paid) = start_with_payment().await;
    let other = app.pay(1, 2, 30, "other").await.json;
    let first = app.send_payment(&refund(&paid, 20, "back")).await;
    let again = app.send_payment(&refund(&paid, 20, "back")).await;
    assert_eq!(again.text, first.text);
    assert!(again.is_replay() && !first.is_replay());
    for reused in [refund(&other, 20, "back"), refund(&paid, 21, "back"), payment(2, 1, 20, "back")]
    {
        app.send_payment(&reused).await.assert_problem(422, "idempotency_key_reused");
    }
    // An ordinary payment's key is no refund's.
    app.pay(2, 1, 5, "plain").await.assert_paid();
    app.send_payment(&refund(&paid, 5, "plain"))
        .await
        .assert_problem(422, "idempotency_key_reused");
    assert_eq!(app.get(&format!("/payments/{}", id_of(&paid))).await.json["refunded"], 20);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_refund_of_money_that_was_spent_can_be_made_later() {
    let (app, paid) = start_with_payment().await;
    app.pay(2, 3, 1_500, "spent").await.assert_paid();
    let body = refund(&paid, 500, "back");
    app.send_payment(&body).await.assert_problem(422, "insufficient_funds");
    app.pay(3, 2, 500, "earned").await.assert_paid();
    let back = app.send_payment(&body).await;
    back.assert_paid();
    assert!(!back.is_replay());
    app.database.assert_sound();
}

#[tokio::test]
async fn a_refund_pays_no_request_and_names_its_payment_by_its_id() {
    let (app, paid) = start_with_payment().await;
    let request = app.ask_for_money(2, 1, 20).await;
    let mut both = refund(&paid, 20, "both");
    both["payment_request_id"] = request["id"].clone();
    app.send_payment(&both).await.assert_problem(400, "invalid_request");
    for malformed in [json!(7), json!(""), json!("paid"), json!([paid["id"]]), json!(true)] {
        let mut body = refund(&paid, 20, "malformed");
        body["refund_of"] = malformed;
        app.send_payment(&body).await.assert_problem(400, "invalid_request");
    }
    let mut of_nothing = payment(2, 1, 20, "of-nothing");
    of_nothing["refund_of"] = Value::Null;
    let ordinary = app.send_payment(&of_nothing).await;
    ordinary.assert_paid();
    assert_eq!(ordinary.json.get("refund_of"), None);
    assert_eq!(app.database.payments().await, 2);
    app.database.assert_sound();
}

#[tokio::test]
async fn an_ordinary_payment_writes_nothing_of_all_this() {
    let (app, paid) = start_with_payment().await;
    let written =
        "SELECT count(*) FROM payments WHERE refund_of IS NOT NULL OR refunded_after IS NOT NULL
                   OR payment_request_id IS NOT NULL OR asked_by IS NOT NULL";
    assert_eq!(app.database.count(written).await, 0);
    let partial = "SELECT count(*) FROM pg_index WHERE indrelid = 'payments'::regclass
                   AND indexrelid::regclass::text IN ('payments_refunds', 'payments_of_requests')
                   AND indpred IS NOT NULL AND indisvalid";
    assert_eq!(app.database.count(partial).await, 2, "indexes in which it has no entry");
    app.send_payment(&refund(&paid, 1, "back")).await.assert_paid();
    assert_eq!(app.database.count(written).await, 1);
}

#[tokio::test]
async fn however_many_refunds_at_once_a_payment_is_never_exceeded() {
    let apps = App::start_two().await;
    apps[0].open_many(6, 100_000).await;
    let made = rounds(150, async |n| {
        let n_id = i64::try_from(n).unwrap();
        let paid = apps[n % 2].pay(1 + n_id % 3, 4 + n_id % 3, 100, &format!("paid-{n}")).await;
        paid.assert_paid();
        let bodies: Vec<Value> =
            (0..6).map(|part| refund(&paid.json, 30, &format!("{n}-{part}"))).collect();
        let sent = bodies.iter().enumerate().map(|(i, body)| apps[i % 2].send_payment(body));
        let answers = join_all(sent).await;
        let refused = answers.iter().filter(|answer| answer.status != 200);
        refused.for_each(|answer| answer.assert_problem(422, "refund_exceeds_payment"));
        let read = apps[n % 2].get(&format!("/payments/{}", id_of(&paid.json))).await;
        assert_eq!(read.json["refunded"], 90);
        answers.iter().filter(|answer| answer.status == 200).count()
    });
    assert_eq!(made.await, [3; 150]);
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn a_refund_that_is_sent_many_times_at_once_is_made_once() {
    let apps = App::start_two().await;
    apps[0].open_many(2, 100_000).await;
    rounds(100, async |n| {
        let paid = apps[n % 2].pay(1, 2, 100, &format!("paid-{n}")).await;
        let body = refund(&paid.json, 60, &format!("back-{n}"));
        let (one, two) = rivals(&apps, n);
        let answers = join_all([one, two, two, one].map(|app| app.send_payment(&body))).await;
        answers.iter().for_each(Answer::assert_paid);
        let texts: HashSet<&str> = answers.iter().map(|answer| &*answer.text).collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert_eq!(answers.iter().filter(|answer| !answer.is_replay()).count(), 1);
    })
    .await;
    assert_eq!(apps[0].balance(1).await, 100_000 - 100 * 40);
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn a_service_killed_among_refunds_gives_back_nothing_twice() {
    let mut app = App::start().await;
    app.open_many(4, 100_000).await;
    let database = app.database.clone();
    let mut bodies = Vec::new();
    for n in 0..60 {
        let paid = app.pay(1 + n % 2, 3 + n % 2, 100, &format!("paid-{n}")).await;
        paid.assert_paid();
        bodies.extend((0..5).map(|part| refund(&paid.json, 30, &format!("{n}-{part}"))));
    }
    for round in 1..=3 {
        let sent = bodies.iter().map(|body| app.request("PUT", "/send_payment").json(body));
        let sending: Vec<_> = sent.map(|request| tokio::spawn(Answer::try_of(request))).collect();
        let some =
            format!("SELECT count(*) > {} FROM payments WHERE refund_of IS NOT NULL", round * 40);
        database.until(&some).await;
        app.kill();
        join_all(sending).await;
        database.assert_sound();
        app = App::start_on(&database, &[]);
    }
    let answers = join_all(bodies.iter().map(|body| app.send_payment(body))).await;
    let refused = answers.iter().filter(|answer| answer.status != 200);
    refused.for_each(|answer| answer.assert_problem(422, "refund_exceeds_payment"));
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 180);
    let given_back = "SELECT sum(amount)::bigint FROM payments WHERE refund_of IS NOT NULL";
    assert_eq!(database.count(given_back).await, 60 * 90);
    database.assert_sound();
}

#[tokio::test]
async fn the_payee_and_operators_give_back_and_nobody_else() {
    let app = App::start_with_tokens(3).await;
    let send = async |who: &str, body: &Value| {
        app.ask(Some(who), "PUT", "/send_payment", Some(body)).await
    };
    let paid = send(&owner_of(1), &payment(1, 2, 500, "paid")).await.json;
    let body = refund(&paid, 10, "back");
    send(&owner_of(1), &body).await.assert_problem(403, "forbidden");
    send(&owner_of(3), &body).await.assert_problem(403, "forbidden");
    app.send_payment(&body).await.assert_problem(401, "unauthenticated");
    // A stranger does not learn which payments there are.
    let mut of_others = payment(3, 1, 10, "of-others");
    of_others["refund_of"] = paid["id"].clone();
    let mut of_none = of_others.clone();
    of_none["refund_of"] = json!("0fc38bf5-9597-86f0-b04b-6ef81d0f62fc");
    let (of_others, of_none) =
        (send(&owner_of(3), &of_others).await, send(&owner_of(3), &of_none).await);
    of_others.assert_problem(404, "payment_not_found");
    of_none.assert_problem(404, "payment_not_found");
    send(&owner_of(2), &body).await.assert_paid();
    send(&operator(), &refund(&paid, 10, "back-2")).await.assert_paid();
    for who in [owner_of(1), owner_of(2), operator()] {
        let read = app.ask(Some(&who), "GET", &format!("/payments/{}", id_of(&paid)), None).await;
        assert_eq!(read.json["refunded"], 20);
    }
    app.database.assert_sound();
}
