//! Watches, as kube's watchers see them and line by line.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::runtime::watcher::{self, watcher};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{SOON, api, config_map, create, start, watched, wire};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn kinds(lines: &[Value]) -> Vec<(&str, &str)> {
    let name = |line: &Value| {
        line["object"]["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    lines
        .iter()
        .map(|line| {
            (
                line["type"].as_str().unwrap_or_default(),
                Box::leak(name(line).into_boxed_str()) as &str,
            )
        })
        .collect()
}

#[tokio::test]
async fn both_strategies_of_kube_s_watcher_follow_every_change() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    create(&maps, config_map("before")).await;
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut events = watcher(maps.clone(), config).boxed();
        let mut next = async || timeout(SOON, events.try_next()).await.unwrap().unwrap().unwrap();
        assert!(matches!(next().await, watcher::Event::Init));
        assert!(
            matches!(next().await, watcher::Event::InitApply(map) if map.metadata.name.as_deref() == Some("before"))
        );
        assert!(matches!(next().await, watcher::Event::InitDone));
        create(&maps, config_map("after")).await;
        assert!(matches!(next().await, watcher::Event::Apply(map) if map.metadata.name.as_deref() == Some("after")));
        maps.delete("after", &DeleteParams::default()).await.unwrap();
        assert!(matches!(next().await, watcher::Event::Delete(map) if map.metadata.name.as_deref() == Some("after")));
    }
}

#[tokio::test]
async fn a_watch_resumes_where_it_ended_and_misses_nothing() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    let first = create(&maps, config_map("a")).await;
    for name in ["b", "c"] {
        create(&maps, config_map(name)).await;
    }
    maps.delete("b", &DeleteParams::default()).await.unwrap();
    let from = first.metadata.resource_version.unwrap();
    let path = format!("{MAPS}?watch=true&timeoutSeconds=1&resourceVersion={from}");
    let lines = watched(&running, &path, "").await;
    assert_eq!(kinds(&lines), [("ADDED", "b"), ("ADDED", "c"), ("DELETED", "b")]);
    let versions: Vec<u64> = lines
        .iter()
        .map(|line| {
            line["object"]["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

#[tokio::test]
async fn entering_and_leaving_a_selection_is_added_and_deleted() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    let made = create(&maps, config_map("c")).await;
    for value in [json!("yes"), json!("yes2"), json!(null)] {
        let patch = json!({"metadata": {"labels": {"in": value}}});
        maps.patch("c", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }
    let from = made.metadata.resource_version.unwrap();
    let path = format!("{MAPS}?watch=true&timeoutSeconds=1&labelSelector=in&resourceVersion={from}");
    let lines = watched(&running, &path, "").await;
    assert_eq!(kinds(&lines), [("ADDED", "c"), ("MODIFIED", "c"), ("DELETED", "c")]);
    assert_eq!(
        lines[2]["object"]["metadata"]["labels"]["in"], "yes2",
        "the last state that was selected"
    );
}

#[tokio::test]
async fn a_watch_of_one_name_sees_that_one_alone() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    create(&maps, config_map("a")).await;
    create(&maps, config_map("b")).await;
    let path = format!("{MAPS}?watch=true&timeoutSeconds=1&fieldSelector=metadata.name=b");
    assert_eq!(kinds(&watched(&running, &path, "").await), [("ADDED", "b")]);
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark_that_says_so() {
    let running = start().await;
    create(&api::<ConfigMap>(&running), config_map("c")).await;
    let path = format!(
        "{MAPS}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    );
    let lines = watched(&running, &path, "").await;
    assert_eq!(kinds(&lines)[..2], [("ADDED", "c"), ("BOOKMARK", "")]);
    assert_eq!(
        lines[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    assert!(lines[1]["object"]["metadata"]["resourceVersion"].is_string());
}

#[tokio::test]
async fn a_bookmark_comes_before_the_end() {
    let running = start().await;
    let path = format!("{MAPS}?watch=true&timeoutSeconds=3&allowWatchBookmarks=true&resourceVersion=1");
    let lines = watched(&running, &path, "").await;
    assert_eq!(kinds(&lines), [("BOOKMARK", "")]);
}

#[tokio::test]
async fn a_table_watch_tells_its_columns_once() {
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    create(&maps, config_map("a")).await;
    create(&maps, config_map("b")).await;
    let accept = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json\r\n";
    let lines = watched(&running, &format!("{MAPS}?watch=true&timeoutSeconds=1"), accept).await;
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["object"]["kind"], "Table");
    assert!(lines[0]["object"]["columnDefinitions"].is_array());
    assert!(lines[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(lines[1]["object"]["rows"][0]["object"]["metadata"]["name"], "b");
}

#[tokio::test]
async fn more_watches_than_allowed_are_refused_with_a_time_to_retry() {
    let running = start().await;
    let mut open = Vec::new();
    for _ in 0..apiserver::limits::WATCHES {
        open.push(open_watch(&running).await);
    }
    let refused = wire(
        &running,
        "GET",
        &format!("{MAPS}?watch=true&resourceVersion=1"),
        "",
        b"",
    )
    .await;
    assert_eq!((refused.code, refused.header("Retry-After")), (429, Some("1")));
    drop(open);
    crate::support::eventually("the watches of clients that left are closed", || async {
        let path = format!("{MAPS}?watch=true&timeoutSeconds=1&resourceVersion=1");
        wire(&running, "GET", &path, "", b"").await.code == 200
    })
    .await;
}

async fn open_watch(running: &apiserver::Running) -> tokio::net::TcpStream {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
    let request = format!("GET {MAPS}?watch=true&resourceVersion=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).await.unwrap();
    stream
}

#[tokio::test]
async fn many_watchers_all_see_every_write() {
    const WATCHERS: usize = 50;
    const WRITES: usize = 100;
    let running = start().await;
    let maps = api::<ConfigMap>(&running);
    create(&maps, config_map("c")).await;
    let watchers: Vec<_> = (0..WATCHERS)
        .map(|_| {
            let maps: Api<ConfigMap> = maps.clone();
            tokio::spawn(async move {
                let mut events = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
                let mut last = String::new();
                while last != WRITES.to_string() {
                    let event = timeout(SOON, events.try_next()).await.unwrap().unwrap().unwrap();
                    let (WatchEvent::Added(map) | WatchEvent::Modified(map)) = event else {
                        panic!("{event:?}")
                    };
                    let now = map.data.unwrap()["a"].clone();
                    assert_eq!(
                        now.parse::<usize>().unwrap(),
                        last.parse::<usize>().map_or(now.parse().unwrap(), |last| last + 1)
                    );
                    last = now;
                }
            })
        })
        .collect();
    for n in 2..=WRITES {
        let patch = json!({"data": {"a": n.to_string()}});
        maps.patch("c", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }
    for watcher in watchers {
        watcher.await.unwrap();
    }
}
