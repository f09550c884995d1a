//! How the tests of this crate wait for another task: on what they want to see.

use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Looks until there is something to see.
pub(crate) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    };
    let seen = tokio::time::timeout(DEADLINE, looking).await;
    seen.unwrap_or_else(|_| panic!("not seen within {DEADLINE:?}"))
}
