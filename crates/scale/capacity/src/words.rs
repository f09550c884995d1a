//! Numbers as people read them, in the sentences of this crate.

use std::time::Duration;

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `450 ms`, `1.4 s`, `75 s`, `12 min`.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 0.9995 => format!("{:.0} ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 119.5 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}

/// Milliseconds as [`time`], with a decimal where that matters: `7.5 ms`.
pub(crate) fn short_time(ms: f64) -> String {
    if ms < 9.95 {
        format!("{} ms", number(ms))
    } else {
        time(Duration::try_from_secs_f64(ms / 1e3).unwrap_or(Duration::MAX))
    }
}

/// `91 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// At most one decimal, none when it would be 0.
pub(crate) fn number(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    if rounded.fract() == 0.0 {
        format!("{rounded:.0}")
    } else {
        format!("{rounded:.1}")
    }
}

/// `1 replica`, `2 replicas`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{n} {many}")
    }
}

/// At most three of `names`, then how many more.
pub(crate) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// `llama-8b-l4` of model `llama-8b` is `l4`: the model is said already.
pub(crate) fn short_name<'a>(variant: &'a str, model: &str) -> &'a str {
    match variant.strip_prefix(model).and_then(|rest| rest.strip_prefix('-')) {
        Some(rest) if !rest.is_empty() => rest,
        _ => variant,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(time(Duration::from_millis(450)), "450 ms");
        assert_eq!(time(Duration::from_millis(1400)), "1.4 s");
        assert_eq!(time(Duration::from_millis(9960)), "10 s");
        assert_eq!(time(Duration::from_secs(75)), "75 s");
        assert_eq!(time(Duration::from_secs(600)), "10 min");
        assert_eq!(percent(0.914), "91 %");
        assert_eq!(
            (number(3.0), number(2.96), number(2.44)),
            ("3".into(), "3".into(), "2.4".into())
        );
        assert_eq!(short_name("llama-8b-l4", "llama-8b"), "l4");
        assert_eq!(short_name("other", "llama-8b"), "other");
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        assert_eq!(some_of(&names[..2]), "a, b");
        assert_eq!(some_of(&names), "a, b, c and 2 more");
    }
}
