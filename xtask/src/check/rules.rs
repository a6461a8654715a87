//! Rules about one file at a time, apart from its imports.

use super::tokens::Token;

/// Longer files are split.
const MAX_LINES: usize = 500;

/// Where `unsafe` is at home.
const UNSAFE_PLACES: [&str; 2] = ["collector/src/kernel/probes/", "collector-ebpf/"];

/// What is wrong with a Rust file.
pub(super) fn check_rust(path: &str, source: &str, tokens: &[Token]) -> Vec<(usize, String)> {
    let mut findings = Vec::new();
    if !source.trim_start().starts_with("//!") {
        findings.push((1, "a file starts with `//!`: what it is and what it is not".to_owned()));
    }
    let lines = source.lines().count();
    if lines > MAX_LINES {
        findings.push((lines, format!("{lines} lines, {MAX_LINES} are the limit: split it by what it is about")));
    }
    if !UNSAFE_PLACES.iter().any(|place| path.starts_with(place)) {
        let uses = tokens.iter().filter(|token| token.is_word("unsafe"));
        findings.extend(uses.map(|token| (token.line, format!("`unsafe` outside {}", UNSAFE_PLACES.join(", ")))));
    }
    if path.starts_with("collector-ebpf/") && path.contains("oom") {
        findings.extend(current_task_in_oom(tokens));
    }
    findings.extend(exceptions_without_reason(tokens));
    findings
}

/// The OOM tracepoint runs in whatever task hit the limit, which need not be the victim: only the trigger itself may
/// be asked of the current task.
fn current_task_in_oom(tokens: &[Token]) -> Vec<(usize, String)> {
    let forbidden = |word: &str| {
        (word.starts_with("bpf_get_current") && !word.starts_with("bpf_get_current_task")) || word == "EbpfContext"
    };
    let uses = tokens.iter().filter_map(|token| token.word().filter(|word| forbidden(word)).map(|word| (token, word)));
    uses.map(|(token, word)| {
        (token.line, format!("`{word}` describes the task that hit the limit, not the victim of the OOM kill"))
    })
    .collect()
}

/// `allow` and `expect` attributes that give no reason. Clippy says the same, but does not see the eBPF programs.
fn exceptions_without_reason(tokens: &[Token]) -> Vec<(usize, String)> {
    let mut findings = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let in_attribute = at >= 1 && (tokens[at - 1].is_sign('[') || tokens[at - 1].is_sign(','));
        let is_exception = token.is_word("allow") || token.is_word("expect");
        if !(in_attribute && is_exception && tokens.get(at + 1).is_some_and(|token| token.is_sign('('))) {
            continue;
        }
        let arguments = tokens[at + 1..].iter().take_while(|token| !token.is_sign(')'));
        if !arguments.clone().any(|token| token.is_word("reason")) {
            findings.push((token.line, "an exception from the lints gives its `reason = \"...\"`".to_owned()));
        }
    }
    findings
}

/// Words for work that was left undone, in any text file.
pub(super) fn check_text(source: &str) -> Vec<(usize, String)> {
    // Put together here so that this file does not report itself.
    const MARKERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let mut findings = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(marker) = words.find(|word| MARKERS.contains(word)) {
            findings.push((number + 1, format!("`{marker}`: do it, or open an issue")));
        }
    }
    findings
}

/// What is wrong with a member's manifest.
pub(super) fn check_manifest(source: &str) -> Vec<(usize, String)> {
    let table = source.parse::<toml::Table>().ok();
    let lints = table.as_ref().and_then(|table| table.get("lints")?.get("workspace")?.as_bool());
    if lints == Some(true) { Vec::new() } else { vec![(1, "a member has `[lints] workspace = true`".to_owned())] }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokenize;
    use super::*;

    fn rust(path: &str, source: &str) -> usize {
        check_rust(path, source, &tokenize(source)).len()
    }

    #[test]
    fn a_file_says_what_it_is() {
        assert_eq!(rust("collector/src/units.rs", "\n//! Units.\n"), 0);
        assert_eq!(rust("collector/src/units.rs", "// Units.\n"), 1);
    }

    #[test]
    fn long_files_are_reported_unless_listed() {
        let long = format!("//! Long.\n{}", "\n".repeat(MAX_LINES));
        assert_eq!(rust("collector/src/units.rs", &long), 1);
    }

    #[test]
    fn unsafe_stays_in_its_places() {
        let source = "//! A.\nunsafe fn f() {} // unsafe\n";
        assert_eq!(rust("collector/src/kernel/file.rs", source), 1);
        assert_eq!(rust("collector/src/kernel/probes/load.rs", source), 0);
        assert_eq!(rust("collector-ebpf/src/output.rs", source), 0);
    }

    #[test]
    fn the_oom_program_asks_nothing_of_the_current_task_but_itself() {
        let path = "collector-ebpf/src/oom.rs";
        assert_eq!(rust(path, "//! O.\nfn f() { bpf_get_current_task_btf(); /* bpf_get_current_comm */ }"), 0);
        assert_eq!(rust(path, "//! O.\nfn f() { bpf_get_current_comm(); bpf_get_current_pid_tgid(); }"), 2);
        assert_eq!(rust("collector-ebpf/src/attach.rs", "//! A.\nfn f() { bpf_get_current_comm(); }"), 0);
    }

    #[test]
    fn exceptions_give_reasons() {
        assert_eq!(rust("tests/a.rs", "//! A.\n#![allow(dead_code)]\n#[expect(x, reason = \"y\")]\nfn f() {}"), 1);
        assert_eq!(rust("tests/a.rs", "//! A.\n#[cfg_attr(a, allow(b))]\nfn f() { o.expect(\"x\"); }"), 1);
    }

    #[test]
    fn unfinished_work_is_found_as_a_whole_word() {
        let source = format!("a\nmktemp /tmp/X{}X\n# {}: later\n", "XXXX", concat!("TO", "DO"));
        assert_eq!(check_text(&source).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn members_opt_into_the_lints() {
        assert!(check_manifest("[package]\nname = \"a\"\n[lints]\nworkspace = true\n").is_empty());
        assert_eq!(check_manifest("[package]\nname = \"a\"\n[lints]\nworkspace = false\n").len(), 1);
        assert_eq!(check_manifest("[package]\nname = \"a\"\n").len(), 1);
    }
}
