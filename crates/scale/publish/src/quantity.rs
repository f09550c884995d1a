//! Kubernetes quantities.

/// A value that is not negative as a quantity: whole where it is whole, in
/// thousandths where not, rounded to the nearest. `None` for what is no
/// quantity: negative, infinite, not a number, or beyond 2^63 thousandths.
pub(crate) fn quantity(value: f64) -> Option<String> {
    let milli = (value * 1000.0).round();
    // 2^63 as f64; the comparison is false for NaN.
    if !(0.0..9.223_372_036_854_776e18).contains(&milli) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in range, as checked above"
    )]
    let milli = milli as u64;
    Some(if milli.is_multiple_of(1000) {
        (milli / 1000).to_string()
    } else {
        format!("{milli}m")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_values_are_whole_and_others_thousandths() {
        for (value, expected) in [
            (0.0, Some("0")),
            (-0.0, Some("0")),
            (5.0, Some("5")),
            (1.25, Some("1250m")),
            (0.333_333, Some("333m")),
            (0.000_4, Some("0")),
            (f64::from(u32::MAX), Some("4294967295")),
            (-1.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (1e300, None),
        ] {
            assert_eq!(quantity(value).as_deref(), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_within_half_a_thousandth_of_the_value(value in 0.0..1e9_f64) {
            let text = quantity(value).unwrap();
            let read = match text.strip_suffix('m') {
                Some(milli) => milli.parse::<f64>().unwrap() / 1000.0,
                None => text.parse().unwrap(),
            };
            prop_assert!((read - value).abs() <= 0.000_501, "{value} as {text}");
        }

        #[test]
        fn nothing_panics(value in any::<f64>()) {
            let _ = quantity(value);
        }
    }
}
