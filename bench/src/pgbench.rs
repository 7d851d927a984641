//! Load without the service: pgbench, with prepared statements.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::report::{Latency, Load};
use crate::stand::{Database, Stand, command, output_of};

/// Plans through indexes, as the service makes them. The keys' table starts empty, and a plan made
/// for an empty table reads all of it, later too.
const PLANS: &str = "-c enable_seqscan=off -c enable_bitmapscan=off -c jit=off";

/// Transactions of a script.
pub struct Pgbench<'a> {
    pub script: &'a Path,
    pub variables: &'a [(&'a str, u32)],
    pub clients: u32,
    pub seconds: u32,
}

impl Pgbench<'_> {
    pub async fn run(&self, stand: &Stand, database: &Database) -> Result<Load> {
        let logs = stand.work().join("pgbench-logs");
        std::fs::create_dir(&logs)?;
        let mut pgbench = command(stand.program("pgbench"));
        pgbench
            .env("PGOPTIONS", PLANS)
            .args(["--no-vacuum", "--protocol", "prepared", "--file"])
            .arg(self.script)
            .args(["--client", &self.clients.to_string()])
            .args(["--jobs", &self.clients.min(2).to_string()])
            .args(["--time", &self.seconds.to_string()])
            // A log of all transactions costs the client time that the server then lacks.
            .args(["--log", "--sampling-rate", if self.clients > 1 { "0.1" } else { "1" }])
            .arg("--log-prefix")
            .arg(logs.join("log"));
        for (name, value) in self.variables {
            pgbench.args(["--define", &format!("{name}={value}")]);
        }
        let text = output_of(pgbench.arg(&database.url)).await?;
        let (done, failed, per_second) =
            parse(&text).with_context(|| format!("pgbench gave no result:\n{text}"))?;
        ensure!(failed == 0.0, "{failed} transactions of pgbench failed:\n{text}");

        let mut times = Vec::new();
        for entry in std::fs::read_dir(&logs)? {
            times.extend(times_in(&std::fs::read_to_string(entry?.path())?));
        }
        std::fs::remove_dir_all(&logs)?;
        Ok(Load { done, per_second, latency: Latency::of(times) })
    }
}

/// How many transactions were made, how many failed, and the rate.
fn parse(text: &str) -> Option<(f64, f64, f64)> {
    let number = |label: &str| -> Option<f64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    Some((
        number("number of transactions actually processed: ")?,
        number("number of failed transactions: ")?,
        number("tps = ")?,
    ))
}

/// The times of a log's transactions, in milliseconds.
fn times_in(log: &str) -> Vec<f64> {
    let third = |line: &str| line.split(' ').nth(2)?.parse::<f64>().ok();
    log.lines().filter_map(third).map(|us| us / 1_000.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read() {
        let text = "transaction type: pgbench.sql\n\
                    number of transactions actually processed: 1234\n\
                    number of failed transactions: 1 (0.081%)\n\
                    latency average = 2.6 ms\n\
                    tps = 3061.271 (without initial connection time)\n";
        assert_eq!(parse(text), Some((1_234.0, 1.0, 3_061.271)));
        assert_eq!(parse("pgbench: error"), None);
    }

    #[test]
    fn a_log_is_read() {
        assert_eq!(
            times_in("0 199 2241 0 1175850568 995598\n0 200 2500 0 1175850568 9\n"),
            [2.241, 2.5]
        );
    }
}
