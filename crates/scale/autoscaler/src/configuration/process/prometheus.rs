//! `PROMETHEUS_*`: where Prometheus is, how to talk to it, how long an answer counts.

use super::{Places, ProcessError, duration};
use collect::{PrometheusConfig, PrometheusError};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The `PROMETHEUS_*` settings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Prometheus {
    /// `PROMETHEUS_BASE_URL`.
    pub base_url: Option<String>,
    /// `PROMETHEUS_BEARER_TOKEN`.
    pub bearer_token: Option<String>,
    /// `PROMETHEUS_TOKEN_PATH`.
    pub token_path: Option<PathBuf>,
    /// `PROMETHEUS_TLS_INSECURE_SKIP_VERIFY`.
    pub insecure_skip_verify: Option<bool>,
    /// `PROMETHEUS_CA_CERT_PATH`.
    pub ca_cert_path: Option<PathBuf>,
    /// `PROMETHEUS_CLIENT_CERT_PATH`.
    pub client_cert_path: Option<PathBuf>,
    /// `PROMETHEUS_CLIENT_KEY_PATH`.
    pub client_key_path: Option<PathBuf>,
    /// `PROMETHEUS_SERVER_NAME`.
    pub server_name: Option<String>,
    /// `PROMETHEUS_METRICS_CACHE_ENABLED`.
    pub cache_enabled: Option<bool>,
    /// `PROMETHEUS_METRICS_CACHE_TTL`.
    pub cache_ttl: Option<Duration>,
    /// `PROMETHEUS_METRICS_CACHE_CLEANUP_INTERVAL`.
    pub cleanup_interval: Option<Duration>,
    /// `PROMETHEUS_METRICS_CACHE_FETCH_INTERVAL`; 0 means that nobody asks in
    /// the background.
    pub fetch_interval: Option<Duration>,
    /// `PROMETHEUS_METRICS_CACHE_FRESH_THRESHOLD`.
    pub fresh_threshold: Option<Duration>,
    /// `PROMETHEUS_METRICS_CACHE_STALE_THRESHOLD`.
    pub stale_threshold: Option<Duration>,
    /// `PROMETHEUS_METRICS_CACHE_UNAVAILABLE_THRESHOLD`.
    pub unavailable_threshold: Option<Duration>,
}

/// Everything but the token and the user in the URL.
impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus")
            .field("base_url", &self.base_url.as_deref().map(collect::without_user))
            .field("bearer_token", &self.bearer_token.as_ref().map(|_| "(hidden)"))
            .field("token_path", &self.token_path)
            .field("insecure_skip_verify", &self.insecure_skip_verify)
            .field("ca_cert_path", &self.ca_cert_path)
            .field("client_cert_path", &self.client_cert_path)
            .field("client_key_path", &self.client_key_path)
            .field("server_name", &self.server_name)
            .field("cache_enabled", &self.cache_enabled)
            .field("cache_ttl", &self.cache_ttl)
            .field("cleanup_interval", &self.cleanup_interval)
            .field("fetch_interval", &self.fetch_interval)
            .field("fresh_threshold", &self.fresh_threshold)
            .field("stale_threshold", &self.stale_threshold)
            .field("unavailable_threshold", &self.unavailable_threshold)
            .finish()
    }
}

impl Prometheus {
    pub(super) fn read(from: &mut Places<'_>) -> Result<Self, ProcessError> {
        Ok(Self {
            base_url: from.string("PROMETHEUS_BASE_URL"),
            bearer_token: from.string("PROMETHEUS_BEARER_TOKEN"),
            token_path: from.path("PROMETHEUS_TOKEN_PATH"),
            insecure_skip_verify: from.switch("PROMETHEUS_TLS_INSECURE_SKIP_VERIFY")?,
            ca_cert_path: from.path("PROMETHEUS_CA_CERT_PATH"),
            client_cert_path: from.path("PROMETHEUS_CLIENT_CERT_PATH"),
            client_key_path: from.path("PROMETHEUS_CLIENT_KEY_PATH"),
            server_name: from.string("PROMETHEUS_SERVER_NAME"),
            cache_enabled: from.switch("PROMETHEUS_METRICS_CACHE_ENABLED")?,
            cache_ttl: from.time("PROMETHEUS_METRICS_CACHE_TTL")?,
            cleanup_interval: from.time("PROMETHEUS_METRICS_CACHE_CLEANUP_INTERVAL")?,
            fetch_interval: from.read("PROMETHEUS_METRICS_CACHE_FETCH_INTERVAL", duration)?,
            fresh_threshold: from.time("PROMETHEUS_METRICS_CACHE_FRESH_THRESHOLD")?,
            stale_threshold: from.time("PROMETHEUS_METRICS_CACHE_STALE_THRESHOLD")?,
            unavailable_threshold: from.time("PROMETHEUS_METRICS_CACHE_UNAVAILABLE_THRESHOLD")?,
        })
    }

    /// The Prometheus to ask, if one is named. What is not said has the
    /// published value; a threshold that is not said gives way to those that are.
    ///
    /// # Errors
    /// Settings of a Prometheus that is not named, or that cannot be used.
    pub fn config(&self) -> Result<Option<PrometheusConfig>, PrometheusError> {
        let Some(base_url) = self.base_url.clone() else {
            if *self == Self::default() {
                return Ok(None);
            }
            return Err(PrometheusError {
                key: "PROMETHEUS_BASE_URL",
                problem: "is not set, and other PROMETHEUS_* settings are: say where Prometheus is, or take them out"
                    .to_owned(),
            });
        };
        let default = PrometheusConfig::new(base_url);
        let fresh = self.fresh_threshold.unwrap_or(default.fresh);
        let stale = self.stale_threshold.unwrap_or_else(|| {
            let most = self.unavailable_threshold.unwrap_or(Duration::MAX);
            default.stale.min(most).max(fresh)
        });
        let config = PrometheusConfig {
            bearer_token: self.bearer_token.clone(),
            token_path: self.token_path.clone(),
            insecure_skip_verify: self.insecure_skip_verify.unwrap_or(default.insecure_skip_verify),
            ca_cert_path: self.ca_cert_path.clone(),
            client_cert_path: self.client_cert_path.clone(),
            client_key_path: self.client_key_path.clone(),
            server_name: self.server_name.clone(),
            cache_enabled: self.cache_enabled.unwrap_or(default.cache_enabled),
            cache_ttl: self.cache_ttl.unwrap_or(default.cache_ttl),
            cleanup_interval: self.cleanup_interval.unwrap_or(default.cleanup_interval),
            fetch_interval: self.fetch_interval.unwrap_or(default.fetch_interval),
            fresh,
            fresh_gives_way: self.fresh_threshold.is_none(),
            stale,
            unavailable: self
                .unavailable_threshold
                .unwrap_or_else(|| default.unavailable.max(stale)),
            ..default
        };
        config.validate()?;
        Ok(Some(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Process;

    const HERE: (&str, &str) = ("PROMETHEUS_BASE_URL", "https://prometheus:9090");

    fn config(env: &[(&str, &str)]) -> Result<Option<PrometheusConfig>, PrometheusError> {
        let of_env = |key: &str| {
            let mut all = env.iter();
            all.find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
        };
        Process::read(&of_env, None).unwrap().prometheus.config()
    }

    #[test]
    fn what_is_not_said_has_the_published_value() {
        assert_eq!(config(&[]), Ok(None));
        let config = config(&[HERE]).unwrap().unwrap();
        let seconds = [
            config.cache_ttl,
            config.cleanup_interval,
            config.fetch_interval,
            config.fresh,
            config.stale,
            config.unavailable,
        ]
        .map(|time| time.as_secs());
        assert_eq!((seconds, config.cache_enabled), ([30, 300, 15, 30, 120, 300], true));
    }

    #[test]
    fn every_key_of_the_cache_is_told_to_the_source() {
        let keys = [
            HERE,
            ("PROMETHEUS_METRICS_CACHE_ENABLED", "false"),
            ("PROMETHEUS_METRICS_CACHE_TTL", "40s"),
            ("PROMETHEUS_METRICS_CACHE_CLEANUP_INTERVAL", "2m"),
            ("PROMETHEUS_METRICS_CACHE_FETCH_INTERVAL", "0"),
            ("PROMETHEUS_METRICS_CACHE_FRESH_THRESHOLD", "1m"),
            ("PROMETHEUS_METRICS_CACHE_STALE_THRESHOLD", "3m"),
            ("PROMETHEUS_METRICS_CACHE_UNAVAILABLE_THRESHOLD", "10m"),
        ];
        let config = config(&keys).unwrap().unwrap();
        let seconds = [
            config.cache_ttl,
            config.cleanup_interval,
            config.fetch_interval,
            config.fresh,
            config.stale,
            config.unavailable,
        ]
        .map(|time| time.as_secs());
        assert_eq!((seconds, config.cache_enabled), ([40, 120, 0, 60, 180, 600], false));
    }

    #[test]
    fn thresholds_that_are_not_said_give_way() {
        let fresh = |value: &'static str| ("PROMETHEUS_METRICS_CACHE_FRESH_THRESHOLD", value);
        let unavailable = |value: &'static str| ("PROMETHEUS_METRICS_CACHE_UNAVAILABLE_THRESHOLD", value);
        for (keys, expected) in [
            (vec![HERE, fresh("10m")], [600, 600, 600]),
            (vec![HERE, unavailable("1m")], [30, 60, 60]),
            (vec![HERE, fresh("5s"), unavailable("1h")], [5, 120, 3600]),
        ] {
            let config = config(&keys).unwrap().unwrap();
            let seconds = [config.fresh, config.stale, config.unavailable].map(|time| time.as_secs());
            assert_eq!(seconds, expected, "{keys:?}");
        }
        let error = config(&[HERE, fresh("2m"), unavailable("1m")]).unwrap_err();
        assert_eq!(error.key, "PROMETHEUS_METRICS_CACHE_UNAVAILABLE_THRESHOLD");
    }

    #[test]
    fn nothing_that_is_secret_is_shown() {
        let said = Prometheus {
            base_url: Some("https://me:s3cret@prometheus:9090".to_owned()),
            bearer_token: Some("s3cret".to_owned()),
            ..Prometheus::default()
        };
        let shown = format!("{said:?} {}", said.config().unwrap_err());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("PROMETHEUS_TOKEN_PATH"), "{shown}");
    }

    #[test]
    fn settings_of_no_prometheus_are_refused() {
        let error = config(&[("PROMETHEUS_TOKEN_PATH", "/token")]).unwrap_err();
        assert_eq!(error.key, "PROMETHEUS_BASE_URL");
    }
}
