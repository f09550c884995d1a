//! Server-sent events: a decoder that may be fed any split of the bytes.
