//! The metadata of a trigger in a ScaledObject.

use super::messages::ScaledObjectRef;

const VARIANT: &str = "variantName";
const NAMESPACE: &str = "namespace";
const TARGET: &str = "targetValue";

/// Keys that KEDA reads itself, for the way to us, and passes on.
const FOR_KEDA: [&str; 7] = [
    "scalerAddress",
    "enableTLS",
    "unsafeSsl",
    "tlsCertFile",
    "caCert",
    "tlsClientCert",
    "tlsClientKey",
];

/// With this ending KEDA looks the value up in the target's environment.
const FROM_ENVIRONMENT: &str = "FromEnv";

/// What a trigger wants to know.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trigger {
    pub(super) namespace: String,
    pub(super) variant: String,
    /// The value per replica that the HPA aims at.
    pub(super) target: f64,
}

impl Trigger {
    /// Reads `variantName`, `namespace` and `targetValue`, or each with
    /// `FromEnv` behind it.
    ///
    /// # Errors
    /// When one is missing, empty, given twice or no number, or there is
    /// another key: named, with those that exist.
    pub(super) fn read(from: &ScaledObjectRef) -> Result<Self, String> {
        let (mut variant, mut namespace, mut target) = (None, None, None);
        for (key, value) in &from.scaler_metadata {
            let place = match key.strip_suffix(FROM_ENVIRONMENT).unwrap_or(key) {
                VARIANT => &mut variant,
                NAMESPACE => &mut namespace,
                TARGET => &mut target,
                _ if FOR_KEDA.contains(&key.as_str()) => continue,
                _ => {
                    return Err(format!(
                        "scalerMetadata.{key} is not known; there are {VARIANT}, {NAMESPACE} and {TARGET}"
                    ));
                }
            };
            if place.replace(value.as_str()).is_some() {
                let name = key.strip_suffix(FROM_ENVIRONMENT).unwrap_or(key);
                return Err(format!(
                    "scalerMetadata.{name} and scalerMetadata.{name}{FROM_ENVIRONMENT} are both given; take one away"
                ));
            }
        }
        let variant = variant.filter(|name| !name.is_empty()).ok_or_else(|| {
            format!("scalerMetadata.{VARIANT} is missing; it names the VariantAutoscaling to scale by")
        })?;
        let namespace = namespace.filter(|name| !name.is_empty()).unwrap_or(&from.namespace);
        Ok(Self {
            namespace: namespace.to_owned(),
            variant: variant.to_owned(),
            target: target.map_or(Ok(1.0), number)?,
        })
    }
}

fn number(text: &str) -> Result<f64, String> {
    // A thousandth is the smallest step that an HPA knows.
    match text.trim().parse::<f64>() {
        Ok(number) if (0.001..=1e6).contains(&number) => Ok(number),
        _ => Err(format!(
            "scalerMetadata.{TARGET} is {text:?}; it is the value per replica, between 0.001 and 1000000, and 1 if \
             the variant is to have the replicas decided on"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(metadata: &[(&str, &str)]) -> ScaledObjectRef {
        ScaledObjectRef {
            name: "so".to_owned(),
            namespace: "shop".to_owned(),
            scaler_metadata: metadata
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn a_trigger_names_a_variant_and_may_name_more() {
        for (metadata, namespace, target) in [
            (vec![("variantName", "llama")], "shop", 1.0),
            (vec![("variantName", "llama"), ("namespace", "")], "shop", 1.0),
            (
                vec![("variantName", "llama"), ("namespace", "other"), ("targetValue", "2.5")],
                "other",
                2.5,
            ),
            (
                vec![
                    ("variantNameFromEnv", "llama"),
                    ("scalerAddress", "tidegate:9090"),
                    ("enableTLS", "true"),
                ],
                "shop",
                1.0,
            ),
        ] {
            let trigger = Trigger::read(&reference(&metadata)).unwrap();
            let expected = Trigger {
                namespace: namespace.to_owned(),
                variant: "llama".to_owned(),
                target,
            };
            assert_eq!(trigger, expected, "{metadata:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_key() {
        for (metadata, said) in [
            (vec![], "scalerMetadata.variantName is missing"),
            (vec![("variantName", "")], "scalerMetadata.variantName is missing"),
            (
                vec![("variantName", "a"), ("variant", "b")],
                "scalerMetadata.variant is not known",
            ),
            (
                vec![("variantName", "a"), ("scalerAddressFromEnv", "b")],
                "scalerMetadata.scalerAddressFromEnv is not known",
            ),
            (
                vec![("variantName", "a"), ("variantNameFromEnv", "b")],
                "scalerMetadata.variantNameFromEnv are both given",
            ),
            (
                vec![("variantName", "a"), ("targetValue", "0")],
                "scalerMetadata.targetValue",
            ),
            (
                vec![("variantName", "a"), ("targetValue", "NaN")],
                "scalerMetadata.targetValue",
            ),
            (
                vec![("variantName", "a"), ("targetValue", "inf")],
                "scalerMetadata.targetValue",
            ),
            (
                vec![("variantName", "a"), ("targetValue", "-1")],
                "scalerMetadata.targetValue",
            ),
            (
                vec![("variantName", "a"), ("targetValue", "one")],
                "scalerMetadata.targetValue",
            ),
        ] {
            let error = Trigger::read(&reference(&metadata)).unwrap_err();
            assert!(error.contains(said), "{metadata:?}: {error}");
        }
    }
}
