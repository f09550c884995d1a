//! The dashboard over a made-up fleet, for work on the page and its browser test.
//!
//! `cargo run -p tidegate --example page -- [--port 8090] [--calm 15] [--models 2] [--cue FILE]`
//!
//! A world of a few lines: after some calm seconds a load step saturates the
//! one replica, the fleet grows (one new server fails and is restarted, one
//! tells no KV cache), the load ends, the fleet shrinks, and all over again.
//! With `--cue` the calm lasts until FILE exists.

#[path = "../src"]
mod src {
    pub(crate) mod dashboard;
}

use serde_json::json;
use src::dashboard::{Address, Decision, Feed, Input, Reading, Replica, ReplicaState, Slo, Variant, serve};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use wire::signals::{EndpointSignals, GatewaySignals, PoolSignals};

const TICK_MS: u64 = 50;
/// How long the load step lasts, and the rest after it.
const STEP_S: u64 = 75;
const REST_S: u64 = 75;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = |name: &str| std::env::args().skip_while(|word| word != name).nth(1);
    let flag = |name: &str, default: u64| text(name).and_then(|value| value.parse().ok()).unwrap_or(default);
    let cue = text("--cue").map(PathBuf::from);
    let (port, calm_s, models) = (flag("--port", 8090), flag("--calm", 15), flag("--models", 1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", u16::try_from(port)?)).await?;
        let address = listener.local_addr()?;
        writeln_flushed(&format!("http://{address}"))?;
        let demo = Arc::new(Demo {
            world: Mutex::new(World {
                cue,
                ..World::new(calm_s, models > 1, format!("http://{address}"))
            }),
            changed: watch::channel(0).0,
        });
        let ticking = Arc::clone(&demo);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
            loop {
                ticks.tick().await;
                let changed = ticking.world.lock().is_ok_and(|mut world| world.tick());
                if changed {
                    ticking.changed.send_modify(|n| *n += 1);
                }
            }
        });
        serve(listener, demo, std::future::pending()).await?;
        Ok(())
    })
}

fn writeln_flushed(line: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

struct Demo {
    world: Mutex<World>,
    changed: watch::Sender<u64>,
}

impl Feed for Demo {
    fn snapshot(&self) -> Input {
        self.world.lock().expect("no one panics with the world in hand").input()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

struct Server {
    variant: usize,
    pod: String,
    state: ReplicaState,
    reason: Option<String>,
    started: u64,
    ready: Option<u64>,
    /// When each of its requests ends.
    ends: Vec<u64>,
    restarts: u32,
    tells_kv: bool,
    until: u64,
}

struct Kind {
    name: &'static str,
    accelerator: &'static str,
    cost: f64,
    bounds: (u32, u32),
    slots: usize,
    answer_ms: u64,
    start_ms: u64,
    desired: u32,
    reason: &'static str,
    sentence: String,
}

struct World {
    began: u64,
    /// Until this file exists, the calm lasts.
    cue: Option<PathBuf>,
    /// When the cycle of calm, step and rest began.
    cycle: u64,
    calm_s: u64,
    second_model: bool,
    dashboard: String,
    kinds: Vec<Kind>,
    servers: Vec<Server>,
    queue: VecDeque<u64>,
    pool: PoolSignals,
    owed: f64,
    made: u32,
    next_look: u64,
    quiet_looks: u32,
    noise: u64,
    decisions: Vec<Arc<Decision>>,
}

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

impl World {
    fn new(calm_s: u64, second_model: bool, dashboard: String) -> Self {
        let l4 = Kind {
            name: "llama-8b-l4",
            accelerator: "2 x L4",
            cost: 0.80,
            bounds: (1, 4),
            slots: 16,
            answer_ms: 1_500,
            start_ms: 9_000,
            desired: 1,
            reason: "AtMinimum",
            sentence: "Demand of 3 req/s is covered by the minimum of 1.".to_owned(),
        };
        let h100 = Kind {
            name: "llama-8b-h100",
            accelerator: "1 x H100",
            cost: 4.10,
            bounds: (0, 2),
            slots: 48,
            answer_ms: 700,
            start_ms: 14_000,
            desired: 0,
            reason: "DearerThanNeeded",
            sentence: "llama-8b-l4 covers the demand at 0.80 $/h; one replica here costs 4.10 $/h.".to_owned(),
        };
        let mut world = Self {
            began: now(),
            cue: None,
            cycle: now(),
            calm_s,
            second_model,
            dashboard,
            kinds: vec![l4, h100],
            servers: Vec::new(),
            queue: VecDeque::new(),
            pool: PoolSignals {
                models: vec!["llama-8b".to_owned()],
                ..PoolSignals::default()
            },
            owed: 0.0,
            made: 0,
            next_look: now() + 3_000,
            quiet_looks: 0,
            noise: 7,
            decisions: Vec::new(),
        };
        world.start(0);
        if let Some(first) = world.servers.first_mut() {
            first.started -= 60_000;
            first.state = ReplicaState::Serving;
            first.ready = Some(first.started + 9_400);
        }
        world
    }

    /// A number from 0 to 1, the same in every run.
    fn chance(&mut self) -> f64 {
        self.noise = self
            .noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.noise >> 40) as f64 / (1_u64 << 24) as f64
    }

    fn start(&mut self, variant: usize) {
        self.made += 1;
        let code = u64::from(self.made).wrapping_mul(2_654_435_761) % 60_466_176;
        let letters = b"bcdfghjklmnpqrstvwxz2456789"; // as Kubernetes draws them
        let suffix: String = (0..5)
            .map(|i| letters[(code as usize / 27_usize.pow(i)) % 27] as char)
            .collect();
        self.servers.push(Server {
            variant,
            pod: format!("{}-6f9c8d7b5-{suffix}", self.kinds[variant].name),
            state: ReplicaState::Pending,
            reason: Some("no node has 2 free L4".to_owned()),
            started: now(),
            ready: None,
            ends: Vec::new(),
            restarts: 0,
            tells_kv: self.made % 4 != 3,
            until: now() + 1_200,
        });
    }

    fn rate(&self, now: u64) -> f64 {
        if self.cue.is_some() {
            return 3.0;
        }
        let second = (now - self.cycle) / 1_000;
        let phase = second % (self.calm_s + STEP_S + REST_S);
        match phase {
            phase if phase < self.calm_s => 3.0,
            phase if phase < self.calm_s + STEP_S => 30.0,
            phase if phase < self.calm_s + STEP_S + 40 => 4.0,
            _ => 0.0,
        }
    }

    /// One step; says whether a replica or a decision changed.
    fn tick(&mut self) -> bool {
        let now = now();
        let mut changed = self.live(now);
        if self.cue.as_ref().is_some_and(|file| file.exists()) {
            self.cue = None;
            self.cycle = now.saturating_sub(self.calm_s * 1_000);
        }
        self.owed += self.rate(now) * TICK_MS as f64 / 1e3 * (0.4 + 1.2 * self.chance());
        while self.owed >= 1.0 {
            self.owed -= 1.0;
            self.pool.arrived += 1;
            self.queue.push_back(now);
        }
        self.dispatch(now);
        if now >= self.next_look {
            self.next_look = now + 4_000;
            changed |= self.decide(now);
        }
        changed
    }

    fn live(&mut self, now: u64) -> bool {
        let mut changed = false;
        let mut completed = 0;
        for server in &mut self.servers {
            let before = server.ends.len();
            server.ends.retain(|end| *end > now);
            completed += (before - server.ends.len()) as u64;
            let kind = &self.kinds[server.variant];
            let next = match server.state {
                ReplicaState::Pending if now >= server.until => {
                    server.started = now;
                    server.until = now + kind.start_ms;
                    server.reason = None;
                    Some(ReplicaState::Starting)
                }
                ReplicaState::Starting if now >= server.until => {
                    if !server.tells_kv && server.restarts == 0 {
                        server.until = now + 9_000;
                        server.reason = Some("CrashLoopBackOff: CUDA out of memory, exit code 1".to_owned());
                        Some(ReplicaState::Failed)
                    } else {
                        server.ready = Some(now);
                        Some(ReplicaState::Serving)
                    }
                }
                ReplicaState::Failed if now >= server.until => {
                    server.restarts += 1;
                    server.started = now;
                    server.until = now + kind.start_ms;
                    server.reason = None;
                    Some(ReplicaState::Starting)
                }
                _ => None,
            };
            if let Some(next) = next {
                server.state = next;
                changed = true;
            }
        }
        self.pool.completed += completed;
        let before = self.servers.len();
        self.servers
            .retain(|s| !(s.state == ReplicaState::Draining && s.ends.is_empty() && now >= s.until));
        changed || before != self.servers.len()
    }

    fn dispatch(&mut self, now: u64) {
        while let Some(arrived) = self.queue.front().copied() {
            let kinds = &self.kinds;
            let room = |s: &&mut Server| s.state == ReplicaState::Serving && s.ends.len() < kinds[s.variant].slots;
            let Some(server) = self.servers.iter_mut().filter(room).min_by_key(|s| s.ends.len()) else {
                break;
            };
            let load = server.ends.len() as f64 / kinds[server.variant].slots as f64;
            let answer_ms = kinds[server.variant].answer_ms;
            self.queue.pop_front();
            let waited = (now - arrived) as f64;
            let spread = 0.6 + 0.8 * self.chance();
            if let Some(server) = self
                .servers
                .iter_mut()
                .filter(|s| s.state == ReplicaState::Serving)
                .min_by_key(|s| s.ends.len())
            {
                server
                    .ends
                    .push(now + (answer_ms as f64 * spread * (0.8 + 0.4 * load)) as u64);
            }
            self.pool.ttft_ms.record(waited + 32.0 * spread + 30.0 * load);
            self.pool.queue_ms.record(waited);
            for _ in 0..12 {
                let gap = 14.0 + 9.0 * load + 3.0 * self.chance();
                self.pool.itl_ms.record(gap);
            }
            self.pool.output_tokens += 64;
        }
    }

    fn decide(&mut self, now: u64) -> bool {
        let rate = self.rate(now);
        let in_flight: usize = self.servers.iter().map(|s| s.ends.len()).sum();
        let waiting = self.queue.len();
        let per_replica = 9.0;
        let needed = ((rate / per_replica).ceil() as u32).max(1);
        let from = self.kinds[0].desired;
        self.quiet_looks = if needed < from { self.quiet_looks + 1 } else { 0 };
        let to = if needed > from && waiting > 4 {
            needed.min(4)
        } else if needed < from && self.quiet_looks > 3 {
            from - 1
        } else {
            from
        };
        if to == from {
            return false;
        }
        self.quiet_looks = 0;
        let oldest = self.queue.front().map_or(0, |arrived| now - arrived);
        let (sentence, otherwise) = if to > from {
            (
                format!(
                    "queue {waiting} waits {:.1} s, slots 100 % used on all replicas; +{} l4, the cheapest that holds TTFT 500 ms",
                    oldest as f64 / 1e3,
                    to - from
                ),
                format!(
                    "Below {:.0} req/s, {from} would have been kept.",
                    f64::from(from) * per_replica
                ),
            )
        } else {
            (
                format!("{rate:.0} req/s for 16 s need {needed}; one replica fewer still covers 2.1 times the demand"),
                format!(
                    "Above {:.0} req/s, {from} would have been kept.",
                    f64::from(to) * per_replica
                ),
            )
        };
        self.kinds[0].desired = to;
        self.kinds[0].reason = if to == 1 { "AtMinimum" } else { "CoversDemand" };
        self.kinds[0].sentence =
            format!("{rate:.0} req/s need {needed}: a replica holds {per_replica:.0} req/s within TTFT 500 ms.");
        for _ in from..to {
            self.start(0);
        }
        for _ in to..from {
            let last = self
                .servers
                .iter_mut()
                .rev()
                .find(|s| s.state != ReplicaState::Draining);
            if let Some(server) = last {
                server.state = ReplicaState::Draining;
                server.until = now + 2_500;
            }
        }
        self.decisions.push(Arc::new(Decision {
            at_unix_ms: now,
            model: "llama-8b".to_owned(),
            variant: Some("llama-8b-l4".to_owned()),
            from,
            to,
            sentence,
            otherwise: Some(otherwise),
            explanation: json!({
                "signals": [
                    {"signal": "arrival rate", "value": format!("{rate:.1} req/s"), "source": "gateway", "age": "0.1 s"},
                    {"signal": "queue", "value": format!("{waiting} requests"), "source": "gateway", "age": "0.1 s"},
                    {"signal": "in flight", "value": format!("{in_flight} requests"), "source": "gateway", "age": "0.1 s"},
                    {"signal": "KV cache", "value": "53 %", "source": "replica", "age": "1.8 s"},
                ],
                "analyzers": {
                    "saturation": {"verdict": "saturated", "spare_slots": 0, "spare_kv": 0.21, "wants": to},
                    "queueing": {"verdict": "unstable", "service_rate": format!("{per_replica} req/s per replica"), "wants": needed},
                },
                "limits": {"min": 1, "max": 4, "free_gpus": {"L4": 6, "H100": 1}, "bound_by": null},
                "chosen": {"llama-8b-l4": to, "llama-8b-h100": 0, "cost_per_hour": f64::from(to) * 0.8},
            }),
        }));
        if self.decisions.len() > 40 {
            self.decisions.remove(0);
        }
        true
    }

    fn input(&self) -> Input {
        let now = now();
        let mut pool = self.pool.clone();
        pool.queued = self.queue.len() as u64;
        pool.oldest_wait_ms = self.queue.front().map(|arrived| now.saturating_sub(*arrived));
        pool.in_flight = self.servers.iter().map(|s| s.ends.len() as u64).sum();
        for (i, server) in self.servers.iter().enumerate() {
            if matches!(server.state, ReplicaState::Serving | ReplicaState::Draining) {
                let signals = EndpointSignals {
                    pod: format!("default/{}", server.pod),
                    in_flight: server.ends.len() as u64,
                    slots: self.kinds[server.variant].slots as u64,
                    ..EndpointSignals::default()
                };
                pool.endpoints.insert(format!("127.0.1.{}:8000", i + 1), signals);
            }
        }
        let mut pools = BTreeMap::from([("default/llama-8b".to_owned(), pool)]);
        let mut variants: Vec<Variant> = (0..self.kinds.len()).map(|kind| self.variant(kind, now)).collect();
        if self.second_model {
            let signals = PoolSignals {
                models: vec!["qwen-0.6b".to_owned()],
                ..PoolSignals::default()
            };
            pools.insert("default/qwen".to_owned(), signals);
            variants.push(Variant {
                name: "qwen-cpu".to_owned(),
                model: "qwen-0.6b".to_owned(),
                accelerator: "CPU".to_owned(),
                cost_per_hour: Some(0.12),
                min: 0,
                max: 2,
                current: Some(1),
                ready: Some(0),
                desired: Some(0),
                reason: "Asleep".to_owned(),
                sentence: "No request for 10 min; the next one wakes it.".to_owned(),
                waits_for: vec!["up: a request".to_owned()],
                replicas: vec![Replica {
                    pod: "qwen-cpu-58d7c4f9b-t4x9z".to_owned(),
                    state: ReplicaState::Asleep,
                    reason: None,
                    started_unix_ms: Some(self.began),
                    ready_unix_ms: None,
                    running: Reading::Missing {
                        since_unix_ms: None,
                        why: "it sleeps".to_owned(),
                    },
                    waiting: Reading::Missing {
                        since_unix_ms: None,
                        why: "it sleeps".to_owned(),
                    },
                    kv: Reading::Missing {
                        since_unix_ms: None,
                        why: "it sleeps".to_owned(),
                    },
                    restarts: 0,
                }],
            });
        }
        let signals = GatewaySignals {
            started_unix_ms: self.began,
            at_unix_ms: now,
            pools,
            ..GatewaySignals::default()
        };
        Input {
            version: "0.1.0 (example)".to_owned(),
            addresses: [
                ("gateway", "http://127.0.0.1:8080/v1"),
                ("metrics", "http://127.0.0.1:8081/metrics"),
                ("dashboard", self.dashboard.as_str()),
                ("kubernetes", "KUBECONFIG=.tidegate/kubeconfig"),
            ]
            .map(|(name, value)| Address {
                name: name.to_owned(),
                value: value.to_owned(),
            })
            .to_vec(),
            gateway: Ok(Arc::new(signals)),
            slos: vec![Slo {
                model: "llama-8b".to_owned(),
                ttft_ms: Some(500.0),
                itl_ms: Some(50.0),
            }],
            variants,
            decisions: self.decisions.clone(),
        }
    }

    fn variant(&self, index: usize, now: u64) -> Variant {
        let kind = &self.kinds[index];
        let replicas: Vec<Replica> = self
            .servers
            .iter()
            .filter(|s| s.variant == index)
            .map(|s| self.replica(s, now))
            .collect();
        let serving = replicas.iter().filter(|r| r.state == ReplicaState::Serving).count();
        Variant {
            name: kind.name.to_owned(),
            model: "llama-8b".to_owned(),
            accelerator: kind.accelerator.to_owned(),
            cost_per_hour: Some(kind.cost),
            min: kind.bounds.0,
            max: kind.bounds.1,
            current: u32::try_from(replicas.len()).ok(),
            ready: u32::try_from(serving).ok(),
            desired: Some(kind.desired),
            reason: kind.reason.to_owned(),
            sentence: kind.sentence.clone(),
            waits_for: ["up: more than 4 requests waiting", "down: less load for 16 s"]
                .map(str::to_owned)
                .into(),
            replicas,
        }
    }

    fn replica(&self, server: &Server, now: u64) -> Replica {
        let alive = matches!(server.state, ReplicaState::Serving | ReplicaState::Draining);
        let full = server.ends.len() as f64 / self.kinds[server.variant].slots as f64;
        let told = |value: f64| {
            if alive {
                Reading::Seen {
                    value,
                    at_unix_ms: now - now % 2_000,
                }
            } else {
                Reading::Missing {
                    since_unix_ms: None,
                    why: "its server does not run".to_owned(),
                }
            }
        };
        let kv = if server.tells_kv {
            told(0.06 + 0.71 * full)
        } else {
            let why = "GET /metrics timed out after 2 s".to_owned();
            Reading::Missing {
                since_unix_ms: Some(server.started),
                why,
            }
        };
        Replica {
            pod: server.pod.clone(),
            state: server.state,
            reason: server.reason.clone(),
            started_unix_ms: (server.state != ReplicaState::Pending).then_some(server.started),
            ready_unix_ms: server.ready,
            running: told(server.ends.len() as f64),
            waiting: told(0.0),
            kv,
            restarts: server.restarts,
        }
    }
}
