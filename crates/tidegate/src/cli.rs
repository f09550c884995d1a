//! The command line: what users type.

use crate::fleet::Millis;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The control plane of an LLM inference fleet, in one binary.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    about = "The control plane of an LLM inference fleet: routes requests, scales model variants, proves its policies.",
    max_term_width = 110,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What Tidegate can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a whole fleet on this machine: API, scheduler, model servers, gateway, autoscaler, dashboard
    Up(Box<Up>),
    /// Decide the replicas of a cluster's variants: the controller as a process of its own
    Autoscaler(Box<Autoscaler>),
    /// Send load to an OpenAI-compatible server and say what came back
    Load(Box<load::Args>),
    /// Serve a simulated model as vLLM would
    Sim(Box<modelserver::Args>),
    /// Say why something is as it is
    #[command(subcommand)]
    Why(Why),
    /// Try policies in virtual time
    #[command(subcommand)]
    Lab(Lab),
    /// Work with fleet files
    #[command(subcommand)]
    Fleet(FleetCommand),
    /// Print the custom resource definitions as YAML
    Crds,
    /// Start COMMAND so that it dies with its parent (used by the process kubelet)
    #[command(name = "exec-child", hide = true, disable_help_flag = true)]
    ExecChild {
        /// Arguments of the shim.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// `tidegate up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Fleet file: nodes, models, variants [default: a small built-in fleet]
    #[arg(long, value_name = "FILE")]
    pub(crate) fleet: Option<PathBuf>,
    /// Folder for state, logs, kubeconfig and endpoints.json
    #[arg(long, value_name = "DIR", default_value = ".tidegate")]
    pub(crate) data_dir: PathBuf,
    /// Gateway address
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Dashboard address (loopback only)
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8090")]
    pub(crate) dashboard: SocketAddr,
    /// Embedded Kubernetes API address (loopback only)
    #[arg(
        long,
        value_name = "IP:PORT",
        default_value = "127.0.0.1:8070",
        conflicts_with = "kubeconfig"
    )]
    pub(crate) api: SocketAddr,
    /// Address of the gateway's metrics and signals (loopback only)
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8081")]
    pub(crate) gateway_admin: SocketAddr,
    /// Address of the autoscaler's metrics and explanations (loopback only)
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8082")]
    pub(crate) autoscaler_admin: SocketAddr,
    /// Address of the external scaler for KEDA (loopback only)
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8083")]
    pub(crate) keda_listen: SocketAddr,
    /// Use this control plane instead of the embedded one
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Namespace of the fleet's objects
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    /// How long a request may wait for an endpoint
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = millis)]
    pub(crate) queue_timeout: Duration,
    /// How long requests may wait for a replica before there are too few
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = millis)]
    pub(crate) queue_wait: Duration,
    /// How long a replica may take to start before others are started in its place; twice as long as they take, if that is longer
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = millis)]
    pub(crate) pending_timeout: Duration,
    /// How long load must have been lower before a replica is taken away
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = millis)]
    pub(crate) scale_down_after: Duration,
    /// How long a variant with minReplicas 0 must have been idle before it goes to zero
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = millis)]
    pub(crate) zero_after: Duration,
    /// Who sets replicas
    #[arg(long, value_enum, default_value_t = UpActuator::Direct)]
    pub(crate) actuator: UpActuator,
    /// How often the embedded HPA controller looks; 15s is Kubernetes' default
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = millis, conflicts_with = "kubeconfig")]
    pub(crate) hpa_sync_period: Duration,
    /// Network that replicas get their own addresses from, a /16 of 127.0.0.0/8
    #[arg(long, value_name = "IP", default_value = "127.77.0.0")]
    pub(crate) pod_network: std::net::Ipv4Addr,
}

/// `tidegate autoscaler`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every flag with an environment variable in brackets can also be a key of --config-file. A flag is\nstronger than the environment, the environment than the file."
)]
pub(crate) struct Autoscaler {
    /// Cluster to look after [default: the one it runs in, else the current context of the usual kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Address of a gateway's metrics and signals, `http://HOST:PORT`; may be given several times
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub(crate) gateway: Vec<String>,
    /// Metrics of an endpoint picker (EPP) that holds requests, and the namespace of its pool, `NAMESPACE=URL`; may be given several times (PICKERS)
    #[arg(long, value_name = "NAMESPACE=URL", value_delimiter = ',')]
    pub(crate) picker: Vec<autoscaler::Picker>,
    /// Find the endpoint pickers of InferencePools by their Services, where --picker names none of the namespace [PICKER_DISCOVERY; default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) picker_discovery: Option<bool>,
    /// File with the token that pickers are asked with; EPP_METRIC_READER_BEARER_TOKEN may hold the token itself (PICKER_TOKEN_PATH)
    #[arg(long, value_name = "FILE")]
    pub(crate) picker_token_path: Option<PathBuf>,
    /// Show it also to pickers on other hosts that are asked by http, where it could be read on the way [PICKER_TOKEN_IN_THE_CLEAR; default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) picker_token_in_the_clear: Option<bool>,
    /// Authority of pickers that are asked by https, PEM [PICKER_CA_CERT; default: the system's]
    #[arg(long, value_name = "FILE")]
    pub(crate) picker_ca_cert: Option<PathBuf>,
    /// How decisions are carried out
    #[arg(long, value_enum, default_value_t = Actuator::Gauge)]
    pub(crate) actuator: Actuator,
    /// Address of external.metrics.k8s.io for HPAs, by TLS; served while leading [EXTERNAL_METRICS_LISTEN; default: none]
    #[arg(long, value_name = "IP:PORT", value_parser = listen)]
    pub(crate) external_metrics_listen: Option<Listen>,
    /// Its certificate chain, PEM [EXTERNAL_METRICS_CERT; default: one is made at the start]
    #[arg(long, value_name = "FILE")]
    pub(crate) external_metrics_cert: Option<PathBuf>,
    /// The key of that certificate, PEM (EXTERNAL_METRICS_KEY)
    #[arg(long, value_name = "FILE")]
    pub(crate) external_metrics_key: Option<PathBuf>,
    /// Authority of the API server's front-proxy certificate, PEM: who may ask (EXTERNAL_METRICS_CLIENT_CA)
    #[arg(long, value_name = "FILE")]
    pub(crate) external_metrics_client_ca: Option<PathBuf>,
    /// Common names allowed in that certificate [EXTERNAL_METRICS_CLIENT_NAMES; default: all of the authority's]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) external_metrics_client_names: Option<Vec<String>>,
    /// Answer everybody who reaches the address [EXTERNAL_METRICS_ANONYMOUS; default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) external_metrics_anonymous: Option<bool>,
    /// Address of the external scaler for KEDA, gRPC; served while leading [KEDA_LISTEN; default: none]
    #[arg(long, value_name = "IP:PORT", value_parser = listen)]
    pub(crate) keda_listen: Option<Listen>,
    /// Its certificate chain, PEM; plain text without (KEDA_CERT)
    #[arg(long, value_name = "FILE")]
    pub(crate) keda_cert: Option<PathBuf>,
    /// The key of that certificate, PEM (KEDA_KEY)
    #[arg(long, value_name = "FILE")]
    pub(crate) keda_key: Option<PathBuf>,
    /// Authority that must have signed KEDA's certificate, PEM (KEDA_CLIENT_CA)
    #[arg(long, value_name = "FILE")]
    pub(crate) keda_client_ca: Option<PathBuf>,
    /// How long a published decision holds that no pass confirms [DECISION_HOLDS_FOR; default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = autoscaler::configuration::duration)]
    pub(crate) decision_holds_for: Option<Duration>,
    /// Namespace to look after [WATCH_NAMESPACE; default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) watch_namespace: Option<String>,
    /// Namespace of the Lease and of the ConfigMaps that hold everywhere [POD_NAMESPACE; default: its own]
    #[arg(long, value_name = "NAME")]
    pub(crate) system_namespace: Option<String>,
    /// Look after objects labelled with this shard only (CONTROLLER_INSTANCE)
    #[arg(long, value_name = "NAME")]
    pub(crate) controller_instance: Option<String>,
    /// Act only while holding the Lease [LEADER_ELECT; default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) leader_elect: Option<bool>,
    /// Name of the Lease [LEADER_ELECTION_ID; default: 72dd1cf1.llm-d.ai, and `-SHARD` behind it for a shard]
    #[arg(long, value_name = "NAME")]
    pub(crate) leader_election_id: Option<String>,
    /// A leader silent for this long may be followed [LEADER_ELECTION_LEASE_DURATION; default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = autoscaler::configuration::duration)]
    pub(crate) leader_election_lease_duration: Option<Duration>,
    /// A leader who cannot renew for this long stops acting [LEADER_ELECTION_RENEW_DEADLINE; default: 50s]
    #[arg(long, value_name = "DURATION", value_parser = autoscaler::configuration::duration)]
    pub(crate) leader_election_renew_deadline: Option<Duration>,
    /// Time between two looks at the Lease [LEADER_ELECTION_RETRY_PERIOD; default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = autoscaler::configuration::duration)]
    pub(crate) leader_election_retry_period: Option<Duration>,
    /// Address of metrics and explanations, 0 for none [METRICS_BIND_ADDRESS; default: 127.0.0.1:8082]
    #[arg(long, value_name = "IP:PORT", value_parser = listen)]
    pub(crate) metrics_bind_address: Option<Listen>,
    /// Address of /healthz and /readyz, 0 for none [HEALTH_PROBE_BIND_ADDRESS; default: :8081]
    #[arg(long, value_name = "IP:PORT", value_parser = listen)]
    pub(crate) health_probe_bind_address: Option<Listen>,
    /// Time between decisions, unless something wakes it earlier [GLOBAL_OPT_INTERVAL; default: 500ms]
    #[arg(long, value_name = "DURATION", value_parser = autoscaler::configuration::duration)]
    pub(crate) interval: Option<Duration>,
    /// Whether to ask the Pods themselves for their metrics; Prometheus is asked if PROMETHEUS_BASE_URL names one
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) pod_scrape: bool,
    /// How long requests may wait for a replica before there are too few
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = millis)]
    pub(crate) queue_wait: Duration,
    /// How long a replica may take to start before others are started in its place; twice as long as they take, if that is longer
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = millis)]
    pub(crate) pending_timeout: Duration,
    /// How long load must have been lower before a replica is taken away
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = millis)]
    pub(crate) scale_down_after: Duration,
    /// How long a model must have been idle before it goes to zero, where no ConfigMap says it
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = millis)]
    pub(crate) zero_after: Duration,
    /// YAML file of settings, by their names in the environment
    #[arg(long, value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
}

/// How decisions are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Actuator {
    /// Set replicas through the scale subresource of each target
    Direct,
    /// Publish wva_desired_replicas and leave scaling to HPA or KEDA
    Gauge,
    /// Publish it for an HPA, and set replicas to and from zero, which an HPA does not
    Hpa,
    /// Decide and explain, and touch nothing: to see what it would do beside what does it today
    Observe,
}

/// Who sets replicas under `tidegate up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum UpActuator {
    /// Tidegate itself, through the scale subresource of each target
    Direct,
    /// A HorizontalPodAutoscaler for each variant, by external metrics, as on a cluster
    Hpa,
    /// Nobody here: another autoscaler does, or you by kubectl scale; the page shows what Tidegate would decide
    Observe,
}

/// An address to listen on, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) Option<SocketAddr>);

fn listen(text: &str) -> Result<Listen, String> {
    autoscaler::configuration::address(text).map(Listen)
}

/// `tidegate why`.
#[derive(Debug, Subcommand)]
pub(crate) enum Why {
    /// Why a variant has the replicas it has: signals, rules, bounds, and what would change it
    Variant {
        /// Name of the variant, or NAMESPACE/NAME.
        name: String,
        /// Data folder of the running `tidegate up`.
        #[arg(long, value_name = "DIR", default_value = ".tidegate")]
        data_dir: PathBuf,
        /// Metrics address of a `tidegate autoscaler` to ask instead, `http://HOST:PORT`.
        #[arg(long, value_name = "URL", conflicts_with = "data_dir")]
        autoscaler: Option<String>,
    },
}

/// `tidegate lab`.
#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Compare scaling policies over whole days: what they pay beside the clairvoyant optimum, and whom they keep waiting
    Scoreboard(crate::scoreboard::Args),
}

/// `tidegate fleet`.
#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// Print the built-in fleet file
    Default,
    /// Print a fleet file's objects as plain manifests for any cluster
    Render {
        /// The fleet file.
        file: PathBuf,
        /// Namespace of the objects.
        #[arg(long, default_value = "default")]
        namespace: String,
    },
    /// Check a fleet file and say nothing if it is good
    Check {
        /// The fleet file.
        file: PathBuf,
    },
}

fn millis(text: &str) -> Result<Duration, String> {
    Millis::parse(text).map(|millis| Duration::from_millis(millis.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
