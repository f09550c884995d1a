//! One client connection, request by request.

use super::Answer;
use super::client::{Client, Short};
use super::head::{self, Framing, Method, RequestHead};
use super::problem::Problem;
use super::proxy::{Ended, Routed, proxy};
use crate::fleet::Shared;
use crate::upstream::Idle;
use api::names;
use bytes::{Bytes, BytesMut};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Bodies up to this size are not counted against the buffers.
const SMALL_BODY: usize = 64 << 10;
/// Room made for a body before any of it has come.
const FIRST_ROOM: usize = 1 << 20;

/// What the connections of one thread share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) idle: Idle,
    pub(crate) shutdown: CancellationToken,
}

/// A request's body.
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    pub(crate) charge: Option<Charge>,
}

/// A hold on the gateway's buffer space.
#[derive(Debug)]
pub(crate) struct Charge {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Charge {
    fn grow(&mut self, to: usize) -> Result<(), Problem> {
        let more = to.saturating_sub(self.bytes);
        let limit = self.shared.limits.buffered_bytes;
        if self.shared.buffered.fetch_add(more, Ordering::Relaxed) + more > limit {
            self.shared.buffered.fetch_sub(more, Ordering::Relaxed);
            return Err(Problem::OutOfBuffers { limit });
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shared.buffered.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Counts a connection while it lives.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one client until it or the gateway has had enough.
pub(crate) async fn connection(worker: Arc<Worker>, stream: TcpStream) {
    let shared = &worker.shared;
    let others = shared.connections.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted(&shared.connections);
    let stall = shared.timeouts.client_stall;
    let mut client = Client::new(stream);
    if others >= shared.limits.connections {
        let problem = Problem::TooManyConnections {
            limit: shared.limits.connections,
        };
        turn_away(&worker, client, &problem).await;
        return;
    }
    loop {
        let request = match next_request(&worker, &mut client).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(problem) => return turn_away(&worker, client, &problem).await,
        };
        match respond(&worker, &mut client, request).await {
            Next::KeepAlive => {}
            Next::Close => return client.linger().await,
            Next::Lost => return,
            Next::TurnAway(problem) => return turn_away(&worker, client, &problem).await,
        }
        if client.inbox.capacity() > (128 << 10) && client.inbox.is_empty() {
            client.inbox = BytesMut::new();
        }
        if client.flush(stall).await.is_err() {
            return;
        }
    }
}

/// What happens to the connection after a request.
enum Next {
    KeepAlive,
    Close,
    Lost,
    /// Answer with an error and close, since the rest of the request is unread.
    TurnAway(Problem),
}

async fn turn_away(worker: &Worker, mut client: Client, problem: &Problem) {
    count(worker, problem);
    if client
        .answer(&Answer::from(problem), true, worker.shared.timeouts.client_stall)
        .await
        .is_ok()
    {
        client.linger().await;
    }
}

fn count(worker: &Worker, problem: &Problem) {
    *worker.shared.turned_away.lock().entry(problem.status()).or_insert(0) += 1;
}

/// Waits for a request and reads its head; `None` when there will be none.
async fn next_request(worker: &Worker, client: &mut Client) -> Result<Option<RequestHead>, Problem> {
    let timeouts = &worker.shared.timeouts;
    if client.inbox.is_empty() {
        client.timer.set(timeouts.keep_alive);
        let mut shutdown = pin!(worker.shutdown.cancelled());
        let mut first = pin!(client.fill());
        let came = poll_fn(|cx| match first.as_mut().poll(cx) {
            Poll::Ready(came) => Poll::Ready(came.is_ok()),
            Poll::Pending => shutdown.as_mut().poll(cx).map(|()| false),
        });
        if !came.await {
            return Ok(None);
        }
    }
    client.timer.set(timeouts.head);
    let mut seen = 0;
    loop {
        // A head is looked at once per line, not once per byte of a client that trickles.
        if seen == 0 || client.inbox[seen..].contains(&b'\n') {
            while matches!(client.inbox.first(), Some(b'\r' | b'\n')) {
                bytes::Buf::advance(&mut client.inbox, 1);
            }
            if let Some(head) = head::request(&mut client.inbox, worker.shared.limits.head_bytes)? {
                return Ok(Some(head));
            }
        } else if client.inbox.len() > worker.shared.limits.head_bytes {
            return Err(Problem::HeadTooLarge {
                limit: worker.shared.limits.head_bytes,
            });
        }
        seen = client.inbox.len();
        match client.fill().await {
            Ok(()) => {}
            Err(Short::TimedOut) => return Err(Problem::HeadTimeout(timeouts.head)),
            Err(Short::Gone) => return Ok(None),
        }
    }
}

/// Answers one request.
async fn respond(worker: &Worker, client: &mut Client, head: RequestHead) -> Next {
    let shared = &worker.shared;
    let request_id = head
        .request_id
        .clone()
        .unwrap_or_else(|| format!("tg-{:x}-{:x}", shared.clock.started_unix_ms, shared.next_request()));
    match own_route(worker, &head) {
        Route::Proxy => {}
        Route::Own(answer) if matches!(head.body, Framing::Length(0)) => {
            return reply(
                worker,
                client,
                answer.header(names::REQUEST_ID_HEADER, request_id),
                head.close,
            )
            .await;
        }
        // A body that nobody asked for stays unread.
        Route::Own(answer) => {
            return reply(
                worker,
                client,
                answer.header(names::REQUEST_ID_HEADER, request_id),
                true,
            )
            .await;
        }
        Route::Problem(problem) => {
            let close = head.close || !matches!(head.body, Framing::Length(0));
            return refuse(worker, client, &problem, request_id, close).await;
        }
    }
    if shared.draining.load(Ordering::Relaxed) {
        return refuse(worker, client, &Problem::ShuttingDown, request_id, true).await;
    }
    let body = match read_body(worker, client, &head).await {
        Ok(Some(body)) => body,
        Ok(None) => return Next::Lost,
        Err(problem) => return Next::TurnAway(problem),
    };
    let close = head.close;
    let routed = match route(shared, head, body, &request_id) {
        Ok(routed) => routed,
        Err(problem) => return refuse(worker, client, &problem, request_id, close).await,
    };
    match proxy(worker, client, routed).await {
        Ended::Answered { close: false } => Next::KeepAlive,
        Ended::Answered { close: true } => Next::Close,
        Ended::Refused(problem) => {
            let close = close || shared.draining.load(Ordering::Relaxed);
            refuse(worker, client, &problem, request_id, close).await
        }
        Ended::Lost => Next::Lost,
    }
}

async fn reply(worker: &Worker, client: &mut Client, answer: Answer, close: bool) -> Next {
    match client.answer(&answer, close, worker.shared.timeouts.client_stall).await {
        Ok(()) if close => Next::Close,
        Ok(()) => Next::KeepAlive,
        Err(_) => Next::Lost,
    }
}

async fn refuse(worker: &Worker, client: &mut Client, problem: &Problem, request_id: String, close: bool) -> Next {
    count(worker, problem);
    client.out.clear();
    reply(
        worker,
        client,
        Answer::from(problem).header(names::REQUEST_ID_HEADER, request_id),
        close,
    )
    .await
}

enum Route {
    Proxy,
    Own(Answer),
    Problem(Problem),
}

fn own_route(worker: &Worker, head: &RequestHead) -> Route {
    let shared = &worker.shared;
    let path = head.path.as_str();
    match (path, head.method) {
        ("/health", Method::Get) if shared.draining.load(Ordering::Relaxed) => Route::Problem(Problem::ShuttingDown),
        ("/health", Method::Get) => Route::Own(Answer::new(200, "text/plain", Vec::new())),
        ("/v1/models", Method::Get) => Route::Own(models(shared)),
        ("/health" | "/v1/models", _) => Route::Problem(Problem::WrongMethod { allow: "GET" }),
        (_, Method::Post) if takes_model(path) => Route::Proxy,
        (_, _) if takes_model(path) => Route::Problem(Problem::WrongMethod { allow: "POST" }),
        _ => Route::Problem(Problem::UnknownPath(path.chars().take(200).collect())),
    }
}

fn takes_model(path: &str) -> bool {
    path.strip_prefix("/v1/").is_some_and(|rest| !rest.is_empty()) || matches!(path, "/tokenize" | "/detokenize")
}

fn models(shared: &Shared) -> Answer {
    let table = shared.table.load();
    let created = shared.clock.started_unix_ms / 1000;
    let data: Vec<_> = table
        .models()
        .into_iter()
        .map(|id| serde_json::json!({ "id": id, "object": "model", "created": created, "owned_by": "tidegate" }))
        .collect();
    Answer::json(
        serde_json::json!({ "object": "list", "data": data })
            .to_string()
            .into_bytes(),
    )
}

/// Reads the body as far as the limits allow; `None` if the client went away.
async fn read_body(worker: &Worker, client: &mut Client, head: &RequestHead) -> Result<Option<Body>, Problem> {
    let limit = worker.shared.limits.body_bytes;
    if let Framing::Length(length) = head.body
        && length > limit as u64
    {
        return Err(Problem::BodyTooLarge { limit });
    }
    let all_here = matches!(head.body, Framing::Length(length) if client.inbox.len() as u64 >= length);
    if head.expects_continue && !all_here {
        client.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        if client.flush(worker.shared.timeouts.client_stall).await.is_err() {
            return Ok(None);
        }
    }
    let within = worker.shared.timeouts.body;
    client.timer.set(within);
    let mut charge = Charge {
        shared: worker.shared.clone(),
        bytes: 0,
    };
    let mut body = BytesMut::new();
    let read = match head.body {
        Framing::Length(length) => {
            let length = usize::try_from(length).map_err(|_| Problem::BodyTooLarge { limit })?;
            read_length(client, &mut body, length, &mut charge).await
        }
        Framing::Chunked(mut chunks) => {
            let mut read = Ok(());
            while !chunks.is_done() && read.is_ok() {
                if client.inbox.is_empty() {
                    read = client.fill().await.map_err(Stop::Short);
                }
                let used = chunks
                    .advance(&client.inbox, |piece| body.extend_from_slice(piece))
                    .map_err(Problem::BadChunking)?;
                bytes::Buf::advance(&mut client.inbox, used);
                if body.len() > limit {
                    return Err(Problem::BodyTooLarge { limit });
                }
                if body.len() > SMALL_BODY {
                    charge.grow(body.len())?;
                }
            }
            read
        }
        Framing::UntilClose => Ok(()),
    };
    match read {
        Ok(()) => {
            let charge = if charge.bytes > 0 { Some(charge) } else { None };
            Ok(Some(Body {
                bytes: body.freeze(),
                charge,
            }))
        }
        Err(Stop::Short(Short::Gone)) => Ok(None),
        Err(Stop::Short(Short::TimedOut)) => Err(Problem::BodyTimeout {
            got: body.len(),
            within,
        }),
        Err(Stop::Problem(problem)) => Err(problem),
    }
}

/// Why reading a body stopped.
enum Stop {
    Short(Short),
    Problem(Problem),
}

async fn read_length(client: &mut Client, body: &mut BytesMut, length: usize, charge: &mut Charge) -> Result<(), Stop> {
    *body = client.inbox.split_to(length.min(client.inbox.len()));
    while body.len() < length {
        // Space is taken as the body comes, so that announcing a body costs nothing.
        let room = (body.len() * 2).max(FIRST_ROOM).min(length);
        if length > SMALL_BODY {
            charge.grow(room).map_err(Stop::Problem)?;
        }
        body.reserve(room - body.len());
        client.fill_body(body, room - body.len()).await.map_err(Stop::Short)?;
    }
    Ok(())
}

/// Finds the pool of a request by the model its body names.
fn route(shared: &Shared, head: RequestHead, body: Body, request_id: &str) -> Result<Routed, Problem> {
    let fields = wire::scan::fields(&body.bytes).map_err(Problem::BadBody)?;
    let model = fields.model.ok_or(Problem::NoModel)?;
    let table = shared.table.load();
    let Some(pool) = table.by_model.get(model.name.as_ref()) else {
        let names = table.models();
        let mut known = names
            .iter()
            .take(20)
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ");
        if names.len() > 20 {
            known.push_str(", ...");
        }
        return Err(Problem::UnknownModel {
            model: model.name.chars().take(200).collect(),
            known,
        });
    };
    // Four bytes to a token, as English has it; only ever compared with its like.
    let tokens = body.bytes.len() as u64 / 4 + fields.max_tokens.unwrap_or(0).min(1 << 20);
    let pool = pool.clone();
    Ok(Routed {
        pool,
        head,
        body,
        request_id: request_id.to_owned(),
        tokens,
    })
}
