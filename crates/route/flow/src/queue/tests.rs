use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits { entries: 3, bytes: 100 };

fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn offered(queue: &mut Queue, id: u64, deadline: u64) -> Admit {
    queue.offer(RequestId(id), 10, ms(0), ms(deadline), false)
}

fn next(queue: &mut Queue, now: u64) -> Option<u64> {
    queue.on_room(ms(now)).map(|entry| entry.id.0)
}

#[test]
fn with_room_and_nobody_waiting_a_request_goes_at_once() {
    let mut queue = Queue::new(Limits { entries: 0, bytes: 0 });
    assert!(matches!(
        queue.offer(RequestId(1), 999, ms(0), ms(5), true),
        Admit::Dispatch(_)
    ));
    assert_eq!(queue.len(), 0);
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let mut queue = Queue::new(LIMITS);
    assert_eq!(offered(&mut queue, 1, 50), Admit::Wait);
    assert_eq!(queue.offer(RequestId(2), 10, ms(1), ms(50), true), Admit::Wait);
    assert_eq!(
        (next(&mut queue, 2), next(&mut queue, 2), next(&mut queue, 2)),
        (Some(1), Some(2), None)
    );
}

#[test]
fn each_limit_refuses_by_its_name() {
    let mut queue = Queue::new(LIMITS);
    assert_eq!(offered(&mut queue, 1, 0), Admit::Refuse(Refusal::DeadlinePassed));
    assert_eq!(offered(&mut queue, 1, 50), Admit::Wait);
    assert_eq!(offered(&mut queue, 1, 50), Admit::Refuse(Refusal::AlreadyWaiting));
    let big = queue.offer(RequestId(2), 91, ms(0), ms(50), false);
    assert_eq!(
        big,
        Admit::Refuse(Refusal::Bytes {
            limit: 100,
            waiting: 10
        })
    );
    assert_eq!(
        (offered(&mut queue, 2, 50), offered(&mut queue, 3, 50)),
        (Admit::Wait, Admit::Wait)
    );
    assert_eq!(offered(&mut queue, 4, 50), Admit::Refuse(Refusal::Entries { limit: 3 }));
}

#[test]
fn a_deadline_ends_the_wait_and_is_never_dispatched_past() {
    let mut queue = Queue::new(LIMITS);
    offered(&mut queue, 1, 20);
    offered(&mut queue, 2, 10);
    offered(&mut queue, 3, 30);
    assert_eq!(queue.next_expiry(), Some(ms(10)));
    assert_eq!(next(&mut queue, 20), Some(3));
    let expired: Vec<u64> = queue.expire(ms(20)).iter().map(|entry| entry.id.0).collect();
    assert_eq!(expired, [2, 1]);
    assert_eq!(queue.next_expiry(), None);
}

#[test]
fn a_request_put_back_stands_where_it_stood() {
    let mut queue = Queue::new(LIMITS);
    let Admit::Dispatch(first) = queue.offer(RequestId(1), 10, ms(0), ms(50), true) else {
        panic!("room")
    };
    (2..=4).for_each(|id| assert_eq!(offered(&mut queue, id, 50), Admit::Wait));
    assert!(queue.put_back(first), "limits do not apply to what was admitted");
    assert!(!queue.put_back(first), "but it stands only once");
    assert_eq!((next(&mut queue, 1), next(&mut queue, 1)), (Some(1), Some(2)));
}

#[derive(Clone, Debug)]
enum Step {
    Offer { bytes: u64, patience: u64 },
    Room,
    FailOldest,
    Cancel { pick: usize },
    Pass { millis: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..40_u64, 0..30_u64).prop_map(|(bytes, patience)| Step::Offer { bytes, patience }),
        3 => Just(Step::Room),
        1 => Just(Step::FailOldest),
        1 => (0..8_usize).prop_map(|pick| Step::Cancel { pick }),
        2 => (0..20_u64).prop_map(|millis| Step::Pass { millis }),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// Conservation, order, deadlines, limits, and no waiting while there is
    /// room, over random lives of a queue in front of `slots` slots.
    #[test]
    fn a_queue_loses_nothing_and_keeps_its_order(steps in steps(), slots in 0..4_usize) {
        let mut queue = Queue::new(LIMITS);
        let mut running: Vec<Entry> = Vec::new();
        let mut waiting: Vec<RequestId> = Vec::new(); // the model: ids in the order of their places
        let mut now = Instant::ZERO;
        let mut next_id = 0;
        for step in steps {
            match step {
                Step::Offer { bytes, patience } => {
                    next_id += 1;
                    let deadline = now + std::time::Duration::from_millis(patience);
                    let room = running.len() < slots;
                    match queue.offer(RequestId(next_id), bytes, now, deadline, room) {
                        Admit::Dispatch(entry) => {
                            prop_assert!(room && waiting.is_empty() && deadline > now);
                            running.push(entry);
                        }
                        Admit::Wait => {
                            prop_assert!(!(room && waiting.is_empty()));
                            waiting.push(RequestId(next_id));
                        }
                        Admit::Refuse(Refusal::DeadlinePassed) => prop_assert!(deadline <= now),
                        Admit::Refuse(_) => prop_assert!(!(room && waiting.is_empty())),
                    }
                }
                Step::Room => {
                    if !running.is_empty() { running.remove(0); }
                }
                Step::FailOldest => {
                    if !running.is_empty() {
                        let entry = running.remove(0);
                        prop_assert!(queue.put_back(entry));
                        let place = waiting.iter().position(|id| *id > entry.id).unwrap_or(waiting.len());
                        waiting.insert(place, entry.id);
                    }
                }
                Step::Cancel { pick } => {
                    if let Some(&id) = waiting.get(pick) {
                        prop_assert!(queue.cancel(id).is_some());
                        prop_assert!(queue.cancel(id).is_none());
                        waiting.remove(pick);
                    }
                }
                Step::Pass { millis } => now += std::time::Duration::from_millis(millis),
            }
            for entry in queue.expire(now) {
                prop_assert!(entry.deadline <= now);
                waiting.retain(|id| *id != entry.id);
            }
            while running.len() < slots {
                let Some(entry) = queue.on_room(now) else { break };
                prop_assert_eq!(waiting.remove(0), entry.id, "first come, first served");
                prop_assert!(entry.deadline > now);
                running.push(entry);
            }
            let counts = queue.counts();
            prop_assert_eq!(
                counts.offered + counts.returned,
                counts.dispatched + counts.refused + counts.expired + counts.cancelled + queue.len() as u64
            );
            prop_assert_eq!(queue.len(), waiting.len());
            prop_assert!(queue.is_empty() || running.len() >= slots, "waiting while there is room");
            prop_assert!(queue.next_expiry().is_none_or(|at| at > now));
            prop_assert!(queue.len() <= LIMITS.entries + slots && queue.bytes() <= LIMITS.bytes + 40 * slots as u64);
            if queue.is_empty() { prop_assert_eq!(queue.bytes(), 0); }
        }
    }
}
