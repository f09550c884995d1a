//! Settings of the process itself: environment first, then a file.
//!
//! The keys are the predecessor's. A key it knew and that has no meaning here
//! is refused with the reason, unless it says what holds anyway.

mod prometheus;

pub use prometheus::Prometheus;

use super::fields::duration;
use crate::inventory::NodeSelector;
use collect::{Picker, PickerError, PickerToken};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// A setting that cannot be used: which, said where, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key} ({place}): {problem}")]
pub struct ProcessError {
    /// The key.
    pub key: String,
    /// `environment`, or the file's path.
    pub place: String,
    /// What is wrong, and the remedy.
    pub problem: String,
}

/// What environment and file say; what they do not say is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// `METRICS_BIND_ADDRESS`; `Some(None)` is off.
    pub metrics: Option<Option<SocketAddr>>,
    /// `HEALTH_PROBE_BIND_ADDRESS`; `Some(None)` is off.
    pub health: Option<Option<SocketAddr>>,
    /// `LEADER_ELECT`.
    pub leader_elect: Option<bool>,
    /// `LEADER_ELECTION_ID`.
    pub leader_election_id: Option<String>,
    /// `LEADER_ELECTION_LEASE_DURATION`.
    pub lease_duration: Option<Duration>,
    /// `LEADER_ELECTION_RENEW_DEADLINE`.
    pub renew_deadline: Option<Duration>,
    /// `LEADER_ELECTION_RETRY_PERIOD`.
    pub retry_period: Option<Duration>,
    /// `WATCH_NAMESPACE`; empty means all.
    pub watch_namespace: Option<String>,
    /// `GLOBAL_OPT_INTERVAL`: time between decisions.
    pub interval: Option<Duration>,
    /// `WVA_SCALE_TO_ZERO`.
    pub scale_to_zero: Option<bool>,
    /// `CONTROLLER_INSTANCE`.
    pub instance: Option<String>,
    /// `POD_NAMESPACE`: where the ConfigMaps for everybody and the Lease are.
    pub pod_namespace: Option<String>,
    /// `SATURATION_CONFIG_MAP_NAME`.
    pub saturation_config_map: Option<String>,
    /// `WVA_NODE_SELECTOR`: the nodes whose GPUs count.
    pub node_selector: Option<NodeSelector>,
    /// `EXTERNAL_METRICS_*`, `KEDA_*` and `DECISION_HOLDS_FOR`.
    pub publishing: Publishing,
    /// `LOG_LEVEL`, or the predecessor's number `V`.
    pub log_level: Option<LogLevel>,
    /// `PROMETHEUS_*`.
    pub prometheus: Prometheus,
    /// `PICKERS`, separated by commas.
    pub pickers: Option<Vec<Picker>>,
    /// `PICKER_DISCOVERY`.
    pub picker_discovery: Option<bool>,
    /// `EPP_METRIC_READER_BEARER_TOKEN`, `PICKER_TOKEN_PATH`,
    /// `PICKER_TOKEN_IN_THE_CLEAR` and `PICKER_CA_CERT`.
    pub picker_token: PickerToken,
}

/// Where decisions are published for HPA and KEDA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publishing {
    /// `EXTERNAL_METRICS_LISTEN`; `Some(None)` is off.
    pub external_listen: Option<Option<SocketAddr>>,
    /// `EXTERNAL_METRICS_CERT`.
    pub external_cert: Option<PathBuf>,
    /// `EXTERNAL_METRICS_KEY`.
    pub external_key: Option<PathBuf>,
    /// `EXTERNAL_METRICS_CLIENT_CA`.
    pub external_client_ca: Option<PathBuf>,
    /// `EXTERNAL_METRICS_CLIENT_NAMES`, separated by commas.
    pub external_client_names: Option<Vec<String>>,
    /// `EXTERNAL_METRICS_ANONYMOUS`.
    pub external_anonymous: Option<bool>,
    /// `KEDA_LISTEN`; `Some(None)` is off.
    pub keda_listen: Option<Option<SocketAddr>>,
    /// `KEDA_CERT`.
    pub keda_cert: Option<PathBuf>,
    /// `KEDA_KEY`.
    pub keda_key: Option<PathBuf>,
    /// `KEDA_CLIENT_CA`.
    pub keda_client_ca: Option<PathBuf>,
    /// `DECISION_HOLDS_FOR`.
    pub holds_for: Option<Duration>,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// And warnings.
    Warn,
    /// And what happens.
    Info,
    /// And why.
    Debug,
    /// And everything else.
    Trace,
}

fn log_level(text: &str) -> Result<LogLevel, String> {
    match text {
        "error" => Ok(LogLevel::Error),
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        other => Err(format!("is `{other}`: it must be error, warn, info, debug or trace")),
    }
}

fn pickers(text: &str) -> Result<Vec<Picker>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| name.parse().map_err(|error: PickerError| error.to_string()))
        .collect()
}

fn verbosity(text: &str) -> Result<LogLevel, String> {
    match text.parse::<u8>() {
        Ok(0..=2) => Ok(LogLevel::Info),
        Ok(3..=4) => Ok(LogLevel::Debug),
        Ok(_) => Ok(LogLevel::Trace),
        Err(_) => Err(format!("is `{text}`: it must be a number, 0 or more")),
    }
}

/// Keys of the predecessor that mean nothing here: key, the value that says
/// what holds anyway, and why there is no other.
const NOT_HERE: [(&str, &str, &str); 13] = [
    (
        "POOL_GROUP",
        "inference.networking.k8s.io",
        "InferencePools of the group inference.networking.k8s.io are read and no other: make yours anew in it",
    ),
    (
        "METRICS_SECURE",
        "false",
        "metrics are plain HTTP: let a NetworkPolicy say who may ask",
    ),
    ("ENABLE_HTTP2", "false", "metrics are served by HTTP/1.1 only"),
    (
        "WVA_LIMITED_MODE",
        "false",
        "enableLimiter of the saturation ConfigMap is what limits",
    ),
    (
        "REST_CLIENT_TIMEOUT",
        "",
        "every request to the API has a deadline of its own",
    ),
    (
        "SCALE_FROM_ZERO_ENGINE_MAX_CONCURRENCY",
        "",
        "all targets are woken at once",
    ),
    ("WEBHOOK_CERT_PATH", "", "there is no webhook"),
    ("WEBHOOK_CERT_NAME", "", "there is no webhook"),
    ("WEBHOOK_CERT_KEY", "", "there is no webhook"),
    (
        "METRICS_CERT_PATH",
        "",
        "metrics are plain HTTP: let a NetworkPolicy say who may ask",
    ),
    (
        "METRICS_CERT_NAME",
        "",
        "metrics are plain HTTP: let a NetworkPolicy say who may ask",
    ),
    (
        "METRICS_CERT_KEY",
        "",
        "metrics are plain HTTP: let a NetworkPolicy say who may ask",
    ),
    (
        "CONFIG_MAP_NAME",
        "",
        "mount the ConfigMap and name the file with --config-file",
    ),
];

/// Both places, looked into key by key.
struct Places<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    path: String,
    file: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl Places<'_> {
    fn text(&mut self, key: &'static str) -> Option<(String, String)> {
        self.known.push(key);
        let of_file = self.file.remove(key);
        // An empty variable is one that a template left open.
        let of_env = (self.env)(key).filter(|value| !value.is_empty());
        let place = if of_env.is_some() { "environment" } else { &self.path };
        let value = of_env.or(of_file)?;
        Some((value.trim().to_owned(), place.to_owned()))
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ProcessError> {
        let Some((text, place)) = self.text(key) else {
            return Ok(None);
        };
        let error = |problem| ProcessError {
            key: key.to_owned(),
            place,
            problem,
        };
        parse(&text).map(Some).map_err(error)
    }

    fn string(&mut self, key: &'static str) -> Option<String> {
        self.text(key).map(|(text, _)| text).filter(|text| !text.is_empty())
    }

    fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.string(key).map(PathBuf::from)
    }

    fn time(&mut self, key: &'static str) -> Result<Option<Duration>, ProcessError> {
        self.read(key, |text| match duration(text)? {
            Duration::ZERO => Err("is 0: it must be longer".to_owned()),
            time => Ok(time),
        })
    }

    fn switch(&mut self, key: &'static str) -> Result<Option<bool>, ProcessError> {
        self.read(key, |text| match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(format!("is `{other}`: it must be true or false")),
        })
    }
}

impl Process {
    /// Reads the environment, and the file (its path and its text) below it.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn read(env: &dyn Fn(&str) -> Option<String>, file: Option<(&str, &str)>) -> Result<Self, ProcessError> {
        let (path, text) = file.unwrap_or_default();
        let mut places = Places {
            env,
            path: path.to_owned(),
            file: entries(path, text)?,
            known: Vec::new(),
        };
        let from = &mut places;
        let process = Self {
            metrics: from.read("METRICS_BIND_ADDRESS", address)?,
            health: from.read("HEALTH_PROBE_BIND_ADDRESS", address)?,
            leader_elect: from.switch("LEADER_ELECT")?,
            leader_election_id: from.string("LEADER_ELECTION_ID"),
            lease_duration: from.time("LEADER_ELECTION_LEASE_DURATION")?,
            renew_deadline: from.time("LEADER_ELECTION_RENEW_DEADLINE")?,
            retry_period: from.time("LEADER_ELECTION_RETRY_PERIOD")?,
            watch_namespace: from.string("WATCH_NAMESPACE"),
            interval: from.time("GLOBAL_OPT_INTERVAL")?,
            scale_to_zero: from.switch("WVA_SCALE_TO_ZERO")?,
            instance: from.string("CONTROLLER_INSTANCE"),
            pod_namespace: from.string("POD_NAMESPACE"),
            saturation_config_map: from.string("SATURATION_CONFIG_MAP_NAME"),
            node_selector: from.read("WVA_NODE_SELECTOR", str::parse)?,
            publishing: Publishing {
                external_listen: from.read("EXTERNAL_METRICS_LISTEN", address)?,
                external_cert: from.path("EXTERNAL_METRICS_CERT"),
                external_key: from.path("EXTERNAL_METRICS_KEY"),
                external_client_ca: from.path("EXTERNAL_METRICS_CLIENT_CA"),
                external_client_names: from
                    .string("EXTERNAL_METRICS_CLIENT_NAMES")
                    .map(|names| names.split(',').map(|name| name.trim().to_owned()).collect()),
                external_anonymous: from.switch("EXTERNAL_METRICS_ANONYMOUS")?,
                keda_listen: from.read("KEDA_LISTEN", address)?,
                keda_cert: from.path("KEDA_CERT"),
                keda_key: from.path("KEDA_KEY"),
                keda_client_ca: from.path("KEDA_CLIENT_CA"),
                holds_for: from.time("DECISION_HOLDS_FOR")?,
            },
            log_level: match from.read("LOG_LEVEL", log_level)? {
                None => from.read("V", verbosity)?,
                level => level,
            },
            prometheus: Prometheus::read(from)?,
            pickers: from.read("PICKERS", pickers)?,
            picker_discovery: from.switch("PICKER_DISCOVERY")?,
            picker_token: PickerToken {
                token: from.string("EPP_METRIC_READER_BEARER_TOKEN"),
                path: from.path("PICKER_TOKEN_PATH"),
                in_the_clear: from.switch("PICKER_TOKEN_IN_THE_CLEAR")?.unwrap_or(false),
                authority: from.path("PICKER_CA_CERT"),
            },
        };
        for (key, holds, why) in NOT_HERE {
            if let Some((value, place)) = places.text(key)
                && !value.is_empty()
                && value != holds
            {
                return Err(ProcessError {
                    key: key.to_owned(),
                    place,
                    problem: format!("has no meaning here, for {why}; take it out"),
                });
            }
        }
        places.known.sort_unstable();
        match places.file.pop_first() {
            None => Ok(process),
            Some((key, _)) => Err(ProcessError {
                key: key.chars().take(80).collect(),
                place: places.path,
                problem: format!("is not known: take it out, or write one of {}", places.known.join(", ")),
            }),
        }
    }
}

/// The entries of a flat YAML file, as texts.
fn entries(path: &str, text: &str) -> Result<BTreeMap<String, String>, ProcessError> {
    let error = |key: &str, problem: &str| ProcessError {
        key: key.to_owned(),
        place: path.to_owned(),
        problem: problem.to_owned(),
    };
    if text.trim().is_empty() {
        return Ok(BTreeMap::new());
    }
    let values: BTreeMap<String, Value> = serde_saphyr::from_str(text).map_err(|why| {
        let why = why.to_string();
        let line = why.lines().next().unwrap_or_default();
        error("the file", &format!("is no YAML mapping of keys to values: {line}"))
    })?;
    let entry = |(key, value): (String, Value)| {
        let text = match value {
            Value::Null => String::new(),
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => return Err(error(&key, "must be one value, not a list or mapping")),
        };
        Ok((key, text))
    };
    values.into_iter().map(entry).collect()
}

/// Reads an address to listen on: `IP:PORT`, `:PORT` for all addresses, `0`
/// or nothing for none.
///
/// # Errors
/// A sentence that shows what can be written.
pub fn address(text: &str) -> Result<Option<SocketAddr>, String> {
    let wrong = || format!("`{text}` is no address: write IP:PORT, :PORT for all addresses, or 0 for none");
    match text {
        "" | "0" => Ok(None),
        _ => match text.strip_prefix(':') {
            Some(port) => {
                let port = port.parse().map_err(|_| wrong())?;
                Ok(Some((Ipv4Addr::UNSPECIFIED, port).into()))
            }
            None => text.parse().map(Some).map_err(|_| wrong()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&str, &str)], file: &str) -> Result<Process, ProcessError> {
        let of_env = |key: &str| {
            env.iter()
                .find(|(name, _)| *name == key)
                .map(|(_, value)| (*value).to_owned())
        };
        Process::read(&of_env, Some(("config.yaml", file)))
    }

    #[test]
    fn the_environment_is_stronger_than_the_file() {
        let file = "METRICS_BIND_ADDRESS: \":8443\"\nLEADER_ELECT: true\nLEADER_ELECTION_LEASE_DURATION: 60s\nWVA_SCALE_TO_ZERO: \"true\"\n";
        let process = read(&[("LEADER_ELECT", "false"), ("WATCH_NAMESPACE", "")], file).unwrap();
        assert_eq!(process.metrics, Some(Some(([0, 0, 0, 0], 8443).into())));
        assert_eq!((process.leader_elect, process.scale_to_zero), (Some(false), Some(true)));
        assert_eq!(process.lease_duration, Some(Duration::from_secs(60)));
        assert_eq!((process.watch_namespace, process.health), (None, None));
        assert_eq!(process.node_selector, None);
        let process = read(&[], "WVA_NODE_SELECTOR: pool in (a,b)\n").unwrap();
        assert_eq!(process.node_selector, Some("pool in (a,b)".parse().unwrap()));
        assert_eq!(read(&[("METRICS_BIND_ADDRESS", "0")], "").unwrap().metrics, Some(None));
    }

    #[test]
    fn what_cannot_be_used_names_the_key_and_where_it_stands() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
        let cases: [Case<'_>; 10] = [
            (
                &[("WVA_NODE_SELECTOR", "pool in (a")],
                "",
                "WVA_NODE_SELECTOR (environment): selector requirement `pool in (a` cannot be read",
            ),
            (
                &[("GLOBAL_OPT_INTERVAL", "0s")],
                "",
                "GLOBAL_OPT_INTERVAL (environment): is 0",
            ),
            (
                &[("GLOBAL_OPT_INTERVAL", "soon")],
                "",
                "GLOBAL_OPT_INTERVAL (environment): `soon` is no duration",
            ),
            (&[("LEADER_ELECT", "yes")], "", "LEADER_ELECT (environment): is `yes`"),
            (
                &[],
                "HEALTH_PROBE_BIND_ADDRESS: here",
                "HEALTH_PROBE_BIND_ADDRESS (config.yaml): `here` is no address",
            ),
            (
                &[],
                "LEADER_ELECTED: true",
                "LEADER_ELECTED (config.yaml): is not known",
            ),
            (
                &[],
                "ENABLE_HTTP2: true",
                "ENABLE_HTTP2 (config.yaml): has no meaning here",
            ),
            (
                &[("POOL_GROUP", "inference.networking.x-k8s.io")],
                "",
                "POOL_GROUP (environment): has no meaning here, for InferencePools of the group \
                 inference.networking.k8s.io are read",
            ),
            (
                &[],
                "LEADER_ELECT: [1]",
                "LEADER_ELECT (config.yaml): must be one value",
            ),
            (&[], "- a", "the file (config.yaml): is no YAML mapping"),
        ];
        for (env, file, expected) in cases {
            let error = read(env, file).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(
            read(
                &[("POOL_GROUP", "inference.networking.k8s.io")],
                "ENABLE_HTTP2: false\nWEBHOOK_CERT_PATH: \"\""
            )
            .is_ok(),
            "what holds anyway"
        );
    }
}
