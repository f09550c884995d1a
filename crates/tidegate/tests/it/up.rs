//! `tidegate up` as a newcomer has it: asked, killed, restarted, stopped.

use crate::fleet::{Fleet, SMALL, wait_for};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

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
fn the_published_config_maps_act_here_too_and_a_mistake_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(&dir.path().join("data"), SMALL, "127.87.0.0");
    let maps = format!("{}/api/v1/namespaces/default/configmaps", fleet.endpoint("kubernetes"));
    let name = "wva-saturation-scaling-config";
    let said = |thresholds: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"default": thresholds}});
    let says = |expected: &str| {
        wait_for(expected, Duration::from_secs(10), || {
            let url = format!("{}/variants", fleet.endpoint("autoscaler"));
            let (_, _, variants) = http(&url, "GET", None)?;
            variants.contains(expected).then_some(())
        });
    };
    assert_eq!(
        http(&maps, "POST", Some(&said("kvCacheThreshold: 0.42\n"))).unwrap().0,
        201
    );
    says("kvCacheThreshold 0.42");
    let map = format!("{maps}/{name}");
    assert_eq!(http(&map, "PUT", Some(&said("kvCacheTreshold: 0.5\n"))).unwrap().0, 200);
    says("kvCacheTreshold: is not known");
    says("kvCacheThreshold 0.42");
    fleet.interrupt();
}

/// A page of metrics, once every family has a sample in it or in `others`.
fn page_of_metrics(url: &str, others: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, _, page) = http(&format!("{url}/metrics"), "GET", None).unwrap_or_default();
        let samples = format!("{page}\n{others}");
        let without: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .filter(|name| labels(name, &samples).is_none())
            .collect();
        if !page.is_empty() && without.is_empty() {
            return page;
        }
        assert!(Instant::now() < deadline, "{url}: no sample of {without:?}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// A Prometheus that knows nothing, and tells the time.
fn empty_prometheus() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // Whoever asks waits for the answer then: silence is the end of the question.
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
            let body = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
            let date = jiff::Timestamp::now();
            let head = format!(
                "HTTP/1.1 200 OK\r\nDate: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close",
                date.strftime("%a, %d %b %Y %H:%M:%S GMT"),
                body.len()
            );
            let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
        }
    });
    url
}

#[test]
fn the_metrics_reference_is_what_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let from_zero = SMALL.replace("{min: 1, max: 2}", "{min: 0, max: 2}");
    let fleet = Fleet::start(&data, &from_zero, "127.83.0.0");
    let gateway = fleet.endpoint("gateway");

    // One request that the gateway refuses, one whose client goes away, and one that wakes the fleet and is answered.
    let nobodys = json!({"model": "nobody's", "messages": []});
    let (status, _, _) = http(&format!("{gateway}/chat/completions"), "POST", Some(&nobodys)).unwrap();
    assert_eq!(status, 404);
    let authority = gateway.trim_start_matches("http://").trim_end_matches("/v1");
    let body = json!({"model": "small", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let mut leaves = TcpStream::connect(authority).unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {}",
        body.len()
    );
    leaves.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    drop(leaves);
    assert_eq!(ask(&fleet, false).0, 200);

    // An autoscaler on its own beside it, with a ConfigMap, and a Prometheus, which `tidegate up` has not.
    let thresholds = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "wva-saturation-scaling-config"}, "data": {"default": "kvCacheThreshold: 0.8"}});
    let maps = format!("{}/api/v1/namespaces/default/configmaps", fleet.endpoint("kubernetes"));
    assert_eq!(http(&maps, "POST", Some(&thresholds)).unwrap().0, 201);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut alone = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["autoscaler", "--actuator", "observe", "--system-namespace", "default"])
        .arg("--kubeconfig")
        .arg(data.join("kubeconfig"))
        .args([
            "--metrics-bind-address",
            &free.to_string(),
            "--health-probe-bind-address",
            "0",
        ])
        .env("PROMETHEUS_BASE_URL", empty_prometheus())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let beside = std::panic::catch_unwind(|| {
        wait_for("the one beside it", Duration::from_secs(60), || {
            let (_, _, page) = http(&format!("http://{free}/metrics"), "GET", None)?;
            ["tidegate_config_valid{", "tidegate_source_clock_skew_seconds{"]
                .iter()
                .all(|sample| page.contains(sample))
                .then_some(page)
        })
    });
    let _ = alone.kill();
    let _ = alone.wait();
    let beside = beside.unwrap();

    let mut text = String::from(
        "# Metrics\n\nGenerated from a running fleet; a test compares. Times are in the unit that the name says.\n",
    );
    for (role, name, others) in [
        ("gateway", "gateway_admin", ""),
        ("autoscaler", "autoscaler", beside.as_str()),
    ] {
        let page = page_of_metrics(&fleet.endpoint(name), others);
        text.push_str(&format!(
            "\n## {role}\n\n| name | type | meaning | labels |\n|---|---|---|---|\n"
        ));
        text.push_str(&families(&page, &format!("{page}\n{others}")));
    }
    fleet.interrupt();
    crate::reference::compare("docs/reference/metrics.md", &text);
}

/// The label names of a family, by its first sample; none if it has no sample.
fn labels<'a>(name: &str, samples: &'a str) -> Option<Vec<&'a str>> {
    let sample = samples.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.strip_prefix("_bucket").unwrap_or(rest);
        rest.starts_with(['{', ' ']).then_some(rest)
    })?;
    let labels = sample.find('{').zip(sample.rfind('}'));
    let labels = labels.map_or("", |(from, to)| &sample[from + 1..to]);
    let names = labels.split("\",").filter_map(|label| label.split_once('='));
    Some(names.map(|(name, _)| name).collect())
}

/// A table row per family: name, type, meaning, and the names of the labels that `samples` have.
fn families(page: &str, samples: &str) -> String {
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
        let labels = labels(name, samples).unwrap_or_default();
        rows.push_str(&format!("| `{name}` | {kind} | {help} | {} |\n", labels.join(", ")));
    }
    rows
}
