use serde::{Deserialize, Deserializer, de};
use std::fmt;

/// A length of time in whole milliseconds, written `500ms`, `1.5s`, `2m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Millis(pub(crate) u64);

impl Millis {
    /// Reads `500ms`, `1.5s`, `2m`, `1h`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let split = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let scale = match unit {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            _ => return Err(format!("`{text}` is not a duration: write 500ms, 1.5s, 2m or 1h")),
        };
        let number: f64 = number
            .parse()
            .map_err(|_| format!("`{text}` is not a duration: write 500ms, 1.5s, 2m or 1h"))?;
        let millis = number * scale;
        if millis > 366.0 * 24.0 * 3_600_000.0 {
            return Err(format!("`{text}` is longer than a year"));
        }
        Ok(Self(millis.round() as u64))
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Millis;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 500ms, 1.5s or 2m")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Millis, E> {
                Millis::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_people_write() {
        for (text, millis) in [
            ("500ms", 500),
            ("1.5s", 1_500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(Millis::parse(text), Ok(Millis(millis)), "{text}");
        }
        for text in ["", "5", "ms", "-1s", "1.2.3s", "5 parsecs", "99999h"] {
            assert!(Millis::parse(text).is_err(), "{text}");
        }
    }
}
