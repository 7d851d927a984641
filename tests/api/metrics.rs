//! What the operator can watch.

use std::collections::BTreeMap;

use crate::harness::{A_WRITER_WAITS, Answer, App, command, eventually, payment};

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
    eventually("they are set aside, and counted", async || {
        let samples = samples(&app).await;
        samples["payonce_waiting_requests{queue=\"set_aside\"}"] == "5"
            && samples["payonce_waiting_requests{queue=\"payments\"}"] == "0"
    })
    .await;
    outside.release().await;
    for answer in paying {
        answer.await.unwrap().assert_paid();
    }
    eventually("none is left", async || {
        samples(&app).await["payonce_waiting_requests{queue=\"set_aside\"}"] == "0"
    })
    .await;
    let samples = samples(&app).await;
    assert_eq!(samples["payonce_waiting_requests{queue=\"payments\"}"], "0");
    assert!(samples.contains_key("payonce_reader_sessions{state=\"idle\"}"));
    app.database.assert_sound();
}

#[tokio::test]
async fn everybody_who_asks_at_a_time_gets_one_text_that_is_not_older_than_his_request() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    for n in 0..5 {
        app.pay(1, 2, 1, &format!("k{n}")).await.assert_paid();
        let asking = (0..16).map(|_| samples(&app));
        for samples in futures_util::future::join_all(asking).await {
            let paid = &samples["payonce_payments_total{outcome=\"paid\"}"];
            assert_eq!(*paid, (n + 1).to_string());
        }
    }
    // Those who ask while a text is made share the next one.
    let rendered = samples(&app).await["payonce_metrics_rendered_total"].parse::<u32>().unwrap();
    assert!(rendered < 60, "{rendered} for 81 requests");
}

#[tokio::test]
async fn at_an_admin_port_metrics_and_health_are_served_and_nowhere_else() {
    let app = App::start_with(&[("PAYONCE_SERVER__ADMIN_PORT", "0")]).await;
    let admin = app.admin.clone().unwrap();
    let client = reqwest::Client::new();
    let ask = async |path: &str| Answer::of(client.get(format!("{admin}{path}"))).await;
    for path in ["/metrics", "/health/live", "/health/ready"] {
        assert_eq!(ask(path).await.status, 200, "{path}");
        app.get(path).await.assert_problem(404, "not_found");
        assert_eq!(ask(&format!("{path}?x=1")).await.status, 400, "{path}");
    }
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 1, "k").await.assert_paid();
    for path in ["/accounts/1", "/send_payment", "/docs", "/openapi.json", "/"] {
        ask(path).await.assert_problem(404, "not_found");
    }
    let text = ask("/metrics").await.text;
    assert!(text.contains("payonce_payments_total{outcome=\"paid\"} 1\n"), "{text}");

    let port = admin.rsplit(':').next().unwrap();
    let mut health = command(&app.database);
    health.arg("health").env("PORT", "1").env("PAYONCE_SERVER__ADMIN_PORT", port);
    let output = health.output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && told.contains("\"ready\""), "{told}");
}

#[tokio::test]
async fn an_admin_port_stops_with_the_service_and_is_not_its_own() {
    let mut app = App::start_with(&[("PAYONCE_SERVER__ADMIN_PORT", "0")]).await;
    assert!(app.stop(rustix::process::Signal::TERM).success());
    let mut same = command(&app.database);
    let output = same.env("PORT", "4001").env("PAYONCE_SERVER__ADMIN_PORT", "4001").output();
    let output = output.unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("server.admin_port"), "{told}");
}
