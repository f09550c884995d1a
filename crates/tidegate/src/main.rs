//! Tidegate: the control plane of an LLM inference fleet, in one binary.
//!
//! This crate is the command line and the wiring: it decides nothing.

mod autoscale;
mod cli;
mod dashboard;
mod fleet;
mod logging;
mod scoreboard;
mod up;
mod why;

use anyhow::Context;
use clap::Parser;
use cli::{Cli, Command, FleetCommand, Lab};
use std::io::Write;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::ExecChild { args } = cli.command {
        // Replaces this process; what comes back is why it could not.
        return failed(&anyhow::Error::from(cluster::exec_child::run(args.into_iter())));
    }
    // One provider for every TLS connection of this process; a second call would be refused and change nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::anyhow!("cannot start the runtime: {error}")),
    };
    let code = match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    };
    runtime.shutdown_background();
    code
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => up::up(*args).await.map(|()| ExitCode::SUCCESS),
        Command::Autoscaler(args) => autoscale::run(*args).await.map(|()| ExitCode::SUCCESS),
        Command::Load(args) => {
            let config = args.check()?;
            let json = config.json;
            let server = config.authority.clone();
            let summary = load::run(config, stopped_by_user())
                .await
                .with_context(|| format!("--url: no load can be sent to {server}"))?;
            let text = if json {
                serde_json::to_string_pretty(&summary)? + "\n"
            } else {
                summary.table()
            };
            print(&text)?;
            let all_done = summary.counts.done == summary.counts.planned;
            Ok(if all_done { ExitCode::SUCCESS } else { ExitCode::from(2) })
        }
        Command::Sim(args) => {
            logging::to_stderr();
            let args = args.with_env(|name| std::env::var(name).ok())?;
            modelserver::run(args, stopped_by_user()).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Why(question) => why::answer(question).await.map(|()| ExitCode::SUCCESS),
        Command::Lab(Lab::Scoreboard(args)) => {
            tokio::task::block_in_place(|| scoreboard::run(&args)).map(|()| ExitCode::SUCCESS)
        }
        Command::Fleet(command) => fleet_command(command).map(|()| ExitCode::SUCCESS),
        Command::Crds => {
            for crd in api::crds() {
                print(&format!(
                    "---\n{}",
                    serde_saphyr::to_string(&serde_json::to_value(crd)?)?
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::ExecChild { .. } => anyhow::bail!("exec-child runs before anything else"),
    }
}

fn fleet_command(command: FleetCommand) -> anyhow::Result<()> {
    match command {
        FleetCommand::Default => print(fleet::DEFAULT),
        FleetCommand::Render { file, namespace } => {
            let fleet = fleet::load(Some(&file))?;
            print(&fleet::to_yaml(&fleet::objects(&fleet, &namespace))?)
        }
        FleetCommand::Check { file } => fleet::load(Some(&file)).map(drop),
    }
}

/// Cancelled at the first Ctrl-C or SIGTERM; the second ends the process at once.
pub(crate) fn stopped_by_user() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("signals cannot be caught: Ctrl-C ends this process without draining");
        return stop;
    };
    let first = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        next().await;
        first.cancel();
        next().await;
        end_at_once();
    });
    stop
}

#[expect(clippy::exit, reason = "the user asked twice; children die with this process")]
fn end_at_once() {
    std::process::exit(130);
}

/// Writes to standard output; a reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // The last thing this process says; if nobody listens there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
    ExitCode::FAILURE
}
