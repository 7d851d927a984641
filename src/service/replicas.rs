//! Reads on replicas, as fresh as on the primary: the primary is asked how far its log is on the disk, and a replica that
//! shows all of that answers. It includes every payment that was acknowledged, to anybody, before the read was asked for.
//!
//! Reads that come while the primary is asked share the next question. A replica that is passed over rests for a while, so
//! that not every read waits for it in vain.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::queue::{Inbox, Queue, Ticket};
use super::sessions::{Lease, Sessions};
use crate::config::{Settings, milliseconds};
use crate::db::replicas::{self, LogPosition, Reached};
use crate::db::{Error, PgConnection, Pool, Target};
use crate::telemetry::metrics::METRICS;

/// Reads that share one question to the primary.
const READS_MAX: usize = 1_024;

/// How long a replica rests that was passed over: because it does not answer, or for another reason.
const REST_OF_BROKEN: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_secs(1);

/// How long a replica may take to give a session, or to say how far it is; it is asked no more than that.
const ANSWER_MAX: Duration = Duration::from_millis(250);

/// The pause before a replica that is behind is asked again: it grows with each.
const POLL_FIRST: Duration = Duration::from_micros(200);
const POLL_LONGEST: Duration = Duration::from_millis(5);

/// The replicas of a list, and how the primary is asked.
pub(super) struct Replicas {
    target: Target,
    positions: Queue<(), Option<LogPosition>>,
    /// Ends with it.
    _asking: JoinSet<()>,
    all: Vec<Replica>,
    /// The one in turn.
    next: AtomicUsize,
    wait_max: Duration,
    read_max: Duration,
}

struct Replica {
    place: usize,
    pool: Pool,
    rests_until: Mutex<Option<Instant>>,
}

/// Why a replica was passed over, as the metrics call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PassedOver {
    Behind,
    Broken,
    FollowsNobody,
    OtherTimeline,
    Hidden,
}

impl PassedOver {
    const ALL: [Self; 5] =
        [Self::Behind, Self::Broken, Self::FollowsNobody, Self::OtherTimeline, Self::Hidden];

    fn name(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Broken => "broken",
            Self::FollowsNobody => "follows_nobody",
            Self::OtherTimeline => "other_timeline",
            Self::Hidden => "hidden",
        }
    }
}

impl Replicas {
    /// The pools are those of all servers of the target's list. The primary's stays empty. The primary's answer, and then a
    /// replica's, may take `read_max`.
    pub fn start(
        target: &Target,
        pools: Vec<Pool>,
        primary: Sessions,
        read_max: Duration,
        settings: &Settings,
    ) -> Self {
        METRICS.reasons_to_pass_replicas_over(PassedOver::ALL.map(PassedOver::name));
        let (positions, inbox) = Queue::bounded(settings.writer.queue_max.get(), read_max);
        let mut asking = JoinSet::new();
        asking.spawn(ask_the_primary(inbox, primary, read_max));
        let replica = |(place, pool)| Replica { place, pool, rests_until: Mutex::default() };
        Self {
            target: target.clone(),
            positions,
            _asking: asking,
            all: pools.into_iter().enumerate().map(replica).collect(),
            next: AtomicUsize::default(),
            wait_max: milliseconds(settings.database.replica_wait_ms_max),
            read_max,
        }
    }

    /// Of all servers.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.all.iter().map(|replica| &replica.pool)
    }

    /// Reads on a replica; `None` where none can answer in time, and the primary is to.
    pub async fn read<T>(
        &self,
        read: &impl AsyncFn(&mut PgConnection) -> Result<T, Error>,
    ) -> Option<T> {
        let ready = self.ready();
        if ready.is_empty() {
            return None;
        }
        let position = self.positions.submit(()).await.ok()??;
        let began = Instant::now();
        for replica in ready {
            let limit = self.wait_max.saturating_sub(began.elapsed());
            let answer = timeout(self.read_max, replica.read(position, limit, read)).await;
            match answer.unwrap_or(Err(PassedOver::Broken)) {
                Ok((found, waited)) => {
                    METRICS.replica_wait(waited);
                    return Some(found);
                }
                Err(why) => {
                    replica.rest(why);
                    METRICS.replica_passed_over(why.name());
                }
            }
        }
        None
    }

    /// The replicas that may be asked, beginning with another one each time.
    fn ready(&self) -> Vec<&Replica> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.all.len());
        let (before, after) = self.all.split_at(turn.unwrap_or_default());
        let may_be_asked = |it: &&Replica| it.has_rested() && !self.target.is_primary(it.place);
        after.iter().chain(before).filter(may_be_asked).collect()
    }
}

impl Replica {
    /// Waits until it shows everything up to a position, and reads.
    async fn read<T>(
        &self,
        position: LogPosition,
        limit: Duration,
        read: &impl AsyncFn(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<(T, Duration), PassedOver> {
        let began = Instant::now();
        let leased = timeout(limit.max(ANSWER_MAX), Lease::of(&self.pool)).await;
        let mut session = leased.map_err(broken)?.map_err(broken)?;
        let conn = session.conn().ok_or(PassedOver::Broken)?;
        let mut pause = POLL_FIRST;
        let why = loop {
            let asked = timeout(ANSWER_MAX, replicas::reached(conn, position)).await;
            match asked.map_err(broken)?.map_err(broken)? {
                Reached::All => {
                    let waited = began.elapsed();
                    let found = read(conn).await.map_err(broken)?;
                    session.give_back();
                    return Ok((found, waited));
                }
                Reached::Behind if began.elapsed() < limit => {
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(POLL_LONGEST);
                }
                Reached::Behind => break PassedOver::Behind,
                Reached::FollowsNobody => break PassedOver::FollowsNobody,
                Reached::OtherTimeline => break PassedOver::OtherTimeline,
                Reached::Hidden => break PassedOver::Hidden,
            }
        };
        session.give_back();
        Err(why)
    }

    fn has_rested(&self) -> bool {
        self.rests_until().is_none_or(|until| until <= Instant::now())
    }

    fn rest(&self, why: PassedOver) {
        let rest = if why == PassedOver::Broken { REST_OF_BROKEN } else { REST };
        *self.rests_until() = Instant::now().checked_add(rest);
    }

    fn rests_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.rests_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason for the metrics, and the error for who looks closer.
fn broken(error: impl std::fmt::Display) -> PassedOver {
    tracing::debug!(%error, "a replica is passed over");
    PassedOver::Broken
}

/// Answers all who ask how far the log is with one question to the primary, which began after they asked.
async fn ask_the_primary(
    mut inbox: Inbox<(), Option<LogPosition>>,
    primary: Sessions,
    limit: Duration,
) {
    loop {
        let mut tickets = Vec::new();
        if inbox.recv_many(&mut tickets, READS_MAX).await == 0 {
            return;
        }
        tickets.retain(Ticket::take);
        let flushed = async |conn: &mut PgConnection| replicas::flushed(conn).await;
        let asked = timeout(limit, primary.twice(&flushed)).await;
        let position = asked.ok().and_then(Result::ok);
        tickets.into_iter().for_each(|ticket| ticket.answer(position));
    }
}
