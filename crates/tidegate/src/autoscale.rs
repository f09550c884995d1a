//! `tidegate autoscaler`: the controller as a process of its own, for a cluster.

mod publishing;
mod relay;

use crate::cli::{Actuator, Autoscaler};
use crate::{logging, stopped_by_user};
use anyhow::{Context, bail, ensure};
use autoscaler::configuration::{LogLevel, Names, Process, Scope};
use autoscaler::{
    Config, Election, GatewaySource, PickerToken, Pickers, Policy, ScrapeConfig, SourceError, StartError, Terms,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::net::{Ipv4Addr, SocketAddr};
use tracing_subscriber::filter::LevelFilter;

/// Where the predecessor's objects are unless somebody says otherwise.
const SYSTEM_NAMESPACE: &str = "workload-variant-autoscaler-system";

/// Runs until SIGTERM or Ctrl-C.
///
/// # Errors
/// A flag, variable or file that cannot be used, or a cluster that cannot be reached.
pub(crate) async fn run(args: Autoscaler) -> anyhow::Result<()> {
    let file = match &args.config_file {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("--config-file {}", path.display()))?;
            Some((path.display().to_string(), text))
        }
    };
    let file = file.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    let process = Process::read(&|key| std::env::var(key).ok(), file)?;
    logging::of_role(match process.log_level.unwrap_or(LogLevel::Info) {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    });
    let (cluster, inside) = cluster(&args).await?;
    let own_namespace = if inside {
        &cluster.default_namespace
    } else {
        SYSTEM_NAMESPACE
    };
    let publishing = publishing::config(&args, &process.publishing)?;
    let config = Config {
        decision_holds_for: publishing.stale_after,
        ..config(&args, &process, own_namespace)?
    };
    publishing::rehearse(&publishing).await?;
    let server = cluster.cluster_url.to_string();
    let client = kube::Client::try_from(cluster).context("the cluster's access data cannot be used")?;
    let stop = stopped_by_user();
    let identity = config.election.as_ref().map(|election| election.identity.clone());
    let running = autoscaler::start(client, config, stop.clone()).await.map_err(named)?;
    let published = tokio::spawn(publishing::serve_or_relay(publishing, running.handle.clone(), stop));
    tracing::info!(
        server,
        metrics = running.metrics_address.map(tracing::field::display),
        health = running.health_address.map(tracing::field::display),
        identity,
        "started"
    );
    running.join().await;
    // A panic has been printed where it happened; there is nothing to add.
    let _ = published.await;
    tracing::info!("stopped");
    Ok(())
}

/// An error of the start, with the flags to change.
fn named(error: StartError) -> anyhow::Error {
    let flags = match &error {
        StartError::Listen(..) => "--metrics-bind-address or --health-probe-bind-address",
        StartError::Terms(_) => {
            "--leader-election-lease-duration, --leader-election-renew-deadline or --leader-election-retry-period"
        }
        StartError::Interval => "--interval",
        StartError::Policy(_) => "--scale-down-after or --zero-after",
        StartError::Sources(SourceError::Prometheus(_)) => "the PROMETHEUS_* settings",
        StartError::Sources(SourceError::Picker(_)) => "--picker or its token",
        StartError::Sources(_) => "--pod-scrape, --gateway or the PROMETHEUS_* settings",
    };
    anyhow::Error::from(error).context(format!("cannot start; change {flags}"))
}

/// The access data of the cluster, and whether it is the one this runs in.
async fn cluster(args: &Autoscaler) -> anyhow::Result<(kube::Config, bool)> {
    let options = KubeConfigOptions::default();
    if let Some(path) = &args.kubeconfig {
        let context = || format!("--kubeconfig {}", path.display());
        let file = Kubeconfig::read_from(path).with_context(context)?;
        let config = kube::Config::from_custom_kubeconfig(file, &options)
            .await
            .with_context(context)?;
        return Ok((config, false));
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        let config = kube::Config::incluster().context("this Pod's service account cannot be used")?;
        return Ok((config, true));
    }
    let config = kube::Config::from_kubeconfig(&options)
        .await
        .context("no cluster: it does not run in one, and there is no kubeconfig (--kubeconfig names one)")?;
    Ok((config, false))
}

fn config(args: &Autoscaler, process: &Process, own_namespace: &str) -> anyhow::Result<Config> {
    let prometheus = process.prometheus.config()?;
    let pickers = match &args.picker[..] {
        [] => process.pickers.clone().unwrap_or_default(),
        named => named.to_vec(),
    };
    ensure!(
        args.pod_scrape || prometheus.is_some() || !args.gateway.is_empty() || !pickers.is_empty(),
        "--pod-scrape false: nobody would tell the load; set PROMETHEUS_BASE_URL, --gateway or --picker"
    );
    for url in &args.gateway {
        if !url.starts_with("http://") {
            bail!("--gateway {url}: it must be http://HOST:PORT, the gateway's address of metrics and signals");
        }
    }
    let system_namespace = args
        .system_namespace
        .clone()
        .or_else(|| process.pod_namespace.clone())
        .unwrap_or_else(|| own_namespace.to_owned());
    let names = Names::default();
    let names = Names {
        saturation: process.saturation_config_map.clone().unwrap_or(names.saturation),
        ..names
    };
    let default = Config::default();
    let instance = args.controller_instance.clone().or_else(|| process.instance.clone());
    let listen = |flag: Option<crate::cli::Listen>, said: Option<Option<SocketAddr>>, default: SocketAddr| {
        flag.map(|flag| flag.0).or(said).unwrap_or(Some(default))
    };
    Ok(Config {
        namespace: args
            .watch_namespace
            .clone()
            .or_else(|| process.watch_namespace.clone())
            .filter(|name| !name.is_empty()),
        actuator: match args.actuator {
            Actuator::Direct => autoscaler::Actuator::Direct,
            Actuator::Gauge => autoscaler::Actuator::Gauge,
            Actuator::Hpa => autoscaler::Actuator::Hpa,
            Actuator::Observe => autoscaler::Actuator::Observe,
        },
        interval: args.interval.or(process.interval).unwrap_or(default.interval),
        scrape: args.pod_scrape.then(ScrapeConfig::default),
        prometheus,
        policy: Policy {
            queue_wait: args.queue_wait,
            pending_timeout: args.pending_timeout,
            down_after: args.scale_down_after,
            zero_after: args.zero_after,
            ..default.policy
        },
        gateway: if args.gateway.is_empty() {
            GatewaySource::None
        } else {
            GatewaySource::Http(args.gateway.clone())
        },
        pickers: Pickers {
            all: pickers,
            token: picker_token(args, process),
            find: args.picker_discovery.or(process.picker_discovery).unwrap_or(true),
            ..Pickers::default()
        },
        metrics_listen: listen(
            args.metrics_bind_address,
            process.metrics,
            (Ipv4Addr::LOCALHOST, 8082).into(),
        ),
        health_listen: listen(
            args.health_probe_bind_address,
            process.health,
            (Ipv4Addr::UNSPECIFIED, 8081).into(),
        ),
        election: election(args, process, &system_namespace, instance.as_deref())?,
        configuration: Some(Scope {
            system_namespace,
            names,
            // Off is what holds anyway; only a yes says something.
            scale_to_zero: process.scale_to_zero.filter(|enabled| *enabled),
        }),
        limiter: autoscaler::Limiter {
            nodes: process.node_selector.clone().unwrap_or_default(),
            ..default.limiter.clone()
        },
        instance,
        ..default
    })
}

fn picker_token(args: &Autoscaler, process: &Process) -> PickerToken {
    let said = &process.picker_token;
    let path = args.picker_token_path.clone();
    PickerToken {
        // A file that a flag names is stronger than a variable.
        token: said.token.clone().filter(|_| path.is_none()),
        path: path.or_else(|| said.path.clone()),
        in_the_clear: args.picker_token_in_the_clear.unwrap_or(said.in_the_clear),
        authority: args.picker_ca_cert.clone().or_else(|| said.authority.clone()),
    }
}

fn election(
    args: &Autoscaler,
    process: &Process,
    namespace: &str,
    instance: Option<&str>,
) -> anyhow::Result<Option<Election>> {
    if !args.leader_elect.or(process.leader_elect).unwrap_or(false) {
        return Ok(None);
    }
    let default = Terms::default();
    Ok(Some(Election {
        namespace: namespace.to_owned(),
        name: lease(args, process, instance)?,
        identity: identity(),
        terms: Terms {
            lease: args
                .leader_election_lease_duration
                .or(process.lease_duration)
                .unwrap_or(default.lease),
            renew: args
                .leader_election_renew_deadline
                .or(process.renew_deadline)
                .unwrap_or(default.renew),
            retry: args
                .leader_election_retry_period
                .or(process.retry_period)
                .unwrap_or(default.retry),
        },
    }))
}

/// The name of the Lease. A shard has one of its own: by a common one, one shard
/// alone would ever act.
fn lease(args: &Autoscaler, process: &Process, instance: Option<&str>) -> anyhow::Result<String> {
    let said = args
        .leader_election_id
        .as_deref()
        .or(process.leader_election_id.as_deref());
    match (said, instance) {
        (Some(name), _) => {
            ensure!(
                object_name(name),
                "--leader-election-id {name}: a Lease cannot be called that; write small letters, digits, `-` and `.`"
            );
            Ok(name.to_owned())
        }
        (None, None) => Ok(Election::DEFAULT_ID.to_owned()),
        (None, Some(instance)) => {
            let name = format!("{}-{instance}", Election::DEFAULT_ID);
            ensure!(
                object_name(&name),
                "--controller-instance {instance}: a Lease cannot be called {name}; name one with --leader-election-id"
            );
            Ok(name)
        }
    }
}

/// Whether an object may have this name: a DNS subdomain.
fn object_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label =
        |label: &str| label.chars().all(|c| plain(c) || c == '-') && label.starts_with(plain) && label.ends_with(plain);
    name.len() <= 253 && name.split('.').all(label)
}

/// A name no other process has: a container that starts anew in its Pod is
/// another one too.
fn identity() -> String {
    let host = std::env::var("POD_NAME")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "autoscaler".to_owned());
    let now = jiff::Timestamp::now().as_microsecond();
    format!("{host}_{}-{now:x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use std::time::Duration;

    fn read(flags: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Config> {
        let line = ["tidegate", "autoscaler"].iter().chain(flags);
        let Command::Autoscaler(args) = Cli::try_parse_from(line)?.command else {
            bail!("another verb")
        };
        let of_env = |key: &str| {
            env.iter()
                .find(|(name, _)| *name == key)
                .map(|(_, value)| (*value).to_owned())
        };
        config(&args, &Process::read(&of_env, None)?, "own")
    }

    #[test]
    fn a_flag_is_stronger_than_the_environment() {
        let env = [
            ("LEADER_ELECT", "true"),
            ("WATCH_NAMESPACE", "shop"),
            ("LEADER_ELECTION_LEASE_DURATION", "30s"),
            ("LEADER_ELECTION_RENEW_DEADLINE", "20s"),
            ("METRICS_BIND_ADDRESS", "0"),
        ];
        let config = read(
            &["--leader-election-lease-duration", "40s", "--actuator", "direct"],
            &env,
        )
        .unwrap();
        let election = config.election.unwrap();
        assert_eq!(
            (election.namespace.as_str(), election.name.as_str()),
            ("own", "72dd1cf1.llm-d.ai")
        );
        let seconds = Duration::from_secs;
        let terms = (election.terms.lease, election.terms.renew, election.terms.retry);
        assert_eq!(terms, (seconds(40), seconds(20), seconds(10)));
        assert_eq!(
            (config.namespace.as_deref(), config.metrics_listen),
            (Some("shop"), None)
        );
        assert_eq!(config.health_listen, Some((Ipv4Addr::UNSPECIFIED, 8081).into()));
        assert_eq!(config.actuator, autoscaler::Actuator::Direct);

        let config = read(&["--leader-elect=false", "--watch-namespace", ""], &env).unwrap();
        assert!(config.election.is_none() && config.namespace.is_none());
    }

    #[test]
    fn pickers_are_named_by_a_flag_or_else_by_the_environment_with_their_token() {
        let env = [
            ("PICKERS", "shop=http://epp:9090, office=https://epp/m"),
            ("EPP_METRIC_READER_BEARER_TOKEN", "s3cret"),
            ("PICKER_TOKEN_IN_THE_CLEAR", "true"),
        ];
        let pickers = |flags: &[&str]| read(flags, &env).unwrap().pickers;
        let named = |pickers: &Pickers| -> Vec<String> { pickers.all.iter().map(ToString::to_string).collect() };
        let of_env = pickers(&[]);
        assert_eq!(named(&of_env), ["shop=http://epp:9090/metrics", "office=https://epp/m"]);
        assert_eq!(of_env.token.token.as_deref(), Some("s3cret"));
        assert!(of_env.token.in_the_clear && !format!("{of_env:?}").contains("s3cret"));
        let of_flags = pickers(&[
            "--picker=shop=http://a",
            "--picker-token-in-the-clear=false",
            "--picker-token-path=/token",
        ]);
        assert_eq!(named(&of_flags), ["shop=http://a/metrics"]);
        assert_eq!((of_flags.token.token, of_flags.token.in_the_clear), (None, false));
        assert_eq!(of_flags.token.path, Some("/token".into()));

        assert!(of_env.find, "others are found");
        assert!(!pickers(&["--picker-discovery=false"]).find);
        assert!(!read(&[], &[("PICKER_DISCOVERY", "false")]).unwrap().pickers.find);
        let error = read(&[], &[("PICKERS", "epp:9090")]).unwrap_err().to_string();
        assert!(
            error.contains("PICKERS (environment)") && error.contains("NAMESPACE=URL"),
            "{error}"
        );
        let error = read(&["--picker", "epp:9090"], &[]).unwrap_err().to_string();
        assert!(error.contains("--picker") && error.contains("NAMESPACE=URL"), "{error}");
    }

    #[test]
    fn every_shard_leads_by_a_lease_of_its_own_unless_one_is_named() {
        let elect = ("LEADER_ELECT", "true");
        for (flags, env, lease) in [
            (&[][..], &[elect][..], "72dd1cf1.llm-d.ai"),
            (&["--controller-instance", "blue"], &[elect], "72dd1cf1.llm-d.ai-blue"),
            (
                &[],
                &[elect, ("CONTROLLER_INSTANCE", "green")],
                "72dd1cf1.llm-d.ai-green",
            ),
            (
                &["--controller-instance", "blue", "--leader-election-id", "mine"],
                &[elect],
                "mine",
            ),
            (
                &["--controller-instance", "Shard_1"],
                &[elect, ("LEADER_ELECTION_ID", "theirs")],
                "theirs",
            ),
        ] {
            let config = read(flags, env).unwrap();
            assert_eq!(config.election.unwrap().name, lease, "{flags:?} {env:?}");
        }
        // Alone it needs no Lease, and a label may be what a name may not.
        let alone = read(&["--controller-instance", "Shard_1"], &[]).unwrap();
        assert_eq!((alone.election, alone.instance.as_deref()), (None, Some("Shard_1")));
    }

    #[test]
    fn what_would_not_act_is_refused() {
        for (flags, env, word) in [
            (&["--gateway", "gateway:8081"][..], &[][..], "--gateway gateway:8081"),
            (
                &[],
                &[("PROMETHEUS_BASE_URL", "http://prometheus:9090")],
                "PROMETHEUS_BASE_URL is http",
            ),
            (
                &[],
                &[("PROMETHEUS_TOKEN_PATH", "/token")],
                "PROMETHEUS_BASE_URL is not set",
            ),
            (&["--pod-scrape", "false"], &[], "nobody would tell the load"),
            (&["--metrics-bind-address", "here"], &[], "`here` is no address"),
            (
                &["--controller-instance", "Shard_1", "--leader-elect"],
                &[],
                "--controller-instance Shard_1: a Lease cannot be called 72dd1cf1.llm-d.ai-Shard_1",
            ),
            (
                &["--leader-election-id", "ours/", "--leader-elect"],
                &[],
                "--leader-election-id ours/",
            ),
        ] {
            let error = format!("{:#}", read(flags, env).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }
}
