//! What the scale-to-zero ConfigMap does to minimums.

use super::Variant;
use crate::settings::Settings;
use crate::subject::Subject;
use std::collections::BTreeMap;

/// Lets models go to zero that may, where the minimum is the 1 that the schema
/// fills in, and keeps one replica of models that must not.
pub(super) fn apply(variants: &mut [Variant]) {
    let mut keep: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for (at, variant) in variants.iter_mut().enumerate() {
        let enabled = variant.config.as_ref().and_then(|config| config.zero.enabled);
        let Some(settings) = &mut variant.settings else {
            continue;
        };
        match enabled {
            // The minimum of an HPA or ScaledObject is what its own controller keeps.
            Some(true) if variant.subject == Subject::VariantAutoscaling => settings.min = may_be_zero(settings.min),
            Some(false) => {
                let model = (variant.namespace.clone(), settings.model.clone());
                keep.entry(model).or_default().push(at);
            }
            _ => {}
        }
    }
    for of_model in keep.into_values() {
        let settings = |at: usize| variants[at].settings.as_ref();
        let Some(at) = to_keep(
            of_model
                .iter()
                .filter_map(|at| Some((*at, settings(*at)?, variants[*at].name.as_str()))),
        ) else {
            continue;
        };
        if let Some(settings) = &mut variants[at].settings {
            settings.min = 1;
        }
    }
}

const fn may_be_zero(min: u32) -> u32 {
    if min == 1 { 0 } else { min }
}

/// Of the variants of a model that must not go to zero: the cheapest that may
/// have a replica, if none has a minimum of its own.
fn to_keep<'a>(variants: impl Iterator<Item = (usize, &'a Settings, &'a str)>) -> Option<usize> {
    let variants: Vec<_> = variants.collect();
    if variants.iter().any(|(_, settings, _)| settings.min > 0) {
        return None;
    }
    let cheapest = variants
        .into_iter()
        .filter(|(_, settings, _)| settings.max > 0)
        .min_by(|(_, a, a_name), (_, b, b_name)| a.cost.total_cmp(&b.cost).then_with(|| a_name.cmp(b_name)));
    cheapest.map(|(at, ..)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::TargetRef;

    fn settings(cost: f64, min: u32, max: u32) -> Settings {
        Settings {
            target: TargetRef::default(),
            model: "m".to_owned(),
            cost,
            cost_is_given: true,
            accelerators: BTreeMap::new(),
            profiles: BTreeMap::new(),
            min,
            max,
        }
    }

    #[test]
    fn the_cheapest_is_kept_where_a_model_must_not_go_to_zero() {
        type Case<'a> = (&'a [(f64, u32, u32)], Option<usize>);
        let cases: [Case<'_>; 5] = [
            (&[(2.0, 0, 4), (1.0, 0, 4)], Some(1)),
            (&[(1.0, 0, 4), (1.0, 0, 4)], Some(0)),
            (&[(1.0, 0, 0), (2.0, 0, 4)], Some(1)),
            (&[(1.0, 0, 4), (2.0, 1, 4)], None),
            (&[], None),
        ];
        for (given, expected) in cases {
            let all: Vec<Settings> = given
                .iter()
                .map(|(cost, min, max)| settings(*cost, *min, *max))
                .collect();
            let names = ["a", "b"];
            let found = to_keep(all.iter().enumerate().map(|(at, settings)| (at, settings, names[at])));
            assert_eq!(found, expected, "{given:?}");
        }
    }

    #[test]
    fn a_minimum_that_somebody_chose_stays() {
        assert_eq!([0, 1, 2].map(may_be_zero), [0, 0, 2]);
    }
}
