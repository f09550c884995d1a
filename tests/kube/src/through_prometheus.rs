//! The whole loop through a real Prometheus: it scrapes the model servers, and
//! is all that an autoscaler process of its own has to go by.

use crate::arena::autoscaler::{Autoscaler, value};
use crate::arena::{Arena, Ground, Up, web};
use crate::scenarios::{QUICK, SCALED, SOON, fleet, reaction};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::child::Child;
use testkit::wait_until;
use tokio::net::TcpListener;

/// Prometheus scrapes so often.
const SCRAPE: Duration = Duration::from_secs(1);
/// From a step of the load to the gauge.
const IN_TIME: Duration = Duration::from_secs(2);
/// Between two looks at the Pods.
const LOOK: Duration = Duration::from_millis(200);
/// How often the step is made.
const STEPS: usize = 3;
/// How long the autoscaler may take to say that Prometheus is gone, or back.
const NOTICED: Duration = Duration::from_secs(90);

/// A Prometheus with the samples it has taken so far.
struct Prometheus {
    binary: PathBuf,
    folder: PathBuf,
    port: u16,
    running: Option<Child>,
    discovery: tokio::task::JoinHandle<()>,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.discovery.abort();
    }
}

/// Debian builds Prometheus without the discovery of Pods: this does it in its
/// place, with the labels that everybody relabels to.
async fn discover(folder: PathBuf, server: String) {
    let mut written = String::new();
    loop {
        let list = web::get(&format!("{server}/api/v1/namespaces/default/pods")).await;
        let list: Value = serde_json::from_str(&list.unwrap_or_default()).unwrap_or_default();
        let pods = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let targets: Vec<Value> = pods.iter().filter_map(target).collect();
        let text = Value::from(targets).to_string();
        let (new, file) = (folder.join("targets.new"), folder.join("targets.json"));
        // Whole or not at all: Prometheus reads it when it changes.
        if text != written
            && std::fs::write(&new, &text)
                .and_then(|()| std::fs::rename(new, file))
                .is_ok()
        {
            written = text;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn target(pod: &Value) -> Option<Value> {
    let port = &pod["spec"]["containers"][0]["ports"][0]["containerPort"];
    let address = format!("{}:{}", pod["status"]["podIP"].as_str()?, port.as_u64()?);
    let labels = json!({"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]});
    Some(json!({"targets": [address], "labels": labels}))
}

impl Prometheus {
    /// One that scrapes the Pods of the fleet, as the API at `server` has them.
    async fn start(binary: &Path, folder: PathBuf, server: &str) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
        let config = format!(
            "global: {{scrape_interval: {}s, scrape_timeout: 900ms}}\nscrape_configs:\n\
             - {{job_name: pods, file_sd_configs: [{{files: [targets.json]}}]}}\n",
            SCRAPE.as_secs()
        );
        std::fs::write(folder.join("targets.json"), "[]")?;
        std::fs::write(folder.join("prometheus.yml"), config)?;
        let discovery = tokio::spawn(discover(folder.clone(), server.to_owned()));
        let mut prometheus = Self {
            binary: binary.to_owned(),
            folder,
            port,
            running: None,
            discovery,
        };
        prometheus.resume()?;
        Ok(prometheus)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn resume(&mut self) -> Result<()> {
        let arguments = [
            format!("--config.file={}", self.folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", self.folder.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{}", self.port),
        ];
        self.running = Some(Child::start("prometheus", &self.binary, arguments, &self.folder)?);
        Ok(())
    }

    /// Kills it, as a node that fails does.
    fn kill(&mut self) {
        self.running = None;
    }

    /// Waits until it has a target that answers.
    async fn found(&self) -> Result<()> {
        let up = format!("{}/api/v1/query?query=sum(up)", self.url());
        wait_until(SOON, async || {
            let answer = web::get(&up).await.unwrap_or_default();
            let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            answer["data"]["result"][0]["value"][1]
                .as_str()
                .is_some_and(|count| count != "0")
        })
        .await
        .with_context(|| {
            let words = self.running.as_ref().map(Child::last_words).unwrap_or_default();
            format!("Prometheus found no model server\n{words}")
        })
    }
}

/// The parts of one fleet.
struct Loop<'a> {
    arena: Arena<'a>,
    up: Up,
    prometheus: Prometheus,
    scaler: Autoscaler,
}

impl<'a> Loop<'a> {
    async fn start(ground: &'a Ground, binary: &Path) -> Result<Self> {
        // A router that passes everything on: requests wait where Prometheus sees them.
        let fleet = fleet(1, 4).replace("slots: 4", "slots: 64");
        let arena = Arena::new(ground, Some(&fleet), &["--actuator", "observe"])?;
        let up = arena.up().await?;
        up.first_answer("tiny", SOON).await?;
        let folder = arena.file("prometheus");
        let prometheus = Prometheus::start(binary, folder, &up.addresses.kubernetes).await?;
        prometheus.found().await?;
        let mut command = tokio::process::Command::new(&ground.tidegate);
        command
            .args([
                "autoscaler",
                "--actuator=direct",
                "--pod-scrape=false",
                "--watch-namespace=default",
            ])
            .args(QUICK)
            .arg("--kubeconfig")
            .arg(&up.addresses.kubeconfig)
            .env("PROMETHEUS_BASE_URL", prometheus.url());
        let scaler = Autoscaler::start("autoscaler", command, &arena.file("")).await?;
        Ok(Self {
            arena,
            up,
            prometheus,
            scaler,
        })
    }

    async fn condition(&self, field: &str) -> String {
        let path = format!("'{{.status.conditions[?(@.type==\"MetricsAvailable\")].{field}}}'");
        self.up.ask("variantautoscaling/tiny-l4", &path).await
    }

    /// Waits for a reason of `MetricsAvailable`; the message.
    async fn until_reason(&self, wanted: &str) -> Result<String> {
        let mut last = String::new();
        wait_until(NOTICED, async || {
            last = self.condition("reason").await;
            last == wanted
        })
        .await
        .with_context(|| format!("MetricsAvailable is {last}, not {wanted}"))?;
        Ok(self.condition("message").await)
    }
}

/// Runs the suite; what passed and what failed, a line each.
///
/// # Errors
/// When the fleet does not start at all.
pub async fn run(ground: &Ground, binary: &Path) -> Result<Vec<(&'static str, Result<String>)>> {
    let mut turning = Loop::start(ground, binary).await?;
    Ok(vec![
        ("what-prometheus-scraped-is-found", found(&turning).await),
        ("a-step-is-decided-within-a-scrape-and-a-second", steps(&turning).await),
        (
            "load-raises-replicas-and-they-return",
            rises_and_returns(&turning).await,
        ),
        ("without-prometheus-replicas-are-held", outage(&mut turning).await),
    ])
}

async fn found(turning: &Loop<'_>) -> Result<String> {
    let message = turning.until_reason("MetricsFound").await?;
    let page = turning.scaler.metrics().await?;
    let wanted = value(&page, "wva_desired_replicas{");
    ensure!(wanted == Some(1.0), "{wanted:?} replicas are wanted of an idle fleet");
    Ok(message)
}

async fn steps(turning: &Loop<'_>) -> Result<String> {
    let mut took = Vec::new();
    for _ in 0..STEPS {
        reaction::calm(&turning.up, &turning.scaler.url).await?;
        let decided = reaction::step(&turning.up, &turning.scaler.url).await?;
        ensure!(decided <= IN_TIME, "decided after {decided:?}; {IN_TIME:?} is allowed");
        took.push(decided.as_millis());
    }
    Ok(format!(
        "published {took:?} ms after the step, at a scrape interval of {SCRAPE:?}"
    ))
}

async fn rises_and_returns(turning: &Loop<'_>) -> Result<String> {
    reaction::calm(&turning.up, &turning.scaler.url).await?;
    let load =
        "--model tiny --rate 8 --for 30s --output-tokens 40 --output-spread 0 --prompt-tokens 64 --prompt-spread 0";
    let loading = turning.arena.load(&turning.up, load);
    let watching = turning
        .up
        .until(SCALED, "deployment/tiny-l4", "{.status.readyReplicas}", |count| {
            count.parse().is_ok_and(|count: u32| count >= 2)
        });
    let (summary, most) = tokio::join!(loading, watching);
    let (summary, most) = (summary?, most.context("replicas did not rise")?);
    let counts = &summary["counts"];
    ensure!(counts["done"] == counts["planned"], "requests were lost: {summary}");
    let over = Instant::now();
    reaction::calm(&turning.up, &turning.scaler.url).await?;
    Ok(format!(
        "{most} ready under load, {} requests, back at 1 after {:.0} s",
        counts["planned"],
        over.elapsed().as_secs_f64()
    ))
}

/// Under load with more than the least replicas, Prometheus is killed: nothing
/// moves, the condition says why, and all goes on when it is back.
async fn outage(turning: &mut Loop<'_>) -> Result<String> {
    reaction::step(&turning.up, &turning.scaler.url).await?;
    turning.prometheus.kill();
    let killed = Instant::now();
    let message = turning.until_reason("PrometheusError").await?;
    let noticed = killed.elapsed();
    // Until then its last samples were fresh, and could be acted on.
    let before = turning.up.ask("deployment/tiny-l4", "{.spec.replicas}").await;
    ensure!(
        before.parse().is_ok_and(|before: u32| before > 1),
        "only {before} are left to be held"
    );
    ensure!(
        message.contains(&turning.prometheus.url()),
        "it does not name Prometheus: {message}"
    );
    // Longer than load must have been lower, and as idle as can be.
    let held = turning
        .up
        .until(
            Duration::from_secs(12),
            "deployment/tiny-l4",
            "{.spec.replicas}",
            |count| count != before,
        )
        .await;
    ensure!(held.is_err(), "replicas went from {before} to {held:?} on no news");
    turning.prometheus.resume()?;
    let back = Instant::now();
    turning.until_reason("MetricsFound").await?;
    let back = back.elapsed();
    reaction::calm(&turning.up, &turning.scaler.url).await?;
    Ok(format!(
        "noticed after {:.0} s, {before} replicas held, found again after {:.0} s; it said: {message}",
        noticed.as_secs_f64(),
        back.as_secs_f64()
    ))
}
