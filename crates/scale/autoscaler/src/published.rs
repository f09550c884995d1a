//! Decisions as they are published to HPA and KEDA: what of them holds, and since when.

use crate::Handle;
use crate::views::VariantView;
use publish::{Decided, Decisions, Published, Target};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Everything published is of the leader: two voices would contradict each
/// other while one of them is behind.
impl Decisions for Handle {
    fn variants(&self) -> Arc<[Published]> {
        self.published()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        Self::changed(self)
    }
}

/// What is published after a pass that ended at `now` and saw `views`.
///
/// A variant that this pass could not decide keeps its last decision with the
/// time of that one, so that it ends by its age; another model or target under
/// the same name inherits nothing. Who does not lead publishes no decision, and
/// what it publishes when it leads again is its own and new.
pub(crate) fn next(before: &[Published], views: &[VariantView], leads: bool, now: Instant) -> Arc<[Published]> {
    let told = views.iter().filter(|view| view.in_series);
    told.map(|view| one(before, view, leads, now)).collect()
}

fn one(before: &[Published], view: &VariantView, leads: bool, now: Instant) -> Published {
    let target = Target {
        kind: view.target_kind.clone(),
        name: view.target_name.clone(),
    };
    let kept = || {
        let named = |earlier: &&Published| (&earlier.namespace, &earlier.name) == (&view.namespace, &view.name);
        let same = |earlier: &&Published| {
            earlier.controller_instance == view.controller_instance
                && (&earlier.model, &earlier.target) == (&view.model, &target)
        };
        // Both are in the order of namespace and name.
        let key = (&view.namespace, &view.name);
        let first = before.partition_point(|earlier| (&earlier.namespace, &earlier.name) < key);
        before[first..].iter().take_while(named).find(same)?.decided
    };
    let decided = match view.desired {
        _ if !leads => None,
        Some(replicas) => Some(Decided { replicas, at: now }),
        None => kept(),
    };
    Published {
        namespace: view.namespace.clone(),
        name: view.name.clone(),
        accelerator: view.accelerator.clone(),
        model: view.model.clone(),
        decided,
        current: view.current,
        active: active(view),
        controller_instance: view.controller_instance.clone(),
        target,
    }
}

/// Whether there is work for a variant. A request that the gateway holds
/// belongs to the variant that is decided to serve it, or every variant of its
/// model would be woken.
fn active(view: &VariantView) -> bool {
    let busy = |measured: Option<crate::Measured>| measured.is_some_and(|measured| measured.value > 0.0);
    view.desired.is_some_and(|replicas| replicas > 0)
        || view
            .replicas
            .iter()
            .any(|replica| busy(replica.waiting) || busy(replica.running) || busy(replica.in_flight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauges::tests::view;
    use crate::handle::Pass;
    use std::time::Duration;

    fn wanting(name: &str, desired: Option<u32>) -> VariantView {
        VariantView { desired, ..view(name) }
    }

    #[test]
    fn a_decision_is_as_old_as_the_last_pass_that_took_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = next(&[], &[wanting("a", Some(2)), wanting("b", None)], true, at(0));
        let decided = |published: &[Published]| -> Vec<Option<(u32, Instant)>> {
            published
                .iter()
                .map(|one| one.decided.map(|decided| (decided.replicas, decided.at)))
                .collect()
        };
        assert_eq!(decided(&first), [Some((2, at(0))), None]);
        let second = next(&first, &[wanting("a", Some(2)), wanting("b", Some(0))], true, at(1));
        assert_eq!(decided(&second), [Some((2, at(1))), Some((0, at(1)))], "confirmed");
        let third = next(&second, &[wanting("a", None), wanting("b", Some(1))], true, at(2));
        assert_eq!(
            decided(&third),
            [Some((2, at(1))), Some((1, at(2)))],
            "kept, and ageing"
        );
        let elsewhere = VariantView {
            target_name: "c".to_owned(),
            ..wanting("a", None)
        };
        let moved = next(&third, &[elsewhere], true, at(3));
        assert_eq!(decided(&moved), [None], "another target inherits nothing");
        assert_eq!(decided(&next(&third, &[], true, at(3))), [], "gone with the object");
    }

    #[test]
    fn one_that_does_not_lead_publishes_no_decision_and_remembers_none() {
        let now = Instant::now();
        let led = next(&[], &[wanting("a", Some(2))], true, now);
        let follows = next(&led, &[wanting("a", Some(2))], false, now);
        assert_eq!(follows[0].decided, None);
        let again = next(&follows, &[wanting("a", None)], true, now);
        assert_eq!(again[0].decided, None);
    }

    #[test]
    fn there_is_work_while_replicas_are_wanted_or_hold_requests() {
        let measured = |value| {
            Some(crate::Measured {
                value,
                age_ms: 0,
                source: "replica",
            })
        };
        let replica = |waiting, running, in_flight| crate::ReplicaRecord {
            pod: "p".into(),
            state: "ready",
            phase: "Running".into(),
            address: None,
            engine: None,
            kv_usage: None,
            running,
            waiting,
            in_flight,
            slots: None,
            tokens_per_second: None,
            missing: None,
        };
        for (desired, replicas, expected) in [
            (None, vec![], false),
            (Some(0), vec![], false),
            (Some(1), vec![], true),
            (Some(0), vec![replica(None, None, None)], false),
            (
                Some(0),
                vec![replica(measured(0.0), measured(0.0), measured(0.0))],
                false,
            ),
            (Some(0), vec![replica(measured(1.0), None, None)], true),
            (None, vec![replica(None, measured(2.0), None)], true),
            (Some(0), vec![replica(None, None, measured(1.0))], true),
        ] {
            let view = VariantView {
                desired,
                replicas,
                ..view("a")
            };
            assert_eq!(active(&view), expected, "{view:?}");
        }
    }

    fn pass(leads: bool, variants: Vec<VariantView>) -> Pass {
        Pass {
            leads,
            leader_ip: None,
            observes: false,
            leader: String::new(),
            configmaps: Vec::new(),
            variants,
            records: Vec::new(),
            scalings: Vec::new(),
            gpus: crate::inventory::InventoryRecord::default(),
            picker_pools: crate::survey::pickers::PickerPools::default(),
            sources: std::collections::BTreeMap::new(),
            took_micros: 0,
            write_failures: 0,
        }
    }

    #[test]
    fn a_pass_is_read_by_the_gauge_and_by_external_metrics_in_the_moment_it_is_told() {
        let handle = Handle::new(Duration::from_secs(60));
        let external = publish::InProcess::new(Arc::new(handle.clone()), Duration::from_secs(60));
        let wanted = || -> Vec<i64> {
            let series = external.series("shop", "wva_desired_replicas");
            series.into_iter().map(|(_, milli)| milli).collect()
        };
        let mut changed = Decisions::changed(&handle);
        assert_eq!(wanted(), Vec::<i64>::new());
        for (desired, milli) in [(0, 0), (1, 1000), (1, 1000)] {
            handle.publish(pass(true, vec![wanting("a", Some(desired))]));
            assert!(changed.has_changed().unwrap(), "renewals are told too");
            changed.borrow_and_update();
            assert_eq!(wanted(), [milli]);
            assert_eq!(Decisions::variants(&handle)[0].active, desired > 0);
        }
        assert!(
            handle
                .metrics_text()
                .contains("wva_desired_replicas{variant_name=\"a\"")
        );
        let later = |seconds| handle.metrics_at(Instant::now() + Duration::from_secs(seconds));
        assert!(later(55).contains("variant_name="));
        assert!(!later(65).contains("variant_name="), "nobody confirms it any more");
        handle.publish(pass(false, vec![wanting("a", Some(1))]));
        assert_eq!(wanted(), Vec::<i64>::new(), "it leads no more");
    }
}
