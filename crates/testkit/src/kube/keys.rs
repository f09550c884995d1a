//! Keys and certificates of one test control plane, made when it starts.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};

/// Files in the control plane's folder.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) authority: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) accounts_private: PathBuf,
    pub(super) accounts_public: PathBuf,
    pub(super) tokens: PathBuf,
    pub(super) proxy_certificate: PathBuf,
    pub(super) proxy_key: PathBuf,
}

/// The common name by which the aggregation layer is known to the servers
/// behind it.
pub(super) const FRONT_PROXY: &str = "front-proxy-client";

/// The token of the one user, a cluster administrator on loopback for the
/// length of a test.
pub(super) const TOKEN: &str = "tidegate-test-admin";

impl Keys {
    /// Makes an authority, a certificate for loopback and one for the
    /// aggregation layer, a service account key pair and the token file.
    pub(super) fn make(folder: &Path) -> Result<Self> {
        let keys = Self {
            authority: folder.join("ca.pem"),
            certificate: folder.join("apiserver.pem"),
            key: folder.join("apiserver.key"),
            accounts_private: folder.join("accounts.key"),
            accounts_public: folder.join("accounts.pub"),
            tokens: folder.join("tokens.csv"),
            proxy_certificate: folder.join("front-proxy.pem"),
            proxy_key: folder.join("front-proxy.key"),
        };
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        let server_key = KeyPair::generate()?;
        let server_certificate = server.signed_by(&server_key, &issuer)?;

        let mut proxy = CertificateParams::new(Vec::new())?;
        proxy.distinguished_name.push(DnType::CommonName, FRONT_PROXY);
        let proxy_key = KeyPair::generate()?;
        let proxy_certificate = proxy.signed_by(&proxy_key, &issuer)?;

        let accounts = KeyPair::generate()?;
        std::fs::write(&keys.authority, authority_certificate.pem())?;
        std::fs::write(&keys.certificate, server_certificate.pem())?;
        std::fs::write(&keys.key, server_key.serialize_pem())?;
        std::fs::write(&keys.accounts_private, accounts.serialize_pem())?;
        std::fs::write(&keys.accounts_public, accounts.public_key_pem())?;
        std::fs::write(&keys.proxy_certificate, proxy_certificate.pem())?;
        std::fs::write(&keys.proxy_key, proxy_key.serialize_pem())?;
        std::fs::write(&keys.tokens, format!("{TOKEN},admin,admin,\"system:masters\"\n"))?;
        Ok(keys)
    }
}
