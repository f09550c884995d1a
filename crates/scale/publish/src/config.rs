//! What is served and where.

use crate::serve::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What to serve. Keys in errors are the names of these fields, joined by dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The external metrics API; `None` leaves it off.
    pub external_metrics: Option<ExternalMetrics>,
    /// The KEDA external scaler; `None` leaves it off.
    pub keda: Option<Keda>,
    /// How long a decision holds after [`Decided::at`](crate::Decided::at);
    /// an older one is withheld. One second at least.
    pub stale_after: Duration,
    /// How often certificates, keys and authorities are looked at for changes.
    pub reread_after: Duration,
}

impl Default for Config {
    /// Nothing served; decisions hold for a minute, files are read anew every
    /// ten seconds.
    fn default() -> Self {
        Self {
            external_metrics: None,
            keda: None,
            stale_after: Duration::from_secs(60),
            reread_after: Duration::from_secs(10),
        }
    }
}

/// The external metrics API, always over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalMetrics {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate and key; without them a certificate for
    /// [`Self::names`] is made at every start, signed by itself.
    pub certificate: Option<KeyFiles>,
    /// Names and addresses in a certificate of our own making. `localhost`
    /// and the address listened on are always among them.
    pub names: Vec<String>,
    /// Who may ask: the API server's aggregation layer, by its client
    /// certificate. Without it only a loopback address can be listened on.
    pub front_proxy: Option<FrontProxy>,
    /// Lets anybody who reaches the address ask, on any address.
    pub insecure_anonymous: bool,
}

impl ExternalMetrics {
    /// On `listen`, with a certificate of our own making, for anybody on this machine.
    #[must_use]
    pub const fn on(listen: SocketAddr) -> Self {
        Self {
            listen,
            certificate: None,
            names: Vec::new(),
            front_proxy: None,
            insecure_anonymous: false,
        }
    }
}

/// How the aggregation layer of the API server is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontProxy {
    /// The authority (PEM) that signs its client certificate, the
    /// `--requestheader-client-ca-file` of the API server.
    pub authority: PathBuf,
    /// Common names allowed, the API server's `--requestheader-allowed-names`;
    /// empty allows every certificate of the authority.
    pub allowed_names: Vec<String>,
}

/// The KEDA external scaler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keda {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate and key; without them it speaks plain text.
    pub certificate: Option<KeyFiles>,
    /// The authority (PEM) that must have signed a client's certificate;
    /// without it none is asked for.
    pub client_authority: Option<PathBuf>,
}

impl Keda {
    /// On `listen`, in plain text.
    #[must_use]
    pub const fn on(listen: SocketAddr) -> Self {
        Self {
            listen,
            certificate: None,
            client_authority: None,
        }
    }
}

/// A certificate chain and its key, both PEM; read anew when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Config {
    /// Looks for what cannot be meant, before anything is opened.
    ///
    /// # Errors
    /// The first thing found, with its key and the remedy.
    pub fn validate(&self) -> Result<(), Error> {
        let refused = |key: &'static str, why: &str| {
            Err(Error::Config {
                key,
                why: why.to_owned(),
            })
        };
        if self.stale_after < Duration::from_secs(1) {
            return refused(
                "stale_after",
                "is below one second, so every decision would be withheld; 60s is usual",
            );
        }
        if self.reread_after < Duration::from_millis(10) {
            return refused(
                "reread_after",
                "is below 10 ms, so files would be read all the time; 10s is usual",
            );
        }
        if let Some(metrics) = &self.external_metrics {
            if metrics.front_proxy.is_some() && metrics.insecure_anonymous {
                return refused(
                    "external_metrics.insecure_anonymous",
                    "contradicts external_metrics.front_proxy; take one of them away",
                );
            }
            if metrics.front_proxy.is_none() && !metrics.insecure_anonymous && !metrics.listen.ip().is_loopback() {
                return Err(Error::Config {
                    key: "external_metrics.listen",
                    why: format!(
                        "{} is reached from other machines and nothing says who may ask; name the authority of the \
                         API server's front proxy in external_metrics.front_proxy, listen on 127.0.0.1, or set \
                         external_metrics.insecure_anonymous",
                        metrics.listen
                    ),
                });
            }
            if metrics
                .front_proxy
                .iter()
                .flat_map(|proxy| &proxy.allowed_names)
                .any(String::is_empty)
            {
                return refused(
                    "external_metrics.front_proxy.allowed_names",
                    "holds an empty name; an empty list allows every certificate of the authority",
                );
            }
            if metrics.certificate.is_some() && !metrics.names.is_empty() {
                return refused(
                    "external_metrics.names",
                    "are for a certificate of our own making, and external_metrics.certificate gives one",
                );
            }
        }
        if let Some(keda) = &self.keda
            && keda.client_authority.is_some()
            && keda.certificate.is_none()
        {
            return refused(
                "keda.client_authority",
                "needs TLS; set keda.certificate with the server's certificate and key",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(listen: &str) -> ExternalMetrics {
        ExternalMetrics::on(listen.parse().unwrap())
    }

    fn with(metrics: ExternalMetrics) -> Config {
        Config {
            external_metrics: Some(metrics),
            ..Config::default()
        }
    }

    #[test]
    fn what_is_not_meant_is_refused_by_its_key() {
        let proxy = || {
            Some(FrontProxy {
                authority: "ca.pem".into(),
                allowed_names: Vec::new(),
            })
        };
        let files = || {
            Some(KeyFiles {
                certificate: "a".into(),
                key: "b".into(),
            })
        };
        let cases = [
            (
                with(metrics("0.0.0.0:6443")),
                "external_metrics.listen",
                "insecure_anonymous",
            ),
            (
                with(metrics("[::]:0")),
                "external_metrics.listen",
                "external_metrics.front_proxy",
            ),
            (
                with(ExternalMetrics {
                    front_proxy: proxy(),
                    insecure_anonymous: true,
                    ..metrics("127.0.0.1:0")
                }),
                "external_metrics.insecure_anonymous",
                "contradicts",
            ),
            (
                with(ExternalMetrics {
                    front_proxy: Some(FrontProxy {
                        authority: "ca.pem".into(),
                        allowed_names: vec![String::new()],
                    }),
                    ..metrics("127.0.0.1:0")
                }),
                "external_metrics.front_proxy.allowed_names",
                "empty",
            ),
            (
                with(ExternalMetrics {
                    certificate: files(),
                    names: vec!["tidegate.example".to_owned()],
                    ..metrics("127.0.0.1:0")
                }),
                "external_metrics.names",
                "own making",
            ),
            (
                Config {
                    stale_after: Duration::ZERO,
                    ..Config::default()
                },
                "stale_after",
                "60s",
            ),
            (
                Config {
                    reread_after: Duration::ZERO,
                    ..Config::default()
                },
                "reread_after",
                "10s",
            ),
            (
                Config {
                    keda: Some(Keda {
                        client_authority: Some("ca.pem".into()),
                        ..Keda::on("127.0.0.1:0".parse().unwrap())
                    }),
                    ..Config::default()
                },
                "keda.client_authority",
                "keda.certificate",
            ),
        ];
        for (config, key, remedy) in cases {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(key) && error.contains(remedy), "{error}");
        }
    }

    #[test]
    fn loopback_a_front_proxy_or_a_plain_word_make_it_acceptable() {
        let proxy = FrontProxy {
            authority: "ca.pem".into(),
            allowed_names: vec!["front-proxy-client".to_owned()],
        };
        for good in [
            metrics("127.0.0.1:0"),
            metrics("[::1]:6443"),
            ExternalMetrics {
                front_proxy: Some(proxy),
                ..metrics("0.0.0.0:6443")
            },
            ExternalMetrics {
                insecure_anonymous: true,
                ..metrics("0.0.0.0:6443")
            },
        ] {
            with(good).validate().unwrap();
        }
    }
}
