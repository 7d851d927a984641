//! Many payments in one message: each as if it were sent alone.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    Answer, App, WITH_TOKENS, eventually, owner_of, payment, payment_of, refund, rounds,
};

async fn start() -> App {
    let app = App::start().await;
    app.open_many(3, 1_000).await;
    app
}

fn results(answer: &Answer) -> &Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json.as_array().unwrap()
}

fn statuses(answer: &Answer) -> Vec<u64> {
    results(answer).iter().map(|it| it["status"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn each_payment_gets_its_own_result_in_the_same_order() {
    let app = start().await;
    let bodies = [
        payment(1, 2, 10, "paid"),
        payment(1, 2, 5_000, "much"),
        payment(2, 3, 20, "paid"),
        payment(1, 99, 1, "nobody"),
        payment(3, 3, 1, "self"),
    ];
    let answer = app.send_payments(&bodies).await;
    let results = results(&answer);
    assert_eq!(statuses(&answer), [200, 422, 200, 404, 422]);
    for (result, body) in results.iter().zip(&bodies) {
        let members: Vec<&String> = result.as_object().unwrap().keys().collect();
        if result["status"] == 200 {
            assert_eq!(members, ["payment", "status"]);
            assert_eq!(result["payment"]["amount"], body["amount"]);
        } else {
            assert_eq!(members, ["problem", "status"]);
            assert_eq!(result["problem"]["status"], result["status"]);
        }
    }
    let code = |n: usize| results[n]["problem"]["code"].as_str().unwrap();
    assert_eq!(
        [code(1), code(3), code(4)],
        ["insufficient_funds", "account_not_found", "same_account"]
    );
    for n in [1, 3, 4] {
        let problem = &results[n]["problem"];
        assert_eq!(problem["type"], format!("/problems/{}", code(n)));
        assert_eq!(problem["retryable"], false);
        assert!(["title", "detail"].iter().all(|it| problem[*it].is_string()), "{problem}");
    }
    assert_eq!(app.database.payments().await, 2);
    app.database.assert_sound();
}

#[tokio::test]
async fn the_receipts_are_those_that_each_payment_alone_would_get() {
    let app = start().await;
    let bodies = [payment(1, 2, 10, "a"), payment(2, 1, 5, "b")];
    let together = app.send_payments(&bodies).await;
    let alone = [app.send_payment(&bodies[0]).await, app.send_payment(&bodies[1]).await];
    assert!(alone.iter().all(Answer::is_replay));
    let expected = alone.iter().map(|it| format!("{{\"status\":200,\"payment\":{}}}", it.text));
    assert_eq!(together.text, format!("[{}]", expected.collect::<Vec<_>>().join(",")));
    assert_eq!(app.send_payments(&bodies).await.text, together.text, "a retry gets the same bytes");
    assert_eq!(app.database.payments().await, 2);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_malformed_payment_among_others_has_a_problem_of_its_own() {
    let app = start().await;
    let mut unknown_member = payment(1, 2, 1, "unknown");
    unknown_member["extra"] = json!(1);
    let mut without_key = payment(1, 2, 1, "k");
    without_key.as_object_mut().unwrap().remove("idempotency_key");
    let mut seconds = payment(1, 2, 1, "seconds");
    seconds["unless_similar_within_seconds"] = json!(0);
    let bodies = [
        payment(1, 2, 1, "first"),
        unknown_member,
        without_key,
        json!({}),
        json!(7),
        Value::Null,
        json!([1, 2, 10, null, "k", null]),
        json!({"from": "1", "to": 2, "amount": 1, "idempotency_key": "k"}),
        payment(1, 2, 0, "nothing"),
        payment(-1, 2, 1, "negative"),
        payment(1, 2, 1, "two words"),
        seconds,
        payment(1, 2, 1, "last"),
    ];
    let answer = app.send_payments(&bodies).await;
    let codes: Vec<&str> = results(&answer)
        .iter()
        .map(|it| it["problem"]["code"].as_str().unwrap_or_default())
        .collect();
    let invalid = "invalid_request";
    assert_eq!(
        codes,
        [
            "",
            invalid,
            "idempotency_key_missing",
            invalid,
            invalid,
            invalid,
            invalid,
            invalid,
            "invalid_amount",
            invalid,
            invalid,
            invalid,
            ""
        ]
    );
    assert_eq!(app.database.payments().await, 2);
    app.database.assert_sound();
}

#[tokio::test]
async fn one_to_a_hundred_payments_are_taken() {
    let app = start().await;
    let bodies: Vec<Value> = (0..101).map(|n| payment(1, 2, 1, &format!("k{n}"))).collect();
    app.send_payments(&bodies).await.assert_problem(400, "invalid_request");
    app.send_payments(&[]).await.assert_problem(400, "invalid_request");
    assert_eq!(app.database.payments().await, 0);
    assert_eq!(statuses(&app.send_payments(&bodies[..1]).await), [200]);
    assert_eq!(statuses(&app.send_payments(&bodies[1..]).await), [200; 100]);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_message_that_is_none_pays_nothing() {
    let app = start().await;
    let one = payment(1, 2, 1, "k");
    for body in [
        json!({}),
        json!({"payments": null}),
        json!({"payments": one}),
        json!({"payments": [one], "atomic": true}),
        json!([one]),
        Value::Null,
    ] {
        let refused = Answer::of(app.request("PUT", "/send_payments").json(&body)).await;
        refused.assert_problem(400, "invalid_request");
    }
    // One key for many payments would be none for each.
    let with_header = app
        .request("PUT", "/send_payments")
        .header("Idempotency-Key", "k")
        .json(&json!({"payments": [one]}));
    Answer::of(with_header).await.assert_problem(400, "invalid_request");
    let undeclared =
        app.request("PUT", "/send_payments").body(json!({"payments": [one]}).to_string());
    Answer::of(undeclared).await.assert_problem(415, "unsupported_media_type");
    assert_eq!(app.database.payments().await, 0);
}

#[tokio::test]
async fn a_hundred_of_the_longest_payments_fit_and_what_is_longer_does_not() {
    let app = start().await;
    // Twelve bytes for each character, as some clients write it.
    let note = "\\ud83d\\ude00".repeat(280);
    let bodies: Vec<String> = (0..100)
        .map(|n| {
            let key = format!("{n:~>255}");
            format!(
                "{{\"from\":1,\"to\":2,\"amount\":1,\"created_at\":\"2026-11-22T12:00:00.000000Z\",\
                 \"idempotency_key\":\"{key}\",\"note\":\"{note}\"}}"
            )
        })
        .collect();
    let send = async |body: String| {
        let request =
            app.request("PUT", "/send_payments").header("content-type", "application/json");
        Answer::of(request.body(body)).await
    };
    let message = format!("{{\"payments\":[{}]}}", bodies.join(","));
    let padded = |bytes: usize| format!("{message}{}", " ".repeat(bytes - message.len()));
    send(padded(655_361)).await.assert_problem(413, "body_too_large");
    assert_eq!(app.database.payments().await, 0);
    assert_eq!(statuses(&send(padded(655_360)).await), [200; 100]);
    // A single payment has the limit that it had.
    let alone = app.request("PUT", "/send_payment").header("content-type", "application/json");
    let alone = Answer::of(alone.body(format!("{}{}", bodies[0], " ".repeat(600_000)))).await;
    alone.assert_problem(413, "body_too_large");
    app.database.assert_sound();
}

#[tokio::test]
async fn one_key_twice_in_a_message_pays_once() {
    let app = start().await;
    let bodies = [payment(1, 2, 10, "k"), payment(1, 2, 10, "k"), payment(1, 2, 11, "k")];
    let answer = app.send_payments(&bodies).await;
    let results = results(&answer);
    // They are as three clients' requests at once: the first to come makes the key its own.
    let made = results.iter().filter(|it| it["status"] == 200).count();
    let (paid, ten) = (app.database.payments().await, results[0]["status"] == 200);
    assert_eq!((paid, made), (1, if ten { 2 } else { 1 }), "{}", answer.text);
    let refused = results.iter().filter(|it| it["status"] != 200);
    refused.for_each(|it| assert_eq!(it["problem"]["code"], "idempotency_key_reused"));
    if ten {
        assert_eq!(results[0], results[1]);
    }
    app.database.assert_sound();
}

#[tokio::test]
async fn refunds_and_payments_of_requests_may_be_among_them() {
    let app = start().await;
    let paid = app.pay(1, 2, 100, "paid").await.json;
    let request = app.ask_for_money(3, 1, 30).await;
    let bodies = [
        refund(&paid, 60, "half"),
        refund(&paid, 60, "other-half"),
        payment_of(&request),
        payment_of(&request),
    ];
    let answer = app.send_payments(&bodies).await;
    let mut of_refunds = statuses(&answer)[..2].to_vec();
    of_refunds.sort_unstable();
    assert_eq!((of_refunds, &statuses(&answer)[2..]), (vec![200, 422], &[200, 200][..]));
    assert_eq!(results(&answer)[2], results(&answer)[3]);
    assert_eq!(app.database.payments().await, 3);
    app.database.assert_sound();
}

#[tokio::test]
async fn a_payer_with_money_for_seven_of_forty_makes_exactly_seven() {
    let app = App::start().await;
    app.open(1, 7 * 30 + 29).await;
    app.open(2, 0).await;
    let bodies: Vec<Value> = (0..40).map(|n| payment(1, 2, 30, &format!("k{n}"))).collect();
    let answer = app.send_payments(&bodies).await;
    assert_eq!(statuses(&answer).iter().filter(|status| **status == 200).count(), 7);
    let refused = results(&answer).iter().filter(|it| it["status"] != 200);
    refused.for_each(|it| assert_eq!(it["problem"]["code"], "insufficient_funds"));
    app.database.assert_sound();
}

#[tokio::test]
async fn each_payment_needs_its_own_right() {
    let app = App::start_with_tokens(3).await;
    let bodies = json!({"payments": [
        payment(1, 2, 1, "own"), payment(2, 1, 1, "others"), payment(1, 0, 1, "bank"), payment(1, 3, 1, "own-2"),
    ]});
    let send = async |who: Option<&str>| app.ask(who, "PUT", "/send_payments", Some(&bodies)).await;
    send(None).await.assert_problem(401, "unauthenticated");
    let mine = send(Some(&owner_of(1))).await;
    assert_eq!(statuses(&mine), [200, 403, 403, 200]);
    assert_eq!(results(&mine)[1]["problem"]["code"], "forbidden");
    assert_eq!(statuses(&send(Some(&crate::harness::operator())).await), [200; 4]);
    assert_eq!(app.database.payments().await, 4);
    app.database.assert_sound();
}

#[tokio::test]
async fn what_an_operator_sends_for_others_says_by_whom() {
    let app = App::start_with(&WITH_TOKENS).await;
    let token = crate::harness::operator_called("payroll");
    for id in [1, 2] {
        app.ask(Some(&token), "POST", "/accounts", Some(&json!({"id": id, "opening_balance": 50})))
            .await;
    }
    let bodies = json!({"payments": [payment(1, 2, 1, "k")]});
    let sent = app.ask(Some(&token), "PUT", "/send_payments", Some(&bodies)).await;
    assert_eq!(results(&sent)[0]["payment"]["by"], "payroll");
}

#[tokio::test]
async fn a_payers_limit_counts_payments_and_not_messages() {
    let app = App::start_with(&[
        ("PAYONCE_RATE_LIMIT__PAYER_PER_MINUTE", "2"),
        ("PAYONCE_RATE_LIMIT__PAYER_BURST", "3"),
    ])
    .await;
    app.open_many(3, 1_000).await;
    let mut bodies: Vec<Value> = (0..5).map(|n| payment(1, 2, 1, &format!("k{n}"))).collect();
    bodies.push(payment(3, 2, 1, "other"));
    let answer = app.send_payments(&bodies).await;
    assert_eq!(statuses(&answer), [200, 200, 200, 429, 429, 200]);
    assert_eq!(results(&answer)[3]["problem"]["code"], "rate_limited");
    assert_eq!(app.database.payments().await, 4);
}

#[tokio::test]
async fn payments_for_which_there_is_no_room_are_refused_and_the_others_made() {
    let app = App::start_with(&[
        ("PAYONCE_WRITER__QUEUE_MAX", "4"),
        ("PAYONCE_WRITER__BATCH_MAX", "1"),
        ("PAYONCE_WRITER__COUNT", "1"),
    ])
    .await;
    app.open_many(2, 1_000).await;
    let bodies: Vec<Value> = (0..100).map(|n| payment(1, 2, 1, &format!("k{n}"))).collect();
    let answer = app.send_payments(&bodies).await;
    let refused: Vec<&Value> =
        results(&answer).iter().filter(|it| it["status"] != 200).map(|it| &it["problem"]).collect();
    assert!(!refused.is_empty());
    for problem in &refused {
        assert_eq!((&problem["code"], &problem["retryable"]), (&json!("overloaded"), &json!(true)));
    }
    assert_eq!(app.database.payments().await, 100 - i64::try_from(refused.len()).unwrap());
    app.database.assert_sound();
}

#[tokio::test]
async fn the_same_message_at_two_processes_at_once_pays_each_key_once() {
    let apps = App::start_two().await;
    apps[0].open_many(6, 100_000).await;
    rounds(100, async |n| {
        let bodies: Vec<Value> = (0..10)
            .map(|i| {
                let from = 1 + i64::try_from((n + i) % 6).unwrap();
                payment(from, 1 + from % 6, 1, &format!("{n}-{i}"))
            })
            .collect();
        let turned: Vec<Value> = bodies.iter().rev().cloned().collect();
        let (one, two) =
            tokio::join!(apps[0].send_payments(&bodies), apps[1].send_payments(&turned));
        assert_eq!(statuses(&one), [200; 10]);
        let two: Vec<&Value> = results(&two).iter().rev().collect();
        assert_eq!(results(&one).iter().collect::<Vec<_>>(), two);
    })
    .await;
    assert_eq!(apps[0].database.payments().await, 1_000);
    apps[0].database.assert_sound();
}

#[tokio::test]
async fn a_service_killed_among_messages_loses_nothing_and_pays_nothing_twice() {
    let mut app = App::start().await;
    app.open_many(10, 100_000).await;
    let database = app.database.clone();
    let messages: Vec<Vec<Value>> = (0..20)
        .map(|n| {
            (0..25)
                .map(|i| payment(1 + (n + i) % 10, 1 + (n + i + 1) % 10, 1, &format!("{n}-{i}")))
                .collect()
        })
        .collect();
    let mut told = HashSet::new();
    for round in 1..=3 {
        let sent = messages
            .iter()
            .map(|bodies| app.request("PUT", "/send_payments").json(&json!({"payments": bodies})));
        let sending: Vec<_> = sent.map(|request| tokio::spawn(Answer::try_of(request))).collect();
        let some = format!("SELECT count(*) > {} FROM payments WHERE from_id <> 0", round * 100);
        database.until(&some).await;
        app.kill();
        for answer in join_all(sending).await.into_iter().flatten().flatten() {
            let ids =
                results(&answer).iter().map(|it| it["payment"]["id"].as_str().unwrap().to_owned());
            told.extend(ids);
        }
        database.assert_sound();
        app = App::start_on(&database, &[]);
    }
    let answers = join_all(messages.iter().map(|bodies| app.send_payments(bodies))).await;
    let ids: HashSet<String> = answers
        .iter()
        .flat_map(|answer| results(answer).iter())
        .map(|it| it["payment"]["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(told.is_subset(&ids));
    assert_eq!((ids.len(), database.payments().await), (500, 500));
    database.assert_sound();
}

#[tokio::test]
async fn a_payment_that_waits_keeps_no_other_of_its_message_out_of_the_ledger() {
    let app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "2000")]).await;
    app.open_many(4, 1_000).await;
    let outside = app.database.lock_accounts("4").await;
    let bodies: Vec<Value> = (0..100)
        .map(|n| {
            if n == 50 {
                payment(1, 4, 1, "blocked")
            } else {
                payment(1 + n % 2, 3, 1, &format!("k{n}"))
            }
        })
        .collect();
    let sending = app.send_payments(&bodies);
    let looking = async {
        let made = async || app.database.payments().await == 99;
        eventually("the others are in the ledger while one waits", made).await;
    };
    let (answer, ()) = tokio::join!(sending, looking);
    // The time of a request bounds the answer to all.
    let (blocked, others): (Vec<_>, Vec<_>) =
        results(&answer).iter().partition(|it| it["status"] != 200);
    assert_eq!((blocked.len(), others.len()), (1, 99));
    assert_eq!(results(&answer)[50]["problem"]["code"], "account_busy", "{}", answer.text);
    assert_eq!(results(&answer)[50]["problem"]["retryable"], true);
    outside.release().await;
    app.send_payment(&bodies[50]).await.assert_paid();
    app.database.assert_sound();
}
