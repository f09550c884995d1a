//! Every bad request gets an answer that names the place.

use crate::client::{ask, get, post, quick, send};
use http::{Method, Request};
use http_body_util::Full;

#[tokio::test]
async fn a_bad_request_is_told_what_is_wrong() {
    let server = quick("--max-model-len 100 --max-body-bytes 5000").await;
    let long = format!(r#"{{"prompt":"{}"}}"#, "word ".repeat(200));
    let huge = format!(r#"{{"prompt":"{}"}}"#, "x".repeat(6000));
    let cases: &[(&str, &str, u16, Option<&str>, &str)] = &[
        ("/v1/completions", "", 400, None, "not JSON"),
        ("/v1/completions", "{\"prompt\":\"x\",}", 400, None, "line 1 column 15"),
        ("/v1/completions", "[1]", 400, None, "JSON object"),
        ("/v1/completions", "{}", 400, Some("prompt"), "required"),
        (
            "/v1/completions",
            r#"{"prompt":7}"#,
            400,
            Some("prompt"),
            "got a number",
        ),
        ("/v1/completions", r#"{"prompt":[]}"#, 400, Some("prompt"), "empty"),
        ("/v1/completions", r#"{"prompt":""}"#, 400, Some("prompt"), "empty"),
        (
            "/v1/completions",
            r#"{"prompt":[1,-2]}"#,
            400,
            Some("prompt"),
            "prompt must be",
        ),
        (
            "/v1/completions",
            r#"{"prompt":[999999999]}"#,
            400,
            Some("prompt"),
            "out of vocabulary",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","model":"gpt"}"#,
            404,
            Some("model"),
            "The model `gpt` does not exist.",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","model":5}"#,
            400,
            Some("model"),
            "must be a string",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","max_tokens":"many"}"#,
            400,
            Some("max_tokens"),
            "must be an integer",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","max_tokens":0}"#,
            400,
            Some("max_tokens"),
            "at least 1, got 0",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","max_tokens":1.5}"#,
            400,
            Some("max_tokens"),
            "must be an integer",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","max_tokens":100}"#,
            400,
            Some("input_tokens"),
            "maximum context length is 100",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","min_tokens":9,"max_tokens":8}"#,
            400,
            Some("min_tokens"),
            "max_tokens=8",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","n":0}"#,
            400,
            Some("n"),
            "at least 1",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","n":9999}"#,
            400,
            Some("n"),
            "at most 128",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","temperature":-1}"#,
            400,
            Some("temperature"),
            "[0, 2]",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","top_p":0}"#,
            400,
            Some("top_p"),
            "top_p must be in",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","stream":"yes"}"#,
            400,
            Some("stream"),
            "true or false",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","stop":[1]}"#,
            400,
            Some("stop"),
            "array of strings",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","stop":""}"#,
            400,
            Some("stop"),
            "empty string",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","stream_options":{}}"#,
            400,
            Some("stream_options"),
            "stream=True",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"x","echo":true}"#,
            400,
            Some("echo"),
            "leave it out",
        ),
        (
            "/v1/completions",
            &long,
            400,
            Some("input_tokens"),
            "your prompt contains",
        ),
        ("/v1/completions", &huge, 413, None, "larger than 5000 bytes"),
        ("/v1/chat/completions", "{}", 400, Some("messages"), "required"),
        (
            "/v1/chat/completions",
            r#"{"messages":[]}"#,
            400,
            Some("messages"),
            "at least one",
        ),
        (
            "/v1/chat/completions",
            r#"{"messages":["hi"]}"#,
            400,
            Some("messages"),
            "array of objects",
        ),
        (
            "/v1/chat/completions",
            r#"{"messages":[{"content":"x"}]}"#,
            400,
            Some("messages"),
            "role",
        ),
        (
            "/v1/chat/completions",
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}"#,
            400,
            Some("messages"),
            "image_url",
        ),
        (
            "/tokenize",
            r#"{"prompt":"x","messages":[]}"#,
            400,
            Some("prompt"),
            "not both",
        ),
        ("/tokenize", "{}", 400, Some("prompt"), "required"),
        ("/sleep?level=3", "", 400, Some("level"), "0, 1 or 2"),
        ("/sleep?mode=soft", "", 400, Some("mode"), "abort, wait or keep"),
        ("/wake_up?tags=cake", "", 400, Some("tags"), "weights"),
        ("/v2/what", "", 404, None, "/v2/what"),
    ];
    for &(path, body, status, param, part) in cases {
        let asked = post(server.address, path, body.to_owned()).await;
        let about = format!("{path} {}", &body[..body.len().min(60)]);
        assert_eq!(asked.status(), status, "{about}");
        let error = asked.json().await["error"].clone();
        assert_eq!(error["param"].as_str(), param, "{about}: {error}");
        assert_eq!(error["code"], status, "{about}");
        assert!(error["message"].as_str().unwrap().contains(part), "{about}: {error}");
    }
    assert_eq!(
        ask(server.address, Method::GET, "/v1/completions", "").await.status(),
        405
    );
    assert_eq!(ask(server.address, Method::DELETE, "/metrics", "").await.status(), 405);
    server.stop().await;
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = quick("--max-body-bytes 2000").await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"POST /v1/completions HTTP/1.1\r\nhost: sim\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    for _ in 0..3 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    server.stop().await;
}

#[tokio::test]
async fn a_head_with_too_many_lines_is_refused() {
    let server = quick("").await;
    let mut request = Request::get("/health").header("host", "sim");
    for i in 0..200 {
        request = request.header(format!("x-{i}"), "1");
    }
    let asked = send(server.address, request.body(Full::default()).unwrap()).await;
    assert_eq!(asked.status(), 431);
    assert_eq!(get(server.address, "/health").await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn too_many_requests_are_sent_elsewhere() {
    let server = quick("--max-num-queued-reqs 2 --vllm-compat 0.33").await;
    let body = r#"{"prompt":"x","max_tokens":5000,"ignore_eos":true,"stream":true}"#;
    let first = post(server.address, "/v1/completions", body).await;
    let second = post(server.address, "/v1/completions", body).await;
    let third = post(server.address, "/v1/completions", body).await;
    assert_eq!((first.status(), second.status(), third.status()), (200, 200, 503));
    assert_eq!(third.json().await["error"]["type"], "ServiceUnavailableError");
    let rejected = "vllm:admission_rejections_total{model_name=\"m\",reason=\"max_num_queued_reqs\"}";
    assert_eq!(crate::client::metric(server.address, rejected).await, 1.0);
    drop((first, second));
    server.stop().await;
}

#[tokio::test]
async fn a_body_under_another_name_than_json_is_refused_as_vllm_does() {
    let server = quick("").await;
    let cases = [
        (None, 400),
        (Some("application/x-www-form-urlencoded"), 400),
        (Some("Application/JSON; charset=utf-8"), 200),
    ];
    for (kind, status) in cases {
        let mut request = Request::post("/v1/completions").header("host", "sim");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let body = Full::new(r#"{"prompt":"x","max_tokens":1}"#.into());
        let asked = send(server.address, request.body(body).unwrap()).await;
        assert_eq!(asked.status(), status, "{kind:?}");
        let text = asked.text().await;
        assert!(
            status == 200 || text.contains("content type must be application/json"),
            "{text}"
        );
    }
}
