//! The process kubelet: Nodes whose Pods are processes of this machine.
//!
//! A watch per node brings Pods; each gets an address, its GPUs and a worker
//! ([`worker`]) that runs its containers; what the worker publishes is written
//! to the Pod's status. No process outlives the kubelet, however it ends: see
//! [`process`] and [`crate::exec_child`].

mod addresses;
mod container;
mod environment;
mod lifecycle;
mod logs;
mod logs_index;
mod manager;
mod node;
mod probe;
mod process;
mod server;
mod sources;
mod status;
mod tend;
mod worker;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Taint};
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::call::{Error, call};
use addresses::Addresses;
pub use lifecycle::Backoff;
use manager::Manager;
pub use node::NodeSpec;
use process::Spawner;

/// What the process kubelet is to run and how.
#[derive(Debug)]
pub struct KubeletOptions {
    /// The nodes it registers and runs Pods for.
    pub nodes: Vec<NodeSpec>,
    /// Where logs and the records of processes are kept; one kubelet at a time.
    pub data_dir: PathBuf,
    /// The command that becomes a container's process (see [`crate::exec_child`]),
    /// for example this executable and `exec-child`.
    pub shim: Vec<OsString>,
    /// What the command `tidegate` in a Pod means.
    pub own_exe: PathBuf,
    /// The range of loopback addresses that Pods get.
    pub address_base: String,
    /// Taints of the nodes, so that Pods of others stay away.
    pub taints: Vec<Taint>,
    /// Where logs are served; port 0 takes any.
    pub log_server: SocketAddr,
    /// When containers that end are started again.
    pub backoff: Backoff,
    /// Bytes of a log file before it is put aside; two are kept per run.
    pub log_bytes: u64,
    /// How long processes get to end when the kubelet is stopped.
    pub drain_grace: Duration,
    /// Told how many Pods still end while the kubelet stops.
    pub remaining: Option<watch::Sender<usize>>,
}

impl KubeletOptions {
    /// Options as one machine wants them, with this executable's `exec-child` as the shim.
    #[must_use]
    pub fn new(nodes: Vec<NodeSpec>, data_dir: PathBuf, own_exe: PathBuf) -> Self {
        KubeletOptions {
            nodes,
            data_dir,
            shim: vec![own_exe.clone().into_os_string(), "exec-child".into()],
            own_exe,
            address_base: "127.77.0.0/16".to_owned(),
            taints: Vec::new(),
            log_server: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            backoff: Backoff::default(),
            log_bytes: 10 << 20,
            drain_grace: Duration::from_secs(5),
            remaining: None,
        }
    }
}

/// Registers the nodes and runs their Pods until `stop`; then ends every
/// process and returns when all are gone. The Pod objects stay.
///
/// # Errors
/// When the options are wrong, the data folder is in use or cannot be written,
/// or the port of the log server is taken. An API that does not answer is waited for.
pub async fn run_kubelet(client: Client, options: KubeletOptions, stop: CancellationToken) -> Result<(), Error> {
    for node in &options.nodes {
        node.check()?;
    }
    let addresses = Addresses::parse(&options.address_base).map_err(Error::Invalid)?;
    let io = |what: String| move |source: std::io::Error| Error::Io { what, source };
    let data_dir = options.data_dir.clone();
    std::fs::create_dir_all(&data_dir).map_err(io(format!("make {}", data_dir.display())))?;
    // Processes get their logs and folders by absolute paths.
    let data_dir = data_dir
        .canonicalize()
        .map_err(io(format!("find {}", data_dir.display())))?;
    let _lock = lock(&data_dir)?;
    let records = data_dir.join("children");
    let (strays, records_of) = (records.clone(), records.display().to_string());
    let cleared = tokio::task::spawn_blocking(move || process::clear_strays(&strays)).await;
    let cleared = cleared.map_err(|error| Error::Invalid(format!("clearing away old processes failed: {error}")))?;
    let cleared = cleared.map_err(io(format!("clear away the processes recorded in {records_of}")))?;
    if cleared > 0 {
        tracing::info!(cleared, "ended processes that an earlier kubelet left behind");
    }
    let spawner =
        Spawner::new(options.shim.clone(), records).map_err(io("start the thread that starts processes".to_owned()))?;
    let (listener, port) = server::bind(options.log_server).await?;
    let tls = server::tls()?;
    let manager = Manager::new(client.clone(), &options, &data_dir, addresses, &spawner);
    let serve = server::serve(listener, tls, manager.logs());
    let _server = AbortOnDropHandle::new(tokio::spawn(serve));
    let ready = async {
        for node in &options.nodes {
            patiently("register the node", || {
                node::register(&client, node, &options.taints, port)
            })
            .await;
        }
        let pods = patiently("list the Pods of the nodes", || bound_pods(&client, &options.nodes)).await;
        manager.reserve(&pods);
        remove_strange_folders(&data_dir, &pods);
    };
    tokio::select! {
        () = ready => {}
        () = stop.cancelled() => return Ok(()),
    }
    let mut background = Vec::new();
    for node in &options.nodes {
        let watching = manager::watch_node(manager.clone(), node.name.clone());
        let keeping = node::keep(client.clone(), node.clone(), options.taints.clone(), port);
        background.push(AbortOnDropHandle::new(tokio::spawn(watching)));
        background.push(AbortOnDropHandle::new(tokio::spawn(keeping)));
    }
    stop.cancelled().await;
    drop(background);
    let sign_off = async {
        for node in &options.nodes {
            let told = tokio::time::timeout(Duration::from_secs(2), node::sign_off(&client, node, port)).await;
            if !matches!(told, Ok(Ok(()))) {
                tracing::debug!(node = node.name, "the node could not be marked as down");
            }
        }
    };
    futures::future::join(manager.drain(options.drain_grace, options.remaining.as_ref()), sign_off).await;
    Ok(())
}

/// Tries until it succeeds, with a growing pause.
async fn patiently<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pause = Duration::from_millis(50);
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => tracing::warn!(%error, "could not {what}; trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

async fn bound_pods(client: &Client, nodes: &[NodeSpec]) -> Result<Vec<Pod>, Error> {
    let mut pods = Vec::new();
    for node in nodes {
        let of = ListParams::default().fields(&format!("spec.nodeName={}", node.name));
        let list = Api::<Pod>::all(client.clone());
        pods.extend(
            call(|| format!("list the Pods of node {}", node.name), list.list(&of))
                .await?
                .items,
        );
    }
    Ok(pods)
}

/// The lock ends with the process, so a killed kubelet does not keep it.
fn lock(data_dir: &Path) -> Result<File, Error> {
    let path = data_dir.join("kubelet.lock");
    let io = |source| Error::Io {
        what: format!("lock {}", path.display()),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        if error == rustix::io::Errno::WOULDBLOCK {
            Error::Invalid(format!(
                "{} is in use by another process kubelet; stop it or take another folder",
                data_dir.display()
            ))
        } else {
            io(error.into())
        }
    })?;
    Ok(file)
}

/// Removes the logs of Pods that are no more.
fn remove_strange_folders(data_dir: &Path, pods: &[Pod]) {
    let known: BTreeSet<&str> = pods.iter().filter_map(|p| p.metadata.uid.as_deref()).collect();
    for entry in std::fs::read_dir(data_dir.join("pods")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let uid = name.to_str().and_then(|n| n.rsplit('_').next()).unwrap_or_default();
        if !known.contains(uid) {
            worker::remove_folder(&entry.path());
        }
    }
}
