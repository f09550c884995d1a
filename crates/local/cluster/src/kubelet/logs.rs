//! What containers print: one file per run, two of bounded size, each line with
//! its time.
//!
//! A line is `TIME STREAM TAG TEXT`, the form of the container runtimes: TAG is
//! `F` for a whole line and `P` for a piece that the next one continues.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, watch};

/// Longer lines are written in pieces.
const LONGEST_LINE: usize = 16 * 1024;

/// The log of one run of a container, shared by its two streams.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl LogFile {
    /// Opens `FOLDER/RUN.log` and removes the logs of runs before the previous one.
    pub(crate) fn create(folder: &Path, run: i32, limit: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)?.flatten() {
            let name = entry.file_name();
            let of = name.to_str().and_then(|n| n.split('.').next()?.parse::<i32>().ok());
            if of.is_some_and(|of| of < run - 1) {
                fs::remove_file(entry.path())?;
            }
        }
        let path = path(folder, run);
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok(LogFile {
            path,
            file,
            size,
            limit,
        })
    }

    fn write(&mut self, stream: &str, text: &[u8], whole: bool) -> io::Result<()> {
        let now = Timestamp::now();
        let mut line = format!("{now:.9} {stream} {} ", if whole { 'F' } else { 'P' }).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        if self.size + line.len() as u64 > self.limit && self.size > 0 {
            fs::rename(&self.path, older(&self.path))?;
            self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(&line)?;
        self.size += line.len() as u64;
        Ok(())
    }
}

/// The log of run `run` in a container's folder.
pub(crate) fn path(folder: &Path, run: i32) -> PathBuf {
    folder.join(format!("{run}.log"))
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// Copies a stream of a process into the log until it ends.
pub(crate) async fn pump(
    mut from: impl AsyncRead + Unpin,
    stream: &'static str,
    log: Arc<Mutex<LogFile>>,
    news: watch::Sender<u64>,
) {
    let mut buffer = vec![0u8; LONGEST_LINE];
    let mut line: Vec<u8> = Vec::new();
    let write = |text: &[u8], whole: bool| {
        if let Err(error) = log.lock().write(stream, text, whole) {
            tracing::debug!(%error, "a line of a container's log was lost");
        }
    };
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        for piece in buffer[..read].split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(text) if line.is_empty() => write(text, true),
                Some(text) => {
                    line.extend_from_slice(text);
                    write(&line, true);
                    line.clear();
                }
                None => {
                    line.extend_from_slice(piece);
                    if line.len() >= LONGEST_LINE {
                        write(&line, false);
                        line.clear();
                    }
                }
            }
        }
        news.send_modify(|count| *count += 1);
    }
    if !line.is_empty() {
        write(&line, true);
        news.send_modify(|count| *count += 1);
    }
}

/// What of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) follow: bool,
    pub(crate) previous: bool,
    pub(crate) timestamps: bool,
    pub(crate) tail: Option<usize>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) limit_bytes: Option<usize>,
}

/// Reads lines as they come, across one rotation.
struct Reader {
    path: PathBuf,
    current: BufReader<File>,
    inode: u64,
    partial: Vec<u8>,
}

impl Reader {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Reader {
            path: path.to_owned(),
            current: BufReader::new(file),
            inode,
            partial: Vec::new(),
        })
    }

    /// The next whole line that is written, or `None` when there is no more yet.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            // A log line is at most LONGEST_LINE and its head, so this is bounded.
            self.current.read_until(b'\n', &mut self.partial)?;
            if self.partial.last() == Some(&b'\n') {
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
            match fs::metadata(&self.path) {
                Ok(meta) if meta.ino() != self.inode => {
                    // What was written to the old file before the rotation comes first.
                    let mut rest = Vec::new();
                    self.current.by_ref().take(1).read_to_end(&mut rest)?;
                    if rest.is_empty() {
                        *self = Reader::open(&self.path)?;
                    } else {
                        self.partial.extend_from_slice(&rest);
                    }
                }
                _ => return Ok(None),
            }
        }
    }
}

/// `TIME STREAM TAG TEXT\n` as it is shown: the text, after its time if wanted.
fn show(line: &[u8], wanted: &Wanted) -> Option<Vec<u8>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (time, _, tag, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if let Some(since) = wanted.since {
        let at: Timestamp = std::str::from_utf8(time).ok()?.parse().ok()?;
        if at < since {
            return None;
        }
    }
    let mut out = Vec::with_capacity(line.len());
    if wanted.timestamps {
        out.extend_from_slice(time);
        out.push(b' ');
    }
    out.extend_from_slice(text);
    if tag == b"P" {
        out.pop();
    }
    Some(out)
}

/// Sends the log at `path`. Following goes on until the sender of `news` is gone.
pub(crate) async fn send(
    path: PathBuf,
    wanted: Wanted,
    mut news: Option<watch::Receiver<u64>>,
    to: mpsc::Sender<io::Result<Bytes>>,
) {
    let mut left = wanted.limit_bytes.unwrap_or(usize::MAX);
    if let Some(news) = &mut news {
        news.mark_unchanged();
    }
    let first = {
        let wanted = wanted.clone();
        tokio::task::spawn_blocking(move || read_all(&path, &wanted)).await
    };
    let (lines, mut reader) = match first {
        Ok(Ok(read)) => read,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return,
        Ok(Err(error)) => {
            let _ = to.send(Err(error)).await;
            return;
        }
        Err(_) => return,
    };
    for line in lines {
        if !pass(line, &mut left, &to).await {
            return;
        }
    }
    let Some(mut news) = news.filter(|_| wanted.follow) else {
        return;
    };
    loop {
        let ended = tokio::select! {
            changed = news.changed() => changed.is_err(),
            () = to.closed() => return,
        };
        loop {
            match reader.line() {
                Ok(Some(line)) => {
                    if let Some(line) = show(&line, &wanted)
                        && !pass(line, &mut left, &to).await
                    {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let _ = to.send(Err(error)).await;
                    return;
                }
            }
        }
        if ended {
            return;
        }
    }
}

async fn pass(mut line: Vec<u8>, left: &mut usize, to: &mpsc::Sender<io::Result<Bytes>>) -> bool {
    line.truncate(*left);
    *left -= line.len();
    to.send(Ok(Bytes::from(line))).await.is_ok() && *left > 0
}

fn read_all(path: &Path, wanted: &Wanted) -> io::Result<(VecDeque<Vec<u8>>, Reader)> {
    let mut reader = Reader::open(path)?;
    let mut lines = VecDeque::new();
    let mut keep = |line: Vec<u8>| {
        if let Some(line) = show(&line, wanted) {
            lines.push_back(line);
            if wanted.tail.is_some_and(|tail| lines.len() > tail) {
                lines.pop_front();
            }
        }
    };
    if let Ok(mut before) = Reader::open(&older(path))
        && before.inode != reader.inode
    {
        // A finished file: it must not go over into the current one.
        before.path = older(path);
        while let Some(line) = before.line()? {
            keep(line);
        }
    }
    while let Some(line) = reader.line()? {
        keep(line);
    }
    Ok((lines, reader))
}

#[cfg(test)]
#[path = "logs/tests.rs"]
mod tests;
