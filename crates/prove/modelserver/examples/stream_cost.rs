//! What a streamed token costs the server: CPU time of a server process per
//! token, with several streams at once.
//!
//! `cargo run --release -p modelserver --example stream_cost`

#![expect(clippy::print_stdout, reason = "the output is what this example is for")]

use modelserver::Args;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Kills the server however the measurement ends.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().any(|argument| argument == "--port") {
        return serve();
    }
    println!("streams  step ms  tokens   wall s  server CPU s  us/token");
    for (streams, step_ms, tokens) in [(1, 10, 500), (16, 10, 500), (64, 10, 500), (256, 20, 300)] {
        measure(streams, step_ms, tokens)?;
    }
    let server = start(10)?;
    let before = cpu_seconds(server.child.id())?;
    std::thread::sleep(Duration::from_secs(5));
    println!("idle for 5 s: {:.2} s of CPU", cpu_seconds(server.child.id())? - before);
    Ok(())
}

fn serve() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let running = modelserver::start(Args::from_flags(std::env::args().skip(1))?, CancellationToken::new()).await?;
        println!("{}", running.address);
        running.ended().await;
        Ok(())
    })
}

fn start(step_ms: u32) -> Result<Server, Box<dyn Error>> {
    let step = format!("{step_ms}ms");
    let mut child = Command::new(std::env::current_exe()?)
        .args([
            "--port",
            "0",
            "--served-model-name",
            "m",
            "--step-alpha",
            &step,
            "--api-overhead",
            "0s",
        ])
        .args(["--max-num-seqs", "1024"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut address = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    Ok(Server {
        child,
        address: address.trim().to_owned(),
    })
}

fn measure(streams: usize, step_ms: u32, tokens: usize) -> Result<(), Box<dyn Error>> {
    let server = start(step_ms)?;
    let before = cpu_seconds(server.child.id())?;
    let begun = Instant::now();
    let clients: Vec<_> = (0..streams)
        .map(|_| {
            let address = server.address.clone();
            std::thread::spawn(move || read_stream(&address, tokens).map_err(|error| error.to_string()))
        })
        .collect();
    let mut seen = 0;
    for client in clients {
        seen += client.join().map_err(|_| "a client panicked")??;
    }
    let wall = begun.elapsed().as_secs_f64();
    let cpu = cpu_seconds(server.child.id())? - before;
    let per_token = cpu * 1e6 / seen as f64;
    println!("{streams:<8} {step_ms:<8} {seen:<8} {wall:<7.2} {cpu:<13.2} {per_token:.1}");
    Ok(())
}

/// Reads one answer to its end and counts its tokens.
fn read_stream(address: &str, tokens: usize) -> Result<usize, Box<dyn Error>> {
    let body = format!(r#"{{"prompt":"x","max_tokens":{tokens},"ignore_eos":true,"stream":true}}"#);
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.matches("\"text\":").count())
}

fn cpu_seconds(pid: u32) -> Result<f64, Box<dyn Error>> {
    let mut total = 0_u64;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // Nanoseconds on a CPU, which is finer than the ticks of `stat`.
        let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        total += stat.split(' ').next().ok_or("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(total as f64 / 1e9)
}
