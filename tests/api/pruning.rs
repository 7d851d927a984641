//! The rows of old idempotency keys go, and what the keys promise stays.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::harness::{
    App, Database, command, eventually, id_of, payment, payment_of, payment_of_under, refund,
};

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

/// From now on every key is old when it is written. Ten sweeps begin, one after the other.
async fn prune_all_keys(database: &Database) -> JoinHandle<()> {
    let old = "ALTER TABLE idempotency_keys ALTER created_at SET DEFAULT now() - interval '31 d'";
    database.execute(old).await;
    let database = database.clone();
    tokio::task::spawn_blocking(move || {
        (0..10).for_each(|_| assert!(prune(&database, &[("PAYONCE_PRUNE__PAUSE_MS", "0")]).0));
    })
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
async fn a_refund_whose_key_was_pruned_is_given_again_and_counts_once() {
    let app = start().await;
    let paid = app.pay(1, 2, 500, "paid").await.json;
    let body = refund(&paid, 300, "back");
    let original = app.send_payment(&body).await;
    original.assert_paid();
    age(&app.database, "'paid', 'back'", 30).await;
    assert!(prune(&app.database, &[]).0);
    let kept = "SELECT count(*) FROM idempotency_keys WHERE key IN ('paid', 'back')";
    assert_eq!(app.database.count(kept).await, 0);
    let again = app.send_payment(&body).await;
    assert_eq!((again.is_replay(), &again.text), (true, &original.text));
    // The key is that refund's: of another payment it is none, nor is it an ordinary payment's.
    let other = app.pay(1, 2, 300, "other").await.json;
    app.send_payment(&refund(&other, 300, "back"))
        .await
        .assert_problem(422, "idempotency_key_reused");
    app.pay(2, 1, 300, "back").await.assert_problem(422, "idempotency_key_reused");
    // And what is left is what was left.
    app.send_payment(&refund(&paid, 201, "rest"))
        .await
        .assert_problem(422, "refund_exceeds_payment");
    app.send_payment(&refund(&paid, 200, "rest")).await.assert_paid();
    assert_eq!(app.balance(1).await, 700);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_request_stays_paid_when_the_keys_of_its_payment_are_pruned() {
    let app = start().await;
    let request = app.ask_for_money(1, 2, 30).await;
    let original = app.send_payment(&payment_of_under(&request, "mine")).await;
    original.assert_paid();
    app.database
        .execute("UPDATE idempotency_keys SET created_at = now() - interval '31 days'")
        .await;
    assert!(prune(&app.database, &[]).0);
    let kept = "SELECT count(*) FROM idempotency_keys WHERE user_id = 1";
    assert_eq!(app.database.count(kept).await, 1, "the client's key, of which no id would tell");
    for body in [
        payment_of(&request),
        payment_of_under(&request, "mine"),
        payment_of_under(&request, "another"),
    ] {
        let again = app.send_payment(&body).await;
        assert_eq!((again.is_replay(), &again.text), (true, &original.text), "{body}");
    }
    assert_eq!(app.outcome(1, "mine").await.json["id"], original.json["id"]);
    assert_eq!(app.void(1, "mine").await.json["voided"], false);
    app.pay(1, 2, 30, "mine").await.assert_problem(422, "idempotency_key_reused");
    assert_eq!(app.database.payments().await, 1);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_key_that_paid_something_else_and_was_pruned_pays_no_request() {
    let app = start().await;
    let original = app.pay(1, 2, 10, "used").await;
    age(&app.database, "'used'", 30).await;
    assert!(prune(&app.database, &[]).0);
    let request = app.ask_for_money(1, 2, 10).await;
    app.send_payment(&payment_of_under(&request, "used"))
        .await
        .assert_problem(422, "idempotency_key_reused");
    assert_eq!(app.request_now(&request).await["status"], "open");
    let again = app.pay(1, 2, 10, "used").await;
    assert_eq!((again.is_replay(), again.text), (true, original.text));
    app.database.assert_sound();
}

#[tokio::test]
async fn a_key_that_paid_and_was_pruned_is_not_voided() {
    let app = start().await;
    let original = app.pay(1, 2, 10, "k").await;
    let back = app.send_payment(&refund(&original.json, 5, "back")).await;
    age(&app.database, "'k', 'back'", 30).await;
    assert!(prune(&app.database, &[]).0);
    for (payer, key, receipt) in [(1, "k", &original.text), (2, "back", &back.text)] {
        assert_eq!(app.outcome(payer, key).await.status, 200);
        let voided = app.void(payer, key).await;
        let expected = format!("{{\"voided\":false,\"payment\":{receipt}}}");
        assert_eq!((voided.status, voided.text), (200, expected));
    }
    let again = app.pay(1, 2, 10, "k").await;
    assert_eq!((again.is_replay(), again.text), (true, original.text));
    assert_eq!(app.outcome(1, "k").await.json["id"], *id_of(&original.json));
    app.database.assert_sound();
}

#[tokio::test]
async fn a_voided_key_is_never_pruned() {
    let app = start().await;
    assert_eq!(app.void(1, "k").await.json["voided"], true);
    age(&app.database, "'k'", 4_000).await;
    let (ok, told) = prune(&app.database, &[]);
    assert!(ok && told.contains(" 0 idempotency keys"), "{told}");
    app.pay(1, 2, 10, "k").await.assert_problem(422, "idempotency_key_voided");
    app.database.assert_sound();
}

#[tokio::test]
async fn voids_that_race_with_the_pruner_never_deny_a_payment() {
    let app = start().await;
    let pruning = prune_all_keys(&app.database).await;
    let mut round = 0;
    while !pruning.is_finished() || round < 20 {
        let key = format!("k{round}");
        let paid = app.pay(1, 2, 1, &key).await;
        let (voided, again) = tokio::join!(app.void(1, &key), app.pay(1, 2, 1, &key));
        assert_eq!(voided.json, serde_json::json!({"voided": false, "payment": paid.json}));
        assert_eq!((again.is_replay(), again.text), (true, paid.text));
        app.pay(2, 1, 1, &key).await.assert_paid();
        round += 1;
    }
    pruning.await.unwrap();
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

/// A process that has looked whether it is to sweep, and has decided against it.
async fn start_one_that_is_not_due(database: &Database) -> App {
    let app = App::start_on(database, &[("PAYONCE_TELEMETRY__FILTER", "payonce=debug")]);
    eventually("it has looked", async || app.log().contains("within the interval")).await;
    app
}

#[tokio::test]
async fn processes_and_restarts_sweep_a_database_once_in_each_interval() {
    let app = App::start().await;
    app.database.until("SELECT EXISTS (SELECT FROM key_sweeps)").await;
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 10, "k").await.assert_paid();
    age(&app.database, "'k'", 30).await;
    for minutes in [0, 59] {
        let last = format!("UPDATE key_sweeps SET last_at = now() - interval '{minutes} min'");
        app.database.execute(&last).await;
        start_one_that_is_not_due(&app.database).await;
        assert_eq!(keys(&app.database).await, 1);
    }
    // By hand it is always time.
    assert!(prune(&app.database, &[]).0);
    assert_eq!(keys(&app.database).await, 0);
    start_one_that_is_not_due(&app.database).await;
}

#[tokio::test]
async fn a_sweep_that_died_or_had_a_wrong_clock_is_made_up_for() {
    let app = App::start().await;
    app.database.until("SELECT EXISTS (SELECT FROM key_sweeps)").await;
    app.open_many(2, 1_000).await;
    // One that died has noted when it began, and no more.
    for last in ["- interval '60 min'", "+ interval '10 years'"] {
        let key = format!("'{last}'").replace(['\'', ' '], "");
        app.pay(1, 2, 10, &key).await.assert_paid();
        age(&app.database, &format!("'{key}'"), 30).await;
        let last = format!("UPDATE key_sweeps SET last_at = now() {last}");
        app.database.execute(&last).await;
        let _other = App::start_on(&app.database, &[]);
        app.database
            .until("SELECT NOT EXISTS (SELECT FROM idempotency_keys WHERE user_id = 1)")
            .await;
    }
}

#[tokio::test]
async fn one_process_at_a_time_prunes() {
    let app = start().await;
    let mut other = app.database.session().await;
    let lock = "SELECT pg_advisory_lock(hashtext('payonce prune'), hashtext('public'))";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let (ok, told) = prune(&app.database, &[]);
    assert!(!ok && told.contains("another process"), "{told}");
}

#[tokio::test]
async fn retries_that_race_with_the_pruner_never_pay_twice() {
    let app = start().await;
    let pruning = prune_all_keys(&app.database).await;
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

/// A wire to the database that falls silent, without being closed, when something is sent over it.
struct SilentWire {
    url: String,
    is_silent_at: watch::Sender<Option<&'static str>>,
}

impl SilentWire {
    async fn to(database: &Database) -> Self {
        let socket = database.socket_directory().join(".s.PGSQL.5432");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_silent_at, silent) = watch::channel(None);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    tokio::io::copy(&mut from_server, &mut to_client).await.ok();
                });
                let silent = silent.clone();
                tokio::spawn(async move {
                    let mut bytes = vec![0; 65_536];
                    while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
                        let what = *silent.borrow();
                        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                        if what.is_some_and(|what| text.contains(what)) {
                            std::future::pending::<()>().await;
                        }
                        if to_server.write_all(&bytes[..count]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let role = crate::harness::SERVICE_ROLE;
        let name = database.name();
        Self { url: format!("postgres://{role}@127.0.0.1:{port}/{name}"), is_silent_at }
    }
}

#[tokio::test]
async fn a_connection_that_falls_silent_does_not_end_the_pruning() {
    let database = Database::new().await;
    let wire = SilentWire::to(&database).await;
    wire.is_silent_at.send_replace(Some("remove_old_keys"));
    let mut serve = command(&database);
    serve.env("DATABASE_URL", &wire.url).envs([
        ("PAYONCE_PRUNE__INTERVAL_SECONDS", "1"),
        ("PAYONCE_DATABASE__STATEMENT_TIMEOUT_MS", "900"),
        ("PAYONCE_DATABASE__TRANSACTION_TIMEOUT_MS", "1000"),
    ]);
    let app = tokio::task::spawn_blocking({
        let database = database.clone();
        move || App::spawn(serve, database)
    });
    let app = app.await.unwrap();
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 10, "k").await.assert_paid();
    age(&database, "'k'", 30).await;
    eventually("the operator is told", async || app.log().contains("were not removed")).await;
    wire.is_silent_at.send_replace(None);
    // The server's half of the silent connection still has the pruners' lock, until it ends.
    database
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'payonce pruner'",
        )
        .await;
    database.until("SELECT NOT EXISTS (SELECT FROM idempotency_keys WHERE key = 'k')").await;
}
