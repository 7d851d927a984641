//! Load over HTTP, from wrk.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::report::{Latency, Load};
use crate::stand::{SCRIPTS, Service, command, output_of};

/// Payments in a request of [`Requests::Bulk`].
pub const IN_ONE_BULK: u32 = 50;

/// The requests of a run.
#[derive(Debug, Clone)]
pub enum Requests {
    /// Payments from any of the accounts to any other, with new keys.
    Uniform { accounts: u32 },
    /// The same, many in each request; each counts.
    Bulk { accounts: u32 },
    /// Payments from any of the accounts to account 1, with new keys.
    OnePayee { accounts: u32 },
    /// The newest page of any account.
    Histories { accounts: u32 },
    /// One path, again and again.
    Path(String),
}

/// How many ask at once, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    pub threads: u32,
    pub connections: u32,
    pub seconds: u32,
}

/// Asks the service. Every answer must be a success.
pub async fn run(service: &Service, requests: &Requests, crowd: Crowd) -> Result<Load> {
    let (kind, path) = match requests {
        Requests::Uniform { .. } => ("uniform", ""),
        Requests::Bulk { .. } => ("bulk", ""),
        Requests::OnePayee { .. } => ("one-payee", ""),
        Requests::Histories { .. } => ("histories", ""),
        Requests::Path(path) => ("url", path.as_str()),
    };
    let mut wrk = command("wrk");
    wrk.args(["--threads", &crowd.threads.to_string()])
        .args(["--connections", &crowd.connections.to_string()])
        .args(["--duration", &format!("{}s", crowd.seconds)])
        .arg("--script")
        .arg(Path::new(SCRIPTS).join("requests.lua"))
        .arg(format!("{}{path}", service.origin))
        .args(["--", kind]);
    match requests {
        Requests::Uniform { accounts }
        | Requests::Bulk { accounts }
        | Requests::OnePayee { accounts } => {
            // With wrk's own part a key is as long as a UUID.
            wrk.args([run_name(), accounts.to_string()]).args(&service.tokens);
        }
        Requests::Histories { accounts } => {
            wrk.arg(accounts.to_string());
        }
        Requests::Path(_) => {}
    }
    let text = output_of(&mut wrk).await?;
    let (load, failed) = parse(&text).with_context(|| format!("wrk gave no result:\n{text}"))?;
    if failed > 0.0 {
        bail!("{failed} requests were not answered with 200:\n{text}\n{}", service.said());
    }
    if matches!(requests, Requests::Bulk { .. }) {
        let in_one = f64::from(IN_ONE_BULK);
        return Ok(Load { done: load.done * in_one, per_second: load.per_second * in_one, ..load });
    }
    Ok(load)
}

/// 23 characters that no other run has.
pub fn run_name() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(23).collect()
}

/// The script's line, and how many requests failed.
fn parse(text: &str) -> Option<(Load, f64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("result "))?;
    let numbers: Vec<f64> = line.split(' ').map_while(|field| field.parse().ok()).collect();
    let [done, failed, per_second, p50, p95, p99] = *numbers.as_slice() else {
        return None;
    };
    let [p50, p95, p99] = [p50, p95, p99].map(|us| us / 1_000.0);
    Some((Load { done, per_second, latency: Latency { p50, p95, p99 } }, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_line_is_found() {
        let text = "Running 1s test\n  Requests/sec: 1\nresult 15000 2 14990.5 31000 40000 55500\n";
        let latency = Latency { p50: 31.0, p95: 40.0, p99: 55.5 };
        let load = Load { done: 15_000.0, per_second: 14_990.5, latency };
        assert_eq!(parse(text), Some((load, 2.0)));
        assert_eq!(parse("result 1 2 3\n"), None);
        assert_eq!(parse("unable to connect"), None);
    }
}
