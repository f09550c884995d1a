use crate::backend::Backend;
use crate::client::{completion, post};
use crate::rig::Rig;
use std::time::Duration;

#[tokio::test]
async fn bad_input_is_told_its_place() {
    let backend = Backend::named("a").await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n");
    let cases = [
        (post("/v1/completions", "", ""), 400, "at byte 0"),
        (post("/v1/completions", "", "[]"), 400, "object"),
        (
            post("/v1/completions", "", r#"{"model":"m","prompt":"x"#),
            400,
            "at byte 24 (in field `prompt`)",
        ),
        (
            post("/v1/completions", "", r#"{"model":3}"#),
            400,
            "`model` must be a string",
        ),
        (post("/v1/completions", "", "{}"), 400, "GET /v1/models"),
        (
            post("/v1/completions", "", r#"{"model":"nope"}"#),
            404,
            "Known models: `m`",
        ),
        (post("/v2/completions", "", "{}"), 404, "/v2/completions"),
        (post("/v1/", "", "{}"), 404, "No route"),
        (post("/v1/models", "", ""), 405, "use GET"),
        (get("/v1/completions"), 405, "use POST"),
        (
            post("/v1/completions", "x-tidegate-deadline-ms: soon\r\n", "{}"),
            400,
            "x-tidegate-deadline-ms",
        ),
        (
            post("/v1/completions", "content-length: 9\r\n", "{}"),
            400,
            "content-length",
        ),
        ("POST /v1/completions HTTP/1.1\r\n\r\n".to_owned(), 400, "host"),
        ("what is this\r\n\r\n".to_owned(), 400, "request head"),
        ("\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_owned(), 400, "request head"),
        (
            post("/v1/completions", "transfer-encoding: gzip\r\n", ""),
            501,
            "chunked",
        ),
        (post("/v1/completions", &"a: b\r\n".repeat(200), ""), 431, "headers"),
        (
            post("/v1/completions", &format!("a: {}\r\n", "x".repeat(70_000)), ""),
            431,
            "longer than",
        ),
    ];
    for (request, status, says) in cases {
        let answer = rig.ask(&request).await;
        let start: String = request.chars().take(80).collect();
        assert_eq!(answer.status, status, "{start}: {answer:?}");
        assert!(answer.message().contains(says), "{start}: {}", answer.message());
        assert_eq!(answer.json()["error"]["code"], status);
    }
    assert_eq!(rig.ask(completion("")).await.status, 200);
    assert_eq!(backend.connections(), 1, "none of these reached the endpoint");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let rig = Rig::with(&[], |config| {
        config.limits.body_bytes = 2000;
    })
    .await;
    let announced = "POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-length: 2001\r\n\r\n";
    let answer = rig.ask(announced).await;
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert!(answer.message().contains("2000 bytes"));
    let chunked = "POST /v1/completions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = rig
        .ask(format!("{chunked}400\r\n{0}\r\n400\r\n{0}\r\n", " ".repeat(1024)))
        .await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn a_chunked_body_arrives_whole() {
    let backend = Backend::start(|mut conn, _| async move {
        while let Some(request) = conn.request().await {
            conn.json(200, std::str::from_utf8(&request.body).unwrap()).await;
        }
    })
    .await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    let head = "POST /v1/completions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = rig
        .ask(format!("{head}9\r\n{{\"model\":\r\n4\r\n\"m\"}}\r\n0\r\n\r\n"))
        .await;
    assert_eq!(answer.body, br#"{"model":"m"}"#);
    let answer = rig.ask(format!("{head}zz\r\n")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.message().contains("chunk size"));
}

#[tokio::test]
async fn a_large_prompt_goes_through() {
    let backend = Backend::start(|mut conn, _| async move {
        while let Some(request) = conn.request().await {
            conn.json(200, &format!(r#"{{"bytes":{}}}"#, request.body.len())).await;
        }
    })
    .await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    let request = post(
        "/v1/completions",
        "",
        &format!(r#"{{"model":"m","prompt":"{}"}}"#, "word ".repeat(600_000)),
    );
    let answer = rig.ask(&request).await;
    assert_eq!(answer.json()["bytes"], 3_000_025);
    let page = admin(&rig, "/metrics").await;
    assert!(page.contains("\ntidegate_gateway_buffered_bytes 0.0\n"), "{page}");
}

#[tokio::test]
async fn buffers_are_bounded_over_all_requests() {
    let rig = Rig::with(&[], |config| {
        config.limits.buffered_bytes = 100_000;
    })
    .await;
    let answer = rig.ask(post("/v1/completions", "", &" ".repeat(200_000))).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
}

#[tokio::test]
async fn a_client_may_ask_before_it_sends() {
    let backend = Backend::named("a").await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    let mut client = rig.client().await;
    let request = completion("").replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let (head, body) = request.split_at(request.find('{').unwrap());
    client.send(head).await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.ask(body).await.json()["by"], "a");
}

#[tokio::test]
async fn slow_clients_are_let_go() {
    let rig = Rig::with(&[], |config| {
        config.timeouts.head = Duration::from_millis(60);
        config.timeouts.body = Duration::from_millis(60);
        config.timeouts.keep_alive = Duration::from_millis(60);
    })
    .await;
    let answer = rig.ask("POST /v1/comp").await;
    assert_eq!(answer.status, 408);
    let answer = rig
        .ask("POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n{\"model\"")
        .await;
    assert_eq!(answer.status, 408);
    assert!(answer.message().contains("8 bytes of it came"), "{answer:?}");
    let mut idle = rig.client().await;
    assert!(!idle.more().await, "closed without a word");
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let rig = Rig::with(&[], |config| {
        config.limits.connections = 1;
    })
    .await;
    let mut first = rig.client().await;
    assert_eq!(first.ask("GET /health HTTP/1.1\r\nhost: t\r\n\r\n").await.status, 200);
    let answer = rig.client().await.answer().await;
    assert_eq!(answer.status, 503);
    assert!(answer.message().contains("All 1 connections"));
}

#[tokio::test]
async fn models_and_health_are_answered_here() {
    let rig = Rig::new(&[]).await;
    let mut client = rig.client().await;
    let answer = client.ask("GET /v1/models HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert_eq!(answer.json()["data"][0]["id"], "m");
    assert_eq!(client.ask("GET /health HTTP/1.1\r\nhost: t\r\n\r\n").await.status, 200);
}

pub(crate) async fn admin(rig: &Rig, path: &str) -> String {
    let mut client = crate::client::Client::connect(rig.running.admin_address.unwrap()).await;
    let answer = client.ask(format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n")).await;
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.body).unwrap()
}

#[tokio::test]
async fn numbers_are_on_the_admin_address() {
    let backend = Backend::named("a").await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    rig.ask(completion("")).await;
    rig.settled().await;
    let page = admin(&rig, "/metrics").await;
    for line in [
        "tidegate_gateway_requests_total{pool=\"ns/p\"} 1.0",
        "tidegate_gateway_requests_completed_total{pool=\"ns/p\"} 1.0",
        "tidegate_gateway_queue_seconds_count{pool=\"ns/p\"} 1.0",
        "# TYPE tidegate_gateway_time_to_first_token_seconds histogram",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    let signals: wire::signals::GatewaySignals = serde_json::from_str(&admin(&rig, "/signals").await).unwrap();
    assert_eq!(signals.pools["ns/p"].completed, 1);
    assert_eq!(admin(&rig, "/healthz").await, "ok\n");
}

/// Who decides elsewhere is told of a request that nobody can serve when it
/// comes, and of nothing when nothing is urgent.
#[tokio::test]
async fn a_moment_worth_a_decision_answers_who_waits_for_it() {
    let rig = Rig::new(&[]).await;
    let read = |text: String| serde_json::from_str::<wire::signals::GatewaySignals>(&text).unwrap();
    let before = read(admin(&rig, "/signals").await).moments.unwrap();
    let quiet = read(admin(&rig, &format!("/signals?after={before}&within_ms=20")).await);
    assert!(quiet.waited_ms >= 20 && quiet.moments == Some(before));
    let question = format!("/signals?after={before}&within_ms=5000");
    let (told, _held) = tokio::join!(admin(&rig, &question), async {
        let mut client = rig.client().await;
        client.send(completion("")).await;
        client
    });
    let told = read(told);
    assert!(told.moments > Some(before) && told.waited_ms < 5_000, "{told:?}");
    assert_eq!(told.pools["ns/p"].queued, 1);

    let admin = rig.running.admin_address.unwrap();
    for (query, word) in [
        ("after=1", "go together"),
        ("after=x&within_ms=1", "whole number"),
        ("since=1", "knows"),
    ] {
        let mut client = crate::client::Client::connect(admin).await;
        let answer = client
            .ask(format!("GET /signals?{query} HTTP/1.1\r\nhost: t\r\n\r\n"))
            .await;
        assert_eq!(answer.status, 400);
        assert!(String::from_utf8_lossy(&answer.body).contains(word), "{query}");
    }
}
