//! What was backed up comes back, sound, and goes on; so does what `pg_upgrade` moves. The commands are those of
//! `docs/operating.md`, read from there. `pg_upgrade` goes to a new cluster of the same major version, so that one is enough:
//! what a ledger could depend on is another there as well (the system identifier, the log, numbers of files).

use std::path::Path;
use std::process::Command;

use local_postgres::{LocalPostgres, Purpose, Source};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::harness::{
    ALLOW_LOST_COMMITS, Answer, App, BINARY, Database, bare_command, documented, eventually,
};
use crate::webhooks::{PRIVATE, Receiver, add_for, change, until_noted};

fn directory() -> tempfile::TempDir {
    local_postgres::directory("payonce-test-").unwrap()
}

/// Runs a shell's commands, with the programs of a server and the service's own on the `PATH`.
fn run(mut shell: Command, commands: &str, server_programs: &Path) {
    let ours = Path::new(BINARY).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let dirs = [server_programs, ours].into_iter().map(Path::to_owned);
    let path = std::env::join_paths(dirs.chain(std::env::split_paths(&path))).unwrap();
    let output = shell.args(["-euc", commands]).env("PATH", path).output().unwrap();
    assert!(
        output.status.success(),
        "{commands}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A shell in the checkout, without settings of the service.
fn shell() -> Command {
    let mut shell = testbed::command("bash");
    shell.current_dir(env!("CARGO_MANIFEST_DIR"));
    shell
}

/// A server of our own, on which the roles are made by `deploy/postgres/roles.sh`.
struct Cluster {
    server: LocalPostgres,
}

impl Cluster {
    fn start(home: &Path) -> Self {
        Self { server: LocalPostgres::start(home, &Source::Auto, Purpose::Tests).unwrap() }
    }

    fn url(&self, role: &str) -> String {
        format!("{}&password=secret", self.server.url_as(role)).replacen("/payonce?", "/ledger?", 1)
    }

    /// The environment of an administrator who makes roles and uses them.
    fn environment(&self, secrets: &Path) -> Vec<(&'static str, String)> {
        for role in ["owner", "service"] {
            std::fs::write(secrets.join(format!("{role}_password")), "secret").unwrap();
        }
        let socket_dir = self.server.socket_dir().to_str().unwrap().to_owned();
        vec![
            ("SECRETS", secrets.to_str().unwrap().to_owned()),
            ("PGHOST", socket_dir),
            ("PGUSER", "payonce".to_owned()),
            ("PGDATABASE", "payonce".to_owned()),
            ("POSTGRES_USER", "payonce".to_owned()),
            ("POSTGRES_DB", "payonce".to_owned()),
            ("LEDGER_DATABASE", "ledger".to_owned()),
            ("DATABASE_URL", self.url("payonce_service")),
            ("PAYONCE_DATABASE__MIGRATE_URL", self.url("payonce_owner")),
            (ALLOW_LOST_COMMITS, "true".to_owned()),
        ]
    }

    fn ledger(&self) -> Database {
        Database::at(self.url("payonce_owner"))
    }

    fn serve(&self, migrates: bool) -> App {
        let mut command = bare_command();
        command.envs([PRIVATE]);
        command.env("PAYONCE_DATABASE__MIGRATE_ON_START", migrates.to_string());
        command.env("DATABASE_URL", self.url("payonce_service"));
        command.env("PAYONCE_DATABASE__MIGRATE_URL", self.url("payonce_owner"));
        command.env(ALLOW_LOST_COMMITS, "true");
        App::spawn(command, self.ledger())
    }

    /// A shell of the user who runs the server, for whom the server's files are.
    fn owners_shell(&self) -> Command {
        let mut shell = self.server.command("/usr/bin/env");
        shell.arg("bash").env("PGHOST", self.server.socket_dir()).env("PGUSER", "payonce");
        shell.current_dir(self.server.home());
        shell
    }

    /// By which servers and services tell one cluster from another.
    async fn identifier(&self) -> i64 {
        let identifier = "SELECT system_identifier FROM pg_control_system()";
        Database::at(self.server.url()).count(identifier).await
    }

    fn assert_sound(&self) {
        let mut audit = bare_command();
        audit.env("DATABASE_URL", self.url("payonce_owner"));
        let output = audit.arg("audit").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Dumps a ledger, and restores it into a new cluster.
fn moved(database: &Database, directory: &Path) -> Cluster {
    let mut dump = shell();
    dump.env("PAYONCE_DATABASE__MIGRATE_URL", &database.url).env("BACKUP", directory);
    let cluster = Cluster::start(&directory.join("restored"));
    run(dump, &documented("dump"), cluster.server.binaries());

    let mut restore = shell();
    restore.envs(cluster.environment(directory)).env("BACKUP", directory);
    run(restore, &documented("restore"), cluster.server.binaries());
    cluster.assert_sound();
    cluster
}

#[tokio::test]
async fn a_dump_is_restored_into_a_new_cluster_and_payments_go_on() {
    let directory = directory();
    let database = Database::new().await;
    let app = App::start_on(&database, &[]);
    app.open_many(3, 1_000).await;
    let paid = app.pay(1, 2, 100, "one").await;
    app.pay(2, 3, 50, "two").await.assert_paid();
    app.pay(3, 1, 9_999, "too-much").await.assert_problem(422, "insufficient_funds");
    let history = app.history(2).await;

    let cluster = moved(&database, directory.path());

    // Rights are not in the dump, and are as narrow as before.
    crate::rights::assert_harmless(&cluster.url("payonce_service")).await;
    let administrator = Database::at(cluster.url("payonce"));
    administrator.execute("CREATE ROLE stranger").await;
    let pruners = |role: &str| {
        format!(
            "SELECT count(*) FROM pg_proc WHERE proname = 'remove_old_keys'
             AND has_function_privilege('{role}', oid, 'EXECUTE')"
        )
    };
    assert_eq!(administrator.count(&pruners("payonce_service")).await, 1);
    assert_eq!(administrator.count(&pruners("stranger")).await, 0, "a stranger may remove keys");

    let app = cluster.serve(false);
    let replayed = app.pay(1, 2, 100, "one").await;
    assert!(replayed.is_replay());
    assert_eq!(replayed.text, paid.text);
    assert_eq!(app.history(2).await, history);
    app.pay(1, 2, 999, "one").await.assert_problem(422, "idempotency_key_reused");
    app.pay(3, 1, 1_050, "too-much").await.assert_problem(422, "idempotency_key_reused");
    app.pay(2, 1, 5, "three").await.assert_paid();
    assert_eq!((app.balance(1).await, app.balance(2).await), (905, 1_045));
    cluster.assert_sound();
}

#[tokio::test]
async fn the_feed_goes_on_in_a_new_cluster_and_every_position_stays() {
    let directory = directory();
    let database = Database::new().await;
    // Ids of transactions begin again in the new one.
    let many =
        "DO $$ BEGIN FOR n IN 1..2000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$";
    database.execute(many).await;
    let app = App::start_on(&database, &[]);
    app.open_many(3, 1_000).await;
    for n in 0..20 {
        app.pay(1, 2, 1, &format!("before-{n}")).await.assert_paid();
    }
    let before = feed(&app, 23).await;
    // One whose position is not in the dump.
    let mut other = database.session().await;
    sqlx::raw_sql("BEGIN; SELECT FROM feed_state FOR UPDATE").execute(&mut other).await.unwrap();
    let waiting = app.pay(2, 3, 1, "waiting").await;
    waiting.assert_paid();
    let cluster = moved(&database, directory.path());

    let app = cluster.serve(false);
    for n in 0..20 {
        app.pay(2, 3, 1, &format!("after-{n}")).await.assert_paid();
    }
    let after = feed(&app, 44).await;
    assert_eq!(after[..23], before);
    assert_eq!(after[23]["id"], waiting.json["id"]);
    cluster.assert_sound();
}

#[tokio::test]
async fn after_pg_upgrade_the_feed_its_webhooks_and_keys_go_on_where_they_were() {
    let directory = directory();
    let old = Cluster::start(&directory.path().join("old"));
    let mut roles = shell();
    roles.envs(old.environment(directory.path()));
    run(roles, "deploy/postgres/roles.sh", old.server.binaries());
    let mut app = old.serve(true);
    app.open_many(3, 1_000).await;
    feed(&app, 3).await;
    let receiver = Receiver::start().await;
    let webhook = add_for(&app, &receiver).await;
    let mut earlier = Vec::new();
    for n in 0..10 {
        earlier.push(app.pay(1, 2, 1, &format!("before-{n}")).await);
    }
    until_noted(&app, &webhook, 13).await;
    // Two that nobody was told of, of which one has no position either.
    change(&app, &webhook, &json!({"status": "disabled"})).await;
    earlier.push(app.pay(1, 2, 1, "before-10").await);
    let before = feed(&app, 14).await;
    let mut other = old.ledger().session().await;
    sqlx::raw_sql("BEGIN; SELECT FROM feed_state FOR UPDATE").execute(&mut other).await.unwrap();
    earlier.push(app.pay(1, 2, 1, "before-11").await);
    earlier.iter().for_each(Answer::assert_paid);
    app.kill();
    drop((app, other));

    let new_home = old.server.home().join("new");
    let (old_data, new_data) = (old.server.cluster(), new_home.join("cluster"));
    let (programs, identifier) = (old.server.binaries().to_owned(), old.identifier().await);
    let mut upgrade = old.owners_shell();
    upgrade.env("OLD_DATA", &old_data).env("NEW_DATA", &new_data);
    upgrade.env("OLD_PROGRAMS", &programs).env("NEW_PROGRAMS", &programs);
    old.server.stop().unwrap();
    run(upgrade, &documented("pg-upgrade"), &programs);
    // The settings of both are the same, as is the version.
    std::fs::copy(old_data.join("postgresql.conf"), new_data.join("postgresql.conf")).unwrap();

    let new = Cluster::start(&new_home);
    assert_ne!(new.identifier().await, identifier);
    new.assert_sound();
    crate::rights::assert_harmless(&new.url("payonce_service")).await;
    let app = new.serve(false);
    for (n, answer) in earlier.iter().enumerate() {
        let replayed = app.pay(1, 2, 1, &format!("before-{n}")).await;
        assert!(replayed.is_replay());
        assert_eq!(replayed.text, answer.text);
    }
    for n in 0..10 {
        app.pay(2, 3, 1, &format!("after-{n}")).await.assert_paid();
    }
    let after = feed(&app, 25).await;
    assert_eq!(after[..14], before);
    assert_eq!(after[14]["id"], earlier[11].json["id"]);
    change(&app, &webhook, &json!({"status": "active"})).await;
    until_noted(&app, &webhook, 25).await;
    assert_eq!(receiver.positions(), (4..=25).collect::<Vec<_>>(), "each once, in their order");
    new.assert_sound();
    drop(app);
    new.server.stop().unwrap();
}

/// The feed once it has so many payments, which have the positions 1, 2, 3, ...
async fn feed(app: &App, payments: usize) -> Vec<Value> {
    let mut page = Value::Null;
    eventually("every payment has a position", async || {
        page = app.get("/feed?limit=1000").await.json;
        page["payments"].as_array().unwrap().len() == payments
    })
    .await;
    let page = page["payments"].as_array().unwrap().clone();
    let positions: Vec<_> = page.iter().map(|it| it["position"].as_u64().unwrap()).collect();
    assert_eq!(positions, (1..=payments as u64).collect::<Vec<_>>());
    page
}

#[tokio::test]
async fn a_ledger_is_recovered_to_a_point_in_time_and_what_came_later_is_paid_again_once() {
    let directory = directory();
    let home = directory.path().join("primary");
    let primary = Cluster::start(&home);
    // It belongs to the user who runs Postgres, and may hold what only he is to see.
    let backup = primary.server.home().join("backup");
    let settings = documented("archiving").replace("/backup", backup.to_str().unwrap());
    let conf = primary.server.cluster().join("postgresql.conf");
    let conf_text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, format!("{conf_text}\n{settings}")).unwrap();
    primary.server.stop().unwrap();
    let primary = Cluster::start(&home);
    let as_owner = |cluster: &Cluster| {
        let mut shell = cluster.owners_shell();
        shell.env("BACKUP", &backup);
        shell
    };

    let mut roles = shell();
    roles.envs(primary.environment(directory.path()));
    run(roles, "deploy/postgres/roles.sh", primary.server.binaries());
    let app = primary.serve(true);
    app.open_many(3, 1_000).await;
    let mut earlier = vec![app.pay(1, 2, 100, "before-the-backup").await];
    let binaries = primary.server.binaries().to_owned();
    // As on one day and the next.
    for _ in 0..2 {
        run(as_owner(&primary), &documented("base-backup"), &binaries);
    }
    let mut copies: Vec<_> = backup.read_dir().unwrap().map(|it| it.unwrap().path()).collect();
    copies.retain(|path| !path.ends_with("log"));
    copies.sort();
    assert_eq!(copies.len(), 2, "{copies:?}");
    for n in 0..20 {
        earlier.push(app.pay(2, 3, 1, &format!("earlier-{n}")).await);
    }
    earlier.iter().for_each(Answer::assert_paid);
    let mut session = primary.ledger().session().await;
    let target = text(&mut session, "SELECT clock_timestamp()::text").await;
    for n in 0..20 {
        app.pay(3, 1, 1, &format!("later-{n}")).await.assert_paid();
    }
    // A disaster leaves only the archive.
    let superuser = Database::at(primary.server.url());
    let last =
        text(&mut superuser.session().await, "SELECT pg_walfile_name(pg_switch_wal())").await;
    superuser
        .until(&format!(
            "SELECT coalesce(last_archived_wal >= '{last}', false) FROM pg_stat_archiver"
        ))
        .await;
    drop((app, session));

    let restored_home = primary.server.home().join("restored");
    let mut recover = as_owner(&primary);
    recover.env("PGDATA", restored_home.join("cluster")).env("TARGET", &target);
    recover.env("BASE", copies.last().unwrap());
    run(recover, &documented("point-in-time"), &binaries);
    primary.server.stop().unwrap();

    let restored = Cluster::start(&restored_home);
    let ledger = restored.ledger();
    eventually("it takes writes", async || {
        ledger.count("SELECT pg_is_in_recovery()::int::bigint").await == 0
    })
    .await;
    restored.assert_sound();
    assert_eq!(ledger.payments().await, 21);
    let app = restored.serve(false);
    for (n, answer) in earlier.iter().skip(1).enumerate() {
        let replayed = app.pay(2, 3, 1, &format!("earlier-{n}")).await;
        assert!(replayed.is_replay());
        assert_eq!(replayed.text, answer.text);
    }
    for replay in [false, true] {
        for n in 0..20 {
            let answer = app.pay(3, 1, 1, &format!("later-{n}")).await;
            answer.assert_paid();
            assert_eq!(answer.is_replay(), replay);
        }
    }
    assert_eq!(ledger.payments().await, 41);
    assert_eq!((app.balance(1).await, app.balance(3).await), (920, 1_000));
    restored.assert_sound();
    drop(app);
    restored.server.stop().unwrap();
}

async fn text(session: &mut PgConnection, sql: &str) -> String {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(session).await.unwrap()
}
