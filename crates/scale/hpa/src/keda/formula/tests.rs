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
        ("int(b) % 2", 1.0),
        ("a ** 3", 8.0),
        ("1 / 4", 0.25),
    ] {
        assert_eq!(value(text, two, five), Ok(Some(expected)), "{text}");
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
fn operators_bind_as_in_expr() {
    for (text, expected) in [
        ("2 + 3 * 4", 14.0),
        ("(2 + 3) * 4", 20.0),
        ("2 ** 3 ** 2", 512.0),
        ("-2 ** 2", -4.0),
        ("-2 * 3 - 4", -10.0),
        ("7 - 2 - 1", 4.0),
        ("!(a > b) && a == 2 || false ? 1 : 2", 1.0),
        ("not (a > b) ? a < b ? 1 : 2 : 3", 1.0),
        ("a in [1, 2.0] ? 1 : 0", 1.0),
        ("[1, 2, 3][-1] + len(filter([a, b], # > 2))", 4.0),
        ("sum(map([a, b], # * 2))", 14.0),
        ("median([3, 1, 2]) + median(4, 1)", 4.5),
        ("int(-2.7) % 2 + int(7.9)", 7.0),
        ("round(2.5) + floor(-0.5) + abs(-3)", 5.0),
        ("all([], # > 1) && none([a], # > 2) && one([a, b], # > 2) ? 1 : 0", 1.0),
    ] {
        assert_eq!(value(text, Some(2.0), Some(5.0)), Ok(Some(expected)), "{text}");
    }
}

#[test]
fn what_is_not_taken_is_named_with_the_remedy() {
    for (text, says) in [
        ("  ", "is empty"),
        ("a + c", "c is the name of no trigger: they are called a, b"),
        (
            "a ?? b + 1",
            "?? stands beside another operator: put what it joins into parentheses",
        ),
        ("max(a, -b ?? 1)", "?? stands beside"),
        ("1 + a ?? b", "?? stands beside"),
        ("a ?? b ? 1 : 2", "?? stands beside"),
        ("not a ?? b", "?? stands beside"),
        ("len(\"abc\")", "a text"),
        ("now()", "now is no function of numbers: there are abs, all, any"),
        ("let c = a; c", "let is the name of no trigger"),
        ("a = b", "= is not taken"),
        ("a.b", ". stands where nothing can"),
        ("sum(1..9)", "1..9 is no number: ranges"),
        ("1.2.3", "1.2.3 is no number"),
        ("99999999999999999999", "is no number"),
        ("(a + b", "the end stands where ) is missing"),
        ("a + b)", ") stands where nothing can"),
        ("(a + b]", "] stands where ) is missing"),
        ("a +", "the end stands where a number is missing"),
        ("a b", "b stands where nothing can"),
        ("# > 1 ? 1 : 0", "there is no list around it"),
        ("1 < a < 5 ? 1 : 0", "two comparisons in a row"),
        ("a ? 1 : 2", "what stands before ? is of what is true or false"),
        ("a > 1", "it is no number"),
        ("[a, b]", "it is no number"),
        ("nil ?? nil", "it is no number"),
        ("[a ?? b, nil][1]", "where each trigger has a number, it has none"),
        ("a > 0 ? +true : 1", "+ is of numbers"),
        ("a < 0 ? 1 : (a ? 1 : 2)", "what stands before ?"),
        ("a < 0 ? 1 : a % 2", "% is of whole numbers"),
        ("a == (b > 1) ? 1 : 0", "different kinds"),
        ("max()", "max is of numbers"),
        ("abs(a, b)", "abs is of one"),
        ("sum(a)", "sum is of a list"),
        ("count([a], # + 1)", "0 is neither true nor false"),
        ("count([a], [#])", "the question of count"),
        ("[a][1]", "there is no item 1 among 1"),
        ("sum(a, b, €)", "€ is not taken"),
    ] {
        let error = value(text, Some(1.0), Some(1.0)).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
    for deep in [
        format!("{}a{}", "(".repeat(100), ")".repeat(100)),
        format!("{}a", "-".repeat(100)),
        format!("{}1", "a > 1 ? 1 : ".repeat(100)),
    ] {
        assert!(value(&deep, None, None).unwrap_err().contains("64 deep"), "{deep}");
    }
    for chain in ["a+".repeat(999), "1**".repeat(666)] {
        assert!(
            value(&format!("{chain}1"), Some(1.0), None).is_ok(),
            "as long as can be"
        );
    }
    let long = "a + ".repeat(600) + "a";
    assert!(value(&long, None, None).unwrap_err().contains("2401 bytes"));
}

proptest! {
    #[test]
    fn no_formula_is_too_strange(text in "[ab ()\\[\\]{}#?:.,;=<>!&|+*/%^0-9\"'-]{0,60}") {
        drop(value(&text, Some(1.0), None));
    }
}
