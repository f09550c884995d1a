use super::*;
use crate::discovery::StaticEndpoint;
use proptest::prelude::*;
use std::time::Duration;

fn named(endpoints: &[(u16, u32)]) -> StaticPool {
    let endpoints = endpoints.iter().map(|&(port, slots)| StaticEndpoint {
        address: ([127, 0, 0, 1], port).into(),
        pod: format!("pod-{port}"),
        slots: Some(slots),
    });
    StaticPool {
        name: "ns/p".into(),
        models: vec!["m".into()],
        endpoints: endpoints.collect(),
    }
}

fn core(endpoints: &[(u16, u32)]) -> Core {
    let mut core = Core::new(&Limits {
        queue_entries: 4,
        ..Limits::default()
    });
    let mut next = 0;
    core.set(&named(endpoints), 1, || {
        next += 1;
        next
    });
    core
}

fn arrive(core: &mut Core, id: u64, now: u64) -> Arrival {
    let at = Instant::from_millis;
    core.arrive(RequestId(id), 10, 5, at(now), at(now + 50))
}

#[test]
fn a_replaced_pod_at_the_same_address_is_another_endpoint() {
    let mut core = core(&[(1, 1)]);
    let Arrival::Go(old) = arrive(&mut core, 1, 0) else {
        panic!("room")
    };
    let mut renamed = named(&[(1, 1)]);
    renamed.endpoints[0].pod = "successor".into();
    core.set(&renamed, 1, || 99);
    let Arrival::Go(new) = arrive(&mut core, 2, 1) else {
        panic!("room at the successor")
    };
    assert_ne!(old.endpoint, new.endpoint);
    assert_eq!(core.signals(Instant::ZERO).endpoints["127.0.0.1:1"].in_flight, 2);
    core.leave(old.endpoint, 5);
    let signals = core.signals(Instant::ZERO);
    assert_eq!(
        (signals.in_flight, signals.endpoints["127.0.0.1:1"].pod.as_str()),
        (1, "successor")
    );
}

#[test]
fn the_first_to_wait_without_endpoint_and_every_doubling_are_worth_a_decision() {
    // An endpoint with one slot takes the first request; then all wait.
    for (endpoints, urgent) in [(&[][..], &[1, 2, 4][..]), (&[(1, 1)], &[3, 5])] {
        let mut core = core(endpoints);
        let worth = (1..=5).filter(|id| match arrive(&mut core, *id, 0) {
            Arrival::Wait { worth_a_decision, .. } => worth_a_decision,
            Arrival::Go(_) | Arrival::Full { .. } => false,
            other => panic!("{other:?}"),
        });
        assert_eq!(worth.collect::<Vec<_>>(), urgent);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    End { pick: usize },
    Fail { pick: usize },
    GiveUp { pick: usize },
    Endpoints(Vec<(u16, u32)>),
    Pass { millis: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let endpoints = prop::collection::btree_map(1..5_u16, 1..4_u32, 0..4);
    let step = prop_oneof![
        5 => Just(Step::Arrive),
        3 => (0..9_usize).prop_map(|pick| Step::End { pick }),
        2 => (0..9_usize).prop_map(|pick| Step::Fail { pick }),
        1 => (0..9_usize).prop_map(|pick| Step::GiveUp { pick }),
        1 => endpoints.prop_map(|endpoints| Step::Endpoints(endpoints.into_iter().collect())),
        2 => (0..60_u64).prop_map(|millis| Step::Pass { millis }),
    ];
    prop::collection::vec(step, 0..150)
}

proptest! {
    /// Queue and ledger together: every request is somewhere, exactly once,
    /// and none waits while an endpoint could take it.
    #[test]
    fn nothing_is_lost_and_nothing_waits_for_room_that_is_there(steps in steps()) {
        let mut core = core(&[]);
        let mut now = Instant::ZERO;
        let (mut next_id, mut next_endpoint, mut offered, mut refused, mut expired, mut ended) = (0, 0, 0, 0, 0, 0);
        let mut running: Vec<Grant> = Vec::new();
        let mut waiting: Vec<(RequestId, oneshot::Receiver<Verdict>)> = Vec::new();
        for step in steps {
            let placed = match step {
                Step::Arrive => {
                    next_id += 1;
                    offered += 1;
                    let id = RequestId(next_id);
                    Some((id, core.arrive(id, 10, 5, now, now + Duration::from_millis(100))))
                }
                Step::End { pick } if pick < running.len() => {
                    core.leave(running.remove(pick).endpoint, 5);
                    ended += 1;
                    None
                }
                Step::Fail { pick } if pick < running.len() => {
                    let grant = running.remove(pick);
                    core.attempt_failed(grant.endpoint, now);
                    core.leave(grant.endpoint, 5);
                    Some((grant.entry.id, core.try_another(grant.entry, 5, &[grant.endpoint], now)))
                }
                Step::GiveUp { pick } if pick < waiting.len() => {
                    prop_assert!(core.cancel(waiting.remove(pick).0));
                    ended += 1;
                    None
                }
                Step::Endpoints(endpoints) => {
                    core.set(&named(&endpoints), 1, || { next_endpoint += 1; next_endpoint });
                    None
                }
                Step::Pass { millis } => {
                    now += Duration::from_millis(millis);
                    None
                }
                _ => None,
            };
            match placed {
                Some((_, Arrival::Go(grant))) => running.push(grant),
                Some((id, Arrival::Wait { verdict, .. })) => waiting.push((id, verdict)),
                Some((_, Arrival::Full { .. })) => refused += 1,
                Some((_, Arrival::ShuttingDown)) => prop_assert!(false, "nobody shuts down"),
                None => {}
            }
            core.expire(now);
            core.dispatch(now);
            waiting.retain_mut(|(_, verdict)| match verdict.try_recv() {
                Ok(Verdict::Go(grant)) => { running.push(grant); false }
                Ok(_) => { expired += 1; false }
                Err(_) => true,
            });
            prop_assert_eq!(core.queue.len(), waiting.len());
            prop_assert_eq!(core.ledger.in_flight(), running.len() as u64);
            prop_assert_eq!(offered, refused + expired + ended + running.len() + waiting.len());
            prop_assert!(core.queue.is_empty() || !core.ledger.has_room(now), "it waits while there is room");
            prop_assert!(core.queue.is_empty() || core.next_event(now).is_some_and(|at| at > now));
        }
        for grant in running { core.leave(grant.endpoint, 5); }
        core.set(&StaticPool::default(), 1, || 0);
        prop_assert!(core.books.is_empty(), "no book outlives its endpoint");
    }
}
