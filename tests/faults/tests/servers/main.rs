//! Several servers of one cluster: which of them is written to, and which are read.
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

mod listed;
mod replicas;

use std::time::Duration;

use payonce_faults::postgres::{Files, Postgres, Servers as _, url_of};
use payonce_faults::service;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{SERVICE_ROLE, Service};

/// How long a condition is awaited before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Settings of the service: name in the environment, value.
type Settings = Vec<(String, String)>;

fn settings_of(url: String, owner_url: String) -> Settings {
    let own = [
        ("DATABASE_URL", url),
        ("PAYONCE_DATABASE__MIGRATE_URL", owner_url),
        ("PAYONCE_TELEMETRY__FILTER", "info".to_owned()),
    ];
    own.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The settings that name these servers.
fn listing(servers: &[&Postgres]) -> Settings {
    settings_of(url_of(servers, SERVICE_ROLE), url_of(servers, "payonce"))
}

/// Runs a command of the service. Returns its status and its words.
fn run(work: &TempDir, settings: &Settings, command: &str) -> (Option<i32>, String) {
    let mut payonce = service::command(work.path(), settings).unwrap();
    let output = payonce.arg(command).env("PORT", "0").output().unwrap();
    let told = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    (output.status.code(), told.concat())
}

#[track_caller]
fn assert_refused(work: &TempDir, settings: &Settings, command: &str, named: &[&str]) {
    let (status, told) = run(work, settings, command);
    assert_eq!(status, Some(1), "{command}: {told}");
    for named in named {
        assert!(told.contains(named), "{command}, {named}: {told}");
    }
    assert!(!told.contains("SECRET"), "{told}");
}

#[track_caller]
fn assert_done(work: &TempDir, settings: &Settings, command: &str) {
    let (status, told) = run(work, settings, command);
    assert_eq!(status, Some(0), "{command}: {told}");
}

/// A server with a ledger, and a standby of it.
async fn pair(work: &TempDir) -> (Postgres, Postgres) {
    let primary = Postgres::new(&Files::InMemory, "", &[]).await.unwrap();
    assert_done(work, &listing(&[&primary]), "migrate");
    let standby = primary.standby("standby").await.unwrap();
    (primary, standby)
}

fn work() -> TempDir {
    local_postgres::directory("payonce-faults-work-").unwrap()
}

fn serve(work: &TempDir, settings: &Settings) -> Service {
    service::start(work.path(), settings, &work.path().join("log")).unwrap()
}

async fn get(service: &Service, path: &str) -> (StatusCode, Value) {
    let answer = reqwest::get(format!("{}{path}", service.origin)).await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn open(service: &Service, account: i64) {
    let body = json!({"id": account, "opening_balance": 1_000});
    let url = format!("{}/accounts", service.origin);
    let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
}

async fn pay(service: &Service, key: &str) -> StatusCode {
    let body = json!({"from": 1, "to": 2, "amount": 1, "idempotency_key": key});
    let url = format!("{}/send_payment", service.origin);
    reqwest::Client::new().put(url).json(&body).send().await.unwrap().status()
}

/// Asks for a payment until it is made.
async fn pay_in_the_end(service: &Service, key: &str) {
    testbed::until("a payment", PATIENCE, async || Ok(pay(service, key).await == 200))
        .await
        .unwrap();
}

async fn balance(service: &Service, account: i64) -> Value {
    let (status, account) = get(service, &format!("/accounts/{account}")).await;
    assert_eq!(status, 200, "{account}");
    account["balance"].clone()
}

async fn service_with_accounts(work: &TempDir, settings: &Settings) -> Service {
    let service = serve(work, settings);
    open(&service, 1).await;
    open(&service, 2).await;
    service
}
