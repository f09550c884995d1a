//! kubectl inside a story.

use super::{COMES_TRUE_WITHIN, Story};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::{Duration, Instant};
use testkit::Outcome;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};

/// How long a line of a watching command may take to appear: long, since the
/// machine may be busy, and nothing waits for it that does not come.
const LINE_WITHIN: Duration = Duration::from_secs(60);

/// A kubectl command that goes on printing (`get -w`).
pub struct Typing {
    story: Story,
    title: String,
    lines: Lines<BufReader<tokio::process::ChildStdout>>,
    _child: tokio::process::Child,
}

impl Story {
    /// Runs kubectl in the story's namespace and records what it printed.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub async fn kubectl(&self, arguments: &str) -> Result<Outcome> {
        self.type_in(arguments, None, &[]).await
    }

    /// As [`Self::kubectl`] with YAML on standard input.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub async fn kubectl_with(&self, arguments: &str, input: &str) -> Result<Outcome> {
        self.type_in(arguments, Some(input), &[]).await
    }

    /// As [`Self::kubectl`] with environment variables set.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub async fn kubectl_env(&self, arguments: &str, variables: &[(&str, &str)]) -> Result<Outcome> {
        self.type_in(arguments, None, variables).await
    }

    /// As [`Self::kubectl`] for `kubectl explain` of this story's own kind,
    /// recording the first time that it finds the kind in the server's list of
    /// schemas, or the last: a real server's list can lack a group again that it
    /// had, while others come and go beside it.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub async fn kubectl_explains(&self, arguments: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let outcome = self.run(arguments, None, &[]).await?;
            let found = !outcome.stderr.contains("couldn't find resource");
            if found || began.elapsed() > COMES_TRUE_WITHIN {
                self.note_command(arguments, &outcome);
                return Ok(());
            }
        }
    }

    async fn type_in(&self, arguments: &str, input: Option<&str>, variables: &[(&str, &str)]) -> Result<Outcome> {
        let outcome = self.run(arguments, input, variables).await?;
        self.note_command(arguments, &outcome);
        Ok(outcome)
    }

    async fn run(&self, arguments: &str, input: Option<&str>, variables: &[(&str, &str)]) -> Result<Outcome> {
        let _terminal = self.stage.terminals.acquire().await.context("terminals closed")?;
        let line = format!("-n {} {}", self.namespace, self.fill(arguments));
        let mut command = testkit::kubectl(&self.stage.kubectl, self.stage.access.kubeconfig(), &line);
        if let Some(input) = input {
            command = command.input(self.fill(input));
        }
        for (name, value) in variables {
            command = command.env(name, value);
        }
        command.run().await
    }

    fn note_command(&self, arguments: &str, outcome: &Outcome) {
        let seen = json!({
            "code": outcome.code,
            "stdout": lines(&outcome.stdout),
            "stderr": spoken(&outcome.stderr),
        });
        self.note(format!("$ kubectl {}", self.fill(arguments)), seen);
    }

    /// Starts a command and returns once its watch is answered, as its log tells.
    ///
    /// # Errors
    /// When kubectl cannot be started, or ends before.
    pub async fn kubectl_until_it_watches(&self, arguments: &str) -> Result<Watching> {
        let arguments = self.fill(arguments);
        let line = format!("-n {} {arguments} -v=6", self.namespace);
        let mut child = testkit::kubectl(&self.stage.kubectl, self.stage.access.kubeconfig(), &line)
            .into_command()
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start kubectl")?;
        let mut log = BufReader::new(child.stderr.take().context("no standard error")?).lines();
        loop {
            let line = tokio::time::timeout(LINE_WITHIN, log.next_line()).await;
            let line = line.context("kubectl does not watch")??;
            let line = line.context("kubectl ended before it watched")?;
            if line.contains("watch=true") && line.contains("200 OK") {
                break;
            }
        }
        // What it still logs must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Ok(Watching {
            story: self.clone(),
            title: format!("$ kubectl {arguments}"),
            child,
        })
    }

    /// Starts a command that goes on printing.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub fn kubectl_watch(&self, arguments: &str) -> Result<Typing> {
        let arguments = self.fill(arguments);
        let line = format!("-n {} {arguments}", self.namespace);
        let mut child = testkit::kubectl(&self.stage.kubectl, self.stage.access.kubeconfig(), &line)
            .into_command()
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start kubectl")?;
        let stdout = child.stdout.take().context("no standard output")?;
        Ok(Typing {
            story: self.clone(),
            title: format!("$ kubectl {arguments}"),
            lines: BufReader::new(stdout).lines(),
            _child: child,
        })
    }
}

/// A kubectl command that watches something and ends by itself.
pub struct Watching {
    story: Story,
    title: String,
    child: tokio::process::Child,
}

impl Watching {
    /// Waits for its end and records what it printed, without its log.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn end(self) -> Result<()> {
        let ended = tokio::time::timeout(2 * LINE_WITHIN, self.child.wait_with_output()).await;
        let output = ended.context("kubectl does not end")??;
        let seen = json!({
            "code": output.status.code(),
            "stdout": lines(&String::from_utf8_lossy(&output.stdout)),
        });
        self.story.note(self.title, seen);
        Ok(())
    }
}

impl Typing {
    /// Waits for `count` more lines and records them.
    ///
    /// # Errors
    /// When what it prints is not text.
    pub async fn take(&mut self, count: usize) -> Result<()> {
        let mut seen = Vec::new();
        while seen.len() < count {
            match tokio::time::timeout(LINE_WITHIN, self.lines.next_line()).await {
                Ok(Ok(Some(line))) => seen.push(line),
                Ok(Ok(None)) => seen.push("(it ended)".to_owned()),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => seen.push("(no further line)".to_owned()),
            }
            if seen.last().is_some_and(|line| line.starts_with('(')) {
                break;
            }
        }
        self.story.note(self.title.clone(), json!({ "stdout": seen }));
        Ok(())
    }
}

/// What a command says, without the log of its client library: whether that
/// speaks of a watch that ended depends on who was faster.
fn spoken(text: &str) -> Value {
    text.lines().filter(|line| !is_log(line)).collect()
}

/// A line as `E1122 22:08:15.067558   24263 reflector.go:227] ...`.
fn is_log(line: &str) -> bool {
    let (mark, rest) = line.split_at_checked(1).unwrap_or_default();
    let mut words = rest.split_whitespace();
    let (date, time, place) = (words.next(), words.next(), words.nth(1));
    matches!(mark, "I" | "W" | "E" | "F")
        && date.is_some_and(|date| date.len() == 4 && date.bytes().all(|byte| byte.is_ascii_digit()))
        && time.is_some_and(|time| time.len() == 15)
        && place.is_some_and(|place| place.ends_with(']'))
}

fn lines(text: &str) -> Value {
    text.lines().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_the_library_is_not_what_a_command_says() {
        let log = "E1122 22:08:15.067558  24263 reflector.go:227] \"Failed to watch\" err=\"late\"";
        let said = "Error from server (NotFound): configmaps \"a\" not found";
        assert_eq!(spoken(&format!("{log}\n{said}\n")), json!([said]));
        assert_eq!(spoken("Error 1122 or so] of it"), json!(["Error 1122 or so] of it"]));
    }
}
