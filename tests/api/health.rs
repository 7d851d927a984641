//! What the service says of itself to those who start, watch and replace it.

use crate::harness::{App, Database, command, eventually};

/// Lets the sessions that begin from now on see another time than that of the machine.
async fn set_clock(database: &Database, ahead: &str) {
    let sql = format!(
        "CREATE SCHEMA IF NOT EXISTS skewed;
         GRANT USAGE ON SCHEMA skewed TO PUBLIC;
         CREATE OR REPLACE FUNCTION skewed.clock_timestamp() RETURNS timestamptz LANGUAGE sql
         AS $$ SELECT pg_catalog.clock_timestamp() + interval '{ahead}' $$;
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = skewed, pg_catalog, public',
                                    current_database()); END $$"
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
        assert_eq!(app.log().matches("far apart").count(), 1, "once: {}", app.log());
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
    assert_eq!(app.log(), "");
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
