//! The configuration: `config/settings.rs` has all that can be set, `range.rs` the types of numbers, `list.rs` the
//! form of lists; `check.rs` compares settings, `load.rs` finds their values. A setting that is wrong, unknown, or
//! there but empty stops the start, and is named.

mod check;
mod list;
mod load;
mod range;
mod settings;

pub use range::{Count, Millis, Seconds, Within, milliseconds};
pub use settings::{
    Auth, AuthMode, Database, Format, History, Live, Page, Prune, RateLimit, ReadFrom, Server,
    Settings, SignatureAlgorithm, Telemetry, Webhooks, Writer,
};
