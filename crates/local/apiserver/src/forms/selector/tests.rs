use super::*;
use proptest::prelude::*;
use serde_json::json;

fn labelled(labels: &Value) -> Value {
    json!({"metadata": {"name": "x", "labels": labels}})
}

#[test]
fn labels_are_selected_by_every_operator() {
    let object = labelled(&json!({"app": "web", "tier": "", "n": "5", "in": "in"}));
    for (selector, expected) in [
        ("", true),
        ("app", true),
        ("!app", false),
        ("app=web", true),
        ("app==web,tier=", true),
        ("app!=web", false),
        ("other!=web", true),
        ("app in (api, web)", true),
        ("app notin (api,web)", false),
        ("zone notin (a)", true),
        ("n>4,n<6", true),
        ("n>5", false),
        ("tier in ()", true),
        ("in in (in)", true),
        ("app in (,web)", true),
        ("!zone,app", true),
    ] {
        assert_eq!(
            Labels::parse(selector).unwrap().matches(&object),
            expected,
            "{selector}"
        );
    }
}

#[test]
fn a_bad_label_selector_is_answered_as_upstream_answers_it() {
    for (selector, message) in [
        (
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a,", "found '', expected: identifier after ','"),
        ("a=1,,b", "found ',', expected: identifier after ','"),
        ("a in x", "unable to parse requirement: found 'x' expected: '('"),
        ("=", "found '=', expected: !, identifier, or 'end of string'"),
        ("(", "found '(', expected: !, identifier, or 'end of string'"),
        ("a===b", "unable to parse requirement: found '=', expected: identifier"),
        ("a in (b) c", "found 'c', expected: ',' or 'end of string'"),
        (
            "a!b",
            "unable to parse requirement: found '!', expected: in, notin, =, ==, !=, gt, lt",
        ),
        ("a=>b", "unable to parse requirement: found '>', expected: identifier"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("a>=5", "unable to parse requirement: found '=', expected: identifier"),
    ] {
        assert_eq!(Labels::parse(selector).unwrap_err().0, message, "{selector}");
    }
    let value = Labels::parse("a=-b").unwrap_err().0;
    assert!(
        value.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label"),
        "{value}"
    );
    let key = Labels::parse("-a=1").unwrap_err().0;
    assert!(
        key.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist"),
        "{key}"
    );
}

#[test]
fn a_selector_object_selects_like_its_text() {
    let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "gone", "operator": "DoesNotExist"}]});
    let selector = Labels::from_object(&selector);
    assert!(selector.matches(&labelled(&json!({"app": "web", "tier": "b"}))));
    assert!(!selector.matches(&labelled(&json!({"app": "web", "tier": "c"}))));
    assert!(!selector.matches(&labelled(&json!({"app": "web", "tier": "b", "gone": ""}))));
}

#[test]
fn fields_are_selected_where_the_resource_offers_them() {
    let pod = json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
    for (selector, expected) in [
        ("spec.nodeName=n1", true),
        ("spec.host=n1", true),
        ("spec.nodeName=n1,status.phase!=Succeeded", true),
        ("status.phase!=Running", false),
        ("metadata.name==p,metadata.namespace=d", true),
        ("spec.hostNetwork=false", true),
        ("spec.schedulerName=", true),
    ] {
        assert_eq!(
            Fields::parse(selector, "", "pods", &[]).unwrap().matches(&pod),
            expected,
            "{selector}"
        );
    }
    let named = Fields::parse("metadata.name=a\\,b", "", "configmaps", &[]).unwrap();
    assert_eq!(named.name(), Some("a,b"));
    let node = json!({"metadata": {"name": "n"}, "spec": {}});
    assert!(
        Fields::parse("spec.unschedulable=false", "", "nodes", &[])
            .unwrap()
            .matches(&node)
    );
    let custom = Fields::parse("spec.color=red", "x.io", "cars", &[".spec.color".to_owned()]).unwrap();
    assert!(custom.matches(&json!({"spec": {"color": "red"}})));
}

#[test]
fn a_bad_field_selector_is_answered_as_upstream_answers_it() {
    for (selector, group, resource, message) in [
        (
            "foo=bar",
            "",
            "configmaps",
            "\"foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
        ("foo=bar", "", "pods", "field label not supported: foo"),
        ("foo=bar", "example.com", "cars", "field label not supported: foo"),
        ("foo", "", "pods", "invalid selector: 'foo'; can't understand 'foo'"),
        (
            "metadata.name>3",
            "",
            "pods",
            "invalid selector: 'metadata.name>3'; can't understand 'metadata.name>3'",
        ),
        ("foo=bar", "batch", "jobs", "field label \"foo\" not supported for Job"),
    ] {
        assert_eq!(
            Fields::parse(selector, group, resource, &[]).unwrap_err().0,
            message,
            "{selector}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_selector_panic(text in ".{0,40}") {
        let _ = Labels::parse(&text);
        let _ = Fields::parse(&text, "", "pods", &[]);
    }

    #[test]
    fn selectors_of_operators_never_panic(text in "[ab=!,() ><innot\\\\]{0,24}") {
        let _ = Labels::parse(&text);
        let _ = Fields::parse(&text, "", "pods", &[]);
    }

    #[test]
    fn in_and_notin_are_opposites_where_the_label_exists(value in "[a-z]{1,3}", set in prop::collection::vec("[a-z]{1,3}", 1..4)) {
        let object = labelled(&json!({"k": value}));
        let list = set.join(",");
        let inside = Labels::parse(&format!("k in ({list})")).unwrap().matches(&object);
        let outside = Labels::parse(&format!("k notin ({list})")).unwrap().matches(&object);
        prop_assert_ne!(inside, outside);
    }
}
