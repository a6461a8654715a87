//! `cargo xtask run`: builds the collector and becomes it.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Result, anyhow};

use crate::build::{self, Profile};
use crate::privilege::Privilege;
use crate::processor::Processor;
use crate::{shell, workspace};

/// How to start the collector.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Compile it as for the image: minutes longer, and a fraction of the CPU time when it runs
    #[arg(long)]
    release: bool,
    /// Flags for the collector, after `--`
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

/// Runs the command; returns only when that failed.
pub(crate) fn main(args: &Args) -> Result<()> {
    let binary = if args.release {
        build::collector(Profile::Release, Processor::host()?)?
    } else {
        workspace::build_unoptimized()?
    };
    let privilege = Privilege::detect();
    let mut command = privilege.command(&binary).unwrap_or_else(|| {
        eprintln!(
            "note: not root, and sudo is not to be had: no events from the kernel (containers are found by scans"
        );
        eprintln!("      and inotify instead), and files of other users' processes stay closed to us");
        Command::new(&binary)
    });
    command.args(&args.flags);
    println!("{}", greeting(&args.flags));
    if privilege == Privilege::Sudo {
        println!("sudo is asked for root: eBPF programs and the files of other users' processes need it\n");
    }
    eprintln!("$ {}", shell::describe(&command));
    Err(anyhow!(command.exec()).context(format!("cannot start {}", binary.display())))
}

/// Where the collector will listen and what to ask it.
fn greeting(flags: &[String]) -> String {
    let port = flag(flags, "port").unwrap_or("8080");
    if port == "0" {
        return "The port is the kernel's choice: the line `listening on` below names it.\n".to_owned();
    }
    let host = match flag(flags, "listen_ip") {
        None | Some("" | "0.0.0.0" | "::") => "localhost".to_owned(),
        Some(address) if address.contains(':') => format!("[{address}]"),
        Some(address) => address.to_owned(),
    };
    let url = format!("http://{host}:{port}");
    format!(
        "The collector will answer at {url}/ . Worth trying from another terminal:\n\n  \
         # every cgroup and container, with its latest counters\n  \
         curl -s -d '{{\"num_stats\":1}}' {url}/api/v1.3/subcontainers/\n  \
         # creations, deletions and OOM kills as they happen\n  \
         curl -sN '{url}/api/v1.3/events/?stream=true&all_events=true&subcontainers=true'\n  \
         # what works here, and what would make the rest work\n  \
         curl -s '{url}/healthz?verbose'\n"
    )
}

/// The value of a flag in any of its spellings: `--port=1`, `--port 1`, `-port=1`, `-port 1`. The last one counts.
fn flag<'a>(flags: &'a [String], name: &str) -> Option<&'a str> {
    let mut value = None;
    let mut flags = flags.iter();
    while let Some(word) = flags.next() {
        let Some(rest) = word.strip_prefix('-') else { continue };
        let Some(rest) = rest.strip_prefix('-').unwrap_or(rest).strip_prefix(name) else { continue };
        if rest.is_empty() {
            value = flags.next().map(String::as_str);
        } else if let Some(given) = rest.strip_prefix('=') {
            value = Some(given);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_url_respects_the_flags_in_all_spellings() {
        for line in ["--port 9", "--port=9", "-port 9", "-port=9", "-port=1 --port=9"] {
            assert!(greeting(&words(line)).contains("http://localhost:9/api"), "{line}");
        }
        assert!(greeting(&[]).contains("http://localhost:8080/healthz?verbose"));
        assert!(greeting(&words("-listen_ip=::1")).contains("http://[::1]:8080/"));
        assert!(greeting(&words("--port=0")).contains("listening on"));
    }

    #[test]
    fn other_flags_are_no_ports() {
        assert_eq!(flag(&words("--portable=9 port=9 --portable 9"), "port"), None);
    }
}
