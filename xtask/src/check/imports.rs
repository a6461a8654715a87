//! Which module of the collector may use which: the layers, as a table.

use super::tokens::{Token, is_path_separator};

/// A top-level module of the collector and the modules of ours that it may use. The table goes from the bottom to the top,
/// and no module uses a later one.
const LAYERS: [(&str, &[&str]); 31] = [
    ("units", &[]),
    // Whoever finds something missing reports it there, and whoever finds something larger than it may be counts it.
    ("degradations", &[]),
    ("bounds", &[]),
    ("go_flags", &[]),
    ("shutdown", &[]),
    // Whoever has a thread for as long as the collector lives starts it there.
    ("supervisor", &[]),
    ("auth", &[]),
    // One server, whoever asks it.
    ("client", &[]),
    ("steady", &["units"]),
    ("sample", &["units"]),
    // What the api renders and push sends, neither of which knows the other.
    ("series", &[]),
    ("rates", &["sample", "units"]),
    ("store", &["bounds", "sample", "steady", "units"]),
    // The store's samples and events on disk.
    ("archive", &["bounds", "degradations", "sample", "store", "supervisor", "units"]),
    ("kernel", &["bounds", "units"]),
    ("runtime", &["bounds", "client", "degradations", "sample", "units"]),
    // Reads a container or the machine when it is called; who is read when is the sampler's.
    ("reader", &["bounds", "kernel", "runtime", "sample", "units"]),
    ("sampler", &["bounds", "degradations", "kernel", "reader", "runtime", "sample", "store", "supervisor", "units"]),
    ("disk_usage", &["kernel", "reader", "sample", "sampler", "store", "supervisor", "units"]),
    // Events and scans become containers, which are handed to the sampler.
    (
        "discovery",
        &["bounds", "degradations", "kernel", "reader", "runtime", "sample", "sampler", "store", "supervisor", "units"],
    ),
    // Speaks to the applications in containers; what it reads goes beside their samples.
    ("application", &["client", "sample", "store", "units"]),
    ("api", &["rates", "sample", "series", "store", "units"]),
    // What is sent unasked. Texts and lines of JSON come from the api, handed in by the daemon.
    ("push", &["client", "rates", "sample", "series", "store", "units"]),
    // A client of running servers: it judges the collector by its answers alone.
    ("compare", &["bounds", "client", "kernel", "units"]),
    // What the archive has in the api's formats, for the command and for the daemon.
    ("export", &["api", "archive", "client", "degradations", "units"]),
    ("own_metrics", &["archive", "bounds", "degradations", "kernel", "push", "sample", "sampler", "store", "units"]),
    // Checked flags become the options of the parts, which define them.
    (
        "config",
        &[
            "api",
            "application",
            "archive",
            "auth",
            "client",
            "compare",
            "discovery",
            "disk_usage",
            "export",
            "go_flags",
            "kernel",
            "push",
            "reader",
            "runtime",
            "sample",
            "sampler",
            "store",
            "units",
        ],
    ),
    // A front end of its own beside the daemon: what it shows is the host's facts and the flags, never the store. Of
    // discovery it takes the search for a container by name.
    ("doctor", &["bounds", "config", "discovery", "kernel", "runtime", "sample", "units"]),
    (
        "daemon",
        &[
            "api",
            "application",
            "archive",
            "auth",
            "bounds",
            "config",
            "degradations",
            "discovery",
            "disk_usage",
            "export",
            "kernel",
            "own_metrics",
            "push",
            "rates",
            "reader",
            "runtime",
            "sample",
            "sampler",
            "shutdown",
            "store",
            "supervisor",
            "units",
        ],
    ),
    // The same within another program.
    ("embedded", &["api", "config", "daemon", "degradations", "kernel", "sample", "units"]),
    // A client of a running collector, or of one that it has inside: it shows what the API answers, and nothing else.
    ("top", &["bounds", "client", "config", "embedded", "kernel", "sample"]),
];

/// What the entry point may use.
const ENTRY_POINT: [&str; 6] = ["compare", "config", "daemon", "doctor", "export", "top"];

/// A foreign crate and the places that may use it, as prefixes of the path below `collector/src`.
const FOREIGN: [(&str, &[&str]); 17] = [
    ("aya", &["kernel/probes"]),
    ("aya_log", &["kernel/probes"]),
    ("axum", &["api", "daemon"]),
    ("clap", &["config", "main.rs"]),
    ("clap_complete", &["config"]),
    ("clap_mangen", &["config"]),
    ("collector_ebpf", &["kernel"]),
    ("inotify", &["kernel"]),
    ("hyper_rustls", &["client", "push"]),
    ("opentelemetry_proto", &["push"]),
    ("perf_event", &["kernel/perf"]),
    ("procfs", &["kernel"]),
    ("prometheus", &["api", "own_metrics", "daemon", "push/delivery", "push/metrics", "sampler"]),
    ("ratatui", &["top"]),
    ("serde", &["api", "runtime", "doctor/json", "application", "compare/json", "top/wire", "top/json"]),
    ("redb", &["archive/segment"]),
    ("snap", &["push"]),
];

/// The places that turn data into bytes for others: the api what is served, the front ends what they print.
const SERIALIZING: [&str; 4] = ["api", "doctor/json", "compare/json", "top/json"];

/// Layers that are given the time.
const CLOCKLESS: [&str; 4] = ["units", "sample", "rates", "api"];

/// What is wrong with the imports of a file; `path` is its place below `collector/src`.
pub(super) fn check(path: &str, tokens: &[Token]) -> Vec<(usize, String)> {
    let top = top_module(path);
    let mut findings = Vec::new();
    let mut add = |line: usize, text: String| findings.push((line, text));
    for reference in references(path, tokens) {
        let (line, used) = (reference.line, reference.module.as_str());
        let allowed: &[&str] = match top {
            "lib" => continue,
            "main" => &ENTRY_POINT,
            _ => {
                let Some((_, allowed)) = LAYERS.iter().find(|(module, _)| *module == top) else {
                    add(1, format!("the module `{top}` has no place in the layers (xtask/src/check/imports.rs)"));
                    break;
                };
                allowed
            }
        };
        // Names that are no module of ours, such as a macro, say nothing about layers.
        let known = LAYERS.iter().any(|(module, _)| *module == used);
        if known && used != top && !allowed.contains(&used) {
            let may = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
            add(line, format!("`{top}` uses `{used}`, but may use only: {may}"));
        }
    }
    for (line, used) in foreign_crates(tokens) {
        if let Some((_, places)) = FOREIGN.iter().find(|(name, _)| *name == used)
            && !places.iter().any(|place| path.starts_with(place))
        {
            add(line, format!("the crate `{used}` belongs in {} alone", places.join(", ")));
        }
    }
    for token in tokens.iter().filter(|token| token.is_word("Serialize")) {
        if !SERIALIZING.iter().any(|place| path.starts_with(place)) {
            add(token.line, format!("`Serialize` belongs in {} alone", SERIALIZING.join(", ")));
        }
    }
    if CLOCKLESS.contains(&top) {
        for line in clock_reads(tokens) {
            add(line, format!("`{top}` reads a clock, but is to be given the time"));
        }
    }
    findings
}

/// The top-level module that a file belongs to.
fn top_module(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// A use of a top-level module of the crate.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    line: usize,
    module: String,
}

/// Every `crate::x`, `crate::{x, y}`, `collector::x` of the entry point, and `super::x` that leads to the crate's top.
fn references(path: &str, tokens: &[Token]) -> Vec<Reference> {
    let depth = module_depth(path);
    let mut found = Vec::new();
    // One entry per open brace: whether a module opened it.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let opens_module =
            token.is_sign('{') && at >= 2 && tokens[at - 2].is_word("mod") && tokens[at - 1].word().is_some();
        if token.is_sign('{') {
            braces.push(opens_module);
        } else if token.is_sign('}') {
            braces.pop();
        }
        let mut next = at + 1;
        let starts_path = (at == 0 || !tokens[at - 1].is_sign(':')) && is_path_separator(tokens, next);
        if starts_path && token.is_word("super") {
            let mut climbed = 1;
            while is_path_separator(tokens, next) && tokens.get(next + 2).is_some_and(|token| token.is_word("super")) {
                climbed += 1;
                next += 3;
            }
            let inline = braces.iter().filter(|module| **module).count();
            if climbed == depth + inline && is_path_separator(tokens, next) {
                names_after(tokens, next + 2, &mut found);
            }
        } else if starts_path && (token.is_word("crate") || (token.is_word("collector") && top_module(path) == "main"))
        {
            names_after(tokens, next + 2, &mut found);
        }
        at += 1;
    }
    found
}

/// How many modules lie between the crate's top and the content of a file.
fn module_depth(path: &str) -> usize {
    let parts = path.split('/').count();
    match path.rsplit('/').next() {
        Some("lib.rs" | "main.rs") if parts == 1 => 0,
        _ => parts,
    }
}

/// The name at this place, or the first name of each member of the group in braces.
fn names_after(tokens: &[Token], at: usize, found: &mut Vec<Reference>) {
    let Some(first) = tokens.get(at) else { return };
    if let Some(word) = first.word() {
        found.push(Reference { line: first.line, module: word.to_owned() });
    }
    if !first.is_sign('{') {
        return;
    }
    let mut depth = 0_usize;
    let mut expects_name = false;
    for token in &tokens[at..] {
        if token.is_sign('{') {
            depth += 1;
            expects_name = depth == 1;
        } else if token.is_sign('}') {
            depth -= 1;
            if depth == 0 {
                return;
            }
        } else if token.is_sign(',') {
            expects_name = depth == 1;
        } else if let (Some(word), true) = (token.word(), expects_name) {
            found.push(Reference { line: token.line, module: word.to_owned() });
            expects_name = false;
        }
    }
}

/// Every name that a path starts with.
fn foreign_crates(tokens: &[Token]) -> impl Iterator<Item = (usize, &str)> {
    tokens.iter().enumerate().filter_map(|(at, token)| {
        let word = token.word()?;
        let starts = at == 0 || !tokens[at - 1].is_sign(':');
        (starts && is_path_separator(tokens, at + 1)).then_some((token.line, word))
    })
}

/// Where a clock is read outside tests, which stand at the end of a file.
fn clock_reads(tokens: &[Token]) -> Vec<usize> {
    let is_test =
        |at: usize| tokens[at].is_word("cfg") && tokens.get(at + 2).is_some_and(|token| token.is_word("test"));
    let end = (0..tokens.len()).find(|&at| is_test(at)).unwrap_or(tokens.len());
    let reads = |at: usize| {
        tokens[at].is_word("clock_gettime")
            || ((tokens[at].is_word("Instant") || tokens[at].is_word("SystemTime"))
                && is_path_separator(tokens, at + 1)
                && tokens.get(at + 3).is_some_and(|token| token.is_word("now")))
    };
    (0..end).filter(|&at| reads(at)).map(|at| tokens[at].line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokenize;
    use super::*;

    fn findings(path: &str, source: &str) -> Vec<String> {
        check(path, &tokenize(source)).into_iter().map(|(line, text)| format!("{line}: {text}")).collect()
    }

    #[test]
    fn the_directions_of_the_layers_hold() {
        assert!(findings("api/docker.rs", "use crate::store::Store;\nuse crate::units::Bytes;").is_empty());
        assert_eq!(
            findings("store.rs", "use crate::sample::Event;\nuse crate::kernel::HostRoots;"),
            ["2: `store` uses `kernel`, but may use only: bounds, sample, steady, units"]
        );
        assert_eq!(
            findings("runtime/docker.rs", "fn f() { crate::store::x() }"),
            ["1: `runtime` uses `store`, but may use only: bounds, client, degradations, sample, units"]
        );
        assert!(findings("daemon.rs", "use crate::{api, sampler::Sampler, kernel::{probes, cgroup}};").is_empty());
        assert_eq!(findings("sampler.rs", "use crate::daemon;").len(), 1);
    }

    #[test]
    fn groups_are_read_by_their_first_names() {
        let found = findings("rates.rs", "use crate::{\n  sample::{store, kernel},\n  store::History,\n};");
        assert_eq!(found, ["3: `rates` uses `store`, but may use only: sample, units"]);
    }

    #[test]
    fn super_counts_where_it_leads_to_the_top() {
        assert_eq!(findings("rates.rs", "use super::store::Store;").len(), 1);
        assert!(findings("kernel/cgroup.rs", "use super::store::Store;").is_empty());
        assert_eq!(findings("kernel/error.rs", "use super::super::store::Store;").len(), 1);
        assert!(findings("rates.rs", "mod tests { use super::store; }").is_empty());
        assert_eq!(findings("rates.rs", "fn f() {} mod tests { use super::super::{store}; }").len(), 1);
    }

    #[test]
    fn the_entry_point_uses_the_library_by_name() {
        assert!(findings("main.rs", "use collector::{config::Config, daemon};").is_empty());
        assert!(findings("main.rs", "use collector::{daemon, doctor};").is_empty());
        assert_eq!(findings("main.rs", "use collector::kernel;").len(), 1);
    }

    #[test]
    fn foreign_crates_stay_in_their_places() {
        assert!(findings("kernel/probes/load.rs", "use aya::Ebpf;").is_empty());
        assert_eq!(
            findings("kernel/error.rs", "use aya::Ebpf;"),
            ["1: the crate `aya` belongs in kernel/probes alone"]
        );
        assert_eq!(findings("sample/container.rs", "use serde::Deserialize;\n#[derive(Serialize)] struct A;").len(), 2);
        assert!(findings("runtime/docker.rs", "use serde::Deserialize;").is_empty());
        assert!(findings("sampler.rs", "use crate::kernel::inotify::Watch;").is_empty());
    }

    #[test]
    fn only_the_edges_serialize() {
        let source = "use serde::Serialize;";
        assert!(findings("api/machine.rs", source).is_empty());
        assert!(findings("doctor/json.rs", source).is_empty());
        assert_eq!(findings("doctor/report.rs", source).len(), 2);
    }

    #[test]
    fn pure_layers_read_no_clock_outside_their_tests() {
        assert_eq!(findings("rates.rs", "fn f() { Instant::now() }").len(), 1);
        assert!(findings("rates.rs", "#[cfg(test)] mod tests { fn f() { Instant::now() } }").is_empty());
        assert!(findings("sampler.rs", "fn f() { Instant::now() }").is_empty());
    }

    #[test]
    fn a_module_outside_the_layers_is_reported() {
        assert_eq!(findings("helpers.rs", "use crate::units::Bytes;").len(), 1);
    }
}
