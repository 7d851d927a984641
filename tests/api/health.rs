//! What the service says of itself to those who start, watch and replace it.

use crate::harness::{Answer, App, Database, command, eventually};

/// Lets the service see another time than that of the machine.
async fn set_clock(database: &Database, ahead: &str) {
    // Nothing comes before Postgres' own functions, so one of them is replaced.
    let sql = format!(
        "SET allow_system_table_mods = on;
         ALTER FUNCTION pg_catalog.clock_timestamp() RENAME TO clock_of_the_machine;
         CREATE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql
         AS $$ SELECT pg_catalog.clock_of_the_machine() + interval '{ahead}' $$"
    );
    database.execute(&sql).await;
}

#[tokio::test]
async fn ready_says_that_the_clocks_agree() {
    let app = App::start().await;
    let ready = app.get("/health/ready").await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json["status"], "ready");
    assert_eq!(ready.json["clock_skew_ms"], 0, "both are of this machine");
    assert!(ready.json.get("warning").is_none(), "{}", ready.text);
}

#[tokio::test]
async fn a_skew_of_more_than_five_seconds_is_reported_and_stops_nothing() {
    for (ahead, skew_ms) in [("1 hour", 3_600_000_i32), ("-6 s", -6_000)] {
        let database = Database::new().await;
        set_clock(&database, ahead).await;
        let app = App::start_on(&database, &[]);
        let ready = app.get("/health/ready").await;
        assert_eq!(ready.status, 200, "payments do not depend on the service's clock");
        let told = ready.json["clock_skew_ms"].as_i64().unwrap();
        assert!((told - i64::from(skew_ms)).abs() < 1_000, "{}", ready.text);
        assert!(ready.json["warning"].as_str().unwrap().contains("clocks"), "{}", ready.text);
        app.get("/health/ready").await;
        eventually("the operator is told", async || app.log().contains("far apart")).await;
        let log = app.settled_log().await;
        assert_eq!(log.matches("far apart").count(), 1, "once: {log}");
        let metrics = app.get("/metrics").await.text;
        let gauge = metrics.lines().find_map(|it| it.strip_prefix("payonce_clock_skew_seconds "));
        let skew_seconds: f64 = gauge.unwrap().parse().unwrap();
        assert!((skew_seconds * 1_000.0 - f64::from(skew_ms)).abs() < 1_000.0, "{skew_seconds}");
    }
}

#[tokio::test]
async fn a_skew_of_less_is_told_without_a_warning() {
    let database = Database::new().await;
    set_clock(&database, "4 s").await;
    let app = App::start_on(&database, &[]);
    let ready = app.get("/health/ready").await;
    assert!(ready.json["clock_skew_ms"].as_i64().unwrap() > 3_000, "{}", ready.text);
    assert!(ready.json.get("warning").is_none(), "{}", ready.text);
    assert_eq!(app.settled_log().await, "");
}

#[tokio::test]
async fn a_database_that_takes_no_payments_is_not_ready() {
    let database = Database::new().await;
    let app = App::start_on(&database, &[]);
    assert_eq!(app.get("/health/ready").await.status, 200);
    database
        .execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',
                                        current_database()); END $$",
        )
        .await;
    let without_migrating = [("PAYONCE_DATABASE__MIGRATE_ON_START", "false")];
    let app = App::start_on(&database, &without_migrating);
    app.get("/health/ready").await.assert_problem(503, "database_unavailable");
    eventually("the operator is told", async || app.log().contains("it is read-only")).await;
    let metrics = app.get("/metrics").await.text;
    assert!(metrics.contains("\npayonce_ready 0\n"), "{metrics}");
}

#[tokio::test]
async fn the_service_looks_by_itself_whether_it_is_ready() {
    let app = App::start().await;
    eventually("it has looked", async || {
        app.get("/metrics").await.text.contains("\npayonce_ready 1\n")
    })
    .await;
}

#[tokio::test]
async fn many_reads_do_not_make_it_unready() {
    let app = App::start_with(&[
        ("PAYONCE_DATABASE__READERS_MAX", "1"),
        ("PAYONCE_DATABASE__READ_TIMEOUT_MS", "600000"),
        ("PAYONCE_DATABASE__STATEMENT_TIMEOUT_MS", "600000"),
        ("PAYONCE_DATABASE__TRANSACTION_TIMEOUT_MS", "700000"),
    ])
    .await;
    app.open(1, 0).await;
    let mut outside = app.database.session().await;
    let lock = "BEGIN; LOCK TABLE payments IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut outside).await.unwrap();
    let reading = tokio::spawn(Answer::of(app.request("GET", "/payment_history/1")));
    app.database
        .until(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
             AND application_name = 'payonce reader' AND wait_event_type = 'Lock')",
        )
        .await;
    assert_eq!(app.get("/health/ready").await.status, 200);
    sqlx::raw_sql("COMMIT").execute(&mut outside).await.unwrap();
    assert_eq!(reading.await.unwrap().status, 200);
}

#[tokio::test]
async fn the_command_asks_the_service_whether_it_is_ready() {
    let app = App::start().await;
    let port = app.base.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost", "0.0.0.0"] {
        let output = command(&app.database)
            .args(["health"])
            .envs([("PORT", port), ("HOST", host)])
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && told.contains("\"ready\""), "{told}");
    }
    app.database.execute("ALTER TABLE accounts RENAME TO hidden").await;
    let output = command(&app.database).arg("health").env("PORT", port).output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("database_unavailable"), "{told}");
}

#[tokio::test]
async fn the_command_says_so_where_nothing_listens() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = unused.local_addr().unwrap().port().to_string();
    drop(unused);
    let output = crate::harness::bare_command().arg("health").env("PORT", port).output().unwrap();
    assert!(!output.status.success());
    assert!(!output.stderr.is_empty());
}
