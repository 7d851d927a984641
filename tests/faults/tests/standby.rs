//! What is acknowledged again is as safe as what is acknowledged first.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use std::time::Duration;

use payonce_faults::postgres::{Files, Servers as _};
use payonce_faults::service;
use payonce_faults::stand::{Layout, Stand};
use reqwest::RequestBuilder;
use serde_json::json;

/// The sessions of the service that have committed, and wait for a standby to have it.
const WAITING: &str = "SELECT coalesce(max(pid), 0)::bigint FROM pg_stat_activity
    WHERE application_name LIKE 'payonce%' AND wait_event = 'SyncRep'";

async fn stand() -> Stand {
    let layout =
        Layout { processes: 1, accounts: 2, postgres_files: Files::InMemory, ..Layout::default() };
    Stand::start(layout).await.unwrap()
}

async fn set_standby(stand: &Stand, name: &str) {
    let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'");
    stand.postgres.execute(&set).await.unwrap();
    stand.postgres.execute("SELECT pg_reload_conf()").await.unwrap();
}

/// Asks while there is no standby, terminates the session that waits for it, and asserts that the
/// answer, which another session finds ready, waits for the standby as well.
async fn assert_waits(stand: &Stand, ask: impl Fn(u32) -> RequestBuilder, status: u16) {
    set_standby(stand, "nobody").await;
    let mut numbers = 1_u32..;
    let (mut answer, first) = loop {
        // Until Postgres has read its settings it answers.
        let number = numbers.next().unwrap();
        let mut answer = tokio::spawn(ask(number).send());
        if let Some(waiting) = waiting_before(stand, &mut answer, 0).await {
            break (answer, waiting);
        }
    };
    let terminate = format!("SELECT pg_terminate_backend({first})");
    stand.postgres.execute(&terminate).await.unwrap();
    let again = waiting_before(stand, &mut answer, first).await;
    assert!(again.is_some(), "it was acknowledged although no standby has it");
    set_standby(stand, "").await;
    assert_eq!(answer.await.unwrap().unwrap().status(), status);
}

/// The process id of a session that waits for a standby, other than `known`; `None` where the answer
/// comes first.
async fn waiting_before<T>(
    stand: &Stand,
    answer: &mut tokio::task::JoinHandle<T>,
    known: i64,
) -> Option<i64> {
    loop {
        let pid = stand.postgres.count(WAITING).await.unwrap();
        if pid != 0 && pid != known {
            return Some(pid);
        }
        if tokio::time::timeout(Duration::from_millis(5), &mut *answer).await.is_ok() {
            return None;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_is_acknowledged_again_waits_for_the_standby() {
    let stand = stand().await;
    let url = format!("http://{}/send_payment", stand.service(0).unwrap().address().unwrap());
    let http = reqwest::Client::new();
    let pay = |number: u32| {
        let body = json!({"from": 1, "to": 2, "amount": 1, "idempotency_key": format!("{number}")});
        http.put(&url).json(&body)
    };
    assert_waits(&stand, pay, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_that_is_acknowledged_again_waits_for_the_standby() {
    let stand = stand().await;
    let url = format!("http://{}/accounts", stand.service(0).unwrap().address().unwrap());
    let http = reqwest::Client::new();
    let open = |number: u32| {
        http.post(&url).header("Idempotency-Key", format!("{number}")).json(&json!({"name": "Ann"}))
    };
    assert_waits(&stand, open, 201).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_audited_as_its_primary_is() {
    let stand = stand().await;
    let url = format!("http://{}/send_payment", stand.service(0).unwrap().address().unwrap());
    let body = json!({"from": 1, "to": 2, "amount": 1, "idempotency_key": "k"});
    let paid = reqwest::Client::new().put(&url).json(&body).send().await.unwrap();
    assert_eq!(paid.status(), 200);
    let standby = stand.postgres.standby("audited").await.unwrap();
    let work = tempfile::tempdir().unwrap();
    let body = json!({"from": 1, "to": 2, "amount": 2, "idempotency_key": "streamed"});
    let paid = reqwest::Client::new().put(&url).json(&body).send().await.unwrap();
    assert_eq!(paid.status(), 200);
    standby
        .until(
            "SELECT pg_is_in_recovery() AND (SELECT balance FROM accounts WHERE id = 2) = 100003",
        )
        .await
        .unwrap();
    for plant in [None, Some("UPDATE accounts SET balance = balance + 1 WHERE id = 1")] {
        if let Some(plant) = plant {
            stand.postgres.execute(plant).await.unwrap();
            standby.until("SELECT balance = 99998 FROM accounts WHERE id = 1").await.unwrap();
        }
        let settings = [("DATABASE_URL".to_owned(), standby.owner_url())];
        let mut audit = service::command(work.path(), &settings).unwrap();
        let output = audit.arg("audit").output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.success(), plant.is_none(), "{told}");
        assert!(told.contains("Audited 3 accounts, 4 payments"), "{told}");
    }
}
