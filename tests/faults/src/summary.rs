//! What a long run amounted to, for `docs/reliability.md`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use payonce_faults::figures::{Claim, Figures};
use time::OffsetDateTime;

const BEGIN: &str = "<!-- make chaos: begin -->";
const END: &str = "<!-- make chaos: end -->";

const PAID_MIN: u64 = 100_000;
/// Refunds, paid requests, payments in bulks and voided keys, of each.
const ERRANDS_MIN: u64 = 1_000;
/// Each payment is given to every follower.
const FOLLOWED_MIN: u64 = 100_000;
const HEARD_MIN: u64 = 10_000;
const DELIVERED_MIN: u64 = 10_000;
const COMMITS_UNANSWERED_MIN: u64 = 50;
const TIMES_MIN: u64 = 10;
/// Making a standby takes its time, and so does losing a leader for certain.
const STANDBYS_MIN: u64 = 3;

/// Of all faults.
pub struct Totals {
    paid: u64,
    refunds: u64,
    requests_paid: u64,
    in_bulks: u64,
    voided: u64,
    asked: u64,
    reads: u64,
    followed: u64,
    heard: u64,
    delivered: u64,
    commits_unanswered: u64,
    violations: usize,
    claims_missed: usize,
    took: Duration,
}

impl Totals {
    pub fn of(all: &[Figures], took: Duration) -> Self {
        let claims = all.iter().flat_map(|figures| &figures.claims);
        Self {
            paid: all.iter().map(|figures| figures.paid).sum(),
            refunds: all.iter().map(|figures| figures.refunds).sum(),
            requests_paid: all.iter().map(|figures| figures.requests_paid).sum(),
            in_bulks: all.iter().map(|figures| figures.in_bulks).sum(),
            voided: all.iter().map(|figures| figures.voided).sum(),
            asked: all.iter().map(|figures| figures.asked).sum(),
            reads: all.iter().map(|figures| figures.reads).sum(),
            followed: all.iter().map(|figures| figures.followed).sum(),
            delivered: all.iter().map(|figures| figures.delivered).sum(),
            heard: all.iter().map(|figures| figures.heard).sum(),
            commits_unanswered: all.iter().map(|figures| figures.commits_unanswered).sum(),
            violations: all.iter().map(|figures| figures.violations.len()).sum(),
            claims_missed: claims.filter(|claim| !claim.is_kept()).count(),
            took,
        }
    }

    /// Whether enough has happened to say something.
    pub fn are_enough(&self, all: &[Figures]) -> bool {
        let often = |figures: &Figures| {
            let takes_long = ["the primary is lost", "a cluster"];
            let takes_long = takes_long.iter().any(|begin| figures.fault.starts_with(begin));
            figures.times >= if takes_long { STANDBYS_MIN } else { TIMES_MIN }
        };
        let errands = [self.refunds, self.requests_paid, self.in_bulks, self.voided];
        self.paid >= PAID_MIN
            && errands.iter().all(|count| *count >= ERRANDS_MIN)
            && self.followed >= FOLLOWED_MIN
            && self.heard >= HEARD_MIN
            && self.delivered >= DELIVERED_MIN
            && self.commits_unanswered >= COMMITS_UNANSWERED_MIN
            && all.iter().all(often)
    }

    pub fn line(&self) -> String {
        format!(
            "{} payments acknowledged ({} refunds, {} of requests for money, {} in bulks), {} keys voided, \
             {} requests to pay, {} pages and balances read, {} positions of the feed followed, {} payments heard of, {} delivered by a webhook, {} COMMITs whose \
             answer was cut, {} violations, {} claims missed, in {:.1} minutes",
            thousands(self.paid),
            thousands(self.refunds),
            thousands(self.requests_paid),
            thousands(self.in_bulks),
            thousands(self.voided),
            thousands(self.asked),
            thousands(self.reads),
            thousands(self.followed),
            thousands(self.heard),
            thousands(self.delivered),
            self.commits_unanswered,
            self.violations,
            self.claims_missed,
            self.took.as_secs_f64() / 60.0,
        )
    }
}

/// One claim, for people.
pub fn line_of(claim: &Claim) -> String {
    let Claim { what, figure, most } = claim;
    let verdict = if claim.is_kept() { "kept" } else { "MISSED" };
    format!("{what}: {figure:.2}, at most {most}: {verdict}")
}

pub fn section(all: &[Figures], totals: &Totals) -> String {
    let today = OffsetDateTime::now_utc().date();
    let postgres = all.first().map(|figures| figures.postgres.as_str()).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let rows: String = all.iter().map(row).collect();
    let claims = all.iter().flat_map(|figures| {
        figures.claims.iter().map(|claim| format!("- {}: {}\n", figures.fault, line_of(claim)))
    });
    let claims: String = claims.collect();
    let violations = all.iter().flat_map(|figures| {
        figures.violations.iter().map(|violation| format!("- {}: {violation}\n", figures.fault))
    });
    let violations: String = violations.collect();
    let violations = if violations.is_empty() {
        String::new()
    } else {
        format!("\nViolations:\n\n{violations}")
    };
    format!(
        "`make chaos` on {today}, payonce {}, {postgres}, {cores} cores shared with the clients: {}.\n\n\
         | fault | times | payments | requests | asked again | replayed | no answer | refused | slowest \
         recovery | violations | seed |\n\
         | --- | --: | --: | --: | --: | --: | --: | --- | --: | --: | --: |\n{rows}\n\
         Claims about time and memory:\n\n{claims}{violations}",
        env!("CARGO_PKG_VERSION"),
        totals.line(),
    )
}

fn row(figures: &Figures) -> String {
    let refused: Vec<String> = figures
        .refused
        .iter()
        .map(|(code, count)| format!("{code} {}", thousands(*count)))
        .collect();
    let recovery = figures.recoveries.iter().max();
    let recovery = recovery.map_or("-".to_owned(), |it| format!("{:.2} s", it.as_secs_f64()));
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {recovery} | {} | {} |\n",
        figures.fault,
        thousands(figures.times),
        thousands(figures.paid),
        thousands(figures.asked),
        thousands(figures.repeated),
        thousands(figures.replayed),
        thousands(figures.lost),
        refused.join(", "),
        figures.violations.len(),
        figures.seed,
    )
}

/// Replaces the section, and nothing else.
pub fn write(section: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reliability.md");
    let text = fs::read_to_string(&path)?;
    let text = replaced(&text, section).context("docs/reliability.md has no place for it")?;
    fs::write(&path, text)?;
    println!("Written to docs/reliability.md.");
    Ok(())
}

fn replaced(text: &str, section: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", section.trim()))
}

/// 12,345.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
