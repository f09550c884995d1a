//! Starts what the configuration asks for.

use crate::board::Board;
use crate::config::{Config, ExternalMetrics, Keda};
use crate::decisions::Decisions;
use crate::external;
use crate::front_proxy::Admission;
use crate::keda::Scaler;
use crate::listen::{self, Speaks};
use crate::tls::{Clients, Material, Tls};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value of the configuration cannot be meant.
    #[error("{key} {why}")]
    Config {
        /// The key, its parts joined by dots.
        key: &'static str,
        /// What is wrong with it and what to write instead.
        why: String,
    },
    /// An address cannot be listened on.
    #[error("{key}: cannot listen on {address}: {source}; is another program there?")]
    Listen {
        /// The key of the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate, key or authority cannot be used.
    #[error("{key}: {}{why}", .path.as_ref().map(|path| format!("{}: ", path.display())).unwrap_or_default())]
    Tls {
        /// The key of the file.
        key: &'static str,
        /// The file, if one is at fault.
        path: Option<PathBuf>,
        /// What is wrong with it.
        why: String,
    },
}

/// What is being served.
#[derive(Debug)]
pub struct Running {
    /// Where the external metrics API listens.
    pub external_metrics: Option<SocketAddr>,
    /// Where the KEDA external scaler listens.
    pub keda: Option<SocketAddr>,
    tasks: TaskTracker,
}

impl Running {
    /// Waits until it has stopped: the token was cancelled, streams have been
    /// ended and connections are closed.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

/// Starts serving `decisions` until `stop`.
///
/// # Errors
/// When the configuration contradicts itself, an address is taken, or a file
/// cannot be used. Nothing is left running then.
pub async fn serve(config: Config, decisions: Arc<dyn Decisions>, stop: CancellationToken) -> Result<Running, Error> {
    config.validate()?;
    let metrics = match &config.external_metrics {
        Some(metrics) => Some(open_metrics(metrics).await?),
        None => None,
    };
    let keda = match &config.keda {
        Some(keda) => Some(open_keda(keda).await?),
        None => None,
    };

    let board = Arc::new(Board::new(decisions, config.stale_after));
    let tasks = TaskTracker::new();
    let mut running = Running {
        external_metrics: None,
        keda: None,
        tasks: tasks.clone(),
    };
    if let (Some(opened), Some(metrics)) = (metrics, config.external_metrics) {
        running.external_metrics = Some(opened.address);
        opened.follow(&tasks, config.reread_after, &stop);
        let admission = Arc::new(Admission::new(metrics.front_proxy));
        let board = board.clone();
        let handler = move |peer, request| {
            let response = external::answer(&board, &admission, &peer, &request);
            std::future::ready(response)
        };
        tasks.spawn(listen::run(
            opened.listener,
            opened.tls,
            Speaks::Http1,
            handler,
            stop.clone(),
        ));
    }
    if let Some(opened) = keda {
        running.keda = Some(opened.address);
        opened.follow(&tasks, config.reread_after, &stop);
        let scaler = Arc::new(Scaler::new(board, stop.clone()));
        let handler = move |_, request| {
            let scaler = scaler.clone();
            async move { scaler.respond(request).await }
        };
        tasks.spawn(listen::run(opened.listener, opened.tls, Speaks::Http2, handler, stop));
    }
    tasks.close();
    Ok(running)
}

/// A listener and its TLS, before anybody is let in.
struct Opened {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
}

impl Opened {
    async fn new(key: &'static str, address: SocketAddr, tls: Option<Arc<Tls>>) -> Result<Self, Error> {
        let wrong = |source| Error::Listen { key, address, source };
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        Ok(Self { listener, address, tls })
    }

    fn follow(&self, tasks: &TaskTracker, every: Duration, stop: &CancellationToken) {
        if let Some(tls) = &self.tls {
            tasks.spawn(tls.clone().follow(every, stop.clone()));
        }
    }
}

async fn open_metrics(metrics: &ExternalMetrics) -> Result<Opened, Error> {
    let mut names = metrics.names.clone();
    names.extend(["localhost".to_owned(), metrics.listen.ip().to_string()]);
    let clients = metrics
        .front_proxy
        .as_ref()
        .map(|proxy| Clients::Asked(proxy.authority.clone()));
    let tls = Tls::load(Material {
        key: "external_metrics.certificate",
        authority_key: "external_metrics.front_proxy.authority",
        files: metrics.certificate.clone(),
        names,
        clients,
        protocol: b"http/1.1",
    })?;
    Opened::new("external_metrics.listen", metrics.listen, Some(tls)).await
}

async fn open_keda(keda: &Keda) -> Result<Opened, Error> {
    let tls = match &keda.certificate {
        Some(files) => Some(Tls::load(Material {
            key: "keda.certificate",
            authority_key: "keda.client_authority",
            files: Some(files.clone()),
            names: Vec::new(),
            clients: keda.client_authority.clone().map(Clients::Required),
            protocol: b"h2",
        })?),
        None => None,
    };
    Opened::new("keda.listen", keda.listen, tls).await
}
