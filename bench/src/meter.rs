//! The costs of a run: processor time of the service, of Postgres and of the load generator, and the
//! service's peak memory, all from `/proc`.

use std::fs;

use anyhow::{Context, Result};

/// Seconds of processor time, and megabytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    pub service_s: f64,
    pub postgres_s: f64,
    pub client_s: f64,
    pub service_mib: f64,
}

/// Whose processor time counts as the service's.
#[derive(Debug, Clone)]
pub enum Serving {
    /// These processes.
    Processes(Vec<u32>),
    /// This program: it drives the statements itself.
    Ourselves,
}

pub struct Meter {
    postmaster: u32,
    serving: Serving,
    before: Times,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    service: f64,
    postgres: f64,
    client: f64,
}

impl Meter {
    pub fn start(postmaster: u32, serving: Serving) -> Result<Self> {
        if let Serving::Processes(pids) = &serving {
            for pid in pids {
                // Resets VmHWM. Where it is not allowed, the peak is that of the whole run so far.
                let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
            }
        }
        let before = read(postmaster, &serving)?;
        Ok(Self { postmaster, serving, before })
    }

    pub fn stop(self) -> Result<Used> {
        let after = read(self.postmaster, &self.serving)?;
        let mut service_mib = 0.0_f64;
        if let Serving::Processes(pids) = &self.serving {
            for pid in pids {
                service_mib = service_mib.max(peak_mib(*pid)?);
            }
        }
        Ok(Used {
            service_s: after.service - self.before.service,
            postgres_s: after.postgres - self.before.postgres,
            client_s: after.client - self.before.client,
            service_mib,
        })
    }
}

fn read(postmaster: u32, serving: &Serving) -> Result<Times> {
    let ourselves = Stat::of(std::process::id())?;
    let service = match serving {
        Serving::Ourselves => ourselves.own,
        Serving::Processes(pids) => {
            let mut sum = 0.0;
            for pid in pids {
                sum += Stat::of(*pid)?.own;
            }
            sum
        }
    };
    // A session that ends while we look is counted by the postmaster, or not yet: look again.
    let postgres = loop {
        let server = Stat::of(postmaster)?;
        let sum = server.own + server.ended_children + of_children(postmaster)?;
        if Stat::of(postmaster)?.ended_children <= server.ended_children {
            break sum;
        }
    };
    // The load generators are children of ours, and each has ended when its time is asked for.
    Ok(Times { service, postgres, client: ourselves.ended_children })
}

fn of_children(postmaster: u32) -> Result<f64> {
    Ok(children(postmaster)?.iter().map(|(_, stat)| stat.own).sum())
}

/// Seconds of processor time of the child that says in its title what it is for.
pub fn of_child(postmaster: u32, title: &str) -> Result<f64> {
    let is_it = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(title))
    };
    let found = children(postmaster)?.into_iter().find(|(pid, _)| is_it(pid));
    Ok(found.with_context(|| format!("no process of the server is \"{title}\""))?.1.own)
}

fn children(postmaster: u32) -> Result<Vec<(u32, Stat)>> {
    let names = fs::read_dir("/proc")?.flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse().ok());
    // Any process may have ended since it was listed.
    let all = pids.filter_map(|pid| Some((pid, Stat::of(pid).ok()?)));
    Ok(all.filter(|(_, stat)| stat.parent == postmaster).collect())
}

/// Seconds of processor time from `/proc/PID/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    own: f64,
    ended_children: f64,
}

impl Stat {
    fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("the processor time of process {pid} cannot be read"))?;
        let ticks_per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
        Self::parse(&text, f64::from(ticks_per_second)).context("/proc/PID/stat is not understood")
    }

    fn parse(text: &str, ticks_per_second: f64) -> Option<Self> {
        // The name in parentheses may hold anything, spaces and parentheses too.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let seconds = |place: usize| -> Option<f64> {
            Some(fields.get(place)?.parse::<f64>().ok()? / ticks_per_second)
        };
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: seconds(11)? + seconds(12)?,
            ended_children: seconds(13)? + seconds(14)?,
        })
    }
}

fn peak_mib(pid: u32) -> Result<f64> {
    memory_mib(pid, "VmHWM:")
}

/// The memory that a process has now.
pub fn resident_mib(pid: u32) -> Result<f64> {
    memory_mib(pid, "VmRSS:")
}

fn memory_mib(pid: u32, which: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(which))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse().ok())
        .with_context(|| format!("/proc/PID/status names no {which}"))?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_skipped() {
        let text = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 25 25 20 0 1 0 99";
        let stat = Stat { parent: 7, own: 2.0, ended_children: 0.5 };
        assert_eq!(Stat::parse(text, 100.0), Some(stat));
    }
}
