//! Faults on demand, and a cluster of three servers: the playground's alone.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::harness::{Answer, App, Home, payment};

#[tokio::test]
async fn a_session_that_is_killed_before_commit_leaves_both_balances_as_they_were() {
    let home = Home::new();
    let app = home.start();
    let crash = app.post("/playground/crash", &payment(1, 2, 500, "k")).await;
    assert_eq!(crash.status, 200, "{}", crash.text);
    let untouched = json!({"from": 100_000, "to": 100_000});
    assert_eq!(crash.json["before"], untouched);
    assert_eq!(crash.json["written"], json!({"from": 99_500, "to": 100_500}));
    assert_eq!(crash.json["after"], untouched);
    assert_ne!(crash.json["error"], "");

    // The retry of a good client.
    app.pay(1, 2, 500, "k").await.assert_paid();
    assert_eq!((app.balance(1).await, app.balance(2).await), (99_500, 100_500));
    drop(app);
    assert!(home.audit());
}

#[tokio::test]
async fn what_would_not_be_written_is_refused_and_not_crashed() {
    let home = Home::new();
    let app = home.start();
    app.pay(1, 2, 500, "paid").await.assert_paid();
    let crash = async |body| app.post("/playground/crash", &body).await;
    crash(payment(1, 2, 500, "paid")).await.assert_problem(422, "idempotency_key_reused");
    crash(payment(1, 2, 100_001, "k")).await.assert_problem(422, "insufficient_funds");
    crash(payment(1, 99, 1, "k")).await.assert_problem(404, "account_not_found");
    crash(payment(99, 1, 1, "k")).await.assert_problem(404, "account_not_found");
    crash(payment(1, 1, 1, "k")).await.assert_problem(422, "same_account");
}

#[tokio::test]
async fn a_ledger_on_one_server_has_no_leader_to_lose_and_says_what_has() {
    let home = Home::new();
    let app = home.start();
    let cluster = app.get("/playground/cluster").await;
    assert_eq!(cluster.status, 200, "{}", cluster.text);
    assert_eq!((&cluster.json["servers"], &cluster.json["leader"]), (&json!([]), &json!(null)));
    let failover = Answer::of(app.request("POST", "/playground/failover")).await;
    assert_eq!((failover.status, &failover.json["killed"]), (200, &json!(null)));
    for answer in [cluster, failover] {
        assert!(answer.json["obstacle"].as_str().unwrap().contains("make cluster"));
    }
    assert!(home.postgres_runs());
}

#[tokio::test]
async fn the_service_that_is_deployed_knows_no_such_route() {
    let app = App::start().await;
    app.open_many(2, 1_000).await;
    let crash = app.post("/playground/crash", &payment(1, 2, 500, "k")).await;
    crash.assert_problem(404, "not_found");
    app.get("/playground/cluster").await.assert_problem(404, "not_found");
    let failover = Answer::of(app.request("POST", "/playground/failover")).await;
    failover.assert_problem(404, "not_found");
    assert_eq!(app.balance(1).await, 1_000);
    let document = app.get("/openapi.json").await.json;
    assert!(!document.to_string().contains("/playground/"));
}

/// What `make cluster` starts.
struct Cluster {
    process: Child,
    /// Where its two services listen.
    origins: [String; 2],
    /// The port of one of its servers.
    port: u16,
}

impl Cluster {
    /// Starts it, and waits until it says who leads.
    fn start(home: &Home) -> Self {
        let mut command = home.command();
        command.arg("cluster").env("PAYONCE_CLUSTER_DIR", home.data_dir());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut told = String::new();
        for line in lines {
            let is_last = line.contains(" leads");
            told.extend([line.as_str(), "\n"]);
            if is_last {
                break;
            }
        }
        let mut origins = told.split_whitespace().filter(|word| word.starts_with("http://"));
        let mut origin = || origins.next().unwrap_or_else(|| panic!("no services: {told}")).into();
        let origins = [origin(), origin()];
        let port = told.split_once("db1 on port ").unwrap().1.split_once(',').unwrap().0;
        Self { process, origins, port: port.parse().unwrap() }
    }

    fn runs(&self) -> bool {
        let ports = self.origins.iter().map(|it| it.rsplit_once(':').unwrap().1.parse().unwrap());
        ports.chain([self.port]).any(|port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            let _ = kill_process(Pid::from_child(&self.process), Signal::INT);
            let _ = self.process.wait();
        }
    }
}

#[tokio::test]
async fn a_cluster_whose_program_was_killed_starts_again_with_what_was_paid_and_ends_with_it() {
    let home = Home::new();
    let http = reqwest::Client::new();
    let mut cluster = Cluster::start(&home);
    for (number, origin) in cluster.origins.iter().enumerate() {
        let pay = http.put(format!("{origin}/send_payment"));
        let pay = pay.json(&payment(1, 2, 500, &format!("k{number}")));
        assert_eq!(pay.send().await.unwrap().status(), 200);
    }
    // It cannot tell anybody any more.
    cluster.process.kill().unwrap();
    drop(cluster);

    let mut cluster = Cluster::start(&home);
    for origin in &cluster.origins {
        for key in ["k0", "k1"] {
            let paid = http.get(format!("{origin}/payments?from=1&idempotency_key={key}"));
            assert_eq!(paid.send().await.unwrap().status(), 200);
        }
    }
    kill_process(Pid::from_child(&cluster.process), Signal::INT).unwrap();
    assert!(cluster.process.wait().unwrap().success());
    assert!(!cluster.runs(), "something of it goes on");
}
