//! A wire of a chosen length: what goes in at one end comes out at the other a fixed time later, in both
//! directions. Its threads sleep to some 0.1 ms, which the timers of an async runtime do not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Pieces that are under way at a time, in one direction of a connection.
const UNDER_WAY_MAX: usize = 10_000;

const PIECE_BYTES: usize = 64 << 10;

/// Postgres answers this with one byte, before anybody has said who they are (`SSLRequest`).
const PING: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

const PINGS: usize = 21;

/// Leads from an address on loopback to a server's socket, until the process ends.
pub struct Distance {
    pub address: SocketAddr,
    one_way_us: Arc<AtomicU64>,
}

/// Bytes, when they set out, and how long they are to be under way.
type Piece = (Instant, Duration, Vec<u8>);

impl Distance {
    pub fn to(socket: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let distance =
            Self { address: listener.local_addr()?, one_way_us: Arc::new(AtomicU64::new(0)) };
        let one_way_us = Arc::clone(&distance.one_way_us);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // An end that is not there is seen as a connection that ends.
                let _ = connect(near, &socket, &one_way_us);
            }
        });
        Ok(distance)
    }

    /// How long there and back takes from now on.
    pub fn set(&self, round_trip: Duration) -> Result<()> {
        let one_way_us = u64::try_from(round_trip.as_micros())?.div_euclid(2);
        self.one_way_us.store(one_way_us, Ordering::Relaxed);
        Ok(())
    }

    /// The median of what there and back takes now, with the server's answer, in milliseconds.
    pub fn measure_ms(&self) -> Result<f64> {
        let mut times = Vec::new();
        for _ in 0..PINGS {
            let mut wire = TcpStream::connect(self.address)?;
            wire.set_nodelay(true)?;
            // The server starts a process for it first.
            thread::sleep(Duration::from_millis(20));
            let asked = Instant::now();
            wire.write_all(&PING)?;
            wire.read_exact(&mut [0])?;
            times.push(asked.elapsed());
        }
        times.sort_unstable();
        let median = times.get(PINGS.div_euclid(2)).copied().unwrap_or_default();
        ensure!(!median.is_zero(), "no time was measured");
        Ok(median.as_secs_f64() * 1_000.0)
    }
}

fn connect(near: TcpStream, socket: &Path, one_way_us: &Arc<AtomicU64>) -> Result<()> {
    near.set_nodelay(true)?;
    let far = UnixStream::connect(socket)?;
    let (near_end, far_end) = (near.try_clone()?, far.try_clone()?);
    let ended = move || {
        let _ = near_end.shutdown(Shutdown::Both);
        let _ = far_end.shutdown(Shutdown::Both);
    };
    carry(near.try_clone()?, far.try_clone()?, Arc::clone(one_way_us), ended);
    carry(far, near, Arc::clone(one_way_us), || ());
    Ok(())
}

/// One direction.
fn carry(
    from: impl Read + Send + 'static,
    to: impl Write + Send + 'static,
    one_way_us: Arc<AtomicU64>,
    ended: impl FnOnce() + Send + 'static,
) {
    let (enter, leave) = sync_channel(UNDER_WAY_MAX);
    thread::spawn(move || take_in(from, &enter, &one_way_us));
    thread::spawn(move || {
        give_out(to, &leave);
        ended();
    });
}

fn take_in(mut from: impl Read, enter: &SyncSender<Piece>, one_way_us: &AtomicU64) {
    let mut bytes = vec![0; PIECE_BYTES];
    loop {
        let count = match from.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let one_way = Duration::from_micros(one_way_us.load(Ordering::Relaxed));
        let bytes = bytes.get(..count).unwrap_or_default().to_vec();
        if enter.send((Instant::now(), one_way, bytes)).is_err() {
            return;
        }
    }
}

fn give_out(mut to: impl Write, leave: &Receiver<Piece>) {
    for (set_out, one_way, bytes) in leave {
        thread::sleep(one_way.saturating_sub(set_out.elapsed()));
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn bytes_arrive_in_their_order_and_not_before_their_time() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("echo");
        let listener = UnixListener::bind(&socket)?;
        thread::spawn(move || {
            let (mut echo, _) = listener.accept()?;
            std::io::copy(&mut echo.try_clone()?, &mut echo)
        });
        let distance = Distance::to(socket)?;
        let round_trip = Duration::from_millis(40);
        distance.set(round_trip)?;
        let mut wire = TcpStream::connect(distance.address)?;
        let asked = Instant::now();
        wire.write_all(b"one after the other")?;
        let mut echoed = [0; 19];
        wire.read_exact(&mut echoed)?;
        assert_eq!(&echoed, b"one after the other");
        assert!(asked.elapsed() >= round_trip);
        Ok(())
    }
}
