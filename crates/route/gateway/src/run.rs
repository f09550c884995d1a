//! Starting, running and stopping.

use crate::admin;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::discovery::{self, Discovery};
use crate::fleet::Shared;
use crate::handle::Handle;
use crate::http::serve::{self, Worker};
use crate::upstream::Idle;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a starting gateway waits to learn which pools exist.
const FIRST_LIST: Duration = Duration::from_secs(5);

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where the admin listener is, if there is one.
    pub admin_address: Option<SocketAddr>,
    /// For questions to it.
    pub handle: Handle,
    /// Ends when the gateway has stopped: after cancellation, and once its
    /// streams are finished or the time for that is over.
    pub join: JoinHandle<()>,
}

/// Why a gateway could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address could not be listened on.
    #[error("cannot listen on {address} ({what}): {source}{}", remedy(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What it was for: `listen` or `admin`.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a worker thread: {0}")]
    Worker(io::Error),
}

fn remedy(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::AddrInUse {
        "; choose another port or stop what uses it"
    } else {
        ""
    }
}

/// Starts a gateway. It serves when this returns, and until `shutdown` is
/// cancelled and everything under way is finished.
///
/// # Errors
/// [`StartError`]: a configuration that cannot work, or an address that is taken.
pub async fn start(config: Config, discovery: Discovery, shutdown: CancellationToken) -> Result<Running, StartError> {
    config.validate()?;
    let listener = listen(config.listen, "listen")?;
    let address = local_address(&listener, config.listen, "listen")?;
    let admin = config.admin.map(|address| listen(address, "admin")).transpose()?;
    let (shared, moments) = Shared::new(Clock::start(), config.limits, config.timeouts);
    let mut background = tokio::task::JoinSet::new();
    let mut admin_address = None;
    if let (Some(admin), Some(wanted)) = (admin, config.admin) {
        admin_address = Some(local_address(&admin, wanted, "admin")?);
        let admin = tokio::net::TcpListener::from_std(admin).map_err(StartError::Worker)?;
        background.spawn(admin::serve(admin, shared.clone()));
    }
    let (tell, known) = oneshot::channel();
    background.spawn(discovery::run(discovery, shared.clone(), tell));
    // A gateway that does not know its pools yet would deny models that exist.
    if tokio::time::timeout(FIRST_LIST, known).await.is_err() {
        tracing::warn!("the pools are not known after {FIRST_LIST:?}; serving without them until they are");
    }
    let keeper = shared.clone();
    background.spawn(async move { keeper.keep().await });
    let mut stopped = Vec::new();
    for number in 0..config.workers {
        let listener = listener.try_clone().map_err(StartError::Worker)?;
        stopped.push(spawn_worker(number, listener, shared.clone(), shutdown.clone()).map_err(StartError::Worker)?);
    }
    let handle = Handle {
        shared: shared.clone(),
        moments,
    };
    let join = tokio::spawn(async move {
        shutdown.cancelled().await;
        shared.begin_drain();
        for worker in stopped {
            // An error means that the worker is gone already.
            let _ = worker.await;
        }
        background.shutdown().await;
    });
    Ok(Running {
        address,
        admin_address,
        handle,
        join,
    })
}

/// Listens without sharing the port: a second gateway on it must be an error,
/// which is why the workers share one socket instead of binding one each.
fn listen(address: SocketAddr, what: &'static str) -> Result<TcpListener, StartError> {
    let bind = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        Ok(socket.into())
    };
    bind().map_err(|source| StartError::Listen { address, what, source })
}

fn local_address(listener: &TcpListener, address: SocketAddr, what: &'static str) -> Result<SocketAddr, StartError> {
    listener
        .local_addr()
        .map_err(|source| StartError::Listen { address, what, source })
}

/// Starts a thread with its own runtime; the receiver ends with it.
fn spawn_worker(
    number: usize,
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) -> io::Result<oneshot::Receiver<()>> {
    let (ended, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name(format!("gateway-{number}"))
        .spawn(move || {
            runtime.block_on(work(listener, shared, shutdown));
            drop(runtime);
            // Nobody listens if the caller gave up waiting.
            let _ = ended.send(());
        })?;
    Ok(stopped)
}

/// Accepts and serves until shut-down, then waits for what is under way.
async fn work(listener: TcpListener, shared: Arc<Shared>, shutdown: CancellationToken) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a worker cannot use the listening socket");
            return;
        }
    };
    let idle = Idle::new(shared.limits.idle_upstream, shared.timeouts.upstream_idle);
    let drain = shared.timeouts.drain;
    let worker = Arc::new(Worker {
        shared,
        idle,
        shutdown: shutdown.clone(),
    });
    let connections = TaskTracker::new();
    let mut sweep = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Without it small chunks would wait for acknowledgements.
                    if stream.set_nodelay(true).is_ok() {
                        connections.spawn(serve::connection(worker.clone(), stream));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            _ = sweep.tick() => worker.idle.sweep(),
            () = shutdown.cancelled() => break,
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(
            left = connections.len(),
            "connections were cut: the time to drain is over"
        );
    }
}
