//! One `tidegate up` under test, on the embedded API or on a real control plane.

pub mod autoscaler;
pub mod page;
pub mod process;
pub mod web;

use anyhow::{Context as _, Result, bail, ensure};
use process::{Mark, Signal, descendants, marks_alive, signal};
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testkit::kube::{Binaries, ControlPlane};
use testkit::{Outcome, wait_for, wait_until};

/// How long a fleet may take to be up on a busy machine.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long processes may take to be gone after a kill.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// Where scenarios run: the programs, and the control plane if it is a real one.
#[derive(Debug)]
pub struct Ground {
    /// The `tidegate` program.
    pub tidegate: PathBuf,
    /// The kubectl program.
    pub kubectl: PathBuf,
    /// The control plane in place of the embedded one.
    pub plane: Option<ControlPlane>,
}

impl Ground {
    /// Finds the programs; starts a real control plane when asked for.
    ///
    /// # Errors
    /// When a program is missing or the control plane does not start.
    pub async fn prepare(tidegate: PathBuf, real: bool) -> Result<Self> {
        ensure!(tidegate.is_file(), "TIDEGATE_BIN={} is no file", tidegate.display());
        let kubectl = Binaries::find()?.path("kubectl");
        let options = testkit::kube::Options {
            scheduler: true,
            controller_manager: true,
            ..Default::default()
        };
        let plane = if real {
            Some(ControlPlane::start(&options).await?)
        } else {
            None
        };
        Ok(Self {
            tidegate,
            kubectl,
            plane,
        })
    }
}

/// Addresses of a running fleet.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// `http://IP:PORT/v1`.
    pub gateway: String,
    /// `http://IP:PORT` of the gateway's numbers.
    pub gateway_admin: String,
    /// `http://IP:PORT` of the autoscaler's numbers.
    pub autoscaler: String,
    /// `http://IP:PORT` of the API.
    pub kubernetes: String,
    /// All `IP:PORT` it listens on.
    pub listening: Vec<String>,
    /// The kubeconfig to use.
    pub kubeconfig: PathBuf,
}

/// A folder with a fleet's state, in which `tidegate up` runs or ran.
#[derive(Debug)]
pub struct Arena<'a> {
    ground: &'a Ground,
    folder: TempDir,
    fleet: Option<String>,
    flags: Vec<String>,
    /// Second octet of the replicas' addresses: fleets on one machine keep apart.
    octet: u8,
}

/// A running `tidegate up`. Dropping it kills it.
#[derive(Debug)]
pub struct Up {
    child: tokio::process::Child,
    pid: u32,
    /// When the process was started.
    pub started: Instant,
    /// Where it listens.
    pub addresses: Addresses,
    kubectl: PathBuf,
}

impl<'a> Arena<'a> {
    /// A new folder; `fleet` is a fleet file's text, none for the built-in fleet.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn new(ground: &'a Ground, fleet: Option<&str>, flags: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tidegate-loop-").tempdir()?;
        if let Some(text) = fleet {
            std::fs::write(folder.path().join("fleet.yaml"), text)?;
        }
        let octet = 80 + u8::try_from(std::process::id() % 150)?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Ok(Self {
            ground,
            folder,
            fleet: fleet.map(str::to_owned),
            flags,
            octet,
        })
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A place for a file of the scenario.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Everything the fleet wrote to its log and to its terminal.
    #[must_use]
    pub fn log(&self) -> String {
        let mut text = std::fs::read_to_string(self.file("terminal")).unwrap_or_default();
        let log = self.data().join("log");
        let mut files = vec![log.clone()];
        files.extend(
            std::fs::read_dir(log)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path()),
        );
        for file in files {
            text.push_str(&std::fs::read_to_string(file).unwrap_or_default());
        }
        text
    }

    /// Starts `tidegate up` on free ports and waits for its addresses.
    ///
    /// # Errors
    /// When it ends or is not up in time, with what it printed.
    pub async fn up(&self) -> Result<Up> {
        self.up_on(&[
            "127.0.0.1:0".to_owned(),
            "127.0.0.1:0".to_owned(),
            "127.0.0.1:0".to_owned(),
            "127.0.0.1:0".to_owned(),
        ])
        .await
    }

    /// Starts it on given addresses: gateway, page, gateway's metrics, API.
    ///
    /// # Errors
    /// As [`Self::up`].
    pub async fn up_on(&self, listen: &[String; 4]) -> Result<Up> {
        let terminal = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.file("terminal"))?;
        let endpoints = self.data().join("endpoints.json");
        // One of a killed fleet would be taken for the new one's.
        let _ = std::fs::remove_file(&endpoints);
        let mut command = tokio::process::Command::new(&self.ground.tidegate);
        command.arg("up").arg("--data-dir").arg(self.data());
        command.args([
            "--listen",
            &listen[0],
            "--dashboard",
            &listen[1],
            "--gateway-admin",
            &listen[2],
            "--autoscaler-admin",
            "127.0.0.1:0",
            "--keda-listen",
            "127.0.0.1:0",
        ]);
        command.args(["--pod-network", &format!("127.{}.0.0", self.octet)]);
        match &self.ground.plane {
            Some(plane) => command.arg("--kubeconfig").arg(plane.kubeconfig()),
            None => command.args(["--api", &listen[3]]),
        };
        if self.fleet.is_some() {
            command.arg("--fleet").arg(self.file("fleet.yaml"));
        }
        command.args(&self.flags);
        let started = Instant::now();
        let mut child = command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(terminal.try_clone()?)
            .stderr(terminal)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start tidegate")?;
        let pid = child.id().context("tidegate ended at once")?;
        let addresses = wait_for(UP_WITHIN, async || {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(Err(anyhow::anyhow!(
                    "tidegate up ended: {status}\n{}",
                    tail(&self.log())
                )));
            }
            let text = std::fs::read_to_string(&endpoints).ok()?;
            serde_json::from_str::<Value>(&text)
                .ok()
                .map(|value| read_addresses(&value))
        })
        .await
        .with_context(|| format!("endpoints.json was not written\n{}", tail(&self.log())))??;
        Ok(Up {
            child,
            pid,
            started,
            addresses,
            kubectl: self.ground.kubectl.clone(),
        })
    }

    /// `tidegate load` with these flags against a fleet; its JSON summary.
    ///
    /// # Errors
    /// When it cannot run or prints something else.
    pub async fn load(&self, up: &Up, flags: &str) -> Result<Value> {
        let output = tokio::process::Command::new(&self.ground.tidegate)
            .args(["load", "--json", "--url", &up.addresses.gateway])
            .args(flags.split_whitespace())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).with_context(|| {
            format!(
                "tidegate load {flags}: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Whether the control plane is a real one.
    #[must_use]
    pub const fn on_real(&self) -> bool {
        self.ground.plane.is_some()
    }

    /// Takes a fleet's objects from a real control plane, for the next
    /// scenario to begin on a clean one.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub async fn clean(&self) -> Result<()> {
        let Some(plane) = &self.ground.plane else { return Ok(()) };
        for line in [
            "delete deployments,replicasets --all --wait=false --ignore-not-found",
            "delete variantautoscalings,inferencepools --all --wait=false --ignore-not-found",
            "delete pods --all --grace-period=0 --force --wait=true --ignore-not-found",
            "delete configmaps -l scenario --wait=false --ignore-not-found",
            "delete nodes --all --wait=true --ignore-not-found",
        ] {
            testkit::kubectl(&self.ground.kubectl, plane.kubeconfig(), line)
                .run()
                .await?;
        }
        Ok(())
    }
}

fn read_addresses(value: &Value) -> Result<Addresses> {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let address = |name: &str| {
        let url = text(name);
        url.split("://")
            .nth(1)
            .and_then(|rest| rest.split('/').next())
            .map(str::to_owned)
    };
    let listening = ["gateway", "dashboard", "gateway_admin", "autoscaler", "kubernetes"]
        .iter()
        .filter_map(|name| address(name))
        .collect();
    let addresses = Addresses {
        gateway: text("gateway"),
        gateway_admin: text("gateway_admin"),
        autoscaler: text("autoscaler"),
        kubernetes: text("kubernetes"),
        listening,
        kubeconfig: text("kubeconfig").into(),
    };
    ensure!(
        !addresses.gateway.is_empty(),
        "endpoints.json names no gateway: {value}"
    );
    Ok(addresses)
}

fn in_flight(endpoint: &Value) -> u64 {
    endpoint["in_flight"].as_u64().unwrap_or(0)
}

/// The end of a log, for a message.
#[must_use]
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

impl Up {
    /// kubectl against this fleet's API.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn kubectl(&self, line: &str) -> Result<Outcome> {
        testkit::kubectl(&self.kubectl, &self.addresses.kubeconfig, line)
            .run()
            .await
    }

    /// What `kubectl get ... -o jsonpath=` prints; empty when it fails.
    pub async fn ask(&self, what: &str, path: &str) -> String {
        match self.kubectl(&format!("get {what} -o jsonpath={path}")).await {
            Ok(outcome) if outcome.code == 0 => outcome.stdout,
            _ => String::new(),
        }
    }

    /// Waits until a jsonpath answers what is wanted.
    ///
    /// # Errors
    /// When it does not in time, with what it last was.
    pub async fn until(
        &self,
        deadline: Duration,
        what: &str,
        path: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let mut last = String::new();
        let seen = wait_for(deadline, async || {
            last = self.ask(what, path).await;
            wanted(&last).then(|| last.clone())
        })
        .await;
        match seen {
            Ok(seen) => Ok(seen),
            Err(_) => bail!(
                "{what} {path} last was {last:?} after {deadline:?}\n{}",
                self.state().await
            ),
        }
    }

    /// The state of the cluster, for the message of a failure.
    pub async fn state(&self) -> String {
        let mut text = String::new();
        for line in ["get pods,deployments,variantautoscalings -o wide", "get events"] {
            if let Ok(outcome) = self.kubectl(line).await {
                text.push_str(&outcome.stdout);
                text.push_str(&outcome.stderr);
            }
        }
        text
    }

    /// One request to the gateway; status and body.
    ///
    /// # Errors
    /// When the connection breaks or the deadline passes.
    pub async fn request(&self, model: &str, tokens: u32, deadline: Duration) -> Result<(u16, String)> {
        web::complete(&self.addresses.gateway, model, tokens, deadline).await
    }

    /// Requests until one is answered 200; how long after the start of the
    /// process that was.
    ///
    /// # Errors
    /// When none is in time.
    pub async fn first_answer(&self, model: &str, deadline: Duration) -> Result<Duration> {
        let mut last = String::new();
        let answered = wait_for(deadline, async || match self.request(model, 1, deadline).await {
            Ok((200, _)) => Some(self.started.elapsed()),
            Ok((status, body)) => {
                last = format!("{status} {body}");
                None
            }
            Err(error) => {
                last = format!("{error:#}");
                None
            }
        })
        .await;
        match answered {
            Ok(answered) => Ok(answered),
            Err(_) => bail!(
                "no answer within {deadline:?}, the last try: {last}\n{}",
                self.state().await
            ),
        }
    }

    /// The Pod that has the most requests at the moment; waits for one that has any.
    ///
    /// # Errors
    /// When no Pod has one in time.
    pub async fn busiest_pod(&self, deadline: Duration) -> Result<String> {
        wait_for(deadline, async || {
            let signals = web::get(&format!("{}/signals", self.addresses.gateway_admin)).await;
            let signals: Value = serde_json::from_str(&signals.ok()?).ok()?;
            let pools = signals["pools"].as_object()?.values();
            let endpoints = pools.filter_map(|pool| pool["endpoints"].as_object());
            let busiest = endpoints.flat_map(|some| some.values()).max_by_key(|e| in_flight(e))?;
            (in_flight(busiest) > 0).then(|| busiest["pod"].as_str().map(str::to_owned))?
        })
        .await
        .context("no Pod had a request")
    }

    /// Every process that lives below this one now, itself included.
    #[must_use]
    pub fn family(&self) -> Vec<Mark> {
        descendants(self.pid)
    }

    /// Sends it a signal and waits for its end; the exit code, -1 for a signal.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn end(mut self, how: Signal, deadline: Duration) -> Result<i32> {
        signal(self.pid, how)?;
        let status = tokio::time::timeout(deadline, self.child.wait())
            .await
            .with_context(|| format!("it did not end within {deadline:?} of {how:?}"))??;
        Ok(status.code().unwrap_or(-1))
    }
}

/// Waits until none of these processes lives.
///
/// # Errors
/// When some still do, with their command lines.
pub async fn gone(family: &[Mark]) -> Result<()> {
    let left = wait_until(GONE_WITHIN, async || marks_alive(family).is_empty()).await;
    if left.is_err() {
        bail!("still running: {:?}", marks_alive(family));
    }
    Ok(())
}

/// Whether nobody listens on any of these addresses.
///
/// # Errors
/// Names the address that is taken.
pub async fn ports_free(addresses: &[String]) -> Result<()> {
    for address in addresses {
        wait_until(GONE_WITHIN, async || TcpListener::bind(address).is_ok())
            .await
            .with_context(|| format!("{address} is still taken"))?;
    }
    Ok(())
}

/// The data folder's name stands in the command line of no process.
///
/// # Errors
/// Names the processes.
pub fn nothing_mentions(folder: &Path) -> Result<()> {
    let left = process::mentioning(&folder.display().to_string());
    ensure!(left.is_empty(), "processes that mention {}: {left:?}", folder.display());
    Ok(())
}
