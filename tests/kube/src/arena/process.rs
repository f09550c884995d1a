//! Looking at processes through /proc.

use anyhow::{Context as _, Result};
use rustix::process::{Pid, kill_process};
use std::collections::BTreeMap;

pub use rustix::process::Signal;

/// One process, so that another with the same number is not taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its number.
    pub pid: u32,
    /// When it began, in clock ticks since boot.
    pub began: u64,
    /// Its command line.
    pub line: String,
}

/// Parent and start of a process that is not a zombie.
fn look(pid: u32) -> Option<(u32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, parentheses too.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    Some((fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?))
}

fn line(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

fn all() -> Vec<u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// `root` and everything below it.
#[must_use]
pub fn descendants(root: u32) -> Vec<Mark> {
    let seen: BTreeMap<u32, (u32, u64)> = all().into_iter().filter_map(|pid| Some((pid, look(pid)?))).collect();
    let below = |mut pid: u32| {
        while let Some((parent, _)) = seen.get(&pid) {
            if pid == root {
                return true;
            }
            pid = *parent;
        }
        false
    };
    seen.iter()
        .filter(|(pid, _)| below(**pid))
        .map(|(pid, (_, began))| Mark {
            pid: *pid,
            began: *began,
            line: line(*pid),
        })
        .collect()
}

/// Those of `marks` that still live.
#[must_use]
pub fn marks_alive(marks: &[Mark]) -> Vec<Mark> {
    marks
        .iter()
        .filter(|mark| look(mark.pid).is_some_and(|(_, began)| began == mark.began))
        .cloned()
        .collect()
}

/// Processes other than this one whose command line or working folder has `text`.
#[must_use]
pub fn mentioning(text: &str) -> Vec<String> {
    all()
        .into_iter()
        .filter(|pid| *pid != std::process::id() && look(*pid).is_some())
        .filter_map(|pid| {
            let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            let line = line(pid);
            (line.contains(text) || folder.to_string_lossy().contains(text)).then(|| format!("{pid} {line}"))
        })
        .collect()
}

/// Sends a signal.
///
/// # Errors
/// When there is no such process.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let target = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("no process number")?;
    kill_process(target, signal).with_context(|| format!("cannot signal {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_among_the_descendants_until_it_is_killed() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let family = descendants(std::process::id());
        assert!(family.iter().any(|mark| mark.pid == child.id()));
        signal(child.id(), Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(!marks_alive(&family).iter().any(|mark| mark.pid == child.id()));
    }
}
