//! Waiting on conditions instead of sleeping.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How long to rest between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks at `condition` until it holds.
///
/// # Errors
/// When it does not hold within `deadline`; say what was waited for with
/// `.context(..)`.
pub async fn wait_until(deadline: Duration, mut condition: impl AsyncFnMut() -> bool) -> Result<()> {
    wait_for(deadline, async || condition().await.then_some(())).await
}

/// Asks `question` until it has an answer, and returns that.
///
/// # Errors
/// When there is none within `deadline`.
pub async fn wait_for<T>(deadline: Duration, mut question: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = question().await {
            return Ok(answer);
        }
        if started.elapsed() >= deadline {
            bail!("not within {deadline:?}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_is_seen_and_one_that_never_does_ends_in_an_error() {
        let mut looks = 0;
        wait_until(Duration::from_secs(5), async || {
            looks += 1;
            looks == 3
        })
        .await
        .unwrap();
        assert_eq!(looks, 3);
        let never = wait_until(Duration::ZERO, async || false).await;
        assert!(never.unwrap_err().to_string().contains("not within"));
    }
}
