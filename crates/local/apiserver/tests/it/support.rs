//! A server for one test, and ways to talk to it.

use std::time::Duration;

use apiserver::{Options, Running, serve};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Everything a test waits for happens within this time, or the test fails.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn start() -> Running {
    start_in(None).await
}

pub(crate) async fn start_in(data_dir: Option<&std::path::Path>) -> Running {
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: data_dir.map(Into::into),
    };
    serve(options).await.unwrap()
}

pub(crate) fn client(running: &Running) -> kube::Client {
    let uri = format!("http://{}", running.address).parse().unwrap();
    kube::Client::try_from(kube::Config::new(uri)).unwrap()
}

/// A client's view of one kind, by its types.
pub(crate) fn api<K>(running: &Running) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    Api::namespaced(client(running), "default")
}

pub(crate) fn from_json<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

pub(crate) async fn create<K>(api: &Api<K>, value: Value) -> K
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    api.create(&PostParams::default(), &from_json(value)).await.unwrap()
}

pub(crate) fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends a request as text and reads the whole answer.
pub(crate) async fn wire(running: &Running, method: &str, path: &str, headers: &str, body: &[u8]) -> Wire {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses early may close before all is sent.
    let _ = stream.write_all(body).await;
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    let split = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8(bytes[..split].to_vec()).unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    let rest = &bytes[split + 4..];
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { dechunked(rest) } else { rest.to_vec() };
    Wire { code, head, body }
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    body
}

pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

/// The lines of a watch that ends by itself.
pub(crate) async fn watched(running: &Running, path: &str, headers: &str) -> Vec<Value> {
    let answer = wire(running, "GET", path, headers, b"").await;
    assert_eq!(answer.code, 200, "{}", answer.text());
    answer
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Waits until a condition on an object holds, and fails when that takes too long.
pub(crate) async fn eventually<F, R>(what: &str, mut check: F)
where
    F: FnMut() -> R,
    R: Future<Output = bool>,
{
    let done = tokio::time::timeout(SOON, async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(done.await.is_ok(), "{what} did not happen in time");
}
