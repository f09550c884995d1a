//! A writer of the Prometheus text format.
//!
//! Values are written as the Python client writes them (`1.0`, `4.5e+09`), and
//! the bucket label stands in alphabetical order among the others, so that a
//! page of ours can be compared with a page of vLLM's byte by byte.

use std::fmt::Write as _;

/// What kind of numbers a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts per bucket, a count and a sum.
    Histogram,
    /// A count and a sum, perhaps quantiles.
    Summary,
}

impl Kind {
    /// The word in a `# TYPE` line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// Labels of one series: names and values, in the order to be written.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page being written. Begin each family with [`Writer::family`], then write
/// all of its series before the next one.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    text: String,
}

impl Writer {
    /// The `Content-Type` of a page.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// An empty page with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
        }
    }

    /// Begins the family `name`: its `# HELP` and `# TYPE` lines.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        let _ = write!(self.text, "\n# TYPE {name} {}\n", kind.as_str());
    }

    /// One line: a value of the series `name` with `labels`.
    pub fn sample(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.text.push_str(name);
        self.labels(labels.iter().copied());
        self.text.push(' ');
        push_number(&mut self.text, value);
        self.text.push('\n');
    }

    /// The lines of one histogram. `counts` has one entry per bound and one
    /// more for what lies above the last; they are added up here. A missing
    /// entry counts as zero. `labels` are in alphabetical order.
    pub fn histogram(&mut self, name: &str, labels: Labels<'_>, bounds: &[f64], counts: &[u64], sum: f64) {
        let before = labels.iter().take_while(|(label, _)| *label < "le").count();
        let (left, right) = labels.split_at(before);
        let mut seen = 0_u64;
        let mut bound = String::new();
        for i in 0..=bounds.len() {
            seen += counts.get(i).copied().unwrap_or(0);
            bound.clear();
            push_number(&mut bound, bounds.get(i).copied().unwrap_or(f64::INFINITY));
            self.text.push_str(name);
            self.text.push_str("_bucket");
            let middle = [("le", bound.as_str())];
            self.labels(left.iter().chain(&middle).chain(right).copied());
            self.text.push(' ');
            push_number(&mut self.text, seen as f64);
            self.text.push('\n');
        }
        for (suffix, value) in [("_count", seen as f64), ("_sum", sum)] {
            self.text.push_str(name);
            self.text.push_str(suffix);
            self.labels(labels.iter().copied());
            self.text.push(' ');
            push_number(&mut self.text, value);
            self.text.push('\n');
        }
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    fn labels<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut open = '{';
        for (name, value) in labels {
            self.text.push(open);
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(&mut self.text, value, true);
            self.text.push('"');
            open = ',';
        }
        if open == ',' {
            self.text.push('}');
        }
    }
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

/// Appends `value` as the Python client writes it: always with a point, and
/// with an exponent from a million up.
fn push_number(out: &mut String, value: f64) {
    if !value.is_finite() {
        out.push_str(if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        });
        return;
    }
    let start = out.len();
    let _ = write!(out, "{value:?}");
    let Some(point) = out[start..].find('.').filter(|&point| value > 0.0 && point > 6) else {
        return;
    };
    if out[start..].contains('e') {
        return;
    }
    out.remove(start + point);
    out.insert(start + 1, '.');
    let digits = out.trim_end_matches('0').trim_end_matches('.').len();
    out.truncate(digits);
    let _ = write!(out, "e+{:02}", point - 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_vllm_writes_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (0.001, "0.001"),
            (20000.0, "20000.0"),
            (123_456.0, "123456.0"),
            (1_000_000.0, "1e+06"),
            (4_864_770_048.0, "4.864770048e+09"),
            (1_795_345_541.57, "1.79534554157e+09"),
            (1_795_345_718.755_767, "1.795345718755767e+09"),
            (-2.5, "-2.5"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            let mut out = String::from("7");
            push_number(&mut out, value);
            assert_eq!(&out[1..], text);
        }
    }

    #[test]
    fn a_page_keeps_families_together_and_escapes() {
        let mut page = Writer::default();
        page.family("up", Kind::Gauge, "Is it \\ up?\nYes.");
        page.sample("up", &[], 1.0);
        page.sample("up", &[("job", "a \"b\"\n\\")], 0.0);
        page.family("wait", Kind::Histogram, "Waiting.");
        page.histogram(
            "wait",
            &[("engine", "0"), ("model_name", "m")],
            &[0.1, 1.0],
            &[2, 0, 1],
            7.5,
        );
        assert_eq!(
            page.finish(),
            "# HELP up Is it \\\\ up?\\nYes.\n# TYPE up gauge\nup 1.0\nup{job=\"a \\\"b\\\"\\n\\\\\"} 0.0\n\
             # HELP wait Waiting.\n# TYPE wait histogram\n\
             wait_bucket{engine=\"0\",le=\"0.1\",model_name=\"m\"} 2.0\n\
             wait_bucket{engine=\"0\",le=\"1.0\",model_name=\"m\"} 2.0\n\
             wait_bucket{engine=\"0\",le=\"+Inf\",model_name=\"m\"} 3.0\n\
             wait_count{engine=\"0\",model_name=\"m\"} 3.0\nwait_sum{engine=\"0\",model_name=\"m\"} 7.5\n"
        );
    }

    #[test]
    fn a_histogram_nothing_was_observed_in_is_all_zeros() {
        let mut page = Writer::default();
        page.histogram("h", &[], &[1.0], &[], 0.0);
        assert_eq!(
            page.finish(),
            "h_bucket{le=\"1.0\"} 0.0\nh_bucket{le=\"+Inf\"} 0.0\nh_count 0.0\nh_sum 0.0\n"
        );
    }
}
