//! The right ledger, or none: what a role, a database, a server or a pooler sets on its own makes neither a
//! second ledger nor one that loses payments, and start and readiness say what is wrong.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use payonce::db::{self, Purpose, Target};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};

use crate::harness::{
    ALLOW_LOST_COMMITS, App, Database, SERVICE_ROLE, bare_command, command, eventually,
};
use crate::server::Server;

/// The line that the program prints when it refuses a command.
#[track_caller]
fn refused(command: &mut Command) -> String {
    let log = tempfile::NamedTempFile::new().unwrap();
    command.stdout(Stdio::piped()).stderr(log.reopen().unwrap());
    let mut child = command.spawn().unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    // One that serves would do so for ever.
    let serves = said.into_iter().any(|line| line.contains("payonce listens on "));
    if serves {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let told = std::fs::read_to_string(log.path()).unwrap();
    assert!(!serves && status.code() == Some(1), "{status}, {serves}: {told}");
    told.lines().find(|line| line.starts_with("payonce: ")).unwrap().to_owned()
}

/// Sets something for all sessions with a database that begin from now on.
async fn set(database: &Database, setting: &str) {
    let sql = format!(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting}', current_database()); END $$"
    );
    database.execute(&sql).await;
}

/// Lets the ledger keep what a setting is in the sessions that write payments.
async fn watch(database: &Database, name: &str) {
    database
        .execute(&format!(
            "CREATE TABLE seen (value text);
             CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
             $$ BEGIN INSERT INTO public.seen VALUES (current_setting('{name}')); RETURN NULL; END $$;
             CREATE TRIGGER watch AFTER INSERT ON payments EXECUTE FUNCTION see()"
        ))
        .await;
}

async fn text(database: &Database, sql: &str) -> String {
    let mut conn = database.session().await;
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut conn).await.unwrap()
}

#[tokio::test]
async fn what_a_role_or_a_database_sets_for_itself_does_not_change_what_payments_rely_on() {
    for (name, value, in_effect) in [
        ("synchronous_commit", "off", "on"),
        ("synchronous_commit", "local", "on"),
        ("synchronous_commit", "remote_write", "on"),
        ("synchronous_commit", "remote_apply", "remote_apply"),
        ("default_transaction_isolation", "'repeatable read'", "read committed"),
        ("search_path", "pg_catalog", "\"public\", pg_temp"),
        ("row_security", "on", "off"),
        ("standard_conforming_strings", "off", "on"),
    ] {
        let database = Database::new().await;
        watch(&database, name).await;
        set(&database, &format!("{name} = {}", value.replace('\'', "''"))).await;
        let app = App::start_on(&database, &[]);
        app.open(1, 1_000).await;
        let seen = "SELECT string_agg(DISTINCT value, ';') FROM public.seen";
        let seen = text(&database, seen).await;
        assert_eq!(seen, in_effect, "{name} = {value}");
    }
}

#[tokio::test]
async fn a_server_that_can_lose_commits_is_refused_unless_that_is_allowed() {
    let server = Server::start().await;
    let app = App::spawn(server.command(), server.database());
    app.open(1, 1_000).await;
    assert_eq!(app.get("/health/ready").await.status, 200);
    assert_eq!(app.settled_log().await, "");
    for name in ["fsync", "full_page_writes"] {
        server.set(name, "off").await;
        eventually("it is not ready", async || app.get("/health/ready").await.status == 503).await;
        let answer = app.get("/health/ready").await;
        answer.assert_problem(503, "database_unavailable");
        assert!(answer.json["detail"].as_str().unwrap().contains(name), "{}", answer.text);
        for asked in ["serve", "migrate"] {
            let told = refused(server.command().arg(asked));
            assert!(told.contains(name), "{told}");
            assert!(told.contains("database.allow_lost_commits"), "{told}");
        }
        let audited = server.command().arg("audit").status().unwrap();
        assert!(audited.success(), "an audit acknowledges nothing");

        let mut allowed = server.command();
        allowed.env(ALLOW_LOST_COMMITS, "true");
        let careless = App::spawn(allowed, server.database());
        assert_eq!(careless.get("/health/ready").await.status, 200);
        let log = careless.whole_log();
        assert_eq!(log.matches("database.allow_lost_commits is on").count(), 1, "{log}");
        assert!(log.contains("WARN"), "{log}");

        server.set(name, "on").await;
        eventually("it is ready", async || app.get("/health/ready").await.status == 200).await;
    }
}

#[tokio::test]
async fn settings_that_hide_damage_or_switch_the_guards_off_are_refused() {
    for (setting, named) in [
        ("zero_damaged_pages = on", "zero_damaged_pages"),
        ("ignore_checksum_failure = on", "ignore_checksum_failure"),
        ("session_replication_role = replica", "session_replication_role"),
    ] {
        let database = Database::new().await;
        set(&database, setting).await;
        for asked in ["serve", "migrate", "audit", "prune"] {
            let told = refused(command(&database).arg(asked));
            assert!(told.contains(named), "{asked}: {told}");
        }
    }
}

#[tokio::test]
async fn another_search_path_finds_the_same_ledger() {
    let database = Database::new().await;
    App::start_on(&database, &[]).open(1, 1_000).await;
    database.execute("CREATE SCHEMA elsewhere").await;
    set(&database, "search_path = elsewhere").await;
    let app = App::start_on(&database, &[]);
    assert_eq!(app.balance(1).await, 1_000);
    assert_eq!(app.get("/health/ready").await.status, 200);
    database.assert_sound();
    assert!(command(&database).arg("prune").status().unwrap().success());
    let made = "SELECT count(*) FROM pg_class WHERE relnamespace = 'elsewhere'::regnamespace";
    assert_eq!(database.count(made).await, 0, "a second ledger");
}

#[tokio::test]
async fn a_ledger_in_another_schema_stops_everything_until_one_is_named() {
    for besides in ["", "CREATE SCHEMA public"] {
        let database = Database::new().await;
        App::start_on(&database, &[]).open(1, 1_000).await;
        // As an older version made it, where a search_path led.
        database.execute(&format!("ALTER SCHEMA public RENAME TO older; {besides}")).await;
        set(&database, "search_path = older").await;
        for asked in ["serve", "migrate", "audit", "prune"] {
            let told = refused(command(&database).arg(asked));
            let is_said = told.contains("\"older\"") && told.contains("database.schema");
            assert!(is_said, "{asked}: {told}");
        }
        let in_public = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(database.count(in_public).await, 0, "a second ledger");

        let named = [("PAYONCE_DATABASE__SCHEMA", "older")];
        let app = App::start_on(&database, &named);
        assert_eq!(app.balance(1).await, 1_000);
        assert_eq!(app.get("/health/ready").await.status, 200);
        let audited = command(&database).envs(named).arg("audit").status().unwrap();
        assert!(audited.success());
    }
}

#[tokio::test]
async fn a_second_ledger_is_made_where_its_schema_is_named() {
    let database = Database::new().await;
    let named = [("PAYONCE_DATABASE__SCHEMA", "The \"second\" ledger, no. 2")];
    let app = App::start_on(&database, &named);
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 10, "k").await.assert_paid();
    assert!(app.pay(1, 2, 10, "k").await.is_replay());
    assert_eq!(app.history(2).await.len(), 2);
    assert_eq!(app.get("/health/ready").await.status, 200);
    for asked in ["migrate", "audit", "prune"] {
        assert!(command(&database).envs(named).arg(asked).status().unwrap().success(), "{asked}");
    }
    assert_eq!(database.payments().await, 0, "that of `public` is another");
    let histories = "SELECT count(*) FROM pg_tables WHERE tablename = '_sqlx_migrations'";
    assert_eq!(database.count(histories).await, 2);
}

#[tokio::test]
async fn two_ledgers_of_one_database_have_feeds_of_their_own() {
    let database = Database::new().await;
    let apps = ["public", "second"]
        .map(|schema| App::start_on(&database, &[("PAYONCE_DATABASE__SCHEMA", schema)]));
    for app in &apps {
        app.open_many(2, 1_000).await;
    }
    for app in &apps {
        let followed = async || app.get("/feed").await.json["next"] == 2;
        eventually("both payments have positions", followed).await;
    }
}

#[tokio::test]
async fn temporary_tables_do_not_come_before_those_of_the_ledger() {
    let database = Database::new().await;
    let target = Target::new(&database.url, Duration::from_secs(5), 30_000, 1_000).unwrap();
    let target = target.losing_commits(true);
    for purpose in [Purpose::Write, Purpose::Migrate, Purpose::Audit, Purpose::Prune, Purpose::Look]
    {
        let mut conn = db::connect(&target, purpose).await.unwrap();
        let make = "CREATE TEMP TABLE accounts (id bigint)";
        sqlx::raw_sql(make).execute(&mut conn).await.unwrap();
        let found = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM accounts");
        assert_eq!(found.fetch_one(&mut conn).await.unwrap(), 1, "{purpose:?}: the bank");
    }
}

#[tokio::test]
async fn rows_that_a_policy_hides_are_an_error_and_no_other_ledger() {
    let database = Database::new().await;
    let app = App::start_on(&database, &[]);
    app.open(1, 1_000).await;
    database.execute("ALTER TABLE accounts ENABLE ROW LEVEL SECURITY").await;
    assert_eq!(app.get("/accounts/1").await.status, 500);
    app.get("/health/ready").await.assert_problem(503, "database_unavailable");
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    for encoding in ["LATIN1", "WIN1252", "EUC_JP", "SQL_ASCII"] {
        let database = Database::new().await;
        let name = format!("{}_{}", database.name(), encoding.to_lowercase());
        let sql = format!(
            "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}'
             LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        database.execute(&sql).await;
        let encoded = database.beside(&name);
        for asked in ["serve", "migrate", "audit", "prune"] {
            let told = refused(command(&encoded).arg(asked));
            assert!(told.contains(encoding) && told.contains("UTF8"), "{asked}: {told}");
        }
        encoded
            .until("SELECT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public')")
            .await;
    }
}

/// A process of `PgBouncer`, which pools the sessions of a server's database.
struct Bouncer {
    process: Child,
    url: String,
}

impl Bouncer {
    async fn start(server: &Server, name: &str, settings: &str) -> Self {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"];
        let program = program
            .iter()
            .find(|path| Path::new(path).exists())
            .expect("pgbouncer is missing: install it (Debian: apt-get install pgbouncer)");
        let directory = server.directory(name);
        let configuration = format!(
            "[databases]\n* = host={} user=payonce\n[pgbouncer]\nlisten_port = 5432\n\
             unix_socket_dir = {}\nauth_type = any\n{settings}\n",
            server.postgres.socket_dir().display(),
            directory.display()
        );
        let file = directory.join("pgbouncer.ini");
        server.write(&file, &configuration);
        let mut pgbouncer = server.postgres.command(program);
        let process = pgbouncer.args(["--quiet"]).arg(file).spawn().unwrap();
        let url = format!("postgres:///payonce?host={}&user=payonce", directory.display());
        let bouncer = Self { process, url };
        let options = bouncer.url.parse::<sqlx::postgres::PgConnectOptions>().unwrap();
        let options = options.extra_float_digits(None);
        eventually("it pools", async || options.connect().await.is_ok()).await;
        bouncer
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_pooler_is_named_whether_it_refuses_our_settings_or_ignores_them() {
    let server = Server::start().await;
    assert!(server.command().arg("migrate").status().unwrap().success());
    let ignores = "ignore_startup_parameters = extra_float_digits,options";
    for (name, settings) in [
        ("as-shipped", String::new()),
        ("sessions", format!("pool_mode = session\n{ignores}")),
        ("transactions", format!("pool_mode = transaction\n{ignores}")),
        ("statements", format!("pool_mode = statement\n{ignores}")),
    ] {
        let bouncer = Bouncer::start(&server, name, &settings).await;
        for asked in ["serve", "migrate", "audit", "prune"] {
            let told = refused(bare_command().env("DATABASE_URL", &bouncer.url).arg(asked));
            assert!(told.contains("a pooler such as PgBouncer"), "{name}, {asked}: {told}");
            assert_eq!(told.matches("pooler").count(), 1, "{name}, {asked}: {told}");
        }
    }
}

#[tokio::test]
async fn readiness_does_not_lag_behind_what_a_writer_would_find() {
    let database = Database::new().await;
    App::start_on(&database, &[]).open_many(2, 1_000).await;
    set(&database, "default_transaction_read_only = on").await;
    let app = App::start_on(&database, &[("PAYONCE_DATABASE__MIGRATE_ON_START", "false")]);
    let answer = app.get("/health/ready").await;
    answer.assert_problem(503, "database_unavailable");
    assert!(answer.json["detail"].as_str().unwrap().contains("read-only"), "{}", answer.text);
    // The session that sets it back must be one that may write.
    let name = text(&database, "SELECT current_database()::text").await;
    let mut conn: PgConnection = database.session().await;
    let reset = format!(
        "SET default_transaction_read_only = off;
         ALTER DATABASE {name} RESET default_transaction_read_only"
    );
    for sql in reset.split(';') {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.unwrap();
    }
    assert_eq!(app.get("/health/ready").await.status, 200, "at once");
    app.pay(1, 2, 10, "k").await.assert_paid();
}

#[tokio::test]
async fn readiness_misses_every_right_that_payments_need() {
    let database = Database::new().await;
    let app = App::start_on(&database, &[]);
    for (right, object) in [
        ("SELECT", "accounts"),
        ("INSERT", "accounts"),
        ("UPDATE (balance)", "accounts"),
        ("UPDATE (last_payment_at)", "accounts"),
        ("SELECT", "payments"),
        ("INSERT", "payments"),
        ("SELECT", "idempotency_keys"),
        ("INSERT", "idempotency_keys"),
        ("UPDATE (status)", "idempotency_keys"),
        ("INSERT", "account_idempotency_keys"),
        ("UPDATE (response)", "account_idempotency_keys"),
        ("USAGE", "SEQUENCE account_ids"),
        ("UPDATE", "SEQUENCE account_ids"),
    ] {
        assert_eq!(app.get("/health/ready").await.status, 200, "before {right} on {object}");
        database.execute(&format!("REVOKE {right} ON {object} FROM {SERVICE_ROLE}")).await;
        let answer = app.get("/health/ready").await;
        answer.assert_problem(503, "database_unavailable");
        let verb = right.split(' ').next().unwrap();
        let table = object.split(' ').next_back().unwrap();
        let told = answer.json["detail"].as_str().unwrap();
        // Where nothing can be read, the log has Postgres' own words.
        let is_named = told.contains(verb) && told.contains(table);
        assert!(is_named || app.settled_log().await.contains(table), "{right} on {object}: {told}");
        database.execute(&format!("GRANT {right} ON {object} TO {SERVICE_ROLE}")).await;
    }
    assert_eq!(app.get("/health/ready").await.status, 200);
    database.execute(&format!("REVOKE USAGE ON SCHEMA public FROM {SERVICE_ROLE}, PUBLIC")).await;
    let answer = app.get("/health/ready").await;
    let told = answer.json["detail"].as_str().unwrap();
    assert!(told.contains("there is no schema \"public\", or the role may not use it"), "{told}");
}

#[tokio::test]
async fn a_migration_that_fails_says_once_why() {
    let database = Database::new().await;
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    let mut migrate = command(&database);
    migrate.env("PAYONCE_DATABASE__MIGRATE_URL", database.service_url()).arg("migrate");
    let told = refused(&mut migrate);
    assert_eq!(told.matches("the role may not use it").count(), 1, "{told}");
    database.execute("GRANT USAGE ON SCHEMA public TO PUBLIC").await;
    let told = refused(&mut migrate);
    assert_eq!(told.matches("permission denied for schema public").count(), 1, "{told}");
    let mut elsewhere = command(&database);
    elsewhere.env("PAYONCE_DATABASE__MIGRATE_URL", database.service_url());
    elsewhere.env("PAYONCE_DATABASE__SCHEMA", "elsewhere").arg("migrate");
    let told = refused(&mut elsewhere);
    assert_eq!(told.matches("permission denied for database").count(), 1, "{told}");
}
