//! One target has one master, and one name one variant.

use crate::subject::Subject;
use crate::target::TargetKey;
use std::collections::BTreeMap;

/// What is taken, and by whom. Who claims first has it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    targets: BTreeMap<TargetKey, (Subject, String)>,
    names: BTreeMap<(String, String), Subject>,
}

impl Claims {
    /// Claims the name, and the target if it is known.
    ///
    /// # Errors
    /// A sentence that names who has it.
    pub(super) fn claim(
        &mut self,
        subject: Subject,
        namespace: &str,
        name: &str,
        target: Option<&TargetKey>,
    ) -> Result<(), String> {
        if let Some(owner) = target.and_then(|key| Some((key, self.targets.get(key)?))) {
            let (key, (subject, name)) = owner;
            let owner = format!("{} {}/{name}", subject.kind(), key.namespace);
            return Err(format!(
                "spec.scaleTargetRef: {} is scaled by {owner} already: let one of the two name another target, or delete it",
                key.for_people()
            ));
        }
        let id = (namespace.to_owned(), name.to_owned());
        if let Some(owner) = self.names.get(&id) {
            return Err(format!(
                "metadata.name: {} {namespace}/{name} goes by this name already: rename one of the two, for gauges tell variants by name",
                owner.kind()
            ));
        }
        self.names.insert(id, subject);
        if let Some(key) = target {
            self.targets.insert(key.clone(), (subject, name.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::TargetRef;

    fn key(name: &str) -> TargetKey {
        let target = TargetRef {
            api_version: None,
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
        };
        TargetKey::new("n", &target)
    }

    #[test]
    fn a_second_claim_to_a_target_or_a_name_is_told_who_has_it() {
        let mut claims = Claims::default();
        let (va, hpa) = (Subject::VariantAutoscaling, Subject::HorizontalPodAutoscaler);
        assert_eq!(claims.claim(va, "n", "old", Some(&key("llama"))), Ok(()));
        let error = claims.claim(va, "n", "new", Some(&key("llama"))).unwrap_err();
        assert!(
            error.contains("Deployment n/llama is scaled by VariantAutoscaling n/old already"),
            "{error}"
        );
        let error = claims.claim(hpa, "n", "llama", Some(&key("llama"))).unwrap_err();
        assert!(error.contains("VariantAutoscaling n/old"), "{error}");
        let error = claims.claim(hpa, "n", "old", Some(&key("other"))).unwrap_err();
        assert!(error.contains("VariantAutoscaling n/old goes by this name"), "{error}");
        assert_eq!(
            claims.claim(hpa, "n", "llama", Some(&key("other"))),
            Ok(()),
            "a refusal claims nothing"
        );
    }
}
