//! The whole local cluster over the embedded API, with real processes.
//!
//! This test has its own main because its executable is also the shim, a
//! server to run in Pods, and a kubelet that can be killed. An argument selects
//! scenarios by a part of their name.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test with its own main: panics are its failures, and what it prints is its report"
)]

mod autoscaling;
mod world;

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::time::Instant;

use cluster::run_kubelet;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PropagationPolicy};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use world::{World, carrying, client, deployment, is_alive, is_ready, options, pid, restarts, runtime, until};

type Scenario = fn() -> Pin<Box<dyn Future<Output = ()>>>;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next().and_then(|arg| arg.into_string().ok()).unwrap_or_default();
    match first.as_str() {
        "exec-child" => {
            eprintln!("{}", cluster::exec_child::run(args));
            return ExitCode::from(127);
        }
        "serve" => return serve(),
        "kubelet" => {
            let words: Vec<String> = args.map(|arg| arg.into_string().unwrap()).collect();
            runtime().block_on(async {
                let options = options(Path::new(&words[1]), &words[2]);
                run_kubelet(client(&words[0]), options, CancellationToken::new())
                    .await
                    .unwrap();
            });
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let scenarios: [(&str, Scenario); 7] = [
        ("a_deployment_lives_and_leaves_nothing", || {
            Box::pin(a_deployment_lives_and_leaves_nothing())
        }),
        ("a_killed_kubelet_leaves_no_process_and_its_pods_come_back", || {
            Box::pin(a_killed_kubelet())
        }),
        ("a_stopped_kubelet_keeps_its_pods", || {
            Box::pin(a_stopped_kubelet_keeps_its_pods())
        }),
        ("what_lost_its_owner_goes", || Box::pin(what_lost_its_owner_goes())),
        ("a_pod_waits_for_a_node_that_fits", || {
            Box::pin(a_pod_waits_for_a_node_that_fits())
        }),
        ("an_autoscaler_follows_its_metric", || {
            Box::pin(autoscaling::an_autoscaler_follows_its_metric())
        }),
        ("an_autoscaler_says_what_it_cannot_know", || {
            Box::pin(autoscaling::an_autoscaler_says_what_it_cannot_know())
        }),
    ];
    let filter = Some(first).filter(|word| !word.starts_with('-')).unwrap_or_default();
    for (name, scenario) in scenarios.iter().filter(|(name, _)| name.contains(&filter)) {
        let began = Instant::now();
        runtime().block_on(scenario());
        println!("scenario {name} ... ok ({:.1} s)", began.elapsed().as_secs_f32());
    }
    ExitCode::SUCCESS
}

/// What runs in Pods: says when it began, and answers HTTP on its address.
fn serve() -> ExitCode {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let variable = |name: &str| std::env::var(name).unwrap();
    println!("began {} gpus {}", now.as_millis(), variable("CUDA_VISIBLE_DEVICES"));
    let listener = TcpListener::bind(format!("{}:{}", variable("HOST"), variable("PORT"))).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
    ExitCode::SUCCESS
}

async fn a_deployment_lives_and_leaves_nothing() {
    let world = World::new().await;
    let (stop, kubelet) = world.kubelet();
    until("nodes are ready", async || {
        let nodes = Api::<Node>::all(world.client.clone())
            .list(&ListParams::default())
            .await
            .unwrap()
            .items;
        (nodes.len() == 2).then_some(())
    })
    .await;
    world
        .make::<Service>(json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}}))
        .await;
    let began = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    world.make::<Deployment>(deployment(2, &["tidegate", "serve"])).await;
    let available = world.rolled_out(2).await;
    let conditions = available.status.unwrap().conditions.unwrap();
    let reasons: Vec<_> = conditions
        .iter()
        .map(|c| (c.type_.as_str(), c.reason.as_deref().unwrap()))
        .collect();
    assert!(
        reasons.contains(&("Available", "MinimumReplicasAvailable")),
        "{reasons:?}"
    );

    let pods = world.pods().await;
    let logs = world
        .api::<Pod>()
        .logs(&pods[0].name_any(), &LogParams::default())
        .await
        .unwrap();
    let first: u128 = logs.split(' ').nth(1).unwrap().parse().unwrap();
    println!("  from the Deployment to the first process: {} ms", first - began);
    assert!(first - began < 2_000, "event driven, even on a busy machine");
    let address = |pod: &Pod| pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
    assert_ne!(address(&pods[0]), address(&pods[1]));
    let other = world
        .api::<Pod>()
        .logs(&pods[1].name_any(), &LogParams::default())
        .await
        .unwrap();
    assert_ne!(
        logs.trim().rsplit(' ').next(),
        other.trim().rsplit(' ').next(),
        "two Pods never share a GPU"
    );
    until("both are endpoints", async || {
        let slices = world
            .api::<EndpointSlice>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items;
        let ready = |s: &EndpointSlice| {
            let endpoints = s.endpoints.iter().flatten();
            endpoints
                .filter(|e| e.conditions.as_ref().is_some_and(|c| c.ready == Some(true)))
                .count()
        };
        (slices.iter().map(ready).sum::<usize>() == 2).then_some(())
    })
    .await;

    // A killed process comes back at once and is counted.
    let victim = pods[0].name_any();
    let before = pid(&pods[0]).unwrap();
    assert!(
        Command::new("kill")
            .args(["-9", &before.to_string()])
            .status()
            .unwrap()
            .success()
    );
    until("the killed one is back", async || {
        let pod = world.api::<Pod>().get(&victim).await.unwrap();
        (restarts(&pod) == 1 && is_ready(&pod) && pid(&pod) != Some(before)).then_some(())
    })
    .await;

    // A new template: new Pods, the old ones gone, two revisions.
    world
        .patch_deployment(json!({"spec": {"template": {"metadata": {"annotations": {"v": "2"}}}}}))
        .await;
    world.rolled_out(2).await;
    until("the old Pods are gone", async || {
        let pods = world.pods().await;
        (pods.len() == 2 && pods.iter().all(|p| p.annotations().get("v").is_some_and(|v| v == "2"))).then_some(())
    })
    .await;
    let mut revisions: Vec<String> = world
        .api::<ReplicaSet>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .iter()
        .map(|set| set.annotations()["deployment.kubernetes.io/revision"].clone())
        .collect();
    revisions.sort();
    assert_eq!(revisions, ["1", "2"]);

    world.patch_deployment(json!({"spec": {"replicas": 1}})).await;
    world.rolled_out(1).await;
    let left = until("one Pod is left", async || {
        world.pods().await.try_into().ok().map(|[pod]: [Pod; 1]| pod)
    })
    .await;
    let last = pid(&left).unwrap();
    world
        .api::<Deployment>()
        .delete("web", &DeleteParams::background())
        .await
        .unwrap();
    until("all is gone", async || {
        let sets = world
            .api::<ReplicaSet>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items;
        (sets.is_empty() && world.pods().await.is_empty()).then_some(())
    })
    .await;
    assert!(!is_alive(last));
    stop.cancel();
    kubelet.await.unwrap();
    world.end().await;
}

async fn a_killed_kubelet() {
    let world = World::new().await;
    let mut kubelet = world.kubelet_process();
    // The shell's child is not the kubelet's own: only its group tells whose it is.
    world
        .make::<Deployment>(deployment(
            1,
            &[
                "sh",
                "-c",
                "sleep 1000 & exec $0 serve",
                std::env::current_exe().unwrap().to_str().unwrap(),
            ],
        ))
        .await;
    world.rolled_out(1).await;
    let pod = world.pods().await.remove(0);
    let entry = format!("POD_NAME={}", pod.name_any());
    let before = pid(&pod).unwrap();
    assert_eq!(carrying(&entry).len(), 2);
    kubelet.kill().unwrap();
    kubelet.wait().unwrap();
    until("the container died with its kubelet", async || {
        (!is_alive(before)).then_some(())
    })
    .await;
    let mut kubelet = world.kubelet_process();
    let again = until("its Pod is back", async || {
        let pod = world.api::<Pod>().get(&pod.name_any()).await.unwrap();
        (restarts(&pod) == 1 && is_ready(&pod)).then_some(pod)
    })
    .await;
    assert_eq!(
        again.status.as_ref().unwrap().pod_ip,
        pod.status.as_ref().unwrap().pod_ip,
        "it keeps its address"
    );
    assert_eq!(carrying(&entry).len(), 2, "the stray of the earlier life is gone");
    // While no kubelet is there the Pod's object goes; the next one finds nothing to run.
    kubelet.kill().unwrap();
    kubelet.wait().unwrap();
    world
        .api::<Deployment>()
        .delete("web", &DeleteParams::background())
        .await
        .unwrap();
    let by_force = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    let _ = world.api::<Pod>().delete(&pod.name_any(), &by_force).await;
    let (stop, kubelet) = world.kubelet();
    until("nothing is left", async || {
        (world.pods().await.is_empty() && carrying(&entry).is_empty()).then_some(())
    })
    .await;
    stop.cancel();
    kubelet.await.unwrap();
    world.end().await;
}

async fn a_stopped_kubelet_keeps_its_pods() {
    let world = World::new().await;
    let (stop, kubelet) = world.kubelet();
    world.make::<Deployment>(deployment(2, &["tidegate", "serve"])).await;
    world.rolled_out(2).await;
    let second = run_kubelet(
        world.client.clone(),
        options(world.data.path(), &world.range),
        CancellationToken::new(),
    );
    assert!(
        second.await.unwrap_err().to_string().contains("in use by another"),
        "one kubelet per folder"
    );
    let pids: Vec<i32> = world.pods().await.iter().filter_map(pid).collect();
    stop.cancel();
    kubelet.await.unwrap();
    assert!(pids.len() == 2 && pids.iter().all(|pid| !is_alive(*pid)));
    let pods = world.pods().await;
    assert!(pods.len() == 2 && pods.iter().all(|pod| !is_ready(pod)));
    let (stop, kubelet) = world.kubelet();
    until("both are ready again", async || {
        world
            .pods()
            .await
            .iter()
            .all(|pod| is_ready(pod) && restarts(pod) == 1)
            .then_some(())
    })
    .await;
    stop.cancel();
    kubelet.await.unwrap();
    world.end().await;
}

async fn what_lost_its_owner_goes() {
    let world = World::new().await;
    let maps = world.api::<ConfigMap>();
    let owned = |name: &str, owners: &[&ConfigMap]| {
        let owners: Vec<Value> = owners.iter().map(|owner| json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": owner.name_any(), "uid": owner.uid(), "blockOwnerDeletion": true,
        })).collect();
        json!({"metadata": {"name": name, "ownerReferences": owners}})
    };
    let exists = async |name: &str| maps.get_opt(name).await.unwrap().is_some();
    let gone = async |name: &str| until(name, async || (!exists(name).await).then_some(())).await;

    let parent: ConfigMap = world.make(owned("parent", &[])).await;
    let other: ConfigMap = world.make(owned("other", &[])).await;
    let child: ConfigMap = world.make(owned("child", &[&parent])).await;
    world.make::<ConfigMap>(owned("grandchild", &[&child])).await;
    world.make::<ConfigMap>(owned("shared", &[&parent, &other])).await;
    maps.delete("parent", &DeleteParams::background()).await.unwrap();
    gone("grandchild").await;
    until("the other owner alone is named", async || {
        let shared = maps.get("shared").await.unwrap();
        (shared.owner_references().len() == 1).then_some(())
    })
    .await;

    // An owner of the same name but another identity is no owner.
    let mut impostor = owned("imposed", &[&other]);
    impostor["metadata"]["ownerReferences"][0]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    world.make::<ConfigMap>(impostor).await;
    gone("imposed").await;
    assert!(exists("shared").await);

    let parent: ConfigMap = world.make(owned("parent", &[])).await;
    world.make::<ConfigMap>(owned("child", &[&parent])).await;
    let foreground = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        ..DeleteParams::default()
    };
    maps.delete("parent", &foreground).await.unwrap();
    gone("parent").await;
    assert!(!exists("child").await, "in the foreground dependents go first");

    let parent: ConfigMap = world.make(owned("parent", &[])).await;
    world.make::<ConfigMap>(owned("child", &[&parent])).await;
    let orphan = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    maps.delete("parent", &orphan).await.unwrap();
    gone("parent").await;
    assert!(maps.get("child").await.unwrap().owner_references().is_empty());
    world.end().await;
}

async fn a_pod_waits_for_a_node_that_fits() {
    let world = World::new().await;
    let (stop, kubelet) = world.kubelet();
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "nodeSelector": {"zone": "there"},
        "containers": [{"name": "c", "image": "none", "command": ["sh", "-c", "echo $(NODE_NAME) >&2; sleep 1000"]}],
    }});
    world.make::<Pod>(pod).await;
    let message = until("told why", async || {
        let pod = world.api::<Pod>().get("p").await.unwrap();
        let conditions = pod.status?.conditions?;
        conditions
            .into_iter()
            .find(|c| c.reason.as_deref() == Some("Unschedulable"))?
            .message
            .filter(|m| m.contains("2 node(s)"))
    })
    .await;
    assert_eq!(
        message,
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    );
    let label = json!({"metadata": {"labels": {"zone": "there"}}});
    let nodes = Api::<Node>::all(world.client.clone());
    nodes
        .patch("gpu-b", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
    let pod = until("it runs", async || {
        Some(world.api::<Pod>().get("p").await.unwrap()).filter(is_ready)
    })
    .await;
    let logs = until("it spoke", async || {
        world
            .api::<Pod>()
            .logs("p", &LogParams::default())
            .await
            .ok()
            .filter(|logs| !logs.is_empty())
    })
    .await;
    assert_eq!(logs, "gpu-b\n");
    let by_force = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    world.api::<Pod>().delete("p", &by_force).await.unwrap();
    let process = pid(&pod).unwrap();
    until("a Pod whose object is gone leaves no process", async || {
        (!is_alive(process)).then_some(())
    })
    .await;
    stop.cancel();
    kubelet.await.unwrap();
    world.end().await;
}
