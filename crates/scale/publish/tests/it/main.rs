//! Both servers over real sockets.
