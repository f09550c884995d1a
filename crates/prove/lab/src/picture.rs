//! The scoreboard as a picture: what each policy paid, beside the optimum, and
//! how many requests it served in time.

use crate::scoreboard::Cell;
use std::fmt::Write;

const WIDTH: usize = 960;
const NAME_W: usize = 140;
const BAR_H: usize = 16;
const GAP: usize = 6;
const HEAD_H: usize = 34;
/// Bars are cut here: what pays three times the optimum is off the scale.
const MOST_RATIO: f64 = 3.0;

/// The cells of one day as an SVG document: a panel per start-up time, a bar
/// per policy, its length the cost over the optimum.
#[must_use]
pub fn svg(day: &str, cells: &[Cell]) -> String {
    let mut startups: Vec<u64> = cells.iter().map(|cell| cell.startup_s).collect();
    startups.sort_unstable();
    startups.dedup();
    let rows = |startup: u64| cells.iter().filter(move |cell| cell.startup_s == startup);
    let panel = |startup: u64| HEAD_H + rows(startup).count() * (BAR_H + GAP) + 10;
    let height: usize = 46 + startups.iter().map(|startup| panel(*startup)).sum::<usize>();
    let mut out = String::new();
    let scale = (WIDTH - NAME_W - 220) as f64 / MOST_RATIO;
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" role=\"img\">\n\
         <title>Cost over the clairvoyant optimum, day {day}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"26\" font-size=\"16\" font-weight=\"600\" fill=\"#1a1a1a\">Cost over the clairvoyant optimum, day {}</text>\n",
        escape(day)
    );
    let mut y = 46;
    for startup in startups {
        let _ = writeln!(
            out,
            "<text x=\"12\" y=\"{}\" fill=\"#555555\">a replica starts in {startup} s</text>",
            y + 20
        );
        let bottom = y + panel(startup) - 10;
        let one = NAME_W as f64 + scale;
        let _ = writeln!(
            out,
            "<line x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{}\" y2=\"{bottom}\" stroke=\"#999999\" stroke-dasharray=\"3 3\"/>",
            y + HEAD_H - 6
        );
        y += HEAD_H;
        for cell in rows(startup) {
            bar(&mut out, cell, y, scale);
            y += BAR_H + GAP;
        }
        y += 10;
    }
    out.push_str("</svg>\n");
    out
}

fn bar(out: &mut String, cell: &Cell, y: usize, scale: f64) {
    let length = cell.cost_ratio.clamp(0.0, MOST_RATIO) * scale;
    let fill = match cell.attainment {
        kept if kept >= 0.999 => "#1f8a4c",
        kept if kept >= 0.99 => "#c98a00",
        _ => "#c0392b",
    };
    let weight = if cell.policy.starts_with("tidegate") {
        "600"
    } else {
        "400"
    };
    let baseline = y + BAR_H - 4;
    let _ = write!(
        out,
        "<text x=\"12\" y=\"{baseline}\" font-weight=\"{weight}\" fill=\"#1a1a1a\">{}</text>\n\
         <rect x=\"{NAME_W}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR_H}\" rx=\"2\" fill=\"{fill}\"/>\n\
         <text x=\"{:.1}\" y=\"{baseline}\" fill=\"#1a1a1a\">{:.2}x, {} in time</text>\n",
        escape(cell.policy),
        NAME_W as f64 + length + 8.0,
        cell.cost_ratio,
        percent(cell.attainment)
    );
}

/// A share that is never rounded up to all of it.
#[must_use]
pub fn percent(share: f64) -> String {
    let hundredths = (share * 10_000.0).floor() / 100.0;
    format!("{hundredths:.2} %")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_not_rounded_up_to_all() {
        assert_eq!(percent(0.999_999), "99.99 %");
        assert_eq!(percent(1.0), "100.00 %");
    }

    #[test]
    fn the_picture_names_every_policy_and_start_up_time() {
        let cell = |policy, startup_s, cost_ratio| Cell {
            day: "a & b".to_owned(),
            startup_s,
            policy,
            gpu_hours: 1.0,
            optimum_gpu_hours: 1.0,
            cost_ratio,
            waiting: None,
            asleep_hours: 0.0,
            work_gpu_hours: 1.0,
            attainment: 0.995,
            actions: 0,
            most_replicas: 1,
            most_asleep: 0,
        };
        let picture = svg(
            "a & b",
            &[cell("tidegate", 5, 1.05), cell("keda", 5, 9.0), cell("keda", 100, 1.5)],
        );
        for part in [
            "a &amp; b",
            "in 5 s",
            "in 100 s",
            "tidegate",
            "1.05x, 99.50 % in time",
            "9.00x",
        ] {
            assert!(picture.contains(part), "{part}");
        }
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    }
}
