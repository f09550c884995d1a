//! A running gateway for a test.

use crate::client::{Answer, Client, PATIENCE};
use gateway::{Config, Discovery, Handle, Running, StaticEndpoint, StaticPool};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::signals::PoolSignals;

pub(crate) struct Rig {
    pub(crate) running: Running,
    pub(crate) shutdown: CancellationToken,
    pools: watch::Sender<Vec<StaticPool>>,
}

/// Pool `ns/p`, which serves model `m`, at these endpoints.
fn pool(endpoints: &[(SocketAddr, u32)]) -> Vec<StaticPool> {
    let endpoints = endpoints
        .iter()
        .enumerate()
        .map(|(i, &(address, slots))| StaticEndpoint {
            address,
            pod: format!("pod-{i}"),
            slots: Some(slots),
        });
    vec![StaticPool {
        name: "ns/p".into(),
        models: vec!["m".into()],
        endpoints: endpoints.collect(),
    }]
}

impl Rig {
    pub(crate) async fn new(endpoints: &[(SocketAddr, u32)]) -> Self {
        Self::with(endpoints, |_| {}).await
    }

    pub(crate) async fn with(endpoints: &[(SocketAddr, u32)], change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(([127, 0, 0, 1], 0).into());
        config.admin = Some(([127, 0, 0, 1], 0).into());
        config.workers = 2;
        change(&mut config);
        let (pools, watched) = watch::channel(pool(endpoints));
        let shutdown = CancellationToken::new();
        let running = gateway::start(config, Discovery::Watched(watched), shutdown.clone())
            .await
            .unwrap();
        let rig = Self {
            running,
            shutdown,
            pools,
        };
        rig.eventually("the pool is known", |handle| {
            handle.signals().pools.contains_key("ns/p")
        })
        .await;
        rig
    }

    pub(crate) fn set_endpoints(&self, endpoints: &[(SocketAddr, u32)]) {
        self.pools.send_replace(pool(endpoints));
    }

    pub(crate) fn handle(&self) -> Handle {
        self.running.handle.clone()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.running.address).await
    }

    pub(crate) async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        self.client().await.ask(request).await
    }

    pub(crate) fn signals(&self) -> PoolSignals {
        self.running.handle.signals().pools["ns/p"].clone()
    }

    pub(crate) fn failed(&self, outcome: &str) -> u64 {
        self.signals().failed.get(outcome).copied().unwrap_or(0)
    }

    /// Waits until the gateway's numbers say so.
    pub(crate) async fn eventually(&self, what: &str, truth: impl Fn(&Handle) -> bool) {
        let poll = async {
            while !truth(&self.running.handle) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll)
            .await
            .unwrap_or_else(|_| panic!("not in time: {what}: {:?}", self.signals()));
    }

    /// Waits until nothing is under way and checks that nothing was lost.
    pub(crate) async fn settled(&self) -> PoolSignals {
        self.eventually("nothing is under way", |handle| {
            let pool = &handle.signals().pools["ns/p"];
            pool.in_flight == 0 && pool.queued == 0
        })
        .await;
        let pool = self.signals();
        assert_eq!(
            pool.arrived,
            pool.completed + pool.failed.values().sum::<u64>(),
            "{pool:?}"
        );
        pool
    }
}

pub(crate) fn queued(handle: &Handle) -> u64 {
    handle.signals().pools["ns/p"].queued
}

pub(crate) fn in_flight(handle: &Handle) -> u64 {
    handle.signals().pools["ns/p"].in_flight
}
