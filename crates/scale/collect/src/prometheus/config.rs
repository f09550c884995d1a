//! Where Prometheus is and how to talk to it.

use crate::Transport;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Settings of the Prometheus source; each is named as the predecessor names it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrometheusConfig {
    /// `PROMETHEUS_BASE_URL`, https unless it is this host.
    pub base_url: String,
    /// `PROMETHEUS_BEARER_TOKEN`; goes before the file.
    pub bearer_token: Option<String>,
    /// `PROMETHEUS_TOKEN_PATH`; read anew for every question.
    pub token_path: Option<PathBuf>,
    /// `PROMETHEUS_TLS_INSECURE_SKIP_VERIFY`.
    pub insecure_skip_verify: bool,
    /// `PROMETHEUS_CA_CERT_PATH`; else the system's authorities.
    pub ca_cert_path: Option<PathBuf>,
    /// `PROMETHEUS_CLIENT_CERT_PATH`.
    pub client_cert_path: Option<PathBuf>,
    /// `PROMETHEUS_CLIENT_KEY_PATH`.
    pub client_key_path: Option<PathBuf>,
    /// `PROMETHEUS_SERVER_NAME`: the name its certificate must have.
    pub server_name: Option<String>,
    /// `PROMETHEUS_METRICS_CACHE_ENABLED`: whether answers are kept for those
    /// who read. If not, every pass asks.
    pub cache_enabled: bool,
    /// `PROMETHEUS_METRICS_CACHE_TTL`: no answer is used for longer. Questions
    /// are never further apart than half of it.
    pub cache_ttl: Duration,
    /// `PROMETHEUS_METRICS_CACHE_CLEANUP_INTERVAL`: the time between two looks
    /// for answers that are kept and too old.
    pub cleanup_interval: Duration,
    /// Most models whose answers are kept.
    pub cache_entries: usize,
    /// `PROMETHEUS_METRICS_CACHE_FETCH_INTERVAL`: the longest time between two
    /// questions for a model in the background. As soon as the scrape interval
    /// is known they come right after each scrape. 0: there is no background,
    /// and a pass asks for what the cache does not have.
    pub fetch_interval: Duration,
    /// Over how long rates and means are taken.
    pub window: Duration,
    /// `PROMETHEUS_METRICS_CACHE_FRESH_THRESHOLD`: up to this age signals are found.
    pub fresh: Duration,
    /// Whether `fresh` gives way to a scrape interval that makes every sample
    /// older before the next one can be known; it does where nobody set it.
    pub fresh_gives_way: bool,
    /// `PROMETHEUS_METRICS_CACHE_STALE_THRESHOLD`: what is older is not told any
    /// more, not even with its age.
    pub stale: Duration,
    /// `PROMETHEUS_METRICS_CACHE_UNAVAILABLE_THRESHOLD`: up to this age samples
    /// are said to be stale, then to be missing.
    pub unavailable: Duration,
    /// Time for one answer.
    pub deadline: Duration,
    /// Most bytes of an answer.
    pub max_body: usize,
    /// How questions reach the server.
    pub transport: Transport,
}

/// Time for a scrape that comes late, and for an answer.
const SLACK: Duration = Duration::from_secs(2);

impl PrometheusConfig {
    /// The defaults, for the server at `base_url`.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            bearer_token: None,
            token_path: None,
            insecure_skip_verify: false,
            ca_cert_path: None,
            client_cert_path: None,
            client_key_path: None,
            server_name: None,
            cache_enabled: true,
            cache_ttl: Duration::from_secs(30),
            cleanup_interval: Duration::from_secs(300),
            cache_entries: 10_000,
            fetch_interval: Duration::from_secs(15),
            window: Duration::from_secs(60),
            fresh: Duration::from_secs(30),
            fresh_gives_way: true,
            stale: Duration::from_secs(120),
            unavailable: Duration::from_secs(300),
            deadline: Duration::from_secs(10),
            max_body: 64 << 20,
            transport: Transport::Network,
        }
    }

    /// Checks what can be checked without a connection.
    ///
    /// # Errors
    /// The first setting that cannot be used, with its key and the remedy.
    pub fn validate(&self) -> Result<(), PrometheusError> {
        let url: http::Uri = self
            .base_url
            .parse()
            .map_err(|_| problem("PROMETHEUS_BASE_URL", "is not a URL like https://prometheus:9090"))?;
        if url
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(problem(
                "PROMETHEUS_BASE_URL",
                "has a user in it, which would be seen wherever the URL is: take it out and give a token with \
                 PROMETHEUS_TOKEN_PATH, or put a proxy in between that knows the password",
            ));
        }
        let host = url.host().unwrap_or_default();
        let here = host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse()
                .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        match url.scheme_str() {
            Some("https") => {}
            Some("http") if here => {}
            Some("http") => {
                return Err(problem(
                    "PROMETHEUS_BASE_URL",
                    "is http: what leaves this host must be https",
                ));
            }
            _ => {
                return Err(problem(
                    "PROMETHEUS_BASE_URL",
                    "must begin with https:// (or http:// on this host)",
                ));
            }
        }
        if host.is_empty() {
            return Err(problem("PROMETHEUS_BASE_URL", "names no host"));
        }
        if self.client_cert_path.is_some() != self.client_key_path.is_some() {
            return Err(problem(
                "PROMETHEUS_CLIENT_CERT_PATH",
                "and PROMETHEUS_CLIENT_KEY_PATH go together: set both or neither",
            ));
        }
        if self.insecure_skip_verify && self.ca_cert_path.is_some() {
            return Err(problem(
                "PROMETHEUS_TLS_INSECURE_SKIP_VERIFY",
                "makes PROMETHEUS_CA_CERT_PATH meaningless: take one of them out",
            ));
        }
        let longer_than = |key, value: Duration, least: Duration| {
            let told = format!("is {value:?}: it must be at least {least:?}");
            (value >= least).then_some(()).ok_or_else(|| problem(key, told))
        };
        let second = Duration::from_secs(1);
        if !self.fetch_interval.is_zero() {
            longer_than("PROMETHEUS_METRICS_CACHE_FETCH_INTERVAL", self.fetch_interval, second)?;
        }
        longer_than("PROMETHEUS_METRICS_CACHE_TTL", self.cache_ttl, second * 2)?;
        longer_than(
            "PROMETHEUS_METRICS_CACHE_CLEANUP_INTERVAL",
            self.cleanup_interval,
            second,
        )?;
        longer_than("PROMETHEUS_METRICS_CACHE_FRESH_THRESHOLD", self.fresh, second)?;
        longer_than("PROMETHEUS_METRICS_CACHE_STALE_THRESHOLD", self.stale, self.fresh)?;
        longer_than(
            "PROMETHEUS_METRICS_CACHE_UNAVAILABLE_THRESHOLD",
            self.unavailable,
            self.stale,
        )?;
        longer_than("window", self.window, Duration::from_secs(5))
    }

    /// Whether questions are asked in the background.
    pub(super) const fn background(&self) -> bool {
        self.cache_enabled && !self.fetch_interval.is_zero()
    }

    /// The longest time between two questions for a model: an answer must come
    /// before the one that is kept is too old.
    /// Up to what age samples are fresh that come every `interval`, once it is known.
    pub(super) fn fresh_for(&self, interval: Option<Duration>) -> Duration {
        // A sample is the newest until the next was scraped and asked for.
        let newest_for = interval.map(|interval| interval + self.longest_pause() + SLACK);
        match newest_for {
            Some(newest_for) if self.fresh_gives_way => self.fresh.max(newest_for.min(self.stale)),
            _ => self.fresh,
        }
    }

    pub(super) fn longest_pause(&self) -> Duration {
        let half = self.cache_ttl / 2;
        if self.fetch_interval.is_zero() {
            half
        } else {
            half.min(self.fetch_interval)
        }
    }
}

/// Everything but the token and the user in the URL.
impl fmt::Debug for PrometheusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusConfig")
            .field("base_url", &without_user(&self.base_url))
            .field("bearer_token", &self.bearer_token.as_ref().map(|_| "(hidden)"))
            .field("token_path", &self.token_path)
            .field("ca_cert_path", &self.ca_cert_path)
            .field("client_cert_path", &self.client_cert_path)
            .field("insecure_skip_verify", &self.insecure_skip_verify)
            .field("server_name", &self.server_name)
            .field("cache_enabled", &self.cache_enabled)
            .field("cache_ttl", &self.cache_ttl)
            .field("cleanup_interval", &self.cleanup_interval)
            .field("fetch_interval", &self.fetch_interval)
            .field("fresh", &self.fresh)
            .field("stale", &self.stale)
            .field("unavailable", &self.unavailable)
            .finish_non_exhaustive()
    }
}

/// A URL without the user (and password) that may stand in it.
#[must_use]
pub fn without_user(url: &str) -> String {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(begin);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.rfind('@') {
        Some(at) => format!("{scheme}(hidden){}", &rest[at..]),
        None => url.to_owned(),
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key} {problem}")]
pub struct PrometheusError {
    /// The key.
    pub key: &'static str,
    /// What is wrong, and the remedy.
    pub problem: String,
}

pub(super) fn problem(key: &'static str, problem: impl Into<String>) -> PrometheusError {
    PrometheusError {
        key,
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named() {
        type Spoil = fn(&mut PrometheusConfig);
        let cases: [(&str, Spoil); 13] = [
            ("PROMETHEUS_BASE_URL", |c| c.base_url = "http://prometheus:9090".into()),
            ("PROMETHEUS_BASE_URL", |c| c.base_url = "prometheus:9090".into()),
            ("PROMETHEUS_BASE_URL", |c| c.base_url = "https://".into()),
            ("PROMETHEUS_CLIENT_CERT_PATH", |c| {
                c.client_cert_path = Some("a.pem".into());
            }),
            ("PROMETHEUS_TLS_INSECURE_SKIP_VERIFY", |c| {
                c.insecure_skip_verify = true;
                c.ca_cert_path = Some("ca.pem".into());
            }),
            ("PROMETHEUS_METRICS_CACHE_FETCH_INTERVAL", |c| {
                c.fetch_interval = Duration::from_millis(1);
            }),
            ("PROMETHEUS_METRICS_CACHE_TTL", |c| c.cache_ttl = Duration::from_secs(1)),
            ("PROMETHEUS_METRICS_CACHE_CLEANUP_INTERVAL", |c| {
                c.cleanup_interval = Duration::ZERO;
            }),
            ("PROMETHEUS_METRICS_CACHE_STALE_THRESHOLD", |c| {
                c.stale = Duration::from_secs(29);
            }),
            ("PROMETHEUS_BASE_URL", |c| c.base_url = "https://me:s3cret@p".into()),
            ("PROMETHEUS_BASE_URL", |c| c.base_url = "https://s3cret@p:9090/x".into()),
            ("PROMETHEUS_METRICS_CACHE_FRESH_THRESHOLD", |c| c.fresh = Duration::ZERO),
            ("PROMETHEUS_METRICS_CACHE_UNAVAILABLE_THRESHOLD", |c| {
                c.unavailable = Duration::from_secs(1);
            }),
        ];
        for (key, spoil) in cases {
            let mut config = PrometheusConfig::new("https://prometheus:9090");
            spoil(&mut config);
            let error = config.validate().unwrap_err();
            assert_eq!(error.key, key);
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        for good in [
            "https://p",
            "http://127.0.0.1:9090",
            "http://localhost:9090/base",
            "http://[::1]:9090",
        ] {
            assert_eq!(PrometheusConfig::new(good).validate(), Ok(()), "{good}");
        }
    }

    #[test]
    fn the_token_is_never_printed() {
        let config = PrometheusConfig {
            bearer_token: Some("s3cret".into()),
            ..PrometheusConfig::new("https://p")
        };
        assert!(!format!("{config:?}").contains("s3cret"));
        for url in [
            "https://me:s3cret@p:9090/x",
            "https://s3cret@p",
            "https://me:s3cret@s3cret@p",
            "s3cret@p:9090",
            "https://me:s3cret@",
        ] {
            let config = PrometheusConfig::new(url);
            assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
        }
        assert_eq!(without_user("https://p:9090/a@b"), "https://p:9090/a@b");
        assert_eq!(without_user("https://me:x@p/a"), "https://(hidden)@p/a");
    }

    #[test]
    fn a_sample_is_fresh_until_the_next_can_be_known_unless_somebody_set_an_age() {
        let seconds = Duration::from_secs;
        for (gives_way, fresh, interval, expected) in [
            (true, 30, None, 30),
            (true, 30, Some(10), 30),
            // Scraped every 30 s, asked for every 15 s.
            (true, 30, Some(30), 47),
            (true, 30, Some(60), 77),
            (true, 30, Some(600), 120),
            (false, 30, Some(30), 30),
            (false, 2, Some(30), 2),
        ] {
            let config = PrometheusConfig {
                fresh: seconds(fresh),
                fresh_gives_way: gives_way,
                ..PrometheusConfig::new("https://p")
            };
            let age = config.fresh_for(interval.map(seconds));
            assert_eq!(age, seconds(expected), "{fresh} s, scraped every {interval:?}");
        }
    }
}
