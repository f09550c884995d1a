//! GPUs as nodes and pods tell them.

use super::pieces::Pieces;
use crate::words;
use std::collections::BTreeMap;

/// Vendors whose GPUs are counted: the resource is `<vendor>/gpu`, the
/// product is in the label `<vendor>/gpu.product`.
pub const VENDORS: [&str; 3] = ["nvidia.com", "amd.com", "intel.com"];

/// The short name of an accelerator, from the product a node is labelled with:
/// `NVIDIA-A100-PCIE-80GB` is `A100`, `Intel-Gaudi-2-96GB` is `Gaudi-2`. A name
/// without a vendor is short already.
#[must_use]
pub fn accelerator_name(product: &str) -> String {
    let product = product.trim();
    let parts: Vec<&str> = product.split('-').collect();
    match parts.as_slice() {
        [_] => product.to_owned(),
        [_, family, number, ..]
            if family.eq_ignore_ascii_case("gaudi") && number.chars().all(|c| c.is_ascii_digit()) =>
        {
            format!("{family}-{number}")
        }
        // Gaudi-2 without its vendor.
        [family, number] if family.eq_ignore_ascii_case("gaudi") => format!("{family}-{number}"),
        [_, second, ..] => (*second).to_owned(),
        [] => String::new(),
    }
}

/// What containers ask for: resource name and amount.
pub type Requests<'a> = &'a [(&'a str, u64)];

/// GPUs a pod holds: its containers run together, its init containers one
/// after another before them.
#[must_use]
pub fn pod_gpus(containers: &[Requests<'_>], init: &[Requests<'_>]) -> u64 {
    let gpus = |requests: &Requests<'_>| {
        requests
            .iter()
            .filter(|(resource, _)| {
                resource
                    .strip_suffix("/gpu")
                    .is_some_and(|vendor| VENDORS.contains(&vendor))
            })
            .fold(0u64, |sum, (_, amount)| sum.saturating_add(*amount))
    };
    let together = containers.iter().map(gpus).fold(0, u64::saturating_add);
    together.max(init.iter().map(gpus).max().unwrap_or(0))
}

/// GPUs by accelerator.
#[derive(Clone, Debug, PartialEq)]
pub enum Inventory {
    /// Nodes and pods were listed.
    Known(BTreeMap<String, Stock>),
    /// They could not be.
    Unknown {
        /// What went wrong.
        why: String,
    },
}

/// GPUs of one accelerator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// What the nodes have.
    pub limit: u64,
    /// What pods hold, ours and everybody's.
    pub used: u64,
    /// What pods that wait for a node are about to hold.
    pub waiting: u64,
    /// What is free, by node.
    pub pieces: Pieces,
}

impl Stock {
    /// GPUs that are all on one node.
    #[must_use]
    pub fn pool(limit: u64, used: u64) -> Self {
        let mut stock = Self::default();
        stock.add_node(limit, used);
        stock
    }

    /// Adds a node. More held than there is takes nothing from another node.
    pub fn add_node(&mut self, limit: u64, used: u64) {
        let used = used.min(limit);
        self.limit = self.limit.saturating_add(limit);
        self.used = self.used.saturating_add(used);
        self.pieces.add(limit - used, 1);
    }

    /// A pod that waits for a node takes its GPUs where it fits. Where it does
    /// not it stands in nobody's way.
    pub fn wait(&mut self, gpus: u64) -> bool {
        let fits = self.pieces.take(gpus, 1) > 0;
        if fits {
            self.waiting = self.waiting.saturating_add(gpus);
        }
        fits
    }

    /// What nobody holds or waits for.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.pieces.gpus()
    }
}

/// What several sources agree is there: per accelerator the one with the least
/// free. An accelerator only one of them knows is as that one says. Unknown if
/// any is.
#[must_use]
pub fn least_of(sources: &[Inventory]) -> Inventory {
    let mut all: BTreeMap<String, Stock> = BTreeMap::new();
    let mut unknown = Vec::new();
    for source in sources {
        match source {
            Inventory::Known(stocks) => {
                for (name, stock) in stocks {
                    all.entry(name.clone())
                        .and_modify(|held| {
                            if (stock.free(), stock.limit) < (held.free(), held.limit) {
                                held.clone_from(stock);
                            }
                        })
                        .or_insert_with(|| stock.clone());
                }
            }
            Inventory::Unknown { why } => unknown.push(why.clone()),
        }
    }
    if unknown.is_empty() {
        Inventory::Known(all)
    } else {
        Inventory::Unknown {
            why: words::some_of(&unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_have_short_names() {
        for (product, short) in [
            ("NVIDIA-A100-PCIE-80GB", "A100"),
            ("NVIDIA-H100-SXM5-80GB", "H100"),
            ("NVIDIA-L40S-48GB", "L40S"),
            ("AMD-MI300X-192G", "MI300X"),
            ("Intel-Gaudi-2-96GB", "Gaudi-2"),
            ("Gaudi-2", "Gaudi-2"),
            ("A100", "A100"),
            ("Unknown-GPU-Model-123", "GPU"),
            ("", ""),
            ("-", ""),
        ] {
            assert_eq!(accelerator_name(product), short, "{product}");
        }
    }

    #[test]
    fn a_pod_holds_what_runs_at_once() {
        assert_eq!(pod_gpus(&[&[("nvidia.com/gpu", 2)], &[("amd.com/gpu", 4)]], &[]), 6);
        assert_eq!(
            pod_gpus(&[&[("nvidia.com/gpu", 2)]], &[&[("nvidia.com/gpu", 4)], &[]]),
            4
        );
        assert_eq!(pod_gpus(&[&[("cpu", 2), ("nvidia.com/gpu.memory", 9)]], &[]), 0);
    }

    #[test]
    fn more_held_than_there_is_leaves_nothing() {
        assert_eq!(Stock::pool(8, 12).free(), 0);
    }

    #[test]
    fn of_several_sources_the_least_counts() {
        let known = |limit, used| Inventory::Known([("A100".to_owned(), Stock::pool(limit, used))].into());
        assert_eq!(least_of(&[known(8, 2), known(10, 7)]), known(10, 7));
        let unknown = Inventory::Unknown {
            why: "no nodes".to_owned(),
        };
        assert_eq!(least_of(&[known(8, 2), unknown.clone()]), unknown);
        assert_eq!(least_of(&[]), Inventory::Known(BTreeMap::new()));
    }
}
