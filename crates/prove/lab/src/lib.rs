//! Core: worlds in virtual time: days of traffic, scaling policies, the
//! clairvoyant optimum, a scoreboard.
//!
//! A day ([`day::Day`]) is work per second, from a recorded trace or of a
//! synthetic shape. [`run::run`] takes a policy through it, second by second,
//! on a fleet whose replicas take time to start and may sleep; [`optimum`] says what somebody
//! who knew the day would have paid; [`scoreboard`] puts both together. The
//! policies use the cores of the product and the exact arithmetic of the HPA,
//! so what is proved here is proved of them. The same seed gives the same
//! numbers on every machine.

pub mod day;
pub mod optimum;
pub mod picture;
pub mod policy;
mod random;
pub mod replica;
pub mod run;
pub mod scoreboard;
pub mod world;
