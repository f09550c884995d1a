//! Saturation: how full the replicas of a model are.
//!
//! - [`tokens`]: tokens held against tokens that fit, which tells an amount;
//!   [`engine_args`] says what a replica that has not reported will hold. In
//!   two modes: [`Mode::Guarded`] is ours, [`Mode::AsPublished`] repeats the
//!   predecessor to the last formula, faults included, so that the two can be
//!   held side by side; nothing should be scaled by it.
//! - [`percent`]: shares of the KV cache and requests waiting, as the
//!   predecessor judges them. Ours are rules of the decision.

pub mod engine_args;
pub mod percent;
pub mod tokens;

/// Whose rules an analysis follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Ours: all replicas are judged, silence is not health, nothing freezes.
    #[default]
    Guarded,
    /// The predecessor's, for comparison.
    AsPublished,
}

/// Computed shares this close to an edge are on it: 0.8 - (0.65 + 0.75) / 2 is
/// a little more than 0.1 in binary.
pub(crate) const EDGE: f64 = 1e-9;

/// A figure that can be worked with: a number, not negative, and not so large
/// that a sum of such would stop being one.
pub(crate) fn usable(value: Option<f64>) -> Option<f64> {
    const MOST: f64 = 1e15;
    value.filter(|value| (0.0..=MOST).contains(value))
}
