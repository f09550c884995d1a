//! TLS with rustls: certificates from files that may change, or of our own making.

use crate::config::KeyFiles;
use crate::serve::Error;
use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Most that is read of one file, bytes.
const LARGEST: u64 = 1 << 20;

/// What a server's TLS is made of.
#[derive(Debug)]
pub(crate) struct Material {
    /// Configuration key of the certificate.
    pub(crate) key: &'static str,
    /// Configuration key of the clients' authority.
    pub(crate) authority_key: &'static str,
    /// Certificate and key; without them one is made.
    pub(crate) files: Option<KeyFiles>,
    /// Names in the certificate that is made.
    pub(crate) names: Vec<String>,
    /// Whether clients show a certificate.
    pub(crate) clients: Option<Clients>,
    /// The one protocol spoken inside.
    pub(crate) protocol: &'static [u8],
}

/// Certificates of clients, by the authority (PEM) that signs them.
#[derive(Debug)]
pub(crate) enum Clients {
    /// One is asked for; who shows none is told so by an HTTP answer.
    Asked(PathBuf),
    /// Without one there is no connection.
    Required(PathBuf),
}

/// The TLS of one listener; connections take what is current when they come.
pub(crate) struct Tls {
    material: Material,
    made: Option<Pair>,
    current: ArcSwap<ServerConfig>,
    read: parking_lot::Mutex<Contents>,
}

/// A certificate chain and its key.
struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Bytes of all files: certificate, key, authority. Absent ones are empty.
#[derive(Default, PartialEq, Eq)]
struct Contents([Vec<u8>; 3]);

impl Tls {
    /// Reads all files.
    ///
    /// # Errors
    /// When one cannot be read or used, with its key and path.
    pub(crate) fn load(material: Material) -> Result<Arc<Self>, Error> {
        let made = match material.files {
            Some(_) => None,
            None => Some(make(&material)?),
        };
        let contents = material.contents()?;
        let config = material.config(made.as_ref(), &contents)?;
        Ok(Arc::new(Self {
            material,
            made,
            current: ArcSwap::from_pointee(config),
            read: parking_lot::Mutex::new(contents),
        }))
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Looks at the files every so often until `stop`. A change that cannot
    /// be used is logged once, and what was in force stays so: certificate
    /// and key are seldom replaced in the same instant.
    pub(crate) async fn follow(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        if self.material.files.is_none() && self.material.clients.is_none() {
            return;
        }
        let mut complaint = String::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            let this = self.clone();
            let looked = tokio::task::spawn_blocking(move || this.reread()).await;
            match looked {
                Ok(Ok(true)) => {
                    complaint.clear();
                    tracing::info!(key = self.material.key, "took up changed certificates");
                }
                Ok(Ok(false)) => complaint.clear(),
                Ok(Err(error)) => {
                    let words = error.to_string();
                    if words != complaint {
                        tracing::warn!("{words}; the certificates read before stay in force");
                        complaint = words;
                    }
                }
                // The runtime is going down.
                Err(_) => return,
            }
        }
    }

    /// Whether something changed and is in force now.
    fn reread(&self) -> Result<bool, Error> {
        let contents = self.material.contents()?;
        if *self.read.lock() == contents {
            return Ok(false);
        }
        let config = self.material.config(self.made.as_ref(), &contents)?;
        self.current.store(Arc::new(config));
        *self.read.lock() = contents;
        Ok(true)
    }
}

impl Material {
    fn authority(&self) -> Option<&Path> {
        match &self.clients {
            Some(Clients::Asked(path) | Clients::Required(path)) => Some(path),
            None => None,
        }
    }

    fn contents(&self) -> Result<Contents, Error> {
        let read = |key, path: Option<&Path>| {
            path.map_or(Ok(Vec::new()), |path| {
                contents(path).map_err(|error| Error::Tls {
                    key,
                    path: Some(path.to_owned()),
                    why: error.to_string(),
                })
            })
        };
        let files = self.files.as_ref();
        Ok(Contents([
            read(self.key, files.map(|files| files.certificate.as_path()))?,
            read(self.key, files.map(|files| files.key.as_path()))?,
            read(self.authority_key, self.authority())?,
        ]))
    }

    fn config(&self, made: Option<&Pair>, Contents([chain, key, authority]): &Contents) -> Result<ServerConfig, Error> {
        let wrong = |path: Option<&Path>, why: String| Error::Tls {
            key: self.key,
            path: path.map(Path::to_owned),
            why,
        };
        let certificate_path = self.files.as_ref().map(|files| files.certificate.as_path());
        let key_path = self.files.as_ref().map(|files| files.key.as_path());
        let pair = match made {
            Some(made) => Pair {
                chain: made.chain.clone(),
                key: made.key.clone_key(),
            },
            None => Pair {
                chain: certificates(chain).map_err(|why| wrong(certificate_path, why))?,
                key: PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| wrong(key_path, format!("holds no private key in PEM: {error}")))?,
            },
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(None, error.to_string()))?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(self.verifier(clients, authority)?),
        };
        let mut config = builder
            .with_single_cert(pair.chain, pair.key)
            .map_err(|error| wrong(certificate_path, format!("cannot be used with its key: {error}")))?;
        config.alpn_protocols = vec![self.protocol.to_vec()];
        Ok(config)
    }

    fn verifier(&self, clients: &Clients, authority: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let wrong = |why: String| Error::Tls {
            key: self.authority_key,
            path: self.authority().map(Path::to_owned),
            why,
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authority).map_err(wrong)? {
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
        let builder = match clients {
            Clients::Asked(_) => builder.allow_unauthenticated(),
            Clients::Required(_) => builder,
        };
        builder.build().map_err(|error| wrong(error.to_string()))
    }
}

fn contents(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("holds no certificate in PEM".to_owned()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("is no PEM: {error}")),
    }
}

/// A certificate signed by itself.
fn make(material: &Material) -> Result<Pair, Error> {
    let made = rcgen::generate_simple_self_signed(material.names.clone()).map_err(|error| Error::Tls {
        key: material.key,
        path: None,
        why: format!("no certificate can be made for {}: {error}", material.names.join(", ")),
    })?;
    Ok(Pair {
        chain: vec![made.cert.der().clone()],
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> (KeyFiles, [String; 2]) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let files = KeyFiles {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
        };
        (files, [made.cert.pem(), made.signing_key.serialize_pem()])
    }

    #[test]
    fn what_cannot_be_used_leaves_in_force_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let (files, [first, first_key]) = written(folder.path());
        let (_, [second, second_key]) = written(folder.path());
        std::fs::write(&files.certificate, first).unwrap();
        std::fs::write(&files.key, &first_key).unwrap();
        let tls = Tls::load(Material {
            key: "external_metrics.certificate",
            authority_key: "external_metrics.front_proxy.authority",
            files: Some(files.clone()),
            names: Vec::new(),
            clients: None,
            protocol: b"http/1.1",
        })
        .unwrap();
        assert!(!tls.reread().unwrap(), "nothing has changed");
        let before = tls.current.load_full();
        std::fs::write(&files.certificate, second).unwrap();
        for (key, said) in [
            (first_key.as_str(), "cannot be used with its key"),
            ("", "holds no private key"),
        ] {
            std::fs::write(&files.key, key).unwrap();
            let error = tls.reread().unwrap_err().to_string();
            assert!(
                error.starts_with("external_metrics.certificate: /") && error.contains(said),
                "{error}"
            );
            assert!(Arc::ptr_eq(&before, &tls.current.load_full()));
        }
        std::fs::write(&files.key, second_key).unwrap();
        assert!(tls.reread().unwrap());
        assert!(!Arc::ptr_eq(&before, &tls.current.load_full()));
    }
}
