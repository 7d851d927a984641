//! Servers: those that a URL names, and what this process has seen of them. One takes writes, the primary; after a
//! failover it is another one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::postgres::PgConnectOptions;

use super::unfit::Unfit;

/// The servers of one cluster.
pub(super) struct Servers {
    list: Vec<PgConnectOptions>,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    /// The place in the list of the one that took writes last.
    pub primary: Option<usize>,
    /// The number of times that it has been another one: sessions of an earlier term are with a server that was
    /// overtaken.
    term: u32,
    /// Its timeline: each promotion begins a new one, with a larger number.
    timeline: u32,
    pub system: Option<i64>,
}

impl Servers {
    pub fn new(list: Vec<PgConnectOptions>) -> Self {
        Self { list, seen: Mutex::default() }
    }

    pub fn list(&self) -> &[PgConnectOptions] {
        &self.list
    }

    /// The role of every session.
    pub fn role(&self) -> &str {
        self.list.first().map(PgConnectOptions::get_username).unwrap_or_default()
    }

    /// Changes when another server is seen to be the primary.
    pub fn term(&self) -> u32 {
        self.seen().term
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        *self.lock()
    }

    /// Notes that a server is the primary, and returns the term.
    pub fn accept(&self, place: usize, timeline: u32, system: i64) -> Result<u32, Unfit> {
        let mut seen = self.lock();
        if seen.system.is_some_and(|seen| seen != system) {
            return Err(Unfit::OtherCluster);
        }
        if timeline < seen.timeline {
            return Err(Unfit::Overtaken { timeline, newest: seen.timeline });
        }
        let before = (seen.primary, seen.timeline);
        if before != (Some(place), timeline) {
            if seen.primary.is_some() {
                seen.term = seen.term.wrapping_add(1);
                tracing::info!(
                    server = self.name(place),
                    timeline,
                    "another server is the primary"
                );
            }
            *seen = Seen { primary: Some(place), timeline, system: Some(system), term: seen.term };
        }
        Ok(seen.term)
    }

    /// `host:port`, for people.
    pub fn name(&self, place: usize) -> String {
        self.list.get(place).map(name).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(server: &PgConnectOptions) -> String {
    let port = server.get_port();
    match server.get_socket() {
        Some(socket) => format!("{}:{port}", socket.display()),
        None if server.get_host().contains(':') => format!("[{}]:{port}", server.get_host()),
        None => format!("{}:{port}", server.get_host()),
    }
}
