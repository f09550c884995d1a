//! From a request with a model to an endpoint's answer: queue, attempts, relay.

use super::client::Client;
use super::exchange::{Failure, Outgoing, exchange};
use super::head::{AnswerHead, Framing, RequestHead};
use super::problem::Problem;
use super::relay::{Cut, Relay, Style, Watch};
use super::serve::{Body, Worker};
use crate::fleet::{Grant, Pool};
use crate::flight::Flight;
use crate::upstream::{self, Upstream};
use api::names;
use bytes::BytesMut;
use std::fmt::Write;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use wire::sse::Glance;

/// A request that has a pool.
pub(crate) struct Routed {
    pub(crate) pool: Arc<Pool>,
    pub(crate) head: RequestHead,
    pub(crate) body: Body,
    pub(crate) request_id: String,
    /// Tokens the request may cost, roughly: prompt and answer.
    pub(crate) tokens: u64,
}

/// How a proxied request ended.
pub(crate) enum Ended {
    /// The answer is complete; whether the connection may be used again.
    Answered { close: bool },
    /// To be answered with an error of ours.
    Refused(Problem),
    /// Nothing more can be said to the client.
    Lost,
}

/// Serves one request.
pub(crate) async fn proxy(worker: &Worker, client: &mut Client, routed: Routed) -> Ended {
    let Routed {
        pool,
        head,
        body,
        request_id,
        tokens,
    } = routed;
    let mut flight = match Flight::arrive(&worker.shared, pool, body.bytes.len() as u64, tokens, head.patience) {
        Ok(flight) => flight,
        Err(problem) => return Ended::Refused(problem),
    };
    let close = head.close;
    let http11 = head.http11;
    let (request, charge) = outgoing(head, body, &request_id);
    let (grant, mut connection, answer) = match reach(worker, client, &mut flight, &request).await {
        Ok(reached) => reached,
        Err(Reached::Refused(problem)) => return Ended::Refused(problem),
        Err(Reached::ClientGone) => return Ended::Lost,
    };
    // From here on there is no other attempt, so the request need not be kept.
    drop((request, charge));
    flight.answering();
    let close = close || (!http11 && !matches!(answer.body, Framing::Length(_)));
    let style = match answer.body {
        Framing::Length(_) => Style::AsIs,
        Framing::Chunked(_) if http11 => Style::AsIs,
        Framing::UntilClose if http11 => Style::Chunked,
        _ => Style::Plain,
    };
    finish_head(client, &answer, style, &grant, &flight, &request_id, close);
    let keep_alive = answer.keep_alive && !matches!(answer.body, Framing::UntilClose);
    let relay = Relay {
        client,
        upstream: &mut connection,
        framing: answer.body,
        style,
        watch: match answer {
            _ if answer.status >= 300 => Watch::Nothing,
            AnswerHead { event_stream: true, .. } => Watch::Events(Glance::default()),
            AnswerHead { json: true, .. } => Watch::Json(Vec::new()),
            _ => Watch::Nothing,
        },
        flight: &mut flight,
        timeouts: &worker.shared.timeouts,
    };
    match relay.run().await {
        Ok(()) => {
            if answer.status >= 500 {
                flight.upstream_failed();
            } else {
                flight.complete();
            }
            if keep_alive {
                worker.idle.give(grant.address, connection);
            }
            Ended::Answered { close }
        }
        Err(Cut::Client) => Ended::Lost,
        Err(Cut::Upstream(why)) => {
            flight.upstream_failed();
            tracing::warn!(endpoint = %grant.address, pod = %grant.pod, request_id, why, "an answer broke off");
            Ended::Lost
        }
    }
}

/// The request as it goes out, and the hold on buffer space that goes with its body.
fn outgoing(head: RequestHead, body: Body, request_id: &str) -> (Outgoing, Option<super::serve::Charge>) {
    let mut out = head.forward;
    if !head.says_json {
        // The body was read as JSON, and model servers take it under no other name: curl's own is a form's.
        out.extend_from_slice(b"content-type: application/json\r\n");
    }
    // Writing to a BytesMut cannot fail: it grows.
    let _ = write!(
        out,
        "{}: {request_id}\r\ncontent-length: {}\r\n",
        names::REQUEST_ID_HEADER,
        body.bytes.len()
    );
    (
        Outgoing {
            head: out,
            body: body.bytes,
        },
        body.charge,
    )
}

enum Reached {
    Refused(Problem),
    ClientGone,
}

impl From<Problem> for Reached {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

/// Waits for an endpoint and tries until one begins to answer.
async fn reach(
    worker: &Worker,
    client: &mut Client,
    flight: &mut Flight,
    request: &Outgoing,
) -> Result<(Grant, Upstream, AnswerHead), Reached> {
    let limits = &worker.shared.limits;
    let mut sent = 0;
    loop {
        placed(client, flight).await?;
        let Some(grant) = flight.grant().cloned() else {
            return Err(Problem::ShuttingDown.into());
        };
        let mut host = BytesMut::with_capacity(40);
        // Writing to a BytesMut cannot fail: it grows.
        let _ = write!(host, "host: {}\r\n\r\n", grant.address);
        let failure = loop {
            let mut connection = match worker.idle.take(grant.address) {
                Some(idle) => idle,
                None => {
                    let connecting = upstream::connect(grant.address, worker.shared.timeouts.connect);
                    match client.unless_gone(connecting).await.map_err(|_| Reached::ClientGone)? {
                        Ok(fresh) => fresh,
                        Err(error) => break Attempt::NotSent(error.to_string()),
                    }
                }
            };
            let within = worker.shared.timeouts.first_byte;
            client.out.clear();
            match exchange(client, &mut connection, request, &host, limits.head_bytes, within).await {
                Ok(answer) if answer.status == 503 && sent + 1 < limits.attempts => {
                    break Attempt::Sent("it answered 503".to_owned());
                }
                Ok(answer) => return Ok((grant, connection, answer)),
                // It was closed while idle: says nothing about the endpoint.
                Err(Failure::Broken { silent: true, .. }) if connection.reused => {}
                Err(Failure::Broken { why, .. }) => break Attempt::Sent(why.to_string()),
                Err(Failure::Malformed(why)) => break Attempt::Useless(why),
                Err(Failure::ClientGone) => return Err(Reached::ClientGone),
                Err(Failure::TimedOut) => {
                    flight.upstream_failed();
                    return Err(Problem::UpstreamSilent {
                        endpoint: grant.address,
                        within,
                    }
                    .into());
                }
            }
        };
        client.out.clear();
        let (Attempt::NotSent(why) | Attempt::Sent(why) | Attempt::Useless(why)) = &failure;
        tracing::debug!(endpoint = %grant.address, pod = %grant.pod, why, "an attempt failed before the first byte");
        sent += u32::from(!matches!(failure, Attempt::NotSent(_)));
        if sent >= limits.attempts || matches!(failure, Attempt::Useless(_)) {
            flight.upstream_failed();
            return Err(Problem::UpstreamFailed {
                endpoint: grant.address,
                attempts: sent,
                why: why.clone(),
            }
            .into());
        }
        flight.try_another()?;
    }
}

/// How an attempt failed.
enum Attempt {
    /// No connection: the endpoint never saw the request.
    NotSent(String),
    /// It may have seen it, and said nothing useful.
    Sent(String),
    /// It answers, but not in HTTP: no use trying again.
    Useless(String),
}

/// Waits until the request is at an endpoint.
async fn placed(client: &mut Client, flight: &mut Flight) -> Result<(), Reached> {
    poll_fn(|cx| match flight.poll_placed(cx) {
        Poll::Ready(placed) => Poll::Ready(placed.map_err(Reached::Refused)),
        Poll::Pending => client.poll_gone(cx).map(|_| Err(Reached::ClientGone)),
    })
    .await
}

/// Adds to the answer's head in the outbox what is ours to say.
fn finish_head(
    client: &mut Client,
    answer: &AnswerHead,
    style: Style,
    grant: &Grant,
    flight: &Flight,
    request_id: &str,
    close: bool,
) {
    let out = &mut client.out;
    // Writing to a BytesMut cannot fail: it grows.
    let _ = match answer.body {
        Framing::Length(_) if answer.status == 204 || answer.status == 304 => Ok(()),
        Framing::Length(length) => write!(out, "content-length: {length}\r\n"),
        _ if style == Style::Plain => Ok(()),
        _ => write!(out, "transfer-encoding: chunked\r\n"),
    };
    let _ = write!(
        out,
        "{}: {}\r\n{}: {}\r\n{}: {}\r\n{}: {request_id}\r\n{}\r\n",
        names::ENDPOINT_HEADER,
        grant.address,
        names::POD_HEADER,
        grant.pod,
        names::QUEUE_MS_HEADER,
        flight.queued_for().as_millis(),
        names::REQUEST_ID_HEADER,
        if close { "connection: close\r\n" } else { "" },
    );
}
