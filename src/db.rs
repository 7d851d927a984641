//! SQL and nothing else. Each function takes a connection; who begins and commits is decided by the
//! writers in `service`.
//!
//! | phase of a batch | statement |
//! |---|---|
//! | lock | [`posting::lock_accounts`]: `SELECT ... FOR UPDATE`, in id order |
//! | read | [`posting::read_keys`]: a later statement, so its snapshot is younger than the locks |
//! | write | [`posting::write`]: balances, payments and keys in one statement |
//!
//! Refunds, requests for money, voided keys and the like take a statement more, in the batches that have them.

pub mod accounts;
pub mod audit;
mod connect;
pub mod election;
mod error;
pub mod feed;
pub mod health;
pub mod history;
pub mod live;
pub mod migrate;
pub mod numbering;
pub mod past;
pub mod payment_requests;
pub mod payments;
pub mod posting;
pub mod pruning;
pub mod replicas;
pub mod schema;
mod timestamp;
pub mod webhooks;

pub use connect::{
    DEFAULT_SCHEMA, DatabaseUrl, Malformed, Manager, Open, Pool, Purpose, Target, Unfit, connect,
    pool, replica_pools,
};
pub use error::{Error, ErrorKind};
pub use sqlx::PgConnection;
