//! Every statement of the write and read paths uses its index, on an empty, a young and a large
//! ledger: a plan made for an empty table is kept while the table grows.

use payonce::db::{self, Purpose, Target};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::harness::Database;

/// Accounts 1 to `accounts` and `payments` payments between them, of which some give back others and some
/// pay requests for money. Not a sound ledger: only its size and its statistics matter here.
fn fill(accounts: u32, payments: u32) -> String {
    format!(
        "INSERT INTO accounts (id, name, balance)
         SELECT n, 'Person ' || n, 1000 FROM generate_series(1, {accounts}) AS n;
         INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                               to_balance_after, idempotency_key)
         SELECT gen_random_uuid(), 1 + n % {accounts}, 1 + (n + 1) % {accounts}, 1,
                '2026-01-01'::timestamptz + n * interval '1 ms', 0, 0, 'k' || n
         FROM generate_series(1, {payments}) AS n;
         INSERT INTO idempotency_keys (user_id, key, status)
         SELECT from_id, idempotency_key, 'in_progress' FROM payments;
         INSERT INTO payment_requests (id, from_id, to_id, amount, status, created_at)
         SELECT gen_random_uuid(), 1 + n % {accounts}, 1 + (n + 1) % {accounts}, 1,
                CASE n % 3 WHEN 0 THEN 'open' WHEN 1 THEN 'declined' ELSE 'cancelled' END,
                '2026-01-01'::timestamptz + n * interval '1 ms'
         FROM generate_series(1, {payments}) AS n;
         INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                               to_balance_after, idempotency_key, refund_of, refunded_after)
         SELECT gen_random_uuid(), to_id, from_id, 1, created_at + interval '1 hour', 0, 0,
                'back ' || id, id, 1
         FROM payments WHERE idempotency_key LIKE '%7';
         INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                               to_balance_after, idempotency_key, payment_request_id)
         SELECT gen_random_uuid(), from_id, to_id, 1, created_at + interval '2 hours', 0, 0,
                'payment request ' || id, id
         FROM payment_requests WHERE status = 'open';
         ANALYZE"
    )
}

/// The statements of the service, as they were checked at compile time, with the number of their
/// parameters; but for the audit's, which are to read whole tables, for those that read the few webhooks that
/// there are, and for what has no plan.
fn statements() -> Vec<(String, usize)> {
    let data: Vec<Value> = serde_json::from_str(include_str!("../../sqlx-data.json")).unwrap();
    let has_no_index_plan = |sql: &str| {
        ["/* audit */", "/* all webhooks */", "DO $$", "LOCK TABLE"]
            .iter()
            .any(|begin| sql.starts_with(begin))
    };
    data.iter()
        .filter(|query| !has_no_index_plan(query["query"].as_str().unwrap()))
        .map(|query| {
            let parameters = query["describe"]["parameters"]["Left"].as_array().unwrap().len();
            (query["query"].as_str().unwrap().to_owned(), parameters)
        })
        .collect()
}

/// The plan that the service's own sessions make.
async fn explain(database: &Database, sql: &str, parameters: usize) -> String {
    explain_with(database, sql, "EXPLAIN", &vec!["NULL".to_owned(); parameters]).await
}

async fn explain_with(database: &Database, sql: &str, explain: &str, values: &[String]) -> String {
    let target =
        Target::new(&database.url, std::time::Duration::from_secs(5), 30_000, 1_000).unwrap();
    let target = target.losing_commits(true);
    let mut conn = db::connect(&target, Purpose::Write).await.unwrap();
    let prepare = format!("PREPARE statement AS {sql}");
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut conn).await.unwrap();
    let values = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
    let explain = format!("{explain} EXECUTE statement {values}");
    let lines: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut conn).await.unwrap();
    lines.join("\n")
}

async fn assert_index_plans(database: &Database, size: &str) {
    let statements = statements();
    assert!(statements.len() >= 15, "the statements were not found");
    for (sql, parameters) in statements {
        let plan = explain(database, &sql, parameters).await;
        for scan in ["Seq Scan", "Hash Join", "Merge Join", "Bitmap"] {
            assert!(!plan.contains(scan), "on {size} ledger:\n{sql}\n{plan}");
        }
        let tables = [
            "accounts",
            "payments",
            "idempotency_keys",
            "payment_requests",
            "payment_batches",
            "feed_entries",
            "feed_state",
        ];
        let touches_tables = tables.iter().any(|table| {
            ["FROM", "JOIN", "UPDATE"].iter().any(|word| sql.contains(&format!("{word} {table}")))
        });
        // An index that is walked from end to end is not used.
        let scans = plan.matches("Index Scan").count() + plan.matches("Index Only Scan").count();
        assert_eq!(plan.matches("Index Cond").count(), scans, "on {size} ledger:\n{sql}\n{plan}");
        if touches_tables {
            assert!(plan.contains("Index"), "on {size} ledger:\n{sql}\n{plan}");
        }
    }
}

#[tokio::test]
async fn every_statement_uses_its_index_on_an_empty_ledger() {
    let database = Database::new().await;
    assert_index_plans(&database, "an empty, never analyzed").await;
    database.execute("VACUUM (ANALYZE)").await;
    assert_index_plans(&database, "an empty, vacuumed").await;
}

#[tokio::test]
async fn every_statement_uses_its_index_on_a_young_ledger() {
    let database = Database::new().await;
    database.execute(&fill(10, 30)).await;
    assert_index_plans(&database, "a young").await;
}

#[tokio::test]
async fn every_statement_uses_its_index_on_a_large_ledger() {
    let database = Database::new().await;
    database.execute(&fill(20_000, 100_000)).await;
    assert_index_plans(&database, "a large").await;
}

#[tokio::test]
async fn a_page_reads_no_more_rows_than_it_shows_from_each_side() {
    let database = Database::new().await;
    database.execute(&fill(2, 20_000)).await;
    let (sql, parameters) =
        statements().into_iter().find(|(sql, _)| sql.contains("LIMIT asked.rows")).unwrap();
    let plan = explain(&database, &sql, parameters).await;
    for index in ["payments_sent", "payments_received"] {
        assert!(plan.contains(&format!("Index Scan Backward using {index}")), "{plan}");
    }
    // The pages come in the order of the question, and their payments as the scans have merged them.
    assert!(!plan.contains("Sort  ("), "{plan}");
    // The row comparison bounds the scan; as a filter it would walk over everything newer.
    assert_eq!(
        plan.matches("Index Cond: ((from_id = asked.account) AND (ROW(created_at, id) < ").count(),
        1,
        "{plan}"
    );
    assert_eq!(
        plan.matches("Index Cond: ((to_id = asked.account) AND (ROW(created_at, id) < ").count(),
        1,
        "{plan}"
    );
}

#[tokio::test]
async fn a_part_of_a_history_and_a_past_are_read_between_their_bounds_alone() {
    let database = Database::new().await;
    database.execute(&fill(2, 20_000)).await;
    let plan_of = async |part: &str| {
        let (sql, parameters) =
            statements().into_iter().find(|(sql, _)| sql.contains(part)).unwrap();
        explain(&database, &sql, parameters).await
    };
    // Of the direction that is not asked for nothing is read.
    let filtered = plan_of("$2 AND from_id = $1").await;
    for (parameter, column) in [("$2", "from_id"), ("$3", "to_id")] {
        assert!(filtered.contains(&format!("One-Time Filter: {parameter}")), "{filtered}");
        let bounds = format!("Index Cond: (({column} = $1) AND (created_at >= COALESCE($4, ");
        assert!(filtered.contains(&bounds), "{filtered}");
    }
    assert_eq!(filtered.matches("AND (ROW(created_at, id) < ROW(").count(), 2, "{filtered}");
    assert_eq!(filtered.matches("Index Scan Backward using payments_").count(), 2, "{filtered}");

    let past = plan_of("from_id = $1 AND (created_at, id) > ($2, $3)").await;
    for column in ["from_id", "to_id"] {
        let bounds = format!(
            "Index Cond: (({column} = $1) AND (ROW(created_at, id) > ROW($2, $3)) AND (created_at < $4))"
        );
        assert!(past.contains(&bounds), "{past}");
    }
    let balance = plan_of("from_id = $1 AND created_at < $2").await;
    assert_eq!(balance.matches("Index Scan Backward using payments_").count(), 2, "{balance}");
    assert_eq!(balance.matches("AND (created_at < $2))").count(), 2, "{balance}");
    for plan in [filtered, past, balance] {
        assert!(!plan.contains("  Filter: "), "{plan}");
    }
}

#[tokio::test]
async fn pruning_reads_the_pages_that_it_is_given_and_no_index() {
    let database = Database::new().await;
    database.execute(&fill(20, 20_000)).await;
    let mut conn = database.session().await;
    let body = "SELECT pg_get_function_sqlbody('remove_old_keys'::regproc)";
    let body: String = sqlx::query_scalar(body).fetch_one(&mut conn).await.unwrap();
    let body = body.trim().strip_prefix("BEGIN ATOMIC").unwrap().strip_suffix("END").unwrap();
    let mut body = body.trim().trim_end_matches(';').to_owned();
    for (name, value) in
        [("first_page", "$1::bigint"), ("end_page", "$2::bigint"), ("retention_days", "$3")]
    {
        let qualified = format!("remove_old_keys.{name}");
        assert!(body.contains(name), "{body}");
        body = body.replace(&qualified, value).replace(name, value);
    }
    let plan = explain(&database, &body, 3).await;
    assert_eq!(plan.matches("Tid Range Scan").count(), 1, "{plan}");
    assert_eq!(plan.matches("Tid Scan").count(), 1, "{plan}");
    assert!(!plan.contains("Seq Scan") && !plan.contains("Index"), "{plan}");
}

/// Gives the payments of [`fill`] their positions.
const NUMBER: &str = "INSERT INTO feed_entries (first_position, batch_id)
     SELECT row_number() OVER (ORDER BY id), id FROM payment_batches;
     INSERT INTO feed_state (last_position, settled_batch, settled_position)
     SELECT count(*), max(id), count(*) FROM payment_batches
     ON CONFLICT (the_only_row) DO UPDATE
     SET last_position = excluded.last_position, settled_batch = excluded.settled_batch,
         settled_position = excluded.settled_position;
     ANALYZE";

#[tokio::test]
async fn an_audit_of_what_is_new_reads_no_more_than_is_new() {
    let database = Database::new().await;
    database.execute(&fill(2_000, 20_000)).await;
    database.execute(NUMBER).await;
    let last = database.count("SELECT last_position FROM feed_state").await;
    let statements = statements();
    let audit = statements.iter().filter(|(sql, _)| sql.starts_with("/* audit since */"));
    let mut audited = 0;
    for (sql, parameters) in audit {
        let mut values = vec![(last - 10).to_string(), last.to_string()];
        values.resize(*parameters, "'\\x'".to_owned());
        let plan = explain_with(&database, sql, "EXPLAIN (ANALYZE, TIMING OFF)", &values).await;
        // Each of ten payments has two accounts, and each account's last payment is looked up twice.
        let most = plan.lines().filter_map(rows_of).max().unwrap();
        assert!((1..=40).contains(&most), "{most} rows:\n{sql}\n{plan}");
        audited += 1;
    }
    assert!(audited >= 15, "{audited}");
}

/// The rows that a step of an executed plan gave or left out, in all of its loops.
fn rows_of(line: &str) -> Option<u64> {
    if let Some((_, removed)) = line.split_once("Rows Removed by") {
        return removed.split_once(": ")?.1.trim().parse().ok();
    }
    let (_, actual) = line.split_once("(actual rows=")?;
    let (rows, loops) = actual.trim_end_matches(')').split_once(" loops=")?;
    let rows = rows.split('.').next()?;
    Some(rows.parse::<u64>().ok()? * loops.parse::<u64>().ok()?)
}
