//! What the operator reads: a line for each request, ids that lead from an answer to its lines, and
//! traces.

use std::collections::HashSet;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use testbed::told;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Answer, App, Database, command, eventually, payment};

/// The line of the request with this id.
async fn line_of(app: &App, request_id: &str) -> Value {
    let mut found = Value::Null;
    eventually("its line", async || {
        let lines = app.requests();
        let line = lines.into_iter().find(|line| line["request_id"] == request_id);
        line.is_some_and(|line| {
            found = line;
            true
        })
    })
    .await;
    found
}

fn request_id(answer: &Answer) -> String {
    answer.header("x-request-id").unwrap().to_owned()
}

#[tokio::test]
async fn each_request_is_one_line_of_json() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let paid = app.pay(1, 2, 10, "k").await;
    let line = line_of(&app, &request_id(&paid)).await;
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["method"], "PUT");
    assert_eq!(line["route"], "/send_payment");
    assert_eq!(line["status"], 200);
    assert!(line["took_ms"].as_f64().unwrap() > 0.0, "{line}");
    assert!(line.get("code").is_none(), "{line}");

    let refused = app.pay(1, 2, 10_000, "much").await;
    let line = line_of(&app, &request_id(&refused)).await;
    assert_eq!((&line["status"], &line["code"]), (&422.into(), &"insufficient_funds".into()));
    let missing = app.get("/accounts/99").await;
    let line = line_of(&app, &request_id(&missing)).await;
    assert_eq!(line["route"], "/accounts/{id}");
    assert_eq!(line["path"], "/accounts/99");
    assert_eq!(line["code"], "account_not_found");
    assert_eq!(app.requests().len(), 5, "{}", app.whole_log());
}

#[tokio::test]
async fn whatever_is_answered_has_an_id_of_its_own() {
    let app = App::start().await;
    let mut ids = HashSet::new();
    for path in ["/health/live", "/accounts", "/nowhere", "/docs", "/problems/internal"] {
        ids.insert(request_id(&app.get(path).await));
    }
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn a_clients_id_is_taken_over_unless_it_would_spoil_the_log() {
    let app = App::start().await;
    let ask = async |id: &[u8]| {
        let header = reqwest::header::HeaderValue::from_bytes(id).unwrap();
        let answer = Answer::of(app.request("GET", "/accounts").header("x-request-id", header));
        request_id(&answer.await)
    };
    let longest = "x".repeat(128);
    for id in ["order-17", "A\"b\\c", &longest] {
        assert_eq!(ask(id.as_bytes()).await, id);
        assert_eq!(line_of(&app, id).await["route"], "/accounts");
    }
    let longer = "x".repeat(129);
    for id in ["", "two words", "ünïcode", &longer] {
        assert_ne!(ask(id.as_bytes()).await, id);
    }
}

#[tokio::test]
async fn a_line_keeps_no_more_of_a_path_than_its_beginning() {
    let app = App::start().await;
    let answer = app.get(&format!("/{}", "a".repeat(10_000))).await;
    let line = line_of(&app, &request_id(&answer)).await;
    assert_eq!(line["path"], format!("/{}", "a".repeat(255)));
}

#[tokio::test]
async fn a_line_is_json_whatever_the_path() {
    let app = App::start().await;
    let mut wire = TcpStream::connect(app.base.strip_prefix("http://").unwrap()).await.unwrap();
    let request = b"GET /a\"b\\{c}%00 HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: raw\r\n\r\n";
    wire.write_all(request).await.unwrap();
    assert_eq!(line_of(&app, "raw").await["path"], "/a\"b\\{c}%00");
}

#[tokio::test]
async fn requests_have_no_lines_where_the_filter_leaves_them_out() {
    let filter = ("PAYONCE_TELEMETRY__FILTER", "info,payonce::requests=warn");
    let mut app = App::start_with(&[filter]).await;
    app.get("/accounts").await;
    // Its last line.
    assert!(app.stop(rustix::process::Signal::TERM).success());
    eventually("the log ends", async || app.log().contains("stopping")).await;
    assert!(app.requests().is_empty(), "{}", app.whole_log());
}

#[tokio::test]
async fn what_is_logged_during_a_request_has_its_id() {
    let app = App::start().await;
    app.database.execute("ALTER TABLE accounts RENAME TO hidden").await;
    let failed = app.get("/accounts/1").await;
    failed.assert_problem(500, "internal");
    let id = request_id(&failed);
    let log = app.settled_log().await;
    let line = log.lines().find(|line| line.contains(&id)).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["message"], "a read failed");
    assert_eq!(line["span"]["request_id"], id.as_str());
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn a_requests_line_names_the_trace_that_it_is_a_part_of() {
    let app = App::start().await;
    let traced = app
        .request("GET", "/accounts")
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let line = line_of(&app, &request_id(&Answer::of(traced).await)).await;
    assert_eq!(line["trace_id"], TRACE);
    for malformed in ["", "00-xyz", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
        let request = app.request("GET", "/accounts").header("traceparent", malformed);
        let line = line_of(&app, &request_id(&Answer::of(request).await)).await;
        assert!(line.get("trace_id").is_none(), "{malformed}: {line}");
    }
}

/// Takes what is posted to it, as an OpenTelemetry collector does, and keeps the bytes.
struct Collector {
    url: String,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((mut wire, _)) = listener.accept().await {
                let keep = Arc::clone(&keep);
                tokio::spawn(async move {
                    while let Some(request) = read_request(&mut wire).await {
                        keep.lock().unwrap().extend(request);
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                        wire.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        Self { url, taken }
    }

    fn has(&self, bytes: &[u8]) -> bool {
        self.taken.lock().unwrap().windows(bytes.len()).any(|window| window == bytes)
    }
}

/// One request, its head and its body; `None` when the connection is closed.
async fn read_request(wire: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        let head = request.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = head {
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.unwrap().parse().unwrap();
            if request.len() >= end + 4 + length {
                return Some(request);
            }
        }
        if wire.read_buf(&mut request).await.unwrap() == 0 {
            return None;
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_go_to_a_collector_and_continue_those_of_the_callers() {
    let collector = Collector::start().await;
    let mut app = App::start_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)]).await;
    app.open_many(2, 1_000).await;
    let request = app
        .request("PUT", "/send_payment")
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .header("x-request-id", "my-own-id")
        .json(&payment(1, 2, 10, "k"));
    Answer::of(request).await.assert_paid();
    let mut opened = Vec::new();
    eventually("a line is written", async || {
        opened = app.requests();
        !opened.is_empty()
    })
    .await;
    let begun_here = opened[0]["trace_id"].as_str().unwrap().to_owned();
    // Spans that are not sent yet are sent at the end.
    assert!(app.stop(rustix::process::Signal::TERM).success());
    assert!(collector.has(b"POST /v1/traces HTTP/1.1"));
    assert!(collector.has(&hex(TRACE)), "the caller's trace");
    assert!(collector.has(&hex("00f067aa0ba902b7")), "below the caller's span");
    assert!(collector.has(&hex(&begun_here)), "a trace of our own, which the log names");
    for said in ["payonce", "PUT /send_payment", "payonce.commit_ms", "my-own-id", "http.route"] {
        assert!(collector.has(said.as_bytes()), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_its_caller_does_not_keep_is_not_sent() {
    let collector = Collector::start().await;
    let mut app = App::start_with(&[
        ("PAYONCE_TELEMETRY__OTLP_ENDPOINT", &*collector.url),
        ("PAYONCE_TELEMETRY__OTLP_SAMPLE_PERCENT", "0"),
    ])
    .await;
    app.get("/accounts").await;
    for (trace, flags) in [(TRACE, "00"), ("5bf92f3577b34da6a3ce929d0e0e4736", "01")] {
        let traceparent = format!("00-{trace}-00f067aa0ba902b7-{flags}");
        Answer::of(app.request("GET", "/accounts").header("traceparent", traceparent)).await;
    }
    assert!(app.stop(rustix::process::Signal::TERM).success());
    assert!(collector.has(&hex("5bf92f3577b34da6a3ce929d0e0e4736")));
    assert!(!collector.has(&hex(TRACE)));
}

#[tokio::test]
async fn without_its_collector_the_service_works_and_tells_the_operator() {
    let mut app = App::start_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")]).await;
    app.open(1, 0).await;
    assert!(app.stop(rustix::process::Signal::TERM).success());
    eventually("the operator is told", async || app.log().contains("Export")).await;
}

#[tokio::test]
async fn a_person_at_a_terminal_reads_text() {
    let database = Database::new().await;
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let other_end = std::fs::File::options().write(true).open(name.to_str().unwrap()).unwrap();
    let mut serve = command(&database);
    serve.stdout(Stdio::null()).stderr(other_end);
    // A filter that lets the start's own lines through, so that there is one to read.
    let mut child = serve.env("PAYONCE_TELEMETRY__FILTER", "debug").spawn().unwrap();
    drop(serve);
    let mut screen = std::fs::File::from(terminal.as_fd().try_clone_to_owned().unwrap());
    let seen = tokio::task::spawn_blocking(move || {
        let mut seen = String::new();
        let mut bytes = [0; 4_096];
        while !seen.contains("DEBUG") {
            let count = screen.read(&mut bytes).unwrap();
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        seen
    });
    let seen = seen.await.unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!seen.contains("{\"timestamp\""), "{seen}");
}

#[tokio::test]
async fn what_a_process_says_on_both_outputs_is_json_where_its_log_is() {
    let database = Database::new().await;
    let collected = tempfile::NamedTempFile::new().unwrap();
    let output = std::fs::File::options().append(true).open(collected.path()).unwrap();
    let mut serve = command(&database);
    // Where it listens is told whatever the filter.
    serve.env("PAYONCE_SERVER__ADMIN_PORT", "0").env("PAYONCE_TELEMETRY__FILTER", "warn");
    serve.stdout(output.try_clone().unwrap()).stderr(output);
    let mut child = serve.spawn().unwrap();
    let said = || std::fs::read_to_string(collected.path()).unwrap();
    eventually("it listens", async || said().contains("payonce listens on http://")).await;
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let mut messages = Vec::new();
    for line in said().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        messages.push(line["message"].as_str().unwrap().to_owned());
    }
    for greeting in ["payonce is watched at http://", "payonce listens on http://"] {
        assert!(messages.iter().any(|message| message.starts_with(greeting)), "{messages:?}");
    }
}

/// Sends many requests on one connection, and reads all answers.
async fn pipeline(base: &str, count: usize) {
    let mut wire = TcpStream::connect(base.strip_prefix("http://").unwrap()).await.unwrap();
    let (mut answers, mut requests) = wire.split();
    let request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let send = async {
        for _ in 0..count {
            requests.write_all(request).await.unwrap();
        }
    };
    let receive = async {
        let (mut seen, mut bytes) = (0, Vec::new());
        while seen < count {
            assert_ne!(answers.read_buf(&mut bytes).await.unwrap(), 0, "after {seen} answers");
            seen += bytes.windows(12).filter(|start| *start == b"HTTP/1.1 200").count();
            // Bytes that may be the beginning of the next one stay.
            bytes.drain(..bytes.len().saturating_sub(11));
        }
    };
    tokio::join!(send, receive);
}

#[tokio::test]
async fn a_log_that_nobody_reads_keeps_no_request_waiting_and_no_stop() {
    let database = Database::new().await;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut serve = command(&database);
    serve.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = serve.spawn().unwrap();
    drop(serve);
    let mut said = String::new();
    let base = loop {
        let mut bytes = [0; 64];
        let count = reader.read(&mut bytes).unwrap();
        said.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        let mut lines = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        if let Some(base) = lines.find_map(|line| told(line, "payonce listens on ")) {
            break base;
        }
    };
    // From here on nobody reads. The pipe has 64 KiB; then the queue fills up.
    pipeline(base, 20_000).await;
    let metrics = reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap();
    let dropped = metrics
        .lines()
        .find_map(|line| line.strip_prefix("payonce_log_lines_dropped_total "))
        .unwrap();
    assert!(dropped.parse::<u32>().unwrap() > 1_000, "{dropped}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    drop(reader);
}
