//! The audit finds, and names, one violation of each invariant that it checks; where it goes on from a position, in what
//! is new.

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{App, Database, command, payment};

const ALL_HAVE_POSITIONS: &str =
    "SELECT last_position = (SELECT count(*) FROM payments) FROM feed_state";

/// A sound ledger with some history: two payments and a failure, a refund of the first and a request that
/// is paid (so that accounts 1 and 2 have what they had before), and a voided key.
async fn ledger() -> Database {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    let one = app.pay(1, 2, 100, "one").await;
    one.assert_paid();
    app.pay(2, 3, 50, "two").await.assert_paid();
    app.pay(3, 1, 9_999, "too-much").await.assert_problem(422, "insufficient_funds");
    let mut back = payment(2, 1, 30, "back");
    back["refund_of"] = one.json["id"].clone();
    app.send_payment(&back).await.assert_paid();
    let request = app.post("/payment_requests", &json!({"from": 1, "to": 2, "amount": 30})).await;
    assert_eq!(request.status, 201, "{}", request.text);
    let mut asked = payment(1, 2, 30, "asked");
    asked["payment_request_id"] = request.json["id"].clone();
    app.send_payment(&asked).await.assert_paid();
    let stopped = json!({"from": 1, "idempotency_key": "stopped"});
    let voided = app.ask(None, "PUT", "/voided_keys", Some(&stopped)).await;
    assert_eq!(voided.text, r#"{"voided":true}"#);
    app.database.until(ALL_HAVE_POSITIONS).await;
    app.database.assert_sound();
    app.database.clone()
}

/// Runs `payonce audit` for what came after a position.
fn audit_since(database: &Database, position: i64) -> Output {
    let position = position.to_string();
    command(database).args(["audit", "--json", "--since", &position]).output().unwrap()
}

/// The report of such an audit, and whether it found nothing.
fn since(database: &Database, position: i64) -> (bool, Value) {
    let output = audit_since(database, position);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.success(), report)
}

/// Plants a violation; the audit is to find it under `invariant` and to name it by `words`.
async fn assert_found(plant: &str, invariant: u8, words: &str) {
    let database = ledger().await;
    database.execute(plant).await;
    assert_named(&database.audit(), plant, invariant, words);
}

/// The same, and an audit of what is new finds it, too, where everything is.
async fn assert_found_in_new(plant: &str, invariant: u8, words: &str) {
    let database = ledger().await;
    database.execute(plant).await;
    assert_named(&database.audit(), plant, invariant, words);
    assert_named(&since(&database, 0), plant, invariant, words);
}

fn assert_named((ok, report): &(bool, Value), plant: &str, invariant: u8, words: &str) {
    assert!(!ok, "not found: {plant}");
    assert_eq!(report["ok"], false);
    let found = report["checks"].as_array().unwrap().iter().any(|check| {
        let named = check["examples"]
            .as_array()
            .unwrap()
            .iter()
            .any(|text| text.as_str().unwrap().contains(words));
        check["ok"] == false
            && check["invariant"] == invariant
            && check["violations"].as_i64() > Some(0)
            && named
    });
    assert!(found, "not named: {plant}\n{report:#}");
}

#[tokio::test]
async fn it_finds_money_that_came_from_nowhere() {
    assert_found("UPDATE accounts SET balance = balance + 1 WHERE id = 2", 1, "add up to 1 cents")
        .await;
}

#[tokio::test]
async fn it_finds_an_account_below_zero() {
    let plant = "ALTER TABLE accounts DROP CONSTRAINT accounts_balance_floor;
                 UPDATE accounts SET balance = -5 WHERE id = 2";
    assert_found_in_new(plant, 1, "account 2 holds -5 cents").await;
}

#[tokio::test]
async fn it_finds_a_payment_a_request_or_a_key_of_an_account_that_is_not_there() {
    let plant = "UPDATE payments SET to_id = 404 WHERE idempotency_key = 'two'";
    assert_found_in_new(plant, 1, "is from account 2 to 404, and one of them is not there").await;
    let plant = "UPDATE idempotency_keys SET user_id = 404 WHERE key = 'too-much'";
    assert_found(plant, 1, "key 'too-much' is of payer 404, who has no account").await;
    let plant = "UPDATE payment_requests SET to_id = 404";
    assert_found(plant, 1, "is from account 1 to 404, and one of them is not there").await;
}

#[tokio::test]
async fn it_finds_a_key_that_paid_twice() {
    let plant = "INSERT INTO payments SELECT gen_random_uuid(), from_id, to_id, amount,
                     created_at + interval '1 s', from_balance_after, to_balance_after, requested_at,
                     idempotency_key, note FROM payments WHERE idempotency_key = 'one'";
    assert_found(plant, 2, "payer 1 and key 'one' have 2 payments").await;
    assert_found(plant, 2, "is not the one of payer 1 and key 'one'").await;
}

#[tokio::test]
async fn it_finds_a_payment_under_another_id_than_its_keys() {
    let plant = "UPDATE payments SET id = '00000000-0000-0000-0000-000000000001' WHERE idempotency_key = 'one'";
    assert_found(plant, 2, "payment 00000000-0000-0000-0000-000000000001").await;
}

#[tokio::test]
async fn it_finds_a_key_left_in_progress() {
    let plant = "UPDATE idempotency_keys SET status = 'in_progress' WHERE key = 'too-much'";
    assert_found(plant, 3, "key 'too-much' of payer 3 is in progress").await;
    let plant = "INSERT INTO account_idempotency_keys (key, fingerprint)
                 VALUES ('half', decode(repeat('00', 32), 'hex'))";
    assert_found(plant, 3, "key 'half' of a new account").await;
}

#[tokio::test]
async fn it_finds_a_success_without_its_payment() {
    let plant = "UPDATE idempotency_keys SET status = 'success' WHERE key = 'too-much'";
    assert_found(plant, 3, "key 'too-much' of payer 3 succeeded without its payment").await;
}

#[tokio::test]
async fn it_finds_a_stored_response_that_says_something_else() {
    let plant = "UPDATE idempotency_keys SET response = replace(response::text, '\"amount\":100', '\"amount\":1')::json
                 WHERE key = 'one'";
    assert_found(plant, 3, "key 'one' of payer 1").await;
}

#[tokio::test]
async fn it_finds_a_stored_receipt_that_its_payment_would_not_give_today() {
    for (was, is) in [(r#","note":null"#, ""), (r#","note""#, r#", "note""#)] {
        let plant = format!(
            "UPDATE idempotency_keys SET response = replace(response::text, '{was}', '{is}')::json
             WHERE key = 'one'"
        );
        assert_found_in_new(&plant, 2, "key 'one' of payer 1 stores another receipt").await;
    }
}

#[tokio::test]
async fn it_names_ten_receipts_and_counts_them_all() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for n in 0..12 {
        app.pay(1, 2, 1, &format!("k{n:02}")).await.assert_paid();
    }
    let plant = "UPDATE idempotency_keys SET response = replace(response::text, ',', ' ,')::json";
    app.database.execute(plant).await;
    let (_, report) = app.database.audit();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| {
        check["examples"].to_string().contains("key 'k00' of payer 1 stores another receipt")
    });
    let check = check.unwrap();
    assert_eq!(check["examples"].as_array().unwrap().len(), 10);
    // Two openings were paid by the bank.
    assert_eq!(check["violations"], 14, "{check:#}");
}

#[tokio::test]
async fn it_finds_a_failure_that_has_a_payment() {
    assert_found_in_new(
        "UPDATE idempotency_keys SET status = 'failed' WHERE key = 'one'",
        3,
        "key 'one' of payer 1 failed, yet",
    )
    .await;
}

#[tokio::test]
async fn it_finds_two_payments_or_requests_of_an_account_at_one_time() {
    let plant = "UPDATE payments SET created_at = (SELECT created_at FROM payments WHERE idempotency_key = 'two')
                 WHERE idempotency_key = 'one'";
    assert_found_in_new(plant, 5, "account 2 has 2 payments at").await;
    let plant = "INSERT INTO payment_requests SELECT gen_random_uuid(), from_id, to_id, amount, note, 'open',
                     created_at, expires_at, NULL FROM payment_requests";
    assert_found(plant, 5, "account 1 has 2 requests at").await;
}

#[tokio::test]
async fn it_finds_an_account_that_forgot_its_newest_time() {
    let plant = "UPDATE accounts SET last_payment_at = '2020-01-01T00:00:00Z' WHERE id = 3";
    assert_found_in_new(plant, 5, "account 3 has its newest payment at").await;
}

#[tokio::test]
async fn it_finds_a_balance_that_does_not_follow() {
    let plant = "UPDATE payments SET to_balance_after = 7 WHERE idempotency_key = 'one'";
    assert_found_in_new(plant, 6, "leaves account 2 with 7 cents after").await;
}

#[tokio::test]
async fn it_finds_a_balance_that_no_history_explains() {
    let plant = "UPDATE accounts SET balance = balance + CASE id WHEN 1 THEN 5 ELSE -5 END WHERE id IN (1, 2)";
    assert_found_in_new(plant, 6, "account 1 holds 905 cents, its history gives 900").await;
}

#[tokio::test]
async fn it_finds_a_gap_in_the_feed_and_an_end_that_is_none() {
    let plant = "UPDATE feed_entries SET first_position = first_position + 100
                 WHERE first_position = (SELECT max(first_position) FROM feed_entries)";
    assert_found(plant, 13, "and position 7 comes next").await;
    assert_found(plant, 13, "the feed ends at position 7, its last payment is at position 107")
        .await;
    assert_found_in_new("DELETE FROM feed_entries WHERE first_position = 3", 13, "position").await;
    let plant = "DELETE FROM payment_batches WHERE id = (SELECT max(id) FROM payment_batches)";
    assert_found(plant, 13, "position 7 is of batch").await;
    let twice = "UPDATE payment_batches SET payment_ids = payment_ids || payment_ids
                 WHERE id = (SELECT batch_id FROM payments WHERE idempotency_key = 'one')";
    let twice_and_a_gap = &format!("{twice}; DELETE FROM feed_entries WHERE first_position = 7");
    for (plant, payments) in [(plant, 6), (twice, 8), (twice_and_a_gap, 7)] {
        let database = ledger().await;
        database.execute(plant).await;
        let words = format!("from position 1 to 7 there are {payments} payments");
        assert_named(&since(&database, 0), plant, 13, &words);
    }
}

#[tokio::test]
async fn it_finds_a_batch_that_was_passed_over() {
    // Its neighbours close the gap.
    let plant = "CREATE TEMP TABLE passed AS SELECT * FROM feed_entries WHERE first_position = 4;
                 DELETE FROM feed_entries WHERE first_position = 4;
                 UPDATE feed_entries SET first_position = 4 WHERE first_position = 5;
                 UPDATE feed_entries SET first_position = 5 WHERE first_position = 6;
                 UPDATE feed_entries SET first_position = 6 WHERE first_position = 7;
                 UPDATE feed_state SET last_position = 6, settled_position = 6";
    assert_found_in_new(plant, 13, "has no position, though all up to batch").await;
    let plant = "UPDATE feed_state SET settled_batch = 1";
    assert_found(plant, 13, "though none after batch 1 is up to position 7").await;
}

#[tokio::test]
async fn it_finds_a_payment_in_another_batch_in_none_or_twice() {
    let plant = "UPDATE payments SET batch_id = 999 WHERE idempotency_key = 'one'";
    assert_found_in_new(plant, 13, "and says that it is in batch 999").await;
    let plant = "UPDATE payments SET batch_id = NULL WHERE idempotency_key = 'one'";
    assert_found_in_new(plant, 13, "and says that it is in batch none").await;
    let of_one = "WHERE id = (SELECT batch_id FROM payments WHERE idempotency_key = 'one')";
    let plant =
        format!("UPDATE payment_batches SET payment_ids = payment_ids || payment_ids {of_one}");
    assert_found_in_new(&plant, 13, "is in batches 2 times").await;
    let plant =
        format!("UPDATE payment_batches SET payment_ids = ARRAY[gen_random_uuid()] {of_one}");
    assert_found_in_new(&plant, 13, ", which is not there").await;
    assert_found(&plant, 13, "is in no batch").await;
    // Also where it says that it is older than the feed.
    let plant =
        format!("{plant}; UPDATE payments SET batch_id = NULL WHERE idempotency_key = 'one'");
    assert_found(&plant, 13, "is in no batch").await;
}

#[tokio::test]
async fn it_finds_an_account_whose_payments_have_positions_in_another_order() {
    let swap = |one: &str, other: &str| {
        let batch =
            |key: &str| format!("(SELECT batch_id FROM payments WHERE idempotency_key = '{key}')");
        let (one, other) = (batch(one), batch(other));
        format!(
            "ALTER TABLE feed_entries DROP CONSTRAINT feed_entries_batch;
             UPDATE feed_entries SET batch_id = CASE batch_id WHEN {one} THEN {other} ELSE {one} END
             WHERE batch_id IN ({one}, {other})"
        )
    };
    assert_found_in_new(&swap("one", "two"), 13, "account 2 has payment").await;
    // One that has none comes before one that has.
    let plant = "DELETE FROM feed_entries WHERE batch_id =
                     (SELECT batch_id FROM payments WHERE idempotency_key = 'one')";
    assert_found_in_new(plant, 13, "after one at position none").await;
    // Accounts that have nothing in common have no order.
    let app = App::start().await;
    app.open_many(4, 1_000).await;
    app.pay(1, 2, 1, "one").await.assert_paid();
    app.pay(3, 4, 1, "other").await.assert_paid();
    app.database.until(ALL_HAVE_POSITIONS).await;
    app.database.execute(&swap("one", "other")).await;
    app.database.assert_sound();
    assert!(since(&app.database, 0).0);
}

#[tokio::test]
async fn it_goes_on_from_where_the_last_one_ended() {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    app.pay(1, 2, 100, "old").await.assert_paid();
    app.database.until(ALL_HAVE_POSITIONS).await;
    let (_, whole) = app.database.audit();
    assert_eq!(whole["position"], 4);
    let (ok, nothing) = since(&app.database, 4);
    assert!(ok, "{nothing:#}");
    assert_eq!((&nothing["payments"], &nothing["position"]), (&json!(0), &json!(4)));

    app.pay(2, 3, 10, "new").await.assert_paid();
    app.pay(3, 2, 5, "newest").await.assert_paid();
    app.database.until(ALL_HAVE_POSITIONS).await;
    let (ok, new) = since(&app.database, 4);
    assert!(ok, "{new:#}");
    assert_eq!((&new["since"], &new["payments"]), (&json!(4), &json!(2)));
    assert_eq!((&new["position"], &new["waiting"]), (&json!(6), &json!(0)));
    // Of what was audited before nothing is looked at again.
    app.database.execute("UPDATE payments SET note = 'changed', from_balance_after = 7 WHERE idempotency_key = 'old'").await;
    assert!(since(&app.database, 4).0);
    assert!(!since(&app.database, 3).0);
    assert!(!app.database.audit().0);
    app.database
        .execute("UPDATE payments SET to_balance_after = 7 WHERE idempotency_key = 'newest'")
        .await;
    assert!(since(&app.database, 6).0);
    assert_named(&since(&app.database, 5), "newest", 6, "leaves account 2 with 7 cents");
    assert_named(&since(&app.database, 4), "newest", 6, "leaves account 2 with 7 cents");
}

#[tokio::test]
async fn what_is_new_is_audited_in_steps_and_each_step_is_in_the_report() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    app.database
        .execute(
            "INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                                   to_balance_after, idempotency_key)
             SELECT gen_random_uuid(), 1, 2, 1, now() + n * interval '1 ms', 0, 0, 'k' || n
             FROM generate_series(1, 10001) AS n",
        )
        .await;
    app.database.until(ALL_HAVE_POSITIONS).await;
    let (ok, report) = since(&app.database, 0);
    assert!(!ok);
    assert_eq!((&report["payments"], &report["position"]), (&json!(10_003), &json!(10_003)));
    let checks = report["checks"].as_array().unwrap();
    let derived = checks.iter().find(|check| check["violations"] == 10_001);
    let derived = derived.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(derived["examples"].as_array().unwrap().len(), 10);
    // A check is in the report once.
    assert_eq!(checks.iter().filter(|check| check["rule"] == derived["rule"]).count(), 1);
}

#[tokio::test]
async fn a_payment_that_waits_for_its_position_is_counted_and_no_violation() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    app.database.until(ALL_HAVE_POSITIONS).await;
    let mut other = app.database.session().await;
    sqlx::raw_sql("BEGIN; SELECT FROM feed_state FOR UPDATE").execute(&mut other).await.unwrap();
    for n in 0..3 {
        app.pay(1, 2, 1, &format!("k{n}")).await.assert_paid();
    }
    for (ok, report) in [app.database.audit(), since(&app.database, 0)] {
        assert!(ok, "{report:#}");
        assert_eq!((&report["position"], &report["waiting"]), (&json!(2), &json!(3)));
    }
    let words = command(&app.database).arg("audit").output().unwrap();
    let words = String::from_utf8(words.stdout).unwrap();
    let line = "The feed ends at position 2, and 3 payments wait for theirs: go on with --since 2.";
    assert!(words.contains(line), "{words}");
}

#[tokio::test]
async fn a_batch_that_becomes_visible_late_waits_for_its_position_and_is_no_violation() {
    let app = App::start().await;
    app.open_many(4, 1_000).await;
    app.pay(1, 2, 1, "late").await.assert_paid();
    app.pay(3, 4, 1, "early").await.assert_paid();
    app.database.until(ALL_HAVE_POSITIONS).await;
    let database = app.database.clone();
    drop(app);
    database
        .execute(
            "DELETE FROM feed_entries WHERE first_position = 5;
             UPDATE feed_entries SET first_position = 5 WHERE first_position = 6;
             UPDATE feed_state
             SET last_position = 5, settled_position = 4,
                 settled_batch = (SELECT batch_id FROM feed_entries WHERE first_position = 4)",
        )
        .await;
    for (ok, report) in [database.audit(), since(&database, 0)] {
        assert!(ok, "{report:#}");
        assert_eq!((&report["position"], &report["waiting"]), (&json!(5), &json!(1)));
    }
}

#[tokio::test]
async fn payments_that_are_older_than_the_feed_are_in_no_batch_until_they_are_numbered() {
    let database = ledger().await;
    let as_before = "DELETE FROM feed_state; DELETE FROM feed_entries; DELETE FROM payment_batches;
                     UPDATE payments SET batch_id = NULL";
    database.execute(as_before).await;
    let (ok, report) = database.audit();
    assert!(ok, "{report:#}");
    let plant = "UPDATE payments SET batch_id = 999 WHERE idempotency_key = 'one'";
    database.execute(plant).await;
    assert_named(&database.audit(), plant, 13, "is in no batch");
    database.execute("UPDATE payments SET batch_id = NULL").await;

    database.execute("CALL number_payments_before_the_feed()").await;
    for (ok, report) in [database.audit(), since(&database, 0)] {
        assert!(ok, "{report:#}");
        assert_eq!(report["position"], 7);
    }
    let plant = "UPDATE payment_batches SET payment_ids = payment_ids[:6]";
    database.execute(plant).await;
    assert_named(&database.audit(), plant, 13, "is in no batch");
}

#[tokio::test]
async fn a_position_that_is_not_there_is_refused() {
    let database = ledger().await;
    let refused = |position: i64| {
        let output = audit_since(&database, position);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let told = refused(8);
    assert!(told.contains("position 8 is beyond the last one, 7"), "{told}");
    database.execute("DELETE FROM feed_state").await;
    let told = refused(7);
    assert!(told.contains("older than the feed"), "{told}");
    // All of it can be audited meanwhile.
    let (ok, report) = database.audit();
    assert!(ok, "{report:#}");
    assert_eq!(report["position"], Value::Null);
    let output = command(&database).args(["audit", "--since", "yesterday"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn it_finds_a_refund_of_something_that_cannot_be_refunded() {
    let plant = "UPDATE payments SET refund_of = gen_random_uuid() WHERE idempotency_key = 'back'";
    assert_found_in_new(plant, 15, ", which is not there").await;
    for (paid, words) in [
        ("back", ", which is a refund"),
        ("opening balance of account 2", ", which is an opening balance"),
    ] {
        let plant = format!(
            "UPDATE payments SET refunded_after = amount,
                 refund_of = (SELECT id FROM payments WHERE idempotency_key = '{paid}')
             WHERE idempotency_key = 'two'"
        );
        assert_found_in_new(&plant, 15, words).await;
    }
}

#[tokio::test]
async fn it_finds_a_refund_between_others_or_before_its_payment() {
    let plant = "UPDATE payments SET to_id = 3 WHERE idempotency_key = 'back'";
    assert_found_in_new(plant, 15, "is from account 2 to 3, payment").await;
    let plant = "UPDATE payments SET created_at = created_at + interval '1 h' WHERE idempotency_key = 'one'";
    assert_found_in_new(plant, 15, "is no later than payment").await;
}

#[tokio::test]
async fn it_finds_refunds_that_do_not_add_up_or_exceed_their_payment() {
    let plant = "UPDATE payments SET refunded_after = 31 WHERE idempotency_key = 'back'";
    assert_found_in_new(plant, 15, "are given back, not 31").await;
    let plant =
        "UPDATE payments SET amount = 101, refunded_after = 101 WHERE idempotency_key = 'back'";
    assert_found_in_new(plant, 15, ", 101 cents of 100 are given back").await;
    // A second one, which does not count the first.
    let plant = "DROP INDEX payments_refunds;
                 UPDATE payments SET from_id = 2, to_id = 1, refunded_after = amount,
                     refund_of = (SELECT id FROM payments WHERE idempotency_key = 'one')
                 WHERE payment_request_id IS NOT NULL";
    assert_found(plant, 15, "60 cents of payment").await;
}

#[tokio::test]
async fn it_finds_a_request_that_another_payment_pays_or_none() {
    for plant in [
        "UPDATE payment_requests SET payment_id = (SELECT id FROM payments WHERE idempotency_key = 'one')",
        "UPDATE payment_requests SET payment_id = gen_random_uuid()",
        "UPDATE payment_requests SET amount = amount + 1",
        "UPDATE payment_requests SET from_id = 3",
        "UPDATE payments SET idempotency_key = 'asked' WHERE payment_request_id IS NOT NULL",
        "UPDATE payments SET payment_request_id = NULL WHERE payment_request_id IS NOT NULL",
    ] {
        assert_found(plant, 15, "does not pay it").await;
    }
}

#[tokio::test]
async fn it_finds_a_payment_of_a_request_that_another_has_paid_or_that_is_not_paid_or_not_there() {
    let plant = "DROP INDEX payments_of_requests;
                 UPDATE payments SET payment_request_id = (SELECT id FROM payment_requests)
                 WHERE idempotency_key = 'one'";
    assert_found_in_new(plant, 15, ", which is paid and names payment").await;
    let plant = "UPDATE payment_requests SET status = 'declined', payment_id = NULL";
    assert_found_in_new(plant, 15, ", which is declined and names payment none").await;
    assert_found_in_new(
        "DELETE FROM payment_requests",
        15,
        ", which is not there and names payment none",
    )
    .await;
}

#[tokio::test]
async fn it_finds_a_key_that_paid_a_request_and_names_another_payment() {
    let names = |key: &str, payment: &str| {
        format!(
            "UPDATE idempotency_keys SET payment_id = (SELECT id FROM payments WHERE {payment})
             WHERE key = '{key}'"
        )
    };
    let plant = names("asked", "idempotency_key = 'one'");
    assert_found(&plant, 15, "key 'asked' of payer 1 paid a request, and payment").await;
    assert_found(&plant, 3, "key 'asked' of payer 1 succeeded without its payment").await;
    let plant = names("one", "payment_request_id IS NOT NULL");
    assert_found(&plant, 2, "payer 1 and key 'one' have payment").await;
    let plant = "UPDATE idempotency_keys SET response = replace(response::text, ',', ', ')::json
                 WHERE key = 'asked'";
    assert_found(plant, 2, "key 'asked' of payer 1 stores another receipt").await;
}

#[tokio::test]
async fn it_finds_a_voided_key_that_paid() {
    let plant = "UPDATE idempotency_keys SET status = 'voided' WHERE key = 'one'";
    assert_found_in_new(plant, 15, "key 'one' of payer 1 is voided, yet payment").await;
    let plant = "UPDATE idempotency_keys SET status = 'voided' WHERE key = 'asked'";
    assert_found(plant, 15, "key 'asked' of payer 1 is voided, yet names payment").await;
}

#[tokio::test]
async fn it_finds_a_closed_account_with_money_and_a_bank_that_is_not_open() {
    let close =
        "ALTER TABLE accounts DROP CONSTRAINT accounts_status; UPDATE accounts SET status = ";
    let plant = format!("{close} 'closed' WHERE id = 1");
    assert_found_in_new(&plant, 15, "account 1 is closed, and holds 900 cents").await;
    let plant = format!("{close} 'frozen' WHERE id = 0");
    assert_found_in_new(&plant, 15, "account 0 is frozen").await;
}

#[tokio::test]
async fn its_report_in_words_ends_with_the_verdict() {
    let database = ledger().await;
    let words = |output: Output| String::from_utf8(output.stdout).unwrap();
    let sound = words(command(&database).arg("audit").output().unwrap());
    assert!(
        sound.starts_with("Audited 4 accounts, 7 payments, 1 requests for money and "),
        "{sound}"
    );
    assert!(sound.contains("The feed ends at position 7: go on with --since 7.\n"), "{sound}");
    assert!(sound.trim_end().ends_with("The ledger is sound."), "{sound}");
    database.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 2").await;
    let output = command(&database).arg("audit").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let unsound = words(output);
    assert!(unsound.contains("VIOLATED  invariant 1"));
    // What is wrong is to be found again.
    assert!(unsound.contains("The feed ends at position 7.\n"), "{unsound}");
}
