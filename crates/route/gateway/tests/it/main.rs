//! The gateway over real loopback sockets, in front of scripted endpoints.

mod backend;
mod client;
mod rig;

mod ends;
mod limits;
mod queueing;
mod retries;
mod streaming;
