//! The table of stories.

use crate::story::Story;
use anyhow::Result;
use std::future::Future;
use std::pin::Pin;

/// One case: a name and a story.
#[derive(Clone, Copy)]
pub struct Case {
    /// `area/what-holds`; also the name of its namespace.
    pub name: &'static str,
    /// Tells it.
    pub tell: fn(Story) -> Telling,
}

/// A story being told.
pub type Telling = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

impl Case {
    /// The namespace of the case: its name as a DNS label.
    #[must_use]
    pub fn namespace(&self) -> String {
        let name: String = self.name.replace('/', "-");
        name.chars()
            .take(60)
            .collect::<String>()
            .trim_end_matches('-')
            .to_owned()
    }
}

/// Makes `fn stories()` of a module.
macro_rules! stories {
    ($($name:literal => |$story:ident| $body:block)*) => {
        pub(super) fn stories() -> Vec<crate::cases::Case> {
            vec![$(crate::cases::Case {
                name: $name,
                tell: |$story: crate::story::Story| Box::pin(async move {
                    $body
                    Ok(())
                }),
            }),*]
        }
    };
}

mod autoscalers;
mod conflicts;
mod crds;
mod defaults;
mod discovery;
mod events;
mod fields;
mod kubectl_read;
mod kubectl_write;
mod lifecycle;
mod lists;
mod patches;
mod props;
mod protocol;
mod selectors;
mod subresources;
mod tables;
mod validation;
mod verbs;
mod watches;

/// All cases, in the order of the table.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        verbs::stories(),
        patches::stories(),
        autoscalers::stories(),
        conflicts::stories(),
        selectors::stories(),
        lists::stories(),
        watches::stories(),
        tables::stories(),
        lifecycle::stories(),
        subresources::stories(),
        defaults::stories(),
        validation::stories(),
        fields::stories(),
        crds::stories(),
        discovery::stories(),
        protocol::stories(),
        events::stories(),
        kubectl_read::stories(),
        kubectl_write::stories(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_also_as_namespaces() {
        let cases = super::all();
        let names: BTreeSet<String> = cases.iter().map(super::Case::namespace).collect();
        assert_eq!(names.len(), cases.len());
        assert!(cases.len() >= 140, "{}", cases.len());
    }
}
