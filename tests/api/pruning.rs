//! The rows of old idempotency keys go, and what the keys promise stays.

use crate::harness::{App, Database, command, payment};

/// Makes keys look as if they were used so many days ago.
async fn age(database: &Database, keys: &str, days: u32) {
    let sql = format!(
        "UPDATE idempotency_keys SET created_at = now() - interval '{days} days 1 minute'
         WHERE key IN ({keys})"
    );
    database.execute(&sql).await;
}

/// Runs `payonce prune`, with settings from the environment: whether it succeeded, and what it said.
fn prune(database: &Database, env: &[(&str, &str)]) -> (bool, String) {
    let output = command(database).arg("prune").envs(env.iter().copied()).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(told).unwrap())
}

async fn keys(database: &Database) -> i64 {
    database.count("SELECT count(*) FROM idempotency_keys WHERE user_id = 1").await
}

/// A service that leaves pruning to the test.
async fn start() -> App {
    let app = App::start_with(&[("PAYONCE_PRUNE__IN_BACKGROUND", "false")]).await;
    app.open_many(2, 1_000).await;
    app
}

#[tokio::test]
async fn only_what_is_past_its_retention_goes() {
    let app = start().await;
    for key in ["young", "nearly", "old", "older"] {
        app.pay(1, 2, 10, key).await.assert_paid();
    }
    age(&app.database, "'nearly'", 29).await;
    age(&app.database, "'old'", 30).await;
    age(&app.database, "'older'", 400).await;
    let (ok, told) = prune(&app.database, &[]);
    assert!(ok && told.contains("2 idempotency keys"), "{told}");
    let left = app
        .database
        .count(
            "SELECT count(*) FROM idempotency_keys WHERE user_id = 1 AND key IN ('young', 'nearly')",
        )
        .await;
    assert_eq!((left, keys(&app.database).await), (2, 2));
    let (ok, told) = prune(&app.database, &[("PAYONCE_PRUNE__RETENTION_DAYS", "29")]);
    assert!(ok && told.contains("1 idempotency keys"), "{told}");
    app.database.assert_sound();
}

#[tokio::test]
async fn a_retry_of_a_pruned_key_is_answered_with_the_original_payment() {
    let app = start().await;
    let original = app.pay(1, 2, 1_000, "k").await;
    age(&app.database, "'k'", 30).await;
    assert!(prune(&app.database, &[]).0);
    assert_eq!(keys(&app.database).await, 0);
    let again = app.pay(1, 2, 1_000, "k").await;
    assert_eq!(again.text, original.text);
    assert!(again.is_replay());
    app.pay(1, 2, 1, "k").await.assert_problem(422, "idempotency_key_reused");
    assert_eq!(app.balance(2).await, 2_000);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_failure_that_was_pruned_runs_again_as_it_did_before() {
    let app = start().await;
    app.pay(1, 2, 5_000, "much").await.assert_problem(422, "insufficient_funds");
    age(&app.database, "'much'", 30).await;
    assert!(prune(&app.database, &[]).0);
    app.pay(2, 1, 1_000, "k").await.assert_paid();
    app.pay(1, 2, 5_000, "much").await.assert_problem(422, "insufficient_funds");
    app.database.assert_sound();
}

#[tokio::test]
async fn a_key_that_is_in_progress_stays() {
    let app = start().await;
    let held = "INSERT INTO idempotency_keys (user_id, key, status) VALUES (1, 'k', 'in_progress')";
    app.database.execute(held).await;
    age(&app.database, "'k'", 400).await;
    let (ok, told) = prune(&app.database, &[]);
    assert!(ok && told.contains(" 0 idempotency keys"), "{told}");
    assert_eq!(keys(&app.database).await, 1);
}

#[tokio::test]
async fn a_row_that_somebody_has_locked_is_left_for_the_next_time() {
    let app = start().await;
    for key in ["locked", "free"] {
        app.pay(1, 2, 10, key).await.assert_paid();
    }
    age(&app.database, "'locked', 'free'", 30).await;
    let mut outside = app.database.session().await;
    let lock = "BEGIN; SELECT FROM idempotency_keys WHERE key = 'locked' FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut outside).await.unwrap();
    let (ok, told) = prune(&app.database, &[]);
    assert!(ok && told.contains(" 1 idempotency keys"), "{told}");
    sqlx::raw_sql("COMMIT").execute(&mut outside).await.unwrap();
    let (ok, told) = prune(&app.database, &[]);
    assert!(ok && told.contains(" 1 idempotency keys"), "{told}");
}

#[tokio::test]
async fn every_page_of_the_table_is_swept_a_few_at_a_time() {
    let app = start().await;
    app.database
        .execute(
            "INSERT INTO idempotency_keys (user_id, key, status, fingerprint, response, created_at)
             SELECT 1, 'k' || n, 'failed', sha256(''), '{}', now() - interval '31 days'
             FROM generate_series(1, 2000) AS n",
        )
        .await;
    let pages = "SELECT pg_relation_size('idempotency_keys') / 8192";
    assert!(app.database.count(pages).await > 20);
    let steps = [("PAYONCE_PRUNE__STEP_PAGES", "3"), ("PAYONCE_PRUNE__PAUSE_MS", "0")];
    let (ok, told) = prune(&app.database, &steps);
    assert!(ok && told.contains(" 2000 idempotency keys"), "{told}");
    assert_eq!(keys(&app.database).await, 0);
}

#[tokio::test]
async fn the_service_prunes_by_itself_again_and_again_while_it_takes_payments() {
    let app = App::start_with(&[("PAYONCE_PRUNE__INTERVAL_SECONDS", "1")]).await;
    app.open_many(2, 1_000).await;
    for key in ["first", "second"] {
        let original = app.pay(1, 2, 10, key).await;
        age(&app.database, &format!("'{key}'"), 30).await;
        app.database
            .until("SELECT NOT EXISTS (SELECT FROM idempotency_keys WHERE user_id = 1)")
            .await;
        let again = app.pay(1, 2, 10, key).await;
        assert_eq!(again.text, original.text);
    }
    let metrics = app.get("/metrics").await.text;
    assert!(metrics.contains("\npayonce_pruned_keys_total 2\n"), "{metrics}");
    app.database.assert_sound();
}

#[tokio::test]
async fn one_process_at_a_time_prunes() {
    let app = start().await;
    let mut other = app.database.session().await;
    let lock = "SELECT pg_advisory_lock(hashtext('payonce prune')::bigint)";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let (ok, told) = prune(&app.database, &[]);
    assert!(!ok && told.contains("another process"), "{told}");
}

#[tokio::test]
async fn retries_that_race_with_the_pruner_never_pay_twice() {
    let app = App::start_with(&[("PAYONCE_PRUNE__IN_BACKGROUND", "false")]).await;
    app.open_many(2, 1_000).await;
    app.database
        .execute(
            "ALTER TABLE idempotency_keys ALTER created_at SET DEFAULT now() - interval '31 d'",
        )
        .await;
    let database = app.database.clone();
    let pruning = tokio::task::spawn_blocking(move || {
        (0..10).for_each(|_| assert!(prune(&database, &[("PAYONCE_PRUNE__PAUSE_MS", "0")]).0));
    });
    let mut round = 0;
    while !pruning.is_finished() || round < 20 {
        let body = payment(1, 2, 1, &format!("k{}", round % 20));
        let (one, two) = tokio::join!(app.send_payment(&body), app.send_payment(&body));
        one.assert_paid();
        assert_eq!(one.text, two.text);
        age(&app.database, &format!("'k{}'", round % 20), 30).await;
        round += 1;
    }
    pruning.await.unwrap();
    assert_eq!(app.database.payments().await, 20);
    app.database.assert_sound();
}
