use super::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn target(container: Value) -> (Target, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let shim = ["sh", "-c", "shift 3; exec \"$@\"", "shim"]
        .iter()
        .map(Into::into)
        .collect();
    let target = Target {
        address: Ipv4Addr::LOCALHOST,
        container: serde_json::from_value(container).unwrap(),
        env: Env::new(),
        folder: "/".into(),
        own_exe: "/nowhere".into(),
        spawner: Spawner::new(shim, folder.path().to_owned()).unwrap(),
    };
    (target, folder)
}

/// Answers every request with the given status line; returns its port.
async fn server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream
                .write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes())
                .await;
        }
    });
    port
}

async fn asked(port: u16, probe: Value) -> Result<(), String> {
    let (target, _folder) = target(json!({"name": "c", "ports": [{"name": "web", "containerPort": port}]}));
    let probe: Probe = serde_json::from_value(probe).unwrap();
    timeout(Duration::from_secs(10), ask(&target, &probe)).await.unwrap()
}

#[tokio::test]
async fn each_way_of_asking() {
    let (good, moved, bad) = (
        server("200 OK").await,
        server("302 Found").await,
        server("503 No").await,
    );
    let get = |port: Value| json!({"httpGet": {"path": "health", "port": port}});
    assert_eq!(asked(good, get(json!("web"))).await, Ok(()));
    assert_eq!(asked(moved, get(json!(moved))).await, Ok(()));
    assert_eq!(
        asked(bad, get(json!("web"))).await,
        Err("HTTP probe failed with statuscode: 503".into())
    );
    assert!(asked(good, get(json!("nope"))).await.unwrap_err().contains("\"nope\""));
    assert_eq!(asked(good, json!({"tcpSocket": {"port": good}})).await, Ok(()));
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    assert!(
        asked(closed, json!({"tcpSocket": {"port": closed}}))
            .await
            .unwrap_err()
            .contains("refused")
    );
    assert_eq!(asked(good, json!({"exec": {"command": ["true"]}})).await, Ok(()));
    assert_eq!(
        asked(good, json!({"exec": {"command": ["sh", "-c", "exit 4"]}})).await,
        Err("command exited with code 4".into())
    );
    assert!(
        asked(good, json!({"grpc": {"port": 1}}))
            .await
            .unwrap_err()
            .contains("use httpGet")
    );
    assert!(
        asked(good, json!({"httpGet": {"port": 1, "scheme": "HTTPS"}}))
            .await
            .unwrap_err()
            .contains("use HTTP")
    );
}

#[tokio::test]
async fn early_failures_are_not_held_against_a_container_and_later_ones_are() {
    let (target, _folder) = target(json!({"name": "c",
        "readinessProbe": {"grpc": {"port": 1}, "periodSeconds": 2},
        "livenessProbe": {"grpc": {"port": 1}, "periodSeconds": 1, "failureThreshold": 2, "initialDelaySeconds": 1}}));
    let (verdicts, mut found) = mpsc::channel(64);
    let began = Instant::now();
    let task = tokio::spawn(run(target, verdicts));
    let mut order = Vec::new();
    while let Some(verdict) = found.recv().await {
        match verdict {
            Verdict::Failed(kind, _) => order.push(kind),
            Verdict::Exhausted(Kind::Liveness, _) => break,
            other => panic!("{other:?}"),
        }
    }
    task.abort();
    // A delay of 1 s and two periods; quick questions in between were not counted.
    assert!(began.elapsed() >= Duration::from_secs(3));
    assert_eq!(order.iter().filter(|kind| **kind == Kind::Liveness).count(), 2);
    assert!(order.iter().filter(|kind| **kind == Kind::Readiness).count() <= 2);
}
