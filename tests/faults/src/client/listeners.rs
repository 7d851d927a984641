//! Pages that show an account's payments as they are made: they listen to its events, and go on from the last that they
//! have heard when a connection ends, at whichever process answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use reqwest::Response;

use super::{EVERYBODYS, World};
use crate::record::{Heard, field_of};

/// A connection on which nothing comes for so long is given up: a comment comes every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// The same when all payments have been made.
const SILENCE_MAX_AT_THE_END: Duration = Duration::from_secs(2);

/// How often a listener looks whether it has heard everything.
const LOOK: Duration = Duration::from_millis(100);

/// Events after which a listener goes away, at most, and comes again.
const EVENTS_MAX: usize = 500;

/// The pause before it comes again.
const PAUSE: Duration = Duration::from_millis(20);

/// Listens to the events of the account that everybody pays.
pub(super) struct Listener {
    world: Arc<World>,
    client: u32,
    rng: Rng,
    http: reqwest::Client,
    /// The position that was heard last.
    position: Option<u64>,
}

impl Listener {
    pub fn new(world: &Arc<World>, client: u32, rng: Rng) -> Self {
        let (world, http) = (Arc::clone(world), reqwest::Client::new());
        Self { world, client, rng, http, position: None }
    }

    /// Listens until it has heard the account's last payment, once there is one.
    pub async fn run(mut self) {
        let mut ending = None;
        while !self.has_heard_all() {
            if self.world.has_waited_long(&mut ending) {
                return self.world.recorder.give_up();
            }
            self.listen().await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn has_heard_all(&self) -> bool {
        let end = self.world.end_of_feed.get();
        end.is_some_and(|end| self.position.is_some_and(|position| position >= end.everybodys))
    }

    /// Listens on one connection, and writes down what it has heard.
    async fn listen(&mut self) {
        let place = self.rng.usize(0..self.world.doors.len());
        let url = format!("http://{}/accounts/{EVERYBODYS}/events", self.world.doors[place]);
        let mut request = self.http.get(url);
        if let Some(position) = self.position {
            request = request.header("Last-Event-ID", position);
        }
        let Ok(Ok(response)) = tokio::time::timeout(SILENCE_MAX, request.send()).await else {
            return;
        };
        if response.status() != 200 {
            return;
        }
        let after = self.position;
        let mut events = Vec::new();
        self.take(response, &mut events).await;
        if !events.is_empty() {
            let (client, account) = (self.client, EVERYBODYS);
            self.world.recorder.heard(Heard { client, account, after, events });
        }
    }

    async fn take(&mut self, mut response: Response, events: &mut Vec<String>) {
        let most = self.rng.usize(1..=EVENTS_MAX);
        let (mut text, mut last) = (Vec::new(), Instant::now());
        while events.len() < most && !self.has_heard_all() {
            let is_the_end = self.world.end_of_feed.get().is_some();
            let silence_max = if is_the_end { SILENCE_MAX_AT_THE_END } else { SILENCE_MAX };
            match tokio::time::timeout(LOOK, response.chunk()).await {
                Ok(Ok(Some(bytes))) => text.extend_from_slice(&bytes),
                Ok(_) => return,
                Err(_) if last.elapsed() > silence_max => return,
                Err(_) => continue,
            }
            last = Instant::now();
            // What is left has no end yet.
            while let Some(event) = testbed::take_event(&mut text) {
                let event = String::from_utf8_lossy(&event).into_owned();
                // Others are comments, or say why it ends.
                if let Some(position) = field_of(&event, "id").and_then(|id| id.parse().ok()) {
                    self.position = Some(position);
                    events.push(event);
                }
            }
        }
    }
}
