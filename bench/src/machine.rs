//! The machine that the figures depend on: cores, processor, disk.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The name of the processor.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim())
        .to_owned()
}

/// How long one write of a page takes to be safe on the disk of `dir`: the median over half a
/// second. A commit cannot be faster than that, unless it shares the wait.
pub fn sync_latency(dir: &Path) -> Result<Duration> {
    let path = dir.join("sync-probe");
    let mut file = File::create(&path).context("the disk cannot be tried")?;
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(500) {
        let before = Instant::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[0x5a; 8192])?;
        file.sync_data()?;
        times.push(before.elapsed());
    }
    fs::remove_file(&path)?;
    times.sort_unstable();
    Ok(times.get(times.len().div_euclid(2)).copied().unwrap_or_default())
}

/// Whether `path` is in memory, where waiting for the disk costs nothing.
pub fn is_in_memory(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    filesystem_of(path, &mounts).is_some_and(|kind| kind == "tmpfs" || kind == "ramfs")
}

/// The type of the filesystem that is mounted deepest above `path`.
fn filesystem_of<'a>(path: &Path, mounts: &'a str) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    mounts
        .filter(|(place, _)| path.starts_with(place))
        // Of two mounts at one place the later one is seen.
        .max_by_key(|(place, _)| place.len())
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_counts() {
        let mounts =
            "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk xfs rw 0 0";
        let kind = |path: &str| filesystem_of(Path::new(path), mounts);
        assert_eq!(kind("/var/lib"), Some("ext4"));
        assert_eq!(kind("/tmp/x"), Some("tmpfs"));
        assert_eq!(kind("/tmpfile"), Some("ext4"));
        assert_eq!(kind("/tmp/disk/x"), Some("xfs"));
    }
}
