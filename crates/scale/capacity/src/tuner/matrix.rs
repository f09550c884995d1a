//! The few small matrices a filter of three parameters and two observations
//! needs.

pub(super) type V3 = [f64; 3];
pub(super) type M3 = [[f64; 3]; 3];

pub(super) fn add(a: &M3, b: &M3) -> M3 {
    std::array::from_fn(|i| std::array::from_fn(|j| a[i][j] + b[i][j]))
}

pub(super) fn multiply(a: &M3, b: &M3) -> M3 {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

pub(super) fn transpose(a: &M3) -> M3 {
    std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
}

/// The mean of a matrix and its mirror: rounding makes them differ.
pub(super) fn symmetric(a: &M3) -> M3 {
    std::array::from_fn(|i| std::array::from_fn(|j| 0.5 * (a[i][j] + a[j][i])))
}

/// `H P H' + diag(noise)`.
pub(super) fn congruence(h: &[[f64; 3]; 2], p: &M3, noise: [f64; 2]) -> [[f64; 2]; 2] {
    std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            let sum: f64 = (0..3)
                .map(|k| (0..3).map(|l| h[i][k] * p[k][l] * h[j][l]).sum::<f64>())
                .sum();
            if i == j { sum + noise[i] } else { sum }
        })
    })
}

/// None for one that has no inverse worth the name.
pub(super) fn inverse2(a: &[[f64; 2]; 2]) -> Option<[[f64; 2]; 2]> {
    let determinant = a[0][0] * a[1][1] - a[0][1] * a[1][0];
    (determinant.is_normal() && determinant > 0.0).then(|| {
        [
            [a[1][1] / determinant, -a[0][1] / determinant],
            [-a[1][0] / determinant, a[0][0] / determinant],
        ]
    })
}

/// The Kalman gain, `P H' S^-1`.
pub(super) fn gain_of(p: &M3, h: &[[f64; 3]; 2], inverse: &[[f64; 2]; 2]) -> [[f64; 2]; 3] {
    let across: [[f64; 2]; 3] =
        std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| p[i][k] * h[j][k]).sum()));
    std::array::from_fn(|i| std::array::from_fn(|j| (0..2).map(|k| across[i][k] * inverse[k][j]).sum()))
}

/// `I - K H`.
pub(super) fn identity_minus(gain: &[[f64; 2]; 3], h: &[[f64; 3]; 2]) -> M3 {
    std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            let one = if i == j { 1.0 } else { 0.0 };
            one - (0..2).map(|k| gain[i][k] * h[k][j]).sum::<f64>()
        })
    })
}
