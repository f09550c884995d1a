//! One `tidegate autoscaler` under test.

use super::process::{Signal, signal};
use super::{tail, web};
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use testkit::wait_for;

/// How long it may take for something that takes it a moment.
const SOON: Duration = Duration::from_secs(30);

/// A running `tidegate autoscaler`. Dropping it kills it.
#[derive(Debug)]
pub struct Autoscaler {
    /// What it is called.
    pub name: String,
    child: tokio::process::Child,
    /// Where its metrics are.
    pub url: String,
    log: PathBuf,
}

impl Autoscaler {
    /// Starts `command`, `tidegate autoscaler` and its flags, on free ports.
    ///
    /// # Errors
    /// When it ends, or says no address in time.
    pub async fn start(name: &str, mut command: tokio::process::Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = std::fs::File::create(&log)?;
        let mut child = command
            .args(["--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address=0"])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start tidegate autoscaler")?;
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        let url = wait_for(SOON, async || {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(Err(anyhow::anyhow!("{name} ended: {status}\n{}", tail(&read()))));
            }
            let text = read();
            let address = text.split(" metrics=").nth(1)?.split_whitespace().next()?;
            Some(Ok(format!("http://{address}")))
        });
        let url = url
            .await
            .with_context(|| format!("{name} says no address\n{}", tail(&read())))??;
        Ok(Self {
            name: name.to_owned(),
            child,
            url,
            log,
        })
    }

    /// Its page of metrics.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        web::get(&format!("{}/metrics", self.url)).await
    }

    /// Whether it says that it leads; not if it does not answer.
    pub async fn leads(&self) -> bool {
        self.metrics()
            .await
            .is_ok_and(|page| value(&page, "tidegate_leader") == Some(1.0))
    }

    /// Everything it logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it without a word.
    ///
    /// # Errors
    /// When there is no such process any more.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| self.name.clone())
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// When it does not end well in time.
    pub async fn stop(&mut self) -> Result<()> {
        signal(self.child.id().context("it has ended")?, Signal::TERM)?;
        let status = tokio::time::timeout(SOON, self.child.wait()).await;
        let status = status.with_context(|| format!("{} does not end", self.name))??;
        ensure!(
            status.success(),
            "{} ended with {status}\n{}",
            self.name,
            tail(&self.log())
        );
        Ok(())
    }
}

/// The value of the first sample whose name and labels begin so.
#[must_use]
pub fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}
