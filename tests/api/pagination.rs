//! A history neither repeats nor skips, however much arrives meanwhile.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::Value;

use crate::harness::{App, Database};

fn keys(payments: &[Value]) -> Vec<&str> {
    payments.iter().map(|payment| payment["note"].as_str().unwrap_or_default()).collect()
}

async fn pay_numbered(app: &App, from: i64, to: i64, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let mut body = crate::harness::payment(from, to, 1, &format!("{from}-{to}-{number}"));
        body["note"] = format!("n{number}").into();
        app.send_payment(&body).await.assert_paid();
    }
}

#[tokio::test]
async fn a_history_comes_newest_first_ten_at_a_time_sent_and_received() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    pay_numbered(&app, 1, 2, 0..12).await;
    pay_numbered(&app, 2, 1, 12..24).await;
    let first = app.get("/payment_history/1").await;
    assert_eq!(
        keys(first.json.as_array().unwrap()),
        ["n23", "n22", "n21", "n20", "n19", "n18", "n17", "n16", "n15", "n14"]
    );
    let second = app.get(&first.next_link().unwrap()).await;
    assert_eq!(
        keys(second.json.as_array().unwrap()),
        ["n13", "n12", "n11", "n10", "n9", "n8", "n7", "n6", "n5", "n4"]
    );
    let third = app.get(&second.next_link().unwrap()).await;
    // The last is the opening balance, from the bank.
    assert_eq!(keys(third.json.as_array().unwrap()), ["n3", "n2", "n1", "n0", ""]);
    assert_eq!(third.next_link(), None);
}

#[tokio::test]
async fn the_briefs_own_cursor_is_exact_without_an_id() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    pay_numbered(&app, 1, 2, 0..25).await;
    let mut seen = Vec::new();
    let mut path = "/payment_history/1?limit=10".to_owned();
    loop {
        let page = app.get(&path).await.json.as_array().unwrap().clone();
        let Some(last) = page.last() else { break };
        path = format!(
            "/payment_history/1?last_seen_timestamp={}&limit=10",
            last["created_at"].as_str().unwrap()
        );
        seen.extend(page);
    }
    assert_eq!(seen.len(), 26);
    assert_eq!(seen, app.history(1).await);
}

#[tokio::test]
async fn the_page_size_holds_with_and_without_a_cursor() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    pay_numbered(&app, 1, 2, 0..6).await;
    let first = app.get("/payment_history/1?limit=3").await;
    assert_eq!(keys(first.json.as_array().unwrap()), ["n5", "n4", "n3"]);
    let second = app.get(&first.next_link().unwrap()).await;
    assert_eq!(keys(second.json.as_array().unwrap()), ["n2", "n1", "n0"]);
    for limit in ["0", "11", "-1", "1.5", "ten", ""] {
        app.get(&format!("/payment_history/1?limit={limit}"))
            .await
            .assert_problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn the_largest_page_is_a_setting() {
    let app = App::start_with(&[("PAYONCE_HISTORY__PAGE_SIZE_MAX", "25")]).await;
    app.open_many(2, 1_000).await;
    pay_numbered(&app, 1, 2, 0..20).await;
    assert_eq!(app.get("/payment_history/1?limit=25").await.json.as_array().unwrap().len(), 21);
    assert_eq!(app.get("/payment_history/1").await.json.as_array().unwrap().len(), 10);
    app.get("/payment_history/1?limit=26").await.assert_problem(400, "invalid_request");
}

/// Follows the links of a history to its end: the notes, and how many pages there were.
async fn notes(app: &App, path: &str) -> (Vec<String>, usize) {
    let (mut path, mut all, mut pages) = (path.to_owned(), Vec::new(), 0);
    loop {
        let page = app.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        all.extend(keys(page.json.as_array().unwrap()).into_iter().map(str::to_owned));
        pages += 1;
        match page.next_link() {
            Some(next) => path = next,
            None => return (all, pages),
        }
    }
}

#[tokio::test]
async fn a_part_of_a_history_has_the_same_pages_and_its_links_keep_to_it() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for number in 0..12 {
        pay_numbered(
            &app,
            1 + i64::from(number % 2),
            2 - i64::from(number % 2),
            number..number + 1,
        )
        .await;
    }
    let numbered = |numbers: &[u32]| -> Vec<String> {
        numbers.iter().map(|number| format!("n{number}")).collect()
    };
    let sent = numbered(&[10, 8, 6, 4, 2, 0]);
    let received = [numbered(&[11, 9, 7, 5, 3, 1]), vec![String::new()]].concat();
    let path = "/payment_history/1?limit=2";
    assert_eq!(notes(&app, &format!("{path}&direction=sent")).await, (sent, 3));
    assert_eq!(notes(&app, &format!("{path}&direction=received")).await, (received, 4));

    let history = app.history(1).await;
    let fourth = history.iter().find(|it| it["note"] == "n4").unwrap();
    let since = fourth["created_at"].as_str().unwrap();
    let all = numbered(&[11, 10, 9, 8, 7, 6, 5, 4]);
    assert_eq!(notes(&app, &format!("{path}&since={since}")).await, (all, 4));
    let sent = numbered(&[10, 8, 6, 4]);
    let both = format!("{path}&direction=sent&since={since}");
    assert_eq!(notes(&app, &both).await, (sent, 2));
    // Each is as in the whole history, with the balance of its account.
    let found = app.get(&format!("/payment_history/1?direction=sent&since={since}")).await;
    let expected: Vec<&Value> = history.iter().filter(|it| it["from_id"] == 1).take(4).collect();
    assert_eq!(found.json.as_array().unwrap().iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_part_of_a_history_is_asked_for_as_the_whole_is() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    pay_numbered(&app, 1, 2, 0..1).await;
    let app = &app;
    let get = async |query: &str| app.get(&format!("/payment_history/1?{query}")).await;
    assert_eq!(get("since=2001-01-01T02:00:00+02:00&direction=sent").await.text.len(), {
        get("since=978307200000&direction=sent").await.text.len()
    });
    assert_eq!(get("since=2200-01-01T00:00:00Z").await.text, "[]");
    // A part of a microsecond later is later.
    let paid = get("direction=sent").await.json[0]["created_at"].as_str().unwrap().to_owned();
    assert_eq!(get(&format!("since={paid}")).await.json[0]["note"], "n0");
    let received = app.get(&format!("/payment_history/2?since={paid}")).await;
    assert_eq!(received.json[0]["note"], "n0");
    assert_eq!(get(&format!("since={}", paid.replace('Z', "1Z"))).await.text, "[]");
    for wrong in ["direction=", "direction=both", "direction=SENT", "since=", "since=yesterday"] {
        get(wrong).await.assert_problem(400, "invalid_request");
    }
    for path in ["/payment_history/3?direction=sent", "/payment_history/3?since=0"] {
        app.get(path).await.assert_problem(404, "account_not_found");
    }
}

#[tokio::test]
async fn paging_neither_repeats_nor_skips_while_payments_arrive() {
    let [app, other] = App::start_two().await;
    app.open_many(5, 100_000).await;
    pay_numbered(&app, 1, 2, 0..40).await;
    let before: HashSet<String> =
        app.history(1).await.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();

    let reading = async {
        let mut seen: Vec<Value> = Vec::new();
        let mut path = "/payment_history/1".to_owned();
        loop {
            // Between two pages several payments arrive, at both processes.
            let page = app.get(&path).await.json.as_array().unwrap().clone();
            let Some(last) = page.last() else { return seen };
            let time = last["created_at"].as_str().unwrap();
            path = format!("/payment_history/1?last_seen_timestamp={time}");
            seen.extend(page);
            let (at, number) = (&[&app, &other][seen.len() % 2], seen.len());
            at.pay(3, 1, 1, &format!("arriving-{number}")).await.assert_paid();
            at.pay(1, 4, 1, &format!("leaving-{number}")).await.assert_paid();
        }
    };
    let arriving = async {
        for number in 0..60 {
            other.pay(5, 1, 1, &format!("meanwhile-{number}")).await.assert_paid();
        }
    };
    let (seen, ()) = tokio::join!(reading, arriving);
    let ids: Vec<String> = seen.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    let unique: HashSet<String> = ids.iter().cloned().collect();
    assert_eq!(unique.len(), ids.len(), "a payment was repeated");
    assert!(before.is_subset(&unique), "a payment was skipped");
    let times: Vec<&str> = seen.iter().map(|it| it["created_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a > b), "strictly newest first");

    // The pages that were seen are a gapless end of the whole history.
    let whole = app.history(1).await;
    let start = whole.iter().position(|it| it["id"] == seen[0]["id"]).unwrap();
    assert_eq!(whole[start..], seen[..]);
    app.database.assert_sound();
}

#[tokio::test]
async fn times_increase_strictly_along_an_account_whatever_the_clock_says() {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    // As if the database's clock had been an hour ahead, and was then set back.
    app.database
        .execute("UPDATE accounts SET last_payment_at = '2100-01-01T00:00:00.999999Z' WHERE id = 2")
        .await;
    let first = app.pay(1, 2, 1, "a").await;
    let second = app.pay(1, 3, 1, "b").await;
    let third = app.pay(3, 2, 1, "c").await;
    assert_eq!(first.json["created_at"], "2100-01-01T00:00:01.000000Z");
    assert_eq!(second.json["created_at"], "2100-01-01T00:00:01.000001Z");
    assert_eq!(third.json["created_at"], "2100-01-01T00:00:01.000002Z");
    // A first page has no upper bound: what is newest is there, whatever the clock says now.
    assert_eq!(app.get("/payment_history/3").await.json[0]["id"], third.json["id"]);
    app.database.assert_sound();
}

#[tokio::test]
async fn payments_at_one_moment_are_told_apart_by_their_id_at_a_page_edge() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    // This service writes no ties, but a ledger that was imported may have them.
    app.database
        .execute(
            "INSERT INTO payments (id, from_id, to_id, amount, created_at, from_balance_after,
                                   to_balance_after, idempotency_key)
             SELECT gen_random_uuid(), 1, 2, 1, '2026-01-01T00:00:00Z', 0, 0, 'tie-' || n
             FROM generate_series(1, 25) AS n",
        )
        .await;
    let history = app.history(1).await;
    let ids: HashSet<&str> = history.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!((history.len(), ids.len()), (26, 26));
}

#[tokio::test]
async fn a_cursor_may_have_another_offset_or_more_digits() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    app.database
        .execute("UPDATE accounts SET last_payment_at = '2100-01-01T00:00:00.000000Z' WHERE id = 1")
        .await;
    pay_numbered(&app, 1, 2, 0..3).await;
    for (cursor, expected) in [
        ("2100-01-01T00:00:00.000002Z", "n0"),
        ("2100-01-01T00:00:00.0000020Z", "n0"),
        ("2100-01-01T00:00:00.0000021Z", "n1"),
        ("2100-01-01T02:00:00.000003%2B02:00", "n1"),
        // A plus sign that the client forgot to escape.
        ("2100-01-01T02:00:00.000003+02:00", "n1"),
        ("2200-01-01T00:00:00Z", "n2"),
    ] {
        let page = app.get(&format!("/payment_history/1?last_seen_timestamp={cursor}")).await;
        assert_eq!(page.json[0]["note"], expected, "{cursor}: {}", page.text);
    }
    for wrong in [
        "last_seen_timestamp=yesterday",
        "last_seen_timestamp=2026-01-01",
        "last_seen_timestamp=",
        "last_seen_timestamp=10000-01-01T00:00:00Z",
        "last_seen_id=0fc38bf5-9597-86f0-b04b-6ef81d0f62fc",
        "last_seen_timestamp=2026-01-01T00:00:00Z&last_seen_id=7",
        "last_seen=2026-01-01T00:00:00Z",
    ] {
        app.get(&format!("/payment_history/1?{wrong}"))
            .await
            .assert_problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn each_party_sees_its_own_balance_and_never_the_others() {
    let app = App::start().await;
    app.open(1, 1_000).await;
    app.open(2, 50).await;
    let paid = app.pay(1, 2, 300, "k").await;
    let id = paid.json["id"].as_str().unwrap();
    assert_eq!(app.get("/payment_history/1").await.json[0]["balance_after"], 700);
    assert_eq!(app.get("/payment_history/2").await.json[0]["balance_after"], 350);
    assert_eq!(app.get(&format!("/payments/{id}")).await.json["balance_after"], Value::Null);
    assert_eq!(app.get("/payment_history/1").await.json[0], paid.json);
}

#[tokio::test]
async fn replaying_a_history_gives_the_balance() {
    let app = App::start().await;
    app.open_many(3, 500).await;
    for i in 0..30_i64 {
        app.pay(1 + i % 3, 1 + (i + 1) % 3, 1 + i, &format!("k{i}")).await.assert_paid();
    }
    for id in 1..=3 {
        let mut balance = 0;
        for payment in app.history(id).await.iter().rev() {
            let amount = payment["amount"].as_i64().unwrap();
            balance += if payment["to_id"] == id { amount } else { -amount };
            assert_eq!(payment["balance_after"], balance);
        }
        assert_eq!(app.balance(id).await, balance);
    }
}

#[tokio::test]
async fn an_account_without_payments_has_an_empty_history_and_an_unknown_one_has_none() {
    let database = Database::new().await;
    let app = App::start_on(&database, &[]);
    app.open(1, 0).await;
    let empty = app.get("/payment_history/1").await;
    assert_eq!((empty.status, empty.text.as_str()), (200, "[]"));
    app.get("/payment_history/2").await.assert_problem(404, "account_not_found");
}

#[tokio::test]
async fn whoever_asks_at_the_same_time_as_others_gets_the_own_page() {
    let app = App::start().await;
    app.open_many(10, 1_000).await;
    for from in 1..10 {
        pay_numbered(&app, from, from + 1, 0..2).await;
    }
    let paths: Vec<String> =
        (0..200).map(|n| format!("/payment_history/{}?limit={}", 1 + n % 12, 1 + n % 5)).collect();
    let mut alone = Vec::new();
    for path in &paths {
        alone.push(app.get(path).await);
    }
    let together = join_all(paths.iter().map(|path| app.get(path))).await;
    for ((path, alone), together) in paths.iter().zip(alone).zip(together) {
        assert_eq!(together.status, alone.status, "{path}");
        assert_eq!(together.text, alone.text, "{path}");
        assert_eq!(together.header("link"), alone.header("link"), "{path}");
    }
}
