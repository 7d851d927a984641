//! The service's role in the database has the rights that it needs, and no other. (All tests run with
//! such a role, so what it needs is tested everywhere.)

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::harness::{App, Database, Home, command, payment_of_under};

/// SQLSTATE of a right that one does not have.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

pub async fn assert_harmless(url: &str) {
    let mut conn = PgConnection::connect(url).await.unwrap();
    for sql in [
        "UPDATE payments SET amount = amount",
        "UPDATE payments SET note = NULL",
        "DELETE FROM payments",
        "TRUNCATE payments",
        "SELECT FROM payments FOR UPDATE",
        "DELETE FROM accounts",
        "TRUNCATE accounts",
        "UPDATE accounts SET id = id",
        "UPDATE accounts SET name = 'x'",
        "UPDATE accounts SET created_at = now()",
        "DELETE FROM idempotency_keys",
        "UPDATE idempotency_keys SET key = key",
        "BEGIN; LOCK TABLE accounts IN EXCLUSIVE MODE",
        "BEGIN; LOCK TABLE payments IN EXCLUSIVE MODE",
        "BEGIN; LOCK TABLE idempotency_keys IN EXCLUSIVE MODE",
        "UPDATE payment_requests SET id = id",
        "UPDATE payment_requests SET from_id = from_id",
        "UPDATE payment_requests SET to_id = to_id",
        "UPDATE payment_requests SET amount = amount",
        "UPDATE payment_requests SET note = 'x'",
        "UPDATE payment_requests SET created_at = now()",
        "UPDATE payment_requests SET expires_at = NULL",
        "DELETE FROM payment_requests",
        "TRUNCATE payment_requests",
        "BEGIN; LOCK TABLE payment_requests IN EXCLUSIVE MODE",
        "UPDATE payments SET refunded_after = NULL",
        "UPDATE payments SET payment_request_id = NULL",
        "DROP TABLE payment_requests",
        "DROP INDEX payments_refunds",
        "UPDATE webhooks SET id = id",
        "UPDATE webhooks SET created_at = now()",
        "TRUNCATE webhooks",
        "DELETE FROM account_idempotency_keys",
        "UPDATE account_idempotency_keys SET fingerprint = fingerprint",
        "DELETE FROM key_sweeps",
        "TRUNCATE key_sweeps",
        "ALTER TABLE accounts DROP CONSTRAINT accounts_balance_floor",
        "ALTER TABLE accounts DISABLE TRIGGER accounts_stay",
        "ALTER TABLE payments ADD COLUMN more text",
        "DROP TABLE payments",
        "DROP INDEX payments_sent",
        "DROP TRIGGER accounts_stay ON accounts",
        "DROP FUNCTION refuse_to_remove_accounts",
        "CREATE TABLE mine (id int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "UPDATE _sqlx_migrations SET success = false",
        "CREATE ROLE another",
        "SET ROLE payonce",
    ] {
        let refused = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code().map(String::from));
        sqlx::raw_sql("ROLLBACK").execute(&mut conn).await.unwrap();
        assert_eq!(code.as_deref(), Some(INSUFFICIENT_PRIVILEGE), "{sql}: {refused}");
    }
}

#[tokio::test]
async fn the_service_can_change_neither_the_schema_nor_a_payment() {
    let database = Database::new().await;
    let app = App::start_on(&database, &[]);
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 10, "k").await.assert_paid();
    assert_harmless(&database.service_url()).await;
    database.assert_sound();
}

#[tokio::test]
async fn rights_that_somebody_gave_besides_are_taken_away_by_the_next_migration() {
    let database = Database::new().await;
    let role = crate::harness::SERVICE_ROLE;
    database.execute(&format!("GRANT ALL ON payments, accounts TO {role}")).await;
    assert!(command(&database).arg("migrate").status().unwrap().success());
    assert_harmless(&database.service_url()).await;
}

#[tokio::test]
async fn on_its_private_postgres_the_service_has_such_a_role_too() {
    let home = Home::new();
    let app = home.start();
    app.pay(1, 2, 500, "k").await.assert_paid();
    let socket = home.data_dir().join("socket");
    let url = |role| format!("postgres:///payonce?host={}&user={role}", socket.display());
    assert_harmless(&url("payonce_service")).await;

    let mut owner = PgConnection::connect(&url("payonce")).await.unwrap();
    let roles: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE application_name LIKE 'payonce %'",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert_eq!(roles, ["payonce_service"]);
}

#[tokio::test]
async fn the_service_can_remove_no_key_that_is_younger_than_a_day() {
    let database = Database::new().await;
    let app = App::start_on(&database, &[]);
    app.open_many(2, 1_000).await;
    for key in ["of today", "of the day before yesterday"] {
        app.pay(1, 2, 10, &key.replace(' ', "-")).await.assert_paid();
    }
    let age = "UPDATE idempotency_keys SET created_at = now() - interval '2 days'
               WHERE key = 'of-the-day-before-yesterday'";
    database.execute(age).await;
    let mut conn = PgConnection::connect(&database.service_url()).await.unwrap();
    // A table of its own in front of the ledger's does not mislead the function.
    let mislead = "CREATE TEMP TABLE idempotency_keys (created_at timestamptz, status text)";
    sqlx::raw_sql(mislead).execute(&mut conn).await.unwrap();
    let remove = sqlx::query_scalar::<_, i64>("SELECT remove_old_keys(0, 1000, 0)");
    assert_eq!(remove.fetch_one(&mut conn).await.unwrap(), 1);
    assert_eq!(
        database.count("SELECT count(*) FROM idempotency_keys WHERE key = 'of-today'").await,
        1
    );
}

#[tokio::test]
async fn the_service_can_remove_no_key_that_was_voided_or_paid_a_request_however_old() {
    let database = Database::new().await;
    let app = App::start_on(&database, &[]);
    app.open_many(2, 1_000).await;
    app.void(1, "voided").await;
    let request = app.ask_for_money(1, 2, 10).await;
    app.send_payment(&payment_of_under(&request, "of-a-request")).await.assert_paid();
    app.pay(1, 2, 10, "ordinary").await.assert_paid();
    let age = "UPDATE idempotency_keys SET created_at = now() - interval '400 days'";
    database.execute(age).await;
    let mut conn = PgConnection::connect(&database.service_url()).await.unwrap();
    let remove = sqlx::query_scalar::<_, i64>("SELECT remove_old_keys(0, 1000, 30)");
    assert!(remove.fetch_one(&mut conn).await.unwrap() >= 1);
    let left = "SELECT count(*) FROM idempotency_keys WHERE key IN ('voided', 'of-a-request')";
    assert_eq!(database.count(left).await, 2);
    let ordinary = "SELECT count(*) FROM idempotency_keys WHERE key = 'ordinary'";
    assert_eq!(database.count(ordinary).await, 0);
    database.assert_sound();
}

#[tokio::test]
async fn nothing_that_the_service_makes_comes_before_what_prunes_with_the_owners_rights() {
    let database = Database::new().await;
    let app = App::start_on(&database, &[]);
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 10, "k").await.assert_paid();
    let role = crate::harness::SERVICE_ROLE;
    let in_the_old_days = format!(
        "UPDATE idempotency_keys SET created_at = now() - interval '40 days';
         GRANT CREATE ON SCHEMA public TO {role}"
    );
    database.execute(&in_the_old_days).await;
    let mut conn = PgConnection::connect(&database.service_url()).await.unwrap();
    let hostile = "CREATE FUNCTION public.format(text, bigint) RETURNS text LANGUAGE plpgsql AS
                   $$ BEGIN DELETE FROM payments; RETURN '(0,0)'; END $$";
    sqlx::raw_sql(hostile).execute(&mut conn).await.unwrap();
    let remove = sqlx::query_scalar::<_, i64>("SELECT remove_old_keys(0, 1000, 30)");
    assert_eq!(remove.fetch_one(&mut conn).await.unwrap(), 3, "with those of the openings");
    assert_eq!(database.payments().await, 1);
    assert!(command(&database).arg("migrate").status().unwrap().success());
    sqlx::raw_sql("DROP FUNCTION public.format(text, bigint)").execute(&mut conn).await.unwrap();
    assert_harmless(&database.service_url()).await;
}

#[tokio::test]
async fn a_role_that_is_not_there_stops_the_migration_and_is_named() {
    let database = Database::new().await;
    let mut migrate = command(&database);
    migrate.env("DATABASE_URL", database.url.replacen("user=payonce", "user=nobody_here", 1));
    let output = migrate.arg("migrate").output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("nobody_here"), "{told}");
}
