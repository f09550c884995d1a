use super::*;
use serde_json::json;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u-1", "labels": {"app": "x"}},
        "spec": {"containers": []}
    }))
    .unwrap()
}

fn container(value: serde_json::Value) -> Container {
    serde_json::from_value(value).unwrap()
}

fn place() -> Place {
    Place {
        node: "gpu-a".into(),
        address: Ipv4Addr::new(127, 77, 0, 5),
        gpus: vec![1, 3],
    }
}

#[test]
fn expansion_follows_kubernetes() {
    let env = Env::from([("A".into(), "1".into()), ("B".into(), "$(A)".into())]);
    for (text, want) in [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$$(A)", "$(A)"),
        ("$(C)", "$(C)"),
        ("$(B)", "$(A)"),
        ("$", "$"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$$", "$"),
    ] {
        assert_eq!(expand(text, &env), want, "{text}");
    }
}

#[test]
fn a_container_gets_its_place_and_its_own_values_win() {
    let container = container(json!({
        "name": "c",
        "ports": [{"containerPort": 8000}, {"containerPort": 9000}],
        "env": [
            {"name": "URL", "value": "http://$(HOST):$(PORT)"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": true}}},
            {"name": "NODE_NAME", "value": "mine"},
        ],
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}],
    }));
    assert_eq!(needs(&container).0, BTreeSet::from(["m".to_owned(), "none".to_owned()]));
    let sources = Sources {
        config_maps: BTreeMap::from([
            (
                "m".into(),
                Some(serde_json::from_value(json!({"metadata": {}, "data": {"a": "b"}})).unwrap()),
            ),
            ("none".into(), None),
        ]),
        secrets: BTreeMap::from([(
            "s".into(),
            Some(serde_json::from_value(json!({"metadata": {}, "data": {"k": "dg=="}})).unwrap()),
        )]),
    };
    let env = build(&pod(), &container, &place(), &sources).unwrap();
    for (name, want) in [
        ("URL", "http://127.77.0.5:8000"),
        ("NAME", "p"),
        ("APP", "x"),
        ("KEY", "v"),
        ("P_a", "b"),
        ("NODE_NAME", "mine"),
        ("CUDA_VISIBLE_DEVICES", "1,3"),
        ("POD_NAMESPACE", "ns"),
    ] {
        assert_eq!(env.get(name).map(String::as_str), Some(want), "{name}");
    }
    assert!(!env.contains_key("MAYBE"));
}

#[test]
fn what_is_missing_is_named() {
    for (env, want) in [
        (
            json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]),
            "configmap \"m\" not found",
        ),
        (
            json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]),
            "spec.x",
        ),
        (json!([{"name": "A=", "value": "1"}]), "A="),
    ] {
        let container = container(json!({"name": "c", "env": env}));
        let error = build(&pod(), &container, &place(), &Sources::default()).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn commands_are_found_or_told_how_to_be() {
    let own = Path::new("/opt/tidegate");
    let search = OsStr::new("/usr/bin:/bin");
    let line = |value| command_line(&container(value), &Env::new(), own, Some(search), Path::new("/"));
    let (program, args) = line(json!({"name": "c", "command": ["sh", "-c"], "args": ["exit"]})).unwrap();
    assert!(program.ends_with("bin/sh"));
    assert_eq!(args, ["-c", "exit"]);
    assert_eq!(
        line(json!({"name": "c", "command": ["tidegate", "sim"]})).unwrap().0,
        own
    );
    assert_eq!(
        line(json!({"name": "c", "command": ["bin/sh"]})).unwrap().0,
        Path::new("/bin/sh")
    );
    for (bad, want) in [
        (
            json!({"name": "c", "command": ["vllm-missing"]}),
            "command not found: vllm-missing; install it or give its path",
        ),
        (json!({"name": "c", "args": ["x"]}), "has no command"),
        (json!({"name": "c", "command": ["/etc/passwd"]}), "chmod +x"),
        (json!({"name": "c", "command": ["/no/such"]}), "correct its path"),
        (json!({"name": "c", "command": ["sh", "a\u{0}b"]}), "NUL"),
    ] {
        let error = line(bad).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}
