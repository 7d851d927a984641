//! What is too much, too often or too slow is cut off with a clear answer, and disturbs nobody else.

use futures_util::future::join_all;
use rustix::process::{Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::{A_WRITER_WAITS, Answer, App, PATIENCE, eventually, payment};

const AN_HOUR_MS: &str = "3600000";

#[tokio::test]
async fn a_payer_who_pays_too_often_is_told_when_to_come_again_and_nobody_else_is_delayed() {
    let app = App::start_with(&[
        ("PAYONCE_RATE_LIMIT__PAYER_PER_MINUTE", "2"),
        ("PAYONCE_RATE_LIMIT__PAYER_BURST", "3"),
    ])
    .await;
    app.open_many(3, 1_000).await;
    for (n, left) in
        [(1, "\"payer\";r=2;t=30"), (2, "\"payer\";r=1;t=60"), (3, "\"payer\";r=0;t=90")]
    {
        let paid = app.pay(1, 2, 1, &format!("k{n}")).await;
        paid.assert_paid();
        assert_eq!(paid.header("ratelimit"), Some(left));
        assert_eq!(paid.header("ratelimit-policy"), Some("\"payer\";q=3;w=90"));
    }
    let refused = app.pay(1, 2, 1, "k4").await;
    refused.assert_problem(429, "rate_limited");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait} s");
    assert_eq!(refused.header("ratelimit"), Some("\"payer\";r=0;t=90"));
    assert_eq!(app.database.payments().await, 3, "what was refused was not done");
    app.pay(1, 2, 1, "k1").await.assert_problem(429, "rate_limited");
    app.pay(1, 3, 1, "k5").await.assert_problem(429, "rate_limited");
    app.pay(3, 2, 1, "other").await.assert_paid();
    assert_eq!(app.get("/payment_history/1").await.status, 200, "reading is no payment");
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_refused_everything_but_health() {
    let app = App::start_with(&[("PAYONCE_RATE_LIMIT__ADDRESS_PER_MINUTE", "3")]).await;
    for _ in 0..3 {
        let answer = app.get("/accounts").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"address\";q=3;w=60"));
    }
    for path in ["/accounts", "/payment_history/0", "/nowhere", "/openapi.json"] {
        app.get(path).await.assert_problem(429, "rate_limited");
    }
    app.pay(0, 1, 1, "k").await.assert_problem(429, "rate_limited");
    assert_eq!(app.get("/health/ready").await.status, 200);
    assert_eq!(app.get("/metrics").await.status, 200);
    // A client's own word about its address is not believed.
    let claimed = app.request("GET", "/accounts").header("x-forwarded-for", "192.0.2.7");
    Answer::of(claimed).await.assert_problem(429, "rate_limited");
    let from_a_page = app.request("GET", "/accounts").header("origin", "http://localhost:3000");
    let refused = Answer::of(from_a_page).await;
    assert_eq!(refused.header("access-control-allow-origin"), Some("http://localhost:3000"));
    let exposed = refused.header("access-control-expose-headers").unwrap();
    assert!(exposed.contains("retry-after") && exposed.contains("ratelimit"), "{exposed}");
}

#[tokio::test]
async fn behind_a_proxy_the_address_is_the_one_that_the_proxy_saw() {
    let app = App::start_with(&[
        ("PAYONCE_RATE_LIMIT__ADDRESS_PER_MINUTE", "1"),
        ("PAYONCE_SERVER__TRUSTED_PROXIES", "1"),
    ])
    .await;
    let status_for = async |forwarded: &[&str]| {
        let mut request = app.request("GET", "/accounts");
        for value in forwarded {
            let value: Vec<u8> = value.chars().map(|char| char as u8).collect();
            request = request.header("x-forwarded-for", value);
        }
        Answer::of(request).await.status
    };
    assert_eq!(status_for(&["192.0.2.1"]).await, 200);
    assert_eq!(status_for(&["192.0.2.2"]).await, 200);
    assert_eq!(status_for(&["192.0.2.1:4711"]).await, 429, "with a port it is the same");
    assert_eq!(status_for(&["::ffff:192.0.2.1"]).await, 429, "and as IPv6, too");
    assert_eq!(status_for(&["203.0.113.9, 192.0.2.1"]).await, 429, "the left is a claim");
    assert_eq!(status_for(&["203.0.113.9", "192.0.2.2"]).await, 429, "on lines of their own, too");
    assert_eq!(status_for(&["\u{ff}, 192.0.2.2"]).await, 429, "in whatever bytes");
    assert_eq!(status_for(&["203.0.113.8", "\u{ff}, 192.0.2.2, "]).await, 429);
    assert_eq!(status_for(&["2001:db8:1:2::1"]).await, 200);
    assert_eq!(status_for(&["[2001:db8:1:2:ffff::9]:80"]).await, 429, "one network, one limit");
    assert_eq!(status_for(&["2001:db8:1:3::1"]).await, 200);
    assert_eq!(status_for(&[]).await, 200, "without the header: the connection's address");
    assert_eq!(status_for(&["unknown"]).await, 429, "and with a header that names none");
}

#[tokio::test]
async fn an_account_that_has_used_up_its_limit_can_be_frozen_all_the_same() {
    let limit = [("PAYONCE_RATE_LIMIT__PAYER_PER_MINUTE", "1")];
    let app = App::start_with(&limit).await;
    app.open_many(2, 1_000).await;
    app.pay(1, 2, 1, "k0").await.assert_paid();
    app.pay(1, 2, 1, "k1").await.assert_problem(429, "rate_limited");
    assert_eq!(app.set_status(1, "frozen").await.status, 200);
}

#[tokio::test]
async fn without_a_setting_nothing_is_limited() {
    let app = App::start().await;
    let answer = app.get("/accounts").await;
    assert_eq!((answer.header("ratelimit"), answer.header("ratelimit-policy")), (None, None));
}

/// Nothing here waits for a time limit: every limit is an hour.
async fn patient_app_with_small_queues() -> App {
    App::start_with(&[
        ("PAYONCE_WRITER__QUEUE_MAX", "2"),
        ("PAYONCE_WRITER__BATCH_MAX", "1"),
        ("PAYONCE_WRITER__COUNT", "1"),
        ("PAYONCE_SERVER__REQUEST_TIMEOUT_MS", AN_HOUR_MS),
        ("PAYONCE_DATABASE__READERS_MAX", "1"),
        ("PAYONCE_DATABASE__READ_TIMEOUT_MS", AN_HOUR_MS),
        ("PAYONCE_DATABASE__STATEMENT_TIMEOUT_MS", "3000000"),
        ("PAYONCE_DATABASE__TRANSACTION_TIMEOUT_MS", "3500000"),
        ("PAYONCE_WRITER__LOCK_WAIT_MS_MAX", "2900000"),
    ])
    .await
}

#[tokio::test]
async fn a_payment_that_finds_the_queue_full_is_told_so_at_once() {
    let app = patient_app_with_small_queues().await;
    app.open_many(2, 1_000).await;
    let outside = app.database.lock_accounts("2").await;
    // One is being written; two more wait, whichever; the others learn it at once.
    let bodies: Vec<_> = (0..8).map(|i| payment(1, 2, 1, &format!("k{i}"))).collect();
    let mut waiting = Vec::new();
    for body in bodies {
        waiting.push(tokio::spawn(Answer::of(app.request("PUT", "/send_payment").json(&body))));
    }
    eventually("somebody is refused", async || waiting.iter().any(JoinHandle::is_finished)).await;
    outside.release().await;
    let answers = join_all(waiting).await;
    let refused = answers.iter().map(|it| it.as_ref().unwrap()).filter(|it| it.status != 200);
    refused.for_each(|answer| answer.assert_problem(503, "overloaded"));
    app.database.assert_sound();
}

#[tokio::test]
async fn a_read_that_finds_too_many_waiting_is_told_so_at_once() {
    for path in ["/accounts/1", "/payment_history/1"] {
        let app = patient_app_with_small_queues().await;
        app.open(1, 1_000).await;
        let mut session = app.database.session().await;
        let lock = "BEGIN; LOCK TABLE accounts, payments IN ACCESS EXCLUSIVE MODE";
        sqlx::raw_sql(lock).execute(&mut session).await.unwrap();
        let waiting: Vec<_> =
            (0..80).map(|_| tokio::spawn(Answer::of(app.request("GET", path)))).collect();
        eventually("somebody is refused", async || waiting.iter().any(JoinHandle::is_finished))
            .await;
        sqlx::raw_sql("ROLLBACK").execute(&mut session).await.unwrap();
        let answers = join_all(waiting).await;
        let refused = answers.iter().map(|it| it.as_ref().unwrap()).filter(|it| it.status != 200);
        refused.for_each(|answer| answer.assert_problem(503, "overloaded"));
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_by_the_database() {
    let app = App::start_with(&[
        ("PAYONCE_DATABASE__STATEMENT_TIMEOUT_MS", "300"),
        ("PAYONCE_DATABASE__READ_TIMEOUT_MS", AN_HOUR_MS),
    ])
    .await;
    let mut session = app.database.session().await;
    let lock = "BEGIN; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut session).await.unwrap();
    app.get("/accounts/0").await.assert_problem(503, "database_unavailable");
    app.database
        .until(
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
             AND application_name = 'payonce reader' AND state = 'active')",
        )
        .await;
    eventually("the operator is told why", async || app.log().contains("statement timeout")).await;
}

#[tokio::test]
async fn a_process_that_stops_in_the_middle_of_a_transaction_keeps_no_locks() {
    let [frozen, other] = App::start_two().await;
    frozen.open_many(3, 1_000).await;
    let outside = frozen.database.lock_accounts("2").await;
    let body = payment(1, 2, 1, "k");
    let paying = tokio::spawn(Answer::of(frozen.request("PUT", "/send_payment").json(&body)));
    frozen.database.until(A_WRITER_WAITS).await;
    kill_process(frozen.pid(), Signal::STOP).unwrap();
    // Its transaction gets the locks, and nothing that would end it.
    outside.release().await;
    other.pay(1, 3, 1, "other").await.assert_paid();
    kill_process(frozen.pid(), Signal::CONT).unwrap();
    paying.await.unwrap().assert_paid();
    other.database.assert_sound();
}

async fn connect(app: &App) -> TcpStream {
    TcpStream::connect(app.base.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Memory that a connection takes once it has asked for something, in KiB, as `docs/operating.md` says.
fn kib_of_an_idle_connection() -> u64 {
    let documents = include_str!("../../docs/operating.md");
    let (_, rest) = documents.split_once("| memory of the service | 30 MiB, and ").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// Asks for an account, and reads the answer.
async fn ask(wire: &mut TcpStream) {
    wire.write_all(b"GET /accounts/0 HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 2_048];
    let count = wire.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 200 "), "{:?}", &answer[..count]);
}

#[tokio::test]
async fn as_many_clients_as_are_allowed_take_the_memory_that_is_documented_and_one_more_waits() {
    const ALLOWED: usize = 2_000;
    let allowed = ALLOWED.to_string();
    // Two workers, whatever the machine: the limit is of the process.
    let app = App::start_with(&[
        ("PAYONCE_SERVER__CONNECTIONS_MAX", &*allowed),
        ("PAYONCE_SERVER__WORKERS", "2"),
    ])
    .await;
    let resident_kib = || {
        let status = format!("/proc/{}/status", app.pid().as_raw_nonzero());
        let status = std::fs::read_to_string(status).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let mut wires = Vec::new();
    // The first ones find what is made once: sessions, caches, buffers of threads.
    let mut kib_before = 0;
    while wires.len() < ALLOWED {
        if wires.len() == ALLOWED / 20 {
            kib_before = resident_kib();
        }
        let mut wire = connect(&app).await;
        ask(&mut wire).await;
        wires.push(wire);
    }
    let each = (resident_kib() - kib_before) * 20 / (u64::try_from(ALLOWED).unwrap() * 19);
    let documented = kib_of_an_idle_connection();
    assert!(each <= documented, "{each} KiB for a connection, and {documented} are documented");

    let mut waiting = connect(&app).await;
    waiting.write_all(b"GET /accounts/0 HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    for wire in wires.iter_mut().take(100) {
        ask(wire).await;
    }
    let mut answer = [0; 2_048];
    assert!(waiting.try_read(&mut answer).is_err(), "nobody has taken it up");
    drop(wires.pop());
    let count = waiting.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 200 "), "another one has left");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let app = App::start_with(&[("PAYONCE_SERVER__READ_TIMEOUT_MS", "1000")]).await;
    let mut wire = connect(&app).await;
    wire.write_all(b"GET /accounts HTTP/1.1\r\nHost: localhost\r\nX-More: ").await.unwrap();
    let mut answer = String::new();
    wire.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_body_in_chunks_that_never_ends_is_cut_off_whatever_it_was_answered() {
    // The head is to arrive in time, also on a busy machine.
    let app = App::start_with(&[("PAYONCE_SERVER__READ_TIMEOUT_MS", "1500")]).await;
    for (line, media_type, status) in [
        ("PUT /send_payment", "application/json", "408"),
        ("PUT /send_payment", "text/plain", "415"),
        ("POST /send_payment", "application/json", "405"),
        ("POST /nowhere", "application/json", "404"),
        ("GET /accounts", "application/json", "200"),
    ] {
        let mut wire = connect(&app).await;
        let head = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\n\
             Transfer-Encoding: chunked\r\n\r\na\r\n{{\"from\":1,\r\n"
        );
        wire.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let end = tokio::time::timeout(PATIENCE, wire.read_to_string(&mut answer)).await;
        end.unwrap_or_else(|_| panic!("the connection stays: {answer}")).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_no_http_is_its_senders_mistake_and_not_the_operators() {
    let app = App::start().await;
    let mut wire = connect(&app).await;
    wire.write_all(b"GET /accounts HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    wire.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(app.settled_log().await, "");
}

#[tokio::test]
async fn a_client_that_takes_none_of_what_it_asks_for_is_cut_off() {
    let app = App::start_with(&[("PAYONCE_SERVER__WRITE_TIMEOUT_MS", "500")]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let address = app.base.strip_prefix("http://").unwrap().parse().unwrap();
    let mut wire = socket.connect(address).await.unwrap();
    let request = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2_000);
    let _ = wire.write_all(request.as_bytes()).await;
    // The kernel gives the connection up without a word to a client that does not listen. Other tests'
    // connections may have the same port on one side, but not on both.
    let end = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let (service, client) = (end(wire.peer_addr().unwrap()), end(wire.local_addr().unwrap()));
    eventually("the service's end is gone", async || {
        let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
        !connections.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&service))
                && fields.next().is_some_and(|remote| remote.ends_with(&client))
        })
    })
    .await;
    assert_eq!(app.get("/accounts").await.status, 200);
}

#[tokio::test]
async fn every_answer_tells_browsers_to_be_careful() {
    let app = App::start().await;
    app.open(1, 0).await;
    for (path, policy) in [
        ("/accounts/1", "default-src 'none'; frame-ancestors 'none'"),
        ("/nowhere", "default-src 'none'; frame-ancestors 'none'"),
        ("/problems/overloaded", "default-src 'none'; frame-ancestors 'none'"),
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.header("content-security-policy"), Some(policy), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(
            answer.header("cache-control"),
            Some("no-store"),
            "balances are for nobody's cache"
        );
    }
}

#[tokio::test]
async fn secrets_are_in_no_log_no_answer_and_no_help() {
    let secret = "0123456789-this-is-the-secret-abcdef";
    let settings = [
        ("PAYONCE_AUTH__MODE", "jwt"),
        ("PAYONCE_AUTH__JWT_SECRET", secret),
        ("PAYONCE_TELEMETRY__FILTER", "trace"),
    ];
    let app = App::start_with(&settings).await;
    let printed = crate::harness::bare_command()
        .envs(settings)
        .args(["token", "--operator"])
        .output()
        .unwrap();
    let token = String::from_utf8(printed.stdout).unwrap();
    let token = token.trim();
    let signature = token.rsplit('.').next().unwrap();
    let opened = app.ask(Some(token), "POST", "/accounts", Some(&json!({"id": 1}))).await;
    assert_eq!(opened.status, 201);
    let wrong = format!("{token}x");
    let refused = app.ask(Some(&wrong), "GET", "/accounts", None).await;
    refused.assert_problem(401, "unauthenticated");
    assert!(!refused.text.contains(signature), "{}", refused.text);
    eventually("something is logged", async || app.whole_log().contains("\"path\":\"/accounts\""))
        .await;
    let log = app.whole_log();
    assert!(!log.contains(secret), "the secret was logged");
    assert!(!log.contains(signature), "a token was logged");

    let help = crate::harness::bare_command().envs(settings).arg("--help").output().unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains(secret));
    for misplaced in ["PAYONCE_AUTH", "PAYONCE_AUTH__CLOCK_SKEW_SECONDS"] {
        let mut serve = crate::harness::bare_command();
        let output = serve.env(misplaced, secret).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && !told.contains(secret), "{told}");
        assert!(told.contains("auth"), "{told}");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = format!("[auth]\njwt_secret = \"{secret}\nmode = 'jwt'\n");
    std::fs::write(directory.path().join("payonce.toml"), file).unwrap();
    let output = crate::harness::bare_command().current_dir(&directory).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(told.contains("payonce.toml") && told.contains("line 2"), "{told}");
    assert!(!told.contains("this-is-the-secret"), "{told}");
}
