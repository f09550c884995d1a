//! The autoscaler as a cluster runs it: its own manifests, the rights of its
//! own service account, two processes of which one leads.

use crate::arena::process::{Signal, signal};
use crate::arena::{tail, web};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testkit::kube::{Access, Binaries, ControlPlane};
use testkit::{Outcome, wait_for};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// How long the cluster may take for something that takes it a moment.
const SOON: Duration = Duration::from_secs(30);
/// The election's terms: short, so that a takeover can be waited for.
const LEASE: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_millis(500);
/// What a busy machine may add to a takeover.
const SLACK: Duration = Duration::from_secs(3);

/// A control plane with our manifests in it.
#[derive(Debug)]
pub struct Cluster {
    tidegate: PathBuf,
    kubectl: PathBuf,
    plane: ControlPlane,
    folder: TempDir,
    /// A kubeconfig with the service account's token and nothing else.
    account: PathBuf,
    /// What applying the manifests printed.
    pub applied: Outcome,
}

impl Cluster {
    /// Starts a control plane without controllers and applies `deploy/autoscaler`.
    ///
    /// # Errors
    /// When a part does not start, or a manifest is refused.
    pub async fn start(tidegate: PathBuf) -> Result<Self> {
        let plane = ControlPlane::start(&testkit::kube::Options::default()).await?;
        let folder = tempfile::Builder::new().prefix("tidegate-control-").tempdir()?;
        let kubectl = Binaries::find()?.path("kubectl");
        let admin = |line: &str| testkit::kubectl(&kubectl, plane.kubeconfig(), line);

        let crds = tokio::process::Command::new(&tidegate).arg("crds").output().await?;
        let crds = String::from_utf8(crds.stdout)?;
        admin("apply -f -").input(crds).run().await?.success()?;
        admin("wait --for=condition=Established crd --all --timeout=30s")
            .run()
            .await?
            .success()?;
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/autoscaler");
        let applied = admin(&format!("apply -f {}", manifests.display())).run().await?;
        ensure!(applied.code == 0, "{}{}", applied.stderr, applied.stdout);

        let token = admin("create token tidegate-autoscaler -n tidegate-system --duration 1h");
        let token = token.run().await?.success()?;
        let kubeconfig: Value = serde_json::from_str(&std::fs::read_to_string(plane.kubeconfig())?)?;
        let authority = kubeconfig["clusters"][0]["cluster"]["certificate-authority"].as_str();
        let authority = PathBuf::from(authority.context("the kubeconfig names no authority")?);
        let account = Access::write(
            folder.path(),
            plane.access().server(),
            Some(token.trim()),
            Some(&authority),
        )?;
        Ok(Self {
            account: account.kubeconfig().to_owned(),
            tidegate,
            kubectl,
            plane,
            folder,
            applied,
        })
    }

    /// kubectl as an administrator; its output.
    ///
    /// # Errors
    /// When it fails.
    pub async fn kubectl(&self, line: &str) -> Result<String> {
        testkit::kubectl(&self.kubectl, self.plane.kubeconfig(), line)
            .run()
            .await?
            .success()
    }

    /// Applies an object.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn apply(&self, object: &Value) -> Result<()> {
        let applying = testkit::kubectl(&self.kubectl, self.plane.kubeconfig(), "apply -f -").input(object.to_string());
        applying.run().await?.success().map(drop)
    }

    /// Whether the service account may do something (`kubectl auth can-i`).
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub async fn may(&self, what: &str) -> Result<bool> {
        let asked = testkit::kubectl(&self.kubectl, &self.account, &format!("auth can-i {what}"))
            .run()
            .await?;
        Ok(asked.stdout.trim() == "yes")
    }

    /// Waits until a jsonpath answers what is wanted.
    ///
    /// # Errors
    /// When it does not in time, with what it last was.
    pub async fn until(&self, what: &str, path: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let line = format!("get {what} -o jsonpath={path}");
        let seen = wait_for(SOON, async || {
            last = self.kubectl(&line).await.unwrap_or_default();
            wanted(&last).then(|| last.clone())
        });
        match seen.await {
            Ok(seen) => Ok(seen),
            Err(_) => bail!("{what} {path} last was {last:?}"),
        }
    }

    /// Starts `tidegate autoscaler` as the service account.
    ///
    /// # Errors
    /// When it ends, or says no address in time.
    pub async fn autoscaler(&self, name: &str) -> Result<Autoscaler> {
        let log = self.folder.path().join(format!("{name}.log"));
        let output = std::fs::File::create(&log)?;
        let terms = [
            format!("--leader-election-lease-duration={}s", LEASE.as_secs()),
            format!("--leader-election-renew-deadline={}s", LEASE.as_secs() - 1),
            format!("--leader-election-retry-period={}ms", RETRY.as_millis()),
        ];
        let mut child = tokio::process::Command::new(&self.tidegate)
            .args(["autoscaler", "--leader-elect", "--actuator=direct"])
            .args(["--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address=0"])
            .args(["--system-namespace=tidegate-system", "--scale-down-after=5m"])
            .args(terms)
            .arg("--kubeconfig")
            .arg(&self.account)
            .env("POD_NAME", name)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start tidegate autoscaler")?;
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        let url = wait_for(SOON, async || {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(Err(anyhow::anyhow!("{name} ended: {status}\n{}", tail(&read()))));
            }
            let text = read();
            let address = text.split(" metrics=").nth(1)?.split_whitespace().next()?;
            Some(Ok(format!("http://{address}")))
        });
        let url = url
            .await
            .with_context(|| format!("{name} says no address\n{}", tail(&read())))??;
        Ok(Autoscaler {
            name: name.to_owned(),
            child,
            url,
            log,
        })
    }

    /// A Pod that runs nowhere, with a page of metrics that we serve.
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn replica(&self, app: &str, name: &str) -> Result<Replica> {
        let page = Arc::new(Mutex::new(String::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(serve(listener, page.clone()));
        self.apply(&json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": app}},
            "spec": {"nodeName": "nowhere", "containers": [{"name": "engine", "image": "engine", "ports": [{"containerPort": address.port()}]}]}}))
            .await?;
        let status = json!({"status": {"phase": "Running", "podIP": address.ip().to_string(),
            "podIPs": [{"ip": address.ip().to_string()}], "conditions": [{"type": "Ready", "status": "True"}]}});
        self.kubectl(&format!(
            "patch pod {name} -n shop --subresource=status --type=merge -p '{status}'"
        ))
        .await?;
        Ok(Replica(page))
    }
}

/// A running `tidegate autoscaler`. Dropping it kills it.
#[derive(Debug)]
pub struct Autoscaler {
    name: String,
    child: tokio::process::Child,
    /// Where its metrics are.
    pub url: String,
    log: PathBuf,
}

impl Autoscaler {
    /// Its page of metrics.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        web::get(&format!("{}/metrics", self.url)).await
    }

    /// Whether it says that it leads; not if it does not answer.
    pub async fn leads(&self) -> bool {
        self.metrics()
            .await
            .is_ok_and(|page| value(&page, "tidegate_leader") == Some(1.0))
    }

    /// Everything it logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it without a word.
    ///
    /// # Errors
    /// When there is no such process any more.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| self.name.clone())
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// When it does not end well in time.
    pub async fn stop(&mut self) -> Result<()> {
        signal(self.child.id().context("it has ended")?, Signal::TERM)?;
        let status = tokio::time::timeout(SOON, self.child.wait()).await;
        let status = status.with_context(|| format!("{} does not end", self.name))??;
        ensure!(
            status.success(),
            "{} ended with {status}\n{}",
            self.name,
            tail(&self.log())
        );
        Ok(())
    }
}

/// A Pod's page of metrics, set by the scenario.
#[derive(Debug)]
pub struct Replica(Arc<Mutex<String>>);

impl Replica {
    /// What it says from now on, as vLLM would.
    pub fn tell(&self, kv: f64, running: u32, waiting: u32) {
        let sample = |name: &str, value: f64| {
            format!("# TYPE vllm:{name} gauge\nvllm:{name}{{engine=\"0\",model_name=\"llama\"}} {value}\n")
        };
        let page = sample("kv_cache_usage_perc", kv)
            + &sample("num_requests_running", f64::from(running))
            + &sample("num_requests_waiting", f64::from(waiting));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }
}

async fn serve(listener: TcpListener, page: Arc<Mutex<String>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let page = page.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::spawn(async move {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let length = page.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{page}");
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}

/// The value of the first sample whose name and labels begin so.
fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The two processes of the story, and the cluster they look after.
#[derive(Debug)]
pub struct Story {
    cluster: Cluster,
    both: [Autoscaler; 2],
    /// Pods whose metrics are ours to set.
    replicas: Vec<Replica>,
}

impl Story {
    /// Begins it: a Deployment, its VariantAutoscaling, two autoscalers.
    ///
    /// # Errors
    /// When something is refused or does not start.
    pub async fn begin(tidegate: PathBuf) -> Result<Self> {
        let cluster = Cluster::start(tidegate).await?;
        cluster.kubectl("create namespace shop").await?;
        for name in ["llama", "other"] {
            cluster.apply(&deployment(name)).await?;
        }
        cluster.apply(&variant(2)).await?;
        let both = [cluster.autoscaler("one").await?, cluster.autoscaler("two").await?];
        Ok(Self {
            cluster,
            both,
            replicas: Vec::new(),
        })
    }

    /// The place of the one that leads.
    async fn leader(&self) -> Result<usize> {
        let one = wait_for(SOON, async || {
            let leads = [self.both[0].leads().await, self.both[1].leads().await];
            match leads {
                [true, true] => Some(Err(anyhow::anyhow!("both lead"))),
                [false, false] => None,
                [first, _] => Some(Ok(usize::from(!first))),
            }
        });
        one.await.context("nobody leads")?
    }

    /// The manifests are taken as they stand, without a warning.
    ///
    /// # Errors
    /// What was warned of.
    pub async fn manifests(&mut self) -> Result<String> {
        let applied = &self.cluster.applied;
        ensure!(!applied.stderr.contains("Warning"), "{}", applied.stderr);
        let count = applied.stdout.lines().count();
        Ok(format!("{count} objects, no warnings"))
    }

    /// Exactly one acts, and only that one speaks of variants.
    ///
    /// # Errors
    /// What is not so.
    pub async fn one_acts(&mut self) -> Result<String> {
        let leader = self.leader().await?;
        self.cluster
            .until("deployment llama -n shop", "{.spec.replicas}", |replicas| {
                replicas == "2"
            })
            .await?;
        let follower = &self.both[1 - leader];
        wait_for(SOON, async || {
            let seen = web::get(&format!("{}/variants", follower.url)).await.ok()?;
            seen.contains("\"llama\"").then_some(())
        })
        .await
        .context("the follower watches nothing")?;
        ensure!(!follower.leads().await, "both lead");
        let desired = "wva_desired_replicas{variant_name=\"llama\"";
        ensure!(
            value(&follower.metrics().await?, desired).is_none(),
            "the follower speaks of variants"
        );
        ensure!(
            value(&self.both[leader].metrics().await?, desired) == Some(2.0),
            "the leader does not"
        );
        Ok(format!("{} leads", self.both[leader].name))
    }

    /// Saturated replicas raise the number, and the object says why.
    ///
    /// # Errors
    /// What is not so.
    pub async fn saturation(&mut self) -> Result<String> {
        for name in ["llama-a", "llama-b"] {
            let replica = self.cluster.replica("llama", name).await?;
            replica.tell(0.95, 12, 9);
            self.replicas.push(replica);
        }
        let raised = |replicas: &str| replicas.parse().is_ok_and(|replicas: u32| replicas > 2);
        let path = "{.spec.replicas}";
        let replicas = self.cluster.until("deployment llama -n shop", path, raised).await?;
        let path = "{.status.conditions[?(@.type==\"MetricsAvailable\")].reason}";
        self.cluster
            .until("variantautoscaling llama -n shop", path, |reason| {
                reason == "MetricsFound"
            })
            .await?;
        self.cluster
            .until("events -n shop", "{.items[*].reason}", |reasons| {
                reasons.contains("ScaledUp")
            })
            .await?;
        let leader = self.leader().await?;
        let why = tokio::process::Command::new(&self.cluster.tidegate)
            .args(["why", "variant", "shop/llama", "--autoscaler", &self.both[leader].url])
            .output()
            .await?;
        let why = String::from_utf8(why.stdout)?;
        ensure!(
            why.contains("KV cache in use") && why.contains("kvCacheThreshold 0.8"),
            "{why}"
        );
        Ok(format!("{replicas} replicas"))
    }

    /// A mistake in a ConfigMap is refused, and the last good stays in force.
    ///
    /// # Errors
    /// What is not so.
    pub async fn configuration(&mut self) -> Result<String> {
        let map = |text: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "wva-saturation-scaling-config",
                "namespace": "tidegate-system"}, "data": {"default": text}})
        };
        self.cluster.apply(&map("kvCacheThreshold: 80\n")).await?;
        let ready = "{.status.conditions[?(@.type==\"OptimizationReady\")].message}";
        let message = self
            .cluster
            .until("variantautoscaling llama -n shop", ready, |message| {
                message.contains("field kvCacheThreshold: is 80")
                    && message.contains("last good content stays in force")
            })
            .await?;
        let leader = self.leader().await?;
        let valid = "tidegate_config_valid{configmap=\"tidegate-system/wva-saturation-scaling-config\"}";
        ensure!(
            value(&self.both[leader].metrics().await?, valid) == Some(0.0),
            "the gauge says nothing"
        );
        self.cluster.apply(&map("kvCacheThreshold: 0.8\n")).await?;
        self.cluster
            .until("variantautoscaling llama -n shop", ready, |message| {
                !message.contains("ConfigMap")
            })
            .await?;
        Ok(message.split(';').next().unwrap_or_default().to_owned())
    }

    /// A managed HPA is a variant of its own.
    ///
    /// # Errors
    /// What is not so.
    pub async fn managed_hpa(&mut self) -> Result<String> {
        self.cluster
            .apply(
                &json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "other", "namespace": "shop", "labels": {"llm-d.ai/managed": "true"},
                    "annotations": {"llm-d.ai/model": "other"}},
                "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"},
                    "minReplicas": 3, "maxReplicas": 5}}),
            )
            .await?;
        let leader = self.leader().await?;
        let series = "wva_desired_replicas{variant_name=\"other\",namespace=\"shop\"";
        wait_for(SOON, async || {
            let page = self.both[leader].metrics().await.ok()?;
            value(&page, series).filter(|replicas| *replicas == 3.0)
        })
        .await
        .context("no gauge of 3 replicas")?;
        let replicas = self
            .cluster
            .kubectl("get deployment other -n shop -o jsonpath={.spec.replicas}")
            .await?;
        ensure!(
            replicas == "1",
            "its target was set to {replicas}, which is the HPA's to do"
        );
        Ok("3 replicas wanted, and left to the HPA".to_owned())
    }

    /// The leader is killed; the other takes over in time and acts.
    ///
    /// # Errors
    /// What is not so.
    pub async fn takeover(&mut self) -> Result<String> {
        let leader = self.leader().await?;
        self.both[leader].kill().await?;
        let killed = Instant::now();
        let bound = LEASE + RETRY + SLACK;
        let other = 1 - leader;
        wait_for(bound, async || self.both[other].leads().await.then_some(()))
            .await
            .context("the other does not take over")?;
        let took = killed.elapsed();
        self.cluster.apply(&variant(6)).await?;
        self.cluster
            .until("deployment llama -n shop", "{.spec.replicas}", |replicas| {
                replicas == "6"
            })
            .await?;
        Ok(format!(
            "after {:.1} s of at most {:.1} s",
            took.as_secs_f64(),
            bound.as_secs_f64()
        ))
    }

    /// The manifests' rights were enough, and are no more than that.
    ///
    /// # Errors
    /// What was denied, or is allowed and should not be.
    pub async fn rights(&mut self) -> Result<String> {
        for scaler in &self.both {
            let log = scaler.log();
            let denied = log
                .lines()
                .find(|line| line.contains("forbidden") || line.contains("403"));
            ensure!(denied.is_none(), "{}: {}", scaler.name, denied.unwrap_or_default());
        }
        let leader = self.leader().await?;
        let failures = value(
            &self.both[leader].metrics().await?,
            "tidegate_autoscaler_write_failures_total",
        );
        ensure!(failures == Some(0.0), "writes failed: {failures:?}");
        for allowed in [
            "patch deployments.apps --subresource=scale -n shop",
            "update leases/72dd1cf1.llm-d.ai -n tidegate-system",
        ] {
            ensure!(self.cluster.may(allowed).await?, "it may not {allowed}");
        }
        let mut count = 0;
        for denied in [
            "get secrets -A",
            "list configmaps -A",
            "patch deployments -n shop",
            "delete pods -n shop",
            "update variantautoscalings.llmd.ai -n shop",
            "patch horizontalpodautoscalers -n shop",
            "update leases/another -n tidegate-system",
            "get leases -n kube-system",
        ] {
            ensure!(!self.cluster.may(denied).await?, "it may {denied}");
            count += 1;
        }
        Ok(format!(
            "nothing was denied; {count} rights it does not need are not there"
        ))
    }

    /// One that is told to end gives the Lease up.
    ///
    /// # Errors
    /// What is not so.
    pub async fn resignation(&mut self) -> Result<String> {
        let leader = self.leader().await?;
        self.both[leader].stop().await?;
        let path = "{.spec.holderIdentity}";
        self.cluster
            .until("lease 72dd1cf1.llm-d.ai -n tidegate-system", path, str::is_empty)
            .await?;
        let changes = "{.spec.leaseTransitions}";
        let changes = self
            .cluster
            .until("lease 72dd1cf1.llm-d.ai -n tidegate-system", changes, |changes| {
                !changes.is_empty()
            })
            .await?;
        Ok(format!("released after {changes} change of leaders"))
    }
}

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"},
                    "containers": [{"name": "engine", "image": "engine"}]}}}})
}

fn variant(min: u32) -> Value {
    json!({"apiVersion": "llmd.ai/v1alpha1", "kind": "VariantAutoscaling",
        "metadata": {"name": "llama", "namespace": "shop"},
        "spec": {"modelID": "llama", "minReplicas": min, "maxReplicas": 8,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}}})
}
