//! Who owns whom, and what is to be looked at when something goes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Finalizer of an owner that waits for its dependents.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner whose dependents are to be let go.
pub(super) const ORPHAN: &str = "orphan";

/// The kind of an object, as an index into the kinds that are watched.
pub type KindId = usize;

/// An object of the graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Item {
    /// Its kind.
    pub kind: KindId,
    /// Its namespace; empty if cluster-scoped.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its owners.
    pub owners: Vec<OwnerReference>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its finalizers.
    pub finalizers: Vec<String>,
}

impl Item {
    /// From an object's metadata.
    #[must_use]
    pub fn new(kind: KindId, meta: &ObjectMeta) -> Self {
        Item {
            kind,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
        }
    }

    /// It is being deleted and waits for its dependents.
    #[must_use]
    pub fn waits_for_dependents(&self) -> bool {
        self.deleting && self.finalizers.iter().any(|f| f == FOREGROUND)
    }

    /// It is being deleted and its dependents are to be let go.
    #[must_use]
    pub fn lets_go(&self) -> bool {
        self.deleting && self.finalizers.iter().any(|f| f == ORPHAN)
    }
}

/// All objects by uid, and the dependents of each owner.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    items: BTreeMap<String, Item>,
    dependents: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Takes in an object that is there. Returns the uids to look at: itself,
    /// when an owner is not known or its own deletion wants something done; and
    /// owners that wait and of which it let go.
    pub fn observe(&mut self, uid: &str, item: Item) -> Vec<String> {
        let mut look = Vec::new();
        let before = self.items.insert(uid.to_owned(), item.clone());
        for owner in before.iter().flat_map(|b| &b.owners) {
            if item.owners.iter().all(|o| o.uid != owner.uid) {
                self.unlink(&owner.uid, uid);
                look.push(owner.uid.clone());
            }
        }
        for owner in &item.owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(uid.to_owned());
        }
        let unknown = |owner: &OwnerReference| match self.items.get(&owner.uid) {
            None => true,
            Some(owner) => owner.waits_for_dependents(),
        };
        let started = |f: fn(&Item) -> bool| f(&item) && !before.as_ref().is_some_and(f);
        if item.owners.iter().any(unknown) || started(Item::waits_for_dependents) || started(Item::lets_go) {
            look.push(uid.to_owned());
        }
        // Its owner may wait for it no longer, or be told that it is going.
        if item.deleting && before.is_some_and(|b| !b.deleting) {
            look.extend(item.owners.iter().map(|o| o.uid.clone()).filter(|o| self.waits(o)));
        }
        look
    }

    /// Takes in that an object is gone. Returns the uids to look at: its
    /// dependents, and owners that waited for it.
    pub fn remove(&mut self, uid: &str) -> Vec<String> {
        let mut look: Vec<String> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        if let Some(item) = self.items.remove(uid) {
            for owner in item.owners {
                self.unlink(&owner.uid, uid);
                if self.waits(&owner.uid) {
                    look.push(owner.uid);
                }
            }
        }
        look
    }

    fn waits(&self, uid: &str) -> bool {
        self.items.get(uid).is_some_and(Item::waits_for_dependents)
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    /// The object, if it is there.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&Item> {
        self.items.get(uid)
    }

    /// The uids of the objects of a kind.
    #[must_use]
    pub fn of_kind(&self, kind: KindId) -> Vec<String> {
        self.items
            .iter()
            .filter(|(_, item)| item.kind == kind)
            .map(|(uid, _)| uid.clone())
            .collect()
    }

    /// The objects that name it as an owner.
    #[must_use]
    pub fn dependents(&self, uid: &str) -> Vec<(String, &Item)> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| Some((uid.clone(), self.items.get(uid)?)))
            .collect()
    }

    /// The dependents that are not being deleted yet.
    #[must_use]
    pub fn idle_dependents(&self, uid: &str) -> Vec<String> {
        self.dependents(uid)
            .into_iter()
            .filter(|(_, item)| !item.deleting)
            .map(|(uid, _)| uid)
            .collect()
    }

    /// The dependents that hold up a foreground deletion of it.
    #[must_use]
    pub fn blocking(&self, uid: &str) -> Vec<String> {
        let blocks = |item: &Item| {
            item.owners
                .iter()
                .any(|o| o.uid == uid && o.block_owner_deletion == Some(true))
        };
        self.dependents(uid)
            .into_iter()
            .filter(|(_, item)| blocks(item))
            .map(|(uid, _)| uid)
            .collect()
    }
}

/// What is known of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerState {
    /// It is there.
    There,
    /// It is not, or another has its name.
    Absent,
    /// It is there, and waits for its dependents to go.
    Waiting,
}

/// What to do with an object, given its owners' states in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has an owner.
    Keep,
    /// It has an owner; these references are to none and are taken away.
    Unlink(Vec<String>),
    /// Its owners are all gone.
    Delete,
    /// Its owners are all gone or wait for it: its own dependents go first.
    DeleteForeground,
}

/// Decides about an object that is not being deleted.
#[must_use]
pub fn judge(item: &Item, owners: &[OwnerState], has_dependents: bool) -> Verdict {
    if owners.is_empty() {
        return Verdict::Keep;
    }
    if owners.contains(&OwnerState::There) {
        let gone = item
            .owners
            .iter()
            .zip(owners)
            .filter(|(_, state)| **state != OwnerState::There);
        let gone: Vec<String> = gone.map(|(owner, _)| owner.uid.clone()).collect();
        return if gone.is_empty() {
            Verdict::Keep
        } else {
            Verdict::Unlink(gone)
        };
    }
    let waited_for = owners.contains(&OwnerState::Waiting);
    if waited_for && has_dependents {
        Verdict::DeleteForeground
    } else {
        Verdict::Delete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(owners: &[&str], finalizers: &[&str], deleting: bool) -> Item {
        let owner = |uid: &&str| OwnerReference {
            uid: (*uid).to_owned(),
            block_owner_deletion: Some(true),
            ..OwnerReference::default()
        };
        Item {
            owners: owners.iter().map(owner).collect(),
            finalizers: finalizers.iter().map(|f| (*f).to_owned()).collect(),
            deleting,
            ..Item::default()
        }
    }

    #[test]
    fn only_what_may_need_something_is_looked_at() {
        let mut graph = Graph::default();
        assert_eq!(
            graph.observe("pod", item(&["set"], &[], false)),
            ["pod"],
            "its owner is not known"
        );
        assert!(
            graph
                .observe("set", item(&["dep"], &[], false))
                .contains(&"set".to_owned())
        );
        assert!(graph.observe("dep", item(&[], &[], false)).is_empty());
        assert!(graph.observe("set", item(&["dep"], &[], false)).is_empty());
        assert_eq!(graph.remove("dep"), ["set"]);
        assert_eq!(graph.remove("set"), ["pod"]);
        assert!(graph.remove("pod").is_empty());
        assert!(graph.dependents.is_empty() && graph.items.is_empty());
    }

    #[test]
    fn an_owner_that_waits_hears_of_its_dependents() {
        let mut graph = Graph::default();
        graph.observe("owner", item(&[], &[], false));
        graph.observe("pod", item(&["owner"], &[], false));
        assert_eq!(graph.observe("owner", item(&[], &[FOREGROUND], true)), ["owner"]);
        assert_eq!(graph.blocking("owner"), ["pod"]);
        assert!(
            graph
                .observe("pod", item(&["owner"], &[], true))
                .contains(&"owner".to_owned())
        );
        assert_eq!(graph.remove("pod"), ["owner"]);
        assert!(graph.blocking("owner").is_empty());
        let mut graph = Graph::default();
        graph.observe("pod", item(&["owner"], &[], false));
        assert_eq!(
            graph.observe("pod", item(&[], &[], false)),
            ["owner"],
            "letting go is told too"
        );
    }

    #[test]
    fn verdicts() {
        use OwnerState::{Absent, There, Waiting};
        let both = item(&["a", "b"], &[], false);
        for (states, dependents, want) in [
            (vec![There, There], false, Verdict::Keep),
            (vec![There, Absent], false, Verdict::Unlink(vec!["b".into()])),
            (vec![Waiting, There], true, Verdict::Unlink(vec!["a".into()])),
            (vec![Absent, Absent], true, Verdict::Delete),
            (vec![Absent, Waiting], false, Verdict::Delete),
            (vec![Waiting, Absent], true, Verdict::DeleteForeground),
        ] {
            assert_eq!(judge(&both, &states, dependents), want, "{states:?}");
        }
        assert_eq!(judge(&item(&[], &[], false), &[], false), Verdict::Keep);
    }
}
