//! Both servers over real sockets.

mod client;
mod external;
mod keda;
mod pages;
mod shop;
