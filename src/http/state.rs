//! State that handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// A larger body is refused. The largest request that can succeed has a third of it.
pub(super) const BODY_BYTES_MAX: usize = 16_384;

/// The same for many payments at once.
pub(super) const BULK_BYTES_MAX: usize = 655_360;

/// How large a body may be on a path that takes larger ones than others.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyBytesMax(pub usize);

/// The limits that handlers and extractors need.
#[derive(Debug, Clone, Copy)]
pub(super) struct HttpLimits {
    pub body_read_timeout: Duration,
    pub page_size_max: u16,
}

/// Whether the service is about to stop: it is not ready any more, and keeps no connection.
#[derive(Debug, Clone, Default)]
pub struct Stopping {
    is_announced: Arc<AtomicBool>,
    waits_end: Arc<watch::Sender<bool>>,
}

impl Stopping {
    /// From now on it is.
    pub fn announce(&self) {
        self.is_announced.store(true, Ordering::Relaxed);
    }

    /// From now on no request waits for what may come.
    pub fn end_waits(&self) {
        self.waits_end.send_replace(true);
    }

    pub(super) fn is_announced(&self) -> bool {
        self.is_announced.load(Ordering::Relaxed)
    }

    /// Is ready when no request is to wait any longer for what may come.
    pub(super) async fn waits_end(&self) {
        // The sender is in `self`: it does not end before the wait.
        let _ = self.waits_end.subscribe().wait_for(|end| *end).await;
    }
}
