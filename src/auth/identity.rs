//! Who a caller is, beside what he may do.

use std::sync::Arc;
use std::time::SystemTime;

use crate::domain::Caller;

/// A caller, and the name by which others know him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub caller: Caller,
    /// The `sub` of an operator's token. (That of an account's holder is the account's id.)
    pub name: Option<Arc<str>>,
    /// When the token expires; `None` where there is none.
    pub valid_until: Option<SystemTime>,
}

impl From<Caller> for Identity {
    fn from(caller: Caller) -> Self {
        Self { caller, name: None, valid_until: None }
    }
}
