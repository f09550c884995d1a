//! Real processes, no API: what is wanted goes in, what is comes out.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Secret};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;
use crate::recorder::Occurrence;

/// Does what the real shim does but for the parent's death.
const SHIM: [&str; 4] = ["sh", "-c", "shift 3; exec \"$@\"", "shim"];

struct Nothing;

impl SourceReader for Nothing {
    fn config_map(&self, _: &str, _: &str) -> BoxFuture<'static, Result<Option<ConfigMap>, String>> {
        async { Ok(None) }.boxed()
    }
    fn secret(&self, _: &str, _: &str) -> BoxFuture<'static, Result<Option<Secret>, String>> {
        async { Ok(None) }.boxed()
    }
}

struct Stage {
    folder: tempfile::TempDir,
    desired: watch::Sender<Desired>,
    published: watch::Receiver<PodStatus>,
    events: mpsc::Receiver<Occurrence>,
    task: JoinHandle<Outcome>,
    context: Arc<Context>,
}

/// Runs a Pod. Every test has an address of its own.
fn run_pod(spec: &Value) -> Stage {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let folder = tempfile::tempdir().unwrap();
    let (recorder, events) = Recorder::new();
    let shim = SHIM.iter().map(Into::into).collect();
    let context = Arc::new(Context {
        spawner: Spawner::new(shim, folder.path().join("children")).unwrap(),
        data_dir: folder.path().to_owned(),
        own_exe: "/nowhere/tidegate".into(),
        recorder,
        sources: Arc::new(Nothing),
        backoff: Backoff {
            base: Duration::from_millis(100),
            longest: Duration::from_millis(200),
            ..Backoff::default()
        },
        log_limit: 1 << 20,
        logs: Arc::default(),
    });
    let number = std::process::id() % 50_000 * 4 + NEXT.fetch_add(1, Ordering::Relaxed);
    let [_, a, b, c] = number.to_be_bytes();
    let place = Place {
        node: "n".into(),
        address: [127, 100 + a % 100, b, c.max(1)].into(),
        gpus: vec![],
    };
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec,
    }))
    .unwrap();
    let (desired, wanted) = watch::channel(Desired {
        pod: Arc::new(pod),
        ending: Ending::No,
    });
    let (publish, published) = watch::channel(PodStatus::default());
    let task = tokio::spawn(run(context.clone(), place, wanted, publish));
    Stage {
        folder,
        desired,
        published,
        events,
        task,
        context,
    }
}

fn shell(script: &str) -> Value {
    json!({"containers": [{"name": "c", "command": ["sh", "-c", script]}]})
}

impl Stage {
    async fn until(&mut self, what: &str, condition: impl FnMut(&PodStatus) -> bool) -> PodStatus {
        let waiting = tokio::time::timeout(Duration::from_secs(20), self.published.wait_for(condition)).await;
        let found = waiting.ok().map(|status| status.unwrap().clone());
        found.unwrap_or_else(|| {
            panic!(
                "not within 20 s: {what}; {:?}",
                self.published.borrow().container_statuses
            )
        })
    }

    fn end(&self, ending: Ending) {
        self.desired.send_modify(|desired| desired.ending = ending);
    }

    async fn outcome(self) -> (Outcome, Vec<Occurrence>, PodStatus, tempfile::TempDir) {
        let Stage {
            folder,
            published,
            mut events,
            task,
            context,
            desired,
        } = self;
        let outcome = tokio::time::timeout(Duration::from_secs(20), task)
            .await
            .unwrap()
            .unwrap();
        drop((context, desired));
        let mut told = Vec::new();
        while let Ok(event) = events.try_recv() {
            told.push(event);
        }
        let status = published.borrow().clone();
        (outcome, told, status, folder)
    }
}

fn first(status: &PodStatus) -> &ContainerStatus {
    &status.container_statuses.as_ref().unwrap()[0]
}

fn pid(status: &PodStatus) -> Option<i32> {
    first(status)
        .container_id
        .as_ref()?
        .strip_prefix("process://")?
        .parse()
        .ok()
}

fn is_ready(status: &PodStatus) -> bool {
    status
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn has(events: &[Occurrence], reason: &str, text: &str) -> bool {
    events.iter().any(|e| e.reason == reason && e.message.contains(text))
}

#[tokio::test]
async fn a_pod_runs_is_deleted_and_leaves_nothing() {
    let mut stage = run_pod(&shell("echo hello $POD_IP; sleep 1000 & wait"));
    let status = stage.until("ready", is_ready).await;
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let pid = pid(&status).unwrap();
    let log = stage.folder.path().join("pods/ns_p_u/c/0.log");
    let hello = format!("stdout F hello {}\n", status.pod_ip.as_deref().unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(&log).unwrap().ends_with(&hello) {
        assert!(Instant::now() < deadline, "the log has its words");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stage.end(Ending::Deleted(Duration::from_secs(10)));
    let (outcome, events, status, _folder) = stage.outcome().await;
    assert_eq!(outcome, Outcome::Ended);
    assert_eq!(
        first(&status)
            .state
            .as_ref()
            .unwrap()
            .terminated
            .as_ref()
            .unwrap()
            .exit_code,
        143
    );
    assert!(!is_alive(pid));
    assert!(has(&events, "Started", "Started container c") && has(&events, "Killing", "Stopping container c"));
    assert_eq!(std::fs::read_dir(_folder.path().join("children")).unwrap().count(), 0);
}

#[tokio::test]
async fn one_that_does_not_listen_is_killed_after_its_grace() {
    // Only once it ignores the signal is it ready.
    let mut spec = shell("trap '' TERM; touch $POD_IP; while :; do sleep 1; done");
    let folder = tempfile::tempdir().unwrap();
    spec["containers"][0]["workingDir"] = json!(folder.path());
    spec["containers"][0]["readinessProbe"] = json!({"exec": {"command": ["sh", "-c", "test -e $POD_IP"]}});
    let mut stage = run_pod(&spec);
    let pid = pid(&stage.until("ready", is_ready).await).unwrap();
    stage.end(Ending::Deleted(Duration::from_secs(300)));
    // Deleted again, by force this time: the shorter time counts.
    stage.end(Ending::Deleted(Duration::from_millis(100)));
    let (_, _, status, _folder) = stage.outcome().await;
    let ended = first(&status).state.as_ref().unwrap().terminated.clone().unwrap();
    assert_eq!((ended.exit_code, ended.signal), (137, Some(9)));
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_crashing_container_is_restarted_and_backs_off() {
    let mut stage = run_pod(&shell("exit 3"));
    let status = stage
        .until("third run", |s| {
            s.container_statuses.is_some() && first(s).restart_count >= 2
        })
        .await;
    let last = first(&status).last_state.as_ref().unwrap().terminated.clone().unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
    let status = stage
        .until("waiting", |s| {
            first(s).state.as_ref().is_some_and(|s| {
                s.waiting
                    .as_ref()
                    .is_some_and(|w| w.reason.as_deref() == Some("CrashLoopBackOff"))
            })
        })
        .await;
    assert!(!is_ready(&status));
    stage.end(Ending::Gone);
    let (_, events, _, _folder) = stage.outcome().await;
    assert!(has(
        &events,
        "BackOff",
        "Back-off restarting failed container c in pod p_ns(u)"
    ));
}

#[tokio::test]
async fn a_missing_command_is_told_and_harms_nobody() {
    let spec = json!({"containers": [
        {"name": "c", "command": ["vllm-missing"]}, {"name": "d", "command": ["sleep", "1000"]},
    ]});
    let mut stage = run_pod(&spec);
    let runs = |s: &PodStatus| s.container_statuses.as_ref().is_some_and(|c| c[1].ready);
    let status = stage
        .until("the other runs", |s| {
            runs(s)
                && first(s)
                    .state
                    .as_ref()
                    .unwrap()
                    .waiting
                    .as_ref()
                    .unwrap()
                    .message
                    .is_some()
        })
        .await;
    let waiting = first(&status).state.as_ref().unwrap().waiting.clone().unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CreateContainerError"));
    assert!(waiting.message.unwrap().contains("install it or give its path"));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    stage.end(Ending::Gone);
    assert_eq!(stage.outcome().await.0, Outcome::Ended);
}

#[tokio::test]
async fn init_containers_run_to_their_end_before_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("order");
    let step =
        |name: &str| json!({"name": name, "command": ["sh", "-c", format!("echo {name} >> {}", file.display())]});
    let mut spec =
        json!({"restartPolicy": "Never", "initContainers": [step("one"), step("two")], "containers": [step("main")]});
    let (outcome, _, status, _folder) = run_pod(&spec).outcome().await;
    assert_eq!(
        (outcome, status.phase.as_deref()),
        (Outcome::Finished, Some("Succeeded"))
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\ntwo\nmain\n");
    spec["initContainers"][1]["command"] = json!(["false"]);
    let (_, _, status, _folder) = run_pod(&spec).outcome().await;
    assert_eq!(status.phase.as_deref(), Some("Failed"));
}

#[tokio::test]
async fn probes_decide_on_readiness_and_life() {
    let folder = tempfile::tempdir().unwrap();
    let (up, sick, hook) = (
        folder.path().join("up"),
        folder.path().join("sick"),
        folder.path().join("hook"),
    );
    let test =
        |words: String| json!({"exec": {"command": ["sh", "-c", words]}, "periodSeconds": 1, "failureThreshold": 1});
    let spec = json!({"terminationGracePeriodSeconds": 5, "containers": [{
        "name": "c", "command": ["sleep", "1000"],
        "startupProbe": {"exec": {"command": ["test", "-e", up]}, "periodSeconds": 60},
        "readinessProbe": test("true".into()),
        "livenessProbe": test(format!("! test -e {}", sick.display())),
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", format!("echo bye >> {}", hook.display())]}}},
    }]});
    let mut stage = run_pod(&spec);
    let status = stage
        .until("running", |s| s.container_statuses.is_some() && pid(s).is_some())
        .await;
    assert_eq!((first(&status).started, first(&status).ready), (Some(false), false));
    std::fs::write(&up, "").unwrap();
    let began = Instant::now();
    let status = stage.until("ready", is_ready).await;
    assert!(began.elapsed() < Duration::from_secs(30), "asked quickly at first");
    let before = pid(&status);
    std::fs::write(&sick, "").unwrap();
    let status = stage.until("restarted", |s| first(s).restart_count == 1).await;
    assert_ne!(pid(&status), before);
    assert!(!is_ready(&status));
    std::fs::remove_file(&sick).unwrap();
    stage.end(Ending::Deleted(Duration::from_secs(5)));
    let (_, events, _, _folder) = stage.outcome().await;
    assert!(has(
        &events,
        "Unhealthy",
        "Liveness probe failed: command exited with code 1"
    ));
    assert!(has(
        &events,
        "Killing",
        "Container c failed liveness probe, will be restarted"
    ));
    assert_eq!(std::fs::read_to_string(&hook).unwrap().lines().next(), Some("bye"));
}

#[tokio::test]
async fn draining_ends_processes_but_not_the_pod() {
    let mut stage = run_pod(&shell("sleep 1000"));
    let pid = pid(&stage.until("ready", is_ready).await).unwrap();
    stage.end(Ending::Drain(Duration::from_secs(5)));
    let (outcome, _, status, _folder) = stage.outcome().await;
    assert_eq!((outcome, status.phase.as_deref()), (Outcome::Ended, Some("Running")));
    assert!(!is_ready(&status) && !is_alive(pid));
    assert!(
        first(&status).state.as_ref().unwrap().running.is_some(),
        "the next kubelet takes it up"
    );
}

#[tokio::test]
async fn one_whose_object_is_gone_ends_though_nobody_wishes_any_more() {
    let mut stage = run_pod(&shell("sleep 1000"));
    let pid = pid(&stage.until("ready", is_ready).await).unwrap();
    let (nobody, _) = watch::channel(Desired {
        pod: stage.desired.borrow().pod.clone(),
        ending: Ending::No,
    });
    drop(std::mem::replace(&mut stage.desired, nobody));
    assert_eq!(stage.outcome().await.0, Outcome::Ended);
    assert!(!is_alive(pid));
}
