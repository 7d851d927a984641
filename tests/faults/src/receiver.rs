//! The receiver of a webhook: it writes down what it is told, and takes nearly all of it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::client::{EVERYBODYS, World};
use crate::record::Delivery;

/// Settings with which the service tells a receiver on this machine, and tells it again a second after a failure.
pub const SETTINGS: [(&str, &str); 2] = [
    ("PAYONCE_WEBHOOKS__ALLOW_PRIVATE_ADDRESSES", "true"),
    ("PAYONCE_WEBHOOKS__PAUSES_SECONDS", "1,1,1,1,1,1,1,1,1,1"),
];

/// A delivery is not longer.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How many of a hundred connections have their first delivery refused. More refusals would leave the receiver behind: each
/// costs a pause.
const REFUSED_PERCENT: u8 = 25;

/// A receiver that is told of the payments of the account that everybody pays. It ends when it is dropped.
pub struct Receiver {
    _accepting: JoinSet<()>,
}

impl Receiver {
    /// Listens, and asks the service at an address to be told of what is paid from now on.
    ///
    /// # Errors
    /// It is refused.
    pub async fn start(world: &Arc<World>, service: SocketAddr, rng: Rng) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let request = reqwest::Client::new().post(format!("http://{service}/webhooks"));
        let response = request.json(&json!({"url": url, "accounts": [EVERYBODYS]})).send().await?;
        let (status, body) = (response.status(), response.text().await?);
        ensure!(status == 201, "a webhook cannot be added: {status} {body}");
        let body: Value = serde_json::from_str(&body)?;
        let after = body["position"].as_u64().context("a webhook has no position")?;
        world.recorder.deliver_after(after);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(world), rng));
        Ok(Self { _accepting: accepting })
    }
}

async fn accept(listener: TcpListener, world: Arc<World>, mut rng: Rng) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (world, rng) = (Arc::clone(&world), rng.fork());
        connections.spawn(async move {
            // It ends with the process of the service that has made it.
            let _ = receive(stream, &world, rng).await;
        });
    }
}

async fn receive(stream: TcpStream, world: &World, mut rng: Rng) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut refuses = rng.u8(0..100) < REFUSED_PERCENT;
    while stream.read_line(&mut line).await? > 0 {
        let (mut webhook_id, mut body_bytes) = (String::new(), 0);
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "webhook-id" => value.clone_into(&mut webhook_id),
                "content-length" => body_bytes = value.parse()?,
                _ => {}
            }
        }
        ensure!(body_bytes <= BODY_BYTES_MAX, "a delivery of {body_bytes} bytes");
        let mut body = vec![0; body_bytes];
        stream.read_exact(&mut body).await?;
        let body = String::from_utf8(body)?;
        let is_taken = !std::mem::take(&mut refuses);
        world.recorder.delivery(Delivery { webhook_id, body, is_taken });
        let status = if is_taken { "204 No Content" } else { "503 Service Unavailable" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
        line.clear();
    }
    Ok(())
}
