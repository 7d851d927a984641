//! Each fault for a few seconds. `make chaos` runs them for minutes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

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
    assert!(figures.times > 0 && figures.paid > 0, "nothing happened: {}", figures.line());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_killed_loses_nothing() {
    assert_nothing_lost_and_nothing_twice(&faults::service_killed(&plan()).await.unwrap());
}
