use super::*;
use proptest::prelude::*;

fn only(page: &str) -> Sample<'_> {
    let mut page = parse(page.as_bytes()).unwrap();
    assert_eq!(page.samples.len(), 1, "{page:?}");
    page.samples.remove(0)
}

#[test]
fn samples_are_read_with_labels_values_and_times() {
    let sample = only("vllm:num_requests_running{engine=\"0\",model_name=\"tiny\"} 3.0 1700000000123\n");
    assert_eq!(sample.name, "vllm:num_requests_running");
    assert_eq!(sample.label("model_name"), Some("tiny"));
    assert_eq!(sample.value, 3.0);
    assert_eq!(sample.timestamp_ms, Some(1_700_000_000_123));
}

#[test]
fn harmless_differences_between_pages_are_accepted() {
    let cases = [
        ("up 1", 1.0),
        ("up 1\r\n", 1.0),
        ("  up\t1  ", 1.0),
        ("up{} 1", 1.0),
        ("up{a=\"b\",} 1", 1.0),
        ("up { a = \"b\" , c=\"d\" } 1", 1.0),
        ("up 1e3", 1000.0),
        ("up +Inf", f64::INFINITY),
        ("up -Inf", f64::NEG_INFINITY),
        ("up 1 1700000000.5", 1.0),
        ("up_total 1 # {trace_id=\"x\"} 1", 1.0),
        ("# HELP up anything \\ \" at all\n# TYPE up gauge\n# EOF\n\nup 1", 1.0),
    ];
    for (page, value) in cases {
        assert_eq!(only(page).value, value, "{page:?}");
    }
    assert!(only("up NaN").value.is_nan());
}

#[test]
fn escapes_in_label_values_are_undone() {
    let sample = only(r#"x{a="one\\two\"three\nfour",b="plain é"} 0"#);
    assert_eq!(sample.label("a"), Some("one\\two\"three\nfour"));
    assert_eq!(sample.label("b"), Some("plain é"));
}

#[test]
fn an_error_names_the_line_and_the_column() {
    let cases = [
        ("up 1\n2up 1\n", 2, 1, Problem::MetricName),
        ("up{1=\"a\"} 1", 1, 4, Problem::LabelName),
        ("up{a\"b\"} 1", 1, 5, Problem::Equals),
        ("up{a=b} 1", 1, 6, Problem::OpeningQuote),
        ("up{a=\"b} 1", 1, 7, Problem::ClosingQuote),
        ("up{a=\"b\\", 1, 7, Problem::ClosingQuote),
        ("up{a=\"é\\t\"} 1", 1, 8, Problem::Escape('t')),
        ("up{a=\"b\";c=\"d\"} 1", 1, 9, Problem::LabelEnd),
        ("up{a=\"b\",a=\"c\"} 1", 1, 10, Problem::DuplicateLabel("a".into())),
        ("up{a=\"b\"", 1, 9, Problem::LabelEnd),
        ("up", 1, 3, Problem::Value(String::new())),
        ("up one", 1, 4, Problem::Value("one".into())),
        ("up 1 soon", 1, 6, Problem::Timestamp("soon".into())),
        ("up 1 2 3", 1, 8, Problem::Trailing("3".into())),
        ("<html>", 1, 1, Problem::MetricName),
    ];
    for (page, line, column, problem) in cases {
        assert_eq!(
            parse(page.as_bytes()),
            Err(ParseError { line, column, problem }),
            "{page:?}"
        );
    }
    assert_eq!(parse(b"a 1\nb\xff 1").unwrap_err().problem, Problem::NotUtf8);
    assert_eq!(
        parse(b"up{a=b} 1").unwrap_err().to_string(),
        "line 1, column 6: expected `\"` before the label value"
    );
}

#[test]
fn limits_are_kept_and_named() {
    let limits = Limits {
        bytes: 64,
        line_bytes: 20,
        samples: 2,
        labels: 1,
    };
    let problem = |page: &str| parse_within(page.as_bytes(), limits).unwrap_err().problem;
    assert_eq!(
        problem(&"a 1\n".repeat(17)),
        Problem::PageTooLarge { size: 68, limit: 64 }
    );
    assert_eq!(problem(&"a".repeat(21)), Problem::LineTooLong { size: 21, limit: 20 });
    assert_eq!(problem("a 1\na 1\na 1\n"), Problem::TooManySamples(2));
    assert_eq!(problem("a{b=\"\",c=\"\"} 1"), Problem::TooManyLabels(1));
}

#[test]
fn a_family_is_selected_by_name_and_labels() {
    let page = parse(b"# TYPE w gauge\nw{m=\"a\",r=\"x\"} 1\nw{m=\"a\",r=\"y\"} 2\nw{m=\"b\"} 4\nw_total 8").unwrap();
    let sum = |labels: &[(&str, &str)]| page.select("w", labels).map(|sample| sample.value).sum::<f64>();
    assert_eq!(sum(&[]), 7.0);
    assert_eq!(sum(&[("m", "a")]), 3.0);
    assert_eq!(sum(&[("m", "a"), ("r", "y")]), 2.0);
    assert!(page.has_family("w") && !page.has_family("v"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn nothing_that_looks_like_a_page_makes_it_panic(page in "[a-z_:{}\"\\\\=, \\n\\r#0-9.eE+é-]{0,200}") {
        let _ = parse(page.as_bytes());
    }

    #[test]
    fn what_is_written_is_read_back(
        name in "[a-z_:][a-z0-9_:]{0,12}",
        label in "[a-z_][a-z0-9_]{0,8}",
        text in "\\PC{0,20}",
        value in prop::num::f64::NORMAL,
    ) {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let page = format!("{name}{{{label}=\"{escaped}\"}} {value:e}\n");
        let read = parse(page.as_bytes()).unwrap();
        prop_assert_eq!(read.samples[0].name, name.as_str());
        prop_assert_eq!(read.samples[0].label(&label), Some(text.as_str()));
        prop_assert_eq!(read.samples[0].value, value);
    }
}
