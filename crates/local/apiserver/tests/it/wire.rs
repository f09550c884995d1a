//! Requests and answers byte by byte: errors, negotiation, limits, hostility.

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::Api;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{JSON, api, client, config_map, create, start, wire};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn errors_have_the_codes_and_reasons_that_clients_match_on() {
    let running = start().await;
    create(&api::<ConfigMap>(&running), config_map("c")).await;
    let c = &*format!("{MAPS}/c");
    let cases: &[(&str, &str, &str, &str, u16, &str)] = &[
        ("GET", &format!("{MAPS}/zzz"), "", "", 404, "NotFound"),
        ("GET", "/api/v1/nothings", "", "", 404, "NotFound"),
        (
            "GET",
            "/api/v1/namespaces/default%2Fx/configmaps/c",
            "",
            "",
            400,
            "BadRequest",
        ),
        ("GET", &format!("{MAPS}/.."), "", "", 400, "BadRequest"),
        ("GET", "/apis/apps/v9", "", "", 404, "NotFound"),
        ("POST", MAPS, JSON, "garbage", 400, "BadRequest"),
        ("POST", MAPS, JSON, "[]", 400, "BadRequest"),
        ("POST", MAPS, JSON, "", 400, "BadRequest"),
        ("POST", MAPS, JSON, r#"{"metadata":{}}"#, 422, "Invalid"),
        (
            "POST",
            MAPS,
            JSON,
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
            400,
            "BadRequest",
        ),
        (
            "POST",
            MAPS,
            JSON,
            r#"{"metadata":{"name":"x","namespace":"other"}}"#,
            400,
            "BadRequest",
        ),
        (
            "POST",
            MAPS,
            "Content-Type: text/plain\r\n",
            "{}",
            415,
            "UnsupportedMediaType",
        ),
        ("POST", c, JSON, "{}", 405, "MethodNotAllowed"),
        ("PUT", MAPS, JSON, "{}", 405, "MethodNotAllowed"),
        ("PUT", c, JSON, r#"{"metadata":{"name":"d"}}"#, 400, "BadRequest"),
        (
            "PUT",
            c,
            JSON,
            r#"{"metadata":{"name":"c","uid":"other"}}"#,
            409,
            "Conflict",
        ),
        ("PATCH", c, JSON, "{}", 415, "UnsupportedMediaType"),
        (
            "PATCH",
            c,
            "Content-Type: application/json-patch+json\r\n",
            "{}",
            400,
            "BadRequest",
        ),
        (
            "PATCH",
            c,
            "Content-Type: application/merge-patch+json\r\n",
            "[]",
            400,
            "BadRequest",
        ),
        ("DELETE", c, JSON, r#"{"propagationPolicy":"Foo"}"#, 422, "Invalid"),
        ("DELETE", "/api/v1/namespaces", "", "", 405, "MethodNotAllowed"),
        ("DELETE", "/api/v1/namespaces/default", "", "", 403, "Forbidden"),
        ("GET", c, "Accept: text/plain\r\n", "", 406, "NotAcceptable"),
        ("GET", &format!("{MAPS}?limit=x"), "", "", 400, "BadRequest"),
        ("GET", &format!("{MAPS}?resourceVersion=x"), "", "", 400, "BadRequest"),
        ("GET", &format!("{MAPS}?resourceVersion=99999"), "", "", 504, "Timeout"),
        ("GET", &format!("{MAPS}?continue=abc"), "", "", 400, "BadRequest"),
        (
            "GET",
            &format!("{MAPS}?resourceVersionMatch=Exact"),
            "",
            "",
            422,
            "Invalid",
        ),
        (
            "GET",
            &format!("{MAPS}?watch=true&sendInitialEvents=true"),
            "",
            "",
            422,
            "Invalid",
        ),
        ("POST", &format!("{MAPS}?dryRun=Some"), JSON, "{}", 422, "Invalid"),
        (
            "POST",
            &format!("{MAPS}?fieldValidation=Some"),
            JSON,
            "{}",
            422,
            "Invalid",
        ),
    ];
    for (method, path, headers, body, code, reason) in cases {
        let answer = wire(&running, method, path, headers, body.as_bytes()).await;
        let status = answer.json();
        assert_eq!(
            (answer.code, &status["reason"]),
            (*code, &json!(reason)),
            "{method} {path} {body}: {status}"
        );
        assert_eq!(
            (&status["kind"], &status["code"]),
            (&json!("Status"), &json!(code)),
            "{method} {path}"
        );
    }
    for path in ["/nothing", "/apis/none.dev/v1/things", "/openapi/v1"] {
        let answer = wire(&running, "GET", path, "", b"").await;
        assert_eq!(
            (answer.code, answer.text().as_str()),
            (404, "404 page not found\n"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn unknown_fields_are_warned_about_or_refused() {
    let running = start().await;
    let body = br#"{"metadata":{"name":"x"},"bad":1}"#;
    let strict = wire(&running, "POST", &format!("{MAPS}?fieldValidation=Strict"), JSON, body).await;
    assert_eq!(strict.code, 400);
    assert!(
        strict
            .text()
            .contains(r#"strict decoding error: unknown field \"bad\""#),
        "{}",
        strict.text()
    );
    let warned = wire(&running, "POST", MAPS, JSON, body).await;
    assert_eq!(
        (warned.code, warned.header("Warning")),
        (201, Some(r#"299 - "unknown field \"bad\"""#))
    );
    assert!(warned.json().get("bad").is_none());
}

#[tokio::test]
async fn bodies_may_be_yaml_and_answers_tables_or_metadata() {
    let running = start().await;
    let yaml = "metadata:\n  name: y\ndata:\n  k: v\n";
    let made = wire(
        &running,
        "POST",
        MAPS,
        "Content-Type: application/yaml\r\n",
        yaml.as_bytes(),
    )
    .await;
    assert_eq!((made.code, &made.json()["data"]["k"]), (201, &json!("v")));
    let table = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json\r\n";
    let table = wire(&running, "GET", MAPS, table, b"").await.json();
    assert_eq!(
        (&table["kind"], &table["rows"][0]["cells"][0]),
        (&json!("Table"), &json!("y"))
    );
    let partial = "Accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1\r\n";
    let partial = wire(&running, "GET", MAPS, partial, b"").await.json();
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert!(partial["items"][0].get("data").is_none());
}

#[tokio::test]
async fn web_pages_and_rebound_names_are_refused() {
    let running = start().await;
    for (headers, code) in [
        ("Origin: http://evil.example\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: none\r\n", 200),
    ] {
        assert_eq!(
            wire(&running, "GET", "/version", headers, b"").await.code,
            code,
            "{headers}"
        );
    }
    for (host, code) in [("evil.example", "403"), ("localhost:1", "200"), ("[::1]:1", "200")] {
        let mut stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
        let request = format!("GET /version HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(code), "{host}");
    }
}

#[tokio::test]
async fn bodies_and_heads_are_bounded() {
    let running = start().await;
    let big = vec![b' '; apiserver::limits::BODY + 1];
    let answer = wire(&running, "POST", MAPS, JSON, &big).await;
    assert_eq!(
        (answer.code, &answer.json()["reason"]),
        (413, &json!("RequestEntityTooLarge"))
    );
    let header = format!("X-Long: {}\r\n", "x".repeat(4 * apiserver::limits::HEAD));
    assert_eq!(wire(&running, "GET", "/version", &header, b"").await.code, 431);
}

#[tokio::test]
async fn who_sends_too_much_comes_to_read_that_it_is() {
    let running = start().await;
    let big = vec![b' '; 4 * apiserver::limits::BODY];
    for round in 0..20 {
        let mut stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
        let head = format!(
            "POST {MAPS} HTTP/1.1\r\nHost: 127.0.0.1\r\n{JSON}Content-Length: {}\r\n\r\n",
            big.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
            .write_all(&big)
            .await
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413", "round {round}");
    }
}

/// Two requests on one connection, the first refused by its path before its body is on its way.
#[tokio::test]
async fn a_refused_body_does_not_cost_the_next_request() {
    let running = start().await;
    let mut stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
    let head = "POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let asked = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut first = vec![0; asked.len()];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(first, asked, "{}", String::from_utf8_lossy(&first));
    let next = "{}GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    stream.write_all(next.as_bytes()).await.unwrap();
    let mut both = String::new();
    stream.read_to_string(&mut both).await.unwrap();
    assert!(both.starts_with("HTTP/1.1 404 "), "{both}");
    assert!(both.contains("HTTP/1.1 200 OK"), "{both}");
}

#[tokio::test]
async fn who_sends_more_than_is_read_is_told_that_the_connection_ends() {
    let running = start().await;
    let mut stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
    let length = apiserver::limits::UNASKED + 1;
    let head = format!("POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn shutdown_closes_watches_and_frees_the_port() {
    let running = start().await;
    let address = running.address;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {MAPS}?watch=true HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 4];
    stream.read_exact(&mut first).await.unwrap();
    running.shutdown().await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "a watch ends in good order");
    let options = apiserver::Options {
        listen: address,
        data_dir: None,
    };
    apiserver::serve(options).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn logs_come_from_the_kubelet_of_the_pod_s_node() {
    let running = start().await;
    let kubelet = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = kubelet.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = kubelet.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..read])
            .lines()
            .next()
            .unwrap()
            .to_owned()
    });
    let nodes: Api<Node> = Api::all(client(&running));
    create(&nodes, json!({"metadata": {"name": "n"}})).await;
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    nodes
        .patch_status(
            "n",
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(status),
        )
        .await
        .unwrap();
    let pods = api::<Pod>(&running);
    let path = "/api/v1/namespaces/default/pods/p/log";
    create(
        &pods,
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    )
    .await;
    assert_eq!(
        wire(&running, "GET", path, "", b"").await.code,
        204,
        "an unbound Pod has written nothing"
    );
    let binding = br#"{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}}"#;
    wire(
        &running,
        "POST",
        "/api/v1/namespaces/default/pods/p/binding",
        JSON,
        binding,
    )
    .await;
    let other = wire(&running, "GET", &format!("{path}?container=other"), "", b"").await;
    assert_eq!(other.json()["message"], "container other is not valid for pod p");
    let log = wire(&running, "GET", &format!("{path}?tailLines=5&follow=true"), "", b"").await;
    assert_eq!((log.code, log.text().as_str()), (200, "hello\n"));
    assert_eq!(
        served.await.unwrap(),
        "GET /containerLogs/default/p/c?follow=true&tailLines=5 HTTP/1.1"
    );
}

#[tokio::test]
async fn a_list_goes_on_after_its_snapshot_is_forgotten_only_if_asked_to() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    for name in ["a", "b", "c"] {
        create(&maps, config_map(name)).await;
    }
    let token = r#"{"v":"meta.k8s.io/v1","rv":0,"start":"default/b"}"#;
    let token = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, token);
    let rest = wire(&running, "GET", &format!("{MAPS}?continue={token}"), "", b"")
        .await
        .json();
    let names: Vec<_> = rest["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["metadata"]["name"])
        .collect();
    assert_eq!(names, ["b", "c"]);
}

#[tokio::test]
async fn big_answers_are_compressed_when_asked_and_watches_never() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    let big = "x".repeat(apiserver::limits::GZIP);
    create(&maps, json!({"metadata": {"name": "big"}, "data": {"k": big}})).await;
    let accept = "Accept-Encoding: gzip\r\n";
    let list = wire(&running, "GET", MAPS, accept, b"").await;
    assert_eq!(list.header("Content-Encoding"), Some("gzip"));
    assert!(list.body.len() < apiserver::limits::GZIP / 10);
    let watch = wire(
        &running,
        "GET",
        &format!("{MAPS}?watch=true&timeoutSeconds=1"),
        accept,
        b"",
    )
    .await;
    assert_eq!(watch.header("Content-Encoding"), None);
}
