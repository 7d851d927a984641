//! No false certainty: "nothing was done" is said only of a payment whose own rows were read under their
//! locks, and nobody answers for those that are in a batch with him.

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{A_WRITER_WAITS, Answer, App, SERVICE_ROLE, eventually, payment};

/// SQLSTATEs that a trigger may raise, or Postgres itself say of one payment; and what its payer is told.
const SQLSTATES: [(&str, (u16, &str)); 19] = [
    ("P0001", FINAL),
    ("P0002", FINAL),
    ("22012", FINAL),
    ("23514", FINAL),
    ("42501", FINAL),
    ("0A000", FINAL),
    ("2F003", FINAL),
    ("38000", FINAL),
    ("55000", FINAL),
    ("55006", FINAL),
    ("XX001", FINAL),
    ("57014", AGAIN),
    ("57P01", AGAIN),
    ("53100", AGAIN),
    ("58030", AGAIN),
    ("40001", AGAIN),
    ("25006", AGAIN),
    ("08006", AGAIN),
    ("55P03", (503, "account_busy")),
];

/// Its rows were read under their locks: nothing was done, and the next time it will be the same.
const FINAL: (u16, &str) = (500, "internal");

/// Another moment may do better.
const AGAIN: (u16, &str) = (503, "database_unavailable");

/// Makes the database refuse every new payment of account 1 with a SQLSTATE.
async fn refuse_payer_1(app: &App, sqlstate: &str) {
    app.database
        .execute(&format!(
            "CREATE OR REPLACE FUNCTION refuse_payer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.from_id = 1 THEN
                     RAISE EXCEPTION 'unlucky' USING ERRCODE = '{sqlstate}';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE OR REPLACE TRIGGER refuse_payer BEFORE INSERT ON payments
                 FOR EACH ROW EXECUTE FUNCTION refuse_payer()"
        ))
        .await;
}

#[tokio::test]
async fn batch_mates_of_a_payment_that_the_database_refuses_are_paid_whatever_it_says() {
    let app = App::start_with(&[
        ("PAYONCE_WRITER__COUNT", "1"),
        ("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "4000"),
    ])
    .await;
    app.open_many(6, 100_000).await;
    for i in 0..20 {
        app.pay(2, 3, 1, &format!("paid-{i}")).await.assert_paid();
    }
    for (sqlstate, (status, code)) in SQLSTATES {
        refuse_payer_1(&app, sqlstate).await;
        let bodies: Vec<_> = (0..60)
            .map(|i| match i % 3 {
                0 => payment(2, 3, 1, &format!("paid-{}", i / 3)),
                1 => payment(4 + i % 2, 6, 1, &format!("{sqlstate}-{i}")),
                _ if i < 12 => payment(1, 2, 1, &format!("{sqlstate}-{i}")),
                _ => payment(3, 1, 1, &format!("{sqlstate}-{i}")),
            })
            .collect();
        let answers = join_all(bodies.iter().map(|body| app.send_payment(body))).await;
        for (body, answer) in bodies.iter().zip(&answers) {
            if body["from"] == 1 {
                answer.assert_problem(status, code);
                assert_eq!(answer.json["retryable"], status != 500);
            } else {
                answer.assert_paid();
            }
        }
    }
    assert_eq!(app.database.count("SELECT count(*) FROM payments WHERE from_id = 1").await, 0);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_payer_whose_payments_take_too_long_holds_up_nobody_else() {
    let app = App::start_with(&[
        ("PAYONCE_WRITER__COUNT", "1"),
        ("PAYONCE_WRITER__LOCK_WAIT_MS_MAX", "50"),
        ("PAYONCE_DATABASE__STATEMENT_TIMEOUT_MS", "200"),
        ("PAYONCE_DATABASE__TRANSACTION_TIMEOUT_MS", "1000"),
        ("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "10000"),
    ])
    .await;
    app.open_many(6, 100_000).await;
    app.database
        .execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.from_id = 1 THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END $$;
             CREATE TRIGGER dawdle BEFORE INSERT ON payments
                 FOR EACH ROW EXECUTE FUNCTION dawdle()",
        )
        .await;
    for round in 0..3 {
        let bodies: Vec<_> = (0..60)
            .map(|i| {
                payment(if i % 20 == 0 { 1 } else { 2 + i % 4 }, 6, 1, &format!("{round}-{i}"))
            })
            .collect();
        let slow = bodies.iter().filter(|body| body["from"] == 1);
        let others = bodies.iter().filter(|body| body["from"] != 1);
        let (slow, others) = tokio::join!(
            join_all(slow.map(|body| app.send_payment(body))),
            join_all(others.map(|body| app.send_payment(body)))
        );
        others.iter().for_each(Answer::assert_paid);
        slow.iter().for_each(|answer| answer.assert_problem(503, "database_unavailable"));
    }
    app.database.assert_sound();
}

#[tokio::test]
async fn a_trigger_that_waits_for_a_row_is_not_told_as_a_key_in_use() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "1500")]).await;
    app.open_many(3, 1_000).await;
    app.database
        .execute(&format!(
            "CREATE TABLE quotas (id bigint PRIMARY KEY, used bigint); INSERT INTO quotas VALUES (1, 0);
             GRANT SELECT, UPDATE ON quotas TO {SERVICE_ROLE};
             CREATE FUNCTION count_quota() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 UPDATE quotas SET used = used + 1 WHERE id = NEW.from_id; RETURN NEW; END $$;
             CREATE TRIGGER count_quota BEFORE INSERT ON payments
                 FOR EACH ROW EXECUTE FUNCTION count_quota()"
        ))
        .await;
    let mut session = app.database.session().await;
    let hold = "BEGIN; SELECT FROM quotas WHERE id = 1 FOR UPDATE";
    sqlx::raw_sql(hold).execute(&mut session).await.unwrap();
    let (waiting, other) = tokio::join!(app.pay(1, 3, 1, "k"), app.pay(2, 3, 1, "k"));
    waiting.assert_problem(503, "account_busy");
    other.assert_paid();
    sqlx::raw_sql("COMMIT").execute(&mut session).await.unwrap();
    eventually("paid once the row is free", async || app.pay(1, 3, 1, "k").await.status == 200)
        .await;
    app.database.assert_sound();
}

#[tokio::test]
async fn an_opening_of_which_a_trigger_swallows_a_row_is_refused() {
    for (table, event, bad) in [
        ("accounts", "INSERT", "NEW.id = 7"),
        ("account_idempotency_keys", "UPDATE", "NEW.account_id = 7"),
    ] {
        let app = App::start().await;
        app.database
            .execute(&format!(
                "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN RETURN CASE WHEN {bad} THEN NULL ELSE NEW END; END $$;
                 CREATE TRIGGER swallow BEFORE {event} ON {table}
                     FOR EACH ROW EXECUTE FUNCTION swallow()"
            ))
            .await;
        app.post("/accounts", &json!({"id": 7})).await.assert_problem(500, "internal");
        app.get("/accounts/7").await.assert_problem(404, "account_not_found");
        app.open(8, 10).await;
        app.database.assert_sound();
    }
}

#[tokio::test]
async fn a_paid_key_whose_row_was_removed_is_answered_with_its_payment_also_when_the_database_refuses()
 {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let first = app.pay(1, 2, 10, "k").await;
    first.assert_paid();
    app.database.execute("DELETE FROM idempotency_keys").await;
    for sqlstate in ["P0001", "42501", "57014"] {
        refuse_payer_1(&app, sqlstate).await;
        let again = app.pay(1, 2, 10, "k").await;
        again.assert_paid();
        assert_eq!((again.is_replay(), &again.text), (true, &first.text));
    }
    app.database.assert_sound();
}

#[tokio::test]
async fn a_payment_whose_rows_could_not_be_read_is_not_told_that_nothing_was_done() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 10, "k").await.assert_paid();
    app.database
        .execute(&format!(
            "REVOKE UPDATE (balance, last_payment_at, status) ON accounts FROM {SERVICE_ROLE}"
        ))
        .await;
    let unread = app.pay(1, 2, 10, "k").await;
    unread.assert_problem(503, "database_unavailable");
    assert!(unread.text.contains("may not be known"), "{}", unread.text);
    app.database
        .execute(&format!(
            "GRANT UPDATE (balance, last_payment_at, status) ON accounts TO {SERVICE_ROLE}"
        ))
        .await;
    let again = app.pay(1, 2, 10, "k").await;
    again.assert_paid();
    assert!(again.is_replay());
    app.database.assert_sound();
}

#[tokio::test]
async fn while_a_table_is_locked_nobody_is_told_that_a_key_is_in_use() {
    for table in ["accounts", "payments", "idempotency_keys"] {
        let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "1500")]).await;
        app.open_many(8, 1_000).await;
        let mut session = app.database.session().await;
        // The lock of CREATE INDEX.
        let lock = format!("BEGIN; LOCK TABLE {table} IN SHARE MODE");
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut session).await.unwrap();
        let bodies: Vec<_> =
            (0..40).map(|i| payment(1 + i % 4, 5 + i % 4, 1, &format!("k{i}"))).collect();
        let opening = json!({"id": 9, "opening_balance": 1});
        let opening = app.post("/accounts", &opening);
        let (answers, opened) =
            tokio::join!(join_all(bodies.iter().map(|body| app.send_payment(body))), opening);
        answers.iter().for_each(|answer| answer.assert_problem(503, "account_busy"));
        opened.assert_problem(503, "account_busy");
        sqlx::raw_sql("COMMIT").execute(&mut session).await.unwrap();
        for body in &bodies {
            app.send_payment(body).await.assert_paid();
        }
        assert_eq!(app.database.payments().await, 40);
        app.database.assert_sound();
    }
}

#[tokio::test]
async fn a_locked_table_of_requests_holds_up_those_who_ask_and_nobody_who_pays() {
    for mode in ["SHARE", "ACCESS EXCLUSIVE"] {
        let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "60000")]).await;
        app.open_many(8, 1_000).await;
        let mut session = app.database.session().await;
        let lock = format!("BEGIN; LOCK TABLE payment_requests IN {mode} MODE");
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut session).await.unwrap();
        // All at once, so that they are in the same batches; and between the same accounts.
        let asking = join_all((0..20).map(|i| {
            let body = json!({"from": 1 + i % 4, "to": 5 + i % 4, "amount": 1});
            async { app.post("/payment_requests", &{ body }).await }
        }));
        let bodies: Vec<_> =
            (0..40).map(|i| payment(1 + i % 4, 5 + i % 4, 1, &format!("k{i}"))).collect();
        let paying = async {
            let paid = join_all(bodies.iter().map(|body| app.send_payment(body))).await;
            paid.iter().for_each(Answer::assert_paid);
            sqlx::raw_sql("COMMIT").execute(&mut session).await.unwrap();
        };
        let (asked, ()) = tokio::join!(asking, paying);
        asked.iter().for_each(|answer| assert_eq!(answer.status, 201, "{mode}: {}", answer.text));
        app.database.assert_sound();
    }
}

#[tokio::test]
async fn a_key_that_somebody_else_holds_is_told_as_such() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "1500")]).await;
    app.open_many(2, 1_000).await;
    let mut session = app.database.session().await;
    let hold = "BEGIN; INSERT INTO idempotency_keys (user_id, key, status)
                VALUES (1, 'k', 'in_progress')";
    sqlx::raw_sql(hold).execute(&mut session).await.unwrap();
    let (busy, free) = tokio::join!(app.pay(1, 2, 1, "k"), app.pay(1, 2, 1, "other"));
    busy.assert_problem(409, "request_in_progress");
    free.assert_paid();
    sqlx::raw_sql("ROLLBACK").execute(&mut session).await.unwrap();
    app.pay(1, 2, 1, "k").await.assert_paid();
    app.database.assert_sound();
}

#[tokio::test]
async fn a_row_that_a_trigger_swallows_is_no_payment() {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    app.database
        .execute(
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RETURN CASE WHEN NEW.from_id = 1 THEN NULL ELSE NEW END; END $$;
             CREATE TRIGGER swallow BEFORE INSERT ON payments
                 FOR EACH ROW EXECUTE FUNCTION swallow()",
        )
        .await;
    let bodies: Vec<_> = (0..20).map(|i| payment(1 + i % 2, 3, 1, &format!("k{i}"))).collect();
    let answers = join_all(bodies.iter().map(|body| app.send_payment(body))).await;
    for (i, answer) in answers.iter().enumerate() {
        if i % 2 == 0 {
            answer.assert_problem(500, "internal");
        } else {
            answer.assert_paid();
        }
    }
    assert_eq!((app.balance(1).await, app.balance(3).await), (1_000, 1_010));
    app.database.assert_sound();
}

#[tokio::test]
async fn a_change_of_a_table_is_noticed_by_nobody() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for round in 0..3 {
        let key = format!("before-{round}");
        let paid = app.pay(1, 2, 1, &key).await;
        paid.assert_paid();
        let payment = format!("/payments/{}", paid.json["id"].as_str().unwrap());
        let reads =
            ["/payment_history/1", "/accounts/1", "/accounts", "/accounts?ids=1,2", &payment];
        for path in reads {
            assert_eq!(app.get(path).await.status, 200, "{path}");
        }
        let (length, precision) = (500 + round, if round % 2 == 0 { "(6)" } else { "" });
        app.database
            .execute(&format!(
                "ALTER TABLE payments ALTER note TYPE varchar({length});
                 ALTER TABLE accounts ALTER name TYPE varchar({length});
                 ALTER TABLE accounts ALTER last_payment_at TYPE timestamptz{precision};
                 ALTER TABLE idempotency_keys ALTER key TYPE varchar({length});
                 ALTER TABLE account_idempotency_keys ALTER key TYPE varchar({length})"
            ))
            .await;
        for path in reads {
            let read = app.get(path).await;
            assert_eq!(read.status, 200, "{path}: {}", read.text);
        }
        assert!(app.pay(1, 2, 1, &key).await.is_replay());
        app.open(10 + round, 5).await;
        app.pay(1, 2, 1, &format!("after-{round}")).await.assert_paid();
    }
    app.database.assert_sound();
}

#[tokio::test]
async fn a_history_that_cannot_be_read_is_nobody_elses_trouble() {
    let app = App::start().await;
    app.open_many(6, 1_000).await;
    app.pay(1, 2, 1, "k").await.assert_paid();
    // Reading what account 1 has paid fails, as on a page of the table that is broken.
    app.database
        .execute(&format!(
            "CREATE FUNCTION fails(amount bigint) RETURNS bigint LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'unlucky' USING ERRCODE = 'XX001'; END $$;
             ALTER TABLE payments RENAME TO whole_payments;
             CREATE VIEW payments AS
                 SELECT id, from_id, to_id,
                        CASE WHEN from_id = 1 THEN fails(amount) ELSE amount END AS amount,
                        created_at, from_balance_after, to_balance_after, requested_at,
                        idempotency_key, note, refund_of, refunded_after, payment_request_id,
                        asked_by
                 FROM whole_payments;
             GRANT SELECT ON payments TO {SERVICE_ROLE}"
        ))
        .await;
    let asked: Vec<i64> = (0..90).map(|i| 1 + i % 6).collect();
    let pages = asked.iter().map(|id| (id, format!("/payment_history/{id}")));
    let answers = join_all(pages.map(async |(id, path)| (*id, app.get(&path).await))).await;
    for (id, answer) in answers {
        // The payment is in the histories of both.
        if id <= 2 {
            answer.assert_problem(500, "internal");
        } else {
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn an_opening_is_told_that_nothing_was_done_only_after_its_key_was_read() {
    let app = App::start().await;
    let named = |name: &str| json!({"name": name, "opening_balance": 5});
    app.database
        .execute(
            "CREATE FUNCTION refuse_bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.name = 'bad' THEN RAISE EXCEPTION 'unlucky'; END IF; RETURN NEW; END $$;
             CREATE TRIGGER refuse_bad BEFORE INSERT ON accounts
                 FOR EACH ROW EXECUTE FUNCTION refuse_bad()",
        )
        .await;
    app.post("/accounts", &named("bad")).await.assert_problem(500, "internal");
    let keyed = |name: &str| {
        app.request("POST", "/accounts").header("idempotency-key", "k").json(&named(name))
    };
    let first = Answer::of(keyed("good")).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let rights = "INSERT ON account_idempotency_keys";
    app.database.execute(&format!("REVOKE {rights} FROM {SERVICE_ROLE}")).await;
    Answer::of(keyed("good")).await.assert_problem(503, "database_unavailable");
    app.database.execute(&format!("GRANT {rights} TO {SERVICE_ROLE}")).await;
    assert_eq!(Answer::of(keyed("good")).await.text, first.text);
    app.database.assert_sound();
}

/// HTTP lets a client close its sending half and go on reading (RFC 9112, section 9.6), so that is not
/// taken for a farewell.
#[tokio::test]
async fn a_client_that_only_stops_sending_is_paid_and_answered() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let outside = app.database.lock_accounts("2").await;
    let body = payment(1, 2, 1, "half").to_string();
    let head = format!(
        "PUT /send_payment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut wire =
        tokio::net::TcpStream::connect(app.base.strip_prefix("http://").unwrap()).await.unwrap();
    wire.write_all(head.as_bytes()).await.unwrap();
    wire.shutdown().await.unwrap();
    app.database.until(A_WRITER_WAITS).await;
    outside.release().await;
    let mut answer = String::new();
    wire.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(app.pay(1, 2, 1, "half").await.is_replay());
    app.database.assert_sound();
}

/// A deferred trigger runs inside COMMIT, and waits there for as long as the test wants.
const SLOW_COMMITS_OF_PAYER_1: &str = "
    CREATE FUNCTION commit_slowly() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
        $$ BEGIN
            IF NEW.from_id = 1 THEN PERFORM pg_advisory_xact_lock(4711); END IF; RETURN NULL;
        END $$;
    CREATE CONSTRAINT TRIGGER commit_slowly AFTER INSERT ON payments
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION commit_slowly()";

#[tokio::test]
async fn an_account_in_the_commit_of_another_process_is_waited_for_and_not_set_aside() {
    let [app, other] = App::start_two().await;
    app.open_many(3, 1_000).await;
    app.database.execute(SLOW_COMMITS_OF_PAYER_1).await;
    let mut holder = app.database.session().await;
    sqlx::raw_sql("SELECT pg_advisory_lock(4711)").execute(&mut holder).await.unwrap();
    let committing = app.pay(1, 2, 1, "slow");
    let waiting = async {
        app.database
            .until(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                 AND query = 'COMMIT' AND wait_event = 'advisory')",
            )
            .await;
        let paying = other.pay(3, 2, 1, "behind");
        let freeing = async {
            let waited = "payonce_reposts_total{cause=\"writer_awaited\"} ";
            eventually("it waited for the other's commit twice", async || {
                let metrics = other.get("/metrics").await.text;
                let count = metrics.lines().find_map(|line| line.strip_prefix(waited));
                count.is_some_and(|count| count.parse::<f64>().unwrap() >= 2.0)
            })
            .await;
            sqlx::raw_sql("SELECT pg_advisory_unlock(4711)").execute(&mut holder).await.unwrap();
        };
        let (paid, ()) = tokio::join!(paying, freeing);
        paid.assert_paid();
        let metrics = other.get("/metrics").await.text;
        assert!(!metrics.contains("account_locked"), "nobody else had locked it: {metrics}");
    };
    let (paid, ()) = tokio::join!(committing, waiting);
    paid.assert_paid();
    app.database.assert_sound();
}

/// A time that is out of the driver's range would end the task that reads it.
#[tokio::test]
async fn no_time_can_be_stored_that_cannot_be_read() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 1, "k").await.assert_paid();
    for column in ["payments.created_at", "payments.requested_at", "accounts.created_at"] {
        let (table, column) = column.split_once('.').unwrap();
        for time in
            ["infinity", "-infinity", "10000-01-01 00:00:00+00", "0001-12-31 00:00:00+00 BC"]
        {
            let change = format!("UPDATE {table} SET {column} = '{time}'");
            let refused = app.database.try_execute(&change).await.unwrap_err();
            let refused = refused.as_database_error().unwrap();
            assert_eq!(refused.code().as_deref(), Some("23514"), "{change}: {refused}");
        }
    }
    assert_eq!(app.history(1).await.len(), 2);
}
