//! Accounts that take part no more, for a while or for ever.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    Answer, App, at_once, operator, owner_of, payment, payment_of, refund, request_for_money,
    rivals, rounds,
};

async fn start() -> App {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    app
}

/// Asserts a refusal that names the account.
#[track_caller]
fn assert_refused(answer: &Answer, code: &str, account: i64) {
    answer.assert_problem(422, code);
    assert_eq!(answer.json["retryable"], false);
    let named = answer.json["detail"].as_str().unwrap().contains(&format!("ccount {account} "));
    assert!(named, "{}", answer.text);
}

#[tokio::test]
async fn a_frozen_account_neither_pays_nor_is_paid_until_it_is_open_again() {
    let app = start().await;
    let frozen = app.set_status(1, "frozen").await;
    assert_eq!((frozen.status, &*frozen.text), (200, "{\"id\":1,\"status\":\"frozen\"}"));
    assert_refused(&app.pay(1, 2, 10, "out").await, "account_frozen", 1);
    assert_refused(&app.pay(2, 1, 10, "in").await, "account_frozen", 1);
    assert_refused(&app.pay(0, 1, 10, "bank").await, "account_frozen", 1);
    app.pay(2, 3, 10, "others").await.assert_paid();
    assert_eq!((app.balance(1).await, app.history(1).await.len()), (1_000, 1));
    let open = app.set_status(1, "open").await;
    assert_eq!((open.status, &*open.text), (200, "{\"id\":1,\"status\":\"open\"}"));
    // A refusal has left the keys free.
    app.pay(1, 2, 20, "out").await.assert_paid();
    app.pay(2, 1, 30, "in").await.assert_paid();
    app.database.assert_sound();
}

#[tokio::test]
async fn an_account_tells_its_status_where_it_is_not_open() {
    let app = start().await;
    let before = app.get("/accounts/1").await;
    assert_eq!(before.json.get("status"), None);
    app.set_status(1, "frozen").await;
    assert_eq!(app.get("/accounts/1").await.json["status"], "frozen");
    app.set_status(1, "open").await;
    assert_eq!(app.get("/accounts/1").await.text, before.text);
    app.open(4, 0).await;
    app.set_status(4, "closed").await;
    assert_eq!(app.get("/accounts/4").await.json["status"], "closed");
    assert_eq!(app.get("/accounts?ids=4").await.json, json!([{"id": 4, "name": null}]));
}

#[tokio::test]
async fn a_closed_account_is_empty_and_closed_for_ever() {
    let app = start().await;
    app.set_status(1, "closed").await.assert_problem(422, "account_not_empty");
    app.pay(1, 2, 1_000, "all").await.assert_paid();
    let closed = app.set_status(1, "closed").await;
    assert_eq!((closed.status, &*closed.text), (200, "{\"id\":1,\"status\":\"closed\"}"));
    assert_refused(&app.pay(2, 1, 10, "in").await, "account_closed", 1);
    assert_refused(&app.pay(1, 2, 10, "out").await, "account_closed", 1);
    for status in ["open", "frozen"] {
        app.set_status(1, status).await.assert_problem(422, "account_closed");
    }
    assert_eq!(app.set_status(1, "closed").await.text, closed.text);
    assert_eq!(app.get("/accounts/1").await.json["status"], "closed");
    assert_eq!(app.history(1).await.len(), 2);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_frozen_account_can_be_closed_when_it_is_empty() {
    let app = start().await;
    app.open(4, 0).await;
    for (id, code) in [(4, None), (1, Some("account_not_empty"))] {
        app.set_status(id, "frozen").await;
        let closed = app.set_status(id, "closed").await;
        assert_eq!(closed.json["code"].as_str(), code, "{}", closed.text);
    }
    assert_eq!(app.get("/accounts/1").await.json["status"], "frozen");
    app.database.assert_sound();
}

#[tokio::test]
async fn the_same_status_again_is_the_same_answer() {
    let app = start().await;
    for status in ["open", "frozen", "frozen", "open", "open"] {
        let set = app.set_status(1, status).await;
        assert_eq!((set.status, &set.json["status"]), (200, &json!(status)), "{}", set.text);
    }
}

#[tokio::test]
async fn what_was_done_before_is_told_and_what_moves_no_money_is_done_all_the_same() {
    let app = start().await;
    let paid = app.pay(1, 2, 10, "paid").await;
    let back = app.send_payment(&refund(&paid.json, 1, "back")).await;
    let (declined, cancelled) =
        (app.ask_for_money(1, 2, 5).await, app.ask_for_money(1, 2, 6).await);
    let settled = app.ask_for_money(1, 2, 7).await;
    let of_request = app.send_payment(&payment_of(&settled)).await;
    for id in [1, 2] {
        app.set_status(id, "frozen").await;
    }
    assert_eq!(app.pay(1, 2, 10, "paid").await.text, paid.text);
    assert_eq!(app.send_payment(&refund(&paid.json, 1, "back")).await.text, back.text);
    assert_eq!(app.send_payment(&payment_of(&settled)).await.text, of_request.text);
    assert_eq!(app.outcome(1, "paid").await.status, 200);
    assert_eq!(app.void(1, "paid").await.json["voided"], false);
    assert_eq!(app.void(1, "unused").await.json["voided"], true);
    assert_eq!(app.close(&declined, "decline").await.json["status"], "declined");
    assert_eq!(app.close(&cancelled, "cancel").await.json["status"], "cancelled");
    app.database.assert_sound();
}

#[tokio::test]
async fn nobody_is_given_back_or_asks_or_pays_what_was_asked_while_one_of_the_two_is_frozen() {
    let app = start().await;
    let paid = app.pay(1, 2, 10, "paid").await;
    let request = app.ask_for_money(1, 2, 5).await;
    for id in [1, 2] {
        app.set_status(id, "frozen").await;
        assert_refused(
            &app.send_payment(&refund(&paid.json, 1, "back")).await,
            "account_frozen",
            id,
        );
        assert_refused(&app.send_payment(&payment_of(&request)).await, "account_frozen", id);
        let asked = app.post("/payment_requests", &request_for_money(1, 2, 5)).await;
        assert_refused(&asked, "account_frozen", id);
        let asked = app.post("/payment_requests", &request_for_money(2, 1, 5)).await;
        assert_refused(&asked, "account_frozen", id);
        app.set_status(id, "open").await;
    }
    app.open(4, 0).await;
    app.set_status(4, "closed").await;
    for (from, to) in [(4, 1), (1, 4)] {
        let asked = app.post("/payment_requests", &request_for_money(from, to, 5)).await;
        assert_refused(&asked, "account_closed", 4);
    }
    app.send_payment(&payment_of(&request)).await.assert_paid();
    app.database.assert_sound();
}

#[tokio::test]
async fn a_malformed_status_changes_nothing() {
    let app = start().await;
    for (path, body, status, code) in [
        ("/accounts/1/status", json!({}), 400, "invalid_request"),
        ("/accounts/1/status", json!({"status": null}), 400, "invalid_request"),
        ("/accounts/1/status", json!({"status": "shut"}), 400, "invalid_request"),
        ("/accounts/1/status", json!({"status": "Frozen"}), 400, "invalid_request"),
        ("/accounts/1/status", json!({"status": 1}), 400, "invalid_request"),
        ("/accounts/1/status", json!({"status": "frozen", "why": "x"}), 400, "invalid_request"),
        ("/accounts/1/status", json!(["frozen"]), 400, "invalid_request"),
        ("/accounts/0/status", json!({"status": "frozen"}), 400, "invalid_request"),
        ("/accounts/0/status", json!({"status": "open"}), 400, "invalid_request"),
        ("/accounts/x/status", json!({"status": "frozen"}), 400, "invalid_request"),
        ("/accounts/99/status", json!({"status": "frozen"}), 404, "account_not_found"),
    ] {
        let refused = Answer::of(app.request("PUT", path).json(&body)).await;
        assert_eq!(refused.json["code"], code, "{path} {body}: {}", refused.text);
        refused.assert_problem(status, code);
    }
    assert_eq!(
        app.database.count("SELECT count(*) FROM accounts WHERE status IS NOT NULL").await,
        0
    );
}

#[tokio::test]
async fn only_operators_say_who_takes_part() {
    let app = App::start_with_tokens(2).await;
    let body = json!({"status": "frozen"});
    let (me, other, operator) = (owner_of(1), owner_of(2), operator());
    for (who, status) in
        [(None, 401), (Some(&me), 403), (Some(&other), 403), (Some(&operator), 200)]
    {
        let set = app.ask(who.map(|it| &**it), "PUT", "/accounts/1/status", Some(&body)).await;
        assert_eq!(set.status, status, "{}", set.text);
    }
    // Who is frozen may still see what is his.
    let own = app.ask(Some(&me), "GET", "/accounts/1", None).await;
    assert_eq!(own.json["status"], "frozen");
    let unknown = app.ask(Some(&me), "PUT", "/accounts/99/status", Some(&body)).await;
    unknown.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn no_payment_slips_through_after_the_answer_to_the_freeze() {
    let apps = App::start_two().await;
    apps[0].open_many(2, 100_000).await;
    let touched = "SELECT count(*) FROM payments WHERE 1 IN (from_id, to_id)";
    let (mut paid, mut refused) = (0, 0);
    for round in 0..200_usize {
        let bodies: Vec<Value> = (0..8)
            .map(|n| {
                let (from, to) = if n % 3 == 0 { (2, 1) } else { (1, 2) };
                payment(from, to, 1, &format!("{round}-{n}"))
            })
            .collect();
        let paying =
            join_all(bodies.iter().enumerate().map(|(n, body)| apps[n % 2].send_payment(body)));
        let freezing = async {
            let frozen = apps[round % 2].set_status(1, "frozen").await;
            assert_eq!(frozen.status, 200, "{}", frozen.text);
            apps[0].database.count(touched).await
        };
        let (answers, at_the_freeze) = if round % 4 < 2 {
            tokio::join!(paying, freezing)
        } else {
            let (count, answers) = tokio::join!(freezing, paying);
            (answers, count)
        };
        assert_eq!(apps[1].database.count(touched).await, at_the_freeze, "round {round}");
        for answer in &answers {
            if answer.status == 200 {
                paid += 1;
            } else {
                assert_refused(answer, "account_frozen", 1);
                refused += 1;
            }
        }
        assert_eq!(apps[1 - round % 2].set_status(1, "open").await.status, 200);
    }
    assert!(paid > 0 && refused > 0, "no race: {paid} paid, {refused} refused");
    assert_eq!(apps[0].database.payments().await, paid);
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn of_closing_an_account_and_paying_it_exactly_one_wins() {
    let apps = App::start_two().await;
    apps[0].open(1, 100_000).await;
    apps[0].database.execute("INSERT INTO accounts (id) SELECT generate_series(101, 400)").await;
    let closed = rounds(300, async |n| {
        let id = 101 + i64::try_from(n).unwrap();
        let (one, two) = rivals(&apps, n);
        let (paid, closed) =
            at_once(n, one.pay(1, id, 5, &format!("k{n}")), two.set_status(id, "closed")).await;
        if closed.status == 200 {
            assert_refused(&paid, "account_closed", id);
            assert_eq!(one.balance(id).await, 0);
        } else {
            paid.assert_paid();
            closed.assert_problem(422, "account_not_empty");
        }
        closed.status == 200
    })
    .await;
    let closed = closed.iter().filter(|closed| **closed).count();
    assert!((1..300).contains(&closed), "no race: {closed} were closed");
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn a_freeze_waits_for_its_accounts_row_as_a_payment_does() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "1000")]).await;
    app.open_many(2, 1_000).await;
    let outside = app.database.lock_accounts("1").await;
    let (frozen, other) = tokio::join!(app.set_status(1, "frozen"), app.set_status(2, "frozen"));
    frozen.assert_problem(503, "account_busy");
    assert_eq!(other.status, 200);
    outside.release().await;
    assert_eq!(app.get("/accounts/1").await.json.get("status"), None);
}
