//! A real Prometheus in the middle: two model servers of ours that it scrapes,
//! and our source that asks it. Run by `tests/prometheus/run.sh`.
#![expect(clippy::print_stdout, reason = "the suite speaks to the terminal")]

use anyhow::{Context, Result, ensure};
use collect::{Clock, Endpoint, Found, MetricsSource, PrometheusConfig, PrometheusSource, ReplicaSignals};
use collect::{TrackedModel, by_model};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Prometheus scrapes so often.
const SCRAPE: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(30);

/// A model server that says what it is told to.
#[derive(Default)]
struct Server {
    running: AtomicU64,
    generated: AtomicU64,
}

impl Server {
    fn page(&self) -> String {
        let m = "{engine=\"0\",model_name=\"llama\"}";
        format!(
            "vllm:num_requests_running{m} {}\nvllm:num_requests_waiting{m} 0\nvllm:kv_cache_usage_perc{m} 0.25\n\
             vllm:generation_tokens_total{m} {}\nvllm:cache_config_info{{block_size=\"16\",num_gpu_blocks=\"1000\"}} 1\n",
            self.running.load(Relaxed),
            self.generated.fetch_add(10, Relaxed),
        )
    }
}

async fn serve(server: Arc<Server>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let page = server.page();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
                    page.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    Ok(address)
}

/// Prometheus as a child that ends with this process's scope.
struct Prometheus {
    child: Child,
    _folder: tempfile::TempDir,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two jobs: one as in a cluster, with labels pod and namespace; one without
/// any, where only the address tells the Pod.
async fn prometheus(binary: &str, labelled: SocketAddr, bare: SocketAddr) -> Result<Prometheus> {
    let folder = tempfile::tempdir()?;
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let config = format!(
        "global: {{scrape_interval: {}s, scrape_timeout: 900ms}}\nscrape_configs:\n\
         - {{job_name: pods, static_configs: [{{targets: ['{labelled}'], labels: {{pod: a, namespace: n}}}}]}}\n\
         - {{job_name: bare, static_configs: [{{targets: ['{bare}']}}]}}\n",
        SCRAPE.as_secs()
    );
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, config)?;
    let log = std::fs::File::create(folder.path().join("log"))?;
    let child = Command::new(binary)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| binary.to_owned())?;
    Ok(Prometheus {
        child,
        _folder: folder,
        url: format!("http://127.0.0.1:{port}"),
    })
}

fn endpoint(pod: &str, address: SocketAddr) -> Endpoint {
    Endpoint {
        pod: format!("n/{pod}"),
        address: address.ip().to_string(),
        port: address.port(),
        path: None,
        more_ports: std::sync::Arc::default(),
        model: Some("llama".to_owned()),
    }
}

struct Ground {
    source: PrometheusSource,
    clock: Clock,
    servers: [Arc<Server>; 2],
    key: TrackedModel,
    _prometheus: Prometheus,
}

impl Ground {
    /// The signals of a Pod, once they are as wanted.
    async fn until(&self, pod: &str, holds: impl Fn(&ReplicaSignals) -> bool) -> Result<ReplicaSignals> {
        let started = Instant::now();
        loop {
            let signals = self.source.replica_metrics(&self.key).remove(&format!("n/{pod}"));
            if let Some(signals) = signals.filter(&holds) {
                return Ok(signals);
            }
            let said = self.source.availability(&self.key);
            ensure!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {said:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn by_label_and_by_address(ground: &Ground) -> Result<String> {
    for pod in ["a", "b"] {
        let signals = ground.until(pod, |signals| signals.token_rate.last().is_some()).await?;
        let kv = signals.kv.last().context("no KV share")?;
        ensure!(kv.value == 0.25, "{pod}: KV {}", kv.value);
        let rate = signals.token_rate.last().map_or(0.0, |seen| seen.value);
        ensure!((5.0..20.0).contains(&rate), "{pod}: {rate} tokens a second");
    }
    let said = ground.source.availability(&ground.key);
    ensure!(said.found == Found::MetricsFound, "{said:?}");
    Ok(said.message)
}

async fn true_age(ground: &Ground) -> Result<String> {
    let signals = ground.until("a", |signals| signals.kv.last().is_some()).await?;
    let age = ground.clock.now().since(signals.kv.last().context("no KV share")?.at);
    ensure!(age < SCRAPE * 3, "{age:?} old");
    Ok(format!("{age:?} old at a scrape interval of {SCRAPE:?}"))
}

async fn cache_size(ground: &Ground) -> Result<String> {
    let signals = ground.until("a", |signals| signals.kv_tokens.last().is_some()).await?;
    let tokens = signals.kv_tokens.last().map_or(0.0, |seen| seen.value);
    ensure!(tokens == 16_000.0, "{tokens}");
    Ok("16000 tokens, from a series without a model".to_owned())
}

async fn step(ground: &Ground) -> Result<String> {
    let mut slowest = Duration::ZERO;
    for round in 1..=5 {
        let load = 10 * round;
        ground.servers[0].running.store(load, Relaxed);
        let started = Instant::now();
        let seen = |signals: &ReplicaSignals| signals.running.last().is_some_and(|seen| seen.value == load as f64);
        ground.until("a", seen).await?;
        slowest = slowest.max(started.elapsed());
    }
    let limit = SCRAPE + Duration::from_secs(1);
    ensure!(slowest <= limit, "{slowest:?}, and {limit:?} is allowed");
    Ok(format!("slowest of five {slowest:?} ({limit:?} allowed)"))
}

fn report(name: &str, outcome: &Result<String>) -> bool {
    match outcome {
        Ok(how) => println!("ok      {name}: {how}"),
        Err(error) => println!("FAILED  {name}: {error:#}"),
    }
    outcome.is_ok()
}

#[tokio::main]
async fn main() -> Result<()> {
    let binary = std::env::args()
        .nth(1)
        .context("usage: prometheus PATH-OF-PROMETHEUS")?;
    let servers = [Arc::new(Server::default()), Arc::new(Server::default())];
    let (a, b) = (serve(servers[0].clone()).await?, serve(servers[1].clone()).await?);
    let prometheus = prometheus(&binary, a, b).await?;
    let (clock, stop) = (Clock::start(), CancellationToken::new());
    let source = PrometheusSource::start(PrometheusConfig::new(&prometheus.url), clock, stop.clone())?;
    source.track(&by_model([endpoint("a", a), endpoint("b", b)]));
    let ground = Ground {
        source,
        clock,
        servers,
        key: TrackedModel {
            namespace: "n".to_owned(),
            model: "llama".to_owned(),
        },
        _prometheus: prometheus,
    };
    // By label and by address: two scrape jobs, one labelled as in a cluster.
    let passed = [
        report(
            "replicas by label and by address",
            &by_label_and_by_address(&ground).await,
        ),
        report("signals have their true age", &true_age(&ground).await),
        report("the size of the KV cache joins by Pod", &cache_size(&ground).await),
        report("a step of the load", &step(&ground).await),
    ];
    stop.cancel();
    let failed = passed.iter().filter(|passed| !**passed).count();
    println!("{} passed, {failed} failed", passed.len() - failed);
    ensure!(failed == 0, "see above");
    Ok(())
}
