//! Debit and credit happen together or not at all.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Answer, App, eventually, payment, request_for_money};

#[tokio::test]
async fn a_payment_moves_the_same_amount_from_one_account_to_the_other() {
    let app = App::start().await;
    app.open(1, 1_000).await;
    app.open(2, 50).await;
    let paid = app.pay(1, 2, 300, "k").await;
    paid.assert_paid();
    assert_eq!(paid.json["balance_after"], 700);
    assert_eq!((app.balance(1).await, app.balance(2).await), (700, 350));
    app.database.assert_sound();
}

#[tokio::test]
async fn a_declined_payment_changes_neither_account() {
    let app = App::start().await;
    app.open_many(2, 100).await;
    app.pay(1, 2, 101, "k").await.assert_problem(422, "insufficient_funds");
    app.pay(1, 2, 100, "all-of-it").await.assert_paid();
    assert_eq!((app.balance(1).await, app.balance(2).await), (0, 200));
    app.database.assert_sound();
}

/// A constraint trigger that is deferred runs inside COMMIT: everything is written, nothing is
/// committed. There it waits for a lock that the test holds.
const STOP_BEFORE_COMMIT: &str = "
    CREATE FUNCTION stop_before_commit() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
        $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER stop_before_commit AFTER INSERT ON payments
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stop_before_commit()";

const STOPPED: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory')";

#[tokio::test]
async fn a_session_killed_between_writing_and_commit_leaves_nothing_half_done() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    app.database.execute(STOP_BEFORE_COMMIT).await;
    let mut holder = app.database.session().await;
    sqlx::raw_sql("SELECT pg_advisory_lock(4711)").execute(&mut holder).await.unwrap();

    let body = payment(1, 2, 400, "k");
    let paying = app.send_payment(&body);
    let killing = async {
        for _ in 0..2 {
            app.database.until(STOPPED).await;
            app.database
                .execute(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event = 'advisory'",
                )
                .await;
            assert_eq!((app.balance(1).await, app.balance(2).await), (1_000, 1_000));
            assert_eq!(app.database.payments().await, 0);
        }
        sqlx::raw_sql("SELECT pg_advisory_unlock(4711)").execute(&mut holder).await.unwrap();
    };
    // The service finds out by posting again: the client gets a definite answer.
    let (answer, ()) = tokio::join!(paying, killing);
    answer.assert_paid();
    assert_eq!((app.balance(1).await, app.balance(2).await), (600, 1_400));
    assert!(app.send_payment(&body).await.is_replay());
    app.database.assert_sound();
}

/// Makes every commit take longer than the service waits for a transaction: its outcome is unknown.
async fn app_with_slow_commits() -> App {
    let app = App::start_with(&[
        ("PAYONCE_WRITER__LOCK_WAIT_MS_MAX", "50"),
        ("PAYONCE_DATABASE__STATEMENT_TIMEOUT_MS", "200"),
        ("PAYONCE_DATABASE__TRANSACTION_TIMEOUT_MS", "300"),
        ("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "1000"),
    ])
    .await;
    app.open_many(2, 1_000).await;
    app.database
        .execute(
            "CREATE FUNCTION commit_slowly() RETURNS trigger LANGUAGE plpgsql
                 SET lock_timeout = 0 SET statement_timeout = 0 AS
                 $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER commit_slowly AFTER INSERT ON payments
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION commit_slowly();
             CREATE CONSTRAINT TRIGGER commit_slowly AFTER INSERT ON accounts
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION commit_slowly();
             CREATE CONSTRAINT TRIGGER commit_slowly AFTER INSERT ON payment_requests
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION commit_slowly();
             CREATE CONSTRAINT TRIGGER commit_slowly AFTER INSERT ON idempotency_keys
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION commit_slowly()",
        )
        .await;
    app
}

#[tokio::test]
async fn nobody_is_told_that_nothing_was_done_while_a_commit_is_in_doubt() {
    let app = app_with_slow_commits().await;
    let mut holder = app.database.session().await;
    sqlx::raw_sql("SELECT pg_advisory_lock(4711)").execute(&mut holder).await.unwrap();
    // The first commit hangs and holds both rows, so later attempts find the accounts locked.
    let answer = app.pay(1, 2, 400, "k").await;
    answer.assert_problem(503, "database_unavailable");
    assert!(answer.text.contains("may not be known"), "{}", answer.text);
    sqlx::raw_sql("SELECT pg_advisory_unlock(4711)").execute(&mut holder).await.unwrap();
    eventually("a retry finds out", async || app.pay(1, 2, 400, "k").await.status == 200).await;
    assert_eq!((app.balance(1).await, app.balance(2).await), (600, 1_400));
    app.database.assert_sound();
}

#[tokio::test]
async fn an_account_is_opened_once_although_its_commit_was_in_doubt() {
    let app = app_with_slow_commits().await;
    let mut holder = app.database.session().await;
    sqlx::raw_sql("SELECT pg_advisory_lock(4711)").execute(&mut holder).await.unwrap();
    let body = json!({"name": "Once", "opening_balance": 100});
    let opening = app.post("/accounts", &body);
    let freeing = async {
        app.database.until(STOPPED).await;
        // Long enough for the service to give the connection up, and to try again.
        eventually("tried again", async || app.log().contains("tried again")).await;
        sqlx::raw_sql("SELECT pg_advisory_unlock(4711)").execute(&mut holder).await.unwrap();
    };
    let (_, ()) = tokio::join!(opening, freeing);
    app.database.until("SELECT EXISTS (SELECT FROM accounts WHERE name = 'Once')").await;
    app.post("/accounts", &json!({"name": "Next"})).await;
    assert_eq!(app.database.count("SELECT count(*) FROM accounts WHERE name = 'Once'").await, 1);
    app.database.assert_sound();
}

#[tokio::test]
async fn money_is_asked_for_once_although_the_commit_was_in_doubt_and_there_was_no_key() {
    let app = app_with_slow_commits().await;
    let mut holder = app.database.session().await;
    sqlx::raw_sql("SELECT pg_advisory_lock(4711)").execute(&mut holder).await.unwrap();
    let body = request_for_money(1, 2, 10);
    let asking = app.post("/payment_requests", &body);
    let freeing = async {
        app.database.until(STOPPED).await;
        // Long enough for the service to give the connection up, and to try again.
        eventually("tried again", async || app.log().contains("posted again")).await;
        sqlx::raw_sql("SELECT pg_advisory_unlock(4711)").execute(&mut holder).await.unwrap();
    };
    let (_, ()) = tokio::join!(asking, freeing);
    app.database.until("SELECT EXISTS (SELECT FROM payment_requests)").await;
    eventually("the accounts are free", async || {
        app.post("/payment_requests", &request_for_money(2, 1, 10)).await.status == 201
    })
    .await;
    let of_the_first = "SELECT count(*) FROM payment_requests WHERE from_id = 1";
    assert_eq!(app.database.count(of_the_first).await, 1);
    app.database.assert_sound();
}

#[tokio::test]
async fn nobody_is_told_that_a_key_is_voided_while_the_commit_is_in_doubt() {
    let app = app_with_slow_commits().await;
    let mut holder = app.database.session().await;
    sqlx::raw_sql("SELECT pg_advisory_lock(4711)").execute(&mut holder).await.unwrap();
    let answer = app.void(1, "k").await;
    answer.assert_problem(503, "database_unavailable");
    assert!(answer.text.contains("may not be known"), "{}", answer.text);
    sqlx::raw_sql("SELECT pg_advisory_unlock(4711)").execute(&mut holder).await.unwrap();
    eventually("a retry finds out", async || app.void(1, "k").await.status == 200).await;
    app.pay(1, 2, 400, "k").await.assert_problem(422, "idempotency_key_voided");
    app.database.assert_sound();
}

#[tokio::test]
async fn the_service_killed_before_its_commit_leaves_the_key_usable() {
    let mut app = App::start().await;
    app.open_many(2, 1_000).await;
    app.database.execute(STOP_BEFORE_COMMIT).await;
    let mut holder = app.database.session().await;
    sqlx::raw_sql("SELECT pg_advisory_lock(4711)").execute(&mut holder).await.unwrap();
    let request = app.request("PUT", "/send_payment").json(&payment(1, 2, 400, "k"));
    let paying = tokio::spawn(Answer::try_of(request));
    app.database.until(STOPPED).await;
    app.kill();
    assert!(paying.await.unwrap().is_err(), "the wire was cut");
    sqlx::raw_sql("SELECT pg_advisory_unlock(4711)").execute(&mut holder).await.unwrap();

    let again = App::start_on(&app.database, &[]);
    again.pay(1, 2, 400, "k").await.assert_paid();
    assert_eq!((again.balance(1).await, again.balance(2).await), (600, 1_400));
    again.database.assert_sound();
}

#[tokio::test]
async fn the_service_killed_under_load_loses_nothing_and_pays_nothing_twice() {
    let mut app = App::start().await;
    app.open_many(10, 100_000).await;
    let database = app.database.clone();
    let bodies: Vec<_> = (0..400)
        .map(|i| payment(1 + i % 10, 1 + (i + 1 + i / 10 % 8) % 10, 1 + i, &format!("key-{i}")))
        .collect();
    let mut acknowledged = HashSet::new();
    for round in 0..3 {
        let sent = bodies.iter().map(|body| app.request("PUT", "/send_payment").json(body));
        let paying: Vec<_> = sent.map(|request| tokio::spawn(Answer::try_of(request))).collect();
        // Somewhere in the middle: when some are in the ledger and others are not.
        let some =
            format!("SELECT count(*) > {} FROM payments WHERE from_id <> 0", 40 + round * 120);
        database.until(&some).await;
        app.kill();
        for answer in join_all(paying).await.into_iter().flatten().flatten() {
            answer.assert_paid();
            acknowledged.insert(answer.json["id"].as_str().unwrap().to_owned());
        }
        database.assert_sound();
        app = App::start_on(&database, &[]);
    }
    let answers = join_all(bodies.iter().map(|body| app.send_payment(body))).await;
    answers.iter().for_each(Answer::assert_paid);
    let ids: HashSet<String> =
        answers.iter().map(|answer| answer.json["id"].as_str().unwrap().to_owned()).collect();
    assert!(acknowledged.is_subset(&ids));
    assert_eq!(database.payments().await, 400);
    database.assert_sound();
}

#[tokio::test]
async fn a_payment_that_the_database_refuses_fails_alone() {
    let app = App::start().await;
    app.open_many(2, 100_000).await;
    // The database has a rule that the service does not know.
    app.database.execute("ALTER TABLE payments ADD CONSTRAINT unlucky CHECK (amount <> 13)").await;
    let bodies: Vec<_> =
        (0..60).map(|i| payment(1, 2, if i == 31 { 13 } else { 10 }, &format!("k-{i}"))).collect();
    let answers = join_all(bodies.iter().map(|body| app.send_payment(body))).await;
    for (i, answer) in answers.iter().enumerate() {
        if i == 31 {
            answer.assert_problem(500, "internal");
            assert!(
                !answer.text.contains("unlucky"),
                "the client is not told what the database said"
            );
        } else {
            answer.assert_paid();
        }
    }
    eventually("the operator is told", async || app.log().contains("unlucky")).await;
    assert_eq!(app.log().matches("unlucky").count(), 1, "once: {}", app.log());
    assert_eq!(app.database.payments().await, 59);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_balance_cannot_pass_its_limit() {
    const MAX: i64 = 9_007_199_254_740_991;
    let app = App::start().await;
    app.open(1, MAX - 10).await;
    let too_much = app.post("/accounts", &json!({"id": 2, "opening_balance": 11})).await;
    too_much.assert_problem(422, "balance_limit");
    app.get("/accounts/2").await.assert_problem(404, "account_not_found");
    app.open(2, 10).await;
    app.pay(2, 1, 10, "to-the-edge").await.assert_paid();
    assert_eq!(app.balance(1).await, MAX);
    assert_eq!(app.balance(0).await, -MAX);
    app.pay(0, 1, 1, "over-it").await.assert_problem(422, "balance_limit");
    app.database.assert_sound();
}

#[tokio::test]
async fn a_lost_connection_is_replaced_without_the_clients_noticing() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for round in 0..5 {
        app.pay(1, 2, 1, &format!("before-{round}")).await.assert_paid();
        assert_eq!(app.get("/accounts/1").await.status, 200);
        app.database
            .execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name LIKE 'payonce%'",
            )
            .await;
        assert_eq!(app.get("/accounts/1").await.status, 200);
        app.pay(1, 2, 1, &format!("after-{round}")).await.assert_paid();
    }
    assert_eq!(app.balance(2).await, 1_010);
    app.database.assert_sound();
}
