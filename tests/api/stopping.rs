//! A stop in order: not ready any more, then no new connections, then an answer for all that was
//! accepted, within a limit.

use std::net::SocketAddr;

use rustix::process::{Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{A_WRITER_WAITS, Answer, App, eventually, payment};

fn address(app: &App) -> SocketAddr {
    app.base.strip_prefix("http://").unwrap().parse().unwrap()
}

/// A request on a connection of its own.
async fn ask_anew(app: &App, path: &str) -> Answer {
    Answer::of(reqwest::Client::new().get(format!("{}{path}", app.base))).await
}

async fn refuses_connections(app: &App) {
    let address = address(app);
    eventually("no more connections", async || TcpStream::connect(address).await.is_err()).await;
}

#[tokio::test]
async fn before_it_stops_it_is_not_ready_but_goes_on() {
    let mut app = App::start_with(&[("PAYONCE_SERVER__STOP_DELAY_MS", "600000")]).await;
    app.open_many(2, 1_000).await;
    kill_process(app.pid(), Signal::TERM).unwrap();
    eventually("not ready", async || ask_anew(&app, "/health/ready").await.status == 503).await;
    let told = ask_anew(&app, "/health/ready").await;
    told.assert_problem(503, "overloaded");
    assert!(told.json["detail"].as_str().unwrap().contains("stopping"), "{}", told.text);
    assert_eq!(ask_anew(&app, "/health/live").await.status, 200);
    let paid = app.pay(1, 2, 10, "k").await;
    paid.assert_paid();
    assert_eq!(paid.header("connection"), Some("close"), "the next request is for another process");
    assert!(app.stop(Signal::TERM).success(), "a second signal ends the delay");
    app.database.assert_sound();
}

#[tokio::test]
async fn ctrl_c_stops_without_that_delay() {
    let mut app = App::start_with(&[("PAYONCE_SERVER__STOP_DELAY_MS", "600000")]).await;
    assert!(app.stop(Signal::INT).success());
}

#[tokio::test]
async fn while_it_stops_it_takes_no_connection_and_answers_what_it_took() {
    let mut app = App::start_with(&[("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "60000")]).await;
    app.open_many(3, 1_000).await;
    let outside = app.database.lock_accounts("2").await;
    let paying: Vec<_> = (0..20)
        .map(|n| {
            let body = payment(1 + 2 * (n % 2), 2, 1, &format!("k{n}"));
            tokio::spawn(Answer::of(app.request("PUT", "/send_payment").json(&body)))
        })
        .collect();
    app.database.until(A_WRITER_WAITS).await;
    // All of them have arrived.
    eventually("all wait", async || {
        let metrics = ask_anew(&app, "/metrics").await.text;
        metrics.contains("payonce_requests_under_way 21\n")
    })
    .await;
    kill_process(app.pid(), Signal::TERM).unwrap();
    refuses_connections(&app).await;
    outside.release().await;
    for answer in paying {
        answer.await.unwrap().assert_paid();
    }
    assert!(app.stop(Signal::TERM).success());
    assert_eq!(app.database.payments().await, 20);
    app.database.assert_sound();
}

#[tokio::test]
async fn an_idle_connection_does_not_keep_it() {
    let mut app = App::start_with(&[("PAYONCE_SERVER__SHUTDOWN_TIMEOUT_MS", "600000")]).await;
    let mut wire = TcpStream::connect(address(&app)).await.unwrap();
    wire.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    wire.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    assert!(app.stop(Signal::TERM).success());
}

#[tokio::test]
async fn what_cannot_be_answered_in_time_does_not_keep_it_and_is_not_paid_later() {
    let mut app = App::start_with(&[
        ("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", "600000"),
        ("PAYONCE_SERVER__SHUTDOWN_TIMEOUT_MS", "300"),
    ])
    .await;
    app.open_many(2, 1_000).await;
    let outside = app.database.lock_accounts("2").await;
    let request = app.request("PUT", "/send_payment").json(&payment(1, 2, 1, "k"));
    let paying = tokio::spawn(Answer::try_of(request));
    app.database.until(A_WRITER_WAITS).await;
    assert!(app.stop(Signal::TERM).success());
    let answer = paying.await.unwrap();
    assert!(answer.is_err(), "its connection was closed: {answer:?}");
    eventually("its line", async || {
        app.requests().iter().any(|line| line["message"] == "not answered")
    })
    .await;
    outside.release().await;
    app.database
        .until(
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
             AND application_name LIKE 'payonce %')",
        )
        .await;
    assert_eq!(app.database.payments().await, 0);
    app.database.assert_sound();
}
