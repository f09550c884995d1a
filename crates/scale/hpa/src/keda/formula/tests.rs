use super::*;
use proptest::prelude::*;

fn value(text: &str, a: Option<f64>, b: Option<f64>) -> Result<Option<f64>, String> {
    let formula = Formula::new(text, &["a", "b"]).map_err(|why| why.to_string())?;
    formula.value(&|name| if name == "a" { a } else { b })
}

#[test]
fn formulas_have_the_values_that_keda_gives_them() {
    let (two, five) = (Some(2.0), Some(5.0));
    for (text, expected) in [
        ("a + b", 7.0),
        ("a * 2 - b / 4", 2.75),
        ("a < 5 ? b + a : 5", 7.0),
        ("float(b + 1)", 6.0),
        ("float(a < 2 ? a + b >= 2 ? 5 : 10 : 0)", 0.0),
        ("count([a, b], {# > 1}) > 1 ? 5 : 0", 5.0),
        ("count([a, b], # > 4)", 1.0),
        ("max(a, b) + min([a, b]) + sum([a, b]) + mean(a, b)", 17.5),
        ("any([a, b], {# > 4}) && !(a == b) ? 1 : 2", 1.0),
        ("a ?? b ?? 8", 2.0),
        ("(a ?? 0) + (b ?? 0)", 7.0),
        ("b % 2 == 1 ? 1 : 0", f64::NAN),
        ("int(b) % 2", 1.0),
        ("a ** 3", 8.0),
        ("1 / 4", 0.25),
    ] {
        match value(text, two, five) {
            Ok(Some(found)) => assert_eq!(found, expected, "{text}"),
            other => assert!(expected.is_nan(), "{text}: {other:?}"),
        }
    }
}

#[test]
fn a_trigger_without_a_number_is_what_the_formula_says_or_an_error() {
    assert_eq!(value("a ?? b ?? 8", None, Some(3.0)), Ok(Some(3.0)));
    assert_eq!(value("a ?? b ?? 8", None, None), Ok(Some(8.0)));
    assert_eq!(value("a ?? b", None, None), Ok(None));
    assert!(value("a + b", None, Some(3.0)).is_err());
    // KEDA's as well: this formula speaks of no absence, so nothing is no number.
    assert!(value("a", None, Some(3.0)).is_err());
}

#[test]
fn what_is_not_taken_is_named_with_the_remedy() {
    for (text, says) in [
        ("  ", "is empty"),
        ("a + c", "c is the name of no trigger: they are called a, b"),
        ("a ?? b + 1", "?? beside +: put what ?? joins into parentheses"),
        ("max(a, -b ?? 1)", "?? beside -"),
        ("a ?? b ? 1 : 2", "?? beside ?"),
        ("not a ?? b", "?? beside not"),
        ("len(\"abc\")", "a text"),
        ("now()", "now is no function of numbers: there are abs, "),
        ("sum(1..9)", "ranges and fields are not taken"),
        ("let c = a; c", "let is the name of no trigger"),
        ("a = b", "= is not taken"),
        ("a.b", "ranges and fields are not taken"),
        ("(a + b", "a bracket is not closed"),
        ("a + b)", ") closes nothing"),
        ("(a + b]", "] closes nothing"),
        ("a +", "a +"),
        ("a ? 1 : 2", "formula a ? 1 : 2"),
        ("sum(a, b, €)", "€ is not taken"),
    ] {
        let error = value(text, Some(1.0), Some(1.0)).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
    let deep = format!("{}a{}", "(".repeat(40), ")".repeat(40));
    assert!(value(&deep, None, None).unwrap_err().contains("32 deep"));
    let long = "a + ".repeat(600) + "a";
    assert!(value(&long, None, None).unwrap_err().contains("2401 bytes"));
}

proptest! {
    #[test]
    fn no_formula_is_too_strange(text in "[ab ()\\[\\]{}#?:.,;=<>!&|+*/%^0-9\"'-]{0,60}") {
        drop(value(&text, Some(1.0), None));
    }
}
