//! Sending a request to an endpoint and reading the head of its answer.

use super::client::{Client, poll_read_buf};
use super::head::{self, AnswerHead};
use crate::upstream::Upstream;
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;

/// A request as it goes to an endpoint; kept whole until the answer begins, so
/// that it can be sent again.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Request line and headers, all but the host.
    pub(crate) head: BytesMut,
    pub(crate) body: Bytes,
}

/// Why no answer's head came.
#[derive(Debug)]
pub(crate) enum Failure {
    ClientGone,
    /// Closed or reset. `silent`: before a single byte of an answer.
    Broken {
        why: io::Error,
        silent: bool,
    },
    TimedOut,
    Malformed(String),
}

/// Sends `request` over `upstream` and reads the answer's head; what goes on
/// to the client is appended to its outbox.
pub(crate) async fn exchange(
    client: &mut Client,
    upstream: &mut Upstream,
    request: &Outgoing,
    host: &[u8],
    limit: usize,
    within: Duration,
) -> Result<AnswerHead, Failure> {
    client.timer.set(within);
    let mut sending = Sending {
        parts: [&request.head, host, &request.body],
        broken: false,
    };
    poll_fn(|cx| {
        // An endpoint may answer (too large, say) before it has read everything.
        sending.poll(upstream, cx);
        loop {
            upstream.inbox.reserve(4 << 10);
            match poll_read_buf(&mut upstream.stream, &mut upstream.inbox, cx) {
                Poll::Ready(Ok(read @ 1..)) => {
                    let fresh = &upstream.inbox[upstream.inbox.len() - read..];
                    if memchr::memchr(b'\n', fresh).is_none() && upstream.inbox.len() <= limit {
                        continue;
                    }
                    match head::answer(&mut upstream.inbox, &mut client.out, limit) {
                        Ok(Some(mut head)) => {
                            head.keep_alive &= sending.is_done();
                            return Poll::Ready(Ok(head));
                        }
                        Ok(None) => {}
                        Err(why) => return Poll::Ready(Err(Failure::Malformed(why))),
                    }
                }
                Poll::Ready(ended) => {
                    let why = ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                    return Poll::Ready(Err(Failure::Broken {
                        why,
                        silent: upstream.inbox.is_empty(),
                    }));
                }
                Poll::Pending => break,
            }
        }
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        client.timer.poll(cx).map(|()| Err(Failure::TimedOut))
    })
    .await
}

/// What is still to be sent.
struct Sending<'a> {
    parts: [&'a [u8]; 3],
    /// Sending failed. An answer may have come all the same, so reading tells.
    broken: bool,
}

impl Sending<'_> {
    fn is_done(&self) -> bool {
        self.parts.iter().all(|part| part.is_empty())
    }

    fn poll(&mut self, upstream: &mut Upstream, cx: &mut Context<'_>) {
        while !self.broken && !self.is_done() {
            let slices = self.parts.map(IoSlice::new);
            match Pin::new(&mut upstream.stream).poll_write_vectored(cx, &slices) {
                Poll::Ready(Ok(mut written @ 1..)) => {
                    for part in &mut self.parts {
                        let of_this = written.min(part.len());
                        *part = &part[of_this..];
                        written -= of_this;
                    }
                }
                Poll::Ready(_) => self.broken = true,
                Poll::Pending => return,
            }
        }
    }
}
