//! What users type, and what they get told.

use std::process::{Command, Output};

fn tidegate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(args)
        .output()
        .unwrap()
}

fn told(args: &[&str]) -> String {
    let out = tidegate(args);
    assert!(!out.status.success(), "{args:?} must fail");
    String::from_utf8(out.stderr).unwrap()
}

#[test]
fn a_fleet_file_is_checked_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fleet.yaml");
    let text = String::from_utf8(tidegate(&["fleet", "default"]).stdout).unwrap();
    std::fs::write(&file, text.replace("{min: 1, max: 4}", "{min: 5, max: 4}")).unwrap();
    let error = told(&["fleet", "check", file.to_str().unwrap()]);
    assert!(error.contains("replicas.max is 4 but replicas.min is 5"), "{error}");
    assert!(error.contains("help: min must not be above max"), "{error}");
}

#[test]
fn the_default_fleet_renders_to_manifests_that_are_yaml() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fleet.yaml");
    std::fs::write(&file, tidegate(&["fleet", "default"]).stdout).unwrap();
    let out = tidegate(&["fleet", "render", file.to_str().unwrap()]);
    assert!(out.status.success());
    let objects: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(std::str::from_utf8(&out.stdout).unwrap()).unwrap();
    assert_eq!(objects.len(), 5);
}

#[test]
fn a_missing_file_is_named() {
    assert!(told(&["up", "--fleet", "/nowhere/fleet.yaml"]).contains("/nowhere/fleet.yaml"));
}

#[test]
fn an_autoscaler_that_cannot_start_says_what_to_change() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let kubeconfig = file(
        "kubeconfig",
        "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], \
         users: [{name: c, user: {}}], contexts: [{name: c, context: {cluster: c, user: c}}]}",
    );
    let settings = file("config.yaml", "LEADER_ELECTED: true\n");
    let cases: [(&[&str], &[&str]); 3] = [
        (&["--kubeconfig", "/nowhere/config"], &["--kubeconfig /nowhere/config"]),
        (
            &["--config-file", &settings],
            &["LEADER_ELECTED", "is not known", &settings],
        ),
        (
            &[
                "--kubeconfig",
                &kubeconfig,
                "--leader-elect",
                "--leader-election-renew-deadline",
                "90s",
            ],
            &[
                "--leader-election-renew-deadline",
                "must be shorter than the lease duration",
            ],
        ),
    ];
    for (flags, words) in cases {
        let error = told(&[&["autoscaler"], flags].concat());
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

const FLAGS: [&str; 6] = [
    "--listen",
    "--dashboard",
    "--api",
    "--gateway-admin",
    "--autoscaler-admin",
    "--keda-listen",
];

#[test]
fn a_taken_port_is_an_error_that_names_the_flag_to_change() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in FLAGS {
        let dir = tempfile::tempdir().unwrap();
        let mut args = vec!["up", "--data-dir", dir.path().to_str().unwrap()];
        for other in FLAGS {
            args.extend([other, if other == flag { &address } else { "127.0.0.1:0" }]);
        }
        let error = told(&args);
        assert!(error.contains(flag) && error.contains(&address), "{flag}: {error}");
    }
}

#[test]
fn a_load_without_a_server_says_where_it_looked() {
    let error = told(&["load", "--rate", "1", "--for", "1s", "--url", "http://127.0.0.1:1/v1"]);
    assert!(error.contains("127.0.0.1:1"), "{error}");
}

#[test]
fn the_crds_are_printed_as_yaml() {
    let out = tidegate(&["crds"]);
    let crds: Vec<serde_json::Value> = serde_saphyr::from_multiple(std::str::from_utf8(&out.stdout).unwrap()).unwrap();
    let names: Vec<_> = crds
        .iter()
        .map(|crd| crd["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "variantautoscalings.llmd.ai",
            "inferencepools.inference.networking.k8s.io"
        ]
    );
}
