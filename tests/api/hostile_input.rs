//! What comes over the wire need not be a request. Nothing of it is paid by mistake, nothing of it
//! stops the service, and no connection hangs.
//!
//! Everything that is random follows from seeds, so that a failure can be seen again.

use std::fmt::Write;

use fastrand::Rng;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{App, PATIENCE};

/// Connections at a time.
const AT_ONCE: usize = 32;

/// A service that soon gives up what does not arrive.
async fn impatient_app() -> App {
    let app = App::start_with(&[
        ("PAYONCE_SERVER__READ_TIMEOUT_MS", "1500"),
        ("PAYONCE_SERVER__KEEP_ALIVE_MS", "1000"),
    ])
    .await;
    app.open_many(3, 1_000_000).await;
    app
}

/// The bytes that one connection sends, and whether the client closes its side after them.
#[derive(Debug, Clone)]
struct Shot {
    bytes: Vec<u8>,
    closes: bool,
}

/// Sends it, and reads until the service closes the connection.
async fn answers_to(app: &App, shot: &Shot) -> Vec<u16> {
    let talking = async {
        let address = app.base.strip_prefix("http://").unwrap();
        let mut wire = TcpStream::connect(address).await.unwrap();
        // The service may close before it has read everything.
        let _ = wire.write_all(&shot.bytes).await;
        if shot.closes {
            let _ = wire.shutdown().await;
        }
        let mut answer = Vec::new();
        let _ = wire.read_to_end(&mut answer).await;
        answer
    };
    let answer = tokio::time::timeout(PATIENCE, talking)
        .await
        .unwrap_or_else(|_| panic!("the connection hangs: {}", shot.bytes.escape_ascii()));
    let text = String::from_utf8_lossy(&answer);
    let heads = text.split("HTTP/1.").skip(1).map(|head| head.split(' ').nth(1).unwrap());
    heads.map(|status| status.parse().unwrap()).collect()
}

/// All connections, and what each was answered.
async fn storm(app: &App, shots: Vec<Shot>) -> Vec<(Shot, Vec<u16>)> {
    let talks = shots.into_iter().map(async |shot| {
        let statuses = answers_to(app, &shot).await;
        (shot, statuses)
    });
    stream::iter(talks).buffer_unordered(AT_ONCE).collect().await
}

async fn assert_well(app: &App) {
    app.pay(1, 2, 1, "afterwards").await.assert_paid();
    assert!(!app.log().contains("panicked"), "{}", app.log());
    app.database.assert_sound();
}

fn body(number: usize) -> String {
    format!(
        "{{\"from\":1,\"to\":2,\"amount\":1,\"idempotency_key\":\"k{number}\",\"note\":\"caf\u{e9}\"}}"
    )
}

/// A request to pay with these header lines, each with its end.
fn request(headers: &str, body: &str) -> String {
    format!(
        "PUT /send_payment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         {headers}\r\n{body}"
    )
}

fn whole(number: usize) -> String {
    let body = body(number);
    request(&format!("Content-Length: {}\r\n", body.len()), &body)
}

/// The body in chunks of random sizes.
fn chunked(number: usize, rng: &mut Rng) -> String {
    let body = body(number);
    let mut rest = body.as_bytes();
    let mut chunks = String::new();
    while !rest.is_empty() {
        let mut len = rng.usize(1..=rest.len().min(20));
        // The text is UTF-8, and so is each chunk here.
        while std::str::from_utf8(&rest[..len]).is_err() {
            len += 1;
        }
        let (chunk, after) = rest.split_at(len);
        write!(chunks, "{len:x}\r\n{}\r\n", std::str::from_utf8(chunk).unwrap()).unwrap();
        rest = after;
    }
    request("Transfer-Encoding: chunked\r\n", &format!("{chunks}0\r\n\r\n"))
}

#[tokio::test]
async fn the_requests_of_these_tests_are_paid_as_long_as_nobody_spoils_them() {
    let app = impatient_app().await;
    let mut rng = Rng::with_seed(1);
    let bytes = (whole(1) + &chunked(2, &mut rng) + &whole(3)).into_bytes();
    assert_eq!(answers_to(&app, &Shot { bytes, closes: false }).await, [200, 200, 200]);
    assert_eq!(app.database.payments().await, 3);
}

/// A request that is spoilt for sure.
fn spoilt(number: usize, rng: &mut Rng) -> Shot {
    let (text, body) = (whole(number), body(number));
    let length = format!("Content-Length: {}\r\n", body.len());
    let head_end = text.find("\r\n\r\n").unwrap();
    let spoil = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    let mut closes = rng.bool();
    let cut = |text: &str, len: usize| text.as_bytes()[..len].to_vec();
    let bytes: Vec<u8> = match number % 22 {
        // Cut off: in its head, in its body, in its chunks.
        0 => cut(&text, rng.usize(0..head_end)),
        1 => cut(&text, text.len() - rng.usize(20..body.len())),
        2 => {
            let chunked = chunked(number, rng);
            cut(&chunked, chunked.len() - rng.usize(6..12))
        }
        // More or less than what was announced.
        3 => spoil(&length, &format!("Content-Length: {}\r\n", body.len() + rng.usize(1..9))),
        4 => spoil(&length, &format!("Content-Length: {}\r\n", rng.usize(0..body.len()))),
        5 => spoil(&length, &format!("{length}Content-Length: {}\r\n", body.len() + 1)),
        6 => spoil(&length, &format!("Content-Length: {}\r\n", "9".repeat(rng.usize(20..40)))),
        7 => {
            let lengths = ["-1", "0x40", "1e3", "+80", "80, 80", "", "\u{664}"];
            let length_of_none = format!("Content-Length: {}\r\n", rng.choice(lengths).unwrap());
            spoil(&length, &length_of_none)
        }
        // Chunks that are none.
        8 => {
            let sizes = ["g", "-5", "0x5", "", "fffffffffffffffff", "5 5", "\u{661}"];
            let size = rng.choice(sizes).unwrap();
            request("Transfer-Encoding: chunked\r\n", &format!("{size}\r\n{body}\r\n0\r\n\r\n"))
                .into_bytes()
        }
        9 => {
            let size = body.len() - rng.usize(1..9);
            request("Transfer-Encoding: chunked\r\n", &format!("{size:x}\r\n{body}\r\n0\r\n\r\n"))
                .into_bytes()
        }
        10 => spoil(&length, "Transfer-Encoding: chunked\r\n"),
        11 => spoil(&length, "Transfer-Encoding: gzip\r\n"),
        // Heads that are none.
        12 => {
            let lines = [": x\r\n", "no colon\r\n", "a b: c\r\n", "X: a\0b\r\n", "X: a\rb\r\n"];
            spoil(&length, &format!("{}{length}", rng.choice(lines).unwrap()))
        }
        13 => {
            let versions = ["HTTP/2.0", "HTTP/9.9", "HTTP/1", "http/1.1", "FTP/1.1", ""];
            spoil("HTTP/1.1", rng.choice(versions).unwrap())
        }
        14 => spoil(&length, &format!("X-Long: {}\r\n{length}", "x".repeat(200_000))),
        15 => spoil(&length, &format!("{}{length}", "X: y\r\n".repeat(500))),
        16 => spoil("PUT", rng.choice(["P\0T", "P UT", "\r\rPUT", "PUT\t"]).unwrap()),
        // Bodies that are none.
        17 => {
            let json = cut(&body, body.len() - rng.usize(1..20));
            let head = request(&format!("Content-Length: {}\r\n", json.len()), "");
            [head.into_bytes(), json].concat()
        }
        18 => spoil("application/json", rng.choice(["text/plain", "json", "*/*", ""]).unwrap()),
        19 => {
            let twice = body.replacen('{', "{\"amount\":2,", 1);
            request(&format!("Content-Length: {}\r\n", twice.len()), &twice).into_bytes()
        }
        20 => {
            let deep = "[".repeat(rng.usize(1..16_000));
            request(&format!("Content-Length: {}\r\n", deep.len()), &deep).into_bytes()
        }
        _ => {
            // It would be gone before it is refused.
            closes = false;
            let large = format!("{body}{}", " ".repeat(100_000));
            request(&format!("Content-Length: {}\r\n", large.len()), &large).into_bytes()
        }
    };
    Shot { bytes, closes }
}

#[tokio::test]
async fn no_malformed_request_is_paid() {
    let app = impatient_app().await;
    let mut rng = Rng::with_seed(2);
    let shots = (0..440).map(|number| spoilt(number, &mut rng)).collect();
    for (shot, statuses) in storm(&app, shots).await {
        let text = shot.bytes.escape_ascii().to_string();
        let refused = |status: &u16| (400..500).contains(status);
        assert!(statuses.iter().all(refused), "{statuses:?} for {text:.400}");
    }
    assert_eq!(app.database.payments().await, 0);
    assert_well(&app).await;
}

/// Requests one after another, some of them changed on their way.
fn mutated(number: usize, rng: &mut Rng) -> Shot {
    const PIECES: [&str; 22] = [
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        ":",
        "\t",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Expect: 100-continue\r\n",
        "Connection: close\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Host: elsewhere.example\r\n",
        "Idempotency-Key: \"\\\r\n",
        "Authorization: Bearer \u{e9}\r\n",
        "X-Request-Id: \u{e9}\r\n",
        "Traceparent: 00-0\r\n",
        "0\r\n\r\n",
        "%00%ff%",
        "PUT /send_payment HTTP/1.1\r\n",
    ];
    let mut bytes = Vec::new();
    for n in 0..rng.usize(1..4) {
        let text = match rng.u8(0..5) {
            0 => whole(number * 10 + n),
            1 => chunked(number * 10 + n, rng),
            2 => "GET /payment_history/1?limit=10 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            3 => "GET /accounts?ids=1,2,3 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            _ => "POST /accounts HTTP/1.0\r\nContent-Type: application/json\r\n\
                  Content-Length: 2\r\n\r\n{}"
                .to_owned(),
        };
        bytes.extend(text.bytes());
    }
    for _ in 0..rng.usize(0..4) {
        let at = rng.usize(0..bytes.len());
        match rng.u8(0..5) {
            0 => bytes[at] = rng.u8(..),
            1 => {
                let piece = rng.choice(PIECES).unwrap().bytes();
                bytes.splice(at..at, piece);
            }
            2 => drop(bytes.drain(at..(at + rng.usize(0..20)).min(bytes.len()))),
            3 => {
                let part = bytes[at..(at + rng.usize(0..60)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes.truncate(at + 1),
        }
    }
    Shot { bytes, closes: rng.bool() }
}

#[tokio::test]
async fn whatever_comes_over_the_wire_the_service_stays_well() {
    let app = impatient_app().await;
    let mut rng = Rng::with_seed(3);
    let shots = (0..1_500).map(|number| mutated(number, &mut rng)).collect();
    let mut paid = 0;
    for (shot, statuses) in storm(&app, shots).await {
        let text = shot.bytes.escape_ascii().to_string();
        assert!(statuses.iter().all(|status| *status < 500), "{statuses:?} for {text}");
        paid += statuses.iter().filter(|status| **status == 200).count();
    }
    assert!(paid > 100, "most of it is to reach the handlers, not {paid}");
    // Each payment is one that somebody's bytes asked for: one cent, or what a changed digit makes of it.
    let odd = "SELECT count(*) FROM payments WHERE from_id <> 0 AND (amount > 99 OR from_id > 3)";
    assert_eq!(app.database.count(odd).await, 0);
    assert_well(&app).await;
}

/// Here the web framework answers, as README says: there is no request to tell of.
#[tokio::test]
async fn what_is_no_request_is_answered_without_a_body_and_its_connection_closed() {
    let app = impatient_app().await;
    let long = format!("GET / HTTP/1.1\r\nX-Long: {}", "x".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(97));
    for (head, status) in [
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (&*long, 431),
        (&*many, 431),
        ("GET / HTTP/1.1\r\nHost: loc", 408),
    ] {
        let mut wire = TcpStream::connect(app.base.strip_prefix("http://").unwrap()).await.unwrap();
        let _ = wire.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, wire.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        // A client that sends on after the answer may lose it.
        if head.len() < 100_000 || !answer.is_empty() {
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        }
    }
}
