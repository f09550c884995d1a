//! Child processes that cannot outlive the test that started them.
//!
//! A child runs in a process group of its own under a small shell that reads
//! from a pipe held by this process. Dropping the [`Child`] kills the group;
//! if this process dies without dropping anything (SIGKILL, abort), the pipe
//! closes and the shell kills the group.

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

/// Runs the arguments; when they end, or when standard input closes, ends the
/// whole group (`kill 0`).
const KEEPER: &str = r#"("$@" </dev/null; kill -KILL 0) & read -r _; kill -KILL 0"#;

/// A running program whose output goes to a file.
#[derive(Debug)]
pub struct Child {
    name: String,
    keeper: std::process::Child,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "held open, never written: closing it ends the group")
    )]
    alive: Option<ChildStdin>,
    log: PathBuf,
}

impl Child {
    /// Starts `program` with `arguments`, both its outputs appended to
    /// `folder/NAME.log`.
    ///
    /// # Errors
    /// When the log cannot be made or `sh` cannot be started. A program that
    /// is missing shows itself by [`Self::ended`] and [`Self::last_words`].
    pub fn start(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let alive = keeper.stdin.take();
        Ok(Self {
            name: name.to_owned(),
            keeper,
            alive,
            log,
        })
    }

    /// What it was started as.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the program has ended by itself.
    pub fn ended(&mut self) -> bool {
        !matches!(self.keeper.try_wait(), Ok(None))
    }

    /// The end of its log, for an error message.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Ok(None) = self.keeper.try_wait() {
            let group = i32::try_from(self.keeper.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group {
                // Gone already is as good as killed.
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.keeper.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait_until;
    use std::time::Duration;

    fn runs(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn pid_written(folder: &Path) -> String {
        let file = folder.join("pid");
        crate::wait_for(Duration::from_secs(10), async || {
            std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))
        })
        .await
        .unwrap()
        .trim()
        .to_owned()
    }

    #[tokio::test]
    async fn a_dropped_child_is_gone_with_its_own_children() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("sleep 600 & echo $! > {}/pid; wait", folder.path().display());
        let child = Child::start("sleeper", Path::new("/bin/sh"), ["-c", &script], folder.path()).unwrap();
        let pid = pid_written(folder.path()).await;
        assert!(runs(&pid));
        drop(child);
        wait_until(Duration::from_secs(10), async || !runs(&pid)).await.unwrap();
    }

    #[tokio::test]
    async fn a_child_dies_when_the_pipe_closes_as_it_does_with_a_killed_parent() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("echo $$ > {}/pid; sleep 600", folder.path().display());
        let mut child = Child::start("orphan", Path::new("/bin/sh"), ["-c", &script], folder.path()).unwrap();
        let pid = pid_written(folder.path()).await;
        child.alive = None;
        wait_until(Duration::from_secs(10), async || !runs(&pid)).await.unwrap();
    }

    #[tokio::test]
    async fn a_program_that_ends_is_seen_and_its_last_words_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Child::start(
            "short",
            Path::new("/bin/sh"),
            ["-c", "echo no such flag >&2; exit 3"],
            folder.path(),
        )
        .unwrap();
        wait_until(Duration::from_secs(10), async || child.ended())
            .await
            .unwrap();
        assert!(child.last_words().contains("no such flag"));
    }
}
