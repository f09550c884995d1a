//! How many Pods each ReplicaSet of a Deployment is to have next. Pure: one
//! call is one step, and the next is taken when Pods have followed.

use k8s_openapi::api::apps::v1::DeploymentSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What a step needs to know of a ReplicaSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetView {
    /// Pods it wants.
    pub wanted: i32,
    /// Pods that are ready for long enough.
    pub available: i32,
    /// Most Pods of the whole Deployment when it was last scaled; 0 when not known.
    pub most: i32,
    /// The place in the order of creation, for ties.
    pub age_rank: usize,
}

/// What a Deployment allows while it rolls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pods wanted in the end.
    pub desired: i32,
    /// Pods above that while rolling.
    pub surge: i32,
    /// Pods below that which may be missing while rolling.
    pub unavailable: i32,
    /// Old Pods go before new ones come.
    pub recreate: bool,
}

impl Limits {
    /// Reads a Deployment. A surge is rounded up and what may be missing down;
    /// if both come to nothing, one may be missing, or no step could be taken.
    #[must_use]
    pub fn of(spec: &DeploymentSpec) -> Self {
        let desired = spec.replicas.unwrap_or(1).max(0);
        let strategy = spec.strategy.as_ref();
        let recreate = strategy.is_some_and(|s| s.type_.as_deref() == Some("Recreate"));
        if recreate {
            return Limits {
                desired,
                surge: 0,
                unavailable: 0,
                recreate,
            };
        }
        let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".to_owned());
        let value = |field: Option<&IntOrString>, up| share(field.unwrap_or(&quarter), desired, up);
        let surge = value(rolling.and_then(|r| r.max_surge.as_ref()), true);
        let mut unavailable = value(rolling.and_then(|r| r.max_unavailable.as_ref()), false);
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Limits {
            desired,
            surge,
            unavailable: unavailable.min(desired),
            recreate,
        }
    }

    /// Most Pods there may be at once.
    #[must_use]
    pub fn most(&self) -> i32 {
        self.desired.saturating_add(self.surge)
    }
}

fn share(value: &IntOrString, of: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(count) => (*count).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|p| p.parse().ok()).unwrap_or(0).max(0);
            let product = percent.saturating_mul(i64::from(of));
            let count = if up {
                product.saturating_add(99) / 100
            } else {
                product / 100
            };
            i32::try_from(count).unwrap_or(i32::MAX)
        }
    }
}

/// How many Pods a new ReplicaSet wants, given what it wants now and all together want.
#[must_use]
pub fn new_wanted(limits: &Limits, new: i32, total: i32) -> i32 {
    if limits.recreate {
        return limits.desired;
    }
    if new >= limits.desired {
        return limits.desired;
    }
    let room = limits.most().saturating_sub(total);
    if room <= 0 {
        new
    } else {
        new + room.min(limits.desired - new)
    }
}

/// The next sizes of the old ReplicaSets, given in order of creation: first
/// what is not available anyway goes, then as much as may be missing.
#[must_use]
pub fn old_wanted(limits: &Limits, new: &SetView, old: &[SetView]) -> Vec<i32> {
    let mut sizes: Vec<i32> = old.iter().map(|set| set.wanted).collect();
    if limits.recreate {
        return vec![0; sizes.len()];
    }
    let total = sizes.iter().sum::<i32>() + new.wanted;
    let least = limits.desired - limits.unavailable;
    let mut spare = total - least - (new.wanted - new.available).max(0);
    for (size, set) in sizes.iter_mut().zip(old) {
        let broken = (*size - set.available).clamp(0, spare.max(0));
        *size -= broken;
        spare -= broken;
    }
    let available = old.iter().map(|set| set.available).sum::<i32>() + new.available;
    let mut spare = (available - least).max(0);
    for size in &mut sizes {
        let less = (*size).min(spare);
        *size -= less;
        spare -= less;
    }
    sizes
}

/// New sizes when a Deployment is scaled while several ReplicaSets have Pods:
/// each keeps its share, and what rounding leaves goes to the largest.
#[must_use]
pub fn proportional(limits: &Limits, sets: &[SetView]) -> Vec<i32> {
    let total: i32 = sets.iter().map(|set| set.wanted).sum();
    let allowed = if limits.desired > 0 { limits.most() } else { 0 };
    let change = allowed - total;
    let mut order: Vec<usize> = (0..sets.len()).collect();
    // Largest first; of equals the newer gains first and the older loses first.
    order.sort_by_key(|i| {
        let rank = i64::try_from(sets[*i].age_rank).unwrap_or(0);
        (-sets[*i].wanted, if change > 0 { -rank } else { rank })
    });
    let mut sizes: Vec<i32> = sets.iter().map(|set| set.wanted).collect();
    let mut given = 0;
    for index in &order {
        let set = &sets[*index];
        let part = fraction(limits, set, total);
        let part = if change > 0 {
            part.clamp(0, change - given)
        } else {
            part.clamp(change - given, 0)
        };
        given += part;
        sizes[*index] += part;
    }
    if let Some(first) = order.first() {
        sizes[*first] = (sizes[*first] + change - given).max(0);
    }
    sizes
}

fn fraction(limits: &Limits, set: &SetView, total: i32) -> i32 {
    if limits.desired == 0 {
        return -set.wanted;
    }
    let before = if set.most > 0 { set.most } else { total };
    if before == 0 {
        return 0;
    }
    let size = f64::from(set.wanted) * f64::from(limits.most()) / f64::from(before);
    // Sizes are small whole numbers, and the cast saturates.
    size.round() as i32 - set.wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn limits(replicas: i32, surge: &Value, unavailable: &Value) -> Limits {
        let spec = json!({"replicas": replicas, "selector": {}, "template": {},
            "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}});
        Limits::of(&serde_json::from_value(spec).unwrap())
    }

    fn set(wanted: i32, available: i32) -> SetView {
        SetView {
            wanted,
            available,
            ..SetView::default()
        }
    }

    #[test]
    fn limits_round_up_and_down_and_always_allow_a_step() {
        for (replicas, surge, unavailable, want) in [
            (10, json!("25%"), json!("25%"), (3, 2)),
            (1, json!("25%"), json!("25%"), (1, 0)),
            (4, json!(0), json!("10%"), (0, 1)),
            (4, json!(2), json!(0), (2, 0)),
            (2, json!(0), json!(9), (0, 2)),
            (0, json!("25%"), json!("25%"), (0, 0)),
        ] {
            let limits = limits(replicas, &surge, &unavailable);
            assert_eq!((limits.surge, limits.unavailable), want, "{replicas}");
        }
    }

    #[test]
    fn a_roll_goes_step_by_step_and_never_below_what_must_be_there() {
        let limits = limits(4, &json!(1), &json!(1));
        let (mut new, mut old) = (set(0, 0), set(4, 4));
        let mut steps = 0;
        while new.available < 4 || old.wanted > 0 {
            new.wanted = new_wanted(&limits, new.wanted, new.wanted + old.wanted);
            old.wanted = old_wanted(&limits, &new, std::slice::from_ref(&old))[0];
            old.available = old.available.min(old.wanted);
            assert!(new.wanted + old.wanted <= 5, "{new:?} {old:?}");
            assert!(new.available + old.available >= 3, "{new:?} {old:?}");
            new.available = (new.available + 1).min(new.wanted);
            steps += 1;
            assert!(steps < 20, "{new:?} {old:?}");
        }
        assert_eq!(old.wanted, 0);
    }

    #[test]
    fn what_is_broken_goes_first_and_costs_nothing() {
        let limits = limits(3, &json!(1), &json!(0));
        assert_eq!(
            old_wanted(&limits, &set(1, 0), &[set(1, 0), set(2, 2)]),
            [1, 2],
            "nothing to spare"
        );
        assert_eq!(old_wanted(&limits, &set(1, 1), &[set(1, 0), set(2, 2)]), [0, 2]);
        assert_eq!(old_wanted(&limits, &set(1, 1), &[set(3, 3)]), [2]);
        assert_eq!(old_wanted(&limits, &set(3, 3), &[set(1, 1)]), [0]);
        let recreate = Limits {
            desired: 3,
            surge: 0,
            unavailable: 0,
            recreate: true,
        };
        assert_eq!(old_wanted(&recreate, &set(0, 0), &[set(3, 3)]), [0]);
        assert_eq!(new_wanted(&recreate, 0, 0), 3);
    }

    #[test]
    fn scaling_amid_a_roll_keeps_the_shares() {
        let view = |wanted, most, age_rank| SetView {
            wanted,
            available: wanted,
            most,
            age_rank,
        };
        let limits = |desired| Limits {
            desired,
            surge: 2,
            unavailable: 0,
            recreate: false,
        };
        for (desired, sets, want) in [
            (20, vec![view(8, 12, 0), view(4, 12, 1)], vec![15, 7]),
            (5, vec![view(8, 12, 0), view(4, 12, 1)], vec![5, 2]),
            (0, vec![view(8, 12, 0), view(4, 12, 1)], vec![0, 0]),
            (10, vec![view(8, 12, 0), view(4, 12, 1)], vec![8, 4]),
            (12, vec![view(6, 0, 0), view(6, 0, 1)], vec![7, 7]),
        ] {
            assert_eq!(proportional(&limits(desired), &sets), want, "{desired}");
        }
    }
}
