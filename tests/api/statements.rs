//! An account's past: its balance at a moment, and statements; exact, because what is over never changes.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use payonce::domain::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::harness::{
    Answer, App, Database, id_of, operator, operator_called, owner_of, payment_of, refund,
    request_for_money,
};

/// The database's clock, in microseconds since 1970.
async fn now_us(database: &Database) -> i64 {
    database.count("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").await
}

fn moment(us: i64) -> Timestamp {
    Timestamp::from_unix_us(us).unwrap()
}

fn us_of(time: &Value) -> i64 {
    Timestamp::parse(time.as_str().unwrap()).unwrap().unix_us()
}

async fn at(app: &App, id: i64, us: i64) -> Answer {
    app.get(&format!("/accounts/{id}?at={}", moment(us))).await
}

async fn balance_at(app: &App, id: i64, us: i64) -> i64 {
    let answer = at(app, id, us).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json["balance"].as_i64().unwrap()
}

async fn statement(app: &App, id: i64, query: &str) -> Value {
    let path = format!("/accounts/{id}/statement?{query}");
    let answer = Answer::of(app.request("GET", &path).header("accept", "application/json")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json
}

/// The lines of a statement in CSV, each by its columns.
async fn lines(app: &App, id: i64, query: &str) -> Vec<BTreeMap<String, String>> {
    lines_of(&app.get(&format!("/accounts/{id}/statement?{query}")).await)
}

fn lines_of(answer: &Answer) -> Vec<BTreeMap<String, String>> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(answer.text.matches('\n').count(), answer.text.matches("\r\n").count());
    csv::Reader::from_reader(answer.text.as_bytes()).deserialize().map(Result::unwrap).collect()
}

fn cents(decimal: &str) -> i64 {
    decimal.replace('.', "").parse().unwrap()
}

/// Random payments between accounts 1 to 3, some of them refunds, after which one more microsecond is over.
async fn pay_at_random(app: &App, count: u32, random: &mut fastrand::Rng) {
    for number in 0..count {
        let from = random.i64(1..=3);
        let to = 1 + (from + random.i64(0..2)) % 3;
        let paid = app.pay(from, to, random.i64(1..=20), &format!("k{number}")).await;
        paid.assert_paid();
        if random.u8(..) < 50 {
            app.send_payment(&refund(&paid.json, 1, &format!("r{number}"))).await.assert_paid();
        }
    }
}

#[tokio::test]
async fn a_balance_then_is_that_after_the_last_payment_until_then() {
    let app = App::start().await;
    app.open(1, 1_000).await;
    app.open(2, 0).await;
    let mut times = Vec::new();
    for (amount, key) in [(100, "a"), (20, "b"), (3, "c")] {
        times.push(us_of(&app.pay(1, 2, amount, key).await.json["created_at"]));
    }
    for (time, before, after) in [(times[0], 0, 100), (times[1], 100, 120), (times[2], 120, 123)] {
        assert_eq!(balance_at(&app, 2, time - 1).await, before);
        assert_eq!(balance_at(&app, 2, time).await, after);
        assert_eq!(balance_at(&app, 1, time).await, 1_000 - after);
    }
    let then = at(&app, 2, times[0]).await;
    let now = app.get("/accounts/2").await;
    let expected = json!({"id": 2, "name": null, "balance": 100, "at": moment(times[0]).to_string(),
                          "created_at": now.json["created_at"]});
    assert_eq!(then.json, expected);
    // Before the account was there it had nothing; the bank had given nothing.
    assert_eq!(balance_at(&app, 1, us_of(&now.json["created_at"]) - 3_600_000_000).await, 0);
    assert_eq!(app.get("/accounts/0?at=1999-12-31T23:59:59Z").await.json["balance"], 0);
}

#[tokio::test]
async fn a_moment_is_read_as_other_times_are() {
    let app = App::start().await;
    app.open(1, 5).await;
    let read = async |at: &str| app.get(&format!("/accounts/1?at={at}")).await;
    assert_eq!(read("2001-01-01T02:00:00+02:00").await.json["at"], "2001-01-01T00:00:00.000000Z");
    assert_eq!(read("978307200000").await.json["at"], "2001-01-01T00:00:00.000000Z");
    // Until then is what is asked for: a part of a microsecond is no later one.
    let fine = read("2001-01-01T00:00:00.0000019Z").await;
    assert_eq!(fine.json["at"], "2001-01-01T00:00:00.000001Z");
    for wrong in ["", "yesterday", "2001-01-01", "99999999999999999999", "-0", "1.5"] {
        read(wrong).await.assert_problem(400, "invalid_request");
    }
    app.get("/accounts/2?at=978307200000").await.assert_problem(404, "account_not_found");
    app.get("/accounts/2/statement").await.assert_problem(404, "account_not_found");
    for wrong in ["since=x", "until=x", "since=2&until=1", "at=1"] {
        app.get(&format!("/accounts/1/statement?{wrong}"))
            .await
            .assert_problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_moment_that_is_not_over_has_no_balance_and_ends_no_statement() {
    let app = App::start().await;
    app.open(1, 5).await;
    let later = now_us(&app.database).await + 3_600_000_000;
    for path in [
        format!("/accounts/1?at={}", moment(later)),
        format!("/accounts/1/statement?until={}", moment(later)),
        format!("/accounts/1/statement?since={}", moment(later)),
        "/accounts/1?at=9999-12-31T23:59:59.999999Z".to_owned(),
    ] {
        let refused = app.get(&path).await;
        refused.assert_problem(400, "invalid_request");
        assert!(refused.json["detail"].as_str().unwrap().contains("not over"), "{}", refused.text);
    }
    let now = now_us(&app.database).await;
    assert_eq!(balance_at(&app, 1, now).await, 5);
}

/// A transaction of somebody else's that has locked an account, and drawn a payment's time, and goes on only later.
struct Held {
    session: PgConnection,
    created_at_us: i64,
}

impl Held {
    /// `lock` locks account 1.
    async fn begin(database: &Database, lock: &str) -> Self {
        let mut session = database.session().await;
        sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {lock}"))).execute(&mut session).await.unwrap();
        let created_at_us = now_us(database).await;
        Self { session, created_at_us }
    }

    /// Account 1 pays account 2 `cents` at the time that was drawn.
    async fn pay(mut self, cents: i64, key: &str) {
        let created_at = moment(self.created_at_us);
        let sql = format!(
            "INSERT INTO payments (id, from_id, to_id, amount, created_at, idempotency_key,
                                   from_balance_after, to_balance_after)
             SELECT gen_random_uuid(), 1, 2, {cents}, '{created_at}', 'held {key}',
                    payer.balance - {cents}, payee.balance + {cents}
             FROM accounts AS payer, accounts AS payee WHERE payer.id = 1 AND payee.id = 2;
             UPDATE accounts SET last_payment_at = '{created_at}',
                    balance = balance + CASE id WHEN 1 THEN -{cents} ELSE {cents} END
             WHERE id IN (1, 2);
             COMMIT"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.session).await.unwrap();
    }
}

const LOCK: &str = "SELECT FROM accounts WHERE id = 1 FOR UPDATE";

#[tokio::test]
async fn a_payment_whose_time_was_drawn_but_which_is_not_committed_is_never_missed() {
    for lock in [LOCK, &format!("SAVEPOINT inner_part; {LOCK}; RELEASE inner_part")] {
        let app = App::start().await;
        app.open_many(3, 1_000).await;
        let opened = us_of(&app.history(1).await[0]["created_at"]);
        let held = Held::begin(&app.database, lock).await;
        let asked = now_us(&app.database).await;
        assert!(held.created_at_us < asked);
        at(&app, 1, asked).await.assert_problem(400, "invalid_request");
        app.get(&format!("/accounts/1/statement?until={}", moment(asked)))
            .await
            .assert_problem(400, "invalid_request");
        // Up to the last payment that was committed everything is over; and for the others all of it.
        assert_eq!(balance_at(&app, 1, opened).await, 1_000);
        at(&app, 1, opened + 1).await.assert_problem(400, "invalid_request");
        assert_eq!(balance_at(&app, 3, asked).await, 1_000);
        let until_then = statement(&app, 1, "").await;
        assert_eq!(us_of(&until_then["until"]), opened + 1);
        assert_eq!(until_then["closing_balance"], 1_000);

        let created_at_us = held.created_at_us;
        held.pay(7, "k").await;
        assert_eq!(balance_at(&app, 1, asked).await, 993);
        assert_eq!(balance_at(&app, 1, created_at_us - 1).await, 1_000);
        let whole = statement(&app, 1, &format!("until={}", moment(asked))).await;
        assert_eq!(whole["closing_balance"], 993);
        let until_then = format!("until={}", until_then["until"].as_str().unwrap());
        assert_eq!(statement(&app, 1, &until_then).await["closing_balance"], 1_000);
    }
}

#[tokio::test]
async fn a_moment_is_waited_for_while_a_payment_is_under_way() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    // The wait has a limit that a busy machine may exceed.
    for attempt in 1..=10 {
        let held = Held::begin(&app.database, LOCK).await;
        let asked = now_us(&app.database).await;
        let has_looked = format!(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
             AND query LIKE '%pg_xact_status%' AND application_name = 'payonce reader'
             AND query_start > '{}')",
            moment(asked)
        );
        let paying = async {
            app.database.until(&has_looked).await;
            held.pay(9, &attempt.to_string()).await;
        };
        let (answer, ()) = tokio::join!(at(&app, 1, asked), paying);
        if answer.status == 200 {
            assert_eq!(answer.json["balance"], 1_000 - 9 * attempt);
            return;
        }
    }
    panic!("no answer has waited for the payment");
}

#[tokio::test]
async fn a_transaction_elsewhere_keeps_nobodys_past_open() {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    // It has a number, so all that happens from now on is younger than the oldest that is under way.
    let elsewhere = app.database.lock_accounts("3").await;
    app.pay(1, 2, 10, "k").await.assert_paid();
    app.pay(1, 2, 5_000, "declined").await.assert_problem(422, "insufficient_funds");
    let asked = now_us(&app.database).await;
    assert_eq!(balance_at(&app, 1, asked).await, 990);
    assert!(us_of(&statement(&app, 1, "").await["until"]) > asked);
    elsewhere.release().await;
}

#[tokio::test]
async fn an_answer_about_the_past_never_changes_while_payments_are_made() {
    const ASKERS: usize = 6;
    let apps = App::start_two().await;
    apps[0].open_many(4, 1_000_000).await;
    let paying = (0..8_usize).map(|payer| {
        let apps = &apps;
        async move {
            for number in 0..60 {
                let from = 1 + ((payer + number) % 4) as i64;
                let app = &apps[(payer + number) % 2];
                app.pay(from, 1 + from % 4, 1, &format!("{payer}-{number}")).await.assert_paid();
            }
        }
    });
    let asking = (0..ASKERS).map(|asker| {
        let app = &apps[asker % 2];
        async move {
            let mut answers = Vec::new();
            while app.database.payments().await < 8 * 60 {
                let id = 1 + (asker % 4) as i64;
                let asked = now_us(&app.database).await - 2_000 * asker as i64;
                let then = at(app, id, asked).await;
                if then.status == 200 {
                    answers.push((id, asked, then.json["balance"].as_i64().unwrap()));
                }
                let whole = statement(app, id, "").await;
                let end = us_of(&whole["until"]) - 1;
                answers.push((id, end, whole["closing_balance"].as_i64().unwrap()));
            }
            answers
        }
    });
    let (_, answers) = tokio::join!(join_all(paying), join_all(asking));
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    assert!(answers.len() > 50, "{}", answers.len());
    for (id, us, balance) in answers {
        assert_eq!(balance_at(&apps[0], id, us).await, balance, "account {id} at {}", moment(us));
    }
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn every_statement_adds_up_and_goes_on_where_the_one_before_it_ended() {
    let app = App::start().await;
    app.open_many(3, 10_000).await;
    let mut random = fastrand::Rng::with_seed(16);
    pay_at_random(&app, 60, &mut random).await;
    for id in 1..=3 {
        let mut history = app.history(id).await;
        history.reverse();
        let times: Vec<i64> = history.iter().map(|it| us_of(&it["created_at"])).collect();
        let edge =
            |random: &mut fastrand::Rng| times[random.usize(..times.len())] + random.i64(-1..=1);
        for _ in 0..25 {
            let mut edges = [edge(&mut random), edge(&mut random), edge(&mut random)];
            edges.sort_unstable();
            for [since, until] in [[edges[0], edges[1]], [edges[1], edges[2]]] {
                let query = format!("since={}&until={}", moment(since), moment(until));
                let found = statement(&app, id, &query).await;
                let expected: Vec<&Value> = history
                    .iter()
                    .filter(|it| (since..until).contains(&us_of(&it["created_at"])))
                    .collect();
                let payments = found["payments"].as_array().unwrap();
                assert_eq!(payments.iter().collect::<Vec<_>>(), expected, "{query}");
                assert_eq!(found["account"], id);
                assert_eq!([us_of(&found["since"]), us_of(&found["until"])], [since, until]);
                assert_eq!(found["opening_balance"], balance_at(&app, id, since - 1).await);
                assert_eq!(found["closing_balance"], balance_at(&app, id, until - 1).await);
                assert_adds_up(&found);
                assert_same(&found, &lines(&app, id, &query).await);
            }
        }
    }
    // The whole: from the account's opening until now.
    let whole = statement(&app, 1, "").await;
    assert_eq!(whole["since"], app.get("/accounts/1").await.json["created_at"]);
    assert_eq!(whole["opening_balance"], 0);
    assert_eq!(whole["closing_balance"], app.balance(1).await);
    assert_eq!(whole["payments"].as_array().unwrap().len(), app.history(1).await.len());
}

fn assert_adds_up(statement: &Value) {
    let mut balance = statement["opening_balance"].as_i64().unwrap();
    for payment in statement["payments"].as_array().unwrap() {
        let amount = payment["amount"].as_i64().unwrap();
        let is_received = payment["to_id"] == statement["account"];
        balance += if is_received { amount } else { -amount };
        assert_eq!(payment["balance_after"], balance);
    }
    assert_eq!(statement["closing_balance"], balance);
}

/// Asserts that JSON and CSV say the same.
fn assert_same(statement: &Value, lines: &[BTreeMap<String, String>]) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let [opening, payments @ .., closing] = lines else { panic!("{lines:?}") };
    for (line, kind, time, balance) in [
        (opening, "opening_balance", &statement["since"], &statement["opening_balance"]),
        (closing, "closing_balance", &statement["until"], &statement["closing_balance"]),
    ] {
        assert_eq!((&*line["type"], &line["time"]), (kind, &text(time)));
        assert_eq!(cents(&line["balance"]), *balance);
        assert_eq!((&*line["amount"], &*line["payment_id"]), ("", ""));
    }
    let expected = statement["payments"].as_array().unwrap();
    assert_eq!(payments.len(), expected.len());
    for (line, payment) in payments.iter().zip(expected) {
        let is_sent = payment["from_id"] == statement["account"];
        let sign = if is_sent { -1 } else { 1 };
        assert_eq!(line["type"], if is_sent { "sent" } else { "received" });
        assert_eq!(line["time"], text(&payment["created_at"]));
        assert_eq!(line["payment_id"], text(&payment["id"]));
        let other = &payment[if is_sent { "to_id" } else { "from_id" }];
        assert_eq!(line["account_id"], other.to_string());
        assert_eq!(cents(&line["amount"]), sign * payment["amount"].as_i64().unwrap());
        assert_eq!(cents(&line["balance"]), payment["balance_after"]);
        assert_eq!(line["refund_of"], text(&payment["refund_of"]));
    }
}

#[tokio::test]
async fn a_spreadsheet_finds_no_formula_in_a_statement() {
    let app = App::start().await;
    app.open(1, 1_000).await;
    let name = "=HYPERLINK(\"http://x\")";
    app.post("/accounts", &json!({"id": 2, "name": name})).await;
    let notes =
        ["=1+1", "+1", "-1", "@SUM(A1)", "a, \"b\" = c", "two", " =1", "'quoted", "1; =1;2"];
    for (number, note) in notes.iter().enumerate() {
        let mut body = crate::harness::payment(1, 2, 1, &format!("k{number}"));
        body["note"] = (*note).into();
        app.send_payment(&body).await.assert_paid();
    }
    let all = lines(&app, 1, "").await;
    let sent: Vec<_> = all.iter().filter(|line| line["type"] == "sent").collect();
    let found: Vec<&str> = sent.iter().map(|line| &*line["note"]).collect();
    let expected =
        ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "a, \"b\" = c", "two", "' =1", "'quoted", "1;' =1;2"];
    assert_eq!(found, expected);
    assert!(sent.iter().all(|line| line["account_name"] == format!("'{name}")), "{sent:?}");
    // JSON is for programs, and has them as they are.
    let found = statement(&app, 1, "").await;
    let payments = found["payments"].as_array().unwrap();
    let unchanged: Vec<&str> =
        payments.iter().skip(1).map(|it| it["note"].as_str().unwrap()).collect();
    assert_eq!(unchanged, notes);
}

#[tokio::test]
async fn a_statement_says_which_request_was_paid_and_who_asked_without_a_formula_either() {
    let app = App::start_with_tokens(2).await;
    let body = request_for_money(1, 2, 5);
    let request = app.ask(Some(&owner_of(2)), "POST", "/payment_requests", Some(&body)).await.json;
    let kim = operator_called("=kim");
    let pay = payment_of(&request);
    app.ask(Some(&kim), "PUT", "/send_payment", Some(&pay)).await.assert_paid();
    let all = lines_of(&app.ask(Some(&kim), "GET", "/accounts/1/statement", None).await);
    let sent = all.iter().find(|line| line["type"] == "sent").unwrap();
    assert_eq!((&*sent["by"], &*sent["payment_request_id"]), ("'=kim", id_of(&request)));
}

#[tokio::test]
async fn a_statement_until_a_moment_before_the_account_was_there_is_empty_and_begins_then() {
    let app = App::start().await;
    app.open(1, 5).await;
    let found = statement(&app, 1, "until=2001-01-01T00:00:00Z").await;
    let then = "2001-01-01T00:00:00.000000Z";
    let expected = json!({"account": 1, "since": then, "until": then, "opening_balance": 0,
                          "payments": [], "closing_balance": 0});
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_statement_is_a_file_whose_head_can_be_asked_for() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let query = "since=2026-01-01T00:00:00Z&until=2026-02-01T00:00:00Z";
    let path = format!("/accounts/1/statement?{query}");
    for (accept, name) in [("text/csv", "csv"), ("application/json", "json")] {
        let whole = Answer::of(app.request("GET", &path).header("accept", accept)).await;
        let head = Answer::of(app.request("HEAD", &path).header("accept", accept)).await;
        let expected = format!("attachment; filename=\"statement-1-2026-01-01-2026-02-01.{name}\"");
        for answer in [&whole, &head] {
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-disposition"), Some(&*expected));
            assert_eq!(answer.header("vary"), Some("accept"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        assert_eq!(head.header("content-type"), whole.header("content-type"));
        assert_eq!(head.header("content-length"), None);
        // Nothing is written for it, so no payment is read.
        assert_eq!(whole.header("transfer-encoding"), Some("chunked"));
        assert_eq!(head.header("transfer-encoding"), None);
    }
    assert_eq!(Answer::of(app.request("HEAD", "/accounts/1?at=0")).await.status, 200);
    assert_eq!(Answer::of(app.request("HEAD", "/accounts/3/statement")).await.status, 404);
}

#[tokio::test]
async fn the_past_is_for_the_accounts_holder_and_operators() {
    let app = App::start_with_tokens(2).await;
    for path in ["/accounts/1/statement", "/accounts/1?at=0", "/payment_history/1?direction=sent"] {
        app.ask(None, "GET", path, None).await.assert_problem(401, "unauthenticated");
        let other = app.ask(Some(&owner_of(2)), "GET", path, None).await;
        other.assert_problem(403, "forbidden");
        for allowed in [owner_of(1), operator()] {
            let answer = app.ask(Some(&allowed), "GET", path, None).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        }
    }
    let missing = app.ask(Some(&owner_of(3)), "GET", "/accounts/3/statement", None).await;
    missing.assert_problem(404, "account_not_found");
}

/// The most memory that a process has had so far.
fn peak_kib(app: &App) -> u64 {
    let path = format!("/proc/{}/status", app.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_statement_of_a_hundred_thousand_payments_takes_little_memory_however_slowly_it_is_read()
{
    const PAYMENTS: usize = 100_000;
    const GROWTH_KIB_MAX: u64 = 8 * 1_024;
    let app = App::start().await;
    app.open_many(2, 1_000_000).await;
    app.database
        .execute(&format!(
            "INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                                   to_balance_after, idempotency_key, note)
             SELECT gen_random_uuid(), 1, 2, 1, now() + n * interval '1 us', 1000000 - n,
                    1000000 + n, 'k' || n, repeat('note ', 30)
             FROM generate_series(1, {PAYMENTS}) AS n;
             UPDATE accounts SET last_payment_at = now() + interval '1 s',
                    balance = balance + {PAYMENTS} * CASE id WHEN 1 THEN -1 ELSE 1 END
             WHERE id IN (1, 2)"
        ))
        .await;
    // What the process needs for any statement it has by now.
    lines(&app, 1, "until=2001-01-01T00:00:00Z").await;
    let before = peak_kib(&app);
    // One that begins to read, and goes on only when the other has read all.
    let mut slow = app.request("GET", "/accounts/1/statement").send().await.unwrap();
    let mut bytes = slow.chunk().await.unwrap().unwrap().len();
    let mut fast = app.request("GET", "/accounts/1/statement").send().await.unwrap();
    let (mut lines, mut end) = (0, Vec::new());
    while let Some(chunk) = fast.chunk().await.unwrap() {
        lines += chunk.split(|byte| *byte == b'\n').count() - 1;
        end = [end, chunk.to_vec()].concat();
        end.drain(..end.len().saturating_sub(200));
    }
    assert_eq!(lines, PAYMENTS + 4);
    let end = String::from_utf8_lossy(&end).into_owned();
    let last = end.lines().last().unwrap();
    assert!(last.contains("closing_balance") && last.contains(",9000.00,"), "{last}");
    let grown = peak_kib(&app) - before;
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
    while let Some(chunk) = slow.chunk().await.unwrap() {
        bytes += chunk.len();
    }
    assert!(bytes as u64 > 2 * 1_024 * GROWTH_KIB_MAX, "{bytes} bytes");
}
