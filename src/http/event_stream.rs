//! Server-Sent Events (the HTML standard, section 9.2): events as they come, with a comment now and then between them, so
//! that nobody on the way takes the connection for a dead one.
//!
//! The web framework does not tell an answer under way that its client has gone away: a client may close its sending half
//! and go on reading. But it looks after the answer then, although that has nothing to say. Such a look is answered with
//! a comment, and soon with another: where nobody reads any more, the second cannot be written, and the connection ends.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::web::Bytes;
use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep};

/// From the last bytes to a comment.
const COMMENT_AFTER: Duration = Duration::from_secs(15);

/// From a comment that asks whether the client is there to the next one.
const COMMENT_AGAIN_AFTER: Duration = Duration::from_millis(500);

const COMMENT: Bytes = Bytes::from_static(b": \n\n");

/// An answer is cut off: its client is not to take it for a whole one.
#[derive(Debug)]
pub(super) struct CutOff;

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it was cut off")
    }
}

impl Error for CutOff {}

/// Events as text, with comments between them.
pub(super) struct EventStream<S> {
    events: Pin<Box<S>>,
    comment: Pin<Box<Sleep>>,
    /// It had nothing to say when it was looked after last.
    is_waiting: bool,
    /// Whether it is being found out that the client is there.
    asks: bool,
}

impl<S> EventStream<S> {
    pub fn new(events: S) -> Self {
        let comment = Box::pin(sleep(COMMENT_AFTER));
        Self { events: Box::pin(events), comment, is_waiting: false, asks: false }
    }

    fn comment_after(&mut self, pause: Duration) {
        if let Some(at) = Instant::now().checked_add(pause) {
            self.comment.as_mut().reset(at);
        }
    }
}

impl<S: Stream<Item = Result<Bytes, CutOff>>> Stream for EventStream<S> {
    type Item = Result<Bytes, CutOff>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = self.get_mut();
        let was_waiting = std::mem::take(&mut stream.is_waiting);
        if let Poll::Ready(event) = stream.events.as_mut().poll_next(cx) {
            stream.comment_after(COMMENT_AFTER);
            return Poll::Ready(event);
        }
        if stream.comment.as_mut().poll(cx).is_ready() {
            stream.asks = false;
            stream.comment_after(COMMENT_AFTER);
            return Poll::Ready(Some(Ok(COMMENT)));
        }
        if was_waiting && !stream.asks {
            stream.asks = true;
            stream.comment_after(COMMENT_AGAIN_AFTER);
            return Poll::Ready(Some(Ok(COMMENT)));
        }
        stream.is_waiting = true;
        Poll::Pending
    }
}
