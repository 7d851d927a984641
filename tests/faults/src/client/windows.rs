//! People who have the page open in two windows. What they want to pay is a *draft*: it is made once, with
//! its key, and stored where both windows find it, before anybody asks for it. Either window asks for
//! what is stored, and stands still now and then at the worst moment: the other one goes on meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{Manner, PATIENCE, PAUSE_LONGEST, World, is_definite};
use crate::record::{Draft, Intent};

/// How many times of a hundred a window stands still, at each moment where it may.
const SUSPEND_PERCENT: u8 = 8;

/// The longest that it does, unless the run ends before.
const SUSPENDED_MAX: Duration = Duration::from_millis(1_500);

/// How many of a hundred answers are not read, because the window stands still.
const UNREAD_PERCENT: u8 = 10;

pub(super) struct Person {
    windows: [Window; 2],
}

struct Window {
    world: Arc<World>,
    client: u32,
    rng: Rng,
    manner: Manner,
    http: reqwest::Client,
    store: Arc<Store>,
    suspensions: Arc<AtomicU64>,
}

/// The store that the windows of a person share. Each change is one step: it is read and written under its
/// lock.
#[derive(Default)]
struct Store(Mutex<Stored>);

#[derive(Default)]
struct Stored {
    open: Option<Open>,
    /// The intents that were sent of each draft until now.
    asked: Vec<Vec<Intent>>,
}

/// A draft that has no answer yet.
#[derive(Clone)]
struct Open {
    /// Its place among all drafts of this person.
    place: usize,
    intent: Intent,
    since: Instant,
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The draft that is open, or the next one.
    fn open(&self, next: impl FnOnce(usize) -> Intent) -> Open {
        let mut stored = self.lock();
        if let Some(open) = &stored.open {
            return open.clone();
        }
        let place = stored.asked.len();
        let open = Open { place, intent: next(place), since: Instant::now() };
        stored.asked.push(Vec::new());
        stored.open = Some(open.clone());
        open
    }

    fn is_open(&self) -> bool {
        self.lock().open.is_some()
    }

    fn note(&self, Open { place, intent, .. }: &Open) {
        let asked = &mut self.lock().asked[*place];
        if !asked.contains(intent) {
            asked.push(intent.clone());
        }
    }

    /// There is an answer. Where the other window had it first, another draft may be open by now.
    fn end(&self, place: usize) {
        let mut stored = self.lock();
        if stored.open.as_ref().is_some_and(|open| open.place == place) {
            stored.open = None;
        }
    }
}

impl Person {
    pub fn new(
        world: &Arc<World>,
        client: u32,
        rng: &mut Rng,
        manner: &Manner,
        suspensions: &Arc<AtomicU64>,
    ) -> Self {
        let store = Arc::default();
        let mut window = || Window {
            world: Arc::clone(world),
            client,
            rng: rng.fork(),
            manner: manner.clone(),
            http: reqwest::Client::new(),
            store: Arc::clone(&store),
            suspensions: Arc::clone(suspensions),
        };
        Self { windows: [window(), window()] }
    }

    pub async fn run(self) {
        let [one, other] = self.windows;
        let (world, store) = (Arc::clone(&one.world), Arc::clone(&one.store));
        tokio::join!(one.run(), other.run());
        for intents in std::mem::take(&mut store.lock().asked) {
            world.recorder.draft(Draft { intents });
        }
    }
}

impl Window {
    async fn run(mut self) {
        while !self.world.is_stopping() || self.store.is_open() {
            let (manner, rng) = (&self.manner, &mut self.rng);
            let run = self.world.run;
            let client = self.client;
            let draft = self.store.open(|place| {
                manner.intent(rng, format!("{run:x}-{client}-draft-{place}"), place as u64)
            });
            // It knows the draft, and has not sent it.
            self.stand_still().await;
            self.store.note(&draft);
            let (door, stay) = (self.door(), self.stay());
            let outcome = self.world.ask(&self.http, door, client, &draft.intent, stay).await;
            // It has the answer, and has stored nothing.
            self.stand_still().await;
            if is_definite(&outcome) {
                self.store.end(draft.place);
            } else if draft.since.elapsed() > PATIENCE {
                self.world.recorder.give_up();
                self.store.end(draft.place);
            }
            let pause = PAUSE_LONGEST.min(Duration::from_millis(self.manner.pause_ms_max));
            tokio::time::sleep(pause.mul_f64(self.rng.f64())).await;
        }
    }

    fn door(&mut self) -> std::net::SocketAddr {
        let place = self.rng.usize(0..self.world.doors.len());
        self.world.doors[place]
    }

    fn stay(&mut self) -> Duration {
        if self.rng.u8(0..100) < UNREAD_PERCENT {
            Duration::from_micros(self.rng.u64(0..20_000))
        } else {
            self.manner.answer_max
        }
    }

    async fn stand_still(&mut self) {
        if self.rng.u8(0..100) >= SUSPEND_PERCENT || self.world.is_stopping() {
            return;
        }
        self.suspensions.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(SUSPENDED_MAX.mul_f64(self.rng.f64())).await;
    }
}
