//! Quantities as numbers: `500m`, `2`, `16Gi`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The value in thousandths, rounded up; `None` when it is not a quantity.
pub(crate) fn milli(quantity: &Quantity) -> Option<i64> {
    let text = quantity.0.trim();
    let digits = text
        .find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let scale = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "Pi" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "Ei" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            10f64.powi(power)
        }
    };
    // A float-to-integer cast saturates, so no quantity can overflow.
    Some((number * scale * 1000.0 - 1e-6).ceil() as i64)
}

/// The value in whole units, rounded up; `None` when it is not a quantity.
pub(crate) fn units(quantity: &Quantity) -> Option<i64> {
    milli(quantity).map(|m| m.div_euclid(1000) + i64::from(m.rem_euclid(1000) > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_suffix_and_refuses_the_rest() {
        for (text, want) in [
            ("500m", Some(500)),
            ("2", Some(2_000)),
            ("1.5", Some(1_500)),
            ("1Ki", Some(1_024_000)),
            ("1e3", Some(1_000_000)),
            ("2k", Some(2_000_000)),
            ("1n", Some(1)),
            ("", None),
            ("x", None),
            ("1Zi", None),
        ] {
            assert_eq!(milli(&Quantity(text.into())), want, "{text}");
        }
        assert_eq!(units(&Quantity("1500m".into())), Some(2));
    }
}
