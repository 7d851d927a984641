//! The service as its users meet it: real processes, real HTTP, a real Postgres with a database
//! for each test. `make test` runs it; see `harness` for what it needs.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::integer_division,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

mod harness;
mod server;

// The brief's four concepts.
mod atomicity;
mod idempotency;
mod locks;
mod pagination;

// Around a payment: given back, asked for, stopped, warned of; and who takes part.
mod account_status;
mod asked_by;
mod bulk;
mod names;
mod payment_requests;
mod refunds;
mod similar;
mod voided_keys;

mod accounts;
mod audit;
mod auth;
mod backup;
mod certainty;
mod database_urls;
mod deployment;
mod errors;
mod feed;
mod health;
mod hostile_input;
mod house;
mod limits;
mod live;
mod metrics;
mod openapi;
mod page;
mod plans;
mod playground;
mod pruning;
mod right_ledger;
mod rights;
mod startup;
mod statements;
mod stopping;
mod telemetry;
mod upgrade;
mod webhooks;
