//! What the store promises, by example and by property.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const PODS: &str = "pods";

fn store() -> Store {
    Store::new(
        0,
        Memory {
            events: 1000,
            age: 1_000_000,
            bytes: usize::MAX,
        },
    )
}

fn object(text: &str) -> Value {
    json!({"metadata": {"name": "x"}, "text": text})
}

#[test]
fn a_put_carries_its_revision_and_an_update_needs_the_last_one() {
    let (mut store, pods, x) = (store(), Arc::from(PODS), key("default", "x"));
    let first = store.put(&pods, &x, object("a"), Expect::Absent, 0).unwrap();
    assert_eq!(first.value["metadata"]["resourceVersion"], "1");
    assert_eq!(
        store.put(&pods, &x, object("b"), Expect::Absent, 0).unwrap_err(),
        Refused::Exists
    );
    store.put(&pods, &x, object("b"), Expect::Revision(1), 0).unwrap();
    assert_eq!(
        store.put(&pods, &x, object("c"), Expect::Revision(1), 0).unwrap_err(),
        Refused::Stale
    );
    assert_eq!(store.delete(&pods, &x, None, 1, 0).unwrap_err(), Refused::Stale);
    let last = store.delete(&pods, &x, None, 2, 0).unwrap();
    assert_eq!((last.revision, &last.value["text"]), (3, &json!("b")));
    assert_eq!(store.delete(&pods, &x, None, 3, 0).unwrap_err(), Refused::Missing);
}

#[test]
fn a_namespace_is_listed_without_its_namesakes() {
    let (mut store, pods) = (store(), Arc::from(PODS));
    for (namespace, name) in [("a", "x"), ("a-b", "y"), ("ab", "z"), ("a", "b")] {
        store
            .put(&pods, &key(namespace, name), object(""), Expect::Absent, 0)
            .unwrap();
    }
    let keys = |namespace| {
        store
            .list(PODS, namespace)
            .into_iter()
            .map(|(key, _)| key.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(Some("a")), ["a/b", "a/x"]);
    assert_eq!(keys(None), ["a-b/y", "a/b", "a/x", "ab/z"]);
}

#[test]
fn forgotten_and_future_revisions_are_told_apart() {
    let mut store = Store::new(
        10,
        Memory {
            events: 2,
            age: 100,
            bytes: usize::MAX,
        },
    );
    let (pods, x) = (Arc::from(PODS), key("", "x"));
    assert_eq!(
        store.since(PODS, 9, u64::MAX, 9).unwrap_err(),
        Unavailable::Compacted { oldest: 10 }
    );
    assert_eq!(
        store.since(PODS, 11, u64::MAX, 9).unwrap_err(),
        Unavailable::Future { current: 10 }
    );
    let mut revision = store.put(&pods, &x, object("0"), Expect::Absent, 0).unwrap().revision;
    for text in ["1", "2", "3"] {
        revision = store
            .put(&pods, &x, object(text), Expect::Revision(revision), 0)
            .unwrap()
            .revision;
    }
    assert_eq!(
        store.since(PODS, 11, u64::MAX, 9).unwrap_err(),
        Unavailable::Compacted { oldest: 12 }
    );
    assert_eq!(store.since(PODS, 12, u64::MAX, 9).unwrap().len(), 2);
    assert_eq!(store.list_at(PODS, None, 12).unwrap()[0].1.value["text"], "1");
    store.compact(101);
    assert_eq!(
        store.since(PODS, 13, u64::MAX, 9).unwrap_err(),
        Unavailable::Compacted { oldest: 14 }
    );
    assert!(store.since(PODS, 14, u64::MAX, 9).unwrap().is_empty());
}

#[test]
fn another_form_is_made_of_what_was_written() {
    let (mut store, pods, x) = (store(), Arc::from(PODS), key("", "x"));
    store.put(&pods, &x, object("1"), Expect::Absent, 0).unwrap();
    store.put(&pods, &x, object("2"), Expect::Revision(1), 0).unwrap();
    let add = |name: &'static str| move |value: &mut Value| value[name] = json!(true);
    let (left, right) = (add("left"), add("right"));
    store.reform(PODS, &left, 0);
    store.reform(PODS, &right, 0);
    let now = store.get(PODS, "x").unwrap();
    assert_eq!((&now.value["left"], &now.value["right"]), (&Value::Null, &json!(true)));
    assert_eq!((store.revision(), now.revision), (2, 2), "nothing was written");
    let past = &store.list_at(PODS, None, 1).unwrap()[0].1.value;
    assert_eq!((&past["text"], &past["right"]), (&json!("1"), &json!(true)));
    let table = &store.tables[PODS];
    let kept: usize = table.log.iter().map(|event| event.object.json().len()).sum();
    assert_eq!(kept, table.bytes);
    assert!(
        Arc::ptr_eq(&table.log[1].object, &table.objects["x"]),
        "one version is kept once"
    );
    store.reform(PODS, &|_| {}, 0);
    assert!(store.get(PODS, "x").unwrap().value.get("right").is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Put { resource: u8, name: u8, text: u8 },
    Delete { resource: u8, name: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let put = (0..2u8, 0..6u8, any::<u8>()).prop_map(|(resource, name, text)| Step::Put { resource, name, text });
    let delete = (0..2u8, 0..6u8).prop_map(|(resource, name)| Step::Delete { resource, name });
    prop::collection::vec(prop_oneof![3 => put, 1 => delete], 0..80)
}

type State = BTreeMap<String, Value>;

fn state(list: Listed) -> State {
    list.into_iter()
        .map(|(key, object)| (key.to_string(), object.value.clone()))
        .collect()
}

/// Carries out the steps and returns the state of each resource at each revision.
fn run(store: &mut Store, steps: &[Step]) -> Vec<[State; 2]> {
    let resources: [Arc<str>; 2] = ["pods".into(), "nodes".into()];
    let mut history = vec![[State::new(), State::new()]];
    for (now, step) in (0..).zip(steps) {
        let before = store.revision();
        match *step {
            Step::Put { resource, name, text } => {
                let (resource, key) = (&resources[usize::from(resource)], key("ns", &name.to_string()));
                let expect = store
                    .get(resource, &key)
                    .map_or(Expect::Absent, |old| Expect::Revision(old.revision));
                let new = store
                    .put(resource, &key, object(&text.to_string()), expect, now)
                    .unwrap();
                assert_eq!(new.revision, before + 1);
            }
            Step::Delete { resource, name } => {
                let (resource, key) = (&resources[usize::from(resource)], key("ns", &name.to_string()));
                let Some(revision) = store.get(resource, &key).map(|old| old.revision) else {
                    continue;
                };
                assert_eq!(
                    store.delete(resource, &key, None, revision, now).unwrap().revision,
                    before + 1
                );
            }
        }
        history.push([state(store.list("pods", None)), state(store.list("nodes", None))]);
    }
    history
}

proptest! {
    #[test]
    fn any_watcher_ends_where_the_list_is(steps in steps()) {
        let mut store = store();
        let history = run(&mut store, &steps);
        for (revision, states) in (0u64..).zip(&history) {
            for (resource, expected) in ["pods", "nodes"].into_iter().zip(states) {
                prop_assert_eq!(&state(store.list_at(resource, None, revision).unwrap()), expected);
                let mut folded = expected.clone();
                let mut last = revision;
                for event in store.since(resource, revision, u64::MAX, usize::MAX).unwrap() {
                    prop_assert!(event.revision > last);
                    last = event.revision;
                    if event.deleted {
                        prop_assert!(folded.remove(&*event.key).is_some());
                    } else {
                        folded.insert(event.key.to_string(), event.object.value.clone());
                    }
                }
                prop_assert_eq!(folded, state(store.list(resource, None)));
            }
        }
    }

    #[test]
    fn the_past_is_bounded_and_what_remains_is_whole(steps in steps(), events in 1usize..6, bytes in 100usize..400) {
        let mut store = Store::new(0, Memory { events, age: 20, bytes });
        let history = run(&mut store, &steps);
        for (revision, states) in (0u64..).zip(&history) {
            match store.list_at("pods", None, revision) {
                Ok(list) => prop_assert_eq!(&state(list), &states[0]),
                Err(Unavailable::Compacted { oldest }) => prop_assert!(revision < oldest),
                Err(Unavailable::Future { .. }) => prop_assert!(false),
            }
        }
        prop_assert!(store.since("pods", store.revision(), u64::MAX, 9).unwrap().is_empty());
        prop_assert!(store.tables.values().all(|table| table.log.len() <= events));
        for table in store.tables.values() {
            let kept: usize = table.log.iter().map(|event| event.object.json().len()).sum();
            prop_assert_eq!(kept, table.bytes);
            prop_assert!(kept <= bytes);
        }
    }
}
