//! The external metrics API over TLS.

use crate::client::{Authority, get, tls};
use crate::shop::{SOON, Shop, open, wanting};
use publish::{Config, Error, ExternalMetrics, FrontProxy, serve};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

const DESIRED: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/wva_desired_replicas";
const HTTP: &[u8] = b"http/1.1";
const USER: (&str, &str) = ("x-remote-user", "system:kube-controller-manager");

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn config(metrics: ExternalMetrics) -> Config {
    Config {
        external_metrics: Some(metrics),
        reread_after: Duration::from_millis(20),
        ..Config::default()
    }
}

#[tokio::test]
async fn a_decision_is_read_over_tls_and_a_newer_one_by_the_next_request() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let shop = Shop::new(vec![wanting("llama-l4", Some(5), true)]);
    let metrics = ExternalMetrics {
        certificate: Some(authority.sign("tidegate").write(folder.path())),
        ..ExternalMetrics::on(loopback())
    };
    let (running, stop) = open(config(metrics), &shop).await;
    let address = running.external_metrics.unwrap();
    assert!(running.keda.is_none());
    let path = format!("{DESIRED}?labelSelector=variant_name%3Dllama-l4");
    for replicas in [5, 3, 0] {
        shop.set(vec![wanting("llama-l4", Some(replicas), true)]);
        let (status, body) = get(address, authority.client(None, HTTP), &path, &[]).await.unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (status, &body["items"][0]["value"]),
            (200, &replicas.to_string().into())
        );
    }
    stop.cancel();
    tokio::time::timeout(SOON, running.stopped()).await.unwrap();
    assert!(
        get(address, authority.client(None, HTTP), "/healthz", &[])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn with_an_authority_only_its_certificates_by_the_allowed_name_are_answered() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let metrics = ExternalMetrics {
        certificate: Some(authority.sign("tidegate").write(folder.path())),
        front_proxy: Some(FrontProxy {
            authority: authority.write(&folder.path().join("ca.crt")),
            allowed_names: vec!["front-proxy-client".to_owned()],
        }),
        ..ExternalMetrics::on(loopback())
    };
    let shop = Shop::new(vec![wanting("llama-l4", Some(5), true)]);
    let (running, _stop) = open(config(metrics), &shop).await;
    let address = running.external_metrics.unwrap();
    let (proxy, kubelet) = (authority.sign("front-proxy-client"), authority.sign("kubelet"));
    for (identity, headers, path, expected) in [
        (Some(&proxy), vec![USER], DESIRED, 200),
        (Some(&proxy), vec![], DESIRED, 401),
        (Some(&kubelet), vec![USER], DESIRED, 403),
        (None, vec![USER], DESIRED, 401),
        (None, vec![USER], "/apis", 401),
        (None, vec![], "/readyz", 200),
    ] {
        let answer = get(address, authority.client(identity, HTTP), path, &headers).await;
        assert_eq!(answer.unwrap().0, expected, "{path} {headers:?}");
    }
    let forged = stranger.sign("front-proxy-client");
    let refused = get(address, authority.client(Some(&forged), HTTP), DESIRED, &[USER]).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn a_changed_certificate_is_taken_up_by_the_next_connections() {
    let (first, second, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let files = first.sign("tidegate").write(folder.path());
    let metrics = ExternalMetrics {
        certificate: Some(files.clone()),
        ..ExternalMetrics::on(loopback())
    };
    let (running, _stop) = open(config(metrics), &Shop::new(Vec::new())).await;
    let address = running.external_metrics.unwrap();
    assert!(tls(address, first.client(None, HTTP)).await.is_ok());
    assert!(tls(address, second.client(None, HTTP)).await.is_err());

    // For a while there is a certificate without its key.
    let renewed = second.sign("tidegate");
    std::fs::write(&files.certificate, &renewed.certificate).unwrap();
    assert!(tls(address, first.client(None, HTTP)).await.is_ok());
    std::fs::write(&files.key, &renewed.key).unwrap();
    let began = Instant::now();
    while tls(address, second.client(None, HTTP)).await.is_err() {
        assert!(began.elapsed() < SOON, "the new certificate is not in force");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_certificate_of_our_own_making_serves_tls() {
    let (running, _stop) = open(config(ExternalMetrics::on(loopback())), &Shop::new(Vec::new())).await;
    let address = running.external_metrics.unwrap();
    let refused = tls(address, Authority::new().client(None, HTTP))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("certificate"), "{refused}");
}

#[tokio::test]
async fn an_overlong_head_and_plain_text_are_refused_and_the_server_stays() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let metrics = ExternalMetrics {
        certificate: Some(authority.sign("tidegate").write(folder.path())),
        ..ExternalMetrics::on(loopback())
    };
    let (running, _stop) = open(config(metrics), &Shop::new(Vec::new())).await;
    let address = running.external_metrics.unwrap();
    let mut long = tls(address, authority.client(None, HTTP)).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nlong: {}\r\n\r\n", "a".repeat(64 * 1024));
    // The server may hang up before it has read all of it.
    let _ = long.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SOON, long.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));

    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SOON, plain.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(!answer.starts_with(b"HTTP"));
    let (status, body) = get(address, authority.client(None, HTTP), "/healthz", &[])
        .await
        .unwrap();
    assert_eq!((status, body.as_str()), (200, "ok"));
}

#[tokio::test]
async fn what_cannot_be_served_is_told_by_its_key_and_file() {
    let folder = tempfile::tempdir().unwrap();
    let files = Authority::new().sign("tidegate").write(folder.path());
    let held = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let missing = folder.path().join("none.crt");
    let with = |certificate: publish::KeyFiles| ExternalMetrics {
        certificate: Some(certificate),
        ..ExternalMetrics::on(loopback())
    };
    let cases = [
        (
            ExternalMetrics::on(held.local_addr().unwrap()),
            "external_metrics.listen: cannot listen",
        ),
        (
            with(publish::KeyFiles {
                certificate: missing.clone(),
                ..files.clone()
            }),
            "external_metrics.certificate: /",
        ),
        (
            with(publish::KeyFiles {
                key: files.certificate.clone(),
                ..files.clone()
            }),
            "holds no private key",
        ),
        (
            with(publish::KeyFiles {
                certificate: files.key.clone(),
                ..files.clone()
            }),
            "holds no certificate",
        ),
        (
            ExternalMetrics {
                front_proxy: Some(FrontProxy {
                    authority: missing,
                    allowed_names: Vec::new(),
                }),
                ..ExternalMetrics::on(loopback())
            },
            "external_metrics.front_proxy.authority: /",
        ),
    ];
    for (metrics, said) in cases {
        let stop = CancellationToken::new();
        let error = serve(config(metrics), Shop::new(Vec::new()), stop).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    let everywhere = ExternalMetrics::on("0.0.0.0:0".parse().unwrap());
    let refused = serve(config(everywhere), Shop::new(Vec::new()), CancellationToken::new()).await;
    assert!(matches!(refused, Err(Error::Config { .. })), "{refused:?}");
}
