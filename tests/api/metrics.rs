//! What the operator can watch.

use std::collections::BTreeMap;

use crate::harness::{A_WRITER_WAITS, Answer, App, eventually, payment};

/// The samples of `/metrics`, by name and labels.
async fn samples(app: &App) -> BTreeMap<String, String> {
    let answer = app.get("/metrics").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let media_type = answer.header("content-type").unwrap();
    assert!(media_type.starts_with("text/plain; version=0.0.4"), "{media_type}");
    let lines = answer.text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| line.rsplit_once(' ').unwrap());
    samples.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn payments_are_counted_by_what_came_of_them() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for key in ["a", "b", "a"] {
        app.pay(1, 2, 10, key).await.assert_paid();
    }
    app.pay(1, 2, 10_000, "much").await.assert_problem(422, "insufficient_funds");
    app.pay(1, 99, 1, "nobody").await.assert_problem(404, "account_not_found");
    let samples = samples(&app).await;
    for (outcome, count) in
        [("paid", "2"), ("replayed", "1"), ("insufficient_funds", "1"), ("account_not_found", "1")]
    {
        let name = format!("payonce_payments_total{{outcome=\"{outcome}\"}}");
        assert_eq!(samples.get(&name).map(|value| &**value), Some(count), "{samples:#?}");
    }
    // One after another: each was a batch of its own.
    assert_eq!(samples["payonce_batch_payments_count"], "5");
    assert_eq!(samples["payonce_batch_payments_sum"], "5");
    for times in ["payment_queue", "batch_lock", "batch_commit"] {
        assert_eq!(samples[&format!("payonce_{times}_seconds_count")], "5");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(samples[&format!("payonce_build_info{{version=\"{version}\"}}")], "1");
    assert_ne!(samples["process_resident_memory_bytes"], "0");
}

#[tokio::test]
async fn outcomes_are_there_before_the_first_payment() {
    let samples = samples(&App::start().await).await;
    for outcome in ["paid", "replayed", "insufficient_funds", "overloaded", "database_unavailable"]
    {
        let name = format!("payonce_payments_total{{outcome=\"{outcome}\"}}");
        assert_eq!(samples.get(&name).map(|value| &**value), Some("0"), "{samples:#?}");
    }
}

#[tokio::test]
async fn requests_are_timed_by_route_and_status_whatever_clients_ask_for() {
    let app = App::start().await;
    app.open(1, 0).await;
    for path in ["/accounts/1", "/accounts/2", "/nowhere", "/elsewhere"] {
        app.get(path).await;
    }
    Answer::of(app.request("BREW", "/accounts/1")).await;
    let samples = samples(&app).await;
    let count = |method: &str, route: &str, status: &str| {
        let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
        samples
            .get(&format!("payonce_http_request_seconds_count{{{labels}}}"))
            .map(|count| &**count)
    };
    assert_eq!(count("GET", "/accounts/{id}", "200"), Some("1"), "{samples:#?}");
    assert_eq!(count("GET", "/accounts/{id}", "404"), Some("1"));
    assert_eq!(count("GET", "none", "404"), Some("2"));
    assert_eq!(count("other", "/accounts/{id}", "405"), Some("1"));
    let bounds = samples.keys().filter(|name| name.contains("route=\"none\"")).collect::<Vec<_>>();
    for bound in ["le=\"0.001\"", "le=\"5\""] {
        assert!(bounds.iter().any(|name| name.contains(bound)), "{bounds:#?}");
    }
}

#[tokio::test]
async fn what_waits_and_what_is_posted_again_can_be_seen() {
    let app = App::start_with(&[
        ("PAYONCE_WRITER__BATCH_MAX", "1"),
        ("PAYONCE_WRITER__COUNT", "1"),
        ("PAYONCE_WRITER__LOCK_WAIT_MS_MAX", "1000"),
    ])
    .await;
    app.open_many(2, 1_000).await;
    let outside = app.database.lock_accounts("2").await;
    let paying: Vec<_> = (0..5)
        .map(|n| {
            let body = payment(1, 2, 1, &format!("k{n}"));
            tokio::spawn(Answer::of(app.request("PUT", "/send_payment").json(&body)))
        })
        .collect();
    app.database.until(A_WRITER_WAITS).await;
    eventually("four wait", async || {
        samples(&app).await["payonce_waiting_requests{queue=\"payments\"}"] == "4"
    })
    .await;
    eventually("it is posted again", async || {
        samples(&app).await.contains_key("payonce_reposts_total{cause=\"account_locked\"}")
    })
    .await;
    outside.release().await;
    for answer in paying {
        answer.await.unwrap().assert_paid();
    }
    let samples = samples(&app).await;
    assert_eq!(samples["payonce_waiting_requests{queue=\"payments\"}"], "0");
    assert!(samples.contains_key("payonce_reader_sessions{state=\"idle\"}"));
    app.database.assert_sound();
}
