//! Running the real kubectl.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// How long one command may take unless said otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// A kubectl command about to run.
#[derive(Debug)]
pub struct Kubectl {
    command: tokio::process::Command,
    words: String,
    input: Option<String>,
    patience: Duration,
}

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code; -1 when a signal or the deadline ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Standard output of a command that succeeded.
    ///
    /// # Errors
    /// When it did not, with what it wrote to standard error.
    pub fn success(self) -> Result<String> {
        if self.code == 0 {
            Ok(self.stdout)
        } else {
            bail!("kubectl ended with {}: {}{}", self.code, self.stderr, self.stdout)
        }
    }
}

/// `binary` with `arguments` (split at spaces outside single quotes, as a
/// shell would) against the cluster of `kubeconfig`. Its caches live beside the kubeconfig, so two clusters never
/// share one.
#[must_use]
pub fn kubectl(binary: &Path, kubeconfig: &Path, arguments: &str) -> Kubectl {
    let home: PathBuf = kubeconfig.parent().unwrap_or(Path::new("/")).join("kubectl");
    let mut command = tokio::process::Command::new(binary);
    command
        .args(split(arguments))
        .env("KUBECONFIG", kubeconfig)
        .env("KUBECACHEDIR", home.join("cache"))
        .env("HOME", home)
        .env_remove("KUBECTL_EXTERNAL_DIFF")
        .kill_on_drop(true)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Kubectl {
        command,
        words: arguments.to_owned(),
        input: None,
        patience: PATIENCE,
    }
}

/// Splits at white space outside single quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            letter if letter.is_whitespace() && !quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

impl Kubectl {
    /// The process to be started, for a caller that talks to it while it
    /// runs; it is killed when dropped.
    #[must_use]
    pub fn into_command(self) -> tokio::process::Command {
        self.command
    }

    /// Adds one argument, taken as it is.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// Text for standard input (`-f -`).
    #[must_use]
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Ends the command after this time; what it printed until then is
    /// kept.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started. A command that fails is an [`Outcome`].
    pub async fn run(mut self) -> Result<Outcome> {
        self.command.stdin(if self.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let mut child = self.command.spawn().context("cannot start kubectl")?;
        if let (Some(text), Some(mut stdin)) = (self.input, child.stdin.take()) {
            // A command that fails early does not read: that is its outcome to tell.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        let mut stdout = child.stdout.take().context("no standard output")?;
        let mut stderr = child.stderr.take().context("no standard error")?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let ended = {
            let reading = async {
                let _ = tokio::join!(
                    tokio::io::AsyncReadExt::read_to_end(&mut stdout, &mut out),
                    tokio::io::AsyncReadExt::read_to_end(&mut stderr, &mut err),
                );
                child.wait().await
            };
            tokio::time::timeout(self.patience, reading).await
        };
        let code = match ended {
            Ok(status) => status
                .with_context(|| format!("kubectl {}", self.words))?
                .code()
                .unwrap_or(-1),
            Err(_) => {
                let _ = child.kill().await;
                -1
            }
        };
        Ok(Outcome {
            code,
            stdout: String::from_utf8_lossy(&out).into_owned(),
            stderr: String::from_utf8_lossy(&err).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_split_at_spaces_outside_quotes() {
        assert_eq!(
            split("patch cm a  -p '{\"a\": 1}' ''"),
            ["patch", "cm", "a", "-p", "{\"a\": 1}", ""]
        );
    }
}
