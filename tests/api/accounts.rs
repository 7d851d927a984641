//! Accounts: opened with money from the bank, read, and listed.

use std::collections::HashSet;

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Answer, App, Database};

#[tokio::test]
async fn an_account_is_opened_with_a_payment_from_the_bank() {
    let app = App::start().await;
    let opened =
        app.post("/accounts", &json!({"id": 7, "name": "Zoë", "opening_balance": 2_500})).await;
    assert_eq!(opened.status, 201);
    assert_eq!(opened.header("location"), Some("/accounts/7"));
    assert_eq!(opened.json["balance"], 2_500);
    assert_eq!(app.get("/accounts/7").await.text, opened.text);
    let history = app.history(7).await;
    assert_eq!(history.len(), 1);
    assert_eq!((&history[0]["from_id"], &history[0]["amount"]), (&json!(0), &json!(2_500)));
    assert_eq!(app.balance(0).await, -2_500);
    app.database.assert_sound();
}

#[tokio::test]
async fn an_account_needs_neither_id_nor_name_nor_money() {
    let app = App::start().await;
    let opened = app.post("/accounts", &json!({})).await;
    assert_eq!(
        (opened.status, &opened.json["id"], &opened.json["name"], &opened.json["balance"]),
        (201, &json!(1), &json!(null), &json!(0))
    );
    assert_eq!(app.history(1).await, Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn a_taken_id_is_a_conflict_and_changes_nothing() {
    let app = App::start().await;
    app.open(1, 100).await;
    app.post("/accounts", &json!({"id": 1, "opening_balance": 5}))
        .await
        .assert_problem(409, "account_exists");
    app.post("/accounts", &json!({"id": 0})).await.assert_problem(409, "account_exists");
    assert_eq!(app.balance(1).await, 100);
    app.database.assert_sound();
}

#[tokio::test]
async fn ids_given_by_hand_are_passed_over_by_the_next_free_one() {
    let app = App::start().await;
    app.open_many(5, 0).await;
    app.open(7, 0).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(app.post("/accounts", &json!({})).await.json["id"].as_i64().unwrap());
    }
    assert_eq!(ids, [6, 8, 9]);
}

const LARGEST_ID: i64 = 9_007_199_254_740_991;

/// How often an account was looked up by its id. Sessions tell it when they end.
const LOOKUPS: &str = "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_indexes
    WHERE indexrelname = 'accounts_pkey'";

const NO_SESSION: &str = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'payonce%')";

/// Imports accounts past the service: `ids` is a query.
async fn take_ids(app: &App, ids: &str) {
    app.database.execute(&format!("INSERT INTO accounts (id) {ids}")).await;
}

/// The ids of accounts that are opened without one, all at once.
async fn open_without_ids(apps: &[App], count: usize) -> Vec<i64> {
    let body = json!({"opening_balance": 1});
    let opened = join_all((0..count).map(|i| apps[i % apps.len()].post("/accounts", &body))).await;
    let id = |answer: &Answer| {
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json["id"].as_i64().unwrap()
    };
    let mut ids: Vec<i64> = opened.iter().map(id).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn however_many_ids_are_taken_a_free_one_is_found_by_a_few_lookups() {
    let mut apps = [App::start().await];
    take_ids(&apps[0], "SELECT generate_series(1, 300000)").await;
    let before = apps[0].database.count(LOOKUPS).await;
    assert_eq!(open_without_ids(&apps, 3).await, [300_001, 300_002, 300_003]);
    assert!(apps[0].stop(Signal::TERM).success());
    apps[0].database.until(NO_SESSION).await;
    let lookups = apps[0].database.count(LOOKUPS).await - before;
    assert!((1..2_000).contains(&lookups), "{lookups} lookups");
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn whatever_ids_are_taken_the_next_free_ones_are_near() {
    for (taken, ids) in [
        ("every second one", "SELECT generate_series(1, 20000, 2)"),
        (
            "two of three",
            "SELECT id + n FROM generate_series(1, 20000, 3) AS id, generate_series(0, 1) AS n",
        ),
        ("the largest", "SELECT 9007199254740991"),
        (
            "powers of two, and what follows them",
            "SELECT DISTINCT (1::bigint << n) + k
             FROM generate_series(0, 52) AS n, generate_series(0, 9) AS k",
        ),
    ] {
        let apps = [App::start().await];
        take_ids(&apps[0], ids).await;
        let mut opened = open_without_ids(&apps, 20).await;
        opened.dedup();
        assert_eq!(opened.len(), 20, "{taken}");
        assert!(opened.iter().all(|id| *id < 300), "{taken}: {opened:?}");
        apps[0].database.assert_sound();
    }
}

#[tokio::test]
async fn after_the_largest_id_come_those_that_were_left_out() {
    for last in [LARGEST_ID - 10, LARGEST_ID] {
        let apps = [App::start().await];
        take_ids(&apps[0], "SELECT 9007199254740991 - n FROM generate_series(0, 2000) AS n").await;
        take_ids(&apps[0], "SELECT generate_series(1, 50)").await;
        apps[0].database.count(&format!("SELECT setval('account_ids', {last})")).await;
        assert_eq!(open_without_ids(&apps, 3).await, [51, 52, 53]);
        apps[0].database.assert_sound();
    }
}

#[tokio::test]
async fn processes_that_look_for_free_ids_at_once_find_different_ones() {
    let apps = App::start_two().await;
    take_ids(&apps[0], "SELECT id FROM generate_series(1, 5000) AS id WHERE id % 100 < 90").await;
    let mut opened = open_without_ids(&apps, 60).await;
    opened.dedup();
    assert_eq!(opened.len(), 60, "{opened:?}");
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn opening_is_idempotent_under_a_key_of_its_own_namespace() {
    let [app, other] = App::start_two().await;
    let request = |app: &App, body| {
        app.request("POST", "/accounts").header("Idempotency-Key", "k").json(&body)
    };
    let body = json!({"name": "Ann", "opening_balance": 100});
    let first = Answer::of(request(&app, body.clone())).await;
    let second = Answer::of(request(&other, body.clone())).await;
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.text, second.text);
    assert_eq!(first.header("location"), second.header("location"));
    assert!(!first.is_replay() && second.is_replay());
    for different in [
        json!({"name": "Ann", "opening_balance": 101}),
        json!({"id": 1, "name": "Ann", "opening_balance": 100}),
        json!({"opening_balance": 100}),
    ] {
        Answer::of(request(&app, different)).await.assert_problem(422, "idempotency_key_reused");
    }
    // The same key names a payment as well.
    app.open(50, 0).await;
    app.pay(1, 50, 10, "k").await.assert_paid();
    app.pay(0, 50, 10, "k").await.assert_paid();
    app.database.assert_sound();
}

#[tokio::test]
async fn one_opening_sent_fifty_times_to_two_processes_opens_one_account() {
    let apps = App::start_two().await;
    let body = json!({"opening_balance": 100});
    let request = |i: usize| {
        apps[i % 2].request("POST", "/accounts").header("Idempotency-Key", "k").json(&body)
    };
    let answers = join_all((0..50).map(|i| Answer::of(request(i)))).await;
    let texts: HashSet<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(answers.iter().all(|answer| answer.status == 201));
    assert_eq!(apps[0].database.count("SELECT count(*) FROM accounts WHERE id > 0").await, 1);
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn openings_and_payments_at_once_do_not_deadlock() {
    let database = Database::new().await;
    database.find_deadlocks_early().await;
    let apps = [App::start_on(&database, &[]), App::start_on(&database, &[])];
    apps[0].open_many(2, 1_000).await;
    let body = json!({"opening_balance": 5});
    let opened = join_all((0..60).map(|i| apps[i % 2].post("/accounts", &body)));
    let keys: Vec<String> = (0..60).map(|i| format!("k{i}")).collect();
    let paid = join_all(keys.iter().enumerate().map(|(i, key)| {
        let (from, to) = [(0, 1), (1, 2), (2, 0)][i % 3];
        apps[i % 2].pay(from, to, 1, key)
    }));
    let (opened, paid) = tokio::join!(opened, paid);
    assert!(opened.iter().all(|answer| answer.status == 201));
    paid.iter().for_each(Answer::assert_paid);
    for app in &apps {
        assert_eq!(app.settled_log().await, "", "nothing was tried again");
    }
    database.assert_sound();
}

#[tokio::test]
async fn an_opening_that_has_to_wait_keeps_no_other_waiting() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "30000")]).await;
    let outside = app.database.lock_accounts("0").await;
    let body = json!({"opening_balance": 5});
    let waiting = app.post("/accounts", &body);
    let others = async {
        for _ in 0..5 {
            assert_eq!(app.post("/accounts", &json!({})).await.status, 201);
        }
        outside.release().await;
    };
    let (waited, ()) = tokio::join!(waiting, others);
    assert_eq!(waited.status, 201);
    app.database.assert_sound();
}

#[tokio::test]
async fn lists_show_ids_and_names_and_no_balances() {
    let app = App::start().await;
    for (id, name) in [(1, "Ada"), (2, "Ben"), (5, "Eva")] {
        app.post("/accounts", &json!({"id": id, "name": name, "opening_balance": 9})).await;
    }
    let first = app.get("/accounts?after=0&limit=2").await;
    assert_eq!(first.json, json!([{"id": 1, "name": "Ada"}, {"id": 2, "name": "Ben"}]));
    let second = app.get(&first.next_link().unwrap()).await;
    assert_eq!(second.json, json!([{"id": 5, "name": "Eva"}]));
    assert_eq!(second.next_link(), None);
    assert_eq!(app.get("/accounts").await.json.as_array().unwrap().len(), 4);
    let some = app.get("/accounts?ids=5,99,1,5").await;
    assert_eq!(some.json, json!([{"id": 1, "name": "Ada"}, {"id": 5, "name": "Eva"}]));
    assert_eq!(app.get("/accounts?ids=").await.json, json!([]));
    for wrong in ["ids=a", "ids=-1", "after=x", "limit=0", "limit=101", "ids=1&after=2"] {
        app.get(&format!("/accounts?{wrong}")).await.assert_problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn the_bank_pays_anybody_and_may_be_below_zero() {
    let app = App::start().await;
    app.open(1, 0).await;
    app.pay(0, 1, 1_000, "k").await.assert_paid();
    app.pay(1, 0, 300, "back").await.assert_paid();
    assert_eq!((app.balance(0).await, app.balance(1).await), (-700, 700));
    app.database.assert_sound();
}

#[tokio::test]
async fn the_database_lets_nobody_remove_or_renumber_an_account() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for attempt in [
        "DELETE FROM accounts WHERE id = 1",
        "UPDATE accounts SET id = 9 WHERE id = 1",
        "TRUNCATE accounts CASCADE",
    ] {
        let error = app.database.try_execute(attempt).await.unwrap_err();
        assert!(error.to_string().contains("accounts are never removed"), "{attempt}: {error}");
    }
    app.database.assert_sound();
}
