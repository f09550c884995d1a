//! The page that shows the loop turning, at `http://127.0.0.1:8090`.
//!
//! One read-only page over plain HTTP on loopback: `GET /` and its assets
//! (all inside the binary), `GET /events` (server-sent events, one state per
//! second and at once on a change) and `GET /state` (the same as JSON, once).
//!
//! ```text
//! Feed::snapshot -> Input -> History::observe   every second, whoever watches
//!                        \-> state(History, Input, now) -> State -> JSON
//!                                               only while someone watches
//! ```
//!
//! [`history::History::observe`] and [`state::state`] are pure: they read no clock. A value
//! that is missing or stale stays so all the way into the page.

mod facts;
mod headline;
mod history;
mod http;
mod input;
mod say;
mod starts;
mod state;

pub(crate) use http::serve;
pub(crate) use input::{Address, Decision, Feed, Input, Reading, Replica, ReplicaState, Slo, Variant};
