//! Databases that nobody uses any more, beside those of others.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use super::*;

/// A process that uses a server. Its template has no tables.
async fn process(server: &LocalPostgres) -> Arc<Server> {
    let migrate = |_: &str| Command::new("/bin/true");
    Arc::new(Server::join(server.url(), None, migrate).await.unwrap())
}

async fn databases(conn: &mut PgConnection) -> Vec<String> {
    let sql = "SELECT datname::text FROM pg_database WHERE datname ~ '^(template|test|unfinished)_'
               ORDER BY 1";
    sqlx::query_scalar(sql).fetch_all(conn).await.unwrap()
}

#[tokio::test]
async fn a_database_goes_when_nobody_holds_its_lock_and_stays_beside_another_run() {
    let home = local_postgres::directory("payonce-test-").unwrap();
    let home = home.path().join("home");
    let server = LocalPostgres::start(&home, &Source::Auto, Purpose::Tests).unwrap();
    let mut conn = PgConnection::connect(&server.url()).await.unwrap();

    let first = process(&server).await;
    let template = format!("template_{:08x}", first.template);
    let ledger = Ledger::on(Arc::clone(&first)).await.unwrap();
    let dropped = Ledger::on(Arc::clone(&first)).await.unwrap();
    drop((first, dropped));
    let kept = [template.clone(), ledger.name.clone()];
    assert_eq!(databases(&mut conn).await, kept);

    // Left behind by processes that were killed, and by older programs.
    for name in ["template_00000001", "unfinished_00000001", "test_00000002_0", "test_00000002_1"] {
        execute(&mut conn, format!("CREATE DATABASE {name}")).await.unwrap();
    }
    let second = process(&server).await;
    assert_eq!(databases(&mut conn).await, kept);
    drop((ledger, second));
    assert_eq!(databases(&mut conn).await, [template], "for the next process");
}
