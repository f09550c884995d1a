//! Free GPUs as they lie on nodes.
//!
//! A Pod runs on one node: sixteen GPUs free in pieces of four hold no Pod of
//! eight. Only how many nodes have how many free matters, so this stays small
//! in a cluster of any size. Pods go into the smallest pieces that hold them
//! (best fit), so that large ones stay whole for those who need them.

use std::collections::BTreeMap;

/// Free GPUs of one accelerator, by node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// GPUs free on a node, and how many such nodes there are.
    nodes: BTreeMap<u64, u64>,
}

impl Pieces {
    /// All of them on one node.
    #[must_use]
    pub fn whole(gpus: u64) -> Self {
        let mut pieces = Self::default();
        pieces.add(gpus, 1);
        pieces
    }

    /// Adds nodes with so many free GPUs each.
    pub fn add(&mut self, gpus: u64, nodes: u64) {
        if gpus > 0 && nodes > 0 {
            let known = self.nodes.entry(gpus).or_default();
            *known = known.saturating_add(nodes);
        }
    }

    /// GPUs in all.
    #[must_use]
    pub fn gpus(&self) -> u64 {
        let of = |(gpus, nodes): (&u64, &u64)| gpus.saturating_mul(*nodes);
        self.nodes.iter().map(of).fold(0, u64::saturating_add)
    }

    /// How many Pods of so many GPUs fit; 0 GPUs count as 1.
    #[must_use]
    pub fn fits(&self, gpus: u64) -> u64 {
        let each = gpus.max(1);
        let of = |(free, nodes): (&u64, &u64)| (free / each).saturating_mul(*nodes);
        self.nodes.range(each..).map(of).fold(0, u64::saturating_add)
    }

    /// Takes the GPUs of so many Pods, as far as they fit; how many did.
    pub fn take(&mut self, gpus: u64, pods: u64) -> u64 {
        let each = gpus.max(1);
        let mut left = pods;
        let sizes: Vec<(u64, u64)> = self.nodes.range(each..).map(|(free, nodes)| (*free, *nodes)).collect();
        for (free, nodes) in sizes {
            if left == 0 {
                break;
            }
            // Nodes that are filled, and one that is filled in part.
            let holds = free / each;
            let full = (left / holds).min(nodes);
            let part = if full < nodes { left - full * holds } else { 0 };
            let used = full + u64::from(part > 0);
            self.nodes.remove(&free);
            self.add(free, nodes - used);
            self.add(free - holds * each, full);
            if part > 0 {
                self.add(free - part * each, 1);
            }
            left -= full * holds + part;
        }
        pods - left
    }

    /// Takes GPUs wherever they are, the smallest pieces first.
    pub fn take_loose(&mut self, gpus: u64) {
        let mut left = gpus;
        while let Some((free, nodes)) = self.nodes.pop_first() {
            let full = (left / free).min(nodes);
            left -= full * free;
            if full < nodes {
                self.add(free, nodes - full - 1);
                self.add(free - left, 1);
                return;
            }
        }
    }

    /// `in pieces of 4`, `in pieces of at most 6`; nothing for one piece.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let ((least, _), (most, nodes)) = (self.nodes.first_key_value()?, self.nodes.last_key_value()?);
        match (least == most, nodes) {
            (true, 1) => None,
            (true, _) => Some(format!("in pieces of {most}")),
            (false, _) => Some(format!("in pieces of at most {most}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(nodes: &[u64]) -> Pieces {
        let mut pieces = Pieces::default();
        nodes.iter().for_each(|gpus| pieces.add(*gpus, 1));
        pieces
    }

    #[test]
    fn a_pod_fits_on_one_node_or_not() {
        // Nodes, GPUs of a Pod, Pods; how many fit, and what is left.
        type Case<'a> = (&'a [u64], u64, u64, u64, &'a [u64]);
        let cases: [Case<'_>; 7] = [
            (&[4, 4, 4, 4], 8, 1, 0, &[4, 4, 4, 4]),
            (&[4, 8], 8, 3, 1, &[4]),
            (&[4, 8], 4, 1, 1, &[8]),
            (&[4, 8], 2, 3, 3, &[6]),
            (&[7, 7], 3, 9, 4, &[1, 1]),
            (&[8, 8, 8], 2, 5, 5, &[8, 6]),
            (&[2], 0, 1, 1, &[1]),
        ];
        for (nodes, gpus, pods, fit, left) in cases {
            let mut of = pieces(nodes);
            assert_eq!(of.fits(gpus).min(pods), fit, "{nodes:?} {gpus}");
            assert_eq!(of.take(gpus, pods), fit, "{nodes:?} {gpus}");
            assert_eq!(of, pieces(left), "{nodes:?} {gpus} x{pods}");
        }
        assert_eq!(pieces(&[4, 4]).words().as_deref(), Some("in pieces of 4"));
        assert_eq!(pieces(&[4, 6]).words().as_deref(), Some("in pieces of at most 6"));
        assert_eq!(pieces(&[6]).words(), None);
    }

    proptest! {
        #[test]
        fn what_is_taken_is_gone_and_no_more_than_fits(
            nodes in prop::collection::vec(0u64..20, 0..8), asks in prop::collection::vec((0u64..10, 0u64..10), 0..8),
        ) {
            let mut of = pieces(&nodes);
            for (gpus, pods) in asks {
                let (before, fits) = (of.gpus(), of.fits(gpus));
                let taken = of.take(gpus, pods);
                prop_assert_eq!(taken, fits.min(pods));
                prop_assert_eq!(of.gpus(), before - taken * gpus.max(1));
                prop_assert_eq!(of.fits(gpus), fits - taken);
            }
        }

        #[test]
        fn no_figure_panics(nodes in prop::collection::vec((any::<u64>(), any::<u64>()), 0..5), gpus: u64, pods: u64) {
            let mut of = Pieces::default();
            nodes.iter().for_each(|(gpus, nodes)| of.add(*gpus, *nodes));
            let mut loose = of.clone();
            prop_assert!(of.take(gpus, pods) <= pods);
            let before = loose.gpus();
            loose.take_loose(gpus);
            prop_assert!(loose.gpus() <= before && (before == u64::MAX || before - loose.gpus() == before.min(gpus)));
        }
    }
}
