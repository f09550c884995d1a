//! Core: queues in front of a pool of endpoints; who waits, who goes next, who is refused.
