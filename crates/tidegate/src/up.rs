//! `tidegate up`: the whole loop in one process.
//!
//! Starts every shell in the order in which they need each other, shows what a
//! person needs to know, and at Ctrl-C lets go in the reverse order.

mod apply;
mod datadir;
mod feed;
mod hpa;
mod screen;

use crate::cli::{Up, UpActuator};
use crate::{dashboard, fleet, logging, stopped_by_user};
use anyhow::{Context, bail};
use cluster::podautoscaler::{ExternalMetrics, PodAutoscalerOptions};
use datadir::{DataDir, Endpoints};
use feed::{Feed, Meter};
use k8s_openapi::api::core::v1::Taint;
use screen::{Live, Screen};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often the live line is looked at.
const LIVE_EVERY: Duration = Duration::from_millis(250);
/// Longest time streams have to finish at Ctrl-C.
const DRAIN_FOR: Duration = Duration::from_secs(30);

/// Runs until Ctrl-C.
///
/// # Errors
/// A fleet file, address, folder or control plane that cannot be used, with the flag to change.
pub(crate) async fn up(args: Up) -> anyhow::Result<()> {
    let started = Instant::now();
    let fleet = fleet::load(args.fleet.as_deref())?;
    for (flag, address) in [
        ("--dashboard", args.dashboard),
        ("--api", args.api),
        ("--gateway-admin", args.gateway_admin),
        ("--autoscaler-admin", args.autoscaler_admin),
        ("--keda-listen", args.keda_listen),
    ] {
        if !address.ip().is_loopback() {
            bail!(
                "{flag} {address}: it asks nobody for a password, so it listens on loopback only (127.0.0.1 or [::1])"
            );
        }
    }
    if args.kubeconfig.is_some() && args.actuator == UpActuator::Hpa {
        bail!(
            "--actuator hpa: the HPA controller of --kubeconfig cannot ask this process; on a cluster use \
             tidegate autoscaler --external-metrics-listen, or leave it at direct"
        );
    }
    if args.hpa_sync_period.is_zero() {
        bail!("--hpa-sync-period is 0: it must be longer; 15s is Kubernetes' default");
    }
    let data = DataDir::open(&args.data_dir)?;
    let mut decisions = logging::to_file(&data.path().join("log")).context("cannot write the log")?;
    let stop = stopped_by_user();

    // A taken port is told before anything is started that would have to be stopped again.
    for (flag, address) in [
        ("--listen", args.listen),
        ("--gateway-admin", args.gateway_admin),
        ("--autoscaler-admin", args.autoscaler_admin),
        ("--keda-listen", args.keda_listen),
    ] {
        drop(bind(flag, address).await?);
    }
    let page = bind("--dashboard", args.dashboard).await?;
    let plane = ControlPlane::start(&args, &data).await?;
    let client = plane.client.clone();
    apply::install_crds(&client).await?;
    let nodes = Nodes::start(&args, &fleet, &data, &plane)?;
    let mut objects = fleet::objects(&fleet, &args.namespace);
    if args.actuator == UpActuator::Hpa {
        objects.extend(hpa::objects(&fleet, &args.namespace));
    }
    let applied = apply::fleet(&client, &args.namespace, &objects).await?;

    let gateway_stop = CancellationToken::new();
    let discovery = gateway::Discovery::Kube {
        client: client.clone(),
        namespace: Some(args.namespace.clone()),
    };
    let gateway = gateway::start(gateway_config(&args), discovery, gateway_stop.clone())
        .await
        .map_err(|error| {
            flagged(
                &error,
                &[("--listen", args.listen), ("--gateway-admin", args.gateway_admin)],
            )
        })?;
    let scaler_stop = CancellationToken::new();
    let scaler = autoscaler::start(
        client.clone(),
        scaler_config(&args, &gateway.handle),
        scaler_stop.clone(),
    )
    .await
    .map_err(|error| flagged(&error, &[("--autoscaler-admin", args.autoscaler_admin)]))?;
    nodes.scale_by(hpa::metrics(&scaler.handle));
    let published = publish::Config {
        keda: Some(publish::Keda::on(args.keda_listen)),
        stale_after: hpa::HOLDS_FOR,
        ..publish::Config::default()
    };
    let published = publish::serve(published, Arc::new(scaler.handle.clone()), scaler_stop.clone())
        .await
        .map_err(|error| flagged(&error, &[("--keda-listen", args.keda_listen)]))?;

    let endpoints = Endpoints {
        gateway: format!("http://{}/v1", gateway.address),
        gateway_admin: gateway.admin_address.map(|address| format!("http://{address}")),
        autoscaler: scaler.metrics_address.map(|address| format!("http://{address}")),
        keda: published.keda.map(|address| address.to_string()),
        dashboard: format!("http://{}", page.local_addr()?),
        kubernetes: plane.server.clone(),
        kubeconfig: plane.kubeconfig.clone(),
        pid: std::process::id(),
    };
    data.write_endpoints(&endpoints)?;
    let page_stop = CancellationToken::new();
    let (gateway_handle, scaler_handle) = (gateway.handle.clone(), scaler.handle.clone());
    let feed = Feed::start(
        &client,
        &args.namespace,
        gateway_handle,
        scaler_handle,
        &fleet,
        &endpoints,
        page_stop.clone(),
    );
    let page_task = tokio::spawn(dashboard::serve(
        page,
        feed.clone(),
        page_stop.clone().cancelled_owned(),
    ));

    let mut screen = Screen::new();
    let state = describe_data(&data, plane.restored, applied);
    screen.welcome(&endpoints, &fleet, &state, &args.data_dir, args.kubeconfig.is_some());
    watch(&mut screen, &feed, &mut decisions, started, &stop).await;
    screen.leave();

    screen.line("stopping: no new requests; Ctrl-C again ends at once");
    gateway_stop.cancel();
    drain(&mut screen, gateway).await;
    scaler_stop.cancel();
    scaler.join().await;
    published.stopped().await;
    page_stop.cancel();
    if let Ok(Err(error)) = page_task.await {
        tracing::error!(%error, "the page ended");
    }
    nodes.stop(&mut screen).await;
    plane.stop().await;
    data.remove_endpoints();
    screen.line(&format!("stopped; state is kept in {}", args.data_dir.display()));
    Ok(())
}

/// Shows decisions and the live line until the user stops.
async fn watch(
    screen: &mut Screen,
    feed: &Feed,
    decisions: &mut mpsc::Receiver<String>,
    started: Instant,
    stop: &CancellationToken,
) {
    let mut tick = tokio::time::interval(LIVE_EVERY);
    let mut meter = Meter::default();
    let mut ready_after = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(sentence) = decisions.recv() => {
                screen.line(&format!("{} {sentence}", jiff::Zoned::now().strftime("%H:%M:%S")));
            }
            _ = tick.tick() => {
                let live = feed.live(&mut meter);
                if live.ready > 0 && ready_after.is_none() {
                    ready_after = Some(started.elapsed());
                }
                screen.live(&Live { ready_after, ..live });
            }
        }
    }
}

/// Lets streams finish, and says for how many it waits.
async fn drain(screen: &mut Screen, gateway: gateway::Running) {
    let mut stopped = gateway.join;
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let mut last = 0;
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            _ = tick.tick() => {
                let left = gateway.handle.drain_state().in_flight;
                if left > 0 && left != last {
                    screen.line(&format!("waiting for {left} answers to finish"));
                    last = left;
                }
            }
        }
    }
}

fn describe_data(data: &DataDir, restored: Option<usize>, applied: apply::Applied) -> String {
    if data.new {
        return "new".to_owned();
    }
    let mut parts = Vec::new();
    if let Some(restored) = restored {
        parts.push(format!("{restored} objects found"));
    }
    for (count, what) in [
        (applied.created, "created"),
        (applied.updated, "updated from the fleet file"),
        (applied.removed, "removed, no longer in the fleet file"),
        (applied.changed_by_users, "changed since the fleet file and kept"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    if parts.is_empty() {
        "unchanged".to_owned()
    } else {
        parts.join(", ")
    }
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| taken(flag, address, &error))
}

/// An address that cannot be had, with the flag that changes it.
fn taken(flag: &str, address: SocketAddr, error: &dyn std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!(
        "{flag} {address}: {error}\nhelp: another program may listen there; choose another with {flag} {}:PORT (0 takes any free one)",
        address.ip()
    )
}

/// Names the flag of the address that `error` speaks of.
fn flagged(error: &dyn std::fmt::Display, flags: &[(&str, SocketAddr)]) -> anyhow::Error {
    let text = error.to_string();
    match flags.iter().find(|(_, address)| text.contains(&address.to_string())) {
        Some((flag, address)) => taken(flag, *address, error),
        None => anyhow::anyhow!(text),
    }
}

fn gateway_config(args: &Up) -> gateway::Config {
    let mut config = gateway::Config::new(args.listen);
    config.admin = Some(args.gateway_admin);
    config.timeouts.queue = args.queue_timeout;
    config.timeouts.queue_no_endpoint = args.queue_timeout;
    config.timeouts.drain = DRAIN_FOR;
    config
}

fn scaler_config(args: &Up, gateway: &gateway::Handle) -> autoscaler::Config {
    let config = autoscaler::Config::default();
    let wake = Arc::new(Notify::new());
    let (signals, mut held, waker) = (gateway.clone(), gateway.clone(), wake.clone());
    // A request that nobody can serve is decided on at once, not at the next pass.
    tokio::spawn(async move {
        loop {
            held.changed().await;
            waker.notify_one();
        }
    });
    autoscaler::Config {
        namespace: Some(args.namespace.clone()),
        actuator: match args.actuator {
            UpActuator::Direct => autoscaler::Actuator::Direct,
            UpActuator::Hpa => autoscaler::Actuator::Hpa,
            UpActuator::Observe => autoscaler::Actuator::Observe,
        },
        gateway: autoscaler::GatewaySource::InProcess(Arc::new(move || signals.signals())),
        wake: Some(wake),
        // The fleet has the GPUs its nodes have, and no more.
        limiter: autoscaler::Limiter {
            enabled: true,
            ..config.limiter
        },
        metrics_listen: Some(args.autoscaler_admin),
        // As in a cluster, with one namespace for everything.
        configuration: Some(autoscaler::configuration::Scope {
            system_namespace: args.namespace.clone(),
            names: autoscaler::configuration::Names::default(),
            scale_to_zero: None,
        }),
        policy: autoscaler::Policy {
            queue_wait: args.queue_wait,
            pending_timeout: args.pending_timeout,
            down_after: args.scale_down_after,
            zero_after: args.zero_after,
            ..config.policy
        },
        ..config
    }
}

/// The Kubernetes API: our own, or the user's.
struct ControlPlane {
    client: kube::Client,
    server: String,
    kubeconfig: PathBuf,
    /// Objects found on disk; absent for a control plane that is not ours.
    restored: Option<usize>,
    embedded: Option<apiserver::Running>,
}

impl ControlPlane {
    async fn start(args: &Up, data: &DataDir) -> anyhow::Result<Self> {
        if let Some(path) = &args.kubeconfig {
            return Self::external(path).await;
        }
        let options = apiserver::Options {
            listen: args.api,
            data_dir: Some(data.path().join("objects")),
        };
        let running = apiserver::serve(options)
            .await
            .map_err(|error| flagged(&error, &[("--api", args.api)]))?;
        let server = format!("http://{}", running.address);
        let kubeconfig = data.write_kubeconfig(&server)?;
        let config = kube::Config::new(server.parse()?);
        Ok(Self {
            client: kube::Client::try_from(config)?,
            server,
            kubeconfig,
            restored: Some(running.restored),
            embedded: Some(running),
        })
    }

    async fn external(path: &std::path::Path) -> anyhow::Result<Self> {
        let context = || format!("--kubeconfig {}", path.display());
        let text = kube::config::Kubeconfig::read_from(path).with_context(context)?;
        let config = kube::Config::from_custom_kubeconfig(text, &kube::config::KubeConfigOptions::default())
            .await
            .with_context(context)?;
        let server = config.cluster_url.to_string();
        let client = kube::Client::try_from(config).with_context(context)?;
        let version = tokio::time::timeout(Duration::from_secs(10), client.apiserver_version())
            .await
            .map_err(|_| anyhow::anyhow!("{server} does not answer within 10 s"))
            .with_context(context)?
            .with_context(|| format!("{server} does not answer"))
            .with_context(context)?;
        tracing::info!(server, version = version.git_version, "using an existing control plane");
        Ok(Self {
            client,
            server,
            kubeconfig: path.canonicalize()?,
            restored: None,
            embedded: None,
        })
    }

    async fn stop(self) {
        if let Some(embedded) = self.embedded {
            embedded.shutdown().await;
        }
    }
}

/// The nodes: the process kubelet, and on our own control plane its controllers.
struct Nodes {
    controllers_stop: CancellationToken,
    controllers: Option<JoinHandle<()>>,
    /// What the HPA controller scales by, once there is an autoscaler.
    metrics: Arc<OnceLock<ExternalMetrics>>,
    kubelet_stop: CancellationToken,
    kubelet: JoinHandle<()>,
}

impl Nodes {
    fn start(args: &Up, fleet: &fleet::Fleet, data: &DataDir, plane: &ControlPlane) -> anyhow::Result<Self> {
        let own_exe = std::env::current_exe().context("cannot find this program's own file")?;
        let controllers_stop = CancellationToken::new();
        let metrics = Arc::new(OnceLock::<ExternalMetrics>::new());
        let later = metrics.clone();
        let autoscaling = PodAutoscalerOptions {
            sync_period: args.hpa_sync_period,
            // Before there is an autoscaler there is no series, which scales nothing.
            external_metrics: Some(Arc::new(move |namespace, metric, selector| {
                later
                    .get()
                    .map_or_else(Vec::new, |metrics| metrics(namespace, metric, selector))
            })),
        };
        let controllers = plane.embedded.is_some().then(|| {
            let (client, stop) = (plane.client.clone(), controllers_stop.clone());
            tokio::spawn(async move {
                if let Err(error) = cluster::run_controllers_with(client, autoscaling, stop).await {
                    tracing::error!(%error, "the controllers ended");
                }
            })
        });
        let nodes = fleet.nodes.iter().map(node).collect();
        let mut options = cluster::KubeletOptions::new(nodes, data.path().join("pods"), own_exe);
        options.address_base = format!("{}/16", args.pod_network);
        if plane.embedded.is_none() {
            // Pods of others have no business on nodes that run local processes.
            options.taints = vec![Taint {
                key: api::names::LOCAL_NODE_LABEL.to_owned(),
                value: Some("true".to_owned()),
                effect: "NoSchedule".to_owned(),
                time_added: None,
            }];
        }
        let kubelet_stop = CancellationToken::new();
        let (client, stop) = (plane.client.clone(), kubelet_stop.clone());
        let kubelet = tokio::spawn(async move {
            if let Err(error) = cluster::run_kubelet(client, options, stop).await {
                tracing::error!(%error, "the kubelet ended");
            }
        });
        Ok(Self {
            controllers_stop,
            controllers,
            metrics,
            kubelet_stop,
            kubelet,
        })
    }

    /// Gives the HPA controller its metrics; the first that are given stay.
    fn scale_by(&self, metrics: ExternalMetrics) {
        let _ = self.metrics.set(metrics);
    }

    async fn stop(self, screen: &mut Screen) {
        screen.line("stopping model servers");
        // Controllers last: they still count what the kubelet reports.
        self.kubelet_stop.cancel();
        let _ = self.kubelet.await;
        self.controllers_stop.cancel();
        if let Some(controllers) = self.controllers {
            let _ = controllers.await;
        }
    }
}

fn node(node: &fleet::Node) -> cluster::NodeSpec {
    cluster::NodeSpec {
        name: node.name.value.clone(),
        gpu_type: Some(node.gpus.r#type.value.clone()),
        gpus: node.gpus.count.value,
        labels: std::collections::BTreeMap::new(),
        cpu: node.cpu.to_string(),
        memory: node.memory.clone(),
    }
}
