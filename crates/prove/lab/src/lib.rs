//! Core: worlds in virtual time: days of traffic, scaling policies, the
//! clairvoyant optimum, a scoreboard.

pub mod day;
pub mod optimum;
pub mod policy;
mod random;
pub mod run;
pub mod scoreboard;
mod world;
