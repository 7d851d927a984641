//! Breaks the service on purpose, and checks that nothing is lost and nothing is done twice.

pub mod checker;
pub mod ledger;
pub mod record;
