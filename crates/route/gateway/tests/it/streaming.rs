use crate::backend::{Backend, header};
use crate::client::{completion, post};
use crate::rig::{Rig, in_flight};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

#[tokio::test]
async fn a_stream_passes_through_byte_for_byte() {
    // Odd chunk borders, an extension, and a trailer: framing is the endpoint's own.
    const BODY: &str = "18;x=1\r\ndata: {\"text\":\"a\"}\n\ndata\r\n15\r\n: {\"text\":\"b\"}\n\ndata:\r\n8\r\n [DONE]\n\r\n1\r\n\n\r\n0\r\nx-t: 1\r\n\r\n";
    let backend = Backend::start(|mut conn, _| async move {
        while conn.request().await.is_some() {
            conn.stream_head().await;
            for byte in BODY.as_bytes().chunks(3) {
                conn.send(byte).await;
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    let mut client = rig.client().await;
    client.send(completion(r#","stream":true"#)).await;
    let head = client.head().await;
    client.until("x-t: 1\r\n\r\n").await;
    assert_eq!(client.inbox, BODY.as_bytes());
    assert_eq!(header(&head, "content-type"), Some("text/event-stream"));
    assert_eq!(
        header(&head, "x-tidegate-endpoint"),
        Some(backend.address.to_string().as_str())
    );
    assert_eq!(header(&head, "x-tidegate-pod"), Some("pod-0"));
    assert_eq!(header(&head, "x-tidegate-queue-ms"), Some("0"));
    assert!(header(&head, "x-request-id").is_some_and(|id| id.starts_with("tg-")));
    let signals = rig.settled().await;
    assert_eq!((signals.completed, signals.output_tokens), (1, 2));
    // Tokens that come with the first have no gap before them.
    assert!(
        signals.ttft_ms.count() == 1 && signals.itl_ms.count() <= 1,
        "{signals:?}"
    );
}

#[tokio::test]
async fn the_endpoint_sees_the_request_as_it_was_meant() {
    let backend = Backend::start(|mut conn, _| async move {
        while let Some(request) = conn.request().await {
            let seen = serde_json::json!({"head": request.head, "body": String::from_utf8(request.body).unwrap()});
            conn.json(200, &seen.to_string()).await;
        }
    })
    .await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    let body = r#"{"model":"m","messages":[]}"#;
    let headers = "authorization: Bearer k\r\nconnection: x-hop\r\nx-hop: 1\r\nx-request-id: mine\r\nx-tidegate-deadline-ms: 900\r\n";
    let answer = rig.ask(post("/v1/chat/completions?a=b", headers, body)).await;
    assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("mine")));
    let seen = answer.json();
    assert_eq!(seen["body"], body);
    assert_eq!(
        seen["head"],
        format!(
            "POST /v1/chat/completions?a=b HTTP/1.1\r\nauthorization: Bearer k\r\ncontent-type: application/json\r\n\
             x-request-id: mine\r\ncontent-length: {}\r\nhost: {}\r\n\r\n",
            body.len(),
            backend.address
        )
    );
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let backend = Backend::named("a").await;
    let rig = Rig::with(&[(backend.address, 4)], |config| {
        config.workers = 1;
    })
    .await;
    let mut client = rig.client().await;
    // Two requests in one write, then more one by one.
    client.send(completion("").repeat(2)).await;
    for _ in 0..2 {
        assert_eq!(client.answer().await.json()["by"], "a");
    }
    for _ in 0..5 {
        assert_eq!(client.ask(completion("")).await.status, 200);
    }
    assert_eq!(backend.connections(), 1);
    assert_eq!(rig.settled().await.completed, 7);
}

#[tokio::test]
async fn usage_is_read_from_the_answer() {
    let backend = Backend::start(|mut conn, _| async move {
        while let Some(request) = conn.request().await {
            if memchr::memmem::find(&request.body, b"true").is_some() {
                conn.stream_head().await;
                conn.event(r#"{"choices":[{"text":"ab"}]}"#).await;
                conn.event(r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#)
                    .await;
                conn.send("0\r\n\r\n").await;
            } else {
                conn.json(
                    200,
                    r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":16}}"#,
                )
                .await;
            }
        }
    })
    .await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    rig.ask(completion("")).await;
    rig.ask(completion(r#","stream":true"#)).await;
    let signals = rig.settled().await;
    assert_eq!((signals.prompt_tokens, signals.output_tokens), (12, 19));
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection() {
    let backend = Backend::start(|mut conn, _| async move {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhel")
            .await;
        conn.send("lo").await;
    })
    .await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    let answer = rig.ask(completion("")).await;
    assert!(answer.whole && answer.header("transfer-encoding") == Some("chunked"));
    assert!(answer.body.ends_with(b"0\r\n\r\n"), "{answer:?}");
    let old = completion("").replace("HTTP/1.1", "HTTP/1.0");
    let answer = rig.ask(old).await;
    assert_eq!(
        (answer.body.as_slice(), answer.header("transfer-encoding")),
        (&b"hello"[..], None)
    );
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_work_at_the_endpoint() {
    let noticed = Arc::new(Notify::new());
    let tell = noticed.clone();
    let backend = Backend::start(move |mut conn, _| {
        let tell = tell.clone();
        async move {
            conn.request().await;
            conn.stream_head().await;
            conn.event(r#"{"text":"a"}"#).await;
            conn.closed().await;
            tell.notify_one();
        }
    })
    .await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    let mut client = rig.client().await;
    client.send(completion("")).await;
    client.until("\"a\"").await;
    drop(client);
    tokio::time::timeout(Duration::from_secs(5), noticed.notified())
        .await
        .expect("the endpoint is told");
    rig.settled().await;
    assert_eq!(rig.failed("cancelled"), 1);
}

#[tokio::test]
async fn a_thousand_streams_at_once() {
    let backend = Backend::start(|mut conn, _| async move {
        while conn.request().await.is_some() {
            conn.stream_head().await;
            for _ in 0..5 {
                conn.event(r#"{"text":"tok"}"#).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            conn.send("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let rig = Rig::new(&[(backend.address, 1000)]).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let address = rig.running.address;
        clients.spawn(async move {
            let answer = crate::client::Client::connect(address)
                .await
                .ask(completion(r#","stream":true"#))
                .await;
            assert!(answer.whole && answer.status == 200);
            memchr::memmem::find_iter(&answer.body, "tok").count()
        });
    }
    assert_eq!(clients.join_all().await.iter().sum::<usize>(), 5000);
    let signals = rig.settled().await;
    assert_eq!((signals.completed, signals.output_tokens), (1000, 5000));
    assert_eq!(in_flight(&rig.handle()), 0);
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_everything() {
    let backend = Backend::start(|mut conn, _| async move {
        while conn.request().await.is_some() {
            conn.json(200, &"x".repeat(3 << 20)).await;
        }
    })
    .await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    let mut client = rig.client().await;
    // Less room than the answer takes, so that the gateway must wait for this client.
    let socket = socket2::SockRef::from(&client.stream);
    socket.set_recv_buffer_size(128 << 10).unwrap();
    client.send(completion("")).await;
    client.head().await;
    while client.inbox.len() < 3 << 20 {
        assert!(client.more().await);
    }
    assert!(client.inbox.iter().all(|&byte| byte == b'x'));
    assert_eq!(rig.settled().await.completed, 1);
}
