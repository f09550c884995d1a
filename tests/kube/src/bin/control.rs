//! Runs the autoscaler on a real control plane with the rights of its own manifests.
#![expect(clippy::print_stdout, reason = "the report goes to standard output")]

use anyhow::{Context as _, Result};
use clap::Parser;
use kube_suites::control::Story;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
#[command(about = "Runs two `tidegate autoscaler` on a real control plane, kills the leader, breaks the configuration")]
struct Arguments {
    /// The tidegate program.
    #[arg(long, env = "TIDEGATE_BIN", value_name = "FILE")]
    tidegate: PathBuf,
}

#[derive(Default)]
struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    fn note(&mut self, name: &str, began: Instant, outcome: Result<String>) {
        let took = began.elapsed().as_secs_f64();
        match outcome {
            Ok(figures) => {
                self.passed += 1;
                println!("ok   {name} ({took:.0} s): {figures}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAIL {name} ({took:.0} s): {error:#}");
            }
        }
    }
}

/// Runs scenarios in order: each stands on what those before it left.
macro_rules! tell {
    ($report:ident, $story:ident: $($name:literal => $scenario:ident,)*) => {
        $(
            let began = Instant::now();
            let outcome = $story.$scenario().await;
            $report.note($name, began, outcome);
        )*
    };
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let tidegate = arguments
        .tidegate
        .canonicalize()
        .with_context(|| format!("TIDEGATE_BIN={}", arguments.tidegate.display()))?;
    let mut story = Story::begin(tidegate).await?;
    let mut report = Report::default();
    tell!(report, story:
        "manifests-apply-as-they-stand" => manifests,
        "of-two-one-acts" => one_acts,
        "whichever-is-asked-the-leader-answers" => any_answers,
        "saturation-raises-replicas-and-says-why" => saturation,
        "wrong-configuration-is-refused-and-the-last-good-stays" => configuration,
        "managed-hpa-and-scaledobject-have-their-gauges" => managed,
        "the-picker-of-a-pool-is-found-and-wakes-it" => picker,
        "killed-leader-is-followed-in-time" => takeover,
        "rights-suffice-and-each-is-needed" => rights,
        "stopped-leader-releases-the-lease" => resignation,
    );
    let Report { passed, failed } = report;
    println!("control: {passed} passed, {failed} failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
