//! `tidegate lab scoreboard`: policies on days of traffic, in virtual time.

use crate::fleet::Millis;
use anyhow::{Context, bail, ensure};
use lab::day::{Arrival, Day, Shape};
use lab::replica::Replica;
use lab::scoreboard::{Cell, Contender, Rules};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Longest trace that is read, bytes.
const MOST_BYTES: u64 = 1 << 30;

/// `tidegate lab scoreboard`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Recorded traffic, in the format of Azure's or Mooncake's traces
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Replicas that the busiest time of the day needs
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
    peak_replicas: u32,
    /// Times a replica takes to start
    #[arg(
        long,
        value_name = "DURATION,..",
        default_value = "5s,20s,100s,280s",
        value_delimiter = ','
    )]
    startup: Vec<String>,
    /// How long a request may wait for a replica
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    may_wait: String,
    /// Time a sleeping replica takes to wake, and as long to fall asleep (tidegate-sleeping)
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    wake: String,
    /// What a sleeping replica costs beside one that serves, 0 to 1 (tidegate-sleeping)
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    sleep_cost: f64,
    /// Compare with the optimum that lets work wait as policies do, too: a second ratio; takes minutes
    #[arg(long)]
    waiting_optimum: bool,
    /// Seeds of the days; every seed makes one of each synthetic shape
    #[arg(long, value_name = "SEED,..", default_value = "1,2", value_delimiter = ',')]
    seeds: Vec<u64>,
    /// Accelerator of a replica
    #[arg(long, value_name = "NAME", default_value = "H100")]
    gpu: String,
    /// Model that is served
    #[arg(long, value_name = "NAME", default_value = "llama-3.1-8b")]
    model: String,
    /// Where to write the numbers: JSON, one flat row per cell
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where to draw the trace's day: SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// A day of the table and the seed that made it.
struct Entry {
    day: Day,
    seed: u64,
    /// Whether it is the trace's.
    recorded: bool,
}

/// Runs the scoreboard and writes what was asked for.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let startups = seconds_list(&args.startup)?;
    let may_wait_s = whole_seconds("--may-wait", &args.may_wait)?;
    ensure!(
        !args.seeds.is_empty() && args.seeds.len() <= 20,
        "--seeds takes 1 to 20 seeds"
    );
    ensure!(
        (0.0..=1.0).contains(&args.sleep_cost),
        "--sleep-cost {}: a sleeper costs between 0 (nothing) and 1 (as much as one that serves)",
        args.sleep_cost
    );
    let rules = Rules {
        peak: args.peak_replicas,
        may_wait_s,
        wake_s: whole_seconds("--wake", &args.wake)?,
        sleep_cost: args.sleep_cost,
        waiting_optimum: args.waiting_optimum,
    };
    ensure!(
        !rules.waiting_optimum || lab::optimum::tractable(rules.peak, rules.most(), may_wait_s),
        "--waiting-optimum: with --peak-replicas {} and --may-wait {} it takes too long to find; it is found for up to 100 \
         replicas and waits of 3s, or 40 and 18s",
        args.peak_replicas,
        args.may_wait
    );
    let replica = Replica::named(&args.gpu, &args.model).context("--gpu or --model")?;
    let trace = read(&args.trace, &replica)?;
    let days = days(args, &trace)?;
    let started = std::time::Instant::now();
    let cells = run_all(&days, &startups, &rules);
    let name = file_name(&args.trace);
    if let Some(path) = &args.output {
        let rows: Vec<Value> = cells
            .iter()
            .map(|(entry, cell)| row(&name, entry, cell, &rules))
            .collect();
        let text = serde_json::to_string_pretty(&rows)? + "\n";
        std::fs::write(path, text).with_context(|| format!("--output {}", path.display()))?;
    }
    if let Some(path) = &args.picture {
        let recorded: Vec<Cell> = cells
            .iter()
            .filter(|(entry, _)| entry.recorded)
            .map(|(_, cell)| cell.clone())
            .collect();
        std::fs::write(path, lab::picture::svg(&name, &recorded))
            .with_context(|| format!("--picture {}", path.display()))?;
    }
    let mut text = table(&days, &cells, &startups);
    let _ = writeln!(text, "\nreplica: {} on one {}", replica.model, replica.gpu);
    for line in lab::scoreboard::assumptions(&rules) {
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(
        text,
        "{} cells in {:.0} s",
        cells.len(),
        started.elapsed().as_secs_f64()
    );
    crate::print(&text)
}

fn read(path: &Path, replica: &Replica) -> anyhow::Result<Vec<Arrival>> {
    let place = || format!("--trace {}", path.display());
    let size = std::fs::metadata(path).with_context(place)?.len();
    ensure!(
        size <= MOST_BYTES,
        "{}: {size} bytes, more than the {MOST_BYTES} that are read",
        place()
    );
    let text = std::fs::read_to_string(path).with_context(place)?;
    let requests = wire::trace::parse(&text).with_context(place)?;
    let arrival = |request: wire::trace::Request| Arrival {
        at_s: request.at_s,
        work: replica.work_s(request.prompt_tokens, request.generated_tokens),
    };
    Ok(requests.into_iter().map(arrival).collect())
}

/// The trace's day for every seed, then the synthetic ones.
fn days(args: &Args, trace: &[Arrival]) -> anyhow::Result<Vec<Entry>> {
    let mut days = Vec::new();
    for seed in &args.seeds {
        let day = Day::of_trace(&file_name(&args.trace), trace, args.peak_replicas, *seed)
            .with_context(|| format!("--trace {}", args.trace.display()))?;
        days.push(Entry {
            day,
            seed: *seed,
            recorded: true,
        });
    }
    let request = days[0].day.work_per_request;
    for shape in Shape::ALL {
        for seed in &args.seeds {
            days.push(Entry {
                day: Day::synthetic(shape, request, args.peak_replicas, *seed),
                seed: *seed,
                recorded: false,
            });
        }
    }
    Ok(days)
}

/// Every cell, in the order of days, start-up times and policies, computed on
/// all processors.
fn run_all<'a>(days: &'a [Entry], startups: &[u64], rules: &Rules) -> Vec<(&'a Entry, Cell)> {
    let with_startups = |entry| startups.iter().map(move |startup| (entry, *startup));
    let jobs: Vec<(&Entry, u64)> = days.iter().flat_map(with_startups).collect();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Vec<Cell>)>> = Mutex::new(Vec::with_capacity(jobs.len()));
    let worker = || {
        loop {
            let index = next.fetch_add(1, Relaxed);
            let Some((entry, startup)) = jobs.get(index) else {
                return;
            };
            let cells = lab::scoreboard::cells(&entry.day, *startup, rules);
            done.lock().push((index, cells));
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(worker);
        }
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(index, _)| *index);
    let of_entry = |(index, cells): (usize, Vec<Cell>)| cells.into_iter().map(move |cell| (index, cell));
    let cells = done.into_iter().flat_map(of_entry);
    cells.map(|(index, cell)| (jobs[index].0, cell)).collect()
}

fn row(trace: &str, entry: &Entry, cell: &Cell, rules: &Rules) -> Value {
    json!({
        "trace": trace,
        "day": cell.day,
        "recorded": entry.recorded,
        "seed": entry.seed,
        "startup_s": cell.startup_s,
        "policy": cell.policy,
        "cost_ratio": rounded(cell.cost_ratio, 4),
        "attainment": rounded(cell.attainment, 6),
        "gpu_hours": rounded(cell.gpu_hours, 2),
        "optimum_gpu_hours": rounded(cell.optimum_gpu_hours, 2),
        "waiting_cost_ratio": cell.waiting.map(|beside| rounded(beside.cost_ratio, 4)),
        "waiting_optimum_gpu_hours": cell.waiting.map(|beside| rounded(beside.optimum_gpu_hours, 2)),
        "waiting_bound_gpu_hours": cell.waiting.map(|beside| rounded(beside.bound_gpu_hours, 2)),
        "work_gpu_hours": rounded(cell.work_gpu_hours, 2),
        "actions": cell.actions,
        "most_replicas": cell.most_replicas,
        "asleep_replica_hours": rounded(cell.asleep_hours, 2),
        "most_asleep": cell.most_asleep,
        "peak_replicas": rules.peak,
        "may_wait_s": rules.may_wait_s,
        "wake_s": rules.wake_s,
        "sleep_cost": rules.sleep_cost,
    })
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    // Down, so that a share that is not all of it is never written as 1.
    (value * scale + 1e-9).floor() / scale
}

/// One block per day: a line per policy, a column per start-up time.
fn table(days: &[Entry], cells: &[(&Entry, Cell)], startups: &[u64]) -> String {
    let mut text = String::new();
    let waits = cells.iter().any(|(_, cell)| cell.waiting.is_some());
    let width = if waits { 26 } else { 20 };
    for entry in days {
        let of_day = || {
            cells
                .iter()
                .filter(|(of, _)| std::ptr::eq(*of, entry))
                .map(|(_, cell)| cell)
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}, seed {}: {}", entry.day.name, entry.seed, entry.day.says);
        let _ = write!(text, "  {:<18}", "starts in");
        for startup in startups {
            let _ = write!(text, "{:>width$}", format!("{startup} s"));
        }
        text.push('\n');
        let mut optimum = |name: &str, of: &dyn Fn(&Cell) -> Option<f64>| {
            let _ = write!(text, "  {name:<18}");
            for startup in startups {
                let hours = of_day().find(|cell| cell.startup_s == *startup).and_then(of);
                let said = hours.map_or_else(String::new, |hours| format!("{hours:.0} GPU-hours"));
                let _ = write!(text, "{said:>width$}");
            }
            text.push('\n');
        };
        optimum("optimum", &|cell| Some(cell.optimum_gpu_hours));
        if waits {
            optimum("  work may wait", &|cell| Some(cell.waiting?.optimum_gpu_hours));
        }
        for contender in Contender::ALL {
            let _ = write!(text, "  {:<18}", contender.as_str());
            for startup in startups {
                let cell = of_day().find(|cell| cell.startup_s == *startup && cell.policy == contender.as_str());
                let said = cell.map_or_else(String::new, |cell| {
                    let second = cell.waiting.map(|beside| format!(" {:.2}x", beside.cost_ratio));
                    format!(
                        "{:.2}x{} {}",
                        cell.cost_ratio,
                        second.unwrap_or_default(),
                        lab::picture::percent(cell.attainment)
                    )
                });
                let _ = write!(text, "{said:>width$}");
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn file_name(path: &Path) -> String {
    path.file_stem().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn seconds_list(texts: &[String]) -> anyhow::Result<Vec<u64>> {
    let mut startups = texts
        .iter()
        .map(|text| whole_seconds("--startup", text))
        .collect::<anyhow::Result<Vec<_>>>()?;
    startups.sort_unstable();
    startups.dedup();
    if startups.is_empty() || startups.len() > 12 {
        bail!("--startup takes 1 to 12 durations, such as 5s,100s");
    }
    Ok(startups)
}

/// A duration in the lab's unit of time.
fn whole_seconds(flag: &str, text: &str) -> anyhow::Result<u64> {
    let millis = Millis::parse(text)
        .map_err(anyhow::Error::msg)
        .with_context(|| flag.to_owned())?
        .0;
    ensure!(
        millis.is_multiple_of(1_000) && (1_000..=3_600_000).contains(&millis),
        "{flag}: {text} is not a whole number of seconds between 1s and 1h, and the lab's clock ticks once a second"
    );
    Ok(millis / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_seconds_and_each_counts_once() {
        let of = |texts: &[&str]| seconds_list(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["100s", "5s", "2m", "5s"]).unwrap(), [5, 100, 120]);
        for wrong in ["0s", "500ms", "2h", "5"] {
            let error = format!("{:#}", of(&[wrong]).unwrap_err());
            assert!(error.starts_with("--startup"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_share_that_is_not_all_is_never_written_as_one() {
        assert_eq!(rounded(0.999_999_9, 6), 0.999_999);
        assert_eq!(rounded(1.0, 6), 1.0);
    }
}
