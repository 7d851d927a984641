//! An upgrade without a pause: the old version and the new one work side by side on one database,
//! and a migration stands in nobody's way.

use std::process::Stdio;

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use sqlx::migrate::{Migration, Migrator};
use sqlx::{AssertSqlSafe, Column, Connection, Executor, PgConnection, SqlSafeStr, TypeInfo};

use crate::harness::{Answer, App, Database, SERVICE_ROLE, command, eventually, payment, refund};

/// The queries of released versions, and the schemas that they were checked against. A release adds its `sqlx-data.json`
/// here; one that nobody runs any more may go.
const RELEASED: [(&str, &str); 2] = [
    ("0.1.0", include_str!("released/sqlx-data-0.1.0.json")),
    ("0.2.0", include_str!("released/sqlx-data-0.2.0.json")),
];

#[tokio::test]
async fn every_statement_of_a_released_version_works_on_the_schema_of_today() {
    let database = Database::new().await;
    for (version, data) in RELEASED {
        let queries: Vec<Value> = serde_json::from_str(data).unwrap();
        assert!(queries.len() > 30);
        for query in queries {
            let sql = query["query"].as_str().unwrap();
            // The audit and the migrations are of the owner.
            let of_the_owner = sql.starts_with("/* audit */")
                || sql.contains("grant_rights_of_the_service")
                || sql.starts_with("DO $$");
            let url = if of_the_owner { &database.url } else { &database.service_url() };
            let mut conn = PgConnection::connect(url).await.unwrap();
            let described = conn
                .describe(AssertSqlSafe(sql.to_owned()).into_sql_str())
                .await
                .unwrap_or_else(|error| panic!("{version} cannot run:\n{sql}\n{error}"));
            let columns: Vec<Value> = described
                .columns
                .iter()
                .map(|column| (column.name(), column.type_info().name()))
                .map(|(name, type_name)| (name, type_name.to_lowercase().replace("[]", "array")))
                .map(|(name, type_name)| serde_json::json!([name, type_name]))
                .collect();
            let known = query["describe"]["columns"].as_array().unwrap().iter();
            let known: Vec<Value> = known
                .map(|column| (&column["name"], column["type_info"].as_str().unwrap()))
                .map(|(name, type_name)| serde_json::json!([name, type_name.to_lowercase()]))
                .collect();
            assert_eq!(columns, known, "{version} would misread:\n{sql}");
            if sql.starts_with("LOCK TABLE") {
                // It has no plan.
                let lock = format!("BEGIN; {sql}; ROLLBACK");
                let locked = sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut conn).await;
                locked.unwrap_or_else(|error| panic!("{version}: {sql}\n{error}"));
            } else if !sql.starts_with("DO $$") {
                assert_allowed(&mut conn, sql, described.parameters).await;
            }
        }
    }
}

/// Planning the execution of a statement checks whether the session's role may run it.
async fn assert_allowed(
    conn: &mut PgConnection,
    sql: &str,
    parameters: Option<sqlx::Either<Vec<sqlx::postgres::PgTypeInfo>, usize>>,
) {
    let count = match parameters {
        Some(sqlx::Either::Left(types)) => types.len(),
        Some(sqlx::Either::Right(count)) => count,
        None => 0,
    };
    let values = match vec!["NULL"; count].join(", ") {
        values if values.is_empty() => values,
        values => format!("({values})"),
    };
    let explain = format!(
        "PREPARE released AS {sql}; EXPLAIN EXECUTE released {values}; DEALLOCATE released"
    );
    let explained = sqlx::raw_sql(AssertSqlSafe(explain)).execute(conn).await;
    explained.unwrap_or_else(|error| panic!("{sql}\n{error}"));
}

#[tokio::test]
async fn an_older_version_starts_on_a_schema_that_a_newer_one_has_migrated() {
    let database = Database::new().await;
    database
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'of the future', true, '\\x00', 1);
             ALTER TABLE accounts ADD COLUMN of_the_future text;
             ALTER TABLE payments ADD COLUMN of_the_future text;
             ALTER TABLE idempotency_keys ADD COLUMN of_the_future text",
        )
        .await;
    let app = App::start_on(&database, &[]);
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 10, "k").await.assert_paid();
    assert!(app.pay(1, 2, 10, "k").await.is_replay());
    assert_eq!(app.history(2).await.len(), 2);
    database.assert_sound();
}

/// A ledger as the migrations up to one of them left it.
async fn ledger_after_migration(last: i64) -> Database {
    ledger_after(|it| it.version <= last).await
}

/// A ledger before the migrations that take their time beside payments.
async fn ledger_before_the_long_migrations() -> Database {
    ledger_after(|it| !it.no_tx).await
}

async fn ledger_after(is_done: impl Fn(&Migration) -> bool) -> Database {
    let database = Database::new().await;
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    migrate_some(&database, is_done).await;
    database
}

async fn migrate_some(database: &Database, is_wanted: impl Fn(&Migration) -> bool) {
    let mut some: Migrator = sqlx::migrate!();
    let wanted = some.migrations.iter().filter(|it| is_wanted(it)).cloned();
    some.migrations = wanted.collect::<Vec<_>>().into();
    some.run(&mut database.session().await).await.unwrap();
}

const EVERY_INDEX_IS_VALID: &str = "SELECT NOT EXISTS (SELECT FROM pg_index WHERE NOT indisvalid)";

/// The statements of all migrations, without their comments.
fn migrations() -> Vec<(i64, String)> {
    let code = |sql: &str| {
        let lines = sql.lines().filter(|line| !line.trim_start().starts_with("--"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let all: Migrator = sqlx::migrate!();
    all.migrations.iter().map(|it| (it.version, code(it.sql.as_str()))).collect()
}

#[test]
fn an_index_on_a_table_that_has_grown_is_made_beside_payments_and_alone_in_its_file() {
    for (version, sql) in migrations().iter().filter(|(version, _)| *version > 6) {
        let statements = sql.split(';').filter(|it| !it.trim().is_empty()).count();
        for table in ["accounts", "payments", "idempotency_keys", "account_idempotency_keys"] {
            let on_table = sql.contains(&format!("ON {table} ("));
            if sql.contains("INDEX") && on_table {
                assert!(sql.contains("INDEX CONCURRENTLY IF NOT EXISTS"), "{version}: {sql}");
                assert_eq!(statements, 1, "{version}: {sql}");
            }
        }
    }
}

#[test]
fn no_migration_reads_a_table_that_has_grown_while_it_locks_it() {
    for (version, sql) in migrations().iter().filter(|(version, _)| *version > 6) {
        let checks = sql.matches("CHECK (").count() - in_new_tables(sql).matches("CHECK (").count();
        assert_eq!(sql.matches("NOT VALID").count(), checks, "{version}: {sql}");
        assert!(!sql.contains("SET NOT NULL") && !sql.contains(" TYPE "), "{version}: {sql}");
    }
}

/// The statements that make tables: nothing is in these yet.
fn in_new_tables(sql: &str) -> String {
    sql.split(';').filter(|statement| statement.contains("CREATE TABLE")).collect()
}

#[tokio::test]
async fn payments_go_on_while_an_index_is_made() {
    let database = ledger_before_the_long_migrations().await;
    let mut migrate = command(&database);
    // A report that began before: a new index has to wait for its end.
    let mut outside = database.session().await;
    let report = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class";
    sqlx::raw_sql(report).execute(&mut outside).await.unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    migrate.arg("migrate").stdout(Stdio::null()).stderr(log.reopen().unwrap());
    database.execute(&format!("SELECT grant_rights_of_the_service('{SERVICE_ROLE}')")).await;
    let app = App::start_on(&database, &[("PAYONCE_DATABASE__MIGRATE_ON_START", "false")]);
    app.open_many(2, 1_000).await;
    let mut migrating = migrate.spawn().unwrap();
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'payonce migration'
                   AND query LIKE '%INDEX CONCURRENTLY%' AND wait_event_type = 'Lock')";
    database.until(waits).await;
    for n in 0..20 {
        app.pay(1, 2, 1, &format!("meanwhile-{n}")).await.assert_paid();
    }
    // A second process that starts now gives way, and finds the index made when it tries again.
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut second = command(&database);
    second.arg("migrate").stdout(Stdio::null()).stderr(log.reopen().unwrap());
    let mut second = second.spawn().unwrap();
    eventually("the second gives way", async || {
        std::fs::read_to_string(log.path()).unwrap().contains("gives way")
    })
    .await;
    assert!(migrating.try_wait().unwrap().is_none(), "it waits for the report");
    sqlx::raw_sql("COMMIT").execute(&mut outside).await.unwrap();
    assert!(migrating.wait().unwrap().success());
    assert!(second.wait().unwrap().success());
    database.until(EVERY_INDEX_IS_VALID).await;
    assert_eq!(app.settled_log().await, "");
    database.assert_sound();
}

#[tokio::test]
async fn an_index_that_an_interrupted_migration_left_is_made_again() {
    let database = ledger_before_the_long_migrations().await;
    let mut outside = database.session().await;
    let report = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class";
    sqlx::raw_sql(report).execute(&mut outside).await.unwrap();
    let mut interrupted = database.session().await;
    sqlx::raw_sql("SET lock_timeout = 50").execute(&mut interrupted).await.unwrap();
    let mut left = 0;
    let makes_an_index = |sql: &str| sql.contains("INDEX CONCURRENTLY IF NOT EXISTS");
    for (_, sql) in migrations().into_iter().filter(|(_, sql)| makes_an_index(sql)) {
        let made = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut interrupted).await;
        assert!(made.is_err(), "it waits for the report");
        left += 1;
    }
    sqlx::raw_sql("COMMIT").execute(&mut outside).await.unwrap();
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(database.count(invalid).await, left);
    assert!(left >= 3, "{left}");
    assert!(command(&database).arg("migrate").status().unwrap().success());
    database.until(EVERY_INDEX_IS_VALID).await;
    let made = "SELECT count(*) FROM pg_class
                WHERE relname IN ('payments_refunds', 'payments_of_requests', 'accounts_by_name')";
    assert_eq!(database.count(made).await, 3);
    let app = App::start_on(&database, &[]);
    app.open_many(2, 1_000).await;
    let paid = app.pay(1, 2, 100, "k").await.json;
    app.send_payment(&refund(&paid, 60, "back")).await.assert_paid();
    app.send_payment(&refund(&paid, 60, "more"))
        .await
        .assert_problem(422, "refund_exceeds_payment");
    database.assert_sound();
}

#[tokio::test]
async fn processes_that_start_at_once_make_the_indexes_one_after_another() {
    let database = ledger_before_the_long_migrations().await;
    let mut migrating: Vec<_> =
        (0..3).map(|_| command(&database).arg("migrate").spawn().unwrap()).collect();
    assert!(migrating.iter_mut().all(|it| it.wait().unwrap().success()));
    database.until(EVERY_INDEX_IS_VALID).await;
    App::start_on(&database, &[]).open(1, 0).await;
    database.assert_sound();
}

/// A ledger of a version that did not know the feed, with payments that were not written in the order of their times.
async fn ledger_without_a_feed(payments: i64) -> Database {
    let database = ledger_after_migration(10).await;
    let fill = format!(
        "SELECT grant_rights_of_the_service('{SERVICE_ROLE}');
         INSERT INTO accounts (id, balance, last_payment_at) SELECT n, 1000, now() FROM generate_series(1, 4) AS n;
         INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                               to_balance_after, idempotency_key)
         SELECT gen_random_uuid(), 1 + n % 2 * 2, 2 + n % 2 * 2, 1, now() - make_interval(secs => n), 0, 0, n
         FROM generate_series(1, {payments}) AS n"
    );
    database.execute(&fill).await;
    database
}

/// Every payment by its position: its time, and whether it is older than the feed.
const POSITIONS: &str = "SELECT entry.first_position + item.n - 1 AS position, payment.created_at,
                                payment.batch_id IS NULL AS is_old
                         FROM feed_entries AS entry
                         JOIN payment_batches AS batch ON batch.id = entry.batch_id
                         CROSS JOIN unnest(batch.payment_ids) WITH ORDINALITY AS item (id, n)
                         JOIN payments AS payment ON payment.id = item.id";

/// Asserts that the oldest payments have the positions from 1 on, in the order of their times.
async fn assert_old_payments_come_first(database: &Database, old: i64) {
    let right = format!(
        "SELECT count(*) FROM (SELECT position, is_old, row_number() OVER (ORDER BY created_at) AS n
                               FROM ({POSITIONS}) AS each) AS it
         WHERE is_old AND position = n"
    );
    assert_eq!(database.count(&right).await, old);
    assert_eq!(database.count("SELECT count(*) FROM payments WHERE batch_id IS NULL").await, old);
}

#[tokio::test]
async fn payments_that_are_older_than_the_feed_come_first_in_it_in_the_order_of_their_times() {
    let database = ledger_without_a_feed(600).await;
    assert!(command(&database).arg("migrate").status().unwrap().success());
    assert_old_payments_come_first(&database, 600).await;
    let app = App::start_on(&database, &[]);
    app.pay(1, 2, 10, "new").await.assert_paid();
    let next = app.get("/feed?after=600&wait_ms=30000").await.json;
    assert_eq!(next["payments"][0]["position"], 601);
    assert_eq!(next["payments"][0]["amount"], 10);
    let page = app.get("/feed?after=248&limit=4").await.json;
    let positions: Vec<_> = page["payments"].as_array().unwrap().iter().collect();
    assert_eq!(
        positions.iter().map(|it| &it["position"]).collect::<Vec<_>>(),
        [249, 250, 251, 252]
    );
}

#[tokio::test]
async fn numbering_what_is_older_than_the_feed_goes_on_where_it_was_interrupted() {
    let database = ledger_without_a_feed(25_000).await;
    // The third step meets what it cannot write beside.
    database
        .execute(
            "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$",
        )
        .await;
    let steps_until = "CREATE TRIGGER disk_is_full BEFORE INSERT ON feed_entries FOR EACH ROW
                       WHEN (NEW.first_position > 20000) EXECUTE FUNCTION disk_is_full()";
    migrate_some(&database, |it| it.version <= 11).await;
    database.execute(steps_until).await;
    assert!(!command(&database).arg("migrate").stderr(Stdio::null()).status().unwrap().success());
    assert_eq!(database.count(&format!("SELECT count(*) FROM ({POSITIONS}) AS it")).await, 20_000);
    database.execute("DROP TRIGGER disk_is_full ON feed_entries").await;
    assert!(command(&database).arg("migrate").status().unwrap().success());
    assert_old_payments_come_first(&database, 25_000).await;
}

#[tokio::test]
async fn an_older_version_pays_on_while_what_is_older_than_the_feed_is_numbered() {
    let database = ledger_without_a_feed(600).await;
    migrate_some(&database, |it| it.version <= 11).await;
    let mut outside = database.session().await;
    let held = "BEGIN; LOCK TABLE feed_entries IN SHARE MODE";
    sqlx::raw_sql(held).execute(&mut outside).await.unwrap();
    let mut migrating = command(&database);
    let mut migrating = migrating.arg("migrate").stderr(Stdio::null()).spawn().unwrap();
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'payonce migration'
                   AND query LIKE '%number_payments%' AND wait_event_type = 'Lock')";
    database.until(waits).await;
    let service = Database::at(database.service_url());
    for n in 0..5 {
        let pay = format!(
            "INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                                   to_balance_after, idempotency_key)
             VALUES (gen_random_uuid(), 1, 2, 1, '2000-01-0{} 00:00:00Z', 0, 0, 'meanwhile {n}')",
            n + 1
        );
        service.execute(&pay).await;
    }
    sqlx::raw_sql("COMMIT").execute(&mut outside).await.unwrap();
    assert!(migrating.wait().unwrap().success());
    let app = App::start_on(&database, &[]);
    let next = app.get("/feed?after=600&wait_ms=30000").await.json;
    assert_eq!(next["payments"].as_array().unwrap().len(), 5, "{next}");
    assert_eq!(database.count("SELECT count(*) FROM payments WHERE batch_id IS NULL").await, 600);
}

#[tokio::test]
async fn a_version_that_knows_no_voided_key_does_not_pay_under_one() {
    let database = Database::new().await;
    let app = App::start_on(&database, &[]);
    app.open_many(2, 1_000).await;
    app.void(1, "k").await;
    // The claim of version 0.2: it takes over what failed, and what is not there.
    let claim = "INSERT INTO idempotency_keys (user_id, key, status, fingerprint, response)
                 VALUES (1, 'k', 'success', sha256(''), '{}')
                 ON CONFLICT (user_id, key) DO UPDATE
                 SET status = excluded.status, fingerprint = excluded.fingerprint,
                     response = excluded.response, created_at = excluded.created_at
                 WHERE idempotency_keys.status = 'failed'";
    database.execute(claim).await;
    let voided = "SELECT count(*) FROM idempotency_keys WHERE key = 'k' AND status = 'voided'";
    assert_eq!(database.count(voided).await, 1);
    app.pay(1, 2, 10, "k").await.assert_problem(422, "idempotency_key_voided");
}

#[tokio::test]
async fn a_migration_that_has_to_wait_gives_way_to_payments() {
    let database = ledger_after_migration(1).await;
    let mut outside = database.session().await;
    // As a long report does: it reads, and a change of the table has to wait for it.
    sqlx::raw_sql("BEGIN; SELECT FROM payments").execute(&mut outside).await.unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut migrate = command(&database);
    let mut migrating =
        migrate.arg("migrate").stdout(Stdio::null()).stderr(log.reopen().unwrap()).spawn().unwrap();
    let gives_way =
        async || std::fs::read_to_string(log.path()).unwrap().matches("gives way").count() >= 2;
    // Writers wait behind it, but not for longer than it waits itself.
    for _ in 0..3 {
        let write = "INSERT INTO payments SELECT * FROM payments WHERE false";
        database.execute(write).await;
    }
    eventually("it gives way, again and again", gives_way).await;
    sqlx::raw_sql("COMMIT").execute(&mut outside).await.unwrap();
    assert!(migrating.wait().unwrap().success());
    assert_eq!(
        database.count("SELECT count(*) FROM _sqlx_migrations").await,
        i64::try_from(sqlx::migrate!().migrations.len()).unwrap()
    );
    App::start_on(&database, &[]).open(1, 0).await;
    database.assert_sound();
}

#[tokio::test]
async fn an_old_process_hands_over_to_a_new_one_without_a_failed_payment() {
    let database = Database::new().await;
    let mut old = App::start_on(&database, &[("PAYONCE_SERVER__STOP_DELAY_MS", "600000")]);
    old.open_many(2, 100_000).await;
    let new = App::start_on(&database, &[]);
    kill_process(old.pid(), Signal::TERM).unwrap();
    // As a load balancer does: requests go to the old one until it says that it is not ready.
    let mut sent = 0;
    let mut after = 0;
    while after < 20 {
        let ready = Answer::of(old.request("GET", "/health/ready")).await.status == 200;
        let app = if ready { &old } else { &new };
        after += i32::from(!ready);
        app.send_payment(&payment(1, 2, 1, &format!("k{sent}"))).await.assert_paid();
        assert!(new.send_payment(&payment(1, 2, 1, &format!("k{sent}"))).await.is_replay());
        sent += 1;
    }
    assert!(old.stop(Signal::TERM).success());
    assert_eq!(database.payments().await, sent);
    database.assert_sound();
}

#[tokio::test]
async fn rights_that_another_process_is_giving_are_awaited() {
    let database = Database::new().await;
    let mut outside = database.session().await;
    let held = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('grant_rights_of_the_service'))";
    sqlx::raw_sql(held).execute(&mut outside).await.unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut migrate = command(&database);
    migrate.arg("migrate").stderr(log.reopen().unwrap());
    let mut migrating = migrate.spawn().unwrap();
    eventually("it is tried again", async || {
        std::fs::read_to_string(log.path()).unwrap().contains("gives way")
    })
    .await;
    sqlx::raw_sql("COMMIT").execute(&mut outside).await.unwrap();
    assert!(migrating.wait().unwrap().success());
}
