//! Answers: their shape, their words and their counts.

use crate::client::{events, get, post, quick, send};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

/// `text` with the values that differ between servers and requests masked.
fn masked(text: &str) -> String {
    let keys = [
        "id",
        "created",
        "model",
        "content",
        "text",
        "prompt_tokens",
        "total_tokens",
        "completion_tokens",
    ];
    let mut out = text.to_owned();
    for key in keys.iter().chain(&["system_fingerprint"]) {
        let marker = format!("\"{key}\":");
        let mut from = 0;
        while let Some(at) = out[from..].find(&marker) {
            let start = from + at + marker.len();
            let rest = &out[start..];
            let end = match rest.strip_prefix('"') {
                Some(inside) => inside.find('"').unwrap() + 2,
                None => rest.find([',', '}']).unwrap(),
            };
            out.replace_range(start..start + end, "*");
            from = start;
        }
    }
    out
}

#[tokio::test]
async fn a_chat_stream_looks_like_vllms() {
    let server = quick("").await;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":16,"ignore_eos":true,
                   "stream":true,"stream_options":{"include_usage":true},"some_unknown_field":{}}"#;
    let asked = post(server.address, "/v1/chat/completions", body).await;
    assert_eq!(asked.status(), 200);
    assert_eq!(
        asked.response.headers()["content-type"],
        "text/event-stream; charset=utf-8"
    );
    let ours: Vec<String> = asked.events().await.iter().map(|event| masked(event)).collect();
    let theirs = events(include_str!("../fixtures/vllm-0.32.0-chat-stream.sse"));
    let theirs: Vec<String> = theirs.iter().map(|event| masked(event)).collect();
    assert_eq!(ours, theirs);
    server.stop().await;
}

#[tokio::test]
async fn a_completion_stream_has_one_event_for_each_token() {
    let server = quick("").await;
    let body = r#"{"prompt":"the gate","max_tokens":3,"ignore_eos":true,"stream":true}"#;
    let events = post(server.address, "/v1/completions", body).await.events().await;
    let event = |finish: &str, stop: &str| {
        format!(
            "{{\"id\":*,\"object\":\"text_completion\",\"created\":*,\"model\":*,\"choices\":[{{\"index\":0,\"text\":*,\
             \"logprobs\":null,\"finish_reason\":{finish},\"stop_reason\":null,\"prompt_token_ids\":null,\
             \"token_ids\":null}}]{stop}}}"
        )
    };
    let wanted = [
        event("null", ""),
        event("null", ""),
        event("\"length\"", ",\"system_fingerprint\":*"),
        "[DONE]".to_owned(),
    ];
    assert_eq!(events.iter().map(|event| masked(event)).collect::<Vec<_>>(), wanted);
    server.stop().await;
}

#[tokio::test]
async fn streamed_and_whole_answers_say_the_same() {
    let server = quick("").await;
    let ask = async |stream: bool| {
        let body = json!({"messages": [{"role": "user", "content": "tell"}], "temperature": 0, "stream": stream});
        post(server.address, "/v1/chat/completions", body.to_string()).await
    };
    let whole = ask(false).await.json().await;
    let said = whole["choices"][0]["message"]["content"].as_str().unwrap();
    let mut streamed = String::new();
    let mut tokens = 0;
    for event in ask(true).await.events().await {
        let Ok(event) = serde_json::from_str::<Value>(&event) else {
            continue;
        };
        let content = event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        tokens += u64::from(!content.is_empty());
        streamed.push_str(content);
    }
    assert_eq!(streamed, said);
    assert_eq!(whole["usage"]["completion_tokens"], tokens);
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    assert_eq!(whole["object"], "chat.completion");
    assert!(said.len() > 200, "{said}");
    server.stop().await;
}

#[tokio::test]
async fn usage_is_what_the_tokenizer_counts() {
    let server = quick("").await;
    let prompt = "The tide turns: ships, ropes & anchors wait.";
    let counted = post(server.address, "/tokenize", json!({"prompt": prompt}).to_string())
        .await
        .json()
        .await;
    let body = json!({"prompt": prompt, "max_tokens": 20, "ignore_eos": true});
    let whole = post(server.address, "/v1/completions", body.to_string())
        .await
        .json()
        .await;
    assert_eq!(whole["usage"]["prompt_tokens"], counted["count"]);
    assert_eq!(whole["usage"]["completion_tokens"], 20);
    assert_eq!(
        counted["tokens"].as_array().unwrap().len() as u64,
        counted["count"].as_u64().unwrap()
    );
    let said = json!({"prompt": whole["choices"][0]["text"]});
    let said = post(server.address, "/tokenize", said.to_string()).await.json().await;
    assert_eq!(said["count"], 20, "an answer of 20 tokens has 20 tokens");
    let by_id = json!({"prompt": counted["tokens"], "max_tokens": 1});
    let by_id = post(server.address, "/v1/completions", by_id.to_string())
        .await
        .json()
        .await;
    assert_eq!(by_id["usage"]["prompt_tokens"], counted["count"]);
    let messages = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": prompt}]}]});
    let chat = post(server.address, "/tokenize", messages.to_string())
        .await
        .json()
        .await;
    assert!(
        chat["count"].as_u64().unwrap() > counted["count"].as_u64().unwrap(),
        "the template adds marks"
    );
    server.stop().await;
}

#[tokio::test]
async fn several_answers_come_under_their_numbers() {
    let server = quick("").await;
    let body = json!({"prompt": ["one", "two"], "n": 2, "max_tokens": 4, "ignore_eos": true});
    let whole = post(server.address, "/v1/completions", body.to_string())
        .await
        .json()
        .await;
    let choices = whole["choices"].as_array().unwrap();
    assert_eq!(
        choices
            .iter()
            .map(|choice| choice["index"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert_ne!(choices[0]["text"], choices[1]["text"]);
    assert_eq!(whole["usage"]["completion_tokens"], 16);
    assert_eq!(whole["usage"]["prompt_tokens"], 2);

    let body = json!({"messages": [{"role": "user", "content": "x"}], "n": 3, "max_tokens": 2, "ignore_eos": true,
                      "stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    let events = post(server.address, "/v1/chat/completions", body.to_string())
        .await
        .events()
        .await;
    let events: Vec<Value> = events
        .iter()
        .filter_map(|event| serde_json::from_str(event).ok())
        .collect();
    for index in 0..3 {
        let own = events.iter().filter(|event| event["choices"][0]["index"] == index);
        let ends = own
            .clone()
            .filter(|event| event["choices"][0]["finish_reason"] == "length");
        assert_eq!(
            (own.count(), ends.count()),
            (3, 1),
            "role and two tokens of answer {index}"
        );
    }
    assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], 6);
    assert_eq!(events[1]["usage"]["completion_tokens"], 1, "{}", events[1]);
    server.stop().await;
}

#[tokio::test]
async fn a_stop_string_ends_an_answer_before_it() {
    let server = quick("").await;
    for stream in [false, true] {
        let body = json!({"prompt": "p", "seed": 5, "max_tokens": 500, "stop": ["."], "stream": stream,
                          "ignore_eos": true});
        let asked = post(server.address, "/v1/completions", body.to_string()).await;
        let answers: Vec<Value> = if stream {
            asked
                .events()
                .await
                .iter()
                .filter_map(|event| serde_json::from_str(event).ok())
                .collect()
        } else {
            vec![asked.json().await]
        };
        let text: String = answers
            .iter()
            .map(|answer| answer["choices"][0]["text"].as_str().unwrap())
            .collect();
        assert!(!text.is_empty() && !text.contains('.'), "{text}");
        let last = &answers.last().unwrap()["choices"][0];
        assert_eq!(
            (last["finish_reason"].as_str(), last["stop_reason"].as_str()),
            (Some("stop"), Some("."))
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn lengths_follow_the_request() {
    let server = quick("--output-tokens-mean 30 --output-tokens-stdev 5").await;
    let tokens = async |extra: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let whole = post(server.address, "/v1/chat/completions", body.to_string())
            .await
            .json()
            .await;
        let reason = whole["choices"][0]["finish_reason"].as_str().unwrap().to_owned();
        (whole["usage"]["completion_tokens"].as_u64().unwrap(), reason)
    };
    let (free, reason) = tokens(json!({})).await;
    assert!((10..=50).contains(&free) && reason == "stop", "{free} {reason}");
    assert_eq!(tokens(json!({"max_tokens": 3})).await, (3, "length".to_owned()));
    assert_eq!(
        tokens(json!({"max_completion_tokens": 4, "max_tokens": 9})).await,
        (4, "length".to_owned())
    );
    assert_eq!(
        tokens(json!({"min_tokens": 80, "max_tokens": 90})).await,
        (80, "stop".to_owned())
    );
    assert_eq!(
        tokens(json!({"max_tokens": 70, "ignore_eos": true})).await,
        (70, "length".to_owned())
    );
    let whole = post(server.address, "/v1/completions", r#"{"prompt":"x"}"#)
        .await
        .json()
        .await;
    assert_eq!(
        whole["usage"]["completion_tokens"], 16,
        "a completion has 16 tokens unless told otherwise"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_answer_has_the_clients_request_id() {
    let server = quick("").await;
    let request = Request::post("/v1/completions")
        .header("host", "sim")
        .header("content-type", "application/json")
        .header("x-request-id", "trace-\"7\"");
    let request = request.body(Full::from(r#"{"prompt":"x","stream":true}"#)).unwrap();
    let events = send(server.address, request).await.events().await;
    let first: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!(first["id"], "cmpl-trace-\"7\"");
    let models = get(server.address, "/v1/models").await.json().await;
    assert_eq!(models["data"][0]["id"], "m");
    assert_eq!(models["data"][0]["max_model_len"], 15_984);
    server.stop().await;
}
