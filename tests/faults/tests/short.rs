//! Each fault for a few seconds. `make chaos` runs them for minutes.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use std::time::Duration;

use payonce_faults::faults::{self, Plan};
use payonce_faults::figures::Figures;

/// `SEED=1` repeats a run.
fn plan() -> Plan {
    let seed = std::env::var("SEED").ok().filter(|text| !text.is_empty());
    let seed = seed.map_or_else(|| u64::from(fastrand::u32(..)), |text| text.parse().unwrap());
    println!("SEED={seed}");
    Plan::short(seed)
}

fn assert_nothing_lost_and_nothing_twice(figures: &Figures) {
    println!("{}", figures.line());
    assert!(figures.violations.is_empty(), "SEED={}: {:#?}", figures.seed, figures.violations);
    let happened = [figures.times, figures.paid, figures.followed];
    assert!(happened.iter().all(|count| *count > 0), "nothing happened: {}", figures.line());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_killed_loses_nothing() {
    let figures = faults::service_killed(&plan()).await.unwrap();
    assert_nothing_lost_and_nothing_twice(&figures);
    let around = [figures.refunds, figures.requests_paid, figures.in_bulks, figures.voided];
    assert!(around.iter().all(|count| *count > 0), "nothing was done around: {}", figures.line());
    let told = [figures.heard, figures.delivered];
    assert!(told.iter().all(|count| *count > 0), "nobody was told: {}", figures.line());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_stands_still_and_goes_on_loses_nothing_and_gives_no_position_twice() {
    assert_nothing_lost_and_nothing_twice(&faults::service_paused(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_is_killed_loses_nothing() {
    assert_nothing_lost_and_nothing_twice(&faults::postgres_killed(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_stands_still_for_seconds_loses_nothing() {
    assert_nothing_lost_and_nothing_twice(&faults::postgres_paused(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_terminated_lose_nothing() {
    assert_nothing_lost_and_nothing_twice(&faults::sessions_terminated(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_to_postgres_that_fails_loses_nothing() {
    assert_nothing_lost_and_nothing_twice(&faults::wire_to_postgres(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_to_clients_that_fails_loses_nothing() {
    assert_nothing_lost_and_nothing_twice(&faults::wire_to_clients(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_sent_up_to_twenty_times_pays_once() {
    assert_nothing_lost_and_nothing_twice(&faults::duplicates(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_too_much_load_is_refused_and_loses_nothing() {
    assert_nothing_lost_and_nothing_twice(&faults::overload(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_who_holds_an_account_stops_only_its_payments() {
    assert_nothing_lost_and_nothing_twice(&faults::neighbour(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payer_whom_the_database_refuses_is_refused_alone() {
    let plan = Plan { times: 10, pause: Duration::from_millis(400), ..plan() };
    assert_nothing_lost_and_nothing_twice(&faults::refused_payer(&plan).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_windows_that_share_a_key_pay_each_draft_once() {
    assert_nothing_lost_and_nothing_twice(&faults::shared_key_store(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_lost_to_a_synchronous_standby_loses_nothing() {
    let plan = Plan { times: 2, ..plan() };
    assert_nothing_lost_and_nothing_twice(&faults::primary_lost(&plan).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_of_a_list_that_is_lost_and_comes_back_as_the_standby_loses_nothing() {
    let plan = Plan { times: 2, ..plan() };
    assert_nothing_lost_and_nothing_twice(&faults::primary_lost_of_two(&plan).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_replica_that_has_trouble_see_all_that_was_acknowledged() {
    assert_nothing_lost_and_nothing_twice(&faults::replicas_read(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_lost_while_its_standby_was_behind_loses_nothing() {
    let plan = Plan { times: 2, ..plan() };
    assert_nothing_lost_and_nothing_twice(&faults::primary_lost_behind(&plan).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_under_load_loses_nothing() {
    assert_nothing_lost_and_nothing_twice(&faults::upgrade(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_fails_at_once_loses_nothing() {
    assert_nothing_lost_and_nothing_twice(&faults::everything(&plan()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_leader_is_killed_loses_nothing() {
    let plan = Plan { times: 1, ..plan() };
    assert_nothing_lost_and_nothing_twice(&faults::cluster_leader_killed(&plan).await.unwrap());
}
