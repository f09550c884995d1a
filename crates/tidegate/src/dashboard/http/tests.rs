use super::*;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Still(watch::Sender<u64>);

impl Feed for Still {
    fn snapshot(&self) -> Input {
        Input {
            version: "0.1.0".to_owned(),
            addresses: Vec::new(),
            gateway: Err("no gateway here".to_owned()),
            slos: Vec::new(),
            variants: Vec::new(),
            decisions: Vec::new(),
        }
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// A page on a free port, and the switch that ends it.
async fn page() -> (u16, CancellationToken, tokio::task::JoinHandle<Result<(), ServeError>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let over = CancellationToken::new();
    let served = serve(
        listener,
        Arc::new(Still(watch::channel(0).0)),
        over.clone().cancelled_owned(),
    );
    (port, over, tokio::spawn(served))
}

/// Sends `head` and reads until the answer holds `until` or ends.
async fn ask(port: u16, head: &str, until: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let mut chunk = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut chunk))
            .await
            .unwrap()
            .unwrap();
        answer.extend_from_slice(&chunk[..read]);
        if read == 0 || (!until.is_empty() && String::from_utf8_lossy(&answer).contains(until)) {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(port: u16, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn the_page_its_assets_and_its_state_are_served_with_a_strict_policy() {
    let (port, over, served) = page().await;
    for (path, _, text) in ASSETS {
        let answer = ask(port, &get(port, path), "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        assert!(
            answer.contains("default-src 'none'") && answer.ends_with(text),
            "{path}"
        );
    }
    let state = ask(port, &get(port, "/state"), "").await;
    assert!(state.contains(r#""headline":{"level":"unknown""#), "{state}");
    over.cancel();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn events_begin_at_once_go_on_every_second_and_end_with_the_server() {
    let (port, over, served) = page().await;
    let request = format!("GET /events HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();
    let mut chunk = [0; 4096];
    while seen.matches("data: {").count() < 3 {
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut chunk))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(read, 0, "ended early: {seen}");
        seen.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    assert!(
        seen.contains("text/event-stream") && seen.contains("retry: 1000"),
        "{seen}"
    );
    over.cancel();
    tokio::time::timeout(Duration::from_secs(5), served)
        .await
        .expect("an open page must not hold the end up")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn nothing_can_be_changed_and_unknown_paths_are_told() {
    let (port, over, served) = page().await;
    let post =
        format!("POST /state HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(ask(port, &post, "").await.starts_with("HTTP/1.1 405"));
    assert!(ask(port, &get(port, "/nope"), "").await.starts_with("HTTP/1.1 404"));
    over.cancel();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_others_can_reach_is_refused() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let feed = Arc::new(Still(watch::channel(0).0));
    let refused = serve(listener, feed, std::future::pending()).await.unwrap_err();
    assert!(refused.to_string().contains("not a loopback address"), "{refused}");
}

#[test]
fn only_a_reader_of_this_very_page_is_let_in() {
    for (case, headers, path, allowed) in [
        ("by address", &[("host", "127.0.0.1:8090")][..], "/events", true),
        ("by name", &[("host", "LocalHost:8090")], "/", true),
        ("by IPv6 address", &[("host", "[::1]:8090")], "/state", true),
        ("no host", &[], "/state", false),
        (
            "a name rebound to loopback",
            &[("host", "evil.example:8090")],
            "/state",
            false,
        ),
        (
            "a name that begins like ours",
            &[("host", "127.0.0.1.evil.example:8090")],
            "/state",
            false,
        ),
        ("another port", &[("host", "127.0.0.1:80")], "/state", false),
        (
            "our own script",
            &[("host", "localhost:8090"), ("origin", "http://localhost:8090")],
            "/events",
            true,
        ),
        (
            "a script of another origin",
            &[("host", "localhost:8090"), ("origin", "https://evil.example")],
            "/events",
            false,
        ),
        (
            "a sandboxed script",
            &[("host", "localhost:8090"), ("origin", "null")],
            "/events",
            false,
        ),
        (
            "an image of another page",
            &[("host", "localhost:8090"), ("sec-fetch-site", "cross-site")],
            "/state",
            false,
        ),
        (
            "another port's page",
            &[("host", "localhost:8090"), ("sec-fetch-site", "same-site")],
            "/state",
            false,
        ),
        (
            "a link from elsewhere",
            &[
                ("host", "localhost:8090"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
            ],
            "/",
            true,
        ),
    ] {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        assert_eq!(refusal(&headers, path, 8090).is_none(), allowed, "{case}");
    }
}

#[test]
fn the_page_stays_small_and_speaks_to_no_other_host() {
    let bytes: usize = ASSETS.iter().map(|(_, _, text)| text.len()).sum();
    assert!(bytes < 150_000, "{bytes} bytes");
    for (path, _, text) in ASSETS {
        let text = text.replace("http://www.w3.org/", "");
        assert!(!text.contains("http://") && !text.contains("https://"), "{path}");
    }
}
