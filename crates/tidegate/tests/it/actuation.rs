//! Who carries decisions out: an HPA of the local cluster in place of Tidegate itself.

use crate::fleet::{Fleet, SMALL, wait_for};
use crate::up::{http, objects};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn deployed(fleet: &Fleet) -> u64 {
    let deployments = objects(fleet, "/apis/apps/v1/namespaces/default/deployments");
    deployments[0]["spec"]["replicas"].as_u64().unwrap()
}

fn rescaled(fleet: &Fleet, message: &str) -> bool {
    objects(fleet, "/api/v1/namespaces/default/events").iter().any(|event| {
        event["reason"] == "SuccessfulRescale" && event["message"].as_str().is_some_and(|text| text.contains(message))
    })
}

#[test]
fn an_hpa_scales_by_the_decisions_and_zero_is_left_and_reached_directly() {
    let dir = tempfile::tempdir().unwrap();
    let flags = [
        "--actuator",
        "hpa",
        "--hpa-sync-period",
        "200ms",
        "--scale-down-after",
        "1s",
        "--zero-after",
        "3s",
    ];
    let yaml = SMALL.replace("{min: 1, max: 2}", "{min: 0, max: 2}");
    let fleet = Fleet::start_with(&dir.path().join("data"), &yaml, "127.84.0.0", &flags);
    let hpas = objects(
        &fleet,
        "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
    );
    assert_eq!(hpas.len(), 1, "{hpas:?}");
    assert_eq!(
        (&hpas[0]["spec"]["minReplicas"], &hpas[0]["spec"]["maxReplicas"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(deployed(&fleet), 0);
    // What KEDA would ask is there too.
    TcpStream::connect(fleet.endpoint("keda")).unwrap();

    // More than one replica has slots for, until the second is there.
    let url = format!("{}/chat/completions", fleet.endpoint("gateway"));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let body = json!({"model": "small", "max_tokens": 200,
                    "messages": [{"role": "user", "content": "hi"}]});
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let (status, _, said) = http(&url, "POST", Some(&body)).unwrap_or_default();
                    assert_eq!(status, 200, "{said}");
                }
            });
        }
        let two = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("the second replica", Duration::from_secs(60), || {
                (deployed(&fleet) == 2 && rescaled(&fleet, "New size: 2")).then_some(())
            });
        }));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        two.unwrap();
    });

    // It says by which metric, and both agree on the number.
    let hpa = wait_for("the HPA's status", Duration::from_secs(20), || {
        let hpas = objects(
            &fleet,
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
        );
        let found = hpas[0]["status"]["currentMetrics"][0]["external"]["metric"]["name"] == "wva_desired_replicas";
        found.then(|| hpas[0].clone())
    });
    let conditions = hpa["status"]["conditions"].as_array().unwrap();
    assert!(
        conditions.iter().any(|one: &Value| one["type"] == "AbleToScale"),
        "{conditions:?}"
    );

    // With nothing to do it goes to zero, where no HPA goes.
    wait_for("zero", Duration::from_secs(60), || {
        (deployed(&fleet) == 0).then_some(())
    });
    fleet.interrupt();
}

#[test]
fn hpas_are_there_only_while_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let count = |fleet: &Fleet| {
        objects(
            fleet,
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
        )
        .len()
    };
    let fleet = Fleet::start_with(&data, SMALL, "127.85.0.0", &["--actuator", "hpa"]);
    assert_eq!(count(&fleet), 1);
    fleet.interrupt();
    let fleet = Fleet::start(&data, SMALL, "127.85.0.0");
    assert_eq!(count(&fleet), 0);
    fleet.interrupt();
}

#[test]
fn the_manifest_of_the_direct_path_can_be_applied_as_it_stands() {
    let page = include_str!("../../../../docs/scaling/direct.md");
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (manifest, _) = rest.split_once("```").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(&dir.path().join("data"), SMALL, "127.86.0.0");
    for document in manifest.split("---\n") {
        let object: Value = serde_saphyr::from_str(document).unwrap();
        let path = match object["kind"].as_str().unwrap() {
            "Deployment" => "apis/apps/v1/namespaces/default/deployments",
            "VariantAutoscaling" => "apis/llmd.ai/v1alpha1/namespaces/default/variantautoscalings",
            other => panic!("{other}"),
        };
        let url = format!(
            "{}/{path}?dryRun=All&fieldValidation=Strict",
            fleet.endpoint("kubernetes")
        );
        let (status, _, said) = http(&url, "POST", Some(&object)).unwrap();
        assert_eq!(status, 201, "{said}");
        let command = &object["spec"]["template"]["spec"]["containers"][0]["command"];
        if let Some(command) = command.as_array() {
            let words: Vec<&str> = command.iter().skip(1).map(|word| word.as_str().unwrap()).collect();
            // It would start if it did not only say how.
            let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
            assert!(program.args(words).arg("--help").output().unwrap().status.success());
        }
    }
    fleet.interrupt();
}

/// Kind and name of each object in some YAML, as kubectl reads it.
fn objects_in(yaml: &str) -> Vec<(String, String)> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    let of = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
    objects
        .iter()
        .map(|object| (of(&object["kind"]), of(&object["metadata"]["name"])))
        .collect()
}

/// The files of a folder, in the order of a shell's `*`.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

#[test]
fn the_manifests_may_be_applied_one_by_one_or_glued_together() {
    let deploy = testkit::root().unwrap().join("deploy");
    let folders: Vec<PathBuf> = std::fs::read_dir(&deploy)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert!(!folders.is_empty());
    for folder in folders {
        let files = files(&folder);
        let apart: Vec<_> = files.iter().flat_map(|file| objects_in(file)).collect();
        assert_eq!(objects_in(&files.concat()), apart, "{}", folder.display());
    }
}

#[test]
fn the_command_of_the_direct_path_yields_every_object_and_sets_replicas_directly() {
    let root = testkit::root().unwrap();
    let page = include_str!("../../../../docs/scaling/direct.md");
    let line = page.lines().find(|line| line.starts_with("sed ")).unwrap();
    let (command, applied) = line.split_once(" | ").unwrap();
    assert_eq!(applied, "kubectl apply -f -");
    let mut shell = std::process::Command::new("sh");
    let out = shell.args(["-c", command]).current_dir(&root).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let yaml = String::from_utf8(out.stdout).unwrap();

    let apart: Vec<_> = files(&root.join("deploy/autoscaler"))
        .iter()
        .flat_map(|file| objects_in(file))
        .collect();
    assert_eq!(objects_in(&yaml), apart);
    let all: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    let deployment = all.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let args = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array();
    let actuators: Vec<&Value> = args
        .unwrap()
        .iter()
        .filter(|arg| arg.as_str().is_some_and(|arg| arg.starts_with("--actuator")))
        .collect();
    assert_eq!(actuators, ["--actuator=direct"]);
}
