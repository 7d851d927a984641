//! `make load`: k6's scripts, each of which asks at a fixed rate however slow the answers are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::arena::{ACCOUNTS, seed};
use crate::knobs::Knobs;
use crate::report::{self, decimals};
use crate::stand::{SCRIPTS, Stand, command, output_of};
use crate::{Verdict, results};

const COMMAND: &str = "make load";

const ALL: [&str; 5] = ["steady", "hot_payee", "retries", "scroll", "spike"];

/// The result of one script.
struct Outcome {
    script: &'static str,
    kept: bool,
    figures: Figures,
}

pub async fn run(knobs: &Knobs) -> Result<Verdict> {
    let scripts: Vec<&str> = match &knobs.script {
        None => ALL.to_vec(),
        Some(wanted) => ALL.into_iter().filter(|script| script == wanted).collect(),
    };
    ensure!(!scripts.is_empty(), "SCRIPT is one of {}", ALL.join(", "));
    let checkout = Path::new(SCRIPTS).join("..");
    let k6 = output_of(&mut Command::new(checkout.join("scripts/k6"))).await?;
    let k6 = PathBuf::from(k6.trim());

    let (stand, setting) = Stand::new().await?;
    println!("{}", results::circumstances(COMMAND, &setting));
    let database = stand.database("payonce");
    seed(&database).await?;
    let service = stand.serve(&database).await?;
    let mut outcomes = Vec::new();
    for script in scripts {
        let summary = stand.work().join(format!("{script}.json"));
        let output = command(&k6)
            // Its garbage collector makes stalls that look like the service's.
            .envs([("GOGC", "off"), ("GOMEMLIMIT", "1GiB")])
            .args(["run", "--quiet", "--no-usage-report", "--summary-export"])
            .arg(&summary)
            .args(["-e", &format!("ORIGIN={}", service.origin)])
            .args(["-e", &format!("ACCOUNTS={ACCOUNTS}")])
            .arg(checkout.join(format!("tests/load/{script}.js")))
            .output()
            .await?;
        let kept = output.status.success();
        println!("{script}: {}", if kept { "kept" } else { "MISSED" });
        if !kept {
            let said = [output.stdout, output.stderr].concat();
            println!("{}\n{}", String::from_utf8_lossy(&said), service.said());
        }
        let text = std::fs::read_to_string(&summary).context("k6 made no summary")?;
        let figures = Figures::read(&text).context("k6's summary is not understood")?;
        outcomes.push(Outcome { script, kept, figures });
    }
    service.stop().await?;
    database.audit().await?;
    println!("The audit after all scripts is clean.");
    stand.stop()?;

    let head = [
        "script",
        "requests/s",
        "payments: p50 ms",
        "p95 ms",
        "p99 ms",
        "histories: p50 ms",
        "p95 ms",
        "p99 ms",
        "dropped",
        "checks failed",
        "thresholds",
    ];
    let cells: Vec<Vec<String>> = outcomes.iter().map(Outcome::cells).collect();
    let text = format!(
        "{}\nRequests arrive at a fixed rate, so that waiting is measured and not hidden. The \
         thresholds are those of the scripts in `tests/load`.\n\n{}",
        results::circumstances(COMMAND, &setting),
        report::table(&head, &cells)
    );
    println!("\n{text}");
    if knobs.write_results() {
        results::write(COMMAND, &text)?;
    }
    let kept = outcomes.iter().all(|outcome| outcome.kept);
    Ok(if kept { Verdict::Kept } else { Verdict::Missed })
}

impl Outcome {
    fn cells(&self) -> Vec<String> {
        let Figures { rate, payments, histories, dropped, failed } = &self.figures;
        let mut cells = vec![self.script.to_owned(), decimals(*rate)];
        for times in [payments, histories] {
            // A script that makes no such request has none.
            cells.extend(times.map_or_else(Default::default, |times| times.map(decimals)));
        }
        cells.extend([dropped.to_string(), failed.to_string()]);
        cells.push(if self.kept { "kept" } else { "MISSED" }.to_owned());
        cells
    }
}

#[derive(Debug, PartialEq)]
struct Figures {
    rate: f64,
    /// The milliseconds of p50, p95 and p99.
    payments: Option<[f64; 3]>,
    histories: Option<[f64; 3]>,
    dropped: f64,
    failed: f64,
}

impl Figures {
    /// From the file that `--summary-export` writes.
    fn read(summary: &str) -> Option<Self> {
        let summary: Value = serde_json::from_str(summary).ok()?;
        let metrics = summary.get("metrics")?;
        let number = |metric: &str, of: &str| metrics.get(metric)?.get(of)?.as_f64();
        let times = |name: &str| {
            let metric = format!("http_req_duration{{name:{name}}}");
            let [p50, p95, p99] = ["med", "p(95)", "p(99)"].map(|of| number(&metric, of));
            Some([p50?, p95?, p99?])
        };
        Some(Self {
            rate: number("http_reqs", "rate")?,
            payments: times("send_payment"),
            histories: times("payment_history"),
            // k6 leaves out counts of zero.
            dropped: number("dropped_iterations", "count").unwrap_or_default(),
            failed: number("checks", "fails").unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let summary = r#"{"metrics": {
            "http_reqs": {"count": 3000, "rate": 99.5},
            "checks": {"passes": 3000, "fails": 2, "value": 0.9},
            "http_req_duration{name:send_payment}":
                {"med": 1.5, "p(95)": 2.5, "p(99)": 3.5, "max": 9, "thresholds": {"p(99)<50": false}}
        }}"#;
        let expected = Figures {
            rate: 99.5,
            payments: Some([1.5, 2.5, 3.5]),
            histories: None,
            dropped: 0.0,
            failed: 2.0,
        };
        assert_eq!(Figures::read(summary), Some(expected));
        assert_eq!(Figures::read("{}"), None);
    }
}
