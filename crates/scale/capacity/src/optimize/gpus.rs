//! Many models wish for replicas, and only so many GPUs are free.
//!
//! What goes down frees its GPUs for what goes up in the same pass. Minimums
//! come first, then priorities, from 1 (highest) up; within a priority every
//! accelerator is shared fairly, by weight times GPUs wished for, first among
//! namespaces and then among the variants of each ([`share`]). GPUs that make
//! no whole replica of one variant go to the next that they do make one of. A
//! Pod must fit on one node.
//! Nothing that runs is taken away.

use super::fair::{Party, share};
use super::inventory::Inventory;
use super::pieces::Pieces;
use crate::saturation::Mode;
use crate::words;
use std::collections::{BTreeMap, BTreeSet};

mod quota;

pub use quota::{MAX_QUOTA, Quota, QuotaError, Quotas};

/// A variant's wish.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Namespace.
    pub namespace: String,
    /// Variant, unique in the namespace.
    pub variant: String,
    /// Short name of what it runs on, if that is known.
    pub accelerator: Option<String>,
    /// GPUs of one replica; 0 counts as 1.
    pub gpus_per_replica: u32,
    /// GPUs of one of its Pods, which must be on one node; 0: it is one Pod.
    pub gpus_per_pod: u32,
    /// Replicas it has.
    pub current: u32,
    /// Replicas it wishes for.
    pub target: u32,
    /// Least replicas: up to these it comes before any priority.
    pub min: u32,
    /// 1 is served before 2.
    pub priority: u32,
    /// Share among those of equal priority; 1 where nothing else is said.
    pub weight: f64,
    /// How much it has to spare: of those alike, the least goes first.
    pub spare: f64,
    /// Cost of one replica per hour.
    pub cost: f64,
}

/// What to do when nobody knows which GPUs are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fail {
    /// Grow as if there were enough; quotas still bind.
    #[default]
    Open,
    /// Do not grow.
    Closed,
}

/// What a variant gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Replicas.
    pub replicas: u32,
    /// Whether it wished for more.
    pub limited: bool,
    /// Why, in a sentence.
    pub why: String,
}

/// What each claim gets, in the order given. [`Mode::AsPublished`] is the
/// predecessor's: only its own replicas count as users of GPUs, nothing freed
/// in this pass is used, and GPUs that make no whole replica are lost.
#[must_use]
pub fn limit(claims: &[Claim], inventory: &Inventory, quotas: &Quotas, fail: Fail, mode: Mode) -> Vec<Grant> {
    settle(claims, inventory, quotas, fail, mode).0
}

/// The same, and what is free after it.
pub(crate) fn settle(
    claims: &[Claim],
    inventory: &Inventory,
    quotas: &Quotas,
    fail: Fail,
    mode: Mode,
) -> (Vec<Grant>, BTreeMap<String, Pieces>) {
    let mut books = Books::open(claims, inventory, quotas, fail, mode);
    match mode {
        Mode::Guarded => guarded(claims, &mut books),
        Mode::AsPublished => published(claims, &mut books),
    }
    let grants = claims.iter().enumerate();
    let grants = grants.map(|(at, claim)| books.grant(at, claim)).collect();
    let left = books.free.into_iter();
    (grants, left.map(|(name, pieces)| (name.to_owned(), pieces)).collect())
}

/// GPUs of one Pod, and how many Pods a replica is.
pub(crate) fn pods(gpus_per_replica: u32, gpus_per_pod: u32) -> (u64, u64) {
    let size = u64::from(gpus_per_replica.max(1));
    let pod = match u64::from(gpus_per_pod) {
        0 => size,
        pod => pod.min(size),
    };
    (pod, size.div_ceil(pod))
}

fn size(claim: &Claim) -> u64 {
    u64::from(claim.gpus_per_replica.max(1))
}

/// Where the GPUs are. None is without limit.
struct Books<'a> {
    accelerators: Vec<Option<&'a str>>,
    free: BTreeMap<&'a str, Pieces>,
    cluster: BTreeMap<&'a str, Option<u64>>,
    namespaces: BTreeMap<(&'a str, &'a str), Option<u64>>,
    quotas: &'a Quotas,
    /// Why the free GPUs are not known, and what follows from it.
    unknown: Option<(&'a str, Fail)>,
    replicas: Vec<u32>,
}

impl<'a> Books<'a> {
    fn open(claims: &'a [Claim], inventory: &'a Inventory, quotas: &'a Quotas, fail: Fail, mode: Mode) -> Self {
        let mut books = Self {
            accelerators: claims.iter().map(|claim| claim.accelerator.as_deref()).collect(),
            free: BTreeMap::new(),
            cluster: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            quotas,
            unknown: None,
            replicas: claims.iter().map(|claim| claim.current.min(claim.target)).collect(),
        };
        match inventory {
            Inventory::Known(stocks) => {
                for (name, stock) in stocks {
                    let free = match mode {
                        Mode::Guarded => stock.pieces.clone(),
                        Mode::AsPublished => Pieces::whole(stock.limit),
                    };
                    books.free.insert(name, free);
                }
            }
            Inventory::Unknown { why } => books.unknown = Some((why, fail)),
        }
        for claim in claims {
            let Some(accelerator) = claim.accelerator.as_deref() else {
                continue;
            };
            let (before, after) = (u64::from(claim.current), u64::from(claim.current.min(claim.target)));
            if let Some(free) = books.free.get_mut(accelerator) {
                match mode {
                    Mode::Guarded => {
                        let (pod, each) = pods(claim.gpus_per_replica, claim.gpus_per_pod);
                        free.add(pod, (before - after).saturating_mul(each));
                    }
                    Mode::AsPublished => free.take_loose(before * size(claim)),
                }
            }
            if mode == Mode::Guarded {
                let held = after * size(claim);
                for quota in books.bounds(claim, accelerator).into_iter().flatten() {
                    *quota = quota.saturating_sub(held);
                }
            }
        }
        books
    }

    /// The quotas a claim is under, where there is a limit.
    fn bounds(&mut self, claim: &'a Claim, accelerator: &'a str) -> [Option<&mut u64>; 2] {
        let (quotas, namespace) = (self.quotas, claim.namespace.as_str());
        if quotas.excluded.contains(namespace) {
            return [None, None];
        }
        [
            self.cluster
                .entry(accelerator)
                .or_insert_with(|| quotas.of_cluster(accelerator))
                .as_mut(),
            self.namespaces
                .entry((namespace, accelerator))
                .or_insert_with(|| quotas.of_namespace(namespace, accelerator))
                .as_mut(),
        ]
    }

    /// GPUs this claim could have now, whoever else wants them.
    fn available(&mut self, claim: &'a Claim) -> u64 {
        let Some(accelerator) = claim.accelerator.as_deref() else {
            return 0;
        };
        let free = self.free_of(claim);
        self.bounds(claim, accelerator)
            .into_iter()
            .flatten()
            .fold(free, |least, quota| least.min(*quota))
    }

    /// GPUs of its accelerator that nobody holds, whatever the quotas say.
    fn free_of(&self, claim: &Claim) -> u64 {
        match self.unknown {
            None => claim
                .accelerator
                .as_deref()
                .and_then(|name| self.free.get(name))
                .map_or(0, Pieces::gpus),
            Some((_, Fail::Open)) => u64::MAX,
            Some((_, Fail::Closed)) => 0,
        }
    }

    /// Replicas this claim could have now, whoever else wants them: as many as
    /// fit onto nodes, and as quotas allow.
    fn whole(&mut self, claim: &'a Claim) -> u64 {
        let allowed = self.available(claim) / size(claim);
        let (pod, each) = pods(claim.gpus_per_replica, claim.gpus_per_pod);
        let free = claim.accelerator.as_deref().and_then(|name| self.free.get(name));
        match (self.unknown, free) {
            (None, Some(pieces)) => allowed.min(pieces.fits(pod) / each),
            _ => allowed,
        }
    }

    /// What the cluster's quota leaves of its accelerator.
    fn cluster_left(&self, claim: &Claim) -> Option<u64> {
        let name = claim.accelerator.as_deref()?;
        match self.cluster.get(name) {
            Some(left) => *left,
            None => self.quotas.of_cluster(name),
        }
    }

    fn take(&mut self, claim: &'a Claim, at: usize, replicas: u32) {
        let (pod, each) = pods(claim.gpus_per_replica, claim.gpus_per_pod);
        let free = claim.accelerator.as_deref().and_then(|name| self.free.get_mut(name));
        if let Some(free) = free {
            free.take(pod, u64::from(replicas).saturating_mul(each));
        }
        self.charge(claim, u64::from(replicas) * size(claim));
        self.replicas[at] += replicas;
    }

    /// Takes GPUs off the quotas.
    fn charge(&mut self, claim: &'a Claim, gpus: u64) {
        let Some(accelerator) = claim.accelerator.as_deref() else {
            return;
        };
        for quota in self.bounds(claim, accelerator).into_iter().flatten() {
            *quota = quota.saturating_sub(gpus);
        }
    }

    /// Replicas still wished for, up to `most` in all.
    fn missing(&self, claim: &Claim, at: usize, most: u32) -> u32 {
        claim.target.min(most).saturating_sub(self.replicas[at])
    }

    fn grant(&mut self, at: usize, claim: &'a Claim) -> Grant {
        let replicas = self.replicas[at];
        let limited = replicas < claim.target;
        let gpus = u64::from(replicas.saturating_sub(claim.current)) * size(claim);
        let got = match replicas.checked_sub(claim.current) {
            Some(more) if more > 0 => {
                let number = words::count(usize::try_from(gpus).unwrap_or(usize::MAX), "GPU", "GPUs");
                format!("{number} for {more} more")
            }
            _ => "none more".to_owned(),
        };
        let why = match (limited, self.accelerators[at]) {
            (false, _) if claim.target > claim.current => got,
            (false, _) => "asks for no more GPUs".to_owned(),
            (true, None) => "the accelerator is not known, so no GPU can be counted for it".to_owned(),
            (true, Some(name)) => {
                let left = self.available(claim);
                let why = match self.unknown {
                    Some((why, Fail::Closed)) => format!("free GPUs are not known ({why})"),
                    None if !self.free.contains_key(name) => format!("no node has {name}"),
                    None if self.free.get(name).is_some_and(|free| lacks(free, claim)) => {
                        let pieces = self.free.get(name).filter(|_| left >= size(claim));
                        let pieces = pieces.and_then(Pieces::words).map(|words| format!(", {words}"));
                        let pieces = pieces.unwrap_or_default();
                        format!("{left} {name} left{pieces}, one replica takes {}", size(claim))
                    }
                    _ => format!("the quota has {left} {name} left, one replica takes {}", size(claim)),
                };
                format!(
                    "{got} of {} wished for: {why}",
                    claim.target.saturating_sub(claim.current)
                )
            }
        };
        Grant { replicas, limited, why }
    }
}

/// Whether no replica of a claim fits any more.
fn lacks(free: &Pieces, claim: &Claim) -> bool {
    let (pod, each) = pods(claim.gpus_per_replica, claim.gpus_per_pod);
    free.fits(pod) < each
}

fn urgency(claims: &[Claim]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..claims.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&claims[a], &claims[b]);
        a.spare
            .total_cmp(&b.spare)
            .then_with(|| a.cost.total_cmp(&b.cost))
            .then_with(|| a.namespace.cmp(&b.namespace))
            .then_with(|| a.variant.cmp(&b.variant))
    });
    order
}

fn guarded<'a>(claims: &'a [Claim], books: &mut Books<'a>) {
    let order = urgency(claims);
    let levels: BTreeSet<u32> = claims.iter().map(|claim| claim.priority).collect();
    // First everybody's minimum, then what is wished for beyond.
    for minimum in [true, false] {
        for &level in &levels {
            let here: Vec<usize> = order
                .iter()
                .copied()
                .filter(|&at| claims[at].priority == level)
                .collect();
            let most = |at: usize| if minimum { claims[at].min } else { u32::MAX };
            let accelerators: BTreeSet<&str> = here
                .iter()
                .filter_map(|&at| claims[at].accelerator.as_deref())
                .collect();
            for accelerator in accelerators {
                let wishing: Vec<usize> = here
                    .iter()
                    .copied()
                    .filter(|&at| claims[at].accelerator.as_deref() == Some(accelerator))
                    .filter(|&at| books.missing(&claims[at], at, most(at)) > 0)
                    .collect();
                let mut shares = fair_shares(claims, books, &wishing, most);
                // Large Pods first, while there are large pieces (first fit decreasing).
                let pod = |at: usize| pods(claims[at].gpus_per_replica, claims[at].gpus_per_pod).0;
                shares.sort_by_key(|(at, _)| std::cmp::Reverse(pod(*at)));
                for (at, gpus) in shares {
                    let claim = &claims[at];
                    let whole = u32::try_from((gpus / size(claim)).min(books.whole(claim))).unwrap_or(u32::MAX);
                    let replicas = whole.min(books.missing(claim, at, most(at)));
                    books.take(claim, at, replicas);
                }
                // Pieces of shares that made no whole replica, one at a time.
                let mut moved = true;
                while moved {
                    moved = false;
                    for &at in &wishing {
                        let claim = &claims[at];
                        if books.missing(claim, at, most(at)) > 0 && books.whole(claim) > 0 {
                            books.take(claim, at, 1);
                            moved = true;
                        }
                    }
                }
            }
        }
    }
}

/// GPUs of one accelerator for those who wish for some: among namespaces, then
/// within each.
fn fair_shares<'a>(
    claims: &'a [Claim],
    books: &mut Books<'a>,
    wishing: &[usize],
    most: impl Fn(usize) -> u32,
) -> Vec<(usize, u64)> {
    let mut namespaces: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &at in wishing {
        namespaces.entry(claims[at].namespace.as_str()).or_default().push(at);
    }
    let party = |books: &Books<'_>, at: usize| {
        let gpus = u64::from(books.missing(&claims[at], at, most(at))) * size(&claims[at]);
        Party {
            floor: 0,
            weight: claims[at].weight * gpus as f64,
            cap: gpus,
        }
    };
    // What is free goes first to those the cluster's quota binds together and
    // to those it does not, then to namespaces, then to variants.
    let mut binding: [Vec<(Vec<usize>, Party)>; 2] = [Vec::new(), Vec::new()];
    let mut free = 0;
    for (namespace, members) in namespaces {
        let Some(&first) = members.first() else { continue };
        let parties: Vec<Party> = members.iter().map(|&at| party(books, at)).collect();
        // All of a namespace are under the same bounds.
        let reach = books.available(&claims[first]);
        free = books.free_of(&claims[first]);
        let group = sum(&parties, reach);
        binding[usize::from(books.quotas.excluded.contains(namespace))].push((members, group));
    }
    let cluster = wishing.first().and_then(|&at| books.cluster_left(&claims[at]));
    let groups = [cluster.unwrap_or(u64::MAX), u64::MAX];
    let pools: Vec<Party> = binding
        .iter()
        .zip(groups)
        .map(|(members, bound)| sum(members.iter().map(|(_, party)| party), bound))
        .collect();
    let mut shares = Vec::new();
    for (members, pool) in binding.into_iter().zip(share(free, &pools)) {
        let parties: Vec<Party> = members.iter().map(|(_, party)| *party).collect();
        for ((members, _), gpus) in members.into_iter().zip(share(pool, &parties)) {
            let parties: Vec<Party> = members.iter().map(|&at| party(books, at)).collect();
            shares.extend(members.into_iter().zip(share(gpus, &parties)));
        }
    }
    shares
}

/// Several as one, bounded together.
fn sum<'p>(parties: impl IntoIterator<Item = &'p Party>, bound: u64) -> Party {
    let mut all = Party {
        floor: 0,
        weight: 0.0,
        cap: 0,
    };
    for party in parties {
        all.weight += party.weight.max(0.0);
        all.cap = all.cap.saturating_add(party.cap);
    }
    all.cap = all.cap.min(bound);
    all
}

fn published<'a>(claims: &'a [Claim], books: &mut Books<'a>) {
    for at in urgency(claims) {
        let claim = &claims[at];
        let missing = books.missing(claim, at, u32::MAX);
        let got = books.available(claim).min(u64::from(missing) * size(claim));
        if let Some(free) = claim.accelerator.as_deref().and_then(|name| books.free.get_mut(name)) {
            free.take_loose(got);
        }
        books.charge(claim, got);
        books.replicas[at] += u32::try_from(got / size(claim)).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
pub(crate) mod tests;
