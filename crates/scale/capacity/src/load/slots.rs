//! How many requests a replica of each variant serves at once.

use crate::Memory;
use crate::heard::possible_slots;
use crate::view::VariantView;
use std::collections::BTreeMap;

/// The slots of a model's variants.
#[derive(Debug)]
pub(super) struct Slots {
    known: BTreeMap<String, f64>,
    /// Those of a variant of which none are known.
    usual: f64,
}

impl Slots {
    /// What gateways and users say, now or before; of a model of which nobody
    /// says any, what the engines' own arguments say of all of its variants. A
    /// limit that somebody put before one engine does not compare with the
    /// largest batch of another.
    pub(super) fn of(variants: &[&VariantView], memory: &mut Memory) -> Self {
        for variant in variants {
            if let Some(slots) = told(variant) {
                memory.learn_slots(&variant.name, slots);
            }
        }
        let said = variants
            .iter()
            .filter_map(|variant| Some((variant.name.clone(), memory.slots_of(&variant.name)?)));
        let mut known: BTreeMap<String, f64> = said.collect();
        if known.is_empty() {
            known = variants
                .iter()
                .map(by_arguments)
                .collect::<Option<_>>()
                .unwrap_or_default();
        }
        let usual = if known.is_empty() {
            1.0
        } else {
            known.values().sum::<f64>() / known.len() as f64
        };
        Self { known, usual }
    }

    /// Whether any are known; everything counts as one otherwise.
    pub(super) fn known(&self) -> bool {
        !self.known.is_empty()
    }

    /// Those of one replica of a variant.
    pub(super) fn each(&self, variant: &str) -> f64 {
        self.known.get(variant).copied().unwrap_or(self.usual)
    }
}

fn told(variant: &VariantView) -> Option<f64> {
    let seen = variant
        .replicas
        .iter()
        .filter_map(|replica| replica.slots.last())
        .map(|seen| seen.value);
    seen.chain(variant.slots)
        .filter(|slots| possible_slots(*slots))
        .reduce(f64::min)
}

fn by_arguments(variant: &&VariantView) -> Option<(String, f64)> {
    let slots = variant.engine.as_ref()?.slots()?;
    possible_slots(slots).then(|| (variant.name.clone(), slots))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saturation::engine_args::EngineArgs;

    fn variant(name: &str, said: Option<f64>, batch: Option<u64>) -> VariantView {
        VariantView {
            name: name.to_owned(),
            accelerator: None,
            cost: 1.0,
            min: 0,
            max: 9,
            wanted: 1,
            slots: said,
            gpus: None,
            engine: Some(EngineArgs {
                max_num_seqs: batch,
                ..EngineArgs::default()
            }),
            profile: None,
            replicas: Vec::new(),
        }
    }

    #[test]
    fn whose_word_counts() {
        type Of = (Option<f64>, Option<u64>);
        let cases: [(&str, [Of; 2], bool, [f64; 2]); 5] = [
            ("nobody says any", [(None, None), (None, None)], false, [1.0, 1.0]),
            (
                "the arguments of all",
                [(None, Some(64)), (None, Some(16))],
                true,
                [64.0, 16.0],
            ),
            (
                "one engine's default is not known",
                [(None, Some(64)), (None, None)],
                false,
                [1.0, 1.0],
            ),
            (
                "a limit that is said goes before arguments, for all",
                [(Some(8.0), Some(64)), (None, Some(16))],
                true,
                [8.0, 8.0],
            ),
            (
                "no number of requests",
                [(Some(f64::NAN), Some(64)), (None, Some(u64::MAX))],
                false,
                [1.0, 1.0],
            ),
        ];
        for (name, of, known, each) in cases {
            let [one, other] = of;
            let (one, other) = (variant("one", one.0, one.1), variant("other", other.0, other.1));
            let slots = Slots::of(&[&one, &other], &mut Memory::default());
            assert_eq!(slots.known(), known, "{name}");
            assert_eq!([slots.each("one"), slots.each("other")], each, "{name}");
        }
    }

    #[test]
    fn every_engine_of_a_replica_has_its_own_batch() {
        let mut ranks = variant("ranks", None, Some(64));
        ranks.engine.as_mut().unwrap().data_parallel = 8;
        assert_eq!(Slots::of(&[&ranks], &mut Memory::default()).each("ranks"), 512.0);
    }
}
