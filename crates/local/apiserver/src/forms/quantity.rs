//! Quantities of resources: `100m`, `2Gi`, `1e3`.

/// Reads a quantity as thousandths, rounded up; `None` when it is not one.
///
/// Values beyond the range of an `i128` of thousandths count as malformed.
pub fn parse(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (digits, suffix) = unsigned.split_at(end);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || digits.len() > 30 {
        return None;
    }
    let (base, exponent) = scale(suffix)?;
    // digits × 10^-len(fraction) × base^exponent, in thousandths.
    let number: i128 = format!("{whole}{fraction}").parse().ok()?;
    let mut numerator = number.checked_mul(1000)?;
    let mut denominator = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let factor = i128::from(base).checked_pow(exponent.unsigned_abs());
    if exponent >= 0 {
        numerator = numerator.checked_mul(factor?)?;
    } else {
        denominator = denominator.checked_mul(factor?)?;
    }
    let value = numerator.div_euclid(denominator) + i128::from(numerator.rem_euclid(denominator) != 0);
    Some(if negative { -value } else { value })
}

/// Base and exponent of a suffix.
fn scale(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "" => (10, 0),
        "n" => (10, -9),
        "u" => (10, -6),
        "m" => (10, -3),
        "k" => (10, 3),
        "M" => (10, 6),
        "G" => (10, 9),
        "T" => (10, 12),
        "P" => (10, 15),
        "E" => (10, 18),
        "Ki" => (2, 10),
        "Mi" => (2, 20),
        "Gi" => (2, 30),
        "Ti" => (2, 40),
        "Pi" => (2, 50),
        "Ei" => (2, 60),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (-24..=24).contains(&exponent).then_some((10, exponent))?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::parse;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_read_in_thousandths() {
        for (text, thousandths) in [
            ("1", 1000),
            ("100m", 100),
            ("1.5", 1500),
            (".5", 500),
            ("2Ki", 2_048_000),
            ("1e3", 1_000_000),
            ("1E", 1_000_000_000_000_000_000_000),
            ("-3", -3000),
            ("1u", 1),
            ("0.0001", 1),
        ] {
            assert_eq!(parse(text), Some(thousandths), "{text}");
        }
        for text in ["", ".", "a", "1x", "1.2.3", "1e", "m", "1 ", "--1", "1ee3"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_parsing_panic(text in ".{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn numbers_with_suffixes_never_panic(text in "[-+]?[0-9.]{0,34}[numkMGTPEie0-9-]{0,4}") {
            let _ = parse(&text);
        }
    }
}
