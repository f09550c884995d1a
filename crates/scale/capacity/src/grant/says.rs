//! Writes into each decision what it got, and why not more.

use super::{Cut, Seat, Supply, Table, Wish};
use crate::optimize::gpus::{Fail, pods};
use crate::optimize::inventory::{Inventory, Stock};
use crate::optimize::pieces::Pieces;
use crate::{Decision, Reason, words};

/// Writes what was granted into every decision; lists who was cut.
pub(super) fn tell(wishes: &mut [Wish<'_>], table: &Table<'_>, supply: &Supply<'_>) -> Vec<Cut> {
    let mut cuts = Vec::new();
    for (wish, model) in wishes.iter_mut().zip(&table.models) {
        let mut notes = Vec::new();
        let mut cause = None;
        let before = totals(wish.decision);
        for &at in &model.seats {
            let seat = &table.seats[at];
            let got = table.claims[at].current;
            let decided = &mut wish.decision.variants[seat.variant];
            let name = words::short_name(&decided.name, &wish.decision.model);
            if seat.decided <= seat.from && got == seat.from {
                continue;
            }
            if got < seat.decided {
                let (reason, why) = why(at, table, supply);
                notes.push(format!(
                    "limited: {name} wants {} more, gets {}: {why}",
                    seat.decided - seat.from,
                    match got - seat.from {
                        0 => "none".to_owned(),
                        more => more.to_string(),
                    }
                ));
                // A step is no obstacle: the next pass takes the next one.
                cause = cause.or(Some(decided.reason));
                if let Some(reason) = reason {
                    decided.reason = reason;
                }
                cuts.push(Cut {
                    namespace: wish.decision.namespace.clone(),
                    variant: decided.name.clone(),
                    wished: seat.decided,
                    granted: got,
                    why,
                });
            }
            decided.to = got;
        }
        // What others could not have went here.
        for &at in &model.seats {
            let (seat, got) = (&table.seats[at], table.claims[at].current);
            if seat.decided >= seat.from && got > seat.decided {
                let decided = &mut wish.decision.variants[seat.variant];
                decided.reason = cause.unwrap_or(decided.reason);
                let name = words::short_name(&decided.name, &wish.decision.model);
                notes.push(format!("{} of {name} instead", got - seat.decided));
            }
        }
        if !notes.is_empty() {
            retell(wish.decision, before, &notes);
            wish.decision.explanation.bounds.extend(notes);
            let change = "free GPUs of its accelerators, or larger quotas, would let it grow";
            wish.decision.explanation.would_change.push(change.to_owned());
        }
        if let (true, Inventory::Unknown { why }) = (wish.by_gpus, supply.inventory)
            && model
                .seats
                .iter()
                .any(|at| wish.terms[table.seats[*at].variant].gpus_per_replica > 0)
        {
            let note = match supply.fail {
                Fail::Open => format!("free GPUs are not known ({why}) and limit nothing"),
                Fail::Closed => format!("free GPUs are not known ({why}) and nothing grows"),
            };
            if !wish.decision.sentence.ends_with(&note) {
                let sentence = format!("{}; {note}", wish.decision.sentence);
                replace(wish.decision, &sentence);
                wish.decision.explanation.bounds.push(note);
            }
        }
    }
    cuts
}

fn totals(decision: &Decision) -> (u32, u32) {
    let sum = |of: fn(&crate::VariantDecision) -> u32| decision.variants.iter().map(of).fold(0, u32::saturating_add);
    (sum(|variant| variant.from), sum(|variant| variant.to))
}

/// The decision's sentence with what came of it.
fn retell(decision: &mut Decision, (from, to): (u32, u32), notes: &[String]) {
    let model = &decision.model;
    let heads = [
        format!("{model} {from} -> {to}: "),
        format!("{model} stays at {from}: "),
    ];
    let old = decision.sentence.as_str();
    let body = heads
        .iter()
        .find_map(|head| old.strip_prefix(head.as_str()))
        .unwrap_or(old);
    // The moves that were planned are not those that are made.
    let body = match body.rsplit_once("; ") {
        Some((why, moves)) if moves.starts_with(['+', '-']) => why,
        _ => body,
    };
    let moves: Vec<String> = decision
        .variants
        .iter()
        .filter(|variant| variant.from != variant.to)
        .map(|variant| {
            let name = words::short_name(&variant.name, model);
            match variant.to.checked_sub(variant.from) {
                Some(more) => format!("+{more} {name}"),
                None => format!("-{} {name}", variant.from - variant.to),
            }
        })
        .collect();
    let (_, now) = totals(decision);
    let notes = notes.join("; ");
    let sentence = if moves.is_empty() {
        format!("{model} stays at {from}: {body}; {notes}")
    } else {
        format!("{model} {from} -> {now}: {body}; {notes}; {}", moves.join(", "))
    };
    replace(decision, &sentence);
}

/// Puts a new sentence in place of the whole, also where variants repeat it.
fn replace(decision: &mut Decision, sentence: &str) {
    for variant in &mut decision.variants {
        variant.sentence = if variant.sentence.contains(&decision.sentence) {
            variant.sentence.replace(&decision.sentence, sentence)
        } else {
            format!("{} ({sentence})", variant.sentence)
        };
    }
    sentence.clone_into(&mut decision.sentence);
}

/// What keeps a variant from its wish: a word, if it is an obstacle, and a sentence.
fn why(at: usize, table: &Table<'_>, supply: &Supply<'_>) -> (Option<Reason>, String) {
    let (seat, claim) = (&table.seats[at], &table.claims[at]);
    let by_gpus = table.models[seat.model].by_gpus;
    if claim.current >= seat.wish {
        let step = supply.step_up.unwrap_or(u32::MAX);
        return (None, format!("at most {step} at once (maxStepUp)"));
    }
    let Some(accelerator) = claim.accelerator.as_deref() else {
        let why = "its accelerator is not known, so no free GPU can be counted for it";
        return (Some(Reason::LimitedByGpus), why.to_owned());
    };
    let size = u64::from(claim.gpus_per_replica);
    let quota = quota_words(at, table, accelerator);
    let (reason, mut why) = match &table.stock {
        Inventory::Known(stocks) if by_gpus => match stocks.get(accelerator) {
            None => (Reason::LimitedByGpus, format!("no node has {accelerator}")),
            Some(stock) => {
                let (pod, each) = pods(claim.gpus_per_replica, claim.gpus_per_pod);
                let reason = if stock.pieces.fits(pod) < each {
                    Reason::LimitedByGpus
                } else {
                    Reason::LimitedByQuota
                };
                (reason, free_words(at, seat, table, accelerator))
            }
        },
        Inventory::Unknown { why } if by_gpus && supply.fail == Fail::Closed => {
            (Reason::LimitedByGpus, format!("free GPUs are not known: {why}"))
        }
        _ => (
            Reason::LimitedByQuota,
            format!("the quota has no {accelerator} left for it"),
        ),
    };
    if size > 1 {
        why = format!("{why}, one replica takes {size}");
    }
    if !quota.is_empty() {
        why = format!("{why} ({quota})");
    }
    (Some(reason), why)
}

/// `16 H100 free, in pieces of 4, 3 of them granted to others`.
fn free_words(at: usize, seat: &Seat, table: &Table<'_>, accelerator: &str) -> String {
    let free = table.free.get(accelerator).copied().unwrap_or(0);
    let left = match &table.stock {
        Inventory::Known(stocks) => stocks.get(accelerator).map_or(0, Stock::free),
        Inventory::Unknown { .. } => 0,
    };
    let claim = &table.claims[at];
    let size = u64::from(claim.gpus_per_replica.max(1));
    // What is left would do, and does not fit.
    let pieces = table.pieces_left(accelerator).filter(|pieces| pieces.gpus() >= size);
    let pieces = pieces
        .and_then(Pieces::words)
        .map(|words| format!(", {words}"))
        .unwrap_or_default();
    let waiting = match table.waiting(accelerator) {
        0 => String::new(),
        gpus => format!(", beside {gpus} that other Pods wait for"),
    };
    let own = u64::from(claim.current.saturating_sub(seat.from)) * u64::from(claim.gpus_per_replica);
    match free.saturating_sub(left).saturating_sub(own) {
        0 => format!("{free} {accelerator} free{pieces}{waiting}"),
        others => format!("{free} {accelerator} free{pieces}{waiting}, {others} of them granted to others"),
    }
}

impl Table<'_> {
    fn stock_left(&self, accelerator: &str) -> Option<&Stock> {
        match &self.stock {
            Inventory::Known(stocks) => stocks.get(accelerator),
            Inventory::Unknown { .. } => None,
        }
    }

    fn pieces_left(&self, accelerator: &str) -> Option<&Pieces> {
        self.stock_left(accelerator).map(|stock| &stock.pieces)
    }

    fn waiting(&self, accelerator: &str) -> u64 {
        self.stock_left(accelerator).map_or(0, |stock| stock.waiting)
    }
}

/// `quota team-a 4, cluster 12`, or nothing.
fn quota_words(at: usize, table: &Table<'_>, accelerator: &str) -> String {
    let namespace = &table.claims[at].namespace;
    if table.quotas.excluded.contains(namespace) {
        return String::new();
    }
    let mut parts = Vec::new();
    if let Some(quota) = table.quotas.of_namespace(namespace, accelerator) {
        parts.push(format!("quota {namespace} {quota}"));
    }
    if let Some(quota) = table.quotas.of_cluster(accelerator) {
        parts.push(format!("quota of the cluster {quota}"));
    }
    parts.join(", ")
}
