use crate::backend::Backend;
use crate::client::completion;
use crate::rig::{Rig, in_flight, queued};
use gateway::{Config, Discovery, StartError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_shut_down_finishes_streams_and_refuses_the_rest() {
    let go_on = Arc::new(Notify::new());
    let wait = go_on.clone();
    let backend = Backend::start(move |mut conn, _| {
        let wait = wait.clone();
        async move {
            conn.request().await;
            conn.stream_head().await;
            conn.event(r#"{"text":"a"}"#).await;
            wait.notified().await;
            conn.event(r#"{"text":"b"}"#).await;
            conn.send("0\r\n\r\n").await;
        }
    })
    .await;
    let rig = Rig::new(&[(backend.address, 1)]).await;
    let mut idle = rig.client().await;
    assert_eq!(idle.ask("GET /health HTTP/1.1\r\nhost: t\r\n\r\n").await.status, 200);
    let mut streaming = rig.client().await;
    streaming.send(completion("")).await;
    streaming.until("\"a\"").await;
    let mut waiting = rig.client().await;
    waiting.send(completion("")).await;
    rig.eventually("one streams, one waits", |handle| {
        in_flight(handle) == 1 && queued(handle) == 1
    })
    .await;

    rig.shutdown.cancel();
    let refused = waiting.answer().await;
    assert_eq!(refused.status, 503);
    assert_eq!(
        refused.header("x-llm-d-request-dropped-reason"),
        Some("rejected-shutting-down")
    );
    assert!(!idle.more().await, "idle connections are closed");
    let left = rig.handle().drain_state();
    assert!(left.draining && left.in_flight == 1 && left.queued == 0, "{left:?}");
    assert!(!rig.running.join.is_finished());
    go_on.notify_one();
    assert!(streaming.answer().await.whole);
    tokio::time::timeout(Duration::from_secs(10), rig.running.join)
        .await
        .expect("it ends")
        .unwrap();
    assert!(
        tokio::net::TcpStream::connect(rig.running.address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn draining_is_bounded() {
    let backend = Backend::start(|mut conn, _| async move {
        conn.request().await;
        conn.stream_head().await;
        conn.closed().await;
    })
    .await;
    let rig = Rig::with(&[(backend.address, 1)], |config| {
        config.timeouts.drain = Duration::from_millis(50);
    })
    .await;
    let mut client = rig.client().await;
    client.send(completion("")).await;
    client.head().await;
    rig.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), rig.running.join)
        .await
        .expect("it ends")
        .unwrap();
    assert!(!client.more().await);
    let pool = &rig.running.handle.signals().pools["ns/p"];
    assert_eq!((pool.in_flight, pool.failed["cancelled"]), (0, 1));
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let rig = Rig::new(&[]).await;
    let taken = rig.running.address;
    let error = gateway::start(
        Config::new(taken),
        Discovery::Static(Vec::new()),
        CancellationToken::new(),
    )
    .await;
    let error = error.unwrap_err();
    assert!(matches!(error, StartError::Listen { address, what: "listen", .. } if address == taken));
    assert!(error.to_string().contains(&taken.to_string()) && error.to_string().contains("choose another port"));
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let mut config = Config::new(([127, 0, 0, 1], 0).into());
    config.admin = Some(([0, 0, 0, 0], 0).into());
    let start = |config| gateway::start(config, Discovery::Static(Vec::new()), CancellationToken::new());
    assert!(
        start(config.clone())
            .await
            .unwrap_err()
            .to_string()
            .contains("loopback")
    );
    config.admin = None;
    config.workers = 0;
    assert!(start(config).await.unwrap_err().to_string().starts_with("workers: 0"));
}
