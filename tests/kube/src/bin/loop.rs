//! Runs the closed loop end to end, on the embedded API and on a real one.
#![expect(clippy::print_stdout, reason = "the report goes to standard output")]

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use kube_suites::arena::Ground;
use kube_suites::scenarios::{self, Scenario};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long one scenario may take.
const SCENARIO_WITHIN: Duration = Duration::from_secs(420);

#[derive(Parser)]
#[command(about = "Starts `tidegate up` and watches the whole loop turn")]
struct Arguments {
    /// The tidegate program.
    #[arg(long, env = "TIDEGATE_BIN", value_name = "FILE")]
    tidegate: Option<PathBuf>,
    /// Which control plane.
    #[arg(long, value_enum, default_value_t = On::Both)]
    on: On,
    /// Only scenarios whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Print the names of the scenarios and end.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    Embedded,
    Real,
    Both,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let chosen: Vec<Scenario> = scenarios::all()
        .into_iter()
        .filter(|scenario| {
            arguments
                .filter
                .as_deref()
                .is_none_or(|filter| scenario.name.contains(filter))
        })
        .collect();
    if arguments.list {
        chosen.iter().for_each(|scenario| println!("{}", scenario.name));
        return Ok(ExitCode::SUCCESS);
    }
    let tidegate = arguments
        .tidegate
        .context("say where the program is: TIDEGATE_BIN=target/release/tidegate")?;
    let tidegate = tidegate
        .canonicalize()
        .with_context(|| format!("TIDEGATE_BIN={}", tidegate.display()))?;
    let mut failed = 0;
    for (real, name) in [(false, "embedded"), (true, "real")] {
        if arguments.on == (if real { On::Embedded } else { On::Real }) {
            continue;
        }
        let ground = Ground::prepare(tidegate.clone(), real).await?;
        failed += run(&ground, &chosen, real, name).await;
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn run(ground: &Ground, chosen: &[Scenario], real: bool, name: &str) -> usize {
    let (mut passed, mut failed) = (0, 0);
    for scenario in chosen.iter().filter(|scenario| !(real && scenario.embedded_only)) {
        let began = Instant::now();
        let ended = tokio::time::timeout(SCENARIO_WITHIN, (scenario.run)(ground)).await;
        let took = began.elapsed().as_secs_f64();
        match ended {
            Ok(Ok(figures)) => {
                passed += 1;
                println!("ok   {name} {} ({took:.0} s): {figures}", scenario.name);
            }
            Ok(Err(error)) => {
                failed += 1;
                println!("FAIL {name} {} ({took:.0} s): {error:#}", scenario.name);
            }
            Err(_) => {
                failed += 1;
                println!("FAIL {name} {}: not over within {SCENARIO_WITHIN:?}", scenario.name);
            }
        }
    }
    println!("loop ({name}): {passed} passed, {failed} failed");
    failed
}
