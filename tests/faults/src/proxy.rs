//! A wire that fails: a proxy on loopback whose connections meet the faults that are drawn for them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wire::Watch;

const CHUNK_BYTES: usize = 16 * 1024;

/// How long a connection is kept on which nothing is forwarded.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The pause after each piece of a connection that trickles.
const TRICKLE_PAUSE: Duration = Duration::from_millis(1);

/// Where connections lead.
#[derive(Debug, Clone)]
pub enum Upstream {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// Nobody is there.
    Nowhere,
}

/// The fate of a connection.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Cut after so many bytes of what the client sends.
    CutGoing(usize),
    /// Cut after so many bytes of what it is sent.
    CutComing(usize),
    /// After so many bytes in one direction nothing is forwarded in either, and nobody is told.
    Silence(usize),
    /// Everything comes later, by at most this.
    Delay(Duration),
    /// Everything comes in pieces of so many bytes.
    Trickle(usize),
    /// To Postgres: cut within the COMMIT of this number, so that it never arrives.
    CommitUnsent(u32),
    /// Cut when that COMMIT has been sent, whatever becomes of it.
    CommitSent(u32),
    /// Cut when Postgres has answered that COMMIT, before the answer arrives.
    CommitUnanswered(u32),
    /// Cut towards the client within that COMMIT, which arrives all the same, only later.
    CommitHeld(u32, Duration),
}

/// Draws the fault of a new connection, or none.
pub type Weather = fn(&mut Rng) -> Option<Fault>;

/// No faults.
#[must_use]
pub fn calm(_: &mut Rng) -> Option<Fault> {
    None
}

/// How often each fault has happened.
#[derive(Debug, Default)]
pub struct Counts {
    pub connections: AtomicU64,
    pub cut: AtomicU64,
    pub silenced: AtomicU64,
    pub delayed: AtomicU64,
    pub trickled: AtomicU64,
    /// COMMITs that Postgres has answered, and whose answer was cut.
    pub commits_unanswered: AtomicU64,
    /// COMMITs that were cut before, within or after being sent.
    pub commits_in_doubt: AtomicU64,
}

impl Counts {
    /// All faults together.
    #[must_use]
    pub fn faults(&self) -> u64 {
        let Self {
            connections: _,
            cut,
            silenced,
            delayed,
            trickled,
            commits_unanswered,
            commits_in_doubt,
        } = self;
        [cut, silenced, delayed, trickled, commits_unanswered, commits_in_doubt]
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

struct Shared {
    route: Mutex<Route>,
    rng: Mutex<Rng>,
    /// Faults that were drawn and have not happened yet do not happen any more.
    is_calm: AtomicBool,
    /// Changes when all connections are to be cut.
    epoch: watch::Sender<u64>,
    counts: Counts,
}

struct Route {
    upstream: Upstream,
    weather: Weather,
}

impl Shared {
    fn route(&self) -> MutexGuard<'_, Route> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, which: impl FnOnce(&Counts) -> &AtomicU64) {
        which(&self.counts).fetch_add(1, Ordering::Relaxed);
    }
}

pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// # Errors
    /// No port is free.
    pub async fn start(upstream: Upstream, rng: Rng) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            route: Mutex::new(Route { upstream, weather: calm }),
            rng: Mutex::new(rng),
            is_calm: AtomicBool::new(true),
            epoch: watch::Sender::new(0),
            counts: Counts::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// The fault that new connections meet from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.shared.route().weather = weather;
        self.shared.is_calm.store(false, Ordering::Relaxed);
    }

    /// Ends all faults. Connections that may have met one are cut.
    pub fn clear(&self) {
        self.shared.route().weather = calm;
        if !self.shared.is_calm.swap(true, Ordering::Relaxed) {
            self.cut_all();
        }
    }

    /// Where new connections lead from now on; those that exist stay as they are.
    pub fn lead_to(&self, upstream: Upstream) {
        self.shared.route().upstream = upstream;
    }

    pub fn cut_all(&self) {
        self.shared.epoch.send_modify(|epoch| *epoch = epoch.wrapping_add(1));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut_all();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Too many files are open: some will be closed.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        shared.count(|counts| &counts.connections);
        let (upstream, weather) = {
            let route = shared.route();
            (route.upstream.clone(), route.weather)
        };
        let fault = weather(&mut shared.rng.lock().unwrap_or_else(PoisonError::into_inner));
        let link = Link {
            shared: Arc::clone(&shared),
            fault,
            commits: AtomicU32::new(0),
            is_silent: AtomicBool::new(false),
        };
        tokio::spawn(async move { link.serve(client, upstream).await });
    }
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

async fn connect(upstream: &Upstream) -> std::io::Result<(Reader, Writer)> {
    match upstream {
        Upstream::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (reader, writer) = stream.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
        Upstream::Unix(path) => {
            let (reader, writer) = UnixStream::connect(path).await?.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
        Upstream::Nowhere => Err(std::io::ErrorKind::ConnectionRefused.into()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Going,
    Coming,
}

/// One connection.
struct Link {
    shared: Arc<Shared>,
    fault: Option<Fault>,
    /// How many COMMITs were sent.
    commits: AtomicU32,
    is_silent: AtomicBool,
}

/// The fate of a connection after a piece.
enum Then {
    GoOn,
    Cut,
    Silence,
    Hold(Duration),
}

/// How one direction ended.
enum End {
    /// Its sender has no more to send.
    Closed,
    Cut,
    /// The rest is to be sent when the time has passed.
    Held(Vec<u8>, Duration),
}

impl Link {
    async fn serve(&self, client: TcpStream, upstream: Upstream) {
        let mut epoch = self.shared.epoch.subscribe();
        let _ = client.set_nodelay(true);
        let Ok((mut from_server, mut to_server)) = connect(&upstream).await else {
            return;
        };
        let (mut from_client, mut to_client) = client.into_split();
        let held = {
            let going = self.pump(Direction::Going, &mut from_client, &mut to_server);
            let coming = self.pump(Direction::Coming, &mut from_server, &mut to_client);
            tokio::pin!(going, coming);
            let run = async {
                tokio::select! {
                    end = &mut going => match end {
                        // Its answer may still be on its way.
                        End::Closed => { coming.await; None }
                        End::Cut => None,
                        End::Held(rest, pause) => Some((rest, pause)),
                    },
                    _ = &mut coming => None,
                }
            };
            tokio::select! {
                held = run => held,
                _ = epoch.changed() => None,
            }
        };
        drop((from_client, to_client));
        if let Some((rest, pause)) = held {
            tokio::time::sleep(pause).await;
            let _ = to_server.write_all(&rest).await;
        }
    }

    async fn pump(
        &self,
        direction: Direction,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> End {
        let mut watch = match direction {
            Direction::Going => Watch::for_commits(),
            Direction::Coming => Watch::for_answers_to_commits(),
        };
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut passed: usize = 0;
        loop {
            let bytes = match from.read(&mut buffer).await {
                Ok(0) => {
                    let _ = to.shutdown().await;
                    return End::Closed;
                }
                Ok(length) => &buffer[..length],
                Err(_) => return End::Cut,
            };
            let (length, then) = self.judge(direction, passed, bytes, &mut watch);
            passed += bytes.len();
            let (now, rest) = bytes.split_at(length.min(bytes.len()));
            if self.is_silent.load(Ordering::Relaxed) {
                return self.keep_silent().await;
            }
            if self.forward(now, to).await.is_err() {
                return End::Cut;
            }
            match then {
                Then::GoOn => {}
                Then::Cut => return End::Cut,
                Then::Silence => {
                    self.is_silent.store(true, Ordering::Relaxed);
                    return self.keep_silent().await;
                }
                Then::Hold(pause) => return End::Held(rest.to_owned(), pause),
            }
        }
    }

    async fn keep_silent(&self) -> End {
        tokio::time::sleep(SILENCE_MAX).await;
        End::Cut
    }

    /// How much of these bytes is forwarded, and what then.
    fn judge(
        &self,
        direction: Direction,
        passed: usize,
        bytes: &[u8],
        watch: &mut Watch,
    ) -> (usize, Then) {
        let all = (bytes.len(), Then::GoOn);
        let Some(fault) = self.fault else {
            return all;
        };
        if self.shared.is_calm.load(Ordering::Relaxed) {
            return all;
        }
        let is_due = |after: usize| after < passed + bytes.len();
        match (fault, direction) {
            (Fault::CutGoing(after), Direction::Going)
            | (Fault::CutComing(after), Direction::Coming)
                if is_due(after) =>
            {
                self.shared.count(|counts| &counts.cut);
                (after - passed, Then::Cut)
            }
            (Fault::Silence(after), _) if is_due(after) => {
                if !self.is_silent.load(Ordering::Relaxed) {
                    self.shared.count(|counts| &counts.silenced);
                }
                (after.saturating_sub(passed), Then::Silence)
            }
            (Fault::Delay(_), Direction::Going) if passed == 0 => {
                self.shared.count(|counts| &counts.delayed);
                all
            }
            (Fault::Trickle(_), Direction::Going) if passed == 0 => {
                self.shared.count(|counts| &counts.trickled);
                all
            }
            (
                Fault::CommitUnsent(number)
                | Fault::CommitSent(number)
                | Fault::CommitHeld(number, _),
                Direction::Going,
            ) => {
                let Some(end) = watch.read(bytes) else {
                    return all;
                };
                if self.commits.fetch_add(1, Ordering::Relaxed) + 1 < number {
                    return all;
                }
                self.shared.count(|counts| &counts.commits_in_doubt);
                match fault {
                    Fault::CommitSent(_) => (end, Then::Cut),
                    Fault::CommitHeld(_, pause) => (end - 1, Then::Hold(pause)),
                    _ => (end - 1, Then::Cut),
                }
            }
            (Fault::CommitUnanswered(number), Direction::Coming) => {
                let Some(end) = watch.read(bytes) else {
                    return all;
                };
                if self.commits.fetch_add(1, Ordering::Relaxed) + 1 < number {
                    return all;
                }
                self.shared.count(|counts| &counts.commits_unanswered);
                (end - 1, Then::Cut)
            }
            _ => all,
        }
    }

    async fn forward(
        &self,
        bytes: &[u8],
        to: &mut (impl AsyncWrite + Unpin),
    ) -> std::io::Result<()> {
        if self.shared.is_calm.load(Ordering::Relaxed) {
            return to.write_all(bytes).await;
        }
        match self.fault {
            Some(Fault::Delay(most)) => {
                tokio::time::sleep(most.mul_f64(fastrand::f64())).await;
                to.write_all(bytes).await
            }
            Some(Fault::Trickle(piece_bytes)) => {
                for piece in bytes.chunks(piece_bytes.max(1)) {
                    to.write_all(piece).await?;
                    tokio::time::sleep(TRICKLE_PAUSE).await;
                }
                Ok(())
            }
            _ => to.write_all(bytes).await,
        }
    }
}
