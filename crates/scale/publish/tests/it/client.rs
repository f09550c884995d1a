//! Clients as small as can be: HTTP/1 over TLS, gRPC over HTTP/2.

use crate::shop::SOON;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority of the test's own, and the certificates it signs.
pub(crate) struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn sign(&self, common_name: &str) -> Identity {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> PathBuf {
        std::fs::write(path, &self.certificate).unwrap();
        path.to_owned()
    }

    /// A client's TLS that trusts servers of this authority.
    pub(crate) fn client(&self, identity: Option<&Identity>, protocol: &[u8]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        config
    }
}

impl Identity {
    pub(crate) fn write(&self, folder: &Path) -> publish::KeyFiles {
        let files = publish::KeyFiles {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
        };
        std::fs::write(&files.certificate, &self.certificate).unwrap();
        std::fs::write(&files.key, &self.key).unwrap();
        files
    }
}

/// A TLS connection to a server that calls itself `localhost`.
pub(crate) async fn tls(address: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// One HTTP/1 request over TLS: status and body.
pub(crate) async fn get(
    address: SocketAddr,
    config: ClientConfig,
    path: &str,
    headers: &[(&'static str, &'static str)],
) -> anyhow::Result<(u16, String)> {
    let stream = tls(address, config).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::get(path)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse()?);
    }
    let response = tokio::time::timeout(SOON, sender.send_request(request)).await??;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec())?))
}

/// A gRPC call under way.
pub(crate) struct Call {
    body: Incoming,
    held: BytesMut,
    /// What ended it: the status code and message.
    pub(crate) ended: Option<(i32, String)>,
}

/// An HTTP/2 connection for gRPC.
#[derive(Clone)]
pub(crate) struct Grpc(hyper::client::conn::http2::SendRequest<Full<Bytes>>);

impl Grpc {
    pub(crate) async fn plain(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        // As every gRPC client does; else each of its small frames waits for an acknowledgement.
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await.unwrap()
    }

    pub(crate) async fn over(
        io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Self> {
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io));
        let (sender, connection) = handshake.await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    pub(crate) async fn call(&self, method: &str, message: &impl Message) -> anyhow::Result<Call> {
        let mut body = BytesMut::new();
        body.put_u8(0);
        body.put_u32(u32::try_from(message.encoded_len())?);
        message.encode(&mut body)?;
        let request = Request::post(format!("http://localhost/externalscaler.ExternalScaler/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(body.freeze()))?;
        let mut sender = self.0.clone();
        let response = tokio::time::timeout(SOON, sender.send_request(request)).await??;
        anyhow::ensure!(response.status() == 200, "HTTP status {}", response.status());
        let ended = status(response.headers());
        Ok(Call {
            body: response.into_body(),
            held: BytesMut::new(),
            ended,
        })
    }

    /// The one answer of a call, or the status that refused it.
    pub(crate) async fn unary<A: Message + Default>(
        &self,
        method: &str,
        message: &impl Message,
    ) -> Result<A, (i32, String)> {
        let mut call = self.call(method, message).await.unwrap();
        let answer = call.next::<A>().await;
        if let Some(answer) = answer {
            assert!(call.next::<A>().await.is_none());
            assert_eq!(call.ended, Some((0, String::new())));
            return Ok(answer);
        }
        Err(call.ended.unwrap())
    }
}

impl Call {
    /// The next message; none at the end, and then [`Self::ended`] says how.
    pub(crate) async fn next<A: Message + Default>(&mut self) -> Option<A> {
        loop {
            if let Some(head) = self.held.first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.held.len() >= 5 + length {
                    let message = self.held.split_to(5 + length);
                    return Some(A::decode(&message[5..]).unwrap());
                }
            }
            let frame = tokio::time::timeout(SOON, self.body.frame()).await.unwrap()?;
            match frame.unwrap().into_data() {
                Ok(data) => self.held.extend_from_slice(&data),
                Err(other) => self.ended = status(&other.into_trailers().unwrap()),
            }
        }
    }
}

fn status(headers: &HeaderMap) -> Option<(i32, String)> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let code = text("grpc-status")?.parse().unwrap();
    Some((code, text("grpc-message").unwrap_or_default()))
}
