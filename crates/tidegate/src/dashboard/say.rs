//! Numbers as people say them.

/// A span of time with its unit, two or three figures: `61 ms`, `1.4 s`, `2 min 5 s`.
pub(super) fn span(ms: f64) -> String {
    let ms = if ms.is_finite() { ms.max(0.0) } else { 0.0 };
    if ms < 9.95 {
        format!("{ms:.1} ms")
    } else if ms < 999.5 {
        format!("{ms:.0} ms")
    } else if ms < 9_950.0 {
        format!("{:.1} s", ms / 1e3)
    } else if ms < 59_500.0 {
        format!("{:.0} s", ms / 1e3)
    } else if ms < 3_570_000.0 {
        let seconds = (ms / 1e3).round() as u64;
        match (seconds / 60, seconds % 60) {
            (minutes, 0) => format!("{minutes} min"),
            (minutes, rest) if minutes < 10 => format!("{minutes} min {rest} s"),
            (minutes, _) => format!("{minutes} min"),
        }
    } else {
        let minutes = (ms / 6e4).round() as u64;
        format!("{} h {} min", minutes / 60, minutes % 60)
    }
}

/// How many of something: `1 request`, `22 requests`.
pub(super) fn count(n: u64, one: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{n} {one}s")
    }
}

/// Cost per hour: `0.80 $/h`.
pub(super) fn cost(per_hour: f64) -> String {
    format!("{per_hour:.2} $/h")
}

/// A sentence's first letter, made capital.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit_and_few_figures() {
        for (ms, said) in [
            (0.0, "0.0 ms"),
            (9.94, "9.9 ms"),
            (9.96, "10 ms"),
            (61.2, "61 ms"),
            (999.4, "999 ms"),
            (999.6, "1.0 s"),
            (1_440.0, "1.4 s"),
            (9_960.0, "10 s"),
            (59_600.0, "1 min"),
            (125_000.0, "2 min 5 s"),
            (900_000.0, "15 min"),
            (7_260_000.0, "2 h 1 min"),
            (f64::NAN, "0.0 ms"),
        ] {
            assert_eq!(span(ms), said, "{ms}");
        }
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(count(1, "replica"), "1 replica");
        assert_eq!(count(0, "replica"), "0 replicas");
    }
}
