use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn ledger(slots: &[u32]) -> Ledger {
    let mut ledger = Ledger::new(Backoff::default());
    slots
        .iter()
        .zip(1..)
        .for_each(|(&slots, id)| ledger.upsert(EndpointId(id), slots, true));
    ledger
}

fn take(ledger: &mut Ledger, tokens: u64) -> Option<u64> {
    let winner = ledger.pick(&[], Instant::ZERO).ok()?.winner.id;
    assert!(ledger.charge(winner, tokens));
    Some(winner.0)
}

#[test]
fn equals_take_turns() {
    let mut ledger = ledger(&[4, 4, 4]);
    let turns: Vec<_> = (0..6).map(|_| take(&mut ledger, 0)).collect();
    assert_eq!(turns, [1, 2, 3, 1, 2, 3].map(Some));
}

#[test]
fn the_share_of_slots_counts_not_the_number_of_requests() {
    let mut ledger = ledger(&[2, 8]);
    let turns: Vec<_> = (0..10).map_while(|_| take(&mut ledger, 0)).collect();
    assert_eq!(turns.iter().filter(|&&id| id == 1).count(), 2);
    assert_eq!(turns.len(), 10);
    assert_eq!(take(&mut ledger, 0), None);
}

#[test]
fn among_equal_shares_fewer_tokens_win() {
    let mut ledger = ledger(&[4, 4]);
    ledger.charge(EndpointId(1), 10_000);
    ledger.charge(EndpointId(2), 10);
    assert_eq!(take(&mut ledger, 0), Some(2));
}

#[test]
fn none_is_picked_with_the_reasons() {
    let mut ledger = ledger(&[1, 1, 1, 1, 1]);
    let now = Instant::from_secs(1);
    ledger.charge(EndpointId(1), 0);
    ledger.upsert(EndpointId(2), 1, false);
    ledger.failed(EndpointId(3), now);
    ledger.charge(EndpointId(4), 0);
    ledger.drain(EndpointId(4));
    let reasons = ledger.pick(&[EndpointId(5)], now).unwrap_err();
    let each = Inputs {
        known: 5,
        eligible: 0,
        tried: 1,
        not_ready: 1,
        draining: 1,
        backing_off: 1,
        full: 1,
    };
    assert_eq!(reasons, each);
    assert!(reasons.to_string().starts_with("0 of 5 endpoints eligible"));
}

#[test]
fn rest_grows_with_failures_and_ends_with_success() {
    let mut ledger = ledger(&[1]);
    let id = EndpointId(1);
    let mut now = Instant::from_secs(1);
    let mut rests = Vec::new();
    for _ in 0..8 {
        ledger.failed(id, now);
        assert!(!ledger.has_room(now));
        let until = ledger.next_end_of_rest(now).unwrap();
        rests.push(until.since(now).as_millis());
        now = until;
        assert!(ledger.has_room(now));
    }
    assert_eq!(rests, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
    ledger.succeeded(id);
    ledger.failed(id, now);
    assert_eq!(ledger.next_end_of_rest(now).unwrap().since(now).as_millis(), 50);
    ledger.upsert(id, 1, false);
    ledger.upsert(id, 1, true);
    assert!(ledger.has_room(now), "a Pod that became ready again is tried at once");
}

#[test]
fn a_draining_endpoint_is_forgotten_with_its_last_request() {
    let mut ledger = ledger(&[2, 2]);
    ledger.charge(EndpointId(1), 5);
    ledger.drain(EndpointId(1));
    assert_eq!(take(&mut ledger, 0), Some(2));
    assert_eq!(ledger.in_flight(), 2);
    ledger.discharge(EndpointId(1), 5);
    assert_eq!(ledger.endpoints().map(|seen| seen.id.0).collect::<Vec<_>>(), [2]);
    ledger.discharge(EndpointId(1), 5);
}

#[test]
fn an_explanation_reads_as_a_sentence() {
    let mut ledger = ledger(&[2, 4]);
    let why = ledger.pick(&[], Instant::ZERO).unwrap().to_string();
    assert_eq!(
        why,
        "endpoint 1 (0 of 2 slots, 0 tokens) before endpoint 2 (0 of 4 slots, 0 tokens); \
         2 of 2 endpoints eligible (full 0, backing off 0, not ready 0, draining 0, tried 0)"
    );
}

proptest! {
    /// Against a naive search: the winner has the least load of all who can
    /// take the request, the second the least of the rest, and books balance.
    #[test]
    fn the_winner_is_the_least_loaded(
        steps in prop::collection::vec((0..8_u64, 0..6_u8, 1..5_u32, 0..100_u64), 0..120),
    ) {
        let mut ledger = Ledger::new(Backoff::default());
        let mut open: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut now = Instant::ZERO;
        for (id, action, slots, tokens) in steps {
            let id = EndpointId(id);
            match action {
                0 => ledger.upsert(id, slots, tokens % 5 != 0),
                1 => ledger.drain(id),
                2 => ledger.failed(id, now),
                3 => now += Duration::from_millis(tokens),
                4 => if let Some(tokens) = open.get_mut(&id.0).and_then(Vec::pop) { ledger.discharge(id, tokens) },
                _ => {
                    let before = ledger.clone();
                    let able: Vec<&Endpoint> = before.endpoints.iter().filter(|endpoint| {
                        endpoint.ready && !endpoint.draining && endpoint.id != id
                            && endpoint.rests_until <= now && endpoint.in_flight < endpoint.slots
                    }).collect();
                    match ledger.pick(&[id], now) {
                        Ok(why) => {
                            let load = |seen: &Considered| (
                                f64::from(seen.in_flight) / f64::from(seen.slots),
                                seen.tokens as f64 / f64::from(seen.slots),
                            );
                            prop_assert!(able.iter().any(|endpoint| endpoint.id == why.winner.id));
                            prop_assert!(able.iter().all(|endpoint| load(&why.winner) <= load(&endpoint.considered())));
                            prop_assert_eq!(why.inputs.eligible as usize, able.len());
                            prop_assert_eq!(why.second.is_some(), able.len() > 1);
                            if let Some(second) = why.second {
                                let rest = able.iter().filter(|endpoint| endpoint.id != why.winner.id);
                                prop_assert!(rest.clone().all(|endpoint| load(&second) <= load(&endpoint.considered())));
                            }
                            prop_assert!(ledger.charge(why.winner.id, tokens));
                            open.entry(why.winner.id.0).or_default().push(tokens);
                        }
                        Err(inputs) => {
                            prop_assert!(able.is_empty());
                            let out = inputs.tried + inputs.not_ready + inputs.draining + inputs.backing_off + inputs.full;
                            prop_assert_eq!(out, inputs.known);
                        }
                    }
                }
            }
            prop_assert_eq!(ledger.in_flight(), open.values().map(|tokens| tokens.len() as u64).sum::<u64>());
            for seen in ledger.endpoints() {
                let booked: u64 = open.get(&seen.id.0).map(|tokens| tokens.iter().sum()).unwrap_or(0);
                prop_assert_eq!(seen.tokens, booked);
            }
        }
    }
}
