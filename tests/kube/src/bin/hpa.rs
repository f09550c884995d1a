//! The real HPA controller scales by our external metrics: through the real
//! aggregation layer, with the manifests of `docs/scaling/hpa.md`.
#![expect(clippy::print_stdout, reason = "the report goes to standard output")]

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use publish::{Config, Decided, Decisions, ExternalMetrics, FrontProxy, KeyFiles, Published, Running, Target};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use testkit::kube::{Binaries, ControlPlane, Options};
use testkit::{Outcome, wait_for};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long the API server and its controllers may take on a busy machine for
/// what takes them a moment.
const SOON: Duration = Duration::from_secs(60);
/// How long the HPA controller may take: several of its passes of 15 s.
const PASSES: Duration = Duration::from_secs(150);
/// How long a decision holds here. Every wait of a scenario renews it.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// The variant of the page, and what is decided for it.
struct Shop {
    variant: Mutex<Arc<[Published]>>,
    version: watch::Sender<u64>,
}

impl Decisions for Shop {
    fn variants(&self) -> Arc<[Published]> {
        self.variant.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

impl Shop {
    fn new() -> Arc<Self> {
        let shop = Arc::new(Self {
            variant: Mutex::new(Arc::new([])),
            version: watch::Sender::new(0),
        });
        shop.decide(None);
        shop
    }

    fn decide(&self, replicas: Option<u32>) {
        let name = "llama-l4".to_owned();
        let variant = Published {
            namespace: "default".to_owned(),
            name: name.clone(),
            accelerator: Some("L4".to_owned()),
            model: "llama".to_owned(),
            decided: replicas.map(|replicas| Decided {
                replicas,
                at: Instant::now(),
            }),
            current: Some(2),
            active: true,
            controller_instance: None,
            target: Target {
                kind: "Deployment".to_owned(),
                name,
            },
        };
        *self.variant.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new([variant]);
        self.version.send_modify(|version| *version += 1);
    }
}

struct Ground {
    plane: ControlPlane,
    kubectl: PathBuf,
    shop: Arc<Shop>,
    port: u16,
    _running: Running,
}

/// Serves to the front proxy of `plane` alone; the port it got.
async fn open(plane: &ControlPlane, shop: &Arc<Shop>, certificate: Option<KeyFiles>) -> Result<(Running, u16)> {
    let metrics = ExternalMetrics {
        certificate,
        front_proxy: Some(FrontProxy {
            authority: plane.front_proxy_authority().to_owned(),
            allowed_names: vec!["front-proxy-client".to_owned()],
        }),
        ..ExternalMetrics::on("127.0.0.1:0".parse()?)
    };
    let config = Config {
        external_metrics: Some(metrics),
        stale_after: STALE_AFTER,
        ..Config::default()
    };
    let running = publish::serve(config, shop.clone(), CancellationToken::new()).await?;
    let port = running.external_metrics.context("nothing is served")?.port();
    Ok((running, port))
}

/// What the HPA of the page says of itself.
struct Autoscaler {
    scaling_active: String,
    reason: String,
    message: String,
    replicas: u64,
}

impl Ground {
    async fn prepare() -> Result<Self> {
        let plane = ControlPlane::start(&Options {
            scheduler: false,
            controller_manager: true,
            audit: false,
        })
        .await?;
        let shop = Shop::new();
        let (running, port) = open(&plane, &shop, None).await?;
        Ok(Self {
            kubectl: Binaries::find()?.path("kubectl"),
            plane,
            shop,
            port,
            _running: running,
        })
    }

    async fn kubectl(&self, line: &str) -> Result<Outcome> {
        testkit::kubectl(&self.kubectl, self.plane.kubeconfig(), line)
            .run()
            .await
    }

    async fn apply(&self, manifest: &str) -> Result<()> {
        let applied = testkit::kubectl(&self.kubectl, self.plane.kubeconfig(), "apply --validate=strict -f -")
            .input(manifest)
            .run()
            .await?;
        applied.success().with_context(|| manifest.to_owned())?;
        Ok(())
    }

    /// Sends the API server to `port` of this machine, as the page does to the
    /// Service; with an authority, as the page says for a certificate of one's own.
    async fn register(&self, port: u16, authority: Option<&str>) -> Result<()> {
        // In place of the page's Service, which selects Pods: this test runs outside of the cluster.
        let service = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: tidegate, namespace: tidegate-system}}, \
             spec: {{type: ExternalName, externalName: localhost, ports: [{{port: {port}}}]}}}}"
        );
        self.apply(&service).await?;
        let mut registered = replaced(&manifest("APIService")?, "port: 443\n", &format!("port: {port}\n"))?;
        if let Some(authority) = authority {
            let bundle = format!("caBundle: {}\n", STANDARD.encode(authority));
            registered = replaced(&registered, "insecureSkipTLSVerify: true\n", &bundle)?;
        }
        self.apply(&registered).await
    }

    async fn raw(&self, path: &str) -> Result<Outcome> {
        self.kubectl(&format!("get --raw '{path}'")).await
    }

    async fn autoscaler(&self) -> Option<Autoscaler> {
        let outcome = self.kubectl("get hpa llama-l4 -o json").await.ok()?;
        let hpa: Value = serde_json::from_str(&outcome.stdout).ok()?;
        let conditions = hpa["status"]["conditions"].as_array()?;
        let active = conditions
            .iter()
            .find(|condition| condition["type"] == "ScalingActive")?;
        let text = |name: &str| active[name].as_str().unwrap_or_default().to_owned();
        Some(Autoscaler {
            scaling_active: text("status"),
            reason: text("reason"),
            message: text("message"),
            replicas: self.replicas().await?,
        })
    }

    async fn replicas(&self) -> Option<u64> {
        let outcome = self.kubectl("get deployment llama-l4 -o json").await.ok()?;
        let deployment: Value = serde_json::from_str(&outcome.stdout).ok()?;
        // The HPA compares with the replicas that are there, not those asked for.
        (deployment["spec"]["replicas"] == deployment["status"]["replicas"])
            .then(|| deployment["spec"]["replicas"].as_u64())?
    }

    /// Keeps a decision fresh until the HPA is as wanted.
    async fn until(&self, decided: Option<u32>, wanted: impl Fn(&Autoscaler) -> bool) -> Result<Autoscaler> {
        let mut last = String::new();
        let seen = wait_for(PASSES, async || {
            if decided.is_some() {
                self.shop.decide(decided);
            }
            let now = self.autoscaler().await?;
            last = format!(
                "{} replicas, ScalingActive {} {}: {}",
                now.replicas, now.scaling_active, now.reason, now.message
            );
            wanted(&now).then_some(now)
        })
        .await;
        match seen {
            Ok(seen) => Ok(seen),
            Err(_) => bail!("not so within {PASSES:?}; last: {last}"),
        }
    }
}

fn replaced(text: &str, from: &str, to: &str) -> Result<String> {
    ensure!(text.contains(from), "{from:?} is not in the page's manifest");
    Ok(text.replace(from, to))
}

fn page() -> Result<PathBuf> {
    Ok(testkit::root()?.join("docs/scaling/hpa.md"))
}

/// The manifest of this kind in the page.
fn manifest(kind: &str) -> Result<String> {
    let page = page()?;
    let text = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let wanted = format!("kind: {kind}\n");
    text.split("```yaml\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .find(|block| block.contains(&wanted))
        .map(str::to_owned)
        .with_context(|| format!("{} has no {kind}", page.display()))
}

const METRIC: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/wva_desired_replicas\
                      ?labelSelector=variant_name%3Dllama-l4";

/// Where the page says the authority is to be had.
async fn the_authority_is_where_the_page_finds_it(ground: &Ground) -> Result<String> {
    let page = std::fs::read_to_string(page()?)?;
    let line = "kubectl -n kube-system get configmap extension-apiserver-authentication \
                -o jsonpath='{.data.requestheader-client-ca-file}'";
    ensure!(page.contains(line), "the page does not say {line}");
    let found = wait_for(SOON, async || {
        let found = ground.kubectl(line.strip_prefix("kubectl ")?).await.ok()?.stdout;
        (!found.is_empty()).then_some(found)
    });
    let found = found.await.context("there is no authority")?;
    let known = std::fs::read_to_string(ground.plane.front_proxy_authority())?;
    ensure!(found.trim() == known.trim(), "it is another: {found}");
    Ok(format!("{} bytes", found.len()))
}

async fn the_aggregation_layer_reaches_us(ground: &Ground) -> Result<String> {
    ground
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: tidegate-system}}")
        .await?;
    let began = Instant::now();
    ground.register(ground.port, None).await?;
    let waited = ground
        .kubectl("wait --for=condition=Available --timeout=60s apiservice/v1beta1.external.metrics.k8s.io")
        .await?;
    waited.success()?;
    let took = began.elapsed().as_secs_f64();
    let listed = wait_for(SOON, async || {
        let listed = ground
            .kubectl("api-resources --api-group=external.metrics.k8s.io -o name")
            .await
            .ok()?;
        listed.stdout.contains("wva_desired_replicas").then_some(listed.stdout)
    });
    let listed = listed
        .await
        .context("kubectl api-resources does not list the metrics")?;
    Ok(format!(
        "available after {took:.1} s, {} metrics",
        listed.lines().count()
    ))
}

async fn values_and_refusals_come_through_the_api_server(ground: &Ground) -> Result<String> {
    ground.shop.decide(Some(2));
    let list: Value = serde_json::from_str(&ground.raw(METRIC).await?.success()?)?;
    ensure!(
        list["items"][0]["value"] == "2" && list["items"][0]["metricLabels"]["variant_name"] == "llama-l4",
        "{list}"
    );
    for (path, said) in [
        (METRIC.replace("desired_replicas", "typo"), "wva_current_replicas"),
        (METRIC.replace("%3D", "%3E"), "labelSelector"),
    ] {
        let refused = ground.raw(&path).await?;
        ensure!(
            refused.code != 0 && refused.stderr.contains(said),
            "{path}: {refused:?}"
        );
    }
    ground.shop.decide(None);
    Ok("a list, a metric that is not there, a selector that is none".to_owned())
}

async fn without_a_decision_the_hpa_says_so_and_holds(ground: &Ground) -> Result<String> {
    ground
        .apply(
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: llama-l4, namespace: default}, spec: {replicas: 2, \
             selector: {matchLabels: {app: llama-l4}}, template: {metadata: {labels: {app: llama-l4}}, \
             spec: {containers: [{name: server, image: example.org/none}]}}}}",
        )
        .await?;
    let hpa = manifest("HorizontalPodAutoscaler")?;
    ground.apply(&hpa).await?;
    let kept = ground.kubectl("get hpa llama-l4 -o json").await?.success()?;
    let kept: Value = serde_json::from_str(&kept)?;
    ensure!(
        kept["spec"]["behavior"]["scaleUp"]["tolerance"] == "0",
        "the tolerance of the page was dropped: {kept}"
    );
    let seen = ground.until(None, |now| now.scaling_active == "False").await?;
    ensure!(
        seen.replicas == 2 && seen.reason == "FailedGetExternalMetric",
        "{} replicas, {}",
        seen.replicas,
        seen.reason
    );
    ensure!(seen.message.contains("no decision yet"), "{}", seen.message);
    Ok(seen.message)
}

async fn scales_to(ground: &Ground, replicas: u32) -> Result<String> {
    let began = Instant::now();
    let wanted = u64::from(replicas);
    ground
        .until(Some(replicas), |now| {
            now.replicas == wanted && now.scaling_active == "True"
        })
        .await?;
    Ok(format!("after {:.0} s", began.elapsed().as_secs_f64()))
}

async fn two_become_five(ground: &Ground) -> Result<String> {
    scales_to(ground, 5).await
}

async fn five_become_three(ground: &Ground) -> Result<String> {
    scales_to(ground, 3).await
}

/// Less than a tenth is what an HPA ignores unless told otherwise.
async fn twelve_become_thirteen(ground: &Ground) -> Result<String> {
    scales_to(ground, 12).await?;
    scales_to(ground, 13).await
}

async fn a_decision_that_grows_old_holds_the_replicas(ground: &Ground) -> Result<String> {
    ground.shop.decide(Some(1));
    let old = Instant::now() - STALE_AFTER - Duration::from_secs(1);
    let stale = |variant: &Published| Published {
        decided: Some(Decided { replicas: 1, at: old }),
        ..variant.clone()
    };
    let variants: Vec<Published> = ground.shop.variants().iter().map(stale).collect();
    *ground.shop.variant.lock().unwrap_or_else(PoisonError::into_inner) = variants.into();
    ground.shop.version.send_modify(|version| *version += 1);
    let seen = ground.until(None, |now| now.scaling_active == "False").await?;
    ensure!(seen.message.contains("was last decided"), "{}", seen.message);
    ensure!(seen.replicas == 13, "{} replicas", seen.replicas);
    Ok(seen.message)
}

async fn with_a_certificate_of_our_own_the_api_server_verifies_us(ground: &Ground) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed(vec!["tidegate.tidegate-system.svc".to_owned()])?;
    let stranger = rcgen::generate_simple_self_signed(vec!["tidegate.tidegate-system.svc".to_owned()])?;
    let files = KeyFiles {
        certificate: folder.path().join("tls.crt"),
        key: folder.path().join("tls.key"),
    };
    std::fs::write(&files.certificate, made.cert.pem())?;
    std::fs::write(&files.key, made.signing_key.serialize_pem())?;
    let shop = Shop::new();
    let (_running, port) = open(&ground.plane, &shop, Some(files)).await?;

    ground.register(port, Some(&stranger.cert.pem())).await?;
    let refused = ground
        .kubectl("wait --for=condition=Available=false --timeout=60s apiservice/v1beta1.external.metrics.k8s.io")
        .await?;
    refused.success().context("a stranger's certificate was taken")?;
    let began = Instant::now();
    ground.register(port, Some(&made.cert.pem())).await?;
    let value = wait_for(SOON, async || {
        shop.decide(Some(7));
        let list: Value = serde_json::from_str(&ground.raw(METRIC).await.ok()?.stdout).ok()?;
        list["items"][0]["value"].as_str().map(str::to_owned)
    });
    let value = value.await.context("with its authority it is not reached")?;
    ensure!(value == "7", "the value is {value}");
    Ok(format!("reached after {:.1} s", began.elapsed().as_secs_f64()))
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let ground = Ground::prepare().await?;
    let (mut passed, mut failed) = (0, 0);
    macro_rules! scenario {
        ($scenario:ident) => {
            let name = stringify!($scenario).replace('_', "-");
            match $scenario(&ground).await {
                Ok(figures) => {
                    passed += 1;
                    println!("ok   {name}: {figures}");
                }
                Err(error) => {
                    failed += 1;
                    println!("FAIL {name}: {error:#}");
                }
            }
        };
    }
    scenario!(the_authority_is_where_the_page_finds_it);
    scenario!(the_aggregation_layer_reaches_us);
    scenario!(values_and_refusals_come_through_the_api_server);
    scenario!(without_a_decision_the_hpa_says_so_and_holds);
    scenario!(two_become_five);
    scenario!(five_become_three);
    scenario!(twelve_become_thirteen);
    scenario!(a_decision_that_grows_old_holds_the_replicas);
    scenario!(with_a_certificate_of_our_own_the_api_server_verifies_us);
    println!("hpa: {passed} passed, {failed} failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
