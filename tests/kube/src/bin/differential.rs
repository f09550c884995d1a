//! Tells the same stories to a real kube-apiserver and to the embedded API,
//! and compares what they answered.
#![expect(clippy::print_stdout, reason = "the report goes to standard output")]

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use futures::{StreamExt as _, stream};
use kube_suites::accepted::{Accepted, matches};
use kube_suites::cases::{self, Case};
use kube_suites::diff::{Difference, compare};
use kube_suites::mask::mask;
use kube_suites::open::{Open, Verdict};
use kube_suites::story::{Stage, Step, Story};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::kube::{Access, Binaries, ControlPlane, Options};
use tokio::sync::Semaphore;

/// How long one story may take on one server.
const STORY_WITHIN: Duration = Duration::from_secs(100);

#[derive(Parser)]
#[command(about = "Compares the embedded Kubernetes API with a real one, story by story")]
struct Arguments {
    /// Only cases whose name contains this, or matches it as a pattern with *.
    #[arg(long)]
    filter: Option<String>,
    /// Print the names of the cases and end.
    #[arg(long)]
    list: bool,
    /// What to compare with the real server; `real` checks the suite itself.
    #[arg(long, value_enum, default_value_t = Against::Embedded)]
    against: Against,
    /// Stories told at once.
    #[arg(long, default_value_t = 8)]
    jobs: usize,
    /// Differences shown per case.
    #[arg(long, default_value_t = 12)]
    show: usize,
    /// Print what the real server showed in every case.
    #[arg(long)]
    transcript: bool,
    /// Also write the failures to this file.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Against {
    Embedded,
    Real,
}

/// The second server, kept alive as long as it is held.
enum Other {
    Embedded(testkit::kube::Embedded),
    Real(ControlPlane),
}

impl Other {
    async fn start(against: Against) -> Result<Self> {
        Ok(match against {
            Against::Embedded => Self::Embedded(testkit::kube::Embedded::start().await?),
            Against::Real => Self::Real(ControlPlane::start(&Options::default()).await?),
        })
    }

    fn access(&self) -> &Access {
        match self {
            Self::Embedded(server) => server.access(),
            Self::Real(server) => server.access(),
        }
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let chosen: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| chosen(case, arguments.filter.as_deref()))
        .collect();
    if arguments.list {
        chosen.iter().for_each(|case| println!("{}", case.name));
        return Ok(ExitCode::SUCCESS);
    }
    if chosen.is_empty() {
        bail!("no case matches the filter");
    }
    run(&arguments, chosen).await
}

fn chosen(case: &Case, filter: Option<&str>) -> bool {
    filter.is_none_or(|filter| case.name.contains(filter) || matches(filter, case.name))
}

async fn run(arguments: &Arguments, chosen: Vec<Case>) -> Result<ExitCode> {
    let began = Instant::now();
    let folder = testkit::root()?.join("tests/kube");
    let mut accepted = Accepted::read(&folder.join("accepted.yaml"))?;
    let mut listed = match arguments.against {
        Against::Embedded => Open::read(&folder.join("open.yaml"))?,
        Against::Real => Open::default(),
    };
    let alone = Options::default();
    let (real, other) = tokio::try_join!(ControlPlane::start(&alone), Other::start(arguments.against))?;
    let terminals = Arc::new(Semaphore::new(3));
    let stages = (
        stage(real.access(), &terminals).await?,
        stage(other.access(), &terminals).await?,
    );
    let ready = began.elapsed();

    let (mut passed, mut failed, mut open, mut report) = (0, 0, 0, String::new());
    let mut told = stream::iter(chosen.into_iter().map(|case| tell_both(case, &stages))).buffered(arguments.jobs);
    while let Some((case, left, right)) = told.next().await {
        if arguments.transcript {
            print_transcript(&case, &left);
        }
        let differences: Vec<Difference> = compare(&left, &right)
            .into_iter()
            .filter(|found| !accepted.accepts(case.name, found))
            .collect();
        let verdict = listed.judge(case.name, !differences.is_empty());
        let title = match &verdict {
            Verdict::Passed => {
                passed += 1;
                continue;
            }
            Verdict::Open(reason) => {
                open += 1;
                format!("OPEN {}: {reason}", case.name)
            }
            Verdict::Failed => {
                failed += 1;
                format!("FAIL {}", case.name)
            }
            Verdict::Fixed => {
                failed += 1;
                format!("FAIL {}: fixed: remove it from open.yaml", case.name)
            }
        };
        // What is known is told in full only to who asks for one case or for the report.
        let brief = matches!(verdict, Verdict::Open(_)) && arguments.filter.is_none();
        let show = if brief { 0 } else { arguments.show };
        print!("{}", describe(&title, &differences, show));
        report.push_str(&describe(&title, &differences, usize::MAX));
    }
    let whole = arguments.filter.is_none() && arguments.against == Against::Embedded;
    for id in if whole { accepted.unused() } else { Vec::new() } {
        failed += 1;
        let line = format!("FAIL accepted.yaml: {id} was not needed: remove it\n");
        print!("{line}");
        report.push_str(&line);
    }
    let summary = format!("differential: {passed} passed, {failed} failed, {open} open");
    if let Some(path) = &arguments.report {
        std::fs::write(path, format!("{report}\n{summary}\n"))?;
    }
    println!(
        "(servers ready in {:.1} s, all in {:.1} s)",
        ready.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    println!("{summary}");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn stage(access: &Access, terminals: &Arc<Semaphore>) -> Result<Stage> {
    Ok(Stage {
        access: access.clone(),
        client: access.client().await?,
        kubectl: Binaries::find()?.path("kubectl"),
        terminals: terminals.clone(),
    })
}

/// Tells a case to both servers at once; the masked records of both.
async fn tell_both(case: Case, stages: &(Stage, Stage)) -> (Case, Vec<Step>, Vec<Step>) {
    let (left, right) = tokio::join!(tell(case, &stages.0), tell(case, &stages.1));
    (case, left, right)
}

async fn tell(case: Case, stage: &Stage) -> Vec<Step> {
    let steps = match Story::begin(stage, &case.namespace()).await {
        Ok(story) => {
            let end = match tokio::time::timeout(STORY_WITHIN, (case.tell)(story.clone())).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(_) => Some(format!("not told within {STORY_WITHIN:?}")),
            };
            if let Some(end) = end {
                story.note("the story ended early", end.into());
            }
            story.steps()
        }
        Err(error) => vec![Step {
            title: "the story did not begin".to_owned(),
            seen: format!("{error:#}").into(),
        }],
    };
    mask(&steps, stage.access.server())
}

fn describe(title: &str, differences: &[Difference], most: usize) -> String {
    let mut text = format!("{title} ({} differences)\n", differences.len());
    let mut step = "";
    for difference in differences.iter().take(most) {
        if difference.step != step {
            step = &difference.step;
            let _ = writeln!(text, "  step {step}");
        }
        let _ = writeln!(text, "    {difference}");
    }
    if most > 0 && differences.len() > most {
        let _ = writeln!(text, "    and {} more", differences.len() - most);
    }
    text
}

fn print_transcript(case: &Case, steps: &[Step]) {
    println!("=== {}", case.name);
    for step in steps {
        println!(
            "--- {}\n{}",
            step.title,
            serde_json::to_string_pretty(&step.seen).unwrap_or_default()
        );
    }
}
