//! Nothing lost, nothing twice: the service is broken on purpose, and what its clients were told is
//! compared with what its database holds.
//!
//! Faults go through the operating system and the wire: signals, and proxies between clients and
//! service and between service and Postgres. A run is fixed by its seed: amounts, accounts, keys and
//! the moments of faults. `cargo test` runs each fault for a few seconds, `make chaos` for minutes.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::integer_division,
    reason = "counts and times of runs that are bounded; a mistake stops the run, and moves no money"
)]

// Compared in the end.
pub mod checker;
pub mod ledger;
pub mod record;

// Broken on purpose.
pub mod cluster;
pub mod postgres;
pub mod proxy;
pub mod service;
pub mod wire;

// Its users meanwhile.
pub mod client;
pub mod receiver;
pub mod recorder;

pub mod faults;
pub mod figures;
pub mod stand;
