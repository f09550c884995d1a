//! Decisions made quick to find, and the rule by which they are withheld.

use crate::decisions::{Decided, Decisions, Published};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What both servers read from.
pub(crate) struct Board {
    decisions: Arc<dyn Decisions>,
    version: watch::Receiver<u64>,
    stale_after: Duration,
    index: Mutex<Option<(u64, Arc<Index>)>>,
}

impl Board {
    pub(crate) fn new(decisions: Arc<dyn Decisions>, stale_after: Duration) -> Self {
        let version = decisions.changed();
        Self {
            decisions,
            version,
            stale_after,
            index: Mutex::new(None),
        }
    }

    /// The variants as they are now. Built once per change, however many ask.
    pub(crate) fn index(&self) -> Arc<Index> {
        // The number is read before the variants, which may then be newer than
        // it: the next reader builds once more, and nobody reads an old state.
        let version = *self.version.borrow();
        let mut held = self.index.lock();
        if let Some((of, index)) = held.as_ref()
            && *of == version
        {
            return index.clone();
        }
        let index = Arc::new(Index::new(&self.decisions.variants()));
        *held = Some((version, index.clone()));
        index
    }

    /// Tells of every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.decisions.changed()
    }

    /// The decision of a variant, if it may be acted on.
    pub(crate) fn decided(&self, variant: &Published, now: Instant) -> Result<Decided, Withheld> {
        let whose = || {
            let Published {
                namespace,
                name,
                target,
                ..
            } = variant;
            format!("variant {namespace}/{name} ({} {})", target.kind, target.name)
        };
        let Some(decided) = variant.decided else {
            return Err(Withheld::Never { whose: whose() });
        };
        let age = now.saturating_duration_since(decided.at);
        if age > self.stale_after {
            return Err(Withheld::Stale {
                whose: whose(),
                age,
                limit: self.stale_after,
            });
        }
        Ok(decided)
    }
}

/// Why a variant has no number at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Withheld {
    Never {
        whose: String,
    },
    Stale {
        whose: String,
        age: Duration,
        limit: Duration,
    },
}

impl fmt::Display for Withheld {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never { whose } => write!(
                out,
                "{whose} has no decision yet; the conditions of its VariantAutoscaling say what is missing"
            ),
            Self::Stale { whose, age, limit } => write!(
                out,
                "{whose} was last decided {:.0} s ago, longer than the {:.0} s for which a decision holds; the \
                 conditions of its VariantAutoscaling say why there is no newer one",
                age.as_secs_f64(),
                limit.as_secs_f64()
            ),
        }
    }
}

/// Variants in the order of namespace and name.
#[derive(Debug)]
pub(crate) struct Index {
    variants: Vec<Published>,
}

impl Index {
    fn new(variants: &[Published]) -> Self {
        let mut variants = variants.to_vec();
        variants.sort_by(|a, b| order(a).cmp(&order(b)));
        Self { variants }
    }

    /// The variants of a namespace.
    pub(crate) fn namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Published> {
        let first = self
            .variants
            .partition_point(|variant| variant.namespace.as_str() < namespace);
        self.variants[first..]
            .iter()
            .take_while(move |variant| variant.namespace == namespace)
    }

    /// The variant of this name. Of several that differ in the controller
    /// instance alone, the first by that instance's name.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<&Published> {
        let wanted = (namespace, name);
        let first = self
            .variants
            .partition_point(|variant| (variant.namespace.as_str(), variant.name.as_str()) < wanted);
        self.variants
            .get(first)
            .filter(|variant| (variant.namespace.as_str(), variant.name.as_str()) == wanted)
    }
}

fn order(variant: &Published) -> (&str, &str, Option<&str>) {
    (
        &variant.namespace,
        &variant.name,
        variant.controller_instance.as_deref(),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::decisions::Target;

    /// Decisions that a test sets.
    pub(crate) struct Known {
        variants: Mutex<Arc<[Published]>>,
        version: watch::Sender<u64>,
    }

    impl Known {
        pub(crate) fn new(variants: Vec<Published>) -> Arc<Self> {
            Arc::new(Self {
                variants: Mutex::new(variants.into()),
                version: watch::Sender::new(0),
            })
        }

        pub(crate) fn set(&self, variants: Vec<Published>) {
            *self.variants.lock() = variants.into();
            self.version.send_modify(|version| *version += 1);
        }
    }

    impl Decisions for Known {
        fn variants(&self) -> Arc<[Published]> {
            self.variants.lock().clone()
        }

        fn changed(&self) -> watch::Receiver<u64> {
            self.version.subscribe()
        }
    }

    pub(crate) fn variant(namespace: &str, name: &str) -> Published {
        Published {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            accelerator: Some("L4".to_owned()),
            model: "llama".to_owned(),
            decided: None,
            current: None,
            active: false,
            controller_instance: None,
            target: Target {
                kind: "Deployment".to_owned(),
                name: name.to_owned(),
            },
        }
    }

    pub(crate) fn wanting(namespace: &str, name: &str, replicas: u32, at: Instant) -> Published {
        Published {
            decided: Some(Decided { replicas, at }),
            ..variant(namespace, name)
        }
    }

    #[test]
    fn variants_are_found_by_namespace_and_name_in_whatever_order_they_came() {
        let mut b = variant("shop", "b");
        b.controller_instance = Some("second".to_owned());
        let names = [("z", "a"), ("shop", "a"), ("shop", "c"), ("a", "b")];
        let mut all: Vec<Published> = names.iter().map(|(namespace, name)| variant(namespace, name)).collect();
        all.extend([
            b.clone(),
            Published {
                controller_instance: Some("first".to_owned()),
                ..b
            },
        ]);
        let index = Index::new(&all);
        let of: Vec<&str> = index.namespace("shop").map(|variant| variant.name.as_str()).collect();
        assert_eq!(of, ["a", "b", "b", "c"]);
        assert_eq!(index.namespace("nowhere").count(), 0);
        for (namespace, name) in names {
            assert_eq!(index.find(namespace, name).map(|found| found.name.as_str()), Some(name));
        }
        let found = index.find("shop", "b").unwrap();
        assert_eq!(found.controller_instance.as_deref(), Some("first"));
        for (namespace, name) in [("shop", "d"), ("shop", ""), ("b", "b"), ("zz", "a"), ("", "")] {
            assert_eq!(index.find(namespace, name), None, "{namespace}/{name}");
        }
    }

    #[test]
    fn a_change_is_seen_by_the_next_reader_and_without_one_nothing_is_built_anew() {
        let known = Known::new(vec![variant("shop", "a")]);
        let board = Board::new(known.clone(), Duration::from_secs(60));
        let first = board.index();
        assert!(Arc::ptr_eq(&first, &board.index()));
        known.set(vec![variant("shop", "b")]);
        assert!(board.index().find("shop", "b").is_some());
        assert!(board.index().find("shop", "a").is_none());
    }

    #[test]
    fn a_decision_holds_until_its_limit_and_its_absence_is_told_not_counted() {
        let at = Instant::now();
        let board = Board::new(Known::new(Vec::new()), Duration::from_secs(60));
        let decided = wanting("shop", "a", 0, at);
        assert_eq!(board.decided(&decided, at).map(|decided| decided.replicas), Ok(0));
        assert!(board.decided(&decided, at + Duration::from_secs(60)).is_ok());
        let late = board
            .decided(&decided, at + Duration::from_secs(95))
            .unwrap_err()
            .to_string();
        assert!(
            late.contains("shop/a (Deployment a)") && late.contains("95 s"),
            "{late}"
        );
        let never = board.decided(&variant("shop", "a"), at).unwrap_err().to_string();
        assert!(never.contains("no decision yet"), "{never}");
        // A clock that runs ahead in the writer's thread is an age of nothing.
        let ahead = wanting("shop", "a", 3, at + Duration::from_secs(5));
        assert!(board.decided(&ahead, at).is_ok());
    }
}
