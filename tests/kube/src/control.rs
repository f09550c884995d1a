//! The autoscaler as a cluster runs it: its own manifests, the rights of its
//! own service account, two processes of which one leads.

use crate::arena::autoscaler::Autoscaler;
use crate::arena::page::Page;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use testkit::kube::{Access, Binaries, ControlPlane};
use testkit::{Outcome, wait_for};
use tokio::net::TcpListener;

mod objects;
mod rights;
mod story;

pub use story::Story;

/// How long the cluster may take for something that takes it a moment.
const SOON: Duration = Duration::from_secs(30);
/// The election's terms: short, so that a takeover can be waited for.
const LEASE: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_millis(500);

/// Mounts a service account (the first argument) where a container has it, and
/// becomes the program (the others).
const IN_A_POD: &str = "mount -t tmpfs tmpfs /run
mkdir -p /run/secrets/kubernetes.io
cp -r \"$1\" /run/secrets/kubernetes.io/serviceaccount
shift
exec \"$@\"";

/// A control plane with our manifests in it.
#[derive(Debug)]
pub struct Cluster {
    tidegate: PathBuf,
    kubectl: PathBuf,
    plane: ControlPlane,
    folder: TempDir,
    /// A kubeconfig with the service account's token and nothing else.
    account: PathBuf,
    /// Where autoscalers answer for HPAs, each on an address of its own.
    port: u16,
    /// What applying the manifests printed.
    pub applied: Outcome,
}

impl Cluster {
    /// Starts a control plane without controllers and applies `deploy/autoscaler`.
    ///
    /// # Errors
    /// When a part does not start, or a manifest is refused.
    pub async fn start(tidegate: PathBuf) -> Result<Self> {
        let options = testkit::kube::Options {
            audit: true,
            ..Default::default()
        };
        let plane = ControlPlane::start(&options).await?;
        let folder = tempfile::Builder::new().prefix("tidegate-control-").tempdir()?;
        let kubectl = Binaries::find()?.path("kubectl");
        let admin = |line: &str| testkit::kubectl(&kubectl, plane.kubeconfig(), line);

        let crds = tokio::process::Command::new(&tidegate).arg("crds").output().await?;
        let crds = String::from_utf8(crds.stdout)?;
        admin("apply -f -").input(crds).run().await?.success()?;
        admin("apply -f -")
            .input(objects::scaled_objects().to_string())
            .run()
            .await?
            .success()?;
        admin("wait --for=condition=Established crd --all --timeout=30s")
            .run()
            .await?
            .success()?;
        let manifests = testkit::root()?.join("deploy/autoscaler");
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
        let free = TcpListener::bind("127.0.0.2:0").await?.local_addr()?;
        Ok(Self {
            port: free.port(),
            account: account.kubeconfig().to_owned(),
            tidegate,
            kubectl,
            plane,
            folder,
            applied,
        })
    }

    /// The program under test.
    #[must_use]
    pub fn tidegate(&self) -> &Path {
        &self.tidegate
    }

    /// The control plane's audit log so far.
    #[must_use]
    pub fn audit(&self) -> String {
        self.plane.audit()
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

    /// Starts `tidegate autoscaler` as the service account, known by a kubeconfig.
    ///
    /// # Errors
    /// When it ends, or says no address in time.
    pub async fn autoscaler(&self, name: &str) -> Result<Autoscaler> {
        let mut command = tokio::process::Command::new(&self.tidegate);
        self.configure(&mut command, name)
            .arg("--system-namespace=tidegate-system")
            .arg("--kubeconfig")
            .arg(&self.account);
        Autoscaler::start(name, command, self.folder.path()).await
    }

    /// Starts it as a Pod of the manifests would: the service account is
    /// mounted where every container has it, and its namespace is the system's.
    ///
    /// # Errors
    /// When it ends, or says no address in time.
    pub async fn autoscaler_in_a_pod(&self, name: &str) -> Result<Autoscaler> {
        let kubeconfig: Value = serde_json::from_str(&std::fs::read_to_string(&self.account)?)?;
        let cluster = &kubeconfig["clusters"][0]["cluster"];
        let server: http::Uri = self.plane.access().server().parse()?;
        let authority = cluster["certificate-authority"].as_str().context("no authority")?;
        let token = kubeconfig["users"][0]["user"]["token"].as_str().context("no token")?;
        let mounted = self.folder.path().join("serviceaccount");
        std::fs::create_dir_all(&mounted)?;
        std::fs::copy(authority, mounted.join("ca.crt"))?;
        std::fs::write(mounted.join("token"), token)?;
        std::fs::write(mounted.join("namespace"), "tidegate-system")?;
        let mut command = tokio::process::Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "sh", "-ec", IN_A_POD, "sh"])
            .args([mounted.as_path(), &self.tidegate])
            .env("KUBERNETES_SERVICE_HOST", server.host().unwrap_or_default())
            .env("KUBERNETES_SERVICE_PORT", server.port_u16().unwrap_or(443).to_string());
        self.configure(&mut command, name);
        Autoscaler::start(name, command, self.folder.path()).await
    }

    fn configure<'c>(&self, command: &'c mut tokio::process::Command, name: &str) -> &'c mut tokio::process::Command {
        let terms = [
            format!("--leader-election-lease-duration={}s", LEASE.as_secs()),
            format!("--leader-election-renew-deadline={}s", LEASE.as_secs() - 1),
            format!("--leader-election-retry-period={}ms", RETRY.as_millis()),
        ];
        command
            .args([
                "autoscaler",
                "--leader-elect",
                "--actuator=direct",
                "--scale-down-after=5m",
            ])
            .args(terms)
            .arg("--external-metrics-listen")
            .arg(self.address_of(name).to_string())
            .env("POD_NAME", name)
    }

    /// Where an autoscaler answers for HPAs: on an address of its own, as a Pod has.
    #[must_use]
    pub fn address_of(&self, name: &str) -> SocketAddr {
        let host = if name == "one" { 2 } else { 3 };
        ([127, 0, 0, host], self.port).into()
    }

    /// The Pod that an autoscaler would run in.
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn pod_of(&self, name: &str) -> Result<()> {
        let restricted = json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
        self.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "tidegate-system"},
            "spec": {"nodeName": "nowhere", "containers": [{"name": "autoscaler", "image": "tidegate", "securityContext": restricted}]}}))
            .await?;
        let ip = self.address_of(name).ip().to_string();
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}});
        self.kubectl(&format!(
            "patch pod {name} -n tidegate-system --subresource=status --type=merge -p '{status}'"
        ))
        .await
        .map(drop)
    }

    /// What an autoscaler answers to an HPA that asks for a variant's replicas.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn external_metric(&self, name: &str, variant: &str) -> Result<String> {
        let mut config = kube::Config::new(format!("https://{}", self.address_of(name)).parse()?);
        config.accept_invalid_certs = true;
        config.connect_timeout = Some(Duration::from_secs(2));
        let path = format!(
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/wva_desired_replicas?labelSelector=variant_name%3D{variant}"
        );
        let answer: Value = kube::Client::try_from(config)?
            .request(http::Request::get(path).body(Vec::new())?)
            .await?;
        Ok(answer["items"][0]["value"].as_str().unwrap_or_default().to_owned())
    }

    /// A Pod that runs nowhere, with a page of metrics that we serve.
    ///
    /// # Errors
    /// When the API refuses it.
    pub async fn replica(&self, app: &str, name: &str) -> Result<Replica> {
        let (page, address) = Page::bind().await?;
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
        Ok(Replica {
            page,
            port: address.port(),
        })
    }
}

/// A Pod's page of metrics, set by the scenario.
#[derive(Debug)]
pub struct Replica {
    page: Page,
    port: u16,
}

impl Replica {
    /// What it says from now on, as an endpoint picker would that holds so many
    /// requests for `model`.
    pub fn hold(&self, model: &str, queued: u32) {
        self.page.show(&format!(
            "# TYPE llm_d_epp_flow_control_queue_size gauge\n\
             llm_d_epp_flow_control_queue_size{{fairness_id=\"a\",model_name=\"{model}\",target_model_name=\"{model}\"}} {queued}\n"
        ));
    }

    /// What it says from now on, as vLLM would.
    pub fn tell(&self, kv: f64, running: u32, waiting: u32) {
        let sample = |name: &str, value: f64| {
            format!("# TYPE vllm:{name} gauge\nvllm:{name}{{engine=\"0\",model_name=\"llama\"}} {value}\n")
        };
        let page = sample("kv_cache_usage_perc", kv)
            + &sample("num_requests_running", f64::from(running))
            + &sample("num_requests_waiting", f64::from(waiting));
        self.page.show(&page);
    }
}
