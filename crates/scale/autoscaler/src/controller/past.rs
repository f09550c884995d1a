//! What is remembered of a model, as long as it is the same.

use capacity::Memory;
use std::collections::BTreeMap;

/// A model's past, and which targets it is about.
#[derive(Debug, Default)]
pub(super) struct Past {
    pub(super) memory: Memory,
    /// Uid of each variant's target, by the variant's name.
    targets: BTreeMap<String, String>,
}

impl Past {
    /// Takes note of the targets there are now, by variant. A target that was
    /// deleted and made anew is another one: what is remembered is not of it.
    /// The target of a variant that `exists` stays known while it is gone.
    pub(super) fn look_at(&mut self, now: BTreeMap<String, String>, exists: impl Fn(&str) -> bool) {
        let anew = |(name, uid): (&String, &String)| now.get(name).is_some_and(|other| other != uid);
        if self.targets.iter().any(anew) {
            self.memory = Memory::default();
        }
        self.targets.retain(|name, _| now.contains_key(name) || exists(name));
        self.targets.extend(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capacity::{GatewayView, ModelView, Policy};
    use units::{Instant, Signal};

    #[test]
    fn a_target_made_anew_is_not_judged_by_what_was_before() {
        let targets = |uids: &[(&str, &str)]| {
            let owned = uids.iter().map(|(name, uid)| ((*name).to_owned(), (*uid).to_owned()));
            owned.collect::<BTreeMap<_, _>>()
        };
        let view = ModelView {
            model: "m".to_owned(),
            namespace: "n".to_owned(),
            slo: None,
            gateway: GatewayView::Absent,
            arrivals: Signal::missing(Instant::ZERO, "not asked"),
            variants: Vec::new(),
        };
        // What is there one pass after another, and whether the first is still remembered.
        type Passes<'a> = &'a [&'a [(&'a str, &'a str)]];
        let cases: [(Passes<'_>, bool); 4] = [
            (&[&[("a", "1"), ("b", "1")]], true),
            (&[&[("b", "1")], &[("a", "1"), ("b", "1"), ("c", "1")]], true),
            (&[&[("a", "2"), ("b", "1")]], false),
            (&[&[("b", "1")], &[("a", "2"), ("b", "1")]], false),
        ];
        for (passes, remembers) in cases {
            let mut past = Past::default();
            past.look_at(targets(&[("a", "1"), ("b", "1")]), |_| true);
            let _ = capacity::decide(&view, &Policy::default(), &mut past.memory, Instant::from_secs(100));
            assert_ne!(past.memory, Memory::default());
            for now in passes {
                past.look_at(targets(now), |_| true);
            }
            assert_eq!(past.memory != Memory::default(), remembers, "{passes:?}");
        }
    }
}
