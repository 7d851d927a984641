//! The feed: every payment has a position, and none is left out.

use std::collections::{HashMap, HashSet};

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use sqlx::PgConnection;

use crate::harness::{
    Answer, App, Database, PATIENCE, eventually, operator, owner_of, payment_of, refund,
};

/// The feed from after a position on, once it has so many payments.
async fn follow(app: &App, mut after: i64, count: usize) -> Vec<Value> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let path = format!("/feed?after={after}&limit=1000&wait_ms=30000");
        let page = app.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.json);
        let payments = page.json["payments"].as_array().unwrap();
        assert!(!payments.is_empty(), "{} of {count} payments came", seen.len());
        after = page.json["next"].as_i64().unwrap();
        seen.extend(payments.iter().cloned());
    }
    seen
}

fn position(payment: &Value) -> i64 {
    payment["position"].as_i64().unwrap()
}

/// The positions are 1, 2, 3, ..., no payment is there twice, and each account's are in the order of its history.
fn assert_in_order(seen: &[Value]) {
    let mut newest: HashMap<i64, String> = HashMap::new();
    let mut ids = HashSet::new();
    for (n, payment) in seen.iter().enumerate() {
        assert_eq!(position(payment), i64::try_from(n).unwrap() + 1);
        assert!(ids.insert(payment["id"].to_string()), "twice: {payment}");
        for party in ["from_id", "to_id"] {
            let at = payment["created_at"].as_str().unwrap().to_owned();
            let before = newest.insert(payment[party].as_i64().unwrap(), at.clone());
            assert!(before.is_none_or(|before| before < at), "out of order: {payment}");
        }
    }
}

#[tokio::test]
async fn every_kind_of_payment_has_a_position() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let paid = app.pay(1, 2, 100, "k").await.json;
    app.send_payment(&refund(&paid, 60, "back")).await.assert_paid();
    let asked = app.ask_for_money(2, 1, 30).await;
    app.send_payment(&payment_of(&asked)).await.assert_paid();
    let seen = follow(&app, 0, 5).await;
    assert_in_order(&seen);
    let amounts: Vec<_> = seen.iter().map(|it| it["amount"].as_i64().unwrap()).collect();
    assert_eq!(amounts, [1_000, 1_000, 100, 60, 30]);
    assert_eq!(seen[2]["id"], paid["id"]);
    assert_eq!(seen[2]["balance_after"], Value::Null, "balances are their owners' affair");
    assert_eq!(seen[3]["refund_of"], paid["id"]);
    assert_eq!(seen[4]["payment_request_id"], asked["id"]);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_part_goes_on_where_the_one_before_has_ended() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for n in 0..5 {
        app.pay(1, 2, 1, &format!("k{n}")).await.assert_paid();
    }
    let all = follow(&app, 0, 7).await;
    for limit in 1..=7 {
        let mut seen = Vec::new();
        let mut after = Value::from(0);
        while seen.len() < 7 {
            let page = app.get(&format!("/feed?after={after}&limit={limit}")).await.json;
            let payments = page["payments"].as_array().unwrap();
            assert!((1..=limit).contains(&payments.len()));
            seen.extend(payments.iter().cloned());
            after = page["next"].clone();
        }
        assert_eq!(seen, all);
        let end = app.get(&format!("/feed?after={after}")).await.json;
        assert_eq!(end, serde_json::json!({"payments": [], "next": 7}));
    }
}

#[tokio::test]
async fn a_reader_misses_nothing_and_sees_nothing_twice_while_two_processes_pay() {
    const PAYMENTS: usize = 400;
    let apps = App::start_two().await;
    apps[0].open_many(10, 100_000).await;
    let pay = async |n: usize| {
        let (from, to) = (n % 10 + 1, (n * 7 + 3) % 10 + 1);
        let to = if to == from { to % 10 + 1 } else { to };
        let (from, to) = (i64::try_from(from).unwrap(), i64::try_from(to).unwrap());
        apps[n % 2].pay(from, to, 1, &format!("k{n}")).await.assert_paid();
    };
    let all: Vec<_> = (0..PAYMENTS).map(pay).collect();
    let paying = futures_util::future::join_all(all);
    let (one, other, _) = tokio::join!(
        follow(&apps[0], 0, PAYMENTS + 10),
        follow(&apps[1], 0, PAYMENTS + 10),
        paying
    );
    assert_in_order(&one);
    assert_eq!(one, other, "all readers read the same");
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn one_who_waits_is_answered_by_the_first_payment_whoever_makes_it() {
    let apps = App::start_two().await;
    apps[0].open_many(2, 1_000).await;
    follow(&apps[0], 0, 2).await;
    for (n, (reader, payer)) in [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().enumerate() {
        let after = i64::try_from(n).unwrap() + 2;
        let (seen, ()) = tokio::join!(follow(&apps[reader], after, 1), async {
            apps[payer].pay(1, 2, 1, &format!("k{n}")).await.assert_paid();
        });
        assert_eq!(position(&seen[0]), after + 1);
    }
}

#[tokio::test]
async fn the_answer_is_empty_when_the_wait_is_over() {
    let app = App::start().await;
    app.open_many(1, 1_000).await;
    follow(&app, 0, 1).await;
    let page = app.get("/feed?after=1&wait_ms=20").await;
    assert_eq!(page.json, serde_json::json!({"payments": [], "next": 1}));
}

#[tokio::test]
async fn the_head_of_the_feed_is_that_of_get_and_waits_for_nothing() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    follow(&app, 0, 2).await;
    for after in [0, 1, 2, 3] {
        let path = format!("/feed?after={after}");
        let waiting = app.request("HEAD", &format!("{path}&wait_ms=30000"));
        // No payment ends the wait.
        let head = tokio::time::timeout(PATIENCE / 2, Answer::of(waiting)).await.unwrap();
        let get = app.get(&path).await;
        assert_eq!((head.status, head.text.as_str()), (get.status, ""));
        assert_eq!(head.header("content-type"), get.header("content-type"));
        let length = get.text.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()));
    }
}

#[tokio::test]
async fn a_position_that_is_not_there_yet_is_refused() {
    let app = App::start().await;
    app.open_many(1, 1_000).await;
    follow(&app, 0, 1).await;
    let refused = app.get("/feed?after=2&wait_ms=30000").await;
    refused.assert_problem(400, "invalid_request");
    assert!(refused.json["detail"].as_str().unwrap().contains("last position, 1"));
}

#[tokio::test]
async fn one_who_waits_is_told_when_the_ledger_is_one_of_an_earlier_moment() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    follow(&app, 0, 2).await;
    let clock = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let before_us = app.database.count(clock).await;
    let waiting = tokio::spawn(app.request("GET", "/feed?after=2&wait_ms=30000").send());
    let looked = format!(
        "SELECT EXISTS (SELECT FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'payonce reader'
           AND query LIKE '%feed_state%' AND extract(epoch FROM query_start) * 1000000 > {before_us})"
    );
    app.database.until(&looked).await;
    app.database.go_back_to(1).await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), 400);
}

#[tokio::test]
async fn what_is_no_position_limit_or_wait_is_refused() {
    let app = App::start().await;
    for query in [
        "after=-1",
        "after=x",
        "after=",
        "after=9007199254740992",
        "limit=0",
        "limit=1001",
        "limit=%2B1",
        "wait_ms=30001",
        "wait_ms=%2B1",
        "wait_ms=-1",
        "wait_ms=x",
        "before=1",
        "after=0&after=0",
    ] {
        app.get(&format!("/feed?{query}")).await.assert_problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn the_feed_is_for_operators() {
    let app = App::start_with_tokens(2).await;
    app.ask(Some(&owner_of(1)), "GET", "/feed", None).await.assert_problem(403, "forbidden");
    app.ask(None, "GET", "/feed", None).await.assert_problem(401, "unauthenticated");
    assert_eq!(app.ask(Some(&operator()), "GET", "/feed", None).await.status, 200);
}

#[tokio::test]
async fn a_service_that_stops_keeps_no_reader_waiting() {
    let mut app = App::start().await;
    app.open_many(1, 1_000).await;
    follow(&app, 0, 1).await;
    let waiting = tokio::spawn(app.request("GET", "/feed?after=1&wait_ms=30000").send());
    let asks = "SELECT EXISTS (SELECT FROM pg_stat_activity
                WHERE datname = current_database() AND query LIKE '%feed_state%'
                  AND application_name = 'payonce reader')";
    app.database.until(asks).await;
    assert!(app.stop(Signal::TERM).success());
    let page = waiting.await.unwrap().unwrap();
    assert_eq!(page.status(), 200);
    assert_eq!(page.text().await.unwrap(), r#"{"payments":[],"next":1}"#);
}

/// How many sessions are elected.
async fn numbering_sessions(database: &Database) -> i64 {
    let elected = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                   WHERE locktype = 'advisory' AND granted AND application_name = 'payonce numbering'
                     AND pg_stat_activity.datname = current_database()";
    database.count(elected).await
}

#[tokio::test]
async fn another_process_goes_on_where_the_one_that_numbers_is_killed() {
    let database = Database::new().await;
    let mut first = App::start_on(&database, &[]);
    first.open_many(2, 1_000).await;
    follow(&first, 0, 2).await;
    let second = App::start_on(&database, &[]);
    for n in 0..20 {
        second.pay(1, 2, 1, &format!("k{n}")).await.assert_paid();
    }
    first.kill();
    for n in 20..40 {
        second.pay(1, 2, 1, &format!("k{n}")).await.assert_paid();
    }
    assert_in_order(&follow(&second, 0, 42).await);
    assert_eq!(numbering_sessions(&database).await, 1);
    database.assert_sound();
}

#[tokio::test]
async fn another_process_takes_over_from_one_that_is_paused_and_the_first_does_no_harm_when_it_wakes_up()
 {
    let database = Database::new().await;
    let first = App::start_on(&database, &[]);
    first.open_many(2, 1_000).await;
    follow(&first, 0, 2).await;
    let second = App::start_on(&database, &[]);
    kill_process(first.pid(), Signal::STOP).unwrap();
    for n in 0..10 {
        second.pay(1, 2, 1, &format!("k{n}")).await.assert_paid();
    }
    let seen = follow(&second, 0, 12).await;
    kill_process(first.pid(), Signal::CONT).unwrap();
    for n in 10..20 {
        second.pay(1, 2, 1, &format!("k{n}")).await.assert_paid();
    }
    let all = follow(&first, 0, 22).await;
    assert_in_order(&all);
    assert_eq!(all[..12], seen, "a position never changes");
    database.assert_sound();
}

async fn run(conn: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(conn).await.unwrap();
}

#[tokio::test]
async fn of_two_sessions_that_number_at_once_one_does() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    follow(&app, 0, 2).await;
    // Another process, that believes to be elected, has the row.
    let mut other = app.database.session().await;
    run(&mut other, "BEGIN; SELECT FROM feed_state FOR UPDATE").await;
    app.pay(1, 2, 1, "k").await.assert_paid();
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'payonce numbering'
                   AND wait_event_type = 'Lock')";
    app.database.until(waits).await;
    let number = "INSERT INTO feed_entries (first_position, batch_id)
                  SELECT 3, max(id) FROM payment_batches;
                  UPDATE feed_state SET last_position = 3; COMMIT";
    run(&mut other, number).await;
    app.pay(1, 2, 2, "l").await.assert_paid();
    assert_in_order(&follow(&app, 0, 4).await);
    app.database.assert_sound();
}

/// A payment as an older version writes it: it names no batch.
fn written_by_hand(id: u32, at: &str) -> String {
    format!(
        "INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                               to_balance_after, idempotency_key)
         VALUES ('00000000-0000-0000-0000-{id:012}', 3, 4, 1, {at}, 0, 0, 'by hand {id}')"
    )
}

fn by_hand(id: u32) -> String {
    format!("00000000-0000-0000-0000-{id:012}")
}

#[tokio::test]
async fn a_batch_that_commits_late_is_behind_those_that_were_quicker() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    follow(&app, 0, 2).await;
    let mut late = app.database.session().await;
    run(&mut late, &format!("BEGIN; {}", written_by_hand(1, "now()"))).await;
    app.pay(1, 2, 1, "k").await.assert_paid();
    let quick = follow(&app, 2, 1).await;
    assert_eq!(quick[0]["amount"], 1);
    run(&mut late, "COMMIT").await;
    app.pay(1, 2, 2, "l").await.assert_paid();
    let seen = follow(&app, 2, 3).await;
    assert_eq!(seen[0], quick[0]);
    assert!(seen.iter().any(|it| it["id"] == by_hand(1)), "{seen:?}");
}

#[tokio::test]
async fn batches_that_were_rolled_back_leave_no_gap() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let mut lost = app.database.session().await;
    for n in 0..5 {
        run(&mut lost, &format!("BEGIN; {}; ROLLBACK", written_by_hand(n, "now()"))).await;
        app.pay(1, 2, 1, &format!("k{n}")).await.assert_paid();
    }
    assert_in_order(&follow(&app, 0, 7).await);
    // They are not looked for any longer.
    let settled = "SELECT settled_batch = (SELECT max(id) FROM payment_batches)
                          AND settled_position = last_position FROM feed_state";
    eventually("all are settled", async || {
        app.pay(1, 2, 1, &uuid::Uuid::new_v4().to_string()).await.assert_paid();
        app.database.count(&format!("SELECT ({settled})::int::bigint")).await == 1
    })
    .await;
    app.database.assert_sound();
}

#[tokio::test]
async fn a_session_that_is_ended_from_outside_is_opened_again() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    follow(&app, 0, 2).await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'payonce numbering' AND datname = current_database()";
    app.database.execute(end).await;
    app.pay(1, 2, 1, "k").await.assert_paid();
    assert_in_order(&follow(&app, 0, 3).await);
    assert_eq!(app.settled_log().await, "", "what passes is no news");
}

#[tokio::test]
async fn positions_are_there_soon() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    follow(&app, 0, 2).await;
    let text = app.get("/metrics").await.text;
    assert!(text.contains("payonce_feed_position 2"), "{text}");
    let count = text.lines().find(|it| it.starts_with("payonce_feed_lag_seconds_count"));
    let batches: f64 = count.unwrap().split(' ').next_back().unwrap().parse().unwrap();
    assert!(batches >= 1.0);
}
