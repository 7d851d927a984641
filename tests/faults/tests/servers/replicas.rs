//! Reads on replicas: each includes every payment that was acknowledged before it was asked for, whatever the replicas
//! are like.

use super::*;

/// The settings with which replicas are read.
fn reading(servers: &[&Postgres]) -> Settings {
    let mut settings = listing(servers);
    settings.push(("PAYONCE_DATABASE__READ_FROM".to_owned(), "replicas".to_owned()));
    settings
}

/// How many reads were answered by a kind of server.
async fn reads(service: &Service, server: &str) -> u64 {
    value(service, &format!("payonce_reads_total{{server=\"{server}\"}} ")).await
}

/// How many were passed over for a reason.
async fn passed_over(service: &Service, reason: &str) -> u64 {
    value(service, &format!("payonce_replicas_passed_over_total{{reason=\"{reason}\"}} ")).await
}

async fn value(service: &Service, metric: &str) -> u64 {
    let text = reqwest::get(format!("{}/metrics", service.origin)).await.unwrap().text().await;
    let text = text.unwrap();
    text.lines().find_map(|line| line.strip_prefix(metric)).unwrap().parse().unwrap()
}

/// Pays, and reads at once: account, history, by key.
async fn assert_fresh(service: &Service, round: i64) {
    assert_eq!(pay(service, &format!("round-{round}")).await, 200);
    assert_shows(service, round).await;
}

async fn assert_shows(service: &Service, round: i64) {
    assert_eq!(balance(service, 2).await, 1_000 + round);
    let (_, page) = get(service, "/payment_history/2?limit=1").await;
    assert_eq!(page[0]["balance_after"], 1_000 + round);
    let by_key = format!("/payments?from=1&idempotency_key=round-{round}");
    assert_eq!(get(service, &by_key).await.0, 200);
}

/// Awaits that a replica answers.
async fn until_a_replica_is_read(service: &Service) {
    let before = reads(service, "replica").await;
    let is_read = async || {
        balance(service, 2).await;
        Ok(reads(service, "replica").await > before)
    };
    testbed::until("a replica is read", PATIENCE, is_read).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_on_a_replica_show_every_payment_that_was_acknowledged_before() {
    let work = work();
    let (primary, standby) = pair(&work).await;
    let service = service_with_accounts(&work, &reading(&[&primary, &standby])).await;
    until_a_replica_is_read(&service).await;
    for round in 1..=30 {
        assert_fresh(&service, round).await;
    }
    assert!(reads(&service, "replica").await > reads(&service, "primary").await);
    assert_eq!(passed_over(&service, "hidden").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_has_acknowledged_another_one_shows() {
    let work = work();
    let (primary, standby) = pair(&work).await;
    let settings = reading(&[&standby, &primary]);
    let pays = service_with_accounts(&work, &settings).await;
    let reader = serve(&work, &settings);
    until_a_replica_is_read(&reader).await;
    for round in 1..=30 {
        assert_eq!(pay(&pays, &format!("round-{round}")).await, 200);
        assert_shows(&reader, round).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_replays_nothing_is_passed_over_until_it_does() {
    let work = work();
    let (primary, standby) = pair(&work).await;
    let service = service_with_accounts(&work, &reading(&[&primary, &standby])).await;
    until_a_replica_is_read(&service).await;
    standby.execute("SELECT pg_wal_replay_pause()").await.unwrap();
    standby.until("SELECT pg_get_wal_replay_pause_state() = 'paused'").await.unwrap();
    for round in 1..=5 {
        assert_fresh(&service, round).await;
    }
    assert!(passed_over(&service, "behind").await > 0);
    standby.execute("SELECT pg_wal_replay_resume()").await.unwrap();
    until_a_replica_is_read(&service).await;
    assert_fresh(&service, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stands_still_or_has_gone_is_passed_over() {
    let work = work();
    let (primary, mut standby) = pair(&work).await;
    let service = service_with_accounts(&work, &reading(&[&primary, &standby])).await;
    until_a_replica_is_read(&service).await;
    let paused = standby.pause().unwrap();
    assert_fresh(&service, 1).await;
    paused.resume();
    standby.kill().unwrap();
    assert_fresh(&service, 2).await;
    assert!(passed_over(&service, "broken").await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_cut_off_from_the_primary_is_passed_over() {
    let work = work();
    let (primary, standby) = pair(&work).await;
    let service = service_with_accounts(&work, &reading(&[&primary, &standby])).await;
    until_a_replica_is_read(&service).await;
    standby.execute("ALTER SYSTEM SET primary_conninfo = 'host=/nowhere'").await.unwrap();
    standby.execute("SELECT pg_reload_conf()").await.unwrap();
    standby.until("SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)").await.unwrap();
    for round in 1..=3 {
        assert_fresh(&service, round).await;
    }
    assert!(passed_over(&service, "follows_nobody").await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_follows_a_promoted_copy_is_passed_over() {
    let work = work();
    let (primary, copy) = pair(&work).await;
    let cascaded = copy.standby("cascaded").await.unwrap();
    let service = service_with_accounts(&work, &reading(&[&primary, &cascaded])).await;
    until_a_replica_is_read(&service).await;
    // By somebody who wanted to try something: the copy's log gets ahead of the primary's.
    copy.promote().unwrap();
    copy.execute("CREATE TABLE tried AS SELECT generate_series(1, 100000)").await.unwrap();
    cascaded.until("SELECT to_regclass('tried') IS NOT NULL").await.unwrap();
    for round in 1..=3 {
        assert_fresh(&service, round).await;
    }
    assert!(passed_over(&service, "other_timeline").await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_another_cluster_is_passed_over() {
    let work = work();
    let (primary, _) = pair(&work).await;
    let (_other, mut stranger) = pair(&work).await;
    let settings = reading(&[&primary, &stranger]);
    stranger.kill().unwrap();
    let service = service_with_accounts(&work, &settings).await;
    stranger.start().await.unwrap();
    for round in 1..=3 {
        assert_fresh(&service, round).await;
    }
    assert_eq!(reads(&service, "replica").await, 0);
    assert!(passed_over(&service, "broken").await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_from_an_older_backup_is_passed_over_until_it_has_caught_up() {
    let work = work();
    let (primary, mut standby) = pair(&work).await;
    let settings = reading(&[&primary, &standby]);
    standby.kill().unwrap();
    let service = service_with_accounts(&work, &settings).await;
    for round in 1..=20 {
        assert_fresh(&service, round).await;
    }
    // It has been away for all of that.
    standby.start().await.unwrap();
    for round in 21..=30 {
        assert_fresh(&service, round).await;
    }
    until_a_replica_is_read(&service).await;
    assert_shows(&service, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_promotion_the_other_replica_is_read_once_it_follows() {
    let work = work();
    let (mut primary, first) = pair(&work).await;
    let mut second = primary.standby("second").await.unwrap();
    let service = service_with_accounts(&work, &reading(&[&primary, &first, &second])).await;
    assert_fresh(&service, 1).await;
    for standby in [&first, &second] {
        standby.until("SELECT balance = 1001 FROM accounts WHERE id = 2").await.unwrap();
    }
    primary.kill().unwrap();
    first.promote().unwrap();
    pay_in_the_end(&service, "round-2").await;
    assert_shows(&service, 2).await;
    second.follow(&first, "second").await.unwrap();
    for round in 3..=6 {
        assert_fresh(&service, round).await;
    }
    until_a_replica_is_read(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_primary_is_away_nobody_vouches_for_a_replica() {
    let work = work();
    let (mut primary, standby) = pair(&work).await;
    let service = service_with_accounts(&work, &reading(&[&primary, &standby])).await;
    until_a_replica_is_read(&service).await;
    primary.kill().unwrap();
    assert_eq!(get(&service, "/accounts/2").await.0, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_following_is_hidden_is_passed_over() {
    let work = work();
    let (primary, standby) = pair(&work).await;
    primary
        .execute("CREATE ROLE of_no_rights; ALTER FUNCTION followed_timeline OWNER TO of_no_rights")
        .await
        .unwrap();
    let service = service_with_accounts(&work, &reading(&[&primary, &standby])).await;
    assert_fresh(&service, 1).await;
    assert_eq!(reads(&service, "replica").await, 0);
    assert!(passed_over(&service, "hidden").await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moment_that_is_over_is_told_by_the_primary_and_one_server_alone_has_no_replicas() {
    let work = work();
    let (primary, standby) = pair(&work).await;
    assert_refused(&work, &reading(&[&primary]), "serve", &["database.read_from"]);
    let service = service_with_accounts(&work, &reading(&[&primary, &standby])).await;
    assert_fresh(&service, 1).await;
    let url = format!("{}/accounts/2/statement", service.origin);
    let asked = reqwest::Client::new().get(url).header("accept", "application/json");
    let statement: Value = asked.send().await.unwrap().json().await.unwrap();
    assert_eq!(statement["closing_balance"], 1_001, "{statement}");
}
