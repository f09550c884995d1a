//! Learns a model's service times from what its replicas are seen to do.
//!
//! An extended Kalman filter (Kalman 1960; Jazwinski 1970): the state is the
//! three parameters of [`ServiceTime::Iteration`], each observation the mean
//! time to the first token and between tokens at a rate of requests, the
//! function between them the [queueing model](crate::queueing).
//!
//! Guards of [`Mode::Guarded`], none of which the predecessor has:
//! - the covariance is updated in Joseph's form, which stays symmetric and
//!   positive under rounding and under any gain, and is bounded, so that long
//!   silence does not make the filter believe anything;
//! - one load shows two figures and has three parameters: what it does not show
//!   is held, for it learns only along what is excited (as directional
//!   forgetting does, Kulhavy 1987). The model is made linear anew only when the
//!   load or the parameters have really changed; were it done at each
//!   observation, chance would turn that direction a little each time, and move
//!   the third parameter for days;
//! - a step that would take a parameter to zero or below is shortened;
//! - an observation beyond the gate is not taken (normalised innovation
//!   squared, chi-square with two degrees of freedom), but after several in a
//!   row the world is taken to have changed and the filter opens up;
//! - a rate that the parameters say cannot be served, and was, makes them as
//!   fast as it shows they are;
//! - requests without a prompt can be learnt from.

mod anchor;
mod matrix;
#[cfg(test)]
mod tests;

use crate::queueing::{Averaging, Performance, QueueModel, Replica, ServiceTime, Workload};
use crate::saturation::Mode;
use anchor::Anchor;
use matrix::{M3, V3, add, congruence, gain_of, identity_minus, inverse2, multiply, symmetric};

/// Ninety-seven and a half percent of chi-square with two degrees of freedom.
pub const NIS_GATE: f64 = 7.378;
/// Step of the numeric derivative, as a share of the parameter.
const DERIVATIVE_STEP: f64 = 0.01;
/// A step leaves at least this share of a parameter.
const KEEP_SHARE: f64 = 0.1;
/// Places in the queue per place in the batch.
const QUEUE_PER_BATCH: u32 = 10;

/// How the filter starts and how much it trusts what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TunerConfig {
    /// The parameters it starts from, in milliseconds, all above 0.
    pub start: [f64; 3],
    /// By which share of its start each parameter is expected to wander between
    /// two observations; also the doubt it starts with.
    pub drift: [f64; 3],
    /// What observations are expected to be like, in milliseconds: their noise
    /// is a share of it. None: of what the filter predicts, which follows the
    /// load. [`Mode::AsPublished`] needs it.
    pub expected: Option<[f64; 2]>,
    /// Error of an observation, as a share, at the confidence of `t`.
    pub error: f64,
    /// Quantile of the normal distribution that goes with it.
    pub t: f64,
    /// The predecessor's factor between the noise so derived and the one used.
    pub gamma: f64,
    /// Observations in a row beyond the gate after which the filter opens up.
    pub reset_after: u32,
    /// Whose rules.
    pub mode: Mode,
}

impl TunerConfig {
    /// The usual trust, from these parameters on.
    #[must_use]
    pub const fn from_start(start: [f64; 3]) -> Self {
        Self {
            start,
            drift: [0.1; 3],
            expected: None,
            error: 0.05,
            t: 1.96,
            gamma: 0.01,
            reset_after: 5,
            mode: Mode::Guarded,
        }
    }
}

/// What was seen of one replica, on average over a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Requests served per second by one replica.
    pub rate: f64,
    /// Mean tokens of a prompt; 0 where there is none.
    pub input_tokens: f64,
    /// Mean tokens of an answer.
    pub output_tokens: f64,
    /// Most requests in its batch.
    pub max_batch: u32,
    /// Mean time to the first token, in milliseconds.
    pub ttft_ms: f64,
    /// Mean time between tokens, in milliseconds.
    pub itl_ms: f64,
}

/// What became of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was learnt from.
    Taken,
    /// Something in it is missing or makes no sense.
    Unusable,
    /// It is too far from what was expected.
    Gated,
    /// It was too far, as those before it, and the filter opened up.
    Reset,
    /// The parameters could not serve that rate: they were made faster.
    Quickened,
    /// It would have made a parameter impossible. [`Mode::AsPublished`] only.
    Impossible,
}

/// What the filter made of an observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// What became of it.
    pub outcome: Outcome,
    /// The parameters now: alpha, beta and gamma in milliseconds.
    pub parameters: [f64; 3],
    /// Normalised innovation squared, where it got as far.
    pub nis: Option<f64>,
    /// In a sentence.
    pub said: String,
}

/// Why a filter cannot start.
#[derive(Clone, Debug, PartialEq)]
pub struct TunerError {
    /// Path of the field.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
}

impl std::fmt::Display for TunerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is {}: it must be a number above 0", self.field, self.value)
    }
}

impl std::error::Error for TunerError {}

/// The filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuner {
    config: TunerConfig,
    state: V3,
    covariance: M3,
    rejected: u32,
    /// Where the model was made linear last.
    about: Option<Anchor>,
}

impl Tuner {
    /// A filter at its start.
    ///
    /// # Errors
    /// A figure of the configuration that is not above 0.
    pub fn new(config: TunerConfig) -> Result<Self, TunerError> {
        let [alpha, beta, gamma] = config.start;
        let [d0, d1, d2] = config.drift;
        let [ttft, itl] = config.expected.unwrap_or([1.0; 2]);
        for (field, value) in [
            ("tuner.start.alphaMs", alpha),
            ("tuner.start.betaMs", beta),
            ("tuner.start.gammaMs", gamma),
            ("tuner.drift.alpha", d0),
            ("tuner.drift.beta", d1),
            ("tuner.drift.gamma", d2),
            ("tuner.expected.ttftMs", ttft),
            ("tuner.expected.itlMs", itl),
            ("tuner.error", config.error),
            ("tuner.t", config.t),
            ("tuner.gamma", config.gamma),
            ("tuner.resetAfter", f64::from(config.reset_after)),
        ] {
            if !(value.is_normal() && value > 0.0 && value < 1e12) {
                return Err(TunerError { field, value });
            }
        }
        let mut tuner = Self {
            config,
            state: config.start,
            covariance: [[0.0; 3]; 3],
            rejected: 0,
            about: None,
        };
        tuner.covariance = tuner.noise_of_state();
        Ok(tuner)
    }

    /// The parameters as a service time.
    #[must_use]
    pub const fn service_time(&self) -> ServiceTime {
        service_time(&self.state)
    }

    /// How far each parameter may be off: one standard deviation, in
    /// milliseconds.
    #[must_use]
    pub fn doubt(&self) -> [f64; 3] {
        std::array::from_fn(|j| self.covariance[j][j].max(0.0).sqrt())
    }

    /// Learns from an observation, or says why not.
    pub fn observe(&mut self, seen: &Observation) -> Update {
        if let Some(what) = self.unusable(seen) {
            return self.said(Outcome::Unusable, None, format!("nothing learnt: {what}"));
        }
        if self.config.mode == Mode::Guarded
            && let Some(update) = self.quicken(seen)
        {
            return update;
        }
        let Some((expected, slope)) = self.predict(seen) else {
            return self.said(
                Outcome::Unusable,
                None,
                "nothing learnt: the parameters make no model at this load".to_owned(),
            );
        };
        let prior = self.bounded(add(&self.covariance, &self.noise_of_state()));
        let noise = self.noise_of_seen(expected);
        let off = [seen.ttft_ms - expected[0], seen.itl_ms - expected[1]];
        let spread = congruence(&slope, &prior, noise);
        let Some(inverse) = inverse2(&spread) else {
            return self.said(
                Outcome::Unusable,
                None,
                "nothing learnt: the spread of the observation is no number".to_owned(),
            );
        };
        let nis: f64 = (0..2)
            .map(|i| off[i] * (inverse[i][0] * off[0] + inverse[i][1] * off[1]))
            .sum();
        let mut gain = gain_of(&prior, &slope, &inverse);
        let step = |gain: &[[f64; 2]; 3]| -> V3 { std::array::from_fn(|j| gain[j][0] * off[0] + gain[j][1] * off[1]) };
        let mut moved = step(&gain);
        match self.config.mode {
            Mode::AsPublished => {
                if (0..3).any(|j| self.state[j] + moved[j] <= 0.0) {
                    return self.said(
                        Outcome::Impossible,
                        Some(nis),
                        "a parameter would not be above 0".to_owned(),
                    );
                }
                if nis.is_nan() || nis >= NIS_GATE {
                    return self.said(Outcome::Gated, Some(nis), format!("beyond the gate: NIS {nis:.3}"));
                }
                self.covariance = multiply(&identity_minus(&gain, &slope), &prior);
            }
            Mode::Guarded => {
                if nis.is_nan() || nis >= NIS_GATE {
                    return self.gated(seen, prior, nis);
                }

                moved = step(&gain);
                // Joseph's form holds for any gain, so a shorter step is as good.
                let short = (0..3)
                    .filter(|&j| moved[j] < 0.0)
                    .map(|j| (1.0 - KEEP_SHARE) * self.state[j] / -moved[j])
                    .fold(1.0, f64::min);
                for row in &mut gain {
                    *row = row.map(|weight| weight * short);
                }
                moved = step(&gain);
                let keep = identity_minus(&gain, &slope);
                let kept = multiply(&multiply(&keep, &prior), &matrix::transpose(&keep));
                let learnt: M3 = std::array::from_fn(|i| {
                    std::array::from_fn(|j| gain[i][0] * noise[0] * gain[j][0] + gain[i][1] * noise[1] * gain[j][1])
                });
                self.covariance = symmetric(&add(&kept, &learnt));
            }
        }
        self.state = std::array::from_fn(|j| self.state[j] + moved[j]);
        self.covariance = self.bounded(self.covariance);
        self.rejected = 0;
        let [alpha, beta, gamma] = self.state;
        self.said(
            Outcome::Taken,
            Some(nis),
            format!(
                "TTFT {:.1} ms and ITL {:.1} ms where {:.1} and {:.1} were expected: \
                 alpha {alpha:.3}, beta {beta:.5}, gamma {gamma:.6} ms",
                seen.ttft_ms, seen.itl_ms, expected[0], expected[1]
            ),
        )
    }

    fn said(&self, outcome: Outcome, nis: Option<f64>, said: String) -> Update {
        Update {
            outcome,
            parameters: self.state,
            nis,
            said,
        }
    }

    fn unusable(&self, seen: &Observation) -> Option<&'static str> {
        let above = |value: f64| value.is_normal() && value > 0.0 && value < 1e12;
        let prompts = match self.config.mode {
            Mode::Guarded => above(seen.input_tokens) || seen.input_tokens == 0.0,
            Mode::AsPublished => above(seen.input_tokens),
        };
        let rules = [
            (above(seen.rate), "no requests were served"),
            (prompts, "the length of prompts is not known"),
            (
                above(seen.output_tokens) && seen.output_tokens >= 1.0,
                "the length of answers is not known",
            ),
            (seen.max_batch > 0, "the size of the batch is not known"),
            (above(seen.ttft_ms), "the time to the first token is not known"),
            (above(seen.itl_ms), "the time between tokens is not known"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what)
    }

    fn model(&self, state: &V3, seen: &Observation) -> Option<QueueModel> {
        QueueModel::new(Replica {
            max_batch: seen.max_batch,
            max_queue: seen.max_batch.saturating_mul(QUEUE_PER_BATCH),
            service: service_time(state),
            load: Workload {
                input_tokens: seen.input_tokens,
                output_tokens: seen.output_tokens,
            },
            averaging: match self.config.mode {
                Mode::Guarded => Averaging::Busy,
                Mode::AsPublished => Averaging::AsPublished,
            },
        })
        .ok()
    }

    /// Times to the first and between tokens that these parameters give.
    fn expect(&self, state: &V3, seen: &Observation) -> Option<[f64; 2]> {
        let model = self.model(state, seen)?;
        if self.config.mode == Mode::AsPublished && seen.rate > model.max_rate() {
            return None;
        }
        let Performance {
            wait_ms,
            prefill_ms,
            ttft_ms,
            itl_ms,
            ..
        } = model.at(seen.rate).ok()?;
        let first = match self.config.mode {
            Mode::Guarded => ttft_ms,
            // Without the step that makes the first token, unlike its analysis.
            Mode::AsPublished => wait_ms + prefill_ms,
        };
        (first.is_finite() && itl_ms.is_finite()).then_some([first, itl_ms])
    }

    /// The expected observation and its derivative by each parameter.
    fn predict(&mut self, seen: &Observation) -> Option<([f64; 2], [[f64; 3]; 2])> {
        let here = self.expect(&self.state, seen)?;
        let load = [
            seen.rate,
            seen.input_tokens,
            seen.output_tokens,
            f64::from(seen.max_batch),
        ];
        if let Some(anchor) = self.about.filter(|anchor| anchor.holds(load, self.state)) {
            return Some((here, anchor.slope));
        }
        let mut slope = [[0.0; 3]; 2];
        for j in 0..3 {
            let step = DERIVATIVE_STEP * self.state[j].abs();
            let beside = |sign: f64| {
                let mut state = self.state;
                state[j] += sign * step;
                self.expect(&state, seen)
            };
            let (up, down) = (beside(1.0)?, beside(-1.0)?);
            for i in 0..2 {
                slope[i][j] = (up[i] - down[i]) / (2.0 * step);
            }
        }
        if self.config.mode == Mode::Guarded {
            let state = self.state;
            self.about = Some(Anchor { load, state, slope });
        }
        Some((here, slope))
    }

    /// The parameters that shares are of: they stay where the model stays linear.
    fn scale(&self) -> V3 {
        let anchor = self.about.filter(|anchor| anchor.near(self.state));
        anchor.map_or(self.state, |anchor| anchor.state)
    }

    fn noise_of_state(&self) -> M3 {
        let mut noise = [[0.0; 3]; 3];
        for (j, row) in noise.iter_mut().enumerate() {
            // Ours follows the parameter, so a fast model is not shaken by the
            // doubts about a slow one.
            let of = match self.config.mode {
                Mode::Guarded => self.scale()[j],
                Mode::AsPublished => self.config.start[j],
            };
            row[j] = (self.config.drift[j] * of).powi(2);
        }
        noise
    }

    fn noise_of_seen(&self, predicted: [f64; 2]) -> [f64; 2] {
        let of = self.config.expected.unwrap_or(predicted);
        let factor = (self.config.error / self.config.t).powi(2) / self.config.gamma;
        of.map(|ms| factor * ms * ms)
    }

    /// No doubt is larger than the parameter itself. Rows and columns shrink
    /// together, which keeps the matrix positive.
    fn bounded(&self, covariance: M3) -> M3 {
        if self.config.mode == Mode::AsPublished {
            return covariance;
        }
        let scale = self.scale();
        let shrink: V3 = std::array::from_fn(|j| {
            let most = scale[j] * scale[j];
            if covariance[j][j] > most {
                (most / covariance[j][j]).sqrt()
            } else {
                1.0
            }
        });
        std::array::from_fn(|i| std::array::from_fn(|j| covariance[i][j] * shrink[i] * shrink[j]))
    }

    /// The observation is not taken; the doubt grows all the same.
    fn gated(&mut self, seen: &Observation, prior: M3, nis: f64) -> Update {
        self.covariance = prior;
        self.rejected += 1;
        if self.rejected < self.config.reset_after {
            let said = format!(
                "not learnt from: too far from what was expected (NIS {nis:.1} of {NIS_GATE}), {} in a row",
                self.rejected
            );
            return self.said(Outcome::Gated, Some(nis), said);
        }
        let factor = self.factor_to(seen);
        self.start_over(factor);
        let said = format!(
            "{} observations in a row were far from what was expected: the model has changed; \
             all times are taken to be {:.0} % of before, and learnt anew",
            self.config.reset_after,
            factor * 100.0
        );
        self.said(Outcome::Reset, Some(nis), said)
    }

    /// By how much all times must be longer or shorter to make the time between
    /// tokens what it is seen to be. That time grows with them, so halving the
    /// range finds it.
    fn factor_to(&self, seen: &Observation) -> f64 {
        const MOST: f64 = 64.0;
        const HALVINGS: u32 = 40;
        let capacity = self.model(&self.state, seen).map_or(0.0, |model| model.max_rate());
        // Longer times serve less, and this rate was served.
        let (mut low, mut high) = (1.0 / MOST, (0.95 * capacity / seen.rate).clamp(1.0 / MOST, MOST));
        for _ in 0..HALVINGS {
            let middle = (low * high).sqrt();
            match self.expect(&self.state.map(|value| value * middle), seen) {
                Some([_, itl]) if itl < seen.itl_ms => low = middle,
                _ => high = middle,
            }
        }
        let small = |factor: f64| self.state.iter().any(|value| !(value * factor).is_normal());
        if small(high) { 1.0 } else { high }
    }

    /// All times scaled, and nothing known of their mix.
    fn start_over(&mut self, factor: f64) {
        self.rejected = 0;
        self.about = None;
        self.state = self.state.map(|value| value * factor);
        self.covariance = [[0.0; 3]; 3];
        for j in 0..3 {
            self.covariance[j][j] = self.state[j] * self.state[j];
        }
    }

    /// Somebody served this rate, so the parameters must allow it: all times
    /// shrink together until they do, with some room.
    fn quicken(&mut self, seen: &Observation) -> Option<Update> {
        const ROOM: f64 = 0.9;
        let most = self.model(&self.state, seen)?.max_rate();
        if seen.rate <= most {
            return None;
        }
        let share = ROOM * most / seen.rate;
        if !(share.is_normal() && self.state.iter().all(|value| (value * share).is_normal())) {
            return Some(self.said(
                Outcome::Unusable,
                None,
                "nothing learnt: a rate beyond any model".to_owned(),
            ));
        }
        self.start_over(share);
        let said = format!(
            "{:.2} requests/s were served and {most:.2} thought possible: all times are taken to be {:.0} % of before",
            seen.rate,
            share * 100.0
        );
        Some(self.said(Outcome::Quickened, None, said))
    }
}

const fn service_time(state: &V3) -> ServiceTime {
    ServiceTime::Iteration {
        alpha_ms: state[0],
        beta_ms: state[1],
        gamma_ms: state[2],
    }
}
