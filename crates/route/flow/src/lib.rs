//! Core: queues in front of a pool of endpoints; who waits, who goes next, who is refused.
//!
//! A [`Queue`] is first come, first served, bounded in entries and bytes, and
//! every entry has a deadline. It knows nothing of endpoints: whoever owns it
//! says whether there is room, and asks for the next entry when room appears.
//! A request that comes back because its endpoint failed goes to the place it
//! had, which is in front of everything that came after it.
//!
//! Nothing leaves silently: what was offered is dispatched, refused, expired,
//! cancelled or still here ([`Counts`]). All operations are O(log n).

mod queue;

pub use queue::{Admit, Counts, Entry, Limits, Queue, Refusal, RequestId};
