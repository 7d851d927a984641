//! The process that sends: the one whose session has the lock. Its session also notes how far each webhook is: several
//! in one statement, soon after the deliveries. What is not noted yet when it is killed is delivered once more.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::delivery::Courier;
use super::follower::{Follower, Head, Report, Shared};
use super::lease::Lease;
use super::pages::Pages;
use crate::config;
use crate::db::webhooks::{self, Endpoint, FailedAttempt, Reached};
use crate::db::{Error, PgConnection, Purpose, Target};
use crate::domain::{WebhookId, WebhookStatus};
use crate::service::election::Elected;
use crate::service::feed::Feed;
use crate::service::read_pool::ReadPool;
use crate::telemetry::metrics::METRICS;

const TASK: &str = "payonce webhooks";

/// How often a process looks whether there are webhooks, while there are none.
const LOOK_FOR_ANY_EVERY: Duration = Duration::from_secs(2);

/// How often the process that sends looks for changes that others have made, and whether its session lives.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How soon a delivery is noted; with those of other webhooks, and those that follow.
const NOTE_WITHIN: Duration = Duration::from_millis(100);

/// The same where nothing was delivered, because the payments were of other accounts.
const NOTE_PASSED_OVER_WITHIN: Duration = Duration::from_secs(1);

/// After a failure of the database's.
const PAUSE: Duration = Duration::from_millis(500);

/// Reports that may wait to be noted.
const REPORTS_MAX: usize = 1_024;

/// What a process needs to send.
pub(super) struct Context {
    pub target: Target,
    pub step_timeout: Duration,
    pub read_pool: ReadPool,
    pub feed: Feed,
    /// Operators change webhooks in this process.
    pub changed: Arc<Notify>,
}

/// The task that sends, in turn with other processes. It ends when this is dropped.
pub struct Sending {
    stop: watch::Sender<bool>,
    task: JoinSet<()>,
}

impl Sending {
    pub(super) fn start(context: Context, settings: &config::Webhooks) -> anyhow::Result<Self> {
        let courier = Arc::new(Courier::new(settings)?);
        let pauses =
            settings.pauses_seconds.iter().map(|it| Duration::from_secs((*it).into())).collect();
        let (stop, stopping) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(Sender { context, courier, pauses, stopping }.run());
        Ok(Self { stop, task })
    }

    /// Begins no more deliveries, and waits until those under way are noted, at most for `limit`.
    pub async fn finish(mut self, limit: Duration) {
        self.stop.send_replace(true);
        if timeout(limit, self.task.join_next()).await.is_err() {
            tracing::warn!("deliveries were still under way at the end of the time to stop");
        }
    }
}

struct Sender {
    context: Context,
    courier: Arc<Courier>,
    pauses: Vec<Duration>,
    stopping: watch::Receiver<bool>,
}

impl Sender {
    async fn run(mut self) {
        loop {
            let mut stopping = self.stopping.clone();
            let elected = tokio::select! {
                biased;
                _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
                elected = self.elected() => elected,
            };
            let ended = match elected {
                Ok(elected) => self.send(elected).await,
                Err(error) => Err(error),
            };
            METRICS.webhooks(Duration::ZERO, 0);
            if let Err(error) = ended {
                tracing::warn!(%error, "webhooks are told of no payments now");
                sleep(PAUSE).await;
            }
        }
    }

    /// Waits until there are webhooks and this process is the one that sends.
    async fn elected(&self) -> Result<Elected, Error> {
        let Context { target, step_timeout, .. } = &self.context;
        loop {
            self.until(true).await;
            tokio::select! {
                elected = Elected::win(target, Purpose::Send, TASK, *step_timeout) => return elected,
                () = self.until(false) => {}
            }
        }
    }

    /// Waits until there are webhooks, or until there are none.
    async fn until(&self, there_are_any: bool) {
        let Context { read_pool, changed, .. } = &self.context;
        let look = async |conn: &mut PgConnection| webhooks::is_any(conn).await;
        // That the database does not answer is for others to tell; it is asked again.
        while read_pool.try_run(look).await.ok() != Some(there_are_any) {
            tokio::select! {
                () = sleep(LOOK_FOR_ANY_EVERY) => {}
                () = changed.notified() => {}
            }
        }
    }

    /// Sends while the session lives, and there are webhooks.
    async fn send(&mut self, mut elected: Elected) -> Result<(), Error> {
        let (reports, mut reported) = mpsc::channel(REPORTS_MAX);
        let shared = Arc::new(Shared {
            pages: Pages::new(self.context.feed.clone()),
            courier: Arc::clone(&self.courier),
            lease: Lease::new(),
            pauses: self.pauses.clone(),
            reports,
        });
        let mut followers = Followers { shared, all: HashMap::new(), tasks: JoinSet::new() };
        let mut unnoted = Unnoted::default();
        let mut look_at = Instant::now();
        loop {
            let is_stopping = *self.stopping.borrow_and_update();
            if is_stopping {
                followers.let_all_go();
                if followers.all.is_empty() && unnoted.is_empty() && reported.is_empty() {
                    return Ok(());
                }
            }
            if look_at <= Instant::now() {
                let asked_at = Instant::now();
                if !elected.keep().await? {
                    return Ok(());
                }
                let endpoints = elected.step(webhooks::endpoints).await?;
                followers.shared.lease.extend(asked_at);
                if endpoints.is_empty() && followers.all.is_empty() {
                    return Ok(());
                }
                if !is_stopping {
                    followers.keep(endpoints);
                }
                look_at = later(LOOK_EVERY);
            }
            tokio::select! {
                biased;
                _ = self.stopping.changed() => {}
                Some(ended) = followers.tasks.join_next_with_id(), if !followers.all.is_empty() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    followers.all.retain(|_, it| it.task.id() != id);
                }
                Some(report) = reported.recv() => match report {
                    Report::Reached(reached) => unnoted.add(reached),
                    Report::Failed { reached, failures, why, next, due_in } => {
                        // What was reached before is in it.
                        unnoted.all.remove(&reached.id);
                        let attempt = FailedAttempt { reached, failures, why: &why, next };
                        let note = async |conn: &mut PgConnection| {
                            webhooks::note_failure(conn, &attempt).await
                        };
                        if let Some(noted) = spared(elected.step(note).await)? {
                            // It may have been told to end meanwhile.
                            let _ = due_in.send(noted);
                        }
                    }
                },
                () = sleep_until(unnoted.due), if !unnoted.is_empty() => {
                    let reached: Vec<Reached> = unnoted.all.values().copied().collect();
                    let note = async |conn: &mut PgConnection| {
                        webhooks::note_reached(conn, &reached).await
                    };
                    match spared(elected.step(note).await)? {
                        Some(()) => unnoted.all.clear(),
                        None => unnoted.due = later(PAUSE),
                    }
                }
                () = self.context.changed.notified() => look_at = Instant::now(),
                () = sleep_until(look_at) => {}
            }
        }
    }
}

/// The result of a step; `None` where it failed in a way that the session outlives, as for a lock that somebody else
/// holds: it may be tried again.
fn spared<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.spares_the_session() => {
            tracing::warn!(%error, "how far webhooks are is not noted yet");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn later(pause: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(pause).unwrap_or(now)
}

/// What is to be noted, and when.
struct Unnoted {
    /// In the order of their ids, so that two processes cannot block each other.
    all: BTreeMap<WebhookId, Reached>,
    due: Instant,
}

impl Default for Unnoted {
    fn default() -> Self {
        Self { all: BTreeMap::new(), due: Instant::now() }
    }
}

impl Unnoted {
    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn add(&mut self, reached: Reached) {
        let due = later(if reached.delivered { NOTE_WITHIN } else { NOTE_PASSED_OVER_WITHIN });
        self.due = if self.all.is_empty() { due } else { self.due.min(due) };
        let known = self.all.entry(reached.id).or_insert(reached);
        let delivered = known.delivered || reached.delivered;
        *known = Reached { delivered, ..reached };
    }
}

/// The followers of active webhooks.
struct Followers {
    shared: Arc<Shared>,
    all: HashMap<WebhookId, Following>,
    /// They end with this.
    tasks: JoinSet<()>,
}

struct Following {
    /// `None`: it ends after the delivery that is under way. Until then the webhook gets no other follower.
    endpoint: Option<watch::Sender<Arc<Endpoint>>>,
    head: Arc<Head>,
    task: AbortHandle,
}

impl Followers {
    /// Starts followers of new webhooks, tells the others of changes, and lets those go whose webhook is not active.
    fn keep(&mut self, endpoints: Vec<Endpoint>) {
        let has_failed = |it: &&Endpoint| it.status == WebhookStatus::Disabled && it.failures > 0;
        let disabled = endpoints.iter().filter(has_failed).count();
        let now = endpoints.first().map(|it| it.now).unwrap_or_default();
        let active: HashMap<WebhookId, Endpoint> = endpoints
            .into_iter()
            .filter(|endpoint| endpoint.status == WebhookStatus::Active)
            .map(|endpoint| (endpoint.id, endpoint))
            .collect();
        for (id, following) in &mut self.all {
            if !active.contains_key(id) {
                following.endpoint = None;
            }
        }
        for (id, new) in active {
            if let Some(following) = self.all.get(&id) {
                following.tell(new);
            } else {
                let following = self.start(new);
                self.all.insert(id, following);
            }
        }
        let oldest = self.all.values().map(|it| it.head.age(now)).max();
        METRICS.webhooks(oldest.unwrap_or_default(), disabled);
    }

    fn start(&mut self, endpoint: Endpoint) -> Following {
        let (endpoint, told) = watch::channel(Arc::new(endpoint));
        let head = Head::new();
        let follower = Follower::new(Arc::clone(&self.shared), Arc::clone(&head), told);
        Following { endpoint: Some(endpoint), head, task: self.tasks.spawn(follower.run()) }
    }

    fn let_all_go(&mut self) {
        self.all.values_mut().for_each(|following| following.endpoint = None);
    }
}

impl Following {
    fn tell(&self, new: Endpoint) {
        let Some(endpoint) = &self.endpoint else {
            return;
        };
        endpoint.send_if_modified(|known| {
            let is_news = new.revision != known.revision
                || new.old_secret.is_some() != known.old_secret.is_some();
            if is_news {
                *known = Arc::new(new);
            }
            is_news
        });
    }
}
