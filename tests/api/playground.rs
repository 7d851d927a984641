//! Faults on demand: the playground's alone.

use serde_json::json;

use crate::harness::{App, Home, payment};

#[tokio::test]
async fn a_session_that_is_killed_before_commit_leaves_both_balances_as_they_were() {
    let home = Home::new();
    let app = home.start();
    let crash = app.post("/playground/crash", &payment(1, 2, 500, "k")).await;
    assert_eq!(crash.status, 200, "{}", crash.text);
    let untouched = json!({"from": 100_000, "to": 100_000});
    assert_eq!(crash.json["before"], untouched);
    assert_eq!(crash.json["written"], json!({"from": 99_500, "to": 100_500}));
    assert_eq!(crash.json["after"], untouched);
    assert_ne!(crash.json["error"], "");

    // The retry of a good client.
    app.pay(1, 2, 500, "k").await.assert_paid();
    assert_eq!((app.balance(1).await, app.balance(2).await), (99_500, 100_500));
    drop(app);
    assert!(home.audit());
}

#[tokio::test]
async fn what_would_not_be_written_is_refused_and_not_crashed() {
    let home = Home::new();
    let app = home.start();
    app.pay(1, 2, 500, "paid").await.assert_paid();
    let crash = async |body| app.post("/playground/crash", &body).await;
    crash(payment(1, 2, 500, "paid")).await.assert_problem(422, "idempotency_key_reused");
    crash(payment(1, 2, 100_001, "k")).await.assert_problem(422, "insufficient_funds");
    crash(payment(1, 99, 1, "k")).await.assert_problem(404, "account_not_found");
    crash(payment(99, 1, 1, "k")).await.assert_problem(404, "account_not_found");
    crash(payment(1, 1, 1, "k")).await.assert_problem(422, "same_account");
}

#[tokio::test]
async fn the_service_that_is_deployed_knows_no_such_route() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let crash = app.post("/playground/crash", &payment(1, 2, 500, "k")).await;
    crash.assert_problem(404, "not_found");
    assert_eq!(app.balance(1).await, 1_000);
    assert!(app.get("/openapi.json").await.json["paths"]["/playground/crash"].is_null());
}
