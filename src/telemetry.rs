//! What the service tells its operator: a line for each event, on standard error; and what is counted
//! and timed.

pub mod metrics;

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

use crate::config::{Format, Telemetry};

/// Starts logging.
///
/// # Errors
/// The filter is malformed.
pub fn start(settings: &Telemetry) -> Result<()> {
    let filter = EnvFilter::try_new(&settings.filter)
        .with_context(|| format!("telemetry.filter is wrong: {:?}", settings.filter))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let text = match settings.format {
        Format::Text => true,
        Format::Json => false,
        Format::Auto => std::io::stderr().is_terminal(),
    };
    if text {
        lines.with_target(false).init();
    } else {
        lines.json().init();
    }
    Ok(())
}
