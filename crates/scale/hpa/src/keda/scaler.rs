//! What a trigger answers, and how KEDA carries numbers.

/// What a trigger answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A number.
    Value(f64),
    /// It failed; why.
    Failed(String),
}

/// The answer of KEDA's Prometheus scaler to a query that returned `series`
/// (their values). `ignore_null` is `ignoreNullValues`, true by default: then
/// nothing, a NaN and an infinity are 0. That is KEDA's rule and its trap: a
/// quantile over an idle window is NaN, so the target goes to rest.
#[must_use]
pub fn prometheus(series: &[f64], ignore_null: bool) -> Answer {
    match series {
        [] if ignore_null => Answer::Value(0.0),
        [] => Answer::Failed("prometheus metrics 'prometheus' target may be lost, the result is empty".into()),
        [value] if value.is_finite() => Answer::Value(*value),
        [_] if ignore_null => Answer::Value(0.0),
        [value] => Answer::Failed(format!("prometheus query returns {value}")),
        _ => Answer::Failed("prometheus query returned multiple elements".into()),
    }
}

/// A number as KEDA's metrics carry it: in thousandths, to the nearest; below
/// 0, NaN and infinity are 0; too large saturates.
#[must_use]
pub fn milli(value: f64) -> i64 {
    if !value.is_finite() || value < 0.0 {
        return 0;
    }
    // KEDA prints three decimals of the exact binary value. The product is
    // rounded, so at a tie the error of that rounding decides.
    let product = value * 1000.0;
    let nearest = product.round_ties_even();
    if (product - product.trunc()).abs() == 0.5 {
        let error = value.mul_add(1000.0, -product);
        if error > 0.0 {
            return product.ceil() as i64;
        }
        if error < 0.0 {
            return product.floor() as i64;
        }
    }
    nearest as i64
}
