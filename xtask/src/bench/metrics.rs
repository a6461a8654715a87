//! What a scrape of `/metrics` costs: the one who answers, and the one who reads it.
//!
//! The process samples once at its start and then no more, so the CPU time between two scrapes is that of the scrape.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::time::{ClockId, clock_gettime};

use super::cgroups::Tree;
use super::{Bench, REFERENCE, SETTLE, median, say};

/// Scrapes that one figure is made of.
const SCRAPES: usize = 20;
/// So long nothing is sampled.
const INTERVAL: &str = "1h";

/// One process at one number of cgroups.
#[derive(Debug)]
pub(super) struct Scrapes {
    process: &'static str,
    cgroups: usize,
    /// Series in an answer, those of everything else on the machine included.
    series: usize,
    /// Bytes of an answer.
    bytes: usize,
    /// Milliseconds of CPU time for an answer; median.
    plain: f64,
    /// The same of the thread that renders, where there is one.
    rendering: Option<f64>,
    /// The same for a compressed answer, and its bytes.
    gzip: (f64, usize),
    /// Milliseconds of CPU time to read the text into names, labels and values.
    parsing: f64,
}

impl Bench {
    /// Measures scrapes of a process that is started for it.
    pub(super) fn measure_scrapes(
        &self,
        (name, binary, ready): (&'static str, &Path, &str),
        sizes: &[usize],
    ) -> Result<Vec<Scrapes>> {
        let mut tree = Tree::new(&self.hierarchies)?;
        let mut rows = Vec::new();
        for &cgroups in sizes {
            say(&format!("/metrics of {name} with {cgroups} cgroups"));
            tree.grow_to(cgroups, &self.interrupt)?;
            let process = self.start(binary, &format!("{name}-metrics"), ready, INTERVAL, &[])?;
            self.interrupt.sleep(SETTLE)?;
            let scrape = |coding: &str, thread: Option<&str>| -> Result<(f64, Vec<u8>)> {
                let mut times = Vec::new();
                let mut body = Vec::new();
                for _ in 0..SCRAPES {
                    self.interrupt.check()?;
                    let before = process.cpu_of(thread)?;
                    body = process.api.metrics(coding)?;
                    // What the process does after the last byte belongs to the scrape too.
                    self.interrupt.sleep(Duration::from_millis(20))?;
                    times.push(process.cpu_of(thread)?.saturating_sub(before).as_secs_f64() * 1e3);
                }
                Ok((median(times), body))
            };
            let (plain, text) = scrape("identity", None)?;
            let rendering = process.has_thread(RENDERER)?.then(|| scrape("identity", Some(RENDERER))).transpose()?;
            let (gzip, compressed) = scrape("gzip", None)?;
            let text = String::from_utf8(text).context("/metrics is not text")?;
            let listed = text.lines().filter(|line| line.contains(tree.name())).count();
            ensure!(listed > cgroups, "only {listed} series of {cgroups} cgroups are reported");
            let mut times = Vec::new();
            let mut series = 0;
            for _ in 0..SCRAPES {
                let before = thread_time();
                series = text.lines().filter_map(parse).count();
                times.push(thread_time().saturating_sub(before).as_secs_f64() * 1e3);
            }
            rows.push(Scrapes {
                process: name,
                cgroups,
                series,
                bytes: text.len(),
                plain,
                rendering: rendering.map(|(rendering, _)| rendering),
                gzip: (gzip, compressed.len()),
                parsing: median(times),
            });
        }
        Ok(rows)
    }
}

/// The collector's thread that renders.
const RENDERER: &str = "metrics";

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Name, labels and value.
type Line<'a> = (&'a str, Vec<(&'a str, &'a str)>, f64);

/// Reads a line the way a scraper has to, which looks at every byte of it.
fn parse(line: &str) -> Option<Line<'_>> {
    if line.starts_with('#') {
        return None;
    }
    let (name, mut rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels = Vec::new();
    while let Some((key, after)) = rest.split_once("=\"") {
        let end = after.find('"')?;
        labels.push((key.trim_start_matches(['{', ',']), &after[..end]));
        rest = &after[end + 1..];
    }
    let value = rest.trim_start_matches('}').split_whitespace().next()?.parse().ok()?;
    Some((name, labels, value))
}

/// The most that a scrape may cost, in milliseconds of CPU time.
fn bar(cgroups: usize) -> Option<f64> {
    match cgroups {
        REFERENCE => Some(12.0),
        5000 => Some(60.0),
        _ => None,
    }
}

/// A table of them.
#[derive(Debug)]
pub(super) struct Table(pub(super) Vec<Scrapes>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Milliseconds of CPU time for one answer of /metrics:\n")?;
        writeln!(
            f,
            "| cgroups | process | series | MB | rendering | with HTTP | bar | | with gzip | MB | reading the text |"
        )?;
        writeln!(f, "| ---: | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |")?;
        for row in &self.0 {
            let Scrapes { process, cgroups, series, bytes, plain, rendering, gzip, parsing } = row;
            let megabytes = *bytes as f64 / 1e6;
            let compressed = gzip.1 as f64 / 1e6;
            let (bar, verdict) = match (bar(*cgroups), rendering) {
                (Some(bar), Some(rendering)) => (format!("{bar:.0}"), if *rendering <= bar { "ok" } else { "NOT MET" }),
                _ => (String::new(), ""),
            };
            let rendering = rendering.map_or_else(String::new, |rendering| format!("{rendering:.1}"));
            writeln!(
                f,
                "| {cgroups} | {process} | {series} | {megabytes:.2} | {rendering} | {plain:.1} | {bar} | {verdict} | \
                 {:.1} | {compressed:.2} | {parsing:.1} |",
                gzip.0
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let labels = vec![("cpu", "cpu00"), ("id", "/a")];
        assert_eq!(parse("x_total{cpu=\"cpu00\",id=\"/a\"} 1.5e+06 12"), Some(("x_total", labels, 1.5e6)));
        assert_eq!(parse("up 1"), Some(("up", vec![], 1.0)));
        assert_eq!(parse("# HELP up 1"), None);
    }

    #[test]
    fn figures_stand_beside_their_bars() {
        let row = |cgroups, rendering| Scrapes {
            process: "collector",
            cgroups,
            series: 60_000,
            bytes: 6_500_000,
            plain: 15.0,
            rendering,
            gzip: (30.0, 400_000),
            parsing: 20.0,
        };
        let text =
            Table(vec![row(100, Some(1.0)), row(1000, Some(11.9)), row(5000, Some(61.0)), row(1000, None)]).to_string();
        for line in [
            "| 100 | collector | 60000 | 6.50 | 1.0 | 15.0 |  |  | 30.0 | 0.40 | 20.0 |",
            "| 1000 | collector | 60000 | 6.50 | 11.9 | 15.0 | 12 | ok |",
            "| 5000 | collector | 60000 | 6.50 | 61.0 | 15.0 | 60 | NOT MET |",
            "| 1000 | collector | 60000 | 6.50 |  | 15.0 |  |  |",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
