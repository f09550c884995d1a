//! Asks a gateway over HTTP, and waits with it for a moment worth a decision.

use super::GatewayReader;
use crate::get::Getter;
use crate::transport::Transport;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wire::signals::GatewaySignals;

/// Time between questions to a gateway over HTTP; one that counts moments
/// worth a decision answers at once when there is one.
const INTERVAL: Duration = Duration::from_millis(500);
/// Least time between two questions, however many moments there are.
const BREATH: Duration = Duration::from_millis(25);
const DEADLINE: Duration = Duration::from_secs(1);
const MAX_BODY: usize = 8 << 20;

/// Asks the gateway `id` at `url`, until `stop`.
pub(super) async fn poll(reader: GatewayReader, id: u64, url: String, urgent: Arc<Notify>, stop: CancellationToken) {
    let getter = Getter::new(Transport::Network, DEADLINE, MAX_BODY);
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut moments: Option<u64> = None;
    loop {
        let rest = async {
            match moments {
                Some(_) => tokio::time::sleep(BREATH).await,
                None => drop(ticks.tick().await),
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = rest => {}
        }
        let question = match moments {
            Some(moments) => format!("{url}?after={moments}&within_ms={}", INTERVAL.as_millis()),
            None => url.clone(),
        };
        // What is read was true no later than when it was asked for, and that
        // much later as it was held back; the gateway's own clock may be another.
        let asked_at = reader.clock.now();
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            read = getter.get(&question) => read,
        };
        let read = match read {
            Ok(body) => serde_json::from_slice::<GatewaySignals>(&body)
                .map(|signals| (signals, body.len()))
                .map_err(|error| format!("{url}: {error}")),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok((signals, bytes)) => {
                let at_a_moment = moments.is_some() && signals.moments != moments;
                moments = signals.moments;
                let held_back = Duration::from_millis(signals.waited_ms).min(reader.clock.now().since(asked_at));
                let woken = at_a_moment.then_some(&*urgent);
                reader.heard(id, Ok((signals, bytes)), (asked_at, asked_at + held_back), woken);
            }
            Err(why) => {
                moments = None;
                reader.heard(id, Err(why), (asked_at, asked_at), None);
            }
        }
    }
}
