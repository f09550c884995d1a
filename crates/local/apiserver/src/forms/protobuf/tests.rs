use super::*;
use crate::forms::kinds;
use proptest::prelude::*;
use std::sync::LazyLock;

/// Bodies that kubectl 1.37.1 sent and what kube-apiserver 1.36.3 made of them.
fn recorded() -> Vec<(Vec<u8>, Value)> {
    let table: Vec<(String, Value)> = serde_json::from_str(include_str!("recorded.json")).unwrap();
    table
        .into_iter()
        .map(|(body, answer)| (STANDARD.decode(body).unwrap(), answer))
        .collect()
}

#[test]
fn bodies_of_kubectl_become_what_the_real_server_makes_of_them() {
    for (body, mut answer) in recorded() {
        let mut object = decode(&body).unwrap();
        let api_version = object["apiVersion"].as_str().unwrap().to_owned();
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let gvk = Gvk::new(group, version, object["kind"].as_str().unwrap());
        let schema = schema::builtin(&gvk).unwrap();
        schema.prune(&mut object);
        if gvk.kind.ends_with("Review") || gvk.kind == "TokenRequest" {
            // Answered with a status of the server's own.
            assert_eq!(
                object["spec"].get("resourceAttributes"),
                answer["spec"].get("resourceAttributes")
            );
            continue;
        }
        if gvk.kind == "Service" {
            object["spec"]["clusterIP"] = answer["spec"]["clusterIP"].clone();
        }
        if let Some(uid) = answer.pointer("/spec/selector/matchLabels/batch.kubernetes.io~1controller-uid") {
            object["metadata"]["uid"] = uid.clone();
        }
        kinds::admit(&gvk, &mut object);
        schema.prune(&mut object);
        kinds::default(&gvk, &mut object);
        object["metadata"].as_object_mut().unwrap().remove("uid");
        let metadata = answer["metadata"].as_object_mut().unwrap();
        for key in [
            "uid",
            "creationTimestamp",
            "managedFields",
            "generation",
            "resourceVersion",
        ] {
            metadata.remove(key);
        }
        object["metadata"]["namespace"] = Value::Null;
        answer["metadata"]["namespace"] = Value::Null;
        assert_eq!(object, answer, "{gvk:?}");
    }
}

#[test]
fn the_table_is_whole() {
    let mut count = 0;
    for (name, message) in messages::all() {
        count += 1;
        for field in message.fields.values() {
            let mut kind = &field.kind;
            while let Kind::List(inner) | Kind::Map(inner) = kind {
                kind = inner;
            }
            if let Kind::Message(inner) = kind {
                // A type without fields of its own has no block.
                let known = messages::named(inner).is_some() || inner.ends_with("SubresourceStatus");
                assert!(known, "{name}.{}: {inner}", field.name);
            }
        }
    }
    assert!(count > 400, "{count}");
}

#[test]
fn special_types_have_their_json_forms() {
    // A Lease with a MicroTime, wrapped by hand: spec{1: holder, 4: renewTime{1: secs, 2: nanos}}.
    let mut time = vec![0x08];
    time.extend([0x80, 0xe2, 0xcf, 0xaa, 0x06]); // 1700000000
    time.extend([0x10, 0xe8, 0x07]); // 1000 ns
    let mut spec = vec![0x0a, 1, b'h', 0x22, u8::try_from(time.len()).unwrap()];
    spec.extend(&time);
    let mut lease = vec![0x12, u8::try_from(spec.len()).unwrap()];
    lease.extend(&spec);
    let object = decode(&wrapped("coordination.k8s.io/v1", "Lease", &lease)).unwrap();
    assert_eq!(object["spec"]["holderIdentity"], "h");
    assert_eq!(object["spec"]["renewTime"], "2023-11-14T22:13:20.000001Z");
}

/// The envelope around a message; every part shorter than 128 bytes.
fn wrapped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let part = |number: u8, bytes: &[u8]| {
        let mut part = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        part.extend(bytes);
        part
    };
    let meta = [part(1, api_version.as_bytes()), part(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), part(1, &meta), part(2, raw)].concat()
}

#[test]
fn what_cannot_be_read_is_told_why() {
    for (body, part) in [
        (b"{}".to_vec(), "does not start with"),
        (
            wrapped("v1", "Nonsense", b""),
            "no protobuf form is known of kind \"Nonsense\"",
        ),
        (
            wrapped("v1", "ConfigMap", &[0x0a, 100]),
            "100 bytes were announced, 0 are left",
        ),
        (wrapped("v1", "ConfigMap", &[0x0f]), "unknown wire type 7"),
        (
            wrapped("v1", "ConfigMap", &[0x08, 1]),
            "metadata: a value of another wire type (varint)",
        ),
        (wrapped("v1", "ConfigMap", &[0xff; 11]), "longer than ten bytes"),
    ] {
        let message = decode(&body).unwrap_err().0;
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn options_belong_to_every_group() {
    let options = decode(&wrapped("v1", "DeleteOptions", &[0x08, 5])).unwrap();
    assert_eq!(
        options,
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 5})
    );
    let options = decode(&wrapped("meta.k8s.io/v1", "DeleteOptions", &[])).unwrap();
    assert_eq!(options["kind"], "DeleteOptions");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), kind in "Pod|Deployment|Secret|Lease|Event|Ingress") {
        let version = match kind.as_str() {
            "Deployment" => "apps/v1",
            "Lease" => "coordination.k8s.io/v1",
            "Ingress" => "networking.k8s.io/v1",
            _ => "v1",
        };
        let _ = decode(&wrapped(version, &kind, &bytes));
        let _ = decode(&[MAGIC, &bytes].concat());
    }

    #[test]
    fn damaged_bodies_never_panic(choice in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        static RECORDED: LazyLock<Vec<(Vec<u8>, Value)>> = LazyLock::new(recorded);
        let mut body = choice.get(&RECORDED).0.clone();
        let place = at.index(body.len());
        body[place] = byte;
        let _ = decode(&body);
        body.truncate(cut.index(body.len()));
        let _ = decode(&body);
    }
}
