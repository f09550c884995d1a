//! Who steps back where GPUs are short and others have no choice.
//!
//! Of two models that want the same GPUs, one may be served elsewhere for a
//! little more, the other only here. Which assignment serves most wishes whole
//! at the least cost is what [`solve`] answers; those it places elsewhere ask
//! last for what they wanted. Nobody is refused by this, so shares among those
//! without a choice, quotas and whole replicas are as ever [`limit`]'s.
//!
//! [`limit`]: crate::optimize::gpus::limit

use super::{EDGE, Table};
use crate::optimize::inventory::Inventory;
use crate::optimize::solve::{Candidate, Gpus, How, Server, solve};
use std::collections::{BTreeMap, BTreeSet};

/// Most wishes that are planned together; beyond, everybody asks at once.
const MOST_PLANNED: usize = 256;

impl Table<'_> {
    /// Of these wishes (a seat and its replicas), the seats that should ask
    /// last, because their model is as well served by another variant.
    pub(super) fn who_steps_back(&self, wishes: &[(usize, u32)]) -> BTreeSet<usize> {
        let Inventory::Known(stocks) = &self.stock else {
            return BTreeSet::new();
        };
        let growing: Vec<(usize, u32)> = wishes
            .iter()
            .map(|&(at, to)| (at, to.saturating_sub(self.claims[at].current)))
            .filter(|&(at, more)| more > 0 && !self.seats[at].boundless && self.models[self.seats[at].model].by_gpus)
            .collect();
        let mut asked: BTreeMap<&str, u64> = BTreeMap::new();
        for &(at, more) in &growing {
            let claim = &self.claims[at];
            if let Some(name) = claim.accelerator.as_deref() {
                let sum = asked.entry(name).or_default();
                *sum = sum.saturating_add(u64::from(more) * u64::from(claim.gpus_per_replica));
            }
        }
        let free: BTreeMap<String, u64> = stocks
            .iter()
            .map(|(name, stock)| (name.clone(), stock.free()))
            .collect();
        let short = |name: &str| asked.get(name) > free.get(name);
        if growing.len() > MOST_PLANNED || !asked.keys().any(|name| short(name)) {
            return BTreeSet::new();
        }
        let servers: Vec<Server> = growing.iter().map(|&(at, more)| self.server(at, more)).collect();
        if servers.iter().all(|server| server.candidates.len() < 2) {
            return BTreeSet::new();
        }
        let solution = solve(&servers, &Gpus::Limited(free), How::default());
        growing
            .iter()
            .zip(&solution.allotments)
            .filter(|(_, given)| given.candidate.is_some_and(|candidate| candidate > 0))
            .map(|((at, _), _)| *at)
            .collect()
    }

    /// A wish, and every way to have as many slots whole: what it asks for
    /// first.
    fn server(&self, at: usize, more: u32) -> Server {
        let seat = &self.seats[at];
        let missing = f64::from(more) * seat.slots;
        let candidate = |at: usize, replicas: u32| {
            let claim = &self.claims[at];
            Some(Candidate {
                accelerator: claim.accelerator.clone()?,
                replicas,
                gpus_per_replica: claim.gpus_per_replica,
                cost: claim.cost * f64::from(replicas),
            })
        };
        let others = self.models[seat.model].seats.iter().copied().filter(|&other| {
            let here = self.claims[at].accelerator == self.claims[other].accelerator;
            let to = &self.seats[other];
            other != at && !here && to.helps && !to.boundless && !to.stopgap
        });
        let others = others.filter_map(|other| {
            let to = &self.seats[other];
            let replicas = (missing / to.slots - EDGE).ceil();
            let room = to.most.saturating_sub(self.claims[other].current);
            (replicas <= f64::from(room))
                .then(|| candidate(other, replicas.max(1.0) as u32))
                .flatten()
        });
        Server {
            name: format!("{}/{}", self.claims[at].namespace, self.claims[at].variant),
            priority: 1,
            keep_accelerator: false,
            current: None,
            candidates: candidate(at, more).into_iter().chain(others).collect(),
        }
    }
}
