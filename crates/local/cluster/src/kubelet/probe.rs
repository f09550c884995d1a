//! Probes: whether a container has started, is ready, is alive.
//!
//! Periods are in seconds, as Kubernetes has them; but until the first success
//! the question is also asked every [`QUICK`] for a while, so that a server
//! that is up in one second counts as up in little more. Such early failures
//! are not held against it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::environment::{self, Env};
use super::process::{Launch, Spawner};

/// The pause between questions before the first success.
const QUICK: Duration = Duration::from_millis(50);
/// How long questions are asked that quickly.
const QUICKLY_FOR: Duration = Duration::from_secs(10);

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    /// As Events write it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Readiness => "Readiness",
            Kind::Liveness => "Liveness",
        }
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Enough successes: started, or ready.
    Passed(Kind),
    /// One failure that counts: why.
    Failed(Kind, String),
    /// Failures up to the threshold: not ready, or to be killed. Why.
    Exhausted(Kind, String),
}

/// What a probe needs to ask.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: Ipv4Addr,
    pub(crate) container: Container,
    pub(crate) env: Env,
    pub(crate) folder: PathBuf,
    pub(crate) own_exe: PathBuf,
    pub(crate) spawner: Spawner,
}

/// Runs the container's probes until the receiver is gone: startup first, then
/// readiness and liveness.
pub(crate) async fn run(target: Target, verdicts: mpsc::Sender<Verdict>) {
    if let Some(probe) = target.container.startup_probe.clone() {
        repeat(&target, &probe, Kind::Startup, &verdicts).await;
    }
    let one = |kind, probe: Option<Probe>| {
        let (target, verdicts) = (&target, &verdicts);
        async move {
            if let Some(probe) = probe {
                repeat(target, &probe, kind, verdicts).await;
            }
        }
    };
    let readiness = one(Kind::Readiness, target.container.readiness_probe.clone());
    let liveness = one(Kind::Liveness, target.container.liveness_probe.clone());
    futures::future::join(readiness, liveness).await;
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(
        value
            .and_then(|v| u64::try_from(v).ok())
            .filter(|v| *v > 0)
            .unwrap_or(default),
    )
}

fn threshold(value: Option<i32>, default: u32) -> u32 {
    value
        .and_then(|v| u32::try_from(v).ok())
        .filter(|v| *v > 0)
        .unwrap_or(default)
}

async fn repeat(target: &Target, probe: &Probe, kind: Kind, verdicts: &mpsc::Sender<Verdict>) {
    let period = seconds(probe.period_seconds, 10);
    let limit = seconds(probe.timeout_seconds, 1);
    let (enough, too_many) = (
        threshold(probe.success_threshold, 1),
        threshold(probe.failure_threshold, 3),
    );
    let begin = Instant::now()
        + probe
            .initial_delay_seconds
            .map_or(Duration::ZERO, |s| seconds(Some(s), 0));
    // Liveness is asked only after the container could come up; nothing is gained by haste.
    let quick_until = if kind == Kind::Liveness {
        begin
    } else {
        begin + QUICKLY_FOR
    };
    let (mut successes, mut failures, mut passed) = (0u32, 0u32, false);
    let mut due = begin + period;
    let mut next = if kind == Kind::Liveness { due } else { begin };
    loop {
        sleep_until(next).await;
        let answer = match timeout(limit, ask(target, probe)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
        };
        let now = Instant::now();
        let counts = now >= due;
        if counts {
            due = now + period;
        }
        match answer {
            Ok(()) => {
                failures = 0;
                successes = successes.saturating_add(1);
                if successes >= enough && !passed {
                    passed = true;
                    if verdicts.send(Verdict::Passed(kind)).await.is_err() || kind == Kind::Startup {
                        return;
                    }
                }
                due = now + period;
            }
            Err(why) => {
                successes = 0;
                if counts || passed {
                    failures = failures.saturating_add(1);
                    let mut tell = vec![Verdict::Failed(kind, why.clone())];
                    if failures >= too_many && (passed || kind != Kind::Readiness) {
                        passed = false;
                        tell.push(Verdict::Exhausted(kind, why));
                    }
                    for verdict in tell {
                        let killed = matches!(verdict, Verdict::Exhausted(Kind::Startup | Kind::Liveness, _));
                        if verdicts.send(verdict).await.is_err() || killed {
                            return;
                        }
                    }
                }
            }
        }
        let haste = !passed && now < quick_until;
        next = if haste { (now + QUICK).min(due) } else { due };
    }
}

async fn ask(target: &Target, probe: &Probe) -> Result<(), String> {
    if let Some(get) = &probe.http_get {
        http_get(get, target).await
    } else if let Some(socket) = &probe.tcp_socket {
        let address = address(socket.host.as_deref(), &socket.port, target)?;
        TcpStream::connect(address)
            .await
            .map(drop)
            .map_err(|error| format!("dial tcp {address}: {error}"))
    } else if let Some(exec) = &probe.exec {
        execute(exec, target).await
    } else {
        Err("this kind of probe is not run by the process kubelet; use httpGet, tcpSocket or exec".to_owned())
    }
}

/// Runs a hook of the container's lifecycle.
pub(crate) async fn hook(handler: &LifecycleHandler, target: &Target) -> Result<(), String> {
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        Ok(())
    } else if let Some(get) = &handler.http_get {
        http_get(get, target).await
    } else if let Some(exec) = &handler.exec {
        execute(exec, target).await
    } else {
        Err("a hook of this kind is not run by the process kubelet; use exec, httpGet or sleep".to_owned())
    }
}

fn address(host: Option<&str>, port: &IntOrString, target: &Target) -> Result<SocketAddr, String> {
    let named = |name: &str| {
        let ports = target.container.ports.iter().flatten();
        ports
            .clone()
            .find(|p| p.name.as_deref() == Some(name))
            .map(|p| p.container_port)
    };
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => named(name).or_else(|| name.parse().ok()),
    };
    let port = number
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| {
            format!(
                "port {port:?} is neither a number nor the name of a port of container {:?}",
                target.container.name
            )
        })?;
    let host = match host.filter(|h| !h.is_empty()) {
        None => IpAddr::V4(target.address),
        Some("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(text) => text
            .parse()
            .map_err(|_| format!("probe host {text:?} must be an IP address"))?,
    };
    Ok(SocketAddr::new(host, port))
}

async fn http_get(get: &HTTPGetAction, target: &Target) -> Result<(), String> {
    if get.scheme.as_deref() == Some("HTTPS") {
        return Err("scheme HTTPS is not asked by the process kubelet; use HTTP or an exec probe".to_owned());
    }
    let address = address(get.host.as_deref(), &get.port, target)?;
    let path = get.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let say = |error: &dyn std::fmt::Display| format!("Get \"http://{address}{path}\": {error}");
    let stream = TcpStream::connect(address).await.map_err(|e| say(&e))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| say(&e))?;
    let mut request = http::Request::get(&path)
        .header("User-Agent", "kube-probe/tidegate")
        .header("Accept", "*/*");
    let mut host = None;
    for header in get.http_headers.iter().flatten() {
        if header.name.eq_ignore_ascii_case("host") {
            host = Some(header.value.clone());
        } else {
            request = request.header(&header.name, &header.value);
        }
    }
    let request = request.header("Host", host.unwrap_or_else(|| address.to_string()));
    let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|e| say(&e))?;
    // The connection is driven here and dropped with this question, so none is left open.
    let mut answer = std::pin::pin!(sender.send_request(request));
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // A server that closes at once has answered all the same, or there is an error to tell.
        _ = connection => answer.await,
    };
    let answer = answer.map_err(|e| say(&e))?;
    match answer.status().as_u16() {
        200..=399 => Ok(()),
        code => Err(format!("HTTP probe failed with statuscode: {code}")),
    }
}

async fn execute(exec: &ExecAction, target: &Target) -> Result<(), String> {
    let as_container = Container {
        name: target.container.name.clone(),
        command: exec.command.clone(),
        ..Container::default()
    };
    // Probe commands see the environment but their words are not expanded.
    let search = std::env::var_os("PATH");
    let (program, _) = environment::command_line(
        &as_container,
        &target.env,
        &target.own_exe,
        search.as_deref(),
        &target.folder,
    )?;
    let args = exec.command.iter().flatten().skip(1).cloned().collect();
    let launch = Launch {
        program,
        args,
        env: target.env.clone(),
        folder: Some(target.folder.clone()),
    };
    let mut process = target.spawner.spawn(launch).await.map_err(|e| e.to_string())?;
    drop((process.child.stdout.take(), process.child.stderr.take()));
    let exit = process.wait().await;
    if exit.code == 0 {
        Ok(())
    } else {
        Err(format!("command exited with code {}", exit.code))
    }
}

#[cfg(test)]
#[path = "probe/tests.rs"]
mod tests;
