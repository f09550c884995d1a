//! Passing an answer's body on: what the endpoint had ready in one read goes to
//! the client in one write, framing and all, and is only looked at on the way.

use super::client::{Client, Gone};
use super::head::Framing;
use crate::config::Timeouts;
use crate::flight::Flight;
use crate::upstream::Upstream;
use bytes::Buf;
use std::cell::RefCell;
use std::fmt::Write;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::sse::{Glance, usage_in};

thread_local! {
    /// Where answers are read to: streams have no buffers of their own, only
    /// what a slow client has not taken yet is set aside.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 << 10].into_boxed_slice());
}

/// How a body goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Byte for byte, with the endpoint's own framing.
    AsIs,
    /// The payload alone, up to the connection's end (HTTP/1.0).
    Plain,
    /// In chunks of ours, since the endpoint ends it by closing.
    Chunked,
}

/// What is looked for in a body.
#[derive(Debug)]
pub(crate) enum Watch {
    Events(Glance),
    /// The end of a JSON answer, where its usage stands.
    Json(Vec<u8>),
    Nothing,
}

/// Longest end of a JSON answer that is searched for usage.
const TAIL: usize = 4 << 10;

/// How a relay ended short of the answer's end.
#[derive(Debug)]
pub(crate) enum Cut {
    /// The client went away or stopped reading.
    Client,
    /// The endpoint broke off.
    Upstream(String),
}

/// An answer's body on its way.
pub(crate) struct Relay<'a> {
    pub(crate) client: &'a mut Client,
    pub(crate) upstream: &'a mut Upstream,
    pub(crate) framing: Framing,
    pub(crate) style: Style,
    pub(crate) watch: Watch,
    pub(crate) flight: &'a mut Flight,
    pub(crate) timeouts: &'a Timeouts,
}

impl Relay<'_> {
    /// Passes the whole body on. The head is in the client's outbox already,
    /// the body's beginning in the endpoint's inbox.
    pub(crate) async fn run(mut self) -> Result<(), Cut> {
        let first = std::mem::take(&mut self.upstream.inbox);
        let used = self.look(&first)?;
        if self.style == Style::AsIs {
            self.client.out.extend_from_slice(&first[..used]);
        }
        self.upstream.inbox = first;
        self.upstream.inbox.advance(used);
        self.client.timer.set(self.timeouts.client_stall);
        poll_fn(|cx| self.poll(cx)).await?;
        if let Watch::Json(tail) = &self.watch
            && let Some(usage) = usage_in(tail)
        {
            self.flight.usage_stated(usage);
        }
        Ok(())
    }

    const fn is_done(&self) -> bool {
        match &self.framing {
            Framing::Length(left) => *left == 0,
            Framing::Chunked(chunks) => chunks.is_done(),
            Framing::UntilClose => false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        loop {
            if !self.client.out.is_empty() {
                ready!(self.client.poll_flush(self.timeouts.client_stall, cx)).map_err(|Gone| Cut::Client)?;
                self.client.timer.set(self.timeouts.between_bytes);
            }
            if self.is_done() {
                return Poll::Ready(Ok(()));
            }
            match self.poll_piece(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(cut)) => return Poll::Ready(Err(cut)),
                Poll::Pending => break,
            }
        }
        if self.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Cut::Client));
        }
        let within = self.timeouts.between_bytes;
        self.client
            .timer
            .poll(cx)
            .map(|()| Err(Cut::Upstream(format!("nothing came for {} s", within.as_secs_f64()))))
    }

    /// Reads what the endpoint has ready and writes it on, as far as the client takes it.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let read = ready!(Pin::new(&mut self.upstream.stream).poll_read(cx, &mut buffer));
            let piece = buffer.filled();
            if let Err(error) = read {
                return Poll::Ready(Err(Cut::Upstream(error.to_string())));
            }
            if piece.is_empty() {
                return Poll::Ready(self.upstream_closed());
            }
            let used = match self.look(piece) {
                Ok(used) => used,
                Err(cut) => return Poll::Ready(Err(cut)),
            };
            // Bytes beyond the answer make the connection unfit for another request.
            self.upstream.inbox.extend_from_slice(&piece[used..]);
            self.client.timer.set(self.timeouts.between_bytes);
            let written = match self.style {
                Style::Plain | Style::Chunked => return Poll::Ready(Ok(())),
                Style::AsIs => Pin::new(&mut self.client.stream).poll_write(cx, &piece[..used]),
            };
            let written = match written {
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Cut::Client)),
                Poll::Pending => 0,
            };
            if written < used {
                self.client.out.extend_from_slice(&piece[written..used]);
                self.client.timer.set(self.timeouts.client_stall);
            }
            Poll::Ready(Ok(()))
        })
    }

    fn upstream_closed(&mut self) -> Result<(), Cut> {
        if !matches!(self.framing, Framing::UntilClose) {
            return Err(Cut::Upstream(
                "it closed the connection before the answer's end".to_owned(),
            ));
        }
        self.framing = Framing::Length(0);
        if self.style == Style::Chunked {
            self.client.out.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(())
    }

    /// Follows the framing through `bytes`, watches the payload, and puts it
    /// into the outbox if it does not go on as it is. Gives how many bytes
    /// belong to the answer.
    fn look(&mut self, bytes: &[u8]) -> Result<usize, Cut> {
        let Self {
            framing,
            style,
            watch,
            client,
            flight,
            ..
        } = self;
        let mut tokens = 0;
        let mut payload = |piece: &[u8]| {
            match watch {
                Watch::Events(glance) => {
                    let seen = glance.at(piece);
                    tokens += seen.tokens;
                    if let Some(usage) = seen.usage {
                        flight.usage_stated(usage);
                    }
                }
                Watch::Json(tail) => keep_tail(tail, piece),
                Watch::Nothing => {}
            }
            match style {
                Style::AsIs => {}
                Style::Plain => client.out.extend_from_slice(piece),
                Style::Chunked if piece.is_empty() => {}
                Style::Chunked => {
                    // Writing to a BytesMut cannot fail: it grows.
                    let _ = write!(client.out, "{:x}\r\n", piece.len());
                    client.out.extend_from_slice(piece);
                    client.out.extend_from_slice(b"\r\n");
                }
            }
        };
        let used = match framing {
            Framing::Length(left) => {
                let take = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                payload(&bytes[..take]);
                *left -= take as u64;
                take
            }
            Framing::Chunked(chunks) => chunks
                .advance(bytes, payload)
                .map_err(|why| Cut::Upstream(format!("malformed chunks: {why}")))?,
            Framing::UntilClose => {
                payload(bytes);
                bytes.len()
            }
        };
        if tokens > 0 {
            flight.tokens_came(tokens);
        }
        Ok(used)
    }
}

/// Keeps at least the last [`TAIL`] bytes of what went by, and at most twice as many.
fn keep_tail(tail: &mut Vec<u8>, piece: &[u8]) {
    let piece = &piece[piece.len().saturating_sub(TAIL)..];
    if tail.len() + piece.len() > 2 * TAIL {
        tail.drain(..tail.len().saturating_sub(TAIL));
    }
    tail.extend_from_slice(piece);
}
