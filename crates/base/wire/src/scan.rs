//! One pass over the bytes of a request for the few fields routing needs.
