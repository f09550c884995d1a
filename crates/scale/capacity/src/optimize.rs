//! The least cost that meets what is asked for.
//!
//! - [`gpus`]: many models, GPUs that are really free: whose wishes come true,
//!   under quotas, priorities and a fair share ([`fair`]); [`inventory`] reads
//!   GPUs and their names off nodes and pods, [`pieces`] fits Pods onto nodes.
//! - [`solve`]: many servers, each with candidates on several accelerators: one
//!   for each, at the least cost of running and of moving.
//!
//! Same input, same answer: every order is total and ends with a name.

pub mod fair;
pub mod gpus;
pub mod inventory;
pub mod pieces;
pub mod solve;
