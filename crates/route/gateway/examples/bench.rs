//! The three parts of `tests/bench/gateway.sh`: an endpoint, a gateway with one
//! worker, and a load that reports what the proxy in between spent.
//!
//! ```text
//! bench backend ADDRESS
//! bench gateway ADDRESS BACKEND
//! bench load KIND ADDRESS PID       KIND: small, stream, big
//! bench cores                       the decisions alone, without any socket
//! ```
//!
//! Endpoint and load are plain blocking threads: what they cost does not
//! matter, only what the process PID spent, as /proc tells it. Streamed events
//! carry the time they were sent at, so that a proxy that saves work by holding
//! them back is seen to.

use gateway::{Config, Discovery, StaticEndpoint, StaticPool};
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Events of one streamed answer, and the pause between two.
const EVENTS: usize = 500;
const PAUSE: Duration = Duration::from_micros(200);
const BIG_PROMPT: usize = 473_000;
/// Where an event says when it was sent, in 20 digits of Unix nanoseconds.
const SENT_AT: &str = r#""created":"#;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["backend", address] => backend(address.parse()?),
        ["gateway", address, backend] => serve(address.parse()?, backend.parse()?),
        ["load", kind, address, pid] => load(kind, address.parse()?, pid.parse()?),
        ["cores"] => {
            cores();
            Ok(())
        }
        _ => Err(
            "usage: bench backend ADDRESS | gateway ADDRESS BACKEND | load small|stream|big ADDRESS PID | cores".into(),
        ),
    }
}

fn serve(listen: SocketAddr, backend: SocketAddr) -> Outcome<()> {
    let mut config = Config::new(listen);
    config.workers = 1;
    let pool = StaticPool {
        name: "bench/pool".to_owned(),
        models: vec!["m".to_owned()],
        endpoints: vec![StaticEndpoint {
            address: backend,
            pod: "pod".to_owned(),
            slots: Some(1000),
        }],
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        gateway::start(config, Discovery::Static(vec![pool]), CancellationToken::new())
            .await?
            .join
            .await?;
        Ok(())
    })
}

fn backend(address: SocketAddr) -> Outcome<()> {
    let listener = TcpListener::bind(address)?;
    for stream in listener.incoming() {
        let stream = stream?;
        // A client that goes away ends its thread with an error; nobody needs to know.
        std::thread::spawn(move || answer_all(stream));
    }
    Ok(())
}

fn answer_all(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let text = "x".repeat(180);
    let body = format!(
        r#"{{"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[{{"index":0,"text":"{text}","finish_reason":"length"}}],"usage":{{"prompt_tokens":60,"completion_tokens":16,"total_tokens":76}}}}"#
    );
    let json = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut inbox = Vec::new();
    while let Some(request) = message(&mut stream, &mut inbox, |_| {})? {
        if !has(&request[..request.len().min(1000)], b"\"stream\":true") {
            stream.write_all(json.as_bytes())?;
            continue;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for _ in 0..EVENTS {
            std::thread::sleep(PAUSE);
            let event = format!(
                r#"data: {{"id":"chatcmpl-1","object":"chat.completion.chunk",{SENT_AT}{:020},"model":"m","choices":[{{"index":0,"delta":{{"content":" token"}},"finish_reason":null}}]}}"#,
                unix_ns(),
            );
            stream.write_all(format!("{:x}\r\n{event}\n\n\r\n", event.len() + 2).as_bytes())?;
        }
        stream.write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")?;
    }
    Ok(())
}

fn unix_ns() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// How long the events in `bytes` were under way, in nanoseconds.
fn delays_ns(bytes: &[u8], now: u64) -> impl Iterator<Item = u64> {
    memchr::memmem::find_iter(bytes, SENT_AT).filter_map(move |at| {
        let digits = bytes.get(at + SENT_AT.len()..)?.get(..20)?;
        let sent: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(now.saturating_sub(sent))
    })
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(bytes, text).is_some()
}

/// Reads one message with a length, or in chunks; `None` at the end. What came
/// in one read is shown to `came`.
fn message(
    stream: &mut TcpStream,
    inbox: &mut Vec<u8>,
    mut came: impl FnMut(&[u8]),
) -> std::io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        if let Some(end) = end_of_message(inbox) {
            return Ok(Some(inbox.drain(..end).collect()));
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            read => {
                came(&buffer[..read]);
                inbox.extend_from_slice(&buffer[..read]);
            }
        }
    }
}

fn end_of_message(inbox: &[u8]) -> Option<usize> {
    let body = memchr::memmem::find(inbox, b"\r\n\r\n")? + 4;
    let head = inbox[..body].to_ascii_lowercase();
    let end = match memchr::memmem::find(&head, b"content-length: ") {
        Some(at) => {
            let digits = &head[at + 16..];
            let digits = &digits[..memchr::memchr(b'\r', digits)?];
            body + std::str::from_utf8(digits).ok()?.parse::<usize>().ok()?
        }
        None => {
            // Only the end of it is looked at: our own endpoint sends no such bytes before.
            let from = inbox.len().saturating_sub(16).max(body);
            from + memchr::memmem::find(&inbox[from..], b"\r\n0\r\n\r\n")? + 7
        }
    };
    (inbox.len() >= end).then_some(end)
}

fn load(kind: &str, address: SocketAddr, pid: u32) -> Outcome<()> {
    let (connections, each, units, body) = match kind {
        "small" => (
            32,
            800,
            1,
            format!(r#"{{"model":"m","prompt":"{}","max_tokens":16}}"#, "hello ".repeat(50)),
        ),
        "stream" => (
            8,
            12,
            EVENTS,
            r#"{"model":"m","prompt":"hello","stream":true,"max_tokens":500}"#.to_owned(),
        ),
        "big" => {
            let prompt = "seven w ".repeat(BIG_PROMPT / 8);
            (
                4,
                200,
                1,
                format!(r#"{{"model":"m","prompt":"{prompt}","max_tokens":16}}"#),
            )
        }
        _ => return Err(format!("unknown kind of load {kind}; there are small, stream and big").into()),
    };
    let length = body.len();
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: {address}\r\nuser-agent: bench\r\naccept: */*\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    run(address, &request, connections, connections)?; // warms connections and buffers
    let (before, begun) = (cpu_seconds(pid)?, Instant::now());
    let mut delays = run(address, &request, connections, connections * each)?;
    let (cpu, wall) = (cpu_seconds(pid)? - before, begun.elapsed().as_secs_f64());
    let done = (connections * each * units) as f64;
    delays.sort_unstable();
    let delay_us = |of_100: usize| delays.get(delays.len() * of_100 / 100).map_or(0, |ns| ns / 1000);
    report(&format!(
        "{kind} {:.2} {:.0} {} {}",
        cpu * 1e6 / done,
        done / wall,
        delay_us(50),
        delay_us(99)
    ));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figure is this program's output")]
fn report(line: &str) {
    println!("{line}");
}

/// Sends `total` requests over `connections` connections. Gives how long each
/// streamed event was under way, in nanoseconds.
fn run(address: SocketAddr, request: &str, connections: usize, total: usize) -> Outcome<Vec<u64>> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(move || -> Outcome<Vec<u64>> {
                    let mut stream = TcpStream::connect(address)?;
                    stream.set_nodelay(true)?;
                    let (mut inbox, mut delays) = (Vec::new(), Vec::new());
                    for _ in 0..total / connections {
                        stream.write_all(request.as_bytes())?;
                        let answer = message(&mut stream, &mut inbox, |read| {
                            delays.extend(delays_ns(read, unix_ns()));
                        })?
                        .ok_or("the proxy closed the connection")?;
                        if !answer.starts_with(b"HTTP/1.1 200") {
                            return Err(String::from_utf8_lossy(&answer[..answer.len().min(300)]).into());
                        }
                    }
                    Ok(delays)
                })
            })
            .collect();
        let mut delays = Vec::new();
        for worker in workers {
            delays.extend(worker.join().map_err(|_| "a load thread panicked")??);
        }
        Ok(delays)
    })
}

/// User and system time of a process, in ticks of 10 ms.
fn cpu_seconds(pid: u32) -> Outcome<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(ticks as f64 / 100.0)
}

/// Times what is decided per request, each over many repetitions.
fn cores() {
    let prompt = "seven w ".repeat(BIG_PROMPT / 8);
    let body = format!(r#"{{"model":"m","prompt":"{prompt}","max_tokens":16}}"#);
    timed("scan of a 473 kB prompt", 2_000, |_| {
        wire::scan::fields(body.as_bytes()).is_ok()
    });
    let lines = "a line of text\\n".repeat(BIG_PROMPT / 16);
    let body = format!(r#"{{"model":"m","prompt":"{lines}","max_tokens":16}}"#);
    timed("the same with an escape every 16 bytes", 2_000, |_| {
        wire::scan::fields(body.as_bytes()).is_ok()
    });
    let event = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
                 \"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"finish_reason\":null}]}\n\n";
    let mut glance = wire::sse::Glance::default();
    timed("glance at a streamed event", 1_000_000, |_| {
        glance.at(event.as_bytes()).tokens == 1
    });

    let mut ledger = pick::Ledger::new(pick::Backoff::default());
    (0..1_000).for_each(|id| ledger.upsert(pick::EndpointId(id), 64, true));
    timed("pick among 1000 endpoints", 50_000, |i| {
        let now = units::Instant::from_millis(1 + i);
        let picked = ledger.pick(&[], now).map(|why| why.winner.id);
        picked.is_ok_and(|id| ledger.charge(id, i % 900))
    });

    let mut queue = flow::Queue::new(flow::Limits {
        entries: 20_000,
        bytes: u64::MAX,
    });
    let at = units::Instant::from_millis;
    (0..10_000).for_each(|id| {
        queue.offer(flow::RequestId(id), 100, at(0), at(1_000_000_000 + id), false);
    });
    timed("offer and dispatch with 10000 queued", 1_000_000, |i| {
        queue.offer(flow::RequestId(10_000 + i), 100, at(0), at(1_000_000_000 + i), false);
        queue.on_room(at(1)).is_some()
    });
}

fn timed(what: &str, times: u64, mut run: impl FnMut(u64) -> bool) {
    let begun = Instant::now();
    let good = (0..times).filter(|&i| run(i)).count();
    let each = begun.elapsed().as_secs_f64() * 1e6 / times as f64;
    report(&format!("{what}: {each:.3} us ({good} of {times})"));
}
