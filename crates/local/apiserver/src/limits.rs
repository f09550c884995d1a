//! What the server bounds, and by how much.

use std::time::Duration;

/// Bytes of a request body at most: 413 beyond.
pub const BODY: usize = 3 * 1024 * 1024;
/// Bytes of a request's head (line and headers) at most: 431 beyond.
pub const HEAD: usize = 64 * 1024;
/// Header fields of a request at most.
pub const HEADERS: usize = 100;
/// Connections at once; more wait to be accepted.
pub const CONNECTIONS: usize = 4096;
/// Watches at once: 429 beyond.
pub const WATCHES: usize = 2048;
/// Time to send a whole body.
pub const BODY_TIME: Duration = Duration::from_secs(30);
/// Bytes of a body that nobody needs which are read all the same, so that the
/// connection can be used again (Go's server reads as many).
pub const UNASKED: usize = 256 * 1024;
/// Bytes of a body that is too large which are read before the connection is
/// closed, so that the client, which still writes, comes to read why.
pub const THROWN_AWAY: usize = 32 * 1024 * 1024;
/// Time for them.
pub const UNASKED_TIME: Duration = Duration::from_secs(1);
/// Time until a whole head has come, from the connection's start or the last answer
/// on. Longer than clients keep idle connections, so that they close them first.
pub const HEAD_TIME: Duration = Duration::from_secs(150);
/// Events remembered for each resource; a watcher further behind starts again (410).
pub const EVENTS: usize = 10_000;
/// Bytes of JSON remembered for each resource in its events.
pub const EVENT_BYTES: usize = 64 * 1024 * 1024;
/// How long events are remembered.
pub const EVENT_AGE: Duration = Duration::from_mins(30);
/// Frames that wait for a slow watcher before it is made to wait.
pub const WATCH_FRAMES: usize = 8;
/// Bytes of a frame after which a new one is begun.
pub const WATCH_FRAME: usize = 64 * 1024;
/// A watcher that takes no frame for this long is dropped.
pub const WATCH_PATIENCE: Duration = Duration::from_secs(30);
/// Time between bookmarks of a watch that asked for them.
pub const BOOKMARK_EVERY: Duration = Duration::from_mins(1);
/// Answers at least this long are compressed for those who ask.
pub const GZIP: usize = 128 * 1024;
/// Time that open requests have to finish at shutdown.
pub const DRAIN: Duration = Duration::from_secs(5);
/// How often a change is tried again when others change the object meanwhile.
pub const RETRIES: usize = 5;
/// How many random names are tried for `generateName`.
pub const NAMES: usize = 8;
