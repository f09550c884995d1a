//! The admin listener: numbers for machines, on a loopback address.

use crate::fleet::Shared;
use crate::http::Answer;
use crate::http::client::Client;
use crate::http::head::{self, Method};
use crate::http::problem::Problem;
use crate::metrics;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at once; more wait to be accepted.
const MOST_CONNECTIONS: usize = 64;
const WITHIN: Duration = Duration::from_secs(10);
/// Longest time an answer is held back.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Serves `/metrics`, `/signals` and `/healthz`, for ever.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                connections.spawn(async move {
                    connection(stream, &shared).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting on the admin address failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: &Shared) {
    let mut client = Client::new(stream);
    loop {
        client.timer.set(WITHIN);
        let head = loop {
            match head::request(&mut client.inbox, shared.limits.head_bytes) {
                Ok(Some(head)) => break Ok(head),
                Ok(None) => {}
                Err(problem) => break Err(problem),
            }
            if client.fill().await.is_err() {
                return;
            }
        };
        let (answer, close) = match head {
            Ok(head) => (
                answer(shared, head.method, &head.path, head.query.as_deref()).await,
                head.close || head.method != Method::Get,
            ),
            Err(problem) => (Answer::from(&problem), true),
        };
        let written = client.answer(&answer, close, WITHIN).await;
        if written.is_ok() && close {
            client.linger().await;
            return;
        }
        if written.is_err() {
            return;
        }
    }
}

/// The count of moments to wait beyond, and how long, if a query says so.
fn awaited(query: &str) -> Result<Option<(u64, Duration)>, String> {
    let (mut after, mut within) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "after" => &mut after,
            "within_ms" => &mut within,
            _ => return Err(format!("{name}: /signals knows after and within_ms\n")),
        };
        let number = value.parse::<u64>();
        *place = Some(number.map_err(|_| format!("{name} is {value:?}: it must be a whole number\n"))?);
    }
    match (after, within) {
        (None, None) => Ok(None),
        (Some(after), Some(within)) => Ok(Some((after, Duration::from_millis(within).min(LONGEST_WAIT)))),
        _ => Err("after and within_ms go together\n".to_owned()),
    }
}

async fn answer(shared: &Shared, method: Method, path: &str, query: Option<&str>) -> Answer {
    if method != Method::Get {
        return Answer::from(&Problem::WrongMethod { allow: "GET" });
    }
    match path {
        "/metrics" => Answer::new(
            200,
            "text/plain; version=0.0.4; charset=utf-8",
            metrics::render(shared).into_bytes(),
        ),
        "/signals" => {
            let signals = match awaited(query.unwrap_or_default()) {
                Ok(None) => shared.signals(),
                Ok(Some((after, within))) => shared.signals_after(after, within).await,
                Err(why) => return Answer::new(400, "text/plain", why.into_bytes()),
            };
            match serde_json::to_vec(&signals) {
                Ok(json) => Answer::json(json),
                Err(error) => Answer::new(500, "text/plain", error.to_string().into_bytes()),
            }
        }
        "/healthz" => Answer::new(200, "text/plain", b"ok\n".to_vec()),
        _ => Answer::new(
            404,
            "text/plain",
            b"There are /metrics, /signals and /healthz.\n".to_vec(),
        ),
    }
}
