//! `make bench-live`: many clients watch their accounts while payments are made at a fixed rate.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use payonce::domain::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::arena::seed;
use crate::knobs::Knobs;
use crate::meter::{Serving, resident_mib};
use crate::report::{self, Latency, decimals};
use crate::stand::Stand;
use crate::{Verdict, results};

const COMMAND: &str = "make bench-live";

/// Each watches an account of its own; payments are between these.
const STREAMS: u32 = 5_000;

const PAYMENTS_PER_SECOND: u32 = 1_000;
const SECONDS: u32 = 20;

/// Payments that one request asks for, so that the load generator takes little.
const IN_ONE_REQUEST: u32 = 10;

/// How long the last payments may be on their way.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(knobs: &Knobs) -> Result<Verdict> {
    let (stand, setting) = Stand::new().await?;
    println!("{}", results::circumstances(COMMAND, &setting));
    let database = stand.database("payonce");
    seed(&database).await?;
    let service = stand.serve(&database).await?;
    let address = service.origin.strip_prefix("http://").context("its address")?.to_owned();

    let before_mib = resident_mib(service.pid)?;
    let opened = Arc::new(Barrier::new(usize::try_from(STREAMS)?.saturating_add(1)));
    let (stop, stopped) = watch::channel(());
    let mut streams = JoinSet::new();
    for account in 1..=STREAMS {
        let watching =
            watch_account(address.clone(), account, Arc::clone(&opened), stopped.clone());
        streams.spawn(watching);
        // The listening queue has an end.
        if account.is_multiple_of(100) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    timeout(PATIENCE, opened.wait()).await.context("not all streams began")?;
    let idle_mib = resident_mib(service.pid)?;

    let meter = stand.meter(Serving::Processes(vec![service.pid]))?;
    let paid = pay(&address).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = meter.stop()?;
    let busy_mib = resident_mib(service.pid)?;
    drop(stop);
    let mut times = Vec::new();
    while let Some(seen) = streams.join_next().await {
        times.extend(seen??);
    }
    // Each is told to its payer and its payee.
    let expected = usize::try_from(paid)?.saturating_mul(2);
    ensure!(times.len() == expected, "{} of {expected} were told", times.len());
    service.stop().await?;
    database.audit().await?;
    println!("The audit is clean.");
    stand.stop()?;

    let kib_each = |mib: f64| decimals((mib - before_mib) * 1_024.0 / f64::from(STREAMS));
    let Latency { p50, p95, p99 } = Latency::of(times);
    let payments = f64::from(paid);
    let head = [
        "streams",
        "payments/s",
        "told in ms: p50",
        "p95",
        "p99",
        "KiB a stream, idle",
        "busy",
        "us of service a payment",
        "of Postgres",
    ];
    let cells = [
        STREAMS.to_string(),
        decimals(payments / f64::from(SECONDS)),
        decimals(p50),
        decimals(p95),
        decimals(p99),
        kib_each(idle_mib),
        kib_each(busy_mib),
        decimals(used.service_s * 1e6 / payments),
        decimals(used.postgres_s * 1e6 / payments),
    ];
    let text = format!(
        "{}\nEach payment is told to two of the streams: its payer's and its payee's. The time is from the \
         payment's own (`created_at`) to its arrival at the client. Memory is what the process has more than without \
         streams.\n\n{}",
        results::circumstances(COMMAND, &setting),
        report::table(&head, &[cells.to_vec()])
    );
    println!("\n{text}");
    if knobs.write_results() {
        results::write(COMMAND, &text)?;
    }
    Ok(Verdict::Kept)
}

/// Watches an account until it is told to stop: how many milliseconds each payment was on its way.
async fn watch_account(
    address: String,
    account: u32,
    opened: Arc<Barrier>,
    mut stopped: watch::Receiver<()>,
) -> Result<Vec<f64>> {
    let mut wire = TcpStream::connect(&address).await?;
    let ask = format!("GET /accounts/{account}/events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    wire.write_all(ask.as_bytes()).await?;
    let mut times = Vec::new();
    let mut text = Vec::new();
    let mut has_begun = false;
    loop {
        tokio::select! {
            read = wire.read_buf(&mut text) => ensure!(read? > 0, "the stream of {account} was cut off"),
            _ = stopped.changed() => return Ok(times),
        }
        while let Some(event) = testbed::take_event(&mut text) {
            let event = String::from_utf8(event)?;
            if event.contains("event: begin") {
                has_begun = true;
                opened.wait().await;
            } else if let Some((_, data)) = event.split_once("data: ") {
                times.push(on_its_way_ms(data)?);
            }
        }
        ensure!(has_begun || text.len() < 4_096, "{}", String::from_utf8_lossy(&text));
    }
}

fn on_its_way_ms(payment: &str) -> Result<f64> {
    let payment: Value = serde_json::from_str(payment)?;
    let made = payment.get("created_at").and_then(Value::as_str).context("no time")?;
    let made = Timestamp::parse(made)?.unix_us();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros();
    let us = i64::try_from(now)?.saturating_sub(made);
    Ok(f64::from(i32::try_from(us)?) / 1_000.0)
}

/// Pays at the rate, however slow the answers are; how many payments were made.
async fn pay(address: &str) -> Result<u32> {
    let mut wire = TcpStream::connect(address).await?;
    wire.set_nodelay(true)?;
    let requests = PAYMENTS_PER_SECOND.div_euclid(IN_ONE_REQUEST).saturating_mul(SECONDS);
    let every =
        Duration::from_secs(1).saturating_mul(IN_ONE_REQUEST).div_f64(PAYMENTS_PER_SECOND.into());
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for request in 0..requests {
        ticks.tick().await;
        let payments: Vec<Value> = (0..IN_ONE_REQUEST)
            .map(|n| {
                let from = fastrand::u32(1..=STREAMS);
                let to = from.rem_euclid(STREAMS).saturating_add(1);
                json!({"from": from, "to": to, "amount": 1, "idempotency_key": format!("live-{request}-{n}")})
            })
            .collect();
        let body = json!({"payments": payments}).to_string();
        let head = format!(
            "PUT /send_payments HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        wire.write_all((head + &body).as_bytes()).await?;
        let answer = timeout(PATIENCE, answer(&mut wire)).await??;
        let paid = answer.matches("\"status\":200").count();
        ensure!(paid == usize::try_from(IN_ONE_REQUEST)?, "{answer}");
    }
    Ok(requests.saturating_mul(IN_ONE_REQUEST))
}

/// Reads an answer to its end.
async fn answer(wire: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    loop {
        if wire.read_buf(&mut bytes).await? == 0 {
            bail!("the connection was closed");
        }
        let text = std::str::from_utf8(&bytes)?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned)
        });
        let length: usize = length.context("an answer without a length")?.parse()?;
        if body.len() >= length {
            return Ok(body.to_owned());
        }
    }
}
