//! Serves decisions to KEDA's own client and judges what that makes of them.
//! And compares formulas with KEDA's own code.
//! `tests/keda/run.sh` builds the client and runs this with its path.
#![expect(clippy::print_stdout, reason = "the report goes to standard output")]

mod formulas;

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;
use publish::{Config, Decided, Decisions, Keda, KeyFiles, Published, Running, Target, serve};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long one answer may take; KEDA's client asks a lost server again after two seconds.
const SOON: Duration = Duration::from_secs(30);
/// How soon work for a variant at zero must have reached KEDA.
const AT_ONCE: Duration = Duration::from_millis(50);

struct Shop {
    variants: Mutex<Arc<[Published]>>,
    version: watch::Sender<u64>,
}

impl Decisions for Shop {
    fn variants(&self) -> Arc<[Published]> {
        self.variants.lock().clone()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

impl Shop {
    fn set(&self, variants: Vec<Published>) {
        *self.variants.lock() = variants.into();
        self.version.send_modify(|version| *version += 1);
    }
}

fn variant(name: &str, replicas: Option<u32>, active: bool) -> Published {
    let at = Instant::now();
    Published {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        accelerator: Some("L4".to_owned()),
        model: "llama".to_owned(),
        decided: replicas.map(|replicas| Decided { replicas, at }),
        current: None,
        active,
        controller_instance: None,
        target: Target {
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
        },
    }
}

/// A scaler that serves, and the client to ask it with.
struct Bench {
    probe: PathBuf,
    shop: Arc<Shop>,
    address: SocketAddr,
    running: Running,
    stop: CancellationToken,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn open(probe: &Path, tls: bool, listen: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let shop = Arc::new(Shop {
            variants: Mutex::new(Arc::new([])),
            version: watch::Sender::new(0),
        });
        let mut keda = Keda::on(listen);
        if tls {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
            let files = KeyFiles {
                certificate: folder.path().join("tls.crt"),
                key: folder.path().join("tls.key"),
            };
            std::fs::write(&files.certificate, made.cert.pem())?;
            std::fs::write(&files.key, made.signing_key.serialize_pem())?;
            keda.certificate = Some(files);
        }
        let config = Config {
            keda: Some(keda),
            ..Config::default()
        };
        let stop = CancellationToken::new();
        let running = serve(config, shop.clone(), stop.clone()).await?;
        Ok(Self {
            probe: probe.to_owned(),
            shop,
            address: running.keda.context("the scaler does not listen")?,
            running,
            stop,
            folder,
        })
    }

    /// As [`Self::open`] in plain text, with the variants most claims are about.
    async fn usual(probe: &Path) -> Result<Self> {
        let bench = Self::open(probe, false, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let mut old = variant("old", Some(4), true);
        old.decided = Some(Decided {
            replicas: 4,
            at: Instant::now()
                .checked_sub(Duration::from_secs(61))
                .context("this machine has just started")?,
        });
        bench.shop.set(vec![
            variant("llama", Some(4), true),
            variant("idle", Some(0), false),
            variant("new", None, true),
            old,
        ]);
        Ok(bench)
    }

    fn command(&self, metadata: &Value, flags: &[&str]) -> Command {
        let mut command = Command::new(&self.probe);
        command
            .args(["-namespace", "shop", "-metadata", &metadata.to_string()])
            .arg("-address")
            .arg(format!("localhost:{}", self.address.port()))
            .args(flags)
            .kill_on_drop(true);
        command
    }

    /// What the client prints to one question.
    async fn ask(&self, metadata: Value, flags: &[&str]) -> Result<Value> {
        let output = tokio::time::timeout(SOON, self.command(&metadata, flags).output()).await??;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{metadata} {flags:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The error that the client made of the metrics of a trigger.
    async fn refused(&self, metadata: Value) -> Result<String> {
        let answer = self.ask(metadata, &["metrics"]).await?;
        ensure!(answer["values"] == json!([]), "there are values: {answer}");
        ensure!(answer["active"] == false, "it is active: {answer}");
        Ok(answer["error"].as_str().context("there is no error")?.to_owned())
    }

    fn watch(&self, name: &str) -> Result<Push> {
        let mut child = self
            .command(&json!({ "variantName": name }), &["watch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        Ok(Push { child, lines })
    }
}

/// A push trigger that listens.
struct Push {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Push {
    async fn heard(&mut self) -> Result<bool> {
        let line = tokio::time::timeout(SOON, self.lines.next_line())
            .await
            .context("nothing was pushed")??;
        let line: Value = serde_json::from_str(&line.context("the client ended")?)?;
        line["active"].as_bool().context("no activity")
    }

    /// Closes its input, at which it ends by itself.
    async fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = tokio::time::timeout(SOON, self.child.wait()).await??;
        ensure!(status.success(), "the client ended with {status}");
        Ok(())
    }
}

fn says(error: &str, words: &[&str]) -> Result<String> {
    for word in words {
        ensure!(error.contains(word), "{word:?} is not in {error:?}");
    }
    Ok(error.to_owned())
}

async fn the_hpa_aims_at_one_unit_per_replica(probe: &Path) -> Result<String> {
    let bench = Bench::usual(probe).await?;
    for (metadata, flags, name, target) in [
        (
            json!({ "variantName": "llama" }),
            ["-index", "0", "spec"],
            "s0-wva_desired_replicas",
            "1",
        ),
        (
            json!({ "variantName": "new" }),
            ["-index", "3", "spec"],
            "s3-wva_desired_replicas",
            "1",
        ),
        (
            json!({ "variantName": "llama", "targetValue": "0.5" }),
            ["-index", "0", "spec"],
            "s0-wva_desired_replicas",
            "500m",
        ),
    ] {
        let spec = bench.ask(metadata, &flags).await?;
        let external = &spec[0]["external"];
        ensure!(external["metric"]["name"] == name, "{spec}");
        ensure!(
            external["target"] == json!({ "type": "AverageValue", "averageValue": target }),
            "{spec}"
        );
    }
    Ok("AverageValue 1, whichever trigger it is".to_owned())
}

async fn the_value_is_the_replicas_wanted(probe: &Path) -> Result<String> {
    let bench = Bench::usual(probe).await?;
    for (name, milli, active) in [("llama", 4000, true), ("idle", 0, false)] {
        let answer = bench.ask(json!({ "variantName": name }), &["metrics"]).await?;
        let expected = json!([{ "name": "s0-wva_desired_replicas", "milli": milli }]);
        ensure!(answer["values"] == expected && answer["active"] == active, "{answer}");
    }
    let elsewhere = json!({ "variantName": "llama", "namespace": "shop" });
    let answer = bench.ask(elsewhere, &["-namespace", "other", "metrics"]).await?;
    ensure!(answer["values"][0]["milli"] == 4000, "{answer}");
    Ok("4 and 0, from another namespace too".to_owned())
}

async fn what_is_not_known_is_an_error_for_the_fallback(probe: &Path) -> Result<String> {
    let bench = Bench::usual(probe).await?;
    says(
        &bench.refused(json!({ "variantName": "new" })).await?,
        &["Unavailable", "no decision yet"],
    )?;
    says(
        &bench.refused(json!({ "variantName": "gone" })).await?,
        &["NotFound", "shop/gone"],
    )?;
    says(
        &bench.refused(json!({ "variantName": "old" })).await?,
        &["Unavailable", "ago, longer than"],
    )
}

async fn an_unknown_key_is_refused_by_name(probe: &Path) -> Result<String> {
    let bench = Bench::usual(probe).await?;
    let typo = json!({ "variantName": "llama", "treshold": "1" });
    says(
        &bench.refused(typo).await?,
        &["InvalidArgument", "scalerMetadata.treshold", "targetValue"],
    )
}

async fn work_reaches_a_push_trigger_at_once(probe: &Path) -> Result<String> {
    let bench = Bench::usual(probe).await?;
    let mut push = bench.watch("idle")?;
    ensure!(!push.heard().await?, "it began with work");
    let mut took = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        bench.shop.set(vec![variant("idle", None, true)]);
        ensure!(push.heard().await?, "work was told as none");
        took.push(began.elapsed());
        bench.shop.set(vec![variant("idle", Some(0), false)]);
        ensure!(!push.heard().await?, "no work was told as some");
    }
    push.end().await?;
    took.sort();
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    ensure!(median <= AT_ONCE, "the median is {median:?}, the longest {worst:?}");
    Ok(format!("median {median:.1?}, longest {worst:.1?} of {}", took.len()))
}

async fn a_push_trigger_finds_a_scaler_that_comes_back(probe: &Path) -> Result<String> {
    let first = Bench::usual(probe).await?;
    let mut push = first.watch("idle")?;
    ensure!(!push.heard().await?, "it began with work");
    first.stop.cancel();
    tokio::time::timeout(SOON, first.running.stopped()).await?;
    let began = Instant::now();
    let second = Bench::open(probe, false, first.address).await?;
    second.shop.set(vec![variant("idle", Some(1), true)]);
    ensure!(push.heard().await?, "work was told as none");
    push.end().await?;
    Ok(format!("{:.1?} after it came back", began.elapsed()))
}

async fn over_tls_the_certificate_counts(probe: &Path) -> Result<String> {
    let bench = Bench::open(probe, true, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    bench.shop.set(vec![variant("llama", Some(4), true)]);
    let llama = || json!({ "variantName": "llama" });
    let authority = bench.folder.path().join("tls.crt").display().to_string();
    let answer = bench.ask(llama(), &["-ca", &authority, "metrics"]).await?;
    ensure!(answer["values"][0]["milli"] == 4000, "{answer}");
    let other = Bench::open(probe, true, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let stranger = other.folder.path().join("tls.crt").display().to_string();
    let answer = bench.ask(llama(), &["-ca", &stranger, "metrics"]).await?;
    says(answer["error"].as_str().unwrap_or_default(), &["certificate"])?;
    bench.refused(llama()).await.context("in plain text")?;
    Ok("by the right authority only".to_owned())
}

/// The ScaledObjects of the page, through KEDA's own types and checks, and
/// their triggers as they stand but for the address.
async fn the_manifests_of_the_page_are_what_keda_takes(probe: &Path) -> Result<String> {
    let bench = Bench::open(probe, false, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    bench.shop.set(
        ["llama-l4", "llama-h100"]
            .iter()
            .map(|name| Published {
                namespace: "default".to_owned(),
                ..variant(name, Some(3), true)
            })
            .collect(),
    );
    // From the root of the checkout, where the suite is run.
    let page = Path::new("docs/scaling/keda.md");
    let page = std::fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let blocks = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|block| block.split("```").next());
    let mut names = Vec::new();
    for manifest in blocks.filter(|manifest| manifest.contains("kind: ScaledObject")) {
        let mut child = Command::new(probe)
            .arg("manifest")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(manifest.as_bytes()).await?;
        drop(stdin);
        let output = tokio::time::timeout(SOON, child.wait_with_output()).await??;
        let understood: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let namespace = understood["metadata"]["namespace"].as_str().context("no namespace")?;
        let metadata = understood["spec"]["triggers"][0]["metadata"].clone();
        let answer = bench.ask(metadata, &["-namespace", namespace, "metrics"]).await?;
        ensure!(
            answer["values"][0]["milli"] == 3000 && answer["active"] == true,
            "{answer}"
        );
        names.push(understood["metadata"]["name"].as_str().context("no name")?.to_owned());
    }
    ensure!(names == ["llama-l4", "llama-h100"], "{names:?}");
    Ok(names.join(", "))
}

/// KEDA composes triggers by formulas, and so does our core of its arithmetic.
async fn formulas_come_to_the_same(probe: &Path) -> Result<String> {
    let probe = probe.to_owned();
    tokio::task::spawn_blocking(move || formulas::compared(&probe)).await?
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [probe] = &arguments[..] else {
        bail!("give the path of the probe that tests/keda/install.sh builds; tests/keda/run.sh does");
    };
    let (mut passed, mut failed) = (0, 0);
    macro_rules! claim {
        ($claim:ident) => {
            let name = stringify!($claim).replace('_', "-");
            match $claim(probe).await {
                Ok(seen) => {
                    passed += 1;
                    println!("ok   {name}: {seen}");
                }
                Err(error) => {
                    failed += 1;
                    println!("FAIL {name}: {error:#}");
                }
            }
        };
    }
    claim!(the_hpa_aims_at_one_unit_per_replica);
    claim!(the_value_is_the_replicas_wanted);
    claim!(what_is_not_known_is_an_error_for_the_fallback);
    claim!(an_unknown_key_is_refused_by_name);
    claim!(work_reaches_a_push_trigger_at_once);
    claim!(a_push_trigger_finds_a_scaler_that_comes_back);
    claim!(over_tls_the_certificate_counts);
    claim!(the_manifests_of_the_page_are_what_keda_takes);
    claim!(formulas_come_to_the_same);
    println!("keda: {passed} passed, {failed} failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
