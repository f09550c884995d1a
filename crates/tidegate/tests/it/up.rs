//! `tidegate up` as a newcomer has it: asked, killed, restarted, stopped.

use crate::fleet::{Fleet, SMALL, wait_for};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One HTTP/1.1 exchange: status, head and body (chunks undone).
pub(crate) fn http(url: &str, method: &str, body: Option<&Value>) -> Option<(u16, String, String)> {
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, path) = rest
        .split_once('/')
        .map_or((rest, String::from("/")), |(a, p)| (a, format!("/{p}")));
    let mut stream = TcpStream::connect(authority).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_lowercase(), body.to_owned()))
}

fn ask(fleet: &Fleet, stream: bool) -> (u16, String, String) {
    let body =
        json!({"model": "small", "max_tokens": 4, "stream": stream, "messages": [{"role": "user", "content": "hi"}]});
    http(
        &format!("{}/chat/completions", fleet.endpoint("gateway")),
        "POST",
        Some(&body),
    )
    .unwrap()
}

pub(crate) fn objects(fleet: &Fleet, path: &str) -> Vec<Value> {
    let (status, _, body) = http(&format!("{}{path}", fleet.endpoint("kubernetes")), "GET", None).unwrap();
    assert_eq!(status, 200, "{path}: {body}");
    let list: Value = serde_json::from_str(body[body.find('{').unwrap()..=body.rfind('}').unwrap()].trim()).unwrap();
    list["items"].as_array().unwrap().clone()
}

#[test]
fn a_fleet_answers_explains_itself_and_survives_being_killed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let fleet = Fleet::start(&data, SMALL, "127.81.0.0");

    // The first request waits in the queue if it must, and is answered.
    let (status, head, body) = ask(&fleet, false);
    assert_eq!(status, 200, "{body}");
    assert!(
        head.contains("x-tidegate-endpoint: 127.81.") && head.contains("x-tidegate-queue-ms:"),
        "{head}"
    );
    assert!(body.contains("chat.completion"), "{body}");
    let (_, _, stream) = ask(&fleet, true);
    assert!(stream.contains("data: [DONE]"), "{stream}");

    // Everything printed is of use: the addresses are the real ones.
    let printed = fleet.printed();
    for name in ["gateway", "dashboard"] {
        assert!(printed.contains(&fleet.endpoint(name)), "{name}: {printed}");
    }

    // Why a variant is as it is, and the same in conditions.
    let data_dir = data.to_str().unwrap();
    let why = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["why", "variant", "small-h100", "--data-dir", data_dir])
        .output()
        .unwrap();
    let why = String::from_utf8(why.stdout).unwrap();
    assert!(
        why.contains("What each rule said") && why.contains("Replicas now"),
        "{why}"
    );
    let variants = objects(&fleet, "/apis/llmd.ai/v1alpha1/namespaces/default/variantautoscalings");
    let conditions = variants[0]["status"]["conditions"].as_array().unwrap().clone();
    assert_eq!(conditions.len(), 3, "{conditions:?}");

    // The page serves its state.
    let (status, _, page) = http(&format!("{}/state", fleet.endpoint("dashboard")), "GET", None).unwrap();
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("small-h100"), "{page}");

    // A user's object is acknowledged; then everything is killed.
    let note = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note"}, "data": {"a": "b"}});
    let maps = format!("{}/api/v1/namespaces/default/configmaps", fleet.endpoint("kubernetes"));
    assert_eq!(http(&maps, "POST", Some(&note)).unwrap().0, 201);
    let uid = variants[0]["metadata"]["uid"].clone();
    fleet.kill();

    let fleet = Fleet::start(&data, SMALL, "127.81.0.0");
    let kept = objects(&fleet, "/api/v1/namespaces/default/configmaps");
    assert!(kept.iter().any(|map| map["metadata"]["name"] == "note"), "{kept:?}");
    let variants = objects(&fleet, "/apis/llmd.ai/v1alpha1/namespaces/default/variantautoscalings");
    assert_eq!(variants[0]["metadata"]["uid"], uid);
    assert_eq!(ask(&fleet, false).0, 200);
    fleet.interrupt();
}

#[test]
fn a_fleet_at_zero_is_woken_by_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let fleet = Fleet::start(
        &data,
        &SMALL.replace("{min: 1, max: 2}", "{min: 0, max: 2}"),
        "127.82.0.0",
    );
    let deployments = || objects(&fleet, "/apis/apps/v1/namespaces/default/deployments");
    assert_eq!(deployments()[0]["spec"]["replicas"], 0);
    assert_eq!(ask(&fleet, false).0, 200);
    assert_eq!(deployments()[0]["spec"]["replicas"], 1);
    fleet.interrupt();
}

#[test]
fn the_metrics_reference_is_what_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(&dir.path().join("data"), SMALL, "127.83.0.0");
    assert_eq!(ask(&fleet, false).0, 200);
    let mut text = String::from(
        "# Metrics\n\nGenerated from a running fleet; a test compares. Times are in the unit that the name says.\n",
    );
    for (role, name) in [("gateway", "gateway_admin"), ("autoscaler", "autoscaler")] {
        let page = wait_for("metrics", Duration::from_secs(10), || {
            let (_, _, page) = http(&format!("{}/metrics", fleet.endpoint(name)), "GET", None)?;
            page.contains("# HELP").then_some(page)
        });
        text.push_str(&format!(
            "\n## {role}\n\n| name | type | meaning | labels |\n|---|---|---|---|\n"
        ));
        text.push_str(&families(&page));
    }
    fleet.interrupt();
    crate::reference::compare("docs/reference/metrics.md", &text);
}

/// A table row per family: name, type, meaning, label names.
fn families(page: &str) -> String {
    let mut rows = String::new();
    for line in page.lines() {
        let Some(rest) = line.strip_prefix("# HELP ") else {
            continue;
        };
        let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
        let kind_line = format!("# TYPE {name} ");
        let kind = page
            .lines()
            .find_map(|line| line.strip_prefix(&kind_line))
            .unwrap_or("untyped");
        let sample = page.lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('{') || rest.starts_with("_bucket{"))
        });
        let labels = sample
            .and_then(|line| Some(&line[line.find('{')? + 1..line.rfind('}')?]))
            .unwrap_or_default();
        let labels: Vec<_> = labels
            .split("\",")
            .filter_map(|l| l.split_once('='))
            .map(|(name, _)| name)
            .collect();
        rows.push_str(&format!("| `{name}` | {kind} | {help} | {} |\n", labels.join(", ")));
    }
    rows
}
