//! One bounded GET: a deadline for the whole, a limit for the body.

use crate::bearer::Bearer;
use crate::transport::Transport;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum GetError {
    #[error("{0} is not a URL: {1}")]
    Url(String, http::Error),
    #[error("no answer from {0} within {1:?}")]
    Deadline(String, Duration),
    #[error("cannot reach {0}: {1}")]
    Unreachable(String, String),
    #[error("{0} answered {1}")]
    Status(String, http::StatusCode),
    #[error("{0} sent more than {1} bytes")]
    TooLarge(String, usize),
    #[error("{0} broke off: {1}")]
    BrokeOff(String, String),
    #[error("the token for {0} cannot be read: {1}")]
    Token(String, String),
}

/// A client that keeps connections to many small servers.
#[derive(Clone, Debug)]
pub(crate) struct Getter<C = HttpConnector> {
    transport: Transport,
    client: Client<C, Full<Bytes>>,
    token: Bearer,
    deadline: Duration,
    max_body: usize,
}

impl Getter {
    /// One that asks in plain text, and without a token.
    pub(crate) fn new(transport: Transport, deadline: Duration, max_body: usize) -> Self {
        Self::over(connector(deadline), Bearer::None, transport, deadline, max_body)
    }
}

impl Getter<HttpsConnector<HttpConnector>> {
    /// One that believes the authorities in `roots`, and shows `token`. It asks
    /// in plain text where a URL says so.
    ///
    /// # Errors
    /// TLS cannot be had, in words.
    pub(crate) fn secure(
        roots: RootCertStore,
        token: Bearer,
        transport: Transport,
        deadline: Duration,
        max_body: usize,
    ) -> Result<Self, String> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut plain = connector(deadline);
        plain.enforce_http(false);
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let connector = builder.enable_http1().wrap_connector(plain);
        Ok(Self::over(connector, token, transport, deadline, max_body))
    }
}

fn connector(deadline: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(deadline));
    connector
}

impl<C: Connect + Clone + Send + Sync + 'static> Getter<C> {
    fn over(connector: C, token: Bearer, transport: Transport, deadline: Duration, max_body: usize) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(15))
            .build(connector);
        Self {
            transport,
            client,
            token,
            deadline,
            max_body,
        }
    }

    /// The body at `url`, which must answer 200.
    pub(crate) async fn get(&self, url: &str) -> Result<Bytes, GetError> {
        tokio::time::timeout(self.deadline, self.get_unhurried(url))
            .await
            .unwrap_or_else(|_| Err(GetError::Deadline(url.to_owned(), self.deadline)))
    }

    async fn get_unhurried(&self, url: &str) -> Result<Bytes, GetError> {
        let mut request = http::Request::get(url)
            .header(
                http::header::ACCEPT,
                "text/plain;version=0.0.4, application/json;q=0.9, */*;q=0.1",
            )
            .body(Bytes::new())
            .map_err(|error| GetError::Url(url.to_owned(), error))?;
        let token = self.token.header().await;
        if let Some(token) = token.map_err(|why| GetError::Token(url.to_owned(), why))? {
            request.headers_mut().insert(http::header::AUTHORIZATION, token);
        }
        let response = self
            .transport
            .send(&self.client, request)
            .await
            .map_err(|why| GetError::Unreachable(url.to_owned(), why))?;
        if response.status() != http::StatusCode::OK {
            return Err(GetError::Status(url.to_owned(), response.status()));
        }
        let body = Limited::new(response.into_body(), self.max_body)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    GetError::TooLarge(url.to_owned(), self.max_body)
                } else {
                    GetError::BrokeOff(url.to_owned(), error.to_string())
                }
            })?;
        Ok(body.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// An authority of ours.
    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn roots(authority: &CertifiedIssuer<'static, KeyPair>) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        roots
    }

    /// A server called localhost that repeats the head of each question.
    async fn server(authority: &CertifiedIssuer<'static, KeyPair>) -> u16 {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {read}\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.write_all(&head[..read]).await;
                let _ = stream.shutdown().await;
            }
        });
        port
    }

    async fn asked(roots: RootCertStore, token: Bearer, port: u16) -> Result<String, GetError> {
        let deadline = Duration::from_secs(10);
        let getter = Getter::secure(roots, token, Transport::Network, deadline, 8192).unwrap();
        let body = getter.get(&format!("https://localhost:{port}/metrics")).await?;
        Ok(String::from_utf8_lossy(&body).to_lowercase())
    }

    #[tokio::test]
    async fn a_server_is_believed_by_its_authority_and_sees_the_token() {
        let (ours, other) = (authority(), authority());
        let port = server(&ours).await;
        let token = || Bearer::new(Some("s3cret"), None).unwrap();
        let head = asked(roots(&ours), token(), port).await.unwrap();
        assert!(head.contains("authorization: bearer s3cret"), "{head}");
        let head = asked(roots(&ours), Bearer::None, port).await.unwrap();
        assert!(!head.contains("authorization"), "{head}");
        let error = asked(roots(&other), token(), port).await.unwrap_err().to_string();
        assert!(error.contains("cannot reach") && !error.contains("s3cret"), "{error}");
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_read_is_told_with_its_file() {
        let token = Bearer::new(None, Some("/nowhere/token".as_ref())).unwrap();
        let error = asked(RootCertStore::empty(), token, 1).await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/token"), "{error}");
    }
}
