//! A server for one test, and a client that says what it sends.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use modelserver::{Args, Running};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer, however busy the machine is.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Starts a server on a free port with the flags of `line`.
pub(crate) async fn serve(line: &str) -> Running {
    let flags = ["--port", "0"].into_iter().chain(line.split_whitespace());
    modelserver::start(Args::from_flags(flags).unwrap(), CancellationToken::new())
        .await
        .unwrap()
}

/// A server that answers at once: small steps, no overheads, one model `m`.
pub(crate) async fn quick(line: &str) -> Running {
    serve(&format!(
        "--served-model-name m --api-overhead 0s --step-alpha 1ms --step-delta 1us --num-gpu-blocks-override 1000 {line}"
    ))
    .await
}

/// A request on a connection of its own. Dropping it closes the connection.
pub(crate) struct Asked {
    pub(crate) response: Response<Incoming>,
    connection: JoinHandle<()>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

pub(crate) async fn ask(address: SocketAddr, method: Method, path: &str, body: impl Into<Bytes>) -> Asked {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "sim")
        .header("content-type", "application/json");
    send(address, request.body(Full::new(body.into())).unwrap()).await
}

pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Asked {
    let asking = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        let response = sender.send_request(request).await;
        Asked {
            response: response.unwrap(),
            connection,
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.expect("an answer in time")
}

impl Asked {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) async fn text(mut self) -> String {
        let collecting = self.response.body_mut().collect();
        let body = tokio::time::timeout(DEADLINE, collecting)
            .await
            .expect("a body in time")
            .unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    }

    pub(crate) async fn json(self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }

    /// The next piece of a stream, as text.
    pub(crate) async fn piece(&mut self) -> String {
        let frame = tokio::time::timeout(DEADLINE, self.response.body_mut().frame())
            .await
            .expect("more in time");
        let data = frame.expect("the stream goes on").unwrap().into_data().unwrap();
        String::from_utf8(data.to_vec()).unwrap()
    }

    /// All events of a stream to its end.
    pub(crate) async fn events(self) -> Vec<String> {
        events(&self.text().await)
    }
}

pub(crate) fn events(text: &str) -> Vec<String> {
    text.split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").expect("data").to_owned())
        .collect()
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Asked {
    ask(address, Method::GET, path, "").await
}

pub(crate) async fn post(address: SocketAddr, path: &str, body: impl Into<Bytes>) -> Asked {
    ask(address, Method::POST, path, body).await
}

/// The value of a series on the metrics page, by the beginning of its line.
pub(crate) async fn metric(address: SocketAddr, series: &str) -> f64 {
    let page = get(address, "/metrics").await.text().await;
    let line = page.lines().find(|line| line.starts_with(series));
    let line = line.unwrap_or_else(|| panic!("no {series} on the page"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Asks again until the series has the value.
pub(crate) async fn until_metric(address: SocketAddr, series: &str, value: f64) {
    let asking = async {
        while metric(address, series).await != value {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(DEADLINE, asking).await.is_err() {
        panic!("{series} is {}, never {value}", metric(address, series).await);
    }
}
