//! Orders to targets: one at a time to each, carried out beside the passes. A
//! target that does not answer keeps nobody else waiting.

use super::Leadership;
use crate::target::{self, ScaleError, Scaled, Seen, TargetKey};
use capacity::VariantDecision;
use collect::Clock;
use kube::Api;
use kube::api::DynamicObject;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a pass waits for what it ordered: most is done by then, and is
/// told of in the same pass.
const PATIENCE: Duration = Duration::from_millis(100);

/// One variant's decision, on its way to the target.
#[derive(Debug)]
pub(super) struct Order {
    /// The variant's uid.
    pub(super) variant: String,
    pub(super) key: TargetKey,
    /// The target that was decided on.
    pub(super) seen: Seen,
    pub(super) decided: VariantDecision,
    /// The decision on the whole model, for people.
    pub(super) sentence: String,
}

/// An order, and what came of it.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) order: Order,
    pub(super) result: Result<Scaled, ScaleError>,
}

/// Orders that are being carried out.
#[derive(Debug, Default)]
pub(super) struct Orders {
    under_way: BTreeSet<TargetKey>,
    tasks: JoinSet<Ended>,
}

impl Orders {
    /// Whether an order to `key` has not ended yet.
    pub(super) fn under_way(&self, key: &TargetKey) -> bool {
        self.under_way.contains(key)
    }

    /// Begins to carry an order out, for as long as this process leads.
    pub(super) fn begin(&mut self, order: Order, api: Api<DynamicObject>, leadership: Leadership, clock: Clock) {
        self.under_way.insert(order.key.clone());
        self.tasks.spawn(async move {
            let uid = order.seen.0.as_deref();
            let (from, to) = (order.decided.from, order.decided.to);
            let may = || leadership.leads(clock.now());
            let result = target::set_replicas(&api, &order.key.name, uid, from, to, may).await;
            Ended { order, result }
        });
    }

    /// Those that ended since the last time.
    pub(super) fn ended(&mut self) -> Vec<Ended> {
        let mut all = Vec::new();
        while let Some(ended) = self.tasks.try_join_next() {
            self.note(ended, &mut all);
        }
        all
    }

    /// Those that end within a moment.
    pub(super) async fn soon(&mut self) -> Vec<Ended> {
        let mut all = Vec::new();
        let ending = async {
            while let Some(ended) = self.tasks.join_next().await {
                self.note(ended, &mut all);
            }
        };
        let _ = tokio::time::timeout(PATIENCE, ending).await;
        all
    }

    /// Waits until all have ended, each of which has a deadline.
    pub(super) async fn finish(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    fn note(&mut self, ended: Result<Ended, tokio::task::JoinError>, all: &mut Vec<Ended>) {
        match ended {
            Ok(ended) => {
                self.under_way.remove(&ended.order.key);
                all.push(ended);
            }
            // Nobody aborts them: it broke. Which one is not said, so all may be ordered anew.
            Err(error) => {
                tracing::error!(%error, "an order broke off");
                self.under_way.clear();
            }
        }
    }
}
