//! Label selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

type Labels = BTreeMap<String, String>;

/// Whether the selector says anything at all.
pub(crate) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.iter().flatten().next().is_none()
        && selector.match_expressions.iter().flatten().next().is_none()
}

/// One requirement; an operator nobody knows matches nothing.
pub(crate) fn expression(key: &str, operator: &str, values: &[String], labels: &Labels) -> bool {
    let have = labels.get(key);
    let number = |text: Option<&String>| text.and_then(|t| t.parse::<i64>().ok());
    match operator {
        "In" => have.is_some_and(|v| values.contains(v)),
        "NotIn" => have.is_none_or(|v| !values.contains(v)),
        "Exists" => have.is_some(),
        "DoesNotExist" => have.is_none(),
        "Gt" => matches!((number(have), number(values.first())), (Some(a), Some(b)) if a > b),
        "Lt" => matches!((number(have), number(values.first())), (Some(a), Some(b)) if a < b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operator() {
        let labels = Labels::from([("gpu".into(), "L4".into()), ("n".into(), "7".into())]);
        for (key, operator, values, want) in [
            ("gpu", "In", vec!["L4", "H100"], true),
            ("gpu", "NotIn", vec!["L4"], false),
            ("zone", "NotIn", vec!["a"], true),
            ("gpu", "Exists", vec![], true),
            ("zone", "DoesNotExist", vec![], true),
            ("n", "Gt", vec!["6"], true),
            ("n", "Lt", vec!["6"], false),
            ("gpu", "Gt", vec!["1"], false),
            ("gpu", "Like", vec!["L"], false),
        ] {
            let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
            assert_eq!(expression(key, operator, &values, &labels), want, "{key} {operator}");
        }
    }
}
