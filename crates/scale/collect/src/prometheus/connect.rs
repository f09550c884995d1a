//! Connections to Prometheus: who is believed, who we are, and certificates
//! that are replaced while we run.

use super::config::{PrometheusConfig, PrometheusError, problem};
use crate::trust;
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(super) type Connections = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connections, with the certificates they were made by.
#[derive(Debug)]
pub(super) struct Connected {
    config: PrometheusConfig,
    made: Mutex<Made>,
}

#[derive(Debug)]
struct Made {
    connections: Connections,
    /// When each file was last written, as it was read.
    written: Vec<Option<SystemTime>>,
}

impl Connected {
    /// Reads the certificates.
    ///
    /// # Errors
    /// One of them cannot be read or used, with its key.
    pub(super) fn new(config: &PrometheusConfig) -> Result<Self, PrometheusError> {
        // What is replaced meanwhile is read again later, and not taken for read.
        let written = files(config).map(written).collect();
        Ok(Self {
            made: Mutex::new(Made {
                connections: connect(config)?,
                written,
            }),
            config: config.clone(),
        })
    }

    pub(super) fn connections(&self) -> Connections {
        self.made.lock().connections.clone()
    }

    /// Reads the certificates again if they were replaced; says whether there
    /// is something new to try. Those that cannot be used change nothing.
    pub(super) fn renew(&self) -> bool {
        let mut made = self.made.lock();
        let now: Vec<_> = files(&self.config).map(written).collect();
        if now == made.written {
            return false;
        }
        match connect(&self.config) {
            Ok(connections) => {
                tracing::info!("the certificates for Prometheus were replaced, and are read again");
                *made = Made {
                    connections,
                    written: now,
                };
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the certificates for Prometheus were replaced by some that cannot be used");
                false
            }
        }
    }
}

fn files(config: &PrometheusConfig) -> impl Iterator<Item = &Path> {
    let all = [&config.ca_cert_path, &config.client_cert_path, &config.client_key_path];
    all.into_iter().filter_map(|path| path.as_deref())
}

fn written(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

fn connect(config: &PrometheusConfig) -> Result<Connections, PrometheusError> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.set_connect_timeout(Some(config.deadline));
    http.enforce_http(false);
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls(config)?)
        .https_or_http();
    let builder = match &config.server_name {
        Some(name) => {
            let name = ServerName::try_from(name.clone())
                .map_err(|_| problem("PROMETHEUS_SERVER_NAME", "is not a host name"))?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(name))
        }
        None => builder,
    };
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .build(builder.enable_http1().wrap_connector(http)))
}

fn tls(config: &PrometheusConfig) -> Result<ClientConfig, PrometheusError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| problem("PROMETHEUS_BASE_URL", error.to_string()))?;
    let builder = if config.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
    } else {
        builder.with_root_certificates(roots(config)?)
    };
    match (&config.client_cert_path, &config.client_key_path) {
        (Some(certificate), Some(key)) => {
            let chain = trust::certificates(certificate).map_err(|why| problem("PROMETHEUS_CLIENT_CERT_PATH", why))?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| problem("PROMETHEUS_CLIENT_KEY_PATH", format!("{}: {error}", key.display())))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| problem("PROMETHEUS_CLIENT_CERT_PATH", error.to_string()))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn roots(config: &PrometheusConfig) -> Result<RootCertStore, PrometheusError> {
    trust::roots(config.ca_cert_path.as_deref()).map_err(|why| problem("PROMETHEUS_CA_CERT_PATH", why))
}

/// Takes any certificate, because the operator said so.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
