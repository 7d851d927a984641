//! No two payments touch one account at the same time; nothing deadlocks.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::harness::{
    A_WRITER_WAITS, Answer, App, Database, eventually, payment, payment_of, payment_of_under,
    refund, request_for_money,
};

/// Sends the payments through both processes in turn, `at_once` at a time.
async fn send_all(apps: &[App; 2], bodies: &[Value], at_once: usize) -> Vec<Answer> {
    stream::iter(bodies.iter().enumerate())
        .map(|(i, body)| apps[i % 2].send_payment(body))
        .buffered(at_once)
        .collect()
        .await
}

#[tokio::test]
async fn thousands_of_opposite_payments_neither_deadlock_nor_lose_a_cent() {
    let database = Database::new().await;
    database.find_deadlocks_early().await;
    let apps = [App::start_on(&database, &[]), App::start_on(&database, &[])];
    apps[0].open_many(4, 1_000_000).await;
    let bodies: Vec<_> = (0..4_000_i64)
        .map(|i| {
            let (a, b) = [(1, 2), (2, 1), (3, 1), (2, 4), (4, 3), (1, 4)][i as usize % 6];
            payment(a, b, 1 + i % 7, &format!("k{i}"))
        })
        .collect();
    let answers = send_all(&apps, &bodies, 200).await;
    answers.iter().for_each(Answer::assert_paid);
    assert_eq!(apps[0].database.payments().await, 4_000);
    for app in &apps {
        assert_eq!(app.settled_log().await, "", "no batch was posted again");
    }
    apps[0].database.assert_sound();
}

/// Does one of the things that change the ledger, of account `n % 4 + 1` and the next; whichever its turn is.
async fn do_something(app: &App, n: usize, requests: &[Value], paid: &[Value]) -> Answer {
    let from = 1 + i64::try_from(n % 4).unwrap();
    let to = 1 + from % 4;
    let key = format!("k{n}");
    let (request, made) = (&requests[n / 12 % requests.len()], &paid[n / 12 % paid.len()]);
    match n % 12 {
        0 => app.post("/accounts", &json!({"opening_balance": 5})).await,
        1 => app.post("/payment_requests", &request_for_money(from, to, 3)).await,
        2 => app.post("/payment_requests", &request_for_money(to, from, 3)).await,
        3 => app.send_payment(&payment_of(request)).await,
        4 => app.send_payment(&payment_of_under(request, &key)).await,
        5 => app.close(request, "decline").await,
        6 => app.void(from, &format!("k{}", n + 1)).await,
        7 => app.pay(from, to, 1, &key).await,
        8 => app.send_payment(&refund(made, 1, &key)).await,
        9 => {
            let bodies: Vec<Value> = (0..6)
                .map(|i| {
                    let (from, to) = if i % 2 == 0 { (from, to) } else { (to, from) };
                    payment(from, to, 1, &format!("{key}-{i}"))
                })
                .collect();
            app.send_payments(&bodies).await
        }
        10 => app.set_status(from, ["frozen", "open"][n / 12 % 2]).await,
        _ => app.pay(to, from, 1, &key).await,
    }
}

#[tokio::test]
async fn whatever_changes_the_ledger_at_two_processes_at_once_does_not_deadlock() {
    let database = Database::new().await;
    database.find_deadlocks_early().await;
    let apps = [App::start_on(&database, &[]), App::start_on(&database, &[])];
    apps[0].open_many(4, 1_000_000).await;
    let mut requests = Vec::new();
    let mut paid = Vec::new();
    for n in 0..60 {
        let (from, to) = (1 + n % 4, 1 + (n + 1) % 4);
        requests.push(apps[0].ask_for_money(from, to, 3).await);
        paid.push(apps[0].pay(from, to, 50, &format!("before-{n}")).await.json);
    }
    let (requests, paid) = (&requests, &paid);
    let answers: Vec<Answer> = stream::iter(0..3_000)
        .map(|n| do_something(&apps[n / 12 % 2], n, requests, paid))
        .buffered(150)
        .collect()
        .await;
    // Each was decided: none had to give up, and none was a fault of ours.
    let expected = [200, 201, 409, 422];
    let strange = answers.iter().find(|answer| !expected.contains(&answer.status));
    assert!(strange.is_none(), "{}", strange.unwrap().text);
    for app in &apps {
        assert_eq!(app.settled_log().await, "", "no batch was posted again");
    }
    database.assert_sound();
}

#[tokio::test]
async fn payments_of_many_to_one_payee_are_applied_one_after_another() {
    let apps = App::start_two().await;
    apps[0].open_many(20, 1_000).await;
    apps[0].open(21, 0).await;
    let bodies: Vec<_> = (0..400).map(|i| payment(1 + i % 20, 21, 1, &format!("k{i}"))).collect();
    let answers = send_all(&apps, &bodies, 100).await;
    answers.iter().for_each(Answer::assert_paid);
    // Each found the balance that the one before it left.
    let history = apps[0].history(21).await;
    let balances: Vec<i64> =
        history.iter().map(|it| it["balance_after"].as_i64().unwrap()).collect();
    assert_eq!(balances, (1..=400).rev().collect::<Vec<_>>());
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn a_payer_with_money_for_seven_of_forty_payments_makes_exactly_seven() {
    let apps = App::start_two().await;
    apps[0].open(1, 7 * 30 + 29).await;
    apps[0].open(2, 0).await;
    let bodies: Vec<_> = (0..40).map(|i| payment(1, 2, 30, &format!("k{i}"))).collect();
    let answers = send_all(&apps, &bodies, 40).await;
    let (paid, declined): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(paid.len(), 7);
    declined.iter().for_each(|answer| answer.assert_problem(422, "insufficient_funds"));
    assert_eq!((apps[0].balance(1).await, apps[1].balance(2).await), (29, 210));
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn a_row_locked_by_somebody_else_delays_only_the_payments_that_need_it() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "30000")]).await;
    app.open_many(6, 1_000).await;
    let outside = app.database.lock_accounts("1").await;

    let blocked: Vec<_> = (0..10)
        .map(|i| {
            if i % 2 == 0 {
                payment(1, 2, 1, &format!("out-{i}"))
            } else {
                payment(3, 1, 1, &format!("in-{i}"))
            }
        })
        .collect();
    let waiting = join_all(blocked.iter().map(|body| app.send_payment(body)));
    let going_on = async {
        for i in 0..200 {
            app.pay(3 + i % 2, 5 + i % 2, 1, &format!("free-{i}")).await.assert_paid();
        }
        assert_eq!(
            app.database
                .count("SELECT count(*) FROM payments WHERE 1 IN (from_id, to_id) AND from_id <> 0")
                .await,
            0
        );
        outside.release().await;
    };
    let (answers, ()) = tokio::join!(waiting, going_on);
    answers.iter().for_each(Answer::assert_paid);
    assert_eq!(app.database.payments().await, 210);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_payment_that_waits_for_a_row_holds_no_other_meanwhile() {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    let outside = app.database.lock_accounts("3").await;
    let waiting =
        tokio::spawn(Answer::of(app.request("PUT", "/send_payment").json(&payment(1, 3, 1, "k"))));

    let mut watcher = app.database.session().await;
    let mut other = app.database.session().await;
    let take = "BEGIN; SELECT FROM accounts WHERE id = 1 FOR UPDATE NOWAIT";
    let waits =
        "SELECT max(query_start)::text FROM pg_stat_activity WHERE datname = current_database()
                 AND application_name = 'payonce writer' AND wait_event_type = 'Lock'";
    eventually("account 1 is free while account 3 is waited for", async || {
        let before: Option<String> =
            sqlx::query_scalar(waits).fetch_one(&mut watcher).await.unwrap();
        let free = sqlx::raw_sql(take).execute(&mut other).await.is_ok();
        let after: Option<String> =
            sqlx::query_scalar(waits).fetch_one(&mut watcher).await.unwrap();
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        free && before.is_some() && before == after
    })
    .await;
    outside.release().await;
    waiting.await.unwrap().assert_paid();
    app.database.assert_sound();
}

#[tokio::test]
async fn a_payment_refused_for_a_busy_account_is_not_made_afterwards() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "1000")]).await;
    app.open_many(3, 1_000).await;
    let outside = app.database.lock_accounts("2").await;
    let busy = app.pay(1, 2, 10, "busy").await;
    busy.assert_problem(503, "account_busy");
    assert_eq!(busy.json["retryable"], true);
    outside.release().await;
    // The account is free again, and whatever waited for it would have had its turn before this.
    app.pay(3, 2, 5, "next").await.assert_paid();
    app.pay(1, 2, 7, "own-next").await.assert_paid();
    assert_eq!(app.balance(2).await, 1_012);
    // A retry with the same key is a first try.
    let retried = app.pay(1, 2, 10, "busy").await;
    retried.assert_paid();
    assert!(!retried.is_replay());
    assert_eq!(app.balance(2).await, 1_022);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_lock_and_no_payment_behind() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let outside = app.database.lock_accounts("2").await;
    let body = payment(1, 2, 1, "gone").to_string();
    let head = format!(
        "PUT /send_payment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut wire =
        tokio::net::TcpStream::connect(app.base.strip_prefix("http://").unwrap()).await.unwrap();
    wire.write_all(head.as_bytes()).await.unwrap();
    app.database.until(A_WRITER_WAITS).await;
    // A reset, as when a machine goes away: the service drops the request.
    wire.set_zero_linger().unwrap();
    drop(wire);
    let gives_up = format!("SELECT NOT ({})", A_WRITER_WAITS.strip_prefix("SELECT ").unwrap());
    app.database.until(&gives_up).await;
    let mut quiet = 0;
    eventually("nobody waits for the account any more", async || {
        let still = app.database.count(&format!("SELECT ({A_WRITER_WAITS})::int::bigint")).await;
        quiet = if still == 0 { quiet + 1 } else { 0 };
        quiet > 40
    })
    .await;
    outside.release().await;
    app.pay(1, 2, 1, "here").await.assert_paid();
    assert_eq!(app.database.payments().await, 1);
    app.database.assert_sound();
}

#[tokio::test]
async fn what_was_refused_while_it_stood_in_line_is_never_made_later() {
    let app = App::start_with(&[
        ("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "300"),
        ("PAYONCE_WRITER__LOCK_WAIT_MS_MAX", "1500"),
        ("PAYONCE_WRITER__COUNT", "1"),
    ])
    .await;
    app.open_many(4, 1_000).await;
    let outside = app.database.lock_accounts("1, 3").await;
    // From now on account 1 is known to be locked.
    app.pay(1, 2, 1, "first").await.assert_problem(503, "account_busy");
    // The only writer waits for account 3. Meanwhile the time of a payment in line is over, and
    // only then the writer comes to it, to set it aside.
    let request = app.request("PUT", "/send_payment").json(&payment(3, 4, 1, "in-front"));
    let in_front = tokio::spawn(Answer::of(request));
    app.database.until(A_WRITER_WAITS).await;
    app.pay(1, 2, 1, "in-line").await.assert_problem(503, "overloaded");
    in_front.await.unwrap().assert_problem(503, "account_busy");
    outside.release().await;
    eventually("the account is free again", async || app.pay(1, 2, 1, "last").await.status == 200)
        .await;
    assert_eq!(app.database.payments().await, 1);
    app.database.assert_sound();
}

#[tokio::test]
async fn payments_that_arrive_together_share_a_commit_and_say_which() {
    let app = App::start_with(&[("PAYONCE_WRITER__COUNT", "1")]).await;
    app.open_many(10, 1_000).await;
    let bodies: Vec<_> =
        (0..100).map(|i| payment(1 + i % 10, 1 + (i + 1) % 10, 1, &format!("k{i}"))).collect();
    let answers = join_all(bodies.iter().map(|body| app.send_payment(body))).await;
    let mut batches = HashSet::new();
    for answer in &answers {
        let timing = answer.header("server-timing").unwrap();
        let names: BTreeSet<&str> =
            timing.split(", ").map(|entry| entry.split(';').next().unwrap()).collect();
        assert_eq!(names, BTreeSet::from(["queue", "lock", "commit", "batch"]));
        batches.insert(timing.split("batch;desc=").nth(1).unwrap().to_owned());
    }
    assert!(batches.len() < 100, "one hundred payments, {} batches", batches.len());
}

#[tokio::test]
async fn one_payment_per_transaction_is_a_setting_and_keeps_every_promise() {
    let app = App::start_with(&[("PAYONCE_WRITER__BATCH_MAX", "1")]).await;
    app.open_many(3, 1_000).await;
    let bodies: Vec<_> =
        (0..60).map(|i| payment(1 + i % 3, 1 + (i + 1) % 3, 1, &format!("k{}", i / 2))).collect();
    let answers = join_all(bodies.iter().map(|body| app.send_payment(body))).await;
    answers.iter().for_each(Answer::assert_paid);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_what_was_refused_is_not_done() {
    let app = App::start_with(&[
        ("PAYONCE_WRITER__QUEUE_MAX", "4"),
        ("PAYONCE_WRITER__BATCH_MAX", "1"),
        ("PAYONCE_WRITER__COUNT", "1"),
    ])
    .await;
    app.open_many(2, 1_000).await;
    let bodies: Vec<_> = (0..300).map(|i| payment(1, 2, 1, &format!("k{i}"))).collect();
    let answers = join_all(bodies.iter().map(|body| app.send_payment(body))).await;
    let (paid, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!refused.is_empty());
    refused.iter().for_each(|answer| answer.assert_problem(503, "overloaded"));
    assert_eq!(app.database.payments().await, paid.len() as i64);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_payment_with_accounts_of_its_own_passes_those_that_wait() {
    // The first batch waits for its row as long as the test lasts.
    let app = App::start_with(&[
        ("PAYONCE_WRITER__LOCK_WAIT_MS_MAX", "30000"),
        ("PAYONCE_DATABASE__STATEMENT_TIMEOUT_MS", "40000"),
        ("PAYONCE_DATABASE__TRANSACTION_TIMEOUT_MS", "50000"),
        ("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "60000"),
    ])
    .await;
    app.open_many(5, 1_000).await;
    let outside = app.database.lock_accounts("1").await;
    let send = |from: i64, to: i64, key: &str| {
        let request = app.request("PUT", "/send_payment").json(&payment(from, to, 10, key));
        tokio::spawn(Answer::of(request))
    };
    let first = send(1, 2, "first");
    app.database.until(A_WRITER_WAITS).await;
    // These need an account of the first batch, and stand in line for it.
    let behind: Vec<_> = (0..5).map(|n| send(2, 3, &format!("behind-{n}"))).collect();
    for n in 0..5 {
        let key = format!("passing-{n}");
        let passing = app.pay(4, 5, 10, &key);
        let passed = tokio::time::timeout(Duration::from_secs(15), passing).await;
        passed.expect("a payment waited for rows that it does not need").assert_paid();
    }
    outside.release().await;
    first.await.unwrap().assert_paid();
    for answer in behind {
        answer.await.unwrap().assert_paid();
    }
    app.database.assert_sound();
}
