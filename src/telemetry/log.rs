//! The log's way to standard error: lines wait in one bounded buffer, and a thread of its own writes
//! all that wait at once. A slow reader of the log never delays a payment.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::metrics::METRICS;

/// Lines that wait, and those that are being written. More are dropped and counted, as are lines that cannot be
/// written.
const BYTES_MAX: usize = 3 << 20;

/// A buffer keeps so much of its room once its lines are written.
const BYTES_KEPT: usize = 64 << 10;

/// The first line that waits is written so much later, with all that have come meanwhile: at full load
/// a write, and a thread that is woken, for some hundred lines.
const GATHERING: Duration = Duration::from_millis(5);

/// How long the last lines may take at the end.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Where lines are left for the thread that writes them.
pub(super) struct Log {
    state: Mutex<State>,
    /// The first line waits, or the end has begun.
    woken: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    bytes_being_written: usize,
    is_ending: bool,
    has_ended: bool,
}

impl Log {
    /// # Errors
    /// The thread cannot be had.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let log = Arc::new(Self {
            state: Mutex::default(),
            woken: Condvar::new(),
            ended: Condvar::new(),
        });
        let written = Arc::clone(&log);
        thread::Builder::new().name("log".to_owned()).spawn(move || written.write_to(out))?;
        Ok(log)
    }

    /// No code can panic while it holds this lock, so a poisoned one is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves one line.
    pub fn line(&self, line: &[u8]) {
        let mut state = self.state();
        let bytes = state.waiting.len().saturating_add(state.bytes_being_written);
        if bytes.saturating_add(line.len()) > BYTES_MAX {
            drop(state);
            METRICS.dropped_lines(1);
            return;
        }
        let is_first = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if is_first {
            self.woken.notify_one();
        }
    }

    fn write_to(&self, mut out: impl Write) {
        let mut bundle = Vec::new();
        loop {
            let state = self.state();
            let waits = |state: &mut State| state.waiting.is_empty() && !state.is_ending;
            let state = self.woken.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
            let gathers = |state: &mut State| !state.is_ending;
            let (mut state, _) = self
                .woken
                .wait_timeout_while(state, GATHERING, gathers)
                .unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() {
                state.has_ended = true;
                self.ended.notify_all();
                return;
            }
            std::mem::swap(&mut state.waiting, &mut bundle);
            state.bytes_being_written = bundle.len();
            drop(state);
            METRICS.dropped_lines(write_whole(&mut out, &bundle));
            bundle.clear();
            bundle.shrink_to(BYTES_KEPT);
            self.state().bytes_being_written = 0;
        }
    }

    /// Has what waits written, if somebody takes it in time.
    pub fn end(&self) {
        let mut state = self.state();
        state.is_ending = true;
        self.woken.notify_one();
        let waits = |state: &mut State| !state.has_ended;
        drop(self.ended.wait_timeout_while(state, END_TIMEOUT, waits));
    }
}

/// Writes all of it, and returns how many lines could not be written. Standard error may be shared with a
/// program that has made it one that does not wait.
fn write_whole(out: &mut impl Write, mut bundle: &[u8]) -> usize {
    while !bundle.is_empty() {
        match out.write(bundle) {
            Ok(count @ 1..) => bundle = bundle.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(GATHERING),
            Ok(0) | Err(_) => break,
        }
    }
    // There is nobody else to tell of an error.
    let _ = out.flush();
    bundle.split_inclusive(|byte| *byte == b'\n').count()
}

/// For `tracing_subscriber`, which writes a line at a time.
impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
