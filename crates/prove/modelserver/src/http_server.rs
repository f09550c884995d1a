//! The socket: accepting, limits, and an orderly end.

use crate::driver::Driver;
use crate::metrics::Metrics;
use crate::routes::App;
use crate::settings::Settings;
use crate::{Args, Error};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once at most; more wait to be accepted. With the body limit
/// it bounds what clients can make the server hold.
const MAX_CONNECTIONS: usize = 16 * 1024;
/// Bytes of a request's head at most.
const MAX_HEAD: usize = 64 * 1024;
/// Header lines of a request at most.
const MAX_HEADERS: usize = 128;
/// Time a client gets to send a request's head, or its next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
/// How often the end of the last requests is looked for while shutting down.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// Time clients get to read the last bytes after everything was aborted.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens; the port is the real one if 0 was asked for.
    pub address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Running {
    /// Stops accepting, lets requests in flight end within the time the
    /// settings give, and returns when nothing is left.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await;
    }

    /// Returns once the server has ended.
    pub async fn ended(self) {
        // It fails only if it panicked, which the panic itself has told.
        let _ = self.serving.await;
    }
}

/// Serves until `shutdown` is cancelled and what was in flight has ended.
///
/// # Errors
/// A flag cannot be served, or the socket cannot be had.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), Error> {
    start(args, shutdown).await?.ended().await;
    Ok(())
}

/// Binds the socket, starts the engine and returns; serving goes on until
/// `shutdown` is cancelled.
///
/// # Errors
/// A flag cannot be served, or the socket cannot be had.
pub async fn start(args: Args, shutdown: CancellationToken) -> Result<Running, Error> {
    let settings = Settings::new(&args)?;
    drop(args);
    let asked = (settings.host.as_str(), settings.port);
    let bind_error = |source| Error::Bind {
        address: format!("{}:{}", asked.0, asked.1),
        source,
    };
    let listener = TcpListener::bind(asked).await.map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    let engine = engine::Engine::new(settings.engine).map_err(crate::ArgsError::Engine)?;
    let metrics = Metrics::new(settings.engine.max_model_len);
    let (driver, thread) = Driver::start(engine, metrics, settings.speed).map_err(Error::Thread)?;
    tracing::info!(
        %address,
        model = settings.names[0],
        kv_blocks = settings.engine.num_gpu_blocks,
        max_num_seqs = settings.engine.max_num_seqs,
        max_model_len = settings.engine.max_model_len,
        "model server listens"
    );
    let app = Arc::new(App::new(settings, Arc::clone(&driver)));
    let stop = shutdown.clone();
    let serving = tokio::spawn(async move {
        serve(listener, app, stop).await;
        driver.stop();
        // The thread ends within the lock it waits for.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    });
    Ok(Running {
        address,
        shutdown,
        serving,
    })
}

async fn serve(listener: TcpListener, app: Arc<App>, shutdown: CancellationToken) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let abandon = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let (app, shutdown, abandon) = (Arc::clone(&app), shutdown.clone(), abandon.clone());
        connections.spawn(async move {
            let _permit = permit;
            connection(stream, app, shutdown, abandon).await;
        });
    }
    drop(listener);
    connections.close();
    let grace = app.settings.shutdown_timeout;
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(
            grace_s = grace.as_secs(),
            "requests did not end in time and are aborted"
        );
        app.driver.abort_all();
        let _ = tokio::time::timeout(LAST_BYTES, connections.wait()).await;
        abandon.cancel();
        connections.wait().await;
    }
    // A request may have left its connection before the engine noticed.
    while app.driver.busy() {
        app.driver.abort_all();
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Tokens are small and must not wait for company.
            let _ = stream.set_nodelay(true);
            Some((stream, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            // Out of file descriptors, most likely: others must end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, app: Arc<App>, shutdown: CancellationToken, abandon: CancellationToken) {
    let service = service_fn(move |request| Arc::clone(&app).answer(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection.as_mut() => outcome,
                () = abandon.cancelled() => return,
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended");
    }
}
