//! Decisions that a test sets, and what serves them.

use parking_lot::Mutex;
use publish::{Config, Decided, Decisions, Published, Running, Target};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long anything may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Shop {
    variants: Mutex<Arc<[Published]>>,
    version: watch::Sender<u64>,
}

impl Shop {
    pub(crate) fn new(variants: Vec<Published>) -> Arc<Self> {
        Arc::new(Self {
            variants: Mutex::new(variants.into()),
            version: watch::Sender::new(0),
        })
    }

    pub(crate) fn set(&self, variants: Vec<Published>) {
        *self.variants.lock() = variants.into();
        self.version.send_modify(|version| *version += 1);
    }
}

impl Decisions for Shop {
    fn variants(&self) -> Arc<[Published]> {
        self.variants.lock().clone()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

/// A variant of `shop` for which so many replicas are wanted just now.
pub(crate) fn wanting(name: &str, replicas: Option<u32>, active: bool) -> Published {
    Published {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        accelerator: Some("L4".to_owned()),
        model: "llama".to_owned(),
        decided: replicas.map(|replicas| Decided {
            replicas,
            at: Instant::now(),
        }),
        current: Some(2),
        active,
        controller_instance: None,
        target: Target {
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
        },
    }
}

/// Serves a shop; the token stops it.
pub(crate) async fn open(config: Config, shop: &Arc<Shop>) -> (Running, CancellationToken) {
    let stop = CancellationToken::new();
    let running = publish::serve(config, shop.clone(), stop.clone()).await.unwrap();
    (running, stop)
}
