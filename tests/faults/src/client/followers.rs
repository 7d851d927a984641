//! Programs that follow the ledger: they read the feed, wait for what comes next, and go on from the position that they have
//! read up to, whichever process answers.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde::Deserialize;

use super::{ANSWER_MAX, World, is_definite, outcome_of};
use crate::record::{FeedRead, Outcome};

/// Payments that one request asks for at most.
const LIMIT_MAX: u32 = 1_000;

/// How long a request waits for the next payment, at most.
const WAIT_MS_MAX: u64 = 1_000;

/// How many of a hundred requests are left by their follower before the answer.
const VANISH_PERCENT: u8 = 5;

/// The pause after a request that came to nothing.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Follower {
    world: Arc<World>,
    client: u32,
    rng: Rng,
    http: reqwest::Client,
    /// What has been read up to.
    position: u64,
}

/// What a follower needs of a page to go on.
#[derive(Deserialize)]
struct Page {
    next: u64,
}

impl Follower {
    pub fn new(world: &Arc<World>, client: u32, rng: Rng) -> Self {
        let (world, http) = (Arc::clone(world), reqwest::Client::new());
        Self { world, client, rng, http, position: 0 }
    }

    /// Reads up to the end of the feed, once there is one.
    pub async fn run(mut self) {
        let mut ending = None;
        loop {
            if self.world.end_of_feed.get().is_some_and(|end| self.position >= end.last) {
                return;
            }
            if self.world.has_waited_long(&mut ending) {
                return self.world.recorder.give_up();
            }
            if !self.read().await {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Asks for what comes next. `false`: that came to nothing.
    async fn read(&mut self) -> bool {
        let place = self.rng.usize(0..self.world.doors.len());
        let (door, after) = (self.world.doors[place], self.position);
        let (limit, wait_ms) = (self.rng.u32(1..=LIMIT_MAX), self.rng.u64(0..=WAIT_MS_MAX));
        let query = format!("after={after}&limit={limit}&wait_ms={wait_ms}");
        let vanishes = self.rng.u8(0..100) < VANISH_PERCENT;
        let stay =
            if vanishes { Duration::from_micros(self.rng.u64(0..20_000)) } else { ANSWER_MAX };
        let outcome = outcome_of(self.http.get(format!("http://{door}/feed?{query}")), stay).await;
        if !is_definite(&outcome) {
            return false;
        }
        if let Outcome::Done { body, .. } = &outcome
            && let Ok(page) = serde_json::from_str::<Page>(body)
        {
            self.position = page.next;
        }
        let (client, next) = (self.client, self.position);
        let has_come = next > after;
        // Where nothing came there is nothing to be checked.
        if has_come || !matches!(&outcome, Outcome::Done { body, .. } if body.starts_with(EMPTY)) {
            self.world.recorder.feed(FeedRead { client, after, next, outcome });
        }
        has_come
    }
}

/// The begin of a page without payments.
const EMPTY: &str = r#"{"payments":[],"#;
