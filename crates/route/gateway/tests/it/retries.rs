use crate::backend::{Backend, nowhere};
use crate::client::completion;
use crate::rig::Rig;

#[tokio::test]
async fn a_refused_connection_is_tried_elsewhere() {
    let backend = Backend::named("good").await;
    let rig = Rig::new(&[(nowhere().await, 4), (backend.address, 4)]).await;
    for _ in 0..6 {
        let answer = rig.ask(completion("")).await;
        assert_eq!((answer.status, answer.json()["by"].as_str()), (200, Some("good")));
    }
    let signals = rig.settled().await;
    assert_eq!(signals.completed, 6);
    assert!(signals.endpoints.values().any(|endpoint| endpoint.failed >= 1));
}

#[tokio::test]
async fn a_reset_before_the_first_byte_is_tried_elsewhere() {
    let bad = Backend::start(|mut conn, _| async move {
        conn.request().await;
    })
    .await;
    let good = Backend::named("good").await;
    let rig = Rig::new(&[(bad.address, 4), (good.address, 4)]).await;
    for _ in 0..4 {
        assert_eq!(rig.ask(completion("")).await.json()["by"], "good");
    }
    assert!(bad.connections() >= 1);
}

#[tokio::test]
async fn an_endpoint_that_is_starting_is_passed_over() {
    let starting =
        Backend::start(
            |mut conn, _| async move { while conn.request().await.is_some() && conn.json(503, "{}").await {} },
        )
        .await;
    let good = Backend::named("good").await;
    let rig = Rig::new(&[(starting.address, 4), (good.address, 4)]).await;
    for _ in 0..4 {
        assert_eq!(rig.ask(completion("")).await.json()["by"], "good");
    }
    assert!(starting.connections() >= 1);
}

#[tokio::test]
async fn a_pool_of_one_tries_again_until_it_is_up() {
    // Down for the first two connections, then up.
    let backend = Backend::start(|mut conn, number| async move {
        while conn.request().await.is_some() {
            if number < 2 || !conn.json(200, "{}").await {
                return;
            }
        }
    })
    .await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    assert_eq!(rig.ask(completion("")).await.status, 200);
    assert_eq!(backend.connections(), 3);
}

#[tokio::test]
async fn attempts_are_counted_and_then_it_is_a_bad_gateway() {
    let backend = Backend::start(|mut conn, _| async move {
        conn.request().await;
    })
    .await;
    let rig = Rig::with(&[(backend.address, 4)], |config| {
        config.limits.attempts = 2;
    })
    .await;
    let answer = rig.ask(completion("")).await;
    assert_eq!(answer.status, 502);
    assert!(answer.message().contains(&backend.address.to_string()), "{answer:?}");
    assert_eq!(backend.connections(), 2);
    rig.settled().await;
    assert_eq!(rig.failed("upstream_error"), 1);
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_http_is_a_bad_gateway() {
    let backend = Backend::start(|mut conn, _| async move {
        conn.request().await;
        conn.send("220 smtp ready\r\n").await;
    })
    .await;
    let rig = Rig::new(&[(backend.address, 4)]).await;
    let answer = rig.ask(completion("")).await;
    assert_eq!((answer.status, backend.connections()), (502, 1));
}

#[tokio::test]
async fn after_the_first_byte_nothing_is_tried_again() {
    let dying = Backend::start(|mut conn, _| async move {
        conn.request().await;
        conn.stream_head().await;
        conn.event(r#"{"text":"a"}"#).await;
    })
    .await;
    let rig = Rig::new(&[(dying.address, 4)]).await;
    let answer = rig.ask(completion(r#","stream":true"#)).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.whole, "the client sees the cut: {answer:?}");
    assert_eq!(dying.connections(), 1);
    rig.settled().await;
    assert_eq!(rig.failed("upstream_error"), 1);
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_no_failure() {
    // Each connection serves one request and closes without saying so.
    let backend = Backend::start(|mut conn, _| async move {
        conn.request().await;
        conn.json(200, "{}").await;
    })
    .await;
    let rig = Rig::with(&[(backend.address, 4)], |config| {
        config.workers = 1;
    })
    .await;
    let mut client = rig.client().await;
    for _ in 0..20 {
        assert_eq!(client.ask(completion("")).await.status, 200);
    }
    let signals = rig.settled().await;
    assert_eq!(signals.endpoints[&backend.address.to_string()].failed, 0);
}
