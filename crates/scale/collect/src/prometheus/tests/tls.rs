//! The source and a server over TLS: authorities, names, certificates of
//! clients, and tokens that change.

use super::{asked, endpoints, matrix, replica, until};
use crate::{Clock, Found, MetricsSource, PrometheusConfig, PrometheusError, PrometheusSource, by_model};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// An authority of ours.
struct Authority(CertifiedIssuer<'static, KeyPair>);

struct Signed {
    certificate: String,
    der: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, name: &str) -> Signed {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Signed {
            certificate: certificate.pem(),
            der: certificate.der().clone(),
            key,
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

/// A server that calls itself `name`, and lets in only those `clients` signs.
async fn server(authority: &Authority, name: &str, clients: Option<&Authority>, token: &'static str) -> u16 {
    let own = authority.sign(name);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(clients.roots());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.key.serialize_der()));
    let config = builder.with_single_cert(vec![own.der], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let answer = |question: &str| {
                    if !question.contains(token) {
                        return Some((401, String::new()));
                    }
                    Some((200, matrix(&replica(",\"pod\":\"a\"", 1.0))))
                };
                let _ = super::serve(stream, &answer).await;
            });
        }
    });
    port
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn start(config: PrometheusConfig) -> Result<PrometheusSource, PrometheusError> {
    let config = PrometheusConfig {
        deadline: Duration::from_secs(5),
        ..config
    };
    let source = PrometheusSource::start(config, Clock::start(), CancellationToken::new())?;
    source.track(&by_model(endpoints(&["a"])));
    Ok(source)
}

#[tokio::test]
async fn a_server_is_believed_if_our_authority_signed_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let ca = written(folder.path(), "ca.pem", &ours.0.pem());
    let other_ca = written(folder.path(), "other.pem", &other.0.pem());
    let port = server(&ours, "prometheus.monitoring.svc", None, "").await;
    let local = server(&ours, "localhost", None, "").await;
    let with = |port: u16, change: &dyn Fn(&mut PrometheusConfig)| {
        let mut config = PrometheusConfig::new(format!("https://localhost:{port}"));
        change(&mut config);
        config
    };
    type Change<'a> = &'a dyn Fn(&mut PrometheusConfig);
    let cases: [(&str, u16, Change<'_>, Found, &str); 6] = [
        (
            "our authority",
            local,
            &|c| c.ca_cert_path = Some(ca.clone()),
            Found::MetricsFound,
            "",
        ),
        (
            "another authority",
            local,
            &|c| c.ca_cert_path = Some(other_ca.clone()),
            Found::PrometheusError,
            "PROMETHEUS_CA_CERT_PATH",
        ),
        (
            "the system's authorities",
            local,
            &|_| (),
            Found::PrometheusError,
            "PROMETHEUS_CA_CERT_PATH",
        ),
        (
            "any authority",
            local,
            &|c| c.insecure_skip_verify = true,
            Found::MetricsFound,
            "",
        ),
        (
            "another name",
            port,
            &|c| c.ca_cert_path = Some(ca.clone()),
            Found::PrometheusError,
            "not valid for name",
        ),
        (
            "its own name",
            port,
            &|c| {
                c.ca_cert_path = Some(ca.clone());
                c.server_name = Some("prometheus.monitoring.svc".to_owned());
            },
            Found::MetricsFound,
            "",
        ),
    ];
    for (name, port, change, found, says) in cases {
        let source = start(with(port, change)).unwrap();
        let said = asked(&source).await;
        assert_eq!(said.found, found, "{name}: {said:?}");
        assert!(said.message.contains(says), "{name}: {said:?}");
    }
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_the_server_asks_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let ca = written(folder.path(), "ca.pem", &ours.0.pem());
    let port = server(&ours, "localhost", Some(&clients), "").await;
    let config = || PrometheusConfig {
        ca_cert_path: Some(ca.clone()),
        ..PrometheusConfig::new(format!("https://localhost:{port}"))
    };
    let signed = |authority: &Authority, name: &str| {
        let client = authority.sign("autoscaler");
        PrometheusConfig {
            client_cert_path: Some(written(folder.path(), &format!("{name}.crt"), &client.certificate)),
            client_key_path: Some(written(
                folder.path(),
                &format!("{name}.key"),
                &client.key.serialize_pem(),
            )),
            ..config()
        }
    };
    for (name, config, found) in [
        ("signed", signed(&clients, "good"), Found::MetricsFound),
        ("by strangers", signed(&strangers, "bad"), Found::PrometheusError),
        ("none", config(), Found::PrometheusError),
    ] {
        let said = asked(&start(config).unwrap()).await;
        assert_eq!(said.found, found, "{name}: {said:?}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (one, other) = (authority.sign("a"), authority.sign("b"));
    let empty = written(folder.path(), "empty.pem", "");
    let certificate = written(folder.path(), "a.crt", &one.certificate);
    let key = written(folder.path(), "b.key", &other.key.serialize_pem());
    let missing = folder.path().join("missing.pem");
    type Change<'a> = &'a dyn Fn(&mut PrometheusConfig);
    let cases: [(&str, Change<'_>); 5] = [
        ("PROMETHEUS_CA_CERT_PATH", &|c| c.ca_cert_path = Some(missing.clone())),
        ("PROMETHEUS_CA_CERT_PATH", &|c| c.ca_cert_path = Some(empty.clone())),
        ("PROMETHEUS_CLIENT_KEY_PATH", &|c| {
            c.client_cert_path = Some(certificate.clone());
            c.client_key_path = Some(empty.clone());
        }),
        ("PROMETHEUS_CLIENT_CERT_PATH", &|c| {
            c.client_cert_path = Some(certificate.clone());
            c.client_key_path = Some(key.clone());
        }),
        ("PROMETHEUS_SERVER_NAME", &|c| {
            c.server_name = Some("no name".to_owned());
        }),
    ];
    for (expected, change) in cases {
        let mut config = PrometheusConfig::new("https://localhost:1");
        change(&mut config);
        assert_eq!(start(config).unwrap_err().key, expected);
    }
}

#[tokio::test]
async fn a_token_in_a_file_is_read_anew_for_every_question() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let port = server(&authority, "localhost", None, "authorization: Bearer second").await;
    let token = written(folder.path(), "token", "first\n");
    let source = start(PrometheusConfig {
        ca_cert_path: Some(written(folder.path(), "ca.pem", &authority.0.pem())),
        token_path: Some(token.clone()),
        ..PrometheusConfig::new(format!("https://localhost:{port}"))
    })
    .unwrap();
    let said = asked(&source).await;
    assert!(
        said.found == Found::PrometheusError && said.message.contains("401"),
        "{said:?}"
    );
    std::fs::write(&token, "second\n").unwrap();
    until(&source, |said| said.found == Found::MetricsFound).await;
    // What cannot be read is told, with the file and never its contents.
    std::fs::remove_file(&token).unwrap();
    let said = until(&source, |said| said.found == Found::PrometheusError)
        .await
        .message;
    assert!(
        said.contains("PROMETHEUS_TOKEN_PATH") && !said.contains("second"),
        "{said}"
    );
}

#[tokio::test]
async fn certificates_that_are_replaced_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, clients) = (Authority::new(), Authority::new());
    let ca = written(folder.path(), "ca.pem", &Authority::new().0.pem());
    let port = server(&ours, "localhost", Some(&clients), "").await;
    let client = Authority::new().sign("autoscaler");
    let config = PrometheusConfig {
        ca_cert_path: Some(ca),
        client_cert_path: Some(written(folder.path(), "tls.crt", &client.certificate)),
        client_key_path: Some(written(folder.path(), "tls.key", &client.key.serialize_pem())),
        ..PrometheusConfig::new(format!("https://localhost:{port}"))
    };
    let source = start(config).unwrap();
    let said = asked(&source).await;
    assert_eq!(said.found, Found::PrometheusError, "{said:?}");
    written(folder.path(), "ca.pem", "half a cert");
    let client = clients.sign("autoscaler");
    written(folder.path(), "tls.crt", &client.certificate);
    written(folder.path(), "tls.key", &client.key.serialize_pem());
    written(folder.path(), "ca.pem", &ours.0.pem());
    until(&source, |said| said.found == Found::MetricsFound).await;
}
