//! Watches inside a story.

use super::{Ask, Story};
use crate::transport::{Answer, Lines};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// How long an event may take to arrive.
const EVENT_WITHIN: Duration = Duration::from_secs(15);

/// An open watch; events gather while the story goes on.
pub struct Watching {
    story: Story,
    title: String,
    lines: Lines,
}

impl Story {
    /// Opens a watch on a collection (`configmaps?resourceVersion=7`).
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn watch(&self, path: &str) -> Result<Watching> {
        self.ask("GET", &watching(path)).watch().await
    }
}

fn watching(path: &str) -> String {
    let joint = if path.contains('?') { '&' } else { '?' };
    format!("{path}{joint}watch=true")
}

impl Ask<'_> {
    /// Opens the watch that this request asks for (its path must say so).
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn watch(self) -> Result<Watching> {
        let title = format!("WATCH {}", self.path);
        let story = self.story.clone();
        let lines = self.open().await?;
        Ok(Watching { story, title, lines })
    }
}

impl Watching {
    /// Waits for `count` events, records and returns them. Fewer, because
    /// none came for 15 s, are recorded as they are.
    ///
    /// # Errors
    /// When an event is not JSON.
    pub async fn take(&mut self, count: usize) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        while events.len() < count {
            match tokio::time::timeout(EVENT_WITHIN, self.lines.lines.recv()).await {
                Ok(Some(line)) => events.push(parse(&line)?),
                Ok(None) => {
                    events.push(json!("(the stream ended)"));
                    break;
                }
                Err(_) => {
                    events.push(json!("(no further event)"));
                    break;
                }
            }
        }
        self.record(&events);
        Ok(events)
    }

    /// Waits for the server to end the stream, records all events until then.
    ///
    /// # Errors
    /// When it does not end within 45 s.
    pub async fn rest(&mut self) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        let reading = async {
            while let Some(line) = self.lines.lines.recv().await {
                events.push(parse(&line)?);
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(3 * EVENT_WITHIN, reading).await {
            Ok(read) => read?,
            Err(_) => bail!("{}: the stream was not ended", self.title),
        }
        self.record(&events);
        Ok(events)
    }

    fn record(&self, events: &[Value]) {
        let headers = Answer::compared_headers(&self.lines.headers);
        let seen = json!({ "status": self.lines.status, "headers": headers, "events": events });
        self.story.note(self.title.clone(), seen);
    }
}

fn parse(line: &str) -> Result<Value> {
    // A refusal (404, 410) may be text, and a Status printed over many lines is none of ours.
    Ok(serde_json::from_str(line).unwrap_or_else(|_| line.into()))
}
