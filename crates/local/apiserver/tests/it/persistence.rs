//! What is on disk survives, however the server ends.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams};
use tempfile::TempDir;

use crate::support::{api, config_map, create, start_in};

async fn version(maps: &Api<ConfigMap>) -> u64 {
    maps.list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_restart_keeps_objects_and_revision() {
    let folder = TempDir::new().unwrap();
    let running = start_in(Some(folder.path())).await;
    assert_eq!(running.restored, 0);
    let maps = api::<ConfigMap>(&running);
    let kept = create(&maps, config_map("kept")).await;
    create(&maps, config_map("deleted")).await;
    maps.delete("deleted", &DeleteParams::default()).await.unwrap();
    let (before, count) = (version(&maps).await, running.object_count());
    running.shutdown().await;

    let running = start_in(Some(folder.path())).await;
    assert_eq!(running.restored, count);
    let maps = api::<ConfigMap>(&running);
    assert_eq!(version(&maps).await, before);
    let found = maps.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].metadata, &found[0].data), (&kept.metadata, &kept.data));
    let next = create(&maps, config_map("next")).await;
    assert!(next.metadata.resource_version.unwrap().parse::<u64>().unwrap() > before);
}

#[tokio::test]
async fn definitions_are_served_again_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let running = start_in(Some(folder.path())).await;
    let definitions = Api::all(crate::support::client(&running));
    for definition in ::api::crds() {
        definitions
            .create(&kube::api::PostParams::default(), &definition)
            .await
            .unwrap();
    }
    running.shutdown().await;
    let running = start_in(Some(folder.path())).await;
    let pools: Api<::api::InferencePool> = api(&running);
    assert!(pools.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_abrupt_end_loses_nothing_acknowledged() {
    let folder = TempDir::new().unwrap();
    for round in 0..3 {
        let running = start_in(Some(folder.path())).await;
        let maps = api::<ConfigMap>(&running);
        let writers: Vec<_> = (0..10)
            .map(|n| {
                let maps = maps.clone();
                tokio::spawn(async move { create(&maps, config_map(&format!("c{round}-{n}"))).await })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        drop(running);
        let running = start_in(Some(folder.path())).await;
        let maps = api::<ConfigMap>(&running);
        assert_eq!(
            maps.list(&ListParams::default()).await.unwrap().items.len(),
            (round + 1) * 10
        );
    }
}

#[tokio::test]
async fn a_taken_port_or_folder_is_named() {
    let folder = TempDir::new().unwrap();
    let running = start_in(Some(folder.path())).await;
    let options = |listen, data_dir| apiserver::Options { listen, data_dir };
    let error = apiserver::serve(options(running.address, None))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&running.address.to_string()), "{error}");
    let data_dir = Some(folder.path().to_owned());
    let error = apiserver::serve(options("127.0.0.1:0".parse().unwrap(), data_dir))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("objects.redb is in use"), "{error}");
}

#[tokio::test]
async fn a_foreign_file_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("objects.redb");
    std::fs::write(&file, "not a database at all").unwrap();
    let options = apiserver::Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: Some(folder.path().into()),
    };
    let error = apiserver::serve(options).await.unwrap_err().to_string();
    assert!(error.contains("objects.redb"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"not a database at all");
}
