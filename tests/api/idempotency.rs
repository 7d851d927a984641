//! A retry, a double click, a crash or a cut wire never pays twice.

use std::collections::HashSet;
use std::fmt::Write;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, App, Database, payment};

#[tokio::test]
async fn a_retry_gets_the_very_same_bytes_and_says_so() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let body = json!({"from": 1, "to": 2, "amount": 500, "created_at": "2026-11-22T12:00:00Z",
                      "idempotency_key": "abc123", "note": "Döner {\"a\": 1} \u{1F959}"});
    let first = app.send_payment(&body).await;
    let second = app.send_payment(&body).await;
    first.assert_paid();
    second.assert_paid();
    assert_eq!(first.text, second.text);
    assert!(!first.is_replay());
    assert!(second.is_replay());
    assert_eq!(app.balance(1).await, 500);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_retry_at_another_process_is_a_replay() {
    let [one, two] = App::start_two().await;
    one.open_many(2, 1_000).await;
    let first = one.pay(1, 2, 100, "k").await;
    let second = two.pay(1, 2, 100, "k").await;
    assert_eq!(first.text, second.text);
    assert!(second.is_replay());
    assert_eq!(two.balance(2).await, 1_100);
}

#[tokio::test]
async fn a_retry_may_bring_a_new_client_time() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let mut body = payment(1, 2, 100, "k");
    body["created_at"] = json!("2026-11-22T12:00:00Z");
    let first = app.send_payment(&body).await;
    body["created_at"] = json!(1_800_000_000_123_u64);
    let second = app.send_payment(&body).await;
    assert_eq!(first.text, second.text);
    assert!(second.is_replay());
}

#[tokio::test]
async fn a_key_is_refused_for_a_payment_that_asks_for_something_else() {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    let original =
        json!({"from": 1, "to": 2, "amount": 100, "note": "rent", "idempotency_key": "k"});
    app.send_payment(&original).await.assert_paid();
    for (field, value) in
        [("to", json!(3)), ("amount", json!(101)), ("note", json!("Rent")), ("note", json!(null))]
    {
        let mut other = original.clone();
        other[field] = value;
        app.send_payment(&other).await.assert_problem(422, "idempotency_key_reused");
    }
    // Even to a payee who does not exist: the key comes first.
    let mut other = original.clone();
    other["to"] = json!(99);
    app.send_payment(&other).await.assert_problem(422, "idempotency_key_reused");
    assert_eq!(app.database.payments().await, 1);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_key_that_failed_is_refused_for_a_payment_that_asks_for_something_else() {
    let app = App::start().await;
    app.open_many(2, 100).await;
    app.pay(1, 2, 101, "k").await.assert_problem(422, "insufficient_funds");
    app.pay(1, 2, 50, "k").await.assert_problem(422, "idempotency_key_reused");
    assert_eq!(app.database.payments().await, 0);
}

#[tokio::test]
async fn two_payers_may_use_the_same_key() {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    let one = app.pay(1, 3, 10, "same").await;
    let two = app.pay(2, 3, 10, "same").await;
    one.assert_paid();
    two.assert_paid();
    assert!(!two.is_replay());
    assert_ne!(one.json["id"], two.json["id"]);
    assert_eq!(app.balance(3).await, 1_020);
}

#[tokio::test]
async fn insufficient_funds_are_stored_and_the_same_key_can_succeed_later() {
    let app = App::start().await;
    app.open(1, 100).await;
    app.open(2, 1_000).await;
    for _ in 0..2 {
        app.pay(1, 2, 500, "later").await.assert_problem(422, "insufficient_funds");
    }
    let stored = "SELECT count(*) FROM idempotency_keys WHERE key = 'later' AND status = ";
    assert_eq!(app.database.count(&format!("{stored}'failed'")).await, 1);
    app.pay(2, 1, 400, "help").await.assert_paid();
    let paid = app.pay(1, 2, 500, "later").await;
    paid.assert_paid();
    assert!(!paid.is_replay());
    assert!(app.pay(1, 2, 500, "later").await.is_replay());
    assert_eq!(app.database.count(&format!("{stored}'success'")).await, 1);
    app.database.assert_sound();
}

#[tokio::test]
async fn what_is_never_stored_leaves_the_key_free() {
    let app = App::start().await;
    app.open(1, 1_000).await;
    app.pay(1, 2, 10, "k").await.assert_problem(404, "account_not_found");
    app.pay(1, 1, 10, "k").await.assert_problem(422, "same_account");
    app.pay(1, 2, 0, "k").await.assert_problem(422, "invalid_amount");
    assert_eq!(
        app.database.count("SELECT count(*) FROM idempotency_keys WHERE user_id = 1").await,
        0
    );
    app.open(2, 0).await;
    app.pay(1, 2, 20, "k").await.assert_paid();
}

#[tokio::test]
async fn a_key_holds_after_its_row_is_gone() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let mut body = payment(1, 2, 100, "old");
    body["note"] = json!("first \"quoted\" note");
    body["created_at"] = json!("2026-11-22T12:00:00.123456+01:00");
    let original = app.send_payment(&body).await;
    app.pay(1, 2, 5, "newer").await.assert_paid();
    app.database.execute("DELETE FROM idempotency_keys").await;
    let again = app.send_payment(&body).await;
    assert_eq!(again.text, original.text);
    assert!(again.is_replay());
    app.pay(1, 2, 101, "old").await.assert_problem(422, "idempotency_key_reused");
    assert_eq!(app.database.payments().await, 2);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_key_holds_after_its_row_is_gone_also_when_the_payment_could_not_be_made_again() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let original = app.pay(1, 2, 1_000, "all").await;
    app.database.execute("DELETE FROM idempotency_keys").await;
    // The money is gone, and yet this is not a case of insufficient funds.
    let again = app.pay(1, 2, 1_000, "all").await;
    assert_eq!(again.text, original.text);
    assert!(again.is_replay());
    app.pay(1, 99, 1_000, "all").await.assert_problem(422, "idempotency_key_reused");
    app.pay(1, 2, 2_000, "all").await.assert_problem(422, "idempotency_key_reused");
    app.database.assert_sound();
}

#[tokio::test]
async fn a_key_in_progress_for_something_else_is_refused_at_once() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let held = "INSERT INTO idempotency_keys (user_id, key, status, fingerprint)
                VALUES (1, 'held', 'in_progress', decode(repeat('00', 32), 'hex'))";
    app.database.execute(held).await;
    app.pay(1, 2, 10, "held").await.assert_problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn one_key_sent_fifty_times_to_two_processes_pays_once() {
    let apps = App::start_two().await;
    apps[0].open_many(2, 1_000).await;
    let body = payment(1, 2, 700, "storm");
    let answers = join_all((0..50).map(|i| apps[i % 2].send_payment(&body))).await;
    let texts: HashSet<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
    answers.iter().for_each(Answer::assert_paid);
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(answers.iter().filter(|answer| !answer.is_replay()).count(), 1);
    assert_eq!(apps[1].balance(1).await, 300);
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn one_key_for_two_different_payments_at_once_makes_one_of_them() {
    let apps = App::start_two().await;
    apps[0].open_many(3, 1_000).await;
    for round in 0..20 {
        let key = format!("either-{round}");
        let answers = join_all([apps[0].pay(1, 2, 1, &key), apps[1].pay(1, 3, 1, &key)]).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 422]);
    }
    assert_eq!(apps[0].database.payments().await, 20);
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn a_key_in_progress_elsewhere_is_waited_for() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let held =
        "INSERT INTO idempotency_keys (user_id, key, status) VALUES (1, 'held', 'in_progress')";
    app.database.execute(held).await;
    let body = payment(1, 2, 10, "held");
    let waiting = app.send_payment(&body);
    let freed = async {
        // Other payments of the same payer do not wait for it.
        app.pay(1, 2, 1, "other").await.assert_paid();
        app.database.execute("DELETE FROM idempotency_keys WHERE key = 'held'").await;
    };
    let (answer, ()) = tokio::join!(waiting, freed);
    answer.assert_paid();
    assert_eq!(app.database.payments().await, 2);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_key_in_progress_past_the_time_limit_is_a_conflict_to_be_retried() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "300")]).await;
    app.open_many(2, 1_000).await;
    let held =
        "INSERT INTO idempotency_keys (user_id, key, status) VALUES (1, 'held', 'in_progress')";
    app.database.execute(held).await;
    let answer = app.pay(1, 2, 10, "held").await;
    answer.assert_problem(409, "request_in_progress");
    assert_eq!(answer.json["retryable"], true);
    app.database.execute("DELETE FROM idempotency_keys WHERE key = 'held'").await;
    app.pay(1, 2, 10, "held").await.assert_paid();
}

#[tokio::test]
async fn two_copies_that_waited_in_vain_for_an_account_leave_the_key_free() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "1000")]).await;
    app.open_many(2, 1_000).await;
    let outside = app.database.lock_accounts("2").await;
    let body = payment(1, 2, 10, "twice");
    for answer in join_all([app.send_payment(&body), app.send_payment(&body)]).await {
        answer.assert_problem(503, "account_busy");
    }
    outside.release().await;
    let answers = join_all([app.send_payment(&body), app.send_payment(&body)]).await;
    answers.iter().for_each(Answer::assert_paid);
    assert_eq!(answers.iter().filter(|answer| answer.is_replay()).count(), 1);
    assert_eq!(app.database.payments().await, 1);
    app.database.assert_sound();
}

#[tokio::test]
async fn the_key_may_come_in_the_header_bare_or_quoted() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let body = json!({"from": 1, "to": 2, "amount": 100});
    let with_header = |value: &'static str| {
        app.request("PUT", "/send_payment").header("Idempotency-Key", value).json(&body)
    };
    let bare = Answer::of(with_header("k-1")).await;
    let quoted = Answer::of(with_header("\"k-1\"")).await;
    let in_body = app.pay(1, 2, 100, "k-1").await;
    assert_eq!(bare.text, quoted.text);
    assert_eq!(bare.text, in_body.text);
    assert!(quoted.is_replay() && in_body.is_replay());
    Answer::of(with_header("\"half")).await.assert_problem(400, "invalid_request");
    Answer::of(with_header("")).await.assert_problem(400, "invalid_request");
}

#[tokio::test]
async fn two_different_keys_in_one_request_are_refused_and_none_is_too() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let body = payment(1, 2, 100, "body");
    let request = app.request("PUT", "/send_payment").json(&body);
    Answer::of(request.header("Idempotency-Key", "header"))
        .await
        .assert_problem(400, "invalid_request");
    let request = app.request("PUT", "/send_payment").json(&body);
    Answer::of(request.header("Idempotency-Key", "\"body\"")).await.assert_paid();
    let none = json!({"from": 1, "to": 2, "amount": 100});
    app.send_payment(&none).await.assert_problem(400, "idempotency_key_missing");
    assert_eq!(app.database.payments().await, 1);
}

/// Payments that version 0.2 made, each with the receipt that it gave and stored; 0.1 wrote the same.
const RECEIPTS: &str = include_str!("receipts/0.2.json");

/// A ledger with these payments. The keys have their rows, or are past their retention.
async fn ledger_of_before(with_keys: bool) -> Database {
    let database = Database::new().await;
    let receipts: Value = serde_json::from_str(RECEIPTS).unwrap();
    let quoted = |value: &Value| format!("'{}'", value.to_string().replace('\'', "''"));
    let mut sql = "INSERT INTO accounts (id, created_at) VALUES (1, now()), (2, now()),
                       (9007199254740991, now());"
        .to_owned();
    for case in receipts.as_array().unwrap() {
        let payment = quoted(&case["payment"]);
        write!(
 sql,
            "INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after, to_balance_after,
                 requested_at, idempotency_key, note)
             SELECT id, from_id, to_id, amount, created_at, from_balance_after, to_balance_after,
                 requested_at, idempotency_key, note
             FROM json_populate_record(NULL::payments, {payment});"
        )
        .unwrap();
        if with_keys {
            let receipt = case["receipt"].as_str().unwrap().replace('\'', "''");
            write!(
 sql,
                "INSERT INTO idempotency_keys (user_id, key, fingerprint, status, response)
                 SELECT from_id, idempotency_key, decode(repeat('00', 32), 'hex'), 'success', '{receipt}'
                 FROM json_populate_record(NULL::payments, {payment});"
            )
            .unwrap();
        }
    }
    database.execute(&sql).await;
    database
}

#[tokio::test]
async fn a_receipt_of_an_earlier_version_is_given_again_to_the_byte_also_when_its_row_is_gone() {
    let app = App::start_on(&ledger_of_before(false).await, &[]);
    let receipts: Value = serde_json::from_str(RECEIPTS).unwrap();
    for case in receipts.as_array().unwrap() {
        let again = app.send_payment(&case["request"]).await;
        assert_eq!(again.text, case["receipt"].as_str().unwrap());
        assert!(again.is_replay(), "{}", again.text);
    }
}

#[tokio::test]
async fn an_ordinary_payment_is_told_in_the_bytes_that_it_always_was() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let mut body = payment(1, 2, 500, "k");
    body["created_at"] = json!("2026-11-22T12:00:00Z");
    let paid = app.send_payment(&body).await;
    let text = |balance: &str| {
        let member = |name: &str| paid.json[name].as_str().unwrap();
        format!(
            "{{\"id\":\"{}\",\"from_id\":1,\"to_id\":2,\"amount\":500,\"note\":null,\"created_at\":\"{}\",\
             \"requested_at\":\"2026-11-22T12:00:00.000000Z\",\"balance_after\":{balance}}}",
            member("id"),
            member("created_at")
        )
    };
    assert_eq!(paid.text, text("500"));
    let id = paid.json["id"].as_str().unwrap();
    assert_eq!(app.get(&format!("/payments/{id}")).await.text, text("null"));
    let newest = |text: String| format!("[{text}]");
    for (account, balance) in [(1, "500"), (2, "1500")] {
        let page = app.get(&format!("/payment_history/{account}?limit=1")).await;
        assert_eq!(page.text, newest(text(balance)));
    }
}

#[tokio::test]
async fn the_fingerprint_of_an_ordinary_payment_is_the_one_that_earlier_versions_stored() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 100, "k").await.assert_paid();
    let mut with_note = payment(1, 2, 100, "noted");
    with_note["note"] = json!("rent");
    app.send_payment(&with_note).await.assert_paid();
    // Each field after its length, and an absent one as a zero.
    let number = |n: i64| format!("'\\x01'::bytea || int8send(8) || int8send({n})");
    let of_both = [number(1), number(2), number(100)].join(" || ");
    for (key, note) in
        [("k", "'\\x00'::bytea"), ("noted", "'\\x01'::bytea || int8send(4) || 'rent'")]
    {
        let same = format!(
            "SELECT count(*) FROM idempotency_keys
             WHERE key = '{key}' AND fingerprint = sha256({of_both} || {note})"
        );
        assert_eq!(app.database.count(&same).await, 1, "{key}");
    }
}

#[tokio::test]
async fn the_audit_finds_nothing_wrong_with_receipts_of_an_earlier_version() {
    let (_, report) = ledger_of_before(true).await.audit();
    let checks = report["checks"].as_array().unwrap();
    let rule = "Each stored receipt is, byte for byte, what its payment's would be today.";
    let check = checks.iter().find(|check| check["rule"] == rule).unwrap();
    assert_eq!(check["ok"], true, "{check:#}");
}
