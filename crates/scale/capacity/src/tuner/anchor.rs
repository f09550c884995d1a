//! Where a model was made linear.

use super::matrix::V3;

/// Figures that differ by at most this share do so by chance.
pub(super) const ALIKE: f64 = 0.15;

/// A load and parameters, and the derivative of what is seen by each parameter
/// there. It stays while loads and parameters differ from it only as they do by
/// chance: the direction that one load does not show is then always the same,
/// and nothing creeps along it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Anchor {
    /// Rate, prompts, answers and batch.
    pub(super) load: [f64; 4],
    pub(super) state: V3,
    pub(super) slope: [[f64; 3]; 2],
}

impl Anchor {
    pub(super) fn holds(&self, load: [f64; 4], state: V3) -> bool {
        self.load.iter().zip(load).all(|(a, b)| alike(*a, b)) && self.near(state)
    }

    pub(super) fn near(&self, state: V3) -> bool {
        self.state.iter().zip(state).all(|(a, b)| alike(*a, b))
    }
}

fn alike(a: f64, b: f64) -> bool {
    (a - b).abs() <= ALIKE * a.max(b)
}
