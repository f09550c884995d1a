//! Why an endpoint was picked, or none.

use crate::EndpointId;
use std::fmt;

/// One endpoint as it stood when it was considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Considered {
    /// Which one.
    pub id: EndpointId,
    /// Requests at it.
    pub in_flight: u32,
    /// Most requests it is sent at once.
    pub slots: u32,
    /// Tokens of the requests at it, as estimated on dispatch.
    pub tokens: u64,
}

/// What was looked at: how many endpoints, and why some were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Endpoints the pool knows, leaving ones included.
    pub known: u32,
    /// Could have taken the request.
    pub eligible: u32,
    /// Left out: tried already for this request.
    pub tried: u32,
    /// Left out: not ready.
    pub not_ready: u32,
    /// Left out: terminating or gone.
    pub draining: u32,
    /// Left out: in back-off after a failed connection.
    pub backing_off: u32,
    /// Left out: all slots in use.
    pub full: u32,
}

/// A pick and its reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Who takes the request.
    pub winner: Considered,
    /// Who would have, had the winner not been there.
    pub second: Option<Considered>,
    /// What was looked at.
    pub inputs: Inputs,
}

impl fmt::Display for Considered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "endpoint {} ({} of {} slots, {} tokens)",
            self.id.0, self.in_flight, self.slots, self.tokens
        )
    }
}

impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} endpoints eligible (full {}, backing off {}, not ready {}, draining {}, tried {})",
            self.eligible, self.known, self.full, self.backing_off, self.not_ready, self.draining, self.tried
        )
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.winner)?;
        match &self.second {
            Some(second) => write!(f, " before {second}")?,
            None => write!(f, ", the only one that could")?,
        }
        write!(f, "; {}", self.inputs)
    }
}
