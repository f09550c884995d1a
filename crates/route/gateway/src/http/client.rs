//! A client's connection: reading, writing, and noticing that it has gone.

use super::Answer;
use bytes::{Buf, BufMut, BytesMut};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes of following requests taken in while one is answered.
const MOST_PIPELINED: usize = 64 << 10;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Read and not yet used.
    pub(crate) inbox: BytesMut,
    /// To be written.
    pub(crate) out: BytesMut,
    pub(crate) timer: Timer,
}

/// The client closed its connection, or it broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// How reading ended short of what was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    Gone,
    TimedOut,
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            inbox: BytesMut::new(),
            out: BytesMut::new(),
            timer: Timer::new(),
        }
    }

    /// Reads what has come into the inbox; at least a byte.
    pub(crate) async fn fill(&mut self) -> Result<(), Short> {
        let Self {
            stream, inbox, timer, ..
        } = self;
        inbox.reserve(4 << 10);
        poll_fn(|cx| match poll_read_buf(stream, inbox, cx) {
            Poll::Ready(Ok(1..)) => Poll::Ready(Ok(())),
            Poll::Ready(_) => Poll::Ready(Err(Short::Gone)),
            Poll::Pending => timer.poll(cx).map(|()| Err(Short::TimedOut)),
        })
        .await
    }

    /// Reads up to `most` bytes into `body`; at least one.
    pub(crate) async fn fill_body(&mut self, body: &mut BytesMut, most: usize) -> Result<(), Short> {
        let Self { stream, timer, .. } = self;
        let mut limited = body.limit(most);
        poll_fn(|cx| match poll_read_buf(stream, &mut limited, cx) {
            Poll::Ready(Ok(1..)) => Poll::Ready(Ok(())),
            Poll::Ready(_) => Poll::Ready(Err(Short::Gone)),
            Poll::Pending => timer.poll(cx).map(|()| Err(Short::TimedOut)),
        })
        .await
    }

    /// Ready when the client has gone. What it sends meanwhile is kept, up to
    /// a bound beyond which a disconnect shows only when writing.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        while self.inbox.len() < MOST_PIPELINED {
            self.inbox.reserve(1 << 10);
            match ready!(poll_read_buf(&mut self.stream, &mut self.inbox, cx)) {
                Ok(1..) => {}
                Ok(_) | Err(_) => return Poll::Ready(Gone),
            }
        }
        Poll::Pending
    }

    /// Runs `work` unless the client goes first.
    pub(crate) async fn unless_gone<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Gone> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_gone(cx).map(Err),
        })
        .await
    }

    /// Ready when the outbox is written; the client must take some of it
    /// within each `stall`.
    pub(crate) fn poll_flush(&mut self, stall: Duration, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out) {
                Poll::Ready(Ok(written @ 1..)) => {
                    self.out.advance(written);
                    self.timer.set(stall);
                }
                Poll::Ready(_) => return Poll::Ready(Err(Gone)),
                Poll::Pending => return self.timer.poll(cx).map(|()| Err(Gone)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the outbox.
    pub(crate) async fn flush(&mut self, stall: Duration) -> Result<(), Gone> {
        self.timer.set(stall);
        poll_fn(|cx| self.poll_flush(stall, cx)).await
    }

    /// Writes an answer of our own.
    pub(crate) async fn answer(&mut self, answer: &Answer, close: bool, stall: Duration) -> Result<(), Gone> {
        answer.write(&mut self.out, close);
        self.flush(stall).await
    }

    /// Ends the connection so that the client can still read the answer even
    /// if it goes on sending: closing at once would reset what it has not read.
    pub(crate) async fn linger(mut self) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        self.timer.set(Duration::from_secs(2));
        let mut discarded = 0;
        while discarded < (1 << 20) {
            self.inbox.clear();
            if self.fill().await.is_err() {
                return;
            }
            discarded += self.inbox.len();
        }
    }
}

/// Reads into the spare room of `buf`.
pub(crate) fn poll_read_buf(
    stream: &mut TcpStream,
    buf: &mut impl BufMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    pin!(stream.read_buf(buf)).poll(cx)
}

/// A deadline that is cheap to move away: the runtime's timer is touched only
/// when it fires or when the deadline comes nearer.
#[derive(Debug)]
pub(crate) struct Timer {
    deadline: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    pub(crate) fn new() -> Self {
        let deadline = Instant::now() + Duration::from_secs(3600);
        Self {
            deadline,
            sleep: Box::pin(sleep_until(deadline)),
        }
    }

    /// The deadline is `after` from now on.
    pub(crate) fn set(&mut self, after: Duration) {
        self.deadline = Instant::now() + after;
        if self.sleep.is_elapsed() || self.deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(self.deadline);
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if Instant::now() >= self.deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.deadline);
        }
    }
}
