//! Parts that keep running: one that ends or panics is started again.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A part that ran this long starts again with the shortest pause.
const HEALTHY: Duration = Duration::from_secs(60);

/// Runs `part` until `stop`, again and again with a growing pause if it ends.
pub(crate) async fn supervise<F>(name: &'static str, stop: CancellationToken, part: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pause = Duration::from_millis(100);
    loop {
        let started = tokio::time::Instant::now();
        let task = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(part()));
        tokio::select! {
            ended = task => match ended {
                Ok(()) => tracing::warn!(name, "ended; starting again"),
                Err(error) => tracing::error!(name, %error, "failed; starting again"),
            },
            () = stop.cancelled() => return,
        }
        if started.elapsed() > HEALTHY {
            pause = Duration::from_millis(100);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
