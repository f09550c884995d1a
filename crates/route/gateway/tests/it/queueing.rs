use crate::backend::{Backend, nowhere};
use crate::client::{completion, post};
use crate::rig::{Rig, in_flight, queued};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// An endpoint that answers one request per permit, naming the prompt.
async fn gated() -> (Backend, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let open = gate.clone();
    let backend = Backend::start(move |mut conn, _| {
        let open = open.clone();
        async move {
            while conn.request().await.is_some() {
                open.acquire().await.unwrap().forget();
                if !conn.json(200, "{}").await {
                    return;
                }
            }
        }
    })
    .await;
    (backend, gate)
}

fn patient(millis: u64) -> String {
    post(
        "/v1/completions",
        &format!("x-tidegate-deadline-ms: {millis}\r\n"),
        r#"{"model":"m"}"#,
    )
}

#[tokio::test]
async fn a_request_waits_for_a_slot_and_gets_it() {
    let (backend, gate) = gated().await;
    let rig = Rig::new(&[(backend.address, 1)]).await;
    let mut first = rig.client().await;
    first.send(completion("")).await;
    rig.eventually("the slot is taken", |handle| in_flight(handle) == 1)
        .await;
    let mut second = rig.client().await;
    second.send(completion("")).await;
    rig.eventually("the second waits", |handle| queued(handle) == 1).await;
    rig.eventually("the wait has a length", |handle| {
        handle.signals().pools["ns/p"].oldest_wait_ms >= Some(5)
    })
    .await;
    gate.add_permits(2);
    assert_eq!(first.answer().await.header("x-tidegate-queue-ms"), Some("0"));
    let waited: u64 = second
        .answer()
        .await
        .header("x-tidegate-queue-ms")
        .unwrap()
        .parse()
        .unwrap();
    assert!(waited >= 5, "{waited}");
    assert_eq!(rig.settled().await.completed, 2);
}

#[tokio::test]
async fn a_request_waits_for_the_first_endpoint() {
    let rig = Rig::new(&[]).await;
    let mut handle = rig.handle();
    let mut client = rig.client().await;
    client.send(completion("")).await;
    tokio::time::timeout(Duration::from_secs(5), handle.changed())
        .await
        .expect("the scaler is told at once");
    assert_eq!(queued(&handle), 1);
    let backend = Backend::named("woken").await;
    rig.set_endpoints(&[(backend.address, 1)]);
    assert_eq!(client.answer().await.json()["by"], "woken");
    rig.settled().await;
}

#[tokio::test]
async fn a_deadline_with_busy_endpoints_is_a_timeout() {
    let (backend, _gate) = gated().await;
    let rig = Rig::new(&[(backend.address, 1)]).await;
    let mut first = rig.client().await;
    first.send(completion("")).await;
    rig.eventually("the slot is taken", |handle| in_flight(handle) == 1)
        .await;
    let begun = Instant::now();
    let answer = rig.ask(patient(60)).await;
    assert!(begun.elapsed() >= Duration::from_millis(60));
    assert_eq!(answer.status, 504, "{answer:?}");
    assert_eq!(
        answer.header("x-llm-d-request-dropped-reason"),
        Some("rejected-ttl-expired")
    );
    assert_eq!(rig.failed("deadline"), 1);
}

#[tokio::test]
async fn a_deadline_without_endpoints_is_unavailability() {
    let rig = Rig::new(&[]).await;
    let answer = rig.ask(patient(30)).await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.header("x-llm-d-request-dropped-reason"),
        Some("rejected-no-endpoints")
    );
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.json()["error"]["type"], "ServiceUnavailableError");
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_does_not_outlast_the_deadline() {
    let rig = Rig::new(&[(nowhere().await, 1)]).await;
    assert_eq!(rig.ask(patient(120)).await.status, 504);
    rig.settled().await;
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let (backend, gate) = gated().await;
    let rig = Rig::with(&[(backend.address, 1)], |config| {
        config.limits.queue_entries = 1;
    })
    .await;
    let mut inside = rig.client().await;
    inside.send(completion("")).await;
    rig.eventually("the slot is taken", |handle| in_flight(handle) == 1)
        .await;
    let mut waiting = rig.client().await;
    waiting.send(completion("")).await;
    rig.eventually("one waits", |handle| queued(handle) == 1).await;
    let answer = rig.ask(completion("")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    assert_eq!(
        answer.header("x-llm-d-request-dropped-reason"),
        Some("rejected-saturated")
    );
    assert!(answer.message().contains("1 requests wait"), "{answer:?}");
    gate.add_permits(2);
    assert_eq!(
        (inside.answer().await.status, waiting.answer().await.status),
        (200, 200)
    );
    rig.settled().await;
    assert_eq!(rig.failed("queue_full"), 1);
}

#[tokio::test]
async fn a_full_queue_without_endpoints_is_unavailability() {
    let rig = Rig::with(&[], |config| {
        config.limits.queue_bytes = 10;
    })
    .await;
    let answer = rig.ask(completion("")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.header("x-llm-d-request-dropped-reason"),
        Some("rejected-no-endpoints")
    );
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_leaves_nothing_behind() {
    let (backend, gate) = gated().await;
    let rig = Rig::new(&[(backend.address, 1)]).await;
    let mut inside = rig.client().await;
    inside.send(completion("")).await;
    rig.eventually("the slot is taken", |handle| in_flight(handle) == 1)
        .await;
    let mut leaving = rig.client().await;
    leaving.send(completion("")).await;
    rig.eventually("one waits", |handle| queued(handle) == 1).await;
    drop(leaving);
    rig.eventually("it is gone", |handle| queued(handle) == 0).await;
    assert_eq!(rig.failed("cancelled"), 1);
    gate.add_permits(1);
    assert_eq!(inside.answer().await.status, 200);
    assert_eq!(backend.connections(), 1, "the one that left never reached the endpoint");
    rig.settled().await;
}

#[tokio::test]
async fn a_leaving_pod_finishes_its_stream_and_gets_no_more() {
    let (old, gate) = gated().await;
    let new = Backend::named("new").await;
    let rig = Rig::new(&[(old.address, 4)]).await;
    let mut first = rig.client().await;
    first.send(completion("")).await;
    rig.eventually("it is at the old endpoint", |handle| in_flight(handle) == 1)
        .await;
    rig.set_endpoints(&[(new.address, 4)]);
    rig.eventually("the new endpoint is known", |handle| {
        handle.signals().pools["ns/p"]
            .endpoints
            .contains_key(&new.address.to_string())
    })
    .await;
    for _ in 0..4 {
        assert_eq!(rig.ask(completion("")).await.json()["by"], "new");
    }
    gate.add_permits(1);
    assert_eq!(first.answer().await.status, 200);
    let signals = rig.settled().await;
    assert_eq!(signals.endpoints.keys().collect::<Vec<_>>(), [&new.address.to_string()]);
}

#[tokio::test]
async fn load_goes_where_there_is_least() {
    let (one, gate_one) = gated().await;
    let (two, gate_two) = gated().await;
    let rig = Rig::new(&[(one.address, 2), (two.address, 4)]).await;
    let mut clients = Vec::new();
    for sent in 1..=6 {
        let mut client = rig.client().await;
        client.send(completion("")).await;
        rig.eventually("it arrived", |handle| in_flight(handle) == sent).await;
        clients.push(client);
    }
    let at = |backend: &Backend| rig.signals().endpoints[&backend.address.to_string()].in_flight;
    assert_eq!((at(&one), at(&two)), (2, 4));
    gate_one.add_permits(2);
    gate_two.add_permits(4);
    for mut client in clients {
        assert_eq!(client.answer().await.status, 200);
    }
    rig.settled().await;
}
