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
    about,
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
    /// Use this control plane instead of the embedded one
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Namespace of the fleet's objects
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    /// How long a request may wait for an endpoint
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = millis)]
    pub(crate) queue_timeout: Duration,
    /// How long load must have been lower before a replica is taken away
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = millis)]
    pub(crate) scale_down_after: Duration,
    /// How long a variant with minReplicas 0 must have been idle before it goes to zero
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = millis)]
    pub(crate) zero_after: Duration,
    /// Network that replicas get their own addresses from, a /16 of 127.0.0.0/8
    #[arg(long, value_name = "IP", default_value = "127.77.0.0")]
    pub(crate) pod_network: std::net::Ipv4Addr,
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
