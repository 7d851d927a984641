//! State that handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
pub struct Stopping(Arc<AtomicBool>);

impl Stopping {
    /// From now on it is.
    pub fn announce(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_announced(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
