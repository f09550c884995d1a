use super::*;
use crate::board::tests::{Known, variant, wanting};
use crate::decisions::{Decisions, Published};
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Empty};
use std::time::Duration;

const HERE: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop";

fn board(variants: Vec<Published>) -> Board {
    let known: std::sync::Arc<dyn Decisions> = Known::new(variants);
    Board::new(known, Duration::from_secs(60))
}

fn ask(board: &Board, path: &str) -> (u16, Value) {
    let request = Request::get(path).body(Empty::<Bytes>::new()).unwrap();
    read(answer(board, &Admission::Anybody, &Peer::None, &request))
}

fn read(response: Response<Full<Bytes>>) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().now_or_never().unwrap().unwrap();
    (status, serde_json::from_slice(&body.to_bytes()).unwrap())
}

fn values(board: &Board, path: &str) -> Vec<(String, String)> {
    let (status, body) = ask(board, path);
    assert_eq!(status, 200, "{path}: {body}");
    let items = body["items"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    items
        .map(|item| (text(&item["metricLabels"]["variant_name"]), text(&item["value"])))
        .collect()
}

fn fleet() -> Board {
    let now = Instant::now();
    let mut l4 = wanting("shop", "llama-l4", 5, now);
    l4.current = Some(4);
    l4.controller_instance = Some("blue".to_owned());
    let mut h100 = wanting("shop", "llama-h100", 2, now);
    h100.accelerator = None;
    h100.current = Some(0);
    let old = wanting("shop", "old", 7, now.checked_sub(Duration::from_secs(90)).unwrap());
    board(vec![
        l4,
        h100,
        old,
        variant("shop", "new"),
        wanting("other", "llama-l4", 9, now),
    ])
}

#[test]
fn each_metric_has_the_values_of_its_namespace_and_of_no_other() {
    let fleet = fleet();
    for (metric, h100, l4) in [
        ("wva_desired_replicas", "2", "5"),
        ("wva_current_replicas", "0", "4"),
        ("wva_desired_ratio", "2", "1250m"),
    ] {
        let expected = [("llama-h100", h100), ("llama-l4", l4)].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(values(&fleet, &format!("{HERE}/{metric}")), expected, "{metric}");
    }
    let nowhere = HERE.replace("shop", "nowhere");
    assert_eq!(values(&fleet, &format!("{nowhere}/wva_desired_replicas")), []);
}

#[test]
fn the_selector_of_an_hpa_finds_its_variant() {
    let fleet = fleet();
    for (selector, found) in [
        ("variant_name%3Dllama-l4", vec!["llama-l4"]),
        ("variant_name=llama-l4,exported_namespace=shop", vec!["llama-l4"]),
        ("variant_name%3Dllama-l4%2Ccontroller_instance%3Dblue", vec!["llama-l4"]),
        ("controller_instance=green", vec![]),
        ("!controller_instance,variant_name+notin+(new,old)", vec!["llama-h100"]),
        ("accelerator_type=unknown", vec!["llama-h100"]),
        ("variant_name+in+(llama-l4,+llama-h100)", vec!["llama-h100", "llama-l4"]),
        (
            "model_name=llama,namespace!=other,variant_name+notin+(new,old)",
            vec!["llama-h100", "llama-l4"],
        ),
    ] {
        let names = values(&fleet, &format!("{HERE}/wva_desired_replicas?labelSelector={selector}"));
        let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, found, "{selector}");
    }
}

#[test]
fn a_value_is_written_as_kubernetes_writes_it() {
    let now = Instant::now();
    let mut l4 = wanting("shop", "llama-l4", 5, now.checked_sub(Duration::from_secs(30)).unwrap());
    l4.controller_instance = Some("blue".to_owned());
    let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_400);
    let list = super::values::list(&board(vec![l4]), "shop", "wva_desired_replicas", "", (now, wall)).unwrap();
    assert_eq!(
        list,
        json!({
            "kind": "ExternalMetricValueList",
            "apiVersion": "external.metrics.k8s.io/v1beta1",
            "metadata": {},
            "items": [{
                "metricName": "wva_desired_replicas",
                "metricLabels": {
                    "variant_name": "llama-l4",
                    "namespace": "shop",
                    "exported_namespace": "shop",
                    "accelerator_type": "L4",
                    "controller_instance": "blue",
                    "model_name": "llama",
                },
                "timestamp": "2027-01-15T07:59:30Z",
                "value": "5",
            }],
        })
    );
}

#[test]
fn what_is_undecided_or_stale_is_absent_and_selected_it_is_an_error_that_says_why() {
    let fleet = fleet();
    let all = values(&fleet, &format!("{HERE}/wva_desired_replicas"));
    assert!(all.iter().all(|(name, _)| name.starts_with("llama")), "{all:?}");
    // One of two that are added up counts as little as one alone.
    for (name, selector, why) in [
        ("new", "variant_name=new", "no decision yet"),
        ("old", "variant_name=old", "90 s ago"),
        ("old", "variant_name+in+(llama-l4,old)", "90 s ago"),
        ("new", "model_name=llama,variant_name!=old", "no decision yet"),
    ] {
        let path = format!("{HERE}/wva_desired_replicas?labelSelector={selector}");
        let (status, body) = ask(&fleet, &path);
        let message = body["message"].as_str().unwrap();
        assert!(
            status == 404 && message.contains(why) && message.contains(name),
            "{status} {body}"
        );
    }
    let unknown = board(vec![wanting("shop", "a", 3, Instant::now())]);
    for metric in ["wva_current_replicas", "wva_desired_ratio"] {
        let (status, body) = ask(&unknown, &format!("{HERE}/{metric}"));
        assert_eq!(status, 404, "{metric}: {body}");
    }
    assert_eq!(values(&unknown, &format!("{HERE}/wva_desired_replicas")).len(), 1);
}

#[test]
fn refusals_are_statuses_with_the_reason_and_the_remedy() {
    let fleet = fleet();
    for (path, code, reason, said) in [
        (
            format!("{HERE}/wva_typo"),
            404,
            "NotFound",
            "wva_desired_replicas, wva_current_replicas",
        ),
        (format!("{HERE}/a/b"), 404, "NotFound", "namespaces/NAMESPACE/METRIC"),
        ("/apis/other".to_owned(), 404, "NotFound", "nothing at"),
        (
            format!("{HERE}/wva_desired_ratio?labelSelector=a%20b"),
            400,
            "BadRequest",
            "labelSelector",
        ),
        (
            format!("{HERE}/wva_desired_ratio?labelSelector=a&labelSelector=b"),
            400,
            "BadRequest",
            "twice",
        ),
        (
            format!("{HERE}/wva_desired_ratio?watch=true"),
            400,
            "BadRequest",
            "watch",
        ),
    ] {
        let (status, body) = ask(&fleet, &path);
        assert_eq!(
            (status, body["reason"].as_str()),
            (code, Some(reason)),
            "{path}: {body}"
        );
        assert_eq!(body["kind"], "Status");
        assert!(body["message"].as_str().unwrap().contains(said), "{path}: {body}");
    }
    let request = Request::post(format!("{HERE}/wva_desired_ratio"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = answer(&fleet, &Admission::Anybody, &Peer::None, &request);
    assert_eq!(response.headers()[ALLOW], "GET");
    let (status, body) = read(response);
    assert_eq!((status, body["reason"].as_str()), (405, Some("MethodNotAllowed")));
    let request = Request::get(format!("{HERE}/wva_desired_ratio"))
        .body(Full::new(Bytes::from("x")))
        .unwrap();
    assert_eq!(read(answer(&fleet, &Admission::Anybody, &Peer::None, &request)).0, 413);
}

#[test]
fn without_the_front_proxys_certificate_only_health_is_told() {
    let fleet = fleet();
    let admission = Admission::FrontProxy(Vec::new());
    for (path, expected) in [("/healthz", 200), ("/readyz", 200), ("/apis", 401), (HERE, 401)] {
        let request = Request::get(path).body(Empty::<Bytes>::new()).unwrap();
        let response = answer(&fleet, &admission, &Peer::None, &request);
        assert_eq!(response.status().as_u16(), expected, "{path}");
    }
}

#[test]
fn discovery_names_the_group_its_version_and_its_metrics() {
    let fleet = fleet();
    let (_, groups) = ask(&fleet, "/apis");
    assert_eq!(
        groups["groups"][0]["preferredVersion"]["groupVersion"],
        "external.metrics.k8s.io/v1beta1"
    );
    let (_, group) = ask(&fleet, "/apis/external.metrics.k8s.io");
    assert_eq!(
        (group["kind"].as_str(), group["versions"][0]["version"].as_str()),
        (Some("APIGroup"), Some("v1beta1"))
    );
    let (_, list) = ask(&fleet, "/apis/external.metrics.k8s.io/v1beta1/");
    let resources = list["resources"].as_array().unwrap();
    let names: Vec<&str> = resources
        .iter()
        .filter_map(|resource| resource["name"].as_str())
        .collect();
    assert_eq!(
        names,
        ["wva_desired_replicas", "wva_current_replicas", "wva_desired_ratio"]
    );
    assert!(
        resources
            .iter()
            .all(|resource| resource["namespaced"] == true && resource["verbs"][0] == "get")
    );
    assert_eq!(ask(&fleet, "/openapi/v2").1["swagger"], "2.0");
    assert_eq!(ask(&fleet, "/openapi/v3").1["paths"], json!({}));
    assert_eq!(ask(&fleet, "/").0, 200);
}

#[test]
fn metrics_are_spelled_as_the_gauges_are() {
    let gauges = [
        api::names::DESIRED_REPLICAS_METRIC,
        api::names::CURRENT_REPLICAS_METRIC,
        api::names::DESIRED_RATIO_METRIC,
    ];
    assert_eq!(NAMES, gauges);
}
