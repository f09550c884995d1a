//! Runs the whole loop with a real Prometheus in its middle.
#![expect(clippy::print_stdout, reason = "the report goes to standard output")]

use anyhow::{Context as _, Result};
use clap::Parser;
use kube_suites::arena::Ground;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Runs `tidegate up` and `tidegate autoscaler` with a Prometheus between the two")]
struct Arguments {
    /// The tidegate program.
    #[arg(long, env = "TIDEGATE_BIN", value_name = "FILE")]
    tidegate: PathBuf,
    /// The Prometheus program.
    #[arg(long, env = "TIDEGATE_PROMETHEUS_BIN", value_name = "FILE")]
    prometheus: PathBuf,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let tidegate = arguments
        .tidegate
        .canonicalize()
        .with_context(|| format!("TIDEGATE_BIN={}", arguments.tidegate.display()))?;
    let ground = Ground::prepare(tidegate, false).await?;
    let outcomes = kube_suites::through_prometheus::run(&ground, &arguments.prometheus).await?;
    for (name, outcome) in &outcomes {
        match outcome {
            Ok(figures) => println!("ok   {name}: {figures}"),
            Err(error) => println!("FAIL {name}: {error:#}"),
        }
    }
    let failed = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).count();
    println!(
        "through Prometheus: {} passed, {failed} failed",
        outcomes.len() - failed
    );
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
