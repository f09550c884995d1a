//! Logs: everything to a bounded file, decisions also to the person who watches.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// Target of events that are decisions: one line each, for people.
pub(crate) const DECISION_TARGET: &str = "decision";
/// A log file larger than this is moved aside; one older file is kept.
const LARGEST_LOG: u64 = 16 << 20;
/// Decision lines that may wait for the terminal; more are only in the file.
const WAITING_LINES: usize = 256;

/// Sends events to `path`, and decisions also to the returned receiver.
///
/// # Errors
/// When the file cannot be opened.
pub(crate) fn to_file(path: &Path) -> io::Result<mpsc::Receiver<String>> {
    let file = LogFile::open(path)?;
    let (sender, receiver) = mpsc::channel(WAITING_LINES);
    let quiet = without_libraries(LevelFilter::INFO);
    let file = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(file)
        .with_filter(quiet);
    let decisions = Decisions(sender).with_filter(Targets::new().with_target(DECISION_TARGET, LevelFilter::INFO));
    // A second call (tests) keeps the first subscriber; the file is then simply not written.
    let _ = Registry::default().with(file).with(decisions).try_init();
    Ok(receiver)
}

/// Sends warnings and worse to standard error: for commands that are not `up`.
pub(crate) fn to_stderr() {
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_filter(LevelFilter::INFO);
    let _ = Registry::default().with(layer).try_init();
}

/// Sends events of `level` and worse to standard error: for a role that runs
/// as a process of its own.
pub(crate) fn of_role(level: LevelFilter) {
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(io::stderr)
        .with_filter(without_libraries(level));
    let _ = Registry::default().with(layer).try_init();
}

/// Everything of `level`, but of libraries only what should worry somebody.
fn without_libraries(level: LevelFilter) -> Targets {
    let theirs = level.min(LevelFilter::WARN);
    ["kube_client", "hyper", "tower"]
        .into_iter()
        .fold(Targets::new().with_default(level), |targets, library| {
            targets.with_target(library, theirs)
        })
}

/// Hands the message of each decision to a channel, and never waits.
struct Decisions(mpsc::Sender<String>);

impl<S: tracing::Subscriber> Layer<S> for Decisions {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let _ = self.0.try_send(message.0);
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// A file that is moved aside when it has grown.
#[derive(Clone, Debug)]
struct LogFile(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    size: u64,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self(Arc::new(Mutex::new(Open {
            path: path.to_owned(),
            file,
            size,
        }))))
    }
}

impl Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size + bytes.len() as u64 > LARGEST_LOG {
            std::fs::rename(&self.path, self.path.with_extension("old"))?;
            self.file = File::options().create(true).append(true).open(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_never_grows_beyond_two_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..40 {
            Write::write(&mut log, &line).unwrap();
        }
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert!(size(&path) <= LARGEST_LOG && size(&path.with_extension("old")) <= LARGEST_LOG);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
