use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn model_of(body: &str) -> Option<String> {
    fields(body.as_bytes())
        .unwrap()
        .model
        .map(|model| model.name.into_owned())
}

#[test]
fn routing_fields_of_a_chat_request() {
    let body = br#" {"messages":[{"role":"user","content":"say \"model\": \"x\""}], "model" : "qwen-0.5b",
        "stream":true,"stream_options":{"include_usage":true},"max_tokens":7,"n":2,"temperature":0.5e-1} "#;
    let found = fields(body).unwrap();
    let model = found.model.clone().unwrap();
    assert_eq!(model.name, "qwen-0.5b");
    assert_eq!(&body[model.range], br#""qwen-0.5b""#);
    assert_eq!(
        (found.stream, found.include_usage, found.max_tokens, found.n),
        (true, true, Some(7), Some(2))
    );
}

#[test]
fn the_last_of_equal_keys_counts() {
    assert_eq!(model_of(r#"{"model":5,"model":"a","model":"b"}"#).as_deref(), Some("b"));
    assert_eq!(model_of(r#"{"model":"a","model":null}"#), None);
    let twice = br#"{"stream_options":{"include_usage":true},"stream_options":{},"stream":true,"stream":false}"#;
    let found = fields(twice).unwrap();
    assert!(!found.include_usage && !found.stream);
}

#[test]
fn escapes_are_resolved_in_keys_and_model() {
    assert_eq!(
        model_of(r#"{"mo\u0064el":"a\/b\u00e9\ud83d\ude00\n"}"#).as_deref(),
        Some("a/bé😀\n")
    );
    assert_eq!(model_of(r#"{"model":"\ud800x"}"#).as_deref(), Some("\u{fffd}x"));
}

#[test]
fn the_newer_token_limit_wins() {
    assert_eq!(
        fields(br#"{"max_completion_tokens":3,"max_tokens":9}"#)
            .unwrap()
            .max_tokens,
        Some(3)
    );
    assert_eq!(fields(br#"{"max_tokens":-1,"n":1.5}"#).unwrap(), Fields::default());
}

#[test]
fn an_error_names_byte_and_field() {
    let cases: [(&[u8], usize, Option<&str>, Problem); 12] = [
        (b"", 0, None, Problem::Truncated),
        (b"[1]", 0, None, Problem::NotAnObject),
        (b"\"x\"", 0, None, Problem::NotAnObject),
        (br#"{"model":"a""#, 12, None, Problem::Truncated),
        (br#"{"model":"a"#, 11, Some("model"), Problem::Truncated),
        (
            br#"{"prompt":"a","max_tokens":1x}"#,
            28,
            None,
            Problem::Unexpected(b'x'),
        ),
        (br#"{"prompt":[1,,2]}"#, 13, Some("prompt"), Problem::Unexpected(b',')),
        (br#"{"prompt":tru}"#, 13, Some("prompt"), Problem::Unexpected(b'}')),
        (b"{\"prompt\":\"a\nb\"}", 12, Some("prompt"), Problem::Unexpected(b'\n')),
        (br#"{"a":1} {}"#, 8, None, Problem::Trailing),
        (br#"{"model":7}"#, 9, Some("model"), Problem::ModelNotAString),
        (b"{\"a\":\"\xff\"}", 6, None, Problem::NotUtf8),
    ];
    for (body, offset, field, problem) in cases {
        let error = fields(body).unwrap_err();
        assert_eq!(
            (error.offset, error.field.as_deref(), error.problem),
            (offset, field, problem),
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    let said = fields(br#"{"prompt":[1,,2]}"#).unwrap_err().to_string();
    assert_eq!(
        said,
        "unexpected byte 0x2c: not valid JSON at byte 13 (in field `prompt`)"
    );
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(fields(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
    assert_eq!(
        fields(nested(MAX_DEPTH).as_bytes()).unwrap_err().problem,
        Problem::TooDeep
    );
    assert_eq!(
        fields(nested(1_000_000).as_bytes()).unwrap_err().problem,
        Problem::TooDeep
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,90}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any_key(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("model".to_owned()),
        Just("stream".to_owned()),
        Just("stream_options".to_owned()),
        Just("include_usage".to_owned()),
        Just("max_tokens".to_owned()),
        Just("max_completion_tokens".to_owned()),
        Just("n".to_owned()),
        ".{0,9}",
    ]
}

/// What the fields of a tree are, read the slow way.
fn from_tree(tree: &Value) -> (Option<&str>, bool, bool, Option<u64>, Option<u64>) {
    (
        tree["model"].as_str(),
        tree["stream"] == json!(true),
        tree["stream_options"]["include_usage"] == json!(true),
        tree["max_completion_tokens"]
            .as_u64()
            .or_else(|| tree["max_tokens"].as_u64()),
        tree["n"].as_u64(),
    )
}

proptest! {
    #[test]
    fn agrees_with_a_parsed_tree(members in prop::collection::vec((any_key(), any_json()), 0..12), pretty: bool) {
        // Written by hand so that equal keys stay in.
        let mut body = String::from("{");
        for (i, (key, value)) in members.iter().enumerate() {
            let value = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap();
            let comma = if i == 0 { "" } else { " ,\n" };
            body.push_str(&format!("{comma}{}:{value}", serde_json::to_string(key).unwrap()));
        }
        body.push('}');
        let tree: Value = serde_json::from_str(&body).unwrap();
        match fields(body.as_bytes()) {
            Ok(found) => {
                let name = found.model.as_ref().map(|model| model.name.as_ref());
                prop_assert_eq!(
                    (name, found.stream, found.include_usage, found.max_tokens, found.n),
                    from_tree(&tree)
                );
                if let Some(model) = &found.model {
                    let literal: String = serde_json::from_slice(&body.as_bytes()[model.range.clone()]).unwrap();
                    prop_assert_eq!(literal.as_str(), model.name.as_ref());
                }
            }
            Err(error) => {
                prop_assert_eq!(error.problem, Problem::ModelNotAString);
                prop_assert!(!tree["model"].is_string() && !tree["model"].is_null());
            }
        }
    }

    #[test]
    fn refuses_what_a_parser_refuses(tree in any_json(), place: prop::sample::Index, byte: u8, cut: bool) {
        let mut body = serde_json::to_vec(&json!({ "model": "m", "prompt": tree })).unwrap();
        let place = place.index(body.len());
        if cut { body.truncate(place); } else { body[place] = byte; }
        // serde_json refuses huge numbers and lone surrogates, which are the model server's to judge.
        let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(&body);
        let on_top = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        match fields(&body) {
            Ok(_) => prop_assert!(parsed.is_ok() && on_top, "{}", String::from_utf8_lossy(&body)),
            Err(error) if error.problem == Problem::ModelNotAString => {}
            Err(error) => {
                prop_assert!(error.offset <= body.len());
                let utf8 = std::str::from_utf8(&body).is_ok();
                prop_assert!(parsed.is_err() || !on_top || !utf8, "{error}: {}", String::from_utf8_lossy(&body));
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(body: Vec<u8>) {
        let _ = fields(&body);
    }
}
