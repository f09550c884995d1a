//! What a person sees in the terminal of `tidegate up`: where things are, what
//! the fleet is, what to try, decisions as they fall, and one line of live state.

use super::datadir::Endpoints;
use crate::fleet::Fleet;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

/// The numbers of the live line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Live {
    /// From start to the first ready replica; absent until then.
    pub(crate) ready_after: Option<Duration>,
    /// Arrivals per second over the last seconds.
    pub(crate) requests_per_second: f64,
    /// Requests waiting.
    pub(crate) queued: u64,
    /// How long the oldest has waited, milliseconds.
    pub(crate) oldest_wait_ms: Option<u64>,
    /// Replicas ready.
    pub(crate) ready: usize,
    /// Replicas on their way.
    pub(crate) starting: usize,
    /// What the fleet costs now, per hour.
    pub(crate) cost_per_hour: f64,
}

impl Live {
    fn line(&self) -> String {
        let mut line = match (self.ready_after, self.ready) {
            (Some(after), _) => format!("ready in {:.1} s", after.as_secs_f64()),
            (None, _) => "starting".to_owned(),
        };
        let _ = write!(line, " · {:.0} req/s · queue {}", self.requests_per_second, self.queued);
        if let Some(wait) = self.oldest_wait_ms {
            let _ = write!(line, " waits {:.1} s", wait as f64 / 1e3);
        }
        let _ = write!(line, " · {}", plural(self.ready, "replica ready", "replicas ready"));
        if self.starting > 0 {
            let _ = write!(line, ", {} starting", self.starting);
        }
        if self.ready == 0 && self.queued > 0 {
            line.push_str(" · requests wait for a replica");
        }
        let _ = write!(line, " · {:.2} $/h", self.cost_per_hour);
        line
    }

    /// What must change for a line to be worth printing where lines stay.
    fn gist(&self) -> (bool, usize, usize, bool) {
        (self.ready_after.is_some(), self.ready, self.starting, self.queued > 0)
    }
}

fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The terminal, or a pipe.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: bool,
    shown: Option<String>,
    gist: Option<(bool, usize, usize, bool)>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            shown: None,
            gist: None,
        }
    }

    /// Prints the heading, the addresses, the fleet and what to try.
    pub(crate) fn welcome(&self, endpoints: &Endpoints, fleet: &Fleet, data: &str, at: &Path, external: bool) {
        self.print(&welcome(endpoints, fleet, data, at, external));
    }

    /// Prints a line above the live line.
    pub(crate) fn line(&mut self, text: &str) {
        if self.terminal && self.shown.is_some() {
            self.print("\r\x1b[2K");
        }
        self.print(&format!("{text}\n"));
        if let Some(shown) = self.shown.as_ref().filter(|_| self.terminal) {
            self.print(shown);
        }
    }

    /// Shows the live state: rewritten on a terminal, elsewhere only when something changed.
    pub(crate) fn live(&mut self, live: &Live) {
        let text = live.line();
        if self.terminal {
            if self.shown.as_ref() != Some(&text) {
                self.print(&format!("\r\x1b[2K{text}"));
                self.shown = Some(text);
            }
        } else if self.gist != Some(live.gist()) {
            self.gist = Some(live.gist());
            self.print(&format!("{text}\n"));
        }
    }

    /// Leaves the live line standing and goes on below it.
    pub(crate) fn leave(&mut self) {
        if self.terminal && self.shown.take().is_some() {
            self.print("\n");
        }
    }

    fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // A closed pipe is no reason to stop serving.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn welcome(endpoints: &Endpoints, fleet: &Fleet, data: &str, at: &Path, external: bool) -> String {
    let place = if external {
        "on your control plane"
    } else {
        "one machine"
    };
    let mut text = format!(
        "Tidegate {}   {place}, GPUs as local processes   data in {} ({data})\n\n",
        env!("CARGO_PKG_VERSION"),
        at.display()
    );
    let _ = writeln!(text, "  gateway     {:<32} OpenAI-compatible", endpoints.gateway);
    let _ = writeln!(text, "  dashboard   {}", endpoints.dashboard);
    let kubeconfig = shell_word(&endpoints.kubeconfig.display().to_string());
    let _ = writeln!(text, "  kubernetes  export KUBECONFIG={kubeconfig}\n");
    text.push_str(&table(fleet));
    let model = fleet.models[0].served_names()[0];
    let _ = writeln!(
        text,
        "\nTry: curl {}/chat/completions -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}'",
        endpoints.gateway
    );
    let url = if endpoints.gateway == "http://127.0.0.1:8080/v1" {
        String::new()
    } else {
        format!(" --url {}", endpoints.gateway)
    };
    let _ = writeln!(text, "     {} load --rate 40 --for 2m{url}", own_name());
    let _ = writeln!(
        text,
        "     kubectl get pods,variantautoscalings   (with the KUBECONFIG above)\n"
    );
    text
}

/// How the user can call this program again.
fn own_name() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let here = std::env::current_dir().unwrap_or_default();
    let shown = path
        .strip_prefix(&here)
        .map_or_else(|_| path.clone(), |short| Path::new(".").join(short));
    shell_word(&shown.display().to_string())
}

fn shell_word(text: &str) -> String {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-:+".contains(c)) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn table(fleet: &Fleet) -> String {
    let mut rows = vec![[
        "model".to_owned(),
        "variant".into(),
        "on".into(),
        "replicas".into(),
        "cost of one".into(),
    ]];
    for model in &fleet.models {
        for (i, variant) in model.variants.iter().enumerate() {
            let name = if i == 0 {
                model.name.value.clone()
            } else {
                String::new()
            };
            rows.push([
                name,
                variant.name.value.clone(),
                format!("{} x {}", variant.gpus(), variant.gpu.value),
                format!("{} to {}", variant.replicas.min(), variant.replicas.max()),
                format!("{:.2} $/h", variant.cost.value),
            ]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "  {}", cells.join("   ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_line_says_what_waits_and_what_runs() {
        let live = Live {
            ready_after: Some(Duration::from_millis(940)),
            requests_per_second: 41.2,
            queued: 22,
            oldest_wait_ms: Some(1_400),
            ready: 1,
            starting: 2,
            cost_per_hour: 0.8,
        };
        assert_eq!(
            live.line(),
            "ready in 0.9 s · 41 req/s · queue 22 waits 1.4 s · 1 replica ready, 2 starting · 0.80 $/h"
        );
    }

    #[test]
    fn a_fleet_with_nothing_running_says_that_requests_wait() {
        let live = Live {
            queued: 3,
            ..Live::default()
        };
        assert!(live.line().starts_with("starting"));
        assert!(live.line().contains("requests wait for a replica"));
    }

    #[test]
    fn every_variant_is_in_the_table() {
        let fleet = crate::fleet::parse("default", crate::fleet::DEFAULT).unwrap();
        let text = table(&fleet);
        assert!(
            text.contains("llama-8b-l4") && text.contains("2 x L4") && text.contains("1 to 4"),
            "{text}"
        );
    }

    #[test]
    fn a_path_with_spaces_can_be_pasted() {
        assert_eq!(shell_word("/a b/it's"), r"'/a b/it'\''s'");
    }
}
